//! The conversation around the data: subscribing, answers, refusals, requests and replies, polls.

use std::time::Duration;

use wholetape_model::{Body, InstrumentKind, Kind, NO_INSTRUMENT, TradeCondition, TradingStatus, Ts, View};
use wholetape_venue::{
    Action, Channel, FetchFailure, FetchId, FetchKind, Frame, Note, Out, PlanError, ProtocolError, Recovery, Reply,
    Route, Session, SessionPlan, SplitLimits, connections, endpoints, instrument_id, limits, open, symbol_of,
};

fn plan(venue: &str, route: Route, channels: &[Channel]) -> SessionPlan {
    SessionPlan {
        route,
        instruments: vec![(0, "AAABBB".into()), (5, "CCCDDD".into())],
        channels: channels.to_vec(),
        ..SessionPlan::new(venue)
    }
}

fn session(venue: &str, channels: &[Channel]) -> Box<dyn Session> {
    open(&plan(venue, Route::Any, channels)).unwrap()
}

fn fetch(kind: FetchKind, instrument: u32, arg: u64) -> FetchId {
    FetchId { kind, instrument, arg }
}

fn at(ms: i64) -> Ts {
    Ts::from_millis(1_000_000 + ms)
}

#[track_caller]
fn check_request(venue: &str, channels: &[Channel], want: FetchId, expected: Option<(&str, u32)>) {
    let request = session(venue, channels).request(want);
    assert_eq!(request.as_ref().map(|r| (r.path.as_str(), r.weight)), expected);
}

#[test]
fn requests_and_their_weights_are_the_documents() {
    use FetchKind as F;
    let c = [Channel::Trade, Channel::Book];
    let depth = |limit, weight| (format!("/api/v3/depth?symbol=AAABBB&limit={limit}"), weight);
    let (spot, us) = (depth(1000, 50), depth(1000, 10));
    check_request("binance-spot", &c, fetch(F::BookSnapshot, 0, 0), Some((&spot.0, spot.1)));
    check_request("binance-us", &c, fetch(F::BookSnapshot, 0, 0), Some((&us.0, us.1)));
    check_request(
        "binance-usdm",
        &c,
        fetch(F::BookSnapshot, 5, 0),
        Some(("/fapi/v1/depth?symbol=CCCDDD&limit=1000", 20)),
    );
    let page = Some(("/api/v3/aggTrades?symbol=AAABBB&fromId=77&limit=1000", 4));
    check_request("binance-spot", &c, fetch(F::TradesFrom, 0, 77), page);
    let raw = [Channel::TradeRaw];
    let page = Some(("/api/v3/historicalTrades?symbol=AAABBB&fromId=77&limit=1000", 25));
    check_request("binance-spot", &raw, fetch(F::TradesFrom, 0, 77), page);
    // Asked for even though the real venue wants a key (it refuses, and the ids end as lost): a simulator gives it without.
    let page = Some(("/fapi/v1/historicalTrades?symbol=AAABBB&fromId=77&limit=500", 20));
    check_request("binance-usdm", &raw, fetch(F::TradesFrom, 0, 77), page);
    check_request(
        "binance-coinm",
        &c,
        fetch(F::NewestTrades, 0, 1),
        Some(("/dapi/v1/aggTrades?symbol=AAABBB&limit=1", 20)),
    );
    check_request("binance-usdm", &c, fetch(F::OpenInterest, 0, 0), Some(("/fapi/v1/openInterest?symbol=AAABBB", 1)));
    check_request("binance-spot", &c, fetch(F::OpenInterest, 0, 0), None);
    check_request("binance-usdm", &c, fetch(F::Instruments, NO_INSTRUMENT, 0), Some(("/fapi/v1/exchangeInfo", 1)));
    let named = "/api/v3/exchangeInfo?symbols=%5B%22AAABBB%22,%22CCCDDD%22%5D";
    check_request("binance-spot", &c, fetch(F::Instruments, NO_INSTRUMENT, 0), Some((named, 20)));
    check_request("binance-spot", &c, fetch(F::ServerTime, NO_INSTRUMENT, 0), Some(("/api/v3/time", 1)));
    check_request("binance-spot", &c, fetch(F::BookSnapshot, 3, 0), None);
}

#[test]
fn the_depth_limit_of_the_plan_is_asked_for() {
    let plan = SessionPlan { book_depth_limit: Some(500), ..plan("binance-spot", Route::Any, &[Channel::Book]) };
    let request = open(&plan).unwrap().request(fetch(FetchKind::BookSnapshot, 0, 0)).unwrap();
    assert_eq!((request.path.as_str(), request.weight), ("/api/v3/depth?symbol=AAABBB&limit=500", 25));
}

