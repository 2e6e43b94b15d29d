//! Names that carry the time at which they were made: a ULID, a UUID of version 7 (RFC 9562).

use wholetape_model::Ts;

/// When `mid` was made, if it says so.
pub(crate) fn time_of(mid: &str) -> Option<Ts> {
    let ms = ulid(mid).or_else(|| uuid7(mid))?;
    i64::try_from(ms).ok()?.checked_mul(1_000_000).map(Ts)
}

/// 48 bits of milliseconds in the first ten of 26 characters.
fn ulid(mid: &str) -> Option<u64> {
    let bytes = mid.as_bytes();
    if bytes.len() != 26 || bytes[0] > b'7' {
        return None;
    }
    let digit = |b: &u8| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().position(|d| *d == b.to_ascii_uppercase());
    if !bytes.iter().all(|b| digit(b).is_some()) {
        return None;
    }
    bytes[..10].iter().try_fold(0_u64, |ms, b| Some(ms << 5 | digit(b)? as u64))
}

/// 48 bits of milliseconds in the first twelve digits.
fn uuid7(mid: &str) -> Option<u64> {
    let bytes = mid.as_bytes();
    let hyphens = [8, 13, 18, 23];
    let form = bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, b)| if hyphens.contains(&i) { *b == b'-' } else { b.is_ascii_hexdigit() });
    if !form || bytes[14] != b'7' {
        return None;
    }
    u64::from_str_radix(&format!("{}{}", &mid[..8], &mid[9..13]), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_their_time_and_others_do_not() {
        // The examples of the ULID specification and of RFC 9562, appendix A.6.
        assert_eq!(time_of("01ARYZ6S41TSV4RRFFQ69G5FAV"), Some(Ts(1_469_918_176_385_000_000)));
        assert_eq!(time_of("01aryz6s41tsv4rrffq69g5fav"), Some(Ts(1_469_918_176_385_000_000)));
        assert_eq!(time_of("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), Some(Ts(1_645_557_742_000_000_000)));
        for other in [
            "m1",
            "",
            "81ARYZ6S41TSV4RRFFQ69G5FAV",
            "01ARYZ6S41TSV4RRFFQ69G5FAU",
            "017F22E2-79B0-4CC3-98C4-DC0C0C07398F",
            "017F22E279B07CC398C4DC0C0C07398F",
            "äääääääääääää",
        ] {
            assert_eq!(time_of(other), None, "{other}");
        }
    }
}
