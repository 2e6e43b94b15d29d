//! Sets of seqs as closed intervals: which records of a topic a file holds, and so which are stored at all.

use serde::{Deserialize, Serialize};

/// Disjoint closed intervals, ascending, never adjacent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seqs(Vec<(u64, u64)>);

impl Seqs {
    /// Adds `lo..=hi`; cheap at the end, where most come.
    pub fn add(&mut self, lo: u64, hi: u64) {
        if lo > hi {
            return;
        }
        match self.0.last_mut() {
            Some(last) if lo >= last.0 && lo <= last.1.saturating_add(1) => {
                last.1 = last.1.max(hi);
                return;
            }
            Some(last) if lo <= last.1 => {}
            _ => {
                self.0.push((lo, hi));
                return;
            }
        }
        let from = self.0.partition_point(|(_, b)| b.saturating_add(1) < lo);
        let to = self.0.partition_point(|(a, _)| *a <= hi.saturating_add(1));
        let (lo, hi) = match self.0.get(from..to) {
            Some([first, .., last]) => (lo.min(first.0), hi.max(last.1)),
            Some([one]) => (lo.min(one.0), hi.max(one.1)),
            _ => (lo, hi),
        };
        self.0.splice(from..to, [(lo, hi)]);
    }

    pub fn add_all(&mut self, other: &Self) {
        for (lo, hi) in &other.0 {
            self.add(*lo, *hi);
        }
    }

    #[must_use]
    pub fn has(&self, seq: u64) -> bool {
        let at = self.0.partition_point(|(_, hi)| *hi < seq);
        self.0.get(at).is_some_and(|(lo, _)| *lo <= seq)
    }

    /// The end of the interval that begins at seq 1 or `from`, whatever came before it: everything up to there is in.
    #[must_use]
    pub fn whole_from(&self, from: u64) -> u64 {
        let at = self.0.partition_point(|(_, hi)| *hi < from);
        match self.0.get(at) {
            Some((lo, hi)) if *lo <= from => *hi,
            _ => from.saturating_sub(1),
        }
    }

    /// The lowest one that is `from` or greater.
    #[must_use]
    pub fn next_from(&self, from: u64) -> Option<u64> {
        let at = self.0.partition_point(|(_, hi)| *hi < from);
        self.0.get(at).map(|(lo, _)| from.max(*lo))
    }

    #[must_use]
    pub fn intervals(&self) -> &[(u64, u64)] {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lowest and highest.
    #[must_use]
    pub fn ends(&self) -> Option<(u64, u64)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }

    /// How many seqs are in.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(lo, hi)| hi - lo + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn intervals_behave_like_sets(all in proptest::collection::vec((1_u64..60, 0_u64..6), 0..40)) {
            let (mut seqs, mut set) = (Seqs::default(), BTreeSet::new());
            for (lo, len) in all {
                seqs.add(lo, lo + len);
                set.extend(lo..=lo + len);
            }
            for n in 0..80 {
                prop_assert_eq!(seqs.has(n), set.contains(&n), "{}", n);
                prop_assert_eq!(seqs.next_from(n), set.range(n..).next().copied());
                let whole = (n.max(1)..).find(|i| !set.contains(i)).unwrap() - 1;
                prop_assert_eq!(seqs.whole_from(n.max(1)), whole);
            }
            prop_assert_eq!(seqs.count(), set.len() as u64);
            for pair in seqs.intervals().windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0);
            }
        }
    }
}
