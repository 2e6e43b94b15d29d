//! The line against a scripted venue: one word a frame, so that each rule is seen alone.

use wholetape_model::{
    Body, Book, BookAction, Event, GapCause, GapState, HealSource, InstrumentId, Level, Price, Quote, Scales, Size,
    Trade, TradeCondition, ValidityState,
};
use wholetape_venue::{BookRule, Chain, Out, Request, SessionStats, TradeHistory, Want};

use super::*;

pub(super) const T0: Ts = Ts(1_700_000_000_000_000_000);

pub(super) fn at(ms: u64) -> Ts {
    T0 + Duration::from_millis(ms)
}

/// `T id` trade · `R id` raw trade · `Q id` quote · `I tick` definition · `B s volume` the closed minute that began s seconds after `T0` · `K n` ticker · `D U u price size` bid delta · `ack n` · anything else is garbage.
#[derive(Default)]
pub(super) struct Script {
    pub history: TradeHistory,
    /// Between two ids, in the venue's time: next to nothing, unless a test asks when trades happened.
    pub tick: Duration,
    /// What is streamed happens when it comes, in the venue's time.
    pub live: bool,
    /// How often the definitions were in doubt.
    pub doubts: std::sync::Arc<std::sync::atomic::AtomicU32>,
    /// Nothing is asked for any more.
    pub forgotten: bool,
    pub stats: SessionStats,
}

fn trade(id: u64) -> Event {
    let body = Body::Trade(Trade {
        id: id.into(),
        first_id: id,
        last_id: id,
        price: Price(100),
        size: Size(1),
        aggressor: None,
        condition: TradeCondition::Regular,
    });
    Event { instrument: 0, kind: Kind::Trade, ts_event: Ts(T0.0 + id as i64), scales: Scales::default(), body }
}

fn ticker(n: u64) -> wholetape_model::Ticker {
    let one = wholetape_model::Decimal { raw: n as i64, scale: 0 };
    let t = T0;
    wholetape_model::Ticker {
        last: one,
        open: one,
        high: one,
        low: one,
        volume: one,
        quote_volume: one,
        change: one,
        open_ts: t,
        close_ts: t,
        trades: n,
    }
}

fn book(out: &mut Out, action: BookAction, first: u64, last: u64, price: i64, size: i64) {
    let bids = out.arena.levels(&[Level { price: Price(price), size: Size(size) }]);
    let asks = out.arena.levels(&[Level { price: Price(200), size: Size(7) }]);
    let body = Body::Book(Book { action, first_id: first, last_id: last, prev_id: 0, bids, asks });
    out.events.push(Event {
        instrument: 0,
        kind: Kind::Book,
        ts_event: Ts(T0.0 + last as i64),
        scales: Scales::default(),
        body,
    });
}

fn definition(out: &mut Out, tick: u64) {
    let (text, zero) = (out.arena.text("BTCUSDT"), wholetape_model::Decimal::ZERO);
    let body = Body::Instrument(wholetape_model::InstrumentDef {
        kind: wholetape_model::InstrumentKind::Spot,
        status: wholetape_model::TradingStatus::Trading,
        tick: wholetape_model::Decimal::new(tick as i64, 0),
        step: zero,
        size_min: zero,
        size_max: zero,
        notional_min: zero,
        multiplier: zero,
        onboard: Ts::ZERO,
        expiry: Ts::ZERO,
        symbol: text,
        base: text,
        quote: text,
        settle: text,
        status_text: text,
    });
    out.events.push(Event { kind: Kind::Instrument, ts_event: Ts::ZERO, body, ..trade(0) });
}

