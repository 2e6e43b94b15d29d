//! Book updates that ran ahead of the chain, while another socket of the same streams may still bring what is missing.
//!
//! A chain continues from whichever socket continues it. An update that does not follow is held: until the missing one comes
//! from a sibling, until every sibling is past it too, or for [`PATIENCE`] – then it is judged as it stands, and the book
//! resyncs. Bounded by [`HELD_MAX`] updates.

use std::time::Duration;

use wholetape_book::Place;
use wholetape_model::{Body, Book, Event, InstrumentIx, Level, RowFlags, Ts};

use super::Line;
use super::out::{ConnIx, LineOut, LineTopic};

/// How long a sibling may take.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
const HELD_MAX: usize = 256;
/// More updates in a row below what is on the tape are no late ones: the venue's ids began anew.
const OLDER_MAX: u32 = 1_000;

#[derive(Debug, Clone)]
struct Ahead {
    event: Event,
    bids: Vec<Level>,
    asks: Vec<Level>,
    conn: ConnIx,
    number: u32,
    frame: u32,
}

/// One book's updates that wait for what comes before them, in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Held {
    ahead: Vec<Ahead>,
    until: Ts,
}

impl Held {
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// When patience ends.
    pub fn until(&self) -> Option<Ts> {
        (!self.ahead.is_empty()).then_some(self.until)
    }
}

fn ids(event: &Event) -> Option<(u64, u64, u64)> {
    match event.body {
        Body::Book(b) => Some((b.first_id, b.last_id, b.prev_id)),
        _ => None,
    }
}

impl Line {
    /// An update of a book that several open sockets bring. True when it is dealt with: a repeat, or held.
    pub(super) fn hold_or_drop(
        &mut self,
        conn: ConnIx,
        topic: LineTopic,
        event: &Event,
        now: Ts,
        out: &mut LineOut,
    ) -> bool {
        let Some((first, last, prev)) = ids(event) else { return false };
        self.book_of(event.instrument, conn);
        let number = self.conns[conn].number;
        let frame = self.conns[conn].frame;
        let Some(flow) = &mut self.instruments[event.instrument as usize].book else { return false };
        if flow.book().needs_snapshot() && last <= flow.appended && flow.older < OLDER_MAX {
            // A socket that is behind: these stood on the tape before the chain broke, and a splice must not repeat them.
            flow.older += 1;
            self.stats.repeats += 1;
            return true;
        }
        if !flow.book().needs_snapshot() && last <= flow.told {
            // The futures' rule takes an update that ends where the snapshot stands; a sibling brings one that is on the tape already.
            self.stats.repeats += 1;
            return true;
        }
        flow.older = 0;
        // A book that waits for a snapshot queues what comes in order; what ran ahead of the queue waits as well.
        match flow.book().place(first, last, prev) {
            Place::Old => {
                let first = (flow.book().last_update_id() == Some(last)).then_some(flow.last_step);
                self.lagged(conn, topic, first, now);
                self.stats.repeats += 1;
                return true;
            }
            Place::Follows => {
                flow.last_step = now;
                self.led(conn, topic, now);
                return false;
            }
            Place::Ahead => {}
        }
        if flow.held.ahead.iter().any(|a| ids(&a.event).is_some_and(|i| i.1 == last)) {
            // The sibling misses the same: nobody will bring it.
            self.stats.repeats += 1;
            self.release(event.instrument, now, out);
            return true;
        }
        let arena = &out.scratch.arena;
        let Body::Book(Book { bids, asks, .. }) = event.body else { return false };
        let ahead = Ahead {
            event: *event,
            bids: arena.level_slice(bids).to_vec(),
            asks: arena.level_slice(asks).to_vec(),
            conn,
            number,
            frame,
        };
        if flow.held.is_empty() {
            flow.held.until = now + PATIENCE;
        }
        let at = flow.held.ahead.partition_point(|a| ids(&a.event).is_some_and(|i| i.1 < last));
        flow.held.ahead.insert(at, ahead);
        let (full, until) = (flow.held.ahead.len() > HELD_MAX, flow.held.until);
        if full {
            self.release(event.instrument, now, out);
        }
        self.wake_at(until);
        true
    }

    /// The chain moved: what follows now is applied.
    pub(super) fn let_follow(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        loop {
            let Some(flow) = &mut self.instruments[ix as usize].book else { return };
            let Some((first, last, prev)) = flow.held.ahead.first().and_then(|a| ids(&a.event)) else { return };
            if flow.book().place(first, last, prev) == Place::Ahead {
                return;
            }
            let ahead = flow.held.ahead.remove(0);
            self.judge_ahead(ahead, now, out);
        }
    }

    /// Nobody will bring what is missing: what is held is judged as it stands.
    pub(super) fn release(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        for ahead in std::mem::take(&mut flow.held.ahead) {
            self.judge_ahead(ahead, now, out);
        }
    }

    pub(super) fn release_overdue(&mut self, now: Ts, out: &mut LineOut) {
        if self.members == 1 {
            return;
        }
        for ix in 0..self.instruments.len() {
            match self.instruments[ix].book.as_ref().and_then(|b| b.held.until()) {
                Some(until) if until <= now => self.release(ix as InstrumentIx, now, out),
                Some(until) => self.wake_at(until),
                None => {}
            }
        }
    }

    fn judge_ahead(&mut self, ahead: Ahead, now: Ts, out: &mut LineOut) {
        let Ahead { mut event, bids, asks, conn, number, frame } = ahead;
        let Body::Book(update) = &mut event.body else { return };
        update.bids = out.scratch.arena.levels(&bids);
        update.asks = out.scratch.arena.levels(&asks);
        let before = out.rows.len();
        self.update_book(conn, number, frame, &event, now, out);
        for row in &mut out.rows[before..] {
            if matches!(row.body, Body::Book(_)) && !row.flags.has(RowFlags::CHECKPOINT) {
                (row.conn, row.frame) = (number, frame);
            }
        }
    }
}
