//! How frames and answers are read, the same way for every venue: the fast scanner first, the typed decoder where it declines, the
//! sentinel beside both. A venue says how *it* scans, decodes and looks ([`Reads`]).
//!
//! Invariants: a frame or an answer that fails emits nothing; every frame is counted; the sentinel looks at one in [`SAMPLE`] frames of
//! the scanner, and at every other.

use wholetape_model::Ts;

use crate::error::ProtocolError;
use crate::sentinel::{OddFrame, SAMPLE, Sentinel};
use crate::session::{Action, FetchId, FetchKind, Mark, Note, OddShape, Out, Reply, SessionStats};

/// Of a longer answer the beginning is kept: it is evidence, not data.
const ANSWER_KEPT_MAX: usize = 64 << 10;

/// What reading takes, whoever's frames they are.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Off only in tests and benches that compare the two decoders.
    pub fast: bool,
    pub stats: SessionStats,
    sentinel: Sentinel,
    /// Frames of the fast scanner since the last one that was looked at.
    unseen: u64,
}

impl Reading {
    pub fn new(sentinel: Sentinel) -> Self {
        Self { fast: true, stats: SessionStats::default(), sentinel, unseen: 0 }
    }

    /// Keeps what is not understood, and says so.
    pub fn unknown(&mut self, channel: &str, text: &str, out: &mut Out) {
        self.stats.unknown_frames += 1;
        out.raw(channel, text);
        out.actions.push(Action::Note(Note::Unknown { channel: channel.to_owned() }));
    }

    fn tell(&mut self, odd: Option<OddFrame>, bytes: &[u8], keep: bool, out: &mut Out) {
        let Some(odd) = odd else { return };
        self.stats.odd_shapes = self.sentinel.counts;
        odd.tell(bytes, keep, out);
    }

    fn count(&mut self, from: &Mark, out: &Out) {
        self.stats.events += (out.events.len() - from.events) as u64;
    }
}

/// A venue's own part of reading, and what comes of it.
pub(crate) trait Reads {
    fn reading(&mut self) -> &mut Reading;

    /// Reads a frame of a hot channel in one pass, and names the channel; `None`: declined, and what was emitted does not count.
    fn scan(&mut self, now: Ts, frame: &[u8], out: &mut Out) -> Option<&'static str>;

    /// Reads any frame.
    fn typed(&mut self, now: Ts, frame: &[u8], out: &mut Out) -> Result<(), ProtocolError>;

    /// Reads an answer of REST with status 200.
    fn answer(&mut self, now: Ts, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError>;

    /// Looks whether a frame is as documented.
    fn odd_frame(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame>;

    /// Looks at an answer with status 200.
    fn odd_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame>;

    /// How errors name a request.
    fn name(kind: FetchKind) -> &'static str;

    #[inline]
    fn read_frame(&mut self, now: Ts, frame: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        self.reading().stats.frames += 1;
        let mark = Mark::of(out);
        if self.reading().fast {
            if let Some(channel) = self.scan(now, frame, out) {
                let reading = self.reading();
                reading.stats.count(channel);
                reading.count(&mark, out);
                reading.unseen += 1;
                if reading.unseen >= SAMPLE {
                    reading.unseen = 0;
                    look::<Self>(reading, frame, None, out);
                }
                return Ok(());
            }
            mark.restore(out);
        }
        let unknown = self.reading().stats.unknown_frames;
        let done = self.typed(now, frame, out);
        let reading = self.reading();
        match &done {
            Ok(()) => {
                reading.count(&mark, out);
                if reading.fast {
                    let unknown = (reading.stats.unknown_frames > unknown).then_some(mark.actions);
                    look::<Self>(reading, frame, unknown, out);
                }
            }
            Err(_) => {
                reading.stats.errors += 1;
                mark.restore(out);
            }
        }
        done
    }

    fn read_answer(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let Reply::Answer { status, body } = reply else { return Ok(()) };
        let mark = Mark::of(out);
        let done = if status == 200 {
            self.answer(now, id, body, out)
        } else {
            Err(ProtocolError::Status { what: Self::name(id.kind), status })
        };
        let reading = self.reading();
        match &done {
            Ok(()) => reading.count(&mark, out),
            Err(_) => {
                reading.stats.errors += 1;
                mark.restore(out);
            }
        }
        if status == 200 {
            let odd = Self::odd_answer(&mut reading.sentinel, id.kind, body);
            reading.tell(odd, &body[..body.len().min(ANSWER_KEPT_MAX)], true, out);
        }
        done
    }

    /// As [`Session::odd_shape`](crate::Session::odd_shape).
    fn read_shape(&mut self, frame: &[u8]) -> Option<OddShape> {
        let reading = self.reading();
        let odd = Self::odd_frame(&mut reading.sentinel, frame)?;
        reading.stats.odd_shapes = reading.sentinel.counts;
        odd.news.map(|what| OddShape { channel: odd.channel, fingerprint: odd.fingerprint, what })
    }
}

/// Tells when a frame is not as documented. `unknown`: the decoder said so itself, in an action from this place on.
fn look<R: Reads + ?Sized>(reading: &mut Reading, frame: &[u8], unknown: Option<usize>, out: &mut Out) {
    let mut odd = R::odd_frame(&mut reading.sentinel, frame);
    if let (None, Some(from)) = (&odd, unknown) {
        let named = out.actions.iter().skip(from).find_map(|a| match a {
            Action::Note(Note::Unknown { channel }) => Some(channel.as_str()),
            _ => None,
        });
        odd = Some(reading.sentinel.unknown(named.unwrap_or("")));
    }
    reading.tell(odd, frame, unknown.is_none(), out);
}
