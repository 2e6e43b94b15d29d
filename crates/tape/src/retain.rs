//! Whole segments go: by age, by size, or because the file system is full (then `owed.rs` keeps what they leave behind).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use wholetape_model::Ts;

use crate::config::Retention;
use crate::lane::{Lane, LaneShared};
use crate::lock;
use crate::segment::{Directory, Segment};
use crate::tape::{Inner, Tape};

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// As configured: readers are told `missed`, the topic needs no mark.
    Retention,
    /// Space ran out: each of its topics gets a mark `lost(disk)`.
    Disk,
}

/// A segment that retention by age and size would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueSegment {
    pub lane: String,
    pub number: u64,
    pub bytes: u64,
    pub sealed: Ts,
}

impl Tape {
    /// What retention would remove now; nothing is. What is held ([`Tape::hold`]) stays, as it does then.
    #[must_use]
    pub fn due(&self, retention: Retention, now: Ts) -> Vec<DueSegment> {
        self.inner().due(retention, now.0)
    }
}

impl Inner {
    /// Age, size, free space; and the marks owed by lanes that nobody writes.
    pub fn tick(&self) {
        if self.check_writable().is_err() {
            return;
        }
        let _alone = lock(&self.keeping);
        self.retire();
        self.look_at_space();
        self.clear_debts();
    }

    fn retire(&self) {
        let retention = self.config.retention;
        if let Some(age) = retention.age_max {
            let before = self.wall().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
            while let Some((lane, segment)) = self.oldest_free(|s| sealed_at(s) < before) {
                if !self.remove(&lane, &segment, Cause::Retention) {
                    break;
                }
            }
        }
        if let Some(max) = retention.bytes_max {
            while self.disk_bytes() > max {
                let Some((lane, segment)) = self.oldest_free(|_| true) else { break };
                if !self.remove(&lane, &segment, Cause::Retention) {
                    break;
                }
            }
        }
    }

