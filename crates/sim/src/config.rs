//! What a simulation is made of: venues, instruments, rates, limits, faults, clock. All serde, so it may come from TOML.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::decimal;
use crate::error::SimError;
use crate::faults::{FaultConfig, FaultKind};

/// Which venue's protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VenueKind {
    BinanceSpot,
    BinanceUsdm,
    /// Served from recordings only.
    BinanceCoinm,
    /// Served from recordings only.
    BinanceUs,
    Okx,
    BybitSpot,
    BybitLinear,
    BybitInverse,
    Dydx,
    Kraken,
}

impl VenueKind {
    pub const ALL: [Self; 10] = [
        Self::BinanceSpot,
        Self::BinanceUsdm,
        Self::BinanceCoinm,
        Self::BinanceUs,
        Self::Okx,
        Self::BybitSpot,
        Self::BybitLinear,
        Self::BybitInverse,
        Self::Dydx,
        Self::Kraken,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::BinanceSpot => "binance-spot",
            Self::BinanceUsdm => "binance-usdm",
            Self::BinanceCoinm => "binance-coinm",
            Self::BinanceUs => "binance-us",
            Self::Okx => "okx",
            Self::BybitSpot => "bybit-spot",
            Self::BybitLinear => "bybit-linear",
            Self::BybitInverse => "bybit-inverse",
            Self::Dydx => "dydx",
            Self::Kraken => "kraken",
        }
    }

    /// Spot arithmetic on update ids (`U = prev.u + 1`) rather than the `pu` chain.
    pub const fn is_spot(self) -> bool {
        matches!(self, Self::BinanceSpot | Self::BinanceUs)
    }

    pub const fn is_binance(self) -> bool {
        matches!(self, Self::BinanceSpot | Self::BinanceUsdm | Self::BinanceCoinm | Self::BinanceUs)
    }

    /// Whether the generator knows it.
    pub const fn is_generated(self) -> bool {
        !matches!(self, Self::BinanceCoinm | Self::BinanceUs)
    }

    /// The venue of a truth file.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }
}

/// The whole simulation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    pub seed: u64,
    /// Where the truth is kept. The same folder again means: go on where it ended.
    pub data_dir: PathBuf,
    pub venues: Vec<VenueConfig>,
    pub faults: FaultConfig,
    pub clock: ClockConfig,
    /// Serve from the start, but create events only after [`crate::SimHandle::resume`].
    pub start_frozen: bool,
    /// How often the worlds move, ms.
    pub tick_ms: u64,
    /// Begin a new truth file when one has grown to this; 0 = one file. Pieces may be taken away while the venues run, so
    /// such a folder is not gone on with.
    pub rotate_bytes: u64,
}

