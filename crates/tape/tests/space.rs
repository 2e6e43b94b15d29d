//! Space runs out: what the oldest segment leaves behind, whatever happens at whatever step of its removal.

mod common;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use common::*;
use wholetape_model::GapCause;
use wholetape_tape::{Access, Disk, DiskFile, From, LowSpace, MissedWhy, ReaderOptions, Tape, TapeConfig, TapeTime};

#[derive(Debug, Default)]
struct Life {
    /// Changes that still succeed; then the machine is gone. Counted from when `mortal` is set.
    left: AtomicI64,
    mortal: AtomicBool,
    /// Says that space is out until a segment went.
    tight: AtomicBool,
    /// No file can grow.
    full: AtomicBool,
}

impl Life {
    fn step(&self) -> io::Result<()> {
        let gone = self.mortal.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) <= 0;
        if gone { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

/// A disk whose machine goes down at a step that the test chooses.
#[derive(Debug, Default)]
struct Mortal(Arc<Life>);

#[derive(Debug)]
struct MortalFile(File, Arc<Life>);

impl Disk for Mortal {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let (write, create) = (access != Access::Read, access == Access::Create);
        if create {
            self.0.step()?;
        }
        let file = OpenOptions::new().read(true).write(write).create(create).truncate(create).open(path)?;
        Ok(Arc::new(MortalFile(file, self.0.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        self.0.tight.store(false, Ordering::SeqCst);
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.0.step()
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(if self.0.tight.load(Ordering::SeqCst) { 500 } else { u64::MAX })
    }
}

impl DiskFile for MortalFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.1.full.load(Ordering::SeqCst) && offset + bytes.len() as u64 > self.len()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.1.step().inspect_err(|_| {
            // A write that the end met halfway.
            let _ = FileExt::write_at(&self.0, &bytes[..bytes.len() / 2], offset);
        })?;
        FileExt::write_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.step()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

struct Still;

impl TapeTime for Still {
    fn wall(&self) -> i64 {
        1_000_000_000
    }

    fn mono(&self) -> u64 {
        1
    }
}

/// Driven: no thread removes, syncs or pays but when the test says so.
fn on(disk: Arc<dyn Disk>) -> TapeConfig {
    TapeConfig {
        disk,
        driven: Some(Arc::new(Still)),
        segment_bytes: 4096,
        memory_bytes: 1,
        boot_id: Some("one".into()),
        low_space: LowSpace { soft_bytes: 2000, hard_bytes: 1000 },
        ..config()
    }
}

fn lists(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("lanes").join("w")).unwrap();
    files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "lost")).count()
}

/// Rows 1 to 200 of one topic and 1 to 3 of another, all on the disk; the other's only in the first segment.
fn filled(disk: Arc<dyn Disk>, dir: &Path) -> (Tape, wholetape_tape::Lane) {
    let tape = Tape::open(dir, on(disk)).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let (many, few) = (lane.topic(&btc()).unwrap(), lane.topic(&topic("trade.FEW.X")).unwrap());
    for id in 1..=3 {
        lane.append(few, &trade(id)).unwrap();
    }
    for id in 1..=200 {
        lane.append(many, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    tape.sync_now().unwrap();
    (tape, lane)
}

/// What is held and what is marked: nothing went without its mark, and none is there twice. How many marks.
fn check(tape: &Tape, dir: &Path, step: i64) -> usize {
    let mut marks = 0;
    for (name, rows) in [(btc(), 200_u64), (topic("trade.FEW.X"), 3)] {
        let got = read_all(tape, &name);
        let held = got.iter().filter(|s| matches!(s, Seen::Row { .. })).count() as u64;
        let lost = got.iter().filter(|s| matches!(s, Seen::Lost { cause: GapCause::Disk, .. })).count();
        let gone = got.first().is_some_and(|s| matches!(s, Seen::Missed { why: MissedWhy::Retention, .. }));
        assert_eq!(lost, usize::from(gone), "step {step}, {name}");
        assert_eq!(held == rows, !gone, "step {step}, {name}");
        assert!(got.iter().skip(1).all(|s| matches!(s, Seen::Row { .. } | Seen::Lost { .. })), "step {step}: {got:?}");
        marks += lost;
    }
    assert_eq!(segments(dir, "w").len() + marks / 2, segments_made(), "step {step}");
    marks
}

/// How many segments `filled` makes.
fn segments_made() -> usize {
    let dir = tempfile::tempdir().unwrap();
    let _held = filled(Arc::new(Mortal::default()), dir.path());
    segments(dir.path(), "w").len()
}

#[test]
fn an_end_at_any_step_of_a_removal_leaves_no_loss_without_its_mark() {
    let (mut without, mut with) = (0, 0);
    for step in 0..9 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Mortal::default());
        let life = disk.0.clone();
        let (tape, lane) = filled(disk, dir.path());
        life.left.store(step, Ordering::SeqCst);
        life.tight.store(true, Ordering::SeqCst);
        life.mortal.store(true, Ordering::SeqCst);
        // The lane has a writer that writes nothing: nobody can pay the marks.
        tape.check_space();
        life.left.store(0, Ordering::SeqCst);
        drop((lane, tape));
        let tape = Tape::open(dir.path(), on(Arc::new(Mortal::default()))).unwrap();
        let marks = check(&tape, dir.path(), step);
        if marks == 0 {
            without += 1
        } else {
            with += 1
        }
        // Paid once: not again by this run, nor by the next one, whether or not the list was removed.
        if step % 2 == 0 {
            tape.sync_now().unwrap();
            tape.check_space();
            assert_eq!(lists(dir.path()), 0, "step {step}: what is paid is forgotten");
        }
        drop(tape);
        let tape = Tape::open(dir.path(), on(Arc::new(Mortal::default()))).unwrap();
        assert_eq!(check(&tape, dir.path(), step), marks, "step {step}");
        tape.close().unwrap();
    }
    assert!(without >= 1 && with >= 5, "{without} before, {with} behind the point of no return");
}

#[test]
fn the_list_stays_until_the_marks_are_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Mortal::default());
    let life = disk.0.clone();
    let (tape, mut lane) = filled(disk, dir.path());
    life.tight.store(true, Ordering::SeqCst);
    tape.check_space();
    assert_eq!((tape.stats().segments_lost, lists(dir.path())), (1, 1));
    let list = std::fs::read_dir(dir.path().join("lanes/w")).unwrap().map(|f| f.unwrap().path());
    let list = list.filter(|p| p.extension().is_some_and(|e| e == "lost")).last().unwrap();
    assert!(std::fs::metadata(list).unwrap().len() < 200, "its space is free");
    // Written by the lane's own writer, and not yet synced: a power loss could still take the marks.
    lane.commit().unwrap();
    tape.check_space();
    assert_eq!(lists(dir.path()), 1);
    tape.sync_now().unwrap();
    tape.check_space();
    assert_eq!(lists(dir.path()), 0);
    assert_eq!(check(&tape, dir.path(), -1), 2);
}

