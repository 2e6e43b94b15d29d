//! Prices of 0 and below, and prints far from the last good ones.
//!
//! The reference is the last print inside the band, so one bad print neither passes nor moves it. When the market itself has
//! moved (a restart after a halt), several prints in a row agree with each other: then they become the reference.

use std::time::Duration;

use wholetape_model::{Decimal, Ts};

use crate::bps;
use crate::finding::Failure;

/// So many prints in a row outside the band, each within the band of the one before, are the market and not an error.
const AGREE: u32 = 8;

#[derive(Debug, Clone, Copy)]
pub struct PriceRange {
    band_bps: u32,
    age_max: Duration,
    reference: Option<(Ts, Decimal)>,
    outside: Option<Decimal>,
    agreeing: u32,
}

impl PriceRange {
    #[must_use]
    pub const fn new(band_bps: u32, age_max: Duration) -> Self {
        Self { band_bps, age_max, reference: None, outside: None, agreeing: 0 }
    }

    /// A price that must be positive and has no band: a quote, a mark or index price, a print off the market.
    #[must_use]
    pub fn positive(price: Decimal) -> Option<Failure> {
        (price.raw <= 0).then_some(Failure { observed: price, bound: Decimal::ZERO, why: "price is not positive" })
    }

    /// The print is as expected, and nothing is remembered of it: for late rows.
    #[must_use]
    pub fn peek(&self, now: Ts, price: Decimal) -> Option<Failure> {
        let (at, reference) = self.reference?;
        if now.since(at) > self.age_max {
            return None;
        }
        self.outside_of(price, reference).then_some(Failure {
            observed: price,
            bound: reference,
            why: "price is outside the band round the last trades",
        })
    }

    /// A regular print at `now`.
    pub fn on_price(&mut self, now: Ts, price: Decimal) -> Option<Failure> {
        if let Some(failure) = Self::positive(price) {
            return Some(failure);
        }
        let failure = self.peek(now, price);
        if failure.is_some() {
            let agrees = self.outside.is_some_and(|last| !self.outside_of(price, last));
            self.agreeing = if agrees { self.agreeing + 1 } else { 1 };
            self.outside = Some(price);
            if self.agreeing < AGREE {
                return failure;
            }
        }
        self.reference = Some((now, price));
        self.outside = None;
        self.agreeing = 0;
        failure
    }

    fn outside_of(&self, price: Decimal, reference: Decimal) -> bool {
        bps::apart(price, reference).is_none_or(|bps| bps > u64::from(self.band_bps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Prices in whole units, one a second, band 10 %: which ones fail.
    fn check(prices: &[i64], failing: &[usize]) {
        let mut range = PriceRange::new(1_000, Duration::from_secs(60));
        let fails =
            |(i, p): (usize, &i64)| range.on_price(Ts::from_millis(1_000 * i as i64), Decimal::new(*p, 0)).map(|_| i);
        let failed: Vec<_> = prices.iter().enumerate().filter_map(fails).collect();
        assert_eq!(failed, failing, "{prices:?}");
    }

    #[test]
    fn a_market_passes() {
        check(&[100, 101, 109, 118, 110, 100], &[]);
    }

    #[test]
    fn wild_prints_fail_and_do_not_become_the_measure() {
        check(&[100, 1, 100, 1_000, 101, 0, -5, 99], &[1, 3, 5, 6]);
    }

    #[test]
    fn a_market_that_moved_is_believed_after_a_while() {
        check(&[100, 50, 51, 50, 51, 50, 51, 50, 51, 50, 50], &[1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn after_a_long_silence_any_price_is_the_first() {
        let mut range = PriceRange::new(1_000, Duration::from_secs(60));
        assert_eq!(range.on_price(Ts::from_millis(0), Decimal::new(100, 0)), None);
        assert_eq!(range.on_price(Ts::from_millis(61_000), Decimal::new(300, 0)), None);
    }

    proptest! {
        /// Whatever comes, a print equal to the last good one passes.
        #[test]
        fn the_last_good_price_stays_good(prices in proptest::collection::vec((any::<i64>(), 0_u8..=18), 1..100)) {
            let mut range = PriceRange::new(1_000, Duration::from_secs(3_600));
            for (i, (raw, scale)) in prices.into_iter().enumerate() {
                let (now, price) = (Ts::from_millis(i as i64), Decimal::new(raw, scale));
                if range.on_price(now, price).is_none() {
                    prop_assert_eq!(range.peek(now, price), None);
                }
            }
        }
    }
}
