//! What a check reports, and how reports are folded.

use std::time::Duration;

use wholetape_model::{Check, Decimal, Finding, Ts};

/// One failed check, before folding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub observed: Decimal,
    pub bound: Decimal,
    pub why: &'static str,
}

/// Nanoseconds as a decimal number of seconds.
pub(crate) const fn seconds(ns: i64) -> Decimal {
    Decimal::new(ns, 9)
}

pub(crate) fn seconds_of(d: Duration) -> Decimal {
    seconds(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// As many as one event or timer can cause: one for each check, and no allocation.
pub const FINDINGS_MAX: usize = Check::ALL.len();

/// The findings of one event, in the order in which the checks ran. Kept by the caller and cleared for each event, so that an
/// event without findings costs nothing here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Findings {
    items: [Option<Finding<&'static str>>; FINDINGS_MAX],
    len: usize,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Option<Finding<&'static str>>) {
        if let (Some(_), Some(slot)) = (finding, self.items.get_mut(self.len)) {
            *slot = finding;
            self.len += 1;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finding<&'static str>> {
        self.items[..self.len].iter().flatten()
    }

    pub const fn clear(&mut self) {
        self.len = 0;
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Lets the first failure of a check through at once and then one per interval, with the count of all since the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold {
    check: Check,
    every: Duration,
    last: Option<Ts>,
    held: Option<Failure>,
    count: u64,
}

impl Fold {
    pub const fn new(check: Check, every: Duration) -> Self {
        Self { check, every, last: None, held: None, count: 0 }
    }

    /// A check failed at `now`.
    pub fn on_failure(&mut self, now: Ts, failure: Failure) -> Option<Finding<&'static str>> {
        self.held = Some(failure);
        self.count += 1;
        self.on_timer(now)
    }

    /// What was held back long enough.
    pub fn on_timer(&mut self, now: Ts) -> Option<Finding<&'static str>> {
        let failure = self.held?;
        // A clock that went backwards must not silence a check.
        let waits = self.last.is_some_and(|last| now >= last && now.since(last) < self.every);
        if waits {
            return None;
        }
        self.last = Some(now);
        self.held = None;
        let count = std::mem::take(&mut self.count);
        let Failure { observed, bound, why } = failure;
        Some(Finding { check: self.check, observed, bound, count, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAILURE: Failure = Failure { observed: Decimal::ZERO, bound: Decimal::ZERO, why: "test" };

    #[test]
    fn the_first_at_once_then_counts() {
        let mut fold = Fold::new(Check::Crossed, Duration::from_secs(10));
        let at = |s: i64| Ts::from_millis(s * 1_000);
        let count = |f: Option<Finding<_>>| f.map(|f| f.count);
        assert_eq!(count(fold.on_failure(at(1), FAILURE)), Some(1));
        assert_eq!(count(fold.on_failure(at(2), FAILURE)), None);
        assert_eq!(count(fold.on_failure(at(3), FAILURE)), None);
        assert_eq!(count(fold.on_timer(at(10))), None);
        assert_eq!(count(fold.on_timer(at(11))), Some(2));
        assert_eq!(count(fold.on_timer(at(30))), None);
        assert_eq!(count(fold.on_failure(at(31), FAILURE)), Some(1));
    }

    proptest! {
        /// No failure is lost and none is told twice.
        #[test]
        fn counts_add_up(times in proptest::collection::vec(0_i64..100_000, 1..200)) {
            let mut fold = Fold::new(Check::Spread, Duration::from_secs(10));
            let mut told = 0;
            for t in &times {
                told += fold.on_failure(Ts::from_millis(*t), FAILURE).map_or(0, |f| f.count);
            }
            told += fold.on_timer(Ts::from_millis(200_000)).map_or(0, |f| f.count);
            prop_assert_eq!(told, times.len() as u64);
        }
    }
}
