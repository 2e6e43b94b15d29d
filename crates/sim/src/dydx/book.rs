//! The indexer's book of one market, which may be behind the chain's: what was traded away may go late.
//!
//! A late level stands as any other until a new one crosses it. Then it is *hidden*: whoever heard it still has it, and the documented
//! rule takes it out of the view since the level that crosses it was told later; a new subscriber and REST are not shown it. It is deleted
//! at its time, and at once where nothing crosses it any more.
//!
//! Invariants: what is shown is never crossed; every hidden level is crossed by a shown one that was told in a later message, so the
//! view of the documented rule over everything told is what is shown, whenever one began to listen. All of the market's real levels
//! are shown after [`Shown::tell`].

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Spec;
use crate::world::{Floor, Side};

/// Price and size, in ticks and steps.
type Levels = BTreeMap<i64, i64>;
/// Bids, then asks.
pub type Changes = [Vec<(i64, i64)>; 2];

/// A late level goes after so long, ms.
const LATE_MS: (i64, i64) = (200, 1_500);

const fn ix(side: Side) -> usize {
    match side {
        Side::Bid => 0,
        Side::Ask => 1,
    }
}

const SIDES: [Side; 2] = [Side::Bid, Side::Ask];

/// See the module. Arrays are bids, then asks.
#[derive(Debug, Default)]
pub struct Shown {
    shown: [Levels; 2],
    hidden: [Levels; 2],
    /// When a level that is gone from the market is deleted, by side and price.
    late: [BTreeMap<i64, u64>; 2],
    /// Prices that changed since the last message, and those where it was by a trade.
    changed: [BTreeSet<i64>; 2],
    traded: [BTreeSet<i64>; 2],
}

impl Shown {
    /// All of the market at once.
    pub fn whole(floor: &Floor) -> Self {
        let side = |side| floor.book.top(side, usize::MAX).collect();
        Self { shown: [side(Side::Bid), side(Side::Ask)], ..Self::default() }
    }

    pub fn changed(&mut self, side: Side, ticks: i64) {
        self.changed[ix(side)].insert(ticks);
    }

    pub fn traded(&mut self, side: Side, ticks: i64) {
        self.traded[ix(side)].insert(ticks);
    }

    /// What the next message says; `all`: with everything that is late. Size 0 deletes.
    pub fn tell(&mut self, floor: &mut Floor, run_ms: u64, all: bool) -> Changes {
        let mut out = Changes::default();
        for side in SIDES {
            let at = ix(side);
            let traded = std::mem::take(&mut self.traded[at]);
            for ticks in std::mem::take(&mut self.changed[at]) {
                let steps = floor.book.get(side, ticks);
                if steps > 0 {
                    // Told anew where it was late, also with the size of before: it is newer than what may cross it.
                    let was_late = self.late[at].remove(&ticks).is_some();
                    self.hidden[at].remove(&ticks);
                    if self.shown[at].insert(ticks, steps) != Some(steps) || was_late {
                        out[at].push((ticks, steps));
                    }
                } else if self.shown[at].contains_key(&ticks) && !self.late[at].contains_key(&ticks) {
                    if traded.contains(&ticks) && floor.dice.chance(0.5) {
                        let wait = floor.dice.range(LATE_MS.0, LATE_MS.1) as u64;
                        self.late[at].insert(ticks, run_ms + wait);
                    } else {
                        self.shown[at].remove(&ticks);
                        out[at].push((ticks, 0));
                    }
                }
            }
        }
        for at in 0..2 {
            let due: Vec<i64> =
                self.late[at].iter().filter(|(_, until)| all || **until <= run_ms).map(|(p, _)| *p).collect();
            due.into_iter().for_each(|ticks| self.delete(at, ticks, &mut out));
        }
        self.hide();
        for at in 0..2 {
            let open: Vec<i64> = self.hidden[at].keys().copied().filter(|ticks| !self.crosses(at, *ticks)).collect();
            open.into_iter().for_each(|ticks| self.delete(at, ticks, &mut out));
        }
        out
    }

    fn delete(&mut self, at: usize, ticks: i64, out: &mut Changes) {
        self.late[at].remove(&ticks);
        self.shown[at].remove(&ticks);
        self.hidden[at].remove(&ticks);
        out[at].push((ticks, 0));
    }

    /// Late levels that a new one crosses.
    fn hide(&mut self) {
        while let Some([(bid, _), (ask, _)]) = self.best().filter(|[(bid, _), (ask, _)]| bid >= ask) {
            // The market itself is not crossed, so one of the two is late.
            let (at, ticks) = if self.late[0].contains_key(&bid) { (0, bid) } else { (1, ask) };
            if let Some(steps) = self.shown[at].remove(&ticks) {
                self.hidden[at].insert(ticks, steps);
            }
        }
    }

    /// Whether the other side's best crosses this price.
    fn crosses(&self, at: usize, ticks: i64) -> bool {
        match at {
            0 => self.shown[1].keys().next().is_some_and(|ask| *ask <= ticks),
            _ => self.shown[0].keys().next_back().is_some_and(|bid| *bid >= ticks),
        }
    }

