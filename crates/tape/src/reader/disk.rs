//! Reading behind memory: a topic's own records by their offsets, with `pread`, every checksum checked.
//!
//! Neighbouring records are read together; a record that is not what the index says (topic, seq, checksum) costs a
//! receipt for exactly its seqs, and the next one is read as if nothing had been.

use std::io;
use std::sync::Arc;

use wholetape_model::Record;
use wholetape_model::record::{HEADER, LEN_MAX};

use super::{Delivery, MissedWhy, Reader};
use crate::block::{Block, Shared};
use crate::disk::DiskFile;
use crate::index::TopicIndex;
use crate::lock;

/// One read covers at most this much (but always one record).
const CHUNK: u64 = 256 << 10;
/// Other topics' bytes that are read along rather than skipped.
const NEAR: u64 = 4 << 10;
/// What is read behind the last offset, whose record's length is not known yet.
const GUESS: u64 = 512;
/// Offsets copied at a time from the segment that is being written, under the topic's lock.
const ACTIVE_PART: usize = 4096;
/// Offsets kept at a time of a sealed segment: what a reader behind costs in memory.
const SEALED_PART: usize = 1 << 16;

/// A stretch of one topic's records in one segment.
#[derive(Debug)]
pub(super) struct DiskCursor {
    file: Arc<dyn DiskFile>,
    no: u32,
    index: Arc<TopicIndex>,
}

enum Found {
    Records(DiskCursor),
    /// Nothing is held before the record behind this seq.
    Hole(u64),
}

impl Reader {
    /// Delivers what follows the position from the files.
    pub(super) fn read_disk(&mut self, out: &mut Vec<Delivery>, max: usize) -> io::Result<()> {
        let cursor = match self.cursor.take() {
            Some(c) if c.index.last() > self.position && c.index.start() <= self.position => c,
            _ => match self.find()? {
                Found::Records(cursor) => cursor,
                Found::Hole(to) => {
                    let why = if to < self.topic.oldest() { MissedWhy::Retention } else { MissedWhy::Corrupt };
                    self.missed(out, to, why);
                    return Ok(());
                }
            },
        };
        let from = cursor.index.after(self.position);
        self.read_chunk(&cursor, from, out, max)?;
        self.cursor = Some(cursor);
        Ok(())
    }

