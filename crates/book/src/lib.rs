//! Order books and the splice of snapshot and deltas. Pure: no socket, file, clock or environment.
//!
//! [`SyncedOrderBook`] is what a line holds: it follows the venue's documented [`BookRule`](wholetape_model::BookRule) and always
//! knows whether its book may be believed (P3: a book is right or says it is not). Four machines serve every venue: a snapshot
//! over REST, spliced with the deltas that were queued for it ([`synced`]); a snapshot in the stream with ids that link or count;
//! the same with a checksum, and a depth to which both sides cut; and pushes that are the whole book (`stream.rs`).
//! [`OrderBook`] below keeps the levels: exact mantissas in a dense window round the touch ([`side`]) and a hash table for what
//! lies far away ([`far`]).
//!
//! Invariants
//! - Validate first, then apply: an update that is refused changes nothing.
//! - No level has size 0; a crossed book stays crossed (it is the venue's state, and quality says so).
//! - After warm-up a delta costs no allocation.
//! - Which ids follow which is decided in [`rule`] alone.

mod checksum;
pub mod error;
pub mod far;
pub mod order_book;
mod queue;
pub mod rule;
pub mod side;
pub mod stats;
mod stream;
pub mod synced;

pub use error::BookError;
pub use order_book::OrderBook;
pub use stats::SpliceStats;
pub use synced::{Applied, BookConfig, Place, Splice, Stamp, Step, SyncedOrderBook};
