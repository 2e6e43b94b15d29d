//! The book that a client of one topic holds after each record, and how one that holds none comes to it.

use wholetape_model::{BookAction, Record, Topic, Ts, ValidityState, View};
use wholetape_wire::message::{self, Context};
use wholetape_wire::{BookView, CRC_EVERY};

/// A client's state of a book after a message.
#[derive(Debug, Default)]
pub(crate) struct BookState {
    pub view: BookView,
    pub state: Option<ValidityState>,
    pub vid: u64,
    pub ts: Ts,
    updates: u32,
    /// The view could not hold an update: no snapshot until the next full state.
    pub broken: bool,
}

impl BookState {
    /// Takes a record of the book's topic; the checksum when it is due.
    pub fn apply(&mut self, record: &Record<'_>) -> Option<u32> {
        let Ok(view) = record.view() else { return None };
        if record.is_mark() && record.prev() + 1 < record.seq() {
            // A lost range (power loss): updates went with it, so this is no book until the next full state.
            (self.broken, self.state) = (true, Some(ValidityState::Stale));
        }
        match view {
            View::Validity(v) => self.state = Some(v.state),
            View::Book(b) => {
                if b.action != BookAction::Delta {
                    // A checkpoint repeats what we hold, unless we start here.
                    if b.action == BookAction::Checkpoint && !self.view.is_empty() && !self.broken {
                        return None;
                    }
                    self.view.clear();
                    self.broken = false;
                    self.updates = 0;
                }
                self.state.get_or_insert(ValidityState::Live);
                self.broken |= self.view.apply(record.scales(), b.bids, b.asks).is_err();
                (self.vid, self.ts) = (b.last_id, record.ts_recv());
                if b.action == BookAction::Snapshot {
                    return (!self.broken).then(|| self.view.crc());
                }
                self.updates += 1;
                if self.updates >= CRC_EVERY && !self.broken {
                    self.updates = 0;
                    return Some(self.view.crc());
                }
            }
            _ => {}
        }
        None
    }

    /// Appends the `snap` at `seq`.
    pub fn snap(&self, out: &mut Vec<u8>, topic: &Topic, epoch: &str, seq: u64) {
        let cx = Context { topic, epoch, prev: 0, state: self.told(), crc: None };
        message::book_snap(out, &cx, seq, self.ts, self.vid, &self.view);
    }

    /// Appends the row of history that holds the book at `seq`.
    pub fn row(&self, out: &mut Vec<u8>, topic: &Topic, seq: u64, ts_init: Ts) {
        let cx = Context { topic, epoch: "", prev: 0, state: self.told(), crc: None };
        message::book_row(out, &cx, seq, ts_init, self.vid, &self.view);
    }

    /// The state that clients are told.
    pub const fn told(&self) -> Option<ValidityState> {
        match (self.broken, self.state) {
            (true, _) => Some(ValidityState::Stale),
            (false, None) => Some(ValidityState::Syncing),
            (false, state) => state,
        }
    }
}

/// Looks for the first whole state among a book's records: deltas before it say nothing to who has no state.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub book: BookState,
    found: bool,
}

impl Whole {
    /// Whether the book is whole after `record`.
    pub fn take(&mut self, record: &Record<'_>) -> bool {
        self.found |= record.is_book_start();
        if self.found || record.is_mark() {
            self.book.apply(record);
        }
        self.found
    }

    pub const fn found(&self) -> bool {
        self.found
    }
}

pub(crate) fn is_checkpoint(record: &Record<'_>) -> bool {
    record.is_book_start() && matches!(record.view(), Ok(View::Book(b)) if b.action == BookAction::Checkpoint)
}
