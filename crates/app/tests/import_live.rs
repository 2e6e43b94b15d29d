//! `heal import` through the running process: live rows, REST and the archive bring the same trades at the same time.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Running, SOON, last_json, wholetape};
use serde_json::Value;
use wholetape_model::{Body, GapState, HealSource, RowFlags, Topic};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

const DAY_MS: i64 = 86_400_000;

struct Holds {
    ids: Vec<u64>,
    late: u64,
    gaps: BTreeMap<u64, (GapState, HealSource)>,
}

fn holds(dir: &Path) -> Holds {
    let tape = Tape::open_reader(&dir.join("data/tape")).unwrap();
    let topic = Topic::parse("trade.BTCUSDT.BINANCE").expect("a topic");
    let mut reader = tape.reader(&topic, From::Seq(0), ReaderOptions::default()).unwrap();
    let (mut holds, mut batch) = (Holds { ids: vec![], late: 0, gaps: BTreeMap::new() }, Vec::new());
    while reader.poll_next(&mut batch, 4_096) > 0 {
        for delivery in batch.drain(..) {
            let Delivery::Record(shared) = delivery else { panic!("{delivery:?}") };
            match shared.record().view().unwrap() {
                Body::Trade(trade) => {
                    holds.ids.extend(trade.id.number());
                    holds.late += u64::from(shared.record().flags().has(RowFlags::LATE_ARCHIVE));
                }
                Body::Gap(gap) => _ = holds.gaps.insert(gap.gap, (gap.state, gap.source)),
                _ => {}
            }
        }
    }
    holds
}

fn published(dir: &Path) -> BTreeMap<u64, wholetape_sim::truth::AggTrade> {
    let truth = wholetape_sim::truth::load(&dir.join("sim")).unwrap();
    truth.venues.into_values().next().unwrap().instruments.remove("BTCUSDT").unwrap().agg_trades
}

/// What the venue published so far, as its archive prints it: one file a day (a test may run at midnight).
fn archive(dir: &Path) -> PathBuf {
    let root = dir.join("archive/data/spot/daily/aggTrades/BTCUSDT");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).unwrap();
    let mut files: BTreeMap<i64, String> = BTreeMap::new();
    for t in published(dir).values() {
        let text = files.entry(t.time_ms.div_euclid(DAY_MS)).or_default();
        let (maker, time) = (if t.buyer_is_maker { "True" } else { "False" }, t.time_ms * 1_000 + 321);
        text.push_str(&format!("{},{},{},{},{},{time},{maker},True\n", t.id, t.price, t.size, t.first_id, t.last_id));
    }
    for (day, text) in files {
        let date = wholetape_model::Ts::from_millis(day * DAY_MS).to_string();
        std::fs::write(root.join(format!("BTCUSDT-aggTrades-{}.csv", &date[..10])), text).unwrap();
    }
    dir.join("archive")
}

fn metric(page: &str, name: &str) -> u64 {
    let address = page.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let of = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) as u64;
    text.lines().filter(|l| l.starts_with(name) && l.contains("source=\"archive\"")).map(of).sum()
}

/// Records for a while, is killed, misses a while, goes on; then the archive is imported through it while it records.
fn through_the_process(heal: bool, faults: &str) -> (Value, Holds) {
    let dir = tempfile::tempdir().unwrap();
    let args = ["sim", "--json", "--venue", "binance-spot", "--history", "90", "--faults", faults, "--data"];
    let sim = Running::start(wholetape().args(args).arg(dir.path().join("sim")));
    let keys = format!("[[feed.line]]\nbacklog = \"0s\"\nheal = {heal}\n");
    let snippet = sim.json(SOON)["config"].as_str().unwrap().replace("[[feed.line]]\n", &keys);
    let config = dir.path().join("wholetape.toml");
    std::fs::write(&config, format!("data = {:?}\n{snippet}", dir.path().join("data"))).unwrap();
    let run = || {
        let mut command = wholetape();
        command.args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null());
        Running::start(&mut command)
    };
    let mut first = run();
    first.json(SOON);
    let recorded = |n: usize| {
        let began = Instant::now();
        while !std::panic::catch_unwind(|| holds(dir.path()).ids.len() > n).unwrap_or(false) {
            assert!(began.elapsed() < SOON, "nothing is recorded");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    recorded(60);
    first.kill9();
    let before = holds(dir.path()).ids.len();
    std::thread::sleep(Duration::from_secs(2));
    let second = run();
    let started = second.json(SOON);
    recorded(before + 5);
    let files = archive(dir.path());
    let import = || {
        let mut command = wholetape();
        command.args(["heal", "import", "binance-archive", "--json", "-c"]).arg(&config).arg(&files);
        last_json(&command.output().unwrap())
    };
    let done = import();
    assert_eq!((&done["complete"], &done["failed"]), (&true.into(), &0.into()), "{done}");
    let again = import();
    assert_eq!((&again["complete"], &again["healed"]), (&true.into(), &0.into()), "{again}");
    // Counts are handed over several times a second.
    let (page, began) = (started["page"].as_str().unwrap(), Instant::now());
    while metric(page, "feed_healed_rows_total") != done["healed"].as_u64().unwrap() {
        assert!(began.elapsed() < SOON, "{} rows are counted: {done}", metric(page, "feed_healed_rows_total"));
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    second.terminate();
    assert_eq!(second.json(SOON)["event"], "stopped");
    drop(sim);
    let holds = holds(dir.path());
    let mut ids = holds.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), holds.ids.len(), "something is there twice");
    let last = std::fs::read_dir(files.join("data/spot/daily/aggTrades/BTCUSDT")).unwrap().count();
    assert!(last >= 1);
    let known = done["rows"].as_u64().unwrap() as usize;
    let truth: Vec<u64> = published(dir.path()).into_keys().collect();
    assert_eq!(ids[..known], truth[..known], "everything in the archive is held");
    (done, holds)
}

#[test]
fn what_was_lost_without_rest_comes_from_the_archive() {
    let (done, holds) = through_the_process(false, "none");
    assert!(holds.late > 200, "{done}");
    let from_archive = (GapState::Healed, HealSource::Archive);
    assert!(holds.gaps.len() >= 2 && holds.gaps.values().all(|g| *g == from_archive), "{:?}", holds.gaps);
}

#[test]
fn rest_and_the_archive_heal_the_same_hole_and_nothing_is_there_twice() {
    let (_, holds) = through_the_process(true, "rough");
    assert!(holds.gaps.values().any(|g| *g == (GapState::Healed, HealSource::Archive)), "{:?}", holds.gaps);
}
