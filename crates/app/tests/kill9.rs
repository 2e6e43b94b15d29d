//! `kill -9` during a demo and restart on the same data, twenty times at random moments (P4, P2, P1).
//!
//! After every kill: no head went back, and what stood at an old head still stands there, byte for byte. At the end a demo
//! that is left alone on the same data judges all of it: no trade twice, none missing, no gap without a verdict.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::{Dice, Running, demo, last_json, wholetape};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

const KILLS: usize = 20;

/// Of every topic its head, and the record there.
type Heads = BTreeMap<String, (u64, Vec<u8>)>;

fn record_at(tape: &Tape, topic: &wholetape_model::Topic, seq: u64) -> Option<Vec<u8>> {
    let mut reader =
        tape.reader(topic, From::Seq(seq - 1), ReaderOptions { verify: true, ..ReaderOptions::default() }).ok()?;
    let mut batch = Vec::new();
    reader.poll_next(&mut batch, 1);
    match batch.first() {
        Some(Delivery::Record(shared)) if shared.record().seq() == seq => {
            // The number of a topic in its lane may change; what it says may not.
            let r = shared.record();
            Some(format!("{:?} {:?} {:?}", r.seq(), r.ts_event(), r.row()).into_bytes())
        }
        _ => None,
    }
}

fn heads(dir: &Path, before: &Heads) -> Heads {
    let tape = Tape::open_reader(&dir.join("tape")).expect("a killed tape can be read");
    let mut now = Heads::new();
    for state in tape.topics().into_iter().filter(|t| t.head > 0) {
        let name = state.topic.to_string();
        if let Some((head, record)) = before.get(&name) {
            assert!(state.head >= *head, "{name}: head went from {head} back to {}", state.head);
            assert_eq!(
                record_at(&tape, &state.topic, *head).as_ref(),
                Some(record),
                "{name}: seq {head} is another record now"
            );
        }
        let record = record_at(&tape, &state.topic, state.head)
            .unwrap_or_else(|| panic!("{name}: head {} cannot be read", state.head));
        now.insert(name, (state.head, record));
    }
    for name in before.keys() {
        assert!(now.contains_key(name), "{name} is gone");
    }
    now
}

#[test]
fn twenty_kills_lose_nothing_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(20_261_121);
    let mut before = Heads::new();
    for kill in 0..KILLS {
        let mut running = Running::start(
            wholetape()
                .args(["demo", "--port", "0", "--faults", "mild", "--seed", "5", "--data"])
                .arg(dir.path())
                .stderr(std::process::Stdio::null()),
        );
        let after = Duration::from_millis(dice.range(150, 2_600));
        std::thread::sleep(after);
        running.kill9();
        if dir.path().join("tape").exists() && Tape::open_reader(&dir.path().join("tape")).is_ok() {
            before = heads(dir.path(), &before);
        }
        println!("kill {kill} after {after:?}: {} topics", before.len());
    }
    assert!(before.keys().filter(|t| t.starts_with("trade.")).count() == 6, "{:?}", before.keys());
    let output = demo(dir.path(), &["--seconds", "3", "--faults", "none", "--seed", "5"]);
    let verdict = last_json(&output);
    assert!(verdict["complete"] == true && output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    heads(dir.path(), &before);
}
