//! One instrument, one reader: what the venue published against what was held and what was confessed.
//!
//! - Trades of the trade topic: equal as sets by id, with all fields. A confession does not excuse a missing one, unless the
//!   venue has no past trades to ask for ([`Wanted::trades_confessed`]): then held ∪ confessed = truth.
//! - The book: equal to the venue's at the same update id. Its deltas, and every other kind: held ∪ confessed = truth.
//! - Where updates have no number of the venue's (dYdX, Kraken), books are held against the truth by place (`places`), and what a subscription is
//!   answered with may say again what was told.
//! - Nothing invented, nothing twice, no gap without a verdict, seqs that partition.
//!
//! A confession is a mark `lost` with the ids, or else the time, that it covers. Its times are ours (receive) or the
//! venue's (event), whichever the line had, so an event counts as covered when its creation by either clock lies in the
//! interval, with [`SLACK_MS`] between clocks and no more. Over a recording the venue's clock is years away from ours:
//! there each end is held against the clock that it was read from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wholetape_model::{Decimal, InstrumentId, Kind, TradeId};
use wholetape_sim::BookText;
use wholetape_sim::truth::{AggTrade, InstrumentTruth, RawTrade, Stated};

use super::Wanted;
use super::facts::{self, Trade};
use super::places;
use super::seen::{Ladder, Seen, TopicSeen, topic_name};

/// Between the venue's moment of creation and the times in a mark.
pub const SLACK_MS: i64 = 250;
/// Clocks further apart than this are a recording's and ours, not two that disagree.
const YEARS_APART_NS: i64 = 3_600_000_000_000;
/// Ids listed per complaint.
pub const IDS_MAX: usize = 20;

/// What was published, held and confessed of one kind.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Count {
    pub truth: u64,
    pub held: u64,
    /// Not held, and a mark says so.
    #[serde(skip_serializing_if = "is_zero")]
    pub confessed: u64,
    /// Seconds that marks `lost` of this topic cover.
    #[serde(skip_serializing_if = "is_nothing")]
    pub confessed_s: f64,
    /// Not held, and nothing says so.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Held, and never published; or held with other content.
    #[serde(skip_serializing_if = "is_zero")]
    pub invented: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub twice: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub gaps: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub gaps_open: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub seq_faults: u64,
    /// Bounded lists: ids, or the start of what was published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invented_ids: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_nothing(n: &f64) -> bool {
    *n == 0.0
}

impl Count {
    pub fn whole(&self) -> bool {
        self.missing + self.invented + self.twice + self.gaps_open + self.seq_faults == 0
    }

    pub(super) fn miss(&mut self, what: impl FnOnce() -> String) {
        self.missing += 1;
        if self.missing_ids.len() < IDS_MAX {
            self.missing_ids.push(what());
        }
    }

    pub(super) fn invent(&mut self, what: impl FnOnce() -> String) {
        self.invented += 1;
        if self.invented_ids.len() < IDS_MAX {
            self.invented_ids.push(what());
        }
    }
}

/// One instrument as one reader saw it.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Compared {
    pub book_equal: bool,
    pub update_id: u64,
    pub kinds: BTreeMap<String, Count>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

impl Compared {
    pub fn whole(&self) -> bool {
        self.book_equal && self.why.is_empty() && self.kinds.values().all(Count::whole)
    }
}

/// When an event was created: by the machine's clock, and by the venue's (0 where it prints none).
#[derive(Debug, Clone, Copy)]
struct Born {
    wall_ns: u64,
    event_ms: i64,
}

/// What a topic confesses.
struct Confessed {
    ids: Vec<(u64, u64)>,
    times: Vec<(i64, i64)>,
}

impl Confessed {
    fn of(topic: &TopicSeen) -> Self {
        let (mut ids, mut times) = (Vec::new(), Vec::new());
        for gap in topic.lost() {
            if gap.from_id > 0 && gap.from_id <= gap.to_id {
                ids.push((gap.from_id, gap.to_id));
            } else {
                times.push((gap.from_ns, gap.to_ns));
            }
        }
        Self { ids, times }
    }

