//! What the line does about a venue that speaks otherwise than documented.
//!
//! Sessions find the odd frames ([`wholetape_venue::shape`]); here each odd shape is told once per line, over restarts too:
//! an alert in `alert.<line>`, and around it the last frames of that connection, and the next ones, into `raw.<line>`, so
//! that whoever mends the decoder sees what came, also where raw frames are not kept. The odd frames themselves are kept raw
//! by the session.
//!
//! Beside the shape the rate: a channel that brings ten times more or less than it did, for minutes, while the rest of its
//! line does not, is told once as well.
//!
//! Bounds: a ring of [`RING_FRAMES`] frames and [`RING_BYTES`] bytes per connection, filled without allocation once it has
//! grown; [`KNOWN_MAX`] shapes per line.

use std::collections::VecDeque;
use std::time::Duration;

use wholetape_model::{Body, Kind, Raw, Severity, Ts};
use wholetape_venue::OddShape;
use wholetape_venue::shape::CHANNELS;

use super::Line;
use super::out::{ConnIx, LineOut};

/// Frames kept of each connection, and their bytes.
pub const RING_FRAMES: usize = 64;
pub const RING_BYTES: usize = 256 << 10;
/// A frame longer than this is kept cut off.
const FRAME_MAX: usize = 32 << 10;
/// Frames that are kept after an odd one.
const AFTER: u8 = 16;
/// Shapes that a line remembers; what is beyond is counted only.
pub const KNOWN_MAX: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Kept {
    start: usize,
    len: usize,
    frame: u32,
    at: Ts,
}

/// The last frames of one connection, in one buffer that is written round and round.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: Vec<u8>,
    frames: VecDeque<Kept>,
    next: usize,
    /// So many of the next frames are written out as well.
    after: u8,
}

impl Ring {
    #[inline]
    pub fn keep(&mut self, frame: u32, at: Ts, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(FRAME_MAX)];
        if self.next + bytes.len() > RING_BYTES {
            // The rest of the buffer stays empty: a frame lies in one piece. What lies there is older than what lies before.
            while self.frames.front().is_some_and(|f| f.start >= self.next) {
                self.frames.pop_front();
            }
            self.next = 0;
        }
        let end = self.next + bytes.len();
        while self.frames.len() >= RING_FRAMES
            // An empty frame lies nowhere, but what is behind it does.
            || self.frames.iter().find(|f| f.len > 0).is_some_and(|f| f.start < end && f.start + f.len > self.next)
        {
            self.frames.pop_front();
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[self.next..end].copy_from_slice(bytes);
        self.frames.push_back(Kept { start: self.next, len: bytes.len(), frame, at });
        self.next = end;
    }

    /// Oldest first: frame number, time, bytes.
    fn iter(&self) -> impl Iterator<Item = (u32, Ts, &[u8])> {
        self.frames.iter().map(|f| (f.frame, f.at, &self.bytes[f.start..f.start + f.len]))
    }
}

/// Minutes before a rate counts as learned, and minutes of another rate before it is told.
const LEARNED: u32 = 10;
const OTHER: u32 = 3;
const TIMES: f64 = 10.0;
/// Channels that bring fewer frames a minute are too rare to tell.
const RATE_MIN: f64 = 30.0;

/// One channel's frames per minute.
#[derive(Debug, Default)]
struct Rate {
    channel: &'static str,
    count: u64,
    typical: f64,
    minutes: u32,
    other: u32,
    told: bool,
}

/// What one minute shows of a channel.
#[derive(Debug, PartialEq, Eq)]
enum Pace {
    Usual,
    Other,
    Told,
}

impl Rate {
    /// `elsewhere` is how many times more than usual the line's other channels brought; `None` where there are none.
    fn minute(&mut self, frames: f64, elsewhere: Option<f64>) -> Pace {
        self.minutes = self.minutes.saturating_add(1);
        let times = (frames + 1.0) / (self.typical + 1.0);
        let busy = frames.max(self.typical) >= RATE_MIN;
        let own = match elsewhere {
            // The market as a whole became faster or slower: no drift of one channel.
            Some(e) => times / e.max(0.01) >= TIMES / 2.0 || e / times.max(0.001) >= TIMES / 2.0,
            // Alone on its line, a market that falls asleep looks the same as a channel that dries up.
            None => times > 1.0,
        };
        let gross = self.minutes > LEARNED && busy && own && (times >= TIMES || times <= 1.0 / TIMES);
        // A gross rate is learned slowly, so that it stays gross for as long as it takes to tell.
        let weight = if gross { 256.0 } else { f64::from(self.minutes.min(30)) };
        self.typical += (frames - self.typical) / weight;
        if !gross {
            self.other = 0;
            self.told = false;
            return Pace::Usual;
        }
        self.other += 1;
        if self.other >= OTHER && !std::mem::replace(&mut self.told, true) { Pace::Told } else { Pace::Other }
    }
}

