//! Bybit v5: `orderbook.200` with a snapshot in the stream and messages that are counted; `orderbook.1`, each the whole of best
//! prices; `publicTrade` with ids that name trades and count nothing. REST shows the newest trades and no others.
//! <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>

use serde_json::Value;

use super::{Asked, Market, Push, Side, Stream, Tongue, TrueQuote, TrueTrade, number, pairs, price, size};

pub struct Bybit;

fn name(symbol: &str, stream: Stream) -> String {
    match stream {
        Stream::Trade => format!("publicTrade.{symbol}"),
        Stream::Quote => format!("orderbook.1.{symbol}"),
        Stream::Depth => format!("orderbook.200.{symbol}"),
    }
}

/// A UUID, of which the truth's number is the end.
fn id(t: &TrueTrade) -> String {
    format!("5a0ab1e5-0000-5000-8000-{:012x}", t.id)
}

fn book(symbol: &str, stream: Stream, kind: &str, ms: i64, u: u64, bids: &Side, asks: &Side) -> String {
    let (name, b, a) = (name(symbol, stream), pairs(bids, true), pairs(asks, false));
    let data = format!(r#"{{"s":"{symbol}","b":{b},"a":{a},"u":{u},"seq":{}}}"#, 7 * u);
    format!(r#"{{"topic":"{name}","type":"{kind}","ts":{ms},"data":{data},"cts":{ms}}}"#)
}

impl Tongue for Bybit {
    fn stream(&self, symbol: &str, stream: Stream) -> String {
        name(symbol, stream)
    }

    fn trade(&self, symbol: &str, ms: i64, t: &TrueTrade) -> String {
        let (name, side) = (name(symbol, Stream::Trade), if t.buyer_is_maker { "Sell" } else { "Buy" });
        let (at, q, p, id) = (t.time_ms, size(t.size), price(t.price), id(t));
        let row = format!(
            r#"{{"T":{at},"s":"{symbol}","S":"{side}","v":"{q}","p":"{p}","L":"ZeroPlusTick","i":"{id}","BT":false,"RPI":false,"seq":{}}}"#,
            t.id
        );
        format!(r#"{{"topic":"{name}","type":"snapshot","ts":{ms},"data":[{row}]}}"#)
    }

    fn quote(&self, symbol: &str, ms: i64, (u, bid, bid_size, ask, ask_size): &TrueQuote) -> String {
        let (b, a) = (Side::from([(*bid, *bid_size)]), Side::from([(*ask, *ask_size)]));
        book(symbol, Stream::Quote, "snapshot", ms, *u, &b, &a)
    }

    fn depth(&self, symbol: &str, push: &Push<'_>) -> String {
        let kind = if push.whole { "snapshot" } else { "delta" };
        book(symbol, Stream::Depth, kind, push.ms, push.last, push.bids, push.asks)
    }

    fn unknown(&self, name: &str, ms: i64) -> String {
        let symbol = name.rsplit('.').next().unwrap_or(name);
        format!(r#"{{"topic":"somethingNew.{symbol}","type":"odd","ts":{ms},"data":{{"s":"{symbol}"}}}}"#)
    }

    fn hear(&self, text: &str) -> Option<Asked> {
        let message: Value = serde_json::from_str(text).ok()?;
        let begins = match message["op"].as_str()? {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return None,
        };
        let streams = message["args"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Asked { begins, streams, id: message["req_id"].clone() })
    }

    fn acks(&self, asked: &Asked) -> Vec<String> {
        let op = if asked.begins { "subscribe" } else { "unsubscribe" };
        vec![format!(r#"{{"success":true,"ret_msg":"","conn_id":"cf71cb32","req_id":{},"op":"{op}"}}"#, asked.id)]
    }

    fn welcome(&self, market: &Market, stream: Stream, _ms: i64) -> Option<String> {
        let symbol = &market.symbol;
        match stream {
            Stream::Depth => {
                let super::State { id, bids, asks } = &market.told;
                Some(book(symbol, stream, "snapshot", market.told_at, *id, bids, asks))
            }
            Stream::Quote => market.quotes.last().map(|(at, quote)| self.quote(symbol, *at, quote)),
            Stream::Trade => None,
        }
    }

    fn get(&self, market: &Market, path: &str, _stale: bool, ms: i64) -> Option<String> {
        let result = match path.split('?').next()?.strip_prefix("/v5/market/")? {
            "time" => format!(r#"{{"timeSecond":"{}","timeNano":"{}000000"}}"#, ms / 1_000, ms),
            "recent-trade" => {
                let limit = number(path, "limit").unwrap_or(60).min(1_000) as usize;
                let row = |t: &TrueTrade| {
                    let (side, p, q) = (if t.buyer_is_maker { "Sell" } else { "Buy" }, price(t.price), size(t.size));
                    format!(
                        r#"{{"execId":"{}","symbol":"{}","price":"{p}","size":"{q}","side":"{side}","time":"{}","isBlockTrade":false,"isRPITrade":false,"seq":"{}"}}"#,
                        id(t),
                        market.symbol,
                        t.time_ms,
                        t.id
                    )
                };
                let rows: Vec<String> = market.trades.iter().rev().take(limit).map(row).collect();
                format!(r#"{{"category":"linear","list":[{}]}}"#, rows.join(","))
            }
            _ => return None,
        };
        Some(format!(r#"{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":{ms}}}"#))
    }
}
