//! One part in the making: a topic's rows of one table and day, written to all files that the table has.
//!
//! Rows come in the corrected order. Some thousands at a time are encoded, once per file: what a processor's cache holds (whole
//! groups cost more time and memory); the main file's row groups hold the same records as the companion's. Files are written to the
//! staging folder and forced to the disk; the catalog puts them in their places.

use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use wholetape_model::{Body, Kind, Record, Topic, Ts};
use wholetape_tape::Disk;

use crate::StoreError;
use crate::columns::Dialect;
use crate::depth::Depth;
use crate::encode::{self, About};
use crate::file::{Codec, GROUP_ROWS, Writer};
use crate::manifest::{FileRef, Part, Role};
use crate::names;
use crate::rows::Rows;
use crate::seqs::Seqs;
use crate::table::Table;

/// Rows encoded at a time.
const BATCH_ROWS: usize = 8_192;

/// Which part is written.
#[derive(Debug, Clone)]
pub struct Of {
    pub topic: Topic,
    pub table: Table,
    pub day: i64,
    /// The interval that the files' names tell, both ends inclusive.
    pub name: (Ts, Ts),
    pub sealed: bool,
}

struct Sink {
    role: Role,
    about: About,
    dialect: Dialect,
    staged: PathBuf,
    place: String,
    writer: Option<Writer>,
}

/// Where files are written before they have a place, and which.
#[derive(Clone)]
pub struct Target<'a> {
    pub disk: &'a dyn Disk,
    pub staging: PathBuf,
    pub codec: Codec,
    pub v2: bool,
    pub v1: bool,
    /// Ten levels of each book for each second, made from its updates.
    pub depth: bool,
}

/// See the module.
pub struct PartWriter<'a> {
    target: Target<'a>,
    of: Of,
    id: String,
    digits: (u8, u8),
    /// Rows that are not encoded yet.
    batch: Rows,
    weight: usize,
    /// Rows of the main file in the row group so far.
    in_group: usize,
    /// The main file has rows of this group: Parquet has no group without, and groups pair with the companion's. Only the last
    /// one of a part may have none.
    has_main: bool,
    sinks: Vec<Sink>,
    rows: u64,
    seqs: Vec<(u64, u64)>,
    ends: Option<(Ts, Ts)>,
    ids: Option<(u64, u64)>,
    /// The definition that the view told last.
    told: Option<String>,
    depth: Depth,
    n: u64,
}

impl<'a> PartWriter<'a> {
    /// `n` tells the staged files of one commit from each other.
    #[must_use]
    pub fn new(target: Target<'a>, of: Of, digits: (u8, u8), told: Option<String>, n: u64) -> Self {
        let id = named(&of.topic);
        Self {
            target,
            of,
            id,
            digits,
            batch: Rows::default(),
            weight: 0,
            in_group: 0,
            has_main: false,
            sinks: Vec::new(),
            rows: 0,
            seqs: Vec::new(),
            ends: None,
            ids: None,
            told,
            depth: Depth::default(),
            n,
        }
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// A record that cannot be read; a full disk.
    pub fn push(&mut self, ts_init: Ts, record: Record<'_>) -> Result<(), StoreError> {
        self.rows += 1;
        let (lo, hi) = (record.prev() + 1, record.seq());
        match self.seqs.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(lo) => last.1 = hi,
            _ => {
                self.seqs.push((lo, hi));
                if self.seqs.len() >= 1 << 16 {
                    self.fold();
                }
            }
        }
        self.ends = Some((self.ends.map_or(ts_init, |e| e.0), ts_init));
        self.weight += 1;
        if self.of.table == Table::Delta
            && let Body::Book(book) = record.view()?
        {
            let levels = book.bids.len() + book.asks.len();
            self.weight += levels;
            self.has_main |= levels > 0 || book.action != wholetape_model::BookAction::Delta;
        }
        self.batch.push(ts_init, record);
        if self.weight >= BATCH_ROWS { self.end_batch() } else { Ok(()) }
    }

    /// Seqs as few intervals: late rows come out of order.
    fn fold(&mut self) {
        let mut all = Seqs::default();
        self.seqs.sort_unstable();
        for (lo, hi) in self.seqs.drain(..) {
            all.add(lo, hi);
        }
        self.seqs.extend_from_slice(all.intervals());
    }

