//! Books whose snapshot comes by the stream against a simple venue, under drops, repeats and swaps of deltas: whenever such a
//! book calls itself live, it equals the venue's at the update it took last; and after one fresh snapshot it is live again.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wholetape_book::{BookConfig, OrderBook, Stamp, Step, SyncedOrderBook};
use wholetape_model::book_rule::{BookRule, Chain, Checksum};
use wholetape_model::{Book, BookAction, GapCause, Level, Levels, Price, Scales, Side, Size, Ts, ValidityState};

const SCALES: Scales = Scales { price: 2, size: 3 };

type Map = BTreeMap<i64, i64>;
type Sides = (Map, Map);

/// What the venue sends, and the book that it stands for.
#[derive(Debug, Clone)]
struct Message {
    action: BookAction,
    ids: (u64, u64, u64),
    bids: Vec<Level>,
    asks: Vec<Level>,
    checksum: Option<u32>,
    ts: i64,
    /// The venue's published book after it.
    state: Sides,
}

/// One step of the venue's market.
#[derive(Debug, Clone)]
enum Move {
    /// (is bid, price, size): changes of one message.
    Trade(Vec<(bool, i64, i64)>),
    Beat,
    /// The venue sends a snapshot, as it may at any time.
    Snapshot,
    /// It begins its ids anew.
    Reset,
}

#[derive(Debug, Clone)]
struct Venue {
    rule: BookRule,
    messages: Vec<Message>,
}

fn best(map: &Map, side: Side, n: usize) -> Map {
    match side {
        Side::Buy => map.iter().rev().take(n).map(|(p, s)| (*p, *s)).collect(),
        Side::Sell => map.iter().take(n).map(|(p, s)| (*p, *s)).collect(),
    }
}

fn levels(map: &Map) -> Vec<Level> {
    map.iter().map(|(p, s)| Level { price: Price(*p), size: Size(*s) }).collect()
}

/// What leads from one published side to the next: a level that is pushed out is not mentioned, one that comes back is.
fn difference(from: &Map, to: &Map, full: &Map) -> Vec<Level> {
    let changed = to.iter().filter(|(p, s)| from.get(p) != Some(s)).map(|(p, s)| (*p, *s));
    let gone = from.keys().filter(|p| !full.contains_key(p)).map(|p| (*p, 0));
    changed.chain(gone).map(|(p, s)| Level { price: Price(p), size: Size(s) }).collect()
}

/// Kraken's checksum, computed by hand from the map: deliberately another way than the book's.
fn kraken(state: &Sides) -> u32 {
    let mut text = String::new();
    for (p, s) in state.1.iter().take(10).chain(state.0.iter().rev().take(10)) {
        for number in [format!("{}.{:02}", p / 100, p % 100), format!("{}.{:03}", s / 1000, s % 1000)] {
            text.push_str(number.replace('.', "").trim_start_matches('0'));
        }
    }
    crc32fast::hash(text.as_bytes())
}

