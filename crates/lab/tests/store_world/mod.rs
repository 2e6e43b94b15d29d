//! A tape, a line that writes it and heals what it missed, and a catalog that follows; the disks of both may die at any step.
//!
//! What must hold is asked at every start, of what is on the disk alone ([`World::check`]): every row that was committed is there,
//! once, equal to the tape's, in order; history by seq tells it, also to whoever reads while nobody writes; files are what the manifest
//! says and nothing else lies about; names do not overlap.
#![allow(dead_code)]

pub mod migrate;
#[path = "../../../store/tests/support/mod.rs"]
pub mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use support::{body, mark, owned, topic};
use wholetape_lab::dice::Dice;
use wholetape_lab::disk::MemDisk;
use wholetape_model::{Body, Record, Row, RowFlags, Scales, Topic, Ts, View};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::cert::sign::Signer;
use wholetape_store::columns::Dialect;
use wholetape_store::file::Codec;
use wholetape_store::history::CatalogHistory;
use wholetape_store::manifest::{Part, State};
use wholetape_store::retain::Rules;
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::seqs::Seqs;
use wholetape_store::table::Table;
use wholetape_store::verify::{Report, Verify};
use wholetape_store::writer::{Follower, Pace};
use wholetape_store::{StoreError, canon, digits, file, names};
use wholetape_tape::history::{Past, PastBatch};
use wholetape_tape::{Delivery, Disk, From, Lane, ReaderOptions, Tape, TapeConfig, TapeTime};

pub const DATA: &str = "/d";
pub const SECOND: i64 = 1_000_000_000;
pub const TOPICS: [&str; 5] = ["trade", "book", "bar-1m", "instrument", "quality"];

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

/// Gaps that the store confesses have numbers of their own: what a power loss tore out of the tape, and readers are told.
const OWN_GAPS: u64 = 1 << 54;

/// The records that the tape has.
fn held(tape: &Tape, topic: &Topic) -> Vec<Vec<u8>> {
    let mut reader = tape.reader(topic, From::Earliest, ReaderOptions::default()).unwrap();
    let (mut batch, mut all) = (Vec::new(), Vec::new());
    while reader.poll_next(&mut batch, 1_000) > 0 {
        all.extend(batch.drain(..).filter_map(|d: Delivery| d.record().map(|r| r.bytes().to_vec())));
    }
    all
}

/// What runs: a process that may be killed.
pub struct Process {
    pub tape: Tape,
    lane: Lane,
    pub follower: Follower,
}

pub struct World {
    pub seed: u64,
    pub dice: Dice,
    /// The tape's disk and the catalog's; often the same one.
    pub tape_disk: MemDisk,
    pub disk: MemDisk,
    one_disk: bool,
    pub pace: Pace,
    pub dialects: Vec<Dialect>,
    /// How long days are kept.
    pub rules: Rules,
    /// Signs certificates.
    pub signer: Option<Signer>,
    pub now: i64,
    boots: u32,
    hand: Arc<Hand>,
    pub process: Option<Process>,
    /// The next id of each topic, and trades that were not appended when they happened: when they did.
    next: BTreeMap<&'static str, u64>,
    late: BTreeMap<u64, i64>,
    times: BTreeMap<u64, i64>,
    /// Rows that somebody may have read from the tape, by topic and seq.
    seen: BTreeMap<(String, u64), Vec<u8>>,
    /// What the catalog held when it last said so.
    committed: BTreeMap<String, Seqs>,
    /// Somebody who reads beside all of this, and whom no crash ends.
    history: CatalogHistory,
}

/// A quick pace: everything is due at once, days never end.
pub const EAGER: Pace = Pace {
    budget: 1 << 20,
    flush_every: Duration::ZERO,
    rewrite_every: Duration::ZERO,
    seal_after: Duration::from_secs(86_400 * 365),
};

