//! OKX from its simulated venue to the verdict: as processes, over sockets, with faults.

mod common;

use std::time::{Duration, Instant};

use common::rig::{Rig, kinds};

/// Spot: books, best prices, statistics, definitions, maintenance; matches, candles. Two swaps: seven streams each, and three of the
/// product; matches, candles.
const STREAMS: u64 = 5 + 2 + 2 * 7 + 3 + 2 * 2;

#[test]
fn a_run_against_okx_is_complete_under_mild_faults() {
    let dir = tempfile::tempdir().unwrap();
    let sim = ["--venue", "okx", "--faults", "mild", "--seed", "7", "--history", "60"];
    let mut rig = Rig::new(dir.path(), &sim, "", &[("okx", STREAMS)]);
    let began = Instant::now();
    // What a schedule would bring in a longer run: lost, doubled and swapped frames, and both ends of a connection.
    for fault in [
        r#"{"kind":"drop","count":3,"every":5}"#,
        r#"{"kind":"duplicate","count":3}"#,
        r#"{"kind":"reorder","count":2}"#,
        r#"{"kind":"unknown_enum"}"#,
        r#"{"kind":"garbage"}"#,
        r#"{"kind":"cut_reset"}"#,
        r#"{"kind":"drop","count":2,"every":3}"#,
        r#"{"kind":"planned_close"}"#,
        r#"{"kind":"stall","millis":1500}"#,
    ] {
        assert_eq!(rig.ask(fault)["event"], "inject");
        std::thread::sleep(Duration::from_millis(2_000));
    }
    // Funding is told every half minute: whoever lost sight of it sees it again.
    std::thread::sleep(Duration::from_secs(40).saturating_sub(began.elapsed()));
    let status = rig.ask("status");
    for kind in ["drop", "duplicate", "reorder", "cut_reset", "planned_close", "stall"] {
        assert!(status["faults"][kind].as_u64() > Some(0), "no {kind} happened: {status}");
    }
    assert_eq!(status["rest"]["okx"]["over_limit"], 0, "{status}");
    let judged = rig.finish();
    assert_eq!(kinds(&judged, "BTC-USDT.OKX"), ["bar-1m", "book", "quote", "ticker", "trade"]);
    let swap = kinds(&judged, "ETH-USDT-SWAP.OKX");
    for kind in ["bar-1m", "book", "funding", "index", "liquidation", "mark", "open_interest", "quote", "trade"] {
        assert!(swap.iter().any(|have| have == kind), "{kind} of {swap:?}");
    }
}
