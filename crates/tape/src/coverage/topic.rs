//! One topic's ledger: a fold over its records in the order of their seqs.
//!
//! What proves what: ids of trades are consecutive, so held ids prove themselves; a book's updates name the ids they cover, so an
//! unbroken chain from a snapshot proves itself; every other kind, and trades whose ids are loose, are believed as long as their
//! connection was unbroken, and the line confesses when it was not. Verdicts are believed only as far as the rows bear them out.

use wholetape_model::{Body, BookAction, Gap, GapCause, GapState, HealSource, Kind, Record, Ts};

use super::gaps::Gaps;
use super::runs::{Held, Runs};
use crate::reader::MissedWhy;

/// The ledger's own gaps (seqs that it could not read) are numbered from here, beside the tape's.
const UNREAD_GAPS: u64 = 3 << 51;
/// Intervals of ids kept apart where nobody asks for missing ids again: a book's holes are for people, and a bad line makes a thousand
/// an hour.
pub const CHAIN_RUNS_MAX: usize = 512;

/// What proves that a topic is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Consecutive ids, one per row.
    Ids,
    /// Each row names the ids it covers.
    Chain,
    /// Nothing but an unbroken connection. A topic of trades comes to it with the first row whose id is loose.
    Live,
}

impl Rule {
    /// `None`: not market data, or state that is asked for now and then (definitions, status, open interest), where each row
    /// stands for itself and nothing between two rows can be missing.
    #[must_use]
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Trade | Kind::TradeRaw => Some(Self::Ids),
            Kind::Book => Some(Self::Chain),
            Kind::Quote
            | Kind::Ticker
            | Kind::Bar(_)
            | Kind::Funding
            | Kind::Mark
            | Kind::Index
            | Kind::Liquidation
            | Kind::Consolidated => Some(Self::Live),
            _ => None,
        }
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// Taken in.
    Yes,
    /// Of a seq that was folded before: changes nothing.
    Old,
    /// It covers seqs that were folded as something else: the tape lost what this ledger has seen. Nothing was changed; the
    /// topic must be folded anew.
    Rewound,
}

/// What is known of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicLedger {
    pub rule: Rule,
    /// Folded up to here.
    pub seq: u64,
    /// Times of the first and the last row.
    pub first: Ts,
    pub last: Ts,
    /// The connection that brought the last live row.
    pub conn: u32,
    pub runs: Runs,
    pub gaps: Gaps,
    /// Seqs up to here were gone before they were folded: what they held is not known.
    pub unknown_to: u64,
    /// Seqs later than that which could not be read.
    pub unread: u64,
    /// Rows whose id was held already: the tape has them twice.
    pub repeats: u64,
    /// Verdicts that the rows did not bear out.
    pub contradicted: u64,
    /// The venue links updates without counting them one by one, so missing ones cannot be counted.
    pub linked: bool,
    /// The gap whose end is the next row.
    pub(super) ends_with_row: u64,
}

