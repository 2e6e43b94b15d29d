//! One client's cursor in one topic.
//!
//! `position` is the seq up to which the client was served or told what it missed. A cursor near the head takes shared
//! messages from the stream's ring; one that is behind reads the tape for itself until the ring can take over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use wholetape_model::{Class, Kind, ValidityState, View};
use wholetape_tape::{Delivery, From as TapeFrom, MissedWhy, Reader, ReaderOptions, TapeError};
use wholetape_wire::From;
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::reply::{self, Missed, Resumed};

use crate::stats::GatewayStats;
use crate::ws::start::{self, Start};
use crate::ws::stream::{Next, Stream};

/// Messages that a subscription may write before another has its turn.
const TURN: usize = 64;

/// What happens to a client that is more than `lag` behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    CatchUp,
    DropOldest,
    Disconnect,
}

/// Who asked, and how to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Sub(Option<u64>),
    Resync(Option<u64>),
}

/// Reads the tape for one client.
struct Behind {
    reader: Reader,
    batch: VecDeque<Delivery>,
    state: Option<ValidityState>,
    noticed: bool,
}

enum Phase {
    /// Waiting for the stream to be built.
    Opening(Asked, From),
    Live,
    Behind(Box<Behind>),
}

pub(crate) struct Subscription {
    pub stream: Arc<Stream>,
    pub token: u64,
    pub slow: Slow,
    pub lag: u64,
    ch: u32,
    phase: Phase,
    position: u64,
    generation: u64,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing left; woken when there is.
    Idle,
    More,
    /// The policy `disconnect` acted.
    TooSlow,
    /// The start position lies beyond the head: answered with an error; the subscription ends.
    Beyond {
        asked: Asked,
        head: u64,
    },
    /// The tape could not be read.
    Failed {
        asked: Option<Asked>,
    },
}

/// Messages on their way to one socket.
#[derive(Default)]
pub(crate) struct Outbox {
    pub queue: VecDeque<Utf8Bytes>,
    pub bytes: usize,
    pub scratch: Vec<u8>,
}

impl Outbox {
    pub fn push(&mut self, text: Utf8Bytes) {
        self.bytes += text.len();
        self.queue.push_back(text);
    }

    /// Writes one message with `f`.
    pub fn write(&mut self, f: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        f(&mut self.scratch);
        self.push_scratch();
    }

    fn push_scratch(&mut self) {
        // Everything that writes here writes UTF-8; were it not so, the message would be dropped, not the process.
        if let Ok(text) = Utf8Bytes::try_from(Bytes::copy_from_slice(&self.scratch)) {
            self.push(text);
        }
    }
}

impl Subscription {
    pub fn new(stream: Arc<Stream>, token: u64, ch: u32, asked: Asked, from: From, slow: Slow, lag: u64) -> Self {
        Self { stream, token, slow, lag, ch, phase: Phase::Opening(asked, from), position: 0, generation: 0 }
    }

    pub fn class(&self) -> Class {
        self.stream.topic.class()
    }

    /// Starts again at `from`; until then nothing of the topic is sent.
    pub fn resync(&mut self, id: Option<u64>, from: From) {
        self.phase = Phase::Opening(Asked::Resync(id), from);
    }

    /// The seq that a client which has everything holds, for heartbeats.
    pub fn head(&self) -> u64 {
        let at = self.stream.lock().at;
        if self.position >= at { self.position } else { at }
    }

