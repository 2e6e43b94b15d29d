//! What each level of shedding drops, and that all of it is confessed.

use super::*;

/// A line with all classes, live, with trades, quotes, tickers and a book.
fn loaded() -> Bench {
    let mut b = bench(true, Resume::default());
    let expects = [Kind::Trade, Kind::TradeRaw, Kind::Quote, Kind::Book, Kind::Ticker];
    b.line = Line::new(LinePlan {
        name: "test".into(),
        instruments: vec![InstrumentId::new("BTCUSDT", "BINANCE")],
        conns: vec![ConnPlan {
            session: Box::new(Script::default()),
            expects: expects.map(|kind| (0, kind)).to_vec(),
            polled: Vec::new(),
            streams: 3,
        }],
        trade_source: Kind::Trade,
        heal: true,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume: Resume::default(),
    });
    let mut b = b.open(T0);
    b.frame(at(1), "D 10 10 80 1");
    b.timer(at(2));
    b.answer(at(3), FetchKind::BookSnapshot, "10");
    for frame in ["D 11 11 80 2", "T 1", "R 1", "Q 1", "K 1"] {
        b.frame(at(4), frame);
    }
    b.rows.clear();
    b
}

impl Bench {
    fn load(&mut self, now: Ts, level: shed::ShedLevel) {
        self.line.on_load(level, "test", now, &mut self.out);
        self.take();
    }

    /// As the shell does: a frame is shed or read.
    fn offer(&mut self, now: Ts, text: &str) {
        match self.line.sheds(0, Frame::Text(text.as_bytes())) {
            Some(peek) => self.line.on_shed(0, now, peek),
            None => self.frame(now, text),
        }
    }
}

const TICKER: &str = "ticker.BTCUSDT.BINANCE";
const RAW: &str = "trade-raw.BTCUSDT.BINANCE";

#[test]
fn a_lagging_line_has_no_live_book_and_loses_nothing() {
    use shed::ShedLevel;
    let mut b = loaded();
    b.load(at(10), ShedLevel::Lagging);
    b.offer(at(11), "D 12 12 80 3");
    b.offer(at(12), "T 2");
    assert_eq!(b.of(BOOK), ["validity stale 11", "Delta 12"]);
    assert!(b.line.instruments()[0].book.as_ref().unwrap().book().verified().is_none());
    b.load(at(20), ShedLevel::Normal);
    b.offer(at(21), "D 13 13 80 3");
    assert_eq!(b.of(BOOK), ["validity stale 11", "Delta 12", "validity live 12", "Delta 13"], "the chain never broke");
    assert_eq!(b.of(TRADES), ["trade 2"]);
    assert_eq!(b.asked(FetchKind::BookSnapshot), None);
    assert_eq!((b.line.shed_frames(), b.line.stats().gaps_opened), ([0; 4], 0));
}

#[test]
fn a_book_that_gets_right_while_the_line_lags_is_stale_at_once() {
    let mut b = loaded();
    b.load(at(10), shed::ShedLevel::Lagging);
    b.frame(at(11), "D 20 20 80 3");
    b.timer(at(12));
    b.answer(at(13), FetchKind::BookSnapshot, "20");
    let rows = b.of(BOOK);
    assert_eq!(rows[rows.len() - 2..], ["validity live 20", "validity stale 20"], "{rows:?}");
}

#[test]
fn each_level_drops_its_frames_unread_and_confesses_them() {
    use shed::ShedLevel::{Depth, Lagging, Normal, RawTrades, Ticker, Trades};
    let mut b = loaded();
    for (i, level) in [Lagging, Ticker, Depth, RawTrades, Trades].into_iter().enumerate() {
        let i = i as u64;
        b.load(at(100 * (i + 1)), level);
        for frame in [
            format!("K {}", i + 2),
            format!("D {0} {0} 80 1", i + 12),
            format!("R {}", i + 2),
            format!("T {}", i + 2),
            format!("Q {}", i + 2),
        ] {
            b.offer(at(100 * (i + 1) + 1), &frame);
        }
        b.timer(at(100 * (i + 1) + 50));
    }
    assert_eq!(b.line.shed_frames(), [4, 3, 2, 1]);
    assert_eq!(b.of(TICKER), ["ticker", "gap open shed 0-0"]);
    assert_eq!(b.of(RAW), ["trade 2", "trade 3", "trade 4", "gap open shed 0-0"]);
    assert_eq!(b.of(TRADES), ["trade 2", "trade 3", "trade 4", "trade 5"]);
    assert_eq!(b.of(QUOTES), ["quote 2", "quote 3", "quote 4", "quote 5", "quote 6"], "the top stays");
    let book = ["validity stale 11", "Delta 12", "Delta 13", "validity syncing 13", "gap open shed 14-14"];
    assert_eq!(b.of(BOOK), book);
    // Long after: nothing silent, nothing asked for.
    for s in 1..60 {
        for i in 0..30 {
            b.offer(at(s * 1_000 + i), &format!("Q {}", 100 * s + i));
        }
        b.timer(at(s * 1_000 + 100));
    }
    assert!(b.actions.iter().all(|a| !matches!(a, LineAction::Silent(..))), "{:?}", b.actions);
    assert_eq!((b.asked(FetchKind::BookSnapshot), b.asked(FetchKind::TradesFrom)), (None, None));
    b.rows.clear();
    // Back, one by one.
    b.load(at(70_000), RawTrades);
    b.offer(at(70_001), "T 40");
    assert_eq!(b.of(TRADES), ["gap open shed 6-39", "trade 40"]);
    b.timer(at(70_500));
    assert_eq!(b.asked(FetchKind::TradesFrom).unwrap().arg, 5, "trades are asked for by id, with their neighbour");
    b.load(at(71_000), Depth);
    b.offer(at(71_001), "R 40");
    assert_eq!(b.of(RAW), ["gap lost shed 0-0", "gap open shed 5-39", "trade 40"]);
    b.load(at(72_000), Ticker);
    b.offer(at(72_001), "D 50 50 80 1");
    b.timer(at(72_002));
    b.answer(at(72_100), FetchKind::BookSnapshot, "50");
    let book = ["gap lost shed 14-50", "Snapshot 50", "validity live 50", "validity stale 50"];
    assert_eq!(b.of(BOOK), book);
    b.load(at(73_000), Lagging);
    b.offer(at(73_001), "K 40");
    assert_eq!(b.of(TICKER), ["gap lost shed 0-0", "ticker"]);
    b.load(at(74_000), Normal);
    assert_eq!(b.of(BOOK).last(), Some(&"validity live 50"));
}