    /// Best bid and ask of the view.
    pub fn best(&self) -> Option<[(i64, i64); 2]> {
        let pair = |(p, q): (&i64, &i64)| (*p, *q);
        Some([self.shown[0].iter().next_back().map(pair)?, self.shown[1].iter().next().map(pair)?])
    }

    /// The view as text, best first.
    pub fn text(&self, spec: &Spec, limit: usize) -> [Vec<(String, String)>; 2] {
        let text = |(p, q): (&i64, &i64)| (spec.price(*p), spec.size(*q));
        [
            self.shown[0].iter().rev().take(limit).map(text).collect(),
            self.shown[1].iter().take(limit).map(text).collect(),
        ]
    }

    #[cfg(test)]
    fn told(&self) -> [Levels; 2] {
        [0, 1].map(|at| self.shown[at].iter().chain(&self.hidden[at]).map(|(p, q)| (*p, *q)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{VenueConfig, VenueKind};
    use crate::dice::Dice;

    /// Size and the message that told it, by price: what a client of the stream has.
    type Heard = [BTreeMap<i64, (i64, u64)>; 2];

    /// The documents' rule: of a best bid and ask that cross, the one that was told earlier is out.
    fn uncrossed(heard: &Heard) -> Option<[(i64, i64); 2]> {
        let (mut bids, mut asks) = (heard[0].iter().rev(), heard[1].iter());
        let (mut bid, mut ask) = (bids.next()?, asks.next()?);
        while bid.0 >= ask.0 {
            assert_ne!(bid.1.1, ask.1.1, "no message crosses itself");
            if bid.1.1 < ask.1.1 {
                bid = bids.next()?;
            } else {
                ask = asks.next()?;
            }
        }
        Some([(*bid.0, bid.1.0), (*ask.0, ask.1.0)])
    }

    #[test]
    fn the_documented_view_of_what_was_told_is_what_is_shown_whenever_one_began() {
        let spec = Spec::new(VenueKind::Dydx, &VenueConfig::dydx().instruments[0]).unwrap();
        let mut floor = Floor { spec, book: Default::default(), dice: Dice::new(5, "test") };
        let start = floor.spec.start_ticks;
        for at in 1..=40 {
            floor.book.set(Side::Bid, start - at, 10);
            floor.book.set(Side::Ask, start + at, 10);
        }
        let mut shown = Shown::whole(&floor);
        let heard = |shown: &Shown, message| -> Heard {
            [0, 1].map(|at| shown.shown[at].iter().map(|(p, q)| (*p, (*q, message))).collect())
        };
        let mut listeners = vec![heard(&shown, 0)];
        let (mut crossed, mut hid) = (0, 0);
        for message in 1..6_000_u64 {
            for _ in 0..floor.dice.range(1, 4) {
                let side = if floor.dice.chance(0.5) { Side::Bid } else { Side::Ask };
                let [(bid, _), (ask, _)] = floor.book.best().unwrap();
                let (best, sign) = if side == Side::Bid { (bid, -1) } else { (ask, 1) };
                // Trades take the best away; new orders come between the two, or deeper.
                let ticks = if floor.dice.chance(0.4) {
                    floor.book.set(side, best, 0);
                    shown.traded(side, best);
                    best
                } else {
                    let near = best - sign * floor.dice.range(0, ask - bid);
                    let ticks = if floor.dice.chance(0.5) { near } else { best + sign * floor.dice.range(0, 12) };
                    let steps = floor.dice.range(1, 30);
                    floor.book.set(side, ticks, steps);
                    ticks
                };
                shown.changed(side, ticks);
                while floor.book.len(side) < 20 {
                    let worst = floor.book.worst(side).unwrap().0 + sign;
                    floor.book.set(side, worst, 10);
                    shown.changed(side, worst);
                }
            }
            let changes = shown.tell(&mut floor, message * 20, false);
            for one in &mut listeners {
                for at in 0..2 {
                    for (ticks, steps) in &changes[at] {
                        if *steps == 0 {
                            one[at].remove(ticks);
                        } else {
                            one[at].insert(*ticks, (*steps, message));
                        }
                    }
                }
                assert_eq!(uncrossed(one), shown.best());
            }
            let [bids, asks] = &listeners[0];
            crossed += u32::from(bids.keys().next_back() >= asks.keys().next());
            hid += u32::from(shown.hidden.iter().any(|side| !side.is_empty()));
            let raw = [0, 1].map(|at| listeners[0][at].iter().map(|(p, q)| (*p, q.0)).collect());
            assert_eq!(shown.told(), raw);
            if message % 50 == 0 {
                listeners.truncate(8);
                listeners.push(heard(&shown, message));
            }
        }
        assert!(crossed > 100 && hid == crossed, "{crossed} {hid}");
        shown.tell(&mut floor, 0, true);
        let floor: [Levels; 2] = [Side::Bid, Side::Ask].map(|side| floor.book.top(side, usize::MAX).collect());
        assert_eq!(shown.told(), floor, "in the end nothing is late");
    }
}
