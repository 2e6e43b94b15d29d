//! `docs/metrics.md` and `/metrics` name the same metrics, with the same kinds and labels.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Running, wholetape};

/// Kind and labels of each metric (labels of single series; `le` belongs to every histogram).
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

/// Served once it happens: a task that failed, a worker that hangs.
const RARE: [&str; 2] = ["feed_task_restarts_total", "feed_worker_stuck"];

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

fn served(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            families.entry(name.to_owned()).or_insert_with(|| (kind.to_owned(), BTreeSet::new()));
        } else if let Some((series, labels)) = line.split_once('{') {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| series.strip_suffix(s)).unwrap_or(series);
            let family = if families.contains_key(series) { series } else { base };
            let Some((_, known)) = families.get_mut(family) else { panic!("{series} has no # TYPE") };
            // No label of ours holds a comma or a brace.
            let labels = labels.split_once('}').map_or("", |(l, _)| l);
            known.extend(labels.split(',').filter_map(|l| l.split_once('=')).map(|(l, _)| l.to_owned()));
            known.remove("le");
        }
    }
    families
}

fn documented() -> Families {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(page).unwrap();
    let mut families = Families::new();
    for line in text.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        let labels = cells[3].split(',').map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
        assert!(families.insert(name.clone(), (cells[2].to_owned(), labels)).is_none(), "{name} stands twice");
    }
    families
}

#[test]
fn the_page_and_the_endpoint_agree() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = wholetape();
    command.args(["demo", "--json", "--faults", "none", "--port", &port.to_string()]).args(common::BINANCE);
    command.arg("--data").arg(dir.path());
    command.stderr(std::process::Stdio::null());
    let running = Running::start(&mut command);
    let end = Instant::now() + Duration::from_secs(30);
    let text = loop {
        // Once rows flow every part has handed over what it counts.
        match get(port, "/metrics") {
            Some(text) if text.contains("feed_rows_total{") && text.contains("gateway_") => break text,
            _ if Instant::now() > end => panic!("no metrics"),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    drop(running);
    let (served, documented) = (served(&text), documented());
    let mut differences = Vec::new();
    for (name, (kind, labels)) in &served {
        match documented.get(name) {
            None => differences.push(format!("lacks `{name}` | {kind} | {labels:?}")),
            Some((page, _)) if page != kind => differences.push(format!("{name}: page {page}, endpoint {kind}")),
            Some((_, page)) if !labels.is_subset(page) => {
                differences.push(format!("labels of {name}: page {page:?}, endpoint {labels:?}"));
            }
            Some(_) => {}
        }
    }
    let gone = documented.keys().filter(|name| !served.contains_key(*name) && !RARE.contains(&name.as_str()));
    differences.extend(gone.map(|name| format!("names {name}, which is not served")));
    assert!(differences.is_empty(), "docs/metrics.md:\n{}", differences.join("\n"));
}
