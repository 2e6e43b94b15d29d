//! What a client may say: `ping`, `subscribe`, `unsubscribe`.
//!
//! A request is of one channel; each symbol is answered by itself, a refusal in words. Too many messages of one second are refused as
//! wholes: no document has the figure, so it is one of ours.

use serde::Deserialize;
use serde_json::Value;

use super::payload::time;
use super::{BEAT, DEPTHS, INTERVALS};
use crate::venue::{Inner, Venue};

/// Messages a second, where the configuration says nothing else.
const MESSAGES_PER_S: u32 = 50;
const SECOND_MS: u64 = 1_000;

#[derive(Deserialize)]
struct Command {
    method: String,
    #[serde(default)]
    params: Option<Params>,
    #[serde(default)]
    req_id: Option<u64>,
}

#[derive(Deserialize)]
struct Params {
    channel: String,
    #[serde(default)]
    symbol: Vec<String>,
    #[serde(default)]
    depth: Option<usize>,
    #[serde(default)]
    interval: Option<u32>,
    #[serde(default)]
    event_trigger: Option<String>,
}

/// What a request asks for, beside the symbol: the stream's name up to it, and the answer's words.
struct Wanted {
    name: String,
    words: String,
}

/// Does what a message asks for, and answers it.
pub(super) fn hear(venue: &Venue, conn: u64, text: &str) -> Vec<String> {
    let wall_ms = venue.wall_ms();
    let mut inner = venue.lock();
    let now = time(inner.now().exchange_ms);
    let times = format!(r#""time_in":"{now}","time_out":"{now}""#);
    let Ok(command) = serde_json::from_str::<Command>(text) else {
        return vec![format!(r#"{{"error":"Malformed request","success":false,{times}}}"#)];
    };
    let Command { method, params, req_id } = command;
    let id = req_id.map_or(String::new(), |id| format!(r#","req_id":{id}"#));
    let error = |why: &str, symbol: Option<&str>| {
        let symbol = symbol.map_or(String::new(), |symbol| format!(r#""symbol":{},"#, Value::from(symbol)));
        let (why, method) = (Value::from(why), Value::from(method.as_str()));
        format!(r#"{{"error":{why},"method":{method},{symbol}"success":false,{times}{id}}}"#)
    };
    if !may(&mut inner, conn, wall_ms, venue.config.limits.messages_per_s.unwrap_or(MESSAGES_PER_S)) {
        return vec![error("Exceeded msg rate", None)];
    }
    let subscribes = match method.as_str() {
        "ping" => return vec![format!(r#"{{"method":"pong"{id},{times}}}"#)],
        "subscribe" => true,
        "unsubscribe" => false,
        _ => return vec![error("Method not supported", None)],
    };
    let Some(params) = params else { return vec![error("Params missing", None)] };
    let wanted = match wanted(&params) {
        Ok(wanted) => wanted,
        Err(why) => return vec![error(why, None)],
    };
    let nobody = [String::new()];
    let symbols = if params.channel == "instrument" { &nobody[..] } else { &params.symbol[..] };
    let mut answers = Vec::new();
    for symbol in symbols {
        let named = (!symbol.is_empty()).then_some(symbol.as_str());
        let stream = format!("{}:{symbol}", wanted.name);
        let done = if subscribes { begin(&mut inner, conn, &stream, named) } else { end(&mut inner, conn, &stream) };
        answers.push(match done {
            Ok(()) => {
                let symbol = named.map_or(String::new(), |symbol| format!(r#","symbol":{}"#, Value::from(symbol)));
                let snapshot = if subscribes { r#","snapshot":true"# } else { "" };
                let (channel, words) = (&params.channel, &wanted.words);
                format!(
                    r#"{{"method":"{method}","result":{{"channel":"{channel}"{words}{snapshot}{symbol}}},"success":true,{times}{id}}}"#
                )
            }
            Err(why) => error(&why, named),
        });
    }
    if answers.is_empty() {
        answers.push(error("Symbol(s) missing", None));
    }
    answers
}

/// Counts one message, where this second has room for it.
fn may(inner: &mut Inner, conn: u64, wall_ms: u64, most: u32) -> bool {
    let Some(conn) = inner.conns.get_mut(&conn) else { return false };
    conn.lately.retain(|(at, _)| at + SECOND_MS > wall_ms);
    conn.lately.push((wall_ms, String::new()));
    conn.lately.len() <= most as usize
}

fn wanted(params: &Params) -> Result<Wanted, &'static str> {
    let plain = |name: &str| Wanted { name: name.to_owned(), words: String::new() };
    Ok(match params.channel.as_str() {
        "trade" | "instrument" => plain(&params.channel),
        "book" => {
            let depth = params.depth.unwrap_or(DEPTHS[0]);
            if !DEPTHS.contains(&depth) {
                return Err("Subscription depth not supported");
            }
            Wanted { name: format!("book-{depth}"), words: format!(r#","depth":{depth}"#) }
        }
        "ohlc" => {
            let interval = params.interval.unwrap_or(INTERVALS[0]);
            if !INTERVALS.contains(&interval) {
                return Err("Subscription ohlc interval not supported");
            }
            let warning = r#","warnings":["timestamp is deprecated, use interval_begin"]"#;
            Wanted { name: format!("ohlc-{interval}"), words: format!(r#","interval":{interval}{warning}"#) }
        }
        "ticker" => match params.event_trigger.as_deref() {
            Some("bbo") => Wanted { name: "ticker-bbo".into(), words: r#","event_trigger":"bbo""#.into() },
            None | Some("trades") => Wanted { name: "ticker".into(), words: r#","event_trigger":"trades""#.into() },
            Some(_) => return Err("Event trigger not supported"),
        },
        _ => return Err("Channel not supported"),
    })
}

fn begin(inner: &mut Inner, conn: u64, stream: &str, symbol: Option<&str>) -> Result<(), String> {
    if let Some(symbol) = symbol.filter(|symbol| !inner.world.listed().iter().any(|one| one == symbol)) {
        return Err(format!("Currency pair not supported {symbol}"));
    }
    let there = inner.streams_of(conn);
    if there.iter().any(|one| one == stream) {
        return Err("Already subscribed".into());
    }
    // With a subscription the server beats.
    if !there.iter().any(|one| one == BEAT) {
        inner.subscribe(conn, BEAT);
    }
    inner.subscribe(conn, stream);
    Ok(())
}

fn end(inner: &mut Inner, conn: u64, stream: &str) -> Result<(), String> {
    if !inner.streams_of(conn).iter().any(|one| one == stream) {
        return Err("Subscription Not Found".into());
    }
    inner.unsubscribe(conn, stream);
    if inner.streams_of(conn) == [BEAT] {
        inner.unsubscribe(conn, BEAT);
    }
    Ok(())
}
