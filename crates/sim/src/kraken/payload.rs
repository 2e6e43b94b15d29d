//! The wire shapes, one function a channel; spelled after the documents' sheet (`kraken`, written 2026-11-20).
//!
//! Prices and sizes are JSON numbers with all digits of their instrument. The truth has them in quotes, so that no reader of it makes floats
//! of them: [`Digits`] says which of the two is meant. Times are RFC 3339 with microseconds.

use super::names::Names;
use crate::config::{InstrumentConfig, Spec};
use crate::decimal;
use crate::iso;
use crate::world::{BookText, Candle, Day, push_levels};

/// How a number is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    Bare,
    Quoted,
}

impl Digits {
    fn of(self, text: impl AsRef<str>) -> String {
        match self {
            Self::Bare => text.as_ref().to_owned(),
            Self::Quoted => format!("\"{}\"", text.as_ref()),
        }
    }
}

/// Nanoseconds of a millisecond of the venue's clock: the digits below follow from those above, so moments keep their order and one
/// moment has one time. None is so near to a millisecond that a float would print another one.
pub fn nanos(at_ms: i64) -> u64 {
    let at = at_ms.max(0) as u64;
    at * 1_000_000 + (1 + at * 7_919 % 998) * 1_000 + at * 613 % 1_000
}

/// The sockets' time.
pub fn time(at_ms: i64) -> String {
    format!("{}.{:06}Z", iso::seconds(at_ms), nanos(at_ms) / 1_000 % 1_000_000)
}

