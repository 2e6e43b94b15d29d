//! What the ledger says, for people and programs: one summary per topic, an hour-by-hour strip, totals per kind.

use std::collections::BTreeMap;

use wholetape_model::{GapState, Kind, Proof, Topic, Ts};

use super::gaps::GapCounts;
use super::runs::HOUR;
use super::spans::{Span, spans};
use super::topic::{Rule, TopicLedger};
use super::{Coverage, GapEntry};

/// One hour of the strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hour {
    /// Nothing was recorded.
    Nothing,
    /// Whole, and proven.
    Proven { part: bool },
    /// Whole as far as the connection tells.
    Live { part: bool },
    /// Something is missing.
    Hole,
}

impl Hour {
    /// `P` `p` `L` `l` `H` `-`; small letters where only a part of the hour was recorded.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Nothing => '-',
            Self::Proven { part: false } => 'P',
            Self::Proven { part: true } => 'p',
            Self::Live { part: false } => 'L',
            Self::Live { part: true } => 'l',
            Self::Hole => 'H',
        }
    }
}

/// What is known of one topic.
#[derive(Debug, Clone)]
pub struct Summary<'a> {
    pub topic: &'a Topic,
    pub ledger: &'a TopicLedger,
    /// The weakest level in the whole range.
    pub proof: Proof,
    /// First and last id held, or known to be missing; `None` where the venue has no ids that prove anything.
    pub ids: Option<(u64, u64)>,
    pub held: u64,
    /// `None` where the venue's numbering does not let them be counted.
    pub missing: Option<u64>,
    /// Of the missing ids, those that no gap speaks of: this should be 0.
    pub unexplained: u64,
    pub never_published: u64,
    /// First row to last sign of life; both zero without a row.
    pub from: Ts,
    pub to: Ts,
    pub hole_ns: u64,
    pub spans: Vec<Span>,
    pub gaps: GapCounts,
    pub hours_from: Ts,
    pub hours: Vec<Hour>,
}

impl Summary<'_> {
    /// Nothing is missing, and no gap awaits its verdict.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.proof != Proof::Hole
    }

    /// One letter per hour.
    #[must_use]
    pub fn strip(&self) -> String {
        self.hours.iter().map(|h| h.letter()).collect()
    }

    /// The newest verdicts and everything that awaits one, newest first.
    pub fn newest_gaps(&self) -> impl Iterator<Item = &GapEntry> {
        let mut all: Vec<&GapEntry> = self.ledger.gaps.iter().collect();
        all.sort_by_key(|g| std::cmp::Reverse((g.state == GapState::Open, g.marked, g.gap)));
        all.into_iter()
    }
}

/// Sums over the topics of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub topics: u64,
    pub missing: u64,
    pub unexplained: u64,
    pub open: u64,
    pub hole_ns: u64,
}

impl Coverage {
    /// What is known of `topic`, with the last `hours` hours.
    #[must_use]
    pub fn summary(&self, topic: &Topic, hours: usize) -> Option<Summary<'_>> {
        let (topic, ledger) = self.topics.get_key_value(topic)?;
        Some(self.summarise(topic, ledger, hours))
    }

    /// As [`Coverage::summary`], of every topic: by instrument, then kind.
    pub fn summaries(&self, hours: usize) -> impl Iterator<Item = Summary<'_>> {
        let mut all: Vec<_> = self.topics.iter().collect();
        all.sort_by_key(|(t, _)| (t.subject(), t.kind()));
        all.into_iter().map(move |(t, l)| self.summarise(t, l, hours))
    }

    /// Sums per kind, by its name.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Kind, Totals> {
        let mut all: BTreeMap<Kind, Totals> = BTreeMap::new();
        for (topic, ledger) in &self.topics {
            let s = self.summarise(topic, ledger, 0);
            let sum = all.entry(topic.kind()).or_default();
            sum.topics += 1;
            sum.missing = sum.missing.saturating_add(s.missing.unwrap_or(0));
            sum.unexplained = sum.unexplained.saturating_add(s.unexplained);
            sum.open += s.gaps.open;
            sum.hole_ns = sum.hole_ns.saturating_add(s.hole_ns);
        }
        all
    }

    fn summarise<'a>(&self, topic: &'a Topic, t: &'a TopicLedger, hours: usize) -> Summary<'a> {
        let spans = spans(t, self.alive(t), self.as_of());
        let ids = Ids::of(t);
        let gaps = t.gaps.counts();
        let weakest = spans.iter().filter(|s| !s.tail).map(|s| s.proof).max();
        let missing = if t.linked { u64::from(ids.missing > 0) } else { ids.missing };
        let proof = match weakest {
            _ if gaps.open > 0 || missing > 0 => Proof::Hole,
            Some(weakest) => weakest,
            // Ids without a row: only verdicts. Without either, there is nothing that could be believed.
            None => Proof::LiveOnly,
        };
        let (hours_from, hours) = strip(&spans, self.as_of(), hours);
        Summary {
            topic,
            ledger: t,
            proof,
            ids: ids.ends,
            held: if t.linked { 0 } else { t.runs.held() },
            missing: (!t.linked && t.rule != Rule::Live).then_some(ids.missing),
            unexplained: if t.linked { 0 } else { ids.unexplained },
            never_published: t.runs.unpublished(),
            from: spans.first().map_or(t.first, |s| s.from),
            to: spans.last().map_or(t.last, |s| s.to),
            hole_ns: spans.iter().map(|s| u64::try_from(s.hole_ns).unwrap_or(0)).sum(),
            spans,
            gaps,
            hours_from,
            hours,
        }
    }
}

