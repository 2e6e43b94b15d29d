//! One depth of a book: what its subscribers hold, and the next message of it.
//!
//! A level that better ones push out of the depth is not deleted: whoever follows cuts his book to the depth himself, after each
//! message. One that comes up from below is told as if it were new.
//!
//! Invariant: what is told so far, cut so, is the best `depth` levels of the market.

use std::collections::BTreeSet;

use crate::config::Spec;
use crate::world::{BookText, Floor, Levels, Side, top};

pub const SIDES: [Side; 2] = [Side::Bid, Side::Ask];

/// Levels that the checksum is made of, a side.
const CHECKED: usize = 10;

/// Prices whose size may be another one now: bids, asks.
pub type Changed = [BTreeSet<i64>; 2];

/// See the module. Arrays are bids, then asks.
#[derive(Debug)]
pub struct Top {
    pub depth: usize,
    sides: [Levels; 2],
}

/// A message: what it says, best first, and what it pushes out without a word.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub told: [Vec<(i64, i64)>; 2],
    pub gone: [Vec<i64>; 2],
}

impl Moved {
    pub fn is_empty(&self) -> bool {
        self.told.iter().all(Vec::is_empty)
    }
}

const fn is_worse(side: Side, ticks: i64, than: i64) -> bool {
    match side {
        Side::Bid => ticks < than,
        Side::Ask => ticks > than,
    }
}

impl Top {
    pub fn new(depth: usize) -> Self {
        Self { depth, sides: Default::default() }
    }

    /// Takes the book as it is for told.
    pub fn listed(&mut self, floor: &Floor) {
        self.sides = SIDES.map(|side| top(floor, side, self.depth));
    }

    /// The next message, which has nothing in it where nothing changed within the depth.
    pub fn next(&mut self, floor: &Floor, changed: &Changed) -> Moved {
        let mut moved = Moved::default();
        for (at, side) in SIDES.into_iter().enumerate() {
            self.side(floor, side, &changed[at], &mut moved.told[at], &mut moved.gone[at]);
        }
        moved
    }

    fn side(
        &mut self,
        floor: &Floor,
        side: Side,
        changed: &BTreeSet<i64>,
        told: &mut Vec<(i64, i64)>,
        gone: &mut Vec<i64>,
    ) {
        let levels = &mut self.sides[side as usize];
        let worst = |levels: &Levels| match side {
            Side::Bid => levels.first_key_value().map(|(p, _)| *p),
            Side::Ask => levels.last_key_value().map(|(p, _)| *p),
        };
        // What is worse than this was not told; without it all was.
        let edge = if levels.len() >= self.depth { worst(levels) } else { None };
        let (mut said, mut fresh) = (Levels::new(), BTreeSet::new());
        for ticks in changed {
            let steps = floor.book.get(side, *ticks);
            if steps == 0 {
                if levels.remove(ticks).is_some() {
                    said.insert(*ticks, 0);
                }
            } else if edge.is_none_or(|edge| !is_worse(side, *ticks, edge)) {
                let before = levels.insert(*ticks, steps);
                if before.is_none() {
                    fresh.insert(*ticks);
                }
                if before != Some(steps) {
                    said.insert(*ticks, steps);
                }
            }
        }
        while levels.len() > self.depth
            && let Some(ticks) = worst(levels)
        {
            levels.remove(&ticks);
            said.remove(&ticks);
            if !fresh.contains(&ticks) {
                gone.push(ticks);
            }
        }
        gone.reverse();
        if let Some(edge) = edge {
            let room = self.depth - levels.len();
            for (ticks, steps) in floor.book.beyond(side, edge).take(room) {
                levels.insert(ticks, steps);
                said.insert(ticks, steps);
            }
        }
        told.extend(said);
        if side == Side::Bid {
            told.reverse();
        }
    }

    pub fn text(&self, spec: &Spec, last_update_id: u64, limit: usize) -> BookText {
        let text = |(p, q): (&i64, &i64)| (spec.price(*p), spec.size(*q));
        let [bids, asks] = &self.sides;
        let (bids, asks) = (bids.iter().rev().take(limit).map(text), asks.iter().take(limit).map(text));
        BookText { last_update_id, bids: bids.collect(), asks: asks.collect() }
    }

    /// CRC-32 of the ten best asks and bids, best first: digits as printed, without point and leading zeros.
    pub fn checksum(&self, spec: &Spec) -> u32 {
        let BookText { bids, asks, .. } = self.text(spec, 0, CHECKED);
        checksum(&bids, &asks)
    }
}

/// Of levels as they are printed, best first.
pub fn checksum(bids: &[(String, String)], asks: &[(String, String)]) -> u32 {
    let mut text = String::new();
    for (price, size) in asks.iter().take(CHECKED).chain(bids.iter().take(CHECKED)) {
        for number in [price, size] {
            text.push_str(number.replace('.', "").trim_start_matches('0'));
        }
    }
    crc32fast::hash(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{VenueConfig, VenueKind};
    use crate::dice::Dice;

    fn floor() -> Floor {
        let spec = Spec::new(VenueKind::Kraken, &VenueConfig::kraken().instruments[1]).unwrap();
        Floor { spec, book: Default::default(), dice: Dice::new(3, "test") }
    }

    #[test]
    fn whoever_cuts_his_book_after_each_message_holds_the_best_levels() {
        let mut floor = floor();
        for at in 1..30 {
            floor.book.set(Side::Bid, 1_000 - at, at);
            floor.book.set(Side::Ask, 1_000 + at, at);
        }
        let mut one = Top::new(10);
        one.listed(&floor);
        let mut heard = one.sides.clone();
        let (mut pushed, mut came_up) = (0, 0);
        for _ in 0..4_000 {
            let mut changed = Changed::default();
            for _ in 0..floor.dice.range(1, 6) {
                let at = floor.dice.index(2);
                let sign = [-1, 1][at];
                let ticks = 1_000 + sign * floor.dice.range(1, 30);
                let steps = if floor.dice.chance(0.45) { 0 } else { floor.dice.range(1, 50) };
                floor.book.set(SIDES[at], ticks, steps);
                changed[at].insert(ticks);
            }
            let moved = one.next(&floor, &changed);
            for at in 0..2 {
                let before = heard[at].clone();
                for (ticks, steps) in &moved.told[at] {
                    match steps {
                        0 => assert!(heard[at].remove(ticks).is_some(), "deleted where it is"),
                        steps => {
                            came_up += u32::from(!changed[at].contains(ticks));
                            heard[at].insert(*ticks, *steps);
                        }
                    }
                }
                let mut out = Vec::new();
                while heard[at].len() > 10 {
                    let (ticks, _) = if at == 0 { heard[at].pop_first() } else { heard[at].pop_last() }.unwrap();
                    assert!(before.contains_key(&ticks));
                    out.insert(0, ticks);
                }
                assert_eq!(out, moved.gone[at]);
                pushed += out.len();
                assert_eq!(heard[at], top(&floor, SIDES[at], 10));
            }
        }
        assert!(pushed > 500 && came_up > 500, "{pushed} {came_up}");
    }

    #[test]
    fn the_checksum_is_of_digits_asks_first() {
        let level = |price: &str, size: &str| (price.to_owned(), size.to_owned());
        let bids = [level("0.05005", "0.00000500"), level("0.05000", "1.00000000")];
        let asks = [level("0.05010", "0.00000500")];
        let text = "5010500".to_owned() + "5005500" + "5000100000000";
        assert_eq!(checksum(&bids, &asks), crc32fast::hash(text.as_bytes()));
    }
}