    fn end_batch(&mut self) -> Result<(), StoreError> {
        self.in_group += std::mem::take(&mut self.weight);
        let rows = std::mem::take(&mut self.batch);
        let table = self.of.table;
        if self.target.v2 {
            self.write(Role::Main, table, Dialect::V2, &rows)?;
            if let Some(companion) = table.companion() {
                self.write(Role::Companion, companion, Dialect::V2, &rows)?;
            }
        }
        if self.target.v1 && table.is_nautilus() {
            self.write(Role::V1, table, Dialect::V1, &rows)?;
        }
        self.write_views(table, &rows)?;
        self.batch = rows;
        self.batch.clear();
        let may_end = self.has_main || table != Table::Delta;
        if may_end && self.in_group >= GROUP_ROWS { self.end_group() } else { Ok(()) }
    }

    /// All files end their groups at the same record.
    fn end_group(&mut self) -> Result<(), StoreError> {
        (self.in_group, self.has_main) = (0, false);
        self.sinks.iter_mut().filter_map(|s| s.writer.as_mut()).try_for_each(Writer::end_group)
    }

    /// Closed bars, and definitions that say something new, in NautilusTrader's layout.
    fn write_views(&mut self, table: Table, rows_in: &Rows) -> Result<(), StoreError> {
        let mut views: Vec<(Table, Rows)> = Vec::new();
        if table == Table::Delta && self.target.depth {
            let mut depths = Rows::default();
            for (ts, record) in rows_in.iter() {
                self.depth.take(ts, &record, &mut depths)?;
            }
            return self.write_view(Table::Depth, &depths);
        }
        // Other tables have none, and looking at each row costs a twentieth of writing it.
        if !matches!(table, Table::BarUpdate | Table::Definition) {
            return Ok(());
        }
        for (ts, record) in rows_in.iter() {
            let view = match (table, record.view()) {
                (Table::BarUpdate, Ok(Body::Bar(bar))) if bar.closed && bar_type(&self.of.topic).is_some() => {
                    Table::Bar
                }
                (Table::Definition, Ok(Body::Instrument(def))) => {
                    let body = saying(&def);
                    match Table::of_instrument(def.kind) {
                        Some(view) if self.told.as_ref() != Some(&body) => {
                            self.told = Some(body);
                            view
                        }
                        _ => continue,
                    }
                }
                _ => continue,
            };
            match views.iter_mut().find(|v| v.0 == view) {
                Some((_, rows)) => rows.push(ts, record),
                None => {
                    let mut rows = Rows::default();
                    rows.push(ts, record);
                    views.push((view, rows));
                }
            }
        }
        for (view, rows) in views {
            self.write_view(view, &rows)?;
        }
        Ok(())
    }

    fn write_view(&mut self, view: Table, rows: &Rows) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.target.v2 {
            self.write(Role::View, view, Dialect::V2, rows)?;
        }
        if self.target.v1 {
            self.write(Role::ViewV1, view, Dialect::V1, rows)?;
        }
        Ok(())
    }

    fn write(&mut self, role: Role, table: Table, dialect: Dialect, rows: &Rows) -> Result<(), StoreError> {
        let at = match self.sinks.iter().position(|s| s.role == role && s.about.table == table) {
            Some(at) => at,
            None => {
                self.sinks.push(self.sink(role, table, dialect));
                self.sinks.len() - 1
            }
        };
        let sink = &mut self.sinks[at];
        let batch = encode::batch(&sink.about, sink.dialect, rows.iter())?;
        if table == Table::Agg {
            self.ids = ends(&batch).into_iter().chain(self.ids).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        }
        if sink.writer.is_none() {
            sink.writer = Some(Writer::create(self.target.disk, &sink.staged, batch.schema(), self.target.codec)?);
        }
        // Made above.
        sink.writer.as_mut().map_or(Ok(()), |w| w.write(&batch))
    }

    fn sink(&self, role: Role, table: Table, dialect: Dialect) -> Sink {
        let about = About {
            table,
            id: self.id.clone(),
            topic: self.of.topic.to_string(),
            price_precision: self.digits.0,
            size_precision: self.digits.1,
            bar_type: (table == Table::Bar).then(|| bar_type(&self.of.topic)).flatten(),
        };
        // Several topics of an instrument have marks: our own tables have a folder for each topic.
        let identifier = if table.is_nautilus() { about.identifier() } else { self.of.topic.as_str() };
        let root = if matches!(role, Role::V1 | Role::ViewV1) { Dialect::V1 } else { Dialect::V2 };
        let file = names::file(self.of.name.0, self.of.name.1);
        let place = format!("{}/{}/{file}", root.root(), names::folder(table, root, identifier));
        let staged = self.target.staging.join(format!("{}-{}.parquet", self.n, self.sinks.len()));
        Sink { role, about, dialect, staged, place, writer: None }
    }

    /// Ends all files. `None` when there were no rows.
    ///
    /// # Errors
    /// As [`PartWriter::push`].
    pub fn finish(mut self, part: u64) -> Result<Option<Staged>, StoreError> {
        if !self.batch.is_empty() {
            self.end_batch()?;
        }
        if self.of.table == Table::Delta && self.target.depth {
            let mut last = Rows::default();
            self.depth.tell(&mut last)?;
            self.write_view(Table::Depth, &last)?;
        }
        self.fold();
        let Some((from, to)) = self.ends else { return Ok(None) };
        let mut seqs = Seqs::default();
        for (lo, hi) in &self.seqs {
            seqs.add(*lo, *hi);
        }
        let (mut files, mut staged) = (Vec::new(), Vec::new());
        for sink in self.sinks {
            let Some(writer) = sink.writer else { continue };
            let w = writer.finish(self.target.disk)?;
            staged.push((sink.staged, sink.place.clone()));
            let (role, format) = (sink.role, sink.about.table.format());
            files.push(FileRef { path: sink.place, role, rows: w.rows, bytes: w.bytes, blake3: w.blake3, format });
        }
        let part = Part {
            part,
            topic: self.of.topic.as_str().to_owned(),
            table: self.of.table.as_str().to_owned(),
            day: self.of.day,
            from: from.0,
            to: to.0,
            rows: self.rows,
            seqs,
            ids: self.ids,
            sealed: self.of.sealed,
            files,
        };
        Ok(Some(Staged { part, files: staged }))
    }
}

