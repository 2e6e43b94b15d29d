//! Files of older layouts become files of the newest: `wholetape catalog migrate`.
//!
//! Nothing has to be migrated to be read, and a day that is compacted, sealed or healed late is written in the newest layout anyway.
//! This does the rest: one commit for each topic, table and day, of the sort that compaction makes (`compact.rs`: write new, read
//! back, change places), so a crash costs one day's work, and what was done is not done again. The manifest says which version each
//! file has; rows, and so the hashes of certificates, stay. The days' certificates list files: they get another revision.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::StoreError;
use crate::catalog::Catalog;
use crate::cert::issue;
use crate::cert::sign::Signer;
use crate::columns::Dialect;
use crate::compact;
use crate::manifest::{FileRef, Part, Role, State, subject};
use crate::names;
use crate::table::Table;

/// A file of an older layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Older {
    /// Below the data directory.
    pub path: String,
    pub format: u32,
    pub newest: u32,
}

/// A topic, table and day with files of an older layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    pub topic: String,
    pub table: String,
    pub day: String,
    #[serde(skip)]
    at: i64,
    pub rows: u64,
    /// Of all its files: what is written anew.
    pub bytes: u64,
    pub older: Vec<Older>,
}

/// The version that a file has and the one that would be written today, where they differ.
#[must_use]
pub fn older(file: &FileRef) -> Option<Older> {
    let newest = names::table_of(&file.path)?.0.format();
    (file.format < newest).then(|| Older { path: file.path.clone(), format: file.format, newest })
}

/// Everything that is of an older layout.
#[must_use]
pub fn due(state: &State) -> Vec<Due> {
    let mut days: BTreeMap<(&str, &str, i64), Due> = BTreeMap::new();
    for part in state.parts.values() {
        let due = days.entry((&part.topic, &part.table, part.day)).or_insert_with(|| Due {
            topic: part.topic.clone(),
            table: part.table.clone(),
            day: names::day_name(part.day),
            at: part.day,
            rows: 0,
            bytes: 0,
            older: Vec::new(),
        });
        due.rows += part.rows;
        due.bytes += part.files.iter().map(|f| f.bytes).sum::<u64>();
        due.older.extend(part.files.iter().filter_map(older));
    }
    days.into_values().filter(|due| !due.older.is_empty()).collect()
}

/// Writes everything that is due in the newest layout, and issues the certificates of days before `until` that are due then. Returns what
/// was written anew, and how many certificates there are more.
///
/// # Errors
/// A file that is damaged or not there, before anything is taken away; a certificate that cannot be read, or is signed where this one
/// would not be, or a dialect that this catalog is not told to write, before anything is done; a full disk.
pub fn all(
    catalog: &mut Catalog,
    signer: Option<&Signer>,
    until: i64,
    tell: &mut dyn FnMut(&Due),
) -> Result<(Vec<Due>, u64), StoreError> {
    let all = due(catalog.state());
    for due in &all {
        let of = |p: &&Part| p.table == due.table;
        let mut files = catalog.state().parts.of_day(&due.topic, due.at).filter(of).flat_map(|p| &p.files);
        if let Some(file) = files.find(|f| matches!(f.role, Role::V1 | Role::ViewV1) && !catalog.has(Dialect::V1)) {
            return Err(StoreError::NoDialect(catalog.data().join(&file.path)));
        }
        let Some(issued) = catalog.state().issued.get(subject(&due.topic)).and_then(|d| d.get(&due.at)) else {
            continue;
        };
        if issue::load(catalog, issued)?.signer.is_some() && signer.is_none() {
            let why =
                format!("the certificate of {} {} is signed: its next revision needs one", issued.subject, due.day);
            return Err(StoreError::Key(why));
        }
    }
    for due in &all {
        tell(due);
        let table = Table::parse(&due.table).ok_or_else(|| StoreError::Column {
            table: "?",
            column: due.table.clone(),
            what: "no table of this build",
        })?;
        compact::anew(catalog, &due.topic, table, due.at)?;
    }
    let mut looked = issue::Looked::default();
    let issued = issue::all(catalog, signer, &mut looked, until, std::iter::empty());
    match looked.failures.pop() {
        Some((_, why)) => Err(why),
        None => Ok((all, issued)),
    }
}
