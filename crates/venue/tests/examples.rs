//! Example messages of the venues' documents and clients, read where they lie: what we make of each, one line per event. Snapshots hold our
//! events alone; of what is not ours to read they name the channel under which it was counted.

mod support;

use std::fmt::Write as _;

use support::Line;
use wholetape_model::{Levels, Scales, Ts, View};
use wholetape_venue::{Action, Frame, Note, Out, Reply, Session, SessionPlan, open};

fn levels(levels: Levels<'_>, scales: Scales) -> String {
    let text = |l: wholetape_model::Level| format!("{}x{}", scales.price(l.price), scales.size(l.size));
    levels.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// The events of one message. Texts of the venue that we do not read stay out.
fn describe(session: &dyn Session, out: &Out, text: &mut String) {
    for event in &out.events {
        let symbol = session.symbol(event.instrument).unwrap_or("-");
        let body = match out.arena.view(&event.body) {
            View::Trade(t) => format!(
                "id {} ({}..{}) {} x {} {:?} {:?}",
                t.id,
                t.first_id,
                t.last_id,
                event.scales.price(t.price),
                event.scales.size(t.size),
                t.aggressor,
                t.condition
            ),
            View::Quote(q) => format!(
                "{} x {} / {} x {} update {}",
                event.scales.price(q.bid),
                event.scales.size(q.bid_size),
                event.scales.price(q.ask),
                event.scales.size(q.ask_size),
                q.update_id
            ),
            View::Book(b) => {
                let (bids, asks) = (levels(b.bids, event.scales), levels(b.asks, event.scales));
                format!("{:?} {}..{} prev {} bids [{bids}] asks [{asks}]", b.action, b.first_id, b.last_id, b.prev_id)
            }
            View::Raw(raw) => format!("kept as `{}`", raw.channel),
            other => format!("{other:?}"),
        };
        writeln!(text, "  {} {symbol} at {}: {body}", event.kind, event.ts_event).unwrap();
    }
    for action in &out.actions {
        match action {
            Action::Note(Note::Shape(shape)) => writeln!(text, "  odd {}: {}", shape.channel, shape.what).unwrap(),
            // The time of a block says how late a connection is, and no event.
            Action::Note(Note::Unknown { .. } | Note::Time(_)) => {}
            other => writeln!(text, "  {other:?}").unwrap(),
        }
    }
}

/// Instruments are known beforehand, as in a live session: definitions of others are passed over.
fn session(venue: &str, symbols: &[&str]) -> Box<dyn Session> {
    let instruments = symbols.iter().enumerate().map(|(i, s)| (i as u32, (*s).to_owned())).collect();
    open(&SessionPlan { instruments, discover: true, ..SessionPlan::new(venue) }).unwrap()
}

fn streams(session: &mut dyn Session, lines: &[Line]) -> String {
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let mut out = Out::default();
        let before = session.stats().clone();
        let done = session.on_frame(Ts(1), Frame::Text(line.data.as_bytes()), &mut out);
        let counted = session.stats().by_channel.iter().find(|(name, n)| before.by_channel.get(*name) != Some(n));
        let filtered = session.stats().filtered - before.filtered;
        let name = counted.map_or("-", |(name, _)| name);
        writeln!(
            text,
            "{} {name}{}",
            n + 1,
            if filtered > 0 { format!(", filtered {filtered}") } else { String::new() }
        )
        .unwrap();
        if let Err(e) = done {
            writeln!(text, "  error {e}").unwrap();
        }
        support::is_as_peeked(session, &line.data, &out);
        describe(session, &out, &mut text);
    }
    text
}

