//! What a line learned, on its own tape, so that a restart knows it: cadences and odd shapes.
//!
//! Rows of `quality.<line>`, bodies `raw`: channel `cadence` with one line per stream (`trade.BTCUSDT.BINANCE 14:3=120,4=7`,
//! see [`Cadence::write`]) or connection (`conn/0 …`), channel `shapes` with the fingerprints of all odd shapes that were
//! told, and channel `subscribed` with the time (ns) since when its streams are followed: a stream that never spoke has no row
//! that a restart could tell its silence by; of several sockets also `behind` (see [`super::behind`]). Every ten minutes the hour at hand is written, when the hour changes all hours are; a stream of one busy hour takes
//! some 50 bytes, one of 24 about 1 KiB. A start reads the newest 256 rows.
//!
//! Invariants: a row is at most [`TEXT_MAX`] long; what cannot be read is left out and learned anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use wholetape_model::{Body, Kind, Raw, Topic, Ts};

use super::cadence::{Cadence, hour};
use super::out::LineOut;
use super::silence::is_watched;
use super::{Line, TopicResume};

const EVERY: Duration = Duration::from_secs(600);
/// Of one row.
pub const TEXT_MAX: usize = 48 << 10;
const CADENCE: &str = "cadence";
const SHAPES: &str = "shapes";
const SUBSCRIBED: &str = "subscribed";

/// What was learned before, until its stream is there; and when the next rows are due.
#[derive(Debug, Default)]
pub(super) struct Memory {
    learned: BTreeMap<String, Cadence>,
    shapes: Vec<u64>,
    /// Since when the process before followed its streams, and this one.
    pub followed_before: Option<Ts>,
    followed: Option<Ts>,
    /// Until when a set was heard that the process before left behind: see [`super::behind`].
    pub behind: BTreeMap<usize, Ts>,
    next: Ts,
    hour: usize,
}

impl Memory {
    pub fn of(resume: Option<&TopicResume>) -> Self {
        let mut memory = Self::default();
        for (channel, text) in resume.into_iter().flat_map(|r| &r.notes) {
            match channel.as_str() {
                CADENCE => {
                    for line in text.lines() {
                        let (name, hours) = line.split_once(' ').unwrap_or((line, ""));
                        memory.learned.entry(name.to_owned()).or_default().read(hours);
                    }
                }
                SHAPES => {
                    memory.shapes =
                        text.split_ascii_whitespace().filter_map(|w| u64::from_str_radix(w, 16).ok()).collect();
                }
                super::behind::CHANNEL => super::behind::read(&mut memory.behind, text),
                SUBSCRIBED => memory.followed_before = text.parse().ok().map(Ts),
                _ => {}
            }
        }
        memory.learned.retain(|_, cadence| !cadence.is_empty());
        memory
    }

    pub fn cadence(&mut self, name: &str) -> Option<Cadence> {
        self.learned.remove(name)
    }
}

impl Line {
    /// The topic must be there from the start, so that the tape is asked for it.
    pub(super) fn recall(&mut self) {
        self.topics.own(Kind::Quality, &self.plan.name);
        let name = Topic::about(Kind::Quality, &self.plan.name);
        self.memory = Memory::of(self.plan.resume.topics.get(name.as_str()));
        self.drift.known = std::mem::take(&mut self.memory.shapes);
        self.drift.known.truncate(super::drift::KNOWN_MAX);
        for (conn, watch) in self.watches.iter_mut().enumerate() {
            if let Some(pace) = self.memory.cadence(&format!("conn/{conn}")) {
                watch.pace = pace;
            }
        }
    }

    /// A connection carries its streams.
    pub(super) fn follow(&mut self, now: Ts, out: &mut LineOut) {
        if self.memory.followed.is_none() {
            self.memory.followed = Some(now);
            self.note(SUBSCRIBED, &now.0.to_string(), now, out);
        }
    }

    /// Writes what is due.
    pub(super) fn remember(&mut self, now: Ts, out: &mut LineOut) {
        if self.drift.dirty {
            self.write_shapes(now, out);
        }
        let hour = hour(now);
        if self.memory.next == Ts::ZERO {
            (self.memory.next, self.memory.hour) = (now + EVERY, hour);
        }
        let whole = hour != self.memory.hour;
        if now < self.memory.next && !whole {
            return;
        }
        (self.memory.next, self.memory.hour) = (now + EVERY, hour);
        if whole && !self.drift.known.is_empty() {
            self.write_shapes(now, out);
        }
        if let Some(since) = self.memory.followed {
            self.note(SUBSCRIBED, &since.0.to_string(), now, out);
        }
        let only = (!whole).then_some(hour);
        let mut lines = Vec::new();
        let streams = self.topics.list.iter().filter(|t| is_watched(t.kind)).map(|t| (t.topic.to_string(), &t.pace));
        let conns = self.watches.iter().enumerate().map(|(conn, w)| (format!("conn/{conn}"), &w.pace));
        for (mut line, pace) in streams.chain(conns) {
            let bare = line.len();
            pace.write(only, &mut line);
            if line.len() > bare {
                lines.push(line);
            }
        }
        let mut text = String::new();
        for line in lines {
            if text.len() + line.len() + 1 > TEXT_MAX {
                self.note(CADENCE, &std::mem::take(&mut text), now, out);
            }
            let _ = writeln!(text, "{line}");
        }
        if !text.is_empty() {
            self.note(CADENCE, &text, now, out);
        }
    }

    fn write_shapes(&mut self, now: Ts, out: &mut LineOut) {
        self.drift.dirty = false;
        let text: Vec<String> = self.drift.known.iter().map(|f| format!("{f:016x}")).collect();
        self.note(SHAPES, &text.join(" "), now, out);
    }

    pub(super) fn note(&mut self, channel: &str, text: &str, now: Ts, out: &mut LineOut) {
        let raw = Raw { channel: out.scratch.arena.text(channel), text: out.scratch.arena.text(text) };
        let topic = self.topics.own(Kind::Quality, &self.plan.name);
        self.push_mark(topic, Body::Raw(raw), 0, now, out);
    }
}
