//! How far a line is behind, and how much it should give up: pure, time is an argument.
//!
//! Frames wait in the kernel before they are read, and nothing tells for how long. Three signs bound it together:
//!
//! - **Not drained**: since when the sockets were not seen empty, while every burst was a full one. No waiting frame is
//!   older than that. Alone it would blame a line that is merely busy, with a queue of a moment that never quite ends.
//! - **Starved**: how late a timer of ours was served. A sibling on the worker, a slow disk, or a turn of our own held us up.
//! - **The venue's time against ours**: receive time less event time, less the least that this difference ever was; so the
//!   clocks' offset is out of it. Alone it would blame us for a venue, or a network, that is late itself.
//!
//! The lag is the larger of the first two, but not more than the third where that one can be trusted. It cannot be while
//! new minima keep coming: then the venue's clock runs faster than ours (a recording played fast, a clock being set), and
//! the first two stand alone.
//!
//! [`LoadControl`] turns the lag into a [`ShedLevel`], with hysteresis both ways: up at once to `lagging`, then one level per
//! `shed_after` in which the lag did not shrink; down one level after a calm of twice that, which doubles (to 32 times) whenever
//! coming down turns out to have been too early. At a steady overload it so settles at the level that it can bear.

use std::time::Duration;

use wholetape_model::Ts;

use crate::line::shed::ShedLevel;

/// Bounds of a line's lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagLimits {
    /// Behind by this much its books are stale.
    pub lag_max: Duration,
    /// Behind for this long without catching up, it gives up one thing more.
    pub shed_after: Duration,
}

impl Default for LagLimits {
    fn default() -> Self {
        Self { lag_max: Duration::from_secs(1), shed_after: Duration::from_secs(2) }
    }
}

/// New minima by more than this show that the venue's clock cannot be compared with ours just now …
const FALL_NS: i64 = 100_000_000;
/// … until it has been steady for so long.
const SETTLE: Duration = Duration::from_secs(2);
/// Two clocks may drift apart by one part in so many: the minimum rises with it.
const DRIFT: i64 = 5_000;
/// While something is wrong, it is looked at this often at least.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The calm before coming down is doubled up to this factor.
const PATIENCE_MAX: u32 = 32;

/// Receive time less event time, and the least it was.
#[derive(Debug, Default)]
struct VenueClock {
    least: Option<i64>,
    /// The least when it last fell by [`FALL_NS`], and when that was.
    fell: (i64, Ts),
    last: Ts,
}

impl VenueClock {
    /// How much later than ever the event was read; `None` while the clocks cannot be compared.
    fn late(&mut self, ts_event: Ts, ts_recv: Ts) -> Option<Duration> {
        let d = ts_recv.0.saturating_sub(ts_event.0);
        let drift = ts_recv.0.saturating_sub(self.last.0).max(0) / DRIFT;
        self.last = ts_recv;
        let least = match self.least {
            None => {
                self.fell = (d, ts_recv);
                d
            }
            Some(least) => {
                self.fell.0 = self.fell.0.saturating_add(drift);
                least.saturating_add(drift).min(d)
            }
        };
        if least < self.fell.0.saturating_sub(FALL_NS) {
            self.fell = (least, ts_recv);
        }
        self.least = Some(least);
        let trusted = ts_recv.since(self.fell.1) >= SETTLE;
        trusted.then(|| Duration::from_nanos(u64::try_from(d.saturating_sub(least)).unwrap_or(0)))
    }
}

/// One connection's readings of the venue's clock.
#[derive(Debug, Default)]
struct Reading {
    clock: VenueClock,
    /// Receive time of the newest one.
    at: Ts,
    /// What it said; forgotten once the sockets were empty.
    late: Option<Duration>,
}

/// Measures one line's lag, turn by turn.
#[derive(Debug)]
pub(super) struct LagMeter {
    /// When the sockets were last seen empty.
    empty_at: Ts,
    full: bool,
    starved: Duration,
    /// By connection.
    readings: Vec<Reading>,
}

impl LagMeter {
    pub fn new(connections: usize, now: Ts) -> Self {
        let readings = std::iter::repeat_with(Reading::default).take(connections).collect();
        Self { empty_at: now, full: false, starved: Duration::ZERO, readings }
    }

    /// We were woken this much later than we asked to be.
    #[inline]
    pub fn woken(&mut self, late: Duration) {
        self.starved = late;
    }

    /// A burst was read: the sockets are empty now, or there may be more.
    #[inline]
    pub fn burst(&mut self, full: bool, now: Ts) {
        self.full = full;
        if !full {
            self.empty_at = now;
            for reading in &mut self.readings {
                reading.late = None;
            }
        }
    }

