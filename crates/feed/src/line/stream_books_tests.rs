//! Books whose snapshot comes by the stream, within the line, against a scripted venue with two books.

use wholetape_model::book_rule::Checksum;
use wholetape_model::{
    Body, Book, BookAction, BookRule, Chain, Event, InstrumentId, InstrumentIx, Level, Price, Quote, Scales, Size,
};
use wholetape_venue::limits::{Rate, SubscribeLimits};
use wholetape_venue::subscriptions::{Operation, Subscriptions};
use wholetape_venue::{Out, Request, SessionStats, Want};

use super::tests::{BOOK, Bench, T0, at};
use super::*;

const OTHER: &str = "book.ETHUSDT.BINANCE";

/// `q <ix>` best prices · `s <ix> <id> <price> <size>` snapshot · `d <ix> <prev> <id> <price> <size> [crc]` bid delta · `ack` · anything else is garbage.
pub(super) struct Streamed {
    rule: BookRule,
    limits: SubscribeLimits,
    subscriptions: Subscriptions,
    /// Best prices are made of the book.
    derived: bool,
    /// Books have no time.
    timeless: bool,
    /// REST brought this one's book: its best prices come with the next timer.
    mended: Option<InstrumentIx>,
    stats: SessionStats,
}

impl Streamed {
    pub(super) fn new(rule: impl Into<BookRule>, operations: Option<Rate>) -> Self {
        let limits =
            SubscribeLimits { args_max: 10, bytes_max: 1_000, spacing: Duration::from_millis(100), operations };
        Self {
            rule: rule.into(),
            limits,
            subscriptions: Subscriptions::default(),
            derived: false,
            timeless: false,
            mended: None,
            stats: SessionStats::default(),
        }
    }

    /// Best prices are of the book, and neither has a time.
    pub(super) fn derived() -> Self {
        Self { derived: true, timeless: true, ..Self::new(Chain::Linked, None) }
    }

    fn due(&mut self, now: Ts, out: &mut Out) {
        let write = |_, op: Operation, streams: &[String]| format!("{op:?} {}", streams.join(" "));
        if let Some(text) = self.subscriptions.poll(now, write) {
            out.actions.push(Action::Send(text));
        }
    }
}

fn book(out: &mut Out, ix: InstrumentIx, action: BookAction, prev: u64, id: u64, price: i64, size: i64) {
    let bids = out.arena.levels(&[Level { price: Price(price), size: Size(size) }]);
    let asks = out.arena.levels(&[]);
    let body = Body::Book(Book { action, first_id: id, last_id: id, prev_id: prev, bids, asks });
    let ts_event = Ts(T0.0 + id as i64);
    out.events.push(Event { instrument: ix, kind: Kind::Book, ts_event, scales: Scales::default(), body });
}

fn best(out: &mut Out, ix: InstrumentIx) {
    let quote = Quote { bid: Price(1), bid_size: Size(1), ask: Price(2), ask_size: Size(1), update_id: 0 };
    let (ts_event, scales, body) = (Ts::ZERO, Scales::default(), Body::Quote(quote));
    out.events.push(Event { instrument: ix, kind: Kind::Quote, ts_event, scales, body });
}

impl Session for Streamed {
    fn on_open(&mut self, now: Ts, out: &mut Out) {
        self.subscriptions.open(now, &["book.0".into(), "book.1".into()], &self.limits);
        self.due(now, out);
    }

