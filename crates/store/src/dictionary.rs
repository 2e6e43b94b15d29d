//! `docs/data-dictionary.md`: every table and column, from the code that writes them.
//!
//! Types come from the very batches that are written, meanings from the descriptions in `spec_own.rs` and `spec_market.rs`, and for the
//! tables with code of their own from here; a column without a meaning fails the test that holds the page fresh.

use std::fmt::Write as _;

use arrow_schema::{DataType, Field};

use crate::StoreError;
use crate::columns::Dialect;
use crate::encode::{About, batch, columns_of};
use crate::rows::Rows;
use crate::spec::{TAIL, TS_EVENT, TS_INIT};
use crate::table::Table;

/// Name, unit, meaning of the columns of trades, quotes, deltas and their companions.
const HOT: &[(&str, &str, &str)] = &[
    ("price", "quote", "as the venue printed it"),
    ("size", "size", "as the venue printed it: base, quote or contracts, as the instrument has it; 0 in a DELETE"),
    ("aggressor_side", "", "the side that took liquidity"),
    ("trade_id", "", "the venue's id in this topic's id space; in `agg` null where ids do not count trades"),
    ("first_id", "", "first raw trade id of an aggregated trade, or first update id of a book record"),
    ("last_id", "", "last raw trade id, or last update id"),
    ("prev_id", "", "update id of the record before, where the venue links them; 0 otherwise"),
    ("condition", "", "0 regular, 1 insurance fund, 2 ADL, 3 liquidation, 4 block, 5 RPI, 255 unknown"),
    ("bid_price", "quote", "best bid"),
    ("ask_price", "quote", "best ask"),
    ("bid_size", "size", "size at the best bid; 0 = none"),
    ("ask_size", "size", "size at the best ask; 0 = none"),
    ("update_id", "", "the venue's book update id; 0 where it prints none"),
    (
        "action",
        "",
        "CLEAR begins a full state, ADD its levels; UPDATE sets a level's size, DELETE removes it. In `book_updates`: 1 snapshot, 2 delta, 3 our own checkpoint",
    ),
    ("side", "", "of the book"),
    ("order_id", "", "0: levels have no order"),
    ("flags", "bits", "32 part of a full state, 128 last row of its record"),
    ("sequence", "", "the venue's last update id"),
    (
        "bids",
        "",
        "levels of the bid side: in `book_updates` their number in this record, in `order_book_depths` the levels, best first (v1: ten columns each of price, size, count)",
    ),
    ("asks", "", "levels of the ask side, likewise"),
];

/// One table, in a sentence.
const fn says(table: Table) -> &'static str {
    match table {
        Table::Trade => "Trades, each id once, late ones between their neighbours.",
        Table::Agg => "Companion of `trades` and `trades_raw`, row by row: what their layout has no place for.",
        Table::TradeRaw => "The second trade source (`trade-raw`), laid out as `trades`.",
        Table::Quote => "Best bid and offer.",
        Table::Delta => "Book snapshots and updates, a row for each level.",
        Table::BookUpdate => "Companion of `order_book_deltas`: a row for each record.",
        Table::Depth => {
            "View: the ten best levels a side, after the last update of each second in which the book changed."
        }
        Table::Bar => "View: closed bars.",
        Table::BarUpdate => "Every bar as the venue sent it, open ones too.",
        Table::MarkPrice => "Mark prices.",
        Table::IndexPrice => "Index prices.",
        Table::Funding => "Funding rates.",
        Table::Status => "Trading status.",
        Table::Definition => "Instrument definitions as they were polled.",
        Table::CurrencyPair => "View: definitions of spot instruments that say something new.",
        Table::CryptoPerpetual => "View: definitions of perpetuals that say something new.",
        Table::CryptoFuture => "View: definitions of dated futures that say something new.",
        Table::Ticker => "The venue's rolling statistics.",
        Table::OpenInterest => "Open interest.",
        Table::Liquidation => "Forced orders.",
        Table::Gap => "What is missing, why, and what became of it: a row for each mark of a gap.",
        Table::Validity => "Since when a book is right, or is not.",
        Table::Retract => "Rows that were withdrawn.",
        Table::Finding => "Failed quality checks.",
        Table::Link => "States of connections.",
        Table::Coverage => "The coverage ledger's own records.",
        Table::Alert => "Alerts.",
        Table::Publication => "What clients published (`pub`), as they wrote it.",
        Table::Note => "What lines wrote down for themselves, and frames that could not be read.",
        Table::Record => "Rows that no table has a form for (a scale above 16, say): the tape's records.",
    }
}

