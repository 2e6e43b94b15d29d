//! The fast scanner and the typed decoder are equal: on every recorded frame, on our own frames, and on frames broken
//! in every way that a few seeded mutations find. `fuzz/fuzz_targets/scan_vs_typed.rs` goes on where this stops.

mod support;

use proptest::prelude::*;
use wholetape_model::{Kind, Ts};
use wholetape_venue::binance::{Binance, limits::Variant};
use wholetape_venue::bybit::{Bybit, limits::Market};
use wholetape_venue::dydx::Dydx;
use wholetape_venue::kraken::Kraken;
use wholetape_venue::okx::Okx;
use wholetape_venue::{Action, Channel, Frame, Note, Out, Session, SessionPlan};

/// Two sessions over the same frames.
struct Pair {
    fast: Box<dyn Session>,
    typed: Box<dyn Session>,
    a: Out,
    b: Out,
}

impl Pair {
    fn new(variant: Variant) -> Self {
        let plan = SessionPlan::capture(variant.facts().name);
        let session = || Binance::new(variant, &plan).unwrap();
        Self::of(Box::new(session()), Box::new(session().typed_only()))
    }

    fn okx() -> Self {
        let session = || Okx::new(&SessionPlan::capture("okx")).unwrap();
        Self::of(Box::new(session()), Box::new(session().typed_only()))
    }

    /// Best prices are asked for as well, so that the books behind them are compared.
    fn dydx() -> Self {
        let channels = ["trade", "book", "quote", "liquidation", "mark", "open_interest", "instrument"];
        let channels = channels.map(|c| Channel::parse(c).unwrap()).to_vec();
        let plan = SessionPlan { channels, ..SessionPlan::capture("dydx") };
        let session = || Dydx::new(&plan).unwrap();
        Self::of(Box::new(session()), Box::new(session().typed_only()))
    }

    fn kraken() -> Self {
        let session = || Kraken::new(&SessionPlan::capture("kraken")).unwrap();
        Self::of(Box::new(session()), Box::new(session().typed_only()))
    }

    fn bybit(market: Market) -> Self {
        let session = || Bybit::new(market, &SessionPlan::capture(market.name())).unwrap();
        Self::of(Box::new(session()), Box::new(session().typed_only()))
    }

    fn of(fast: Box<dyn Session>, typed: Box<dyn Session>) -> Self {
        Self { fast, typed, a: Out::default(), b: Out::default() }
    }

    #[track_caller]
    fn check(&mut self, frame: &[u8]) {
        self.a.clear();
        self.b.clear();
        let fast = self.fast.on_frame(Ts(7), Frame::Text(frame), &mut self.a);
        let typed = self.typed.on_frame(Ts(7), Frame::Text(frame), &mut self.b);
        let text = || String::from_utf8_lossy(frame);
        assert_eq!(fast, typed, "{}", text());
        // The sentinel looks at every typed frame, and at one in a thousand of the scanner's; what it finds odd is kept raw.
        let raw = |out: &Out| out.events.iter().filter(|e| e.kind == Kind::Raw).count();
        let odd = raw(&self.a) != raw(&self.b);
        for out in [&mut self.a, &mut self.b] {
            out.actions.retain(|a| !matches!(a, Action::Note(Note::Shape(_))));
        }
        if odd {
            for out in [&mut self.a, &mut self.b] {
                out.events.retain(|e| e.kind != Kind::Raw);
            }
        } else {
            assert_eq!(self.a.arena.text, self.b.arena.text, "{}", text());
        }
        assert_eq!(self.a.events, self.b.events, "{}", text());
        assert_eq!(self.a.arena.levels, self.b.arena.levels, "{}", text());
        assert_eq!(self.a.checksums, self.b.checksums, "{}", text());
        assert_eq!(self.a.actions, self.b.actions, "{}", text());
    }

    #[track_caller]
    fn check_stats(&self) {
        let mut fast = self.fast.stats().clone();
        fast.fallbacks = 0;
        fast.odd_shapes = self.typed.stats().odd_shapes;
        assert_eq!(&fast, self.typed.stats());
        assert_eq!(self.fast.instruments(), self.typed.instruments());
    }
}

