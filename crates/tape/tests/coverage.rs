//! The coverage ledger over a real tape: checkpoints that are cut, damaged or foreign, restarts, retention, power loss.

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use wholetape_model::{Body, Gap, GapCause, GapState, HealSource, Kind, Proof, Row, Topic, Ts};
use wholetape_tape::coverage::{CKPT_FILE, CheckpointError, Coverage, Opened};
use wholetape_tape::{Access, Disk, DiskFile, Lane, RealDisk, Retention, Tape, TapeConfig};

/// Everything that the tape holds now, on top of the last checkpoint.
fn caught_up(tape: &Tape) -> Coverage {
    let Opened { coverage, problem } = Coverage::open(tape);
    assert!(problem.is_none(), "{problem:?}");
    fold(coverage, tape)
}

fn fold(coverage: Coverage, tape: &Tape) -> Coverage {
    let cell = Mutex::new(coverage);
    let caught = Coverage::catch_up(&cell, tape, &|| false).unwrap();
    assert!(caught.rebuilt.is_empty(), "{:?}", caught.rebuilt);
    cell.into_inner().unwrap()
}

/// The whole tape, without any checkpoint.
fn afresh(tape: &Tape) -> Coverage {
    fold(Coverage::new(tape.epoch()), tape)
}

fn keep(coverage: &mut Coverage, tape: &Tape) {
    assert!(coverage.wait_synced(tape).unwrap());
    coverage.write(tape).unwrap();
}

fn put(lane: &mut Lane, ids: impl Iterator<Item = u64>) {
    let no = lane.topic(&btc()).unwrap();
    for id in ids {
        lane.append(no, &trade(id)).unwrap();
    }
    lane.commit().unwrap();
}

fn lost(number: u64, lo: u64, hi: u64) -> Row<'static> {
    let (state, cause, source) = (GapState::Lost, GapCause::Down, HealSource::None);
    let (from_ts, to_ts, missing, why) = (Ts(1_000_000 + lo as i64), Ts(1_000_000 + hi as i64), hi - lo + 1, "down");
    let gap = Gap { gap: number, state, cause, source, from_id: lo, to_id: hi, from_ts, to_ts, missing, why };
    Row { body: Body::Gap(gap), ..trade(hi) }
}

fn missing(coverage: &Coverage, topic: &Topic) -> (Option<(u64, u64)>, Option<u64>, Proof) {
    let s = coverage.summary(topic, 0).unwrap();
    (s.ids, s.missing, s.proof)
}

#[test]
fn a_restart_goes_on_and_a_reconnect_resets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    {
        let tape = open(dir.path());
        let mut lane = tape.lane("w").unwrap();
        put(&mut lane, 1..50);
        keep(&mut afresh(&tape), &tape);
        // Behind the checkpoint: what a crash leaves to be folded.
        put(&mut lane, 50..60);
    }
    let tape = open(dir.path());
    assert_eq!(missing(&caught_up(&tape), &btc()), (Some((1, 59)), Some(0), Proof::ById));
    // Another lane, another connection, and a hole confessed as lost.
    let mut lane = tape.lane("other").unwrap();
    let no = lane.topic(&btc()).unwrap();
    lane.append(no, &lost(9, 60, 64)).unwrap();
    lane.append(no, &Row { conn: 99 << 16, ..trade(65) }).unwrap();
    lane.commit().unwrap();
    let coverage = caught_up(&tape);
    assert_eq!(missing(&coverage, &btc()), (Some((1, 65)), Some(5), Proof::Hole));
    assert_eq!(coverage, afresh(&tape), "folding on equals folding all");
    // And from beside, by who owns nothing.
    let (beside, opened) = Coverage::open_beside(dir.path()).unwrap();
    assert_eq!(fold(opened.coverage, &beside), coverage);
}

