//! The backlog and `heal backfill` as a stranger meets them: processes, files, the control socket.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Running, last_json, wholetape};
use serde_json::Value;
use wholetape_model::{Body, GapState, Topic};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

const SOON: Duration = Duration::from_secs(60);
const INSTRUMENT: &str = "BTCUSDT.BINANCE";

/// A simulated spot exchange that has traded for so many seconds, and a configuration with these extra line keys.
fn exchange(dir: &Path, history: u32, keys: &str) -> (Running, PathBuf) {
    let history = history.to_string();
    let sim = Running::start(
        wholetape()
            .args(["sim", "--json", "--venue", "binance-spot", "--history", &history, "--data"])
            .arg(dir.join("sim")),
    );
    let started = sim.json(SOON);
    let snippet = started["config"].as_str().unwrap().replace("[[feed.line]]\n", &format!("[[feed.line]]\n{keys}\n"));
    assert!(snippet.contains(keys));
    let config = dir.join("wholetape.toml");
    std::fs::write(&config, format!("data = {:?}\n{snippet}", dir.join("data"))).unwrap();
    (sim, config)
}

/// Trade ids in order of the tape, and the last state of every gap.
fn held(dir: &Path) -> (Vec<u64>, BTreeMap<u64, GapState>) {
    let tape = Tape::open_reader(&dir.join("data/tape")).unwrap();
    let topic = Topic::parse(&format!("trade.{INSTRUMENT}")).expect("a topic");
    let (mut ids, mut gaps) = (Vec::new(), BTreeMap::new());
    let mut reader =
        tape.reader(&topic, From::Seq(0), ReaderOptions { verify: true, ..ReaderOptions::default() }).unwrap();
    let mut batch = Vec::new();
    while reader.poll_next(&mut batch, 4_096) > 0 {
        for delivery in batch.drain(..) {
            let Delivery::Record(shared) = delivery else { panic!("{delivery:?}") };
            match shared.record().view().unwrap() {
                Body::Trade(trade) => ids.extend(trade.id.number()),
                Body::Gap(gap) => _ = gaps.insert(gap.gap, gap.state),
                _ => {}
            }
        }
    }
    (ids, gaps)
}

fn published(dir: &Path) -> Vec<(u64, i64)> {
    let truth = wholetape_sim::truth::load(&dir.join("sim")).unwrap();
    let venue = truth.venues.into_values().next().unwrap();
    venue.instruments["BTCUSDT"].agg_trades.values().map(|t| (t.id, t.time_ms)).collect()
}

/// Each of `ids` once; returns them sorted.
fn once(mut ids: Vec<u64>) -> Vec<u64> {
    let n = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), n, "something is there twice");
    ids
}

fn run(config: &Path) -> Running {
    Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(config).stderr(Stdio::null()))
}

fn heal(config: &Path, from: &str, to: &str) -> Command {
    let mut command = wholetape();
    command
        .args(["heal", "backfill", "--instrument", INSTRUMENT, "--from", from, "--to", to, "--json", "-c"])
        .arg(config);
    command
}

