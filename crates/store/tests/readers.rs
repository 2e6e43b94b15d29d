//! Whoever reads the files while they are written, merged and rewritten sees each row once, and all that was committed before.
//!
//! It reads as pyarrow or DuckDB would: lists a folder, opens each file, and lists again when one of them has gone.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use support::{DAY, Dice, T0, body, owned, topic};
use wholetape_model::{Price, Row, RowFlags, Scales, Size, Trade, TradeCondition, Ts, View};
use wholetape_store::StoreError;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::file::Reader;
use wholetape_store::history::CatalogHistory;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::history::{Past, PastBatch};
use wholetape_tape::{Disk, Lane, RealDisk, Tape, TapeConfig};

/// The seqs in a folder's files; `None`: a file went meanwhile.
fn look(dir: &Path) -> Option<Vec<u64>> {
    let mut open = Vec::new();
    for file in RealDisk.list(dir).unwrap_or_default() {
        match Reader::open(&RealDisk, &file.path) {
            Ok(reader) => open.push(reader),
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return None,
            Err(e) => panic!("{}: {e}", file.path.display()),
        }
    }
    let mut seqs = Vec::new();
    for reader in &open {
        for group in 0..reader.groups() {
            let batch = reader.group(group).unwrap();
            seqs.extend_from_slice(batch.column_by_name("seq").unwrap().as_primitive::<UInt64Type>().values());
        }
    }
    Some(seqs)
}

fn write(lane: &mut Lane, id: u64, now: i64, flags: RowFlags) {
    let no = lane.topic(&topic("trade")).unwrap();
    let o = owned(&mut Dice(id));
    let body = body("trade", id, &mut Dice(id), &o);
    let scales = Scales { price: 2, size: 3 };
    let row = Row { ts_event: Ts(now), ts_recv: Ts(now), conn: 1, frame: 1, flags, scales, body };
    lane.append(no, &row).unwrap();
}

#[test]
fn readers_see_each_row_once_and_all_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let catalog = Catalog::open(Arc::new(RealDisk), dir.path(), CatalogConfig::default()).unwrap();
    let pace = Pace {
        flush_every: Duration::ZERO,
        rewrite_every: Duration::ZERO,
        seal_after: Duration::ZERO,
        ..Pace::default()
    };
    let mut follower = Follower::new(catalog, pace);
    let (committed, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (committed, over) = (committed.clone(), over.clone());
            let folder = dir.path().join("catalog/data/trades/BTCUSDT-PERP.BINANCE");
            std::thread::spawn(move || {
                let (mut looks, mut again) = (0_u64, 0_u64);
                while !over.load(Ordering::SeqCst) {
                    let least = committed.load(Ordering::SeqCst);
                    let Some(seqs) = look(&folder) else {
                        again += 1;
                        continue;
                    };
                    let once: BTreeSet<u64> = seqs.iter().copied().collect();
                    assert_eq!(once.len(), seqs.len(), "rows are there twice");
                    assert!(seqs.len() as u64 >= least, "{least} were committed, {} are there", seqs.len());
                    looks += 1;
                }
                (looks, again)
            })
        })
        .collect();
    let (mut dice, mut late, mut now, mut id) = (Dice(3), Vec::new(), T0, 0);
    for round in 0..60 {
        for _ in 0..50 {
            (now, id) = (now + dice.below(60_000_000_000) as i64, id + 1);
            if dice.below(10) == 0 {
                late.push((id, now));
            } else {
                write(&mut lane, id, now, RowFlags::default());
            }
        }
        if round % 3 == 2 {
            for (id, event) in late.drain(..) {
                write(&mut lane, id, event, RowFlags::LATE_REST);
            }
        }
        lane.commit().unwrap();
        while follower.poll(&tape, Ts(now)).unwrap() {}
        follower.tend(Ts(now)).unwrap();
        let rows = follower.catalog.state().parts.values().map(|p| p.rows).sum();
        committed.store(rows, Ordering::SeqCst);
    }
    follower.flush(Ts(now)).unwrap();
    follower.tend(Ts(now + 2 * DAY)).unwrap();
    assert!(follower.counts.rewritten > 5 && follower.counts.sealed > 0, "{:?}", follower.counts);
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        let (looks, again) = reader.join().expect("a reader was disturbed");
        println!("{looks} looks, {again} lists anew");
        assert!(looks > 20, "{looks}");
    }
}

/// What is read of a number does not depend on which other rows lie in its group.
#[test]
fn numbers_are_read_with_the_digits_that_are_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let catalog = Catalog::open(Arc::new(RealDisk), dir.path(), CatalogConfig::default()).unwrap();
    let mut follower = Follower::new(catalog, Pace::default());
    let (topic, scales) = (topic("trade"), Scales { price: 2, size: 3 });
    let no = lane.topic(&topic).unwrap();
    for (id, price, size) in [(1_u64, 6_000_001, 1), (2, 6_000_000, 130), (3, 6_000_010, 1_000)] {
        let (price, size) = (Price(price), Size(size));
        let (aggressor, condition) = (None, TradeCondition::Regular);
        let trade = Trade { id: id.into(), first_id: id, last_id: id, price, size, aggressor, condition };
        let (now, flags) = (Ts(T0 + id as i64), RowFlags::default());
        let row = Row { ts_event: now, ts_recv: now, conn: 1, frame: 1, flags, scales, body: View::Trade(trade) };
        lane.append(no, &row).unwrap();
        lane.commit().unwrap();
        while follower.poll(&tape, now).unwrap() {}
        follower.flush(now).unwrap();
    }
    let history = CatalogHistory::new(Arc::new(RealDisk), dir.path());
    let (mut reader, mut batch, mut seen) = (history.by_seq(&topic, 0).unwrap(), PastBatch::default(), Vec::new());
    while reader.read(&mut batch).unwrap() {
        for i in 0..batch.len() {
            let Past::Record { record, .. } = batch.get(i).unwrap() else { panic!("nothing is missed") };
            let View::Trade(trade) = record.view().unwrap() else { panic!("a trade") };
            seen.push((record.scales(), trade.price.0, trade.size.0));
        }
    }
    assert_eq!(seen, [(scales, 6_000_001, 1), (scales, 6_000_000, 130), (scales, 6_000_010, 1_000)]);
}
