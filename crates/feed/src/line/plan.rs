//! What a line is made of: instruments, sessions, and what the tape already holds.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_model::{GapCause, InstrumentId, InstrumentIx, Kind, Quote, Scales, Ts};
use wholetape_quality::{CheckConfig, Checks};
use wholetape_venue::{Channel, ConnectionPlan, PlanError, Session, TradeHistory};

use super::books::BookFlow;
use super::ledger::Ledger;
use super::out::ConnIx;
use super::overlap::Named;
use super::topics::{Loss, Topics};
use super::trades::{GapMark, TradeFlow};
use super::{Line, LineTopic};

/// One connection to be.
pub struct ConnPlan {
    pub session: Box<dyn Session>,
    /// The topics that its streams and polls bring.
    pub expects: Vec<(InstrumentIx, Kind)>,
    /// Kinds of them that REST brings, and no stream: nothing is lost of these with the connection.
    pub polled: Vec<Kind>,
    /// How many streams it subscribes: all acknowledged means subscribed.
    pub streams: usize,
}

impl ConnPlan {
    /// A connection as the venue's folder planned it.
    ///
    /// # Errors
    /// [`wholetape_venue::PlanError`].
    pub fn of(plan: &ConnectionPlan) -> Result<Self, PlanError> {
        let mut expects = Vec::new();
        for (ix, _) in &plan.instruments {
            for channel in &plan.channels {
                expects.extend(kinds_of(*channel).into_iter().map(|kind| (*ix, kind)));
            }
        }
        let polled = plan.polled.iter().flat_map(|channel| kinds_of(*channel)).collect();
        let session = wholetape_venue::open(&plan.session())?;
        Ok(Self { session, expects, polled, streams: plan.streams.len() })
    }
}

/// The topics that a channel fills.
fn kinds_of(channel: Channel) -> Vec<Kind> {
    match channel {
        Channel::Trade => vec![Kind::Trade],
        Channel::TradeRaw => vec![Kind::TradeRaw],
        Channel::Book => vec![Kind::Book],
        Channel::Quote => vec![Kind::Quote],
        Channel::Ticker => vec![Kind::Ticker],
        Channel::Bar(period) => vec![Kind::Bar(period)],
        Channel::Mark => vec![Kind::Mark, Kind::Index, Kind::Funding],
        Channel::Liquidation => vec![Kind::Liquidation],
        Channel::OpenInterest => vec![Kind::OpenInterest],
        Channel::Instrument => vec![Kind::Instrument, Kind::Status],
    }
}

/// Everything a line needs to know before it starts.
pub struct LinePlan {
    pub name: String,
    /// By [`InstrumentIx`]: the numbering that all sessions share.
    pub instruments: Vec<InstrumentId>,
    pub conns: Vec<ConnPlan>,
    /// Which of `Kind::Trade` (aggregated) and `Kind::TradeRaw` fills the topic `trade`; the other one fills `trade-raw`.
    pub trade_source: Kind,
    /// Ask for missing trades. Off, every hole is lost at once.
    pub heal: bool,
    /// Names instruments that only the data names (captures): the venue's suffix.
    pub discover: Option<String>,
    /// Bounds of the quality checks.
    pub checks: CheckConfig,
    pub resume: Resume,
}

/// What the tape holds of this line's topics, by topic name. Empty on a first start.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    pub topics: BTreeMap<String, TopicResume>,
    /// How far back trades are to be made whole; zero: not at all.
    pub backlog: Duration,
}

/// One topic as the tape knows it.
#[derive(Debug, Clone, Default)]
pub struct TopicResume {
    /// Trade ids held or settled by a verdict, as closed intervals in any order.
    pub held: Vec<(u64, u64)>,
    /// Trades held whose ids do not count, in the tape's order.
    pub named: Vec<Named>,
    /// Gaps without a verdict.
    pub open_gaps: Vec<GapMark>,
    pub last_recv: Ts,
    pub last_event: Ts,
    /// The newest venue time that its stream brought, no answer of REST; zero: none.
    pub heard: Ts,
    /// Up to here a verdict says what is lost, of what no id protects; zero: none.
    pub told: Ts,
    /// No row is left, only marks of the tape's own that rows were lost: since then, or since ever (zero).
    pub lost_since: Option<Ts>,
    /// Of the book: the venue's last update id on the tape.
    pub last_update_id: u64,
    /// Of best prices: the last, with its venue time (zero: none of its own) and scales. A subscription may begin with it.
    pub last_quote: Option<(Ts, Scales, Quote)>,
    /// Of `quality.<line>`: channel and text of what the line wrote down for itself.
    pub notes: Vec<(String, String)>,
    /// Of trades: the oldest venue time read; zero: none.
    pub oldest: Ts,
}

impl TopicResume {
    /// Whether the topic was recorded before.
    pub(super) fn is_known(&self) -> bool {
        self.last_recv > Ts::ZERO || self.lost_since.is_some()
    }
}

