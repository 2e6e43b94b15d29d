//! The venue's book ids in our words.
//!
//! <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook> (state 2026-07-24, read 2026-11-20): the first message is the snapshot,
//! and the venue may send another at any time, which replaces the book. `u` counts the messages of one stream: the page of the SBE feed
//! promises steps of one, the recordings of the JSON feed show nothing else. `u` 1 is a snapshot after a restart of the service,
//! whatever a client expected. No checksum is printed.

use wholetape_model::{BookAction, BookRule, Chain};

use crate::levels::Ids;

pub(super) const RULE: BookRule = BookRule::new(Chain::Counted);

/// What a message's `type` and `u` mean; `None` for a word that we do not know.
#[inline]
pub(super) fn action(kind: &str, u: u64) -> Option<BookAction> {
    match kind {
        // Where the count begins anew, everything does.
        "snapshot" | "delta" if u == 1 => Some(BookAction::Snapshot),
        "snapshot" => Some(BookAction::Snapshot),
        "delta" => Some(BookAction::Delta),
        _ => None,
    }
}

#[inline]
pub(super) const fn ids(u: u64) -> Ids {
    Ids { first: u, last: u, prev: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_begins_anew_is_a_snapshot() {
        assert_eq!(action("delta", 1), Some(BookAction::Snapshot));
        assert_eq!(action("delta", 2), Some(BookAction::Delta));
        assert_eq!(action("snapshot", 2), Some(BookAction::Snapshot));
        assert_eq!(action("merge", 1), None);
    }
}
