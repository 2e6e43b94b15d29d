//! Best levels as a stream tells them: what it has said, and what makes the next message of it.

use std::collections::BTreeMap;

use super::Floor;
use super::book::Side;

/// Price and size of one side, in ticks and steps.
pub type Levels = BTreeMap<i64, i64>;

/// The best `depth` levels of a side.
pub fn top(floor: &Floor, side: Side, depth: usize) -> Levels {
    floor.book.top(side, depth).collect()
}

/// What makes `new` of `old`, lowest price first; a size of zero deletes.
pub fn difference(old: &Levels, new: &Levels) -> Vec<(i64, i64)> {
    let mut changes: Vec<(i64, i64)> =
        new.iter().filter(|(p, q)| old.get(p) != Some(q)).map(|(p, q)| (*p, *q)).collect();
    changes.extend(old.keys().filter(|p| !new.contains_key(p)).map(|p| (*p, 0)));
    changes.sort_unstable();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_leaves_the_best_is_deleted_and_one_that_returns_is_set() {
        let of = |levels: &[(i64, i64)]| levels.iter().copied().collect::<Levels>();
        let (old, new) = (of(&[(1, 5), (2, 5), (3, 5)]), of(&[(0, 7), (1, 5), (2, 6)]));
        assert_eq!(difference(&old, &new), [(0, 7), (2, 6), (3, 0)]);
        assert_eq!(difference(&new, &old), [(0, 0), (2, 5), (3, 5)]);
        assert!(difference(&new, &new).is_empty());
    }
}
