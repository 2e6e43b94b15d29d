//! Checks on market data, each a small pure state machine in a file of its own. Pure: time is an argument.
//!
//! A failed check flags the row (`RowFlags`, which `view = "clean"` leaves out) and yields a finding for the `quality`
//! topic; the record keeps everything. Findings are folded: the first of a kind at once, then one per
//! [`CheckConfig::fold_every`] with the count of what it stands for, so that a venue gone mad does not flood its own tape.
//!
//! | check | fails when | flag |
//! |---|---|---|
//! | [`price_range`] | a price is 0 or below, or far from the last ones | `BAD_PRICE` |
//! | [`size_range`] | a size is negative, a trade's 0, or absurdly large | `BAD_SIZE` |
//! | [`time_order`] | the venue's time runs backwards in a topic, or ahead of our clock | `BAD_TIME` |
//! | [`crossed`] | best bid at or above best ask, in a quote or a live book | `CROSSED` |
//! | [`spread`] | best ask absurdly far above best bid | `WIDE_SPREAD` |
//! | [`tick`] | a price is no multiple of the tick valid then | `OFF_TICK` |
//! | [`sums`] | a minute's trades are not what the venue's own bar counts | – (there is no row) |
//! | [`stale`] | a topic says nothing for much longer than it used to | – (there is no row) |
//!
//! To add one: a file with the state machine, one passing and one failing stream and one property; a field and a call in
//! [`checks`].

mod bps;
pub mod checks;
pub mod config;
pub mod crossed;
pub mod finding;
pub mod price_range;
pub mod size_range;
pub mod spread;
pub mod stale;
pub mod sums;
pub mod tick;
pub mod time_order;

pub use checks::Checks;
pub use config::CheckConfig;
pub use finding::Findings;
