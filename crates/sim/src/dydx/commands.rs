//! What a client may say: `subscribe`, `unsubscribe`, `ping`; one stream a message.
//!
//! Answers wait behind what is to be sent already, since each message of a connection has its number. A stream may be asked for twice a
//! second, nonsense said twice a second; more ends the connection (1008). A connection has 32 streams of each channel that has ids.

use serde::Deserialize;
use serde_json::Value;

use super::{BATCHED, CHANNELS, payload};
use crate::venue::{Inner, Out, Venue};

/// So often a second.
const RATE_MAX: usize = 2;
const SECOND_MS: u64 = 1_000;
const PER_CHANNEL_MAX: usize = 32;

#[derive(Deserialize)]
struct Command {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    batched: bool,
}

/// Does what a message asks for, and answers it in its turn.
pub(super) fn hear(venue: &Venue, conn: u64, text: &str) -> Vec<String> {
    let wall_ms = venue.wall_ms();
    let mut inner = venue.lock();
    let refused = match serde_json::from_str::<Command>(text) {
        Ok(command) => obey(&mut inner, conn, &command, wall_ms),
        Err(_) => Err("Invalid message: could not parse".to_owned()),
    };
    if let Err(why) = refused {
        inner.say(conn, error(&why));
        if !may(&mut inner, conn, "", wall_ms) {
            inner.push(conn, Out::Close(1008, "Rate limited"));
        }
    }
    Vec::new()
}

fn error(why: &str) -> String {
    format!(r#"{{"type":"error","message":{}}}"#, Value::from(why))
}

/// Counts one more of its kind in this second, where there is room for it.
fn may(inner: &mut Inner, conn: u64, what: &str, wall_ms: u64) -> bool {
    let Some(conn) = inner.conns.get_mut(&conn) else { return false };
    conn.lately.retain(|(at, _)| at + SECOND_MS > wall_ms);
    let may = conn.lately.iter().filter(|(_, of)| of == what).count() < RATE_MAX;
    if may {
        conn.lately.push((wall_ms, what.to_owned()));
    }
    may
}

fn obey(inner: &mut Inner, conn: u64, command: &Command, wall_ms: u64) -> Result<(), String> {
    let channel = command.channel.as_str();
    let id = command.id.as_deref().unwrap_or("");
    let named = if id.is_empty() { String::new() } else { format!(r#","id":{}"#, Value::from(id)) };
    match command.kind.as_str() {
        "ping" => {
            inner.say(conn, format!(r#"{{"type":"pong"{named}}}"#));
            return Ok(());
        }
        "subscribe" | "unsubscribe" => {}
        other => return Err(format!("Invalid message type: {other}")),
    }
    if !CHANNELS.contains(&channel) {
        return Err(format!("Invalid channel: {channel}"));
    }
    if !exists(inner, channel, id) {
        return Err(format!("Invalid subscription id for channel: ({channel}-{id})"));
    }
    let stream = format!("{channel}:{id}");
    let batched = format!("{stream}{BATCHED}");
    if command.kind == "unsubscribe" {
        inner.unsubscribe(conn, &stream);
        inner.unsubscribe(conn, &batched);
        inner.say(conn, format!(r#"{{"type":"unsubscribed","channel":"{channel}"{named}}}"#));
        return Ok(());
    }
    if !may(inner, conn, &stream, wall_ms) {
        inner.push(conn, Out::Close(1008, "Rate limited"));
        return Ok(());
    }
    let taken = inner.streams_of(conn);
    if taken.contains(&stream) || taken.contains(&batched) {
        return Err(format!("Invalid subscribe message: already subscribed ({channel}-{id})"));
    }
    let of_channel = taken.iter().filter(|one| one.split(':').next() == Some(channel)).count();
    let most = if channel == "v4_block_height" { 1 } else { PER_CHANNEL_MAX };
    if of_channel >= most {
        return Err(format!("Per-connection subscription limit reached for {channel} (limit={most})."));
    }
    inner.subscribe(conn, if command.batched { &batched } else { &stream });
    Ok(())
}

/// Whether there is such a stream.
fn exists(inner: &Inner, channel: &str, id: &str) -> bool {
    let is_symbol = |id: &str| inner.world.symbols().iter().any(|symbol| symbol == id);
    match channel {
        "v4_trades" | "v4_orderbook" => is_symbol(id),
        "v4_candles" => id.rsplit_once('/').is_some_and(|(symbol, resolution)| {
            is_symbol(symbol)
                && ["1m", "5m", "15m", "30m", "1h"].iter().any(|i| payload::resolution(i) == Some(resolution))
        }),
        _ => id.is_empty(),
    }
}
