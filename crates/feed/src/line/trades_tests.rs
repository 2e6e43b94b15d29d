use super::*;

const T0: Ts = Ts(1_000_000_000_000);

fn after(ms: u64) -> Ts {
    T0 + Duration::from_millis(ms)
}

fn flow() -> TradeFlow {
    let mut f = TradeFlow::new(true, Ledger::default(), &[], Ts::ZERO);
    f.on_open(T0);
    f
}

/// Feeds an answer of the given ids to the question under way and returns the ids kept and the marks.
fn answer(f: &mut TradeFlow, ids: &[u64], now: Ts) -> (Vec<u64>, Vec<GapMark>) {
    let asked = f.asked_old.or(f.asked).expect("nothing was asked").ask;
    answer_to(f, asked, ids, now)
}

/// A trade's venue time in these tests: ids are milliseconds.
fn event(id: u64) -> Ts {
    T0 + Duration::from_millis(id)
}

fn answer_to(f: &mut TradeFlow, asked: Ask, ids: &[u64], now: Ts) -> (Vec<u64>, Vec<GapMark>) {
    let (kind, arg) = match asked {
        Ask::From { id, .. } => (FetchKind::TradesFrom, id),
        Ask::Newest => (FetchKind::NewestTrades, 1),
        Ask::At(at) => (FetchKind::TradesAt, millis(at)),
    };
    f.begin(kind, arg);
    let mut kept = Vec::new();
    let mut marks = f.on_edge(ids.first().map(|id| (*id, event(*id))), now, 1_000);
    for id in ids {
        let (new, mark) = f.on_late(*id, event(*id), now, 999);
        marks.extend(mark);
        if new {
            kept.push(*id);
        }
    }
    let bounds = ids.first().map(|first| (*first, *ids.last().unwrap()));
    marks.extend(f.after_answer(bounds, "", now));
    (kept, marks)
}

#[test]
fn a_hole_is_named_asked_for_and_healed() {
    let mut f = flow();
    assert_eq!(f.on_live(10, T0, T0, 1), Live::Row);
    let Live::AfterGap(gap) = f.on_live(14, after(5), after(5), 2) else { panic!("no gap") };
    assert_eq!(
        (gap.state, gap.cause, gap.from_id, gap.to_id, gap.missing),
        (GapState::Open, GapCause::Sequence, 11, 13, 3)
    );
    assert_eq!(f.poll_ask(after(10)), None, "a swapped neighbour may still come");
    assert_eq!(f.poll_ask(after(300)), Some(Ask::From { id: 10, hole: true }), "with its neighbour");
    assert_eq!(f.poll_ask(after(301)), None, "one request at a time");
    let (kept, verdicts) = answer(&mut f, &[11, 12, 13, 14], after(320));
    assert_eq!(kept, [11, 12, 13]);
    assert_eq!(verdicts.len(), 1);
    assert_eq!((verdicts[0].gap, verdicts[0].state, verdicts[0].source), (2, GapState::Healed, HealSource::Rest));
    assert_eq!(f.open_gaps(), 0);
    assert_eq!(f.on_live(13, after(330), after(330), 3), Live::Repeat);
}

#[test]
fn swapped_neighbours_heal_themselves() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    f.on_live(3, after(1), after(1), 2);
    let Live::Filled(verdicts) = f.on_live(2, after(2), after(2), 3) else { panic!() };
    assert_eq!((verdicts[0].gap, verdicts[0].state, verdicts[0].source), (2, GapState::Healed, HealSource::Redundant));
    assert_eq!(f.poll_ask(after(1_000)), None);
}

#[test]
fn an_id_is_never_published_by_one_answer_that_is_late_enough() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    f.on_live(5, after(1), after(1), 2);
    assert_eq!(f.poll_ask(after(300)), Some(Ask::From { id: 1, hole: true }));
    let (kept, verdicts) = answer(&mut f, &[1, 2, 4, 5], after(310));
    assert_eq!((kept, verdicts.len()), (vec![2, 4], 0), "REST may lag: too young to judge");
    assert_eq!(f.poll_ask(after(1_900)), None, "later, not at once");
    assert_eq!(f.poll_ask(after(2_001)), Some(Ask::From { id: 2, hole: true }));
    let (_, verdicts) = answer(&mut f, &[2, 4, 5], after(2_010));
    assert_eq!((verdicts[0].state, verdicts[0].missing), (GapState::NeverPublished, 1));
    assert!(verdicts[0].why.contains("shows neighbours and not 3"), "{}", verdicts[0].why);
    assert_eq!(f.open_gaps(), 0);
}

#[test]
fn t8_an_old_hole_is_asked_for_once_and_its_evidence_names_off_book_prints() {
    let mut f = flow().with_history(
        TradeHistory::ById(ById { omits: "INSURANCE_FUND and ADL prints", ..ById::default() }),
        Duration::ZERO,
        (Ts::ZERO, Ts::ZERO),
        &[],
    );
    f.on_live(1, T0, T0, 1);
    f.on_live(4, after(1), after(1), 2);
    assert!(f.poll_ask(after(5_000)).is_some());
    let Ask::From { id, .. } = f.asked.unwrap().ask else { panic!() };
    f.begin(FetchKind::TradesFrom, id);
    let verdicts = f.after_answer(Some((1, 9)), "1 ADL", after(5_010));
    assert_eq!((verdicts[0].state, verdicts[0].missing), (GapState::NeverPublished, 2));
    for what in ["INSURANCE_FUND", "1 ADL", "2–3"] {
        assert!(verdicts[0].why.contains(what), "{}", verdicts[0].why);
    }
    assert_eq!((f.stats.lost, f.stats.never_published), (0, 1), "no loss");
    f.on_live(5, after(5_020), after(5_020), 9);
    assert_eq!(f.poll_ask(after(5_030)), None, "asked once");
}

