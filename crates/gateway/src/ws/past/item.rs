//! What a worker hands to a subscription.

use wholetape_model::ValidityState;
use wholetape_wire::Code;
use wholetape_wire::reply::Missed;
use wholetape_ws::Block;

use crate::ws::clean::Omission;

/// What an item costs beside its text.
const ITEM_COST: usize = 80;

#[derive(Debug)]
pub(crate) enum Item {
    /// Delivery begins behind `seq`; at least `n` messages follow.
    Begin { seq: u64, missed: Option<Missed<'static>>, n: u64 },
    /// A message that ends at `seq`; `omitted` rows were left out in front of it.
    Message { seq: u64, text: Block, omitted: u64 },
    /// What lies between the last message and `to` (inclusive) is held nowhere.
    Missed { to: u64, why: &'static str },
    /// A batch of `n` rows.
    Rows { text: Block, n: u64, omitted: u64 },
    /// All rows as of `seq` were given.
    AsOf { seq: u64, state: Option<ValidityState> },
    /// The history has no more: up to `at` everything was given, named or left out. With `broken`, a whole state was still looked for.
    End { at: u64, broken: bool, failed: bool, state: Option<ValidityState>, left: Omission },
    /// What was asked for does not exist.
    Refused { code: Code, msg: String },
}

impl Item {
    /// The end of a reading of which nothing more is known.
    pub const fn failed() -> Self {
        Self::End { at: 0, broken: false, failed: true, state: None, left: Omission::new(false) }
    }

    pub fn bytes(&self) -> usize {
        let text = match self {
            Self::Message { text, .. } | Self::Rows { text, .. } => text.len(),
            _ => 0,
        };
        text + ITEM_COST
    }
}
