//! Catalogs of every version of the layout, kept as they were written: `tests/golden/v<n>`.
//!
//! Each holds both dialects, the manifest and a certificate; `rows.txt`, the hash of each row as the tape had it; `schema.txt`, the
//! layouts that it shows. The first has every table, a later one those whose layout changed. None is ever written anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wholetape_model::{Record, Topic, Ts};
use wholetape_store::canon;
use wholetape_store::catalog::Catalog;
use wholetape_store::cert::Certificate;
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::table::Table;
use wholetape_tape::Disk;

/// The hash of each row, by topic and seq.
pub type Known = BTreeMap<(String, u64), String>;

pub fn dir(version: u32) -> PathBuf {
    // The lab reads them too, from beside this crate.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/golden").join(format!("v{version}"))
}

/// All that are kept, the oldest first.
pub fn versions() -> Vec<u32> {
    (1..).take_while(|n| dir(*n).is_dir()).collect()
}

/// Every file of a data directory, by its path below it.
pub fn files(version: u32) -> Vec<(PathBuf, Vec<u8>)> {
    let root = dir(version);
    let all = ["catalog", "catalog-v1"].into_iter().flat_map(|folder| super::days::files(&root.join(folder)));
    all.map(|path| (path.strip_prefix(&root).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

/// What a row is known by, wherever it is stored.
pub fn sum(table: Table, record: &Record<'_>) -> String {
    let mut bytes = Vec::new();
    canon::row(table, Ts(0), record, &mut bytes).unwrap();
    Certificate::hash(&bytes)[..16].to_owned()
}

/// The rows that went into a golden catalog.
pub fn known(version: u32) -> Known {
    let text = std::fs::read_to_string(dir(version).join("rows.txt")).unwrap();
    let all = text.lines().map(|line| {
        let [topic, seq, hash] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        ((topic.to_owned(), seq.parse().unwrap()), hash.to_owned())
    });
    all.collect()
}

/// The rows that a catalog holds, read back; none twice.
pub fn stored(disk: &dyn Disk, data: &Path) -> Known {
    let (mut all, mut rows) = (Known::new(), Rows::default());
    for part in Catalog::look(disk, data).unwrap().parts.values() {
        assert!(Topic::parse(&part.topic).is_ok(), "{}", part.topic);
        let mut reader = PartReader::open(disk, data, part).unwrap();
        while reader.next(&mut rows).unwrap() {
            for (_, record) in rows.iter() {
                let key = (part.topic.clone(), record.seq());
                assert!(
                    all.insert(key, sum(reader.table(), &record)).is_none(),
                    "{} {} twice",
                    part.topic,
                    record.seq()
                );
            }
        }
    }
    all
}
