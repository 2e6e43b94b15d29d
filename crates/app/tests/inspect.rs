//! `wholetape inspect --json` against the truth of every Binance recording: what a stranger would run.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Third-party data: read where it lies, never shipped.
fn captures() -> Option<PathBuf> {
    let dir = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), PathBuf::from);
    if dir.join("binance-usdm").is_dir() {
        return Some(dir);
    }
    println!("skipped: no captures");
    None
}

fn inspect(file: &Path) -> Value {
    let out = Command::new(env!("CARGO_BIN_EXE_wholetape")).arg("inspect").arg(file).arg("--json").output().unwrap();
    assert!(out.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

/// Only the keys that we print; everything else in the truth is about the recording.
fn only(value: &Value, keys: &[&str]) -> Value {
    match value.as_object() {
        Some(map) => {
            map.iter().filter(|(k, _)| keys.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        None => value.clone(),
    }
}

fn each(value: &Value, keys: &[&str]) -> Value {
    value.as_object().map_or(json!({}), |m| m.iter().map(|(k, v)| (k.clone(), only(v, keys))).collect())
}

const TRADES: [&str; 7] = ["count", "sum_size", "sum_price_x_size", "first_id", "last_id", "id_gaps", "id_repeats"];
const BOOKS: [&str; 11] = [
    "deltas_seen",
    "deltas_applied",
    "deltas_discarded_old",
    "sequence_gaps",
    "final_update_id",
    "final_bids_top10",
    "final_asks_top10",
    "best_path_sha256",
    "final_book_sha256",
    "checksums_checked",
    "checksums_failed",
];

#[test]
fn every_binance_recording_equals_its_truth() {
    let Some(dir) = captures() else { return };
    let mut checked = 0;
    for venue in ["binance-spot", "binance-usdm", "binance-coinm", "binance-us"] {
        for entry in std::fs::read_dir(dir.join(venue)).unwrap() {
            let path = entry.unwrap().path();
            let Some(stem) = path.to_str().and_then(|p| p.strip_suffix(".truth.json")) else { continue };
            let truth: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let ours = inspect(Path::new(&format!("{stem}.jsonl.zst")));
            for (key, fields) in [("trades", &TRADES[..]), ("agg_trades", &TRADES[..]), ("books", &BOOKS[..])] {
                let mut expected = each(&truth[key], fields);
                if key == "books" {
                    // A book that never had a snapshot has no top in the truth either way.
                    for book in expected.as_object_mut().unwrap().values_mut() {
                        for side in ["final_bids_top10", "final_asks_top10"] {
                            book[side] = if book[side].is_null() { json!([]) } else { book[side].clone() };
                        }
                    }
                }
                assert_eq!(ours[key], expected, "{stem} {key}");
            }
            states_equal(&ours, &truth, stem);
            all_was_read(&ours, &truth, stem);
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} recordings");
}

/// What is only counted, where the recording has it.
#[track_caller]
fn states_equal(ours: &Value, truth: &Value, stem: &str) {
    for key in ["funding", "liquidations", "candle_updates", "ticker_updates"] {
        let expected = if truth[key].is_null() { json!({}) } else { truth[key].clone() };
        assert_eq!(ours[key], expected, "{stem} {key}");
    }
}

#[track_caller]
fn all_was_read(ours: &Value, truth: &Value, stem: &str) {
    assert_eq!((&ours["unknown_frames"], &ours["errors"]), (&json!(0), &json!(0)), "{stem}");
    assert_eq!(ours["lines"], truth["lines"], "{stem}");
}

/// Ids are texts in this venue's truth, and ids of what was traded before the recording are not counted as gaps there. Of the recording
/// with three connections that carry the same, books are per connection and trades are counted once.
#[test]
fn every_okx_recording_equals_its_truth() {
    let Some(dir) = captures() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(dir.join("okx")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.to_str().and_then(|p| p.strip_suffix(".truth.json")) else { continue };
        let truth: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let ours = inspect(Path::new(&format!("{stem}.jsonl.zst")));
        let mut expected = each(&truth["trades"], &TRADES);
        for trades in expected.as_object_mut().unwrap().values_mut() {
            for id in ["first_id", "last_id"] {
                trades[id] = json!(trades[id].as_str().unwrap().parse::<u64>().unwrap());
            }
        }
        assert_eq!(each(&ours["trades"], &TRADES[..5]), expected, "{stem}");
        assert_eq!(ours["agg_trades"], json!({}), "{stem}: one id space");
        assert_eq!(ours["books"], each(&truth["books"], &BOOKS), "{stem}");
        let failed = ours["books"].as_object().unwrap().values().map(|b| b["checksums_failed"].as_u64().unwrap());
        assert_eq!(failed.sum::<u64>(), 0, "{stem}");
        states_equal(&ours, &truth, stem);
        let repeats: u64 =
            ours["trades"].as_object().unwrap().values().map(|t| t["id_repeats"].as_u64().unwrap()).sum();
        assert_eq!(repeats, 0, "{stem}: within one connection none comes twice");
        all_was_read(&ours, &truth, stem);
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} recordings");
}

/// One recording holds two markets whose names are the same. Ids and times are texts in this venue's truth, and ids do not count.
#[test]
fn every_bybit_recording_equals_its_truth() {
    let Some(dir) = captures() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(dir.join("bybit")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.to_str().and_then(|p| p.strip_suffix(".truth.json")) else { continue };
        let truth: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut ours = inspect(Path::new(&format!("{stem}.jsonl.zst")));
        let or_nothing = |key: &str| if truth[key].is_null() { json!({}) } else { truth[key].clone() };
        for trades in ours["trades"].as_object_mut().unwrap().values_mut() {
            assert_eq!((&trades["id_gaps"], &trades["id_repeats"]), (&Value::Null, &json!(0)), "{stem}");
            for id in ["first_id", "last_id"] {
                let number = trades[id].as_u64().map(|n| json!(n.to_string()));
                trades[id] = number.unwrap_or_else(|| trades[id].clone());
            }
        }
        assert_eq!(each(&ours["trades"], &TRADES[..5]), each(&truth["trades"], &TRADES[..5]), "{stem}");
        assert_eq!(ours["agg_trades"], json!({}), "{stem}");
        assert_eq!(ours["books"], each(&truth["books"], &BOOKS), "{stem}");
        for funding in ours["funding"].as_object_mut().unwrap().values_mut() {
            let times = funding["next_funding_times"].as_array().unwrap().iter().map(|t| json!(t.to_string()));
            funding["next_funding_times"] = times.collect();
        }
        assert_eq!(ours["funding"], or_nothing("funding"), "{stem}");
        assert_eq!(each(&ours["open_interest"], &["updates", "last"]), or_nothing("open_interest"), "{stem}");
        let mut tickers = or_nothing("ticker_updates");
        // The truth tells snapshots and deltas apart as well.
        tickers.as_object_mut().unwrap().retain(|name, _| !name.ends_with(":delta") && !name.ends_with(":snapshot"));
        assert_eq!(ours["ticker_updates"], tickers, "{stem}");
        for key in ["liquidations", "candle_updates"] {
            assert_eq!(ours[key], or_nothing(key), "{stem} {key}");
        }
        all_was_read(&ours, &truth, stem);
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} recordings");
}

/// Of the first version of the protocol: trades have no ids, and a book's path is told by checksums.
#[test]
fn every_kraken_recording_equals_its_truth() {
    let Some(dir) = captures() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(dir.join("kraken")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.to_str().and_then(|p| p.strip_suffix(".truth.json")) else { continue };
        let truth: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let ours = inspect(Path::new(&format!("{stem}.jsonl.zst")));
        assert_eq!(each(&ours["trades"], &TRADES[..5]), each(&truth["trades"], &TRADES[..5]), "{stem}");
        assert_eq!(ours["agg_trades"], json!({}), "{stem}");
        for trades in ours["trades"].as_object().unwrap().values() {
            assert_eq!((&trades["id_gaps"], &trades["id_repeats"]), (&Value::Null, &json!(0)), "{stem}");
        }
        assert_eq!(ours["books"], each(&truth["books"], &BOOKS), "{stem}");
        let sum = |of: &str| ours["books"].as_object().unwrap().values().map(|b| b[of].as_u64().unwrap()).sum::<u64>();
        assert_eq!(
            (json!(sum("checksums_checked")), sum("checksums_failed")),
            (truth["book_totals"]["checksums_checked"].clone(), 0)
        );
        states_equal(&ours, &truth, stem);
        all_was_read(&ours, &truth, stem);
        checked += 1;
    }
    assert!(checked >= 1, "only {checked} recordings");
}

/// Examples of the second version: no recording, so there is no truth; every message is read.
#[test]
fn kraken_examples_are_read() {
    let Some(dir) = captures() else { return };
    let ours = inspect(&dir.join("kraken/schema_examples.jsonl"));
    assert_eq!((&ours["unknown_frames"], &ours["errors"]), (&json!(0), &json!(0)), "{ours}");
    assert_eq!(only(&ours["trades"]["BTC/USD"], &["count"]), json!({"count": 4}));
    assert_eq!(ours["ticker_updates"], json!({"BTC/USD": 1}));
}

/// These are examples of many connections and no recording, so there is no truth: every message is one, and each is read or counted.
#[test]
fn dydx_examples_are_read() {
    let Some(dir) = captures() else { return };
    let mut streams = Value::Null;
    // The others hold answers of REST alone, and are no recording of a socket.
    for path in ["schema_examples.jsonl", "private_examples.jsonl"].map(|name| dir.join("dydx-v4").join(name)) {
        let ours = inspect(&path);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(ours["lines"], json!(lines), "{}", path.display());
        if path.ends_with("schema_examples.jsonl") {
            streams = ours;
        }
    }
    // Two matches of one block.
    assert_eq!(only(&streams["trades"]["ETH-USD"], &["count", "sum_size"]), json!({"count": 2, "sum_size": "1.748"}));
    assert_eq!(streams["unknown_frames"], json!(0), "{streams}");
}

#[test]
fn without_a_snapshot_no_book_is_published() {
    let Some(dir) = captures() else { return };
    let ours = inspect(&dir.join("binance-spot/btcusdt_20230405_nosnapshot.jsonl.zst"));
    let book = &ours["books"]["BTCUSDT"];
    assert_eq!((&book["deltas_applied"], &book["final_update_id"]), (&json!(0), &Value::Null));
    assert_eq!(book["final_bids_top10"], json!([]));
}

#[test]
fn a_file_that_is_none_is_named_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.jsonl");
    std::fs::write(&file, "{\"recv_ns\":1}\n").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_wholetape")).arg("inspect").arg(&file).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text.contains("line 1 is no recorded message") && text.trim_end().lines().count() == 1, "{text}");
}
