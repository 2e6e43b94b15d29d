use super::*;
use crate::verdict::facts::{Gap, Item};
use wholetape_model::Decimal;
use wholetape_sim::truth::{DepthEvent, Quote};

fn id() -> InstrumentId {
    InstrumentId::new("BTCUSDT", "BINANCE")
}

fn wanted(kind: Kind) -> Wanted {
    Wanted {
        venue: "v".into(),
        symbol: "BTCUSDT".into(),
        id: id(),
        kinds: vec![kind],
        raw_source: false,
        interest_streamed: false,
        undated: false,
        restated: false,
        trades_confessed: false,
        by_connection: false,
        backlog: std::time::Duration::ZERO,
    }
}

fn agg(id: u64) -> AggTrade {
    AggTrade {
        event_ms: 1,
        id,
        price: "1.50".into(),
        size: "2".into(),
        normal_size: None,
        first_id: id * 2,
        last_id: id * 2 + 1,
        time_ms: 5,
        buyer_is_maker: true,
        wall_ns: id * 1_000_000_000,
    }
}

fn seen(kind: Kind, items: Vec<Item>) -> Seen {
    let mut topic = TopicSeen::default();
    for (at, item) in items.into_iter().enumerate() {
        topic.covers(at as u64, at as u64 + 1);
        topic.take(item);
    }
    let mut seen = Seen::default();
    seen.topics.insert(topic_name(kind, &id()), topic);
    seen
}

fn held(id: u64) -> Item {
    Item::Trade(of_agg(&agg(id)).unwrap())
}

fn gap(state: &str, from_id: u64, to_id: u64, from_s: i64, to_s: i64) -> Item {
    let gap = Gap {
        gap: 1,
        state: state.into(),
        cause: "disconnected".into(),
        from_id,
        to_id,
        from_ns: from_s * 1_000_000_000,
        to_ns: to_s * 1_000_000_000,
    };
    Item::Gap(gap)
}

fn judged(truth: &InstrumentTruth, seen: &Seen, kind: Kind) -> Count {
    let compared = compare(truth, &wanted(kind), seen, seen);
    compared.kinds[&kind.to_string()].clone()
}

fn trades_truth(ids: &[u64]) -> InstrumentTruth {
    let mut truth = InstrumentTruth::default();
    truth.agg_trades = ids.iter().map(|id| (*id, agg(*id))).collect();
    truth
}

#[test]
fn a_missing_trade_is_named_even_when_confessed() {
    let truth = trades_truth(&[1, 2, 3]);
    let whole = judged(&truth, &seen(Kind::Trade, vec![held(1), held(3), held(2)]), Kind::Trade);
    assert!(whole.whole(), "{whole:?}");
    let count = judged(&truth, &seen(Kind::Trade, vec![held(1), gap("lost", 2, 2, 0, 9), held(3)]), Kind::Trade);
    assert_eq!((count.missing, count.missing_ids.as_slice()), (1, &["2".to_owned()][..]));
}

#[test]
fn a_trade_invented_changed_or_twice_is_found() {
    let truth = trades_truth(&[1, 2]);
    let mut wrong = of_agg(&agg(2)).unwrap();
    wrong.size = Decimal::new(3, 0);
    for (items, expected) in [
        (vec![held(1), held(2), held(9)], (1, 0)),
        (vec![held(1), Item::Trade(wrong)], (1, 0)),
        (vec![held(1), held(2), held(2)], (0, 1)),
    ] {
        let count = judged(&truth, &seen(Kind::Trade, items), Kind::Trade);
        assert_eq!((count.invented, count.twice), expected);
        assert!(!count.whole());
    }
}

#[test]
fn a_gap_without_a_verdict_is_not_whole() {
    let truth = trades_truth(&[1]);
    let open = judged(&truth, &seen(Kind::Trade, vec![held(1), gap("open", 5, 6, 0, 1)]), Kind::Trade);
    assert_eq!((open.gaps, open.gaps_open, open.whole()), (1, 1, false));
    let items = vec![held(1), gap("open", 5, 6, 0, 1), gap("never_published", 5, 6, 0, 1)];
    assert!(judged(&truth, &seen(Kind::Trade, items), Kind::Trade).whole());
}

fn quotes_truth() -> InstrumentTruth {
    let mut truth = InstrumentTruth::default();
    for id in 1..=5_u64 {
        truth.quotes.push(Quote {
            update_id: id,
            bid: "1".into(),
            bid_size: "1.0".into(),
            ask: "2".into(),
            ask_size: "1".into(),
            event_ms: 0,
            time_ms: 0,
            wall_ns: id * 1_000_000_000,
        });
    }
    truth
}