impl World {
    pub fn new(seed: u64, pace: Pace) -> Self {
        let mut dice = Dice::new(seed);
        let disk = MemDisk::new(Path::new(DATA), seed ^ 0x73_746f_7265);
        let one_disk = dice.one_in(2);
        let tape_disk = if one_disk { disk.clone() } else { MemDisk::new(Path::new(DATA), seed ^ 0x7461_7065) };
        for disk in [&disk, &tape_disk] {
            disk.create_dir(&Path::new(DATA).join("tape")).unwrap();
            disk.sync_dir(Path::new(DATA)).unwrap();
        }
        let history = CatalogHistory::new(Arc::new(disk.clone()), Path::new(DATA));
        let dialects = if dice.one_in(2) { vec![Dialect::V2] } else { vec![Dialect::V2, Dialect::V1] };
        Self {
            seed,
            dice,
            tape_disk,
            disk,
            one_disk,
            pace,
            dialects,
            rules: Rules::default(),
            signer: None,
            now: support::T0,
            boots: 0,
            hand: Arc::new(Hand(AtomicI64::new(support::T0))),
            process: None,
            next: BTreeMap::new(),
            late: BTreeMap::new(),
            times: BTreeMap::new(),
            seen: BTreeMap::new(),
            committed: BTreeMap::new(),
            history,
        }
    }

    /// The tape on a disk of its own, which stays well.
    pub fn on_two_disks(seed: u64, pace: Pace) -> Self {
        (0..).map(|n| Self::new(seed + (n << 32), pace)).find(|w| !w.one_disk).expect("one in two")
    }

    /// Lets the follower begin anew beside the running tape. False when that fails: then nothing runs any more.
    pub fn reopen(&mut self) -> bool {
        let Process { tape, lane, follower } = self.process.take().expect("it runs");
        match follower.reopen() {
            Ok(follower) => {
                self.process = Some(Process { tape, lane, follower });
                true
            }
            Err(StoreError::Io { .. } | StoreError::Parquet { .. } | StoreError::Changed { .. }) => {
                drop((tape, lane));
                self.kill(false);
                false
            }
            Err(e) => self.fail(&e.to_string()),
        }
    }

    /// The same world once more, with disks of its own, as a kill would leave it now.
    pub fn fork(&self) -> Self {
        let disk = self.disk.fork();
        let tape_disk = if self.one_disk { disk.clone() } else { self.tape_disk.fork() };
        disk.crash();
        tape_disk.crash();
        let history = CatalogHistory::new(Arc::new(disk.clone()), Path::new(DATA));
        Self {
            seed: self.seed,
            dice: self.dice.clone(),
            tape_disk,
            disk,
            one_disk: self.one_disk,
            pace: self.pace,
            dialects: self.dialects.clone(),
            rules: self.rules.clone(),
            signer: self.signer.clone(),
            now: self.now,
            boots: self.boots,
            hand: Arc::new(Hand(AtomicI64::new(self.now))),
            process: None,
            next: self.next.clone(),
            late: self.late.clone(),
            times: self.times.clone(),
            seen: self.seen.clone(),
            committed: self.committed.clone(),
            history,
        }
    }

    fn config(&self) -> CatalogConfig {
        CatalogConfig { dialects: self.dialects.clone(), codec: Codec::None, depth: true }
    }

    /// Starts the process. Not checked.
    pub fn start(&mut self) -> Result<(), StoreError> {
        let config = TapeConfig {
            disk: Arc::new(self.tape_disk.clone()),
            driven: Some(self.hand.clone()),
            boot_id: Some(format!("boot-{}", self.boots)),
            segment_bytes: 16 << 10,
            ..TapeConfig::default()
        };
        let tape = Tape::open(&Path::new(DATA).join("tape"), config)?;
        let lane = tape.lane("w")?;
        let catalog = Catalog::open(Arc::new(self.disk.clone()), Path::new(DATA), self.config())?;
        let follower =
            Follower::new(catalog, self.pace).with_signer(self.signer.clone()).with_retention(self.rules.clone());
        self.process = Some(Process { tape, lane, follower });
        Ok(())
    }

    /// Starts it, checks what is there, and lets the line find what it lost.
    pub fn start_checked(&mut self) {
        self.start().unwrap_or_else(|e| panic!("seed {}: it does not start: {e}", self.seed));
        self.check();
        // What it took out of the way itself it must not look for later.
        let done = self.process().follower.catalog.sweep(Duration::ZERO);
        self.well(done);
        self.find_lost();
    }

