//! Columns back into rows: what dialect C and our own tables hold, as the records that the tape had.
//!
//! The price of reading everything through records is paid once here; whoever only scans columns (SQL, `verify`'s sums) does
//! not come this way. Numbers come back at the file's precision, or with as few decimals as they need: equal in value, and that
//! is what hashes and comparisons go by (`cert.rs`).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Int8Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, PrimitiveArray, RecordBatch, StringArray};
use wholetape_model::{
    Body, Book, BookAction, Level, Levels, Price, Quote, Record, Row, RowFlags, Scales, Side, Size, Trade,
    TradeCondition, TradeId, Ts, record::encode as encode_record,
};

use crate::StoreError;
use crate::columns::raw_of;
use crate::hot::AGGRESSORS;
use crate::read::Cells;
use crate::rows::Rows;
use crate::table::Table;
use crate::{spec_market, spec_own};

/// Typed columns of a batch, by name.
struct Batch<'a> {
    table: Table,
    batch: &'a RecordBatch,
}

macro_rules! typed {
    ($($name:ident: $ty:ty, $what:literal;)+) => {$(
        fn $name(&self, name: &str) -> Result<&'a PrimitiveArray<$ty>, StoreError> {
            let column = self.batch.column_by_name(name).ok_or_else(|| self.wrong(name, "missing"))?;
            column.as_primitive_opt::<$ty>().ok_or_else(|| self.wrong(name, $what))
        }
    )+};
}

impl<'a> Batch<'a> {
    typed! {
        dec: Decimal128Type, "no decimal";
        time: TimestampNanosecondType, "no timestamp";
        u64: UInt64Type, "no 64-bit number";
        u32: UInt32Type, "no 32-bit number";
        u16: UInt16Type, "no 16-bit number";
        u8: UInt8Type, "no 8-bit number";
    }

    fn wrong(&self, name: &str, what: &'static str) -> StoreError {
        StoreError::Column { table: self.table.as_str(), column: name.into(), what }
    }

    fn tail(&self) -> Result<Tail<'a>, StoreError> {
        Ok(Tail {
            event: self.time("ts_event")?,
            init: self.time("ts_init")?,
            seq: self.u64("seq")?,
            recv: self.time("ts_recv")?,
            flags: self.u16("row_flags")?,
            conn: self.u32("conn")?,
            frame: self.u32("frame")?,
        })
    }

    /// Digits after the point that the file promises, and those that these values need.
    fn scale(&self, key: &str, names: &[&str]) -> Result<u8, StoreError> {
        let said = self.batch.schema_ref().metadata().get(key).and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut scale: u8 = said;
        for name in names {
            for value in self.dec(name)?.values() {
                if raw_of(*value, scale).is_none() {
                    scale = crate::columns::digits_of(*value, scale);
                }
            }
        }
        Ok(scale)
    }
}

struct Tail<'a> {
    event: &'a PrimitiveArray<TimestampNanosecondType>,
    init: &'a PrimitiveArray<TimestampNanosecondType>,
    seq: &'a PrimitiveArray<UInt64Type>,
    recv: &'a PrimitiveArray<TimestampNanosecondType>,
    flags: &'a PrimitiveArray<UInt16Type>,
    conn: &'a PrimitiveArray<UInt32Type>,
    frame: &'a PrimitiveArray<UInt32Type>,
}

impl Tail<'_> {
    fn row<'b>(&self, i: usize, scales: Scales, body: wholetape_model::View<'b>) -> Row<'b> {
        Row {
            ts_event: Ts(self.event.value(i)),
            ts_recv: Ts(self.recv.value(i)),
            conn: self.conn.value(i),
            frame: self.frame.value(i),
            flags: RowFlags(self.flags.value(i)),
            scales,
            body,
        }
    }

    fn push(&self, i: usize, row: &Row<'_>, span: u32, rows: &mut Rows) -> Result<(), StoreError> {
        let (ts, seq) = (Ts(self.init.value(i)), self.seq.value(i));
        rows.push_with(ts, |bytes| {
            encode_record(row, 0, seq, span, bytes);
        })?;
        Ok(())
    }
}

