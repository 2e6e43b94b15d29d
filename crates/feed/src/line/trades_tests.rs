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

/// Feeds an answer of the given ids and returns the ids kept and the verdicts.
fn answer(f: &mut TradeFlow, ids: &[u64], now: Ts) -> (Vec<u64>, Vec<GapMark>) {
    let mut kept = Vec::new();
    let mut marks = Vec::new();
    for id in ids {
        let (new, mark) = f.on_late(*id, now, 999);
        marks.extend(mark);
        if new {
            kept.push(*id);
        }
    }
    let bounds = ids.first().map(|first| (*first, *ids.last().unwrap()));
    marks.extend(f.after_answer(bounds, now));
    (kept, marks)
}

#[test]
fn a_hole_is_named_asked_for_and_healed() {
    let mut f = flow();
    assert_eq!(f.on_live(10, T0, 1), Live::Row);
    let Live::AfterGap(gap) = f.on_live(14, after(5), 2) else { panic!("no gap") };
    assert_eq!(
        (gap.state, gap.cause, gap.from_id, gap.to_id, gap.missing),
        (GapState::Open, GapCause::Sequence, 11, 13, 3)
    );
    assert_eq!(f.poll_ask(after(10)), None, "a swapped neighbour may still come");
    assert_eq!(f.poll_ask(after(300)), Some(Ask::From { id: 11, hole: true }));
    assert_eq!(f.poll_ask(after(301)), None, "one request at a time");
    let (kept, verdicts) = answer(&mut f, &[11, 12, 13, 14], after(320));
    assert_eq!(kept, [11, 12, 13]);
    assert_eq!(verdicts.len(), 1);
    assert_eq!((verdicts[0].gap, verdicts[0].state, verdicts[0].source), (2, GapState::Healed, HealSource::Rest));
    assert_eq!(f.open_gaps(), 0);
    assert_eq!(f.on_live(13, after(330), 3), Live::Repeat);
}

#[test]
fn swapped_neighbours_heal_themselves() {
    let mut f = flow();
    f.on_live(1, T0, 1);
    f.on_live(3, after(1), 2);
    let Live::Filled(verdicts) = f.on_live(2, after(2), 3) else { panic!() };
    assert_eq!((verdicts[0].gap, verdicts[0].state, verdicts[0].source), (2, GapState::Healed, HealSource::Redundant));
    assert_eq!(f.poll_ask(after(1_000)), None);
}

#[test]
fn an_id_is_never_published_only_after_three_later_answers() {
    let mut f = flow();
    f.on_live(1, T0, 1);
    f.on_live(5, after(1), 2);
    let mut now = after(300);
    for round in 1..=DENIALS {
        f.on_live(5 + u64::from(round), now, 50);
        assert_eq!(
            f.poll_ask(now),
            Some(Ask::From { id: if round == 1 { 2 } else { 3 }, hole: true }),
            "round {round}"
        );
        let page: &[u64] = if round == 1 { &[2, 4, 5] } else { &[4, 5] };
        let (_, verdicts) = answer(&mut f, page, now);
        if round < DENIALS {
            assert!(verdicts.is_empty(), "round {round}: {verdicts:?}");
            assert_eq!(f.poll_ask(now), None, "later, not at once");
        } else {
            assert_eq!((verdicts[0].state, verdicts[0].missing), (GapState::NeverPublished, 1));
        }
        now = now + Duration::from_secs(3);
    }
    assert_eq!(f.open_gaps(), 0);
}

#[test]
fn a_long_hole_is_paged() {
    let mut f = flow();
    f.on_live(1, T0, 1);
    f.on_live(2_001, after(1), 2);
    assert_eq!(f.poll_ask(after(300)), Some(Ask::From { id: 2, hole: true }));
    let (_, v) = answer(&mut f, &(2..=1_001).collect::<Vec<_>>(), after(310));
    assert!(v.is_empty());
    assert_eq!(f.poll_ask(after(310)), Some(Ask::From { id: 1_002, hole: true }));
    let (_, v) = answer(&mut f, &(1_002..=2_001).collect::<Vec<_>>(), after(320));
    assert_eq!(v[0].state, GapState::Healed);
}

#[test]
fn a_lost_tail_is_found_by_the_probe() {
    let mut f = flow();
    f.on_live(1, T0, 1);
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
fn what_was_held_before_a_restart_stays_held() {
    let mut f = TradeFlow::new(true, Ledger::from_runs(vec![(1, 9)]), &[], T0);
    f.on_open(after(0));
    assert_eq!(f.on_live(9, after(1), 1), Live::Repeat);
    let Live::AfterGap(gap) = f.on_live(12, after(2), 2) else { panic!() };
    assert_eq!((gap.cause, gap.from_id, gap.to_id, gap.from_ts), (GapCause::Down, 10, 11, after(1)));
}

#[test]
fn failures_back_off_and_end_with_a_verdict() {
    let mut f = flow();
    f.on_live(1, T0, 1);
    f.on_live(3, after(1), 2);
    let mut now = after(300);
    let mut asked = 0;
    for i in 0..2_000 {
        // The stream goes on, so no probe mixes in.
        f.on_live(4 + i, now, 50);
        if f.poll_ask(now).is_some() {
            asked += 1;
            let lost = f.on_failed(None, "timeout", now);
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
    f.on_live(1, T0, 1);
    f.on_live(3, after(1), 2);
    assert!(f.poll_ask(after(300)).is_some());
    f.on_failed(Some(Duration::from_secs(5)), "budget", after(301));
    assert_eq!(f.poll_ask(after(4_000)), None);
    assert_eq!(f.poll_ask(after(5_400)), Some(Ask::From { id: 2, hole: true }));
}

#[test]
fn without_healing_a_hole_is_lost_and_says_so() {
    let mut f = TradeFlow::new(false, Ledger::default(), &[], Ts::ZERO);
    f.on_live(1, T0, 1);
    f.on_live(3, after(1), 2);
    let lost = f.give_up_all();
    assert_eq!((lost[0].state, lost[0].missing, lost[0].why.as_str()), (GapState::Lost, 1, "healing is off"));
    assert_eq!(f.poll_ask(after(60_000)), None);
}

#[test]
fn ids_settled_on_an_early_page_are_named_in_the_last_verdict() {
    let mut f = flow();
    f.on_live(1, T0, 1);
    f.on_live(2_001, after(1), 2);
    let first: Vec<u64> = (2..=1_002).filter(|id| *id != 500).collect();
    let mut now = after(300);
    for _ in 0..DENIALS {
        f.on_live(0, now, 9);
        let Some(Ask::From { id, hole: true }) = f.poll_ask(now) else { panic!("not asked") };
        let page: Vec<u64> = first.iter().copied().filter(|i| *i >= id).collect();
        assert!(answer(&mut f, &page, now).1.is_empty());
        now = now + Duration::from_secs(3);
    }
    let Some(Ask::From { id, hole: true }) = f.poll_ask(now) else { panic!("not asked") };
    assert_eq!(id, 1_003);
    let (_, verdicts) = answer(&mut f, &(1_003..=2_001).collect::<Vec<_>>(), now);
    assert_eq!((verdicts[0].state, verdicts[0].missing), (GapState::NeverPublished, 1));
    assert!(verdicts[0].why.contains("500"), "{}", verdicts[0].why);
}
