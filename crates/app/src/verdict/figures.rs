//! Figures that people lose money on, computed from outside: what a cut cost, how long it took, and whether a wrong book was
//! ever served as a right one.
//!
//! - **Lost**: published, not held, and no mark says so. **Confessed**: not held, and a mark `lost` says so; quotes and other
//!   states that were published while no socket was there cannot be had again.
//! - **Invalid book**: at each moment that a book claimed to be live, its ten best levels a side are held against the venue's
//!   book at the same update id. The time until the reader's next news of the book counts as wrong when they differ. A
//!   snapshot whose id lies inside a diff is compared with nothing, since no truth tells that moment: it counts as unjudged.
//! - **Recovery**: from the venue's cut to the first row over another connection, with the book live and no gap open, of the
//!   slowest trade topic or book of that connection. It includes the wait for the market's next event.

use std::collections::BTreeMap;

use serde::Serialize;
use wholetape_model::Kind;
use wholetape_sim::truth::{InstrumentTruth, Truth};
use wholetape_sim::{FaultKind, RestTally};

use super::facts;
use super::seen::{Beat, Ladder, Moment, Seen, TopicSeen, topic_name};
use super::{Verdict, Wanted};

/// Levels a side that a moment of a book is judged by.
pub const TOP: usize = 10;

/// The block `figures` of the verdict.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Figures {
    /// Connections that the venues cut, by faults or at the end of their life.
    pub cuts: u64,
    pub events: u64,
    pub lost: u64,
    pub confessed: u64,
    pub duplicated: u64,
    pub lost_per_1000_cuts: f64,
    pub confessed_per_1000_cuts: f64,
    pub books: Books,
    pub recovery: Recovery,
    /// After most connections were closed at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_closed: Option<AllClosed>,
    pub rest: Rest,
}

/// All connections closed at once → every book valid again, as the client saw it.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct AllClosed {
    pub connections: u64,
    /// Books that were not live after it.
    pub books: u64,
    /// Of these, those that became live again, and when half and all of them were.
    pub valid_again: u64,
    pub half_valid_s: f64,
    pub all_valid_s: f64,
}

/// Cuts within this many ns are one.
const AT_ONCE_NS: i64 = 50_000_000;
/// So many at once are a venue's doing.
const MANY: usize = 3;

/// Finds the moment at which the most connections were closed, and what became of the books.
fn all_closed(cuts: &[i64], watched: &Seen) -> Option<AllClosed> {
    let mut cuts = cuts.to_vec();
    cuts.sort_unstable();
    let group = |at: usize| cuts[at..].partition_point(|ns| ns - cuts[at] <= AT_ONCE_NS);
    let (at, count) = (0..cuts.len()).map(|at| (at, group(at))).max_by_key(|(at, n)| (*n, usize::MAX - at))?;
    let mut out = AllClosed { connections: count as u64, ..AllClosed::default() };
    let mut back = Vec::new();
    for topic in watched.topics.values() {
        let after = &topic.book.moments[topic.book.moments.partition_point(|m| m.at_ns <= cuts[at])..];
        let Some(down) = after.iter().position(|m| !m.live) else { continue };
        out.books += 1;
        back.extend(after[down..].iter().find(|m| m.live).map(|m| (m.at_ns - cuts[at]) as f64 / 1e9));
    }
    back.sort_by(f64::total_cmp);
    out.valid_again = back.len() as u64;
    out.half_valid_s = back.get(back.len() / 2).copied().map_or(0.0, rounded);
    out.all_valid_s = back.last().copied().map_or(0.0, rounded);
    (count >= MANY && count * 2 > cuts.len() && out.books > 0).then_some(out)
}

/// Seconds of all books together.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Books {
    /// Claimed to be live, and judged.
    pub judged_s: f64,
    /// Claimed to be live, and differed.
    pub invalid_s: f64,
    pub unjudged_s: f64,
    /// Said to be not live.
    pub not_live_s: f64,
}

/// Cut → whole again.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Recovery {
    pub measured: u64,
    /// Cuts after which the market said nothing more, or of streams that are no trades and no books.
    pub unmeasured: u64,
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

/// What was asked over REST in this run.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Rest {
    /// Snapshots that books were made from.
    pub resyncs: u64,
    /// Symbols of a cut connection, on average.
    pub symbols_per_cut: f64,
    /// Requests for books and trades after cuts, per cut.
    pub calls_per_cut: f64,
    pub venues: BTreeMap<String, RestTally>,
}

