//! Memory at size (T16): thousands of small files scanned, thousands of topics within the writer's budget.
//!
//! CI runs a tenth; `WHOLETAPE_SCALE=full` runs 5 000 files and 1 000 instruments × 10 kinds.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{DAY, Dice, KINDS, T0, body, owned, topic};
use wholetape_model::{Row, RowFlags, Scales, Topic, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::history::CatalogHistory;
use wholetape_store::manifest::Part;
use wholetape_store::rows::Rows;
use wholetape_store::scan::Chain;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::history::{Past, PastBatch};
use wholetape_tape::{Lane, RealDisk, Tape, TapeConfig, TopicNo};

fn is_full() -> bool {
    std::env::var("WHOLETAPE_SCALE").is_ok_and(|v| v == "full")
}

/// Peak of this process's memory since the last [`forget_peak`], MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) >> 10
}

fn forget_peak() {
    // Not everywhere allowed: then the peak is that of the whole run, which is more.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn put(lane: &mut Lane, no: TopicNo, kind: &str, id: u64, now: i64) {
    let o = owned(&mut Dice(id));
    let body = body(kind, id, &mut Dice(id), &o);
    let scales = Scales { price: 2, size: 3 };
    let flags = RowFlags::default();
    let row = Row { ts_event: Ts(now), ts_recv: Ts(now), conn: 1, frame: 1, flags, scales, body };
    lane.append(no, &row).unwrap();
}

fn open(pace: Pace) -> (tempfile::TempDir, Tape, Lane, Follower) {
    // In memory where that is possible: it is not the disk that is measured.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
    let lane = tape.lane("t").unwrap();
    let catalog = Catalog::open(Arc::new(RealDisk), dir.path(), CatalogConfig::default()).unwrap();
    (dir, tape, lane, Follower::new(catalog, pace))
}

#[test]
fn many_files_and_many_topics_fit_into_memory() {
    many_files(if is_full() { 5_000 } else { 150 });
    many_topics(if is_full() { 1_000 } else { 40 });
    many_commits(if is_full() { 10_000 } else { 300 }, 6);
    many_late_rows(if is_full() { 1_000_000 } else { 200_000 });
}

/// Read by seq, of which one row in five came late and is anywhere: each group is decoded now and then, not for each window.
fn many_late_rows(rows: u64) {
    let (dir, tape, mut lane, mut follower) = open(Pace { seal_after: Duration::from_secs(60), ..Pace::default() });
    let (topic, mut dice, mut now) = (topic("trade"), Dice(8), T0 - DAY / 2);
    let no = lane.topic(&topic).unwrap();
    let mut late = Vec::new();
    for id in 1..=rows {
        now += 1_000_000;
        match dice.below(5) {
            0 => late.push((id, now)),
            _ => put(&mut lane, no, "trade", id, now),
        }
    }
    while !late.is_empty() {
        let (id, at) = late.swap_remove(dice.below(late.len() as u64) as usize);
        let o = owned(&mut Dice(id));
        let (scales, flags) = (Scales { price: 2, size: 3 }, RowFlags::LATE_ARCHIVE);
        let body = body("trade", id, &mut Dice(id), &o);
        let row = Row { ts_event: Ts(at), ts_recv: Ts(now), conn: 1, frame: 1, flags, scales, body };
        lane.append(no, &row).unwrap();
    }
    lane.commit().unwrap();
    while follower.poll(&tape, Ts(now)).unwrap() {}
    follower.flush(Ts(now)).unwrap();
    follower.tend(Ts(now + DAY)).unwrap();
    let parts = follower.catalog.state().parts.len();
    let groups = rows.div_ceil(wholetape_store::file::GROUP_ROWS as u64) + 1;
    let history = CatalogHistory::new(Arc::new(RealDisk), dir.path());
    // As much of what it reads as there is at full size.
    let memory = if is_full() { 32 << 20 } else { 7 << 20 };
    let mut reader = history.with_memory(memory).by_seq(&topic, 0).unwrap();
    let (mut batch, mut seq) = (PastBatch::default(), 0);
    let began = std::time::Instant::now();
    while reader.read(&mut batch).unwrap() {
        for i in 0..batch.len() {
            let Past::Record { record, .. } = batch.get(i).unwrap() else { panic!("nothing is missing") };
            assert_eq!(record.seq(), seq + 1);
            seq += 1;
        }
    }
    assert_eq!(seq, rows);
    let effort = reader.effort;
    println!("{rows} rows of {parts} parts by seq: {:?}, {effort:?}, {groups} groups", began.elapsed());
    assert!(parts <= 2 && effort.decoded <= groups * 8, "{effort:?}");
    assert!(effort.bytes_max <= memory + (24 << 20), "{effort:?}");
}

