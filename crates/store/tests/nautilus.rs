//! What NautilusTrader's wheels refuse, or read wrongly without a word: one test for each finding of `cargo xtask catalog`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, StringArray, UInt8Array};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use wholetape_model::*;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Lane, RealDisk, Tape, TapeConfig};

const ID: &str = "BTCUSDT-PERP.BINANCE";
const DAY: i64 = 86_400_000_000_000;
const T0: i64 = 20_455 * DAY + 36_000_000_000_000;

struct World {
    dir: tempfile::TempDir,
    tape: Tape,
    lane: Lane,
    follower: Follower,
    now: i64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
        let lane = tape.lane("t").unwrap();
        let config = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
        let catalog = Catalog::open(Arc::new(RealDisk), dir.path(), config).unwrap();
        Self { dir, tape, lane, follower: Follower::new(catalog, Pace::default()), now: T0 }
    }

    fn put(&mut self, kind: &str, scales: (u8, u8), flags: RowFlags, body: View<'_>) {
        self.now += 1_000_000;
        let topic = self.lane.topic(&Topic::parse(&format!("{kind}.{ID}")).unwrap()).unwrap();
        let scales = Scales { price: scales.0, size: scales.1 };
        let at = Ts(self.now);
        let row = Row { ts_event: at, ts_recv: at, conn: 1, frame: 1, flags, scales, body };
        self.lane.append(topic, &row).unwrap();
    }

    fn trade(&mut self, id: u64, price: i64, scales: (u8, u8), flags: RowFlags) {
        let trade = Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(price),
            size: Size(5),
            aggressor: None,
            condition: TradeCondition::Regular,
        };
        self.put("trade", scales, flags, Body::Trade(trade));
    }

    fn define(&mut self, tick: Decimal, step: Decimal) {
        let one = Decimal { raw: 1, scale: 0 };
        let def = InstrumentDef {
            kind: InstrumentKind::Perpetual,
            status: TradingStatus::Trading,
            tick,
            step,
            size_min: step,
            size_max: one,
            notional_min: one,
            multiplier: one,
            onboard: Ts(1),
            expiry: Ts(2),
            symbol: "BTCUSDT",
            base: "BTC",
            quote: "USDT",
            settle: "USDT",
            status_text: "TRADING",
        };
        self.put("instrument", (0, 0), RowFlags::default(), Body::Instrument(def));
    }

    fn store(&mut self) {
        self.lane.commit().unwrap();
        let now = Ts(self.now);
        while self.follower.poll(&self.tape, now).unwrap() {}
        self.follower.flush(now).unwrap();
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            std::fs::read_dir(self.dir.path().join(folder)).unwrap().map(|f| f.unwrap().path()).collect();
        all.sort();
        assert!(!all.is_empty(), "{folder}");
        all
    }

    /// A key of the metadata of every file of a folder, in the order of names.
    fn told(&self, folder: &str, key: &str) -> Vec<String> {
        self.files(folder).iter().map(|file| open(file).schema().metadata()[key].clone()).collect()
    }
}

fn open(file: &Path) -> ParquetRecordBatchReaderBuilder<File> {
    ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap()
}

fn dec(raw: i64, scale: u8) -> Decimal {
    Decimal { raw, scale }
}

/// Found: both generations show a mark price with the tick's digits, and cut the others off.
#[test]
fn mark_and_index_prices_have_digits_of_their_own() {
    let mut world = World::new();
    world.define(dec(10, 2), dec(1, 3));
    world.put("mark", (2, 3), RowFlags::default(), Body::MarkPrice(dec(9_000_012_345_678, 8)));
    world.put("index", (2, 3), RowFlags::default(), Body::IndexPrice(dec(9_000_000_000_100, 8)));
    world.trade(1, 9_000_010, (2, 3), RowFlags::default());
    world.store();
    for (folder, digits) in [
        ("catalog/data/mark_prices", "8"),
        ("catalog-v1/data/mark_price_update", "8"),
        ("catalog/data/index_prices", "6"),
        ("catalog-v1/data/index_price_update", "6"),
        ("catalog/data/trades", "1"),
    ] {
        assert_eq!(world.told(&format!("{folder}/{ID}"), "price_precision"), [digits], "{folder}");
    }
}

