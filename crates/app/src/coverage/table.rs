//! The ledger for people: per instrument a table and an hour-by-hour strip, then what is open or lost, then one line about all.

use std::fmt::Write as _;
use std::path::Path;

use wholetape_gateway::coverage::Query;
use wholetape_model::{GapState, Proof, Ts};
use wholetape_tape::coverage::{Coverage, GapEntry, Hour, Summary};

use crate::verdict::report::{Paint, day_time, thousands};

/// Gaps told per instrument; the rest are counted.
const GAPS_SHOWN: usize = 5;
const HOUR: i64 = 3_600_000_000_000;

pub fn table(coverage: &Coverage, query: &Query, dir: &Path, paint: Paint) -> String {
    let mut out = String::new();
    let all: Vec<Summary<'_>> = query.select(coverage).collect();
    let as_of =
        if coverage.as_of() == Ts::ZERO { "empty".to_owned() } else { format!("{} UTC", day_time(coverage.as_of())) };
    let head = format!("{}  epoch {}  as of {as_of}", dir.display(), coverage.epoch());
    let _ = writeln!(out, "{}", paint.dim(&head));
    if all.is_empty() {
        out.push_str("nothing that matches is on this tape\n");
        return out;
    }
    for group in all.chunk_by(|a, b| a.topic.subject() == b.topic.subject()) {
        instrument(group, query.hours, paint, &mut out);
    }
    legend(paint, &mut out);
    totals(&all, paint, &mut out);
    out
}

fn instrument(group: &[Summary<'_>], hours: usize, paint: Paint, out: &mut String) {
    let _ = writeln!(out, "\n{}", paint.bold(group[0].topic.subject()));
    let titles = format!(
        "  {:<13} {:<17} {:<27} {:>12} {:>9}  {:<31} {:>9}  gaps",
        "kind", "proof", "ids", "held", "missing", "time (UTC)", "in holes"
    );
    let _ = writeln!(out, "{}", paint.dim(&titles));
    for s in group {
        let proof = format!("{:<17}", words(s.proof));
        let proof = match s.proof {
            Proof::Hole => paint.bad(&proof),
            Proof::ById | Proof::ByOverlap => paint.good(&proof),
            Proof::LiveOnly => proof,
        };
        let ids = s.ids.map_or_else(|| "–".into(), |(a, b)| format!("{a}–{b}"));
        let held = if s.ids.is_some() && s.missing.is_some() { thousands(s.held) } else { "–".into() };
        let missing = format!("{:>9}", s.missing.map_or_else(|| "–".into(), thousands));
        let missing = if s.missing.unwrap_or(0) > 0 { paint.bad(&missing) } else { missing };
        let time = if s.from == Ts::ZERO { "no row yet".into() } else { range(s.from, s.to) };
        let holes = if s.hole_ns == 0 { "–".into() } else { length(s.hole_ns) };
        let _ = writeln!(
            out,
            "  {:<13} {proof} {ids:<27} {held:>12} {missing}  {time:<31} {holes:>9}  {}",
            s.topic.kind().to_string(),
            gaps(s, paint)
        );
    }
    if hours > 0 {
        strips(group, paint, out);
    }
    told(group, paint, out);
}

const fn words(proof: Proof) -> &'static str {
    match proof {
        Proof::ById => "proven by id",
        Proof::ByOverlap => "proven by overlap",
        Proof::LiveOnly => "live only",
        Proof::Hole => "hole",
    }
}

