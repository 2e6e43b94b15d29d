//! OKX from its simulated venue to the verdict: as processes, over sockets, with faults.

mod common;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Running, last_json, wholetape};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// Spot: books, best prices, statistics, definitions, maintenance; matches, candles. Two swaps: seven streams each, and three of the
/// product; matches, candles.
const STREAMS: u64 = 5 + 2 + 2 * 7 + 3 + 2 * 2;

fn ask(sim: &mut Running, line: &str) -> Value {
    sim.tell(line);
    sim.json(SOON)
}

fn verdict(config: &Path, truth: &Path) -> Value {
    let judged = wholetape().args(["verdict", "--json", "--truth"]).arg(truth).arg("-c").arg(config).output().unwrap();
    last_json(&judged)
}

#[test]
fn a_run_against_okx_is_complete_under_mild_faults() {
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("sim");
    let mut sim = Running::start(
        wholetape()
            .args(["sim", "--json", "--venue", "okx", "--faults", "mild", "--seed", "7", "--history", "60"])
            .args(["--wait", "--control", "--data"])
            .arg(&truth)
            .stdin(Stdio::piped()),
    );
    let started = sim.json(SOON);
    // The truth is to begin when all of it can be heard.
    ask(&mut sim, "freeze");
    let config = dir.path().join("wholetape.toml");
    let snippet = started["config"].as_str().unwrap();
    std::fs::write(&config, format!("data = {:?}\n{snippet}", dir.path().join("data"))).unwrap();
    let run =
        Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null()));
    run.json(SOON);
    let began = Instant::now();
    while ask(&mut sim, "status")["subscribed"]["okx"].as_u64() < Some(STREAMS) {
        assert!(began.elapsed() < SOON, "the venue waits for somebody");
        std::thread::sleep(Duration::from_millis(200));
    }
    ask(&mut sim, "resume");
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
        assert_eq!(ask(&mut sim, fault)["event"], "inject");
        std::thread::sleep(Duration::from_millis(2_000));
    }
    // Funding is told every half minute: whoever lost sight of it sees it again.
    std::thread::sleep(Duration::from_secs(40).saturating_sub(began.elapsed()));
    let status = ask(&mut sim, "status");
    for kind in ["drop", "duplicate", "reorder", "cut_reset", "planned_close", "stall"] {
        assert!(status["faults"][kind].as_u64() > Some(0), "no {kind} happened: {status}");
    }
    assert_eq!(status["rest"]["okx"]["over_limit"], 0, "{status}");
    ask(&mut sim, "freeze");
    ask(&mut sim, "finish");
    let began = Instant::now();
    let mut judged = verdict(&config, &truth);
    while judged["complete"] != true && began.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(1_000));
        judged = verdict(&config, &truth);
    }
    assert_eq!(judged["complete"], true, "{judged:#}");
    run.terminate();
    assert_eq!(run.json(SOON)["event"], "stopped");
    let judged = verdict(&config, &truth);
    assert_eq!(judged["complete"], true, "{judged:#}");
    let kinds = |id: &str| {
        let kinds = judged["instruments"][id]["tape"]["kinds"].as_object().unwrap();
        kinds.iter().filter(|(_, count)| count["held"].as_u64() > Some(0)).map(|(name, _)| name.clone()).collect()
    };
    let spot: Vec<String> = kinds("BTC-USDT.OKX");
    assert_eq!(spot, ["bar-1m", "book", "quote", "ticker", "trade"]);
    let swap: Vec<String> = kinds("ETH-USDT-SWAP.OKX");
    for kind in ["bar-1m", "book", "funding", "index", "liquidation", "mark", "open_interest", "quote", "trade"] {
        assert!(swap.iter().any(|have| have == kind), "{kind} of {swap:?}");
    }
}
