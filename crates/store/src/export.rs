//! The catalog once more, in a dialect and a folder of the user's choice: whole files, nothing of ours around them.

use std::path::Path;

use wholetape_model::{Topic, Ts};
use wholetape_tape::Disk;

use crate::StoreError;
use crate::catalog::Catalog;
use crate::columns::Dialect;
use crate::compact;
use crate::file::Codec;
use crate::manifest::Part;
use crate::part::{Of, PartWriter, Target};
use crate::rows::Rows;
use crate::scan::PartReader;
use crate::table::Table;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// Writes every part below `data` into `into` as `dialect` has it. Of dialect A only what `NautilusTrader` reads.
///
/// # Errors
/// A catalog that cannot be read; `into` that is not empty or cannot be written.
pub fn export(
    disk: &dyn Disk,
    data: &Path,
    into: &Path,
    dialect: Dialect,
    codec: Codec,
    tell: &mut dyn FnMut(&str, &str),
) -> Result<Exported, StoreError> {
    let state = Catalog::look(disk, data)?;
    if disk.list(into).is_ok_and(|all| !all.is_empty()) {
        return Err(StoreError::Changed {
            path: into.to_owned(),
            why: "the folder is not empty: name one that is".into(),
        });
    }
    let staging = into.join(".part");
    disk.create_dir(&staging).map_err(StoreError::io(&staging))?;
    let mut parts: Vec<&Part> = state.parts.values().collect();
    parts.sort_by(|a, b| (&a.topic, &a.table, a.from).cmp(&(&b.topic, &b.table, b.from)));
    let (mut done, mut rows) = (Exported::default(), Rows::default());
    for (n, part) in parts.into_iter().enumerate() {
        let unknown = |what| StoreError::Column { table: "?", column: part.table.clone(), what };
        let table = Table::parse(&part.table).ok_or_else(|| unknown("no table of this build"))?;
        if dialect == Dialect::V1 && !table.is_nautilus() && !matches!(table, Table::BarUpdate | Table::Definition) {
            continue;
        }
        tell(&part.topic, &part.table);
        let topic = Topic::parse(&part.topic).map_err(|_| unknown("of no topic"))?;
        let name =
            part.files.first().and_then(|f| f.path.rsplit_once('/')).and_then(|(_, name)| crate::names::interval(name));
        let digits = state.digits.get(crate::digits::key(&topic)).copied().unwrap_or((0, 0));
        let told = compact::told(disk, data, &state, &part.topic, table, Ts(part.from))?;
        let of =
            Of { topic, table, day: part.day, name: name.unwrap_or((Ts(part.from), Ts(part.to))), sealed: part.sealed };
        let (v1, v2) = (dialect == Dialect::V1, dialect == Dialect::V2);
        let target = Target { disk, staging: staging.clone(), codec, v2, v1, depth: true };
        let mut writer = PartWriter::new(target, of, digits, told, n as u64);
        let mut reader = PartReader::open(disk, data, part)?;
        while reader.next(&mut rows)? {
            for (ts, record) in rows.iter() {
                writer.push(ts, record)?;
            }
        }
        let Some(staged) = writer.finish(part.part)? else { continue };
        for ((from, place), file) in staged.files.into_iter().zip(&staged.part.files) {
            // Without the catalog's own folder in front.
            let place = into.join(place.split_once('/').map_or(place.as_str(), |(_, rest)| rest));
            if let Some(dir) = place.parent() {
                disk.create_dir(dir).map_err(StoreError::io(dir))?;
            }
            disk.rename(&from, &place).map_err(StoreError::io(&place))?;
            done.files += 1;
            done.rows += file.rows;
            done.bytes += file.bytes;
        }
    }
    disk.remove_dir(&staging).map_err(StoreError::io(&staging))?;
    Ok(done)
}
