//! The book that the line's rows make, followed for its hashes: what is proven is what the tape would hold.

use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};
use wholetape_book::{BookConfig, BookError, OrderBook, SpliceStats};
use wholetape_model::book_rule::Checksum;
use wholetape_model::{Book, BookAction, BookRule, Decimal, Level, Levels, Scales, Side, Ts};

/// One depth channel's book, rebuilt from rows.
pub struct BookPath {
    rule: BookRule,
    book: OrderBook,
    path: Sha256,
    last_id: Option<u64>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct BookReport {
    pub deltas_seen: u64,
    pub deltas_applied: u64,
    pub deltas_discarded_old: u64,
    pub sequence_gaps: u64,
    pub final_update_id: Option<u64>,
    /// Price and size as the venue printed them, best first.
    pub final_bids_top10: Vec<[String; 2]>,
    pub final_asks_top10: Vec<[String; 2]>,
    pub best_path_sha256: String,
    pub final_book_sha256: String,
    pub checksums_checked: u64,
    pub checksums_failed: u64,
}

impl BookPath {
    pub fn new(rule: BookRule) -> Self {
        let book = OrderBook::new(BookConfig::default().levels_max);
        Self { rule, book, path: Sha256::new(), last_id: None }
    }

    /// One row of the book's topic.
    pub fn row(&mut self, row: &Book<Levels<'_>>, scales: Scales, ts_event: Ts) -> Result<(), BookError> {
        match row.action {
            BookAction::Checkpoint => return Ok(()),
            BookAction::Snapshot => {
                self.book.replace(row.bids, row.asks, scales)?;
                // One that the stream brought is an update among others.
                if !self.rule.chain.is_anchored() {
                    self.step(row, ts_event);
                }
            }
            BookAction::Delta => {
                self.book.apply(row.bids, row.asks, scales)?;
                self.step(row, ts_event);
            }
        }
        // Where there are no ids, there is no last one.
        self.last_id = (row.last_id > 0).then_some(row.last_id);
        Ok(())
    }

    /// An update of the path. Without an id its time stands for it, or where the venue proves each (Kraken) the checksum of the book that it
    /// leads to; the first version's snapshots had none.
    fn step(&mut self, row: &Book<Levels<'_>>, ts_event: Ts) {
        let id = match (row.last_id, self.rule.checksum) {
            (0, Some(Checksum::AsksBids10)) if row.action == BookAction::Snapshot => "None".to_owned(),
            (0, Some(rule @ Checksum::AsksBids10)) => self.book.checksum(rule).to_string(),
            (0, _) => ts_event.millis().to_string(),
            (id, _) => id.to_string(),
        };
        let best = |l: Option<Level>| l.map_or(String::new(), |l| plain(self.book.scales().price(l.price)));
        self.path.update(format!("{id}|{}|{}\n", best(self.book.best_bid()), best(self.book.best_ask())));
    }

    pub fn book(&self) -> &OrderBook {
        &self.book
    }

    /// `with_zeros`: the venue prints every level with as many digits.
    pub fn report(&self, stats: &SpliceStats, with_zeros: bool) -> BookReport {
        BookReport {
            deltas_seen: stats.deltas_seen,
            deltas_applied: stats.deltas_applied,
            deltas_discarded_old: stats.deltas_discarded_old,
            sequence_gaps: stats.sequence_gaps,
            final_update_id: self.last_id,
            final_bids_top10: self.top10(Side::Buy, with_zeros),
            final_asks_top10: self.top10(Side::Sell, with_zeros),
            best_path_sha256: hex(self.path.clone()),
            final_book_sha256: self.final_hash(),
            checksums_checked: stats.checksums_checked,
            checksums_failed: stats.checksums_failed,
        }
    }

    fn top10(&self, side: Side, with_zeros: bool) -> Vec<[String; 2]> {
        let mut levels = Vec::new();
        self.book.top(side, 10, &mut levels);
        let (have, printed) = (self.book.scales(), self.book.printed_scales());
        let text = |d: Decimal, scale: u8| match with_zeros {
            true => d.rescale(scale).unwrap_or(d).to_string(),
            false => plain(d),
        };
        levels
            .iter()
            .map(|l| [text(have.price(l.price), printed.price), text(have.size(l.size), printed.size)])
            .collect()
    }

    fn final_hash(&self) -> String {
        let mut hash = Sha256::new();
        for (side, tag) in [(Side::Buy, 'b'), (Side::Sell, 'a')] {
            let mut levels = Vec::new();
            self.book.all(side, &mut levels);
            for l in levels {
                let (price, size) = (self.book.scales().price(l.price), self.book.scales().size(l.size));
                hash.update(format!("{tag}|{}|{}\n", plain(price), plain(size)));
            }
        }
        hex(hash)
    }
}

/// Without trailing zeros and without exponent.
fn plain(d: Decimal) -> String {
    d.canonical().to_string()
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}
