//! Trades whose ids name them and do not count: UUIDs, and numbers that follow no order. Stored as the venue prints them, told by time,
//! each once when its day is sealed.

mod support;

use std::collections::BTreeMap;
use std::fs;

use arrow_array::cast::AsArray;
use support::days::{FIRST, World};
use support::{DAY, ID, held, topic};
use wholetape_model::*;
use wholetape_store::StoreError;
use wholetape_store::canon;
use wholetape_store::cert::{Certificate, NameFigures};
use wholetape_store::file::Reader;
use wholetape_store::import::Stored;
use wholetape_store::manifest::{Part, Role};
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::table::Table;
use wholetape_store::trace::{Trace, Wanted, Why};
use wholetape_tape::RealDisk;

const HOUR: i64 = 3_600_000_000_000;

fn name(n: u64) -> TradeId {
    // As Bybit spot numbers its trades, and as its derivatives name them.
    if n.is_multiple_of(4) {
        (2_290_000_000_000_000_000 + n.wrapping_mul(0x9e37_79b9)).into()
    } else {
        format!("20f439{:02x}-d8dd-5b31-9112-a178eb6023af", n).parse().unwrap()
    }
}

fn put(w: &mut World, n: u64, event: i64, recv: i64, flags: RowFlags) {
    let id = name(n);
    let raw = id.number().unwrap_or(0);
    let (price, size, condition) = (Price(n as i64 * 100), Size(n as i64), TradeCondition::Regular);
    let body = Trade { id, first_id: raw, last_id: raw, price, size, aggressor: Some(Side::Buy), condition };
    w.row("trade", event, recv, flags.with(RowFlags::LOOSE_ID), Body::Trade(body));
}

fn trades(w: &mut World) -> Vec<Part> {
    let parts = w.follower().catalog.state().parts.values();
    let mut parts: Vec<Part> = parts.filter(|p| p.table == "trades").cloned().collect();
    parts.sort_by_key(|p| p.from);
    parts
}

fn ids(w: &World, parts: &[Part]) -> Vec<(u64, TradeId)> {
    let (mut all, mut rows) = (Vec::new(), Rows::default());
    for part in parts {
        let mut reader = PartReader::open(&RealDisk, w.path(), part).unwrap();
        while reader.next(&mut rows).unwrap() {
            all.extend(rows.iter().map(|(_, r)| match r.view().unwrap() {
                Body::Trade(t) => (r.seq(), t.id),
                other => panic!("{other:?}"),
            }));
        }
    }
    all
}

#[test]
fn both_dialects_have_the_ids_letter_by_letter_and_rows_read_back_whole() {
    let mut w = World::new(false);
    for n in 1..=9 {
        put(&mut w, n, FIRST * DAY + n as i64 * HOUR, FIRST * DAY + n as i64 * HOUR + 5, RowFlags::default());
    }
    // It happened between the third and the fourth: its id says nothing of that.
    put(&mut w, 10, FIRST * DAY + 3 * HOUR + 9, FIRST * DAY + 10 * HOUR, RowFlags::LATE_REST);
    w.lane.commit().unwrap();
    w.tend(FIRST + 1);
    let parts = trades(&mut w);
    assert_eq!((parts.len(), parts[0].rows, parts[0].sealed, parts[0].ids), (1, 10, true, None));
    let order: Vec<u64> = ids(&w, &parts).iter().map(|row| row.0).collect();
    assert_eq!(order, [1, 2, 3, 10, 4, 5, 6, 7, 8, 9]);
    let want: Vec<String> = order.iter().map(|n| name(*n).to_string()).collect();
    for role in [Role::Main, Role::V1] {
        let file = parts[0].files.iter().find(|f| f.role == role).unwrap();
        let batch = Reader::open(&RealDisk, &w.path().join(&file.path)).unwrap().group(0).unwrap();
        let texts = batch.column_by_name("trade_id").unwrap().as_string::<i32>();
        assert_eq!(texts.iter().map(|t| t.unwrap().to_owned()).collect::<Vec<_>>(), want, "{role:?}");
    }
    let canonical = |record: &Record<'_>| {
        let mut bytes = Vec::new();
        canon::row(Table::Trade, Ts(0), record, &mut bytes).unwrap();
        (record.seq(), bytes)
    };
    let mut stored = BTreeMap::new();
    let mut rows = Rows::default();
    let mut reader = PartReader::open(&RealDisk, w.path(), &parts[0]).unwrap();
    while reader.next(&mut rows).unwrap() {
        stored.extend(rows.iter().map(|(_, record)| canonical(&record)));
    }
    let on_tape = held(&w.tape, &topic("trade"));
    let on_tape: BTreeMap<_, _> = on_tape.iter().map(|bytes| canonical(&Record::parse(bytes, true).unwrap())).collect();
    assert_eq!(stored, on_tape);
}

