//! A topic that says nothing for much longer than it used to. Quiet is not broken (P7): the bound follows what this topic did
//! before, and whether the connection itself is well is judged by the line, not here.

use std::time::Duration;

use wholetape_model::Ts;

use crate::finding::{Failure, seconds_of};

/// Intervals heard before there is an opinion.
const LEARN: u32 = 16;

#[derive(Debug, Clone, Copy)]
pub struct Stale {
    factor: u32,
    floor: Duration,
    last: Option<Ts>,
    /// Smoothed interval, ns.
    interval: i64,
    heard: u32,
    told: bool,
}

impl Stale {
    #[must_use]
    pub const fn new(factor: u32, floor: Duration) -> Self {
        Self { factor, floor, last: None, interval: 0, heard: 0, told: false }
    }

    /// Something came; the topic is not stale any more.
    #[inline]
    pub fn on_event(&mut self, ts_recv: Ts) {
        if let Some(last) = self.last {
            // An exponential mean over about 32 intervals. A shift, since this runs for every event.
            let step = ts_recv.0.saturating_sub(last.0).max(0);
            self.interval = if self.heard == 0 { step } else { self.interval + ((step - self.interval) >> 5) };
            self.heard = self.heard.saturating_add(1);
        }
        self.last = Some(ts_recv);
        self.told = false;
    }

    /// The silence after which this topic is stale; `None` until enough was heard.
    #[must_use]
    pub fn bound(&self) -> Option<Duration> {
        let usual = u64::try_from(self.interval).unwrap_or(0).saturating_mul(u64::from(self.factor));
        (self.heard >= LEARN).then(|| Duration::from_nanos(usual).max(self.floor))
    }

    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.told
    }

    /// Time passed. Fails once per silence.
    pub fn on_timer(&mut self, now: Ts) -> Option<Failure> {
        let bound = self.bound()?;
        let silence = now.since(self.last?);
        if self.told || silence <= bound {
            return None;
        }
        self.told = true;
        Some(Failure {
            observed: seconds_of(silence),
            bound: seconds_of(bound),
            why: "nothing came for longer than usual",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOOR: Duration = Duration::from_secs(60);

    /// An event each `every` ms, `n` of them; then the second of silence at which it fails, watched for an hour.
    fn fails_after(every: i64, n: i64) -> Option<i64> {
        let mut stale = Stale::new(50, FLOOR);
        (0..n).for_each(|i| stale.on_event(Ts::from_millis(i * every)));
        let end = (n - 1) * every;
        let failed: Vec<_> =
            (1..=3_600).filter(|s| stale.on_timer(Ts::from_millis(end + s * 1_000)).is_some()).collect();
        assert!(failed.len() <= 1, "once per silence");
        failed.first().copied()
    }

    #[test]
    fn a_stream_that_speaks_as_usual_passes() {
        let mut stale = Stale::new(50, FLOOR);
        for i in 0..1_000 {
            stale.on_event(Ts::from_millis(i * 20_000));
            assert_eq!(stale.on_timer(Ts::from_millis(i * 20_000 + 19_000)), None);
        }
        assert_eq!(fails_after(100, 5), None, "too little was heard");
    }

    #[test]
    fn silence_fails_by_what_was_usual() {
        assert_eq!(fails_after(100, 1_000), Some(61));
        assert_eq!(fails_after(10_000, 1_000), Some(501));
    }

    #[test]
    fn speech_ends_it_and_it_can_fail_again() {
        let mut stale = Stale::new(50, FLOOR);
        (0..100).for_each(|i| stale.on_event(Ts::from_millis(i)));
        assert!(stale.on_timer(Ts::from_millis(100_000)).is_some() && stale.is_stale());
        stale.on_event(Ts::from_millis(100_001));
        assert!(!stale.is_stale());
        assert!(stale.on_timer(Ts::from_millis(1_000_000)).is_some());
    }

    proptest! {
        /// Never before the floor, whatever came.
        #[test]
        fn the_floor_holds(times in proptest::collection::vec(any::<i64>(), 1..60), later in 0_i64..60_000) {
            let mut stale = Stale::new(50, FLOOR);
            let mut last = Ts::ZERO;
            for t in times {
                last = Ts(t / 2);
                stale.on_event(last);
            }
            prop_assert_eq!(stale.on_timer(last + Duration::from_millis(later as u64)), None);
        }
    }
}
