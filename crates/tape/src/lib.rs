//! The durable log and the bus in one: topics with consecutive `seq`, lanes with one writer, cursors with policies.
//!
//! A [`Tape`] owns a data directory. Each worker writes through a [`Lane`]: rows are appended to a batch, `commit` makes
//! it one write and then serves the very same bytes. Whoever wants records has a [`Reader`], a cursor `(topic, seq)`: it
//! takes the newest from shared memory, older ones from the files at its own pace, and is told exactly what it missed.
//!
//! Invariants (DESIGN §2, `docs/tape.md`):
//! - A seq is given once: never reused, renumbered or reordered, whatever is killed, torn or cut off.
//! - Readers see a record only after it was written; a writer never waits for a reader (but on replay tapes).
//! - What a reader is not given comes as [`Delivery::Missed`], never as silence and never as wrong bytes.
//! - Memory is bounded: per lane the newest batches, per reader one chunk.
//!
//! Start with [`tape`](Tape) (open, recover), then `lane.rs` and `commit.rs` (writing), `reader.rs` (reading),
//! `format.rs` and `scan.rs` (the files).

mod block;
mod chunks;
mod clock;
mod commit;
mod config;
pub mod coverage;
mod disk;
mod error;
mod format;
mod headless;
pub mod history;
mod identity;
mod index;
mod known;
mod lane;
mod locate;
mod owed;
mod reader;
mod recover;
mod registry;
mod retain;
mod roll;
mod scan;
mod segment;
mod stats;
mod subscribe;
mod sync;
mod tape;
mod topic;
mod wake;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use block::Shared;
pub use chunks::ChunkQueue;
pub use clock::TapeTime;
pub use config::{Fsync, LowSpace, POWER_SPAN, Retention, TapeConfig};
pub use disk::{Access, Disk, DiskFile, Listed, Locking, Meta, RealDisk};
pub use error::TapeError;
pub use lane::{Lane, TopicNo};
pub use reader::{Delivery, From, MissedWhy, Policy, Reader, ReaderOptions};
pub use retain::DueSegment;
pub use stats::{Durations, Histogram, LaneStats, ReaderStats, SpaceState, TapeStats};
pub use subscribe::{Filter, HandlerError, Subscription};
pub use tape::Tape;
pub use topic::TopicState;
pub use wake::WakeSet;

/// Locks are held over plain data changes only, so what a panicking holder left behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
