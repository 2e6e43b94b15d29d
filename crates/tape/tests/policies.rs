//! Readers that are too slow: each by the policy that it chose, each told exactly what it missed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use wholetape_model::{BookAction, Level, Price, Size};
use wholetape_tape::{
    Delivery, From, Lane, MissedWhy, Policy, Reader, ReaderOptions, Tape, TapeConfig, TapeTime, TopicNo, WakeSet,
};

fn with(policy: Policy, lag: u64) -> ReaderOptions {
    ReaderOptions { policy, lag, ..ReaderOptions::default() }
}

fn write(lane: &mut Lane, no: TopicNo, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        lane.append(no, &trade(id)).unwrap();
    }
    lane.commit().unwrap();
}

fn world() -> (tempfile::TempDir, Tape, Lane) {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let lane = tape.lane("w").unwrap();
    (dir, tape, lane)
}

fn reader(tape: &Tape, name: &str, policy: Policy, lag: u64) -> Reader {
    tape.reader(&topic(name), From::Live, with(policy, lag)).unwrap()
}

fn missed(from: u64, to: u64, why: MissedWhy) -> Seen {
    Seen::Missed { from, to, why }
}

#[test]
fn catch_up_reads_everything() {
    let (_dir, tape, mut lane) = world();
    let mut r = reader(&tape, "trade.A.X", Policy::CatchUp, 10);
    let no = lane.topic(&topic("trade.A.X")).unwrap();
    write(&mut lane, no, 1..=1000);
    assert_eq!(drain(&mut r), rows(1, 1..=1000));
}

#[test]
fn drop_oldest_keeps_the_lag() {
    let (_dir, tape, mut lane) = world();
    let mut r = reader(&tape, "trade.A.X", Policy::DropOldest, 10);
    let no = lane.topic(&topic("trade.A.X")).unwrap();
    write(&mut lane, no, 1..=10);
    assert_eq!(drain(&mut r), rows(1, 1..=10), "ten behind is allowed");
    write(&mut lane, no, 11..=100);
    let mut want = vec![missed(11, 90, MissedWhy::Slow)];
    want.extend(rows(91, 91..=100));
    assert_eq!(drain(&mut r), want);
    let stats = tape.stats().readers;
    let s = stats.iter().find(|s| s.policy == Policy::DropOldest).unwrap();
    assert_eq!((s.queue_len, s.processed, s.dropped), (0, 20, 80));
    assert!((s.drop_ratio - 0.8).abs() < 1e-9);
}

#[test]
fn disconnect_ends_the_reader_and_skips_nothing() {
    let (_dir, tape, mut lane) = world();
    let mut r = reader(&tape, "trade.A.X", Policy::Disconnect, 10);
    let no = lane.topic(&topic("trade.A.X")).unwrap();
    write(&mut lane, no, 1..=5);
    assert_eq!(drain(&mut r), rows(1, 1..=5));
    write(&mut lane, no, 6..=20);
    assert_eq!(drain(&mut r), [Seen::Disconnected { position: 5 }]);
    assert!(r.ended() && r.wait_blocking(std::time::Duration::ZERO), "whoever waits learns of it");
    assert_eq!(drain(&mut r), []);
    let mut again = tape.reader(&topic("trade.A.X"), From::Seq(r.position()), ReaderOptions::default()).unwrap();
    assert_eq!(drain(&mut again), rows(6, 6..=20));
}

#[test]
fn conflate_jumps_to_the_newest_state_and_keeps_marks() {
    let (_dir, tape, mut lane) = world();
    let mut r = reader(&tape, "quote.A.X", Policy::Conflate, 10);
    let no = lane.topic(&topic("quote.A.X")).unwrap();
    write(&mut lane, no, 1..=20);
    lane.append(no, &validity(21)).unwrap();
    write(&mut lane, no, 22..=100);
    let want = [
        missed(1, 20, MissedWhy::Conflated),
        Seen::Other { seq: 21 },
        missed(22, 99, MissedWhy::Conflated),
        Seen::Row { seq: 100, id: 100 },
    ];
    assert_eq!(drain(&mut r), want);
}

