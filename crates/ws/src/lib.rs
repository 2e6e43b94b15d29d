//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), made for one message that goes to many.
//!
//! ```text
//! bytes ─► decoder: frames, messages, faults ─► socket ─► who serves the connection
//!          (decoder.rs, no I/O)                 (socket.rs)        │
//! sockets ◄── the same bytes for each ◄── block: header, payload, and their compressed form, made once ◄┘
//!                                         (block.rs)
//! ```
//!
//! Why it is ours: `docs/adr/0011-websocket-codec.md`.
//!
//! Invariants:
//! - A [`Block`] is one allocation, shared; a connection that sends it copies nothing. It is compressed at most once for each window
//!   size, by the first who needs that.
//! - Nothing is buffered that the bounds refuse: a frame's length is judged when its header has come, what is inflated while it grows.
//! - Text is UTF-8, judged with every piece that comes: a message that has gone wrong is not waited for.
//! - What was written is counted as the socket takes it, to the byte.
//! - Everything but `socket.rs` is without I/O and clock.

#![warn(missing_docs)]

mod block;
mod close;
mod decoder;
mod deflate;
mod frame;
mod handshake;
mod socket;
mod utf8;

pub use block::{Block, COMPRESS_BYTES_MIN};
pub use close::{Close, is_sendable};
pub use decoder::{Decoder, Event, Fault, Limits, Role};
pub use deflate::Window;
pub use deflate::offer::{Deflate, answer};
pub use frame::{HEADER_MAX, Opcode, header, mask};
pub use handshake::accept_key;
pub use socket::{Sent, Settings, Socket, SocketError};
