//! What the name of an archive's file says, whatever the venue: symbol, kind of data, day or month.

use std::fmt;

use wholetape_model::time::days;
use wholetape_model::{Kind, Period, Ts};

const DAY: i64 = 86_400_000_000_000;

/// What a file's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    AggTrades,
    /// Single matches.
    Trades,
    Klines(Period),
}

impl Data {
    /// The kind that live rows of the same content have, before a line's `trade_source` names topics.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::AggTrades => Kind::Trade,
            Self::Trades => Kind::TradeRaw,
            Self::Klines(period) => Kind::Bar(period),
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AggTrades => f.write_str("aggTrades"),
            Self::Trades => f.write_str("trades"),
            Self::Klines(period) => write!(f, "klines {period}"),
        }
    }
}

/// A day or a month, UTC: `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub from: Ts,
    pub to: Ts,
}

impl Span {
    #[must_use]
    pub fn has(self, ts: Ts) -> bool {
        self.from <= ts && ts < self.to
    }
}

/// `2025-01-02`, or `2025-01` for a month.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.from.to_string();
        let len = if self.to.0 - self.from.0 > DAY { 7 } else { 10 };
        f.write_str(text.get(..len).unwrap_or(&text))
    }
}

/// What a file's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, for messages.
    pub file: String,
    pub symbol: String,
    pub data: Data,
    pub span: Span,
}

pub(crate) fn is_date(text: &str) -> bool {
    let digit = |(i, b): (usize, u8)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    text.bytes().enumerate().all(digit)
}

/// `2025-01-02`, or `2025-01`; `None` where that is no day of the calendar.
pub(crate) fn span_of(date: &str) -> Option<Span> {
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    let (year, month) = (number(0..4)?, number(5..7)?);
    if !(1..=12).contains(&month) || !(1970..2262).contains(&year) {
        return None;
    }
    let first = days(year, month, 1);
    let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    let (from, to) = match number(8..10) {
        Some(day) if (1..=next - first).contains(&day) => (first + day - 1, first + day),
        Some(_) => return None,
        None => (first, next),
    };
    Some(Span { from: Ts(from * DAY), to: Ts(to * DAY) })
}
