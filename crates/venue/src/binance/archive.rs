//! The venue's daily archive: what a file's name says, and its rows as the events that live rows are.
//!
//! Pure: names and lines come in, [`Event`](wholetape_model::Event)s go out; whoever reads files, unpacks and hashes them is
//! elsewhere. A row becomes the very event that the stream would have brought (same kind, ids, side, exact decimals), so the two
//! can be compared field by field.
//!
//! Rules and their sources:
//! - <https://github.com/binance/binance-public-data> (read 2026-11-21): paths
//!   `data/{spot,futures/um,futures/cm}/{daily,monthly}/{trades,aggTrades,klines}/SYMBOL[/INTERVAL]/SYMBOL-DATA-DATE.zip`, each with
//!   `.CHECKSUM`; columns as in [`rows`]; spot times are µs from 2025-01-01 on and ms before, futures ms.
//! - Its issues: futures files of 2020 have no header line and those of 2026 have one; `True`/`False` and `true`/`false`; #288 (rows of a
//!   monthly file out of order); files are replaced later under the same name.
//!
//! Invariants: a row that is not exactly what its file's name promises (columns, ids that grow, times within the named day) is an
//! error that names file, line and column, never a guess; a time is accepted in one unit per file, the one in which it lies in the
//! named day.

pub mod name;
pub mod rows;

pub use name::{Data, Named, Span, market_of};
pub use rows::{Row, Rows, Unit, same_time};

/// Why a file of the archive cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("{file} is no name of the archive: {why}; they are like BTCUSDT-aggTrades-2025-01-02.zip")]
    Name { file: String, why: &'static str },
    #[error("{file} holds {what}, which is not imported: trades, aggTrades and klines are")]
    Unsupported { file: String, what: String },
    #[error("{file}: its path does not tell the market: name it (spot, um or cm)")]
    Market { file: String },
    #[error("{file}: its path says {path}, and {said} was named")]
    OtherMarket { file: String, path: &'static str, said: &'static str },
    #[error("{file}:{line}: {got} columns, where {want} are expected")]
    Columns { file: String, line: u64, got: usize, want: usize },
    #[error("{file}:{line}: column {column} is called `{got}`, where {want} is expected")]
    Header { file: String, line: u64, column: usize, got: String, want: &'static str },
    #[error("{file}:{line}: column {column} ({name}) is `{got}`: {why}")]
    Value { file: String, line: u64, column: usize, name: &'static str, got: String, why: &'static str },
    #[error("{file}:{line}: column {column} ({name}) is `{got}`: {source}")]
    Number {
        file: String,
        line: u64,
        column: usize,
        name: &'static str,
        got: String,
        source: wholetape_model::DecimalError,
    },
    #[error("{file}:{line}: column {column} ({name}) is `{got}`, neither in ms nor in µs a time within {period}")]
    Time { file: String, line: u64, column: usize, name: &'static str, got: String, period: String },
    #[error("{file}:{line}: column {column} ({name}) is in {got}, and the rows before are in {want}")]
    MixedUnits { file: String, line: u64, column: usize, name: &'static str, got: &'static str, want: &'static str },
    #[error("{file}:{line}: {name} {got} does not follow {before}, which stands on line {before_line}")]
    Order { file: String, line: u64, name: &'static str, got: u64, before: u64, before_line: u64 },
    #[error("{file}:{line}: a row after a blank line")]
    Blank { file: String, line: u64 },
}
