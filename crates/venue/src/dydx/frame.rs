//! What the indexer sends, as structs that borrow the bytes. Fields nobody needs are left out and skipped by the parser.
//!
//! Shapes from the official documents and the indexer's source (states of 2026-04 and 2026-03, read 2026-11-20) and from messages recorded
//! in 2024 and 2025. Prices, sizes and heights are text, counts are numbers, times are ISO 8601 in UTC. Key order is free, unknown keys
//! are ignored, a missing or doubled key is an error.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sonic_rs::LazyValue;

use crate::json::text::Text;

/// Enough of any frame to know what it is.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    #[serde(borrow, rename = "type", default)]
    pub kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub connection_id: Option<Text<'a>>,
    /// Counts every message of the connection, answers among them.
    #[serde(default)]
    pub message_id: Option<u64>,
    #[serde(borrow, default)]
    pub channel: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub contents: Option<LazyValue<'a>>,
    /// Of an error.
    #[serde(borrow, default)]
    pub message: Option<Text<'a>>,
}

/// `contents` of `v4_trades`, and the answer of REST.
#[derive(Debug, Deserialize)]
pub struct Trades<'a> {
    #[serde(borrow)]
    pub trades: Vec<TradeRow<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TradeRow<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    pub side: Text<'a>,
    pub size: Text<'a>,
    pub price: Text<'a>,
    /// The block's time.
    pub created_at: Text<'a>,
    /// The stream's updates do not always have it.
    #[serde(default)]
    pub created_at_height: Option<Text<'a>>,
    #[serde(rename = "type", default)]
    pub kind: Option<Text<'a>>,
}

/// `contents` of `v4_orderbook`, and the answer of REST. An update may lack a side.
#[derive(Debug, Deserialize)]
pub struct BookContents<'a> {
    #[serde(borrow, default)]
    pub bids: Option<Vec<BookLevel<'a>>>,
    #[serde(borrow, default)]
    pub asks: Option<Vec<BookLevel<'a>>>,
}

/// `{"price":"12.5","size":"3"}` of a snapshot, `["12.5","3"]` of an update: either is read wherever it stands.
#[derive(Debug)]
pub struct BookLevel<'a> {
    pub price: Text<'a>,
    pub size: Text<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for BookLevel<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = BookLevel<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a level: [price, size], or an object of the two")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let price = seq.next_element()?.ok_or_else(|| A::Error::custom("level without price"))?;
                let size = seq.next_element()?.ok_or_else(|| A::Error::custom("level without size"))?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(BookLevel { price, size })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut price, mut size) = (None, None);
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    let slot = match key.as_str() {
                        "price" => &mut price,
                        "size" => &mut size,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("a level with a doubled key"));
                    }
                }
                match (price, size) {
                    (Some(price), Some(size)) => Ok(BookLevel { price, size }),
                    _ => Err(A::Error::custom("level without price or size")),
                }
            }
        }
        d.deserialize_any(V)
    }
}

/// `contents` of `v4_block_height`.
#[derive(Debug, Deserialize)]
pub struct Block<'a> {
    #[serde(borrow, default)]
    pub time: Option<Text<'a>>,
}

/// `contents` of the first message of `v4_candles`; later ones hold one candle.
#[derive(Debug, Deserialize)]
pub struct Candles<'a> {
    #[serde(borrow)]
    pub candles: Vec<CandleRow<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandleRow<'a> {
    #[serde(borrow)]
    pub started_at: Text<'a>,
    pub ticker: Text<'a>,
    pub resolution: Text<'a>,
    pub open: Text<'a>,
    pub high: Text<'a>,
    pub low: Text<'a>,
    pub close: Text<'a>,
    pub base_token_volume: Text<'a>,
    pub usd_volume: Text<'a>,
    pub trades: u64,
}

/// `contents` of `v4_markets`: all of it first, then what changed, by ticker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Markets<'a> {
    #[serde(borrow, default)]
    pub markets: Option<LazyValue<'a>>,
    #[serde(borrow, default)]
    pub trading: Option<LazyValue<'a>>,
    #[serde(borrow, default)]
    pub oracle_prices: Option<LazyValue<'a>>,
}

/// One market, whole or only what changed: what is absent stays as it was.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarketRow<'a> {
    #[serde(borrow, default)]
    pub status: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub oracle_price: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub next_funding_rate: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub open_interest: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub tick_size: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub step_size: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OracleRow<'a> {
    #[serde(borrow)]
    pub oracle_price: Text<'a>,
    #[serde(borrow, default)]
    pub effective_at: Option<Text<'a>>,
}

/// The answer of `perpetualMarkets`.
#[derive(Debug, Deserialize)]
pub struct AllMarkets<'a> {
    #[serde(borrow)]
    pub markets: LazyValue<'a>,
}

#[derive(Debug, Deserialize)]
pub struct ServerTime<'a> {
    #[serde(borrow)]
    pub iso: Text<'a>,
}
