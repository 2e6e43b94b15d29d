//! Kraken's spot sockets, version 2: a book of ten levels with a snapshot in the stream, without any number, proven by a checksum;
//! `ticker` by best prices; `trade`; REST `Trades` forwards from a nanosecond. Numbers are bare, with the digits of the pair.
//! <https://docs.kraken.com/api/docs/guides/spot-ws-book-v2/>
//!
//! Books and quotes have no ids here: the truth counts them by their time, in microseconds, which no two of a market share.

use std::fmt::Write;

use serde_json::Value;
use wholetape_model::Ts;

use super::{Asked, Market, Push, Side, State, Stream, Tongue, TrueQuote, TrueTrade, listed, number, price, size};

pub struct Kraken;

/// Levels a side; a level that is pushed out of them is not told of again.
pub const DEPTH: usize = 10;
/// Trades that a subscription begins with.
const REPEATED: usize = 50;

fn levels(side: &Side, best_first: bool) -> String {
    listed(side, best_first, |text, p, s| {
        let _ = write!(text, r#"{{"price":{},"qty":{}}}"#, price(p), size(s));
    })
}

/// CRC-32 (IEEE 802.3) of the ten best asks, then bids: the digits of price and size without point and leading zeros, which are the
/// ticks and steps that we count in.
fn checksum(State { bids, asks, .. }: &State) -> u32 {
    let best = asks.iter().take(DEPTH).chain(bids.iter().rev().take(DEPTH));
    let digits: String = best.map(|(p, s)| format!("{p}{s}")).collect();
    let byte = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    };
    !digits.bytes().fold(u32::MAX, byte)
}

/// Microseconds as RFC 3339 has them.
fn time(us: u64) -> Ts {
    Ts(us as i64 * 1_000)
}

