//! Bybit from its simulated venues to the verdict: as processes, over sockets, with faults. Past trades cannot be asked for there, so what
//! a cut cost is confessed, to the trade, and two sockets are what saves it.

mod common;

use std::time::Duration;

use common::rig::{Rig, kinds};
use serde_json::Value;

/// Trades, books, best prices, statistics, candles of two pairs; liquidations as well of two linear contracts and an inverse one.
const STREAMS: [(&str, u64); 3] = [("bybit-spot", 2 * 5), ("bybit-linear", 2 * 6), ("bybit-inverse", 6)];

/// Trades of the truth, held and confessed by each instrument's tape.
fn trades(judged: &Value) -> Vec<(String, [u64; 3], f64)> {
    let all = judged["instruments"].as_object().unwrap().iter();
    all.map(|(id, one)| {
        let t = &one["tape"]["kinds"]["trade"];
        let n = |key: &str| t[key].as_u64().unwrap_or(0);
        (id.clone(), [n("truth"), n("held"), n("confessed")], t["confessed_s"].as_f64().unwrap_or(0.0))
    })
    .collect()
}

#[test]
fn a_run_against_bybit_is_complete_under_mild_faults() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), &["--venue", "bybit", "--faults", "mild", "--seed", "7"], "", &STREAMS);
    for fault in [
        r#""kind":"drop","count":3,"every":5"#,
        r#""kind":"duplicate","count":3"#,
        r#""kind":"reorder","count":2"#,
        r#""kind":"unknown_enum""#,
        r#""kind":"garbage""#,
        r#""kind":"cut_reset""#,
        r#""kind":"id_reset""#,
        r#""kind":"planned_close""#,
        r#""kind":"stall","millis":1500"#,
    ] {
        for (venue, _) in STREAMS {
            assert_eq!(rig.ask(&format!(r#"{{"venue":"{venue}",{fault}}}"#))["event"], "inject");
        }
        std::thread::sleep(Duration::from_millis(2_000));
    }
    // A minute ends, and with it a bar.
    std::thread::sleep(Duration::from_millis(6_000));
    let status = rig.ask("status");
    for kind in ["drop", "duplicate", "reorder", "cut_reset", "id_reset", "planned_close", "stall"] {
        assert!(status["faults"][kind].as_u64() >= Some(3), "too little {kind} happened: {status}");
    }
    assert_eq!(status["rest"]["bybit"]["over_limit"], 0, "{status}");
    let judged = rig.finish();
    assert_eq!(kinds(&judged, "BTCUSDT-SPOT.BYBIT"), ["bar-1m", "book", "quote", "ticker", "trade"]);
    for id in ["BTCUSDT-LINEAR.BYBIT", "SOLUSDT-LINEAR.BYBIT", "BTCUSD-INVERSE.BYBIT"] {
        let have = kinds(&judged, id);
        for kind in ["bar-1m", "book", "funding", "index", "liquidation", "mark", "open_interest", "quote", "trade"] {
            assert!(have.iter().any(|one| one == kind), "{kind} of {have:?}");
        }
    }
    for (id, [truth, held, confessed], _) in trades(&judged) {
        assert!(truth > 100 && confessed > 0 && held + confessed == truth, "{id}: {truth} {held} {confessed}");
    }
}

#[test]
fn what_a_cut_cost_is_confessed_to_the_trade_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), &["--venue", "bybit-linear", "--seed", "3"], "", &STREAMS[1..2]);
    std::thread::sleep(Duration::from_millis(4_000));
    let cuts = 2;
    for _ in 0..cuts {
        assert_eq!(rig.ask(r#"{"kind":"cut_reset"}"#)["event"], "inject");
        std::thread::sleep(Duration::from_millis(6_000));
    }
    let judged = rig.finish();
    for (id, [truth, held, confessed], seconds) in trades(&judged) {
        assert!(truth > 50 && confessed > 0 && held + confessed == truth, "{id}: {truth} {held} {confessed}");
        // From the last trade before to the first one after, and not the rest of the run.
        assert!(seconds > 0.0 && seconds < 3.0 * f64::from(cuts), "{id}: {seconds} s confessed");
    }
}

#[test]
fn with_two_sockets_a_cut_costs_no_trade() {
    let dir = tempfile::tempdir().unwrap();
    let streams = [("bybit-linear", 2 * STREAMS[1].1)];
    let sim = ["--venue", "bybit-linear", "--seed", "3"];
    let mut rig = Rig::new(dir.path(), &sim, "sockets = 2\n", &streams);
    std::thread::sleep(Duration::from_millis(4_000));
    for _ in 0..3 {
        assert_eq!(rig.ask(r#"{"kind":"cut_reset"}"#)["event"], "inject");
        // The one that is left was there for longer than what may be on its way.
        std::thread::sleep(Duration::from_millis(6_000));
    }
    assert_eq!(rig.ask("status")["faults"]["cut_reset"], 3);
    let judged = rig.finish();
    for (id, [truth, held, confessed], seconds) in trades(&judged) {
        assert!(truth > 50 && held == truth && confessed == 0 && seconds == 0.0, "{id}: {truth} {held} {confessed}");
    }
}
