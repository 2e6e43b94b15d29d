//! The verdict for people: one row an instrument, what is wrong in plain words, and one last line.

use std::fmt::Write as _;

use wholetape_model::Ts;

use super::compare::{Compared, Count};
use super::{Figures, Instrument, VenueVerdict, Verdict};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const OFF: &str = "\x1b[0m";
/// Complaints printed per instrument and reader.
const COMPLAINTS_MAX: usize = 6;

/// Colours, or none of them.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("{code}{text}{OFF}") } else { text.to_owned() }
    }
    pub fn bad(self, text: &str) -> String {
        self.with(RED, text)
    }
    pub fn good(self, text: &str) -> String {
        self.with(GREEN, text)
    }
    pub fn dim(self, text: &str) -> String {
        self.with(DIM, text)
    }
    pub fn bold(self, text: &str) -> String {
        self.with(BOLD, text)
    }
}

/// `2026-11-21 14:59:03`
pub fn day_time(ts: Ts) -> String {
    let text = ts.to_string();
    format!("{} {}", &text[..10], &text[11..19])
}

/// 1234567 → `1 234 567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

fn sum(compared: &Compared, of: impl Fn(&Count) -> u64) -> u64 {
    compared.kinds.values().map(of).sum()
}

fn kind<'a>(compared: &'a Compared, name: &str) -> Option<&'a Count> {
    compared.kinds.get(name)
}

fn cell(compared: &Compared, name: &str) -> String {
    kind(compared, name).map_or_else(|| "-".into(), |c| thousands(c.held.saturating_sub(c.invented)))
}

/// An id as it is; of a longer fact its beginning.
fn short(text: &str) -> String {
    if text.len() <= 60 { text.to_owned() } else { text.split(' ').take(2).collect::<Vec<_>>().join(" ") }
}

/// What is wrong with one instrument as one reader saw it, in words.
pub fn complaints(compared: &Compared) -> Vec<String> {
    let mut out: Vec<String> = compared.why.iter().map(|why| format!("book: {why}")).collect();
    for (name, c) in &compared.kinds {
        let mut say = |n: u64, what: &str, list: &[String]| {
            if n > 0 {
                let shown = list.iter().take(8).map(|one| short(one)).collect::<Vec<_>>().join(", ");
                let more = if n as usize > 8.min(list.len()) && !list.is_empty() { ", …" } else { "" };
                out.push(format!(
                    "{name}: {} {what}{}{shown}{more}",
                    thousands(n),
                    if list.is_empty() { "" } else { ": " }
                ));
            }
        };
        say(c.missing, "missing", &c.missing_ids);
        say(c.invented, "not as published", &c.invented_ids);
        say(c.twice, "twice", &[]);
        say(c.gaps_open, "gaps without a verdict", &[]);
        say(c.seq_faults, "faults of seq", &c.why);
    }
    out
}

/// The table and what is wrong.
pub fn table(verdict: &Verdict, paint: Paint) -> String {
    let mut out = String::new();
    let width = verdict.instruments.keys().map(|name| ends(name).chars().count()).max().unwrap_or(10).max(10);
    let head = format!(
        "{:width$} {:>9} {:>9} {:>9}  {:>9} {:>6} {:>9} {:>8} {:>6}  {}",
        "instrument", "published", "on tape", "client", "trades", "gaps", "confessed", "seconds", "book", "whole"
    );
    let _ = writeln!(out, "{}", paint.bold(&head));
    for venue in verdict.venues.keys() {
        for (name, one) in verdict.instruments.iter().filter(|(_, one)| one.venue == *venue) {
            let _ = writeln!(out, "{}", row(name, one, width, paint));
        }
    }
    for (name, one) in &verdict.instruments {
        for (who, side) in [("tape", &one.tape), ("client", &one.client)] {
            let all = complaints(side);
            for line in all.iter().take(COMPLAINTS_MAX) {
                let _ = writeln!(out, "  {} {name} {who}: {line}", paint.bad("✗"));
            }
            if all.len() > COMPLAINTS_MAX {
                let _ = writeln!(out, "    … and {} more", all.len() - COMPLAINTS_MAX);
            }
        }
    }
    for problem in &verdict.problems {
        let _ = writeln!(out, "  {} {problem}", paint.bad("✗"));
    }
    let _ = writeln!(out);
    for (name, venue) in &verdict.venues {
        let _ = writeln!(out, "{}", of_venue(name, venue, paint));
    }
    if !verdict.faults.is_empty() {
        let faults: Vec<_> = verdict.faults.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        let _ = writeln!(out, "\nfaults that happened: {}", wrap(&faults.join(", "), 100, "  "));
    }
    if let Some(figures) = &verdict.figures {
        let _ = writeln!(out, "\n{}", figures_text(figures));
    }
    out
}

