//! `wholetape verify DIR`: is the catalog what it says it is? Offline, and beside a running process.

use std::cell::Cell;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use wholetape_store::cert::sign::Keys;
use wholetape_store::verify::{Report, Verify};
use wholetape_tape::RealDisk;

use crate::cli;
use crate::verdict::report::{Paint, thousands};

/// Findings told one by one; `--json` has all.
const SHOWN: usize = 100;

pub fn run(args: &cli::Verify) -> anyhow::Result<ExitCode> {
    let keys = match &args.public_key {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("--public-key {}", path.display()))?;
            Some(Keys::parse(&text).with_context(|| format!("--public-key {}", path.display()))?)
        }
    };
    if !args.dir.join("catalog").join("manifest.log").exists() {
        anyhow::bail!("no catalog in {}: name the data directory, the folder that holds `catalog`", args.dir.display());
    }
    let shows = std::io::stderr().is_terminal() && !args.json;
    let told = Cell::new(Instant::now());
    let progress = |done: usize, of: usize, about: &str| {
        if shows && told.get().elapsed() > Duration::from_millis(500) {
            told.set(Instant::now());
            let _ = write!(std::io::stderr(), "\r\x1b[K{done} of {of}: {about}");
        }
    };
    let verify = Verify {
        disk: &RealDisk,
        data: &args.dir,
        keys: keys.as_ref(),
        progress: &progress,
        wait: &|time| std::thread::sleep(time),
    };
    let report = verify.run()?;
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    if args.json {
        let mut value = serde_json::to_value(&report)?;
        value["clean"] = report.is_clean().into();
        say!("{value}");
    } else {
        let paint = Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        tell(&report, paint);
    }
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}

fn tell(report: &Report, paint: Paint) {
    for f in report.findings.iter().take(SHOWN) {
        say!("{}: {}: expected {}, found {}", paint.bad(&f.path), f.figure, f.expected, f.found);
    }
    if report.findings.len() > SHOWN {
        say!("and {} more: --json tells each", report.findings.len() - SHOWN);
    }
    for note in &report.notes {
        say!("{}", paint.dim(note));
    }
    let mut parts = vec![
        format!("{} files", thousands(report.files)),
        format!("{} bytes", thousands(report.bytes)),
        format!("{} rows", thousands(report.rows)),
        format!("{} certificates", thousands(report.certificates)),
        format!("{} signed", thousands(report.signed)),
        format!("{} instrument-days certified", thousands(report.days)),
    ];
    if report.days_open > 0 {
        parts.push(format!("{} without a certificate yet", thousands(report.days_open)));
    }
    if report.days_reduced > 0 {
        parts.push(format!("{} reduced by retention", thousands(report.days_reduced)));
    }
    if report.days_let_go > 0 {
        parts.push(format!("{} let go by retention", thousands(report.days_let_go)));
    }
    let verdict = match report.findings.len() {
        0 => paint.good("clean"),
        1 => paint.bad("1 difference"),
        n => paint.bad(&format!("{n} differences")),
    };
    say!("{verdict}: {}", parts.join(" · "));
}
