//! The coverage ledger: per topic the intervals of ids and of time that are whole, with proof level, and every gap's verdict.
//!
//! It is a pure fold over tape records, so the tape is its write-ahead log: live rows, backfill and imports all reach it the same way
//! (they are records), a reconnect or a restarted line cannot reset it (it knows of neither), and after a crash the last checkpoint and the
//! records behind it give the same ledger again. It outlives the tape's retention: what was held stays known.
//!
//! ```text
//! tape ──fold.rs──► TopicLedger (topic.rs: runs.rs ids · gaps.rs verdicts) ──► report.rs: table, strip, /v1/coverage
//!                        └── checkpoint.rs: coverage.ckpt ──► after a restart, and for readers beside a running process
//! ```
//!
//! Invariants:
//! - Folding records in two pieces, with a checkpoint between, equals folding them in one.
//! - Memory is bounded per topic; what is forgotten is the outline of old holes, never that they were (`runs.rs`, `gaps.rs`).
//! - A verdict counts as far as the rows bear it out: `healed` without rows stays a hole, and is counted as contradicted.
//! - A checkpoint never speaks of records that a power loss could still take.

mod checkpoint;
mod fold;
mod gaps;
mod report;
mod runs;
mod spans;
mod text;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use wholetape_model::{Record, RowFlags, Topic, Ts};

pub use checkpoint::{CKPT_FILE, CheckpointError};
pub use fold::{Caught, Opened};
pub use gaps::{GAPS_MAX, GapCounts, GapEntry, Scar};
pub use report::{Hour, Summary, Totals};
pub use runs::{RUNS_MAX, Run, Runs};
pub use spans::Span;
pub use topic::{CHAIN_RUNS_MAX, Folded, Rule, TopicLedger};

use crate::reader::MissedWhy;

/// The ledger of one tape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    epoch: String,
    topics: BTreeMap<Topic, TopicLedger>,
    /// Until when each connection is known to have lived.
    conns: BTreeMap<u32, Ts>,
    /// The newest time of any record.
    as_of: Ts,
}

impl Coverage {
    #[must_use]
    pub fn new(epoch: &str) -> Self {
        Self { epoch: epoch.to_owned(), topics: BTreeMap::new(), conns: BTreeMap::new(), as_of: Ts::ZERO }
    }

    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The newest time of any record that was folded.
    #[must_use]
    pub const fn as_of(&self) -> Ts {
        self.as_of
    }

    pub fn topics(&self) -> impl Iterator<Item = (&Topic, &TopicLedger)> {
        self.topics.iter()
    }

    #[must_use]
    pub fn topic(&self, topic: &Topic) -> Option<&TopicLedger> {
        self.topics.get(topic)
    }

    /// Takes the next record of `topic`; see [`TopicLedger::apply`].
    pub fn apply(&mut self, topic: &Topic, record: &Record<'_>, find: &mut dyn FnMut(u64) -> Option<u64>) -> Folded {
        let Some(ledger) = self.ledger(topic) else { return Folded::Old };
        let folded = ledger.apply(record, find);
        if folded == Folded::Yes {
            // Only a frame of the connection itself is a sign of its life: not our marks, nor an answer that came over REST.
            let own = !record.is_mark() && !record.flags().is_late() && !record.flags().has(RowFlags::CHECKPOINT);
            self.heard(if own { record.conn() } else { 0 }, record.ts_recv());
        }
        folded
    }

    /// Seqs of `topic` up to `to` are not readable.
    pub fn missed(&mut self, topic: &Topic, to: u64, why: MissedWhy) {
        if let Some(ledger) = self.ledger(topic) {
            ledger.missed(to, why);
        }
    }

    fn ledger(&mut self, topic: &Topic) -> Option<&mut TopicLedger> {
        let rule = Rule::of(topic.kind())?;
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.clone(), TopicLedger::new(rule));
        }
        self.topics.get_mut(topic)
    }

    fn heard(&mut self, conn: u32, ts: Ts) {
        self.as_of = self.as_of.max(ts);
        if conn != 0 {
            let last = self.conns.entry(conn).or_default();
            *last = (*last).max(ts);
        }
    }

    /// Forgets connections that no topic rests on.
    fn prune(&mut self) {
        let used: std::collections::BTreeSet<u32> = self.topics.values().map(|t| t.conn).collect();
        self.conns.retain(|conn, _| used.contains(conn));
    }

    /// Until when the topic is known to have had a living connection.
    fn alive(&self, ledger: &TopicLedger) -> Ts {
        self.conns.get(&ledger.conn).copied().unwrap_or(Ts::ZERO).max(ledger.last)
    }
}
