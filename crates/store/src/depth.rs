//! `order_book_depths`: the ten best levels a side, made from the book's own records.
//!
//! One row for each second in which the book changed: its state after the last update of that second, with that update's times
//! and ids. A state is known from the first full state of a part on; a day's first update follows one (`feed::line`). The store
//! holds only updates that a verified book accepted, so each row was right when it was made.

use std::sync::Arc;

use arrow_array::builder::{Decimal128Builder, ListBuilder, StructBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields};
use wholetape_book::OrderBook;
use wholetape_model::{
    Body, Book, BookAction, Level, Levels, Record, Row, RowFlags, Side, Ts, record::encode as encode_record,
};

use crate::StoreError;
use crate::columns::{Columns, Dialect, decimal_type, mantissa};
use crate::encode::About;
use crate::rows::Rows;

/// Levels a side.
pub const LEVELS: usize = 10;
const SECOND: i64 = 1_000_000_000;

/// More levels than any venue has: what a damaged file may make us keep.
const LEVELS_MAX: usize = 1 << 20;

/// The book of one part while its records pass by.
#[derive(Debug, Default)]
pub struct Depth {
    /// Known from the first full state on.
    book: Option<OrderBook>,
    /// The last record: its `ts_init`, and the record without its levels.
    last: Option<(Ts, Stamp)>,
    told: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stamp {
    ts_event: Ts,
    ts_recv: Ts,
    conn: u32,
    frame: u32,
    seq: u64,
    last_id: u64,
}

impl Depth {
    /// Takes the next record; what the second before it ended with goes to `out`.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn take(&mut self, ts_init: Ts, record: &Record<'_>, out: &mut Rows) -> Result<(), StoreError> {
        let Body::Book(update) = record.view()? else { return Ok(()) };
        if self.last.is_some_and(|(ts, _)| ts.0.div_euclid(SECOND) != ts_init.0.div_euclid(SECOND)) {
            self.tell(out)?;
        }
        let (bids, asks, scales) = (update.bids, update.asks, record.scales());
        let applied = match (&mut self.book, update.action) {
            (Some(book), BookAction::Delta) => book.apply(bids, asks, scales),
            (None, BookAction::Delta) => return Ok(()),
            (book, _) => book.get_or_insert_with(|| OrderBook::new(LEVELS_MAX)).replace(bids, asks, scales),
        };
        if applied.is_err() {
            // Numbers that no book can hold together: no state until the next full one.
            (self.book, self.last) = (None, None);
            return Ok(());
        }
        let stamp = Stamp {
            ts_event: record.ts_event(),
            ts_recv: record.ts_recv(),
            conn: record.conn(),
            frame: record.frame(),
            seq: record.seq(),
            last_id: update.last_id,
        };
        (self.last, self.told) = (Some((ts_init, stamp)), false);
        Ok(())
    }

    /// What the last second ended with.
    ///
    /// # Errors
    /// A bug in the encoding of records.
    pub fn tell(&mut self, out: &mut Rows) -> Result<(), StoreError> {
        let Some((ts_init, s)) = self.last.filter(|_| !std::mem::replace(&mut self.told, true)) else { return Ok(()) };
        let Some(book) = &self.book else { return Ok(()) };
        let (mut bids, mut asks) = (Vec::with_capacity(LEVELS), Vec::with_capacity(LEVELS));
        book.top(Side::Buy, LEVELS, &mut bids);
        book.top(Side::Sell, LEVELS, &mut asks);
        let body = Body::Book(Book {
            action: BookAction::Checkpoint,
            first_id: s.last_id,
            last_id: s.last_id,
            prev_id: 0,
            bids: Levels::Native(&bids),
            asks: Levels::Native(&asks),
        });
        let row = Row {
            ts_event: s.ts_event,
            ts_recv: s.ts_recv,
            conn: s.conn,
            frame: s.frame,
            flags: RowFlags::default(),
            scales: book.scales(),
            body,
        };
        out.push_with(ts_init, |bytes| {
            encode_record(&row, 0, s.seq, 1, bytes);
        })?;
        Ok(())
    }
}

