//! Reading truth files back: for checkers, and for a simulation that goes on where it was.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::types::{InstrumentTruth, Stated, Truth, VenueTruth};
use crate::config::VenueKind;
use crate::error::SimError;
use crate::event::Kind;
use crate::protocol::{self, Protocol, Read};
use crate::world::{BookText, TextBook};

/// One line of a truth file; which fields are there depends on `k`.
#[derive(Deserialize)]
struct Line<'a> {
    k: &'a str,
    #[serde(default)]
    s: String,
    #[serde(default)]
    c: &'a str,
    #[serde(default)]
    w: u64,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
    #[serde(default)]
    venue: String,
    #[serde(default)]
    n: u64,
    #[serde(default)]
    r: u64,
    #[serde(default)]
    u: u64,
    #[serde(default)]
    b: Vec<(String, String)>,
    #[serde(default)]
    a: Vec<(String, String)>,
}

/// Loads every truth file of a data folder. A torn last batch (a kill in mid-write) was never served and is left out.
///
/// # Errors
/// [`SimError::Truth`] when a file cannot be read, [`SimError::Record`] when a line before the last batch is no record.
pub fn load(dir: &Path) -> Result<Truth, SimError> {
    let read = |source| SimError::Truth { path: dir.to_path_buf(), source };
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(read)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(read)?;
    names.sort();
    let mut truth = Truth::default();
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((venue, piece)) = super::piece_of(&name) {
            let whole = read_piece(truth.venues.entry(venue.to_owned()).or_default(), &path);
            // The newest piece may be empty still.
            whole.map(|_| ()).or_else(|error| if piece > 0 && !path.exists() { Ok(()) } else { Err(error) })?;
        } else if name == super::FAULTS_FILE {
            let file = File::open(&path).map_err(|source| SimError::Truth { path: path.clone(), source })?;
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|source| SimError::Truth { path: path.clone(), source })?;
                // A torn last line is the only one that may not parse.
                if let Ok(record) = serde_json::from_str(&line) {
                    truth.faults.push(record);
                }
            }
        }
    }
    truth.venues.values_mut().for_each(VenueTruth::close);
    Ok(truth)
}

/// Loads one venue's file up to its last complete batch.
///
/// # Errors
/// As [`load`].
pub fn load_venue(path: &Path) -> Result<VenueTruth, SimError> {
    let (venue, _) = read_venue(path)?;
    Ok(venue)
}

/// The truth, and the length in bytes of the file's complete batches.
pub(crate) fn read_venue(path: &Path) -> Result<(VenueTruth, u64), SimError> {
    let mut venue = VenueTruth::default();
    let whole = read_piece(&mut venue, path)?;
    venue.close();
    Ok((venue, whole))
}

/// Takes one file's complete batches in; returns their length.
fn read_piece(venue: &mut VenueTruth, path: &Path) -> Result<u64, SimError> {
    let file = File::open(path).map_err(|source| SimError::Truth { path: path.to_path_buf(), source })?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut whole, mut at) = (0u64, 0u64);
    let mut batch: Vec<String> = Vec::new();
    let mut line_no = 0usize;
    loop {
        let mut line = String::new();
        let read =
            reader.read_line(&mut line).map_err(|source| SimError::Truth { path: path.to_path_buf(), source })?;
        if read == 0 || !line.ends_with('\n') {
            break;
        }
        at += read as u64;
        line_no += 1;
        let ends = line.starts_with("{\"k\":\"batch\"");
        batch.push(line);
        if ends {
            let first = line_no - batch.len() + 1;
            for (offset, line) in batch.drain(..).enumerate() {
                venue.take(&line).map_err(|why| SimError::Record {
                    path: path.to_path_buf(),
                    line: first + offset,
                    why,
                })?;
            }
            whole = at;
        }
    }
    Ok(whole)
}

/// Follows a venue's truth while it is written, piece by piece, holding no more than one batch.
///
/// Each [`TruthTail::poll`] gives what was completed since: the events of one venue in order.
#[derive(Debug)]
pub struct TruthTail {
    dir: PathBuf,
    venue: String,
    piece: u32,
    reader: Option<BufReader<File>>,
    /// A line that is not whole yet, and lines whose batch is not.
    line: String,
    batch: Vec<String>,
    consume: bool,
    truth: VenueTruth,
}

impl TruthTail {
    /// `consume`: take pieces away once they are read and another has begun.
    pub fn new(dir: &Path, venue: &str, consume: bool) -> Self {
        Self {
            dir: dir.to_owned(),
            venue: venue.to_owned(),
            piece: 0,
            reader: None,
            line: String::new(),
            batch: Vec::new(),
            consume,
            truth: VenueTruth::default(),
        }
    }

