//! `CircuitBreaker`: after some failures in a row a host is left alone for a while, then one request is let through to see.
//!
//! Pure, time is an argument. What counts as a failure is the caller's: transport errors, timeouts and 5xx do; a 429 does
//! not, that is the budget's business, and a 4xx means that the host works.

use std::time::Duration;

use wholetape_model::Ts;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerShape {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open.
    pub open_for: Duration,
    /// A probe that never reports back is forgotten after this long.
    pub probe_for: Duration,
}

impl Default for BreakerShape {
    fn default() -> Self {
        Self { failures_max: 5, open_for: Duration::from_secs(10), probe_for: Duration::from_secs(30) }
    }
}

/// Each state holds only what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed {
        failures: u32,
    },
    Open {
        until: Ts,
    },
    /// One request is on its way; `since` bounds the wait for it.
    HalfOpen {
        since: Ts,
    },
}

#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    shape: BreakerShape,
    state: BreakerState,
    opened: u64,
}

impl CircuitBreaker {
    #[must_use]
    pub const fn new(shape: BreakerShape) -> Self {
        Self { shape, state: BreakerState::Closed { failures: 0 }, opened: 0 }
    }

    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, BreakerState::Open { .. })
    }

    /// How often it opened.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// Would a request be let through now? Takes nothing.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn peek(&self, now: Ts) -> Result<(), Duration> {
        self.clone().allow(now)
    }

    /// May a request go? Whoever gets a yes reports back.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn allow(&mut self, now: Ts) -> Result<(), Duration> {
        match self.state {
            BreakerState::Closed { .. } => Ok(()),
            BreakerState::Open { until } if now < until => Err(until.since(now)),
            BreakerState::Open { .. } => {
                self.state = BreakerState::HalfOpen { since: now };
                Ok(())
            }
            BreakerState::HalfOpen { since } if now.since(since) < self.shape.probe_for => {
                Err(self.shape.probe_for - now.since(since))
            }
            BreakerState::HalfOpen { .. } => {
                self.state = BreakerState::HalfOpen { since: now };
                Ok(())
            }
        }
    }

    /// Returns whether this closed it.
    pub fn on_success(&mut self) -> bool {
        let was = self.state;
        // An answer that was under way when it opened proves nothing about now.
        if !matches!(was, BreakerState::Open { .. }) {
            self.state = BreakerState::Closed { failures: 0 };
        }
        matches!(was, BreakerState::HalfOpen { .. })
    }

    /// Returns whether this opened it.
    pub fn on_failure(&mut self, now: Ts) -> bool {
        match &mut self.state {
            BreakerState::Closed { failures } if *failures + 1 < self.shape.failures_max => {
                *failures += 1;
                false
            }
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => {
                self.state = BreakerState::Open { until: now + self.shape.open_for };
                self.opened += 1;
                true
            }
            BreakerState::Open { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn shape() -> BreakerShape {
        BreakerShape { failures_max: 3, open_for: S * 10, probe_for: S * 5 }
    }

    #[test]
    fn opens_probes_and_closes() {
        let mut b = CircuitBreaker::new(shape());
        let t = Ts(1);
        assert!(!b.on_failure(t));
        b.on_success();
        assert!(!b.on_failure(t));
        assert!(!b.on_failure(t));
        assert!(b.on_failure(t), "the third in a row");
        assert_eq!(b.allow(t + S * 4), Err(S * 6));
        assert_eq!(b.allow(t + S * 10), Ok(()));
        assert_eq!(b.allow(t + S * 11), Err(S * 4), "one probe at a time");
        assert!(b.on_failure(t + S * 12), "a failed probe opens it again");
        assert!(b.allow(t + S * 13).is_err());
        assert_eq!(b.allow(t + S * 22), Ok(()));
        assert!(b.on_success());
        assert_eq!(b.state(), BreakerState::Closed { failures: 0 });
        assert_eq!(b.opened(), 2);
    }

    #[test]
    fn a_lost_probe_does_not_lock_it() {
        let mut b = CircuitBreaker::new(shape());
        for _ in 0..3 {
            b.on_failure(Ts(0));
        }
        assert_eq!(b.allow(Ts(0) + S * 10), Ok(()));
        assert_eq!(b.allow(Ts(0) + S * 15), Ok(()), "the first probe never came back");
    }

    #[test]
    fn an_old_answer_does_not_close_it() {
        let mut b = CircuitBreaker::new(shape());
        for _ in 0..3 {
            b.on_failure(Ts(0));
        }
        assert!(!b.on_success());
        assert!(b.is_open());
    }
}
