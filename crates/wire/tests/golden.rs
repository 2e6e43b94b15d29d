//! One message of each kind against `golden/v1.jsonl`, which is never rewritten within version 1.
//!
//! To add kinds: append the lines that the failing test prints.

use serde_json::json;
use wholetape_model::mark::{Finding, Gap, Link};
use wholetape_model::record::{Record, encode};
use wholetape_model::topic::Period;
use wholetape_model::{
    Bar, Book, BookAction, Check, Decimal, Funding, GapCause, GapState, HealSource, InstrumentDef, InstrumentKind,
    Level, Levels, LinkCause, LinkState, Liquidation, Price, Publication, Quote, Row, RowFlags, Scales, Side, Size,
    Status, Ticker, Topic, Trade, TradeCondition, TradingStatus, Ts, ValidityState, View,
};
use wholetape_wire::conflate::Change;
use wholetape_wire::message::{self, Context, Merged, Written};
use wholetape_wire::reply::{self, Limits, Missed, Resumed, Terms, Upto};
use wholetape_wire::{BookView, Code, Places, Subject, tell_omitted};

const BIDS: [Level; 2] =
    [Level { price: Price(6_000_010), size: Size(2_000) }, Level { price: Price(5_999_990), size: Size(0) }];

const SUBD: Terms<'static> = Terms { ch: 7, acked: false, conflate: "none", depth: None, clean: false, places: None };

fn d(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn trade(id: u64, last_id: u64) -> View<'static> {
    View::Trade(Trade {
        id: id.into(),
        first_id: id,
        last_id,
        price: Price(6_180_030),
        size: Size(6),
        aggressor: Some(Side::Sell),
        condition: TradeCondition::Regular,
    })
}

fn book(action: BookAction) -> View<'static> {
    let (bids, asks) = (Levels::Native(&BIDS), Levels::Native(&[]));
    View::Book(Book { action, first_id: 100, last_id: 110, prev_id: 99, bids, asks })
}

fn bodies() -> Vec<(&'static str, View<'static>)> {
    let gap = Gap {
        gap: 7,
        state: GapState::Healed,
        cause: GapCause::Disconnected,
        source: HealSource::Rest,
        from_id: 10,
        to_id: 19,
        from_ts: Ts(1),
        to_ts: Ts(2),
        missing: 0,
        why: "10 of 10 rows from \"aggTrades\"",
    };
    vec![
        ("trade.BTCUSDT.BINANCE", trade(5_266_583_935, 5_266_583_935)),
        ("trade.BTCUSDT.BINANCE", trade(1, u64::MAX)),
        (
            "quote.BTCUSDT.BINANCE",
            View::Quote(Quote { bid: Price(1), bid_size: Size(2), ask: Price(3), ask_size: Size(4), update_id: 5 }),
        ),
        (
            "ticker.BTCUSDT.BINANCE",
            View::Ticker(Ticker {
                last: d("1.5"),
                open: d("1.4"),
                high: d("1.6"),
                low: d("1.3"),
                volume: d("1000.000"),
                quote_volume: d("1500.00"),
                change: d("-0.1"),
                trades: 12,
                open_ts: Ts(5),
                close_ts: Ts(6),
            }),
        ),
        ("book.BTCUSDT.BINANCE", book(BookAction::Snapshot)),
        ("book.BTCUSDT.BINANCE", book(BookAction::Delta)),
        (
            "bar-1m.BTCUSDT.BINANCE",
            View::Bar(Bar {
                open_ts: Ts(60),
                close_ts: Ts(119),
                open: d("1"),
                high: d("2"),
                low: d("0.5"),
                close: d("1.50"),
                volume: d("10"),
                quote_volume: d("15.0"),
                taker_volume: d("4"),
                taker_quote_volume: d("6"),
                trades: 3,
                first_id: 1,
                last_id: 3,
                closed: true,
                period: Period { count: 1, unit: b'm' },
            }),
        ),
        ("funding.BTCUSDT-PERP.BINANCE", View::Funding(Funding { rate: d("0.00010000"), next_ts: Ts(9) })),
        ("mark.BTCUSDT-PERP.BINANCE", View::MarkPrice(d("60000.12345678"))),
        ("index.BTCUSDT-PERP.BINANCE", View::IndexPrice(d("60000.5"))),
        ("open_interest.BTCUSDT-PERP.BINANCE", View::OpenInterest(d("81234.567"))),
        (
            "liquidation.BTCUSDT-PERP.BINANCE",
            View::Liquidation(Liquidation {
                side: Some(Side::Sell),
                price: d("59000"),
                average_price: d("59001.5"),
                size: d("0.2"),
                order_size: d("0.3"),
            }),
        ),
        (
            "instrument.BTCUSDT-PERP.BINANCE",
            View::Instrument(InstrumentDef {
                kind: InstrumentKind::Perpetual,
                status: TradingStatus::Trading,
                tick: d("0.10"),
                step: d("0.001"),
                size_min: d("0.001"),
                size_max: d("1000"),
                notional_min: d("100"),
                multiplier: d("1"),
                onboard: Ts(1),
                expiry: Ts(0),
                symbol: "BTCUSDT",
                base: "BTC",
                quote: "USDT",
                settle: "USDT",
                status_text: "TRADING",
            }),
        ),
        ("status.BTCUSDT.BINANCE", View::Status(Status { status: TradingStatus::Halted, text: "BREAK" })),
        (
            "link.binance-0",
            View::Link(Link {
                state: LinkState::Active,
                cause: LinkCause::FirstData,
                attempt: 3,
                delay_ns: 1_500_000_000,
                endpoint: "wss://x/ws",
                correlation: "c-1",
                why: "",
            }),
        ),
        ("trade.BTCUSDT.BINANCE", View::Gap(gap)),
        ("gap.BTCUSDT.BINANCE", View::Gap(gap)),
        (
            "book.BTCUSDT.BINANCE",
            View::Validity(wholetape_model::Validity {
                state: ValidityState::Syncing,
                cause: GapCause::Resync,
                update_id: 110,
                why: "venue id 115 after 110",
            }),
        ),
        ("trade.BTCUSDT.BINANCE", View::Retract(41)),
        (
            "quality.binance-0",
            View::Finding(Finding {
                check: Check::Crossed,
                observed: d("1.1"),
                bound: d("1.0"),
                count: 4,
                why: "best bid over best ask",
            }),
        ),
    ]
}