    /// What came since the last call, at most about `lines_max` lines. No final book: that takes the whole truth.
    ///
    /// # Errors
    /// As [`load`].
    pub fn poll(&mut self, lines_max: usize) -> Result<VenueTruth, SimError> {
        let mut lines = 0;
        while lines < lines_max {
            let path = self.dir.join(super::piece_name(&self.venue, self.piece));
            let wrong = |source| SimError::Truth { path: path.clone(), source };
            let next = self.dir.join(super::piece_name(&self.venue, self.piece + 1));
            // Asked before reading: what the older piece gets, it has by then.
            let follows = next.exists();
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None if path.exists() => {
                    self.reader.insert(BufReader::with_capacity(1 << 18, File::open(&path).map_err(wrong)?))
                }
                None => break,
            };
            let read = reader.read_line(&mut self.line).map_err(wrong)?;
            if self.line.ends_with('\n') {
                lines += 1;
                let ends = self.line.starts_with("{\"k\":\"batch\"");
                self.batch.push(std::mem::take(&mut self.line));
                if ends {
                    for line in self.batch.drain(..) {
                        let why = self.truth.take(&line);
                        why.map_err(|why| SimError::Record { path: path.clone(), line: 0, why })?;
                    }
                }
            } else if read == 0 && follows {
                self.reader = None;
                self.piece += 1;
                if self.consume {
                    std::fs::remove_file(&path).map_err(wrong)?;
                }
            } else {
                break;
            }
        }
        // What was told is handed out; only the instruments, and what makes them one, stay.
        let mut told = std::mem::take(&mut self.truth);
        self.truth.kind.clone_from(&told.kind);
        for (symbol, one) in &mut told.instruments {
            // Whoever follows keeps a book of its own.
            one.book = None;
            self.truth.instruments.entry(symbol.clone()).or_default().last_update_id = one.last_update_id;
        }
        Ok(told)
    }
}

impl VenueTruth {
    /// After the last line: the books as they are then.
    fn close(&mut self) {
        for instrument in self.instruments.values_mut() {
            instrument.began_ns = self.began_ns;
            instrument.final_book = instrument.book.as_ref().map(|book| book.text(usize::MAX));
        }
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match line.k {
            "header" => {
                self.kind = line.venue;
                self.runs += 1;
                if self.runs == 1 {
                    self.began_ns = line.w;
                }
            }
            "batch" => (self.position, self.run_ms) = (line.n, line.r),
            "book" => {
                let text = BookText { last_update_id: line.u, bids: line.b, asks: line.a };
                let instrument = self.instruments.entry(line.s).or_default();
                instrument.last_update_id = instrument.last_update_id.max(line.u);
                instrument.book = Some(TextBook::from_text(&text));
                instrument.books.push(text);
            }
            "instrument" => {
                self.instruments.entry(line.s).or_default();
            }
            name => {
                let kind = Kind::parse(name).ok_or_else(|| format!("unknown record kind {name}"))?;
                let payload = line.d.ok_or("no payload")?.get();
                let venue = VenueKind::parse(&self.kind).ok_or_else(|| format!("unknown venue `{}`", self.kind))?;
                let protocol = protocol::of(venue);
                match self.instruments.get_mut(&line.s) {
                    Some(instrument) => instrument.take(protocol, kind, line.c, line.w, payload)?,
                    None => self.foreign.push(stated(protocol, line.c, line.w, payload)),
                }
            }
        }
        Ok(())
    }
}

impl InstrumentTruth {
    /// Takes one event's payload in.
    fn take(
        &mut self,
        protocol: &dyn Protocol,
        kind: Kind,
        variant: &str,
        wall_ns: u64,
        payload: &str,
    ) -> Result<(), String> {
        match protocol.read(kind, payload)? {
            Read::Group(trade) => _ = self.agg_trades.insert(trade.id, super::AggTrade { wall_ns, ..trade }),
            Read::Trade(trade) => _ = self.trades.insert(trade.id, super::RawTrade { wall_ns, ..trade }),
            Read::Trades(all) => {
                self.trades.extend(all.into_iter().map(|trade| (trade.id, super::RawTrade { wall_ns, ..trade })));
            }
            Read::Quote(quote) => {
                self.last_update_id = self.last_update_id.max(quote.update_id);
                self.quotes.push(super::Quote { wall_ns, ..quote });
            }
            Read::Depth(event) => self.depth_event(variant, super::DepthEvent { wall_ns, ..event }),
            // Of a depth that the truth does not keep.
            Read::Whole(_) if !variant.is_empty() => {}
            Read::Whole(text) => {
                self.last_update_id = self.last_update_id.max(text.last_update_id);
                self.book = Some(TextBook::from_text(&text));
                self.books.push(text);
            }
            Read::Stated => {
                let told = stated(protocol, variant, wall_ns, payload);
                match kind {
                    Kind::Kline => self.klines.push(told),
                    Kind::Ticker | Kind::MiniTicker => self.tickers.push(told),
                    Kind::MarkPrice => self.marks.push(told),
                    Kind::ForceOrder => self.force_orders.push(told),
                    Kind::ContractInfo => self.status.push(told),
                    Kind::OpenInterest => self.open_interest.push(told),
                    _ => self.other.push(told),
                }
            }
        }
        Ok(())
    }

    fn depth_event(&mut self, variant: &str, event: super::DepthEvent) {
        self.last_update_id = self.last_update_id.max(event.last);
        // The fastest cadence carries levels and is logged without a variant.
        if !variant.is_empty() {
            self.depth_other.entry(variant.to_owned()).or_default().push(event);
            return;
        }
        // A reset goes to a smaller id, and still follows.
        let follows = |book: &&mut TextBook| event.last > book.last_update_id || event.previous == book.last_update_id;
        if let Some(book) = self.book.as_mut().filter(follows) {
            book.apply(&event.bids, &event.asks);
            book.last_update_id = event.last;
        }
        self.depth.push(event);
    }
}

fn stated(protocol: &dyn Protocol, variant: &str, wall_ns: u64, payload: &str) -> Stated {
    let event_ms = protocol.time_of(payload);
    Stated { event_ms, wall_ns, variant: variant.to_owned(), payload: payload.to_owned() }
}
