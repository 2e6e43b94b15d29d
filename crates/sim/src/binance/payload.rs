//! The wire shapes of generated events, one function a stream; spelled after the venue sheets and recorded frames.
//!
//! Spot prints eight decimals and an ignored `M`; USDⓈ-M adds transaction times, `ps` and `st` (1 = this product line, 2 =
//! COIN-M, mixed into the all-market streams since 2026-06-30).

use crate::config::{Spec, VenueKind};
use crate::world::{Candle, Day, push_levels};

/// The parts of one aggregate trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agg {
    pub id: u64,
    pub ticks: i64,
    pub steps: i64,
    pub first: u64,
    pub last: u64,
    pub time_ms: i64,
    pub buyer_is_maker: bool,
}

pub fn agg_trade(kind: VenueKind, spec: &Spec, at_ms: i64, agg: &Agg) -> String {
    let (s, p, q) = (&spec.config.symbol, spec.price(agg.ticks), spec.size(agg.steps));
    let Agg { id, first, last, time_ms, buyer_is_maker, .. } = agg;
    if kind.is_spot() {
        format!(
            r#"{{"e":"aggTrade","E":{at_ms},"s":"{s}","a":{id},"p":"{p}","q":"{q}","f":{first},"l":{last},"T":{time_ms},"m":{buyer_is_maker},"M":true}}"#
        )
    } else {
        format!(
            r#"{{"e":"aggTrade","E":{at_ms},"a":{id},"s":"{s}","p":"{p}","q":"{q}","nq":"{q}","f":{first},"l":{last},"T":{time_ms},"m":{buyer_is_maker},"st":1}}"#
        )
    }
}

/// A raw trade; `source` is what the futures stream calls `X`.
pub fn trade(
    kind: VenueKind,
    spec: &Spec,
    at_ms: i64,
    id: u64,
    ticks: i64,
    steps: i64,
    maker: bool,
    source: &str,
) -> String {
    let (s, p, q) = (&spec.config.symbol, spec.price(ticks), spec.size(steps));
    if kind.is_spot() {
        format!(
            r#"{{"e":"trade","E":{at_ms},"s":"{s}","t":{id},"p":"{p}","q":"{q}","T":{at_ms},"m":{maker},"M":true}}"#
        )
    } else {
        format!(
            r#"{{"e":"trade","E":{at_ms},"T":{at_ms},"s":"{s}","t":{id},"p":"{p}","q":"{q}","X":"{source}","m":{maker},"st":1}}"#
        )
    }
}

/// A diff-depth event. `levels` are `(price, size)` texts already.
pub fn depth(
    kind: VenueKind,
    symbol: &str,
    at_ms: i64,
    [first, last, previous]: [u64; 3],
    [bids, asks]: [&[(String, String)]; 2],
) -> String {
    let mut text = depth_ids(kind, symbol, at_ms, [first, last, previous]);
    text.pop();
    text.push_str(",\"b\":");
    push_levels(&mut text, bids);
    text.push_str(",\"a\":");
    push_levels(&mut text, asks);
    text.push_str(if kind.is_spot() { "}" } else { ",\"st\":1}" });
    text
}