fn type_name(field: &Field) -> String {
    match field.data_type() {
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        DataType::Timestamp(..) => "timestamp(ns, UTC)".into(),
        DataType::Dictionary(..) => "dictionary of text".into(),
        DataType::Utf8 => "text".into(),
        DataType::Binary => "bytes".into(),
        DataType::FixedSizeBinary(n) => format!("{n} bytes, mantissa × 10^16"),
        DataType::Boolean => "bool".into(),
        DataType::List(_) => "list of {price, size, count, order_id}".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The page.
///
/// # Errors
/// A column that nobody describes; a bug in a table.
pub fn page() -> Result<String, StoreError> {
    let mut out = String::from(
        "# Data dictionary\n\nEvery table of the catalog, column by column, made from the code that writes them. Folders and how to read \
         them: [catalog](catalog.md). `v2` is the catalog in `<data>/catalog`, `v1` that in `<data>/catalog-v1`; a `–` there: not \
         written in that dialect. Prices and sizes are exact.\n",
    );
    for table in Table::ALL.iter().copied() {
        let about = |table| About {
            table,
            id: "X.Y".into(),
            topic: "trade.X.Y".into(),
            price_precision: 0,
            size_precision: 0,
            bar_type: None,
        };
        let rows = Rows::default();
        let v2 = batch(&about(table), Dialect::V2, rows.iter())?.schema();
        let v1 =
            if table.is_nautilus() { Some(batch(&about(table), Dialect::V1, rows.iter())?.schema()) } else { None };
        let spec = columns_of(table, Dialect::V2).unwrap_or_default();
        let spec_v1 = columns_of(table, Dialect::V1).unwrap_or_default();
        let _ = write!(out, "\n## `{}`\n\n{} Folder `{}`", table.as_str(), says(table), table.folder(Dialect::V2));
        let _ = match &v1 {
            Some(_) => writeln!(out, "; v1 `{}`.\n", table.folder(Dialect::V1)),
            None => writeln!(out, ".\n"),
        };
        if table.format() > 1 {
            let _ = write!(out, "Version {} of the layout.", table.format());
            for (change, version) in table.changes().iter().zip(2..) {
                let _ = write!(out, " Since {version}: {change}.");
            }
            out.push_str("\n\n");
        }
        out.push_str("| column | v2 | v1 | unit | null | meaning |\n|---|---|---|---|---|---|\n");
        let mut names: Vec<String> = v2.fields().iter().map(|f| f.name().clone()).collect();
        // Sixty columns that say the same.
        let flat = |n: &String| table == Table::Depth && (n.starts_with("bid_") || n.starts_with("ask_"));
        names.extend(
            v1.iter()
                .flat_map(|s| s.fields().iter().map(|f| f.name().clone()))
                .filter(|n| v2.field_with_name(n).is_err() && !flat(n)),
        );
        for name in names {
            let of = |schema: Option<&arrow_schema::Schema>| {
                schema.and_then(|s| s.field_with_name(&name).ok()).map_or("–".to_owned(), type_name)
            };
            let everywhere = TAIL.iter().chain([&TS_EVENT, &TS_INIT]);
            let described = spec.iter().chain(&spec_v1).chain(everywhere).find(|c| c.name == name);
            let (unit, doc) = match (described, HOT.iter().find(|h| h.0 == name)) {
                (Some(col), _) => (col.unit, col.doc),
                (None, Some(hot)) => (hot.1, hot.2),
                _ => return Err(StoreError::Column { table: table.as_str(), column: name, what: "not described" }),
            };
            let null = v2.field_with_name(&name).is_ok_and(Field::is_nullable);
            let null = if null { "yes" } else { "no" };
            let _ = writeln!(out, "| `{name}` | {} | {} | {unit} | {null} | {doc} |", of(Some(&v2)), of(v1.as_deref()));
        }
    }
    Ok(out)
}
