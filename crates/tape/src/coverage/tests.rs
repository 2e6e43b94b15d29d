//! The fold against a model that knows nothing but sets, and cut in two by a checkpoint at every place.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wholetape_model::record::encode;
use wholetape_model::{
    Body, Book, BookAction, Gap, GapCause, GapState, HealSource, InstrumentId, Kind, Levels, Price, Proof, Quote,
    Record, Row, RowFlags, Scales, Size, Topic, Trade, TradeCondition, Ts, View,
};

use super::*;

const S: i64 = 1_000_000_000;
const H: i64 = 3_600 * S;

fn topic(kind: Kind) -> Topic {
    Topic::new(kind, &InstrumentId::new("BTCUSDT", "BINANCE"))
}

fn trade(id: u64) -> View<'static> {
    let (price, size, condition) = (Price(1), Size(1), TradeCondition::Regular);
    Body::Trade(Trade { id: id.into(), first_id: id, last_id: id, price, size, aggressor: None, condition })
}

fn quote() -> View<'static> {
    Body::Quote(Quote { bid: Price(1), bid_size: Size(1), ask: Price(2), ask_size: Size(1), update_id: 0 })
}

fn book(action: BookAction, first_id: u64, last_id: u64, prev_id: u64) -> View<'static> {
    Body::Book(Book { action, first_id, last_id, prev_id, bids: Levels::Native(&[]), asks: Levels::Native(&[]) })
}

fn gap(gap: u64, state: GapState, ids: (u64, u64), ts: (i64, i64), missing: u64) -> View<'static> {
    let source = if matches!(state, GapState::Open | GapState::Lost) { HealSource::None } else { HealSource::Rest };
    Body::Gap(Gap {
        gap,
        state,
        cause: GapCause::Disconnected,
        source,
        from_id: ids.0,
        to_id: ids.1,
        from_ts: Ts(ts.0),
        to_ts: Ts(ts.1),
        missing,
        why: "the evidence,\nin words",
    })
}

/// One record's bytes.
fn bytes(seq: u64, span: u32, ts: i64, late: Option<i64>, conn: u32, body: View<'_>) -> Vec<u8> {
    let flags = if late.is_some() { RowFlags::LATE_REST } else { RowFlags::default() };
    let (ts_event, ts_recv) = (Ts(late.unwrap_or(ts)), Ts(ts));
    let row = Row { ts_event, ts_recv, conn, frame: 1, flags, scales: Scales::default(), body };
    let mut out = Vec::new();
    encode(&row, 0, seq, span, &mut out);
    out
}

/// A ledger of one topic that is fed by hand.
struct Fed {
    coverage: Coverage,
    topic: Topic,
    seq: u64,
    ids: BTreeMap<u64, u64>,
}

impl Fed {
    fn new(kind: Kind) -> Self {
        Self { coverage: Coverage::new("e"), topic: topic(kind), seq: 0, ids: BTreeMap::new() }
    }

    fn put(&mut self, ts: i64, late: Option<i64>, body: View<'_>) -> &mut Self {
        self.seq += 1;
        if let Body::Trade(t) = &body {
            self.ids.insert(self.seq, t.id.number().unwrap());
        }
        let bytes = bytes(self.seq, 1, ts, late, 7, body);
        let record = Record::parse(&bytes, true).unwrap();
        let ids = &self.ids;
        assert_eq!(self.coverage.apply(&self.topic, &record, &mut |seq| ids.get(&seq).copied()), Folded::Yes);
        self
    }

    fn summary(&self, hours: usize) -> Summary<'_> {
        self.coverage.summary(&self.topic, hours).unwrap()
    }

    fn ledger(&self) -> &TopicLedger {
        self.coverage.topic(&self.topic).unwrap()
    }
}

