//! The one-cursor test over WebSocket, Parquet and tape: whatever became of each, the same cursor reads the same messages from all three.
//!
//! A witness reads every record from the tape as it is written and keeps the message that it is. Then rows are stored in a catalog, late
//! ones find their places, days are sealed, the tape lets go what is stored, the process ends well, is killed or loses the power with
//! what was not on the disk; and from any position a client of the gateway, a reader of the tape and a reader of the catalog must each
//! tell what the witness saw: same messages, same order, ranges that join. By time as of P it is the same set, in the same order for
//! client and catalog, and stays that whatever comes later.
//!
//! `WHOLETAPE_SEED` runs one story alone, `WHOLETAPE_STORIES` more of them.

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::{BOOK, Rig, TRADE, Ws, book, delta, snapshot, t, trade, validity};
use serde_json::{Value, json};
use tempfile::TempDir;
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, Record, RowFlags, Topic, Ts, ValidityState, View};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::file::Codec;
use wholetape_store::history::{AskWriter, CatalogHistory};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::history::{History, Past, PastBatch, PastReader};
use wholetape_tape::{Delivery, Disk, DiskFile, From, ReaderOptions, Retention, Tape, TapeConfig, TapeTime};
use wholetape_wire::client::Happening;
use wholetape_wire::{Context, Written, message};

const TOPICS: [&str; 2] = [TRADE, BOOK];
const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const DAY: i64 = 86_400 * SECOND;
/// 2026-01-02, 23:50.
const T0: i64 = 20_455 * DAY + 85_800 * SECOND;

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

/// A record as a client is told of it, without what depends on where the reader stood.
#[derive(Clone, PartialEq)]
struct Told {
    seq: u64,
    /// Time of the corrected order; 0 by position.
    ts: i64,
    message: Value,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}: {}", self.seq, self.ts, self.message)
    }
}

impl Told {
    /// Of a message, or of a row of history when `by_time`.
    fn new(mut message: Value, by_time: bool) -> Self {
        let (seq, ts) = (message["seq"].as_u64().unwrap(), message["ts"].as_i64().unwrap());
        let fields = message.as_object_mut().unwrap();
        for place in ["topic", "epoch", "prev", "seq", "ts", "state"] {
            fields.remove(place);
        }
        if let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) {
            data.remove("crc");
        }
        Self { seq, ts: if by_time { ts } else { 0 }, message }
    }

    /// `None`: a checkpoint, which is no message.
    fn of(topic: &Topic, record: &Record<'_>, ts_init: Option<Ts>) -> Option<Self> {
        let cx = Context { topic, epoch: "", prev: record.seq() - 1, state: None, crc: None };
        let mut text = Vec::new();
        let written = match ts_init {
            Some(ts) => message::row(&mut text, &cx, record, ts),
            None => message::record(&mut text, &cx, record),
        };
        (written.unwrap() == Written::Message)
            .then(|| Self::new(serde_json::from_slice(&text).unwrap(), ts_init.is_some()))
    }

    fn timeless(&self) -> Self {
        Self { ts: 0, ..self.clone() }
    }
}

/// What the tape has behind a position, where its last record ends, and the range it let go of.
fn from_tape(tape: &Tape, topic: &Topic, after: u64) -> (Vec<Told>, u64, Option<(u64, u64)>) {
    let mut reader = tape.reader(topic, From::Seq(after), ReaderOptions::default()).unwrap();
    let (mut batch, mut all, mut missed, mut at) = (Vec::new(), Vec::new(), None, after);
    while reader.poll_next(&mut batch, 1_000) > 0 {
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Record(r) => {
                    at = r.record().seq();
                    all.extend(Told::of(topic, &r.record(), None));
                }
                Delivery::Missed { from, to, .. } => {
                    assert!(missed.is_none() && all.is_empty(), "{topic}: a hole in the midst");
                    (missed, at) = (Some((from, to)), to);
                }
                other => panic!("{topic} from {after}: {other:?}"),
            }
        }
    }
    (all, at, missed)
}