fn minute(out: &mut Out, start: u64, volume: u64) {
    let (one, whole) = (wholetape_model::Decimal::new(1, 0), |n: u64| wholetape_model::Decimal::new(n as i64, 0));
    let period = wholetape_model::Period { count: 1, unit: b'm' };
    let body = Body::Bar(wholetape_model::Bar {
        open_ts: at(start * 1_000),
        close_ts: at((start + 60) * 1_000),
        open: one,
        high: one,
        low: one,
        close: one,
        volume: whole(volume),
        quote_volume: whole(volume),
        taker_volume: one,
        taker_quote_volume: one,
        trades: 0,
        first_id: 0,
        last_id: 0,
        closed: true,
        period,
    });
    out.events.push(Event { kind: Kind::Bar(period), body, ..trade(0) });
}

fn status(out: &mut Out, number: u64) {
    let status = wholetape_model::TradingStatus::from_u8(number as u8);
    let text = out.arena.text(&number.to_string());
    let body = Body::Status(wholetape_model::Status { status, text });
    out.events.push(Event { kind: Kind::Status, body, ..trade(0) });
}

impl Script {
    fn timed(&self, event: Event) -> Event {
        let Body::Trade(t) = event.body else { return event };
        Event { ts_event: event.ts_event + self.tick * t.id.number().unwrap_or(0) as u32, ..event }
    }
}

impl Session for Script {
    fn on_open(&mut self, _: Ts, _: &mut Out) {}

    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let before = out.events.len();
        let text = std::str::from_utf8(frame.bytes()).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let n = |i: usize| words[i].parse::<u64>().unwrap();
        match words[0] {
            "T" => out.events.push(self.timed(trade(n(1)))),
            "R" => out.events.push(Event { kind: Kind::TradeRaw, ..trade(n(1)) }),
            "Q" => {
                let quote =
                    Quote { bid: Price(1), bid_size: Size(1), ask: Price(2), ask_size: Size(1), update_id: n(1) };
                out.events.push(Event {
                    instrument: 0,
                    kind: Kind::Quote,
                    ts_event: Ts::ZERO,
                    scales: Scales::default(),
                    body: Body::Quote(quote),
                });
            }
            "D" => book(out, BookAction::Delta, n(1), n(2), n(3) as i64, n(4) as i64),
            "K" => out.events.push(Event { kind: Kind::Ticker, body: Body::Ticker(ticker(n(1))), ..trade(n(1)) }),
            "S" => status(out, n(1)),
            "I" => definition(out, n(1)),
            "B" => minute(out, n(1), n(2)),
            "U" => out.actions.push(Action::Note(Note::Unknown { channel: "news".into() })),
            "ack" => out.actions.push(Action::Note(Note::Subscribed { streams: vec![String::new(); n(1) as usize] })),
            _ => return Err(ProtocolError::Malformed { channel: "script", at: 0, why: "garbage" }),
        }
        for event in &mut out.events[before..] {
            if self.live && event.ts_event > Ts::ZERO {
                event.ts_event = now;
            }
        }
        Ok(())
    }

    fn peek(&self, frame: Frame<'_>) -> Option<wholetape_venue::Peek> {
        let kind = match frame.bytes().first()? {
            b'T' => Kind::Trade,
            b'R' => Kind::TradeRaw,
            b'Q' => Kind::Quote,
            b'D' => Kind::Book,
            b'K' => Kind::Ticker,
            _ => return None,
        };
        Some(wholetape_venue::Peek { kind, ts_event: Ts::ZERO })
    }

    fn on_fetched(&mut self, _: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let Reply::Answer { body, .. } = reply else { return Ok(()) };
        if body == b"beside" {
            return Err(ProtocolError::Beside { what: "page" });
        }
        let numbers: Vec<u64> =
            std::str::from_utf8(body).unwrap().split_whitespace().map(|w| w.parse().unwrap()).collect();
        match id.kind {
            FetchKind::BookSnapshot => book(out, BookAction::Snapshot, numbers[0], numbers[0], 90, 5),
            FetchKind::Instruments => status(out, numbers[0]),
            _ => out.events.extend(numbers.into_iter().map(|id| self.timed(trade(id)))),
        }
        Ok(())
    }

    fn fetch_of(&mut self, _: &str) -> Option<FetchId> {
        None
    }

    fn forget(&mut self, _: InstrumentIx) -> usize {
        if std::mem::replace(&mut self.forgotten, true) { 0 } else { 3 }
    }

    fn request(&self, want: Want) -> Option<Request> {
        (!self.forgotten).then_some(Request { path: format!("{want:?}"), weight: 1 })
    }

    fn on_timer(&mut self, _: Ts, _: &mut Out) {}

    fn next_timer(&self) -> Option<Ts> {
        None
    }

    fn book_rule(&self, _: InstrumentIx) -> BookRule {
        Chain::SpotAnchored.into()
    }

    fn definitions_soon(&mut self, _: Ts) {
        self.doubts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn trade_history(&self) -> TradeHistory {
        self.history
    }

    fn symbol(&self, _: InstrumentIx) -> Option<&str> {
        Some("BTCUSDT")
    }

    fn instruments(&self) -> usize {
        1
    }

    fn stats(&self) -> &SessionStats {
        &self.stats
    }
}

