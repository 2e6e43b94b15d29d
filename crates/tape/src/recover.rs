//! What a directory holds when it is opened: one segment per lane is read, the newest; the rest is looked at on demand.
//!
//! A newest segment that was sealed tells everything in its index. One that was being written is scanned; bytes behind
//! its last good record are a torn tail when they claim more than is there (a write that the kill cut short: nobody saw
//! it) and are cut. Bad bytes that are complete, or were known to be synced (`known.rs`), are damage, and somebody may have
//! seen that record: then, as after a
//! power loss, every topic of the lane gets a mark and its seqs go on behind a range that is never used.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wholetape_model::{GapCause, Kind, Topic};

use crate::Tape;
use crate::config::POWER_SPAN;
use crate::disk::{Access, Disk};
use crate::error::TapeError;
use crate::format::TableRow;
use crate::index::TopicIndex;
use crate::lane::{Lane, LaneCore, LaneShared, LaneTopic, TopicNo, Wanted};
use crate::lock;
use crate::segment::{Directory, Segment};
use crate::tape::Inner;
use crate::topic::{Place, TopicShared};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub writable: bool,
    /// An fsync failed: what the page cache shows may not be what the disk has, so it is written anew.
    pub rewrite: bool,
}

/// One lane as found.
struct Found {
    shared: Arc<LaneShared>,
    core: LaneCore,
    table: Vec<TableRow>,
    active: HashMap<u32, (TopicIndex, i64)>,
    /// Each topic's last seq before the oldest segment that is held.
    before: HashMap<u32, u64>,
    suspect: bool,
}

/// Reads all lanes into `inner`; returns the lanes whose tail is damaged.
pub(crate) fn load(inner: &Arc<Inner>, plan: Plan) -> Result<Vec<usize>, TapeError> {
    let dir = inner.dir.join("lanes");
    let listed = inner.config.disk.list(&dir).map_err(|e| TapeError::io("read", &dir, e))?;
    let names = listed.into_iter().filter(|l| l.is_dir);
    let names: Vec<String> = names.filter_map(|l| Some(l.path.file_name()?.to_str()?.to_owned())).collect();
    let mut found = Vec::new();
    for name in names {
        let path = dir.join(&name);
        let shared = inner.add_lane(|ix| LaneShared::new(name, ix, path));
        let path = shared.dir.clone();
        found.push(load_lane(inner, shared, plan).map_err(|e| match e {
            Problem::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
                TapeError::Format { path: path.clone(), why: e.to_string() }
            }
            Problem::Io(e) => TapeError::io("recover", &path, e),
            Problem::Format(path, why) => TapeError::Format { path, why },
        })?);
    }
    place_topics(inner, &found);
    let mut suspects = Vec::new();
    for lane in found {
        if lane.suspect {
            suspects.push(lane.shared.ix);
        }
        hand_back(inner, lane);
    }
    Ok(suspects)
}

enum Problem {
    Io(io::Error),
    Format(std::path::PathBuf, String),
}

