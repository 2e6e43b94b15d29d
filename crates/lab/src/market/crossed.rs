//! A book that is behind the chain's (dYdX): what was taken away may go late, and until then a newer level may cross it.
//!
//! A late level stands as any other until a new one crosses it; then it is *hidden*. Whoever heard it has it still, and the documented rule takes
//! it out of the view, since what crosses it was told later; a new subscriber and REST are not shown it. It goes for good at its time, and at
//! once where nothing crosses it any more, so that it never comes back.
//!
//! Such a book has neither ids nor times, and the truth has to know an update when it sees it. So each tells a level of its own
//! ([`MARK`]), whose size is its number; and no two best prices are told that are equal in all four of their parts: of the later one the bid's
//! size is another.

use std::collections::{BTreeMap, BTreeSet};

use super::{Side, State, difference};
use crate::dice::Dice;

/// The bid whose size numbers the book's updates: far below all others.
pub const MARK: i64 = 1;
/// One in so many levels goes late, and how late, ms.
const LATE_ONE_IN: u64 = 4;
const LATE_MS: (u64, u64) = (200, 1_500);

/// Bid, bid size, ask, ask size.
pub type Best = (i64, i64, i64, i64);

/// See the module. Arrays are bids, then asks.
#[derive(Debug, Default)]
pub struct Crossed {
    /// Until when a level stands that is gone from the market.
    late: [BTreeMap<i64, i64>; 2],
    hidden: [Side; 2],
    told: BTreeSet<Best>,
    best: Option<Best>,
}

/// What the next update says.
pub struct Update {
    /// All that was told and not taken back, the hidden ones among it.
    pub now: State,
    pub bids: Side,
    pub asks: Side,
    /// Best prices, where they are others.
    pub best: Option<Best>,
}

fn best(shown: &[Side; 2]) -> Option<Best> {
    let (bid, ask) = (shown[0].iter().next_back()?, shown[1].iter().next()?);
    Some((*bid.0, *bid.1, *ask.0, *ask.1))
}

/// Whether the other side's best price crosses `price` of side `at`.
fn is_crossed(shown: &[Side; 2], at: usize, price: i64) -> bool {
    match at {
        0 => shown[1].keys().next().is_some_and(|ask| *ask <= price),
        _ => shown[0].keys().next_back().is_some_and(|bid| *bid >= price),
    }
}

impl Crossed {
    /// What a book begins with, as `told`; its best prices.
    pub fn begin(&mut self, told: &mut State) -> Option<Best> {
        self.best = best(&[told.bids.clone(), told.asks.clone()]);
        self.told.extend(self.best);
        told.bids.insert(MARK, told.id as i64);
        self.best
    }

    /// What a new subscriber and REST are shown of what was told.
    pub fn shown(&self, told: &State) -> State {
        let without = |side: &Side, at: usize| -> Side {
            side.iter().filter(|(p, _)| !self.hidden[at].contains_key(p)).map(|(p, s)| (*p, *s)).collect()
        };
        State { id: told.id, bids: without(&told.bids, 0), asks: without(&told.asks, 1) }
    }

    /// Prices that a late subscriber was not told.
    pub fn hidden(&self) -> [BTreeSet<i64>; 2] {
        [0, 1].map(|at| self.hidden[at].keys().copied().collect())
    }

    /// The next update, if there is anything to say. `real` is the market.
    pub fn update(&mut self, told: &State, real: &mut State, ms: i64, dice: &mut Dice) -> Option<Update> {
        let before = self.shown(told);
        let mut shown = [real.bids.clone(), real.asks.clone()];
        // Told anew with the size of before: it is newer than what may cross it.
        let mut again = [Side::new(), Side::new()];
        for (at, side) in [&before.bids, &before.asks].into_iter().enumerate() {
            for (price, size) in shown[at].clone() {
                let (was_late, was_hidden) = (self.late[at].remove(&price), self.hidden[at].remove(&price));
                if was_late.is_some() || was_hidden.is_some() {
                    again[at].insert(price, size);
                }
            }
            for (price, size) in side.iter().filter(|(price, _)| **price != MARK) {
                if shown[at].contains_key(price) {
                    continue;
                }
                let until = self.late[at].entry(*price).or_insert_with(|| match dice.one_in(LATE_ONE_IN) {
                    true => ms + dice.between(LATE_MS.0, LATE_MS.1) as i64,
                    false => ms,
                });
                if ms < *until {
                    shown[at].insert(*price, *size);
                } else {
                    self.late[at].remove(price);
                }
            }
        }
        self.hide(&mut shown);
        for at in 0..2 {
            let late = &mut self.late[at];
            self.hidden[at].retain(|price, _| {
                let stands = is_crossed(&shown, at, *price) && late.get(price).is_some_and(|until| ms < *until);
                if !stands {
                    late.remove(price);
                }
                stands
            });
        }
        let news = self.news(&mut shown, real);
        let [bids, asks] = shown;
        let mut now = State { id: told.id + 1, bids, asks };
        now.bids.extend(&self.hidden[0]);
        now.asks.extend(&self.hidden[1]);
        let mut old = told.bids.clone();
        old.remove(&MARK);
        let (mut bids, mut asks) = (difference(&old, &now.bids), difference(&told.asks, &now.asks));
        // A size that was made another is told as such already.
        for (changes, again) in [(&mut bids, &again[0]), (&mut asks, &again[1])] {
            again.iter().for_each(|(price, size)| {
                changes.entry(*price).or_insert(*size);
            });
        }
        if bids.is_empty() && asks.is_empty() {
            return None;
        }
        for side in [&mut now.bids, &mut bids] {
            side.insert(MARK, told.id as i64 + 1);
        }
        Some(Update { now, bids, asks, best: news })
    }

