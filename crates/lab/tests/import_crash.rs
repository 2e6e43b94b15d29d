//! Days from an archive on their way into the catalog, on a disk that dies at any step; in every second story ids are names.
//!
//! `WHOLETAPE_CRASHES=500` makes so many crashes (the default is for CI), `WHOLETAPE_SEED=n` runs one story alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use wholetape_lab::dice::Dice;
use wholetape_lab::disk::MemDisk;
use wholetape_model::record::encode;
use wholetape_model::{Body, Price, Record, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, TradeId, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::file::{Codec, Reader};
use wholetape_store::import::{self, Added, Day, Happened, Need, Stored, key};
use wholetape_store::manifest::{Change, Part};
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::table::Table;
use wholetape_store::verify::Verify;
use wholetape_store::{StoreError, compact, names};

const DATA: &str = "/d";
const DAY: i64 = 86_400_000_000_000;
const FIRST: i64 = 20_000;
const DAYS: u64 = 4;
/// Trades a day; several of them share a millisecond.
const ROWS: u64 = 60;

fn topic() -> Topic {
    Topic::parse("trade.BTCUSDT.BINANCE").unwrap()
}

fn day_of(id: u64) -> i64 {
    FIRST + (id / ROWS) as i64
}

/// What the venue calls it: by a number, or by a name that tells no order.
fn called(id: u64, named: bool) -> TradeId {
    let bits = u128::from(id) << 80 | u128::from(id.wrapping_mul(0x9E37_79B9) as u32) << 96 | 1 << 127 | 1 << 63;
    if named { TradeId::uuid(bits).unwrap() } else { id.into() }
}

/// The reverse.
fn number_of(record: &Record<'_>) -> u64 {
    let Ok(Body::Trade(trade)) = record.view() else { panic!("{record:?}") };
    trade.id.number().unwrap_or((trade.id.bits() >> 80) as u64 & 0xFFFF)
}

/// What the venue published as `id`. The last day needs more digits than the others.
fn published(id: u64, named: bool) -> Row<'static> {
    let at = day_of(id) * DAY + (id % ROWS / 5) as i64 * 7_000_000 + 3;
    let raw = if id / ROWS == DAYS - 1 { id as i64 * 10 + 1 } else { id as i64 * 100 };
    let (price, size, condition) = (Price(raw), Size(5), TradeCondition::Regular);
    let (aggressor, numbers) = (None, if named { 0 } else { id });
    let (first_id, last_id, id) = (numbers, numbers, called(id, named));
    let body = Body::Trade(Trade { id, first_id, last_id, price, size, aggressor, condition });
    let flags = if named { RowFlags::LATE_ARCHIVE.with(RowFlags::LOOSE_ID) } else { RowFlags::LATE_ARCHIVE };
    let (ts_event, ts_recv, scales) = (Ts(at), Ts(at + DAY), Scales { price: 3, size: 1 });
    Row { ts_event, ts_recv, conn: 0, frame: 0, flags, scales, body }
}