    /// What [`Inner::retire`] would remove at `now`, oldest first.
    fn due(&self, retention: Retention, now: i64) -> Vec<DueSegment> {
        let mut lanes: Vec<(Arc<LaneShared>, VecDeque<Arc<Segment>>)> = Vec::new();
        for lane in self.lanes() {
            let segments = crate::read(&lane.segments).iter().cloned().collect();
            lanes.push((lane, segments));
        }
        let mut bytes = self.disk_bytes();
        let before = retention
            .age_max
            .map_or(i64::MIN, |age| now.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
        let mut due = Vec::new();
        loop {
            let is_over = retention.bytes_max.is_some_and(|max| bytes > max);
            let is_due = |s: &Segment| s.is_sealed() && (is_over || sealed_at(s) < before);
            let first = |(i, (lane, segments)): (usize, &(Arc<LaneShared>, VecDeque<Arc<Segment>>))| {
                let s = segments.front().filter(|s| is_due(s))?;
                (!self.is_held(lane, s)).then(|| (sealed_at(s), i))
            };
            let Some((_, at)) = lanes.iter().enumerate().filter_map(first).min() else { return due };
            let (lane, segments) = &mut lanes[at];
            let Some(segment) = segments.pop_front() else { return due };
            bytes -= segment.len();
            due.push(DueSegment {
                lane: lane.name.clone(),
                number: segment.number,
                bytes: segment.len(),
                sealed: Ts(sealed_at(&segment)),
            });
        }
    }

    fn look_at_space(&self) {
        let marks = self.config.low_space;
        let mut state = 0;
        // Bounded: what one removal frees may not show at once.
        for _ in 0..64 {
            let Ok(free) = self.config.disk.free_bytes(&self.dir) else { return };
            self.counts.free_bytes.store(free, Ordering::Relaxed);
            state = u8::from(free < marks.soft_bytes) + u8::from(free < marks.soft_bytes && free < marks.hard_bytes);
            if state < 2 || !self.make_room() {
                break;
            }
        }
        self.counts.space.store(state, Ordering::Relaxed);
    }

    /// Removes the oldest sealed segment, raw lanes first. False when there is none.
    pub fn make_room(&self) -> bool {
        self.counts.space.store(2, Ordering::Relaxed);
        self.oldest_sealed(true).is_some_and(|(lane, segment)| self.remove(&lane, &segment, Cause::Disk))
    }

    fn disk_bytes(&self) -> u64 {
        self.lanes().iter().map(|l| crate::read(&l.segments).iter().map(|s| s.len()).sum::<u64>()).sum()
    }

    fn oldest_sealed(&self, raw_first: bool) -> Option<(Arc<LaneShared>, Arc<Segment>)> {
        let oldest = |lane: Arc<LaneShared>| {
            let segment = crate::read(&lane.segments).first().filter(|s| s.is_sealed()).cloned();
            segment.map(|s| (lane, s))
        };
        let key = |(lane, segment): &(Arc<LaneShared>, Arc<Segment>)| {
            (raw_first && !lane.name.starts_with("raw"), sealed_at(segment))
        };
        self.lanes().into_iter().filter_map(oldest).min_by_key(key)
    }

    /// The oldest sealed segment that is due and that nobody holds: its records are stored elsewhere, or need not be.
    fn oldest_free(&self, due: impl Fn(&Segment) -> bool) -> Option<(Arc<LaneShared>, Arc<Segment>)> {
        let oldest = |lane: Arc<LaneShared>| {
            // Whether it is due is asked first: whether it is held reads its directory.
            let segment = crate::read(&lane.segments).first().filter(|s| s.is_sealed() && due(s)).cloned();
            segment.map(|s| (lane, s)).filter(|(lane, s)| !self.is_held(lane, s))
        };
        self.lanes().into_iter().filter_map(oldest).min_by_key(|(_, segment)| sealed_at(segment))
    }

    /// Whether a segment has records that are not stored yet. One that cannot be read is held: it may be mended.
    fn is_held(&self, lane: &LaneShared, segment: &Segment) -> bool {
        let (held, wanted) = (crate::read(&self.held), self.config.stored_elsewhere);
        if held.is_empty() && wanted.is_none() {
            return false;
        }
        let Ok(directory) = lane.directory(segment) else { return true };
        let topics = crate::read(&lane.topics).clone();
        directory.entries.iter().any(|entry| {
            let Some(Some(topic)) = topics.get(entry.no as usize) else { return false };
            match held.get(&topic.topic) {
                Some(stored) => directory.last_seq(entry.no) > *stored,
                None => wanted.is_some_and(|wants| wants(&topic.topic)),
            }
        })
    }

    /// False when it could not be removed.
    fn remove(&self, lane: &Arc<LaneShared>, segment: &Arc<Segment>, cause: Cause) -> bool {
        // A lane's only segment holds the topics' last seqs; a newer one must repeat them before it may go.
        if crate::read(&lane.segments).len() < 2 {
            return self.succeed(lane) && self.remove(lane, segment, cause);
        }
        match lane.dependant(&*self.config.disk, segment) {
            Ok(None) => {}
            // What only this one makes readable goes before it, and is confessed like it.
            Ok(Some(next)) if cause == Cause::Disk && self.remove(lane, &next, cause) => {}
            Ok(Some(_)) | Err(_) => return false,
        }
        let Ok(directory) = lane.directory(segment) else { return false };
        self.raise_oldest(lane, segment, &directory);
        {
            let mut segments = crate::write(&lane.segments);
            let before = segments.len();
            segments.retain(|s| s.number != segment.number);
            if segments.len() == before {
                // Another thread was faster.
                return true;
            }
        }
        lock(&lane.to_sync).retain(|s| s.number != segment.number);
        let gone = match cause {
            Cause::Retention => self.config.disk.remove(&segment.path),
            Cause::Disk => self.give_up(lane, segment, &directory),
        };
        if gone.is_err_and(|e| e.kind() != io::ErrorKind::NotFound) {
            crate::write(&lane.segments).insert(0, segment.clone());
            return false;
        }
        let count = if cause == Cause::Disk { &self.counts.lost } else { &self.counts.retired };
        count.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Says of each topic of a segment that is about to go which seq is its oldest then. Where a topic was handed over, the
    /// lane that had it before may hold older rows still: they stay readable, as they are after the next open.
    fn raise_oldest(&self, lane: &LaneShared, gone: &Segment, directory: &Directory) {
        let lanes = self.lanes();
        // Each topic's last seq before the oldest segment that a lane keeps; read once a lane.
        let mut befores: HashMap<usize, HashMap<u32, u64>> = HashMap::new();
        let mut before = |ix: usize, no: u32| {
            let of_lane = befores.entry(ix).or_insert_with(|| {
                let segments = lanes.get(ix).map(|l| crate::read(&l.segments).clone()).unwrap_or_default();
                let kept = segments.into_iter().find(|s| ix != lane.ix || s.number != gone.number);
                kept.zip(lanes.get(ix)).and_then(|(s, lane)| lane.before(&s).ok()).unwrap_or_default()
            });
            of_lane.get(&no).copied().unwrap_or(0)
        };
        let topics = crate::read(&lane.topics).clone();
        for entry in &directory.entries {
            let Some(Some(topic)) = topics.get(entry.no as usize) else { continue };
            let head = topic.head();
            let stays: Vec<(usize, u32, u64)> =
                lock(&topic.core).places.iter().map(|p| (p.lane, p.no, p.start)).collect();
            let ends = stays.iter().skip(1).map(|(.., start)| *start).chain([head]);
            let first_of = |((ix, no, start), end): (&(usize, u32, u64), u64)| {
                let first = before(*ix, *no).max(*start) + 1;
                (first <= end).then_some(first)
            };
            let oldest = stays.iter().zip(ends).find_map(first_of).unwrap_or(head + 1);
            topic.oldest.fetch_max(oldest, Ordering::AcqRel);
        }
    }

    /// Begins a segment in a lane that nobody writes and whose only segment is sealed.
    fn succeed(&self, lane: &Arc<LaneShared>) -> bool {
        let Some(mut core) = lock(&lane.idle).take() else { return false };
        let made = core.segment.is_none() && crate::roll::begin(&mut core, lane, self).is_ok();
        *lock(&lane.idle) = Some(core);
        made
    }
}

/// How often age, size and free space are looked at.
const TICK: Duration = Duration::from_millis(500);

/// The keeper thread's body: not the sync thread's, for what it writes may have to wait for a sync.
pub(crate) fn keep(inner: &Arc<Inner>) {
    while !inner.is_closed() {
        inner.tick();
        pay_marks(inner);
        thread::park_timeout(TICK);
    }
}

/// Writes the marks owed by lanes that have no writer just now.
pub(crate) fn pay_marks(inner: &Arc<Inner>) {
    for lane in inner.lanes() {
        if lane.wants.load(Ordering::Acquire)
            && let Some(mut writer) = Lane::take(inner, &lane, None)
            && writer.commit().is_err()
        {
            writer.abort();
        }
    }
}

fn sealed_at(segment: &Segment) -> i64 {
    segment.sealed.load(Ordering::Acquire)
}