    /// Late levels that another one crosses. The market itself is never crossed.
    fn hide(&mut self, shown: &mut [Side; 2]) {
        while let Some((bid, _, ask, _)) = best(shown).filter(|(bid, _, ask, _)| bid >= ask) {
            let (at, price) = if self.late[0].contains_key(&bid) { (0, bid) } else { (1, ask) };
            let Some(size) = shown[at].remove(&price) else { return };
            self.hidden[at].insert(price, size);
        }
    }

    fn news(&mut self, shown: &mut [Side; 2], real: &mut State) -> Option<Best> {
        let mut now = best(shown)?;
        if self.best == Some(now) {
            return None;
        }
        while self.told.contains(&now) {
            now.1 += 1;
        }
        shown[0].insert(now.0, now.1);
        if let Some(size) = real.bids.get_mut(&now.0) {
            *size = now.1;
        }
        self.told.insert(now);
        self.best = Some(now);
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size and the update that told it, by price: what a client of the stream has.
    type Heard = [BTreeMap<i64, (i64, u64)>; 2];

    fn hear(heard: &mut Heard, n: u64, sides: [&Side; 2]) {
        for (at, side) in sides.into_iter().enumerate() {
            for (price, size) in side {
                match size {
                    0 => heard[at].remove(price),
                    size => heard[at].insert(*price, (*size, n)),
                };
            }
        }
    }

    /// The documents' rule: of a best bid and ask that cross, the one that was told earlier is out.
    fn uncrossed(heard: &Heard) -> Option<Best> {
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
        Some((*bid.0, bid.1.0, *ask.0, ask.1.0))
    }

    #[test]
    fn whoever_listens_sees_the_best_prices_that_are_told_and_none_come_twice() {
        let mut crossed_books = 0;
        for seed in 0..20 {
            let mut dice = Dice::new(seed);
            let mut real = State { id: 7, ..State::default() };
            for i in 1..=8 {
                real.bids.insert(1_000 - i, 5);
                real.asks.insert(1_000 + i, 5);
            }
            let mut told = real.clone();
            let mut book = Crossed::default();
            let mut latest = book.begin(&mut told);
            let (mut clients, mut quotes) = (Vec::<Heard>::new(), Vec::new());
            for n in 1..400_u64 {
                if dice.one_in(40) || clients.is_empty() {
                    let shown = book.shown(&told);
                    let mut heard = Heard::default();
                    // A message of its own, before this one.
                    hear(&mut heard, n - 1, [&shown.bids, &shown.asks]);
                    clients.push(heard);
                }
                let at = *real.asks.keys().next().unwrap_or(&1_000);
                let top = *real.bids.keys().next_back().unwrap_or(&at);
                match dice.between(0, 5) {
                    0 if real.bids.len() > 3 => drop(real.bids.pop_last()),
                    1 if real.asks.len() > 3 => drop(real.asks.pop_first()),
                    2 => drop(real.bids.insert(at - dice.between(1, 6) as i64, dice.between(1, 4) as i64)),
                    _ => drop(real.asks.insert(top + dice.between(1, 6) as i64, dice.between(1, 4) as i64)),
                }
                let Some(update) = book.update(&told, &mut real, n as i64 * 100, &mut dice) else { continue };
                told = update.now;
                latest = update.best.or(latest);
                quotes.extend(update.best);
                for heard in &mut clients {
                    hear(heard, n, [&update.bids, &update.asks]);
                    assert_eq!(uncrossed(heard), latest, "seed {seed}, update {n}");
                }
                let (all, sides) = (&clients[0], [&told.bids, &told.asks]);
                assert!(
                    (0..2).all(|at| all[at]
                        .iter()
                        .map(|(p, (s, _))| (*p, *s))
                        .eq(sides[at].iter().map(|(p, s)| (*p, *s))))
                );
                crossed_books += u64::from(told.bids.keys().next_back() >= told.asks.keys().next());
            }
            let distinct: BTreeSet<Best> = quotes.iter().copied().collect();
            assert_eq!(distinct.len(), quotes.len());
        }
        assert!(crossed_books > 50, "{crossed_books}");
    }
}
