//! The venues' rules, seen by a client that follows the documents.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{Client, NaiveBook, SPOT, USDM, config, get, get_with, start, sync};
use wholetape_sim::{VenueConfig, truth};

fn ids(events: &[Value], key: &str) -> Vec<u64> {
    events.iter().map(|event| event[key].as_u64().expect("an id")).collect()
}

fn consecutive(ids: &[u64]) -> bool {
    ids.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[tokio::test]
async fn spot_book_trades_and_quotes_agree_with_rest_and_truth() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::spot()])).await;
    let addr = sim.addr(SPOT).unwrap().clone();
    let streams =
        "btcusdt@depth@100ms/btcusdt@aggTrade/btcusdt@trade/btcusdt@bookTicker/btcusdt@ticker/btcusdt@kline_1m";
    let mut client = Client::open(&format!("{}/stream?streams={streams}", addr.ws)).await;
    client.listen(500).await;
    let snapshot = get(&addr.rest, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await.body;
    client.listen(1500).await;
    sim.freeze();
    client.listen(200).await;

    let book = sync(true, &snapshot, &client.of("btcusdt@depth@100ms")).unwrap();
    let later = get(&addr.rest, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await.body;
    assert_eq!(book, NaiveBook::snapshot(&later), "diffs lead to the later snapshot");

    let aggs = client.of("btcusdt@aggTrade");
    let trades = client.of("btcusdt@trade");
    assert!(aggs.len() > 10 && consecutive(&ids(&aggs, "a")) && consecutive(&ids(&trades, "t")));
    for pair in aggs.windows(2) {
        assert_eq!(pair[1]["f"].as_u64(), pair[0]["l"].as_u64().map(|l| l + 1));
    }
    for stream in ["btcusdt@ticker", "btcusdt@kline_1m", "btcusdt@bookTicker"] {
        assert!(!client.of(stream).is_empty(), "{stream}");
    }

    let from = aggs[0]["a"].as_u64().unwrap();
    let history = get(&addr.rest, &format!("/api/v3/aggTrades?symbol=BTCUSDT&fromId={from}&limit=1000")).await.body;
    let rest = history.as_array().unwrap();
    assert_eq!(rest.len(), aggs.len());
    for (a, b) in rest.iter().zip(&aggs) {
        for key in ["a", "p", "q", "f", "l", "T", "m"] {
            assert_eq!(a[key], b[key], "{key}");
        }
    }

    sim.finish().unwrap();
    let truth = truth::load(dir.path()).unwrap();
    let btc = &truth.venues[SPOT].instruments["BTCUSDT"];
    assert_eq!(NaiveBook::of(btc.final_book.as_ref().unwrap()), book);
    for agg in &aggs {
        let told = &btc.agg_trades[&agg["a"].as_u64().unwrap()];
        assert_eq!((agg["p"].as_str(), agg["q"].as_str()), (Some(&*told.price), Some(&*told.size)));
    }
    // A lossless client has seen all from its first id on.
    assert_eq!(btc.agg_trades.range(from..).count(), aggs.len());
    let quotes = client.of("btcusdt@bookTicker");
    let first = quotes[0]["u"].as_u64().unwrap();
    assert_eq!(btc.quotes.iter().filter(|quote| quote.update_id >= first).count(), quotes.len());
    // A quote's id names a moment of the book.
    let cross = btc.quotes.iter().filter_map(|quote| Some((quote, btc.book_at(quote.update_id)?))).take(5);
    let mut compared = 0;
    for (quote, book) in cross {
        assert_eq!((&book.bids[0].0, &book.asks[0].1), (&quote.bid, &quote.ask_size));
        compared += 1;
    }
    assert!(compared > 0, "no quote shares an id with a depth event");
    sim.stop().await;
}

#[tokio::test]
async fn usdm_routes_chains_and_extras() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::usdm()])).await;
    let addr = sim.addr(USDM).unwrap().clone();
    let mut public = Client::open(&format!(
        "{}/public/stream?streams=btcusdt@depth@100ms/btcusdt@depth/btcusdt@bookTicker/btcusdt@trade/btcusdt@aggTrade",
        addr.ws
    ))
    .await;
    let mut market = Client::open(&format!(
        "{}/market/stream?streams=btcusdt@aggTrade/btcusdt@markPrice@1s/!contractInfo/btcusdt@bookTicker",
        addr.ws
    ))
    .await;
    let mut unrouted = Client::open(&format!("{}/stream?streams=btcusdt@aggTrade/btcusdt@bookTicker", addr.ws)).await;
    public.listen(400).await;
    let snapshot = get(&addr.rest, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body;
    tokio::join!(public.listen(3200), market.listen(3200), unrouted.listen(3200));
    sim.freeze();
    tokio::join!(public.listen(200), market.listen(200));

    let events = public.of("btcusdt@depth@100ms");
    let book = sync(false, &snapshot, &events).unwrap();
    assert_eq!(book, NaiveBook::snapshot(&get(&addr.rest, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.body));
    for chain in [&events, &public.of("btcusdt@depth")] {
        assert!(chain.windows(2).all(|pair| pair[1]["pu"] == pair[0]["u"]));
    }
    assert!(events.windows(2).any(|pair| pair[1]["U"].as_u64() != pair[0]["u"].as_u64().map(|u| u + 1)), "ids jump");
    let aggs = market.of("btcusdt@aggTrade");
    assert!(
        aggs.len() > 10
            && consecutive(&ids(&aggs, "a"))
            && aggs.iter().all(|agg| agg["st"] == 1 && agg["nq"].is_string())
    );
    assert!(consecutive(&ids(&public.of("btcusdt@trade"), "t")));
    assert!(market.of("btcusdt@markPrice@1s").len() >= 2);
    assert!(market.of("!contractInfo").iter().any(|info| info["st"] == 2), "the other product line is mixed in");
    assert!(
        public.of("btcusdt@aggTrade").is_empty() && market.of("btcusdt@bookTicker").is_empty(),
        "the wrong route is silent"
    );
    assert!(unrouted.of("btcusdt@aggTrade").is_empty() && !unrouted.of("btcusdt@bookTicker").is_empty());
    assert!(tokio_tungstenite::connect_async(format!("{}/private/ws/k", addr.ws)).await.is_err());

    let interest = get(&addr.rest, "/fapi/v1/openInterest?symbol=BTCUSDT").await.body;
    let premium = get(&addr.rest, "/fapi/v1/premiumIndex?symbol=BTCUSDT").await.body;
    assert!(interest["openInterest"].is_string() && premium["lastFundingRate"].is_string());
    let wide = get(&addr.rest, "/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=0&endTime=3600000").await;
    assert_eq!((wide.status, wide.body["code"].as_i64()), (400, Some(-1127)));
    assert_eq!(get(&addr.rest, "/fapi/v1/historicalTrades?symbol=BTCUSDT").await.status, 401);
    let keyed = get_with(&addr.rest, "/fapi/v1/historicalTrades?symbol=BTCUSDT", "X-MBX-APIKEY: k\r\n").await;
    assert!(keyed.status == 200 && keyed.body.as_array().unwrap().len() > 5);
    sim.stop().await;
}

#[tokio::test]
async fn commands_acks_errors_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::spot();
    venue.limits.ping_every_ms = Some(60_000);
    venue.limits.streams = 3;
    let sim = start(config(dir.path(), vec![venue])).await;
    let addr = sim.addr(SPOT).unwrap().clone();
    let mut client = Client::open(&format!("{}/ws", addr.ws)).await;
    client.send(r#"{"method":"SUBSCRIBE","params":["btcusdt@agTrade","btcusdt@bookTicker"],"id":"x"}"#).await;
    assert_eq!(client.next().await.unwrap(), r#"{"result":null,"id":"x"}"#);
    // The misspelt one is acknowledged too; the other speaks, unwrapped.
    assert!(client.next().await.unwrap().starts_with(r#"{"u":"#));
    client.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#).await;
    let list = client.until(|text| text.contains("result")).await;
    assert_eq!(list, r#"{"result":["btcusdt@agTrade","btcusdt@bookTicker"],"id":3}"#);
    client.send(r#"{"method":"SUBSCRIBE","params":["a@trade","b@trade"],"id":4}"#).await;
    assert!(client.until(|text| text.contains("\"code\"")).await.contains("too many streams"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.send(r#"{"method":"SING","id":5}"#).await;
    assert!(client.until(|text| text.contains("\"code\":2")).await.contains("unknown variant"));
    client.send("{nonsense").await;
    client.until(|text| text.contains("\"code\":3")).await;
    client.send(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@bookTicker"],"id":6}"#).await;
    client.until(|text| text.contains("\"id\":6")).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..6 {
        let _ = futures_util::SinkExt::send(
            &mut client.ws,
            tokio_tungstenite::tungstenite::Message::text(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#),
        )
        .await;
    }
    assert!(client.listen(2000).await.is_none(), "six messages in a second end the connection");
    sim.stop().await;
}

#[tokio::test]
async fn rest_weighs_refuses_and_complains() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::spot();
    venue.limits.weight_per_min = Some(130);
    venue.limits.refusals_before_ban = 1;
    venue.limits.ban_s = 7;
    let sim = start(config(dir.path(), vec![venue])).await;
    let rest = sim.addr(SPOT).unwrap().rest.clone();
    // A minute's end between two requests would start a new account.
    let second = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() % 60;
    if second > 55 {
        tokio::time::sleep(Duration::from_secs(60 - second)).await;
    }
    let info = get(&rest, "/api/v3/exchangeInfo").await;
    assert_eq!(info.body["symbols"].as_array().unwrap().len(), 3);
    assert_eq!(info.headers["x-mbx-used-weight-1m"], "20");
    let bad = get(&rest, "/api/v3/depth?symbol=NOPE").await;
    assert_eq!((bad.status, bad.body["code"].as_i64()), (400, Some(-1121)));
    assert_eq!(get(&rest, "/api/v3/depth").await.body["code"].as_i64(), Some(-1102));
    let depth = get(&rest, "/api/v3/depth?symbol=BTCUSDT&limit=7").await;
    assert_eq!(depth.body["bids"].as_array().unwrap().len(), 7);
    assert!(get(&rest, "/api/v3/time").await.body["serverTime"].as_i64().unwrap() > 1_600_000_000_000);
    let over = get(&rest, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await;
    assert_eq!((over.status, over.body["code"].as_i64()), (429, Some(-1003)));
    assert!(over.headers.contains_key("retry-after"));
    let banned = get(&rest, "/api/v3/ping").await;
    assert_eq!((banned.status, banned.headers["retry-after"].as_str()), (418, "7"));
    sim.stop().await;
}

#[tokio::test]
async fn the_deaf_are_let_go_and_no_connection_lives_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::spot();
    (venue.limits.ping_every_ms, venue.limits.pong_within_ms, venue.limits.life_ms) = (Some(400), Some(400), 2_000);
    let sim = start(config(dir.path(), vec![venue])).await;
    let ws = sim.addr(SPOT).unwrap().ws.clone();
    let mut deaf = Client::open(&format!("{ws}/ws")).await;
    let mut keen = Client::open(&format!("{ws}/stream?streams=btcusdt@ticker")).await;
    // Pongs are sent only while somebody reads.
    keen.listen(1_200).await.expect("answers pings, so lives on");
    assert!(deaf.listen(100).await.is_none(), "no pong, no connection");
    keen.until(|text| text.contains(r#""stream":"!serverShutdown""#)).await;
    assert!(keen.listen(1_500).await.is_none());
    sim.stop().await;
}

#[tokio::test]
async fn thousands_of_events_a_second_reach_a_client_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::usdm();
    venue.instruments.iter_mut().for_each(|instrument| instrument.events_per_s = 3_000.0);
    let sim = start(config(dir.path(), vec![venue])).await;
    let ws = sim.addr(USDM).unwrap().ws.clone();
    let symbols = ["btcusdt", "ethusdt", "solusdt"];
    let streams = symbols.map(|symbol| format!("{symbol}@bookTicker/{symbol}@trade/{symbol}@depth@100ms")).join("/");
    let mut client = Client::open(&format!("{ws}/public/stream?streams={streams}")).await;
    client.listen(1_000).await;
    sim.freeze();
    client.listen(500).await;
    println!("{} frames in a second", client.frames.len());
    assert!(client.frames.len() > 4_000);
    for symbol in symbols {
        assert!(consecutive(&ids(&client.of(&format!("{symbol}@trade")), "t")));
    }
    sim.stop().await;
}
