//! The one-cursor test over the catalog: whatever became of the tape and of the files, the same cursor reads the same records.
//!
//! A witness reads everything from the tape as it is written. Then rows are stored, late ones find their places, days are sealed, the
//! tape lets go what is stored, topics change lanes, tape and catalog start anew; and from any position, history and then the tape
//! must tell what the witness saw: by seq, span and value, nothing twice, nothing missing. Read by time as of P, and followed
//! from P, it is the same set.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{DAY, Dice, T0, body, mark, owned, topic};
use wholetape_model::*;
use wholetape_store::canon;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::file::Codec;
use wholetape_store::history::{AskWriter, CatalogHistory};
use wholetape_store::manifest::Change;
use wholetape_store::seqs::Seqs;
use wholetape_store::table::Table;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::history::{Held, Past, PastBatch, PastReader};
use wholetape_tape::{Delivery, Disk, DiskFile, From, Lane, ReaderOptions, Retention, Tape, TapeConfig, TapeTime};

const SECOND: i64 = 1_000_000_000;
const KINDS: [&str; 2] = ["trade", "book"];

/// The real disk without its waiting.
struct Quick;

impl Disk for Quick {
    fn sync(&self, _: &dyn DiskFile) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Hand(AtomicI64);

impl TapeTime for Hand {
    fn wall(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn mono(&self) -> u64 {
        self.wall().cast_unsigned()
    }
}

/// A record as a consumer sees it: seq, span, and its value in canonical bytes.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    seq: u64,
    span: u32,
    value: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.seq, self.span)
    }
}

fn seen(topic: &Topic, record: &Record<'_>) -> Seen {
    let table = Table::of(topic.kind(), record, &record.view().unwrap());
    let mut value = Vec::new();
    canon::row(table, Ts::ZERO, record, &mut value).unwrap();
    Seen { seq: record.seq(), span: record.span(), value }
}

/// All that a reader of history gives: records, holes, and each record's `ts_init`.
fn drain(topic: &Topic, reader: &mut dyn PastReader) -> (Vec<Seen>, Vec<(u64, u64)>, Vec<i64>) {
    let (mut batch, mut rows, mut missed, mut times) = (PastBatch::default(), Vec::new(), Vec::new(), Vec::new());
    while reader.next(&mut batch).unwrap() {
        assert!(!batch.is_empty());
        for i in 0..batch.len() {
            match batch.get(i).unwrap() {
                Past::Record { ts_init, record } => {
                    rows.push(seen(topic, &record));
                    times.push(ts_init.0);
                }
                Past::Missed { from, to } => missed.push((from, to)),
            }
        }
    }
    assert!(!reader.next(&mut batch).unwrap() && batch.is_empty(), "the end stays the end");
    (rows, missed, times)
}

struct World {
    dir: tempfile::TempDir,
    dice: Dice,
    hand: Arc<Hand>,
    boots: u32,
    tape: Option<Tape>,
    lanes: BTreeMap<&'static str, Lane>,
    /// The lane that has a topic.
    owner: BTreeMap<&'static str, &'static str>,
    follower: Option<Follower>,
    history: CatalogHistory,
    next: BTreeMap<&'static str, u64>,
    late: Vec<(u64, i64)>,
    truth: BTreeMap<&'static str, Vec<Seen>>,
    /// As of which position history was read by time, and what it told: rows in their order.
    told: BTreeMap<(&'static str, u64), Vec<Seen>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // With little memory, groups are decoded again and again.
        let memory = [10 << 10, 40 << 10, 32 << 20][(seed % 3) as usize];
        let history = CatalogHistory::new(Arc::new(Quick), dir.path()).with_memory(memory);
        let mut world = Self {
            dir,
            dice: Dice(seed),
            hand: Arc::new(Hand(AtomicI64::new(T0))),
            boots: 0,
            tape: None,
            lanes: BTreeMap::new(),
            owner: BTreeMap::new(),
            follower: None,
            history,
            next: BTreeMap::new(),
            late: Vec::new(),
            truth: KINDS.iter().map(|k| (*k, Vec::new())).collect(),
            told: BTreeMap::new(),
        };
        world.open_tape();
        world
    }

