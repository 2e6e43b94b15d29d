//! One side of a book: a dense window round the touch, everything else in a hash table.
//!
//! **Keys.** A level's key is its price mantissa for asks and the negated one for bids, so on both sides the smaller key is
//! the better price and one piece of code serves both.
//!
//! **Window.** `WINDOW` slots, one a tick, each a size (0 = no level), and above them two layers of bits that find the best
//! level in a few instructions. A level update inside is a multiplication, a store and two bit writes, with no branch on
//! whether the level existed. The tick is not asked for but learned: the greatest common divisor of the prices seen, made
//! finer when a price shows that it must be (a scale-8 spot price with tick 0.01 has 10^6 as its tick).
//!
//! **Invariant between updates** ([`BookSide::settle`] restores it): a level is in the window if and only if its key lies in
//! the window's range; no far level is better than the window; the window is empty only when the side is.

use crate::far::FarLevels;

/// Ticks in the window. 8 192 × 8 bytes: on the recorded BTCUSDT futures more than nine updates in ten fall inside.
pub const WINDOW: usize = 8192;
/// Ticks kept free on the better side of the best level when the window is placed.
const MARGIN: u64 = WINDOW as u64 / 4;
/// The window is placed anew when the best level has sunk to here.
const SUNK: usize = WINDOW / 2;
/// Larger ticks are treated as 1, so that `WINDOW × tick` never wraps. No venue prints such a price.
const TICK_MAX: u64 = 1 << 48;

const WORDS: usize = WINDOW / 64;
const SUMMARY: usize = WORDS / 64;

#[derive(Debug, Clone)]
pub struct BookSide {
    /// The key of slot 0; a multiple of `tick`, as all keys are.
    base: i64,
    tick: u64,
    /// `ceil(2^64 / (2 × tick))`: a multiplication in place of a division. See [`BookSide::slot`].
    reciprocal: u64,
    sizes: Box<[i64; WINDOW]>,
    /// Bit `i`: slot `i` holds a level.
    words: Box<[u64; WORDS]>,
    /// Bit `i`: word `i` is not 0.
    summary: [u64; SUMMARY],
    /// Levels in the window.
    near: usize,
    far: FarLevels,
    /// A far level is better than the window.
    outdone: bool,
    /// A far level is off the window's grid.
    off_grid: bool,
    /// Divides all keys that came since the window was placed, and the difference of any two.
    grid: u64,
    placements: u64,
}

impl Default for BookSide {
    fn default() -> Self {
        let mut side = Self {
            base: 0,
            tick: 1,
            reciprocal: 0,
            sizes: boxed(),
            words: boxed(),
            summary: [0; SUMMARY],
            near: 0,
            far: FarLevels::default(),
            outdone: false,
            off_grid: false,
            grid: 0,
            placements: 0,
        };
        side.set_tick(1);
        side
    }
}

/// On the heap without passing over the stack.
fn boxed<T: Default + Clone, const N: usize>() -> Box<[T; N]> {
    match vec![T::default(); N].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("the vector was made with this length"),
    }
}