/// Appends the rows of `batch` to `rows`. `companion` holds the same records' rows of the table's companion.
///
/// # Errors
/// A column that is missing or of another type; numbers that no record can hold.
pub fn rows(
    table: Table,
    batch: &RecordBatch,
    companion: Option<&RecordBatch>,
    rows: &mut Rows,
) -> Result<(), StoreError> {
    let b = Batch { table, batch };
    let other = |t: Table| {
        companion.map(|batch| Batch { table: t, batch }).ok_or_else(|| StoreError::Column {
            table: t.as_str(),
            column: "*".into(),
            what: "missing: the companion file is not there",
        })
    };
    match table {
        Table::Trade | Table::TradeRaw => trades(&b, &other(Table::Agg)?, rows),
        Table::Quote => quotes(&b, rows),
        Table::Delta => books(&b, &other(Table::BookUpdate)?, rows),
        Table::Record => {
            let init = b.time("ts_init")?;
            for row in 0..batch.num_rows() {
                let bytes = Cells { table: table.as_str(), batch, row }.bytes("record")?;
                rows.push(Ts(init.value(row)), Record::parse(bytes, true)?);
            }
            Ok(())
        }
        _ => cells(&b, rows),
    }
}

fn cells(b: &Batch<'_>, rows: &mut Rows) -> Result<(), StoreError> {
    let tail = b.tail()?;
    for row in 0..b.batch.num_rows() {
        let cells = Cells { table: b.table.as_str(), batch: b.batch, row };
        let body = match spec_own::body(b.table, &cells)? {
            Some(body) => body,
            None => spec_market::body(b.table, &cells)?
                .ok_or_else(|| b.wrong("*", "a view: nothing is read back from it"))?,
        };
        let span = if b.table == Table::Gap { cells.int("span")? as u32 } else { 1 };
        tail.push(row, &tail.row(row, Scales::default(), body), span, rows)?;
    }
    Ok(())
}

/// An id that does not count stands in the main file alone.
fn named(b: &Batch<'_>, texts: &StringArray, row: usize) -> Result<TradeId, StoreError> {
    TradeId::parse(texts.value(row).as_bytes())
        .ok_or_else(|| b.wrong("trade_id", "neither a number nor a name that a venue gives"))
}

fn trades(b: &Batch<'_>, agg: &Batch<'_>, rows: &mut Rows) -> Result<(), StoreError> {
    if agg.batch.num_rows() != b.batch.num_rows() {
        return Err(agg.wrong("*", "of another length than the trades"));
    }
    let (price, size, tail) = (b.dec("price")?, b.dec("size")?, b.tail()?);
    let side = b.batch.column_by_name("aggressor_side").and_then(|c| c.as_dictionary_opt::<Int8Type>());
    let side = side.ok_or_else(|| b.wrong("aggressor_side", "no dictionary"))?;
    let names = side.values().as_string_opt::<i32>().ok_or_else(|| b.wrong("aggressor_side", "no dictionary"))?;
    let sides: Vec<Option<Side>> = (0..names.len())
        .map(|i| AGGRESSORS.iter().find(|a| a.0 == names.value(i)).and_then(|a| Side::from_u8(a.1)))
        .collect();
    let texts = b.batch.column_by_name("trade_id").and_then(|c| c.as_string_opt::<i32>());
    let texts = texts.ok_or_else(|| b.wrong("trade_id", "no text"))?;
    let (id, first, last) = (agg.u64("trade_id")?, agg.u64("first_id")?, agg.u64("last_id")?);
    let (condition, seq) = (agg.u8("condition")?, agg.u64("seq")?);
    let scales = Scales { price: b.scale("price_precision", &["price"])?, size: b.scale("size_precision", &["size"])? };
    for i in 0..b.batch.num_rows() {
        if seq.value(i) != tail.seq.value(i) {
            return Err(agg.wrong("seq", "not that of the trades"));
        }
        let trade = Trade {
            id: if id.is_valid(i) { id.value(i).into() } else { named(b, texts, i)? },
            first_id: first.value(i),
            last_id: last.value(i),
            price: Price(number(b, price.value(i), scales.price)?),
            size: Size(number(b, size.value(i), scales.size)?),
            aggressor: side.key(i).and_then(|key| sides.get(key).copied().flatten()),
            condition: TradeCondition::from_u8(condition.value(i)),
        };
        tail.push(i, &tail.row(i, scales, Body::Trade(trade)), 1, rows)?;
    }
    Ok(())
}

