//! What Bybit sends, as structs that borrow the bytes. Fields nobody needs are left out and skipped by the parser.
//!
//! Shapes from the official documents (state 2026-07-24, read 2026-11-20) and the recordings of 2024 and 2026. Prices and sizes are text,
//! times and ids of streams are numbers, of answers text; a number that the venue does not know is the empty text. Key order is free,
//! unknown keys are ignored, a missing or doubled key is an error.

use serde::Deserialize;
use sonic_rs::LazyValue;

use crate::json::text::{LevelText, Text};

/// Enough of any frame to know what it is.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    #[serde(borrow, default)]
    pub topic: Option<Text<'a>>,
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Text<'a>>,
    /// When the message was made.
    #[serde(default)]
    pub ts: Option<u64>,
    /// The matching engine's time: books have it.
    #[serde(default)]
    pub cts: Option<u64>,
    #[serde(borrow, default)]
    pub data: Option<LazyValue<'a>>,
    /// Answers.
    #[serde(borrow, default)]
    pub op: Option<Text<'a>>,
    #[serde(default)]
    pub success: Option<bool>,
    #[serde(borrow, default)]
    pub ret_msg: Option<Text<'a>>,
    /// Of the request that is answered.
    #[serde(borrow, default)]
    pub req_id: Option<Text<'a>>,
}

/// An element of `publicTrade`.
#[derive(Debug, Deserialize)]
pub struct TradeRow<'a> {
    #[serde(rename = "T")]
    pub time: u64,
    #[serde(borrow)]
    pub s: Text<'a>,
    #[serde(rename = "S")]
    pub side: Text<'a>,
    pub v: Text<'a>,
    pub p: Text<'a>,
    pub i: Text<'a>,
    #[serde(rename = "BT", default)]
    pub block: Option<bool>,
    #[serde(rename = "RPI", default)]
    pub rpi: Option<bool>,
}

/// `data` of `orderbook.N`.
#[derive(Debug, Deserialize)]
pub struct BookRow<'a> {
    #[serde(borrow)]
    pub s: Text<'a>,
    pub b: Vec<LevelText<'a>>,
    pub a: Vec<LevelText<'a>>,
    pub u: u64,
}

/// `data` of `tickers`. In a delta an absent field means "as before", an empty one "none".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TickerRow<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    #[serde(default)]
    pub last_price: Option<Text<'a>>,
    #[serde(default)]
    pub prev_price24h: Option<Text<'a>>,
    #[serde(default)]
    pub high_price24h: Option<Text<'a>>,
    #[serde(default)]
    pub low_price24h: Option<Text<'a>>,
    #[serde(default)]
    pub volume24h: Option<Text<'a>>,
    #[serde(default)]
    pub turnover24h: Option<Text<'a>>,
    #[serde(default)]
    pub mark_price: Option<Text<'a>>,
    #[serde(default)]
    pub index_price: Option<Text<'a>>,
    /// Longs and shorts together since 2026-06-11.
    #[serde(default)]
    pub open_interest: Option<Text<'a>>,
    #[serde(default)]
    pub single_open_interest: Option<Text<'a>>,
    #[serde(default)]
    pub funding_rate: Option<Text<'a>>,
    #[serde(default)]
    pub next_funding_time: Option<Text<'a>>,
}

/// An element of `kline`.
#[derive(Debug, Deserialize)]
pub struct CandleRow<'a> {
    pub start: u64,
    /// The last millisecond.
    pub end: u64,
    #[serde(borrow)]
    pub open: Text<'a>,
    pub close: Text<'a>,
    pub high: Text<'a>,
    pub low: Text<'a>,
    pub volume: Text<'a>,
    pub turnover: Text<'a>,
    pub confirm: bool,
}

/// An element of `allLiquidation`.
#[derive(Debug, Deserialize)]
pub struct LiquidationRow<'a> {
    #[serde(rename = "T")]
    pub time: u64,
    #[serde(borrow)]
    pub s: Text<'a>,
    /// Of the position.
    #[serde(rename = "S")]
    pub side: Text<'a>,
    pub v: Text<'a>,
    /// The bankruptcy price.
    pub p: Text<'a>,
}

/// `{"retCode":0,"retMsg":"OK","result":{…}}`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'a> {
    pub ret_code: i64,
    #[serde(borrow, default)]
    pub ret_msg: Option<Text<'a>>,
    pub result: LazyValue<'a>,
}

/// The result of what is listed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing<'a> {
    #[serde(borrow, default)]
    pub category: Option<Text<'a>>,
    /// Of `open-interest`, whose rows do not say it.
    #[serde(borrow, default)]
    pub symbol: Option<Text<'a>>,
    #[serde(borrow)]
    pub list: LazyValue<'a>,
    /// What to ask for next; empty at the end.
    #[serde(borrow, default)]
    pub next_page_cursor: Option<Text<'a>>,
}

/// An element of REST `recent-trade`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastTradeRow<'a> {
    #[serde(borrow)]
    pub exec_id: Text<'a>,
    pub symbol: Text<'a>,
    pub price: Text<'a>,
    pub size: Text<'a>,
    pub side: Text<'a>,
    pub time: Text<'a>,
    #[serde(default)]
    pub is_block_trade: Option<bool>,
    #[serde(rename = "isRPITrade", default)]
    pub is_rpi_trade: Option<bool>,
}

/// An element of REST `open-interest`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenInterestRow<'a> {
    #[serde(borrow)]
    pub open_interest: Text<'a>,
    #[serde(borrow, default)]
    pub single_open_interest: Option<Text<'a>>,
    pub timestamp: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTime<'a> {
    #[serde(borrow)]
    pub time_nano: Text<'a>,
}

/// Read first of each of the hundreds of definitions, most of which are not ours.
#[derive(Debug, Deserialize)]
pub struct Named<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
}

/// One definition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub status: Text<'a>,
    pub base_coin: Text<'a>,
    pub quote_coin: Text<'a>,
    #[serde(default)]
    pub settle_coin: Option<Text<'a>>,
    #[serde(default)]
    pub contract_type: Option<Text<'a>>,
    #[serde(default)]
    pub launch_time: Option<Text<'a>>,
    #[serde(default)]
    pub delivery_time: Option<Text<'a>>,
    pub price_filter: PriceFilter<'a>,
    pub lot_size_filter: LotSizeFilter<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriceFilter<'a> {
    #[serde(borrow)]
    pub tick_size: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LotSizeFilter<'a> {
    /// Derivatives …
    #[serde(borrow, default)]
    pub qty_step: Option<Text<'a>>,
    #[serde(default)]
    pub max_order_qty: Option<Text<'a>>,
    #[serde(default)]
    pub min_notional_value: Option<Text<'a>>,
    /// … and spot, where it is the step itself.
    #[serde(default)]
    pub base_precision: Option<Text<'a>>,
    #[serde(default)]
    pub max_limit_order_qty: Option<Text<'a>>,
    #[serde(default)]
    pub min_order_amt: Option<Text<'a>>,
    #[serde(default)]
    pub min_order_qty: Option<Text<'a>>,
}
