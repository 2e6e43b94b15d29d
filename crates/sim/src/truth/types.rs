//! The truth as values: what a checker holds a pipeline's output against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::faults::FaultRecord;
use crate::world::{BookText, TextBook};

/// Everything that all venues of a data folder ever created, over all runs.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    pub venues: BTreeMap<String, VenueTruth>,
    pub faults: Vec<FaultRecord>,
}

/// One venue's truth.
#[derive(Debug, Clone, Default)]
pub struct VenueTruth {
    /// `binance-spot`, …
    pub kind: String,
    /// How often a simulation has been started on this folder.
    pub runs: u32,
    pub instruments: BTreeMap<String, InstrumentTruth>,
    /// Events of no instrument of this venue (foreign product lines in all-market streams, unnamed recorded frames).
    pub foreign: Vec<Stated>,
    /// Recorded lines served so far; capture mode only.
    pub position: u64,
    /// Run-time milliseconds reached.
    pub run_ms: u64,
    /// When it was first started, by the machine's clock: trades from before were never on a stream.
    pub began_ns: u64,
}

/// One instrument's truth.
#[derive(Debug, Clone, Default)]
pub struct InstrumentTruth {
    pub agg_trades: BTreeMap<u64, AggTrade>,
    pub trades: BTreeMap<u64, RawTrade>,
    /// Diff events of the fastest cadence, with their levels, in order.
    pub depth: Vec<DepthEvent>,
    /// Ids of the slower cadences, by cadence (`250ms`); no levels.
    pub depth_other: BTreeMap<String, Vec<DepthEvent>>,
    pub quotes: Vec<Quote>,
    pub klines: Vec<Stated>,
    pub tickers: Vec<Stated>,
    pub marks: Vec<Stated>,
    pub force_orders: Vec<Stated>,
    pub open_interest: Vec<Stated>,
    pub status: Vec<Stated>,
    pub other: Vec<Stated>,
    /// Full books at given moments: at each start and at each finish.
    pub books: Vec<BookText>,
    /// The book after everything above.
    pub final_book: Option<BookText>,
    pub(crate) book: Option<TextBook>,
    /// The highest update id that anything carried.
    pub last_update_id: u64,
    /// As of the venue: trades created before this are history that only REST knows.
    pub began_ns: u64,
}

impl InstrumentTruth {
    /// The book right after the depth event with this last id, or as recorded with exactly this id; `None` when no
    /// such moment is known. Replays, so ask seldom.
    pub fn book_at(&self, update_id: u64) -> Option<BookText> {
        if let Some(book) = self.books.iter().find(|book| book.last_update_id == update_id) {
            return Some(book.clone());
        }
        let at = self.depth.iter().position(|event| event.last == update_id)?;
        let (place, base) = self.bases().into_iter().rfind(|(place, _)| *place <= at)?;
        let mut book = TextBook::from_text(base);
        for event in &self.depth[place..=at] {
            book.apply(&event.bids, &event.asks);
        }
        book.last_update_id = update_id;
        Some(book.text(usize::MAX))
    }

    /// The full books, each with the number of depth events that it stands behind. Where ids began anew a smaller one may be later, so
    /// a book that bears an event's id is found by that, and only the others by order.
    pub fn bases(&self) -> Vec<(usize, &BookText)> {
        let places: BTreeMap<u64, usize> =
            self.depth.iter().enumerate().map(|(at, event)| (event.last, at + 1)).collect();
        let by_order = |id: u64| self.depth.iter().position(|event| event.last > id).unwrap_or(self.depth.len());
        let place = |book: &BookText| {
            places.get(&book.last_update_id).copied().unwrap_or_else(|| by_order(book.last_update_id))
        };
        self.books.iter().map(|book| (place(book), book)).collect()
    }
}

