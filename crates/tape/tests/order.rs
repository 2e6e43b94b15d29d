//! What must be on the disk before what: a hand-over, the third segment, the record beyond the span of a power mark.
//!
//! The disk beneath notes, per file, what was written and how much of it was synced, and may lose its power.

mod common;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use wholetape_model::GapCause;
use wholetape_tape::{Access, Disk, DiskFile, Fsync, POWER_SPAN, Tape, TapeConfig, TapeError};

#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    len: u64,
    /// The length before the last write: of a sealed segment, without its index.
    before_last: u64,
    synced: u64,
}

#[derive(Debug, Default)]
struct Notes {
    files: Mutex<BTreeMap<PathBuf, Noted>>,
    /// Every sync fails.
    dead: AtomicBool,
    /// Every sync fails from the next write to this lane on.
    dies_with: Mutex<Option<&'static str>>,
    /// The most segments of one lane that were unsynced when another was begun.
    unsynced_max: AtomicU64,
}

#[derive(Debug, Default)]
struct Noting(Arc<Notes>);

#[derive(Debug)]
struct NotingFile {
    file: File,
    path: PathBuf,
    notes: Arc<Notes>,
}

impl Disk for Noting {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let (write, create) = (access != Access::Read, access == Access::Create);
        let file = OpenOptions::new().read(true).write(write).create(create).truncate(create).open(path)?;
        if create && path.extension().is_some_and(|e| e == "seg") {
            let mut files = self.0.files.lock().unwrap();
            let same_lane = |p: &Path| p.parent() == path.parent();
            let unsynced = files.iter().filter(|(p, n)| same_lane(p) && n.synced < n.before_last).count() as u64;
            self.0.unsynced_max.fetch_max(unsynced, Ordering::SeqCst);
            files.insert(path.to_owned(), Noted::default());
        }
        Ok(Arc::new(NotingFile { file, path: path.to_owned(), notes: self.0.clone() }))
    }
}

impl DiskFile for NotingFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let n = FileExt::write_at(&self.file, bytes, offset)?;
        if let Some(noted) = self.notes.files.lock().unwrap().get_mut(&self.path) {
            noted.before_last = noted.len;
            noted.len = noted.len.max(offset + n as u64);
        }
        let lane = self.path.parent().and_then(Path::file_name).and_then(|n| n.to_str());
        if lane.is_some() && lane == *self.notes.dies_with.lock().unwrap() {
            self.notes.dead.store(true, Ordering::SeqCst);
        }
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        if self.notes.dead.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if let Some(noted) = self.notes.files.lock().unwrap().get_mut(&self.path) {
            noted.synced = noted.len;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Nothing is synced unless somebody must have it.
fn lazy(disk: Arc<dyn Disk>, boot: &str) -> TapeConfig {
    TapeConfig {
        disk,
        boot_id: Some(boot.into()),
        fsync: Fsync::Every(Duration::from_secs(600)),
        sync_bytes: u64::MAX,
        ..TapeConfig::default()
    }
}

#[test]
fn a_topic_is_handed_over_when_what_the_old_lane_wrote_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Noting::default());
    let notes = disk.0.clone();
    let old_file = {
        let tape = Tape::open(dir.path(), lazy(disk, "one")).unwrap();
        let (mut a, mut b) = (tape.lane("a").unwrap(), tape.lane("b").unwrap());
        let no = a.topic(&btc()).unwrap();
        a.commit().unwrap();
        for id in 1..=5 {
            a.append(no, &trade(id)).unwrap();
        }
        a.release(no).unwrap();
        assert_eq!(tape.synced_seq(&btc()), Some(0), "the rows are served and await fsync");
        let no = b.topic(&btc()).unwrap();
        assert_eq!(tape.synced_seq(&btc()), Some(5), "the new lane names seq 5, so it must not be taken back");
        // The power goes as the new lane's record is written: nothing is synced from here on.
        *notes.dies_with.lock().unwrap() = Some("b");
        b.append(no, &trade(6)).unwrap();
        assert!(matches!(b.commit(), Err(TapeError::SyncFailed)));
        newest_segment(dir.path(), "a")
    };
    // Of the old lane the disk has what was synced; of the new one, as chance will have it, everything.
    let kept = notes.files.lock().unwrap()[&old_file].synced;
    OpenOptions::new().write(true).open(&old_file).unwrap().set_len(kept).unwrap();
    let tape = Tape::open(dir.path(), TapeConfig { boot_id: Some("two".into()), ..config() }).unwrap();
    let mut want = rows(1, 1..=6);
    want.push(Seen::Lost { prev: 6, seq: 6 + u64::from(POWER_SPAN), cause: GapCause::Power });
    assert_eq!(read_all(&tape, &btc()), want);
}

#[test]
fn a_topic_is_not_handed_over_when_the_old_lane_cannot_be_synced() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Noting::default());
    let notes = disk.0.clone();
    let tape = Tape::open(dir.path(), lazy(disk, "one")).unwrap();
    let (mut a, mut b) = (tape.lane("a").unwrap(), tape.lane("b").unwrap());
    let no = a.topic(&btc()).unwrap();
    a.commit().unwrap();
    a.append(no, &trade(1)).unwrap();
    a.release(no).unwrap();
    notes.dead.store(true, Ordering::SeqCst);
    assert!(matches!(b.topic(&btc()), Err(TapeError::SyncFailed)));
}

#[test]
fn at_most_two_segments_of_a_lane_are_unsynced() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Noting::default());
    let notes = disk.0.clone();
    let tape = Tape::open(dir.path(), TapeConfig { segment_bytes: 3000, ..lazy(disk, "one") }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=600 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    assert!(segments(dir.path(), "w").len() > 10);
    assert_eq!(
        notes.unsynced_max.load(Ordering::SeqCst),
        1,
        "a segment is begun when none but the last one is unsynced: recovery doubts no more"
    );
}

/// Takes every write and keeps nothing of segments.
#[derive(Debug)]
struct Nowhere;

impl Disk for Nowhere {
    fn write_at(&self, _: &dyn DiskFile, bytes: &[u8], _: u64) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

#[test]
fn no_setting_lets_more_records_await_fsync_than_a_power_mark_covers() {
    let dir = tempfile::tempdir().unwrap();
    let config = TapeConfig {
        unsynced_records_max: u32::MAX,
        segment_bytes: 1 << 40,
        memory_bytes: 1 << 20,
        ..lazy(Arc::new(Nowhere), "one")
    };
    let tape = Tape::open(dir.path(), config).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    lane.commit().unwrap();
    let (mut id, mut most) = (0, 0);
    while id < u64::from(POWER_SPAN) + 10_000 {
        for _ in 0..4000 {
            id += 1;
            lane.append(no, &trade(id)).unwrap();
        }
        lane.commit().unwrap();
        most = most.max(id - tape.synced_seq(&btc()).unwrap());
    }
    assert!(
        most < u64::from(POWER_SPAN),
        "{most} records awaited fsync: a mark of 2^20 seqs takes its last for itself"
    );
    assert!(most > u64::from(POWER_SPAN) - 8000, "the test came to the limit: {most}");
}
