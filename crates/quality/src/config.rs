//! Bounds of the checks for one instrument. The defaults are loose: a flag should mean that something is wrong with the data,
//! not that the market is lively. All recorded captures pass them without a flag.

use std::time::Duration;

use wholetape_model::Decimal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckConfig {
    /// How far a trade may lie from the last good ones.
    pub price_band_bps: u32,
    /// After this long without a good trade there is nothing to compare the next one with.
    pub price_age_max: Duration,
    /// The largest believable size in the venue's unit; an instrument definition may give a closer one.
    pub size_max: Decimal,
    /// How far the venue's time may run backwards within a topic.
    pub time_backwards_max: Duration,
    /// How far the venue's time may be ahead of ours. Recorders 1.5 s behind the venue are on record (`binance-usdm`, 2024).
    pub time_ahead_max: Duration,
    pub spread_bps_max: u32,
    /// Silence is judged against what a topic did before: so many times its mean interval …
    pub stale_factor: u32,
    /// … but never below this.
    pub stale_floor: Duration,
    /// At most one finding of a kind in this time; those between are counted into it.
    pub fold_every: Duration,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            price_band_bps: 1_000,
            price_age_max: Duration::from_secs(300),
            size_max: Decimal::new(1_000_000_000_000_000, 0),
            time_backwards_max: Duration::from_secs(1),
            time_ahead_max: Duration::from_secs(5),
            spread_bps_max: 2_000,
            stale_factor: 50,
            stale_floor: Duration::from_secs(60),
            fold_every: Duration::from_secs(10),
        }
    }
}
