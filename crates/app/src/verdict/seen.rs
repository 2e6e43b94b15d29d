//! What one reader saw of every topic: rows in order of seq, gaps with their last word, and whether seqs were a partition.
//!
//! The same for the tape's fresh reader and for the client of the public protocol, so that both are judged by one rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use wholetape_model::{Decimal, Kind, Topic, TradeId};
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

use super::facts::{self, Gap, Item, Level, Trade};
use super::figures::TOP;

/// More complaints than this of one topic are counted and not spelled out.
const COMPLAINTS_MAX: usize = 8;
/// Sides of a REST snapshot that are cut off: what lies deeper is known to nobody who asks there.
const SNAPSHOT_LIMITS: [usize; 4] = [100, 500, 1000, 5000];
/// A stream's book that REST's hundred levels mended has them and what it knew below. Of those near the hundredth some may have gone
/// while REST was asked: so many are surely all that there are.
const MENDED: usize = 100;
const SURE: usize = 80;

/// A book by price.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    pub bids: BTreeMap<Price, Decimal>,
    pub asks: BTreeMap<Price, Decimal>,
}

/// A decimal that orders by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price(pub Decimal);

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp_value(other.0)
    }
}

impl Ladder {
    pub fn apply(&mut self, bids: &[Level], asks: &[Level]) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for (price, size) in levels {
                if size.is_zero() {
                    side.remove(&Price(*price));
                } else {
                    side.insert(Price(*price), *size);
                }
            }
        }
    }
}

impl Ladder {
    /// A digest of the best `n` levels a side.
    pub fn top(&self, n: usize) -> u64 {
        let bids: Vec<Level> = self.bids.iter().rev().take(n).map(|(p, s)| (p.0, *s)).collect();
        let asks: Vec<Level> = self.asks.iter().take(n).map(|(p, s)| (p.0, *s)).collect();
        facts::digest(&bids, &asks)
    }
}

/// What a reader believed of a book from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The reader's clock, ns since the epoch.
    pub at_ns: i64,
    pub live: bool,
    pub update_id: u64,
    /// The digest of the best levels; `None` where a snapshot was cut off too near.
    pub top: Option<u64>,
}

/// A change of who delivers a topic, and of whether it is whole: no gap open, the book live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    pub at_ns: i64,
    /// Our number of the connection.
    pub conn: u32,
    pub whole: bool,
}

/// What a reader was told of a book, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// An update, by the digest of its levels.
    Update(u64),
    Whole,
    /// A mark that updates were lost.
    Lost,
}

/// One book as its reader would hold it.
#[derive(Debug, Clone, Default)]
pub struct BookSeen {
    pub ladder: Ladder,
    pub update_id: u64,
    pub live: bool,
    pub snapshots: Vec<u64>,
    /// The worst prices of the last snapshot whose sides were cut off by the venue's limit.
    pub deepest_bid: Option<Decimal>,
    pub deepest_ask: Option<Decimal>,
    /// Update ids that a snapshot in the middle of the stream stands for: `(after, up to]`.
    pub jumps: Vec<(u64, u64)>,
    /// Update id → digest of the levels.
    pub deltas: BTreeMap<u64, u64>,
    pub told: Vec<Told>,
    /// The price of the last snapshot's level [`SURE`], where it has [`MENDED`] and more: bids, then asks.
    pub deep: [Option<Decimal>; 2],
    /// Times of the records that are snapshots; of a tape alone.
    pub snapshots_ns: Vec<i64>,
    /// Everything that was believed, in order.
    pub moments: Vec<Moment>,
}

impl BookSeen {
    /// Notes what is believed from `at_ns` on.
    pub fn believe(&mut self, at_ns: i64) {
        let top = self.judged_top();
        let now = Moment { at_ns, live: self.live, update_id: self.update_id, top };
        let same = |last: &Moment| (last.live, last.update_id, last.top) == (now.live, now.update_id, now.top);
        if !self.moments.last().is_some_and(same) {
            self.moments.push(now);
        }
    }

    /// The best levels, where they are known to be all there are.
    fn judged_top(&self) -> Option<u64> {
        let bids = self.deepest_bid.is_none_or(|floor| {
            self.ladder.bids.keys().rev().nth(TOP - 1).is_some_and(|price| price.0.cmp_value(floor).is_ge())
        });
        let asks = self.deepest_ask.is_none_or(|roof| {
            self.ladder.asks.keys().nth(TOP - 1).is_some_and(|price| price.0.cmp_value(roof).is_le())
        });
        (bids && asks).then(|| self.ladder.top(TOP))
    }
}

