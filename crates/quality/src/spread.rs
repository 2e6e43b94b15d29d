//! An absurdly wide market. A crossed one is [`crate::crossed`]'s.

use wholetape_model::Decimal;

use crate::bps;
use crate::finding::Failure;

/// `bps_max`: of the best bid. Both sides must be there.
#[must_use]
pub fn check(bid: Decimal, ask: Decimal, bps_max: u32) -> Option<Failure> {
    let wide = bps::above(ask, bid)?;
    (wide > i64::from(bps_max)).then_some(Failure {
        observed: Decimal::new(wide, 0),
        bound: Decimal::new(i64::from(bps_max), 0),
        why: "spread in basis points is absurd",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failing(stream: &[(i64, i64)]) -> usize {
        stream.iter().filter(|(b, a)| check(Decimal::new(*b, 2), Decimal::new(*a, 2), 2_000).is_some()).count()
    }

    #[test]
    fn a_market_passes_and_so_does_a_crossed_one() {
        assert_eq!(failing(&[(100, 101), (100, 119), (100, 120), (120, 100)]), 0);
    }

    #[test]
    fn wide_fails() {
        assert_eq!(failing(&[(100, 121), (1, 100), (1, i64::MAX)]), 3);
    }

    proptest! {
        /// What is too wide stays so when the ask moves further away.
        #[test]
        fn wider_is_worse(bid in 1_i64..1_000_000, ask in 1_i64..10_000_000, more in 0_i64..1_000_000) {
            let d = |raw| Decimal::new(raw, 3);
            prop_assert!(check(d(bid), d(ask), 2_000).is_none() || check(d(bid), d(ask + more), 2_000).is_some());
        }
    }
}
