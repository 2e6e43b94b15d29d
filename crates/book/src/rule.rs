//! Which update follows which: the venues' documented splice and sequence rules, as pure functions of ids.
//!
//! Sources, read 2026-11-21 (through the project's fact sheets of 2026-11-20, which quote them):
//! - Binance spot, "How to manage a local order book correctly" (text corrected 2025-11-12):
//!   <https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md>
//! - Binance USD-M and COIN-M futures, "How to manage a local order book correctly":
//!   <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly>
//! - The futures join by direct continuation (`pu == lastUpdateId`) is what tardis-node accepts beside the documented one.
//!
//! - Binance.US follows the spot rule; its recordings show it (`binance-us/multi_20211012`).
//! - OKX, "Order book channel" (links, heartbeats, resets): <https://www.okx.com/docs-v5/en/>, documents of 2026-07 to 09. Deribit's
//!   `prev_change_id` is the same: <https://docs.deribit.com/>.
//! - Bybit v5, "Orderbook": <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>, state 2026-07-24. That `u` goes up
//!   by one is documented for SBE and seen in every recording; a snapshot comes at any time, with `u == 1` after a restart.

use wholetape_model::Chain;

/// The ids that one delta carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// `U`
    pub first: u64,
    /// `u`
    pub last: u64,
    /// `pu`; 0 where the venue does not link.
    pub prev: u64,
}

/// What a delta is to a book that stands at some id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// All of it is in the book already.
    Old,
    /// Takes the book from where it stands to `ids.last`.
    Follows,
    /// Something between the book and this delta is missing.
    Breaks { expected: u64, got: u64 },
}

/// What `ids` is to a book whose last applied update ended at `at`.
#[inline]
#[must_use]
pub const fn follow(chain: Chain, at: u64, ids: Ids) -> Link {
    match chain {
        Chain::SpotAnchored | Chain::LinkedPrev if ids.last <= at => Link::Old,
        // Where the snapshot and all updates come over one connection in their order, only a repeat of the newest is old: whatever
        // else does not follow may be what came behind a new beginning of the venue's ids that was missed.
        Chain::Linked if ids.last == at && ids.prev != at => Link::Old,
        Chain::Counted if ids.last == at => Link::Old,
        Chain::SpotAnchored if ids.first <= at.saturating_add(1) => Link::Follows,
        Chain::Counted if ids.first == at.wrapping_add(1) => Link::Follows,
        Chain::SpotAnchored | Chain::Counted => Link::Breaks { expected: at.saturating_add(1), got: ids.first },
        Chain::LinkedPrev | Chain::Linked if ids.prev == at => Link::Follows,
        Chain::LinkedPrev | Chain::Linked => Link::Breaks { expected: at, got: ids.prev },
        Chain::Unlinked | Chain::Whole => Link::Follows,
    }
}

/// What `ids` is to a *snapshot* with last update id `at`, to which nothing was applied yet.
#[inline]
#[must_use]
pub const fn join(chain: Chain, at: u64, ids: Ids) -> Link {
    match chain {
        Chain::LinkedPrev if ids.last < at => Link::Old,
        Chain::LinkedPrev if ids.first <= at || ids.prev == at => Link::Follows,
        Chain::LinkedPrev => Link::Breaks { expected: at, got: ids.first },
        _ => follow(chain, at, ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ids(first: u64, last: u64, prev: u64) -> Ids {
        Ids { first, last, prev }
    }

    #[track_caller]
    fn check(got: Link, expected: Link) {
        assert_eq!(got, expected);
    }

    #[test]
    fn spot_joins_a_snapshot_as_documented() {
        let r = Chain::SpotAnchored;
        check(join(r, 10, ids(8, 10, 0)), Link::Old);
        check(join(r, 10, ids(8, 11, 0)), Link::Follows);
        check(join(r, 10, ids(11, 11, 0)), Link::Follows);
        check(join(r, 10, ids(12, 15, 0)), Link::Breaks { expected: 11, got: 12 });
    }

    #[test]
    fn spot_follows_consecutive_ids() {
        let r = Chain::SpotAnchored;
        check(follow(r, 10, ids(11, 12, 0)), Link::Follows);
        check(follow(r, 10, ids(9, 12, 0)), Link::Follows);
        check(follow(r, 10, ids(9, 10, 0)), Link::Old);
        check(follow(r, 10, ids(13, 14, 0)), Link::Breaks { expected: 11, got: 13 });
        check(follow(r, u64::MAX, ids(1, u64::MAX, 0)), Link::Old);
    }

    #[test]
    fn futures_join_a_snapshot_without_plus_one() {
        let r = Chain::LinkedPrev;
        check(join(r, 10, ids(5, 9, 4)), Link::Old);
        check(join(r, 10, ids(5, 10, 4)), Link::Follows);
        check(join(r, 10, ids(10, 20, 4)), Link::Follows);
        check(join(r, 10, ids(13, 20, 10)), Link::Follows);
        check(join(r, 10, ids(13, 20, 12)), Link::Breaks { expected: 10, got: 13 });
    }

    #[test]
    fn futures_follow_by_the_link_alone() {
        let r = Chain::LinkedPrev;
        check(follow(r, 20, ids(25, 30, 20)), Link::Follows);
        check(follow(r, 20, ids(15, 30, 19)), Link::Breaks { expected: 20, got: 19 });
        check(follow(r, 20, ids(15, 20, 12)), Link::Old);
    }

    #[test]
    fn a_linked_stream_may_begin_anew_behind_the_right_link() {
        let r = Chain::Linked;
        check(follow(r, 15, ids(3, 3, 15)), Link::Follows);
        check(follow(r, 15, ids(15, 15, 15)), Link::Follows);
        check(follow(r, 15, ids(15, 15, 10)), Link::Old);
        check(follow(r, 15, ids(5, 5, 3)), Link::Breaks { expected: 15, got: 3 });
    }

    #[test]
    fn a_counted_stream_goes_up_by_one() {
        let r = Chain::Counted;
        check(follow(r, 15, ids(16, 16, 0)), Link::Follows);
        check(follow(r, 15, ids(15, 15, 0)), Link::Old);
        check(follow(r, 15, ids(17, 17, 0)), Link::Breaks { expected: 16, got: 17 });
        check(follow(r, 15, ids(2, 2, 0)), Link::Breaks { expected: 16, got: 2 });
        check(follow(r, u64::MAX, ids(1, 1, 0)), Link::Breaks { expected: u64::MAX, got: 1 });
    }
}
