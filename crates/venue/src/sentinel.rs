//! The API-drift sentinel of a session: which payloads no longer look as documented, each new shape told once.
//!
//! A venue's folder says which channel a payload is of and hands both here; the shapes are a table made of the folder's own
//! example frames (`shapes.txt`). The fast scanner takes exactly the documented keys, so of its frames only one in [`SAMPLE`] is
//! looked at; every frame that the typed decoder read is; so is every answer of REST that data is taken from. A payload whose
//! shape is odd is kept raw, up to [`KEPT_MAX`] of one shape, and counted.

use crate::session::{Action, Note, OddShape, Out};
use crate::shape::{self, CHANNELS, Shapes, bytes_hash};

/// One in so many frames of the fast scanner is looked at.
pub(crate) const SAMPLE: u64 = 1024;
/// Payloads of one odd shape that are kept raw; later ones are only counted.
pub(crate) const KEPT_MAX: u32 = 256;
/// Shapes that one session tells apart; more are counted and not told.
pub(crate) const SHAPES_MAX: usize = 64;

/// An odd frame.
#[derive(Debug)]
pub(crate) struct OddFrame {
    pub channel: &'static str,
    pub fingerprint: u64,
    /// Its shape was never seen by this session: what deviates, in words.
    pub news: Option<String>,
    /// To be kept raw.
    pub keep: bool,
}

impl OddFrame {
    /// Keeps and tells what is odd; `keep`: the decoder has not kept the frame itself.
    pub fn tell(self, frame: &[u8], keep: bool, out: &mut Out) {
        if self.keep && keep {
            out.raw(self.channel, &String::from_utf8_lossy(frame));
        }
        if let Some(what) = self.news {
            let shape = OddShape { channel: self.channel, fingerprint: self.fingerprint, what };
            out.actions.push(Action::Note(Note::Shape(shape)));
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sentinel {
    shapes: &'static Shapes,
    /// Odd shapes seen, and how many frames of each were kept.
    seen: Vec<(u64, u32)>,
    /// Odd frames by the place of their channel in [`CHANNELS`].
    pub counts: [u64; CHANNELS.len()],
}

impl Sentinel {
    pub fn new(shapes: &'static Shapes) -> Self {
        Self { shapes, seen: Vec::new(), counts: [0; CHANNELS.len()] }
    }

    /// A frame that the decoder did not know at all, though no known shape says so.
    pub fn unknown(&mut self, channel: &str) -> OddFrame {
        // A stream's name holds the symbol, which is no part of its shape.
        let channel = channel.split_once('@').map_or(channel, |(_, name)| name);
        let odd =
            self.odd("other", bytes_hash(channel.as_bytes()), || format!("unknown frame or value in `{channel}`"));
        // The decoder has kept it already.
        OddFrame { keep: false, ..odd }
    }

    /// Holds a payload of `channel` against its documented shape; `None` where it fits, or no shape is known.
    pub fn held_against(&mut self, channel: &'static str, payload: &[u8]) -> Option<OddFrame> {
        let shapes = self.shapes;
        let shape = shapes.get(channel)?;
        let odd = shape.judge(payload)?;
        Some(self.odd(channel, odd.fingerprint, || shape.explain(payload)))
    }

    /// Counts what is odd and says whether it is news. `fingerprint`: equal for equal deviations.
    pub fn odd(&mut self, channel: &'static str, fingerprint: u64, what: impl FnOnce() -> String) -> OddFrame {
        self.counts[shape::channel_index(channel)] += 1;
        let fingerprint = fingerprint ^ bytes_hash(channel.as_bytes());
        match self.seen.iter().position(|(seen, _)| *seen == fingerprint) {
            Some(at) => {
                let kept = &mut self.seen[at].1;
                *kept = kept.saturating_add(1);
                OddFrame { channel, fingerprint, news: None, keep: *kept <= KEPT_MAX }
            }
            None if self.seen.len() < SHAPES_MAX => {
                self.seen.push((fingerprint, 1));
                OddFrame { channel, fingerprint, news: Some(what()), keep: true }
            }
            None => OddFrame { channel, fingerprint, news: None, keep: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ever_new_shapes_cannot_grow_it() {
        let shapes = Box::leak(Box::new(Shapes::default()));
        let mut sentinel = Sentinel::new(shapes);
        let told = (0..10_000).filter(|i| sentinel.odd("trade", *i, || "new".into()).news.is_some()).count();
        assert_eq!((told, sentinel.seen.len()), (SHAPES_MAX, SHAPES_MAX));
        assert_eq!(sentinel.counts[shape::channel_index("trade")], 10_000);
    }
}
