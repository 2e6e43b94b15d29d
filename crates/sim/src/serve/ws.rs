//! The WebSocket side: handshake, subscriptions, keep-alive and the venue's limits.
//!
//! From `binance-spot` §1, §3 and `binance-usdm` §1 of the venue sheets (written 2026-11-20): `/ws` sends raw payloads,
//! `/stream` wraps them; a misspelt stream is acknowledged and stays silent; on USDⓈ-M the wrong route does the same.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use crate::venue::{Out, Route, Venue};

/// What the path of a handshake asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub route: Route,
    pub combined: bool,
    pub streams: Vec<String>,
}

/// Reads a handshake's address; the error is the HTTP status of the refusal.
pub(crate) fn target(routed: bool, path: &str, query: &str) -> Result<Target, u16> {
    let (route, rest) = match path {
        _ if !routed => (Route::Any, path),
        _ if path.starts_with("/private") => return Err(403),
        _ => match (path.strip_prefix("/public"), path.strip_prefix("/market")) {
            (Some(rest), _) => (Route::Public, rest),
            (_, Some(rest)) => (Route::Market, rest),
            _ => (Route::Unrouted, path),
        },
    };
    let named = |list: &str| list.split('/').filter(|name| !name.is_empty()).map(unescape).collect::<Vec<_>>();
    match rest.trim_end_matches('/') {
        "/stream" => {
            let list = query.split('&').find_map(|pair| pair.strip_prefix("streams=")).unwrap_or_default();
            if list.contains(',') {
                return Err(400);
            }
            Ok(Target { route, combined: true, streams: named(list) })
        }
        rest => match rest.strip_prefix("/ws") {
            Some(list) if list.is_empty() || list.starts_with('/') => {
                Ok(Target { route, combined: false, streams: named(list) })
            }
            _ => Err(404),
        },
    }
}

/// Percent-decoding; what is no valid escape stays as it is.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Deserialize)]
struct Command<'a> {
    method: String,
    #[serde(default)]
    params: Option<Vec<Value>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Serves one upgraded connection until it ends.
pub(crate) async fn serve(venue: Arc<Venue>, upgraded: Upgraded, target: Target) {
    // The plain socket is needed to break off in mid-frame.
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
    let socket = parts.io.into_inner();
    let mut ws = WebSocketStream::from_partially_read(socket, parts.read_buf.to_vec(), Role::Server, None).await;
    let (tx, rx) = mpsc::channel(venue.config.limits.queue_frames.max(16));
    let kill = CancellationToken::new();
    let id = {
        let mut inner = venue.lock();
        let id = inner.connect(target.route, target.combined, tx, kill.clone());
        target.streams.iter().take(venue.config.limits.streams).for_each(|stream| inner.subscribe(id, stream));
        id
    };
    let mut conversation = Conversation { venue: venue.clone(), id, heard: Vec::new(), pong_due: None };
    tokio::select! {
        () = venue.stop.cancelled() => {}
        () = kill.cancelled() => {}
        () = conversation.run(&mut ws, rx) => {}
    }
    venue.lock().forget(id);
}

struct Conversation {
    venue: Arc<Venue>,
    id: u64,
    /// Arrival of the last second's incoming messages.
    heard: Vec<Instant>,
    pong_due: Option<Instant>,
}

/// Why a conversation ends, when it does.
enum End {
    GoOn,
    Over,
}