#[test]
fn one_page_is_asked_for_all_holes_that_it_can_show() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    // Nine holes of one id, and an old one further back than a page reaches.
    for id in (3..1_600).filter(|id| *id < 1_510 || id % 10 != 1) {
        f.on_live(id, after(1), after(1), id);
    }
    let holes: Vec<u64> = f.holes.iter().map(|h| h.from).collect();
    assert_eq!((holes.len(), holes[0]), (10, 2), "{holes:?}");
    let lowest = holes[1] - 1;
    assert_eq!(
        f.poll_ask(after(3_000)),
        Some(Ask::From { id: lowest, hole: true }),
        "newest first, and those before it"
    );
    let (kept, verdicts) = answer(&mut f, &(lowest..=1_600).collect::<Vec<_>>(), after(3_010));
    assert_eq!((kept.len(), verdicts.len()), (9, 9));
    assert_eq!(f.poll_ask(after(3_020)), Some(Ask::From { id: 1, hole: true }), "the old one by itself");
    let (_, verdicts) = answer(&mut f, &[1, 2, 3], after(3_030));
    assert_eq!((verdicts.len(), f.open_gaps()), (1, 0));
}

#[test]
fn a_page_for_many_holes_that_shows_none_of_them_is_followed_by_one_for_the_newest() {
    let mut f = flow();
    for id in [1, 3, 5] {
        f.on_live(id, after(id), after(id), id);
    }
    assert_eq!(f.poll_ask(after(3_000)), Some(Ask::From { id: 1, hole: true }));
    // The venue no longer has the older ones.
    let (kept, _) = answer(&mut f, &[5, 6], after(3_010));
    assert_eq!(kept, [0; 0]);
    assert_eq!(f.poll_ask(after(3_020)), Some(Ask::From { id: 3, hole: true }));
}

#[test]
fn a_long_hole_is_paged_newest_first() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    f.on_live(2_001, after(1), after(1), 2);
    assert_eq!(f.poll_ask(after(300)), Some(Ask::From { id: 1_002, hole: true }));
    let (_, v) = answer(&mut f, &(1_002..=2_001).collect::<Vec<_>>(), after(310));
    assert!(v.is_empty());
    assert_eq!(f.poll_ask(after(310)), Some(Ask::From { id: 3, hole: true }));
    let (_, v) = answer(&mut f, &(3..=1_002).collect::<Vec<_>>(), after(320));
    assert!(v.is_empty());
    assert_eq!(f.poll_ask(after(320)), Some(Ask::From { id: 1, hole: true }));
    let (_, v) = answer(&mut f, &(1..=1_000).collect::<Vec<_>>(), after(330));
    assert_eq!(v[0].state, GapState::Healed);
}

#[test]
fn a_lost_tail_is_found_by_the_probe() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    assert_eq!(f.poll_ask(after(1_900)), None);
    assert_eq!(f.poll_ask(after(2_000)), Some(Ask::From { id: 2, hole: false }));
    let (kept, marks) = answer(&mut f, &[2, 3], after(2_010));
    assert_eq!(kept, [2, 3]);
    assert_eq!(marks.iter().map(|m| m.state).collect::<Vec<_>>(), [GapState::Open, GapState::Healed]);
    assert_eq!((marks[1].from_id, marks[1].to_id, marks[1].cause), (2, 3, GapCause::Silent));
    assert_eq!(f.poll_ask(after(2_500)), None, "the next probe waits longer");
    assert_eq!(f.poll_ask(after(6_100)), Some(Ask::From { id: 4, hole: false }));
    let (_, marks) = answer(&mut f, &[], after(6_110));
    assert!(marks.is_empty(), "an empty tail is proof, not trouble");
}

#[test]
fn a_tail_longer_than_a_page_is_followed_page_by_page() {
    let by = ById { page_max: 100, ..ById::default() };
    let mut f = flow().with_history(TradeHistory::ById(by), Duration::ZERO, (Ts::ZERO, Ts::ZERO), &[]);
    f.on_open(T0);
    f.on_live(10, after(100), after(100), 1);
    let mut at = 3_000;
    for (from, to) in [(11, 110), (111, 210)] {
        assert_eq!(f.poll_ask(after(at)), Some(Ask::From { id: from, hole: false }));
        assert!(f.is_probe_urgent() || from == 11);
        let (kept, _) = answer(&mut f, &(from..=to).collect::<Vec<_>>(), after(at + 50));
        assert_eq!(kept.len(), 100);
        at += 60;
    }
    assert_eq!(f.poll_ask(after(at)), Some(Ask::From { id: 211, hole: false }), "a full page has something behind it");
    answer(&mut f, &[211, 212], after(at));
    assert_eq!(f.poll_ask(after(at + 1_900)), None);
    assert_eq!(f.poll_ask(after(at + 2_000)), Some(Ask::From { id: 213, hole: false }), "there was news: soon again");
    answer(&mut f, &[], after(at + 2_000));
    assert_eq!(f.poll_ask(after(at + 5_900)), None, "there was none: half as often");
}

