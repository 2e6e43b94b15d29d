//! `tickers`: on spot whole each time, on derivatives a snapshot and then deltas, in which a field that did not change is absent.
//!
//! A message of a derivative says only what changed, so it cannot be understood alone: the truth keeps it whole, with the names of what was told
//! (`told`).

use std::fmt::Write as _;

use super::category::Category;
use super::payload::{direction, worth};
use crate::config::Spec;
use crate::decimal;
use crate::world::Day;

/// What a ticker is made of.
#[derive(Debug, Clone, Copy)]
pub struct Figures<'a> {
    pub day: &'a Day,
    pub best: [(i64, i64); 2],
    /// Mark and index, in ticks.
    pub prices: [i64; 2],
    /// One side, in steps.
    pub interest: i64,
    pub rate: f64,
    pub next_funding_ms: i64,
}

/// Named texts, in the order of the wire.
pub type Fields = Vec<(&'static str, String)>;

fn statistics(spec: &Spec, category: Category, day: &Day) -> Fields {
    let [last, open, high, low] = [day.last, day.open, day.high, day.low].map(|ticks| spec.price(ticks));
    let change = (day.last - day.open) as f64 / day.open as f64;
    vec![
        ("lastPrice", last),
        ("prevPrice24h", open),
        ("highPrice24h", high),
        ("lowPrice24h", low),
        ("volume24h", spec.volume(day.volume)),
        ("turnover24h", worth(spec, category, day.notional, day.volume, day.last)),
        ("price24hPcnt", format!("{change:.6}")),
    ]
}

/// Everything there is to say.
pub fn fields(spec: &Spec, category: Category, f: &Figures<'_>) -> Fields {
    let mut all = statistics(spec, category, f.day);
    let [mark, index] = f.prices;
    if category == Category::Spot {
        all.push(("usdIndexPrice", spec.price(index)));
        return all;
    }
    let [(bid, bid_size), (ask, ask_size)] = f.best;
    let (one, both) = (i128::from(f.interest), i128::from(f.interest) * 2);
    let value = |steps: i128| worth(spec, category, i128::from(mark) * steps, steps, mark);
    let rate = decimal::trimmed(&decimal::fixed((f.rate * 1e8) as i128, 8)).to_owned();
    all.extend([
        ("tickDirection", direction(f.day.open, f.day.last, true).to_owned()),
        ("prevPrice1h", spec.price(f.day.open)),
        ("markPrice", spec.price(mark)),
        ("indexPrice", spec.price(index)),
        // Longs and shorts together; one side has a field of its own since 2026-06-11.
        ("openInterest", spec.volume(both)),
        ("openInterestValue", value(both)),
        ("singleOpenInterest", spec.volume(one)),
        ("singleOpenInterestValue", value(one)),
        ("fundingRate", rate),
        ("nextFundingTime", f.next_funding_ms.to_string()),
        ("fundingIntervalHour", "8".to_owned()),
        ("bid1Price", spec.price(bid)),
        ("bid1Size", spec.size(bid_size)),
        ("ask1Price", spec.price(ask)),
        ("ask1Size", spec.size(ask_size)),
    ]);
    all
}

/// What of `now` is not as it was.
pub fn changed<'a>(before: &Fields, now: &'a Fields) -> Vec<&'a (&'static str, String)> {
    now.iter().filter(|field| !before.contains(field)).collect()
}

/// A message; in the truth, `told` names what it brought.
pub fn message<'a>(
    category: Category,
    symbol: &str,
    kind: &str,
    (at_ms, cs): (i64, u64),
    fields: impl IntoIterator<Item = &'a (&'static str, String)>,
    told: Option<&[&(&'static str, String)]>,
) -> String {
    let mut data = format!(r#"{{"symbol":"{symbol}""#);
    for (name, text) in fields {
        let _ = write!(data, r#","{name}":"{text}""#);
    }
    data.push('}');
    let told = told.map_or(String::new(), |told| {
        let names: Vec<String> = told.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!(r#","told":[{}]"#, names.join(","))
    });
    if category.is_derivative() {
        format!(r#"{{"topic":"tickers.{symbol}","type":"{kind}","data":{data},"cs":{cs},"ts":{at_ms}{told}}}"#)
    } else {
        format!(r#"{{"topic":"tickers.{symbol}","ts":{at_ms},"type":"{kind}","cs":{cs},"data":{data}{told}}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_says_what_changed_and_the_truth_all_of_it() {
        let before: Fields = vec![("lastPrice", "1".into()), ("markPrice", "2".into())];
        let now: Fields = vec![("lastPrice", "1".into()), ("markPrice", "3".into())];
        let told = changed(&before, &now);
        let wire = message(Category::Linear, "AB", "delta", (5, 7), told.iter().copied(), None);
        assert_eq!(
            wire,
            r#"{"topic":"tickers.AB","type":"delta","data":{"symbol":"AB","markPrice":"3"},"cs":7,"ts":5}"#
        );
        let kept = message(Category::Linear, "AB", "delta", (5, 7), &now, Some(&told));
        assert!(kept.contains(r#""lastPrice":"1","markPrice":"3""#) && kept.ends_with(r#""told":["markPrice"]}"#));
    }
}
