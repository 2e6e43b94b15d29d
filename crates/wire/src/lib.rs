//! What clients see: the JSON of gateway protocol version 1, both ways, and the client's side of its one rule.
//!
//! Pure: bytes in, bytes out. The gateway owns sockets and clocks.
//!
//! - [`message`]: a tape record as `data`, `mark` or `snap` (hand-written, no allocation once the buffer is warm);
//! - [`reply`]: everything else the server says;
//! - [`op`]: what clients say, read against a closed schema;
//! - [`book`]: the book that both ends keep, and its checksum;
//! - [`conflate`]: a view of a book: its depth, and one change for many updates;
//! - [`form`]: the same in MessagePack, with integers for prices, with numbers for names;
//! - [`client`]: PROTOCOL §0 without I/O, for tests and for our own clients.
//!
//! The contract is `docs/api/websocket.md`; `golden/` holds one message of each kind and is never rewritten
//! within a version.

pub mod book;
pub mod client;
pub mod code;
pub mod conflate;
pub mod form;
mod json;
pub mod message;
mod omitted;
pub mod op;
pub mod reply;
pub mod schema;

pub use book::BookView;
pub use code::{Close, Code};
pub use form::{Form, Former, Places, Subject};
pub use message::{Context, Written};
pub use omitted::tell_omitted;
pub use op::{AsOf, Auth, From, Op, OpError, Position, Pub, Resume};

/// The protocol's version, stated by `welcome`.
pub const VERSION: u32 = 1;
/// The subprotocol of JSON text frames; also what a client gets that offers none.
pub const SUBPROTOCOL_JSON: &str = "wholetape.v1.json";
/// The subprotocol of MessagePack, in binary frames.
pub const SUBPROTOCOL_MSGPACK: &str = "wholetape.v1.msgpack";
/// Ids below this are JSON numbers, others are strings: the largest integer that every JSON reader keeps exactly.
pub const NUMBER_MAX: u64 = 1 << 53;
/// Deepest nesting believed in a client's message.
pub const DEPTH_MAX: usize = 8;
/// Longest topic name, bytes.
pub const TOPIC_LEN_MAX: usize = 128;
/// A batch holds at most this many messages …
pub const BATCH_MESSAGES_MAX: usize = 256;
/// … and about this many bytes (a single larger message travels alone).
pub const BATCH_BYTES_MAX: usize = 64 * 1024;
/// A topic's credit that is not used yet is at most this.
pub const CREDIT_MAX: u64 = 1_000_000;
/// Every n-th update of a book view carries a checksum.
pub const CRC_EVERY: u32 = 100;
