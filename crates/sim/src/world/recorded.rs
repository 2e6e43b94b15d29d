//! A recording of a venue whose books begin in the stream, told again on its own clock.
//!
//! Frames go out untouched to the subscribers of their stream. What a stream has come to is kept, so that a new subscriber begins with it as at
//! the venue: books, and what is told by its changes. How a frame is read, and what a new subscriber is told, is the protocol's.
//!
//! Invariants: of redundant connections in the recording the first that brought a stream is told, the others are not; a stream before its
//! first recorded frame has come to nothing, and nobody is told so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::book::{BookText, PRICE_SCALE};
use crate::config::{CaptureConfig, VenueKind};
use crate::decimal;
use crate::error::SimError;
use crate::event::{Event, Kind, Now};
use crate::protocol::{self, Protocol};

/// One line of a recording.
#[derive(Deserialize)]
pub struct Line {
    pub recv_ns: i64,
    #[serde(default)]
    pub conn: String,
    pub kind: String,
    #[serde(default)]
    pub url: String,
    pub data: String,
}

/// A level as it was recorded: price, size, and the text of all its columns.
#[derive(Debug, Clone)]
pub struct Row {
    pub price: String,
    pub size: String,
    pub text: String,
}

/// What a recorded frame does to its stream.
#[derive(Debug, Clone)]
pub enum Change {
    Nothing,
    /// Levels: all of them (`whole`), or what changed. Without a number of the venue's they get their place.
    Book {
        whole: bool,
        id: Option<u64>,
        bids: Vec<Row>,
        asks: Vec<Row>,
    },
    /// Members of an object: all of them, or what changed.
    Fields {
        whole: bool,
        fields: Map<String, Value>,
    },
}

/// A recorded frame, read.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Of one stream; its payload is the frame as it was recorded.
    pub event: Event,
    pub change: Change,
}

/// What a stream has come to.
#[derive(Debug, Default)]
pub struct Standing {
    /// The last update's number.
    pub id: u64,
    bids: BTreeMap<i64, Row>,
    asks: BTreeMap<i64, Row>,
    pub fields: Map<String, Value>,
    /// The last frame.
    pub last: String,
}

impl Standing {
    fn take(&mut self, frame: &Frame) {
        self.last.clone_from(&frame.event.payload);
        match &frame.change {
            Change::Nothing => {}
            Change::Book { whole, id, bids, asks } => {
                if *whole {
                    (self.bids, self.asks) = Default::default();
                }
                self.id = id.unwrap_or(self.id + 1);
                for (side, rows) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
                    for row in rows {
                        let Some(key) = decimal::parse(&row.price, PRICE_SCALE) else { continue };
                        if decimal::is_zero(&row.size) {
                            side.remove(&key);
                        } else {
                            side.insert(key, row.clone());
                        }
                    }
                }
            }
            Change::Fields { whole, fields } => {
                if *whole {
                    self.fields.clear();
                }
                self.fields.extend(fields.clone());
            }
        }
    }

    /// Levels best first: bids, asks.
    pub fn levels(&self) -> [Vec<&Row>; 2] {
        [self.bids.values().rev().collect(), self.asks.values().collect()]
    }

    fn book(&self, limit: usize) -> BookText {
        let text = |rows: Vec<&Row>| rows.into_iter().take(limit).map(|r| (r.price.clone(), r.size.clone())).collect();
        let [bids, asks] = self.levels().map(text);
        BookText { last_update_id: self.id, bids, asks }
    }
}

/// A recording being told.
#[derive(Debug)]
pub struct Recorded {
    protocol: &'static dyn Protocol,
    lines: Vec<(f64, Frame)>,
    next: usize,
    speed: f64,
    start_recv_ms: i64,
    standing: BTreeMap<String, Standing>,
    /// The stream of each symbol's book that the truth keeps: the first one.
    books: BTreeMap<String, String>,
    symbols: Vec<String>,
    /// Rows of recorded lists, by symbol.
    definitions: BTreeMap<String, String>,
}

