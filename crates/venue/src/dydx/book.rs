//! One book as a connection told it: each level with the message that told it last.
//!
//! The venue's book is crossed now and then, and that is how it goes to the tape. Its documents have clients uncross a *view*
//! (<https://github.com/dydxprotocol/v4-documentation> `interaction/data/watch-orderbook.mdx`, state 2026-04-22, read 2026-11-20): while the
//! best bid is not below the best ask, the level that was told earlier is taken out; of two that were told together the smaller size goes
//! and the larger keeps the rest, and equal ones go both. [`Book::best`] is that view's best prices; the levels themselves stay, since
//! a later update may speak of one that is hidden.
//!
//! REST's book, asked for now and then ([`Book::refreshed`]), has no place among the messages: a level that the stream told since the
//! question went out stays as the stream told it, and so do levels deeper than REST's answer.
//!
//! Invariant: sides are sorted from the best level on, and no level has size 0.

use std::cmp::Ordering;

use wholetape_model::{Decimal, Ts};

/// Levels a side that are kept; of more the worst go. A book shows a hundred at first and then what changes.
const LEVELS_MAX: usize = 10_000;

/// Price and size.
pub(super) type Pair = (Decimal, Decimal);

/// The message that told a level, and its place in that message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Stamp {
    pub message: u64,
    pub place: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    price: Decimal,
    size: Decimal,
    stamp: Stamp,
    told: Ts,
}

#[derive(Debug)]
struct Side {
    /// Of two prices the better one is less.
    order: fn(Decimal, Decimal) -> Ordering,
    levels: Vec<Entry>,
    /// Prices that went since REST was asked.
    gone: Vec<Decimal>,
}

impl Side {
    const fn new(order: fn(Decimal, Decimal) -> Ordering) -> Self {
        Self { order, levels: Vec::new(), gone: Vec::new() }
    }

    fn find(&self, price: Decimal) -> Result<usize, usize> {
        self.levels.binary_search_by(|level| (self.order)(level.price, price))
    }

    fn set(&mut self, (price, size): Pair, stamp: Stamp, told: Ts, asked: bool) {
        match self.find(price) {
            Ok(at) if size.is_zero() => {
                self.levels.remove(at);
            }
            Ok(at) => self.levels[at] = Entry { price, size, stamp, told },
            Err(_) if size.is_zero() => {}
            Err(at) => {
                self.levels.insert(at, Entry { price, size, stamp, told });
                self.levels.truncate(LEVELS_MAX);
            }
        }
        if asked && size.is_zero() && self.gone.len() < LEVELS_MAX {
            self.gone.push(price);
        }
    }

    /// `rest`: REST's levels, best first. `depth`: so many are all that it ever shows.
    fn refresh(&mut self, rest: &[Pair], depth: usize, asked: Ts, stamp: Stamp, told: Ts) {
        let order = self.order;
        let worst = rest.last().filter(|_| rest.len() >= depth).map(|level| level.0);
        let mut levels: Vec<Entry> = Vec::with_capacity(self.levels.len().max(rest.len()));
        let is_deeper = |price| worst.is_some_and(|worst| order(price, worst).is_gt());
        levels.extend(self.levels.iter().filter(|level| level.told > asked || is_deeper(level.price)));
        for &(price, size) in rest.iter().filter(|level| !level.1.is_zero()) {
            let ours = self.find(price).ok().map(|at| self.levels[at]);
            let gone = ours.is_none() && self.gone.iter().any(|gone| gone.cmp_value(price).is_eq());
            match ours {
                Some(level) if level.told > asked => {}
                // Told before, and REST agrees: the stream's message keeps its word.
                Some(level) if level.size.cmp_value(size).is_eq() => levels.push(level),
                _ if gone => {}
                _ => levels.push(Entry { price, size, stamp, told }),
            }
        }
        levels.sort_by(|a, b| order(a.price, b.price));
        levels.dedup_by(|a, b| a.price.cmp_value(b.price).is_eq());
        levels.truncate(LEVELS_MAX);
        self.levels = levels;
    }
}

