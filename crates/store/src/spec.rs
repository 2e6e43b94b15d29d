//! What a table's columns are: name, type, meaning, and how a record fills them. The data dictionary is made of this.
//!
//! Rare tables are written and read through these descriptions, cell by cell. Trades, quotes and deltas have code of their own
//! (`hot.rs`), held to the same descriptions by a test.

use std::borrow::Cow;

use wholetape_model::{Decimal, Record, Ts, View};

use crate::columns::mantissa;

/// How a column is stored. Both dialects' forms stand in `docs/data-dictionary.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A mantissa at 16 decimals.
    Dec,
    /// ns since the Unix epoch, UTC.
    Time,
    U64,
    U32,
    U16,
    U8,
    Text,
    Bytes,
    Bool,
    /// One of a small set: the word, and its number in dialect A (`None`: text there too).
    Word(&'static [(&'static str, u8)]),
    /// As `Word`, but text in dialect A.
    WordText(&'static [(&'static str, u8)]),
    /// Text; in dialect A bytes holding a JSON string.
    Quoted,
    /// Minutes: 64 bits, in dialect A 16.
    Minutes,
    /// JSON text; in dialect A bytes.
    Json,
    /// Bids or asks of a depth row: a list of structs in dialect C, ten columns each in dialect A.
    Levels,
}

/// The value of one cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    Null,
    Dec(i128),
    Int(u64),
    Time(i64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Bool(bool),
    /// Place in the column's words.
    Word(u8),
}

impl Cell<'_> {
    #[must_use]
    pub fn dec(d: Decimal) -> Self {
        mantissa(d.raw, d.scale).map_or(Self::Null, Self::Dec)
    }

    /// Null where the venue printed no time.
    #[must_use]
    pub const fn time_or_null(ts: Ts) -> Self {
        if ts.0 == 0 { Self::Null } else { Self::Time(ts.0) }
    }

    /// Null where there is none: a record says 0 then.
    #[must_use]
    pub const fn int_or_null(n: u64) -> Self {
        if n == 0 { Self::Null } else { Self::Int(n) }
    }

    /// Null where none is printed: a record says 0 then.
    #[must_use]
    pub fn dec_or_null(d: Decimal) -> Self {
        if d.raw == 0 { Self::Null } else { Self::dec(d) }
    }
}

/// One row, as a getter sees it.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    pub ts_init: Ts,
    pub record: Record<'a>,
    pub view: View<'a>,
    /// The instrument's id, or what the topic is about.
    pub id: &'a str,
    /// Digits after the point that prices and sizes of its instrument are pinned to.
    pub digits: (u8, u8),
}

/// One column.
#[derive(Clone, Copy)]
pub struct Col {
    pub name: &'static str,
    pub ty: Type,
    pub null: bool,
    /// `quote`, `base`, `ns`; empty for what has none.
    pub unit: &'static str,
    pub doc: &'static str,
    pub get: for<'a> fn(&Item<'a>) -> Cell<'a>,
}

/// The columns that follow in every table.
pub const TAIL: &[Col] = &[
    Col {
        name: "seq",
        ty: Type::U64,
        null: false,
        unit: "",
        doc: "place in the topic on the tape: the order of arrival; 0 for rows that the tape never saw",
        get: |i| Cell::Int(i.record.seq()),
    },
    Col {
        name: "ts_recv",
        ty: Type::Time,
        null: false,
        unit: "ns",
        doc: "when we received it",
        get: |i| Cell::Time(i.record.ts_recv().0),
    },
    Col {
        name: "row_flags",
        ty: Type::U16,
        null: false,
        unit: "bits",
        doc: "1 healed from REST, 2 from an archive, 4 from another socket; 8 checkpoint; 16 spliced; 32 time is ours; 64 lagging; \
              256 and above: failed checks (price, size, time, crossed, wide spread, off the tick)",
        get: |i| Cell::Int(u64::from(i.record.flags().0)),
    },
    Col {
        name: "conn",
        ty: Type::U32,
        null: false,
        unit: "",
        doc: "the connection that brought it (`links`); 0 = none",
        get: |i| Cell::Int(u64::from(i.record.conn())),
    },
    Col {
        name: "frame",
        ty: Type::U32,
        null: false,
        unit: "",
        doc: "which frame of that connection",
        get: |i| Cell::Int(u64::from(i.record.frame())),
    },
];

/// `ts_event` and `ts_init`, which stand where each layout wants them.
pub const TS_EVENT: Col = Col {
    name: "ts_event",
    ty: Type::Time,
    null: false,
    unit: "ns",
    doc: "the venue's time; our receive time where it prints none (row_flags 32)",
    get: |i| Cell::Time(i.record.ts_event().0),
};
pub const TS_INIT: Col = Col {
    name: "ts_init",
    ty: Type::Time,
    null: false,
    unit: "ns",
    doc: "the corrected order: receive time; of rows that came late their ts_event, between their neighbours'",
    get: |i| Cell::Time(i.ts_init.0),
};
