//! Healing where ids do not follow each other, and where nothing can be asked, through the whole line: what stands on the tape.

use wholetape_model::{GapCause, GapState};
use wholetape_venue::{ByTime, TradeHistory};

use super::overlap::{Named, Overlap};
use super::tests::{Bench, Script, T0, TRADES, at, bench_of};
use super::*;

const LOOSE: TradeHistory = TradeHistory::ByTimeWithOverlap(ByTime {
    page_max: 100,
    reach: Some(Duration::from_secs(3_600)),
    overlap: Duration::from_millis(50),
    downwards: false,
});

fn venue(history: TradeHistory, resume: Resume) -> Bench {
    let script = Script { history, ..Script::default() };
    bench_of(script, true, resume).open(T0)
}

fn cut(b: &mut Bench, now: Ts) {
    b.line.on_closed(0, now, LinkCause::Closed, &mut b.out);
    b.take();
    b.line.on_open(0, ConnMeta { number: 8 }, now + Duration::from_secs(1), &mut b.out);
    b.take();
    b.frame(now + Duration::from_secs(1), "ack 3");
    b.rows.clear();
}

#[test]
fn a_cut_without_consecutive_ids_is_healed_by_pages_that_overlap() {
    let mut b = venue(LOOSE, Resume::default());
    b.frame(at(1), "T 11");
    b.frame(at(2), "T 52");
    cut(&mut b, at(10));
    b.frame(at(1_100), "T 90");
    assert_eq!(b.of(TRADES), ["gap open disconnected 0-0", "trade 90"], "no id tells how many");
    b.timer(at(2_000));
    // The trade before the hole, what was missed, the trade after it.
    b.answer(at(2_010), FetchKind::TradesAt, "52 60 77 90");
    assert_eq!(b.of(TRADES)[2..], ["trade 60 late", "trade 77 late", "gap healed disconnected 0-0"]);
    // A repeat from either side is none of it.
    b.frame(at(2_020), "T 77");
    assert_eq!(b.of(TRADES).len(), 5);
}

/// A process that goes on after a restart knows the mark alone.
#[test]
fn the_mark_of_a_hole_behind_late_rows_begins_when_the_last_was_made() {
    let mut b = venue(LOOSE, Resume::default());
    b.frame(at(6_000), "T 52");
    cut(&mut b, at(6_010));
    b.frame(at(7_100), "T 90");
    let began = b.gap_starts.iter().rfind(|(topic, _)| topic == TRADES).unwrap().1;
    assert_eq!(began, Ts(T0.0 + 52));
}

#[test]
fn a_page_that_does_not_meet_what_is_held_proves_nothing() {
    let mut b = venue(LOOSE, Resume::default());
    b.frame(at(2), "T 52");
    cut(&mut b, at(10));
    b.frame(at(1_100), "T 90");
    b.timer(at(2_000));
    b.answer(at(2_010), FetchKind::TradesAt, "77 90");
    let rows = b.of(TRADES);
    assert_eq!(
        rows[rows.len() - 1],
        "gap lost disconnected 0-0",
        "what came is kept, and the rest confessed: {rows:?}"
    );
    assert!(rows.contains(&"trade 77 late"), "{rows:?}");
}

#[test]
fn after_a_restart_the_left_edge_is_what_the_tape_held_last() {
    for (page, verdict) in [("52 60 90", "gap healed down 0-0"), ("60 90", "gap lost down 0-0")] {
        let mut resume = Resume::default();
        let newest = Ts(T0.0 + 52);
        let named = [11, 52].map(|id| Named { id: id.into(), event: Ts(T0.0 + id as i64), recv: Ts(T0.0 + id as i64) });
        let state = TopicResume {
            named: named.to_vec(),
            last_recv: newest,
            last_event: newest,
            oldest: T0,
            ..TopicResume::default()
        };
        resume.topics.insert(TRADES.into(), state);
        let mut b = venue(LOOSE, resume);
        b.frame(at(1_100), "T 90");
        b.timer(at(2_000));
        b.answer(at(2_010), FetchKind::TradesAt, page);
        let rows = b.of(TRADES);
        assert_eq!(rows[..3], ["gap open down 0-0", "trade 90", "trade 60 late"], "{rows:?}");
        assert_eq!(rows[3..], [verdict]);
    }
}