    fn on_frame(&mut self, _: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let text = std::str::from_utf8(frame.bytes()).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let n = |i: usize| words[i].parse::<u64>().unwrap();
        match words[0] {
            "q" => best(out, n(1) as u32),
            "s" => book(out, n(1) as u32, BookAction::Snapshot, 0, n(2), n(3) as i64, n(4) as i64),
            "d" => {
                book(out, n(1) as u32, BookAction::Delta, n(2), n(3), n(4) as i64, n(5) as i64);
                if words.len() > 6 {
                    out.checksums.push((out.events.len() - 1, n(6) as u32));
                }
            }
            "beat" => {
                let empty = out.arena.levels(&[]);
                let id = n(2);
                let update = Book {
                    action: BookAction::Delta,
                    first_id: id,
                    last_id: id,
                    prev_id: id,
                    bids: empty,
                    asks: empty,
                };
                out.events.push(Event {
                    instrument: n(1) as u32,
                    kind: Kind::Book,
                    ts_event: T0,
                    scales: Scales::default(),
                    body: Body::Book(update),
                });
            }
            "t" => out.actions.push(Action::Note(Note::Time(at(n(1))))),
            "ack" => out.actions.push(Action::Note(Note::Subscribed { streams: vec![String::new(); 2] })),
            _ => return Err(ProtocolError::Malformed { channel: "script", at: 0, why: "garbage" }),
        }
        if self.timeless {
            out.events.iter_mut().for_each(|event| event.ts_event = Ts::ZERO);
        }
        Ok(())
    }

    /// The book of whoever is asked for, at id 11.
    fn on_fetched(&mut self, _: Ts, id: FetchId, _: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        book(out, id.instrument, BookAction::Snapshot, 0, 11, 100, 1);
        self.mended = self.derived.then_some(id.instrument);
        out.events.iter_mut().for_each(|event| event.ts_event = Ts::ZERO);
        Ok(())
    }

    fn fetch_of(&mut self, _: &str) -> Option<FetchId> {
        None
    }

    /// Everything is offered, so that a question would be seen.
    fn request(&self, want: Want) -> Option<Request> {
        Some(Request { path: format!("{want:?}"), weight: 1 })
    }

    fn on_timer(&mut self, now: Ts, out: &mut Out) {
        self.due(now, out);
        if let Some(ix) = self.mended.take() {
            best(out, ix);
        }
    }

    fn quotes_are_of_the_book(&self) -> bool {
        self.derived
    }

    fn next_timer(&self) -> Option<Ts> {
        self.mended.map(|_| T0).or(self.subscriptions.next())
    }

    fn book_rule(&self, _: InstrumentIx) -> BookRule {
        self.rule
    }

    fn resubscribe_book(&mut self, now: Ts, instrument: InstrumentIx, out: &mut Out) -> Option<Ts> {
        let due = self.subscriptions.again(now, &format!("book.{instrument}"));
        self.due(now, out);
        Some(due)
    }

    fn symbol(&self, _: InstrumentIx) -> Option<&str> {
        Some("BTCUSDT")
    }

    fn instruments(&self) -> usize {
        2
    }

    fn stats(&self) -> &SessionStats {
        &self.stats
    }
}

pub(super) fn plan_of(sockets: usize, rule: BookRule, operations: Option<Rate>) -> LinePlan {
    let conn = || ConnPlan {
        session: Box::new(Streamed::new(rule, operations)),
        expects: vec![(0, Kind::Book), (1, Kind::Book)],
        polled: Vec::new(),
        streams: 2,
    };
    LinePlan {
        name: "test".into(),
        instruments: vec![InstrumentId::new("BTCUSDT", "BINANCE"), InstrumentId::new("ETHUSDT", "BINANCE")],
        conns: (0..sockets).map(|_| conn()).collect(),
        trade_source: Kind::Trade,
        heal: true,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume: Resume::default(),
    }
}

/// Open, subscribed, both books live at id 10.
fn bench(rule: impl Into<BookRule>, operations: Option<Rate>) -> Bench {
    let mut b = Bench::new(plan_of(1, rule.into(), operations));
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    b.take();
    b.frame(T0, "ack");
    b.frame(at(1), "s 0 10 100 1");
    b.frame(at(1), "s 1 10 100 1");
    b
}

/// Lets time pass up to `ms`; returns what was sent, with the time.
fn drive(b: &mut Bench, from: u64, ms: u64) -> Vec<(u64, String)> {
    let mut sent = Vec::new();
    for t in (from..=ms).step_by(50) {
        let due = b.line.next_timer().is_some_and(|due| due <= at(t));
        if due {
            b.timer(at(t));
        }
        for action in std::mem::take(&mut b.actions) {
            match action {
                LineAction::Send(_, text) => sent.push((t, text)),
                LineAction::Fetch(_, id, ..) => panic!("REST was asked: {id:?}"),
                LineAction::Reconnect(_, _, why) => sent.push((t, format!("reconnect: {why}"))),
                _ => {}
            }
        }
    }
    sent
}

