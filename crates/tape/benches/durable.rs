//! How much becomes durable, and how long syncs take: `cargo bench -p wholetape-tape --bench durable`.
//!
//! Each round measures, one after the other, so that the ratios hold whatever else the machine does:
//! - *bare, back to back*: one thread, write a group, `fdatasync`, at once the next: what this disk can do;
//! - *bare, paced*: one thread writes batches of the tape's size at 1 M records/s, another calls `fdatasync` as soon as a
//!   group is unsynced: what any log of this design costs at this rate;
//! - *bare, paced, written before*: the same over a file of zeros that are on the disk: a sync then writes data alone, no
//!   new blocks and no length;
//! - *tape, paced*: the same rate through a lane;
//! - *tape at full speed* and *at 50 000/s*.
//!
//! Printed are medians over the rounds (and the range) of p50, p99 and max of one sync, timed in the same way for all; and
//! p99 without the time in which the syncing thread was ready and had no CPU (`schedstat`): where the two differ, others'
//! work is measured, not the disk. Arguments choose parts by name: `-- paced`.
//! `WHOLETAPE_BENCH_SECONDS` (2) per part, `WHOLETAPE_BENCH_ROUNDS` (5), `WHOLETAPE_BENCH_SYNC_KIB` (the default of
//! `TapeConfig::sync_bytes`). Files go to `$WHOLETAPE_BENCH_DIR`, or the system's temporary folder.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wholetape_model::{Body, InstrumentId, Kind, Price, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, Ts};
use wholetape_tape::{Disk, DiskFile, Retention, Tape, TapeConfig};

const BATCH: u64 = 64;
const RECORD: u64 = 96;
const PACE: u64 = 1_000_000;
/// A bare file begins anew here, as segments do.
const SEGMENT: u64 = 64 << 20;

fn trade(id: u64) -> Row<'static> {
    Row {
        ts_event: Ts(id as i64),
        ts_recv: Ts(id as i64),
        conn: 1,
        frame: id as u32,
        flags: RowFlags::default(),
        scales: Scales { price: 2, size: 3 },
        body: Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(6_000_000),
            size: Size(5),
            aggressor: None,
            condition: TradeCondition::Regular,
        }),
    }
}

/// One sync: how long it took, and how much of that its thread waited for a CPU.
type Took = (Duration, Duration);

/// How long this thread was ready and had no CPU; zero where the kernel does not tell.
fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().nth(1).and_then(|w| w.parse().ok()).unwrap_or(0))
}

fn timed(sync: impl FnOnce() -> io::Result<()>) -> io::Result<Took> {
    let (before, began) = (waited(), Instant::now());
    sync()?;
    Ok((began.elapsed(), waited().saturating_sub(before)))
}

/// The kernel's disk, with every sync timed.
#[derive(Debug, Default)]
struct Timed(Mutex<Vec<Took>>);

impl Disk for Timed {
    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        self.0.lock().expect("the list of syncs").push(timed(|| file.sync())?);
        Ok(())
    }
}

/// What one part of one round measured.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Million records a second: written, and on the disk.
    written: f64,
    durable: f64,
    /// Syncs a second and quantiles of one, in ms.
    syncs: f64,
    p50: f64,
    p99: f64,
    max: f64,
    /// As `p99`, without waiting for a CPU.
    disk99: f64,
    /// From `commit` to "on the disk", in ms; 0 where there is no commit.
    delay50: f64,
    delay99: f64,
}

impl Part {
    fn new(records: u64, durable: u64, took: Duration, syncs: Vec<Took>, mut delays: Vec<Duration>) -> Self {
        let seconds = took.as_secs_f64();
        let at = |sorted: &[Duration], share: f64| {
            let i = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
            sorted.get(i).map_or(0.0, |d| d.as_secs_f64() * 1e3)
        };
        let mut whole: Vec<Duration> = syncs.iter().map(|s| s.0).collect();
        let mut disk: Vec<Duration> = syncs.iter().map(|s| s.0.saturating_sub(s.1)).collect();
        whole.sort();
        disk.sort();
        delays.sort();
        Self {
            written: records as f64 / seconds / 1e6,
            durable: durable as f64 / seconds / 1e6,
            syncs: syncs.len() as f64 / seconds,
            p50: at(&whole, 0.5),
            p99: at(&whole, 0.99),
            max: at(&whole, 1.0),
            disk99: at(&disk, 0.99),
            delay50: at(&delays, 0.5),
            delay99: at(&delays, 0.99),
        }
    }
}

