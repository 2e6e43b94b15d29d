//! What Binance sends, as structs that borrow the bytes. Fields nobody needs are left out and skipped by the parser.
//!
//! Shapes from `web-socket-streams.md` (spot), the official SDK's comments (futures) and the recordings; key order is
//! free, unknown keys are ignored, a missing or doubled key is an error. Numbers in quotes stay text until they become
//! exact decimals; a JSON escape inside them is legal and costs one copy.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sonic_rs::LazyValue;

use crate::json::text::{LevelText, Text, present};

/// Enough of any frame, wrapped or not, to know what it is.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// Event type; missing on spot `bookTicker` and partial depth.
    #[serde(borrow, default)]
    pub e: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub stream: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub data: Option<LazyValue<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub result: Option<LazyValue<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub id: Option<LazyValue<'a>>,
    #[serde(borrow, default)]
    pub code: Option<LazyValue<'a>>,
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub error: Option<LazyValue<'a>>,
    #[serde(rename = "lastUpdateId", default)]
    pub last_update_id: Option<IgnoredAny>,
    #[serde(default)]
    pub u: Option<IgnoredAny>,
    #[serde(rename = "B", default)]
    pub bid_size: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub struct ErrorBody<'a> {
    #[serde(default)]
    pub code: i64,
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
}

/// `@trade`. Spot prints no `X`; old spot frames carry the order ids `b` and `a`.
#[derive(Debug, Deserialize)]
pub struct TradeFrame<'a> {
    #[serde(borrow)]
    pub s: Text<'a>,
    pub t: u64,
    pub p: Text<'a>,
    pub q: Text<'a>,
    #[serde(rename = "T")]
    pub time: i64,
    pub m: bool,
    #[serde(rename = "X", default)]
    pub condition: Option<Text<'a>>,
    #[serde(default)]
    pub st: Option<i64>,
}

/// `@aggTrade`, and an element of `aggTrades` (which has no `s`).
#[derive(Debug, Deserialize)]
pub struct AggTradeFrame<'a> {
    #[serde(borrow, default)]
    pub s: Option<Text<'a>>,
    pub a: u64,
    pub p: Text<'a>,
    pub q: Text<'a>,
    pub f: u64,
    pub l: u64,
    #[serde(rename = "T")]
    pub time: i64,
    pub m: bool,
    #[serde(default)]
    pub st: Option<i64>,
}

/// Diff depth; on futures partial depth too, which only the stream's name tells apart.
#[derive(Debug, Deserialize)]
pub struct DepthFrame<'a> {
    #[serde(rename = "E")]
    pub event_time: i64,
    /// Matching-engine time; futures only.
    #[serde(rename = "T", default)]
    pub time: Option<i64>,
    #[serde(borrow)]
    pub s: Text<'a>,
    #[serde(rename = "U")]
    pub first: u64,
    pub u: u64,
    #[serde(default)]
    pub pu: Option<i64>,
    pub b: Vec<LevelText<'a>>,
    pub a: Vec<LevelText<'a>>,
    #[serde(default)]
    pub st: Option<i64>,
}

/// A REST depth reply, or spot partial depth: no symbol in either.
#[derive(Debug, Deserialize)]
pub struct DepthSnapshot<'a> {
    /// Was -1 for a listing that has not begun (tardis-node `binance.ts`, read 2026-11-20).
    #[serde(rename = "lastUpdateId")]
    pub last_update_id: i64,
    #[serde(rename = "T", default)]
    pub time: Option<i64>,
    #[serde(borrow)]
    pub bids: Vec<LevelText<'a>>,
    pub asks: Vec<LevelText<'a>>,
}

/// `@bookTicker`. Spot prints neither type nor time.
#[derive(Debug, Deserialize)]
pub struct BookTickerFrame<'a> {
    pub u: u64,
    #[serde(borrow)]
    pub s: Text<'a>,
    pub b: Text<'a>,
    #[serde(rename = "B")]
    pub bid_size: Text<'a>,
    pub a: Text<'a>,
    #[serde(rename = "A")]
    pub ask_size: Text<'a>,
    #[serde(rename = "T", default)]
    pub time: Option<i64>,
    #[serde(default)]
    pub st: Option<i64>,
}

/// `@ticker`: rolling 24 h.
#[derive(Debug, Deserialize)]
pub struct TickerFrame<'a> {
    #[serde(rename = "E")]
    pub event_time: i64,
    #[serde(borrow)]
    pub s: Text<'a>,
    pub p: Text<'a>,
    pub c: Text<'a>,
    pub o: Text<'a>,
    pub h: Text<'a>,
    pub l: Text<'a>,
    pub v: Text<'a>,
    pub q: Text<'a>,
    #[serde(rename = "O")]
    pub open_time: i64,
    #[serde(rename = "C")]
    pub close_time: i64,
    pub n: i64,
    #[serde(default)]
    pub st: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct KlineFrame<'a> {
    #[serde(rename = "E")]
    pub event_time: i64,
    #[serde(borrow)]
    pub s: Text<'a>,
    pub k: Kline<'a>,
    #[serde(default)]
    pub st: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct Kline<'a> {
    pub t: i64,
    #[serde(rename = "T")]
    pub close_time: i64,
    #[serde(borrow)]
    pub i: Text<'a>,
    /// -1 while the bar has no trade.
    pub f: i64,
    #[serde(rename = "L")]
    pub last_id: i64,
    pub o: Text<'a>,
    pub c: Text<'a>,
    pub h: Text<'a>,
    pub l: Text<'a>,
    pub v: Text<'a>,
    pub n: i64,
    pub x: bool,
    pub q: Text<'a>,
    #[serde(rename = "V")]
    pub taker_volume: Text<'a>,
    #[serde(rename = "Q")]
    pub taker_quote_volume: Text<'a>,
}