/// All that a reader of the catalog gives, with its checkpoints' seqs and times; and the holes.
fn drain(topic: &Topic, reader: &mut dyn PastReader, by_time: bool) -> (Vec<Told>, Vec<(i64, u64)>, Vec<(u64, u64)>) {
    let (mut batch, mut all, mut keys, mut missed) = (PastBatch::default(), Vec::new(), Vec::new(), Vec::new());
    while reader.next(&mut batch).unwrap() {
        for i in 0..batch.len() {
            match batch.get(i).unwrap() {
                Past::Record { ts_init, record } => {
                    all.extend(Told::of(topic, &record, by_time.then_some(ts_init)));
                    keys.push((ts_init.0, record.seq()));
                }
                Past::Missed { from, to } => missed.push((from, to)),
            }
        }
    }
    (all, keys, missed)
}

/// Writes the catalog of one life of the process.
struct Keeper {
    tape: Tape,
    hand: Arc<Hand>,
    follower: Mutex<Follower>,
}

impl Keeper {
    fn with(&self, work: impl FnOnce(&mut Follower, Ts)) {
        let (mut follower, now) = (self.follower.lock().unwrap(), Ts(self.hand.wall()));
        while follower.poll(&self.tape, now).unwrap() {}
        work(&mut follower, now);
        self.tape.hold(follower.stored());
    }
}

impl AskWriter for Keeper {
    fn store(&self, topic: &Topic) -> bool {
        self.with(|follower, now| follower.store_topic(&self.tape, topic, now).unwrap());
        true
    }
}

struct World {
    catalog: TempDir,
    rng: StdRng,
    hand: Arc<Hand>,
    boots: u32,
    /// Nobody kept what the tape let go at first: up to here it is gone.
    floor: BTreeMap<&'static str, u64>,
    rig: Option<Rig>,
    keeper: Option<Arc<Keeper>>,
    history: CatalogHistory,
    next: BTreeMap<&'static str, u64>,
    late: Vec<(u64, i64)>,
    truth: BTreeMap<&'static str, Vec<Told>>,
    /// Positions worth a look: in ranges that were lost, too.
    cursors: BTreeMap<&'static str, Vec<u64>>,
    /// What was told by time, as of which P.
    told: Vec<(&'static str, u64, Vec<Told>)>,
    /// Messages compared, each once for each of the three.
    compared: usize,
}

impl World {
    async fn new(seed: u64) -> Self {
        let catalog = TempDir::new().unwrap();
        let history = CatalogHistory::new(Arc::new(Quick), catalog.path()).with_memory(64 << 10);
        let each = |n| TOPICS.iter().map(|topic| (*topic, n)).collect();
        let mut w = Self {
            catalog,
            rng: StdRng::seed_from_u64(seed),
            hand: Arc::new(Hand(AtomicI64::new(T0))),
            boots: 0,
            floor: each(0),
            rig: None,
            keeper: None,
            history,
            next: each(0),
            late: Vec::new(),
            truth: TOPICS.iter().map(|topic| (*topic, Vec::new())).collect(),
            cursors: TOPICS.iter().map(|topic| (*topic, vec![0])).collect(),
            told: Vec::new(),
            compared: 0,
        };
        w.open(TempDir::new().unwrap(), seed.is_multiple_of(3)).await;
        if seed.is_multiple_of(3) {
            w.begin_late().await;
        }
        w
    }

    /// The tape goes on alone for a while and lets go what nobody stored.
    async fn begin_late(&mut self) {
        for _ in 0..8 {
            self.write(100);
        }
        self.rig().tape.check_space();
        for topic in TOPICS {
            let oldest = self.oldest(topic);
            assert!(oldest > 50, "{topic}: {oldest}");
            self.floor.insert(topic, oldest - 1);
        }
        let dir = self.rig.take().unwrap().stop().await;
        self.open(dir, false).await;
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }

    fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().unwrap()
    }

    fn now(&self) -> i64 {
        self.hand.wall()
    }

    fn go_on(&self, ns: i64) {
        self.hand.0.fetch_add(ns, Ordering::Relaxed);
    }

    fn oldest(&self, topic: &str) -> u64 {
        self.rig().tape.topics().iter().find(|s| s.topic == t(topic)).map_or(1, |s| s.oldest.max(1))
    }

