//! Writing at the end of a segment, sealing it, beginning the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Access, Disk, DiskFile};
use crate::error::TapeError;
use crate::format::{self, Entry, Header, TableRow};
use crate::index::TopicIndex;
use crate::lane::{Lane, LaneCore, LaneShared};
use crate::lock;
use crate::segment::{Directory, Segment, path_of};
use crate::tape::Inner;

impl Lane {
    /// Writes the batch at the end of the lane and returns where it begins in its segment.
    pub(crate) fn write_batch(&mut self) -> Result<u64, TapeError> {
        let len = self.core.buf.len() as u64;
        let full = self.core.segment_records > 0 && self.core.offset + len > self.tape.config.segment_bytes;
        if full {
            self.seal()?;
        }
        loop {
            let done = self.begin_segment().and_then(|()| {
                let (file, segment) = self.core.open()?;
                cut_back(&mut self.core, &*file)?;
                self.core.tail_dirty = true;
                write_all(&*self.tape.config.disk, &*file, &self.core.buf, self.core.offset)?;
                self.core.tail_dirty = false;
                Ok(segment)
            });
            match done {
                Ok(segment) => {
                    let base = self.core.offset;
                    self.core.offset += len;
                    segment.bytes.store(self.core.offset, Ordering::Release);
                    return Ok(base);
                }
                Err(e) => {
                    // Nothing may stay behind the last good batch, whatever comes next.
                    if let Ok((file, _)) = self.core.open() {
                        let _ = cut_back(&mut self.core, &*file);
                    }
                    let no_space = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                    if !no_space {
                        let path =
                            self.core.segment.as_ref().map_or_else(|| self.shared.dir.clone(), |s| s.path.clone());
                        return Err(TapeError::io("write", &path, e));
                    }
                    if !self.tape.make_room() {
                        return Err(TapeError::Full { lane: self.shared.name.clone(), bytes: self.core.buf.len() });
                    }
                }
            }
        }
    }

    /// Ends the present segment with its index.
    pub(crate) fn seal(&mut self) -> Result<(), TapeError> {
        let Some(segment) = self.core.segment.take() else { return Ok(()) };
        // At most two segments may await fsync, so that recovery need doubt no more than two.
        if let Err(e) = self.tape.wait_bytes_requesting(&self.shared, self.core.sealed_bytes) {
            self.core.segment = Some(segment);
            return Err(e);
        }
        let table = self.core.table();
        let mut parts = self.index_parts();
        let sealed = self.tape.wall();
        let bytes = {
            let mut refs: Vec<(Entry, &TopicIndex)> = parts.iter().map(|(e, ix)| (*e, ix)).collect();
            let bytes = format::encode_index(&table, &mut refs, self.core.offset, sealed);
            let entries: Vec<Entry> = refs.iter().map(|(e, _)| *e).collect();
            parts.sort_by_key(|(e, _)| e.no);
            for (part, entry) in parts.iter_mut().zip(entries) {
                part.0 = entry;
            }
            bytes
        };
        let written = segment.file_for_write().and_then(|file| {
            cut_back(&mut self.core, &*file)?;
            write_all(&*self.tape.config.disk, &*file, &bytes, self.core.offset).inspect_err(|_| {
                let _ = file.set_len(self.core.offset);
            })
        });
        let whole = self.core.offset + if written.is_ok() { bytes.len() as u64 } else { 0 };
        let directory = match written {
            Ok(()) => Directory::new(table, parts.iter().map(|(e, _)| *e).collect()),
            // Without its index the segment is read by scanning; for this process it is in memory.
            Err(_) => Directory::scanned(table, parts),
        };
        segment.set_directory(directory);
        segment.sealed.store(sealed, Ordering::Release);
        // Behind it, so that a length that was read while the segment was not sealed is one of records alone.
        segment.bytes.store(whole, Ordering::Release);
        self.core.sealed_bytes = self.shared.written_bytes.load(Ordering::Relaxed);
        lock(&self.shared.to_sync).push(segment.clone());
        self.shared.warmed(segment.number);
        for (no, t) in self.core.topics.iter_mut().enumerate() {
            if t.segment_first_ts != 0 {
                t.segment_first_ts = 0;
                let mut core = lock(&t.shared.core);
                if let Some(place) = core.places.iter_mut().find(|p| p.lane == self.shared.ix && p.no == no as u32) {
                    place.active.clear();
                }
            }
        }
        Ok(())
    }

    fn index_parts(&self) -> Vec<(Entry, TopicIndex)> {
        let mut parts = Vec::new();
        for (no, t) in self.core.topics.iter().enumerate() {
            if t.segment_first_ts == 0 {
                continue;
            }
            let core = lock(&t.shared.core);
            let place = core.places.iter().find(|p| p.lane == self.shared.ix && p.no == no as u32);
            if let Some(index) = place.map(|p| p.active.clone()).filter(|ix| !ix.is_empty()) {
                let entry = Entry {
                    no: no as u32,
                    count: index.len() as u32,
                    start: index.start(),
                    end: index.last(),
                    first_ts: t.segment_first_ts,
                    last_ts: t.committed_ts,
                    book_start: t.committed_book,
                    at: 0,
                    breaks: 0,
                    crc: 0,
                };
                parts.push((entry, index));
            }
        }
        parts
    }

    /// Makes sure that there is a segment to write to.
    pub(crate) fn begin_segment(&mut self) -> io::Result<()> {
        begin(&mut self.core, &self.shared, &self.tape)
    }
}

pub(crate) fn begin(core: &mut LaneCore, lane: &LaneShared, tape: &Inner) -> io::Result<()> {
    if core.segment.is_some() {
        return Ok(());
    }
    let number = core.next_number.max(1);
    let header = Header {
        number,
        created: tape.wall(),
        epoch: tape.epoch.clone(),
        lane: lane.name.clone(),
        table: core.table(),
    };
    let path = path_of(&lane.dir, number);
    let bytes = header.encode();
    let file = tape.config.disk.open(&path, Access::Create)?;
    if let Err(e) = write_all(&*tape.config.disk, &*file, &bytes, 0) {
        let _ = tape.config.disk.remove(&path);
        return Err(e);
    }
    let segment = Arc::new(Segment::new(&tape.config.disk, number, path, Some(file), bytes.len() as u64, 0));
    core.offset = bytes.len() as u64;
    core.segment_records = 0;
    core.tail_dirty = false;
    core.next_number = number + 1;
    core.segment = Some(segment.clone());
    crate::write(&lane.segments).push(segment);
    lane.dir_dirty.store(true, Ordering::Release);
    Ok(())
}

impl LaneCore {
    fn open(&self) -> io::Result<(Arc<dyn DiskFile>, Arc<Segment>)> {
        let segment = self.segment.clone().ok_or_else(|| io::Error::other("no segment is open"))?;
        Ok((segment.file_for_write()?, segment))
    }

    /// The lane's topics as far as they are in the file.
    pub fn table(&self) -> Vec<TableRow> {
        self.topics.iter().enumerate().filter(|(_, t)| t.logged).map(|(no, t)| t.row(no as u32)).collect()
    }
}

/// Removes what a failed write may have left.
fn cut_back(core: &mut LaneCore, file: &dyn DiskFile) -> io::Result<()> {
    if core.tail_dirty {
        file.set_len(core.offset)?;
        core.tail_dirty = false;
    }
    Ok(())
}

pub(crate) fn write_all(disk: &dyn Disk, file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n.min(bytes.len())..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