#[test]
fn a_skip_is_a_hole_until_its_rows_came() {
    let mut f = Fed::new(Kind::Trade);
    f.put(S, None, trade(10)).put(2 * S, None, trade(11));
    assert_eq!(f.summary(0).proof, Proof::ById);
    f.put(9 * S, None, gap(1, GapState::Open, (12, 14), (2 * S, 9 * S), 3)).put(9 * S, None, trade(15));
    let s = f.summary(0);
    assert_eq!((s.proof, s.missing, s.held, s.hole_ns, s.gaps.open), (Proof::Hole, Some(3), 3, 7 * S as u64, 1));
    f.put(10 * S, Some(3 * S), trade(12)).put(10 * S, Some(4 * S), trade(13)).put(10 * S, Some(5 * S), trade(14));
    assert_eq!(f.summary(0).proof, Proof::Hole, "the verdict is still missing");
    f.put(10 * S, None, gap(1, GapState::Healed, (12, 14), (2 * S, 9 * S), 0));
    let s = f.summary(0);
    assert_eq!((s.proof, s.missing, s.held, s.hole_ns, s.gaps.healed), (Proof::ById, Some(0), 6, 0, 1));
    assert_eq!(s.ids, Some((10, 15)));
    assert_eq!(s.spans.iter().map(|s| (s.from.0, s.to.0)).collect::<Vec<_>>(), [(S, 9 * S)]);
}

#[test]
fn a_verdict_counts_as_far_as_the_rows_bear_it_out() {
    let mut f = Fed::new(Kind::Trade);
    f.put(S, None, trade(10)).put(2 * S, None, gap(1, GapState::Open, (11, 14), (S, 2 * S), 4)).put(
        2 * S,
        None,
        trade(15),
    );
    f.put(3 * S, None, gap(1, GapState::Healed, (11, 14), (S, 2 * S), 0));
    let s = f.summary(0);
    assert_eq!((s.proof, s.missing, s.unexplained, s.ledger.contradicted), (Proof::Hole, Some(4), 4, 1));
    f.put(4 * S, None, gap(1, GapState::NeverPublished, (11, 14), (S, 2 * S), 2));
    assert_eq!(f.summary(0).missing, Some(4), "four are missing, and the mark speaks of two");
    f.put(5 * S, Some(S), trade(11)).put(5 * S, Some(S), trade(14));
    f.put(6 * S, None, gap(1, GapState::NeverPublished, (11, 14), (S, 2 * S), 2));
    let s = f.summary(0);
    assert_eq!((s.proof, s.missing, s.never_published, s.held), (Proof::ById, Some(0), 2, 4));
    // The archive knew better.
    f.put(7 * S, Some(S), trade(12));
    assert_eq!((f.summary(0).never_published, f.summary(0).held), (1, 5));
    f.put(8 * S, None, trade(12));
    assert_eq!(f.ledger().repeats, 1);
}

#[test]
fn lost_ids_stay_missing_and_a_skip_without_a_mark_is_unexplained() {
    let mut f = Fed::new(Kind::Trade);
    f.put(S, None, trade(10)).put(2 * S, None, gap(1, GapState::Lost, (11, 14), (S, 2 * S), 4)).put(
        2 * S,
        None,
        trade(15),
    );
    f.put(3 * S, None, trade(18));
    let s = f.summary(0);
    assert_eq!((s.missing, s.unexplained, s.gaps.lost), (Some(6), 2, 1));
}

#[test]
fn a_backlog_before_the_first_row_counts_before_it_is_filled() {
    let mut f = Fed::new(Kind::Trade);
    f.put(100 * S, None, trade(100)).put(101 * S, None, gap(1, GapState::Open, (50, 99), (10 * S, 100 * S), 50));
    assert_eq!((f.summary(0).ids, f.summary(0).missing), (Some((50, 100)), Some(50)));
    for id in (50..100).rev() {
        f.put(102 * S, Some(id as i64 * S), trade(id));
    }
    f.put(103 * S, None, gap(1, GapState::Healed, (50, 99), (10 * S, 100 * S), 0));
    let s = f.summary(0);
    assert_eq!((s.proof, s.from, s.held), (Proof::ById, Ts(50 * S), 51));
}