/// Best bid and ask of the uncrossed view; size 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Best {
    pub bid: Pair,
    pub ask: Pair,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    bids: Side,
    asks: Side,
    /// The message that brought the last update; `None` before the first snapshot of this connection.
    last: Option<u64>,
    /// REST was asked for the book then.
    asked: Option<Ts>,
    told: Best,
}

impl Default for Book {
    fn default() -> Self {
        let mut book = Self {
            bids: Side::new(|a, b| b.cmp_value(a)),
            asks: Side::new(Decimal::cmp_value),
            last: None,
            asked: None,
            told: Best::default(),
        };
        book.forget();
        book
    }
}

impl Book {
    /// A new connection knows nothing of the book.
    pub fn forget(&mut self) {
        (self.last, self.asked, self.told) = (None, None, Best::default());
        for side in [&mut self.bids, &mut self.asks] {
            side.levels.clear();
            side.gone.clear();
        }
    }

    pub const fn last(&self) -> Option<u64> {
        self.last
    }

    /// The stream's snapshot, which came in message `message`.
    pub fn replace(&mut self, bids: &[Pair], asks: &[Pair], message: u64, now: Ts) {
        let told = self.told;
        self.forget();
        self.told = told;
        self.last = Some(message);
        self.set(bids, asks, Stamp { message, place: 0 }, now);
    }

    /// An update. Before a snapshot there is nothing to be updated.
    pub fn apply(&mut self, bids: &[Pair], asks: &[Pair], stamp: Stamp, now: Ts) {
        if self.last.is_some() {
            self.last = Some(stamp.message);
            self.set(bids, asks, stamp, now);
        }
    }

    fn set(&mut self, bids: &[Pair], asks: &[Pair], stamp: Stamp, now: Ts) {
        let asked = self.asked.is_some();
        bids.iter().for_each(|level| self.bids.set(*level, stamp, now, asked));
        asks.iter().for_each(|level| self.asks.set(*level, stamp, now, asked));
    }

    /// REST is asked for the book now. Whether that is of any use: without a snapshot of the stream there is nothing to mend.
    pub fn ask(&mut self, now: Ts) -> bool {
        self.ask_over();
        self.asked = self.last.map(|_| now);
        self.asked.is_some()
    }

    /// No answer comes.
    pub fn ask_over(&mut self) {
        self.asked = None;
        self.bids.gone.clear();
        self.asks.gone.clear();
    }

    /// REST's answer: the message that the book stands at, and its levels now (bids, then asks, best first; `usize` bids). `None` where the
    /// stream gave no snapshot since the question.
    pub fn refreshed(
        &mut self,
        bids: &[Pair],
        asks: &[Pair],
        depth: usize,
        now: Ts,
        to: &mut Vec<Pair>,
    ) -> Option<(u64, usize)> {
        let (asked, message) = (self.asked?, self.last?);
        let stamp = Stamp { message, place: u32::MAX };
        self.bids.refresh(bids, depth, asked, stamp, now);
        self.asks.refresh(asks, depth, asked, stamp, now);
        self.ask_over();
        to.clear();
        to.extend(self.bids.levels.iter().map(|level| (level.price, level.size)));
        let bids = to.len();
        to.extend(self.asks.levels.iter().map(|level| (level.price, level.size)));
        Some((message, bids))
    }

