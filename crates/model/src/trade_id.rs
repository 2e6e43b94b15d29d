//! What a venue calls one trade: a number, a UUID, or dYdX's event id of 24 hex digits; in 16 bytes and without an allocation.
//!
//! The text is exact both ways: what [`TradeId::parse`] takes, `Display` gives back letter by letter, so the id that a client, a
//! file or `trace` shows is the one that the venue printed. What would not come back the same (capitals, leading zeros) is refused.
//!
//! A number lies below 2^64 and a UUID above it: its version stands in the upper half, which is never zero. An event id is a block's
//! height, the transaction's place in it and the event's in that, 32 bits each: it has the place of UUIDs that begin with eight
//! zeros and whose variant (the upper bit of the lower half) is none that UUIDs with a version have.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest text.
pub const TEXT_MAX: usize = 36;
/// Digits of an event id.
const EVENT_DIGITS: usize = 24;
/// Where a UUID's text has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// See the module. In order: numbers by value, then event ids, which lie before all UUIDs but some that begin with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TradeId {
    high: u64,
    low: u64,
}

impl TradeId {
    /// The UUID with these bits, or the event id; `None` where the upper half is zero: no version of UUID has such, and it would read as a
    /// number.
    #[must_use]
    pub const fn uuid(bits: u128) -> Option<Self> {
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        if high == 0 { None } else { Some(Self { high, low }) }
    }

    /// A name that we make of 122 of these bits where the venue prints none: a UUID of version 8, whose bits are its maker's to choose.
    #[must_use]
    pub const fn custom(bits: u128) -> Self {
        let bits = bits & !(0xF << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62;
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// It was made by [`TradeId::custom`]: no venue printed it.
    #[must_use]
    pub const fn is_custom(self) -> bool {
        self.high >> 12 & 0xF == 8 && self.low >> 62 == 0b10
    }

    /// Reads `5266583935`, `20f43950-d8dd-5b31-9112-a178eb6023af` or `014206cf0000000200000002`. `None` for everything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.len() {
            TEXT_MAX => parse_uuid(text),
            EVENT_DIGITS => parse_event(text),
            _ => parse_number(text),
        }
    }

    /// The number, where it is one.
    #[inline]
    #[must_use]
    pub const fn number(self) -> Option<u64> {
        if self.high == 0 { Some(self.low) } else { None }
    }

    /// It names a trade and counts none: a UUID or an event id.
    #[must_use]
    pub const fn is_uuid(self) -> bool {
        self.high != 0
    }

    const fn is_event(self) -> bool {
        self.is_uuid() && is_event(self.bits())
    }

    /// All bits: a number's value, or the UUID's.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The venue's own text, written into `out`.
    pub fn text(self, out: &mut [u8; TEXT_MAX]) -> &str {
        let from = match self.is_uuid() {
            true if self.is_event() => event_text(self.bits(), out),
            true => self.uuid_text(out),
            false => number_text(self.low, out),
        };
        // Digits and hyphens.
        std::str::from_utf8(&out[from..]).unwrap_or_default()
    }

    fn uuid_text(self, out: &mut [u8; TEXT_MAX]) -> usize {
        let mut bits = self.bits();
        for (at, slot) in out.iter_mut().enumerate() {
            if HYPHENS.contains(&at) {
                *slot = b'-';
            } else {
                *slot = HEX[(bits >> 124) as usize];
                bits <<= 4;
            }
        }
        0
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The bits of an event id: see the module.
const fn is_event(bits: u128) -> bool {
    bits >> 96 == 0 && bits >> 63 & 1 == 0
}

fn event_text(bits: u128, out: &mut [u8; TEXT_MAX]) -> usize {
    let from = TEXT_MAX - EVENT_DIGITS;
    for (at, slot) in out[from..].iter_mut().rev().enumerate() {
        *slot = HEX[(bits >> (4 * at)) as usize & 15];
    }
    from
}

fn number_text(mut n: u64, out: &mut [u8; TEXT_MAX]) -> usize {
    let mut at = TEXT_MAX;
    loop {
        at -= 1;
        out[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return at;
        }
    }
}

fn parse_number(text: &[u8]) -> Option<TradeId> {
    if text.is_empty() || text[0] == b'0' && text.len() > 1 {
        return None;
    }
    let mut n: u64 = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(n.into())
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn parse_uuid(text: &[u8]) -> Option<TradeId> {
    let mut bits: u128 = 0;
    for (at, byte) in text.iter().enumerate() {
        if HYPHENS.contains(&at) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        bits = bits << 4 | u128::from(hex(*byte)?);
    }
    if is_event(bits) { None } else { TradeId::uuid(bits) }
}

/// A block's height is never zero.
fn parse_event(text: &[u8]) -> Option<TradeId> {
    let bits = text.iter().try_fold(0_u128, |bits, byte| Some(bits << 4 | u128::from(hex(*byte)?)))?;
    if is_event(bits) { TradeId::uuid(bits) } else { None }
}

/// A text that [`TradeId::parse`] refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no trade id: a number below 2^64, a UUID in lower case with its hyphens, or 24 hex digits")]
pub struct TradeIdError;

impl FromStr for TradeId {
    type Err = TradeIdError;

    fn from_str(text: &str) -> Result<Self, TradeIdError> {
        Self::parse(text.as_bytes()).ok_or(TradeIdError)
    }
}

impl From<u64> for TradeId {
    fn from(number: u64) -> Self {
        Self { high: 0, low: number }
    }
}

impl PartialEq<u64> for TradeId {
    fn eq(&self, number: &u64) -> bool {
        self.number() == Some(*number)
    }
}

impl fmt::Display for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text(&mut [0; TEXT_MAX]))
    }
}

