//! `wholetape catalog retain` as a command: what it says before, what it does, what is left.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use wholetape_model::{Body, Price, Quote, Row, RowFlags, Scales, Size, Topic, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{RealDisk, Tape, TapeConfig};

const DAY: i64 = 86_400_000_000_000;

/// Three days of quotes of two venues, long ago; the third is not sealed.
fn make(dir: &Path) {
    let config = TapeConfig { segment_bytes: 8 << 10, ..TapeConfig::default() };
    let tape = Tape::open(&dir.join("tape"), config).unwrap();
    let mut lane = tape.lane("t").unwrap();
    for topic in ["quote.BTCUSDT.BINANCE", "quote.BTCUSDT.OKX"] {
        let no = lane.topic(&Topic::parse(topic).unwrap()).unwrap();
        for i in 0..300_i64 {
            let at = 20_455 * DAY + i * DAY / 100;
            let quote =
                Quote { bid: Price(i), bid_size: Size(1), ask: Price(i + 1), ask_size: Size(1), update_id: i as u64 };
            let row = Row {
                ts_event: Ts(at),
                ts_recv: Ts(at + 1_000),
                conn: 1,
                frame: i as u32,
                flags: RowFlags::default(),
                scales: Scales { price: 2, size: 3 },
                body: Body::Quote(quote),
            };
            lane.append(no, &row).unwrap();
            lane.commit().unwrap();
        }
    }
    let catalog = Catalog::open(Arc::new(RealDisk), dir, CatalogConfig::default()).unwrap();
    let mut follower = Follower::new(catalog, Pace::default());
    let now = Ts(20_457 * DAY + DAY * 99 / 100);
    while follower.poll(&tape, now).unwrap() {}
    follower.flush(now).unwrap();
    follower.tend(now).unwrap();
    assert_eq!(follower.counts.certificates, 4);
}

fn run(dir: &Path, verb: &str, more: &[&str]) -> Output {
    let config = dir.join("wholetape.toml");
    Command::new(env!("CARGO_BIN_EXE_wholetape"))
        .args(["catalog", verb, "-c"])
        .arg(config)
        .arg("--data")
        .arg(dir)
        .args(more)
        .output()
        .unwrap()
}

fn json(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn text(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[test]
fn it_tells_what_would_go_and_then_lets_it_go() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let rules = "[tape]\nkeep_age = \"1ms\"\n[store.retention]\nkeep = \"30d\"\n\
        [[store.retention.rule]]\nvenue = \"OKX\"\nkeep = \"forever\"\n[[store.retention.rule]]\nkind = \"trade\"\nkeep = \"9d\"\n";
    std::fs::write(dir.path().join("wholetape.toml"), rules).unwrap();

    let told = json(&run(dir.path(), "retain", &["--dry-run", "--json"]));
    assert_eq!((&told["dry_run"], &told["days"], &told["rows"]), (&true.into(), &2.into(), &200.into()));
    let days: Vec<&str> = told["go"].as_array().unwrap().iter().map(|d| d["day"].as_str().unwrap()).collect();
    assert_eq!(days, ["2026-01-02", "2026-01-03"]);
    assert_eq!((&told["go"][0]["topic"], &told["go"][0]["rule"]), (&"quote.BTCUSDT.BINANCE".into(), &"keep".into()));
    assert_eq!(told["go"][0]["tables"][0]["rows"], 100);
    assert_eq!(told["stay"].as_array().unwrap().len(), 1);
    assert_eq!((&told["stay"][0]["day"], &told["stay"][0]["why"]), (&"2026-01-04".into(), &"not sealed yet".into()));
    assert_eq!(told["rules_unused"], serde_json::json!(["kind trade"]));
    // Of the tape too: all segments that are full and stored.
    assert!(told["tape_segments"].as_array().unwrap().len() > 2, "{}", told["tape_segments"]);
    let said = text(&run(dir.path(), "retain", &["--dry-run"]));
    for words in
        ["would go: 2 days of topics, 200 rows", "not sealed yet", "the rule for kind trade", "tape: t segment"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(Catalog::look(&RealDisk, dir.path()).unwrap().parts.len(), 6, "nothing was done");

    let done = json(&run(dir.path(), "retain", &["--json"]));
    assert_eq!((&done["dry_run"], &done["rows"]), (&false.into(), &200.into()));
    let state = Catalog::look(&RealDisk, dir.path()).unwrap();
    assert_eq!(state.parts.len(), 4);
    assert!(std::fs::read_dir(dir.path().join("catalog/.staging")).unwrap().next().is_none(), "space was not freed");
    let ls = json(&run(dir.path(), "ls", &["--json"]));
    assert_eq!(
        ls["let_go"],
        serde_json::json!([{
            "topic": "quote.BTCUSDT.BINANCE", "until": "2026-01-03", "rows": 200, "bytes": done["bytes"]
        }])
    );
    assert!(text(&run(dir.path(), "ls", &[])).contains("let go by retention up to 2026-01-03: 200 rows"));
    let verify = Command::new(env!("CARGO_BIN_EXE_wholetape")).arg("verify").arg(dir.path()).output().unwrap();
    assert!(text(&verify).contains("2 let go by retention"), "{}", text(&verify));
    assert_eq!(json(&run(dir.path(), "retain", &["--json"]))["days"], 0, "once");
}

#[test]
fn a_rule_that_cannot_be_read_lets_nothing_go() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    for (rules, words) in [
        ("[store.retention]\nkeep = \"1 hour\"\n", "store.retention.keep = \"1 hour\": is not between"),
        ("[store.retention]\nkept = \"30d\"\n", "store.retention.kept"),
        ("[store.retention]\nkeep = \"30d\"\n[[store.retention.rule]]\nkind = \"book\"\n", "keep"),
    ] {
        std::fs::write(dir.path().join("wholetape.toml"), rules).unwrap();
        let out = run(dir.path(), "retain", &[]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(words), "{said}");
    }
    assert_eq!(Catalog::look(&RealDisk, dir.path()).unwrap().parts.len(), 6);
}
