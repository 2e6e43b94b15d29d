//! Readers attached while a writer writes: each record exactly once, in order, over the seam of memory and files, with
//! every policy and at random speeds; and what is not delivered is named.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use wholetape_model::{Body, Topic};
use wholetape_tape::{Delivery, From, Policy, Reader, ReaderOptions, Retention, Tape, TapeConfig, WakeSet};

fn rng(seed: u8) -> Rng {
    Rng(u64::from(seed))
}

const ROWS: u64 = 60_000;

/// Reads to the end and checks that deliveries join: position by position, rows telling their own id.
fn consume(mut reader: Reader, mut rng: Rng, last: u64, in_set: bool) -> (u64, u64) {
    let set = WakeSet::new();
    if in_set {
        reader.join(&set, 1);
    }
    let (mut rows, mut missed, mut out, mut tokens) = (0, 0, Vec::new(), Vec::new());
    let mut position = reader.position();
    while position < last && !reader.ended() {
        let max = 1 + (rng.next_u32() % 300) as usize;
        if reader.poll_next(&mut out, max) == 0 {
            if in_set {
                tokens.clear();
                assert!(set.wait_blocking(Duration::from_secs(20), &mut tokens), "a wake was lost at {position}");
            } else {
                assert!(reader.wait_blocking(Duration::from_secs(20)), "a wake was lost at {position}");
            }
        }
        for d in out.drain(..) {
            match d {
                Delivery::Record(r) => {
                    let record = wholetape_model::Record::parse(&r, true).expect("a right checksum");
                    assert_eq!(record.seq(), position + 1);
                    assert!(matches!(record.view(), Ok(Body::Trade(t)) if t.id == record.seq()));
                    position += 1;
                    rows += 1;
                }
                Delivery::Missed { from, to, .. } => {
                    assert_eq!(from, position + 1);
                    assert!(to >= from);
                    position = to;
                    missed += to - from + 1;
                }
                Delivery::Disconnected { position: at, .. } => assert_eq!(at, position),
            }
        }
        assert_eq!(position, reader.position());
        if rng.next_u32().is_multiple_of(50) {
            thread::sleep(Duration::from_micros(u64::from(rng.next_u32() % 3000)));
        }
    }
    (rows, missed)
}

fn run(config: TapeConfig, seed: u8, retained: bool) {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), config).unwrap();
    let topics: Vec<Topic> = (0..3).map(|i| topic(&format!("trade.T{i}.X"))).collect();
    let writing = Arc::new(AtomicBool::new(true));
    let writer = {
        let (tape, topics, writing) = (tape.clone(), topics.clone(), writing.clone());
        thread::spawn(move || {
            let mut rng = rng(seed);
            let mut lane = tape.lane("w").unwrap();
            let numbers: Vec<_> = topics.iter().map(|t| lane.topic(t).unwrap()).collect();
            let mut ids = [0_u64; 3];
            while ids.iter().any(|id| *id < ROWS) {
                for _ in 0..1 + rng.next_u32() % 100 {
                    let i = (rng.next_u32() % 3) as usize;
                    if ids[i] < ROWS {
                        assert_eq!(lane.append(numbers[i], &trade(ids[i] + 1)).unwrap(), ids[i] + 1);
                        ids[i] += 1;
                    }
                }
                if rng.next_u32().is_multiple_of(40) {
                    // A line that panicked: the rows are given again.
                    lane.abort();
                    for (id, no) in ids.iter_mut().zip(&numbers) {
                        *id = lane.head(*no);
                    }
                }
                lane.commit().unwrap();
                if rng.next_u32().is_multiple_of(20) {
                    thread::sleep(Duration::from_micros(300));
                }
            }
            writing.store(false, Ordering::SeqCst);
        })
    };
    let policies = [Policy::CatchUp, Policy::DropOldest, Policy::DropLowest, Policy::Conflate, Policy::Disconnect];
    let mut readers = Vec::new();
    for n in 0..10_u8 {
        let mut rng = rng(seed ^ (n + 1).wrapping_mul(37));
        thread::sleep(Duration::from_millis(u64::from(rng.next_u32() % 20)));
        let topic = &topics[usize::from(n) % 3];
        let policy = policies[usize::from(n) % 5];
        let from = match n % 4 {
            0 => From::Seq(0),
            1 => From::Live,
            2 => From::Last(500),
            _ => From::Earliest,
        };
        let options = ReaderOptions { policy, lag: 1500, ..ReaderOptions::default() };
        let reader = tape.reader(topic, from, options).unwrap();
        readers.push(thread::spawn(move || {
            let start = reader.position();
            let (rows, missed) = consume(reader, rng, ROWS, n % 2 == 0);
            if policy != Policy::Disconnect {
                assert_eq!(rows + missed, ROWS - start, "{policy:?} from {from:?}");
            }
            if matches!(policy, Policy::CatchUp | Policy::Conflate) && !retained {
                assert_eq!(missed, 0, "{policy:?} of trades misses nothing");
            }
        }));
    }
    for r in readers {
        r.join().unwrap();
    }
    writer.join().unwrap();
    assert!(!writing.load(Ordering::SeqCst));
    if !retained {
        for t in &topics {
            assert_eq!(read_all(&tape, t), rows(1, 1..=ROWS));
        }
    }
}

#[test]
fn mostly_from_memory() {
    run(TapeConfig { segment_bytes: 1 << 20, ..config() }, 1, false);
}

#[test]
fn mostly_from_files() {
    run(TapeConfig { segment_bytes: 200_000, memory_bytes: 20_000, ..config() }, 2, false);
}

#[test]
fn over_retention() {
    let retention = Retention { age_max: None, bytes_max: Some(3_000_000) };
    run(TapeConfig { segment_bytes: 200_000, memory_bytes: 20_000, retention, ..config() }, 3, true);
}

/// The sync thread may take a batch that is written and not yet seen by readers: its seqs are noted all the same, with no batch after it.
#[test]
fn the_last_batch_is_known_to_be_synced_whenever_the_sync_came() {
    let dir = tempfile::tempdir().unwrap();
    // Every commit wakes the sync thread between the write and the publication.
    let tape = Tape::open(dir.path(), TapeConfig { sync_bytes: 1, ..TapeConfig::default() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=300 {
        let seq = lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
        assert!(tape.wait_synced(&btc(), seq, Duration::from_secs(5)).unwrap(), "seq {seq} is on the disk, unnoted");
    }
}