fn texts(sent: &[(u64, String)]) -> Vec<&str> {
    sent.iter().map(|s| s.1.as_str()).collect()
}

#[test]
fn the_snapshot_of_the_stream_makes_a_book_live_and_rest_is_not_asked() {
    let mut b = bench(Chain::Linked, None);
    b.frame(at(2), "d 0 10 13 101 2");
    b.frame(at(3), "beat 0 13");
    b.frame(at(4), "d 0 13 5 101 0");
    drive(&mut b, 50, 120_000);
    assert_eq!(b.of(BOOK)[..3], ["Snapshot 10", "validity live 10", "Delta 13"]);
    assert_eq!(b.of(BOOK)[3], "Delta 5", "a smaller id behind the right link is no gap, and a heartbeat no row");
    assert_eq!(b.line.stats().gaps_opened, 0);
}

/// As [`bench`], of books that have no time (dYdX).
fn timeless() -> Bench {
    let mut plan = plan_of(1, Chain::Linked.into(), None);
    plan.conns[0].session = Box::new(Streamed { timeless: true, ..Streamed::new(Chain::Linked, None) });
    let mut b = Bench::new(plan);
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    b.frame(T0, "ack");
    b.frame(at(1), "s 0 10 100 1");
    b
}

/// Where the last loss of the book begins.
fn lost_since(b: &Bench) -> Ts {
    b.gap_starts.iter().rfind(|(topic, _)| topic == BOOK).unwrap().1
}

/// A stalled connection brought its updates at once and was cut: what was behind them was made before they came.
#[test]
fn a_book_without_times_is_lost_since_its_connection_was_heard() {
    let mut b = timeless();
    b.frame(at(400), "t 390");
    b.frame(at(12_000), "d 0 10 11 101 2");
    b.frame(at(12_000), "t 1390");
    b.frame(at(12_000), "d 0 11 12 101 2");
    b.line.on_closed(0, at(12_010), LinkCause::Closed, &mut b.out);
    b.take();
    assert_eq!(lost_since(&b), at(1_390));
}

/// REST mends a book whose stream has been silent: what the stream did not bring is lost since it spoke.
#[test]
fn what_rest_mends_is_no_sign_that_the_stream_of_a_book_lives() {
    let mut b = timeless();
    b.frame(at(1_000), "d 0 10 11 101 2");
    let id = FetchId { kind: FetchKind::BookSnapshot, instrument: 0, arg: 0 };
    b.line.on_fetched(0, at(30_000), id, Reply::Answer { status: 200, body: b"" }, &mut b.out);
    assert!(b.out.rows.iter().all(|row| row.frame == 0));
    b.take();
    assert_eq!(b.of(BOOK).last(), Some(&"Snapshot 11"));
    b.line.on_closed(0, at(31_000), LinkCause::Closed, &mut b.out);
    b.take();
    assert_eq!(lost_since(&b), at(1_000));
}

#[test]
fn a_break_is_confessed_and_that_book_alone_is_subscribed_anew() {
    let mut b = bench(Chain::Linked, None);
    b.actions.clear();
    b.frame(at(500), "d 0 12 13 101 2");
    b.frame(at(510), "d 1 10 11 101 2");
    b.frame(at(520), "d 0 13 14 101 3");
    assert_eq!(texts(&drive(&mut b, 550, 2_000)), ["Unsubscribe book.0", "Subscribe book.0"]);
    b.frame(at(2_010), "d 0 14 15 101 4");
    b.frame(at(2_020), "s 0 20 100 9");
    b.frame(at(2_030), "d 0 20 21 101 5");
    assert_eq!(drive(&mut b, 2_050, 60_000), [], "once is enough");
    assert_eq!(
        b.of(BOOK)[2..],
        [
            "validity syncing 10",
            "gap open sequence 11-11",
            "gap lost sequence 11-20",
            "Snapshot 20",
            "validity live 20",
            "Delta 21"
        ]
    );
    assert_eq!(b.of(OTHER), ["Snapshot 10", "validity live 10", "Delta 11"]);
    assert_eq!((b.line.stats().resubscriptions, b.line.stats().resyncs), (1, 1));
}