    fn id(&self, id: u64) -> bool {
        self.ids.iter().any(|(from, to)| (*from..=*to).contains(&id))
    }

    fn time(&self, born: Born) -> bool {
        let slack = SLACK_MS * 1_000_000;
        let wall = born.wall_ns as i64;
        let event = if born.event_ms > 0 { born.event_ms * 1_000_000 } else { wall };
        let apart = (wall - event).abs() > YEARS_APART_NS;
        self.times.iter().any(|(from, to)| {
            let (from, to) = (from - slack, to + slack);
            if apart {
                // Which clock an end was read from, its era tells.
                let by = |end: i64| if (end - wall).abs() < (end - event).abs() { wall } else { event };
                by(from) >= from && by(to) <= to
            } else {
                (from..=to).contains(&wall) || (from..=to).contains(&event)
            }
        })
    }

    /// Seconds covered, each once.
    fn seconds(topic: &TopicSeen) -> f64 {
        let mut spans: Vec<_> = topic.lost().map(|gap| (gap.from_ns, gap.to_ns)).collect();
        spans.sort_unstable();
        let (mut total, mut end) = (0_i64, i64::MIN);
        for (from, to) in spans.into_iter().filter(|(from, to)| to - from < YEARS_APART_NS) {
            total += (to - from.max(end)).max(0);
            end = end.max(to);
        }
        (total as f64 / 1e6).round() / 1e3
    }
}

/// A topic that nobody made counts as empty.
fn topic<'a>(seen: &'a Seen, kind: Kind, id: &InstrumentId, none: &'a TopicSeen) -> &'a TopicSeen {
    seen.topics.get(&topic_name(kind, id)).unwrap_or(none)
}

pub(super) fn base(topic: &TopicSeen) -> Count {
    Count {
        confessed_s: Confessed::seconds(topic),
        gaps: topic.gaps.len() as u64,
        gaps_open: topic.open_gaps().count() as u64,
        seq_faults: topic.broken_count,
        twice: topic.repeats.len() as u64,
        why: topic.broken.clone(),
        ..Count::default()
    }
}

pub(super) fn of_agg(t: &AggTrade) -> Option<Trade> {
    Some(Trade {
        id: t.id.into(),
        first_id: t.first_id,
        last_id: t.last_id,
        price: facts::number(&t.price)?,
        size: facts::number(&t.size)?,
        seller_took: Some(t.buyer_is_maker),
        time_ms: t.time_ms,
    })
}

/// What the venue calls it.
pub(super) fn id_of(t: &RawTrade) -> TradeId {
    // A name that is no id of ours is found nowhere.
    t.name.as_ref().and_then(|name| name.parse().ok()).unwrap_or_else(|| t.id.into())
}

pub(super) fn of_raw(t: &RawTrade) -> Option<Trade> {
    let id = id_of(t);
    // A UUID covers no numbers.
    let number = id.number().unwrap_or(0);
    Some(Trade {
        id,
        first_id: number,
        last_id: number,
        price: facts::number(&t.price)?,
        size: facts::number(&t.size)?,
        seller_took: Some(t.buyer_is_maker),
        time_ms: t.time_ms,
    })
}

/// `since_ns`: what was created before need not be held.
fn trades(
    truth: &BTreeMap<TradeId, (Option<Trade>, Born)>,
    topic: &TopicSeen,
    may_confess: bool,
    since_ns: u64,
) -> Count {
    let mut count = base(topic);
    let confessed = Confessed::of(topic);
    count.held = topic.trades.len() as u64;
    for (id, (trade, born)) in truth {
        if born.wall_ns < since_ns && !topic.trades.contains_key(id) {
            continue;
        }
        count.truth += 1;
        match topic.trades.get(id) {
            Some(held) if Some(*held) == *trade => {}
            Some(held) => count.invent(|| format!("{id}: held {held:?}, published {trade:?}")),
            None if may_confess && (id.number().is_some_and(|id| confessed.id(id)) || confessed.time(*born)) => {
                count.confessed += 1
            }
            None => count.miss(|| id.to_string()),
        }
    }
    for id in topic.trades.keys().filter(|id| !truth.contains_key(id)) {
        count.invent(|| id.to_string());
    }
    count
}

