//! Several files of a topic, table and day become one; late rows find their places on the way.
//!
//! Write new → read it back: rows, seqs and their canonical hash → change places → the old ones go (`catalog.rs`). Doing it twice
//! gives the same rows. What is written has the newest layout, whatever the old files have. A day that is sealed, or was, is written
//! without the trades that are stored already (`repeats.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use wholetape_model::{Record, Topic, Ts};
use wholetape_tape::Disk;

use crate::StoreError;
use crate::catalog::Catalog;
use crate::cert::figures::{PartFigures, Sum};
use crate::digits;
use crate::manifest::{Change, Part, State};
use crate::merge::Late;
use crate::names;
use crate::part::{Of, PartWriter, Staged};
use crate::repeats;
use crate::rows::Rows;
use crate::scan::{Chain, PartReader};
use crate::seqs::Seqs;
use crate::table::Table;

/// Makes one part of all that is stored of a topic, table and day, and of `late` rows. `seal`: the day is over. Returns how many rows
/// it left out, for their trades are stored by others.
///
/// # Errors
/// A file that is damaged or not there; a full disk; rows that do not add up.
pub fn day(
    catalog: &mut Catalog,
    topic: &str,
    table: Table,
    day: i64,
    late: Rows,
    seal: bool,
) -> Result<u64, StoreError> {
    make(catalog, topic, table, day, late, seal, (false, Change::default()))
}

/// As [`day`], with what else the commit shall say.
pub(crate) fn day_and(
    catalog: &mut Catalog,
    topic: &str,
    table: Table,
    day: i64,
    late: Rows,
    seal: bool,
    change: Change,
) -> Result<u64, StoreError> {
    make(catalog, topic, table, day, late, seal, (false, change))
}

/// Writes a day anew as it is: in the newest layout, with the digits that are pinned now.
///
/// # Errors
/// As [`day`].
pub(crate) fn anew(catalog: &mut Catalog, topic: &str, table: Table, day: i64) -> Result<(), StoreError> {
    let of = |p: &&Part| p.table == table.as_str();
    let sealed = catalog.state().parts.of_day(topic, day).filter(of).all(|p| p.sealed);
    make(catalog, topic, table, day, Rows::default(), sealed, (true, Change::default()))?;
    Ok(())
}

/// As [`day`]; `anyway`: even where it is one part already.
fn make(
    catalog: &mut Catalog,
    topic: &str,
    table: Table,
    day: i64,
    late: Rows,
    seal: bool,
    (anyway, mut change): (bool, Change),
) -> Result<u64, StoreError> {
    let of = |p: &&Part| p.table == table.as_str();
    let mut parts: Vec<Part> = catalog.state().parts.of_day(topic, day).filter(of).cloned().collect();
    parts.sort_unstable_by_key(|p| p.from);
    if !anyway && late.is_empty() && (parts.is_empty() || parts.len() == 1 && parts[0].sealed == seal) {
        return Ok(0);
    }
    let whole = (names::day_start(day), Ts(names::day_start(day + 1).0 - 1));
    let name = if seal { whole } else { (whole.0, Ts(parts.iter().map(|p| p.to).max().unwrap_or(whole.1.0))) };
    let topic_ = Topic::parse(topic).map_err(|_| StoreError::Column {
        table: table.as_str(),
        column: topic.into(),
        what: "no topic",
    })?;
    let digits = catalog.state().digits.get(digits::key(&topic_)).copied().unwrap_or((0, 0));
    let told = told(&*catalog.disk, catalog.data(), catalog.state(), topic, table, whole.0)?;
    let (n, number) = (catalog.next_staged(), catalog.manifest.next_part());
    let mut expected = late.seqs();
    let mut rows_expected = late.len() as u64;
    for part in &parts {
        expected.add_all(&part.seqs);
        rows_expected += part.rows;
    }
    let repeats = if seal { repeats(catalog, (topic, table, day), &parts, &late)? } else { Seqs::default() };
    if !repeats.is_empty() {
        // Stored once: the tape is not asked for them again.
        change.retired.entry(topic.to_owned()).or_default().add_all(&repeats);
    }
    let of = Of { topic: topic_, table, day, name, sealed: seal };
    let mut writer = PartWriter::new(catalog.target(), of, digits, told, n);
    let mut merge = Late::new(table, late, name)?;
    let mut sum = Sum::new(table);
    let mut out = |ts: Ts, record: Record<'_>| -> Result<(), StoreError> {
        if repeats.has(record.seq()) {
            return Ok(());
        }
        sum.row(ts, &record)?;
        writer.push(ts, record)
    };
    let (mut chain, mut rows) = (Chain::new(&*catalog.disk, catalog.data(), parts.iter().collect()), Rows::default());
    while chain.next(&mut rows)? {
        for (ts, record) in rows.iter() {
            merge.before(ts, record, &mut out)?;
        }
    }
    merge.rest(&mut out)?;
    let staged: Vec<Staged> = writer.finish(number)?.into_iter().collect();
    for one in &staged {
        check(catalog, one, (&expected, rows_expected), &repeats, &sum.hex())?;
    }
    let is_lacking = staged.is_empty() && rows_expected > repeats.count();
    if !is_lacking {
        catalog.replace(staged, parts.iter().map(|p| p.part).collect(), change)?;
    }
    Ok(repeats.count())
}