    /// The newest venue time of a connection and when it was read. After [`LagMeter::burst`].
    #[inline]
    pub fn heard(&mut self, conn: usize, event: Ts, recv: Ts) {
        if let Some(reading) = self.readings.get_mut(conn)
            && recv > reading.at
        {
            reading.at = recv;
            reading.late = reading.clock.late(event, recv);
        }
    }

    /// Our clock was set: readings from before are of another clock.
    pub fn clock_set(&mut self, now: Ts) {
        self.readings.iter_mut().for_each(|r| *r = Reading::default());
        self.empty_at = now;
    }

    /// How far behind the line is, as far as its own doing goes. The slowest of its connections counts.
    pub fn lag(&self, now: Ts) -> Duration {
        let undrained = if self.full { now.since(self.empty_at) } else { Duration::ZERO };
        let ours = undrained.max(self.starved);
        self.readings.iter().filter_map(|r| r.late).max().map_or(ours, |late| ours.min(late))
    }
}

/// Decides at which level a line runs.
#[derive(Debug)]
pub(super) struct LoadControl {
    limits: LagLimits,
    level: ShedLevel,
    /// When this stretch of being judged began, and the worst lag in it.
    since: Ts,
    worst: Duration,
    calm_since: Option<Ts>,
    /// When it last came down from shedding.
    eased_at: Option<Ts>,
    /// Factor on the calm that is asked for.
    patience: u32,
}

impl LoadControl {
    pub fn new(limits: LagLimits) -> Self {
        Self {
            limits,
            level: ShedLevel::Normal,
            since: Ts::ZERO,
            worst: Duration::ZERO,
            calm_since: None,
            eased_at: None,
            patience: 1,
        }
    }

    pub fn level(&self) -> ShedLevel {
        self.level
    }

    /// When to look again though nothing happens.
    pub fn next_look(&self, now: Ts) -> Ts {
        if self.level == ShedLevel::Normal { Ts::MAX } else { now + LOOK_EVERY }
    }

    fn calm(&self) -> Duration {
        match self.level {
            ShedLevel::Normal | ShedLevel::Lagging => self.limits.shed_after,
            _ => self.limits.shed_after * 2 * self.patience,
        }
    }

    /// Takes a measurement; says the new level when it changes. `saves` tells whether a level sheds anything on this line.
    pub fn judge(&mut self, lag: Duration, now: Ts, saves: impl Fn(ShedLevel) -> bool) -> Option<ShedLevel> {
        if lag >= self.limits.lag_max {
            self.calm_since = None;
            return self.too_late(lag, now, saves);
        }
        if self.level == ShedLevel::Normal {
            if self.eased_at.is_some_and(|at| now.since(at) > self.limits.shed_after * 2 * PATIENCE_MAX) {
                (self.eased_at, self.patience) = (None, 1);
            }
            return None;
        }
        if lag >= self.limits.lag_max / 2 {
            // Neither late nor calm: stay, and judge anew from here.
            (self.calm_since, self.since, self.worst) = (None, now, lag);
            return None;
        }
        let calm_since = *self.calm_since.get_or_insert(now);
        if now.since(calm_since) < self.calm() {
            return None;
        }
        let mut down = self.level.down();
        while down >= ShedLevel::Ticker && !saves(down) {
            down = down.down();
        }
        if self.level >= ShedLevel::Ticker {
            self.eased_at = Some(now);
        }
        self.calm_since = Some(now);
        self.change(down, lag, now)
    }

    fn too_late(&mut self, lag: Duration, now: Ts, saves: impl Fn(ShedLevel) -> bool) -> Option<ShedLevel> {
        if self.level == ShedLevel::Normal {
            return self.change(ShedLevel::Lagging, lag, now);
        }
        self.worst = self.worst.max(lag);
        if now.since(self.since) < self.limits.shed_after {
            return None;
        }
        let shrinks = lag < self.worst / 4 * 3;
        (self.since, self.worst) = (now, lag);
        if shrinks {
            return None;
        }
        let up = std::iter::successors(self.level.up(), |l| l.up()).find(|l| saves(*l))?;
        // It came down lately, and that was too early.
        let lately = self.limits.shed_after * 4 * self.patience.max(4);
        if self.eased_at.take().is_some_and(|at| now.since(at) < lately) {
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        }
        self.change(up, lag, now)
    }

    fn change(&mut self, to: ShedLevel, lag: Duration, now: Ts) -> Option<ShedLevel> {
        (self.level, self.since, self.worst) = (to, now, lag);
        Some(to)
    }
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
