//! From checked numbers to quotes and books: the one place where the fast scanners and the typed decoders of all venues end,
//! so an event does not tell who read it.
//!
//! One scale holds for all prices of an event and one for all sizes, so numbers of several scales in a frame are brought
//! to the largest, exactly. A zero has no scale of its own (a deletion prints `0` beside `0.072`) and forces nothing;
//! otherwise the printed scale is kept, so that the venue's text can be printed again. Only where 64 bits do not hold a number at
//! the printed scale (92 billion coins with eight places) are trailing zeros given up, for the whole event; values stay exact.

use wholetape_model::{
    Arena, Body, Book, BookAction, Decimal, DecimalError, Event, InstrumentIx, Kind, Level, Price, Quote, Scales, Size,
    Span, Ts,
};

/// The venue's ids of a book update, in our words; what they mean to each other is the book rule's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub first: u64,
    pub last: u64,
    /// The id of the update before, 0 where the venue prints none.
    pub prev: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct QuoteParts {
    pub bid: Decimal,
    pub bid_size: Decimal,
    pub ask: Decimal,
    pub ask_size: Decimal,
    pub update_id: u64,
    /// `Ts::ZERO` where the venue prints none.
    pub ts_event: Ts,
}

/// # Errors
/// `Overflow` when two scales have no common one in 64 bits.
#[inline]
pub fn quote(events: &mut Vec<Event>, instrument: InstrumentIx, q: &QuoteParts) -> Result<(), DecimalError> {
    let (price, bid, ask) = pair(q.bid, q.ask)?;
    let (size, bid_size, ask_size) = pair(q.bid_size, q.ask_size)?;
    events.push(Event {
        instrument,
        kind: Kind::Quote,
        ts_event: q.ts_event,
        scales: Scales { price, size },
        body: Body::Quote(Quote {
            bid: Price(bid),
            bid_size: Size(bid_size),
            ask: Price(ask),
            ask_size: Size(ask_size),
            update_id: q.update_id,
        }),
    });
    Ok(())
}

/// Two numbers at their common scale.
#[inline]
fn pair(a: Decimal, b: Decimal) -> Result<(u8, i64, i64), DecimalError> {
    if a.scale == b.scale {
        return Ok((a.scale, a.raw, b.raw));
    }
    let scale = common_scale([a, b].into_iter())?;
    Ok((scale, to_scale(a, scale)?, to_scale(b, scale)?))
}

#[inline]
pub fn book(
    events: &mut Vec<Event>,
    instrument: InstrumentIx,
    action: BookAction,
    ids: Ids,
    ts_event: Ts,
    scales: Scales,
    bids: Span,
    asks: Span,
) {
    events.push(Event {
        instrument,
        kind: Kind::Book,
        ts_event,
        scales,
        body: Body::Book(Book { action, first_id: ids.first, last_id: ids.last, prev_id: ids.prev, bids, asks }),
    });
}

/// The largest scale of the numbers that are not zero; of all when every one is.
fn shared_scale(numbers: impl Iterator<Item = Decimal>) -> u8 {
    let (mut real, mut any) = (None, 0);
    for d in numbers {
        any = any.max(d.scale);
        if d.raw != 0 {
            real = real.max(Some(d.scale));
        }
    }
    real.unwrap_or(any)
}

/// The scale for all of `numbers`: the printed one, or without trailing zeros where that does not fit.
///
/// # Errors
/// `Overflow` when the numbers have no common scale in 64 bits.
fn common_scale(numbers: impl Iterator<Item = Decimal> + Clone) -> Result<u8, DecimalError> {
    let fits = |scale| numbers.clone().try_for_each(|d| to_scale(d, scale).map(drop));
    let printed = shared_scale(numbers.clone());
    if fits(printed).is_ok() {
        return Ok(printed);
    }
    let least = shared_scale(numbers.clone().map(Decimal::canonical));
    fits(least).map(|()| least)
}

/// # Errors
/// `Overflow`; `TooPrecise` where digits would be lost.
fn to_scale(d: Decimal, scale: u8) -> Result<i64, DecimalError> {
    if d.raw == 0 { Ok(0) } else { Ok(d.rescale(scale)?.raw) }
}

/// Stores levels at common scales. Both spans' levels are in `levels`: bids first, then asks.
///
/// # Errors
/// The field's name and `Overflow`.
pub fn store_levels(
    arena: &mut Arena,
    levels: &[(Decimal, Decimal)],
    bids: usize,
) -> Result<(Scales, Span, Span), (&'static str, DecimalError)> {
    let scales = Scales {
        price: common_scale(levels.iter().map(|l| l.0)).map_err(|e| ("price", e))?,
        size: common_scale(levels.iter().map(|l| l.1)).map_err(|e| ("size", e))?,
    };
    let start = arena.levels.len() as u32;
    for (price, size) in levels {
        let price = to_scale(*price, scales.price).map_err(|e| ("price", e))?;
        let size = to_scale(*size, scales.size).map_err(|e| ("size", e))?;
        arena.levels.push(Level { price: Price(price), size: Size(size) });
    }
    let bid_span = Span { start, len: bids as u32 };
    let ask_span = Span { start: start + bids as u32, len: (levels.len() - bids) as u32 };
    Ok((scales, bid_span, ask_span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(levels: &[(&str, &str)], scales: (u8, u8), first: (i64, i64)) {
        let levels: Vec<_> = levels.iter().map(|(p, s)| (d(p), d(s))).collect();
        let mut arena = Arena::default();
        let (got, bids, asks) = store_levels(&mut arena, &levels, 1).unwrap();
        assert_eq!((got.price, got.size), scales);
        assert_eq!((arena.levels[0].price.0, arena.levels[0].size.0), first);
        assert_eq!(bids.len + asks.len, levels.len() as u32);
    }

    #[test]
    fn scales_grow_together_and_zero_forces_nothing() {
        check(&[("61733.1", "0.5"), ("61733.25", "0.072")], (2, 3), (6_173_310, 500));
        check(&[("1.0", "7"), ("1.1", "0.00000000")], (1, 0), (10, 7));
        check(&[("1.0", "0.000"), ("1.1", "0")], (1, 3), (10, 0));
    }

    #[test]
    fn trailing_zeros_go_where_they_do_not_fit() {
        check(&[("1", "123456789012.00000000"), ("1", "5.50000000")], (0, 1), (1, 1_234_567_890_120));
        check(&[("1", "92233720368.00000000"), ("1", "5.50000000")], (0, 8), (1, 9_223_372_036_800_000_000));
        assert_eq!(pair(d("123456789012.00000000"), d("0.00000001")), Err(DecimalError::Overflow));
    }

    #[test]
    fn what_has_no_common_scale_is_an_error() {
        let mut arena = Arena::default();
        let levels = [(d("9223372036854775807"), d("1")), (d("0.1"), d("1"))];
        assert_eq!(store_levels(&mut arena, &levels, 1), Err(("price", DecimalError::Overflow)));
    }
}
