//! dYdX: the traps of its documents, one test each, and the conversation around the data.

use std::collections::BTreeSet;
use std::time::Duration;

use wholetape_model::{Body, BookAction, Kind, NO_INSTRUMENT, TradeCondition, TradeId, Ts, View};
use wholetape_venue::limits::RetryAfter;
use wholetape_venue::{
    Action, Chain, Channel, FetchFailure, FetchId, FetchKind, Frame, Heartbeat, Note, Out, PlanError, ProtocolError,
    Recovery, Reply, Session, SessionPlan, SplitLimits, TradeHistory, connections, limits, of_address, open, venue,
};

const A: &str = "AAA-USD";
const B: &str = "BBB-USD";
const CONNECTION: &str = "7d0f6c9e-0000-4000-8000-000000000001";

fn at(ms: i64) -> Ts {
    Ts::from_millis(1_790_000_000_000 + ms)
}

/// A session and the venue's count of messages.
struct Bench {
    session: Box<dyn Session>,
    connection: &'static str,
    n: u64,
    now: Ts,
}

impl Bench {
    fn new(channels: &[Channel]) -> Self {
        Self::of(SessionPlan { channels: channels.to_vec(), ..SessionPlan::new("dydx") })
    }

    fn of(plan: SessionPlan) -> Self {
        let instruments = vec![(0, A.to_owned()), (1, B.to_owned())];
        let session = open(&SessionPlan { instruments, ..plan }).unwrap();
        let mut bench = Self { session, connection: CONNECTION, n: 0, now: at(0) };
        bench.connect();
        bench
    }

    fn connect(&mut self) -> Out {
        let mut out = Out::default();
        self.session.on_open(self.now, &mut out);
        assert!(!out.actions.iter().any(|a| matches!(a, Action::Send(_))), "nothing before the greeting");
        self.n = 0;
        let text = format!(r#"{{"type":"connected","connection_id":"{}","message_id":0}}"#, self.connection);
        out.clear();
        self.session.on_frame(self.now, Frame::Text(text.as_bytes()), &mut out).unwrap();
        out
    }

    fn try_send(&mut self, kind: &str, channel: &str, id: &str, contents: &str) -> Result<Out, ProtocolError> {
        self.n += 1;
        let (connection, n) = (self.connection, self.n);
        let text = format!(
            r#"{{"type":"{kind}","connection_id":"{connection}","message_id":{n},"id":"{id}","channel":"{channel}","version":"1.0.0","contents":{contents}}}"#
        );
        let mut out = Out::default();
        self.session.on_frame(self.now, Frame::Text(text.as_bytes()), &mut out).map(|()| out)
    }

    fn subscribed(&mut self, channel: &str, id: &str, contents: &str) -> Out {
        self.try_send("subscribed", channel, id, contents).unwrap()
    }

    fn data(&mut self, channel: &str, id: &str, contents: &str) -> Out {
        self.try_send("channel_data", channel, id, contents).unwrap()
    }

    fn error(&mut self, text: &str) -> Result<Out, ProtocolError> {
        self.n += 1;
        let (connection, n) = (self.connection, self.n);
        let text = format!(r#"{{"type":"error","message":"{text}","connection_id":"{connection}","message_id":{n}}}"#);
        let mut out = Out::default();
        self.session.on_frame(self.now, Frame::Text(text.as_bytes()), &mut out).map(|()| out)
    }

    fn answer(&mut self, id: FetchId, body: &str) -> Result<Out, ProtocolError> {
        let mut out = Out::default();
        let reply = Reply::Answer { status: 200, body: body.as_bytes() };
        self.session.on_fetched(self.now, id, reply, &mut out).map(|()| out)
    }

    /// Lets the session's clock run up to `until` and returns what it wants done.
    fn run(&mut self, until: Ts) -> (Vec<(Ts, Action)>, Vec<String>) {
        let (mut actions, mut told) = (Vec::new(), Vec::new());
        while let Some(due) = self.session.next_timer().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let mut out = Out::default();
            self.session.on_timer(self.now, &mut out);
            told.extend(text(&out));
            actions.extend(out.actions.drain(..).map(|a| (self.now, a)));
            assert!(self.session.next_timer().is_none_or(|next| next > due), "time stands still");
        }
        self.now = until;
        (actions, told)
    }
}

/// Events in short.
fn text(out: &Out) -> Vec<String> {
    let one = |event: &wholetape_model::Event| match out.arena.view(&event.body) {
        View::Book(b) => {
            let side = |levels: wholetape_model::Levels<'_>| {
                let text = |l: wholetape_model::Level| {
                    format!("{}x{}", event.scales.price(l.price), event.scales.size(l.size))
                };
                levels.iter().map(text).collect::<Vec<_>>().join(" ")
            };
            format!("{:?} {}<-{} [{}] [{}]", b.action, b.last_id, b.prev_id, side(b.bids), side(b.asks))
        }
        View::Quote(q) => format!(
            "quote {}x{} {}x{}",
            event.scales.price(q.bid),
            event.scales.size(q.bid_size),
            event.scales.price(q.ask),
            event.scales.size(q.ask_size)
        ),
        View::Trade(t) => format!("trade {} {}", t.id, event.scales.price(t.price)),
        View::Liquidation(l) => format!("liquidation {:?} {} {}", l.side, l.price, l.size),
        View::Bar(b) => {
            format!("bar {} {} {}", b.open_ts.millis() / 60_000 % 60, b.close, if b.closed { "closed" } else { "open" })
        }
        View::MarkPrice(p) => format!("mark {p}"),
        View::IndexPrice(p) => format!("index {p}"),
        View::Funding(f) => format!("funding {}", f.rate),
        View::OpenInterest(o) => format!("open interest {o}"),
        View::Status(s) => format!("status {:?} {}", s.status, s.text),
        View::Instrument(d) => {
            format!("instrument {}/{} {} tick {} step {}", d.base, d.quote, d.settle, d.tick, d.step)
        }
        other => format!("{other:?}"),
    };
    out.events.iter().filter(|e| e.kind != Kind::Raw).map(one).collect()
}

