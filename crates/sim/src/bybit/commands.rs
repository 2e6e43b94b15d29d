//! What a client may say: `ping`, `subscribe`, `unsubscribe`.
//!
//! A request is answered once, by its `req_id`; one bad topic fails all of it, and its words name the topic.

use serde::Deserialize;
use serde_json::Value;

use super::Bybit;
use super::category::Category;
use crate::venue::{Inner, Venue};

/// Names of one request on spot.
const SPOT_ARGS: usize = 10;
/// Letters of all names of a connection together, with two quotes and a comma each.
const LETTERS_MAX: usize = 21_000;

const DEPTHS: [&str; 4] = ["1", "50", "200", "1000"];
const INTERVALS: [&str; 13] = ["1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M"];

#[derive(Deserialize)]
struct Command {
    #[serde(default)]
    req_id: Option<String>,
    op: String,
    #[serde(default)]
    args: Vec<String>,
}

/// Does what a message asks for, and answers it.
pub(super) fn hear(bybit: &Bybit, venue: &Venue, conn: u64, text: &str) -> Vec<String> {
    let Ok(command) = serde_json::from_str::<Command>(text) else {
        return vec![answer(conn, None, "", Err("error:invalid request".into()))];
    };
    let category = Category::of(bybit.0);
    let done = match command.op.as_str() {
        "ping" => Ok("pong"),
        "subscribe" => subscribe(category, &mut venue.lock(), conn, &command.args),
        "unsubscribe" => {
            let mut inner = venue.lock();
            command.args.iter().for_each(|topic| inner.unsubscribe(conn, topic));
            Ok(said(category, "unsubscribe"))
        }
        other => Err(format!("error:unknown op,op:{other}")),
    };
    vec![answer(conn, command.req_id.as_deref(), &command.op, done)]
}

/// Spot repeats the operation, the others say nothing.
const fn said(category: Category, op: &'static str) -> &'static str {
    if category.is_derivative() { "" } else { op }
}

fn subscribe(category: Category, inner: &mut Inner, conn: u64, topics: &[String]) -> Result<&'static str, String> {
    if category == Category::Spot && topics.len() > SPOT_ARGS {
        return Err(format!("args size >{SPOT_ARGS}"));
    }
    let there = inner.streams_of(conn);
    if let Some(twice) = topics.iter().find(|topic| there.contains(topic)) {
        return Err(format!("error:already subscribed,topic:{twice}"));
    }
    if let Some(unknown) = topics.iter().find(|topic| !exists(category, inner, topic)) {
        return Err(format!("error:handler not found,topic:{unknown}"));
    }
    let letters: usize = there.iter().chain(topics).map(|topic| topic.len() + 3).sum();
    if letters > LETTERS_MAX {
        return Err(format!("args characters >{LETTERS_MAX}"));
    }
    topics.iter().for_each(|topic| inner.subscribe(conn, topic));
    Ok(said(category, "subscribe"))
}

/// Whether the topic is offered in this category, for an instrument of it.
fn exists(category: Category, inner: &Inner, topic: &str) -> bool {
    if inner.world.brings(topic) {
        return true;
    }
    let parts: Vec<&str> = topic.splitn(3, '.').collect();
    let symbol = match parts.as_slice() {
        ["publicTrade" | "tickers", symbol] => symbol,
        ["allLiquidation", symbol] if category.is_derivative() => symbol,
        ["orderbook", depth, symbol] if DEPTHS.contains(depth) => symbol,
        ["kline", interval, symbol] if INTERVALS.contains(interval) => symbol,
        _ => return false,
    };
    inner.history.by_symbol.contains_key(*symbol)
}

fn answer(conn: u64, id: Option<&str>, op: &str, done: Result<&str, String>) -> String {
    let success = done.is_ok();
    let ret_msg = Value::from(done.map_or_else(|why| why, str::to_owned));
    let (id, op) = (Value::from(id.unwrap_or_default()), Value::from(op));
    format!(
        r#"{{"success":{success},"ret_msg":{ret_msg},"conn_id":"2324d924-aa4d-45b0-a858-{conn:012x}","req_id":{id},"op":{op}}}"#
    )
}
