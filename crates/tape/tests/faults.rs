//! A disk that is full, writes short, or fails to sync; files with flipped bits; segments that go.

mod common;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::*;
use wholetape_model::{Body, GapCause, Ts};
use wholetape_tape::{
    Disk, DiskFile, DueSegment, From, Fsync, Lane, LowSpace, MissedWhy, POWER_SPAN, ReaderOptions, Retention,
    SpaceState, Tape, TapeConfig, TapeError, TopicNo,
};

/// A disk whose faults are switched by the test.
#[derive(Debug)]
struct Faulty {
    /// Bytes that may still be written; then ENOSPC, after a short write.
    room: AtomicU64,
    short: AtomicBool,
    sync_fails: AtomicBool,
    free: AtomicU64,
}

impl Faulty {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            room: AtomicU64::new(u64::MAX),
            short: AtomicBool::new(false),
            sync_fails: AtomicBool::new(false),
            free: AtomicU64::new(u64::MAX),
        })
    }
}

impl Disk for Faulty {
    fn write_at(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let room = self.room.load(Ordering::SeqCst);
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut n = (bytes.len() as u64).min(room) as usize;
        if self.short.load(Ordering::SeqCst) {
            n = n.min(7);
        }
        let n = file.write_at(&bytes[..n], offset)?;
        if room != u64::MAX {
            self.room.store(room - n as u64, Ordering::SeqCst);
        }
        Ok(n)
    }

    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        file.sync()
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::SeqCst))
    }
}

fn on(disk: &Arc<Faulty>) -> TapeConfig {
    TapeConfig { disk: disk.clone(), segment_bytes: 4096, memory_bytes: 1, boot_id: Some("one".into()), ..config() }
}

#[test]
fn short_writes_are_continued() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    disk.short.store(true, Ordering::SeqCst);
    let tape = Tape::open(dir.path(), on(&disk)).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=100 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    assert_eq!(read_all(&Tape::open_reader(dir.path()).unwrap(), &btc()), rows(1, 1..=100));
}

#[test]
fn a_full_disk_keeps_the_batch_and_leaves_no_torn_bytes() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let tape = Tape::open(dir.path(), TapeConfig { segment_bytes: 1 << 20, ..on(&disk) }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=5 {
        lane.append(no, &trade(id)).unwrap();
    }
    lane.commit().unwrap();
    let len = std::fs::metadata(newest_segment(dir.path(), "w")).unwrap().len();
    // Two whole records and half of the third fit.
    disk.room.store(96 * 2 + 40, Ordering::SeqCst);
    for id in 6..=10 {
        lane.append(no, &trade(id)).unwrap();
    }
    assert!(matches!(lane.commit(), Err(TapeError::Full { .. })));
    assert_eq!(lane.pending(), 5, "the batch is kept");
    assert_eq!(tape.head(&btc()), Some(5), "nothing of it was served");
    assert_eq!(std::fs::metadata(newest_segment(dir.path(), "w")).unwrap().len(), len, "nothing of it stays behind");
    assert!(tape.stats().is_red());
    // Given up, and something shorter written instead: no record of the failed batch may come back.
    lane.abort();
    disk.room.store(u64::MAX, Ordering::SeqCst);
    lane.append(no, &trade(77)).unwrap();
    lane.commit().unwrap();
    let mut want = rows(1, 1..=5);
    want.push(Seen::Row { seq: 6, id: 77 });
    assert_eq!(read_all(&tape, &btc()), want);
    drop((lane, tape));
    assert_eq!(read_all(&Tape::open(dir.path(), on(&disk)).unwrap(), &btc()), want);
}

