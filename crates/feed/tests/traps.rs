//! Traps of the Binance books, each by its number in the venue sheets' list: the session, the splice and the line together,
//! on frames as the documents spell them (<https://github.com/binance/binance-spot-api-docs>, read 2026-11-20).

use std::time::Duration;

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineAction, LineOut, LinePlan, Resume};
use wholetape_model::{Body, BookAction, InstrumentId, Kind, Scales, Side, Ts, ValidityState};
use wholetape_venue::{Channel, FetchId, FetchKind, Frame, Reply, SplitLimits, connections};

const T0: Ts = Ts(1_763_700_000_000_000_000);

fn at(ms: u64) -> Ts {
    T0 + Duration::from_millis(ms)
}

struct Market {
    line: Line,
    out: LineOut,
    futures: bool,
    asked: Vec<FetchId>,
    /// What the book's topic got, in order.
    rows: Vec<String>,
}

fn market(venue: &str) -> Market {
    let plans = connections(venue, &[(0, "BTCUSDT".into())], &[Channel::Book], &SplitLimits::default()).unwrap();
    let futures = venue == "binance-usdm";
    let plan = LinePlan {
        name: "test".into(),
        instruments: vec![InstrumentId::new(if futures { "BTCUSDT-PERP" } else { "BTCUSDT" }, "BINANCE")],
        conns: plans.iter().map(|p| ConnPlan::of(p).unwrap()).collect(),
        trade_source: Kind::Trade,
        heal: true,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume: Resume::default(),
    };
    let line = Line::new(plan);
    let mut market = Market { line, out: LineOut::default(), futures, asked: Vec::new(), rows: Vec::new() };
    market.open(at(0));
    market
}

