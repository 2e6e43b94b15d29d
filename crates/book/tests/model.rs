//! Random streams with drops, repeats, swaps and stale snapshots: whenever the book calls itself live, it equals the venue's
//! book at that id; and after one fresh snapshot it is live again.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wholetape_book::{BookConfig, BookError, OrderBook, Splice, Stamp, Step, SyncedOrderBook};
use wholetape_model::{Book, BookAction, Chain, Level, Levels, Price, Scales, Side, Size, ValidityState};

type Map = BTreeMap<i64, i64>;
/// (is bid, price, size): the smallest change that a venue's book knows; each has an id of its own.
type Atom = (bool, i64, i64);

const SCALES: Scales = Scales { price: 2, size: 3 };

#[derive(Debug, Clone)]
struct Event {
    first: u64,
    last: u64,
    prev: u64,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// The venue: its atoms in order, and the events that it publishes about them.
#[derive(Debug, Clone)]
struct Venue {
    rule: Chain,
    atoms: Vec<Atom>,
    events: Vec<Event>,
}

impl Venue {
    fn new(rule: Chain, atoms: Vec<Atom>, groups: &[usize]) -> Self {
        let mut venue = Self { rule, atoms, events: Vec::new() };
        let mut at = 0;
        for size in groups.iter().cycle() {
            if at >= venue.atoms.len() {
                break;
            }
            let end = (at + size).min(venue.atoms.len());
            let side = |bid| -> Vec<Level> {
                let of_side = venue.atoms[at..end].iter().filter(|a| a.0 == bid);
                of_side.map(|a| Level { price: Price(a.1), size: Size(a.2) }).collect()
            };
            let (first, last) = (venue.id(at), venue.id(end - 1));
            let prev = venue.events.last().map_or(1, |e: &Event| e.last);
            let event = Event { first, last, prev, bids: side(true), asks: side(false) };
            venue.events.push(event);
            at = end;
        }
        venue
    }

    /// Spot ids are consecutive; futures ids are shared by all symbols, so ours leave holes.
    fn id(&self, atom: usize) -> u64 {
        match self.rule {
            Chain::SpotAnchored => 100 + atom as u64,
            _ => 100 + 3 * atom as u64,
        }
    }

    /// The book after every atom with an id up to `id`.
    fn state(&self, id: u64) -> (Map, Map) {
        let (mut bids, mut asks) = (Map::new(), Map::new());
        for (_, (bid, price, size)) in self.atoms.iter().enumerate().filter(|(i, _)| self.id(*i) <= id) {
            let side = if *bid { &mut bids } else { &mut asks };
            if *size == 0 {
                side.remove(price);
            } else {
                side.insert(*price, *size);
            }
        }
        (bids, asks)
    }

    fn snapshot(&self, atom: usize, book: &mut SyncedOrderBook) -> Splice {
        let id = self.id(atom);
        let (bids, asks) = self.state(id);
        let levels =
            |m: &Map| -> Vec<Level> { m.iter().map(|(p, s)| Level { price: Price(*p), size: Size(*s) }).collect() };
        let (bids, asks) = (levels(&bids), levels(&asks));
        let mut handed = Vec::new();
        let splice = book.on_snapshot(
            Stamp::default(),
            SCALES,
            &parts(BookAction::Snapshot, (id, id, 0), &bids, &asks),
            &mut |a| {
                assert_eq!(contents(a.book), self.state(a.update.last_id), "as handed out");
                handed.push((a.update.action, a.update.last_id));
            },
        );
        if let Splice::Live { applied, .. } = splice {
            assert_eq!(handed.len(), applied + 1);
            assert_eq!(handed[0], (BookAction::Snapshot, id));
        } else {
            assert_eq!(handed, []);
        }
        splice
    }
}

fn parts<'a>(action: BookAction, ids: (u64, u64, u64), bids: &'a [Level], asks: &'a [Level]) -> Book<Levels<'a>> {
    let (bids, asks) = (Levels::Native(bids), Levels::Native(asks));
    Book { action, first_id: ids.0, last_id: ids.1, prev_id: ids.2, bids, asks }
}

fn deliver(event: &Event, book: &mut SyncedOrderBook) -> Step {
    let ids = (event.first, event.last, event.prev);
    book.on_delta(Stamp::default(), SCALES, &parts(BookAction::Delta, ids, &event.bids, &event.asks))
}

fn contents(book: &OrderBook) -> (Map, Map) {
    let side = |side| {
        let mut levels = Vec::new();
        book.all(side, &mut levels);
        let better = |w: &[Level]| if side == Side::Buy { w[0].price > w[1].price } else { w[0].price < w[1].price };
        assert!(levels.windows(2).all(better), "best first, no price twice: {levels:?} {book:?}");
        levels.into_iter().map(|l| (l.price.0, l.size.0)).collect()
    };
    (side(Side::Buy), side(Side::Sell))
}

#[derive(Debug, Clone)]
enum Fault {
    None,
    Drop,
    Repeat,
    /// Comes after its successor.
    Late,
    /// Before this event, a snapshot of so many atoms ago arrives.
    Snapshot(usize),
    Resync,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::Drop),
        1 => Just(Fault::Repeat),
        1 => Just(Fault::Late),
        4 => (0_usize..12).prop_map(Fault::Snapshot),
        1 => Just(Fault::Resync),
    ]
}

