//! OKX: the traps of its documents, one test each, and the conversation around the data.

use std::time::Duration;

use wholetape_model::{Body, BookAction, Kind, NO_INSTRUMENT, Ts};
use wholetape_venue::{
    Action, Chain, Channel, Checksum, FetchId, FetchKind, Frame, Heartbeat, Note, Out, PlanError, ProtocolError,
    Recovery, Reply, Route, Session, SessionPlan, SplitLimits, TradeHistory, connections, limits, of_address, open,
    venue,
};

const SPOT: &str = "AAA-BBB";
const SWAP: &str = "AAA-BBB-SWAP";

fn at(ms: i64) -> Ts {
    Ts::from_millis(1_000_000 + ms)
}

fn session(route: Route, channels: &[Channel]) -> Box<dyn Session> {
    let instruments = vec![(0, SPOT.to_owned()), (1, SWAP.to_owned())];
    open(&SessionPlan { route, instruments, channels: channels.to_vec(), ..SessionPlan::new("okx") }).unwrap()
}

fn frame(s: &mut dyn Session, text: &str) -> Out {
    let mut out = Out::default();
    s.on_frame(at(0), Frame::Text(text.as_bytes()), &mut out).unwrap();
    out
}

fn book(action: &str, prev: i64, seq: u64, levels: bool) -> String {
    let asks = if levels { r#"["12.52","1","0","1"]"# } else { "" };
    format!(
        r#"{{"arg":{{"channel":"books","instId":"{SPOT}"}},"action":"{action}","data":[{{"asks":[{asks}],"bids":[],"ts":"1790000000100","checksum":0,"prevSeqId":{prev},"seqId":{seq}}}]}}"#
    )
}

fn ids(out: &Out) -> (BookAction, u64, u64, usize) {
    let Body::Book(b) = out.events[0].body else { panic!("{:?}", out.events) };
    assert_eq!(b.first_id, b.last_id);
    (b.action, b.prev_id, b.last_id, (b.asks.len + b.bids.len) as usize)
}

/// The documents' own example of a valid chain: `-1/10, 10/15, 15/15, 15/3, 3/5`.
#[test]
fn a_reset_to_a_smaller_seq_id_is_an_update_that_follows() {
    let mut s = session(Route::Public, &[Channel::Book]);
    let told: Vec<_> =
        [("snapshot", -1, 10), ("update", 10, 15), ("update", 15, 15), ("update", 15, 3), ("update", 3, 5)]
            .map(|(action, prev, seq)| ids(&frame(s.as_mut(), &book(action, prev, seq, prev != 15 || seq != 15))))
            .to_vec();
    use BookAction::{Delta, Snapshot};
    assert_eq!(
        told,
        [(Snapshot, 0, 10, 1), (Delta, 10, 15, 1), (Delta, 15, 15, 0), (Delta, 15, 3, 1), (Delta, 3, 5, 1)]
    );
}

#[test]
fn equal_ids_without_levels_are_a_heartbeat() {
    let mut s = session(Route::Public, &[Channel::Book]);
    assert_eq!(ids(&frame(s.as_mut(), &book("update", 15, 15, false))), (BookAction::Delta, 15, 15, 0));
}

#[test]
fn an_update_that_follows_nothing_is_malformed() {
    let mut s = session(Route::Public, &[Channel::Book]);
    let mut out = Out::default();
    let error = s.on_frame(at(0), Frame::Text(book("update", -1, 5, true).as_bytes()), &mut out).unwrap_err();
    assert_eq!((error.recovery(), out.events.len(), out.arena.levels.len()), (Recovery::Resync, 0, 0));
}

/// `tradeId` of a group is its last match, and skips by `count`: taking that for loss is the most common error.
#[test]
fn trades_cover_ranges_of_the_ids_that_trades_all_has_one_by_one() {
    let mut s = session(Route::Any, &[Channel::Trade, Channel::TradeRaw]);
    let group = |id: u64, count: u64| {
        format!(
            r#"{{"arg":{{"channel":"trades","instId":"{SPOT}"}},"data":[{{"instId":"{SPOT}","tradeId":"{id}","px":"12.5","sz":"3","side":"buy","ts":"1790000000000","count":"{count}","source":"0","seqId":7}}]}}"#
        )
    };
    let single = |id: u64| {
        format!(
            r#"{{"arg":{{"channel":"trades-all","instId":"{SPOT}"}},"data":[{{"instId":"{SPOT}","tradeId":"{id}","px":"12.5","sz":"1","side":"buy","ts":"1790000000000","source":"0"}}]}}"#
        )
    };
    let mut last = 1_000;
    let mut covered = Vec::new();
    for (id, count) in [(1_001, 1), (1_004, 3), (1_005, 1), (1_015, 10)] {
        let out = frame(s.as_mut(), &group(id, count));
        let Body::Trade(t) = out.events[0].body else { panic!() };
        assert_eq!(
            (out.events[0].kind, t.id.number(), t.first_id, t.last_id),
            (Kind::TradeRaw, Some(id), last + 1, id),
            "no gap"
        );
        covered.extend(t.first_id..=t.last_id);
        last = t.last_id;
    }
    let singles: Vec<u64> = (1_001..=1_015)
        .map(|id| {
            let out = frame(s.as_mut(), &single(id));
            let Body::Trade(t) = out.events[0].body else { panic!() };
            assert_eq!((out.events[0].kind, t.first_id, t.last_id), (Kind::Trade, id, id));
            t.id.number().unwrap()
        })
        .collect();
    assert_eq!(covered, singles);
    let mut out = Out::default();
    let error = s.on_frame(at(0), Frame::Text(group(2, 5).as_bytes()), &mut out).unwrap_err();
    assert!(matches!(error, ProtocolError::Malformed { channel: "trades", .. }), "{error}");
}

/// Subscribe, unsubscribe and login together, per connection: also in a storm of books that are wanted anew.
#[test]
fn no_hour_has_more_than_480_operations() {
    let rate = limits("okx").unwrap().subscribe.operations.unwrap();
    assert_eq!((rate.count, rate.per), (480, Duration::from_secs(3_600)));
    let instruments: Vec<_> = (0..1_500).map(|i| (i, format!("AAA{i}-BBB"))).collect();
    let channels = vec![Channel::Book, Channel::Quote];
    let mut s = open(&SessionPlan { instruments, channels, ..SessionPlan::new("okx") }).unwrap();
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let mut sent = Vec::new();
    for second in 0..3 * 3_600 {
        let now = at(second * 1_000);
        if s.next_timer().is_some_and(|due| due <= now) {
            s.on_timer(now, &mut out);
        }
        let goes_out = s.resubscribe_book(now, (second % 1_500) as u32, &mut out).unwrap();
        assert!(goes_out >= now);
        for action in out.actions.drain(..) {
            let Action::Send(text) = action else { panic!("{action:?}") };
            assert!(text.len() < 64 << 10, "one request's text is at most 64 KB");
            sent.push(now);
        }
    }
    assert!(sent.len() > 2 * 480 && sent.len() <= 3 * 480, "{}", sent.len());
    for (i, first) in sent.iter().enumerate() {
        assert!(sent[i..].iter().take_while(|t| t.since(*first) < rate.per).count() <= 480);
    }
}

#[test]
fn a_book_asked_for_anew_is_ended_first_and_its_second_answer_is_no_news() {
    let mut s = session(Route::Public, &[Channel::Book]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let ack = format!(r#"{{"event":"subscribe","arg":{{"channel":"books","instId":"{SPOT}"}},"connId":"a"}}"#);
    assert_eq!(frame(s.as_mut(), &ack).actions.len(), 1);
    out.clear();
    let goes_out = s.resubscribe_book(at(10_000), 0, &mut out).unwrap();
    while s.next_timer().is_some_and(|due| due <= goes_out) {
        s.on_timer(s.next_timer().unwrap(), &mut out);
    }
    let arg = format!(r#""args":[{{"channel":"books","instId":"{SPOT}"}}]"#);
    let expected =
        [format!(r#"{{"id":"2","op":"unsubscribe",{arg}}}"#), format!(r#"{{"id":"3","op":"subscribe",{arg}}}"#)];
    assert_eq!(out.actions, expected.map(Action::Send));
    frame(s.as_mut(), &ack.replace("subscribe", "unsubscribe"));
    assert_eq!(frame(s.as_mut(), &ack).actions, []);
    assert_eq!(s.resubscribe_book(at(20_000), 7, &mut out), None, "no instrument of ours");
}

#[test]
fn a_checksum_is_handed_on_when_it_is_not_0() {
    let mut s = session(Route::Public, &[Channel::Book]);
    let with =
        |checksum: i64| book("update", 10, 15, true).replace(r#""checksum":0"#, &format!(r#""checksum":{checksum}"#));
    assert_eq!(frame(s.as_mut(), &with(0)).checksums, []);
    assert_eq!(frame(s.as_mut(), &with(-1_404_728_636)).checksums, [(0, (-1_404_728_636_i32).cast_unsigned())]);
    assert_eq!(s.book_rule(0).chain, Chain::Linked);
    // Recordings of 2021 and 2022 have no ids: there it is the only proof.
    frame(s.as_mut(), &with(7).replace(r#","prevSeqId":10,"seqId":15"#, ""));
    assert_eq!((s.book_rule(0).chain, s.book_rule(0).checksum), (Chain::Unlinked, Some(Checksum::Turns25)));
}

#[test]
fn the_client_pings_in_plain_text_before_the_server_cuts() {
    let Heartbeat::Client { ping, pong, every, cut } = limits("okx").unwrap().heartbeat else { panic!() };
    assert_eq!((ping, pong), ("ping", Some("pong")));
    assert!(every < Duration::from_secs(30) && cut <= Duration::from_secs(30));
    // One that reaches the session, from a recording, is no unknown frame.
    let mut s = session(Route::Public, &[]);
    assert!(frame(s.as_mut(), "pong").events.is_empty());
    assert_eq!((s.stats().unknown_frames, s.stats().by_channel["pong"]), (0, 1));
}

#[test]
fn subscribes_each_route_and_product_apart_and_takes_one_answer_per_argument() {
    let named = vec![(0, SPOT.to_owned()), (1, SWAP.to_owned())];
    let channels = [Channel::Trade, Channel::Book, Channel::Liquidation];
    let plans = connections("okx", &named, &channels, &SplitLimits::default()).unwrap();
    let seen: Vec<_> = plans
        .iter()
        .map(|p| {
            let mut s = open(&p.session()).unwrap();
            let mut out = Out::default();
            s.on_open(at(0), &mut out);
            let Action::Send(text) = out.actions.remove(0) else { panic!() };
            for stream in &p.streams {
                let (channel, subject) = stream.split_once(':').unwrap();
                let key = if channel == "liquidation-orders" { "instType" } else { "instId" };
                let arg = format!(r#"{{"channel":"{channel}","{key}":"{subject}"}}"#);
                assert!(text.contains(&arg), "{text}");
                let told = frame(s.as_mut(), &format!(r#"{{"id":"1","event":"subscribe","arg":{arg},"connId":"a"}}"#));
                assert_eq!(told.actions, [Action::Note(Note::Subscribed { streams: vec![stream.clone()] })]);
                // A second answer says nothing.
                let told = frame(s.as_mut(), &format!(r#"{{"event":"subscribe","arg":{arg},"connId":"a"}}"#));
                assert_eq!(told.actions, []);
            }
            (p.path, p.route, text)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "/ws/v5/public",
                Route::Public,
                r#"{"id":"1","op":"subscribe","args":[{"channel":"books","instId":"AAA-BBB"}]}"#.to_owned()
            ),
            (
                "/ws/v5/business",
                Route::Business,
                r#"{"id":"1","op":"subscribe","args":[{"channel":"trades-all","instId":"AAA-BBB"}]}"#.to_owned()
            ),
            (
                "/ws/v5/public",
                Route::Public,
                r#"{"id":"1","op":"subscribe","args":[{"channel":"books","instId":"AAA-BBB-SWAP"},{"channel":"liquidation-orders","instType":"SWAP"}]}"#.to_owned()
            ),
            (
                "/ws/v5/business",
                Route::Business,
                r#"{"id":"1","op":"subscribe","args":[{"channel":"trades-all","instId":"AAA-BBB-SWAP"}]}"#.to_owned()
            ),
        ]
    );
}

#[test]
fn an_error_refuses_the_argument_that_it_names_and_no_other() {
    let mut s = session(Route::Public, &[Channel::Book, Channel::Quote]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let text = format!("Wrong URL or channel:books,instId:{SWAP} doesn't exist. Please use the correct URL");
    let told =
        frame(s.as_mut(), &format!(r#"{{"id":"1","event":"error","code":"60018","msg":"{text}","connId":"a"}}"#));
    let streams = vec![format!("books:{SWAP}")];
    assert_eq!(told.actions, [Action::Note(Note::Refused { streams, code: 60_018, text })]);
    // Nothing in words: then the rest of the request is meant.
    let told = frame(s.as_mut(), r#"{"id":"1","event":"error","code":"60012","msg":"Invalid request","connId":"a"}"#);
    let Action::Note(Note::Refused { streams, code: 60_012, .. }) = &told.actions[0] else { panic!("{told:?}") };
    assert_eq!(streams.len(), 3);
    // And when nothing is asked, it is an error of its own.
    let mut fail = |text: &str| s.on_frame(at(0), Frame::Text(text.as_bytes()), &mut Out::default()).unwrap_err();
    let refused = fail(r#"{"event":"error","code":"60012","msg":"Invalid request"}"#);
    assert_eq!(refused.recovery(), Recovery::Stop);
    let busy = fail(r#"{"event":"error","code":"60014","msg":"Requests too frequent"}"#);
    assert_eq!(busy, ProtocolError::Venue { code: 60_014, text: "Requests too frequent".into() });
    assert_eq!(busy.recovery(), Recovery::Reconnect);
}

#[test]
fn notice_64008_announces_the_end_of_the_connection() {
    let mut s = session(Route::Public, &[]);
    let told = frame(s.as_mut(), r#"{"event":"notice","code":"64008","msg":"soon","connId":"a"}"#);
    assert_eq!(told.actions, [Action::Note(Note::ClosingSoon)]);
    let told = frame(s.as_mut(), r#"{"event":"notice","code":"1","msg":"other","connId":"a"}"#);
    assert!(told.actions.contains(&Action::Note(Note::Unknown { channel: "notice".into() })));
    assert_eq!(s.stats().unknown_frames, 1);
}

#[test]
fn an_index_goes_to_each_instrument_that_stands_on_it() {
    let index = format!(
        r#"{{"arg":{{"channel":"index-tickers","instId":"{SPOT}"}},"data":[{{"instId":"{SPOT}","idxPx":"12.504","high24h":"13","low24h":"12","open24h":"12.1","sodUtc0":"12.2","sodUtc8":"12.3","ts":"1790000001000"}}]}}"#
    );
    let instruments = vec![(0, SPOT.to_owned()), (1, SWAP.to_owned()), (2, "AAA-BBB-270326".to_owned())];
    let mut s = open(&SessionPlan { instruments, ..SessionPlan::new("okx") }).unwrap();
    let told: Vec<_> = frame(s.as_mut(), &index).events.iter().map(|e| (e.instrument, e.kind)).collect();
    assert_eq!(told, [(1, Kind::Index), (2, Kind::Index)]);
}

/// The first message after a subscription holds old ones, and liquidations have no ids.
#[test]
fn liquidations_that_an_earlier_connection_told_are_not_told_again() {
    let mut s = session(Route::Public, &[Channel::Liquidation]);
    let detail = |ts: u64| {
        format!(r#"{{"side":"sell","posSide":"long","bkPx":"12.3","sz":"14","bkLoss":"0","ccy":"","ts":"{ts}"}}"#)
    };
    let message = |details: &[u64]| {
        let details: Vec<String> = details.iter().map(|ms| detail(1_000_000 + ms)).collect();
        format!(
            r#"{{"arg":{{"channel":"liquidation-orders","instType":"SWAP"}},"data":[{{"instType":"SWAP","instId":"{SWAP}","instFamily":"{SPOT}","uly":"{SPOT}","details":[{}]}}]}}"#,
            details.join(",")
        )
    };
    let times = |out: &Out| out.events.iter().map(|e| e.ts_event.millis() - 1_000_000).collect::<Vec<_>>();
    s.on_open(at(0), &mut Out::default());
    assert_eq!(times(&frame(s.as_mut(), &message(&[5, 5, 7]))), [5, 5, 7], "two that look alike are two");
    s.on_open(at(9_000), &mut Out::default());
    assert_eq!(times(&frame(s.as_mut(), &message(&[5, 7, 8]))), [8]);
    assert_eq!(s.stats().filtered, 2);
    // The next session, which takes over from this one: what was before it, this one has told.
    let mut next = session(Route::Public, &[Channel::Liquidation]);
    next.on_open(at(9_500), &mut Out::default());
    assert_eq!(times(&frame(next.as_mut(), &message(&[7, 8, 9_600]))), [9_600]);
    assert_eq!(
        times(&frame(next.as_mut(), &message(&[9_400]))),
        [9_400],
        "clocks differ: only the first message repeats"
    );
    // What came while it was away is news.
    next.on_open(at(20_000), &mut Out::default());
    assert_eq!(times(&frame(next.as_mut(), &message(&[9_400, 9_600, 15_000]))), [15_000]);
}

#[test]
fn bars_of_six_hours_and_more_are_asked_for_on_days_of_utc() {
    let named = vec![(0, SPOT.to_owned())];
    let bar = |text: &str| Channel::parse(text).unwrap();
    let channels = [bar("bar-1m"), bar("bar-4h"), bar("bar-6h"), bar("bar-1d"), bar("bar-1w"), bar("bar-1M")];
    let plans = connections("okx", &named, &channels, &SplitLimits::default()).unwrap();
    let mut streams = plans[0].streams.clone();
    streams.sort();
    let expected = ["candle12Hutc", "candle1Dutc", "candle1Mutc", "candle1Wutc", "candle1m", "candle4H", "candle6Hutc"];
    let expected: Vec<_> = expected[1..].iter().map(|c| format!("{c}:{SPOT}")).collect();
    assert_eq!(streams, expected);
    let odd = connections("okx", &named, &[bar("bar-7m")], &SplitLimits::default());
    assert!(matches!(odd, Err(PlanError::NoSuchBar { .. })));
}

fn fetch(kind: FetchKind, instrument: u32, arg: u64) -> FetchId {
    FetchId { kind, instrument, arg }
}

#[test]
fn requests_page_downwards_and_are_recognised_in_recordings() {
    use FetchKind as F;
    let mut s = session(Route::Any, &[Channel::Trade]);
    for (want, path, weight) in [
        // Exclusive and downwards: the page of 100 that begins at 500 ends before 600.
        (fetch(F::TradesFrom, 0, 500), "/api/v5/market/history-trades?instId=AAA-BBB&type=1&after=600&limit=100", 12),
        (
            fetch(F::TradesAt, 1, 1_790_000_000_000),
            "/api/v5/market/history-trades?instId=AAA-BBB-SWAP&type=2&after=1790000000000&limit=100",
            12,
        ),
        (fetch(F::NewestTrades, 0, 1), "/api/v5/market/trades?instId=AAA-BBB&limit=1", 2),
        (fetch(F::OpenInterest, 1, 0), "/api/v5/public/open-interest?instType=SWAP&instId=AAA-BBB-SWAP", 12),
        (fetch(F::Instruments, NO_INSTRUMENT, 1), "/api/v5/public/instruments?instType=SWAP", 12),
        (fetch(F::ServerTime, NO_INSTRUMENT, 0), "/api/v5/public/time", 24),
    ] {
        let request = s.request(want).unwrap();
        assert_eq!((request.path.as_str(), request.weight), (path, weight));
        assert_eq!(s.fetch_of(&format!("https://www.okx.com{path}")), Some(want));
    }
    assert_eq!(s.request(fetch(F::BookSnapshot, 0, 0)), None, "a book begins with the stream's own snapshot");
    assert_eq!(s.request(fetch(F::OpenInterest, 0, 0)), None, "spot has none");
    assert_eq!(s.fetch_of("https://www.okx.com/api/v5/market/books?instId=AAA-BBB"), None);
    let TradeHistory::ById(by) = s.trade_history() else { panic!() };
    assert_eq!((by.page_max, by.by_time), (100, true));
}

/// T9: a page that is exclusive at its newer end, newest first, with ids that were never issued among them.
#[test]
fn exclusive_cursors_lose_no_id_while_paging() {
    let issued: Vec<u64> = (1_000..1_450).filter(|id| id % 37 != 0).collect();
    let mut s = session(Route::Business, &[Channel::Trade]);
    let mut held = std::collections::BTreeSet::new();
    let mut from = 1_000;
    while from <= 1_449 {
        let id = fetch(FetchKind::TradesFrom, 0, from);
        let path = s.request(id).unwrap().path;
        let after: u64 = path.split("after=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let rows = issued.iter().rev().filter(|id| **id < after).take(100);
        let row = |id: &u64| {
            format!(
                r#"{{"instId":"{SPOT}","side":"sell","sz":"1","px":"12.5","source":"0","tradeId":"{id}","ts":"1790000000000"}}"#
            )
        };
        let body = format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.map(row).collect::<Vec<_>>().join(","));
        let mut out = Out::default();
        s.on_fetched(at(0), id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut out).unwrap();
        let ids: Vec<u64> = out
            .events
            .iter()
            .map(|e| if let Body::Trade(t) = e.body { t.id.number().unwrap() } else { panic!() })
            .collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| *id < after), "oldest first");
        held.extend(ids);
        from += 100;
    }
    assert!(issued.iter().all(|id| held.contains(id)));
}

/// `type=2` gives what is older than a time: the newest of these is the trade before the edge that is looked for.
#[test]
fn an_edge_is_told_by_the_last_trade_before_it() {
    let mut s = session(Route::Business, &[Channel::Trade]);
    let row = |id: u64| {
        format!(r#"{{"instId":"{SPOT}","side":"sell","sz":"1","px":"12.5","tradeId":"{id}","ts":"1790000000000"}}"#)
    };
    let body = format!(r#"{{"code":"0","msg":"","data":[{},{},{}]}}"#, row(43), row(42), row(41));
    let mut out = Out::default();
    let id = fetch(FetchKind::TradesAt, 0, 1_790_000_000_001);
    s.on_fetched(at(0), id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut out).unwrap();
    let ids: Vec<_> = out
        .events
        .iter()
        .map(|e| if let Body::Trade(t) = e.body { t.id.number().unwrap() } else { panic!() })
        .collect();
    assert_eq!(ids, [43]);
    assert!(matches!(s.trade_history(), TradeHistory::ById(by) if by.edge_before));
}

#[test]
fn an_error_code_at_status_200_is_no_answer() {
    let mut s = session(Route::Business, &[Channel::Trade]);
    let id = fetch(FetchKind::TradesFrom, 0, 1);
    let body = br#"{"code":"51001","msg":"Instrument ID doesn't exist","data":[]}"#;
    let mut out = Out::default();
    let error = s.on_fetched(at(0), id, Reply::Answer { status: 200, body }, &mut out).unwrap_err();
    assert_eq!(error.recovery(), Recovery::Skip);
    let error = s.on_fetched(at(0), id, Reply::Answer { status: 429, body }, &mut out).unwrap_err();
    assert_eq!(error, ProtocolError::Status { what: "trades_page", status: 429 });
    let other = br#"{"code":"0","msg":"","data":[{"instId":"ZZZ-BBB","side":"sell","sz":"1","px":"12.5","tradeId":"1","ts":"1790000000000"}]}"#;
    assert!(s.on_fetched(at(0), id, Reply::Answer { status: 200, body: other }, &mut out).is_err());
    assert!(out.events.is_empty());
    let refusals = limits("okx").unwrap().rest.refusals;
    assert!(refusals.iter().any(|r| r.is(429, b"")) && refusals.iter().any(|r| r.is(200, br#"{"code":"50011"}"#)));
}

#[test]
fn definitions_are_polled_by_product_and_told_once() {
    let mut s = session(Route::Public, &[Channel::Instrument]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let fetches = out.actions.iter().filter_map(|a| match a {
        Action::Fetch(id, request) => Some((id.arg, request.path.as_str())),
        _ => None,
    });
    let fetches: Vec<_> = fetches.collect();
    assert_eq!(
        fetches,
        [(0, "/api/v5/public/instruments?instType=SPOT"), (1, "/api/v5/public/instruments?instType=SWAP")]
    );
    // Options are listed by family alone: such a request would be refused.
    assert_eq!(s.request(fetch(FetchKind::Instruments, NO_INSTRUMENT, 3)), None);
    let body = format!(
        r#"{{"code":"0","msg":"","data":[{{"instType":"MARGIN","instId":"{SPOT}","state":"live"}},{{"instType":"SPOT","instId":"{SPOT}","baseCcy":"AAA","quoteCcy":"BBB","tickSz":"0.10","lotSz":"0.001","minSz":"0.01","maxLmtSz":"","listTime":"1600000000000","state":"live"}}]}}"#
    );
    let id = fetch(FetchKind::Instruments, NO_INSTRUMENT, 0);
    let told = |s: &mut dyn Session| {
        let mut out = Out::default();
        s.on_fetched(at(0), id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut out).unwrap();
        // These rows lack most keys, which the sentinel of shapes tells.
        let events = out.events.iter().filter(|e| e.kind != Kind::Raw);
        events.map(|e| (e.instrument, e.kind)).collect::<Vec<_>>()
    };
    assert_eq!(told(s.as_mut()), [(0, Kind::Instrument), (0, Kind::Status)]);
    assert_eq!(told(s.as_mut()), []);
    let listed = venue("okx").unwrap().listed(body.as_bytes()).unwrap();
    assert_eq!(listed, [SPOT, SPOT]);
}

#[test]
fn slow_streams_say_how_slow_they_may_be() {
    let s = session(Route::Public, &[Channel::Mark]);
    let pauses = [Kind::Mark, Kind::Index, Kind::Funding, Kind::Quote].map(|kind| s.pause_max(kind).as_secs());
    assert_eq!(pauses, [10, 60, 90, 0]);
}

#[test]
fn addresses_of_every_age_are_the_venues() {
    for url in
        ["wss://ws.okx.com:8443/ws/v5/public", "wss://ws.okex.com:8443/ws/v5/public", "https://openapi.okx.com/x"]
    {
        assert_eq!(of_address(url).map(|v| v.name()), Some("okx"), "{url}");
    }
    assert!(of_address("wss://ws.notokx.com/ws/v5/public").is_none());
    assert!(limits("okx").unwrap().life_max.is_none());
    let endpoints = venue("okx").unwrap().endpoints();
    assert!(endpoints.ws.iter().all(|a| !a.contains(":8443")), "closed on 2026-10-31");
}
