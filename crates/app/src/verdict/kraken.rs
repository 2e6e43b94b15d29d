//! Kraken's own text as facts: rows as they went on the wire, their numbers in quotes; and what follows from them.
//!
//! No bar says that it is closed: the one behind it does. Statistics come with each change of best prices, and are told where they changed; to
//! whom something was lost they change later.

use std::collections::BTreeMap;

use serde_json::Value;
use wholetape_model::{Decimal, Kind, Period, Ts};
use wholetape_sim::Kind as K;
use wholetape_sim::truth::InstrumentTruth;

use super::facts::{decs, int, list, minus};

/// What a row of the truth says: `(kind, fact)` for each topic that it fills. `None` when it cannot be read.
pub fn of_truth(kind: K, variant: &str, row: &Value) -> Option<Vec<(Kind, String)>> {
    Some(match kind {
        K::Kline => vec![candle(variant, row, false)?],
        K::Ticker if row.get("told")?.as_bool()? => statistics(row)?,
        _ => Vec::new(),
    })
}

fn ms(time: &Value) -> Option<i64> {
    Ts::parse_utc(time.as_str()?.as_bytes()).map(Ts::millis)
}

/// The statistics of a ticker, told or not.
pub fn statistics(row: &Value) -> Option<Vec<(Kind, String)>> {
    let [last, high, low, volume, change] = decs(row, ["last", "high", "low", "volume", "change"])?;
    let at = ms(row.get("timestamp")?)?;
    let numbers = [last, minus(last, change)?, high, low, volume, Decimal::ZERO, change];
    Some(vec![(Kind::Ticker, list("ticker", at, &numbers, &[0, at - 86_400_000, at]))])
}

/// The row does not say when its message was made.
fn candle(interval: &str, row: &Value, closed: bool) -> Option<(Kind, String)> {
    let period = Period::parse(interval)?;
    let open_ms = ms(row.get("interval_begin")?)?;
    let close_ms = open_ms + int(row, "interval")? * 60_000 - 1;
    let [open, high, low, close, volume] = decs(row, ["open", "high", "low", "close", "volume"])?;
    let nothing = Decimal::ZERO;
    let numbers = [open, high, low, close, volume, nothing, nothing, nothing];
    let rest = [int(row, "trades")?, 0, 0, open_ms, close_ms, i64::from(closed)];
    Some((Kind::Bar(period), list(&format!("bar-{period}"), 0, &numbers, &rest)))
}

/// Bars that the next one closed: kind, fact, and when it was so by both clocks.
pub fn derived(truth: &InstrumentTruth) -> Vec<(Kind, String, u64, i64)> {
    let mut facts = Vec::new();
    let mut last: BTreeMap<&str, Value> = BTreeMap::new();
    for one in truth.klines.iter().filter(|one| one.payload.contains("\"interval_begin\"")) {
        let row: Value = serde_json::from_str(&one.payload).unwrap_or_default();
        let begin = row["interval_begin"].clone();
        if let Some(before) = last.insert(&one.variant, row).filter(|before| before["interval_begin"] != begin)
            && let Some((kind, fact)) = candle(&one.variant, &before, true)
        {
            facts.push((kind, fact, one.wall_ns, 0));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_sim::truth::Stated;

    fn ticker(told: bool) -> Value {
        let text = format!(
            r#"{{"told":{told},"symbol":"A/B","bid":"1","bid_qty":"2","ask":"3","ask_qty":"4","last":"9.50","volume":"7.00","vwap":"9","low":"9.0","high":"11.0","change":"-0.50","change_pct":"-5.00","timestamp":"1970-01-02T00:00:00.001987Z"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn statistics_are_facts_where_they_were_told_and_stand_anyway() {
        let fact = "ticker @86400001 9.5 10 11 9 7 0 -0.5 0 1 86400001";
        let found = |row: &Value| of_truth(K::Ticker, "bbo", row).unwrap().into_iter().map(|f| f.1).collect::<Vec<_>>();
        assert_eq!((found(&ticker(true)), found(&ticker(false))), (vec![fact.to_owned()], vec![]));
        assert_eq!(super::super::facts::standing(&ticker(false)), [fact]);
    }

    #[test]
    fn a_bar_is_closed_by_the_next() {
        let mut truth = InstrumentTruth::default();
        for (at, (minute, close)) in [(1, "2"), (1, "2.50"), (3, "1")].into_iter().enumerate() {
            let payload = format!(
                r#"{{"symbol":"A/B","open":"2","high":"3","low":"1","close":"{close}","trades":4,"volume":"7.0","vwap":"2","interval_begin":"1970-01-01T00:0{minute}:00.000000000Z","interval":1,"timestamp":"x"}}"#
            );
            truth.klines.push(Stated { event_ms: 0, wall_ns: at as u64, variant: "1m".into(), payload });
        }
        let running = of_truth(K::Kline, "1m", &serde_json::from_str(&truth.klines[0].payload).unwrap()).unwrap();
        assert_eq!(running[0].1, "bar-1m @0 2 3 1 2 7 0 0 0 4 0 0 60000 119999 0");
        let facts = derived(&truth);
        let closed = "bar-1m @0 2 3 1 2.5 7 0 0 0 4 0 0 60000 119999 1";
        assert_eq!((facts.len(), facts[0].1.as_str(), facts[0].2), (1, closed, 2));
    }
}
