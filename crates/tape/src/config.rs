//! What a tape can be told. Plain structs with defaults; the `app` crate reads them from its configuration file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wholetape_model::Topic;

use crate::clock::TapeTime;
use crate::disk::{Disk, RealDisk};

/// How many seqs a power loss may at most have shown to readers: the span of a `lost(power)` mark.
///
/// A lane therefore holds back before this many records await fsync (the bound itself is one less, because the mark
/// takes the last seq of its range for itself).
pub const POWER_SPAN: u32 = 1 << 20;

/// When written records are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// At most this long after the write. Under load the sync thread does not wait for it.
    Every(Duration),
    /// Before the batch is served: `commit` returns when the disk has it.
    Batch,
}

/// When whole sealed segments go. `None` keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// A segment goes once it was sealed longer ago than this.
    pub age_max: Option<Duration>,
    /// Bytes of all lanes together; the segment sealed first goes first.
    pub bytes_max: Option<u64>,
}

/// Free bytes of the file system at which the tape speaks up, and acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowSpace {
    /// Below this the state is `Soft`: a warning.
    pub soft_bytes: u64,
    /// Below this the oldest segment goes (lanes named `raw…` first), with a mark `lost(disk)` in its topics.
    pub hard_bytes: u64,
}

impl Default for LowSpace {
    fn default() -> Self {
        Self { soft_bytes: 1 << 30, hard_bytes: 256 << 20 }
    }
}

/// Settings of a [`crate::Tape`].
#[derive(Clone)]
pub struct TapeConfig {
    /// A segment is sealed before it would grow beyond this.
    pub segment_bytes: u64,
    pub fsync: Fsync,
    /// Records of one lane that may await fsync before its `commit` waits. At most [`POWER_SPAN`] − 1 is used.
    pub unsynced_records_max: u32,
    /// Unsynced bytes of one lane at which the sync thread starts at once instead of waiting for its timer. Small, because
    /// a sync takes as long as its group is large, and a thread that slept long for the disk is late on the CPU as well:
    /// 512 KiB had two to three times the p99 of 64 KiB, at eight times fewer syncs; below 64 KiB nothing is gained.
    pub sync_bytes: u64,
    pub retention: Retention,
    /// Topics that somebody stores elsewhere too. From the moment it is opened, retention by age and size leaves all of their
    /// records but those that are stored by now ([`crate::Tape::hold`]), also of topics that are new.
    pub stored_elsewhere: Option<fn(&Topic) -> bool>,
    pub low_space: LowSpace,
    /// Newest batches kept in memory for readers, per lane: at most so many bytes, and of the last minute.
    pub memory_bytes: u64,
    /// A batch that reaches this is written by `append` itself.
    pub batch_bytes_max: usize,
    /// Whether readers may choose `Policy::Block`: for replay tapes, where the source can wait.
    pub allow_block: bool,
    /// The boot id to believe instead of the kernel's: simulates a power loss.
    pub boot_id: Option<String>,
    /// The file system; tests put a failing one here, the simulation one in memory.
    pub disk: Arc<dyn Disk>,
    /// The tape starts no thread: its owner calls [`crate::Tape::sync_now`] and [`crate::Tape::check_space`], and this tells
    /// the time. With a disk in memory everything then happens on the owner's thread and is the same every time.
    pub driven: Option<Arc<dyn TapeTime>>,
}

impl Default for TapeConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            fsync: Fsync::Every(Duration::from_millis(100)),
            unsynced_records_max: POWER_SPAN - 1,
            sync_bytes: 64 << 10,
            retention: Retention::default(),
            stored_elsewhere: None,
            low_space: LowSpace::default(),
            memory_bytes: 64 << 20,
            batch_bytes_max: 1 << 20,
            allow_block: false,
            boot_id: None,
            disk: Arc::new(RealDisk),
            driven: None,
        }
    }
}

impl fmt::Debug for TapeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapeConfig")
            .field("segment_bytes", &self.segment_bytes)
            .field("fsync", &self.fsync)
            .field("unsynced_records_max", &self.unsynced_records_max)
            .field("retention", &self.retention)
            .field("stored_elsewhere", &self.stored_elsewhere.is_some())
            .field("low_space", &self.low_space)
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}