impl Venue {
    fn new(rule: BookRule, moves: &[Move]) -> Self {
        let depth = rule.depth.map_or(usize::MAX, |d| d as usize);
        let (mut full, mut published): (Sides, Sides) = Default::default();
        let mut venue = Self { rule, messages: Vec::new() };
        let (mut id, mut epoch, mut ts) = (1_000_000_u64, 0_u64, 1_000_i64);
        venue.send(BookAction::Snapshot, (id, id, 0), vec![], vec![], ts, &published);
        for step in moves {
            ts += 10;
            let prev = id;
            match step {
                Move::Trade(changes) => {
                    for (bid, price, size) in changes {
                        let side = if *bid { &mut full.0 } else { &mut full.1 };
                        if *size == 0 {
                            side.remove(price)
                        } else {
                            side.insert(*price, *size)
                        };
                    }
                    let next = (best(&full.0, Side::Buy, depth), best(&full.1, Side::Sell, depth));
                    let bids = difference(&published.0, &next.0, &full.0);
                    let asks = difference(&published.1, &next.1, &full.1);
                    published = next;
                    id += if rule.chain == Chain::Linked { 3 } else { 1 };
                    if rule.chain == Chain::Whole {
                        let (bids, asks) = (levels(&published.0), levels(&published.1));
                        venue.send(BookAction::Snapshot, (id, id, 0), bids, asks, ts, &published);
                    } else {
                        let linked = if rule.chain == Chain::Linked { prev } else { 0 };
                        venue.send(BookAction::Delta, (id, id, linked), bids, asks, ts, &published);
                    }
                    continue;
                }
                Move::Beat if rule.chain == Chain::Linked => {
                    venue.send(BookAction::Delta, (id, id, id), vec![], vec![], ts, &published);
                    continue;
                }
                Move::Beat => continue,
                Move::Snapshot => {}
                Move::Reset => {
                    epoch += 1;
                    // Ids never used before, all of them smaller.
                    id = if rule.chain == Chain::Counted { 1 } else { 1_000_000 - epoch * 1_000 };
                    if rule.chain == Chain::Linked {
                        // OKX: the link is right, the id is smaller, and nothing else is special.
                        venue.send(BookAction::Delta, (id, id, prev), vec![], vec![], ts, &published);
                        continue;
                    }
                }
            }
            let (bids, asks) = (levels(&published.0), levels(&published.1));
            venue.send(BookAction::Snapshot, (id, id, 0), bids, asks, ts, &published);
        }
        venue
    }

    fn send(
        &mut self,
        action: BookAction,
        ids: (u64, u64, u64),
        bids: Vec<Level>,
        asks: Vec<Level>,
        ts: i64,
        state: &Sides,
    ) {
        let checksum = self.rule.checksum.map(|_| kraken(state));
        self.messages.push(Message { action, ids, bids, asks, checksum, ts, state: state.clone() });
    }
}

fn deliver(message: &Message, book: &mut SyncedOrderBook) -> Step {
    let update = Book {
        action: message.action,
        first_id: message.ids.0,
        last_id: message.ids.1,
        prev_id: message.ids.2,
        bids: Levels::Native(&message.bids),
        asks: Levels::Native(&message.asks),
    };
    let stamp = Stamp { ts_event: Ts::from_millis(message.ts), ..Stamp::default() };
    book.on_update(stamp, SCALES, &update, message.checksum)
}

fn contents(book: &OrderBook) -> Sides {
    let side = |side| {
        let mut levels = Vec::new();
        book.all(side, &mut levels);
        levels.into_iter().map(|l| (l.price.0, l.size.0)).collect()
    };
    (side(Side::Buy), side(Side::Sell))
}

/// Somebody who has our updates alone, deletions of what was cut included.
#[derive(Default)]
struct Follower(Sides);

