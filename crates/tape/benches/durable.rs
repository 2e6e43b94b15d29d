//! How much becomes durable, and how long syncs take: `cargo bench -p wholetape-tape --bench durable`.
//!
//! One lane at full speed, then paced at 1 M records/s, for a few seconds each (`WHOLETAPE_BENCH_SECONDS`). Prints
//! records/s, fsync durations, and the time from `commit` to "on the disk" sampled all the while. Files go to
//! `$WHOLETAPE_BENCH_DIR`, or the system's temporary folder.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wholetape_model::{Body, InstrumentId, Kind, Price, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, Ts};
use wholetape_tape::{Durations, Retention, Tape, TapeConfig};

const BATCH: u64 = 64;

fn trade(id: u64) -> Row<'static> {
    Row {
        ts_event: Ts(id as i64),
        ts_recv: Ts(id as i64),
        conn: 1,
        frame: id as u32,
        flags: RowFlags::default(),
        scales: Scales { price: 2, size: 3 },
        body: Body::Trade(Trade {
            id,
            first_id: id,
            last_id: id,
            price: Price(6_000_000),
            size: Size(5),
            aggressor: None,
            condition: TradeCondition::Regular,
        }),
    }
}

fn run(name: &str, per_second: Option<u64>, length: Duration) {
    let dir = folder();
    let retention = Retention { age_max: None, bytes_max: Some(1 << 30) };
    let tape = Tape::open(dir.path(), TapeConfig { retention, ..TapeConfig::default() }).expect("open");
    let topic = Topic::new(Kind::Trade, &InstrumentId::parse("BTCUSDT.BINANCE").expect("a name"));
    let mut lane = tape.lane("w").expect("lane");
    let no = lane.topic(&topic).expect("topic");
    lane.commit().expect("commit");
    let sampler = {
        let (tape, topic) = (tape.clone(), topic.clone());
        thread::spawn(move || {
            let (mut delays, end) = (Vec::new(), Instant::now() + length);
            while Instant::now() < end {
                let (head, start) = (tape.head(&topic).unwrap_or(0), Instant::now());
                while tape.synced_seq(&topic).unwrap_or(0) < head && start.elapsed() < length {
                    thread::sleep(Duration::from_micros(100));
                }
                delays.push(start.elapsed());
                thread::sleep(Duration::from_millis(2));
            }
            delays.sort();
            delays
        })
    };
    let (start, mut id, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while start.elapsed() < length {
        if let Some(rate) = per_second {
            let due = Duration::from_nanos(id * 1_000_000_000 / rate);
            if let Some(wait) = due.checked_sub(start.elapsed()) {
                if wait > Duration::from_micros(200) {
                    thread::sleep(wait);
                }
                continue;
            }
        }
        for _ in 0..BATCH {
            id += 1;
            lane.append(no, &trade(id)).expect("append");
        }
        let began = Instant::now();
        lane.commit().expect("commit");
        slowest = slowest.max(began.elapsed());
    }
    let synced = tape.synced_seq(&topic).unwrap_or(0);
    let seconds = start.elapsed().as_secs_f64();
    let delays = sampler.join().expect("sampler");
    let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied().unwrap_or_default();
    let stats = tape.stats();
    let Durations { count, p50, p99, max, .. } = stats.fsync;
    println!(
        "{name}: {:.2} M appended/s, {:.2} M durable/s of 96 B in batches of {BATCH}; {count} fsyncs p50 {p50:?} p99 {p99:?} max {max:?}; \
         commit to disk p50 {:?} p99 {:?}; slowest commit {slowest:?}",
        id as f64 / seconds / 1e6,
        synced as f64 / seconds / 1e6,
        at(0.5),
        at(0.99),
    );
}

/// The same bytes at the tape's sync size, without a tape: what this disk can do just now.
fn bare(length: Duration) {
    let dir = folder();
    let mut file = File::create(dir.path().join("bare")).expect("create");
    let bytes = vec![7_u8; 512 << 10];
    let (start, mut syncs) = (Instant::now(), Vec::new());
    while start.elapsed() < length {
        file.write_all(&bytes).expect("write");
        let began = Instant::now();
        file.sync_data().expect("fdatasync");
        syncs.push(began.elapsed());
        if syncs.len() % 256 == 0 {
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).expect("truncate");
        }
    }
    let per_second = syncs.len() as f64 * bytes.len() as f64 / 96.0 / start.elapsed().as_secs_f64() / 1e6;
    syncs.sort();
    let at = |share: f64| syncs[(syncs.len() as f64 * share) as usize];
    println!(
        "bare write + fdatasync of 512 KiB: {per_second:.2} M/s of 96 B; {} fsyncs p50 {:?} p99 {:?}",
        syncs.len(),
        at(0.5),
        at(0.99)
    );
}

fn folder() -> TempDir {
    match std::env::var_os("WHOLETAPE_BENCH_DIR") {
        Some(d) => TempDir::new_in(d).expect("WHOLETAPE_BENCH_DIR is a folder"),
        None => TempDir::new().expect("a temporary folder"),
    }
}

fn main() {
    let seconds = std::env::var("WHOLETAPE_BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let length = Duration::from_secs(seconds);
    bare(length);
    run("full speed", None, length);
    run("1 M/s", Some(1_000_000), length);
    run("50 000/s", Some(50_000), length);
}
