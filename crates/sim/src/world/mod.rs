//! The worlds that make events: [`Generator`] invents one from a seed, [`Replay`] re-tells a recording.
//!
//! Books, flow and figures are alike for every venue; what is said of them is the venue's ([`Voice`]).

mod book;
mod levels;
mod market;
pub mod recorded;
mod rhythm;
mod stats;

pub use book::{BookText, Side, TextBook, push_levels};
pub use levels::{Levels, difference, top};
pub use market::{Floor, Market, Print, Voice};
pub use recorded::{Change, Frame, Recorded, Row, Standing, recorded_venues};
pub use rhythm::Every;
pub use stats::{Candle, Day, interval_ms};

use crate::binance::Replay;
use crate::config::{Spec, VenueConfig};
use crate::error::SimError;
use crate::event::{Event, Kind, Now};
use crate::protocol::{self, Herald};
use crate::truth::VenueTruth;

/// Where a venue's events come from.
#[derive(Debug)]
pub enum World {
    Generated(Generator),
    Recorded(Replay),
    /// A recording of a venue whose books begin in the stream.
    Streamed(Recorded),
}

impl World {
    /// Moves on to `now` and tells what happened since.
    pub fn advance(&mut self, now: Now, out: &mut Vec<Event>) {
        match self {
            Self::Generated(generator) => generator.advance(now, out),
            Self::Recorded(replay) => replay.advance(now, out),
            Self::Streamed(recorded) => recorded.advance(now, out),
        }
    }

    /// Tells what is collected but not told yet; the streams then end where the books are.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Event>) {
        if let Self::Generated(generator) = self {
            generator.markets.iter_mut().for_each(|market| market.flush(now, out));
        }
    }

    pub fn symbols(&self) -> Vec<String> {
        match self {
            Self::Generated(generator) => generator.markets.iter().map(|m| m.symbol().to_owned()).collect(),
            Self::Recorded(replay) => replay.symbols(),
            Self::Streamed(recorded) => recorded.symbols(),
        }
    }

    /// Those that the venue tells of just now.
    pub fn listed(&self) -> Vec<String> {
        match self {
            Self::Generated(generator) => {
                generator.markets.iter().filter(|m| m.listed).map(|m| m.symbol().to_owned()).collect()
            }
            Self::Recorded(_) | Self::Streamed(_) => self.symbols(),
        }
    }

    /// Takes a market off the list, or puts it there again; whether it is one of a generated world.
    pub fn list(&mut self, symbol: &str, listed: bool) -> bool {
        let Self::Generated(generator) = self else { return false };
        let market = generator.markets.iter_mut().find(|m| m.symbol() == symbol);
        market.map(|market| market.listed = listed).is_some()
    }

    pub fn book(&self, symbol: &str, limit: usize) -> Option<BookText> {
        match self {
            Self::Generated(generator) => Some(generator.market(symbol)?.book(limit)),
            Self::Recorded(replay) => replay.book(symbol, limit),
            Self::Streamed(recorded) => recorded.book(symbol, limit),
        }
    }

    /// Rows that a new subscriber of the stream gets before any other.
    pub fn welcome(&self, stream: &str) -> Vec<String> {
        match self {
            Self::Generated(generator) => generator.markets.iter().flat_map(|m| m.welcome(stream)).collect(),
            Self::Recorded(_) => Vec::new(),
            Self::Streamed(recorded) => recorded.welcome(stream),
        }
    }

    /// Definitions of the symbols that are wanted.
    pub fn definitions(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
        match self {
            Self::Generated(generator) => {
                generator.markets.iter().filter(|m| m.listed && wanted(m.symbol())).map(Market::definition).collect()
            }
            Self::Recorded(_) => Vec::new(),
            Self::Streamed(recorded) => recorded.definitions(wanted),
        }
    }

    /// See [`Voice::reset_ids`].
    pub fn reset_ids(&mut self) -> bool {
        let Self::Generated(generator) = self else { return false };
        // All of them, so nothing may stop at the first.
        generator.markets.iter_mut().map(Market::reset_ids).filter(|does| *does).count() > 0
    }

    /// How far a recording has been told, in lines; 0 for a generated world.
    pub fn position(&self) -> u64 {
        match self {
            Self::Generated(_) => 0,
            Self::Recorded(replay) => replay.position(),
            Self::Streamed(recorded) => recorded.position(),
        }
    }

    /// True once there is nothing more to tell.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Generated(_) => false,
            Self::Recorded(replay) => replay.is_over(),
            Self::Streamed(recorded) => recorded.is_over(),
        }
    }

    /// Whether it is a recording that brings this stream, now or later.
    pub fn brings(&self, stream: &str) -> bool {
        matches!(self, Self::Streamed(recorded) if recorded.brings(stream))
    }
}