    fn now(&self) -> i64 {
        self.hand.wall()
    }

    fn go_on(&self, ns: i64) {
        self.hand.0.fetch_add(ns, Ordering::Relaxed);
    }

    fn tape(&self) -> &Tape {
        self.tape.as_ref().unwrap()
    }

    fn open_tape(&mut self) {
        let config = TapeConfig {
            disk: Arc::new(Quick),
            driven: Some(self.hand.clone()),
            boot_id: Some(format!("boot-{}", self.boots)),
            segment_bytes: 12 << 10,
            retention: Retention { bytes_max: Some(60 << 10), ..Retention::default() },
            ..TapeConfig::default()
        };
        self.tape = Some(Tape::open(&self.dir.path().join("tape"), config).unwrap());
        self.witness();
    }

    fn close_tape(&mut self, power: bool) {
        self.follower = None;
        self.lanes.clear();
        let tape = self.tape.take().unwrap();
        if power {
            // Nothing says that it ended well: marks cover what readers may have seen.
            self.boots += 1;
            drop(tape);
        } else {
            tape.close().unwrap();
        }
    }

    fn open_store(&mut self) {
        self.follower = None;
        let config = CatalogConfig { codec: Codec::None, depth: false, ..CatalogConfig::default() };
        let catalog = Catalog::open(Arc::new(Quick), self.dir.path(), config).unwrap();
        // Nothing is due by itself but late rows, and days that are over.
        let pace = Pace { flush_every: Duration::from_secs(86_400 * 365), ..Pace::default() };
        self.follower = Some(Follower::new(catalog, pace));
    }

    fn with_follower(&mut self, work: impl FnOnce(&mut Follower, &Tape, Ts)) {
        if self.follower.is_none() {
            self.open_store();
        }
        let (tape, now) = (self.tape.as_ref().unwrap(), Ts(self.hand.wall()));
        let follower = self.follower.as_mut().unwrap();
        while follower.poll(tape, now).unwrap() {}
        work(follower, tape, now);
        tape.hold(follower.stored());
    }

    fn append(&mut self, kind: &'static str, event: i64, flags: RowFlags, body: View<'_>) {
        let (now, lane) = (self.now(), *self.owner.entry(kind).or_insert("a"));
        let tape = self.tape.as_ref().unwrap();
        let lane = self.lanes.entry(lane).or_insert_with(|| tape.lane(lane).unwrap());
        let scales = Scales { price: 2, size: 3 };
        let row = Row { ts_event: Ts(event), ts_recv: Ts(now), conn: 4, frame: now as u32, flags, scales, body };
        let no = lane.topic(&topic(kind)).unwrap();
        lane.append(no, &row).unwrap();
    }

    fn write(&mut self, rows: u64) {
        for _ in 0..rows {
            let ns = self.dice.below(3 * SECOND as u64);
            self.go_on(ns as i64);
            let kind = KINDS[self.dice.below(2) as usize];
            if self.dice.below(15) == 0 {
                let n = self.dice.next();
                self.append(kind, self.now(), RowFlags::default(), mark(n >> 8, &mut Dice(n), "why"));
                continue;
            }
            let id = *self.next.entry(kind).and_modify(|n| *n += 1).or_insert(1);
            if kind == "trade" && self.dice.below(5) == 0 {
                self.late.push((id, self.now()));
                continue;
            }
            let o = owned(&mut Dice(id));
            self.append(kind, self.now(), RowFlags::default(), body(kind, id, &mut Dice(id ^ 77), &o));
        }
        self.commit();
    }

    fn heal(&mut self) {
        for (id, at) in std::mem::take(&mut self.late) {
            if self.dice.below(3) == 0 {
                self.late.push((id, at));
                continue;
            }
            let o = owned(&mut Dice(id));
            self.append("trade", at, RowFlags::LATE_REST, body("trade", id, &mut Dice(id ^ 77), &o));
        }
        self.commit();
    }

