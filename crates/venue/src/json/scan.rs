//! What the fast scanners of all venues share: keys, quoted values, levels, without a parser.
//!
//! A scanner reads a channel's documented keys in one pass and declines ([`None`]) whatever it does not expect; the venue's
//! typed decoder then reads the frame. So nothing here judges a frame: every function reads exactly what a parser would, or
//! declines. The functions are small and forced inline: a scanner is one loop over the bytes, whatever file its parts are in.

use wholetape_model::{Decimal, Level, Price, Size};

use super::cursor::Cursor;

const QUOTE: u64 = b'"' as u64;
const COLON: u64 = b':' as u64;

/// A key of one or two characters, as a number to match on.
#[inline(always)]
pub(crate) fn key(c: &mut Cursor<'_>) -> Option<u16> {
    let w = c.word(0);
    // "k":
    if w & 0xFFFF_00FF == QUOTE | QUOTE << 16 | COLON << 24 {
        c.i += 4;
        return Some((w >> 8 & 0xFF) as u16);
    }
    // "kk":
    if w & 0xFF_FF00_00FF == QUOTE | QUOTE << 24 | COLON << 32 {
        c.i += 5;
        return Some((w >> 8 & 0xFFFF) as u16);
    }
    None
}

/// `"kk"` as [`key`] gives it.
pub(crate) const fn two(text: [u8; 2]) -> u16 {
    u16::from_le_bytes(text)
}

/// A key of any length, its colon behind us.
#[inline(always)]
pub(crate) fn any_key<'a>(c: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let key = quoted(c)?;
    c.eat(b":")?;
    Some(key.as_bytes())
}

/// Behind a value: `true` when another key follows.
#[inline(always)]
pub(crate) fn more(c: &mut Cursor<'_>) -> Option<bool> {
    let b = c.byte();
    c.i += 1;
    match b {
        b',' => Some(true),
        b'}' => Some(false),
        _ => None,
    }
}

#[inline(always)]
pub(crate) fn quoted_decimal(c: &mut Cursor<'_>) -> Option<Decimal> {
    c.eat(b"\"")?;
    c.decimal()
}

#[inline(always)]
pub(crate) fn quoted<'a>(c: &mut Cursor<'a>) -> Option<&'a str> {
    c.eat(b"\"")?;
    c.plain()
}

#[inline(always)]
pub(crate) fn time(c: &mut Cursor<'_>) -> Option<i64> {
    i64::try_from(c.uint()?).ok()
}

#[inline(always)]
pub(crate) fn flag(c: &mut Cursor<'_>) -> Option<bool> {
    if c.eat(b"true").is_some() { Some(true) } else { c.eat(b"false").map(|()| false) }
}

/// Which keys were met; a second meeting declines.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen(u32);

impl Seen {
    #[inline(always)]
    pub(crate) fn once(&mut self, bit: u32) -> Option<()> {
        let before = self.0;
        self.0 |= 1 << bit;
        (before != self.0).then_some(())
    }

    #[inline(always)]
    pub(crate) const fn has(self, needed: u32) -> bool {
        self.0 & needed == needed
    }
}

/// The scales of the first level, which all others must have.
pub(crate) struct Expect(pub Option<(u8, u8)>);

/// `[["61733.10","0.072"],…]`
#[inline(always)]
pub(crate) fn levels(c: &mut Cursor<'_>, scales: &mut Expect, to: &mut Vec<Level>) -> Option<()> {
    c.eat(b"[")?;
    if c.eat(b"]").is_some() {
        return Some(());
    }
    loop {
        c.eat(b"[\"")?;
        let price = c.decimal()?;
        c.eat(b",\"")?;
        let size = c.decimal()?;
        let expected = *scales.0.get_or_insert((price.scale, size.scale));
        // A deletion may print fewer places: zero has no scale of its own.
        if price.scale != expected.0 || (size.scale != expected.1 && (size.raw != 0 || size.scale > expected.1)) {
            return None;
        }
        to.push(Level { price: Price(price.raw), size: Size(size.raw) });
        let w = c.word(0) & 0xFFFF;
        c.i += 2;
        if w == COMMA_NEXT {
            continue;
        }
        return (w == END).then_some(());
    }
}

const COMMA_NEXT: u64 = b']' as u64 | (b',' as u64) << 8;
const END: u64 = b']' as u64 | (b']' as u64) << 8;
