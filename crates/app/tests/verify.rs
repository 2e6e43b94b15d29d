//! `wholetape verify` as a command: exit status, what it names, what it says as JSON.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use wholetape_model::{Body, Price, Quote, Row, RowFlags, Scales, Size, Topic, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::cert::sign::Signer;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{RealDisk, Tape, TapeConfig};

const DAY: i64 = 86_400_000_000_000;
const SECRET: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";

/// Two days of quotes, the first one sealed and signed for.
fn make(dir: &Path) {
    let tape = Tape::open(&dir.join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let no = lane.topic(&Topic::parse("quote.BTCUSDT.BINANCE").unwrap()).unwrap();
    for i in 0..200_i64 {
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
    }
    lane.commit().unwrap();
    let catalog = Catalog::open(Arc::new(RealDisk), dir, CatalogConfig::default()).unwrap();
    let signer = Signer::parse(SECRET).unwrap();
    let mut follower = Follower::new(catalog, Pace::default()).with_signer(Some(signer));
    let now = Ts(20_456 * DAY + DAY * 99 / 100);
    while follower.poll(&tape, now).unwrap() {}
    follower.flush(now).unwrap();
    follower.tend(now).unwrap();
    assert_eq!(follower.counts.certificates, 1);
}

fn verify(dir: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wholetape")).arg("verify").arg(dir).args(more).output().unwrap()
}

#[test]
fn the_exit_status_says_it_and_the_text_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let none = verify(dir.path(), &[]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("no catalog"));
    make(dir.path());

    let clean = verify(dir.path(), &[]);
    let text = String::from_utf8(clean.stdout).unwrap();
    assert_eq!(clean.status.code(), Some(0), "{text}");
    assert!(text.starts_with("clean: "), "{text}");
    assert!(text.contains("200 rows · 1 certificates · 1 signed · 1 instrument-days certified · 1 without"), "{text}");

    let key = dir.path().join("key.pub");
    std::fs::write(&key, Signer::parse(SECRET).unwrap().public_hex()).unwrap();
    let key = key.to_str().unwrap();
    assert_eq!(verify(dir.path(), &["--public-key", key]).status.code(), Some(0));
    assert_eq!(verify(dir.path(), &["--public-key", "/nowhere"]).status.code(), Some(2));

    let certificate = dir.path().join("catalog/certificates/BTCUSDT.BINANCE/2026-01-02.r1.json");
    let good = std::fs::read_to_string(&certificate).unwrap();
    std::fs::write(&certificate, good.replace("\"rows\": 100", "\"rows\": 101")).unwrap();
    let bad = verify(dir.path(), &[]);
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{text}");
    assert!(text.contains("2026-01-02.r1.json: summary/rows: expected 100, found 101"), "{text}");

    let json = verify(dir.path(), &["--json"]);
    assert_eq!(json.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&value["clean"], &value["days"]), (&false.into(), &1.into()));
    let findings = value["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["figure"] == "blake3" && f["path"].as_str().unwrap().ends_with("r1.json")));
}