    fn commit(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.commit().unwrap();
        }
        self.witness();
    }

    /// Reads what is new from the tape, which has it still.
    fn witness(&mut self) {
        for kind in KINDS {
            let (topic, tape) = (topic(kind), self.tape.as_ref().unwrap());
            let Some(head) = tape.head(&topic) else { continue };
            let truth = self.truth.get_mut(kind).unwrap();
            let at = truth.last().map_or(0, |last| last.seq);
            let (rows, missed) = from_tape(tape, &topic, at);
            assert_eq!(missed, None);
            truth.extend(rows);
            assert_eq!(truth.last().map_or(0, |last| last.seq), head);
        }
    }

    fn step(&mut self) -> &'static str {
        match self.dice.below(13) {
            0..3 => {
                let rows = 5 + self.dice.below(120);
                self.write(rows);
                "write"
            }
            3 => {
                self.heal();
                "heal"
            }
            4 => {
                self.with_follower(|follower, _, now| follower.tend(now).unwrap());
                "tend"
            }
            5 => {
                // Live rows alone: late ones wait.
                let kind = KINDS[self.dice.below(2) as usize];
                let late = self.dice.below(2) == 0;
                self.with_follower(|follower, tape, now| match late {
                    true => follower.store_topic(tape, &topic(kind), now).unwrap(),
                    false => {
                        follower.set_pace(Pace { flush_every: Duration::ZERO, ..Pace::default() });
                        follower.tend(now).unwrap();
                        follower.set_pace(Pace { flush_every: Duration::from_secs(86_400 * 365), ..Pace::default() });
                    }
                });
                if late { "store a topic" } else { "store live rows" }
            }
            6 => {
                self.with_follower(|follower, _, now| follower.flush(now).unwrap());
                "flush"
            }
            7 => {
                // The day is over, or ten minutes for late rows.
                let midnight = self.dice.below(3) == 0;
                self.go_on(if midnight { DAY - self.now() % DAY + 700 * SECOND } else { 660 * SECOND });
                self.with_follower(|follower, _, now| follower.tend(now).unwrap());
                "seal"
            }
            8 => {
                self.with_follower(|_, _, _| {});
                self.tape().check_space();
                "let go"
            }
            9 => {
                let kind = KINDS[self.dice.below(2) as usize];
                if let Some(from) = self.owner.get(kind).copied()
                    && self.lanes.contains_key(from)
                {
                    let lane = self.lanes.get_mut(from).unwrap();
                    let no = lane.topic(&topic(kind)).unwrap();
                    lane.release(no).unwrap();
                    self.owner.insert(kind, if from == "a" { "b" } else { "a" });
                }
                "hand over"
            }
            10 => {
                self.open_store();
                "begin the store anew"
            }
            11 => {
                self.close_tape(false);
                self.open_tape();
                "begin anew"
            }
            _ if self.dice.below(3) == 0 => {
                self.close_tape(true);
                self.open_tape();
                "lose the power"
            }
            _ => "rest",
        }
    }

    fn oldest(&self, topic: &Topic) -> u64 {
        self.tape().topics().iter().find(|t| t.topic == *topic).map_or(1, |t| t.oldest.max(1))
    }

    /// From a position: what the tape let go from history, or all that history has, and then the tape.
    fn read_from(&self, topic: &Topic, after: u64, history_first: bool) -> Vec<Seen> {
        let (mut all, mut at) = (Vec::new(), after);
        let past = |all: &mut Vec<Seen>, at: &mut u64| {
            let (rows, missed, _) = drain(topic, &mut self.history.by_seq(topic, *at).unwrap());
            assert_eq!(missed, [], "{topic} from {after}");
            *at = rows.last().map_or(*at, |last| last.seq);
            all.extend(rows);
        };
        if history_first {
            past(&mut all, &mut at);
        }
        loop {
            // Lanes let go by themselves: a topic that was handed over may lack something in its midst, too.
            let (rows, missed) = from_tape(self.tape(), topic, at);
            at = rows.last().map_or(at, |last| last.seq);
            all.extend(rows);
            let Some(missed) = missed else { return all };
            past(&mut all, &mut at);
            assert!(at >= missed.1, "{topic} from {after}: {missed:?} is neither here nor there");
        }
    }

    fn check(&mut self, what: &str) {
        for kind in KINDS {
            let (topic, truth) = (topic(kind), self.truth[kind].clone());
            let head = truth.last().map_or(0, |last| last.seq);
            let held = self.history.held(&topic).unwrap();
            let Held { earliest, stored } = held.unwrap_or(Held { earliest: 0, stored: 0 });
            assert!(earliest == 0 && stored <= head, "{what}: {held:?} of {head}");
            assert!(stored == 0 || truth.iter().any(|s| s.seq == stored), "{what}: {stored} is in the midst of a span");
            let ends: Vec<u64> = truth.iter().flat_map(|s| [s.seq, s.seq - u64::from(s.span) / 2]).collect();
            for _ in 0..6 {
                let after = match self.dice.below(4) {
                    0 => 0,
                    1 => stored.saturating_sub(self.dice.below(3)),
                    _ if ends.is_empty() => 0,
                    _ => ends[self.dice.below(ends.len() as u64) as usize],
                };
                let wanted: Vec<Seen> = truth.iter().filter(|s| s.seq > after).cloned().collect();
                let history_first = self.dice.below(2) == 0;
                let got = self.read_from(&topic, after, history_first);
                assert!(got == wanted, "{what}: {topic} from {after}, stored {stored}: {}", difference(&got, &wanted));
            }
            self.check_by_time(kind, what, &truth, stored);
        }
    }

    fn check_by_time(&mut self, kind: &'static str, what: &str, truth: &[Seen], stored: u64) {
        let topic = topic(kind);
        let (upto, mut reader) = self.history.by_time(&topic, Ts::ZERO, None).unwrap();
        let (mut rows, _, times) = drain(&topic, &mut reader);
        assert_eq!(upto, stored, "{what}: nobody is asked");
        let keys: Vec<(i64, u64)> = times.iter().copied().zip(rows.iter().map(|s| s.seq)).collect();
        assert!(keys.is_sorted(), "{what}: {topic}: not in the corrected order");
        self.told.insert((kind, upto), rows.clone());
        rows.sort_by_key(|s| s.seq);
        let wanted: Vec<Seen> = truth.iter().filter(|s| s.seq <= upto).cloned().collect();
        assert!(rows == wanted, "{what}: {topic} as of {upto}: {}", difference(&rows, &wanted));
        // As of P it stays what it was, whatever came since.
        let old: Vec<_> = self.told.keys().filter(|k| k.0 == kind).copied().collect();
        let key = old[self.dice.below(old.len() as u64) as usize];
        let (upto, mut reader) = self.history.by_time(&topic, Ts::ZERO, Some(key.1)).unwrap();
        let (got, _, times) = drain(&topic, &mut reader);
        assert_eq!(upto, key.1);
        let before = &self.told[&key];
        assert!(got == *before, "{what}: {topic} as of {upto} is another now: {}", difference(&got, before));
        assert!(self.history.by_time(&topic, Ts::ZERO, Some(stored + 1)).is_err());
        if got.is_empty() {
            return;
        }
        // From a time on.
        let from = times[self.dice.below(times.len() as u64) as usize] + self.dice.below(2) as i64;
        let (_, mut reader) = self.history.by_time(&topic, Ts(from), Some(upto)).unwrap();
        let begin = reader.begin();
        let (tail, ..) = drain(&topic, &mut reader);
        let place =
            |key: (i64, u64)| times.iter().zip(&got).position(|(ts, s)| (*ts, s.seq) >= key).unwrap_or(got.len());
        let mut wanted = place((from, 0));
        if kind == "book" {
            let is_full = |s: &Seen| matches!(book_action(&s.value), Some(action) if action != BookAction::Delta);
            let upto_from = times.iter().zip(&got).take_while(|(ts, _)| **ts <= from).count();
            if let Some(state) = got[..upto_from].iter().rposition(is_full) {
                wanted = state;
                assert_eq!(begin, (Ts(times[state]), got[state].seq));
            }
        }
        assert!(tail == got[wanted..], "{what}: {topic} from {from}: {}", difference(&tail, &got[wanted..]));
    }
}