pub(super) fn text_of(row: &Judged, out: &LineOut) -> String {
    match out.arena().view(&row.body) {
        Body::Trade(t) => format!("trade {}{}", t.id, if row.flags.is_late() { " late" } else { "" }),
        Body::Quote(q) => format!("quote {}", q.update_id),
        Body::Book(b) => {
            format!("{:?} {}{}", b.action, b.last_id, if row.flags.has(RowFlags::SPLICED) { " spliced" } else { "" })
        }
        Body::Gap(g) => format!("gap {} {} {}-{}", g.state.as_str(), g.cause.as_str(), g.from_id, g.to_id),
        Body::Validity(v) => format!("validity {} {}", v.state.as_str(), v.update_id),
        Body::Raw(r) => format!("raw {}", r.text),
        Body::Ticker(_) => "ticker".into(),
        other => format!("{other:?}"),
    }
}

pub(super) struct Bench {
    pub line: Line,
    pub out: LineOut,
    pub rows: Vec<(String, String)>,
    pub actions: Vec<LineAction>,
    /// Where the gaps begin, by topic.
    pub gap_starts: Vec<(String, Ts)>,
}

pub(super) fn bench(heal: bool, resume: Resume) -> Bench {
    bench_of(Script::default(), heal, resume)
}

/// One connection to `venue`.
pub(super) fn bench_of(venue: Script, heal: bool, resume: Resume) -> Bench {
    Bench::new(plan_of(venue, heal, resume))
}

pub(super) fn plan_of(venue: Script, heal: bool, resume: Resume) -> LinePlan {
    LinePlan {
        name: "test".into(),
        instruments: vec![InstrumentId::new("BTCUSDT", "BINANCE")],
        conns: vec![ConnPlan {
            session: Box::new(venue),
            expects: vec![(0, Kind::Trade), (0, Kind::Quote), (0, Kind::Book)],
            polled: Vec::new(),
            streams: 3,
        }],
        trade_source: Kind::Trade,
        heal,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume,
    }
}

impl Bench {
    pub fn new(plan: LinePlan) -> Self {
        Self {
            line: Line::new(plan),
            out: LineOut::default(),
            rows: Vec::new(),
            actions: Vec::new(),
            gap_starts: Vec::new(),
        }
    }

    pub fn open(mut self, now: Ts) -> Self {
        self.line.on_open(0, ConnMeta { number: 7 }, now, &mut self.out);
        self.take();
        self.frame(now, "ack 3");
        self
    }

    pub fn frame(&mut self, now: Ts, text: &str) {
        self.line.on_frame(0, now, Frame::Text(text.as_bytes()), &mut self.out);
        self.take();
    }

    pub fn timer(&mut self, now: Ts) {
        self.line.on_timer(now, &mut self.out);
        self.take();
    }

    pub fn answer(&mut self, now: Ts, kind: FetchKind, body: &str) {
        let id = self.asked(kind).expect("nothing of the kind was asked for");
        self.actions.retain(|a| !matches!(a, LineAction::Fetch(_, f, ..) if *f == id));
        self.line.on_fetched(0, now, id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut self.out);
        self.take();
    }

