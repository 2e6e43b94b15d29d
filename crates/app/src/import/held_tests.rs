//! What is held, from tapes of our own making.

use super::*;
use wholetape_model::{
    Gap, GapCause, GapState, HealSource, InstrumentId, Kind, Price, Row, RowFlags, Scales, Size, Trade, TradeCondition,
    View,
};
use wholetape_tape::TapeConfig;

const T: i64 = 1_735_776_000_000_000_000;

fn trade(id: u64) -> View<'static> {
    let (price, size, condition) = (Price(1), Size(1), TradeCondition::Regular);
    Body::Trade(Trade { id: id.into(), first_id: id, last_id: id, price, size, aggressor: None, condition })
}

/// A day that begins so many hours later.
fn hours(n: i64) -> Span {
    let from = Ts(T + n * 3_600_000_000_000);
    Span { from, to: from + Duration::from_secs(86_400) }
}

fn gap(gap: u64, from_id: u64, to_id: u64) -> View<'static> {
    let (state, cause, source) = (GapState::Open, GapCause::Sequence, HealSource::None);
    Body::Gap(Gap { gap, state, cause, source, from_id, to_id, from_ts: Ts(T), to_ts: Ts(T), missing: 0, why: "" })
}

fn append(tape: &Tape, topic: &Topic, bodies: &[View<'_>]) {
    let mut lane = tape.lane("t").unwrap();
    let no = lane.topic(topic).unwrap();
    for body in bodies {
        let (ts, flags, scales) = (Ts(T), RowFlags::default(), Scales::default());
        lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body: *body }).unwrap();
    }
    lane.commit().unwrap();
}

#[test]
fn rows_are_found_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
    let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BINANCE"));
    // Seqs 1–10: a late row, a mark between, one withdrawn, one id twice.
    let bodies = [
        trade(10),
        trade(11),
        gap(9, 12, 14),
        trade(15),
        trade(16),
        trade(13),
        trade(17),
        Body::Retract(5),
        trade(17),
        trade(18),
    ];
    append(&tape, &topic, &bodies);
    let mut held = Held::scan(&tape, &topic, hours(0), Keys::Ids, &|| false).unwrap();
    assert_eq!(held.held(0, 99), [(10, 11), (13, 13), (15, 15), (17, 17), (18, 18)]);
    assert_eq!(held.missing(9, 19), [(9, 9), (12, 12), (14, 14), (16, 16), (19, 19)]);
    assert_eq!(held.missing(10, 11), []);
    assert_eq!(held.held(11, 17), [(11, 11), (13, 13), (15, 15), (17, 17)]);
    let rows = |held: &mut Held, lo, hi| held.rows(lo, hi).unwrap().iter().map(|r| (r.key, r.seq)).collect::<Vec<_>>();
    assert_eq!(rows(&mut held, 11, 17), [(11, 2), (13, 6), (15, 4), (17, 7)]);
    assert_eq!((held.seen(), held.gaps.len(), held.retained), (10, 1, false));
    append(&tape, &topic, &[trade(12), trade(14)]);
    held.catch_up().unwrap();
    assert_eq!(held.missing(10, 18), [(16, 16)]);
    assert_eq!(rows(&mut held, 12, 14), [(12, 11), (13, 6), (14, 12)]);
    assert!(Held::scan(&tape, &topic, hours(4), Keys::Ids, &|| false).unwrap().held(0, 99).is_empty());
}

/// Numbers in no order, or none: an archive that was held against them by id would find holes where nothing is missing.
#[test]
fn ids_that_do_not_count_are_told() {
    for (id, flags) in
        [(7.into(), RowFlags::LOOSE_ID), ("20f43950-d8dd-5b31-9112-a178eb6023af".parse().unwrap(), RowFlags::default())]
    {
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let topic = Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT", "BYBIT"));
        append(&tape, &topic, &[trade(5)]);
        let scan = || Held::scan(&tape, &topic, hours(0), Keys::Ids, &|| false).unwrap();
        assert!(!scan().loose);
        let Body::Trade(one) = trade(7) else { unreachable!() };
        let body = Body::Trade(Trade { id, ..one });
        let (ts, scales) = (Ts(T), Scales::default());
        let mut lane = tape.lane("t").unwrap();
        let no = lane.topic(&topic).unwrap();
        lane.append(no, &Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body }).unwrap();
        lane.commit().unwrap();
        assert!(scan().loose);
    }
}
