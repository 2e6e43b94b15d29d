//! Replays against the catalog they come from: the same rows, once each, in the order that was asked for, at the pace that was asked
//! for, whatever happens to the files meanwhile; and what a range lacks is named.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::{DAY, Dice, KINDS, T0, body, held, mark, owned, topic};
use wholetape_model::*;
use wholetape_store::StoreError;
use wholetape_store::canon;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::manifest::State;
use wholetape_store::replay::{self, Flow, Next, OntoTape, Order, Out, Plan, Player, Range, Speed, holes};
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Disk, RealDisk, Tape, TapeConfig};

const MS: i64 = 1_000_000;
const RANGE: (Ts, Ts) = (Ts(0), Ts(i64::MAX));

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn row<'a>(event: i64, recv: i64, flags: RowFlags, body: View<'a>) -> Row<'a> {
    let scales = Scales { price: 2, size: 3 };
    Row { ts_event: Ts(event), ts_recv: Ts(recv), conn: 3, frame: 7, flags, scales, body }
}

/// A catalog of all kinds over midnight, with late trades and marks, retracts of rows that are there among them.
fn catalog(dir: &Path, rows: usize) -> (Follower, i64) {
    let tape = Tape::open(&dir.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let (mut dice, mut now) = (Dice(11), T0);
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    let mut late: Vec<(&str, u64, i64)> = Vec::new();
    for _ in 0..rows {
        let kind = KINDS[dice.below(KINDS.len() as u64) as usize];
        let no = lane.topic(&topic(kind)).unwrap();
        now += dice.below(200) as i64 * MS;
        let o = owned(&mut dice);
        if dice.below(25) == 0 {
            let seq = lane.head(no);
            let m = if dice.below(2) == 0 && seq > 9 { Body::Retract(seq - 5) } else { mark(seq, &mut dice, "why") };
            lane.append(no, &row(now, now, RowFlags::default(), m)).unwrap();
            continue;
        }
        let id = *next.entry(kind).and_modify(|n| *n += 1).or_insert(1);
        if kind.starts_with("trade") && dice.below(10) == 0 {
            late.push((kind, id, now));
        } else {
            let b = body(kind, id, &mut dice, &o);
            lane.append(no, &row(now - dice.below(900) as i64 * MS, now, RowFlags::default(), b)).unwrap();
        }
        if late.len() > 30 {
            for (kind, id, at) in late.drain(..) {
                let o = owned(&mut dice);
                let b = body(kind, id, &mut dice, &o);
                let no = lane.topic(&topic(kind)).unwrap();
                lane.append(no, &row(at, now, RowFlags::LATE_REST, b)).unwrap();
            }
        }
    }
    lane.commit().unwrap();
    let pace = Pace { budget: 2 << 20, ..Pace::default() };
    let mut follower = Follower::new(Catalog::open(disk(), dir, CatalogConfig::default()).unwrap(), pace);
    while follower.poll(&tape, Ts(now)).unwrap() {}
    follower.flush(Ts(now)).unwrap();
    (follower, now)
}

/// A row as it is stored: time, topic, seq, bytes.
type Stored = (i64, usize, u64, Vec<u8>);

/// What the catalog holds, read part by part and sorted here.
fn stored(dir: &Path, state: &State, topics: &[Topic]) -> Vec<Stored> {
    let (mut all, mut rows) = (Vec::new(), Rows::default());
    for part in state.parts.values() {
        let at = topics.iter().position(|t| t.as_str() == part.topic).unwrap();
        let mut reader = PartReader::open(&RealDisk, dir, part).unwrap();
        while reader.next(&mut rows).unwrap() {
            all.extend(rows.iter().map(|(ts, r)| (ts.0, at, r.seq(), r.bytes().to_vec())));
        }
    }
    all.sort();
    all
}

#[derive(Default)]
struct Taken {
    rows: Vec<Stored>,
    /// Rows there were at each flush, and at each jump.
    flushed: Vec<usize>,
    jumps: Vec<(usize, Ts)>,
}

impl Out for Taken {
    fn row(&mut self, topic: usize, ts: Ts, record: Record<'_>) -> Result<(), StoreError> {
        self.rows.push((ts.0, topic, record.seq(), record.bytes().to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.flushed.push(self.rows.len());
        Ok(())
    }

    fn jumped(&mut self, to: Ts) -> Result<(), StoreError> {
        self.jumps.push((self.rows.len(), to));
        Ok(())
    }
}

fn plan(dir: &Path, topics: &[Topic], (from, to): (Ts, Ts), speed: Speed) -> Plan {
    let range = Range { topics: topics.to_vec(), from, to };
    Plan { disk: disk(), data: dir.to_owned(), range, order: Order::Init, speed, paused: false, ahead: false }
}

fn to_the_end(player: &mut Player, out: &mut impl Out) {
    while player.play(0, out, 1_000).unwrap() != Next::Done {}
}

fn hash<'a>(rows: impl Iterator<Item = (Kind, Record<'a>)>) -> String {
    let (mut hash, mut bytes) = (blake3::Hasher::new(), Vec::new());
    for (kind, record) in rows {
        bytes.clear();
        canon::event(kind, &record, &mut bytes).unwrap();
        hash.update(&bytes);
    }
    hash.finalize().to_hex().to_string()
}

#[test]
fn a_replay_of_a_sealed_catalog_is_its_rows_event_for_event() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, now) = catalog(dir.path(), 9_000);
    follower.tend(Ts(now + 2 * DAY)).unwrap();
    let state = follower.catalog.state().clone();
    assert!(state.parts.values().all(|p| p.sealed));
    let topics = replay::topics(&state);
    assert_eq!(topics.len(), KINDS.len());
    let expected = stored(dir.path(), &state, &topics);
    assert!(expected.windows(2).any(|w| w[0].2 > w[1].2 && w[0].1 == w[1].1), "late rows stand where they belong");
    for ahead in [false, true] {
        let mut taken = Taken::default();
        let plan = Plan { ahead, ..plan(dir.path(), &topics, RANGE, Speed::Max) };
        to_the_end(&mut Player::open(plan).unwrap(), &mut taken);
        assert!(taken.rows == expected, "ahead {ahead}: {} of {} rows", taken.rows.len(), expected.len());
    }
    // Onto a tape: each topic's rows by hash, and each retract names the row that it named.
    let tape = Tape::open(&dir.path().join("replayed"), replay::tape_config()).unwrap();
    let mut onto = OntoTape::new(&tape, &topics).unwrap();
    let mut player = Player::open(Plan { ahead: true, ..plan(dir.path(), &topics, RANGE, Speed::Max) }).unwrap();
    to_the_end(&mut player, &mut onto);
    assert_eq!(player.status().rows, expected.len() as u64);
    let mut retracts = 0;
    for (at, topic) in topics.iter().enumerate() {
        let rows: Vec<&Stored> = expected.iter().filter(|r| r.1 == at).collect();
        let records = |all: &[&Stored]| -> String {
            hash(all.iter().map(|r| (topic.kind(), Record::parse(&r.3, false).unwrap())))
        };
        let got = held(&tape, topic);
        assert_eq!(got.len(), rows.len(), "{topic}");
        let got_hash = hash(got.iter().map(|bytes| (topic.kind(), Record::parse(bytes, true).unwrap())));
        assert_eq!(got_hash, records(&rows), "{topic}");
        let place: BTreeMap<u64, u64> = rows.iter().zip(1..).map(|(r, new)| (r.2, new)).collect();
        for (bytes, row) in got.iter().zip(&rows) {
            let (new, old) = (Record::parse(bytes, true).unwrap(), Record::parse(&row.3, false).unwrap());
            assert_eq!((new.ts_event(), new.ts_recv()), (old.ts_event(), old.ts_recv()));
            if let (Body::Retract(new), Body::Retract(old)) = (new.view().unwrap(), old.view().unwrap()) {
                assert_eq!(new, place.get(&old).copied().unwrap_or(0), "{topic}: retract of {old}");
                retracts += u64::from(new > 0);
            }
        }
    }
    assert!(retracts > 20, "{retracts}");
    // A second replay onto it is refused.
    drop(onto);
    assert!(OntoTape::new(&tape, &topics).unwrap_err().to_string().contains("holds a tape already"));
}

