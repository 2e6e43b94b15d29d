//! The tape against a simple model: random writes in several lanes, hand-overs, aborts, kills and power losses.
//!
//! A power loss takes from every file a random part of what was not yet fsynced, and nothing else: the disk beneath
//! notes each file's length at every fsync. What it takes is cut off, or zeros (lengths may reach the disk before data).

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Rng, Seen, read_all, segments, topic, trade};
use proptest::prelude::*;
use wholetape_model::Topic;
use wholetape_tape::{Access, Disk, DiskFile, Fsync, Tape, TapeConfig};

/// Knows what the disk has for sure, by inode.
#[derive(Debug, Default)]
struct Noting(Arc<Mutex<HashMap<u64, u64>>>);

/// A file whose syncs are noted.
#[derive(Debug)]
struct NotingFile(File, Arc<Mutex<HashMap<u64, u64>>>);

impl Disk for Noting {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = access != Access::Read;
        let create = access == Access::Create;
        let file = OpenOptions::new().read(true).write(write).create(create).truncate(create).open(path)?;
        Ok(Arc::new(NotingFile(file, self.0.clone())))
    }
}

impl DiskFile for NotingFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // Noting is enough: what a power loss takes is decided by these notes.
        let meta = self.0.metadata()?;
        self.1.lock().unwrap().insert(meta.ino(), meta.len());
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[derive(Debug, Clone)]
enum Op {
    Append {
        topic: usize,
        rows: usize,
    },
    Commit,
    Abort,
    /// The topic moves to the other lane.
    HandOver {
        topic: usize,
    },
    Sync,
    Clean,
    Kill,
    Power {
        seed: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..TOPICS, 1..12_usize).prop_map(|(topic, rows)| Op::Append { topic, rows }),
        5 => Just(Op::Commit),
        1 => Just(Op::Abort),
        2 => (0..TOPICS).prop_map(|topic| Op::HandOver { topic }),
        1 => Just(Op::Sync),
        1 => Just(Op::Clean),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(|seed| Op::Power { seed }),
    ]
}

const TOPICS: usize = 4;

#[derive(Debug, Default, Clone)]
struct Known {
    lane: usize,
    /// Committed rows as readers saw them.
    rows: BTreeMap<u64, u64>,
    pending: Vec<(u64, u64)>,
    seen_max: u64,
}

struct World {
    dir: tempfile::TempDir,
    disk: Arc<Noting>,
    boot: u32,
    id: u64,
    topics: Vec<Known>,
}

fn name(i: usize) -> Topic {
    topic(&format!("trade.T{i}.X"))
}

impl World {
    fn open(&self) -> Tape {
        let config = TapeConfig {
            disk: self.disk.clone(),
            boot_id: Some(format!("boot-{}", self.boot)),
            segment_bytes: 3000,
            fsync: Fsync::Every(Duration::from_secs(60)),
            sync_bytes: u64::MAX,
            ..TapeConfig::default()
        };
        Tape::open(self.dir.path(), config).unwrap()
    }

    /// What a fresh reader finds must be what readers saw; where it is not, it must be told, and only a power loss is a
    /// reason.
    fn check(&mut self, tape: &Tape, after_power: bool) {
        for (i, known) in self.topics.iter_mut().enumerate() {
            let got = read_all(tape, &name(i));
            let (mut fresh, mut told, mut position) = (BTreeMap::new(), Vec::new(), 0);
            for s in got {
                match s {
                    Seen::Row { seq, id } => {
                        assert_eq!(seq, position + 1, "rows join");
                        fresh.insert(seq, id);
                        position = seq;
                    }
                    Seen::Lost { prev, seq, .. } => {
                        assert_eq!(prev, position);
                        told.push((prev + 1, seq));
                        position = seq;
                    }
                    Seen::Missed { from, to, .. } => {
                        assert!(self.boot > 0, "only a power loss may lose: {from}..{to} of topic {i}");
                        assert_eq!(from, position + 1);
                        told.push((from, to));
                        position = to;
                    }
                    other => panic!("{other:?}"),
                }
            }
            for (seq, id) in &known.rows {
                match fresh.get(seq) {
                    Some(got) => assert_eq!(got, id, "topic {i} seq {seq} is another row"),
                    None => assert!(
                        after_power && told.iter().any(|(a, b)| (a..=b).contains(&seq)),
                        "topic {i} seq {seq} is gone without a word"
                    ),
                }
            }
            for seq in fresh.keys() {
                assert!(after_power || known.rows.contains_key(seq), "topic {i} seq {seq} was never committed");
            }
            if position > 0 || !known.rows.is_empty() {
                assert!(position >= known.seen_max, "topic {i}: the head {position} fell behind {}", known.seen_max);
            }
            known.rows = fresh;
            known.seen_max = known.seen_max.max(position);
        }
    }