/// One topic as its reader saw it.
#[derive(Debug, Clone, Default)]
pub struct TopicSeen {
    /// Records and messages.
    pub rows: u64,
    /// The first range began after this seq.
    pub start: u64,
    /// The last seq.
    pub last: u64,
    /// Seqs that overlap, leave a hole or cannot be read.
    pub broken: Vec<String>,
    pub broken_count: u64,
    pub trades: BTreeMap<TradeId, Trade>,
    /// Ids of trades and of book updates that came more than once.
    pub repeats: Vec<TradeId>,
    pub book: BookSeen,
    /// When the record at hand was received; 0: unknown.
    pub at: i64,
    /// Fact → when it was received, each time.
    pub facts: BTreeMap<String, Vec<i64>>,
    /// By gap number, its marks in order.
    pub gaps: BTreeMap<u64, Vec<Gap>>,
    /// Numbers of gaps whose last mark is `open`.
    pub open: BTreeSet<u64>,
    /// Of trade topics and books of a tape.
    pub beats: Vec<Beat>,
}

/// All topics of one reader.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub topics: BTreeMap<String, TopicSeen>,
    /// What was wrong beside any topic.
    pub errors: Vec<String>,
}

impl TopicSeen {
    pub fn complain(&mut self, text: impl FnOnce() -> String) {
        self.broken_count += 1;
        if self.broken.len() < COMPLAINTS_MAX {
            self.broken.push(text());
        }
    }

    /// A record or message that covers `(prev, seq]`.
    pub fn covers(&mut self, prev: u64, seq: u64) {
        if self.rows == 0 && self.last == 0 {
            self.start = prev;
        } else if prev != self.last {
            let last = self.last;
            self.complain(|| format!("({prev}, {seq}] does not follow {last}"));
        }
        if seq <= prev {
            self.complain(|| format!("({prev}, {seq}] is empty"));
        }
        self.last = seq;
    }

    pub fn take(&mut self, item: Item) {
        self.rows += 1;
        match item {
            Item::Trade(trade) => {
                if self.trades.insert(trade.id, trade).is_some() {
                    self.repeats.push(trade.id);
                }
            }
            Item::Snapshot { id, bids, asks } => {
                let cut =
                    |side: &[Level]| SNAPSHOT_LIMITS.contains(&side.len()).then(|| side.last().map(|l| l.0)).flatten();
                let book = &mut self.book;
                let sure = |side: &[Level]| (side.len() >= MENDED).then(|| side[SURE - 1].0);
                book.deep = [sure(&bids), sure(&asks)];
                book.told.push(Told::Whole);
                (book.deepest_bid, book.deepest_ask) = (cut(&bids), cut(&asks));
                book.ladder = Ladder::default();
                book.ladder.apply(&bids, &asks);
                book.update_id = id;
                // A client that comes before the first book is told an empty one, of no update.
                if id > 0 {
                    book.snapshots.push(id);
                }
            }
            Item::Delta { id, bids, asks } => {
                self.book.ladder.apply(&bids, &asks);
                self.book.update_id = id;
                let digest = facts::digest(&bids, &asks);
                self.book.told.push(Told::Update(digest));
                if self.book.deltas.insert(id, digest).is_some() {
                    self.repeats.push(id.into());
                }
            }
            Item::Fact(fact) => self.facts.entry(fact).or_default().push(self.at),
            Item::Gap(gap) => {
                if gap.state == "lost" {
                    self.book.told.push(Told::Lost);
                }
                if gap.state == "open" {
                    self.open.insert(gap.gap);
                } else {
                    self.open.remove(&gap.gap);
                }
                self.gaps.entry(gap.gap).or_default().push(gap);
            }
            Item::Validity { live } => self.book.live = live,
            Item::Retract(of) => self.complain(|| format!("seq {of} was withdrawn")),
            Item::Other => {}
        }
    }

    /// Takes out what was received, and keeps what the next record needs: position, book, open gaps, complaints.
    pub fn drain(&mut self) -> Self {
        let book = &mut self.book;
        Self {
            trades: std::mem::take(&mut self.trades),
            repeats: std::mem::take(&mut self.repeats),
            facts: std::mem::take(&mut self.facts),
            gaps: std::mem::take(&mut self.gaps),
            book: BookSeen {
                snapshots: std::mem::take(&mut book.snapshots),
                jumps: std::mem::take(&mut book.jumps),
                deltas: std::mem::take(&mut book.deltas),
                told: std::mem::take(&mut book.told),
                moments: std::mem::take(&mut book.moments),
                ..BookSeen::default()
            },
            ..Self::default()
        }
    }

