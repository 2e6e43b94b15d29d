//! Reading the plain parts of JSON eight bytes at a time: names, whole numbers, decimals in quotes.
//!
//! Every function either reads exactly what the typed decoder would, or declines with `None`; none judges a frame. The
//! arithmetic is the known "SIMD within a register" one: a `u64` holds eight ASCII bytes, little-endian, and carries
//! of its tests only reach bytes behind the first hit, so the lowest hit is always right.

use wholetape_model::Decimal;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const POW10: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Where we are in a frame.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub b: &'a [u8],
    pub i: usize,
}

impl<'a> Cursor<'a> {
    /// The next eight bytes; zeros (which are neither digit, quote nor plain) behind the end.
    #[inline(always)]
    pub(crate) fn word(&self, ahead: usize) -> u64 {
        let at = self.i + ahead;
        match self.b.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            Some(w) => u64::from_le_bytes(*w),
            None => tail(self.b, at),
        }
    }

    /// The next byte; 0 behind the end.
    #[inline(always)]
    pub(crate) fn byte(&self) -> u8 {
        self.b.get(self.i).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn eat(&mut self, text: &[u8]) -> Option<()> {
        if self.b.get(self.i..)?.starts_with(text) {
            self.i += text.len();
            Some(())
        } else {
            None
        }
    }

    /// The rest of a string whose opening quote is behind us: printable ASCII without escapes, up to its quote.
    #[inline(always)]
    pub(crate) fn plain(&mut self) -> Option<&'a str> {
        let start = self.i;
        loop {
            let w = self.word(0);
            let quote = w ^ (ONES * b'"' as u64);
            let slash = w ^ (ONES * b'\\' as u64);
            // Equal to the quote, to the backslash, below 0x20, or above 0x7f.
            let stop = (quote.wrapping_sub(ONES) & !quote)
                | (slash.wrapping_sub(ONES) & !slash)
                | (w.wrapping_sub(ONES * 0x20) & !w)
                | w;
            let stop = stop & HIGHS;
            if stop == 0 {
                self.i += 8;
                continue;
            }
            self.i += stop.trailing_zeros() as usize / 8;
            if self.byte() != b'"' {
                return None;
            }
            let text = self.b.get(start..self.i)?;
            self.i += 1;
            return std::str::from_utf8(text).ok();
        }
    }

    /// A whole number without sign or leading zero, of at most 16 digits.
    #[inline(always)]
    pub(crate) fn uint(&mut self) -> Option<u64> {
        let first = self.byte();
        let (value, digits) = self.digits()?;
        if first == b'0' && digits > 1 {
            return None;
        }
        Some(value)
    }

    /// The rest of a quoted decimal (its opening quote is behind us): `61733.10"`. No sign, no exponent, digits on both
    /// sides of a point, 18 digits at most (from sixteen characters on: 16 before and 8 behind the point).
    ///
    /// Where the next number begins depends only on where this one's quote is, not on its value: the processor finds the
    /// way through a book ahead of the arithmetic. That is why the quote is looked for first, in one window of 16 bytes.
    #[inline(always)]
    pub(crate) fn decimal(&mut self) -> Option<Decimal> {
        let w0 = self.word(0);
        let quote = find(w0, b'"');
        if quote != 0 {
            let len = quote.trailing_zeros() as usize / 8;
            self.i += len + 1;
            return short(w0, len);
        }
        let w1 = self.word(8);
        let quote = find(w1, b'"');
        if quote != 0 {
            let len = 8 + quote.trailing_zeros() as usize / 8;
            let start = self.i;
            self.i += len + 1;
            let dot = find(w0, b'.').trailing_zeros() as usize / 8;
            let places = len.wrapping_sub(dot + 1);
            if (1..8).contains(&dot) && (1..=8).contains(&places) {
                // `61733.10000000`: one word before the point, one behind it.
                let int = digits_of(w0) << (64 - 8 * dot);
                let frac = digits_of(Cursor { b: self.b, i: start }.word(dot + 1)) << ((64 - 8 * places) & 63);
                let raw = eight(int) * POW10[places & 15] + eight(frac);
                let whole = not_digits(int) | not_digits(frac) == 0;
                return whole.then_some(Decimal { raw: raw as i64, scale: places as u8 });
            }
            return medium(w0, w1, len);
        }
        self.long()
    }

    /// A bare decimal, `61733.10` or `7`, up to what stands behind it. No sign, no exponent, no leading zero; at most 16 digits on
    /// either side of the point and 18 together.
    #[inline(always)]
    pub(crate) fn bare(&mut self) -> Option<Decimal> {
        let first = self.byte();
        let (int, int_digits) = self.digits()?;
        if first == b'0' && int_digits > 1 {
            return None;
        }
        let (mut raw, mut scale) = (int, 0);
        if self.byte() == b'.' {
            self.i += 1;
            let (frac, places) = self.digits()?;
            if int_digits + places > 18 {
                return None;
            }
            raw = int * POW10[places.min(8)] * POW10[places.saturating_sub(8)] + frac;
            scale = places as u8;
        }
        matches!(self.byte(), b',' | b'}' | b']').then_some(Decimal { raw: raw as i64, scale })
    }

    /// Sixteen characters and more.
    #[cold]
    fn long(&mut self) -> Option<Decimal> {
        let (int, int_digits) = self.digits()?;
        match self.byte() {
            b'"' => {
                self.i += 1;
                Some(Decimal { raw: int as i64, scale: 0 })
            }
            b'.' => {
                self.i += 1;
                let (d, n) = leading(self.word(0));
                if n == 0 || int_digits + n > 18 {
                    return None;
                }
                self.i += n;
                let frac = value(d, n);
                if self.byte() != b'"' {
                    return None;
                }
                self.i += 1;
                Some(Decimal { raw: (int * POW10[n & 15] + frac) as i64, scale: n as u8 })
            }
            _ => None,
        }
    }

    /// One to sixteen digits, and how many.
    #[inline(always)]
    fn digits(&mut self) -> Option<(u64, usize)> {
        let (d, n) = leading(self.word(0));
        if n == 0 {
            return None;
        }
        self.i += n;
        let high = value(d, n);
        if n < 8 {
            return Some((high, n));
        }
        let (d, n) = leading(self.word(0));
        if n == 0 {
            return Some((high, 8));
        }
        self.i += n;
        let low = value(d, n);
        // A seventeenth digit is left to the typed decoder.
        if n == 8 && self.byte().is_ascii_digit() {
            return None;
        }
        Some((high * POW10[n & 15] + low, 8 + n))
    }
}

