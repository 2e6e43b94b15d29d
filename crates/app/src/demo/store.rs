//! The demo's catalog: everything that its tape holds, in both dialects, held against the tape at the end.

use std::path::Path;

use anyhow::bail;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::retain::Rules;
use wholetape_store::writer::{self, Pace};
use wholetape_tape::{RealDisk, Tape};

use crate::store::keeper::StorePlan;

pub fn plan(dir: &Path) -> StorePlan {
    let catalog = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
    StorePlan { data: dir.to_owned(), catalog, pace: Pace::default(), signer: None, retention: Rules::default() }
}

/// A line about what is stored.
///
/// # Errors
/// A record of the tape that is in no part.
pub fn stored(dir: &Path) -> anyhow::Result<String> {
    let state = Catalog::look(&RealDisk, dir)?;
    let tape = Tape::open_reader(&dir.join("tape"))?;
    let stored = state.stored();
    let mut records = 0;
    for topic in tape.topics().into_iter().filter(|t| writer::is_stored(t.topic.kind()) && t.head > 0) {
        let seqs = stored.get(topic.topic.as_str()).cloned().unwrap_or_default();
        let upto = seqs.whole_from(topic.oldest.max(1));
        if upto < topic.head {
            bail!("{} is stored up to seq {upto}, and the tape holds {}", topic.topic, topic.head);
        }
        records += seqs.count();
    }
    let files = state.parts.values().map(|p| p.files.len()).sum::<usize>();
    let bytes: u64 = state.parts.values().flat_map(|p| &p.files).map(|f| f.bytes).sum();
    Ok(format!(
        "catalog {records} records in {files} Parquet files ({:.1} MiB), both dialects: {} and {}",
        bytes as f64 / f64::from(1 << 20),
        dir.join(Dialect::V2.root()).display(),
        dir.join(Dialect::V1.root()).display()
    ))
}
