//! Levels outside the dense window: a hash table from key to size.
//!
//! A delta touches far levels often (on the recorded ETHUSDT futures every tenth update is more than 170 000 ticks away),
//! but their *order* is asked for only by full views and when the window moves. So they are kept unordered: an update is a
//! probe or two instead of a search, and views sort what they take.
//!
//! Linear probing over a power of two, backward-shift removal (no tombstones, so no rehash while the count stays).

/// No key has this value: prices are positive and their negations are above it.
const EMPTY: i64 = i64::MIN;

/// Key → size, sizes never 0.
#[derive(Debug, Clone)]
pub struct FarLevels {
    keys: Box<[i64]>,
    sizes: Box<[i64]>,
    len: usize,
    shift: u32,
}

impl Default for FarLevels {
    fn default() -> Self {
        Self::with_slots(64)
    }
}

impl FarLevels {
    fn with_slots(slots: usize) -> Self {
        debug_assert!(slots.is_power_of_two() && slots >= 2, "slots are masked");
        Self {
            keys: vec![EMPTY; slots].into_boxed_slice(),
            sizes: vec![0; slots].into_boxed_slice(),
            len: 0,
            shift: 64 - slots.trailing_zeros(),
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.keys.len() * 16
    }

    /// Fibonacci hashing: keys are multiples of a tick, so their low bits say little.
    #[inline]
    const fn home(&self, key: i64) -> usize {
        ((key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// The slot of `key`, or the empty one where it would go.
    #[inline]
    fn find(&self, key: i64) -> usize {
        let mask = self.keys.len() - 1;
        let mut at = self.home(key);
        while self.keys[at] != key && self.keys[at] != EMPTY {
            at = (at + 1) & mask;
        }
        at
    }

    #[must_use]
    pub fn get(&self, key: i64) -> Option<i64> {
        let at = self.find(key);
        (self.keys[at] == key).then(|| self.sizes[at])
    }

    /// Sets or, with size 0, removes. Removing what is not there is normal.
    #[inline]
    pub fn set(&mut self, key: i64, size: i64) {
        let at = self.find(key);
        if self.keys[at] == key {
            if size == 0 {
                self.remove_at(at);
            } else {
                self.sizes[at] = size;
            }
        } else if size != 0 {
            self.keys[at] = key;
            self.sizes[at] = size;
            self.len += 1;
            // Two thirds full: beyond that a probe for an absent key grows long.
            if self.len * 3 > self.keys.len() * 2 {
                self.grow();
            }
        }
    }

    /// Closes the hole by moving back whoever would be found sooner there.
    fn remove_at(&mut self, mut hole: usize) {
        let mask = self.keys.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let key = self.keys[at];
            if key == EMPTY {
                break;
            }
            let from_home = at.wrapping_sub(self.home(key)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.keys[hole] = key;
                self.sizes[hole] = self.sizes[at];
                hole = at;
            }
        }
        self.keys[hole] = EMPTY;
        self.len -= 1;
    }

    #[cold]
    fn grow(&mut self) {
        let mut larger = Self::with_slots(self.keys.len() * 2);
        for (key, size) in self.iter() {
            larger.set(key, size);
        }
        *self = larger;
    }

    pub fn clear(&mut self) {
        self.keys.fill(EMPTY);
        self.len = 0;
    }

    /// All levels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.keys.iter().zip(&self.sizes).filter(|(k, _)| **k != EMPTY).map(|(k, s)| (*k, *s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Few distinct keys, so that probes collide, holes close and the table grows.
        #[test]
        fn is_a_map(ops in proptest::collection::vec((-300_i64..300, 0_i64..4), 0..2_000)) {
            let mut far = FarLevels::default();
            let mut model = BTreeMap::new();
            for (key, size) in ops {
                far.set(key, size);
                if size == 0 { model.remove(&key); } else { model.insert(key, size); }
                prop_assert_eq!(far.len(), model.len());
                prop_assert_eq!(far.get(key), model.get(&key).copied());
            }
            let mut all: Vec<_> = far.iter().collect();
            all.sort_unstable();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn keeps_its_room() {
        let mut far = FarLevels::default();
        (1..=1_000).for_each(|k| far.set(k * 10, 1));
        let bytes = far.heap_bytes();
        far.clear();
        (1..=1_000).for_each(|k| far.set(k * 7, 1));
        assert_eq!(far.heap_bytes(), bytes);
    }
}