/// The figures in words.
pub fn figures_text(f: &Figures) -> String {
    let mut out = format!(
        "cuts {}: events lost {} ({} per 1 000 cuts), twice {}, confessed {} ({} per 1 000 cuts) of {}",
        thousands(f.cuts),
        thousands(f.lost),
        f.lost_per_1000_cuts,
        thousands(f.duplicated),
        thousands(f.confessed),
        f.confessed_per_1000_cuts,
        thousands(f.events),
    );
    let b = &f.books;
    let _ = write!(
        out,
        "\nbooks: wrong and served as valid {} s; right {:.1} s, said not to be live {:.1} s, between two diffs {:.1} s",
        b.invalid_s,
        b.judged_s - b.invalid_s,
        b.not_live_s,
        b.unjudged_s
    );
    let r = &f.recovery;
    let _ = write!(
        out,
        "\ncut → whole again: p50 {} ms, p99 {} ms, max {} ms ({} cuts measured, {} not)",
        r.p50_ms, r.p99_ms, r.max_ms, r.measured, r.unmeasured
    );
    if let Some(a) = &f.all_closed {
        let _ = write!(
            out,
            "\n{} connections closed at once: {} of {} books valid again, half after {:.1} s, all after {:.1} s",
            a.connections, a.valid_again, a.books, a.half_valid_s, a.all_valid_s
        );
    }
    let _ = write!(
        out,
        "\nREST: {} book resyncs; {} calls for books and trades per cut of {} symbols",
        f.rest.resyncs, f.rest.calls_per_cut, f.rest.symbols_per_cut
    );
    for (venue, tally) in &f.rest.venues {
        let asked: Vec<String> = tally.requests.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let _ = write!(
            out,
            "\n  {venue}: {}; at most {} of {} weight in a minute; refused over the limit {}, by a fault {}, asked too early {}",
            asked.join(", "),
            tally.weight_peak,
            tally.weight_limit,
            tally.over_limit,
            tally.by_fault,
            tally.too_early
        );
    }
    out
}

fn row(name: &str, one: &Instrument, width: usize, paint: Paint) -> String {
    let t = &one.tape;
    let held = |c: &Compared| thousands(sum(c, |k| k.held).saturating_sub(sum(c, |k| k.invented)));
    let seconds = t.kinds.values().map(|c| c.confessed_s).fold(0.0, f64::max);
    let book = if t.book_equal && one.client.book_equal { "equal" } else { "DIFFER" };
    let whole = if one.complete { paint.good("yes") } else { paint.bad("NO") };
    format!(
        "{:width$} {:>9} {:>9} {:>9}  {:>9} {:>6} {:>9} {:>8.1} {book:>6}  {whole}",
        ends(name),
        thousands(sum(t, |k| k.truth)),
        held(t),
        held(&one.client),
        cell(t, "trade"),
        sum(t, |k| k.gaps),
        thousands(sum(t, |k| k.confessed)),
        seconds,
    )
}

/// A name of dYdX may hold an address: the table shows its ends.
fn ends(name: &str) -> String {
    const MAX: usize = 30;
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= MAX {
        return name.to_owned();
    }
    let (head, tail) = (&letters[..MAX / 2 - 1], &letters[letters.len() - MAX / 2..]);
    head.iter().chain(['…'].iter()).chain(tail).collect()
}

/// A venue in one line.
fn of_venue(name: &str, venue: &VenueVerdict, paint: Paint) -> String {
    let whole = if venue.complete { paint.good("whole") } else { paint.bad("NOT WHOLE") };
    let VenueVerdict { instruments, published, trades, trades_confessed, .. } = *venue;
    let trades = match trades_confessed {
        0 => format!("{} trades, none lost", thousands(trades)),
        lost => format!(
            "{} of {} trades lost and confessed: no request brings them back there",
            thousands(lost),
            thousands(trades)
        ),
    };
    let trades = if venue.complete { trades } else { "see above".into() };
    format!(
        "{name:13} {whole}  {instruments} instrument{}, {} published; {trades}",
        if instruments == 1 { "" } else { "s" },
        thousands(published)
    )
}

/// Breaks at spaces.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split_inclusive(", ") {
        if column + word.len() > width {
            out.push('\n');
            out.push_str(indent);
            column = 0;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

/// The last line.
pub fn last_line(verdict: &Verdict, paint: Paint) -> String {
    let lost: u64 = verdict.venues.values().map(|venue| venue.trades_confessed).sum();
    if verdict.complete && lost > 0 {
        let lost = thousands(lost);
        paint.good(&format!(
            "complete: true — everything published is held or confessed; every trade is held but {lost} that no request brings back, every book equal"
        ))
    } else if verdict.complete {
        paint.good("complete: true — everything published is held or confessed; every trade is held, every book equal")
    } else {
        paint.bad("complete: false — see above what is missing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_are_readable() {
        assert_eq!(
            (thousands(0), thousands(999), thousands(1_234_567)),
            ("0".into(), "999".into(), "1 234 567".into())
        );
        assert_eq!(wrap("aa, bb, cc", 6, "> "), "aa, \n> bb, cc".to_owned());
        assert_eq!(Paint(false).bad("x"), "x");
        assert_eq!(ends("BTC-USD-PERP.DYDX"), "BTC-USD-PERP.DYDX");
        let long = ends("OWL%2CRAY%2C4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM-USD-PERP.DYDX");
        assert_eq!((long.as_str(), long.chars().count()), ("OWL%2CRAY%2C4u…M-USD-PERP.DYDX", 30));
    }

    #[test]
    fn a_venue_says_what_nobody_brings_back() {
        let mut venue = VenueVerdict { trades: 1_200, published: 9_000, instruments: 2, ..VenueVerdict::begin() };
        assert_eq!(
            of_venue("okx", &venue, Paint(false)),
            "okx           whole  2 instruments, 9 000 published; 1 200 trades, none lost"
        );
        venue.trades_confessed = 31;
        assert!(of_venue("bybit-spot", &venue, Paint(false)).contains("31 of 1 200 trades lost and confessed"));
        venue.complete = false;
        assert!(of_venue("okx", &venue, Paint(false)).contains("NOT WHOLE"));
    }

    #[test]
    fn complaints_name_ids() {
        let mut compared = Compared { book_equal: true, ..Compared::default() };
        let count = Count { missing: 2, missing_ids: vec!["7".into(), "9".into()], ..Count::default() };
        compared.kinds.insert("trade".into(), count);
        assert_eq!(complaints(&compared), ["trade: 2 missing: 7, 9"]);
        assert!(!compared.whole());
    }
}
