//! Names for trades that the venue prints without any: made of what the trade says, so that another copy of it has the same. Of those
//! that look alike at one moment the second one's name says that it is the second. Such names count nothing.

use wholetape_model::{TradeId, Ts};

use crate::shape::bytes_hash;

/// Trades that look alike and came at the same moment; no venue matches more at once.
const TWINS_MAX: usize = 4_096;

/// The trades of the newest moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Twins {
    time: Ts,
    seen: Vec<u64>,
}

impl Twins {
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// How many like this one came before it.
    pub fn before(&mut self, time: Ts, hash: u64) -> usize {
        if time != self.time {
            self.time = time;
            self.seen.clear();
        }
        let n = self.seen.iter().filter(|seen| **seen == hash).count();
        if self.seen.len() < TWINS_MAX {
            self.seen.push(hash);
        }
        n
    }
}

/// The name of a trade that says `text` and is the `n`-th that does so.
pub(crate) fn named(text: &str, n: usize) -> TradeId {
    let (high, low) = (bytes_hash(text.as_bytes()), bytes_hash(format!("{n}:{text}").as_bytes()));
    TradeId::custom(u128::from(high) << 64 | u128::from(low))
}