/// Rows of a day whose trades are stored by others; the rest of what was given its own place on the tape.
fn repeats(
    catalog: &Catalog,
    (topic, table, day): (&str, Table, i64),
    parts: &[Part],
    late: &Rows,
) -> Result<Seqs, StoreError> {
    let mut is_named = parts.iter().any(repeats::may_have);
    if matches!(table, Table::Trade | Table::TradeRaw) {
        for (_, record) in late.iter() {
            is_named |= repeats::named(&record)?.is_some();
        }
    }
    if !is_named {
        return Ok(Seqs::default());
    }
    let earlier = |p: &&Part| p.table == table.as_str() && p.day < day;
    let earlier = catalog.state().parts.of_topic(topic).filter(earlier).collect();
    let (disk, data, parts) = (&*catalog.disk, catalog.data(), parts.iter().collect());
    repeats::Among { disk, data, day, parts, late, earlier }.repeats()
}

/// Makes one part of each topic, table and day that has several, and seals those that are over. Returns how many it made.
///
/// # Errors
/// As [`day`].
pub fn all(catalog: &mut Catalog, today: i64, tell: &mut dyn FnMut(&str, Table, i64)) -> Result<u64, StoreError> {
    let mut days: BTreeMap<(String, String, i64), (usize, bool)> = BTreeMap::new();
    for part in catalog.state().parts.values() {
        let entry = days.entry((part.topic.clone(), part.table.clone(), part.day)).or_insert((0, true));
        *entry = (entry.0 + 1, entry.1 && part.sealed);
    }
    let mut made = 0;
    for ((topic, table, at), (parts, sealed)) in days {
        let seal = at < today;
        let Some(table) = Table::parse(&table) else { continue };
        if parts > 1 || seal && !sealed {
            tell(&topic, table, at);
            day(catalog, &topic, table, at, Rows::default(), seal || sealed)?;
            made += 1;
        }
    }
    Ok(made)
}

/// Writes the files of what is pinned as `key` anew: a folder has one precision. The manifest knows that it is to be done until it
/// is: a crash in between leaves it to the next start.
///
/// # Errors
/// As [`day`].
pub fn repin(catalog: &mut Catalog, key: &str) -> Result<(), StoreError> {
    let mut days: BTreeSet<(String, String, i64)> = BTreeSet::new();
    for part in catalog.state().parts.values() {
        // Dialect A's reader refuses two precisions; an engine of either, rows with other digits than their instrument's.
        let shows = Table::parse(&part.table).is_some_and(Table::has_digits);
        if shows && Topic::parse(&part.topic).is_ok_and(|t| digits::key(&t) == key) {
            days.insert((part.topic.clone(), part.table.clone(), part.day));
        }
    }
    for (topic, table, day) in days {
        let Some(table) = Table::parse(&table) else { continue };
        anew(catalog, &topic, table, day)?;
    }
    if catalog.state().repin.contains(key) {
        catalog.manifest.commit(Change { repinned: vec![key.to_owned()], ..Change::default() })?;
    }
    Ok(())
}

/// Nothing is taken away before what takes its place was read back: all rows are in it, and they are those that were written.
/// But for `repeats`.
fn check(
    catalog: &Catalog,
    staged: &Staged,
    (seqs, rows): (&Seqs, u64),
    repeats: &Seqs,
    blake3: &str,
) -> Result<(), StoreError> {
    let mut part = staged.part.clone();
    for (file, (at, _)) in part.files.iter_mut().zip(&staged.files) {
        file.path = at.strip_prefix(catalog.data()).unwrap_or(at).to_string_lossy().into_owned();
    }
    let found = PartFigures::read(&*catalog.disk, catalog.data(), &part)?.table;
    let mut found_seqs = found.seqs.clone();
    found_seqs.add_all(repeats);
    if found.rows + repeats.count() == rows && found_seqs == *seqs && found.blake3 == blake3 {
        return Ok(());
    }
    let path = staged.files.first().map_or_else(|| catalog.staging(), |(_, place)| catalog.data().join(place));
    let why = format!("{} rows read back of {rows}, or others than were written; the old files stay", found.rows);
    Err(StoreError::Changed { path, why })
}

/// The definition that was stored last before `ts`: what a view need not tell again. `None` for other tables.
///
/// # Errors
/// As [`PartReader::open`].
pub fn told(
    disk: &dyn Disk,
    data: &Path,
    state: &State,
    topic: &str,
    table: Table,
    ts: Ts,
) -> Result<Option<String>, StoreError> {
    if table != Table::Definition {
        return Ok(None);
    }
    let of = |p: &&Part| p.table == table.as_str() && p.to < ts.0;
    let Some(part) = state.parts.of_topic(topic).filter(of).max_by_key(|p| p.to) else { return Ok(None) };
    let (mut reader, mut rows) = (PartReader::open(disk, data, part)?, Rows::default());
    let mut last = None;
    while reader.next(&mut rows)? {
        last = crate::part::last_saying(&rows)?.or(last);
    }
    Ok(last)
}
