//! Exact decimals: an `i64` mantissa and a decimal scale, as the venue printed it.
//!
//! Nothing here rounds. What does not fit is a typed error, which becomes an error event and never a wrong number.

use std::cmp::Ordering;
use std::fmt;

/// The largest scale kept: 10^18 is the largest power of ten in an `i64`.
pub const SCALE_MAX: u8 = 18;

pub(crate) const POW10: [i64; 19] = {
    let mut t = [1_i64; 19];
    let mut i = 1;
    while i < 19 {
        t[i] = t[i - 1] * 10;
        i += 1;
    }
    t
};

/// `raw × 10^-scale`. Equality and hashing are of the *printed form* (`1.0` is not `1.00`); use [`Decimal::cmp_value`]
/// or [`Decimal::canonical`] to compare values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    pub raw: i64,
    pub scale: u8,
}

/// Why a text is not a decimal that we can keep exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("empty number")]
    Empty,
    #[error("unexpected byte {byte:#04x} at {at} in a number")]
    Malformed { at: usize, byte: u8 },
    #[error("number does not fit 64 bits exactly")]
    Overflow,
    #[error("number has more than {SCALE_MAX} decimal places")]
    TooPrecise,
}

impl Decimal {
    pub const ZERO: Self = Self { raw: 0, scale: 0 };

    #[inline]
    #[must_use]
    pub const fn new(raw: i64, scale: u8) -> Self {
        Self { raw, scale }
    }

    /// Reads `-12.340` and, for the venues that print it, `1.2e-7`.
    ///
    /// A mantissa that overflows only through trailing zeros of the fraction is kept with those zeros removed:
    /// the value stays exact.
    ///
    /// # Errors
    /// Every [`DecimalError`].
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, digits) = match text.first() {
            None => return Err(DecimalError::Empty),
            Some(b'-') => (true, &text[1..]),
            Some(_) => (false, text),
        };
        let offset = usize::from(negative);
        let mut raw: i128 = 0;
        let mut scale: i32 = 0;
        let mut seen_point = false;
        let mut any = false;
        let mut at = 0;
        let mut exponent = 0_i32;
        while at < digits.len() {
            match digits[at] {
                d @ b'0'..=b'9' => {
                    // 10^36 is far from i128's end, and nothing that large can fit after stripping zeros.
                    if raw >= POW10[18] as i128 * POW10[18] as i128 {
                        return Err(DecimalError::Overflow);
                    }
                    raw = raw * 10 + i128::from(d - b'0');
                    scale += i32::from(seen_point);
                    any = true;
                }
                b'.' if !seen_point => seen_point = true,
                b'e' | b'E' if any => {
                    exponent = parse_exponent(&digits[at + 1..], at + 1 + offset)?;
                    break;
                }
                byte => return Err(DecimalError::Malformed { at: at + offset, byte }),
            }
            at += 1;
        }
        if !any {
            return Err(DecimalError::Empty);
        }
        scale -= exponent;
        while scale < 0 {
            raw = raw.checked_mul(10).ok_or(DecimalError::Overflow)?;
            scale += 1;
        }
        while (raw > i128::from(i64::MAX) || scale > i32::from(SCALE_MAX)) && scale > 0 && raw % 10 == 0 {
            raw /= 10;
            scale -= 1;
        }
        if scale > i32::from(SCALE_MAX) {
            return Err(DecimalError::TooPrecise);
        }
        let raw = i64::try_from(raw).map_err(|_| DecimalError::Overflow)?;
        Ok(Self { raw: if negative { -raw } else { raw }, scale: scale as u8 })
    }

    /// The same value at `scale`.
    ///
    /// # Errors
    /// `Overflow` when the mantissa grows beyond 64 bits, `TooPrecise` when digits would be lost.
    pub fn rescale(self, scale: u8) -> Result<Self, DecimalError> {
        Ok(Self { raw: rescale_raw(self.raw, self.scale, scale)?, scale })
    }

    /// The same value with the fewest decimal places.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        while self.scale > 0 && self.raw % 10 == 0 {
            self.raw /= 10;
            self.scale -= 1;
        }
        self
    }

    /// Order by value, whatever the scales.
    #[must_use]
    pub fn cmp_value(self, other: Self) -> Ordering {
        let top = self.scale.max(other.scale);
        self.widened(top).cmp(&other.widened(top))
    }

    /// The raw value at a scale that is no smaller, where nothing overflows.
    fn widened(self, to: u8) -> i128 {
        i128::from(self.raw) * i128::from(POW10[usize::from(to - self.scale).min(18)])
    }

    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.raw == 0
    }

    /// Whether the value is a whole number of steps; any value is where the step is 0.
    #[inline]
    #[must_use]
    pub fn is_multiple_of(self, step: Self) -> bool {
        if step.raw == 0 {
            return true;
        }
        // What venues print fits; what does not is compared in more bits.
        let fitting = if self.scale >= step.scale {
            rescale_raw(step.raw, step.scale, self.scale).map(|step| self.raw.wrapping_rem(step) == 0)
        } else {
            rescale_raw(self.raw, self.scale, step.scale).map(|raw| raw.wrapping_rem(step.raw) == 0)
        };
        fitting.unwrap_or_else(|_| {
            let top = self.scale.max(step.scale);
            self.widened(top) % step.widened(top) == 0
        })
    }

    /// For analytics and display only: the nearest `f64`.
    #[must_use]
    pub fn to_f64_lossy(self) -> f64 {
        self.raw as f64 / POW10[usize::from(self.scale)] as f64
    }
}