/// A loss that went on when the process went goes on under its number; without one the time we were down is told.
#[test]
fn after_a_restart_where_nothing_can_be_asked_the_time_down_is_lost() {
    let newest = Ts(T0.0 - 1_000_000_000);
    let mark = trades::GapMark {
        gap: 77,
        state: wholetape_model::GapState::Open,
        cause: wholetape_model::GapCause::Shed,
        source: wholetape_model::HealSource::None,
        from_id: 0,
        to_id: 0,
        from_ts: newest,
        to_ts: newest,
        missing: 0,
        why: String::new(),
    };
    for (open, told) in [(vec![], "gap lost down 0-0"), (vec![mark], "gap lost shed 0-0")] {
        let mut resume = Resume::default();
        let named = vec![Named { id: 52.into(), event: newest, recv: newest }];
        let state =
            TopicResume { named, last_recv: newest, last_event: newest, open_gaps: open, ..TopicResume::default() };
        resume.topics.insert(TRADES.into(), state);
        let mut b = venue(TradeHistory::Impossible { consecutive: false }, resume);
        b.frame(at(1), "T 52");
        b.frame(at(2), "T 53");
        for s in 1..20 {
            b.timer(at(s * 1_000));
        }
        assert_eq!(b.of(TRADES), [told, "trade 53"]);
        assert!(b.gap_starts.iter().any(|(topic, from)| topic == TRADES && *from <= newest), "{:?}", b.gap_starts);
    }
}

#[test]
fn where_nothing_can_be_asked_nothing_is_and_every_hole_is_lost() {
    let by_id = ["trade 52", "gap open disconnected 53-89", "trade 90", "gap lost disconnected 53-89"];
    // Without ids the cut itself is what is told, as of any other stream.
    let by_time = ["trade 52", "gap open disconnected 0-0", "gap lost disconnected 0-0", "trade 90"];
    for (consecutive, told) in [(false, by_time), (true, by_id)] {
        let mut b = venue(TradeHistory::Impossible { consecutive }, Resume::default());
        b.frame(at(2), "T 52");
        b.line.on_closed(0, at(10), LinkCause::Closed, &mut b.out);
        b.take();
        b.line.on_open(0, ConnMeta { number: 8 }, at(1_010), &mut b.out);
        b.take();
        b.frame(at(1_010), "ack 3");
        b.frame(at(1_100), "T 90");
        for s in 2..60 {
            b.timer(at(s * 1_000));
        }
        assert_eq!(b.of(TRADES), told);
        // The newest trades tell whether the stream is alive, and heal nothing.
        let heals = |kind| kind != FetchKind::BookSnapshot && (consecutive || kind != FetchKind::NewestTrades);
        let asked = |a: &LineAction| matches!(a, LineAction::Fetch(_, id, ..) if heals(id.kind));
        assert!(!b.actions.iter().any(asked), "{} actions", b.actions.len());
    }
}

/// What was dropped unread, and what a frame that nobody can read held, shows by no id.
#[test]
fn what_is_shed_or_garbled_is_told_though_no_id_tells_it() {
    let shed = |b: &mut Bench| {
        b.line.on_load(shed::ShedLevel::Trades, "test", at(3_000), &mut b.out);
        b.take();
        let dropped = b.line.sheds(0, Frame::Text(b"T 60")).expect("trades are dropped");
        b.line.on_shed(0, at(3_010), dropped);
        b.line.on_load(shed::ShedLevel::Normal, "test", at(3_020), &mut b.out);
        b.take();
    };
    let garble = |b: &mut Bench| b.frame(at(3_000), "#");
    for (what, cause) in [(&shed as &dyn Fn(&mut Bench), "shed"), (&garble, "malformed")] {
        let mut b = venue(TradeHistory::Impossible { consecutive: false }, Resume::default());
        b.frame(at(2), "T 52");
        what(&mut b);
        b.frame(at(3_100), "T 90");
        for s in 4..20 {
            b.timer(at(s * 1_000));
        }
        let rows = b.of(TRADES);
        let lost = format!("gap lost {cause} 0-0");
        assert!(rows.contains(&lost.as_str()) && b.line.instruments()[0].trades.open_gaps() == 0, "{rows:?}");
        let mut b = venue(LOOSE, Resume::default());
        b.frame(at(2), "T 52");
        what(&mut b);
        b.frame(at(3_100), "T 90");
        b.frame(at(3_101), "T 91");
        b.timer(at(4_000));
        b.answer(at(4_010), FetchKind::TradesAt, "52 60 90 91");
        for s in 5..20 {
            b.timer(at(s * 1_000));
        }
        let (open, healed) = (format!("gap open {cause} 0-0"), format!("gap healed {cause} 0-0"));
        let rows = b.of(TRADES);
        assert_eq!(rows, ["trade 52", &open, "trade 90", "trade 91", "trade 60 late", &healed]);
    }
}