/// The venues' clock beside the machine's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// Exchange time minus machine time, ms.
    pub offset_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VenueConfig {
    pub kind: VenueKind,
    /// Names the venue in handles, truth files and fault logs; the kind's name when empty.
    #[serde(default)]
    pub name: String,
    /// 0 picks a free one. WebSocket and REST share it.
    #[serde(default)]
    pub port: u16,
    /// The generator's instruments; unused with a recording.
    #[serde(default)]
    pub instruments: Vec<InstrumentConfig>,
    /// Serve this recording instead of generating.
    #[serde(default)]
    pub capture: Option<CaptureConfig>,
    #[serde(default)]
    pub kline_intervals: Vec<String>,
    #[serde(default)]
    pub limits: Limits,
    /// Times a minute, over what the simulation's faults say of every venue.
    #[serde(default)]
    pub faults_per_minute: BTreeMap<FaultKind, f64>,
    /// Seconds of trades from before the first start, known to REST alone. The generator's; not for recordings.
    #[serde(default)]
    pub history_s: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureConfig {
    pub file: PathBuf,
    /// 1 is the recording's own pace.
    #[serde(default = "one")]
    pub speed: f64,
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentConfig {
    pub symbol: String,
    pub base: String,
    pub quote: String,
    pub tick: String,
    pub step: String,
    /// Where the price starts and is drawn back to.
    pub price: String,
    /// A usual resting size.
    pub size: String,
    /// Levels a side.
    #[serde(default = "levels")]
    pub levels: usize,
    /// Orders a second, Poisson.
    #[serde(default = "events_per_s")]
    pub events_per_s: f64,
}

fn levels() -> usize {
    400
}
fn events_per_s() -> f64 {
    80.0
}

/// The venue's rules; `None` means what its document says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub weight_per_min: Option<u32>,
    /// Requests refused with 429 before the address is banned with 418.
    pub refusals_before_ban: u32,
    pub ban_s: u32,
    pub messages_per_s: Option<u32>,
    pub streams: usize,
    pub ping_every_ms: Option<u64>,
    pub pong_within_ms: Option<u64>,
    pub life_ms: u64,
    /// Frames that may wait for a slow client before it is cut off.
    pub queue_frames: usize,
    /// Trades of each kind and instrument that REST remembers; 0 = all.
    pub history_rows: usize,
    /// What does not change is pushed again after so long (OKX: books, 60 s; Bybit: best prices, 3 s).
    pub idle_push_ms: Option<u64>,
    /// Rows of one answer of past trades; `None`: what the source says (dYdX: 1000).
    pub page_rows: Option<usize>,
    /// `historicalTrades` wants a key header; `None`: on USDⓈ-M, and not in capture mode.
    pub key_for_history: Option<bool>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            weight_per_min: None,
            refusals_before_ban: 20,
            ban_s: 120,
            messages_per_s: None,
            streams: 1024,
            ping_every_ms: None,
            pong_within_ms: None,
            life_ms: 24 * 3_600_000,
            queue_frames: 1 << 16,
            history_rows: 0,
            idle_push_ms: None,
            page_rows: None,
            key_for_history: None,
        }
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            data_dir: PathBuf::from("sim"),
            venues: vec![VenueConfig::spot(), VenueConfig::usdm()],
            faults: FaultConfig::default(),
            clock: ClockConfig::default(),
            start_frozen: false,
            tick_ms: 5,
            rotate_bytes: 0,
        }
    }
}

impl SimConfig {
    /// One venue that serves a recording; the venue is told from the recording's addresses at start.
    pub fn capture(kind: VenueKind, file: PathBuf, speed: f64) -> Self {
        let mut venue = VenueConfig::bare(kind);
        venue.capture = Some(CaptureConfig { file, speed });
        Self { venues: vec![venue], ..Self::default() }
    }
}

impl InstrumentConfig {
    fn new(symbol: &str, base: &str, [tick, step, price, size]: [&str; 4], events_per_s: f64) -> Self {
        Self {
            symbol: symbol.into(),
            base: base.into(),
            quote: "USDT".into(),
            tick: tick.into(),
            step: step.into(),
            price: price.into(),
            size: size.into(),
            levels: levels(),
            events_per_s,
        }
    }
}

impl VenueConfig {
    fn bare(kind: VenueKind) -> Self {
        Self {
            kind,
            name: String::new(),
            port: 0,
            instruments: Vec::new(),
            capture: None,
            kline_intervals: vec!["1m".into()],
            limits: Limits::default(),
            faults_per_minute: BTreeMap::new(),
            history_s: 0,
        }
    }

    /// Three spot instruments of unlike tick, step and pace.
    pub fn spot() -> Self {
        let mut venue = Self::bare(VenueKind::BinanceSpot);
        venue.instruments = vec![
            InstrumentConfig::new("BTCUSDT", "BTC", ["0.01", "0.00001", "61837.63", "0.35"], 120.0),
            InstrumentConfig::new("ETHUSDT", "ETH", ["0.01", "0.0001", "2687.40", "2.5"], 80.0),
            InstrumentConfig::new("DOGEUSDT", "DOGE", ["0.00001", "1", "0.10432", "9000"], 40.0),
        ];
        venue
    }

