//! Which update follows which: the venues' documented splice and sequence rules, as pure functions of ids.
//!
//! Sources, read 2026-11-21 (through the project's fact sheets of 2026-11-20, which quote them):
//! - Binance spot, "How to manage a local order book correctly" (text corrected 2025-11-12):
//!   <https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md>
//! - Binance USD-M and COIN-M futures, "How to manage a local order book correctly":
//!   <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly>
//! - The futures join by direct continuation (`pu == lastUpdateId`) is what tardis-node accepts beside the documented one.
//!
//! Binance.US follows the spot rule; its recordings show it (`binance-us/multi_20211012`).

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

/// How a venue's deltas chain and how they join a snapshot fetched over REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Spot and Binance.US: consecutive ids. Against a snapshot at `L`: drop `u <= L`, the first must satisfy
    /// `U <= L + 1 <= u`; then `U == previous u + 1`, where an overlap is applied (sizes are absolute) and `U` beyond is a gap.
    SpotAnchored,
    /// USD-M and COIN-M futures: each delta names its predecessor. Against a snapshot at `L`: drop `u < L`, the first must
    /// satisfy `U <= L <= u` or continue directly (`pu == L`); then `pu == previous u`. `U` is no arithmetic successor here.
    LinkedPrev,
}

impl Rule {
    /// What `ids` is to a book whose last applied *delta* ended at `at`.
    #[inline]
    #[must_use]
    pub const fn follow(self, at: u64, ids: Ids) -> Link {
        if ids.last <= at {
            return Link::Old;
        }
        match self {
            Self::SpotAnchored if ids.first <= at.saturating_add(1) => Link::Follows,
            Self::SpotAnchored => Link::Breaks { expected: at.saturating_add(1), got: ids.first },
            Self::LinkedPrev if ids.prev == at => Link::Follows,
            Self::LinkedPrev => Link::Breaks { expected: at, got: ids.prev },
        }
    }

    /// What `ids` is to a *snapshot* with last update id `at`, to which nothing was applied yet.
    #[inline]
    #[must_use]
    pub const fn join(self, at: u64, ids: Ids) -> Link {
        match self {
            Self::SpotAnchored => self.follow(at, ids),
            Self::LinkedPrev if ids.last < at => Link::Old,
            Self::LinkedPrev if ids.first <= at || ids.prev == at => Link::Follows,
            Self::LinkedPrev => Link::Breaks { expected: at, got: ids.first },
        }
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
        let r = Rule::SpotAnchored;
        check(r.join(10, ids(8, 10, 0)), Link::Old);
        check(r.join(10, ids(8, 11, 0)), Link::Follows);
        check(r.join(10, ids(11, 11, 0)), Link::Follows);
        check(r.join(10, ids(12, 15, 0)), Link::Breaks { expected: 11, got: 12 });
    }

    #[test]
    fn spot_follows_consecutive_ids() {
        let r = Rule::SpotAnchored;
        check(r.follow(10, ids(11, 12, 0)), Link::Follows);
        check(r.follow(10, ids(9, 12, 0)), Link::Follows);
        check(r.follow(10, ids(9, 10, 0)), Link::Old);
        check(r.follow(10, ids(13, 14, 0)), Link::Breaks { expected: 11, got: 13 });
        check(r.follow(u64::MAX, ids(1, u64::MAX, 0)), Link::Old);
    }

    #[test]
    fn futures_join_a_snapshot_without_plus_one() {
        let r = Rule::LinkedPrev;
        check(r.join(10, ids(5, 9, 4)), Link::Old);
        check(r.join(10, ids(5, 10, 4)), Link::Follows);
        check(r.join(10, ids(10, 20, 4)), Link::Follows);
        check(r.join(10, ids(13, 20, 10)), Link::Follows);
        check(r.join(10, ids(13, 20, 12)), Link::Breaks { expected: 10, got: 13 });
    }

    #[test]
    fn futures_follow_by_the_link_alone() {
        let r = Rule::LinkedPrev;
        check(r.follow(20, ids(25, 30, 20)), Link::Follows);
        check(r.follow(20, ids(15, 30, 19)), Link::Breaks { expected: 20, got: 19 });
        check(r.follow(20, ids(15, 20, 12)), Link::Old);
    }
}