/// The line's memory of odd shapes and of rates.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Shapes that were told, by fingerprint; sorted by nothing, few.
    pub known: Vec<u64>,
    rates: Vec<Rate>,
    minute_at: Ts,
    /// Something new is known since it was last written to the tape.
    pub dirty: bool,
}

impl Line {
    /// A session met a shape that is new to it.
    #[cold]
    pub(super) fn on_shape(&mut self, conn: ConnIx, shape: &OddShape, now: Ts, out: &mut LineOut) {
        if self.drift.known.contains(&shape.fingerprint) || self.drift.known.len() >= KNOWN_MAX {
            return;
        }
        self.drift.known.push(shape.fingerprint);
        self.drift.dirty = true;
        self.stats.shapes += 1;
        let OddShape { channel, fingerprint, what } = shape;
        let text = format!("{channel}: {what} (shape {fingerprint:016x}); kept raw, told once");
        self.alert(Severity::Warning, "shape", &text, conn, now, out);
        if self.drift.known.len() == KNOWN_MAX {
            self.alert(Severity::Warning, "shape", "no more new shapes are told: too many", conn, now, out);
        }
        let ring = std::mem::take(&mut self.rings[conn]);
        for (frame, at, bytes) in ring.iter() {
            self.raw_row(conn, "around", frame, at, bytes, now, out);
        }
        self.rings[conn] = ring;
        self.rings[conn].after = AFTER;
    }

    /// Answers of REST that are not as documented, kept as they came; what else was read of them stays.
    pub(super) fn take_raw(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        if !out.scratch.events.iter().any(|event| event.kind == Kind::Raw) {
            return;
        }
        // Places of events change below.
        out.scratch.checksums.clear();
        let mut events = std::mem::take(&mut out.scratch.events);
        events.retain(|event| {
            if event.kind == Kind::Raw {
                let topic = self.topics.own(Kind::Raw, &self.plan.name);
                self.push_mark(topic, event.body, conn, now, out);
            }
            event.kind != Kind::Raw
        });
        out.scratch.events = events;
    }

    /// The frames behind an odd one.
    #[cold]
    pub(super) fn keep_after(&mut self, conn: ConnIx, bytes: &[u8], now: Ts, out: &mut LineOut) {
        self.rings[conn].after -= 1;
        let frame = self.conns[conn].frame;
        self.raw_row(conn, "around", frame, now, &bytes[..bytes.len().min(FRAME_MAX)], now, out);
    }

    #[inline]
    pub(super) fn wants_after(&self, conn: ConnIx) -> bool {
        self.rings[conn].after > 0
    }

    fn raw_row(&mut self, conn: ConnIx, channel: &str, frame: u32, at: Ts, bytes: &[u8], now: Ts, out: &mut LineOut) {
        let raw = Raw {
            channel: out.scratch.arena.text(channel),
            text: out.scratch.arena.text(&String::from_utf8_lossy(bytes)),
        };
        let topic = self.topics.own(Kind::Raw, &self.plan.name);
        self.push_mark(topic, Body::Raw(raw), conn, now, out);
        if let Some(row) = out.rows.last_mut() {
            row.frame = frame;
            row.ts_event = at;
        }
    }

    /// Once a second: odd frames are added up for the metrics; once a minute the rates are looked at.
    pub(super) fn watch_drift(&mut self, now: Ts, out: &mut LineOut) {
        let mut odd = [0; CHANNELS.len()];
        for conn in &self.conns {
            for (sum, n) in odd.iter_mut().zip(conn.session.stats().odd_shapes) {
                *sum += n;
            }
        }
        self.stats.odd_shapes = odd;
        if self.drift.minute_at == Ts::ZERO {
            self.drift.minute_at = now + Duration::from_secs(60);
        }
        if now < self.drift.minute_at {
            return;
        }
        self.drift.minute_at = now + Duration::from_secs(60);
        for (channel, text) in self.rates() {
            let conn = 0;
            self.alert(Severity::Info, "rate", &format!("{channel}: {text}"), conn, now, out);
        }
    }

