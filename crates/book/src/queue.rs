//! Deltas that wait for a snapshot.
//!
//! What is queued is always one unbroken chain: where the chain breaks, whatever came before can never be joined to a
//! snapshot that reaches beyond the break, so the queue starts anew there. Storage is flat and kept for the next time.

use wholetape_model::{Book, BookAction, Level, Levels, Scales};

use crate::rule::Ids;
use crate::synced::Stamp;

/// Levels of room that stay allocated after a splice.
const LEVELS_KEPT: usize = 8_192;

#[derive(Debug, Clone, Copy)]
struct Entry {
    ids: Ids,
    scales: Scales,
    stamp: Stamp,
    start: usize,
    bids: usize,
    asks: usize,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    levels: Vec<Level>,
}

/// One queued delta, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued<'a> {
    pub ids: Ids,
    pub scales: Scales,
    pub stamp: Stamp,
    pub delta: Book<Levels<'a>>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    pub fn first(&self) -> Option<Ids> {
        self.entries.first().map(|e| e.ids)
    }

    pub fn last(&self) -> Option<Ids> {
        self.entries.last().map(|e| e.ids)
    }

    pub fn push(&mut self, ids: Ids, scales: Scales, stamp: Stamp, delta: &Book<Levels<'_>>) {
        let start = self.levels.len();
        self.levels.extend(delta.bids.iter());
        self.levels.extend(delta.asks.iter());
        let (bids, asks) = (delta.bids.len(), delta.asks.len());
        self.entries.push(Entry { ids, scales, stamp, start, bids, asks });
    }

    pub fn iter(&self) -> impl Iterator<Item = Queued<'_>> {
        self.entries.iter().map(|e| {
            let (bids, asks) = self.levels[e.start..e.start + e.bids + e.asks].split_at(e.bids);
            Queued {
                ids: e.ids,
                scales: e.scales,
                stamp: e.stamp,
                delta: Book {
                    action: BookAction::Delta,
                    first_id: e.ids.first,
                    last_id: e.ids.last,
                    prev_id: e.ids.prev,
                    bids: Levels::Native(bids),
                    asks: Levels::Native(asks),
                },
            }
        })
    }

    /// Forgets everything but a moderate amount of room: one slow snapshot must not hold memory for ever.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.levels.clear();
        self.levels.shrink_to(LEVELS_KEPT);
    }

    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.levels.capacity() * size_of::<Level>()
    }
}
