//! Bybit: the traps of its documents, one test each, and the conversation around the data.

use std::time::Duration;

use wholetape_model::{
    Body, BookAction, InstrumentKind, Kind, NO_INSTRUMENT, Side, TradeCondition, TradeId, TradingStatus, Ts,
};
use wholetape_venue::{
    Action, Chain, Channel, FetchId, FetchKind, Frame, Heartbeat, Note, Out, ProtocolError, Recovery, Reply, Session,
    SessionPlan, SplitLimits, TradeHistory, connections, limits, of_address, open, venue, venues,
};

const SYMBOL: &str = "AAABBB";
const MARKETS: [&str; 3] = ["bybit-spot", "bybit-linear", "bybit-inverse"];

fn at(ms: i64) -> Ts {
    Ts::from_millis(1_000_000 + ms)
}

fn session_of(market: &str, channels: &[Channel]) -> Box<dyn Session> {
    let instruments = vec![(0, SYMBOL.to_owned()), (1, "CCCBBB".to_owned())];
    open(&SessionPlan { instruments, channels: channels.to_vec(), ..SessionPlan::new(market) }).unwrap()
}

fn session(channels: &[Channel]) -> Box<dyn Session> {
    session_of("bybit-linear", channels)
}

fn frame(s: &mut dyn Session, text: &str) -> Out {
    let mut out = Out::default();
    s.on_frame(at(0), Frame::Text(text.as_bytes()), &mut out).unwrap();
    out
}

fn book(depth: u16, kind: &str, u: u64, bid: &str) -> String {
    format!(
        r#"{{"topic":"orderbook.{depth}.{SYMBOL}","type":"{kind}","ts":1790000000102,"data":{{"s":"{SYMBOL}","b":[["{bid}","3.000"]],"a":[["12.53","4.000"]],"u":{u},"seq":7}},"cts":1790000000100}}"#
    )
}

fn ids(out: &Out) -> (BookAction, u64, u64) {
    let Body::Book(b) = out.events[0].body else { panic!("{:?}", out.events) };
    (b.action, b.first_id, b.last_id)
}

#[test]
fn a_count_that_begins_anew_replaces_the_book_whatever_the_message_calls_itself() {
    let mut s = session(&[Channel::Book]);
    use BookAction::{Delta, Snapshot};
    for (kind, u, expected) in
        [("snapshot", 40, Snapshot), ("delta", 41, Delta), ("delta", 1, Snapshot), ("snapshot", 1, Snapshot)]
    {
        assert_eq!(ids(&frame(s.as_mut(), &book(200, kind, u, "12.50"))), (expected, u, u), "{kind} {u}");
    }
    assert_eq!(s.book_rule(0).chain, Chain::Counted);
    assert!(
        s.book_rule(0).checksum.is_none() && s.book_rule(0).depth.is_none(),
        "the venue deletes what leaves its depth"
    );
}

#[test]
fn a_snapshot_comes_at_any_time_and_is_never_merged() {
    let mut s = session(&[Channel::Book]);
    for u in [40, 41] {
        assert_eq!(ids(&frame(s.as_mut(), &book(200, "snapshot", u, "12.50"))).0, BookAction::Snapshot);
    }
}

/// Without change for 3 s the venue sends best prices again, with the same `u`: neither a fault nor a gap.
#[test]
fn best_prices_that_are_sent_again_are_the_same_event() {
    let mut s = session(&[Channel::Quote]);
    let first = frame(s.as_mut(), &book(1, "snapshot", 40, "12.50"));
    let again = frame(s.as_mut(), &book(1, "snapshot", 40, "12.50").replace("1790000000102", "1790000003102"));
    assert_eq!(first.events, again.events, "whoever keeps the last one sees that nothing is new");
    let Body::Quote(q) = first.events[0].body else { panic!() };
    assert_eq!(
        (first.events[0].kind, q.update_id, first.events[0].ts_event.millis()),
        (Kind::Quote, 40, 1_790_000_000_100)
    );
    assert_eq!((s.stats().unknown_frames, s.stats().errors), (0, 0));
}

