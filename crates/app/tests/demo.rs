//! The demo's verdict and its controls: whole when it is whole, and not otherwise.

mod common;

use common::{all_under, demo, demo_of_all, last_json};
use serde_json::Value;

fn ids(verdict: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    all_under(verdict, key, &mut found);
    found.into_iter().flat_map(|list| list.as_array().cloned().unwrap_or_default()).map(|v| v.to_string()).collect()
}

#[test]
fn a_rough_demo_is_whole_and_counts_its_faults() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo_of_all(dir.path(), &["--seconds", "22", "--faults", "rough", "--seed", "11"]);
    let verdict = last_json(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(verdict["complete"] == true && output.status.success(), "{said}");
    let faults = verdict["faults"].as_object().unwrap();
    assert!(faults.len() >= 12, "{faults:?}");
    let of = |venue: &str| verdict["venues"][venue]["instruments"].as_u64().unwrap();
    let venues =
        ["binance-spot", "binance-usdm", "bybit-inverse", "bybit-linear", "bybit-spot", "dydx", "kraken", "okx"];
    assert_eq!(venues.map(of), [3, 3, 1, 2, 2, 3, 3, 3]);
    for (venue, one) in verdict["venues"].as_object().unwrap() {
        // What Bybit's cuts cost, nobody brings back; elsewhere nothing is lost.
        assert!(
            one["complete"] == true && (venue.starts_with("bybit") || one["trades_confessed"] == 0),
            "{venue}: {one}"
        );
        assert!(said.contains(&format!("{venue:13} whole")), "{said}");
    }
    for (name, one) in verdict["instruments"].as_object().unwrap() {
        assert!(one["tape"]["kinds"]["trade"]["truth"].as_u64().unwrap() > 50, "{name}");
        let trade = |who: &str, what: &str| one[who]["kinds"]["trade"][what].as_u64().unwrap_or(0);
        assert_eq!(trade("tape", "truth"), trade("client", "held") + trade("client", "confessed"), "{name}");
        assert!(one["tape"]["book_equal"] == true && one["client"]["book_equal"] == true, "{name}");
    }
}

#[test]
fn without_healing_the_missing_ids_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--seconds", "14", "--faults", "rough", "--seed", "11", "--heal", "off"]);
    let verdict = last_json(&output);
    assert_eq!((verdict["complete"].as_bool(), output.status.code()), (Some(false), Some(1)));
    let mut trades = Vec::new();
    all_under(&verdict, "trade", &mut trades);
    let missing: Vec<&Value> = trades.iter().filter_map(|t| t.get("missing_ids")).collect();
    assert!(!missing.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(missing.iter().all(|ids| ids[0].as_str().unwrap().parse::<u64>().is_ok()));
}

#[test]
fn a_broken_record_on_disk_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--seconds", "3", "--faults", "none", "--break", "tape-record"]);
    let verdict = last_json(&output);
    assert_eq!((verdict["complete"].as_bool(), output.status.code()), (Some(false), Some(1)));
    let (mut tape, mut client) = (Vec::new(), Vec::new());
    all_under(&verdict, "tape", &mut tape);
    all_under(&verdict, "client", &mut client);
    assert!(tape.iter().any(|t| !ids(t, "missing_ids").is_empty()), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(client.iter().all(|c| ids(c, "missing_ids").is_empty() && ids(c, "invented_ids").is_empty()));
}

#[test]
fn a_broken_row_on_the_wire_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--seconds", "3", "--faults", "none", "--break", "served-row"]);
    let verdict = last_json(&output);
    assert_eq!((verdict["complete"].as_bool(), output.status.code()), (Some(false), Some(1)));
    let (mut tape, mut client) = (Vec::new(), Vec::new());
    all_under(&verdict, "tape", &mut tape);
    all_under(&verdict, "client", &mut client);
    assert!(client.iter().any(|c| !ids(c, "invented_ids").is_empty()), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(tape.iter().all(|t| ids(t, "invented_ids").is_empty()));
}

/// The same faults over a real recording: skipped where none is at hand.
#[test]
fn a_recording_under_faults_is_whole() {
    let Some(file) = recording() else {
        println!("skipped: no captures");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = file.to_string_lossy().into_owned();
    let output =
        demo(dir.path(), &["--capture", &file, "--speed", "4", "--seconds", "20", "--faults", "rough", "--seed", "3"]);
    let verdict = last_json(&output);
    assert!(verdict["complete"] == true && output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn recording() -> Option<std::path::PathBuf> {
    let root = std::env::var_os("WHOLETAPE_CAPTURES").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        std::path::PathBuf::from,
    );
    let mut files: Vec<_> = std::fs::read_dir(root.join("binance-usdm"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".jsonl.zst"))
        .collect();
    files.sort();
    files.into_iter().next()
}