/// Lowest and highest id of a batch of `agg`: of what is written for dialect A alone nothing is looked up by id.
fn ends(batch: &RecordBatch) -> Option<(u64, u64)> {
    let ids = batch.column_by_name("trade_id")?.as_primitive_opt::<UInt64Type>()?;
    Some((ids.iter().flatten().min()?, ids.iter().flatten().max()?))
}

/// A part whose files lie in the staging folder, and where each belongs.
#[derive(Debug)]
pub struct Staged {
    pub part: Part,
    pub files: Vec<(PathBuf, String)>,
}

/// What a topic is about: the instrument, or the line.
#[must_use]
pub fn subject(topic: &Topic) -> &str {
    topic.as_str().split_once('.').map_or("", |(_, id)| id)
}

/// What a topic is about, as NautilusTrader names it: a topic's name has odd characters percent-encoded, and the wheels can
/// read no table of such a name. `BTC/USD.KRAKEN`
#[must_use]
pub fn named(topic: &Topic) -> String {
    let subject = subject(topic);
    let plain = wholetape_model::percent_decode(subject).filter(|id| !id.contains(char::is_control));
    plain.unwrap_or_else(|| subject.to_owned())
}

/// NautilusTrader's name of a bar topic's series; `None` for periods that it has no name for.
#[must_use]
pub fn bar_type(topic: &Topic) -> Option<String> {
    let Kind::Bar(period) = topic.kind() else { return None };
    let unit = match period.unit {
        b's' => "SECOND",
        b'm' => "MINUTE",
        b'h' => "HOUR",
        b'd' => "DAY",
        b'w' => "WEEK",
        b'M' => "MONTH",
        _ => return None,
    };
    Some(format!("{}-{}-{unit}-LAST-EXTERNAL", named(topic), period.count))
}

/// What a definition says, whatever decimals it was printed with.
fn saying(def: &wholetape_model::InstrumentDef<&str>) -> String {
    use crate::spec_market::plain;
    let def = wholetape_model::InstrumentDef {
        tick: plain(def.tick),
        step: plain(def.step),
        size_min: plain(def.size_min),
        size_max: plain(def.size_max),
        notional_min: plain(def.notional_min),
        multiplier: plain(def.multiplier),
        // NautilusTrader's definition has no status; `instrument_status` does.
        status: wholetape_model::TradingStatus::Unknown,
        status_text: "",
        ..*def
    };
    format!("{def:?}")
}

/// What the last definition of these rows says.
///
/// # Errors
/// A record that cannot be read.
pub fn last_saying(rows: &Rows) -> Result<Option<String>, StoreError> {
    let mut last = None;
    for (_, record) in rows.iter() {
        if let Body::Instrument(def) = record.view()? {
            last = Some(saying(&def));
        }
    }
    Ok(last)
}