/// Pages by time begin before what is asked for.
#[test]
fn a_page_of_what_is_known_is_no_news() {
    let mut f = flow();
    f.on_live(10, after(100), after(100), 1);
    assert_eq!(f.poll_ask(after(2_200)), Some(Ask::From { id: 11, hole: false }));
    answer(&mut f, &[9, 10], after(2_250));
    assert_eq!(f.poll_ask(after(6_100)), None, "half as often");
    assert!(f.poll_ask(after(6_300)).is_some());
}

#[test]
fn a_probe_that_was_refused_is_made_soon_again() {
    let mut f = flow();
    f.on_live(10, after(100), after(100), 1);
    for at in [2_200, 6_300, 14_400] {
        let Some(Ask::From { id, hole: false }) = f.poll_ask(after(at)) else { panic!("no probe at {at}") };
        answer(&mut f, &[], after(at));
        assert_eq!(id, 11);
    }
    let refused = after(31_000);
    assert!(f.poll_ask(refused).is_some());
    let wait = Duration::from_secs(3);
    f.on_failed((FetchKind::TradesFrom, 11), Some(wait), "refused", refused, 2);
    assert_eq!(f.poll_ask(after(33_900)), None);
    assert!(f.poll_ask(after(34_000)).is_some(), "not after the half minute that a quiet stream is left alone");
}

#[test]
fn what_was_held_before_a_restart_stays_held() {
    let mut f = TradeFlow::new(true, Ledger::from_runs(vec![(1, 9)]), &[], T0);
    f.on_open(after(0));
    assert_eq!(f.on_live(9, after(1), after(1), 1), Live::Repeat);
    let Live::AfterGap(gap) = f.on_live(12, after(2), after(2), 2) else { panic!() };
    assert_eq!((gap.cause, gap.from_id, gap.to_id, gap.from_ts), (GapCause::Down, 10, 11, after(1)));
}

#[test]
fn failures_back_off_and_end_with_a_verdict() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    f.on_live(3, after(1), after(1), 2);
    let mut now = after(300);
    let mut asked = 0;
    for i in 0..2_000 {
        // The stream goes on, so no probe mixes in.
        f.on_live(4 + i, now, now, 50);
        if f.poll_ask(now).is_some() {
            asked += 1;
            let lost = f.on_failed(question(&f), None, "timeout", now, 60);
            if let Some(lost) = lost.first() {
                assert_eq!((lost.state, lost.missing, asked), (GapState::Lost, 1, FAILURES_MAX));
                return;
            }
        }
        now = now + Duration::from_secs(1);
    }
    panic!("no verdict");
}

#[test]
fn our_own_budget_is_no_failure() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    f.on_live(3, after(1), after(1), 2);
    assert!(f.poll_ask(after(300)).is_some());
    f.on_failed(question(&f), Some(Duration::from_secs(5)), "budget", after(301), 60);
    assert_eq!(f.poll_ask(after(4_000)), None);
    assert_eq!(f.poll_ask(after(5_400)), Some(Ask::From { id: 1, hole: true }));
}

#[test]
fn without_healing_a_hole_is_lost_and_says_so() {
    let mut f = TradeFlow::new(false, Ledger::default(), &[], Ts::ZERO);
    f.on_live(1, T0, T0, 1);
    f.on_live(3, after(1), after(1), 2);
    let lost = f.give_up_all();
    assert_eq!((lost[0].state, lost[0].missing, lost[0].why.as_str()), (GapState::Lost, 1, "healing is off"));
    assert_eq!(f.poll_ask(after(60_000)), None);
}

fn question(f: &TradeFlow) -> (FetchKind, u64) {
    match f.asked.or(f.asked_old).unwrap().ask {
        Ask::From { id, .. } => (FetchKind::TradesFrom, id),
        Ask::Newest => (FetchKind::NewestTrades, 1),
        Ask::At(at) => (FetchKind::TradesAt, millis(at)),
    }
}

#[test]
fn ids_settled_on_an_early_page_are_named_in_the_last_verdict() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    f.on_live(2_001, after(1), after(1), 2);
    let mut now = after(5_000);
    let mut verdicts = Vec::new();
    while verdicts.is_empty() {
        f.on_live(2_001, now, now, 9);
        let Some(Ask::From { id, hole: true }) = f.poll_ask(now) else { panic!("not asked") };
        let page: Vec<u64> = (id..=2_001).filter(|id| *id != 1_500).take(1_000).collect();
        verdicts = answer(&mut f, &page, now).1;
        now = now + Duration::from_millis(20);
    }
    assert_eq!((verdicts[0].state, verdicts[0].missing), (GapState::NeverPublished, 1));
    assert!(verdicts[0].why.contains("1500"), "{}", verdicts[0].why);
}

fn with_backlog(held: Vec<(u64, u64)>, oldest: Ts) -> TradeFlow {
    let mut f = TradeFlow::new(true, Ledger::from_runs(held), &[], Ts::ZERO).with_history(
        TradeHistory::default(),
        Duration::from_secs(100),
        (oldest, Ts::ZERO),
        &[],
    );
    f.on_open(T0);
    f
}

