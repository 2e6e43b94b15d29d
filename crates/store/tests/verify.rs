//! `verify` finds each kind of damage, and names it. Nothing is found in a catalog that nobody touched.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::ID;
use support::days::{SECRET, World, files, verify};
use wholetape_store::cert::sign::{Keys, Signer};
use wholetape_store::cert::{Certificate, issue};
use wholetape_store::file;
use wholetape_store::manifest::{Change, LetGo, Manifest, Part};
use wholetape_store::verify::{Finding, Report};
use wholetape_tape::{Disk, RealDisk};

/// Files by their paths below the data directory: three days in both dialects, signed. Made once.
static MASTER: LazyLock<Vec<(PathBuf, Vec<u8>)>> = LazyLock::new(|| {
    let world = World::three_days(true);
    let all = ["catalog", "catalog-v1"].into_iter().flat_map(|root| files(&world.path().join(root)));
    all.map(|path| (path.strip_prefix(world.path()).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
});

/// A copy that may be damaged.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in MASTER.iter() {
        let to = dir.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    dir
}

fn look(dir: &Path) -> Report {
    verify(dir, None).unwrap()
}

fn names<'a>(report: &'a Report, path: &str, figure: &str) -> &'a Finding {
    let found = report.findings.iter().find(|f| f.path == path && f.figure.ends_with(figure));
    found.unwrap_or_else(|| panic!("{path} {figure} is not named: {:#?}", report.findings))
}

fn parts(dir: &Path) -> Vec<Part> {
    Manifest::read(&RealDisk, &dir.join("catalog")).unwrap().parts.values().cloned().collect()
}

/// The part of a table on the first day.
fn part(dir: &Path, table: &str) -> Part {
    parts(dir).into_iter().find(|p| p.table == table && p.day == support::days::FIRST).unwrap()
}

fn certificate(dir: &Path, name: &str) -> (PathBuf, String) {
    let short = format!("catalog/certificates/{ID}/{name}");
    (dir.join(&short), short)
}

/// Writes a Parquet file anew with other rows.
fn rewrite(path: &Path, change: impl Fn(RecordBatch) -> Vec<RecordBatch>) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let batches: Vec<_> = reader.with_batch_size(1 << 20).build().unwrap().map(Result::unwrap).collect();
    let [batch] = &batches[..] else { panic!("one batch") };
    let mut out = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    for batch in change(batch.clone()) {
        out.write(&batch).unwrap();
    }
    out.close().unwrap();
}

fn without_row_7(batch: RecordBatch) -> Vec<RecordBatch> {
    vec![batch.slice(0, 7), batch.slice(8, batch.num_rows() - 8)]
}

fn row_7_twice(batch: RecordBatch) -> Vec<RecordBatch> {
    vec![batch.slice(0, 8), batch.slice(7, batch.num_rows() - 7)]
}

/// Makes the manifest say what the files of a part now are, as whoever covers their tracks would.
fn forge(dir: &Path, mut part: Part, rows: u64) {
    for f in &mut part.files {
        (f.bytes, f.blake3) = file::hash(&RealDisk, &dir.join(&f.path)).unwrap();
        f.rows = rows;
    }
    part.rows = rows;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut manifest = Manifest::open(&disk, &dir.join("catalog")).unwrap();
    manifest.commit(Change { remove: vec![part.part], add: vec![part], ..Change::default() }).unwrap();
}

#[test]
fn a_catalog_that_nobody_touched_is_clean_in_both_dialects() {
    let dir = copy();
    let report = look(dir.path());
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert!(parts(dir.path()).iter().flat_map(|p| &p.files).any(|f| f.path.starts_with("catalog-v1/")));
    let on_disk = files(dir.path()).len() as u64;
    assert_eq!(report.files, on_disk - 2, "every file but the manifest and the lock");
    assert_eq!((report.certificates, report.signed, report.days), (5, 5, 3));
    assert_eq!(report.rows, parts(dir.path()).iter().map(|p| p.rows).sum::<u64>());
}

#[test]
fn one_flipped_byte_in_any_file_is_found() {
    let dir = copy();
    let all = files(dir.path());
    for (i, path) in all.iter().enumerate().filter(|(_, p)| !p.ends_with(".lock")) {
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        // Another place in each file, the ends too.
        let at = match i % 4 {
            0 => 0,
            1 => bytes.len() - 1,
            _ => (i * 7919) % bytes.len(),
        };
        bytes[at] ^= 1 << (i % 8);
        fs::write(path, &bytes).unwrap();
        let short = path.strip_prefix(dir.path()).unwrap().display().to_string();
        match verify(dir.path(), None) {
            Ok(report) => {
                let named = report.findings.iter().any(|f| f.path == short);
                assert!(named, "{short}, byte {at}: {:#?}", report.findings);
            }
            Err(e) => assert!(e.to_string().contains(&short), "{short}, byte {at}: {e}"),
        }
        fs::write(path, &whole).unwrap();
    }
    assert!(look(dir.path()).is_clean());
}