#[test]
fn every_recorded_frame_reads_the_same_both_ways() {
    for capture in support::binance() {
        let mut pair = Pair::new(Variant::by_name(&capture.venue).unwrap());
        // A fifth of the long ones keeps this quick; `scan_vs_typed` takes them all.
        let step = if capture.lines.len() > 10_000 { 5 } else { 1 };
        for line in capture.lines.iter().filter(|l| l.kind == "ws_in").step_by(step) {
            pair.check(line.data.as_bytes());
        }
        pair.check_stats();
        assert_eq!(pair.fast.stats().fallbacks, 0, "{}: a hot frame was declined", capture.name);
    }
}

#[test]
fn every_recorded_okx_frame_reads_the_same_both_ways() {
    for capture in support::okx() {
        let mut pair = Pair::okx();
        for line in capture.lines.iter().filter(|l| l.kind == "ws_in") {
            pair.check(line.data.as_bytes());
        }
        pair.check_stats();
        assert_eq!(pair.fast.stats().fallbacks, 0, "{}: a hot frame was declined", capture.name);
    }
}

fn okx_own() -> Vec<&'static str> {
    include_str!("../frames/okx/okx.jsonl").lines().collect()
}

#[test]
fn our_own_okx_frames_read_the_same_both_ways() {
    let mut pair = Pair::okx();
    for frame in okx_own() {
        pair.check(frame.as_bytes());
    }
    pair.check_stats();
    // Two trades in one message, unknown words, books5 and what is wrong; everything else is the scanner's.
    assert!(pair.fast.stats().fallbacks <= 3, "{}", pair.fast.stats().fallbacks);
}

/// Found by the test of broken frames: no parser takes `-0` for a whole number.
#[test]
fn a_negative_zero_of_okx_reads_the_same_both_ways() {
    let mut pair = Pair::okx();
    let frames = okx_own().into_iter().filter(|f| f.contains("\"prevSeqId\":15"));
    for frame in frames {
        pair.check(frame.replace("\"prevSeqId\":15", "\"prevSeqId\":-0").as_bytes());
        pair.check(frame.replace("\"checksum\":0", "\"checksum\":-0").as_bytes());
    }
    pair.check_stats();
    assert!(pair.typed.stats().errors > 0);
}

fn dydx_own() -> Vec<&'static str> {
    include_str!("../frames/dydx/dydx.jsonl").lines().collect()
}

#[test]
fn our_own_dydx_frames_read_the_same_both_ways() {
    let mut pair = Pair::dydx();
    for frame in dydx_own() {
        pair.check(frame.as_bytes());
    }
    pair.check_stats();
    // Batches, unknown words, a price of too many places, a ticker that was never seen; everything else is the scanner's.
    assert!(pair.fast.stats().fallbacks <= 8, "{}", pair.fast.stats().fallbacks);
    assert!(pair.fast.stats().by_channel["v4_orderbook"] >= 6);
}

#[test]
fn every_dydx_example_reads_the_same_both_ways() {
    let mut pair = Pair::dydx();
    for line in support::examples("dydx-v4", "schema_examples").into_iter().flatten() {
        pair.check(line.data.as_bytes());
    }
    pair.check_stats();
}

/// A greeting, and the frame as the message behind it.
fn dydx_second(frame: &str) -> (String, String) {
    let number = frame.split("\"message_id\":").nth(1).map(|rest| rest.split([',', '}']).next().unwrap_or(""));
    let greeting = dydx_own()[0].to_owned();
    let Some(number) = number.filter(|n| !n.is_empty()) else { return (greeting, frame.to_owned()) };
    (greeting, frame.replacen(&format!("\"message_id\":{number}"), "\"message_id\":1", 1))
}

#[test]
fn every_recorded_bybit_frame_reads_the_same_both_ways() {
    for capture in support::bybit() {
        for market in Market::ALL {
            let mut pair = Pair::bybit(market);
            for line in capture.lines.iter().filter(|l| l.kind == "ws_in" && l.url.ends_with(market.path())) {
                pair.check(line.data.as_bytes());
            }
            pair.check_stats();
            assert_eq!(pair.fast.stats().fallbacks, 0, "{}: a hot frame was declined", capture.name);
        }
    }
}

fn bybit_own() -> Vec<(Market, &'static str)> {
    let of = |market, file: &'static str| file.lines().map(move |line| (market, line));
    of(Market::Linear, include_str!("../frames/bybit/linear.jsonl"))
        .chain(of(Market::Spot, include_str!("../frames/bybit/spot.jsonl")))
        .chain(of(Market::Inverse, include_str!("../frames/bybit/inverse.jsonl")))
        .collect()
}

