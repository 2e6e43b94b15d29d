//! Receive time: an anchor of wall time plus the monotonic clock, never decreasing.
//!
//! One clock per worker, so `ts_recv` never decreases within its lane. A step of the wall clock (somebody set it, a
//! virtual machine slept) is found by comparing the two once a second; forward steps move the anchor, backward ones are
//! only reported: receive time then stays ahead of the wall rather than repeat itself.
//! The monotonic clock is tokio's, so that paused test time moves it too.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use wholetape_model::Ts;

/// Differences below this are drift and scheduling, not steps.
pub const STEP_MIN: Duration = Duration::from_millis(100);

/// The wall clock moved against the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep {
    /// By how much, ns; negative = backwards.
    pub by_ns: i64,
}

#[derive(Debug)]
pub struct Clock {
    mono: Instant,
    /// Wall time at `mono`, ns.
    wall: Cell<i64>,
    last: Cell<i64>,
    /// A backward step that was already told: wall minus ours.
    told: Cell<i64>,
}

/// The wall clock, ns since the Unix epoch.
#[must_use]
pub fn wall() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Clock {
    /// Anchored at `wall`, and not before `floor`: what the lane holds already.
    #[must_use]
    pub fn new(wall: Ts, floor: Ts) -> Self {
        let at = wall.max(floor);
        Self { mono: Instant::now(), wall: Cell::new(at.0), last: Cell::new(at.0), told: Cell::new(wall.0 - at.0) }
    }

    /// Now. Never less than before.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Ts {
        let elapsed = i64::try_from(self.mono.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let now = self.wall.get().saturating_add(elapsed).max(self.last.get());
        self.last.set(now);
        Ts(now)
    }

    /// When `at` will be, for sleeping.
    #[must_use]
    pub fn instant(&self, at: Ts) -> Instant {
        Instant::now() + at.since(self.now()).min(Duration::from_secs(86_400))
    }

    /// Compares with the wall clock and tells a step once.
    pub fn check(&self, wall: Ts) -> Option<ClockStep> {
        let ahead = wall.0 - self.now().0;
        let by = ahead - self.told.get();
        if by.unsigned_abs() < STEP_MIN.as_nanos() as u64 {
            return None;
        }
        if ahead > 0 {
            self.wall.set(self.wall.get().saturating_add(ahead));
            self.told.set(0);
        } else {
            self.told.set(ahead);
        }
        Some(ClockStep { by_ns: by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const T: Ts = Ts(1_700_000_000_000_000_000);

    #[tokio::test(start_paused = true)]
    async fn follows_the_monotonic_clock() {
        let c = Clock::new(T, Ts::ZERO);
        assert_eq!(c.now(), T);
        tokio::time::advance(S * 5).await;
        assert_eq!(c.now(), T + S * 5);
        assert_eq!(c.check(T + S * 5), None);
        assert_eq!(c.check(T + S * 5 + Duration::from_millis(20)), None, "drift");
    }

    #[tokio::test(start_paused = true)]
    async fn a_forward_step_moves_the_anchor() {
        let c = Clock::new(T, Ts::ZERO);
        assert_eq!(c.check(T + S * 60), Some(ClockStep { by_ns: 60_000_000_000 }));
        assert_eq!(c.now(), T + S * 60);
        assert_eq!(c.check(T + S * 60), None, "told once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_backward_step_is_told_and_not_followed() {
        let c = Clock::new(T, Ts::ZERO);
        tokio::time::advance(S).await;
        assert_eq!(c.check(T + S - S * 30), Some(ClockStep { by_ns: -30_000_000_000 }));
        assert_eq!(c.now(), T + S);
        tokio::time::advance(S).await;
        assert_eq!(c.check(T + S * 2 - S * 30), None, "told once");
        assert_eq!(c.check(T + S * 2), Some(ClockStep { by_ns: 30_000_000_000 }), "and back");
        assert_eq!(c.now(), T + S * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn starts_where_the_lane_ended() {
        let c = Clock::new(T, T + S * 10);
        assert_eq!(c.now(), T + S * 10);
        assert_eq!(c.check(T), None, "known from the start");
    }
}
