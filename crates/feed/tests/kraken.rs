//! Kraken through the session and the whole line: books that nothing but their checksum proves, and trades that are healed by id though the
//! venue pages by time. Messages as its documents spell them (read 2026-11-20); checksums are computed here once more, digit by digit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineAction, LineOut, LinePlan, Resume};
use wholetape_model::{Body, BookAction, InstrumentId, Kind, LinkCause, Side, Ts};
use wholetape_venue::{Channel, FetchKind, Frame, Reply, SessionPlan, SplitLimits, connections, open};

const T0: i64 = 1_790_000_000_000;
const SYMBOLS: [&str; 2] = ["AAA/USD", "BBB/USD"];
const DEPTH: usize = 10;

fn at(ms: i64) -> Ts {
    Ts::from_millis(T0 + ms)
}

fn crc32(text: &str) -> u32 {
    !text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// The venue's whole book: cents and units of 10^-8.
#[derive(Default, Clone)]
struct Theirs {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

type Change = (Side, i64, i64);

impl Theirs {
    fn set(&mut self, (side, price, size): Change) {
        let of = if side == Side::Buy { &mut self.bids } else { &mut self.asks };
        if size == 0 {
            of.remove(&price)
        } else {
            of.insert(price, size)
        };
    }

    fn top(&self, side: Side) -> Vec<(i64, i64)> {
        let level = |(p, s): (&i64, &i64)| (*p, *s);
        match side {
            Side::Buy => self.bids.iter().rev().map(level).take(DEPTH).collect(),
            Side::Sell => self.asks.iter().map(level).take(DEPTH).collect(),
        }
    }

    fn checksum(&self) -> u32 {
        let digits = |levels: Vec<(i64, i64)>| levels.iter().map(|(p, s)| format!("{p}{s}")).collect::<String>();
        crc32(&(digits(self.top(Side::Sell)) + &digits(self.top(Side::Buy))))
    }
}

fn printed(levels: &[(i64, i64)]) -> String {
    let level = |(p, s): &(i64, i64)| {
        let (price, size) =
            (format!("{}.{:02}", p / 100, p % 100), format!("{}.{:08}", s / 100_000_000, s % 100_000_000));
        format!(r#"{{"price":{price},"qty":{size}}}"#)
    };
    levels.iter().map(level).collect::<Vec<_>>().join(",")
}

struct Market {
    line: Line,
    out: LineOut,
    now: i64,
    theirs: [Theirs; 2],
    /// Topic's instrument and what its row says.
    rows: Vec<(usize, String)>,
    sent: Vec<String>,
    /// Trade `n` of the first instrument has id `n + 1` and happened at this nanosecond.
    traded: Vec<i64>,
    asked: u32,
}

impl Market {
    fn new(channels: &[Channel]) -> Self {
        Self::with_backlog(channels, Duration::ZERO)
    }

    fn with_backlog(channels: &[Channel], backlog: Duration) -> Self {
        let named: Vec<_> = (0..).zip(SYMBOLS.map(str::to_owned)).collect();
        let plans = connections("kraken", &named, channels, &SplitLimits::default()).unwrap();
        let conn = |p: &wholetape_venue::ConnectionPlan| {
            let session = open(&SessionPlan { book_depth_limit: Some(DEPTH as u16), ..p.session() }).unwrap();
            ConnPlan { session, ..ConnPlan::of(p).unwrap() }
        };
        let plan = LinePlan {
            name: "test".into(),
            instruments: SYMBOLS.map(|s| InstrumentId::new(s, "KRAKEN")).to_vec(),
            conns: plans.iter().map(conn).collect(),
            trade_source: Kind::Trade,
            heal: true,
            discover: None,
            checks: wholetape_quality::CheckConfig::default(),
            resume: Resume { backlog, ..Resume::default() },
        };
        let mut theirs = [Theirs::default(), Theirs::default()];
        for (of, n) in theirs.iter_mut().zip([0, 7]) {
            for i in 0..12 {
                of.set((Side::Buy, 10_000 - i, 100_000_000 + i + n));
                of.set((Side::Sell, 10_005 + i, 5_000_000 + i + n));
            }
        }
        let (line, out) = (Line::new(plan), LineOut::default());
        let (rows, sent, traded) = (Vec::new(), Vec::new(), Vec::new());
        let mut market = Self { line, out, now: 0, theirs, rows, sent, traded, asked: 0 };
        market.open(1);
        market
    }

    fn open(&mut self, number: u32) {
        self.line.on_open(0, ConnMeta { number }, at(self.now), &mut self.out);
        self.take();
        self.pass(1_000);
    }

    fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 10 {
            self.now += 10;
            if self.line.next_timer().is_some_and(|due| due <= at(self.now)) {
                self.line.on_timer(at(self.now), &mut self.out);
                self.take();
            }
            // With a subscription the server beats each second.
            if self.now % 1_000 == 0 {
                self.frame(r#"{"channel":"heartbeat"}"#);
            }
        }
    }

    fn frame(&mut self, text: &str) {
        self.line.on_frame(0, at(self.now), Frame::Text(text.as_bytes()), &mut self.out);
        self.take();
    }

    fn time(&self) -> String {
        format!("{}Z", &at(self.now).to_string()[..26])
    }

    fn book(&mut self, ix: usize, kind: &str, bids: &[(i64, i64)], asks: &[(i64, i64)], checksum: u32) {
        let (symbol, time) = (SYMBOLS[ix], self.time());
        self.frame(&format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"{time}"}}]}}"#,
            printed(bids),
            printed(asks)
        ));
    }

    fn snapshot(&mut self, ix: usize) {
        let of = self.theirs[ix].clone();
        self.book(ix, "snapshot", &of.top(Side::Buy), &of.top(Side::Sell), of.checksum());
    }

    /// The venue's book changes, and it says what that does to its ten best levels: a deletion brings the one that comes up.
    fn change(&mut self, ix: usize, (side, price, size): Change) {
        let before = self.theirs[ix].top(side);
        self.theirs[ix].set((side, price, size));
        let after = self.theirs[ix].top(side);
        let mut told: Vec<(i64, i64)> = after.iter().filter(|l| !before.contains(l)).copied().collect();
        if size == 0 {
            told.insert(0, (price, 0));
        }
        let checksum = self.theirs[ix].checksum();
        let (bids, asks) = if side == Side::Buy { (told, Vec::new()) } else { (Vec::new(), told) };
        self.book(ix, "update", &bids, &asks, checksum);
    }

    /// Trades happen; those of `heard` come by the stream.
    fn trades(&mut self, n: usize, heard: bool) {
        for _ in 0..n {
            self.traded.push((T0 + self.now) * 1_000_000 + self.traded.len() as i64 % 3);
            if heard {
                self.tell(self.traded.len() - 1..self.traded.len(), "update");
            }
        }
    }

    fn tell(&mut self, which: std::ops::Range<usize>, kind: &str) {
        let row = |n: usize| {
            let time = Ts(self.traded[n]).to_string();
            format!(
                r#"{{"symbol":"AAA/USD","side":"buy","price":100.00,"qty":1.00000000,"ord_type":"limit","trade_id":{},"timestamp":"{}Z"}}"#,
                n + 1,
                &time[..26]
            )
        };
        let rows = which.map(row).collect::<Vec<_>>().join(",");
        self.frame(&format!(r#"{{"channel":"trade","type":"{kind}","data":[{rows}]}}"#));
    }

    /// What REST answers: a page forwards from behind a nanosecond, or the newest.
    fn page(&self, path: &str) -> String {
        let number = |name: &str| path.split(name).nth(1).and_then(|s| s.split('&').next()?.parse::<i64>().ok());
        let count = number("count=").unwrap_or(1_000) as usize;
        let from = match number("since=") {
            Some(since) => self.traded.partition_point(|t| *t <= since),
            None => self.traded.len().saturating_sub(count),
        };
        let to = (from + count).min(self.traded.len());
        let row = |n: usize| {
            let t = self.traded[n];
            format!(r#"["100.00","1.00000000",{}.{:09},"b","l","",{}]"#, t / 1_000_000_000, t % 1_000_000_000, n + 1)
        };
        let last = self.traded.get(to.wrapping_sub(1)).copied().unwrap_or_default();
        let rows = (from..to).map(row).collect::<Vec<_>>().join(",");
        format!(r#"{{"error":[],"result":{{"AAAUSD":[{rows}],"last":"{last}"}}}}"#)
    }

    fn take(&mut self) {
        let mut fetched = Vec::new();
        for row in &self.out.rows {
            let state = &self.line.topics()[row.topic as usize];
            let text = match self.out.arena().view(&row.body) {
                Body::Book(b) if b.action == BookAction::Checkpoint => continue,
                Body::Book(b) => {
                    let gone = b.bids.iter().chain(b.asks.iter()).filter(|l| l.size.0 == 0).map(|l| l.price.0);
                    format!("{:?}, gone {:?}", b.action, gone.collect::<Vec<_>>())
                }
                Body::Trade(t) => format!("trade {}", t.id),
                Body::Validity(v) => v.state.as_str().to_owned(),
                Body::Gap(g) if state.kind != Kind::Gap => format!("gap {} {}", g.state.as_str(), g.cause.as_str()),
                _ => continue,
            };
            self.rows.push((state.instrument as usize, text));
        }
        for action in self.out.actions.drain(..) {
            match action {
                LineAction::Send(_, text) => self.sent.push(text),
                LineAction::Fetch(_, id, request, _) => fetched.push((id, request.path)),
                _ => {}
            }
        }
        self.out.clear();
        for (id, path) in fetched {
            assert!(id.kind != FetchKind::BookSnapshot, "the stream alone brings books");
            self.asked += 1;
            let body = self.page(&path);
            let reply = Reply::Answer { status: 200, body: body.as_bytes() };
            self.line.on_fetched(0, at(self.now + 50), id, reply, &mut self.out);
            self.take();
        }
    }

    fn of(&mut self, ix: usize) -> Vec<String> {
        let (mine, others) = std::mem::take(&mut self.rows).into_iter().partition(|(of, _)| *of == ix);
        self.rows = others;
        let mine: Vec<(usize, String)> = mine;
        mine.into_iter().map(|(_, text)| text).collect()
    }

    /// A side of a live book, best first; nothing of one that is not.
    fn side(&self, ix: usize, side: Side) -> Vec<(i64, i64)> {
        let book = self.line.instruments()[ix].book.as_ref().unwrap().book();
        let mut levels = Vec::new();
        if book.is_live() {
            book.top(side, 100, &mut levels);
        }
        levels.iter().map(|l| (l.price.0, l.size.0)).collect()
    }

    fn check_books(&self) {
        for ix in 0..2 {
            for side in [Side::Buy, Side::Sell] {
                assert_eq!(self.side(ix, side), self.theirs[ix].top(side), "{ix} {side:?}");
            }
        }
    }
}

/// T5: one bad checksum ends that book's validity and nobody else's; that book alone is subscribed anew.
#[test]
fn one_bad_checksum_touches_no_other_symbol() {
    let mut m = Market::new(&[Channel::Book]);
    m.snapshot(0);
    m.snapshot(1);
    m.change(0, (Side::Buy, 9_999, 5));
    m.check_books();
    let subscribed = m.sent.len();
    m.rows.clear();
    m.book(0, "update", &[(9_998, 77)], &[], 1);
    assert_eq!(m.side(0, Side::Buy), [], "nobody may read it");
    assert_eq!(m.of(0), ["syncing", "gap open resync"]);
    m.change(1, (Side::Sell, 10_005, 0));
    m.change(0, (Side::Buy, 9_997, 8));
    m.pass(2_000);
    let ask = |method: &str, id: u32| {
        format!(
            r#"{{"method":"{method}","params":{{"channel":"book","symbol":["AAA/USD"],"depth":10}},"req_id":{id}}}"#
        )
    };
    assert_eq!(m.sent[subscribed..], [ask("unsubscribe", 2), ask("subscribe", 3)]);
    m.snapshot(0);
    m.check_books();
    let told = m.of(0);
    assert!(told.contains(&"gap lost resync".to_owned()) && told.contains(&"live".to_owned()), "{told:?}");
    assert_eq!(m.of(1).iter().filter(|t| t.starts_with("gap") || *t == "syncing").count(), 0);
}

/// T6: what is pushed out of the depth is deleted by nobody but us, and told by the venue when it comes back.
#[test]
fn a_level_leaves_the_top_and_returns() {
    let mut m = Market::new(&[Channel::Book]);
    m.snapshot(0);
    m.snapshot(1);
    m.rows.clear();
    assert_eq!(m.side(0, Side::Buy).len(), DEPTH);
    // The tenth bid is at 99.91; a better one pushes it out, without a word of the venue.
    m.change(0, (Side::Buy, 10_001, 3));
    assert_eq!(m.of(0), ["Delta, gone [9991]"], "but readers of our rows are told");
    assert!(m.side(0, Side::Buy).iter().all(|l| l.0 != 9_991));
    // It is back, with another size than it left with.
    m.theirs[0].set((Side::Buy, 9_991, 42));
    m.change(0, (Side::Buy, 10_001, 0));
    assert_eq!(m.side(0, Side::Buy).last(), Some(&(9_991, 42)));
    m.check_books();
    for i in 0..200 {
        let size = if i % 3 == 0 { 0 } else { i * 7 + 1 };
        m.change(0, (Side::Buy, 9_990 + i * 13 % 14, size));
        m.change(0, (Side::Sell, 10_005 + i * 11 % 14, (i * 5) % 9 * 1_000));
    }
    m.check_books();
    let stats = m.line.instruments()[0].book.as_ref().unwrap().book().stats();
    assert!(stats.checksums_checked > 400 && stats.checksums_failed == 0, "{stats:?}");
}

#[test]
fn a_hole_in_the_ids_is_filled_from_pages_by_time() {
    let mut m = Market::new(&[Channel::Trade]);
    for _ in 0..40 {
        m.trades(25, false);
        m.pass(20);
    }
    // A subscription begins with the last fifty.
    m.tell(950..1_000, "snapshot");
    m.trades(10, true);
    m.pass(500);
    m.rows.clear();
    // 4000 trades pass unheard, many of them at one moment, while the connection is gone.
    m.line.on_closed(0, at(m.now), LinkCause::Error, &mut m.out);
    m.take();
    for _ in 0..100 {
        m.trades(40, false);
        m.now += 90;
    }
    m.open(2);
    m.tell(m.traded.len() - 50..m.traded.len(), "snapshot");
    m.trades(5, true);
    let asked = m.asked;
    m.pass(60_000);
    let rows = m.of(0);
    let ids: Vec<u64> = rows.iter().filter_map(|r| r.strip_prefix("trade ")?.parse().ok()).collect();
    let once: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(once.len(), ids.len(), "each once");
    assert!((1_011..=5_015).all(|id| once.contains(&id)), "{} held", once.len());
    // The lost tail is followed page by page, each page a gap of its own, and the rest shows when the stream goes on.
    let gaps = |state: &str| rows.iter().filter(|r| **r == format!("gap {state} disconnected")).count();
    assert_eq!((gaps("open"), gaps("healed")), (5, 5));
    assert!(rows.iter().all(|r| !r.starts_with("gap lost") && !r.starts_with("gap never")));
    assert!(m.asked - asked < 30, "{} requests", m.asked - asked);
}

/// What lies before the first trade is known by nobody here: the pace of what came tells where in time its ids are.
#[test]
fn the_backlog_is_found_by_pace() {
    let mut m = Market::with_backlog(&[Channel::Trade], Duration::from_secs(3_000));
    // First slow, then ten times as fast: the pace of the end misleads.
    let mut ns = (T0 - 6_000_000) * 1_000_000;
    for n in 0..9_000 {
        m.traded.push(ns);
        ns += if n < 3_000 { 1_700_000_000 } else { 99_000_000 };
    }
    m.tell(8_950..9_000, "snapshot");
    m.trades(3, true);
    m.pass(120_000);
    let rows = m.of(0);
    let ids: BTreeSet<u64> = rows.iter().filter_map(|r| r.strip_prefix("trade ")?.parse().ok()).collect();
    assert_eq!(ids.len(), rows.iter().filter(|r| r.starts_with("trade")).count(), "each once");
    let edge = m.traded.partition_point(|t| *t < m.traded[8_950] - 3_000_000_000_000) as u64 + 1;
    assert!((edge..=9_003).all(|id| ids.contains(&id)), "from {edge}: {} held", ids.len());
    assert!(edge < 2_500 && rows.iter().any(|r| r == "gap healed backlog"), "{edge}");
    assert!(m.asked < 40, "{} requests", m.asked);
}
