//! Trade ids that do not follow each other, as far as repeats of them are to be expected: those of the last [`WINDOW`], by our
//! receive time, and at least the last [`KEPT`], for a venue may begin a subscription with its last trades however old they are.
//!
//! Ids are compared whole, never by a hash, so no trade is taken for another. An id costs 22 to 30 bytes: 16 in a ring in the order
//! of arrival, 6 to 11 in an index of places in that ring, and what growing leaves free. There are at most [`IDS_MAX`]; beyond it the
//! oldest go before their time and are counted. A repeat of one that went is kept, and removed when the store seals the day.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;
use wholetape_model::{TradeId, Ts};

/// Repeats are known for this long.
pub const WINDOW: Duration = Duration::from_secs(2 * 3_600);
/// So many ids are known however old they are.
pub const KEPT: usize = 1_024;
/// Ids of one instrument in memory at most: 145 trades a second for two hours.
pub const IDS_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct Window {
    /// In the order of arrival; the first one's place is `first`, modulo 2^32.
    ids: VecDeque<TradeId>,
    first: u32,
    /// Where each id is, by the hash of the id there.
    places: HashTable<u32>,
    hasher: RandomState,
    /// How many ids came in a second, seconds ascending.
    came: VecDeque<(i64, u32)>,
    max: usize,
    /// Ids that went before their time.
    pub cut: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self::bounded(IDS_MAX)
    }
}

impl Window {
    /// One of at most `max` ids.
    pub fn bounded(max: usize) -> Self {
        Self {
            ids: VecDeque::new(),
            first: 0,
            places: HashTable::new(),
            hasher: RandomState::new(),
            came: VecDeque::new(),
            max,
            cut: 0,
        }
    }

    pub fn has(&self, id: TradeId) -> bool {
        self.finds(id, self.hasher.hash_one(id))
    }

    fn finds(&self, id: TradeId, hash: u64) -> bool {
        self.places.find(hash, |place| at(&self.ids, self.first, *place) == id).is_some()
    }

    /// Knows the id from `now` on. False when it was known.
    pub fn learn(&mut self, id: TradeId, now: Ts) -> bool {
        let hash = self.hasher.hash_one(id);
        if self.finds(id, hash) {
            return false;
        }
        if self.ids.len() == self.ids.capacity() {
            // By an eighth: doubling would leave half of the largest window free.
            self.ids.reserve_exact((self.ids.len() / 8).max(64));
        }
        let place = self.first.wrapping_add(self.ids.len() as u32);
        self.ids.push_back(id);
        let (ids, first, hasher) = (&self.ids, self.first, &self.hasher);
        self.places.insert_unique(hash, place, |place| hasher.hash_one(at(ids, first, *place)));
        let second = now.0.div_euclid(1_000_000_000);
        match self.came.back_mut() {
            Some((last, n)) if second <= *last => *n += 1,
            _ => self.came.push_back((second, 1)),
        }
        self.forget();
        true
    }

    /// Lets go what is too old or too much.
    fn forget(&mut self) {
        let newest = self.came.back().map_or(0, |came| came.0);
        while let Some((second, n)) = self.came.front_mut() {
            let is_old = newest - *second > WINDOW.as_secs() as i64 && self.ids.len() > KEPT;
            if !is_old && self.ids.len() <= self.max {
                return;
            }
            self.cut += u64::from(!is_old);
            *n -= 1;
            if *n == 0 {
                self.came.pop_front();
            }
            let Some(id) = self.ids.pop_front() else { return };
            let gone = self.first;
            if let Ok(entry) = self.places.find_entry(self.hasher.hash_one(id), |place| *place == gone) {
                entry.remove();
            }
            self.first = self.first.wrapping_add(1);
        }
    }
}

fn at(ids: &VecDeque<TradeId>, first: u32, place: u32) -> TradeId {
    ids[place.wrapping_sub(first) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Window {
        fn len(&self) -> usize {
            self.ids.len()
        }

        /// Bytes that it takes.
        fn bytes(&self) -> usize {
            self.ids.capacity() * 16 + self.came.capacity() * 16 + self.places.allocation_size()
        }
    }

    fn uuid(n: u64) -> TradeId {
        TradeId::uuid(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 0x4000 << 76).unwrap()
    }

    fn sec(second: i64) -> Ts {
        Ts(second * 1_000_000_000)
    }

    /// What the window is to know, written down plainly: ids with the second of their arrival, oldest first.
    #[derive(Default)]
    struct Model {
        ids: Vec<(i64, TradeId)>,
        cut: u64,
    }

    impl Model {
        fn learn(&mut self, id: TradeId, second: i64, max: usize) -> bool {
            if self.ids.iter().any(|known| known.1 == id) {
                return false;
            }
            let second = self.ids.last().map_or(second, |last| last.0.max(second));
            self.ids.push((second, id));
            while self.ids.len() > KEPT && second - self.ids[0].0 > 7_200 {
                self.ids.remove(0);
            }
            while self.ids.len() > max {
                self.ids.remove(0);
                self.cut += 1;
            }
            true
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any stream with repeats, pauses and a clock that steps back: the window says of each id what the model says.
        #[test]
        fn it_knows_what_a_plain_list_knows(
            steps in proptest::collection::vec((0_u64..2_500, -3_i64..30, prop_oneof![9 => Just(0_i64), 1 => 0_i64..4_000]), 1..4_000),
            max in prop_oneof![Just(IDS_MAX), 1_100_usize..1_500, 1_usize..50],
            first in prop_oneof![Just(0_u32), Just(u32::MAX - 700)],
        ) {
            let (mut window, mut model) = (Window { first, ..Window::bounded(max) }, Model::default());
            let mut second = 1_000;
            for (n, step, pause) in steps {
                second += step + pause;
                prop_assert_eq!(window.learn(uuid(n), sec(second)), model.learn(uuid(n), second, max), "{}", n);
            }
            prop_assert_eq!((window.len(), window.cut), (model.ids.len(), model.cut));
        }
    }

    #[test]
    fn it_is_bounded_and_costs_what_it_says() {
        let mut window = Window::bounded(200_000);
        for n in 0..1_000_000 {
            assert!(window.learn(uuid(n), sec(n as i64 / 1_000)));
            let (len, bytes) = (window.len(), window.bytes());
            assert!(len <= 200_000 && (len < 10_000 || bytes <= len * 30), "{len} ids take {bytes} bytes");
        }
        assert_eq!((window.len(), window.cut), (200_000, 800_000));
        assert!(!window.learn(uuid(999_999), sec(2_000)) && window.learn(uuid(1), sec(2_000)));
    }

    #[test]
    fn a_number_and_a_uuid_are_never_the_same() {
        let mut window = Window::default();
        let low = TradeId::uuid(1 << 64 | 7).unwrap();
        assert!(window.learn(7.into(), sec(1)) && window.learn(low, sec(1)) && !window.learn(low, sec(2)));
    }
}
