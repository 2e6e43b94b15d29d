//! Best bid at or above best ask. In the record a crossed state stays as the venue sent it; here it gets its name.

use wholetape_model::Decimal;

use crate::finding::Failure;

/// Both sides must be there.
#[must_use]
pub fn check(bid: Decimal, ask: Decimal) -> Option<Failure> {
    bid.cmp_value(ask).is_ge().then_some(Failure { observed: bid, bound: ask, why: "best bid is at or above best ask" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failing(stream: &[(i64, i64)]) -> usize {
        stream.iter().filter(|(b, a)| check(Decimal::new(*b, 2), Decimal::new(*a, 2)).is_some()).count()
    }

    #[test]
    fn a_market_passes() {
        assert_eq!(failing(&[(99, 100), (98, 100), (99, 101)]), 0);
    }

    #[test]
    fn locked_and_crossed_fail() {
        assert_eq!(failing(&[(99, 100), (100, 100), (101, 100)]), 2);
    }

    proptest! {
        /// Scales do not matter, and exactly one of {this, the swapped strict order} holds.
        #[test]
        fn is_an_order_of_values(b in 1_i64..1_000_000, a in 1_i64..1_000_000, more in 0_u8..6) {
            let bid = Decimal::new(b, 2);
            let ask = Decimal::new(a, 2);
            let finer = bid.rescale(2 + more).expect("fits");
            prop_assert_eq!(check(finer, ask).is_some(), b >= a);
            prop_assert_eq!(check(bid, ask).is_some(), check(finer, ask).is_some());
        }
    }
}