    /// Whether the client knows its position, so that a heartbeat may speak of it.
    pub const fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Opening(..))
    }

    /// Writes what there is, up to a turn's worth.
    pub fn turn(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        if let Phase::Opening(asked, from) = &self.phase {
            let (asked, from) = (*asked, from.clone());
            return self.open(asked, &from, out);
        }
        if let Some(turn) = self.apply_policy(out, stats) {
            return turn;
        }
        if matches!(self.phase, Phase::Behind(_)) {
            self.read_own(out, budget, stats)
        } else {
            self.read_ring(out, budget, stats)
        }
    }

    fn open(&mut self, asked: Asked, from: &From, out: &mut Outbox) -> Turn {
        let stream = self.stream.clone();
        let mut inner = stream.lock();
        if !inner.built {
            // A position before everything: armed, and woken when the book stands.
            inner.next(u64::MAX, self.token, 0, |_| false);
            return Turn::Idle;
        }
        let start = match start::resolve(&stream.tape, &stream.epoch, &stream.topic, from) {
            Ok(start) => start,
            Err(e) => return self.failed(&e, Some(asked)),
        };
        let replayed = match (asked, &start) {
            (Asked::Resync(_), Start::Log { seq, .. }) => start::messages_behind(&stream.tape, &stream.topic, *seq),
            _ => Ok(0),
        };
        let replayed = match replayed {
            Ok(n) => n,
            Err(e) => return self.failed(&e, Some(asked)),
        };
        self.generation = inner.generation;
        self.phase = Phase::Live;
        let (topic, epoch, at) = (&stream.topic, &*stream.epoch, inner.at);
        let stateful = topic.kind().is_state();
        let answer = |out: &mut Outbox, ch: u32, seq: u64, missed: Option<Missed<'_>>, snap: bool| {
            out.write(|o| match asked {
                Asked::Sub(id) => reply::subd(o, id, topic, ch, epoch, seq, missed),
                Asked::Resync(id) => {
                    let how = match missed {
                        Some(m) => Resumed::Missed(m),
                        None if snap => Resumed::Snap,
                        None => Resumed::Replay { n: replayed },
                    };
                    reply::resumed(o, id, topic, epoch, how);
                }
            });
        };
        match start {
            Start::Now => {
                self.position = at;
                // A resync of a topic without state: what the client lacked is named.
                answer(out, self.ch, at, None, stateful);
                if stateful {
                    snap(&inner, &stream, out);
                }
            }
            Start::Log { seq, snap } => {
                self.position = seq;
                answer(out, self.ch, seq, None, snap.is_some());
                if let Some(book) = snap {
                    out.write(|o| book.snap(o, topic, epoch, seq));
                }
            }
            Start::Missed { from, why, then_log } => {
                let to = then_log.unwrap_or(at);
                self.position = to;
                let missed = (from <= to).then_some(Missed { from, to, why });
                answer(out, self.ch, to, missed, then_log.is_none() && stateful);
                if then_log.is_none() && stateful {
                    snap(&inner, &stream, out);
                }
            }
            Start::Beyond { head } => return Turn::Beyond { asked, head },
        }
        Turn::More
    }

    fn read_ring(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        let stream = self.stream.clone();
        let mut inner = stream.lock();
        if inner.generation != self.generation {
            self.generation = inner.generation;
            self.skip_to(inner.at, "corrupt", out, stats);
            if stream.topic.kind().is_state() {
                snap(&inner, &stream, out);
            }
            self.position = inner.at;
            return Turn::More;
        }
        let mut taken = 0;
        let position = &mut self.position;
        let next = inner.next(*position, self.token, TURN, |frame| {
            taken += frame.text.len();
            *position = frame.seq;
            out.push(frame.text.clone());
            taken < budget
        });
        drop(inner);
        match next {
            Next::Idle => Turn::Idle,
            Next::Took => Turn::More,
            Next::Behind => match self.fall_behind() {
                Ok(()) => Turn::More,
                Err(e) => self.failed(&e, None),
            },
        }
    }

    fn fall_behind(&mut self) -> Result<(), TapeError> {
        let from = TapeFrom::Seq(self.position);
        let reader = self.stream.tape.reader(&self.stream.topic, from, ReaderOptions::default())?;
        let state = (self.stream.topic.kind() == Kind::Book).then_some(ValidityState::Live);
        self.phase = Phase::Behind(Box::new(Behind { reader, batch: VecDeque::new(), state, noticed: false }));
        Ok(())
    }

    fn read_own(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        let stream = self.stream.clone();
        let Phase::Behind(own) = &mut self.phase else { return Turn::More };
        let lag = stream.tape.head(&stream.topic).unwrap_or(0).saturating_sub(self.position);
        let far = !own.noticed && lag > self.lag;
        if far && matches!(allowed(&stream, self.lag), Ok(at) if self.position < at) {
            own.noticed = true;
            out.write(|o| reply::lagging(o, &stream.topic, lag));
        }
        let mut nothing = false;
        if own.batch.is_empty() {
            let mut batch = Vec::with_capacity(TURN);
            nothing = own.reader.poll_next(&mut batch, TURN) == 0;
            own.batch.extend(batch);
        }
        let start = out.bytes;
        while out.bytes - start < budget {
            let Some(delivery) = own.batch.pop_front() else { break };
            match delivery {
                Delivery::Record(shared) => {
                    let record = shared.record();
                    if let Ok(View::Validity(v)) = record.view() {
                        own.state = Some(v.state);
                    }
                    let cx = Context {
                        topic: &stream.topic,
                        epoch: &stream.epoch,
                        prev: self.position,
                        state: own.state,
                        crc: None,
                    };
                    out.scratch.clear();
                    match message::record(&mut out.scratch, &cx, &record) {
                        Ok(Written::Message) => {
                            self.position = record.seq();
                            out.push_scratch();
                            stats.encoded_behind_total.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(Written::Nothing) => {}
                        Err(_) => return self.resume_at(record.seq(), MissedWhy::Corrupt, out, stats),
                    }
                }
                Delivery::Missed { to, why, .. } => return self.resume_at(to, why, out, stats),
                Delivery::Disconnected { .. } => return Turn::TooSlow,
            }
        }
        if own.batch.is_empty() {
            let inner = stream.lock();
            if inner.can_follow(self.position) && inner.generation == self.generation {
                self.phase = Phase::Live;
            } else if own.reader.position() >= own.reader.head() {
                // All there is was given; the stream wakes us when it has more.
                drop(inner);
                stream.lock().next(u64::MAX, self.token, 0, |_| false);
                return Turn::Idle;
            } else if nothing {
                // Neither at the head nor able to read: not a reason to spin.
                return Turn::Failed { asked: None };
            }
        }
        Turn::More
    }

    /// What lies before `to` is gone. A book then needs a whole state: the stream's.
    fn resume_at(&mut self, to: u64, why: MissedWhy, out: &mut Outbox, stats: &GatewayStats) -> Turn {
        if self.stream.topic.kind() != Kind::Book {
            self.skip_to(to, why.as_str(), out, stats);
            return Turn::More;
        }
        let stream = self.stream.clone();
        let inner = stream.lock();
        self.skip_to(inner.at.max(to), why.as_str(), out, stats);
        self.phase = Phase::Live;
        if inner.at >= to {
            snap(&inner, &stream, out);
        } else {
            self.generation = u64::MAX; // the next turn gives the state, when the stream has it
        }
        Turn::More
    }

    fn skip_to(&mut self, to: u64, why: &str, out: &mut Outbox, stats: &GatewayStats) {
        if to > self.position {
            let from = self.position + 1;
            out.write(|o| reply::missed(o, &self.stream.topic, Missed { from, to, why }));
            stats.missed_records_total.fetch_add(to - self.position, Ordering::Relaxed);
            self.position = to;
        }
    }

    /// Acts on a client that is more than `lag` behind.
    fn apply_policy(&mut self, out: &mut Outbox, stats: &GatewayStats) -> Option<Turn> {
        if self.slow == Slow::CatchUp {
            return None;
        }
        let stream = self.stream.clone();
        let head = stream.lock().at;
        if head.saturating_sub(self.position) <= self.lag {
            return None;
        }
        let allowed = match allowed(&stream, self.lag) {
            Ok(at) if self.position >= at => return None,
            Ok(at) => at.min(head),
            Err(e) => return Some(self.failed(&e, None)),
        };
        if self.slow == Slow::Disconnect {
            return Some(Turn::TooSlow);
        }
        if stream.topic.kind() == Kind::Book {
            let inner = stream.lock();
            self.skip_to(inner.at, "slow", out, stats);
            snap(&inner, &stream, out);
        } else {
            self.skip_to(allowed, "slow", out, stats);
        }
        self.phase = Phase::Live;
        Some(Turn::More)
    }

    fn failed(&self, e: &TapeError, asked: Option<Asked>) -> Turn {
        tracing::warn!(topic = %self.stream.topic, error = %e, "the tape cannot be read for a client");
        Turn::Failed { asked }
    }
}

/// Where a client with `lag` records still to come stands. Records, not seqs: a mark over a power loss covers a million of those,
/// and nobody is slow because of it.
fn allowed(stream: &Stream, lag: u64) -> Result<u64, TapeError> {
    Ok(stream.tape.reader(&stream.topic, TapeFrom::Last(lag), ReaderOptions::default())?.position())
}

fn snap(inner: &crate::ws::stream::Inner, stream: &Stream, out: &mut Outbox) {
    let mut some = false;
    out.scratch.clear();
    let mut scratch = std::mem::take(&mut out.scratch);
    some |= inner.snap(stream, &mut scratch);
    out.scratch = scratch;
    if some {
        out.push_scratch();
    }
}