/// The action of a book record, by its canonical bytes: kind after the head, then the first field.
fn book_action(value: &[u8]) -> Option<BookAction> {
    let head = 4 * 8 + 5 * 4;
    let kind = u32::from_le_bytes(value[head - 4..head].try_into().ok()?);
    let action = value.get(head..head + 8)?;
    (kind == book_kind()).then(|| BookAction::from_u8(action[0])).flatten()
}

fn book_kind() -> u32 {
    let mut bytes = Vec::new();
    let o = owned(&mut Dice(1));
    let body = body("book", 1, &mut Dice(1), &o);
    let (flags, scales) = (RowFlags::default(), Scales::default());
    let row = Row { ts_event: Ts(1), ts_recv: Ts(1), conn: 0, frame: 0, flags, scales, body };
    wholetape_model::record::encode(&row, 0, 1, 1, &mut bytes);
    u32::from(Record::parse(&bytes, false).unwrap().kind())
}

fn difference(got: &[Seen], wanted: &[Seen]) -> String {
    let at = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
    let near = |all: &[Seen]| format!("{:?}", all.iter().skip(at.saturating_sub(2)).take(6).collect::<Vec<_>>());
    format!("{} of {} records; at {at}: {} instead of {}", got.len(), wanted.len(), near(got), near(wanted))
}

