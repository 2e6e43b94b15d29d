//! What a client may say: `ping`, `subscribe`, `unsubscribe`.
//!
//! Each argument is answered by itself; one that does not exist, or not on this socket, is refused alone, and its error names it in words.
//! 480 operations an hour are borne on a connection.

use serde::Deserialize;
use serde_json::Value;

use super::product::{Product, index_of};
use super::{arg, is_of_product};
use crate::protocol::Route;
use crate::venue::{Inner, Venue};

/// Of subscribe, unsubscribe and login together.
const OPERATIONS_PER_HOUR: usize = 480;
const HOUR_MS: u64 = 3_600_000;
/// The channels of one request, as text.
const REQUEST_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct Command {
    #[serde(default)]
    id: Option<String>,
    op: String,
    args: Vec<Argument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    channel: String,
    #[serde(default)]
    inst_id: String,
    #[serde(default)]
    inst_type: String,
}

/// Does what a message asks for, and answers it.
pub(super) fn hear(venue: &Venue, conn: u64, text: &str) -> Vec<String> {
    if text == "ping" {
        return vec!["pong".to_owned()];
    }
    let invalid = |id: &Option<String>| error(id, 60_012, &format!("Invalid request: {text:.200}"), conn);
    let Ok(command) = serde_json::from_str::<Command>(text) else { return vec![invalid(&None)] };
    let subscribes = match command.op.as_str() {
        "subscribe" => true,
        "unsubscribe" => false,
        _ => return vec![invalid(&command.id)],
    };
    if text.len() > REQUEST_MAX || command.args.is_empty() {
        return vec![invalid(&command.id)];
    }
    let wall_ms = venue.wall_ms();
    let mut inner = venue.lock();
    if !may_operate(&mut inner, conn, wall_ms) {
        return vec![error(&command.id, 60_014, "Requests too frequent", conn)];
    }
    let mut answers = Vec::new();
    for one in &command.args {
        let stream = stream(one);
        if !exists(&inner, conn, one) {
            let subject = if is_of_product(&one.channel) { "instType" } else { "instId" };
            let named = format!("channel:{},{subject}:{}{}", one.channel, one.inst_id, one.inst_type);
            let msg = format!(
                "Wrong URL or {named} doesn't exist. Please use the correct URL, channel and parameters referring to API document."
            );
            answers.push(error(&command.id, 60_018, &msg, conn));
            continue;
        }
        let event = if subscribes { "subscribe" } else { "unsubscribe" };
        if subscribes {
            inner.subscribe(conn, &stream);
        } else {
            inner.unsubscribe(conn, &stream);
        }
        let (id, arg) = (id_of(&command.id), arg(&stream));
        answers.push(format!(r#"{{{id}"event":"{event}","arg":{arg},"connId":"{conn:08x}"}}"#));
    }
    answers
}

/// Counts one operation, where there is room for it.
fn may_operate(inner: &mut Inner, conn: u64, wall_ms: u64) -> bool {
    let Some(conn) = inner.conns.get_mut(&conn) else { return false };
    conn.operations.retain(|at| at + HOUR_MS > wall_ms);
    let may = conn.operations.len() < OPERATIONS_PER_HOUR;
    if may {
        conn.operations.push(wall_ms);
    }
    may
}

fn stream(one: &Argument) -> String {
    let subject = if is_of_product(&one.channel) { &one.inst_type } else { &one.inst_id };
    format!("{}:{subject}", one.channel)
}

/// Whether the channel is offered on this socket, for this subject.
fn exists(inner: &Inner, conn: u64, one: &Argument) -> bool {
    let symbols = inner.world.listed();
    if inner.world.brings(&stream(one)) {
        return inner.conns.get(&conn).is_some_and(|conn| conn.route == Route::Public);
    }
    let business = inner.conns.get(&conn).is_some_and(|conn| conn.route == Route::Business);
    let mine = |fits: &dyn Fn(Product) -> bool| symbols.iter().any(|s| *s == one.inst_id && fits(Product::of(s)));
    match one.channel.as_str() {
        "trades-all" => business && mine(&|_| true),
        channel if channel.starts_with("candle") => business && mine(&|_| true),
        _ if business => false,
        "trades" | "books" | "bbo-tbt" | "tickers" => mine(&|_| true),
        "mark-price" | "funding-rate" | "open-interest" => mine(&|product| product == Product::Swap),
        "index-tickers" => symbols.iter().any(|s| Product::of(s) == Product::Swap && index_of(s) == one.inst_id),
        "liquidation-orders" => one.inst_type == "SWAP",
        "instruments" => ["SPOT", "SWAP"].contains(&one.inst_type.as_str()),
        "status" => true,
        _ => false,
    }
}

fn id_of(id: &Option<String>) -> String {
    id.as_ref().map_or(String::new(), |id| format!("\"id\":{},", Value::from(id.as_str())))
}

fn error(id: &Option<String>, code: u32, msg: &str, conn: u64) -> String {
    let (id, msg) = (id_of(id), Value::from(msg));
    format!(r#"{{{id}"event":"error","code":"{code}","msg":{msg},"connId":"{conn:08x}"}}"#)
}