fn coverage(out: &mut Vec<u8>) {
    let topic = Topic::parse("coverage.BTCUSDT.BINANCE").unwrap();
    let body = View::Coverage(wholetape_model::Coverage {
        of: "trade",
        proof: wholetape_model::Proof::Hole,
        seq: 900,
        from_id: 10,
        to_id: 5_266_583_935,
        held: 5_266_583_923,
        missing: 2,
        never_published: 1,
        from_ts: Ts(1_723_161_256_322_000_000),
        to_ts: Ts(1_723_168_456_322_000_000),
        hole_ns: 1_500_000_000,
        open: 1,
        healed: 7,
        lost: 3,
        hours_from: Ts(1_723_158_000_000_000_000),
        hours: "pPHl-",
    });
    let row = Row {
        ts_event: Ts(1_790_000_000_000_000_123),
        ts_recv: Ts(1_790_000_000_000_456_789),
        conn: 0,
        frame: 0,
        flags: RowFlags::TS_LOCAL,
        scales: Scales::default(),
        body,
    };
    let mut bytes = Vec::new();
    encode(&row, 0, 7, 1, &mut bytes);
    let cx = Context { topic: &topic, epoch: "k3f9", prev: 6, state: None, crc: None };
    let record = Record::parse(&bytes, true).unwrap();
    assert_eq!(message::record(out, &cx, &record), Ok(Written::Message));
}

/// A number stays a number; a UUID is a string, letter by letter what the venue printed, and covers no other ids.
#[test]
fn an_id_that_is_no_number_is_a_string() {
    let uuid = "20f43950-d8dd-5b31-9112-a178eb6023af";
    let View::Trade(numbered) = trade(7, 7) else { unreachable!() };
    let named = wholetape_model::Trade { id: uuid.parse().unwrap(), first_id: 0, last_id: 0, ..numbered };
    let topic = Topic::parse("trade.BTCUSDT-LINEAR.BYBIT").unwrap();
    for (body, want) in [(numbered, json!(7)), (named, json!(uuid))] {
        let (ts, scales) = (Ts(1_790_000_000_000_000_123), Scales { price: 2, size: 3 });
        let flags = RowFlags::LOOSE_ID;
        let row = Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 2, flags, scales, body: View::Trade(body) };
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        encode(&row, 0, 41, 1, &mut bytes);
        let cx = Context { topic: &topic, epoch: "k3f9", prev: 40, state: None, crc: None };
        message::record(&mut out, &cx, &Record::parse(&bytes, true).unwrap()).unwrap();
        let message: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let data = message["data"].as_object().unwrap();
        assert_eq!((&data["id"], data.contains_key("first_id")), (&want, false), "{message}");
        assert!(message.get("flags").is_none(), "no check failed");
    }
}