impl Recorded {
    /// Reads the whole recording, as far as it is of this venue.
    ///
    /// # Errors
    /// [`SimError::Capture`] when it cannot be read, [`SimError::NotServable`] when it holds no frames of the venue.
    pub fn open(config: &CaptureConfig, kind: VenueKind) -> Result<Self, SimError> {
        let path = &config.file;
        let wrong = |why: &str| SimError::NotServable { path: path.clone(), why: why.to_owned() };
        if !(config.speed.is_finite() && config.speed > 0.0) {
            return Err(SimError::config("capture.speed", "not a positive number"));
        }
        let mut recorded = Self {
            protocol: protocol::of(kind),
            lines: Vec::new(),
            next: 0,
            speed: config.speed,
            start_recv_ms: 0,
            standing: BTreeMap::new(),
            books: BTreeMap::new(),
            symbols: Vec::new(),
            definitions: BTreeMap::new(),
        };
        let (mut first_ns, mut told_by) = (None, BTreeMap::new());
        for line in lines(path)? {
            let line = line?;
            match line.kind.as_str() {
                "ws_in" => {
                    let first = *first_ns.get_or_insert(line.recv_ns);
                    let at_ms = (line.recv_ns - first) as f64 / 1e6;
                    for frame in recorded.protocol.recorded(&line.url, &line.data) {
                        let stream = frame.event.streams.first().cloned().unwrap_or_default();
                        if *told_by.entry(stream).or_insert_with(|| line.conn.clone()) == line.conn {
                            recorded.take(at_ms, frame);
                        }
                    }
                }
                "http_resp" => recorded.definitions.extend(recorded.protocol.recorded_list(&line.url, &line.data)),
                _ => {}
            }
        }
        if recorded.lines.is_empty() {
            return Err(wrong("no incoming frames of this venue in it"));
        }
        recorded.start_recv_ms = first_ns.unwrap_or(0) / 1_000_000;
        recorded.definitions.retain(|symbol, _| recorded.symbols.contains(symbol));
        Ok(recorded)
    }

    fn take(&mut self, at_ms: f64, mut frame: Frame) {
        let symbol = frame.event.symbol.to_string();
        if !symbol.is_empty() && !self.symbols.contains(&symbol) {
            self.symbols.push(symbol.clone());
        }
        if let (Kind::Depth, Some(stream)) = (frame.event.kind, frame.event.streams.first())
            && self.books.entry(symbol).or_insert_with(|| stream.clone()) != stream
        {
            // Another depth of a book that the truth has already.
            frame.event.variant = stream.as_str().into();
        }
        self.lines.push((at_ms, frame));
    }

    /// Passes over frames that an earlier run has told, keeping what they came to.
    pub fn skip(&mut self, position: u64) {
        while (self.next as u64) < position && self.next < self.lines.len() {
            self.tell_next();
        }
    }

    fn tell_next(&mut self) -> Event {
        let frame = &self.lines[self.next].1;
        self.next += 1;
        let mut event = frame.event.clone();
        if let Some(stream) = event.streams.first() {
            let standing = self.standing.entry(stream.clone()).or_default();
            standing.take(frame);
            if let Some(logged) = self.protocol.recorded_truth(frame, standing) {
                event.logged = Some(logged);
            }
        }
        event
    }

    pub fn advance(&mut self, now: Now, out: &mut Vec<Event>) {
        let reached = now.run_ms as f64 * self.speed;
        while self.lines.get(self.next).is_some_and(|(at_ms, _)| *at_ms <= reached) {
            let event = self.tell_next();
            out.push(event);
        }
    }

    /// The recorder's clock at this moment of running time, ms.
    pub fn recorded_ms(&self, run_ms: u64) -> i64 {
        self.start_recv_ms + (run_ms as f64 * self.speed) as i64
    }