/// What the tape has behind a position, up to what it let go.
fn from_tape(tape: &Tape, topic: &Topic, after: u64) -> (Vec<Seen>, Option<(u64, u64)>) {
    let mut reader = tape.reader(topic, From::Seq(after), ReaderOptions::default()).unwrap();
    let (mut batch, mut all) = (Vec::new(), Vec::new());
    while reader.poll_next(&mut batch, 1_000) > 0 {
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Record(r) => all.push(seen(topic, &r.record())),
                Delivery::Missed { from, to, .. } => return (all, Some((from, to))),
                other => panic!("{topic} from {after}: {other:?}"),
            }
        }
    }
    (all, None)
}

fn story(seed: u64) -> (usize, u64) {
    let mut w = World::new(seed);
    let mut log = vec![format!("seed {seed}")];
    let (mut let_go, mut steps) = (0, 0);
    for n in 0..90 {
        let step = w.step();
        log.push(step.to_owned());
        steps += 1;
        if n % 3 == 0 {
            let what = log.join(", ");
            w.check(&what);
        }
        let_go = let_go.max(w.oldest(&topic("trade")));
    }
    // All of it stored, sealed, and what the tape can let go gone.
    w.go_on(2 * DAY);
    w.with_follower(|follower, _, now| follower.tend(now).unwrap());
    w.with_follower(|follower, _, now| follower.flush(now).unwrap());
    w.tape().check_space();
    w.check(&format!("{}, the end", log.join(", ")));
    (steps, let_go)
}

#[test]
fn every_cursor_reads_the_same_records() {
    if let Some(seed) = std::env::var("WHOLETAPE_SEED").ok().and_then(|s| s.parse().ok()) {
        story(seed);
        return;
    }
    let stories = std::env::var("WHOLETAPE_STORIES").ok().and_then(|s| s.parse().ok()).unwrap_or(9);
    let (mut steps, mut let_go) = (0, 0);
    for seed in 1..=stories {
        let (s, oldest) = std::panic::catch_unwind(|| story(seed)).unwrap_or_else(|e| {
            println!("seed {seed} fails; WHOLETAPE_SEED={seed} runs it alone");
            std::panic::resume_unwind(e)
        });
        (steps, let_go) = (steps + s, let_go + u64::from(oldest > 100));
    }
    println!("{steps} steps in {stories} stories; {let_go} in which the tape let much go");
    assert!(let_go > stories / 2, "{let_go}");
}

/// The writer beside history, in one thread.
struct Asked(Mutex<World>);

impl AskWriter for Asked {
    fn store(&self, topic: &Topic) -> bool {
        let mut world = self.0.lock().unwrap();
        world.with_follower(|follower, tape, now| follower.store_topic(tape, topic, now).unwrap());
        true
    }
}

