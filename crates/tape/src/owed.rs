//! The marks `lost(disk)` of a segment that goes because space ran out: on the disk before its records are gone.
//!
//! A full disk takes no new file, and the segment's lane may be held by a writer that just now writes nothing. So the
//! segment itself keeps what is owed, in blocks that it has already:
//!
//! 1. `<n>.seg` is renamed to `<n>.lost`, and the name made durable: from here on it is given up;
//! 2. its first bytes are written over with the list of what its marks will say, and synced;
//! 3. it is cut to that list: now there is room;
//! 4. its topics' lanes write the marks; when fsync has all of them, the file is removed.
//!
//! An end in between leaves the `.lost` file to the next open, which reads the list — or, before step 2 was done, the
//! segment's own index, which lies behind the list's place — and owes the marks again, except those that are there. They
//! are found behind the topic's head at the removal, which the list names, by what they say.
//! Where steps 1 and 2 fail the segment goes all the same, and its marks are in memory alone.
//!
//! A mark that goes with its segment told of a loss or of a hole: the mark of its going tells of the same stretch, for whoever starts
//! after that knows of nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use wholetape_model::{Body, GapCause, GapState, Ts};

use crate::disk::Access;
use crate::format::{sealed, u32_at, u64_at};
use crate::lane::{LaneShared, Wanted};
use crate::lock;
use crate::reader::{Delivery, From, Reader, ReaderOptions, read_upto};
use crate::segment::{Directory, Segment};
use crate::tape::Inner;
use crate::topic::TopicShared;

const MAGIC: &[u8; 8] = b"WTAPELST";
const FIXED: usize = 24;
const ITEM: usize = 56;
/// What a damaged length may make us read: a list of a million topics is longer than any.
const LIST_MAX: usize = 56 << 20;

/// What one mark will say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    no: u32,
    from: u64,
    to: u64,
    from_ts: i64,
    to_ts: i64,
    /// The topic's head when the segment went: the mark is behind it.
    head: u64,
}

/// A segment that went and whose marks are not all on the disk.
#[derive(Debug)]
pub(crate) struct Debt {
    path: PathBuf,
    marks: usize,
    /// Marks that are written, by topic and seq.
    written: Mutex<Vec<(Arc<TopicShared>, u64)>>,
}

impl Debt {
    fn new(path: PathBuf, marks: usize) -> Arc<Self> {
        Arc::new(Self { path, marks, written: Mutex::default() })
    }

    /// A mark was written.
    pub fn wrote(&self, topic: &Arc<TopicShared>, seq: u64) {
        lock(&self.written).push((topic.clone(), seq));
    }

    fn is_paid(&self) -> bool {
        let written = lock(&self.written);
        let synced = |(topic, seq): &(Arc<TopicShared>, u64)| topic.synced_seq() >= *seq;
        written.len() >= self.marks && written.iter().all(synced)
    }
}

pub(crate) fn path_of(segment: &Path) -> PathBuf {
    segment.with_extension("lost")
}

impl Inner {
    /// Takes a segment's records from the disk and owes its marks.
    ///
    /// # Errors
    /// When it could not be removed at all; it is as it was then.
    pub fn give_up(&self, lane: &LaneShared, segment: &Segment, directory: &Directory) -> io::Result<()> {
        let topics = crate::read(&lane.topics).clone();
        let mut items = items_of(directory);
        if reach_around_gaps(&mut items, segment, directory).is_err() {
            self.counts.read_errors.fetch_add(1, Ordering::Relaxed);
        }
        note_heads(&mut items, &topics);
        let lost = path_of(&segment.path);
        self.config.disk.rename(&segment.path, &lost)?;
        if self.keep_list(lane, &lost, &items).is_err() {
            // Space must come free all the same. A file that stays owes the marks twice rather than never.
            let _ = self.config.disk.remove(&lost);
        }
        self.owe(&topics, &items, lost);
        Ok(())
    }