/// One row, unpacked.
struct Ten<'a> {
    ts_init: Ts,
    record: Record<'a>,
    last_id: u64,
    sides: [Vec<(i128, i128)>; 2],
}

fn unpack<'a>(about: &About, ts_init: Ts, record: Record<'a>) -> Result<Ten<'a>, StoreError> {
    let Body::Book(book) = record.view()? else {
        let what = "given a record of another table";
        return Err(StoreError::Column { table: about.table.as_str(), column: "*".into(), what });
    };
    let s = record.scales();
    let exact =
        |l: Level| (mantissa(l.price.0, s.price).unwrap_or_default(), mantissa(l.size.0, s.size).unwrap_or_default());
    let sides = [book.bids.iter().map(exact).collect(), book.asks.iter().map(exact).collect()];
    Ok(Ten { ts_init, record, last_id: book.last_id, sides })
}

/// Rows of [`Depth`] in either dialect. A level has no count of orders: 1 where there is one, 0 where the book is shorter.
///
/// # Errors
/// A record that is no book.
pub fn batch<'a>(
    about: &About,
    dialect: Dialect,
    rows: impl Iterator<Item = (Ts, Record<'a>)>,
) -> Result<RecordBatch, StoreError> {
    let all: Vec<Ten<'a>> = rows.map(|(ts, record)| unpack(about, ts, record)).collect::<Result<_, _>>()?;
    let mut columns = Columns::new(dialect);
    match dialect {
        Dialect::V2 => {
            for (side, name) in ["bids", "asks"].into_iter().enumerate() {
                columns.push(name, false, lists(all.iter().map(|row| &row.sides[side]))?);
            }
        }
        Dialect::V1 => flat(&mut columns, &all),
    }
    columns.u8s("flags", vec![0; all.len()]);
    columns.u64s("sequence", all.iter().map(|row| row.last_id).collect());
    columns.times("ts_event", all.iter().map(|row| row.record.ts_event().0).collect());
    columns.times("ts_init", all.iter().map(|row| row.ts_init.0).collect());
    columns.u64s("seq", all.iter().map(|row| row.record.seq()).collect());
    Ok(columns.batch(about.metadata(dialect))?)
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("price", decimal_type(Dialect::V2), false),
        Field::new("size", decimal_type(Dialect::V2), false),
        Field::new("count", DataType::UInt32, false),
        Field::new("order_id", DataType::UInt64, false),
    ])
}

