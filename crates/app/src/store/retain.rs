//! `wholetape catalog retain`: which days go because their time is over, and why others stay.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use wholetape_model::{Topic, Ts};
use wholetape_store::catalog::Catalog;
use wholetape_store::manifest::{Part, State};
use wholetape_store::retain::{self, Gone, Keep, Plan, Rules, TopicDay};
use wholetape_store::{names, writer};
use wholetape_tape::{DueSegment, RealDisk, Tape};

use crate::cli;
use crate::config::{self, Config};

const MIB: f64 = 1_048_576.0;

pub fn run(args: &cli::CatalogRetain) -> anyhow::Result<ExitCode> {
    let (config, problems) = config::load(&args.layers)?;
    // No line is needed for this; whatever else is wrong could hide a rule.
    let elsewhere = |p: &config::Problem| p.key.starts_with("feed") || p.key.starts_with("gateway");
    let problems: Vec<_> = problems.into_iter().filter(|p| !elsewhere(p)).collect();
    if !problems.is_empty() {
        return Err(config::Problems(problems).into());
    }
    let rules = config.store.retention.plan(&mut Vec::new());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Ts(i64::try_from(since.as_nanos())?);
    let (state, plan, gone) = if args.dry_run {
        let state = Catalog::look(&RealDisk, &config.data)?;
        let plan = retain::plan(&state, &rules, now);
        (state, plan, None)
    } else {
        let mut catalog = Catalog::open(Arc::new(RealDisk), &config.data, config.store.catalog())
            .context("a running `wholetape run` lets days go by itself; --dry-run works beside it")?;
        let (state, mut gone) = (catalog.state().clone(), Gone::default());
        let plan = retain::plan(&state, &rules, now);
        retain::carry_out(&mut catalog, &plan, usize::MAX, &mut gone)?;
        // Whoever reads the old files just now has ten seconds.
        catalog.close()?;
        (state, plan, Some(gone))
    };
    let tape = if args.dry_run { tape(&config, &state, now) } else { Vec::new() };
    if args.json {
        say!("{}", as_json(&state, &plan, &rules, gone.as_ref(), &tape));
    } else {
        tell(&state, &plan, &rules, gone.is_some(), &tape);
    }
    Ok(ExitCode::SUCCESS)
}

/// The tape's segments that would go as well. A tape that is not there, or cannot be read, has none.
fn tape(config: &Config, state: &State, now: Ts) -> Vec<DueSegment> {
    let Ok(tape) = Tape::open_reader(&config.data.join("tape")) else { return Vec::new() };
    if config.store.enabled {
        let stored = state.stored();
        let kept = tape.topics().into_iter().filter(|t| writer::is_stored(t.topic.kind()));
        tape.hold(kept.map(|t| {
            let upto = stored.get(t.topic.as_str()).map_or(0, |seqs| seqs.whole_from(t.oldest.max(1)));
            (t.topic, upto)
        }));
    }
    tape.due(config.tape.plan(&mut Vec::new()).retention, now)
}

/// Its parts by table.
fn tables<'a>(state: &'a State, day: &TopicDay) -> Vec<&'a Part> {
    let mut parts: Vec<&Part> = day.parts.iter().filter_map(|p| state.parts.get(p)).collect();
    parts.sort_by(|a, b| a.table.cmp(&b.table));
    parts
}

fn sums(state: &State, plan: &Plan) -> Gone {
    let mut sum = Gone { days: plan.go.len() as u64, ..Gone::default() };
    for part in plan.go.iter().flat_map(|d| tables(state, d)) {
        (sum.rows, sum.bytes) = (sum.rows + part.rows, sum.bytes + part.bytes());
    }
    sum
}

/// Rules that are for nothing that is stored: most often a misspelt venue.
fn unused(state: &State, rules: &Rules) -> Vec<String> {
    let topics: Vec<Topic> = state.parts.values().filter_map(|p| Topic::parse(&p.topic).ok()).collect();
    let is_used = |name: &String| topics.iter().any(|t| rules.of(t).to_string() == *name);
    rules.all().iter().skip(1).map(ToString::to_string).filter(|name| !is_used(name)).collect()
}

fn as_json(state: &State, plan: &Plan, rules: &Rules, gone: Option<&Gone>, tape: &[DueSegment]) -> Value {
    let day = |d: &TopicDay| {
        let tables: Vec<Value> = tables(state, d)
            .iter()
            .map(|p| json!({"table": p.table, "rows": p.rows, "bytes": p.bytes(), "files": p.files}))
            .collect();
        json!({"topic": d.topic, "day": names::day_name(d.day), "rule": d.rule, "tables": tables})
    };
    let stay: Vec<Value> = plan
        .stay
        .iter()
        .map(|(d, why)| {
            let mut one = day(d);
            one["why"] = why.as_str().into();
            one
        })
        .collect();
    let segments: Vec<Value> = tape
        .iter()
        .map(|s| json!({"lane": s.lane, "segment": s.number, "bytes": s.bytes, "sealed": names::stamp(s.sealed)}))
        .collect();
    let keep = |keep: Keep| match keep {
        Keep::Forever => "forever".to_owned(),
        Keep::For(time) => humantime::format_duration(time).to_string(),
    };
    let listed: Vec<Value> = rules.all().iter().map(|r| json!({"rule": r.to_string(), "keep": keep(r.keep)})).collect();
    let sum = sums(state, plan);
    json!({
        "catalog": state.catalog, "dry_run": gone.is_none(), "rules": listed, "rules_unused": unused(state, rules),
        "go": plan.go.iter().map(day).collect::<Vec<_>>(), "stay": stay,
        "days": sum.days, "rows": sum.rows, "bytes": sum.bytes, "tape_segments": segments,
    })
}

fn tell(state: &State, plan: &Plan, rules: &Rules, done: bool, tape: &[DueSegment]) {
    if rules.is_forever() {
        say!("no rule lets anything go: see [store.retention] in `wholetape defaults`");
    }
    let wide = plan.go.iter().map(|d| d.topic.len()).max().unwrap_or(5).max(5);
    if !plan.go.is_empty() {
        say!("{:wide$}  {:18} {:10} {:>12} {:>10}  rule", "topic", "table", "day", "rows", "KiB");
    }
    for d in &plan.go {
        let day = names::day_name(d.day);
        for p in tables(state, d) {
            say!(
                "{:wide$}  {:18} {day:10} {:>12} {:>10}  {}",
                d.topic,
                p.table,
                p.rows,
                p.bytes().div_ceil(1024),
                d.rule
            );
        }
    }
    for (d, why) in &plan.stay {
        say!("stays: {} {}: {}", d.topic, names::day_name(d.day), why.as_str());
    }
    for name in unused(state, rules) {
        say!("the rule for {name} is for nothing that is stored");
    }
    let (sum, would) = (sums(state, plan), if done { "" } else { "would go: " });
    let went = if done { " let go" } else { "" };
    say!("{would}{} days of topics, {} rows, {:.1} MiB{went}", sum.days, sum.rows, sum.bytes as f64 / MIB);
    if !tape.is_empty() {
        let bytes: u64 = tape.iter().map(|s| s.bytes).sum();
        for s in tape {
            say!(
                "tape: {} segment {}, sealed {}, {:.1} MiB",
                s.lane,
                s.number,
                names::stamp(s.sealed),
                s.bytes as f64 / MIB
            );
        }
        say!("of the tape: {} segments, {:.1} MiB", tape.len(), bytes as f64 / MIB);
    }
}
