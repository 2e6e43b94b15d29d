//! Kraken: the traps of its documents, one test each, and the conversation around the data.

use std::time::Duration;

use wholetape_model::{Body, BookAction, Kind, NO_INSTRUMENT, Scales, Ts};
use wholetape_venue::{
    Action, Chain, Channel, Checksum, FetchId, FetchKind, Frame, Heartbeat, Note, Out, ProtocolError, Recovery, Reply,
    Session, SessionPlan, SplitLimits, TradeHistory, connections, instrument_id, limits, of_address, open, symbol_of,
    venue,
};

const COIN: &str = "AAA/USD";
const BITCOIN: &str = "BTC/USD";

fn at(ms: i64) -> Ts {
    Ts::from_millis(1_000_000 + ms)
}

fn session(channels: &[&str]) -> Box<dyn Session> {
    let instruments = vec![(0, COIN.to_owned()), (1, BITCOIN.to_owned())];
    let channels = channels.iter().map(|c| Channel::parse(c).unwrap()).collect();
    open(&SessionPlan { instruments, channels, ..SessionPlan::new("kraken") }).unwrap()
}

fn capture() -> Box<dyn Session> {
    open(&SessionPlan::capture("kraken")).unwrap()
}

fn frame(s: &mut dyn Session, text: &str) -> Out {
    let mut out = Out::default();
    s.on_frame(at(0), Frame::Text(text.as_bytes()), &mut out).unwrap();
    out
}

fn levels(levels: &[(&str, &str)]) -> String {
    levels.iter().map(|(p, q)| format!(r#"{{"price":{p},"qty":{q}}}"#)).collect::<Vec<_>>().join(",")
}

fn book(kind: &str, bids: &[(&str, &str)], asks: &[(&str, &str)], checksum: u32) -> String {
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{COIN}","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"2026-09-21T14:13:20.123456Z"}}]}}"#,
        levels(bids),
        levels(asks)
    )
}

fn trade(id: u64) -> String {
    format!(
        r#"{{"symbol":"{COIN}","side":"buy","price":12.50,"qty":1.00000000,"ord_type":"limit","trade_id":{id},"timestamp":"2026-09-21T14:13:20.123456Z"}}"#
    )
}

