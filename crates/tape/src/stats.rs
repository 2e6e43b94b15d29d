//! Figures for metrics: counters that the hot path moves once per batch, histograms without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wholetape_model::{Class, Topic};

use crate::reader::Policy;
use crate::wake::Watch;

/// Buckets: four per power of two of nanoseconds.
const BUCKETS: usize = 64 * 4;

/// A histogram of durations; a value is known to 25 %.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

fn bucket(ns: u64) -> usize {
    if ns < 4 {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros() as usize;
    power * 4 + ((ns >> (power - 2)) & 3) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64 & 3;
    }
    let (power, part) = (bucket / 4, bucket as u64 % 4);
    (1_u64 << power) - 1 + ((part + 1) << (power - 2))
}

impl Histogram {
    pub(crate) fn note(&self, d: Duration) {
        self.note_ns(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn note_ns(&self, ns: u64) {
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(ns, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Durations {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let count = counts.iter().sum::<u64>();
        let max = self.max.load(Ordering::Relaxed);
        let at = |share: f64| {
            let want = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            for (i, n) in counts.iter().enumerate() {
                seen += n;
                if seen >= want {
                    return Duration::from_nanos(upper(i).min(max));
                }
            }
            Duration::ZERO
        };
        Durations {
            count,
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(max),
        }
    }
}

/// What a histogram tells. Quantiles are upper bounds, at most 25 % above the true value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    pub count: u64,
    pub sum: Duration,
    pub p50: Duration,
    pub p99: Duration,
    pub p999: Duration,
    pub max: Duration,
}

/// How much room the file system has, against [`crate::LowSpace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SpaceState {
    #[default]
    Enough,
    /// Below the soft mark.
    Soft,
    /// Below the hard mark: data is being given up. Health is red.
    Hard,
}

impl SpaceState {
    pub(crate) const fn from_u8(v: u8) -> Self {
        match v {
            0 => Self::Enough,
            1 => Self::Soft,
            _ => Self::Hard,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStats {
    pub name: String,
    pub records: u64,
    pub bytes: u64,
    pub batches: u64,
    /// Records that await fsync.
    pub unsynced_records: u64,
    pub segments: usize,
    /// Bytes of all its segments.
    pub disk_bytes: u64,
    /// Bytes of batches kept in memory for readers.
    pub memory_bytes: u64,
    /// Somebody holds the writer.
    pub writing: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReaderStats {
    pub topic: Topic,
    pub class: Class,
    pub policy: Policy,
    /// Records (seqs) between its position and the head.
    pub queue_len: u64,
    pub processed: u64,
    /// Seqs that it was told it missed.
    pub dropped: u64,
    /// dropped / (dropped + processed); 0 when there was nothing yet.
    pub drop_ratio: f64,
}

impl ReaderStats {
    pub(crate) fn of(watch: &Watch) -> Self {
        let (processed, dropped) = (watch.processed.load(Ordering::Relaxed), watch.dropped.load(Ordering::Relaxed));
        let all = processed + dropped;
        Self {
            topic: watch.topic.topic.clone(),
            class: watch.class,
            policy: watch.policy,
            queue_len: watch.behind(),
            processed,
            dropped,
            drop_ratio: if all == 0 { 0.0 } else { dropped as f64 / all as f64 },
        }
    }
}

/// A view of the whole tape at one moment. Counters are since it was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TapeStats {
    pub records: u64,
    pub bytes: u64,
    pub batches: u64,
    /// Durations of fsync calls.
    pub fsync: Durations,
    /// From the beginning of a commit to the moment a reader that slept took its rows.
    pub wake: Durations,
    pub lanes: Vec<LaneStats>,
    pub readers: Vec<ReaderStats>,
    pub space: SpaceState,
    pub free_bytes: u64,
    /// An fsync failed; nothing is taken until the tape is opened again. Health is red.
    pub sync_failed: bool,
    /// Segments removed by age or size, and because space ran out.
    pub segments_retired: u64,
    pub segments_lost: u64,
    /// Damaged records that readers met.
    pub corrupt_records: u64,
    /// Reads of segments that failed and are tried again.
    pub read_errors: u64,
    /// Topics marked `lost(power)` when the tape was opened.
    pub power_marks: u64,
    /// Torn bytes cut, and stretches of damage found, when the tape was opened.
    pub torn_bytes: u64,
    pub holes: u64,
    /// In-process handlers: failures (errors and panics) of all subscriptions.
    pub handler_failures: u64,
}

impl TapeStats {
    /// Whether the tape loses, or may lose, data: space below the hard mark, or a failed fsync.
    #[must_use]
    pub fn is_red(&self) -> bool {
        self.sync_failed || self.space == SpaceState::Hard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds_within_a_quarter() {
        let h = Histogram::default();
        for us in 1..=1000 {
            h.note(Duration::from_micros(us));
        }
        let d = h.read();
        assert_eq!((d.count, d.max), (1000, Duration::from_millis(1)));
        for (got, true_us) in [(d.p50, 500), (d.p99, 990), (d.p999, 999)] {
            assert!(got >= Duration::from_micros(true_us) && got <= Duration::from_micros(true_us * 5 / 4), "{got:?}");
        }
    }

    #[test]
    fn every_value_is_within_its_bucket() {
        for ns in (0..4096).chain([1 << 40, u64::MAX / 2, u64::MAX]) {
            let b = bucket(ns);
            assert!(upper(b) >= ns && (b == 0 || b < 8 || upper(b - 1) < ns), "{ns} in {b}");
        }
    }
}
