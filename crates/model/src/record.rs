//! The tape's record: fixed layout, little-endian, self-describing, version 1.
//!
//! ```text
//!  0 u32 len         whole record in bytes, a multiple of 8
//!  4 u32 crc         CRC-32 (IEEE) of bytes 8..len
//!  8 u8  version     1
//!  9 u8  kind        the body's layout, see `body.rs`
//! 10 u16 flags       RowFlags
//! 12 u32 topic       the topic's number in its lane (named by the lane's topic table)
//! 16 u64 seq
//! 24 i64 ts_event    ns
//! 32 i64 ts_recv     ns
//! 40 u32 conn        connection number in this epoch (0 = none)
//! 44 u32 frame       frame number within the connection
//! 48 u32 span        seq − prev: 1 but after a power loss
//! 52 u8  price_scale
//! 53 u8  size_scale
//! 54 u8  detail      the body's small enum
//! 55 u8  detail2
//! 56 …   body, padded with zeros to 8
//! ```
//!
//! Golden files (`golden/`) hold one record of each kind and version and are never rewritten.

mod body;

use std::fmt;

use crate::event::{Scales, View};
use crate::time::Ts;

/// The layout that this build writes. It reads this one and all before it.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER: usize = 56;
/// The largest record that is written or believed: a full-depth snapshot of 2 × 500 000 levels fits.
pub const LEN_MAX: usize = 16 << 20;

/// Flags of a row. Stored with it everywhere (`row_flags`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RowFlags(pub u16);

impl RowFlags {
    /// Late row, healed over REST.
    pub const LATE_REST: Self = Self(1);
    /// Late row from the venue's archive.
    pub const LATE_ARCHIVE: Self = Self(1 << 1);
    /// Late row from another connection.
    pub const LATE_REDUNDANT: Self = Self(1 << 2);
    /// A full book repeated for readers that start here; no change of state.
    pub const CHECKPOINT: Self = Self(1 << 3);
    /// Queued while its book was syncing, appended at the splice.
    pub const SPLICED: Self = Self(1 << 4);
    /// `ts_event` is ours: the venue printed none.
    pub const TS_LOCAL: Self = Self(1 << 5);
    /// Read while its line lagged: the content is right, `ts_recv` is late. No failed check, so no part of `is_flagged`.
    pub const LAGGING: Self = Self(1 << 6);
    /// The trade's id names it and does not follow the one before: ids show no holes, and repeats are found by name alone.
    pub const LOOSE_ID: Self = Self(1 << 7);
    /// Quality findings, one bit per check.
    pub const BAD_PRICE: Self = Self(1 << 8);
    pub const BAD_SIZE: Self = Self(1 << 9);
    pub const BAD_TIME: Self = Self(1 << 10);
    pub const CROSSED: Self = Self(1 << 11);
    pub const WIDE_SPREAD: Self = Self(1 << 12);
    pub const OFF_TICK: Self = Self(1 << 13);
    /// Failed checks by name.
    pub const CHECKS: [(Self, &'static str); 6] = [
        (Self::BAD_PRICE, "price"),
        (Self::BAD_SIZE, "size"),
        (Self::BAD_TIME, "time"),
        (Self::CROSSED, "crossed"),
        (Self::WIDE_SPREAD, "wide_spread"),
        (Self::OFF_TICK, "off_tick"),
    ];
    const LATE: u16 = 0b111;
    const FLAGGED: u16 = 0xff00;

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && other.0 != 0
    }

    /// The row came after its time.
    #[must_use]
    pub const fn is_late(self) -> bool {
        self.0 & Self::LATE != 0
    }

    /// A quality check failed: `view = "clean"` leaves the row out.
    #[must_use]
    pub const fn is_flagged(self) -> bool {
        self.0 & Self::FLAGGED != 0
    }
}

impl fmt::Debug for RowFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// What a writer appends; the tape adds topic number and seq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    pub ts_event: Ts,
    pub ts_recv: Ts,
    pub conn: u32,
    pub frame: u32,
    pub flags: RowFlags,
    pub scales: Scales,
    pub body: View<'a>,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record cut short: {have} of {need} bytes")]
    Short { have: usize, need: usize },
    #[error("record length {0} is impossible")]
    Length(usize),
    #[error("record checksum differs")]
    Checksum,
    #[error("record version {0} is newer than this build reads")]
    Version(u8),
    #[error("record kind {0} is unknown")]
    Kind(u8),
    #[error("record body of kind {kind} is not what its version says: {why}")]
    Body { kind: u8, why: &'static str },
}

