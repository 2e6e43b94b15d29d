//! The levels of both sides with their decimal scales: validate, apply, look.
//!
//! All levels of a book share one price and one size scale. An update at other scales is brought to a common one at which
//! both are exact (the update is scaled up, or else the book is; where that overflows, whichever has zeros to spare is
//! scaled down); where there is none the update is refused. Nothing is rounded.

use wholetape_model::book_rule::Checksum;
use wholetape_model::decimal::rescale_raw;
use wholetape_model::{Decimal, Level, Levels, Price, Scales, Side, Size};

use crate::checksum::Scratch;
use crate::error::BookError;
use crate::side::BookSide;

/// L2 at full depth. Whether it may be believed is [`crate::SyncedOrderBook`]'s to say.
#[derive(Debug, Clone)]
pub struct OrderBook {
    bids: BookSide,
    asks: BookSide,
    scales: Scales,
    printed: Scales,
    levels_max: usize,
    /// For placing windows and rescaling; empty between calls.
    scratch: Vec<(i64, i64)>,
    /// An update brought to the book's scales; empty between calls.
    converted: Vec<Level>,
}

/// Smaller is better on both sides.
#[inline]
const fn key(side: Side, price: i64) -> i64 {
    match side {
        Side::Buy => -price,
        Side::Sell => price,
    }
}

const fn level(side: Side, (key, size): (i64, i64)) -> Level {
    let price = match side {
        Side::Buy => -key,
        Side::Sell => key,
    };
    Level { price: Price(price), size: Size(size) }
}

impl OrderBook {
    /// `levels_max`: an update that could bring a side beyond it is refused, so memory is bounded.
    #[must_use]
    pub fn new(levels_max: usize) -> Self {
        Self {
            bids: BookSide::default(),
            asks: BookSide::default(),
            scales: Scales::default(),
            printed: Scales::default(),
            levels_max,
            scratch: Vec::new(),
            converted: Vec::new(),
        }
    }

    /// The scales of every price and size that the book gives out.
    #[must_use]
    pub const fn scales(&self) -> Scales {
        self.scales
    }

    /// The most decimal places that the venue printed since the last snapshot. Text at these scales is the venue's own; they
    /// exceed [`OrderBook::scales`] only where a number was too large to be kept with all its zeros.
    #[must_use]
    pub const fn printed_scales(&self) -> Scales {
        self.printed
    }

    const fn side(&self, side: Side) -> &BookSide {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    /// Levels on one side.
    #[must_use]
    pub const fn len(&self, side: Side) -> usize {
        self.side(side).len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    #[inline]
    #[must_use]
    pub fn best_bid(&self) -> Option<Level> {
        self.bids.best().map(|l| level(Side::Buy, l))
    }

    #[inline]
    #[must_use]
    pub fn best_ask(&self) -> Option<Level> {
        self.asks.best().map(|l| level(Side::Sell, l))
    }

    /// Half way between best bid and best ask, exactly (one decimal place more than the book where it must be).
    /// `None` when a side is empty, or in the rare case that it does not fit.
    #[must_use]
    pub fn mid(&self) -> Option<Decimal> {
        let sum = i128::from(self.best_bid()?.price.0) + i128::from(self.best_ask()?.price.0);
        let (raw, scale) =
            if sum % 2 == 0 { (sum / 2, self.scales.price) } else { (sum * 5, self.scales.price.checked_add(1)?) };
        (scale <= wholetape_model::decimal::SCALE_MAX).then_some(())?;
        Some(Decimal { raw: i64::try_from(raw).ok()?, scale })
    }

    /// Best ask less best bid; negative while the book is crossed.
    #[must_use]
    pub fn spread(&self) -> Option<Decimal> {
        let raw = self.best_ask()?.price.0 - self.best_bid()?.price.0;
        Some(Decimal { raw, scale: self.scales.price })
    }

    /// Best bid at or above best ask.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        matches!((self.best_bid(), self.best_ask()), (Some(b), Some(a)) if b.price >= a.price)
    }

    /// The size at a price of the book's scale.
    #[must_use]
    pub fn size_at(&self, side: Side, price: Price) -> Option<Size> {
        if price.0 <= 0 {
            return None;
        }
        self.side(side).get(key(side, price.0)).map(Size)
    }

    /// Appends the best `n` levels of one side, best first.
    pub fn top(&self, side: Side, n: usize, out: &mut Vec<Level>) {
        let start = out.len();
        let book_side = self.side(side);
        out.extend(book_side.near_levels().take(n).map(|l| level(side, l)));
        let near = out.len();
        let missing = n.saturating_sub(near - start);
        if missing == 0 {
            return;
        }
        // Every far level is worse than every level of the window.
        out.extend(book_side.far_levels().map(|l| level(side, l)));
        let by_key = |l: &Level| key(side, l.price.0);
        if out.len() - near > missing {
            out[near..].select_nth_unstable_by_key(missing, by_key);
            out.truncate(near + missing);
        }
        out[near..].sort_unstable_by_key(by_key);
    }

    /// The venue's checksum of this book. Whoever checks one after another is [`crate::SyncedOrderBook`]; this one allocates.
    #[must_use]
    pub fn checksum(&self, rule: Checksum) -> u32 {
        Scratch::default().checksum(rule, self)
    }

    /// Appends all levels of one side, best first.
    pub fn all(&self, side: Side, out: &mut Vec<Level>) {
        self.top(side, usize::MAX, out);
    }

    /// Heap bytes of the book, scratch space included.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.bids.heap_bytes()
            + self.asks.heap_bytes()
            + self.scratch.capacity() * 16
            + self.converted.capacity() * size_of::<Level>()
    }

