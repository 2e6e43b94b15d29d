//! A cursor near the head: shared messages from the stream's ring.

use std::sync::atomic::Ordering;

use wholetape_wire::tell_omitted;

use super::{NEEDS_STATE, Subscription, TURN, Turn};
use crate::stats::GatewayStats;
use crate::ws::outbox::Outbox;
use crate::ws::stream::Next;

impl Subscription {
    pub(super) fn read_ring(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        let stream = self.stream.clone();
        let mut inner = stream.lock();
        if inner.generation != self.generation && self.generation != NEEDS_STATE {
            // The stream lost its own place. Whoever reads the log loses no more than that has lost.
            self.generation = inner.generation;
            drop(inner);
            return self.fall_behind(self.left.reached(self.position), None);
        }
        if inner.generation != self.generation {
            self.generation = inner.generation;
            self.skip_to(inner.at, "corrupt", out, stats);
            if stream.topic.kind().is_state() {
                self.snap(&inner, &stream, out);
            }
            self.position = inner.at;
            return Turn::More;
        }
        let (mut taken, mut left_out, most) = (0, 0, TURN.min(self.room()));
        let from = self.left.reached(self.position);
        let Self { position, pace, left, .. } = self;
        let next = inner.next_marked(from, self.token, most, |frame, flagged| {
            if flagged && left.is_on() {
                left.take(*position, frame.seq);
                return true;
            }
            taken += frame.text.len();
            match left.behind(*position) {
                0 => out.share(frame, stats),
                omitted => {
                    // What everyone gets says nothing of what this one was not given.
                    out.scratch.clear();
                    out.scratch.extend_from_slice(frame.text.payload());
                    tell_omitted(&mut out.scratch, *position, omitted);
                    out.push_scratch();
                    left_out += omitted;
                }
            }
            *position = frame.seq;
            pace.gave(frame.seq);
            taken < budget
        });
        if left_out > 0 {
            stats.omitted_total.fetch_add(left_out, Ordering::Relaxed);
        }
        drop(inner);
        match next {
            Next::Idle => {
                self.recovers();
                Turn::Idle
            }
            Next::Took => Turn::More,
            Next::Behind => self.fall_behind(from, None),
        }
    }
}