    pub fn symbols(&self) -> Vec<String> {
        self.symbols.clone()
    }

    /// Whether the recording brings this stream, now or later.
    pub fn brings(&self, stream: &str) -> bool {
        self.lines.iter().any(|(_, frame)| frame.event.streams.iter().any(|one| one == stream))
    }

    pub fn book(&self, symbol: &str, limit: usize) -> Option<BookText> {
        Some(self.standing.get(self.books.get(symbol)?)?.book(limit))
    }

    pub fn welcome(&self, stream: &str) -> Vec<String> {
        let standing = self.standing.get(stream);
        standing.and_then(|standing| self.protocol.recorded_state(stream, standing)).into_iter().collect()
    }

    pub fn definitions(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
        self.definitions.iter().filter(|(symbol, _)| wanted(symbol)).map(|(_, row)| row.clone()).collect()
    }

    pub fn position(&self) -> u64 {
        self.next as u64
    }

    pub fn is_over(&self) -> bool {
        self.next >= self.lines.len()
    }
}

/// The lines of a recording, compressed or not.
///
/// # Errors
/// [`SimError::Capture`], for each line as well; [`SimError::NotServable`] for one that is no record.
pub fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Line, SimError>> + use<>, SimError> {
    let at = path.to_path_buf();
    let wrong = move |source| SimError::Capture { path: at.clone(), source };
    let file = File::open(path).map_err(&wrong)?;
    let read: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "zst") {
        let mut decoder = zstd::Decoder::new(file).map_err(&wrong)?;
        // Recordings use windows of up to 24 bits.
        decoder.window_log_max(27).map_err(&wrong)?;
        Box::new(BufReader::with_capacity(1 << 18, decoder))
    } else {
        Box::new(BufReader::with_capacity(1 << 18, file))
    };
    let path = path.to_path_buf();
    let whole = read.lines().enumerate().filter(|(_, text)| text.as_ref().map_or(true, |text| !text.is_empty()));
    Ok(whole.map(move |(number, text)| {
        let why = || format!("line {} is no record", number + 1);
        serde_json::from_str(&text.map_err(&wrong)?)
            .map_err(|_| SimError::NotServable { path: path.clone(), why: why() })
    }))
}

/// The venues of a recording that are told in this way, by its addresses; none for one of Binance.
///
/// # Errors
/// As [`lines`].
pub fn recorded_venues(path: &Path) -> Result<Vec<VenueKind>, SimError> {
    let mut found = Vec::new();
    for line in lines(path)? {
        let line = line?;
        match kind_of(&line.url) {
            _ if line.kind != "ws_in" => {}
            Some(kind) if !found.contains(&kind) => found.push(kind),
            // A recording is of one house.
            None if found.is_empty() => break,
            _ => {}
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn kind_of(url: &str) -> Option<VenueKind> {
    let (_, rest) = url.split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.split(':').next().unwrap_or_default();
    match (host, path) {
        ("stream.bybit.com", "v5/public/spot") => Some(VenueKind::BybitSpot),
        ("stream.bybit.com", "v5/public/linear") => Some(VenueKind::BybitLinear),
        ("stream.bybit.com", "v5/public/inverse") => Some(VenueKind::BybitInverse),
        // By its name of 2021 as well.
        ("ws.okx.com" | "ws.okex.com" | "wsaws.okx.com", _) => Some(VenueKind::Okx),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_venue_is_told_by_its_address() {
        for (url, kind) in [
            ("wss://stream.bybit.com/v5/public/linear", Some(VenueKind::BybitLinear)),
            ("wss://ws.okx.com:8443/ws/v5/public", Some(VenueKind::Okx)),
            ("wss://stream.binance.com:9443/stream", None),
            ("wss://ws.kraken.com", None),
        ] {
            assert_eq!(kind_of(url), kind, "{url}");
        }
    }
}
