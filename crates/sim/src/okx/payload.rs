//! The wire shapes, one function a channel; spelled after the documents' sheet (`okx`, written 2026-11-20). Each gives one row of `data`.
//!
//! Every number is text, without trailing zeros, but `seqId`, `prevSeqId` and `checksum`; the last is 0 since 2026-06-23.

use std::fmt::Write as _;

use super::product::Product;
use crate::config::Spec;
use crate::decimal;
use crate::world::{Candle, Day};

/// `[["price","size","0","orders"],…]`. The third column is deprecated; a removed level has no orders.
fn levels(levels: &[(String, String)]) -> String {
    let mut text = String::from("[");
    for (at, (price, size)) in levels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let orders = if size == "0" { 0 } else { 1 + (price.len() + size.len()) % 9 };
        let _ = write!(text, r#"{comma}["{price}","{size}","0","{orders}"]"#);
    }
    text.push(']');
    text
}

/// A push of `books`. `previous` is -1 with a snapshot.
pub fn book([bids, asks]: [&[(String, String)]; 2], at_ms: i64, previous: i64, seq: u64) -> String {
    let (asks, bids) = (levels(asks), levels(bids));
    format!(r#"{{"asks":{asks},"bids":{bids},"ts":"{at_ms}","checksum":0,"seqId":{seq},"prevSeqId":{previous}}}"#)
}

/// REST `books`: no chain, and no checksum.
pub fn rest_book([bids, asks]: [&[(String, String)]; 2], at_ms: i64, seq: u64) -> String {
    format!(r#"{{"asks":{},"bids":{},"ts":"{at_ms}","seqId":{seq}}}"#, levels(asks), levels(bids))
}

pub fn best(spec: &Spec, at_ms: i64, seq: u64, best: [(i64, i64); 2]) -> String {
    let [bid, ask] = best.map(|(p, q)| [(spec.price(p), spec.size(q))]);
    format!(r#"{{"asks":{},"bids":{},"ts":"{at_ms}","seqId":{seq}}}"#, levels(&ask), levels(&bid))
}

/// One match, or a group of them that ends with it.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    pub id: u64,
    pub ticks: i64,
    pub steps: i64,
    pub seller_took: bool,
}

fn trade_head(spec: &Spec, at_ms: i64, one: Match) -> String {
    let (s, p, q) = (&spec.config.symbol, spec.price(one.ticks), spec.size(one.steps));
    let side = if one.seller_took { "sell" } else { "buy" };
    format!(r#""instId":"{s}","tradeId":"{}","px":"{p}","sz":"{q}","side":"{side}","ts":"{at_ms}""#, one.id)
}

/// A row of `trades-all`.
pub fn trade(spec: &Spec, at_ms: i64, one: Match) -> String {
    format!(r#"{{{},"source":"0"}}"#, trade_head(spec, at_ms, one))
}

/// A row of `trades`: `count` matches of one taker at one price.
pub fn group(spec: &Spec, at_ms: i64, one: Match, count: u64, seq: u64) -> String {
    format!(r#"{{{},"count":"{count}","source":"0","seqId":{seq}}}"#, trade_head(spec, at_ms, one))
}

pub fn ticker(spec: &Spec, product: Product, at_ms: i64, day: &Day, best: [(i64, i64); 2]) -> String {
    let [(b, bq), (a, aq)] = best.map(|(p, q)| (spec.price(p), spec.size(q)));
    let [last, open, high, low] = [day.last, day.open, day.high, day.low].map(|ticks| spec.price(ticks));
    let volume = spec.volume(day.volume);
    // Quote on spot, base coin elsewhere.
    let other = if product == Product::Spot { spec.quote_amount(day.notional) } else { volume.clone() };
    format!(
        r#"{{"instType":"{}","instId":"{}","last":"{last}","lastSz":"{}","askPx":"{a}","askSz":"{aq}","bidPx":"{b}","bidSz":"{bq}","open24h":"{open}","high24h":"{high}","low24h":"{low}","sodUtc0":"{open}","sodUtc8":"{open}","volCcy24h":"{other}","vol24h":"{volume}","ts":"{at_ms}"}}"#,
        product.as_str(),
        spec.config.symbol,
        spec.size(day.last_steps),
    )
}

/// `[ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]`.
pub fn candle(spec: &Spec, candle: &Candle, closed: bool) -> String {
    let [o, h, l, c] = [candle.open, candle.high, candle.low, candle.close].map(|ticks| spec.price(ticks));
    let (volume, quote) = (spec.volume(candle.volume), spec.quote_amount(candle.notional));
    let confirm = u8::from(closed);
    format!(r#"["{}","{o}","{h}","{l}","{c}","{volume}","{volume}","{quote}","{confirm}"]"#, candle.open_ms)
}

pub fn mark(symbol: &str, price: &str, at_ms: i64) -> String {
    format!(r#"{{"instType":"SWAP","instId":"{symbol}","markPx":"{price}","ts":"{at_ms}"}}"#)
}

pub fn index(name: &str, price: &str, at_ms: i64) -> String {
    format!(
        r#"{{"instId":"{name}","idxPx":"{price}","high24h":"{price}","low24h":"{price}","open24h":"{price}","sodUtc0":"{price}","sodUtc8":"{price}","ts":"{at_ms}"}}"#
    )
}

/// The rate to be charged at the next of every eight hours.
pub fn funding(symbol: &str, rate: f64, at_ms: i64) -> String {
    let eight_hours = 8 * 3_600_000;
    let next = at_ms - at_ms.rem_euclid(eight_hours) + eight_hours;
    let rate = decimal::trimmed(&decimal::fixed((rate * 1e10) as i128, 10)).to_owned();
    format!(
        r#"{{"formulaType":"withRate","fundingRate":"{rate}","fundingTime":"{next}","impactValue":"20000","instId":"{symbol}","instType":"SWAP","interestRate":"0.0001","maxFundingRate":"0.00375","method":"current_period","minFundingRate":"-0.00375","nextFundingRate":"","nextFundingTime":"{}","premium":"{rate}","settFundingRate":"0.0001","settState":"settled","ts":"{at_ms}"}}"#,
        next + eight_hours
    )
}

pub fn open_interest(symbol: &str, contracts: &str, at_ms: i64) -> String {
    format!(
        r#"{{"instId":"{symbol}","instType":"SWAP","oi":"{contracts}","oiCcy":"{contracts}","oiUsd":"{contracts}","ts":"{at_ms}"}}"#
    )
}

/// A forced order: `side` is the order's, the price that of bankruptcy.
pub fn liquidation(spec: &Spec, index: &str, at_ms: i64, one: Match) -> String {
    let (s, p, q) = (&spec.config.symbol, spec.price(one.ticks), spec.size(one.steps));
    let (side, position) = if one.seller_took { ("sell", "long") } else { ("buy", "short") };
    format!(
        r#"{{"details":[{{"bkLoss":"0","bkPx":"{p}","ccy":"","posSide":"{position}","side":"{side}","sz":"{q}","ts":"{at_ms}"}}],"instFamily":"{index}","instId":"{s}","instType":"SWAP","uly":"{index}"}}"#
    )
}

/// A definition. A linear contract is worth 0.01 of its base, an inverse one 100 dollars.
pub fn instrument(spec: &Spec, product: Product, index: &str) -> String {
    let crate::config::InstrumentConfig { symbol, base, quote, .. } = &spec.config;
    let [tick, step] = [(spec.tick_units, spec.price_scale), (spec.step_units, spec.size_scale)]
        .map(|(units, scale)| decimal::trimmed(&decimal::fixed(units.into(), scale)).to_owned());
    let inverse = quote == "USD";
    let (pair, contract) = match product {
        Product::Spot => (
            (base.as_str(), quote.as_str()),
            r#""ctMult":"","ctType":"","ctVal":"","ctValCcy":"","settleCcy":"""#.to_owned(),
        ),
        Product::Swap | Product::Futures if inverse => (
            ("", ""),
            format!(r#""ctMult":"1","ctType":"inverse","ctVal":"100","ctValCcy":"USD","settleCcy":"{base}""#),
        ),
        Product::Swap | Product::Futures => (
            ("", ""),
            format!(r#""ctMult":"1","ctType":"linear","ctVal":"0.01","ctValCcy":"{base}","settleCcy":"{quote}""#),
        ),
    };
    let family = if product == Product::Spot { "" } else { index };
    format!(
        r#"{{"alias":"","auctionEndTime":"","baseCcy":"{}","category":"1",{contract},"expTime":"","instCategory":"1","instFamily":"{family}","instId":"{symbol}","instType":"{}","lever":"10","listTime":"1606468572000","lotSz":"{step}","maxIcebergSz":"9999999999","maxLmtAmt":"20000000","maxLmtSz":"9999999999","maxMktAmt":"1000000","maxMktSz":"1000000","maxStopSz":"1000000","maxTriggerSz":"9999999999","maxTwapSz":"9999999999","minSz":"{step}","optType":"","quoteCcy":"{}","ruleType":"normal","state":"live","stk":"","tickSz":"{tick}","uly":"{family}"}}"#,
        pair.0,
        product.as_str(),
        pair.1,
    )
}