/// Trap T5.
#[test]
fn one_bad_checksum_touches_no_other_symbol() {
    let wrong = crc32fast::hash(b"10111002");
    let mut b = bench(BookRule::new(Chain::Unlinked).with_checksum(Checksum::AsksBids10), None);
    b.actions.clear();
    b.frame(at(500), &format!("d 0 0 11 101 1 {}", crc32fast::hash(b"10111001")));
    b.frame(at(500), &format!("d 1 0 11 101 1 {}", crc32fast::hash(b"10111001")));
    b.frame(at(510), &format!("d 0 0 12 101 1 {wrong}"));
    b.frame(at(510), "d 1 0 12 102 0");
    assert_eq!(texts(&drive(&mut b, 550, 1_000)), ["Unsubscribe book.0", "Subscribe book.0"]);
    assert_eq!(b.of(BOOK)[2..], ["Delta 11", "validity syncing 11", "gap open resync 12-12"]);
    assert_eq!(b.of(OTHER), ["Snapshot 10", "validity live 10", "Delta 11", "Delta 12"]);
    let book = |ix: usize| b.line.instruments()[ix].book.as_ref().unwrap().book();
    assert!(!book(0).is_live() && book(1).is_live());
}

#[test]
fn the_venues_count_of_operations_is_kept_while_a_book_breaks_again_and_again() {
    let rate = Rate::new(5, Duration::from_secs(600));
    let mut b = bench(Chain::Linked, Some(rate));
    let (mut sent, mut id) = (vec![(0, "Subscribe".to_owned())], 100_u64);
    b.actions.clear();
    b.frame(at(900), "d 0 3 4 101 1");
    for t in (1_000..1_800_000).step_by(1_000) {
        let now = drive(&mut b, t, t + 950);
        if now.iter().any(|s| s.1 == "Subscribe book.0") {
            // The snapshot comes, and the next delta does not follow.
            b.frame(at(t + 960), &format!("s 0 {id} 100 1"));
            b.frame(at(t + 970), &format!("d 0 {} {} 101 1", id + 5, id + 6));
            id += 10;
        }
        sent.extend(now);
    }
    for (t, text) in &sent {
        let window = sent.iter().filter(|(s, _)| s <= t && t - s < 600_000).count();
        assert!(window <= 5, "{window} requests in ten minutes at {t}: {text}");
    }
    assert!(sent.len() > 6, "and it goes on: {sent:?}");
}

#[test]
fn without_a_snapshot_it_is_asked_again_and_then_the_connection_goes() {
    let mut b = bench(Chain::Counted, None);
    b.actions.clear();
    b.frame(at(500), "d 0 0 17 101 2");
    let sent = drive(&mut b, 550, 120_000);
    let again = ["Unsubscribe book.0", "Subscribe book.0"];
    assert_eq!(texts(&sent)[..6], [again, again, again].concat());
    let (when, last) = sent.iter().find(|s| s.1.starts_with("reconnect")).expect("gives the connection up");
    assert!(last.contains("BTCUSDT") && (60_000..90_000).contains(when), "{when} {last}");
    assert!(!b.line.instruments()[0].book.as_ref().unwrap().book().is_live());
}