#[test]
fn ranges_and_topics_are_cut_exactly_and_files_may_change_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, now) = catalog(dir.path(), 9_000);
    let state = follower.catalog.state().clone();
    let all = replay::topics(&state);
    let topics: Vec<Topic> = all.iter().filter(|t| matches!(t.kind(), Kind::Trade | Kind::Book)).cloned().collect();
    let expected: Vec<Stored> = {
        let mut parts = state.clone();
        parts.parts.retain(|_, p| topics.iter().any(|t| t.as_str() == p.topic));
        stored(dir.path(), &parts, &topics)
    };
    let (from, to) = (expected[expected.len() / 3].0, expected[expected.len() * 2 / 3].0);
    let range = (Ts(from), Ts(to));
    let wanted: Vec<Stored> = expected.iter().filter(|r| r.0 >= from && r.0 < to).cloned().collect();
    let mut taken = Taken::default();
    to_the_end(&mut Player::open(plan(dir.path(), &topics, range, Speed::Max)).unwrap(), &mut taken);
    assert!(taken.rows == wanted, "{} of {}", taken.rows.len(), wanted.len());
    // Days are sealed, so every file that is not open yet goes: nothing is lost or repeated.
    let mut player = Player::open(plan(dir.path(), &topics, RANGE, Speed::Max)).unwrap();
    let mut taken = Taken::default();
    assert_eq!(player.play(0, &mut taken, 300).unwrap(), Next::More);
    let files = |f: &Follower| f.catalog.state().parts.values().flat_map(|p| p.files.clone()).collect::<Vec<_>>();
    let before = files(&follower);
    follower.tend(Ts(now + 2 * DAY)).unwrap();
    let after = files(&follower);
    assert!(before.iter().all(|f| !after.contains(f) && !dir.path().join(&f.path).exists()), "no old file is left");
    to_the_end(&mut player, &mut taken);
    assert!(taken.rows == expected, "{} of {}", taken.rows.len(), expected.len());
}

