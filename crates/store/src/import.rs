//! Rows of a venue's archive straight into the catalog: days that the tape never saw, and what is missing of days that it let go.
//!
//! Such rows have no seq (0): they are reached by time alone. One day is one commit: a part where there was none, or one part in the
//! place of what is stored. Nothing is remembered beside that; what a crash cuts off is missing, and is found missing again.
//!
//! Invariants: stored rows keep their `ts_init`. A new row stands by its id (what has none: by its time) between them; its `ts_init` is
//! its `ts_event`, moved between those of its neighbours, and one ns behind the row before where it would be the same, so that
//! `(ts_init, seq)` still names each row wherever there is room for that.

mod happened;

use std::collections::VecDeque;

use wholetape_model::record::encode;
use wholetape_model::{Body, Record, Row, RowFlags, Topic, Ts};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::cert::{issue, sign::Signer};
use crate::compact;
use crate::digits::{self, Digits};
use crate::file::Reader;
use crate::manifest::{Change, Part};
use crate::merge::{Place, place};
use crate::names;
use crate::part::{Of, PartWriter, subject};
use crate::repeats;
use crate::rows::Rows;
use crate::scan::{Chain, PartReader};
use crate::table::Table;

pub use crate::repeats::spread;
pub use happened::Happened;

/// Row groups of stored rows that are in memory at a time.
const LOADED_MAX: usize = 3;
/// No bar lasts longer, ns.
const BAR_MAX: i64 = 32 * 86_400_000_000_000;

/// What a row is told apart by: a trade's id, the open time of a closed bar. `None` of a trade whose id is a UUID: see [`Happened`].
#[must_use]
pub fn key(record: &Record<'_>) -> Option<u64> {
    match record.view() {
        Ok(Body::Trade(trade)) => trade.id.number(),
        Ok(Body::Bar(bar)) if bar.closed => u64::try_from(bar.open_ts.0).ok(),
        _ => None,
    }
}

/// One row group that may hold wanted keys.
struct Group {
    part: usize,
    group: usize,
    ends: (u64, u64),
    /// Of each row with a key whether it was asked for; empty until the group was read.
    asked: Vec<bool>,
}

/// The rows of a topic that are stored, by key, a few groups in memory.
pub struct Stored {
    parts: Vec<Part>,
    groups: Vec<Group>,
    /// Group, its rows, and the rows by key.
    loaded: VecDeque<(usize, Rows, Vec<(u64, usize)>)>,
    /// Trades that stand for themselves, and rows in all, as far as they were read: aggregates, or single matches?
    pub single: u64,
    pub rows: u64,
}

impl Stored {
    /// What is stored of a topic's table with keys in `[lo, hi]`.
    ///
    /// # Errors
    /// A file that is damaged or not there; trades whose ids do not count: between two of them nothing is known to be missing,
    /// and they are found by [`Happened`] alone.
    pub fn open(catalog: &Catalog, topic: &Topic, table: Table, (lo, hi): (u64, u64)) -> Result<Self, StoreError> {
        let of = |p: &&Part| p.table == table.as_str();
        if catalog.state().parts.of_topic(topic.as_str()).filter(of).any(repeats::may_have) {
            return Err(StoreError::Loose(topic.clone()));
        }
        // A bar is received when it is over.
        let over = i64::try_from(hi).unwrap_or(i64::MAX).saturating_add(BAR_MAX);
        let may = |p: &&Part| match p.ids {
            Some((first, last)) => first <= hi && last >= lo,
            None => u64::try_from(p.to).is_ok_and(|to| to >= lo) && p.from <= over,
        };
        let mut parts: Vec<Part> =
            catalog.state().parts.of_topic(topic.as_str()).filter(of).filter(may).cloned().collect();
        parts.sort_unstable_by_key(|p| p.from);
        let column = if table == Table::BarUpdate { "open_ts" } else { "trade_id" };
        let mut groups = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let reader = PartReader::open(&*catalog.disk, catalog.data(), part)?;
            for group in 0..reader.groups() {
                let ends =
                    reader.ends(group, column).map_or((0, u64::MAX), |(a, b)| (a.cast_unsigned(), b.cast_unsigned()));
                if ends.0 <= hi && ends.1 >= lo {
                    groups.push(Group { part: at, group, ends, asked: Vec::new() });
                }
            }
        }
        Ok(Self { parts, groups, loaded: VecDeque::new(), single: 0, rows: 0 })
    }

    /// Whether nothing is stored that could have such a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The row with this key.
    ///
    /// # Errors
    /// As [`Stored::open`].
    pub fn row(&mut self, catalog: &Catalog, key: u64) -> Result<Option<Record<'_>>, StoreError> {
        let may: Vec<usize> = (0..self.groups.len())
            .filter(|at| (self.groups[*at].ends.0..=self.groups[*at].ends.1).contains(&key))
            .collect();
        for group in may {
            let at = self.load(catalog, group)?;
            let keys = &self.loaded[at].2;
            if let Ok(found) = keys.binary_search_by_key(&key, |k| k.0) {
                self.groups[group].asked[found] = true;
                let row = keys[found].1;
                return Ok(Some(self.loaded[at].1.get(row).1));
            }
        }
        Ok(None)
    }

    /// Keys in `[lo, hi]` that nobody asked for, in no order.
    ///
    /// # Errors
    /// As [`Stored::open`].
    pub fn unasked(&mut self, catalog: &Catalog, (lo, hi): (u64, u64)) -> Result<Vec<u64>, StoreError> {
        let mut all = Vec::new();
        for group in 0..self.groups.len() {
            if !self.groups[group].asked.is_empty() && self.groups[group].asked.iter().all(|a| *a) {
                continue;
            }
            let at = self.load(catalog, group)?;
            let keys = self.loaded[at].2.iter().zip(&self.groups[group].asked);
            all.extend(keys.filter(|((key, _), asked)| !**asked && (lo..=hi).contains(key)).map(|(k, _)| k.0));
        }
        Ok(all)
    }

    /// Where a group's rows are among the loaded ones.
    fn load(&mut self, catalog: &Catalog, group: usize) -> Result<usize, StoreError> {
        if let Some(at) = self.loaded.iter().position(|l| l.0 == group) {
            return Ok(at);
        }
        let it = &mut self.groups[group];
        let reader = PartReader::open(&*catalog.disk, catalog.data(), &self.parts[it.part])?;
        let mut rows = if self.loaded.len() >= LOADED_MAX { self.loaded.pop_front().map(|l| l.1) } else { None }
            .unwrap_or_default();
        reader.group(it.group, &mut rows)?;
        let mut keys: Vec<(u64, usize)> =
            rows.iter().enumerate().filter_map(|(i, (_, r))| Some((key(&r)?, i))).collect();
        keys.sort_unstable();
        if it.asked.is_empty() {
            it.asked = vec![false; keys.len()];
            self.rows += keys.len() as u64;
            let single =
                |r: &Record<'_>| matches!(r.view(), Ok(Body::Trade(t)) if t.id == t.first_id && t.id == t.last_id);
            self.single += rows.iter().filter(|(_, r)| single(r)).count() as u64;
        }
        self.loaded.push_back((group, rows, keys));
        Ok(self.loaded.len() - 1)
    }
}

