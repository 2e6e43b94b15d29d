//! One connection of the line as the shell sees it: waiting, opening or open.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_tungstenite::WebSocketStream;
use wholetape_model::Ts;

use crate::backoff::{Backoff, BackoffShape};
use crate::error::{OpenError, SendError, chain};
use crate::line::ConnIx;
use crate::link::ConnectionState;
use crate::transport::Transport;
use crate::ws::{Socket, SocketEvent};

pub(super) type Stream = WebSocketStream<Transport>;
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Stream, OpenError>>>>;

pub(super) enum Phase {
    /// Until then nothing is tried.
    Waiting(Ts),
    Opening(Opening),
    Open(Box<Socket>),
}

pub(super) enum SlotEvent {
    Opened(Box<Stream>),
    OpenFailed(String),
    /// With the time at which it was read.
    Socket(Ts, SocketEvent),
}

pub(super) struct Slot {
    pub state: ConnectionState,
    pub backoff: Backoff,
    pub phase: Phase,
    /// Whether a socket is wanted here at all: the spare of a set is not, until it replaces another.
    pub wanted: bool,
    /// The open socket that this one is to replace.
    pub replaces: Option<ConnIx>,
    /// When both have carried for long enough, and the old one may go.
    pub relieves_at: Ts,
    /// When to begin a planned replacement.
    pub replace_at: Ts,
    /// Which of the line's addresses is tried.
    pub endpoint: usize,
    /// Of this life, as in rows.
    pub number: u32,
    pub frames: u32,
}

impl Slot {
    /// A slot that tries the `endpoint`th address first; a spare waits until it is wanted.
    pub fn new(shape: BackoffShape, now: Ts, endpoint: usize, wanted: bool) -> Self {
        Self {
            state: ConnectionState::new(),
            backoff: Backoff::new(shape),
            phase: Phase::Waiting(now),
            wanted,
            replaces: None,
            relieves_at: Ts::MAX,
            replace_at: Ts::MAX,
            endpoint,
            number: 0,
            frames: 0,
        }
    }

    pub fn correlation(&self) -> String {
        self.state.correlation().to_owned()
    }

    pub fn opened(&mut self, socket: Socket, replace_at: Ts) {
        self.phase = Phase::Open(Box::new(socket));
        self.replace_at = replace_at;
    }

    /// Takes the socket out; the slot then waits.
    pub fn take_socket(&mut self) -> Option<Socket> {
        self.replace_at = Ts::MAX;
        self.relieves_at = Ts::MAX;
        match std::mem::replace(&mut self.phase, Phase::Waiting(Ts::MAX)) {
            Phase::Open(socket) => Some(*socket),
            // An opening that is dropped here closes by itself.
            _ => None,
        }
    }

    /// Try again at once.
    pub fn hurry(&mut self, now: Ts) {
        if let Phase::Waiting(until) = &mut self.phase {
            *until = now;
        }
    }

    /// Nothing is tried while the line is paused; then it begins at once.
    pub fn rest(&mut self, now: Ts) {
        if !matches!(self.phase, Phase::Open(_)) {
            self.phase = Phase::Waiting(now);
        }
    }

    pub fn send(&mut self, text: String) -> Result<(), SendError> {
        match &mut self.phase {
            Phase::Open(socket) => socket.send(text),
            _ => Err(SendError::NotActive(self.state.state())),
        }
    }

    /// What comes next of this connection.
    ///
    /// # Cancel safety
    /// Safe: openings and sockets live in the slot.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: impl Fn() -> Ts) -> Poll<SlotEvent> {
        match &mut self.phase {
            Phase::Waiting(_) => Poll::Pending,
            Phase::Opening(opening) => {
                let Poll::Ready(result) = opening.as_mut().poll(cx) else { return Poll::Pending };
                self.phase = Phase::Waiting(Ts::MAX);
                Poll::Ready(opened(result))
            }
            Phase::Open(socket) => match socket.poll_event(cx, now) {
                Poll::Ready(event) => Poll::Ready(SlotEvent::Socket(socket.heard(), event)),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    pub fn next_timer(&self, paused: bool) -> Ts {
        match &self.phase {
            Phase::Waiting(_) if paused || !self.wanted => Ts::MAX,
            Phase::Waiting(until) => *until,
            Phase::Opening(_) => Ts::MAX,
            Phase::Open(socket) => socket.next_timer().min(self.replace_at).min(self.relieves_at),
        }
    }
}

fn opened(result: Result<Stream, OpenError>) -> SlotEvent {
    match result {
        Ok(stream) => SlotEvent::Opened(Box::new(stream)),
        Err(error) => SlotEvent::OpenFailed(chain(&error)),
    }
}
