//! Days that the tape knows nothing of: straight to the catalog, or, where that has them, held against it row by row.
//!
//! A file is read once more to compare and to find what is missing, and, when something is, a last time to write it: one commit a day
//! (`wholetape_store::import`), so a killed import goes on where the catalog ends, and a second one finds nothing to do.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};

use anyhow::Context;
use wholetape_model::{Body, Kind, Row as TapeRow, Topic, Ts};
use wholetape_store::catalog::Catalog;
use wholetape_store::import::{self as store, Day, Happened, Need, Stored};
use wholetape_store::seqs::Seqs;
use wholetape_store::table::Table;
use wholetape_store::{StoreError, names};
use wholetape_tape::RealDisk;
use wholetape_venue::archive::{Data, Row};

use super::compare::{Difference, compare};
use super::file;
use super::find::{By, Found};
use super::held::{flags, row_of};
use super::named::{self, Slim};
use super::report::{FileReport, Status};
use crate::store::keeper::StorePlan;

/// Rows on their way from the file to the catalog: so many at a time, and so many such pieces.
const CHUNK: usize = 4_096;
const CHUNKS: usize = 4;
/// Stretches of missing rows that are remembered of one file.
const STRETCHES_MAX: usize = 4 << 20;
/// Rows between two looks at whether to stop.
const LOOK_EVERY: u64 = 65_536;

/// What the tape holds of a topic that a file may be about.
#[derive(Debug, Clone)]
pub struct OnTape {
    pub topic: Topic,
    /// Rows of the file's own days.
    pub within: bool,
    /// All its rows are single matches.
    pub single: bool,
}

/// A file that was read to its end, so its rows are good.
pub struct About<'a> {
    pub found: &'a Found,
    /// Its first and last key; of names there are none.
    pub ends: (u64, u64),
    pub tape: &'a [OnTape],
    /// When it is: rows are received now.
    pub now: Ts,
    /// Gets the stage and how many rows it has done.
    pub tell: &'a mut dyn FnMut(&str, u64),
    pub stop: &'a dyn Fn() -> bool,
}

