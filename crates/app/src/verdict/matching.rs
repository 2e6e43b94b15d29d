//! Truth and rows held against each other while both go on, with no more in memory than what has not met its twin yet.
//!
//! The same rules as `compare`, for runs that are too long to be judged at their end. What the venue published waits for the
//! row, and a row waits for its truth; what waited longer than `PATIENCE` is confessed, or missing, or invented. A row that
//! comes twice finds no truth the second time, and so counts as invented.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use wholetape_model::{Kind, TradeId};
use wholetape_sim::truth::InstrumentTruth;

use super::compare::SLACK_MS;
use super::facts::{self, Gap};
use super::figures::TOP;
use super::seen::{Ladder, Moment, TopicSeen};
use super::{Wanted, compare};

/// What is not held after this long is not on its way any more.
pub const PATIENCE_NS: i64 = 120_000_000_000;
/// Confessions and books are remembered for longer than anything waits.
const MEMORY_NS: i64 = 4 * PATIENCE_NS;
const TOPS_MAX: usize = 20_000;
const EXAMPLES_MAX: usize = 20;

/// Sums over everything compared so far.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Sums {
    pub published: u64,
    pub held: u64,
    pub confessed: u64,
    pub missing: u64,
    /// Never published, published otherwise, or twice.
    pub invented: u64,
    pub waiting: u64,
    pub gaps_open: u64,
    pub seq_faults: u64,
    pub invalid_book_s: f64,
    pub judged_book_s: f64,
    pub examples: Vec<String>,
}

