//! The venue's time within one topic: it should not run backwards, and not far ahead of ours.

use std::time::Duration;

use wholetape_model::Ts;

use crate::finding::{Failure, seconds, seconds_of};

/// So many events in a row behind the newest time mean that the venue's clock was set back, or that the newest was wrong.
const SET_BACK: u32 = 16;

#[derive(Debug, Clone, Copy)]
pub struct TimeOrder {
    backwards_max: Duration,
    ahead_max: Duration,
    newest: Option<Ts>,
    behind: u32,
}

impl TimeOrder {
    #[must_use]
    pub const fn new(backwards_max: Duration, ahead_max: Duration) -> Self {
        Self { backwards_max, ahead_max, newest: None, behind: 0 }
    }

    /// An event with the venue's time `ts_event`, received at `ts_recv`. A venue that prints no time passes.
    pub fn on_event(&mut self, ts_event: Ts, ts_recv: Ts) -> Option<Failure> {
        if ts_event == Ts::ZERO {
            return None;
        }
        if ts_event.since(ts_recv) > self.ahead_max {
            let ahead = ts_event.0.saturating_sub(ts_recv.0);
            return Some(Failure {
                observed: seconds(ahead),
                bound: seconds_of(self.ahead_max),
                why: "the venue's time is ahead of ours",
            });
        }
        let Some(newest) = self.newest else {
            self.newest = Some(ts_event);
            return None;
        };
        if newest.since(ts_event) <= self.backwards_max {
            self.newest = Some(newest.max(ts_event));
            self.behind = 0;
            return None;
        }
        self.behind += 1;
        if self.behind >= SET_BACK {
            self.newest = Some(ts_event);
            self.behind = 0;
        }
        Some(Failure {
            observed: seconds(newest.0.saturating_sub(ts_event.0)),
            bound: seconds_of(self.backwards_max),
            why: "the venue's time runs backwards",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: i64 = 1_700_000_000_000;

    /// `(venue ms, our ms)` after a base; up to 1 s backwards and 5 s ahead are allowed.
    fn failures(times: &[(i64, i64)]) -> Vec<usize> {
        let mut order = TimeOrder::new(Duration::from_secs(1), Duration::from_secs(5));
        let ts = |ms| Ts::from_millis(BASE + ms);
        let failed = |(i, (event, recv)): (usize, &(i64, i64))| order.on_event(ts(*event), ts(*recv)).map(|_| i);
        times.iter().enumerate().filter_map(failed).collect()
    }

    #[test]
    fn jitter_and_a_slow_clock_of_ours_pass() {
        assert_eq!(failures(&[(0, 5), (100, 105), (50, 106), (1_600, 110), (1_601, 200)]), []);
    }

    #[test]
    fn backwards_and_far_ahead_fail_and_are_not_the_measure() {
        assert_eq!(failures(&[(0, 0), (5_000, 5_000), (1_000, 5_001), (60_000, 5_002), (5_003, 5_004)]), [2, 3]);
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_after_a_while() {
        let mut times = vec![(10_000, 10_000)];
        times.extend((0..20).map(|i| (i, 10_000 + i)));
        assert_eq!(failures(&times), (1..=16).collect::<Vec<_>>());
    }

    proptest! {
        /// A stream in order that is never ahead has no failure, whatever its pace.
        #[test]
        fn order_passes(steps in proptest::collection::vec((0_i64..100_000, 0_i64..100_000), 1..100)) {
            let mut times = Vec::new();
            let mut event = 0;
            for (step, lag) in steps {
                event += step;
                times.push((event, event + lag));
            }
            prop_assert_eq!(failures(&times), Vec::<usize>::new());
        }
    }
}