#[cold]
fn tail(b: &[u8], at: usize) -> u64 {
    let mut w = [0; 8];
    let rest = b.get(at..).unwrap_or(&[]);
    let n = rest.len().min(8);
    w[..n].copy_from_slice(&rest[..n]);
    u64::from_le_bytes(w)
}

/// High bits at the bytes that equal `byte`; the lowest is right.
#[inline(always)]
fn find(w: u64, byte: u8) -> u64 {
    let x = w ^ (ONES * u64::from(byte));
    x.wrapping_sub(ONES) & !x & HIGHS
}

/// A decimal of up to 7 characters, all in `w`.
#[inline(always)]
fn short(w: u64, len: usize) -> Option<Decimal> {
    let dot = find(w, b'.').trailing_zeros() as usize / 8;
    let (digits, n, scale) = if dot < len {
        let before = (1_u64 << (8 * dot)) - 1;
        ((w & before) | (w >> 8 & !before), len - 1, len - 1 - dot)
    } else {
        (w, len, 0)
    };
    if n == 0 || (dot < len && (dot == 0 || scale == 0)) {
        return None;
    }
    let d = digits_of(digits) << ((64 - 8 * n) & 63);
    if not_digits(d) != 0 {
        return None;
    }
    Some(Decimal { raw: eight(d) as i64, scale: scale as u8 })
}

/// A decimal of 8 to 15 characters, wherever its point is.
#[inline(never)]
fn medium(w0: u64, w1: u64, len: usize) -> Option<Decimal> {
    let w = u128::from(w0) | u128::from(w1) << 64;
    let dot = match find(w0, b'.') {
        0 => 8 + find(w1, b'.').trailing_zeros() as usize / 8,
        found => found.trailing_zeros() as usize / 8,
    };
    let (digits, n, scale) = if dot < len {
        let before = (1_u128 << (8 * dot)) - 1;
        ((w & before) | (w >> 8 & !before), len - 1, len - 1 - dot)
    } else {
        (w, len, 0)
    };
    if dot < len && (dot == 0 || scale == 0) {
        return None;
    }
    let zeros = u128::from(ONES * u64::from(b'0')) | u128::from(ONES * u64::from(b'0')) << 64;
    let d = (digits ^ zeros) << (128 - 8 * n);
    let (high, low) = (d as u64, (d >> 64) as u64);
    if not_digits(high) | not_digits(low) != 0 {
        return None;
    }
    Some(Decimal { raw: (eight(high) * 100_000_000 + eight(low)) as i64, scale: scale as u8 })
}

/// ASCII digits turned to 0..=9; other bytes to something larger.
#[inline(always)]
fn digits_of(w: u64) -> u64 {
    w ^ (ONES * u64::from(b'0'))
}

/// High bits where a byte is no digit (of 0..=9); the lowest is right, and none means that all are.
#[inline(always)]
fn not_digits(d: u64) -> u64 {
    (d.wrapping_add(ONES * 0x76) | d) & HIGHS
}

/// The word with ASCII digits turned to 0..=9, and how many digits it starts with.
#[inline(always)]
fn leading(w: u64) -> (u64, usize) {
    let d = digits_of(w);
    (d, not_digits(d).trailing_zeros() as usize / 8)
}

/// The value of the first `n` digits (1..=8).
#[inline(always)]
fn value(d: u64, n: usize) -> u64 {
    // Missing digits become leading zeros.
    eight(d << ((64 - 8 * n) & 63))
}

