//! `wholetape trace`: the story of one row, beside a running process or when none runs.

mod near;
mod tell;

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::{Value, json};
use wholetape_model::{Record, RowFlags, Topic, TradeId, Ts};
use wholetape_store::StoreError;
use wholetape_store::catalog::Catalog;
use wholetape_store::names;
use wholetape_store::trace::{Found, Life, Mark, Story, Trace, Turn, Wanted, Why, has_ids};
use wholetape_tape::{RealDisk, Tape};
use wholetape_wire::message::{self, Context};

use crate::cli;
use crate::config;
use crate::verdict::report::Paint;

/// What is shown of a raw frame without `--raw`, in bytes.
const FRAME_SHOWN: usize = 400;

pub fn run(args: &cli::Trace) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let dir = config.data.join("tape");
    // The tape first: what is stored and let go meanwhile is then found stored.
    let tape = if dir.join("epoch").exists() { Some(Tape::open_reader(&dir)?) } else { None };
    let state = match Catalog::look(&RealDisk, &config.data) {
        Ok(state) => Some(state),
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e.into()),
    };
    anyhow::ensure!(
        tape.is_some() || state.is_some(),
        "neither tape nor catalog in {}: name the data directory with --data, or the configuration with -c",
        config.data.display()
    );
    let catalog = state.as_ref().map(|s| s.catalog.clone());
    let epoch = tape.as_ref().map(|t| t.epoch().to_owned()).or(catalog).unwrap_or_default();
    let mut trace = Trace { disk: &RealDisk, data: &config.data, tape: tape.as_ref(), state };
    let topics = trace.topics();
    let topic = Topic::parse(&args.topic).ok().filter(|t| topics.iter().any(|known| known == t.as_str()));
    let wanted = args.seq.map(Wanted::Seq).or(args.id.map(Wanted::Id)).unwrap_or(Wanted::Id(TradeId::default()));
    let Some(topic) = topic else {
        return Ok(unknown(args, &near::names(&args.topic, &topics)));
    };
    anyhow::ensure!(
        matches!(wanted, Wanted::Seq(_)) || has_ids(topic.kind()),
        "rows of {topic} have no trade ids: name one by --seq N"
    );
    let story = trace.run(&topic, wanted)?;
    let limit = if args.raw { usize::MAX } else { FRAME_SHOWN };
    if args.json {
        say!("{}", document(&topic, &epoch, wanted, &story, limit));
    } else {
        let paint = Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        say!("{}", tell::story(&topic, &epoch, wanted, &story, limit, paint).trim_end());
    }
    Ok(ExitCode::from(u8::from(story.found.is_empty())))
}

fn unknown(args: &cli::Trace, near: &[String]) -> ExitCode {
    if args.json {
        say!("{}", json!({"topic": args.topic, "found": false, "why": "unknown_topic", "near": near}));
    } else if near.is_empty() {
        say!("nothing is held of {}; `wholetape coverage` and `wholetape catalog ls` name what is", args.topic);
    } else {
        say!("nothing is held of {}; near it: {}", args.topic, near.join(", "));
    }
    ExitCode::from(1)
}

/// Everything as one JSON object.
fn document(topic: &Topic, epoch: &str, wanted: Wanted, story: &Story, limit: usize) -> Value {
    let mut out = json!({
        "topic": topic.as_str(),
        "found": !story.found.is_empty(),
        "rows": story.found.iter().map(|f| row(topic, epoch, f, limit)).collect::<Vec<_>>(),
        "held": {
            "from_seq": story.seqs.map(|s| s.0), "to_seq": story.seqs.map(|s| s.1),
            "from_id": story.around.first, "to_id": story.around.last,
        },
    });
    match wanted {
        Wanted::Id(id) => out["id"] = name(id),
        Wanted::Seq(seq) => out["seq"] = seq.into(),
    }
    if let Some(why) = story.why {
        out["why"] = word(why).into();
        out["below"] = story.around.below.into();
        out["above"] = story.around.above.into();
        out["gaps"] = gaps(&story.gaps);
    }
    out
}

/// A number stays one.
fn name(id: TradeId) -> Value {
    id.number().map_or_else(|| id.to_string().into(), Value::from)
}

fn word(why: Why) -> &'static str {
    match why {
        Why::NoRows => "no_rows",
        Why::Gap(state) => state.as_str(),
        Why::Gone => "gone",
        Why::Outside => "outside",
        Why::Unexplained => "unexplained",
        Why::Unplaced => "unplaced",
    }
}

