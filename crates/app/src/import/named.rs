//! Files whose rows have no numbers: told by their names, or by what they say.
//!
//! A name shows neither order nor hole, so both sides are read to their ends: rows fall into shares by their names, and one share after
//! the other is in memory and compared ([`Share`]). What is missing is remembered by line, a bit each, and healed in the file's order.
//!
//! Rules
//! - By name (contracts of Bybit): one row a name. A name that the file has twice refuses the file. Where rows are held and the file has the
//!   name of none, nothing is healed: no official page says that its names are the stream's.
//! - By value (spot of Bybit, whose file has no ids of the stream): time in ms, price, size and side; of rows that say the same the counts are
//!   compared, and what the file has more is missing. That is proven only where the file has every row that is held: one that it does
//!   not have may be one of its rows told otherwise, and would come twice. Then nothing is healed.
//!
//! Bounds: [`AT_ONCE`] rows of both sides together, [`Slim`] each (56 MiB), one bit a line, and what both need to be read.

use wholetape_feed::line::ledger::Ledger;
use wholetape_model::{
    Body, Event, Kind, Price, Record, Scales, Side, Size, Topic, Trade, TradeCondition, TradeId, Ts,
};
use wholetape_store::import::spread;
use wholetape_store::seqs::Seqs;

use super::bulk::OnTape;
use super::compare::{Difference, compare};
use super::file;
use super::find::{By, Found};
use super::gaps::{self, Carry, InTime};
use super::held::{Held, Keys};
use super::job::{Job, Pass};
use super::report::{DETAILS_MAX, FileReport, Status};
use super::survey::Stretch;

/// Rows in memory at a time.
const AT_ONCE: u64 = 1 << 20;
/// Rows between two looks at whether to stop.
const LOOK_EVERY: u64 = 65_536;

/// A row of either side, as small as it can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slim {
    id: TradeId,
    ts: Ts,
    price: i64,
    size: i64,
    /// Its line, or its seq.
    at: u64,
    scales: Scales,
    side: Option<Side>,
    held: bool,
}

const _: () = assert!(size_of::<Slim>() <= 56);

impl Slim {
    fn new(trade: &Trade, scales: Scales, ts: Ts, at: u64, held: bool) -> Self {
        let price = scales.price(trade.price).canonical();
        let size = scales.size(trade.size).canonical();
        let scales = Scales { price: price.scale, size: size.scale };
        Self { id: trade.id, ts, price: price.raw, size: size.raw, at, scales, side: trade.aggressor, held }
    }

    fn of(row: &wholetape_venue::archive::Row) -> Option<Self> {
        let Body::Trade(trade) = row.event.body else { return None };
        Some(Self::new(&trade, row.event.scales, row.event.ts_event, row.line, false))
    }

    /// # Errors
    /// A record that is no trade, or whose id counts.
    pub fn held(record: &Record<'_>) -> anyhow::Result<Self> {
        let Ok(Body::Trade(trade)) = record.view() else { anyhow::bail!("seq {} is no trade", record.seq()) };
        anyhow::ensure!(
            trade.counted(record.flags()).is_none(),
            "what is held of it has ids that count: a file without such is not held against it"
        );
        Ok(Self::new(&trade, record.scales(), record.ts_event(), record.seq(), true))
    }

    fn value(&self) -> (i64, i64, u8, i64, u8, Option<&'static str>) {
        let side = self.side.map(Side::as_str);
        (self.ts.millis(), self.price, self.scales.price, self.size, self.scales.size, side)
    }

    /// In which of so many shares it is: with all that may be the same.
    fn share(&self, by: By, of: u64) -> u64 {
        let one = match by {
            By::Value => TradeId::from(self.ts.millis().cast_unsigned()),
            _ => self.id,
        };
        spread(one) % of
    }

    fn event(&self) -> Event {
        let (price, size, condition) = (Price(self.price), Size(self.size), TradeCondition::Regular);
        let trade = Trade { id: self.id, first_id: 0, last_id: 0, price, size, aggressor: self.side, condition };
        let body = Body::Trade(trade);
        Event { instrument: 0, kind: Kind::Trade, ts_event: self.ts, scales: self.scales, body }
    }
}

/// What is known of rows once both sides of a share are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Same,
    /// The file's row and the one that is held by this name.
    Both(Slim, Slim),
    Missing(Slim),
    /// Held, and not in the file.
    Extra(Slim),
    /// Two rows of the file have one name.
    Twice(Slim, Slim),
}

/// Rows of both sides, in any order.
#[derive(Debug, Default)]
struct Share(Vec<Slim>);