fn fetch(kind: FetchKind, instrument: u32, arg: u64) -> FetchId {
    FetchId { kind, instrument, arg }
}

const SNAPSHOT: &str = r#"{"bids":[{"price":"100","size":"1"},{"price":"99.5","size":"2"}],"asks":[{"price":"101","size":"3"},{"price":"102","size":"4"}]}"#;

fn booked(channels: &[Channel]) -> Bench {
    let mut b = Bench::new(channels);
    b.subscribed("v4_orderbook", A, SNAPSHOT);
    b
}

/// The venue's book is crossed now and then. It goes to the tape as it comes; best prices are those of the documented view, in which the
/// level of the older message yields.
#[test]
fn a_crossed_feed_is_recorded_as_it_comes_and_uncrossed_in_the_view_alone() {
    let mut b = Bench::new(&[Channel::Book, Channel::Quote]);
    assert_eq!(
        text(&b.subscribed("v4_orderbook", A, SNAPSHOT)),
        ["Snapshot 1<-0 [100.0x1 99.5x2] [101.0x3 102.0x4]", "quote 100x1 101x3"]
    );
    // A newer ask below the older bid.
    assert_eq!(
        text(&b.data("v4_orderbook", A, r#"{"asks":[["99.8","5"]]}"#)),
        ["Delta 2<-1 [] [99.8x5]", "quote 99.5x2 99.8x5"]
    );
    // A newer bid again: now the ask is the older one.
    assert_eq!(
        text(&b.data("v4_orderbook", A, r#"{"bids":[["99.9","1"]]}"#)),
        ["Delta 3<-2 [99.9x1] []", "quote 99.9x1 101.0x3"]
    );
    // Both are told gone, and what was hidden is there again: it was never taken out of the book.
    assert_eq!(
        text(&b.data("v4_orderbook", A, r#"{"bids":[["99.9","0"]],"asks":[["99.8","0.0"]]}"#)),
        ["Delta 4<-3 [99.9x0.0] [99.8x0.0]", "quote 100x1 101x3"]
    );
    // Nothing new at the top: no quote.
    assert_eq!(text(&b.data("v4_orderbook", A, r#"{"bids":[["90","1"]]}"#)), ["Delta 5<-4 [90x1] []"]);
}

#[test]
fn a_book_that_nobody_asked_for_is_still_the_source_of_quotes() {
    let mut b = Bench::new(&[Channel::Quote]);
    assert_eq!(text(&b.subscribed("v4_orderbook", A, SNAPSHOT)), ["quote 100x1 101x3"]);
    let mut b = booked(&[Channel::Book]);
    assert_eq!(text(&b.data("v4_orderbook", A, r#"{"asks":[["99.8","5"]]}"#)), ["Delta 2<-1 [] [99.8x5]"]);
}

/// Snapshots have objects, updates arrays; REST has objects.
#[test]
fn levels_are_read_as_objects_and_as_arrays() {
    let objects = r#"{"bids":[{"price":"12.5","size":"1"}],"asks":[{"size":"2","price":"12.6"}]}"#;
    let arrays = r#"{"bids":[["12.5","1"]],"asks":[["12.6","2"]]}"#;
    for contents in [objects, arrays] {
        let mut b = Bench::new(&[Channel::Book]);
        assert_eq!(text(&b.subscribed("v4_orderbook", A, contents)), ["Snapshot 1<-0 [12.5x1] [12.6x2]"]);
        assert_eq!(text(&b.data("v4_orderbook", A, contents)), ["Delta 2<-1 [12.5x1] [12.6x2]"]);
    }
    let mut b = booked(&[Channel::Book]);
    let bad = b.try_send("channel_data", "v4_orderbook", A, r#"{"bids":[{"price":"1"}]}"#).unwrap_err();
    assert_eq!(bad.recovery(), Recovery::Resync);
}

/// Messages of all channels share one count, so an update names the message that brought its own book's last one.
#[test]
fn updates_of_a_book_are_linked_over_the_messages_of_others() {
    let mut b = booked(&[Channel::Book, Channel::Trade]);
    b.subscribed("v4_orderbook", B, SNAPSHOT);
    b.data("v4_trades", A, r#"{"trades":[]}"#);
    assert_eq!(text(&b.data("v4_orderbook", A, r#"{"bids":[["9","1"]]}"#)), ["Delta 4<-1 [9x1] []"]);
    assert_eq!(text(&b.data("v4_orderbook", B, r#"{"bids":[["9","1"]]}"#)), ["Delta 5<-2 [9x1] []"]);
    let batch = r#"[{"bids":[["9","2"]]},{"asks":[["110","1"]]},{"bids":[["9","0"]]}]"#;
    assert_eq!(
        text(&b.try_send("channel_batch_data", "v4_orderbook", A, batch).unwrap()),
        ["Delta 6<-4 [9x2] []", "Delta 6<-6 [] [110x1]", "Delta 6<-6 [9x0] []"]
    );
    assert_eq!(b.session.book_rule(0).chain, Chain::Linked);
}

/// Every stream of the connection may have lost something, so none of them goes on before there is another connection.
#[test]
fn a_jump_of_message_id_is_a_gap_of_all_streams_of_the_connection() {
    let mut b = booked(&[Channel::Book, Channel::Trade]);
    b.subscribed("v4_orderbook", B, SNAPSHOT);
    b.n += 2;
    let lost = b.try_send("channel_data", "v4_orderbook", A, r#"{"bids":[["9","1"]]}"#).unwrap_err();
    assert_eq!(lost, ProtocolError::Lost { expected: 3, got: 5 });
    assert_eq!(lost.recovery(), Recovery::Reconnect);
    // What comes until the socket closes would stand behind the loss as if there were none.
    let trade = r#"{"trades":[{"id":"0151a2b10000000200000005","side":"BUY","size":"1","price":"12.5","type":"LIMIT","createdAt":"2026-09-01T12:00:00.125Z"}]}"#;
    assert_eq!(text(&b.data("v4_trades", A, trade)), [] as [&str; 0]);
    assert_eq!(b.session.stats().filtered, 1);
    b.connection = "another";
    b.connect();
    assert_eq!(text(&b.data("v4_trades", A, trade)).len(), 1);
    assert_eq!(
        text(&b.data("v4_orderbook", B, r#"{"bids":[["9","1"]]}"#)),
        ["Delta 2<-0 [9x1] []"],
        "it follows nothing"
    );
}

/// A recording has no other connection: there each book breaks at its next update, whenever that comes.
#[test]
fn in_a_recording_a_jump_breaks_every_book_at_its_next_update() {
    let mut b = Bench::of(SessionPlan::capture("dydx"));
    b.subscribed("v4_orderbook", A, SNAPSHOT);
    b.subscribed("v4_orderbook", B, SNAPSHOT);
    b.n += 1;
    assert!(matches!(b.try_send("channel_data", "v4_markets", "", "{}"), Err(ProtocolError::Lost { .. })));
    assert_eq!(
        text(&b.data("v4_orderbook", A, r#"{"bids":[["9","1"]]}"#)),
        ["Delta 5<-3 [9x1] []"],
        "message 3 was lost"
    );
    assert_eq!(text(&b.data("v4_orderbook", B, r#"{"bids":[["9","1"]]}"#)), ["Delta 6<-3 [9x1] []"]);
    assert_eq!(text(&b.data("v4_orderbook", B, r#"{"bids":[["9","2"]]}"#)), ["Delta 7<-6 [9x2] []"]);
}

#[test]
fn a_message_that_came_before_is_a_loss_as_well() {
    let mut b = booked(&[Channel::Book]);
    b.n -= 1;
    let lost = b.try_send("channel_data", "v4_orderbook", A, r#"{"bids":[["9","1"]]}"#).unwrap_err();
    assert_eq!(lost, ProtocolError::Lost { expected: 2, got: 1 });
}

#[test]
fn no_frame_may_be_dropped_unread() {
    let mut b = booked(&[Channel::Book]);
    b.n += 1;
    let text = format!(
        r#"{{"type":"channel_data","connection_id":"{CONNECTION}","message_id":2,"id":"{A}","channel":"v4_orderbook","version":"1.0.0","contents":{{}}}}"#
    );
    assert_eq!(b.session.peek(Frame::Text(text.as_bytes())), None, "its number is the proof that nothing is missing");
}

/// Deletions of stale levels may never be published: each book is held against REST's once a minute.
#[test]
fn each_book_is_asked_for_anew_every_60_seconds() {
    let mut b = booked(&[Channel::Book]);
    b.subscribed("v4_orderbook", B, SNAPSHOT);
    let (actions, _) = b.run(at(300_000));
    let mut asked: [Vec<Ts>; 2] = Default::default();
    for (now, action) in &actions {
        if let Action::Fetch(id, request) = action {
            assert_eq!((id.kind, request.weight), (FetchKind::BookSnapshot, 1));
            assert_eq!(request.path, format!("/v4/orderbooks/perpetualMarket/{}", [A, B][id.instrument as usize]));
            asked[id.instrument as usize].push(*now);
        }
    }
    for times in asked {
        assert!(times.len() >= 4, "{times:?}");
        assert!(times.windows(2).all(|w| w[1].since(w[0]) == Duration::from_secs(60)), "{times:?}");
    }
}

#[test]
fn an_answer_mends_ghosts_and_keeps_what_the_stream_told_since_the_question() {
    let mut b = booked(&[Channel::Book, Channel::Quote]);
    b.run(at(60_000));
    let id = fetch(FetchKind::BookSnapshot, 0, 0);
    // While it is under way: the bid at 99.5 changes, 102 goes.
    b.now = at(60_050);
    b.data("v4_orderbook", A, r#"{"bids":[["99.5","7"]],"asks":[["102","0"]]}"#);
    b.now = at(60_100);
    let body = r#"{"bids":[{"price":"99.5","size":"2"},{"price":"98","size":"6"}],"asks":[{"price":"101","size":"2.5"},{"price":"102","size":"4"}]}"#;
    let out = b.answer(id, body).unwrap();
    // The bid at 100 was a ghost. The snapshot stands where the stream's book stands, so that the next update follows it.
    assert_eq!(text(&out), ["Snapshot 2<-0 [99.5x7.0 98.0x6.0] [101.0x2.5]"]);
    let (_, told) = b.run(at(60_101));
    assert_eq!(told, ["quote 99.5x7.0 101.0x2.5"]);
    assert_eq!(text(&b.data("v4_orderbook", A, r#"{"bids":[["97","1"]]}"#)), ["Delta 3<-2 [97x1] []"]);
    assert!(b.answer(id, body).is_err(), "one answer to a question");
}

/// T6: REST shows a hundred levels a side. What lies deeper is not gone.
#[test]
fn a_level_that_leaves_the_best_hundred_and_returns_is_kept() {
    let levels = |prices: std::ops::RangeInclusive<u32>| {
        let rows: Vec<String> = prices.rev().map(|p| format!(r#"{{"price":"{p}","size":"1"}}"#)).collect();
        format!(r#"{{"bids":[{}],"asks":[]}}"#, rows.join(","))
    };
    let mut b = Bench::new(&[Channel::Book]);
    b.subscribed("v4_orderbook", A, &levels(1_001..=1_100));
    b.data("v4_orderbook", A, r#"{"bids":[["1101","1"]]}"#);
    let mut answer = |until: i64, update: &str, shown| {
        b.data("v4_orderbook", A, update);
        b.run(at(until));
        let out = b.answer(fetch(FetchKind::BookSnapshot, 0, 0), &levels(shown)).unwrap();
        let Body::Book(book) = out.events[0].body else { panic!() };
        let bids = out.arena.level_slice(book.bids);
        (bids.len(), bids[0].price.0, bids[bids.len() - 1].price.0)
    };
    assert_eq!(answer(60_000, "{}", 1_002..=1_101), (101, 1_101, 1_001), "1001 is deeper than the answer");
    assert_eq!(answer(120_000, r#"{"bids":[["1101","0"]]}"#, 1_001..=1_100), (100, 1_100, 1_001));
    // An answer of fewer than a hundred is all that there is.
    assert_eq!(answer(180_000, r#"{"bids":[["1050","2"]]}"#, 1_010..=1_100), (91, 1_100, 1_010));
}

#[test]
fn no_answer_mends_a_book_that_the_stream_did_not_tell() {
    let mut b = booked(&[Channel::Book]);
    b.run(at(60_000));
    let id = fetch(FetchKind::BookSnapshot, 0, 0);
    let failed = FetchFailure::Timeout;
    b.session.on_fetched(b.now, id, Reply::Failed(&failed), &mut Out::default()).unwrap();
    b.connection = "another";
    b.connect();
    let error = b.answer(id, r#"{"bids":[],"asks":[]}"#).unwrap_err();
    assert_eq!(error.recovery(), Recovery::Skip);
    let asked =
        |b: &mut Bench, until| b.run(until).0.into_iter().filter(|(_, a)| matches!(a, Action::Fetch(..))).count();
    assert_eq!(asked(&mut b, at(600_000)), 0);
    b.subscribed("v4_orderbook", B, SNAPSHOT);
    assert!(asked(&mut b, at(700_000)) > 0);
}

#[test]
fn retry_after_is_in_milliseconds() {
    let rest = limits("dydx").unwrap().rest;
    assert_eq!((rest.retry_after, rest.retry_after.wait(1_500)), (RetryAfter::Millis, Duration::from_millis(1_500)));
    assert_eq!((rest.weight.count, rest.weight.per), (100, Duration::from_secs(10)));
    assert!(rest.refusals.iter().any(|r| r.is(429, b"")) && !rest.refusals.iter().any(|r| r.is(403, b"geo")));
}

#[test]
fn the_server_pings_by_frame() {
    let heartbeat = limits("dydx").unwrap().heartbeat;
    let (every, within) = (Duration::from_secs(30), Duration::from_secs(10));
    assert_eq!(heartbeat, Heartbeat::Server { every, within });
}

/// A venue of blocks, as its source has it: newest first, both bounds inclusive, what it does not know ignored.
struct Blocks {
    /// Height, time in ms, and how many trades.
    blocks: Vec<(u64, u64, u32)>,
    limit: usize,
}

impl Blocks {
    fn rows(&self) -> Vec<(u64, u64, String)> {
        let rows = |(height, ms, count): &(u64, u64, u32)| {
            let (height, ms) = (*height, *ms);
            (0..*count).map(move |i| (height, ms, format!("{height:08x}00000002{i:08x}"))).collect::<Vec<_>>()
        };
        self.blocks.iter().flat_map(rows).collect()
    }

    fn get(&self, path: &str) -> String {
        assert!(!path.contains("starting"), "the server ignores that name: {path}");
        let query = path.split_once('?').map_or("", |(_, q)| q);
        let param = |name: &str| query.split('&').filter_map(|p| p.split_once('=')).find(|p| p.0 == name).map(|p| p.1);
        let height = param("createdBeforeOrAtHeight").map(|h| h.parse::<u64>().unwrap());
        let ms = param("createdBeforeOrAt").map(|t| {
            Ts::parse_utc(t.replace("%3A", ":").as_bytes()).expect("a time that the server reads").millis() as u64
        });
        assert!(height.is_some() || ms.is_some(), "{path}");
        let kept = self.rows();
        let mut kept: Vec<_> = kept
            .iter()
            .filter(|(h, t, _)| height.is_none_or(|max| *h <= max) && ms.is_none_or(|max| *t <= max))
            .collect();
        kept.sort_by_key(|row| std::cmp::Reverse(row.0));
        let row = |(h, t, id): &&(u64, u64, String)| {
            let time = Ts::from_millis(*t as i64).to_string();
            format!(
                r#"{{"id":"{id}","side":"BUY","size":"1","price":"12.5","type":"LIMIT","createdAt":"{}Z","createdAtHeight":"{h}"}}"#,
                &time[..23]
            )
        };
        let rows: Vec<String> = kept.iter().take(self.limit).map(row).collect();
        format!(r#"{{"trades":[{}]}}"#, rows.join(","))
    }
}

/// T9: `createdBeforeOrAtHeight` and `createdBeforeOrAt` are inclusive, and an answer may cut a block in two: the next page begins with
/// that block again, so that none of its trades is lost, and every page is older than the one before.
#[test]
fn inclusive_cursors_lose_no_trade_of_a_block_while_paging() {
    let blocks: Vec<_> =
        (0..300_u64).map(|i| (1_000 + i, 1_790_000_000_000 + i * 1_100, (i * 7 % 11) as u32)).collect();
    let venue = Blocks { blocks, limit: 100 };
    let mut b = Bench::new(&[Channel::Trade]);
    let (mut held, mut cursor, mut pages) = (BTreeSet::new(), 1_790_000_000_000 + 300 * 1_100, 0);
    loop {
        let id = fetch(FetchKind::TradesAt, 0, cursor);
        let path = b.session.request(id).unwrap().path;
        assert!(path.starts_with("/v4/trades/perpetualMarket/AAA-USD?"), "{path}");
        assert_eq!(path.contains("createdBeforeOrAtHeight="), pages > 0, "by height as soon as one is known: {path}");
        let out = b.answer(id, &venue.get(&path)).unwrap();
        let times: Vec<_> = out.events.iter().map(|e| e.ts_event.millis() as u64).collect();
        assert!(times.is_sorted(), "oldest first");
        let before = held.len();
        held.extend(out.events.iter().map(|e| if let Body::Trade(t) = e.body { t.id } else { panic!() }));
        pages += 1;
        if times.len() < 100 {
            break;
        }
        assert!(times[0] < cursor && held.len() > before, "the page is older than the one before");
        cursor = times[0];
    }
    let all: BTreeSet<TradeId> = venue.rows().iter().map(|r| TradeId::parse(r.2.as_bytes()).unwrap()).collect();
    assert!(pages > 10 && held == all, "{pages} pages, {} of {}", held.len(), all.len());
    let TradeHistory::ByTimeWithOverlap(by) = b.session.trade_history() else { panic!() };
    assert!(by.downwards && by.page_max == 100 && by.reach.is_none());
}

#[test]
fn past_trades_are_asked_for_by_time_where_no_height_is_known() {
    let mut b = Bench::new(&[Channel::Trade]);
    let path = |b: &Bench, kind, arg| b.session.request(fetch(kind, 0, arg)).map(|r| r.path);
    let at = path(&b, FetchKind::TradesAt, 1_723_161_256_322).unwrap();
    // A millisecond more: the venue may keep more places than it prints.
    assert_eq!(at, "/v4/trades/perpetualMarket/AAA-USD?createdBeforeOrAt=2024-08-08T23%3A54%3A16.323Z");
    assert_eq!(path(&b, FetchKind::NewestTrades, 7).unwrap(), "/v4/trades/perpetualMarket/AAA-USD?limit=7");
    assert_eq!((path(&b, FetchKind::TradesFrom, 1), path(&b, FetchKind::OpenInterest, 0)), (None, None));
    let known = [
        format!("https://indexer.dydx.trade{at}"),
        "https://indexer.dydx.trade/v4/orderbooks/perpetualMarket/BBB-USD".into(),
        "https://indexer.dydx.trade/v4/perpetualMarkets?limit=100".into(),
        "https://indexer.dydx.trade/v4/time".into(),
    ];
    let told = known.map(|url| b.session.fetch_of(&url).map(|id| (id.kind, id.instrument)));
    assert_eq!(
        told,
        [
            Some((FetchKind::TradesAt, 0)),
            Some((FetchKind::BookSnapshot, 1)),
            Some((FetchKind::Instruments, NO_INSTRUMENT)),
            Some((FetchKind::ServerTime, NO_INSTRUMENT)),
        ]
    );
    assert_eq!(b.session.fetch_of("https://indexer.dydx.trade/v4/sparklines"), None);
}

#[test]
fn ids_are_kept_letter_by_letter_and_counted_by_nobody() {
    let mut b = Bench::new(&[Channel::Trade]);
    let row = |id: &str| {
        format!(
            r#"{{"id":"{id}","side":"SELL","size":"1","price":"12.5","type":"LIMIT","createdAt":"2026-09-01T12:00:00.125Z","createdAtHeight":"9"}}"#
        )
    };
    for id in ["014206cf0000000200000002", "20f43950-d8dd-5b31-9112-a178eb6023af"] {
        let out = b.data("v4_trades", A, &format!(r#"{{"trades":[{}]}}"#, row(id)));
        let Body::Trade(t) = out.events[0].body else { panic!() };
        assert_eq!((t.id.to_string().as_str(), t.id.number(), t.first_id), (id, None, 0));
    }
    // The first message goes from new to old; the tape goes on from old to new.
    let list = format!(r#"{{"trades":[{},{}]}}"#, row("000000070000000200000002"), row("000000060000000200000002"));
    assert_eq!(
        text(&b.subscribed("v4_trades", A, &list)),
        ["trade 000000060000000200000002 12.5", "trade 000000070000000200000002 12.5"]
    );
    let bad = b.try_send("channel_data", "v4_trades", A, &format!(r#"{{"trades":[{}]}}"#, row("0x12")));
    assert!(matches!(bad, Err(ProtocolError::Malformed { channel: "v4_trades", .. })));
}

/// There is no channel of liquidations: they are trades of their type. Those in the first message are old.
#[test]
fn liquidations_are_trades_of_a_type_and_old_ones_are_not_told() {
    let trade = |kind: &str| {
        format!(
            r#"{{"trades":[{{"id":"0151a2b10000000200000005","side":"SELL","size":"4","price":"12.4","type":"{kind}","createdAt":"2026-09-01T12:00:00.125Z"}}]}}"#
        )
    };
    let mut b = Bench::new(&[Channel::Trade, Channel::Liquidation]);
    assert_eq!(text(&b.subscribed("v4_trades", A, &trade("LIQUIDATED"))), ["trade 0151a2b10000000200000005 12.4"]);
    let out = b.data("v4_trades", A, &trade("LIQUIDATED"));
    assert_eq!(text(&out), ["trade 0151a2b10000000200000005 12.4", "liquidation Some(Sell) 12.4 4"]);
    let Body::Trade(t) = out.events[0].body else { panic!() };
    assert_eq!(t.condition, TradeCondition::Liquidation);
    let out = b.data("v4_trades", A, &trade("DELEVERAGED"));
    let Body::Trade(t) = out.events[0].body else { panic!() };
    assert_eq!((out.events.len(), t.condition), (1, TradeCondition::Adl));
    let mut b = Bench::new(&[Channel::Liquidation]);
    assert_eq!(text(&b.data("v4_trades", A, &trade("LIQUIDATED"))), ["liquidation Some(Sell) 12.4 4"]);
}

/// The price of a deleveraging is a quotient of twenty places.
#[test]
fn a_number_of_too_many_places_is_kept_nearest_and_its_frame_raw() {
    let mut b = Bench::new(&[Channel::Trade]);
    let trade = r#"{"trades":[{"id":"0151a2b10000000200000005","side":"SELL","size":"0.811","price":"2340.7442700369913687","type":"DELEVERAGED","createdAt":"2026-09-01T12:00:00.125Z"}]}"#;
    let out = b.data("v4_trades", A, trade);
    assert_eq!(text(&out), ["trade 0151a2b10000000200000005 2340.744270036991369"]);
    assert!(out.events.iter().any(|e| e.kind == Kind::Raw) && b.session.stats().unknown_frames == 1);
}

/// No flag says that a candle is closed: its successor does. After a broken connection the first message has those that were missed.
#[test]
fn a_bar_is_closed_by_its_successor() {
    let row = |minute: u32, close: &str| {
        format!(
            r#"{{"startedAt":"2026-09-01T12:{minute:02}:00.000Z","ticker":"{A}","resolution":"1MIN","low":"1","high":"9","open":"2","close":"{close}","baseTokenVolume":"3","usdVolume":"6","trades":2,"startingOpenInterest":"1"}}"#
        )
    };
    let list = |rows: &[(u32, &str)]| {
        let rows: Vec<String> = rows.iter().map(|(m, c)| row(*m, c)).collect();
        format!(r#"{{"candles":[{}]}}"#, rows.join(","))
    };
    let mut b = Bench::new(&[Channel::parse("bar-1m").unwrap()]);
    let id = format!("{A}/1MIN");
    let first = b.subscribed("v4_candles", &id, &list(&[(3, "5"), (2, "4"), (1, "3")]));
    assert_eq!(text(&first), ["bar 1 3 closed", "bar 2 4 closed", "bar 3 5 open"]);
    assert_eq!(text(&b.data("v4_candles", &id, &row(3, "6"))), ["bar 3 6 open"]);
    assert_eq!(
        text(&b.data("v4_candles", &id, &row(5, "7"))),
        ["bar 3 6 closed", "bar 5 7 open"],
        "an empty one is left out"
    );
    assert_eq!(text(&b.data("v4_candles", &id, &row(3, "6.5"))), ["bar 3 6.5 closed"], "a correction");
    b.connection = "another";
    b.connect();
    let again = b.subscribed("v4_candles", &id, &list(&[(7, "9"), (6, "8"), (5, "7.5"), (3, "6.5"), (2, "4")]));
    assert_eq!(text(&again), ["bar 5 7.5 closed", "bar 6 8 closed", "bar 7 9 open"]);
    assert_eq!(b.session.stats().filtered, 2);
}

/// Later messages hold what changed alone: what is absent stays as it was.
#[test]
fn absent_is_not_zero_in_updates_of_markets() {
    let channels = [Channel::Mark, Channel::OpenInterest, Channel::Instrument];
    let mut b = Bench::new(&channels);
    let whole = r#"{"markets":{"AAA-USD":{"ticker":"AAA-USD","status":"ACTIVE","oraclePrice":"12.5","nextFundingRate":"0.0001","openInterest":"70","tickSize":"0.01","stepSize":"0.1"},"ZZZ-USD":{"status":"ACTIVE"}}}"#;
    let first = [
        "instrument AAA/USD USDC tick 0.01 step 0.1",
        "status Trading ACTIVE",
        "mark 12.5",
        "index 12.5",
        "funding 0.0001",
        "open interest 70",
    ];
    assert_eq!(text(&b.subscribed("v4_markets", "", whole)), first);
    let update =
        |b: &mut Bench, row: &str| text(&b.data("v4_markets", "", &format!(r#"{{"trading":{{"AAA-USD":{row}}}}}"#)));
    assert_eq!(update(&mut b, r#"{"id":"7","baseOpenInterest":"71"}"#), [] as [&str; 0]);
    assert_eq!(update(&mut b, r#"{"openInterest":"71"}"#), ["open interest 71"]);
    assert_eq!(update(&mut b, r#"{"nextFundingRate":"-0.00000046646341463415"}"#), ["funding -0.000000466463414634"]);
    assert_eq!(
        update(&mut b, r#"{"status":"CANCEL_ONLY"}"#),
        ["instrument AAA/USD USDC tick 0.01 step 0.1", "status CancelOnly CANCEL_ONLY"]
    );
    assert_eq!(update(&mut b, r#"{"tickSize":"0.005"}"#), ["instrument AAA/USD USDC tick 0.005 step 0.1"]);
    let prices = r#"{"oraclePrices":{"AAA-USD":{"oraclePrice":"12.6","effectiveAt":"2026-09-01T12:00:06.500Z","effectiveAtHeight":"1","marketId":7}}}"#;
    let out = b.data("v4_markets", "", prices);
    assert_eq!(text(&out), ["mark 12.6", "index 12.6"], "the oracle's price is both");
    assert_eq!(out.events[0].ts_event.to_string(), "2026-09-01T12:00:06.500000000Z");
    // Told again as a whole: rules and status are no news.
    b.connection = "another";
    b.connect();
    let again = whole.replace("ACTIVE", "CANCEL_ONLY").replace("0.01", "0.005").replace(r#""0.00501""#, r#""0.0001""#);
    assert_eq!(text(&b.subscribed("v4_markets", "", &again)), first[2..]);
}

#[test]
fn a_status_that_we_do_not_know_is_told_and_kept() {
    let mut b = Bench::new(&[Channel::Instrument]);
    let out = b.data("v4_markets", "", r#"{"trading":{"AAA-USD":{"status":"FROZEN"}}}"#);
    assert_eq!(text(&out), ["status Unknown FROZEN"]);
    assert_eq!(b.session.stats().unknown_frames, 1);
}

#[test]
fn definitions_are_polled_as_well() {
    let mut b = Bench::new(&[Channel::Instrument]);
    let body = r#"{"markets":{"AAA-USD":{"ticker":"AAA-USD","status":"ACTIVE","oraclePrice":"12.5","nextFundingRate":"0.0001","openInterest":"70","tickSize":"0.01","stepSize":"0.1"},"X,RAYDIUM,9BB6pump-USD":{}}}"#;
    let out = b.answer(fetch(FetchKind::Instruments, NO_INSTRUMENT, 0), body).unwrap();
    assert_eq!(text(&out), ["instrument AAA/USD USDC tick 0.01 step 0.1", "status Trading ACTIVE"]);
    let dydx = venue("dydx").unwrap();
    assert_eq!(dydx.listed(body.as_bytes()).unwrap(), [A, "X,RAYDIUM,9BB6pump-USD"]);
    assert!(dydx.listed(b"[]").is_err() && dydx.is_symbol("X,RAYDIUM,9BB6pump-USD"));
}

#[test]
fn streams_are_asked_for_behind_the_greeting_one_by_one() {
    let mut b = Bench::new(&[Channel::Trade, Channel::Book, Channel::Mark]);
    let greeted = b.connect();
    let mut sent: Vec<String> = Vec::new();
    let mut take = |actions: Vec<Action>| {
        sent.extend(actions.into_iter().filter_map(|a| if let Action::Send(text) = a { Some(text) } else { None }));
    };
    take(greeted.actions);
    take(b.run(at(5_000)).0.into_iter().map(|(_, a)| a).collect());
    assert_eq!(
        sent,
        [
            r#"{"type":"subscribe","channel":"v4_block_height","batched":false}"#,
            r#"{"type":"subscribe","channel":"v4_trades","id":"AAA-USD","batched":false}"#,
            r#"{"type":"subscribe","channel":"v4_orderbook","id":"AAA-USD","batched":false}"#,
            r#"{"type":"subscribe","channel":"v4_markets","batched":false}"#,
            r#"{"type":"subscribe","channel":"v4_trades","id":"BBB-USD","batched":false}"#,
            r#"{"type":"subscribe","channel":"v4_orderbook","id":"BBB-USD","batched":false}"#,
        ]
    );
    let noted = |out: &Out| {
        out.actions
            .iter()
            .filter_map(|a| match a {
                Action::Note(Note::Subscribed { streams }) => Some(streams.join(" ")),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let told =
        b.subscribed("v4_block_height", "v4_block_height", r#"{"height":"1","time":"2026-09-01T12:00:00.000Z"}"#);
    assert_eq!(noted(&told), ["v4_block_height:"]);
    assert_eq!(noted(&b.subscribed("v4_orderbook", B, SNAPSHOT)), ["v4_orderbook:BBB-USD"]);
    assert_eq!(noted(&b.subscribed("v4_orderbook", B, SNAPSHOT)), [] as [&str; 0], "told once");
}

/// Books have no time of their own: that of the blocks tells how late a connection is.
#[test]
fn a_block_tells_the_venues_time() {
    let mut b = Bench::new(&[Channel::Book]);
    let block = "v4_block_height";
    let times = |out: &Out| -> Vec<i64> {
        let time = |a: &Action| if let Action::Note(Note::Time(at)) = a { Some(at.millis()) } else { None };
        out.actions.iter().filter_map(time).collect()
    };
    // What a subscription begins with is of an older block.
    let began = b.subscribed(block, block, r#"{"height":"1","time":"2026-09-01T12:00:00.000Z"}"#);
    assert_eq!(times(&began), [] as [i64; 0]);
    let made = b.data(block, block, r#"{"blockHeight":"2","time":"2026-09-01T12:00:01.250Z"}"#);
    assert_eq!(times(&made), [1_788_264_001_250]);
    for contents in [r#"{"blockHeight":"3"}"#, r#"{"blockHeight":"4","time":"soon"}"#, "[]"] {
        assert_eq!(times(&b.data(block, block, contents)), [] as [i64; 0], "{contents}");
    }
}

#[test]
fn a_book_asked_for_anew_is_ended_first_and_no_stream_is_subscribed_three_times_a_second() {
    let mut b = Bench::new(&[Channel::Book]);
    b.run(at(10_000));
    let mut out = Out::default();
    let mut sent: Vec<(Ts, String)> = Vec::new();
    for i in 0..40 {
        let now = at(10_000 + i * 100);
        b.now = now;
        let goes_out = b.session.resubscribe_book(now, 0, &mut out).unwrap();
        assert!(goes_out >= now);
        sent.extend(out.actions.drain(..).filter_map(|a| if let Action::Send(t) = a { Some((now, t)) } else { None }));
        let (actions, _) = b.run(now + Duration::from_millis(99));
        sent.extend(
            actions.into_iter().filter_map(|(at, a)| if let Action::Send(t) = a { Some((at, t)) } else { None }),
        );
    }
    assert_eq!(sent[0].1, r#"{"type":"unsubscribe","channel":"v4_orderbook","id":"AAA-USD"}"#);
    assert_eq!(sent[1].1, r#"{"type":"subscribe","channel":"v4_orderbook","id":"AAA-USD","batched":false}"#);
    let subscribed: Vec<Ts> = sent.iter().filter(|s| s.1.contains("\"subscribe\"")).map(|s| s.0).collect();
    assert!(subscribed.len() > 4, "{subscribed:?}");
    assert!(subscribed.windows(3).all(|w| w[2].since(w[0]) > Duration::from_secs(1)), "{subscribed:?}");
    assert_eq!(b.session.resubscribe_book(b.now, 7, &mut out), None, "no instrument of ours");
}

/// While a book is asked for anew, what still comes of it makes no best price; the next snapshot does.
#[test]
fn no_best_price_is_made_of_a_book_that_was_given_up() {
    let mut b = Bench::new(&[Channel::Book, Channel::Quote]);
    b.run(at(10_000));
    let quotes = |out: &Out| out.events.iter().filter(|e| e.kind == Kind::Quote).count();
    assert_eq!(quotes(&b.subscribed("v4_orderbook", A, SNAPSHOT)), 1);
    assert!(b.session.quotes_are_of_the_book());
    let mut out = Out::default();
    b.session.resubscribe_book(b.now, 0, &mut out).unwrap();
    assert_eq!(quotes(&b.subscribed("v4_orderbook", A, SNAPSHOT)), 1, "told again, though they are the same");
}

#[test]
fn errors_refuse_what_they_name_and_ask_for_another_connection_else() {
    let mut b = Bench::new(&[Channel::Trade, Channel::Book]);
    b.run(at(5_000));
    let out = b.error("Invalid subscription id for channel: (v4_orderbook-BBB-USD)").unwrap();
    let streams = vec!["v4_orderbook:BBB-USD".to_owned()];
    let text = "Invalid subscription id for channel: (v4_orderbook-BBB-USD)".to_owned();
    assert_eq!(out.actions, [Action::Note(Note::Refused { streams, code: 0, text })]);
    assert_eq!(b.error("Invalid subscribe message: already subscribed (v4_trades-AAA-USD)").unwrap().actions, []);
    let busy = b.error("Internal error, could not fetch data for subscription: v4_orderbook.").unwrap_err();
    assert_eq!(busy.recovery(), Recovery::Reconnect);
    assert_eq!(b.error("Too many requests").unwrap_err().recovery(), Recovery::Reconnect);
}

#[test]
fn what_is_not_offered_is_refused_and_addresses_are_known() {
    let named = vec![(0, A.to_owned())];
    let refused = connections("dydx", &named, &[Channel::Ticker], &SplitLimits::default());
    assert_eq!(refused, Err(PlanError::NotOffered { venue: "dydx", channel: Channel::Ticker }));
    for url in ["wss://indexer.dydx.trade/v4/ws", "https://indexer.v4testnet.dydx.exchange/v4/time"] {
        assert_eq!(of_address(url).map(|v| v.name()), Some("dydx"), "{url}");
    }
    assert!(of_address("wss://indexer.notdydx.trade/v4/ws").is_none());
}

#[test]
fn what_is_nobodys_is_counted() {
    let mut b = Bench::new(&[]);
    let out = b.data("v4_subaccounts", "dydx1xx/0", r#"{"orders":[]}"#);
    assert_eq!(out.events[0].kind, Kind::Raw);
    b.data("v4_trades", "ZZZ-USD", r#"{"trades":[]}"#);
    let stats = b.session.stats();
    assert_eq!((stats.unknown_frames, stats.filtered), (1, 1));
}

#[test]
fn an_update_is_a_book_action_of_its_own() {
    let mut b = booked(&[]);
    let out = b.data("v4_orderbook", A, r#"{"bids":[["100","0.0"]]}"#);
    let Body::Book(book) = out.events[0].body else { panic!() };
    assert_eq!(
        (book.action, out.events.len()),
        (BookAction::Delta, 1),
        "quotes are derived, and told where they are asked for"
    );
    assert_eq!(text(&out), ["Delta 2<-1 [100x0.0] []"]);
}
