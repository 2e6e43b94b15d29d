//! Trades and deltas through the part writer and back, beside bare Arrow and Parquet with the same columns, settings and groups, turn
//! about in one run; what each column costs; codecs, groups and encodings against each other; a replay at full speed.
//!
//! `WHOLETAPE_BENCH_ROWS=10000000 cargo bench -p wholetape-store --bench store` (without it 200 000 rows; `WHOLETAPE_BENCH_ONLY=replay`
//! leaves the rest out). Files go to `$WHOLETAPE_BENCH_DIR`, or the system's temporary folder.
#![allow(unsafe_code)] // A counting allocator has to implement `GlobalAlloc`; it forwards to the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use wholetape_model::record::encode;
use wholetape_model::{
    Body, Book, BookAction, Level, Levels, Price, Row, RowFlags, Scales, Side, Size, Topic, Trade, TradeCondition, Ts,
};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::encode::{About, batch};
use wholetape_store::file::{Codec, GROUP_ROWS, Reader, properties};
use wholetape_store::manifest::Change;
use wholetape_store::names;
use wholetape_store::part::{Of, PartWriter};
use wholetape_store::replay::{Next, OntoTape, Order, Plan, Player, Range, Speed, tape_config};
use wholetape_store::rows::Rows;
use wholetape_store::scan::PartReader;
use wholetape_store::table::Table;
use wholetape_tape::{RealDisk, Tape};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grew(by: usize) {
    let live = LIVE.fetch_add(by, Ordering::Relaxed) + by;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is forwarded unchanged to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grew(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const ID: &str = "BTCUSDT-PERP.BINANCE";
const T0: i64 = 1_767_312_000_000_000_000;

/// A market that looks like BTCUSDT: prices wander by ticks near 60 000, sizes are many small and few large, several trades have one
/// millisecond, and we receive them some milliseconds later.
struct Market {
    seed: u64,
    now: i64,
    recv: i64,
    tick: i64,
    id: u64,
    seq: u64,
    side: Side,
    levels: Vec<Level>,
}

impl Market {
    fn new() -> Self {
        let (seed, now, recv, tick) = (7, T0, T0, 600_000);
        Self { seed, now, recv, tick, id: 5_000_000_000, seq: 0, side: Side::Buy, levels: Vec::new() }
    }

    fn dice(&mut self, n: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// 0.001 to about 30, in thousandths.
    fn size(&mut self) -> i64 {
        let (bits, cap) = (self.dice(10) + 1, self.dice(15) + 1);
        let small = self.dice(1 << bits.min(cap)) as i64;
        let large = if self.dice(20) == 0 { self.dice(5_000) as i64 } else { 0 };
        1 + small + large
    }

    fn row<'a>(&mut self, body: wholetape_model::View<'a>) -> Row<'a> {
        self.seq += 1;
        let recv = (self.now + 3_000_000 + self.dice(4_000_000) as i64).max(self.recv);
        self.recv = recv;
        let (frame, scales) = (self.seq as u32, Scales { price: 2, size: 3 });
        Row { ts_event: Ts(self.now), ts_recv: Ts(recv), conn: 1, frame, flags: RowFlags::default(), scales, body }
    }

    fn trade(&mut self, rows: &mut Rows) {
        if self.dice(3) == 0 {
            // ms, and often the same one.
            self.now += 1_000_000 * self.dice(60) as i64;
            if self.dice(2) == 0 {
                self.side = if self.dice(2) == 0 { Side::Buy } else { Side::Sell };
                self.tick += self.dice(5) as i64 - 2;
            }
        }
        self.id += 1;
        let (id, size) = (self.id, self.size());
        let first = id * 3 - self.dice(3);
        let row = self.row(Body::Trade(Trade {
            id: id.into(),
            first_id: first,
            last_id: id * 3,
            price: Price(self.tick * 10),
            size: Size(size),
            aggressor: Some(self.side),
            condition: TradeCondition::Regular,
        }));
        let seq = self.seq;
        rows.push_with(row.ts_recv, |out| _ = encode(&row, 0, seq, 1, out)).expect("a record");
    }

    /// One update of a book; returns its levels.
    fn update(&mut self, rows: &mut Rows) -> usize {
        self.now += 100_000_000;
        self.tick += self.dice(5) as i64 - 2;
        self.levels.clear();
        let (bids, asks) = (1 + self.dice(30) as usize, 1 + self.dice(30) as usize);
        let mut away = 0;
        for i in 0..bids + asks {
            if i == bids {
                away = 0;
            }
            away += 1 + self.dice(4) as i64;
            let price = if i < bids { self.tick - away } else { self.tick + away };
            let size = if self.dice(10) < 3 { 0 } else { self.size() };
            self.levels.push(Level { price: Price(price * 10), size: Size(size) });
        }
        self.id += 50 + self.dice(40);
        let (first, prev) = (self.id - 40, self.id - 41);
        let levels = std::mem::take(&mut self.levels);
        let body = Body::Book(Book {
            action: if self.seq == 0 { BookAction::Snapshot } else { BookAction::Delta },
            first_id: first,
            last_id: self.id,
            prev_id: prev,
            bids: Levels::Native(&levels[..bids]),
            asks: Levels::Native(&levels[bids..]),
        });
        let row = self.row(body);
        let seq = self.seq;
        rows.push_with(row.ts_recv, |out| _ = encode(&row, 0, seq, 1, out)).expect("a record");
        self.levels = levels;
        bids + asks
    }

    /// About one group of rows.
    fn group(&mut self, table: Table, weight: usize, rows: &mut Rows) -> usize {
        rows.clear();
        let mut n = 0;
        while n < weight {
            n += match table {
                Table::Delta => self.update(rows) + usize::from(self.seq == 1),
                _ => {
                    self.trade(rows);
                    1
                }
            };
        }
        n
    }
}

fn about(table: Table) -> About {
    let topic = format!("{}.{ID}", if matches!(table, Table::Delta | Table::BookUpdate) { "book" } else { "trade" });
    About { table, id: ID.into(), topic, price_precision: 2, size_precision: 3, bar_type: None }
}

fn topic(table: Table) -> Topic {
    Topic::parse(&about(table).topic).expect("a topic")
}

/// Rows a second in millions.
fn rate(rows: usize, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64() / 1e6
}

struct Bare {
    path: std::path::PathBuf,
    writer: ArrowWriter<File>,
}

impl Bare {
    fn create(dir: &Path, name: &str, batch: &RecordBatch, props: WriterProperties) -> Self {
        let path = dir.join(name);
        let file = File::create(&path).expect("a file");
        Self { path, writer: ArrowWriter::try_new(file, batch.schema(), Some(props)).expect("a writer") }
    }

    fn write(&mut self, batch: &RecordBatch) {
        self.writer.write(batch).and_then(|()| self.writer.flush()).expect("written");
    }
}

/// Reads a group as anyone would.
fn bare_scan(path: &Path, group: usize) -> usize {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("there")).expect("Parquet");
    let reader = builder.with_row_groups(vec![group]).build().expect("a reader");
    reader.map(|b| b.expect("a batch").num_rows()).sum()
}

