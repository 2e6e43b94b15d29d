//! Bybit's own text as facts: messages as they went on the wire, tickers whole with the names of what was told.

use serde_json::Value;
use wholetape_model::{Decimal, Kind, Period};
use wholetape_sim::Kind as K;

use super::facts::{decs, int, list, minus};

/// What a message of the truth says: `(kind, fact)` for each topic that it fills. `None` when it cannot be read.
pub fn of_truth(kind: K, variant: &str, message: &Value) -> Option<Vec<(Kind, String)>> {
    let topic = message.get("topic")?.as_str()?;
    // Inverse contracts turn over their coin, which is no quote. The simulated ones are called so.
    let inverse = topic.ends_with("USD");
    let rows = || message.get("data").and_then(Value::as_array);
    let at = int(message, "ts")?;
    match kind {
        K::Kline => rows()?.iter().map(|row| candle(variant, at, inverse, row)).collect(),
        K::Ticker => ticker(message, at, inverse),
        K::ForceOrder => rows()?.iter().map(liquidated).collect(),
        _ => Some(Vec::new()),
    }
}

fn candle(interval: &str, at: i64, inverse: bool, row: &Value) -> Option<(Kind, String)> {
    let period = Period::parse(interval)?;
    let [open, high, low, close, volume, turnover] = decs(row, ["open", "high", "low", "close", "volume", "turnover"])?;
    let quote = if inverse { Decimal::ZERO } else { turnover };
    let numbers = [open, high, low, close, volume, quote, Decimal::ZERO, Decimal::ZERO];
    let closed = i64::from(row.get("confirm")?.as_bool()?);
    let rest = [0, 0, 0, int(row, "start")?, int(row, "end")?, closed];
    Some((Kind::Bar(period), list(&format!("bar-{period}"), at, &numbers, &rest)))
}

/// Statistics with each message; the rest where the message brought it.
fn ticker(message: &Value, at: i64, inverse: bool) -> Option<Vec<(Kind, String)>> {
    let row = message.get("data")?;
    let [last, open, high, low, volume, turnover] =
        decs(row, ["lastPrice", "prevPrice24h", "highPrice24h", "lowPrice24h", "volume24h", "turnover24h"])?;
    let quote = if inverse { Decimal::ZERO } else { turnover };
    let numbers = [last, open, high, low, volume, quote, minus(last, open)?];
    let mut facts = vec![(Kind::Ticker, list("ticker", at, &numbers, &[0, at - 86_400_000, at]))];
    let told: Vec<&str> = message.get("told")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let brought = |kind: &Kind| told.iter().any(|field| fields(*kind).contains(field));
    facts.extend(standing(message)?.into_iter().filter(|(kind, _)| brought(kind)));
    Some(facts)
}

/// What a fact is made of.
const fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Mark => &["markPrice"],
        Kind::Index => &["indexPrice"],
        // One side: the older field counts both.
        Kind::OpenInterest => &["singleOpenInterest"],
        Kind::Funding => &["fundingRate", "nextFundingTime"],
        _ => &[],
    }
}

/// Prices, funding and open interest as they were at a message, whatever of them it brought; a spot pair has none.
pub fn standing(message: &Value) -> Option<Vec<(Kind, String)>> {
    let (row, at) = (message.get("data")?, int(message, "ts")?);
    if row.get("markPrice").is_none() {
        return Some(Vec::new());
    }
    let [mark, index, interest, rate] = decs(row, ["markPrice", "indexPrice", "singleOpenInterest", "fundingRate"])?;
    let next = int(row, "nextFundingTime")?;
    Some(vec![
        (Kind::Mark, list("mark", at, &[mark], &[])),
        (Kind::Index, list("index", at, &[index], &[])),
        (Kind::OpenInterest, list("open_interest", at, &[interest], &[])),
        (Kind::Funding, list("funding", at, &[rate], &[next])),
    ])
}

/// The venue names the position: a long that is closed is sold.
fn liquidated(row: &Value) -> Option<(Kind, String)> {
    let [price, size] = decs(row, ["p", "v"])?;
    let side = match row.get("S")?.as_str()? {
        "Buy" => "sell",
        _ => "buy",
    };
    let numbers = [price, Decimal::ZERO, size, size];
    Some((Kind::Liquidation, list(&format!("liquidation {side}"), int(row, "T")?, &numbers, &[])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: K, variant: &str, message: &str, facts: &[&str]) {
        let found = of_truth(kind, variant, &serde_json::from_str(message).unwrap()).unwrap();
        assert_eq!(found.iter().map(|(_, fact)| fact.as_str()).collect::<Vec<_>>(), facts);
    }

    #[test]
    fn messages_say_what_a_record_says() {
        let statistics = r#""lastPrice":"9.5","prevPrice24h":"10","highPrice24h":"11","lowPrice24h":"9","volume24h":"7","turnover24h":"70""#;
        check(
            K::Ticker,
            "",
            &format!(
                r#"{{"topic":"tickers.ABUSDT","data":{{"symbol":"ABUSDT",{statistics},"markPrice":"9.40","indexPrice":"9.5","fundingRate":"0.0001","nextFundingTime":"800","openInterest":"8","singleOpenInterest":"4"}},"ts":86400001,"told":["fundingRate","singleOpenInterest"]}}"#
            ),
            &[
                "ticker @86400001 9.5 10 11 9 7 70 -0.5 0 1 86400001",
                "open_interest @86400001 4",
                "funding @86400001 0.0001 800",
            ],
        );
        check(
            K::Kline,
            "1m",
            r#"{"topic":"kline.1.ABUSD","data":[{"start":60000,"end":119999,"open":"1","high":"2","low":"0.5","close":"1.5","volume":"7","turnover":"8","confirm":true}],"ts":120001}"#,
            &["bar-1m @120001 1 2 0.5 1.5 7 0 0 0 0 0 0 60000 119999 1"],
        );
        check(
            K::ForceOrder,
            "",
            r#"{"topic":"allLiquidation.ABUSDT","ts":9,"data":[{"T":8,"s":"ABUSDT","S":"Buy","v":"3","p":"2"},{"T":9,"s":"ABUSDT","S":"Sell","v":"1","p":"2"}]}"#,
            &["liquidation sell @8 2 0 3 3", "liquidation buy @9 2 0 1 1"],
        );
    }
}
