//! What the name and the path of an archive file say: market, symbol, kind of data, day or month.

use std::fmt;

use wholetape_model::time::days;
use wholetape_model::{Kind, Period, Ts};

use super::ArchiveError;
use crate::binance::limits::Variant;

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

impl Named {
    /// `BTCUSDT-aggTrades-2025-01-02.zip`, `BTCUSD_PERP-1h-2020-08.csv`
    ///
    /// # Errors
    /// `Name`, `Unsupported`.
    pub fn parse(file: &str) -> Result<Self, ArchiveError> {
        let bad = |why| ArchiveError::Name { file: file.into(), why };
        let stem = file.strip_suffix(".zip").or_else(|| file.strip_suffix(".csv"));
        let stem = stem.ok_or_else(|| bad("it ends neither in .zip nor in .csv"))?;
        let (rest, date) = [10, 7]
            .into_iter()
            .find_map(|n| {
                let at = stem.len().checked_sub(n)?;
                let date = stem.get(at..)?;
                Some((stem.get(..at)?.strip_suffix('-')?, date)).filter(|_| is_date(date))
            })
            .ok_or_else(|| bad("no date ends it"))?;
        let span = span_of(date).ok_or_else(|| bad("its date is no day of the calendar"))?;
        let (symbol, what) = rest.rsplit_once('-').ok_or_else(|| bad("no kind of data stands before the date"))?;
        if symbol.is_empty() || symbol.contains(|c: char| c.is_control() || " /\\\"".contains(c)) {
            return Err(bad("no symbol begins it"));
        }
        let data = match what {
            "aggTrades" => Data::AggTrades,
            "trades" => Data::Trades,
            "1mo" => Data::Klines(Period { count: 1, unit: b'M' }),
            interval => match Period::parse(interval) {
                Some(period) => Data::Klines(period),
                None => return Err(ArchiveError::Unsupported { file: file.into(), what: interval.into() }),
            },
        };
        Ok(Self { file: file.into(), symbol: symbol.into(), data, span })
    }

    /// The market by the file's directories (outermost first) and by what people `said`; both must agree.
    ///
    /// # Errors
    /// `Market` when neither tells, `OtherMarket` when they differ, `Unsupported` for the other klines (of mark prices, say), whose
    /// files have the same names.
    pub fn market(&self, dirs: &[&str], said: Option<Variant>) -> Result<Variant, ArchiveError> {
        let other = |d: &&&str| d.ends_with("Klines") && **d != "klines";
        if let Some(what) = dirs.iter().rev().take(3).find(other) {
            return Err(ArchiveError::Unsupported { file: self.file.clone(), what: (*what).to_owned() });
        }
        // No other market has such symbols.
        let by_symbol = self.symbol.ends_with("_PERP").then_some(Variant::CoinM);
        match (market_of(dirs).or(by_symbol), said) {
            (Some(path), Some(said)) if path != said => {
                let (path, said) = (short(path), short(said));
                Err(ArchiveError::OtherMarket { file: self.file.clone(), path, said })
            }
            (Some(market), _) | (None, Some(market)) => Ok(market),
            (None, None) => Err(ArchiveError::Market { file: self.file.clone() }),
        }
    }
}

/// The archive's word for a market.
#[must_use]
pub const fn short(market: Variant) -> &'static str {
    match market {
        Variant::Spot => "spot",
        Variant::UsdM => "um",
        Variant::CoinM => "cm",
        Variant::Us => "us",
    }
}

/// The market that directories name: `…/futures/um/…`, `…/spot/daily/…`; the innermost wins.
#[must_use]
pub fn market_of(dirs: &[&str]) -> Option<Variant> {
    dirs.windows(2).rev().find_map(|pair| match pair {
        ["futures", "um"] | ["um", "daily" | "monthly"] => Some(Variant::UsdM),
        ["futures", "cm"] | ["cm", "daily" | "monthly"] => Some(Variant::CoinM),
        ["data", "spot"] | ["spot", "daily" | "monthly"] => Some(Variant::Spot),
        _ => None,
    })
}