    pub fn asked(&self, kind: FetchKind) -> Option<FetchId> {
        self.actions.iter().find_map(|a| match a {
            LineAction::Fetch(_, id, ..) if id.kind == kind => Some(*id),
            _ => None,
        })
    }

    pub fn take(&mut self) {
        for row in &self.out.rows {
            let topic = self.line.topics()[row.topic as usize].topic.to_string();
            if let Body::Gap(gap) = self.out.arena().view(&row.body) {
                self.gap_starts.push((topic.clone(), gap.from_ts));
            }
            let text = match self.out.arena().view(&row.body) {
                Body::Raw(r) if topic.starts_with("quality.") => format!("raw {} {}", r.channel, r.text),
                _ => text_of(row, &self.out),
            };
            self.rows.push((topic, text));
        }
        self.actions.append(&mut self.out.actions);
        self.out.clear();
    }

    pub fn of(&self, topic: &str) -> Vec<&str> {
        self.rows.iter().filter(|(t, _)| t == topic).map(|(_, r)| r.as_str()).collect()
    }
}

pub(super) const TRADES: &str = "trade.BTCUSDT.BINANCE";
pub(super) const QUOTES: &str = "quote.BTCUSDT.BINANCE";
pub(super) const BOOK: &str = "book.BTCUSDT.BINANCE";

#[test]
fn a_hole_is_marked_before_the_row_that_showed_it_and_healed_by_id() {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), "T 1");
    b.frame(at(2), "T 1");
    b.frame(at(3), "T 4");
    b.timer(at(400));
    assert_eq!(b.asked(FetchKind::TradesFrom).unwrap().arg, 1, "with its neighbour");
    b.answer(at(420), FetchKind::TradesFrom, "2 3 4");
    let expected =
        ["trade 1", "gap open sequence 2-3", "trade 4", "trade 2 late", "trade 3 late", "gap healed sequence 2-3"];
    assert_eq!(b.of(TRADES), expected);
    assert_eq!(b.of("gap.BTCUSDT.BINANCE").len(), 2, "operators read a copy");
    assert_eq!((b.line.stats().repeats, b.line.stats().late, b.line.stats().gaps_healed), (1, 2, 1));
}

/// Trades of the script cost 100.
#[test]
fn a_price_off_the_tick_asks_for_the_definition_and_is_flagged_where_it_stands() {
    let venue = Script { live: true, ..Script::default() };
    let doubts = venue.doubts.clone();
    let mut b = bench_of(venue, true, Resume::default()).open(T0);
    let asked = || doubts.load(std::sync::atomic::Ordering::Relaxed);
    b.frame(at(1), "I 50");
    b.frame(at(2), "T 1");
    assert_eq!(asked(), 0);
    b.frame(at(3), "I 7");
    // What rests by the former tick is still filled.
    b.frame(at(4), "T 2");
    assert_eq!(asked(), 0);

    let venue = Script { live: true, ..Script::default() };
    let doubts = venue.doubts.clone();
    let asked = || doubts.load(std::sync::atomic::Ordering::Relaxed);
    let mut b = bench_of(venue, true, Resume::default()).open(T0);
    b.frame(at(1), "I 7");
    b.frame(at(2), "T 1");
    assert_eq!((asked(), b.line.stats().findings), (1, 0), "the rule may have changed");
    b.frame(at(130_000), "T 2");
    assert_eq!((asked(), b.line.stats().findings), (1, 1), "it has not");
    b.frame(at(130_001), "I 20");
    b.frame(at(130_002), "T 3");
    assert_eq!((asked(), b.line.stats().findings), (1, 1));
    assert!(b.of("quality.BTCUSDT.BINANCE").iter().any(|row| row.contains("OffTick")));
}