    async fn open(&mut self, dir: TempDir, alone: bool) {
        let config = TapeConfig {
            disk: Arc::new(Quick),
            driven: Some(self.hand.clone()),
            boot_id: Some(format!("boot-{}", self.boots)),
            segment_bytes: 12 << 10,
            memory_bytes: 16 << 10,
            retention: Retention { bytes_max: Some(40 << 10), ..Retention::default() },
            stored_elsewhere: (!alone).then_some(|_: &Topic| true),
            ..TapeConfig::default()
        };
        let (mut keeper, history) = (None, self.history.clone());
        let rig = Rig::open_with(dir, GatewayConfig::default(), config, |tape| {
            if alone {
                return None;
            }
            let config = CatalogConfig { codec: Codec::None, depth: false, ..CatalogConfig::default() };
            let catalog = Catalog::open(Arc::new(Quick), self.catalog.path(), config).unwrap();
            // Nothing is due by itself but late rows, and days that are over.
            let pace = Pace { flush_every: std::time::Duration::from_secs(86_400 * 365), ..Pace::default() };
            let follower = Mutex::new(Follower::new(catalog, pace));
            let made = Arc::new(Keeper { tape: tape.clone(), hand: self.hand.clone(), follower });
            Some(Arc::new(history.with_writer(keeper.insert(made).clone())) as Arc<dyn History>)
        })
        .await;
        (self.rig, self.keeper) = (Some(rig), keeper);
        self.witness();
    }

    /// The newest message: checkpoints behind it are told by the one that follows.
    fn newest(&self, topic: &str) -> u64 {
        self.truth[topic].last().map_or(0, |told| told.seq)
    }

    fn append(&mut self, topic: &'static str, view: View<'_>, flags: RowFlags) {
        let now = Ts(self.now());
        self.rig.as_mut().unwrap().append_at(topic, view, flags, now);
    }

    fn write(&mut self, rows: u64) {
        for _ in 0..rows {
            let ms = self.rng.random_range(0..3_000);
            self.go_on(ms * MS);
            let topic = TOPICS[self.rng.random_range(0..2)];
            let n = self.next[topic] + 1;
            self.next.insert(topic, n);
            if self.rng.random_range(0..15) == 0 {
                self.append(topic, validity(ValidityState::Live), RowFlags::default());
            } else if topic == TRADE && self.rng.random_range(0..5) == 0 {
                self.late.push((n, self.now()));
            } else if topic == TRADE {
                self.append(topic, trade(n), RowFlags::default());
            } else {
                match (n, self.rng.random_range(0..12)) {
                    (1, _) | (_, 0) => self.append(topic, snapshot(n), RowFlags::default()),
                    (_, 1) => self.append(topic, book(BookAction::Checkpoint, n, &[], &[]), RowFlags::CHECKPOINT),
                    _ => self.append(topic, delta(n), RowFlags::default()),
                }
            }
        }
        self.commit();
    }

    fn heal(&mut self) {
        for (id, at) in std::mem::take(&mut self.late) {
            if self.rng.random_range(0..3) == 0 {
                self.late.push((id, at));
                continue;
            }
            let now = Ts(self.now());
            self.rig.as_mut().unwrap().append_late(TRADE, trade(id), Ts(at), now);
        }
        self.commit();
    }

    fn commit(&mut self) {
        self.rig.as_mut().unwrap().lane.commit().unwrap();
        self.witness();
    }

    /// Reads what is new from the tape, which has it still.
    fn witness(&mut self) {
        for topic in TOPICS {
            let at = *self.cursors[topic].last().unwrap();
            let (new, at, missed) = from_tape(&self.rig().tape, &t(topic), at);
            assert_eq!(missed, None);
            self.truth.get_mut(topic).unwrap().extend(new);
            self.cursors.get_mut(topic).unwrap().push(at);
        }
    }

