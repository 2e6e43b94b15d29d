//! Which ids of one id space are held, and when they came: closed intervals with times, bounded.
//!
//! Invariants:
//! - Runs are sorted by id, never touch and never overlap: between two of them at least one id is missing.
//! - Beyond [`RUNS_MAX`] runs the oldest are joined hour by hour. A joined run keeps the *number* of ids missing in it, not their
//!   places: it stays a hole until that many ids came late. So a hole can lose its outline, never its existence.
//! - Each id reaches the tape once (P2), therefore one that falls into a joined run is one of those it misses.

use wholetape_model::Ts;

/// More runs than this are joined, oldest first, until three quarters remain.
pub const RUNS_MAX: usize = 2_048;
/// Intervals of never published ids whose places are remembered.
const UNPUBLISHED_MAX: usize = 2_048;

pub(super) const HOUR: i64 = 3_600_000_000_000;

/// A stretch of ids, and of time from its first to its last id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub lo: u64,
    pub hi: u64,
    pub from: Ts,
    pub to: Ts,
    /// Ids missing within, where runs were joined.
    pub missing: u64,
    /// Holes within, and the time they took, ns.
    pub holes: u64,
    pub hole_ns: i64,
}

impl Run {
    fn hour(&self) -> Option<i64> {
        let hour = self.from.0.div_euclid(HOUR);
        (hour == self.to.0.div_euclid(HOUR)).then_some(hour)
    }

    fn join(&mut self, next: &Self) {
        self.missing = self.missing.saturating_add(next.missing).saturating_add(next.lo.saturating_sub(self.hi) - 1);
        self.holes = self.holes.saturating_add(next.holes) + 1;
        self.hole_ns = self.hole_ns.saturating_add(next.hole_ns).saturating_add((next.from.0 - self.to.0).max(0));
        self.hi = next.hi;
        self.to = self.to.max(next.to);
    }
}

/// What an id was to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    New,
    /// Held already: the tape has it twice.
    Repeat,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    pub(super) list: Vec<Run>,
    /// Ids that the venue never published, within runs: sorted, apart.
    pub(super) unpublished: Vec<(u64, u64)>,
    /// Never published ids whose places were forgotten.
    pub(super) unpublished_forgotten: u64,
    /// Runs of former id spaces (a venue began to count anew): of them only the times speak.
    pub(super) past: Vec<Run>,
}

