//! Rows of the archive against a line: nothing twice, holes close, and nothing follows for its connection.

use std::time::Duration;

use wholetape_model::{
    Body, Event, Gap, GapCause, GapState, HealSource, Kind, Price, RowFlags, Scales, Size, Topic, Trade,
    TradeCondition, TradeId, Ts,
};

use super::late::{Late, LateDone, Since};
use super::out::LineAction;
use super::overlap::Named;
use super::plan::{Resume, TopicResume};
use super::tests::{Bench, Script, T0, TRADES, at, bench_of};
use super::trades::GapMark;
use wholetape_venue::TradeHistory;

fn row(id: u64) -> Event {
    let (price, size, condition) = (Price(100), Size(1), TradeCondition::Regular);
    let body = Body::Trade(Trade { id: id.into(), first_id: id, last_id: id, price, size, aggressor: None, condition });
    Event { instrument: 9, kind: Kind::Trade, ts_event: Ts(T0.0 + id as i64), scales: Scales::default(), body }
}

/// As [`row`], named by a UUID.
fn named(n: u64) -> Event {
    let Body::Trade(trade) = row(n).body else { unreachable!() };
    Event { body: Body::Trade(Trade { id: name(n), first_id: 0, last_id: 0, ..trade }), ..row(n) }
}

fn name(n: u64) -> TradeId {
    TradeId::uuid(1 << 100 | u128::from(n)).unwrap()
}

fn mark(gap: u64, state: GapState, from_id: u64, to_id: u64) -> GapMark {
    let (cause, source, why) = (GapCause::Backlog, HealSource::Archive, String::new());
    Gap { gap, state, cause, source, from_id, to_id, from_ts: T0, to_ts: at(1), missing: 0, why }
}

fn late(topic: &str, ids: &[u64]) -> Late {
    let rows = ids.iter().map(|id| row(*id)).collect();
    Late { topic: Topic::parse(topic).unwrap(), seen: 0, opens: Vec::new(), rows, verdicts: Vec::new() }
}

fn give(b: &mut Bench, late: &Late, since: &Since, now: Ts) -> LateDone {
    let done = b.line.take_late(late, since, now, &mut b.out).unwrap();
    for row in &b.out.rows {
        let quality = b.line.topics()[row.topic as usize].kind == Kind::Quality;
        assert!(quality || row.conn == 0, "no connection brought it");
    }
    b.take();
    done
}

#[test]
fn a_hole_of_the_line_closes_with_the_archives_rows_and_rest_is_left_alone() {
    let mut b = bench_of(Script::default(), true, Resume::default()).open(T0);
    b.frame(at(1), "T 1");
    b.frame(at(2), "T 5");
    b.actions.clear();
    let since = Since { keys: [3.into()].into(), ..Since::default() };
    let done = give(&mut b, &late(TRADES, &[2, 4]), &Since::default(), at(3));
    assert_eq!(done, LateDone { rows: 2, repeats: 0, marks: 0 });
    let done = give(&mut b, &late(TRADES, &[3]), &since, at(4));
    assert_eq!(done, LateDone { rows: 0, repeats: 1, marks: 0 }, "it came by another way meanwhile");
    let done = give(&mut b, &late(TRADES, &[3]), &Since::default(), at(5));
    assert_eq!(done, LateDone { rows: 1, repeats: 0, marks: 1 });
    assert_eq!(
        b.of(TRADES),
        [
            "trade 1",
            "gap open sequence 2-4",
            "trade 5",
            "trade 2 late",
            "trade 4 late",
            "trade 3 late",
            "gap healed sequence 2-4"
        ]
    );
    assert_eq!(b.of("gap.BTCUSDT.BINANCE").len(), 2, "operators read a copy");
    b.frame(at(6), "T 3");
    assert_eq!(b.of(TRADES).len(), 7, "the line knows that it holds them");
    b.timer(at(900));
    assert!(!b.actions.iter().any(|a| matches!(a, LineAction::Fetch(..))), "{:?}", b.actions);
    assert_eq!((b.line.stats().healed_archive, b.line.stats().gaps_healed), (3, 1));
}

#[test]
fn verdicts_settle_unless_the_line_gave_one_meanwhile() {
    let mut b = bench_of(Script::default(), true, Resume::default()).open(T0);
    b.frame(at(1), "T 10");
    let mut old = late(TRADES, &[5, 6]);
    old.opens = vec![mark(77, GapState::Open, 5, 9)];
    old.verdicts = vec![mark(77, GapState::NeverPublished, 5, 9), mark(78, GapState::Healed, 1, 2)];
    let since = Since { settled: [78].into(), ..Since::default() };
    assert_eq!(give(&mut b, &old, &since, at(2)), LateDone { rows: 2, repeats: 0, marks: 2 });
    assert_eq!(
        b.of(TRADES)[1..],
        ["gap open backlog 5-9", "trade 5 late", "trade 6 late", "gap never_published backlog 5-9"]
    );
    assert!(b.line.instruments()[0].trades.ledger().holds(8), "settled");
    b.frame(at(3), "T 11");
    assert_eq!(b.of(TRADES).last(), Some(&"trade 11"), "the stream goes on as if nothing had been");
    let other = late("trade.ETHUSDT.BINANCE", &[1]);
    let refused = b.line.take_late(&other, &Since::default(), at(4), &mut b.out).unwrap_err();
    assert!(refused.contains("does not record trade.ETHUSDT.BINANCE"), "{refused}");
}

#[test]
fn an_old_raw_id_makes_no_hole_of_all_that_lies_between() {
    let raw = "trade-raw.BTCUSDT.BINANCE";
    let mut b = bench_of(Script::default(), true, Resume::default()).open(T0);
    b.frame(at(1), "R 900");
    give(&mut b, &late(raw, &[5]), &Since::default(), at(2));
    b.frame(at(3), "R 901");
    b.timer(at(3) + Duration::from_secs(3));
    assert_eq!(b.of(raw), ["trade 900", "trade 5 late", "trade 901"]);
}

/// An archive names its trades as the stream does: what the tape has is told by name, and the rest is taken.
#[test]
fn rows_named_by_uuids_are_taken_and_none_twice() {
    let mut resume = Resume::default();
    let (event, recv) = (Ts(T0.0 + 1), Ts(T0.0 - 5));
    let held = TopicResume {
        named: vec![Named { id: name(1), event, recv }],
        last_recv: recv,
        last_event: event,
        ..TopicResume::default()
    };
    resume.topics.insert(TRADES.into(), held);
    let script = Script { history: TradeHistory::Impossible { consecutive: false }, ..Script::default() };
    let mut b = bench_of(script, true, resume).open(T0);
    b.rows.clear();
    let rows = [1, 2, 3, 4].map(named).to_vec();
    let given = Late { rows, ..late(TRADES, &[]) };
    // One it holds itself; of another the tape tells that it came meanwhile.
    let since = Since { keys: [name(3)].into(), ..Since::default() };
    b.line.take_late(&given, &since, at(2), &mut b.out).unwrap();
    assert!(b.out.rows.iter().all(|row| row.flags.has(RowFlags::LOOSE_ID) && row.flags.has(RowFlags::LATE_ARCHIVE)));
    b.take();
    let want: Vec<String> = [2, 4].map(|n| format!("trade {} late", name(n))).into();
    assert_eq!(b.of(TRADES), want);
    // Given again, with nothing that came since: it knows them by now.
    assert_eq!(give(&mut b, &given, &since, at(3)), LateDone { rows: 0, repeats: 4, marks: 0 });
}
