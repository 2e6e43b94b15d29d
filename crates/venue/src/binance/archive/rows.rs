//! The rows of an archive file, line by line.
//!
//! ```text
//! trades     id, price, qty, quote qty, time, buyer is maker          (spot: and best match)
//! aggTrades  id, price, qty, first id, last id, time, buyer is maker  (spot: and best match)
//! klines     open time, o, h, l, c, volume, close time, quote volume, trades, taker volume, taker quote volume, unused
//! ```
//!
//! A first line that does not begin with a digit is a header; its words are checked, so that columns which change places are
//! noticed. Quote quantities and the last columns are read for form and not kept: the stream has none of them.

use wholetape_model::{Bar, Body, Decimal, Event, Kind, Scales, TradeCondition, Ts};

use crate::archive::lines::{Cell, Lines, split};
use crate::archive::{ArchiveError, Data, Named, ReadRows, Row, Span};
use crate::binance::emit::{self, TradeParts};
use crate::binance::limits::Variant;

/// A column's name in messages, and what headers call it (lower case, without `_`).
type Column = (&'static str, &'static [&'static str]);

const ID: Column = ("id", &["id", "aggtradeid", "tradeid", "a"]);
const PRICE: Column = ("price", &["price", "p"]);
const SIZE: Column = ("quantity", &["quantity", "qty", "q"]);
const QUOTE: Column = ("quote quantity", &["quoteqty", "quotequantity", "baseqty"]);
const FIRST: Column = ("first id", &["firsttradeid", "firstid", "f"]);
const LAST: Column = ("last id", &["lasttradeid", "lastid", "l"]);
const TIME: Column = ("time", &["time", "transacttime", "timestamp", "t"]);
const MAKER: Column = ("buyer is maker", &["isbuyermaker", "wasbuyermaker", "m"]);
const BEST: Column = ("best match", &["isbestmatch", "wasbestmatch"]);
const OPEN_TIME: Column = ("open time", &["opentime"]);
const CLOSE_TIME: Column = ("close time", &["closetime"]);
const COUNT: Column = ("trades", &["count", "trades", "numberoftrades"]);

const TRADES: [Column; 7] = [ID, PRICE, SIZE, QUOTE, TIME, MAKER, BEST];
const AGG_TRADES: [Column; 8] = [ID, PRICE, SIZE, FIRST, LAST, TIME, MAKER, BEST];
const KLINES: [Column; 12] = [
    OPEN_TIME,
    ("open", &["open"]),
    ("high", &["high"]),
    ("low", &["low"]),
    ("close", &["close"]),
    ("volume", &["volume"]),
    CLOSE_TIME,
    ("quote volume", &["quotevolume", "quoteassetvolume"]),
    COUNT,
    ("taker volume", &["takerbuyvolume", "takerbuybaseassetvolume"]),
    ("taker quote volume", &["takerbuyquotevolume", "takerbuyquoteassetvolume"]),
    ("unused", &["ignore"]),
];

/// More columns than any file has.
const COLUMNS_MAX: usize = 12;

/// In what a file's times are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
}

impl Unit {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Micros => "µs",
        }
    }
}

/// Reads a file's lines, in order.
#[derive(Debug, Clone)]
pub struct Rows {
    lines: Lines,
    data: Data,
    span: Span,
    columns: &'static [Column],
    unit: Option<Unit>,
    /// Key and line of the row before.
    last: Option<(u64, u64)>,
    header: bool,
}

/// The cells of one line, and where it stands.
struct Cells<'a> {
    of: &'a Rows,
    cells: [&'a [u8]; COLUMNS_MAX],
}

impl Rows {
    #[must_use]
    pub fn new(named: &Named, market: Variant) -> Self {
        let extra = usize::from(!market.is_futures());
        let columns: &'static [Column] = match named.data {
            Data::Trades => &TRADES[..6 + extra],
            Data::AggTrades => &AGG_TRADES[..7 + extra],
            Data::Klines(_) => &KLINES,
        };
        let (lines, data, span) = (Lines::new(&named.file), named.data, named.span);
        let (unit, last, header) = (None, None, false);
        Self { lines, data, span, columns, unit, last, header }
    }

    /// Words that we know must stand over their own column; others are let be.
    fn check_header(&self, cells: &[&[u8]]) -> Result<(), ArchiveError> {
        for (at, cell) in cells.iter().enumerate() {
            let got = String::from_utf8_lossy(cell).trim().to_owned();
            let word = got.to_ascii_lowercase().replace(['_', ' '], "");
            let known = self.columns.iter().position(|(_, words)| words.contains(&word.as_str()));
            if known.is_some_and(|known| known != at) {
                return Err(self.lines.header(at, got, self.columns[at].0));
            }
        }
        Ok(())
    }
}

