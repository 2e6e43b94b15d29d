//! What all threads share about one topic: its head, its newest records in memory, where its older ones lie.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wholetape_model::{Class, Topic};

use crate::block::Run;
use crate::chunks::ChunkQueue;
use crate::index::TopicIndex;
use crate::wake::Watch;

/// Marks and book starts remembered per topic, for readers that jump.
const MARKS_MAX: usize = 1024;

/// A stay of the topic in a lane; the last one is the present one.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub lane: usize,
    pub no: u32,
    pub generation: u32,
    /// The topic's seq when it came to this lane.
    pub start: u64,
    /// Its records in the lane's segment that is being written.
    pub active: TopicIndex,
}

#[derive(Debug, Default)]
pub(crate) struct TopicCore {
    /// Newest records in memory, oldest first; may have holes after a hand-over.
    pub ring: ChunkQueue<Run>,
    pub places: Vec<Place>,
    pub sleeping: Vec<Arc<Watch>>,
    /// Readers with policy `block`.
    pub blockers: Vec<Arc<Watch>>,
    /// Seqs of the latest marks.
    pub marks: VecDeque<u64>,
}

#[derive(Debug)]
pub(crate) struct TopicShared {
    pub topic: Topic,
    /// The newest seq that readers may see; 0 = nothing yet.
    pub head: AtomicU64,
    /// The newest seq that is on the disk.
    pub synced: AtomicU64,
    /// The oldest seq that is held; 0 = nothing yet.
    pub oldest: AtomicU64,
    /// `ts_recv` of the newest record (ns).
    pub last_ts: AtomicI64,
    /// The newest book snapshot or checkpoint; 0 = none.
    pub book_start: AtomicU64,
    /// Some lane has it: `owner` tells which, and its number there (lane << 32 | number).
    pub placed: AtomicBool,
    pub owner: AtomicU64,
    /// A writer holds it: it may not be handed over. Changed under the tape's `claims` lock, or by the holder.
    pub in_use: AtomicBool,
    pub core: Mutex<TopicCore>,
}

/// What [`crate::Tape::topics`] tells of each topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    pub topic: Topic,
    /// The lane that owns it, or owned it last.
    pub lane: String,
    pub class: Class,
    pub head: u64,
    /// The oldest seq that can be read; above `head` when all of it was removed.
    pub oldest: u64,
    /// The newest seq that is on the disk.
    pub synced: u64,
    /// `ts_recv` of the newest record.
    pub last_ts_recv: wholetape_model::Ts,
}

impl TopicShared {
    pub fn new(topic: Topic) -> Self {
        Self {
            topic,
            head: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            last_ts: AtomicI64::new(0),
            book_start: AtomicU64::new(0),
            placed: AtomicBool::new(false),
            owner: AtomicU64::new(0),
            in_use: AtomicBool::new(false),
            core: Mutex::new(TopicCore::default()),
        }
    }

    pub fn synced_seq(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The lane that owns it, or owned it last.
    pub fn lane(&self) -> usize {
        (self.owner.load(Ordering::Acquire) >> 32) as usize
    }

    /// Whether it is topic `no` of that lane now.
    pub fn is_at(&self, lane: usize, no: u32) -> bool {
        self.placed.load(Ordering::Acquire) && self.owner.load(Ordering::Acquire) == (lane as u64) << 32 | u64::from(no)
    }

    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }
}

impl TopicCore {
    /// The run that holds what follows `position`, and how many of its records lie at or before `position`.
    pub fn run_after(&self, position: u64) -> Option<usize> {
        let i = self.ring.partition_point(|r| r.last <= position);
        self.ring.get(i).filter(|r| r.prev <= position).map(|_| i)
    }

    pub fn note_mark(&mut self, seq: u64) {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(seq);
    }

    /// The place whose records follow `position`.
    pub fn place_after(&self, position: u64) -> Option<usize> {
        self.places.iter().rposition(|p| p.start <= position)
    }
}