#[test]
fn a_reader_in_the_midst_of_a_segment_that_goes_is_told_retention() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Mortal::default());
    let life = disk.0.clone();
    let (tape, _lane) = filled(disk, dir.path());
    let mut reader = tape.reader(&btc(), From::Seq(0), ReaderOptions::default()).unwrap();
    let mut out = Vec::new();
    reader.poll_next(&mut out, 5);
    assert_eq!(out.iter().map(seen).collect::<Vec<_>>(), rows(1, 1..=5));
    life.tight.store(true, Ordering::SeqCst);
    tape.check_space();
    let oldest = tape.topics().iter().find(|t| t.topic == btc()).unwrap().oldest;
    let got = drain(&mut reader);
    let missed: u64 = got
        .iter()
        .map(|s| match s {
            Seen::Missed { from, to, why } => {
                assert_eq!(*why, MissedWhy::Retention);
                to - from + 1
            }
            _ => 0,
        })
        .sum();
    assert_eq!(missed, oldest - 6);
    assert_eq!(got.last(), Some(&Seen::Row { seq: 200, id: 200 }));
    assert_eq!((tape.stats().corrupt_records, tape.stats().read_errors), (0, 0));
}

#[test]
fn a_mark_goes_with_its_topic_when_another_lane_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Mortal::default());
    let life = disk.0.clone();
    let (tape, mut lane) = filled(disk, dir.path());
    let few = topic("trade.FEW.X");
    let no = lane.topic(&few).unwrap();
    lane.release(no).unwrap();
    life.tight.store(true, Ordering::SeqCst);
    tape.check_space();
    // The mark waits for `w`, whose writer lives on and never writes again.
    let mut other = tape.lane("v").unwrap();
    let no = other.topic(&few).unwrap();
    other.append(no, &trade(4)).unwrap();
    other.commit().unwrap();
    other.commit().unwrap();
    let got = read_all(&tape, &few);
    assert!(got.iter().any(|s| matches!(s, Seen::Lost { cause: GapCause::Disk, .. })), "{got:?}");
    drop(lane);
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut b = [0];
    FileExt::read_exact_at(&file, &mut b, at).unwrap();
    file.write_all_at(&[b[0] ^ 1], at).unwrap();
}