/// When the run began, ns: earlier cuts and rows of the same folder are not counted. `rest` is since then.
pub fn figures(
    truth: &Truth,
    wanted: &[Wanted],
    tape: &Seen,
    watched: &Seen,
    verdict: &Verdict,
    rest: BTreeMap<String, RestTally>,
    since_ns: i64,
) -> Figures {
    let mut out = Figures::default();
    for one in verdict.instruments.values() {
        for (name, count) in &one.tape.kinds {
            out.events += count.truth;
            // Open interest is polled: what was not asked for is not lost.
            out.lost += if name == "open_interest" { 0 } else { count.missing };
            out.confessed += count.confessed;
        }
        out.duplicated +=
            one.tape.kinds.values().chain(one.client.kinds.values()).map(|count| count.twice).sum::<u64>();
    }
    let cuts: Vec<_> =
        truth.faults.iter().filter(|fault| is_cut(fault.kind) && fault.wall_ns as i64 >= since_ns).collect();
    out.cuts = cuts.len() as u64;
    let per_1000 = |n: u64| if cuts.is_empty() { 0.0 } else { rounded(n as f64 * 1000.0 / cuts.len() as f64) };
    (out.lost_per_1000_cuts, out.confessed_per_1000_cuts) = (per_1000(out.lost), per_1000(out.confessed));
    for one in wanted.iter().filter(|one| one.kinds.contains(&Kind::Book)) {
        let known = truth.venues.get(&one.venue).and_then(|venue| venue.instruments.get(&one.symbol));
        if let (Some(known), Some(seen)) = (known, watched.topics.get(&topic_name(Kind::Book, &one.id))) {
            out.books.add(judge_book(known, &seen.book.moments));
        }
    }
    out.books = out.books.rounded();
    let at: Vec<i64> = cuts.iter().map(|cut| cut.wall_ns as i64).collect();
    out.all_closed = all_closed(&at, watched);
    let mut times = Vec::new();
    let mut symbols = 0;
    for cut in &cuts {
        symbols += cut
            .what
            .split(' ')
            .map(|stream| subject(stream).map(|(symbol, _)| symbol))
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        match recovery(&cut.venue, &cut.what, cut.wall_ns as i64, wanted, tape) {
            Some(ns) => times.push(ns),
            None => out.recovery.unmeasured += 1,
        }
    }
    times.sort_unstable();
    let at = |share: f64| {
        times.get(((times.len() as f64 * share).ceil() as usize).saturating_sub(1)).map_or(0, |ns| ns / 1_000_000)
    };
    out.recovery.measured = times.len() as u64;
    (out.recovery.p50_ms, out.recovery.p99_ms, out.recovery.max_ms) = (at(0.5), at(0.99), at(1.0));
    let resyncs = |t: &TopicSeen| t.book.snapshots_ns.iter().filter(|ns| **ns >= since_ns).count() as u64;
    out.rest.resyncs = tape.topics.values().map(resyncs).sum();
    if !cuts.is_empty() {
        let healing = [
            "depth",
            "aggTrades",
            "trades",
            "historicalTrades",
            "market/history-trades",
            "market/trades",
            "trades/perpetualMarket",
            "orderbooks/perpetualMarket",
            "Trades",
        ];
        let calls: u64 = rest.values().flat_map(|t| healing.iter().filter_map(|name| t.requests.get(*name))).sum();
        out.rest.symbols_per_cut = rounded(symbols as f64 / cuts.len() as f64);
        out.rest.calls_per_cut = rounded(calls as f64 / cuts.len() as f64);
    }
    out.rest.venues = rest;
    out
}

/// The machine's clock.
pub fn wall_ns() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

pub const fn is_cut(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::CutReset | FaultKind::CutClose | FaultKind::PlannedClose)
}

impl Books {
    fn add(&mut self, other: Self) {
        self.judged_s += other.judged_s;
        self.invalid_s += other.invalid_s;
        self.unjudged_s += other.unjudged_s;
        self.not_live_s += other.not_live_s;
    }

    fn rounded(self) -> Self {
        Self {
            judged_s: rounded(self.judged_s),
            invalid_s: rounded(self.invalid_s),
            unjudged_s: rounded(self.unjudged_s),
            not_live_s: rounded(self.not_live_s),
        }
    }
}

/// The venue's ten best levels at every update id that its truth tells.
pub fn tops(truth: &InstrumentTruth) -> BTreeMap<u64, u64> {
    let mut tops = BTreeMap::new();
    let mut ladder = Ladder::default();
    let mut bases = truth.bases().into_iter().peekable();
    for (at, event) in truth.depth.iter().enumerate() {
        while let Some((_, base)) = bases.next_if(|(place, _)| *place <= at) {
            ladder = Ladder::default();
            ladder.apply(&facts::levels(&base.bids), &facts::levels(&base.asks));
            tops.insert(base.last_update_id, ladder.top(TOP));
        }
        ladder.apply(&facts::levels(&event.bids), &facts::levels(&event.asks));
        tops.insert(event.last, ladder.top(TOP));
    }
    for (_, base) in bases {
        ladder = Ladder::default();
        ladder.apply(&facts::levels(&base.bids), &facts::levels(&base.asks));
        tops.insert(base.last_update_id, ladder.top(TOP));
    }
    tops
}

fn judge_book(truth: &InstrumentTruth, moments: &[Moment]) -> Books {
    let tops = tops(truth);
    let mut books = Books::default();
    for pair in moments.windows(2) {
        let [one, next] = pair else { continue };
        let seconds = (next.at_ns - one.at_ns).max(0) as f64 / 1e9;
        match (one.live, one.top, tops.get(&one.update_id)) {
            (false, ..) => books.not_live_s += seconds,
            (true, Some(ours), Some(theirs)) => {
                books.judged_s += seconds;
                if ours != *theirs {
                    // A wrong book that was replaced within the same clock tick was served all the same.
                    books.invalid_s += seconds.max(0.001);
                }
            }
            (true, ..) => books.unjudged_s += seconds,
        }
    }
    books
}