impl Conversation {
    async fn run(&mut self, ws: &mut WebSocketStream<TcpStream>, mut rx: mpsc::Receiver<Out>) {
        let config = &self.venue.config;
        let ping_every = Duration::from_millis(config.ping_every_ms().max(1));
        let pong_within = Duration::from_millis(config.pong_within_ms());
        let death = Instant::now() + Duration::from_millis(config.limits.life_ms);
        let mut ping_at = Instant::now() + ping_every;
        let mut stalled: Option<Instant> = None;
        loop {
            let pong_due = self.pong_due;
            let end = tokio::select! {
                biased;
                message = ws.next() => match message {
                    Some(Ok(message)) => self.hear(ws, message).await,
                    _ => End::Over,
                },
                () = sleep_until(pong_due.unwrap_or(death)), if pong_due.is_some() => End::Over,
                () = sleep_until(ping_at) => {
                    ping_at += ping_every;
                    self.pong_due.get_or_insert(Instant::now() + pong_within);
                    let payload = self.venue.wall_ms().to_string();
                    said(ws.send(Message::Ping(payload.into_bytes().into())).await)
                }
                () = sleep_until(death) => {
                    let text = self.venue.lock().shutdown_text(self.id);
                    planned_close(ws, text).await
                }
                () = sleep_until(stalled.unwrap_or(death)), if stalled.is_some() => {
                    stalled = None;
                    End::GoOn
                }
                out = rx.recv(), if stalled.is_none() => match out {
                    // The venue let this connection go after its last words.
                    None => End::Over,
                    Some(out) => self.say(ws, out, &mut rx, &mut stalled).await,
                },
            };
            if matches!(end, End::Over) {
                return;
            }
        }
    }

    /// Sends what waits, flushing once for many.
    async fn say(
        &self,
        ws: &mut WebSocketStream<TcpStream>,
        first: Out,
        rx: &mut mpsc::Receiver<Out>,
        stalled: &mut Option<Instant>,
    ) -> End {
        let (mut out, mut sent) = (first, 0);
        loop {
            match out {
                Out::Text(text) => {
                    if ws.feed(Message::text(text)).await.is_err() {
                        return End::Over;
                    }
                }
                Out::Stall(millis) => {
                    *stalled = Some(Instant::now() + Duration::from_millis(millis));
                    break;
                }
                Out::CutReset(text) => return cut_reset(ws, &text).await,
                Out::CutClose => return close(ws, CloseCode::Away, "").await,
                Out::PlannedClose(text) => return planned_close(ws, text).await,
            }
            sent += 1;
            match rx.try_recv() {
                Ok(next) if sent < 256 => out = next,
                Ok(next) => {
                    out = next;
                    sent = 0;
                    if ws.flush().await.is_err() {
                        return End::Over;
                    }
                }
                Err(_) => break,
            }
        }
        said(ws.flush().await)
    }

    async fn hear(&mut self, ws: &mut WebSocketStream<TcpStream>, message: Message) -> End {
        let now = Instant::now();
        self.heard.retain(|at| now - *at < Duration::from_secs(1));
        self.heard.push(now);
        // Pings, pongs and commands all count.
        if self.heard.len() > self.venue.config.messages_per_s() as usize {
            return close(ws, CloseCode::Policy, "Too many requests").await;
        }
        match message {
            Message::Text(text) => {
                let answer = self.command(text.as_str());
                said(ws.send(Message::text(answer)).await)
            }
            Message::Pong(_) => {
                self.pong_due = None;
                End::GoOn
            }
            // Answered by the library on the next write or flush.
            Message::Ping(_) => said(ws.flush().await),
            Message::Close(_) => {
                let _ = ws.flush().await;
                End::Over
            }
            _ => End::GoOn,
        }
    }

