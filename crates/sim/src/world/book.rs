//! The books: one of integers for the generator, one of recorded texts for captures; both print the same view.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;

use crate::config::Spec;
use crate::decimal;

/// A book as text, best first: what REST answers and what the truth keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BookText {
    pub last_update_id: u64,
    pub bids: Vec<(String, String)>,
    pub asks: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Bid,
    Ask,
}

/// Levels in ticks and steps. Bids are below asks always; no level of size zero.
#[derive(Debug, Clone, Default)]
pub struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Book {
    pub fn set(&mut self, side: Side, ticks: i64, steps: i64) {
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if steps == 0 {
            levels.remove(&ticks);
        } else {
            levels.insert(ticks, steps);
        }
    }

    pub fn len(&self, side: Side) -> usize {
        match side {
            Side::Bid => self.bids.len(),
            Side::Ask => self.asks.len(),
        }
    }

    pub fn get(&self, side: Side, ticks: i64) -> i64 {
        let levels = if side == Side::Bid { &self.bids } else { &self.asks };
        levels.get(&ticks).copied().unwrap_or(0)
    }

    /// The best level, then worse ones.
    pub fn level(&self, side: Side, depth: usize) -> Option<(i64, i64)> {
        let pair = |(p, q): (&i64, &i64)| (*p, *q);
        match side {
            Side::Bid => self.bids.iter().nth_back(depth).map(pair),
            Side::Ask => self.asks.iter().nth(depth).map(pair),
        }
    }

    /// The `limit` best levels, in no order that matters.
    pub fn top(&self, side: Side, limit: usize) -> Box<dyn Iterator<Item = (i64, i64)> + '_> {
        let pair = |(p, q): (&i64, &i64)| (*p, *q);
        match side {
            Side::Bid => Box::new(self.bids.iter().rev().take(limit).map(pair)),
            Side::Ask => Box::new(self.asks.iter().take(limit).map(pair)),
        }
    }

    /// Levels that are worse than this price, best first.
    pub fn beyond(&self, side: Side, ticks: i64) -> Box<dyn Iterator<Item = (i64, i64)> + '_> {
        let pair = |(p, q): (&i64, &i64)| (*p, *q);
        match side {
            Side::Bid => Box::new(self.bids.range(..ticks).rev().map(pair)),
            Side::Ask => Box::new(self.asks.range((Bound::Excluded(ticks), Bound::Unbounded)).map(pair)),
        }
    }

    pub fn worst(&self, side: Side) -> Option<(i64, i64)> {
        let pair = |(p, q): (&i64, &i64)| (*p, *q);
        match side {
            Side::Bid => self.bids.iter().next().map(pair),
            Side::Ask => self.asks.iter().next_back().map(pair),
        }
    }

    /// Best bid and ask with sizes; `None` while a side is empty.
    pub fn best(&self) -> Option<[(i64, i64); 2]> {
        Some([self.level(Side::Bid, 0)?, self.level(Side::Ask, 0)?])
    }

    pub fn text(&self, spec: &Spec, last_update_id: u64, limit: usize) -> BookText {
        let text = |(p, q): (&i64, &i64)| (spec.price(*p), spec.size(*q));
        BookText {
            last_update_id,
            bids: self.bids.iter().rev().take(limit).map(text).collect(),
            asks: self.asks.iter().take(limit).map(text).collect(),
        }
    }

    /// A book from text; levels that the instrument's grid does not hold are left out.
    pub fn from_text(spec: &Spec, text: &BookText) -> Self {
        let read = |levels: &[(String, String)]| {
            levels
                .iter()
                .filter_map(|(p, q)| {
                    let ticks = decimal::parse(p, spec.price_scale)? / spec.tick_units;
                    let steps = decimal::parse(q, spec.size_scale)? / spec.step_units;
                    (steps > 0).then_some((ticks, steps))
                })
                .collect()
        };
        Self { bids: read(&text.bids), asks: read(&text.asks) }
    }
}

/// `[["price","size"],…]`, as JSON has it.
pub fn push_levels(text: &mut String, levels: &[(String, String)]) {
    text.push('[');
    for (at, (price, size)) in levels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}[\"{price}\",\"{size}\"]");
    }
    text.push(']');
}

/// Digits enough for every recorded price.
pub(super) const PRICE_SCALE: u32 = 10;

/// A book of recorded texts, kept in price order, the texts untouched.
#[derive(Debug, Clone, Default)]
pub struct TextBook {
    pub last_update_id: u64,
    bids: BTreeMap<i64, (String, String)>,
    asks: BTreeMap<i64, (String, String)>,
}

impl TextBook {
    pub fn from_text(text: &BookText) -> Self {
        let mut book = Self { last_update_id: text.last_update_id, ..Self::default() };
        book.apply(&text.bids, &text.asks);
        book
    }

    /// Sets absolute sizes; a zero size removes. Prices that are no decimals are left out.
    pub fn apply(&mut self, bids: &[(String, String)], asks: &[(String, String)]) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for (price, size) in levels {
                let Some(key) = decimal::parse(price, PRICE_SCALE) else { continue };
                if decimal::is_zero(size) {
                    side.remove(&key);
                } else {
                    side.insert(key, (price.clone(), size.clone()));
                }
            }
        }
    }

    pub fn text(&self, limit: usize) -> BookText {
        BookText {
            last_update_id: self.last_update_id,
            bids: self.bids.values().rev().take(limit).cloned().collect(),
            asks: self.asks.values().take(limit).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{VenueConfig, VenueKind};

    #[test]
    fn a_book_survives_its_text() {
        let spec = Spec::new(VenueKind::BinanceUsdm, &VenueConfig::usdm().instruments[0]).unwrap();
        let mut book = Book::default();
        book.set(Side::Bid, 100, 5);
        book.set(Side::Bid, 99, 1);
        book.set(Side::Ask, 101, 7);
        book.set(Side::Ask, 102, 7);
        book.set(Side::Ask, 102, 0);
        let text = book.text(&spec, 9, 10);
        assert_eq!(text.bids[0], ("10.00".into(), "0.005".into()));
        assert_eq!(Book::from_text(&spec, &text).text(&spec, 9, 10), text);
        assert_eq!(TextBook::from_text(&text).text(10), text);
        assert_eq!(book.best(), Some([(100, 5), (101, 7)]));
    }
}