/// One row of each form: an update, a late trade, the venue's snapshot, a whole state, a mark over a lost range, a hole.
fn rows(view: &BookView) -> Vec<u8> {
    let gap = Gap {
        gap: 7,
        state: GapState::Lost,
        cause: GapCause::Power,
        source: HealSource::None,
        from_id: 0,
        to_id: 0,
        from_ts: Ts(1),
        to_ts: Ts(2),
        missing: 0,
        why: "power",
    };
    let kinds = [
        ("book.A.B", book(BookAction::Delta), 1, RowFlags::default()),
        ("trade.A.B", trade(5, 5), 1, RowFlags::LATE_REST),
        ("book.A.B", book(BookAction::Snapshot), 1, RowFlags::default()),
        ("book.A.B", View::Gap(gap), 10, RowFlags::default()),
    ];
    let mut all = Vec::new();
    for (i, (topic, body, span, flags)) in kinds.into_iter().enumerate() {
        let topic = Topic::parse(topic).unwrap();
        let (ts_event, ts_recv) = (Ts(1_790_000_000_000_000_123), Ts(1_790_000_000_000_456_789));
        let row = Row { ts_event, ts_recv, conn: 1, frame: 2, flags, scales: Scales { price: 2, size: 3 }, body };
        let mut bytes = Vec::new();
        encode(&row, 0, 40 + 20 * i as u64, span, &mut bytes);
        let record = Record::parse(&bytes, true).unwrap();
        let state = topic.as_str().starts_with("book").then_some(ValidityState::Live);
        let cx = Context { topic: &topic, epoch: "k3f9", prev: record.prev(), state, crc: None };
        let ts_init = Ts(1_790_000_000_000_300_000);
        assert_eq!(message::row(&mut all, &cx, &record, ts_init), Ok(Written::Message));
        all.push(b',');
    }
    let topic = Topic::parse("book.A.B").unwrap();
    let cx = Context { topic: &topic, epoch: "k3f9", prev: 0, state: Some(ValidityState::Live), crc: None };
    message::book_row(&mut all, &cx, 41, Ts(1_790_000_000_000_000_000), 110, view);
    all.push(b',');
    reply::missed_row(&mut all, Missed { from: 50, to: 59, why: "retention" });
    all
}

fn latest(out: &mut Vec<u8>, merged: &Merged) {
    let topic = Topic::parse("quote.BTCUSDT.BINANCE").unwrap();
    let (bid, ask) = (Price(6_000_010), Price(6_000_020));
    let row = Row {
        ts_event: Ts(1_790_000_000_000_000_123),
        ts_recv: merged.ts,
        conn: 1,
        frame: 2,
        flags: RowFlags::default(),
        scales: Scales { price: 2, size: 3 },
        body: View::Quote(Quote { bid, bid_size: Size(1), ask, ask_size: Size(2), update_id: 125 }),
    };
    let mut bytes = Vec::new();
    encode(&row, 0, merged.seq, 1, &mut bytes);
    let cx = Context { topic: &topic, epoch: "k3f9", prev: 1_042, state: None, crc: None };
    message::latest(out, &cx, merged, &Record::parse(&bytes, true).unwrap()).unwrap();
}

