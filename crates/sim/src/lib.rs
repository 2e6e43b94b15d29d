//! Simulated venues (Binance, OKX, Bybit, dYdX, Kraken) as real WebSocket and REST servers on loopback, with seeded faults and the whole truth on disk.
//!
//! Two worlds: a seeded generator (Binance spot and USDⓈ-M, OKX spot and swaps, Bybit spot, linear and inverse, dYdX perpetuals, Kraken spot), or a recording told again on its own clock. Written from the venues'
//! documents and independent of every other crate of this project: it is what the pipeline is judged against, so it
//! must not share the pipeline's mistakes. Ships as `wholetape sim` and inside `wholetape demo`.
//!
//! Every created event is written to the truth log before anybody can see it; started again on the same folder, the
//! venues go on where they were (no id twice, REST history kept). See `docs/sim.md` and `crates/sim/TRUTH.md`.

mod binance;
mod bybit;
mod config;
mod decimal;
mod dice;
mod dydx;
mod error;
mod event;
pub mod faults;
mod handle;
mod history;
mod iso;
mod kraken;
mod okx;
mod protocol;
mod serve;
pub mod truth;
mod venue;
mod world;

pub use config::{CaptureConfig, ClockConfig, InstrumentConfig, Limits, SimConfig, VenueConfig, VenueKind};
pub use error::SimError;
pub use event::Kind;
pub use faults::{FaultConfig, FaultKind, FaultLevel, Injection};
pub use handle::{Sim, SimHandle, VenueAddr};
pub use serve::RestTally;
pub use world::{BookText, recorded_venues};