    /// How often a window had to be placed: the slow path's count.
    #[must_use]
    pub const fn placements(&self) -> u64 {
        self.bids.placements() + self.asks.placements()
    }

    /// Sets and removes levels. Where a price comes twice in one update, the later one holds.
    ///
    /// # Errors
    /// Every kind but `Ids` and `Action`; then nothing has changed.
    #[inline]
    pub fn apply(&mut self, bids: Levels<'_>, asks: Levels<'_>, scales: Scales) -> Result<(), BookError> {
        self.check_room(bids.len().max(asks.len()))?;
        validate(bids)?;
        validate(asks)?;
        if scales == self.scales {
            set_all(&mut self.bids, Side::Buy, bids);
            set_all(&mut self.asks, Side::Sell, asks);
        } else {
            self.apply_rescaled(bids, asks, scales)?;
        }
        self.bids.settle(&mut self.scratch);
        self.asks.settle(&mut self.scratch);
        Ok(())
    }

    /// Becomes the snapshot: `bids` and `asks` in any order; levels of size 0 count as absent.
    ///
    /// # Errors
    /// As [`OrderBook::apply`]; then nothing has changed.
    pub fn replace(&mut self, bids: Levels<'_>, asks: Levels<'_>, scales: Scales) -> Result<(), BookError> {
        let most = bids.len().max(asks.len());
        if most > self.levels_max {
            return Err(BookError::TooManyLevels(most));
        }
        validate(bids)?;
        validate(asks)?;
        if scales.price != self.scales.price {
            self.bids.reset();
            self.asks.reset();
        }
        self.scales = scales;
        self.printed = scales;
        for (side, levels) in [(Side::Buy, bids), (Side::Sell, asks)] {
            self.scratch.clear();
            self.scratch.extend(levels.iter().filter(|l| l.size.0 != 0).map(|l| (key(side, l.price.0), l.size.0)));
            match side {
                Side::Buy => self.bids.refill(&self.scratch),
                Side::Sell => self.asks.refill(&self.scratch),
            }
        }
        self.scratch.clear();
        Ok(())
    }

