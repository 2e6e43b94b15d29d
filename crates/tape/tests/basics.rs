//! Append, serve, recover: the plain way through.

mod common;

use std::time::Duration;

use common::*;
use wholetape_model::{BookAction, Level, Price, Size, Ts};
use wholetape_tape::{Delivery, From, Policy, ReaderOptions, Tape, TapeConfig, TapeError};

#[test]
fn appends_serve_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let epoch;
    {
        let tape = open(dir.path());
        epoch = tape.epoch().to_owned();
        assert_eq!(tape.run(), 1);
        let mut reader = tape.reader(&btc(), From::Live, ReaderOptions::default()).unwrap();
        let mut lane = tape.lane("worker-0").unwrap();
        let no = lane.topic(&btc()).unwrap();
        for id in 1..=10 {
            assert_eq!(lane.append(no, &trade(id)).unwrap(), id);
        }
        assert_eq!(drain(&mut reader), [], "nothing is served before it is committed");
        lane.commit().unwrap();
        assert_eq!(drain(&mut reader), rows(1, 1..=10));
        assert_eq!((reader.position(), reader.head(), tape.head(&btc())), (10, 10, Some(10)));
        assert!(tape.wait_synced(&btc(), 10, Duration::from_secs(5)).unwrap());
        drop(lane);
        tape.close().unwrap();
    }
    let tape = open(dir.path());
    assert_eq!((tape.epoch(), tape.run()), (epoch.as_str(), 2));
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=10));
    let mut lane = tape.lane("worker-0").unwrap();
    let no = lane.topic(&btc()).unwrap();
    assert_eq!(lane.append(no, &trade(11)).unwrap(), 11);
    lane.commit().unwrap();
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=11));
    let state = &tape.topics()[0];
    assert_eq!((state.topic.clone(), state.lane.as_str(), state.head, state.oldest), (btc(), "worker-0", 11, 1));
    assert_eq!(state.last_ts_recv, Ts(1_000_011));
}

#[test]
fn many_small_segments_read_back_from_disk_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = TapeConfig { segment_bytes: 4096, memory_bytes: 1, ..config() };
    let (a, b) = (topic("trade.A.X"), topic("trade.B.X"));
    let tape = Tape::open(dir.path(), config.clone()).unwrap();
    {
        let mut lane = tape.lane("w").unwrap();
        let (na, nb) = (lane.topic(&a).unwrap(), lane.topic(&b).unwrap());
        let first = lane.segment();
        for id in 1..=500 {
            lane.append(na, &trade(id)).unwrap();
            if id % 7 == 0 {
                lane.append(nb, &trade(id / 7)).unwrap();
            }
            if id % 3 == 0 {
                lane.commit().unwrap();
            }
        }
        lane.commit().unwrap();
        assert!(lane.segment() > first + 10);
    }
    assert_eq!(read_all(&tape, &a), rows(1, 1..=500));
    assert_eq!(read_all(&tape, &b), rows(1, 1..=71));
    for from in [0, 1, 37, 250, 499, 500] {
        let mut r = tape.reader(&a, From::Seq(from), ReaderOptions::default()).unwrap();
        assert_eq!(drain(&mut r), rows(from + 1, from + 1..=500), "from {from}");
    }
    tape.close().unwrap();
    let tape = Tape::open(dir.path(), config).unwrap();
    assert_eq!(read_all(&tape, &a), rows(1, 1..=500));
    let reader = Tape::open_reader(dir.path()).unwrap();
    assert_eq!(read_all(&reader, &b), rows(1, 1..=71));
    assert!(matches!(reader.lane("w"), Err(TapeError::ReadOnly)));
}

