//! From a tape into the catalog and back: every kind of row, late ones, days, restarts in between.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use support::{DAY, Dice, KINDS, T0, body, held, mark, owned, topic};
use wholetape_model::{Body, Record, Row, RowFlags, Scales, TradeId, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::table::Table;
use wholetape_store::writer::{Follower, Pace};
use wholetape_store::{canon, manifest::Part};
use wholetape_tape::{Disk, DiskFile, RealDisk, Tape, TapeConfig};

/// The real disk without its waiting: what a crash leaves is tested in `crates/lab`.
struct Quick;

impl Disk for Quick {
    fn sync(&self, _: &dyn DiskFile) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

fn follower(dir: &Path) -> Follower {
    let config = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
    let pace = Pace { budget: 1 << 20, ..Pace::default() };
    Follower::new(Catalog::open(Arc::new(Quick), dir, config).unwrap(), pace)
}

/// Writes rows to all topics, one in twelve trades late by up to 400 rows, one row in twenty a mark.
struct Source {
    dice: Dice,
    lane: wholetape_tape::Lane,
    next: BTreeMap<&'static str, u64>,
    late: Vec<(&'static str, u64)>,
    now: i64,
}

impl Source {
    fn write(&mut self, rows: usize, step: i64) {
        for _ in 0..rows {
            let kind = KINDS[self.dice.below(KINDS.len() as u64) as usize];
            let no = self.lane.topic(&topic(kind)).unwrap();
            self.now += self.dice.below(step as u64) as i64;
            let o = owned(&mut self.dice);
            let id = {
                let n = self.next.entry(kind).or_insert(1);
                *n += 1;
                *n - 1
            };
            let trades = kind.starts_with("trade");
            if trades && self.dice.below(12) == 0 {
                self.late.push((kind, id));
                continue;
            }
            let mut dice = Dice(id ^ 77);
            let is_mark = self.dice.below(20) == 0;
            let b = if is_mark {
                if let Some(n) = self.next.get_mut(kind) {
                    *n -= 1;
                }
                mark(id, &mut dice, "why")
            } else {
                body(kind, id, &mut dice, &o)
            };
            self.row(no, self.now - self.dice.clone().below(3_000_000) as i64, RowFlags::default(), b);
            if self.late.len() > 40 {
                self.heal();
            }
        }
        self.lane.commit().unwrap();
    }

    fn heal(&mut self) {
        for (kind, id) in std::mem::take(&mut self.late) {
            let (mut dice, o) = (Dice(id ^ 77), owned(&mut Dice(id)));
            let no = self.lane.topic(&topic(kind)).unwrap();
            let event = self.now - self.dice.below(40_000_000_000) as i64;
            let b = body(kind, id, &mut dice, &o);
            self.row(no, event, RowFlags::LATE_REST, b);
        }
    }

    fn row(&mut self, no: wholetape_tape::TopicNo, event: i64, flags: RowFlags, body: wholetape_model::View<'_>) {
        let scales = Scales { price: 2, size: 3 };
        let row =
            Row { ts_event: Ts(event), ts_recv: Ts(self.now), conn: 4, frame: self.now as u32, flags, scales, body };
        self.lane.append(no, &row).unwrap();
    }
}

/// Canonical bytes of the tape's rows and of the catalog's, by topic and seq.
fn compare(tape: &Tape, dir: &Path, parts: &BTreeMap<u64, Part>) {
    let mut stored: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    let mut rows = Rows::default();
    for part in parts.values() {
        let table = Table::parse(&part.table).unwrap();
        let mut reader = PartReader::open(&RealDisk, dir, part).unwrap();
        let (mut last, mut n) = ((i64::MIN, 0), 0);
        while reader.next(&mut rows).unwrap() {
            for (ts, record) in rows.iter() {
                assert!((ts.0, record.seq()) > last, "{} {}: out of order", part.topic, part.table);
                last = (ts.0, record.seq());
                assert!(ts.0 >= part.from && ts.0 <= part.to, "{part:?}");
                assert!(part.seqs.has(record.seq()));
                n += 1;
                let mut bytes = Vec::new();
                canon::row(table, Ts(0), &record, &mut bytes).unwrap();
                let twice = stored.insert((part.topic.clone(), record.seq()), bytes);
                assert!(twice.is_none(), "{} seq {} is stored twice", part.topic, record.seq());
            }
        }
        assert_eq!(n, part.rows);
    }
    let mut expected: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    for kind in KINDS {
        let topic = topic(kind);
        for bytes in held(tape, &topic) {
            let record = Record::parse(&bytes, true).unwrap();
            let table = Table::of(topic.kind(), &record, &record.view().unwrap());
            let mut canonical = Vec::new();
            canon::row(table, Ts(0), &record, &mut canonical).unwrap();
            expected.insert((topic.to_string(), record.seq()), canonical);
        }
    }
    assert_eq!(stored.len(), expected.len());
    for (key, row) in &expected {
        assert_eq!(stored.get(key), Some(row), "{key:?}");
    }
}

/// Names of one folder never overlap, and each instrument-day has one file once it is sealed.
fn check_names(parts: &BTreeMap<u64, Part>) {
    let mut by_folder: BTreeMap<String, Vec<(Ts, Ts)>> = BTreeMap::new();
    for file in parts.values().flat_map(|p| &p.files) {
        let (folder, name) = file.path.rsplit_once('/').unwrap();
        let interval = wholetape_store::names::interval(name).unwrap();
        by_folder.entry(folder.into()).or_default().push(interval);
    }
    for (folder, mut all) in by_folder {
        all.sort();
        assert!(all.windows(2).all(|w| w[0].1 < w[1].0), "{folder}: {all:?}");
    }
}

#[test]
fn every_row_is_stored_once_and_reads_back_through_restarts_and_midnight() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
    let lane = tape.lane("t").unwrap();
    let mut source = Source { dice: Dice(5), lane, next: BTreeMap::new(), late: Vec::new(), now: T0 };
    let mut follower_ = follower(dir.path());
    for round in 0..14 {
        source.write(3_000, 60_000_000);
        let now = Ts(source.now);
        while follower_.poll(&tape, now).unwrap() {}
        follower_.tend(now).unwrap();
        if round % 3 == 2 {
            // What was in memory is lost, and read again.
            drop(follower_);
            follower_ = follower(dir.path());
            check_names(&follower_.catalog.state().parts);
        }
    }
    source.heal();
    source.lane.commit().unwrap();
    let now = Ts(source.now + DAY);
    while follower_.poll(&tape, now).unwrap() {}
    follower_.flush(now).unwrap();
    compare(&tape, dir.path(), &follower_.catalog.state().parts);
    follower_.tend(now).unwrap();
    let parts = &follower_.catalog.state().parts;
    assert!(parts.values().all(|p| p.sealed), "everything is of days that are over");
    let mut keys: Vec<_> = parts.values().map(|p| (&p.topic, &p.table, p.day)).collect();
    let n = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), n, "one part a day");
    assert!(parts.values().any(|p| p.table == "trades" && p.day == 20_455) && parts.values().any(|p| p.day == 20_456));
    check_names(parts);
    compare(&tape, dir.path(), parts);
    let before = parts.clone();
    follower_.tend(now).unwrap();
    assert_eq!(&before, &follower_.catalog.state().parts, "compaction twice changes nothing");
    // Ids ascend in the corrected order.
    let mut rows = Rows::default();
    for part in before.values().filter(|p| p.table == "trades") {
        let mut reader = PartReader::open(&RealDisk, dir.path(), part).unwrap();
        let mut last = TradeId::default();
        while reader.next(&mut rows).unwrap() {
            for (_, record) in rows.iter() {
                let Body::Trade(t) = record.view().unwrap() else { panic!() };
                assert!(t.id > last, "{} after {last}", t.id);
                last = t.id;
            }
        }
    }
    assert!(follower_.counts.sealed > 0);
}
