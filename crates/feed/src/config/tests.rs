use super::*;

fn plan(text: &str) -> Result<FeedPlan, Vec<Problem>> {
    let config: FeedConfig = toml::from_str(text).expect("the file reads");
    config.plan(&|_| ["BTCUSDT", "ETHUSDT", "ETHBTC"].map(String::from).to_vec())
}

fn keys(text: &str) -> Vec<String> {
    plan(text).expect_err("a problem").into_iter().map(|p| p.key).collect()
}

#[test]
fn a_short_file_is_enough() {
    let plan = plan("[[line]]\nvenue = \"binance-spot\"\ninstruments = [\"BTCUSDT\"]\n").unwrap();
    assert_eq!(plan.lines.len(), 1);
    let line = &plan.lines[0];
    assert_eq!((line.name.as_str(), line.instruments[0].as_str()), ("binance-spot", "BTCUSDT.BINANCE"));
    assert_eq!(line.ws[0].to_string(), "wss://stream.binance.com:9443");
    assert!(line.approvals.is_empty());
    assert_eq!(plan.doors[0].host.bears.weight.count, 6_000);
}

#[test]
fn every_venue_can_be_planned() {
    for (venue, symbol) in [
        ("binance-spot", "BTCUSDT"),
        ("binance-usdm", "BTCUSDT"),
        ("binance-coinm", "BTCUSD_PERP"),
        ("binance-us", "BTCUSDT"),
        ("bybit-spot", "BTCUSDT"),
        ("bybit-linear", "BTC-26MAR27"),
        ("bybit-inverse", "BTCUSD"),
        ("okx", "BTC-USDT-SWAP"),
        ("dydx", "BTC-USD"),
        ("kraken", "BTC/USD"),
    ] {
        let plan = plan(&format!("[[line]]\nvenue = \"{venue}\"\ninstruments = [\"{symbol}\"]\n")).unwrap();
        assert!(!plan.lines[0].connections.is_empty(), "{venue}");
    }
    let routes = plan("[[line]]\nvenue = \"binance-usdm\"\ninstruments = [\"BTCUSDT\"]\n").unwrap();
    assert_eq!(routes.lines[0].connections.len(), 2, "books on /public, the rest on /market");
}

/// Three markets, one house: what its hosts bear of one address is counted once.
#[test]
fn bybits_lines_share_one_door_and_keep_their_names_apart() {
    let line = |venue: &str| format!("[[line]]\nvenue = \"{venue}\"\ninstruments = [\"BTCUSDT\"]\n");
    let planned = plan(&format!("{}{}", line("bybit-spot"), line("bybit-linear"))).unwrap();
    assert_eq!(planned.doors.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["bybit"]);
    let ids: Vec<&str> = planned.lines.iter().map(|l| l.instruments[0].as_str()).collect();
    assert_eq!(ids, ["BTCUSDT-SPOT.BYBIT", "BTCUSDT-LINEAR.BYBIT"]);
    let paths: Vec<&str> = planned.lines.iter().map(|l| l.connections[0].path).collect();
    assert_eq!(paths, ["/v5/public/spot", "/v5/public/linear"]);
}

#[test]
fn an_okx_line_has_both_sockets_and_one_product_on_each() {
    let text = "[[line]]\nvenue = \"okx\"\ninstruments = [\"BTC-USDT\", \"BTC-USDT-SWAP\"]\n\
                channels = [\"trade\", \"book\", \"mark\"]\n";
    let planned = plan(text).unwrap();
    let line = &planned.lines[0];
    assert_eq!(
        line.instruments.iter().map(InstrumentId::as_str).collect::<Vec<_>>(),
        ["BTC-USDT.OKX", "BTC-USDT-SWAP.OKX"]
    );
    let streams: Vec<_> = line.connections.iter().map(|c| (c.path, c.streams.join(" "))).collect();
    assert_eq!(
        streams,
        [
            ("/ws/v5/public", "books:BTC-USDT".to_owned()),
            ("/ws/v5/business", "trades-all:BTC-USDT".to_owned()),
            (
                "/ws/v5/public",
                "books:BTC-USDT-SWAP mark-price:BTC-USDT-SWAP index-tickers:BTC-USDT funding-rate:BTC-USDT-SWAP"
                    .to_owned()
            ),
            ("/ws/v5/business", "trades-all:BTC-USDT-SWAP".to_owned()),
        ]
    );
    // Groups cover several ids each: single matches are the one source.
    assert_eq!(keys(&text.replace("\"mark\"", "\"trade-raw\"")), ["feed.line[0].channels"]);
}