/// Markets of one seed.
#[derive(Debug)]
pub struct Generator {
    pub markets: Vec<Market>,
    herald: Option<Box<dyn Herald>>,
}

impl Generator {
    /// # Errors
    /// [`SimError::Config`] for an instrument that makes no sense.
    pub fn new(venue: &VenueConfig, seed: u64, before: Option<&VenueTruth>, now: Now) -> Result<Self, SimError> {
        if venue.instruments.is_empty() {
            return Err(SimError::config(format!("{}.instruments", venue.id()), "none"));
        }
        let protocol = protocol::of(venue.kind);
        let mut markets = Vec::new();
        for config in &venue.instruments {
            let spec = Spec::new(venue.kind, config)?;
            let before = before.and_then(|truth| truth.instruments.get(&config.symbol));
            markets.push(Market::new(protocol, venue, spec, seed, before, now));
        }
        Ok(Self { markets, herald: protocol.herald(venue, seed, now) })
    }

    /// Lives through `past_ms` from `began` on. Only the trades are told, each with its time: books, quotes and the rest of
    /// that time are over, and nobody can ask for them.
    pub fn past(&mut self, began: Now, past_ms: u64) -> Vec<(u64, Event)> {
        const STEP_MS: u64 = 20;
        let at = |ms: u64| Now {
            run_ms: began.run_ms + ms,
            exchange_ms: began.exchange_ms + ms as i64,
            wall_ns: began.wall_ns + ms * 1_000_000,
        };
        let (mut told, mut batch) = (Vec::new(), Vec::new());
        let mut tell = |now: Now, batch: &mut Vec<Event>| {
            let trades = batch.drain(..).filter(|event| matches!(event.kind, Kind::AggTrade | Kind::Trade));
            told.extend(trades.map(|event| (now.wall_ns, event)));
        };
        for ms in (STEP_MS..=past_ms).step_by(STEP_MS as usize) {
            // The last step is just before the start, so that its wall time is.
            let now = at(ms - 1);
            self.markets.iter_mut().for_each(|market| market.advance(now, &mut batch));
            tell(now, &mut batch);
        }
        if past_ms > 0 {
            let now = at(past_ms - 1);
            self.markets.iter_mut().for_each(|market| market.flush(now, &mut batch));
            tell(now, &mut batch);
            self.markets.iter_mut().for_each(Market::begins);
        }
        told
    }

    pub fn market(&self, symbol: &str) -> Option<&Market> {
        self.markets.iter().find(|market| market.symbol() == symbol)
    }

    fn advance(&mut self, now: Now, out: &mut Vec<Event>) {
        self.markets.iter_mut().for_each(|market| market.advance(now, out));
        if let Some(herald) = &mut self.herald {
            let symbols: Vec<&str> = self.markets.iter().map(Market::symbol).collect();
            herald.advance(now, &symbols, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over everything that a seed makes in two minutes of invented time.
    fn everything(venue: &VenueConfig) -> (usize, u64) {
        let at = |ms: u64| Now { run_ms: ms, exchange_ms: 1_790_000_000_000 + ms as i64, wall_ns: ms * 1_000_000 };
        let mut generator = Generator::new(venue, 11, None, at(0)).unwrap();
        let (mut count, mut hash) = (0, 0xcbf2_9ce4_8422_2325_u64);
        let mut take = |batch: &mut Vec<Event>| {
            for event in batch.drain(..) {
                count += 1;
                for byte in event.payload.bytes().chain(event.streams.iter().flat_map(|stream| stream.bytes())) {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        };
        let mut batch = Vec::new();
        for ms in (5..=120_000).step_by(5) {
            generator.advance(at(ms), &mut batch);
            take(&mut batch);
        }
        for market in &mut generator.markets {
            market.flush(at(120_001), &mut batch);
        }
        take(&mut batch);
        (count, hash)
    }

    #[test]
    fn a_seed_makes_the_same_events_for_ever() {
        assert_eq!(everything(&VenueConfig::spot()), (46_824, 59_884_576_788_756_422));
        assert_eq!(everything(&VenueConfig::usdm()), (59_903, 4_792_150_991_873_781_810));
    }
}
