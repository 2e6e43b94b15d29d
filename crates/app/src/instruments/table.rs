//! Definitions for people: one line an instrument, or one line a change.

use std::fmt::Write as _;

use wholetape_model::Ts;

use super::One;
use crate::verdict::report::{Paint, day_time};

/// The columns, and how wide each is over all lines.
fn aligned(lines: &[Vec<String>], paint: Paint) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let wide: Vec<usize> =
        (0..columns).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let mut text = String::new();
        for (c, (cell, wide)) in line.iter().zip(&wide).enumerate() {
            let gap = if c == 0 { "" } else { "  " };
            let _ = write!(text, "{gap}{cell:wide$}");
        }
        let text = text.trim_end();
        let _ = writeln!(out, "{}", if i == 0 { paint.dim(text) } else { text.to_owned() });
    }
    out
}

pub fn table(shown: &[One<'_>], paint: Paint) -> String {
    if shown.is_empty() {
        return String::new();
    }
    let head = [
        "instrument",
        "kind",
        "status",
        "tick",
        "step",
        "min size",
        "min notional",
        "multiplier",
        "since (UTC)",
        "until",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(shown.iter().map(|one| {
        let fields = ["kind", "status", "tick", "step", "size_min", "notional_min", "multiplier"];
        let mut line = vec![one.id.to_owned()];
        line.extend(fields.map(|name| told(name, one.version.get(name))));
        line.push(day_time(one.version.from));
        line.push(one.until.map_or_else(|| "–".into(), day_time));
        line
    }));
    aligned(&lines, paint)
}

/// A rule of 0 is one that the venue does not state.
fn told(name: &str, value: &str) -> String {
    if value == "0" && name != "status" { "–".into() } else { value.replace('_', " ") }
}

pub fn changes(shown: &[One<'_>], paint: Paint) -> String {
    if shown.is_empty() {
        return String::new();
    }
    let mut lines = vec![["since (UTC)", "known (UTC)", "instrument", "what"].map(str::to_owned).to_vec()];
    let mut rows: Vec<&One<'_>> = shown.iter().collect();
    rows.sort_by_key(|one| (one.version.from, one.id));
    lines.extend(rows.into_iter().map(|one| {
        let what = one.before.map_or_else(
            || format!("first seen: tick {}, step {}", one.version.get("tick"), one.version.get("step")),
            |before| {
                let all: Vec<String> =
                    one.version.changes(before).map(|(field, old, new)| format!("{field} {old} → {new}")).collect();
                all.join(", ")
            },
        );
        vec![day_time(one.version.from), day_time(one.version.known), one.id.to_owned(), what]
    }));
    aligned(&lines, paint)
}

pub fn last_line(shown: &[One<'_>], unknown: usize, unlisted: usize, at: Option<Ts>) -> String {
    let Some(at) = at else { return format!("{} versions", shown.len()) };
    let mut out = format!("{} instruments as they were at {} UTC", shown.len(), day_time(at));
    if unlisted > 0 {
        let _ = write!(out, "; {unlisted} were not listed then (--all shows them)");
    }
    if unknown > 0 {
        let _ = write!(out, "; of {unknown} nothing is known of that time");
    }
    out
}
