//! One hole in the ids of an instrument's trades, from its opening to its verdict.

use std::time::Duration;

use wholetape_model::{Gap, GapCause, GapState, HealSource, Ts};

/// A gap mark to be written.
pub type GapMark = Gap<String>;

/// A hole of at most this many ids belongs to the live edge: some ten pages. A greater one yields to others.
pub const LIVE_IDS_MAX: u64 = 10_000;

#[derive(Debug, Clone)]
pub(super) struct Hole {
    pub gap: u64,
    pub from: u64,
    pub to: u64,
    pub cause: GapCause,
    pub from_ts: Ts,
    pub to_ts: Ts,
    /// Answers from the hole's own left edge that begin beyond it.
    pub denials: u32,
    /// Failed or useless answers in a row.
    pub failures: u32,
    /// Ask from the left end next: pages from the newest end brought nothing.
    pub left_first: bool,
    /// Ids that the venue was found not to have published, ids that it no longer has, and the evidence of the last.
    pub unpublished: u64,
    pub beyond: u64,
    pub evidence: String,
    pub next_at: Ts,
    /// The order of people that this hole belongs to; 0: none.
    pub job: u64,
}

impl Hole {
    pub fn new(gap: u64, (from, to): (u64, u64), cause: GapCause, (from_ts, to_ts): (Ts, Ts), next_at: Ts) -> Self {
        Self {
            gap,
            from,
            to,
            cause,
            from_ts,
            to_ts,
            denials: 0,
            failures: 0,
            left_first: false,
            unpublished: 0,
            beyond: 0,
            evidence: String::new(),
            next_at,
            job: 0,
        }
    }

    /// A gap that the tape holds without a verdict.
    pub fn resumed(mark: &GapMark) -> Self {
        let (ids, times) = ((mark.from_id, mark.to_id), (mark.from_ts, mark.to_ts));
        Self::new(mark.gap, ids, mark.cause, times, Ts::ZERO)
    }

    pub fn has(&self, id: u64) -> bool {
        self.from <= id && id <= self.to
    }

    pub fn ids(&self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }

    /// Old enough or large enough to yield to live edges.
    pub fn is_backlog(&self) -> bool {
        self.cause == GapCause::Backlog || self.ids() > LIVE_IDS_MAX
    }

    /// The next attempt, later each time.
    pub fn back_off(&mut self, now: Ts) {
        let wait = Duration::from_millis(250) * 2_u32.pow(self.failures.min(7));
        self.next_at = now + wait.min(Duration::from_secs(15));
    }

    pub fn mark(&self, state: GapState, source: HealSource, missing: u64, why: String) -> GapMark {
        Gap {
            gap: self.gap,
            state,
            cause: self.cause,
            source,
            from_id: self.from,
            to_id: self.to,
            from_ts: self.from_ts,
            to_ts: self.to_ts,
            missing,
            why,
        }
    }

    /// The verdict of a hole without a missing id.
    pub fn verdict(&self, source: HealSource) -> GapMark {
        let ids = self.ids();
        let count = |n: u64, what: &str| format!("{n} of {ids} ids {what}");
        match (self.unpublished, self.beyond) {
            (0, 0) => self.mark(GapState::Healed, source, 0, format!("{ids} ids, proven by id")),
            (n, 0) => {
                let why = format!("{}; {}", count(n, "never published"), self.evidence);
                self.mark(GapState::NeverPublished, HealSource::Rest, n, why)
            }
            (0, n) => {
                let why = format!("beyond the venue's reach: {}; {}", count(n, "lost"), self.evidence);
                self.mark(GapState::Lost, HealSource::Rest, n, why)
            }
            (n, m) => {
                let why = format!(
                    "beyond the venue's reach: {}, {}; {}",
                    count(m, "lost"),
                    count(n, "never published"),
                    self.evidence
                );
                self.mark(GapState::Lost, HealSource::Rest, m, why)
            }
        }
    }
}

/// `3, 5–9`
pub(super) fn ranges(ids: &[(u64, u64)]) -> String {
    let one = |(lo, hi): &(u64, u64)| if lo == hi { lo.to_string() } else { format!("{lo}–{hi}") };
    let mut text = ids.iter().take(5).map(one).collect::<Vec<_>>().join(", ");
    if ids.len() > 5 {
        text.push_str(" …");
    }
    text
}

pub(super) fn count(ids: &[(u64, u64)]) -> u64 {
    ids.iter().map(|(lo, hi)| hi - lo + 1).sum()
}
