//! The report: JSON with the keys of the truth files, or a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::books::BookReport;
use super::tally::{Counts, Funding, Id, LiquidationsReport, OpenInterest, TradesReport};

#[derive(Debug, Serialize)]
pub struct Report {
    pub file: String,
    pub lines: u64,
    /// `@trade`, by symbol.
    pub trades: BTreeMap<String, TradesReport>,
    /// `@aggTrade`, by symbol.
    pub agg_trades: BTreeMap<String, TradesReport>,
    pub ticker_updates: Counts,
    pub candle_updates: Counts,
    pub funding: BTreeMap<String, Funding>,
    pub liquidations: BTreeMap<String, LiquidationsReport>,
    pub open_interest: BTreeMap<String, OpenInterest>,
    /// By symbol; by `connection|channel:symbol` where a symbol's depth came more than once.
    pub books: BTreeMap<String, BookReport>,
    pub unknown_frames: u64,
    pub errors: u64,
    /// Quality findings: flagged rows are kept and counted, never dropped.
    pub findings: u64,
}

impl Report {
    pub fn new(path: &Path, lines: u64) -> Self {
        Self {
            file: path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            lines,
            trades: BTreeMap::new(),
            agg_trades: BTreeMap::new(),
            ticker_updates: Counts::new(),
            candle_updates: Counts::new(),
            funding: BTreeMap::new(),
            liquidations: BTreeMap::new(),
            open_interest: BTreeMap::new(),
            books: BTreeMap::new(),
            unknown_frames: 0,
            errors: 0,
            findings: 0,
        }
    }

    /// A readable table.
    pub fn table(&self) -> String {
        let mut s = String::new();
        let _ = writeln!(
            s,
            "{} · {} lines · {} unknown frames · {} errors · {} findings",
            self.file, self.lines, self.unknown_frames, self.errors, self.findings
        );
        for (title, trades) in [("trades (@trade)", &self.trades), ("trades (@aggTrade)", &self.agg_trades)] {
            if trades.is_empty() {
                continue;
            }
            let mut t = Table::new(&[title, "count", "size", "price × size", "first id", "last id", "gaps", "repeats"]);
            for (symbol, r) in trades {
                let text = |id: Option<u64>| id.map_or_else(|| "–".to_owned(), |v| v.to_string());
                let id = |id: &Option<Id>| id.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string);
                t.row(vec![
                    symbol.clone(),
                    r.count.to_string(),
                    r.sum_size.clone(),
                    r.sum_price_x_size.clone(),
                    id(&r.first_id),
                    id(&r.last_id),
                    text(r.id_gaps),
                    r.id_repeats.to_string(),
                ]);
            }
            s.push_str(&t.print());
        }
        if !self.books.is_empty() {
            let mut t = Table::new(&[
                "books", "deltas", "applied", "old", "gaps", "last id", "best bid", "best ask", "path", "book",
            ]);
            for (symbol, b) in &self.books {
                let best = |side: &Vec<[String; 2]>| {
                    side.first().map_or_else(|| "–".to_owned(), |l| format!("{} × {}", l[0], l[1]))
                };
                t.row(vec![
                    symbol.clone(),
                    b.deltas_seen.to_string(),
                    b.deltas_applied.to_string(),
                    b.deltas_discarded_old.to_string(),
                    b.sequence_gaps.to_string(),
                    b.final_update_id.map_or_else(|| "no snapshot".to_owned(), |v| v.to_string()),
                    best(&b.final_bids_top10),
                    best(&b.final_asks_top10),
                    b.best_path_sha256[..8].to_owned(),
                    b.final_book_sha256[..8].to_owned(),
                ]);
            }
            s.push_str(&t.print());
        }
        let mut t = Table::new(&["other", "updates", "first", "last"]);
        for (symbol, f) in &self.funding {
            let text = |v: &Option<String>| v.clone().unwrap_or_else(|| "–".into());
            t.row(vec![format!("{symbol} funding"), f.updates.to_string(), text(&f.first_rate), text(&f.last_rate)]);
            t.row(vec![format!("{symbol} mark price"), f.updates.to_string(), text(&f.first_mark), text(&f.last_mark)]);
        }
        for (symbol, l) in &self.liquidations {
            t.row(vec![format!("{symbol} liquidations"), l.count.to_string(), String::new(), l.sum_size.clone()]);
        }
        for (symbol, o) in &self.open_interest {
            t.row(vec![format!("{symbol} open interest"), o.updates.to_string(), o.first.clone(), o.last.clone()]);
        }
        for (symbol, n) in &self.ticker_updates {
            t.row(vec![format!("{symbol} quotes"), n.to_string(), String::new(), String::new()]);
        }
        for (symbol, n) in &self.candle_updates {
            t.row(vec![format!("{symbol} bars"), n.to_string(), String::new(), String::new()]);
        }
        if !t.is_empty() {
            s.push_str(&t.print());
        }
        s
    }
}

/// Columns as wide as their widest cell; the first is text, the others are numbers.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|h| (*h).to_owned()).collect()] }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    fn print(&self) -> String {
        let columns = self.rows[0].len();
        let width = |c: usize| self.rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut s = String::from("\n");
        for (n, row) in self.rows.iter().enumerate() {
            for (c, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[c] - cell.chars().count());
                let _ = if c == 0 { write!(s, "{cell}{pad}") } else { write!(s, "  {pad}{cell}") };
            }
            while s.ends_with(' ') {
                s.pop();
            }
            s.push('\n');
            if n == 0 {
                s.push_str(&"─".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1)));
                s.push('\n');
            }
        }
        s
    }
}