#[test]
fn an_instrument_that_is_not_listed_any_more_ends_its_streams_and_says_so() {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), "T 1");
    b.frame(at(2), "D 1 1 80 1");
    b.timer(at(3_000));
    b.answer(at(3_010), FetchKind::BookSnapshot, "1");
    b.frame(at(3_020), "D 2 2 81 1");
    assert!(b.line.instruments()[0].book.as_ref().is_some_and(|flow| flow.book().is_live()));
    assert!(b.line.delist("ETHUSDT.BINANCE", at(4_000), &mut b.out).is_err());
    b.actions.clear();
    for _ in 0..2 {
        b.line.delist("BTCUSDT.BINANCE", at(4_000), &mut b.out).unwrap();
        b.take();
    }
    assert_eq!(b.of("status.BTCUSDT.BINANCE").len(), 1, "once");
    assert_eq!(b.of(BOOK).last(), Some(&"validity stale 2"));
    assert!(matches!(&b.actions[..], [LineAction::Retire(0, _)]), "{:?}", b.actions);
    // Hours of silence, and nobody is asked or opened for it.
    for hour in 1..10 {
        b.timer(at(hour * 3_600_000));
    }
    assert_eq!(b.actions.len(), 1, "{:?}", b.actions);
}

#[test]
fn without_healing_the_hole_is_lost_at_once() {
    let mut b = bench(false, Resume::default()).open(T0);
    b.frame(at(1), "T 1");
    b.frame(at(2), "T 3");
    b.timer(at(5_000));
    assert_eq!(b.asked(FetchKind::TradesFrom), None);
    assert_eq!(b.of(TRADES), ["trade 1", "gap open sequence 2-2", "trade 3", "gap lost sequence 2-2"]);
}

#[test]
fn no_snapshot_no_book() {
    let mut b = bench(true, Resume::default()).open(T0);
    for i in 1..50 {
        b.frame(at(i), &format!("D {i} {i} 80 1"));
    }
    assert!(b.of(BOOK).iter().all(|r| !r.starts_with("Delta") && !r.starts_with("Snapshot")), "{:?}", b.of(BOOK));
    assert!(b.line.instruments()[0].book.as_ref().unwrap().book().best_bid().is_none());
}

#[test]
fn deltas_queue_for_the_snapshot_and_are_appended_at_the_splice() {
    let mut b = bench(true, Resume::default()).open(T0);
    for i in 10..14 {
        b.frame(at(i), &format!("D {i} {i} 80 {i}"));
    }
    b.timer(at(20));
    b.answer(at(30), FetchKind::BookSnapshot, "11");
    b.frame(at(40), "D 14 15 81 3");
    let rows: Vec<&str> = b.of(BOOK).into_iter().filter(|r| !r.starts_with("validity syncing")).collect();
    assert_eq!(rows, ["Snapshot 11", "Delta 12 spliced", "Delta 13 spliced", "validity live 13", "Delta 15"]);
}

#[test]
fn a_break_is_confessed_and_mended_by_a_new_snapshot() {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), "D 10 10 80 1");
    b.timer(at(2));
    b.answer(at(3), FetchKind::BookSnapshot, "10");
    b.frame(at(4), "D 11 11 80 2");
    b.rows.clear();
    b.frame(at(5), "D 14 14 80 3");
    assert!(b.of(BOOK).contains(&"validity syncing 11"), "{:?}", b.of(BOOK));
    for ms in [10, 300, 600, 2_000] {
        b.timer(at(ms));
    }
    b.answer(at(2_010), FetchKind::BookSnapshot, "13");
    let rows = b.of(BOOK);
    assert_eq!(rows.iter().filter(|r| r.starts_with("gap lost")).collect::<Vec<_>>(), [&"gap lost sequence 12-13"]);
    assert_eq!(rows[rows.len() - 1], "validity live 14");
    assert!(rows.contains(&"Delta 14 spliced"));
    let at = |what: &str| rows.iter().position(|r| r.starts_with(what)).expect(what);
    assert!(at("gap lost") < at("Snapshot 13"), "what a snapshot passes over is said before it: {rows:?}");
}

