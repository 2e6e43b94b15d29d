//! How often a stream usually speaks, by the hour of the day (UTC).
//!
//! A [`Cadence`] keeps, for each of 24 hours, a histogram of silences: of every second in which the stream spoke, the longest
//! time that had passed before a row of it. So a busy second counts once, however many rows it has, and a quantile answers
//! "how long is this stream silent at most, in all but one of a hundred of its seconds at this hour". Logarithmic buckets
//! make it robust: one outlier moves one count. Old days fade: a full slot is halved.
//!
//! Invariants: no allocation after creation; 42 bytes an hour; a quantile is the upper bound of its bucket, never too short;
//! a text that was written by [`Cadence::write`] reads back as the same counts, and any other text is refused whole.

use std::fmt::Write as _;
use std::time::Duration;

use wholetape_model::Ts;

/// Buckets of a slot: bucket `i` holds silences up to `16 ms × 2^i`, the last one all longer ones (2.3 h and more).
const BUCKETS: usize = 20;
const FIRST_NS: i64 = 16_000_000;
/// A slot is halved when it holds this many: two hours of a stream that speaks every second.
const FULL: u16 = 8_192;
/// A slot says something from this many samples on.
const ENOUGH: u32 = 32;
/// One sample a second at most.
const WINDOW_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slot {
    counts: [u16; BUCKETS],
    total: u16,
}

impl Slot {
    fn add(&mut self, bucket: usize) {
        if self.total >= FULL {
            self.counts.iter_mut().for_each(|c| *c /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }
}

/// What to expect of a stream at this hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The silence that half of its seconds do not exceed.
    pub p50: Duration,
    /// That only one of a hundred exceeds.
    pub p99: Duration,
    pub samples: u32,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cadence {
    slots: Box<[Slot; 24]>,
    /// The longest silence of the second at hand, and when that second ends.
    longest: i64,
    until: i64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { slots: Box::new([Slot::default(); 24]), longest: 0, until: 0 }
    }
}

impl Cadence {
    /// The stream spoke at `now`, after a silence of `gap` in which it was subscribed all the time.
    #[inline]
    pub fn spoke(&mut self, now: Ts, gap_ns: i64) {
        if now.0 < self.until {
            self.longest = self.longest.max(gap_ns);
            return;
        }
        if self.until > 0 {
            self.slots[hour(Ts(self.until))].add(bucket(self.longest));
        }
        self.longest = gap_ns;
        self.until = now.0.saturating_add(WINDOW_NS);
    }

    /// What this hour taught; where it taught too little yet, its neighbours, then the whole day; `None` where that is too
    /// little as well.
    #[must_use]
    pub fn expected(&self, now: Ts) -> Option<Expected> {
        let hour = hour(now);
        let near = [hour, (hour + 1) % 24, (hour + 23) % 24];
        let day: [usize; 24] = std::array::from_fn(|h| h);
        [&near[..1], &near[..], &day[..]].into_iter().find_map(|hours| self.over(hours))
    }

    fn over(&self, hours: &[usize]) -> Option<Expected> {
        let samples: u32 = hours.iter().map(|h| u32::from(self.slots[*h].total)).sum();
        if samples < ENOUGH {
            return None;
        }
        let quantile = |percent: u32| {
            let rank = (samples * percent).div_ceil(100);
            let mut seen = 0;
            for b in 0..BUCKETS {
                seen += hours.iter().map(|h| u32::from(self.slots[*h].counts[b])).sum::<u32>();
                if seen >= rank {
                    return bound(b);
                }
            }
            bound(BUCKETS - 1)
        };
        Some(Expected { p50: quantile(50), p99: quantile(99), samples })
    }

    /// Appends `hour:bucket=count,bucket=count` for each hour (or only `hour`) that has samples, separated by spaces.
    pub fn write(&self, only: Option<usize>, text: &mut String) {
        for (hour, slot) in self.slots.iter().enumerate() {
            if slot.total == 0 || only.is_some_and(|o| o != hour) {
                continue;
            }
            let _ = write!(text, " {hour}:");
            let mut comma = "";
            for (b, n) in slot.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
                let _ = write!(text, "{comma}{b}={n}");
                comma = ",";
            }
        }
    }

    /// Takes hours over from a text that [`Cadence::write`] made; `false`, and nothing taken, where it is another text.
    pub fn read(&mut self, text: &str) -> bool {
        let mut slots = self.slots.clone();
        for part in text.split_ascii_whitespace() {
            match slot_of(part).and_then(|(hour, slot)| Some((slots.get_mut(hour)?, slot))) {
                Some((place, slot)) => *place = slot,
                None => return false,
            }
        }
        self.slots = slots;
        true
    }

    /// Nothing was learned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|s| s.total == 0)
    }
}

/// The hour of the day, UTC.
#[must_use]
pub fn hour(now: Ts) -> usize {
    usize::try_from(now.0.rem_euclid(24 * HOUR_NS) / HOUR_NS).unwrap_or(0)
}

