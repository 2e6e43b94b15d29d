//! Binance, spot and USD-M: `web-socket-streams.md`; diff book, book ticker, aggregate trades; REST `depth` and `aggTrades`.

use serde_json::Value;

use super::{Asked, Market, Push, Stream, Tongue, TrueQuote, TrueTrade, number, pairs, price, size};

/// Spot, or USD-M futures.
pub struct Binance {
    pub futures: bool,
}

fn wrapped(symbol: &str, stream: Stream, data: &str) -> String {
    format!(r#"{{"stream":"{}","data":{data}}}"#, name(symbol, stream))
}

fn name(symbol: &str, stream: Stream) -> String {
    let symbol = symbol.to_ascii_lowercase();
    match stream {
        Stream::Trade => format!("{symbol}@aggTrade"),
        Stream::Quote => format!("{symbol}@bookTicker"),
        Stream::Depth => format!("{symbol}@depth@100ms"),
    }
}

fn trade(symbol: &str, ms: i64, trade: &TrueTrade) -> String {
    let fields = trade_fields(trade);
    wrapped(symbol, Stream::Trade, &format!(r#"{{"e":"aggTrade","E":{ms},"s":"{symbol}",{fields}}}"#))
}

fn quote_fields(symbol: &str, (id, bid, bid_size, ask, ask_size): TrueQuote) -> String {
    let (b, bs, a, az) = (price(bid), size(bid_size), price(ask), size(ask_size));
    format!(r#""u":{id},"s":"{symbol}","b":"{b}","B":"{bs}","a":"{a}","A":"{az}""#)
}

/// `link` is what the variant has beside the ids.
fn depth(symbol: &str, push: &Push<'_>, link: &str) -> String {
    let Push { first, last, ms, .. } = push;
    let (b, a) = (pairs(push.bids, true), pairs(push.asks, false));
    let data = format!(r#"{{"e":"depthUpdate","E":{ms},"s":"{symbol}",{link}"U":{first},"u":{last},"b":{b},"a":{a}}}"#);
    wrapped(symbol, Stream::Depth, &data)
}

fn hear(text: &str) -> Option<Asked> {
    let message: Value = serde_json::from_str(text).ok()?;
    let named = message["params"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Some(Asked {
        begins: message["method"] != "UNSUBSCRIBE",
        streams: named.map(str::to_owned).collect(),
        id: message["id"].clone(),
    })
}

fn acks(asked: &Asked) -> Vec<String> {
    vec![serde_json::json!({"result": null, "id": asked.id}).to_string()]
}

/// `times` is what the variant has in a snapshot beside the id.
fn get(market: &Market, path: &str, stale: bool, ms: i64, times: &str) -> Option<String> {
    let endpoint = path.split('?').next()?.rsplit('/').next()?;
    Some(match endpoint {
        "time" => format!(r#"{{"serverTime":{ms}}}"#),
        "depth" => {
            let state = if stale { market.older.front().unwrap_or(&market.state) } else { &market.state };
            let (id, b, a) = (state.id, pairs(&state.bids, true), pairs(&state.asks, false));
            format!(r#"{{"lastUpdateId":{id},{times}"bids":{b},"asks":{a}}}"#)
        }
        "aggTrades" => {
            let all = &market.trades;
            let limit = number(path, "limit").unwrap_or(500).min(1_000) as usize;
            let from = match (number(path, "fromId"), number(path, "startTime")) {
                (Some(id), _) => all.partition_point(|t| t.id < id),
                (None, Some(at)) => all.partition_point(|t| t.time_ms < at as i64),
                (None, None) => all.len().saturating_sub(limit),
            };
            page(all[from..].iter().take(limit))
        }
        _ => return None,
    })
}

fn page<'a>(trades: impl Iterator<Item = &'a TrueTrade>) -> String {
    let rows: Vec<String> = trades.map(|t| format!("{{{}}}", trade_fields(t))).collect();
    format!("[{}]", rows.join(","))
}

fn trade_fields(t: &TrueTrade) -> String {
    let TrueTrade { id, time_ms, buyer_is_maker, .. } = t;
    let (p, q) = (price(t.price), size(t.size));
    format!(r#""a":{id},"p":"{p}","q":"{q}","f":{id},"l":{id},"T":{time_ms},"m":{buyer_is_maker}"#)
}

fn unknown(name: &str, ms: i64) -> String {
    format!(r#"{{"stream":"{name}","data":{{"e":"somethingNew","E":{ms},"kind":"odd"}}}}"#)
}

impl Tongue for Binance {
    fn stream(&self, symbol: &str, stream: Stream) -> String {
        name(symbol, stream)
    }

    fn trade(&self, symbol: &str, ms: i64, one: &TrueTrade) -> String {
        trade(symbol, ms, one)
    }

    fn quote(&self, symbol: &str, ms: i64, quote: &TrueQuote) -> String {
        let core = quote_fields(symbol, *quote);
        let times = if self.futures { format!(r#""e":"bookTicker","E":{ms},"T":{ms},"#) } else { String::new() };
        wrapped(symbol, Stream::Quote, &format!("{{{times}{core}}}"))
    }

    fn depth(&self, symbol: &str, push: &Push<'_>) -> String {
        let link = if self.futures { format!(r#""T":{},"pu":{},"#, push.ms, push.prev) } else { String::new() };
        depth(symbol, push, &link)
    }

    fn unknown(&self, name: &str, ms: i64) -> String {
        unknown(name, ms)
    }

    fn hear(&self, text: &str) -> Option<Asked> {
        hear(text)
    }

    fn acks(&self, asked: &Asked) -> Vec<String> {
        acks(asked)
    }

    fn get(&self, market: &Market, path: &str, stale: bool, ms: i64) -> Option<String> {
        let times = if self.futures { format!(r#""E":{ms},"T":{ms},"#) } else { String::new() };
        get(market, path, stale, ms, &times)
    }
}
