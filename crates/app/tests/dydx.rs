//! dYdX from its simulated venue to the verdict: as processes, over sockets, with faults.

mod common;

use std::time::{Duration, Instant};

use common::rig::{Rig, kinds};

/// Trades, books and candles of three markets; all markets, and the chain's height.
const STREAMS: [(&str, u64); 1] = [("dydx", 3 * 3 + 2)];

#[test]
fn a_run_against_dydx_is_complete_under_mild_faults() {
    let dir = tempfile::tempdir().unwrap();
    let sim = ["--venue", "dydx", "--faults", "mild", "--seed", "7", "--history", "60"];
    let mut rig = Rig::new(dir.path(), &sim, "", &STREAMS);
    let began = Instant::now();
    // What a schedule would bring in a longer run. Most of these are a number left out or told twice, and cost the connection: eleven
    // streams are asked for anew, one after the other.
    for (fault, seconds) in [
        (r#"{"kind":"drop","count":1,"every":5}"#, 6),
        (r#"{"kind":"duplicate"}"#, 6),
        (r#"{"kind":"reorder"}"#, 6),
        (r#"{"kind":"unknown_enum"}"#, 1),
        (r#"{"kind":"garbage"}"#, 6),
        (r#"{"kind":"cut_reset"}"#, 6),
        (r#"{"kind":"stall","millis":1500}"#, 3),
        (r#"{"kind":"drop","count":2,"every":3}"#, 6),
        (r#"{"kind":"planned_close"}"#, 6),
    ] {
        assert_eq!(rig.ask(fault)["event"], "inject");
        std::thread::sleep(Duration::from_secs(seconds));
    }
    // A minute ends, and with it a candle.
    std::thread::sleep(Duration::from_secs(62).saturating_sub(began.elapsed()));
    let status = rig.ask("status");
    // A message that is held back leaves its number out: mostly the connection is gone before the one behind which it comes.
    for kind in ["drop", "duplicate", "unknown_enum", "garbage", "cut_reset", "planned_close", "stall"] {
        assert!(status["faults"][kind].as_u64() > Some(0), "no {kind} happened: {status}");
    }
    assert_eq!(status["rest"]["dydx"]["over_limit"], 0, "{status}");
    let judged = rig.finish();
    let instruments = judged["instruments"].as_object().unwrap();
    assert_eq!(instruments.len(), 3, "{judged:#}");
    for id in instruments.keys() {
        let have = kinds(&judged, id);
        for kind in ["bar-1m", "book", "funding", "index", "liquidation", "mark", "open_interest", "quote", "trade"] {
            assert!(have.iter().any(|one| one == kind), "{kind} of {id}: {have:?}");
        }
    }
    // The books that are asked for first come back soon: most of what was told of them is held.
    let first = &instruments["BTC-USD-PERP.DYDX"]["tape"]["kinds"]["book"];
    assert!(first["held"].as_u64() > first["confessed"].as_u64(), "{first}");
}
