//! One view of a book: what its clients hold, and what they must be told when the book has moved on.
//!
//! Full depth: the last write to each price that was written since. A depth of n: the difference between the n best levels a side
//! then and now, so a level that enters because another left is told, and the one that left is told with size 0.
//!
//! Invariant: a client that applies every [`Change`] holds what a [`BookView`] holds that took each update, or its n best levels.

use std::collections::BTreeSet;

use wholetape_model::decimal::rescale_raw;
use wholetape_model::{Decimal, DecimalError, Level, Levels, Scales};

use crate::book::{BookSide, BookView};

/// What the clients of one view hold of a book.
#[derive(Debug, Clone)]
pub struct BookCut {
    /// Levels a side; `usize::MAX`: all.
    depth: usize,
    /// Of everything below.
    scales: Scales,
    /// What the clients hold, best first; empty where they hold all.
    bids: Vec<(i64, i64)>,
    asks: Vec<(i64, i64)>,
    /// Prices written since, where they hold all.
    touched: [BTreeSet<i64>; 2],
}

/// Levels whose size changed, 0 where they left. `[levels]`, best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub bids: Vec<(Decimal, Decimal)>,
    pub asks: Vec<(Decimal, Decimal)>,
}

impl Change {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

impl BookCut {
    /// `None`: full depth. Nobody holds anything yet.
    #[must_use]
    pub fn new(depth: Option<u16>) -> Self {
        let depth = depth.map_or(usize::MAX, usize::from);
        Self { depth, scales: Scales::default(), bids: Vec::new(), asks: Vec::new(), touched: Default::default() }
    }

    const fn is_full(&self) -> bool {
        self.depth == usize::MAX
    }

    /// An update that the book takes.
    ///
    /// # Errors
    /// As [`BookView::apply`]: the clients then need the whole state.
    pub fn touch(&mut self, scales: Scales, bids: Levels<'_>, asks: Levels<'_>) -> Result<(), DecimalError> {
        if !self.is_full() {
            return Ok(());
        }
        let have = self.scales;
        self.rescale(Scales { price: have.price.max(scales.price), size: have.size.max(scales.size) })?;
        let to = self.scales.price;
        let price = |l: Level| rescale_raw(l.price.0, scales.price, to);
        for (side, levels) in self.touched.iter_mut().zip([bids, asks]) {
            for level in levels.iter() {
                side.insert(price(level)?);
            }
        }
        Ok(())
    }

    /// The clients were given all of `book`, or as much of it as they hold.
    pub fn restart(&mut self, book: &BookView) {
        self.scales = book.scales();
        self.touched = Default::default();
        if !self.is_full() {
            self.bids = book.raw(BookSide::Bid).take(self.depth).collect();
            self.asks = book.raw(BookSide::Ask).take(self.depth).collect();
        }
    }

    /// What the clients must be told so that they hold `book`; from here on they do.
    ///
    /// # Errors
    /// As [`BookView::apply`]: the clients then need the whole state.
    pub fn change(&mut self, book: &BookView) -> Result<Change, DecimalError> {
        let mut change = Change::default();
        let scales = book.scales();
        self.rescale(scales)?;
        let decimals = |(price, size): (i64, i64)| {
            (Decimal { raw: price, scale: scales.price }, Decimal { raw: size, scale: scales.size })
        };
        if self.is_full() {
            let [bids, asks] = std::mem::take(&mut self.touched);
            let now = |side, price| decimals((price, book.size_raw(side, price)));
            change.bids = bids.into_iter().rev().map(|p| now(BookSide::Bid, p)).collect();
            change.asks = asks.into_iter().map(|p| now(BookSide::Ask, p)).collect();
            return Ok(change);
        }
        for (side, held, told) in
            [(BookSide::Bid, &mut self.bids, &mut change.bids), (BookSide::Ask, &mut self.asks, &mut change.asks)]
        {
            let now: Vec<(i64, i64)> = book.raw(side).take(self.depth).collect();
            let better = |a: i64, b: i64| if side == BookSide::Bid { a > b } else { a < b };
            let (mut old, mut new) = (held.iter().peekable(), now.iter().peekable());
            loop {
                match (old.peek(), new.peek()) {
                    (None, None) => break,
                    (Some(o), Some(n)) if o.0 == n.0 => {
                        if o.1 != n.1 {
                            told.push(decimals(**n));
                        }
                        old.next();
                        new.next();
                    }
                    (Some(o), n) if n.is_none_or(|n| better(o.0, n.0)) => {
                        told.push(decimals((o.0, 0)));
                        old.next();
                    }
                    (_, Some(n)) => {
                        told.push(decimals(**n));
                        new.next();
                    }
                    (Some(_), None) => break,
                }
            }
            *held = now;
        }
        Ok(change)
    }