    /// A record of the tape that is no mark and came in its time.
    fn beat(&mut self, at_ns: i64, conn: u32, book: bool) {
        let whole = self.open.is_empty() && (self.book.live || !book);
        if self.beats.last().is_none_or(|last| (last.conn, last.whole) != (conn, whole)) {
            self.beats.push(Beat { at_ns, conn, whole });
        }
    }

    /// Gaps that nobody has given a verdict.
    pub fn open_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.values().filter_map(|marks| marks.last()).filter(|gap| gap.state == "open")
    }

    /// Marks that say `lost`.
    pub fn lost(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.values().flatten().filter(|gap| gap.state == "lost")
    }
}

/// Reads a whole tape with a fresh reader, after everybody else has let go of it.
///
/// # Errors
/// When the tape cannot be opened or a topic cannot be read.
pub fn read_tape(dir: &Path) -> anyhow::Result<Seen> {
    let tape = Tape::open_reader(dir)?;
    let mut seen = Seen::default();
    let mut batch = Vec::new();
    for state in tape.topics() {
        let topic = &state.topic;
        if !spoken_of(topic.kind()) {
            continue;
        }
        let options = ReaderOptions { verify: true, ..ReaderOptions::default() };
        let mut reader = tape.reader(topic, From::Seq(0), options)?;
        let mut one = TopicSeen::default();
        while reader.poll_next(&mut batch, 4096) > 0 {
            for delivery in batch.drain(..) {
                match delivery {
                    Delivery::Record(shared) => {
                        let record = shared.record();
                        one.covers(record.prev(), record.seq());
                        let at = record.ts_recv().0;
                        one.at = at;
                        let (book, in_time) = (topic.kind() == Kind::Book, !record.flags().is_late());
                        match facts::of_record(&record) {
                            Some(item) => {
                                if book && matches!(item, Item::Snapshot { .. }) {
                                    one.book.snapshots_ns.push(at);
                                }
                                one.take(item);
                                if book {
                                    one.book.believe(at);
                                }
                                if (book || topic.kind() == Kind::Trade) && in_time && !record.is_mark() {
                                    one.beat(at, record.conn(), book);
                                }
                            }
                            None => one.complain(|| format!("seq {} cannot be read", record.seq())),
                        }
                    }
                    Delivery::Missed { from, to, why } => {
                        one.complain(|| format!("seqs {from} to {to} are missing: {}", why.as_str()));
                        one.last = to;
                    }
                    Delivery::Disconnected { .. } => one.complain(|| "the reader was cut off".into()),
                }
            }
        }
        if one.last != state.head {
            let (last, head) = (one.last, state.head);
            one.complain(|| format!("readable up to {last}, the head is {head}"));
        }
        seen.topics.insert(topic.as_str().to_owned(), one);
    }
    Ok(seen)
}

/// Whether the venue's truth speaks of topics of this kind. Definitions are asked for over REST and not part of it.
pub const fn spoken_of(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Trade
            | Kind::TradeRaw
            | Kind::Quote
            | Kind::Ticker
            | Kind::Book
            | Kind::Bar(_)
            | Kind::Funding
            | Kind::Mark
            | Kind::Index
            | Kind::OpenInterest
            | Kind::Liquidation
            | Kind::Status
    )
}

/// The topic of one kind of one instrument.
pub fn topic_name(kind: Kind, instrument: &wholetape_model::InstrumentId) -> String {
    Topic::new(kind, instrument).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(id: u64) -> Item {
        let one = Decimal::new(1, 0);
        Item::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: one,
            size: one,
            seller_took: None,
            time_ms: 1,
        })
    }

    #[test]
    fn a_hole_an_overlap_and_a_repeat_are_named() {
        let mut t = TopicSeen::default();
        for (prev, seq, id) in [(0, 1, 10), (1, 2, 11), (3, 4, 12), (3, 5, 12)] {
            t.covers(prev, seq);
            t.take(trade(id));
        }
        assert_eq!((t.broken_count, t.repeats.as_slice()), (2, &[12.into()][..]));
        assert!(t.broken[0].contains("(3, 4] does not follow 2"), "{:?}", t.broken);
    }

    #[test]
    fn books_follow_their_levels() {
        let mut ladder = Ladder::default();
        let l = |p: i64, s: i64| (Decimal::new(p, 1), Decimal::new(s, 0));
        ladder.apply(&[l(100, 1), l(99, 2)], &[l(101, 3)]);
        ladder.apply(&[(Decimal::new(10, 0), Decimal::new(0, 2))], &[]);
        let bids: Vec<_> = ladder.bids.keys().map(|p| p.0).collect();
        assert_eq!(bids, [Decimal::new(99, 1)]);
    }
}