pub fn message(channel: &str, kind: &str, rows: &str) -> String {
    format!(r#"{{"channel":"{channel}","type":"{kind}","data":[{rows}]}}"#)
}

/// Bars have their message's time before them.
pub fn bars(kind: &str, at_ms: i64, rows: &str) -> String {
    format!(r#"{{"channel":"ohlc","type":"{kind}","timestamp":"{}","data":[{rows}]}}"#, time(at_ms))
}

/// One match.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    pub id: u64,
    pub ticks: i64,
    pub steps: i64,
    pub seller_took: bool,
    pub at_ms: i64,
}

/// The taker's kind of order, which says nothing about the match.
pub const fn is_market(id: u64) -> bool {
    id.is_multiple_of(3)
}

pub fn trade(spec: &Spec, one: Match, digits: Digits) -> String {
    let side = if one.seller_took { "sell" } else { "buy" };
    let kind = if is_market(one.id) { "market" } else { "limit" };
    format!(
        r#"{{"symbol":"{}","side":"{side}","price":{},"qty":{},"ord_type":"{kind}","trade_id":{},"timestamp":"{}"}}"#,
        spec.config.symbol,
        digits.of(spec.price(one.ticks)),
        digits.of(spec.size(one.steps)),
        one.id,
        time(one.at_ms)
    )
}

type Texts = [(String, String)];

fn levels(levels: &Texts) -> String {
    let row = |(price, size): &(String, String)| format!(r#"{{"price":{price},"qty":{size}}}"#);
    levels.iter().map(row).collect::<Vec<_>>().join(",")
}

/// A row of `book`.
pub fn book(spec: &Spec, [bids, asks]: [&Texts; 2], checksum: u32, at_ms: i64) -> String {
    format!(
        r#"{{"symbol":"{}","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"{}"}}"#,
        spec.config.symbol,
        levels(bids),
        levels(asks),
        time(at_ms)
    )
}

/// An update of the truth: its place among all, and what it pushed out among what it deletes.
pub fn placed(spec: &Spec, n: u64, [bids, asks]: [&Texts; 2], at_ms: i64) -> String {
    let mut text = format!(r#"{{"n":{n},"symbol":"{}","bids":"#, spec.config.symbol);
    push_levels(&mut text, bids);
    text.push_str(",\"asks\":");
    push_levels(&mut text, asks);
    text + &format!(r#","timestamp":"{}"}}"#, time(at_ms))
}

/// Best prices and the rolling statistics.
pub fn ticker(spec: &Spec, day: &Day, best: [(i64, i64); 2], at_ms: i64, digits: Digits) -> String {
    let [(bid, bid_qty), (ask, ask_qty)] = best.map(|(p, q)| (digits.of(spec.price(p)), digits.of(spec.size(q))));
    let [last, low, high, vwap] =
        [day.last, day.low, day.high, day.average()].map(|ticks| digits.of(spec.price(ticks)));
    let units = i128::from(day.last - day.open) * i128::from(spec.tick_units);
    let change = digits.of(decimal::fixed(units, spec.price_scale));
    let percent = digits.of(decimal::fixed(i128::from(day.last - day.open) * 10_000 / i128::from(day.open), 2));
    let volume = digits.of(spec.volume(day.volume));
    format!(
        r#"{{"symbol":"{}","bid":{bid},"bid_qty":{bid_qty},"ask":{ask},"ask_qty":{ask_qty},"last":{last},"volume":{volume},"vwap":{vwap},"low":{low},"high":{high},"change":{change},"change_pct":{percent},"timestamp":"{}"}}"#,
        spec.config.symbol,
        time(at_ms)
    )
}

/// The venue's word for an interval: minutes.
pub fn minutes(interval: &str) -> Option<u32> {
    Some(match interval {
        "1m" => 1,
        "5m" => 5,
        "15m" => 15,
        "30m" => 30,
        "1h" => 60,
        _ => return None,
    })
}

/// A row of `ohlc`; it has traded.
pub fn candle(spec: &Spec, candle: &Candle, minutes: u32, digits: Digits) -> String {
    let average = (candle.notional / candle.volume.max(1)) as i64;
    let [open, high, low, close, vwap] =
        [candle.open, candle.high, candle.low, candle.close, average].map(|ticks| digits.of(spec.price(ticks)));
    let end = candle.open_ms + candle.interval_ms;
    format!(
        r#"{{"symbol":"{}","open":{open},"high":{high},"low":{low},"close":{close},"trades":{},"volume":{},"vwap":{vwap},"interval_begin":"{}.000000000Z","interval":{minutes},"timestamp":"{}.000000Z"}}"#,
        spec.config.symbol,
        candle.count,
        digits.of(spec.volume(candle.volume)),
        iso::seconds(candle.open_ms),
        iso::seconds(end)
    )
}

/// A row of the truth as it went on the wire.
pub fn bare(row: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b".-".contains(&b));
    let part = |(at, text): (usize, &str)| match at % 2 {
        1 if !is_number(text) => format!("\"{text}\""),
        _ => text.to_owned(),
    };
    row.split('"').enumerate().map(part).collect()
}

/// A pair's definition.
pub fn pair(spec: &Spec, position_limit: u32) -> String {
    let InstrumentConfig { symbol, base, quote, .. } = &spec.config;
    let tick = decimal::fixed(spec.tick_units.into(), spec.price_scale);
    let step = decimal::fixed(spec.step_units.into(), spec.size_scale);
    let least = decimal::fixed(i128::from(spec.step_units) * 5_000, spec.size_scale);
    format!(
        r#"{{"symbol":"{symbol}","base":"{base}","quote":"{quote}","status":"online","qty_precision":{},"qty_increment":{step},"price_precision":{},"cost_precision":5,"marginable":true,"has_index":true,"cost_min":0.50,"margin_initial":0.20,"position_limit_long":{position_limit},"position_limit_short":200,"tick_size":{tick},"price_increment":{tick},"qty_min":{least}}}"#,
        spec.size_scale, spec.price_scale
    )
}

/// A change of definitions, or all of them.
pub fn instruments(kind: &str, assets: &[String], pairs: &str) -> String {
    let asset = |id: &String| {
        format!(
            r#"{{"id":"{id}","status":"enabled","precision":10,"precision_display":5,"borrowable":false,"collateral_value":1.00}}"#
        )
    };
    let assets: Vec<String> = assets.iter().map(asset).collect();
    format!(
        r#"{{"channel":"instrument","type":"{kind}","data":{{"assets":[{}],"pairs":[{pairs}]}}}}"#,
        assets.join(",")
    )
}

/// REST prints prices with five places at least.
fn long(price: &str) -> String {
    let places = price.split_once('.').map_or(0, |(_, part)| part.len());
    let point = if places == 0 { "." } else { "" };
    format!("{price}{point}{}", "0".repeat(5_usize.saturating_sub(places)))
}

/// A row of REST's `Trades`: its time is a float.
pub fn rest_trade(id: u64, price: &str, size: &str, at_ms: i64, seller_took: bool) -> String {
    let (side, kind) = (if seller_took { "s" } else { "b" }, if is_market(id) { "m" } else { "l" });
    let seconds = nanos(at_ms) as f64 / 1e9;
    format!(r#"["{}","{size}",{seconds},"{side}","{kind}","",{id}]"#, long(price))
}

/// REST's book.
pub fn rest_book(key: &str, book: &BookText, limit: usize, at_ms: i64) -> String {
    let side = |levels: &[(String, String)]| {
        let row = |(price, size): &(String, String)| format!(r#"["{}","{size}",{}]"#, long(price), at_ms / 1_000);
        levels.iter().take(limit).map(row).collect::<Vec<_>>().join(",")
    };
    format!(r#""{key}":{{"asks":[{}],"bids":[{}]}}"#, side(&book.asks), side(&book.bids))
}

/// A member of REST's `AssetPairs`: the numbers of a definition in other words.
#[derive(Debug, Clone, Copy)]
pub struct PairNumbers<'a> {
    pub symbol: &'a str,
    pub price_precision: u32,
    pub qty_precision: u32,
    pub tick: &'a str,
    pub qty_min: &'a str,
    pub cost_min: &'a str,
    pub status: &'a str,
}

pub fn asset_pair(of: PairNumbers<'_>) -> String {
    let Names { key, altname, wsname, assets: [base, quote] } = Names::of(of.symbol);
    let PairNumbers { price_precision, qty_precision, tick, qty_min, cost_min, status, .. } = of;
    format!(
        r#""{key}":{{"altname":"{altname}","wsname":"{wsname}","aclass_base":"currency","base":"{base}","aclass_quote":"currency","quote":"{quote}","lot":"unit","cost_decimals":5,"pair_decimals":{price_precision},"lot_decimals":{qty_precision},"lot_multiplier":1,"leverage_buy":[2,3],"leverage_sell":[2,3],"fees":[[0,0.4]],"fees_maker":[[0,0.25]],"fee_volume_currency":"ZUSD","margin_call":80,"margin_stop":40,"ordermin":"{qty_min}","costmin":"{cost_min}","tick_size":"{tick}","status":"{status}"}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{VenueConfig, VenueKind};

    #[test]
    fn numbers_are_bare_on_the_wire_and_quoted_in_the_truth() {
        let spec = Spec::new(VenueKind::Kraken, &VenueConfig::kraken().instruments[0]).unwrap();
        let one = Match { id: 4, ticks: 618_376, steps: 35_000_000, seller_took: true, at_ms: 1_790_000_000_123 };
        let wire = trade(&spec, one, Digits::Bare);
        assert!(wire.contains(r#""price":61837.6,"qty":0.35000000,"ord_type":"limit","trade_id":4"#), "{wire}");
        let truth = trade(&spec, one, Digits::Quoted);
        assert_eq!(truth, wire.replace("61837.6", "\"61837.6\"").replace("0.35000000", "\"0.35000000\""));
        assert_eq!(bare(&truth), wire);
    }

    #[test]
    fn moments_keep_their_order_and_their_millisecond_through_a_float() {
        let mut before = 0;
        for ms in 1_790_000_000_000..1_790_000_003_000 {
            let at = nanos(ms);
            assert!(at > before && at / 1_000_000 == ms as u64);
            before = at;
            let float = at as f64 / 1e9;
            assert_eq!((float * 1e3) as i64, ms);
            assert_eq!(iso::parse_iso(&time(ms)), Some(ms));
        }
        assert_eq!(long("61837.6"), "61837.60000");
        assert_eq!((long("0.1043217"), long("7")), ("0.1043217".into(), "7.00000".into()));
    }
}
