//! The subscriptions of one connection: requests paced under the venue's rates, answers matched, and one stream asked for anew.
//!
//! Subscriptions are requests, not names in the address: only requests are answered, so a refusal is seen and named. How a
//! request is written is the venue's; when it may go out, and with how many streams, is decided here from
//! [`SubscribeLimits`].
//!
//! Invariants: in any window of the venue's, no more requests than it bears ([`SubscribeLimits::operations`]); a stream that is to
//! be asked for anew is ended first; what waits is asked for once, however often it was wanted.

use std::collections::VecDeque;

use wholetape_model::Ts;

use crate::limits::{Rate, SubscribeLimits};

/// Requests remembered until they are answered.
const PENDING_MAX: usize = 1024;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Subscribe,
    Unsubscribe,
}

/// Takes the streams of `symbol` out and counts them. Venues name streams by channel and symbol, whatever stands between and how
/// it is spelt: `btcusdt@trade`, `books:BTC-USDT`, `orderbook.50.BTCUSDT`, `v4_candles:BTC-USD/1MIN`, `book-25:BTC/USD`.
pub fn forget(streams: &mut Vec<String>, symbol: &str) -> usize {
    let before = streams.len();
    let is = |part: &str| part.eq_ignore_ascii_case(symbol);
    let of = |stream: &String| {
        stream.split(['@', ':', '.', '/']).any(is) || stream.split_once(':').is_some_and(|(_, all)| is(all))
    };
    streams.retain(|stream| !of(stream));
    before - streams.len()
}

/// The subscriptions of one connection: waiting, asked, answered.
#[derive(Debug, Default)]
pub struct Subscriptions {
    waiting: VecDeque<(Operation, Vec<String>)>,
    asked: Vec<(u64, Operation, Vec<String>)>,
    last_id: u64,
    next_send: Option<Ts>,
    limits: Option<SubscribeLimits>,
    /// When requests went out, newest first, as far back as the venue counts.
    sent: VecDeque<Ts>,
}

impl Subscriptions {
    /// Begins anew on a fresh transport. Ids go on, so that an answer is never taken for another's.
    pub fn open(&mut self, now: Ts, streams: &[String], limits: &SubscribeLimits) {
        self.open_groups(now, std::iter::once(streams), limits);
    }

