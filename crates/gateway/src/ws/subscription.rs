//! One client's cursor in one topic.
//!
//! `position` is the seq up to which the client was served or told what it missed. A cursor near the head takes shared
//! messages from the stream's ring; one that is behind reads the tape for itself until the ring can take over, and what the
//! tape let go is read for it by a worker ([`behind`]).

mod acks;
mod behind;
mod pace;
mod resume;
mod ring;
mod slow;
mod terms;
mod told;
mod view;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wholetape_model::Class;
use wholetape_tape::{TapeError, WakeSet};
use wholetape_wire::reply::{self, Missed, Resumed};
use wholetape_wire::{Code, From, Subject};

use crate::stats::GatewayStats;
use crate::ws::clean::Omission;
use crate::ws::outbox::Outbox;
use crate::ws::past::{Job, Readers, TimeJob};
use crate::ws::start::{self, Older, Start};
use crate::ws::stream::{Inner, Stream};
pub(crate) use acks::Acks;
use behind::{Before, Behind};
use pace::Pace;
use slow::Episode;
pub(crate) use terms::{Asked, Slow, Terms};
use view::Viewing;

/// Messages that a subscription may write before another has its turn.
const TURN: usize = 64;

/// The generation of a client that has been told of a hole and waits for the stream's next state.
const NEEDS_STATE: u64 = u64::MAX;

enum Phase {
    /// Waiting for the stream to be built.
    Opening(Asked, From),
    /// Of a session that is being resumed: waits for the stream, and then for the session's one answer.
    Resuming(From),
    Live,
    /// Reads the tape.
    Behind(Box<Behind>),
    /// Is read for by a worker.
    Past(Box<Before>),
    /// Follows a view of the topic.
    Viewing(Box<Viewing>),
}

pub(crate) struct Subscription {
    pub stream: Arc<Stream>,
    pub token: u64,
    terms: Terms,
    past: Option<Arc<Readers>>,
    set: WakeSet,
    phase: Phase,
    position: u64,
    /// What it was not given behind that.
    left: Omission,
    generation: u64,
    /// Behind the first of these positions, up to the second, there is nothing on the tape, and the history had nothing or failed.
    nowhere: Option<(u64, u64)>,
    /// It was told that it lags, and has not caught up since.
    noticed: bool,
    episode: Episode,
    /// What `drop_lowest` leaves it of its `lag`.
    allowance: Option<u64>,
    pace: Pace,
    /// The state of the stream is to be told before anything else.
    owes_snap: bool,
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nothing left; woken when there is.
    Idle,
    More,
    /// The policy `disconnect` acted.
    TooSlow,
    /// The subscription cannot go on, or could not begin.
    Ends(Ending),
}

/// The error that ends a subscription.
#[derive(Debug)]
pub(crate) struct Ending {
    pub asked: Option<Asked>,
    pub code: Code,
    pub msg: String,
    pub retry_ms: Option<u64>,
}

impl Subscription {
    pub fn new(
        stream: Arc<Stream>,
        token: u64,
        terms: Terms,
        past: Option<Arc<Readers>>,
        set: WakeSet,
        asked: Asked,
        from: From,
    ) -> Self {
        Self::in_phase(stream, token, terms, past, set, Phase::Opening(asked, from))
    }

    /// One that goes on with the rest of its session, once that was told where ([`Subscription::resume`]).
    pub fn resuming(
        stream: Arc<Stream>,
        token: u64,
        terms: Terms,
        past: Option<Arc<Readers>>,
        set: WakeSet,
        from: From,
    ) -> Self {
        Self::in_phase(stream, token, terms, past, set, Phase::Resuming(from))
    }

    fn in_phase(
        stream: Arc<Stream>,
        token: u64,
        terms: Terms,
        past: Option<Arc<Readers>>,
        set: WakeSet,
        phase: Phase,
    ) -> Self {
        if terms.clean {
            stream.read_clean();
        }
        let (pace, left) = (Pace::new(terms.inflight), Omission::new(terms.clean));
        Self {
            stream,
            token,
            terms,
            past,
            set,
            phase,
            position: 0,
            left,
            generation: 0,
            nowhere: None,
            noticed: false,
            episode: Episode::default(),
            allowance: None,
            pace,
            owes_snap: false,
        }
    }

    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// Of what its messages speak.
    pub fn subject(&self) -> Subject {
        self.stream.subject(self.terms.scaled)
    }