/// Takes whole days. `Err`: nothing was done, because of this.
pub trait Bulk: Send {
    /// # Errors
    /// What cannot be read or written; days that were committed before hold.
    fn take(&mut self, about: About<'_>, report: &mut FileReport) -> anyhow::Result<Result<(), String>>;
}

/// No catalog can be written here.
pub struct NoCatalog(pub &'static str);

impl NoCatalog {
    pub const OFF: Self = Self("nothing is held of that day, and nothing is stored here: `[store] enabled` is false");
    pub const RUNNING: Self = Self(
        "the tape holds nothing of that day, so it goes to the catalog alone, which the running process holds: stop it, and give the command again",
    );
}

impl Bulk for NoCatalog {
    fn take(&mut self, _about: About<'_>, _report: &mut FileReport) -> anyhow::Result<Result<(), String>> {
        Ok(Err(self.0.to_owned()))
    }
}

/// The catalog of a data directory that no process writes; opened when the first file needs it.
pub struct Store {
    plan: StorePlan,
    catalog: Option<Catalog>,
    /// What topics of this catalog are about that were looked at for what a crash left.
    settled: BTreeSet<String>,
}

impl Store {
    pub fn new(plan: StorePlan) -> Self {
        Self { plan, catalog: None, settled: BTreeSet::new() }
    }

    fn open(&mut self, found: &Found) -> anyhow::Result<&mut Catalog> {
        if self.catalog.is_none() {
            let catalog = Catalog::open(Arc::new(RealDisk), &self.plan.data, self.plan.catalog.clone())?;
            (self.catalog, self.settled) = (Some(catalog), BTreeSet::new());
        }
        let catalog = self.catalog.as_mut().context("the catalog is open")?;
        if self.settled.insert(found.instrument.to_string()) {
            store::settle(catalog, &Topic::new(Kind::Trade, &found.instrument))?;
        }
        Ok(catalog)
    }
}

impl Bulk for Store {
    fn take(&mut self, mut about: About<'_>, report: &mut FileReport) -> anyhow::Result<Result<(), String>> {
        let (signer, seal_after) = (self.plan.signer.clone(), self.plan.pace.seal_after);
        let catalog = self.open(about.found)?;
        let (topic, table) = match place(catalog, &about)? {
            Ok(place) => place,
            Err(why) => return Ok(Err(why)),
        };
        if about.tape.iter().any(|t| t.topic == topic && t.within) {
            let why = "the tape holds other rows of that day, none of the file's, and no gap that speaks of them";
            return Ok(Err(why.to_owned()));
        }
        report.topic = topic.to_string();
        report.bars = table == Table::BarUpdate;
        let done = take(catalog, &mut about, (&topic, table), report);
        let until = names::day_of(about.now - seal_after);
        match done.and_then(|()| Ok(store::certify(catalog, signer.as_ref(), &topic, until)?)) {
            Ok(_) => Ok(Ok(())),
            Err(error) => {
                // What is on the disk decides.
                self.catalog = None;
                Err(error)
            }
        }
    }
}

/// Where the rows belong: their topic and table. `Err`: nowhere, because of this.
fn place(catalog: &Catalog, about: &About<'_>) -> anyhow::Result<Result<(Topic, Table), String>> {
    let found = about.found;
    let trade = Topic::new(Kind::Trade, &found.instrument);
    let on_tape = about.tape.iter().find(|t| t.topic == trade);
    let single = || match on_tape {
        Some(tape) => Ok(tape.single),
        None => singles(catalog, &trade),
    };
    Ok(match found.named.data {
        _ if found.market.by() != By::Number => Ok((trade, Table::Trade)),
        Data::Klines(period) => Ok((Topic::new(Kind::Bar(period), &found.instrument), Table::BarUpdate)),
        Data::Trades if single()? => Ok((trade, Table::Trade)),
        Data::Trades => Ok((Topic::new(Kind::TradeRaw, &found.instrument), Table::TradeRaw)),
        Data::AggTrades if single()? => Err(format!("{trade} holds single matches: import the files of trades")),
        Data::AggTrades => Ok((trade, Table::Trade)),
    })
}

/// Whether the topic's stored rows are single matches, by the newest of them.
fn singles(catalog: &Catalog, topic: &Topic) -> Result<bool, StoreError> {
    let of = |p: &&wholetape_store::manifest::Part| p.topic == topic.as_str() && p.table == Table::Trade.as_str();
    let Some(ids) = catalog.state().parts.values().filter(of).max_by_key(|p| p.to).and_then(|p| p.ids) else {
        return Ok(false);
    };
    let mut stored = Stored::open(catalog, topic, Table::Trade, (ids.1, ids.1))?;
    stored.row(catalog, ids.1)?;
    Ok(stored.rows > 0 && stored.single == stored.rows)
}

/// Compares, and stores what is missing.
fn take(
    catalog: &mut Catalog,
    about: &mut About<'_>,
    (topic, table): (&Topic, Table),
    report: &mut FileReport,
) -> anyhow::Result<()> {
    let (missing, need) = against(catalog, about, topic, table, report)?;
    let held = report.equal + report.different + report.archive_errors;
    report.status = if held > 0 { Status::Compared } else { Status::Imported };
    if missing.is_empty() {
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (give, come) = mpsc::sync_channel(CHUNKS);
        let (found, now, missing) = (about.found, about.now, &missing);
        std::thread::Builder::new().name("archive".into()).spawn_scoped(scope, move || read(found, missing, &give))?;
        let mut rows = Incoming { come, chunk: Vec::new().into_iter(), next: None };
        let failed = |why: String| StoreError::Io { path: found.path.clone(), source: std::io::Error::other(why) };
        while let Some(first) = rows.peek()? {
            let day = names::day_of(first.event.ts_event);
            let mut done = 0;
            let added = store::day(catalog, &Day { topic, table, day }, need, &mut |put| {
                // Ids decide: a row of the day before that comes behind this one's first stands here.
                let row = match rows.peek().map_err(|e| failed(format!("{e:#}")))? {
                    Some(row) if names::day_of(row.event.ts_event) <= day => row,
                    _ => return Ok(false),
                };
                with(&row, now, put)?;
                rows.next = None;
                done += 1;
                if done % LOOK_EVERY == 0 {
                    (about.tell)("storing", report.imported + done);
                    if (about.stop)() {
                        return Err(failed("stopped".into()));
                    }
                }
                Ok(true)
            })?;
            report.imported += added.rows;
            anyhow::ensure!(!(about.stop)(), "stopped");
        }
        let want = missing.count();
        anyhow::ensure!(report.imported == want, "{} changed while it was read", found.name());
        Ok(())
    })
}

/// Every row against what is stored; what is missing, and the digits that it needs.
fn against(
    catalog: &Catalog,
    about: &mut About<'_>,
    topic: &Topic,
    table: Table,
    report: &mut FileReport,
) -> anyhow::Result<(Seqs, Need)> {
    if about.found.market.by() != By::Number {
        return by_name(catalog, about, topic, table, report);
    }
    let (mut missing, mut need) = (Seqs::default(), Need::default());
    let mut stored = Stored::open(catalog, topic, table, about.ends)?;
    let mut n = 0;
    file::each_row(about.found, &mut |row| {
        n += 1;
        if n % LOOK_EVERY == 0 {
            anyhow::ensure!(!(about.stop)(), "stopped");
            (about.tell)("comparing", n);
        }
        match stored.row(catalog, row.key)?.and_then(|record| row_of(&record)) {
            Some(held) => {
                let fields = compare(&row.event, &held.event);
                if fields.is_empty() {
                    report.equal += 1;
                } else {
                    report.differ(Difference { line: row.line, key: row.key.into(), seq: held.seq, fields });
                }
            }
            None => {
                missing.add(row.key, row.key);
                see(&mut need, row, about.now)?;
                anyhow::ensure!(
                    missing.intervals().len() < STRETCHES_MAX,
                    "{} is in too many pieces",
                    about.found.name()
                );
            }
        }
        Ok(())
    })?;
    let span = about.found.named.span;
    let ends = if report.bars {
        (u64::try_from(span.from.0).unwrap_or(0), u64::try_from(span.to.0 - 1).unwrap_or(0))
    } else {
        about.ends
    };
    let mut extra = Seqs::default();
    for key in stored.unasked(catalog, ends)? {
        extra.add(key, key);
    }
    report.lacks(extra.intervals());
    Ok((missing, need))
}

/// As [`against`], where ids are names or nothing: keys are lines.
fn by_name(
    catalog: &Catalog,
    about: &mut About<'_>,
    topic: &Topic,
    table: Table,
    report: &mut FileReport,
) -> anyhow::Result<(Seqs, Need)> {
    let span = about.found.named.span;
    let happened = Happened::open(catalog, topic, table, (span.from, span.to))?;
    let each = |take: named::Take<'_>| happened.each(catalog, &mut |record| take(Slim::held(record)?));
    let missing = named::against(about.found, (happened.rows, &each), report, about.tell, about.stop)?;
    let mut need = Need::default();
    file::each_row(about.found, &mut |row| {
        if missing.has(row.key) {
            see(&mut need, row, about.now)?;
        }
        Ok(())
    })?;
    Ok((missing, need))
}

/// The digits that a row needs.
fn see(need: &mut Need, row: &Row, now: Ts) -> Result<(), StoreError> {
    with(row, now, &mut |row| {
        need.see(row);
        Ok(())
    })
}

/// A row of the archive as the catalog takes it.
fn with(row: &Row, now: Ts, take: &mut dyn FnMut(&TapeRow<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let body = match row.event.body {
        Body::Trade(trade) => Body::Trade(trade),
        Body::Bar(bar) => Body::Bar(bar),
        _ => return Ok(()),
    };
    let (ts_event, scales, flags) = (row.event.ts_event, row.event.scales, flags(&body));
    take(&TapeRow { ts_event, ts_recv: now, conn: 0, frame: 0, flags, scales, body })
}

type Chunk = anyhow::Result<Vec<Row>>;

/// Reads the file and gives on what is missing. Ends when nobody takes it any more.
fn read(found: &Found, missing: &Seqs, give: &mpsc::SyncSender<Chunk>) {
    let mut chunk = Vec::with_capacity(CHUNK);
    let done = file::each_row(found, &mut |row| {
        if missing.has(row.key) {
            chunk.push(*row);
            if chunk.len() == CHUNK {
                give.send(Ok(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)))).context("nobody takes it")?;
            }
        }
        Ok(())
    });
    let _ = give.send(done.map(|_| chunk));
}

/// Rows as they come from the reading thread.
struct Incoming {
    come: mpsc::Receiver<Chunk>,
    chunk: std::vec::IntoIter<Row>,
    next: Option<Row>,
}

impl Incoming {
    /// The next row, which stays until `next` is taken. `None`: the file has ended.
    fn peek(&mut self) -> anyhow::Result<Option<Row>> {
        while self.next.is_none() {
            self.next = self.chunk.next();
            if self.next.is_none() {
                let Ok(chunk) = self.come.recv() else { return Ok(None) };
                self.chunk = chunk?.into_iter();
            }
        }
        Ok(self.next)
    }
}