    /// As [`Subscriptions::open`], for venues of whose streams not all may stand in one request: only those of a group do.
    pub fn open_groups<'a>(&mut self, now: Ts, groups: impl Iterator<Item = &'a [String]>, limits: &SubscribeLimits) {
        self.asked.clear();
        self.sent.clear();
        self.limits = Some(*limits);
        self.waiting = groups.flat_map(|g| batches(g, limits)).map(|b| (Operation::Subscribe, b)).collect();
        self.next_send = (!self.waiting.is_empty()).then_some(now);
    }

    /// Asks for one stream anew: its end, then its beginning. Returns when the second of the two goes out; a stream that waits
    /// already keeps its place. The other requests that wait come later: who asks has a wrong book.
    pub fn again(&mut self, now: Ts, stream: &str) -> Ts {
        let is = |(op, streams): &(Operation, Vec<String>)| {
            *op == Operation::Subscribe && streams.iter().any(|s| s == stream)
        };
        let place = self.waiting.iter().position(is);
        let place = place.unwrap_or_else(|| {
            // Behind those that were asked for anew before, ahead of what opens the connection.
            let at = self.waiting.iter().rposition(|(op, _)| *op == Operation::Unsubscribe).map_or(0, |last| last + 2);
            let at = at.min(self.waiting.len());
            self.waiting.insert(at, (Operation::Subscribe, vec![stream.to_owned()]));
            self.waiting.insert(at, (Operation::Unsubscribe, vec![stream.to_owned()]));
            at + 1
        });
        let first = self.free_at(now, 0);
        let due = *self.next_send.get_or_insert(first);
        due.max(self.free_at(now, place))
    }

    /// The next message, when its time has come; `write` makes it of an id, what it does, and the streams.
    pub fn poll(&mut self, now: Ts, write: impl FnOnce(u64, Operation, &[String]) -> String) -> Option<String> {
        if self.next_send.is_none_or(|due| now < due) {
            return None;
        }
        let free = self.free_at(now, 0);
        if free > now {
            self.next_send = Some(free);
            return None;
        }
        let (op, streams) = self.waiting.pop_front()?;
        self.last_id += 1;
        let text = write(self.last_id, op, &streams);
        if self.asked.len() < PENDING_MAX {
            self.asked.push((self.last_id, op, streams));
        }
        self.sent.truncate(self.rate().map_or(0, |r| r.count as usize));
        self.sent.push_front(now);
        self.next_send = (!self.waiting.is_empty()).then(|| self.free_at(now, 0));
        Some(text)
    }

    #[must_use]
    pub const fn next(&self) -> Option<Ts> {
        self.next_send
    }

    /// The streams that request `id` subscribed, once. Of the end of a subscription there are none to tell.
    pub fn answered(&mut self, id: u64) -> Option<Vec<String>> {
        let at = self.asked.iter().position(|(asked, ..)| *asked == id)?;
        let (_, op, streams) = self.asked.swap_remove(at);
        (op == Operation::Subscribe).then_some(streams)
    }

    /// The streams of request `id` that wait for an answer.
    #[must_use]
    pub fn waiting_for(&self, id: u64) -> &[String] {
        self.asked.iter().find(|(asked, ..)| *asked == id).map_or(&[], |(.., streams)| streams)
    }

    /// As [`Subscriptions::answered`], for venues that answer each stream by its name. The request stays asked until all of its
    /// streams are answered.
    pub fn answered_stream(&mut self, op: Operation, stream: &str) -> bool {
        for at in 0..self.asked.len() {
            let (_, asked, streams) = &mut self.asked[at];
            if *asked == op
                && let Some(i) = streams.iter().position(|s| s == stream)
            {
                streams.swap_remove(i);
                if streams.is_empty() {
                    self.asked.swap_remove(at);
                }
                return true;
            }
        }
        false
    }

    fn rate(&self) -> Option<Rate> {
        self.limits.and_then(|l| l.operations)
    }

    fn spacing(&self) -> std::time::Duration {
        self.limits.map_or(std::time::Duration::ZERO, |l| l.spacing)
    }

    /// When the request behind `ahead` others may go out, by the venue's count of operations and our spacing.
    fn free_at(&self, now: Ts, ahead: usize) -> Ts {
        let free = self.sent.front().map_or(now, |last| (*last + self.spacing()).max(now));
        let paced = free + self.spacing().saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX));
        let Some(rate) = self.rate() else { return paced };
        // The one that must have left the window before another may go.
        let oldest = (rate.count as usize).saturating_sub(ahead + 1);
        match self.sent.get(oldest) {
            Some(at) => paced.max(*at + rate.per),
            None => paced,
        }
    }
}