impl Runs {
    #[must_use]
    pub fn list(&self) -> &[Run] {
        &self.list
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Lowest and highest id held.
    #[must_use]
    pub fn ends(&self) -> Option<(u64, u64)> {
        Some((self.list.first()?.lo, self.list.last()?.hi))
    }

    #[must_use]
    pub fn unpublished(&self) -> u64 {
        self.unpublished.iter().fold(self.unpublished_forgotten, |n, (lo, hi)| n.saturating_add(hi - lo + 1))
    }

    /// Ids held as rows.
    #[must_use]
    pub fn held(&self) -> u64 {
        let all = self.list.iter().fold(0_u64, |n, r| n.saturating_add((r.hi - r.lo).saturating_add(1) - r.missing));
        all.saturating_sub(self.unpublished())
    }

    /// Whether this id is held or settled; `None` where only its number is known.
    #[must_use]
    pub fn holds(&self, id: u64) -> Option<bool> {
        match self.at(id) {
            Some(i) if self.list[i].missing > 0 => None,
            found => Some(found.is_some()),
        }
    }

    fn at(&self, id: u64) -> Option<usize> {
        let after = self.list.partition_point(|r| r.lo <= id);
        (after > 0 && self.list[after - 1].hi >= id).then(|| after - 1)
    }

    /// One id, which came at `ts` (for a late one: which belongs there).
    #[inline]
    pub fn hold(&mut self, id: u64, ts: Ts) -> Held {
        if let Some(last) = self.list.last_mut()
            && last.hi.checked_add(1) == Some(id)
        {
            last.hi = id;
            last.to = last.to.max(ts);
            return Held::New;
        }
        if let Some(i) = self.at(id) {
            return self.again(i, id);
        }
        self.insert(id, id, ts, ts);
        Held::New
    }

    /// This id is no longer believed unpublished; whether it was.
    fn take_unpublished(&mut self, id: u64) -> bool {
        let Some(at) = self.unpublished.iter().position(|(lo, hi)| (*lo..=*hi).contains(&id)) else { return false };
        let (lo, hi) = self.unpublished.remove(at);
        if id < hi {
            self.unpublished.insert(at, (id + 1, hi));
        }
        if lo < id {
            self.unpublished.insert(at, (lo, id - 1));
        }
        true
    }

    /// An id inside a run: one that was counted missing, one that was believed unpublished, or a repeat.
    fn again(&mut self, i: usize, id: u64) -> Held {
        if self.take_unpublished(id) {
            return Held::New;
        }
        let run = &mut self.list[i];
        if run.missing == 0 {
            return Held::Repeat;
        }
        run.missing -= 1;
        if run.missing == 0 {
            (run.holes, run.hole_ns) = (0, 0);
        }
        Held::New
    }

    /// A range of ids that is held whole: an update that covers several, or a state that stands for them.
    pub fn hold_range(&mut self, lo: u64, hi: u64, ts: Ts) {
        if lo > hi {
            return;
        }
        if let Some(last) = self.list.last_mut()
            && lo >= last.lo
            && lo <= last.hi.saturating_add(1)
        {
            last.hi = last.hi.max(hi);
            last.to = last.to.max(ts);
            return;
        }
        self.insert(lo, hi, ts, ts);
    }

    fn insert(&mut self, lo: u64, hi: u64, from: Ts, to: Ts) {
        let i = self.list.partition_point(|r| r.hi.saturating_add(1) < lo);
        let j = self.list.partition_point(|r| r.lo.saturating_sub(1) <= hi);
        // In time a run lies between its neighbours by id, whatever the venue's clock says.
        let floor = i.checked_sub(1).map_or(Ts(i64::MIN), |k| self.list[k].to);
        let roof = self.list.get(j).map_or(Ts::MAX, |r| r.from);
        let place = |ts: Ts| ts.max(floor).min(roof);
        let mut new = Run { lo, hi, from: place(from), to: place(to), missing: 0, holes: 0, hole_ns: 0 };
        for r in &self.list[i..j] {
            (new.lo, new.hi) = (new.lo.min(r.lo), new.hi.max(r.hi));
            (new.from, new.to) = (new.from.min(r.from), new.to.max(r.to));
            new.missing = new.missing.saturating_add(r.missing);
            new.holes = new.holes.saturating_add(r.holes);
            new.hole_ns = new.hole_ns.saturating_add(r.hole_ns);
        }
        self.list.splice(i..j, [new]);
        self.keep_outlines(RUNS_MAX);
    }

    /// Joins the oldest runs when there are more than `max`.
    pub(super) fn keep_outlines(&mut self, max: usize) {
        for list in [&mut self.list, &mut self.past] {
            if list.len() > max {
                coarsen(list, max * 3 / 4);
            }
        }
    }

    /// How many ids of `[lo, hi]` are missing, as far as their places are known.
    #[must_use]
    pub fn missing_in(&self, lo: u64, hi: u64) -> u64 {
        self.holes_in(lo, hi).fold(0, |n, (a, b)| n.saturating_add((b - a).saturating_add(1)))
    }

    /// The missing ids of `[lo, hi]`, as intervals, as far as their places are known.
    pub fn holes_in(&self, lo: u64, hi: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut runs = self.list[self.list.partition_point(|r| r.hi < lo)..].iter();
        let mut next = Some(lo).filter(|lo| *lo <= hi);
        std::iter::from_fn(move || {
            loop {
                let start = next?;
                match runs.next() {
                    Some(r) if r.lo <= hi => {
                        next = r.hi.checked_add(1).filter(|n| *n <= hi);
                        if r.lo > start {
                            return Some((start, r.lo - 1));
                        }
                    }
                    _ => {
                        next = None;
                        return Some((start, hi));
                    }
                }
            }
        })
    }

    /// The venue never published `claimed` ids of `[lo, hi]` (0: it was not counted). Believed only as far as the rows bear it
    /// out: when more are missing than that, nothing is settled, and the answer is false.
    pub fn settle(&mut self, lo: u64, hi: u64, claimed: u64, from: Ts, to: Ts) -> bool {
        let holes: Vec<(u64, u64)> = self.holes_in(lo, hi).collect();
        let known = holes.iter().fold(0_u64, |n, (a, b)| n.saturating_add((b - a).saturating_add(1)));
        if claimed > 0 && known > claimed {
            return false;
        }
        // The rest is missing somewhere in joined runs.
        let mut rest = claimed.saturating_sub(known);
        let reach = self.list.partition_point(|r| r.hi < lo)..self.list.partition_point(|r| r.lo <= hi);
        for run in self.list[reach].iter_mut().filter(|r| r.missing > 0) {
            let n = rest.min(run.missing);
            run.missing -= n;
            rest -= n;
            self.unpublished_forgotten = self.unpublished_forgotten.saturating_add(n);
            if run.missing == 0 {
                (run.holes, run.hole_ns) = (0, 0);
            }
        }
        for (a, b) in holes {
            let at = self.unpublished.partition_point(|(_, h)| *h < a);
            self.unpublished.insert(at, (a, b));
            self.insert(a, b, from, to);
        }
        while self.unpublished.len() > UNPUBLISHED_MAX {
            let (a, b) = self.unpublished.remove(0);
            self.unpublished_forgotten = self.unpublished_forgotten.saturating_add((b - a).saturating_add(1));
        }
        true
    }

    /// The row of this id was withdrawn.
    pub fn withdraw(&mut self, id: u64, ts: Ts) {
        let Some(i) = self.at(id) else { return };
        // Withdrawn before, and settled since.
        self.take_unpublished(id);
        let run = &mut self.list[i];
        if run.missing > 0 {
            run.missing += 1;
            run.holes += 1;
            return;
        }
        let ts = ts.max(run.from).min(run.to);
        let right = (id < run.hi).then(|| Run { lo: id + 1, from: ts, ..*run });
        if run.lo < id {
            (run.hi, run.to) = (id - 1, ts);
            if let Some(right) = right {
                self.list.insert(i + 1, right);
            }
        } else {
            match right {
                Some(right) => *run = right,
                None => drop(self.list.remove(i)),
            }
        }
        self.keep_outlines(RUNS_MAX);
    }

    /// The venue counts anew: what was held keeps its times only.
    pub fn restart(&mut self) {
        self.unpublished_forgotten = 0;
        self.unpublished.clear();
        self.past.append(&mut self.list);
        self.keep_outlines(RUNS_MAX);
    }
}

/// Joins the oldest runs until `keep` remain: those that lie within one hour first, then whatever is oldest.
fn coarsen(list: &mut Vec<Run>, keep: usize) {
    let mut excess = list.len().saturating_sub(keep);
    let newest = list.len() - keep / 2;
    let mut out: Vec<Run> = Vec::with_capacity(list.len());
    for (i, run) in list.iter().enumerate() {
        match out.last_mut() {
            Some(last) if excess > 0 && i < newest && last.hour().is_some() && last.hour() == run.hour() => {
                last.join(run);
                excess -= 1;
            }
            _ => out.push(*run),
        }
    }
    if excess > 0 {
        let mut first = out[0];
        for run in out.drain(..=excess) {
            if run.lo > first.hi {
                first.join(&run);
            }
        }
        out.insert(0, first);
    }
    *list = out;
}