/// Recordings of 2023: until then the stream of one level had changes.
#[test]
fn changes_of_best_prices_are_applied_to_what_was_told() {
    let mut s = session(&[Channel::Quote]);
    let quote = |out: &Out| {
        let Body::Quote(q) = out.events[0].body else { panic!() };
        (q.bid.0, q.bid_size.0, q.ask.0, q.ask_size.0)
    };
    let change = |bids: &str, asks: &str| {
        book(1, "delta", 41, "12.50").replace(r#"[["12.50","3.000"]]"#, bids).replace(r#"[["12.53","4.000"]]"#, asks)
    };
    assert!(frame(s.as_mut(), &change("[]", "[]")).events.is_empty(), "a change of what was never told");
    assert_eq!(s.stats().filtered, 1);
    frame(s.as_mut(), &book(1, "snapshot", 40, "12.50"));
    let out = frame(s.as_mut(), &change(r#"[["12.50","0"],["12.49","2.000"]]"#, "[]"));
    assert_eq!(quote(&out), (1_249, 2_000, 1_253, 4_000));
    let out = frame(s.as_mut(), &change("[]", r#"[["12.52","1.500"],["12.53","0"]]"#));
    assert_eq!(quote(&out), (1_249, 2_000, 1_252, 1_500));
    let out = frame(s.as_mut(), &change("[]", r#"[["12.520","0"]]"#));
    assert_eq!(quote(&out), (1_249, 2_000, 0, 0), "an empty side");
    // What another connection told is not what this one changes.
    s.on_open(at(0), &mut Out::default());
    assert!(frame(s.as_mut(), &change("[]", "[]")).events.is_empty());
}

#[test]
fn a_liquidations_side_is_that_of_the_position() {
    let mut s = session(&[Channel::Liquidation]);
    let row = |side: &str| format!(r#"{{"T":1790000002095,"s":"{SYMBOL}","S":"{side}","v":"14","p":"12.3"}}"#);
    let text = format!(
        r#"{{"topic":"allLiquidation.{SYMBOL}","type":"snapshot","ts":1790000002500,"data":[{},{}]}}"#,
        row("Buy"),
        row("Sell")
    );
    let sides: Vec<_> = frame(s.as_mut(), &text)
        .events
        .iter()
        .map(|e| if let Body::Liquidation(l) = e.body { l.side.unwrap() } else { panic!() })
        .collect();
    assert_eq!(sides, [Side::Sell, Side::Buy], "a long that is closed is sold");
}

fn ticker(kind: &str, fields: &str) -> String {
    format!(
        r#"{{"topic":"tickers.{SYMBOL}","type":"{kind}","data":{{"symbol":"{SYMBOL}"{fields}}},"cs":7,"ts":1790000001000}}"#
    )
}

fn kinds(out: &Out) -> Vec<Kind> {
    out.events.iter().map(|e| e.kind).collect()
}

const EVERY_TICKER: [Channel; 3] = [Channel::Ticker, Channel::Mark, Channel::OpenInterest];

/// Since 2026-06-11 `openInterest` counts longs and shorts.
#[test]
fn open_interest_is_one_side() {
    let mut s = session(&EVERY_TICKER);
    let told = |out: &Out| {
        out.events
            .iter()
            .find_map(|e| if let Body::OpenInterest(size) = e.body { Some(size.to_string()) } else { None })
    };
    let both = r#","openInterest":"20.5","singleOpenInterest":"10.25""#;
    assert_eq!(told(&frame(s.as_mut(), &ticker("snapshot", both))).as_deref(), Some("10.25"));
    assert_eq!(told(&frame(s.as_mut(), &ticker("delta", r#","openInterest":"22""#))), None, "both sides are not one");
    assert_eq!(told(&frame(s.as_mut(), &ticker("delta", r#","singleOpenInterest":"11""#))).as_deref(), Some("11"));
    // An older recording has nothing else.
    let mut s = session(&EVERY_TICKER);
    assert_eq!(told(&frame(s.as_mut(), &ticker("snapshot", r#","openInterest":"20.5""#))).as_deref(), Some("20.5"));
}

#[test]
fn in_a_tickers_delta_absent_is_unchanged_and_empty_is_none() {
    let mut s = session(&EVERY_TICKER);
    let statistics = |out: &Out| {
        let found = out.events.iter().find_map(|e| if let Body::Ticker(t) = e.body { Some(t) } else { None });
        found.map(|t| [t.last, t.open, t.high, t.change].map(|d| d.to_string()))
    };
    let out = frame(s.as_mut(), &ticker("delta", r#","lastPrice":"12.5","markPrice":"12.4""#));
    assert_eq!((kinds(&out), s.stats().filtered), (vec![Kind::Mark], 1), "what was never told whole is no ticker");
    let whole = r#","lastPrice":"12.5","prevPrice24h":"12.75","highPrice24h":"13","markPrice":"12.4","indexPrice":"12.3","fundingRate":"0.0001","nextFundingTime":"1790006400000""#;
    let out = frame(s.as_mut(), &ticker("snapshot", whole));
    assert_eq!(kinds(&out), [Kind::Ticker, Kind::Mark, Kind::Index, Kind::Funding]);
    assert_eq!(statistics(&out).unwrap(), ["12.5", "12.75", "13", "-0.25"]);
    let out = frame(s.as_mut(), &ticker("delta", r#","lastPrice":"12.6""#));
    assert_eq!(kinds(&out), [Kind::Ticker], "the rest did not change");
    assert_eq!(statistics(&out).unwrap(), ["12.6", "12.75", "13", "-0.15"]);
    let out = frame(s.as_mut(), &ticker("delta", r#","fundingRate":"0.0002""#));
    let Body::Funding(f) = out.events[1].body else { panic!() };
    assert_eq!(
        (f.rate.to_string().as_str(), f.next_ts.millis()),
        ("0.0002", 1_790_006_400_000),
        "its time is as before"
    );
    let out = frame(s.as_mut(), &ticker("delta", r#","highPrice24h":"","markPrice":"","fundingRate":"""#));
    assert_eq!((kinds(&out), statistics(&out).unwrap()[2].as_str()), (vec![Kind::Ticker], "0"));
    // A snapshot is whole: what it does not name is not there.
    let out = frame(s.as_mut(), &ticker("snapshot", r#","lastPrice":"12.7""#));
    assert_eq!(statistics(&out).unwrap(), ["12.7", "0", "0", "0"]);
    s.on_open(at(0), &mut Out::default());
    assert!(statistics(&frame(s.as_mut(), &ticker("delta", r#","lastPrice":"12.8""#))).is_none(), "another connection");
}

#[test]
fn of_the_ticker_only_what_was_asked_for_is_told() {
    let whole = r#","lastPrice":"12.5","markPrice":"12.4","openInterest":"20.5","singleOpenInterest":"10.25""#;
    for (channel, kind) in
        [(Channel::Ticker, Kind::Ticker), (Channel::Mark, Kind::Mark), (Channel::OpenInterest, Kind::OpenInterest)]
    {
        assert_eq!(kinds(&frame(session(&[channel]).as_mut(), &ticker("snapshot", whole))), [kind]);
    }
    // What comes when it changes cannot be missed by its silence.
    let s = session(&EVERY_TICKER);
    assert_eq!([Kind::Mark, Kind::Index, Kind::Funding].map(|k| s.pause_max(k)), [Duration::MAX; 3]);
    assert_eq!(s.pause_max(Kind::Ticker), Duration::ZERO);
}

#[test]
fn ids_of_trades_are_uuids_or_numbers_and_come_out_as_they_were() {
    for (market, id, number) in [
        ("bybit-linear", "20f43950-d8dd-5b31-9112-a178eb6023af", 0),
        ("bybit-spot", "2290000000000000101", 2_290_000_000_000_000_101),
    ] {
        let mut s = session_of(market, &[Channel::Trade]);
        let text = format!(
            r#"{{"topic":"publicTrade.{SYMBOL}","type":"snapshot","ts":1790000000005,"data":[{{"T":1790000000004,"s":"{SYMBOL}","S":"Sell","v":"7","p":"12.5","i":"{id}","BT":true,"RPI":true,"seq":3}}]}}"#
        );
        let out = frame(s.as_mut(), &text);
        let Body::Trade(t) = out.events[0].body else { panic!() };
        assert_eq!((t.id.to_string().as_str(), t.first_id, t.last_id), (id, number, number));
        assert_eq!(
            (out.events[0].kind, t.aggressor, t.condition),
            (Kind::Trade, Some(Side::Sell), TradeCondition::Block)
        );
        assert_eq!(out.events[0].ts_event.millis(), 1_790_000_000_004, "of the match, not of the message");
        let mut out = Out::default();
        let odd = text.replace(id, "007");
        let error = s.on_frame(at(0), Frame::Text(odd.as_bytes()), &mut out).unwrap_err();
        assert_eq!((error.recovery(), out.events.len()), (Recovery::Resync, 0));
        assert!(!s.trade_history().is_consecutive(), "nobody promises that they follow each other");
    }
}

/// `recent-trade` has no cursor, no time and no id: what a stream missed is not to be had.
#[test]
fn nothing_can_be_healed_and_the_plan_says_so() {
    for market in MARKETS {
        let s = session_of(market, &[Channel::Trade]);
        assert_eq!(s.trade_history(), TradeHistory::Impossible { consecutive: false });
        for kind in [FetchKind::TradesFrom, FetchKind::TradesAt, FetchKind::BookSnapshot] {
            assert_eq!(s.request(fetch(kind, 0, 1)), None, "{market} {kind:?}");
        }
        assert!(
            s.request(fetch(FetchKind::NewestTrades, 0, 2)).is_some(),
            "whether there is anything newer can be asked"
        );
    }
}

#[test]
fn asking_too_often_is_a_ban_of_ten_minutes_for_the_whole_address() {
    for market in MARKETS {
        let limits = limits(market).unwrap();
        let ban = limits.rest.refusals.iter().find(|r| r.is(403, b"access too frequent")).unwrap();
        assert!(ban.wait >= Duration::from_secs(600));
        let busy = br#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#;
        assert!(limits.rest.refusals.iter().any(|r| r.is(200, busy)));
        assert!(!limits.rest.refusals.iter().any(|r| r.is(200, br#"{"retCode":0,"result":{}}"#)));
        assert!(limits.rest.weight.count <= 600 && limits.rest.weight.per == Duration::from_secs(5));
        assert!(limits.connects.count < 500 && limits.connects.per == Duration::from_secs(300));
        assert_eq!(venue(market).unwrap().door(), "bybit", "all markets share it");
    }
    assert_eq!(venues().filter(|v| v.door() == "bybit").count(), 3);
}

#[test]
fn the_client_pings_in_json_and_every_shape_of_pong_is_known() {
    for market in MARKETS {
        let Heartbeat::Client { ping, pong, every, cut } = limits(market).unwrap().heartbeat else { panic!() };
        assert_eq!((ping, pong), (r#"{"req_id":"ping","op":"ping"}"#, None));
        assert!(every <= Duration::from_secs(20) && cut <= Duration::from_secs(600));
    }
    let mut s = session(&[]);
    for pong in [
        r#"{"success":true,"ret_msg":"pong","conn_id":"a","req_id":"ping","op":"ping"}"#,
        r#"{"args":["1790000000000"],"op":"pong"}"#,
        r#"{"req_id":"ping","op":"pong","args":["1790000000000"],"conn_id":"a"}"#,
    ] {
        assert!(frame(s.as_mut(), pong).events.iter().all(|e| e.kind == Kind::Raw), "{pong}");
    }
    assert_eq!((s.stats().unknown_frames, s.stats().by_channel["op:ping"]), (0, 3));
}

/// What is sent from `on_open` on.
fn sent(s: &mut dyn Session) -> Vec<String> {
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let mut now = at(0);
    while let Some(due) = s.next_timer().filter(|due| *due < at(600_000)) {
        now = now.max(due);
        s.on_timer(now, &mut out);
    }
    out.actions.drain(..).filter_map(|a| if let Action::Send(text) = a { Some(text) } else { None }).collect()
}

#[test]
fn a_spot_request_names_ten_topics_at_most() {
    for (market, most) in [("bybit-spot", 10), ("bybit-linear", 100)] {
        let instruments: Vec<_> = (0..150).map(|i| (i, format!("AAA{i}"))).collect();
        let channels = vec![Channel::Trade, Channel::Book];
        let mut s = open(&SessionPlan { instruments, channels, ..SessionPlan::new(market) }).unwrap();
        let sizes: Vec<usize> = sent(s.as_mut())
            .iter()
            .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap()["args"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), 300);
        assert!(sizes.iter().all(|n| *n <= most), "{sizes:?}");
    }
}

#[test]
fn a_request_is_answered_once_by_its_id() {
    let mut s = session(&[Channel::Book]);
    let texts = sent(s.as_mut());
    let expected = r#"{"req_id":"1","op":"subscribe","args":["orderbook.200.AAABBB","orderbook.200.CCCBBB"]}"#;
    assert_eq!(texts, [expected]);
    let streams = vec!["orderbook.200.AAABBB".to_owned(), "orderbook.200.CCCBBB".to_owned()];
    let ack = r#"{"success":true,"ret_msg":"","conn_id":"a","req_id":"1","op":"subscribe"}"#;
    assert_eq!(frame(s.as_mut(), ack).actions, [Action::Note(Note::Subscribed { streams })]);
    assert_eq!(frame(s.as_mut(), ack).actions, []);
    // Answers of spot in recordings have no id: they name nothing.
    assert_eq!(
        frame(s.as_mut(), r#"{"success":true,"ret_msg":"subscribe","conn_id":"a","op":"subscribe"}"#).actions,
        []
    );
}

#[test]
fn a_book_asked_for_anew_is_ended_first_and_its_second_answer_is_no_news() {
    let instruments = vec![(0, SYMBOL.to_owned())];
    let channels = vec![Channel::Book];
    let plan = SessionPlan { instruments, channels, book_depth_limit: Some(50), ..SessionPlan::new("bybit-spot") };
    let mut s = open(&plan).unwrap();
    assert_eq!(sent(s.as_mut()).len(), 1);
    let ack =
        |id: u32, op: &str| format!(r#"{{"success":true,"ret_msg":"","conn_id":"a","req_id":"{id}","op":"{op}"}}"#);
    assert_eq!(frame(s.as_mut(), &ack(1, "subscribe")).actions.len(), 1);
    let mut out = Out::default();
    let goes_out = s.resubscribe_book(at(700_000), 0, &mut out).unwrap();
    while let Some(due) = s.next_timer().filter(|due| *due <= goes_out) {
        s.on_timer(due, &mut out);
    }
    let args = r#""args":["orderbook.50.AAABBB"]"#;
    let expected = [
        format!(r#"{{"req_id":"2","op":"unsubscribe",{args}}}"#),
        format!(r#"{{"req_id":"3","op":"subscribe",{args}}}"#),
    ];
    assert_eq!(out.actions, expected.map(Action::Send));
    assert_eq!(frame(s.as_mut(), &ack(2, "unsubscribe")).actions, []);
    assert_eq!(frame(s.as_mut(), &ack(3, "subscribe")).actions, []);
    assert_eq!(s.resubscribe_book(at(800_000), 7, &mut out), None, "no instrument of ours");
}

/// One bad topic fails the whole request; the words tell which.
#[test]
fn a_refusal_is_told_of_the_topic_that_it_names() {
    let refused = |req_id: &str, text: &str| {
        format!(r#"{{"success":false,"ret_msg":"{text}","conn_id":"a"{req_id},"op":"subscribe"}}"#)
    };
    let asked = |s: &mut dyn Session| assert_eq!(sent(s).len(), 1);
    let bad = "orderbook.200.CCCBBB";
    for (req_id, text, streams) in [
        (r#","req_id":"1""#, format!("error:handler not found,topic:{bad}"), vec![bad.to_owned()]),
        ("", format!("Invalid topic: {bad}"), vec![bad.to_owned()]),
        (r#","req_id":"1""#, "Params Error".to_owned(), vec!["orderbook.200.AAABBB".to_owned(), bad.to_owned()]),
    ] {
        let mut s = session(&[Channel::Book]);
        asked(s.as_mut());
        let told = frame(s.as_mut(), &refused(req_id, &text));
        assert_eq!(told.actions, [Action::Note(Note::Refused { streams, code: 0, text })]);
    }
    let mut s = session(&[Channel::Book]);
    asked(s.as_mut());
    let again = format!("error:already subscribed,topic:{bad}");
    let told = frame(s.as_mut(), &refused(r#","req_id":"1""#, &again));
    assert_eq!(told.actions, [Action::Note(Note::Subscribed { streams: vec![bad.to_owned()] })], "it is there");
    let mut out = Out::default();
    let error = s.on_frame(at(0), Frame::Text(refused("", "Params Error").as_bytes()), &mut out).unwrap_err();
    assert_eq!((error.recovery(), out.actions.len()), (Recovery::Stop, 0));
}

fn fetch(kind: FetchKind, instrument: u32, arg: u64) -> FetchId {
    FetchId { kind, instrument, arg }
}

#[test]
fn requests_are_recognised_in_recordings_of_their_own_market() {
    use FetchKind as F;
    let mut s = session(&[Channel::Trade]);
    let mut spot = session_of("bybit-spot", &[Channel::Trade]);
    for (want, path) in [
        (fetch(F::NewestTrades, 0, 2), "/v5/market/recent-trade?category=linear&symbol=AAABBB&limit=2"),
        (
            fetch(F::OpenInterest, 1, 0),
            "/v5/market/open-interest?category=linear&symbol=CCCBBB&intervalTime=5min&limit=1",
        ),
        (fetch(F::Instruments, NO_INSTRUMENT, 0), "/v5/market/instruments-info?category=linear&limit=1000"),
        (
            fetch(F::Instruments, NO_INSTRUMENT, 1),
            "/v5/market/instruments-info?category=linear&limit=1000&status=PreLaunch",
        ),
    ] {
        let request = s.request(want).unwrap();
        assert_eq!((request.path.as_str(), request.weight), (path, 1));
        let url = format!("https://api.bybit.com{path}");
        assert_eq!(s.fetch_of(&url), Some(want));
        assert_eq!(spot.fetch_of(&url), None, "the same name is another instrument there");
    }
    let url = "https://api.bybit.com/v5/market/instruments-info?&category=linear&status=Trading&limit=1000";
    assert_eq!(s.fetch_of(url), Some(fetch(F::Instruments, NO_INSTRUMENT, 0)));
    assert_eq!(
        spot.request(fetch(F::NewestTrades, 0, 5_000)).unwrap().path,
        "/v5/market/recent-trade?category=spot&symbol=AAABBB&limit=60"
    );
    assert_eq!(spot.request(fetch(F::OpenInterest, 0, 0)), None);
    assert_eq!(
        spot.request(fetch(F::Instruments, NO_INSTRUMENT, 0)).unwrap().path,
        "/v5/market/instruments-info?category=spot"
    );
    assert_eq!(s.fetch_of("https://api.bybit.com/v5/market/orderbook?category=linear&symbol=AAABBB"), None);
}

fn answered(s: &mut dyn Session, id: FetchId, body: &str) -> Result<Out, ProtocolError> {
    let mut out = Out::default();
    s.on_fetched(at(0), id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut out)?;
    Ok(out)
}

#[test]
fn answers_are_newest_first_and_come_out_oldest_first() {
    let mut s = session(&[Channel::Trade]);
    let row = |id: u32, symbol: &str| {
        format!(
            r#"{{"execId":"20f43950-d8dd-5b31-9112-a178eb60{id:04}","symbol":"{symbol}","price":"12.5","size":"1","side":"Buy","time":"179000000{id:04}","isBlockTrade":false,"isRPITrade":true,"seq":"7"}}"#
        )
    };
    let page = |rows: &str| {
        format!(r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"linear","list":[{rows}]}},"time":1}}"#)
    };
    let id = fetch(FetchKind::NewestTrades, 0, 2);
    let out = answered(s.as_mut(), id, &page(&format!("{},{}", row(42, SYMBOL), row(41, SYMBOL)))).unwrap();
    let ids: Vec<TradeId> =
        out.events.iter().map(|e| if let Body::Trade(t) = e.body { t.id } else { panic!() }).collect();
    assert_eq!(ids, [41, 42].map(|n| format!("20f43950-d8dd-5b31-9112-a178eb60{n:04}").parse::<TradeId>().unwrap()));
    let other = answered(s.as_mut(), id, &page(&row(43, "ZZZBBB"))).unwrap_err();
    assert_eq!(other.recovery(), Recovery::Skip);
    let body = r#"{"retCode":10001,"retMsg":"params error: symbol invalid","result":{},"time":1}"#;
    assert!(matches!(answered(s.as_mut(), id, body), Err(ProtocolError::BadReply { .. })), "an error at status 200");
    let mut out = Out::default();
    let status = s.on_fetched(at(0), id, Reply::Answer { status: 403, body: b"" }, &mut out).unwrap_err();
    assert_eq!(status, ProtocolError::Status { what: "newest_trades", status: 403 });

    let interest = r#"{"retCode":0,"retMsg":"OK","result":{"category":"linear","symbol":"AAABBB","list":[{"openInterest":"20.5","singleOpenInterest":"10.25","timestamp":"1790000300000"},{"openInterest":"8","timestamp":"1790000000000"}],"nextPageCursor":""}}"#;
    let id = fetch(FetchKind::OpenInterest, 0, 0);
    let out = answered(s.as_mut(), id, interest).unwrap();
    let sizes: Vec<String> = out
        .events
        .iter()
        .map(|e| if let Body::OpenInterest(size) = e.body { size.to_string() } else { panic!() })
        .collect();
    assert_eq!(sizes, ["8", "10.25"]);
    assert!(answered(s.as_mut(), id, &interest.replace(SYMBOL, "CCCBBB")).is_err());
}

fn definitions(rows: &str, cursor: &str) -> String {
    format!(
        r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"linear","list":[{rows}],"nextPageCursor":"{cursor}"}},"retExtInfo":{{}},"time":1}}"#
    )
}

fn contract(symbol: &str, status: &str) -> String {
    format!(
        r#"{{"symbol":"{symbol}","contractType":"LinearPerpetual","status":"{status}","baseCoin":"AAA","quoteCoin":"BBB","settleCoin":"BBB","launchTime":"1600000000000","deliveryTime":"0","priceFilter":{{"tickSize":"0.10"}},"lotSizeFilter":{{"qtyStep":"0.001","minOrderQty":"0.01","maxOrderQty":"1190","minNotionalValue":"5"}}}}"#
    )
}

/// There are more than one page holds: whoever stops at the first misses instruments.
#[test]
fn every_page_of_definitions_is_asked_for() {
    let mut s = session(&[Channel::Instrument]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let asked: Vec<FetchId> =
        out.actions.iter().filter_map(|a| if let Action::Fetch(id, _) = a { Some(*id) } else { None }).collect();
    assert_eq!(asked, [0, 1, 2].map(|arg| fetch(FetchKind::Instruments, NO_INSTRUMENT, arg)));
    // What trades, what will, and what is being delivered: each listing has its own pages.
    let mut id = asked[1];
    for page in 1..=3 {
        let body = definitions(&contract("ZZZBBB", "Trading"), &format!("first%3DZZZBBB%26last%3D{page}"));
        let out = answered(s.as_mut(), id, &body).unwrap();
        let next = out
            .actions
            .iter()
            .find_map(|a| if let Action::Fetch(id, r) = a { Some((*id, r.path.as_str())) } else { None });
        let (next, path) = next.unwrap();
        let expected =
            "/v5/market/instruments-info?category=linear&limit=1000&status=PreLaunch&cursor=first%3DZZZBBB%26last%3D";
        assert_eq!(path, format!("{expected}{page}"));
        id = next;
    }
    let last = answered(s.as_mut(), id, &definitions(&contract(SYMBOL, "Trading"), "")).unwrap();
    assert!(!last.actions.iter().any(|a| matches!(a, Action::Fetch(..))));
    assert_eq!(last.events.iter().filter(|e| e.kind == Kind::Instrument).count(), 1);
    // A venue that never ends is not followed for ever.
    let (mut id, mut pages) = (asked[0], 1);
    while let Some(Action::Fetch(next, _)) = answered(s.as_mut(), id, &definitions("", "x")).unwrap().actions.first() {
        (id, pages) = (*next, pages + 1);
        assert!(pages < 100);
    }
    let market = venue("bybit-linear").unwrap();
    let listed = market.listed_page(0, definitions(&contract("ZZZBBB", "Trading"), "x").as_bytes()).unwrap();
    assert_eq!(
        (listed.symbols, listed.next.map(|n| n.1.path)),
        (vec!["ZZZBBB".to_owned()], Some("/v5/market/instruments-info?category=linear&limit=1000&cursor=x".to_owned()))
    );
}

#[test]
fn definitions_are_told_once_and_again_when_they_change() {
    let mut s = session(&[Channel::Instrument]);
    let id = fetch(FetchKind::Instruments, NO_INSTRUMENT, 0);
    let told = |s: &mut dyn Session, status: &str| {
        let out = answered(s, id, &definitions(&contract(SYMBOL, status), "")).unwrap();
        // These rows lack most keys, which the sentinel of shapes does not mind; words that we do not know are kept.
        out.events.iter().filter(|e| e.kind != Kind::Raw).map(|e| (e.kind, e.body)).collect::<Vec<_>>()
    };
    let first = told(s.as_mut(), "Trading");
    let [(Kind::Instrument, Body::Instrument(def)), (Kind::Status, Body::Status(status))] = first[..] else {
        panic!("{first:?}")
    };
    assert_eq!((def.kind, def.multiplier.to_string().as_str()), (InstrumentKind::Perpetual, "1"));
    assert_eq!(
        [def.tick, def.step, def.size_min, def.size_max, def.notional_min].map(|d| d.to_string()),
        ["0.1", "0.001", "0.01", "1190", "5"]
    );
    assert_eq!((def.expiry, status.status), (Ts::ZERO, TradingStatus::Trading));
    assert_eq!(told(s.as_mut(), "Trading"), []);
    assert_eq!(told(s.as_mut(), "Delivering").len(), 2);
    told(s.as_mut(), "Paused");
    assert_eq!(s.stats().unknown_frames, 1);
}

#[test]
fn the_market_is_told_by_the_path_alone() {
    for (market, path) in [("bybit-spot", "spot"), ("bybit-linear", "linear"), ("bybit-inverse", "inverse")] {
        let url = format!("wss://stream.bybit.com/v5/public/{path}");
        assert_eq!(of_address(&url).map(|v| v.name()), Some(market));
        let id = venue(market).unwrap().instrument_id("BTCUSDT", None);
        for other in MARKETS {
            let found = venue(other).unwrap().symbol_of(&id);
            assert_eq!(found.is_some(), other == market, "{other} {id}");
        }
        let plans = connections(market, &[(0, SYMBOL.into())], &[Channel::Trade], &SplitLimits::default()).unwrap();
        assert_eq!(plans[0].path, format!("/v5/public/{path}"));
    }
    assert_eq!(of_address("https://api.bybit.com/v5/market/time").map(|v| v.door()), Some("bybit"));
    assert!(of_address("wss://stream.notbybit.com/v5/public/spot").is_none());
}
