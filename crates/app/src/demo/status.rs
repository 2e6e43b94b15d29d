//! One line that lives: rewritten in place on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::client::Figures;
use crate::verdict::report::{Paint, thousands};

/// Without a terminal, one line in so long.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Writes to stderr, so that stdout holds the verdict alone.
pub struct Status {
    terminal: bool,
    quiet: bool,
    paint: Paint,
    last_plain: Option<Instant>,
    last_rows: u64,
    last_at: Instant,
    rate: f64,
    drawn: bool,
}

impl Status {
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            terminal,
            quiet,
            paint: Paint(terminal && std::env::var_os("NO_COLOR").is_none()),
            last_plain: None,
            last_rows: 0,
            last_at: Instant::now(),
            rate: 0.0,
            drawn: false,
        }
    }

    /// What is going on now. `phase` is one word, `clock` how far it is.
    pub fn show(&mut self, phase: &str, clock: &str, figures: &Figures, faults: u64) {
        if self.quiet {
            return;
        }
        let passed = self.last_at.elapsed();
        if passed >= Duration::from_millis(900) {
            self.rate = figures.rows.saturating_sub(self.last_rows) as f64 / passed.as_secs_f64();
            (self.last_rows, self.last_at) = (figures.rows, Instant::now());
        }
        if !self.terminal {
            if self.last_plain.is_none_or(|at| at.elapsed() >= PLAIN_EVERY) {
                self.last_plain = Some(Instant::now());
                eprintln!("{}", self.text(phase, clock, figures, faults, Paint(false)));
            }
            return;
        }
        // One write: erase to the end of the line after the new text, so nothing flickers.
        let line = self.text(phase, clock, figures, faults, self.paint);
        let mut err = std::io::stderr().lock();
        drop(write!(err, "\r{line}\x1b[K"));
        drop(err.flush());
        self.drawn = true;
    }

    fn text(&self, phase: &str, clock: &str, f: &Figures, faults: u64, paint: Paint) -> String {
        let plain_books = format!("{}/{}", f.books_live, f.books);
        let books = if f.books_live == f.books { paint.good(&plain_books) } else { paint.bad(&plain_books) };
        let plain_open = format!("{} open", f.gaps_open);
        let open = if f.gaps_open == 0 { paint.good(&plain_open) } else { paint.bad(&plain_open) };
        // Plain and painted text of each part: what does not fit the terminal is left out whole, from the right, since a
        // wrapped line could not be rewritten in place.
        let rate = format!("({}/s)", thousands(self.rate as u64));
        let rows = thousands(f.rows);
        let parts = [
            (format!("{phase} {clock}"), format!("{} {clock}", paint.bold(phase))),
            (format!("  {rows} rows {rate}"), format!("  {rows} rows {}", paint.dim(&rate))),
            (format!("  books live {plain_books}"), format!("  books live {books}")),
            (format!("  gaps {} ({plain_open})", thousands(f.gaps)), format!("  gaps {} ({open})", thousands(f.gaps))),
            (format!("  faults {faults}"), format!("  faults {faults}")),
            (format!("  trades {}", thousands(f.trades)), format!("  trades {}", thousands(f.trades))),
        ];
        let (width, mut used, mut line) = (self.width(), 0, String::new());
        for (plain, painted) in parts {
            used += plain.chars().count();
            if used >= width {
                break;
            }
            line.push_str(&painted);
        }
        line
    }

    /// Columns of the terminal; no limit where there is none.
    fn width(&self) -> usize {
        if !self.terminal {
            return usize::MAX;
        }
        rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20))
    }

    /// A line that stays.
    pub fn say(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        self.clear();
        eprintln!("{text}");
    }

    /// Takes the live line away.
    pub fn clear(&mut self) {
        if self.drawn {
            eprint!("\r\x1b[K");
            self.drawn = false;
        }
    }
}