/// The value of eight digits, the first in the lowest byte.
#[inline(always)]
fn eight(d: u64) -> u64 {
    let d = (d & 0x0F0F_0F0F_0F0F_0F0F).wrapping_mul(2561) >> 8;
    let d = (d & 0x00FF_00FF_00FF_00FF).wrapping_mul(6_553_601) >> 16;
    (d & 0x0000_FFFF_0000_FFFF).wrapping_mul(42_949_672_960_001) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Option<Decimal> {
        let mut c = Cursor { b: text.as_bytes(), i: 0 };
        let d = c.decimal()?;
        assert_eq!(c.i, text.find('"').unwrap() + 1);
        Some(d)
    }

    #[test]
    fn reads_what_venues_print() {
        assert_eq!(decimal("61733.10\","), Some(Decimal::new(6_173_310, 2)));
        assert_eq!(decimal("0.00000000\""), Some(Decimal::new(0, 8)));
        assert_eq!(decimal("7\""), Some(Decimal::new(7, 0)));
        assert_eq!(decimal("0.07251\",1.5"), Some(Decimal::new(7_251, 5)));
        assert_eq!(decimal("61733.10000000\""), Some(Decimal::new(6_173_310_000_000, 8)));
        assert_eq!(decimal("1.123456789\""), Some(Decimal::new(1_123_456_789, 9)));
        assert_eq!(decimal("12345678\""), Some(Decimal::new(12_345_678, 0)));
        assert_eq!(decimal("1234567890123456.25\""), Some(Decimal::new(123_456_789_012_345_625, 2)));
        for declined in [
            "\"",
            ".5\"",
            "1.\"",
            "-1\"",
            "1e3\"",
            "1..2\"",
            "1.2.3\"",
            "1234.5678.9\"",
            "123456789.\"",
            ".123456789\"",
            "12345678901234567\"",
            "1",
            "1.5",
            "+1\"",
        ] {
            assert_eq!(decimal(declined), None, "{declined}");
        }
        assert_eq!(decimal("1234567890123456.125\""), None);
    }

    #[test]
    fn bare_numbers_keep_their_zeros() {
        let bare = |text: &'static str| Cursor { b: text.as_bytes(), i: 0 }.bare();
        assert_eq!(bare("0.10000000}"), Some(Decimal::new(10_000_000, 8)));
        assert_eq!(bare("45283.5,"), Some(Decimal::new(452_835, 1)));
        assert_eq!(bare("7]"), Some(Decimal::new(7, 0)));
        assert_eq!(bare("0.0000000000001,"), Some(Decimal::new(1, 13)));
        assert_eq!(bare("30927.68066226,"), Some(Decimal::new(3_092_768_066_226, 8)));
        for declined in
            ["00,", "01.5,", "-1,", "1e3,", "1.5e3,", ".5,", "1.,", "1", "1.5", "\"1\"", "1234567890123.123456,"]
        {
            assert_eq!(bare(declined), None, "{declined}");
        }
    }

    #[test]
    fn strings_are_plain_or_declined() {
        let plain = |text: &'static [u8]| Cursor { b: text, i: 0 }.plain();
        assert_eq!(plain(b"btcusdt@depth@100ms\",\"data\""), Some("btcusdt@depth@100ms"));
        assert_eq!(plain(b"\""), Some(""));
        assert_eq!(plain(b"BTC\\u0055SDT\""), None);
        assert_eq!(plain("币\"".as_bytes()), None);
        assert_eq!(plain(b"a\nb\""), None);
        assert_eq!(plain(b"no end"), None);
    }

    proptest! {
        #[test]
        fn equals_the_exact_parser_or_declines(text in "[0-9]{0,19}(\\.[0-9]{0,10})?") {
            let quoted = format!("{text}\"");
            if let Some(d) = decimal(&quoted) {
                prop_assert_eq!(Ok(d), Decimal::parse(text.as_bytes()));
            }
        }

        #[test]
        fn bare_numbers_equal_the_exact_parser_or_decline(text in "(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?", behind in "[,}\\]eE .]") {
            let mut c = Cursor { b: &[text.as_bytes(), behind.as_bytes()].concat(), i: 0 };
            if let Some(d) = c.bare() {
                prop_assert_eq!(Ok(d), Decimal::parse(text.as_bytes()));
                prop_assert_eq!((c.i, ",}]".contains(&behind)), (text.len(), true));
            }
        }

        #[test]
        fn whole_numbers_equal_the_standard_parser(n in 0_u64..=9_999_999_999_999_999, behind in "[,}x.]?") {
            let text = format!("{n}{behind}");
            let mut c = Cursor { b: text.as_bytes(), i: 0 };
            prop_assert_eq!(c.uint(), Some(n));
            prop_assert_eq!(c.i, n.to_string().len());
        }

        #[test]
        fn any_bytes_are_read_or_declined(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0_usize..50) {
            let c = Cursor { b: &bytes, i: at };
            let _ = ({ c }.plain(), { c }.uint(), { c }.decimal(), { c }.bare());
        }
    }
}
