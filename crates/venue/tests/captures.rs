//! Real recordings through the session: every frame is understood, and the sums are those of the truth files.

mod support;

use std::collections::BTreeMap;

use support::Capture;
use wholetape_model::{Body, Decimal, Kind, Ts};
use wholetape_venue::{Frame, Out, Reply, Session, SessionPlan, open};

#[derive(Default)]
struct Sums {
    count: u64,
    size: Sum,
    notional: Sum,
    first: Option<u64>,
    last: u64,
    repeats: u64,
    gaps: u64,
}

/// An exact sum: values at the largest scale seen.
#[derive(Default, Clone, Copy)]
struct Sum(i128, u32);

impl Sum {
    fn add(&mut self, raw: i128, scale: u32) {
        let top = self.1.max(scale);
        self.0 = self.0 * 10_i128.pow(top - self.1) + raw * 10_i128.pow(top - scale);
        self.1 = top;
    }

    fn text(self) -> String {
        let s = format!("{:0width$}", self.0, width = self.1 as usize + 1);
        let (a, b) = s.split_at(s.len() - self.1 as usize);
        if b.is_empty() { a.into() } else { format!("{a}.{b}") }
    }
}

#[derive(Default)]
struct Seen {
    trades: BTreeMap<String, Sums>,
    agg_trades: BTreeMap<String, Sums>,
    tickers: BTreeMap<String, u64>,
    statistics: BTreeMap<String, u64>,
    candles: BTreeMap<String, u64>,
    funding: BTreeMap<String, u64>,
    /// Updates, and the last one.
    open_interest: BTreeMap<String, (u64, String)>,
    marks: u64,
    indexes: u64,
}

fn replay(capture: &Capture) -> (Box<dyn Session>, Seen) {
    replay_of(capture, &capture.venue, |_| true)
}

/// Of a recording the lines that belong to `venue`.
fn replay_of(capture: &Capture, venue: &str, belongs: impl Fn(&support::Line) -> bool) -> (Box<dyn Session>, Seen) {
    let mut session = open(&SessionPlan::capture(venue)).unwrap();
    let mut out = Out::default();
    let mut seen = Seen::default();
    for line in capture.lines.iter().filter(|line| belongs(line)) {
        out.clear();
        let now = Ts(line.recv_ns);
        let done = match line.kind.as_str() {
            "ws_in" => session.on_frame(now, Frame::Text(line.data.as_bytes()), &mut out),
            "http_resp" => {
                let id = session.fetch_of(&line.url).unwrap_or_else(|| panic!("{}", line.url));
                session.on_fetched(now, id, Reply::Answer { status: 200, body: line.data.as_bytes() }, &mut out)
            }
            _ => Ok(()),
        };
        done.unwrap_or_else(|e| panic!("{}: {e}: {}", capture.name, &line.data[..line.data.len().min(300)]));
        if line.kind == "ws_in" {
            support::is_as_peeked(session.as_ref(), &line.data, &out);
        }
        for event in &out.events {
            let symbol = session.symbol(event.instrument).unwrap_or_default().to_owned();
            match (event.kind, event.body) {
                (Kind::Trade | Kind::TradeRaw, Body::Trade(t)) => {
                    let all = if event.kind == Kind::Trade { &mut seen.agg_trades } else { &mut seen.trades };
                    let s = all.entry(symbol).or_default();
                    match s.first {
                        None => s.first = t.id.number(),
                        Some(_) if t.id == s.last => s.repeats += 1,
                        Some(_) if t.id != s.last + 1 => s.gaps += 1,
                        Some(_) => {}
                    }
                    s.last = t.id.number().unwrap_or_default();
                    s.count += 1;
                    let (p, q) = (i128::from(t.price.0), i128::from(t.size.0));
                    s.size.add(q, u32::from(event.scales.size));
                    s.notional.add(p * q, u32::from(event.scales.price + event.scales.size));
                }
                (Kind::Ticker, Body::Ticker(_)) => *seen.statistics.entry(symbol).or_default() += 1,
                (Kind::Quote, Body::Quote(_)) => *seen.tickers.entry(symbol).or_default() += 1,
                (Kind::Bar(p), Body::Bar(bar)) => {
                    *seen.candles.entry(format!("{symbol}:{p}")).or_default() += 1;
                    if bar.closed {
                        *seen.candles.entry(format!("{symbol}:{p}:closed")).or_default() += 1;
                    }
                }
                (Kind::Funding, Body::Funding(_)) => *seen.funding.entry(symbol).or_default() += 1,
                (Kind::OpenInterest, Body::OpenInterest(size)) => {
                    let of = seen.open_interest.entry(symbol).or_default();
                    *of = (of.0 + 1, size.to_string());
                }
                (Kind::Mark, Body::MarkPrice(_)) => seen.marks += 1,
                (Kind::Index, Body::IndexPrice(_)) => seen.indexes += 1,
                _ => {}
            }
        }
    }
    (session, seen)
}

