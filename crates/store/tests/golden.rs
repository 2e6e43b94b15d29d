//! Every version of the catalog's layout reads as it was written, and today's is written down.
//!
//! A layout that changes needs a sentence in `Table::changes`, and golden files: `WHOLETAPE_BLESS=1 cargo test -p wholetape-store
//! --test golden` makes them, of the tables that changed, and never touches those that are there.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use support::golden::{Known, dir, files, known, stored, sum, versions};
use support::{DAY, Dice, ID, KINDS, body, days, held, owned, topic};
use wholetape_model::*;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::encode::{self, About};
use wholetape_store::names;
use wholetape_store::rows::Rows;
use wholetape_store::table::Table;
use wholetape_store::writer::{Follower, Pace};
use wholetape_tape::{Lane, RealDisk, Tape, TapeConfig};

const DAY_ONE: i64 = 20_455;

/// Layouts by table and dialect: number, columns, keys of the metadata.
type Layouts = BTreeMap<(String, String), (u32, String)>;

fn type_of(t: &DataType) -> String {
    match t {
        DataType::Dictionary(key, value) => format!("dictionary<{}, {}>", type_of(key), type_of(value)),
        DataType::List(item) => format!("list<{}>", field(item)),
        DataType::Struct(fields) => {
            format!("struct<{}>", fields.iter().map(|f| field(f)).collect::<Vec<_>>().join(", "))
        }
        DataType::Timestamp(unit, zone) => format!("{unit:?} {}", zone.as_deref().unwrap_or("-")),
        other => format!("{other:?}"),
    }
}

fn field(f: &Field) -> String {
    format!("{}: {}{}", f.name(), type_of(f.data_type()), if f.is_nullable() { " or null" } else { "" })
}

fn layout(schema: &Schema) -> (u32, String) {
    let mut text = String::new();
    for f in schema.fields() {
        let _ = writeln!(text, "  {}", field(f));
    }
    (encode::format_of(schema), text)
}

/// What the writer makes today.
fn layouts() -> Layouts {
    let mut all = Layouts::new();
    for (table, dialect) in Table::ALL.iter().flat_map(|t| Dialect::ALL.map(|d| (*t, d))) {
        if dialect == Dialect::V1 && !table.is_nautilus() {
            continue;
        }
        let about = About {
            table,
            id: "X.Y".into(),
            topic: "trade.X.Y".into(),
            price_precision: 0,
            size_precision: 0,
            bar_type: None,
        };
        let schema = encode::batch(&about, dialect, Rows::default().iter()).unwrap().schema();
        all.insert((table.as_str().to_owned(), dialect.as_str().to_owned()), layout(&schema));
    }
    all
}

fn write_layouts(all: &Layouts) -> String {
    all.iter().map(|((table, dialect), (n, text))| format!("{table} {dialect} {n}\n{text}")).collect()
}

fn read_layouts(version: u32) -> Layouts {
    let (mut all, mut at) = (Layouts::new(), None);
    for line in fs::read_to_string(dir(version).join("schema.txt")).unwrap().lines() {
        if line.starts_with(' ') {
            let (_, text): &mut (u32, String) = all.get_mut(at.as_ref().unwrap()).unwrap();
            let _ = writeln!(text, "{line}");
        } else {
            let [table, dialect, n] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let key = (table.to_owned(), dialect.to_owned());
            all.insert(key.clone(), (n.parse().unwrap(), String::new()));
            at = Some(key);
        }
    }
    all
}

/// The newest that is kept of each table.
fn kept() -> Layouts {
    versions().into_iter().flat_map(read_layouts).collect()
}

/// A tape of one day with rows of every sort.
struct World {
    dir: tempfile::TempDir,
    tape: Tape,
    lane: Lane,
    now: i64,
}

impl World {
    fn row(&mut self, topic: &Topic, scale: u8, body: View<'_>) {
        self.now += 7_000_000_000;
        let scales = Scales { price: scale, size: 3 };
        let (event, recv) = (Ts(self.now - 3_000_000), Ts(self.now));
        let row = Row { ts_event: event, ts_recv: recv, conn: 4, frame: 9, flags: RowFlags::default(), scales, body };
        let no = self.lane.topic(topic).unwrap();
        self.lane.append(no, &row).unwrap();
    }

    /// Rows of these topics, each sort of mark among them.
    fn of(wanted: &dyn Fn(&str) -> bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(&dir.path().join("tape"), TapeConfig::default()).unwrap();
        let lane = tape.lane("t").unwrap();
        let mut w = Self { dir, tape, lane, now: DAY_ONE * DAY + DAY / 2 };
        for kind in KINDS.iter().filter(|k| wanted(topic(k).as_str())) {
            let topic = topic(kind);
            for i in 1..=8 {
                let o = owned(&mut Dice(i));
                w.row(&topic, 2, body(kind, i, &mut Dice(i * 31), &o));
            }
            match *kind {
                "ticker" => w.marks(&topic),
                "quality" => w.coverage(&topic),
                "book" => {
                    let v =
                        Validity { state: ValidityState::Live, cause: GapCause::Resync, update_id: 8, why: "in step" };
                    w.row(&topic, 2, Body::Validity(v));
                }
                "instrument" => w.definitions(&topic, wanted),
                "bar-1m" | "liquidation" => w.untold(&topic),
                "trade" | "trade-raw" => w.named(&topic),
                _ => {}
            }
        }
        w.lane.commit().unwrap();
        w
    }