#[test]
fn a_book_is_proven_between_its_snapshots() {
    use BookAction::{Checkpoint, Delta, Snapshot};
    let mut f = Fed::new(Kind::Book);
    f.put(S, None, book(Snapshot, 100, 100, 0)).put(2 * S, None, book(Delta, 98, 103, 0));
    f.put(3 * S, None, book(Delta, 104, 104, 0)).put(3 * S, None, book(Checkpoint, 104, 104, 0));
    assert_eq!((f.summary(0).proof, f.summary(0).ids), (Proof::ById, Some((98, 104))));
    f.put(5 * S, None, gap(3, GapState::Open, (105, 105), (3 * S, 5 * S), 0));
    let s = f.summary(0);
    assert_eq!((s.proof, s.hole_ns), (Proof::Hole, 2 * S as u64), "until it is right again");
    f.put(8 * S, None, book(Snapshot, 120, 120, 0)).put(
        8 * S,
        None,
        gap(3, GapState::Lost, (105, 120), (3 * S, 8 * S), 0),
    );
    f.put(9 * S, None, book(Delta, 121, 122, 0));
    let s = f.summary(0);
    assert_eq!((s.proof, s.missing, s.unexplained, s.hole_ns), (Proof::Hole, Some(15), 0, 5 * S as u64));
    // Linked updates (`pu`) skip numbers without missing anything, so nothing is counted.
    let mut f = Fed::new(Kind::Book);
    f.put(S, None, book(Snapshot, 100, 100, 0)).put(2 * S, None, book(Delta, 99, 130, 95));
    f.put(3 * S, None, book(Delta, 150, 160, 130));
    let s = f.summary(0);
    assert_eq!((s.proof, s.missing, s.spans.len()), (Proof::ById, None, 1));
    // The venue counts anew.
    f.put(9 * S, None, book(Snapshot, 3, 3, 0)).put(10 * S, None, book(Delta, 4, 5, 3));
    let s = f.summary(0);
    assert_eq!((s.ids, s.from, s.to), (Some((3, 5)), Ts(S), Ts(10 * S)));
}

#[test]
fn without_ids_the_marks_speak() {
    let mut f = Fed::new(Kind::Quote);
    f.put(S, None, quote()).put(5 * S, None, quote());
    assert_eq!((f.summary(0).proof, f.summary(0).missing), (Proof::LiveOnly, None));
    f.put(6 * S, None, gap(1, GapState::Open, (0, 0), (4 * S, 6 * S), 0));
    assert_eq!(f.summary(0).hole_ns, 2 * S as u64);
    f.put(9 * S, None, gap(1, GapState::Lost, (0, 0), (4 * S, 9 * S), 0)).put(10 * S, None, quote());
    let s = f.summary(0);
    assert_eq!((s.proof, s.hole_ns, s.gaps.lost), (Proof::Hole, 5 * S as u64, 1));
    f.put(11 * S, None, gap(1, GapState::Healed, (0, 0), (4 * S, 9 * S), 0));
    let s = f.summary(0);
    assert_eq!((s.proof, s.hole_ns), (Proof::LiveOnly, 0));
    assert!(s.spans.iter().any(|s| s.proof == Proof::ByOverlap && s.from == Ts(4 * S)));
}

#[test]
fn loose_ids_prove_nothing_and_show_no_holes() {
    let mut f = Fed::new(Kind::Trade);
    let loose = |f: &mut Fed, at: i64, id: u64| {
        f.seq += 1;
        let (ts_event, ts_recv, flags, scales) = (Ts(S), Ts(at), RowFlags::LOOSE_ID, Scales::default());
        let mut out = Vec::new();
        encode(&Row { ts_event, ts_recv, conn: 1, frame: 1, flags, scales, body: trade(id) }, 0, f.seq, 1, &mut out);
        f.coverage.apply(&f.topic, &Record::parse(&out, true).unwrap(), &mut |_| None);
    };
    loose(&mut f, S, 9_000_000_000_000_000_001);
    loose(&mut f, 2 * S, 7);
    loose(&mut f, 3 * S, 9_000_000_000_000_000_001);
    let bare = |s: &Summary<'_>| (s.proof, s.ids, s.held, s.missing, s.hole_ns);
    assert_eq!(bare(&f.summary(0)), (Proof::LiveOnly, None, 0, None, 0));
    // A checkpoint remembers it before the next row tells.
    let again = text::read(&text::write(&f.coverage)).unwrap();
    assert_eq!(bare(&again.summary(&f.topic, 0).unwrap()), (Proof::LiveOnly, None, 0, None, 0));
    // Time speaks: from the last trade before to the first after.
    f.put(9 * S, None, gap(1, GapState::Lost, (0, 0), (3 * S, 9 * S), 0));
    loose(&mut f, 10 * S, 11);
    assert_eq!(bare(&f.summary(0)), (Proof::Hole, None, 0, None, 6 * S as u64));
}

