//! The ledger as text, one thing a line: what a checkpoint holds. Version 1.
//!
//! ```text
//! wholetape-coverage 1 <epoch> <as of>
//! conn <number> <heard>
//! topic <name> <seq> <first> <last> <conn> <unknown to> <unread> <repeats> <contradicted> <linked> <ends with row>
//!       <unpublished forgotten> <forgotten open healed never lost> <forgotten to>
//! run|past <lo> <hi> <from> <to> <missing> <holes> <hole ns>
//! never <lo> <hi>
//! gap <number> <state> <cause> <source> <from id> <to id> <from ts> <to ts> <missing> <opened> <marked> <why …>
//! scar <from> <to> <hole ns> <gaps>
//! ```

use std::fmt::Write as _;
use std::str::{FromStr, SplitN};

use wholetape_model::{Gap, GapCause, GapState, HealSource, Topic, Ts};

use super::gaps::{GapCounts, GapEntry, Scar};
use super::runs::Run;
use super::{Coverage, Rule, TopicLedger};

pub(super) const MAGIC: &str = "wholetape-coverage";
pub(super) const VERSION: u32 = 1;
/// In the place of `linked`: the topic's trades have loose ids.
const LOOSE: u8 = 2;

pub(super) fn write(coverage: &Coverage) -> String {
    let mut out = String::with_capacity(256 + coverage.topics.len() * 512);
    let _ = writeln!(out, "{MAGIC} {VERSION} {} {}", coverage.epoch, coverage.as_of.0);
    for (conn, ts) in &coverage.conns {
        let _ = writeln!(out, "conn {conn} {}", ts.0);
    }
    for (name, t) in &coverage.topics {
        let f = &t.gaps.forgotten;
        let _ = writeln!(
            out,
            "topic {name} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
            t.seq,
            t.first.0,
            t.last.0,
            t.conn,
            t.unknown_to,
            t.unread,
            t.repeats,
            t.contradicted,
            if Rule::of(name.kind()) == Some(t.rule) { u8::from(t.linked) } else { LOOSE },
            t.ends_with_row,
            t.runs.unpublished_forgotten,
            f.open,
            f.healed,
            f.never_published,
            f.lost,
            t.gaps.forgotten_to.0,
        );
        for (word, list) in [("run", &t.runs.list), ("past", &t.runs.past)] {
            for r in list {
                let _ = writeln!(
                    out,
                    "{word} {} {} {} {} {} {} {}",
                    r.lo, r.hi, r.from.0, r.to.0, r.missing, r.holes, r.hole_ns
                );
            }
        }
        for (lo, hi) in &t.runs.unpublished {
            let _ = writeln!(out, "never {lo} {hi}");
        }
        for g in t.gaps.list.values() {
            let _ = writeln!(
                out,
                "gap {} {} {} {} {} {} {} {} {} {} {} {}",
                g.gap,
                g.state.as_str(),
                g.cause.as_str(),
                g.source.as_str(),
                g.from_id,
                g.to_id,
                g.from_ts.0,
                g.to_ts.0,
                g.missing,
                g.opened.0,
                g.marked.0,
                g.why
            );
        }
        for s in &t.gaps.scars {
            let _ = writeln!(out, "scar {} {} {} {}", s.from.0, s.to.0, s.hole_ns, s.gaps);
        }
    }
    out
}

/// The fields of a line.
struct Fields<'a>(SplitN<'a, char>);

impl<'a> Fields<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn n<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn ts(&mut self) -> Option<Ts> {
        self.n().map(Ts)
    }
}

/// The version and the epoch, if this is a checkpoint at all.
pub(super) fn head(text: &str) -> Option<(u32, &str)> {
    let mut f = Fields(text.lines().next()?.splitn(4, ' '));
    (f.text()? == MAGIC).then_some(())?;
    Some((f.n()?, f.text()?))
}

