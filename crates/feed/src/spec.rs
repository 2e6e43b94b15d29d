//! One line, as planned: everything it takes to build it again and again.

use std::time::Duration;

use wholetape_model::{InstrumentId, Kind, Topic};
use wholetape_quality::CheckConfig;
use wholetape_tape::Tape;
use wholetape_venue::{ConnectionPlan, PlanError, SessionPlan};

use crate::backoff::BackoffShape;
use crate::endpoint::{Approval, Endpoint};
use crate::error::FeedError;
use crate::line::{ConnPlan, Line, LinePlan, Resume, SOCKETS_MAX};
use crate::shell::lag::LagLimits;
use crate::ws::WsLimits;

/// A line to run.
#[derive(Debug, Clone)]
pub struct LineSpec {
    pub name: String,
    pub venue: String,
    /// By which door it reaches the venue ([`crate::feed::VenueDoor`]).
    pub door: String,
    /// WebSocket bases, in order of preference.
    pub ws: Vec<Endpoint>,
    /// By the index that `connections` use.
    pub instruments: Vec<InstrumentId>,
    pub connections: Vec<ConnectionPlan>,
    /// Sockets that carry each of `connections` at the same time, at different addresses where there are some.
    pub sockets: usize,
    /// What fills the topic `trade`: `Kind::Trade` (aggregated) or `Kind::TradeRaw`.
    pub trade_source: Kind,
    pub heal: bool,
    /// Keep every frame in the worker's raw lane.
    pub raw: bool,
    /// How far back the ids on the tape are read at a start.
    pub backlog: Duration,
    pub checks: CheckConfig,
    pub book_depth: Option<u16>,
    pub open_interest_every: Duration,
    pub instruments_every: Duration,
    pub limits: WsLimits,
    /// How far it may be behind before it says so, and before it sheds.
    pub lag: LagLimits,
    /// Spends this much on each frame that is read: a handicap for tests of overload, zero in earnest.
    pub brake: Duration,
    pub backoff: BackoffShape,
    /// The venue closes every connection after this long, where it says so.
    pub life_max: Option<Duration>,
    pub approvals: Vec<Approval>,
}

impl LineSpec {
    /// The line at rest, going on from what the tape holds.
    ///
    /// # Errors
    /// [`FeedError::Plan`], [`FeedError::Tape`].
    pub fn line(&self, tape: &Tape) -> Result<Line, FeedError> {
        let plan = self.plan(Resume { backlog: self.backlog, ..Resume::default() })?;
        let fresh = Line::with_sockets(plan, self.members());
        let topics: Vec<Topic> = fresh.topics().iter().map(|t| t.topic.clone()).collect();
        let resume = crate::resume::read(tape, &topics, self.backlog)?;
        if resume.topics.is_empty() {
            return Ok(fresh);
        }
        Ok(Line::with_sockets(self.plan(resume)?, self.members()))
    }

    /// Connections of the line per entry of `connections`: one more than sockets, for planned replacements.
    #[must_use]
    pub fn members(&self) -> usize {
        self.sockets.clamp(1, SOCKETS_MAX) + 1
    }

    /// Whether it can be built at all.
    ///
    /// # Errors
    /// [`FeedError::Plan`].
    pub fn check(&self) -> Result<(), FeedError> {
        self.plan(Resume::default())?;
        Ok(())
    }

    fn plan(&self, resume: Resume) -> Result<LinePlan, PlanError> {
        let sets = self.connections.iter().flat_map(|c| std::iter::repeat_n(c, self.members()));
        let conns = sets.map(|c| self.connection(c)).collect::<Result<_, _>>()?;
        Ok(LinePlan {
            name: self.name.clone(),
            instruments: self.instruments.clone(),
            conns,
            trade_source: self.trade_source,
            heal: self.heal,
            discover: None,
            checks: self.checks,
            resume,
        })
    }

    fn connection(&self, plan: &ConnectionPlan) -> Result<ConnPlan, PlanError> {
        let session = SessionPlan {
            book_depth_limit: self.book_depth,
            open_interest_every: self.open_interest_every,
            instruments_every: self.instruments_every,
            ..plan.session()
        };
        let mut conn = ConnPlan::of(plan)?;
        conn.session = wholetape_venue::open(&session)?;
        Ok(conn)
    }

    /// Where its connections are told of.
    #[must_use]
    pub fn link_topic(&self) -> Topic {
        Topic::about(Kind::Link, &self.name)
    }

    /// Where its raw frames go, where kept. The topic `raw.<line>` holds frames that could not be read.
    #[must_use]
    pub fn raw_topic(&self) -> Topic {
        Topic::about(Kind::Raw, &format!("{}.frames", self.name))
    }
}