    /// What was written since the disk was last waited for is lost, or a part of it; clients have seen it.
    async fn lose_power(&mut self) -> &'static str {
        self.rig().tape.sync_now().unwrap();
        let kept = newest_segment(self.rig().dir.path());
        let bytes = std::fs::metadata(&kept).unwrap().len();
        let synced = TOPICS.map(|topic| self.rig().tape.head(&t(topic)).unwrap_or(0));
        let rows = self.rng.random_range(0..20);
        self.write(rows);
        for topic in TOPICS {
            // Not by time: what is asked for so is stored, and stays.
            let head = *self.cursors[topic].last().unwrap();
            let after = self.rng.random_range(0..=head);
            self.check_from(topic, after, head, "before the power is lost").await;
        }
        self.keeper = None;
        let dir = self.rig.take().unwrap().crash().await;
        let newest = newest_segment(dir.path());
        let from = if newest == kept { bytes } else { 0 };
        let len = std::fs::metadata(&newest).unwrap().len();
        let keep = from + self.rng.random_range(0..=len - from);
        OpenOptions::new().write(true).open(&newest).unwrap().set_len(keep).unwrap();
        for (topic, synced) in TOPICS.into_iter().zip(synced) {
            self.truth.get_mut(topic).unwrap().retain(|told| told.seq <= synced);
            // Whoever had seen more stands in the range that the mark covers.
            self.cursors.get_mut(topic).unwrap().push(synced);
        }
        self.boots += 1;
        self.open(dir, false).await;
        "lose the power"
    }

    async fn step(&mut self) -> &'static str {
        match self.rng.random_range(0..12) {
            0..4 => {
                let rows = self.rng.random_range(5..120);
                self.write(rows);
                return "write";
            }
            4 => {
                self.heal();
                return "heal";
            }
            5 => {
                self.keeper().with(|follower, now| follower.flush(now).unwrap());
                return "store";
            }
            6 => {
                // The day is over, or ten minutes for late rows.
                let midnight = self.rng.random_range(0..3) == 0;
                self.go_on(if midnight { DAY - self.now() % DAY + 700 * SECOND } else { 660 * SECOND });
                self.keeper().with(|follower, now| follower.tend(now).unwrap());
                return "seal";
            }
            7 | 8 => {
                self.keeper().with(|_, _| {});
                self.rig().tape.check_space();
                return "let go";
            }
            9 => {
                self.keeper = None;
                let dir = self.rig.take().unwrap().stop().await;
                self.open(dir, false).await;
                return "begin anew";
            }
            10 => {
                self.keeper = None;
                let dir = self.rig.take().unwrap().crash().await;
                self.open(dir, false).await;
                return "kill";
            }
            _ => {}
        }
        self.lose_power().await
    }

    async fn check(&mut self, what: &str) {
        for topic in TOPICS {
            let cursors = &self.cursors[topic];
            let some = [0, 0, 0].map(|_| cursors[self.rng.random_range(0..cursors.len())]);
            let head = *cursors.last().unwrap();
            for mut after in some.into_iter().chain([head]) {
                // Also between two of them.
                after = after.saturating_sub(self.rng.random_range(0..3)).min(head);
                self.check_from(topic, after, head, what).await;
            }
            if head > 0 {
                self.check_by_time(topic, head, what).await;
            }
        }
    }

    async fn check_from(&mut self, topic: &'static str, after: u64, head: u64, what: &str) {
        let (what, floor) = (format!("{what}: {topic} from {after} of {head}"), self.floor[topic]);
        let truth = |lo: u64, hi: u64| -> Vec<Told> {
            self.truth[topic].iter().filter(|told| told.seq > lo && told.seq <= hi).cloned().collect()
        };
        let wanted = truth(after.max(floor), head);
        // The tape: all that it has, and where that begins.
        let (got, _, missed) = from_tape(&self.rig().tape, &t(topic), after);
        let begins = missed.map_or(after, |(_, to)| to);
        assert_eq!(missed.is_some(), self.oldest(topic) > after + 1 && begins > after, "{what}: {missed:?}");
        same(&got, &truth(begins, head), &format!("{what}, tape"));
        // The catalog: up to what is stored.
        let stored = self.history.held(&t(topic)).unwrap().map_or(0, |held| held.stored);
        let (got, _, missed) = drain(&t(topic), &mut self.history.by_seq(&t(topic), after).unwrap(), false);
        assert_eq!(
            missed,
            Vec::from_iter((after < floor.min(stored)).then_some((after + 1, floor))),
            "{what}, catalog"
        );
        same(&got, &truth(after.max(floor), stored), &format!("{what}, catalog"));
        assert!(begins <= stored.max(after).max(floor), "{what}: {begins} is gone and {stored} stored");
        // The gateway: everything.
        let mut ws = self.rig().client().await;
        let epoch = self.rig().tape.epoch().to_owned();
        let (got, missed) =
            if head == 0 { (Vec::new(), 0) } else { follow(&mut ws, topic, &epoch, after, self.newest(topic)).await };
        if after >= floor {
            assert_eq!(missed, 0, "{what}, websocket");
            same(&got, &wanted, &format!("{what}, websocket"));
        } else if topic == TRADE {
            assert_eq!(missed, floor - after, "{what}, websocket");
            same(&got, &wanted, &format!("{what}, websocket"));
        } else {
            // A book goes on from a whole state behind the hole, or from the present one where that is nearer.
            assert!(missed >= floor - after, "{what}, websocket: {missed} missed");
            let (rest, begins) = got.split_first().map_or((&[][..], head), |(first, rest)| (rest, first.seq));
            same(rest, &truth(begins, head), &format!("{what}, websocket"));
        }
        self.compared += wanted.len();
    }

    async fn check_by_time(&mut self, topic: &'static str, head: u64, what: &str) {
        let times: Vec<i64> = self.truth[topic]
            .iter()
            .map(|told| told.message["data"]["ts_recv"].as_str().map_or(T0, |ts| ts.parse().unwrap()))
            .collect();
        let from = [0, times[self.rng.random_range(0..times.len())] / MS * MS][self.rng.random_range(0..2)];
        let mut ws = self.rig().client().await;
        let (rows, p) = hist(&mut ws, topic, json!({"ts": from / 1_000})).await;
        let what = format!("{what}: {topic} since {from} as of {p} of {head}");
        assert_eq!(p, head, "{what}: the writer was asked");
        // A book's state at that time is made from what lies before.
        let begin = Ts(if topic == BOOK { 0 } else { from });
        let (all, keys, _) = drain(&t(topic), &mut self.history.by_time(&t(topic), begin, Some(p)).unwrap().1, true);
        assert!(keys.is_sorted(), "{what}: not in the corrected order");
        if topic == TRADE {
            same(&rows, &all, &what);
        } else if let Some((first, rest)) = rows.split_first() {
            assert_eq!(first.message["op"], "snap", "{what}");
            let at = keys.iter().position(|(_, seq)| *seq == first.seq).unwrap();
            let behind: BTreeSet<u64> = keys[at + 1..].iter().map(|(_, seq)| *seq).collect();
            let wanted: Vec<Told> = all.iter().filter(|told| behind.contains(&told.seq)).cloned().collect();
            same(rest, &wanted, &what);
            let is_lost = |m: &Value| m["mark"] == "gap" && m["cause"] == "power";
            let before = all.iter().rev().filter(|told| told.ts * 1_000 < from);
            let whole = before.map(|told| &told.message).find(|m| m["op"] == "snap" || is_lost(m));
            let whole = whole.is_some_and(|m| m["op"] == "snap");
            assert!(!whole || first.ts * 1_000 < from, "{what}: begins at {first:?}");
        }
        if from == 0 && topic == TRADE {
            let mut by_seq: Vec<Told> = rows.iter().map(Told::timeless).collect();
            by_seq.sort_by_key(|told| told.seq);
            let wanted: Vec<Told> =
                self.truth[topic].iter().filter(|told| told.seq > self.floor[topic]).cloned().collect();
            same(&by_seq, &wanted, &format!("{what}, as a set"));
        }
        // Followed from there on, and as of an older P once more.
        if from == 0 {
            self.told.push((topic, p, rows));
        }
        if self.told.is_empty() {
            return;
        }
        let (topic, p, before) = self.told[self.rng.random_range(0..self.told.len())].clone();
        let mut ws = self.rig().client().await;
        let (again, asof) = hist(&mut ws, topic, json!({"ts": 0, "asof": p})).await;
        assert_eq!(asof, p);
        same(&again, &before, &format!("{what}: {topic} as of {p} once more"));
        let (got, missed) = read_on(&mut ws, topic, p, self.newest(topic)).await;
        let wanted: Vec<Told> = self.truth[topic].iter().filter(|told| told.seq > p).cloned().collect();
        assert_eq!(missed, 0);
        same(&got, &wanted, &format!("{what}: {topic} behind {p}"));
        self.compared += wanted.len() + again.len();
    }
}

