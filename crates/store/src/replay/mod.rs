//! Stored rows once more: merged over topics, in their order, at their own pace, onto a tape of their own or to whoever takes rows.
//!
//! ```text
//! parts ─► source: a group at a time ─► merge: one order ─► player: pace, pause, step, seek ─► Out: a tape, or lines of JSON
//! (catalog)      (source.rs)               (merge.rs)             (mod.rs, pace.rs)              (onto.rs; app)
//! ```
//!
//! Invariants: whatever the pace, the same rows in the same order; each row once, but after a seek. Nothing is read of what is not
//! wanted but whole row groups at the edges. A live tape is never written to: [`OntoTape`] makes one.

mod holes;
mod merge;
mod onto;
mod pace;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use wholetape_model::{Record, Topic, Ts};
use wholetape_tape::Disk;

pub use holes::{Hole, holes};
pub use merge::{ByEvent, Flow, HELD_MAX, Merge, Order, Range};
pub use onto::{OntoTape, tape_config};
pub use pace::Speed;

use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::State;
use pace::{Due, Pace};

/// What is replayed.
pub struct Plan {
    pub disk: Arc<dyn Disk>,
    /// The data directory whose catalog is read.
    pub data: PathBuf,
    pub range: Range,
    pub order: Order,
    pub speed: Speed,
    pub paused: bool,
    /// A thread reads ahead.
    pub ahead: bool,
}

/// Takes the rows.
pub trait Out {
    /// `topic`: its place in the range.
    ///
    /// # Errors
    /// Ends the replay.
    fn row(&mut self, topic: usize, ts_init: Ts, record: Record<'_>) -> Result<(), StoreError>;

    /// What was given so far may be shown.
    ///
    /// # Errors
    /// Ends the replay.
    fn flush(&mut self) -> Result<(), StoreError>;

    /// The next row is not the one that follows.
    ///
    /// # Errors
    /// Ends the replay.
    fn jumped(&mut self, to: Ts) -> Result<(), StoreError>;
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More is due at once.
    More,
    /// Nothing before this moment of the clock.
    At(u64),
    Paused,
    Done,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    pub rows: u64,
    /// Rows out of the order of `ts_event`.
    pub late: u64,
    /// Time of the next row.
    pub at: Option<Ts>,
    pub speed: Speed,
    pub paused: bool,
}

/// See the module.
pub struct Player {
    plan: Plan,
    flow: Flow,
    pace: Pace,
    rows: u64,
    late: u64,
}

impl Player {
    /// # Errors
    /// No catalog there; a file that cannot be read.
    pub fn open(plan: Plan) -> Result<Self, StoreError> {
        let state = Catalog::look(&*plan.disk, &plan.data)?;
        let flow = Flow::open(&plan.disk, &plan.data, &state, &plan.range, plan.order, plan.ahead)?;
        let pace = Pace::new(plan.speed, plan.paused);
        Ok(Self { plan, flow, pace, rows: 0, late: 0 })
    }

    /// Gives what is due at `now` (a monotonic clock, ns), at most `max` rows.
    ///
    /// # Errors
    /// Damaged data; those of `out`.
    pub fn play(&mut self, now: u64, out: &mut impl Out, max: usize) -> Result<Next, StoreError> {
        let mut given = 0;
        let next = loop {
            let Some(ts) = self.flow.time() else { break Next::Done };
            match self.pace.due(ts, now) {
                Due::Now if given == max => break Next::More,
                Due::Now => {}
                Due::At(at) => break Next::At(at),
                Due::Paused => break Next::Paused,
            }
            let Some((topic, init, record)) = self.flow.row() else { break Next::Done };
            out.row(topic, init, record)?;
            self.pace.gave(ts, now);
            self.flow.advance()?;
            given += 1;
        };
        self.rows += given as u64;
        if given > 0 {
            out.flush()?;
        }
        Ok(next)
    }

    pub fn pause(&mut self, now: u64) {
        self.pace.pause(now);
    }

    pub fn resume(&mut self, now: u64) {
        self.pace.resume(now);
    }

    pub fn set_speed(&mut self, speed: Speed, now: u64) {
        self.pace.set_speed(speed, now);
    }

    /// Pauses, and gives the next `rows` rows.
    pub fn step(&mut self, rows: u64, now: u64) {
        if !self.pace.is_paused() {
            self.pace.pause(now);
        }
        self.pace.step(rows);
    }

    /// Goes on at the first row of `to` or later, forwards or back, within the range.
    ///
    /// # Errors
    /// As [`Player::open`]; those of `out`.
    pub fn seek(&mut self, to: Ts, now: u64, out: &mut impl Out) -> Result<(), StoreError> {
        let range = &self.plan.range;
        let from = to.clamp(range.from, range.to);
        let state = Catalog::look(&*self.plan.disk, &self.plan.data)?;
        let range = Range { topics: range.topics.clone(), from, to: range.to };
        self.late += self.flow.late();
        self.flow = Flow::open(&self.plan.disk, &self.plan.data, &state, &range, self.plan.order, self.plan.ahead)?;
        self.pace.jump(from, now);
        out.jumped(from)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let late = self.late + self.flow.late();
        Status { rows: self.rows, late, at: self.flow.time(), speed: self.pace.speed(), paused: self.pace.is_paused() }
    }

    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.plan.range.topics
    }
}

/// All topics that something is stored of, in the order of their names.
#[must_use]
pub fn topics(state: &State) -> Vec<Topic> {
    let names: std::collections::BTreeSet<&str> = state.parts.values().map(|p| p.topic.as_str()).collect();
    names.into_iter().filter_map(|name| Topic::parse(name).ok()).collect()
}
