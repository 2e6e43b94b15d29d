//! Runs seeds of the deterministic world: many on all cores, or one alone.

use crate::run::{cargo_command, run};
use anyhow::Result;

/// What to run.
pub struct Seeds {
    pub seeds: u64,
    pub from: u64,
    /// This one alone, with all that it drew.
    pub seed: Option<u64>,
    pub jobs: Option<usize>,
    /// Sockets that carry the same streams of a line.
    pub sockets: usize,
    /// Whose venues the worlds have, as the laboratory names it.
    pub class: String,
    /// With the ordinary build, which the tests have made already, rather than with the quick one.
    pub dev: bool,
}

impl Seeds {
    /// The first `n` of a class.
    pub fn some(n: u64, class: &str) -> Self {
        Self { seeds: n, from: 0, seed: None, jobs: None, sockets: 1, class: class.into(), dev: false }
    }
}

/// Seeds that failed once, with the sockets that they failed with: what they found is mended.
const FAILED_ONCE: [(&str, u64, usize); 16] = [
    ("binance", 460, 3),
    ("bybit", 478, 1),
    ("bybit", 490, 2),
    ("bybit", 511, 2),
    ("bybit", 519, 3),
    ("dydx", 94, 2),
    ("dydx", 129, 1),
    ("dydx", 135, 1),
    ("dydx", 192, 2),
    ("dydx", 217, 3),
    ("dydx", 263, 3),
    ("dydx", 302, 3),
    ("dydx", 356, 3),
    ("dydx", 508, 3),
    ("kraken", 533, 2),
    ("kraken", 546, 3),
];

/// Runs those of a class again.
///
/// # Errors
/// When one fails as it did.
pub fn run_failed(class: &str) -> Result<()> {
    for (_, seed, sockets) in FAILED_ONCE.iter().filter(|failed| failed.0 == class) {
        run_seeds(&Seeds { from: *seed, sockets: *sockets, ..Seeds::some(1, class) })?;
    }
    Ok(())
}

/// Builds the laboratory and runs it.
///
/// # Errors
/// When it does not build, or a seed fails.
pub fn run_seeds(what: &Seeds) -> Result<()> {
    let profile = if what.dev { "dev" } else { "sim" };
    let mut args: Vec<String> =
        ["run", "--quiet", "--profile", profile, "-p", "wholetape-lab", "--bin", "wholetape-lab", "--"]
            .map(String::from)
            .to_vec();
    match what.seed {
        Some(seed) => args.extend(["--seed".into(), seed.to_string()]),
        None => args.extend(["--seeds".into(), what.seeds.to_string(), "--from".into(), what.from.to_string()]),
    }
    args.extend(["--sockets".into(), what.sockets.to_string(), "--class".into(), what.class.clone()]);
    if let Some(jobs) = what.jobs {
        args.extend(["--jobs".into(), jobs.to_string()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(&mut cargo_command(&args))
}
