//! A catalog of some days of one instrument and its line: late trades, gaps with verdicts that come later, a book that was not
//! always right.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wholetape_model::*;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::cert::sign::{Keys, Signer};
use wholetape_store::columns::Dialect;
use wholetape_store::verify::{Report, Verify};
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Lane, RealDisk, Tape, TapeConfig};

use super::{DAY, Dice, ID, body, owned, topic};

/// 2026-01-02.
pub const FIRST: i64 = 20_455;
pub const SECRET: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";

pub struct World {
    pub dir: tempfile::TempDir,
    pub tape: Tape,
    pub lane: Lane,
    pub follower: Option<Follower>,
    pub signed: bool,
    next: u64,
}

impl World {
    pub fn new(signed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
        let lane = tape.lane("t").unwrap();
        let mut world = Self { dir, tape, lane, follower: None, signed, next: 1 };
        world.open();
        world
    }

    pub fn open(&mut self) {
        self.follower = None;
        let config = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
        let catalog = Catalog::open(Arc::new(RealDisk), self.dir.path(), config).unwrap();
        let signer = self.signed.then(|| Signer::parse(SECRET).unwrap());
        self.follower = Some(Follower::new(catalog, Pace::default()).with_signer(signer));
    }

    pub fn follower(&mut self) -> &mut Follower {
        self.follower.as_mut().unwrap()
    }

    pub fn row(&mut self, kind: &str, event: i64, recv: i64, flags: RowFlags, body: View<'_>) {
        let no = self.lane.topic(&topic(kind)).unwrap();
        let scales = Scales { price: 2, size: 3 };
        let row = Row { ts_event: Ts(event), ts_recv: Ts(recv), conn: 4, frame: 9, flags, scales, body };
        self.lane.append(no, &row).unwrap();
    }

    pub fn trade(&mut self, id: u64, at: i64, flags: RowFlags) {
        let o = owned(&mut Dice(id));
        self.row("trade", at, at + 5_000_000, flags, body("trade", id, &mut Dice(id), &o));
    }

    pub fn gap(&mut self, at: i64, gap: u64, state: GapState, ids: (u64, u64), ts: (i64, i64)) {
        let gap = Gap {
            gap,
            state,
            cause: GapCause::Disconnected,
            source: HealSource::None,
            from_id: ids.0,
            to_id: ids.1,
            from_ts: Ts(ts.0),
            to_ts: Ts(ts.1),
            missing: ids.1 - ids.0 + 1,
            why: "cut",
        };
        self.row("trade", at, at, RowFlags::default(), Body::Gap(gap));
    }

    pub fn validity(&mut self, at: i64, state: ValidityState) {
        let v = Validity { state, cause: GapCause::Resync, update_id: 1, why: "" };
        self.row("book", at, at, RowFlags::default(), Body::Validity(v));
    }

    /// 60 trades, quotes and book updates an hour apart by minutes; ids go on.
    pub fn day(&mut self, day: i64) {
        let start = day * DAY;
        for i in 0..60_i64 {
            let at = start + 3_600_000_000_000 + i * 60_000_000_000;
            let id = self.next;
            self.next += 1;
            let o = owned(&mut Dice(id));
            // Two ids are left out each day: one comes late, one never.
            if i == 20 {
                self.gap(at, id, GapState::Open, (id, id), (at, at + 60_000_000_000));
            } else if i == 40 {
                self.gap(at, id, GapState::Open, (id, id), (at, at + 120_000_000_000));
            } else {
                let flags = if i % 10 == 3 { RowFlags::BAD_PRICE } else { RowFlags::default() };
                self.trade(id, at, flags);
            }
            for kind in ["quote", "book", "ticker"] {
                self.row(kind, at, at + 1_000_000, RowFlags::default(), body(kind, id, &mut Dice(id), &o));
            }
            match i {
                10 => self.validity(at + 2_000_000, ValidityState::Live),
                30 => self.validity(at + 2_000_000, ValidityState::Stale),
                31 => self.validity(at + 2_000_000, ValidityState::Live),
                50 => {
                    let healed = id - 30;
                    self.trade(healed, at - 1_800_000_000_000, RowFlags::LATE_REST);
                    self.gap(at, healed, GapState::Healed, (healed, healed), (at, at));
                }
                _ => {}
            }
        }
        self.lane.commit().unwrap();
    }

    /// The follower reads everything and does what is due at `day`, 12:00.
    pub fn tend(&mut self, day: i64) {
        let now = Ts(day * DAY + DAY / 2);
        let mut follower = self.follower.take().unwrap();
        while follower.poll(&self.tape, now).unwrap() {}
        // Late rows among stored ones wait ten minutes.
        follower.tend(now).unwrap();
        follower.tend(Ts(now.0 + 1_200_000_000_000)).unwrap();
        self.follower = Some(follower);
    }

    /// Three days, each sealed; the verdict on the second day's lost trade comes on the third, and then a late trade of the first.
    pub fn three_days(signed: bool) -> Self {
        let mut w = Self::new(signed);
        for day in FIRST..FIRST + 3 {
            if day == FIRST + 2 {
                let (id, at) = (60 + 41, (FIRST + 1) * DAY + 3_600_000_000_000 + 40 * 60_000_000_000);
                w.gap(day * DAY + 5, id, GapState::Lost, (id, id), (at, at + 120_000_000_000));
            }
            w.day(day);
            w.tend(day + 1);
        }
        let at = FIRST * DAY + 3_600_000_000_000 + 40 * 60_000_000_000;
        w.trade(41, at, RowFlags::LATE_ARCHIVE);
        w.lane.commit().unwrap();
        w.tend(FIRST + 3);
        w.follower = None;
        w
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn verify(&self) -> Report {
        verify(self.path(), None).unwrap()
    }

    pub fn certificate(&self, name: &str) -> PathBuf {
        self.path().join("catalog/certificates").join(ID).join(name)
    }
}

pub fn verify(data: &Path, keys: Option<&Keys>) -> Result<Report, wholetape_store::StoreError> {
    Verify { disk: &RealDisk, data, keys, progress: &|_, _, _| {}, wait: &|_| {} }.run()
}

/// All files below a folder (none where there is no folder), but for folders that changed places a moment ago: readers may still be in them, and they go.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with(".staging") => {}
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all.sort();
    all
}
