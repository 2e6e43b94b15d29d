//! Why an update is refused. A refused update has changed nothing.

use wholetape_model::{BookAction, Price, Size};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Spot and futures books have no price of 0 or below.
    #[error("price {0:?} is not positive")]
    Price(Price),
    #[error("size {0:?} is negative")]
    Size(Size),
    #[error("first update id {first} is greater than the last, {last}")]
    Ids { first: u64, last: u64 },
    /// The update and the book have no common decimal scale at which both are exact in 64 bits.
    #[error("numbers at {from} decimal places do not fit the book's {to} exactly")]
    Scale { from: u8, to: u8 },
    /// More levels than [`crate::BookConfig::levels_max`] on one side.
    #[error("{0} levels on one side are more than a book may hold")]
    TooManyLevels(usize),
    #[error("a book update of kind {0:?} does not belong here")]
    Action(BookAction),
}
