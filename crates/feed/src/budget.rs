//! How much of a venue's patience is left: REST weight, snapshot tokens, connection attempts.
//!
//! Pure, time is an argument. Venues count weight in fixed windows aligned to their own clock, which we do not know
//! exactly; so what *we* sent is counted over a sliding window of the same length, and then no alignment of the venue's
//! window can hold more than the limit. What *others* behind our address sent shows in the venue's header, where it has one, and
//! is charged until the window that it belongs to is over.
//!
//! Invariants (property-tested): in any of the venue's windows the weight granted is within the limit; a lower priority never
//! takes what is reserved for a higher one; nothing is granted while the venue told us to wait.

use std::collections::VecDeque;
use std::time::Duration;

use wholetape_model::Ts;
use wholetape_venue::Rate;

use crate::line::Priority;

/// So far our clock may be ahead of the venue's: its window ends so much later than we think.
const SKEW: Duration = Duration::from_secs(10);

/// A sum over the last `span` that stays within `limit`.
#[derive(Debug, Clone)]
pub struct SlidingWindow {
    span: Duration,
    limit: u32,
    taken: VecDeque<(Ts, u32)>,
    sum: u32,
}

impl SlidingWindow {
    #[must_use]
    pub const fn new(limit: u32, span: Duration) -> Self {
        Self { span, limit, taken: VecDeque::new(), sum: 0 }
    }

    fn forget(&mut self, now: Ts) {
        while let Some(&(at, n)) = self.taken.front()
            && now.since(at) >= self.span
        {
            self.sum -= n;
            self.taken.pop_front();
        }
    }

    #[must_use]
    pub fn used(&mut self, now: Ts) -> u32 {
        self.forget(now);
        self.sum
    }

    /// # Errors
    /// The time after which `n` fits; [`Duration::MAX`] when it never does.
    pub fn take(&mut self, now: Ts, n: u32) -> Result<(), Duration> {
        self.take_within(now, n, self.limit)
    }

    fn take_within(&mut self, now: Ts, n: u32, ceiling: u32) -> Result<(), Duration> {
        self.peek_within(now, n, ceiling)?;
        self.sum += n;
        match self.taken.back_mut() {
            Some(last) if last.0 == now => last.1 += n,
            _ => self.taken.push_back((now, n)),
        }
        Ok(())
    }

    /// Whether it fits, without taking it.
    fn peek_within(&mut self, now: Ts, n: u32, ceiling: u32) -> Result<(), Duration> {
        self.forget(now);
        if n > ceiling {
            return Err(Duration::MAX);
        }
        if self.sum + n <= ceiling {
            return Ok(());
        }
        let mut left = self.sum;
        for &(at, k) in &self.taken {
            left -= k;
            if left + n <= ceiling {
                return Err((at + self.span).since(now).max(Duration::from_nanos(1)));
            }
        }
        Err(self.span)
    }
}

/// Tokens that come back one by one: a burst is possible, a storm is not.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: u32,
    refill_every: Duration,
    tokens: u32,
    at: Ts,
}

impl TokenBucket {
    #[must_use]
    pub const fn new(capacity: u32, refill_every: Duration) -> Self {
        Self { capacity, refill_every, tokens: capacity, at: Ts::ZERO }
    }

    fn refill(&mut self, now: Ts) {
        if self.tokens >= self.capacity || self.refill_every.is_zero() {
            self.tokens = self.capacity;
            self.at = now;
            return;
        }
        let new = now.since(self.at).as_nanos() / self.refill_every.as_nanos();
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.capacity);
            self.at = self.at + self.refill_every.saturating_mul(new);
        }
    }

    /// # Errors
    /// How long until the next token.
    pub fn ready(&mut self, now: Ts) -> Result<(), Duration> {
        self.refill(now);
        if self.tokens > 0 {
            return Ok(());
        }
        Err((self.at + self.refill_every).since(now).max(Duration::from_millis(1)))
    }

    /// # Errors
    /// As [`TokenBucket::ready`].
    pub fn take(&mut self, now: Ts) -> Result<(), Duration> {
        self.ready(now)?;
        self.tokens -= 1;
        Ok(())
    }
}