#[test]
fn garbage_costs_one_error_and_a_resync_not_the_line() {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), "D 10 10 80 1");
    b.timer(at(2));
    b.answer(at(3), FetchKind::BookSnapshot, "10");
    b.frame(at(3), "Q 1");
    b.rows.clear();
    b.actions.clear();
    for i in 0..10_000 {
        b.frame(at(4) + Duration::from_micros(i * 100), "{{{");
    }
    assert_eq!(b.line.stats().errors, 10_000);
    b.timer(at(1_500));
    b.timer(at(2_600));
    let fetches =
        b.actions.iter().filter(|a| matches!(a, LineAction::Fetch(_, f, ..) if f.kind == FetchKind::BookSnapshot));
    assert_eq!(fetches.count(), 1, "a flood of garbage is no flood of snapshots");
    assert!(b.of(BOOK).contains(&"validity syncing 10"));
    assert_eq!(b.of(QUOTES), ["gap lost malformed 0-0"], "it may have been a quote: confessed once");
    b.frame(at(3_000), "T 1");
    assert_eq!(b.of(TRADES), ["trade 1"]);
}

#[test]
fn a_cut_is_confessed_by_every_stream_that_no_id_protects() {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), "Q 1");
    b.frame(at(2), "T 1");
    b.line.on_closed(0, at(10), LinkCause::Closed, &mut b.out);
    b.take();
    b.line.on_open(0, ConnMeta { number: 8 }, at(500), &mut b.out);
    b.take();
    b.frame(at(510), "ack 3");
    b.frame(at(520), "Q 9");
    b.frame(at(530), "T 3");
    assert_eq!(b.of(QUOTES), ["quote 1", "gap open disconnected 0-0", "gap lost disconnected 0-0", "quote 9"]);
    assert_eq!(b.of(TRADES), ["trade 1", "gap open disconnected 2-2", "trade 3"]);
}

#[test]
fn what_the_tape_holds_is_not_appended_again() {
    let mut resume = Resume::default();
    let held = TopicResume { held: vec![(1, 5)], last_recv: at(0), last_event: at(0), ..TopicResume::default() };
    resume.topics.insert(TRADES.into(), held);
    resume.topics.insert(QUOTES.into(), TopicResume { last_recv: at(0), last_event: at(0), ..TopicResume::default() });
    let mut b = bench(true, resume).open(at(60_000));
    b.frame(at(60_001), "T 5");
    b.frame(at(60_002), "T 8");
    b.frame(at(60_003), "Q 4");
    assert_eq!(b.of(TRADES), ["gap open down 6-7", "trade 8"]);
    assert_eq!(b.of(QUOTES), ["gap lost down 0-0", "quote 4"]);
}

/// A stream that is cut at 10 ms, subscribed again at 30 ms and then says nothing; at 6.2 s REST knows `first` and `second`
/// beside `held`. Ids are nanoseconds here.
fn unheard([held, first, second]: [&str; 3]) -> Bench {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), &format!("T {held}"));
    b.line.on_closed(0, at(10), LinkCause::Closed, &mut b.out);
    b.take();
    b.line.on_open(0, ConnMeta { number: 8 }, at(20), &mut b.out);
    b.take();
    b.frame(at(30), "ack 3");
    b.timer(at(2_100));
    b.answer(at(2_110), FetchKind::TradesFrom, "");
    b.timer(at(6_200));
    b.answer(at(6_210), FetchKind::TradesFrom, &format!("{first} {second}"));
    let rows = b.of(TRADES);
    let healed = format!("gap healed disconnected {first}-{second}");
    assert_eq!(rows[rows.len() - 3..], [format!("trade {first} late"), format!("trade {second} late"), healed]);
    b
}

#[test]
fn an_accepted_and_silent_trade_stream_is_named_within_seconds() {
    let b = unheard(["2000000000", "2000000001", "2000000002"]);
    let named = b.actions.iter().any(|a| matches!(a, LineAction::Silent(0, why) if why.contains(TRADES)));
    assert!(named, "{:?}", b.actions);
}

