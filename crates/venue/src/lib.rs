//! One folder per venue: its protocol as a pure state machine, bytes in, events out.
//!
//! A [`Session`] is one connection's conversation. It holds no socket, clock or task: time comes as an argument, and
//! what must be done (send, fetch, close) goes out as [`Action`]s. So the same code runs on sockets, captures, the
//! fuzzer and the simulator.
//!
//! Start with [`session`] (the seam per frame), [`registry`] (the seam per venue) and [`plan`] (what to listen to), then read a
//! venue's folder.
//!
//! # Adding a venue (the guide with order, tests and traps: `docs/adding-a-venue.md`)
//!
//! A venue is a folder here and one line in [`FOLDERS`]. The folder exports `VENUES`, a list of [`Venue`]s: one for each market
//! with addresses, limits or symbols of its own, sharing one session. What it writes is the protocol:
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the [`Session`]: the conversation; read first |
//! | `limits.rs` | addresses, [`VenueLimits`], request weights, as data, each with source and date read |
//! | `frame.rs`, `decode.rs` | serde structs that borrow the bytes; what each channel means: the meaning of the protocol |
//! | `scan.rs` | a fast scanner for the hot channels, held equal to the decoder by a differential test |
//! | `peek.rs` | a frame's kind from its head, for a line that must drop some |
//! | `symbol.rs`, `sequence.rs` | symbols ⇄ our ids; book ids and the rule that they obey |
//! | `plan.rs`, `rest.rs` | channels → streams and connections; requests, their weights, their replies |
//! | `shapes.txt` | the documented shapes, made of the folder's own example frames (`frames/<venue>/`) |
//!
//! What is the same everywhere is here, beside the folders:
//!
//! | file | what it gives |
//! |---|---|
//! | `json/` | exact numbers from text at speed ([`json`]: cursor, scanner's parts, borrowed text) |
//! | `levels.rs` | levels at common scales, quote and book events |
//! | `rows.rs` | the rows of a message, numbers that may be empty, definitions told once |
//! | `symbols.rs` | the symbol table; percent encoding |
//! | `subscriptions.rs` | paced subscription requests, answers, and asking for one stream anew, within the venue's budget |
//! | `polls.rs` | REST polls by the clock |
//! | `reading.rs` | how frames and answers are read: scanner, decoder, sentinel, counts |
//! | `sentinel.rs`, `shape.rs` | frames that no longer look as documented |
//! | `archive.rs` | files of a venue's daily archive: names, rows, and what is wrong with them |
//! | `twins.rs` | names for trades that have none |
//! | `counter.rs` | a connection's message counter made into links between one book's updates |
//!
//! The rest of the system knows no venue: a book's rule, the reach of past trades, heartbeats and bans are data that the folder
//! hands out ([`Session::book_rule`], [`Session::trade_history`], [`VenueLimits`]).

pub mod archive;
pub mod binance;
pub mod bybit;
pub mod counter;
pub mod dydx;
pub mod error;
pub mod history;
pub mod json;
pub mod kraken;
pub mod levels;
pub mod limits;
pub mod okx;
pub mod plan;
pub mod polls;
mod reading;
pub mod registry;
mod rows;
pub mod sentinel;
pub mod session;
pub mod shape;
pub mod subscriptions;
pub mod symbols;
mod twins;

pub use wholetape_model::{BookRule, Chain, book_rule::Checksum};
use wholetape_model::{InstrumentDef, InstrumentId, InstrumentIx};

pub use error::{ProtocolError, Recovery};
pub use history::{ById, ByTime, TradeHistory};
pub use limits::{Heartbeat, Rate, Refusal, VenueLimits};
pub use plan::{Channel, ConnectionPlan, PlanError, Route, SessionPlan, SplitLimits};
pub use registry::{Endpoints, Listed, Venue, names, of_address, venue, venues};
pub use session::{
    Action, FetchFailure, FetchId, FetchKind, Frame, Note, OddShape, Out, Peek, Reply, Request, Session, SessionStats,
    Want,
};

/// Every folder.
pub const FOLDERS: [&[&dyn Venue]; 5] =
    [&binance::VENUES, &okx::VENUES, &bybit::VENUES, &dydx::VENUES, &kraken::VENUES];

/// The session of one connection.
///
/// # Errors
/// [`PlanError`]: an unknown venue, a name given twice, a channel that is not offered.
pub fn open(plan: &SessionPlan) -> Result<Box<dyn Session>, PlanError> {
    venue(&plan.venue)?.open(plan)
}

/// Splits instruments × channels over connections, under the venue's limits and by its paths.
///
/// # Errors
/// [`PlanError`].
pub fn connections(
    name: &str,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    limits: &SplitLimits,
) -> Result<Vec<ConnectionPlan>, PlanError> {
    venue(name)?.connections(instruments, channels, limits)
}

/// # Errors
/// `UnknownVenue`.
pub fn endpoints(name: &str) -> Result<Endpoints, PlanError> {
    Ok(venue(name)?.endpoints())
}

/// # Errors
/// `UnknownVenue`.
pub fn limits(name: &str) -> Result<&'static VenueLimits, PlanError> {
    Ok(venue(name)?.limits())
}

/// Our id of a venue's symbol; the definition, where known, tells perpetual from delivery.
///
/// # Errors
/// `UnknownVenue`.
pub fn instrument_id<T>(name: &str, symbol: &str, def: Option<&InstrumentDef<T>>) -> Result<InstrumentId, PlanError> {
    Ok(venue(name)?.instrument_id(symbol, def.map(|d| d.kind)))
}

/// The symbol that `id` has at the venue, or `None` where it is no instrument of that venue.
///
/// # Errors
/// `UnknownVenue`.
pub fn symbol_of(name: &str, id: &InstrumentId) -> Result<Option<String>, PlanError> {
    Ok(venue(name)?.symbol_of(id))
}