#[test]
fn every_way_to_begin() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig { segment_bytes: 2048, ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=100 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    let check = |from: From, first: u64| {
        let mut r = tape.reader(&btc(), from, ReaderOptions::default()).unwrap();
        assert_eq!(drain(&mut r), rows(first, first..=100), "{from:?}");
    };
    check(From::Live, 101);
    check(From::Earliest, 1);
    check(From::Last(0), 101);
    check(From::Last(1), 100);
    check(From::Last(60), 41);
    check(From::Last(1000), 1);
    check(From::Seq(0), 1);
    check(From::Seq(42), 43);
    check(From::Time(Ts(0)), 1);
    check(From::Time(Ts(1_000_050)), 50);
    check(From::Time(Ts(1_000_100)), 100);
    check(From::Time(Ts(1_000_101)), 101);
    let beyond = tape.reader(&btc(), From::Seq(101), ReaderOptions::default());
    assert!(matches!(beyond, Err(TapeError::Position { seq: 101, head: 100, .. })));
    let last: Vec<u64> = tape.last_records(&btc(), 3).unwrap().iter().map(|r| r.record().seq()).collect();
    assert_eq!(last, [98, 99, 100]);
}

#[test]
fn a_reader_may_wait_for_a_topic_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    assert_eq!(tape.head(&btc()), None);
    for from in [From::Live, From::Earliest, From::Seq(0), From::Last(3), From::Time(Ts(5))] {
        let mut r = tape.reader(&btc(), from, ReaderOptions::default()).unwrap();
        assert!(!r.wait_blocking(Duration::ZERO));
        assert_eq!(drain(&mut r), []);
    }
    assert!(tape.topics().is_empty(), "asking for a topic does not make one");
    assert!(tape.reader(&btc(), From::Seq(1), ReaderOptions::default()).is_err());
}

#[test]
fn abort_gives_the_seqs_again() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    {
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        lane.append(no, &trade(1)).unwrap();
        lane.abort();
        assert_eq!((lane.head(no), lane.pending()), (0, 0));
        assert_eq!(lane.append(no, &trade(2)).unwrap(), 1);
        lane.commit().unwrap();
        lane.append(no, &trade(3)).unwrap();
        // Dropped with a row in the batch: as aborted.
    }
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    assert_eq!(lane.append(no, &trade(4)).unwrap(), 2);
    lane.commit().unwrap();
    assert_eq!(read_all(&tape, &btc()), [Seen::Row { seq: 1, id: 2 }, Seen::Row { seq: 2, id: 4 }]);
}

#[test]
fn one_writer_per_lane_one_lane_per_topic() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut a = tape.lane("a").unwrap();
    assert!(matches!(tape.lane("a"), Err(TapeError::LaneTaken(_))));
    assert!(matches!(tape.lane("../a"), Err(TapeError::LaneName(_))));
    let mut b = tape.lane("b").unwrap();
    let na = a.topic(&btc()).unwrap();
    a.append(na, &trade(1)).unwrap();
    a.commit().unwrap();
    assert!(matches!(b.topic(&btc()), Err(TapeError::Owned { .. })));
    a.release(na).unwrap();
    assert!(matches!(a.append(na, &trade(2)), Err(TapeError::TopicNo(_))));
    let nb = b.topic(&btc()).unwrap();
    assert_eq!(b.append(nb, &trade(2)).unwrap(), 2, "the seq goes on in the new lane");
    b.commit().unwrap();
    drop(b);
    // A lane without a writer gives its topics up.
    let na = a.topic(&btc()).unwrap();
    assert_eq!(a.append(na, &trade(3)).unwrap(), 3);
    a.commit().unwrap();
    let mut b = tape.lane("b").unwrap();
    assert!(matches!(b.append(nb, &trade(9)), Err(TapeError::TopicNo(_))), "the former owner may not write");
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=3));
    drop((a, b));
    tape.close().unwrap();
    let tape = open(dir.path());
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=3));
    assert_eq!(tape.topics()[0].lane, "a");
    let mut a = tape.lane("a").unwrap();
    let na = a.topic(&btc()).unwrap();
    assert_eq!(a.append(na, &trade(4)).unwrap(), 4);
}

