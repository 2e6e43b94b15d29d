//! One view of a topic, shared by all who follow it: a depth of a book, conflated or not, or the latest of a quote or ticker.
//!
//! A tick covers everything since the one before: one merge and one encode, however many subscribers. Marks are not merged: what
//! is pending is told before them, and then they come with a range of their own. The ring is short; whoever falls off it is
//! given the state (`snap`) at a tick, and finds the marks of what it passed in the log (`subscription/view.rs`).
//!
//! Invariant: frames are adjacent (`prev` of each is `seq` of the one before), and the last one ends at `at`.

#[cfg(test)]
mod model;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wholetape_model::{Kind, Record, Topic, Ts, View as Body};
use wholetape_tape::Shared;
use wholetape_wire::CRC_EVERY;
use wholetape_wire::conflate::BookCut;
use wholetape_wire::message::{self, Context, Merged};
use wholetape_ws::Block;

use crate::stats::GatewayStats;
use crate::ws::book::BookState;
use crate::ws::forms::Wanted;
use crate::ws::stream::{Frame, Next};

/// Messages of a view that are kept for those who read it.
const FRAMES_MAX: usize = 1_024;

/// When a view tells what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Period {
    EveryChange,
    Ms100,
    S1,
}

impl Period {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EveryChange => "none",
            Self::Ms100 => "100ms",
            Self::S1 => "1s",
        }
    }

    /// Its ticks are the multiples of this, by the wall clock.
    const fn ms(self) -> Option<i64> {
        match self {
            Self::EveryChange => None,
            Self::Ms100 => Some(100),
            Self::S1 => Some(1_000),
        }
    }
}

/// Which view of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Levels a side; `None`: all.
    pub depth: Option<u16>,
    pub period: Period,
}

impl Key {
    /// What the policy `conflate` goes on with.
    pub const POLICY: Self = Self { depth: None, period: Period::Ms100 };

    /// The view that `conflate` and `depth` of a `sub` ask for; `None`: the stream itself.
    pub fn asked(conflate: Option<&str>, depth: Option<u64>) -> Option<Self> {
        let period = match conflate {
            Some("100ms") => Period::Ms100,
            Some("1s") => Period::S1,
            _ => Period::EveryChange,
        };
        let depth = depth.and_then(|d| u16::try_from(d).ok());
        (depth.is_some() || period != Period::EveryChange).then_some(Self { depth, period })
    }

    pub const fn ticks(self) -> bool {
        self.period.ms().is_some()
    }
}

/// Whether one message of `kind` can stand for those before it.
pub(crate) const fn conflatable(kind: Kind) -> bool {
    matches!(kind, Kind::Book | Kind::Quote | Kind::Ticker)
}

/// The stream as a view sees it.
pub(crate) struct Place<'a> {
    pub topic: &'a Topic,
    pub epoch: &'a str,
    /// Seq of the stream's last message.
    pub at: u64,
    pub book: Option<&'a BookState>,
    /// Quote, ticker: the newest record.
    pub last: Option<&'a Shared>,
    pub ring_bytes: usize,
    pub wanted: &'a Wanted,
    pub stats: &'a GatewayStats,
}

pub(crate) struct View {
    pub key: Key,
    /// Everything up to here was told.
    pub at: u64,
    ring: VecDeque<Frame>,
    ring_bytes: usize,
    /// `prev` of the oldest frame; `at` when there is none.
    ring_start: u64,
    /// Messages since `at`.
    pending: u64,
    /// What clients hold of a book.
    cut: BookCut,
    /// They hold something else: the next tick gives the whole state.
    replaced: bool,
    /// Updates since the last checksum.
    updates: u32,
    /// The last tick, in multiples of the period.
    ticked: i64,
    /// The state at this seq, encoded once for all who come at the same tick.
    snap: Option<(u64, Arc<Frame>)>,
    pub members: usize,
    /// Somebody waits for the tick, or for the next message.
    pub awaited: bool,
    /// Somebody is to be woken.
    pub fresh: bool,
}

impl View {
    /// `now_ms`: wall clock, ms since the Unix epoch. Its first tick is the next one.
    pub fn new(key: Key, at: u64, book: Option<&BookState>, now_ms: i64) -> Self {
        let mut view = Self {
            key,
            at,
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_start: at,
            pending: 0,
            cut: BookCut::new(key.depth),
            replaced: false,
            updates: 0,
            ticked: key.period.ms().map_or(0, |period| now_ms.div_euclid(period)),
            snap: None,
            members: 0,
            awaited: false,
            fresh: false,
        };
        view.begin(at, book);
        view
    }

    /// Nobody holds anything: it begins at `at`.
    pub fn begin(&mut self, at: u64, book: Option<&BookState>) {
        (self.at, self.ring_start, self.ring_bytes) = (at, at, 0);
        self.ring.clear();
        (self.pending, self.updates, self.replaced, self.snap, self.fresh) = (0, 0, false, None, true);
        if let Some(book) = book {
            self.cut.restart(&book.view);
        }
    }

    /// A message of the stream that is no mark. The book has taken it.
    pub fn note(&mut self, record: &Record<'_>) {
        self.pending += 1;
        if record.is_book_start() {
            self.replaced = true;
        } else if let Ok(Body::Book(b)) = record.view() {
            self.replaced |= self.cut.touch(record.scales(), b.bids, b.asks).is_err();
        }
    }

