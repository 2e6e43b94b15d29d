//! Traps of Bybit's books and trades: the session, the splice and the line together, on frames as the documents spell them
//! (<https://github.com/bybit-exchange/docs>, state 2026-07-24, read 2026-11-20).

use std::time::Duration;

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineAction, LineOut, LinePlan, Resume};
use wholetape_model::{Body, BookAction, InstrumentId, Kind, LinkCause, Side, Ts};
use wholetape_venue::{Channel, Frame, SplitLimits, connections};

const T0: Ts = Ts(1_763_700_000_000_000_000);
const SYMBOLS: [&str; 2] = ["AAABBB", "CCCBBB"];

fn at(ms: u64) -> Ts {
    T0 + Duration::from_millis(ms)
}

struct Market {
    line: Line,
    out: LineOut,
    now: u64,
    /// Rows, in order: topic's instrument and what it says.
    rows: Vec<(usize, String)>,
    sent: Vec<String>,
    fetched: usize,
    acked: u32,
}

fn market(channels: &[Channel]) -> Market {
    let named: Vec<_> = (0..).zip(SYMBOLS.map(str::to_owned)).collect();
    let plans = connections("bybit-linear", &named, channels, &SplitLimits::default()).unwrap();
    let plan = LinePlan {
        name: "test".into(),
        instruments: SYMBOLS.map(|s| InstrumentId::new(&format!("{s}-LINEAR"), "BYBIT")).to_vec(),
        conns: plans.iter().map(|p| ConnPlan::of(p).unwrap()).collect(),
        trade_source: Kind::Trade,
        heal: true,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume: Resume::default(),
    };
    let (line, out) = (Line::new(plan), LineOut::default());
    let mut market = Market { line, out, now: 0, rows: Vec::new(), sent: Vec::new(), fetched: 0, acked: 0 };
    market.open(1);
    market
}

impl Market {
    fn open(&mut self, number: u32) {
        self.line.on_open(0, ConnMeta { number }, at(self.now), &mut self.out);
        self.take();
        self.pass(10);
    }

    fn close(&mut self) {
        self.line.on_closed(0, at(self.now), LinkCause::Error, &mut self.out);
        self.take();
    }

    /// Time passes; what the line sends is acknowledged at once.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now += 10;
            self.line.on_timer(at(self.now), &mut self.out);
            self.take();
            while (self.acked as usize) < self.sent.len() {
                self.acked += 1;
                let op = if self.sent[self.acked as usize - 1].contains("unsubscribe") {
                    "unsubscribe"
                } else {
                    "subscribe"
                };
                let id = self.acked;
                self.frame(&format!(r#"{{"success":true,"ret_msg":"","conn_id":"a","req_id":"{id}","op":"{op}"}}"#));
            }
        }
    }

    fn frame(&mut self, text: &str) {
        self.line.on_frame(0, at(self.now), Frame::Text(text.as_bytes()), &mut self.out);
        self.take();
    }

    fn book(&mut self, ix: usize, kind: &str, u: u64, bids: &str, asks: &str) {
        let (symbol, ts) = (SYMBOLS[ix], at(self.now).millis());
        self.frame(&format!(
            r#"{{"topic":"orderbook.200.{symbol}","type":"{kind}","ts":{ts},"data":{{"s":"{symbol}","b":[{bids}],"a":[{asks}],"u":{u},"seq":{u}}},"cts":{ts}}}"#
        ));
    }

    fn trade(&mut self, n: u32) {
        let (symbol, ts) = (SYMBOLS[0], at(self.now).millis());
        self.frame(&format!(
            r#"{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":{ts},"data":[{{"T":{ts},"s":"{symbol}","S":"Buy","v":"1","p":"12.5","i":"20f43950-d8dd-5b31-9112-a178eb60{n:04}","BT":false,"seq":{n}}}]}}"#
        ));
    }