#[test]
fn every_byte_of_the_manifests_last_line_counts() {
    let dir = copy();
    let path = dir.path().join("catalog/manifest.log");
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for at in (last..whole.len()).step_by(37).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&path, &bytes).unwrap();
        let report = look(dir.path());
        names(&report, "catalog/manifest.log", "bytes behind the last whole line");
    }
}

#[test]
fn one_removed_row_is_found() {
    for table in ["quotes", "tickers", "trades"] {
        let dir = copy();
        let part = part(dir.path(), table);
        for f in part.files.iter().filter(|f| !f.path.starts_with("catalog-v1")) {
            rewrite(&dir.path().join(&f.path), without_row_7);
        }
        let report = look(dir.path());
        let path = &part.files[0].path;
        let found = names(&report, path, "rows");
        assert_eq!((found.expected.as_str(), found.found.as_str()), ("60", "59"));
        names(&report, path, "blake3");
        names(&report, path, "seqs");
        // The certificate says so too.
        let newest = certificate(dir.path(), "2026-01-02.r2.json").1;
        names(&report, &newest, &format!("tables/{table}/rows"));
        names(&report, &newest, &format!("tables/{table}/blake3"));
    }
}

#[test]
fn one_removed_row_is_found_also_when_the_manifest_was_forged() {
    let dir = copy();
    let mut part = part(dir.path(), "quotes");
    for f in &part.files {
        rewrite(&dir.path().join(&f.path), without_row_7);
    }
    let seqs = part.seqs.clone();
    part.seqs = wholetape_store::seqs::Seqs::default();
    let gone = seqs.intervals()[0].0 + 7;
    for (lo, hi) in seqs.intervals() {
        if (lo..=hi).contains(&&gone) {
            part.seqs.add(*lo, gone - 1);
            part.seqs.add(gone + 1, *hi);
        } else {
            part.seqs.add(*lo, *hi);
        }
    }
    let path = part.files[0].path.clone();
    forge(dir.path(), part, 59);
    let report = look(dir.path());
    assert!(report.findings.iter().all(|f| f.path != path), "the manifest agrees: {:#?}", report.findings);
    let newest = certificate(dir.path(), "2026-01-02.r2.json").1;
    names(&report, &newest, "tables/quotes/seqs");
    names(&report, &newest, "tables/quotes/rows");
}

#[test]
fn one_duplicated_row_is_found() {
    for table in ["quotes", "trades"] {
        let dir = copy();
        let part = part(dir.path(), table);
        for f in &part.files {
            rewrite(&dir.path().join(&f.path), row_7_twice);
        }
        let path = part.files[0].path.clone();
        let report = look(dir.path());
        let found = names(&report, &path, "rows");
        assert_eq!((found.expected.as_str(), found.found.as_str()), ("60", "61"));
        names(&report, &path, "order");
        forge(dir.path(), part, 61);
        let report = look(dir.path());
        names(&report, &path, "order");
        names(&report, &certificate(dir.path(), "2026-01-02.r2.json").1, &format!("tables/{table}/rows"));
        if table == "trades" {
            names(&report, &certificate(dir.path(), "2026-01-02.r2.json").1, "ids/repeats");
        }
    }
}

#[test]
fn one_edited_certificate_is_found() {
    for name in ["2026-01-02.r1", "2026-01-02.r2", "2026-01-03.r1", "2026-01-04.r1"] {
        let dir = copy();
        let (path, short) = certificate(dir.path(), &format!("{name}.json"));
        let text = fs::read_to_string(&path).unwrap();
        let edited = text.replacen("\"flagged\": 6", "\"flagged\": 5", 1);
        assert_ne!(text, edited);
        fs::write(&path, &edited).unwrap();
        let report = look(dir.path());
        names(&report, &short.replace(".json", ".sig"), "signature");
        if name != "2026-01-02.r1" && name != "2026-01-03.r1" {
            names(&report, &short, "blake3");
            let figure = names(&report, &short, "flagged");
            assert_eq!((figure.expected.as_str(), figure.found.as_str()), ("6", "5"));
        }
        if name != "2026-01-02.r2" {
            assert!(report.findings.iter().any(|f| f.figure == "previous"), "{name}: {:#?}", report.findings);
        }
    }
}

#[test]
fn one_edited_certificate_is_found_also_when_the_manifest_was_forged() {
    let dir = copy();
    let (path, short) = certificate(dir.path(), "2026-01-02.r2.json");
    let edited = fs::read_to_string(&path).unwrap().replacen("\"flagged\": 6", "\"flagged\": 5", 1);
    fs::write(&path, &edited).unwrap();
    // Signed with another key, too.
    let other = Signer::parse(&SECRET.replace('4', "5")).unwrap();
    fs::write(path.with_extension("sig"), other.sign(edited.as_bytes())).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut manifest = Manifest::open(&disk, &dir.path().join("catalog")).unwrap();
    let mut issued = manifest.state.last_issued(ID).unwrap().clone();
    issued.blake3 = Certificate::hash(edited.as_bytes());
    manifest.commit(Change { issued: vec![issued], ..Change::default() }).unwrap();
    let report = look(dir.path());
    names(&report, &short, "flagged");
    names(&report, &short.replace(".json", ".sig"), "signature");
}

