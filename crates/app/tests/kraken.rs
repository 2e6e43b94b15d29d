//! Kraken from its simulated venue to the verdict: as processes, over sockets, with faults.

mod common;

use std::time::{Duration, Instant};

use common::rig::{Rig, kinds};

/// Trades, books, best prices with statistics and bars of three pairs; all definitions, and the heartbeat.
const STREAMS: [(&str, u64); 1] = [("kraken", 3 * 4 + 2)];
const PAIRS: [&str; 3] = ["BTC%2FUSD.KRAKEN", "ETH%2FUSD.KRAKEN", "DOGE%2FUSD.KRAKEN"];

#[test]
fn a_run_against_kraken_is_complete_under_mild_faults() {
    let dir = tempfile::tempdir().unwrap();
    let sim = ["--venue", "kraken", "--faults", "mild", "--seed", "7", "--history", "60"];
    let mut rig = Rig::new(dir.path(), &sim, "", &STREAMS);
    let began = Instant::now();
    // What a schedule would bring in a longer run: lost, doubled and swapped trades, a book that proves wrong, and both ends of a connection.
    for fault in [
        r#"{"kind":"drop","count":3,"every":5}"#,
        r#"{"kind":"duplicate","count":3}"#,
        r#"{"kind":"reorder","count":2}"#,
        r#"{"kind":"bad_checksum"}"#,
        r#"{"kind":"unknown_enum"}"#,
        r#"{"kind":"garbage"}"#,
        r#"{"kind":"cut_reset"}"#,
        r#"{"kind":"drop","count":2,"every":3}"#,
        r#"{"kind":"http429"}"#,
        r#"{"kind":"planned_close"}"#,
        r#"{"kind":"stall","millis":1500}"#,
        r#"{"kind":"bad_checksum"}"#,
    ] {
        assert_eq!(rig.ask(fault)["event"], "inject");
        std::thread::sleep(Duration::from_millis(2_500));
    }
    // A minute ends, and with it a bar.
    std::thread::sleep(Duration::from_secs(62).saturating_sub(began.elapsed()));
    let status = rig.ask("status");
    for kind in ["drop", "duplicate", "reorder", "bad_checksum", "cut_reset", "planned_close", "stall"] {
        assert!(status["faults"][kind].as_u64() > Some(0), "no {kind} happened: {status}");
    }
    assert_eq!(status["rest"]["kraken"]["over_limit"], 0, "{status}");
    let judged = rig.finish();
    for id in PAIRS {
        assert_eq!(kinds(&judged, id), ["bar-1m", "book", "quote", "ticker", "trade"], "{id}");
        let trade = &judged["instruments"][id]["tape"]["kinds"]["trade"];
        assert!(trade["held"].as_u64() > Some(300) && trade["held"] == trade["truth"], "{id}: {trade}");
    }
}

/// T5: what proves one book wrong costs that book alone what it missed until it was told anew.
#[test]
fn a_bad_checksum_is_confessed_of_its_book_and_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), &["--venue", "kraken", "--seed", "3"], "", &STREAMS);
    std::thread::sleep(Duration::from_millis(4_000));
    let fault = r#"{"kind":"bad_checksum","stream":"book-1000:ETH/USD"}"#;
    assert_eq!(rig.ask(fault)["event"], "inject");
    std::thread::sleep(Duration::from_millis(6_000));
    assert_eq!(rig.ask("status")["faults"]["bad_checksum"], 1);
    let judged = rig.finish();
    for id in PAIRS {
        let kinds = judged["instruments"][id]["tape"]["kinds"].as_object().unwrap();
        for (kind, count) in kinds {
            let confessed = count["confessed"].as_u64().unwrap_or(0);
            let is_it = id == PAIRS[1] && kind == "book";
            assert!((confessed > 0) == is_it, "{kind} of {id}: {count}");
            assert!(count["confessed_s"].as_f64().unwrap_or(0.0) < 3.0, "{kind} of {id}: {count}");
        }
    }
}
