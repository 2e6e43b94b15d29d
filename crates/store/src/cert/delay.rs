//! How long after the venue's time a row was received, as percentiles.
//!
//! Delays are counted in buckets, 512 to each power of two, so a percentile is at most 0.2 % below the true one (exact below 1 µs)
//! and costs the same memory whatever the day brought. Venue clocks run ahead at times: negative delays are delays too.

use serde::{Deserialize, Serialize};

/// `ts_recv − ts_event` of rows that came live with a time of the venue's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    pub rows: u64,
    pub p50_ns: i64,
    pub p99_ns: i64,
}

const BITS: u32 = 10;

/// The bucket of a magnitude: ascending, and [`lowest`] is its inverse.
fn bucket(n: u64) -> usize {
    let shift = (64 - n.leading_zeros()).saturating_sub(BITS);
    ((shift as usize) << (BITS - 1)) + (n >> shift) as usize
}

/// The lowest magnitude of a bucket.
fn lowest(bucket: usize) -> i64 {
    let half = 1 << (BITS - 1);
    let shift = (bucket / half).saturating_sub(1);
    let value = (bucket - shift * half) as u64;
    i64::try_from(value << shift).unwrap_or(i64::MAX)
}

/// Delays on their way into percentiles.
#[derive(Debug, Clone, Default)]
pub struct Delays {
    /// Counts by bucket: of delays from zero on, and of negative ones.
    after: Vec<u64>,
    before: Vec<u64>,
    rows: u64,
}

impl Delays {
    #[inline]
    pub fn add(&mut self, ns: i64) {
        let (side, at) = (if ns < 0 { &mut self.before } else { &mut self.after }, bucket(ns.unsigned_abs()));
        if at >= side.len() {
            side.resize(at + 1, 0);
        }
        side[at] += 1;
        self.rows += 1;
    }

    pub fn add_all(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.after, &other.after), (&mut self.before, &other.before)] {
            mine.resize(mine.len().max(theirs.len()), 0);
            for (a, b) in mine.iter_mut().zip(theirs) {
                *a += b;
            }
        }
        self.rows += other.rows;
    }

    /// `None` without rows.
    #[must_use]
    pub fn figures(&self) -> Option<Delay> {
        let rows = self.rows;
        (rows > 0).then(|| Delay { rows, p50_ns: self.at(rows.div_ceil(2)), p99_ns: self.at(rows - rows / 100) })
    }

    /// The `rank`-th smallest, from 1.
    fn at(&self, rank: u64) -> i64 {
        let negative = self.before.iter().enumerate().rev().map(|(b, n)| (-lowest(b), *n));
        let all = negative.chain(self.after.iter().enumerate().map(|(b, n)| (lowest(b), *n)));
        let mut seen = 0;
        for (value, n) in all {
            seen += n;
            if seen >= rank {
                return value;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_within_their_bucket(mut all in proptest::collection::vec(any::<i64>(), 1..300), small in any::<bool>()) {
            if small {
                for n in &mut all {
                    *n %= 1_000;
                }
            }
            let mut delays = Delays::default();
            let (mut a, mut b) = (Delays::default(), Delays::default());
            for (i, n) in all.iter().enumerate() {
                delays.add(*n);
                if i % 3 == 0 { a.add(*n) } else { b.add(*n) }
            }
            a.add_all(&b);
            prop_assert_eq!(a.figures(), delays.figures());
            all.sort_unstable();
            let got = delays.figures().unwrap();
            let n = all.len();
            for (got, at) in [(got.p50_ns, n.div_ceil(2) - 1), (got.p99_ns, n - n / 100 - 1)] {
                let want = all[at];
                prop_assert!(got.unsigned_abs() <= want.unsigned_abs());
                prop_assert!(got.signum() * want.signum() >= 0);
                prop_assert!(want.unsigned_abs() - got.unsigned_abs() <= want.unsigned_abs() / 512, "{} {}", got, want);
                if want.abs() < 1_000 {
                    prop_assert_eq!(got, want);
                }
            }
        }
    }
}