/// The REST weight of one host, shared by all lines that speak to it.
#[derive(Debug, Clone)]
pub struct WeightBudget {
    limit: u32,
    /// The length of the venue's window.
    window: Duration,
    ours: SlidingWindow,
    /// Of it, what went into probes: hundreds of quiet streams would leave nothing for a backlog.
    probes: SlidingWindow,
    /// Weight in the venue's count that is not ours, and when it stops counting.
    others: u32,
    others_until: Ts,
    blocked_until: Ts,
}

impl WeightBudget {
    /// What the venue bears, in its units.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self {
            limit: rate.count,
            window: rate.per,
            ours: SlidingWindow::new(rate.count, rate.per),
            probes: SlidingWindow::new(rate.count / 5, rate.per),
            others: 0,
            others_until: Ts::ZERO,
            blocked_until: Ts::ZERO,
        }
    }

    /// What `priority` may fill the window up to. The rest is reserved for the more urgent.
    #[must_use]
    pub fn ceiling(limit: u32, priority: Priority) -> u32 {
        let percent: u64 = match priority {
            Priority::BookResync => 100,
            // After a cut holes and books come at once: what is left is enough for the snapshots of dozens of books.
            Priority::LiveHole => 80,
            Priority::Poll | Priority::Probe => 70,
            // Half: a resync that begins in the midst of a backlog finds the other half.
            Priority::Backlog => 50,
        };
        u32::try_from(u64::from(limit) * percent / 100).unwrap_or(u32::MAX)
    }

    /// Takes `weight` if it fits.
    ///
    /// # Errors
    /// How long to wait; [`Duration::MAX`] when it is more than the whole limit.
    pub fn take(&mut self, now: Ts, weight: u32, priority: Priority) -> Result<(), Duration> {
        if now < self.blocked_until {
            return Err(self.blocked_until.since(now));
        }
        if weight > self.limit {
            return Err(Duration::MAX);
        }
        // One that is heavier than its share goes when nothing else does: late, but not never.
        let ceiling = Self::ceiling(self.limit, priority).max(weight);
        let others = if now < self.others_until { self.others } else { 0 };
        let left = ceiling.saturating_sub(others);
        if weight > left {
            return Err(self.others_until.since(now).max(Duration::from_millis(1)));
        }
        if priority == Priority::Probe {
            // As above: heavier than the share of all probes goes when no other probe does.
            let share = self.probes.limit.max(weight);
            let waits = [self.probes.peek_within(now, weight, share), self.ours.peek_within(now, weight, left)];
            if let Some(wait) = waits.into_iter().filter_map(Result::err).max() {
                return Err(wait);
            }
            self.probes.take_within(now, weight, share)?;
        }
        self.ours.take_within(now, weight, left)
    }

    /// The venue says how much of the present window is left.
    pub fn on_left(&mut self, now: Ts, left: u32) {
        self.on_used(now, self.limit.saturating_sub(left));
    }

    /// The venue says how much of the present window is used, ours included.
    pub fn on_used(&mut self, now: Ts, used: u32) {
        let ours = self.ours.used(now);
        let others = used.saturating_sub(ours);
        // Less than what others alone had used: the venue's window has begun anew.
        let anew = used < self.others;
        if now >= self.others_until || others > self.others || anew {
            self.others = others;
            // The venue's window ends at a full minute of its clock (or whatever its length is), and within one window whatever its
            // clock says; a skewed clock of ours costs at most a wait.
            let length = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX).max(1);
            let next = Ts((now.0.div_euclid(length) + 1).saturating_mul(length));
            self.others_until = (next + SKEW).min(now + self.window);
        }
    }

    /// The venue said that it was too much: nothing goes out before `wait` is over.
    pub fn on_retry_after(&mut self, now: Ts, wait: Duration) {
        self.blocked_until = self.blocked_until.max(now + wait);
    }

    /// Weight that counts against the present window.
    #[must_use]
    pub fn used(&mut self, now: Ts) -> u32 {
        let others = if now < self.others_until { self.others } else { 0 };
        self.ours.used(now).saturating_add(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const CLASSES: [Priority; 5] =
        [Priority::BookResync, Priority::LiveHole, Priority::Poll, Priority::Probe, Priority::Backlog];
    const T: Ts = Ts(600_000_000_000);

    #[test]
    fn the_urgent_find_room_that_others_were_refused() {
        let mut b = WeightBudget::new(Rate::new(100, MINUTE));
        for _ in 0..5 {
            assert_eq!(b.take(T, 10, Priority::Backlog), Ok(()));
        }
        assert_eq!(b.take(T, 10, Priority::Backlog), Err(MINUTE));
        assert_eq!(b.take(T, 20, Priority::Poll), Ok(()));
        assert_eq!(b.take(T, 10, Priority::LiveHole), Ok(()));
        assert!(b.take(T, 1, Priority::LiveHole).is_err());
        assert_eq!(b.take(T, 20, Priority::BookResync), Ok(()));
        assert!(b.take(T, 1, Priority::BookResync).is_err());
        assert_eq!(b.take(T + MINUTE, 1, Priority::Backlog), Ok(()));
    }

    #[test]
    fn waits_just_long_enough() {
        let mut b = WeightBudget::new(Rate::new(100, MINUTE));
        b.take(T, 50, Priority::BookResync).unwrap();
        b.take(T + S * 10, 50, Priority::BookResync).unwrap();
        assert_eq!(b.take(T + S * 20, 40, Priority::BookResync), Err(S * 40));
        assert_eq!(b.take(T + S * 20, 60, Priority::BookResync), Err(S * 50));
        assert_eq!(b.take(T + S * 60, 40, Priority::BookResync), Ok(()));
    }

    #[test]
    fn the_venue_knows_better() {
        let mut b = WeightBudget::new(Rate::new(100, MINUTE));
        b.take(T, 10, Priority::Poll).unwrap();
        b.on_used(T + S, 95);
        assert_eq!(b.used(T + S), 95);
        assert_eq!(b.take(T + S, 10, Priority::BookResync), Err(S * 59), "until its minute is over");
        assert_eq!(b.take(T + S * 60, 10, Priority::BookResync), Ok(()));
        b.on_retry_after(T + S * 60, S * 120);
        assert_eq!(b.take(T + S * 70, 1, Priority::BookResync), Err(S * 110));
        assert_eq!(b.take(T + S * 180, 1, Priority::BookResync), Ok(()));
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_end_the_venues_minute() {
        // After a restart: the former process had used 95 of the minute that the venue counts.
        let mut b = WeightBudget::new(Rate::new(100, MINUTE));
        b.take(T + S * 59, 1, Priority::Poll).unwrap();
        b.on_used(T + S * 59, 96);
        assert_eq!(b.take(T + S * 62, 50, Priority::BookResync), Err(S * 8), "its minute may go on");
        // What others used cannot become less within one minute: a new one has begun.
        b.take(T + S * 63, 2, Priority::BookResync).unwrap();
        b.on_used(T + S * 63, 2);
        assert_eq!(b.take(T + S * 63, 50, Priority::BookResync), Ok(()));
    }

    #[test]
    fn a_window_is_as_long_as_the_venue_says() {
        // OKX: two seconds; dYdX tells what is left.
        let mut b = WeightBudget::new(Rate::new(40, S * 2));
        b.take(T, 40, Priority::BookResync).unwrap();
        assert_eq!(b.take(T + S, 40, Priority::BookResync), Err(S));
        assert_eq!(b.take(T + S * 2, 1, Priority::BookResync), Ok(()));
        b.on_left(T + S * 2, 5);
        assert_eq!(b.used(T + S * 2), 35);
        assert_eq!(b.used(T + S * 4), 0, "what others used ends with the window");
    }

    #[test]
    fn probes_leave_room_for_a_backlog() {
        let mut b = WeightBudget::new(Rate::new(2_400, MINUTE));
        let taken = (0..500).filter(|_| b.take(T, 20, Priority::Probe).is_ok()).count();
        assert_eq!(taken, 24, "a fifth of 2400");
        assert_eq!((0..500).filter(|_| b.take(T, 20, Priority::Backlog).is_ok()).count(), 36, "up to the half");
        assert_eq!((0..500).filter(|_| b.take(T, 20, Priority::LiveHole).is_ok()).count(), 36, "up to four fifths");
    }

    #[test]
    fn too_heavy_is_said_at_once() {
        assert_eq!(WeightBudget::new(Rate::new(100, MINUTE)).take(T, 101, Priority::BookResync), Err(Duration::MAX));
        let mut b = WeightBudget::new(Rate::new(100, MINUTE));
        assert_eq!(b.take(T, 61, Priority::Backlog), Ok(()), "more than its share, and nothing else runs");
        assert_eq!(b.take(T + S, 61, Priority::Backlog), Err(S * 59));
    }

    #[test]
    fn a_bucket_allows_a_burst_and_then_a_trickle() {
        let mut b = TokenBucket::new(3, S);
        assert_eq!((0..5).filter(|_| b.take(T).is_ok()).count(), 3);
        assert_eq!(b.ready(T), Err(S));
        assert_eq!(b.take(T + S), Ok(()));
        assert!(b.take(T + S).is_err());
        assert_eq!((0..50).filter(|_| b.take(T + S * 1_000).is_ok()).count(), 3, "never more than it holds");
    }

    #[test]
    fn connects_are_counted_over_any_five_minutes() {
        let mut w = SlidingWindow::new(300, S * 300);
        assert_eq!((0..400).filter(|i| w.take(T + S / 10 * *i, 1).is_ok()).count(), 300);
        assert_eq!(w.take(T + S * 300, 1), Ok(()));
    }

    proptest! {
        #[test]
        fn never_exceeds(steps in proptest::collection::vec((0_u64..9_000, 0_u32..60, 0_u8..5), 1..300)) {
            let mut b = WeightBudget::new(Rate::new(100, MINUTE));
            let mut now = T;
            let mut granted: Vec<(Ts, u32, u32, bool)> = Vec::new();
            for (ms, weight, p) in steps {
                now = now + Duration::from_millis(ms);
                let priority = CLASSES[usize::from(p)];
                match b.take(now, weight, priority) {
                    Ok(()) => {
                        let ceiling = WeightBudget::ceiling(100, priority).max(weight);
                        granted.push((now, weight, ceiling, priority == Priority::Probe));
                    }
                    Err(wait) if wait < Duration::MAX => {
                        prop_assert!(wait <= MINUTE);
                        prop_assert_eq!(b.clone().take(now + wait, weight, priority), Ok(()), "the wait is enough");
                    }
                    Err(_) => prop_assert!(weight > 100),
                }
            }
            for (i, &(end, _, ceiling, _)) in granted.iter().enumerate() {
                let sum: u32 = granted[..=i].iter().filter(|(t, ..)| end.since(*t) < MINUTE).map(|g| g.1).sum();
                prop_assert!(sum <= 100);
                prop_assert!(sum <= ceiling);
                if granted[i].3 {
                    let probes = granted[..=i].iter().filter(|g| g.3 && end.since(g.0) < MINUTE);
                    prop_assert!(probes.map(|g| g.1).sum::<u32>() <= 20.max(granted[i].1));
                }
            }
        }
    }
}
