//! Rows that were decoded and are not due yet, by seq.
//!
//! A row group is decoded whole, and its rows are spread over many seqs: live ones follow each other, late ones came minutes or days
//! later. Keeping those means that a group is decoded once. They are kept up to a bound; beyond it the rows with the highest
//! seqs go again, down to half of it, and their groups are told from which seq on to be decoded once more. So whoever decodes a group
//! again has given out half of the bound meanwhile.

use std::collections::BTreeMap;

use wholetape_model::{Record, Ts};

/// Where a row came from: which part, which group.
pub(super) type Origin = (usize, usize);

struct Row {
    ts_init: Ts,
    origin: Origin,
    bytes: Box<[u8]>,
}

/// What a row costs beside its bytes.
const ROW: usize = size_of::<Row>() + size_of::<u64>() + 16;

/// See the module.
pub(super) struct Pending {
    rows: BTreeMap<u64, Row>,
    bytes: usize,
    bytes_max: usize,
}

impl Pending {
    pub fn new(bytes_max: usize) -> Self {
        Self { rows: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Memory that the rows take.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    /// The row with the lowest seq.
    pub fn first(&self) -> Option<(Ts, Record<'_>)> {
        let (_, row) = self.rows.first_key_value()?;
        Some((row.ts_init, Record::parse(&row.bytes, false).expect("a record was put there")))
    }

    pub fn remove_first(&mut self) {
        if let Some((_, row)) = self.rows.pop_first() {
            self.bytes -= ROW + row.bytes.len();
        }
    }

    /// Adds a row. Where that makes too many of them, those that go are told to `gone` with their seqs, and the lowest of these is
    /// returned.
    pub fn add(
        &mut self,
        ts_init: Ts,
        record: &Record<'_>,
        origin: Origin,
        gone: &mut impl FnMut(Origin, u64),
    ) -> Option<u64> {
        let bytes: Box<[u8]> = record.bytes().into();
        self.bytes += ROW + bytes.len();
        if let Some(old) = self.rows.insert(record.seq(), Row { ts_init, origin, bytes }) {
            self.bytes -= ROW + old.bytes.len();
        }
        if self.bytes <= self.bytes_max {
            return None;
        }
        let mut lowest = None;
        while self.bytes > self.bytes_max / 2 && self.rows.len() > 1 {
            let Some((seq, row)) = self.rows.pop_last() else { break };
            self.bytes -= ROW + row.bytes.len();
            gone(row.origin, seq);
            lowest = Some(seq);
        }
        lowest
    }
}
