//! A book as seen through the protocol, kept alike by the gateway (for `snap`) and by clients, and its checksum.
//!
//! Exact: levels are integers at one pair of scales; an update that prints more places raises them. Not the feed's
//! book: nothing is validated here, the tape holds only what was accepted.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use wholetape_model::decimal::rescale_raw;
use wholetape_model::{Decimal, DecimalError, Levels, Scales};

use crate::json::Json;

/// Levels per side in the checksum.
const CRC_LEVELS: usize = 10;

/// Which side of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookSide {
    Bid,
    Ask,
}

/// Both sides, best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BookView {
    scales: Scales,
    bids: BTreeMap<Reverse<i64>, i64>,
    asks: BTreeMap<i64, i64>,
}

impl BookView {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.scales = Scales::default();
    }

    /// Applies absolute sizes; 0 removes the level.
    ///
    /// # Errors
    /// `Overflow` when prices of such different scales cannot be held side by side. Levels before the one that failed
    /// are applied: the view is then unusable until it is replaced.
    pub fn apply(&mut self, scales: Scales, bids: Levels<'_>, asks: Levels<'_>) -> Result<(), DecimalError> {
        self.raise(scales)?;
        if self.scales == scales {
            for l in bids.iter() {
                self.put(BookSide::Bid, l.price.0, l.size.0);
            }
            for l in asks.iter() {
                self.put(BookSide::Ask, l.price.0, l.size.0);
            }
            return Ok(());
        }
        for l in bids.iter() {
            self.set(BookSide::Bid, scales.price(l.price), scales.size(l.size))?;
        }
        for l in asks.iter() {
            self.set(BookSide::Ask, scales.price(l.price), scales.size(l.size))?;
        }
        Ok(())
    }

    /// Applies one level given as decimals.
    ///
    /// # Errors
    /// As [`BookView::apply`].
    pub fn set(&mut self, side: BookSide, price: Decimal, size: Decimal) -> Result<(), DecimalError> {
        self.raise(Scales { price: price.scale, size: size.scale })?;
        let price = rescale_raw(price.raw, price.scale, self.scales.price)?;
        let size = rescale_raw(size.raw, size.scale, self.scales.size)?;
        self.put(side, price, size);
        Ok(())
    }

    fn put(&mut self, side: BookSide, price: i64, size: i64) {
        match (side, size) {
            (BookSide::Bid, 0) => _ = self.bids.remove(&Reverse(price)),
            (BookSide::Bid, _) => _ = self.bids.insert(Reverse(price), size),
            (BookSide::Ask, 0) => _ = self.asks.remove(&price),
            (BookSide::Ask, _) => _ = self.asks.insert(price, size),
        }
    }

    /// Widens the held scales to at least `to`.
    fn raise(&mut self, to: Scales) -> Result<(), DecimalError> {
        let have = self.scales;
        let want = Scales { price: have.price.max(to.price), size: have.size.max(to.size) };
        if want == have {
            return Ok(());
        }
        let price = |p| rescale_raw(p, have.price, want.price);
        let size = |s| rescale_raw(s, have.size, want.size);
        let bids = self.bids.iter().map(|(p, s)| Ok((Reverse(price(p.0)?), size(*s)?))).collect::<Result<_, _>>()?;
        let asks = self.asks.iter().map(|(p, s)| Ok((price(*p)?, size(*s)?))).collect::<Result<_, _>>()?;
        (self.bids, self.asks, self.scales) = (bids, asks, want);
        Ok(())
    }

    /// Bids, best first.
    pub fn bids(&self) -> impl Iterator<Item = (Decimal, Decimal)> + '_ {
        self.bids.iter().map(|(p, s)| self.level(p.0, *s))
    }

    /// Asks, best first.
    pub fn asks(&self) -> impl Iterator<Item = (Decimal, Decimal)> + '_ {
        self.asks.iter().map(|(p, s)| self.level(*p, *s))
    }

    fn level(&self, price: i64, size: i64) -> (Decimal, Decimal) {
        (Decimal { raw: price, scale: self.scales.price }, Decimal { raw: size, scale: self.scales.size })
    }

    /// Of the held integers.
    pub(crate) const fn scales(&self) -> Scales {
        self.scales
    }

    /// Prices and sizes of one side, best first.
    pub(crate) fn raw(&self, side: BookSide) -> Box<dyn Iterator<Item = (i64, i64)> + '_> {
        match side {
            BookSide::Bid => Box::new(self.bids.iter().map(|(p, s)| (p.0, *s))),
            BookSide::Ask => Box::new(self.asks.iter().map(|(p, s)| (*p, *s))),
        }
    }

    /// The size at `price`, 0 where there is no level.
    pub(crate) fn size_raw(&self, side: BookSide, price: i64) -> i64 {
        let size = match side {
            BookSide::Bid => self.bids.get(&Reverse(price)),
            BookSide::Ask => self.asks.get(&price),
        };
        size.copied().unwrap_or(0)
    }

    /// Levels of both sides.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// CRC-32 (IEEE) of `price:size` of the best 10 bids, then asks, joined by `|`, numbers in canonical text.
    #[must_use]
    pub fn crc(&self) -> u32 {
        let mut text = Vec::with_capacity(512);
        crc32fast::hash(self.crc_text(&mut text))
    }

    /// The text that [`BookView::crc`] hashes, in a buffer of the caller's.
    pub fn crc_text<'a>(&self, text: &'a mut Vec<u8>) -> &'a [u8] {
        text.clear();
        for (price, size) in self.bids().take(CRC_LEVELS).chain(self.asks().take(CRC_LEVELS)) {
            if !text.is_empty() {
                text.push(b'|');
            }
            Json(text).plain(price.canonical()).raw(":").plain(size.canonical());
        }
        text
    }

    /// Writes `"b":[…],"a":[…]`, the `depth` best of each side.
    pub(crate) fn write(&self, j: &mut Json<'_>, depth: usize) {
        write_sides(j, self.bids().take(depth), self.asks().take(depth));
    }
}