/// One that stands where the book does says nothing new. Any other passes over what no row has: the venue's service began anew, and made a
/// book live that was being subscribed anew, so that updates came between the end of the one subscription and the other's snapshot.
#[test]
fn a_snapshot_of_a_live_book_is_a_row_and_confesses_what_it_passes_over() {
    let mut b = bench(Chain::Counted, None);
    b.frame(at(500), "d 0 0 11 101 2");
    b.frame(at(550), "s 0 11 99 3");
    assert_eq!(b.line.stats().gaps_opened, 0);
    b.frame(at(600), "s 0 1 99 3");
    b.frame(at(700), "d 0 0 2 101 2");
    b.frame(at(800), "s 0 4 99 3");
    b.frame(at(900), "d 0 0 5 101 2");
    let (restart, pause) =
        (["gap lost resync 12-12", "Snapshot 1", "Delta 2"], ["gap lost resync 3-4", "Snapshot 4", "Delta 5"]);
    assert_eq!(b.of(BOOK)[2..], [&["Delta 11", "Snapshot 11"][..], &restart, &pause].concat());
    let from: Vec<Ts> = b.gap_starts.iter().filter(|g| g.0 == BOOK).map(|g| g.1).collect();
    assert_eq!(from, [Ts(T0.0 + 11), Ts(T0.0 + 2)], "since the last update was made");
    assert_eq!((b.line.stats().gaps_opened, b.line.stats().gaps_lost, b.line.stats().resyncs), (2, 2, 0));
}

/// Trap T6, for readers of rows: a level that is pushed out of the best N goes by a deletion of ours.
/// Subscribed anew twice, since the connection stalled: without ids (Kraken) the second snapshot may pass over anything.
#[test]
fn a_snapshot_without_ids_of_a_live_book_confesses_what_it_may_pass_over() {
    let mut b = bench(BookRule::new(Chain::Unlinked), None);
    b.frame(at(500), "s 0 10 100 1");
    assert_eq!(b.of(BOOK)[2..], ["gap lost resync 11-11", "Snapshot 10"]);
}

#[test]
fn a_row_tells_what_left_a_book_of_limited_depth() {
    let mut b = bench(BookRule::new(Chain::Unlinked).with_depth(1), None);
    b.line.on_frame(0, at(500), Frame::Text(b"d 0 0 11 101 2"), &mut b.out);
    let row = b.out.rows.iter().find(|r| matches!(r.body, Body::Book(_))).expect("a row");
    let Body::Book(update) = b.out.arena().view(&row.body) else { panic!() };
    let bids: Vec<(i64, i64)> = update.bids.iter().map(|l| (l.price.0, l.size.0)).collect();
    assert_eq!(bids, [(101, 2), (100, 0)]);
}

#[test]
fn garbage_costs_a_subscription_at_most_every_ten_minutes() {
    let mut b = bench(Chain::Linked, None);
    b.actions.clear();
    let mut sent = Vec::new();
    for minute in 0..12_u64 {
        let t = 10_000 + minute * 60_000;
        b.frame(at(t), "what is this");
        sent.extend(drive(&mut b, t + 50, t + 5_000));
        let id = 20 + minute;
        b.frame(at(t + 5_010), &format!("s 0 {id} 100 1"));
        b.frame(at(t + 5_010), &format!("s 1 {id} 100 1"));
    }
    assert_eq!(sent.len(), 2 * 2 * 2, "two books, their end and their beginning, twice: {sent:?}");
}

#[test]
fn one_socket_feeds_a_book_and_another_takes_over_with_a_snapshot() {
    let plan = plan_of(2, Chain::Linked.into(), None);
    let mut b = Bench::new(plan_of(1, Chain::Linked.into(), None));
    b.line = Line::with_sockets(plan, 2);
    let frame = |b: &mut Bench, conn, t, text: &str| {
        b.line.on_frame(conn, at(t), Frame::Text(text.as_bytes()), &mut b.out);
        b.take();
    };
    for conn in 0..2 {
        b.line.on_open(conn, ConnMeta { number: 7 + conn as u32 }, T0, &mut b.out);
        b.take();
        frame(&mut b, conn, 1, "ack");
    }
    b.actions.clear();
    frame(&mut b, 0, 10, "s 0 10 100 1");
    // The sibling cuts its stream at other places.
    frame(&mut b, 1, 11, "s 0 11 100 1");
    frame(&mut b, 0, 12, "d 0 10 15 101 1");
    frame(&mut b, 1, 13, "d 0 11 15 101 1");
    frame(&mut b, 0, 5_000, "d 0 15 20 102 1");
    assert_eq!(b.of(BOOK), ["Snapshot 10", "validity live 10", "Delta 15", "Delta 20"]);
    b.line.on_closed(0, at(6_000), LinkCause::Closed, &mut b.out);
    b.take();
    frame(&mut b, 1, 6_010, "d 0 20 25 103 1");
    assert_eq!(texts(&drive(&mut b, 6_050, 7_000)), ["Unsubscribe book.0", "Subscribe book.0"], "of the sibling");
    frame(&mut b, 1, 7_010, "s 0 30 100 1");
    frame(&mut b, 1, 7_020, "d 0 30 35 103 1");
    assert_eq!(
        b.of(BOOK)[4..],
        [
            "validity syncing 20",
            "gap open disconnected 21-21",
            "gap lost disconnected 21-30",
            "Snapshot 30",
            "validity live 30",
            "Delta 35"
        ]
    );
}

