//! Relative distances in basis points, exactly, whatever the decimal scales.

use wholetape_model::Decimal;

/// Both at one scale. A number too large for that saturates, which every caller treats as far away.
fn aligned(a: Decimal, b: Decimal) -> (i128, i128) {
    let widen = |d: Decimal, to: u8| {
        let by = 10_i128.saturating_pow(u32::from(to.saturating_sub(d.scale)));
        i128::from(d.raw).saturating_mul(by)
    };
    if a.scale == b.scale {
        return (i128::from(a.raw), i128::from(b.raw));
    }
    let to = a.scale.max(b.scale);
    (widen(a, to), widen(b, to))
}

/// `(high − low) / |low|` in basis points, rounded down; `None` when `low` is 0. Negative when `high < low`.
pub fn above(high: Decimal, low: Decimal) -> Option<i64> {
    let (high, low) = aligned(high, low);
    let bps = high.saturating_sub(low).saturating_mul(10_000).checked_div(low.saturating_abs())?;
    Some(i64::try_from(bps).unwrap_or(if bps < 0 { i64::MIN } else { i64::MAX }))
}

/// Distance of `price` from `reference` in basis points of the reference.
pub fn apart(price: Decimal, reference: Decimal) -> Option<u64> {
    above(price, reference).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(high: (i64, u8), low: (i64, u8), bps: Option<i64>) {
        assert_eq!(above(Decimal::new(high.0, high.1), Decimal::new(low.0, low.1)), bps);
    }

    #[test]
    fn is_exact_across_scales() {
        check((101, 0), (100, 0), Some(100));
        check((1_010, 1), (10_000_000, 5), Some(100));
        check((99, 0), (100, 0), Some(-100));
        check((1, 0), (0, 0), None);
        check((i64::MAX, 0), (1, 18), Some(i64::MAX));
        check((i64::MIN, 0), (1, 18), Some(i64::MIN));
    }
}