/// # Errors
/// The number of the line that cannot be read, counted from 1.
pub(super) fn read(text: &str) -> Result<Coverage, usize> {
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or(1_usize)?;
    let mut f = Fields(first.splitn(4, ' '));
    if (f.text(), f.text()) != (Some(MAGIC), Some("1")) {
        return Err(1);
    }
    let mut coverage = Coverage::new(f.text().ok_or(1_usize)?);
    coverage.as_of = f.ts().ok_or(1_usize)?;
    let mut last: Option<(Topic, TopicLedger)> = None;
    for (i, line) in lines {
        let bad = i + 1;
        let (word, rest) = line.split_once(' ').ok_or(bad)?;
        if word == "topic" {
            let next = topic(rest).ok_or(bad)?;
            if let Some((name, ledger)) = last.replace(next) {
                coverage.topics.insert(name, ledger);
            }
            continue;
        }
        let mut f = Fields(rest.splitn(12, ' '));
        if word == "conn" {
            let (conn, ts) = (f.n().ok_or(bad)?, f.ts().ok_or(bad)?);
            coverage.conns.insert(conn, ts);
            continue;
        }
        let (_, t) = last.as_mut().ok_or(bad)?;
        part(word, &mut f, t).ok_or(bad)?;
    }
    if let Some((name, ledger)) = last {
        coverage.topics.insert(name, ledger);
    }
    Ok(coverage)
}

fn topic(rest: &str) -> Option<(Topic, TopicLedger)> {
    let mut f = Fields(rest.splitn(17, ' '));
    let name = Topic::parse(f.text()?).ok()?;
    let mut t = TopicLedger::new(Rule::of(name.kind())?);
    (t.seq, t.first, t.last, t.conn) = (f.n()?, f.ts()?, f.ts()?, f.n()?);
    (t.unknown_to, t.unread, t.repeats, t.contradicted) = (f.n()?, f.n()?, f.n()?, f.n()?);
    match f.n::<u8>()? {
        LOOSE => t.rule = Rule::Live,
        linked => t.linked = linked == 1,
    }
    t.ends_with_row = f.n()?;
    t.runs.unpublished_forgotten = f.n()?;
    t.gaps.forgotten = GapCounts { open: f.n()?, healed: f.n()?, never_published: f.n()?, lost: f.n()? };
    t.gaps.forgotten_to = f.ts()?;
    Some((name, t))
}

fn part(word: &str, f: &mut Fields<'_>, t: &mut TopicLedger) -> Option<()> {
    match word {
        "run" | "past" => {
            let run = Run {
                lo: f.n()?,
                hi: f.n()?,
                from: f.ts()?,
                to: f.ts()?,
                missing: f.n()?,
                holes: f.n()?,
                hole_ns: f.n()?,
            };
            if word == "past" {
                t.runs.past.push(run);
                return Some(());
            }
            // The order is an invariant of the list; a file that breaks it was not written by us.
            let after = t.runs.list.last().is_none_or(|p| p.hi.checked_add(1).is_some_and(|n| n < run.lo));
            (run.lo <= run.hi && run.missing <= run.hi - run.lo && after).then(|| t.runs.list.push(run))
        }
        "never" => {
            let (lo, hi) = (f.n()?, f.n()?);
            (lo <= hi && t.runs.unpublished.last().is_none_or(|p| p.1 < lo)).then(|| t.runs.unpublished.push((lo, hi)))
        }
        "gap" => {
            let mark = Gap {
                gap: f.n()?,
                state: named(GapState::ALL, f.text()?, GapState::as_str)?,
                cause: named(GapCause::ALL, f.text()?, GapCause::as_str)?,
                source: named(HealSource::ALL, f.text()?, HealSource::as_str)?,
                from_id: f.n()?,
                to_id: f.n()?,
                from_ts: f.ts()?,
                to_ts: f.ts()?,
                missing: f.n()?,
                why: (),
            };
            let (opened, marked, why) = (f.ts()?, f.ts()?, f.text()?);
            let gap = GapEntry { mark: mark.map(|()| why.to_owned()), opened, marked };
            t.gaps.list.insert(gap.gap, gap).is_none().then_some(())
        }
        "scar" => {
            t.gaps.scars.push(Scar { from: f.ts()?, to: f.ts()?, hole_ns: f.n()?, gaps: f.n()? });
            Some(())
        }
        _ => None,
    }
}

fn named<T: Copy>(all: &[T], name: &str, of: fn(T) -> &'static str) -> Option<T> {
    all.iter().copied().find(|v| of(*v) == name)
}