fn lists<'a>(rows: impl Iterator<Item = &'a Vec<(i128, i128)>>) -> Result<ArrayRef, StoreError> {
    let bug =
        || StoreError::Column { table: "order_book_depths", column: "bids".into(), what: "not built as described" };
    let decimal = || Box::new(Decimal128Builder::new().with_data_type(decimal_type(Dialect::V2)));
    let (count, order) = (Box::new(UInt32Builder::new()), Box::new(UInt64Builder::new()));
    let item = StructBuilder::new(fields(), vec![decimal(), decimal(), count, order]);
    let mut lists = ListBuilder::new(item).with_field(Field::new("item", DataType::Struct(fields()), false));
    for levels in rows {
        for (price, size) in levels {
            let item = lists.values();
            item.field_builder::<Decimal128Builder>(0).ok_or_else(bug)?.append_value(*price);
            item.field_builder::<Decimal128Builder>(1).ok_or_else(bug)?.append_value(*size);
            item.field_builder::<UInt32Builder>(2).ok_or_else(bug)?.append_value(1);
            item.field_builder::<UInt64Builder>(3).ok_or_else(bug)?.append_value(0);
            item.append(true);
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// Dialect A: a column for each side, rank and figure.
fn flat(columns: &mut Columns, all: &[Ten<'_>]) {
    for price in [true, false] {
        for (side, name) in ["bid", "ask"].into_iter().enumerate() {
            for rank in 0..LEVELS {
                let of = |row: &Ten<'_>| row.sides[side].get(rank).map_or(0, |l| if price { l.0 } else { l.1 });
                let figure = if price { "price" } else { "size" };
                columns.decimals(&format!("{name}_{figure}_{rank}"), all.iter().map(of).collect());
            }
        }
    }
    for (side, name) in ["bid", "ask"].into_iter().enumerate() {
        for rank in 0..LEVELS {
            let counts = all.iter().map(|row| u32::from(row.sides[side].len() > rank)).collect();
            columns.u32s(&format!("{name}_count_{rank}"), counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use wholetape_model::{Price, Scales, Size};

    use super::*;

    fn book(
        rows: &mut Rows,
        seq: u64,
        ts: i64,
        action: BookAction,
        scale: u8,
        bids: &[(i64, i64)],
        asks: &[(i64, i64)],
    ) {
        let of = |all: &[(i64, i64)]| -> Vec<Level> {
            all.iter().map(|(p, n)| Level { price: Price(*p), size: Size(*n) }).collect()
        };
        let (bids, asks) = (of(bids), of(asks));
        let body = Body::Book(Book {
            action,
            first_id: seq,
            last_id: seq,
            prev_id: 0,
            bids: Levels::Native(&bids),
            asks: Levels::Native(&asks),
        });
        let scales = Scales { price: scale, size: 0 };
        let row =
            Row { ts_event: Ts(ts), ts_recv: Ts(ts), conn: 1, frame: 1, flags: RowFlags::default(), scales, body };
        rows.push_with(Ts(ts), |out| {
            encode_record(&row, 0, seq, 1, out);
        })
        .unwrap();
    }

    #[test]
    fn one_state_a_second_after_its_last_update() {
        let mut rows = Rows::default();
        let s = SECOND;
        // Nothing is known before the first full state.
        book(&mut rows, 1, s, BookAction::Delta, 1, &[(90, 1)], &[]);
        book(&mut rows, 2, 2 * s, BookAction::Snapshot, 1, &[(100, 5), (99, 4)], &[(101, 6)]);
        book(&mut rows, 3, 2 * s + 5, BookAction::Delta, 1, &[(100, 0)], &[(101, 7)]);
        // A finer tick from here on.
        book(&mut rows, 4, 4 * s, BookAction::Delta, 2, &[(995, 2)], &[]);
        let (mut depth, mut out) = (Depth::default(), Rows::default());
        for (ts, record) in rows.iter() {
            depth.take(ts, &record, &mut out).unwrap();
        }
        depth.tell(&mut out).unwrap();
        depth.tell(&mut out).unwrap();
        let told: Vec<_> = out
            .iter()
            .map(|(ts, r)| {
                let Body::Book(b) = r.view().unwrap() else { panic!() };
                let of = |l: Levels<'_>| l.iter().map(|l| (l.price.0, l.size.0)).collect::<Vec<_>>();
                (ts.0, r.seq(), r.scales().price, of(b.bids), of(b.asks))
            })
            .collect();
        let first = (2 * s + 5, 3, 1, vec![(99, 4)], vec![(101, 7)]);
        assert_eq!(told, [first, (4 * s, 4, 2, vec![(995, 2), (990, 4)], vec![(1010, 7)])]);
        let about = About {
            table: crate::table::Table::Depth,
            id: "A.B".into(),
            topic: "book.A.B".into(),
            price_precision: 2,
            size_precision: 0,
            bar_type: None,
        };
        assert_eq!(batch(&about, Dialect::V2, out.iter()).unwrap().num_columns(), 7);
        assert_eq!(batch(&about, Dialect::V1, out.iter()).unwrap().num_columns(), 65);
    }
}