#[test]
fn rows_keep_their_spacing_through_pauses_and_changes_of_speed() {
    let dir = tempfile::tempdir().unwrap();
    let (follower, _) = catalog(dir.path(), 1_500);
    let topics = replay::topics(follower.catalog.state());
    let expected = stored(dir.path(), follower.catalog.state(), &topics);
    let mut player = Player::open(plan(dir.path(), &topics, RANGE, Speed::Times(10.0))).unwrap();
    let (mut taken, start, mut now) = (Taken::default(), 5_000, 5_000);
    let mut given: Vec<u64> = Vec::new();
    // A clock that never comes too late: it is set to when the next row is due.
    let mut run = |player: &mut Player, taken: &mut Taken, now: &mut u64, upto: usize| {
        while taken.rows.len() < upto {
            let next = player.play(*now, taken, 1).unwrap();
            given.resize(taken.rows.len(), *now);
            match next {
                Next::At(at) if taken.rows.len() < upto => {
                    assert!(at > *now);
                    *now = at;
                }
                Next::Done => break,
                _ => {}
            }
        }
    };
    let gap = |a: usize, b: usize| (expected[b].0 - expected[a].0) as u64;
    run(&mut player, &mut taken, &mut now, 501);
    assert!(now.abs_diff(start + gap(0, 500) / 10) <= 10, "{now}");
    // Paused for a long time: nothing comes, then it goes on as if no time had passed.
    player.pause(now);
    assert_eq!(player.play(now + 1_000_000, &mut taken, 1).unwrap(), Next::Paused);
    let before = now;
    now += 77_000_000_000;
    player.resume(now);
    run(&mut player, &mut taken, &mut now, 801);
    assert!(now.abs_diff(before + 77_000_000_000 + gap(500, 800) / 10) <= 10);
    let before = now;
    player.set_speed(Speed::Times(1.0), now);
    run(&mut player, &mut taken, &mut now, 1_001);
    assert!(now.abs_diff(before + gap(800, 1_000)) <= 10);
    player.set_speed(Speed::Max, now);
    to_the_end(&mut player, &mut taken);
    assert!(taken.rows == expected);
    for (i, at) in given.iter().enumerate().take(501).skip(1) {
        assert!((at - start).abs_diff(gap(0, i) / 10) <= 10, "row {i}");
    }
}

