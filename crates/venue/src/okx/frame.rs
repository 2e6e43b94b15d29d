//! What OKX sends, as structs that borrow the bytes. Fields nobody needs are left out and skipped by the parser.
//!
//! Shapes from the official documents (copies of 2026-07 to 2026-09, read 2026-11-20) and the recordings of 2021 and 2022. Every number is
//! text but `seqId`, `prevSeqId` and `checksum`; a number that the venue does not know is the empty text. Key order is free, unknown keys
//! are ignored, a missing or doubled key is an error.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use sonic_rs::LazyValue;

use crate::json::text::{LevelText, Text};

/// Enough of any frame to know what it is.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    #[serde(borrow, default)]
    pub arg: Option<Arg<'a>>,
    #[serde(borrow, default)]
    pub action: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub data: Option<LazyValue<'a>>,
    /// Answers and notices: `subscribe`, `unsubscribe`, `error`, `notice` …
    #[serde(borrow, default)]
    pub event: Option<Text<'a>>,
    /// Of the request that is answered.
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub code: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub msg: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arg<'a> {
    #[serde(borrow)]
    pub channel: Text<'a>,
    #[serde(default)]
    pub inst_id: Option<Text<'a>>,
    #[serde(default)]
    pub inst_type: Option<Text<'a>>,
}

/// An element of `trades`, of `trades-all`, and of REST `trades` and `history-trades`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TradeRow<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    pub trade_id: Text<'a>,
    pub px: Text<'a>,
    pub sz: Text<'a>,
    pub side: Text<'a>,
    pub ts: Text<'a>,
    /// Matches of the group, of which `trade_id` is the last; `trades` alone has it, since 2023.
    #[serde(default)]
    pub count: Option<Text<'a>>,
    #[serde(default)]
    pub source: Option<Text<'a>>,
}

/// An element of the book channels and of `bbo-tbt`. Recordings of 2021 and 2022 have no ids.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookRow<'a> {
    #[serde(borrow)]
    pub asks: Vec<LevelText<'a>>,
    pub bids: Vec<LevelText<'a>>,
    pub ts: Text<'a>,
    #[serde(default)]
    pub seq_id: Option<u64>,
    #[serde(default)]
    pub prev_seq_id: Option<i64>,
    #[serde(default)]
    pub checksum: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TickerRow<'a> {
    #[serde(borrow)]
    pub inst_type: Text<'a>,
    pub inst_id: Text<'a>,
    pub last: Text<'a>,
    pub open24h: Text<'a>,
    pub high24h: Text<'a>,
    pub low24h: Text<'a>,
    /// Base on spot, contracts elsewhere.
    pub vol24h: Text<'a>,
    /// Quote on spot, base coin elsewhere.
    pub vol_ccy24h: Text<'a>,
    pub ts: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkRow<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    pub mark_px: Text<'a>,
    pub ts: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexRow<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    pub idx_px: Text<'a>,
    pub ts: Text<'a>,
}

/// The rate to be charged at `funding_time`. Recordings of 2021 have no `ts`, and frames without a rate were seen.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FundingRow<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    #[serde(default)]
    pub funding_rate: Option<Text<'a>>,
    #[serde(default)]
    pub funding_time: Option<Text<'a>>,
    #[serde(default)]
    pub ts: Option<Text<'a>>,
}

/// An element of `open-interest`, by stream or REST.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenInterestRow<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    /// Contracts.
    pub oi: Text<'a>,
    pub ts: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiquidationRow<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    pub details: Vec<LiquidationDetail<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiquidationDetail<'a> {
    /// Of the forced order.
    #[serde(borrow)]
    pub side: Text<'a>,
    /// The bankruptcy price.
    pub bk_px: Text<'a>,
    pub sz: Text<'a>,
    pub ts: Text<'a>,
}

/// An element of a candle channel: `[ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]`; until 2022 it ended behind `volCcy`.
#[derive(Debug, Default)]
pub struct CandleRow<'a> {
    columns: [Text<'a>; CANDLE_COLUMNS],
    count: usize,
}

const CANDLE_COLUMNS: usize = 9;

impl<'a> CandleRow<'a> {
    /// Those that were printed; later ones than the ninth are unknown.
    #[must_use]
    pub fn columns(&self) -> &[Text<'a>] {
        &self.columns[..self.count]
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for CandleRow<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = CandleRow<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of numbers in quotes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut row = CandleRow::default();
                while row.count < CANDLE_COLUMNS {
                    let Some(text) = seq.next_element()? else { return Ok(row) };
                    row.columns[row.count] = text;
                    row.count += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(row)
            }
        }
        d.deserialize_seq(V)
    }
}

/// `status`: maintenance of the venue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRow<'a> {
    #[serde(borrow)]
    pub title: Text<'a>,
    pub state: Text<'a>,
    pub begin: Text<'a>,
    pub end: Text<'a>,
    #[serde(default)]
    pub ts: Option<Text<'a>>,
}

/// `{"code":"0","msg":"","data":[…]}`
#[derive(Debug, Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub code: Text<'a>,
    #[serde(default)]
    pub msg: Option<Text<'a>>,
    pub data: LazyValue<'a>,
}

#[derive(Debug, Deserialize)]
pub struct ServerTime<'a> {
    #[serde(borrow)]
    pub ts: Text<'a>,
}

/// Read first of each of the hundreds of definitions, most of which are not ours.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    #[serde(default)]
    pub inst_type: Option<Text<'a>>,
}

/// One definition, by stream or REST.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition<'a> {
    #[serde(borrow)]
    pub inst_id: Text<'a>,
    pub inst_type: Text<'a>,
    pub state: Text<'a>,
    #[serde(default)]
    pub base_ccy: Option<Text<'a>>,
    #[serde(default)]
    pub quote_ccy: Option<Text<'a>>,
    #[serde(default)]
    pub settle_ccy: Option<Text<'a>>,
    #[serde(default)]
    pub ct_type: Option<Text<'a>>,
    #[serde(default)]
    pub ct_val: Option<Text<'a>>,
    #[serde(default)]
    pub ct_mult: Option<Text<'a>>,
    #[serde(default)]
    pub ct_val_ccy: Option<Text<'a>>,
    #[serde(default)]
    pub tick_sz: Option<Text<'a>>,
    #[serde(default)]
    pub lot_sz: Option<Text<'a>>,
    #[serde(default)]
    pub min_sz: Option<Text<'a>>,
    #[serde(default)]
    pub max_lmt_sz: Option<Text<'a>>,
    #[serde(default)]
    pub list_time: Option<Text<'a>>,
    #[serde(default)]
    pub exp_time: Option<Text<'a>>,
}