impl Share {
    /// Compares them, and is empty then. A row that is held twice under one name (it came again later) is one.
    fn settle(&mut self, by: By, tell: &mut dyn FnMut(Told) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.0.sort_unstable_by_key(|row| (row.held, row.id, row.at));
        self.0.dedup_by(|later, first| later.held && first.held && later.id == first.id);
        if by == By::Value {
            self.0.sort_unstable_by_key(|row| (row.value(), row.held, row.at));
            for run in self.0.chunk_by(|a, b| a.value() == b.value()) {
                let (file, held) = run.split_at(run.partition_point(|row| !row.held));
                let same = file.len().min(held.len());
                (0..same).try_for_each(|_| tell(Told::Same))?;
                file[same..].iter().try_for_each(|row| tell(Told::Missing(*row)))?;
                held[same..].iter().try_for_each(|row| tell(Told::Extra(*row)))?;
            }
        } else {
            self.0.sort_unstable_by_key(|row| (row.id, row.held, row.at));
            for run in self.0.chunk_by(|a, b| a.id == b.id) {
                match run.split_at(run.partition_point(|row| !row.held)) {
                    ([first, second, ..], _) => tell(Told::Twice(*first, *second))?,
                    ([row], [held, ..]) => tell(Told::Both(*row, *held))?,
                    ([row], []) => tell(Told::Missing(*row))?,
                    ([], held) => held.iter().try_for_each(|row| tell(Told::Extra(*row)))?,
                }
            }
        }
        self.0.clear();
        Ok(())
    }
}

/// Lines, a bit each.
#[derive(Debug, Default)]
struct Lines(Vec<u64>);

impl Lines {
    fn add(&mut self, line: u64) {
        let word = (line / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (line % 64);
    }

    fn seqs(&self) -> Seqs {
        let mut seqs = Seqs::default();
        for (at, word) in self.0.iter().enumerate() {
            for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                seqs.add(at as u64 * 64 + bit, at as u64 * 64 + bit);
            }
        }
        seqs
    }
}