fn atoms() -> impl Strategy<Value = Vec<Atom>> {
    // A touch round 10 000 with some levels far outside the window, overlapping sides, few prices so that they repeat.
    let price = prop_oneof![6 => 9_990_i64..10_010, 1 => 1_i64..100, 1 => 900_000_i64..900_100];
    proptest::collection::vec((any::<bool>(), price, prop_oneof![1 => Just(0_i64), 2 => 1_i64..9]), 20..250)
}

fn venue() -> impl Strategy<Value = Venue> {
    let rule = prop_oneof![Just(Chain::SpotAnchored), Just(Chain::LinkedPrev)];
    (rule, atoms(), proptest::collection::vec(1_usize..6, 1..20)).prop_map(|(r, a, g)| Venue::new(r, a, &g))
}

fn check_live(venue: &Venue, book: &SyncedOrderBook) -> Result<(), TestCaseError> {
    match book.last_update_id() {
        Some(id) => {
            prop_assert_eq!(book.validity(), ValidityState::Live);
            prop_assert_eq!(contents(book.unverified()), venue.state(id));
        }
        None => prop_assert!(book.verified().is_none() && book.best_bid().is_none() && book.needs_snapshot()),
    }
    let s = book.stats();
    let fates = s.deltas_applied + s.deltas_discarded_old + s.deltas_unsynced + s.deltas_rejected + s.buffered;
    prop_assert_eq!(s.deltas_seen, fates, "{:?}", s);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn live_means_equal_to_the_venue(venue in venue(), faults in proptest::collection::vec(fault(), 1..60)) {
        let config = BookConfig { queue_len_max: 12, queue_levels_max: 40, ..BookConfig::default() };
        let mut book = SyncedOrderBook::new(venue.rule, config);
        let mut late: Option<&Event> = None;
        let mut atom = 0_usize;
        for (event, fault) in venue.events.iter().zip(faults.iter().cycle()) {
            if let Fault::Snapshot(ago) = fault {
                venue.snapshot(atom.saturating_sub(*ago).min(venue.atoms.len() - 1), &mut book);
            }
            if matches!(fault, Fault::Resync) {
                book.resync(wholetape_model::GapCause::Disconnected);
            }
            atom = venue.atoms.len().min((0..).find(|i| venue.id(*i) >= event.last).unwrap_or(0) + 1);
            match fault {
                Fault::Drop => continue,
                Fault::Late => {
                    late = Some(event);
                    continue;
                }
                Fault::Repeat => {
                    deliver(event, &mut book);
                    check_live(&venue, &book)?;
                    let before = book.last_update_id();
                    deliver(event, &mut book);
                    prop_assert_eq!(book.last_update_id(), before);
                }
                _ => {
                    deliver(event, &mut book);
                }
            }
            check_live(&venue, &book)?;
            if let Some(event) = late.take() {
                deliver(event, &mut book);
                check_live(&venue, &book)?;
            }
        }
        // Everything heals with one fresh snapshot.
        let last = venue.atoms.len() - 1;
        let splice = venue.snapshot(last, &mut book);
        prop_assert!(matches!(splice, Splice::Live { .. } | Splice::NotNeeded), "{:?}", splice);
        check_live(&venue, &book)?;
        prop_assert!(book.is_live());
    }

    /// Without faults no event is lost, whenever the snapshot comes and whatever it says.
    #[test]
    fn a_clean_stream_has_no_gap(venue in venue(), ahead in 0_usize..20, when in 0_usize..20) {
        let mut book = SyncedOrderBook::new(venue.rule, BookConfig::default());
        let asked = venue.atoms.len().min(ahead + 1) - 1;
        let (mut gaps, mut asks) = (0, 0);
        for (i, event) in venue.events.iter().enumerate() {
            if i >= when && book.needs_snapshot() {
                let atom = if asks == 0 { asked } else { venue.atoms.len() - 1 };
                venue.snapshot(atom, &mut book);
                asks += 1;
            }
            gaps += u32::from(matches!(deliver(event, &mut book), Step::Gap { .. }));
            check_live(&venue, &book)?;
        }
        prop_assert_eq!((gaps, book.stats().sequence_gaps), (0, 0));
    }

    #[test]
    fn a_rejected_update_changes_nothing(
        venue in venue(),
        at in any::<prop::sample::Index>(),
        how in 0_usize..6,
    ) {
        let mut book = SyncedOrderBook::new(venue.rule, BookConfig { levels_max: 300, ..BookConfig::default() });
        venue.snapshot(0, &mut book);
        let n = at.index(venue.events.len());
        for event in &venue.events[..n] {
            deliver(event, &mut book);
        }
        let event = &venue.events[n];
        let mut bad = event.clone();
        let mut scales = SCALES;
        let level = |price, size| Level { price: Price(price), size: Size(size) };
        match how {
            0 => bad.asks.push(level(0, 1)),
            1 => bad.bids.push(level(-5, 1)),
            2 => bad.asks.push(level(5, -1)),
            3 => bad.first = bad.last + 1,
            4 => bad.bids.extend((1..=301).map(|p| level(p, 1))),
            _ => {
                // One decimal more than the book, in numbers that cannot lose it; the book cannot gain it either.
                book_with_huge_size(&mut book, &venue, n);
                scales.size += 1;
                bad.bids.push(level(7, i64::MAX));
            }
        }
        let (before, id, buffered) = (contents(book.unverified()), book.last_update_id(), book.stats().buffered);
        let scales_before = book.unverified().scales();
        let ids = (bad.first, bad.last, bad.prev);
        let step = book.on_delta(Stamp::default(), scales, &parts(BookAction::Delta, ids, &bad.bids, &bad.asks));
        if how == 5 && id.is_none_or(|id| bad.last <= id) {
            return Ok(());
        }
        let old = id.is_some_and(|id| bad.last <= id);
        prop_assert!(old || matches!(step, Step::Rejected(_)), "{:?}", step);
        prop_assert_eq!(contents(book.unverified()), before);
        prop_assert_eq!((book.last_update_id(), book.stats().buffered), (id, buffered));
        prop_assert_eq!(book.unverified().scales(), scales_before);
    }
}

