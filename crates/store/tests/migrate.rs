//! Older files stay readable beside newer ones, become new ones on demand, and a newer file, manifest or certificate is named.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::days::{FIRST, SECRET, World, verify};
use support::golden::{self, stored};
use support::{Dice, body, owned};
use wholetape_model::record::encode;
use wholetape_model::{Row, RowFlags, Scales, Ts};
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::cert::sign::Signer;
use wholetape_store::cert::{self, Certificate};
use wholetape_store::columns::Dialect;
use wholetape_store::encode::format_of;
use wholetape_store::file::Reader;
use wholetape_store::manifest::{Change, Part};
use wholetape_store::rows::Rows;
use wholetape_store::table::Table;
use wholetape_store::{StoreError, compact, migrate, names};
use wholetape_tape::RealDisk;

const ID: &str = support::ID;
const UNTIL: i64 = FIRST + 5;

fn config() -> CatalogConfig {
    CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() }
}

fn open(dir: &Path) -> Result<Catalog, StoreError> {
    Catalog::open(Arc::new(RealDisk), dir, config())
}

/// The first golden catalog, to be written to.
fn first() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in golden::files(1) {
        let to = dir.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    dir
}

fn migrate(dir: &Path) -> Result<(Vec<migrate::Due>, u64), StoreError> {
    migrate::all(&mut open(dir)?, None, UNTIL, &mut |_| {})
}

fn certificate(dir: &Path, revision: u32) -> Certificate {
    let path = cert::folder(dir, ID).join(cert::file_name(FIRST, revision));
    Certificate::parse(&path, &fs::read(&path).unwrap()).unwrap()
}

