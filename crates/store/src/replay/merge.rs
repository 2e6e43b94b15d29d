//! Rows of many topics in one order: a heap of sources, each in order itself.
//!
//! `ts_init`, then topic, then seq: the corrected order (DESIGN §2), and the same every time. Or `ts_event`: rows are held for a
//! window of `ts_init` and come out in the order of the venue's time. A row that comes more than a window after its time is
//! given at once and counted (`late`): the order is exact for all others. Memory: the open groups, and the window's rows, of which
//! no more than [`HELD_MAX`] are held.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wholetape_model::{Record, Topic, Ts};
use wholetape_tape::Disk;

use super::source::{Ahead, Source, Wanted};
use crate::StoreError;
use crate::manifest::State;

/// Rows that the order by `ts_event` holds at most.
pub const HELD_MAX: usize = 1 << 19;
/// With more open parts nothing is read ahead: each takes one more group of memory.
const AHEAD_SOURCES_MAX: usize = 32;

/// Which rows.
#[derive(Debug, Clone)]
pub struct Range {
    pub topics: Vec<Topic>,
    /// Inclusive.
    pub from: Ts,
    /// Exclusive.
    pub to: Ts,
}

/// In which order; the range is one of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Init,
    Event {
        window: Duration,
    },
}

/// Time, topic, seq, source.
type Key = (i64, u32, u64, u32);

/// Rows in the corrected order.
pub struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<Key>>,
    at: Option<usize>,
    // Dropped after the sources: it ends when it has read what they asked for.
    ahead: Option<Ahead>,
}

impl Merge {
    /// `state` is what the manifest said ([`crate::catalog::Catalog::look`]). `ahead`: a thread reads one group ahead.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(
        disk: &Arc<dyn Disk>,
        data: &Path,
        state: &State,
        range: &Range,
        ahead: bool,
    ) -> Result<Self, StoreError> {
        let mut sources = Vec::new();
        let (from, to) = (range.from.0, range.to.0.saturating_sub(1));
        for (no, topic) in (0..).zip(&range.topics) {
            let of = |p: &&crate::manifest::Part| p.to >= from && p.from <= to;
            let tables: BTreeSet<&str> =
                state.parts.of_topic(topic.as_str()).filter(of).map(|p| p.table.as_str()).collect();
            for table in tables {
                let (disk, data, table) = (disk.clone(), data.to_owned(), table.to_owned());
                let wanted = Wanted { disk, data, topic: topic.as_str().to_owned(), table, from, to };
                sources.push(Source::new(no, wanted, state));
            }
        }
        let ahead = if ahead && sources.len() <= AHEAD_SOURCES_MAX { Ahead::start() } else { None };
        let mut this = Self { sources, heads: BinaryHeap::new(), at: None, ahead };
        for (no, source) in (0..).zip(&mut this.sources) {
            if source.refill(this.ahead.as_ref())? {
                let (ts, seq) = source.key();
                this.heads.push(Reverse((ts, source.topic, seq, no)));
            }
        }
        this.at = this.heads.pop().map(|Reverse(key)| key.3 as usize);
        Ok(this)
    }

    /// `ts_init` of the row that it stands at; `None` at the end.
    #[must_use]
    pub fn time(&self) -> Option<Ts> {
        self.at.map(|at| Ts(self.sources[at].key().0))
    }

    /// The row that it stands at: place of its topic in the range, `ts_init`, record.
    #[must_use]
    pub fn row(&self) -> Option<(usize, Ts, Record<'_>)> {
        let source = &self.sources[self.at?];
        let (ts, record) = source.row();
        Some((source.topic as usize, ts, record))
    }

    /// Goes to the next row.
    ///
    /// # Errors
    /// Damaged data.
    pub fn advance(&mut self) -> Result<(), StoreError> {
        let Some(at) = self.at else { return Ok(()) };
        let source = &mut self.sources[at];
        if !source.step(self.ahead.as_ref())? {
            self.at = self.heads.pop().map(|Reverse(key)| key.3 as usize);
            return Ok(());
        }
        let (ts, seq) = source.key();
        let key = (ts, source.topic, seq, at as u32);
        if let Some(mut top) = self.heads.peek_mut()
            && top.0 < key
        {
            self.at = Some(top.0.3 as usize);
            *top = Reverse(key);
        }
        Ok(())
    }
}

