//! Exact decimal text of scaled integers: what a venue prints, digit for digit.

/// `units × 10^-scale` with exactly `scale` decimals.
pub fn fixed(units: i128, scale: u32) -> String {
    if scale == 0 {
        return units.to_string();
    }
    let sign = if units < 0 { "-" } else { "" };
    let digits = units.unsigned_abs().to_string();
    let scale = scale as usize;
    if digits.len() <= scale {
        format!("{sign}0.{digits:0>scale$}")
    } else {
        let (whole, part) = digits.split_at(digits.len() - scale);
        format!("{sign}{whole}.{part}")
    }
}

/// Reads plain decimal text as an integer of `10^-scale` units; `None` when it is no such number or needs more digits.
pub fn parse(text: &str, scale: u32) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1i64, rest),
        None => (1, text),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = part.trim_end_matches('0');
    if significant.len() > scale as usize {
        return None;
    }
    let mut units: i64 = whole.parse().ok()?;
    for at in 0..scale as usize {
        let digit = significant.as_bytes().get(at).map_or(0, |b| i64::from(b - b'0'));
        units = units.checked_mul(10)?.checked_add(digit)?;
    }
    Some(sign * units)
}

/// The text without zeros that say nothing: `1.50` is `1.5`.
pub fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Decimals that the text needs, trailing zeros not counted.
pub fn decimals(text: &str) -> u32 {
    text.split_once('.').map_or(0, |(_, part)| part.trim_end_matches('0').len() as u32)
}

/// True for `0`, `0.000` and the like: the size that removes a level.
pub fn is_zero(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b'0' || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_units_agree_both_ways() {
        for (units, scale, text) in
            [(0, 2, "0.00"), (5, 2, "0.05"), (-5, 1, "-0.5"), (6_183_763, 2, "61837.63"), (7, 0, "7"), (100, 2, "1.00")]
        {
            assert_eq!(fixed(units, scale), text);
            assert_eq!(parse(text, scale), Some(units as i64), "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", ".5", "1e3", "1.2.3", "+1", "1.001", "99999999999999999999"] {
            assert_eq!(parse(text, 2), None, "{text}");
        }
        assert_eq!(decimals("0.00100"), 3);
        assert!(is_zero("0.000") && !is_zero("0.001") && !is_zero(""));
    }

    #[test]
    fn zeros_that_say_nothing_go() {
        for (text, short) in [("1.50", "1.5"), ("1.00", "1"), ("0.00", "0"), ("100", "100"), ("0.05", "0.05")] {
            assert_eq!(trimmed(text), short);
        }
    }
}