/// Time that this thread had a processor: what else runs on the machine does not count. The clock's where that is not told.
fn cpu(begun: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    ns.map_or_else(|| begun.elapsed(), Duration::from_nanos)
}

fn open_groups(path: &Path) -> usize {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("there")).expect("Parquet");
    builder.metadata().num_row_groups()
}

fn timed<T>(total: &mut Duration, f: impl FnOnce() -> T) -> T {
    let zero = Instant::now();
    let before = cpu(zero);
    let out = f();
    *total += cpu(zero).saturating_sub(before);
    out
}

/// Compressed bytes of each column, by name.
fn columns(path: &Path) -> Vec<(String, i64)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("there")).expect("Parquet");
    let mut all: Vec<(String, i64)> = Vec::new();
    for group in builder.metadata().row_groups() {
        for column in group.columns() {
            let name = column.column_path().string();
            match all.iter_mut().find(|c| c.0 == name) {
                Some(c) => c.1 += column.compressed_size(),
                None => all.push((name, column.compressed_size())),
            }
        }
    }
    all
}

/// Our writer and a bare one, group by group; then both ways of reading. Leaves the part in the catalog.
fn ours_and_bare(dir: &Path, catalog: &mut Catalog, table: Table, rows: usize) {
    let companion = table.companion().expect("hot tables have one");
    let (mut market, mut group) = (Market::new(), Rows::default());
    let day = names::day_of(Ts(T0));
    let of = Of { topic: topic(table), table, day, name: (Ts(T0), Ts(i64::MAX / 2)), sealed: false };
    let (mut ours, mut bare, mut bare_main, mut build) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut n, mut records) = (0, 0);
    let mut files: Option<(Bare, Bare)> = None;
    let staged = {
        let number = catalog.next_staged();
        let codec = catalog.config.codec;
        let mut writer = PartWriter::new(catalog.target(), of, (2, 3), None, number);
        while n < rows {
            n += market.group(table, GROUP_ROWS, &mut group);
            records += group.len();
            let ours_first = (n / GROUP_ROWS).is_multiple_of(2);
            let mut put = || {
                timed(&mut ours, || group.iter().try_for_each(|(ts, r)| writer.push(ts, r))).expect("written");
            };
            if ours_first {
                put();
            }
            let (main, other) = timed(&mut build, || {
                let of = |t| batch(&about(t), Dialect::V2, group.iter()).expect("a batch");
                (of(table), of(companion))
            });
            let (a, b) = files.get_or_insert_with(|| {
                let new = |name: &str, batch: &RecordBatch| {
                    Bare::create(dir, &format!("{name}-{}", table.as_str()), batch, properties(&batch.schema(), codec))
                };
                (new("main", &main), new("companion", &other))
            });
            timed(&mut bare_main, || a.write(&main));
            timed(&mut bare, || b.write(&other));
            if !ours_first {
                put();
            }
        }
        timed(&mut ours, || writer.finish(catalog_part(table))).expect("finished").expect("rows")
    };
    let (a, b) = files.expect("rows");
    let (path, path_b) = (a.path.clone(), b.path.clone());
    timed(&mut bare_main, || a.writer.close()).expect("closed");
    timed(&mut bare, || b.writer.close()).expect("closed");
    for p in [&path, &path_b] {
        timed(&mut bare, || File::open(p).and_then(|f| f.sync_data())).expect("synced");
    }
    bare += bare_main;
    println!("\n## {}: {n} rows, {records} records", table.as_str());
    println!(
        "write  ours {:.2} M rows/s ({:.3} s); bare, both files {:.2} ({:.3} s): ratio {:.2}; bare, main file alone {:.2}; columns built {:.3} s",
        rate(n, ours),
        ours.as_secs_f64(),
        rate(n, bare),
        bare.as_secs_f64(),
        ours.as_secs_f64() / bare.as_secs_f64(),
        rate(n, bare_main),
        build.as_secs_f64(),
    );
    let part = staged.part.clone();
    catalog.add(vec![staged], Change::default()).expect("committed");
    for file in &part.files {
        let per = file.bytes as f64 / file.rows as f64;
        println!("bytes  {:?} {:.2} a row ({} rows)", file.role, per, file.rows);
        let all = columns(&catalog.data().join(&file.path));
        let text: Vec<String> =
            all.iter().map(|(name, bytes)| format!("{name} {:.3}", *bytes as f64 / file.rows as f64)).collect();
        println!("       {}", text.join(", "));
    }
    let total: u64 = part.files.iter().map(|f| f.bytes).sum();
    println!("bytes  all files {:.2} a row", total as f64 / n as f64);
    // Scan.
    let disk = RealDisk;
    let open = |i: usize| Reader::open(&disk, &catalog.data().join(&part.files[i].path)).expect("there");
    let main = open(0);
    let (mut ours, mut bare, mut decode) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut reader = PartReader::open(&disk, catalog.data(), &part).expect("there");
    let mut back = Rows::default();
    // A book record more or less stands between our groups and the bare file's.
    let groups = main.groups().min(open_groups(&path));
    for g in 0..main.groups() {
        if g >= groups {
            timed(&mut ours, || main.group(g).expect("a group").num_rows());
            timed(&mut decode, || reader.next(&mut back)).expect("a group");
            continue;
        }
        let our_scan = |total: &mut Duration| timed(total, || main.group(g).expect("a group").num_rows());
        if g % 2 == 0 {
            our_scan(&mut ours);
        }
        timed(&mut bare, || bare_scan(&path, g));
        if g % 2 == 1 {
            our_scan(&mut ours);
        }
        timed(&mut decode, || reader.next(&mut back)).expect("a group");
    }
    println!(
        "scan   ours {:.1} M rows/s; bare {:.1}: ratio {:.2}; as records (both files) {:.2} M rows/s, {:.2} M records/s",
        rate(n, ours),
        rate(n, bare),
        ours.as_secs_f64() / bare.as_secs_f64(),
        rate(n, decode),
        rate(records, decode),
    );
}