    /// Three perpetuals.
    pub fn usdm() -> Self {
        let mut venue = Self::bare(VenueKind::BinanceUsdm);
        venue.instruments = vec![
            InstrumentConfig::new("BTCUSDT", "BTC", ["0.10", "0.001", "61800.20", "0.4"], 150.0),
            InstrumentConfig::new("ETHUSDT", "ETH", ["0.01", "0.001", "2686.91", "3"], 100.0),
            InstrumentConfig::new("SOLUSDT", "SOL", ["0.0100", "1", "154.3200", "60"], 50.0),
        ];
        venue
    }

    /// A spot pair, a linear and an inverse swap. Each swap stands on an index of its own.
    pub fn okx() -> Self {
        let mut venue = Self::bare(VenueKind::Okx);
        let inverse = InstrumentConfig::new("BTC-USD-SWAP", "BTC", ["0.1", "1", "61790.4", "120"], 50.0);
        venue.instruments = vec![
            InstrumentConfig::new("BTC-USDT", "BTC", ["0.1", "0.0001", "61837.6", "0.35"], 100.0),
            InstrumentConfig::new("ETH-USDT-SWAP", "ETH", ["0.01", "0.01", "2686.91", "3"], 100.0),
            InstrumentConfig { quote: "USD".into(), ..inverse },
        ];
        // More than the 400 that are told.
        venue.instruments[0].levels = 450;
        venue
    }

    /// Two pairs, with more than the 200 levels a side that are told by default.
    pub fn bybit_spot() -> Self {
        let mut venue = Self::bare(VenueKind::BybitSpot);
        venue.instruments = vec![
            InstrumentConfig::new("BTCUSDT", "BTC", ["0.01", "0.000001", "61837.63", "0.35"], 100.0),
            InstrumentConfig::new("ETHUSDT", "ETH", ["0.01", "0.00001", "2687.40", "2.5"], 60.0),
        ];
        venue
    }

    /// Two perpetuals settled in USDT.
    pub fn bybit_linear() -> Self {
        let mut venue = Self::bare(VenueKind::BybitLinear);
        venue.instruments = vec![
            InstrumentConfig::new("BTCUSDT", "BTC", ["0.10", "0.001", "61800.20", "0.4"], 120.0),
            InstrumentConfig::new("SOLUSDT", "SOL", ["0.010", "0.1", "154.320", "60"], 50.0),
        ];
        venue
    }

    /// One perpetual settled in its coin: sizes are dollars.
    pub fn bybit_inverse() -> Self {
        let mut venue = Self::bare(VenueKind::BybitInverse);
        let one = InstrumentConfig::new("BTCUSD", "BTC", ["0.50", "1", "61790.50", "12000"], 60.0);
        venue.instruments = vec![InstrumentConfig { quote: "USD".into(), ..one }];
        venue
    }

    /// Two markets, and one that a listing without permission made: its ticker holds commas and the address of a coin.
    pub fn dydx() -> Self {
        let mut venue = Self::bare(VenueKind::Dydx);
        let long = "OWLX,RAYDIUM,4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM-USD";
        venue.instruments = vec![
            InstrumentConfig::new("BTC-USD", "BTC", ["1", "0.0001", "61837", "0.35"], 80.0),
            InstrumentConfig::new("ETH-USD", "ETH", ["0.1", "0.001", "2686.9", "3"], 60.0),
            InstrumentConfig::new(long, "OWLX", ["0.000001", "10", "0.012345", "9000"], 30.0),
        ];
        // One with more than the hundred that are shown, and two that are shown whole.
        for (one, levels) in venue.instruments.iter_mut().zip([150, 76, 76]) {
            (one.quote, one.levels) = ("USD".into(), levels);
        }
        venue
    }