impl BookSide {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.near + self.far.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        WINDOW * 8 + WORDS * 8 + self.far.heap_bytes()
    }

    /// How often the window was placed: a measure of how well it fits the market.
    #[must_use]
    pub const fn placements(&self) -> u64 {
        self.placements
    }

    fn set_tick(&mut self, tick: u64) {
        self.tick = tick;
        self.reciprocal = u64::try_from((1_u128 << 64).div_ceil(2 * u128::from(tick))).unwrap_or(u64::MAX);
    }

    /// The slot of `key`, if it is in the window and on the grid.
    ///
    /// For a key on the grid the product is exact: the reciprocal is too large by less than one part in `2^64 / (2 × tick)`,
    /// which over `WINDOW` slots stays below one slot as long as `WINDOW × 2 × tick < 2^64` ([`TICK_MAX`]). For any other
    /// key it may be off; multiplying back finds that out, so a wrong slot is impossible.
    #[inline]
    fn slot(&self, key: i64) -> Option<usize> {
        let offset = key.wrapping_sub(self.base) as u64;
        let quotient = ((u128::from(offset << 1) * u128::from(self.reciprocal)) >> 64) as u64;
        (quotient < WINDOW as u64 && quotient * self.tick == offset).then_some(quotient as usize)
    }

    /// Sets a level, or removes it with size 0. Call [`BookSide::settle`] after the last one of an update.
    #[inline]
    pub fn set(&mut self, key: i64, size: i64) {
        match self.slot(key) {
            Some(slot) => self.set_near(slot, size),
            None => self.set_far(key, size),
        }
    }

    /// Without branches: whether a level comes, goes or changes is as random as the market.
    #[inline]
    fn set_near(&mut self, slot: usize, size: i64) {
        let old = std::mem::replace(&mut self.sizes[slot], size);
        self.near = self.near + usize::from(size != 0) - usize::from(old != 0);
        let word_at = slot / 64;
        let bit = slot % 64;
        let word = self.words[word_at] & !(1 << bit) | (u64::from(size != 0) << bit);
        self.words[word_at] = word;
        let summary = &mut self.summary[word_at / 64];
        let bit = word_at % 64;
        *summary = *summary & !(1 << bit) | (u64::from(word != 0) << bit);
    }

    #[inline(never)]
    fn set_far(&mut self, key: i64, size: i64) {
        self.far.set(key, size);
        if size != 0 {
            if key < self.base {
                self.outdone = true;
            }
            if !key.unsigned_abs().is_multiple_of(self.tick) {
                self.off_grid = true;
                self.grid = gcd(self.grid, key.unsigned_abs());
            }
        }
    }

    /// Puts the window where the market is, if it is not.
    #[inline]
    pub fn settle(&mut self, scratch: &mut Vec<(i64, i64)>) {
        let sunk = match self.best_slot() {
            Some(slot) => slot > SUNK,
            None => !self.far.is_empty(),
        };
        if sunk || self.outdone || self.off_grid {
            self.place(scratch);
        }
    }

    #[cold]
    fn place(&mut self, scratch: &mut Vec<(i64, i64)>) {
        let near = self.best_slot().map(|slot| self.key_of(slot));
        let far = if self.outdone || near.is_none() { self.far.iter().map(|l| l.0).min() } else { None };
        self.outdone = false;
        // All of an outdoing level may have gone again within the same update.
        let Some(best) = near.into_iter().chain(far).min() else { return };
        scratch.clear();
        match self.words_to(best) {
            Some(words) if !self.off_grid => self.slide(words, scratch),
            _ => {
                scratch.extend(self.near_levels());
                scratch.extend(self.far.iter());
                self.refill(scratch);
            }
        }
        scratch.clear();
    }

    /// How many words the window must slide to stand well for `best`; `None` when old and new do not overlap.
    fn words_to(&self, best: i64) -> Option<isize> {
        // Rounding towards the old window may cost up to a word of the margin; where there is no margin, refill.
        if best.abs_diff(i64::MIN) / self.tick < MARGIN {
            return None;
        }
        let ticks = (i128::from(self.base_for(best)) - i128::from(self.base)) / i128::from(self.tick);
        isize::try_from(ticks / 64).ok().filter(|words| words.unsigned_abs() < WORDS)
    }

    /// Moves the window by whole words (positive: to worse prices). What stays is copied, what leaves goes far, what the
    /// window now covers comes near: far cheaper than sorting all levels in again, and a touch that jumps does it often.
    fn slide(&mut self, words: isize, scratch: &mut Vec<(i64, i64)>) {
        let by = words.unsigned_abs();
        self.placements += 1;
        let leaving = if words > 0 { 0..by } else { WORDS - by..WORDS };
        for at in leaving {
            while self.words[at] != 0 {
                let slot = at * 64 + self.words[at].trailing_zeros() as usize;
                let (key, size) = (self.key_of(slot), self.sizes[slot]);
                self.set_near(slot, 0);
                self.far.set(key, size);
            }
        }
        if words > 0 {
            self.words.copy_within(by.., 0);
            self.words[WORDS - by..].fill(0);
            self.sizes.copy_within(by * 64.., 0);
            self.sizes[WINDOW - by * 64..].fill(0);
        } else {
            self.words.copy_within(..WORDS - by, by);
            self.words[..by].fill(0);
            self.sizes.copy_within(..WINDOW - by * 64, by * 64);
            self.sizes[..by * 64].fill(0);
        }
        self.summary = [0; SUMMARY];
        for (at, _) in self.words.iter().enumerate().filter(|(_, w)| **w != 0) {
            self.summary[at / 64] |= 1 << (at % 64);
        }
        self.base = self.base.wrapping_add((words as i64).wrapping_mul(64 * self.tick as i64));
        scratch.extend(self.far.iter().filter(|l| self.slot(l.0).is_some()));
        for (key, size) in &*scratch {
            self.far.set(*key, 0);
            self.set(*key, *size);
        }
    }

    /// The window's start for a best level: [`MARGIN`] ticks better, if the numbers reach so far.
    fn base_for(&self, best: i64) -> i64 {
        let room = best.abs_diff(i64::MIN) / self.tick;
        best.wrapping_sub((MARGIN.min(room) * self.tick) as i64)
    }

    /// Replaces everything by `levels` (any order, sizes positive; a key given twice keeps the later size).
    pub fn refill(&mut self, levels: &[(i64, i64)]) {
        self.clear();
        let Some(best) = levels.iter().map(|l| l.0).min() else { return };
        self.placements += 1;
        let tick = levels.iter().fold(self.grid, |g, l| if g == 1 { 1 } else { gcd(g, l.0.unsigned_abs()) });
        self.grid = tick;
        self.set_tick(if tick > TICK_MAX { 1 } else { tick.max(1) });
        self.base = self.base_for(best);
        for (key, size) in levels {
            self.set(*key, *size);
        }
        debug_assert!(!self.outdone && !self.off_grid, "the window was placed for these levels");
    }

    /// Removes all but the best `n` levels and appends what went to `gone`, in no order.
    pub fn cut(&mut self, n: usize, gone: &mut Vec<(i64, i64)>) {
        if self.len() <= n {
            return;
        }
        let start = gone.len();
        gone.extend(self.near_levels().skip(n));
        // Every far level is worse than every level of the window.
        let room = n.saturating_sub(self.near);
        let far = gone.len();
        gone.extend(self.far.iter());
        gone[far..].sort_unstable_by_key(|l| l.0);
        gone.drain(far..(far + room).min(gone.len()));
        for (key, _) in &gone[start..] {
            self.set(*key, 0);
        }
    }

    /// Forgets all levels; what was learned of the grid stays.
    pub fn clear(&mut self) {
        while let Some(slot) = self.best_slot() {
            self.set_near(slot, 0);
        }
        self.far.clear();
        self.outdone = false;
        self.off_grid = false;
    }

    /// Forgets the grid too: for a book whose scale changes.
    pub fn reset(&mut self) {
        self.clear();
        self.grid = 0;
    }

    #[inline]
    fn best_slot(&self) -> Option<usize> {
        for (i, summary) in self.summary.iter().enumerate() {
            if *summary != 0 {
                let word_at = i * 64 + summary.trailing_zeros() as usize;
                return Some(word_at * 64 + self.words[word_at].trailing_zeros() as usize);
            }
        }
        None
    }

    #[inline]
    const fn key_of(&self, slot: usize) -> i64 {
        self.base.wrapping_add((slot as u64 * self.tick) as i64)
    }

    /// Key and size of the best level.
    #[inline]
    #[must_use]
    pub fn best(&self) -> Option<(i64, i64)> {
        self.best_slot().map(|slot| (self.key_of(slot), self.sizes[slot]))
    }

    /// The size at `key`.
    #[must_use]
    pub fn get(&self, key: i64) -> Option<i64> {
        match self.slot(key) {
            Some(slot) => Some(self.sizes[slot]).filter(|s| *s != 0),
            None => self.far.get(key),
        }
    }

    /// The window's levels, best first.
    pub fn near_levels(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.words.iter().enumerate().filter(|(_, w)| **w != 0).flat_map(move |(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let slot = i * 64 + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    (self.key_of(slot), self.sizes[slot])
                })
            })
        })
    }

    /// The levels outside the window, in no order.
    pub fn far_levels(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.far.iter()
    }
}