#[inline]
fn number(b: &Batch<'_>, mantissa: i128, scale: u8) -> Result<i64, StoreError> {
    raw_of(mantissa, scale).ok_or_else(|| b.wrong("price or size", "a number beyond 64 bits"))
}

fn quotes(b: &Batch<'_>, rows: &mut Rows) -> Result<(), StoreError> {
    let tail = b.tail()?;
    let (bid, ask) = (b.dec("bid_price")?, b.dec("ask_price")?);
    let (bid_size, ask_size, update) = (b.dec("bid_size")?, b.dec("ask_size")?, b.u64("update_id")?);
    let scales = Scales {
        price: b.scale("price_precision", &["bid_price", "ask_price"])?,
        size: b.scale("size_precision", &["bid_size", "ask_size"])?,
    };
    for i in 0..b.batch.num_rows() {
        let quote = Quote {
            bid: Price(number(b, bid.value(i), scales.price)?),
            bid_size: Size(number(b, bid_size.value(i), scales.size)?),
            ask: Price(number(b, ask.value(i), scales.price)?),
            ask_size: Size(number(b, ask_size.value(i), scales.size)?),
            update_id: update.value(i),
        };
        tail.push(i, &tail.row(i, scales, Body::Quote(quote)), 1, rows)?;
    }
    Ok(())
}

/// The deltas' rows stand for the companion's records, in order: one `CLEAR` where it is a full state, then bids, then asks.
fn books(b: &Batch<'_>, updates: &Batch<'_>, rows: &mut Rows) -> Result<(), StoreError> {
    let tail = updates.tail()?;
    let (price, size) = (b.dec("price")?, b.dec("size")?);
    let (first, last, prev) = (updates.u64("first_id")?, updates.u64("last_id")?, updates.u64("prev_id")?);
    let (action, bids, asks) = (updates.u8("action")?, updates.u32("bids")?, updates.u32("asks")?);
    let scales = Scales { price: b.scale("price_precision", &["price"])?, size: b.scale("size_precision", &["size"])? };
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    for i in 0..updates.batch.num_rows() {
        let action = BookAction::from_u8(action.value(i))
            .ok_or_else(|| updates.wrong("action", "a code that this build does not know"))?;
        at += usize::from(action != BookAction::Delta);
        let (n_bids, n_asks) = (bids.value(i) as usize, asks.value(i) as usize);
        levels.clear();
        for row in at..at + n_bids + n_asks {
            if row >= b.batch.num_rows() {
                return Err(b.wrong("*", "shorter than the book updates"));
            }
            levels.push(Level {
                price: Price(number(b, price.value(row), scales.price)?),
                size: Size(number(b, size.value(row), scales.size)?),
            });
        }
        at += n_bids + n_asks;
        let body = Body::Book(Book {
            action,
            first_id: first.value(i),
            last_id: last.value(i),
            prev_id: prev.value(i),
            bids: Levels::Native(&levels[..n_bids]),
            asks: Levels::Native(&levels[n_bids..]),
        });
        tail.push(i, &tail.row(i, scales, body), 1, rows)?;
    }
    if at != b.batch.num_rows() {
        return Err(b.wrong("*", "longer than the book updates"));
    }
    Ok(())
}