/// Symbol and channel of a stream: `btcusdt@trade` of Binance, `trades-all:BTC-USDT` of OKX, `v4_trades:BTC-USD` of dYdX,
/// `orderbook.200.BTCUSDT` of Bybit.
fn subject(stream: &str) -> Option<(&str, &str)> {
    let turned = |(channel, symbol)| (symbol, channel);
    let by_colon = || stream.split_once(':').map(turned);
    stream.split_once('@').or_else(by_colon).or_else(|| stream.rsplit_once('.').map(turned))
}

/// Time from a cut of these streams until everything of them is whole again.
fn recovery(venue: &str, streams: &str, cut_ns: i64, wanted: &[Wanted], tape: &Seen) -> Option<u64> {
    let mut worst = None;
    for stream in streams.split(' ') {
        let Some((symbol, channel)) = subject(stream) else { continue };
        let symbol = symbol.to_uppercase();
        let Some(one) = wanted.iter().find(|one| one.venue == venue && one.symbol == symbol) else { continue };
        let kind = match channel.split('@').next() {
            Some("depth" | "books" | "v4_orderbook") => Kind::Book,
            Some(channel) if channel.starts_with("orderbook.") && channel != "orderbook.1" => Kind::Book,
            Some(channel) if channel.starts_with("book-") => Kind::Book,
            Some("aggTrade") if !one.raw_source => Kind::Trade,
            Some("trade" | "trades-all" | "v4_trades" | "publicTrade") if one.raw_source => Kind::Trade,
            _ => continue,
        };
        let beats = &tape.topics.get(&topic_name(kind, &one.id))?.beats;
        let whole = match first_whole(beats, cut_ns) {
            Some(whole) => whole,
            // A quiet market may trade no more; its book moves on, or nothing does.
            None if kind == Kind::Trade => continue,
            None => return None,
        };
        worst = worst.max(Some((whole - cut_ns).max(0) as u64));
    }
    worst
}

/// When the topic spoke again over another connection than before, whole.
fn first_whole(beats: &[Beat], cut_ns: i64) -> Option<i64> {
    let after = beats.partition_point(|beat| beat.at_ns <= cut_ns);
    let before = after.checked_sub(1).map(|at| beats[at].conn);
    beats[after..].iter().find(|beat| beat.whole && Some(beat.conn) != before).map(|beat| beat.at_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_sim::BookText;
    use wholetape_sim::truth::DepthEvent;

    fn levels(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(p, s)| ((*p).to_owned(), (*s).to_owned())).collect()
    }

    fn truth() -> InstrumentTruth {
        let base = BookText { last_update_id: 10, bids: levels(&[("9", "1")]), asks: levels(&[("11", "1")]) };
        let event = |last, size| DepthEvent {
            event_ms: 0,
            time_ms: 0,
            first: last,
            last,
            previous: last - 1,
            bids: levels(&[("9", size)]),
            asks: Vec::new(),
            wall_ns: 0,
        };
        let mut truth = InstrumentTruth::default();
        (truth.books, truth.depth) = (vec![base], vec![event(11, "2"), event(12, "3")]);
        truth
    }

    #[test]
    fn a_wrong_book_counts_for_as_long_as_it_was_believed() {
        let truth = truth();
        let tops = tops(&truth);
        let second = 1_000_000_000;
        let moment = |at: i64, live, update_id, top| Moment { at_ns: at * second, live, update_id, top };
        let good = [
            moment(0, false, 0, None),
            moment(1, true, 10, Some(tops[&10])),
            moment(3, true, 11, Some(tops[&11])),
            moment(4, true, 12, Some(tops[&12])),
        ];
        let books = judge_book(&truth, &good);
        assert_eq!((books.judged_s, books.invalid_s, books.not_live_s), (3.0, 0.0, 1.0));
        // The levels of 10 under the id 11: a delta was not applied.
        let bad =
            [moment(0, true, 11, Some(tops[&10])), moment(2, true, 12, Some(tops[&12])), moment(3, true, 12, None)];
        assert_eq!(judge_book(&truth, &bad).invalid_s, 2.0);
        let between = [moment(0, true, 999, Some(1)), moment(2, true, 12, None)];
        assert_eq!(judge_book(&truth, &between).unjudged_s, 2.0);
    }

    #[test]
    fn a_row_of_the_old_connection_is_no_recovery_and_an_open_gap_neither() {
        let beat = |at_ns, conn, whole| Beat { at_ns, conn, whole };
        let beats = [beat(0, 1, true), beat(50, 2, false), beat(70, 2, true), beat(90, 3, true)];
        assert_eq!(first_whole(&beats, 10), Some(70));
        assert_eq!(first_whole(&beats, 75), Some(90));
        assert_eq!(first_whole(&beats, 95), None);
    }
}