    fn take(&mut self) {
        for row in &self.out.rows {
            let state = &self.line.topics()[row.topic as usize];
            let text = match self.out.arena().view(&row.body) {
                Body::Book(b) if b.action == BookAction::Snapshot => format!("snapshot {}", b.last_id),
                Body::Book(b) if b.action == BookAction::Delta => format!("delta {}", b.last_id),
                Body::Trade(t) => format!("trade {}", &t.id.to_string()[32..]),
                Body::Validity(v) => v.state.as_str().to_owned(),
                Body::Gap(g) => format!("gap {} {}: {}", g.state.as_str(), g.cause.as_str(), g.why),
                _ => continue,
            };
            self.rows.push((state.instrument as usize, text));
        }
        for action in &self.out.actions {
            match action {
                LineAction::Send(_, text) => self.sent.push(text.clone()),
                LineAction::Fetch(..) => self.fetched += 1,
                _ => {}
            }
        }
        self.out.clear();
    }

    fn of(&mut self, ix: usize) -> Vec<String> {
        let (mine, others) = std::mem::take(&mut self.rows).into_iter().partition(|(of, _)| *of == ix);
        self.rows = others;
        let mine: Vec<(usize, String)> = mine;
        mine.into_iter().map(|(_, text)| text).collect()
    }

    /// Bids of a live book, best first; nothing of one that is not.
    fn bids(&self, ix: usize) -> Vec<(i64, i64)> {
        let book = self.line.instruments()[ix].book.as_ref().unwrap().book();
        let mut levels = Vec::new();
        if book.is_live() {
            book.top(Side::Buy, 10, &mut levels);
        }
        levels.iter().map(|l| (l.price.0, l.size.0)).collect()
    }
}