fn check_sums(capture: &Capture, key: &str, got: &BTreeMap<String, Sums>) {
    let empty = serde_json::Map::new();
    let truth = capture.truth[key].as_object().unwrap_or(&empty);
    assert_eq!(got.len(), truth.len(), "{} {key}", capture.name);
    for (symbol, want) in truth {
        let s = &got[symbol];
        let have = [
            ("count", serde_json::json!(s.count)),
            ("sum_size", serde_json::json!(s.size.text())),
            ("sum_price_x_size", serde_json::json!(s.notional.text())),
            ("first_id", serde_json::json!(s.first.unwrap())),
            ("last_id", serde_json::json!(s.last)),
            ("id_gaps", serde_json::json!(s.gaps)),
            ("id_repeats", serde_json::json!(s.repeats)),
        ];
        for (field, value) in have {
            assert_eq!(value, want[field], "{} {key} {symbol} {field}", capture.name);
        }
    }
}

fn check_counts(capture: &Capture, key: &str, got: &BTreeMap<String, u64>) {
    let empty = serde_json::json!({});
    assert_eq!(&serde_json::json!(got), capture.truth.get(key).unwrap_or(&empty), "{} {key}", capture.name);
}

#[test]
fn every_recording_decodes_to_its_truth() {
    for capture in support::binance() {
        let (session, seen) = replay(&capture);
        let stats = session.stats();
        assert_eq!((stats.unknown_frames, stats.errors, stats.filtered), (0, 0, 0), "{}", capture.name);
        assert_eq!(serde_json::json!(stats.by_channel), capture.truth["messages_by_channel"], "{}", capture.name);
        assert_eq!(stats.odd_shapes.iter().sum::<u64>(), 0, "{}: a shape is not as documented", capture.name);
        check_sums(&capture, "trades", &seen.trades);
        check_sums(&capture, "agg_trades", &seen.agg_trades);
        check_counts(&capture, "ticker_updates", &seen.tickers);
        check_counts(&capture, "candle_updates", &seen.candles);
        for (symbol, want) in capture.truth["funding"].as_object().unwrap() {
            assert_eq!(serde_json::json!(seen.funding[symbol]), want["updates"], "{}", capture.name);
            assert_eq!((seen.marks, seen.indexes), (seen.funding[symbol], seen.funding[symbol]));
        }
    }
}

#[test]
fn sums_are_exact() {
    let mut s = Sum::default();
    s.add(15, 1);
    s.add(5, 3);
    assert_eq!(s.text(), Decimal::new(1505, 3).to_string());
}

/// One recording holds two markets, whose names are the same: the truth calls what is spot's `spot:…`, and channels by their topic.
#[test]
fn every_bybit_recording_decodes_to_its_truth() {
    let mut recordings = 0;
    for capture in support::bybit() {
        recordings += 1;
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        let (mut trades, mut tickers, mut candles) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (market, prefix) in [("bybit-spot", "spot:"), ("bybit-linear", "")] {
            let belongs = |line: &support::Line| match line.kind.as_str() {
                "http_resp" => line.url.contains(if prefix.is_empty() { "category=linear" } else { "category=spot" }),
                _ => wholetape_venue::of_address(&line.url).is_some_and(|v| v.name() == market),
            };
            let (session, seen) = replay_of(&capture, market, belongs);
            let stats = session.stats();
            assert_eq!((stats.unknown_frames, stats.errors, stats.filtered), (0, 0, 0), "{}", capture.name);
            assert_eq!(stats.fallbacks, 0, "{}: a hot frame was declined", capture.name);
            assert_eq!(stats.odd_shapes.iter().sum::<u64>(), 0, "{}: a shape is not as documented", capture.name);
            for (channel, n) in &stats.by_channel {
                *counted.entry((if *channel == "instruments_page" { "http" } else { channel }).into()).or_default() +=
                    n;
            }
            for (symbol, sums) in seen.agg_trades {
                let facts = (sums.count, sums.size.text(), sums.notional.text());
                trades.insert(format!("{prefix}{symbol}"), facts);
            }
            for (symbol, n) in seen.statistics {
                tickers.insert(format!("{prefix}{symbol}"), n);
            }
            for (name, n) in seen.candles {
                let (symbol, rest) = name.split_once(":1m").unwrap();
                candles.insert(format!("{prefix}kline.1.{symbol}{rest}"), n);
            }
            for (symbol, (updates, last)) in seen.open_interest {
                let want = &capture.truth["open_interest"][&symbol];
                assert_eq!(serde_json::json!(updates), want["updates"], "{} {symbol}", capture.name);
                // The truth counts the older field, in which both sides are.
                let merged = &capture.truth["other"]["ticker_merged_last_state"][&symbol];
                assert_eq!(merged["openInterest"], want["last"]);
                assert_eq!(merged["singleOpenInterest"], serde_json::json!(last), "{} {symbol}", capture.name);
            }
            for (symbol, n) in seen.funding {
                assert_eq!(serde_json::json!(n), capture.truth["funding"][&symbol]["updates"]);
            }
        }
        assert_eq!(serde_json::json!(counted), capture.truth["messages_by_channel"], "{}", capture.name);
        for (symbol, want) in capture.truth["trades"].as_object().unwrap() {
            let want = (want["count"].as_u64().unwrap(), want["sum_size"].as_str(), want["sum_price_x_size"].as_str());
            let got = trades.remove(symbol).unwrap();
            assert_eq!((got.0, Some(got.1.as_str()), Some(got.2.as_str())), want, "{} {symbol}", capture.name);
        }
        assert!(trades.is_empty());
        let mut updates = capture.truth.get("ticker_updates").cloned().unwrap_or_default();
        if let Some(updates) = updates.as_object_mut() {
            updates.retain(|name, _| !name.ends_with(":delta") && !name.ends_with(":snapshot"));
        }
        let or_nothing = |v: serde_json::Value| if v.is_null() { serde_json::json!({}) } else { v };
        assert_eq!(serde_json::json!(tickers), or_nothing(updates), "{}", capture.name);
        check_counts(&capture, "candle_updates", &candles);
    }
    assert!(recordings == 0 || recordings >= 2);
}

