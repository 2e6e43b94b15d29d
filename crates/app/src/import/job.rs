//! An order of `heal import`, carried out: the same in a running process and alone under the lock.
//!
//! Each file is read twice: once to know that it is whole and what is missing (`survey`), once to compare and heal, a chunk at a
//! time. The tape alone is the memory: what was written is believed once it is read there, so a killed import goes on where the
//! tape ends, and a second one finds nothing to do.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wholetape_feed::line::late::Late;
use wholetape_feed::line::ledger::Ledger;
use wholetape_feed::line::trades::GapMark;
use wholetape_model::{Event, GapState, Kind, Topic, Ts};
use wholetape_tape::Tape;
use wholetape_tape::coverage::Coverage;
use wholetape_venue::archive::{Data, Row};

use super::bulk::{About, Bulk, OnTape};
use super::compare::{Difference, compare};
use super::file;
use super::find::{By, Found, Group, Wanted, data_of, find};
use super::gaps::{self, Carry};
use super::held::{Held, HeldRow, Keys};
use super::report::{FileReport, Status, done};
use super::survey::{Survey, survey};
use super::write::{Put, Writer};

/// Rows of the archive that are in memory at a time.
const CHUNK: usize = 8_192;
/// Rows of one batch: what one commit of the line may hold up.
const BATCH: usize = 512;
/// Written rows are read on the tape within this.
const VISIBLE: Duration = Duration::from_secs(20);
const BEHIND_MAX: u32 = 200;

/// What to import.
#[derive(Debug, Clone)]
pub struct Order {
    pub paths: Vec<PathBuf>,
    pub wanted: Wanted,
}

/// Carries out orders. Blocks.
pub struct Job<'a> {
    pub tape: Tape,
    pub writer: Writer,
    pub bulk: Box<dyn Bulk>,
    /// Gets a line of progress now and then.
    pub tell: &'a mut dyn FnMut(Value),
    pub stop: &'a dyn Fn() -> bool,
}