struct World {
    seed: u64,
    /// Ids are names.
    named: bool,
    dice: Dice,
    disk: MemDisk,
    catalog: Option<Catalog>,
    dialects: Vec<Dialect>,
    /// By id the seq (0: from the archive) of what must be stored, and the `ts_init` of what has a seq.
    held: BTreeMap<u64, (u64, i64)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let disk = MemDisk::new(Path::new(DATA), seed);
        let dialects = if dice.one_in(2) { vec![Dialect::V2] } else { vec![Dialect::V2, Dialect::V1] };
        Self { seed, named: seed.is_multiple_of(2), dice, disk, catalog: None, dialects, held: BTreeMap::new() }
    }

    fn start(&mut self) -> Result<(), StoreError> {
        let config = CatalogConfig { dialects: self.dialects.clone(), codec: Codec::None, depth: false };
        let mut catalog = Catalog::open(Arc::new(self.disk.clone()), Path::new(DATA), config)?;
        import::settle(&mut catalog, &topic())?;
        self.catalog = Some(catalog);
        Ok(())
    }

    fn kill(&mut self, power: bool) {
        self.disk.die_at(Some(0));
        self.catalog = None;
        if power {
            self.disk.power_loss(&mut self.dice);
        }
        self.disk.crash();
    }

    fn catalog(&mut self) -> &mut Catalog {
        self.catalog.as_mut().expect("it runs")
    }

    /// Some trades that came over the tape when it was there: they have seqs, and times of their own.
    fn recorded(&mut self) {
        let digits = BTreeMap::from([("BTCUSDT.BINANCE".to_owned(), (1, 1))]);
        self.catalog().manifest.commit(Change { digits, ..Change::default() }).unwrap();
        for day in 0..DAYS {
            if !self.dice.one_in(2) {
                continue;
            }
            let mut rows = Rows::default();
            for id in day * ROWS..(day + 1) * ROWS {
                if self.dice.one_in(3) {
                    let published = published(id, self.named);
                    let loose = if self.named { RowFlags::LOOSE_ID } else { RowFlags::default() };
                    let row = Row { flags: RowFlags::LATE_REST.with(loose), ..published };
                    rows.push_with(row.ts_event, |out| _ = encode(&row, 0, id + 1, 1, out)).unwrap();
                    self.held.insert(id, (id + 1, 0));
                }
            }
            let at = FIRST + day as i64;
            if !rows.is_empty() {
                compact::day(self.catalog(), topic().as_str(), Table::Trade, at, rows, true).unwrap();
            }
        }
        for (id, (seq, ts)) in self.rows() {
            assert_eq!(self.held[&id].0, seq);
            self.held.insert(id, (seq, ts));
        }
    }

    /// As the importer does it: what is not stored is stored, a day at a time.
    fn import(&mut self, ids: &[u64]) -> Result<u64, StoreError> {
        let (topic, catalog) = (topic(), self.catalog.as_mut().expect("it runs"));
        let (mut missing, mut need, mut added) = (Vec::new(), Need::default(), 0);
        let (first, last, named) = (ids[0], ids[ids.len() - 1], self.named);
        if named {
            let (from, to) = (Ts(day_of(first) * DAY), Ts((day_of(last) + 1) * DAY));
            let mut held = BTreeSet::new();
            Happened::open(catalog, &topic, Table::Trade, (from, to))?.each(catalog, &mut |record| {
                assert!(held.insert(number_of(record)), "seed {}: handed over twice", self.seed);
                Ok::<(), StoreError>(())
            })?;
            missing.extend(ids.iter().filter(|id| !held.contains(id)));
        } else {
            let mut stored = Stored::open(catalog, &topic, Table::Trade, (first, last))?;
            for id in ids {
                match stored.row(catalog, *id)? {
                    Some(record) => assert_eq!(key(&record), Some(*id)),
                    None => missing.push(*id),
                }
            }
        }
        missing.iter().for_each(|id| need.see(&published(*id, named)));
        for of_day in missing.chunk_by(|a, b| day_of(*a) == day_of(*b)) {
            let mut rows = of_day.iter();
            let of = Day { topic: &topic, table: Table::Trade, day: day_of(of_day[0]) };
            let done = import::day(catalog, &of, need, &mut |put| match rows.next() {
                Some(id) => put(&published(*id, named)).map(|()| true),
                None => Ok(false),
            })?;
            assert_eq!(done, Added { rows: of_day.len() as u64, revised: done.revised });
            added += done.rows;
        }
        import::certify(catalog, None, &topic, FIRST + 100)?;
        Ok(added)
    }

    /// Id → seq and `ts_init`, in order; everything that must hold of each row.
    fn rows(&self) -> BTreeMap<u64, (u64, i64)> {
        let catalog = self.catalog.as_ref().expect("it runs");
        let mut parts: Vec<&Part> = catalog.state().parts.values().collect();
        parts.sort_by_key(|p| p.from);
        let (mut all, mut rows, mut last) = (BTreeMap::new(), Rows::default(), (0, 0));
        for part in parts {
            assert!(part.sealed, "seed {}", self.seed);
            let mut reader = PartReader::open(&self.disk, Path::new(DATA), part).unwrap();
            while reader.next(&mut rows).unwrap() {
                for (ts, record) in rows.iter() {
                    let (id, place) = (number_of(&record), (ts.0, record.seq()));
                    let in_order = place > last || place == last && place.1 == 0;
                    assert!(in_order, "seed {}: id {id} at {place:?} behind {last:?}", self.seed);
                    assert_eq!(names::day_of(ts), part.day);
                    let truth = published(id, self.named);
                    assert_eq!((record.ts_event(), record.ts_recv()), (truth.ts_event, truth.ts_recv));
                    let (Ok(Body::Trade(got)), Body::Trade(want)) = (record.view(), truth.body) else { panic!("{id}") };
                    let price = |p: Price, s: Scales| s.price(p).canonical();
                    assert_eq!(price(got.price, record.scales()), price(want.price, truth.scales));
                    assert!(all.insert(id, (record.seq(), ts.0)).is_none(), "seed {}: {id} twice", self.seed);
                    last = place;
                }
            }
        }
        all
    }

    /// After a crash while `ids` were imported: what was held is held, each day has all of them or none.
    fn check(&mut self, ids: &[u64]) {
        let rows = self.rows();
        for (id, held) in &self.held {
            assert!(rows.get(id).is_some_and(|now| now.0 == held.0), "seed {}: {id} is gone", self.seed);
            if held.0 > 0 {
                assert_eq!(rows[id].1, held.1, "seed {}: {id} has another time", self.seed);
            }
        }
        for of_day in ids.chunk_by(|a, b| day_of(*a) == day_of(*b)) {
            let new = of_day.iter().filter(|id| !self.held.contains_key(id));
            let there: Vec<bool> = new.map(|id| rows.contains_key(id)).collect();
            assert!(there.windows(2).all(|w| w[0] == w[1]), "seed {}: half of day {}", self.seed, day_of(of_day[0]));
        }
        assert!(rows.keys().all(|id| self.held.contains_key(id) || ids.contains(id)));
        self.held = rows;
    }

    /// Files have the digits that are pinned, and everything is what the certificates say.
    fn settled(&mut self) {
        let catalog = self.catalog.as_ref().unwrap();
        let pin = catalog.state().digits["BTCUSDT.BINANCE"].0.to_string();
        for file in catalog.state().parts.values().flat_map(|p| &p.files).filter(|f| f.path.contains("/data/")) {
            let reader = Reader::open(&self.disk, &Path::new(DATA).join(&file.path)).unwrap();
            assert_eq!(
                reader.schema().metadata().get("price_precision"),
                Some(&pin),
                "seed {}: {}",
                self.seed,
                file.path
            );
        }
        // Folders that changed places are left to whoever just lists them.
        self.kill(false);
        self.start().unwrap();
        let verify =
            Verify { disk: &self.disk, data: Path::new(DATA), keys: None, progress: &|_, _, _| {}, wait: &|_| {} };
        let report = verify.run().unwrap();
        assert!(report.is_clean() && report.days_open == 0, "seed {}: {report:?}", self.seed);
    }

    /// Ids of a file: some days, or pieces of them.
    fn draw(&mut self) -> Vec<u64> {
        let from = self.dice.between(0, DAYS * ROWS - 2);
        let to = self.dice.between(from + 1, DAYS * ROWS - 1);
        let skip = self.dice.between(1, 9);
        (from..=to).filter(|id| skip < 4 || id % skip != 0).collect()
    }
}