#[test]
fn when_space_runs_out_the_oldest_segment_goes_with_a_mark() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let tape = Tape::open(dir.path(), on(&disk)).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    // A hole from long before the first row: it has no verdict yet, and goes with its segment.
    lane.append(no, &gap(900)).unwrap();
    let mut id = 0;
    while lane.segment() < 5 {
        id += 1;
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    let segments_before = segments(dir.path(), "w").len();
    disk.room.store(10, Ordering::SeqCst);
    id += 1;
    lane.append(no, &trade(id)).unwrap();
    // The second try succeeds because the removal "freed" something.
    let watcher = {
        let (disk, dir) = (disk.clone(), dir.path().to_owned());
        std::thread::spawn(move || {
            while segments(&dir, "w").len() >= segments_before {
                std::thread::yield_now();
            }
            disk.room.store(u64::MAX, Ordering::SeqCst);
        })
    };
    // The removal may be seen a moment late; then the batch is kept and committed again.
    while lane.commit().is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    watcher.join().unwrap();
    let stats = tape.stats();
    assert!(stats.segments_lost >= 1 && stats.is_red());
    lane.commit().unwrap();
    let oldest = tape.topics()[0].oldest;
    assert!(oldest > 1);
    let got = read_all(&tape, &btc());
    assert_eq!(got[0], Seen::Missed { from: 1, to: oldest - 1, why: MissedWhy::Retention });
    let marks: Vec<_> = got.iter().filter(|s| matches!(s, Seen::Lost { cause: GapCause::Disk, .. })).collect();
    assert_eq!(marks.len() as u64, stats.segments_lost, "one mark for each segment that went");
    let held = got.iter().filter(|s| matches!(s, Seen::Row { .. })).count() as u64;
    assert_eq!(held, id + 1 - (oldest - 1), "all else is there");
    let mut first = None;
    let mut reader = tape.reader(&btc(), From::Earliest, ReaderOptions::default()).unwrap();
    let mut batch = Vec::new();
    while reader.poll_next(&mut batch, 1_024) > 0 {
        for delivery in batch.drain(..) {
            if let Some(Ok(Body::Gap(gap))) = delivery.record().map(|record| record.view())
                && gap.cause == GapCause::Disk
            {
                first.get_or_insert(gap.from_ts);
            }
        }
    }
    assert_eq!(first, Some(Ts(1)), "whoever starts after that knows of the hole by this mark alone");
}

#[test]
fn the_hard_mark_removes_and_health_comes_back() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let low_space = LowSpace { soft_bytes: 2000, hard_bytes: 1000 };
    let tape = Tape::open(dir.path(), TapeConfig { low_space, ..on(&disk) }).unwrap();
    {
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        for id in 1..=200 {
            lane.append(no, &trade(id)).unwrap();
            lane.commit().unwrap();
        }
    }
    disk.free.store(1500, Ordering::SeqCst);
    tape.check_space();
    assert_eq!((tape.stats().space, tape.stats().segments_lost), (SpaceState::Soft, 0));
    disk.free.store(500, Ordering::SeqCst);
    tape.check_space();
    let lost = tape.stats().segments_lost;
    assert!(lost > 0 && tape.stats().is_red());
    disk.free.store(u64::MAX, Ordering::SeqCst);
    tape.check_space();
    assert_eq!(tape.stats().space, SpaceState::Enough);
    // Nobody writes the lane, so the tape writes the marks itself.
    let end = std::time::Instant::now() + Duration::from_secs(5);
    let marks = || read_all(&tape, &btc()).iter().filter(|s| matches!(s, Seen::Lost { .. })).count() as u64;
    while marks() < lost && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(marks(), lost);
}

fn one_row(dir: &Path, disk: &Arc<Faulty>) -> (Tape, Lane, TopicNo) {
    let tape = Tape::open(dir, on(disk)).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    lane.append(no, &trade(1)).unwrap();
    lane.commit().unwrap();
    (tape, lane, no)
}

fn fail_a_sync(tape: &Tape, lane: &mut Lane, no: TopicNo, disk: &Faulty) {
    disk.sync_fails.store(true, Ordering::SeqCst);
    lane.append(no, &trade(2)).unwrap();
    lane.commit().unwrap();
    assert!(matches!(tape.wait_synced(&btc(), 2, Duration::from_secs(5)), Err(TapeError::SyncFailed)));
}

