//! `kill -9` of a real process: everything that it had said was committed is there, numbers go on, nothing is torn.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::*;
use wholetape_tape::{Tape, TapeConfig, TapeError};

const DIR: &str = "WHOLETAPE_TAPE_KILL_DIR";

/// Not a test by itself: the process that is killed. It appends rows whose id is their seq, as fast as a test can check.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let tape = Tape::open(Path::new(&dir), TapeConfig { segment_bytes: 300_000, ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    let mut id = lane.head(no);
    loop {
        for _ in 0..1 + id % 90 {
            id += 1;
            assert_eq!(lane.append(no, &trade(id)).unwrap(), id);
        }
        lane.commit().unwrap();
        println!("\ncommitted {id}");
        thread::sleep(Duration::from_micros(300));
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(42);
    let mut head = 0;
    for round in 0..6 {
        let mut child = start(dir.path());
        let out = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            let committed = |l: String| l.strip_prefix("committed ").and_then(|n| n.parse::<u64>().ok());
            out.lines().map_while(Result::ok).filter_map(committed).last().unwrap_or(0)
        });
        thread::sleep(Duration::from_millis(60 + u64::from(rng.next_u32() % 200)));
        match Tape::open(dir.path(), config()) {
            // Under load the child may not have come so far as to take the lock.
            Ok(tape) => drop(tape),
            Err(e) => assert!(matches!(e, TapeError::Locked { pid, .. } if pid.is_none_or(|p| p == child.id())), "{e}"),
        }
        let beside = Tape::open_reader(dir.path());
        if let Ok(beside) = beside {
            let seen = read_all(&beside, &btc());
            assert_eq!(seen, rows(1, 1..=seen.len() as u64), "beside a running writer, round {round}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let said = reader.join().unwrap();
        let tape = Tape::open(dir.path(), config()).unwrap();
        let now = tape.head(&btc()).unwrap_or(0);
        assert!(now >= said && now >= head, "said {said}, had {head}, held {now}");
        head = now;
        assert_eq!(read_all(&tape, &btc()), rows(1, 1..=head));
        assert_eq!(tape.stats().power_marks, 0, "a kill is no power loss");
    }
    assert!(head > 0, "the child never wrote");
}
