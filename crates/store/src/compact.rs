//! Several files of a topic, table and day become one; late rows find their places on the way.
//!
//! Write new → check rows and seqs → change places → the old ones go (`catalog.rs`). Doing it twice gives the same rows.

use wholetape_model::{Record, Topic, Ts};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::{Change, Part};
use crate::merge::Late;
use crate::names;
use crate::part::{Of, PartWriter, subject};
use crate::rows::Rows;
use crate::scan::{Chain, PartReader};
use crate::seqs::Seqs;
use crate::table::Table;

/// Makes one part of all that is stored of a topic, table and day, and of `late` rows. `seal`: the day is over.
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
) -> Result<(), StoreError> {
    let of = |p: &&Part| p.topic == topic && p.table == table.as_str() && p.day == day;
    let mut parts: Vec<Part> = catalog.state().parts.values().filter(of).cloned().collect();
    parts.sort_unstable_by_key(|p| p.from);
    if late.is_empty() && (parts.is_empty() || parts.len() == 1 && parts[0].sealed == seal) {
        return Ok(());
    }
    let whole = (names::day_start(day), Ts(names::day_start(day + 1).0 - 1));
    let name = if seal { whole } else { (whole.0, Ts(parts.iter().map(|p| p.to).max().unwrap_or(whole.1.0))) };
    let topic_ = Topic::parse(topic).map_err(|_| StoreError::Column {
        table: table.as_str(),
        column: topic.into(),
        what: "no topic",
    })?;
    let digits = catalog.state().digits.get(subject(&topic_)).copied().unwrap_or((0, 0));
    let told = told(catalog, topic, table, whole.0)?;
    let (n, number) = (catalog.next_staged(), catalog.manifest.next_part());
    let mut expected = late.seqs();
    let mut rows_expected = late.len() as u64;
    for part in &parts {
        expected.add_all(&part.seqs);
        rows_expected += part.rows;
    }
    let of = Of { topic: topic_, table, day, name, sealed: seal };
    let mut writer = PartWriter::new(catalog, of, digits, told, n);
    let mut merge = Late::new(table, late, name)?;
    let mut out = |ts: Ts, record: Record<'_>| writer.push(ts, record);
    let (mut chain, mut rows) = (Chain::new(&*catalog.disk, catalog.data(), parts.iter().collect()), Rows::default());
    while chain.next(&mut rows)? {
        for (ts, record) in rows.iter() {
            merge.before(ts, record, &mut out)?;
        }
    }
    merge.rest(&mut out)?;
    let Some(staged) = writer.finish(number)? else { return Ok(()) };
    check(catalog, &parts, &staged.part, &expected, rows_expected)?;
    catalog.replace(vec![staged], parts.iter().map(|p| p.part).collect(), Change::default())
}

/// Nothing is taken away before what takes its place was counted.
fn check(catalog: &Catalog, old: &[Part], new: &Part, seqs: &Seqs, rows: u64) -> Result<(), StoreError> {
    if new.rows == rows && new.seqs == *seqs {
        return Ok(());
    }
    let path =
        old.first().and_then(|p| p.files.first()).map_or_else(|| catalog.staging(), |f| catalog.data().join(&f.path));
    let why = format!("compaction made {} rows of {rows}; the old files stay", new.rows);
    Err(StoreError::Changed { path, why })
}

/// The definition that was stored last before `ts`: what a view need not tell again. `None` for other tables.
///
/// # Errors
/// As [`PartReader::open`].
pub fn told(catalog: &Catalog, topic: &str, table: Table, ts: Ts) -> Result<Option<String>, StoreError> {
    if table != Table::Definition {
        return Ok(None);
    }
    let of = |p: &&Part| p.topic == topic && p.table == table.as_str() && p.to < ts.0;
    let Some(part) = catalog.state().parts.values().filter(of).max_by_key(|p| p.to) else { return Ok(None) };
    let (mut reader, mut rows) = (PartReader::open(&*catalog.disk, catalog.data(), part)?, Rows::default());
    let mut last = None;
    while reader.next(&mut rows)? {
        last = crate::part::last_saying(&rows)?.or(last);
    }
    Ok(last)
}
