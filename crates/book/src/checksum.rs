//! The venues' checksums of a book, computed from the book itself.
//!
//! They are here and not in the sessions because they speak of the book *after* an update, and only who holds the book has that.
//! A checksum is over printed digits, which the book does not keep level by level; it needs not: these venues print either without
//! trailing zeros (OKX) or at one number of places for all levels (Kraken), and both texts follow from the exact mantissa and the
//! book's scale. The recordings say so: all 4662 checksums of OKX and 4269 of Kraken come out right (`tests/stream_captures.rs`).
//!
//! Sources, read 2026-11-22 (through the project's fact sheets of 2026-11-20): OKX "Checksum" under "Order book channel"
//! (<https://www.okx.com/docs-v5/en/>), Kraken "Book checksum" (<https://docs.kraken.com/api/docs/guides/spot-ws-book-v2/>).

use wholetape_model::book_rule::Checksum;
use wholetape_model::{Level, Side};

use crate::order_book::OrderBook;

/// Room that a checksum is computed in; kept, so that it costs no allocation after the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scratch {
    text: Vec<u8>,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl Scratch {
    /// The checksum of `book` as the venue computes it.
    pub fn checksum(&mut self, rule: Checksum, book: &OrderBook) -> u32 {
        let levels = match rule {
            Checksum::Turns25 => 25,
            Checksum::AsksBids10 => 10,
        };
        self.text.clear();
        self.bids.clear();
        self.asks.clear();
        book.top(Side::Buy, levels, &mut self.bids);
        book.top(Side::Sell, levels, &mut self.asks);
        match rule {
            Checksum::Turns25 => self.turns(book),
            Checksum::AsksBids10 => self.asks_then_bids(book),
        }
        crc32fast::hash(&self.text)
    }

    fn turns(&mut self, book: &OrderBook) {
        let scales = book.scales();
        for i in 0..self.bids.len().max(self.asks.len()) {
            for level in [self.bids.get(i), self.asks.get(i)].into_iter().flatten() {
                for (raw, scale) in [(level.price.0, scales.price), (level.size.0, scales.size)] {
                    if !self.text.is_empty() {
                        self.text.push(b':');
                    }
                    push_plain(&mut self.text, raw, scale);
                }
            }
        }
    }

    fn asks_then_bids(&mut self, book: &OrderBook) {
        let (scales, printed) = (book.scales(), book.printed_scales());
        for level in self.asks.iter().chain(&self.bids) {
            for (raw, zeros) in [
                (level.price.0, printed.price.saturating_sub(scales.price)),
                (level.size.0, printed.size.saturating_sub(scales.size)),
            ] {
                push_digits(&mut self.text, raw);
                // Zeros that did not fit the mantissa were printed nevertheless.
                self.text.extend((0..zeros).map(|_| b'0'));
            }
        }
    }
}

/// Decimal digits of a number that is not negative.
fn push_digits(out: &mut Vec<u8>, raw: i64) {
    let start = out.len();
    let mut rest = raw.unsigned_abs();
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
}

/// `raw × 10^-scale` without trailing zeros and without exponent.
fn push_plain(out: &mut Vec<u8>, mut raw: i64, mut scale: u8) {
    while scale > 0 && raw % 10 == 0 {
        raw /= 10;
        scale -= 1;
    }
    let start = out.len();
    push_digits(out, raw);
    let scale = usize::from(scale);
    if scale == 0 {
        return;
    }
    // At least one digit before the point.
    let missing = (scale + 1).saturating_sub(out.len() - start);
    out.splice(start..start, std::iter::repeat_n(b'0', missing));
    out.insert(out.len() - scale, b'.');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wholetape_model::{Decimal, Levels, Price, Scales, Size};

    fn plain(raw: i64, scale: u8) -> String {
        let mut out = b"x".to_vec();
        push_plain(&mut out, raw, scale);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    #[test]
    fn numbers_are_printed_plainly() {
        assert_eq!(plain(302_360, 1), "30236");
        assert_eq!(plain(302_294, 1), "30229.4");
        assert_eq!(plain(5, 3), "0.005");
        assert_eq!(plain(120_000, 8), "0.0012");
        assert_eq!(plain(0, 4), "0");
        assert_eq!(plain(100, 0), "100");
    }

    proptest! {
        #[test]
        fn as_the_decimal_prints_itself(raw in 0_i64.., scale in 0_u8..=18) {
            prop_assert_eq!(plain(raw, scale), Decimal::new(raw, scale).canonical().to_string());
        }
    }

    fn book(bids: &[(i64, i64)], asks: &[(i64, i64)], scales: Scales) -> OrderBook {
        let levels = |all: &[(i64, i64)]| -> Vec<Level> {
            all.iter().map(|(p, s)| Level { price: Price(*p), size: Size(*s) }).collect()
        };
        let mut book = OrderBook::new(100);
        let (bids, asks) = (levels(bids), levels(asks));
        book.replace(Levels::Native(&bids), Levels::Native(&asks), scales).unwrap();
        book
    }

    /// The documents' own words: `3366.1:7:3366.8:9:3366:6:3368:8` of two levels a side.
    #[test]
    fn turns_leave_out_what_a_side_lacks() {
        let scales = Scales { price: 1, size: 0 };
        let mut scratch = Scratch::default();
        let full = book(&[(33_661, 7), (33_660, 6)], &[(33_668, 9), (33_680, 8)], scales);
        assert_eq!(scratch.checksum(Checksum::Turns25, &full), crc32fast::hash(b"3366.1:7:3366.8:9:3366:6:3368:8"));
        let thin = book(&[(33_661, 7)], &[(33_668, 9), (33_680, 8), (33_720, 8)], scales);
        assert_eq!(scratch.checksum(Checksum::Turns25, &thin), crc32fast::hash(b"3366.1:7:3366.8:9:3368:8:3372:8"));
    }

    /// The example of Kraken's guide: the first ask of it is `0.05005` × `0.00000500`, printed `5005500`.
    #[test]
    fn asks_then_bids_have_neither_points_nor_leading_zeros() {
        let scales = Scales { price: 5, size: 8 };
        let b = book(&[(5_000, 500), (4_995, 500)], &[(5_005, 500), (5_010, 500)], scales);
        assert_eq!(
            Scratch::default().checksum(Checksum::AsksBids10, &b),
            crc32fast::hash(b"5005500501050050005004995500")
        );
    }
}
