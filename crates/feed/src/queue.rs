//! Whose REST request goes next: one queue per host, shared by all lines that speak to it. Pure; time is an argument.
//!
//! Order: book resync > hole at the live edge > poll > probe > backlog, and first come first served within each. The first in line is
//! never overtaken while it waits for weight, so a backlog of hundreds of instruments cannot starve a resync; and since a
//! backlog may fill only half of any minute's weight and holds [`Queue::backlog_max`] connections at most, a resync that
//! begins in its midst finds half of the budget and a free connection.
//!
//! Before the first answer it is one request at a time: what a former process used of the minute, and whether the venue told
//! it to wait, only an answer tells.
//!
//! Full-policy: a full queue, or a wait longer than `wait_max`, is refused with the time after which to ask again. So what
//! waits here is bounded by [`QUEUE_MAX`] small orders, and bodies by the connections.

use std::collections::BinaryHeap;
use std::time::Duration;

use wholetape_model::Ts;
use wholetape_venue::FetchKind;

use crate::breaker::CircuitBreaker;
use crate::budget::{TokenBucket, WeightBudget};
use crate::line::Priority;

/// Requests that may wait for one host.
pub const QUEUE_MAX: usize = 1024;

/// One request that waits or runs.
#[derive(Debug)]
pub struct Order<T> {
    pub kind: FetchKind,
    pub weight: u32,
    pub priority: Priority,
    pub job: T,
    /// Order among equals: who came first.
    turn: u64,
    asked: Ts,
}

impl<T> Order<T> {
    pub fn new(kind: FetchKind, weight: u32, priority: Priority, job: T) -> Self {
        Self { kind, weight, priority, job, turn: 0, asked: Ts::ZERO }
    }

    const fn rank(&self) -> (u8, u64) {
        (self.priority as u8, self.turn)
    }
}

impl<T> PartialEq for Order<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}
impl<T> Eq for Order<T> {}
impl<T> PartialOrd for Order<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
/// The greatest goes first: the most urgent, and among equals the earliest.
impl<T> Ord for Order<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.rank().cmp(&self.rank())
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Next<T> {
    Send(Order<T>),
    /// It would wait too long: tell it when to ask again.
    Refuse(Order<T>, Duration),
    /// Nothing now; look again after this long, or when something ends or is asked (`None`).
    Wait(Option<Duration>),
}

/// See the module.
pub struct Queue<T> {
    pub budget: WeightBudget,
    pub breaker: CircuitBreaker,
    snapshots: TokenBucket,
    waiting: BinaryHeap<Order<T>>,
    turns: u64,
    running: usize,
    running_backlog: usize,
    connections_max: usize,
    backlog_max: usize,
    wait_max: Duration,
    /// The venue has answered.
    heard: bool,
}

impl<T> Queue<T> {
    /// `connections` at a time, one of them always free of backlog where there are more than one.
    pub fn new(
        budget: WeightBudget,
        breaker: CircuitBreaker,
        snapshots: TokenBucket,
        connections: usize,
        wait_max: Duration,
    ) -> Self {
        let connections_max = connections.max(1);
        Self {
            budget,
            breaker,
            snapshots,
            waiting: BinaryHeap::new(),
            turns: 0,
            running: 0,
            running_backlog: 0,
            connections_max,
            backlog_max: (connections_max / 2).max(1),
            wait_max,
            heard: false,
        }
    }