/// Appends one encoded record to `out` and returns its length in bytes. No allocation once `out` is warm.
///
/// # Panics
/// When the body is longer than [`LEN_MAX`]: callers bound levels and texts first.
pub fn encode(row: &Row<'_>, topic: u32, seq: u64, span: u32, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let (kind, detail, detail2) = body::encode(&row.body, out);
    while !(out.len() - start).is_multiple_of(8) {
        out.push(0);
    }
    let len = out.len() - start;
    assert!(len <= LEN_MAX, "record of {len} bytes: bodies are bounded before they reach the tape");
    let h = &mut out[start..start + HEADER];
    h[0..4].copy_from_slice(&(len as u32).to_le_bytes());
    h[8] = VERSION;
    h[9] = kind;
    h[10..12].copy_from_slice(&row.flags.0.to_le_bytes());
    h[12..16].copy_from_slice(&topic.to_le_bytes());
    h[16..24].copy_from_slice(&seq.to_le_bytes());
    h[24..32].copy_from_slice(&row.ts_event.0.to_le_bytes());
    h[32..40].copy_from_slice(&row.ts_recv.0.to_le_bytes());
    h[40..44].copy_from_slice(&row.conn.to_le_bytes());
    h[44..48].copy_from_slice(&row.frame.to_le_bytes());
    h[48..52].copy_from_slice(&span.to_le_bytes());
    h[52] = row.scales.price;
    h[53] = row.scales.size;
    h[54] = detail;
    h[55] = detail2;
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    len
}

/// Appends a record that was read elsewhere, with another topic number, seq and span; everything else as it is.
pub fn copy(record: &Record<'_>, topic: u32, seq: u64, span: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(record.bytes());
    let h = &mut out[start..start + HEADER];
    h[12..16].copy_from_slice(&topic.to_le_bytes());
    h[16..24].copy_from_slice(&seq.to_le_bytes());
    h[48..52].copy_from_slice(&span.to_le_bytes());
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// A record as it lies in memory or on disk: length and version checked, checksum when asked, body on demand.
#[derive(Clone, Copy)]
pub struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// The record that starts at `bytes[0]`; what follows it is ignored.
    ///
    /// # Errors
    /// `Short`, `Length`, `Version`, and `Checksum` when `verify`.
    pub fn parse(bytes: &'a [u8], verify: bool) -> Result<Self, RecordError> {
        if bytes.len() < HEADER {
            return Err(RecordError::Short { have: bytes.len(), need: HEADER });
        }
        let len = u32_at(bytes, 0) as usize;
        if !(HEADER..=LEN_MAX).contains(&len) || !len.is_multiple_of(8) {
            return Err(RecordError::Length(len));
        }
        let record = bytes.get(..len).ok_or(RecordError::Short { have: bytes.len(), need: len })?;
        if verify && crc32fast::hash(&record[8..]) != u32_at(record, 4) {
            return Err(RecordError::Checksum);
        }
        if record[8] == 0 || record[8] > VERSION {
            return Err(RecordError::Version(record[8]));
        }
        Ok(Self(record))
    }

    /// The whole record.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.0[9]
    }

    #[must_use]
    pub fn flags(&self) -> RowFlags {
        RowFlags(u16::from_le_bytes([self.0[10], self.0[11]]))
    }

    #[must_use]
    pub fn topic(&self) -> u32 {
        u32_at(self.0, 12)
    }

    #[must_use]
    pub fn seq(&self) -> u64 {
        u64_at(self.0, 16)
    }

    /// The record covers `(prev, seq]`.
    #[must_use]
    pub fn prev(&self) -> u64 {
        self.seq().saturating_sub(u64::from(self.span()))
    }

    #[must_use]
    pub fn ts_event(&self) -> Ts {
        Ts(u64_at(self.0, 24) as i64)
    }

    #[must_use]
    pub fn ts_recv(&self) -> Ts {
        Ts(u64_at(self.0, 32) as i64)
    }

    #[must_use]
    pub fn conn(&self) -> u32 {
        u32_at(self.0, 40)
    }

    #[must_use]
    pub fn frame(&self) -> u32 {
        u32_at(self.0, 44)
    }

    #[must_use]
    pub fn span(&self) -> u32 {
        u32_at(self.0, 48)
    }

    #[must_use]
    pub const fn scales(&self) -> Scales {
        Scales { price: self.0[52], size: self.0[53] }
    }

    /// The body, borrowing from the record.
    ///
    /// # Errors
    /// `Kind` and `Body`.
    pub fn view(&self) -> Result<View<'a>, RecordError> {
        body::decode(self.0[9], self.0[54], self.0[55], &self.0[HEADER..])
    }

    /// Everything that a writer gave.
    ///
    /// # Errors
    /// As [`Record::view`].
    pub fn row(&self) -> Result<Row<'a>, RecordError> {
        Ok(Row {
            ts_event: self.ts_event(),
            ts_recv: self.ts_recv(),
            conn: self.conn(),
            frame: self.frame(),
            flags: self.flags(),
            scales: self.scales(),
            body: self.view()?,
        })
    }

    /// Gap, validity or retract: decided without decoding the body.
    #[must_use]
    pub const fn is_mark(&self) -> bool {
        body::is_mark(self.kind())
    }

    /// A book snapshot or checkpoint: a reader that has nothing can start here.
    #[must_use]
    pub const fn is_book_start(&self) -> bool {
        body::is_book_start(self.kind(), self.0[54])
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic())
            .field("seq", &self.seq())
            .field("row", &self.row())
            .finish()
    }
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    let mut w = [0_u8; 8];
    w.copy_from_slice(&b[at..at + 8]);
    u64::from_le_bytes(w)
}

#[cfg(test)]
mod tests;
