//! A server's side of one connection over tokio: reads events, writes shared blocks, counts the bytes, closes as the RFC asks.
//!
//! Nothing is copied on the way out: what is to be written is a list of shared pieces, handed to the socket many at a time. On the way
//! in there is no buffer but that of the message that comes: bytes are read to the stack, and only those behind an event that
//! was not asked for yet are kept.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::block::Block;
use crate::close::Close;
use crate::decoder::{Decoder, Event, Fault, Limits, Role};
use crate::deflate::Window;
use crate::deflate::offer::Deflate;
use crate::frame::{FIN, Opcode, header};

/// Read from the socket at once.
const READ: usize = 16 << 10;
/// Pieces written at once.
const SLICES: usize = 64;
/// Pongs that may wait to be written; beyond, the oldest is let go (RFC 6455 §5.5.3 asks for the latest alone).
const PONGS_MAX: usize = 64;
/// Where the transport takes one piece at a time, small ones are put together up to this size.
const GATHER: usize = 16 << 10;

/// How a connection is served.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of what comes.
    pub limits: Limits,
    /// What was agreed on in the handshake.
    pub deflate: Option<Deflate>,
    /// Bytes that may wait to be written before [`Socket::poll_ready`] waits.
    pub write_bytes: usize,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// What the peer sent; to be told by [`Fault::code`].
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The transport.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One block on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that will be written for it, header included; 0 behind our close frame.
    pub bytes: usize,
    /// Bytes that compressing saved; `None`: it went as it is.
    pub saved: Option<usize>,
    /// It was compressed for this, for the first time.
    pub compressed: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Socket<S> {
    io: S,
    decoder: Decoder,
    /// Read, and not decoded yet.
    unread: Vec<u8>,
    window: Option<Window>,
    write_bytes: usize,
    /// What is left of the frame that was partly written.
    begun: Bytes,
    /// Pongs and pings: they go before the next message.
    control: VecDeque<Bytes>,
    out: VecDeque<Bytes>,
    waiting: usize,
    written: u64,
    flushed: bool,
    said_close: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A server's side of `io`, behind the handshake.
    pub const fn server(io: S, settings: Settings) -> Self {
        let window = match settings.deflate {
            Some(agreed) => Some(agreed.window),
            None => None,
        };
        Self {
            io,
            decoder: Decoder::new(Role::Server, settings.limits, window.is_some()),
            unread: Vec::new(),
            window,
            write_bytes: settings.write_bytes,
            begun: Bytes::new(),
            control: VecDeque::new(),
            out: VecDeque::new(),
            waiting: 0,
            written: 0,
            flushed: true,
            said_close: false,
        }
    }

    /// Bytes that the transport took so far, frames' headers included: the only honest sign of a slow client's progress.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that wait to be written.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Nothing waits, and the transport was flushed.
    pub const fn is_flushed(&self) -> bool {
        self.waiting == 0 && self.flushed
    }

    /// How far the peer's frames have come.
    pub const fn inbound(&self) -> &Decoder {
        &self.decoder
    }

    /// The next event; pings are answered and a close frame is echoed, both once [`Self::poll_flush`] is called. `None`: the peer is gone.
    ///
    /// # Errors
    /// A fault of the peer's, the same again from then on, or the transport's.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, SocketError>>> {
        loop {
            if !self.unread.is_empty() {
                let mut input = &self.unread[..];
                let event = self.decoder.decode(&mut input);
                let taken = self.unread.len() - input.len();
                if taken == self.unread.len() {
                    self.unread = Vec::new();
                } else {
                    self.unread.drain(..taken);
                }
                if let Some(event) = self.noted(event).transpose() {
                    return Poll::Ready(Some(event));
                }
            }
            let mut space = [MaybeUninit::<u8>::uninit(); READ];
            let mut space = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
            let mut input: &[u8] = space.filled();
            if input.is_empty() {
                return Poll::Ready(None);
            }
            let event = self.decoder.decode(&mut input);
            self.unread.extend_from_slice(input);
            if let Some(event) = self.noted(event).transpose() {
                return Poll::Ready(Some(event));
            }
        }
    }

    /// As [`Self::poll_event`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As there.
    pub async fn event(&mut self) -> Option<Result<Event, SocketError>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Answers what answers itself.
    fn noted(&mut self, event: Result<Option<Event>, Fault>) -> Result<Option<Event>, SocketError> {
        let event = event?;
        match &event {
            Some(Event::Ping(payload)) if !self.said_close => {
                if self.control.len() >= PONGS_MAX
                    && let Some(old) = self.control.pop_front()
                {
                    self.waiting -= old.len();
                }
                self.push_control(Opcode::Pong, payload);
            }
            Some(Event::Close(close)) if !self.said_close => {
                // Whoever says goodbye hears no more.
                self.out.clear();
                self.control.clear();
                self.waiting = self.begun.len();
                let payload = close.as_ref().map_or_else(Vec::new, |c| Close::payload(c.code, ""));
                self.push_close(&payload);
            }
            _ => {}
        }
        Ok(event)
    }

    /// Ready when one more message may be handed over: it writes until fewer than `write_bytes` wait.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting >= self.write_bytes {
            ready!(self.poll_write(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands one message over, behind all before it. Behind our close frame nothing is sent.
    pub fn send(&mut self, block: &Block) -> Sent {
        if self.said_close {
            return Sent { bytes: 0, saved: None, compressed: false };
        }
        let wire = block.wire(self.window);
        let bytes = wire.bytes.len();
        self.waiting += bytes;
        self.out.push_back(wire.bytes);
        Sent { bytes, saved: wire.saved, compressed: wire.first }
    }

    /// Asks for a sign of life, before the messages that wait.
    pub fn ping(&mut self) {
        if !self.said_close {
            self.push_control(Opcode::Ping, &[]);
        }
    }

    /// Says goodbye, behind everything that waits. Only the first time.
    pub fn close(&mut self, code: u16, reason: &str) {
        if !self.said_close {
            self.push_close(&Close::payload(code, reason));
        }
    }

    fn push_close(&mut self, payload: &[u8]) {
        self.said_close = true;
        let frame = control(Opcode::Close, payload);
        self.waiting += frame.len();
        self.out.push_back(frame);
    }

    fn push_control(&mut self, opcode: Opcode, payload: &[u8]) {
        let frame = control(opcode, payload);
        self.waiting += frame.len();
        self.control.push_back(frame);
    }

    /// Writes everything that waits, and flushes.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting > 0 {
            ready!(self.poll_write(cx))?;
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    /// As [`Self::poll_flush`].
    ///
    /// # Cancel safety
    /// What was not written still waits.
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Writes what waits, ends our direction, and reads whatever still comes until the peer ends its own: a transport that is dropped
    /// with bytes unread may take back what was just written. The caller's patience bounds it.
    ///
    /// # Errors
    /// The transport's.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
        self.unread = Vec::new();
        std::future::poll_fn(|cx| {
            loop {
                let mut space = [MaybeUninit::<u8>::uninit(); READ];
                let mut space = ReadBuf::uninit(&mut space);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
                if space.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// One write of as many pieces as it takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let first = Some(&self.begun).filter(|begun| !begun.is_empty());
        let pieces = first.into_iter().chain(&self.control).chain(&self.out).filter(|piece| !piece.is_empty());
        let io = Pin::new(&mut self.io);
        let wrote = if io.is_write_vectored() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut n = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces) {
                *slice = IoSlice::new(piece);
                n += 1;
            }
            ready!(io.poll_write_vectored(cx, &slices[..n]))?
        } else {
            let mut gathered = [0; GATHER];
            let mut n = 0;
            for piece in pieces {
                if n == 0 && piece.len() >= GATHER {
                    break;
                }
                let take = piece.len().min(GATHER - n);
                gathered[n..n + take].copy_from_slice(&piece[..take]);
                n += take;
                if n == GATHER {
                    break;
                }
            }
            match n {
                0 => {
                    let piece = first.or_else(|| self.control.front()).or_else(|| self.out.front());
                    ready!(io.poll_write(cx, piece.map_or(&[][..], |p| p)))?
                }
                n => ready!(io.poll_write(cx, &gathered[..n]))?,
            }
        };
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.wrote(wrote);
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, mut n: usize) {
        self.written += n as u64;
        self.waiting -= n;
        self.flushed = false;
        while n > 0 {
            if self.begun.is_empty() {
                let Some(next) = self.control.pop_front().or_else(|| self.out.pop_front()) else { return };
                self.begun = next;
            }
            let take = n.min(self.begun.len());
            self.begun.advance(take);
            n -= take;
        }
        if self.begun.is_empty() {
            // Lets go of the message, which an empty rest would hold.
            self.begun = Bytes::new();
        }
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    let (head, n) = header(FIN | opcode as u8, payload.len(), None);
    [&head[..n], payload].concat().into()
}

#[cfg(test)]
mod tests;