#[test]
fn the_backlog_begins_where_time_says_and_its_newest_page_is_first() {
    let mut f = with_backlog(Vec::new(), Ts::ZERO);
    let first = 150_000;
    assert!(!f.wants_anchor());
    assert_eq!(f.on_live(first, event(first), event(first), 1), Live::Row);
    assert!(f.wants_anchor());
    assert_eq!(f.anchor(event(first), event(first), 5), None);
    let mut now = event(first);
    let Some(Ask::At(at)) = f.poll_backlog(now) else { panic!("no edge is asked for") };
    assert_eq!(at, event(50_000), "100 s before the first row");
    // Every 50th id exists; the rest was never published.
    let all: Vec<u64> = (50_000..=first).step_by(50).collect();
    let page = |from: u64| -> Vec<u64> { all.iter().copied().filter(|id| *id >= from).take(1_000).collect() };
    let (kept, marks) = answer(&mut f, &page(50_000), now);
    assert_eq!(
        (marks[0].state, marks[0].cause, marks[0].from_id, marks[0].to_id),
        (GapState::Open, GapCause::Backlog, 50_000, 149_999)
    );
    assert_eq!(kept.len(), 1_000, "the page that found the edge is of use");
    let mut held = kept;
    let mut newest_first = Vec::new();
    for _ in 0..20_000 {
        now = now + Duration::from_millis(100);
        // The stream goes on, so no probe mixes in.
        f.on_live(first, now, now, 9);
        let Some(ask) = f.poll_backlog(now) else { continue };
        let Ask::From { id, hole: true } = ask else { panic!("{ask:?}") };
        newest_first.push(id);
        let (kept, marks) = answer_to(&mut f, ask, &page(id), now);
        held.extend(kept);
        if let Some(verdict) = marks.last() {
            assert_eq!((verdict.state, f.open_gaps()), (GapState::NeverPublished, 0));
            break;
        }
    }
    held.sort_unstable();
    assert_eq!(held, all[..all.len() - 1], "each once");
    assert!(newest_first[0] > 148_000, "{newest_first:?}");
}

/// The id before a backlog is held by nobody, and may never have been: the venue's first trade is asked for by its own id.
#[test]
fn the_oldest_page_of_a_backlog_begins_with_its_first_trade() {
    let mut f = with_backlog(Vec::new(), Ts::ZERO);
    let (edge, first) = (149_400, 150_000);
    f.on_live(first, event(first), event(first), 1);
    f.anchor(event(first), event(first), 5);
    let at = f.poll_backlog(event(first)).unwrap();
    answer_to(&mut f, at, &[edge], event(first));
    let ask = f.poll_backlog(event(first) + Duration::from_secs(1)).unwrap();
    assert_eq!(ask, Ask::From { id: edge, hole: true }, "which is held");

    // Before the stream is acknowledged both edges are asked for, and what these answers show is of no hole yet.
    let span = Duration::from_secs(100);
    let mut f = TradeFlow::new(true, Ledger::from_runs(Vec::new()), &[], Ts::ZERO).with_history(
        TradeHistory::default(),
        span,
        (Ts::ZERO, Ts::ZERO),
        &[],
    );
    f.on_live(first, event(first), event(first), 1);
    f.anchor(event(first), event(first), 5);
    for shown in [edge, first] {
        let ask = f.poll_backlog(event(first)).unwrap();
        assert!(matches!(ask, Ask::At(_) | Ask::Newest), "{ask:?}");
        answer_to(&mut f, ask, &[shown], event(first));
    }
    let ask = f.poll_backlog(event(first) + Duration::from_secs(1)).unwrap();
    assert_eq!(ask, Ask::From { id: edge, hole: true }, "nothing below it is held");
    let (_, marks) = answer_to(&mut f, ask, &(edge..=first).collect::<Vec<_>>(), event(first));
    assert_eq!((marks[0].state, f.open_gaps()), (GapState::Healed, 0));
}

#[test]
fn a_backlog_that_the_tape_holds_is_not_asked_for_again() {
    let mut f = with_backlog(vec![(1, 5_000)], T0 - Duration::from_secs(200));
    f.on_live(5_001, T0, T0, 1);
    assert_eq!(f.anchor(T0, T0, 5), None);
    assert_eq!(f.poll_backlog(after(1)), None);

    // The tape begins later than the span: only what it lacks is opened.
    let mut f = with_backlog(vec![(120_000, 140_000)], event(120_000));
    f.on_live(140_001, event(140_001), event(140_001), 1);
    f.anchor(event(140_001), event(140_001), 5);
    let ask = f.poll_backlog(event(140_001)).unwrap();
    assert_eq!(ask, Ask::At(event(40_001)));
    let (_, marks) = answer_to(&mut f, ask, &(119_990..=120_500).collect::<Vec<_>>(), event(140_010));
    let marks: Vec<_> = marks.iter().map(|m| (m.state, m.from_id, m.to_id)).collect();
    assert_eq!(marks, [(GapState::Open, 119_990, 119_999), (GapState::Healed, 119_990, 119_999)]);
}

