//! Silences in virtual time: which of them cost a connection, how soon, and which never do.

use super::*;

const QUALITY: &str = "quality.BTCUSDT.BINANCE";

/// A venue whose trades of [`Bench::busy`] happen when they come.
fn venue() -> Bench {
    bench_of(Script { tick: Duration::from_millis(100), ..Script::default() }, true, Resume::default()).open(T0)
}

impl Bench {
    /// Lets time pass until `to`, as a shell would: timers when they are due, answers 20 ms after the question. `answer`
    /// gives the body, or `None` where nothing answers. Returns how many questions there were.
    fn pass(&mut self, now: &mut Ts, to: Ts, answer: impl Fn(FetchId) -> Option<String>) -> usize {
        let mut asked = 0;
        while *now < to {
            let fetches: Vec<FetchId> = self.fetches();
            self.actions.retain(|a| !matches!(a, LineAction::Fetch(..)));
            asked += fetches.len();
            for id in fetches {
                let Some(body) = answer(id) else { continue };
                *now = *now + Duration::from_millis(20);
                self.line.on_fetched(0, *now, id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut self.out);
                self.take();
            }
            *now = self.line.next_timer().unwrap_or(to).max(*now + Duration::from_millis(1)).min(to);
            self.timer(*now);
        }
        asked
    }

    fn fetches(&self) -> Vec<FetchId> {
        self.actions
            .iter()
            .filter_map(|a| if let LineAction::Fetch(_, id, ..) = a { Some(*id) } else { None })
            .collect()
    }