/// The same without levels: what the truth keeps of a slower cadence.
pub fn depth_ids(kind: VenueKind, symbol: &str, at_ms: i64, [first, last, previous]: [u64; 3]) -> String {
    if kind.is_spot() {
        format!(r#"{{"e":"depthUpdate","E":{at_ms},"s":"{symbol}","U":{first},"u":{last}}}"#)
    } else {
        format!(
            r#"{{"e":"depthUpdate","E":{at_ms},"T":{at_ms},"s":"{symbol}","ps":"{symbol}","U":{first},"u":{last},"pu":{previous}}}"#
        )
    }
}

pub fn book_ticker(kind: VenueKind, spec: &Spec, at_ms: i64, id: u64, best: [(i64, i64); 2]) -> String {
    let s = &spec.config.symbol;
    let [(b, bq), (a, aq)] = best.map(|(p, q)| (spec.price(p), spec.size(q)));
    if kind.is_spot() {
        format!(r#"{{"u":{id},"s":"{s}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}"}}"#)
    } else {
        format!(
            r#"{{"e":"bookTicker","u":{id},"s":"{s}","ps":"{s}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}","T":{at_ms},"E":{at_ms},"st":1}}"#
        )
    }
}

pub fn kline(kind: VenueKind, spec: &Spec, at_ms: i64, candle: &Candle, closed: bool) -> String {
    let st = if kind.is_spot() { "" } else { ",\"st\":1" };
    format!(r#"{{"e":"kline","E":{at_ms},"s":"{}","k":{}{st}}}"#, spec.config.symbol, candle.json(spec, closed))
}

pub fn ticker(kind: VenueKind, spec: &Spec, at_ms: i64, day: &Day, best: [(i64, i64); 2]) -> String {
    let s = &spec.config.symbol;
    let change = day.last - day.open;
    // Per cent with three decimals.
    let percent = crate::decimal::fixed(i128::from(change) * 100_000 / i128::from(day.open.max(1)), 3);
    let volume = crate::decimal::fixed(day.volume * i128::from(spec.step_units), spec.size_scale);
    let [(b, bq), (a, aq)] = best.map(|(p, q)| (spec.price(p), spec.size(q)));
    let book = if kind.is_spot() {
        format!(r#""x":"{}","b":"{b}","B":"{bq}","a":"{a}","A":"{aq}","#, spec.price(day.open))
    } else {
        String::new()
    };
    format!(
        r#"{{"e":"24hrTicker","E":{at_ms},"s":"{s}","p":"{}","P":"{percent}","w":"{}","c":"{}","Q":"{}",{book}"o":"{}","h":"{}","l":"{}","v":"{volume}","q":"{}","O":{},"C":{at_ms},"F":{},"L":{},"n":{}{}}}"#,
        spec.price(change),
        spec.price(day.average()),
        spec.price(day.last),
        spec.size(day.last_steps),
        spec.price(day.open),
        spec.price(day.high),
        spec.price(day.low),
        spec.quote_amount(day.notional),
        at_ms - 86_400_000,
        day.first_id,
        day.last_id,
        day.count,
        if kind.is_spot() { "" } else { ",\"st\":1" },
    )
}

/// Mark, settlement and index price as texts; the rate as text; next funding, ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub mark: String,
    pub settle: String,
    pub index: String,
    pub rate: String,
    pub next_ms: i64,
}

pub fn mark_price(symbol: &str, at_ms: i64, mark: &Mark) -> String {
    let Mark { mark, settle, index, rate, next_ms } = mark;
    format!(
        r#"{{"e":"markPriceUpdate","E":{at_ms},"s":"{symbol}","p":"{mark}","ap":"{mark}","P":"{settle}","i":"{index}","r":"{rate}","T":{next_ms},"st":1}}"#
    )
}

/// A forced order that has been filled; `side` is the order's.
pub fn force_order(spec: &Spec, at_ms: i64, side: &str, ticks: i64, steps: i64, last_steps: i64) -> String {
    let (s, p, q, l) = (&spec.config.symbol, spec.price(ticks), spec.size(steps), spec.size(last_steps));
    format!(
        r#"{{"e":"forceOrder","E":{at_ms},"o":{{"s":"{s}","ps":"{s}","S":"{side}","o":"LIMIT","f":"IOC","q":"{q}","p":"{p}","ap":"{p}","X":"FILLED","l":"{l}","z":"{q}","T":{at_ms}}},"st":1}}"#
    )
}

pub fn contract_info(symbol: &str, pair: &str, at_ms: i64, st: u8) -> String {
    format!(
        r#"{{"e":"contractInfo","E":{at_ms},"s":"{symbol}","ps":"{pair}","ct":"PERPETUAL","dt":4133404800000,"ot":1569398400000,"cs":"TRADING","st":{st}}}"#
    )
}

pub fn open_interest(symbol: &str, value: &str, at_ms: i64) -> String {
    format!(r#"{{"openInterest":"{value}","symbol":"{symbol}","time":{at_ms}}}"#)
}