/// `@markPrice`. Delivery contracts send an empty rate (or zero) and time 0; old COIN-M frames have no index price.
#[derive(Debug, Deserialize)]
pub struct MarkPriceFrame<'a> {
    #[serde(rename = "E")]
    pub event_time: i64,
    #[serde(borrow)]
    pub s: Text<'a>,
    pub p: Text<'a>,
    #[serde(default)]
    pub i: Option<Text<'a>>,
    #[serde(default)]
    pub r: Option<Text<'a>>,
    #[serde(rename = "T", default)]
    pub next_time: Option<i64>,
    #[serde(default)]
    pub st: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct ForceOrderFrame<'a> {
    #[serde(borrow)]
    pub o: ForceOrder<'a>,
    #[serde(default)]
    pub st: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct ForceOrder<'a> {
    #[serde(borrow)]
    pub s: Text<'a>,
    #[serde(rename = "S")]
    pub side: Text<'a>,
    pub q: Text<'a>,
    pub p: Text<'a>,
    #[serde(default)]
    pub ap: Option<Text<'a>>,
    pub z: Text<'a>,
    #[serde(rename = "T")]
    pub time: i64,
    #[serde(default)]
    pub st: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct ContractInfoFrame<'a> {
    #[serde(rename = "E")]
    pub event_time: i64,
    #[serde(borrow)]
    pub s: Text<'a>,
    pub cs: Text<'a>,
    #[serde(default)]
    pub st: Option<i64>,
}

/// `GET …/openInterest`.
#[derive(Debug, Deserialize)]
pub struct OpenInterest<'a> {
    #[serde(rename = "openInterest", borrow)]
    pub open_interest: Text<'a>,
    #[serde(default)]
    pub time: Option<i64>,
}

/// An element of `GET …/trades` and `historicalTrades`.
#[derive(Debug, Deserialize)]
pub struct RestTrade<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub price: Text<'a>,
    pub qty: Text<'a>,
    pub time: i64,
    #[serde(rename = "isBuyerMaker")]
    pub is_buyer_maker: bool,
    #[serde(rename = "isRPITrade", default)]
    pub is_rpi: bool,
}

#[derive(Debug, Deserialize)]
pub struct ServerTime {
    #[serde(rename = "serverTime")]
    pub server_time: i64,
}

#[derive(Debug, Deserialize)]
pub struct ExchangeInfo<'a> {
    #[serde(rename = "serverTime", default)]
    pub server_time: Option<i64>,
    #[serde(borrow)]
    pub symbols: Vec<LazyValue<'a>>,
}

/// Read first of each of the thousands of symbols, most of which are not ours.
#[derive(Debug, Deserialize)]
pub struct SymbolName<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
}

/// One symbol of `exchangeInfo`; spot, USD-M and COIN-M together.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SymbolInfo<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    #[serde(default)]
    pub status: Option<Text<'a>>,
    /// COIN-M's name for `status`.
    #[serde(default)]
    pub contract_status: Option<Text<'a>>,
    #[serde(default)]
    pub contract_type: Option<Text<'a>>,
    #[serde(default)]
    pub contract_size: Option<i64>,
    pub base_asset: Text<'a>,
    pub quote_asset: Text<'a>,
    #[serde(default)]
    pub margin_asset: Option<Text<'a>>,
    #[serde(default)]
    pub delivery_date: Option<i64>,
    #[serde(default)]
    pub onboard_date: Option<i64>,
    #[serde(default)]
    pub filters: Vec<Filter<'a>>,
}

/// The fields of `PRICE_FILTER`, `LOT_SIZE`, `NOTIONAL` (spot) and `MIN_NOTIONAL` (both) in one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter<'a> {
    #[serde(borrow)]
    pub filter_type: Text<'a>,
    #[serde(default)]
    pub tick_size: Option<Text<'a>>,
    #[serde(default)]
    pub step_size: Option<Text<'a>>,
    #[serde(default)]
    pub min_qty: Option<Text<'a>>,
    #[serde(default)]
    pub max_qty: Option<Text<'a>>,
    #[serde(default)]
    pub min_notional: Option<Text<'a>>,
    #[serde(default)]
    pub notional: Option<Text<'a>>,
}

/// A subscription request as we send it.
#[derive(Debug, Serialize)]
pub struct Subscribe<'a> {
    pub method: &'static str,
    pub params: &'a [String],
    pub id: u64,
}