/// Facts with their times of creation, against what is held. `extra`: whether a fact may be held so many times more often.
fn stated(truth: &[(String, Born)], topic: &TopicSeen, extra: impl Fn(&str, u32) -> bool) -> Count {
    let mut count = base(topic);
    let confessed = Confessed::of(topic);
    count.truth = truth.len() as u64;
    count.held = told(topic);
    let mut published: BTreeMap<&str, Vec<Born>> = BTreeMap::new();
    for (fact, born) in truth {
        published.entry(fact).or_default().push(*born);
    }
    let (mut left, mut unheld) = (BTreeMap::new(), Vec::new());
    for (fact, rows) in &topic.facts {
        left.insert(fact.clone(), rows.clone());
    }
    for (fact, mut borns) in published.clone() {
        borns.sort_by_key(|born| born.wall_ns);
        let mut none = Vec::new();
        let rows = left.get_mut(fact).unwrap_or(&mut none);
        let mut without = without_row(&borns, rows);
        // Rows beyond what the clocks explain stand for some all the same; what is confessed needs none.
        without.sort_by_key(|born| (confessed.time(*born), born.wall_ns));
        let many = rows.len().min(without.len());
        rows.truncate(rows.len() - many);
        without.drain(..many);
        unheld.extend(without.into_iter().map(|born| (born.wall_ns, fact, born)));
    }
    unheld.sort_by_key(|(wall_ns, fact, _)| (*wall_ns, *fact));
    for (wall_ns, fact, born) in unheld {
        match confessed.time(born) {
            true => count.confessed += 1,
            false => count.miss(|| format!("{fact} at {wall_ns}")),
        }
    }
    for (fact, rows) in left.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        let n = rows.len() as u32;
        if extra(&fact, n) {
            continue;
        }
        if published.contains_key(fact.as_str()) {
            count.twice += u64::from(n);
        } else {
            count.invent(|| fact);
        }
    }
    count
}

/// Which of these times of one and the same text no row was received for, and takes the others' rows out. A row is of the newest that was
/// published before it: of two alike, the one in a confessed hole and the one behind it, the row is the second's. [`SLACK_MS`] between clocks.
fn without_row(published: &[Born], rows: &mut Vec<i64>) -> Vec<Born> {
    rows.iter_mut().filter(|at| **at == 0).for_each(|at| *at = i64::MAX);
    rows.sort_unstable();
    let mut unheld = Vec::new();
    for born in published.iter().rev() {
        match rows.last() {
            Some(at) if at.saturating_add(SLACK_MS * 1_000_000) >= born.wall_ns as i64 => _ = rows.pop(),
            _ => unheld.push(*born),
        }
    }
    unheld
}

/// Rows of a topic that are told as facts.
fn told(topic: &TopicSeen) -> u64 {
    topic.facts.values().map(|rows| rows.len() as u64).sum()
}