#[test]
fn a_conflated_book_jumps_to_its_newest_start() {
    let (_dir, tape, mut lane) = world();
    let books = topic("book.A.X");
    let mut r = tape.reader(&books, From::Live, with(Policy::Conflate, 10)).unwrap();
    let no = lane.topic(&books).unwrap();
    let levels = [Level { price: Price(1), size: Size(1) }];
    for id in 1..=50 {
        let action = if id == 1 || id == 30 { BookAction::Checkpoint } else { BookAction::Delta };
        lane.append(no, &book(action, &levels, id)).unwrap();
    }
    lane.commit().unwrap();
    let got = drain(&mut r);
    assert_eq!(got[0], missed(1, 29, MissedWhy::Conflated));
    assert_eq!(got[1..], (30..=50).map(|seq| Seen::Other { seq }).collect::<Vec<_>>());
    // No newer start: deltas cannot be skipped.
    for id in 51..=90 {
        lane.append(no, &book(BookAction::Delta, &levels, id)).unwrap();
    }
    lane.commit().unwrap();
    assert_eq!(drain(&mut r).len(), 40);
}

#[test]
fn trades_are_never_conflated() {
    let (_dir, tape, mut lane) = world();
    let mut r = reader(&tape, "trade.A.X", Policy::Conflate, 10);
    let no = lane.topic(&topic("trade.A.X")).unwrap();
    write(&mut lane, no, 1..=100);
    assert_eq!(drain(&mut r), rows(1, 1..=100));
}

#[test]
fn the_lowest_class_drops_first_and_critical_never() {
    let (_dir, tape, mut lane) = world();
    let set = WakeSet::new();
    let names = ["funding.A.X", "quote.A.X", "trade.A.X", "order.me.X"];
    let mut readers: Vec<Reader> = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let mut r = reader(&tape, name, Policy::DropLowest, 100);
            r.join(&set, i as u64);
            r
        })
        .collect();
    let numbers: Vec<TopicNo> = names.iter().map(|n| lane.topic(&topic(n)).unwrap()).collect();
    // 4 × 40 behind, 100 allowed: 60 too many; 40 from the lowest class, 20 from the next.
    for no in &numbers {
        write(&mut lane, *no, 1..=40);
    }
    // The higher classes look first, and still do not pay for the lower ones.
    let mut got: Vec<Vec<Seen>> = Vec::new();
    let mut out = Vec::new();
    for r in readers.iter_mut().rev() {
        out.clear();
        // One delivery each, so that the others still see the backlog.
        r.poll_next(&mut out, 1);
        got.push(out.iter().map(seen).collect());
    }
    got.reverse();
    assert_eq!(got[3], rows(1, 1..=1), "critical");
    assert_eq!(got[2], rows(1, 1..=1), "trade");
    assert!(matches!(got[1][0], Seen::Missed { from: 1, to: 18..=20, why: MissedWhy::Slow }), "{:?}", got[1]);
    assert!(matches!(got[0][0], Seen::Missed { from: 1, to: 38..=40, why: MissedWhy::Slow }), "{:?}", got[0]);
}

#[test]
fn a_reader_keeps_at_most_its_batches_alive() {
    // Memory is bounded by configuration, whatever readers do.
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig { memory_bytes: 100_000, ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    let mut sleepy = tape.reader(&btc(), From::Live, ReaderOptions::default()).unwrap();
    for id in 1..=20_000 {
        lane.append(no, &trade(id)).unwrap();
        if id % 16 == 0 {
            lane.commit().unwrap();
            assert!(tape.stats().lanes[0].memory_bytes <= 100_000);
        }
    }
    lane.commit().unwrap();
    let mut out: Vec<Delivery> = Vec::new();
    sleepy.poll_next(&mut out, 10);
    assert!(matches!(&out[0], Delivery::Record(r) if !r.from_memory()), "what memory forgot comes from the file");
    let mut rest: Vec<Seen> = out.iter().map(seen).collect();
    rest.extend(drain(&mut sleepy));
    assert_eq!(rest, rows(1, 1..=20_000));
}

/// A time that the test moves.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl TapeTime for Hand {
    fn wall(&self) -> i64 {
        i64::try_from(self.mono()).unwrap()
    }

    fn mono(&self) -> u64 {
        self.0.load(Ordering::Relaxed) + 1
    }
}

/// A slow lane does not keep in memory what it wrote long ago; readers get it all the same.
#[test]
fn memory_is_bounded_by_age_too() {
    let dir = tempfile::tempdir().unwrap();
    let hand = Arc::new(Hand::default());
    let tape = Tape::open(dir.path(), TapeConfig { driven: Some(hand.clone()), ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    let kept = || tape.stats().lanes[0].memory_bytes;
    let mut highest = 0;
    for id in 1..=600 {
        hand.0.fetch_add(1_000_000_000, Ordering::Relaxed);
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
        highest = highest.max(kept());
    }
    let one = highest / 61;
    assert!((one * 60..=one * 62).contains(&kept()) && one > 100, "{one} {highest} {}", kept());
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=600));
}
