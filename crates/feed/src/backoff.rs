//! How long to wait before the next try: 1 s doubling to 60 s, with full jitter, for ever.
//!
//! Pure: the random draw is an argument, and so is time. Full jitter (uniform between nothing and the ceiling) spreads
//! many clients best after a common outage; ±10 % is there for venues where a predictable delay matters more.
//! A connection that brought data for `stable_after` counts as mended and the delays start anew; one that dies at once does not,
//! so a venue that accepts and drops us is not hammered.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wholetape_model::Ts;

/// How the delay is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Uniform in `(0, ceiling]`.
    #[default]
    Full,
    /// The ceiling ± 10 %.
    Tenth,
}

/// The shape of a [`Backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffShape {
    pub first: Duration,
    pub max: Duration,
    pub jitter: Jitter,
    pub stable_after: Duration,
}

impl Default for BackoffShape {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            jitter: Jitter::Full,
            stable_after: Duration::from_secs(2),
        }
    }
}

/// Even a lucky draw waits this long, so that a refusal cannot become a busy loop.
const DELAY_MIN: Duration = Duration::from_millis(50);

/// The state of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    shape: BackoffShape,
    failures: u32,
    up_since: Option<Ts>,
}

impl Backoff {
    #[must_use]
    pub const fn new(shape: BackoffShape) -> Self {
        Self { shape, failures: 0, up_since: None }
    }

    /// Failures in a row so far.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// It works since `now`.
    pub fn on_up(&mut self, now: Ts) {
        self.up_since = Some(now);
    }

    /// It failed, or ended. `draw` is uniform in `[0, 1)`. Returns the delay before the next try.
    pub fn on_down(&mut self, now: Ts, draw: f64) -> Duration {
        if self.up_since.take().is_some_and(|up| now.since(up) >= self.shape.stable_after) {
            self.failures = 0;
        }
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let draw = draw.clamp(0.0, 1.0);
        let delay = match self.shape.jitter {
            Jitter::Full => ceiling.mul_f64(draw),
            Jitter::Tenth => ceiling.mul_f64(0.9 + 0.2 * draw),
        };
        delay.max(DELAY_MIN.min(ceiling))
    }

    /// The longest delay that the next failure can bring.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        let doubled = self.shape.first.saturating_mul(1_u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX));
        doubled.min(self.shape.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_the_limit_and_never_ends() {
        let mut b = Backoff::new(BackoffShape::default());
        let ceilings: Vec<u64> = (0..8)
            .map(|_| {
                let c = b.ceiling().as_secs();
                b.on_down(Ts(0), 0.5);
                c
            })
            .collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert!(b.on_down(Ts(0), 0.999) <= S * 60);
        }
    }

    #[test]
    fn only_a_stable_connection_resets_it() {
        let mut b = Backoff::new(BackoffShape::default());
        for _ in 0..5 {
            b.on_up(Ts(0));
            b.on_down(Ts(0) + S, 0.5);
        }
        assert_eq!(b.failures(), 5, "a second of data is not stable");
        b.on_up(Ts(0));
        assert!(b.on_down(Ts(0) + S * 31, 0.999) <= S);
        assert_eq!(b.failures(), 1);
    }

    proptest! {
        #[test]
        fn stays_within_its_jitter(draw in 0.0_f64..1.0, failures in 0_u32..200, tenth: bool) {
            let jitter = if tenth { Jitter::Tenth } else { Jitter::Full };
            let mut b = Backoff::new(BackoffShape { jitter, ..BackoffShape::default() });
            for _ in 0..failures {
                b.on_down(Ts(0), 0.3);
            }
            let ceiling = b.ceiling();
            let delay = b.on_down(Ts(0), draw);
            if tenth {
                prop_assert!(delay >= ceiling.mul_f64(0.899) && delay <= ceiling.mul_f64(1.1001));
            } else {
                prop_assert!(delay <= ceiling && delay >= DELAY_MIN);
            }
        }
    }
}