/// `@aggTrade`, texts as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggTrade {
    #[serde(rename = "E", default)]
    pub event_ms: i64,
    #[serde(rename = "a")]
    pub id: u64,
    #[serde(rename = "p")]
    pub price: String,
    #[serde(rename = "q")]
    pub size: String,
    #[serde(rename = "nq", default, skip_serializing_if = "Option::is_none")]
    pub normal_size: Option<String>,
    #[serde(rename = "f")]
    pub first_id: u64,
    #[serde(rename = "l")]
    pub last_id: u64,
    #[serde(rename = "T")]
    pub time_ms: i64,
    #[serde(rename = "m")]
    pub buyer_is_maker: bool,
    /// Machine clock at creation, ns.
    #[serde(skip)]
    pub wall_ns: u64,
}

/// `@trade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawTrade {
    #[serde(rename = "E", default)]
    pub event_ms: i64,
    #[serde(rename = "t")]
    pub id: u64,
    /// What the venue calls it where that is no number (Bybit's derivatives: a UUID; dYdX: an event's 24 digits); `id` then only orders the trades.
    #[serde(skip)]
    pub name: Option<String>,
    #[serde(rename = "p")]
    pub price: String,
    #[serde(rename = "q")]
    pub size: String,
    #[serde(rename = "T")]
    pub time_ms: i64,
    #[serde(rename = "m")]
    pub buyer_is_maker: bool,
    /// Binance futures: `MARKET`, `INSURANCE_FUND`, …; dYdX: `LIMIT`, `LIQUIDATED`.
    #[serde(rename = "X", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip)]
    pub wall_ns: u64,
}

/// One diff-depth event. `previous` is `pu`, and 0 where the venue has none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DepthEvent {
    #[serde(rename = "E", default)]
    pub event_ms: i64,
    #[serde(rename = "T", default)]
    pub time_ms: i64,
    #[serde(rename = "U")]
    pub first: u64,
    #[serde(rename = "u")]
    pub last: u64,
    #[serde(rename = "pu", default)]
    pub previous: u64,
    #[serde(rename = "b", default)]
    pub bids: Vec<(String, String)>,
    #[serde(rename = "a", default)]
    pub asks: Vec<(String, String)>,
    #[serde(skip)]
    pub wall_ns: u64,
}

/// `@bookTicker`. Spot gives no time: `event_ms` is 0 there and `wall_ns` is all there is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Quote {
    #[serde(rename = "u")]
    pub update_id: u64,
    #[serde(rename = "b")]
    pub bid: String,
    #[serde(rename = "B")]
    pub bid_size: String,
    #[serde(rename = "a")]
    pub ask: String,
    #[serde(rename = "A")]
    pub ask_size: String,
    #[serde(rename = "E", default)]
    pub event_ms: i64,
    #[serde(rename = "T", default)]
    pub time_ms: i64,
    #[serde(skip)]
    pub wall_ns: u64,
}

/// Any other event: its payload as it went on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// `E`, or the time the payload names; 0 when it names none.
    pub event_ms: i64,
    pub wall_ns: u64,
    /// Kline interval or the like.
    pub variant: String,
    pub payload: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_began_anew_has_its_last_book_last() {
        let level = |size: &str| vec![("9".to_owned(), size.to_owned())];
        let event = |last: u64, previous: u64, size: &str| DepthEvent {
            event_ms: 0,
            time_ms: 0,
            first: last,
            last,
            previous,
            bids: level(size),
            asks: Vec::new(),
            wall_ns: 0,
        };
        let book = |last_update_id, size: &str| BookText { last_update_id, bids: level(size), asks: Vec::new() };
        let truth = InstrumentTruth {
            books: vec![book(70, "1"), book(2, "5")],
            depth: vec![event(71, 70, "2"), event(72, 71, "3"), event(1, 72, "4"), event(2, 1, "5")],
            ..InstrumentTruth::default()
        };
        assert_eq!(truth.bases().iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 4]);
        for (id, size) in [(70, "1"), (71, "2"), (72, "3"), (1, "4"), (2, "5")] {
            assert_eq!(truth.book_at(id).unwrap().bids, level(size), "{id}");
        }
        assert_eq!(truth.book_at(69), None);
    }
}