fn catalog_part(table: Table) -> u64 {
    if table == Table::Delta { 2 } else { 1 }
}

/// What a writer takes at most, beside what it is given.
fn memory(catalog: &Catalog, table: Table, rows: usize) {
    let (mut market, mut group) = (Market::new(), Rows::default());
    market.group(table, GROUP_ROWS, &mut group);
    let day = names::day_of(Ts(T0));
    let of = Of { topic: topic(table), table, day, name: (Ts(T0), Ts(i64::MAX / 2)), sealed: false };
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut writer = PartWriter::new(catalog.target(), of, (2, 3), None, 1_000);
    let mut n = 0;
    while n < rows {
        n += GROUP_ROWS;
        group.iter().try_for_each(|(ts, r)| writer.push(ts, r)).expect("written");
    }
    drop(writer.finish(9));
    let peak = PEAK.load(Ordering::Relaxed) - before;
    println!("memory {}: a writer takes at most {:.1} MiB", table.as_str(), peak as f64 / f64::from(1 << 20));
}

/// Settings against each other: bytes, write and scan of the main file.
fn table(dir: &Path, table: Table, rows: usize) {
    println!("\n## {}: settings, {rows} rows of the main file", table.as_str());
    println!("| codec | group | encodings | bytes/row | write M rows/s | scan M rows/s |");
    println!("|---|---|---|---|---|---|");
    let codecs = [("zstd-1", 1), ("zstd-3", 1), ("snappy", 1), ("lz4", 1), ("none", 1)];
    let mut cases: Vec<(String, usize, &str)> =
        codecs.iter().map(|(c, _)| ((*c).to_owned(), GROUP_ROWS, "ours")).collect();
    for group in [32_768, 65_536, 262_144, 524_288] {
        cases.push(("zstd-1".into(), group, "ours"));
    }
    for encodings in ["defaults", "split decimals", "delta ids"] {
        cases.push(("zstd-1".into(), GROUP_ROWS, encodings));
    }
    for (codec, group_rows, encodings) in cases {
        let (mut market, mut group) = (Market::new(), Rows::default());
        let (mut write, mut scan, mut n, mut file) = (Duration::ZERO, Duration::ZERO, 0, None);
        while n < rows {
            n += market.group(table, group_rows, &mut group);
            let main = batch(&about(table), Dialect::V2, group.iter()).expect("a batch");
            let codec = Codec::parse(&codec).expect("a codec");
            let bare: &mut Bare =
                file.get_or_insert_with(|| Bare::create(dir, "case", &main, settings(&main, codec, encodings)));
            timed(&mut write, || bare.write(&main));
        }
        let Some(bare) = file else { return };
        let path = bare.path.clone();
        timed(&mut write, || bare.writer.close()).expect("closed");
        let bytes = path.metadata().expect("there").len();
        let mut read = 0;
        for g in 0..open_groups(&path) {
            read += timed(&mut scan, || bare_scan(&path, g));
        }
        println!(
            "| {codec} | {group_rows} | {encodings} | {:.2} | {:.2} | {:.1} |",
            bytes as f64 / n as f64,
            rate(n, write),
            rate(read, scan)
        );
    }
}