#[test]
fn a_repeat_that_came_after_the_window_goes_when_its_day_is_sealed() {
    let mut w = World::new(true);
    let (first, second) = (FIRST * DAY, (FIRST + 1) * DAY);
    for n in 1..=8 {
        put(&mut w, n, first + n as i64 * HOUR, first + n as i64 * HOUR + 5, RowFlags::default());
    }
    // Hours later the venue tells two of them once more: seqs 9 and 10. And one from before midnight in the morning: seq 12.
    put(&mut w, 2, first + 2 * HOUR, first + 20 * HOUR, RowFlags::default());
    put(&mut w, 4, first + 4 * HOUR, first + 20 * HOUR, RowFlags::default());
    put(&mut w, 11, second - 40, second + 40, RowFlags::default());
    put(&mut w, 7, first + 7 * HOUR, second + 3 * HOUR, RowFlags::default());
    put(&mut w, 12, second + 4 * HOUR, second + 4 * HOUR, RowFlags::default());
    w.lane.commit().unwrap();
    // While the day runs they lie there.
    let now = Ts(second + 5 * HOUR);
    let mut follower = w.follower.take().unwrap();
    while follower.poll(&w.tape, now).unwrap() {}
    follower.flush(now).unwrap();
    w.follower = Some(follower);
    let parts = trades(&mut w);
    assert_eq!(ids(&w, &parts).len(), 13);
    w.tend(FIRST + 2);
    let parts = trades(&mut w);
    assert!(parts.iter().all(|p| p.sealed) && parts.len() == 2, "{parts:?}");
    let rows = ids(&w, &parts);
    assert_eq!(
        rows.iter().map(|r| r.0).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6, 7, 8, 11, 13],
        "the first of each stays"
    );
    assert_eq!(w.follower().counts.repeats, 3);
    // They count as stored: a process that starts anew does not take them from the tape again.
    w.open();
    w.tend(FIRST + 2);
    let again = trades(&mut w);
    assert_eq!((ids(&w, &again), w.follower().counts.rows), (rows, 0));
    let read = |day: &str| {
        let path = w.certificate(&format!("{day}.r1.json"));
        Certificate::parse(&path, &fs::read(&path).unwrap()).unwrap()
    };
    for (day, held) in [("2026-01-02", 8), ("2026-01-03", 2)] {
        let certificate = read(day);
        let figures = &certificate.topics[&format!("trade.{ID}")];
        assert_eq!(figures.names, Some(NameFigures { held, repeats: 0 }), "{day}");
        assert_eq!((&figures.ids, certificate.summary.completeness_ppm), (&None, None), "no hole is told by id");
    }
    let report = w.verify();
    assert!(report.findings.is_empty() && report.notes.is_empty(), "{:?} {:?}", report.findings, report.notes);
    // They have no order by which a file of numbered trades could be held against them.
    let refused = Stored::open(&w.follower().catalog, &topic("trade"), Table::Trade, (1, 9)).err();
    assert!(matches!(&refused, Some(StoreError::Loose(t)) if *t == topic("trade")), "{refused:?}");
    // A late repeat of a sealed day is removed with the rewrite that it causes.
    put(&mut w, 5, first + 5 * HOUR, second + 23 * HOUR, RowFlags::LATE_REST);
    put(&mut w, 13, first + 5 * HOUR + 1, second + 23 * HOUR, RowFlags::LATE_REST);
    w.lane.commit().unwrap();
    w.tend(FIRST + 2);
    let parts = trades(&mut w);
    let all = ids(&w, &parts);
    assert_eq!((all.len(), w.follower().counts.repeats), (11, 1));
    assert!(all.iter().any(|row| *row == (15, name(13))) && !all.iter().any(|row| row.0 == 14));
    assert!(w.verify().findings.is_empty());
}

/// By its name a trade is found on the tape and in the catalog; of one that is not held nobody can say where it would be.
#[test]
fn a_trade_is_found_by_its_name_wherever_it_is() {
    let mut w = World::new(false);
    for n in 1..=8 {
        put(&mut w, n, FIRST * DAY + n as i64 * HOUR, FIRST * DAY + n as i64 * HOUR + 5, RowFlags::default());
    }
    w.lane.commit().unwrap();
    for stored in [false, true] {
        if stored {
            w.tend(FIRST + 1);
        }
        let state = Some(w.follower().catalog.state().clone());
        let mut trace = Trace { disk: &RealDisk, data: w.dir.path(), tape: Some(&w.tape), state };
        for n in 1..=8 {
            let story = trace.run(&topic("trade"), Wanted::Id(name(n))).unwrap();
            let found: Vec<_> =
                story.found.iter().map(|f| (f.row.record().seq(), f.row.id(), f.stored.is_some())).collect();
            assert_eq!(found, [(n, Some(name(n)), stored)]);
        }
        // A UUID, and a number between two that are held.
        for n in [9, 12] {
            let story = trace.run(&topic("trade"), Wanted::Id(name(n))).unwrap();
            assert!(story.found.is_empty() && story.why == Some(Why::Unplaced), "{n}: {:?}", story.why);
        }
        assert_eq!(trace.run(&topic("trade"), Wanted::Seq(99)).unwrap().why, Some(Why::Outside));
    }
}