/// Sleeps until record `id` is due; false when it is due.
fn early(start: Instant, id: u64, per_second: Option<u64>) -> bool {
    let due = per_second.map_or(Duration::ZERO, |rate| Duration::from_nanos(id * 1_000_000_000 / rate));
    match due.checked_sub(start.elapsed()) {
        Some(wait) if !wait.is_zero() => {
            thread::sleep(wait);
            true
        }
        _ => false,
    }
}

fn tape(per_second: Option<u64>, sync_bytes: u64, length: Duration) -> Part {
    let dir = folder();
    let disk = Arc::new(Timed::default());
    let retention = Retention { age_max: None, bytes_max: Some(1 << 30) };
    let config = TapeConfig { retention, sync_bytes, disk: disk.clone(), ..TapeConfig::default() };
    let tape = Tape::open(dir.path(), config).expect("open");
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
            delays
        })
    };
    disk.0.lock().expect("the list of syncs").clear();
    let (start, mut id) = (Instant::now(), 0);
    while start.elapsed() < length {
        if early(start, id, per_second) {
            continue;
        }
        for _ in 0..BATCH {
            id += 1;
            lane.append(no, &trade(id)).expect("append");
        }
        lane.commit().expect("commit");
    }
    let synced = tape.synced_seq(&topic).unwrap_or(0);
    let took = start.elapsed();
    let syncs = std::mem::take(&mut *disk.0.lock().expect("the list of syncs"));
    Part::new(id, synced, took, syncs, sampler.join().expect("sampler"))
}

/// Groups of the tape's size, one after the other, without a tape.
fn bare(sync_bytes: u64, length: Duration) -> Part {
    let dir = folder();
    let bytes = vec![7_u8; sync_bytes as usize];
    let mut file = File::create(dir.path().join("bare")).expect("create");
    let (start, mut syncs, mut at, mut written) = (Instant::now(), Vec::new(), 0, 0);
    while start.elapsed() < length {
        if at + sync_bytes > SEGMENT {
            file = File::create(dir.path().join(format!("bare-{written}"))).expect("create");
            at = 0;
        }
        file.write_all_at(&bytes, at).expect("write");
        at += sync_bytes;
        written += sync_bytes;
        syncs.push(timed(|| file.sync_data()).expect("fdatasync"));
    }
    Part::new(written / RECORD, written / RECORD, start.elapsed(), syncs, Vec::new())
}