#[test]
fn a_backlog_is_whole_though_a_kill_came_in_its_midst() {
    let dir = tempfile::tempdir().unwrap();
    // A third of the weight: the backlog takes long enough to be interrupted.
    let (_sim, config) = exchange(dir.path(), 500, "weight_per_minute = 1200");
    let mut first = run(&config);
    first.json(SOON);
    let began = Instant::now();
    while began.elapsed() < SOON {
        let open = std::panic::catch_unwind(|| held(dir.path()))
            .is_ok_and(|(ids, gaps)| ids.len() > 1_500 && !gaps.is_empty());
        if open {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill9();
    let (before, _) = held(dir.path());
    let second = run(&config);
    second.json(SOON);
    let began = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let (ids, gaps) = held(dir.path());
        let whole = !gaps.is_empty() && gaps.values().all(|state| *state != GapState::Open) && ids.len() > before.len();
        if whole && began.elapsed() > Duration::from_secs(4) {
            break;
        }
        assert!(began.elapsed() < SOON, "not whole: {} rows, {gaps:?}", ids.len());
    }
    second.terminate();
    assert_eq!(second.json(SOON)["event"], "stopped");
    let (ids, gaps) = held(dir.path());
    assert!(gaps.values().all(|state| *state == GapState::Healed), "{gaps:?}");
    let ids = once(ids);
    let truth: Vec<u64> =
        published(dir.path()).into_iter().map(|t| t.0).filter(|id| *id <= ids[ids.len() - 1]).collect();
    assert!(truth.len() > 5_000, "{}", truth.len());
    assert_eq!(ids, truth, "everything since the venue's first trade, which is younger than the backlog");
}

#[test]
fn backfill_works_alone_and_through_the_running_process() {
    let dir = tempfile::tempdir().unwrap();
    let (_sim, config) = exchange(dir.path(), 600, "backlog = \"0s\"");
    // Alone: a stretch in the middle, exactly. Named by its times, since a busy machine takes its own.
    let ago =
        |s: u64| humantime::format_rfc3339_seconds(std::time::SystemTime::now() - Duration::from_secs(s)).to_string();
    let (from, to, inner) = (ago(400), ago(300), (ago(390), ago(310)));
    let done = last_json(&heal(&config, &from, &to).output().unwrap());
    assert_eq!(
        (&done["event"], &done["complete"], &done["missing"]),
        (&"done".into(), &true.into(), &0.into()),
        "{done}"
    );
    let (ids, gaps) = held(dir.path());
    let ids = once(ids);
    assert_eq!((Some(ids[0]), Some(ids[ids.len() - 1])), (done["first_id"].as_u64(), done["last_id"].as_u64()));
    let truth = published(dir.path());
    let between: Vec<_> = truth.iter().filter(|t| (ids[0]..=ids[ids.len() - 1]).contains(&t.0)).collect();
    assert_eq!(between.len(), ids.len());
    let span = between[between.len() - 1].1 - between[0].1;
    assert!((97_000..=101_000).contains(&span), "{span} ms of 100 s");
    assert!(gaps.values().all(|state| *state == GapState::Healed), "{gaps:?}");
    // Once more: nothing is asked twice for, nothing is written twice.
    let again = last_json(&heal(&config, &inner.0, &inner.1).output().unwrap());
    assert_eq!((&again["complete"], &again["rows"]), (&true.into(), &0.into()), "{again}");

    // Through the process: its socket is its owner's alone.
    let running = run(&config);
    running.json(SOON);
    let socket = dir.path().join("data/control.sock");
    let began = Instant::now();
    while !socket.exists() && began.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let say = |text: &str| -> Value {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(say("{\"op\":\"ping\"}\n")["event"], "done");
    let refused = say("{\"op\":\"fly\"}\n");
    assert!(refused["error"].as_str().unwrap().contains("unknown request `fly`"), "{refused}");
    std::thread::sleep(Duration::from_secs(3));
    let output = heal(&config, "1h", "now").output().unwrap();
    let done = last_json(&output);
    assert!(done["complete"] == true && output.status.success(), "{done}");
    let unknown = wholetape()
        .args(["heal", "backfill", "--instrument", "XUSDT.BINANCE", "--from", "1h", "-c"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no line records XUSDT.BINANCE"), "{unknown:?}");
    running.terminate();
    assert_eq!(running.json(SOON)["event"], "stopped");
    assert!(!socket.exists(), "the socket goes with its process");
    let (ids, gaps) = held(dir.path());
    let ids = once(ids);
    let truth: Vec<u64> =
        published(dir.path()).into_iter().map(|t| t.0).filter(|id| *id <= ids[ids.len() - 1]).collect();
    assert_eq!(ids, truth, "whole from the venue's first trade on");
    assert!(gaps.values().all(|state| *state == GapState::Healed), "{gaps:?}");
}

#[test]
fn an_interrupted_backfill_stops_cleanly_and_the_same_command_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Five pages a minute: the first minute cannot be enough.
    let (_sim, config) = exchange(dir.path(), 900, "backlog = \"0s\"\nweight_per_minute = 40");
    let mut first = Running::start(&mut heal(&config, "1h", "10s"));
    let began = Instant::now();
    let filled = loop {
        let line = first.json(SOON);
        assert!(began.elapsed() < SOON && line["event"] == "progress", "{line}");
        if line["filled"].as_u64().unwrap_or(0) > 1_000 {
            break line;
        }
    };
    assert!(filled["missing"].as_u64().unwrap() > 0, "{filled}");
    let pid = first.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let last = loop {
        let line = first.json(SOON);
        if line["event"] == "done" {
            break line;
        }
    };
    assert_eq!((&last["cancelled"], &last["complete"]), (&true.into(), &false.into()), "{last}");
    assert_eq!(first.child.wait().unwrap().code(), Some(1));
    let (before, gaps) = held(dir.path());
    assert!(gaps.values().any(|state| *state == GapState::Open), "what is missing stays open on the tape");
    // With the venue's own budget the rest is quick.
    let text = std::fs::read_to_string(&config).unwrap().replace("weight_per_minute = 40\n", "");
    std::fs::write(&config, text).unwrap();
    let done = last_json(&heal(&config, "1h", "10s").output().unwrap());
    assert_eq!(done["complete"], true, "{done}");
    let (ids, gaps) = held(dir.path());
    assert_eq!(once(ids.clone()).len(), ids.len());
    assert!(ids.len() > before.len() && ids[..before.len()] == before[..]);
    assert!(gaps.values().all(|state| *state == GapState::Healed), "{gaps:?}");
}
