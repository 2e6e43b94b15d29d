//! What happened to one book since it was made, as counts.
//!
//! The first five mean exactly what the truth files of recorded captures mean by the same names.

/// Counts of one [`crate::SyncedOrderBook`]; they only grow, but for `buffered`.
///
/// `deltas_seen = deltas_applied + deltas_discarded_old + deltas_unsynced + deltas_rejected + beats + buffered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpliceStats {
    /// Deltas received, whatever became of them.
    pub deltas_seen: u64,
    pub deltas_applied: u64,
    /// Older than the snapshot, or received before (superseded).
    pub deltas_discarded_old: u64,
    /// Breaks in the venue's own chain over all deltas received: a delta that does not follow the newest one before it.
    /// A repeated or late delta is not a break.
    pub sequence_gaps: u64,
    /// Queued now, waiting for a snapshot.
    pub buffered: u64,
    /// Never usable: the queue overflowed, the chain broke before a snapshot came, or none can be waited for with what came before
    /// it.
    pub deltas_unsynced: u64,
    /// Refused by validation, or led to a book that has not the venue's checksum.
    pub deltas_rejected: u64,
    /// Signs of life: they change nothing.
    pub beats: u64,
    pub checksums_checked: u64,
    pub checksums_failed: u64,
    /// Snapshots that became the book.
    pub snapshots: u64,
    /// Snapshots older than the first delta queued.
    pub snapshots_too_old: u64,
    /// Snapshots refused by validation.
    pub snapshots_rejected: u64,
    /// Snapshots that came while the book was live.
    pub snapshots_not_needed: u64,
    /// Times that a live book had to be built anew.
    pub resyncs: u64,
    pub queue_overflows: u64,
}