    /// The book was replaced without a message: what clients hold is not it.
    pub fn replace(&mut self) {
        (self.replaced, self.snap) = (true, None);
    }

    /// Tells what is pending, if its tick has come. `now_ms`: wall clock, ms since the Unix epoch.
    pub fn tick(&mut self, now_ms: i64, place: &Place<'_>) {
        let Some(period) = self.key.period.ms() else { return };
        let tick = now_ms.div_euclid(period);
        if tick == self.ticked {
            return;
        }
        self.ticked = tick;
        self.flush(place);
        self.fresh |= std::mem::take(&mut self.awaited);
    }

    /// Whether something waits for the tick.
    pub const fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Tells what is pending as one message. A change that is not seen in this depth is left to the next one, unless
    /// this is a tick or somebody waits.
    pub fn flush(&mut self, place: &Place<'_>) {
        if self.pending == 0 {
            return;
        }
        let (from, mut out) = (self.at, Vec::with_capacity(256));
        let mut cx = Context { topic: place.topic, epoch: place.epoch, prev: from, state: None, crc: None };
        let mut merged = Merged { seq: place.at, n: self.pending, ts: Ts::ZERO, update_id: 0 };
        if let Some(book) = place.book {
            (cx.state, merged.ts, merged.update_id) = (book.told(), book.ts, book.vid);
            let change = if self.replaced { None } else { self.cut.change(&book.view).ok() };
            match change {
                Some(change) if change.is_empty() && !self.key.ticks() && !self.awaited => return,
                Some(change) => {
                    self.updates += 1;
                    if self.updates >= CRC_EVERY && !book.broken {
                        self.updates = 0;
                        cx.crc = Some(book.view.crc());
                    }
                    message::book_change(&mut out, &cx, &merged, &change);
                }
                None => {
                    self.cut.restart(&book.view);
                    (self.updates, self.replaced) = (0, false);
                    message::book_cut_snap(&mut out, &cx, &merged, &book.view, self.key.depth);
                }
            }
        } else if let Some(last) = place.last {
            let record = last.record();
            merged.ts = record.ts_recv();
            if message::latest(&mut out, &cx, &merged, &record).is_err() {
                return; // The stream saw that it reads, or lost its place.
            }
        }
        self.push(place, merged.ts, out);
    }

    /// A mark, behind everything that was pending.
    pub fn mark(&mut self, record: &Record<'_>, place: &Place<'_>) {
        let cx = Context { topic: place.topic, epoch: place.epoch, prev: self.at, state: None, crc: None };
        let mut out = Vec::with_capacity(256);
        if message::record(&mut out, &cx, record).is_ok() {
            self.push(place, record.ts_recv(), out);
        }
    }

    fn push(&mut self, place: &Place<'_>, ts: Ts, out: Vec<u8>) {
        let Some(text) = Block::text(&out) else { return };
        place.stats.view_encoded_total.fetch_add(1, Ordering::Relaxed);
        let frame = Frame::new((self.at, place.at), ts, text, place.wanted);
        self.ring_bytes += frame.cost;
        self.ring.push_back(frame);
        (self.at, self.pending, self.fresh, self.awaited) = (place.at, 0, true, false);
        while self.ring.len() > 1 && (self.ring.len() > FRAMES_MAX || self.ring_bytes > place.ring_bytes) {
            let Some(old) = self.ring.pop_front() else { break };
            self.ring_bytes -= old.cost;
            self.ring_start = old.seq;
        }
    }

    /// Gives up to `max` messages behind `position` to `out` while it takes.
    pub fn next(&self, position: u64, max: usize, mut out: impl FnMut(&Frame) -> bool) -> Next {
        if position >= self.at {
            return Next::Idle;
        }
        let i = self.ring.partition_point(|f| f.seq <= position);
        if position < self.ring_start || self.ring.get(i).is_none_or(|f| f.prev != position) {
            return Next::Behind;
        }
        for frame in self.ring.range(i..).take(max) {
            if !out(frame) {
                break;
            }
        }
        Next::Took
    }

    /// The state at `at`, where nothing is pending but what is not seen in this view; `None` while the topic has none.
    pub fn snap(&mut self, place: &Place<'_>) -> Option<Arc<Frame>> {
        if let Some((at, frame)) = &self.snap
            && *at == self.at
        {
            return Some(frame.clone());
        }
        let mut out = Vec::with_capacity(1 << 10);
        let mut cx = Context { topic: place.topic, epoch: place.epoch, prev: 0, state: None, crc: None };
        if let Some(book) = place.book {
            cx.state = book.told();
            let merged = Merged { seq: self.at, n: 0, ts: book.ts, update_id: book.vid };
            message::book_cut_snap(&mut out, &cx, &merged, &book.view, self.key.depth);
        } else {
            message::state_snap(&mut out, &cx, self.at, &place.last?.record()).ok()?;
        }
        let text = Block::text(&out)?;
        place.stats.view_encoded_total.fetch_add(1, Ordering::Relaxed);
        let frame = Arc::new(Frame::new((self.at, self.at), Ts::ZERO, text, place.wanted));
        self.snap = Some((self.at, frame.clone()));
        Some(frame)
    }
}