#[test]
fn our_own_bybit_frames_read_the_same_both_ways() {
    for market in Market::ALL {
        let mut pair = Pair::bybit(market);
        for (_, frame) in bybit_own().iter().filter(|(of, _)| *of == market) {
            pair.check(frame.as_bytes());
        }
        pair.check_stats();
        // Unknown words, an empty list, changes of best prices, and what is wrong; everything else is the scanner's.
        assert!(pair.fast.stats().fallbacks <= 3, "{market:?} {}", pair.fast.stats().fallbacks);
    }
}

/// What a session without discovery drops is counted once, whoever reads the frame.
#[test]
fn rows_of_others_are_counted_once() {
    let row = |id: char, symbol: &str, price: &str| {
        format!(
            r#"{{"T":1790000000004,"s":"{symbol}","S":"Sell","v":"7","p":"{price}","i":"0a1b2c3d-4e5f-5678-9abc-def01234567{id}","BT":false}}"#
        )
    };
    let frame = format!(
        r#"{{"topic":"publicTrade.ZZZBBB","type":"snapshot","ts":1790000000005,"data":[{},{}]}}"#,
        row('a', "ZZZBBB", "12.5"),
        row('b', "ZZZBBB", "1.25e1")
    );
    let plan = SessionPlan::new("bybit-linear");
    let session = || Bybit::new(Market::Linear, &plan).unwrap();
    let mut pair = Pair::of(Box::new(session()), Box::new(session().typed_only()));
    pair.check(frame.as_bytes());
    pair.check_stats();
}

#[test]
fn every_recorded_kraken_frame_reads_the_same_both_ways() {
    for capture in support::kraken() {
        let mut pair = Pair::kraken();
        for line in capture.lines.iter().filter(|l| l.kind == "ws_in") {
            pair.check(line.data.as_bytes());
        }
        pair.check_stats();
        assert_eq!(pair.fast.stats().fallbacks, 0, "{}: a hot frame was declined", capture.name);
    }
}

#[test]
fn every_kraken_example_reads_the_same_both_ways() {
    let mut pair = Pair::kraken();
    for line in support::examples("kraken", "schema_examples").into_iter().flatten() {
        pair.check(line.data.as_bytes());
    }
    pair.check_stats();
}

fn kraken_own() -> Vec<&'static str> {
    let both = include_str!("../frames/kraken/v2.jsonl").lines();
    both.chain(include_str!("../frames/kraken/v1.jsonl").lines()).collect()
}

#[test]
fn our_own_kraken_frames_read_the_same_both_ways() {
    let mut pair = Pair::kraken();
    for frame in kraken_own() {
        pair.check(frame.as_bytes());
    }
    pair.check_stats();
    // A checksum in quotes, an unknown word, a ticker without statistics, spaces; everything else is the scanner's.
    assert!(pair.fast.stats().fallbacks <= 4, "{}", pair.fast.stats().fallbacks);
    assert!(pair.fast.stats().by_channel["book"] >= 5);
}

fn own() -> Vec<(Variant, &'static str)> {
    let spot = include_str!("../frames/binance/spot.jsonl").lines().map(|l| (Variant::Spot, l));
    let usdm = include_str!("../frames/binance/usdm.jsonl").lines().map(|l| (Variant::UsdM, l));
    spot.chain(usdm).collect()
}

#[test]
fn our_own_frames_read_the_same_both_ways() {
    for variant in Variant::ALL {
        let mut pair = Pair::new(variant);
        for (_, frame) in own() {
            pair.check(frame.as_bytes());
        }
        pair.check_stats();
    }
}

/// Numbers and texts that decoders have stumbled over.
const ODD: [&str; 26] = [
    "0",
    "00",
    "-0",
    "-1",
    "+1",
    "1.",
    ".5",
    "1e3",
    "1E-7",
    "01.5",
    "0.0",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "1234567890123456",
    "12345678901234567",
    "1.123456789",
    "0.00000000",
    "null",
    "true",
    "\"\"",
    "\\u0030",
    "\\\"",
    " ",
    "[]",
    "{}",
];

#[derive(Debug, Clone)]
enum Mutation {
    Flip(usize, u8),
    Delete(usize, usize),
    Copy(usize, usize, usize),
    Odd(usize, usize),
    /// Replaces the n-th number (or text in quotes) by an odd one.
    Value(usize, usize),
    Truncate(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0_usize..600;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(i, b)| Mutation::Flip(i, b)),
        (at.clone(), 1_usize..12).prop_map(|(i, n)| Mutation::Delete(i, n)),
        (at.clone(), 1_usize..30, at.clone()).prop_map(|(i, n, to)| Mutation::Copy(i, n, to)),
        (at.clone(), 0..ODD.len()).prop_map(|(i, o)| Mutation::Odd(i, o)),
        (0_usize..40, 0..ODD.len()).prop_map(|(i, o)| Mutation::Value(i, o)),
        at.prop_map(Mutation::Truncate),
    ]
}