fn same(got: &[Told], wanted: &[Told], what: &str) {
    if got == wanted {
        return;
    }
    let at = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
    let near = |all: &[Told]| format!("{:#?}", all.iter().skip(at.saturating_sub(1)).take(3).collect::<Vec<_>>());
    panic!("{what}: {} of {} messages; at {at}: {} instead of {}", got.len(), wanted.len(), near(got), near(wanted));
}

/// Subscribes behind a position and follows the one rule up to `head`: messages, and how many seqs were missed.
async fn follow(ws: &mut Ws, topic: &str, epoch: &str, after: u64, head: u64) -> (Vec<Told>, u64) {
    ws.send(json!({"op": "sub", "id": 1, "topic": topic, "from": {"epoch": epoch, "seq": after}})).await;
    read_on(ws, topic, after, head).await
}

async fn read_on(ws: &mut Ws, topic: &str, after: u64, head: u64) -> (Vec<Told>, u64) {
    let (mut all, mut missed, mut at) = (Vec::new(), 0, after);
    while ws.rule.state(topic).is_none_or(|state| state.last < head) {
        let (frame, mut out) = (ws.next().await.to_string(), Vec::new());
        ws.rule.on_text(&frame, &mut out);
        for happening in out {
            match happening {
                Happening::Apply { from, to, message, .. } => {
                    // A `snap` stands for all before it.
                    assert!(from == at || message["op"] == "snap", "{topic}: {from}..{to} after {at}");
                    at = to;
                    all.push(Told::new(message, false));
                }
                Happening::Missed { from, to, .. } => {
                    assert_eq!(from, at + 1, "{topic}");
                    (missed, at) = (missed + to + 1 - from, to);
                }
                Happening::Subscribed { .. } => {}
                Happening::Said(m) => assert_ne!(m["op"], "err", "{m}"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(ws.rule.resyncs(), 0);
    (all, missed)
}

/// Rows since a time, and P.
async fn hist(ws: &mut Ws, topic: &str, from: Value) -> (Vec<Told>, u64) {
    ws.send(json!({"op": "sub", "id": 7, "topic": topic, "from": from})).await;
    let mut rows = Vec::new();
    loop {
        let m = ws.next().await;
        if m["op"] == "hist" {
            let data = m["data"].as_array().unwrap();
            rows.extend(data.iter().filter(|row| row["op"] != "missed").map(|row| Told::new(row.clone(), true)));
            continue;
        }
        assert_eq!(m["op"], "subd", "{m}");
        ws.rule.on_text(&m.to_string(), &mut Vec::new());
        return (rows, m["seq"].as_u64().unwrap());
    }
}

/// The segment that was written last.
fn newest_segment(dir: &Path) -> PathBuf {
    let (mut folders, mut newest) = (vec![dir.to_owned()], None);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "seg") {
                newest = newest.max(Some(entry));
            }
        }
    }
    newest.expect("a segment")
}

/// Messages compared, and whether the tape let much go.
async fn story(seed: u64) -> (usize, bool) {
    println!("WHOLETAPE_SEED={seed}");
    let mut w = World::new(seed).await;
    let mut log = vec![format!("seed {seed}")];
    w.write(30);
    let mut let_go = false;
    for n in 0..40 {
        log.push(w.step().await.to_owned());
        if n % 4 == 3 {
            w.check(&log.join(", ")).await;
        }
        let_go |= w.oldest(TRADE) > w.floor[TRADE] + 100;
    }
    // All of it stored, sealed, and what the tape can let go gone.
    w.go_on(2 * DAY);
    w.keeper().with(|follower, now| follower.tend(now).unwrap());
    w.keeper().with(|follower, now| follower.flush(now).unwrap());
    w.rig().tape.check_space();
    w.check(&format!("{}, the end", log.join(", "))).await;
    w.keeper = None;
    w.rig.take().unwrap().stop().await;
    (w.compared, let_go)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_same_cursor_reads_the_same_over_websocket_parquet_and_tape() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    if let Some(seed) = number("WHOLETAPE_SEED") {
        story(seed).await;
        return;
    }
    let stories = number("WHOLETAPE_STORIES").unwrap_or(4);
    let (mut compared, mut let_go) = (0, 0);
    for seed in 1..=stories {
        let (n, much) = story(seed).await;
        (compared, let_go) = (compared + n, let_go + u64::from(much));
    }
    println!("{compared} messages compared in {stories} stories; {let_go} in which the tape let much go");
    assert!(let_go > stories / 2, "{let_go}");
}
