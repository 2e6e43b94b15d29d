//! The one-cursor test: the same cursor, read before and after restart, torn tail and simulated power loss, gives the
//! same rows or a mark that covers them; and what it reads on is joined to what it had without a hole.

mod common;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use common::*;
use proptest::prelude::*;
use wholetape_model::{Body, GapCause};
use wholetape_tape::{Delivery, From, POWER_SPAN, ReaderOptions, Tape, TapeConfig};

fn on(boot: &str) -> TapeConfig {
    TapeConfig { boot_id: Some(boot.into()), segment_bytes: 6000, ..config() }
}

/// What one consumer knows: its position, and what each seq was.
#[derive(Debug, Default)]
struct Consumer {
    position: u64,
    rows: BTreeMap<u64, u64>,
    lost: Vec<(u64, u64)>,
}

impl Consumer {
    fn covered(&self, seq: u64) -> bool {
        self.lost.iter().any(|(prev, last)| seq > *prev && seq <= *last)
    }

    /// Reads on from where it is, checking that every delivery joins the one before.
    fn read_on(&mut self, tape: &Tape) {
        let mut reader = tape.reader(&btc(), From::Seq(self.position), ReaderOptions::default()).unwrap();
        let mut out = Vec::new();
        while reader.poll_next(&mut out, 64) > 0 {}
        for d in &out {
            let Delivery::Record(r) = d else { panic!("nothing may be missed here: {d:?}") };
            let record = r.record();
            assert!(
                record.prev() <= self.position && record.seq() > self.position,
                "{:?} after {}",
                record,
                self.position
            );
            match record.view().unwrap() {
                Body::Trade(t) => {
                    assert_eq!(record.prev(), self.position);
                    let before = self.rows.insert(record.seq(), t.id.number().unwrap_or_default());
                    assert_eq!(before, None, "seq {} was given twice", record.seq());
                }
                Body::Gap(g) => {
                    assert_eq!(g.cause, GapCause::Power);
                    self.lost.push((record.prev(), record.seq()));
                }
                other => panic!("{other:?}"),
            }
            self.position = record.seq();
        }
    }

    /// A fresh look from the beginning must tell the same: each row that this consumer had, or a mark over it.
    fn agrees_with(&self, tape: &Tape) {
        let mut fresh = Self::default();
        fresh.read_on(tape);
        assert_eq!(fresh.position, tape.head(&btc()).unwrap_or(0));
        for (seq, id) in &self.rows {
            match fresh.rows.get(seq) {
                Some(other) => assert_eq!(other, id, "seq {seq} is another row now"),
                None => assert!(fresh.covered(*seq), "seq {seq} vanished without a mark"),
            }
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    boot: u32,
    id: u64,
    consumer: Consumer,
}

impl World {
    fn open(&self) -> Tape {
        Tape::open(self.dir.path(), on(&format!("boot-{}", self.boot))).unwrap()
    }

    fn write(&mut self, tape: &Tape, batches: usize, size: usize) {
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&btc()).unwrap();
        for _ in 0..batches {
            for _ in 0..size {
                self.id += 1;
                lane.append(no, &trade(self.id)).unwrap();
            }
            lane.commit().unwrap();
        }
    }

    fn check(&mut self, tape: &Tape) {
        self.consumer.read_on(tape);
        self.consumer.agrees_with(tape);
        let reader = Tape::open_reader(self.dir.path()).unwrap();
        self.consumer.agrees_with(&reader);
    }
}

fn cut(dir: &Path, keep: u64) -> u64 {
    let file = OpenOptions::new().write(true).open(newest_segment(dir, "w")).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(keep.min(len)).unwrap();
    len
}

#[derive(Debug, Clone)]
enum Step {
    Write { batches: usize, size: usize },
    CleanEnd,
    Kill,
    TornTail { bytes: usize },
    PowerLoss { share: f64, batches: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..6_usize, 1..20_usize).prop_map(|(batches, size)| Step::Write { batches, size }),
        Just(Step::CleanEnd),
        Just(Step::Kill),
        (1..200_usize).prop_map(|bytes| Step::TornTail { bytes }),
        (0.0..=1.0, 0..3_usize).prop_map(|(share, batches)| Step::PowerLoss { share, batches }),
    ]
}