    pub fn class(&self) -> Class {
        self.stream.topic.class()
    }

    /// Seqs that it has not been given yet.
    pub fn behind(&self) -> u64 {
        if self.is_open() { self.stream.lock().at.saturating_sub(self.left.reached(self.position)) } else { 0 }
    }

    /// It may be so far behind now, where it shares a `lag` with others (`drop_lowest`).
    pub const fn allow(&mut self, allowance: Option<u64>) {
        self.allowance = allowance;
    }

    /// Starts again at `from`; until then nothing of the topic is sent.
    pub fn resync(&mut self, id: Option<u64>, from: From) {
        self.phase = Phase::Opening(Asked::Resync(id), from);
        self.owes_snap = false;
        self.recovers();
        self.left.forget();
        self.pace.forget();
    }

    /// Messages that may still be given.
    fn room(&self) -> usize {
        self.pace.room()
    }

    /// The seq that a client which has everything holds, for heartbeats.
    pub fn head(&self) -> u64 {
        let inner = self.stream.lock();
        let at = inner.at_of(self.viewing());
        match self.left.reached(self.position) >= at {
            true => self.position,
            // Nobody who reads it clean comes further until there is more.
            false if self.left.is_on() => self.position.max(inner.clean_at()),
            false => at,
        }
    }

    /// Whether the client knows its position, so that a heartbeat may speak of it.
    pub const fn is_open(&self) -> bool {
        match &self.phase {
            Phase::Opening(..) | Phase::Resuming(_) => false,
            Phase::Past(past) => past.asked.is_none(),
            Phase::Live | Phase::Behind(_) | Phase::Viewing(_) => true,
        }
    }

    /// Writes what there is, up to a turn's worth.
    pub fn turn(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        if let Phase::Opening(asked, from) = &self.phase {
            let (asked, from) = (*asked, from.clone());
            if let Some(key) = self.terms.view {
                return self.open_view(asked, &from, key, out, stats);
            }
            // The policy may have moved it into a view.
            self.stream.follow(self.token, None);
            let older = if self.past.is_some() { Older::Ask } else { Older::Nobody };
            return self.open(asked, &from, older, out, stats);
        }
        if matches!(self.phase, Phase::Resuming(_)) {
            return Turn::Idle;
        }
        if std::mem::take(&mut self.owes_snap) {
            let stream = self.stream.clone();
            let inner = stream.lock();
            self.generation = inner.generation;
            self.snap(&inner, &stream, out);
            self.position = inner.at;
            return Turn::More;
        }
        if self.room() == 0 {
            self.pace.pause(stats);
            return Turn::Idle;
        }
        if self.viewing().is_some() {
            return self.read_view(out, budget, stats);
        }
        if self.is_open()
            && let Some(turn) = self.apply_policy(out, stats)
        {
            return turn;
        }
        match &self.phase {
            Phase::Behind(_) => self.read_own(out, budget, stats),
            Phase::Past(_) => self.read_past(out, budget, stats),
            _ => self.read_ring(out, budget, stats),
        }
    }