#[test]
fn what_no_id_protects_is_held_or_confessed() {
    let truth = quotes_truth();
    let fact = |n: usize| Item::Fact(facts::quote_of_truth(&truth.quotes[n - 1]).unwrap());
    let held = |ids: &[usize]| ids.iter().map(|n| fact(*n)).collect::<Vec<_>>();
    assert!(judged(&truth, &seen(Kind::Quote, held(&[1, 2, 3, 4, 5])), Kind::Quote).whole());
    let silent = judged(&truth, &seen(Kind::Quote, held(&[1, 2, 5])), Kind::Quote);
    assert_eq!((silent.missing, silent.confessed), (2, 0));
    let mut items = held(&[1, 2, 5]);
    items.push(gap("lost", 0, 0, 2, 4));
    let confessed = judged(&truth, &seen(Kind::Quote, items), Kind::Quote);
    assert_eq!((confessed.missing, confessed.confessed, confessed.confessed_s), (0, 2, 2.0));
    assert!(judged(&truth, &seen(Kind::Quote, held(&[1, 2, 3, 4, 5, 5])), Kind::Quote).twice == 1);
}

#[test]
fn of_two_that_are_alike_the_row_is_the_one_s_that_it_came_behind() {
    let mut truth = quotes_truth();
    // Published at 2 s and again at 4 s, in the same words; the first lies in a confessed hole.
    let words = truth.quotes[1].clone();
    truth.quotes[3] = Quote { wall_ns: truth.quotes[3].wall_ns, ..words };
    let fact = |n: usize| Item::Fact(facts::quote_of_truth(&truth.quotes[n - 1]).unwrap());
    let judge = |at: i64, hole: Item| {
        let mut one = TopicSeen::default();
        for (n, at) in [(1, 1_000), (3, 3_000), (4, at), (5, 5_000)] {
            one.at = at * 1_000_000 + 1;
            one.take(fact(n));
        }
        one.take(hole);
        let topics = [(topic_name(Kind::Quote, &id()), one)].into();
        let count = judged(&truth, &Seen { topics, errors: Vec::new() }, Kind::Quote);
        (count.missing, count.confessed, count.twice)
    };
    assert_eq!(judge(4_000, gap("lost", 0, 0, 2, 2)), (0, 1, 0), "the second is held, the first confessed");
    assert_eq!(
        judge(2_000, gap("lost", 0, 0, 2, 2)),
        (1, 0, 0),
        "the first is held, and the second lost without a word"
    );
    assert_eq!(judge(2_000, gap("lost", 0, 0, 4, 4)), (0, 1, 0));
}

fn depth(first: u64, last: u64, bid: (&str, &str)) -> DepthEvent {
    DepthEvent {
        event_ms: 1,
        time_ms: 1,
        first,
        last,
        previous: first - 1,
        bids: vec![(bid.0.into(), bid.1.into())],
        asks: Vec::new(),
        wall_ns: last * 1_000_000_000,
    }
}

#[test]
fn books_and_their_deltas() {
    let mut truth = InstrumentTruth::default();
    truth.books.push(wholetape_sim::BookText {
        last_update_id: 1,
        bids: vec![("10".into(), "1".into())],
        asks: Vec::new(),
    });
    truth.depth = vec![depth(2, 3, ("10", "4")), depth(4, 5, ("9", "2")), depth(6, 7, ("10", "0"))];
    truth.final_book =
        Some(wholetape_sim::BookText { last_update_id: 7, bids: vec![("9".into(), "2".into())], asks: Vec::new() });
    let level = |p: i64, s: i64| vec![(Decimal::new(p, 0).canonical(), Decimal::new(s, 0))];
    let live = Item::Validity { live: true };
    let snapshot = Item::Snapshot { id: 3, bids: level(10, 4), asks: Vec::new() };
    let delta = |id, p, s| Item::Delta { id, bids: level(p, s), asks: Vec::new() };
    let whole = seen(Kind::Book, vec![snapshot.clone(), delta(5, 9, 2), delta(7, 10, 0), live.clone()]);
    let compared = compare(&truth, &wanted(Kind::Book), &whole, &whole);
    assert!(compared.whole(), "{compared:?}");
    // The last delta is missing: book and deltas say so.
    let short = seen(Kind::Book, vec![snapshot.clone(), delta(5, 9, 2), live.clone()]);
    let compared = compare(&truth, &wanted(Kind::Book), &short, &short);
    assert!(!compared.book_equal && compared.kinds["book"].missing == 1);
    // A delta with another size.
    let wrong = seen(Kind::Book, vec![snapshot, delta(5, 9, 3), delta(7, 10, 0), live]);
    let compared = compare(&truth, &wanted(Kind::Book), &wrong, &wrong);
    assert!(!compared.book_equal && compared.kinds["book"].invented == 1, "{compared:?}");
}