impl TopicLedger {
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            seq: 0,
            first: Ts::ZERO,
            last: Ts::ZERO,
            conn: 0,
            runs: Runs::default(),
            gaps: Gaps::default(),
            unknown_to: 0,
            unread: 0,
            repeats: 0,
            contradicted: 0,
            linked: false,
            ends_with_row: 0,
        }
    }

    /// Takes the next record. `find` looks an earlier row up, by its seq, and tells its id: for withdrawn ones.
    pub fn apply(&mut self, record: &Record<'_>, find: &mut dyn FnMut(u64) -> Option<u64>) -> Folded {
        let seq = record.seq();
        if seq <= self.seq {
            return Folded::Old;
        }
        if record.prev() < self.seq {
            return Folded::Rewound;
        }
        if record.prev() > self.seq {
            self.missed(record.prev(), MissedWhy::Corrupt);
        }
        self.seq = seq;
        let Ok(body) = record.view() else {
            // Written by a newer version, or damaged in a way that its checksum does not show.
            self.unread_gap(seq, seq, "a record that cannot be read");
            return Folded::Yes;
        };
        let now = record.ts_recv();
        match body {
            Body::Gap(gap) => {
                if gap.state == GapState::Lost {
                    // A stream that no id protects gets this verdict when it is back, and on the connection that brings it.
                    self.heard(record.conn());
                }
                self.on_gap(&gap, now);
            }
            Body::Validity(_) => {}
            Body::Retract(of) => {
                if let Some(id) = find(of) {
                    self.runs.withdraw(id, now);
                }
            }
            Body::Book(b) if b.action == BookAction::Checkpoint => self.heard(record.conn()),
            Body::Trade(t) => {
                let ts = self.row(record);
                match t.counted(record.flags()) {
                    // Names prove nothing; the line confesses by time.
                    None => self.rule = Rule::Live,
                    Some(id) if id > 0 && self.rule == Rule::Ids && self.runs.hold(id, ts) == Held::Repeat => {
                        self.repeats += 1;
                    }
                    Some(_) => {}
                }
            }
            Body::Book(b) => {
                let ts = self.row(record);
                if b.action == BookAction::Snapshot {
                    if self.runs.list().last().is_some_and(|last| b.last_id < last.lo) {
                        self.runs.restart();
                    }
                    self.runs.hold_range(b.last_id, b.last_id, ts);
                } else {
                    self.linked |= b.prev_id > 0;
                    let lo = if b.prev_id > 0 { b.first_id.min(b.prev_id.saturating_add(1)) } else { b.first_id };
                    self.runs.hold_range(lo, b.last_id, ts);
                }
                self.runs.keep_outlines(CHAIN_RUNS_MAX);
            }
            _ => _ = self.row(record),
        }
        Folded::Yes
    }

    /// Seqs up to `to` are not readable.
    pub fn missed(&mut self, to: u64, why: MissedWhy) {
        if to <= self.seq {
            return;
        }
        let from = self.seq + 1;
        if self.first == Ts::ZERO && self.gaps.list.is_empty() {
            // Nothing was known before, so nothing is known to be missing: it is unknown.
            self.unknown_to = to;
        } else {
            self.unread_gap(from, to, why.as_str());
        }
        self.seq = to;
    }

    fn unread_gap(&mut self, from: u64, to: u64, why: &str) {
        self.unread += to - from + 1;
        let why = format!("seq {from} to {to} could not be read: {why}");
        let gap = Gap {
            gap: UNREAD_GAPS + to % (1 << 51),
            state: GapState::Lost,
            cause: GapCause::Corrupt,
            source: HealSource::None,
            from_id: 0,
            to_id: 0,
            from_ts: self.last,
            to_ts: self.last,
            missing: 0,
            why: why.as_str(),
        };
        self.gaps.mark(&gap, self.last);
        self.ends_with_row = gap.gap;
    }

    /// A row's place in time; moves the topic's.
    fn row(&mut self, record: &Record<'_>) -> Ts {
        let recv = record.ts_recv();
        let late = record.flags().is_late();
        let ts = if late && record.ts_event() > Ts::ZERO { record.ts_event().min(recv) } else { recv };
        self.first = if self.first == Ts::ZERO { ts } else { self.first.min(ts) };
        self.last = self.last.max(ts);
        if !late {
            self.heard(record.conn());
        }
        if self.ends_with_row != 0 {
            if let Some(g) = self.gaps.list.get_mut(&self.ends_with_row) {
                g.mark.to_ts = g.mark.to_ts.max(ts);
            }
            self.ends_with_row = 0;
        }
        ts
    }

    fn heard(&mut self, conn: u32) {
        if conn != 0 {
            self.conn = conn;
        }
    }

    fn on_gap(&mut self, gap: &Gap<&str>, now: Ts) {
        let named = gap.from_id > 0 && gap.from_id <= gap.to_id;
        if named && self.rule == Rule::Ids {
            let borne_out = match gap.state {
                GapState::NeverPublished => {
                    self.runs.settle(gap.from_id, gap.to_id, gap.missing, gap.from_ts, gap.to_ts)
                }
                GapState::Healed => self.runs.missing_in(gap.from_id, gap.to_id) == 0,
                GapState::Open | GapState::Lost => true,
            };
            self.contradicted += u64::from(!borne_out);
        }
        let last = self.last;
        let entry = &mut self.gaps.mark(gap, now).mark;
        if entry.from_ts <= Ts::ZERO {
            entry.from_ts = if last > Ts::ZERO { last } else { now };
        }
        entry.to_ts = entry.to_ts.max(entry.from_ts);
    }
}
