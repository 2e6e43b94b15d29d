//! Sizes that cannot be: negative, nothing traded, or more than exists.

use wholetape_model::Decimal;

use crate::finding::Failure;

#[derive(Debug, Clone, Copy)]
pub struct SizeRange {
    max: Decimal,
}

impl SizeRange {
    #[must_use]
    pub const fn new(max: Decimal) -> Self {
        Self { max }
    }

    /// A displayed size: 0 is an empty side.
    #[must_use]
    pub fn displayed(&self, size: Decimal) -> Option<Failure> {
        if size.raw < 0 {
            return Some(Failure { observed: size, bound: Decimal::ZERO, why: "size is negative" });
        }
        size.cmp_value(self.max).is_gt().then_some(Failure { observed: size, bound: self.max, why: "size is absurd" })
    }

    /// A traded size: 0 is no trade.
    #[must_use]
    pub fn traded(&self, size: Decimal) -> Option<Failure> {
        if size.raw == 0 {
            return Some(Failure { observed: size, bound: Decimal::ZERO, why: "nothing was traded" });
        }
        self.displayed(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANGE: SizeRange = SizeRange::new(Decimal::new(1_000, 0));

    #[test]
    fn sizes_up_to_the_bound_pass() {
        for (raw, scale) in [(1, 18), (1_000, 0), (1_000_000, 3), (27, 0)] {
            assert_eq!(RANGE.traded(Decimal::new(raw, scale)), None);
        }
        assert_eq!(RANGE.displayed(Decimal::ZERO), None);
    }

    #[test]
    fn impossible_sizes_fail() {
        for (raw, scale) in [(0, 0), (0, 8), (-1, 3), (1_001, 0), (10_001, 1), (i64::MAX, 0)] {
            assert!(RANGE.traded(Decimal::new(raw, scale)).is_some(), "{raw} {scale}");
        }
    }

    proptest! {
        #[test]
        fn what_may_be_traded_may_be_displayed(raw in any::<i64>(), scale in 0_u8..=18) {
            let size = Decimal::new(raw, scale);
            prop_assert!(RANGE.traded(size).is_some() || RANGE.displayed(size).is_none());
            prop_assert_eq!(RANGE.displayed(size).is_some(), raw < 0 || size.to_f64_lossy() > 1_000.0);
        }
    }
}