impl Job<'_> {
    /// # Errors
    /// What makes the whole order impossible; files that cannot be used are told in the result.
    pub fn run(&mut self, order: &Order) -> anyhow::Result<Value> {
        let begun = Instant::now();
        let (groups, refused) = find(&order.paths, order.wanted)?;
        anyhow::ensure!(!groups.is_empty() || !refused.is_empty(), "no file of the archive there");
        let mut reports: Vec<FileReport> = refused.iter().map(FileReport::refused).collect();
        let files: usize = groups.iter().map(Vec::len).sum();
        for group in &groups {
            let mut carry = Carry::default();
            for found in group {
                if (self.stop)() {
                    break;
                }
                let mut report = FileReport::of(found);
                let place = (reports.len() - refused.len() + 1, files);
                if let Err(error) = self.file(group, found, &mut carry, &mut report, place) {
                    report.status = if (self.stop)() { Status::Stopped } else { Status::Failed };
                    report.why = format!("{error:#}");
                }
                reports.push(report);
            }
        }
        Ok(done(&reports, begun.elapsed().as_secs_f64(), (self.stop)()))
    }

    pub(super) fn progress(&mut self, found: &Found, stage: &str, rows: u64, of: Option<u64>, place: (usize, usize)) {
        let (name, (file, files)) = (found.name(), place);
        (self.tell)(json!({
            "event": "progress", "stage": stage, "name": name, "rows": rows, "of": of, "file": file, "files": files
        }));
    }

    fn file(
        &mut self,
        group: &Group,
        found: &Found,
        carry: &mut Carry,
        report: &mut FileReport,
        place: (usize, usize),
    ) -> anyhow::Result<()> {
        let stop = self.stop;
        self.progress(found, "reading", 0, None, place);
        report.checksum = file::verify(found, stop)?;
        if found.market.by() != By::Number {
            return self.named(found, carry, report, place);
        }
        let (candidates, on_tape) = self.candidates(found, data_of(group))?;
        let mut candidates = candidates.into_iter().peekable();
        let ends = loop {
            let held = candidates.next();
            let surveyed = survey(
                found,
                held.as_ref(),
                &mut |rows| {
                    let name = found.name();
                    (self.tell)(json!({
                        "event": "progress", "stage": "reading", "name": name, "rows": rows, "of": null,
                        "file": place.0, "files": place.1
                    }));
                },
                stop,
            )?;
            (report.rows, report.unit, report.header) =
                (surveyed.shape.rows, surveyed.shape.unit, surveyed.shape.header);
            match held.filter(|held| concerns(held, found, &surveyed)) {
                Some(held) => return self.heal(found, held, &surveyed, carry, report, place),
                None if candidates.peek().is_some() => {}
                None => break surveyed.ends,
            }
        };
        let Some(ends) = ends else {
            report.why = "the file has no rows".into();
            return Ok(());
        };
        self.bulk(found, ends, &on_tape, report, place)
    }

    /// The tape knows nothing of it.
    pub(super) fn bulk(
        &mut self,
        found: &Found,
        ends: (u64, u64),
        tape: &[OnTape],
        report: &mut FileReport,
        place: (usize, usize),
    ) -> anyhow::Result<()> {
        let (stop, of) = (self.stop, report.rows);
        let mut tell = |stage: &str, rows: u64| {
            let (name, (file, files)) = (found.name(), place);
            (self.tell)(json!({
                "event": "progress", "stage": stage, "name": name, "rows": rows, "of": of, "file": file, "files": files
            }));
        };
        let now = wholetape_feed::clock::wall();
        let about = About { found, ends, tape, now, tell: &mut tell, stop };
        if let Err(why) = self.bulk.take(about, report)? {
            (report.status, report.why) = (Status::NotHeld, why);
        }
        Ok(())
    }

    /// Topics whose ids may be the file's, with what is held of them; and what the tape has of all that it may be about.
    fn candidates(&self, found: &Found, data: Option<Data>) -> anyhow::Result<(Vec<Held>, Vec<OnTape>)> {
        let span = found.named.span;
        let (kinds, keys): (Vec<Kind>, _) = match data {
            Some(Data::AggTrades) => (vec![Kind::Trade], Keys::Ids),
            Some(Data::Trades) => (vec![Kind::TradeRaw, Kind::Trade], Keys::Ids),
            Some(Data::Klines(period)) => (vec![Kind::Bar(period)], Keys::Opens),
            None => (Vec::new(), Keys::Ids),
        };
        let (mut all, mut on_tape) = (Vec::new(), Vec::new());
        for kind in kinds {
            let topic = Topic::new(kind, &found.instrument);
            if self.tape.head(&topic).is_some_and(|head| head > 0) {
                let held = Held::scan(&self.tape, &topic, span, keys, self.stop)?;
                anyhow::ensure!(
                    !held.loose,
                    "the ids of {topic} do not count its trades: no file is held against them by id"
                );
                let single = held.rows > 0 && held.aggregated == 0;
                on_tape.push(OnTape { topic, within: held.within > 0, single });
                // Single matches fill `trade` where that is the line's choice; then no row there covers others.
                if data != Some(Data::Trades) || kind != Kind::Trade || held.aggregated == 0 {
                    all.push(held);
                }
            }
        }
        Ok((all, on_tape))
    }

    fn heal(
        &mut self,
        found: &Found,
        mut held: Held,
        survey: &Survey,
        carry: &mut Carry,
        report: &mut FileReport,
        place: (usize, usize),
    ) -> anyhow::Result<()> {
        let bars = matches!(found.named.data, Data::Klines(_));
        report.topic = held.topic().to_string();
        report.bars = bars;
        report.lacks(&survey.extra);
        let (first, last) = survey.ends.unwrap_or((1, 0));
        // A verdict is about all of a gap, also what was held before this day.
        let earliest = gaps::named_within(&held, first, last).map(|g| g.from_ts).filter(|ts| *ts > Ts::ZERO).min();
        if let Some(from) = earliest {
            held.rescan(from, self.stop)?;
        }
        let heal = self.what_to_heal(&held, survey)?;
        let opens = if bars {
            Vec::new()
        } else {
            gaps::opens(&held, &survey.missing, &heal, found.name(), wholetape_feed::clock::wall())
        };
        for mark in &opens {
            report.count_mark(mark.state);
        }
        let mut pass = Pass { found, held, heal, opens, late: Vec::new(), report };
        let mut chunk: Vec<Row> = Vec::with_capacity(CHUNK);
        let (stop, of) = (self.stop, survey.shape.rows);
        let mut rows = 0;
        let shape = file::each_row(found, &mut |row| {
            chunk.push(*row);
            if chunk.len() == CHUNK {
                rows += chunk.len() as u64;
                pass.chunk(&mut chunk, &mut self.writer)?;
                (self.tell)(json!({
                    "event": "progress", "stage": "comparing", "name": found.name(), "rows": rows, "of": of,
                    "healed": pass.report.healed, "file": place.0, "files": place.1
                }));
                anyhow::ensure!(!stop(), "stopped");
            }
            Ok(())
        })?;
        pass.chunk(&mut chunk, &mut self.writer)?;
        pass.flush(&mut self.writer)?;
        anyhow::ensure!(shape == survey.shape, "{} changed while it was read", found.name());
        let Pass { mut held, report, .. } = pass;
        let whole = report.not_compared == 0;
        carry.add(found.name(), found.named.span, survey, &held, whole, bars);
        self.settle(found, &mut held, carry, report)
    }

    /// Writes the verdicts that are due.
    pub(super) fn settle(
        &mut self,
        found: &Found,
        held: &mut Held,
        carry: &Carry,
        report: &mut FileReport,
    ) -> anyhow::Result<()> {
        let verdicts = gaps::verdicts(held, carry);
        for mark in &verdicts {
            report.count_mark(mark.state);
        }
        if !verdicts.is_empty() {
            put(&mut self.writer, found, held, Vec::new(), Vec::new(), verdicts)?;
        }
        Ok(())
    }

    /// The keys that are missing and were never held. Where retention took rows, the coverage ledger knows; where that knows
    /// nothing either, nothing is healed: a row that the catalog has must not come twice.
    fn what_to_heal(&self, held: &Held, survey: &Survey) -> anyhow::Result<Ledger> {
        let missing = survey.missing.iter().map(|s| (s.lo, s.hi));
        if !held.retained || survey.missing.is_empty() {
            return Ok(Ledger::from_runs(missing.collect()));
        }
        let cell = Mutex::new(Coverage::open(&self.tape).coverage);
        Coverage::catch_up(&cell, &self.tape, self.stop)?;
        let coverage = cell.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(ledger) = coverage.topic(held.topic()) else { return Ok(Ledger::default()) };
        let Some((known, _)) = ledger.runs.ends() else { return Ok(Ledger::default()) };
        let floor = if ledger.unknown_to > 0 { known } else { 0 };
        let holes = missing.flat_map(|(lo, hi)| ledger.runs.holes_in(lo.max(floor), hi).collect::<Vec<_>>());
        Ok(Ledger::from_runs(holes.collect()))
    }
}