fn is_date(text: &str) -> bool {
    let digit = |(i, b): (usize, u8)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    text.bytes().enumerate().all(digit)
}

fn span_of(date: &str) -> Option<Span> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, symbol: &str, data: &str, span: &str) {
        let named = Named::parse(file).unwrap();
        assert_eq!((named.symbol.as_str(), named.data.to_string().as_str()), (symbol, data));
        assert_eq!(named.span.to_string(), span);
    }

    #[test]
    fn names_are_read() {
        check("BTCUSDT-aggTrades-2025-01-02.zip", "BTCUSDT", "aggTrades", "2025-01-02");
        check("BTCUSD_PERP-trades-2024-02-29.csv", "BTCUSD_PERP", "trades", "2024-02-29");
        check("ETHUSDT_260626-1h-2026-03-31.zip", "ETHUSDT_260626", "klines 1h", "2026-03-31");
        check("BTCUSDT-1mo-2020-08.zip", "BTCUSDT", "klines 1M", "2020-08");
        check("BTCUSDT-12h-2020-12.zip", "BTCUSDT", "klines 12h", "2020-12");
        let day = Named::parse("BTCUSDT-trades-1970-01-02.csv").unwrap().span;
        assert_eq!((day.from, day.to), (Ts(DAY), Ts(2 * DAY)));
        let year_end = Named::parse("BTCUSDT-trades-2025-12.csv").unwrap().span;
        assert_eq!(year_end.to.to_string(), "2026-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn other_names_are_refused_by_what_is_wrong() {
        for (file, part) in [
            ("BTCUSDT-trades-2025-01-02.gz", "neither in .zip nor in .csv"),
            ("BTCUSDT-trades.zip", "no date"),
            ("BTCUSDT-trades-2025-13-02.zip", "no day of the calendar"),
            ("BTCUSDT-trades-2025-02-29.zip", "no day of the calendar"),
            ("2025-01-02.zip", "no date"),
            ("trades-2025-01-02.zip", "no kind of data"),
            ("-trades-2025-01-02.zip", "no symbol"),
            ("BTCUSDT-bookTicker-2025-01-02.zip", "holds bookTicker"),
            ("BTCUSDT-metrics-2025-01-02.zip", "holds metrics"),
        ] {
            let error = Named::parse(file).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(file), "{file}: {error}");
        }
    }

    #[test]
    fn the_market_is_in_the_path_or_said() {
        let named = Named::parse("BTCUSDT-1m-2025-01-02.zip").unwrap();
        let of = |path: &str, said| named.market(&path.split('/').collect::<Vec<_>>(), said);
        assert_eq!(of("data/futures/um/daily/klines/BTCUSDT/1m", None), Ok(Variant::UsdM));
        assert_eq!(of("x/spot/daily/klines/BTCUSDT/1m", None), Ok(Variant::Spot));
        assert_eq!(of("cm/monthly/klines/BTCUSDT/1m", None), Ok(Variant::CoinM));
        assert_eq!(of("downloads", Some(Variant::Spot)), Ok(Variant::Spot));
        assert!(matches!(of("downloads", None), Err(ArchiveError::Market { .. })));
        assert!(matches!(of("data/spot/daily", Some(Variant::UsdM)), Err(ArchiveError::OtherMarket { .. })));
        let marks = of("data/futures/um/daily/markPriceKlines/BTCUSDT/1m", None).unwrap_err();
        assert!(marks.to_string().contains("holds markPriceKlines"), "{marks}");
        let coin = Named::parse("BTCUSD_PERP-trades-2025-01-02.zip").unwrap();
        assert_eq!(coin.market(&["downloads"], None), Ok(Variant::CoinM));
    }
}