#[test]
fn a_failed_fsync_ends_the_run_and_is_doubted_by_the_next() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let (tape, mut lane, no) = one_row(dir.path(), &disk);
    fail_a_sync(&tape, &mut lane, no, &disk);
    lane.append(no, &trade(3)).unwrap();
    assert!(matches!(lane.commit(), Err(TapeError::SyncFailed)));
    assert!(tape.stats().sync_failed && tape.stats().is_red());
    drop(lane);
    assert!(matches!(tape.close(), Err(TapeError::SyncFailed)));
    disk.sync_fails.store(false, Ordering::SeqCst);
    let tape = Tape::open(dir.path(), on(&disk)).unwrap();
    let mut want = rows(1, 1..=2);
    want.push(Seen::Lost { prev: 2, seq: 2 + u64::from(POWER_SPAN), cause: GapCause::Power });
    assert_eq!(read_all(&tape, &btc()), want);
    tape.close().unwrap();
    assert_eq!(Tape::open(dir.path(), on(&disk)).unwrap().stats().power_marks, 0, "marked once");
}

#[test]
fn a_failed_fsync_is_known_even_where_the_state_file_cannot_be_written() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Faulty::new());
    let (tape, mut lane, no) = one_row(dir.path(), &disk);
    let state = std::fs::read(dir.path().join("state")).unwrap();
    fail_a_sync(&tape, &mut lane, no, &disk);
    drop(lane);
    assert!(matches!(tape.close(), Err(TapeError::SyncFailed)));
    // As where the fsync of the state file failed like the one before.
    std::fs::write(dir.path().join("state"), state).unwrap();
    disk.sync_fails.store(false, Ordering::SeqCst);
    let tape = Tape::open(dir.path(), on(&disk)).unwrap();
    assert_eq!(tape.stats().power_marks, 1);
    tape.close().unwrap();
    assert_eq!(Tape::open(dir.path(), on(&disk)).unwrap().stats().power_marks, 0, "marked once");
}

#[test]
fn a_lane_holds_back_when_too_much_awaits_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let config = TapeConfig {
        fsync: Fsync::Every(Duration::from_secs(60)),
        unsynced_records_max: 50,
        sync_bytes: u64::MAX,
        ..TapeConfig::default()
    };
    let tape = Tape::open(dir.path(), config).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=1000 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
        assert!(tape.stats().lanes[0].unsynced_records <= 50);
        let synced = tape.synced_seq(&btc()).unwrap();
        assert!(id - synced <= 50, "{id} written, {synced} synced");
    }
    assert!(tape.stats().fsync.count > 10);
}

#[test]
fn fsync_batch_serves_only_what_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig { fsync: Fsync::Batch, ..TapeConfig::default() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=20 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
        assert_eq!((tape.head(&btc()), tape.synced_seq(&btc())), (Some(id), Some(id)));
    }
}

fn flip(path: &Path, at: u64, mask: u8) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut b = [0];
    FileExt::read_exact_at(&file, &mut b, at).unwrap();
    file.write_all_at(&[b[0] ^ mask], at).unwrap();
}

/// Where record `seq` of the only topic lies in a file.
fn find_record(path: &Path, seq: u64) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    (0..bytes.len())
        .step_by(8)
        .find(|at| wholetape_model::Record::parse(&bytes[*at..], true).is_ok_and(|r| r.seq() == seq && r.kind() == 1))
        .unwrap() as u64
}

#[test]
fn a_flipped_bit_costs_exactly_that_record() {
    // In a sealed segment and in the one that is written; in the length, the checksum, the seq, the body.
    for seq in [10, 190] {
        for at in [0, 1, 5, 8, 13, 16, 60, 95] {
            let dir = tempfile::tempdir().unwrap();
            let config = TapeConfig { segment_bytes: 12_000, memory_bytes: 1, ..config() };
            let tape = Tape::open(dir.path(), config.clone()).unwrap();
            {
                let mut lane = tape.lane("w").unwrap();
                let no = lane.topic(&btc()).unwrap();
                for id in 1..=200 {
                    lane.append(no, &trade(id)).unwrap();
                    lane.commit().unwrap();
                }
            }
            let files = segments(dir.path(), "w");
            let path = if seq < 100 { &files[0] } else { files.last().unwrap() };
            flip(path, find_record(path, seq) + at, 0x10);
            let mut want = rows(1, 1..seq);
            want.push(Seen::Missed { from: seq, to: seq, why: MissedWhy::Corrupt });
            want.extend(rows(seq + 1, seq + 1..=200));
            assert_eq!(read_all(&tape, &btc()), want, "while it runs, seq {seq} byte {at}");
            assert!(tape.stats().corrupt_records >= 1);
            assert_eq!(
                read_all(&Tape::open_reader(dir.path()).unwrap(), &btc()),
                want,
                "beside it, seq {seq} byte {at}"
            );
            drop(tape);
            let tape = Tape::open(dir.path(), config).unwrap();
            assert_eq!(read_all(&tape, &btc()), want, "after a restart, seq {seq} byte {at}");
            let mut lane = tape.lane("w").unwrap();
            let no = lane.topic(&btc()).unwrap();
            assert_eq!(lane.append(no, &trade(201)).unwrap(), 201);
        }
    }
}