#[test]
fn a_cut_while_shedding_ends_when_both_are_over() {
    use shed::ShedLevel::{Lagging, Normal, Trades};
    let mut b = loaded();
    b.load(at(10), Trades);
    b.line.on_closed(0, at(20), LinkCause::Closed, &mut b.out);
    b.take();
    b.line.on_open(0, ConnMeta { number: 8 }, at(500), &mut b.out);
    b.take();
    b.frame(at(510), "ack 3");
    b.offer(at(520), "K 9");
    b.timer(at(5_000));
    assert_eq!(b.of(TICKER), ["gap open shed 0-0"], "subscribed, and still not listened to");
    assert_eq!(b.asked(FetchKind::BookSnapshot), None);
    b.line.on_closed(0, at(6_000), LinkCause::Closed, &mut b.out);
    b.take();
    b.load(at(6_500), Lagging);
    b.load(at(6_600), Normal);
    assert_eq!(b.of(TICKER).len(), 1, "away: nothing is read yet");
    b.line.on_open(0, ConnMeta { number: 9 }, at(7_000), &mut b.out);
    b.take();
    b.frame(at(7_010), "ack 3");
    b.offer(at(7_020), "K 12");
    assert_eq!(b.of(TICKER), ["gap open shed 0-0", "gap lost shed 0-0", "ticker"]);
    b.offer(at(7_030), "D 90 90 80 1");
    b.timer(at(7_040));
    b.answer(at(7_050), FetchKind::BookSnapshot, "90");
    assert_eq!(b.of(BOOK).last(), Some(&"validity live 90"));
    b.offer(at(7_060), "T 9");
    assert_eq!(b.of(TRADES), ["gap open shed 2-8", "trade 9"]);
}

#[test]
fn a_snapshot_that_was_under_way_makes_no_shed_book_live() {
    let mut b = loaded();
    b.frame(at(10), "D 20 20 80 3");
    b.timer(at(11));
    let id = b.asked(FetchKind::BookSnapshot).unwrap();
    b.load(at(12), shed::ShedLevel::Depth);
    b.rows.clear();
    b.line.on_fetched(0, at(13), id, Reply::Answer { status: 200, body: b"20" }, &mut b.out);
    b.take();
    assert_eq!(b.of(BOOK), [""; 0]);
}

/// Quotes without a time of their own came 2 s late, and then the connection broke: what was published in those 2 s was on its
/// way behind them. Found by a demo: a cut within a stall.
#[test]
fn a_cut_behind_late_frames_is_confessed_from_when_they_were_made() {
    let mut b = loaded();
    for id in 2..50 {
        // The script's trades are made at T0 + id ns.
        b.frame(at(4), &format!("T {id}"));
    }
    b.frame(at(2_000), "T 50");
    b.frame(at(2_000), "Q 2");
    b.line.on_closed(0, at(2_001), LinkCause::Error, &mut b.out);
    let since = b.out.rows.iter().find_map(|row| match row.body {
        Body::Gap(gap) if b.line.topics()[row.topic as usize].kind == Kind::Quote => Some(gap.from_ts),
        _ => None,
    });
    let since = since.expect("the quotes are confessed");
    assert!(since < at(10), "{:?} after the last event", since.since(T0));
}

/// A frame that is dropped may hold events of any kind that its peek stands for: all of them are confessed at that level.
#[test]
fn whatever_a_dropped_frame_may_hold_is_shed_with_it() {
    use crate::line::shed::ShedLevel;
    use Kind as K;
    use wholetape_venue::Peek;
    let bar = K::Bar(wholetape_model::Period::parse("1m").unwrap());
    let streamed = [
        [K::Trade, K::TradeRaw, K::Quote, K::Book],
        [K::Ticker, bar, K::Mark, K::Index],
        [K::Funding, K::OpenInterest, K::Liquidation, K::Status],
    ];
    let all = streamed.as_flattened();
    for peeked in all {
        let peek = Peek { kind: *peeked, ts_event: Ts::ZERO };
        let Some(level) = ShedLevel::of(*peeked) else { continue };
        for kind in all.iter().filter(|kind| peek.stands_for(**kind)) {
            assert_eq!(ShedLevel::of(*kind), Some(level), "{kind} in frames of {peeked}");
        }
    }
}