    #[must_use]
    pub const fn backlog_max(&self) -> usize {
        self.backlog_max
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The venue has answered, and with it told how much is used and whether to wait; one that never tells is believed after
    /// its first answer.
    pub const fn heard(&mut self) {
        self.heard = true;
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// Gives it back when too many wait.
    pub fn push(&mut self, mut order: Order<T>, now: Ts) -> Result<(), Order<T>> {
        if self.waiting.len() >= QUEUE_MAX {
            return Err(order);
        }
        self.turns += 1;
        (order.turn, order.asked) = (self.turns, now);
        self.waiting.push(order);
        Ok(())
    }

    /// What may start now. `gone` tells of requests that nobody waits for any more.
    pub fn next(&mut self, now: Ts, gone: impl Fn(&T) -> bool) -> Next<T> {
        loop {
            let Some(order) = self.waiting.peek() else { return Next::Wait(None) };
            if gone(&order.job) {
                self.waiting.pop();
                continue;
            }
            if !self.heard && self.running > 0 {
                return Next::Wait(None);
            }
            let backlog = order.priority == Priority::Backlog;
            if self.running >= self.connections_max || backlog && self.running_backlog >= self.backlog_max {
                return Next::Wait(None);
            }
            let snapshot = order.kind == FetchKind::BookSnapshot;
            let (weight, priority, asked) = (order.weight, order.priority, order.asked);
            let allowed = self
                .breaker
                .peek(now)
                .and_then(|()| if snapshot { self.snapshots.ready(now) } else { Ok(()) })
                .and_then(|()| self.budget.take(now, weight, priority))
                .and_then(|()| self.breaker.allow(now));
            let Err(wait) = allowed else {
                if snapshot {
                    let _ = self.snapshots.take(now);
                }
                let Some(order) = self.waiting.pop() else { return Next::Wait(None) };
                self.running += 1;
                self.running_backlog += usize::from(backlog);
                return Next::Send(order);
            };
            // A probe that waits would hold up the backlog behind it.
            if priority != Priority::Probe && wait <= self.wait_max.saturating_sub(now.since(asked)) {
                return Next::Wait(Some(wait));
            }
            if let Some(order) = self.waiting.pop() {
                return Next::Refuse(order, wait.min(Duration::from_secs(300)));
            }
        }
    }

    /// A request of this priority has ended.
    pub fn ended(&mut self, priority: Priority) {
        self.running = self.running.saturating_sub(1);
        if priority == Priority::Backlog {
            self.running_backlog = self.running_backlog.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerShape;
    use std::collections::VecDeque;

    const T: Ts = Ts(600_000_000_000);

    fn queue(limit: u32) -> Queue<usize> {
        Queue::new(
            WeightBudget::new(wholetape_venue::Rate::new(limit, Duration::from_secs(60))),
            CircuitBreaker::new(BreakerShape::default()),
            TokenBucket::new(4, Duration::from_millis(250)),
            2,
            Duration::from_secs(5),
        )
    }

    /// 500 instruments want 20 pages each, of weight 20 in 2400 a minute; after half a minute 50 books lose their sequence.
    /// Answers take 50 ms. Refused orders ask again when they were told to.
    #[test]
    fn a_backlog_of_500_instruments_delays_no_resync_and_never_overspends() {
        let mut q = queue(2_400);
        q.heard();
        let mut now = T;
        let books_at = T + Duration::from_secs(30);
        let mut asking: VecDeque<(Ts, Priority, usize)> = (0..500).map(|i| (T, Priority::Backlog, i)).collect();
        let mut pages = vec![20_u32; 500];
        let mut running: VecDeque<(Ts, Priority, usize)> = VecDeque::new();
        let mut sent: VecDeque<(Ts, u32)> = VecDeque::new();
        let mut books_done = Vec::new();
        let mut books_asked = false;
        let mut backlog_in_flight_max = 0;
        while now < T + Duration::from_secs(120) {
            if now >= books_at && !books_asked {
                books_asked = true;
                asking.extend((0..50).map(|i| (now, Priority::BookResync, i)));
            }
            for _ in 0..asking.len() {
                let (at, priority, i) = asking.pop_front().unwrap();
                if at > now {
                    asking.push_back((at, priority, i));
                    continue;
                }
                let kind = if priority == Priority::Backlog { FetchKind::TradesFrom } else { FetchKind::BookSnapshot };
                if q.push(Order::new(kind, 20, priority, i), now).is_err() {
                    asking.push_back((now + Duration::from_secs(1), priority, i));
                }
            }
            while running.front().is_some_and(|r| r.0 <= now) {
                let (_, priority, i) = running.pop_front().unwrap();
                q.ended(priority);
                if priority == Priority::BookResync {
                    books_done.push(now);
                } else {
                    pages[i] -= 1;
                    if pages[i] > 0 {
                        asking.push_back((now, priority, i));
                    }
                }
            }
            loop {
                match q.next(now, |_| false) {
                    Next::Send(order) => {
                        if books_asked && order.priority == Priority::Backlog {
                            assert!(books_done.len() >= 48, "a backlog page went before a book at {now:?}");
                        }
                        sent.push_back((now, order.weight));
                        running.push_back((now + Duration::from_millis(50), order.priority, order.job));
                    }
                    Next::Refuse(order, wait) => asking.push_back((now + wait, order.priority, order.job)),
                    Next::Wait(_) => break,
                }
            }
            let old = running.iter().filter(|r| r.1 == Priority::Backlog).count();
            backlog_in_flight_max = backlog_in_flight_max.max(old);
            sent.retain(|s| now.since(s.0) < Duration::from_secs(60));
            assert!(sent.iter().map(|s| s.1).sum::<u32>() <= 2_400, "over the venue's limit");
            now = now + Duration::from_millis(10);
        }
        assert_eq!(books_done.len(), 50, "all books are back");
        // 50 × 20 = 1000 of the 1200 that the backlog may not touch: only the snapshot bucket paces them.
        let took = books_done[49].since(books_at);
        assert!(took < Duration::from_secs(14), "{took:?}");
        assert_eq!(backlog_in_flight_max, 1);
        let done: u32 = pages.iter().map(|p| 20 - p).sum();
        assert!(done > 60, "the backlog goes on: {done} pages");
    }

    #[test]
    fn among_equals_the_first_goes_first_and_the_urgent_before_them() {
        let mut q = queue(1_000);
        for (i, p) in [Priority::Backlog, Priority::Poll, Priority::Poll, Priority::LiveHole].into_iter().enumerate() {
            q.push(Order::new(FetchKind::TradesFrom, 1, p, i), T).unwrap();
        }
        let mut order = Vec::new();
        while let Next::Send(one) = q.next(T, |_| false) {
            order.push(one.job);
            q.ended(one.priority);
        }
        assert_eq!(order, [3, 1, 2, 0]);
    }

    #[test]
    fn a_probe_that_may_not_go_holds_up_nobody() {
        let mut q = queue(1_000);
        q.heard();
        for (i, p) in [Priority::Probe, Priority::Probe, Priority::Backlog].into_iter().enumerate() {
            q.push(Order::new(FetchKind::TradesFrom, 150, p, i), T).unwrap();
        }
        assert!(matches!(q.next(T, |_| false), Next::Send(order) if order.job == 0));
        assert!(matches!(q.next(T, |_| false), Next::Refuse(order, _) if order.job == 1), "more than a fifth");
        assert!(matches!(q.next(T, |_| false), Next::Send(order) if order.job == 2));
    }

    #[test]
    fn until_the_venue_answers_it_is_one_request_at_a_time() {
        let mut q = queue(1_000);
        for i in 0..3 {
            q.push(Order::new(FetchKind::BookSnapshot, 1, Priority::BookResync, i), T).unwrap();
        }
        assert!(matches!(q.next(T, |_| false), Next::Send(_)));
        assert!(matches!(q.next(T, |_| false), Next::Wait(None)));
        // No answer, so nothing is known yet.
        q.ended(Priority::BookResync);
        assert!(matches!(q.next(T, |_| false), Next::Send(_)));
        assert!(matches!(q.next(T, |_| false), Next::Wait(None)));
        q.heard();
        assert!(matches!(q.next(T, |_| false), Next::Send(_)));
    }

    #[test]
    fn told_to_wait_not_even_the_most_urgent_goes() {
        let mut q = queue(1_000);
        q.heard();
        q.budget.on_retry_after(T, Duration::from_secs(3));
        let all = [Priority::BookResync, Priority::LiveHole, Priority::Poll, Priority::Backlog];
        for (i, p) in all.into_iter().enumerate() {
            q.push(Order::new(FetchKind::TradesFrom, 1, p, i), T).unwrap();
        }
        // A shorter wait told by a later answer takes nothing back.
        q.budget.on_retry_after(T + Duration::from_secs(1), Duration::from_secs(1));
        match q.next(T + Duration::from_secs(1), |_| false) {
            Next::Wait(Some(wait)) => assert_eq!(wait, Duration::from_secs(2)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(q.next(T + Duration::from_nanos(2_999_999_999), |_| false), Next::Wait(Some(_))));
        assert!(matches!(q.next(T + Duration::from_secs(3), |_| false), Next::Send(_)));
    }

    #[test]
    fn who_waits_too_long_is_told_when_to_come_back_and_who_left_is_forgotten() {
        let mut q = queue(100);
        q.push(Order::new(FetchKind::TradesFrom, 50, Priority::Backlog, 0), T).unwrap();
        assert!(matches!(q.next(T, |_| false), Next::Send(_)));
        q.ended(Priority::Backlog);
        q.push(Order::new(FetchKind::TradesFrom, 50, Priority::Backlog, 1), T).unwrap();
        match q.next(T, |_| false) {
            Next::Refuse(order, wait) => assert_eq!((order.job, wait), (1, Duration::from_secs(60))),
            other => panic!("{other:?}"),
        }
        q.push(Order::new(FetchKind::TradesFrom, 1, Priority::Poll, 2), T).unwrap();
        assert!(matches!(q.next(T, |job| *job == 2), Next::Wait(None)));
        assert!(q.is_empty());
    }
}