#[test]
fn steps_and_seeks_go_where_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (follower, _) = catalog(dir.path(), 3_000);
    let topics = replay::topics(follower.catalog.state());
    let expected = stored(dir.path(), follower.catalog.state(), &topics);
    let paused = Plan { paused: true, ..plan(dir.path(), &topics, RANGE, Speed::Times(1.0)) };
    let (mut player, mut taken) = (Player::open(paused).unwrap(), Taken::default());
    assert_eq!(player.play(0, &mut taken, 100).unwrap(), Next::Paused);
    for n in [1, 5, 40] {
        let before = taken.rows.len();
        player.step(n, 1);
        assert_eq!(player.play(2, &mut taken, 100).unwrap(), Next::Paused);
        assert_eq!(taken.rows.len(), before + n as usize);
    }
    assert!(taken.rows == expected[..46]);
    // Forwards, and back.
    for to in [2_000, 700] {
        let mut taken = Taken::default();
        let ts = expected[to].0;
        let first = expected.iter().position(|r| r.0 >= ts).unwrap();
        player.seek(Ts(ts), 3, &mut taken).unwrap();
        assert_eq!(taken.jumps, [(0, Ts(ts))]);
        player.step(10, 4);
        player.play(5, &mut taken, 100).unwrap();
        assert!(taken.rows == expected[first..first + 10], "seek to row {to}");
    }
    // What is beyond the range is its end.
    player.seek(Ts(i64::MAX), 6, &mut taken).unwrap();
    assert_eq!(player.play(7, &mut taken, 100).unwrap(), Next::Done);
    // On a tape a book's readers are told.
    let tape = Tape::open(&dir.path().join("replayed"), replay::tape_config()).unwrap();
    let mut onto = OntoTape::new(&tape, &topics).unwrap();
    let mut player = Player::open(plan(dir.path(), &topics, RANGE, Speed::Max)).unwrap();
    player.play(0, &mut onto, 1_000).unwrap();
    player.seek(Ts(expected[2_000].0), 0, &mut onto).unwrap();
    let last = held(&tape, &topic("book")).pop().unwrap();
    let Body::Validity(v) = Record::parse(&last, true).unwrap().view().unwrap() else { panic!() };
    assert_eq!(v.state, ValidityState::Syncing);
}

#[test]
fn the_venues_time_orders_rows_within_its_window_and_counts_those_beyond() {
    let dir = tempfile::tempdir().unwrap();
    let (follower, _) = catalog(dir.path(), 3_000);
    let state = follower.catalog.state();
    let topics = replay::topics(state);
    let all = stored(dir.path(), state, &topics);
    let event = |bytes: &[u8]| Record::parse(bytes, false).unwrap().ts_event().0;
    let mut expected: Vec<_> = all.iter().map(|r| (event(&r.3), r.1, r.0, r.2)).collect();
    expected.sort_unstable();
    let (from, to) = (expected[400].0, expected[2_000].0);
    for (range, window) in [(RANGE, 60), (RANGE, 0), ((Ts(from), Ts(to)), 60)] {
        let order = Order::Event { window: Duration::from_secs(window) };
        let asked = Range { topics: topics.clone(), from: range.0, to: range.1 };
        let mut flow = Flow::open(&disk(), dir.path(), state, &asked, order, false).unwrap();
        let mut got = Vec::new();
        while let Some((topic, init, record)) = flow.row() {
            assert_eq!(flow.time(), Some(record.ts_event()));
            got.push((record.ts_event().0, topic, init.0, record.seq()));
            flow.advance().unwrap();
        }
        if window > 0 {
            let wanted: Vec<_> = expected.iter().filter(|r| r.0 >= range.0.0 && r.0 < range.1.0).copied().collect();
            assert!(got == wanted, "{} of {}", got.len(), wanted.len());
            assert_eq!(flow.late(), 0);
        } else {
            assert!(flow.late() > 100, "{}", flow.late());
            got.sort_unstable();
            assert!(got == expected, "none is left out");
        }
    }
}