/// The digits that an instrument's rows need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Need(Digits);

impl Need {
    pub fn see(&mut self, row: &Row<'_>) {
        digits::needed(&mut self.0, row.scales, &row.body);
    }
}

/// What became of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    pub rows: u64,
    /// Rows were stored of it before.
    pub revised: bool,
}

/// A topic's table on one day.
#[derive(Debug, Clone)]
pub struct Day<'a> {
    pub topic: &'a Topic,
    pub table: Table,
    pub day: i64,
}

/// Hands over the next row.
pub type Next<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>) -> Result<bool, StoreError>;

/// Stores rows of one day, in one commit. `rows` hands over one row at a time, in the order of their keys, and says false at the end;
/// none of them is stored yet, and their times are of that day. They get no seq and the flag `LATE_ARCHIVE`.
///
/// # Errors
/// A day that is not sealed; what `rows` fails with; a full disk. Nothing of the day holds then.
pub fn day(catalog: &mut Catalog, of: &Day<'_>, need: Need, rows: Next<'_>) -> Result<Added, StoreError> {
    let is = |p: &&Part| p.table == of.table.as_str();
    let mut old: Vec<Part> = catalog.state().parts.of_day(of.topic.as_str(), of.day).filter(is).cloned().collect();
    old.sort_unstable_by_key(|p| p.from);
    if let Some(open) = old.iter().find(|p| !p.sealed) {
        let path = catalog.data().join(open.files.first().map_or("", |f| f.path.as_str()));
        let why = "its day is not sealed: let `wholetape run` or `wholetape catalog compact` end it first".to_owned();
        return Err(StoreError::Changed { path, why });
    }
    let pin = digits::key(of.topic).to_owned();
    let before = catalog.state().digits.get(&pin).copied();
    let (had, need) = (before.unwrap_or_default(), need.0);
    let digits = (had.0.max(need.0), had.1.max(need.1));
    let mut change = Change::default();
    if Some(digits) != before {
        change.digits.insert(pin.clone(), digits);
        change.repin.extend(before.map(|_| pin.clone()));
    }
    let name = (names::day_start(of.day), Ts(names::day_start(of.day + 1).0 - 1));
    let (n, number) = (catalog.next_staged(), catalog.manifest.next_part());
    let part = Of { topic: of.topic.clone(), table: of.table, day: of.day, name, sealed: true };
    let mut merge = Merge {
        table: of.table,
        old: Chain::new(&*catalog.disk, catalog.data(), old.iter().collect()),
        rows: Rows::default(),
        at: 0,
        last: None,
        bounds: name,
        writer: PartWriter::new(catalog.target(), part, digits, None, n),
        bytes: Vec::new(),
        added: 0,
    };
    while rows(&mut |row| merge.put(row))? {}
    while merge.stored()?.is_some() {
        merge.pass()?;
    }
    let (added, writer) = (merge.added, merge.writer);
    let staged = if added == 0 { None } else { writer.finish(number)? };
    let Some(staged) = staged else { return Ok(Added::default()) };
    let expected = old.iter().map(|p| p.rows).sum::<u64>() + added;
    if staged.part.rows != expected {
        let path = catalog.staging();
        let why = format!("{} rows were written of {expected}; what is stored stays", staged.part.rows);
        return Err(StoreError::Changed { path, why });
    }
    if old.is_empty() {
        catalog.add(vec![staged], change)?;
    } else {
        catalog.replace(vec![staged], old.iter().map(|p| p.part).collect(), change)?;
    }
    if before.is_some_and(|before| before != digits) {
        compact::repin(catalog, &pin)?;
    }
    Ok(Added { rows: added, revised: !old.is_empty() })
}