/// Update ids that some snapshot stands for: everything up to the first, and from each confessed hole up to the next.
fn deltas(truth: &InstrumentTruth, topic: &TopicSeen) -> Count {
    let mut count = base(topic);
    let confessed = Confessed::of(topic);
    let first = topic.book.snapshots.first().copied().unwrap_or(0);
    (count.truth, count.held) = (truth.depth.len() as u64, topic.book.deltas.len() as u64);
    let mut known = BTreeSet::new();
    // Ids that begin anew at a smaller number (OKX) do not tell what came before what: then their places do.
    let places: BTreeMap<u64, usize> = match truth.depth.iter().any(|event| event.last < event.previous) {
        true => truth.depth.iter().enumerate().map(|(at, event)| (event.last, at)).collect(),
        false => BTreeMap::new(),
    };
    let up_to = |id: u64, of: u64| match (places.get(&id), places.get(&of)) {
        (Some(at), Some(of)) => at <= of,
        // One that no push tells is the book of the beginning, or there are no places.
        (Some(_), None) => false,
        _ => id <= of,
    };
    for event in &truth.depth {
        known.insert(event.last);
        let digest = facts::digest(&facts::levels(&event.bids), &facts::levels(&event.asks));
        match topic.book.deltas.get(&event.last) {
            Some(held) if *held == digest => {}
            Some(_) => count.invent(|| format!("{}: other levels than published", event.last)),
            // A count that began anew is told by a snapshot.
            None if event.last < event.previous && topic.book.snapshots.contains(&event.last) => count.held += 1,
            // What was before the first snapshot is in it.
            None if up_to(event.last, first) => count.held += 1,
            None if topic.book.jumps.iter().any(|(after, to)| !up_to(event.last, *after) && up_to(event.last, *to)) => {
                count.held += 1
            }
            None if confessed.id(event.last)
                || confessed.time(Born { wall_ns: event.wall_ns, event_ms: event.event_ms }) =>
            {
                count.confessed += 1
            }
            None => count.miss(|| format!("{} to {}", event.first, event.last)),
        }
    }
    for id in topic.book.deltas.keys().filter(|id| !known.contains(id)) {
        count.invent(|| id.to_string());
    }
    count
}

/// Whether the reader's book is the venue's, and if not, what differs first.
fn book(truth: &InstrumentTruth, topic: &TopicSeen, deepest: &TopicSeen) -> Result<(), String> {
    let seen = &topic.book;
    if !seen.live {
        return Err("the book ends without being live".into());
    }
    let last = truth.final_book.as_ref().ok_or("the venue has no book")?;
    let newest = truth.depth.last().map_or(last.last_update_id, |event| event.last);
    if seen.update_id < newest {
        return Err(format!("the book ends at update {}, the venue's at {newest}", seen.update_id));
    }
    // A snapshot may carry a later id than the last diff, with the same levels.
    let venue = truth.book_at(seen.update_id).unwrap_or_else(|| last.clone());
    same(&seen.ladder, &venue, [deepest.book.deepest_bid, deepest.book.deepest_ask])
}

/// Whether a reader's book is the venue's, as deep as the reader can know.
pub(super) fn same(ours: &Ladder, venue: &BookText, [floor, roof]: [Option<Decimal>; 2]) -> Result<(), String> {
    let mut theirs = Ladder::default();
    theirs.apply(&facts::levels(&venue.bids), &facts::levels(&venue.asks));
    let mut ours = ours.clone();
    if let Some(floor) = floor {
        [&mut ours, &mut theirs].into_iter().for_each(|l| l.bids.retain(|p, _| p.0.cmp_value(floor).is_ge()));
    }
    if let Some(roof) = roof {
        [&mut ours, &mut theirs].into_iter().for_each(|l| l.asks.retain(|p, _| p.0.cmp_value(roof).is_le()));
    }
    if ours == theirs {
        return Ok(());
    }
    for (name, ours, theirs) in [("bid", &ours.bids, &theirs.bids), ("ask", &ours.asks, &theirs.asks)] {
        let differing = theirs.iter().find(|(p, s)| ours.get(p) != Some(s)).map(|(p, _)| p);
        if let Some(price) = differing.or_else(|| ours.keys().find(|p| !theirs.contains_key(p))) {
            let text =
                |side: &BTreeMap<_, wholetape_model::Decimal>| side.get(price).map_or("none".into(), |s| s.to_string());
            return Err(format!("{name} {}: held {}, the venue has {}", price.0, text(ours), text(theirs)));
        }
    }
    Err("the books differ".into())
}

fn parse(
    kind: wholetape_sim::Kind,
    all: &[Stated],
    not_told: &str,
    into: &mut BTreeMap<String, (Kind, Vec<(String, Born)>)>,
    why: &mut Vec<String>,
) {
    for one in all.iter().filter(|one| one.variant != not_told) {
        let payload = serde_json::from_str(&one.payload).unwrap_or_default();
        match facts::of_truth(kind, &one.variant, &payload) {
            Some(found) => {
                for (topic, fact) in found {
                    into.entry(topic.to_string())
                        .or_insert_with(|| (topic, Vec::new()))
                        .1
                        .push((fact, Born { wall_ns: one.wall_ns, event_ms: one.event_ms }));
                }
            }
            None => why.push(format!("the truth holds a {kind} that cannot be read")),
        }
    }
}