/// One instrument of the line.
pub struct Instrument {
    pub id: InstrumentId,
    pub trades: TradeFlow,
    /// The second trade source: repeats vanish and skips are confessed, nothing is asked for.
    pub raw_trades: TradeFlow,
    pub book: Option<BookFlow>,
    pub checks: Checks,
    /// Trades, quotes and book updates so far: the evidence against a silent sibling.
    pub activity: u64,
    /// How often an update changed the best bid or ask.
    pub top_moves: u64,
    /// Its trades are recorded.
    pub has_trades: bool,
    pub trade_conn: ConnIx,
    pub book_conn: ConnIx,
    /// What REST and the venue said of it: is its silence quiet?
    pub proof: super::silence::Proof,
}

impl Instrument {
    /// What speaks against the silence of a stream of this kind. Quotes and books of an illiquid market move without any
    /// trade, so what only trades move is measured against trades alone, where there are any: the second source, bars, and the
    /// statistics of a ticker. The depth of a book moves without its top, so quotes are measured against that and trades.
    pub(super) fn evidence(&self, kind: Kind) -> u64 {
        match kind {
            Kind::TradeRaw => self.trades.stats.live,
            Kind::Quote if self.has_trades || self.book.is_some() => self.trades.stats.live + self.top_moves,
            Kind::Bar(_) | Kind::Ticker if self.trades.stats.live > 0 || self.has_trades => self.trades.stats.live,
            _ => self.activity,
        }
    }
}

impl Line {
    pub(super) fn add_instrument(&mut self, ix: InstrumentIx) {
        let id = self.plan.instruments[ix as usize].clone();
        let resume = self.plan.resume.topics.get(&format!("trade.{id}"));
        let trades = match resume {
            Some(r) => TradeFlow::new(self.plan.heal, Ledger::from_runs(r.held.clone()), &r.open_gaps, r.last_recv),
            None => TradeFlow::new(self.plan.heal, Ledger::default(), &[], Ts::ZERO),
        };
        // Holes by id that a killed process left without a verdict get theirs from this one.
        let raw_resume = self.plan.resume.topics.get(&format!("trade-raw.{id}"));
        let raw_open: Vec<_> =
            raw_resume.into_iter().flat_map(|r| r.open_gaps.iter().filter(|g| g.from_id > 0).cloned()).collect();
        let carries = |kind| {
            let wanted = (ix, kind);
            self.conns.iter().position(|c| c.expects.contains(&wanted)).unwrap_or(0)
        };
        let history_of = |conn: ConnIx| self.conns.get(conn).map(|c| c.session.trade_history()).unwrap_or_default();
        let trade_conn = carries(self.plan.trade_source);
        let history = history_of(trade_conn);
        let times = resume.map_or((Ts::ZERO, Ts::ZERO), |r| (r.oldest, r.last_event));
        let named = resume.map_or(&[][..], |r| &r.named);
        let trades = trades.with_history(history, self.plan.resume.backlog, times, named);
        let mut raw_trades = TradeFlow::new(false, Ledger::default(), &raw_open, Ts::ZERO);
        let other = if self.plan.trade_source == Kind::Trade { Kind::TradeRaw } else { Kind::Trade };
        if !history_of(carries(other)).is_consecutive() {
            let named = raw_resume.map_or(&[][..], |r| &r.named);
            let times = raw_resume.map_or((Ts::ZERO, Ts::ZERO), |r| (r.oldest, r.last_event));
            let history = TradeHistory::Impossible { consecutive: false };
            raw_trades = raw_trades.with_history(history, Duration::ZERO, times, named);
        }
        let checks = Checks::for_instrument(self.plan.checks);
        let checks = if history.is_consecutive() { checks } else { checks.with_sums() };
        let instrument = Instrument {
            trade_conn,
            book_conn: carries(Kind::Book),
            trades,
            raw_trades,
            book: None,
            checks,
            activity: 0,
            top_moves: 0,
            has_trades: self.conns.iter().any(|c| c.streams(ix, self.plan.trade_source)),
            proof: super::silence::Proof::default(),
            id,
        };
        self.instruments.push(instrument);
    }

    /// Captures name their instruments as they go.
    pub(super) fn discover(&mut self, ix: InstrumentIx) {
        while self.instruments.len() <= ix as usize {
            let next = self.instruments.len() as InstrumentIx;
            if self.plan.instruments.len() <= next as usize {
                let symbol = self.conns.iter().find_map(|c| c.session.symbol(next)).unwrap_or("UNKNOWN");
                let venue = self.plan.discover.as_deref().unwrap_or("UNKNOWN");
                self.plan.instruments.push(InstrumentId::new(symbol, venue));
            }
            self.add_instrument(next);
        }
    }