    /// Widens what is held. A book that was replaced may stand at narrower scales: then the clients are given all of it.
    fn rescale(&mut self, to: Scales) -> Result<(), DecimalError> {
        let have = self.scales;
        if have == to {
            return Ok(());
        }
        let price = |p| rescale_raw(p, have.price, to.price);
        let size = |s| rescale_raw(s, have.size, to.size);
        let levels =
            |held: &[(i64, i64)]| held.iter().map(|(p, s)| Ok((price(*p)?, size(*s)?))).collect::<Result<Vec<_>, _>>();
        let prices = |held: &BTreeSet<i64>| held.iter().map(|p| price(*p)).collect::<Result<BTreeSet<_>, _>>();
        let (bids, asks) = (levels(&self.bids)?, levels(&self.asks)?);
        self.touched = [prices(&self.touched[0])?, prices(&self.touched[1])?];
        (self.bids, self.asks, self.scales) = (bids, asks, to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;
    use wholetape_model::{Price, Size};

    /// A book as two maps of canonical decimals: the model.
    type Model = [BTreeMap<(i64, i64), (i64, u8)>; 2];

    #[derive(Debug, Clone)]
    struct Update {
        ask: bool,
        price: i64,
        size: i64,
        more: u8,
        /// The view is told now.
        cut: bool,
        /// Everything is replaced by this level.
        whole: bool,
    }

    fn update() -> impl Strategy<Value = Update> {
        let odds = (any::<bool>(), 1_i64..40, 0_i64..4, 0_u8..3, 0_u8..4, 0_u8..40);
        odds.prop_map(|(ask, price, size, more, cut, whole)| Update {
            ask,
            price,
            size,
            more,
            cut: cut == 0,
            whole: whole == 0,
        })
    }

    /// The n best levels a side in canonical form.
    fn best(view: &BookView, n: usize) -> Vec<(Decimal, Decimal)> {
        let canonical = |(p, s): (Decimal, Decimal)| (p.canonical(), s.canonical());
        view.bids().take(n).map(canonical).chain(view.asks().take(n).map(canonical)).collect()
    }

    fn modelled(model: &Model, n: usize) -> Vec<(Decimal, Decimal)> {
        let one = |((_, price), (size, _)): (&(i64, i64), &(i64, u8))| {
            (Decimal::new(*price, 1).canonical(), Decimal::new(*size, 0).canonical())
        };
        model[0].iter().take(n).map(one).chain(model[1].iter().take(n).map(one)).collect()
    }

    proptest! {
        /// Cut anywhere, at any depth and scales: who applies the changes holds the n best levels of who took every update.
        #[test]
        fn changes_equal_the_updates_that_they_replace(
            updates in proptest::collection::vec(update(), 0..200), depth in 0_usize..5,
        ) {
            let depth = [None, Some(1), Some(3), Some(10), Some(200)][depth];
            let n = depth.map_or(usize::MAX, usize::from);
            let (mut book, mut cut, mut client) = (BookView::new(), BookCut::new(depth), BookView::new());
            let mut model = Model::default();
            for u in updates {
                let by = 10_i64.pow(u32::from(u.more));
                let scales = Scales { price: 1 + u.more, size: 0 };
                let levels = [Level { price: Price(u.price * by), size: Size(u.size) }];
                let none: &[Level] = &[];
                let (bids, asks) = if u.ask { (none, &levels[..]) } else { (&levels[..], none) };
                let (bids, asks) = (Levels::Native(bids), Levels::Native(asks));
                if u.whole {
                    book.clear();
                    model = Model::default();
                } else {
                    cut.touch(scales, bids, asks).unwrap();
                }
                book.apply(scales, bids, asks).unwrap();
                let key = (if u.ask { u.price } else { -u.price }, u.price);
                if u.size == 0 { model[usize::from(u.ask)].remove(&key); } else { model[usize::from(u.ask)].insert(key, (u.size, 0)); }
                if u.whole {
                    cut.restart(&book);
                    client = BookView::new();
                    for (side, (price, size)) in book.bids().take(n).map(|l| (BookSide::Bid, l)).chain(book.asks().take(n).map(|l| (BookSide::Ask, l))) {
                        client.set(side, price, size).unwrap();
                    }
                } else if u.cut {
                    let change = cut.change(&book).unwrap();
                    for (price, size) in change.bids { client.set(BookSide::Bid, price, size).unwrap(); }
                    for (price, size) in change.asks { client.set(BookSide::Ask, price, size).unwrap(); }
                } else {
                    continue;
                }
                prop_assert_eq!(best(&client, usize::MAX), modelled(&model, n));
                prop_assert_eq!(best(&book, n), modelled(&model, n));
                if n >= 10 {
                    prop_assert_eq!(client.crc(), book.crc());
                }
            }
        }
    }

    #[test]
    fn who_enters_and_who_leaves_is_told() {
        let d = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        let mut book = BookView::new();
        for (price, size) in [("10", "1"), ("9", "2"), ("8", "3")] {
            book.set(BookSide::Bid, d(price), d(size)).unwrap();
        }
        let mut cut = BookCut::new(Some(2));
        cut.restart(&book);
        book.set(BookSide::Bid, d("10"), d("0")).unwrap();
        let entered = Change { bids: vec![(d("10"), d("0")), (d("8"), d("3"))], asks: vec![] };
        assert_eq!(cut.change(&book).unwrap(), entered);
        book.set(BookSide::Bid, d("11"), d("5")).unwrap();
        let left = Change { bids: vec![(d("11"), d("5")), (d("8"), d("0"))], asks: vec![] };
        assert_eq!(cut.change(&book).unwrap(), left);
        book.set(BookSide::Bid, d("7"), d("5")).unwrap();
        assert!(cut.change(&book).unwrap().is_empty(), "below the view");
    }
}
