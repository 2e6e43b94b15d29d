//! What the name and the path of an archive file say: market, symbol, kind of data, day or month.

use wholetape_model::Period;

use crate::archive::name::{is_date, span_of};
use crate::archive::{ArchiveError, Data, Named};
use crate::binance::limits::Variant;

/// What such a name is like.
const LIKE: &str = "BTCUSDT-aggTrades-2025-01-02.zip";

/// `BTCUSDT-aggTrades-2025-01-02.zip`, `BTCUSD_PERP-1h-2020-08.csv`
///
/// # Errors
/// `Name`, `Unsupported`.
pub fn parse(file: &str) -> Result<Named, ArchiveError> {
    let bad = |why| ArchiveError::Name { file: file.into(), why, like: LIKE };
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
    Ok(Named { file: file.into(), symbol: symbol.into(), data, span })
}

/// The market by the file's directories (outermost first) and by what people `said`; both must agree.
///
/// # Errors
/// `Market` when neither tells, `OtherMarket` when they differ, `Unsupported` for the other klines (of mark prices, say), whose
/// files have the same names.
pub fn market(named: &Named, dirs: &[&str], said: Option<Variant>) -> Result<Variant, ArchiveError> {
    let other = |d: &&&str| d.ends_with("Klines") && **d != "klines";
    if let Some(what) = dirs.iter().rev().take(3).find(other) {
        return Err(ArchiveError::Unsupported { file: named.file.clone(), what: (*what).to_owned() });
    }
    // No other market has such symbols.
    let by_symbol = named.symbol.ends_with("_PERP").then_some(Variant::CoinM);
    match (market_of(dirs).or(by_symbol), said) {
        (Some(path), Some(said)) if path != said => {
            let (path, said) = (short(path), short(said));
            Err(ArchiveError::OtherMarket { file: named.file.clone(), path, said })
        }
        (Some(market), _) | (None, Some(market)) => Ok(market),
        (None, None) => Err(ArchiveError::Market { file: named.file.clone(), known: "spot, um or cm" }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::Ts;

    const DAY: i64 = 86_400_000_000_000;

    #[track_caller]
    fn check(file: &str, symbol: &str, data: &str, span: &str) {
        let named = parse(file).unwrap();
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
        let day = parse("BTCUSDT-trades-1970-01-02.csv").unwrap().span;
        assert_eq!((day.from, day.to), (Ts(DAY), Ts(2 * DAY)));
        let year_end = parse("BTCUSDT-trades-2025-12.csv").unwrap().span;
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
            let error = parse(file).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(file), "{file}: {error}");
        }
    }

    #[test]
    fn the_market_is_in_the_path_or_said() {
        let named = parse("BTCUSDT-1m-2025-01-02.zip").unwrap();
        let of = |path: &str, said| market(&named, &path.split('/').collect::<Vec<_>>(), said);
        assert_eq!(of("data/futures/um/daily/klines/BTCUSDT/1m", None), Ok(Variant::UsdM));
        assert_eq!(of("x/spot/daily/klines/BTCUSDT/1m", None), Ok(Variant::Spot));
        assert_eq!(of("cm/monthly/klines/BTCUSDT/1m", None), Ok(Variant::CoinM));
        assert_eq!(of("downloads", Some(Variant::Spot)), Ok(Variant::Spot));
        assert!(matches!(of("downloads", None), Err(ArchiveError::Market { .. })));
        assert!(matches!(of("data/spot/daily", Some(Variant::UsdM)), Err(ArchiveError::OtherMarket { .. })));
        let marks = of("data/futures/um/daily/markPriceKlines/BTCUSDT/1m", None).unwrap_err();
        assert!(marks.to_string().contains("holds markPriceKlines"), "{marks}");
        let coin = parse("BTCUSD_PERP-trades-2025-01-02.zip").unwrap();
        assert_eq!(market(&coin, &["downloads"], None), Ok(Variant::CoinM));
    }
}
