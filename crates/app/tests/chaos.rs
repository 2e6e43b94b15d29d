//! Chaos on real processes: `wholetape run` against `wholetape sim` in a process of its own under rough faults, killed with `-9`
//! at random moments and started again on the same data, while the venues go on and write their truth.
//!
//! At the end: no trade missing, nothing twice, every other kind held or confessed, every book equal, every record on disk
//! readable. Fifty kills; `WHOLETAPE_KILLS=200` makes more of them, `SEED=…` other ones.

mod common;

use std::time::{Duration, Instant};

use common::{Dice, Heads, SOON, every_record_is_readable, heads, judged, last_json, pipeline, venues};
use serde_json::Value;
use wholetape_tape::Tape;

/// The last process gets this long to become whole: fifty starts in two minutes use a venue's REST weight up, so what is healed last
/// waits for the venue's next minute (and 10 s, by which our clock may be ahead of the venue's), and is healed then.
const WHOLE_WITHIN: Duration = Duration::from_secs(60 + 10 + 20);

#[test]
fn fifty_kills_under_rough_faults_lose_nothing_and_repeat_nothing() {
    let kills = std::env::var("WHOLETAPE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_u32);
    let mut dir = tempfile::tempdir().unwrap();
    if std::env::var_os("WHOLETAPE_KEEP").is_some() {
        dir.disable_cleanup(true);
        println!("kept: {}", dir.path().display());
    }
    let mut dice = Dice::new(20_261_121);
    let seed = dice.range(1, 1 << 30);
    let (mut sim, config) = venues(dir.path(), &["--faults", "rough"], seed);
    let tape = dir.path().join("data/tape");
    let mut before = Heads::new();
    let begin = Instant::now();
    for kill in 0..kills {
        let mut run = pipeline(dir.path(), &config);
        // Mostly short lives, in the middle of starting and healing; some long enough to be whole in between.
        let after =
            Duration::from_millis(if dice.range(0, 4) == 0 { dice.range(2_500, 5_000) } else { dice.range(60, 2_200) });
        std::thread::sleep(after);
        run.kill9();
        if tape.exists() && Tape::open_reader(&tape).is_ok() {
            before = heads(&tape, &before);
        }
        println!("kill {kill} after {after:?}: {} topics, {:?} in all", before.len(), begin.elapsed());
    }
    let mut run = pipeline(dir.path(), &config);
    run.json(SOON);
    std::thread::sleep(Duration::from_secs(8));
    sim.tell("freeze");
    let frozen = Instant::now();
    sim.json(SOON);
    sim.tell("finish");
    sim.json(SOON);
    while !judged(dir.path(), &config).status.success() && frozen.elapsed() < WHOLE_WITHIN {
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("whole {:?} after the last event", frozen.elapsed());
    run.terminate();
    run.json(SOON);
    assert!(run.child.wait().unwrap().success());
    sim.terminate();
    let output = judged(dir.path(), &config);
    let (verdict, said) = (last_json(&output), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(verdict["complete"] == true && output.status.success(), "SEED of the venues {seed}\n{said}");
    assert!(verdict["faults"].as_object().unwrap().len() >= 12, "{}", verdict["faults"]);
    let trades = |name: &str| verdict["instruments"][name]["tape"]["kinds"]["trade"]["held"].as_u64().unwrap_or(0);
    assert!(trades("BTCUSDT.BINANCE") > 500 && trades("BTCUSDT-PERP.BINANCE") > 500, "{said}");
    heads(&tape, &before);
    let records = every_record_is_readable(&tape);
    println!("{records} records read again after {kills} kills in {:?}", begin.elapsed());
    assert!(records > 10_000);
    let held: Value = verdict["figures"]["lost"].clone();
    assert_eq!(held, 0);
}
