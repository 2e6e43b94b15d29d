//! Follows the frame headers of what a client sends (RFC 6455 §5.2), beside the library that reads the frames.
//!
//! The library bounds sizes, not patience: a client may begin a frame and never end it, or cut a small message into endless
//! fragments. Both are seen here from the raw bytes. Nothing is judged but lengths; malformed frames are the library's to refuse.

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_MAX: usize = 14;

#[derive(Debug, Default)]
pub(crate) struct Inbound {
    header: [u8; HEADER_MAX],
    have: usize,
    /// Payload bytes of the present frame still to come.
    left: u64,
    /// Frames of the present message so far.
    fragments: u32,
    /// The most frames that a message had.
    pub fragments_seen: u32,
    /// Whole frames so far.
    pub frames: u64,
}

impl Inbound {
    /// Whether a frame has begun and not ended.
    pub const fn within_frame(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    pub fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= n as u64;
                self.frames += u64::from(self.left == 0);
                bytes = &bytes[n..];
                continue;
            }
            self.header[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have >= 2 && self.have == self.header_len() {
                self.begin();
            }
        }
    }

    fn header_len(&self) -> usize {
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn begin(&mut self) {
        let long = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        self.left = match self.header[1] & 0x7f {
            126 => long(&self.header[2..4]),
            127 => long(&self.header[2..10]),
            short => u64::from(short),
        };
        self.have = 0;
        self.frames += u64::from(self.left == 0);
        let (last, control) = (self.header[0] & 0x80 != 0, self.header[0] & 0x08 != 0);
        if !control {
            self.fragments += 1;
            self.fragments_seen = self.fragments_seen.max(self.fragments);
            if last {
                self.fragments = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame as a client writes it.
    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut out = vec![first];
        match len {
            0..126 => out.push(0x80 | len as u8),
            126..65_536 => {
                out.push(0x80 | 126);
                out.extend((len as u16).to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        out.extend([1, 2, 3, 4]);
        out.resize(out.len() + len, b'x');
        out
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        // Text, a message of three frames with a ping between, an empty one, long ones.
        let parts: Vec<Vec<u8>> =
            [(0x81, 5), (0x01, 3), (0x89, 0), (0x00, 200), (0x80, 0), (0x82, 70_000), (0x81, 125), (0x81, 126)]
                .map(|(first, len)| frame(first, len))
                .into();
        let all = parts.concat();
        for chunk in [1, 2, 3, 7, 100, all.len()] {
            let mut inbound = Inbound::default();
            for bytes in all.chunks(chunk) {
                inbound.take(bytes);
            }
            assert_eq!((inbound.frames, inbound.fragments_seen, inbound.within_frame()), (8, 3, false), "{chunk}");
        }
    }

    #[test]
    fn an_unfinished_frame_is_within() {
        let mut inbound = Inbound::default();
        assert!(!inbound.within_frame());
        for byte in &frame(0x81, 3)[..8] {
            inbound.take(&[*byte]);
            assert!(inbound.within_frame());
        }
        inbound.take(b"x");
        assert_eq!((inbound.within_frame(), inbound.frames), (false, 1));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_followed(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let (mut one, mut whole) = (Inbound::default(), Inbound::default());
            whole.take(&bytes);
            bytes.iter().for_each(|b| one.take(&[*b]));
            proptest::prop_assert_eq!(format!("{one:?}"), format!("{whole:?}"));
        }
    }
}
