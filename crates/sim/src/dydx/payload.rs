//! The wire shapes, one function a channel; spelled after the documents' sheet (`dydx`, written 2026-11-20).
//!
//! Prices, sizes and heights are text without trailing zeros, counts are numbers, times ISO 8601.

use std::fmt::Write as _;

use super::chain::{height_of, name};
use crate::config::{InstrumentConfig, Spec};
use crate::decimal;
use crate::iso::iso;
use crate::world::{Candle, Day, push_levels};

/// A zero is printed in two ways.
fn zeros(levels: &[(i64, i64)], spec: &Spec) -> Vec<(String, String)> {
    let size = |(ticks, steps): &(i64, i64)| match steps {
        0 if ticks % 2 == 0 => "0.0".to_owned(),
        steps => spec.size(*steps),
    };
    levels.iter().map(|level| (spec.price(level.0), size(level))).collect()
}

/// An update of the book: level arrays; a side without changes is left out.
pub fn update(spec: &Spec, changes: &[Vec<(i64, i64)>; 2]) -> String {
    let mut text = String::from("{");
    for (key, side) in ["bids", "asks"].iter().zip(changes).filter(|(_, side)| !side.is_empty()) {
        let comma = if text.len() == 1 { "" } else { "," };
        let _ = write!(text, r#"{comma}"{key}":"#);
        push_levels(&mut text, &zeros(side, spec));
    }
    text.push('}');
    text
}

/// The book as a whole: level objects.
pub fn book([bids, asks]: [&[(String, String)]; 2]) -> String {
    let side = |levels: &[(String, String)]| {
        let rows: Vec<_> = levels.iter().map(|(p, q)| format!(r#"{{"price":"{p}","size":"{q}"}}"#)).collect();
        rows.join(",")
    };
    format!(r#"{{"bids":[{}],"asks":[{}]}}"#, side(bids), side(asks))
}

/// One fill of a taker.
#[derive(Debug, Clone)]
pub struct Fill {
    pub place: u64,
    pub price: String,
    pub size: String,
    pub seller_took: bool,
    /// `LIMIT`, `LIQUIDATED`.
    pub kind: String,
    /// The block's time.
    pub at_ms: i64,
}

/// A row of trades; the stream's updates do not say the height.
pub fn trade(fill: &Fill, with_height: bool) -> String {
    let Fill { place, price, size, seller_took, kind, at_ms } = fill;
    let side = if *seller_took { "SELL" } else { "BUY" };
    let height = if with_height { format!(r#","createdAtHeight":"{}""#, height_of(*place)) } else { String::new() };
    format!(
        r#"{{"id":"{}","side":"{side}","size":"{size}","price":"{price}","type":"{kind}","createdAt":"{}"{height}}}"#,
        name(*place),
        iso(*at_ms)
    )
}

pub fn trades(rows: &[String]) -> String {
    format!(r#"{{"trades":[{}]}}"#, rows.join(","))
}

/// The venue's word for an interval.
pub fn resolution(interval: &str) -> Option<&'static str> {
    Some(match interval {
        "1m" => "1MIN",
        "5m" => "5MINS",
        "15m" => "15MINS",
        "30m" => "30MINS",
        "1h" => "1HOUR",
        _ => return None,
    })
}

pub fn candle(spec: &Spec, candle: &Candle, resolution: &str, interest: &str) -> String {
    let [open, high, low, close] = [candle.open, candle.high, candle.low, candle.close].map(|ticks| spec.price(ticks));
    format!(
        r#"{{"startedAt":"{}","ticker":"{}","resolution":"{resolution}","low":"{low}","high":"{high}","open":"{open}","close":"{close}","baseTokenVolume":"{}","usdVolume":"{}","trades":{},"startingOpenInterest":"{interest}"}}"#,
        iso(candle.open_ms),
        spec.config.symbol,
        spec.volume(candle.volume),
        spec.quote_amount(candle.notional),
        candle.count,
    )
}

/// What of a market changes by the minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub oracle: String,
    pub funding: String,
    pub interest: String,
}

pub fn oracle(symbol: &str, price: &str, at_ms: i64, height: u64, market: u32) -> String {
    format!(
        r#"{{"oraclePrices":{{"{symbol}":{{"oraclePrice":"{price}","effectiveAt":"{}","effectiveAtHeight":"{height}","marketId":{market}}}}}}}"#,
        iso(at_ms)
    )
}

/// A change of one field of a market.
pub fn changed(symbol: &str, field: &str, value: &str) -> String {
    format!(r#"{{"trading":{{"{symbol}":{{"{field}":"{value}"}}}}}}"#)
}

/// A whole market, as a member of the object of all.
pub fn market(spec: &Spec, market: u32, state: &State, day: &Day) -> String {
    let InstrumentConfig { symbol, .. } = &spec.config;
    let [tick, step] = [(spec.tick_units, spec.price_scale), (spec.step_units, spec.size_scale)]
        .map(|(units, scale)| decimal::trimmed(&decimal::fixed(units.into(), scale)).to_owned());
    // A step is so many quantums of 10^atomic; a tick so many subticks of 10^(exponent − 6 − atomic), with an exponent of −9.
    let atomic = -i64::from(spec.size_scale) - 6;
    let quantums = spec.step_units * 1_000_000;
    let subticks = spec.tick_units * 10_i64.pow((9_u32).saturating_sub(spec.size_scale + spec.price_scale));
    let change = decimal::trimmed(&decimal::fixed(
        i128::from(day.last - day.open) * i128::from(spec.tick_units),
        spec.price_scale,
    ))
    .to_owned();
    let State { oracle, funding, interest } = state;
    format!(
        r#""{symbol}":{{"clobPairId":"{market}","ticker":"{symbol}","status":"ACTIVE","oraclePrice":"{oracle}","priceChange24H":"{change}","volume24H":"{}","trades24H":{},"nextFundingRate":"{funding}","initialMarginFraction":"0.05","maintenanceMarginFraction":"0.03","openInterest":"{interest}","atomicResolution":{atomic},"quantumConversionExponent":-9,"tickSize":"{tick}","stepSize":"{step}","stepBaseQuantums":{quantums},"subticksPerTick":{subticks},"marketType":"CROSS","openInterestLowerCap":"0","openInterestUpperCap":"0","baseOpenInterest":"{interest}","defaultFundingRate1H":"0"}}"#,
        spec.quote_amount(day.notional),
        day.count,
    )
}

/// A rate with up to twenty places, as a quotient has them.
pub fn rate(value: f64) -> String {
    decimal::trimmed(&decimal::fixed((value * 1e14) as i128 * 1_000_003, 20)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{VenueConfig, VenueKind};

    #[test]
    fn updates_have_arrays_and_snapshots_objects() {
        let spec = Spec::new(VenueKind::Dydx, &VenueConfig::dydx().instruments[0]).unwrap();
        let changes = [vec![(100, 5_000), (99, 0)], vec![(102, 0)]];
        assert_eq!(update(&spec, &changes), r#"{"bids":[["100","0.5"],["99","0"]],"asks":[["102","0.0"]]}"#);
        assert_eq!(update(&spec, &[vec![], vec![(103, 10_000)]]), r#"{"asks":[["103","1"]]}"#);
        let levels = [("100".to_owned(), "0.5".to_owned())];
        assert_eq!(book([&levels, &[]]), r#"{"bids":[{"price":"100","size":"0.5"}],"asks":[]}"#);
    }

    #[test]
    fn a_markets_integers_say_what_its_text_says() {
        for config in VenueConfig::dydx().instruments {
            let spec = Spec::new(VenueKind::Dydx, &config).unwrap();
            let state = State { oracle: "1".into(), funding: "0".into(), interest: "2".into() };
            let text = format!("{{{}}}", market(&spec, 7, &state, &Day::new(spec.start_ticks)));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let row = &value[config.symbol.as_str()];
            let int = |key: &str| row[key].as_i64().unwrap();
            let power = |exponent: i64| 10_f64.powi(exponent as i32);
            let number = |key: &str| row[key].as_str().unwrap().parse::<f64>().unwrap();
            let atomic = int("atomicResolution");
            let step = int("stepBaseQuantums") as f64 * power(atomic);
            let tick = int("subticksPerTick") as f64 * power(int("quantumConversionExponent") - 6 - atomic);
            assert!((step / number("stepSize") - 1.0).abs() < 1e-9, "{text}");
            assert!((tick / number("tickSize") - 1.0).abs() < 1e-9, "{text}");
        }
    }
}