#[test]
fn subscribes_on_open_and_takes_answers_by_their_id() {
    let mut s = session("binance-spot", &[Channel::Trade, Channel::Quote]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let expected = r#"{"method":"SUBSCRIBE","params":["aaabbb@aggTrade","aaabbb@bookTicker","cccddd@aggTrade","cccddd@bookTicker"],"id":1}"#;
    assert_eq!(out.actions, [Action::Send(expected.into())]);
    assert_eq!(s.next_timer(), None);
    out.clear();
    s.on_frame(at(1), Frame::Text(br#"{"result":null,"id":1}"#), &mut out).unwrap();
    let Some(Action::Note(Note::Subscribed { streams })) = out.actions.first() else { panic!("{:?}", out.actions) };
    assert_eq!(streams.len(), 4);
    // A second answer to the same request says nothing.
    out.clear();
    s.on_frame(at(2), Frame::Text(br#"{"result":null,"id":1}"#), &mut out).unwrap();
    assert_eq!((out.actions.len(), s.stats().unknown_frames), (0, 0));
}

#[test]
fn refusals_name_their_streams_and_other_errors_their_gravity() {
    for refusal in [r#"{"code":2,"msg":"no","id":1}"#, r#"{"error":{"code":2,"msg":"no"},"id":1}"#] {
        let mut s = session("binance-usdm", &[Channel::Trade]);
        let mut out = Out::default();
        s.on_open(at(0), &mut out);
        out.clear();
        s.on_frame(at(1), Frame::Text(refusal.as_bytes()), &mut out).unwrap();
        let streams = vec!["aaabbb@aggTrade".to_owned(), "cccddd@aggTrade".to_owned()];
        assert_eq!(out.actions, [Action::Note(Note::Refused { streams, code: 2, text: "no".into() })]);
        let error = s.on_frame(at(2), Frame::Text(br#"{"code":3,"msg":"Invalid JSON"}"#), &mut out).unwrap_err();
        assert_eq!(error.recovery(), Recovery::Stop);
        let error = s.on_frame(at(2), Frame::Text(br#"{"error":{"code":-1003,"msg":"busy"}}"#), &mut out).unwrap_err();
        assert_eq!(error, ProtocolError::Venue { code: -1003, text: "busy".into() });
        assert_eq!(error.recovery(), Recovery::Reconnect);
        assert_eq!(s.stats().errors, 2);
    }
}

#[test]
fn routes_subscribe_and_poll_only_their_own() {
    let all = [Channel::Book, Channel::Trade, Channel::Mark, Channel::OpenInterest, Channel::Instrument];
    let named = vec![(0, "AAABBB".to_owned())];
    let plans = connections("binance-usdm", &named, &all, &SplitLimits::default()).unwrap();
    assert_eq!(plans.len(), 2);
    let mut seen = Vec::new();
    for p in &plans {
        let mut s = open(&p.session()).unwrap();
        let mut out = Out::default();
        s.on_open(at(0), &mut out);
        for action in out.actions {
            match action {
                Action::Send(text) => {
                    for stream in &p.streams {
                        assert!(text.contains(&format!("\"{stream}\"")), "{text}");
                    }
                    seen.push(format!("{} {}", p.path, p.streams.join(" ")));
                }
                Action::Fetch(id, request) => seen.push(format!("{} {:?} {}", p.path, id.kind, request.path)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(
        seen,
        [
            "/public/stream aaabbb@depth@100ms",
            "/market/stream !contractInfo aaabbb@aggTrade aaabbb@markPrice@1s",
            "/market/stream Instruments /fapi/v1/exchangeInfo",
            "/market/stream OpenInterest /fapi/v1/openInterest?symbol=AAABBB",
        ]
    );
}

#[test]
fn timers_poll_each_instrument_in_turn() {
    let plan = SessionPlan {
        open_interest_every: Duration::from_secs(10),
        ..plan("binance-coinm", Route::Any, &[Channel::OpenInterest])
    };
    let mut s = open(&plan).unwrap();
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    let mut asked = Vec::new();
    for _ in 0..6 {
        let due = s.next_timer().unwrap();
        s.on_timer(due, &mut out);
        assert!(s.next_timer().unwrap() > due);
    }
    for action in &out.actions {
        if let Action::Fetch(id, _) = action {
            asked.push(id.instrument);
        }
    }
    assert_eq!(asked, [0, 5, 0, 5, 0, 5, 0]);
}

#[test]
fn recorded_addresses_name_their_fetch() {
    let mut s = open(&SessionPlan::capture("binance-spot")).unwrap();
    let host = "https://api.example.com/api/v3";
    let check = |s: &mut dyn Session, tail: &str| s.fetch_of(&format!("{host}/{tail}"));
    assert_eq!(check(s.as_mut(), "depth?symbol=AAABBB&limit=1000"), Some(fetch(FetchKind::BookSnapshot, 0, 0)));
    assert_eq!(check(s.as_mut(), "depth?limit=5&symbol=%E5%B8%81"), Some(fetch(FetchKind::BookSnapshot, 1, 0)));
    assert_eq!(s.symbol(1), Some("币"));
    assert_eq!(check(s.as_mut(), "aggTrades?symbol=AAABBB&fromId=9"), Some(fetch(FetchKind::TradesFrom, 0, 9)));
    assert_eq!(check(s.as_mut(), "trades?symbol=AAABBB&limit=7"), Some(fetch(FetchKind::NewestTrades, 0, 7)));
    assert_eq!(
        check(s.as_mut(), "aggTrades?symbol=AAABBB&startTime=5&limit=7"),
        Some(fetch(FetchKind::TradesAt, 0, 5))
    );
    assert_eq!(check(s.as_mut(), "exchangeInfo"), Some(fetch(FetchKind::Instruments, NO_INSTRUMENT, 0)));
    assert_eq!(check(s.as_mut(), "depth"), None);
    assert_eq!(check(s.as_mut(), "account?symbol=AAABBB"), None);
    assert_eq!(s.fetch_of(""), None);
    assert_eq!(session("binance-spot", &[]).fetch_of("/api/v3/depth?symbol=NOTOURS"), None);
}

#[track_caller]
fn reply(s: &mut dyn Session, out: &mut Out, id: FetchId, body: &str) {
    out.clear();
    s.on_fetched(at(0), id, Reply::Answer { status: 200, body: body.as_bytes() }, out).unwrap();
}

#[test]
fn pages_of_trades_become_events_in_order() {
    let mut s = session("binance-usdm", &[Channel::Trade]);
    let mut out = Out::default();
    let page = r#"[{"a":26,"p":"0.0163","q":"4.7","nq":"4.0","f":27,"l":29,"T":1790000000000,"m":true},
        {"a":27,"p":"0.01640","q":"1","f":30,"l":30,"T":1790000000001,"m":false}]"#;
    reply(s.as_mut(), &mut out, fetch(FetchKind::TradesFrom, 5, 26), page);
    let trades: Vec<_> = out
        .events
        .iter()
        .map(|e| match e.body {
            Body::Trade(t) => (
                e.instrument,
                e.kind,
                t.id.number().unwrap(),
                t.first_id,
                t.last_id,
                e.scales.price(t.price).to_string(),
            ),
            _ => panic!("{e:?}"),
        })
        .collect();
    assert_eq!(trades, [(5, Kind::Trade, 26, 27, 29, "0.0163".into()), (5, Kind::Trade, 27, 30, 30, "0.01640".into())]);

    let page = r#"[{"id":28,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.00","time":1790000000000,"isBuyerMaker":true,"isRPITrade":true}]"#;
    reply(s.as_mut(), &mut out, fetch(FetchKind::NewestTrades, 0, 1), page);
    let Body::Trade(t) = out.events[0].body else { panic!() };
    assert_eq!((out.events[0].kind, t.id.number().unwrap(), t.condition), (Kind::TradeRaw, 28, TradeCondition::Rpi));

    reply(s.as_mut(), &mut out, fetch(FetchKind::TradesFrom, 0, 1), "[]");
    assert!(out.events.is_empty());
}

#[test]
fn snapshots_and_open_interest_belong_to_the_instrument_asked_for() {
    let mut s = session("binance-usdm", &[Channel::Book]);
    let mut out = Out::default();
    let body = r#"{"lastUpdateId": 1027, "E": 1790000000002, "T": 1790000000001, "bids": [["4.00", "431"], ["3.99", "1"]], "asks": [["4.02", "12"]]}"#;
    reply(s.as_mut(), &mut out, fetch(FetchKind::BookSnapshot, 5, 0), body);
    let event = out.events[0];
    let View::Book(book) = out.arena.view(&event.body) else { panic!() };
    assert_eq!((event.instrument, event.ts_event, book.last_id), (5, Ts::from_millis(1_790_000_000_001), 1027));
    assert_eq!((book.bids.len(), book.asks.len()), (2, 1));

    let body = r#"{"openInterest":"10659.509","symbol":"AAABBB","time":1790000000000}"#;
    reply(s.as_mut(), &mut out, fetch(FetchKind::OpenInterest, 0, 0), body);
    let Body::OpenInterest(value) = out.events[0].body else { panic!() };
    assert_eq!((out.events[0].kind, value.to_string().as_str()), (Kind::OpenInterest, "10659.509"));
}

const DEFINITION: &str = r#"{"timezone":"UTC","serverTime":1790000000000,"symbols":[
 {"symbol":"OTHER","status":"TRADING","baseAsset":"O","quoteAsset":"T"},
 {"symbol":"AAABBB","pair":"AAABBB","contractType":"PERPETUAL","deliveryDate":4133404800000,"onboardDate":1569398400000,
  "status":"STATUS","baseAsset":"AAA","quoteAsset":"BBB","marginAsset":"BBB","pricePrecision":7,"quantityPrecision":7,
  "filters":[{"minPrice":"0.1","maxPrice":"1000000","filterType":"PRICE_FILTER","tickSize":"0.10"},
   {"stepSize":"0.001","filterType":"LOT_SIZE","maxQty":"1000","minQty":"0.001"},
   {"notional":"5","filterType":"MIN_NOTIONAL"},{"filterType":"NEVER_SEEN"}]}]}"#;

#[test]
fn definitions_are_told_when_new_or_changed() {
    let mut s = session("binance-usdm", &[Channel::Instrument]);
    let mut out = Out::default();
    let id = fetch(FetchKind::Instruments, NO_INSTRUMENT, 0);
    reply(s.as_mut(), &mut out, id, &DEFINITION.replace("STATUS", "TRADING"));
    assert_eq!(out.events.iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::Instrument, Kind::Status]);
    let View::Instrument(def) = out.arena.view(&out.events[0].body) else { panic!() };
    assert_eq!((def.kind, def.status), (InstrumentKind::Perpetual, TradingStatus::Trading));
    assert_eq!(
        (def.tick.to_string(), def.step.to_string(), def.notional_min.to_string()),
        ("0.1".into(), "0.001".into(), "5".into())
    );
    assert_eq!((def.symbol, def.base, def.settle, def.expiry), ("AAABBB", "AAA", "BBB", Ts::ZERO));
    assert_eq!(instrument_id("binance-usdm", def.symbol, Some(&def)).unwrap().as_str(), "AAABBB-PERP.BINANCE");

    reply(s.as_mut(), &mut out, id, &DEFINITION.replace("STATUS", "TRADING"));
    assert!(out.events.is_empty());
    reply(s.as_mut(), &mut out, id, &DEFINITION.replace("STATUS", "SETTLING"));
    let View::Status(status) = out.arena.view(&out.events[1].body) else { panic!() };
    assert_eq!((status.status, status.text), (TradingStatus::Settling, "SETTLING"));
    // An unknown word is told, kept raw and counted.
    reply(s.as_mut(), &mut out, id, &DEFINITION.replace("STATUS", "NEVER_SEEN"));
    assert_eq!(out.events.iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::Instrument, Kind::Status, Kind::Raw]);
    assert_eq!(s.stats().unknown_frames, 1);
}

#[test]
fn a_bad_reply_is_an_error_and_emits_no_data() {
    let mut s = session("binance-spot", &[Channel::Book]);
    let mut out = Out::default();
    let id = fetch(FetchKind::BookSnapshot, 0, 0);
    let mut fetched = |status, body: &[u8]| s.on_fetched(at(0), id, Reply::Answer { status, body }, &mut out);
    assert!(matches!(fetched(429, b"{}"), Err(ProtocolError::Status { status: 429, .. })));
    assert!(matches!(fetched(200, b"<html>"), Err(ProtocolError::BadReply { .. })));
    assert!(matches!(fetched(200, br#"{"code":-1121,"msg":"Invalid symbol."}"#), Err(ProtocolError::BadReply { .. })));
    let number = br#"{"lastUpdateId":1,"bids":[["1","1"],["x","1"]],"asks":[]}"#;
    assert!(matches!(fetched(200, number), Err(ProtocolError::Number { field: "price", .. })));
    assert_eq!(s.on_fetched(at(0), id, Reply::Failed(&FetchFailure::Timeout), &mut out), Ok(()));
    // What is JSON and no answer as documented is kept as evidence.
    assert_eq!(out.events.iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::Raw, Kind::Raw]);
    assert!(out.arena.levels.is_empty());
    assert_eq!(s.stats().errors, 4);
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let refused = |venue: &str| open(&SessionPlan::new(venue)).err();
    assert_eq!(refused("binance"), Some(PlanError::UnknownVenue("binance".into())));
    for venue in wholetape_venue::binance::VENUES.map(|v| v.name()) {
        assert_eq!(refused(venue), None);
        assert!(endpoints(venue).unwrap().ws.iter().all(|w| w.starts_with("wss://")));
        assert!(endpoints(venue).unwrap().rest.iter().all(|r| r.starts_with("https://") && !r.ends_with('/')));
        assert!(limits(venue).unwrap().rest.weight.count > 0);
        let id = instrument_id::<()>(venue, "AAABBB_PERP", None).unwrap();
        assert_eq!(symbol_of(venue, &id).unwrap().is_some(), venue == "binance-coinm" || venue == "binance-usdm");
    }
    let twice = SessionPlan { instruments: vec![(0, "A".into()), (0, "B".into())], ..SessionPlan::new("binance-us") };
    assert!(matches!(open(&twice).err(), Some(PlanError::IndexTwice { .. })));
}
