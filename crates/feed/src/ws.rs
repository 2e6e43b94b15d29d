//! One WebSocket: opened with a time limit, written without waiting, read as it comes, and asked whether it still lives.
//!
//! - TLS always, but for loopback (checked where the [`Endpoint`] was read).
//! - `TCP_NODELAY`; no permessage-deflate, which costs more time than it saves here (and which the library has not).
//! - The library answers the server's pings with the same payload; it is flushed with the next read, which
//!   [`Socket::poll_event`] always does.
//! - Our own pings find a peer that vanished without a word: no pong within `pong` ends the connection. Where the venue wants a
//!   message of ours every so often ([`Beat`]), that is the ping, and whatever comes after it the answer.
//! - Writing never blocks reading: messages wait in a bounded outbox.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message, Utf8Bytes};
use wholetape_model::Ts;
use wholetape_venue::Heartbeat;

use crate::endpoint::Endpoint;
use crate::error::{OpenError, SendError};
use crate::transport::{self, Transport};

/// The message that a venue wants from us, or closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    pub text: &'static str,
    pub every: Duration,
    /// The venue's answer where it is always the same: nothing for the session.
    pub answer: Option<&'static str>,
}

impl Beat {
    /// What the venue's heartbeat asks of us, if anything.
    #[must_use]
    pub const fn of(heartbeat: &Heartbeat) -> Option<Self> {
        match *heartbeat {
            Heartbeat::Server { .. } => None,
            Heartbeat::Client { ping, pong, every, .. } => Some(Self { text: ping, every, answer: pong }),
        }
    }
}

/// Clocks and bounds of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WsLimits {
    /// Resolve, connect, TLS and handshake together.
    pub open: Duration,
    pub ping: Duration,
    pub pong: Duration,
    pub close: Duration,
    pub beat: Option<Beat>,
    pub message_bytes_max: usize,
    pub outbox_max: usize,
}

impl Default for WsLimits {
    fn default() -> Self {
        Self {
            open: Duration::from_secs(4),
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(10),
            close: Duration::from_secs(5),
            beat: None,
            message_bytes_max: 16 << 20,
            outbox_max: 256,
        }
    }
}

/// What a socket has to say.
#[derive(Debug)]
pub enum SocketEvent {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// The peer said goodbye, or just went.
    Closed(String),
    Failed(String),
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<Transport>,
    outbox: VecDeque<Message>,
    unflushed: bool,
    limits: WsLimits,
    /// When anything last came.
    heard: Ts,
    /// When our unanswered ping went out.
    pinged: Option<Ts>,
    /// When the next [`Beat`] is due.
    beat_at: Ts,
    done: bool,
}

/// Opens a WebSocket at `endpoint` + `path`.
///
/// # Errors
/// [`OpenError`].
pub async fn open(
    endpoint: &Endpoint,
    path: &str,
    limits: WsLimits,
    tls: Arc<ClientConfig>,
) -> Result<WebSocketStream<Transport>, OpenError> {
    let late = || OpenError::Timeout { endpoint: endpoint.to_string(), seconds: limits.open.as_secs() };
    timeout(limits.open, open_unbounded(endpoint, path, limits, tls)).await.map_err(|_| late())?
}

async fn open_unbounded(
    endpoint: &Endpoint,
    path: &str,
    limits: WsLimits,
    tls: Arc<ClientConfig>,
) -> Result<WebSocketStream<Transport>, OpenError> {
    let transport = transport::dial(endpoint, tls).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits.message_bytes_max))
        .max_frame_size(Some(limits.message_bytes_max));
    let url = endpoint.url(path);
    match tokio_tungstenite::client_async_with_config(url.as_str(), transport, Some(config)).await {
        Ok((stream, _response)) => Ok(stream),
        Err(source) => Err(OpenError::Handshake { endpoint: url, source: Box::new(source) }),
    }
}

impl Socket {
    #[must_use]
    pub fn new(stream: WebSocketStream<Transport>, limits: WsLimits, now: Ts) -> Self {
        let beat_at = limits.beat.map_or(Ts::MAX, |beat| now + beat.every);
        Self {
            stream,
            outbox: VecDeque::new(),
            unflushed: false,
            limits,
            heard: now,
            pinged: None,
            beat_at,
            done: false,
        }
    }