#[test]
fn history_by_time_and_then_the_tape_tell_everything_once_while_late_rows_wait() {
    let mut w = World::new(3);
    for _ in 0..6 {
        w.write(200);
        w.heal();
        w.with_follower(|follower, _, now| {
            let rewrite_every = Duration::from_secs(86_400);
            follower.set_pace(Pace { flush_every: Duration::ZERO, rewrite_every, ..Pace::default() });
            follower.tend(now).unwrap();
        });
    }
    let topic = topic("trade");
    let alone = w.history.clone();
    let waits = alone.held(&topic).unwrap().unwrap().stored;
    let head = w.tape().head(&topic).unwrap();
    assert!(waits < head - 100, "late rows wait: {waits} of {head}");
    let truth = w.truth["trade"].clone();
    let asked = Arc::new(Asked(Mutex::new(w)));
    let history = alone.clone().with_writer(asked.clone());
    for (history, wanted) in [(&alone, waits), (&history, head)] {
        let (upto, mut reader) = history.by_time(&topic, Ts::ZERO, None).unwrap();
        assert_eq!(upto, wanted);
        let (mut all, ..) = drain(&topic, &mut reader);
        all.extend(asked.0.lock().unwrap().read_from(&topic, upto, false));
        all.sort_by_key(|s| s.seq);
        assert!(all == truth, "{}", difference(&all, &truth));
    }
    let (upto, _) = alone.by_time(&topic, Ts::ZERO, None).unwrap();
    assert_eq!(upto, head, "what was stored for one is there for all");
}

/// Parts that are far from each other by seq, so that a reader opens them one after the other.
fn spread(seed: u64) -> World {
    let mut w = World::new(seed);
    for _ in 0..5 {
        w.write(150);
        w.heal();
        w.with_follower(|follower, _, now| follower.flush(now).unwrap());
        // The marks of a power loss cover a million seqs.
        w.close_tape(true);
        w.go_on(DAY);
        w.open_tape();
    }
    w.with_follower(|follower, _, now| follower.flush(now).unwrap());
    w
}

#[test]
fn files_may_be_replaced_between_two_batches() {
    for (seed, steps_before) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
        let mut w = spread(seed);
        let (topic, truth) = (topic("trade"), w.truth["trade"].clone());
        let (mut reader, mut batch) = (w.history.by_seq(&topic, 0).unwrap(), PastBatch::default());
        let mut got = Vec::new();
        let mut n = 0;
        loop {
            if n == steps_before {
                // Late rows and a seal: no file of that day is what it was.
                w.heal();
                w.go_on(2 * DAY);
                w.with_follower(|follower, _, now| follower.tend(now).unwrap());
            }
            if !reader.read(&mut batch).unwrap() {
                break;
            }
            n += 1;
            for i in 0..batch.len() {
                match batch.get(i).unwrap() {
                    Past::Record { record, .. } => got.push(seen(&topic, &record)),
                    missed => panic!("{missed:?}"),
                }
            }
        }
        assert!(n > 4, "{n}");
        assert!(got == truth, "{}", difference(&got, &truth));
        assert_eq!(reader.effort.looks, 1, "seed {seed}: they were gone when it came to them");
    }
}

