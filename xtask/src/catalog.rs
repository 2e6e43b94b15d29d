//! The catalog, read by those it is for: two generations of NautilusTrader wheels, pyarrow, DuckDB and ClickHouse.
//!
//! Two data directories are read: a market that `catalog_check` (an example of the store) runs through tape and follower, with every
//! kind of row, and that of a `wholetape demo` with faults and heals. `catalog_check` writes what must be found; the scripts of `crates/store/tests/python` compare, each in a process of its own, since a wheel that dislikes a file may abort.
//! The wheels are pinned by lock files and lie in our cache; where they cannot be had, the steps are "not proven".

use crate::python;
use crate::run::{cache, cargo_command, command, root, run, run_within, target_dir};
use crate::running;
use crate::steps::{Proof, Steps};
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One script; the largest reads a few hundred thousand rows.
const SCRIPT_MAX: Duration = Duration::from_secs(600);

/// One set of wheels, and what it is held against: script and the catalog's folder.
struct Reader {
    name: &'static str,
    /// A lock file in `xtask/catalog`.
    lock: &'static str,
    scripts: &'static [(&'static str, &'static str)],
}

const READERS: [Reader; 3] = [
    Reader {
        name: "catalog v2: NautilusTrader 2.0.0rc6, pyarrow, DuckDB, chdb",
        lock: "nautilus-2.0",
        scripts: &[
            ("read_v2.py", "catalog"),
            ("backtest_v2.py", "catalog"),
            ("engines.py", "catalog"),
            ("versions.py", "catalog"),
        ],
    },
    Reader {
        name: "catalog v1: NautilusTrader 1.231.0",
        lock: "nautilus-1.231",
        scripts: &[("read_v1.py", "catalog-v1"), ("backtest_v1.py", "catalog-v1"), ("versions.py", "catalog-v1")],
    },
    Reader {
        name: "catalog v1: NautilusTrader 1.220.0",
        lock: "nautilus-1.220",
        scripts: &[("read_v1.py", "catalog-v1"), ("backtest_v1.py", "catalog-v1")],
    },
];

/// Long enough for cuts and their heals.
const DEMO_SECONDS: &str = "15";

/// A data directory and what must be found in its catalogs.
struct Source {
    data: PathBuf,
    expected: PathBuf,
}

/// One step for each set of wheels. `data`: a data directory whose tape is still whole, instead of those made here.
pub fn steps(steps: &mut Steps, data: Option<&Path>) {
    let work = target_dir().join(format!("catalog-{}", std::process::id()));
    let made = make(&work, data);
    for reader in &READERS {
        steps.step(reader.name, || {
            let sources = made.as_ref().map_err(|e| anyhow::anyhow!("no catalog to read: {e:#}"))?;
            let python = match python::find()
                .and_then(|python| python::wheels(&python, &lock(reader.lock), &cache().join("tools")))
            {
                Ok(python) => python,
                Err(error) => return Ok(Proof::NotProven(format!("{} ({error:#})", reader.name))),
            };
            for source in sources {
                for (name, folder) in reader.scripts {
                    let catalog = source.data.join(folder);
                    ensure!(catalog.is_dir(), "there is no {}", catalog.display());
                    script(&python, name, &catalog, &source.expected)?;
                }
            }
            Ok(Proof::Proven)
        });
    }
    let _ = fs::remove_dir_all(&work);
}

/// The data directories to read from.
fn make(work: &Path, data: Option<&Path>) -> Result<Vec<Source>> {
    run(&mut cargo_command(&["build", "--quiet", "-p", "wholetape-store", "--example", "catalog_check"]))?;
    let program = format!("catalog_check{}", std::env::consts::EXE_SUFFIX);
    let check = target_dir().join("debug").join("examples").join(program);
    fs::create_dir_all(work)?;
    let (market, demo) = (work.join("market"), work.join("demo"));
    let all = match data {
        Some(data) => vec![data.to_owned()],
        None => {
            run(&mut command(&check, &["make", &market.to_string_lossy()]))?;
            let dir = demo.to_string_lossy();
            let venues = ["--venue", "binance-spot", "--venue", "binance-usdm"];
            let args = ["demo", "--seconds", DEMO_SECONDS, "--faults", "rough", "--port", "0", "--data", &dir];
            run(&mut command(running::build()?, &[&args[..], &venues].concat()))?;
            vec![market, demo]
        }
    };
    let mut sources = Vec::new();
    for (n, data) in all.into_iter().enumerate() {
        let expected = work.join(format!("expected-{n}"));
        run(&mut command(&check, &["expect", &data.to_string_lossy(), &expected.to_string_lossy()]))?;
        sources.push(Source { data, expected });
    }
    Ok(sources)
}

fn script(python: &Path, name: &str, catalog: &Path, expected: &Path) -> Result<()> {
    let file = root().join("crates").join("store").join("tests").join("python").join(name);
    let (file, catalog, expected) = (file.to_string_lossy(), catalog.to_string_lossy(), expected.to_string_lossy());
    let mut command = command(python, &[&file, &catalog, &expected]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
    run_within(&mut command, SCRIPT_MAX)
}

fn lock(name: &str) -> PathBuf {
    root().join("xtask").join("catalog").join(format!("{name}.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lock_pins_and_every_script_is_there() {
        for reader in &READERS {
            let lock = fs::read_to_string(lock(reader.lock)).expect("lock");
            let pins: Vec<&str> = lock.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(pins.iter().all(|line| line.contains("==")), "{}: {pins:?}", reader.lock);
            let wheel =
                reader.name.split(&[' ', ','][..]).find(|word| word.starts_with(char::is_numeric)).expect("wheel");
            assert!(pins.iter().any(|pin| pin.replace('_', "-") == format!("nautilus-trader=={wheel}")), "{wheel}");
            for (script, _) in reader.scripts {
                assert!(root().join("crates/store/tests/python").join(script).is_file(), "{script}");
            }
        }
    }
}