#[test]
fn a_quiet_topic_lives_as_long_as_its_connection() {
    let mut f = Fed::new(Kind::Liquidation);
    f.put(S, None, quote());
    let other = topic(Kind::Quote);
    let late = bytes(1, 1, 50 * S, Some(2 * S), 7, quote());
    let live = bytes(2, 1, 30 * S, None, 7, quote());
    for b in [&late, &live] {
        f.coverage.apply(&other, &Record::parse(b, true).unwrap(), &mut |_| None);
    }
    assert_eq!(f.summary(0).to, Ts(30 * S), "an answer over REST is no sign of life");
}

#[test]
fn the_strip_tells_hours_apart() {
    let mut f = Fed::new(Kind::Trade);
    f.put(H / 2, None, trade(1)).put(H, None, trade(2)).put(2 * H + S, None, trade(3));
    f.put(4 * H + 9 * S, None, gap(1, GapState::Lost, (4, 4), (2 * H + S, 4 * H + 9 * S), 1));
    f.put(4 * H + 10 * S, None, trade(5)).put(6 * H + H / 2, None, trade(6));
    assert_eq!(f.summary(8).strip(), "-pPHHHPP");
    let mut f = Fed::new(Kind::Quote);
    f.put(H / 2, None, quote()).put(3 * H + H / 2, None, quote());
    assert_eq!(f.summary(5).strip(), "-lLLL");
    assert_eq!(f.summary(2).strip(), "LL");
    assert_eq!(f.summary(2).hours_from, Ts(2 * H));
}

#[test]
fn memory_is_bounded_and_no_hole_is_forgotten() {
    let mut f = Fed::new(Kind::Trade);
    let n = RUNS_MAX as u64 * 3;
    // Every second id is missing, each with a lost gap; 100 an hour.
    for i in 0..n {
        let ts = i as i64 * H / 100;
        if i > 0 {
            f.put(ts, None, gap(i, GapState::Lost, (i * 2 + 1, i * 2 + 1), (ts - H / 100, ts), 1));
        }
        f.put(ts, None, trade(i * 2 + 2));
    }
    let s = f.summary(n as usize / 100 + 1);
    assert!(s.ledger.runs.list().len() <= RUNS_MAX && s.ledger.gaps.iter().count() <= GAPS_MAX);
    assert_eq!((s.missing, s.held, s.gaps.lost), (Some(n - 1), n, n - 1));
    assert!(s.strip().chars().all(|c| c == 'H'), "{}", s.strip());
    // An import brings all of them: the counted holes close one by one.
    for i in 1..n {
        f.put(n as i64 * H, Some(i as i64 * H / 100), trade(i * 2 + 1));
    }
    let s = f.summary(0);
    assert_eq!((s.missing, s.held, s.ledger.runs.list().iter().all(|r| r.missing == 0)), (Some(0), n * 2 - 1, true));
}

#[test]
fn a_books_holes_are_joined_by_the_hour_early_and_none_is_forgotten() {
    let mut f = Fed::new(Kind::Book);
    let (hours, of_one) = (20_i64, 100_i64);
    f.put(1, None, book(BookAction::Snapshot, 10, 10, 0));
    // The odd hours lack an update every 36 s; the even ones nothing.
    let (mut id, mut missing) = (10_u64, 0_u64);
    for hour in 0..hours {
        for i in 1..of_one {
            let gone = u64::from(hour % 2 == 1 && i > 1);
            (id, missing) = (id + 1 + gone, missing + gone);
            f.put(hour * H + i * H / of_one, None, book(BookAction::Delta, id, id, 0));
        }
    }
    let s = f.summary(hours as usize);
    assert!(s.ledger.runs.list().len() <= CHAIN_RUNS_MAX, "{}", s.ledger.runs.list().len());
    assert_eq!((s.missing, s.strip()), (Some(missing), "PH".repeat(hours as usize / 2)));
}

#[test]
fn scars_keep_the_hours_of_forgotten_losses() {
    let mut f = Fed::new(Kind::Quote);
    f.put(1, None, quote());
    let n = GAPS_MAX as i64 * 2;
    for i in 1..=n {
        f.put(i * H / 4, None, gap(i as u64, GapState::Lost, (0, 0), (i * H / 4, i * H / 4 + S), 0));
        f.put(i * H / 4 + S, None, quote());
    }
    let s = f.summary(n as usize / 4);
    assert_eq!((s.gaps.lost, s.hole_ns), (n as u64, (n * S) as u64));
    assert!(s.strip().chars().all(|c| c == 'H'), "{}", s.strip());
    let forgotten = n as usize - GAPS_MAX;
    assert!(s.ledger.gaps.scars().len() <= forgotten / 4 + 1, "four to the hour");
}

