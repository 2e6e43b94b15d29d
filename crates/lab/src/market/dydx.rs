//! dYdX v4: `v4_orderbook`, in objects first and arrays then, without any number and at times crossed; `v4_trades`, those of a block
//! in one message, named by their events; REST `trades` downwards from a block or a time, `orderbooks`. The connection counts its messages.
//! <https://docs.dydx.exchange> (indexer)
//!
//! Best prices are made of the book: the place of their stream has the chain's blocks instead, which every connection listens to.

use serde_json::Value;
use wholetape_model::Ts;

use super::{Asked, Market, Push, Side, State, Stream, Tongue, TrueQuote, TrueTrade, listed, number, price, size};
use crate::outside::START;
use std::fmt::Write;

pub struct Dydx;

/// The block of the world's first moment; one is made each second.
const FIRST: i64 = 22_000_000;
/// Rows of an answer, and of what a subscription to trades begins with.
const ROWS: u64 = 100;

/// The block that is being made at `ms`.
pub const fn height(ms: i64) -> i64 {
    FIRST + (ms - START / 1_000_000) / 1_000
}

/// Milliseconds as ISO 8601 has them.
fn iso(ms: i64) -> String {
    let text = Ts::from_millis(ms).to_string();
    format!("{}Z", &text[..23])
}

/// An event's name, of which the truth's number is the end.
fn id(t: &TrueTrade) -> String {
    format!("{:08x}00000002{:08x}", height(t.time_ms), t.id)
}