/// A live book with best prices, two of the connection's streams acknowledged.
fn quoted(derived: bool, streams: usize) -> Bench {
    let mut plan = plan_of(1, Chain::Linked.into(), None);
    plan.conns[0].expects.push((0, Kind::Quote));
    plan.conns[0].streams = streams;
    plan.conns[0].session = Box::new(Streamed { derived, timeless: derived, ..Streamed::new(Chain::Linked, None) });
    let mut b = Bench::new(plan);
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    b.take();
    b.frame(T0, "ack");
    b.frame(at(1), "s 0 10 100 1");
    b.frame(at(2), "q 0");
    b
}

/// What passed of the best prices between the book's end and its next snapshot nobody saw.
#[test]
fn best_prices_made_of_a_book_are_confessed_while_it_is_asked_for_anew() {
    // At once, or after a silence that nobody remarked on.
    for (derived, ms) in [(true, 500), (false, 500), (true, 60_000)] {
        let mut b = quoted(derived, 2);
        b.frame(at(ms), "d 0 11 12 101 2");
        drive(&mut b, ms, ms + 200);
        let begun = if derived { &["quote 0", "gap open sequence 0-0"][..] } else { &["quote 0"] };
        assert_eq!(b.of(super::tests::QUOTES), begun);
        b.frame(at(ms + 400), "s 0 20 100 1");
        b.frame(at(ms + 400), "q 0");
        let ended = if derived { &["gap lost sequence 0-0", "quote 0"][..] } else { &["quote 0"] };
        assert_eq!(b.of(super::tests::QUOTES)[begun.len()..], *ended);
        let from: Vec<Ts> = b.gap_starts.iter().filter(|g| g.0.starts_with("quote")).map(|g| g.1).collect();
        assert!(from.iter().all(|from| *from <= at(2)), "from its own last row on: {from:?}");
    }
}

/// A book's stream fell silent, and the connection's others spoke on for longer than a silence goes unremarked: best prices have no stream
/// but the book's, so that both are in doubt from the same moment.
#[test]
fn best_prices_made_of_a_book_are_in_doubt_since_it_fell_silent() {
    for (derived, doubted) in [(true, at(10_000)), (false, at(16_990))] {
        let mut b = quoted(derived, 2);
        b.frame(at(500), "q 0");
        b.frame(at(10_000), "d 0 10 11 101 2");
        b.frame(at(17_000), "t 16990");
        b.line.on_closed(0, at(17_010), LinkCause::Closed, &mut b.out);
        b.take();
        let from = |topic| b.gap_starts.iter().rfind(|(name, _)| name == topic).unwrap().1;
        assert_eq!(from(super::tests::QUOTES), doubted, "derived: {derived}");
    }
}

/// REST mends the book each minute, and its best prices with it: their stream has been silent since it spoke.
#[test]
fn best_prices_of_a_book_that_rest_mends_are_no_sign_that_their_stream_lives() {
    let mut b = quoted(true, 2);
    b.frame(at(1_000), "d 0 10 11 101 2");
    b.frame(at(1_000), "q 0");
    for ms in [60_000, 120_000] {
        let id = FetchId { kind: FetchKind::BookSnapshot, instrument: 0, arg: 0 };
        b.line.on_fetched(0, at(ms), id, Reply::Answer { status: 200, body: b"" }, &mut b.out);
        b.line.on_timer(at(ms + 1), &mut b.out);
        let quotes: Vec<u32> =
            b.out.rows.iter().filter(|r| matches!(r.body, Body::Quote(_))).map(|row| row.frame).collect();
        assert_eq!(quotes, [0], "an answer of REST has no frame");
        b.take();
    }
    b.frame(at(125_000), "t 124990");
    b.line.on_closed(0, at(125_010), LinkCause::Closed, &mut b.out);
    b.take();
    let from = b.gap_starts.iter().rfind(|(name, _)| name == super::tests::QUOTES).unwrap().1;
    assert!(from <= at(1_000), "{from:?}");
}