    /// Told by ids and told by time; a row withdrawn; one that no table has a form for.
    fn marks(&mut self, topic: &Topic) {
        let gap = |gap, from_id, state| Gap {
            gap,
            state,
            cause: GapCause::Disconnected,
            source: HealSource::None,
            from_id,
            to_id: from_id,
            from_ts: Ts(DAY_ONE * DAY + 5),
            to_ts: Ts(DAY_ONE * DAY + 9),
            missing: u64::from(from_id > 0),
            why: "cut",
        };
        self.row(topic, 2, Body::Gap(gap(1, 77, GapState::Open)));
        self.row(topic, 2, Body::Gap(gap(1, 77, GapState::Healed)));
        self.row(topic, 2, Body::Gap(gap(2, 0, GapState::Lost)));
        self.row(topic, 2, Body::Retract(3));
        let fine = Decimal { raw: 123_456_789, scale: 18 };
        let o = owned(&mut Dice(5));
        if let Body::Ticker(t) = body("ticker", 9, &mut Dice(5), &o) {
            self.row(topic, 2, Body::Ticker(Ticker { last: fine, ..t }));
        }
    }

    fn coverage(&mut self, topic: &Topic) {
        let c = Coverage {
            of: "trade.X.Y",
            proof: Proof::ALL[0],
            seq: 5,
            from_id: 1,
            to_id: 9,
            held: 8,
            missing: 1,
            never_published: 0,
            from_ts: Ts(DAY_ONE * DAY),
            to_ts: Ts(DAY_ONE * DAY + DAY),
            hole_ns: 4,
            open: 0,
            healed: 1,
            lost: 1,
            hours_from: Ts(DAY_ONE * DAY),
            hours: "wwwg",
        };
        self.row(topic, 2, Body::Coverage(c));
    }

    /// A future, and a pair that tells neither listing nor expiry.
    fn definitions(&mut self, topic: &Topic, wanted: &dyn Fn(&str) -> bool) {
        let o = owned(&mut Dice(1));
        let Body::Instrument(def) = body("instrument", 1, &mut Dice(1), &o) else { panic!() };
        self.row(topic, 2, Body::Instrument(InstrumentDef { onboard: Ts::ZERO, expiry: Ts::ZERO, ..def }));
        let future = Topic::parse("instrument.BTCUSDT-260327.BINANCE").unwrap();
        if wanted(future.as_str()) {
            self.row(&future, 2, Body::Instrument(InstrumentDef { kind: InstrumentKind::Future, ..def }));
        }
        let pair = Topic::parse("instrument.BTCUSDT.BINANCE").unwrap();
        let spot = InstrumentDef { kind: InstrumentKind::Spot, onboard: Ts::ZERO, expiry: Ts::ZERO, ..def };
        if wanted(pair.as_str()) {
            self.row(&pair, 2, Body::Instrument(spot));
        }
    }

    /// A trade whose id is a UUID.
    fn named(&mut self, topic: &Topic) {
        let o = owned(&mut Dice(1));
        let Body::Trade(trade) = body("trade", 9, &mut Dice(2), &o) else { unreachable!() };
        let id = "20f43950-d8dd-5b31-9112-a178eb6023af".parse().unwrap();
        self.row(topic, 2, Body::Trade(Trade { id, first_id: 0, last_id: 0, ..trade }));
    }

    /// A bar without ids; a forced order whose average price is not printed.
    fn untold(&mut self, topic: &Topic) {
        let o = owned(&mut Dice(1));
        match body(if topic.kind() == Kind::Liquidation { "liquidation" } else { "bar-1m" }, 3, &mut Dice(2), &o) {
            Body::Bar(b) => self.row(topic, 2, Body::Bar(Bar { first_id: 0, last_id: 0, ..b })),
            Body::Liquidation(l) => {
                let average_price = Decimal { raw: 0, scale: 0 };
                self.row(topic, 2, Body::Liquidation(Liquidation { average_price, ..l }));
            }
            _ => unreachable!(),
        }
    }

    /// The catalog of it, the day sealed and certified.
    fn catalog(&self) {
        let config = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
        let catalog = Catalog::open(Arc::new(RealDisk), self.dir.path(), config).unwrap();
        let mut follower = Follower::new(catalog, Pace::default());
        let now = Ts((DAY_ONE + 1) * DAY + DAY / 2);
        while follower.poll(&self.tape, now).unwrap() {}
        follower.tend(now).unwrap();
        assert!(follower.uncertified().is_empty(), "{:?}", follower.uncertified());
    }