    /// Three pairs: one with more than the thousand levels a side that can be asked for, one of an asset that REST calls otherwise.
    pub fn kraken() -> Self {
        let mut venue = Self::bare(VenueKind::Kraken);
        let step = "0.00000001";
        venue.instruments = vec![
            InstrumentConfig::new("BTC/USD", "BTC", ["0.1", step, "61837.6", "0.35"], 80.0),
            InstrumentConfig::new("ETH/USD", "ETH", ["0.01", step, "2687.40", "2.5"], 60.0),
            InstrumentConfig::new("DOGE/USD", "DOGE", ["0.0000001", step, "0.1043217", "9000"], 40.0),
        ];
        for (one, levels) in venue.instruments.iter_mut().zip([1_100, 300, 90]) {
            (one.quote, one.levels) = ("USD".into(), levels);
        }
        venue
    }

    /// `count` invented instruments of one pace and unlike prices, with small books: many of them cost little.
    pub fn many(kind: VenueKind, count: usize, events_per_s: f64) -> Self {
        let mut venue = Self::bare(kind);
        let prices = ["61837.60", "2687.40", "154.30", "12.40", "7.10"];
        venue.instruments = (0..count)
            .map(|at| {
                let base = format!("X{at:03}");
                let numbers = ["0.01", "0.001", prices[at % prices.len()], "2.5"];
                let symbol = match kind {
                    VenueKind::Okx => format!("{base}-USDT-SWAP"),
                    VenueKind::BybitInverse => format!("{base}USD"),
                    VenueKind::Dydx => format!("{base}-USD"),
                    VenueKind::Kraken => format!("{base}/USD"),
                    _ => format!("{base}USDT"),
                };
                let one = InstrumentConfig::new(&symbol, &base, numbers, events_per_s);
                let in_dollars = matches!(kind, VenueKind::BybitInverse | VenueKind::Kraken);
                let quote = if in_dollars { "USD" } else { "USDT" };
                InstrumentConfig { levels: 60, quote: quote.into(), ..one }
            })
            .collect();
        venue
    }

    /// The name it goes by.
    pub fn id(&self) -> String {
        if self.name.is_empty() { self.kind.name().to_owned() } else { self.name.clone() }
    }
}

/// An instrument's numbers as integers, checked.
#[derive(Debug, Clone)]
pub struct Spec {
    pub config: InstrumentConfig,
    /// Price text has this many decimals; a tick is `tick_units` of them.
    pub price_scale: u32,
    pub tick_units: i64,
    pub size_scale: u32,
    pub step_units: i64,
    pub start_ticks: i64,
    pub usual_steps: i64,
    /// Numbers are printed without trailing zeros.
    trimmed: bool,
}

impl Spec {
    /// # Errors
    /// [`SimError::Config`] naming the instrument and the value that is wrong.
    pub fn new(kind: VenueKind, config: &InstrumentConfig) -> Result<Self, SimError> {
        let wrong = |field: &str, why: &str| SimError::config(format!("{}.{field}", config.symbol), why);
        let stroke = config.symbol.contains('/') && kind != VenueKind::Kraken;
        if config.symbol.is_empty() || stroke || config.symbol.contains(['"', '\\', '@', ' ']) {
            return Err(wrong("symbol", "empty, or with a character that no stream name can hold"));
        }
        let written = |text: &str| text.split_once('.').map_or(0, |(_, part)| part.len() as u32);
        // Spot prints eight decimals always; futures print what the tick needs.
        let price_scale = if kind.is_spot() { 8 } else { written(&config.tick).max(written(&config.price)) };
        let size_scale = if kind.is_spot() { 8 } else { written(&config.step) };
        let units = |field: &str, text: &str, scale: u32| {
            decimal::parse(text, scale)
                .filter(|n| *n > 0)
                .ok_or_else(|| wrong(field, "not a positive decimal of the scale"))
        };
        let tick_units = units("tick", &config.tick, price_scale)?;
        let step_units = units("step", &config.step, size_scale)?;
        let start_ticks = units("price", &config.price, price_scale)? / tick_units;
        let usual_steps = units("size", &config.size, size_scale)? / step_units;
        if usual_steps < 4 {
            return Err(wrong("size", "fewer than four steps"));
        }
        if config.levels < 20 || start_ticks < config.levels as i64 * 8 {
            return Err(wrong("levels", "fewer than 20, or deeper than the price is high"));
        }
        if !(config.events_per_s.is_finite() && (0.0..=100_000.0).contains(&config.events_per_s)) {
            return Err(wrong("events_per_s", "not between 0 and 100000"));
        }
        let trimmed = matches!(kind, VenueKind::Okx | VenueKind::Dydx);
        let config = config.clone();
        Ok(Self { config, price_scale, tick_units, size_scale, step_units, start_ticks, usual_steps, trimmed })
    }