impl std::convert::From<io::Error> for Problem {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

fn load_lane(inner: &Inner, shared: Arc<LaneShared>, plan: Plan) -> Result<Found, Problem> {
    let mut found = Found {
        core: LaneCore { next_number: 1, ..LaneCore::default() },
        table: Vec::new(),
        active: HashMap::new(),
        before: HashMap::new(),
        suspect: false,
        shared,
    };
    let lane = found.shared.clone();
    *crate::write(&lane.segments) = list(&inner.config.disk, &lane.dir)?;
    if plan.writable && plan.rewrite {
        rewrite_recent(inner, &lane)?;
    }
    loop {
        let Some(newest) = crate::read(&lane.segments).last().cloned() else { break };
        found.core.next_number = found.core.next_number.max(newest.number + 1);
        check_epoch(inner, &lane, &newest)?;
        if let Some(directory) = newest.indexed()? {
            found.table = directory.table.clone();
            newest.set_directory(directory);
            lane.warmed(newest.number);
            break;
        }
        if load_tail(inner, &mut found, &newest, plan)? {
            break;
        }
        // A header that was never finished, and nothing behind it.
        crate::write(&lane.segments).pop();
        if plan.writable {
            inner.config.disk.remove(&newest.path)?;
        }
    }
    let oldest = crate::read(&lane.segments).first().cloned();
    if let Some(oldest) = oldest {
        found.before = lane.before(&oldest)?;
    }
    Ok(found)
}

fn list(disk: &Arc<dyn Disk>, dir: &Path) -> io::Result<Vec<Arc<Segment>>> {
    let mut all = Vec::new();
    for path in disk.list(dir)?.into_iter().map(|l| l.path) {
        let number = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".seg")?.parse().ok());
        if let Some(number) = number {
            match Segment::found(disk, number, path) {
                Ok(segment) => all.push(Arc::new(segment)),
                // A running owner may remove one while we look.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    all.sort_by_key(|s| s.number);
    Ok(all)
}

fn check_epoch(inner: &Inner, lane: &LaneShared, segment: &Segment) -> Result<(), Problem> {
    match segment.header()? {
        Some(h) if !inner.knows_epoch(&h.epoch) || h.lane != lane.name || h.number != segment.number => {
            Err(Problem::Format(
                segment.path.clone(),
                format!("it is segment {} of lane {} of epoch {}", h.number, h.lane, h.epoch),
            ))
        }
        _ => Ok(()),
    }
}

/// Scans the newest segment. False when there is nothing in it at all.
fn load_tail(inner: &Inner, found: &mut Found, newest: &Arc<Segment>, plan: Plan) -> Result<bool, Problem> {
    let lane = found.shared.clone();
    let scan = newest.scan(|| lane.table_before(newest))?;
    let header = newest.header()?;
    inner.counts.holes.fetch_add(scan.holes, Ordering::Relaxed);
    if header.is_none() {
        if scan.records == 0 {
            return Ok(false);
        }
        // Without a header nothing more is added to it, but an index: the segment before it may go.
        found.table = scan.table.clone();
        let (end, directory) = (scan.end, Directory::of_scan(scan));
        if plan.writable && newest.indexed()?.is_none() {
            // Where there is no room for it, it is tried again when the segment before goes.
            let _ = crate::headless::add_index(&*inner.config.disk, newest, &directory, end);
        }
        newest.set_directory(directory);
        found.suspect = true;
        return Ok(true);
    }
    let len = newest.file()?.len()?;
    let torn = len - scan.end;
    if crate::known::upto(&*inner.config.disk, &lane.dir, newest.number) > scan.end {
        // What was on the disk is not there, or no record any more: whoever saw it must be told.
        inner.counts.torn_bytes.fetch_add(torn, Ordering::Relaxed);
        found.suspect = true;
    } else if torn > 0 {
        inner.counts.torn_bytes.fetch_add(torn, Ordering::Relaxed);
        found.suspect = is_damage(newest, scan.end, len)?;
    }
    newest.bytes.store(scan.end, Ordering::Release);
    newest.sealed.store(0, Ordering::Release);
    if plan.writable {
        if plan.rewrite {
            rewrite(&*inner.config.disk, newest, scan.end)?;
        }
        let file = inner.config.disk.open(&newest.path, Access::Write)?;
        if torn > 0 {
            file.set_len(scan.end)?;
        }
        newest.set_file(file);
    }
    found.table = scan.table;
    found.core.segment_records = scan.records;
    found.core.offset = scan.end;
    found.core.segment = Some(newest.clone());
    found.active = scan.topics.into_iter().map(|(e, ix)| (e.no, (ix, e.first_ts))).collect();
    Ok(true)
}

/// Whether the bad bytes at the end are a complete record (damage), rather than the beginning of one (a torn write) or
/// the index of a seal that did not end.
fn is_damage(segment: &Segment, from: u64, to: u64) -> io::Result<bool> {
    if segment.trailer()?.is_some_and(|t| t.index_at == from) {
        return Ok(false);
    }
    let mut first = [0_u8; 12];
    if to - from < first.len() as u64 {
        return Ok(false);
    }
    segment.file()?.read_exact_at(&mut first, from)?;
    let claimed = u64::from(u32::from_le_bytes([first[0], first[1], first[2], first[3]]));
    let is_record = claimed >= wholetape_model::record::HEADER as u64
        && claimed.is_multiple_of(8)
        && first[8] == wholetape_model::record::VERSION
        && first[9] != 0;
    Ok(is_record && claimed <= to - from)
}

/// The fsync that failed may have been of a segment that was sealed already: the kernel counts its pages as clean now, so only
/// writing them anew brings them to the disk. (The one being written follows, without its torn tail.)
fn rewrite_recent(inner: &Inner, lane: &LaneShared) -> io::Result<()> {
    let recent: Vec<_> = crate::read(&lane.segments).iter().rev().take(RECENT + 1).cloned().collect();
    for segment in recent {
        rewrite(&*inner.config.disk, &segment, segment.len())?;
        // The handle is of the file that was replaced.
        segment.cool();
    }
    Ok(())
}

/// Writes the first `len` bytes of a segment to a new file and puts it in its place.
fn rewrite(disk: &dyn Disk, segment: &Segment, len: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    segment.file()?.read_exact_at(&mut bytes, 0)?;
    disk.replace(&segment.path, &bytes)
}

/// Puts every topic's stays in lanes together, in order.
fn place_topics(inner: &Inner, found: &[Found]) {
    let mut rows: Vec<(&Found, &TableRow)> = found.iter().flat_map(|f| f.table.iter().map(move |r| (f, r))).collect();
    rows.sort_by(|a, b| (&a.1.name, a.1.generation, a.1.start).cmp(&(&b.1.name, b.1.generation, b.1.start)));
    for (lane, row) in rows {
        let Ok(topic) = Topic::parse(&row.name) else { continue };
        let shared = inner.topic_shared(&topic);
        let active = lane.active.get(&row.no).map_or_else(|| TopicIndex::new(row.last_seq), |(ix, _)| ix.clone());
        let place = Place { lane: lane.shared.ix, no: row.no, generation: row.generation, start: row.start, active };
        lock(&shared.core).places.push(place);
        inner.place(&shared, &lane.shared, row.no);
        shared.head.store(row.last_seq.max(shared.head()), Ordering::Release);
        shared.last_ts.fetch_max(row.last_ts, Ordering::Relaxed);
        shared.book_start.fetch_max(row.book_start, Ordering::Release);
        let first = lane.before.get(&row.no).map_or(row.start, |b| (*b).max(row.start)) + 1;
        if first <= row.last_seq && shared.oldest() == 0 {
            shared.oldest.store(first, Ordering::Release);
        }
    }
    for topic in inner.placed_topics() {
        if topic.oldest() == 0 && topic.head() > 0 {
            topic.oldest.store(topic.head() + 1, Ordering::Release);
        }
    }
}

/// Makes the lane's writer ready for whoever takes it.
fn hand_back(inner: &Inner, mut found: Found) {
    let mut rows = std::mem::take(&mut found.table);
    rows.sort_by_key(|r| r.no);
    for row in rows {
        while found.core.topics.len() < row.no as usize {
            // A number whose registration is not readable: nobody gets it again.
            let unknown = Arc::new(TopicShared::new(Topic::about(Kind::Link, "unreadable")));
            found.core.topics.push(lane_topic(unknown, &TableRow { no: 0, ..row.clone() }, false, 0));
        }
        let Ok(topic) = Topic::parse(&row.name) else {
            let unknown = Arc::new(TopicShared::new(Topic::about(Kind::Link, "unreadable")));
            found.core.topics.push(lane_topic(unknown, &row, false, 0));
            continue;
        };
        let shared = inner.topic_shared(&topic);
        let owned = shared.is_at(found.shared.ix, row.no);
        let first_ts = found.active.get(&row.no).map_or(0, |(_, ts)| (*ts).max(1));
        let t = lane_topic(shared, &row, true, first_ts);
        if owned {
            found.core.by_name.insert(topic, row.no);
        }
        found.core.topics.push(t);
    }
    // Until the first sync everything counts as unsynced: a kill may have left it in the page cache alone.
    found.shared.written_bytes.store(1, Ordering::Release);
    found.core.sealed_bytes = 1;
    *lock(&found.shared.idle) = Some(Box::new(found.core));
}

fn lane_topic(shared: Arc<TopicShared>, row: &TableRow, logged: bool, first_ts: i64) -> LaneTopic {
    LaneTopic {
        shared,
        generation: row.generation,
        start: row.start,
        head: row.last_seq,
        committed: row.last_seq,
        last_ts: row.last_ts,
        committed_ts: row.last_ts,
        book_start: row.book_start,
        committed_book: row.book_start,
        logged,
        in_use: false,
        count: 0,
        cursor: 0,
        segment_first_ts: first_ts,
    }
}

/// Syncs what was found and writes the marks that it needs, before anybody else may write.
pub(crate) fn settle(tape: &Tape, doubtful: bool, suspects: &[usize]) -> Result<(), TapeError> {
    let inner = tape.inner();
    for lane in inner.lanes() {
        // Sealed files of the last run may be unsynced as well; an fsync of a clean file costs next to nothing.
        let recent = crate::read(&lane.segments).iter().rev().take(RECENT).cloned().collect::<Vec<_>>();
        lock(&lane.to_sync).extend(recent.into_iter().filter(|s| s.is_sealed()));
        lane.dir_dirty.store(true, Ordering::Release);
    }
    inner.sync.request();
    for lane in inner.lanes() {
        inner.wait_bytes_requesting(&lane, 1)?;
    }
    for lane in inner.lanes() {
        let suspect = suspects.contains(&lane.ix);
        if !doubtful && !suspect {
            continue;
        }
        let cause = if doubtful { GapCause::Power } else { GapCause::Corrupt };
        let Some(mut writer) = Lane::take(inner, &lane, None) else { continue };
        let owned: Vec<u32> = (0..writer.core.topics.len() as u32)
            .filter(|n| writer.core.topics[*n as usize].shared.is_at(lane.ix, *n))
            .collect();
        for no in owned {
            let (topic, head) = {
                let t = &writer.core.topics[no as usize];
                (t.shared.clone(), t.head)
            };
            let why =
                if doubtful { "unclean end and another boot, or a failed fsync" } else { "damaged end of the lane" };
            let to = head + u64::from(POWER_SPAN);
            let w = Wanted { topic, from: head + 1, to, from_ts: 0, to_ts: 0, why, debt: None, seq: 0 };
            writer.put_lost(TopicNo(no), cause, &w, POWER_SPAN);
            inner.counts.power_marks.fetch_add(1, Ordering::Relaxed);
        }
        // Served, and numbers go on, only when the marks are on the disk: else a second power loss could use them again.
        writer.core.registers = true;
        writer.commit()?;
    }
    inner.find_debts().map_err(|e| TapeError::io("read what is owed in", &inner.dir, e))?;
    // Now, while nobody else asks for the lanes.
    crate::retain::pay_marks(inner);
    Ok(())
}

/// Unsynced records span at most this many segments: 2^20 records, two segments by the rule of `roll.rs`, and room.
const RECENT: usize = 4;
