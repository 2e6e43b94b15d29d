//! The coverage ledger as a stranger meets it: over the command, the API and files, across faults, `kill -9` and a lost checkpoint.

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use common::{Running, demo, last_json, wholetape};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

fn coverage(data: &Path, args: &[&str]) -> Output {
    wholetape().args(["coverage", "--data"]).arg(data).args(args).output().expect("the binary starts")
}

fn document(data: &Path, args: &[&str]) -> Value {
    let output = coverage(data, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    last_json(&output)
}

/// Each topic with its first and last id and how many are held.
fn trades(document: &Value) -> Vec<(String, u64, u64, u64)> {
    let n = |t: &Value, key: &str| t[key].as_u64().unwrap_or_else(|| panic!("{key} of {t}"));
    let all = document["coverage"].as_array().expect("a list");
    let trades = all.iter().filter(|t| t["kind"] == "trade");
    trades.map(|t| (t["topic"].as_str().unwrap().to_owned(), n(t, "from_id"), n(t, "to_id"), n(t, "held"))).collect()
}

#[test]
fn after_rough_faults_the_ledger_says_what_the_verdict_says() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = last_json(&demo(dir.path(), &["--seconds", "8", "--faults", "rough"]));
    assert_eq!(verdict["complete"], true, "{verdict}");
    let kept = document(dir.path(), &[]);
    for t in kept["coverage"].as_array().unwrap() {
        for key in ["unexplained", "contradicted", "repeats", "open", "unread_seqs", "unknown_to_seq"] {
            assert_eq!(t[key], 0, "{key} of {t}");
        }
        if t["kind"] == "trade" {
            assert_eq!((&t["proof"], &t["missing"]), (&"proven_by_id".into(), &0.into()), "{t}");
        }
    }
    assert!(trades(&kept).len() >= 6 && trades(&kept).iter().all(|t| t.3 > 5), "{:?}", trades(&kept));
    // Cuts damaged streams that no id protects, and that is said; trades are whole.
    assert_eq!(coverage(dir.path(), &["--fail-on-hole"]).status.code(), Some(1));
    let whole = coverage(dir.path(), &["--kind", "trade", "--fail-on-hole"]);
    let text = String::from_utf8_lossy(&whole.stdout);
    assert!(whole.status.success() && text.contains("proven by id") && text.contains("0 ids missing"), "{text}");
    assert_eq!(coverage(dir.path(), &["--kind", "status"]).status.code(), Some(2));
    assert_eq!(coverage(&dir.path().join("nowhere"), &[]).status.code(), Some(2));
    // The ledger is a fold: without its checkpoint, and with a damaged one, it is the same.
    let path = dir.path().join("tape/coverage.ckpt");
    let bytes = std::fs::read(&path).expect("the checkpoint of a clean end");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(document(dir.path(), &[]), kept);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = coverage(dir.path(), &["--json"]);
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("is damaged"), "{damaged:?}");
    assert_eq!(last_json(&damaged), kept);
}

fn get(addr: &str, path: &str) -> Value {
    let mut socket = std::net::TcpStream::connect(addr).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{text}");
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"))
}

#[test]
fn a_killed_process_forgets_nothing_and_a_restart_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Running::start(
        wholetape().args(["sim", "--json", "--venue", "binance-spot", "--data"]).arg(dir.path().join("sim")),
    );
    let started = sim.json(SOON);
    let (config, data) = (dir.path().join("wholetape.toml"), dir.path().join("data"));
    std::fs::write(&config, format!("data = {data:?}\n{}", started["config"].as_str().unwrap())).unwrap();
    let run = || {
        let mut command = wholetape();
        command.args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null());
        let run = Running::start(&mut command);
        let client = run.json(SOON)["client"].as_str().unwrap().to_owned();
        (run, client.trim_start_matches("ws://").trim_end_matches("/v1/ws").to_owned())
    };
    let (mut first, addr) = run();
    // Past the first checkpoint.
    std::thread::sleep(Duration::from_secs(13));
    let served = get(&addr, "/v1/coverage?kind=trade");
    let beside = document(&data, &["--kind", "trade"]);
    assert_eq!(served["epoch"], beside["epoch"]);
    for (a, b) in trades(&served).iter().zip(trades(&beside)) {
        assert!(a.1 == b.1 && a.2 <= b.2, "what is served and what is seen from beside begin alike: {a:?} {b:?}");
    }
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert!(data.join("tape/coverage.ckpt").exists());
    let killed = document(&data, &[]);
    let (mut second, _) = run();
    std::thread::sleep(Duration::from_secs(6));
    second.terminate();
    assert!(second.child.wait().unwrap().success());
    let after = document(&data, &[]);
    for (before, now) in trades(&killed).iter().zip(trades(&after)) {
        assert!(now.1 == before.1 && now.2 > before.2 && now.3 > before.3, "{before:?} {now:?}");
        // What was published meanwhile was asked for; nothing is missing, nothing is unexplained.
        assert_eq!(now.3, now.2 - now.1 + 1, "{now:?}");
    }
    assert_eq!(after["unexplained"], 0, "{after}");
    std::fs::remove_file(data.join("tape/coverage.ckpt")).unwrap();
    assert_eq!(document(&data, &[]), after, "the tape alone tells the same");
}