/// Not one in a thousand, as in a live session, but each frame of every clean recording is held against the table.
#[test]
fn no_frame_of_a_clean_recording_has_an_odd_shape() {
    for capture in support::binance().chain(support::okx()).chain(support::bybit()).chain(support::kraken()) {
        // The shapes of Bybit's markets are one table.
        let venue = if capture.venue == "bybit" { "bybit-linear" } else { &capture.venue };
        let mut session = open(&SessionPlan::capture(venue)).unwrap();
        for line in capture.lines.iter().filter(|line| line.kind == "ws_in") {
            let odd = session.odd_shape(Frame::Text(line.data.as_bytes()));
            assert_eq!(odd, None, "{}: {}", capture.name, &line.data[..line.data.len().min(300)]);
        }
        assert_eq!(session.stats().odd_shapes.iter().sum::<u64>(), 0);
    }
}

/// The truth counts every answer of REST under one name, and trades by the one stream of these recordings; ids are texts there.
#[test]
fn every_okx_recording_decodes_to_its_truth() {
    for capture in support::okx() {
        let (session, seen) = replay(&capture);
        let stats = session.stats();
        assert_eq!((stats.unknown_frames, stats.errors, stats.filtered), (0, 0, 0), "{}", capture.name);
        assert_eq!(stats.fallbacks, 0, "{}: a hot frame was declined", capture.name);
        assert_eq!(stats.odd_shapes.iter().sum::<u64>(), 0, "{}: a shape is not as documented", capture.name);
        let mut by_channel = stats.by_channel.clone();
        if let Some(n) = by_channel.remove("instruments_page") {
            by_channel.insert("http", n);
        }
        assert_eq!(serde_json::json!(by_channel), capture.truth["messages_by_channel"], "{}", capture.name);
        check_counts(&capture, "ticker_updates", &seen.statistics);
        let received = capture.truth.get("trades_received_with_repeats").and_then(|t| t.as_object());
        assert_eq!(seen.trades.len(), capture.truth["trades"].as_object().unwrap().len());
        for (symbol, want) in capture.truth["trades"].as_object().unwrap() {
            let s = &seen.trades[symbol];
            let repeated = received.map_or(&want["count"], |of| &of[symbol]);
            assert_eq!(&serde_json::json!(s.count), repeated, "{} {symbol}", capture.name);
            if received.is_none() {
                assert_eq!(s.size.text(), want["sum_size"], "{} {symbol}", capture.name);
                assert_eq!(s.notional.text(), want["sum_price_x_size"], "{} {symbol}", capture.name);
                assert_eq!(s.first.unwrap().to_string(), want["first_id"], "{} {symbol}", capture.name);
                assert_eq!(s.last.to_string(), want["last_id"], "{} {symbol}", capture.name);
            }
        }
    }
}

/// The truth counts every answer of REST under one name. Trades had no ids then.
#[test]
fn every_kraken_recording_decodes_to_its_truth() {
    for capture in support::kraken() {
        let (session, seen) = replay(&capture);
        let stats = session.stats();
        assert_eq!((stats.unknown_frames, stats.errors, stats.filtered), (0, 0, 0), "{}", capture.name);
        let mut by_channel = stats.by_channel.clone();
        if let Some(n) = by_channel.remove("instruments_page") {
            by_channel.insert("http", n);
        }
        assert_eq!(serde_json::json!(by_channel), capture.truth["messages_by_channel"], "{}", capture.name);
        check_counts(&capture, "ticker_updates", &seen.statistics);
        assert_eq!(seen.agg_trades.len(), capture.truth["trades"].as_object().unwrap().len());
        for (symbol, want) in capture.truth["trades"].as_object().unwrap() {
            let s = &seen.agg_trades[symbol];
            assert_eq!(serde_json::json!(s.count), want["count"], "{} {symbol}", capture.name);
            assert_eq!(s.size.text(), want["sum_size"], "{} {symbol}", capture.name);
            assert_eq!(s.notional.text(), want["sum_price_x_size"], "{} {symbol}", capture.name);
            assert_eq!(s.first, None, "{} {symbol}", capture.name);
        }
    }
}
