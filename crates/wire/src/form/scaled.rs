//! Prices and sizes as integers.

use super::tokens::{Kind, Token};

/// Decimal places of a topic's integers: a price is its integer × 10^-`price`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    pub price: u8,
    pub size: u8,
}

/// Which of the two a key of `data` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Price,
    Size,
}

/// What `key` of a market message's `data` holds; `None`: neither, it stays as it is.
pub(super) fn measure(key: &[u8]) -> Option<Measure> {
    Some(match key {
        b"price" | b"bid" | b"ask" | b"last" | b"open" | b"high" | b"low" | b"close" | b"average_price" => {
            Measure::Price
        }
        b"size" | b"bid_size" | b"ask_size" | b"volume" | b"taker_volume" | b"order_size" => Measure::Size,
        _ => return None,
    })
}

/// A decimal text: its digits as an integer, and how many of them are behind the point. `None`: it is none, or has more digits than we write.
fn decimal(text: &[u8]) -> Option<(i128, u8)> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (mut value, mut places, mut point) = (0_i128, 0_u8, false);
    if digits.is_empty() || digits.len() > 30 {
        return None;
    }
    for &b in digits {
        match b {
            b'0'..=b'9' => {
                value = value * 10 + i128::from(b - b'0');
                places += u8::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    Some((if negative { -value } else { value }, places))
}

/// Places without the zeros at the end.
fn needed((mut value, mut places): (i128, u8)) -> u8 {
    while places > 0 && value % 10 == 0 {
        value /= 10;
        places -= 1;
    }
    places
}

/// The integer of `text` at `places`; `None` where it is no decimal or has more of them.
pub(super) fn integer(text: &[u8], places: u8) -> Option<i128> {
    let (value, has) = decimal(text)?;
    if has <= places {
        return value.checked_mul(10_i128.checked_pow(u32::from(places - has))?);
    }
    let unit = 10_i128.pow(u32::from(has - places));
    (value % unit == 0).then_some(value / unit)
}

/// The places that the fields of `data` (its object is `all[at]`) need, at least those of `base`.
pub(super) fn places(json: &[u8], all: &[Token], at: usize, base: Places) -> Places {
    let mut most = base;
    each(json, all, at, &mut |measure, token| {
        let Some(has) = decimal(&json[token.from..token.to]).map(needed) else { return };
        let place = match measure {
            Measure::Price => &mut most.price,
            Measure::Size => &mut most.size,
        };
        *place = (*place).max(has);
    });
    most
}

/// Gives every price and size of `data` to `f`.
fn each(json: &[u8], all: &[Token], at: usize, f: &mut impl FnMut(Measure, &Token)) {
    let mut i = at + 1;
    for _ in 0..all[at].len {
        let (key, value) = (&all[i], i + 1);
        let key = &json[key.from..key.to];
        if is_levels(key) && all[value].kind == Kind::Array {
            let mut level = value + 1;
            for _ in 0..all[value].len {
                if let Some((price, size)) = level_at(all, level) {
                    f(Measure::Price, &all[price]);
                    f(Measure::Size, &all[size]);
                }
                level = all[level].next;
            }
        } else if let Some(measure) = measure(key)
            && all[value].kind == Kind::Text
        {
            f(measure, &all[value]);
        }
        i = all[value].next;
    }
}

/// Whether the key holds a book's levels.
pub(super) fn is_levels(key: &[u8]) -> bool {
    matches!(key, b"b" | b"a")
}

/// A level's price and size, where `all[at]` is one.
pub(super) fn level_at(all: &[Token], at: usize) -> Option<(usize, usize)> {
    let pair = all[at].kind == Kind::Array && all[at].len == 2;
    (pair && all[at + 1].kind == Kind::Text && all[at + 2].kind == Kind::Text).then_some((at + 1, at + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_or_not_at_all() {
        for (text, places, want) in [
            ("60000.10", 2, Some(6_000_010)),
            ("60000.10", 1, Some(600_001)),
            ("60000.10", 0, None),
            ("60000", 2, Some(6_000_000)),
            ("-0.00000001", 8, Some(-1)),
            ("0.000", 0, Some(0)),
            ("9223372036854775807", 18, Some(9_223_372_036_854_775_807_000_000_000_000_000_000)),
            ("", 2, None),
            ("-", 2, None),
            ("1e5", 2, None),
            ("1.2.3", 2, None),
        ] {
            assert_eq!(integer(text.as_bytes(), places), want, "{text} {places}");
        }
        assert_eq!(decimal(b"1.500").map(needed), Some(1));
        assert_eq!(decimal(b"100").map(needed), Some(0));
    }
}
