//! Levels of mixed scales in one pass: venues that print numbers without trailing zeros (OKX, Bybit spot) mix scales in nearly every book,
//! so levels are brought to the largest one while they are read. What comes out is what [`crate::levels`] makes of the same numbers.

use wholetape_model::{Decimal, Level, Price, Scales, Size};

use super::cursor::Cursor;

const POW10: [i64; 19] = {
    let mut t = [1_i64; 19];
    let mut i = 1;
    while i < 19 {
        t[i] = t[i - 1] * 10;
        i += 1;
    }
    t
};

/// `[]` or `[["8476.98","415","0","13"]]`: price and size.
#[inline(always)]
pub(crate) fn best(c: &mut Cursor<'_>) -> Option<[Decimal; 2]> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some([Decimal::ZERO; 2]);
    }
    let found = level(c)?;
    // A second one would be no best price.
    c.eat(b"]]")?;
    Some(found)
}

/// `["8476.98","415","0","13"`: what stands behind price and size is the venue's own.
#[inline(always)]
fn level(c: &mut Cursor<'_>) -> Option<[Decimal; 2]> {
    c.eat(b"[\"")?;
    let price = c.decimal()?;
    c.eat(b",\"")?;
    let size = c.decimal()?;
    while c.eat(b",\"").is_some() {
        c.plain()?;
    }
    Some([price, size])
}

#[inline(always)]
pub(crate) fn levels_of(c: &mut Cursor<'_>, columns: &mut Columns, to: &mut Vec<Level>) -> Option<()> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some(());
    }
    loop {
        let [price, size] = level(c)?;
        columns.push(price, size, to)?;
        let w = c.word(0) & 0xFFFF;
        c.i += 2;
        if w == COMMA_NEXT {
            continue;
        }
        return (w == END).then_some(());
    }
}

/// `[{"price":45283.5,"qty":0.10000000}]`
#[inline(always)]
pub(crate) fn objects_of(c: &mut Cursor<'_>, columns: &mut Columns, to: &mut Vec<Level>) -> Option<()> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some(());
    }
    loop {
        c.eat(b"{\"price\":")?;
        let price = c.bare()?;
        c.eat(b",\"qty\":")?;
        let size = c.bare()?;
        columns.push(price, size, to)?;
        let w = c.word(0) & 0xFFFF;
        c.i += 2;
        if w == OBJECT_NEXT {
            continue;
        }
        return (w == OBJECT_END).then_some(());
    }
}

const OBJECT_NEXT: u64 = b'}' as u64 | (b',' as u64) << 8;
const OBJECT_END: u64 = b'}' as u64 | (b']' as u64) << 8;
const COMMA_NEXT: u64 = b']' as u64 | (b',' as u64) << 8;
const END: u64 = b']' as u64 | (b']' as u64) << 8;

/// One column's scale so far: the largest of the numbers that are not zero; of all while every one is.
#[derive(Default)]
struct Column {
    real: Option<u8>,
    any: u8,
}

impl Column {
    #[inline(always)]
    fn scale(&self) -> u8 {
        self.real.unwrap_or(self.any)
    }

    /// The mantissa at the column's scale, and by what those before must grow first. `None` where 64 bits do not hold it.
    #[inline(always)]
    fn take(&mut self, d: Decimal) -> Option<(i64, u8)> {
        if d.raw == 0 {
            self.any = self.any.max(d.scale);
            return Some((0, 0));
        }
        let scale = *self.real.get_or_insert(d.scale);
        if d.scale <= scale {
            return Some((d.raw.checked_mul(POW10[usize::from(scale - d.scale) % 19])?, 0));
        }
        self.real = Some(d.scale);
        Some((d.raw, d.scale - scale))
    }
}

/// The scales of a book's levels, which begin at `start` of the arena.
pub(crate) struct Columns {
    start: usize,
    price: Column,
    size: Column,
}

impl Columns {
    pub(crate) fn from(start: usize) -> Self {
        Self { start, price: Column::default(), size: Column::default() }
    }

    pub(crate) fn scales(&self) -> Scales {
        Scales { price: self.price.scale(), size: self.size.scale() }
    }

    #[inline(always)]
    fn push(&mut self, price: Decimal, size: Decimal, to: &mut Vec<Level>) -> Option<()> {
        let (price, prices_grow) = self.price.take(price)?;
        let (size, sizes_grow) = self.size.take(size)?;
        if prices_grow | sizes_grow != 0 {
            grow(&mut to[self.start..], prices_grow, sizes_grow)?;
        }
        to.push(Level { price: Price(price), size: Size(size) });
        Some(())
    }
}

/// A finer scale came: at most once per place, so a book costs few of these.
#[inline(never)]
fn grow(levels: &mut [Level], prices: u8, sizes: u8) -> Option<()> {
    let (price, size) = (POW10.get(usize::from(prices))?, POW10.get(usize::from(sizes))?);
    for level in levels {
        level.price.0 = level.price.0.checked_mul(*price)?;
        level.size.0 = level.size.0.checked_mul(*size)?;
    }
    Some(())
}
