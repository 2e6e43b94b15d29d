//! REST polls of a session: by the clock, spread over their interval, and never in a storm.

use std::time::Duration;

use wholetape_model::Ts;

/// At least this long between two unplanned polls of the definitions.
const SOON: Duration = Duration::from_secs(5);
const SOON_SPACING: Duration = Duration::from_secs(60);

/// REST polls. Those of open interest are spread over their interval, one instrument at a time.
#[derive(Debug, Default)]
pub struct Polls {
    open_interest: Option<Spread>,
    instruments: Option<Every>,
}

/// One poll after another in turns, each instrument once in an interval.
#[derive(Debug)]
pub struct Spread {
    spacing: Duration,
    next: Ts,
    cursor: usize,
}

impl Spread {
    /// The first is due at `from`; `None` where there is nobody to poll.
    #[must_use]
    pub fn new(from: Ts, count: usize, interval: Duration) -> Option<Self> {
        let spacing = (interval / u32::try_from(count).unwrap_or(u32::MAX).max(1)).max(Duration::from_millis(1));
        (count > 0).then_some(Self { spacing, next: from, cursor: 0 })
    }

    /// Which of `count` is to be asked for now.
    pub fn poll(&mut self, now: Ts, count: usize) -> Option<usize> {
        if count == 0 || now < self.next {
            return None;
        }
        let at = self.cursor % count;
        self.cursor = at + 1;
        // After a stall polls are skipped, not made up for.
        self.next = (self.next + self.spacing).max(now + self.spacing.min(Duration::from_millis(100)));
        Some(at)
    }

    #[must_use]
    pub const fn next(&self) -> Ts {
        self.next
    }
}

#[derive(Debug)]
struct Every {
    interval: Duration,
    next: Ts,
    last: Ts,
}

impl Polls {
    /// `open_interest` and `instruments`: intervals, where they are to be polled at all.
    pub fn open(&mut self, now: Ts, count: usize, open_interest: Option<Duration>, instruments: Option<Duration>) {
        self.open_interest = open_interest.and_then(|interval| Spread::new(now, count, interval));
        self.instruments = instruments.map(|interval| Every {
            interval: interval.max(Duration::from_secs(1)),
            next: now,
            last: now - SOON_SPACING,
        });
    }

    /// Which of `count` instruments to ask for its open interest now.
    pub fn open_interest(&mut self, now: Ts, count: usize) -> Option<usize> {
        self.open_interest.as_mut()?.poll(now, count)
    }

    /// Whether to ask for the definitions now.
    pub fn instruments(&mut self, now: Ts) -> bool {
        let Some(every) = self.instruments.as_mut().filter(|e| now >= e.next) else { return false };
        every.last = now;
        every.next = now + every.interval;
        true
    }

    /// Something changed: ask earlier than planned, but at most once a minute.
    pub fn instruments_soon(&mut self, now: Ts) {
        if let Some(every) = &mut self.instruments {
            every.next = every.next.min((now + SOON).max(every.last + SOON_SPACING));
        }
    }

    #[must_use]
    pub fn next(&self) -> Option<Ts> {
        let a = self.open_interest.as_ref().map(Spread::next);
        let b = self.instruments.as_ref().map(|e| e.next);
        [a, b].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Ts {
        Ts::from_millis(1_000_000 + ms)
    }

    #[test]
    fn polls_are_spread_and_always_move_forward() {
        let mut polls = Polls::default();
        polls.open(at(0), 3, Some(Duration::from_secs(30)), Some(Duration::from_secs(600)));
        assert_eq!(polls.open_interest(at(0), 3), Some(0));
        assert_eq!(polls.open_interest(at(0), 3), None);
        assert_eq!(polls.open_interest(at(10_000), 3), Some(1));
        assert!(polls.instruments(at(0)) && !polls.instruments(at(0)));
        // A long stall: one poll, then forward.
        let late = at(1_000_000);
        assert_eq!(polls.open_interest(late, 3), Some(2));
        assert_eq!(polls.open_interest(late, 3), None);
        assert!(polls.instruments(late));
        assert!(polls.next().unwrap() > late);
    }

    #[test]
    fn definitions_are_not_asked_for_in_a_storm() {
        let mut polls = Polls::default();
        polls.open(at(0), 1, None, Some(Duration::from_secs(600)));
        assert!(polls.instruments(at(0)));
        polls.instruments_soon(at(1_000));
        assert_eq!(polls.next(), Some(at(60_000)));
        assert!(polls.instruments(at(60_000)));
    }
}