    fn print(&self, text: String) -> String {
        if self.trimmed { decimal::trimmed(&text).to_owned() } else { text }
    }
    pub fn price(&self, ticks: i64) -> String {
        self.print(decimal::fixed(i128::from(ticks) * i128::from(self.tick_units), self.price_scale))
    }
    pub fn size(&self, steps: i64) -> String {
        self.volume(steps.into())
    }
    pub fn volume(&self, steps: i128) -> String {
        self.print(decimal::fixed(steps * i128::from(self.step_units), self.size_scale))
    }
    /// Exact quote amount of `notional` tick·steps, cut to eight decimals at most.
    pub fn quote_amount(&self, notional: i128) -> String {
        let units = notional * i128::from(self.tick_units) * i128::from(self.step_units);
        let scale = self.price_scale + self.size_scale;
        let text =
            if scale > 8 { decimal::fixed(units / 10i128.pow(scale - 8), 8) } else { decimal::fixed(units, scale) };
        self.print(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_instruments_make_sense_and_print_as_the_venue_does() {
        let spot = Spec::new(VenueKind::BinanceSpot, &VenueConfig::spot().instruments[0]).unwrap();
        assert_eq!((spot.price(spot.start_ticks), spot.size(1)), ("61837.63000000".into(), "0.00001000".into()));
        let usdm = Spec::new(VenueKind::BinanceUsdm, &VenueConfig::usdm().instruments[0]).unwrap();
        assert_eq!((usdm.price(usdm.start_ticks), usdm.size(1)), ("61800.20".into(), "0.001".into()));
        let okx = Spec::new(VenueKind::Okx, &VenueConfig::okx().instruments[1]).unwrap();
        assert_eq!((okx.price(268_700), okx.size(150)), ("2687".into(), "1.5".into()));
        let bybit = [VenueConfig::bybit_spot(), VenueConfig::bybit_linear(), VenueConfig::bybit_inverse()];
        let others =
            [VenueConfig::spot(), VenueConfig::usdm(), VenueConfig::okx(), VenueConfig::dydx(), VenueConfig::kraken()];
        for venue in others.into_iter().chain(bybit) {
            for instrument in &venue.instruments {
                Spec::new(venue.kind, instrument).unwrap();
            }
        }
        for kind in VenueKind::ALL.into_iter().filter(|kind| kind.is_generated()) {
            let many = VenueConfig::many(kind, 500, 2.0);
            assert!(many.instruments.iter().all(|instrument| Spec::new(kind, instrument).is_ok()));
        }
    }

    #[test]
    fn a_config_survives_toml_and_nonsense_is_named() {
        let text = toml::to_string(&SimConfig::default()).unwrap();
        let back: SimConfig = toml::from_str(&text).unwrap();
        assert_eq!(back.venues.len(), 2);
        assert!(toml::from_str::<SimConfig>("sed = 3").is_err());
        let mut bad = VenueConfig::spot().instruments[0].clone();
        bad.tick = "0".into();
        assert!(Spec::new(VenueKind::BinanceSpot, &bad).unwrap_err().to_string().contains("BTCUSDT.tick"));
    }
}