/// Of a connection's many streams the last is acknowledged long after the first speaks: what that misses meanwhile is confessed, and no
/// acknowledgement of others ends it.
#[test]
fn what_speaks_is_confessed_before_all_others_are_acknowledged() {
    let mut b = quoted(true, 4);
    b.frame(at(500), "d 0 11 12 101 2");
    drive(&mut b, 500, 700);
    b.frame(at(750), "ack");
    assert_eq!(b.of(super::tests::QUOTES), ["quote 0", "gap open sequence 0-0"]);
    b.frame(at(900), "s 0 20 100 1");
    b.frame(at(900), "q 0");
    assert_eq!(b.of(super::tests::QUOTES)[2..], ["gap lost sequence 0-0", "quote 0"]);

    let mut b = quoted(false, 4);
    b.frame(at(500), "garbage");
    b.frame(at(600), "q 0");
    drive(&mut b, 600, 3_000);
    assert_eq!(b.of(super::tests::QUOTES), ["quote 0", "quote 0", "gap lost malformed 0-0"]);

    // Nor does the last of them vouch for what has been silent since before it.
    let mut b = quoted(false, 4);
    b.frame(at(750), "ack");
    b.line.on_closed(0, at(900), LinkCause::Error, &mut b.out);
    b.take();
    assert_eq!(b.of(super::tests::QUOTES), ["quote 0", "gap open disconnected 0-0"]);
    let from: Vec<Ts> = b.gap_starts.iter().filter(|g| g.0.starts_with("quote")).map(|g| g.1).collect();
    assert!(from[0] <= at(2), "from its own last row on: {from:?}");
}

/// And so does that of a process that died meanwhile.
#[test]
fn a_loss_from_before_a_restart_begins_when_the_last_update_was_made() {
    let known = TopicResume {
        last_recv: at(3_000),
        last_event: Ts(T0.0 + 11),
        // As of every row that has a time of the venue's.
        heard: Ts(T0.0 + 11),
        last_update_id: 300_011,
        ..TopicResume::default()
    };
    let mut plan = plan_of(1, Chain::Counted.into(), None);
    plan.resume.topics.insert(BOOK.to_owned(), known);
    let mut b = Bench::new(plan);
    b.line.on_open(0, ConnMeta { number: 7 }, at(5_000), &mut b.out);
    b.take();
    b.frame(at(5_000), "ack");
    b.frame(at(5_001), "s 0 10 100 1");
    let from: Vec<Ts> = b.gap_starts.iter().filter(|g| g.0 == BOOK).map(|g| g.1).collect();
    assert_eq!(from, [Ts(T0.0 + 11)]);
}

/// Where ids begin anew the time alone names what is missing: it begins when the last update was made, not when it came.
#[test]
fn a_loss_begins_when_the_last_update_was_made() {
    let mut b = Bench::new(plan_of(1, Chain::Linked.into(), None));
    b.line.on_open(0, ConnMeta { number: 7 }, T0, &mut b.out);
    b.take();
    b.frame(T0, "ack");
    // Made 10 ns and 11 ns after T0, and three seconds under way.
    b.frame(at(3_000), "s 0 10 100 1");
    b.frame(at(3_000), "d 0 10 11 101 2");
    b.frame(at(3_001), "d 0 12 13 101 2");
    let from: Vec<Ts> = b.gap_starts.iter().filter(|g| g.0 == BOOK).map(|g| g.1).collect();
    assert_eq!(from, [Ts(T0.0 + 11)]);
}