/// `raw` at scale `from`, expressed at scale `to`.
///
/// # Errors
/// As [`Decimal::rescale`].
#[inline]
pub fn rescale_raw(raw: i64, from: u8, to: u8) -> Result<i64, DecimalError> {
    match from.cmp(&to) {
        Ordering::Equal => Ok(raw),
        Ordering::Less => {
            let by = POW10.get(usize::from(to - from)).ok_or(DecimalError::TooPrecise)?;
            raw.checked_mul(*by).ok_or(DecimalError::Overflow)
        }
        Ordering::Greater => {
            let by = POW10.get(usize::from(from - to)).ok_or(DecimalError::TooPrecise)?;
            if raw % by == 0 { Ok(raw / by) } else { Err(DecimalError::TooPrecise) }
        }
    }
}

fn parse_exponent(text: &[u8], at: usize) -> Result<i32, DecimalError> {
    let (sign, digits) = match text.first() {
        None => return Err(DecimalError::Empty),
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        Some(_) => (1, text),
    };
    if digits.is_empty() {
        return Err(DecimalError::Empty);
    }
    let mut value = 0_i32;
    for (i, byte) in digits.iter().copied().enumerate() {
        if !byte.is_ascii_digit() {
            return Err(DecimalError::Malformed { at: at + i, byte });
        }
        value = value * 10 + i32::from(byte - b'0');
        if value > 64 {
            return Err(DecimalError::Overflow);
        }
    }
    Ok(sign * value)
}

/// Exactly `scale` decimal places: the venue's own text for any number in plain notation.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.raw < 0 { "-" } else { "" };
        let abs = self.raw.unsigned_abs();
        if self.scale == 0 {
            return write!(f, "{sign}{abs}");
        }
        let unit = POW10[usize::from(self.scale)].unsigned_abs();
        write!(f, "{sign}{}.{:0width$}", abs / unit, abs % unit, width = usize::from(self.scale))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, raw: i64, scale: u8) {
        assert_eq!(Decimal::parse(text.as_bytes()), Ok(Decimal { raw, scale }), "{text}");
    }

    #[test]
    fn parses_as_printed() {
        check("0", 0, 0);
        check("60000.10", 6_000_010, 2);
        check("-0.00200000", -200_000, 8);
        check("1.2e-7", 12, 8);
        check("12E2", 1_200, 0);
        check("9223372036854775807", i64::MAX, 0);
    }

    #[test]
    fn trailing_zeros_make_room_but_digits_never_go() {
        check("10000000000000.00000000", 1_000_000_000_000_000_000, 5);
        assert_eq!(Decimal::parse(b"92233720368547.75808001"), Err(DecimalError::Overflow));
        assert_eq!(Decimal::parse(b"9223372036854775808"), Err(DecimalError::Overflow));
        assert_eq!(Decimal::parse(b"0.0000000000000000001"), Err(DecimalError::TooPrecise));
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(Decimal::parse(b""), Err(DecimalError::Empty));
        assert_eq!(Decimal::parse(b"-"), Err(DecimalError::Empty));
        assert_eq!(Decimal::parse(b"."), Err(DecimalError::Empty));
        assert_eq!(Decimal::parse(b"1.2.3"), Err(DecimalError::Malformed { at: 3, byte: b'.' }));
        assert_eq!(Decimal::parse(b"-1x"), Err(DecimalError::Malformed { at: 2, byte: b'x' }));
        assert_eq!(Decimal::parse(&[b'9'; 200]), Err(DecimalError::Overflow));
    }

    #[test]
    fn steps_divide_by_value_not_by_text() {
        let divides = |value: &str, step: &str| {
            Decimal::parse(value.as_bytes()).unwrap().is_multiple_of(Decimal::parse(step.as_bytes()).unwrap())
        };
        for (value, step) in
            [("100", "0.05"), ("0.10", "0.1"), ("0", "5"), ("-0.5", "0.25"), ("7.3", "0"), ("9", "3.0000")]
        {
            assert!(divides(value, step), "{value} by {step}");
        }
        for (value, step) in [("100.01", "0.05"), ("0.15", "0.1"), ("5", "10"), ("0.000001", "0.01")] {
            assert!(!divides(value, step), "{value} by {step}");
        }
        // Beyond 64 bits at one scale.
        assert!(divides("9000000000000000000", "0.000000000000000003"));
        assert!(Decimal::new(i64::MIN, 0).is_multiple_of(Decimal::new(-1, 0)));
    }

    #[test]
    fn rescales_exactly_or_says_no() {
        assert_eq!(rescale_raw(15, 1, 3), Ok(1_500));
        assert_eq!(rescale_raw(1_500, 3, 1), Ok(15));
        assert_eq!(rescale_raw(1_501, 3, 1), Err(DecimalError::TooPrecise));
        assert_eq!(rescale_raw(i64::MAX, 0, 1), Err(DecimalError::Overflow));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(raw in any::<i64>().prop_filter("abs", |r| *r != i64::MIN), scale in 0_u8..=18) {
            let d = Decimal { raw, scale };
            prop_assert_eq!(Decimal::parse(d.to_string().as_bytes()), Ok(d));
        }

        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Decimal::parse(&bytes);
        }

        #[test]
        fn canonical_keeps_the_value(raw in any::<i64>(), scale in 0_u8..=18) {
            let d = Decimal { raw, scale };
            prop_assert_eq!(d.cmp_value(d.canonical()), Ordering::Equal);
        }
    }
}
