//! The rule of Kraken's book, and what its messages say of it.
//!
//! <https://docs.kraken.com/api/docs/guides/spot-ws-book-v2/> (read 2026-11-20): the first message is a snapshot, and updates have no number.
//! After each message the book is cut to the depth that was subscribed (a level that is pushed out is not deleted by the venue), and
//! then the CRC-32 of its ten best asks and bids is the printed one, or something was lost: the book is subscribed anew. The digits
//! are those of the wire, zeros included, without point and leading zeros. v1 had the same rule; its snapshots had no checksum.

use wholetape_model::book_rule::Checksum;
use wholetape_model::{BookRule, Chain};

use super::limits::DEPTHS;
use crate::json::text::Printed;
use crate::levels::Ids;

/// Nothing is numbered.
pub(super) const NO_IDS: Ids = Ids { first: 0, last: 0, prev: 0 };

#[must_use]
pub(super) const fn rule(depth: u32) -> BookRule {
    BookRule::new(Chain::Unlinked).with_checksum(Checksum::AsksBids10).with_depth(depth)
}

/// The printed checksum: unsigned, 32 bits, bare or in quotes. 0 is one like any other.
///
/// # Errors
/// A text when it is no such number.
pub(super) fn checksum(printed: &Printed<'_>) -> Result<u32, &'static str> {
    printed.0.as_str().parse().map_err(|_| "a checksum is no whole number of 32 bits")
}

/// The depth of a book that nobody told the subscription of (recordings): a snapshot that fills one of those on offer has it. A thinner
/// one may have any, and the largest cuts nothing that the venue would have kept.
#[must_use]
pub(super) fn depth_of_snapshot(bids: usize, asks: usize) -> u32 {
    let most = DEPTHS[DEPTHS.len() - 1];
    u32::try_from(bids.max(asks)).ok().filter(|n| DEPTHS.contains(n)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::text::Text;

    #[test]
    fn a_checksum_is_unsigned_and_may_be_text() {
        let of = |text: &'static str| checksum(&Printed(Text(text.into())));
        assert_eq!((of("2439117997"), of("0"), of("4294967295")), (Ok(2_439_117_997), Ok(0), Ok(u32::MAX)));
        assert!(of("4294967296").is_err() && of("-1").is_err() && of("").is_err() && of("1.0").is_err());
    }

    #[test]
    fn a_full_snapshot_tells_its_depth() {
        assert_eq!([(10, 7), (25, 25), (3, 1_000)].map(|(b, a)| depth_of_snapshot(b, a)), [10, 25, 1_000]);
        assert_eq!([(0, 0), (9, 8), (60, 73)].map(|(b, a)| depth_of_snapshot(b, a)), [1_000; 3]);
    }
}
