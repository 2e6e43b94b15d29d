//! What Kraken sends, as structs that borrow the bytes. Fields nobody needs are left out and skipped by the parser.
//!
//! Shapes from the official documents (spot WebSocket v2 and v1, REST; read 2026-11-20), the examples of two clients, and a recording of 2021.
//! In v2 numbers are JSON numbers with the digits of their instrument's precision, in v1 and REST they are mostly text: both are read as
//! printed ([`Printed`]). Key order is free, unknown keys are ignored, a missing or doubled key is an error.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use sonic_rs::LazyValue;

use crate::json::text::{Printed, PrintedLevel, Text};

/// Enough of any object to know what it is.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    #[serde(borrow, default)]
    pub channel: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    pub kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub data: Option<LazyValue<'a>>,
    /// Of the message, where its rows have none (`ohlc`).
    #[serde(borrow, default)]
    pub timestamp: Option<Text<'a>>,
    /// Of answers: `subscribe`, `unsubscribe`, `pong`.
    #[serde(borrow, default)]
    pub method: Option<Text<'a>>,
    #[serde(default)]
    pub success: Option<bool>,
    #[serde(borrow, default)]
    pub error: Option<Text<'a>>,
    #[serde(default)]
    pub req_id: Option<u64>,
    /// Of an answer that refuses.
    #[serde(borrow, default)]
    pub symbol: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub result: Option<LazyValue<'a>>,
    /// v1: everything that is no data.
    #[serde(borrow, default)]
    pub event: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub status: Option<Text<'a>>,
    #[serde(borrow, default, rename = "errorMessage")]
    pub error_message: Option<Text<'a>>,
}

/// What a subscription came to be.
#[derive(Debug, Deserialize)]
pub struct Answered<'a> {
    #[serde(borrow)]
    pub channel: Text<'a>,
    #[serde(default)]
    pub symbol: Option<Text<'a>>,
    #[serde(default)]
    pub depth: Option<u32>,
    #[serde(default)]
    pub interval: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub struct TradeRow<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub side: Text<'a>,
    pub price: Printed<'a>,
    pub qty: Printed<'a>,
    pub trade_id: u64,
    pub timestamp: Text<'a>,
}

#[derive(Debug, Deserialize)]
pub struct BookRow<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub bids: Vec<PrintedLevel<'a>>,
    pub asks: Vec<PrintedLevel<'a>>,
    #[serde(default)]
    pub checksum: Option<Printed<'a>>,
    /// Snapshots had none before 2025.
    #[serde(default)]
    pub timestamp: Option<Text<'a>>,
}

/// Best prices, and where they are printed the statistics of 24 hours.
#[derive(Debug, Deserialize)]
pub struct TickerRow<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub bid: Printed<'a>,
    pub bid_qty: Printed<'a>,
    pub ask: Printed<'a>,
    pub ask_qty: Printed<'a>,
    #[serde(default)]
    pub last: Option<Printed<'a>>,
    #[serde(default)]
    pub volume: Option<Printed<'a>>,
    #[serde(default)]
    pub low: Option<Printed<'a>>,
    #[serde(default)]
    pub high: Option<Printed<'a>>,
    #[serde(default)]
    pub change: Option<Printed<'a>>,
    #[serde(default)]
    pub timestamp: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct CandleRow<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    /// Minutes.
    pub interval: u32,
    pub interval_begin: Text<'a>,
    pub open: Printed<'a>,
    pub high: Printed<'a>,
    pub low: Printed<'a>,
    pub close: Printed<'a>,
    pub volume: Printed<'a>,
    #[serde(default)]
    pub trades: u64,
}

/// `instrument`: everything at once, then what changed.
#[derive(Debug, Deserialize)]
pub struct InstrumentData<'a> {
    #[serde(borrow, default)]
    pub pairs: Option<LazyValue<'a>>,
}

