//! A recording of a venue whose books begin in the stream, from `wholetape sim --capture` to the verdict.

mod common;

use std::path::Path;
use std::time::Duration;

use common::rig::{Rig, kinds};

/// What the recording has of each instrument: trades, books, statistics, bars.
const STREAMS: [(&str, u64); 2] = [("bybit-spot", 4), ("bybit-linear", 2 * 4)];

#[test]
fn bybits_recording_is_recorded_whole_though_the_connection_breaks() {
    let root = std::env::var_os("WHOLETAPE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"), Into::into);
    let file = root.join("bybit/linear_btc_doge_spot_btc_20260809.jsonl.zst");
    if !file.is_file() {
        println!("skipped: no captures");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A channel that was not recorded would stay silent for ever.
    let lines = |printed: &str| {
        let some = |line: &str| match line.split_once(" = ") {
            Some(("channels", all)) if all.contains("mark") => {
                r#"channels = ["trade", "book", "ticker", "bar-1m", "mark", "open_interest"]"#.to_owned()
            }
            Some(("channels", _)) => r#"channels = ["trade", "book", "ticker", "bar-1m"]"#.to_owned(),
            _ => line.to_owned(),
        };
        printed.lines().map(some).collect::<Vec<_>>().join("\n")
    };
    let sim = ["--capture", file.to_str().unwrap(), "--speed", "2"];
    let mut rig = Rig::with(dir.path(), &sim, &STREAMS, lines);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(rig.ask(r#"{"kind":"cut_reset","venue":"bybit-linear"}"#)["event"], "inject");
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(rig.ask("status")["faults"]["cut_reset"], 1);
    let judged = rig.finish();
    assert_eq!(kinds(&judged, "BTCUSDT-SPOT.BYBIT"), ["bar-1m", "book", "ticker", "trade"]);
    for id in ["BTCUSDT-LINEAR.BYBIT", "DOGEUSDT-LINEAR.BYBIT"] {
        let have = kinds(&judged, id);
        for kind in ["bar-1m", "book", "funding", "index", "mark", "open_interest", "ticker", "trade"] {
            assert!(have.iter().any(|one| one == kind), "{kind} of {have:?}");
        }
        let book = &judged["instruments"][id]["tape"]["kinds"]["book"];
        assert!(book["held"].as_u64() > Some(250) && book["missing"].as_u64().is_none(), "{book}");
    }
}