#[test]
fn a_damaged_last_record_does_not_give_its_seq_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let tape = open(dir.path());
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        for id in 1..=5 {
            lane.append(no, &trade(id)).unwrap();
        }
        lane.commit().unwrap();
    }
    let path = newest_segment(dir.path(), "w");
    flip(&path, find_record(&path, 5) + 70, 1);
    let tape = open(dir.path());
    let mut want = rows(1, 1..=4);
    want.push(Seen::Lost { prev: 4, seq: 4 + u64::from(POWER_SPAN), cause: GapCause::Corrupt });
    assert_eq!(read_all(&tape, &btc()), want);
}

/// Rows 1 to 5 in one segment, ended without a close.
fn five_rows(dir: &Path) -> std::path::PathBuf {
    let tape = open(dir);
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=5 {
        lane.append(no, &trade(id)).unwrap();
    }
    lane.commit().unwrap();
    assert!(tape.wait_synced(&btc(), 5, Duration::from_secs(5)).unwrap());
    newest_segment(dir, "w")
}

#[test]
fn a_damaged_length_of_a_synced_last_record_is_not_taken_for_a_torn_write() {
    let mut want = rows(1, 1..=4);
    want.push(Seen::Lost { prev: 4, seq: 4 + u64::from(POWER_SPAN), cause: GapCause::Corrupt });
    for (byte, bit) in [(0, 0x80), (1, 0x01), (2, 0x10), (3, 0x40), (8, 0x04)] {
        let dir = tempfile::tempdir().unwrap();
        let path = five_rows(dir.path());
        flip(&path, find_record(&path, 5) + byte, bit);
        assert_eq!(read_all(&open(dir.path()), &btc()), want, "byte {byte}");
        assert_eq!(read_all(&open(dir.path()), &btc()), want, "byte {byte}: marked once");
    }
    // The same when the end of the file is gone.
    let dir = tempfile::tempdir().unwrap();
    let path = five_rows(dir.path());
    File::options().write(true).open(&path).unwrap().set_len(find_record(&path, 5)).unwrap();
    assert_eq!(read_all(&open(dir.path()), &btc()), want);
}

#[test]
fn a_torn_write_behind_what_was_synced_marks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = five_rows(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let (fifth, whole) = (find_record(&path, 5) as usize, bytes.len());
    bytes.extend_from_within(fifth..whole - 30);
    std::fs::write(&path, &bytes).unwrap();
    let tape = open(dir.path());
    assert_eq!(read_all(&tape, &btc()), rows(1, 1..=5));
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    assert_eq!(lane.append(no, &trade(6)).unwrap(), 6);
}

#[test]
fn a_note_of_what_was_synced_that_is_torn_or_absent_claims_nothing() {
    for damage in [Some(20_u64), Some(0), None] {
        let dir = tempfile::tempdir().unwrap();
        let path = five_rows(dir.path());
        let note = path.with_file_name("synced");
        match damage {
            Some(at) => flip(&note, at, 1),
            None => std::fs::remove_file(&note).unwrap(),
        }
        // Without it, what claims more than is there is a torn write.
        flip(&path, find_record(&path, 5) + 1, 1);
        assert_eq!(read_all(&open(dir.path()), &btc()), rows(1, 1..=4));
    }
}

