//! What really happened, kept apart from what was delivered.
//!
//! - `truth-<venue>.jsonl`: every created event, append-only, written before it is served ([`TruthLog`]).
//! - `faults.jsonl`: every fault that really happened to somebody.
//!   With `rotate_bytes` the pieces after the first are called `truth-<venue>.000001.jsonl` and so on.
//! - `rest.json`: what was asked over REST, written by [`crate::SimHandle::finish`].
//! - `truth.json`: a summary, written by [`crate::SimHandle::finish`].
//!
//! The format is described in `crates/sim/TRUTH.md`; [`load`] reads it.

mod load;
mod log;
mod summary;
mod types;

pub use load::{TruthTail, load, load_venue};
pub use log::TruthLog;
pub use summary::{Summary, summarise};
pub use types::{AggTrade, DepthEvent, InstrumentTruth, Quote, RawTrade, Stated, Truth, VenueTruth};

/// The name of the fault log in a data folder.
pub const FAULTS_FILE: &str = "faults.jsonl";
/// The name of the summary in a data folder.
pub const SUMMARY_FILE: &str = "truth.json";
/// The name of the account of REST requests in a data folder.
pub const REST_FILE: &str = "rest.json";

/// Venue and number of a truth file, by its name.
pub(crate) fn piece_of(name: &str) -> Option<(&str, u32)> {
    let stem = name.strip_prefix("truth-")?.strip_suffix(".jsonl")?;
    match stem.rsplit_once('.') {
        Some((venue, digits)) if digits.len() == 6 => Some((venue, digits.parse().ok()?)),
        _ => Some((stem, 0)),
    }
}

/// The name of one piece of a venue's truth.
pub(crate) fn piece_name(venue: &str, piece: u32) -> String {
    match piece {
        0 => format!("truth-{venue}.jsonl"),
        n => format!("truth-{venue}.{n:06}.jsonl"),
    }
}