/// Facts of the kinds that are told as they are: by topic name, its kind, and each fact with its two times.
pub(super) fn others(
    truth: &InstrumentTruth,
    into: &mut BTreeMap<String, (Kind, Vec<(String, u64, i64)>)>,
    why: &mut Vec<String>,
) {
    let mut parsed = BTreeMap::new();
    each_other(truth, not_told(true), &mut parsed, why);
    into.extend(parsed.into_iter().map(|(name, (kind, all))| {
        (name, (kind, all.into_iter().map(|(fact, born)| (fact, born.wall_ns, born.event_ms)).collect()))
    }));
}

/// What stood at each message, whether that message said it or not: a new subscription is told so.
pub(super) fn standing(truth: &InstrumentTruth) -> BTreeSet<String> {
    let of = |one: &Stated| facts::standing(&serde_json::from_str(&one.payload).unwrap_or_default());
    truth.tickers.iter().flat_map(of).collect()
}

/// Kraken's statistics come by one of two streams, with best prices where these are wanted or after trades: the truth's variant of the other one.
const fn not_told(with_quotes: bool) -> &'static str {
    if with_quotes { "trades" } else { "bbo" }
}

fn each_other(
    truth: &InstrumentTruth,
    not_told: &str,
    into: &mut BTreeMap<String, (Kind, Vec<(String, Born)>)>,
    why: &mut Vec<String>,
) {
    use wholetape_sim::Kind as K;
    for (kind, all) in [
        (K::Kline, &truth.klines),
        (K::Ticker, &truth.tickers),
        (K::MarkPrice, &truth.marks),
        (K::ForceOrder, &truth.force_orders),
        (K::ContractInfo, &truth.status),
        (K::OpenInterest, &truth.open_interest),
    ] {
        parse(kind, all, not_told, into, why);
    }
    for (topic, fact, wall_ns, event_ms) in super::dydx::derived(truth).into_iter().chain(super::kraken::derived(truth))
    {
        let born = Born { wall_ns, event_ms };
        into.entry(topic.to_string()).or_insert_with(|| (topic, Vec::new())).1.push((fact, born));
    }
}

