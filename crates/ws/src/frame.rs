//! A frame's header (RFC 6455 §5.2).

/// The longest header: two bytes, eight of length, four of mask.
pub const HEADER_MAX: usize = 14;

/// The most that a control frame carries.
pub(crate) const CONTROL_MAX: usize = 125;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const RSV23: u8 = 0x30;
pub(crate) const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message before.
    Continue = 0,
    /// A message that is UTF-8.
    Text = 1,
    /// A message of any bytes.
    Binary = 2,
    /// The last frame of a side.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    /// `None` for those that the RFC reserves.
    #[must_use]
    pub const fn of(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continue),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    /// Close, ping, pong: never in pieces, at most 125 bytes.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// A header in its shortest form, and how much of the array it is. `first` is the first byte: final bit, reserved bits, opcode.
#[must_use]
pub fn header(first: u8, len: usize, mask: Option<[u8; 4]>) -> ([u8; HEADER_MAX], usize) {
    let mut out = [0; HEADER_MAX];
    out[0] = first;
    let mut n = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => {
            out[1] = len;
            2
        }
        (_, Ok(len)) => {
            out[1] = 126;
            out[2..4].copy_from_slice(&len.to_be_bytes());
            4
        }
        _ => {
            out[1] = 127;
            out[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    if let Some(mask) = mask {
        out[1] |= MASKED;
        out[n..n + 4].copy_from_slice(&mask);
        n += 4;
    }
    (out, n)
}

/// How much of a header there is to come, the two first bytes known.
pub(crate) const fn header_len(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & MASKED == 0 { 0 } else { 4 }
}

/// Masks or unmasks `bytes`, which lie `at` bytes behind the payload's beginning.
pub fn mask(bytes: &mut [u8], mask: [u8; 4], at: usize) {
    let mut turned = mask;
    turned.rotate_left(at % 4);
    let wide =
        u64::from_ne_bytes([turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3]]);
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        let check = |len: usize, expected: &[u8]| {
            let (bytes, n) = header(0x81, len, None);
            assert_eq!(&bytes[..n], expected, "{len}");
            assert_eq!(header_len(bytes[1]), n);
            let (bytes, n) = header(0x81, len, Some([1, 2, 3, 4]));
            assert_eq!((n, &bytes[n - 4..n]), (expected.len() + 4, &[1, 2, 3, 4][..]));
            assert_eq!(header_len(bytes[1]), n);
        };
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(65_535, &[0x81, 126, 0xff, 0xff]);
        check(65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_mask_goes_on_where_it_was_cut() {
        let key = [0x11, 0x22, 0x33, 0x44];
        let plain: Vec<u8> = (0..100).collect();
        let slow: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
        for cut in 0..plain.len() {
            let mut bytes = plain.clone();
            let (one, two) = bytes.split_at_mut(cut);
            mask(one, key, 0);
            mask(two, key, cut);
            assert_eq!(bytes, slow, "{cut}");
        }
    }
}