#[test]
fn a_stream_that_was_cut_before_its_first_trade_may_have_missed_one() {
    let mut b = venue(LOOSE, Resume::default());
    cut(&mut b, at(10));
    b.frame(at(1_100), "T 90");
    assert_eq!(b.of(TRADES), ["gap open disconnected 0-0", "trade 90"]);
}

/// Right behind a hole more was traded than a page holds: asked from a little above it, the pages go down through that to the right edge,
/// and over the hole. A venue that does not show the right edge's trade yet is asked again.
#[test]
fn pages_go_down_through_what_was_traded_right_behind_a_hole() {
    const PAGE: usize = 4;
    let by = ByTime { page_max: PAGE as u64, reach: None, overlap: Duration::from_secs(5), downwards: true };
    // Every 300 ms one trade, of which the third to the sixth never came.
    let made = |id: u64| at(1_000 + id * 300);
    let mut overlap = Overlap::new(by, Duration::ZERO, &[], Ts::ZERO, &[]);
    for id in [1, 2] {
        assert_eq!(overlap.on_live(id.into(), made(id), made(id), 0), Live::Row);
    }
    overlap.doubt(GapCause::Disconnected, Ts::MAX, true);
    assert!(matches!(overlap.on_live(7.into(), made(7), made(7), 99), Live::AfterGap(_)));
    for id in 8..40 {
        assert_eq!(overlap.on_live(id.into(), made(id), made(id), 0), Live::Row);
    }
    let mut now = made(40);
    let mut page = |overlap: &mut Overlap, lacks: u64| {
        now = now + Duration::from_secs(20);
        let (gap, upto) = overlap.poll(false, now).unwrap();
        overlap.begin(gap);
        let shown: Vec<u64> = (1..40).filter(|id| *id != lacks && made(*id) <= upto).collect();
        let shown = &shown[shown.len().saturating_sub(PAGE)..];
        let new: Vec<u64> = shown.iter().copied().filter(|id| overlap.on_late((*id).into(), made(*id), now)).collect();
        (new, overlap.after_page(now))
    };
    let mut gained = Vec::new();
    let mut pages = 0;
    let verdicts = loop {
        // The fifth page would be the first to show the right edge.
        let (new, verdicts) = page(&mut overlap, if pages < 8 { 7 } else { 0 });
        gained.extend(new);
        pages += 1;
        if !verdicts.is_empty() {
            break verdicts;
        }
        assert!(pages < 30, "no verdict");
    };
    gained.sort_unstable();
    assert_eq!((verdicts[0].state, &gained[..]), (GapState::Healed, &[3, 4, 5, 6][..]), "{pages} pages: {verdicts:?}");
    assert!(pages > 8, "{pages}: not before the right edge was shown");
    assert_eq!(overlap.open_gaps(), 0);
}

/// The second trade source of a venue whose ids do not count: its repeats are known by name, also after a restart, and its holes are
/// told by time.
#[test]
fn the_second_source_knows_its_repeats_by_name() {
    let raw = "trade-raw.BTCUSDT.BINANCE";
    let mut resume = Resume::default();
    let recv = Ts(T0.0 - 1);
    let held = Named { id: 7.into(), event: recv, recv };
    let state = TopicResume { named: vec![held], last_recv: recv, last_event: recv, ..TopicResume::default() };
    resume.topics.insert(raw.into(), state);
    let script = Script { history: TradeHistory::Impossible { consecutive: false }, ..Script::default() };
    let mut plan = super::tests::plan_of(script, true, resume);
    plan.conns[0].expects.push((0, Kind::TradeRaw));
    let mut b = Bench::new(plan).open(T0);
    for (ms, frame) in [(1, "R 900"), (2, "R 5"), (3, "R 7"), (4, "R 800"), (5, "R 900"), (6, "R 5")] {
        b.line.on_frame(0, at(ms), Frame::Text(frame.as_bytes()), &mut b.out);
        let loose =
            |row: &Judged| !matches!(row.body, wholetape_model::Body::Trade(_)) || row.flags.has(RowFlags::LOOSE_ID);
        assert!(b.out.rows.iter().all(loose), "{:?}", b.out.rows);
        b.take();
    }
    assert_eq!(b.of(raw), ["gap lost down 0-0", "trade 900", "trade 5", "trade 800"], "no hole by id");
    cut(&mut b, at(10));
    b.frame(at(2_000), "R 801");
    b.frame(at(2_001), "R 800");
    b.timer(at(20_000));
    assert_eq!(b.of(raw), ["trade 801"]);
}