#[test]
fn what_the_venue_no_longer_has_is_lost_beyond_its_reach() {
    // Ids 1–9 are held from long ago; the venue's history begins at 5 000 now.
    let mut f = TradeFlow::new(true, Ledger::from_runs(vec![(1, 9)]), &[], T0);
    f.on_open(T0);
    f.on_live(6_000, after(0), after(0), 2);
    let mut now = after(3_000);
    for _ in 0..100 {
        f.on_live(6_000, now, now, 9);
        if let Some(Ask::From { id, .. }) = f.poll_ask(now) {
            let page: Vec<u64> = (id.max(5_000)..=6_000).take(1_000).collect();
            let (_, marks) = answer(&mut f, &page, now);
            if let Some(mark) = marks.first() {
                assert_eq!((mark.state, mark.missing), (GapState::Lost, 4_990), "{mark:?}");
                assert!(mark.why.starts_with("beyond the venue's reach"), "{}", mark.why);
                return;
            }
        }
        now = now + Duration::from_millis(500);
    }
    panic!("no verdict");
}

#[test]
fn a_span_beyond_the_venues_reach_is_confessed_and_the_rest_is_searched() {
    let by =
        ById { reach: Some(Duration::from_secs(3_600)), window: Some(Duration::from_secs(600)), ..ById::default() };
    let mut f = TradeFlow::new(true, Ledger::default(), &[], Ts::ZERO).with_history(
        TradeHistory::ById(by),
        Duration::from_secs(7_200),
        (Ts::ZERO, Ts::ZERO),
        &[],
    );
    let start = T0 + Duration::from_secs(100_000);
    f.on_open(start);
    f.on_live(7, start, start, 1);
    let mark = f.anchor(start, start, 5).unwrap();
    assert_eq!((mark.state, mark.cause, mark.from_id), (GapState::Lost, GapCause::Backlog, 0));
    assert_eq!((mark.from_ts, mark.to_ts), (start - Duration::from_secs(7_200), start - Duration::from_secs(3_540)));
    // Empty spans are passed over until one has a trade.
    for n in 0..5 {
        let ask = f.poll_backlog(start).unwrap();
        assert_eq!(ask, Ask::At(start - Duration::from_secs(3_540 - 600 * n)));
        assert!(answer_to(&mut f, ask, &[], start).1.is_empty());
    }
    let ask = f.poll_backlog(start).unwrap();
    let (kept, marks) = answer_to(&mut f, ask, &[4, 5, 6, 7], start);
    assert_eq!((kept.len(), marks[1].state), (3, GapState::Healed));
}

#[test]
fn an_edge_that_cannot_be_found_is_given_up_and_tried_after_a_reconnect() {
    let mut f = with_backlog(Vec::new(), Ts::ZERO);
    f.on_live(7, T0, T0, 1);
    f.anchor(T0, T0, 5);
    let mut now = T0;
    for _ in 0..1_000 {
        now = now + Duration::from_secs(1);
        if let Some(ask) = f.poll_backlog(now) {
            assert!(matches!(ask, Ask::At(_)));
            let marks =
                f.on_failed((FetchKind::TradesAt, millis(T0 - Duration::from_secs(100))), None, "timeout", now, 60);
            if let Some(mark) = marks.first() {
                assert_eq!((mark.state, mark.cause, mark.to_id), (GapState::Lost, GapCause::Backlog, 0));
                assert!(mark.why.contains("timeout"), "{}", mark.why);
                f.on_open(now);
                assert!(f.wants_anchor());
                return;
            }
        }
    }
    panic!("never given up");
}

fn loose(history: TradeHistory, backlog: Duration) -> TradeFlow {
    let mut f = TradeFlow::new(true, Ledger::default(), &[], Ts::ZERO).with_history(
        history,
        backlog,
        (Ts::ZERO, Ts::ZERO),
        &[],
    );
    f.on_open(T0);
    f
}

/// A trade of a venue without consecutive ids: its name says nothing of its time.
fn name(n: u64) -> TradeId {
    TradeId::uuid(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 0x5000 << 76).unwrap()
}

/// Answers with trades `from..` of one every 10 ms, a page at most; returns which were new.
fn page_by_time(f: &mut TradeFlow, at: Ts, last: u64, page: u64, now: Ts) -> (Vec<u64>, Vec<GapMark>) {
    f.begin(FetchKind::TradesAt, millis(at));
    let first = at.since(T0).as_millis().div_ceil(10) as u64;
    let shown: Vec<u64> = (first..=last).take(page as usize).collect();
    let new = shown.iter().copied().filter(|n| f.on_late(name(*n), event(n * 10), now, 999).0).collect();
    (new, f.after_answer(None, "", now))
}

const LOOSE: TradeHistory = TradeHistory::ByTimeWithOverlap(ByTime {
    page_max: 10,
    reach: Some(Duration::from_secs(3_600)),
    overlap: Duration::from_millis(50),
    downwards: false,
});

#[test]
fn a_hole_without_consecutive_ids_is_whole_when_its_pages_overlap() {
    let mut f = loose(LOOSE, Duration::ZERO);
    for n in 100..105 {
        assert_eq!(f.on_live(name(n), event(n * 10), event(n * 10), 1), Live::Row);
    }
    assert_eq!(f.on_live(name(104), event(1_040), event(1_041), 1), Live::Repeat);
    f.on_closed();
    let Live::AfterGap(mark) = f.on_live(name(131), event(1_310), event(1_310), 7) else { panic!("no gap") };
    assert_eq!(
        (mark.cause, mark.from_id, mark.from_ts, mark.to_ts),
        (GapCause::Disconnected, 0, event(1_040), event(1_310))
    );
    let mut now = event(2_000);
    let (mut new, mut verdict) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let Some(Ask::At(at)) = f.poll_ask(now) else { break };
        let (rows, marks) = page_by_time(&mut f, at, 140, 10, now);
        new.extend(rows);
        verdict.extend(marks);
        now = now + Duration::from_millis(20);
    }
    assert_eq!(new, (105..131).collect::<Vec<_>>(), "what was missing, once");
    assert_eq!((verdict.len(), verdict[0].gap, verdict[0].state), (1, 7, GapState::Healed));
    assert!(verdict[0].why.contains("26 rows, proven by overlap"), "{}", verdict[0].why);
    assert_eq!((f.open_gaps(), f.poll_ask(now)), (0, None));
}

