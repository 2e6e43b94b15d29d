//! Writing JSON by hand: integers, exact decimals and strings into a reused buffer.
//!
//! This is on the latency path, so it knows no trees and makes no temporary strings.

use wholetape_model::trade_id::TEXT_MAX;
use wholetape_model::{Decimal, TradeId, Ts};

use crate::NUMBER_MAX;

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// A buffer that is being filled with JSON.
pub(crate) struct Json<'a>(pub &'a mut Vec<u8>);

impl Json<'_> {
    #[inline]
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    #[inline]
    pub fn u64(&mut self, v: u64) -> &mut Self {
        let mut digits = [0_u8; 20];
        let at = format_u64(v, &mut digits);
        self.0.extend_from_slice(&digits[at..]);
        self
    }

    #[inline]
    pub fn i64(&mut self, v: i64) -> &mut Self {
        if v < 0 {
            self.0.push(b'-');
        }
        self.u64(v.unsigned_abs())
    }

    /// An id: a number where every reader keeps it exactly, a string beyond.
    pub fn id(&mut self, v: u64) -> &mut Self {
        if v < NUMBER_MAX { self.u64(v) } else { self.raw("\"").u64(v).raw("\"") }
    }

    /// A trade's id: a number as [`Json::id`] has it, a UUID as the venue's own text.
    pub fn trade_id(&mut self, id: TradeId) -> &mut Self {
        match id.number() {
            Some(number) => self.id(number),
            None => self.raw("\"").raw(id.text(&mut [0; TEXT_MAX])).raw("\""),
        }
    }

    /// Nanoseconds, as a string because they do not fit a double.
    pub fn ns(&mut self, ts: Ts) -> &mut Self {
        self.raw("\"").i64(ts.0).raw("\"")
    }

    /// The decimal as the venue printed it, quoted.
    #[inline]
    pub fn decimal(&mut self, d: Decimal) -> &mut Self {
        self.0.push(b'"');
        self.plain(d);
        self.0.push(b'"');
        self
    }

    /// The decimal's digits, exactly `scale` places.
    #[inline]
    pub fn plain(&mut self, d: Decimal) -> &mut Self {
        if d.raw < 0 {
            self.0.push(b'-');
        }
        let mut digits = [b'0'; 20];
        let first = format_u64(d.raw.unsigned_abs(), &mut digits);
        let scale = usize::from(d.scale);
        if scale == 0 {
            self.0.extend_from_slice(&digits[first..]);
            return self;
        }
        // The buffer is filled with zeros, so a point right of the first digit needs no padding of its own.
        let point = 20 - scale.min(19);
        let first = first.min(point - 1);
        self.0.extend_from_slice(&digits[first..point]);
        self.0.push(b'.');
        self.0.extend_from_slice(&digits[point..]);
        self
    }

    /// A string, quoted and escaped.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'"');
        let bytes = text.as_bytes();
        let mut from = 0;
        for (i, &b) in bytes.iter().enumerate() {
            if b >= 0x20 && b != b'"' && b != b'\\' {
                continue;
            }
            self.0.extend_from_slice(&bytes[from..i]);
            from = i + 1;
            match b {
                b'"' => self.0.extend_from_slice(b"\\\""),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                _ => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.0.extend_from_slice(b"\\u00");
                    self.0.push(HEX[usize::from(b >> 4)]);
                    self.0.push(HEX[usize::from(b & 15)]);
                }
            }
        }
        self.0.extend_from_slice(&bytes[from..]);
        self.0.push(b'"');
        self
    }

    pub fn bool(&mut self, v: bool) -> &mut Self {
        self.raw(if v { "true" } else { "false" })
    }
}

/// Writes the digits to the end of `out`; where they start.
#[inline]
fn format_u64(mut v: u64, out: &mut [u8; 20]) -> usize {
    let mut at = 20;
    while v >= 100 {
        let pair = (v % 100) as usize * 2;
        v /= 100;
        at -= 2;
        out[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if v >= 10 {
        let pair = v as usize * 2;
        at -= 2;
        out[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        out[at] = b'0' + v as u8;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(f: impl FnOnce(&mut Json<'_>)) -> String {
        let mut out = Vec::new();
        f(&mut Json(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_stay_exact_for_readers_with_doubles() {
        assert_eq!(written(|j| _ = j.id(NUMBER_MAX - 1)), "9007199254740991");
        assert_eq!(written(|j| _ = j.id(NUMBER_MAX)), "\"9007199254740992\"");
    }

    proptest! {
        #[test]
        fn decimals_print_as_the_model_does(raw in any::<i64>(), scale in 0_u8..=18) {
            let d = Decimal { raw, scale };
            prop_assert_eq!(written(|j| _ = j.plain(d)), d.to_string());
        }

        #[test]
        fn small_decimals_too(raw in -2_000_i64..2_000, scale in 0_u8..=18) {
            let d = Decimal { raw, scale };
            prop_assert_eq!(written(|j| _ = j.plain(d)), d.to_string());
        }

        #[test]
        fn integers_print(v in any::<i64>(), u in any::<u64>()) {
            prop_assert_eq!(written(|j| _ = j.i64(v)), v.to_string());
            prop_assert_eq!(written(|j| _ = j.u64(u)), u.to_string());
        }

        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let json = written(|j| _ = j.text(&text));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
