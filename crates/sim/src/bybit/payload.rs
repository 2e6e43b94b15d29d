//! The wire shapes, one function a channel: whole messages, since their times stand outside of `data`.
//!
//! Spelled after the documents' sheet (`bybit`, written 2026-11-20); the order of keys is another one on spot, as recordings have it. Prices and
//! sizes are text padded to tick and step, a removed level is `"0"`.

use std::fmt::Write as _;

use super::category::Category;
use super::ids;
use crate::config::Spec;
use crate::decimal;
use crate::world::{Candle, push_levels};

/// What begins a message of rows.
fn head(category: Category, topic: &str, kind: &str, at_ms: i64) -> String {
    if category.is_derivative() {
        format!(r#"{{"topic":"{topic}","type":"{kind}","ts":{at_ms}"#)
    } else {
        format!(r#"{{"topic":"{topic}","ts":{at_ms},"type":"{kind}""#)
    }
}

/// One match.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    pub id: u64,
    pub ticks: i64,
    pub steps: i64,
    pub seller_took: bool,
    /// Of derivatives: against the price before.
    pub direction: &'static str,
}

impl Match {
    /// Its id in the venue's spelling.
    pub fn id(&self, category: Category, symbol: &str) -> String {
        if category.is_derivative() { ids::uuid(symbol, self.id) } else { self.id.to_string() }
    }
}

/// How a price stands to the one before.
pub const fn direction(before: i64, now: i64, rose: bool) -> &'static str {
    match (now > before, now < before, rose) {
        (true, ..) => "PlusTick",
        (_, true, _) => "MinusTick",
        (.., true) => "ZeroPlusTick",
        (.., false) => "ZeroMinusTick",
    }
}

/// The matches of one taker: one message, one `seq`.
pub fn trades(spec: &Spec, category: Category, at_ms: i64, all: &[Match], seq: u64) -> String {
    let s = &spec.config.symbol;
    let mut text = head(category, &format!("publicTrade.{s}"), "snapshot", at_ms);
    text.push_str(r#","data":["#);
    for (at, one) in all.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let (i, p, v) = (one.id(category, s), spec.price(one.ticks), spec.size(one.steps));
        let side = if one.seller_took { "Sell" } else { "Buy" };
        let _ = if category.is_derivative() {
            let direction = one.direction;
            write!(
                text,
                r#"{comma}{{"T":{at_ms},"s":"{s}","S":"{side}","v":"{v}","p":"{p}","L":"{direction}","i":"{i}","BT":false,"RPI":false,"seq":{seq}}}"#
            )
        } else {
            write!(
                text,
                r#"{comma}{{"i":"{i}","T":{at_ms},"p":"{p}","v":"{v}","S":"{side}","s":"{s}","BT":false,"RPI":false,"seq":{seq}}}"#
            )
        };
    }
    text.push_str("]}");
    text
}

/// What a message of a book's stream says beside its levels.
#[derive(Debug, Clone, Copy)]
pub struct Book<'a> {
    pub topic: &'a str,
    /// `snapshot` or `delta`.
    pub kind: &'a str,
    pub ts: i64,
    pub cts: i64,
    pub u: u64,
    pub seq: u64,
}

