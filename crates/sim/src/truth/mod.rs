//! What really happened, kept apart from what was delivered.
//!
//! - `truth-<venue>.jsonl`: every created event, append-only, written before it is served ([`TruthLog`]).
//! - `faults.jsonl`: every fault that really happened to somebody.
//! - `truth.json`: a summary, written by [`crate::SimHandle::finish`].
//!
//! The format is described in `crates/sim/TRUTH.md`; [`load`] reads it.

mod load;
mod log;
mod summary;
mod types;

pub use load::{load, load_venue};
pub use log::TruthLog;
pub use summary::{Summary, summarise};
pub use types::{AggTrade, DepthEvent, InstrumentTruth, Quote, RawTrade, Stated, Truth, VenueTruth};

/// The name of the fault log in a data folder.
pub const FAULTS_FILE: &str = "faults.jsonl";
/// The name of the summary in a data folder.
pub const SUMMARY_FILE: &str = "truth.json";
