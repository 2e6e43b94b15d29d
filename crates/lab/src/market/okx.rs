//! OKX v5: `books` with a snapshot in the stream, linked by `prevSeqId`; `bbo-tbt`; `trades-all`; REST `history-trades` downwards.
//! <https://www.okx.com/docs-v5/en/>

use serde_json::Value;

use super::{Asked, Market, Push, Side, Stream, Tongue, TrueQuote, TrueTrade, listed, number, price, size};
use std::fmt::Write;

pub struct Okx;

/// `[["price","size","0","orders"],…]`; a level that went has neither size nor orders.
fn levels(side: &Side, best_first: bool) -> String {
    listed(side, best_first, |text, p, s| {
        let _ = match s {
            0 => write!(text, r#"["{}","0","0","0"]"#, price(p)),
            s => write!(text, r#"["{}","{}","0","{}"]"#, price(p), size(s), 1 + s % 7),
        };
    })
}

fn channel(stream: Stream) -> &'static str {
    match stream {
        Stream::Trade => "trades-all",
        Stream::Quote => "bbo-tbt",
        Stream::Depth => "books",
    }
}

fn arg(channel: &str, symbol: &str) -> String {
    format!(r#"{{"channel":"{channel}","instId":"{symbol}"}}"#)
}

fn row(symbol: &str, t: &TrueTrade) -> String {
    let side = if t.buyer_is_maker { "sell" } else { "buy" };
    let (id, p, q, ms) = (t.id, price(t.price), size(t.size), t.time_ms);
    format!(
        r#"{{"instId":"{symbol}","tradeId":"{id}","px":"{p}","sz":"{q}","side":"{side}","ts":"{ms}","source":"0"}}"#
    )
}

fn book(symbol: &str, action: &str, push: &Push<'_>, prev: i64) -> String {
    let (b, a) = (levels(push.bids, true), levels(push.asks, false));
    let (arg, ms, last) = (arg("books", symbol), push.ms, push.last);
    let row = format!(r#"{{"asks":{a},"bids":{b},"ts":"{ms}","checksum":0,"seqId":{last},"prevSeqId":{prev}}}"#);
    format!(r#"{{"arg":{arg},"action":"{action}","data":[{row}]}}"#)
}

/// The last `limit` of these, newest first.
fn page(market: &Market, trades: &[TrueTrade], limit: u64) -> String {
    let rows: Vec<String> = trades.iter().rev().take(limit as usize).map(|t| row(&market.symbol, t)).collect();
    format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","))
}

impl Tongue for Okx {
    fn stream(&self, symbol: &str, stream: Stream) -> String {
        format!("{}:{symbol}", channel(stream))
    }

    fn trade(&self, symbol: &str, _ms: i64, trade: &TrueTrade) -> String {
        format!(r#"{{"arg":{},"data":[{}]}}"#, arg("trades-all", symbol), row(symbol, trade))
    }

    fn quote(&self, symbol: &str, ms: i64, (id, bid, bid_size, ask, ask_size): &TrueQuote) -> String {
        let (b, a) = (levels(&Side::from([(*bid, *bid_size)]), true), levels(&Side::from([(*ask, *ask_size)]), false));
        let row = format!(r#"{{"asks":{a},"bids":{b},"ts":"{ms}","seqId":{id}}}"#);
        format!(r#"{{"arg":{},"data":[{row}]}}"#, arg("bbo-tbt", symbol))
    }

    fn depth(&self, symbol: &str, push: &Push<'_>) -> String {
        book(symbol, "update", push, push.prev as i64)
    }

    fn unknown(&self, name: &str, ms: i64) -> String {
        let (_, symbol) = name.split_once(':').unwrap_or(("", name));
        format!(r#"{{"arg":{},"data":[{{"kind":"odd","ts":"{ms}"}}]}}"#, arg("something-new", symbol))
    }

    fn hear(&self, text: &str) -> Option<Asked> {
        let message: Value = serde_json::from_str(text).ok()?;
        let begins = match message["op"].as_str()? {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return None,
        };
        let named = |arg: &Value| Some(format!("{}:{}", arg["channel"].as_str()?, arg["instId"].as_str()?));
        let streams = message["args"].as_array()?.iter().filter_map(named).collect();
        Some(Asked { begins, streams, id: message["id"].clone() })
    }

    /// Each argument is answered by itself.
    fn acks(&self, asked: &Asked) -> Vec<String> {
        let event = if asked.begins { "subscribe" } else { "unsubscribe" };
        let one = |stream: &String| {
            let (channel, symbol) = stream.split_once(':').unwrap_or((stream, ""));
            format!(r#"{{"id":{},"event":"{event}","arg":{},"connId":"a4d3ae55"}}"#, asked.id, arg(channel, symbol))
        };
        asked.streams.iter().map(one).collect()
    }

    fn welcome(&self, market: &Market, stream: Stream, ms: i64) -> Option<String> {
        let (id, bids, asks) = (market.told.id, &market.told.bids, &market.told.asks);
        let push = Push { whole: true, first: id, last: id, prev: 0, ms, bids, asks, now: &market.told };
        (stream == Stream::Depth).then(|| book(&market.symbol, "snapshot", &push, -1))
    }

    fn get(&self, market: &Market, path: &str, _stale: bool, ms: i64) -> Option<String> {
        let all = &market.trades;
        let after = number(path, "after");
        Some(match path.split('?').next()?.strip_prefix("/api/v5/")? {
            "public/time" => format!(r#"{{"code":"0","msg":"","data":[{{"ts":"{ms}"}}]}}"#),
            "market/trades" => page(market, all, number(path, "limit").unwrap_or(100).min(500)),
            "market/history-trades" => {
                // What is older than an id, or than a time; exclusive.
                let to = match (number(path, "type"), after) {
                    (Some(2), Some(at)) => all.partition_point(|t| t.time_ms < at as i64),
                    (_, Some(id)) => all.partition_point(|t| t.id < id),
                    (_, None) => all.len(),
                };
                page(market, &all[..to], number(path, "limit").unwrap_or(100).min(100))
            }
            _ => return None,
        })
    }
}
