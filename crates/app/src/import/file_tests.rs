//! Files that are torn, tampered with, or made to harm.

use std::io::Write;

use wholetape_venue::binance::limits::Variant;
use zip::write::SimpleFileOptions;

use super::*;
use crate::import::find::{Wanted, find};

const NAME: &str = "BTCUSDT-aggTrades-2025-01-02";
const ROWS: &str = "7,60000.1,0.002,9,9,1735776000123,false,true\n8,60000.2,0.002,10,10,1735776000124,true,true\n";

fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, text) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn read(dir: &Path, name: &str, bytes: &[u8]) -> Result<(Shape, Vec<u64>), String> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    let (groups, refused) = find(&[path], Wanted::Binance(Some(Variant::Spot))).unwrap();
    let found = groups.first().map(|g| g[0].clone()).ok_or_else(|| refused[0].why.clone())?;
    verify(&found, &|| false).map_err(|e| format!("{e:#}"))?;
    let mut keys = Vec::new();
    let shape = each_row(&found, &mut |row| {
        keys.push(row.key);
        Ok(())
    });
    shape.map(|shape| (shape, keys)).map_err(|e| format!("{e:#}"))
}

#[test]
fn zip_and_csv_hold_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let zip = zipped(&[(&format!("{NAME}.csv"), ROWS)]);
    let want = (Shape { rows: 2, unit: "ms", header: false }, vec![7, 8]);
    assert_eq!(read(dir.path(), &format!("{NAME}.zip"), &zip), Ok(want.clone()));
    assert_eq!(read(dir.path(), &format!("{NAME}.csv"), ROWS.as_bytes()), Ok(want));
    let empty = read(dir.path(), &format!("{NAME}.csv"), b"").unwrap();
    assert_eq!(empty, (Shape { rows: 0, unit: "", header: false }, vec![]));
}

#[test]
fn what_is_no_good_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let csv = format!("{NAME}.csv");
    let zip = format!("{NAME}.zip");
    let good = zipped(&[(&csv, ROWS)]);
    let torn = &good[..good.len() - 30];
    let mut flipped = good.clone();
    // Within the packed data, behind the local header.
    flipped[30 + csv.len() + 20] ^= 0x55;
    let long = format!("{}\n", "1".repeat(5_000));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (torn.to_vec(), "is no whole zip"),
        (b"".to_vec(), "is no whole zip"),
        (b"no zip at all".to_vec(), "is no whole zip"),
        (flipped, NAME),
        (zipped(&[]), "holds no file"),
        (zipped(&[(&csv, ROWS), ("more.csv", ROWS)]), "holds more than one file"),
        (zipped(&[("../../etc/evil.csv", ROWS)]), "where one plain .csv file is expected"),
        (zipped(&[("/evil.csv", ROWS)]), "where one plain .csv file is expected"),
        (zipped(&[("evil.sh", ROWS)]), "where one plain .csv file is expected"),
        (zipped(&[("BTCUSDT-aggTrades-2025-01-03.csv", ROWS)]), "which is another file"),
        (zipped(&[(&csv, &long)]), "a line of more than 1024 bytes"),
        // 200 MB of zeros in a few hundred kB: ends at the first line.
        (zipped(&[(&csv, &"\0".repeat(200 << 20))]), ":1: a line of more than 1024 bytes"),
    ];
    for (bytes, want) in cases {
        let error = read(dir.path(), &zip, &bytes).unwrap_err();
        assert!(error.contains(want) && error.contains(NAME), "{want}: {error}");
    }
}

#[test]
fn a_checksum_beside_it_must_be_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let zip = format!("{NAME}.zip");
    let good = zipped(&[(&format!("{NAME}.csv"), ROWS)]);
    std::fs::write(dir.path().join(&zip), &good).unwrap();
    let hash = sha256(&dir.path().join(&zip), &|| false).unwrap();
    let say = |text: &str| std::fs::write(dir.path().join(format!("{zip}.CHECKSUM")), text).unwrap();
    say(&format!("{hash}  {zip}\n"));
    assert!(read(dir.path(), &zip, &good).is_ok());
    let other = "0".repeat(64);
    say(&format!("{other}  {zip}\n"));
    let error = read(dir.path(), &zip, &good).unwrap_err();
    assert!(error.contains(&hash) && error.contains(&other), "{error}");
    say(&format!("{hash}  BTCUSDT-aggTrades-2025-01-03.zip\n"));
    assert!(read(dir.path(), &zip, &good).unwrap_err().contains("speaks of BTCUSDT-aggTrades-2025-01-03.zip"));
    say("nonsense");
    assert!(read(dir.path(), &zip, &good).unwrap_err().contains("does not begin with a sha256"));
}

#[test]
fn a_gz_is_read_to_its_end_or_refused() {
    let text = "id,timestamp,price,volume,side\n1,1788220800005,60000.1,0.5,buy\n2,1788220800006,60000.1,0.5,sell\n";
    let pack = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("BTCUSDT_2026-09-01.csv.gz");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let (groups, _) = find(std::slice::from_ref(&path), Wanted::Bybit(None)).unwrap();
        let mut keys = Vec::new();
        let shape = each_row(&groups[0][0], &mut |row| {
            keys.push(row.key);
            Ok(())
        });
        shape.map(|shape| (shape, keys)).map_err(|e| format!("{e:#}"))
    };
    let want = (Shape { rows: 2, unit: "ms", header: true }, vec![2, 3]);
    let good = pack(text);
    assert_eq!(read(&good), Ok(want.clone()));
    // Packed in two pieces, as tools that append do.
    let (a, b) = text.split_at(40);
    assert_eq!(read(&[pack(a), pack(b)].concat()), Ok(want));
    let mut flipped = good.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 0x55;
    for bytes in [&good[..good.len() - 9], &flipped, text.as_bytes(), &[&good[..], b"more"].concat()] {
        let error = read(bytes).unwrap_err();
        assert!(error.starts_with("BTCUSDT_2026-09-01.csv.gz:") && error.contains("cannot be unpacked"), "{error}");
    }
    let long = read(&pack(&"1".repeat(100_000_000))).unwrap_err();
    assert!(long.contains(":1: a line of more than 1024 bytes"), "{long}");
}