#[test]
fn every_golden_catalog_becomes_one_of_the_newest_layout_with_the_same_rows() {
    for version in golden::versions() {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in golden::files(version) {
            let to = dir.path().join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        let due = migrate::due(&Catalog::look(&RealDisk, dir.path()).unwrap());
        let before = certificate(dir.path(), 1);
        let (done, certificates) = migrate(dir.path()).unwrap();
        assert_eq!(done, due);
        assert_eq!(certificates > 0, !due.is_empty(), "v{version}");
        assert_eq!(stored(&RealDisk, dir.path()), golden::known(version), "v{version}");
        let report = verify(dir.path(), None).unwrap();
        assert!(report.is_clean() && report.notes.is_empty() && report.days_open == 0, "v{version}: {report:#?}");
        let state = Catalog::look(&RealDisk, dir.path()).unwrap();
        for file in state.parts.values().flat_map(|p| &p.files) {
            let newest = names::table_of(&file.path).unwrap().0.format();
            let reader = Reader::open(&RealDisk, &dir.path().join(&file.path)).unwrap();
            assert_eq!((format_of(reader.schema()), file.format), (newest, newest), "{}", file.path);
        }
        if !due.is_empty() {
            let after = certificate(dir.path(), 2);
            for (topic, figures) in &before.topics {
                for (table, held) in &figures.tables {
                    assert_eq!(after.topics[topic].tables[table].blake3, held.blake3, "{topic} {table}");
                }
            }
            assert_eq!(before.summary, after.summary);
        }
        assert_eq!(migrate(dir.path()).unwrap(), (vec![], 0), "twice is once");
    }
}

#[test]
fn what_is_due_names_each_older_file() {
    let dir = first();
    let due = migrate::due(&Catalog::look(&RealDisk, dir.path()).unwrap());
    let tables: BTreeSet<&str> = due.iter().map(|d| d.table.as_str()).collect();
    assert_eq!(tables, ["bar_updates", "definitions", "gaps", "liquidations", "trades", "trades_raw"].into());
    for older in due.iter().flat_map(|d| &d.older) {
        assert_eq!((older.format, older.newest), (1, 2), "{older:?}");
        assert!(dir.path().join(&older.path).is_file());
    }
}

/// A late row to an old day, and the day alone is written anew; old and new files are one catalog.
#[test]
fn late_rows_bring_a_day_to_the_newest_layout_and_old_days_stay_readable_beside_it() {
    let dir = first();
    let mut catalog = open(dir.path()).unwrap();
    let (topic, o) = (format!("liquidation.{ID}"), owned(&mut Dice(3)));
    let at = catalog.state().parts.values().find(|p| p.topic == topic).unwrap().from + 1;
    let row = Row {
        ts_event: Ts(at),
        ts_recv: Ts(at + 5_000_000_000),
        conn: 1,
        frame: 1,
        flags: RowFlags::LATE_REST,
        scales: Scales { price: 2, size: 3 },
        body: body("liquidation", 3, &mut Dice(9), &o),
    };
    let mut late = Rows::default();
    late.push_with(row.ts_recv, |out| {
        encode(&row, 0, 1_000, 1, out);
    })
    .unwrap();
    compact::day(&mut catalog, &topic, Table::Liquidation, FIRST, late, true).unwrap();
    let formats: BTreeSet<(String, u32)> =
        catalog.state().parts.values().flat_map(|p| &p.files).map(|f| (table_of(&f.path), f.format)).collect();
    assert!(formats.contains(&("liquidations".into(), 2)) && formats.contains(&("gaps".into(), 1)), "{formats:?}");
    drop(catalog);
    let mut rows = stored(&RealDisk, dir.path());
    assert!(rows.remove(&(topic, 1_000)).is_some());
    assert_eq!(rows, golden::known(1));
    let report = verify(dir.path(), None).unwrap();
    assert!(report.is_clean() && report.notes.len() == 1, "{report:#?}");
}

fn table_of(path: &str) -> String {
    names::table_of(path).unwrap().0.as_str().to_owned()
}

#[test]
fn a_damaged_file_is_named_and_stays() {
    let dir = first();
    let due = migrate::due(&Catalog::look(&RealDisk, dir.path()).unwrap());
    let path = dir.path().join(&due.last().unwrap().older[0].path);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 6] ^= 0x20;
    fs::write(&path, &bytes).unwrap();
    let failed = migrate(dir.path()).unwrap_err().to_string();
    assert!(failed.contains(path.to_str().unwrap()), "{failed}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // What came before it is done, and is not done again.
    assert_eq!(migrate::due(&Catalog::look(&RealDisk, dir.path()).unwrap()), due[due.len() - 1..]);
}

#[test]
fn files_of_a_dialect_that_is_not_configured_are_not_lost() {
    let dir = first();
    let mut catalog = Catalog::open(Arc::new(RealDisk), dir.path(), CatalogConfig::default()).unwrap();
    let due = migrate::due(catalog.state());
    let failed = migrate::all(&mut catalog, None, UNTIL, &mut |_| {});
    assert!(matches!(&failed, Err(StoreError::NoDialect(path)) if path.is_file()), "{failed:?}");
    assert_eq!(migrate::due(catalog.state()), due);
}

/// A part of a table, and a change that says something else of it.
fn retold(catalog: &Catalog, table: &str, tell: impl Fn(&mut Part)) -> Change {
    let mut part = catalog.state().parts.values().find(|p| p.table == table).unwrap().clone();
    let remove = vec![part.part];
    tell(&mut part);
    Change { add: vec![part], remove, ..Change::default() }
}

#[test]
fn a_signed_certificate_is_not_followed_by_one_that_is_not() {
    let world = World::three_days(true);
    let mut catalog = open(world.path()).unwrap();
    let change = retold(&catalog, "gaps", |part| part.files[0].format = 1);
    catalog.manifest.commit(change).unwrap();
    let no_key = migrate::all(&mut catalog, None, UNTIL, &mut |_| {});
    assert!(matches!(no_key, Err(StoreError::Key(_))), "{no_key:?}");
    assert_eq!(migrate::due(catalog.state()).len(), 1);
    let signer = Signer::parse(SECRET).unwrap();
    let (done, certificates) = migrate::all(&mut catalog, Some(&signer), UNTIL, &mut |_| {}).unwrap();
    assert!(done.len() == 1 && certificates > 0);
    drop(catalog);
    let report = world.verify();
    assert!(report.is_clean() && report.signed == report.certificates, "{report:#?}");
}

/// Reads all of it in order, as a replay does.
fn replay(dir: &Path) -> Result<u64, StoreError> {
    let disk: Arc<dyn wholetape_tape::Disk> = Arc::new(RealDisk);
    let state = Catalog::look(&*disk, dir)?;
    let mut rows = 0;
    let all: Vec<Part> = state.parts.values().cloned().collect();
    for part in &all {
        let (mut reader, mut batch) = (wholetape_store::scan::PartReader::open(&*disk, dir, part)?, Rows::default());
        while reader.next(&mut batch)? {
            rows += batch.len() as u64;
        }
    }
    Ok(rows)
}

fn is_newer(e: &StoreError, at: &Path, version: u32, known: u32) {
    let StoreError::Newer { path, format, newest } = e else { panic!("{e}") };
    assert_eq!((path.as_path(), *format, *newest), (at, version, known));
    let text = e.to_string();
    assert!(text.contains(at.to_str().unwrap()) && text.contains("format 99"), "{text}");
}

/// Every way in refuses it, and says what it is.
fn refused(dir: &Path, at: &Path, known: u32) {
    is_newer(&Catalog::look(&RealDisk, dir).unwrap_err(), at, 99, known);
    is_newer(&verify(dir, None).unwrap_err(), at, 99, known);
    is_newer(&replay(dir).unwrap_err(), at, 99, known);
    is_newer(&migrate(dir).unwrap_err(), at, 99, known);
}

#[test]
fn a_newer_manifest_is_named() {
    let dir = first();
    let path = dir.path().join("catalog/manifest.log");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let json = head[17..].replace("\"format\":1", "\"format\":99");
    let sum = Certificate::hash(json.as_bytes());
    fs::write(&path, format!("{} {json}\n{rest}", &sum[..16])).unwrap();
    refused(dir.path(), &path, 1);
}

#[test]
fn a_newer_file_that_the_manifest_lists_is_named() {
    let dir = first();
    let mut catalog = open(dir.path()).unwrap();
    let change = retold(&catalog, "gaps", |part| part.files[0].format = 99);
    let path = dir.path().join(&change.add[0].files[0].path);
    catalog.manifest.commit(change).unwrap();
    drop(catalog);
    refused(dir.path(), &path, 2);
}

#[test]
fn a_newer_certificate_that_the_manifest_lists_is_named() {
    let dir = first();
    let mut catalog = open(dir.path()).unwrap();
    let mut issued = catalog.state().issued[ID][&FIRST].clone();
    issued.format = 99;
    catalog.manifest.commit(Change { issued: vec![issued], ..Change::default() }).unwrap();
    drop(catalog);
    refused(dir.path(), &cert::folder(dir.path(), ID).join(cert::file_name(FIRST, 1)), 1);
}

/// A file of another version than the manifest says: whoever opens it names it.
#[test]
fn a_newer_file_in_the_place_of_another_is_named() {
    for (table, companion) in [("gaps", None), ("trades", Some("wholetape/agg"))] {
        let dir = first();
        let state = Catalog::look(&RealDisk, dir.path()).unwrap();
        let files = &state.parts.values().find(|p| p.table == table).unwrap().files;
        let file = files.iter().find(|f| companion.is_none_or(|c| f.path.contains(c))).unwrap();
        let path = dir.path().join(&file.path);
        say(&path, "wholetape_format", "99");
        let known = names::table_of(&file.path).unwrap().0.format();
        is_newer(&replay(dir.path()).unwrap_err(), &path, 99, known);
        let report = verify(dir.path(), None).unwrap();
        assert!(report.findings.iter().any(|f| f.found.contains("format 99")), "{report:#?}");
        if table == "gaps" {
            is_newer(&migrate(dir.path()).unwrap_err(), &path, 99, known);
        }
    }
}

/// Writes a file anew with other metadata.
fn say(path: &Path, key: &str, value: &str) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let mut metadata = batches[0].schema().metadata().clone();
    metadata.insert(key.into(), value.into());
    let schema = Arc::new(batches[0].schema().as_ref().clone().with_metadata(metadata));
    let mut out = ArrowWriter::try_new(File::create(path).unwrap(), schema.clone(), None).unwrap();
    for batch in batches {
        out.write(&batch.with_schema(schema.clone()).unwrap()).unwrap();
    }
    out.close().unwrap();
}

#[test]
fn a_newer_certificate_in_the_place_of_another_is_named() {
    let dir = first();
    let path = cert::folder(dir.path(), ID).join(cert::file_name(FIRST, 1));
    let text = fs::read_to_string(&path).unwrap().replacen("\"format\": 1", "\"format\": 99", 1);
    fs::write(&path, &text).unwrap();
    let report = verify(dir.path(), None).unwrap();
    assert!(report.findings.iter().any(|f| f.found.contains("format 99")), "{report:#?}");
    // It is not the one that was issued, which is found first; nothing was touched.
    let failed = migrate(dir.path()).unwrap_err().to_string();
    assert!(failed.contains(path.to_str().unwrap()), "{failed}");
    assert_eq!(migrate::due(&Catalog::look(&RealDisk, dir.path()).unwrap()).len(), 8);
}