    /// The best prices of the uncrossed view.
    pub fn best(&self) -> Best {
        let (mut bids, mut asks) = (self.bids.levels.iter(), self.asks.levels.iter());
        let (mut bid, mut ask) = (bids.next().copied(), asks.next().copied());
        while let (Some(b), Some(a)) = (&mut bid, &mut ask) {
            if b.price.cmp_value(a.price).is_lt() {
                break;
            }
            match b.stamp.cmp(&a.stamp) {
                Ordering::Less => bid = bids.next().copied(),
                Ordering::Greater => ask = asks.next().copied(),
                Ordering::Equal => match b.size.cmp_value(a.size) {
                    Ordering::Less => {
                        a.size = rest(a.size, b.size);
                        bid = bids.next().copied();
                    }
                    Ordering::Greater => {
                        b.size = rest(b.size, a.size);
                        ask = asks.next().copied();
                    }
                    Ordering::Equal => (bid, ask) = (bids.next().copied(), asks.next().copied()),
                },
            }
        }
        let pair = |level: Option<Entry>| level.map_or((Decimal::ZERO, Decimal::ZERO), |l| (l.price, l.size));
        Best { bid: pair(bid), ask: pair(ask) }
    }

    /// The best prices, where they are others than last time.
    pub fn news(&mut self) -> Option<Best> {
        let best = self.best();
        (std::mem::replace(&mut self.told, best) != best).then_some(best)
    }
}

