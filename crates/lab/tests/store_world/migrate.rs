//! A catalog of an older layout, as it was kept, on a disk that dies while its files are written anew.

use std::path::Path;
use std::sync::Arc;

use wholetape_lab::dice::Dice;
use wholetape_lab::disk::MemDisk;
use wholetape_store::catalog::{Catalog, CatalogConfig};
use wholetape_store::columns::Dialect;
use wholetape_store::verify::{Report, Verify};
use wholetape_store::{StoreError, migrate};
use wholetape_tape::Disk;

use super::DATA;
use super::support::{days, golden};

/// After the golden catalogs' day.
const UNTIL: i64 = days::FIRST + 5;

fn put(version: u32, seed: u64) -> MemDisk {
    let data = Path::new(DATA);
    let disk = MemDisk::new(data, seed);
    for (path, bytes) in golden::files(version) {
        let to = data.join(path);
        let dir = to.parent().unwrap();
        disk.create_dir(dir).unwrap();
        disk.replace(&to, &bytes).unwrap();
        for above in dir.ancestors().take_while(|a| a.starts_with(data)) {
            disk.sync_dir(above).unwrap();
        }
    }
    disk
}

fn open(disk: &MemDisk) -> Result<Catalog, StoreError> {
    let config = CatalogConfig { dialects: vec![Dialect::V2, Dialect::V1], ..CatalogConfig::default() };
    Catalog::open(Arc::new(disk.clone()), Path::new(DATA), config)
}

fn run(disk: &MemDisk) -> Result<usize, StoreError> {
    let mut catalog = open(disk)?;
    let done = migrate::all(&mut catalog, None, UNTIL, &mut |_| {});
    if disk.is_dead() {
        // What is dropped below must not do anything more.
        disk.die_at(Some(0));
    }
    Ok(done?.0.len())
}

fn verify(disk: &MemDisk) -> Report {
    Verify { disk, data: Path::new(DATA), keys: None, progress: &|_, _, _| {}, wait: &|_| {} }.run().unwrap()
}

/// One story. Returns how often it died.
pub fn story(seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let version = 1;
    let (disk, known) = (put(version, seed), golden::known(version));
    let whole = disk.fork();
    let (first, days) = (whole.steps(), run(&whole).unwrap());
    let steps = whole.steps() - first;
    assert!(days > 3 && steps > 100, "{days} days in {steps} steps");
    let mut crashes = 0;
    loop {
        // Late enough that it comes on, early enough that it dies again.
        disk.die_at(Some(disk.steps() + dice.between(1, if crashes < 8 { steps / 2 } else { 4 * steps })));
        let done = run(&disk);
        if !disk.is_dead() {
            disk.die_at(None);
            done.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            break;
        }
        crashes += 1;
        if dice.one_in(2) {
            disk.power_loss(&mut dice)
        } else {
            disk.crash()
        }
        if dice.one_in(3) {
            // It dies again before it is up.
            continue;
        }
        drop(open(&disk).unwrap_or_else(|e| panic!("seed {seed}: it does not open: {e}")));
        assert_eq!(golden::stored(&disk, Path::new(DATA)), known, "seed {seed}");
        let mut report = verify(&disk);
        // A certificate that the manifest does not know yet goes when the next ones are issued.
        report.findings.retain(|f| !f.found.starts_with("not listed") || !f.path.contains("/certificates/"));
        assert!(report.is_clean() && report.rows == known.len() as u64, "seed {seed}: {report:#?}");
    }
    let report = verify(&disk);
    assert!(report.is_clean() && report.days_open == 0 && report.notes.is_empty(), "seed {seed}: {report:#?}");
    assert_eq!(golden::stored(&disk, Path::new(DATA)), known, "seed {seed}");
    let steps = |work: &dyn Fn()| {
        let before = disk.steps();
        work();
        disk.steps() - before
    };
    let open = || drop(open(&disk).unwrap());
    // The first removes the folders that went.
    let (_, bare) = (steps(&open), steps(&open));
    let twice = steps(&|| assert_eq!(run(&disk).unwrap(), 0, "seed {seed}: twice is not once"));
    assert_eq!(twice, bare, "seed {seed}: it wrote something");
    crashes
}