/// A writer at 1 M records/s and a thread that syncs, without a tape.
fn bare_paced(sync_bytes: u64, length: Duration, before: bool) -> Part {
    let dir = folder();
    let file = Arc::new(Mutex::new(Arc::new(File::create(dir.path().join("bare-0")).expect("create"))));
    if before {
        let (file, zeros) = (file.lock().expect("the file").clone(), vec![0; 1 << 20]);
        (0..SEGMENT >> 20).for_each(|mib| file.write_all_at(&zeros, mib << 20).expect("write"));
        file.sync_all().expect("fsync");
    }
    let (written, synced, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (wanted, wake) = (Mutex::new(false), Condvar::new());
    let (start, batch) = (Instant::now(), vec![7_u8; (BATCH * RECORD) as usize]);
    let syncs = thread::scope(|scope| {
        let syncer = scope.spawn(|| {
            let mut syncs = Vec::new();
            while !stop.load(Ordering::Acquire) {
                {
                    let mut wanted = wanted.lock().expect("wanted");
                    while !*wanted {
                        wanted = wake.wait(wanted).expect("wanted");
                    }
                    *wanted = false;
                }
                let (upto, file) = (written.load(Ordering::Acquire), file.lock().expect("the file").clone());
                syncs.push(timed(|| file.sync_data()).expect("fdatasync"));
                synced.store(upto, Ordering::Release);
            }
            syncs
        });
        let (mut at, mut asked) = (0, 0);
        while start.elapsed() < length {
            let total = written.load(Ordering::Relaxed);
            if early(start, total / RECORD, Some(PACE)) {
                continue;
            }
            let full = at + batch.len() as u64 > SEGMENT;
            if full && before {
                at = 0;
            }
            let current = if full && !before {
                let next = Arc::new(File::create(dir.path().join(format!("bare-{total}"))).expect("create"));
                let old = std::mem::replace(&mut *file.lock().expect("the file"), next.clone());
                drop(old);
                at = 0;
                next
            } else {
                file.lock().expect("the file").clone()
            };
            current.write_all_at(&batch, at).expect("write");
            at += batch.len() as u64;
            let total = written.fetch_add(batch.len() as u64, Ordering::AcqRel) + batch.len() as u64;
            if total - asked >= sync_bytes {
                asked = total;
                *wanted.lock().expect("wanted") = true;
                wake.notify_one();
            }
        }
        stop.store(true, Ordering::Release);
        *wanted.lock().expect("wanted") = true;
        wake.notify_one();
        syncer.join().expect("the sync thread")
    });
    let (written, synced) = (written.load(Ordering::Relaxed), synced.load(Ordering::Relaxed));
    Part::new(written / RECORD, synced / RECORD, start.elapsed(), syncs, Vec::new())
}

fn folder() -> TempDir {
    match std::env::var_os("WHOLETAPE_BENCH_DIR") {
        Some(d) => TempDir::new_in(d).expect("WHOLETAPE_BENCH_DIR is a folder"),
        None => TempDir::new().expect("a temporary folder"),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Median and range over the rounds.
fn spread(parts: &[Part], of: impl Fn(&Part) -> f64) -> String {
    let mut all: Vec<f64> = parts.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    match (all.first(), all.last()) {
        (Some(low), Some(high)) => format!("{:.2} [{low:.2}–{high:.2}]", all[all.len() / 2]),
        _ => "none".to_owned(),
    }
}

fn main() {
    let length = Duration::from_secs(setting("WHOLETAPE_BENCH_SECONDS", 2));
    let rounds = setting("WHOLETAPE_BENCH_ROUNDS", 5);
    let sync_bytes = setting("WHOLETAPE_BENCH_SYNC_KIB", TapeConfig::default().sync_bytes >> 10) << 10;
    let names = [
        "bare, back to back",
        "bare, paced 1 M/s",
        "bare, paced 1 M/s, written before",
        "tape, paced 1 M/s",
        "tape, full speed",
        "tape, 50 000/s",
    ];
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|c| name.contains(c.as_str()));
    let mut parts: [Vec<Part>; 6] = Default::default();
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("groups of {} KiB, {RECORD} B a record; load average before: {}", sync_bytes >> 10, load().trim());
    for _ in 0..rounds {
        for (i, part) in parts.iter_mut().enumerate().filter(|(i, _)| runs(names[*i])) {
            // The files of the part before are removed and their blocks given back: not this part's time.
            thread::sleep(Duration::from_millis(500));
            part.push(match i {
                0 => bare(sync_bytes, length),
                1 => bare_paced(sync_bytes, length, false),
                2 => bare_paced(sync_bytes, length, true),
                3 => tape(Some(PACE), sync_bytes, length),
                4 => tape(None, sync_bytes, length),
                _ => tape(Some(50_000), sync_bytes, length),
            });
        }
    }
    println!("median over {rounds} rounds [range]; times of one sync in ms; load average after: {}", load().trim());
    for (name, parts) in names.iter().zip(&parts).filter(|(_, parts)| !parts.is_empty()) {
        let show = |of: fn(&Part) -> f64| spread(parts, of);
        println!("{name}");
        println!("    sync p50 {}  p99 {}  max {}", show(|p| p.p50), show(|p| p.p99), show(|p| p.max));
        println!("    p99 without waiting for a CPU {}  syncs/s {}", show(|p| p.disk99), show(|p| p.syncs));
        println!("    M/s written {}  durable {}", show(|p| p.written), show(|p| p.durable));
        if name.starts_with("tape") {
            println!("    commit to disk p50 {}  p99 {}", show(|p| p.delay50), show(|p| p.delay99));
        }
    }
}