/// Exactly; where no common scale fits into 64 bits the larger stays whole.
fn rest(larger: Decimal, smaller: Decimal) -> Decimal {
    let scale = larger.scale.max(smaller.scale);
    match (larger.rescale(scale), smaller.rescale(scale)) {
        (Ok(a), Ok(b)) => Decimal::new(a.raw - b.raw, scale),
        _ => larger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    fn pair(level: &(&str, &str)) -> Pair {
        (d(level.0), d(level.1))
    }

    fn pairs(levels: &[(&str, &str)]) -> Vec<Pair> {
        levels.iter().map(pair).collect()
    }

    fn stamp(message: u64, place: u32) -> Stamp {
        Stamp { message, place }
    }

    fn book(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> Book {
        let mut book = Book::default();
        book.replace(&pairs(bids), &pairs(asks), 1, Ts(1));
        book
    }

    #[track_caller]
    fn check(book: &Book, bid: (&str, &str), ask: (&str, &str)) {
        let text = |p: Pair| (p.0.to_string(), p.1.to_string());
        let best = book.best();
        let own = |p: (&str, &str)| (p.0.to_owned(), p.1.to_owned());
        assert_eq!((text(best.bid), text(best.ask)), (own(bid), own(ask)));
    }

    #[test]
    fn an_older_level_yields_and_comes_back() {
        let mut b = book(&[("100", "1"), ("99", "2")], &[("101", "3"), ("102", "4")]);
        check(&b, ("100", "1"), ("101", "3"));
        // A newer ask crosses the old bid: the bid is hidden.
        b.apply(&[], &pairs(&[("99.5", "5")]), stamp(2, 0), Ts(2));
        check(&b, ("99", "2"), ("99.5", "5"));
        // A still newer bid at the same price hides the ask, which had its turn with the bid at 100.
        b.apply(&pairs(&[("99.5", "1")]), &[], stamp(3, 0), Ts(3));
        check(&b, ("99.5", "1"), ("101", "3"));
        // Both go: what was hidden is there again.
        b.apply(&pairs(&[("99.5", "0.0")]), &pairs(&[("99.5", "0")]), stamp(4, 0), Ts(4));
        check(&b, ("100", "1"), ("101", "3"));
    }

    #[test]
    fn of_one_message_the_smaller_size_goes_and_the_larger_keeps_the_rest() {
        let mut b = book(&[("100", "1")], &[("101", "3")]);
        b.apply(&pairs(&[("105", "2.5")]), &pairs(&[("104", "1")]), stamp(2, 0), Ts(2));
        // 101 was told before the bid at 105; 104 with it.
        check(&b, ("105", "1.5"), ("0", "0"));
        let mut b = book(&[("105", "2.5"), ("100", "1")], &[("104", "1"), ("106", "7")]);
        check(&b, ("105", "1.5"), ("106", "7"));
        b.apply(&[], &[], stamp(3, 0), Ts(3));
        let b = book(&[("105", "1"), ("100", "1")], &[("104", "1.0"), ("106", "7")]);
        check(&b, ("100", "1"), ("106", "7"));
    }

    #[test]
    fn within_a_batch_the_place_decides() {
        let mut b = book(&[("100", "1")], &[("101", "3")]);
        b.apply(&pairs(&[("102", "9")]), &[], stamp(2, 0), Ts(2));
        b.apply(&[], &pairs(&[("102", "4")]), stamp(2, 1), Ts(2));
        check(&b, ("100", "1"), ("102", "4"));
    }

    #[test]
    fn a_crossed_book_keeps_its_levels() {
        let mut b = book(&[("100", "1"), ("99", "2")], &[("101", "3")]);
        b.apply(&[], &pairs(&[("98", "5")]), stamp(2, 0), Ts(2));
        check(&b, ("0", "0"), ("98", "5"));
        assert_eq!((b.bids.levels.len(), b.asks.levels.len()), (2, 2));
    }

    #[test]
    fn rest_mends_ghosts_and_takes_nothing_back_that_the_stream_told_since() {
        let mut b = book(&[("100", "1"), ("99", "2"), ("50", "1")], &[("101", "3"), ("102", "4")]);
        assert!(b.ask(Ts(10)));
        // While the question is under way: 99 changes, 102 goes, 103 comes.
        b.apply(&pairs(&[("99", "7")]), &pairs(&[("102", "0"), ("103", "8")]), stamp(5, 0), Ts(12));
        let mut to = Vec::new();
        // REST, made before that: 100 is a ghost; 101 has another size; it shows two levels a side, 50 is deeper.
        let rest = (pairs(&[("99", "2"), ("98", "6")]), pairs(&[("101", "2"), ("102", "4")]));
        let (message, bids) = b.refreshed(&rest.0, &rest.1, 2, Ts(20), &mut to).unwrap();
        assert_eq!((message, bids), (5, 3));
        let text: Vec<String> = to.iter().map(|p| format!("{}x{}", p.0, p.1)).collect();
        assert_eq!(text, ["99x7", "98x6", "50x1", "101x2", "103x8"]);
        assert_eq!(b.refreshed(&rest.0, &rest.1, 2, Ts(21), &mut to), None, "one answer to a question");
    }

    #[test]
    fn without_a_snapshot_of_the_stream_there_is_nothing_to_mend() {
        let mut b = Book::default();
        b.apply(&pairs(&[("99", "7")]), &[], stamp(5, 0), Ts(1));
        assert!(!b.ask(Ts(2)) && b.last().is_none() && b.best() == Best::default());
    }

    proptest! {
        /// Whatever comes: the view is never crossed, and its levels are of the book.
        #[test]
        fn the_view_is_never_crossed(updates in proptest::collection::vec((any::<bool>(), 90_i64..110, 0_i64..4, 0_u64..3), 0..80)) {
            let mut b = Book::default();
            b.replace(&[], &[], 1, Ts(1));
            let mut message = 1;
            for (bid, price, size, step) in updates {
                message += step;
                let level = [(Decimal::new(price, 0), Decimal::new(size, 0))];
                let (bids, asks) = if bid { (&level[..], &[][..]) } else { (&[][..], &level[..]) };
                b.apply(bids, asks, stamp(message, 0), Ts(1));
                let best = b.best();
                prop_assert!(best.bid.1.is_zero() || best.ask.1.is_zero() || best.bid.0.raw < best.ask.0.raw);
                let of = |side: &Side, p: Pair| p.1.is_zero() || side.levels.iter().any(|l| l.price == p.0 && l.size.raw >= p.1.raw);
                prop_assert!(of(&b.bids, best.bid) && of(&b.asks, best.ask));
                prop_assert!(b.bids.levels.is_sorted_by(|x, y| x.price.raw > y.price.raw));
                prop_assert!(b.asks.levels.is_sorted_by(|x, y| x.price.raw < y.price.raw));
            }
        }
    }
}
