//! The venue's book ids in our words, and which splice rule they obey.
//!
//! - Spot and Binance.US (`web-socket-streams.md` "How to manage a local order book correctly", corrected 2025-11-12,
//!   read 2026-11-20): drop `u <= lastUpdateId`; the first applied has `U <= lastUpdateId + 1 <= u`; then `U == prev u + 1`.
//! - Futures (<https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly>,
//!   read 2026-11-20): drop `u < lastUpdateId`; the first applied has `U <= lastUpdateId <= u`; then `pu == prev u`. Ids
//!   are global per engine there, so `U` of the next is *not* `prev u + 1`.
//!
//! The rules themselves are in the `book` crate; a session only names them.

use wholetape_model::{BookRule, Chain};

use super::limits::Variant;
use crate::levels::Ids;

/// The rule by which this variant's deltas join a snapshot and each other.
#[must_use]
pub const fn rule(variant: Variant) -> BookRule {
    BookRule::new(match variant {
        Variant::Spot | Variant::Us => Chain::SpotAnchored,
        Variant::UsdM | Variant::CoinM => Chain::LinkedPrev,
    })
}

/// `U`, `u`, `pu` as the ids of a book delta.
///
/// # Errors
/// A text when the ids contradict each other: no venue rule allows `U > u`, and futures must print `pu`.
#[inline]
pub fn ids(variant: Variant, first: u64, last: u64, prev: Option<i64>) -> Result<Ids, &'static str> {
    if first > last {
        return Err("first update id is after the last");
    }
    let prev = match prev {
        // The engine's very first update has none before it.
        Some(p) => u64::try_from(p).unwrap_or(0),
        None if variant.is_futures() => return Err("no previous update id"),
        None => 0,
    };
    Ok(Ids { first, last, prev })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert_eq!(ids(Variant::Spot, 5, 9, None), Ok(Ids { first: 5, last: 9, prev: 0 }));
        assert_eq!(ids(Variant::UsdM, 5, 9, Some(3)), Ok(Ids { first: 5, last: 9, prev: 3 }));
        assert!(ids(Variant::UsdM, 5, 9, None).is_err());
        assert!(ids(Variant::Spot, 9, 5, None).is_err());
    }

    #[test]
    fn futures_link_and_spot_counts() {
        assert_eq!(rule(Variant::Us).chain, Chain::SpotAnchored);
        assert_eq!(rule(Variant::CoinM).chain, Chain::LinkedPrev);
    }
}