/// Compares one instrument. `tape` tells how deep the venue's snapshots go.
pub fn compare(truth: &InstrumentTruth, wanted: &Wanted, seen: &Seen, tape: &Seen) -> Compared {
    let (id, recorded) = (&wanted.id, &wanted.kinds);
    let none = TopicSeen::default();
    let mut out = Compared::default();
    let has = |kind: Kind| recorded.contains(&kind);
    // The backlog is truth too, as far back as it was promised.
    let since = truth.began_ns.saturating_sub(wanted.backlog.as_nanos() as u64);
    if has(Kind::Trade) {
        let published = match wanted.raw_source {
            false => truth
                .agg_trades
                .values()
                .map(|t| (t.id.into(), (of_agg(t), Born { wall_ns: t.wall_ns, event_ms: t.event_ms })))
                .collect(),
            true => truth
                .trades
                .values()
                .map(|t| (id_of(t), (of_raw(t), Born { wall_ns: t.wall_ns, event_ms: t.event_ms })))
                .collect(),
        };
        out.kinds.insert(
            "trade".into(),
            trades(&published, topic(seen, Kind::Trade, id, &none), wanted.trades_confessed, since),
        );
    }
    if has(Kind::TradeRaw) {
        let published = truth
            .trades
            .values()
            .map(|t| (id_of(t), (of_raw(t), Born { wall_ns: t.wall_ns, event_ms: t.event_ms })))
            .collect();
        out.kinds.insert(
            "trade-raw".into(),
            trades(&published, topic(seen, Kind::TradeRaw, id, &none), true, truth.began_ns),
        );
    }
    let again = restatements(wanted, topic(seen, Kind::Book, id, &none));
    if has(Kind::Quote) {
        let quotes: Vec<_> = truth
            .quotes
            .iter()
            .filter_map(|q| Some((facts::quote_of_truth(q)?, Born { wall_ns: q.wall_ns, event_ms: q.event_ms })))
            .collect();
        out.kinds
            .insert("quote".into(), stated(&quotes, topic(seen, Kind::Quote, id, &none), restated(&quotes, again)));
    }
    let mut others = BTreeMap::new();
    each_other(truth, not_told(has(Kind::Quote)), &mut others, &mut out.why);
    let standing = if wanted.restated { standing(truth) } else { BTreeSet::new() };
    for (name, (kind, published)) in others {
        if has(kind) && (kind != Kind::OpenInterest || wanted.interest_streamed) {
            // Definitions asked for over REST restate the status.
            let said_before = restated(&published, again);
            let extra =
                |fact: &str, n: u32| fact.starts_with("status ") || standing.contains(fact) || said_before(fact, n);
            let mut held = topic(seen, kind, id, &none);
            let untimed;
            if wanted.is_untimed(kind) {
                untimed = without_times(held);
                held = &untimed;
            }
            out.kinds.insert(name, stated(&published, held, extra));
        }
    }
    if has(Kind::OpenInterest) && !wanted.interest_streamed {
        out.kinds.insert("open_interest".into(), polled(truth, topic(seen, Kind::OpenInterest, id, &none)));
    }
    if has(Kind::Book) {
        let seen_book = topic(seen, Kind::Book, id, &none);
        let deepest = topic(tape, Kind::Book, id, &none);
        let (count, last) = match wanted.by_connection {
            true => (places::updates(truth, seen_book), places::book(truth, seen_book, deepest)),
            false => (deltas(truth, seen_book), book(truth, seen_book, deepest)),
        };
        out.kinds.insert("book".into(), count);
        out.update_id = seen_book.book.update_id;
        match last {
            Ok(()) => out.book_equal = true,
            Err(why) => out.why.push(why),
        }
    } else {
        out.book_equal = true;
    }
    out
}

/// How often a state may have been told again: with each snapshot of a book came those of the other streams, and now and then without
/// one; where no book is recorded nobody knows.
fn restatements(wanted: &Wanted, book: &TopicSeen) -> u32 {
    match wanted.by_connection {
        false => 0,
        true if wanted.kinds.contains(&Kind::Book) => 2 + 2 * places::wholes(book),
        true => u32::MAX,
    }
}

/// Whether a fact says again what was published, whenever that was.
fn restated(published: &[(String, Born)], again: u32) -> impl Fn(&str, u32) -> bool {
    let known: BTreeSet<String> = match again {
        0 => BTreeSet::new(),
        _ => published.iter().map(|(fact, _)| facts::untimed(fact)).collect(),
    };
    move |fact, n| n <= again && known.contains(&facts::untimed(fact))
}

/// The topic with facts that are not dated; some may have become alike.
fn without_times(topic: &TopicSeen) -> TopicSeen {
    let mut facts: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (fact, rows) in &topic.facts {
        facts.entry(facts::untimed(fact)).or_default().extend(rows);
    }
    TopicSeen { facts, ..topic.clone() }
}

/// Open interest is polled: what is held must have been published; not everything published is asked for.
fn polled(truth: &InstrumentTruth, topic: &TopicSeen) -> Count {
    let mut count = base(topic);
    let published: BTreeSet<String> = truth
        .open_interest
        .iter()
        .filter_map(|one| {
            facts::of_truth(wholetape_sim::Kind::OpenInterest, "", &serde_json::from_str(&one.payload).ok()?)
        })
        .flatten()
        .map(|(_, fact)| fact)
        .collect();
    count.truth = published.len() as u64;
    count.held = told(topic);
    // A restart may ask for the same value again.
    for fact in topic.facts.keys().filter(|fact| !published.contains(*fact)) {
        count.invent(|| fact.clone());
    }
    count
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
