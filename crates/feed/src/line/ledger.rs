//! Which ids of one id space are held: closed intervals, sorted, never touching. The ledger outlives connections, so a
//! reconnect cannot reset it, and it is what makes a redelivered trade invisible (P2) and a missing one visible (P1).

/// A set of ids as closed intervals. In a healthy stream it is one interval that grows at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// `[lo, hi]`, ascending, with at least one missing id between neighbours.
    runs: Vec<(u64, u64)>,
}

/// What an id is to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first of all.
    First,
    /// Follows the highest id held.
    Next,
    /// Higher than expected: `[from, to]` is missing below it.
    Skips { from: u64, to: u64 },
    /// Lower than the highest and not held: out of order, or a heal.
    Fills,
    /// Held already.
    Repeat,
}

impl Ledger {
    /// From intervals in any order; they may overlap.
    pub fn from_runs(mut runs: Vec<(u64, u64)>) -> Self {
        runs.retain(|(lo, hi)| lo <= hi);
        runs.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(runs.len());
        for (lo, hi) in runs {
            match merged.last_mut() {
                Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
                _ => merged.push((lo, hi)),
            }
        }
        Self { runs: merged }
    }

    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// The highest id held.
    pub fn head(&self) -> Option<u64> {
        self.runs.last().map(|r| r.1)
    }

    pub fn holds(&self, id: u64) -> bool {
        let after = self.runs.partition_point(|r| r.0 <= id);
        after > 0 && self.runs[after - 1].1 >= id
    }

    /// Says what `id` is and holds it from now on.
    #[inline]
    pub fn arrive(&mut self, id: u64) -> Arrival {
        match self.runs.last_mut() {
            None => {
                self.runs.push((id, id));
                Arrival::First
            }
            Some(last) if id == last.1.wrapping_add(1) && id != 0 => {
                last.1 = id;
                Arrival::Next
            }
            Some(last) if id > last.1 => {
                let from = last.1 + 1;
                self.runs.push((id, id));
                Arrival::Skips { from, to: id - 1 }
            }
            Some(_) => {
                if self.holds(id) {
                    return Arrival::Repeat;
                }
                self.fill(id);
                Arrival::Fills
            }
        }
    }

    /// Holds every id of `[lo, hi]`: for ids that the venue never published.
    pub fn settle(&mut self, lo: u64, hi: u64) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.push((lo, hi));
        *self = Self::from_runs(runs);
    }

    fn fill(&mut self, id: u64) {
        let at = self.runs.partition_point(|r| r.0 <= id);
        let joins_left = at > 0 && self.runs[at - 1].1 + 1 == id;
        let joins_right = at < self.runs.len() && self.runs[at].0 == id + 1;
        match (joins_left, joins_right) {
            (true, true) => {
                self.runs[at - 1].1 = self.runs[at].1;
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].1 = id,
            (false, true) => self.runs[at].0 = id,
            (false, false) => self.runs.insert(at, (id, id)),
        }
    }

    /// The missing ids within `[lo, hi]`, as intervals.
    pub fn missing(&self, lo: u64, hi: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = lo;
        for &(a, b) in &self.runs[self.runs.partition_point(|r| r.1 < lo)..] {
            if a > hi {
                break;
            }
            if a > next {
                holes.push((next, a - 1));
            }
            next = b.saturating_add(1);
            if next == 0 || b == u64::MAX {
                return holes;
            }
        }
        if next <= hi {
            holes.push((next, hi));
        }
        holes
    }

    /// How many ids of `[lo, hi]` are missing.
    pub fn missing_count(&self, lo: u64, hi: u64) -> u64 {
        self.missing(lo, hi).iter().map(|(a, b)| b - a + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_skip_is_named_and_filled() {
        let mut l = Ledger::default();
        assert_eq!(l.arrive(10), Arrival::First);
        assert_eq!(l.arrive(11), Arrival::Next);
        assert_eq!(l.arrive(15), Arrival::Skips { from: 12, to: 14 });
        assert_eq!(l.arrive(11), Arrival::Repeat);
        assert_eq!(l.arrive(13), Arrival::Fills);
        assert_eq!(l.missing(10, 15), vec![(12, 12), (14, 14)]);
        assert_eq!(l.arrive(12), Arrival::Fills);
        assert_eq!(l.arrive(14), Arrival::Fills);
        assert_eq!(l.runs(), &[(10, 15)]);
    }

    #[test]
    fn the_ends_of_the_id_space_do_not_wrap() {
        let mut l = Ledger::default();
        l.arrive(u64::MAX - 1);
        assert_eq!(l.arrive(u64::MAX), Arrival::Next);
        assert_eq!(l.arrive(0), Arrival::Fills);
        assert_eq!(l.missing(5, u64::MAX), vec![(5, u64::MAX - 2)]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ids in proptest::collection::vec(0_u64..60, 1..120)) {
            let mut ledger = Ledger::default();
            let mut set = BTreeSet::new();
            for id in ids {
                let before = set.clone();
                let arrival = ledger.arrive(id);
                prop_assert_eq!(arrival == Arrival::Repeat, !set.insert(id));
                if let Arrival::Skips { from, to } = arrival {
                    prop_assert_eq!(from, before.last().unwrap() + 1);
                    prop_assert_eq!(to, id - 1);
                }
                let held: BTreeSet<u64> = (0..64).filter(|i| ledger.holds(*i)).collect();
                prop_assert_eq!(&held, &set);
                prop_assert!(ledger.runs().windows(2).all(|w| w[0].1 + 1 < w[1].0));
                let missing: BTreeSet<u64> = ledger.missing(3, 50).iter().flat_map(|(a, b)| *a..=*b).collect();
                prop_assert_eq!(missing, (3..=50).filter(|i| !set.contains(i)).collect::<BTreeSet<_>>());
            }
        }
    }
}
