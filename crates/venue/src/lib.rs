//! One folder per venue: its protocol as a pure state machine, bytes in, events out.
//!
//! A [`Session`] is one connection's conversation. It holds no socket, clock or task: time comes as an argument, and
//! what must be done (send, fetch, close) goes out as [`Action`]s. So the same code runs on sockets, captures, the
//! fuzzer and the simulator.

pub mod error;
pub mod session;

pub use error::{ProtocolError, Recovery};
pub use session::{
    Action, BookRule, FetchFailure, FetchId, FetchKind, Frame, Note, Out, Reply, Request, Session, SessionStats, Want,
};
