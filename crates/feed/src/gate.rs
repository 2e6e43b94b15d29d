//! The door to a venue's sockets, shared by all lines that go there: how many attempts are left, and whether trying makes
//! sense just now. Held only for a look or a note, never across an `.await`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wholetape_model::{LinkCause, Ts};

use crate::breaker::{BreakerShape, CircuitBreaker};
use crate::budget::SlidingWindow;

#[derive(Debug, Clone)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    connects: SlidingWindow,
    breaker: CircuitBreaker,
}

impl Gate {
    /// `connects` attempts per `window` (Binance: 300 in 5 minutes and address).
    #[must_use]
    pub fn new(connects: u32, window: Duration, breaker: BreakerShape) -> Self {
        let state = State { connects: SlidingWindow::new(connects, window), breaker: CircuitBreaker::new(breaker) };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May we try? Whoever gets a yes reports back.
    ///
    /// # Errors
    /// Why not, and for how long.
    pub fn pass(&self, now: Ts) -> Result<(), (LinkCause, Duration)> {
        let mut state = self.state();
        state.breaker.peek(now).map_err(|wait| (LinkCause::Breaker, wait))?;
        state.connects.take(now, 1).map_err(|wait| (LinkCause::BudgetSpent, wait))?;
        state.breaker.allow(now).map_err(|wait| (LinkCause::Breaker, wait))
    }

    pub fn on_opened(&self) {
        self.state().breaker.on_success();
    }

    /// Returns whether this closed the door.
    pub fn on_failed(&self, now: Ts) -> bool {
        self.state().breaker.on_failure(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn says_why_not() {
        let gate = Gate::new(3, S * 300, BreakerShape { failures_max: 2, ..BreakerShape::default() });
        let now = Ts(1);
        assert_eq!(gate.pass(now), Ok(()));
        gate.on_failed(now);
        assert_eq!(gate.pass(now), Ok(()));
        assert!(gate.on_failed(now));
        assert_eq!(gate.pass(now), Err((LinkCause::Breaker, S * 10)));
        assert_eq!(gate.pass(now + S * 10), Ok(()));
        gate.on_opened();
        assert_eq!(gate.pass(now + S * 10), Err((LinkCause::BudgetSpent, S * 290)), "the refused ones cost nothing");
    }
}
