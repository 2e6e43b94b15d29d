//! Waking: at once, only sleepers, never lost; many cursors on one waker; in-process handlers.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use wholetape_model::Kind;
use wholetape_tape::{Delivery, Filter, From, ReaderOptions, WakeSet};

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn one_wake_per_batch_and_only_of_sleepers() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    lane.commit().unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut reader = tape.reader(&btc(), From::Live, ReaderOptions::default()).unwrap();
    assert_eq!(reader.poll_wait(&mut cx), Poll::Pending);
    assert_eq!(reader.poll_wait(&mut cx), Poll::Pending);
    for id in 1..=5 {
        lane.append(no, &trade(id)).unwrap();
    }
    assert_eq!(count.0.load(Ordering::SeqCst), 0, "not before the commit");
    lane.commit().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "one for five rows");
    lane.append(no, &trade(6)).unwrap();
    lane.commit().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "nobody slept");
    assert_eq!(reader.poll_wait(&mut cx), Poll::Ready(()));
    assert_eq!(drain(&mut reader), rows(1, 1..=6));
    assert_eq!(reader.poll_wait(&mut cx), Poll::Pending);
    drop(reader);
    lane.append(no, &trade(7)).unwrap();
    lane.commit().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "a reader that is gone is not woken");
}

#[test]
fn two_hundred_cursors_sleep_on_one_waker() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    let set = WakeSet::new();
    let topics: Vec<_> = (0..200).map(|i| topic(&format!("trade.T{i}.X"))).collect();
    let mut readers: Vec<_> =
        topics.iter().map(|t| tape.reader(t, From::Live, ReaderOptions::default()).unwrap()).collect();
    for (i, r) in readers.iter_mut().enumerate() {
        r.join(&set, i as u64);
    }
    let numbers: Vec<_> = topics.iter().map(|t| lane.topic(t).unwrap()).collect();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut ready = Vec::new();
    assert_eq!(set.poll_ready(&mut cx, &mut ready), Poll::Pending);
    for id in 1..=3 {
        for i in [3, 77, 199] {
            lane.append(numbers[i], &trade(id)).unwrap();
        }
    }
    lane.commit().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "one wake for three topics");
    assert_eq!(set.poll_ready(&mut cx, &mut ready), Poll::Ready(()));
    ready.sort_unstable();
    assert_eq!(ready, [3, 77, 199]);
    for i in ready.drain(..) {
        assert_eq!(drain(&mut readers[i as usize]), rows(1, 1..=3));
    }
    // Armed again by having come to the head.
    lane.append(numbers[77], &trade(4)).unwrap();
    lane.commit().unwrap();
    assert!(set.wait_blocking(Duration::ZERO, &mut ready));
    assert_eq!(ready, [77]);
    set.push(1000);
    ready.clear();
    assert_eq!((set.take_ready(&mut ready), ready[0]), (1, 1000));
}

