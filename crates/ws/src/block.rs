//! A message of ours as bytes: header and payload in one piece that all connections send, and its compressed form beside it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::deflate::{Window, compress};
use crate::frame::{FIN, HEADER_MAX, Opcode, RSV1, header};

/// Shorter payloads are not compressed: they fit a packet anyway.
pub const COMPRESS_BYTES_MIN: usize = 512;

/// The compressed forms, by window; `None` where it is no shorter.
type Packed = [OnceLock<Option<Bytes>>; 3];

/// A whole message, unmasked, as a server sends it. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Block {
    whole: Bytes,
    header: u8,
    packed: Option<Arc<Packed>>,
}

/// What goes to a socket.
#[derive(Debug)]
pub(crate) struct Wire {
    pub bytes: Bytes,
    /// Bytes that the compressed form saves; `None`: not compressed.
    pub saved: Option<usize>,
    /// It was compressed just now, and not by somebody before.
    pub first: bool,
}

impl Block {
    /// A message of `payload`, which is copied once.
    #[must_use]
    pub fn new(opcode: Opcode, payload: &[u8]) -> Self {
        Self::build(opcode, payload.len(), |out| out.extend_from_slice(payload))
    }

    /// A text message; `None` when `payload` is not UTF-8.
    #[must_use]
    pub fn text(payload: &[u8]) -> Option<Self> {
        Self::text_in(payload, |header, payload| [header, payload].concat().into())
    }

    /// A text message that lies where `keep` puts header and payload, in one piece; `None` when `payload` is not UTF-8.
    #[must_use]
    pub fn text_in(payload: &[u8], keep: impl FnOnce(&[u8], &[u8]) -> Bytes) -> Option<Self> {
        std::str::from_utf8(payload).ok()?;
        let (head, n) = header(FIN | Opcode::Text as u8, payload.len(), None);
        let whole = keep(&head[..n], payload);
        assert_eq!(whole.len(), n + payload.len(), "what is kept is header and payload");
        Some(Self::of(whole, n))
    }

    /// A message whose payload of `len` bytes `write` appends.
    ///
    /// # Panics
    /// When it appends another number of bytes: the header would lie.
    #[must_use]
    pub fn build(opcode: Opcode, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let (head, n) = header(FIN | opcode as u8, len, None);
        let mut whole = Vec::with_capacity(n + len);
        whole.extend_from_slice(&head[..n]);
        write(&mut whole);
        assert_eq!(whole.len(), n + len, "the header states the payload's length");
        Self::of(whole.into(), n)
    }

    fn of(whole: Bytes, header: usize) -> Self {
        let packed = (whole.len() - header >= COMPRESS_BYTES_MIN).then(Arc::default);
        Self { whole, header: header as u8, packed }
    }

    /// The message itself.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.whole[usize::from(self.header)..]
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn len(&self) -> usize {
        self.whole.len() - usize::from(self.header)
    }

    /// Whether the payload is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Header and payload, and what a compressed form may add: reckoned as half of the payload, the usual is less.
    #[must_use]
    pub fn cost(&self) -> usize {
        let packed = if self.packed.is_some() { size_of::<Packed>() + self.len() / 2 } else { 0 };
        self.whole.len() + packed
    }

    /// The frame for a connection that agreed on `window`, compressed where that helps.
    pub(crate) fn wire(&self, window: Option<Window>) -> Wire {
        let plain = || Wire { bytes: self.whole.clone(), saved: None, first: false };
        let (Some(packed), Some(window)) = (&self.packed, window) else { return plain() };
        let mut first = false;
        let form = packed[window as usize].get_or_init(|| {
            first = true;
            self.pack(window)
        });
        match form {
            Some(bytes) => Wire { bytes: bytes.clone(), saved: Some(self.whole.len() - bytes.len()), first },
            None => plain(),
        }
    }

    fn pack(&self, window: Window) -> Option<Bytes> {
        let mut out = vec![0; HEADER_MAX];
        if !compress(self.payload(), window, &mut out) {
            return None;
        }
        let (head, n) = header(self.whole[0] | RSV1, out.len() - HEADER_MAX, None);
        let from = HEADER_MAX - n;
        out[from..HEADER_MAX].copy_from_slice(&head[..n]);
        // Kept for as long as the message is: what was reserved for it goes back.
        Some(Bytes::copy_from_slice(&out[from..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{Decoder, Event, Limits, Role};

    fn read(bytes: &[u8], deflate: bool) -> Event {
        let limits = Limits { message: 1 << 20, fragments: 1 };
        let (mut decoder, mut input) = (Decoder::new(Role::Client, limits, deflate), bytes);
        let event = decoder.decode(&mut input).unwrap().unwrap();
        assert_eq!((input.len(), decoder.within_frame()), (0, false));
        event
    }

    #[test]
    fn every_form_of_a_message_says_the_same() {
        for n in [0, 1, 125, 126, 511, 512, 5_000, 65_535, 65_536, 200_000] {
            let text: String = (0..n).map(|i| char::from(b'a' + (i % 7) as u8)).collect();
            let block = Block::text(text.as_bytes()).unwrap();
            assert_eq!((block.len(), block.is_empty()), (n, n == 0));
            assert_eq!(read(&block.wire(None).bytes, false), Event::Text(text.clone()));
            for window in Window::ALL {
                let wire = block.wire(Some(window));
                assert_eq!(wire.saved.is_some(), n >= COMPRESS_BYTES_MIN);
                assert_eq!(block.whole.len() - wire.bytes.len(), wire.saved.unwrap_or(0));
                assert_eq!(read(&wire.bytes, true), Event::Text(text.clone()));
            }
        }
        assert_eq!(read(&Block::new(Opcode::Binary, &[1, 2]).whole, false), Event::Binary(vec![1, 2]));
        assert!(Block::text(&[0xff]).is_none());
    }

    #[test]
    fn it_is_made_once_and_shared() {
        let block = Block::text(&[b'x'; 600]).unwrap();
        let other = block.clone();
        let (one, two) = (block.wire(None).bytes, other.wire(None).bytes);
        assert_eq!(one.as_ptr(), two.as_ptr());
        let (one, two) = (block.wire(Some(Window::Large)), other.wire(Some(Window::Large)));
        assert!(one.first && !two.first);
        assert_eq!(one.bytes.as_ptr(), two.bytes.as_ptr());
        assert!(other.wire(Some(Window::Middle)).first, "another window is another form");
    }
}