fn row(topic: &Topic, epoch: &str, found: &Found, limit: usize) -> Value {
    let record = found.row.record();
    let retracts = found.retracts.iter().map(|r| json!({"seq": r.seq, "at": r.at.to_string()}));
    json!({
        "seq": record.seq(),
        "id": found.row.id().map(name),
        "ts_event": record.ts_event().to_string(),
        "ts_recv": record.ts_recv().to_string(),
        "ts_init": found.ts_init.map(|ts| ts.to_string()),
        "delay_ns": delay(&record),
        "data": data(topic, epoch, &record),
        "row_flags": record.flags().0,
        "source": source(record.flags()),
        "failed_checks": failed(record.flags()),
        "conn": record.conn(),
        "frame": record.frame(),
        "connection": found.life.as_ref().map(life),
        "raw": found.raw.as_ref().map(|raw| {
            let (text, bytes) = frame(&raw.record(), limit);
            json!({"seq": raw.record().seq(), "bytes": bytes, "text": text})
        }),
        "gaps": gaps(&found.gaps),
        "retracted_by": retracts.collect::<Vec<_>>(),
        "tape": found.lane.as_ref().map(|lane| json!({"lane": lane})),
        "stored": found.stored.as_ref().map(|place| json!({
            "part": place.part, "table": place.table, "day": names::day_name(place.day), "file": place.path,
            "row_group": place.row_group, "sealed": place.sealed,
            "certificate": place.certificate.as_ref().map(|c| json!({
                "file": c.path, "revision": c.revision, "number": c.number, "signer": c.signer, "covers": c.holds,
            })),
        })),
    })
}

/// The row's content as the gateway sends it.
fn data(topic: &Topic, epoch: &str, record: &Record<'_>) -> Value {
    let context = Context { topic, epoch, prev: record.prev(), state: None, crc: None };
    let mut line = Vec::new();
    let _ = message::record(&mut line, &context, record);
    let mut value: Value = serde_json::from_slice(&line).unwrap_or(Value::Null);
    match value.get_mut("data") {
        Some(data) => data.take(),
        // A mark says it beside its place.
        None => value,
    }
}

/// From the venue's time to ours; nothing of rows that came late or that the venue gave no time.
fn delay(record: &Record<'_>) -> Option<i64> {
    let flags = record.flags();
    let live = !flags.is_late() && !flags.has(RowFlags::TS_LOCAL) && record.ts_event() > Ts::ZERO;
    live.then(|| record.ts_recv().0 - record.ts_event().0)
}

/// By which way it came.
fn source(flags: RowFlags) -> &'static str {
    let late = [(RowFlags::LATE_REST, "rest"), (RowFlags::LATE_ARCHIVE, "archive")];
    let late = late.into_iter().chain([(RowFlags::LATE_REDUNDANT, "redundant")]);
    late.into_iter().find(|(flag, _)| flags.has(*flag)).map_or("live", |(_, word)| word)
}

fn failed(flags: RowFlags) -> Vec<&'static str> {
    RowFlags::CHECKS.into_iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, word)| word).collect()
}

fn life(life: &Life) -> Value {
    json!({
        "line": life.line, "topic": life.topic, "correlation": life.opened.link.correlation,
        "endpoint": life.opened.link.endpoint, "opened": turn(&life.opened), "closed": life.closed.as_ref().map(turn),
    })
}

fn turn(turn: &Turn) -> Value {
    let link = &turn.link;
    json!({
        "seq": turn.seq, "at": turn.at.to_string(), "state": link.state.as_str(), "cause": link.cause.as_str(), "why": link.why,
    })
}

/// A frame's text, cut to `limit` bytes, and how many it has.
fn frame<'a>(raw: &Record<'a>, limit: usize) -> (String, usize) {
    let Ok(wholetape_model::Body::Raw(raw)) = raw.view() else { return (String::new(), 0) };
    let text: &'a str = raw.text;
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    (text[..end].to_owned(), text.len())
}

fn gaps(gaps: &[Vec<Mark>]) -> Value {
    let mark = |m: &Mark| {
        let g = &m.gap;
        json!({
            "seq": m.seq, "at": m.at.to_string(), "state": g.state.as_str(), "cause": g.cause.as_str(),
            "source": g.source.as_str(), "from_id": g.from_id, "to_id": g.to_id,
            "from_ts": g.from_ts.to_string(), "to_ts": g.to_ts.to_string(), "missing": g.missing, "why": g.why,
        })
    };
    let gap = |marks: &Vec<Mark>| json!({"gap": marks.first().map(|m| m.gap.gap), "marks": marks.iter().map(mark).collect::<Vec<_>>()});
    gaps.iter().map(gap).collect()
}