#[test]
fn unread_seqs_are_holes_but_what_was_before_us_is_unknown() {
    let mut f = Fed::new(Kind::Quote);
    f.coverage.missed(&f.topic.clone(), 40, MissedWhy::Retention);
    f.seq = 40;
    f.put(S, None, quote());
    assert_eq!((f.ledger().unknown_to, f.summary(0).proof), (40, Proof::LiveOnly));
    f.coverage.missed(&f.topic.clone(), 50, MissedWhy::Corrupt);
    f.seq = 50;
    f.put(3 * S, None, quote());
    let s = f.summary(0);
    assert_eq!((s.proof, s.hole_ns, s.ledger.unread), (Proof::Hole, 2 * S as u64, 9));
}

#[test]
fn a_power_mark_that_reaches_below_is_told() {
    let mut f = Fed::new(Kind::Trade);
    f.put(S, None, trade(1)).put(S, None, trade(2));
    let mark = bytes(1_000, 999, 2 * S, None, 0, gap(9, GapState::Lost, (0, 0), (S, 2 * S), 0));
    let record = Record::parse(&mark, true).unwrap();
    let before = f.coverage.clone();
    assert_eq!(f.coverage.apply(&f.topic, &record, &mut |_| None), Folded::Rewound);
    assert_eq!(f.coverage, before);
}