#[test]
fn the_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    match Tape::open(dir.path(), config()) {
        Err(TapeError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    let copy = tape.clone();
    drop(tape);
    assert!(Tape::open(dir.path(), config()).is_err(), "a clone keeps it");
    drop(copy);
    assert!(Tape::open(dir.path(), config()).is_ok());
}

#[test]
fn book_starts_are_known_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let books = topic("book.BTCUSDT.BINANCE");
    let levels = [Level { price: Price(1), size: Size(2) }];
    {
        let tape = open(dir.path());
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&books).unwrap();
        assert_eq!(tape.last_book_start(&books), None);
        for (id, action) in
            [(1, BookAction::Snapshot), (2, BookAction::Delta), (3, BookAction::Checkpoint), (4, BookAction::Delta)]
        {
            lane.append(no, &book(action, &levels, id)).unwrap();
        }
        lane.commit().unwrap();
        assert_eq!(tape.last_book_start(&books), Some(3));
    }
    assert_eq!(open(dir.path()).last_book_start(&books), Some(3));
    assert_eq!(Tape::open_reader(dir.path()).unwrap().last_book_start(&books), Some(3));
}

#[test]
fn handles_go_to_other_threads() {
    fn send<T: Send>() {}
    fn sync<T: Send + Sync>() {}
    sync::<Tape>();
    send::<wholetape_tape::Lane>();
    send::<wholetape_tape::Reader>();
    sync::<wholetape_tape::WakeSet>();
    sync::<wholetape_tape::Shared>();
    send::<wholetape_tape::Subscription>();
}

#[test]
fn readers_of_topics_that_never_come_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let t = topic("trade.NEVER.X");
    let a = tape.reader(&t, From::Live, ReaderOptions::default()).unwrap();
    let mut b = tape.reader(&t, From::Live, ReaderOptions::default()).unwrap();
    drop(a);
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&t).unwrap();
    lane.append(no, &trade(1)).unwrap();
    lane.commit().unwrap();
    assert_eq!(drain(&mut b), rows(1, 1..=1), "the one that stayed is served when it comes");
    assert!(!tape.wait_synced(&topic("trade.NONE.X"), 1, Duration::ZERO).unwrap());
}

#[test]
fn a_restored_directory_gets_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let tape = open(dir.path());
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        lane.append(no, &trade(1)).unwrap();
        lane.commit().unwrap();
        assert!(matches!(Tape::renew_epoch(dir.path()), Err(TapeError::Locked { .. })));
        tape.epoch().to_owned()
    };
    let second = Tape::renew_epoch(dir.path()).unwrap();
    assert_ne!(first, second);
    let tape = open(dir.path());
    assert_eq!(tape.epoch(), second);
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=1));
}

#[test]
fn block_is_for_replay_tapes() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReaderOptions { policy: Policy::Block, lag: 10, ..ReaderOptions::default() };
    let tape = open(dir.path());
    assert!(matches!(tape.reader(&btc(), From::Live, options), Err(TapeError::BlockRefused(_))));
    drop(tape);
    let tape = Tape::open(dir.path(), TapeConfig { allow_block: true, ..config() }).unwrap();
    let mut reader = tape.reader(&btc(), From::Live, options).unwrap();
    let writer = {
        let tape = tape.clone();
        std::thread::spawn(move || {
            let mut lane = tape.lane("w").unwrap();
            let no = lane.topic(&btc()).unwrap();
            for id in 1..=200 {
                lane.append(no, &trade(id)).unwrap();
                lane.commit().unwrap();
            }
        })
    };
    let mut out: Vec<Delivery> = Vec::new();
    while out.len() < 200 {
        reader.wait_blocking(Duration::from_secs(1));
        assert!(reader.head() - reader.position() <= 10);
        reader.poll_next(&mut out, 3);
    }
    writer.join().unwrap();
    assert_eq!(out.iter().map(seen).collect::<Vec<_>>(), rows(1, 1..=200));
}
