//! Behind the ring: the tape's own log, and before that what the tape let go.
//!
//! Either may end where the other goes on, more than once: the tape lets go while its history is read, and a client that reads the
//! tape slowly may fall off it. So each end leads back to [`Subscription::fall_behind`], which looks again. A range is `missed` only
//! when the history was asked after the tape no longer held it, and then only as far as the tape's loss was known when it was asked.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use wholetape_model::{Kind, ValidityState, View};
use wholetape_tape::{Delivery, From as TapeFrom, MissedWhy, Reader, ReaderOptions};
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::reply::Resumed;
use wholetape_wire::{Code, From, tell_omitted};

use super::{Asked, Ending, NEEDS_STATE, Phase, Subscription, TURN, Turn};
use crate::stats::GatewayStats;
use crate::ws::outbox::Outbox;
use crate::ws::past::{Begin, Item, Job, Reading, SeqJob};
use crate::ws::start::{self, Older};

/// Asked for history again at the earliest after this.
const RETRY_MS: u64 = 1_000;

/// Reads the tape for one client.
pub(super) struct Behind {
    reader: Reader,
    batch: VecDeque<Delivery>,
    state: Option<ValidityState>,
}

/// What the tape let go is read for one client.
pub(super) struct Before {
    pub reading: Reading,
    /// Behind which position it was asked for.
    pub after: u64,
    /// Where the tape began when it was asked.
    pub earliest: u64,
    /// Who waits for an answer.
    pub asked: Option<(Asked, From)>,
}

impl Subscription {
    /// Goes on behind `at`, which the client's position reaches but for what is no message. `state` is the book's there.
    pub(super) fn fall_behind(&mut self, at: u64, state: Option<ValidityState>) -> Turn {
        let (tape, topic) = (&self.stream.tape, &self.stream.topic);
        let earliest = match start::earliest(tape, topic) {
            Ok(earliest) => earliest,
            Err(e) => return self.failed(&e, None),
        };
        let hopeless = self.nowhere.is_some_and(|(after, _)| after == at);
        if at < earliest && !hopeless && self.past.is_some() {
            let begin = Begin::Behind { after: at, prev: self.position, answer: false };
            return self.ask(begin, earliest, None);
        }
        match tape.reader(topic, TapeFrom::Seq(at), ReaderOptions::default()) {
            Ok(reader) => {
                let state = state.or((topic.kind() == Kind::Book).then_some(ValidityState::Live));
                self.phase = Phase::Behind(Box::new(Behind { reader, batch: VecDeque::new(), state }));
                Turn::More
            }
            Err(e) => self.failed(&e, None),
        }
    }

    /// Asks the history. `earliest` is where the tape begins now.
    pub(super) fn ask(&mut self, begin: Begin, earliest: u64, asked: Option<(Asked, From)>) -> Turn {
        let Some(past) = &self.past else { return Turn::More };
        let after = if let Begin::Behind { after, .. } = begin { after } else { 0 };
        let job = SeqJob::new(past.history.clone(), self.stream.clone(), begin, earliest, self.left);
        let reading = past.read(&self.set, self.token, Job::Seq(Box::new(job)));
        self.phase = Phase::Past(Box::new(Before { reading, after, earliest, asked }));
        Turn::Idle
    }