/// Requests of as many streams as the venue takes in one.
fn batches(streams: &[String], limits: &SubscribeLimits) -> impl Iterator<Item = Vec<String>> {
    let (args_max, bytes_max) = (limits.args_max.max(1), limits.bytes_max);
    let mut rest = streams;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(args_max).take_while(|s| {
            bytes += s.len();
            bytes <= bytes_max
        });
        // One that is too long by itself goes alone: the venue says what it thinks of it.
        let n = fits.count().max(1).min(rest.len());
        let (batch, later) = rest.split_at(n);
        rest = later;
        (!batch.is_empty()).then(|| batch.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Ts {
        Ts::from_millis(1_000_000 + ms)
    }

    fn limits(args_max: usize, operations: Option<Rate>) -> SubscribeLimits {
        SubscribeLimits { args_max, bytes_max: 3_500, spacing: Duration::from_millis(250), operations }
    }

    fn write(id: u64, op: Operation, streams: &[String]) -> String {
        format!("{op:?} {} #{id}", streams.join(","))
    }

    fn named(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("s{i}")).collect()
    }

    #[test]
    fn a_symbol_that_went_takes_its_streams_and_no_others() {
        for (symbol, gone, stay) in [
            ("BTCUSDT", "btcusdt@depth@100ms", "btcusdt_260327@depth@100ms"),
            ("BTC-USDT", "books:BTC-USDT", "books:BTC-USDT-SWAP"),
            ("BTCUSDT", "orderbook.50.BTCUSDT", "orderbook.50.BTCUSDTM"),
            ("BTC-USD", "v4_candles:BTC-USD/1MIN", "v4_candles:WBTC-USD/1MIN"),
            ("BTC/USD", "book-25:BTC/USD", "book-25:WBTC/USD"),
        ] {
            let mut streams = [gone, stay, "!forceOrder@arr"].map(String::from).to_vec();
            assert_eq!(forget(&mut streams, symbol), 1);
            assert_eq!(streams, [stay, "!forceOrder@arr"]);
        }
    }

    #[test]
    fn subscriptions_are_batched_paced_and_matched_with_their_answers() {
        let streams = named(120);
        let mut subs = Subscriptions::default();
        subs.open(at(0), &streams, &limits(50, None));
        let first = subs.poll(at(0), write).unwrap();
        assert!(first.starts_with("Subscribe s0,s1,") && first.ends_with("s49 #1"), "{first}");
        assert_eq!(subs.poll(at(0), write), None);
        assert_eq!(subs.poll(at(249), write), None);
        assert!(subs.poll(at(250), write).unwrap().contains("s50"));
        assert!(subs.poll(at(500), write).unwrap().ends_with("s119 #3"));
        assert_eq!(subs.next(), None);
        assert_eq!(subs.answered(2).map(|s| s.len()), Some(50));
        assert_eq!(subs.answered(2), None);
        subs.open(at(900), &streams[..1], &limits(50, None));
        assert!(subs.poll(at(900), write).unwrap().ends_with("#4"));
        assert_eq!(subs.answered(1), None);
    }

    #[test]
    fn a_request_holds_what_the_venue_takes() {
        let sizes = |streams: &[String], limits: &SubscribeLimits| {
            batches(streams, limits).map(|b| b.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&named(25), &limits(10, None)), [10, 10, 5], "Bybit spot");
        let narrow = SubscribeLimits { bytes_max: 5, ..limits(10, None) };
        assert_eq!(sizes(&["aa".into(), "bbb".into(), "c".into(), "longer".into(), "d".into()], &narrow), [2, 1, 1, 1]);
        assert_eq!(sizes(&[], &narrow), [] as [usize; 0]);
    }

    #[test]
    fn streams_of_two_groups_stand_in_two_requests() {
        let streams: Vec<String> = ["book:A", "book:B", "book:C", "trade:A"].map(Into::into).to_vec();
        let mut subs = Subscriptions::default();
        let channel = |s: &String| s.split(':').next().unwrap().to_owned();
        subs.open_groups(at(0), streams.chunk_by(|a, b| channel(a) == channel(b)), &limits(2, None));
        let sent: Vec<String> = (0..20).filter_map(|i| subs.poll(at(i * 250), write)).collect();
        assert_eq!(sent, ["Subscribe book:A,book:B #1", "Subscribe book:C #2", "Subscribe trade:A #3"]);
        assert!(subs.answered_stream(Operation::Subscribe, "book:A"));
        assert_eq!((subs.waiting_for(1), subs.waiting_for(9)), (&streams[1..2], &[][..]));
    }

    #[test]
    fn a_stream_is_ended_and_begun_anew_ahead_of_what_waits() {
        let mut subs = Subscriptions::default();
        subs.open(at(0), &named(3), &limits(1, None));
        assert_eq!(subs.poll(at(0), write).unwrap(), "Subscribe s0 #1");
        assert_eq!(subs.again(at(10), "s0"), at(500), "its end, and then itself");
        assert_eq!(subs.again(at(20), "s9"), at(1_000));
        assert_eq!(subs.again(at(20), "s0"), at(500), "once is enough");
        let sent: Vec<String> = (1..20).filter_map(|i| subs.poll(at(i * 250), write)).collect();
        assert_eq!(
            sent,
            [
                "Unsubscribe s0 #2",
                "Subscribe s0 #3",
                "Unsubscribe s9 #4",
                "Subscribe s9 #5",
                "Subscribe s1 #6",
                "Subscribe s2 #7"
            ]
        );
        assert_eq!(subs.answered(2), None, "an end tells no subscription");
        assert_eq!(subs.answered(3), Some(vec!["s0".to_owned()]));
    }

    #[test]
    fn a_stream_that_was_not_asked_for_yet_needs_no_second_request() {
        let mut subs = Subscriptions::default();
        subs.open(at(0), &named(2), &limits(1, None));
        subs.again(at(0), "s1");
        let sent: Vec<String> = (0..20).filter_map(|i| subs.poll(at(i * 250), write)).collect();
        assert_eq!(sent, ["Subscribe s0 #1", "Subscribe s1 #2"]);
    }

    #[test]
    fn answers_may_name_the_stream() {
        let mut subs = Subscriptions::default();
        subs.open(at(0), &named(2), &limits(10, None));
        subs.poll(at(0), write).unwrap();
        assert!(!subs.answered_stream(Operation::Unsubscribe, "s0"));
        assert!(subs.answered_stream(Operation::Subscribe, "s1") && subs.answered_stream(Operation::Subscribe, "s0"));
        assert!(!subs.answered_stream(Operation::Subscribe, "s0") && subs.asked.is_empty());
    }

    proptest! {
        /// Whatever is wanted whenever: the venue's count of operations is never exceeded in any window, requests keep their
        /// distance, and in the end every stream that was wanted anew has been asked for.
        #[test]
        fn the_budget_holds(
            streams in 0_usize..12,
            count in 2_u32..8,
            wants in proptest::collection::vec((0_i64..3_000, 0_usize..15), 0..40),
        ) {
            let rate = Rate::new(count, Duration::from_secs(10));
            let mut subs = Subscriptions::default();
            subs.open(at(0), &named(streams), &limits(3, Some(rate)));
            let mut sent: Vec<(Ts, String)> = Vec::new();
            let mut now = at(0);
            let mut drive = |subs: &mut Subscriptions, until: Ts, now: &mut Ts| {
                while *now < until {
                    if let Some(text) = subs.poll(*now, write) {
                        sent.push((*now, text));
                    }
                    if let Some(next) = subs.next() {
                        assert!(next > *now, "always moves forward");
                    }
                    *now = subs.next().map_or(until, |next| next.min(until));
                }
                sent.clone()
            };
            let mut last: std::collections::BTreeMap<usize, (Ts, Ts)> = std::collections::BTreeMap::new();
            for (ms, stream) in wants {
                let until = now + Duration::from_millis(ms as u64);
                drive(&mut subs, until, &mut now);
                let due = subs.again(now, &format!("s{stream}"));
                last.insert(stream, (now, due));
            }
            let sent = drive(&mut subs, now + Duration::from_secs(3_600), &mut now);
            for (i, (t, _)) in sent.iter().enumerate() {
                prop_assert!(sent[..=i].iter().filter(|s| t.since(s.0) < rate.per).count() <= count as usize);
                prop_assert!(i == 0 || t.since(sent[i - 1].0) >= Duration::from_millis(250));
            }
            for (stream, (wanted, due)) in last {
                let name = format!("s{stream}");
                let begun = sent.iter().rev().find(|s| {
                    s.1.starts_with("Subscribe") && s.1.split([' ', ',']).any(|w| w == name)
                });
                let begun = begun.map(|s| s.0);
                prop_assert!(begun.is_some_and(|b| b >= wanted), "{name} wanted {wanted:?}, begun {begun:?}");
                prop_assert!(due >= wanted);
            }
        }
    }
}
