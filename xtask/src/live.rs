//! A minute against a real venue, on request: which channels spoke. Nothing else here talks to a venue, and no test does.

use crate::run::target_dir;
use crate::running::{Running, build};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Venues that the printed default configuration holds.
#[derive(Clone, Copy, ValueEnum)]
pub enum Venue {
    Binance,
}

/// Topics of ours, that fill without any venue.
const ABOUT_US: [&str; 6] = ["link", "gap", "coverage", "quality", "alert", "incident"];
/// Without a connection for so long there will be none.
const PATIENCE: Duration = Duration::from_secs(25);
/// Columns of the table of lines, by metric.
const COLUMNS: [(&str, &str); 6] = [
    ("frames", "feed_frames_total"),
    ("rows", "feed_rows_total"),
    ("errors", "feed_errors_total"),
    ("unknown", "feed_unknown_total"),
    ("reconnects", "feed_reconnects_total"),
    ("resyncs", "feed_resyncs_total"),
];

/// Runs the default configuration for `seconds` and prints what came.
///
/// # Errors
/// In one line, when nothing came or the run failed.
pub fn live(venue: Venue, seconds: u64) -> Result<()> {
    let Venue::Binance = venue;
    let program = build()?;
    let (config, data) = (target_dir().join("live.toml"), target_dir().join("live-data"));
    let defaults = Command::new(&program).arg("defaults").output().context("wholetape defaults")?;
    ensure!(defaults.status.success(), "wholetape defaults ended with {}", defaults.status);
    fs::write(&config, &defaults.stdout).with_context(|| config.display().to_string())?;
    // A tape of an earlier try would ask to be healed over all the time between.
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| data.display().to_string())?;
    }
    println!("{} for {seconds} s, tape in {}", config.display(), data.display());
    let seen = watch(&program, &config, &data, seconds)?;
    print!("{}", seen.table());
    Ok(())
}

fn watch(program: &Path, config: &Path, data: &Path, seconds: u64) -> Result<Seen> {
    let (config, data, limit) = (config.to_string_lossy(), data.to_string_lossy(), seconds.to_string());
    let args = ["run", "-c", &config, "--data", &data, "--seconds", &limit, "--port", "0", "--json"];
    let mut running = Running::start(program, &args)?;
    let page = running.page(Duration::from_secs(20)).context("wholetape run")?;
    let (started, mut seen) = (Instant::now(), Seen::default());
    loop {
        let ended = running.ended(Duration::from_secs(1))?;
        running.printed().iter().for_each(|line| seen.take_line(line));
        if let Some(status) = ended {
            // Its readers may be a moment behind its end.
            std::thread::sleep(Duration::from_millis(200));
            running.printed().iter().for_each(|line| seen.take_line(line));
            ensure!(status.success(), "wholetape run ended with {status}: {}", seen.complaint);
            break;
        }
        if let Ok(text) = get(&page, "/metrics") {
            seen.take_metrics(&text);
        }
        if seen.frames() == 0.0 && started.elapsed() > PATIENCE {
            break;
        }
    }
    if seen.frames() == 0.0 {
        bail!("no frame came from the venue: {}", seen.complaint);
    }
    Ok(seen)
}

/// What a run told about itself.
#[derive(Debug, Default)]
struct Seen {
    /// Metric and line to value, of the newest scrape.
    figures: BTreeMap<(String, String), f64>,
    /// Kind to number of topics and records.
    kinds: BTreeMap<String, (u64, u64)>,
    /// The last warning or error.
    complaint: String,
}

impl Seen {
    fn take_line(&mut self, line: &str) {
        if let Ok(Value::Object(said)) = serde_json::from_str(line) {
            let heads = said.get("heads").and_then(Value::as_object);
            for (topic, head) in heads.into_iter().flatten() {
                let kind = topic.split('.').next().unwrap_or_default();
                let (topics, records) = self.kinds.entry(kind.to_owned()).or_default();
                *topics += 1;
                *records += head.as_u64().unwrap_or(0);
            }
        } else if let Some((_, text)) = line.split_once(" WARN ").or_else(|| line.split_once(" ERROR ")) {
            self.complaint = text.to_owned();
        }
    }

