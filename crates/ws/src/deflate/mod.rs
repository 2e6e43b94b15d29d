//! permessage-deflate (RFC 7692), without context takeover in either direction: each message stands alone, so that one compressed
//! form serves every connection, and none keeps a window.
//!
//! The machines are large (a compressor of window 15 has about 260 KiB) and lie in a few per thread.

pub(crate) mod offer;

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::decoder::Fault;

/// What a sync flush ends with, and what is not sent (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty block that is the last: whoever is not at a block's beginning cannot read it.
const LAST: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// Machines kept per thread.
const SPARE_MAX: usize = 4;
/// Of the output's growth, bytes.
const GROW_MIN: usize = 1 << 10;
const GROW_MAX: usize = 64 << 10;

/// How far back a compressed message of ours may refer: what a client can hold decides. Three, so that messages are shared by many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 512 B.
    Small,
    /// 4 KiB.
    Middle,
    /// 32 KiB, the largest there is.
    Large,
}

impl Window {
    /// All, by index.
    pub const ALL: [Self; 3] = [Self::Small, Self::Middle, Self::Large];

    /// The exponent of two, as `server_max_window_bits` states it.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Small => 9,
            Self::Middle => 12,
            Self::Large => 15,
        }
    }

    /// The largest that does not go beyond `bits`. None for 8: zlib's streams need 9.
    #[must_use]
    pub const fn within(bits: u8) -> Option<Self> {
        match bits {
            9..=11 => Some(Self::Small),
            12..=14 => Some(Self::Middle),
            15 => Some(Self::Large),
            _ => None,
        }
    }
}

thread_local! {
    static COMPRESS: RefCell<[Option<Compress>; 3]> = const { RefCell::new([None, None, None]) };
    static INFLATE: RefCell<Vec<Decompress>> = const { RefCell::new(Vec::new()) };
}

/// Appends `payload`'s compressed form to `out`. False when it would be no shorter than `payload`; `out` is then of no use.
pub(crate) fn compress(payload: &[u8], window: Window, out: &mut Vec<u8>) -> bool {
    COMPRESS.with_borrow_mut(|all| {
        let bits = window.bits();
        let machine = all[window as usize].get_or_insert_with(|| {
            // Of the levels, the quickest that finds repetitions worth having: figures in ADR 0011.
            Compress::new_with_window_bits(Compression::new(LEVEL), false, bits)
        });
        machine.reset();
        let from = out.len();
        // Longer than this is refused, so there is room for all that may be kept.
        out.reserve(payload.len() + TAIL.len());
        let done = machine.compress_vec(payload, out, FlushCompress::Sync);
        let whole =
            matches!(done, Ok(Status::Ok)) && machine.total_in() == payload.len() as u64 && out.ends_with(&TAIL);
        out.truncate(out.len().saturating_sub(TAIL.len()));
        whole && out.len() - from < payload.len()
    })
}

const LEVEL: u32 = 2;

/// Inflates one message.
#[derive(Debug)]
pub(crate) struct Inflate {
    machine: Option<Decompress>,
    /// A block was the last of its stream, and nothing came since.
    ended: bool,
    /// Anything came at all.
    any: bool,
}

impl Inflate {
    pub fn new() -> Self {
        let spare = INFLATE.with_borrow_mut(Vec::pop);
        Self { machine: Some(spare.unwrap_or_else(|| Decompress::new(false))), ended: false, any: false }
    }