fn messages() -> Vec<String> {
    let mut lines = Vec::new();
    let mut push = |f: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut out = Vec::new();
        f(&mut out);
        lines.push(String::from_utf8(out).unwrap());
    };
    for (i, (topic, body)) in bodies().into_iter().enumerate() {
        let topic = Topic::parse(topic).unwrap();
        let seq = 1_042 + i as u64;
        let flags = if i == 1 { RowFlags::LATE_REST.with(RowFlags::BAD_PRICE) } else { RowFlags::default() };
        let row = Row {
            ts_event: Ts(1_790_000_000_000_000_123),
            ts_recv: Ts(1_790_000_000_000_456_789),
            conn: 1,
            frame: 2,
            flags,
            scales: Scales { price: 2, size: 3 },
            body,
        };
        let mut bytes = Vec::new();
        encode(&row, 0, seq, 1, &mut bytes);
        let record = Record::parse(&bytes, true).unwrap();
        let is_book = topic.as_str().starts_with("book");
        let cx = Context {
            topic: &topic,
            epoch: "k3f9",
            prev: if i % 2 == 1 { seq - 2 } else { seq - 1 },
            state: is_book.then_some(ValidityState::Live),
            crc: is_book.then_some(7),
        };
        push(&mut |out| assert_eq!(message::record(out, &cx, &record), Ok(Written::Message)));
        if matches!(row.body, View::Quote(_)) {
            push(&mut |out| message::state_snap(out, &cx, seq, &record).unwrap());
        }
    }
    let topic = Topic::parse("book.BTCUSDT.BINANCE").unwrap();
    let cx = Context { topic: &topic, epoch: "k3f9", prev: 0, state: Some(ValidityState::Live), crc: None };
    let mut view = BookView::new();
    view.apply(Scales { price: 2, size: 3 }, Levels::Native(&BIDS), Levels::Native(&[])).unwrap();
    push(&mut |out| message::book_snap(out, &cx, 1_041, Ts(1_790_000_000_000_000_000), 110, &view));
    let missed = Missed { from: 900, to: 1_020, why: "retention" };
    let limits = Limits::default();
    let hello = reply::Welcome { session: "s_7Qk", resume: None, ttl_s: 0, hb_s: 15, anon: true, limits: &limits };
    push(&mut |out| reply::welcome(out, &hello));
    push(&mut |out| reply::subd(out, Some(1), &topic, &SUBD, "k3f9", 1_041, None));
    push(&mut |out| reply::subd(out, None, &topic, &SUBD, "k3f9", 1_020, Some(missed)));
    push(&mut |out| reply::resumed(out, Some(3), &topic, "k3f9", Resumed::Replay { n: 12, seq: None }));
    push(&mut |out| reply::resumed(out, None, &topic, "k3f9", Resumed::Snap));
    push(&mut |out| reply::resumed(out, None, &topic, "k3f9", Resumed::Missed(missed)));
    push(&mut |out| reply::missed(out, &topic, missed));
    push(&mut |out| reply::hb(out, Ts(5_000), "k3f9", [("trade.A.B", 4), ("book.A.B", 9)].into_iter()));
    push(&mut |out| {
        let (id, path, topic) = (Some(4), Some("from.last"), Some("trade.A.B"));
        reply::err(
            out,
            &reply::Error { id, code: Code::Schema, msg: "from.last: must be …", path, topic, retry_ms: None },
        );
    });
    push(&mut |out| {
        let (id, path, topic) = (None, None, None);
        reply::err(
            out,
            &reply::Error { id, code: Code::RateLimited, msg: "slow down", path, topic, retry_ms: Some(50) },
        );
    });
    push(&mut |out| reply::ok(out, Some(2)));
    push(&mut |out| reply::pong(out, Some(5), Ts(6_000)));
    push(&mut |out| reply::lagging(out, &topic, 5_120));
    push(&mut |out| reply::drain(out, 10_000, (0, 8_000)));
    push(&mut |out| coverage(out));
    let upto = Upto { asof: 5_000, i: 300, omitted: 0 };
    push(&mut |out| reply::hist(out, Some(7), &topic, "k3f9", upto, &rows(&view)));
    push(&mut |out| reply::subd(out, Some(1), &topic, &Terms { acked: true, ..SUBD }, "k3f9", 1_041, None));
    let hello = reply::Welcome { resume: Some("r_9f2"), ttl_s: 120, ..hello };
    push(&mut |out| reply::welcome(out, &hello));
    let of = |ch| Some(Subject { ch, places: None });
    let topics = [
        ("trade.A.B", of(1), Resumed::Replay { n: 12, seq: None }),
        ("trade.C.D", of(2), Resumed::Replay { n: 0, seq: Some(41) }),
        ("quote.A.B", of(3), Resumed::Snap),
        ("book.A.B", of(4), Resumed::Missed(missed)),
        ("book.C.D", None, Resumed::Denied(Code::Forbidden)),
    ];
    push(&mut |out| reply::session(out, Some(1), (3, "r_41c"), "k3f9", topics.into_iter()));
    push(&mut |out| reply::welcome(out, &reply::Welcome { resume: None, ttl_s: 0, anon: false, ..hello }));
    push(&mut |out| reply::auth_expiring(out, 60));
    for (cid, data) in [("c-1", r#"{"col": 3.10}"#), ("", " { } ")] {
        push(&mut |out| publication(out, cid, data));
    }
    let said =
        reply::Published { id: Some(9), mid: "01JC", topic: "c4.game.42", seq: 18, cid: Some("c-1"), dup: false };
    push(&mut |out| reply::published(out, &said));
    push(&mut |out| reply::published(out, &reply::Published { id: None, cid: None, dup: true, ..said }));
    push(&mut |out| {
        let (id, path, topic, retry_ms) = (Some(9), None, Some("c4.game.42"), None);
        let error = reply::Error { id, code: Code::Conflict, msg: "another came first", path, topic, retry_ms };
        reply::unpublished(out, &error, &reply::Unpublished { mid: "01JC", cid: Some("c-1"), head: Some(19) });
    });
    let merged = Merged { seq: 1_057, n: 15, ts: Ts(1_790_000_000_000_000_000), update_id: 125 };
    let cx = Context { prev: 1_042, crc: Some(7), ..cx };
    let change = Change { bids: vec![(d("60000.1"), d("0"))], asks: vec![(d("60000.20"), d("1.5"))] };
    push(&mut |out| message::book_change(out, &cx, &merged, &change));
    push(&mut |out| message::book_cut_snap(out, &cx, &merged, &view, Some(10)));
    push(&mut |out| latest(out, &merged));
    let terms = Terms { conflate: "100ms", depth: Some(50), ..SUBD };
    push(&mut |out| reply::subd(out, Some(1), &topic, &terms, "k3f9", 1_041, None));
    push(&mut |out| reply::conflated(out, &topic, 12_000, "100ms"));
    let places = Some(Places { price: 2, size: 3 });
    push(&mut |out| reply::subd(out, Some(1), &topic, &Terms { places, ..SUBD }, "k3f9", 1_041, None));
    let goes_on = [("book.BTCUSDT.BINANCE", Some(Subject { ch: 7, places }), Resumed::Snap)];
    push(&mut |out| reply::session(out, Some(1), (3, "r_41c"), "k3f9", goes_on.into_iter()));
    left_out(&mut lines);
    lines
}