/// Puts a size into the book that fits at its scale and at no finer one.
fn book_with_huge_size(book: &mut SyncedOrderBook, venue: &Venue, n: usize) {
    let mut event = venue.events[n].clone();
    event.bids = vec![Level { price: Price(50), size: Size(i64::MAX) }];
    *book = SyncedOrderBook::new(venue.rule, BookConfig::default());
    let at = event.prev.max(event.first - 1);
    let at = if venue.rule == Chain::LinkedPrev { event.prev } else { at };
    book.on_snapshot(
        Stamp::default(),
        SCALES,
        &parts(BookAction::Snapshot, (at, at, 0), &event.bids, &[]),
        &mut |_| {},
    );
}

#[test]
fn scales_grow_exactly_and_shrink_only_where_they_must() {
    let mut book = OrderBook::new(100);
    let level = |price, size| Level { price: Price(price), size: Size(size) };
    let scales = |price, size| Scales { price, size };
    let none = Levels::Native(&[]);
    book.replace(Levels::Native(&[level(100, 5), level(99, 6)]), none, scales(0, 0)).expect("snapshot");
    book.apply(Levels::Native(&[level(10_050, 75)]), none, scales(2, 1)).expect("finer");
    assert_eq!(book.scales(), scales(2, 1));
    assert_eq!(contents(&book).0, Map::from([(9_900, 60), (10_000, 50), (10_050, 75)]));
    book.apply(Levels::Native(&[level(100, 0)]), none, scales(0, 0)).expect("coarser is scaled up");
    assert_eq!(contents(&book).0, Map::from([(9_900, 60), (10_050, 75)]));
    // A size that needs the book to give up a zero: 75 tenths cannot, so it is refused and nothing changes.
    let before = contents(&book);
    let refused = book.apply(Levels::Native(&[level(100, i64::MAX)]), none, scales(0, 0));
    assert_eq!(refused, Err(BookError::Scale { from: 0, to: 1 }));
    assert_eq!(contents(&book), before);
    book.apply(Levels::Native(&[level(10_050, 0)]), none, scales(2, 1)).expect("removes it");
    book.apply(Levels::Native(&[level(100, i64::MAX)]), none, scales(0, 0)).expect("now it can");
    assert_eq!((book.scales(), book.printed_scales()), (scales(2, 0), scales(2, 1)));
    assert_eq!(contents(&book).0, Map::from([(9_900, 6), (10_000, i64::MAX)]));
}

