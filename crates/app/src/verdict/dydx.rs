//! dYdX's own text as facts: contents as they went on the wire, and what follows from them.
//!
//! No candle says that it is closed: the one behind it does. No channel tells liquidations: trades do. Neither is a message of its own, so
//! the truth has none; both are derived here.

use std::collections::BTreeMap;

use serde_json::Value;
use wholetape_model::{Decimal, Kind, Period, Ts};
use wholetape_sim::Kind as K;
use wholetape_sim::truth::InstrumentTruth;

use super::facts::{decs, list, number};

/// Places of a rate that a tape holds.
const PLACES: u32 = 18;

/// What contents of the truth say: `(kind, fact)` for each topic that they fill. `None` when they cannot be read.
pub fn of_truth(kind: K, variant: &str, contents: &Value) -> Option<Vec<(Kind, String)>> {
    let one = |key: &str| contents.get(key)?.as_object()?.values().next();
    Some(match kind {
        K::Kline => vec![candle(variant, contents, false)?],
        K::MarkPrice if contents.get("oraclePrices").is_some() => {
            let row = one("oraclePrices")?;
            let at = ms(row.get("effectiveAt")?)?;
            let price = decs(row, ["oraclePrice"])?;
            // Margins are reckoned by the oracle's price: it is both.
            vec![(Kind::Mark, list("mark", at, &price, &[])), (Kind::Index, list("index", at, &price, &[]))]
        }
        K::MarkPrice => {
            let rate = rate(one("trading")?.get("nextFundingRate")?.as_str()?)?;
            vec![(Kind::Funding, list("funding", 0, &[rate], &[0]))]
        }
        K::OpenInterest => {
            vec![(Kind::OpenInterest, list("open_interest", 0, &decs(one("trading")?, ["openInterest"])?, &[]))]
        }
        _ => Vec::new(),
    })
}

/// A quotient has up to twenty places: the nearest number that a tape holds.
fn rate(text: &str) -> Option<Decimal> {
    let places = text.split_once('.').map_or(0, |(_, part)| part.len() as u32);
    if places <= PLACES {
        return number(text);
    }
    let digits: i128 = text.chars().filter(|c| *c != '.').collect::<String>().parse().ok()?;
    let unit = 10_i128.pow(places - PLACES);
    let nearest = (digits.abs() + unit / 2) / unit * digits.signum();
    Some(Decimal { raw: i64::try_from(nearest).ok()?, scale: PLACES as u8 }.canonical())
}

fn ms(text: &Value) -> Option<i64> {
    Ts::parse_utc(text.as_str()?.as_bytes()).map(Ts::millis)
}

fn candle(interval: &str, row: &Value, closed: bool) -> Option<(Kind, String)> {
    let period = Period::parse(interval)?;
    let unit = if period.unit == b'h' { 3_600_000 } else { 60_000 };
    let open_ms = ms(row.get("startedAt")?)?;
    let [open, high, low, close, volume, quote] =
        decs(row, ["open", "high", "low", "close", "baseTokenVolume", "usdVolume"])?;
    let numbers = [open, high, low, close, volume, quote, Decimal::ZERO, Decimal::ZERO];
    let close_ms = open_ms + unit * i64::from(period.count) - 1;
    let rest = [row.get("trades")?.as_i64()?, 0, 0, open_ms, close_ms, i64::from(closed)];
    Some((Kind::Bar(period), list(&format!("bar-{period}"), 0, &numbers, &rest)))
}

/// What follows from the truth: kind, fact, and when it was so by both clocks.
pub fn derived(truth: &InstrumentTruth) -> Vec<(Kind, String, u64, i64)> {
    let mut facts = Vec::new();
    let mut last: BTreeMap<&str, Value> = BTreeMap::new();
    for one in truth.klines.iter().filter(|one| one.payload.contains("\"startedAt\"")) {
        let row: Value = serde_json::from_str(&one.payload).unwrap_or_default();
        let started = row["startedAt"].clone();
        if let Some(before) = last.insert(&one.variant, row).filter(|before| before["startedAt"] != started)
            && let Some((kind, fact)) = candle(&one.variant, &before, true)
        {
            facts.push((kind, fact, one.wall_ns, 0));
        }
    }
    // Those from before the start were on no stream.
    let forced = truth.trades.values().filter(|t| t.source.as_deref() == Some("LIQUIDATED"));
    for t in forced.filter(|t| t.wall_ns >= truth.began_ns) {
        let side = if t.buyer_is_maker { "sell" } else { "buy" };
        if let (Some(price), Some(size)) = (number(&t.price), number(&t.size)) {
            let fact = list(&format!("liquidation {side}"), t.time_ms, &[price, price, size, Decimal::ZERO], &[]);
            facts.push((Kind::Liquidation, fact, t.wall_ns, t.event_ms));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_sim::truth::Stated;

    #[track_caller]
    fn check(kind: K, contents: &str, facts: &[&str]) {
        let found = of_truth(kind, "1m", &serde_json::from_str(contents).unwrap()).unwrap();
        assert_eq!(found.iter().map(|(_, fact)| fact.as_str()).collect::<Vec<_>>(), facts);
    }

    fn row(started: &str, close: &str) -> String {
        format!(
            r#"{{"startedAt":"{started}","ticker":"A-USD","resolution":"1MIN","low":"1","high":"3","open":"2","close":"{close}","baseTokenVolume":"7","usdVolume":"8.0","trades":4,"startingOpenInterest":"1"}}"#
        )
    }

    #[test]
    fn contents_say_what_a_record_says() {
        check(
            K::MarkPrice,
            r#"{"oraclePrices":{"A-USD":{"oraclePrice":"3.10","effectiveAt":"1970-01-01T00:00:05.000Z"}}}"#,
            &["mark @5000 3.1", "index @5000 3.1"],
        );
        let funding = r#"{"trading":{"A-USD":{"nextFundingRate":"-0.00001250003750025055"}}}"#;
        check(K::MarkPrice, funding, &["funding @0 -0.000012500037500251 0"]);
        check(K::OpenInterest, r#"{"trading":{"A-USD":{"openInterest":"4.50"}}}"#, &["open_interest @0 4.5"]);
        let bar = "bar-1m @0 2 3 1 2.5 7 8 0 0 4 0 0 60000 119999 0";
        check(K::Kline, &row("1970-01-01T00:01:00.000Z", "2.5"), &[bar]);
    }

    #[test]
    fn a_candle_is_closed_by_the_next() {
        let mut truth = InstrumentTruth::default();
        let told =
            [("1970-01-01T00:01:00.000Z", "2"), ("1970-01-01T00:01:00.000Z", "2.5"), ("1970-01-01T00:03:00.000Z", "1")];
        for (at, (started, close)) in told.iter().enumerate() {
            let (payload, wall_ns) = (row(started, close), at as u64);
            truth.klines.push(Stated { event_ms: 0, wall_ns, variant: "1m".into(), payload });
        }
        let facts = derived(&truth);
        assert_eq!(facts.len(), 1);
        assert_eq!((facts[0].1.as_str(), facts[0].2), ("bar-1m @0 2 3 1 2.5 7 8 0 0 4 0 0 60000 119999 1", 2));
    }
}
