//! Trades, quotes and deltas into columns: one pass over the records, no cell in between.
//!
//! Layouts: `NautilusTrader`'s (`docs/catalog.md`), then [`crate::spec::TAIL`]. A book record becomes as many rows as it has
//! levels: a snapshot one `CLEAR` and then `ADD`s with flag 32, an update `UPDATE`s and `DELETE`s; the last row of a record has
//! flag 128. What that layout loses of the record stands in the companion tables.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::StringBuilder;
use wholetape_model::trade_id::TEXT_MAX;
use wholetape_model::{Body, BookAction, Level, Record, Scales, Side, Ts};

use crate::StoreError;
use crate::columns::{Columns, Dialect, mantissa};
use crate::encode::About;

/// What `ADD UPDATE DELETE CLEAR` are called, and their numbers in dialect A.
pub const ACTIONS: &[(&str, u8)] = &[("ADD", 1), ("UPDATE", 2), ("DELETE", 3), ("CLEAR", 4)];
pub const BOOK_SIDES: &[(&str, u8)] = &[("NO_ORDER_SIDE", 0), ("BUY", 1), ("SELL", 2)];
pub const AGGRESSORS: &[(&str, u8)] = &[("NO_AGGRESSOR", 0), ("BUY", 1), ("SELL", 2)];
const ADD: i8 = 0;
const UPDATE: i8 = 1;
const DELETE: i8 = 2;
const CLEAR: i8 = 3;
/// The row is part of a full state; the row is the last of its record.
pub const F_SNAPSHOT: u8 = 32;
pub const F_LAST: u8 = 128;

/// The columns of ours that follow.
#[derive(Default)]
struct Tail {
    seq: Vec<u64>,
    ts_recv: Vec<i64>,
    flags: Vec<u16>,
    conn: Vec<u32>,
    frame: Vec<u32>,
}

impl Tail {
    fn with(n: usize) -> Self {
        Self {
            seq: Vec::with_capacity(n),
            ts_recv: Vec::with_capacity(n),
            flags: Vec::with_capacity(n),
            conn: Vec::with_capacity(n),
            frame: Vec::with_capacity(n),
        }
    }

    #[inline]
    fn push(&mut self, record: &Record<'_>) {
        self.seq.push(record.seq());
        self.ts_recv.push(record.ts_recv().0);
        self.flags.push(record.flags().0);
        self.conn.push(record.conn());
        self.frame.push(record.frame());
    }

    /// All rows of a record say the same.
    #[inline]
    fn push_times(&mut self, record: &Record<'_>, n: usize) {
        let len = self.seq.len() + n;
        self.seq.resize(len, record.seq());
        self.ts_recv.resize(len, record.ts_recv().0);
        self.flags.resize(len, record.flags().0);
        self.conn.resize(len, record.conn());
        self.frame.resize(len, record.frame());
    }

    fn put(self, columns: &mut Columns) {
        columns.u64s("seq", self.seq);
        columns.times("ts_recv", self.ts_recv);
        columns.u16s("row_flags", self.flags);
        columns.u32s("conn", self.conn);
        columns.u32s("frame", self.frame);
    }
}

fn wrong(about: &About) -> StoreError {
    StoreError::Column { table: about.table.as_str(), column: "*".into(), what: "given a record of another table" }
}

/// Scales were looked at when the record was given its table.
#[inline]
fn dec(raw: i64, scale: u8) -> i128 {
    mantissa(raw, scale).unwrap_or_default()
}

pub fn trades<'a>(
    about: &About,
    dialect: Dialect,
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)>,
) -> Result<RecordBatch, StoreError> {
    let n = rows.len();
    let (mut price, mut size, mut side) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut event, mut init) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut ids = StringBuilder::with_capacity(n, n * 12);
    let mut tail = Tail::with(n);
    let (mut digits, mut text) = (itoa::Buffer::new(), [0; TEXT_MAX]);
    for (ts_init, record) in rows {
        let Body::Trade(t) = record.view()? else { return Err(wrong(about)) };
        let scales = record.scales();
        price.push(dec(t.price.0, scales.price));
        size.push(dec(t.size.0, scales.size));
        side.push(t.aggressor.map_or(0, |s| s as i8));
        ids.append_value(match t.id.number() {
            Some(number) => digits.format(number),
            None => t.id.text(&mut text),
        });
        event.push(record.ts_event().0);
        init.push(ts_init.0);
        tail.push(&record);
    }
    let mut columns = Columns::new(dialect);
    columns.decimals("price", price);
    columns.decimals("size", size);
    columns.words("aggressor_side", AGGRESSORS, side);
    columns.push("trade_id", false, Arc::new(ids.finish()));
    columns.times("ts_event", event);
    columns.times("ts_init", init);
    tail.put(&mut columns);
    Ok(columns.batch(about.metadata(dialect))?)
}

/// The companion of trades: raw ids and condition, and the id once more as a number where ids count.
pub fn agg<'a>(
    about: &About,
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)>,
) -> Result<RecordBatch, StoreError> {
    let n = rows.len();
    let (mut first, mut last, mut condition) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut init, mut id, mut seq) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    for (ts_init, record) in rows {
        let Body::Trade(t) = record.view()? else { return Err(wrong(about)) };
        init.push(ts_init.0);
        id.push(t.counted(record.flags()));
        first.push(t.first_id);
        last.push(t.last_id);
        condition.push(t.condition as u8);
        seq.push(record.seq());
    }
    let mut columns = Columns::new(Dialect::V2);
    columns.times("ts_init", init);
    columns.u64s_or_null("trade_id", id.into_iter());
    columns.u64s("first_id", first);
    columns.u64s("last_id", last);
    columns.u8s("condition", condition);
    columns.u64s("seq", seq);
    Ok(columns.batch(about.metadata(Dialect::V2))?)
}