/// Whether the tape has seen anything of what the file is about.
fn concerns(held: &Held, found: &Found, survey: &Survey) -> bool {
    let Some((first, last)) = survey.ends else { return false };
    if matches!(found.named.data, Data::Klines(_)) {
        return held.rows > 0 || gaps::timed_within(held, found.named.span).next().is_some();
    }
    // The same numbers in another id space: the archive's rows cover several ids, and none of the topic's does.
    let other =
        found.named.data == Data::AggTrades && held.rows > 0 && held.aggregated == 0 && survey.held_aggregated > 0;
    let seen = survey.held > 0
        || !survey.extra.is_empty()
        || gaps::named_within(held, first, last).next().is_some()
        || gaps::timed_within(held, found.named.span).next().is_some();
    seen && !other
}

/// The second reading of one file.
pub(super) struct Pass<'a> {
    pub found: &'a Found,
    pub held: Held,
    pub heal: Ledger,
    pub opens: Vec<GapMark>,
    pub late: Vec<Event>,
    pub report: &'a mut FileReport,
}

impl Pass<'_> {
    fn chunk(&mut self, chunk: &mut Vec<Row>, writer: &mut Writer) -> anyhow::Result<()> {
        let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return Ok(()) };
        let rows = self.held.rows(first.key, last.key)?;
        for row in chunk.drain(..) {
            let found = rows.binary_search_by_key(&row.key, |held| held.key).ok().map(|at| rows[at]);
            let held = match found {
                // It may have come by another way since the chunk was looked up.
                None if self.held.has(row.key) => self.held.rows(row.key, row.key)?.first().copied(),
                found => found,
            };
            match held {
                Some(held) => self.compare(&row, &held),
                None if self.heal.holds(row.key) && !self.held.has(row.key) => self.add(row.event, writer)?,
                None => self.report.not_compared += 1,
            }
        }
        Ok(())
    }

    fn compare(&mut self, row: &Row, held: &HeldRow) {
        let fields = compare(&row.event, &held.event);
        if fields.is_empty() {
            self.report.equal += 1;
        } else {
            self.report.differ(Difference { line: row.line, key: row.key.into(), seq: held.seq, fields });
        }
    }

    /// A row that is missing.
    pub fn add(&mut self, event: Event, writer: &mut Writer) -> anyhow::Result<()> {
        self.late.push(event);
        if self.late.len() >= BATCH { self.flush(writer) } else { Ok(()) }
    }

    pub fn flush(&mut self, writer: &mut Writer) -> anyhow::Result<()> {
        if self.late.is_empty() {
            return Ok(());
        }
        let (opens, rows) = (std::mem::take(&mut self.opens), std::mem::take(&mut self.late));
        let n = rows.len() as u64;
        let written = put(writer, self.found, &mut self.held, opens, rows, Vec::new())?;
        self.report.healed += written;
        self.report.came += n - written;
        Ok(())
    }
}

