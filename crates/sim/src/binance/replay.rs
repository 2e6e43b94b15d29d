//! A recording told again on its own clock: frames untouched, the book kept so that a REST snapshot fits at any moment.
//!
//! The recorded snapshot is the base of a symbol's book; recorded diffs with later ids are applied to it as they are told.
//! Before the recording reaches its snapshot, that snapshot itself is the answer: a client that buffers meets it later.
//! Levels deeper than the recorded snapshot are known only where a diff named them, as for every client of the venue.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::{CaptureConfig, VenueKind};
use crate::error::SimError;
use crate::event::{Event, Kind, Now};
use crate::world::{
    BookText, TextBook,
    recorded::{Line, lines},
};

#[derive(Debug)]
struct Told {
    at_ms: f64,
    event: Event,
    /// Levels and last id of a diff.
    diff: Option<Diff>,
}

#[derive(Debug, Deserialize)]
struct Diff {
    u: u64,
    b: Vec<(String, String)>,
    a: Vec<(String, String)>,
}

/// A recording being served.
#[derive(Debug)]
pub struct Replay {
    pub kind: VenueKind,
    lines: Vec<Told>,
    next: usize,
    speed: f64,
    start_recv_ms: i64,
    books: BTreeMap<String, TextBook>,
    symbols: Vec<String>,
    /// A recorded `exchangeInfo` body.
    pub exchange_info: Option<String>,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    stream: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Snapshot {
    #[serde(rename = "lastUpdateId")]
    last_update_id: u64,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

impl Replay {
    /// Reads the whole recording.
    ///
    /// # Errors
    /// [`SimError::Capture`] when it cannot be read, [`SimError::NotServable`] when it holds no Binance frames.
    pub fn open(config: &CaptureConfig) -> Result<Self, SimError> {
        let path = &config.file;
        let wrong = |why: &str| SimError::NotServable { path: path.clone(), why: why.to_owned() };
        if !(config.speed.is_finite() && config.speed > 0.0) {
            return Err(SimError::config("capture.speed", "not a positive number"));
        }
        let mut replay = Self {
            kind: VenueKind::BinanceSpot,
            lines: Vec::new(),
            next: 0,
            speed: config.speed,
            start_recv_ms: 0,
            books: BTreeMap::new(),
            symbols: Vec::new(),
            exchange_info: None,
        };
        let mut venue = None;
        let mut snapshots: Vec<(String, BookText)> = Vec::new();
        let mut first_ns = None;
        for line in lines(path)? {
            let line = line?;
            venue = venue.or_else(|| kind_of(&line.url));
            match line.kind.as_str() {
                "ws_in" => {
                    let first = *first_ns.get_or_insert(line.recv_ns);
                    replay.take_frame((line.recv_ns - first) as f64 / 1e6, &line);
                }
                "http_resp" if line.url.contains("/depth") => {
                    if let (Some(symbol), Ok(body)) =
                        (query(&line.url, "symbol"), serde_json::from_str::<Snapshot>(&line.data))
                    {
                        let text = BookText { last_update_id: body.last_update_id, bids: body.bids, asks: body.asks };
                        snapshots.push((symbol, text));
                    }
                }
                "http_resp" if line.url.contains("/exchangeInfo") => replay.exchange_info = Some(line.data),
                _ => {}
            }
        }
        replay.kind = venue.ok_or_else(|| wrong("no address of a Binance venue in it"))?;
        if replay.lines.is_empty() {
            return Err(wrong("no incoming frames in it"));
        }
        replay.start_recv_ms = first_ns.unwrap_or(0) / 1_000_000;
        for (symbol, text) in snapshots {
            // The first one is the base; a later one only says what the diffs have said by then.
            replay.books.entry(symbol).or_insert_with(|| TextBook::from_text(&text));
        }
        Ok(replay)
    }

    /// Passes over lines that an earlier run has told, keeping the books.
    pub fn skip(&mut self, position: u64) {
        while (self.next as u64) < position && self.next < self.lines.len() {
            self.apply_next();
        }
    }

    fn take_frame(&mut self, at_ms: f64, line: &Line) {
        // Raw paths name their one stream in the address; wrapped frames name it themselves.
        let (stream, payload) = match serde_json::from_str::<Wrapped<'_>>(&line.data) {
            Ok(wrapped) => (wrapped.stream.to_owned(), wrapped.data.get().to_owned()),
            Err(_) => match line.url.split_once("/ws/") {
                Some((_, stream)) => (stream.to_owned(), line.data.clone()),
                None => return,
            },
        };
        let kind = super::kind_of(&stream);
        let (name, _) = stream.split_once('@').unwrap_or((stream.as_str(), ""));
        let symbol = if stream.starts_with('!') { String::new() } else { name.to_uppercase() };
        if !symbol.is_empty() && !self.symbols.contains(&symbol) {
            self.symbols.push(symbol.clone());
        }
        let diff = (kind == Kind::Depth).then(|| serde_json::from_str::<Diff>(&payload).ok()).flatten();
        let streams = match kind {
            // Whatever cadence was recorded, it answers any diff-depth subscription of the symbol.
            Kind::Depth => ["depth", "depth@100ms", "depth@250ms", "depth@500ms", "depth@0ms"]
                .iter()
                .map(|suffix| format!("{name}@{suffix}"))
                .collect(),
            Kind::MarkPrice => vec![format!("{name}@markPrice@1s"), format!("{name}@markPrice")],
            _ => vec![stream.clone()],
        };
        let variant: Arc<str> = stream.split_once("kline_").map_or("", |(_, interval)| interval).into();
        let event = Event { kind, symbol: symbol.as_str().into(), variant, streams, payload, logged: None };
        self.lines.push(Told { at_ms, event, diff });
    }

    fn apply_next(&mut self) {
        let told = &self.lines[self.next];
        self.next += 1;
        if let (Some(diff), Some(book)) = (&told.diff, self.books.get_mut(&*told.event.symbol))
            && diff.u > book.last_update_id
        {
            book.apply(&diff.b, &diff.a);
            book.last_update_id = diff.u;
        }
    }

    pub fn advance(&mut self, now: Now, out: &mut Vec<Event>) {
        let reached = now.run_ms as f64 * self.speed;
        while self.lines.get(self.next).is_some_and(|told| told.at_ms <= reached) {
            out.push(self.lines[self.next].event.clone());
            self.apply_next();
        }
    }

    /// The recorder's clock at this moment of running time, ms.
    pub fn recorded_ms(&self, run_ms: u64) -> i64 {
        self.start_recv_ms + (run_ms as f64 * self.speed) as i64
    }

    pub fn symbols(&self) -> Vec<String> {
        self.symbols.clone()
    }

    pub fn book(&self, symbol: &str, limit: usize) -> Option<BookText> {
        self.books.get(symbol).map(|book| book.text(limit))
    }

    pub fn position(&self) -> u64 {
        self.next as u64
    }

    pub fn is_over(&self) -> bool {
        self.next >= self.lines.len()
    }

    /// Every payload of a kind that the recording holds for a symbol, told or not; for synthesised instrument facts.
    pub fn payloads<'a>(&'a self, symbol: &'a str, kind: Kind) -> impl Iterator<Item = &'a str> {
        let mine = move |told: &&Told| told.event.kind == kind && &*told.event.symbol == symbol;
        self.lines.iter().filter(mine).map(|told| told.event.payload.as_str())
    }
}

/// The venue whose host an address names.
fn kind_of(url: &str) -> Option<VenueKind> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    Some(match host {
        "stream.binance.com" | "data-stream.binance.vision" | "api.binance.com" => VenueKind::BinanceSpot,
        "fstream.binance.com" | "fapi.binance.com" => VenueKind::BinanceUsdm,
        "dstream.binance.com" | "dapi.binance.com" => VenueKind::BinanceCoinm,
        "stream.binance.us" | "api.binance.us" => VenueKind::BinanceUs,
        _ => return None,
    })
}

fn query(url: &str, key: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()))
}