/// Takes one row that is held.
pub type Take<'a> = &'a mut dyn FnMut(Slim) -> anyhow::Result<()>;
/// Hands over every row that is held, each time it is asked.
pub type Each<'a> = &'a dyn Fn(Take<'_>) -> anyhow::Result<()>;

/// Holds a file against what is held of its day, at most so many rows. Returns the lines that are missing and may be healed.
///
/// # Errors
/// As [`file::each_row`]; a name that stands in the file twice; those of `each`; `stop`.
pub fn against(
    found: &Found,
    (rows, each): (u64, Each<'_>),
    report: &mut FileReport,
    tell: &mut dyn FnMut(&str, u64),
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Seqs> {
    let by = found.market.by();
    let shape = file::each_row(found, &mut |_| Ok(()))?;
    (report.rows, report.unit, report.header) = (shape.rows, shape.unit, shape.header);
    let shares = (shape.rows + rows).div_ceil(AT_ONCE).max(1);
    let (mut missing, mut share, mut done) = (Lines::default(), Share::default(), 0);
    for at in 0..shares {
        each(&mut |row| {
            if row.share(by, shares) == at {
                share.0.push(row);
            }
            Ok(())
        })?;
        file::each_row(found, &mut |row| {
            done += 1;
            if done % LOOK_EVERY == 0 {
                anyhow::ensure!(!stop(), "stopped");
                tell("comparing", done / shares);
            }
            share.0.extend(Slim::of(row).filter(|row| row.share(by, shares) == at));
            Ok(())
        })?;
        share.settle(by, &mut |told| {
            match told {
                Told::Same => report.equal += 1,
                Told::Both(row, held) => {
                    let fields = compare(&row.event(), &held.event());
                    if fields.is_empty() {
                        report.equal += 1;
                    } else {
                        report.differ(Difference { line: row.at, key: row.id, seq: held.at, fields });
                    }
                }
                Told::Missing(row) => missing.add(row.at),
                Told::Extra(row) => {
                    report.archive_errors += 1;
                    if report.archive_error_keys.len() < DETAILS_MAX {
                        report.archive_error_keys.push((row.id, row.id));
                    }
                }
                Told::Twice(first, second) => anyhow::bail!(
                    "{}:{}: the trade {} stands on line {} as well",
                    found.name(),
                    second.at,
                    second.id,
                    first.at
                ),
            }
            Ok(())
        })?;
    }
    report.archive_error_keys.sort_unstable();
    let missing = missing.seqs();
    Ok(match by {
        By::Value if report.archive_errors > 0 => let_be(
            report,
            &missing,
            "rows are held that the file does not have, and its rows have no ids: which of the others are held nobody can tell",
        ),
        By::Name if report.archive_errors > 0 && report.equal + report.different == 0 => let_be(
            report,
            &missing,
            "none of the names that are held is in the file: it may name the same trades otherwise",
        ),
        _ => missing,
    })
}

/// What is missing is neither compared nor healed.
fn let_be(report: &mut FileReport, missing: &Seqs, why: &str) -> Seqs {
    report.not_compared = missing.count();
    report.why = why.to_owned();
    Seqs::default()
}

impl Job<'_> {
    /// A file whose rows are told by names or values, against the tape; or, where that knows nothing of its day, to the catalog.
    pub(super) fn named(
        &mut self,
        found: &Found,
        carry: &mut Carry,
        report: &mut FileReport,
        place: (usize, usize),
    ) -> anyhow::Result<()> {
        let (topic, span, stop) = (Topic::new(Kind::Trade, &found.instrument), found.named.span, self.stop);
        let mut on_tape = Vec::new();
        if self.tape.head(&topic).is_some_and(|head| head > 0) {
            let held = Held::scan(&self.tape, &topic, span, Keys::Names, stop)?;
            if held.within > 0 || gaps::timed_within(&held, span).next().is_some() {
                return self.heal_named(found, held, carry, report, place);
            }
            on_tape.push(OnTape { topic, within: false, single: true });
        }
        report.rows = file::each_row(found, &mut |_| Ok(()))?.rows;
        if report.rows == 0 {
            report.why = "the file has no rows".into();
            return Ok(());
        }
        self.bulk(found, (0, 0), &on_tape, report, place)
    }

    fn heal_named(
        &mut self,
        found: &Found,
        held: Held,
        carry: &mut Carry,
        report: &mut FileReport,
        place: (usize, usize),
    ) -> anyhow::Result<()> {
        let (span, stop) = (found.named.span, self.stop);
        (report.topic, report.status) = (held.topic().to_string(), Status::Compared);
        let each = |take: Take<'_>| held.each(stop, &mut |record| take(Slim::held(record)?));
        let mut tell = |stage: &str, rows: u64| self.progress(found, stage, rows, None, place);
        let mut missing = against(found, (held.within, &each), report, &mut tell, stop)?;
        if held.retained && !missing.is_empty() {
            let why = "the tape let go of rows of that day: which of the file's were held nobody can tell";
            missing = let_be(report, &missing, why);
        }
        let opens = opens(found, &held, &missing)?;
        for mark in &opens {
            report.count_mark(mark.state);
        }
        let (by, of) = (found.market.by(), report.rows);
        let mut pass = Pass { found, held, heal: Ledger::default(), opens, late: Vec::new(), report };
        if !missing.is_empty() {
            file::each_row(found, &mut |row| {
                if row.line % LOOK_EVERY == 0 {
                    anyhow::ensure!(!stop(), "stopped");
                    self.progress(found, "healing", row.line, Some(of), place);
                }
                if !missing.has(row.key) {
                    return Ok(());
                }
                if pass.held.holds(&row.event.body) {
                    pass.report.came += 1;
                    return Ok(());
                }
                let grew = by == By::Value && pass.held.grew();
                anyhow::ensure!(!grew, "rows of that day came while it was compared: give the command again");
                pass.add(row.event, &mut self.writer)?;
                anyhow::ensure!(!stop(), "stopped");
                Ok(())
            })?;
        }
        pass.flush(&mut self.writer)?;
        let Pass { mut held, report, .. } = pass;
        let want = missing.count();
        anyhow::ensure!(report.healed + report.came == want, "{} changed while it was read", found.name());
        carry.cover(found.name(), span, report.not_compared == 0);
        if report.archive_errors > 0 {
            carry.doubt(span);
        }
        self.settle(found, &mut held, carry, report)
    }
}

/// Gaps for what is missing and none speaks of.
fn opens(found: &Found, held: &Held, missing: &Seqs) -> anyhow::Result<Vec<wholetape_feed::line::trades::GapMark>> {
    let (mut all, mut run): (_, Option<Stretch>) = (InTime::new(held), None);
    if !missing.is_empty() {
        file::each_row(found, &mut |row| {
            let (line, ts) = (row.key, row.event.ts_event);
            match (&mut run, missing.has(line)) {
                (Some(run), true) => (run.hi, run.to, run.rows) = (line, ts, run.rows + 1),
                (None, true) => run = Some(Stretch { lo: line, hi: line, from: ts, to: ts, rows: 1 }),
                (_, false) => run.take().into_iter().for_each(|run| all.add(run)),
            }
            Ok(())
        })?;
    }
    run.into_iter().for_each(|run| all.add(run));
    Ok(all.opens(held, found.name(), wholetape_feed::clock::wall()))
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