/// Trades that are named and not counted, of a venue that has no past ones.
#[test]
fn what_no_venue_gives_back_is_confessed_by_time_and_by_nothing_else() {
    let raw = |id: u64| RawTrade {
        event_ms: id as i64 * 1_000,
        id,
        name: Some(format!("20f43950-d8dd-5b31-9112-{id:012x}")),
        price: "1.50".into(),
        size: "2".into(),
        time_ms: id as i64 * 1_000,
        buyer_is_maker: true,
        source: None,
        wall_ns: id * 1_000_000_000,
    };
    let mut truth = InstrumentTruth::default();
    truth.trades.extend((1..=9).map(|id| (id, raw(id))));
    let have = |ids: &[u64], mark: Option<Item>| {
        let rows = ids.iter().map(|id| Item::Trade(of_raw(&raw(*id)).unwrap())).chain(mark).collect();
        seen(Kind::Trade, rows)
    };
    let judged = |seen: &Seen, trades_confessed| {
        let wanted = Wanted { raw_source: true, trades_confessed, ..wanted(Kind::Trade) };
        let count = compare(&truth, &wanted, seen, seen).kinds["trade"].clone();
        (count.held, count.confessed, count.missing)
    };
    let cut = have(&[1, 2, 6, 7, 8, 9], Some(gap("lost", 0, 0, 2, 6)));
    assert_eq!(judged(&cut, true), (6, 3, 0));
    assert_eq!(judged(&cut, false), (6, 0, 3), "elsewhere it could have been asked for");
    assert_eq!(judged(&have(&[1, 2, 6, 7, 8, 9], None), true), (6, 0, 3));
    // The mark ends too early, and ids say nothing.
    let short = have(&[1, 2, 6, 7, 8, 9], Some(gap("lost", 0, 0, 2, 4)));
    assert_eq!(judged(&short, true), (6, 2, 1));
    assert_eq!(judged(&have(&[1, 2, 6, 7, 8, 9], Some(gap("lost", 3, 5, 0, 0))), true), (6, 0, 3));
}

/// A new subscription is told what stands, with the time of the venue's last message.
#[test]
fn what_stands_may_be_told_again_and_nothing_else() {
    let told = |ms: i64, mark: &str, brought: &str| Stated {
        event_ms: ms,
        wall_ns: ms as u64 * 1_000_000,
        variant: String::new(),
        payload: format!(
            r#"{{"topic":"tickers.AB","data":{{"lastPrice":"1","prevPrice24h":"1","highPrice24h":"1","lowPrice24h":"1","volume24h":"1","turnover24h":"1","markPrice":"{mark}","indexPrice":"1","singleOpenInterest":"1","fundingRate":"1","nextFundingTime":"1"}},"ts":{ms},"told":[{brought}]}}"#
        ),
    };
    let mark = r#""markPrice""#;
    let mut truth = InstrumentTruth::default();
    truth.tickers = vec![told(1_000, "5", mark), told(2_500, "5", ""), told(4_000, "6", mark), told(9_000, "6", "")];
    let judged = |restated: bool, again: &str| {
        let facts = ["mark @1000 5", "mark @4000 6", again].map(|fact| Item::Fact(fact.into()));
        let seen = seen(Kind::Mark, facts.into());
        let count = compare(&truth, &Wanted { restated, ..wanted(Kind::Mark) }, &seen, &seen).kinds["mark"].clone();
        (count.invented, count.missing)
    };
    for (again, invented) in [("mark @2500 5", 0), ("mark @9000 6", 0), ("mark @2500 6", 1), ("mark @9000 5", 1)] {
        assert_eq!(judged(true, again), (invented, 0), "{again}");
    }
    assert_eq!(judged(false, "mark @2500 5"), (1, 0));
    assert_eq!(judged(true, "mark @3000 5"), (1, 0), "when nothing was said");
}
