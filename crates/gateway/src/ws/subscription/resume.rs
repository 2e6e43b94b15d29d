//! Where a subscription of a resumed session goes on (PROTOCOL §6).
//!
//! One answer is for all topics of the session, so nothing is written here: what follows from the answer (a `snap`, the log, what the
//! tape let go) comes with the subscription's first turn, which the session gives it behind the answer.

use std::sync::atomic::Ordering;

use wholetape_wire::Code;
use wholetape_wire::reply::{Missed, Resumed};

use super::{Phase, Subscription};
use crate::stats::GatewayStats;
use crate::ws::past::Begin;
use crate::ws::start::{self, Older, Start};

impl Subscription {
    /// Where it goes on; `None` while its stream is being built, and it is woken then. At most `count` messages of the log are counted.
    pub fn resume(&mut self, count: u64, stats: &GatewayStats) -> Option<Resumed<'static>> {
        let Phase::Resuming(from) = &self.phase else { return None };
        let stream = self.stream.clone();
        let mut inner = stream.lock();
        if !inner.built {
            inner.next(u64::MAX, self.token, 0, |_| false);
            return None;
        }
        if let Some(key) = self.terms.view {
            let from = from.clone();
            return Some(match self.begin_view(&mut inner, &from, key) {
                Ok((_, Some(missed))) => {
                    stats.missed_records_total.fetch_add(missed.to + 1 - missed.from, Ordering::Relaxed);
                    Resumed::Missed(missed)
                }
                Ok((_, None)) => Resumed::Snap,
                Err(_) => Resumed::Denied(Code::BadPosition),
            });
        }
        let older = if self.past.is_some() { Older::Ask } else { Older::Nobody };
        let start = match start::resolve(&stream.tape, &stream.epoch, &stream.topic, from, older) {
            Ok(start) => start,
            Err(e) => {
                tracing::warn!(topic = %stream.topic, error = %e, "the tape cannot be read for a client");
                return Some(Resumed::Denied(Code::Internal));
            }
        };
        let (at, stateful) = (inner.at, stream.topic.kind().is_state());
        self.generation = inner.generation;
        self.phase = Phase::Live;
        Some(match start {
            Start::Now => self.begin_now(at, stateful),
            Start::Log { seq, .. } => {
                self.position = seq;
                let clean = self.left.is_on();
                let n = if clean { inner.clean_messages_behind(seq) } else { inner.messages_behind(seq) };
                drop(inner);
                // A lower bound: whatever cannot be counted is none.
                let counted = || start::messages_behind(&stream.tape, &stream.topic, seq, (count, clean)).unwrap_or(0);
                Resumed::Replay { n: n.unwrap_or_else(counted), seq: None }
            }
            Start::Missed { from, why, then_log } => {
                let to = then_log.unwrap_or(at);
                self.position = to;
                self.owes_snap = then_log.is_none() && stateful;
                if from > to {
                    return Some(self.begin_now(at, stateful));
                }
                stats.missed_records_total.fetch_add(to + 1 - from, Ordering::Relaxed);
                Resumed::Missed(Missed { from, to, why })
            }
            // The tape let go of it. What the history has not either is `missed` in its place.
            Start::Past { begin: Begin::Behind { after, prev, .. }, earliest } => {
                drop(inner);
                self.position = after;
                self.ask(Begin::Behind { after, prev, answer: false }, earliest, None);
                Resumed::Replay { n: 0, seq: None }
            }
            Start::Past { .. } | Start::Rows { .. } | Start::Refused(_) => Resumed::Denied(Code::BadPosition),
        })
    }

    const fn begin_now(&mut self, at: u64, stateful: bool) -> Resumed<'static> {
        self.position = at;
        self.owes_snap = stateful;
        if stateful { Resumed::Snap } else { Resumed::Replay { n: 0, seq: Some(at) } }
    }
}