/// A cut lost nothing that ids could tell, and the venue's own bar counts one more.
#[test]
fn a_minute_with_less_than_its_bar_is_told_and_asked_for_again() {
    for (history, asks) in [(LOOSE, true), (TradeHistory::Impossible { consecutive: false }, false)] {
        let script = Script { history, live: true, ..Script::default() };
        let mut b = bench_of(script, true, Resume::default()).open(T0);
        // T0 is 20 s into a minute.
        let s = |s: u64| at(s * 1_000);
        let counts = |b: &Bench| (b.line.stats().minutes_equal, b.line.stats().minutes_differing);
        b.frame(s(30), "T 1");
        b.frame(s(41), "B 20 1");
        b.timer(s(57));
        assert_eq!(counts(&b), (0, 0), "{history:?}: no full minute yet, or not the venue's");
        b.frame(s(50), "T 2");
        b.frame(s(90), "T 3");
        b.frame(s(101), "B 40 2");
        b.timer(s(115));
        assert_eq!(counts(&b), (0, 0), "late ones may come");
        b.timer(s(117));
        assert_eq!(counts(&b), (1, 0), "{history:?}");
        b.frame(s(120), "T 4");
        b.frame(s(161), "B 100 2");
        b.timer(s(177));
        assert_eq!(counts(&b), (1, 1), "{history:?}");
        assert!(b.of("quality.BTCUSDT.BINANCE").iter().any(|row| row.contains("BarSum")), "{history:?}");
        b.frame(s(178), "T 5");
        b.timer(s(180));
        assert_eq!(b.asked(FetchKind::TradesAt).is_some(), asks, "{history:?}");
        assert_eq!(b.of(TRADES).iter().any(|row| row.starts_with("gap open")), asks, "{history:?}");
    }
}

/// A stream that is deaf from its beginning in a busy market: the newest trade is always of just now, and the stream owes it all the same.
/// One that brings a moment later what REST showed is left alone.
#[test]
fn a_deaf_stream_of_trades_is_found_in_a_busy_market() {
    for (history, brings) in
        [LOOSE, TradeHistory::Impossible { consecutive: false }].map(|h| [(h, false), (h, true)]).concat()
    {
        let script = Script { history, tick: Duration::from_millis(1), ..Script::default() };
        let mut b = bench_of(script, true, Resume::default()).open(T0);
        let is_left = |b: &Bench| b.actions.iter().any(|a| matches!(a, LineAction::Silent(..)));
        let mut answers = 0;
        for now in (500..30_000).step_by(500) {
            b.timer(at(now));
            if b.asked(FetchKind::NewestTrades).is_some() {
                answers += 1;
                b.answer(at(now), FetchKind::NewestTrades, &now.to_string());
                if brings {
                    b.frame(at(now + 400), &format!("T {now}"));
                }
            }
        }
        assert!(answers > 1, "{history:?}: {answers}");
        assert_eq!(is_left(&b), !brings, "{history:?}, brings: {brings}");
    }
}

/// Whether anything is missing no id tells: the venue's newest trades tell that a stream is dead. Then its connection is left, and what it
/// missed is confessed, or asked for, from its own last trade on.
#[test]
fn a_silent_stream_of_trades_is_found_by_the_venues_newest() {
    for history in [LOOSE, TradeHistory::Impossible { consecutive: false }] {
        let script = Script { history, tick: Duration::from_millis(1), ..Script::default() };
        let mut b = bench_of(script, true, Resume::default()).open(T0);
        let mut now = 0;
        let mut probe = |b: &mut Bench, newest: &str| {
            b.actions.clear();
            while b.asked(FetchKind::NewestTrades).is_none() {
                now += 500;
                assert!(now < 150_000, "{history:?}: nobody asks");
                b.timer(at(now));
            }
            b.answer(at(now), FetchKind::NewestTrades, newest);
            (at(now), b.actions.iter().any(|a| matches!(a, LineAction::Silent(..))))
        };
        assert!(!probe(&mut b, "1").1, "{history:?}: what was traded before the stream says nothing of it");
        b.frame(at(20_001), "T 20001");
        b.frame(at(22_000), "T 22000");
        assert!(!probe(&mut b, "22000").1, "{history:?}: a quiet market is left alone");
        // It is no page of a hole: nothing of it is kept.
        let (now, silent) = probe(&mut b, "1 23000");
        assert!(silent && b.of(TRADES) == ["trade 20001", "trade 22000"], "{history:?}: {:?}", b.of(TRADES));
        cut(&mut b, now);
        b.frame(now + Duration::from_secs(2), "T 170000");
        assert!(b.gap_starts.iter().any(|g| g.0 == TRADES), "{history:?}: {:?}", b.of(TRADES));
        let from = b.gap_starts.iter().filter(|g| g.0 == TRADES).map(|g| g.1).min();
        assert!(from.is_some_and(|from| from <= at(22_001)), "{history:?}: from its own last trade on: {from:?}");
    }
}
