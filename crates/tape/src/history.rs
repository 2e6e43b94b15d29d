//! What the tape let go, and what is asked for by time: whoever keeps it (the catalog) answers here.
//!
//! The tape knows only this seam, so consumers read one log: by position from the history and then from the tape, or by time as of
//! a position that is named. Calls block (they read files): not on a thread that serves anybody else.

use std::fmt;

use wholetape_model::{Record, RecordError, Topic, Ts};

/// Why a history could not be read.
pub type HistoryError = Box<dyn std::error::Error + Send + Sync>;

/// What a history holds of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The position (exclusive) before the oldest record held.
    pub earliest: u64,
    /// Everything behind `earliest` up to here is held, or its place is known to be empty. Never above what is certain to stay.
    pub stored: u64,
}

/// Keeps records of topics beyond the tape's retention.
pub trait History: Send + Sync {
    /// What is held of `topic`; `None` when nothing is.
    ///
    /// # Errors
    /// The history cannot be read.
    fn held(&self, topic: &Topic) -> Result<Option<Held>, HistoryError>;

    /// Records and holes behind `after` (exclusive), ascending by seq, up to [`Held::stored`] of this moment. They cover every seq
    /// in between: what is not held is a [`Past::Missed`].
    ///
    /// # Errors
    /// As [`History::held`].
    fn by_seq(&self, topic: &Topic, after: u64) -> Result<Box<dyn PastReader>, HistoryError>;

    /// Rows and marks whose `ts_init` is `from` or later and whose seq is at most P, in the corrected order `(ts_init, seq)`; and P.
    /// `asof` names a P that was given before; with `None` what is on the tape is stored first, so that P is (nearly) its head.
    ///
    /// # Errors
    /// As [`History::held`]; `asof` beyond what is stored.
    fn by_time(&self, topic: &Topic, from: Ts, asof: Option<u64>) -> Result<(u64, Box<dyn PastReader>), HistoryError>;
}

/// Reads on, a batch at a time.
pub trait PastReader: Send {
    /// Puts what follows into `batch`, which it clears first. False at the end.
    ///
    /// # Errors
    /// Damaged data; what was given before holds.
    fn next(&mut self, batch: &mut PastBatch) -> Result<bool, HistoryError>;
}

/// One of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Past<'a> {
    Record {
        ts_init: Ts,
        record: Record<'a>,
    },
    /// These seqs (both inclusive) are held neither here nor on the tape.
    Missed {
        from: u64,
        to: u64,
    },
}

#[derive(Clone, Copy)]
enum Entry {
    Record { ts_init: Ts, at: usize },
    Missed { from: u64, to: u64 },
}

/// Records and holes in their order.
///
/// Invariant: where an entry says that a record begins, one does.
#[derive(Default, Clone)]
pub struct PastBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl PastBatch {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn push(&mut self, ts_init: Ts, record: Record<'_>) {
        self.entries.push(Entry::Record { ts_init, at: self.bytes.len() });
        self.bytes.extend_from_slice(record.bytes());
    }

    pub fn push_missed(&mut self, from: u64, to: u64) {
        self.entries.push(Entry::Missed { from, to });
    }

    /// Entry `i`.
    ///
    /// # Errors
    /// Never, by the invariant.
    ///
    /// # Panics
    /// When there is no such entry.
    pub fn get(&self, i: usize) -> Result<Past<'_>, RecordError> {
        Ok(match self.entries[i] {
            Entry::Record { ts_init, at } => Past::Record { ts_init, record: Record::parse(&self.bytes[at..], false)? },
            Entry::Missed { from, to } => Past::Missed { from, to },
        })
    }
}

impl fmt::Debug for PastBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastBatch").field("entries", &self.entries.len()).field("bytes", &self.bytes.len()).finish()
    }
}