impl Sums {
    pub fn whole(&self) -> bool {
        self.published > 0
            && self.missing + self.invented + self.waiting + self.gaps_open + self.seq_faults == 0
            && self.invalid_book_s == 0.0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// When something was created, by the machine's clock and the venue's.
#[derive(Debug, Clone, Copy)]
struct Born {
    wall_ns: i64,
    event_ms: i64,
}

/// One thing without its twin.
#[derive(Debug, Clone)]
struct Waiting {
    value: u64,
    born: Born,
    count: u32,
}

/// One topic of one instrument.
#[derive(Debug, Default)]
struct Pair {
    truth: HashMap<u64, Waiting>,
    rows: HashMap<u64, Waiting>,
    lost: Vec<Gap>,
    first_snapshot: Option<u64>,
    jumps: Vec<(u64, u64)>,
}

/// One instrument.
pub struct Matcher {
    wanted: Wanted,
    pairs: BTreeMap<Kind, Pair>,
    /// What stood when the venue spoke, and when that was: a new subscription may be told so.
    stood: HashMap<u64, i64>,
    ladder: Option<Ladder>,
    tops: HashMap<u64, u64>,
    order: VecDeque<u64>,
    moment: Option<Moment>,
}

fn hashed(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A number is its own key, so that gaps which name ids confess it.
fn key_of(id: TradeId) -> u64 {
    id.number().unwrap_or_else(|| hashed(id))
}

fn of_trade(trade: &facts::Trade) -> u64 {
    hashed(format!("{trade:?}"))
}

impl Matcher {
    pub fn new(wanted: Wanted) -> Self {
        // Where open interest is polled, its rows are no partner of its truth.
        let streamed = wanted.interest_streamed;
        let kinds = wanted.kinds.iter().copied().filter(|kind| streamed || *kind != Kind::OpenInterest);
        let pairs = kinds.map(|kind| (kind, Pair::default())).collect();
        Self {
            wanted,
            pairs,
            stood: HashMap::new(),
            ladder: None,
            tops: HashMap::new(),
            order: VecDeque::new(),
            moment: None,
        }
    }

    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What the venue published.
    pub fn published(&mut self, told: &InstrumentTruth, sums: &mut Sums) {
        let raw_source = self.wanted.raw_source;
        let name = self.wanted.symbol.clone();
        if !raw_source {
            for t in told.agg_trades.values() {
                let value = compare::of_agg(t).as_ref().map_or(0, of_trade);
                self.truth(Kind::Trade, t.id, value, t.wall_ns, t.event_ms, sums);
            }
        }
        let raw = if raw_source { Kind::Trade } else { Kind::TradeRaw };
        for t in told.trades.values() {
            let value = compare::of_raw(t).as_ref().map_or(0, of_trade);
            self.truth(raw, key_of(compare::id_of(t)), value, t.wall_ns, t.event_ms, sums);
        }
        for q in &told.quotes {
            match facts::quote_of_truth(q) {
                Some(fact) => self.truth(Kind::Quote, hashed(fact), 0, q.wall_ns, q.event_ms, sums),
                None => sums.example(|| format!("{name}: a quote of the truth cannot be read")),
            }
        }
        if self.wanted.restated {
            let at = told.tickers.last().map_or(0, |one| one.wall_ns as i64);
            self.stood.extend(compare::standing(told).into_iter().map(|fact| (hashed(fact), at)));
        }
        let mut others = BTreeMap::new();
        compare::others(told, &mut others, &mut sums.examples);
        for (_, (kind, all)) in others {
            for (fact, wall_ns, event_ms) in all {
                self.truth(kind, hashed(fact), 0, wall_ns, event_ms, sums);
            }
        }
        for base in &told.books {
            // The books at the start; the last ones repeat what the diffs have told.
            if self.ladder.is_none() {
                let mut ladder = Ladder::default();
                ladder.apply(&facts::levels(&base.bids), &facts::levels(&base.asks));
                self.remember(base.last_update_id, ladder.top(TOP));
                self.ladder = Some(ladder);
            }
        }
        for event in &told.depth {
            let (bids, asks) = (facts::levels(&event.bids), facts::levels(&event.asks));
            self.truth(Kind::Book, event.last, facts::digest(&bids, &asks), event.wall_ns, event.event_ms, sums);
            if let Some(ladder) = &mut self.ladder {
                ladder.apply(&bids, &asks);
                let top = ladder.top(TOP);
                self.remember(event.last, top);
            }
        }
    }

    fn remember(&mut self, update_id: u64, top: u64) {
        self.tops.insert(update_id, top);
        self.order.push_back(update_id);
        if self.order.len() > TOPS_MAX
            && let Some(old) = self.order.pop_front()
        {
            self.tops.remove(&old);
        }
    }

    fn truth(&mut self, kind: Kind, key: u64, value: u64, wall_ns: u64, event_ms: i64, sums: &mut Sums) {
        let Some(pair) = self.pairs.get_mut(&kind) else { return };
        sums.published += 1;
        let born = Born { wall_ns: wall_ns as i64, event_ms };
        let symbol = &self.wanted.symbol;
        meet(&mut pair.rows, &mut pair.truth, key, value, born, || format!("{symbol} {kind}"), sums);
    }

    /// What a reader received of one topic since the last call.
    pub fn received(&mut self, kind: Kind, seen: TopicSeen, now_ns: i64, sums: &mut Sums) {
        let untimed = self.wanted.is_untimed(kind);
        let Some(pair) = self.pairs.get_mut(&kind) else { return };
        let born = Born { wall_ns: now_ns, event_ms: 0 };
        let symbol = &self.wanted.symbol;
        let name = || format!("{symbol} {kind}");
        pair.lost.extend(seen.gaps.into_values().flatten().filter(|gap| gap.state == "lost"));
        pair.first_snapshot = pair.first_snapshot.or(seen.book.snapshots.first().copied());
        pair.jumps.extend(seen.book.jumps);
        for (id, trade) in &seen.trades {
            meet(&mut pair.truth, &mut pair.rows, key_of(*id), of_trade(trade), born, name, sums);
        }
        for id in &seen.repeats {
            sums.invented += 1;
            sums.example(|| format!("{} {id} came twice", name()));
        }
        for (id, digest) in &seen.book.deltas {
            meet(&mut pair.truth, &mut pair.rows, *id, *digest, born, name, sums);
        }
        for (fact, times) in &seen.facts {
            for _ in times {
                let fact = if untimed { hashed(facts::untimed(fact)) } else { hashed(fact) };
                meet(&mut pair.truth, &mut pair.rows, fact, 0, born, name, sums);
            }
        }
        if kind == Kind::Book {
            self.believed(&seen.book.moments, sums);
        }
    }

    fn believed(&mut self, moments: &[Moment], sums: &mut Sums) {
        for next in moments {
            if let Some(one) = self.moment.replace(*next).filter(|one| one.live)
                && let (Some(ours), Some(theirs)) = (one.top, self.tops.get(&one.update_id))
            {
                let seconds = (next.at_ns - one.at_ns).max(0) as f64 / 1e9;
                sums.judged_book_s += seconds;
                if ours != *theirs {
                    sums.invalid_book_s += seconds.max(0.001);
                    sums.example(|| format!("{} book: wrong at update {}", self.wanted.symbol, one.update_id));
                }
            }
        }
    }

    /// Judges what has waited too long; `at_end` everything.
    pub fn expire(&mut self, now_ns: i64, at_end: bool, sums: &mut Sums) {
        let (symbol, confessed) = (&self.wanted.symbol, self.wanted.trades_confessed);
        let stood = &self.stood;
        for (kind, pair) in &mut self.pairs {
            let old = |born: Born| at_end || now_ns - born.wall_ns > PATIENCE_NS;
            let (lost, first, jumps) = (&pair.lost, pair.first_snapshot.unwrap_or(0), &pair.jumps);
            pair.truth.retain(|key, one| {
                let count = u64::from(one.count);
                if *kind == Kind::Book && (*key <= first || jumps.iter().any(|(after, to)| key > after && key <= to)) {
                    // A snapshot stands for it.
                    sums.held += count;
                    return false;
                }
                if !old(one.born) {
                    return true;
                }
                let by_id = matches!(kind, Kind::Book | Kind::TradeRaw).then_some(*key);
                if (*kind != Kind::Trade || confessed) && lost.iter().any(|gap| covers(gap, by_id, one.born)) {
                    sums.confessed += count;
                } else {
                    sums.missing += count;
                    sums.example(|| format!("{symbol} {kind} {key} of {} is missing", one.born.wall_ns));
                }
                false
            });
            pair.rows.retain(|key, one| {
                // Definitions asked for over REST restate the status.
                if *kind == Kind::Status {
                    return false;
                }
                if old(one.born) && stood.contains_key(key) {
                    return false;
                }
                if old(one.born) {
                    sums.invented += u64::from(one.count);
                    sums.example(|| format!("{symbol} {kind} {key} was never published, or twice"));
                    return false;
                }
                true
            });
            pair.lost.retain(|gap| now_ns - gap.to_ns < MEMORY_NS);
        }
        self.stood.retain(|_, at| now_ns - *at < MEMORY_NS);
    }

    pub fn waiting(&self) -> u64 {
        self.pairs.values().map(|pair| (pair.truth.len() + pair.rows.len()) as u64).sum()
    }
}

fn covers(gap: &Gap, id: Option<u64>, born: Born) -> bool {
    if gap.from_id > 0 && gap.from_id <= gap.to_id {
        return id.is_some_and(|id| (gap.from_id..=gap.to_id).contains(&id));
    }
    let slack = SLACK_MS * 1_000_000;
    let range = gap.from_ns - slack..=gap.to_ns + slack;
    range.contains(&born.wall_ns) || born.event_ms > 0 && range.contains(&(born.event_ms * 1_000_000))
}

/// Finds the twin among `there`, or waits `here`.
fn meet(
    there: &mut HashMap<u64, Waiting>,
    here: &mut HashMap<u64, Waiting>,
    key: u64,
    value: u64,
    born: Born,
    name: impl Fn() -> String,
    sums: &mut Sums,
) {
    if let Some(twin) = there.get_mut(&key) {
        if twin.value == value {
            sums.held += 1;
        } else {
            sums.invented += 1;
            sums.example(|| format!("{} {key} is not as published", name()));
        }
        twin.count -= 1;
        if twin.count == 0 {
            there.remove(&key);
        }
        return;
    }
    here.entry(key).and_modify(|one| one.count += 1).or_insert(Waiting { value, born, count: 1 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::facts::Item;
    use wholetape_model::InstrumentId;
    use wholetape_sim::truth::RawTrade;

    fn matcher() -> Matcher {
        Matcher::new(Wanted {
            venue: "v".into(),
            symbol: "AB".into(),
            id: InstrumentId::new("AB", "BINANCE"),
            kinds: vec![Kind::TradeRaw],
            raw_source: false,
            interest_streamed: false,
            undated: false,
            restated: false,
            trades_confessed: false,
            by_connection: false,
            backlog: std::time::Duration::ZERO,
        })
    }

    fn published(ids: &[u64]) -> InstrumentTruth {
        let one = |id: u64| RawTrade {
            name: None,
            event_ms: 1,
            id,
            price: "1.5".into(),
            size: "2".into(),
            time_ms: 7,
            buyer_is_maker: true,
            source: None,
            wall_ns: id * 1_000_000_000,
        };
        let mut truth = InstrumentTruth::default();
        truth.trades = ids.iter().map(|id| (*id, one(*id))).collect();
        truth
    }

    fn received(ids: &[u64], price: &str) -> TopicSeen {
        let mut seen = TopicSeen::default();
        for id in ids {
            seen.take(Item::Trade(facts::Trade {
                id: (*id).into(),
                first_id: *id,
                last_id: *id,
                price: facts::number(price).unwrap(),
                size: facts::number("2").unwrap(),
                seller_took: Some(true),
                time_ms: 7,
            }));
        }
        seen
    }

    #[test]
    fn twins_meet_whoever_comes_first() {
        let (mut m, mut sums) = (matcher(), Sums::default());
        m.published(&published(&[1, 2]), &mut sums);
        m.received(Kind::TradeRaw, received(&[2, 3], "1.50"), 0, &mut sums);
        m.published(&published(&[3]), &mut sums);
        m.received(Kind::TradeRaw, received(&[1], "1.5"), 0, &mut sums);
        assert_eq!((sums.published, sums.held, m.waiting()), (3, 3, 0));
    }

    #[test]
    fn the_missing_the_confessed_the_wrong_and_the_repeated_are_told_apart() {
        let (mut m, mut sums) = (matcher(), Sums::default());
        m.published(&published(&[1, 2, 3, 4]), &mut sums);
        let mut seen = received(&[3], "9");
        seen.take(Item::Gap(Gap {
            gap: 1,
            state: "lost".into(),
            cause: "down".into(),
            from_id: 2,
            to_id: 2,
            from_ns: 0,
            to_ns: 0,
        }));
        m.received(Kind::TradeRaw, seen, 0, &mut sums);
        m.received(Kind::TradeRaw, received(&[4], "1.5"), 0, &mut sums);
        m.received(Kind::TradeRaw, received(&[4], "1.5"), 0, &mut sums);
        m.expire(4_000_000_000, false, &mut sums);
        assert_eq!((sums.missing, sums.confessed), (0, 0), "they may still come");
        m.expire(PATIENCE_NS + 5_000_000_000, false, &mut sums);
        assert_eq!((sums.held, sums.confessed, sums.missing, sums.invented), (1, 1, 1, 2), "{:?}", sums.examples);
        assert!(!sums.whole());
    }
}