fn slot_of(text: &str) -> Option<(usize, Slot)> {
    let (hour, counts) = text.split_once(':')?;
    let mut slot = Slot::default();
    for pair in counts.split(',') {
        let (bucket, n) = pair.split_once('=')?;
        *slot.counts.get_mut(bucket.parse::<usize>().ok()?)? = n.parse().ok()?;
    }
    slot.total = slot.counts.iter().try_fold(0_u16, |sum, n| sum.checked_add(*n)).filter(|n| *n <= FULL)?;
    Some((hour.parse().ok()?, slot))
}

fn bucket(gap_ns: i64) -> usize {
    let units = u64::try_from((gap_ns - 1) / FIRST_NS).unwrap_or(0);
    ((u64::BITS - units.leading_zeros()) as usize).min(BUCKETS - 1)
}

fn bound(bucket: usize) -> Duration {
    Duration::from_nanos((FIRST_NS as u64) << bucket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;
    const DAY: i64 = 24 * HOUR_NS;

    /// Rows every `gap` ns over `span`, beginning at `from`.
    fn run(c: &mut Cadence, from: i64, span: i64, gap: i64) {
        for i in 1..=span / gap {
            c.spoke(Ts(from + i * gap), gap);
        }
    }

    #[test]
    fn each_hour_has_its_own_pace() {
        let mut c = Cadence::default();
        assert_eq!(c.expected(Ts(DAY)), None);
        run(&mut c, DAY + 3 * HOUR_NS, HOUR_NS, S / 10);
        run(&mut c, DAY + 14 * HOUR_NS, HOUR_NS - 60 * S, 30 * S);
        let busy = c.expected(Ts(9 * DAY + 3 * HOUR_NS + S)).unwrap();
        assert_eq!((busy.p50, busy.p99), (Duration::from_millis(128), Duration::from_millis(128)));
        let slow = c.expected(Ts(9 * DAY + 14 * HOUR_NS)).unwrap();
        assert!(slow.p50 >= Duration::from_secs(30) && slow.p50 <= Duration::from_secs(60), "{slow:?}");
        // An hour that was never seen asks its neighbours, then the day.
        assert_eq!(c.expected(Ts(DAY + 4 * HOUR_NS)).unwrap().p99, busy.p99);
        assert!(c.expected(Ts(DAY + 20 * HOUR_NS)).unwrap().samples >= busy.samples + slow.samples);
    }

    #[test]
    fn one_outlier_moves_nothing_and_old_days_fade() {
        let mut c = Cadence::default();
        run(&mut c, DAY, HOUR_NS / 2, S / 10);
        c.spoke(Ts(DAY + HOUR_NS / 2 + 600 * S), 600 * S);
        assert_eq!(c.expected(Ts(DAY)).unwrap().p99, Duration::from_millis(128));
        // The stream becomes ten times slower for good: a few days later that is what is expected.
        for day in 2..8 {
            run(&mut c, day * DAY, HOUR_NS - S, S);
        }
        assert!(c.expected(Ts(DAY)).unwrap().p50 >= Duration::from_secs(1));
    }

    #[test]
    fn a_burst_is_one_sample() {
        let mut c = Cadence::default();
        for i in 0..100_000 {
            c.spoke(Ts(DAY + i * 10_000), 10_000);
        }
        assert_eq!(c.expected(Ts(DAY)), None, "one second is no evidence");
    }

    #[test]
    fn what_is_no_cadence_is_refused_whole() {
        let mut c = Cadence::default();
        for text in ["x", "1:", "1:2", "1:2=x", "24:1=1", "1:20=1", "1:2=9000", "1:1=8000,2=60000", "1:2=3 9"] {
            assert!(!c.read(text), "{text}");
        }
        assert!(c.is_empty());
        assert!(c.read("") && c.is_empty());
    }

    proptest! {
        #[test]
        fn a_restart_knows_what_was_learned(gaps in proptest::collection::vec(1_i64..20_000_000_000_000, 0..300)) {
            let (mut c, mut now) = (Cadence::default(), DAY);
            for gap in gaps {
                now += gap;
                c.spoke(Ts(now), gap);
            }
            let mut text = String::new();
            c.write(None, &mut text);
            let mut again = Cadence::default();
            prop_assert!(again.read(&text));
            prop_assert_eq!(again.slots, c.slots);
        }

        #[test]
        fn a_bucket_is_never_too_short(gap in 1_i64..8_000_000_000_000) {
            prop_assert!(bound(bucket(gap)).as_nanos() as i64 >= gap);
            prop_assert!(gap <= FIRST_NS || (bound(bucket(gap)).as_nanos() as i64) < 2 * gap);
        }

        #[test]
        fn strange_texts_never_panic(text in ".*") {
            let _ = Cadence::default().read(&text);
        }
    }
}