    /// Queues a text message.
    ///
    /// # Errors
    /// [`SendError::Full`] when the peer does not take what was sent before.
    pub fn send(&mut self, text: String) -> Result<(), SendError> {
        self.push(Message::text(text))
    }

    fn push(&mut self, message: Message) -> Result<(), SendError> {
        if self.outbox.len() >= self.limits.outbox_max {
            return Err(SendError::Full(self.outbox.len()));
        }
        self.outbox.push_back(message);
        Ok(())
    }

    /// What comes next. Also writes what waits. After `Closed` or `Failed` it stays pending.
    ///
    /// # Cancel safety
    /// Safe: all state is in the socket.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: impl Fn() -> Ts) -> Poll<SocketEvent> {
        if self.done {
            return Poll::Pending;
        }
        if let Poll::Ready(Err(error)) = self.poll_outbox(cx) {
            return self.end(SocketEvent::Failed(error.to_string()));
        }
        loop {
            let Poll::Ready(next) = Pin::new(&mut self.stream).poll_next(cx) else { return Poll::Pending };
            let message = match next {
                None => return self.end(SocketEvent::Closed("end of stream".into())),
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    return self.end(SocketEvent::Closed("closed".into()));
                }
                Some(Err(error)) => return self.end(SocketEvent::Failed(error.to_string())),
                Some(Ok(message)) => message,
            };
            self.heard = now();
            match message {
                Message::Text(text) if self.limits.beat.is_some_and(|beat| beat.answer == Some(text.as_str())) => {}
                Message::Text(text) => return Poll::Ready(SocketEvent::Text(text)),
                Message::Binary(bytes) => return Poll::Ready(SocketEvent::Binary(bytes)),
                Message::Pong(_) => self.pinged = None,
                Message::Close(frame) => {
                    let why = frame.map_or_else(
                        || "close frame without a reason".to_owned(),
                        |f| format!("close frame {}: {}", u16::from(f.code), f.reason.as_str()),
                    );
                    // The library's answer goes out with one more flush; whether it arrives is the peer's business.
                    let _ = Pin::new(&mut self.stream).poll_flush(cx);
                    return self.end(SocketEvent::Closed(why));
                }
                // The library answered it; the next turn of this loop flushes the pong.
                Message::Ping(_) | Message::Frame(_) => {}
            }
        }
    }

    fn end(&mut self, event: SocketEvent) -> Poll<SocketEvent> {
        self.done = true;
        Poll::Ready(event)
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        while !self.outbox.is_empty() {
            match Pin::new(&mut self.stream).poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ready) => ready?,
            }
            if let Some(message) = self.outbox.pop_front() {
                Pin::new(&mut self.stream).start_send(message)?;
                self.unflushed = true;
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(flushed) => flushed?,
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// When the newest message was read: the frame's receive time.
    #[must_use]
    pub const fn heard(&self) -> Ts {
        self.heard
    }

    /// When [`Socket::on_timer`] wants to be called.
    #[must_use]
    pub fn next_timer(&self) -> Ts {
        let quiet = match self.pinged {
            Some(at) => at + self.limits.pong,
            None if self.limits.beat.is_some() => Ts::MAX,
            None => self.heard + self.limits.ping,
        };
        quiet.min(self.beat_at)
    }

    /// Pings a quiet peer. Returns false when it is gone: no pong came.
    pub fn on_timer(&mut self, now: Ts) -> bool {
        match self.pinged {
            // Anything that came after the ping proves as much as a pong.
            Some(at) if self.heard > at => self.pinged = None,
            Some(at) if now.since(at) >= self.limits.pong => return false,
            Some(_) => {}
            None if self.limits.beat.is_none() && now.since(self.heard) >= self.limits.ping => {
                self.pinged = Some(now);
                return self.push(Message::Ping(Bytes::from_static(b"wholetape"))).is_ok();
            }
            None => {}
        }
        match self.limits.beat {
            Some(beat) if now >= self.beat_at => {
                self.beat_at = now + beat.every;
                self.pinged.get_or_insert(now);
                self.push(Message::text(beat.text)).is_ok()
            }
            _ => true,
        }
    }

    /// Says goodbye and waits, not for long, until the peer has heard it.
    pub async fn close(mut self) {
        let limit = self.limits.close;
        let _ = timeout(limit, async {
            if self.stream.close(None).await.is_ok() {
                while std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx))
                    .await
                    .is_some_and(|m| m.is_ok())
                {}
            }
        })
        .await;
    }
}
