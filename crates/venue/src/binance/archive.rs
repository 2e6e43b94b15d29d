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

pub use name::{market, market_of, parse};
pub use rows::{Rows, Unit};