/// Another socket brought the trade at 1.4 s; from 1.1 s on one had more on its way, of which the trade at 1.05 s comes after all.
#[test]
fn a_hole_reaches_around_whatever_came_out_of_order() {
    let mut f = loose(LOOSE, Duration::ZERO);
    for n in [100, 140] {
        assert_eq!(f.on_live(name(n), event(n * 10), event(1_400), 1), Live::Row);
    }
    assert!(f.doubt(GapCause::Disconnected, event(1_100), false));
    let Live::AfterGap(mark) = f.on_live(name(105), event(1_050), event(1_500), 7) else { panic!("no gap") };
    assert!(mark.from_ts <= event(1_050), "{mark:?}");
    let (mut now, mut new, mut verdict) = (event(2_000), Vec::new(), Vec::new());
    for _ in 0..20 {
        let Some(Ask::At(at)) = f.poll_ask(now) else { break };
        let (rows, marks) = page_by_time(&mut f, at, 150, 10, now);
        new.extend(rows);
        verdict.extend(marks);
        now = now + Duration::from_millis(20);
    }
    assert_eq!(new, (106..140).collect::<Vec<_>>());
    assert_eq!((verdict.len(), verdict[0].state), (1, GapState::Healed));
}

#[test]
fn pages_that_do_not_meet_lose_the_hole_and_say_where() {
    let mut f = loose(LOOSE, Duration::ZERO);
    f.on_live(name(100), event(1_000), event(1_000), 1);
    f.on_closed();
    f.on_live(name(500), event(5_000), event(5_000), 7);
    let now = event(6_000);
    let Some(Ask::At(at)) = f.poll_ask(now) else { panic!("not asked") };
    // The venue begins later than the trade that we hold.
    let (_, marks) = page_by_time(&mut f, at + Duration::from_secs(1), 500, 10, now);
    assert!(marks.is_empty(), "another question: {marks:?}");
    let mut f2 = loose(LOOSE, Duration::ZERO);
    f2.on_live(name(100), event(1_000), event(1_000), 1);
    f2.on_closed();
    f2.on_live(name(500), event(5_000), event(5_000), 7);
    let Some(Ask::At(at)) = f2.poll_ask(now) else { panic!("not asked") };
    f2.begin(FetchKind::TradesAt, millis(at));
    f2.on_late(name(300), event(3_000), now, 9);
    let marks = f2.after_answer(Some((1, 1)), "", now);
    assert_eq!(marks[0].state, GapState::Lost);
    assert!(marks[0].why.contains("left edge"), "{}", marks[0].why);
}

#[test]
fn a_backlog_by_time_begins_at_its_first_trade() {
    let mut f = loose(LOOSE, Duration::from_secs(2));
    let Live::AfterGap(mark) = f.on_live(name(400), event(4_000), event(4_000), 7) else { panic!("no gap") };
    assert_eq!(mark.cause, GapCause::Backlog);
    assert_eq!(f.poll_ask(event(5_000)), None);
    let (mut now, mut new) = (event(5_000), Vec::new());
    while let Some(Ask::At(at)) = f.poll_backlog(now) {
        let (rows, marks) = page_by_time(&mut f, at, 420, 10, now);
        new.extend(rows);
        now = now + Duration::from_millis(5);
        if let Some(mark) = marks.first() {
            assert_eq!(mark.state, GapState::Healed, "{}", mark.why);
        }
    }
    assert_eq!(new, (200..400).collect::<Vec<_>>());
}

/// dYdX: an answer holds the newest trades up to a time, both of a block or one of them where the limit cuts it.
const DOWN: TradeHistory = TradeHistory::ByTimeWithOverlap(ByTime {
    page_max: 7,
    reach: None,
    overlap: Duration::from_millis(50),
    downwards: true,
});

/// Two trades in each moment of 20 ms; `first` is the oldest that the venue has, and the newest come first.
fn page_down(f: &mut TradeFlow, at: Ts, shown: (u64, u64), now: Ts) -> (Vec<u64>, Vec<GapMark>) {
    page_up_to(f, at, at, shown, now)
}

/// As [`page_down`], of a venue that reads another time in the question.
fn page_up_to(f: &mut TradeFlow, at: Ts, to: Ts, (first, last): (u64, u64), now: Ts) -> (Vec<u64>, Vec<GapMark>) {
    f.begin(FetchKind::TradesAt, millis(at));
    let moment = |n: u64| event(n / 2 * 20);
    let mut shown: Vec<u64> = (first..=last).rev().filter(|n| moment(*n) <= to).take(7).collect();
    shown.reverse();
    let new = shown.iter().copied().filter(|n| f.on_late(name(*n), moment(*n), now, 999).0).collect();
    (new, f.after_answer(None, "", now))
}