/// gcd(0, x) = x.
const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn all(side: &BookSide) -> Vec<(i64, i64)> {
        let mut levels: Vec<_> = side.near_levels().collect();
        let near = levels.len();
        levels.extend(side.far_levels());
        levels[near..].sort_unstable();
        levels
    }

    /// Prices near a walking touch, some far, some off the grid; ticks from 1 to beyond what the window takes.
    fn updates() -> impl Strategy<Value = (i64, bool, Vec<Vec<(i64, i64)>>)> {
        let tick = prop_oneof![Just(1_i64), Just(10), Just(1_000_000), Just(1 << 30), Just(1 << 50)];
        let level = (prop_oneof![8 => 1_i64..200, 2 => 1_i64..60_000], prop_oneof![Just(0_i64), 1_i64..5]);
        let update = (0_i64..4, proptest::collection::vec(level, 1..30))
            .prop_map(|(walk, levels)| levels.into_iter().map(|(p, s)| (p + walk * 3_000, s)).collect());
        (tick, any::<bool>(), proptest::collection::vec(update, 1..30))
    }

    proptest! {
        #[test]
        fn is_a_sorted_map((tick, bids, updates) in updates(), odd in proptest::option::of((0_usize..30, 1_i64..1_000))) {
            let mut side = BookSide::default();
            let mut model = BTreeMap::new();
            let mut scratch = Vec::new();
            for (i, update) in updates.iter().enumerate() {
                for (p, size) in update {
                    let mut key = (*p % 8_000) * tick;
                    if let Some((when, by)) = odd && when == i { key += by; }
                    if key == 0 { continue; }
                    if bids { key = -key; }
                    side.set(key, *size);
                    if *size == 0 { model.remove(&key); } else { model.insert(key, *size); }
                }
                side.settle(&mut scratch);
                prop_assert_eq!(side.best(), model.first_key_value().map(|(k, v)| (*k, *v)));
                prop_assert_eq!(side.len(), model.len());
                prop_assert_eq!(all(&side), model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn learns_a_coarse_tick_and_refines_it() {
        let mut side = BookSide::default();
        let mut scratch = Vec::new();
        let cents = 1_000_000;
        side.refill(&[(6_180_000 * cents, 5), (6_180_100 * cents, 6)]);
        side.set(6_180_001 * cents, 7);
        side.settle(&mut scratch);
        assert_eq!(side.near_levels().count(), 3);
        assert_eq!(side.tick, cents as u64);
        side.set(6_180_001 * cents + 500_000, 8);
        side.settle(&mut scratch);
        assert_eq!(side.tick, 500_000);
        assert_eq!(side.near_levels().map(|l| l.1).collect::<Vec<_>>(), [5, 7, 8, 6]);
    }

    /// A better level off the grid: the distance to the window is negative, and modulo 2^64 it may look like a multiple.
    #[test]
    fn a_better_level_refines_the_grid_too() {
        let mut side = BookSide::default();
        side.refill(&[(9_993, 1), (900_033, 1)]);
        assert_eq!(side.tick, 3);
        side.set(53, 1);
        side.settle(&mut Vec::new());
        assert_eq!(side.tick, 1);
        assert_eq!(all(&side), [(53, 1), (9_993, 1), (900_033, 1)]);
    }

    #[test]
    fn survives_the_ends_of_the_number_line() {
        for levels in [[(1, 1), (i64::MAX, 2)], [(-i64::MAX, 1), (-1, 2)], [(i64::MAX - 1, 1), (i64::MAX, 2)]] {
            let mut side = BookSide::default();
            side.refill(&levels);
            assert_eq!(all(&side), levels);
            assert_eq!(side.best(), Some(levels[0]));
        }
    }

    #[test]
    fn the_window_follows_the_touch() {
        let mut side = BookSide::default();
        let mut scratch = Vec::new();
        side.refill(&[(1_000_000, 1)]);
        for step in 1..100_000 {
            side.set(1_000_000 + step, 1);
            side.set(999_999 + step, 0);
            side.settle(&mut scratch);
            assert_eq!(side.best(), Some((1_000_000 + step, 1)));
        }
        assert!(side.placements() < 100, "{}", side.placements());
    }
}