#[test]
fn damaged_indexes_and_headers_cost_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let config = TapeConfig { segment_bytes: 6000, ..config() };
    {
        let tape = Tape::open(dir.path(), config.clone()).unwrap();
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        for id in 1..=300 {
            lane.append(no, &trade(id)).unwrap();
            lane.commit().unwrap();
        }
    }
    let files = segments(dir.path(), "w");
    let len = |i: usize| std::fs::metadata(&files[i]).unwrap().len();
    flip(&files[0], len(0) - 5, 1); // the trailer
    flip(&files[1], len(1) - 48 - 9, 1); // the offsets
    flip(&files[2], len(2) - 48 - 400, 1); // offsets or entries
    flip(&files[3], 20, 1); // the header
    flip(files.last().unwrap(), 33, 1); // the header of the newest
    assert_eq!(read_all(&Tape::open_reader(dir.path()).unwrap(), &btc()), rows(1, 1..=300));
    let tape = Tape::open(dir.path(), config).unwrap();
    let got = read_all(&tape, &btc());
    assert_eq!(got[..300], rows(1, 1..=300));
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    assert!(lane.append(no, &trade(301)).unwrap() > 300);
    lane.commit().unwrap();
}

/// Whoever asks before is told which segments will go, beside a running owner as well; what is held stays.
#[test]
fn what_is_due_is_what_goes() {
    let dir = tempfile::tempdir().unwrap();
    let config = TapeConfig { segment_bytes: 4096, ..config() };
    let tape = Tape::open(dir.path(), config.clone()).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=600 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    let bytes = Retention { age_max: None, bytes_max: Some(20_000) };
    let look = Tape::open_reader(dir.path()).unwrap();
    let due = look.due(bytes, Ts(0));
    assert!(due.len() > 3 && due.windows(2).all(|w| w[0].number < w[1].number), "{due:?}");
    look.hold([(btc(), 0)]);
    assert_eq!(look.due(bytes, Ts(0)), []);
    assert_eq!(tape.due(Retention::default(), Ts::MAX), []);
    let age = Retention { age_max: Some(Duration::from_secs(1)), bytes_max: None };
    const DAY_NS: i64 = 86_400_000_000_000;
    let sealed = due.iter().map(|s| s.sealed).max().unwrap();
    let numbers = |due: &[DueSegment]| due.iter().map(|s| s.number).collect::<Vec<_>>();
    assert_eq!(numbers(&tape.due(age, Ts(sealed.0 + DAY_NS)))[..due.len()], numbers(&due));
    assert_eq!(tape.due(age, Ts(sealed.0 - DAY_NS)), []);
    drop((lane, tape));
    let before = segments(dir.path(), "w");
    let tape = Tape::open(dir.path(), TapeConfig { retention: bytes, ..config }).unwrap();
    tape.check_space();
    let left = segments(dir.path(), "w");
    let gone: Vec<_> = before.iter().filter(|p| !left.contains(p)).collect();
    assert_eq!(gone.len(), due.len(), "{due:?}, and then {gone:?}");
}

/// What is stored elsewhere too goes once it is stored, and not before somebody says so: not at the open, when all of it is over
/// age, and not with a topic that nobody has spoken of yet.
#[test]
fn retention_leaves_what_is_stored_elsewhere_until_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age_max: None, bytes_max: Some(20_000) };
    let stored_elsewhere: Option<fn(&wholetape_model::Topic) -> bool> =
        Some(|topic| topic.kind() == wholetape_model::Kind::Trade);
    let config = TapeConfig { retention, stored_elsewhere, segment_bytes: 4096, ..config() };
    let oldest =
        |tape: &Tape, topic: &wholetape_model::Topic| tape.topics().iter().find(|t| t.topic == *topic).unwrap().oldest;
    let new = topic("trade.NEW.X");
    {
        let tape = Tape::open(dir.path(), TapeConfig { retention: Retention::default(), ..config.clone() }).unwrap();
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        for id in 1..=600 {
            lane.append(no, &trade(id)).unwrap();
            lane.commit().unwrap();
        }
    }
    let tape = Tape::open(dir.path(), config.clone()).unwrap();
    tape.check_space();
    assert_eq!(oldest(&tape, &btc()), 1, "nobody stored it yet");
    tape.hold([(btc(), 300)]);
    tape.check_space();
    let left = oldest(&tape, &btc());
    assert!((200..=301).contains(&left), "{left}");
    let mut lane = tape.lane("v").unwrap();
    let no = lane.topic(&new).unwrap();
    for id in 1..=600 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    tape.check_space();
    assert_eq!((oldest(&tape, &btc()), oldest(&tape, &new)), (left, 1), "nobody spoke of it");
    tape.hold([(btc(), 600), (new.clone(), 600)]);
    tape.check_space();
    assert!(oldest(&tape, &btc()) > 500 && oldest(&tape, &new) > 200);
    tape.hold([]);
    assert_eq!(tape.due(retention, Ts(0)), [], "storing failed");
}

