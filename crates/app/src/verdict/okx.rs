//! OKX's own text as facts: rows as they went on the wire.

use serde_json::Value;
use wholetape_model::{Decimal, Kind, Period};
use wholetape_sim::Kind as K;

use super::facts::{decs, int, list, minus, number};

/// What a row of the truth says: `(kind, fact)` for each topic that it fills. `None` when it cannot be read.
pub fn of_truth(kind: K, variant: &str, row: &Value) -> Option<Vec<(Kind, String)>> {
    let at = || int(row, "ts");
    Some(match kind {
        K::Kline => vec![candle(variant, row)?],
        K::Ticker => {
            let [last, open, high, low, volume, other] =
                decs(row, ["last", "open24h", "high24h", "low24h", "vol24h", "volCcy24h"])?;
            // Elsewhere it is in the base coin, which is no turnover.
            let quote = if row.get("instType")?.as_str()? == "SPOT" { other } else { Decimal::ZERO };
            let numbers = [last, open, high, low, volume, quote, minus(last, open)?];
            vec![(Kind::Ticker, list("ticker", at()?, &numbers, &[0, at()? - 86_400_000, at()?]))]
        }
        // Three channels, told apart by what they print.
        K::MarkPrice if row.get("markPx").is_some() => {
            vec![(Kind::Mark, list("mark", at()?, &decs(row, ["markPx"])?, &[]))]
        }
        K::MarkPrice if row.get("idxPx").is_some() => {
            vec![(Kind::Index, list("index", at()?, &decs(row, ["idxPx"])?, &[]))]
        }
        K::MarkPrice => {
            vec![(Kind::Funding, list("funding", at()?, &decs(row, ["fundingRate"])?, &[int(row, "fundingTime")?]))]
        }
        K::OpenInterest => vec![(Kind::OpenInterest, list("open_interest", at()?, &decs(row, ["oi"])?, &[]))],
        K::ForceOrder => row.get("details")?.as_array()?.iter().map(forced).collect::<Option<_>>()?,
        K::ContractInfo => vec![(Kind::Status, format!("status @0 {}", row.get("state")?.as_str()?))],
        _ => Vec::new(),
    })
}

fn forced(detail: &Value) -> Option<(Kind, String)> {
    let [price, size] = decs(detail, ["bkPx", "sz"])?;
    let name = format!("liquidation {}", detail.get("side")?.as_str()?);
    Some((Kind::Liquidation, list(&name, int(detail, "ts")?, &[price, Decimal::ZERO, size, size], &[])))
}

/// `[ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]`; the row does not say when it was made.
fn candle(interval: &str, row: &Value) -> Option<(Kind, String)> {
    let column = |at: usize| number(row.get(at)?.as_str()?);
    let period = Period::parse(interval)?;
    let length = match period.unit {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        _ => return None,
    } * i64::from(period.count);
    let open_ms: i64 = row.get(0)?.as_str()?.parse().ok()?;
    let numbers =
        [column(1)?, column(2)?, column(3)?, column(4)?, column(5)?, column(7)?, Decimal::ZERO, Decimal::ZERO];
    let closed = i64::from(row.get(8)?.as_str()? == "1");
    let rest = [0, 0, 0, open_ms, open_ms + length - 1, closed];
    Some((Kind::Bar(period), list(&format!("bar-{period}"), 0, &numbers, &rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: K, variant: &str, row: &str, fact: &str) {
        let found = of_truth(kind, variant, &serde_json::from_str(row).unwrap()).unwrap();
        assert_eq!(found.iter().map(|(_, fact)| fact.as_str()).collect::<Vec<_>>(), [fact]);
    }

    #[test]
    fn rows_say_what_a_record_says() {
        check(
            K::Ticker,
            "",
            r#"{"instType":"SWAP","last":"9.5","open24h":"10","high24h":"11","low24h":"9","vol24h":"7","volCcy24h":"7","ts":"86400001"}"#,
            "ticker @86400001 9.5 10 11 9 7 0 -0.5 0 1 86400001",
        );
        check(
            K::Kline,
            "1m",
            r#"["60000","1","2","0.5","1.5","7","7","8","1"]"#,
            "bar-1m @0 1 2 0.5 1.5 7 8 0 0 0 0 0 60000 119999 1",
        );
        check(K::MarkPrice, "", r#"{"idxPx":"3.10","ts":"5"}"#, "index @5 3.1");
        check(
            K::ForceOrder,
            "",
            r#"{"details":[{"side":"sell","bkPx":"2","sz":"3","ts":"8"}]}"#,
            "liquidation sell @8 2 0 3 3",
        );
    }
}
