//! Close frames: which codes may travel (RFC 6455 §7.4 and IANA's registry), and their payload.

use crate::decoder::Fault;

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Why, as a number.
    pub code: u16,
    /// Why, for people; often empty.
    pub reason: String,
}

/// Whether a close frame may carry `code`. 1005, 1006 and 1015 are for local use, 1004 is reserved, 1016–2999 are not assigned.
#[must_use]
pub const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl Close {
    /// Reads a close frame's payload; an empty one says nothing.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, Fault> {
        let (code, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(Fault::Protocol("a close code has two bytes")),
            [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
        };
        if !is_sendable(code) {
            return Err(Fault::Protocol("a close code that may not be sent"));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?.to_owned();
        Ok(Some(Self { code, reason }))
    }

    /// A close frame's payload; the reason is cut to what fits, at a character's end.
    pub(crate) fn payload(code: u16, reason: &str) -> Vec<u8> {
        let mut out = code.to_be_bytes().to_vec();
        out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(crate::frame::CONTROL_MAX - 2)]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_judged() {
        let parse = |code: u16, reason: &[u8]| Close::parse(&[&code.to_be_bytes()[..], reason].concat());
        assert_eq!(Close::parse(&[]), Ok(None));
        assert!(matches!(Close::parse(&[3]), Err(Fault::Protocol(_))));
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(parse(code, "é".as_bytes()), Ok(Some(Close { code, reason: "é".into() })), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert!(matches!(parse(code, b""), Err(Fault::Protocol(_))), "{code}");
        }
        assert_eq!(parse(1000, &[0xc3]), Err(Fault::Utf8));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let payload = Close::payload(1000, &"é".repeat(100));
        assert_eq!(payload.len(), 124);
        assert_eq!(Close::parse(&payload).unwrap().unwrap().reason, "é".repeat(61));
    }
}