#[test]
fn what_a_range_lacks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let trades = topic("trade");
    let no = lane.topic(&trades).unwrap();
    let at = |s: i64| T0 - DAY + s * 1_000 * MS;
    let gap = |gap, state, from: i64, to: i64| {
        Body::Gap(Gap {
            gap,
            state,
            cause: GapCause::Sequence,
            source: HealSource::None,
            from_id: gap * 100,
            to_id: gap * 100 + 9,
            from_ts: Ts(at(from)),
            to_ts: if to == 0 { Ts::ZERO } else { Ts(at(to)) },
            missing: 10,
            why: "told by a test",
        })
    };
    let mut put = |s: i64, body: View<'_>| {
        lane.append(no, &row(at(s), at(s), RowFlags::default(), body)).unwrap();
        lane.commit().unwrap();
    };
    let trade = |id| {
        let o = owned(&mut Dice(1));
        match body("trade", id, &mut Dice(id), &o) {
            Body::Trade(t) => View::Trade(t),
            _ => unreachable!(),
        }
    };
    for s in 0..100 {
        put(s, trade(s as u64 + 1));
    }
    put(100, gap(1, GapState::Open, 20, 0));
    put(101, gap(2, GapState::Open, 40, 0));
    put(102, gap(3, GapState::Open, 60, 0));
    put(103, gap(1, GapState::Healed, 20, 21));
    put(104, gap(2, GapState::Lost, 40, 42));
    let (catalog, pace) = (Catalog::open(disk(), dir.path(), CatalogConfig::default()).unwrap(), Pace::default());
    let mut follower = Follower::new(catalog, pace);
    while follower.poll(&tape, Ts(at(200))).unwrap() {}
    follower.flush(Ts(at(200))).unwrap();
    for s in 200..210 {
        lane.append(no, &row(at(s), at(s), RowFlags::default(), trade(s as u64))).unwrap();
    }
    lane.commit().unwrap();
    while follower.poll(&tape, Ts(at(300))).unwrap() {}
    follower.flush(Ts(at(300))).unwrap();
    let mut state = follower.catalog.state().clone();
    let found = |state: &State, from, to| {
        let range = Range { topics: vec![trades.clone()], from: Ts(at(from)), to: Ts(at(to)) };
        let all = holes(&disk(), dir.path(), state, &range).unwrap();
        all.iter().map(|h| (h.what, h.ids.0)).collect::<Vec<_>>()
    };
    assert_eq!(found(&state, 0, 20), []);
    assert_eq!(found(&state, 20, 40), [], "healed");
    assert_eq!(found(&state, 0, 50), [("lost", 200)]);
    assert_eq!(found(&state, 43, 60), []);
    assert_eq!(found(&state, 43, 300), [("open", 300)], "without a verdict it may last");
    let range = Range { topics: vec![trades.clone()], from: Ts(at(0)), to: Ts(at(50)) };
    let text = holes(&disk(), dir.path(), &state, &range).unwrap()[0].to_string();
    assert!(text.contains("lost") && text.contains("ids 200 to 209: sequence, told by a test"), "{text}");
    // Rows that no part holds any more.
    state.parts.retain(|_, p| p.table != "gaps");
    assert_eq!(found(&state, 0, 300), [("not_stored", 101)]);
}