/// `paths`: a fixture's name and the address that it would have come from, where its source does not say.
fn answers(session: &mut dyn Session, lines: &[Line], paths: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let by_name = paths.iter().find(|(name, _)| line.conn.contains(name)).map(|(_, path)| *path);
        let url = by_name.unwrap_or(&line.url);
        let Some(id) = session.fetch_of(url) else {
            writeln!(text, "{} not asked for", n + 1).unwrap();
            continue;
        };
        let mut out = Out::default();
        let reply = Reply::Answer { status: 200, body: line.data.as_bytes() };
        let done = session.on_fetched(Ts(1), id, reply, &mut out);
        writeln!(text, "{} {:?} {}", n + 1, id.kind, id.arg).unwrap();
        if let Err(e) = done {
            writeln!(text, "  error {e}").unwrap();
        }
        describe(session, &out, &mut text);
    }
    text
}

#[test]
fn okx_streams() {
    let Some(lines) = support::examples("okx", "schema_examples") else { return };
    let mut session = session("okx", &["BTC-USDT", "BTC-USDT-SWAP"]);
    insta::assert_snapshot!(streams(session.as_mut(), &lines));
}

#[test]
fn okx_answers() {
    let Some(lines) = support::examples("okx", "rest_examples") else { return };
    let symbols = ["BTC-USDT", "BTC-USD", "BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USD-241220", "BTC-USD-241217-92000-C"];
    let mut session = session("okx", &symbols);
    let api = |path: &str| format!("https://www.okx.com/api/v5/{path}");
    let paths = [
        ("http_get_instruments_futures", api("public/instruments?instType=FUTURES")),
        ("http_get_instruments_option", api("public/instruments?instType=OPTION")),
        ("http_get_instruments_spot", api("public/instruments?instType=SPOT")),
        ("http_get_instruments_swap", api("public/instruments?instType=SWAP")),
        ("http_get_instruments_margin", api("public/instruments?instType=MARGIN")),
        ("http_get_trades", api("market/trades?instId=BTC-USDT")),
        ("GetSymbols", api("public/instruments?instType=SPOT")),
        ("GetRecentTrades", api("market/trades?instId=BTC-USDT")),
        ("GetTradeHistory", api("market/history-trades?instId=BTC-USDT&type=1&after=242720721")),
        ("GetOpenInterests", api("public/open-interest?instType=SWAP&instId=BTC-USDT-SWAP")),
    ];
    let paths: Vec<(&str, &str)> = paths.iter().map(|(name, path)| (*name, path.as_str())).collect();
    insta::assert_snapshot!(answers(session.as_mut(), &lines, &paths));
}

/// Of a message with many events the first and the last ones: a thousand candles say no more.
fn shortened(text: &str) -> String {
    const KEPT: usize = 3;
    let mut short = String::new();
    let mut rows: Vec<&str> = Vec::new();
    let flush = |rows: &mut Vec<&str>, short: &mut String| {
        let left_out = rows.len().saturating_sub(2 * KEPT + 1);
        for (i, row) in rows.iter().enumerate() {
            match i {
                _ if left_out == 0 || i < KEPT || i >= KEPT + left_out => writeln!(short, "{row}").unwrap(),
                KEPT => writeln!(short, "  … {left_out} more").unwrap(),
                _ => {}
            }
        }
        rows.clear();
    };
    for line in text.lines() {
        if !line.starts_with("  ") {
            flush(&mut rows, &mut short);
            writeln!(short, "{line}").unwrap();
        } else {
            rows.push(line);
        }
    }
    flush(&mut rows, &mut short);
    short
}

#[test]
fn dydx_streams() {
    let Some(lines) = support::examples("dydx-v4", "schema_examples") else { return };
    let mut session = session("dydx", &["BTC-USD", "ETH-USD"]);
    insta::assert_snapshot!(shortened(&streams(session.as_mut(), &lines)));
}

/// Of private channels nothing is ours but one message of public trades.
#[test]
fn dydx_private_streams() {
    let Some(lines) = support::examples("dydx-v4", "private_examples") else { return };
    let mut session = session("dydx", &["ETH-USD"]);
    insta::assert_snapshot!(streams(session.as_mut(), &lines));
}