fn settings(batch: &RecordBatch, codec: Codec, encodings: &str) -> WriterProperties {
    let ours = properties(&batch.schema(), codec);
    let mut builder = match encodings {
        "ours" => return ours,
        "defaults" => {
            let builder = WriterProperties::builder().set_max_row_group_row_count(None);
            return builder.set_compression(ours.compression(&ColumnPath::from("price"))).build();
        }
        _ => ours.into_builder(),
    };
    match encodings {
        "split decimals" => {
            for name in ["price", "size"] {
                let path = ColumnPath::from(name);
                builder = builder
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
            }
        }
        _ => {
            let path = ColumnPath::from("trade_id");
            builder = builder.set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY);
        }
    }
    builder.build()
}

/// Everything that is stored, onto a tape, as fast as it goes.
fn replay(dir: &Path, ahead: bool) {
    for tables in [&[Table::Trade][..], &[Table::Delta], &[Table::Trade, Table::Delta]] {
        let topics: Vec<Topic> = tables.iter().map(|t| topic(*t)).collect();
        let onto = tempfile::tempdir_in(dir).expect("a folder");
        let tape = Tape::open(onto.path(), tape_config()).expect("a tape");
        let mut out = OntoTape::new(&tape, &topics).expect("a tape of its own");
        let range = Range { topics, from: Ts(0), to: Ts::MAX };
        let (disk, data) = (Arc::new(RealDisk), dir.to_owned());
        let plan = Plan { disk, data, range, order: Order::Init, speed: Speed::Max, paused: false, ahead };
        let (begun, mut busy) = (Instant::now(), Duration::ZERO);
        let mut player = Player::open(plan).expect("a catalog");
        timed(&mut busy, || while player.play(0, &mut out, 4_096).expect("replayed") != Next::Done {});
        let (rows, took) = (player.status().rows as usize, begun.elapsed());
        let names: Vec<&str> = tables.iter().map(|t| t.as_str()).collect();
        println!(
            "replay {} onto a tape, {}: {:.2} M events/s by the clock ({rows} in {:.2} s), {:.2} by this thread's processor time",
            names.join(" and "),
            if ahead { "a thread reads ahead" } else { "one thread" },
            rate(rows, took),
            took.as_secs_f64(),
            rate(rows, busy)
        );
    }
}

fn main() {
    // `cargo test --benches` and `cargo bench` alike pass flags of their own; none is ours.
    let rows = std::env::var("WHOLETAPE_BENCH_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let only = std::env::var("WHOLETAPE_BENCH_ONLY").unwrap_or_default();
    let dir = match std::env::var_os("WHOLETAPE_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).expect("WHOLETAPE_BENCH_DIR is a folder"),
        None => tempfile::tempdir().expect("a temporary folder"),
    };
    let mut catalog = Catalog::open(Arc::new(RealDisk), dir.path(), CatalogConfig::default()).expect("a catalog");
    for one in [Table::Trade, Table::Delta] {
        ours_and_bare(dir.path(), &mut catalog, one, rows);
        if only.is_empty() {
            memory(&catalog, one, rows.min(1_000_000));
            table(dir.path(), one, rows.min(2_000_000));
        }
    }
    println!();
    for ahead in [false, true, false, true] {
        replay(dir.path(), ahead);
    }
}