impl Market {
    fn open(&mut self, now: Ts) {
        self.line.on_open(0, ConnMeta { number: 1 }, now, &mut self.out);
        // The subscription goes out with the first timer.
        self.line.on_timer(now, &mut self.out);
        let acks = self.out.actions.iter().filter(|a| matches!(a, LineAction::Send(..))).count();
        self.take();
        for id in 1..=acks {
            self.frame(now, &format!(r#"{{"result":null,"id":{id}}}"#));
        }
    }

    fn take(&mut self) {
        for row in &self.out.rows {
            let topic = &self.line.topics()[row.topic as usize].topic;
            if topic.kind() != Kind::Book {
                continue;
            }
            let text = match self.out.arena().view(&row.body) {
                Body::Book(b) if b.action == BookAction::Snapshot => format!("snapshot {}", b.last_id),
                Body::Book(b) => format!("delta {}-{}", b.first_id, b.last_id),
                Body::Validity(v) => v.state.as_str().to_owned(),
                Body::Gap(g) => format!("gap {} {}-{}", g.state.as_str(), g.from_id, g.to_id),
                other => format!("{other:?}"),
            };
            self.rows.push(text);
        }
        for action in self.out.actions.drain(..) {
            if let LineAction::Fetch(_, id, ..) = action {
                self.asked.push(id);
            }
        }
        self.out.clear();
    }

    fn frame(&mut self, now: Ts, text: &str) {
        self.line.on_frame(0, now, Frame::Text(text.as_bytes()), &mut self.out);
        self.take();
        self.line.on_timer(now, &mut self.out);
        self.take();
    }

    /// A depth update; `pu` where the venue has one. One bid level.
    fn delta(&mut self, ms: u64, first: u64, last: u64, pu: u64, bid: (&str, &str)) {
        let (e, (price, size)) = (at(ms).millis(), bid);
        let data = if self.futures {
            format!(
                r#"{{"e":"depthUpdate","E":{e},"T":{e},"s":"BTCUSDT","U":{first},"u":{last},"pu":{pu},"b":[["{price}","{size}"]],"a":[],"st":1}}"#
            )
        } else {
            format!(
                r#"{{"e":"depthUpdate","E":{e},"s":"BTCUSDT","U":{first},"u":{last},"b":[["{price}","{size}"]],"a":[]}}"#
            )
        };
        self.frame(at(ms), &format!(r#"{{"stream":"btcusdt@depth@100ms","data":{data}}}"#));
    }

    /// Answers the newest question for a snapshot; bids as given, one ask far above.
    fn snapshot(&mut self, ms: u64, last: u64, bids: &str) {
        let at_index = self.asked.iter().rposition(|id| id.kind == FetchKind::BookSnapshot).expect("nothing was asked");
        let id = self.asked.remove(at_index);
        let body = format!(
            r#"{{"lastUpdateId":{last},"E":{e},"T":{e},"bids":[{bids}],"asks":[["70000.00","1.000"]]}}"#,
            e = at(ms).millis()
        );
        self.line.on_fetched(0, at(ms), id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut self.out);
        self.take();
        self.line.on_timer(at(ms), &mut self.out);
        self.take();
    }

    fn wait(&mut self, ms: u64) {
        self.line.on_timer(at(ms), &mut self.out);
        self.take();
    }

    fn validity(&self) -> ValidityState {
        self.line.instruments()[0].book.as_ref().map_or(ValidityState::Syncing, |b| b.book().validity())
    }

    /// Bids as text, best first; only of a book that is right.
    fn bids(&self) -> Vec<String> {
        let book = self.line.instruments()[0].book.as_ref().unwrap().book().verified().expect("a right book");
        let mut levels = Vec::new();
        book.all(Side::Buy, &mut levels);
        let Scales { .. } = book.scales();
        levels.iter().map(|l| format!("{} {}", book.scales().price(l.price), book.scales().size(l.size))).collect()
    }
}

#[test]
fn t1_a_snapshot_older_than_the_first_buffered_delta_is_refused_and_asked_again() {
    for venue in ["binance-spot", "binance-usdm"] {
        let mut m = market(venue);
        m.delta(100, 120, 125, 119, ("60000.00", "1.000"));
        m.snapshot(150, 100, r#"["59999.00","2.000"]"#);
        assert_eq!(m.validity(), ValidityState::Syncing, "101 to 119 are missing");
        assert!(m.rows.iter().all(|r| !r.starts_with("snapshot") && !r.starts_with("delta")), "{:?}", m.rows);
        m.wait(1_000);
        m.snapshot(1_050, 122, r#"["59999.00","2.000"]"#);
        assert_eq!(m.validity(), ValidityState::Live, "{venue}: {:?}", m.rows);
        assert_eq!(m.bids(), ["60000.00 1.000", "59999.00 2.000"]);
    }
}

#[test]
fn t2_deltas_during_the_snapshot_fetch_are_kept_and_spliced_in_order() {
    let mut m = market("binance-spot");
    m.delta(100, 101, 105, 0, ("60000.00", "1.000"));
    m.delta(200, 106, 110, 0, ("60000.00", "2.000"));
    m.delta(300, 111, 115, 0, ("60001.00", "3.000"));
    m.snapshot(350, 107, r#"["60000.00","9.000"],["59990.00","1.000"]"#);
    assert_eq!(m.rows, ["snapshot 107", "delta 106-110", "delta 111-115", "live"], "101-105 is in the snapshot");
    assert_eq!(m.bids(), ["60001.00 3.000", "60000.00 2.000", "59990.00 1.000"]);
}

#[test]
fn t3_an_older_snapshot_never_goes_over_newer_deltas() {
    let mut m = market("binance-spot");
    m.delta(100, 101, 105, 0, ("60000.00", "1.000"));
    m.snapshot(150, 103, r#"["60000.00","9.000"]"#);
    m.delta(200, 106, 110, 0, ("60000.00", "2.000"));
    assert_eq!((m.validity(), m.bids()), (ValidityState::Live, vec!["60000.00 2.000".to_owned()]));
    // A second answer, late, to a question that was asked before.
    m.asked.push(FetchId { kind: FetchKind::BookSnapshot, instrument: 0, arg: 0 });
    m.snapshot(300, 104, r#"["1.00","1.000"]"#);
    assert_eq!(m.bids(), ["60000.00 2.000"]);
    assert_eq!(m.rows.iter().filter(|r| r.starts_with("snapshot")).count(), 1);
}

#[test]
fn t4_the_snapshot_after_a_reconnect_replaces_and_does_not_merge() {
    let mut m = market("binance-spot");
    m.delta(100, 101, 105, 0, ("60000.00", "1.000"));
    m.snapshot(150, 103, r#"["60000.00","9.000"],["59000.00","4.000"]"#);
    assert_eq!(m.bids().len(), 2);
    m.line.on_closed(0, at(500), wholetape_model::LinkCause::Closed, &mut m.out);
    m.take();
    assert_eq!(m.validity(), ValidityState::Syncing);
    m.open(at(1_000));
    m.delta(1_100, 201, 205, 0, ("61000.00", "1.000"));
    m.snapshot(1_150, 203, r#"["60500.00","1.000"]"#);
    assert_eq!(m.bids(), ["61000.00 1.000", "60500.00 1.000"], "59000 and 60000 went while nobody looked");
    assert!(m.rows.contains(&"gap lost 106-203".to_owned()), "{:?}", m.rows);
}

/// `U <= lastUpdateId <= u` is the documented first update on futures; one with `pu == lastUpdateId` continues directly and
/// must not be refused for its `U` beyond.
#[test]
fn t7_a_first_futures_update_with_pu_equal_to_the_snapshot_is_valid() {
    let mut m = market("binance-usdm");
    m.delta(100, 90, 95, 80, ("60000.00", "1.000"));
    m.snapshot(150, 95, r#"["60000.00","1.000"]"#);
    m.delta(200, 300, 310, 95, ("60001.00", "1.000"));
    assert_eq!(m.validity(), ValidityState::Live, "{:?}", m.rows);
    assert_eq!(m.bids(), ["60001.00 1.000", "60000.00 1.000"]);
    // And in the queue, when the snapshot comes later.
    let mut m = market("binance-usdm");
    m.delta(100, 300, 310, 95, ("60001.00", "1.000"));
    m.snapshot(150, 95, r#"["60000.00","1.000"]"#);
    assert_eq!(m.validity(), ValidityState::Live, "{:?}", m.rows);
    // Any other `pu` is a gap.
    m.delta(300, 400, 410, 311, ("60002.00", "1.000"));
    assert_eq!(m.validity(), ValidityState::Syncing);
}
