//! The gaps of one topic, from `open` to their verdict, bounded.
//!
//! Beyond [`GAPS_MAX`] the oldest settled gaps are forgotten (the tape has every mark of them still): healed and never published ones leave a count, lost ones leave a
//! *scar* as well, merged per hour, so that the hours they damaged stay damaged. Open gaps are kept longest.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use wholetape_model::{Gap, GapState, Ts};

use super::runs::HOUR;

/// Gaps kept in detail: the newest, for people. Of 200 topics on a bad line more would be tens of megabytes.
pub const GAPS_MAX: usize = 16;
/// Open gaps may be so many.
const OPEN_MAX: usize = 2_048;
const SCARS_MAX: usize = 2_048;
/// Evidence longer than this is cut off here; the tape has all of it.
const WHY_MAX: usize = 200;

/// A gap as the newest mark about it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapEntry {
    pub mark: Gap<String>,
    /// Times of the first and of the newest mark.
    pub opened: Ts,
    pub marked: Ts,
}

impl std::ops::Deref for GapEntry {
    type Target = Gap<String>;

    fn deref(&self) -> &Gap<String> {
        &self.mark
    }
}

/// What forgotten lost gaps leave of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scar {
    pub from: Ts,
    pub to: Ts,
    pub hole_ns: i64,
    pub gaps: u64,
}

/// How many gaps came to which end, forgotten ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GapCounts {
    pub open: u64,
    pub healed: u64,
    pub never_published: u64,
    pub lost: u64,
}

impl GapCounts {
    fn of(&mut self, state: GapState) -> &mut u64 {
        match state {
            GapState::Open => &mut self.open,
            GapState::Healed => &mut self.healed,
            GapState::NeverPublished => &mut self.never_published,
            GapState::Lost => &mut self.lost,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    pub(super) list: BTreeMap<u64, GapEntry>,
    pub(super) forgotten: GapCounts,
    pub(super) scars: Vec<Scar>,
    /// The latest time of which a forgotten gap spoke.
    pub(super) forgotten_to: Ts,
}

impl Gaps {
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &GapEntry> {
        self.list.values()
    }

    #[must_use]
    pub fn scars(&self) -> &[Scar] {
        &self.scars
    }

    #[must_use]
    pub fn counts(&self) -> GapCounts {
        let mut counts = self.forgotten;
        for g in self.list.values() {
            *counts.of(g.state) += 1;
        }
        counts
    }

    /// The newest mark about a gap; the last one counts.
    pub fn mark(&mut self, gap: &Gap<&str>, at: Ts) -> &mut GapEntry {
        if !self.list.contains_key(&gap.gap) {
            if gap.state != GapState::Open && !gap.is_tapes_own() && gap.gap <= self.newest_forgotten_open() {
                // The verdict on a gap that was forgotten open.
                self.forgotten.open -= 1;
            }
            self.make_room();
        }
        let why = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_MAX).collect();
        let mark = gap.map(why);
        match self.list.entry(gap.gap) {
            Entry::Vacant(free) => free.insert(GapEntry { mark, opened: at, marked: at }),
            Entry::Occupied(held) => {
                let held = held.into_mut();
                (held.mark, held.marked) = (mark, at);
                held
            }
        }
    }

    /// A line's gap numbers rise with time, so a forgotten one lies below every one that is kept.
    fn newest_forgotten_open(&self) -> u64 {
        if self.forgotten.open == 0 {
            return 0;
        }
        self.list.keys().next().map_or(u64::MAX, |first| first.saturating_sub(1))
    }

    fn make_room(&mut self) {
        if self.list.len() < GAPS_MAX {
            return;
        }
        let settled = self.list.values().find(|g| g.state != GapState::Open).map(|g| g.gap);
        let goes = match settled {
            Some(gap) => gap,
            None if self.list.len() < OPEN_MAX => return,
            None => *self.list.keys().next().expect("the list is full"),
        };
        let Some(g) = self.list.remove(&goes) else { return };
        *self.forgotten.of(g.state) += 1;
        self.forgotten_to = self.forgotten_to.max(g.to_ts);
        if matches!(g.state, GapState::Open | GapState::Lost) && g.from_ts > Ts::ZERO {
            self.scar(g.from_ts, g.to_ts.max(g.from_ts));
        }
    }

    fn scar(&mut self, from: Ts, to: Ts) {
        let hour = |ts: Ts| ts.0.div_euclid(HOUR);
        let new = Scar { from, to, hole_ns: to.0.saturating_sub(from.0), gaps: 1 };
        let at = self.scars.partition_point(|s| s.from <= from);
        if let Some(last) = at.checked_sub(1).and_then(|i| self.scars.get_mut(i))
            && hour(last.from) == hour(to)
            && hour(last.to) == hour(to)
        {
            // Overlapping losses count once.
            last.hole_ns += (to.0 - from.0.max(last.to.0)).max(0);
            last.to = last.to.max(to);
            last.gaps += 1;
            return;
        }
        self.scars.insert(at, new);
        if self.scars.len() > SCARS_MAX {
            let first = self.scars.remove(0);
            let next = &mut self.scars[0];
            next.hole_ns = next.hole_ns.saturating_add(first.hole_ns);
            next.from = first.from.min(next.from);
            next.to = next.to.max(first.to);
            next.gaps += first.gaps;
        }
    }
}