fn gaps(s: &Summary<'_>, paint: Paint) -> String {
    let mut parts = Vec::new();
    let g = s.gaps;
    if g.open > 0 {
        parts.push(paint.bad(&format!("{} open", g.open)));
    }
    for (n, word) in [(g.lost, "lost"), (g.healed, "healed"), (g.never_published, "never published")] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    if s.unexplained > 0 {
        parts.push(paint.bad(&format!("{} ids UNEXPLAINED", s.unexplained)));
    }
    for (n, what) in [(s.ledger.contradicted, "verdicts not borne out"), (s.ledger.repeats, "ids twice")] {
        if n > 0 {
            parts.push(paint.bad(&format!("{n} {what}")));
        }
    }
    if s.ledger.unknown_to > 0 {
        parts.push(format!("unknown before seq {}", s.ledger.unknown_to + 1));
    }
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

/// A ruler with the hours of the day, then one strip per kind.
fn strips(group: &[Summary<'_>], paint: Paint, out: &mut String) {
    let from = group[0].hours_from;
    let n = group[0].hours.len();
    let (mut days, mut ruler) = (vec![' '; n + 12], vec![' '; n + 3]);
    for i in 0..n {
        let start = Ts(from.0 + i as i64 * HOUR);
        let text = start.to_string();
        let of_day = start.0.div_euclid(HOUR).rem_euclid(24);
        // A day's name where it begins, and at the left edge unless the next one is too near.
        if of_day == 0 || (i == 0 && of_day < 24 - 12) || (i == 0 && n < 13) {
            days.splice(i..i + 10, text[..10].chars());
        }
        if of_day % 6 == 0 {
            ruler.splice(i..i + 2, text[11..13].chars());
        }
    }
    let line = |chars: Vec<char>| chars.into_iter().collect::<String>().trim_end().to_owned();
    let _ = writeln!(out, "  {:<13} {}", "", paint.dim(&line(days)));
    let _ = writeln!(out, "  {:<13} {}", "", paint.dim(&line(ruler)));
    for s in group {
        let strip: String = s.hours.iter().map(|h| glyph(*h, paint)).collect();
        let _ = writeln!(out, "  {:<13} {strip}", s.topic.kind().to_string());
    }
}

fn glyph(hour: Hour, paint: Paint) -> String {
    match hour {
        Hour::Nothing => paint.dim("·"),
        Hour::Proven { part: false } => paint.good("█"),
        Hour::Proven { part: true } => paint.good("▄"),
        Hour::Live { part: false } => "▓".into(),
        Hour::Live { part: true } => "▒".into(),
        Hour::Hole => paint.bad("×"),
    }
}

fn legend(paint: Paint, out: &mut String) {
    let all = [
        (Hour::Proven { part: false }, "whole, proven"),
        (Hour::Proven { part: true }, "proven, part of the hour"),
        (Hour::Live { part: false }, "live only"),
        (Hour::Live { part: true }, "live only, part"),
        (Hour::Hole, "a hole in it"),
        (Hour::Nothing, "nothing"),
    ];
    let words: Vec<String> = all.iter().map(|(h, what)| format!("{} {what}", glyph(*h, paint))).collect();
    let _ = writeln!(out, "\n{}", words.join("   "));
}

/// What is open or lost, newest first.
fn told(group: &[Summary<'_>], paint: Paint, out: &mut String) {
    let mut worth: Vec<(String, &GapEntry)> = Vec::new();
    for s in group {
        let bad = s.newest_gaps().filter(|g| matches!(g.state, GapState::Open | GapState::Lost));
        worth.extend(bad.map(|g| (s.topic.kind().to_string(), g)));
    }
    worth.sort_by_key(|(_, g)| std::cmp::Reverse((g.state == GapState::Open, g.marked)));
    let more = worth.len().saturating_sub(GAPS_SHOWN);
    for (kind, g) in worth.into_iter().take(GAPS_SHOWN) {
        let state = if g.state == GapState::Open { paint.bad("open") } else { "lost".into() };
        let ids = match (g.from_id, g.to_id) {
            (0, _) => String::new(),
            (a, b) if a == b => format!("id {a}, "),
            (a, b) => format!("ids {a}–{b}, "),
        };
        let span = length(u64::try_from(g.to_ts.0 - g.from_ts.0).unwrap_or(0));
        let _ = writeln!(
            out,
            "  {} {kind}: {ids}{} ({span}), {}: {}",
            state,
            range(g.from_ts, g.to_ts),
            g.cause.as_str(),
            g.why
        );
    }
    if more > 0 {
        let _ = writeln!(out, "  {}", paint.dim(&format!("and {more} more open or lost gaps: --json tells each")));
    }
}

fn totals(all: &[Summary<'_>], paint: Paint, out: &mut String) {
    let count = |proof: Proof| all.iter().filter(|s| s.proof == proof).count();
    let instruments = all.chunk_by(|a, b| a.topic.subject() == b.topic.subject()).count();
    let missing: u64 = all.iter().filter_map(|s| s.missing).sum();
    let open: u64 = all.iter().map(|s| s.gaps.open).sum();
    let unexplained: u64 = all.iter().map(|s| s.unexplained).sum();
    let mut parts = vec![format!("{instruments} instruments, {} topics", all.len())];
    for proof in [Proof::ById, Proof::ByOverlap, Proof::LiveOnly] {
        if count(proof) > 0 {
            parts.push(format!("{} {}", count(proof), words(proof)));
        }
    }
    let holes = count(Proof::Hole);
    let bad = |n: u64, text: String| if n > 0 { paint.bad(&text) } else { text };
    parts.push(bad(holes as u64, format!("{holes} with holes")));
    parts.push(bad(missing, format!("{} ids missing", thousands(missing))));
    parts.push(bad(open, format!("{open} gaps open")));
    parts.push(bad(unexplained, format!("{unexplained} ids unexplained")));
    let _ = writeln!(out, "{}", parts.join(" · "));
}

/// Without the year; without the day where it is the same.
fn range(from: Ts, to: Ts) -> String {
    let (a, b) = (from.to_string(), to.to_string());
    if a[..10] == b[..10] {
        format!("{} {} → {}", &a[5..10], &a[11..19], &b[11..19])
    } else {
        format!("{} {} → {} {}", &a[5..10], &a[11..19], &b[5..10], &b[11..19])
    }
}

/// `0.4s`, `38m57s`, `5h02m`, `3d04h`
fn length(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    match s {
        0..10 => format!("{:.1}s", ns as f64 / 1e9),
        10..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_ranges_read_well() {
        let s = 1_000_000_000;
        for (ns, want) in [
            (0, "0.0s"),
            (450_000_000, "0.5s"),
            (59 * s, "59s"),
            (2_337 * s, "38m57s"),
            (18_120 * s, "5h02m"),
            (273_600 * s, "3d04h"),
        ] {
            assert_eq!(length(ns), want);
        }
        let day = 86_400 * s as i64;
        assert_eq!(range(Ts(0), Ts(5 * s as i64)), "01-01 00:00:00 → 00:00:05");
        assert_eq!(range(Ts(0), Ts(day)), "01-01 00:00:00 → 01-02 00:00:00");
    }
}