pub fn quotes<'a>(
    about: &About,
    dialect: Dialect,
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)>,
) -> Result<RecordBatch, StoreError> {
    let n = rows.len();
    let mut numbers: [Vec<i128>; 4] = std::array::from_fn(|_| Vec::with_capacity(n));
    let (mut event, mut init, mut update) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    let mut tail = Tail::with(n);
    for (ts_init, record) in rows {
        let Body::Quote(q) = record.view()? else { return Err(wrong(about)) };
        let scales = record.scales();
        numbers[0].push(dec(q.bid.0, scales.price));
        numbers[1].push(dec(q.ask.0, scales.price));
        numbers[2].push(dec(q.bid_size.0, scales.size));
        numbers[3].push(dec(q.ask_size.0, scales.size));
        event.push(record.ts_event().0);
        init.push(ts_init.0);
        update.push(q.update_id);
        tail.push(&record);
    }
    let mut columns = Columns::new(dialect);
    for (name, values) in ["bid_price", "ask_price", "bid_size", "ask_size"].into_iter().zip(numbers) {
        columns.decimals(name, values);
    }
    columns.times("ts_event", event);
    columns.times("ts_init", init);
    tail.put(&mut columns);
    columns.u64s("update_id", update);
    Ok(columns.batch(about.metadata(dialect))?)
}

#[derive(Default)]
struct Deltas {
    action: Vec<i8>,
    side: Vec<i8>,
    price: Vec<i128>,
    size: Vec<i128>,
    flags: Vec<u8>,
}

impl Deltas {
    fn push(&mut self, action: i8, side: i8, level: Level, scales: Scales, flags: u8) {
        self.action.push(action);
        self.side.push(side);
        self.price.push(dec(level.price.0, scales.price));
        self.size.push(dec(level.size.0, scales.size));
        self.flags.push(flags);
    }
}

pub fn deltas<'a>(
    about: &About,
    dialect: Dialect,
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)> + Clone,
) -> Result<RecordBatch, StoreError> {
    let mut d = Deltas::default();
    let (mut sequence, mut event, mut init) = (Vec::new(), Vec::new(), Vec::new());
    let mut tail = Tail::default();
    for (ts_init, record) in rows {
        let Body::Book(book) = record.view()? else { return Err(wrong(about)) };
        let (before, scales) = (d.action.len(), record.scales());
        let full = book.action != BookAction::Delta;
        if full {
            d.push(CLEAR, 0, Level::default(), scales, F_SNAPSHOT);
        }
        for (side, levels) in [(Side::Buy, book.bids), (Side::Sell, book.asks)] {
            for level in levels.iter() {
                let (action, flags) = match (full, level.size.0) {
                    (true, _) => (ADD, F_SNAPSHOT),
                    (false, 0) => (DELETE, 0),
                    (false, _) => (UPDATE, 0),
                };
                d.push(action, side as i8, level, scales, flags);
            }
        }
        let rows = d.action.len() - before;
        if let Some(flags) = d.flags[before..].last_mut() {
            *flags |= F_LAST;
        }
        sequence.resize(d.action.len(), book.last_id);
        event.resize(d.action.len(), record.ts_event().0);
        init.resize(d.action.len(), ts_init.0);
        tail.push_times(&record, rows);
    }
    let n = d.action.len();
    let mut columns = Columns::new(dialect);
    columns.words("action", ACTIONS, d.action);
    columns.words("side", BOOK_SIDES, d.side);
    for (name, values) in [("price", d.price), ("size", d.size)] {
        match dialect {
            Dialect::V1 => columns.decimals(name, values),
            // The wheel's schema has them nullable; none ever is.
            Dialect::V2 => columns.push(name, true, crate::columns::decimals(dialect, values)),
        }
    }
    columns.u64s("order_id", vec![0; n]);
    columns.u8s("flags", d.flags);
    columns.u64s("sequence", sequence);
    columns.times("ts_event", event);
    columns.times("ts_init", init);
    tail.put(&mut columns);
    Ok(columns.batch(about.metadata(dialect))?)
}

/// The companion of deltas: one row a record.
pub fn book_updates<'a>(
    about: &About,
    rows: impl ExactSizeIterator<Item = (Ts, Record<'a>)>,
) -> Result<RecordBatch, StoreError> {
    let n = rows.len();
    let mut ids: [Vec<u64>; 3] = std::array::from_fn(|_| Vec::with_capacity(n));
    let (mut action, mut bids, mut asks) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut event, mut init) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut tail = Tail::with(n);
    for (ts_init, record) in rows {
        let Body::Book(book) = record.view()? else { return Err(wrong(about)) };
        action.push(book.action as u8);
        for (column, id) in ids.iter_mut().zip([book.first_id, book.last_id, book.prev_id]) {
            column.push(id);
        }
        bids.push(book.bids.len() as u32);
        asks.push(book.asks.len() as u32);
        event.push(record.ts_event().0);
        init.push(ts_init.0);
        tail.push(&record);
    }
    let mut columns = Columns::new(Dialect::V2);
    columns.times("ts_event", event);
    columns.times("ts_init", init);
    columns.u8s("action", action);
    for (name, column) in ["first_id", "last_id", "prev_id"].into_iter().zip(ids) {
        columns.u64s(name, column);
    }
    columns.u32s("bids", bids);
    columns.u32s("asks", asks);
    tail.put(&mut columns);
    Ok(columns.batch(about.metadata(Dialect::V2))?)
}