/// What the view `clean` says.
fn left_out(lines: &mut Vec<String>) {
    let topic = Topic::parse("trade.BTCUSDT.BINANCE").unwrap();
    let mark = lines.iter().position(|line| line.starts_with("{\"op\":\"mark\"")).unwrap();
    let plain = [0, mark].map(|i| lines[i].clone());
    let mut push = |text: Vec<u8>| lines.push(String::from_utf8(text).unwrap());
    let mut out = Vec::new();
    reply::subd(&mut out, Some(1), &topic, &Terms { clean: true, ..SUBD }, "k3f9", 1_036, None);
    push(out);
    // Marks are never left out, but they may come behind what was.
    for text in plain {
        let mut text = text.into_bytes();
        tell_omitted(&mut text, 1_036, 5);
        push(text);
    }
    let mut out = Vec::new();
    reply::hist(&mut out, Some(7), &topic, "k3f9", Upto { asof: 5_000, i: 300, omitted: 12 }, b"");
    push(out);
}

fn publication(out: &mut Vec<u8>, cid: &str, data: &str) {
    let topic = Topic::parse("c4.game.42").unwrap();
    let body = View::Publication(Publication { principal: "k1", mid: "01JC", event: "dropDisc", cid, data });
    let (ts_event, ts_recv) = (Ts(1_790_000_000_000_000_123), Ts(1_790_000_000_000_456_789));
    let (flags, scales) = (RowFlags::TS_LOCAL, Scales::default());
    let mut bytes = Vec::new();
    encode(&Row { ts_event, ts_recv, conn: 0, frame: 0, flags, scales, body }, 0, 18, 1, &mut bytes);
    let cx = Context { topic: &topic, epoch: "k3f9", prev: 17, state: None, crc: None };
    message::record(out, &cx, &Record::parse(&bytes, true).unwrap()).unwrap();
}

