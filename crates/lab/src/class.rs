//! Which venue a world is of: each has a book rule and a way of healing that the others have not.

use wholetape_feed::LineConfig;

use crate::dice::Dice;
use crate::market::Variant;
use crate::outside::SECOND;

/// Worlds of one class have the markets of one house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Snapshots over REST, diffs by the stream; trades healed by id.
    Binance,
    /// Snapshots in the stream, linked ids that may begin anew; trades healed by id, downwards.
    Okx,
    /// Snapshots in the stream, counted messages; best prices by full replacement; trades that nothing brings back.
    Bybit,
    /// Snapshots in the stream, no ids, a checksum; trades healed by id over a history by time.
    Kraken,
    /// Snapshots in the stream, no ids but the connection's count of messages, books that cross; trades named by events, healed by overlap.
    Dydx,
}

/// What a world of a class is made of.
#[derive(Debug)]
pub struct Cast {
    pub markets: Vec<(&'static str, Variant)>,
    /// With the markets of each.
    pub lines: Vec<(LineConfig, Vec<usize>)>,
    /// What each host bears in a window of so many ns.
    pub limits: Vec<(u32, i64)>,
}

impl Class {
    pub const ALL: [Self; 5] = [Self::Binance, Self::Okx, Self::Bybit, Self::Kraken, Self::Dydx];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Okx => "okx",
            Self::Bybit => "bybit",
            Self::Kraken => "kraken",
            Self::Dydx => "dydx",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// One of those that came after Binance, by turns.
    pub fn in_turn(seed: u64) -> Self {
        let others = &Self::ALL[1..];
        others[(seed % others.len() as u64) as usize]
    }

    /// Three instruments on two lines. Limits are little enough to matter and enough for the work.
    pub fn cast(self, dice: &mut Dice) -> Cast {
        let line = |name: &str, venue: &str, instruments: &[&str], weight_per_minute| LineConfig {
            name: name.into(),
            venue: venue.into(),
            instruments: instruments.iter().map(|n| (*n).to_owned()).collect(),
            weight_per_minute,
            ..LineConfig::default()
        };
        let per_minute = |limit: u32, window: i64| limit * (60 * SECOND / window) as u32;
        match self {
            Self::Binance => {
                // A spot snapshot weighs 50, a page of USD-M trades 20.
                let limits = [dice.between(600, 6_000) as u32, dice.between(400, 2_400) as u32];
                Cast {
                    markets: vec![("BTCUSDT", Variant::Spot), ("ETHUSDT", Variant::Spot), ("BTCUSDT", Variant::UsdM)],
                    lines: vec![
                        (line("", "binance-spot", &["BTCUSDT", "ETHUSDT"], limits[0]), vec![0, 1]),
                        (line("", "binance-usdm", &["BTCUSDT"], limits[1]), vec![2]),
                    ],
                    limits: limits.map(|limit| (limit, 60 * SECOND)).to_vec(),
                }
            }
            Self::Okx => {
                // A page of trades weighs 12, so that of the venue's 20 in two seconds 16 are used: within so short a window the
                // requests of two may arrive together, and the venue bears them.
                let (limit, window) = (dice.between(40, 200) as u32, 2 * SECOND);
                let borne = limit * 20 / 16;
                let weight = per_minute(limit, window);
                Cast {
                    markets: ["BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP"].map(|name| (name, Variant::Okx)).to_vec(),
                    lines: vec![
                        (line("spot", "okx", &["BTC-USDT", "ETH-USDT"], weight), vec![0, 1]),
                        (line("swap", "okx", &["BTC-USDT-SWAP"], weight), vec![2]),
                    ],
                    limits: vec![(borne, window)],
                }
            }
            Self::Bybit => {
                let (limit, window) = (dice.between(20, 300) as u32, 5 * SECOND);
                let weight = per_minute(limit, window);
                Cast {
                    markets: ["BTCUSDT", "ETHUSDT", "BTCUSDT"].map(|name| (name, Variant::Bybit)).to_vec(),
                    lines: vec![
                        (line("", "bybit-spot", &["BTCUSDT", "ETHUSDT"], weight), vec![0, 1]),
                        (line("", "bybit-linear", &["BTCUSDT"], weight), vec![2]),
                    ],
                    limits: vec![(limit, window)],
                }
            }
            Self::Kraken => {
                let (limit, window) = (dice.between(6, 11) as u32, 10 * SECOND);
                let weight = per_minute(limit, window);
                let line = |name, instruments| LineConfig {
                    // The checksum proves ten levels and no more.
                    book_depth: 10,
                    ..line(name, "kraken", instruments, weight)
                };
                Cast {
                    markets: ["BTC/USD", "ETH/USD", "SOL/USD"].map(|name| (name, Variant::Kraken)).to_vec(),
                    lines: vec![
                        (line("two", &["BTC/USD", "ETH/USD"]), vec![0, 1]),
                        (line("one", &["SOL/USD"]), vec![2]),
                    ],
                    limits: vec![(limit, window)],
                }
            }
            Self::Dydx => {
                let (limit, window) = (dice.between(20, 200) as u32, 10 * SECOND);
                let weight = per_minute(limit, window);
                Cast {
                    markets: ["BTC-USD", "ETH-USD", "SOL-USD"].map(|name| (name, Variant::Dydx)).to_vec(),
                    lines: vec![
                        (line("two", "dydx", &["BTC-USD", "ETH-USD"], weight), vec![0, 1]),
                        (line("one", "dydx", &["SOL-USD"], weight), vec![2]),
                    ],
                    limits: vec![(limit, window)],
                }
            }
        }
    }
}