#[test]
fn readers_wake_within_ten_milliseconds() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    lane.commit().unwrap();
    const ROWS: u64 = 300;
    let start = Instant::now();
    let mut reader = tape.reader(&btc(), From::Live, ReaderOptions::default()).unwrap();
    let sleeper = thread::spawn(move || {
        let (mut out, mut late) = (Vec::new(), Vec::new());
        while reader.position() < ROWS {
            assert!(reader.wait_blocking(Duration::from_secs(10)), "a wake was lost");
            reader.poll_next(&mut out, 100);
            let now = start.elapsed().as_nanos() as i64;
            late.extend(out.drain(..).filter_map(|d| d.record().map(|r| now - r.ts_event().0)));
        }
        late.sort_unstable();
        late
    });
    for id in 1..=ROWS {
        thread::sleep(Duration::from_millis(1));
        let mut row = trade(id);
        row.ts_event = wholetape_model::Ts(start.elapsed().as_nanos() as i64);
        lane.append(no, &row).unwrap();
        lane.commit().unwrap();
    }
    let late = sleeper.join().unwrap();
    assert_eq!(late.len() as u64, ROWS);
    let wake = tape.stats().wake;
    assert!(wake.count > 0 && wake.count <= ROWS, "the histogram saw the wakes: {wake:?}");
    // A reader that polled on a timer would miss this by far; a loaded machine may delay single wakes.
    let of = |tenths: usize| Duration::from_nanos(late[late.len() * tenths / 10] as u64);
    assert!(of(5) < Duration::from_millis(10), "half of them within 10 ms of the append, was {:?}", of(5));
    assert!(of(9) < Duration::from_millis(100), "nine of ten within 100 ms, was {:?}", of(9));
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn handlers_run_by_priority_and_a_failing_one_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    let old = topic("trade.OLD.X");
    let no = lane.topic(&old).unwrap();
    lane.append(no, &trade(1)).unwrap();
    lane.commit().unwrap();
    let log: Arc<Mutex<Vec<(&str, u64)>>> = Arc::default();
    let note = |name: &'static str| {
        let log = log.clone();
        move |_: &wholetape_model::Topic, d: &Delivery| {
            log.lock().unwrap().push((name, d.record().unwrap().seq()));
            Ok(())
        }
    };
    let last = tape.subscribe(Filter::kinds(&[Kind::Trade]), 10, note("last")).unwrap();
    let first = tape.subscribe(Filter::kinds(&[Kind::Trade]), -5, note("first")).unwrap();
    let panics = tape
        .subscribe(Filter::default(), 0, |_, d| {
            assert!(d.record().unwrap().seq() % 2 == 0, "odd");
            Err("even".into())
        })
        .unwrap();
    let other = tape.subscribe(Filter { kinds: vec![], pattern: Some("quote.*".into()) }, 0, note("quote")).unwrap();
    for id in 2..=4 {
        lane.append(no, &trade(id)).unwrap();
    }
    lane.commit().unwrap();
    wait_for("three rows for each", || last.processed() == 3 && first.processed() == 3 && panics.processed() == 3);
    assert_eq!(panics.failures(), 3);
    assert_eq!((first.failures(), other.processed()), (0, 0));
    let want: Vec<_> = (2..=4).flat_map(|seq| [("first", seq), ("last", seq)]).collect();
    assert_eq!(*log.lock().unwrap(), want, "from now on, and in order of priority");
    assert_eq!(tape.stats().handler_failures, 3);
    // A topic that appears later is served from its first record.
    let new = lane.topic(&topic("trade.NEW.X")).unwrap();
    lane.append(new, &trade(1)).unwrap();
    lane.commit().unwrap();
    wait_for("the new topic", || last.processed() == 4);
    drop(first);
    lane.append(new, &trade(2)).unwrap();
    lane.commit().unwrap();
    wait_for("the rest goes on", || last.processed() == 5);
    assert_eq!(log.lock().unwrap().iter().filter(|(n, _)| *n == "first").count(), 4);
}

#[test]
fn durability_can_be_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let config = wholetape_tape::TapeConfig {
        fsync: wholetape_tape::Fsync::Every(Duration::from_secs(60)),
        ..wholetape_tape::TapeConfig::default()
    };
    let tape = wholetape_tape::Tape::open(dir.path(), config).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    lane.commit().unwrap();
    lane.append(no, &trade(1)).unwrap();
    lane.commit().unwrap();
    assert_eq!(tape.synced_seq(&btc()), Some(0), "the timer is far away");
    let topic = btc();
    let mut synced = std::pin::pin!(tape.synced(&topic, 1));
    let waker = Waker::from(Arc::new(Count::default()));
    let mut cx = Context::from_waker(&waker);
    wait_for("the fsync that was asked for", || {
        tape.synced_seq(&btc()) == Some(1) || {
            // Polling asks for the sync.
            tape.wait_synced(&btc(), 1, Duration::ZERO).unwrap()
        }
    });
    assert!(matches!(synced.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
    assert!(!tape.wait_synced(&btc(), 2, Duration::from_millis(20)).unwrap(), "seq 2 does not exist");
}