fn apply(frame: &mut Vec<u8>, m: &Mutation) {
    let len = frame.len();
    if len == 0 {
        return;
    }
    match *m {
        Mutation::Flip(i, b) => frame[i % len] = b,
        Mutation::Delete(i, n) => {
            let i = i % len;
            frame.drain(i..(i + n).min(len));
        }
        Mutation::Copy(i, n, to) => {
            let i = i % len;
            let part = frame[i..(i + n).min(len)].to_vec();
            let to = to % len;
            frame.splice(to..to, part);
        }
        Mutation::Odd(i, o) => {
            let i = i % len;
            frame.splice(i..i, ODD[o].bytes());
        }
        Mutation::Value(n, o) => {
            let digit = |b: &u8| b.is_ascii_digit() || *b == b'.';
            let mut starts = (1..len).filter(|i| digit(&frame[*i]) && !digit(&frame[*i - 1]));
            if let Some(start) = starts.nth(n % 20) {
                let end = (start..len).find(|i| !digit(&frame[*i])).unwrap_or(len);
                frame.splice(start..end, ODD[o].bytes());
            }
        }
        Mutation::Truncate(i) => frame.truncate(i % len),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, ..ProptestConfig::default() })]
    #[test]
    fn broken_frames_read_the_same_both_ways(
        which in any::<prop::sample::Index>(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let frames = own();
        let (variant, frame) = frames[which.index(frames.len())];
        let mut frame = frame.as_bytes().to_vec();
        for m in &mutations {
            apply(&mut frame, m);
        }
        let mut pair = Pair::new(variant);
        pair.check(&frame);
        pair.check_stats();
    }

    #[test]
    fn broken_okx_frames_read_the_same_both_ways(
        which in any::<prop::sample::Index>(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let frames = okx_own();
        let mut frame = frames[which.index(frames.len())].as_bytes().to_vec();
        for m in &mutations {
            apply(&mut frame, m);
        }
        let mut pair = Pair::okx();
        pair.check(&frame);
        pair.check_stats();
    }

    #[test]
    fn broken_kraken_frames_read_the_same_both_ways(
        which in any::<prop::sample::Index>(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let frames = kraken_own();
        let mut frame = frames[which.index(frames.len())].as_bytes().to_vec();
        for m in &mutations {
            apply(&mut frame, m);
        }
        let mut pair = Pair::kraken();
        pair.check(&frame);
        pair.check_stats();
    }

    #[test]
    fn broken_dydx_frames_read_the_same_both_ways(
        which in any::<prop::sample::Index>(),
        mutations in proptest::collection::vec(mutation(), 0..4),
    ) {
        let frames = dydx_own();
        let (greeting, frame) = dydx_second(frames[which.index(frames.len())]);
        let mut frame = frame.into_bytes();
        for m in &mutations {
            apply(&mut frame, m);
        }
        let mut pair = Pair::dydx();
        pair.check(greeting.as_bytes());
        pair.check(&frame);
        pair.check_stats();
    }

    #[test]
    fn broken_bybit_frames_read_the_same_both_ways(
        which in any::<prop::sample::Index>(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let frames = bybit_own();
        let (market, frame) = frames[which.index(frames.len())];
        let mut frame = frame.as_bytes().to_vec();
        for m in &mutations {
            apply(&mut frame, m);
        }
        let mut pair = Pair::bybit(market);
        pair.check(&frame);
        pair.check_stats();
    }

    /// Whatever a book is told, in whichever order of messages, it is one book.
    #[test]
    fn dydx_books_read_the_same_both_ways(
        updates in proptest::collection::vec((
            proptest::collection::vec(("[0-9]{1,6}(\\.[0-9]{1,3})?", "(0|0\\.0|[0-9]{1,6}(\\.[0-9]{1,3})?)"), 0..4),
            proptest::collection::vec(("[0-9]{1,12}(\\.[0-9]{1,9})?", "(0|0\\.0{1,9}|[0-9]{1,12}(\\.[0-9]{1,9})?)"), 0..4),
            1_u64..3,
        ), 0..8),
    ) {
        let connection = "c-1";
        let side = |levels: &[(String, String)]| {
            levels.iter().map(|(p, s)| format!(r#"["{p}","{s}"]"#)).collect::<Vec<_>>().join(",")
        };
        let mut pair = Pair::dydx();
        let snapshot = r#"{"bids":[{"price":"100","size":"1"}],"asks":[{"price":"101","size":"3"}]}"#;
        pair.check(format!(r#"{{"type":"subscribed","connection_id":"{connection}","message_id":0,"channel":"v4_orderbook","id":"AAA-USD","contents":{snapshot}}}"#).as_bytes());
        let mut n = 0;
        for (bids, asks, step) in updates {
            n += step;
            let contents = format!(r#"{{"bids":[{}],"asks":[{}]}}"#, side(&bids), side(&asks));
            pair.check(format!(
                r#"{{"type":"channel_data","connection_id":"{connection}","message_id":{n},"id":"AAA-USD","channel":"v4_orderbook","version":"1.0.0","contents":{contents}}}"#
            ).as_bytes());
        }
        pair.check_stats();
    }

    #[test]
    fn any_order_of_bybit_keys_reads_the_same(
        outer in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
        inner in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
        depth in prop_oneof![Just(1), Just(50), Just(200)],
        delta: bool,
    ) {
        let of = |keys: [&str; 4], order: &[usize]| order.iter().map(|i| keys[*i]).collect::<Vec<_>>().join(",");
        let data = of([r#""s":"AAABBB""#, r#""b":[["12.50","1.250"]]"#, r#""a":[["12.52","0"]]"#, r#""u":7"#], &inner);
        let data = format!(r#""data":{{{data}}}"#);
        let kind = if delta { r#""type":"delta""# } else { r#""type":"snapshot""# };
        let rest = of([kind, r#""ts":1790000000105"#, r#""cts":1790000000101"#, &data], &outer);
        let frame = format!(r#"{{"topic":"orderbook.{depth}.AAABBB",{rest}}}"#);
        let mut pair = Pair::bybit(Market::Linear);
        pair.check(frame.as_bytes());
        pair.check_stats();
    }

    /// Levels of every mix of scales come to the same common one.
    #[test]
    fn okx_levels_read_the_same_both_ways(
        asks in proptest::collection::vec(("[0-9]{1,12}(\\.[0-9]{1,9})?", "(0|0\\.0{1,9}|[0-9]{1,12}(\\.[0-9]{1,9})?)"), 0..12),
        bids in proptest::collection::vec(("[0-9]{1,6}(\\.[0-9]{1,3})?", "(0|[0-9]{1,6}(\\.[0-9]{1,3})?)"), 0..12),
        update: bool,
    ) {
        let side = |levels: &[(String, String)]| {
            levels.iter().map(|(p, s)| format!(r#"["{p}","{s}","0","1"]"#)).collect::<Vec<_>>().join(",")
        };
        let (action, prev) = if update { ("update", 9) } else { ("snapshot", -1) };
        let frame = format!(
            r#"{{"arg":{{"channel":"books","instId":"AAA-BBB"}},"action":"{action}","data":[{{"asks":[{}],"bids":[{}],"ts":"1790000000100","checksum":0,"prevSeqId":{prev},"seqId":10}}]}}"#,
            side(&asks), side(&bids)
        );
        let mut pair = Pair::okx();
        pair.check(frame.as_bytes());
        pair.check_stats();
    }

    #[test]
    fn any_order_of_keys_reads_the_same(order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(), wrapped: bool) {
        let keys = [
            r#""e":"aggTrade""#, r#""E":1790000000003"#, r#""s":"AAABBB""#, r#""a":500001"#, r#""p":"12.510""#,
            r#""q":"35""#, r#""f":1000002"#, r#""l":1000004"#, r#""T":1790000000002"#, r#""m":false"#,
        ];
        let body = order.iter().map(|i| keys[*i]).collect::<Vec<_>>().join(",");
        let frame = if wrapped { format!(r#"{{"stream":"aaabbb@aggTrade","data":{{{body}}}}}"#) } else { format!("{{{body}}}") };
        let mut pair = Pair::new(Variant::UsdM);
        pair.check(frame.as_bytes());
        prop_assert_eq!(pair.a.events.len(), 1);
        prop_assert!(!wrapped || pair.fast.stats().fallbacks == 0);
    }
}