/// Writes files anew whose digits are not those pinned for what `topic` is about: a crash came between the pin and them.
///
/// # Errors
/// A file that is damaged or not there; a full disk.
pub fn settle(catalog: &mut Catalog, topic: &Topic) -> Result<(), StoreError> {
    let key = digits::key(topic);
    let Some(pin) = catalog.state().digits.get(key).copied() else { return Ok(()) };
    let shows = |p: &&Part| {
        let topic = Topic::parse(&p.topic);
        topic.is_ok_and(|t| digits::key(&t) == key) && Table::parse(&p.table).is_some_and(Table::has_digits)
    };
    for file in catalog.state().parts.values().filter(shows).flat_map(|p| &p.files) {
        let reader = Reader::open(&*catalog.disk, &catalog.data().join(&file.path))?;
        let said = |name: &str| reader.schema().metadata().get(name).and_then(|n| n.parse::<u8>().ok());
        let as_pinned = |name, pin| said(name).is_none_or(|n| n == pin);
        if !as_pinned("price_precision", pin.0) || !as_pinned("size_precision", pin.1) {
            return compact::repin(catalog, key);
        }
    }
    Ok(())
}

/// Issues the certificates that are due of what `topic` is about.
///
/// # Errors
/// As [`issue::issue`].
pub fn certify(catalog: &mut Catalog, signer: Option<&Signer>, topic: &Topic, until: i64) -> Result<u64, StoreError> {
    issue::sweep(catalog)?;
    let mut n = 0;
    for (about, day) in issue::due(catalog.state(), until) {
        if about == subject(topic) {
            n += issue::issue(catalog, signer, &about, day)?;
        }
    }
    Ok(n)
}

/// Stored rows and new ones becoming one part.
struct Merge<'a> {
    table: Table,
    old: Chain<'a>,
    rows: Rows,
    at: usize,
    /// `(ts_init, seq)` of the row that was written last.
    last: Option<(Ts, u64)>,
    bounds: (Ts, Ts),
    writer: PartWriter<'a>,
    bytes: Vec<u8>,
    added: u64,
}

impl Merge<'_> {
    /// `ts_init` and place of the next stored row.
    fn stored(&mut self) -> Result<Option<(Ts, Place)>, StoreError> {
        while self.at == self.rows.len() {
            self.at = 0;
            if !self.old.next(&mut self.rows)? {
                return Ok(None);
            }
        }
        let (ts, record) = self.rows.get(self.at);
        Ok(Some(match place(self.table, &record)? {
            Place::Time(_) => (ts, Place::Time(ts.0)),
            id @ Place::Id(_) => (ts, id),
        }))
    }

    /// Writes the next stored row.
    fn pass(&mut self) -> Result<(), StoreError> {
        let (ts, record) = self.rows.get(self.at);
        self.last = Some((ts, record.seq()));
        self.at += 1;
        self.writer.push(ts, record)
    }

    /// Writes a new row, and before it the stored ones that it follows.
    fn put(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let row = Row { flags: row.flags.with(RowFlags::LATE_ARCHIVE), ..*row };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        encode(&row, 0, 0, 1, &mut bytes);
        let record = Record::parse(&bytes, false)?;
        let own = place(self.table, &record)?;
        let ceiling = loop {
            let Some((ts, next)) = self.stored()? else { break self.bounds.1 };
            // Without a seq it cannot stand between rows of one time that have some.
            let within = self.last.is_some_and(|(last, seq)| last == ts && seq > 0);
            let follows = match own {
                Place::Time(_) => next <= own,
                Place::Id(_) => next < own,
            };
            if !within && !follows {
                break ts;
            }
            self.pass()?;
        };
        let floor = match self.last {
            None => self.bounds.0,
            Some((last, 0)) if last >= ceiling => last,
            Some((last, _)) => Ts(last.0 + 1),
        };
        let ts = row.ts_event.min(ceiling).max(floor);
        self.last = Some((ts, 0));
        self.added += 1;
        self.writer.push(ts, record)?;
        self.bytes = bytes;
        Ok(())
    }
}
