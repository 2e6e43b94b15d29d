//! The chain below the indexer: blocks, their heights, and what an event of a block is called.
//!
//! Blocks are counted in running time, so all markets of a venue see the same ones, and a restart goes on with the next. An event's name is
//! 24 hex digits: the block's height, the transaction's place in it, the event's in that. The truth orders trades by the same three
//! in 64 bits ([`place`]).

/// A block is made so often, ms.
pub const BLOCK_MS: u64 = 1_000;
/// The height at which running time begins.
const FIRST: u64 = 22_000_000;

/// How many blocks there are by this running time.
pub const fn blocks(run_ms: u64) -> u64 {
    run_ms / BLOCK_MS
}

/// The height of the newest block.
pub const fn height(run_ms: u64) -> u64 {
    FIRST + blocks(run_ms)
}

/// 32 bits of height, 16 of transaction, 16 of event.
pub const fn place(height: u64, transaction: u16, event: u16) -> u64 {
    height << 32 | (transaction as u64) << 16 | event as u64
}

pub const fn height_of(place: u64) -> u64 {
    place >> 32
}

/// The venue's name of an event.
pub fn name(place: u64) -> String {
    format!("{:08x}{:08x}{:08x}", height_of(place), place >> 16 & 0xffff, place & 0xffff)
}

/// The place of an event that [`name`] spelled.
pub fn place_of(name: &str) -> Option<u64> {
    let part = |at: usize| u64::from_str_radix(name.get(at..at + 8)?, 16).ok();
    let (height, transaction, event) = (part(0)?, u16::try_from(part(8)?).ok()?, u16::try_from(part(16)?).ok()?);
    (name.len() == 24).then(|| place(height, transaction, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_by_its_name() {
        let at = place(22_127_283, 2, 14);
        assert_eq!(name(at), "0151a2b3000000020000000e");
        assert_eq!((place_of(&name(at)), height_of(at)), (Some(at), 22_127_283));
        assert_eq!(place_of("20f43950-d8dd-5b31-9112-a178eb6023af"), None);
        assert!(place(22_127_284, 0, 0) > at);
    }
}
