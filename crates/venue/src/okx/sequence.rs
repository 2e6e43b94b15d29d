//! The venue's book ids in our words.
//!
//! <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel> (copy of 2026-09, read 2026-11-20): a book is
//! taken from the stream, there is no snapshot to fetch. The first message is the snapshot (`prevSeqId` -1); an update follows when its
//! `prevSeqId` is the `seqId` before. `seqId` steps are irregular. Equal ids with no levels are a heartbeat after about a minute without
//! change. A `seqId` smaller than its own `prevSeqId` is a reset by maintenance: it follows, and later messages count from there.
//! Valid: `-1/10, 10/15, 15/15, 15/3, 3/5`.
//!
//! Recordings of 2021 and 2022 have no ids at all (0 here); there each message proves itself by its checksum: the CRC-32, read as signed,
//! of the best 25 levels of both sides. It is 0 since 2026-06-23 and then says nothing.

use wholetape_model::book_rule::Checksum;
use wholetape_model::{BookAction, BookRule, Chain};

use crate::levels::Ids;

/// The rule of a book whose updates have ids, or have none.
#[must_use]
pub(super) const fn rule(numbered: bool) -> BookRule {
    BookRule::new(if numbered { Chain::Linked } else { Chain::Unlinked }).with_checksum(Checksum::Turns25)
}

/// The checksum that a message prints, `None` where it says nothing.
///
/// # Errors
/// A text when it is no number of 32 bits.
#[inline]
pub(super) fn checksum(printed: i64) -> Result<Option<u32>, &'static str> {
    let signed = i32::try_from(printed).map_err(|_| "a checksum of more than 32 bits")?;
    Ok((signed != 0).then_some(signed.cast_unsigned()))
}

/// # Errors
/// A text when the ids contradict the documents.
#[inline]
pub(super) fn ids(action: BookAction, seq: Option<u64>, prev: Option<i64>) -> Result<Ids, &'static str> {
    let last = match (seq, prev) {
        (Some(seq), _) => seq,
        (None, None) => return Ok(Ids { first: 0, last: 0, prev: 0 }),
        (None, Some(_)) => return Err("a previous sequence id without a sequence id"),
    };
    let prev = match (action, prev) {
        (BookAction::Delta, Some(prev)) => u64::try_from(prev).map_err(|_| "an update that follows nothing")?,
        (BookAction::Delta, None) => return Err("an update without the id before it"),
        _ => 0,
    };
    Ok(Ids { first: last, last, prev })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(last: u64, prev: u64) -> Ids {
        Ids { first: last, last, prev }
    }

    #[test]
    fn snapshots_follow_nothing_and_updates_name_their_predecessor() {
        assert_eq!(ids(BookAction::Snapshot, Some(10), Some(-1)), Ok(of(10, 0)));
        assert_eq!(ids(BookAction::Delta, Some(15), Some(10)), Ok(of(15, 10)));
        assert!(ids(BookAction::Delta, Some(15), Some(-1)).is_err());
        assert!(ids(BookAction::Delta, Some(15), None).is_err());
        assert!(ids(BookAction::Delta, None, Some(3)).is_err());
    }

    #[test]
    fn a_reset_is_an_update_to_a_smaller_id() {
        assert_eq!(ids(BookAction::Delta, Some(3), Some(15)), Ok(of(3, 15)));
    }

    #[test]
    fn a_checksum_is_verified_when_it_is_not_0_and_ignored_when_it_is() {
        assert_eq!(checksum(0), Ok(None));
        assert_eq!(checksum(-1), Ok(Some(u32::MAX)));
        assert_eq!(checksum(750_243_667), Ok(Some(750_243_667)));
        assert!(checksum(1 << 31).is_err());
    }

    #[test]
    fn without_ids_only_the_checksum_can_tell() {
        assert_eq!((rule(true).chain, rule(false).chain), (Chain::Linked, Chain::Unlinked));
        assert!([true, false].iter().all(|numbered| rule(*numbered).checksum == Some(Checksum::Turns25)));
    }

    #[test]
    fn old_recordings_have_no_ids() {
        assert_eq!(ids(BookAction::Snapshot, None, None), Ok(of(0, 0)));
        assert_eq!(ids(BookAction::Delta, None, None), Ok(of(0, 0)));
    }
}