#[test]
fn one_missing_file_is_found() {
    let dir = copy();
    for path in files(dir.path()) {
        let short = path.strip_prefix(dir.path()).unwrap().display().to_string();
        if short.ends_with(".lock") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        match verify(dir.path(), None) {
            Ok(report) => assert_eq!(names(&report, &short, "file").found, "missing", "{short}"),
            Err(e) => assert!(short == "catalog/manifest.log" && e.to_string().contains(&short), "{short}: {e}"),
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn one_broken_link_of_the_chain_is_found() {
    let dir = copy();
    let (path, short) = certificate(dir.path(), "2026-01-03.r1.json");
    let bytes = fs::read(&path).unwrap();
    let mut c = Certificate::parse(&path, &bytes).unwrap();
    c.previous = Some(blake3::hash(b"another").to_hex().to_string());
    fs::write(&path, c.bytes()).unwrap();
    fs::write(path.with_extension("sig"), Signer::parse(SECRET).unwrap().sign(&c.bytes())).unwrap();
    let report = look(dir.path());
    let found = names(&report, &short, "previous");
    assert_eq!(found.found, c.previous.unwrap());
    // The next one names what this was.
    names(&report, &certificate(dir.path(), "2026-01-04.r1.json").1, "previous");
    assert_eq!(report.findings.len(), 2, "{:#?}", report.findings);
}

#[test]
fn a_file_that_no_manifest_lists_is_found() {
    let stamp = "2026-01-05T00-00-00-000000000Z_2026-01-05T00-00-01-000000000Z.parquet";
    for place in [
        format!("catalog/data/trades/{ID}/{stamp}"),
        format!("catalog/data/trades/OTHER.BINANCE/{stamp}"),
        format!("catalog-v1/data/trade_tick/{ID}/{stamp}"),
        format!("catalog/data/unknown/{ID}/x.txt"),
        format!("catalog/certificates/{ID}/2026-01-05.r1.json"),
        format!("catalog/certificates/{ID}/2026-01-03.r3.json"),
        format!("catalog/certificates/{ID}/2026-01-03.r3.sig"),
        "catalog/certificates/OTHER.BINANCE/2026-01-05.r1.json".into(),
    ] {
        let dir = copy();
        let path = dir.path().join(&place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let one = parts(dir.path()).into_iter().next().unwrap();
        fs::copy(dir.path().join(&one.files[0].path), &path).unwrap();
        let report = look(dir.path());
        assert!(names(&report, &place, "file").found.starts_with("not listed"), "{place}");
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    }
}

#[test]
fn the_public_key_decides_who_may_have_signed() {
    let dir = copy();
    let signer = Signer::parse(SECRET).unwrap();
    let other = Signer::parse(&SECRET.replace('4', "5")).unwrap();
    let ours = Keys::parse(&signer.public_hex()).unwrap();
    let theirs = Keys::parse(&other.public_hex()).unwrap();
    assert!(verify(dir.path(), Some(&ours)).unwrap().is_clean());
    let report = verify(dir.path(), Some(&theirs)).unwrap();
    assert_eq!(report.findings.iter().filter(|f| f.figure == "signer").count(), 5);
    let unsigned = World::three_days(false);
    let report = verify(unsigned.path(), Some(&ours)).unwrap();
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    assert_eq!(report.findings[0].figure, "signature");
}

#[test]
fn what_retention_let_go_is_no_difference_and_what_somebody_took_is() {
    let dir = copy();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let part = part(dir.path(), "order_book_deltas");
    let of = |p: &Part| p.topic == part.topic && p.day == part.day;
    let book: Vec<Part> = parts(dir.path()).into_iter().filter(of).collect();
    assert_eq!(book.len(), 2, "deltas and validity");
    let until = |day| LetGo { until: day, ..LetGo::default() };
    // Both the seqs and the day are to be named: neither alone says that it was on purpose.
    for (seqs, gone) in [(true, Some(0)), (true, None), (true, Some(-1)), (false, Some(0)), (false, None)] {
        let dir = copy();
        let mut manifest = Manifest::open(&disk, &dir.path().join("catalog")).unwrap();
        let mut change = Change { remove: book.iter().map(|p| p.part).collect(), ..Change::default() };
        for p in &book {
            for f in &p.files {
                fs::remove_file(dir.path().join(&f.path)).unwrap();
            }
            if seqs {
                change.retired.entry(p.topic.clone()).or_default().add_all(&p.seqs);
            }
        }
        change.let_go.extend(gone.map(|days| (part.topic.clone(), until(part.day + days))));
        manifest.commit(change).unwrap();
        let report = look(dir.path());
        if (seqs, gone) == (true, Some(0)) {
            assert!(report.is_clean(), "{:#?}", report.findings);
            assert_eq!(report.days_reduced, 1);
            let due = issue::due(&manifest.state, i64::MAX);
            assert!(due.is_empty(), "{due:?}: retention asks for no new certificate");
        } else {
            let newest = certificate(dir.path(), "2026-01-02.r2.json").1;
            names(&report, &newest, "tables/order_book_deltas/seqs");
        }
    }
}