#[test]
fn retention_removes_whole_segments_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age_max: None, bytes_max: Some(20_000) };
    let config = TapeConfig { retention, segment_bytes: 4096, ..config() };
    let (a, quiet) = (topic("trade.A.X"), topic("trade.Q.X"));
    let tape = Tape::open(dir.path(), config.clone()).unwrap();
    let mut behind = tape.reader(&a, From::Seq(0), ReaderOptions::default()).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let (na, nq) = (lane.topic(&a).unwrap(), lane.topic(&quiet).unwrap());
    lane.append(nq, &trade(1)).unwrap();
    lane.append(nq, &trade(2)).unwrap();
    for id in 1..=1000 {
        lane.append(na, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    tape.check_space();
    let stats = tape.stats();
    assert!(stats.segments_retired > 5 && stats.segments_lost == 0);
    assert!(stats.lanes[0].disk_bytes <= 20_000 + 4096);
    let oldest = tape.topics()[0].oldest;
    // Memory still has what the files lost.
    assert_eq!(drain(&mut behind), rows(1, 1..=1000));
    drop((behind, lane, tape));
    let tape = Tape::open(dir.path(), config).unwrap();
    let mut want = vec![Seen::Missed { from: 1, to: oldest - 1, why: MissedWhy::Retention }];
    want.extend(rows(oldest, oldest..=1000));
    assert_eq!(read_all(&tape, &a), want);
    assert_eq!(read_all(&tape, &quiet), [Seen::Missed { from: 1, to: 2, why: MissedWhy::Retention }]);
    let mut earliest = tape.reader(&a, From::Earliest, ReaderOptions::default()).unwrap();
    assert_eq!(drain(&mut earliest), rows(oldest, oldest..=1000));
    // What is gone is gone, but its numbers are not given again.
    let mut lane = tape.lane("w").unwrap();
    let nq = lane.topic(&quiet).unwrap();
    assert_eq!(lane.append(nq, &trade(3)).unwrap(), 3);
}

#[test]
fn retention_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age_max: Some(Duration::from_millis(50)), bytes_max: None };
    let tape = Tape::open(dir.path(), TapeConfig { retention, segment_bytes: 4096, ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&btc()).unwrap();
    for id in 1..=200 {
        lane.append(no, &trade(id)).unwrap();
        lane.commit().unwrap();
    }
    std::thread::sleep(Duration::from_millis(60));
    tape.check_space();
    assert_eq!(segments(dir.path(), "w").len(), 1);
}

#[test]
fn strange_directories_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    {
        let tape = open(dir.path());
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        lane.append(no, &trade(1)).unwrap();
        lane.commit().unwrap();
    }
    let epoch = std::fs::read(dir.path().join("epoch")).unwrap();
    std::fs::write(dir.path().join("epoch"), "wholetape-tape 1 another\n").unwrap();
    assert!(matches!(Tape::open(dir.path(), config()), Err(TapeError::Format { .. })), "segments of another epoch");
    std::fs::write(dir.path().join("epoch"), "wholetape-tape 2 abc\n").unwrap();
    assert!(matches!(Tape::open(dir.path(), config()), Err(TapeError::Format { .. })), "a newer format");
    std::fs::remove_file(dir.path().join("epoch")).unwrap();
    assert!(matches!(Tape::open(dir.path(), config()), Err(TapeError::Format { .. })), "lanes without an epoch");
    std::fs::write(dir.path().join("epoch"), epoch).unwrap();
    // A record of a version that this build does not know must not be cut off as a torn tail.
    let path = newest_segment(dir.path(), "w");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = find_record(&path, 1) as usize;
    bytes[at + 8] = 9;
    let crc = crc32fast::hash(&bytes[at + 8..at + 96]);
    bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Tape::open(dir.path(), config()), Err(TapeError::Format { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(Tape::open_reader(&dir.path().join("nowhere")).is_err());
}