#[test]
fn what_retention_let_go_is_missed_and_named_once() {
    let mut w = spread(9);
    let (topic, truth) = (topic("trade"), w.truth["trade"].clone());
    let (mut early, mut batch) = (w.history.by_seq(&topic, 0).unwrap(), PastBatch::default());
    assert!(early.read(&mut batch).unwrap());
    let Past::Record { record: first, .. } = batch.get(0).unwrap() else { panic!() };
    assert_eq!(seen(&topic, &first), truth[0]);
    // The parts that begin the topic go, and one in its midst.
    let catalog = &mut w.follower.as_mut().unwrap().catalog;
    let mut parts: Vec<_> = catalog.state().parts.values().filter(|p| p.topic == topic.as_str()).cloned().collect();
    parts.sort_by_key(|p| p.seqs.ends());
    let trades: Vec<_> = parts.iter().filter(|p| p.table == "trades").collect();
    let gone: Vec<_> = parts.iter().filter(|p| p.seqs.ends() <= trades[0].seqs.ends()).chain([trades[3]]).collect();
    let mut retired = Seqs::default();
    gone.iter().for_each(|p| retired.add_all(&p.seqs));
    let mut change = Change { remove: gone.iter().map(|p| p.part).collect(), ..Change::default() };
    change.retired.insert(topic.as_str().to_owned(), retired.clone());
    catalog.manifest.commit(change).unwrap();
    for part in &gone {
        for f in &part.files {
            std::fs::remove_file(w.dir.path().join(&f.path)).unwrap();
        }
    }
    let wanted: Vec<Seen> = truth.iter().filter(|s| !retired.has(s.seq)).cloned().collect();
    assert!(wanted.len() < truth.len() - 20 && wanted.len() > 100);
    let held = w.history.held(&topic).unwrap().unwrap();
    assert_eq!(held.stored, truth.last().unwrap().seq, "what was let go waits for nobody");
    assert_eq!(held.earliest, wanted[0].seq - u64::from(wanted[0].span));
    let holes = |got: &[Seen], after: u64| -> Vec<(u64, u64)> {
        let (mut at, mut holes) = (after, Vec::new());
        for s in got {
            if s.seq - u64::from(s.span) > at {
                holes.push((at + 1, s.seq - u64::from(s.span)));
            }
            at = s.seq;
        }
        holes
    };
    for after in [0, truth[1].seq, truth[truth.len() / 2].seq] {
        let (got, missed, _) = drain(&topic, &mut w.history.by_seq(&topic, after).unwrap());
        let wanted: Vec<Seen> = wanted.iter().filter(|s| s.seq > after).cloned().collect();
        assert!(got == wanted, "from {after}: {}", difference(&got, &wanted));
        assert_eq!(missed, holes(&wanted, after), "from {after}");
    }
    // Whoever was in the midst of it goes on behind what it was given.
    let given = batch.len();
    let (rest, missed, _) = drain(&topic, &mut early);
    let at = truth[given - 1].seq;
    let wanted: Vec<Seen> = wanted.iter().filter(|s| s.seq > at).cloned().collect();
    assert!(rest.ends_with(&wanted[wanted.len() - 50..]) && rest.windows(2).all(|w| w[0].seq < w[1].seq));
    assert!(!missed.is_empty() && early.effort.looks == 1, "{missed:?}");
}

#[test]
fn a_catalog_that_began_late_says_where() {
    let mut w = World::new(5);
    w.write(900);
    w.write(600);
    // Nobody held it: much of it is gone before there is a catalog.
    w.tape().check_space();
    let topic = topic("trade");
    let oldest = w.oldest(&topic);
    assert!(oldest > 100);
    assert_eq!(w.history.held(&topic).unwrap(), None);
    w.heal();
    for _ in 0..3 {
        // The first rows may be late ones: they wait.
        w.with_follower(|follower, _, now| {
            follower.set_pace(Pace { flush_every: Duration::ZERO, ..Pace::default() });
            follower.tend(now).unwrap();
        });
        let held = w.history.held(&topic).unwrap().unwrap();
        assert!(held.earliest >= oldest - 1 && held.stored >= held.earliest, "{held:?} from {oldest} on");
        w.open_store();
        w.write(50);
    }
    w.with_follower(|follower, _, now| follower.flush(now).unwrap());
    let head = w.tape().head(&topic).unwrap();
    assert_eq!(w.history.held(&topic).unwrap(), Some(Held { earliest: oldest - 1, stored: head }));
    let (got, missed, _) = drain(&topic, &mut w.history.by_seq(&topic, 3).unwrap());
    assert_eq!(missed, [(4, oldest - 1)]);
    let truth: Vec<Seen> = w.truth["trade"].iter().filter(|s| s.seq >= oldest).cloned().collect();
    assert!(got == truth, "{}", difference(&got, &truth));
}