pub(crate) fn write_sides(
    j: &mut Json<'_>,
    bids: impl Iterator<Item = (Decimal, Decimal)>,
    asks: impl Iterator<Item = (Decimal, Decimal)>,
) {
    j.raw("\"b\":[");
    write_levels(j, bids);
    j.raw("],\"a\":[");
    write_levels(j, asks);
    j.raw("]");
}

fn write_levels(j: &mut Json<'_>, levels: impl Iterator<Item = (Decimal, Decimal)>) {
    for (i, (price, size)) in levels.enumerate() {
        j.raw(if i == 0 { "[" } else { ",[" });
        j.decimal(price).raw(",").decimal(size).raw("]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn checksum_is_of_the_canonical_text() {
        let mut b = BookView::new();
        b.set(BookSide::Bid, d("60000.10"), d("2.000")).unwrap();
        b.set(BookSide::Bid, d("59999.90"), d("0.5")).unwrap();
        b.set(BookSide::Ask, d("60000.2"), d("100")).unwrap();
        let mut text = Vec::new();
        assert_eq!(b.crc_text(&mut text), b"60000.1:2|59999.9:0.5|60000.2:100");
        // `python3 -c 'import zlib; print(zlib.crc32(b"60000.1:2|59999.9:0.5|60000.2:100"))'`
        assert_eq!(b.crc(), 0xbf34_7a93);
        b.set(BookSide::Bid, d("60000.1"), d("0")).unwrap();
        assert_eq!(b.bids().next(), Some((d("59999.90"), d("0.500"))));
    }

    #[test]
    fn only_ten_levels_a_side_count() {
        let mut b = BookView::new();
        for i in 0..12 {
            b.set(BookSide::Bid, Decimal::new(100 - i, 0), Decimal::new(1, 0)).unwrap();
        }
        let before = b.crc();
        b.set(BookSide::Bid, Decimal::new(89, 0), Decimal::new(7, 0)).unwrap();
        assert_eq!(b.crc(), before);
        b.set(BookSide::Bid, Decimal::new(91, 0), Decimal::new(7, 0)).unwrap();
        assert_ne!(b.crc(), before);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let mut b = BookView::new();
        b.set(BookSide::Ask, Decimal::new(i64::MAX, 0), Decimal::new(1, 0)).unwrap();
        assert_eq!(b.set(BookSide::Ask, d("0.1"), d("1")), Err(DecimalError::Overflow));
    }

    proptest! {
        /// Whatever the scales and their order, the book holds the same values.
        #[test]
        fn scales_do_not_matter(updates in proptest::collection::vec((0_i64..50, 0_i64..4, 0_u8..4), 0..60)) {
            let (mut one, mut other) = (BookView::new(), BookView::new());
            for (price, size, more) in updates {
                one.set(BookSide::Ask, Decimal::new(price, 1), Decimal::new(size, 1)).unwrap();
                let by = 10_i64.pow(u32::from(more));
                other.set(BookSide::Ask, Decimal::new(price * by, 1 + more), Decimal::new(size * by, 1 + more)).unwrap();
            }
            prop_assert_eq!(one.crc(), other.crc());
            let canon = |b: &BookView| b.asks().map(|(p, s)| (p.canonical(), s.canonical())).collect::<Vec<_>>();
            prop_assert_eq!(canon(&one), canon(&other));
        }
    }
}