/// The list of topics went with the power, and only the segment before tells them: it gets an index of its own before that one
/// goes, or where there is no room for one it goes too, with its marks.
#[test]
fn a_segment_without_a_header_does_not_become_unreadable_with_the_one_before() {
    for (room, newest) in [(true, false), (false, false), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(Arc::new(Mortal::default()), dir.path()));
        let mut files = segments(dir.path(), "w");
        if newest {
            files.drain(2..).for_each(|f| std::fs::remove_file(f).unwrap());
        }
        flip(&files[1], 20);
        let len = std::fs::metadata(&files[1]).unwrap().len();
        flip(&files[1], len - 5);
        let disk = Arc::new(Mortal::default());
        let life = disk.0.clone();
        let tape = Tape::open(dir.path(), on(disk)).unwrap();
        let whole = read_all(&tape, &btc());
        assert!(!whole.iter().any(|s| matches!(s, Seen::Missed { .. })), "{whole:?}");
        // It has a writer that writes nothing: on a full disk a mark would make room for itself.
        let mut lane = tape.lane("w").unwrap();
        life.full.store(!room, Ordering::SeqCst);
        life.tight.store(true, Ordering::SeqCst);
        tape.check_space();
        life.full.store(false, Ordering::SeqCst);
        assert_eq!(tape.stats().segments_lost, if room { 1 } else { 2 }, "room {room}");
        lane.commit().unwrap();
        for time in 0..2 {
            let tape = if time == 0 { tape.clone() } else { Tape::open_reader(dir.path()).unwrap() };
            let got = read_all(&tape, &btc());
            let (mut upto, mut marked) = (0, 0);
            for seen in &got {
                match seen {
                    Seen::Missed { to, why, .. } => {
                        assert_eq!(*why, MissedWhy::Retention, "room {room}, newest {newest}, {time}: {got:?}");
                        upto = *to;
                    }
                    Seen::Lost { cause: GapCause::Disk, .. } => marked += 1,
                    _ => {}
                }
            }
            assert_eq!(marked, if room { 1 } else { 2 }, "room {room}, newest {newest}");
            let rest = |seen: &[Seen]| -> Vec<Seen> {
                seen.iter().filter(|s| matches!(s, Seen::Row { seq, .. } if *seq > upto)).cloned().collect()
            };
            assert!(upto > 0 && rest(&got) == rest(&whole), "room {room}, newest {newest}: {got:?}");
            assert!(rest(&got).len() > 20, "the segment behind is there");
        }
    }
}
