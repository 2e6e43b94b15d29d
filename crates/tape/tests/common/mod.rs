//! What the tape's tests share: rows, topics, draining readers.
#![allow(dead_code)]

use std::path::Path;
use std::time::Duration;

use wholetape_model::{
    Body, Book, BookAction, Gap, GapCause, GapState, HealSource, InstrumentId, Kind, Level, Levels, Price, Row,
    RowFlags, Scales, Size, Topic, Trade, TradeCondition, Ts, Validity, ValidityState,
};
use wholetape_tape::{Delivery, From, Fsync, MissedWhy, Reader, ReaderOptions, Tape, TapeConfig};

pub fn topic(name: &str) -> Topic {
    Topic::parse(name).unwrap()
}

pub fn btc() -> Topic {
    Topic::new(Kind::Trade, &InstrumentId::parse("BTCUSDT.BINANCE").unwrap())
}

/// A trade whose id tells which row it is.
pub fn trade(id: u64) -> Row<'static> {
    Row {
        ts_event: Ts(id as i64),
        ts_recv: Ts(1_000_000 + id as i64),
        conn: 1 << 16 | 7,
        frame: id as u32,
        flags: RowFlags::default(),
        scales: Scales { price: 2, size: 3 },
        body: Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(6_000_000 + id as i64),
            size: Size(5),
            aggressor: None,
            condition: TradeCondition::Regular,
        }),
    }
}

pub fn book(action: BookAction, levels: &[Level], id: u64) -> Row<'_> {
    Row {
        body: Body::Book(Book {
            action,
            first_id: id,
            last_id: id,
            prev_id: 0,
            bids: Levels::Native(levels),
            asks: Levels::Native(&[]),
        }),
        ..trade(id)
    }
}

pub fn validity(id: u64) -> Row<'static> {
    Row {
        body: Body::Validity(Validity {
            state: ValidityState::Syncing,
            cause: GapCause::Resync,
            update_id: id,
            why: "test",
        }),
        ..trade(id)
    }
}

pub fn gap(id: u64) -> Row<'static> {
    Row {
        body: Body::Gap(Gap {
            gap: id,
            state: GapState::Open,
            cause: GapCause::Sequence,
            source: HealSource::None,
            from_id: id,
            to_id: id,
            from_ts: Ts(1),
            to_ts: Ts(2),
            missing: 1,
            why: "test",
        }),
        ..trade(id)
    }
}

/// Quick, and loses nothing to timers.
pub fn config() -> TapeConfig {
    TapeConfig { fsync: Fsync::Every(Duration::from_millis(5)), ..TapeConfig::default() }
}

pub fn open(dir: &Path) -> Tape {
    Tape::open(dir, config()).unwrap()
}

/// What a delivery says, short enough to compare: seq, prev and the row's id (or the mark).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Row { seq: u64, id: u64 },
    Lost { prev: u64, seq: u64, cause: GapCause },
    Other { seq: u64 },
    Missed { from: u64, to: u64, why: MissedWhy },
    Disconnected { position: u64 },
}

pub fn seen(d: &Delivery) -> Seen {
    match d {
        Delivery::Missed { from, to, why } => Seen::Missed { from: *from, to: *to, why: *why },
        Delivery::Disconnected { position, .. } => Seen::Disconnected { position: *position },
        Delivery::Record(r) => {
            let record = r.record();
            wholetape_model::Record::parse(r, true).expect("what is delivered has a right checksum");
            match record.view().unwrap() {
                Body::Trade(t) => Seen::Row { seq: record.seq(), id: t.id.number().unwrap_or_default() },
                Body::Gap(g) if g.state == GapState::Lost => {
                    Seen::Lost { prev: record.prev(), seq: record.seq(), cause: g.cause }
                }
                _ => Seen::Other { seq: record.seq() },
            }
        }
    }
}

pub fn drain(reader: &mut Reader) -> Vec<Seen> {
    let mut out = Vec::new();
    while reader.poll_next(&mut out, 100) > 0 {}
    out.iter().map(seen).collect()
}

pub fn read_all(tape: &Tape, topic: &Topic) -> Vec<Seen> {
    drain(&mut tape.reader(topic, From::Seq(0), ReaderOptions::default()).unwrap())
}

/// Rows `ids` with seqs `first..`.
pub fn rows(first: u64, ids: impl Iterator<Item = u64>) -> Vec<Seen> {
    ids.enumerate().map(|(i, id)| Seen::Row { seq: first + i as u64, id }).collect()
}

/// The newest segment file of a lane.
pub fn newest_segment(dir: &Path, lane: &str) -> std::path::PathBuf {
    segments(dir, lane).pop().expect("the lane has a segment")
}

pub fn segments(dir: &Path, lane: &str) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(dir.join("lanes").join(lane))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    all.sort();
    all
}

/// Random enough for schedules, and the same every time (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}