impl ReadRows for Rows {
    fn unit(&self) -> &'static str {
        self.unit.map_or("", Unit::as_str)
    }

    fn has_header(&self) -> bool {
        self.header
    }

    fn read(&mut self, line: &[u8]) -> Result<Option<Row>, ArchiveError> {
        let Some(line) = self.lines.next(line)? else { return Ok(None) };
        let mut cells: [&[u8]; COLUMNS_MAX] = [b""; COLUMNS_MAX];
        let n = split(line, &mut cells);
        if n != self.columns.len() {
            return Err(self.lines.columns(n, self.columns.len()));
        }
        if self.lines.number() == 1 && cells[0].first().is_some_and(|b| b.is_ascii_alphabetic()) {
            self.check_header(&cells[..n])?;
            self.header = true;
            return Ok(None);
        }
        let (key, unit, event) = {
            let cells = Cells { of: self, cells };
            match self.data {
                Data::Klines(period) => cells.bar(period)?,
                _ => cells.trade(self.data)?,
            }
        };
        if let Some(before) = self.last.filter(|last| last.0 >= key) {
            let name = if matches!(self.data, Data::Klines(_)) { "open time (ns)" } else { "id" };
            return Err(self.lines.order(name, key, before));
        }
        let line = self.lines.number();
        self.last = Some((key, line));
        self.unit = Some(unit);
        Ok(Some(Row { line, key, event }))
    }
}

impl Cells<'_> {
    fn at(&self, column: &Column) -> usize {
        self.of.columns.iter().position(|c| c.0 == column.0).unwrap_or(0)
    }

    fn cell(&self, at: usize) -> Cell<'_> {
        self.of.lines.cell(at, self.of.columns[at].0, self.cells[at])
    }

    fn wrong(&self, at: usize, why: &'static str) -> ArchiveError {
        self.cell(at).wrong(why)
    }

    fn number(&self, at: usize) -> Result<Decimal, ArchiveError> {
        self.cell(at).number()
    }

    fn whole(&self, at: usize) -> Result<u64, ArchiveError> {
        self.cell(at).whole()
    }

    /// An id of a covered trade: `-1` where the venue names none.
    fn covered(&self, at: usize) -> Result<u64, ArchiveError> {
        if self.cells[at] == b"-1" { Ok(0) } else { self.whole(at) }
    }

    fn truth(&self, at: usize) -> Result<bool, ArchiveError> {
        self.cell(at).truth()
    }

    /// The time in `column`, which must lie in the file's span: in ms or in µs, never in both, since they differ by a factor of 1000.
    fn time(&self, at: usize) -> Result<(Ts, i64, Unit), ArchiveError> {
        let (file, line, name) = (self.of.lines.file().to_owned(), self.of.lines.number(), self.of.columns[at].0);
        let value = i64::try_from(self.whole(at)?).map_err(|_| self.wrong(at, "no time is so late"))?;
        let units = [(Unit::Millis, 1_000_000), (Unit::Micros, 1_000)];
        let fits = units.into_iter().find_map(|(unit, ns)| {
            let ts = Ts(value.checked_mul(ns)?);
            self.of.span.has(ts).then_some((ts, unit))
        });
        let Some((ts, unit)) = fits else {
            let (got, period) = (self.cell(at).text(), self.of.span.to_string());
            return Err(ArchiveError::Time { file, line, column: at + 1, name, got, period });
        };
        match self.of.unit {
            Some(before) if before != unit => {
                let (got, want) = (unit.as_str(), before.as_str());
                Err(ArchiveError::MixedUnits { file, line, column: at + 1, name, got, want })
            }
            _ => Ok((ts, value, unit)),
        }
    }

    fn trade(&self, data: Data) -> Result<(u64, Unit, Event), ArchiveError> {
        let id = self.whole(0)?;
        let (mut first_id, mut last_id) = (id, id);
        if data == Data::AggTrades {
            let (first, last) = (self.at(&FIRST), self.at(&LAST));
            (first_id, last_id) = (self.covered(first)?, self.covered(last)?);
            if first_id > last_id {
                return Err(self.wrong(last, "it is below the first id"));
            }
        } else {
            self.number(self.at(&QUOTE))?;
        }
        if self.of.columns.iter().any(|c| c.0 == BEST.0) {
            self.truth(self.at(&BEST))?;
        }
        let (_, time, unit) = self.time(self.at(&TIME))?;
        let parts = TradeParts {
            kind: data.kind(),
            id,
            first_id,
            last_id,
            price: self.number(self.at(&PRICE))?,
            size: self.number(self.at(&SIZE))?,
            time,
            buyer_is_maker: self.truth(self.at(&MAKER))?,
            condition: TradeCondition::Regular,
        };
        Ok((id, unit, emit::trade_event(0, &parts)))
    }

    fn bar(&self, period: wholetape_model::Period) -> Result<(u64, Unit, Event), ArchiveError> {
        let (open_ts, _, unit) = self.time(0)?;
        let close = self.at(&CLOSE_TIME);
        let ns = if unit == Unit::Millis { 1_000_000 } else { 1_000 };
        let close_ts = i64::try_from(self.whole(close)?).ok().and_then(|t| t.checked_mul(ns)).map(Ts);
        let close_ts = close_ts.filter(|close| *close > open_ts);
        let close_ts = close_ts.ok_or_else(|| self.wrong(close, "it is not behind the open time"))?;
        let bar = Bar {
            open_ts,
            close_ts,
            open: self.number(1)?,
            high: self.number(2)?,
            low: self.number(3)?,
            close: self.number(4)?,
            volume: self.number(5)?,
            quote_volume: self.number(7)?,
            taker_volume: self.number(9)?,
            taker_quote_volume: self.number(10)?,
            trades: self.whole(self.at(&COUNT))?,
            first_id: 0,
            last_id: 0,
            closed: true,
            period,
        };
        let (kind, scales, body) = (Kind::Bar(period), Scales::default(), Body::Bar(bar));
        let key = u64::try_from(open_ts.0).unwrap_or(0);
        Ok((key, unit, Event { instrument: 0, kind, ts_event: close_ts, scales, body }))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
