//! The WebSocket side: one connection from its handshake to its end, whatever the venue says on it.
//!
//! What a client's message means is the protocol's; sending, keep-alive, limits and the ways of breaking off are here.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use crate::protocol::{Manners, Target};
use crate::venue::{Out, Venue};

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
        let id = inner.connect(&target, tx, kill.clone());
        target.streams.iter().take(venue.config.limits.streams).for_each(|stream| inner.subscribe(id, stream));
        id
    };
    let manners = venue.protocol.manners(&venue.config);
    let mut conversation =
        Conversation { venue: venue.clone(), id, manners, heard: Vec::new(), pong_due: None, said: Instant::now() };
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
    manners: Manners,
    /// Arrival of the last second's incoming messages.
    heard: Vec<Instant>,
    pong_due: Option<Instant>,
    /// When something was sent last.
    said: Instant,
}

/// Why a conversation ends, when it does.
enum End {
    GoOn,
    Over,
}

impl Conversation {
    async fn run(&mut self, ws: &mut WebSocketStream<TcpStream>, mut rx: mpsc::Receiver<Out>) {
        let config = &self.venue.config;
        let death = Instant::now() + Duration::from_millis(config.limits.life_ms);
        let (ping, quiet_max) = (self.manners.ping, self.manners.quiet_max);
        let mut ping_at = ping.map(|(every, _)| Instant::now() + every);
        let mut stalled: Option<Instant> = None;
        loop {
            let pong_due = self.pong_due;
            let too_quiet = quiet_max.map(|most| self.said + most);
            let end = tokio::select! {
                biased;
                message = ws.next() => match message {
                    Some(Ok(message)) => self.hear(ws, message).await,
                    _ => End::Over,
                },
                () = sleep_until(pong_due.unwrap_or(death)), if pong_due.is_some() => End::Over,
                () = sleep_until(too_quiet.unwrap_or(death)), if too_quiet.is_some() => {
                    close(ws, CloseCode::Normal, "No data received in 30s.").await
                }
                () = sleep_until(ping_at.unwrap_or(death)), if ping_at.is_some() => {
                    if let (Some(at), Some((every, pong_within))) = (&mut ping_at, ping) {
                        *at += every;
                        self.pong_due.get_or_insert(Instant::now() + pong_within);
                    }
                    let payload = self.venue.wall_ms().to_string();
                    said(ws.send(Message::Ping(payload.into_bytes().into())).await)
                }
                () = sleep_until(death) => {
                    let text = self.venue.lock().farewell(self.id);
                    self.planned_close(ws, text).await
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
        &mut self,
        ws: &mut WebSocketStream<TcpStream>,
        first: Out,
        rx: &mut mpsc::Receiver<Out>,
        stalled: &mut Option<Instant>,
    ) -> End {
        let (mut out, mut sent) = (first, 0);
        loop {
            match out {
                Out::Text(text) => {
                    self.said = Instant::now();
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
                Out::Close(code, why) => return close(ws, code.into(), why).await,
                Out::PlannedClose(text) => return self.planned_close(ws, text).await,
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

    async fn planned_close(&self, ws: &mut WebSocketStream<TcpStream>, text: String) -> End {
        if !text.is_empty() {
            let _ = ws.send(Message::text(text)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        close(ws, self.venue.protocol.farewell_code().into(), "").await
    }

    async fn hear(&mut self, ws: &mut WebSocketStream<TcpStream>, message: Message) -> End {
        let now = Instant::now();
        self.heard.retain(|at| now - *at < Duration::from_secs(1));
        self.heard.push(now);
        // Pings, pongs and commands all count.
        if self.manners.messages_per_s.is_some_and(|most| self.heard.len() > most as usize) {
            return close(ws, CloseCode::Policy, "Too many requests").await;
        }
        match message {
            Message::Text(text) => {
                for answer in self.venue.protocol.hear(&self.venue, self.id, text.as_str()) {
                    self.said = now;
                    if ws.feed(Message::text(answer)).await.is_err() {
                        return End::Over;
                    }
                }
                said(ws.flush().await)
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
}

fn said(result: Result<(), WsError>) -> End {
    if result.is_ok() { End::GoOn } else { End::Over }
}

async fn close(ws: &mut WebSocketStream<TcpStream>, code: CloseCode, reason: &'static str) -> End {
    let _ = ws.close(Some(CloseFrame { code, reason: reason.into() })).await;
    End::Over
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
