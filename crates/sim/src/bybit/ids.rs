//! Trade ids: numbers on spot, UUIDs on derivatives. A UUID hides the number of the trade in its lower half, mixed so that neighbours have
//! nothing in common: nobody but the truth can tell that one is missing.

/// Bits of a UUID's lower half beside its variant.
const LOW: u64 = (1 << 62) - 1;
const VARIANT: u64 = 1 << 63;
/// Odd, so it has an inverse.
const MIX: u64 = 0x1E37_79B9_7F4A_7C15;
const UNMIX: u64 = inverse(MIX);

/// Of an odd number, modulo 2^64 (Newton).
const fn inverse(odd: u64) -> u64 {
    let (mut x, mut n) = (odd, 0);
    while n < 6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        n += 1;
    }
    x
}

/// The UUID (version 5) of an instrument's trade.
pub fn uuid(symbol: &str, number: u64) -> String {
    let name = symbol.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let high = (name ^ number.wrapping_mul(MIX).rotate_left(29)) & !0xF000 | 0x5000;
    let low = number.wrapping_mul(MIX) & LOW | VARIANT;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// The number of a trade, whichever way its id is spelled.
pub fn number(id: &str) -> Option<u64> {
    let Some((head, node)) = id.rsplit_once('-') else { return id.parse().ok() };
    let (_, variant) = head.rsplit_once('-')?;
    let low = (u64::from_str_radix(variant, 16).ok()? << 48) | u64::from_str_radix(node, 16).ok()?;
    Some((low & LOW).wrapping_mul(UNMIX) & LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_back_and_its_neighbour_is_another() {
        for n in [0, 1, 2, 1_000_003, LOW] {
            let text = uuid("BTCUSDT", n);
            assert_eq!((number(&text), text.len(), &text[14..15]), (Some(n), 36, "5"), "{text}");
            assert!(["8", "9", "a", "b"].contains(&&text[19..20]), "{text}");
        }
        assert_ne!(uuid("BTCUSDT", 7)[..8], uuid("BTCUSDT", 8)[..8]);
        assert_ne!(uuid("BTCUSDT", 7), uuid("ETHUSDT", 7));
        assert_eq!((number("2290000000000000017"), number("x")), (Some(2_290_000_000_000_000_017), None));
    }
}