    fn open(&mut self, asked: Asked, from: &From, older: Older, out: &mut Outbox, stats: &GatewayStats) -> Turn {
        let stream = self.stream.clone();
        let mut inner = stream.lock();
        if !inner.built {
            // A position before everything: armed, and woken when the book stands.
            inner.next(u64::MAX, self.token, 0, |_| false);
            return Turn::Idle;
        }
        let start = match start::resolve(&stream.tape, &stream.epoch, &stream.topic, from, older) {
            Ok(start) => start,
            Err(e) => return self.failed(&e, Some(asked)),
        };
        self.generation = inner.generation;
        self.phase = Phase::Live;
        let (topic, epoch, at) = (&stream.topic, &*stream.epoch, inner.at);
        let stateful = topic.kind().is_state();
        match start {
            Start::Now => {
                // A resync of a topic without state: what the client lacked is named.
                self.answer(
                    asked,
                    at,
                    None,
                    if stateful { Resumed::Snap } else { Resumed::Replay { n: 0, seq: Some(at) } },
                    out,
                    stats,
                );
                if stateful {
                    self.snap(&inner, &stream, out);
                }
            }
            Start::Log { seq, snap } => {
                let how = match (&snap, asked) {
                    (Some(_), _) => Resumed::Snap,
                    (None, Asked::Sub(_)) => Resumed::Replay { n: 0, seq: None },
                    (None, Asked::Resync(_)) => {
                        let most = (start::COUNTED_MAX, self.terms.clean);
                        match start::messages_behind(&stream.tape, topic, seq, most) {
                            Ok(n) => Resumed::Replay { n, seq: None },
                            Err(e) => return self.failed(&e, Some(asked)),
                        }
                    }
                };
                self.answer(asked, seq, None, how, out, stats);
                if let Some(book) = snap {
                    out.write(|o| book.snap(o, topic, epoch, seq));
                    self.gave(seq);
                }
            }
            Start::Missed { from, why, then_log } => {
                let to = then_log.unwrap_or(at);
                let missed = (from <= to).then_some(Missed { from, to, why });
                let snaps = then_log.is_none() && stateful;
                let how = if snaps { Resumed::Snap } else { Resumed::Replay { n: 0, seq: Some(to) } };
                self.answer(asked, to, missed, how, out, stats);
                if snaps {
                    self.snap(&inner, &stream, out);
                }
            }
            Start::Past { begin, earliest } => {
                drop(inner);
                return self.ask(begin, earliest, Some((asked, from.clone())));
            }
            Start::Rows { ts, asof } => {
                let Some(past) = &self.past else { return Turn::More };
                let job = TimeJob::new(
                    past.history.clone(),
                    stream.clone(),
                    (asked.id(), self.terms.clean),
                    ts,
                    asof.as_ref(),
                );
                let reading = past.read(&self.set, self.token, Job::Time(Box::new(job)));
                let asked = Some((asked, from.clone()));
                self.phase = Phase::Past(Box::new(Before { reading, after: 0, earliest: 0, asked }));
                return Turn::Idle;
            }
            Start::Refused(msg) => {
                return Turn::Ends(Ending { asked: Some(asked), code: Code::BadPosition, msg, retry_ms: None });
            }
        }
        Turn::More
    }

    /// Tells where delivery begins: behind `seq`. `how` is for a resync to which nothing is missing.
    fn answer(
        &mut self,
        asked: Asked,
        seq: u64,
        missed: Option<Missed<'_>>,
        how: Resumed<'_>,
        out: &mut Outbox,
        stats: &GatewayStats,
    ) {
        self.position = seq;
        self.left.forget();
        let (topic, epoch) = (&self.stream.topic, &*self.stream.epoch);
        out.write(|o| match asked {
            Asked::Sub(id) => reply::subd(o, id, topic, &self.terms.told(&self.subject()), epoch, seq, missed),
            Asked::Resync(id) => reply::resumed(o, id, topic, epoch, missed.map_or(how, Resumed::Missed)),
        });
        if let Some(m) = missed {
            stats.missed_records_total.fetch_add(m.to + 1 - m.from, Ordering::Relaxed);
        }
    }

    /// The stream's present state, where it has one.
    fn snap(&mut self, inner: &Inner, stream: &Stream, out: &mut Outbox) {
        out.scratch.clear();
        let given = match self.left.is_on() {
            true => inner.clean_snap(stream, &mut out.scratch),
            false => inner.snap(stream, &mut out.scratch),
        };
        if given {
            out.push_scratch();
            self.gave(inner.at);
        }
    }

    fn skip_to(&mut self, to: u64, why: &str, out: &mut Outbox, stats: &GatewayStats) {
        if to > self.position {
            let from = self.position + 1;
            out.write(|o| reply::missed(o, &self.stream.topic, Missed { from, to, why }));
            stats.missed_records_total.fetch_add(to - self.position, Ordering::Relaxed);
            self.position = to;
        }
    }

    fn failed(&self, e: &TapeError, asked: Option<Asked>) -> Turn {
        tracing::warn!(topic = %self.stream.topic, error = %e, "the tape cannot be read for a client");
        let msg = "the tape cannot be read".to_owned();
        Turn::Ends(Ending { asked, code: Code::Internal, msg, retry_ms: None })
    }
}
