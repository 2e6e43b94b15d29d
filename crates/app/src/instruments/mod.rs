//! `wholetape instruments`: the venues' rules as they held at a time, and as they were known at one; from the catalog and the tape, beside
//! a running process or when none runs.

mod table;
mod versions;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use wholetape_model::{Kind, Topic, Ts};
use wholetape_store::catalog::Catalog;
use wholetape_store::history::CatalogHistory;
use wholetape_store::{StoreError, replay};
use wholetape_tape::history::{Past, PastBatch};
use wholetape_tape::{Delivery, Filter, From, ReaderOptions, RealDisk, Tape};

use self::versions::{Version, Versions};
use crate::cli;
use crate::config;
use crate::heal::time;
use crate::verdict::report::Paint;

/// Records read at a time.
const BATCH: usize = 4_096;

/// What is shown of one instrument.
struct One<'a> {
    id: &'a str,
    version: &'a Version,
    until: Option<Ts>,
    /// The version before, where changes are asked for.
    before: Option<&'a Version>,
}

pub fn run(args: &cli::Instruments) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let now = wholetape_feed::clock::wall();
    let at = args.at.as_deref().map_or(Ok(now), |text| time(text, now).context("--at"))?;
    let known_at = args.known_at.as_deref().map_or(Ok(Ts::MAX), |text| time(text, now).context("--known-at"))?;
    let held = read(&config.data, args, known_at)?;
    let (mut shown, mut unknown, mut unlisted) = (Vec::new(), 0, 0);
    for (id, versions) in &held {
        if args.changes {
            let all = versions.all();
            let pairs = all.iter().enumerate().map(|(i, version)| One {
                id,
                version,
                until: all.get(i + 1).map(|next| next.from),
                before: i.checked_sub(1).map(|i| &all[i]),
            });
            shown.extend(pairs);
            continue;
        }
        match versions.at(at) {
            None => unknown += 1,
            Some((version, _)) if !args.all && !version.is_listed(at) => unlisted += 1,
            Some((version, until)) => shown.push(One { id, version, until, before: None }),
        }
    }
    if args.json {
        let rows: Vec<Value> = shown.iter().map(document).collect();
        let at = (!args.changes).then(|| at.0.to_string());
        let known_at = (known_at < Ts::MAX).then(|| known_at.0.to_string());
        say!(
            "{}",
            json!({"at": at, "known_at": known_at, "instruments": rows, "not_known_then": unknown, "not_listed_then": unlisted})
        );
    } else {
        let paint = Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        let text = if args.changes { table::changes(&shown, paint) } else { table::table(&shown, paint) };
        say!("{}", text.trim_end());
        say!("{}", table::last_line(&shown, unknown, unlisted, (!args.changes).then_some(at)));
    }
    Ok(ExitCode::from(u8::from(shown.is_empty())))
}

fn document(one: &One<'_>) -> Value {
    let v = one.version;
    let mut out = json!({
        "instrument": one.id, "from": v.from.0.to_string(), "until": one.until.map(|ts| ts.0.to_string()),
        "known": v.known.0.to_string(), "confirmed": v.confirmed.0.to_string(), "seq": v.seq, "data": v.data(),
    });
    if let Some(before) = one.before {
        let changed = v.changes(before).map(|(field, old, new)| json!({"field": field, "old": old, "new": new}));
        out["changes"] = changed.collect();
    }
    out
}

/// All that catalog and tape hold of the instruments that are asked for.
fn read(data: &std::path::Path, args: &cli::Instruments, known_at: Ts) -> anyhow::Result<BTreeMap<String, Versions>> {
    let dir = data.join("tape");
    // The tape first: what is stored and let go meanwhile is then found stored.
    let tape = if dir.join("epoch").exists() { Some(Tape::open_reader(&dir)?) } else { None };
    let stored = match Catalog::look(&RealDisk, data) {
        Ok(state) => replay::topics(&state),
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && tape.is_some() => {
            Vec::new()
        }
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => anyhow::bail!(
            "neither tape nor catalog in {}: name the data directory with --data, or the configuration with -c",
            data.display()
        ),
        Err(e) => return Err(e.into()),
    };
    let on_tape = tape.iter().flat_map(Tape::topics).map(|t| t.topic);
    let mut topics: Vec<Topic> = stored.into_iter().chain(on_tape).filter(|t| wanted(t, args)).collect();
    topics.sort_unstable();
    topics.dedup();
    let history = CatalogHistory::new(Arc::new(RealDisk), data);
    let mut held = BTreeMap::new();
    for topic in topics {
        let mut versions = Versions::default();
        each(&history, tape.as_ref(), &topic, known_at, &mut versions).with_context(|| topic.to_string())?;
        held.insert(topic.subject().to_owned(), versions);
    }
    Ok(held)
}

fn wanted(topic: &Topic, args: &cli::Instruments) -> bool {
    let matches = |pattern: &str| {
        Filter { kinds: vec![Kind::Instrument], pattern: Some(format!("{}.{pattern}", Kind::Instrument)) }
            .matches(topic)
    };
    let venue = args.venue.as_ref().is_none_or(|venue| matches(&format!("*.{}", venue.to_uppercase())));
    matches("*") && venue && (args.instruments.is_empty() || args.instruments.iter().any(|p| matches(p)))
}

/// Every row of a topic, in the order of arrival: what is stored, and behind it what is on the tape alone.
fn each(
    history: &CatalogHistory,
    tape: Option<&Tape>,
    topic: &Topic,
    known_at: Ts,
    versions: &mut Versions,
) -> anyhow::Result<()> {
    let mut position = 0;
    if let Some(held) = history.held(topic)? {
        let mut reader = history.by_seq(topic, 0)?;
        let mut batch = PastBatch::default();
        while reader.read(&mut batch)? {
            for i in 0..batch.len() {
                if let Past::Record { record, .. } = batch.get(i)? {
                    versions.take(&record, known_at)?;
                }
            }
        }
        position = held.stored;
    }
    let Some(tape) = tape.filter(|t| t.head(topic).is_some_and(|head| head > position)) else { return Ok(()) };
    let mut reader = tape.reader(topic, From::Seq(position), ReaderOptions::default())?;
    let mut batch = Vec::new();
    while reader.poll_next(&mut batch, BATCH) > 0 {
        for record in batch.drain(..).filter_map(|d| match d {
            Delivery::Record(shared) => Some(shared),
            _ => None,
        }) {
            versions.take(&record.record(), known_at)?;
        }
    }
    Ok(())
}