#[test]
fn version_1_is_what_it_always_was() {
    let golden = include_str!("../golden/v1.jsonl");
    let ours = messages();
    for (i, line) in ours.iter().enumerate() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("not json: {e}: {line}"));
        assert_eq!(golden.lines().nth(i), Some(line.as_str()), "line {} of all:\n{}\n", i + 1, ours.join("\n"));
    }
    assert_eq!(golden.lines().count(), ours.len());
}

#[test]
fn checkpoints_are_not_sent() {
    let topic = Topic::parse("book.A.B").unwrap();
    let row = Row {
        ts_event: Ts(1),
        ts_recv: Ts(1),
        conn: 0,
        frame: 0,
        flags: RowFlags::CHECKPOINT,
        scales: Scales::default(),
        body: book(BookAction::Checkpoint),
    };
    let mut bytes = Vec::new();
    encode(&row, 0, 5, 1, &mut bytes);
    let cx = Context { topic: &topic, epoch: "e", prev: 4, state: None, crc: None };
    let mut out = Vec::new();
    assert_eq!(message::record(&mut out, &cx, &Record::parse(&bytes, true).unwrap()), Ok(Written::Nothing));
    assert!(out.is_empty());
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What a client reads is what the record holds, digit for digit.
        #[test]
        fn trades_read_back(
            id in any::<u64>(), price in any::<i64>(), size in any::<i64>(), ps in 0_u8..=18, ss in 0_u8..=18,
            seq in 2_u64..(1 << 53), span in 1_u32..1000, ts in any::<i64>(),
        ) {
            let topic = Topic::parse("trade.A.B").unwrap();
            let scales = Scales { price: ps, size: ss };
            let t = Trade { id: id.into(), first_id: id, last_id: id, price: Price(price), size: Size(size), aggressor: None, condition: TradeCondition::Regular };
            let row = Row { ts_event: Ts(ts), ts_recv: Ts(7), conn: 0, frame: 0, flags: RowFlags::default(), scales, body: View::Trade(t) };
            let mut bytes = Vec::new();
            encode(&row, 0, seq, span, &mut bytes);
            let record = Record::parse(&bytes, true).unwrap();
            let cx = Context { topic: &topic, epoch: "e", prev: record.prev(), state: None, crc: None };
            let mut out = Vec::new();
            message::record(&mut out, &cx, &record).unwrap();
            let m: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(m["seq"].as_u64(), Some(seq));
            prop_assert_eq!(m["prev"].as_u64(), (record.prev() + 1 != seq).then_some(record.prev()));
            let read = m["data"]["id"].as_u64().or_else(|| m["data"]["id"].as_str().and_then(|s| s.parse().ok()));
            prop_assert_eq!(read, Some(id));
            prop_assert_eq!(&m["data"]["price"], &scales.price(Price(price)).to_string());
            prop_assert_eq!(&m["data"]["size"], &scales.size(Size(size)).to_string());
            prop_assert_eq!(&m["data"]["ts_event"], &ts.to_string());
        }
    }
}

/// Kinds that came after the first lines were sealed.
#[test]
fn an_alert_reads_as_written() {
    let topic = Topic::parse("alert.usdm").unwrap();
    let alert = wholetape_model::Alert {
        severity: wholetape_model::Severity::Warning,
        code: "shape",
        text: "aggTrade: unknown key `zz` \"new\"",
    };
    let row = Row {
        ts_event: Ts(1_790_000_000_000_000_123),
        ts_recv: Ts(1_790_000_000_000_456_789),
        conn: 1,
        frame: 2,
        flags: RowFlags::default(),
        scales: Scales::default(),
        body: View::Alert(alert),
    };
    let mut bytes = Vec::new();
    encode(&row, 0, 7, 1, &mut bytes);
    let cx = Context { topic: &topic, epoch: "k3f9", prev: 6, state: None, crc: None };
    let mut out = Vec::new();
    message::record(&mut out, &cx, &Record::parse(&bytes, true).unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"op":"data","topic":"alert.usdm","seq":7,"ts":1790000000000456,"data":{"severity":"warning","#,
            r#""code":"shape","text":"aggTrade: unknown key `zz` \"new\"","#,
            r#""ts_event":"1790000000000000123","ts_recv":"1790000000000456789"}}"#
        )
    );
}
