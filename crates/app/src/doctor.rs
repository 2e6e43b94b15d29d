//! `wholetape doctor`: what of this machine would hurt a tape, and what to do about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::availability;
use crate::cli;
use crate::config::{self, Config};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Good,
    Warn,
    Bad,
}

#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub what: String,
    /// Empty when there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

fn finding(check: &'static str, level: Level, what: impl Into<String>, remedy: &str) -> Finding {
    Finding { check, level, what: what.into(), remedy: remedy.into() }
}

const CHECK: &str = "run `wholetape check` with the same flags";

pub fn run(args: &cli::Doctor) -> anyhow::Result<ExitCode> {
    let (config, problems) = config::load(&args.layers)?;
    let mut findings = vec![cores(), open_files(), clock()];
    // Without a file there is nothing to record, and that is no fault of the machine.
    let unnamed = args.layers.config.is_none() && problems.iter().all(|p| p.key == "feed.line");
    findings.push(match problems.len() {
        0 => finding("configuration", Level::Good, "can be used", ""),
        _ if unnamed => finding("configuration", Level::Good, "none given; defaults are looked at", ""),
        1 => finding("configuration", Level::Bad, "has a problem", CHECK),
        n => finding("configuration", Level::Bad, format!("has {n} problems"), CHECK),
    });
    findings.extend(data(&config));
    let kept = availability::Record::read(&config.data).ok();
    findings.extend(kept.as_ref().map(available).unwrap_or_default());
    findings.push(port(&config.gateway.listen));
    if args.reach {
        findings.extend(reach(&config));
    }
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Good);
    if args.json {
        let day = kept.as_ref().map(|k| k.day(availability::unix_now()));
        let available = kept.map(|k| serde_json::json!({"run": k.run, "day": day, "started": k.started, "written": k.written, "ended": k.ended, "excluded": availability::EXCLUDED}));
        say!("{}", serde_json::json!({"good": worst < Level::Bad, "findings": findings, "availability": available}));
    } else {
        for f in &findings {
            let sign = match f.level {
                Level::Good => "ok  ",
                Level::Warn => "warn",
                Level::Bad => "BAD ",
            };
            say!("{sign} {:14} {}", f.check, f.what);
            if !f.remedy.is_empty() {
                say!("     {:14} → {}", "", f.remedy);
            }
        }
    }
    Ok(ExitCode::from(u8::from(worst == Level::Bad)))
}

fn cores() -> Finding {
    let n = std::thread::available_parallelism().map_or(1, usize::from);
    let level = if n < 2 { Level::Warn } else { Level::Good };
    let remedy = if n < 2 { "one core serves lines, disk and clients in turn: expect higher latency" } else { "" };
    finding("cores", level, format!("{n} usable, so {} for lines", (n - 1).max(1)), remedy)
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(n) if n < 1024 => finding(
            "open files",
            Level::Bad,
            format!("limit {n}"),
            "raise it: `ulimit -n 65536`, or LimitNOFILE= in the unit",
        ),
        Some(n) if n < 4096 => {
            let remedy = "enough for a few venues; for many clients raise it: `ulimit -n 65536`";
            finding("open files", Level::Warn, format!("limit {n}"), remedy)
        }
        Some(n) => finding("open files", Level::Good, format!("limit {n}"), ""),
        None => finding("open files", Level::Good, "no limit", ""),
    }
}

/// The kernel knows whether something disciplines the clock; without a network no better judge is at hand.
fn clock() -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // 2026-01-01: a build of this version cannot run before it.
    if now < 1_767_225_600 {
        return finding(
            "clock",
            Level::Bad,
            "is before this program was made",
            "set it, and run chrony or systemd-timesyncd",
        );
    }
    let synced = Path::new("/run/systemd/timesync/synchronized").exists() || Path::new("/run/chrony").exists();
    if synced {
        finding("clock", Level::Good, "is kept by a time service", "")
    } else {
        let remedy =
            "without chrony or systemd-timesyncd receive times drift; ignore this in a container whose host has one";
        finding("clock", Level::Warn, "no time service was found", remedy)
    }
}