    /// Cuts one side to its best `n` levels. What goes is appended to `gone` with size 0.
    pub fn cut(&mut self, side: Side, n: usize, gone: &mut Vec<Level>) {
        self.scratch.clear();
        let cut = match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        };
        cut.cut(n, &mut self.scratch);
        gone.extend(self.scratch.drain(..).map(|(key, _)| level(side, (key, 0))));
    }

    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    fn check_room(&self, more: usize) -> Result<(), BookError> {
        let most = self.bids.len().max(self.asks.len()).saturating_add(more);
        if most > self.levels_max { Err(BookError::TooManyLevels(most)) } else { Ok(()) }
    }

    /// The rare path of a venue that prints more or fewer decimals than before.
    #[cold]
    fn apply_rescaled(&mut self, bids: Levels<'_>, asks: Levels<'_>, scales: Scales) -> Result<(), BookError> {
        let target = self.common_scales(bids, asks, scales)?;
        // Before the book changes: the update must be exact at the target as well.
        self.converted.clear();
        for l in bids.iter().chain(asks.iter()) {
            let price = rescale(l.price.0, scales.price, target.price)?;
            let size = rescale(l.size.0, scales.size, target.size)?;
            self.converted.push(Level { price: Price(price), size: Size(size) });
        }
        if target != self.scales {
            self.rescale(target)?;
        }
        self.printed = Scales { price: self.printed.price.max(scales.price), size: self.printed.size.max(scales.size) };
        let (bids, asks) = self.converted.split_at(bids.len());
        set_all(&mut self.bids, Side::Buy, Levels::Native(bids));
        set_all(&mut self.asks, Side::Sell, Levels::Native(asks));
        self.converted.clear();
        Ok(())
    }

    /// The first of {the finer, the coarser} scale at which both book and update are exact; for price and size apart.
    fn common_scales(&self, bids: Levels<'_>, asks: Levels<'_>, theirs: Scales) -> Result<Scales, BookError> {
        let ours = self.scales;
        let book = || [&self.bids, &self.asks].into_iter().flat_map(|s| s.near_levels().chain(s.far_levels()));
        let update = || bids.iter().chain(asks.iter());
        let price = common(ours.price, theirs.price, |from_book, to| {
            if from_book {
                book().all(|l| rescale_raw(l.0, ours.price, to).is_ok())
            } else {
                update().all(|l| rescale_raw(l.price.0, theirs.price, to).is_ok())
            }
        })?;
        let size = common(ours.size, theirs.size, |from_book, to| {
            if from_book {
                book().all(|l| rescale_raw(l.1, ours.size, to).is_ok())
            } else {
                update().all(|l| rescale_raw(l.size.0, theirs.size, to).is_ok())
            }
        })?;
        Ok(Scales { price, size })
    }

    /// The whole book at other scales; [`OrderBook::common_scales`] found that all of it fits.
    fn rescale(&mut self, to: Scales) -> Result<(), BookError> {
        let from = self.scales;
        for side in [&mut self.bids, &mut self.asks] {
            self.scratch.clear();
            for (key, size) in side.near_levels().chain(side.far_levels()) {
                self.scratch.push((rescale(key, from.price, to.price)?, rescale(size, from.size, to.size)?));
            }
            if from.price != to.price {
                side.reset();
            }
            side.refill(&self.scratch);
        }
        self.scratch.clear();
        self.scales = to;
        Ok(())
    }
}

/// `fits(book?, scale)`: whether the book (or else the update) is exact there.
fn common(ours: u8, theirs: u8, fits: impl Fn(bool, u8) -> bool) -> Result<u8, BookError> {
    [ours.max(theirs), ours.min(theirs)]
        .into_iter()
        .find(|to| (ours == *to || fits(true, *to)) && (theirs == *to || fits(false, *to)))
        .ok_or(BookError::Scale { from: theirs, to: ours })
}

fn rescale(raw: i64, from: u8, to: u8) -> Result<i64, BookError> {
    rescale_raw(raw, from, to).map_err(|_| BookError::Scale { from, to })
}

/// Prices positive, sizes not negative.
pub(crate) fn validate(levels: Levels<'_>) -> Result<(), BookError> {
    let sound = |l: &Level| l.price.0 > 0 && l.size.0 >= 0;
    let all_sound = match levels {
        // Without an early exit, so that the compiler can test many levels at once.
        Levels::Native(levels) => levels.iter().fold(true, |ok, l| ok & sound(l)),
        Levels::Packed(_) => levels.iter().all(|l| sound(&l)),
    };
    if all_sound {
        return Ok(());
    }
    match levels.iter().find(|l| !sound(l)) {
        Some(l) if l.price.0 <= 0 => Err(BookError::Price(l.price)),
        Some(l) => Err(BookError::Size(l.size)),
        None => Ok(()),
    }
}

#[inline]
fn set_all(book_side: &mut BookSide, side: Side, levels: Levels<'_>) {
    match levels {
        Levels::Native(levels) => levels.iter().for_each(|l| book_side.set(key(side, l.price.0), l.size.0)),
        Levels::Packed(_) => levels.iter().for_each(|l| book_side.set(key(side, l.price.0), l.size.0)),
    }
}