    /// Finds the segment that holds what follows the position.
    fn find(&self) -> io::Result<Found> {
        let position = self.position;
        let (lane, no, active_start, next_start) = {
            let core = lock(&self.topic.core);
            let i = core.place_after(position).unwrap_or(0);
            let Some(place) = core.places.get(i) else { return Ok(Found::Hole(self.topic.head())) };
            let lane = self.inner.lane_at(place.lane).ok_or_else(|| io::Error::other("no such lane"))?;
            let active = &place.active;
            let first = active.after(position);
            if position >= active.start() && first < active.len() {
                // The writer empties `active`, under this lock, before it begins another segment: the last one is its.
                let segment = crate::read(&lane.segments).last().cloned();
                let (no, index) = (place.no, Arc::new(active.slice(first, first + ACTIVE_PART)));
                drop(core);
                let segment = segment.ok_or_else(|| io::Error::other("no segment"))?;
                return Ok(Found::Records(DiskCursor { file: segment.file()?, no, index }));
            }
            let active_start = (!active.is_empty() && active.start() > position).then(|| active.start());
            let next_start = core.places.get(i + 1).map(|p| p.start).filter(|s| *s > position);
            (lane, place.no, active_start, next_start)
        };
        let segments: Vec<_> = crate::read(&lane.segments).iter().filter(|s| s.is_sealed()).cloned().collect();
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let mid = usize::midpoint(low, high);
            let directory = missing_ok(lane.directory(&segments[mid]))?;
            if directory.is_none_or(|d| d.last_seq(no) <= position) { low = mid + 1 } else { high = mid }
        }
        for segment in &segments[low..] {
            let Some(directory) = missing_ok(lane.directory(segment))? else { continue };
            if let Some(index) = missing_ok(segment.topic_index(&directory, no))?.flatten()
                && index.last() > position
            {
                if index.start() > position {
                    // What was before this segment is gone, or cannot be read.
                    return Ok(Found::Hole(index.start()));
                }
                let first = index.after(position);
                let index =
                    if index.len() > SEALED_PART { Arc::new(index.slice(first, first + SEALED_PART)) } else { index };
                return Ok(Found::Records(DiskCursor { file: segment.file()?, no, index }));
            }
        }
        Ok(Found::Hole(active_start.or(next_start).unwrap_or_else(|| self.topic.head())))
    }

    fn read_chunk(&mut self, c: &DiskCursor, from: usize, out: &mut Vec<Delivery>, max: usize) -> io::Result<()> {
        let offset = |i: usize| c.index.offset(i);
        let Some(start) = offset(from) else { return Ok(()) };
        let (mut to, mut last) = (from + 1, start);
        while to - from < max
            && let Some(next) = offset(to)
            && next > last
            && next - last <= NEAR
            && next - start <= CHUNK
        {
            last = next;
            to += 1;
        }
        let bytes = match read_upto(&*c.file, start, (last - start + GUESS) as usize) {
            // A sector that cannot be read: find out which record it is.
            Err(e) if e.raw_os_error() == Some(5) && to - from > 1 => {
                return self.read_chunk(c, from, out, 1);
            }
            Err(e) if e.raw_os_error() == Some(5) => Vec::new(),
            other => other?,
        };
        let block = Arc::new(Block { bytes, offsets: Vec::new(), published: 0 });
        let end = out.len() + max;
        for i in from..to {
            if out.len() >= end {
                break;
            }
            let (seq, at) = (c.index.seq(i), offset(i).unwrap_or(start));
            match self.record_at(c, &block, at - start, at, seq)? {
                Some(shared) => {
                    let prev = shared.record().prev();
                    if prev > self.position {
                        let why = if prev < self.topic.oldest() { MissedWhy::Retention } else { MissedWhy::Corrupt };
                        self.missed(out, prev, why);
                    }
                    self.position = seq;
                    out.push(Delivery::Record(shared));
                }
                None => {
                    // Of a segment that went while it was read, other bytes may be in the place of its records.
                    let why = if seq < self.topic.oldest() { MissedWhy::Retention } else { MissedWhy::Corrupt };
                    self.missed(out, seq, why);
                }
            }
        }
        Ok(())
    }

    /// The record `seq` at `at` of the file (`rel` of the block), if it is that record.
    fn record_at(&self, c: &DiskCursor, block: &Arc<Block>, rel: u64, at: u64, seq: u64) -> io::Result<Option<Shared>> {
        let good = |r: &Record<'_>| r.topic() == c.no && r.seq() == seq;
        let rel = rel as usize;
        let Some(bytes) = block.bytes.get(rel..) else { return Ok(None) };
        if let Ok(record) = Record::parse(bytes, true) {
            let len = record.bytes().len() as u32;
            return Ok(good(&record).then(|| Shared { block: block.clone(), at: rel as u32, len }));
        }
        let Some(len) = crate::format::u32_at(bytes, 0).map(|l| l as usize) else { return Ok(None) };
        if len <= bytes.len() || !(HEADER..=LEN_MAX).contains(&len) {
            return Ok(None);
        }
        let bytes = match read_upto(&*c.file, at, len) {
            Err(e) if e.raw_os_error() == Some(5) => return Ok(None),
            other => other?,
        };
        let whole = Record::parse(&bytes, true).is_ok_and(|r| good(&r));
        let block = Arc::new(Block { bytes, offsets: Vec::new(), published: 0 });
        Ok(whole.then_some(Shared { block, at: 0, len: len as u32 }))
    }
}

/// A segment that is gone is a hole, not an error.
fn missing_ok<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(v) => Ok(Some(v)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads up to `len` bytes; fewer at the end of the file.
pub(crate) fn read_upto(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        match file.read_at(&mut bytes[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}