    /// Topics of the streams that are subscribed exist from the start, with what the tape knows of them.
    pub(super) fn expect_topics(&mut self) {
        for conn in 0..self.conns.len() {
            for (ix, kind) in self.conns[conn].expects.clone() {
                if ix as usize >= self.instruments.len() {
                    continue;
                }
                let kind = self.topic_kind(kind);
                let topic = self.topic_of(ix, kind);
                self.topics.get(topic).conn.get_or_insert(conn);
                if kind == Kind::Book {
                    self.book_of(ix, conn);
                }
            }
        }
    }

    /// The chosen trade source fills `trade`, the other one `trade-raw`.
    pub(super) fn topic_kind(&self, kind: Kind) -> Kind {
        match kind {
            k if k == self.plan.trade_source => Kind::Trade,
            Kind::Trade => Kind::TradeRaw,
            k => k,
        }
    }

    /// The topic of `kind`, which is made on first use.
    pub(super) fn topic_of(&mut self, ix: InstrumentIx, kind: Kind) -> LineTopic {
        if let Some(topic) = self.topics.find(ix, kind) {
            return topic;
        }
        let name = wholetape_model::Topic::new(kind, &self.instruments[ix as usize].id);
        let resume = self.plan.resume.topics.get(name.as_str()).cloned();
        let learned = self.memory.cadence(name.as_str());
        let at = self.topics.add(name, ix, kind);
        self.topics.get(at).streamed = self.conns.iter().any(|c| c.streams(ix, kind));
        let pause = self.conns.iter().map(|c| c.session.pause_max(kind)).max().unwrap_or(Duration::ZERO);
        self.topics.get(at).by_change = pause == Duration::MAX;
        self.topics.get(at).pause = Some(pause).filter(|p| *p < Duration::MAX).unwrap_or(Duration::ZERO);
        self.topics.get(at).loose = kind == Kind::Trade && self.instruments[ix as usize].trades.is_loose();
        if let Some(pace) = learned {
            self.topics.get(at).pace = pace;
        }
        if let Some(resume) = resume.filter(|r| r.is_known() || !r.open_gaps.is_empty()) {
            let state = self.topics.get(at);
            state.last_recv = resume.last_recv;
            state.last_event = resume.last_event;
            if let Some(last) = resume.last_quote {
                state.resume_quote(last);
            }
            if kind == Kind::Trade && self.instruments[ix as usize].trades.is_asked() {
                // It goes on from the last trade held, or from before it, where a socket was left that had older ones on its way.
                if let Some(since) = self.was_behind(ix, kind) {
                    self.instruments[ix as usize].trades.doubt(GapCause::Down, since, false);
                }
            } else if state.is_unprotected() {
                let last = self.heard_until_down(ix, kind, &resume);
                let state = self.topics.get(at);
                // What was published while we were down is gone; said when the stream is back. A loss that went on when we
                // stopped goes on, under its number.
                state.losing =
                    Some(match resume.open_gaps.iter().rfind(|g| kind != Kind::TradeRaw || g.from_id == 0) {
                        Some(open) => Loss { gap: open.gap, since: open.from_ts, cause: open.cause },
                        None => Loss { gap: 0, since: last, cause: GapCause::Down },
                    });
            }
        } else if self.topics.get(at).is_unprotected()
            && let Some(since) = self.unheard_since(ix, kind)
            && !(kind == Kind::Trade && self.instruments[ix as usize].trades.doubt(GapCause::Down, since, false))
        {
            self.topics.get(at).losing = Some(Loss { gap: 0, since, cause: GapCause::Down });
        }
        at
    }

    pub(super) fn book_of(&mut self, ix: InstrumentIx, conn: ConnIx) -> &mut BookFlow {
        if self.instruments[ix as usize].book.is_none() {
            self.add_book(ix, conn);
        }
        self.instruments[ix as usize].book.as_mut().expect("added above")
    }

    #[cold]
    fn add_book(&mut self, ix: InstrumentIx, conn: ConnIx) {
        let rule = self.conns[conn].session.book_rule(ix);
        let name = format!("book.{}", self.instruments[ix as usize].id);
        let resume = self.plan.resume.topics.get(&name);
        // A book with times tells by itself how late it was.
        let timeless = resume.filter(|r| r.heard == Ts::ZERO);
        let heard = timeless.map_or(Ts::MAX, |r| self.heard_until_down(ix, Kind::Book, r));
        self.instruments[ix as usize].book = Some(BookFlow::new(rule, resume, heard));
    }
}

impl Topics {
    /// Every topic that one of these connections carries.
    pub(super) fn of_conns(&self, conns: std::ops::Range<ConnIx>) -> impl Iterator<Item = LineTopic> + '_ {
        let carries = move |t: &LineTopic| self.list[*t as usize].conn.is_some_and(|c| conns.contains(&c));
        (0..self.list.len() as LineTopic).filter(carries)
    }
}