fn cut_at_100(backlog: Duration) -> TradeFlow {
    let mut f = loose(DOWN, backlog);
    f.on_live(name(100), event(1_000), event(1_000), 1);
    f.on_closed();
    let Live::AfterGap(_) = f.on_live(name(131), event(1_300), event(1_300), 7) else { panic!("no gap") };
    f
}

fn all_pages(f: &mut TradeFlow, shown: (u64, u64)) -> (Vec<u64>, Vec<GapMark>) {
    let (mut now, mut new, mut verdict) = (event(2_000), Vec::new(), Vec::new());
    for _ in 0..20 {
        let Some(Ask::At(at)) = f.poll_ask(now).or_else(|| f.poll_backlog(now)) else { break };
        let (rows, marks) = page_down(f, at, shown, now);
        new.extend(rows);
        verdict.extend(marks);
        now = now + Duration::from_millis(20);
    }
    new.sort_unstable();
    (new, verdict)
}

#[test]
fn a_venue_that_pages_downwards_is_asked_from_the_newer_end() {
    let mut f = cut_at_100(Duration::ZERO);
    let (new, verdict) = all_pages(&mut f, (0, 140));
    // 101 is of the same moment as 100, 130 of the same as 131.
    assert_eq!(new, (101..131).collect::<Vec<_>>(), "blocks that a page cuts are completed by the next");
    assert_eq!((verdict.len(), verdict[0].gap, verdict[0].state), (1, 7, GapState::Healed), "{verdict:?}");
    assert!(verdict[0].why.contains("30 rows, proven by overlap"), "{}", verdict[0].why);
}

#[test]
fn a_page_downwards_that_never_meets_the_left_edge_loses_the_hole() {
    let mut f = cut_at_100(Duration::ZERO);
    let (new, verdict) = all_pages(&mut f, (110, 140));
    assert_eq!(new, (110..131).collect::<Vec<_>>(), "what came is kept");
    assert_eq!((verdict.len(), verdict[0].state), (1, GapState::Lost));
    assert!(verdict[0].why.contains("left edge"), "{}", verdict[0].why);
}

/// An unknown parameter is not refused but ignored: each answer is the newest page.
#[test]
fn a_page_that_is_not_older_than_the_one_before_heals_nothing() {
    let mut f = cut_at_100(Duration::ZERO);
    let now = event(2_000);
    let newest = |f: &mut TradeFlow| {
        let Some(Ask::At(at)) = f.poll_ask(now) else { panic!("not asked") };
        page_up_to(f, at, event(9_000), (0, 133), now).1
    };
    assert_eq!(newest(&mut f), []);
    let lost = newest(&mut f);
    assert_eq!(lost[0].state, GapState::Lost);
    assert!(lost[0].why.contains("in one moment"), "{}", lost[0].why);
}

#[test]
fn a_right_edge_that_rest_does_not_show_yet_is_waited_for() {
    let mut f = cut_at_100(Duration::ZERO);
    let now = event(2_000);
    let Some(Ask::At(at)) = f.poll_ask(now) else { panic!("not asked") };
    assert_eq!(page_down(&mut f, at, (0, 125), now).1, []);
    assert_eq!((f.open_gaps(), f.poll_ask(now)), (1, None), "asked again later");
    let Some(Ask::At(at)) = f.poll_ask(now + Duration::from_secs(60)) else { panic!("not asked again") };
    assert!(at >= event(1_300), "from the newer end");
}

#[test]
fn a_backlog_downwards_ends_at_its_span_or_at_the_first_trade_ever() {
    for (first, expected) in [(0, 100), (110, 110)] {
        let mut f = loose(DOWN, Duration::from_millis(500));
        let Live::AfterGap(_) = f.on_live(name(150), event(1_500), event(1_500), 7) else { panic!("no gap") };
        let (new, verdict) = all_pages(&mut f, (first, 160));
        assert_eq!(new, (expected..150).chain([151]).collect::<Vec<_>>());
        assert_eq!((verdict.len(), verdict[0].state), (1, GapState::Healed));
    }
}

#[test]
fn where_nothing_can_be_asked_a_hole_is_lost_and_says_so() {
    let mut f = loose(TradeHistory::Impossible { consecutive: true }, Duration::from_secs(60));
    assert_eq!(f.on_live(5, event(5), event(5), 1), Live::Row);
    f.on_closed();
    let Live::AfterGap(mark) = f.on_live(9, event(9), event(9), 2) else { panic!("no gap") };
    assert_eq!(f.give_up_impossible(event(10)), [], "swapped neighbours heal themselves");
    assert_eq!((f.poll_ask(event(5_000)), f.poll_backlog(event(5_000))), (None, None));
    let lost = f.give_up_impossible(event(5_000));
    assert_eq!((lost.len(), lost[0].gap, lost[0].state), (1, mark.gap, GapState::Lost));
    assert_eq!(lost[0].why, "impossible over REST");
    assert_eq!(f.open_gaps(), 0);
}

/// Without ids that count it is the topic's loss, told like that of any stream without ids (`overlap_tests`): the flow says so.
#[test]
fn where_neither_ids_count_nor_anything_can_be_asked_the_topic_tells_the_loss() {
    let mut f = loose(TradeHistory::Impossible { consecutive: false }, Duration::from_secs(60));
    assert_eq!(f.on_live(5, event(5), event(5), 1), Live::Row);
    f.on_closed();
    assert!(f.is_loose() && !f.is_asked() && !f.doubt(GapCause::Disconnected, event(5), true));
    assert_eq!((f.on_live(9, event(9), event(9), 2), f.on_live(5, event(5), event(10), 3)), (Live::Row, Live::Repeat));
    assert_eq!((f.give_up_impossible(event(5_000)), f.open_gaps()), (Vec::new(), 0));
}