fn run(steps: &[Step]) {
    let mut w = World { dir: tempfile::tempdir().unwrap(), boot: 0, id: 0, consumer: Consumer::default() };
    let mut tape = w.open();
    for step in steps {
        match *step {
            Step::Write { batches, size } => {
                w.write(&tape, batches, size);
                w.check(&tape);
                continue;
            }
            Step::CleanEnd => {
                tape.close().unwrap();
                w.boot += 1;
            }
            Step::Kill => drop(tape),
            Step::TornTail { bytes } => {
                // A write that the kill cut short: the beginning of a record that nobody was shown.
                let mut record = Vec::new();
                let seq = tape.head(&btc()).unwrap_or(0) + 1;
                wholetape_model::record::encode(&trade(9), 0, seq, 1, &mut record);
                drop(tape);
                if w.id == 0 {
                    tape = w.open();
                    continue;
                }
                let path = newest_segment(w.dir.path(), "w");
                let mut file = std::fs::read(&path).unwrap();
                file.extend_from_slice(&record[..bytes.min(record.len() - 1)]);
                std::fs::write(&path, file).unwrap();
            }
            Step::PowerLoss { share, batches } => {
                // All that a segment holds is synced, then more is written and seen, then part of it never was.
                w.write(&tape, 1, 1);
                let head = tape.head(&btc()).unwrap();
                assert!(tape.wait_synced(&btc(), head, Duration::from_secs(5)).unwrap());
                let path = newest_segment(w.dir.path(), "w");
                let synced = std::fs::metadata(&path).unwrap().len();
                w.write(&tape, batches, 3);
                w.check(&tape);
                drop(tape);
                let now = newest_segment(w.dir.path(), "w");
                let from = if now == path { synced } else { 0 };
                let len = std::fs::metadata(&now).unwrap().len();
                cut(w.dir.path(), from + ((len - from) as f64 * share) as u64);
                w.boot += 1;
            }
        }
        tape = w.open();
        w.check(&tape);
        w.write(&tape, 1, 2);
        w.check(&tape);
    }
}

#[test]
fn restart() {
    run(&[Step::Write { batches: 3, size: 5 }, Step::CleanEnd, Step::Write { batches: 2, size: 50 }, Step::Kill]);
}

#[test]
fn torn_tail() {
    run(&[
        Step::Write { batches: 3, size: 5 },
        Step::TornTail { bytes: 7 },
        Step::TornTail { bytes: 60 },
        Step::TornTail { bytes: 95 },
    ]);
}

#[test]
fn power_loss() {
    for share in [0.0, 0.1, 0.5, 0.99, 1.0] {
        run(&[Step::Write { batches: 3, size: 5 }, Step::PowerLoss { share, batches: 3 }]);
    }
}

#[test]
fn power_loss_twice_uses_no_seq_twice() {
    let lost = Step::PowerLoss { share: 0.0, batches: 2 };
    run(&[Step::Write { batches: 1, size: 1 }, lost.clone(), lost.clone(), lost]);
}

#[test]
fn the_power_mark_covers_what_can_have_been_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (topic("trade.A.X"), topic("book.B.X"));
    {
        let tape = Tape::open(dir.path(), on("one")).unwrap();
        let mut lane = tape.lane("w").unwrap();
        let no = lane.topic(&a).unwrap();
        lane.topic(&b).unwrap();
        for id in 1..=4 {
            lane.append(no, &trade(id)).unwrap();
        }
        lane.commit().unwrap();
    }
    {
        let same_boot = Tape::open(dir.path(), on("one")).unwrap();
        assert_eq!(read_all(&same_boot, &a), rows(1, 1..=4), "a kill alone marks nothing");
        assert_eq!(same_boot.stats().power_marks, 0);
    }
    let tape = Tape::open(dir.path(), on("two")).unwrap();
    let span = u64::from(POWER_SPAN);
    let mark = |prev: u64| Seen::Lost { prev, seq: prev + span, cause: GapCause::Power };
    let mut want = rows(1, 1..=4);
    want.push(mark(4));
    assert_eq!(read_all(&tape, &a), want);
    assert_eq!(read_all(&tape, &b), [mark(0)], "also a topic that was registered and had nothing yet");
    assert_eq!(tape.stats().power_marks, 2);
    assert_eq!(tape.synced_seq(&a), Some(4 + span), "numbers go on only when the mark is on the disk");
    let mut lane = tape.lane("w").unwrap();
    let no = lane.topic(&a).unwrap();
    assert_eq!(lane.append(no, &trade(5)).unwrap(), 5 + span);
    lane.commit().unwrap();
    // A cursor that had seen more than the disk kept.
    let mut ahead = tape.reader(&a, From::Seq(100), ReaderOptions::default()).unwrap();
    assert_eq!(drain(&mut ahead), [mark(4), Seen::Row { seq: 5 + span, id: 5 }]);
    drop(lane);
    tape.close().unwrap();
    let tape = Tape::open(dir.path(), on("three")).unwrap();
    assert_eq!(tape.stats().power_marks, 0, "a clean end leaves no doubt");
    want.push(Seen::Row { seq: 5 + span, id: 5 });
    assert_eq!(read_all(&tape, &a), want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_course_of_events(steps in prop::collection::vec(step(), 1..9)) {
        run(&steps);
    }
}