    pub(super) fn read_own(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        self.notice(out);
        let stream = self.stream.clone();
        let Phase::Behind(own) = &mut self.phase else { return Turn::More };
        let mut nothing = false;
        if own.batch.is_empty() {
            let mut batch = Vec::with_capacity(TURN);
            nothing = own.reader.poll_next(&mut batch, TURN) == 0;
            own.batch.extend(batch);
        }
        let start = out.bytes;
        while out.bytes - start < budget && self.pace.room() > 0 {
            let Some(delivery) = own.batch.pop_front() else { break };
            match delivery {
                Delivery::Record(shared) => {
                    let record = shared.record();
                    if self.left.takes(self.position, &record) {
                        continue;
                    }
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
                            let omitted = self.left.behind(self.position);
                            if omitted > 0 {
                                tell_omitted(&mut out.scratch, self.position, omitted);
                                stats.omitted_total.fetch_add(omitted, Ordering::Relaxed);
                            }
                            self.position = record.seq();
                            self.pace.gave(record.seq());
                            out.push_scratch();
                            stats.encoded_behind_total.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(Written::Nothing) => {}
                        Err(_) => return self.resume_at(record.seq(), MissedWhy::Corrupt.as_str(), out, stats),
                    }
                }
                Delivery::Missed { from, to, why: MissedWhy::Retention } if self.past.is_some() => {
                    let state = own.state;
                    return self.fell_off(from, to, state, out, stats);
                }
                Delivery::Missed { to, why, .. } => return self.resume_at(to, why.as_str(), out, stats),
                Delivery::Disconnected { .. } => return Turn::TooSlow,
            }
        }
        if own.batch.is_empty() {
            let inner = stream.lock();
            if inner.can_follow(self.left.reached(self.position)) {
                self.generation = inner.generation;
                (self.phase, self.noticed) = (Phase::Live, false);
            } else if own.reader.position() >= own.reader.head() {
                // All there is was given; the stream wakes us when it has more.
                drop(inner);
                stream.lock().next(u64::MAX, self.token, 0, |_| false);
                self.recovers();
                return Turn::Idle;
            } else if nothing {
                // Neither at the head nor able to read: not a reason to spin.
                let msg = "the tape cannot be read".to_owned();
                return Turn::Ends(Ending { asked: None, code: Code::Internal, msg, retry_ms: None });
            }
        }
        Turn::More
    }

    /// The tape let go of `from..=to` while it was read.
    fn fell_off(
        &mut self,
        from: u64,
        to: u64,
        state: Option<ValidityState>,
        out: &mut Outbox,
        stats: &GatewayStats,
    ) -> Turn {
        match self.nowhere.take_if(|(after, _)| *after == from - 1) {
            None => self.fall_behind(from - 1, state),
            Some((_, known)) => {
                // What the tape lost since may have been stored meanwhile: look again from there.
                self.phase = Phase::Live;
                self.resume_at(to.min(known.max(from)), MissedWhy::Retention.as_str(), out, stats)
            }
        }
    }

    /// Takes what the worker has read.
    pub(super) fn read_past(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        if self.is_open() {
            self.notice(out);
        }
        let (start, mut given, mut left_out) = (out.bytes, 0, 0);
        let turn = loop {
            if out.bytes - start >= budget || self.room() == 0 {
                break Turn::More;
            }
            let Phase::Past(past) = &mut self.phase else { break Turn::More };
            match past.reading.take() {
                None => break Turn::Idle,
                Some(Item::Message { seq, text, omitted }) => {
                    self.gave(seq);
                    out.give(text);
                    given += 1;
                    left_out += omitted;
                }
                Some(Item::Rows { text, n, omitted }) => {
                    out.give(text);
                    given += n;
                    left_out += omitted;
                }
                Some(Item::Missed { to, why }) => self.skip_to(to, why, out, stats),
                Some(Item::Begin { seq, missed, n }) => {
                    if let Some((asked, _)) = past.asked.take() {
                        self.answer(asked, seq, missed, Resumed::Replay { n, seq: None }, out, stats);
                    }
                }
                Some(Item::AsOf { seq, state }) => {
                    if let Some((asked, _)) = past.asked.take() {
                        self.answer(asked, seq, None, Resumed::Replay { n: 0, seq: None }, out, stats);
                    }
                    break self.fall_behind(seq, state);
                }
                Some(Item::End { at, broken, failed, state, left }) => {
                    if at == 0 {
                        // Nothing is known of it: it is read again from where the client stands.
                        self.left.forget();
                    } else if left.is_on() {
                        self.left = left;
                    }
                    break self.past_ended(at, broken, failed, state, out, stats);
                }
                Some(Item::Refused { code, msg }) => {
                    let asked = past.asked.take().map(|(asked, _)| asked);
                    break Turn::Ends(Ending { asked, code, msg, retry_ms: None });
                }
            }
        };
        stats.history_messages_total.fetch_add(given, Ordering::Relaxed);
        stats.omitted_total.fetch_add(left_out, Ordering::Relaxed);
        turn
    }

    /// The history has no more behind `at`, or cannot be read there.
    fn past_ended(
        &mut self,
        at: u64,
        broken: bool,
        failed: bool,
        state: Option<ValidityState>,
        out: &mut Outbox,
        stats: &GatewayStats,
    ) -> Turn {
        let Phase::Past(past) = std::mem::replace(&mut self.phase, Phase::Live) else { return Turn::More };
        match past.asked {
            Some((asked, From::Ts { .. })) => {
                let msg = "the history cannot be read: ask again with `asof` and `i` of the last `hist`".to_owned();
                return Turn::Ends(Ending { asked: Some(asked), code: Code::Internal, msg, retry_ms: Some(RETRY_MS) });
            }
            // It has nothing to begin with: as if there were none.
            Some((asked, from)) => return self.open(asked, &from, Older::Gone(past.earliest), out, stats),
            None => {}
        }
        let at = at.max(self.position);
        if broken {
            return self.resume_at(at, MissedWhy::Retention.as_str(), out, stats);
        }
        if failed {
            let earliest = start::earliest(&self.stream.tape, &self.stream.topic).unwrap_or(0);
            self.nowhere = (earliest > at).then_some((at, earliest));
        } else if at <= past.after {
            self.nowhere = Some((at, past.earliest));
        }
        self.fall_behind(at, state)
    }

    /// What lies before `to` is gone. A book then needs a whole state: the stream's.
    pub(super) fn resume_at(&mut self, to: u64, why: &str, out: &mut Outbox, stats: &GatewayStats) -> Turn {
        if self.stream.topic.kind() != Kind::Book {
            self.skip_to(to, why, out, stats);
            return Turn::More;
        }
        let stream = self.stream.clone();
        let inner = stream.lock();
        self.skip_to(inner.at.max(to), why, out, stats);
        self.phase = Phase::Live;
        if inner.at >= to {
            self.snap(&inner, &stream, out);
        } else {
            self.generation = NEEDS_STATE; // the next turn gives the state, when the stream has it
        }
        Turn::More
    }
}
