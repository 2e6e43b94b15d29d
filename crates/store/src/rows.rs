//! Rows on their way into the catalog and out of it: a tape record and the time that orders it.
//!
//! Whatever the table, a row is the record that the tape held, byte for byte, and its `ts_init`, the time of the corrected
//! order (DESIGN §2). So flushing, merging, compaction, replay, hashing and verification know nothing of columns, and
//! columns know nothing of them.
//!
//! Invariant: the bytes of an entry are one whole record; nothing else writes to `bytes`.

use wholetape_model::{Record, RecordError, Ts};

/// Where a row lies, and what orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    ts_init: i64,
    seq: u64,
    at: usize,
}

/// Rows of one topic, in memory.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    bytes: Vec<u8>,
    index: Vec<Entry>,
}

impl Rows {
    /// Adds a record.
    pub fn push(&mut self, ts_init: Ts, record: Record<'_>) {
        self.index.push(Entry { ts_init: ts_init.0, seq: record.seq(), at: self.bytes.len() });
        self.bytes.extend_from_slice(record.bytes());
    }

    /// Adds the record that `encode` appends to the buffer.
    ///
    /// # Errors
    /// What `encode` appended is no record.
    pub fn push_with(&mut self, ts_init: Ts, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), RecordError> {
        let at = self.bytes.len();
        encode(&mut self.bytes);
        let record = Record::parse(&self.bytes[at..], false)?;
        self.index.push(Entry { ts_init: ts_init.0, seq: record.seq(), at });
        Ok(())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.index.capacity() * size_of::<Entry>()
    }

    /// Brings the rows into the corrected order: `(ts_init, seq)`.
    pub fn sort(&mut self) {
        if !self.index.is_sorted() {
            self.index.sort_unstable();
        }
    }

    /// Row `i` in the present order.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn get(&self, i: usize) -> (Ts, Record<'_>) {
        let entry = self.index[i];
        let record = Record::parse(&self.bytes[entry.at..], false).expect("a record was put there");
        (Ts(entry.ts_init), record)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Ts, Record<'_>)> + Clone {
        (0..self.index.len()).map(|i| self.get(i))
    }

    /// Rows `range` in the present order.
    pub fn range(&self, range: std::ops::Range<usize>) -> impl ExactSizeIterator<Item = (Ts, Record<'_>)> + Clone {
        range.map(|i| self.get(i))
    }

    /// What orders row `i`: `(ts_init, seq)`.
    #[must_use]
    pub fn key(&self, i: usize) -> (i64, u64) {
        (self.index[i].ts_init, self.index[i].seq)
    }

    #[must_use]
    pub fn ts_init(&self, i: usize) -> Ts {
        Ts(self.index[i].ts_init)
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.index.clear();
    }

    /// Takes the rows from `at` on into a buffer of their own.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self::default();
        for i in at..self.len() {
            let (ts, record) = self.get(i);
            rest.push(ts, record);
        }
        self.index.truncate(at);
        if self.index.is_empty() {
            self.bytes.clear();
        }
        rest
    }

    /// The lowest seq that these rows cover.
    #[must_use]
    pub fn first_seq(&self) -> Option<u64> {
        self.iter().map(|(_, record)| record.prev() + 1).min()
    }

    /// The seqs that these rows cover, as closed intervals in order.
    #[must_use]
    pub fn seqs(&self) -> crate::seqs::Seqs {
        let mut all: Vec<(u64, u64)> = self.iter().map(|(_, r)| (r.prev() + 1, r.seq())).collect();
        all.sort_unstable();
        let mut seqs = crate::seqs::Seqs::default();
        for (lo, hi) in all {
            seqs.add(lo, hi);
        }
        seqs
    }
}