#[test]
fn top_views_reach_beyond_the_window() {
    let mut book = OrderBook::new(1_000);
    let bids: Vec<_> = (1..=500).map(|i| Level { price: Price(i * 1_000 + i % 7), size: Size(i) }).collect();
    book.replace(Levels::Native(&bids), Levels::Native(&[]), SCALES).expect("snapshot");
    for n in [0, 1, 8, 9, 10, 100, 500, 600] {
        let mut top = Vec::new();
        book.top(Side::Buy, n, &mut top);
        let expected: Vec<_> = bids.iter().rev().take(n).copied().collect();
        assert_eq!(top, expected, "{n}");
    }
    assert_eq!((book.mid(), book.spread(), book.is_crossed()), (None, None, false));
}

/// A venue whose ids start anew must not leave a frozen book that calls itself live.
#[test]
fn a_book_frozen_by_ids_that_start_anew_is_found() {
    let atoms: Vec<Atom> = (0..3_000).map(|i| (true, 10_000 + i % 50, 1 + i)).collect();
    let venue = Venue::new(Chain::SpotAnchored, atoms, &[1]);
    let mut book = SyncedOrderBook::new(venue.rule, BookConfig::default());
    venue.snapshot(2_900, &mut book);
    assert_eq!(deliver(&venue.events[2_901], &mut book), Step::Applied);
    let found = venue.events.iter().position(|e| matches!(deliver(e, &mut book), Step::Gap { .. }));
    assert!(found.is_some_and(|n| n < 1_100), "{found:?}");
    assert!(!book.is_live());
}

/// 1 000 instruments with full books must fit in 1 GiB: Binance gives at most 5 000 levels a side.
#[test]
fn a_full_book_is_small() {
    let mut book = SyncedOrderBook::new(Chain::SpotAnchored, BookConfig::default());
    let side = |from: i64, step: i64| -> Vec<Level> {
        (0..5_000).map(|i| Level { price: Price(from + step * i * 7), size: Size(1 + i) }).collect()
    };
    let (bids, asks) = (side(1_000_000, -1), side(1_000_001, 1));
    let snapshot = parts(BookAction::Snapshot, (1, 1, 0), &bids, &asks);
    book.on_snapshot(Stamp::default(), SCALES, &snapshot, &mut |_| {});
    // Several moves of the market later.
    for id in 2..2_000 {
        let price = 1_000_000 + id as i64 * 40;
        let (bid, ask) =
            ([Level { price: Price(price), size: Size(1) }], [Level { price: Price(price), size: Size(0) }]);
        book.on_delta(Stamp::default(), SCALES, &parts(BookAction::Delta, (id, id, 0), &bid, &ask));
    }
    assert!(book.unverified().placements() > 10 && book.unverified().len(Side::Buy) > 5_000);
    assert!(book.heap_bytes() < 900 << 10, "{} bytes", book.heap_bytes());
}
