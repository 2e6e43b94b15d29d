//! The venue's daily trades: what a file's name says, and its rows as the events that live rows are.
//!
//! | market | path | columns that are read |
//! |---|---|---|
//! | linear, inverse | `trading/BTCUSDT/BTCUSDT2026-09-01.csv.gz` | timestamp (seconds), symbol, side, size, price, trdMatchID, RPI |
//! | spot | `spot/BTCUSDT/BTCUSDT_2026-09-01.csv.gz` | id, timestamp (ms), price, volume, side, rpi |
//!
//! Nothing official describes these files; the columns are those that readers of real ones know (docs/venues/bybit.md), and their places are
//! taken from the header. `RPI` came in 2025 and may be missing.
//!
//! - Of derivatives `trdMatchID` is the stream's `i`: the row has its name.
//! - Of spot `id` counts within the file and is not the stream's: it is read for form. The row gets a name made of what it says
//!   ([`crate::twins`]), the same in every copy of the file; who compares goes by time, price, size and side.
//!
//! Invariants: a row's key is its line; times lie within the named day and never fall.

pub mod rows;

use super::limits::Market;
use crate::archive::name::{is_date, span_of};
use crate::archive::{ArchiveError, Data, Named};

pub use rows::Rows;

/// What such a name is like.
const LIKE: &str = "BTCUSDT2026-09-01.csv.gz, of spot BTCUSDT_2026-09-01.csv.gz";
/// Months of dated contracts, as futures are named everywhere.
const MONTHS: &[u8] = b"FGHJKMNQUVXZ";

/// `BTCUSDT2026-09-01.csv.gz`, `BTC-26DEC252026-09-01.csv.gz`, `BTCUSDT_2026-09-01.csv.gz`; each without `.gz` as well.
///
/// # Errors
/// `Name`.
pub fn parse(file: &str) -> Result<Named, ArchiveError> {
    let bad = |why| ArchiveError::Name { file: file.into(), why, like: LIKE };
    let stem = file.strip_suffix(".csv.gz").or_else(|| file.strip_suffix(".csv"));
    let stem = stem.ok_or_else(|| bad("it ends neither in .csv.gz nor in .csv"))?;
    let cut = stem.len().checked_sub(10).filter(|at| stem.is_char_boundary(*at));
    let (symbol, date) =
        cut.map(|at| stem.split_at(at)).filter(|c| is_date(c.1)).ok_or_else(|| bad("no day ends it"))?;
    let span = span_of(date).ok_or_else(|| bad("its date is no day of the calendar"))?;
    let symbol = symbol.strip_suffix('_').unwrap_or(symbol);
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if symbol.is_empty() || !symbol.bytes().all(good) {
        return Err(bad("no symbol begins it"));
    }
    Ok(Named { file: file.into(), symbol: symbol.into(), data: Data::Trades, span })
}

/// The market by the name's form, the directories and what people `said`, all of which must agree.
///
/// # Errors
/// `Market` where nothing tells whether a contract is linear or inverse, `OtherMarket`.
pub fn market(named: &Named, dirs: &[&str], said: Option<Market>) -> Result<Market, ArchiveError> {
    let is_spot = named.file.as_bytes().get(named.symbol.len()) == Some(&b'_');
    let other = |path, said| Err(ArchiveError::OtherMarket { file: named.file.clone(), path, said });
    match dirs.iter().rev().find(|d| matches!(**d, "trading" | "spot")) {
        Some(&"trading") if is_spot => return other("trading", "spot by its name"),
        Some(&"spot") if !is_spot => return other("spot", "a contract by its name"),
        _ => {}
    }
    let told = if is_spot { Some(Market::Spot) } else { contract(&named.symbol) };
    match (told, said) {
        (Some(told), Some(said)) if told != said => other(told.category(), said.category()),
        (None, Some(Market::Spot)) => other("a contract", "spot"),
        (Some(market), _) | (None, Some(market)) => Ok(market),
        (None, None) => Err(ArchiveError::Market { file: named.file.clone(), known: "linear or inverse" }),
    }
}

/// Which contract has such a symbol. `None` where its form does not tell.
fn contract(symbol: &str) -> Option<Market> {
    if symbol.contains('-') || ["USDT", "USDC", "PERP"].iter().any(|end| symbol.ends_with(end)) {
        return Some(Market::Linear);
    }
    let undated = match symbol.as_bytes() {
        [rest @ .., month, a, b] if MONTHS.contains(month) && a.is_ascii_digit() && b.is_ascii_digit() => rest,
        all => all,
    };
    undated.ends_with(b"USD").then_some(Market::Inverse)
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;
