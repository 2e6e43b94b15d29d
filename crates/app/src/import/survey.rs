//! A file against what is held, before anything is written: the whole file is read once, so that one which is torn at its end heals
//! nothing, and it is known what is missing and which gaps that concerns.

use wholetape_model::{Body, Period, Ts};
use wholetape_venue::archive::{Data, Row};

use super::file::{self, Shape};
use super::find::Found;
use super::held::Held;

/// Stretches of one file that are remembered.
const STRETCHES_MAX: usize = 1 << 20;

/// Rows of the archive, one behind the other, that are not held: keys and venue times of the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub lo: u64,
    pub hi: u64,
    pub from: Ts,
    pub to: Ts,
    pub rows: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    pub shape: Shape,
    /// First and last key.
    pub ends: Option<(u64, u64)>,
    pub missing: Vec<Stretch>,
    /// Ids between its rows that the archive does not have.
    pub skipped: Vec<(u64, u64)>,
    /// Keys that are held and not in the archive, though it has others on both sides (bars: of its day).
    pub extra: Vec<(u64, u64)>,
    /// Rows whose key is held, and how many of them cover other ids than their own.
    pub held: u64,
    pub held_aggregated: u64,
    /// Where bars of the day are not in the archive.
    pub bar_holes: Vec<(Ts, Ts)>,
}

/// # Errors
/// As [`file::each_row`]; a file in too many pieces; `stop`.
pub fn survey(
    found: &Found,
    held: Option<&Held>,
    progress: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Survey> {
    let span = found.named.span;
    let bars = match found.named.data {
        Data::Klines(period) => Some(length(period)),
        _ => None,
    };
    let (mut missing, mut skipped, mut extra): (Vec<Stretch>, Vec<(u64, u64)>, Vec<(u64, u64)>) = Default::default();
    let mut bar_holes = Vec::new();
    let (mut ends, mut last_missing, mut count): (Option<(u64, u64)>, bool, u64) = (None, false, 0);
    let (mut held_rows, mut held_aggregated) = (0, 0);
    let between = |lo: u64, hi: u64, extra: &mut Vec<(u64, u64)>| {
        if lo <= hi {
            extra.extend(held.iter().flat_map(|h| h.held(lo, hi)));
        }
    };
    let day = |ts: Ts| u64::try_from(ts.0).unwrap_or(0);
    let shape = file::each_row(found, &mut |row: &Row| {
        count += 1;
        if count.is_multiple_of(65_536) {
            anyhow::ensure!(!stop(), "stopped");
            progress(count);
        }
        match (ends.map(|e| e.1), bars) {
            (Some(before), None) if before + 1 < row.key => {
                skipped.push((before + 1, row.key - 1));
                between(before + 1, row.key - 1, &mut extra);
            }
            (_, None) => {}
            (before, Some(length)) => {
                let from = before.map_or(day(span.from), |b| b.saturating_add(1));
                between(from, row.key.saturating_sub(1), &mut extra);
                let due = before.map_or(day(span.from), |b| b.saturating_add(length.unwrap_or(0)));
                if length.is_some() && due < row.key {
                    bar_holes.push((Ts(due as i64), Ts(row.key as i64)));
                }
            }
        }
        ends = Some((ends.map_or(row.key, |e| e.0), row.key));
        if held.is_some_and(|h| h.has(row.key)) {
            held_rows += 1;
            if let Body::Trade(t) = row.event.body {
                held_aggregated += u64::from(t.id != t.first_id || t.id != t.last_id);
            }
            last_missing = false;
            return Ok(());
        }
        let ts = row.event.ts_event;
        match missing.last_mut().filter(|_| last_missing) {
            Some(stretch) => {
                (stretch.hi, stretch.rows) = (row.key, stretch.rows + 1);
                (stretch.from, stretch.to) = (stretch.from.min(ts), stretch.to.max(ts));
            }
            None => missing.push(Stretch { lo: row.key, hi: row.key, from: ts, to: ts, rows: 1 }),
        }
        last_missing = true;
        let pieces = missing.len() + skipped.len() + extra.len();
        anyhow::ensure!(pieces < STRETCHES_MAX, "{} is in too many pieces", found.name());
        Ok(())
    })?;
    if let (Some(length), Some((_, last))) = (bars, ends) {
        between(last.saturating_add(1), day(span.to).saturating_sub(1), &mut extra);
        let due = last.saturating_add(length.unwrap_or(0));
        if length.is_some() && due < day(span.to) {
            bar_holes.push((Ts(due as i64), span.to));
        }
    }
    Ok(Survey { shape, ends, missing, skipped, extra, held: held_rows, held_aggregated, bar_holes })
}

/// Nanoseconds of a period; `None` for months, which differ.
fn length(period: Period) -> Option<u64> {
    let seconds = match period.unit {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        b'w' => 604_800,
        _ => return None,
    };
    Some(u64::from(period.count) * seconds * 1_000_000_000)
}