    fn lose_power(&self, seed: u64) {
        let mut rng = Rng(seed);
        let known = self.disk.0.lock().unwrap();
        for lane in ["a", "b"] {
            if !self.dir.path().join("lanes").join(lane).exists() {
                continue;
            }
            for path in segments(self.dir.path(), lane) {
                damage(&path, &known, &mut rng);
            }
        }
    }
}

fn damage(path: &Path, known: &HashMap<u64, u64>, rng: &mut Rng) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let meta = file.metadata().unwrap();
    let (len, safe) = (meta.len(), known.get(&meta.ino()).copied().unwrap_or(0).min(meta.len()));
    if len == safe {
        return;
    }
    let keep = safe + u64::from(rng.next_u32()) % (len - safe + 1);
    match rng.next_u32() % 3 {
        0 => file.set_len(keep).unwrap(),
        1 => {
            // Pages reach the disk in any order: zeros in the middle, good data behind.
            let end = keep + u64::from(rng.next_u32()) % (len - keep + 1);
            file.write_all_at(&vec![0; (end - keep) as usize], keep).unwrap();
        }
        _ if safe == 0 => std::fs::remove_file(path).unwrap(),
        _ => file.set_len(safe).unwrap(),
    }
}

fn run(ops: &[Op]) {
    let mut w = World {
        dir: tempfile::tempdir().unwrap(),
        disk: Arc::default(),
        boot: 0,
        id: 0,
        topics: vec![Known::default(); TOPICS],
    };
    let mut tape = w.open();
    let mut lanes = [Some(tape.lane("a").unwrap()), Some(tape.lane("b").unwrap())];
    for op in ops {
        match op {
            Op::Append { topic, rows } => {
                let known = &mut w.topics[*topic];
                let lane = lanes[known.lane].as_mut().unwrap();
                let no = lane.topic(&name(*topic)).unwrap();
                for _ in 0..*rows {
                    w.id += 1;
                    let seq = lane.append(no, &trade(w.id)).unwrap();
                    assert!(seq > known.seen_max, "seq {seq} was seen before");
                    known.pending.push((seq, w.id));
                }
            }
            Op::Commit => commit(&mut w, &mut lanes),
            Op::Abort => {
                for lane in lanes.iter_mut().flatten() {
                    lane.abort();
                }
                w.topics.iter_mut().for_each(|t| t.pending.clear());
            }
            Op::HandOver { topic } => {
                commit(&mut w, &mut lanes);
                let from = w.topics[*topic].lane;
                let lane = lanes[from].as_mut().unwrap();
                let no = lane.topic(&name(*topic)).unwrap();
                lane.release(no).unwrap();
                w.topics[*topic].lane = 1 - from;
            }
            Op::Sync => {
                for i in 0..TOPICS {
                    let head = tape.head(&name(i)).unwrap_or(0);
                    assert!(tape.wait_synced(&name(i), head, Duration::from_secs(5)).unwrap());
                }
            }
            Op::Clean | Op::Kill | Op::Power { .. } => {
                w.topics.iter_mut().for_each(|t| t.pending.clear());
                let power = matches!(op, Op::Power { .. });
                // The disk as it is now: dropping the tape syncs once more, which neither kill nor power loss would have.
                let known = w.disk.0.lock().unwrap().clone();
                drop(lanes);
                if matches!(op, Op::Clean) {
                    tape.close().unwrap();
                } else {
                    drop(tape);
                }
                if !matches!(op, Op::Clean) {
                    *w.disk.0.lock().unwrap() = known;
                }
                if let Op::Power { seed } = op {
                    w.lose_power(*seed);
                    w.boot += 1;
                }
                tape = w.open();
                w.check(&tape, power);
                lanes = [Some(tape.lane("a").unwrap()), Some(tape.lane("b").unwrap())];
            }
        }
    }
    commit(&mut w, &mut lanes);
    w.check(&tape, false);
    w.check(&Tape::open_reader(w.dir.path()).unwrap(), false);
}

fn commit(w: &mut World, lanes: &mut [Option<wholetape_tape::Lane>; 2]) {
    for lane in lanes.iter_mut().flatten() {
        lane.commit().unwrap();
    }
    for known in &mut w.topics {
        for (seq, id) in known.pending.drain(..) {
            known.rows.insert(seq, id);
            known.seen_max = seq;
        }
    }
}

/// `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_vanishes_unsaid_and_no_seq_comes_twice(ops in prop::collection::vec(op(), 1..40)) {
        run(&ops);
    }
}