    fn rates(&mut self) -> Vec<(&'static str, String)> {
        let mut counts: Vec<(&'static str, u64)> = Vec::new();
        for conn in &self.conns {
            for (channel, n) in &conn.session.stats().by_channel {
                match counts.iter_mut().find(|(c, _)| c == channel) {
                    Some((_, sum)) => *sum += n,
                    None => counts.push((channel, *n)),
                }
            }
        }
        let rates = &mut self.drift.rates;
        let mut minute = Vec::new();
        for (channel, count) in counts {
            if !rates.iter().any(|r| r.channel == channel) {
                // Since when it counts is not known: its first minute is the next one.
                rates.push(Rate { channel, count, ..Rate::default() });
                continue;
            }
            if let Some(at) = rates.iter().position(|r| r.channel == channel) {
                let frames = count.saturating_sub(rates[at].count) as f64;
                rates[at].count = count;
                minute.push((at, frames));
            }
        }
        let (all, usual): (f64, f64) =
            (minute.iter().map(|m| m.1).sum(), minute.iter().map(|m| rates[m.0].typical).sum());
        let mut told = Vec::new();
        for (at, frames) in minute {
            let (other_frames, other_usual) = (all - frames, usual - rates[at].typical);
            let elsewhere = (other_usual >= RATE_MIN).then(|| (other_frames + 1.0) / (other_usual + 1.0));
            let before = rates[at].typical;
            if rates[at].minute(frames, elsewhere) == Pace::Told {
                told.push((
                    rates[at].channel,
                    format!("{frames:.0} frames a minute, {before:.0} before, for {OTHER} minutes"),
                ));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_of_the_whole_market_is_no_drift_of_a_channel() {
        let mut r = Rate::default();
        for _ in 0..30 {
            assert_eq!(r.minute(600.0, Some(1.0)), Pace::Usual);
        }
        assert_eq!(r.minute(9_000.0, Some(12.0)), Pace::Usual);
        let mut r = Rate { typical: 600.0, minutes: 30, ..Rate::default() };
        let paces: Vec<_> = (0..5).map(|_| r.minute(30_000.0, Some(1.0))).collect();
        assert_eq!(paces, [Pace::Other, Pace::Other, Pace::Told, Pace::Other, Pace::Other]);
        let mut r = Rate { typical: 600.0, minutes: 30, ..Rate::default() };
        assert!((0..5).any(|_| r.minute(2.0, Some(1.0)) == Pace::Told), "dried up");
        let mut r = Rate { typical: 600.0, minutes: 30, ..Rate::default() };
        assert!((0..5).all(|_| r.minute(2.0, None) == Pace::Usual), "alone: it may be asleep");
    }

    #[test]
    fn an_empty_frame_keeps_no_place_in_the_ring() {
        let mut ring = Ring::default();
        ring.keep(0, Ts(0), &[]);
        for i in 1..=(RING_BYTES / FRAME_MAX + 1) as u32 {
            ring.keep(i, Ts(0), &vec![i as u8; FRAME_MAX]);
        }
        assert!(ring.iter().all(|(frame, _, bytes)| bytes.iter().all(|b| *b == frame as u8)));
    }

    proptest! {
        #[test]
        fn the_ring_holds_the_last_frames_whole(sizes in proptest::collection::vec(0_usize..40_000, 1..300)) {
            let mut ring = Ring::default();
            for (i, size) in sizes.iter().enumerate() {
                ring.keep(i as u32, Ts(i as i64), &vec![i as u8; *size]);
            }
            let held: Vec<_> = ring.iter().map(|(frame, _, bytes)| (frame, bytes.to_vec())).collect();
            prop_assert!(!held.is_empty() && held.len() <= RING_FRAMES);
            prop_assert!(ring.bytes.len() <= RING_BYTES);
            let first = sizes.len() - held.len();
            for (i, (frame, bytes)) in held.iter().enumerate() {
                prop_assert_eq!(*frame as usize, first + i);
                prop_assert_eq!(bytes, &vec![(first + i) as u8; sizes[first + i].min(FRAME_MAX)]);
            }
            // Small frames: as many as fit.
            if sizes.iter().all(|s| *s < 2_000) {
                prop_assert_eq!(held.len(), sizes.len().min(RING_FRAMES));
            }
        }
    }
}
