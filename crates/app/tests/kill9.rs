//! `kill -9` during a demo and restart on the same data, twenty times at random moments (P4, P2, P1).
//!
//! The venues die together with the pipeline here, as on a machine that goes down; `chaos.rs` kills the pipeline alone, fifty
//! times, while the venues go on.
//!
//! After every kill: no head went back, and what stood at an old head still stands there, byte for byte. At the end a demo
//! that is left alone on the same data judges all of it: no trade twice, none missing, no gap without a verdict.

mod common;

use std::time::Duration;

use common::{BINANCE, Dice, Heads, Running, demo, heads, last_json, wholetape};
use wholetape_tape::Tape;

const KILLS: usize = 20;

#[test]
fn twenty_kills_lose_nothing_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(20_261_121);
    let mut before = Heads::new();
    for kill in 0..KILLS {
        let mut running = Running::start(
            wholetape()
                .args(["demo", "--port", "0", "--faults", "mild", "--seed", "5"])
                .args(BINANCE)
                .arg("--data")
                .arg(dir.path())
                .stderr(std::process::Stdio::null()),
        );
        let after = Duration::from_millis(dice.range(150, 2_600));
        std::thread::sleep(after);
        running.kill9();
        if dir.path().join("tape").exists() && Tape::open_reader(&dir.path().join("tape")).is_ok() {
            before = heads(&dir.path().join("tape"), &before);
        }
        println!("kill {kill} after {after:?}: {} topics", before.len());
    }
    assert!(before.keys().filter(|t| t.starts_with("trade.")).count() == 6, "{:?}", before.keys());
    let output = demo(dir.path(), &["--seconds", "3", "--faults", "none", "--seed", "5"]);
    let verdict = last_json(&output);
    assert!(verdict["complete"] == true && output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    heads(&dir.path().join("tape"), &before);
}
