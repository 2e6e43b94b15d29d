//! What a session does by the clock: subscriptions paced under the venue's message rate, and REST polls.
//!
//! Subscriptions are `SUBSCRIBE` messages, not names in the address: only they are answered, so a refusal is seen and
//! named.

use std::collections::VecDeque;
use std::time::Duration;

use wholetape_model::Ts;

use super::frame::Subscribe;
use super::limits::Facts;

/// Streams of one request: a message stays well under 4 KiB, and a refusal concerns few.
const BATCH: usize = 50;
/// Requests remembered until they are answered.
const PENDING_MAX: usize = 1024;

/// The subscriptions of one connection: waiting, asked, answered.
#[derive(Debug, Default)]
pub struct Subscriptions {
    waiting: VecDeque<Vec<String>>,
    asked: Vec<(u64, Vec<String>)>,
    last_id: u64,
    next_send: Option<Ts>,
    spacing: Duration,
}

impl Subscriptions {
    /// Begins anew on a fresh transport. Ids go on, so that an answer is never taken for another's.
    pub fn open(&mut self, now: Ts, streams: &[String], facts: &Facts) {
        self.asked.clear();
        self.waiting = streams.chunks(BATCH).map(<[String]>::to_vec).collect();
        self.spacing = facts.message_spacing();
        self.next_send = (!self.waiting.is_empty()).then_some(now);
    }

    /// The next message, when its time has come.
    pub fn poll(&mut self, now: Ts) -> Option<String> {
        if self.next_send.is_none_or(|due| now < due) {
            return None;
        }
        let streams = self.waiting.pop_front()?;
        self.last_id += 1;
        let message = Subscribe { method: "SUBSCRIBE", params: &streams, id: self.last_id };
        // Strings and a number: there is nothing in it that JSON could not say.
        let text = sonic_rs::to_string(&message).unwrap_or_default();
        if self.asked.len() < PENDING_MAX {
            self.asked.push((self.last_id, streams));
        }
        self.next_send = (!self.waiting.is_empty()).then_some(now + self.spacing);
        Some(text)
    }

    #[must_use]
    pub const fn next(&self) -> Option<Ts> {
        self.next_send
    }

    /// The streams of request `id`, once.
    pub fn answered(&mut self, id: u64) -> Option<Vec<String>> {
        let at = self.asked.iter().position(|(asked, _)| *asked == id)?;
        Some(self.asked.swap_remove(at).1)
    }
}

/// At least this long between two unplanned polls of the definitions.
const SOON: Duration = Duration::from_secs(5);
const SOON_SPACING: Duration = Duration::from_secs(60);

/// REST polls. Those of open interest are spread over their interval, one instrument at a time.
#[derive(Debug, Default)]
pub struct Polls {
    open_interest: Option<Spread>,
    instruments: Option<Every>,
}

#[derive(Debug)]
struct Spread {
    spacing: Duration,
    next: Ts,
    cursor: usize,
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
        self.open_interest = open_interest.filter(|_| count > 0).map(|interval| Spread {
            spacing: (interval / u32::try_from(count).unwrap_or(u32::MAX)).max(Duration::from_millis(1)),
            next: now,
            cursor: 0,
        });
        self.instruments = instruments.map(|interval| Every {
            interval: interval.max(Duration::from_secs(1)),
            next: now,
            last: now - SOON_SPACING,
        });
    }

    /// Which of `count` instruments to ask for its open interest now.
    pub fn open_interest(&mut self, now: Ts, count: usize) -> Option<usize> {
        let spread = self.open_interest.as_mut().filter(|s| count > 0 && now >= s.next)?;
        let at = spread.cursor % count;
        spread.cursor = at + 1;
        // After a stall polls are skipped, not made up for.
        spread.next = (spread.next + spread.spacing).max(now + spread.spacing.min(Duration::from_millis(100)));
        Some(at)
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
        let a = self.open_interest.as_ref().map(|s| s.next);
        let b = self.instruments.as_ref().map(|e| e.next);
        [a, b].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binance::limits::Variant;

    fn at(ms: i64) -> Ts {
        Ts::from_millis(1_000_000 + ms)
    }

    #[test]
    fn subscriptions_are_batched_paced_and_matched_with_their_answers() {
        let streams: Vec<String> = (0..120).map(|i| format!("s{i}@trade")).collect();
        let mut subs = Subscriptions::default();
        subs.open(at(0), &streams, Variant::Spot.facts());
        let first = subs.poll(at(0)).unwrap();
        assert!(first.starts_with(r#"{"method":"SUBSCRIBE","params":["s0@trade","#) && first.ends_with(r#"],"id":1}"#));
        assert_eq!(subs.poll(at(0)), None);
        assert_eq!(subs.poll(at(249)), None);
        assert!(subs.poll(at(250)).unwrap().contains("s50@trade"));
        assert!(subs.poll(at(500)).unwrap().ends_with(r#""s119@trade"],"id":3}"#));
        assert_eq!(subs.next(), None);
        assert_eq!(subs.answered(2).map(|s| s.len()), Some(50));
        assert_eq!(subs.answered(2), None);
        subs.open(at(900), &streams[..1], Variant::Spot.facts());
        assert!(subs.poll(at(900)).unwrap().ends_with(r#""id":4}"#));
        assert_eq!(subs.answered(1), None);
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