    fn left(&self) -> Vec<&str> {
        self.actions
            .iter()
            .filter_map(|a| match a {
                LineAction::Reconnect(_, LinkCause::Silent, why) => Some(why.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Ten trades, quotes and book updates a second for two minutes: enough to know this hour.
    fn busy(&mut self, now: &mut Ts, first: u64) -> u64 {
        let mut id = first;
        for _ in 0..1_200 {
            self.frame(*now, &format!("T {id}"));
            self.frame(*now, &format!("Q {id}"));
            self.frame(*now, &format!("D {id} {id} 90 5"));
            id += 1;
            let next = *now + Duration::from_millis(100);
            self.pass(now, next, |f| (f.kind == FetchKind::BookSnapshot).then(|| (id - 1).to_string()));
        }
        assert!(self.left().is_empty(), "{:?}", self.left());
        id
    }
}

/// Nothing newer than `head`, whatever is asked.
fn nothing(head: u64) -> impl Fn(FetchId) -> Option<String> {
    move |id| {
        Some(match id.kind {
            FetchKind::BookSnapshot => (head + 7).to_string(),
            FetchKind::NewestTrades => head.to_string(),
            _ => String::new(),
        })
    }
}

#[test]
fn t10_ack_then_silence_on_one_channel_while_another_flows() {
    let mut b = venue();
    let mut now = T0;
    let mut id = b.busy(&mut now, 1);
    // Trades go silent; quotes and the book go on. REST has the trades.
    let silent_since = now;
    while b.left().is_empty() && now.since(silent_since) < Duration::from_secs(20) {
        id += 1;
        b.frame(now, &format!("Q {id}"));
        b.frame(now, &format!("D {} {} 90 5", id - 1, id - 1));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, |f| match f.kind {
            FetchKind::TradesFrom => Some((f.arg..id).map(|i| format!("{i} ")).collect()),
            _ => Some(id.to_string()),
        });
    }
    assert!(b.left().first().is_some_and(|why| why.contains(TRADES)), "{:?}", b.left());
    assert!(now.since(silent_since) <= Duration::from_secs(5), "{:?}", now.since(silent_since));
    let told = b.of(QUALITY);
    assert!(told.iter().any(|r| r.contains("trade is stalled: REST has newer data")), "{told:?}");
    assert!(!told.iter().any(|r| r.contains("quote is") || r.contains("book is")), "{told:?}");
    let stalled = b.line.stats().verdicts[wholetape_model::StreamState::Stalled as usize];
    assert_eq!(stalled, 1);
    // It speaks again: told as well.
    b.frame(now, &format!("T {}", id + 1));
    let next = now + Duration::from_secs(2);
    b.pass(&mut now, next, nothing(id + 1));
    assert!(b.of(QUALITY).iter().any(|r| r.contains("trade is live")), "{:?}", b.of(QUALITY));
}

#[test]
fn t18_a_quiet_market_is_not_restarted() {
    let mut b = venue();
    let mut now = T0;
    let id = b.busy(&mut now, 1);
    // A market that spoke ten times a second falls asleep for six hours; the venue pings, that is all.
    let (rows, asleep) = (b.rows.len(), now);
    let first_hour = b.pass(&mut now, asleep + Duration::from_secs(3_600), nothing(id - 1));
    let later = b.pass(&mut now, asleep + Duration::from_secs(6 * 3_600), nothing(id - 1));
    assert!(b.left().is_empty(), "{:?}", b.left());
    assert!(first_hour <= 30, "{first_hour} questions in the first hour");
    assert!(later <= 5 * 12, "{later} questions in five hours");
    let told: Vec<&str> = b.rows[rows..].iter().filter(|(t, _)| t == QUALITY).map(|(_, r)| r.as_str()).collect();
    for kind in ["trade", "quote", "book"] {
        let of_kind: Vec<_> = told.iter().filter(|r| r.contains(&format!("{kind} is "))).collect();
        assert!(of_kind.len() == 1 && of_kind[0].contains("is quiet: REST has nothing newer"), "{kind}: {of_kind:?}");
    }
    assert_eq!(b.line.stats().streams[wholetape_model::StreamState::Quiet as usize], 3);
    // It wakes up, and nothing was lost.
    b.frame(now, &format!("T {id}"));
    b.pass(&mut now, asleep + Duration::from_secs(6 * 3_600 + 2), nothing(id));
    assert_eq!(b.of(TRADES).iter().filter(|r| r.starts_with("gap")).count(), 0);
}

/// Everything stops at once: no sibling tells. The hour does, and REST, whether it answers or not.
#[test]
fn a_blackholed_connection_is_left_within_five_seconds() {
    for rest_answers in [true, false] {
        let mut b = venue();
        let mut now = T0;
        let id = b.busy(&mut now, 1);
        let dead_since = now;
        while b.left().is_empty() && now.since(dead_since) < Duration::from_secs(20) {
            let next = now + Duration::from_millis(100);
            b.pass(&mut now, next, |f| match f.kind {
                _ if !rest_answers => None,
                FetchKind::TradesFrom => Some((f.arg..id + 20).map(|i| format!("{i} ")).collect()),
                _ => Some((id + 20).to_string()),
            });
        }
        assert!(!b.left().is_empty(), "REST answers: {rest_answers}");
        let after = now.since(dead_since);
        assert!(after <= Duration::from_secs(5), "REST answers: {rest_answers}: {after:?}");
    }
}

/// Quotes and book of an illiquid instrument move all the time, and it trades once an hour: so do its ticker and bars.
#[test]
fn a_ticker_without_trades_is_quiet_whatever_the_quotes_do() {
    let mut plan = plan_of(Script { tick: Duration::from_millis(100), ..Script::default() }, true, Resume::default());
    plan.conns[0].expects.push((0, Kind::Ticker));
    plan.conns[0].streams = 4;
    let mut b = Bench::new(plan);
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    b.frame(T0, "ack 4");
    let mut now = T0;
    for id in 1..3_000 {
        if id < 10 {
            b.frame(now, &format!("K {id}"));
        }
        b.frame(now, &format!("Q {id}"));
        b.frame(now, &format!("D {id} {id} 90 5"));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, nothing(id));
    }
    assert!(b.left().is_empty(), "{:?}", b.left());
    // With trades it would have spoken.
    for id in 1..200 {
        b.frame(now, &format!("T {id}"));
        b.frame(now, &format!("Q {}", 3_000 + id));
        b.frame(now, &format!("D {0} {0} 90 5", 2_999 + id));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, nothing(id));
    }
    assert!(b.left().first().is_some_and(|why| why.contains("ticker.")), "{:?}", b.left());
}

/// Orders deep in the book come and go, its top stands still, and so do the quotes.
#[test]
fn quotes_are_quiet_while_the_top_of_the_book_stands_still() {
    let mut b = venue();
    let mut now = T0;
    for id in 1..2_000 {
        if id < 10 {
            b.frame(now, &format!("Q {id}"));
        }
        let (price, size) = if id < 10 { (90, id) } else { (80, id) };
        b.frame(now, &format!("D {id} {id} {price} {size}"));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, nothing(id));
    }
    assert!(b.left().is_empty(), "{:?}", b.left());
    for id in 2_000..2_100 {
        b.frame(now, &format!("D {id} {id} 90 {id}"));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, nothing(id));
    }
    assert!(b.left().first().is_some_and(|why| why.contains("quote.")), "{:?}", b.left());
}

