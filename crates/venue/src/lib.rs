//! One folder per venue: its protocol as a pure state machine, bytes in, events out.
//!
//! A [`Session`] is one connection's conversation. It holds no socket, clock or task: time comes as an argument, and
//! what must be done (send, fetch, close) goes out as [`Action`]s. So the same code runs on sockets, captures, the
//! fuzzer and the simulator.
//!
//! Start with [`session`] (the seam), then [`plan`] (what to listen to), then a venue's folder.

pub mod binance;
pub mod error;
pub mod history;
pub mod plan;
pub mod session;
pub mod shape;

use std::time::Duration;

use wholetape_model::{InstrumentDef, InstrumentId, InstrumentIx};

use binance::limits::{Facts, Variant};
pub use error::{ProtocolError, Recovery};
pub use history::{ById, TradeHistory};
pub use plan::{Channel, ConnectionPlan, PlanError, Route, SessionPlan, SplitLimits};
pub use session::{
    Action, BookRule, FetchFailure, FetchId, FetchKind, Frame, Note, OddShape, Out, Peek, Reply, Request, Session,
    SessionStats, Want,
};

/// Every venue that [`open`] knows.
pub const VENUES: [&str; 4] = ["binance-spot", "binance-usdm", "binance-coinm", "binance-us"];

/// The session of one connection.
///
/// # Errors
/// [`PlanError`]: an unknown venue, a name given twice, a channel that is not offered.
pub fn open(plan: &SessionPlan) -> Result<Box<dyn Session>, PlanError> {
    Ok(match plan.venue.as_str() {
        "binance-spot" => Box::new(binance::Binance::new(Variant::Spot, plan)?),
        "binance-usdm" => Box::new(binance::Binance::new(Variant::UsdM, plan)?),
        "binance-coinm" => Box::new(binance::Binance::new(Variant::CoinM, plan)?),
        "binance-us" => Box::new(binance::Binance::new(Variant::Us, plan)?),
        other => return Err(PlanError::UnknownVenue(other.into())),
    })
}

/// Splits instruments × channels over connections, under the venue's limits and by its paths.
///
/// # Errors
/// [`PlanError`].
pub fn connections(
    venue: &str,
    instruments: &[(InstrumentIx, String)],
    channels: &[Channel],
    limits: &SplitLimits,
) -> Result<Vec<ConnectionPlan>, PlanError> {
    binance::plan::connections(variant(venue)?, instruments, channels, limits)
}

/// Production addresses, in order of preference. A WebSocket base is followed by a connection plan's path, a REST base by
/// a request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    pub ws: &'static [&'static str],
    pub rest: &'static [&'static str],
}

/// # Errors
/// `UnknownVenue`.
pub fn endpoints(venue: &str) -> Result<Endpoints, PlanError> {
    let facts = variant(venue)?.facts();
    Ok(Endpoints { ws: facts.ws_bases, rest: facts.rest_bases })
}

/// What a venue bears, for the shell's budgets and clocks. Sources are in the venue's `limits.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueLimits {
    /// REST weight per minute and address.
    pub weight_per_minute: u32,
    /// The reply header (lower case) that tells the weight used in this minute.
    pub weight_header: &'static str,
    /// Connection attempts per window and address.
    pub connects: u32,
    pub connects_window: Duration,
    pub streams_max: usize,
    pub messages_per_second: u32,
    /// The server pings this often, and closes when no pong came within `pong_within`.
    pub ping_every: Duration,
    pub pong_within: Duration,
    /// The venue closes every connection after this long.
    pub life_max: Duration,
}

/// # Errors
/// `UnknownVenue`.
pub fn limits(venue: &str) -> Result<VenueLimits, PlanError> {
    let f: &Facts = variant(venue)?.facts();
    Ok(VenueLimits {
        weight_per_minute: f.weight_per_minute,
        weight_header: f.weight_header,
        connects: f.connects.0,
        connects_window: f.connects.1,
        streams_max: f.streams_max,
        messages_per_second: f.messages_per_second,
        ping_every: f.ping_every,
        pong_within: f.pong_within,
        life_max: f.life_max,
    })
}

/// Our id of a venue's symbol; the definition, where known, tells perpetual from delivery.
///
/// # Errors
/// `UnknownVenue`.
pub fn instrument_id<T>(venue: &str, symbol: &str, def: Option<&InstrumentDef<T>>) -> Result<InstrumentId, PlanError> {
    Ok(binance::symbol::instrument_id(variant(venue)?, symbol, def))
}

/// The symbol that `id` has at `venue`, or `None` where it is no instrument of that venue.
///
/// # Errors
/// `UnknownVenue`.
pub fn symbol_of(venue: &str, id: &InstrumentId) -> Result<Option<String>, PlanError> {
    Ok(binance::symbol::symbol_of(variant(venue)?, id))
}

/// Every symbol in the answer to [`FetchKind::Instruments`], in the venue's spelling: for instruments chosen by pattern.
///
/// # Errors
/// `BadReply`.
pub fn listed(body: &[u8]) -> Result<Vec<String>, ProtocolError> {
    binance::listed(body)
}

fn variant(venue: &str) -> Result<Variant, PlanError> {
    Variant::by_name(venue).ok_or_else(|| PlanError::UnknownVenue(venue.into()))
}