    fn rows(&self) -> Known {
        let mut all = Known::new();
        for state in self.tape.topics() {
            for bytes in held(&self.tape, &state.topic) {
                let record = Record::parse(&bytes, true).unwrap();
                let table = Table::of(state.topic.kind(), &record, &record.view().unwrap());
                all.insert((state.topic.as_str().to_owned(), record.seq()), sum(table, &record));
            }
        }
        all
    }

    /// A topic for each of these tables, of the instrument that has most.
    fn topics_of(&self, tables: &BTreeSet<&str>) -> BTreeSet<String> {
        let state = Catalog::look(&RealDisk, self.dir.path()).unwrap();
        let fills = |path: &str, table: &str| names::table_of(path).is_some_and(|(t, _)| t.as_str() == table);
        let one = |table: &str| {
            let parts = state.parts.values().filter(|p| p.files.iter().any(|f| fills(&f.path, table)));
            parts.min_by_key(|p| !p.topic.ends_with(ID)).unwrap().topic.clone()
        };
        tables.iter().map(|table| one(table)).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    for folder in ["catalog", "catalog-v1"] {
        for path in days::files(&from.join(folder)) {
            if path.file_name().is_some_and(|n| n != ".lock") {
                let to = to.join(path.strip_prefix(from).unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(&path, to).unwrap();
            }
        }
    }
}

/// Writes golden files of the layouts that are new.
fn bless(new: &Layouts) {
    let next = versions().len() as u32 + 1;
    let tables: BTreeSet<&str> = new.keys().map(|k| k.0.as_str()).collect();
    let all = World::of(&|_| true);
    all.catalog();
    let topics = all.topics_of(&tables);
    let world = World::of(&|topic| topics.contains(topic));
    world.catalog();
    assert!(!dir(next).exists());
    copy(world.dir.path(), &dir(next));
    fs::write(dir(next).join("schema.txt"), write_layouts(new)).unwrap();
    let rows = world.rows();
    let lines = rows.iter().map(|((topic, seq), hash)| format!("{topic} {seq} {hash}\n"));
    fs::write(dir(next).join("rows.txt"), lines.collect::<String>()).unwrap();
}

#[test]
fn todays_layouts_are_the_newest_that_are_kept() {
    let (now, mut kept_now) = (layouts(), kept());
    let new: Layouts =
        now.iter().filter(|(key, l)| kept_now.get(*key) != Some(l)).map(|(k, l)| (k.clone(), l.clone())).collect();
    for ((table, dialect), (n, text)) in &new {
        if let Some((old, before)) = kept_now.get(&(table.clone(), dialect.clone())) {
            assert!(
                n > old,
                "{table} {dialect} has another layout, and is version {n} still: say in `Table::changes` what changed\n\
                 it was\n{before}and is\n{text}"
            );
        }
    }
    if std::env::var_os("WHOLETAPE_BLESS").is_some() && !new.is_empty() {
        bless(&new);
        kept_now = kept();
    }
    assert!(
        now == kept_now,
        "no golden files of {:?}: WHOLETAPE_BLESS=1 cargo test -p wholetape-store --test golden",
        new.keys()
    );
}

/// A copy of a golden catalog that may be written to.
fn open(version: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files(version) {
        let to = dir.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    dir
}

#[test]
fn every_version_reads_as_it_was_written() {
    assert!(!versions().is_empty());
    for version in versions() {
        let dir = open(version);
        let known = known(version);
        assert_eq!(stored(&RealDisk, dir.path()), known, "v{version}");
        let report = days::verify(dir.path(), None).unwrap();
        assert!(report.is_clean() && report.certificates > 0 && report.days_open == 0, "v{version}: {report:#?}");
        assert_eq!(report.rows, known.len() as u64);
    }
}

/// The golden files show the layouts that are written down beside them, and all of them.
#[test]
fn golden_files_have_the_layouts_that_they_stand_for() {
    let mut bytes = 0;
    for version in versions() {
        let (dir, said, mut shown) = (open(version), read_layouts(version), BTreeSet::new());
        for (path, file) in files(version).iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "parquet")) {
            bytes += file.len();
            let of = path.to_str().unwrap();
            let (table, dialect) = names::table_of(of).unwrap();
            let reader = wholetape_store::file::Reader::open(&RealDisk, &dir.path().join(path)).unwrap();
            let key = (table.as_str().to_owned(), dialect.as_str().to_owned());
            if let Some(said) = said.get(&key) {
                assert_eq!(layout(reader.schema()), *said, "{of}");
                shown.insert(key);
            }
        }
        assert_eq!(shown.len(), said.len(), "v{version}: files of {shown:?}");
    }
    assert!(bytes < 400_000, "{bytes} bytes of golden files");
}