/// A row that waits for its place, by `ts_event`, topic, `ts_init`, seq.
type Held = (i64, u32, i64, u64, usize);

/// Rows by the venue's time.
pub struct ByEvent {
    merge: Merge,
    window: i64,
    from: i64,
    to: i64,
    held: BinaryHeap<Reverse<Held>>,
    bytes: Vec<Vec<u8>>,
    free: Vec<usize>,
    /// `ts_event` of the row that it stands at, or stood at last.
    last: i64,
    /// Rows that came too late for their place.
    pub late: u64,
}

impl ByEvent {
    fn new(merge: Merge, window: Duration, from: Ts, to: Ts) -> Result<Self, StoreError> {
        let window = nanos(window);
        let (held, bytes, free) = (BinaryHeap::new(), Vec::new(), Vec::new());
        let mut this = Self { merge, window, from: from.0, to: to.0, held, bytes, free, last: i64::MIN, late: 0 };
        this.fill()?;
        Ok(this)
    }

    /// Holds rows until the earliest of them can have no earlier one behind it.
    fn fill(&mut self) -> Result<(), StoreError> {
        while let Some((topic, init, record)) = self.merge.row() {
            let sure = self.held.peek().is_some_and(|Reverse(h)| h.0 < init.0.saturating_sub(self.window));
            if sure || self.held.len() >= HELD_MAX {
                break;
            }
            let event = record.ts_event().0;
            if (self.from..self.to).contains(&event) {
                let slot = self.free.pop().unwrap_or(self.bytes.len());
                if slot == self.bytes.len() {
                    self.bytes.push(Vec::new());
                }
                self.bytes[slot].clear();
                self.bytes[slot].extend_from_slice(record.bytes());
                self.held.push(Reverse((event, topic as u32, init.0, record.seq(), slot)));
            }
            self.merge.advance()?;
        }
        if let Some(Reverse(top)) = self.held.peek() {
            self.late += u64::from(top.0 < self.last);
            self.last = self.last.max(top.0);
        }
        Ok(())
    }

    fn row(&self) -> Option<(usize, Ts, Record<'_>)> {
        let Reverse((_, topic, init, _, slot)) = self.held.peek()?;
        let record = Record::parse(&self.bytes[*slot], false).ok()?;
        Some((*topic as usize, Ts(*init), record))
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        if let Some(Reverse(top)) = self.held.pop() {
            self.free.push(top.4);
        }
        self.fill()
    }
}

/// Rows in the order that was asked for.
pub enum Flow {
    Init(Merge),
    Event(Box<ByEvent>),
}

impl Flow {
    /// As [`Merge::open`].
    ///
    /// # Errors
    /// As [`Merge::open`].
    pub fn open(
        disk: &Arc<dyn Disk>,
        data: &Path,
        state: &State,
        range: &Range,
        order: Order,
        ahead: bool,
    ) -> Result<Self, StoreError> {
        let Order::Event { window } = order else {
            return Ok(Self::Init(Merge::open(disk, data, state, range, ahead)?));
        };
        // A row's two times differ: those of the edges are looked for a window further.
        let wide = nanos(window);
        let (from, to) = (Ts(range.from.0.saturating_sub(wide)), Ts(range.to.0.saturating_add(wide)));
        let merge = Merge::open(disk, data, state, &Range { topics: range.topics.clone(), from, to }, ahead)?;
        Ok(Self::Event(Box::new(ByEvent::new(merge, window, range.from, range.to)?)))
    }

    /// The time, in its order, of the row that it stands at; `None` at the end.
    #[must_use]
    pub fn time(&self) -> Option<Ts> {
        match self {
            Self::Init(merge) => merge.time(),
            Self::Event(by) => by.held.peek().map(|Reverse(top)| Ts(top.0)),
        }
    }

    /// As [`Merge::row`].
    #[must_use]
    pub fn row(&self) -> Option<(usize, Ts, Record<'_>)> {
        match self {
            Self::Init(merge) => merge.row(),
            Self::Event(by) => by.row(),
        }
    }

    /// # Errors
    /// As [`Merge::advance`].
    pub fn advance(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Init(merge) => merge.advance(),
            Self::Event(by) => by.advance(),
        }
    }

    /// Rows given out of the order of `ts_event`.
    #[must_use]
    pub fn late(&self) -> u64 {
        match self {
            Self::Init(_) => 0,
            Self::Event(by) => by.late,
        }
    }
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}