fn row(t: &TrueTrade, with_height: bool) -> String {
    let (id, p, q, at) = (id(t), price(t.price), size(t.size), iso(t.time_ms));
    let side = if t.buyer_is_maker { "SELL" } else { "BUY" };
    let height = if with_height { format!(r#","createdAtHeight":"{}""#, height(t.time_ms)) } else { String::new() };
    format!(r#"{{"id":"{id}","side":"{side}","size":"{q}","price":"{p}","type":"LIMIT","createdAt":"{at}"{height}}}"#)
}

/// Newest first.
fn newest(trades: &[TrueTrade], limit: u64) -> String {
    let rows: Vec<String> = trades.iter().rev().take(limit as usize).map(|t| row(t, true)).collect();
    format!(r#"{{"trades":[{}]}}"#, rows.join(","))
}

fn objects(State { bids, asks, .. }: &State) -> String {
    let one = |text: &mut String, p, s| {
        let _ = write!(text, r#"{{"price":"{}","size":"{}"}}"#, price(p), size(s));
    };
    format!(r#"{{"bids":{},"asks":{}}}"#, listed(bids, true, one), listed(asks, false, one))
}

/// A side without changes is left out.
fn arrays(bids: &Side, asks: &Side) -> String {
    let one = |text: &mut String, p, s| {
        let _ = match s {
            0 => write!(text, r#"["{}","0"]"#, price(p)),
            s => write!(text, r#"["{}","{}"]"#, price(p), size(s)),
        };
    };
    let sides = [("bids", bids, true), ("asks", asks, false)].into_iter().filter(|(_, side, _)| !side.is_empty());
    let told: Vec<String> = sides.map(|(key, side, down)| format!(r#""{key}":{}"#, listed(side, down, one))).collect();
    format!("{{{}}}", told.join(","))
}

/// Without the connection's name and count: see [`Tongue::stamp`].
fn message(kind: &str, stream: &str, contents: &str) -> String {
    let (channel, id) = stream.split_once(':').unwrap_or((stream, ""));
    let id = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
    format!(r#"{{"type":"{kind}",{id}"channel":"{channel}","version":"1.0.0","contents":{contents}}}"#)
}

/// The trades of a block.
pub fn block(symbol: &str, trades: &[TrueTrade]) -> String {
    let rows: Vec<String> = trades.iter().map(|t| row(t, false)).collect();
    message("channel_data", &Dydx.stream(symbol, Stream::Trade), &format!(r#"{{"trades":[{}]}}"#, rows.join(",")))
}

/// That it was made.
pub fn made(ms: i64) -> String {
    let contents = format!(r#"{{"blockHeight":"{}","time":"{}"}}"#, height(ms), iso(ms));
    message("channel_data", &Dydx.stream("", Stream::Quote), &contents)
}

impl Tongue for Dydx {
    fn stream(&self, symbol: &str, stream: Stream) -> String {
        match stream {
            Stream::Trade => format!("v4_trades:{symbol}"),
            Stream::Quote => "v4_block_height:".to_owned(),
            Stream::Depth => format!("v4_orderbook:{symbol}"),
        }
    }

    fn trade(&self, symbol: &str, _ms: i64, trade: &TrueTrade) -> String {
        block(symbol, std::slice::from_ref(trade))
    }

    fn quote(&self, _symbol: &str, ms: i64, _quote: &TrueQuote) -> String {
        made(ms)
    }

    fn depth(&self, symbol: &str, push: &Push<'_>) -> String {
        message("channel_data", &self.stream(symbol, Stream::Depth), &arrays(push.bids, push.asks))
    }

    fn unknown(&self, name: &str, ms: i64) -> String {
        let (_, symbol) = name.split_once(':').unwrap_or(("", name));
        message(
            "channel_data",
            &format!("v4_something_new:{symbol}"),
            &format!(r#"{{"kind":"odd","at":"{}"}}"#, iso(ms)),
        )
    }

    fn greeting(&self) -> Option<String> {
        Some(r#"{"type":"connected"}"#.to_owned())
    }

    /// Behind the type come the connection and the number of the message.
    fn stamp(&self, text: String, conn: u64, said: u64) -> String {
        let (kind, rest) = text.split_at(text.find(',').unwrap_or(text.len() - 1));
        format!(r#"{kind},"connection_id":"7d0f6c9e-0000-4000-8000-{conn:012x}","message_id":{said}{rest}"#)
    }

    fn hear(&self, text: &str) -> Option<Asked> {
        let message: Value = serde_json::from_str(text).ok()?;
        let begins = match message["type"].as_str()? {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return None,
        };
        let stream = format!("{}:{}", message["channel"].as_str()?, message["id"].as_str().unwrap_or(""));
        Some(Asked { begins, streams: vec![stream], id: Value::Null })
    }

    /// A subscription is answered with the state.
    fn acks(&self, asked: &Asked) -> Vec<String> {
        let ended = asked.streams.iter().filter(|_| !asked.begins).map(|stream| {
            let (channel, id) = stream.split_once(':').unwrap_or((stream, ""));
            format!(r#"{{"type":"unsubscribed","channel":"{channel}","id":"{id}"}}"#)
        });
        ended.collect()
    }

    fn answers_with_state(&self) -> bool {
        true
    }

    /// Blocks, and of each of two instruments trades and the book.
    fn requests(&self) -> u64 {
        5
    }

    fn welcome(&self, market: &Market, stream: Stream, ms: i64) -> Option<String> {
        let contents = match stream {
            Stream::Depth => objects(&market.shown()),
            Stream::Trade => newest(&market.trades, ROWS),
            Stream::Quote => format!(r#"{{"height":"{}","time":"{}"}}"#, height(ms), iso(ms)),
        };
        Some(message("subscribed", &self.stream(&market.symbol, stream), &contents))
    }

    /// The book is the very one that the stream tells, and never an older one.
    fn get(&self, market: &Market, path: &str, _stale: bool, ms: i64) -> Option<String> {
        let endpoint = path.split('?').next()?.strip_prefix("/v4/")?;
        Some(match endpoint.split('/').next()? {
            "time" => format!(r#"{{"iso":"{}","epoch":{}.{:03}}}"#, iso(ms), ms / 1_000, ms % 1_000),
            "orderbooks" => objects(&market.shown()),
            "trades" => {
                let all = &market.trades;
                // Both included.
                let to = match (number(path, "createdBeforeOrAtHeight"), time(path)) {
                    (Some(block), _) => all.partition_point(|t| height(t.time_ms) as u64 <= block),
                    (None, Some(at)) => all.partition_point(|t| Ts::from_millis(t.time_ms) <= at),
                    (None, None) => all.len(),
                };
                newest(&all[..to], number(path, "limit").unwrap_or(ROWS).min(ROWS))
            }
            _ => return None,
        })
    }
}

/// `createdBeforeOrAt` of a query.
fn time(path: &str) -> Option<Ts> {
    let (_, text) = path.split_once("createdBeforeOrAt=")?;
    Ts::parse_utc(text.split('&').next()?.replace("%3A", ":").as_bytes())
}