/// Found: an instrument of which only bars are kept had no digits at all.
#[test]
fn bars_pin_digits_too() {
    let mut world = World::new();
    let bar = Bar {
        open_ts: Ts(T0),
        close_ts: Ts(T0 + 1),
        open: dec(1_234_500, 4),
        high: dec(1_234_500, 4),
        low: dec(1_234_500, 4),
        close: dec(1_234_500, 4),
        volume: dec(1_050, 3),
        quote_volume: dec(1, 0),
        taker_volume: dec(1, 0),
        taker_quote_volume: dec(1, 0),
        trades: 1,
        first_id: 1,
        last_id: 1,
        closed: true,
        period: Period::parse("1m").unwrap(),
    };
    world.put("bar-1m", (4, 3), RowFlags::default(), Body::Bar(bar));
    world.store();
    let folder = format!("catalog-v1/data/bar/{ID}-1-MINUTE-LAST-EXTERNAL");
    assert_eq!(world.told(&folder, "price_precision"), ["2"]);
    assert_eq!(world.told(&folder, "size_precision"), ["2"]);
}

/// Found: engines refuse rows whose digits are not their instrument's, so a coarser step keeps the digits of the finer one.
#[test]
fn a_coarser_increment_is_printed_with_the_pinned_digits() {
    let mut world = World::new();
    world.define(dec(10, 2), dec(1, 3));
    world.trade(1, 9_000_010, (2, 3), RowFlags::default());
    world.define(dec(100, 2), dec(1, 2));
    world.store();
    for root in ["catalog", "catalog-v1"] {
        let files = world.files(&format!("{root}/data/crypto_perpetual/{ID}"));
        let batch = open(&files[0]).build().unwrap().next().unwrap().unwrap();
        let text = |name: &str| {
            let column = batch.column_by_name(name).unwrap().as_any().downcast_ref::<StringArray>().unwrap();
            (0..column.len()).map(|i| column.value(i).to_owned()).collect::<Vec<_>>()
        };
        let number = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            column.as_any().downcast_ref::<UInt8Array>().unwrap().values().to_vec()
        };
        assert_eq!(text("price_increment"), ["0.1", "1.0"], "{root}");
        assert_eq!(text("size_increment"), ["0.001", "0.010"], "{root}");
        assert_eq!(number("price_precision"), [1, 1], "{root}");
        assert_eq!(number("size_precision"), [3, 3], "{root}");
    }
}

/// Found: the 1.x wheel gives up on a folder with two precisions. A finer tick writes what is stored anew, sealed days too.
#[test]
fn a_finer_tick_reaches_the_files_that_are_there() {
    let mut world = World::new();
    world.define(dec(1, 1), dec(1, 3));
    world.trade(1, 900_001, (1, 3), RowFlags::default());
    world.store();
    world.now += DAY;
    world.follower.tend(Ts(world.now)).unwrap();
    world.trade(2, 900_002, (1, 3), RowFlags::default());
    world.store();
    let folder = format!("catalog-v1/data/trade_tick/{ID}");
    assert_eq!(world.told(&folder, "price_precision"), ["1", "1"]);
    world.trade(3, 90_000_333, (3, 3), RowFlags::default());
    world.store();
    let v2 = format!("catalog/data/trades/{ID}");
    for folder in [&folder, &v2] {
        let told = world.told(folder, "price_precision");
        assert!(told.len() >= 2 && told.iter().all(|t| t == "3"), "{told:?}");
        let rows: i64 = world.files(folder).iter().map(|f| open(f).metadata().file_metadata().num_rows()).sum();
        assert_eq!(rows, 3);
    }
    assert_eq!(
        world.told(&format!("catalog/data/crypto_perpetual/{ID}"), "topic").len(),
        1,
        "one definition, one file"
    );
}

/// As above, where the row that needs more digits came late and belongs into a file that is there.
#[test]
fn digits_of_a_late_row_are_kept() {
    let mut world = World::new();
    world.trade(1, 900_001, (1, 3), RowFlags::default());
    world.trade(3, 900_001, (1, 3), RowFlags::default());
    world.store();
    world.trade(2, 90_000_111, (3, 3), RowFlags::LATE_REST);
    world.store();
    assert_eq!(world.told(&format!("catalog-v1/data/trade_tick/{ID}"), "price_precision"), ["3"]);
    assert_eq!(world.follower.catalog.state().digits.get(ID), Some(&(3, 3)));
}

/// Found: the 2.x wheel sorts what does not say that it is sorted, and shuffles rows of one time: deltas of a book.
#[test]
fn files_declare_their_order() {
    let mut world = World::new();
    world.define(dec(10, 2), dec(1, 3));
    world.trade(1, 9_000_010, (2, 3), RowFlags::default());
    world.store();
    for folder in ["catalog/data/trades", "catalog-v1/data/trade_tick", "catalog/data/crypto_perpetual"] {
        for file in world.files(&format!("{folder}/{ID}")) {
            let file = open(&file);
            let sorting = file.metadata().row_group(0).sorting_columns().unwrap().clone();
            assert_eq!(sorting.len(), 1);
            assert_eq!(file.schema().field(sorting[0].column_idx as usize).name(), "ts_init");
            assert!(!sorting[0].descending);
        }
    }
}