#[test]
fn trades_from_before_the_subscription_are_no_silence() {
    let b = unheard(["1", "2", "3"]);
    assert!(!b.actions.iter().any(|a| matches!(a, LineAction::Silent(..))), "{:?}", b.actions);
}

#[test]
fn a_silent_book_is_named_while_its_siblings_speak() {
    let mut b = bench(true, Resume::default()).open(T0);
    for i in 0..100 {
        b.frame(at(i * 100), &format!("T {}", i + 1));
        b.timer(at(i * 100 + 1));
    }
    let named: Vec<_> =
        b.actions.iter().filter(|a| matches!(a, LineAction::Silent(0, why) if why.contains("book."))).collect();
    assert!(!named.is_empty());
    let mut quiet = bench(true, Resume::default()).open(T0);
    for i in 0..100 {
        quiet.timer(at(i * 1_000));
    }
    assert!(!quiet.actions.iter().any(|a| matches!(a, LineAction::Silent(..))), "a quiet market is not broken");
}

#[test]
fn validity_and_sources_keep_their_names() {
    assert_eq!(ValidityState::Syncing.as_str(), "syncing");
    assert_eq!((GapState::Healed.as_str(), HealSource::Rest.as_str()), ("healed", "rest"));
}

#[test]
fn a_loss_that_went_on_at_a_kill_gets_its_verdict_after_the_restart() {
    let open = |gap| wholetape_model::Gap {
        gap,
        state: GapState::Open,
        cause: GapCause::Disconnected,
        source: HealSource::None,
        from_id: 12,
        to_id: 12,
        from_ts: at(5),
        to_ts: at(6),
        missing: 0,
        why: String::new(),
    };
    let mut resume = Resume::default();
    for (topic, gap, last_update_id) in [(QUOTES, 41, 0), (BOOK, 42, 11)] {
        let state = TopicResume {
            last_recv: at(5),
            last_event: at(5),
            open_gaps: vec![open(gap)],
            last_update_id,
            ..TopicResume::default()
        };
        resume.topics.insert(topic.into(), state);
    }
    let mut b = bench(true, resume).open(at(9_000));
    assert_eq!(b.of(QUOTES), ["gap lost disconnected 0-0"]);
    b.frame(at(9_001), "D 20 21 80 1");
    b.timer(at(9_002));
    b.answer(at(9_003), FetchKind::BookSnapshot, "20");
    assert!(b.of(BOOK).contains(&"gap lost disconnected 12-20"), "{:?}", b.of(BOOK));
}

#[test]
fn a_book_of_which_no_row_is_left_confesses_all_that_its_snapshot_passed_over() {
    // A full disk took every row; the mark that says so told the resume since when.
    let mut resume = Resume::default();
    resume.topics.insert(BOOK.into(), TopicResume { lost_since: Some(at(5)), ..TopicResume::default() });
    let mut b = bench(true, resume).open(at(9_000));
    b.frame(at(9_001), "D 20 21 80 1");
    b.timer(at(9_002));
    b.answer(at(9_003), FetchKind::BookSnapshot, "20");
    assert!(b.of(BOOK).contains(&"gap lost down 1-20"), "{:?}", b.of(BOOK));
}

#[test]
fn how_late_rows_were_is_not_told_by_a_clock_that_is_behind() {
    let lag = |recv: Ts, event: Ts| {
        let mut resume = Resume::default();
        resume
            .topics
            .insert(QUOTES.into(), TopicResume { last_recv: recv, last_event: event, ..TopicResume::default() });
        resume.lag(recv)
    };
    assert_eq!(lag(at(5_030), at(5_000)), Duration::from_millis(50));
    assert_eq!(lag(at(2_600), at(5_000)), Duration::from_millis(250));
    assert_eq!(lag(at(5_030), Ts::ZERO), Duration::from_millis(20), "a stream without venue times");
}

