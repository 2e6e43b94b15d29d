//! Trades whose ids do not count, some of them on the tape twice, in a catalog whose disk dies at every step of the seal that removes
//! the repeats: whatever the step, after the next start each trade is stored once, its first row, and nothing else is lost or taken anew.
//!
//! `WHOLETAPE_CRASHES=500` looks at every step (the default, for CI, at some of them).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wholetape_lab::dice::Dice;
use wholetape_lab::disk::MemDisk;
use wholetape_model::{
    Body, InstrumentId, Kind, Price, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, TradeId, Ts,
};
use wholetape_store::StoreError;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::file::Codec;
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::verify::Verify;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Tape, TapeConfig};

const DATA: &str = "/d";
const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;
const FIRST: i64 = 20_455;
/// Trades: one an hour over two days; every third comes once more, nine hours later.
const TRADES: u64 = 44;

fn name(n: u64) -> TradeId {
    TradeId::uuid(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32 | 0x4000 << 76).unwrap()
}

fn topic() -> Topic {
    Topic::new(Kind::Trade, &InstrumentId::new("BTCUSDT-LINEAR", "BYBIT"))
}

/// The tape, and the seq of each trade's first row.
fn tape(dir: &Path) -> (Tape, BTreeMap<TradeId, u64>) {
    let tape = Tape::open(dir, TapeConfig::default()).unwrap();
    let mut lane = tape.lane("t").unwrap();
    let no = lane.topic(&topic()).unwrap();
    let mut all: Vec<(i64, u64)> = (0..TRADES).map(|n| (n as i64, n)).collect();
    all.extend((0..TRADES).step_by(3).map(|n| (n as i64 + 9, n)));
    all.sort_unstable_by_key(|(hour, n)| (*hour, n % 3 == 0 && *hour > *n as i64, *n));
    let mut first = BTreeMap::new();
    for (hour, n) in all {
        let (event, recv) = (Ts(FIRST * DAY + n as i64 * HOUR), Ts(FIRST * DAY + hour * HOUR + 5));
        let (price, size, condition) = (Price(n as i64 + 1), Size(1), TradeCondition::Regular);
        let body = Body::Trade(Trade { id: name(n), first_id: 0, last_id: 0, price, size, aggressor: None, condition });
        let (flags, scales) = (RowFlags::LOOSE_ID, Scales { price: 2, size: 0 });
        let row = Row { ts_event: event, ts_recv: recv, conn: 1, frame: 1, flags, scales, body };
        let seq = lane.append(no, &row).unwrap();
        first.entry(name(n)).or_insert(seq);
    }
    lane.commit().unwrap();
    drop(lane);
    (tape, first)
}

fn open(disk: &MemDisk) -> Result<Follower, StoreError> {
    let config =
        CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], codec: Codec::None, ..CatalogConfig::default() };
    Ok(Follower::new(Catalog::open(Arc::new(disk.clone()), Path::new(DATA), config)?, Pace::default()))
}

/// Reads the tape and seals what is over.
fn seal(follower: &mut Follower, tape: &Tape) -> Result<(), StoreError> {
    let now = Ts((FIRST + 4) * DAY);
    while follower.poll(tape, now)? {}
    follower.tend(now)
}

/// Id → seq of what is stored.
fn stored(disk: &MemDisk, follower: &Follower) -> BTreeMap<TradeId, u64> {
    let (mut all, mut rows) = (BTreeMap::new(), Rows::default());
    for part in follower.catalog.state().parts.values() {
        let mut reader = PartReader::open(disk, Path::new(DATA), part).unwrap();
        while reader.next(&mut rows).unwrap() {
            for (_, record) in rows.iter() {
                let Body::Trade(t) = record.view().unwrap() else { panic!("{record:?}") };
                assert_eq!(all.insert(t.id, record.seq()), None, "{} is stored twice", t.id);
            }
        }
    }
    all
}

/// The catalog with everything stored and nothing sealed, on a disk that has it for sure.
fn before(disk: &MemDisk, tape: &Tape) {
    let mut follower = open(disk).unwrap();
    let now = Ts((FIRST + 1) * DAY);
    while follower.poll(tape, now).unwrap() {}
    follower.flush(now).unwrap();
}

#[test]
fn a_seal_that_removes_repeats_survives_a_crash_at_any_step() {
    let dir = tempfile::tempdir().unwrap();
    let (tape, first) = tape(dir.path());
    let base = MemDisk::new(Path::new(DATA), 7);
    before(&base, &tape);
    // Without a crash: how many steps there are.
    let whole = base.fork();
    let (mut follower, from) = (open(&whole).unwrap(), whole.steps());
    seal(&mut follower, &tape).unwrap();
    let steps = whole.steps() - from;
    assert_eq!(follower.counts.repeats, TRADES.div_ceil(3), "five of them of the day before");
    assert_eq!(stored(&whole, &follower), first);
    drop(follower);
    let every = match std::env::var("WHOLETAPE_CRASHES").ok().and_then(|n| n.parse::<u64>().ok()) {
        Some(n) if n >= steps => 1,
        _ => (steps / 40).max(1),
    };
    let mut dice = Dice::new(11);
    for step in (1..=steps).step_by(every as usize) {
        let disk = base.fork();
        let mut follower = open(&disk).unwrap();
        disk.die_at(Some(disk.steps() + step));
        let done = seal(&mut follower, &tape);
        assert!(disk.is_dead() || done.is_ok(), "step {step}: {done:?}");
        drop(follower);
        if dice.one_in(2) {
            disk.power_loss(&mut dice);
        }
        disk.die_at(None);
        disk.crash();
        let mut follower = open(&disk).unwrap_or_else(|e| panic!("step {step}: it does not start: {e}"));
        seal(&mut follower, &tape).unwrap_or_else(|e| panic!("step {step}: {e}"));
        assert_eq!(stored(&disk, &follower), first, "step {step}");
        let state = follower.catalog.state();
        assert!(state.parts.values().all(|p| p.sealed), "step {step}");
        let seqs = &state.stored()[topic().as_str()];
        assert_eq!(seqs.intervals(), [(1, TRADES + TRADES.div_ceil(3))], "step {step}: the tape is not asked again");
        drop(follower);
        let verify = Verify { disk: &disk, data: Path::new(DATA), keys: None, progress: &|_, _, _| {}, wait: &|_| {} };
        let report = verify.run().unwrap();
        assert!(report.findings.is_empty(), "step {step}: {:?}", report.findings);
    }
}
