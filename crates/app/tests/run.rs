//! `run` against an exchange that is another process and known by its configuration alone, and what a stranger meets there.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Running, wholetape};
use serde_json::Value;
use wholetape_model::{Body, Kind, LinkCause};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

const SOON: Duration = Duration::from_secs(30);

/// A simulated exchange, and a configuration that reaches it.
fn exchange(dir: &Path, args: &[&str]) -> (Running, Value, PathBuf) {
    let sim = Running::start(wholetape().args(["sim", "--json", "--data"]).arg(dir.join("sim")).args(args));
    let started = sim.json(SOON);
    let config = dir.join("wholetape.toml");
    let text = format!("data = {:?}\n{}", dir.join("data"), started["config"].as_str().unwrap());
    std::fs::File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
    (sim, started, config)
}

fn rows(dir: &Path, kind: Kind) -> Vec<(String, u64)> {
    let tape = Tape::open_reader(&dir.join("data/tape")).unwrap();
    tape.topics().into_iter().filter(|t| t.topic.kind() == kind).map(|t| (t.topic.to_string(), t.head)).collect()
}

#[test]
fn a_foreign_exchange_is_recorded_and_sigterm_ends_it_well() {
    let dir = tempfile::tempdir().unwrap();
    let (_sim, _, config) = exchange(dir.path(), &[]);
    let mut run =
        Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null()));
    let started = run.json(SOON);
    assert!(started["client"].as_str().unwrap().starts_with("ws://127.0.0.1:"));
    std::thread::sleep(Duration::from_secs(4));
    run.terminate();
    let stopped = run.json(SOON);
    assert_eq!(stopped["event"], "stopped");
    assert!(run.child.wait().unwrap().success());
    let trades = rows(dir.path(), Kind::Trade);
    assert!(trades.len() == 6 && trades.iter().all(|(_, n)| *n > 5), "{trades:?}");
    // A clean end is known as one: the same tape goes on with `--seconds`.
    let again =
        wholetape().args(["run", "--seconds", "2", "--port", "0", "--json", "-c"]).arg(&config).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let more = rows(dir.path(), Kind::Trade);
    assert!(more.iter().zip(&trades).all(|(now, before)| now.1 > before.1), "{trades:?} {more:?}");
}

#[test]
fn instruments_chosen_by_pattern_are_those_that_the_venue_lists() {
    let dir = tempfile::tempdir().unwrap();
    let (_sim, _, config) = exchange(dir.path(), &["--venue", "binance-usdm"]);
    let text = std::fs::read_to_string(&config).unwrap();
    let from = text.find("instruments = [").expect("the snippet names instruments");
    let to = from + text[from..].find('\n').unwrap();
    let chosen = format!("{}instruments = [\"*TC*-PERP.BINANCE\"]{}", &text[..from], &text[to..]);
    std::fs::write(&config, &chosen).unwrap();
    let check = wholetape().args(["check", "-c"]).arg(&config).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let run = wholetape().args(["run", "--seconds", "4", "--port", "0", "--json", "-c"]).arg(&config).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let trades = rows(dir.path(), Kind::Trade);
    assert_eq!(trades.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), ["trade.BTCUSDT-PERP.BINANCE"]);
    // A pattern that the venue's list does not satisfy is a problem with its key, not a start with nothing.
    std::fs::write(&config, chosen.replace("*TC*", "NOSUCH*")).unwrap();
    let run = wholetape().args(["run", "--seconds", "1", "--port", "0", "-c"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("NOSUCH*"), "{said}");
}

#[test]
fn an_address_without_approval_is_refused_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    std::fs::write(
        &config,
        "[[feed.line]]\nvenue = \"binance-spot\"\ninstruments = [\"BTCUSDT\"]\nws = [\"ws://127.0.0.1:9\"]\nrest = [\"http://127.0.0.1:9\"]\n",
    )
    .unwrap();
    let run = wholetape().args(["run", "-c"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.code() == Some(2) && said.contains("feed.line[0].ws") && said.contains("approved"), "{said}");
    let check = wholetape().args(["check", "--json", "-c"]).arg(&config).output().unwrap();
    let found: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(check.status.code() == Some(1) && found["problems"].as_array().unwrap().len() == 2, "{found}");
}

/// Link events of a tape that may still be written.
fn links(dir: &Path) -> Vec<(LinkCause, String, i64)> {
    let Ok(tape) = Tape::open_reader(&dir.join("data/tape")) else { return Vec::new() };
    let mut all = Vec::new();
    for topic in tape.topics().into_iter().filter(|t| t.topic.kind() == Kind::Link) {
        let mut reader = tape.reader(&topic.topic, From::Seq(0), ReaderOptions::default()).unwrap();
        let mut batch = Vec::new();
        while reader.poll_next(&mut batch, 512) > 0 {
            for delivery in batch.drain(..) {
                if let Delivery::Record(shared) = delivery
                    && let Ok(Body::Link(link)) = shared.record().view()
                {
                    all.push((link.cause, link.why.to_owned(), shared.record().ts_recv().0));
                }
            }
        }
    }
    all
}

#[test]
fn a_subscription_that_was_accepted_and_stays_silent_is_named_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let silence = r#"{"kind":"ack_silence","venue":"binance-spot","stream":"btcusdt@bookTicker"}"#;
    let (_sim, _, config) = exchange(dir.path(), &["--venue", "binance-spot", "--inject", silence]);
    let mut run =
        Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null()));
    run.json(SOON);
    let begin = Instant::now();
    let named = loop {
        let found = links(dir.path()).into_iter().find(|(cause, ..)| *cause == LinkCause::Silent);
        if found.is_some() || begin.elapsed() > SOON * 2 {
            break found;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let (_, why, _) = named.expect("the silence is named");
    assert!(why.contains("quote.BTCUSDT.BINANCE"), "{why}");
    run.terminate();
    run.child.wait().unwrap();
}

#[test]
fn ten_thousand_garbage_frames_a_second_do_not_flood_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let flood = r#"{"kind":"garbage","venue":"binance-spot","per_second":10000,"millis":3000}@3"#;
    let (_sim, _, config) = exchange(dir.path(), &["--venue", "binance-spot", "--inject", flood]);
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let run = wholetape()
        .args(["run", "--seconds", "9", "--port", "0", "--json", "--set", "log.format=json", "-c"])
        .arg(&config)
        .stderr(log)
        .output()
        .unwrap();
    assert!(run.status.success());
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let lines = log.lines().count();
    assert!(lines < 200, "{lines} lines of log for 30 000 garbage frames");
    assert!(
        log.contains("count"),
        "folded lines tell their count: {}",
        log.lines().take(20).collect::<Vec<_>>().join("\n")
    );
    // The line lives on.
    let trades = rows(dir.path(), Kind::Trade);
    assert!(trades.iter().all(|(_, n)| *n > 5), "{trades:?}");
}

#[test]
fn doctor_and_defaults_answer_people_and_programs() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = wholetape().arg("defaults").output().unwrap();
    let config = dir.path().join("c.toml");
    std::fs::write(&config, &defaults.stdout).unwrap();
    assert!(wholetape().args(["check", "-c"]).arg(&config).status().unwrap().success());
    let doctor =
        wholetape().args(["doctor", "--json", "--data"]).arg(dir.path()).arg("-c").arg(&config).output().unwrap();
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert!(found["findings"].as_array().unwrap().len() >= 6, "{found}");
}