    fn command(&self, text: &str) -> String {
        let command: Command<'_> = match serde_json::from_str(text) {
            Ok(command) => command,
            Err(error) => {
                let why = if error.is_data() { "Invalid request" } else { "Invalid JSON" };
                let code = if error.is_data() { 2 } else { 3 };
                return format!(r#"{{"code":{code},"msg":{}}}"#, Value::from(format!("{why}: {error}")));
            }
        };
        let id = command.id.map_or("null", RawValue::get);
        let fail = |code: i32, msg: &str| format!(r#"{{"code":{code},"msg":{},"id":{id}}}"#, Value::from(msg));
        let params = command.params.unwrap_or_default();
        let streams = || params.iter().map(|p| p.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        let mut inner = self.venue.lock();
        match command.method.as_str() {
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                let Some(streams) = streams() else { return fail(2, "Invalid request: params must be strings") };
                if streams.is_empty() {
                    return fail(2, "Invalid request: params are missing");
                }
                if command.method == "UNSUBSCRIBE" {
                    streams.iter().for_each(|stream| inner.unsubscribe(self.id, stream));
                } else {
                    let held = inner.streams_of(self.id);
                    let new = streams.iter().filter(|stream| !held.contains(stream)).count();
                    if held.len() + new > self.venue.config.limits.streams {
                        return fail(2, "Invalid request: too many streams");
                    }
                    streams.iter().for_each(|stream| inner.subscribe(self.id, stream));
                }
                format!(r#"{{"result":null,"id":{id}}}"#)
            }
            "LIST_SUBSCRIPTIONS" => format!(r#"{{"result":{},"id":{id}}}"#, Value::from(inner.streams_of(self.id))),
            "SET_PROPERTY" | "GET_PROPERTY" if params.first().and_then(Value::as_str) == Some("combined") => {
                let Some(conn) = inner.conns.get_mut(&self.id) else { return fail(2, "Invalid request: closing") };
                if command.method == "GET_PROPERTY" {
                    return format!(r#"{{"result":{},"id":{id}}}"#, conn.combined);
                }
                match params.get(1).and_then(Value::as_bool) {
                    Some(combined) => conn.combined = combined,
                    None => return fail(2, "Invalid request: combined is a boolean"),
                }
                format!(r#"{{"result":null,"id":{id}}}"#)
            }
            "SET_PROPERTY" | "GET_PROPERTY" => fail(2, "Invalid request: unknown property"),
            method => fail(2, &format!("Invalid request: unknown variant `{method}`")),
        }
    }
}

fn said(result: Result<(), WsError>) -> End {
    if result.is_ok() { End::GoOn } else { End::Over }
}

async fn close(ws: &mut WebSocketStream<TcpStream>, code: CloseCode, reason: &'static str) -> End {
    let _ = ws.close(Some(CloseFrame { code, reason: reason.into() })).await;
    End::Over
}

async fn planned_close(ws: &mut WebSocketStream<TcpStream>, text: String) -> End {
    let _ = ws.send(Message::text(text)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    close(ws, CloseCode::Away, "").await
}

/// Announces a frame, sends half of it and resets the connection.
async fn cut_reset(ws: &mut WebSocketStream<TcpStream>, text: &str) -> End {
    let _ = ws.flush().await;
    let socket = ws.get_mut();
    let len = text.len().clamp(2, 0xFFFF) as u16;
    let mut bytes = vec![0x81, 126];
    bytes.extend(len.to_be_bytes());
    bytes.extend(&text.as_bytes()[..usize::from(len / 2).min(text.len())]);
    let _ = socket.write_all(&bytes).await;
    let _ = socket.flush().await;
    let _ = socket.set_zero_linger();
    End::Over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_decides_framing_and_route() {
        let of = |routed, path, query| target(routed, path, query);
        let spot = of(false, "/stream", "streams=btcusdt@trade/btcusdt%40depth").unwrap();
        assert_eq!((spot.combined, spot.streams), (true, vec!["btcusdt@trade".to_owned(), "btcusdt@depth".to_owned()]));
        assert_eq!(of(true, "/market/ws/btcusdt@aggTrade", "").unwrap().route, Route::Market);
        assert_eq!(of(true, "/ws", "").unwrap().route, Route::Unrouted);
        assert_eq!(of(true, "/private/ws/key", ""), Err(403));
        assert_eq!(of(true, "/public/stream", "streams=a,b"), Err(400));
        assert_eq!(of(false, "/wss", ""), Err(404));
    }

    #[test]
    fn the_wrong_route_is_silent() {
        assert!(Route::Public.delivers("btcusdt@depth@100ms") && !Route::Public.delivers("btcusdt@aggTrade"));
        assert!(Route::Market.delivers("btcusdt@aggTrade") && !Route::Market.delivers("btcusdt@bookTicker"));
        assert!(Route::Unrouted.delivers("btcusdt@bookTicker") && !Route::Unrouted.delivers("!contractInfo"));
    }
}