#[test]
fn a_stream_without_venue_times_was_as_late_as_what_came_with_it() {
    let mut resume = Resume::default();
    let topic = |recv, event| TopicResume { last_recv: at(recv), last_event: at(event), ..TopicResume::default() };
    // A connection that was two seconds behind spoke last at 5 s; another one, or REST, went on.
    resume.topics.insert(TRADES.into(), topic(5_000, 3_000));
    resume.topics.insert("status.BTCUSDT.BINANCE".into(), topic(9_000, 8_990));
    assert_eq!(resume.lag(at(5_001)), Duration::from_millis(2_020));
    assert_eq!(resume.lag(at(9_000)), Duration::from_millis(30));
}

#[test]
fn a_lost_tail_of_a_quiet_book_is_found_by_comparison() {
    let mut b = bench(true, Resume::default()).open(T0);
    b.frame(at(1), "D 10 10 80 1");
    b.timer(at(2));
    b.answer(at(3), FetchKind::BookSnapshot, "10");
    b.frame(at(100), "D 11 11 90 6");
    b.rows.clear();
    b.timer(at(3_000));
    assert_eq!(b.asked(FetchKind::BookSnapshot), None, "not quiet yet");
    b.timer(at(4_200));
    // The script's snapshots hold 90 × 5, the book 90 × 6: something was missed.
    b.answer(at(4_210), FetchKind::BookSnapshot, "15");
    let rows = b.of(BOOK);
    assert_eq!(rows[0], "validity syncing 11");
    assert!(rows.contains(&"Snapshot 15") && rows.contains(&"gap lost silent 12-15"), "{rows:?}");
    assert_eq!(rows[rows.len() - 1], "validity live 15");
    // Equal now: looked at again, later and later, and left alone.
    b.rows.clear();
    b.timer(at(30_000));
    b.answer(at(30_010), FetchKind::BookSnapshot, "19");
    assert_eq!(b.of(BOOK), [""; 0]);
}

#[test]
fn the_second_trade_source_confesses_what_it_passed_over_unless_it_comes_a_moment_later() {
    let mut b = bench(true, Resume::default()).open(T0);
    for (i, frame) in ["R 1", "R 3", "R 2", "R 4", "R 8"].iter().enumerate() {
        b.frame(at(i as u64 + 1), frame);
    }
    b.timer(at(2_000));
    let expected = [
        "trade 1",
        "gap open sequence 2-2",
        "trade 3",
        "trade 2",
        "gap healed sequence 2-2",
        "trade 4",
        "gap open sequence 5-7",
        "trade 8",
        "gap lost sequence 5-7",
    ];
    assert_eq!(b.of("trade-raw.BTCUSDT.BINANCE"), expected);
    assert_eq!(b.asked(FetchKind::TradesFrom), None);
}

#[path = "shed_tests.rs"]
mod shed_tests;
#[path = "silence_tests.rs"]
mod silence_tests;

#[path = "drift_tests.rs"]
mod drift_tests;

/// Each day's updates begin with the state that they change.
#[test]
fn the_first_update_of_a_day_follows_a_full_state() {
    // T0 is 22:13:20.
    let midnight = 6_400_000;
    let mut b = bench(true, Resume::default());
    b.frame(at(0), "ack 3");
    b.frame(at(10), "D 11 11 95 1");
    b.line.on_fetched(
        0,
        at(20),
        FetchId { kind: FetchKind::BookSnapshot, instrument: 0, arg: 0 },
        Reply::Answer { status: 200, body: b"10" },
        &mut b.out,
    );
    b.take();
    b.frame(at(midnight - 1_000), "D 12 12 95 2");
    b.frame(at(midnight + 1), "D 13 13 95 3");
    b.frame(at(midnight + 2), "D 14 14 95 4");
    let rows: Vec<&str> = b.of(BOOK).into_iter().filter(|r| !r.starts_with("validity")).collect();
    assert_eq!(rows[rows.len() - 4..], ["Delta 12", "Checkpoint 12", "Delta 13", "Delta 14"], "{rows:?}");
}