fn frame(channel: &str, kind: &str, rows: &str) -> String {
    format!(r#"{{"channel":"{channel}","type":"{kind}","data":[{rows}]}}"#)
}

fn book(symbol: &str, kind: &str, bids: &Side, asks: &Side, now: &State) -> String {
    let (b, a, sum, at) = (levels(bids, true), levels(asks, false), checksum(now), time(now.id));
    let row = format!(r#"{{"symbol":"{symbol}","bids":{b},"asks":{a},"checksum":{sum},"timestamp":"{at}"}}"#);
    frame("book", kind, &row)
}

fn row(symbol: &str, t: &TrueTrade) -> String {
    let (side, q, p) = (if t.buyer_is_maker { "sell" } else { "buy" }, size(t.size), price(t.price));
    let (id, at) = (t.id, Ts::from_millis(t.time_ms));
    format!(
        r#"{{"symbol":"{symbol}","side":"{side}","price":{p},"qty":{q},"ord_type":"market","trade_id":{id},"timestamp":"{at}"}}"#
    )
}

fn quote(symbol: &str, kind: &str, (us, bid, bid_size, ask, ask_size): &TrueQuote) -> String {
    let (b, bs, a, az, at) = (price(*bid), size(*bid_size), price(*ask), size(*ask_size), time(*us));
    let day = r#""last":60000.00,"volume":12.000,"vwap":60000.00,"low":59000.00,"high":61000.00,"change":0.00,"change_pct":0.00"#;
    let best = format!(r#""bid":{b},"bid_qty":{bs},"ask":{a},"ask_qty":{az}"#);
    frame("ticker", kind, &format!(r#"{{"symbol":"{symbol}",{best},{day},"timestamp":"{at}"}}"#))
}

impl Tongue for Kraken {
    fn stream(&self, symbol: &str, stream: Stream) -> String {
        match stream {
            Stream::Trade => format!("trade:{symbol}"),
            Stream::Quote => format!("ticker:{symbol}"),
            Stream::Depth => format!("book-{DEPTH}:{symbol}"),
        }
    }

    fn trade(&self, symbol: &str, _ms: i64, trade: &TrueTrade) -> String {
        frame("trade", "update", &row(symbol, trade))
    }

    fn quote(&self, symbol: &str, _ms: i64, one: &TrueQuote) -> String {
        quote(symbol, "update", one)
    }

    fn depth(&self, symbol: &str, push: &Push<'_>) -> String {
        book(symbol, "update", push.bids, push.asks, push.now)
    }

    fn unknown(&self, name: &str, ms: i64) -> String {
        let (_, symbol) = name.split_once(':').unwrap_or(("", name));
        let at = Ts::from_millis(ms);
        frame("something_new", "update", &format!(r#"{{"symbol":"{symbol}","kind":"odd","timestamp":"{at}"}}"#))
    }

    fn hear(&self, text: &str) -> Option<Asked> {
        let message: Value = serde_json::from_str(text).ok()?;
        let begins = match message["method"].as_str()? {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return None,
        };
        let params = &message["params"];
        let channel = match (params["channel"].as_str()?, params["depth"].as_u64()) {
            ("book", Some(depth)) => format!("book-{depth}"),
            (channel, _) => channel.to_owned(),
        };
        let symbols = params["symbol"].as_array()?.iter().filter_map(Value::as_str);
        let streams = symbols.map(|symbol| format!("{channel}:{symbol}")).collect();
        Some(Asked { begins, streams, id: message["req_id"].clone() })
    }

    /// Each symbol is answered by itself.
    fn acks(&self, asked: &Asked) -> Vec<String> {
        let method = if asked.begins { "subscribe" } else { "unsubscribe" };
        let one = |stream: &String| {
            let (channel, symbol) = stream.split_once(':').unwrap_or((stream, ""));
            let channel = match channel.split_once('-') {
                Some((channel, depth)) => format!(r#""channel":"{channel}","depth":{depth}"#),
                None => format!(r#""channel":"{channel}""#),
            };
            let result = format!(r#"{{{channel},"symbol":"{symbol}","snapshot":true}}"#);
            format!(r#"{{"method":"{method}","result":{result},"success":true,"req_id":{}}}"#, asked.id)
        };
        asked.streams.iter().map(one).collect()
    }

    fn welcome(&self, market: &Market, stream: Stream, _ms: i64) -> Option<String> {
        let symbol = &market.symbol;
        match stream {
            Stream::Depth => Some(book(symbol, "snapshot", &market.told.bids, &market.told.asks, &market.told)),
            Stream::Quote => market.quotes.last().map(|(_, one)| quote(symbol, "snapshot", one)),
            Stream::Trade => {
                let last = &market.trades[market.trades.len().saturating_sub(REPEATED)..];
                let rows: Vec<String> = last.iter().map(|t| row(symbol, t)).collect();
                (!rows.is_empty()).then(|| frame("trade", "snapshot", &rows.join(",")))
            }
        }
    }

    fn get(&self, market: &Market, path: &str, _stale: bool, ms: i64) -> Option<String> {
        let result = match path.split('?').next()?.strip_prefix("/0/public/")? {
            "Time" => format!(r#"{{"unixtime":{}}}"#, ms / 1_000),
            "Trades" => {
                let all = &market.trades;
                let count = number(path, "count").unwrap_or(1_000).clamp(1, 1_000) as usize;
                let from = match number(path, "since") {
                    Some(since) => all.partition_point(|t| t.time_ms as u64 * 1_000_000 <= since),
                    None => all.len().saturating_sub(count),
                };
                let page = &all[from..all.len().min(from + count)];
                let row = |t: &TrueTrade| {
                    let (p, q, word) = (price(t.price), size(t.size), if t.buyer_is_maker { "s" } else { "b" });
                    let (whole, part) = (t.time_ms / 1_000, t.time_ms % 1_000);
                    format!(r#"["{p}","{q}",{whole}.{part:03},"{word}","m","",{}]"#, t.id)
                };
                let rows: Vec<String> = page.iter().map(row).collect();
                let last = page.last().map_or(0, |t| t.time_ms * 1_000_000);
                format!(r#"{{"{}":[{}],"last":"{last}"}}"#, market.symbol, rows.join(","))
            }
            _ => return None,
        };
        Some(format!(r#"{{"error":[],"result":{result}}}"#))
    }
}