    /// Takes the next piece of the compressed message. `out` grows to `most` bytes.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), Fault> {
        let Some(machine) = &mut self.machine else { return Err(Fault::Deflate) };
        self.any |= !input.is_empty();
        loop {
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(());
            }
            if self.ended && !input.is_empty() {
                machine.reset(false);
                self.ended = false;
            }
            if out.len() == out.capacity() {
                // One byte more than allowed tells that there is more.
                let left = (most + 1).saturating_sub(out.len());
                out.reserve_exact(out.len().clamp(GROW_MIN, GROW_MAX).min(left).max(1));
            }
            let (before, had) = (machine.total_in(), out.len());
            let status = machine.decompress_vec(input, out, FlushDecompress::Sync).map_err(|_| Fault::Deflate)?;
            let taken = usize::try_from(machine.total_in() - before).map_err(|_| Fault::Deflate)?;
            input = &input[taken..];
            if out.len() > most {
                return Err(Fault::TooLarge);
            }
            match status {
                Status::StreamEnd => self.ended = true,
                // Nothing taken, nothing given, and there was room: it waits for more.
                _ if taken == 0 && out.len() == had => {
                    return if input.is_empty() { Ok(()) } else { Err(Fault::Deflate) };
                }
                _ => {}
            }
        }
    }

    /// The message's frames have all come: what its sender left out is put behind it, and it must end there.
    pub fn finish(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(), Fault> {
        // Nothing at all stands for an empty message, though the RFC would have a byte.
        if !self.ended && self.any {
            self.push(&TAIL, out, most)?;
            self.push(&LAST, out, most)?;
            if !self.ended {
                return Err(Fault::Deflate);
            }
        }
        Ok(())
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        if let Some(mut machine) = self.machine.take() {
            machine.reset(false);
            // Without the thread's keeper, at its end, the machine just goes.
            let _ = INFLATE.try_with(|spare| {
                if let Ok(mut spare) = spare.try_borrow_mut()
                    && spare.len() < SPARE_MAX
                {
                    spare.push(machine);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inflate(packed: &[u8], most: usize, pieces: usize) -> Result<Vec<u8>, Fault> {
        let (mut inflate, mut out) = (Inflate::new(), Vec::new());
        for piece in packed.chunks(pieces.max(1)) {
            inflate.push(piece, &mut out, most)?;
        }
        inflate.finish(&mut out, most)?;
        Ok(out)
    }

    #[test]
    fn the_rfc_examples() {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&hello, 100, 1).unwrap(), b"Hello"); // §7.2.3.1
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        assert_eq!(inflate(&stored, 100, 3).unwrap(), b"Hello"); // §7.2.3.3
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(inflate(&last, 100, 2).unwrap(), b"Hello"); // §7.2.3.4, BFINAL
        assert_eq!(inflate(&last[..7], 100, 2).unwrap(), b"Hello"); // and without what stands for an empty block
        let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&two, 100, 1).unwrap(), b"Hello"); // §7.2.3.5
        assert_eq!(inflate(&[0], 100, 1).unwrap(), b""); // §7.2.3.6
        assert_eq!(inflate(&[], 100, 1).unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_refused_while_it_grows() {
        let zeros = vec![0; 10 << 20];
        let mut packed = Vec::new();
        assert!(compress(&zeros, Window::Large, &mut packed) && packed.len() < zeros.len() / 100);
        let (mut inflate, mut out) = (Inflate::new(), Vec::new());
        assert_eq!(inflate.push(&packed, &mut out, 64 << 10), Err(Fault::TooLarge));
        assert!(out.capacity() <= (64 << 10) + 1, "{}", out.capacity());
    }

    #[test]
    fn the_bound_is_exact() {
        let text = vec![b'x'; 5_000];
        let mut packed = Vec::new();
        assert!(compress(&text, Window::Large, &mut packed));
        assert_eq!(inflate(&packed, 5_000, 100).unwrap(), text);
        assert_eq!(inflate(&packed, 4_999, 100), Err(Fault::TooLarge));
    }

    #[test]
    fn what_is_cut_or_wrong_is_refused() {
        let text = b"{\"op\":\"sub\",\"topic\":\"trade.BTCUSDT.BINANCE\",\"from\":\"live\",\"id\":123456789}".repeat(3);
        let mut packed = Vec::new();
        assert!(compress(&text, Window::Large, &mut packed));
        for cut in 1..packed.len() {
            assert_eq!(inflate(&packed[..cut], 1 << 20, 7), Err(Fault::Deflate), "cut at {cut} of {}", packed.len());
        }
        assert_eq!(inflate(&[0xff; 20], 1 << 20, 20), Err(Fault::Deflate));
        // The machines that failed come back whole.
        assert_eq!(inflate(&packed, 1 << 20, 1).unwrap(), text);
    }

    #[test]
    fn what_does_not_shrink_is_not_taken() {
        let noise: Vec<u8> = (0..600_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u8).collect();
        assert!(!compress(&noise, Window::Large, &mut Vec::new()));
        assert!(!compress(b"", Window::Large, &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn inflate_undoes_compress(
            words in proptest::collection::vec("[a-z0-9:,{}]{1,12}", 1..20),
            picks in proptest::collection::vec(0_usize..20, 0..2_000),
            window in 0_usize..3,
            pieces in 1_usize..5_000,
        ) {
            let text: String = picks.iter().map(|p| words[p % words.len()].as_str()).collect();
            let mut packed = vec![7; 3];
            if compress(text.as_bytes(), Window::ALL[window], &mut packed) {
                prop_assert_eq!(inflate(&packed[3..], text.len(), pieces).unwrap(), text.as_bytes());
                // A client whose window is no larger than agreed reads it as well.
                let mut theirs = Decompress::new_with_window_bits(false, Window::ALL[window].bits());
                let mut out = Vec::with_capacity(text.len() + 64);
                let whole = [&packed[3..], &TAIL[..]].concat();
                theirs.decompress_vec(&whole, &mut out, FlushDecompress::Sync).unwrap();
                prop_assert_eq!(out, text.as_bytes());
            }
        }

        #[test]
        fn anything_is_inflated_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), pieces in 1_usize..50) {
            if let Ok(out) = inflate(&bytes, 10_000, pieces) {
                prop_assert!(out.len() <= 10_000);
            }
            prop_assert_eq!(inflate(&bytes, 10_000, pieces), inflate(&bytes, 10_000, 200));
        }
    }
}