impl fmt::Debug for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_MAX]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "20f43950-d8dd-5b31-9112-a178eb6023af";
    const EVENT: &str = "014206cf0000000200000002";

    #[test]
    fn what_is_read_is_shown_again_letter_by_letter() {
        for text in [
            "0",
            "7",
            "5266583935",
            "2290000000061666327",
            "18446744073709551615",
            UUID,
            EVENT,
            "0000000100000000000000ff",
        ] {
            assert_eq!(TradeId::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(std::mem::size_of::<TradeId>(), 16);
    }

    #[test]
    fn what_we_made_is_told_from_what_a_venue_printed() {
        for bits in [0, 1, u128::MAX, 0x20f4_3950_d8dd_5b31_9112_a178_eb60_23af] {
            let id = TradeId::custom(bits);
            assert!(id.is_custom() && id.is_uuid() && TradeId::parse(id.to_string().as_bytes()) == Some(id), "{id}");
        }
        for text in [UUID, EVENT, "0", "5266583935"] {
            assert!(!TradeId::parse(text.as_bytes()).unwrap().is_custom(), "{text}");
        }
    }

    #[test]
    fn what_would_not_come_back_the_same_is_refused() {
        let bad = [
            "",
            "-1",
            "+1",
            "007",
            "1e3",
            "18446744073709551616",
            "20F43950-d8dd-5b31-9112-a178eb6023af",
            "20f43950d8dd5b319112a178eb6023af",
            "20f43950-d8dd-5b31-9112-a178eb6023ag",
            "20f43950-d8dd-5b31-9112-a178eb6023a",
            "20f43950-d8dd-5b31-9112a-178eb6023af",
            "00000000-0000-0000-9112-a178eb6023af",
            "123456789012345678901234567890123456",
            "014206CF0000000200000002",
            "014206cf000000020000000g",
            "000000000000000200000002",
            "014206cf8000000200000002",
            "00000000-0142-06cf-0000-000200000002",
        ];
        for text in bad {
            assert_eq!(TradeId::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_come_before_uuids() {
        let id = |t: &str| TradeId::parse(t.as_bytes()).unwrap();
        let mut all = [id(UUID), id("18446744073709551615"), id("00000000-0000-1000-8000-000000000000"), id("9")];
        all.sort();
        assert_eq!(all, [id("9"), id("18446744073709551615"), id("00000000-0000-1000-8000-000000000000"), id(UUID)]);
        assert!(
            id("18446744073709551615") < id(EVENT)
                && id(EVENT) < id("014206cf000000020000000e")
                && id(EVENT) < id(UUID)
        );
        assert_eq!(id(EVENT).number(), None);
        assert_eq!((id("9").number(), id(UUID).number()), (Some(9), None));
    }

    proptest! {
        #[test]
        fn any_id_is_read_back_from_its_text(bits in any::<u128>(), number in any::<u64>()) {
            for id in [bits, bits >> 32].into_iter().filter_map(TradeId::uuid).chain([number.into()]) {
                let mut text = [0; TEXT_MAX];
                prop_assert_eq!(TradeId::parse(id.text(&mut text).as_bytes()), Some(id));
            }
        }

        #[test]
        fn strange_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(id) = TradeId::parse(&text) {
                prop_assert_eq!(id.to_string().into_bytes(), text);
            }
        }
    }
}