/// Writes a batch and waits until the tape shows it. Returns how many of its rows were handed over: the others had come by another
/// way.
fn put(
    writer: &mut Writer,
    found: &Found,
    held: &mut Held,
    opens: Vec<GapMark>,
    rows: Vec<Event>,
    verdicts: Vec<GapMark>,
) -> anyhow::Result<u64> {
    let mut late = Late { topic: held.topic().clone(), seen: held.seen(), opens, rows, verdicts };
    let mut tries = 0;
    while writer.put(&found.instrument, &late)? == Put::Behind {
        tries += 1;
        anyhow::ensure!(tries < BEHIND_MAX, "{} moves on faster than it can be read", late.topic);
        held.catch_up()?;
        late.seen = held.seen();
        late.rows.retain(|event| !held.holds(&event.body));
        late.verdicts.retain(|mark| held.gaps.get(&mark.gap).is_none_or(|now| !is_settled(now)));
    }
    let began = Instant::now();
    let shown = |held: &Held| {
        late.rows.iter().all(|event| held.holds(&event.body))
            && late.opens.iter().all(|mark| held.gaps.contains_key(&mark.gap))
            && late.verdicts.iter().all(|mark| {
                let now = held.gaps.get(&mark.gap);
                now.is_some_and(|now| is_settled(now) || (now.state, now.missing) == (mark.state, mark.missing))
            })
    };
    loop {
        held.catch_up()?;
        if shown(held) {
            held.forget(&late.rows);
            return Ok(late.rows.len() as u64);
        }
        anyhow::ensure!(began.elapsed() < VISIBLE, "{} does not show what was written", late.topic);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nothing is to be said of it any more.
fn is_settled(gap: &GapMark) -> bool {
    matches!(gap.state, GapState::Healed | GapState::NeverPublished)
}