    /// Steps 1 (the name), 2 and 3.
    fn keep_list(&self, lane: &LaneShared, path: &Path, items: &[Item]) -> io::Result<()> {
        let disk = &self.config.disk;
        disk.sync_dir(&lane.dir)?;
        let file = disk.open(path, Access::Write)?;
        let bytes = encode(items);
        let mut done = 0;
        while done < bytes.len() {
            match file.write_at(&bytes[done..], done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        disk.sync(&*file)?;
        file.set_len(bytes.len() as u64)
    }

    fn owe(&self, topics: &[Option<Arc<TopicShared>>], items: &[Item], path: PathBuf) {
        let known = |i: &Item| topics.get(i.no as usize).cloned().flatten().map(|t| (t, *i));
        let known: Vec<_> = items.iter().filter_map(known).collect();
        let debt = Debt::new(path, known.len());
        lock(&self.debts).push(debt.clone());
        for (topic, i) in known {
            self.want(Wanted {
                topic,
                from: i.from,
                to: i.to,
                from_ts: i.from_ts,
                to_ts: i.to_ts,
                why: "space ran out, the oldest segment was removed",
                debt: Some(debt.clone()),
                seq: 0,
            });
        }
    }

    /// Removes the lists whose marks are all on the disk.
    pub fn clear_debts(&self) {
        lock(&self.debts).retain(|debt| {
            let cleared = debt.is_paid() && is_gone(&self.config.disk.remove(&debt.path));
            !cleared
        });
    }

    /// What an earlier run owed and did not pay.
    pub fn find_debts(self: &Arc<Self>) -> io::Result<()> {
        for lane in self.lanes() {
            let topics = crate::read(&lane.topics).clone();
            for found in self.config.disk.list(&lane.dir)? {
                if found.path.extension().is_none_or(|e| e != "lost") {
                    continue;
                }
                let Ok((items, is_list)) = self.read_list(&found.path) else {
                    // It stays for another time: what cannot be read now is no reason to take no rows.
                    self.counts.read_errors.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let mut open: Vec<Item> = items.into_iter().filter(|i| !self.is_marked(&topics, i)).collect();
                if !is_list {
                    // The next open shall not have to look at all rows behind the segment again.
                    note_heads(&mut open, &topics);
                    let _ = self.keep_list(&lane, &found.path, &open);
                }
                self.owe(&topics, &open, found.path);
            }
        }
        Ok(())
    }

    /// What is owed, and whether the file is a list already.
    fn read_list(&self, path: &Path) -> io::Result<(Vec<Item>, bool)> {
        let file = self.config.disk.open(path, Access::Read)?;
        let first = read_upto(&*file, 0, FIXED)?;
        let len = u32_at(&first, 8).filter(|_| first.starts_with(MAGIC)).map_or(0, |l| l as usize).min(LIST_MAX);
        if let Some(items) = decode(&read_upto(&*file, 0, len)?) {
            return Ok((items, true));
        }
        let number = path.file_stem().and_then(|n| n.to_str()?.parse().ok()).unwrap_or(0);
        let segment = Segment::found(&self.config.disk, number, path.to_owned())?;
        // Neither a list nor an index, nor a header to scan by: what it held is `missed(retention)` to readers all the same.
        let directory = segment.directory(Vec::new)?;
        let mut items = items_of(&directory);
        if reach_around_gaps(&mut items, &segment, &directory).is_err() {
            self.counts.read_errors.fetch_add(1, Ordering::Relaxed);
        }
        Ok((items, false))
    }

    /// Whether the topic has the mark already.
    fn is_marked(self: &Arc<Self>, topics: &[Option<Arc<TopicShared>>], item: &Item) -> bool {
        let Some(Some(topic)) = topics.get(item.no as usize) else { return true };
        let from = From::Seq(item.head.min(topic.head()));
        let Ok(mut reader) = Reader::open(self, &topic.topic, from, ReaderOptions::default()) else { return false };
        let says = says(item.from, item.to);
        let mut out = Vec::new();
        while reader.poll_next(&mut out, 1024) > 0 {
            let is_it = |d: &Delivery| match d {
                Delivery::Record(r) => match r.record().view() {
                    Ok(Body::Gap(g)) => {
                        g.cause == GapCause::Disk && g.state == GapState::Lost && g.why.ends_with(&says)
                    }
                    _ => false,
                },
                _ => false,
            };
            if out.drain(..).any(|d| is_it(&d)) {
                return true;
            }
        }
        false
    }
}

/// How a mark of the tape ends: by this it is known again.
pub(crate) fn says(from: u64, to: u64) -> String {
    format!(": seq {from} to {to}")
}

fn is_gone(removed: &io::Result<()>) -> bool {
    removed.as_ref().map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |()| true)
}

fn items_of(directory: &Directory) -> Vec<Item> {
    let item = |e: &crate::format::Entry| Item {
        no: e.no,
        from: e.start + 1,
        to: e.end,
        from_ts: e.first_ts,
        to_ts: e.last_ts,
        head: e.end,
    };
    directory.entries.iter().map(item).collect()
}

/// What is owed reaches around what the segment's own marks tell of: losses, and holes without a verdict in it. (One behind it may say that
/// they were healed: of a segment that is gone too much is confessed rather than too little.) A file that cannot be read tells of its
/// rows alone.
fn reach_around_gaps(items: &mut [Item], segment: &Segment, directory: &Directory) -> io::Result<()> {
    let mut told: BTreeMap<(u32, u64), (Ts, Ts)> = BTreeMap::new();
    let read = segment.each_gap(directory, |no, gap| {
        if matches!(gap.state, GapState::Open | GapState::Lost) {
            told.insert((no, gap.gap), (gap.from_ts, gap.to_ts));
        } else {
            told.remove(&(no, gap.gap));
        }
    });
    for ((no, _), (from, to)) in told {
        if let Some(item) = items.iter_mut().find(|i| i.no == no) {
            (item.from_ts, item.to_ts) = (item.from_ts.min(from.0), item.to_ts.max(to.0));
        }
    }
    read
}

fn note_heads(items: &mut [Item], topics: &[Option<Arc<TopicShared>>]) {
    for i in items {
        i.head = topics.get(i.no as usize).and_then(Option::as_ref).map_or(i.head, |t| t.head());
    }
}

/// `magic, u32 len, u32 crc, u32 items, u32 0`, then per item `u32 no, u32 0, u64 from, to, i64 from_ts, to_ts, u64 head,
/// u64 0`: 56 bytes, no more than the smallest record, so that the list never reaches the segment's index.
fn encode(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED + items.len() * ITEM);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&((FIXED + items.len() * ITEM) as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(items.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for i in items {
        out.extend_from_slice(&u64::from(i.no).to_le_bytes());
        out.extend_from_slice(&i.from.to_le_bytes());
        out.extend_from_slice(&i.to.to_le_bytes());
        out.extend_from_slice(&i.from_ts.to_le_bytes());
        out.extend_from_slice(&i.to_ts.to_le_bytes());
        out.extend_from_slice(&i.head.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
    }
    crate::format::seal(&mut out, 0, 12);
    out
}

/// `None` when these bytes are no whole list.
fn decode(bytes: &[u8]) -> Option<Vec<Item>> {
    let len = (bytes.get(..8)? == MAGIC).then(|| u32_at(bytes, 8))?? as usize;
    let bytes = bytes.get(..len).filter(|b| b.len() >= FIXED && sealed(b, 12))?;
    let item = |b: &[u8]| {
        Some(Item {
            no: u32_at(b, 0)?,
            from: u64_at(b, 8)?,
            to: u64_at(b, 16)?,
            from_ts: u64_at(b, 24)? as i64,
            to_ts: u64_at(b, 32)? as i64,
            head: u64_at(b, 40)?,
        })
    };
    bytes[FIXED..].chunks_exact(ITEM).map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_or_not_at_all() {
        let item = |no| Item { no, from: 1, to: 9, from_ts: -5, to_ts: 7, head: 12 };
        let items = vec![item(0), item(7)];
        let bytes = encode(&items);
        let mut longer = bytes.clone();
        longer.extend_from_slice(&[7; 500]);
        assert_eq!(decode(&longer).as_deref(), Some(&items[..]), "the rest of the segment may still be there");
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert_eq!(decode(&bad), None, "byte {i}");
            assert_eq!(decode(&bytes[..i]), None, "cut at {i}");
        }
    }
}