/// The sources put option tickers and streams of the time before v5 on the same address.
#[test]
fn bybit_streams() {
    let Some(lines) = support::examples("bybit", "schema_examples") else { return };
    let mut session = session("bybit-linear", &["BTCUSDT"]);
    insta::assert_snapshot!(streams(session.as_mut(), &lines));
}

#[test]
fn dydx_answers() {
    let Some(lines) = support::examples("dydx-v4", "rest_examples") else { return };
    let mut session = session("dydx", &["BTC-USD", "ETH-USD", "AAVE-USD", "1INCH-USD"]);
    let paths = [("list_perpetual_markets", "https://indexer.dydx.trade/v4/perpetualMarkets")];
    insta::assert_snapshot!(answers(session.as_mut(), &lines, &paths));
}

#[test]
fn bybit_answers() {
    let Some(lines) = support::examples("bybit", "rest_examples") else { return };
    let mut text = String::new();
    for (market, symbols) in [
        ("bybit-spot", &["BTCUSDT", "ETHUSDT", "AAPLUSDT"][..]),
        ("bybit-linear", &["BTCUSDT", "TSLAUSDT", "PRE02ZROUSDT"]),
        ("bybit-inverse", &["BTCUSD", "BRENTUSD"]),
    ] {
        let mut session = session(market, symbols);
        let category = market.trim_start_matches("bybit-");
        let api = |path: &str| format!("https://api.bybit.com/v5/market/{path}");
        let of = |kind: &str, rest: &str| match kind == category {
            true => api(&format!("{rest}category={category}&symbol={}", symbols[0])),
            false => api("another-market"),
        };
        let paths = [
            ("http_get_instruments_spot", of("spot", "instruments-info?")),
            ("http_get_instruments_linear", of("linear", "instruments-info?")),
            ("http_get_instruments_inverse", of("inverse", "instruments-info?")),
            ("http_get_trades_recent", of("linear", "recent-trade?")),
            ("GetSpotSymbols", of("spot", "instruments-info?")),
            ("GetLinearInverseSymbolsPreListing", of("linear", "instruments-info?status=PreLaunch&")),
            ("GetLinearInverseSymbols", of("linear", "instruments-info?")),
            ("GetTradeHistory", of("spot", "recent-trade?")),
            ("GetOpenInterest", of("inverse", "open-interest?intervalTime=5min&")),
            ("GetServerTime", api("time")),
        ];
        let paths: Vec<(&str, &str)> = paths.iter().map(|(name, path)| (*name, path.as_str())).collect();
        writeln!(text, "{market}\n{}", answers(session.as_mut(), &lines, &paths)).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn kraken_streams() {
    let Some(lines) = support::examples("kraken", "schema_examples") else { return };
    let mut session = session("kraken", &["BTC/USD"]);
    insta::assert_snapshot!(streams(session.as_mut(), &lines));
}

/// Orders and their answers are nobody's market data: each is counted as unknown.
#[test]
fn kraken_private_streams() {
    let Some(lines) = support::examples("kraken", "private_examples") else { return };
    let mut session = session("kraken", &["BTC/USD"]);
    let text = streams(session.as_mut(), &lines);
    assert_eq!(session.stats().unknown_frames, lines.len() as u64, "{text}");
}

#[test]
fn kraken_answers() {
    let Some(lines) = support::examples("kraken", "rest_examples") else { return };
    let mut session = session("kraken", &["BTC/USDT", "AAPLx/USD"]);
    let api = |path: &str| format!("https://api.kraken.com/0/public/{path}");
    let paths = [
        ("http_asset_pairs", api("AssetPairs")),
        ("http_server_time", api("Time")),
        ("http_trades", api("Trades?pair=XBTUSDT&since=1762795400000000000")),
        ("http_ohlc", api("OHLC?pair=XBTUSDT")),
        ("http_order_book", api("Depth?pair=XBTUSDT")),
    ];
    let paths: Vec<(&str, &str)> = paths.iter().map(|(name, path)| (*name, path.as_str())).collect();
    insta::assert_snapshot!(shortened(&answers(session.as_mut(), &lines, &paths)));
}