#[test]
fn what_retention_removed_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { bytes_max: Some(16_384), ..Retention::default() };
    let tape =
        Tape::open(dir.path(), TapeConfig { segment_bytes: 4_096, memory_bytes: 1, retention, ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    // Nothing goes before it is folded.
    tape.hold([(btc(), 0)]);
    for n in 0..10 {
        put(&mut lane, n * 40 + 1..n * 40 + 41);
    }
    keep(&mut afresh(&tape), &tape);
    for n in 10..20 {
        put(&mut lane, n * 40 + 1..n * 40 + 41);
    }
    let mut coverage = caught_up(&tape);
    keep(&mut coverage, &tape);
    tape.hold([]);
    tape.check_space();
    let oldest = tape.topics()[0].oldest;
    assert!(oldest > 400, "retention took the beginning: {oldest}");
    assert_eq!(missing(&caught_up(&tape), &btc()), (Some((1, 800)), Some(0), Proof::ById));
    // Without the checkpoint that much is unknown, and said to be.
    let poor = afresh(&tape);
    assert_eq!(poor.topic(&btc()).unwrap().unknown_to, oldest - 1);
    assert_eq!(missing(&poor, &btc()), (Some((oldest, 800)), Some(0), Proof::ById));
}

#[test]
fn a_damaged_or_foreign_checkpoint_is_named_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    put(&mut lane, 1..50);
    let mut coverage = afresh(&tape);
    keep(&mut coverage, &tape);
    let path = dir.path().join(CKPT_FILE);
    let good = std::fs::read(&path).unwrap();
    // Cut off anywhere, or one bit wrong anywhere.
    for at in (0..good.len()).step_by(7) {
        std::fs::write(&path, &good[..at]).unwrap();
        let Opened { coverage: empty, problem } = Coverage::open(&tape);
        assert!(matches!(problem, Some(CheckpointError::Damaged { .. })), "cut at {at}: {problem:?}");
        assert_eq!(empty, Coverage::new(tape.epoch()));
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 7);
        std::fs::write(&path, &bad).unwrap();
        assert!(Coverage::open(&tape).problem.is_some(), "bit flipped at {at}");
    }
    let aside = Coverage::set_aside(&tape).unwrap();
    assert!(aside.exists() && !path.exists());
    assert_eq!(caught_up(&tape), coverage, "folded anew");
    // A checkpoint of another tape.
    let other = tempfile::tempdir().unwrap();
    let foreign = open(other.path());
    put(&mut foreign.lane("w").unwrap(), 1..5);
    keep(&mut afresh(&foreign), &foreign);
    std::fs::copy(other.path().join(CKPT_FILE), &path).unwrap();
    assert!(matches!(Coverage::open(&tape).problem, Some(CheckpointError::Foreign { .. })));
    let (_, opened) = Coverage::open_beside(dir.path()).unwrap();
    assert!(matches!(opened.problem, Some(CheckpointError::Foreign { .. })));
    // One of a later version, sealed as ours are.
    let text = String::from_utf8(good).unwrap().replacen("coverage 1 ", "coverage 2 ", 1);
    let body = &text[..text.rfind("end ").unwrap()];
    std::fs::write(&path, format!("{body}end {:08x}\n", crc32fast::hash(body.as_bytes()))).unwrap();
    assert!(matches!(Coverage::open(&tape).problem, Some(CheckpointError::Newer { version: 2, .. })));
}

/// A disk on which the process dies at the n-th step of replacing a file.
#[derive(Debug, Default)]
struct Mortal {
    steps_left: AtomicU64,
}

impl Mortal {
    fn step(&self) -> io::Result<()> {
        let left = self.steps_left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(io::Error::other("killed"));
        }
        self.steps_left.store(left - 1, Ordering::SeqCst);
        Ok(())
    }
}

impl Disk for Mortal {
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part: PathBuf = path.with_extension("part");
        self.step()?;
        let file = RealDisk.open(&part, Access::Create)?;
        for (i, chunk) in bytes.chunks(64).enumerate() {
            self.step()?;
            let mut done = 0;
            while done < chunk.len() {
                done += DiskFile::write_at(&*file, &chunk[done..], (i * 64 + done) as u64)?;
            }
        }
        self.step()?;
        file.sync()?;
        self.step()?;
        std::fs::rename(&part, path)?;
        self.step()
    }
}