    fn take_metrics(&mut self, text: &str) {
        self.figures.extend(text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let (metric, labels) = name.split_once('{')?;
            let (_, rest) = labels.split_once("line=\"")?;
            let (line, _) = rest.split_once('"')?;
            Some(((metric.to_owned(), line.to_owned()), value.parse().ok()?))
        }));
    }

    fn of(&self, metric: &str, line: &str) -> f64 {
        self.figures.get(&(metric.to_owned(), line.to_owned())).copied().unwrap_or(0.0)
    }

    fn frames(&self) -> f64 {
        self.figures.iter().filter(|((metric, _), _)| metric == "feed_frames_total").map(|(_, value)| value).sum()
    }

    fn table(&self) -> String {
        let mut out = format!("\n{:<16}", "line");
        for (title, _) in COLUMNS {
            let _ = write!(out, "{title:>12}");
        }
        let mut lines: Vec<&str> = self.figures.keys().map(|(_, line)| line.as_str()).collect();
        lines.sort_unstable();
        lines.dedup();
        for line in lines {
            let _ = write!(out, "\n{line:<16}");
            for (_, metric) in COLUMNS {
                let _ = write!(out, "{:>12}", self.of(metric, line));
            }
        }
        let _ = write!(out, "\n\n{:<16}{:>12}{:>12}\n", "channel", "topics", "records");
        for (kind, (topics, records)) in &self.kinds {
            let mark = if ABOUT_US.contains(&kind.as_str()) { "  (about ourselves)" } else { "" };
            let _ = writeln!(out, "{kind:<16}{topics:>12}{records:>12}{mark}");
        }
        out
    }
}

/// The body of a plain request to our own gateway.
///
/// # Errors
/// When it cannot be reached, or answers with anything but 200.
pub fn get(page: &str, path: &str) -> Result<String> {
    let host = page.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).context("our own gateway")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path} answered {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_becomes_a_table() {
        let mut seen = Seen::default();
        seen.take_metrics("# HELP x\nfeed_frames_total{venue=\"binance-spot\",line=\"spot\"} 10\nfeed_up 1\n");
        seen.take_metrics(
            "feed_frames_total{venue=\"binance-spot\",line=\"spot\"} 40\nfeed_rows_total{venue=\"b\",line=\"usdm\"} 7\n\
             feed_rest_seconds_sum{host=\"h\"} 3\n",
        );
        seen.take_line(r#"{"event":"started","page":"http://127.0.0.1:1/"}"#);
        seen.take_line(r#"{"event":"stopped","heads":{"trade.A.BINANCE":3,"trade.B.BINANCE":4,"link.spot":2}}"#);
        assert_eq!(seen.frames(), 40.0);
        let table = seen.table();
        let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["spot", "40", "0", "0", "0", "0", "0"]), "{table}");
        assert!(rows.contains(&vec!["usdm", "0", "7", "0", "0", "0", "0"]), "{table}");
        assert!(rows.contains(&vec!["trade", "2", "7"]), "{table}");
        assert!(rows.contains(&vec!["link", "1", "2", "(about", "ourselves)"]), "{table}");
    }

    #[test]
    fn the_last_complaint_is_kept() {
        let mut seen = Seen::default();
        seen.take_line("2026-11-21T13:39:11.8Z  WARN cannot reach wss://a: no such name on=spot/0#3");
        seen.take_line("2026-11-21T13:39:12.8Z  INFO flows");
        assert_eq!(seen.complaint, "cannot reach wss://a: no such name on=spot/0#3");
        assert_eq!(seen.frames(), 0.0);
    }
}