/// One story. Returns how often it died.
fn story(seed: u64) -> u64 {
    let mut w = World::new(seed);
    w.start().unwrap();
    w.recorded();
    let (mut crashes, mut typical) = (0, 60);
    for _ in 0..8 {
        let ids = w.draw();
        let before = w.disk.steps();
        w.disk.die_at(Some(before + w.dice.between(1, typical)));
        let done = w.import(&ids);
        if !w.disk.is_dead() {
            w.disk.die_at(None);
            done.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            typical = (w.disk.steps() - before).max(1);
            w.check(&ids);
            continue;
        }
        crashes += 1;
        let power = w.dice.one_in(2);
        w.kill(power);
        while w.dice.one_in(3) {
            // It dies again before it is up.
            w.disk.die_at(Some(w.disk.steps() + w.dice.between(1, 25)));
            drop(w.start());
            let power = w.dice.one_in(2);
            w.kill(power);
        }
        w.start().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        w.check(&ids);
        let rest = w.import(&ids).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        w.check(&ids);
        assert!(ids.iter().all(|id| w.held.contains_key(id)), "seed {seed}");
        assert!(rest <= ids.len() as u64);
        assert_eq!(w.import(&ids).unwrap(), 0, "seed {seed}: a second import finds nothing to do");
    }
    let all: Vec<u64> = (0..DAYS * ROWS).collect();
    w.import(&all).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    w.check(&all);
    assert_eq!(w.held.len() as u64, DAYS * ROWS);
    w.settled();
    crashes
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn imports_survive_crashes_at_any_step() {
    if let Some(seed) = number("WHOLETAPE_SEED") {
        story(seed);
        return;
    }
    let (want, mut done, mut seed) = (number("WHOLETAPE_CRASHES").unwrap_or(60), 0, 0);
    while done < want {
        seed += 1;
        assert!(seed <= 3 * want, "{done} crashes in {seed} stories: they do not die");
        done += std::panic::catch_unwind(|| story(seed)).unwrap_or_else(|e| {
            println!("seed {seed} fails; WHOLETAPE_SEED={seed} runs it alone");
            std::panic::resume_unwind(e)
        });
    }
    println!("{done} crashes in {seed} stories");
}
