//! What the view `clean` needs of a stream: which of its messages are flagged, the newest that is not, and the state without them.
//!
//! The ring stays one for all: whoever reads it clean steps over what is flagged.

use std::collections::VecDeque;

use wholetape_tape::Shared;
use wholetape_wire::message::{self, Context};

use super::{Frame, Inner, Next, Stream};
use crate::ws::clean::is_left_out;

/// Records in which the newest that is not flagged is looked for, and then, where there is none.
const LOOK: [usize; 2] = [32, 4_096];

#[derive(Default)]
pub(super) struct LeftOut {
    /// Seqs of the ring's messages that are flagged, ascending; perhaps also of some that left it.
    seqs: VecDeque<u64>,
    /// Seq of the newest message that is not; 0: not known.
    at: u64,
    /// Quote, ticker: the newest record that is not.
    last: Option<Shared>,
    /// It was looked for among what was there when the stream was opened.
    looked: bool,
}

impl Stream {
    /// Somebody reads the stream clean: its head and its state without flagged rows are known from here on, where they lie among the
    /// newest records.
    pub fn read_clean(&self) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if std::mem::replace(&mut inner.left_out.looked, true) {
            return;
        }
        let stateful = self.topic.kind().is_state();
        for most in LOOK {
            // Where the tape cannot be read, the subscription's own start says so.
            for shared in self.tape.last_records(&self.topic, most).unwrap_or_default().into_iter().rev() {
                let record = shared.record();
                if record.seq() > inner.at || is_left_out(&record) {
                    continue;
                }
                inner.left_out.at = inner.left_out.at.max(record.seq());
                if record.is_mark() {
                    continue;
                }
                if stateful && inner.left_out.last.is_none() {
                    inner.left_out.last = Some(shared.clone());
                }
                return;
            }
        }
    }
}

impl Inner {
    /// Takes note of a message that is at `at` now. `stateful`: its record is the topic's whole state.
    pub(super) fn note(&mut self, shared: &Shared, stateful: bool) {
        let record = shared.record();
        if is_left_out(&record) {
            while self.left_out.seqs.front().is_some_and(|seq| *seq <= self.ring_start) {
                self.left_out.seqs.pop_front();
            }
            if self.whole > 0 {
                self.left_out.seqs.push_back(record.seq());
            }
            return;
        }
        self.left_out.at = record.seq();
        if stateful && !record.is_mark() {
            self.left_out.last = Some(shared.clone());
        }
    }

    /// As [`Inner::next`], and with each message whether it is flagged.
    pub fn next_marked(
        &mut self,
        position: u64,
        token: u64,
        max: usize,
        mut out: impl FnMut(&Frame, bool) -> bool,
    ) -> Next {
        let seqs = std::mem::take(&mut self.left_out.seqs);
        let next = self.next(position, token, max, |frame| out(frame, seqs.binary_search(&frame.seq).is_ok()));
        self.left_out.seqs = seqs;
        next
    }

    /// The seq of the newest message that is not flagged; 0: not known.
    pub const fn clean_at(&self) -> u64 {
        self.left_out.at
    }

    /// Messages behind `position` that are not flagged, where the ring holds them all.
    pub fn clean_messages_behind(&self, position: u64) -> Option<u64> {
        let seqs = &self.left_out.seqs;
        let flagged = seqs.len() - seqs.partition_point(|seq| *seq <= position);
        Some(self.messages_behind(position)?.saturating_sub(flagged as u64))
    }

    /// Appends the `snap` at `at` that holds the newest state which is not flagged; false when none is known.
    pub fn clean_snap(&self, stream: &Stream, out: &mut Vec<u8>) -> bool {
        let Some(last) = &self.left_out.last else { return false };
        let cx = Context { topic: &stream.topic, epoch: &stream.epoch, prev: 0, state: None, crc: None };
        message::state_snap(out, &cx, self.at, &last.record()).is_ok()
    }
}