    /// Ends the process as a crash does, or with the power gone.
    pub fn kill(&mut self, power: bool) {
        for disk in [&self.disk, &self.tape_disk] {
            // What is dropped below must not do anything more.
            disk.die_at(Some(0));
        }
        self.process = None;
        if power {
            self.boots += 1;
            let mut dice = self.dice.clone();
            self.dice.draw();
            self.tape_disk.power_loss(&mut dice);
            // A clone of one disk must not lose twice.
            if !self.one_disk {
                self.disk.power_loss(&mut dice);
            }
        }
        self.tape_disk.crash();
        self.disk.crash();
        if !power {
            // Folders may be half way of changing places: that is finished at the next start, and readers need not wait for it.
            self.check_history();
        }
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    pub fn go_on(&mut self, ns: i64) {
        self.now += ns;
        self.hand.0.store(self.now, Ordering::Relaxed);
    }

    fn append(&mut self, kind: &'static str, event: i64, flags: RowFlags, body: View<'_>) {
        let (now, p) = (self.now, self.process.as_mut().expect("it runs"));
        let row = Row {
            ts_event: Ts(event),
            ts_recv: Ts(now),
            conn: 4,
            frame: now as u32,
            flags,
            scales: Scales { price: 2, size: 3 },
            body,
        };
        let no = p.lane.topic(&topic(kind)).unwrap();
        p.lane.append(no, &row).unwrap();
    }

    fn of_id(&mut self, kind: &'static str, id: u64, event: i64, flags: RowFlags) {
        let o = owned(&mut support::Dice(id));
        let b = body(kind, id, &mut support::Dice(id ^ 77), &o);
        self.append(kind, event, flags, b);
    }

    /// `rows` rows over `ns`; of the trades one in six comes late. Committed to the tape, which is not synced.
    pub fn write(&mut self, rows: u64, ns: i64) {
        for _ in 0..rows {
            self.go_on(self.dice.clone().between(0, 2 * (ns / rows as i64) as u64 + 1) as i64);
            let kind = TOPICS[[0, 0, 0, 1, 1, 2, 3, 4][self.dice.between(0, 8) as usize]];
            let id = *self.next.entry(kind).or_insert(1);
            if self.dice.one_in(12) {
                let b = mark(id, &mut support::Dice(self.dice.draw()), "why");
                self.append(kind, self.now, RowFlags::default(), b);
                continue;
            }
            self.next.insert(kind, id + 1);
            let event = self.now - self.dice.between(0, 3_000_000) as i64;
            if kind == "trade" {
                self.times.insert(id, event);
                if self.dice.one_in(6) {
                    self.late.insert(id, event);
                    continue;
                }
            }
            self.of_id(kind, id, event, RowFlags::default());
        }
        self.process().lane.commit().unwrap();
        self.witness();
    }

    /// The line heals trades that it missed: about one in `of`.
    pub fn heal(&mut self, of: u64) -> bool {
        let mut some = false;
        for (id, event) in std::mem::take(&mut self.late) {
            if self.dice.one_in(of) {
                self.of_id("trade", id, event, RowFlags::LATE_REST);
                some = true;
            } else {
                self.late.insert(id, event);
            }
        }
        self.process().lane.commit().unwrap();
        self.witness();
        some
    }

    /// After a start: the ids that the tape does not hold are to be healed, as a line does that reads its ledger from the tape.
    fn find_lost(&mut self) {
        let mut lost = self.times.clone();
        for bytes in held(&self.process().tape, &topic("trade")) {
            let record = Record::parse(&bytes, true).unwrap();
            if let Ok(Body::Trade(t)) = record.view() {
                lost.remove(&t.id.number().unwrap_or_default());
            }
        }
        self.late = lost;
    }

    pub fn poll(&mut self) -> Result<(), StoreError> {
        let now = Ts(self.now);
        let p = self.process();
        while p.follower.poll(&p.tape, now)? {}
        Ok(())
    }

    pub fn tend(&mut self) -> Result<(), StoreError> {
        let now = Ts(self.now);
        self.process().follower.tend(now)
    }

    pub fn flush(&mut self) -> Result<(), StoreError> {
        let now = Ts(self.now);
        self.process().follower.flush(now)
    }

    /// Notes what is stored now: it must be there ever after.
    pub fn note(&mut self) {
        let stored = self.process().follower.catalog.state().stored();
        self.committed = stored.into_iter().map(|(t, s)| (t.to_owned(), s)).collect();
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("seed {} (WHOLETAPE_SEED={} runs it alone): {what}", self.seed, self.seed)
    }

    /// A step that must not fail.
    pub fn well(&self, done: Result<(), StoreError>) {
        if let Err(e) = done {
            self.fail(&e.to_string());
        }
    }

    /// Notes what the tape serves.
    fn witness(&mut self) {
        for kind in TOPICS {
            let topic = topic(kind);
            if self.process().tape.head(&topic).is_none() {
                continue;
            }
            for bytes in held(&self.process().tape, &topic) {
                let record = Record::parse(&bytes, true).unwrap();
                let table = Table::of(topic.kind(), &record, &record.view().unwrap());
                let mut canonical = Vec::new();
                canon::row(table, Ts(0), &record, &mut canonical).unwrap();
                let key = (topic.to_string(), record.seq());
                if self.seen.insert(key, canonical.clone()).is_some_and(|old| old != canonical) {
                    self.fail(&format!("{topic}: seq {} is another row than before", record.seq()));
                }
            }
        }
    }

    /// What must hold of the catalog at any time.
    pub fn check(&mut self) {
        self.witness();
        let state = self.process().follower.catalog.state().clone();
        if state.pending.is_some() {
            self.fail("folders are still to change places");
        }
        let stored = state.stored();
        for (topic, seqs) in &self.committed {
            let now = stored.get(topic.as_str()).cloned().unwrap_or_default();
            let mut both = now.clone();
            both.add_all(seqs);
            if both != now {
                self.fail(&format!("{topic}: committed {seqs:?}, now there is {now:?}"));
            }
        }
        self.check_files(&state.parts);
        self.check_rows(&state.parts);
        self.check_let_go(&state);
        self.check_digits(&state);
        self.check_history();
    }

    /// A day that retention let go is gone whole, and what went is not stored again.
    fn check_let_go(&self, state: &State) {
        for part in state.parts.values() {
            // Definitions stay where later days need them.
            if state.is_let_go(&part.topic, part.day) && !part.topic.starts_with("instrument.") {
                self.fail(&format!("{} {} {}: let go, and there", part.topic, part.table, part.day));
            }
            let Some(retired) = state.retired.get(&part.topic) else { continue };
            let seqs = part.seqs.intervals().iter().flat_map(|(lo, hi)| *lo..=*hi);
            if let Some(seq) = seqs.into_iter().find(|seq| retired.has(*seq)) {
                self.fail(&format!("{}: seq {seq} was let go and is stored", part.topic));
            }
        }
    }

    /// The files of an instrument have the digits that are pinned for it.
    fn check_digits(&self, state: &State) {
        for part in state.parts.values().filter(|p| Table::parse(&p.table).is_some_and(Table::has_digits)) {
            let topic = Topic::parse(&part.topic).unwrap();
            let pinned = state.digits.get(digits::key(&topic)).copied().unwrap_or_default();
            for f in &part.files {
                let reader = file::Reader::open(&self.disk, &Path::new(DATA).join(&f.path)).unwrap();
                let said = |key: &str| reader.schema().metadata().get(key).map(|d| d.parse::<u8>().unwrap());
                for (key, digits) in [("price_precision", pinned.0), ("size_precision", pinned.1)] {
                    if said(key).is_some_and(|said| said != digits) {
                        self.fail(&format!("{}: {key} {:?}, pinned are {digits}", f.path, said(key)));
                    }
                }
            }
        }
    }

    /// Every figure of every certificate, derived again. What a crash left, the last start and what it did since took away.
    pub fn verify(&self) -> Report {
        let (disk, data) = (&self.disk, Path::new(DATA));
        let wait = |_| ();
        let report = Verify { disk, data, keys: None, progress: &|_, _, _| {}, wait: &wait }.run();
        let report = report.unwrap_or_else(|e| self.fail(&e.to_string()));
        if !report.is_clean() {
            self.fail(&format!("verify: {:#?}", report.findings));
        }
        report
    }

    /// History tells every seq up to where it says that it is whole, in order, each once, and misses what was let go.
    fn check_history(&self) {
        let state = Catalog::look(&self.disk, Path::new(DATA)).unwrap_or_default();
        for kind in TOPICS {
            let topic = topic(kind);
            let held = self.history.held(&topic).unwrap_or_else(|e| self.fail(&format!("history of {topic}: {e}")));
            let Some(held) = held else { continue };
            let mut reader = self.history.by_seq(&topic, 0).unwrap();
            let (mut batch, mut at) = (PastBatch::default(), 0);
            while reader
                .read(&mut batch)
                .unwrap_or_else(|e| self.fail(&format!("history of {topic} from {at} on: {e}")))
            {
                for i in 0..batch.len() {
                    let record = match batch.get(i).unwrap() {
                        Past::Record { record, .. } => record,
                        Past::Missed { from, to } => {
                            let retired = state.retired.get(topic.as_str());
                            if from != at + 1 || !retired.is_some_and(|r| (from..=to).all(|seq| r.has(seq))) {
                                self.fail(&format!("history of {topic}: {from} to {to} are missed after {at}"));
                            }
                            at = to;
                            continue;
                        }
                    };
                    if record.prev() != at {
                        self.fail(&format!("history of {topic}: {record:?} after {at}"));
                    }
                    at = record.seq();
                    let mut bytes = Vec::new();
                    let table = Table::of(topic.kind(), &record, &record.view().unwrap());
                    canon::row(table, Ts(0), &record, &mut bytes).unwrap();
                    let own = matches!(record.view(), Ok(Body::Gap(g)) if g.gap >= OWN_GAPS);
                    if !own && self.seen.get(&(topic.to_string(), at)) != Some(&bytes) {
                        self.fail(&format!("history of {topic}: seq {at} is not the tape's row"));
                    }
                }
            }
            if at != held.stored || held.earliest > held.stored {
                self.fail(&format!("history of {topic}: {held:?} is said, and {at} is where it ends"));
            }
        }
    }

    fn files_below(&self, dir: &Path, all: &mut BTreeSet<PathBuf>) {
        for one in self.disk.list(dir).unwrap_or_default() {
            if one.is_dir && one.path != Path::new(DATA).join("tape") {
                self.files_below(&one.path, all);
            } else if !one.is_dir {
                all.insert(one.path);
            }
        }
    }

    fn check_files(&self, parts: &BTreeMap<u64, Part>) {
        let mut there = BTreeSet::new();
        self.files_below(Path::new(DATA), &mut there);
        there.retain(|p| p.extension().is_some_and(|e| e == "parquet"));
        // Folders that changed places are left to whoever just lists them.
        there.retain(|p| !p.to_string_lossy().contains("/.staging/swap-"));
        let mut by_folder: BTreeMap<&str, Vec<(Ts, Ts)>> = BTreeMap::new();
        for f in parts.values().flat_map(|p| &p.files) {
            let path = Path::new(DATA).join(&f.path);
            match file::hash(&self.disk, &path) {
                Ok((bytes, hash)) if bytes == f.bytes && hash == f.blake3 => {}
                Ok(_) => self.fail(&format!("{}: it is not the file that was committed", f.path)),
                Err(e) => self.fail(&format!("{e}")),
            }
            if !there.remove(&path) {
                self.fail(&format!("{}: two parts list it", f.path));
            }
            let (folder, name) = f.path.rsplit_once('/').unwrap();
            let Some(interval) = names::interval(name) else { self.fail(&format!("{}: an odd name", f.path)) };
            by_folder.entry(folder).or_default().push(interval);
        }
        if !there.is_empty() {
            self.fail(&format!("files that no part lists: {there:?}"));
        }
        for (folder, mut all) in by_folder {
            all.sort();
            if all.windows(2).any(|w| w[0].1 >= w[1].0) {
                self.fail(&format!("{folder}: names overlap: {all:?}"));
            }
        }
    }

    /// Returns how many rows the store itself confessed.
    fn check_rows(&self, parts: &BTreeMap<u64, Part>) -> u64 {
        let (mut stored, mut ids, mut confessed) = (BTreeSet::new(), BTreeSet::new(), 0);
        let (mut rows, mut ends) = (Rows::default(), BTreeMap::new());
        let mut parts: Vec<&Part> = parts.values().collect();
        parts.sort_by_key(|p| p.from);
        for part in parts {
            let table = Table::parse(&part.table).unwrap();
            let mut reader = PartReader::open(&self.disk, Path::new(DATA), part)
                .unwrap_or_else(|e| self.fail(&format!("part {}: {e}", part.part)));
            let last = ends.entry((&part.topic, &part.table)).or_insert((i64::MIN, 0));
            let (mut n, mut seqs) = (0, Seqs::default());
            while reader.next(&mut rows).unwrap() {
                for (ts, record) in rows.iter() {
                    if (ts.0, record.seq()) <= *last || n == 0 && ts.0 == last.0 {
                        self.fail(&format!(
                            "{} {}: {ts:?} seq {} after {last:?}",
                            part.topic,
                            part.table,
                            record.seq()
                        ));
                    }
                    *last = (ts.0, record.seq());
                    n += 1;
                    seqs.add(record.prev() + 1, record.seq());
                    if names::day_of(ts) != part.day {
                        self.fail(&format!("{} {}: a row of another day than {}", part.topic, part.table, part.day));
                    }
                    let mut bytes = Vec::new();
                    canon::row(table, Ts(0), &record, &mut bytes).unwrap();
                    let key = (part.topic.clone(), record.seq());
                    let own = matches!(record.view(), Ok(Body::Gap(g)) if g.gap >= OWN_GAPS);
                    confessed += u64::from(own);
                    if !own && self.seen.get(&key) != Some(&bytes) {
                        self.fail(&format!("{key:?}: not the tape's row"));
                    }
                    if !stored.insert(key) {
                        self.fail(&format!("{} seq {}: stored twice", part.topic, record.seq()));
                    }
                    if let Ok(Body::Trade(t)) = record.view()
                        && !ids.insert(t.id)
                    {
                        self.fail(&format!("trade {} is stored twice, with two seqs", t.id));
                    }
                }
            }
            if (n, &seqs) != (part.rows, &part.seqs) {
                self.fail(&format!(
                    "part {} says {} rows, {:?}; it has {n}, {seqs:?}",
                    part.part, part.rows, part.seqs
                ));
            }
        }
        confessed
    }

    /// Nothing goes wrong any more: all is healed, stored and sealed, and then compared with the tape.
    pub fn finish(&mut self) {
        if self.process.is_none() {
            self.start_checked();
        }
        self.heal(1);
        let done = self.poll();
        self.well(done);
        let done = self.flush();
        self.well(done);
        self.check();
        self.all_stored();
        // All days are over.
        self.process().follower.set_pace(Pace { seal_after: Duration::ZERO, ..EAGER });
        self.go_on(support::DAY);
        let done = self.tend();
        self.well(done);
        self.check();
        self.all_stored();
        let parts = self.process().follower.catalog.state().parts.clone();
        let days: BTreeSet<_> = parts.values().map(|p| (&p.topic, &p.table, p.day)).collect();
        if days.len() != parts.len() || parts.values().any(|p| !p.sealed) {
            self.fail("not every day is sealed and one part");
        }
        let done = self.tend();
        self.well(done);
        if parts != self.process().follower.catalog.state().parts {
            self.fail("compaction twice is not the same as once");
        }
    }

    fn all_stored(&mut self) {
        let mut expected = BTreeSet::new();
        let mut ids = 0;
        for kind in TOPICS {
            let topic = topic(kind);
            if self.process().tape.head(&topic).is_none() {
                continue;
            }
            for bytes in held(&self.process().tape, &topic) {
                let record = Record::parse(&bytes, true).unwrap();
                ids += u64::from(kind == "trade" && matches!(record.view(), Ok(Body::Trade(_))));
                expected.insert((topic.to_string(), record.seq()));
            }
        }
        if ids != self.times.len() as u64 {
            self.fail(&format!("{} trades happened, the tape has {ids}", self.times.len()));
        }
        let state = self.process().follower.catalog.state().clone();
        let stored = state.stored();
        for (topic, seq) in &expected {
            if !stored.get(topic.as_str()).is_some_and(|s| s.has(*seq)) {
                self.fail(&format!("{topic}: seq {seq} is on the tape and not stored"));
            }
        }
        let mut rows = state.parts.values().map(|p| p.rows).sum::<u64>() - self.check_rows(&state.parts);
        let was_let_go = |(topic, seq): &&(String, u64)| state.retired.get(topic).is_some_and(|s| s.has(*seq));
        rows += expected.iter().filter(was_let_go).count() as u64;
        if rows != self.seen_on_tape() {
            self.fail(&format!("{rows} rows stored, {} on the tape", self.seen_on_tape()));
        }
    }

    fn seen_on_tape(&self) -> u64 {
        let p = self.process.as_ref().expect("it runs");
        let on = |kind: &&str| p.tape.head(&topic(kind)).is_some();
        TOPICS.iter().filter(|k| on(k)).map(|k| held(&p.tape, &topic(k)).len() as u64).sum()
    }
}