/// Ids held and missing.
struct Ids {
    ends: Option<(u64, u64)>,
    missing: u64,
    unexplained: u64,
}

impl Ids {
    fn of(t: &TopicLedger) -> Self {
        let mut ranges: Vec<(u64, u64)> = t
            .gaps
            .iter()
            .filter(|g| matches!(g.state, GapState::Open | GapState::Lost))
            .filter(|g| t.rule != Rule::Live && g.from_id > 0 && g.from_id <= g.to_id)
            .map(|g| (g.from_id, g.to_id))
            .collect();
        ranges.sort_unstable();
        let mut gaps: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (lo, hi) in ranges {
            match gaps.last_mut() {
                Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
                _ => gaps.push((lo, hi)),
            }
        }
        let n = |lo: u64, hi: u64| (hi - lo).saturating_add(1);
        let mut this = Self { ends: t.runs.ends(), missing: 0, unexplained: 0 };
        let held = this.ends;
        for &(lo, hi) in &gaps {
            let (a, b) = this.ends.unwrap_or((lo, hi));
            this.ends = Some((a.min(lo), b.max(hi)));
            // Outside of what is held only gaps know that there is something.
            match held {
                None => this.missing = this.missing.saturating_add(n(lo, hi)),
                Some((first, last)) => {
                    if lo < first {
                        this.missing = this.missing.saturating_add(n(lo, hi.min(first - 1)));
                    }
                    if hi > last {
                        this.missing = this.missing.saturating_add(n(lo.max(last + 1), hi));
                    }
                }
            }
        }
        // Gaps that name no ids explain what is missing in their time; so do those whose detail was forgotten.
        let timed: Vec<(Ts, Ts)> = t
            .gaps
            .iter()
            .filter(|g| g.from_id == 0 && matches!(g.state, GapState::Open | GapState::Lost))
            .map(|g| (g.from_ts, g.to_ts))
            .collect();
        let mut next = 0;
        for pair in t.runs.list().windows(2) {
            let (lo, hi) = (pair[0].hi + 1, pair[1].lo - 1);
            let ids = n(lo, hi);
            this.missing = this.missing.saturating_add(ids);
            let (from, to) = (pair[0].to, pair[1].from);
            if from <= t.gaps.forgotten_to || timed.iter().any(|(a, b)| *a <= to && *b >= from) {
                continue;
            }
            while next < gaps.len() && gaps[next].1 < lo {
                next += 1;
            }
            let told = gaps[next..].iter().take_while(|g| g.0 <= hi).map(|g| n(g.0.max(lo), g.1.min(hi))).sum::<u64>();
            this.unexplained = this.unexplained.saturating_add(ids - told.min(ids));
        }
        for run in t.runs.list() {
            this.missing = this.missing.saturating_add(run.missing);
        }
        this
    }
}

/// The last `n` hours up to that of `as_of`.
fn strip(spans: &[Span], as_of: Ts, n: usize) -> (Ts, Vec<Hour>) {
    let newest = as_of.0.div_euclid(HOUR);
    let first = newest - n as i64 + 1;
    if n == 0 || as_of == Ts::ZERO {
        return (Ts::ZERO, Vec::new());
    }
    let mut hours: Vec<Tally> = vec![Tally::default(); n];
    for s in spans {
        let (a, b) = (s.from.0.div_euclid(HOUR).max(first), s.to.0.div_euclid(HOUR).min(newest));
        for h in a..=b {
            let tally = &mut hours[(h - first) as usize];
            let start = h * HOUR;
            let held = (s.to.0.min(start + HOUR) - s.from.0.max(start)).max(0);
            tally.held += held;
            match s.proof {
                // A hole that ends as the hour begins is not of this hour.
                Proof::Hole => tally.hole |= held > 0 || s.from.0 >= start,
                Proof::LiveOnly if s.tail => tally.tail |= held > 0,
                Proof::LiveOnly => tally.live |= held > 0,
                Proof::ById | Proof::ByOverlap => tally.proven |= held > 0 || s.from == s.to,
            }
        }
    }
    let of = |(i, t): (usize, &Tally)| {
        let start = (first + i as i64) * HOUR;
        // The present hour is as long as it has lasted.
        let length = (as_of.0 - start).min(HOUR);
        // A moment at its edges is no part of an hour that nobody recorded.
        let part = t.held < length - EDGE;
        match t {
            Tally { hole: true, .. } => Hour::Hole,
            Tally { live: true, .. } => Hour::Live { part },
            Tally { proven: true, .. } => Hour::Proven { part },
            Tally { tail: true, .. } => Hour::Live { part },
            _ => Hour::Nothing,
        }
    };
    (Ts(first * HOUR), hours.iter().enumerate().map(of).collect())
}

/// Slack at the edges of an hour, ns.
const EDGE: i64 = 60_000_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    held: i64,
    proven: bool,
    live: bool,
    tail: bool,
    hole: bool,
}