/// A message of `orderbook.N`. `after`: in the truth alone, the id that the stream had before its count began anew.
pub fn book(
    spec: &Spec,
    category: Category,
    m: Book<'_>,
    [bids, asks]: [&[(String, String)]; 2],
    after: Option<u64>,
) -> String {
    let mut text = head(category, m.topic, m.kind, m.ts);
    let _ = write!(text, r#","data":{{"s":"{}","b":"#, spec.config.symbol);
    push_levels(&mut text, bids);
    text.push_str(r#","a":"#);
    push_levels(&mut text, asks);
    let _ = write!(text, r#","u":{},"seq":{}}},"cts":{}"#, m.u, m.seq, m.cts);
    if let Some(after) = after {
        let _ = write!(text, r#","after":{after}"#);
    }
    text.push('}');
    text
}

/// What so much is worth: in the quote, of inverse contracts in the coin (dollars by price).
pub fn worth(spec: &Spec, category: Category, notional: i128, steps: i128, ticks: i64) -> String {
    if category != Category::Inverse {
        return spec.quote_amount(notional);
    }
    let price = (i128::from(ticks) * i128::from(spec.tick_units)).max(1) * 10_i128.pow(spec.size_scale);
    decimal::fixed(steps * i128::from(spec.step_units) * 10_i128.pow(spec.price_scale + 8) / price, 8)
}

/// A message of `kline`; `end` is the last millisecond.
pub fn candle(spec: &Spec, category: Category, interval: &str, at_ms: i64, candle: &Candle, closed: bool) -> String {
    let topic = format!("kline.{interval}.{}", spec.config.symbol);
    let [o, h, l, c] = [candle.open, candle.high, candle.low, candle.close].map(|ticks| spec.price(ticks));
    let (start, end, volume) = (candle.open_ms, candle.close_ms(), spec.volume(candle.volume));
    let turnover = worth(spec, category, candle.notional, candle.volume, candle.close);
    let row = format!(
        r#"{{"start":{start},"end":{end},"interval":"{interval}","open":"{o}","close":"{c}","high":"{h}","low":"{l}","volume":"{volume}","turnover":"{turnover}","confirm":{closed},"timestamp":{at_ms}}}"#
    );
    if category.is_derivative() {
        format!(r#"{{"topic":"{topic}","data":[{row}],"ts":{at_ms},"type":"snapshot"}}"#)
    } else {
        format!(r#"{{"type":"snapshot","topic":"{topic}","data":[{row}],"ts":{at_ms}}}"#)
    }
}

/// One liquidation: `S` is the position's side, so a long that is sold is a `Buy`.
pub fn liquidated(spec: &Spec, at_ms: i64, ticks: i64, steps: i64, seller_took: bool) -> String {
    let (s, p, v) = (&spec.config.symbol, spec.price(ticks), spec.size(steps));
    let side = if seller_took { "Buy" } else { "Sell" };
    format!(r#"{{"T":{at_ms},"s":"{s}","S":"{side}","v":"{v}","p":"{p}"}}"#)
}

/// What half a second brought.
pub fn liquidations(spec: &Spec, category: Category, at_ms: i64, rows: &[String]) -> String {
    let head = head(category, &format!("allLiquidation.{}", spec.config.symbol), "snapshot", at_ms);
    format!(r#"{head},"data":[{}]}}"#, rows.join(","))
}

/// A definition.
pub fn instrument(spec: &Spec, category: Category) -> String {
    let crate::config::InstrumentConfig { symbol, base, quote, tick, step, .. } = &spec.config;
    if category == Category::Spot {
        return format!(
            r#"{{"symbol":"{symbol}","baseCoin":"{base}","quoteCoin":"{quote}","innovation":"0","status":"Trading","marginTrading":"utaOnly","stTag":"0","lotSizeFilter":{{"basePrecision":"{step}","quotePrecision":"0.00000001","minOrderQty":"{step}","maxOrderQty":"9000","minOrderAmt":"5","maxOrderAmt":"4000000","maxLimitOrderQty":"9000","maxMarketOrderQty":"4500"}},"priceFilter":{{"tickSize":"{tick}"}},"riskParameters":{{"priceLimitRatioX":"0.01","priceLimitRatioY":"0.02"}}}}"#
        );
    }
    let (contract, settle) = match category {
        Category::Inverse => ("InversePerpetual", base),
        _ => ("LinearPerpetual", quote),
    };
    format!(
        r#"{{"symbol":"{symbol}","contractType":"{contract}","status":"Trading","baseCoin":"{base}","quoteCoin":"{quote}","launchTime":"1585526400000","deliveryTime":"0","deliveryFeeRate":"","priceScale":"{}","leverageFilter":{{"minLeverage":"1","maxLeverage":"100.00","leverageStep":"0.01"}},"priceFilter":{{"minPrice":"{tick}","maxPrice":"1999999.80","tickSize":"{tick}"}},"lotSizeFilter":{{"maxOrderQty":"1190000","maxMktOrderQty":"500000","minOrderQty":"{step}","qtyStep":"{step}","postOnlyMaxOrderQty":"1190000","minNotionalValue":"5"}},"unifiedMarginTrade":true,"fundingInterval":480,"settleCoin":"{settle}","copyTrading":"both","upperFundingRate":"0.005","lowerFundingRate":"-0.005","isPreListing":false,"preListingInfo":null,"symbolType":"","symbolId":1}}"#,
        spec.price_scale
    )
}