fn data(config: &Config) -> Vec<Finding> {
    let dir = &config.data;
    let shown = dir.display();
    let existing = dir.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = Vec::new();
    let probe = existing.join(format!(".wholetape-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"probe").and_then(|()| std::fs::File::open(&probe)?.sync_all());
    drop(std::fs::remove_file(&probe));
    findings.push(match written {
        Ok(()) => finding("data directory", Level::Good, format!("{shown} can be written and synced"), ""),
        Err(error) => {
            let what = format!("{} cannot be written: {error}", existing.display());
            finding("data directory", Level::Bad, what, "choose another one with --data, or change its owner")
        }
    });
    if dir.join("tape").exists() {
        findings.push(match wholetape_tape::Tape::open_reader(&dir.join("tape")) {
            Ok(tape) => {
                finding("tape", Level::Good, format!("epoch {}, {} topics", tape.epoch(), tape.topics().len()), "")
            }
            Err(error) => {
                finding("tape", Level::Bad, error.to_string(), "stop the process that owns it, or move the folder away")
            }
        });
    }
    match rustix::fs::statvfs(existing) {
        Ok(s) => {
            let free = s.f_bavail.saturating_mul(s.f_frsize);
            let gib = free as f64 / (1_u64 << 30) as f64;
            let what = format!("{gib:.1} GiB free");
            let (soft, hard) = (config.tape.low_space_soft.0, config.tape.low_space_hard.0);
            findings.push(if free <= hard {
                finding("disk", Level::Bad, what, "below tape.low_space_hard the oldest segments go at once: make room")
            } else if free <= soft {
                finding("disk", Level::Warn, what, "below tape.low_space_soft: make room, or set tape.keep_size")
            } else {
                finding("disk", Level::Good, what, "")
            });
        }
        Err(error) => findings.push(finding("disk", Level::Warn, format!("free space is unknown: {error}"), "")),
    }
    findings
}

/// Below this something is to be looked into, once it was due for a minute.
const AVAILABLE_MIN: f64 = 0.999;

/// Each protocol in the last run and in the last day.
fn available(kept: &availability::Record) -> Vec<Finding> {
    let day = kept.day(availability::unix_now());
    let mut findings = Vec::new();
    for (name, day) in &day {
        let run = kept.run.get(name).copied().unwrap_or_default();
        let low = |c: &availability::Count| c.due_ms >= 60_000 && c.ratio().is_some_and(|r| r < AVAILABLE_MIN);
        let what = format!("{name}: {}; last 24 h {}", availability::words(&run), availability::words(day));
        let remedy = if name.starts_with("line:") { LINE_LOW } else { OWN_LOW };
        findings.push(match low(&run) || low(day) {
            true => finding("availability", Level::Warn, what, remedy),
            false => finding("availability", Level::Good, what, ""),
        });
    }
    if !findings.is_empty() {
        findings.push(finding("availability", Level::Good, availability::EXCLUDED, ""));
    }
    findings
}

const LINE_LOW: &str = "books that were resyncing, or a line that lagged: see feed_resyncs_total and docs/overload.md";
const OWN_LOW: &str = "see /health/ready while it runs; too few cores, a slow disk, or a crash lower it";

fn port(listen: &str) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => finding("port", Level::Good, format!("{listen} is free"), ""),
        Err(error) => {
            finding("port", Level::Bad, format!("{listen}: {error}"), "choose another one: gateway.listen, or --port")
        }
    }
}

/// Opens a TCP connection to each REST host; nothing is sent.
fn reach(config: &Config) -> Vec<Finding> {
    use std::net::ToSocketAddrs;
    let mut findings = Vec::new();
    for (name, authority) in config::rest_hosts(config) {
        let connected = authority
            .to_socket_addrs()
            .and_then(|mut all| all.next().ok_or_else(|| std::io::Error::other("no address")))
            .and_then(|addr| std::net::TcpStream::connect_timeout(&addr, Duration::from_secs(5)));
        findings.push(match connected {
            Ok(_) => finding("reach", Level::Good, format!("{name} at {authority}"), ""),
            Err(error) => finding(
                "reach",
                Level::Bad,
                format!("{name} at {authority}: {error}"),
                "check network, proxy and firewall",
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_bad_and_a_free_one_good() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap().to_string();
        assert_eq!(port(&addr).level, Level::Bad);
        drop(taken);
        assert_eq!(port(&addr).level, Level::Good);
    }
}
