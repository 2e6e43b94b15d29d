//! Segments whose header a power loss took: records without the list of topics that they speak of.
//!
//! As long as the segment before is there, it tells the topics. Before that one goes, the list must stand with the records
//! themselves: in an index behind them, as a sealed segment has.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Access, Disk};
use crate::format::{self, Entry, TableRow};
use crate::index::TopicIndex;
use crate::lane::LaneShared;
use crate::roll::write_all;
use crate::segment::{Directory, Segment};

/// Whether a segment can be read when those before it are gone.
pub(crate) fn stands_alone(segment: &Segment) -> io::Result<bool> {
    Ok(segment.header()?.is_some() || segment.indexed()?.is_some())
}

/// Writes the index of a segment behind its last good record, which ends at `end`.
///
/// # Errors
/// A full disk, above all; the segment is as it was then.
pub(crate) fn add_index(disk: &dyn Disk, segment: &Segment, directory: &Directory, end: u64) -> io::Result<()> {
    let mut refs: Vec<(Entry, Arc<TopicIndex>)> = Vec::new();
    for entry in &directory.entries {
        if let Some(index) = segment.topic_index(directory, entry.no)? {
            refs.push((*entry, index));
        }
    }
    let mut parts: Vec<_> = refs.iter().map(|(e, ix)| (*e, &**ix)).collect();
    let sealed = segment.sealed.load(Ordering::Acquire);
    let bytes = format::encode_index(&directory.table, &mut parts, end, sealed);
    let file = disk.open(&segment.path, Access::Write)?;
    file.set_len(end)?;
    let written = write_all(disk, &*file, &bytes, end).and_then(|()| disk.sync(&*file));
    if let Err(e) = written {
        let _ = file.set_len(end);
        return Err(e);
    }
    segment.bytes.store(end + bytes.len() as u64, Ordering::Release);
    segment.cool();
    Ok(())
}

impl LaneShared {
    /// Each topic's last seq before `segment`, by its number.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn before(&self, segment: &Segment) -> io::Result<HashMap<u32, u64>> {
        if let Some(header) = segment.header()? {
            return Ok(header.table.iter().map(|r| (r.no, r.last_seq)).collect());
        }
        let directory = self.directory(segment)?;
        let start = |r: &TableRow| directory.entry(r.no).map_or(r.last_seq, |e| e.start);
        Ok(directory.table.iter().map(|r| (r.no, start(r))).collect())
    }

    /// The segment behind `segment`, where it can be read only as long as that one is there. It is given an index first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn dependant(&self, disk: &dyn Disk, segment: &Segment) -> io::Result<Option<Arc<Segment>>> {
        let list = crate::read(&self.segments).clone();
        let Some(next) = list.into_iter().find(|s| s.number > segment.number).filter(|s| s.is_sealed()) else {
            return Ok(None);
        };
        if stands_alone(&next)? {
            return Ok(None);
        }
        let scan = next.scan(|| self.table_before(&next))?;
        let (end, directory) = (scan.end, Directory::of_scan(scan));
        Ok(add_index(disk, &next, &directory, end).is_err().then_some(next))
    }
}