#[test]
fn patterns_choose_among_what_the_venue_has() {
    let plan =
        plan("[[line]]\nvenue = \"binance-spot\"\ninstruments = [\"ETH*\", \"*USDT\"]\ninstruments_per_line = 2\n")
            .unwrap();
    let ids: Vec<&str> = plan.lines.iter().flat_map(|l| l.instruments.iter().map(InstrumentId::as_str)).collect();
    assert_eq!(ids, ["ETHUSDT.BINANCE", "ETHBTC.BINANCE", "BTCUSDT.BINANCE"]);
    assert_eq!(plan.lines.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["binance-spot-0", "binance-spot-1"]);
    assert!(matches_pattern("*USDT*", "1000USDTX") && matches_pattern("A*B*C", "AxBxBC"));
    assert!(!matches_pattern("A*B", "AC") && !matches_pattern("AB", "ABC") && !matches_pattern("AB*BC", "ABC"));
}

#[test]
fn all_problems_at_once_each_with_its_key() {
    let text = r#"
        [[line]]
        name = "a b"
        venue = "binance-spot"
        instruments = ["btcusdt", "XRP*"]
        channels = ["trades"]
        ws = ["ws://example.com"]
        rest = ["http://127.0.0.1:1"]
        ping = "1ms"
        [[line]]
        venue = "binance"
        [[line]]
        venue = "binance-usdm"
        instruments = []
    "#;
    assert_eq!(
        keys(text),
        [
            "feed.line[0].name",
            "feed.line[0].ws",
            "feed.line[0].rest",
            "feed.line[0].ping",
            "feed.line[0].channels",
            "feed.line[0].instruments",
            "feed.line[0].instruments",
            "feed.line[1].venue",
            "feed.line[2].instruments",
        ]
    );
    for problem in plan(text).unwrap_err() {
        assert!(!problem.value.is_empty() && problem.remedy.len() > 5, "{problem}");
    }
    assert_eq!(keys(""), ["feed.line"]);
}

#[test]
fn another_address_needs_who_when_and_why() {
    let text = |approved: &str| {
        format!(
            "[[line]]\nvenue = \"binance-spot\"\ninstruments = [\"BTCUSDT\"]\nws = [\"ws://127.0.0.1:9\"]\nrest = [\"http://127.0.0.1:9\"]\n{approved}"
        )
    };
    assert_eq!(keys(&text("")), ["feed.line[0].ws", "feed.line[0].rest"]);
    let plan = plan(&text("approved = \"ada, 2026-11-21, simulator\"")).unwrap();
    assert_eq!(plan.lines[0].approvals.len(), 2);
}

#[test]
fn one_instrument_has_one_line() {
    let text = "[[line]]\nname=\"a\"\nvenue=\"binance-spot\"\ninstruments=[\"BTCUSDT\"]\n[[line]]\nname=\"b\"\nvenue=\"binance-spot\"\ninstruments=[\"BTCUSDT\"]\n";
    assert_eq!(keys(text), ["feed.line[1].instruments"]);
}

#[test]
fn the_trade_source_is_what_is_subscribed() {
    let line =
        "[[line]]\nvenue=\"binance-spot\"\ninstruments=[\"BTCUSDT\"]\nchannels=[\"trade\"]\ntrade_source=\"trade\"\n";
    let plan = plan(line).unwrap();
    assert_eq!(plan.lines[0].trade_source, Kind::TradeRaw);
    assert_eq!(plan.lines[0].connections[0].streams, ["btcusdt@trade"]);
}

#[test]
fn defaults_read_back() {
    let config = FeedConfig {
        workers: 3,
        line: vec![LineConfig { venue: "binance-us".into(), ..LineConfig::default() }],
        ..FeedConfig::default()
    };
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<FeedConfig>(&text).unwrap(), config);
    assert!(toml::from_str::<FeedConfig>("worker = 1").is_err(), "unknown keys are refused");
}