impl Follower {
    fn apply(&mut self, message: &Message, book: &SyncedOrderBook) {
        if message.action == BookAction::Snapshot {
            self.0 = Default::default();
        }
        let (cut_bids, cut_asks) = book.cut();
        for (side, levels) in
            [(&mut self.0.0, message.bids.iter().chain(cut_bids)), (&mut self.0.1, message.asks.iter().chain(cut_asks))]
        {
            for level in levels {
                if level.size.0 == 0 {
                    side.remove(&level.price.0);
                } else {
                    side.insert(level.price.0, level.size.0);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Drop,
    Repeat,
    /// Comes after its successor.
    Swap,
    /// Its checksum is not the venue's.
    Bad,
    Disconnect,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        14 => Just(Fault::None),
        1 => Just(Fault::Drop),
        1 => Just(Fault::Repeat),
        1 => Just(Fault::Swap),
        1 => Just(Fault::Bad),
        1 => Just(Fault::Disconnect),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let change = (any::<bool>(), 9_990_i64..10_010, prop_oneof![1 => Just(0_i64), 2 => 1_i64..5_000]);
    let step = prop_oneof![
        20 => proptest::collection::vec(change, 1..5).prop_map(Move::Trade),
        2 => Just(Move::Beat),
        1 => Just(Move::Snapshot),
        1 => Just(Move::Reset),
    ];
    proptest::collection::vec(step, 10..120)
}

fn rule() -> impl Strategy<Value = BookRule> {
    prop_oneof![
        Just(BookRule::new(Chain::Linked)),
        Just(BookRule::new(Chain::Linked).with_checksum(Checksum::AsksBids10)),
        Just(BookRule::new(Chain::Counted)),
        // A book of ten levels whose ten best are checked: nothing of it goes unproven.
        Just(BookRule::new(Chain::Unlinked).with_checksum(Checksum::AsksBids10).with_depth(10)),
        Just(BookRule::new(Chain::Whole)),
    ]
}

fn check(book: &SyncedOrderBook, taken: Option<&Message>, follower: &Follower) -> Result<(), TestCaseError> {
    match book.last_update_id() {
        Some(id) => {
            let taken = taken.expect("a live book took something");
            prop_assert_eq!(book.validity(), ValidityState::Live);
            prop_assert_eq!(id, taken.ids.1);
            prop_assert_eq!(&contents(book.unverified()), &taken.state);
            prop_assert_eq!(&follower.0, &taken.state);
        }
        None => prop_assert!(book.verified().is_none() && book.best_bid().is_none()),
    }
    let s = book.stats();
    let fates = s.deltas_applied + s.deltas_discarded_old + s.deltas_unsynced + s.deltas_rejected + s.beats;
    prop_assert_eq!(s.deltas_seen, fates, "{:?}", s);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn live_means_equal_to_the_venue(
        rule in rule(),
        moves in moves(),
        faults in proptest::collection::vec(fault(), 1..60),
    ) {
        let venue = Venue::new(rule, &moves);
        let mut book = SyncedOrderBook::new(rule, BookConfig::default());
        let mut follower = Follower::default();
        let mut taken: Option<usize> = None;
        let mut order: Vec<(usize, bool)> = Vec::new();
        for (i, fault) in (0..venue.messages.len()).zip(faults.iter().cycle()) {
            // Faults of deltas: a lost snapshot is a lost connection.
            let fault = if venue.messages[i].action == BookAction::Delta { *fault } else { Fault::None };
            match fault {
                Fault::Drop => {}
                Fault::Repeat => order.extend([(i, false), (i, false)]),
                Fault::Swap => match order.pop() {
                    Some(before) if venue.messages.get(before.0).is_some_and(|m| m.action == BookAction::Delta) => {
                        order.extend([(i, false), before]);
                    }
                    before => order.extend(before.into_iter().chain([(i, false)])),
                },
                Fault::Bad => order.push((i, true)),
                Fault::Disconnect | Fault::None => order.push((i, false)),
            }
            if fault == Fault::Disconnect {
                order.push((usize::MAX, false));
            }
        }
        for (i, bad) in order {
            let Some(message) = venue.messages.get(i) else {
                book.restart(GapCause::Disconnected);
                continue;
            };
            let mut message = message.clone();
            if bad {
                message.checksum = message.checksum.map(|c| c ^ 1);
            }
            let live = book.is_live();
            let step = deliver(&message, &mut book);
            match step {
                Step::Applied | Step::Replaced => {
                    taken = Some(i);
                    follower.apply(&message, &book);
                }
                Step::Beat | Step::Old | Step::Unsynced => {}
                Step::Gap { .. } | Step::Mismatch { .. } => prop_assert!(live && !book.is_live()),
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert!(!(bad && rule.checksum.is_some() && matches!(step, Step::Applied)), "a bad checksum passed");
            check(&book, taken.map(|i| &venue.messages[i]), &follower)?;
        }
        // One fresh snapshot heals everything.
        let last = venue.messages.last().unwrap();
        let fresh = Message {
            action: BookAction::Snapshot,
            ids: (last.ids.1, last.ids.1, 0),
            bids: levels(&last.state.0),
            asks: levels(&last.state.1),
            ts: last.ts + 1,
            ..last.clone()
        };
        book.restart(GapCause::Disconnected);
        prop_assert_eq!(deliver(&fresh, &mut book), Step::Replaced);
        follower.apply(&fresh, &book);
        check(&book, Some(&fresh), &follower)?;
        prop_assert!(book.is_live());
    }

    /// Without faults nothing is lost: no gap, no mismatch, every message taken. Depth 15 with a checksum of ten shows that
    /// levels which leave the best N and return are right (trap T6).
    #[test]
    fn a_clean_stream_has_no_gap(
        rule in prop_oneof![rule(), Just(BookRule::new(Chain::Unlinked).with_checksum(Checksum::AsksBids10).with_depth(15))],
        moves in moves(),
    ) {
        let venue = Venue::new(rule, &moves);
        let mut book = SyncedOrderBook::new(rule, BookConfig::default());
        let mut follower = Follower::default();
        for message in &venue.messages {
            match deliver(message, &mut book) {
                Step::Applied | Step::Replaced => follower.apply(message, &book),
                Step::Beat => {}
                step => prop_assert!(false, "{step:?} at {message:?}"),
            }
            check(&book, Some(message), &follower)?;
        }
        let s = book.stats();
        prop_assert_eq!((s.sequence_gaps, s.checksums_failed, s.resyncs), (0, 0, 0));
    }

    /// A delta that is lost shows at the very next one where ids link.
    #[test]
    fn a_lost_delta_shows_at_the_next(
        chain in prop_oneof![Just(Chain::Linked), Just(Chain::Counted)],
        moves in moves(),
        at in any::<prop::sample::Index>(),
    ) {
        let venue = Venue::new(chain.into(), &moves);
        let is = |i: &usize, action| venue.messages.get(*i).is_some_and(|m| m.action == action && m.ids.1 != m.ids.2);
        let lost: Vec<usize> = (1..venue.messages.len())
            .filter(|i| is(i, BookAction::Delta) && is(&(i + 1), BookAction::Delta))
            .collect();
        prop_assume!(!lost.is_empty());
        let lost = lost[at.index(lost.len())];
        let mut book = SyncedOrderBook::new(chain, BookConfig::default());
        for (i, message) in venue.messages.iter().enumerate().filter(|(i, _)| *i != lost).take(lost + 1) {
            let step = deliver(message, &mut book);
            prop_assert_eq!(matches!(step, Step::Gap { .. }), i == lost + 1, "{}: {:?}", i, step);
        }
        prop_assert_eq!((book.is_live(), book.stats().sequence_gaps), (false, 1));
    }
}

fn delta(ids: (u64, u64, u64), bids: &[(i64, i64)]) -> Message {
    let bids = bids.iter().map(|(p, s)| Level { price: Price(*p), size: Size(*s) }).collect();
    let (asks, state) = (Vec::new(), Sides::default());
    Message { action: BookAction::Delta, ids, bids, asks, checksum: None, ts: 0, state }
}

fn snapshot(id: u64, bids: &[(i64, i64)]) -> Message {
    Message { action: BookAction::Snapshot, ..delta((id, id, 0), bids) }
}

/// The example of OKX's documents (prev/seq): `-1/10, 10/15, 15/15, 15/3, 3/5` is one valid stream.
#[test]
fn a_reset_by_a_smaller_id_behind_the_right_link_is_no_gap() {
    let mut book = SyncedOrderBook::new(Chain::Linked, BookConfig::default());
    let steps: Vec<Step> = [
        snapshot(10, &[(100, 1)]),
        delta((15, 15, 10), &[(101, 2)]),
        delta((15, 15, 15), &[]),
        delta((3, 3, 15), &[(101, 0)]),
        delta((5, 5, 3), &[(102, 4)]),
        delta((9, 9, 6), &[]),
    ]
    .iter()
    .map(|m| deliver(m, &mut book))
    .collect();
    let gap = Step::Gap { expected: 5, got: 6 };
    assert_eq!(steps, [Step::Replaced, Step::Applied, Step::Beat, Step::Applied, Step::Applied, gap]);
    assert_eq!((book.stats().beats, book.stats().sequence_gaps), (1, 1));
}

/// Bybit: the service restarts, its snapshot has `u == 1`, and counting goes on from there.
#[test]
fn a_counted_book_begins_anew_with_its_snapshot() {
    let mut book = SyncedOrderBook::new(Chain::Counted, BookConfig::default());
    for message in [snapshot(500, &[(100, 1)]), delta((501, 501, 0), &[(101, 2)]), snapshot(1, &[(99, 7)])] {
        assert!(matches!(deliver(&message, &mut book), Step::Applied | Step::Replaced));
    }
    assert_eq!(deliver(&delta((2, 2, 0), &[(98, 1)]), &mut book), Step::Applied);
    assert_eq!((book.last_update_id(), contents(book.verified().unwrap()).0), (Some(2), Map::from([(98, 1), (99, 7)])));
    // Ids that begin anew without a snapshot are a break, not thousands of old updates.
    deliver(&snapshot(500, &[(100, 1)]), &mut book);
    assert_eq!(deliver(&delta((2, 2, 0), &[]), &mut book), Step::Gap { expected: 501, got: 2 });
}

/// Depth 1 of Bybit repeats its last push after three quiet seconds, and begins at 1 again after a restart.
#[test]
fn a_push_that_repeats_is_old_and_one_that_begins_anew_is_not() {
    let mut book = SyncedOrderBook::new(Chain::Whole, BookConfig::default());
    let at = |id, ts, price| Message { ts, ..snapshot(id, &[(price, 1)]) };
    assert_eq!(deliver(&at(70, 1_000, 100), &mut book), Step::Replaced);
    assert_eq!(deliver(&at(70, 1_000, 100), &mut book), Step::Old);
    assert_eq!(deliver(&at(69, 990, 90), &mut book), Step::Old, "late");
    assert_eq!(deliver(&at(1, 2_000, 120), &mut book), Step::Replaced);
    assert_eq!(contents(book.verified().unwrap()).0, Map::from([(120, 1)]));
    assert!(matches!(deliver(&delta((2, 2, 0), &[]), &mut book), Step::Rejected(_)));
}

/// Trap T6: a level is pushed out of the best N without a word, goes on existing, and comes back.
#[test]
fn a_level_that_leaves_the_best_n_is_cut_and_said() {
    let mut book = SyncedOrderBook::new(BookRule::new(Chain::Unlinked).with_depth(2), BookConfig::default());
    deliver(&snapshot(1, &[(100, 1), (99, 1)]), &mut book);
    assert_eq!(deliver(&delta((2, 2, 0), &[(101, 5)]), &mut book), Step::Applied);
    assert_eq!(contents(book.verified().unwrap()).0, Map::from([(100, 1), (101, 5)]));
    assert_eq!(book.cut(), (&[Level { price: Price(99), size: Size(0) }][..], &[][..]));
    // The best goes, and the venue sends what moved up, changed meanwhile.
    deliver(&delta((3, 3, 0), &[(101, 0), (99, 4)]), &mut book);
    assert_eq!(contents(book.verified().unwrap()).0, Map::from([(99, 4), (100, 1)]));
    assert_eq!(book.cut(), (&[][..], &[][..]));
}

/// An update that is refused changes nothing, and what it said is missing: the book waits for a snapshot.
#[test]
fn a_refused_update_leaves_the_levels_and_takes_the_validity() {
    let mut book = SyncedOrderBook::new(Chain::Unlinked, BookConfig::default());
    deliver(&snapshot(1, &[(100, 1)]), &mut book);
    assert!(matches!(deliver(&delta((2, 2, 0), &[(101, 1), (0, 1)]), &mut book), Step::Rejected(_)));
    assert_eq!(contents(book.unverified()).0, Map::from([(100, 1)]));
    assert_eq!((book.is_live(), deliver(&delta((3, 3, 0), &[(5, 5)]), &mut book)), (false, Step::Unsynced));
    assert_eq!(deliver(&snapshot(4, &[(7, 7)]), &mut book), Step::Replaced);
}