#[derive(Debug, Clone)]
enum Op {
    Row { id: u64, late: bool, kind: u8 },
    Mark { gap: u64, state: GapState, lo: u64, len: u64, missing: u64 },
    Retract { back: u64 },
    Missed { n: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let state =
        prop_oneof![Just(GapState::Open), Just(GapState::Healed), Just(GapState::NeverPublished), Just(GapState::Lost)];
    let op = prop_oneof![
        6 => (1_u64..60, any::<bool>(), 0_u8..3).prop_map(|(id, late, kind)| Op::Row { id, late, kind }),
        3 => (1_u64..12, state, 0_u64..60, 0_u64..9, 0_u64..9)
            .prop_map(|(gap, state, lo, len, missing)| Op::Mark { gap, state, lo, len, missing }),
        1 => (1_u64..9).prop_map(|back| Op::Retract { back }),
        1 => (1_u64..9).prop_map(|n| Op::Missed { n }),
    ];
    proptest::collection::vec(op, 1..80)
}

/// The records of three topics: trades, a book, quotes.
fn feed(coverage: &mut Coverage, ops: &[Op], at: usize, seqs: &mut [u64; 3], ids: &mut BTreeMap<u64, u64>) {
    let topics = [topic(Kind::Trade), topic(Kind::Book), topic(Kind::Quote)];
    for (i, op) in ops.iter().enumerate() {
        let ts = (at + i + 1) as i64 * 400 * S;
        let (which, late, body) = match op {
            Op::Row { id, late, kind: 0 } => (0, late.then_some(ts - 900 * S), trade(*id)),
            Op::Row { id, kind: 1, .. } => (1, None, book(BookAction::Delta, *id, *id + 2, 0)),
            Op::Row { late, .. } => (2, late.then_some(ts - 900 * S), quote()),
            Op::Mark { gap: g, state, lo, len, missing } => {
                (*g as usize % 3, None, gap(*g, *state, (*lo, *lo + *len), (ts - 700 * S, ts), *missing))
            }
            Op::Retract { back } => (0, None, Body::Retract(seqs[0].saturating_sub(*back))),
            Op::Missed { n } => {
                let which = *n as usize % 3;
                seqs[which] += n;
                coverage.missed(&topics[which], seqs[which], MissedWhy::Corrupt);
                continue;
            }
        };
        seqs[which] += 1;
        if let (0, Body::Trade(t)) = (which, &body) {
            ids.insert(seqs[0], t.id.number().unwrap());
        }
        let b = bytes(seqs[which], 1, ts, late, 1 + which as u32, body);
        coverage.apply(&topics[which], &Record::parse(&b, true).unwrap(), &mut |seq| ids.get(&seq).copied());
    }
}

proptest! {
    /// Folding in two pieces, through the text of a checkpoint, equals folding in one.
    #[test]
    fn a_checkpoint_at_any_cut_changes_nothing(all in ops(), cut in 0_usize..80) {
        let cut = cut.min(all.len());
        let (mut seqs, mut ids) = ([0; 3], BTreeMap::new());
        let mut whole = Coverage::new("e");
        feed(&mut whole, &all, 0, &mut seqs, &mut ids);
        let (mut seqs, mut ids) = ([0; 3], BTreeMap::new());
        let mut first = Coverage::new("e");
        feed(&mut first, &all[..cut], 0, &mut seqs, &mut ids);
        let mut second = text::read(&text::write(&first)).unwrap();
        prop_assert_eq!(&second, &first);
        feed(&mut second, &all[cut..], cut, &mut seqs, &mut ids);
        prop_assert_eq!(&second, &whole);
        for s in whole.summaries(30) {
            prop_assert!(s.spans.windows(2).all(|w| w[0].to <= w[1].from), "{:?}", s.spans);
            prop_assert!(s.spans.iter().all(|s| s.from <= s.to && s.hole_ns >= 0 && s.hole_ns <= s.to.0 - s.from.0));
        }
    }

    /// Ids against plain sets.
    #[test]
    fn ids_behave_like_sets(all in ops()) {
        let all: Vec<Op> = all.into_iter().filter(|op| !matches!(op, Op::Missed { .. })).collect();
        let (mut seqs, mut ids) = ([0; 3], BTreeMap::new());
        let mut coverage = Coverage::new("e");
        let (mut held, mut never, mut repeats) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut seq = 0;
        let mut by_seq = BTreeMap::new();
        for (i, op) in all.iter().enumerate() {
            match op {
                Op::Row { id, kind: 0, .. } => {
                    seq += 1;
                    by_seq.insert(seq, *id);
                    repeats += u64::from(!held.insert(*id));
                    never.remove(id);
                }
                Op::Mark { gap, state, lo, len, missing } if gap % 3 == 0 => {
                    seq += 1;
                    let open: Vec<u64> = (*lo..=*lo + *len).filter(|id| !held.contains(id) && !never.contains(id)).collect();
                    let believed = *missing == 0 || open.len() as u64 <= *missing;
                    if *state == GapState::NeverPublished && *lo > 0 && believed {
                        never.extend(open);
                    }
                }
                Op::Retract { back } => {
                    if let Some(id) = by_seq.get(&u64::saturating_sub(seq, *back)) {
                        held.remove(id);
                        never.remove(id);
                    }
                    seq += 1;
                }
                _ => {}
            }
            feed(&mut coverage, std::slice::from_ref(op), i, &mut seqs, &mut ids);
        }
        let Some(t) = coverage.topic(&topic(Kind::Trade)) else { return Ok(()) };
        let got: BTreeSet<u64> = (0..80).filter(|id| t.runs.holds(*id) == Some(true)).collect();
        let want: BTreeSet<u64> = held.union(&never).copied().collect();
        prop_assert_eq!(got, want);
        prop_assert_eq!((t.runs.held(), t.runs.unpublished(), t.repeats), (held.len() as u64, never.len() as u64, repeats));
        let s = coverage.summary(&topic(Kind::Trade), 0).unwrap();
        if let Some((lo, hi)) = t.runs.ends() {
            let inside = (lo..=hi).filter(|id| !held.contains(id) && !never.contains(id)).count() as u64;
            prop_assert!(s.missing.unwrap() >= inside);
        }
    }

    /// What a damaged file says is an error, never a panic.
    #[test]
    fn strange_text_is_refused(all in ops(), at in any::<prop::sample::Index>(), byte in 32_u8..127) {
        let (mut seqs, mut ids) = ([0; 3], BTreeMap::new());
        let mut coverage = Coverage::new("e");
        feed(&mut coverage, &all, 0, &mut seqs, &mut ids);
        let mut text = text::write(&coverage).into_bytes();
        let i = at.index(text.len());
        text[i] = byte;
        if let Ok(read) = text::read(&String::from_utf8(text).unwrap()) {
            for s in read.summaries(24) {
                let _ = s.strip();
            }
        }
    }
}
