//! The story for people: a line each, the newest mark of a gap last.

use std::fmt::Write as _;

use wholetape_model::{Body, Decimal, Record, Topic, Ts};
use wholetape_store::names;
use wholetape_store::trace::{Found, Mark, Story, Turn, Wanted, Why};

use super::{data, delay, failed, frame, source};
use crate::verdict::report::Paint;

const LABEL: usize = 12;

/// Lines with a label in front.
struct Lines(String, Paint);

impl Lines {
    fn put(&mut self, label: &str, text: impl AsRef<str>) {
        let label = self.1.dim(&format!("{label:LABEL$}"));
        let _ = writeln!(self.0, "{label}{}", text.as_ref());
    }
}

pub fn story(topic: &Topic, epoch: &str, wanted: Wanted, story: &Story, limit: usize, paint: Paint) -> String {
    let mut out = Lines(String::new(), paint);
    for (n, found) in story.found.iter().enumerate() {
        if n > 0 {
            out.0.push('\n');
        }
        one(&mut out, topic, epoch, found, limit);
    }
    if let Some(why) = story.why {
        out.put("", format!("{topic} {}: {}", named(wanted), reason(why, wanted, story)));
        gaps(&mut out, &story.gaps);
        if let (Some(first), Some(last)) = (story.around.first, story.around.last) {
            out.put("held ids", format!("{first} to {last}"));
            let text = |id: Option<u64>| id.map_or_else(|| "none".into(), |id| id.to_string());
            out.put("around it", format!("{} and {}", text(story.around.below), text(story.around.above)));
        }
        if let Some((first, last)) = story.seqs {
            out.put("held seqs", format!("{first} to {last}"));
        }
    }
    out.0
}

fn named(wanted: Wanted) -> String {
    match wanted {
        Wanted::Id(id) => format!("id {id}"),
        Wanted::Seq(seq) => format!("seq {seq}"),
    }
}

fn reason(why: Why, wanted: Wanted, story: &Story) -> String {
    use wholetape_model::GapState as G;
    match why {
        Why::NoRows => "nothing is held of this topic".into(),
        Why::Gap(G::Lost) => "not held; it lies in a gap that is lost".into(),
        Why::Gap(G::Open) => "not held; it lies in a gap that is open: it may still come".into(),
        Why::Gap(G::NeverPublished) => "the venue never published it".into(),
        Why::Gap(G::Healed) => "not held, though a mark says that its gap was healed".into(),
        Why::Gone => "it was held once; retention let it go".into(),
        Why::Unexplained => "not held, and no mark says why".into(),
        Why::Unplaced => "not held; such an id does not tell where it would be".into(),
        Why::Outside => {
            let first = matches!((wanted, story.around.first), (Wanted::Id(id), Some(first)) if id < first.into());
            let side = if first { "before" } else { "behind" };
            match wanted {
                Wanted::Id(_) => format!("not held; it lies {side} all ids held"),
                Wanted::Seq(_) => "not held; it lies outside of the seqs held".into(),
            }
        }
    }
}

fn one(out: &mut Lines, topic: &Topic, epoch: &str, found: &Found, limit: usize) {
    let record = found.row.record();
    let id = found.row.id().map_or_else(String::new, |id| format!(" id {id}"));
    let seq = if record.seq() == 0 { "no seq: the tape never saw it".into() } else { format!("seq {}", record.seq()) };
    out.put("row", format!("{topic}{id} · {seq}"));
    out.put("", content(topic, epoch, &record));
    let delay = delay(&record).map_or_else(String::new, |ns| format!(", {} after", millis(ns)));
    out.put("venue time", record.ts_event().to_string());
    out.put("received", format!("{}{delay}", record.ts_recv()));
    if let Some(ts) = found.ts_init.filter(|ts| *ts != record.ts_recv()) {
        out.put("ordered as", ts.to_string());
    }
    let checks = failed(record.flags());
    let checks = if checks.is_empty() { "passed".into() } else { format!("failed: {}", checks.join(", ")) };
    out.put("checks", checks);
    came(out, found, &record, limit);
    gaps(out, &found.gaps);
    for r in &found.retracts {
        out.put("withdrawn", format!("by seq {} at {}", r.seq, r.at));
    }
    stored(out, found);
}