/// Read first of each of the hundreds of definitions, most of which are not ours.
#[derive(Debug, Deserialize)]
pub struct Named<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
}

#[derive(Debug, Deserialize)]
pub struct PairRow<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub base: Text<'a>,
    pub quote: Text<'a>,
    pub status: Text<'a>,
    #[serde(default)]
    pub price_increment: Option<Printed<'a>>,
    #[serde(default)]
    pub qty_increment: Option<Printed<'a>>,
    #[serde(default)]
    pub qty_min: Option<Printed<'a>>,
    #[serde(default)]
    pub cost_min: Option<Printed<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct SystemRow<'a> {
    #[serde(borrow)]
    pub system: Text<'a>,
}

/// `{"error":[],"result":{…}}`; with an error there may be no result.
#[derive(Debug, Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub error: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub result: Option<LazyValue<'a>>,
}

/// An element of REST `AssetPairs`. In 2021 there was neither `status` nor `tick_size`; dark pools (`XBTUSD.d`) have no `wsname`.
#[derive(Debug, Deserialize)]
pub struct AssetPair<'a> {
    #[serde(borrow, default)]
    pub wsname: Option<Text<'a>>,
    #[serde(default)]
    pub pair_decimals: Option<u8>,
    #[serde(default)]
    pub lot_decimals: Option<u8>,
    #[serde(default)]
    pub tick_size: Option<Printed<'a>>,
    #[serde(default)]
    pub ordermin: Option<Printed<'a>>,
    #[serde(default)]
    pub costmin: Option<Printed<'a>>,
    #[serde(default)]
    pub status: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct ServerTime {
    pub unixtime: u64,
}

/// A list of texts and numbers, each as printed; of a longer one the beginning. v1 and REST write rows so.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    columns: [Printed<'a>; COLUMNS_MAX],
    count: usize,
}

const COLUMNS_MAX: usize = 9;

impl<'a> Columns<'a> {
    /// Those that were printed.
    #[must_use]
    pub fn all(&self) -> &[Printed<'a>] {
        &self.columns[..self.count]
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Columns<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut row = Columns::default();
                while row.count < COLUMNS_MAX {
                    // Words (`b`, `l`, nothing) stand among them, always in quotes.
                    let Some(column) = seq.next_element()? else { break };
                    row.columns[row.count] = column;
                    row.count += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                if row.count == 0 { Err(A::Error::custom("an empty row")) } else { Ok(row) }
            }
        }
        d.deserialize_seq(V)
    }
}

/// The part of a v1 book message that one object holds: `as`/`bs` are a snapshot, `a`/`b` changes.
#[derive(Debug, Default, Deserialize)]
pub struct OldBook<'a> {
    #[serde(borrow, default, rename = "as")]
    pub all_asks: Option<Vec<Columns<'a>>>,
    #[serde(borrow, default, rename = "bs")]
    pub all_bids: Option<Vec<Columns<'a>>>,
    #[serde(borrow, default)]
    pub a: Option<Vec<Columns<'a>>>,
    #[serde(borrow, default)]
    pub b: Option<Vec<Columns<'a>>>,
    /// The checksum, in quotes.
    #[serde(borrow, default)]
    pub c: Option<Printed<'a>>,
}

/// Today's and the last 24 hours' figures; of best prices price, whole lots, size.
#[derive(Debug, Deserialize)]
pub struct OldTicker<'a> {
    #[serde(borrow)]
    pub a: Columns<'a>,
    #[serde(borrow)]
    pub b: Columns<'a>,
    #[serde(borrow)]
    pub c: Columns<'a>,
    #[serde(borrow)]
    pub v: Columns<'a>,
    #[serde(borrow)]
    pub t: Columns<'a>,
    #[serde(borrow)]
    pub l: Columns<'a>,
    #[serde(borrow)]
    pub h: Columns<'a>,
    #[serde(borrow)]
    pub o: Columns<'a>,
}
