//! Healing where ids do not follow each other, and where nothing can be asked, through the whole line: what stands on the tape.

use wholetape_venue::TradeHistory;

use super::overlap::Named;
use super::tests::{Bench, Script, T0, TRADES, at, bench_of};
use super::*;

const LOOSE: TradeHistory = TradeHistory::ByTimeWithOverlap {
    page_max: 100,
    reach: Some(Duration::from_secs(3_600)),
    overlap: Duration::from_millis(50),
};

fn venue(history: TradeHistory, resume: Resume) -> Bench {
    let script = Script { history, ..Script::default() };
    bench_of(script, true, resume).open(T0)
}

fn cut(b: &mut Bench, now: Ts) {
    b.line.on_closed(0, now, LinkCause::Closed, &mut b.out);
    b.take();
    b.line.on_open(0, ConnMeta { number: 8 }, now + Duration::from_secs(1), &mut b.out);
    b.take();
    b.frame(now + Duration::from_secs(1), "ack 3");
    b.rows.clear();
}

#[test]
fn a_cut_without_consecutive_ids_is_healed_by_pages_that_overlap() {
    let mut b = venue(LOOSE, Resume::default());
    b.frame(at(1), "T 11");
    b.frame(at(2), "T 52");
    cut(&mut b, at(10));
    b.frame(at(1_100), "T 90");
    assert_eq!(b.of(TRADES), ["gap open disconnected 0-0", "trade 90"], "no id tells how many");
    b.timer(at(2_000));
    // The trade before the hole, what was missed, the trade after it.
    b.answer(at(2_010), FetchKind::TradesAt, "52 60 77 90");
    assert_eq!(b.of(TRADES)[2..], ["trade 60 late", "trade 77 late", "gap healed disconnected 0-0"]);
    // A repeat from either side is none of it.
    b.frame(at(2_020), "T 77");
    assert_eq!(b.of(TRADES).len(), 5);
}

#[test]
fn a_page_that_does_not_meet_what_is_held_proves_nothing() {
    let mut b = venue(LOOSE, Resume::default());
    b.frame(at(2), "T 52");
    cut(&mut b, at(10));
    b.frame(at(1_100), "T 90");
    b.timer(at(2_000));
    b.answer(at(2_010), FetchKind::TradesAt, "77 90");
    let rows = b.of(TRADES);
    assert_eq!(
        rows[rows.len() - 1],
        "gap lost disconnected 0-0",
        "what came is kept, and the rest confessed: {rows:?}"
    );
    assert!(rows.contains(&"trade 77 late"), "{rows:?}");
}

#[test]
fn after_a_restart_the_left_edge_is_what_the_tape_held_last() {
    for (page, verdict) in [("52 60 90", "gap healed down 0-0"), ("60 90", "gap lost down 0-0")] {
        let mut resume = Resume::default();
        let newest = Ts(T0.0 + 52);
        let named = [11, 52].map(|id| Named { id: id.into(), event: Ts(T0.0 + id as i64), recv: Ts(T0.0 + id as i64) });
        let state = TopicResume {
            named: named.to_vec(),
            last_recv: newest,
            last_event: newest,
            oldest: T0,
            ..TopicResume::default()
        };
        resume.topics.insert(TRADES.into(), state);
        let mut b = venue(LOOSE, resume);
        b.frame(at(1_100), "T 90");
        b.timer(at(2_000));
        b.answer(at(2_010), FetchKind::TradesAt, page);
        let rows = b.of(TRADES);
        assert_eq!(rows[..3], ["gap open down 0-0", "trade 90", "trade 60 late"], "{rows:?}");
        assert_eq!(rows[3..], [verdict]);
    }
}

#[test]
fn where_nothing_can_be_asked_nothing_is_and_every_hole_is_lost() {
    for (consecutive, ids) in [(false, "0-0"), (true, "53-89")] {
        let mut b = venue(TradeHistory::Impossible { consecutive }, Resume::default());
        b.frame(at(2), "T 52");
        cut(&mut b, at(10));
        b.frame(at(1_100), "T 90");
        for s in 2..60 {
            b.timer(at(s * 1_000));
        }
        let lost = format!("gap lost disconnected {ids}");
        let rows = b.of(TRADES);
        assert_eq!(rows, [lost.replace("lost", "open").as_str(), "trade 90", lost.as_str()]);
        let asked = |a: &LineAction| matches!(a, LineAction::Fetch(_, id, ..) if id.kind != FetchKind::BookSnapshot);
        assert!(!b.actions.iter().any(asked), "{} actions", b.actions.len());
    }
}