fn content(topic: &Topic, epoch: &str, record: &Record<'_>) -> String {
    let Ok(Body::Trade(t)) = record.view() else { return data(topic, epoch, record).to_string() };
    let scales = record.scales();
    let (price, size) = (Decimal::new(t.price.0, scales.price), Decimal::new(t.size.0, scales.size));
    let side = t.aggressor.map_or("no side told", |s| s.as_str());
    let covers = if t.id.is_uuid() || t.id == t.first_id && t.id == t.last_id {
        String::new()
    } else {
        format!(", single trades {} to {}", t.first_id, t.last_id)
    };
    format!("{size} at {price}, {side}{covers}")
}

fn came(out: &mut Lines, found: &Found, record: &Record<'_>, limit: usize) {
    let by = match source(record.flags()) {
        "live" => format!("live, frame {} of connection {}", record.frame(), record.conn()),
        "rest" => format!("late, over REST (asked for by the line of connection {})", record.conn()),
        "archive" => "late, from the venue's archive".into(),
        other => format!("late, from another socket ({other})"),
    };
    out.put("came", by);
    if let Some(life) = &found.life {
        let link = &life.opened.link;
        out.put("connection", format!("{} of line {}, {}", link.correlation, life.line, link.endpoint));
        out.put("", format!("{} ({})", turn(&life.opened), life.topic));
        if let Some(closed) = &life.closed {
            out.put("", turn(closed));
        }
    }
    if let Some(raw) = &found.raw {
        let (text, bytes) = frame(&raw.record(), limit);
        let more = if text.len() < bytes { " … (--raw: all)" } else { "" };
        out.put("raw frame", format!("{bytes} bytes: {text}{more}"));
    }
}

fn turn(turn: &Turn) -> String {
    let link = &turn.link;
    format!("{} since {} (seq {}: {}, {})", link.state.as_str(), turn.at, turn.seq, link.cause.as_str(), link.why)
}

fn gaps(out: &mut Lines, gaps: &[Vec<Mark>]) {
    for marks in gaps {
        for (n, m) in marks.iter().enumerate() {
            let g = &m.gap;
            let label = if n == 0 { "gap" } else { "" };
            let about =
                if g.from_id > 0 { format!("ids {} to {}", g.from_id, g.to_id) } else { span(g.from_ts, g.to_ts) };
            let state = g.state.as_str();
            let state = match n + 1 == marks.len() {
                true if state == "lost" || state == "open" => out.1.bad(state),
                true => out.1.good(state),
                false => state.to_owned(),
            };
            let source = if g.source.as_str() == "none" { String::new() } else { format!(" by {}", g.source.as_str()) };
            let text = format!("{state}{source} at {} (seq {}), {}: {about}; {}", m.at, m.seq, g.cause.as_str(), g.why);
            out.put(label, text);
        }
    }
}

fn span(from: Ts, to: Ts) -> String {
    format!("{from} to {to}")
}

fn stored(out: &mut Lines, found: &Found) {
    match &found.lane {
        Some(lane) => out.put("tape", format!("held, lane {lane}")),
        None => out.put("tape", "not held (any more)"),
    }
    let Some(place) = &found.stored else {
        out.put("catalog", "not stored yet, or nothing is stored here");
        return;
    };
    let sealed = if place.sealed { "sealed" } else { "its day is still open" };
    let day = names::day_name(place.day);
    out.put("catalog", format!("{} {day}, part {}, {sealed}", place.table, place.part));
    out.put("", format!("{}, row group {}", place.path, place.row_group));
    let Some(c) = &place.certificate else {
        out.put("certificate", "none yet");
        return;
    };
    let signed = c.signer.as_ref().map_or_else(|| "not signed".into(), |key| format!("signed by {key}"));
    let holds = if c.holds { "" } else { "; the day was rewritten since, its next revision is due" };
    out.put("certificate", format!("revision {}, number {}, {signed}{holds}", c.revision, c.number));
    out.put("", &c.path);
}

fn millis(ns: i64) -> String {
    format!("{}.{:06} ms", ns / 1_000_000, (ns % 1_000_000).abs())
}