fn trades(kind: &str, ids: &[u64]) -> String {
    let rows = ids.iter().map(|id| trade(*id)).collect::<Vec<_>>().join(",");
    format!(r#"{{"channel":"trade","type":"{kind}","data":[{rows}]}}"#)
}

fn ids(out: &Out) -> Vec<u64> {
    let id = |e: &wholetape_model::Event| if let Body::Trade(t) = e.body { t.id.number().unwrap() } else { panic!() };
    out.events.iter().map(id).collect()
}

/// `0.10000000` is not `0.1`: the checksum is over what was printed. Numbers are bare in JSON, where a parser of floats loses zeros.
#[test]
fn a_book_keeps_the_digits_of_the_wire() {
    let mut s = session(&["book"]);
    let out = frame(s.as_mut(), &book("snapshot", &[("45283.5", "0.10000000")], &[("45285.2", "0.00100000")], 7));
    let Body::Book(b) = out.events[0].body else { panic!() };
    assert_eq!((b.action, b.first_id, b.last_id, b.prev_id), (BookAction::Snapshot, 0, 0, 0));
    assert_eq!(out.events[0].scales, Scales { price: 1, size: 8 });
    let level = |span| out.arena.level_slice(span)[0];
    assert_eq!((level(b.bids).price.0, level(b.bids).size.0), (452_835, 10_000_000));
    assert_eq!((level(b.asks).price.0, level(b.asks).size.0), (452_852, 100_000));
    assert_eq!((out.checksums.as_slice(), s.stats().fallbacks), (&[(0, 7)][..], 0));
}

#[test]
fn a_checksum_may_be_text_or_number_or_missing_and_0_is_one() {
    let mut s = session(&["book"]);
    let plain = book("update", &[("12.50", "1.00000000")], &[], 0);
    assert_eq!(frame(s.as_mut(), &plain).checksums, [(0, 0)]);
    assert_eq!(
        frame(s.as_mut(), &plain.replace(r#""checksum":0"#, r#""checksum":"4294967295""#)).checksums,
        [(0, u32::MAX)]
    );
    assert_eq!(frame(s.as_mut(), &plain.replace(r#""checksum":0,"#, "")).checksums, []);
    let rule = s.book_rule(0);
    assert_eq!((rule.chain, rule.checksum, rule.depth), (Chain::Unlinked, Some(Checksum::AsksBids10), Some(1_000)));
}

/// The venue does not delete what leaves the depth, so whoever keeps the book must know that depth.
#[test]
fn a_recording_tells_how_deep_its_books_are() {
    let ack = |depth: u32| {
        format!(
            r#"{{"method":"subscribe","result":{{"channel":"book","depth":{depth},"snapshot":true,"symbol":"{COIN}"}},"success":true,"time_in":"2026-09-21T14:13:20.123456Z","time_out":"2026-09-21T14:13:20.123556Z"}}"#
        )
    };
    let mut s = capture();
    frame(s.as_mut(), &ack(25));
    frame(s.as_mut(), &book("snapshot", &[("12.50", "1.0")], &[], 0));
    assert_eq!(s.book_rule(0).depth, Some(25), "by the subscription's answer");
    let side: Vec<(String, String)> = (0..10).map(|i| (format!("12.{}", 50 - i), "1.0".to_owned())).collect();
    let side: Vec<(&str, &str)> = side.iter().map(|(p, q)| (p.as_str(), q.as_str())).collect();
    let mut s = capture();
    frame(s.as_mut(), &book("snapshot", &side, &[("13.00", "1.0")], 0));
    assert_eq!(s.book_rule(0).depth, Some(10), "by a snapshot that fills it");
    let mut s = capture();
    frame(s.as_mut(), &book("snapshot", &side[..3], &[], 0));
    assert_eq!(s.book_rule(0).depth, Some(1_000), "a thin book may be of any");
    let mut s = capture();
    frame(s.as_mut(), r#"[336,{"as":[["1.1","2.0","1790000000.1"]],"bs":[]},"book-100","AAA/XBT"]"#);
    assert_eq!(s.book_rule(0).depth, Some(100), "v1 says it in the channel's name");
}

#[test]
fn each_trade_has_an_id_and_a_subscription_begins_with_the_last_fifty() {
    let mut s = session(&["trade"]);
    assert_eq!(ids(&frame(s.as_mut(), &trades("snapshot", &[41, 42]))), [41, 42]);
    assert_eq!(ids(&frame(s.as_mut(), &trades("update", &[43, 44]))), [43, 44]);
    let TradeHistory::ById(by) = s.trade_history() else { panic!() };
    assert_eq!((by.page_max, by.by_time, by.edge_before), (900, true, false));
}

/// v1 printed no ids: names are made of what a trade says, the same for another connection's copy, and count nothing.
#[test]
fn trades_of_recordings_without_ids_get_names() {
    let rows = r#"[["1.10","2.0","1790000003.123456","b","l",""],["1.10","2.0","1790000003.123456","b","l",""],["1.10","2.0","1790000003.123457","s","m",""]]"#;
    let text = format!(r#"[337,{rows},"trade","AAA/XBT"]"#);
    let of = |s: &mut dyn Session| {
        let out = frame(s, &text);
        out.events.iter().map(|e| if let Body::Trade(t) = e.body { t.id } else { panic!() }).collect::<Vec<_>>()
    };
    let (mut one, mut two) = (capture(), capture());
    let names = of(one.as_mut());
    assert_eq!(names, of(two.as_mut()));
    assert!(names.iter().all(|id| id.is_uuid()) && names[0] != names[1] && names[1] != names[2]);
    assert_eq!(one.trade_history(), TradeHistory::Impossible { consecutive: false });
    assert_eq!(of(one.as_mut()), names, "another delivery of the same");
}

#[test]
fn a_refusal_names_its_symbol_and_the_others_stay() {
    let mut s = session(&["trade", "book"]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    s.on_timer(s.next_timer().unwrap(), &mut out);
    let sent: Vec<_> =
        out.actions.iter().map(|a| if let Action::Send(t) = a { t.as_str() } else { panic!() }).collect();
    assert_eq!(
        sent,
        [
            r#"{"method":"subscribe","params":{"channel":"trade","symbol":["AAA/USD","BTC/USD"]},"req_id":1}"#,
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["AAA/USD","BTC/USD"],"depth":1000},"req_id":2}"#,
        ]
    );
    let times = r#""time_in":"2026-09-21T14:13:20.123456Z","time_out":"2026-09-21T14:13:20.123556Z""#;
    let text = "Currency pair not supported AAA/USD";
    let refused = |symbol: &str| {
        format!(r#"{{"error":"{text}","method":"subscribe","req_id":2,"success":false,{symbol}{times}}}"#)
    };
    let note = Action::Note(Note::Refused { streams: vec!["book-1000:AAA/USD".into()], code: 0, text: text.into() });
    assert_eq!(frame(s.as_mut(), &refused(r#""symbol":"AAA/USD","#)).actions, [note]);
    let ack = |channel: &str, rest: &str| {
        format!(
            r#"{{"method":"subscribe","result":{{"channel":"{channel}",{rest}"snapshot":true,"symbol":"BTC/USD"}},"success":true,{times},"req_id":2}}"#
        )
    };
    let told = frame(s.as_mut(), &ack("book", r#""depth":1000,"#)).actions;
    assert_eq!(told, [Action::Note(Note::Subscribed { streams: vec!["book-1000:BTC/USD".into()] })]);
    assert_eq!(frame(s.as_mut(), &ack("book", r#""depth":1000,"#)).actions, [], "once");
    // Words alone name the symbol as well.
    let mut s = session(&["trade"]);
    s.on_open(at(0), &mut Out::default());
    let told = frame(s.as_mut(), &refused("").replace(r#""req_id":2"#, r#""req_id":1"#)).actions;
    assert!(
        matches!(&told[..], [Action::Note(Note::Refused { streams, .. })] if streams == &["trade:AAA/USD"]),
        "{told:?}"
    );
    // What answers nothing is an error of the connection, and so is our own haste.
    let mut fail = |text: &str| s.on_frame(at(0), Frame::Text(text.as_bytes()), &mut Out::default()).unwrap_err();
    assert_eq!(fail(&refused("").replace(r#""req_id":2"#, r#""req_id":77"#)).recovery(), Recovery::Reconnect);
    let haste = refused("").replace(text, "Exceeded msg rate").replace(r#""req_id":2"#, r#""req_id":1"#);
    assert!(matches!(fail(&haste), ProtocolError::Venue { .. }));
}

#[test]
fn a_book_asked_for_anew_is_ended_first_and_no_other_is_touched() {
    let mut s = session(&["book", "trade"]);
    let mut out = Out::default();
    s.on_open(at(0), &mut out);
    while let Some(due) = s.next_timer() {
        s.on_timer(due, &mut out);
    }
    out.clear();
    let goes_out = s.resubscribe_book(at(10_000), 0, &mut out).unwrap();
    while s.next_timer().is_some_and(|due| due <= goes_out) {
        s.on_timer(s.next_timer().unwrap(), &mut out);
    }
    let ask = |method: &str, id: u64| {
        format!(
            r#"{{"method":"{method}","params":{{"channel":"book","symbol":["AAA/USD"],"depth":1000}},"req_id":{id}}}"#
        )
    };
    assert_eq!(out.actions, [ask("unsubscribe", 3), ask("subscribe", 4)].map(Action::Send));
    assert_eq!(s.resubscribe_book(at(20_000), 7, &mut out), None, "no instrument of ours");
    assert_eq!(session(&["trade"]).resubscribe_book(at(0), 0, &mut out), None, "no book of ours");
}

#[test]
fn best_prices_and_statistics_are_one_stream() {
    let ticker = |last: &str| {
        format!(
            r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"{COIN}","bid":12.50,"bid_qty":10.00000000,"ask":12.52,"ask_qty":0.50000000,"last":{last},"volume":1234.5,"vwap":12.4,"low":11.90,"high":13.10,"change":-0.25,"change_pct":-1.96,"timestamp":"2026-09-21T14:13:20.123456Z"}}]}}"#
        )
    };
    let kinds =
        |s: &mut dyn Session, last: &str| frame(s, &ticker(last)).events.iter().map(|e| e.kind).collect::<Vec<_>>();
    let mut both = session(&["quote", "ticker"]);
    assert_eq!(kinds(both.as_mut(), "12.51"), [Kind::Quote, Kind::Ticker]);
    assert_eq!(kinds(both.as_mut(), "12.51"), [Kind::Quote], "the statistics are no news");
    assert_eq!(kinds(both.as_mut(), "12.52"), [Kind::Quote, Kind::Ticker]);
    assert_eq!(kinds(session(&["quote"]).as_mut(), "12.51"), [Kind::Quote]);
    let mut alone = session(&["ticker"]);
    assert_eq!([kinds(alone.as_mut(), "12.51"), kinds(alone.as_mut(), "12.51")], [[Kind::Ticker], [Kind::Ticker]]);
    let out = frame(both.as_mut(), &ticker("12.60"));
    let Body::Ticker(t) = out.events[1].body else { panic!() };
    assert_eq!((t.open.to_string().as_str(), t.change.to_string().as_str()), ("12.85", "-0.25"));
    let mut out = Out::default();
    both.on_open(at(0), &mut out);
    let Action::Send(text) = &out.actions[0] else { panic!() };
    assert!(text.contains(r#""event_trigger":"bbo""#), "{text}");
}

#[test]
fn what_speaks_on_change_says_nothing_by_its_silence() {
    let s = session(&["quote", "ticker", "bar-1m"]);
    let minute = wholetape_model::Period::parse("1m").unwrap();
    let pauses = [Kind::Ticker, Kind::Bar(minute), Kind::Trade, Kind::Book].map(|kind| s.pause_max(kind));
    assert_eq!(pauses, [Duration::MAX, Duration::MAX, Duration::ZERO, Duration::ZERO]);
    let update = br#"{"channel":"ticker","type":"update","data":[]}"#;
    let peeked = |s: &dyn Session| s.peek(Frame::Text(update)).map(|p| p.kind);
    assert_eq!(peeked(s.as_ref()), Some(Kind::Quote));
    assert_eq!(peeked(session(&["ticker"]).as_ref()), Some(Kind::Ticker), "dropped as what it is asked for");
}

/// The venue pushes bars while they run and never says that one is over.
#[test]
fn a_bar_is_closed_when_the_next_one_begins() {
    let bar = |kind: &str, minutes: &[(u32, &str)]| {
        let row = |(minute, close): &(u32, &str)| {
            format!(
                r#"{{"symbol":"{COIN}","open":12.4,"high":12.6,"low":12.3,"close":{close},"trades":7,"volume":3.5,"vwap":12.4,"interval_begin":"2026-09-21T14:{minute:02}:00.000000000Z","interval":1}}"#
            )
        };
        let rows = minutes.iter().map(row).collect::<Vec<_>>().join(",");
        format!(r#"{{"channel":"ohlc","type":"{kind}","timestamp":"2026-09-21T14:59:00.5Z","data":[{rows}]}}"#)
    };
    let told = |out: &Out| {
        let of = |e: &wholetape_model::Event| match e.body {
            Body::Bar(b) => (b.open_ts.millis() / 60_000 % 60, b.close.to_string(), b.closed),
            _ => panic!(),
        };
        out.events.iter().map(of).collect::<Vec<_>>()
    };
    let mut s = session(&["bar-1m"]);
    let now = Ts::parse_utc(b"2026-09-21T14:13:30Z").unwrap();
    s.on_open(now, &mut Out::default());
    let out = frame(s.as_mut(), &bar("snapshot", &[(11, "1"), (12, "2"), (13, "3")]));
    assert_eq!(told(&out), [(13, "3".into(), false)], "the others were over before we came");
    assert_eq!(s.stats().filtered, 2);
    assert_eq!(told(&frame(s.as_mut(), &bar("update", &[(13, "4")]))), [(13, "4".into(), false)]);
    let out = frame(s.as_mut(), &bar("update", &[(14, "5")]));
    assert_eq!(told(&out), [(13, "4".into(), true), (14, "5".into(), false)]);
    // A new subscription tells what was missed, and how the one that ran has ended.
    s.on_open(now, &mut Out::default());
    let out = frame(s.as_mut(), &bar("snapshot", &[(12, "2"), (13, "4"), (14, "6"), (15, "7"), (16, "8")]));
    assert_eq!(
        told(&out),
        [
            (14, "6".into(), false),
            (14, "6".into(), true),
            (15, "7".into(), false),
            (15, "7".into(), true),
            (16, "8".into(), false)
        ]
    );
}

#[test]
fn the_venues_own_state_is_told_when_it_changes() {
    let mut s = session(&[]);
    let mut told = |word: &str| {
        let text = format!(
            r#"{{"channel":"status","type":"update","data":[{{"system":"{word}","api_version":"v2","connection_id":1,"version":"2.0.10"}}]}}"#
        );
        frame(s.as_mut(), &text).events.len()
    };
    assert_eq!(["online", "maintenance", "maintenance", "online", "online"].map(&mut told), [0, 1, 0, 1, 0]);
}

#[test]
fn the_server_beats_each_second_and_we_ping() {
    let Heartbeat::Client { ping, pong, every, cut } = limits("kraken").unwrap().heartbeat else { panic!() };
    assert_eq!((ping, pong), (r#"{"method":"ping"}"#, None));
    assert!(every * 2 <= cut && cut <= Duration::from_secs(60));
    let mut s = session(&[]);
    let pong = r#"{"method":"pong","time_in":"2026-09-21T14:13:20.123456Z","time_out":"2026-09-21T14:13:20.123556Z"}"#;
    for text in [r#"{"channel":"heartbeat"}"#, pong] {
        let out = frame(s.as_mut(), text);
        assert!(out.events.is_empty() && out.actions.is_empty());
    }
    let stats = s.stats();
    assert_eq!((stats.by_channel["heartbeat"], stats.by_channel["method:pong"], stats.unknown_frames), (1, 1, 0));
}

fn fetch(kind: FetchKind, instrument: u32, arg: u64) -> FetchId {
    FetchId { kind, instrument, arg }
}

#[test]
fn requests_spell_symbols_as_rest_does_and_are_recognised_in_recordings() {
    use FetchKind as F;
    let mut s = session(&["trade"]);
    for (want, path, recorded) in [
        (fetch(F::NewestTrades, 1, 1), "/0/public/Trades?pair=XBTUSD&count=1", fetch(F::NewestTrades, 1, 1)),
        // What happened at that very moment is in it: the cursor is exclusive.
        (
            fetch(F::TradesAt, 0, 1_790_000_000_000),
            "/0/public/Trades?pair=AAAUSD&since=1789999999999999999&count=1",
            fetch(F::TradesAt, 0, 1_790_000_000_000),
        ),
        // Nothing is known of this id: the newest page tells where to look.
        (fetch(F::TradesFrom, 0, 500), "/0/public/Trades?pair=AAAUSD&count=1000", fetch(F::NewestTrades, 0, 1_000)),
        (fetch(F::Instruments, NO_INSTRUMENT, 0), "/0/public/AssetPairs", fetch(F::Instruments, NO_INSTRUMENT, 0)),
        (fetch(F::ServerTime, NO_INSTRUMENT, 0), "/0/public/Time", fetch(F::ServerTime, NO_INSTRUMENT, 0)),
    ] {
        let request = s.request(want).unwrap();
        assert_eq!((request.path.as_str(), request.weight), (path, 1));
        assert_eq!(s.fetch_of(&format!("https://api.kraken.com{path}")), Some(recorded));
    }
    assert_eq!(s.request(fetch(F::BookSnapshot, 0, 0)), None, "a book begins with the stream's own snapshot");
    assert_eq!(s.request(fetch(F::OpenInterest, 0, 0)), None, "spot has none");
    assert_eq!(s.fetch_of("https://api.kraken.com/0/public/Depth?pair=AAAUSD"), None);
    assert_eq!(s.fetch_of("https://api.kraken.com/0/public/Trades?pair=XXXUSD"), None, "no instrument of ours");
    // A trade that came tells where to look for its neighbours.
    frame(s.as_mut(), &trades("update", &[1_000]));
    let path = s.request(fetch(F::TradesFrom, 0, 1_001)).unwrap().path;
    assert_eq!(path, "/0/public/Trades?pair=AAAUSD&since=1790000000123455000&count=1000");
}

/// T9: past trades are asked for by id, the venue pages by an exclusive nanosecond: no id is lost at a page's edge, though trades of one
/// nanosecond stand on both sides of it.
#[test]
fn exclusive_cursors_lose_no_id_while_paging() {
    const FIRST: i64 = 1_790_000_000_000_000_000;
    // Ids 1 to 5000; seven share each nanosecond, so that pages end within them.
    let ns = |id: u64| FIRST + (id as i64 / 7) * 3_000_000;
    let row = |id: u64| {
        let t = ns(id);
        format!(r#"["12.50","1.00000000",{}.{:09},"b","l","",{id}]"#, t / 1_000_000_000, t % 1_000_000_000)
    };
    let answer = |path: &str| {
        let since = path.split("since=").nth(1).map(|s| s.split('&').next().unwrap().parse::<i64>().unwrap());
        let first = since.map_or(4_001, |since| (1..=5_000).find(|id| ns(*id) > since).unwrap());
        let rows: Vec<u64> = (first..=5_000).take(1_000).collect();
        let last = ns(*rows.last().unwrap());
        format!(
            r#"{{"error":[],"result":{{"AAAUSD":[{}],"last":"{last}"}}}}"#,
            rows.into_iter().map(row).collect::<Vec<_>>().join(",")
        )
    };
    let mut s = session(&["trade"]);
    let (mut held, mut asked) = (std::collections::BTreeSet::new(), 0);
    while let Some(id) = (100..=5_000).find(|id| !held.contains(id)) {
        asked += 1;
        assert!(asked < 40, "{} held", held.len());
        let want = fetch(FetchKind::TradesFrom, 0, id);
        let body = answer(&s.request(want).unwrap().path);
        let mut out = Out::default();
        // A page that lies beside the mark is no answer, and the next one begins elsewhere.
        match s.on_fetched(at(0), want, Reply::Answer { status: 200, body: body.as_bytes() }, &mut out) {
            Ok(()) => {
                let ids = ids(&out);
                assert!(
                    ids.is_sorted() && ids[0] <= id && ids.contains(&id),
                    "oldest first, from before what was asked for"
                );
                held.extend(ids);
            }
            Err(e) => assert!(matches!(e, ProtocolError::Beside { .. }) && out.events.is_empty(), "{e}"),
        }
    }
    assert!(asked <= 12, "{asked}");
}

#[test]
fn an_error_at_status_200_is_no_answer() {
    let mut s = session(&["trade"]);
    let id = fetch(FetchKind::NewestTrades, 0, 1);
    let body = br#"{"error":["EAPI:Rate limit exceeded"]}"#;
    let mut out = Out::default();
    let error = s.on_fetched(at(0), id, Reply::Answer { status: 200, body }, &mut out).unwrap_err();
    assert_eq!(error.recovery(), Recovery::Skip);
    let error = s.on_fetched(at(0), id, Reply::Answer { status: 520, body }, &mut out).unwrap_err();
    assert_eq!(error, ProtocolError::Status { what: "newest_trades", status: 520 });
    let without_ids = br#"{"error":[],"result":{"AAAUSD":[["12.5","1",1790000000.1,"b","l",""]],"last":"1"}}"#;
    assert!(s.on_fetched(at(0), id, Reply::Answer { status: 200, body: without_ids }, &mut out).is_err());
    assert!(out.events.is_empty());
    let refusals = limits("kraken").unwrap().rest.refusals;
    assert!(refusals.iter().any(|r| r.is(429, b"")) && refusals.iter().any(|r| r.is(200, body)));
    assert!(!refusals.iter().any(|r| r.is(200, br#"{"error":[],"result":{}}"#)));
}

#[test]
fn definitions_come_by_stream_or_rest_and_are_told_once() {
    let mut s = session(&["instrument"]);
    let pairs = r#"{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,"lot_decimals":8,"ordermin":"0.00005","costmin":"0.5","tick_size":"0.1","status":"online"},"XBTUSD.d":{"altname":"XBTUSD.d","base":"XXBT","quote":"ZUSD","pair_decimals":1,"lot_decimals":8}}}"#;
    let id = fetch(FetchKind::Instruments, NO_INSTRUMENT, 0);
    let mut out = Out::default();
    let reply = Reply::Answer { status: 200, body: pairs.as_bytes() };
    s.on_fetched(at(0), id, reply, &mut out).unwrap();
    let told: Vec<_> = out.events.iter().map(|e| (e.instrument, e.kind)).collect();
    assert_eq!(told, [(1, Kind::Instrument), (1, Kind::Status)]);
    let Body::Instrument(def) = out.events[0].body else { panic!() };
    let text = |d: wholetape_model::Decimal| d.to_string();
    assert_eq!(
        [text(def.tick), text(def.step), text(def.size_min), text(def.notional_min)],
        ["0.1", "0.00000001", "0.00005", "0.5"]
    );
    // The stream says the same in its words: no news.
    let stream = r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","base":"BTC","quote":"USD","status":"online","qty_precision":8,"qty_increment":0.00000001,"price_precision":1,"cost_precision":5,"marginable":true,"has_index":true,"cost_min":0.50,"price_increment":0.1,"qty_min":0.00005}]}}"#;
    assert_eq!(frame(s.as_mut(), stream).events, []);
    assert_eq!(frame(s.as_mut(), &stream.replace("online", "delisted")).events.len(), 2);
    let listed = venue("kraken").unwrap().listed(pairs.as_bytes()).unwrap();
    assert_eq!(listed, ["BTC/USD"], "dark pools have no name on any socket");
}

#[test]
fn symbols_and_addresses_of_either_age_are_the_venues() {
    for symbol in ["BTC/USD", "XBT/USD"] {
        let id = instrument_id::<&str>("kraken", symbol, None).unwrap();
        assert_eq!(id.as_str(), "BTC%2FUSD.KRAKEN");
        assert_eq!(symbol_of("kraken", &id).unwrap().as_deref(), Some("BTC/USD"));
    }
    let kraken = venue("kraken").unwrap();
    assert!(kraken.is_symbol("AAPLx/USD") && !kraken.is_symbol("BTCUSD"));
    for url in [
        "wss://ws.kraken.com",
        "wss://ws.kraken.com/v2",
        "wss://beta-ws.kraken.com/v2",
        "https://api.kraken.com/0/public/Time",
    ] {
        assert_eq!(of_address(url).map(|v| v.name()), Some("kraken"), "{url}");
    }
    for url in ["wss://futures.kraken.com/ws/v1", "wss://ws.notkraken.com/v2"] {
        assert!(of_address(url).is_none(), "{url}");
    }
}

#[test]
fn spot_has_no_derivatives_and_trades_have_one_source() {
    let named = vec![(0, COIN.to_owned())];
    for channel in ["mark", "liquidation", "open_interest", "trade-raw", "bar-7m"] {
        let refused = connections("kraken", &named, &[Channel::parse(channel).unwrap()], &SplitLimits::default());
        assert!(refused.is_err(), "{channel}");
    }
    let bars = ["bar-1m", "bar-5m", "bar-15m", "bar-30m", "bar-1h", "bar-4h", "bar-1d", "bar-1w", "bar-15d"];
    let bars: Vec<Channel> = bars.iter().map(|b| Channel::parse(b).unwrap()).collect();
    assert_eq!(connections("kraken", &named, &bars, &SplitLimits::default()).unwrap()[0].streams.len(), 9);
}