/// What REST had shown of a stream that was silent then is healed, and no debt of the next subscription, in however quiet a market.
#[test]
fn a_new_subscription_owes_nothing() {
    let mut b = venue();
    let mut now = T0;
    let id = b.busy(&mut now, 1);
    // Ten more trades that the stream never brings; then the market sleeps.
    let heal = |f: FetchId| match f.kind {
        FetchKind::TradesFrom => Some((f.arg..id + 10).map(|i| format!("{i} ")).collect()),
        FetchKind::BookSnapshot => Some((id + 10).to_string()),
        _ => Some((id + 9).to_string()),
    };
    while b.left().is_empty() {
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, heal);
    }
    b.actions.clear();
    b.line.on_closed(0, now, LinkCause::Silent, &mut b.out);
    b.line.on_open(0, ConnMeta { number: 8 }, now + Duration::from_millis(200), &mut b.out);
    b.frame(now + Duration::from_millis(300), "ack 3");
    let asleep = now;
    b.pass(&mut now, asleep + Duration::from_secs(3_600), heal);
    assert!(b.left().is_empty(), "{:?}", b.left());
}

/// T11's second half: what was missed while a connection was being replaced is healed, and says nothing against the new one, however
/// long the market sleeps.
#[test]
fn trades_from_before_the_stream_do_not_cost_its_connection() {
    let mut b = venue();
    let mut now = T0;
    let id = b.busy(&mut now, 1);
    b.line.on_closed(0, now, LinkCause::Closed, &mut b.out);
    b.take();
    // Five trades happen before the new connection is there, and none after.
    now = now + Duration::from_millis(500);
    b.line.on_open(0, ConnMeta { number: 8 }, now, &mut b.out);
    b.take();
    b.frame(now, "ack 3");
    for n in 0..600 {
        b.frame(now, &format!("Q {}", id + 10 + n));
        b.frame(now, &format!("D {0} {0} 90 5", id + 10 + n));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, |f| match f.kind {
            FetchKind::TradesFrom => Some((f.arg..id + 5).map(|i| format!("{i} ")).collect()),
            FetchKind::BookSnapshot => None,
            _ => Some((id + 4).to_string()),
        });
    }
    assert_eq!(b.left(), [""; 0]);
    let late = b.of(TRADES).iter().filter(|r| r.ends_with("late")).count();
    assert_eq!((late, b.of(TRADES).last().is_some_and(|r| r.starts_with("gap healed"))), (5, true));
}

#[test]
fn a_halted_instrument_is_halted_and_its_connection_stays() {
    let mut b = venue();
    let mut now = T0;
    let id = b.busy(&mut now, 1);
    b.frame(now, "S 2");
    let halted_since = now;
    b.pass(&mut now, halted_since + Duration::from_secs(1_800), nothing(id - 1));
    assert!(b.left().is_empty(), "{:?}", b.left());
    let told = b.of(QUALITY);
    assert_eq!(told.iter().filter(|r| r.contains("is halted: the venue says")).count(), 3, "{told:?}");
    assert_eq!(b.line.stats().streams[wholetape_model::StreamState::Halted as usize], 3);
}

#[test]
fn words_that_nobody_understands_any_more_are_an_api_change_and_an_alert() {
    let mut b = venue();
    let mut now = T0;
    let id = b.busy(&mut now, 1);
    for i in 0..100 {
        b.frame(now, "U");
        b.frame(now, &format!("T {}", id + i));
        let next = now + Duration::from_millis(100);
        b.pass(&mut now, next, nothing(id + i));
    }
    let told = b.of(QUALITY);
    assert!(told.iter().any(|r| r.contains("quote is api_changed")), "{told:?}");
    assert!(!told.iter().any(|r| r.contains("trade is")), "what is understood is live: {told:?}");
    let alerts = b.of("alert.test");
    assert!(alerts.iter().any(|a| a.contains("api_changed") && a.contains(QUOTES)), "{alerts:?}");
}

#[test]
fn a_subscription_that_is_never_answered_is_named() {
    let mut b = bench(true, Resume::default());
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    b.take();
    let mut now = T0;
    b.pass(&mut now, at(30_000), |_| None);
    assert!(b.left().first().is_some_and(|why| why.contains("neither acknowledged nor sent")), "{:?}", b.left());
    // Data flows although the acknowledgement is not understood: the streams count as subscribed, and people are told once.
    let mut b = bench(true, Resume::default());
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    let (mut now, mut id) = (T0, 1);
    while now < at(40_000) {
        id += 1;
        b.frame(now, &format!("T {id}"));
        let next = now + Duration::from_millis(250);
        b.pass(&mut now, next, |f| (f.kind != FetchKind::BookSnapshot).then(String::new));
    }
    assert_eq!(b.of("alert.test").len(), 1, "{:?}", b.of("alert.test"));
    assert!(b.actions.contains(&LineAction::Subscribed(0)));
}