mod whatever_comes {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Ids 1..=n: some were never published, some come live (perhaps out of order or twice), the rest is REST's alone,
        /// and REST is behind at first. Once it has caught up, each published id is held once, and every hole has a verdict.
        #[test]
        fn each_published_id_is_held_once_and_every_gap_gets_a_verdict(
            fate in proptest::collection::vec(0_u8..8, 20..400),
            behind in 0_u64..30,
            page_max in 5_u64..60,
            fails in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let n = fate.len() as u64;
            let published: Vec<u64> = (1..=n).filter(|id| fate[*id as usize - 1] > 0 || *id == 1 || *id == n).collect();
            let history = TradeHistory::ById(ById { page_max, ..ById::default() });
            let mut f = TradeFlow::new(true, Ledger::default(), &[], Ts::ZERO)
                .with_history(history, Duration::from_secs(3_600), (Ts::ZERO, Ts::ZERO), &[]);
            f.on_open(T0);
            let (mut held, mut open, mut closed) = (Vec::new(), BTreeSet::new(), Vec::new());
            let mut gap = 10_000;
            let mut mark = |m: &GapMark, open: &mut BTreeSet<u64>| match m.state {
                GapState::Open => assert!(open.insert(m.gap)),
                _ => { open.remove(&m.gap); closed.push(m.clone()); }
            };
            // The first third is backlog; of the rest, what fate says.
            for id in published.iter().copied().filter(|id| *id > n / 3) {
                if fate[id as usize - 1] < 3 && id != n {
                    continue;
                }
                for _ in 0..=u8::from(fate[id as usize - 1] == 7) {
                    gap += 1_000;
                    match f.on_live(id, event(id), event(id), gap) {
                        Live::Row => held.push(id),
                        Live::AfterGap(m) => { mark(&m, &mut open); held.push(id); }
                        Live::Filled(ms) => { held.push(id); ms.iter().for_each(|m| mark(m, &mut open)); }
                        Live::Repeat => {}
                    }
                    if f.wants_anchor() {
                        f.anchor(event(id), event(id), gap + 500);
                    }
                }
            }
            let mut now = event(n);
            for round in 0..3_000_usize {
                now = now + Duration::from_millis(100);
                let caught_up = now > event(n) + Duration::from_secs(1);
                let newest = if caught_up { n } else { n.saturating_sub(behind) };
                for backlog in [false, true] {
                    let ask = if backlog { f.poll_backlog(now) } else { f.poll_ask(now) };
                    let Some(ask) = ask else { continue };
                    let (kind, arg) = match ask {
                        Ask::From { id, .. } => (FetchKind::TradesFrom, id),
                        Ask::Newest => (FetchKind::NewestTrades, 1),
                        Ask::At(at) => (FetchKind::TradesAt, millis(at)),
                    };
                    gap += 1_000;
                    if fails[round % fails.len()] && round < 60 {
                        f.on_failed((kind, arg), None, "timeout", now, gap).iter().for_each(|m| mark(m, &mut open));
                        continue;
                    }
                    let from = match ask { Ask::From { id, .. } => id, Ask::Newest => newest, Ask::At(_) => 1 };
                    let page: Vec<u64> = published.iter().copied().filter(|id| *id >= from && *id <= newest).take(page_max as usize).collect();
                    f.begin(kind, arg);
                    f.on_edge(page.first().map(|id| (*id, event(*id))), now, gap + 1).iter().for_each(|m| mark(m, &mut open));
                    for id in &page {
                        let (new, m) = f.on_late(*id, event(*id), now, gap);
                        m.iter().for_each(|m| mark(m, &mut open));
                        if new { held.push(*id); }
                    }
                    let ids = page.first().map(|first| (*first, *page.last().unwrap()));
                    f.after_answer(ids, "", now).iter().for_each(|m| mark(m, &mut open));
                }
                if f.open_gaps() == 0 && caught_up && f.next_backlog().is_none() {
                    break;
                }
            }
            let mut sorted = held.clone();
            sorted.sort_unstable();
            prop_assert_eq!(&sorted, &published, "each published id once");
            prop_assert!(open.is_empty(), "without a verdict: {:?}", open);
            let never: u64 = closed.iter().filter(|m| m.state == GapState::NeverPublished).map(|m| m.missing).sum();
            prop_assert_eq!(never, n - published.len() as u64);
            prop_assert!(closed.iter().all(|m| m.state != GapState::Lost), "{:?}", closed);
        }
    }
}

#[test]
fn a_gap_that_was_whole_before_a_crash_gets_its_verdict_after() {
    let mut f = flow();
    f.on_live(1, T0, T0, 1);
    let Live::AfterGap(open) = f.on_live(4, after(1), after(1), 2) else { panic!("no gap") };
    let mut f = TradeFlow::new(true, Ledger::from_runs(vec![(1, 4)]), &[open], T0);
    let verdicts = f.judge_resumed();
    assert_eq!((verdicts.len(), verdicts[0].gap, verdicts[0].state), (1, 2, GapState::Healed));
    assert_eq!((f.judge_resumed(), f.open_gaps()), (Vec::new(), 0));
}