/// T6: the venue deletes a level that is pushed out of its depth, and tells it again when it is back.
#[test]
fn a_level_leaves_the_depth_and_returns() {
    let mut m = market(&[Channel::Book]);
    let ask = r#"["12.60","1"]"#;
    m.book(0, "snapshot", 40, r#"["12.50","1"],["12.49","2"]"#, ask);
    m.book(0, "delta", 41, r#"["12.51","3"],["12.49","0"]"#, "");
    assert_eq!(m.bids(0), [(1_251, 3), (1_250, 1)]);
    m.book(0, "delta", 42, r#"["12.51","0"],["12.49","5"]"#, "");
    assert_eq!(m.bids(0), [(1_250, 1), (1_249, 5)]);
    assert_eq!(m.of(0), ["snapshot 40", "live", "delta 41", "delta 42"]);
}

/// T5: what breaks one book touches no other, and that one alone is subscribed anew.
#[test]
fn a_break_in_one_book_touches_no_other() {
    let mut m = market(&[Channel::Book]);
    for ix in 0..2 {
        m.book(ix, "snapshot", 40, r#"["12.50","1"]"#, r#"["12.60","1"]"#);
    }
    assert_eq!(m.sent.len(), 1);
    m.book(0, "delta", 42, r#"["12.51","3"]"#, "");
    assert!(m.bids(0).is_empty(), "41 is missing");
    m.pass(1_500);
    let anew = |op: &str, id: u32| format!(r#"{{"req_id":"{id}","op":"{op}","args":["orderbook.200.AAABBB"]}}"#);
    assert_eq!(m.sent[1..], [anew("unsubscribe", 2), anew("subscribe", 3)]);
    m.book(1, "delta", 41, r#"["12.50","7"]"#, "");
    assert_eq!(m.bids(1), [(1_250, 7)]);
    m.book(0, "snapshot", 90, r#"["12.52","4"]"#, r#"["12.60","1"]"#);
    assert_eq!(m.bids(0), [(1_252, 4)]);
    assert_eq!(m.of(1), ["snapshot 40", "live", "delta 41"]);
    let told = m.of(0);
    assert!(told.iter().any(|t| t.starts_with("gap open") && t.contains("expected 41, got 42")), "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("gap lost")) && told.last().unwrap() == "live", "{told:?}");
    assert_eq!(m.fetched, 0, "no book is asked for over REST");
}

/// A restart of the service begins the count anew; a snapshot may come at any time, also with the last `u` again.
#[test]
fn the_service_restarts_and_snapshots_come_unasked() {
    let mut m = market(&[Channel::Book]);
    let ask = r#"["12.60","1"]"#;
    m.book(0, "snapshot", 40, r#"["12.50","1"],["12.40","1"]"#, ask);
    m.book(0, "delta", 41, r#"["12.51","3"]"#, "");
    m.book(0, "delta", 1, r#"["12.49","2"]"#, ask);
    assert_eq!(m.bids(0), [(1_249, 2)], "nothing of before is left");
    m.book(0, "delta", 2, r#"["12.48","2"]"#, "");
    m.book(0, "snapshot", 2, r#"["12.47","2"]"#, ask);
    m.book(0, "delta", 3, r#"["12.46","2"]"#, "");
    assert_eq!(m.bids(0), [(1_247, 2), (1_246, 2)]);
    let rows = m.of(0);
    let (gaps, rows): (Vec<String>, Vec<String>) = rows.into_iter().partition(|row| row.starts_with("gap"));
    assert_eq!(rows, ["snapshot 40", "live", "delta 41", "snapshot 1", "delta 2", "snapshot 2", "delta 3"]);
    // What the service had published and not sent, if anything: in the book's topic, and for operators.
    assert!(gaps.len() == 2 && gaps.iter().all(|gap| gap.starts_with("gap lost resync")), "{gaps:?}");
    assert_eq!(m.sent.len(), 1, "nothing broke");
}

/// What a stream missed is not to be had: the hole is told and stays one. What is sent again is known by its id.
#[test]
fn a_hole_in_the_trades_is_confessed() {
    let mut m = market(&[Channel::Trade]);
    for n in [1, 2, 2] {
        m.trade(n);
        m.pass(100);
    }
    m.close();
    m.now += 5_000;
    m.open(2);
    m.trade(2);
    m.pass(100);
    m.trade(9);
    m.pass(2_000);
    let told = m.of(0);
    let trades: Vec<&String> = told.iter().filter(|t| t.starts_with("trade")).collect();
    assert_eq!(trades, ["trade 0001", "trade 0002", "trade 0009"]);
    assert!(told.iter().any(|t| t.starts_with("gap open disconnected")), "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("gap lost disconnected")), "{told:?}");
    assert!(!told.iter().any(|t| t.starts_with("gap healed")), "{told:?}");
}

/// A rate that stands for hours is one row: its silence is no fault of the stream, and costs no connection.
#[test]
fn what_comes_when_it_changes_is_not_missed() {
    let mut m = market(&[Channel::Trade, Channel::Ticker, Channel::Mark]);
    let ticker = |m: &mut Market, kind: &str, fields: &str| {
        let ts = at(m.now).millis();
        m.frame(&format!(
            r#"{{"topic":"tickers.AAABBB","type":"{kind}","data":{{"symbol":"AAABBB"{fields}}},"cs":7,"ts":{ts}}}"#
        ));
    };
    ticker(
        &mut m,
        "snapshot",
        r#","lastPrice":"12.5","markPrice":"12.5","indexPrice":"12.5","fundingRate":"0.0001","nextFundingTime":"1763720000000""#,
    );
    for n in 0..3_000 {
        m.trade(n);
        ticker(&mut m, "delta", r#","lastPrice":"12.5""#);
        m.now += 100;
        m.line.on_timer(at(m.now), &mut m.out);
        let left = m.out.actions.iter().find(|a| matches!(a, LineAction::Reconnect(..) | LineAction::Silent(..)));
        assert!(left.is_none(), "{left:?} after {n}");
        m.take();
    }
}
