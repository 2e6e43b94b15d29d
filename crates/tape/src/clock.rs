//! The two clocks: the wall for ages and marks, a monotonic one for latencies. A driven tape is told both.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time of a driven tape ([`crate::TapeConfig::driven`]).
pub trait TapeTime: Send + Sync {
    /// Nanoseconds since the Unix epoch.
    fn wall(&self) -> i64;

    /// Nanoseconds that never run back; never 0.
    fn mono(&self) -> u64;
}

/// Nanoseconds since the process first asked; never 0.
pub(crate) fn mono() -> u64 {
    static BASE: OnceLock<Instant> = OnceLock::new();
    BASE.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as i64)
}