#[test]
fn killed_at_any_step_of_writing_the_old_or_the_new_checkpoint_is_there() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Mortal::default()));
    disk.steps_left.store(u64::MAX, Ordering::SeqCst);
    let tape = Tape::open(dir.path(), TapeConfig { disk: disk.clone(), ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    put(&mut lane, 1..10);
    let mut old = afresh(&tape);
    keep(&mut old, &tape);
    put(&mut lane, 10..20);
    let mut whole = false;
    for steps in 0..200 {
        let mut new = fold(Coverage::open(&tape).coverage, &tape);
        assert!(new.wait_synced(&tape).unwrap());
        disk.steps_left.store(steps, Ordering::SeqCst);
        let written = new.write(&tape);
        disk.steps_left.store(u64::MAX, Ordering::SeqCst);
        let Opened { coverage, problem } = Coverage::open(&tape);
        assert!(problem.is_none(), "after {steps} steps: {problem:?}");
        assert!(coverage == old || coverage == new, "after {steps} steps");
        assert_eq!(fold(coverage, &tape), new);
        if written.is_ok() {
            whole = true;
            break;
        }
    }
    assert!(whole, "at last it was written");
}

#[test]
fn a_power_loss_cannot_take_what_the_checkpoint_speaks_of() {
    let dir = tempfile::tempdir().unwrap();
    let boot = |name: &str| TapeConfig { boot_id: Some(name.into()), ..config() };
    let tape = Tape::open(dir.path(), boot("one")).unwrap();
    let mut lane = tape.lane("w").unwrap();
    put(&mut lane, 1..20);
    let mut coverage = afresh(&tape);
    keep(&mut coverage, &tape);
    assert!(coverage.topics().all(|(t, l)| tape.synced_seq(t) >= Some(l.seq)));
    // The machine loses power: an unclean end, and another boot.
    let copy = tempfile::tempdir().unwrap();
    for name in ["epoch", "state", CKPT_FILE] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    std::fs::create_dir_all(copy.path().join("lanes/w")).unwrap();
    for segment in segments(dir.path(), "w") {
        std::fs::copy(&segment, copy.path().join("lanes/w").join(segment.file_name().unwrap())).unwrap();
    }
    let tape = Tape::open(copy.path(), boot("two")).unwrap();
    put(&mut tape.lane("w").unwrap(), 20..30);
    let coverage = caught_up(&tape);
    assert_eq!(missing(&coverage, &btc()), (Some((1, 29)), Some(0), Proof::ById), "ids prove that nothing was lost");
    assert_eq!(coverage.topic(&btc()).unwrap().gaps.counts().lost, 1, "the mark of the power loss");
    assert_eq!(coverage, afresh(&tape));
}

#[test]
fn a_checkpoint_ahead_of_its_tape_is_not_believed_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    put(&mut lane, 1..20);
    let backup = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(backup.path().join("lanes/w")).unwrap();
    std::fs::copy(dir.path().join("epoch"), backup.path().join("epoch")).unwrap();
    for segment in segments(dir.path(), "w") {
        std::fs::copy(&segment, backup.path().join("lanes/w").join(segment.file_name().unwrap())).unwrap();
    }
    put(&mut lane, 20..40);
    keep(&mut afresh(&tape), &tape);
    std::fs::copy(dir.path().join(CKPT_FILE), backup.path().join(CKPT_FILE)).unwrap();
    let (old, opened) = Coverage::open_beside(backup.path()).unwrap();
    assert!(opened.problem.is_none());
    let cell = Mutex::new(opened.coverage);
    let caught = Coverage::catch_up(&cell, &old, &|| false).unwrap();
    assert_eq!(caught.rebuilt, [btc()]);
    assert_eq!(missing(&cell.into_inner().unwrap(), &btc()), (Some((1, 19)), Some(0), Proof::ById));
}

#[test]
fn a_withdrawn_row_is_missing_until_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    put(&mut lane, 1..10);
    let no = lane.topic(&btc()).unwrap();
    lane.append(no, &Row { body: Body::Retract(4), ..trade(9) }).unwrap();
    lane.commit().unwrap();
    assert_eq!(missing(&afresh(&tape), &btc()), (Some((1, 9)), Some(1), Proof::Hole));
    put(&mut lane, std::iter::once(4));
    let coverage = afresh(&tape);
    assert_eq!(missing(&coverage, &btc()), (Some((1, 9)), Some(0), Proof::ById));
    assert_eq!(coverage.topic(&btc()).unwrap().repeats, 0);
}

#[test]
fn topics_that_are_no_market_data_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let tape = open(dir.path());
    let mut lane = tape.lane("w").unwrap();
    for name in ["link.x", "coverage.BTCUSDT.BINANCE", "status.BTCUSDT.BINANCE"] {
        let no = lane.topic(&topic(name)).unwrap();
        lane.append(no, &trade(1)).unwrap();
    }
    lane.commit().unwrap();
    let coverage = afresh(&tape);
    assert_eq!(coverage.topics().count(), 0);
    assert!(coverage.summary(&Topic::parse("status.BTCUSDT.BINANCE").unwrap(), 1).is_none());
    assert!(!coverage.totals().contains_key(&Kind::Status));
}