fn many_files(files: u64) {
    let pace = Pace { flush_every: Duration::ZERO, seal_after: Duration::from_secs(60), ..Pace::default() };
    let (dir, tape, mut lane, mut follower) = open(pace);
    let no = lane.topic(&topic("trade")).unwrap();
    let start = T0 / DAY * DAY;
    for n in 0..files {
        for i in 1..=20 {
            put(&mut lane, no, "trade", n * 20 + i, start + (n * 20 + i) as i64 * 500_000_000);
        }
        lane.commit().unwrap();
        let now = Ts(start + (n * 20 + 20) as i64 * 500_000_000);
        while follower.poll(&tape, now).unwrap() {}
        follower.flush(now).unwrap();
    }
    let parts = follower.catalog.state().parts.clone();
    assert_eq!(parts.len() as u64, files);
    forget_peak();
    let count = |parts: Vec<&Part>| {
        let (mut rows, mut n) = (Rows::default(), 0);
        let mut chain = Chain::new(&RealDisk, dir.path(), parts);
        while chain.next(&mut rows).unwrap() {
            n += rows.len() as u64;
        }
        n
    };
    assert_eq!(count(parts.values().collect()), files * 20);
    let scan = peak();
    assert!(scan < 512, "{files} files were scanned with {scan} MiB");
    follower.tend(Ts(start + 2 * DAY)).unwrap();
    let parts = follower.catalog.state().parts.clone();
    assert_eq!(parts.len(), 1);
    assert_eq!(count(parts.values().collect()), files * 20);
    println!("{files} files: scanned with {scan} MiB, made one with {} MiB", peak());
    assert!(peak() < 512, "{files} files were compacted with {} MiB", peak());
}

/// Ten thousand topics that are stored by the hour: a commit costs as much with sixty thousand parts behind it as with none.
fn many_commits(topics: u64, hours: u64) {
    let hour = Duration::from_secs(3_600);
    let (_dir, tape, mut lane, mut follower) = open(Pace::default());
    let topics: Vec<Topic> =
        (0..topics).map(|n| Topic::parse(&format!("quote.X{n}USDT-PERP.BINANCE")).unwrap()).collect();
    let numbers: Vec<TopicNo> = topics.iter().map(|t| lane.topic(t).unwrap()).collect();
    let start = T0 / DAY * DAY;
    let mut took = Vec::new();
    for n in 0..hours {
        let now = start + n as i64 * hour.as_nanos() as i64 + 1;
        for no in &numbers {
            // One quote always: a finer price would have the day written anew.
            put(&mut lane, *no, "quote", 7, now);
        }
        lane.commit().unwrap();
        while follower.poll(&tape, Ts(now)).unwrap() {}
        let began = std::time::Instant::now();
        follower.flush(Ts(now)).unwrap();
        took.push(began.elapsed());
        assert_eq!(follower.catalog.state().parts.len() as u64, (n + 1) * numbers.len() as u64);
    }
    let began = std::time::Instant::now();
    // So many at a time: rows are taken in between.
    follower.tend(Ts(start + 2 * DAY)).unwrap();
    assert_eq!(follower.counts.sealed, 256);
    for _ in 0..numbers.len().div_ceil(256) {
        follower.tend(Ts(start + 2 * DAY)).unwrap();
    }
    let state = follower.catalog.state();
    println!("{} topics by the hour: {took:?}; sealed and certified in {:?}", numbers.len(), began.elapsed());
    assert_eq!(state.parts.len(), numbers.len());
    assert!(state.parts.values().all(|p| p.sealed && p.rows == hours));
    assert_eq!(state.issued.len(), numbers.len());
    assert!(!is_full() || took[hours as usize - 1] < took[0] * 2, "commits grow slower: {took:?}");
}

fn many_topics(instruments: usize) {
    let budget = (256 << 20) * instruments / 1_000;
    let (_dir, tape, mut lane, mut follower) = open(Pace { budget, ..Pace::default() });
    let mut topics = Vec::new();
    for n in 0..instruments {
        for kind in KINDS.iter().filter(|k| **k != "trade-raw").take(10) {
            let topic = Topic::parse(&format!("{kind}.X{n}USDT-PERP.BINANCE")).unwrap();
            topics.push((*kind, lane.topic(&topic).unwrap()));
        }
    }
    lane.commit().unwrap();
    forget_peak();
    let (mut rows, mut most) = (0, 0);
    for round in 1..=24_u64 {
        let now = T0 + round as i64 * 1_000_000_000;
        for (at, (kind, no)) in topics.iter().enumerate() {
            // Busy ones and quiet ones.
            for i in 0..if at % 10 == 0 { 20 } else { 3 } {
                put(&mut lane, *no, kind, round * 100 + i, now);
                rows += 1;
            }
        }
        lane.commit().unwrap();
        while follower.poll(&tape, Ts(now)).unwrap() {}
        most = most.max(follower.bytes());
    }
    let parts = follower.catalog.state().parts.len();
    println!(
        "{} topics, {rows} rows: buffers of {} MiB at most (budget {}), {parts} parts, the process {} MiB",
        topics.len(),
        most >> 20,
        budget >> 20,
        peak()
    );
    assert!(most <= budget, "{most} bytes");
    assert!(peak() < (budget as u64 >> 20) + 384, "the process took {} MiB", peak());
    follower.flush(Ts(T0 + DAY)).unwrap();
    let stored: u64 = follower.catalog.state().parts.values().map(|p| p.rows).sum();
    assert_eq!(stored, rows);
}
