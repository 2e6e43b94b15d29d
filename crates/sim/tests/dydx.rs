//! The simulated dYdX as a plain client meets it.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::{Client, config, get, start};
use wholetape_sim::{FaultKind, Injection, VenueConfig, truth};

const DYDX: &str = "dydx";
const BTC: &str = "BTC-USD";
const ETH: &str = "ETH-USD";

fn subscribe(channel: &str, id: &str, batched: bool) -> String {
    let id = if id.is_empty() { String::new() } else { format!(r#","id":"{id}""#) };
    format!(r#"{{"type":"subscribe","channel":"{channel}"{id},"batched":{batched}}}"#)
}

fn json(client: &Client) -> Vec<Value> {
    client.frames.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Messages of one channel and id.
fn of(client: &Client, channel: &str, id: &str) -> Vec<Value> {
    json(client).into_iter().filter(|f| f["channel"] == channel && f["id"] == id).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

/// Prices in their order: no negative ones are printed.
fn key(price: &str) -> u64 {
    number(price).to_bits()
}

/// A level as it was told: price, size, and the message.
type Side = BTreeMap<u64, (String, String, u64)>;

#[derive(Default)]
struct Book {
    sides: [Side; 2],
    /// Best bid and ask of the view, each time they changed.
    bests: Vec<[String; 4]>,
    crossed: u32,
}

impl Book {
    fn take(&mut self, frame: &Value) {
        let n = frame["message_id"].as_u64().unwrap();
        let contents = &frame["contents"];
        if frame["type"] == "subscribed" {
            self.sides = Default::default();
        }
        for (side, key_of) in self.sides.iter_mut().zip(["bids", "asks"]) {
            for level in contents[key_of].as_array().into_iter().flatten() {
                let (price, size) = match frame["type"] == "subscribed" {
                    true => (text(&level["price"]), text(&level["size"])),
                    false => (text(&level[0]), text(&level[1])),
                };
                if number(size) == 0.0 {
                    assert!(["0", "0.0"].contains(&size));
                    side.remove(&key(price));
                } else {
                    side.insert(key(price), (price.into(), size.into(), n));
                }
            }
        }
        let (bids, asks) = (&self.sides[0], &self.sides[1]);
        self.crossed += u32::from(bids.keys().next_back() >= asks.keys().next());
        let best = self.best();
        if self.bests.last() != Some(&best) {
            self.bests.push(best);
        }
    }

    /// The documents' rule: of two that cross, the one of the older message is out; of one message the smaller goes.
    fn best(&self) -> [String; 4] {
        let (mut bids, mut asks) = (self.sides[0].iter().rev(), self.sides[1].iter());
        let (mut bid, mut ask) = (bids.next().unwrap(), asks.next().unwrap());
        while bid.0 >= ask.0 {
            let (older, newer) = (bid.1.2 < ask.1.2, bid.1.2 > ask.1.2);
            assert!(older || newer, "no message crosses itself");
            if older {
                bid = bids.next().unwrap();
            } else {
                ask = asks.next().unwrap();
            }
        }
        [&bid.1.0, &bid.1.1, &ask.1.0, &ask.1.1].map(Clone::clone)
    }
}

#[tokio::test]
async fn books_are_crossed_now_and_then_and_their_view_is_the_truths() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::dydx()])).await;
    let base = sim.addr(DYDX).unwrap().ws.clone();
    let mut early = Client::open(&format!("{base}/v4/ws")).await;
    for id in [BTC, ETH] {
        early.send(&subscribe("v4_orderbook", id, false)).await;
    }
    early.listen(4_000).await;
    // One who comes in the middle is shown a book that is not crossed, and comes to the same.
    let mut late = Client::open(&format!("{base}/v4/ws")).await;
    late.send(&subscribe("v4_orderbook", ETH, false)).await;
    let (..) = tokio::join!(early.listen(2_500), late.listen(2_500));
    sim.finish().unwrap();
    let (..) = tokio::join!(early.listen(400), late.listen(400));
    let all = json(&early);
    assert_eq!(all[0]["type"], "connected");
    assert!(
        all.iter().enumerate().all(|(at, f)| f["message_id"] == at && f["connection_id"] == all[0]["connection_id"])
    );
    let truth = truth::load(dir.path()).unwrap();
    let mut crossed = 0;
    for (client, id) in [(&early, BTC), (&early, ETH), (&late, ETH)] {
        let frames = of(client, "v4_orderbook", id);
        let mut book = Book::default();
        frames.iter().for_each(|frame| book.take(frame));
        let known = &truth.venues[DYDX].instruments[id];
        let last = known.final_book.as_ref().unwrap();
        let levels = |side: &Side| side.values().map(|(p, q, _)| (p.clone(), q.clone())).collect::<BTreeSet<_>>();
        let shown = frames[0]["contents"]["bids"].as_array().unwrap().len();
        if id == ETH {
            assert!(shown < 100);
            let whole = |side: &[(String, String)]| side.iter().cloned().collect::<BTreeSet<_>>();
            assert_eq!([levels(&book.sides[0]), levels(&book.sides[1])], [whole(&last.bids), whole(&last.asks)]);
        } else {
            assert_eq!(shown, 100, "a deeper book is shown to the hundredth level");
            let best = |side: &[(String, String)]| side[..60].iter().cloned().collect::<BTreeSet<_>>();
            assert!(best(&last.bids).is_subset(&levels(&book.sides[0])));
        }
        // Every change of the view is a quote of the truth, in order.
        let quotes: Vec<[String; 4]> = known
            .quotes
            .iter()
            .map(|q| [&q.bid, &q.bid_size, &q.ask, &q.ask_size].map(|n| n.trim_end_matches(".0").to_owned()))
            .collect();
        let found = quotes.windows(book.bests.len()).any(|some| some == book.bests);
        assert!(found, "{} bests of {id}: {:?}", book.bests.len(), &book.bests[..3]);
        crossed += book.crossed;
        assert!(frames.len() > 50, "{id}: {}", frames.len());
    }
    assert!(crossed > 0);
}

#[tokio::test]
async fn a_block_is_one_message_and_rest_pages_down_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut venue = VenueConfig::dydx();
    (venue.history_s, venue.limits.page_rows) = (60, Some(100));
    let sim = start(config(dir.path(), vec![venue])).await;
    let addr = sim.addr(DYDX).unwrap().clone();
    let mut client = Client::open(&format!("{}/v4/ws", addr.ws)).await;
    client.send(&subscribe("v4_trades", BTC, false)).await;
    client.send(&subscribe("v4_candles", &format!("{BTC}/1MIN"), false)).await;
    client.send(&subscribe("v4_block_height", "", false)).await;
    client.listen(3_500).await;
    sim.freeze();
    client.listen(300).await;
    let frames = of(&client, "v4_trades", BTC);
    let (first, updates) = frames.split_first().unwrap();
    assert_eq!((&first["type"], first["contents"]["trades"].as_array().unwrap().len()), (&"subscribed".into(), 100));
    assert!(updates.len() >= 3 && updates.iter().any(|f| f["contents"]["trades"].as_array().unwrap().len() > 1));
    let mut live = Vec::new();
    let mut times = Vec::new();
    for frame in updates {
        let rows = frame["contents"]["trades"].as_array().unwrap();
        assert!(rows.iter().all(|row| row["createdAt"] == rows[0]["createdAt"] && row["createdAtHeight"].is_null()));
        assert!(
            rows.iter().all(|row| text(&row["id"]).len() == 24 && text(&row["id"])[..8] == text(&rows[0]["id"])[..8])
        );
        times.push(text(&rows[0]["createdAt"]).to_owned());
        live.extend(rows.iter().map(|row| text(&row["id"]).to_owned()));
    }
    assert!(times.is_sorted() && times.windows(2).all(|pair| pair[0] != pair[1]), "{times:?}");
    let candles = of(&client, "v4_candles", &format!("{BTC}/1MIN"));
    assert_eq!(
        (&candles[0]["type"], candles[1]["contents"]["trades"].as_u64() > Some(0)),
        (&"subscribed".into(), true)
    );
    let blocks: Vec<_> = json(&client).into_iter().filter(|f| f["channel"] == "v4_block_height").collect();
    assert!(blocks[0]["contents"]["height"].is_string() && blocks[1]["contents"]["blockHeight"].is_string());
    // Down by height, included: a block that a page cuts is whole in the next one.
    let path = format!("/v4/trades/perpetualMarket/{BTC}");
    let mut query = String::new();
    let mut held = BTreeMap::new();
    for _ in 0..6 {
        let page = get(&addr.rest, &format!("{path}?{query}")).await.body;
        let rows = page["trades"].as_array().unwrap();
        let heights: Vec<u64> = rows.iter().map(|row| text(&row["createdAtHeight"]).parse().unwrap()).collect();
        assert!(heights.is_sorted_by(|a, b| a >= b) && (rows.len() == 100 || heights.len() < 100));
        let before = held.len();
        held.extend(rows.iter().map(|row| (text(&row["id"]).to_owned(), row.clone())));
        assert!(before == 0 || held.len() < before + rows.len(), "pages overlap");
        query = format!("createdBeforeOrAtHeight={}", heights.last().unwrap());
    }
    assert!(live.iter().all(|id| held.contains_key(id)));
    // By time, included as well; a name that the server does not know is ignored.
    let at = text(&held[&live[0]]["createdAt"]).to_owned();
    let by_time = get(&addr.rest, &format!("{path}?createdBeforeOrAt={}&limit=5", at.replace(':', "%3A"))).await.body;
    assert_eq!(by_time["trades"][0]["createdAt"], at);
    let wrong = get(&addr.rest, &format!("{path}?startingBeforeOrAtHeight=22000001&limit=1")).await.body;
    assert_eq!(text(&wrong["trades"][0]["id"]), live.last().unwrap());
    assert_eq!(get(&addr.rest, &format!("{path}?limit=101")).await.status, 400);
    let counted = get(&addr.rest, &format!("{path}?page=1&limit=3")).await.body;
    assert_eq!((&counted["pageSize"], &counted["offset"]), (&3.into(), &0.into()));
    sim.finish().unwrap();
    let truth = truth::load(dir.path()).unwrap();
    let known = &truth.venues[DYDX].instruments[BTC];
    let names: BTreeSet<_> = known.trades.values().map(|t| t.name.clone().unwrap()).collect();
    assert!(held.keys().all(|id| names.contains(id)) && names.len() == known.trades.len());
    assert!(known.trades.values().map(|t| t.time_ms).is_sorted());
    assert!(known.trades.values().any(|t| t.source.as_deref() == Some("LIQUIDATED")));
}

#[tokio::test]
async fn commands_are_answered_in_their_turn_and_too_many_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), vec![VenueConfig::many(wholetape_sim::VenueKind::Dydx, 40, 5.0)]);
    config.tick_ms = 10;
    let sim = start(config).await;
    let url = format!("{}/v4/ws", sim.addr(DYDX).unwrap().ws);
    let mut client = Client::open(&url).await;
    for at in 0..33 {
        client.send(&subscribe("v4_trades", &format!("X{at:03}-USD"), at == 0)).await;
    }
    let limit = client.until(|t| t.contains("subscription limit")).await;
    assert!(limit.contains("v4_trades (limit=32)"), "{limit}");
    client.send(r#"{"type":"ping","id":"x"}"#).await;
    assert!(client.until(|t| t.contains(r#""type":"pong""#)).await.contains(r#""id":"x""#));
    client.listen(1_200).await;
    let batches = of(&client, "v4_trades", "X000-USD");
    assert_eq!((&batches[0]["type"], &batches[1]["type"]), (&"subscribed".into(), &"channel_batch_data".into()));
    assert!(batches[1]["contents"][0]["trades"][0]["id"].is_string());
    client.send(r#"{"type":"unsubscribe","channel":"v4_trades","id":"X001-USD"}"#).await;
    client.until(|t| t.contains("unsubscribed")).await;
    client.send(&subscribe("v4_trades", "X001-USD", false)).await;
    client.until(|t| t.contains("subscribed") && t.contains("X001-USD")).await;
    client.send(&subscribe("v4_trades", "X001-USD", false)).await;
    assert!(client.until(|t| t.contains("error")).await.contains("already subscribed"));
    client.send(&subscribe("v4_trades", "X001-USD", false)).await;
    assert!(client.listen(2_000).await.is_none(), "three times in a second");
    for (channel, id, why) in [
        ("v4_orderbook", "NO-USD", "Invalid subscription id for channel: (v4_orderbook-NO-USD)"),
        ("v4_nothing", "X000-USD", "Invalid channel"),
        ("v4_candles", "X000-USD/2MINS", "Invalid subscription id"),
    ] {
        let mut client = Client::open(&url).await;
        client.send(&subscribe(channel, id, false)).await;
        let error = client.until(|t| t.contains(r#""type":"error""#)).await;
        assert!(error.contains(why), "{error}");
    }
    let mut client = Client::open(&url).await;
    for _ in 0..3 {
        client.send("{").await;
    }
    assert!(client.listen(2_000).await.is_none(), "nonsense three times in a second");
}

#[tokio::test]
async fn a_lost_message_leaves_its_number_out_and_a_repeat_has_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::dydx()])).await;
    let mut client = Client::open(&format!("{}/v4/ws", sim.addr(DYDX).unwrap().ws)).await;
    client.send(&subscribe("v4_orderbook", BTC, false)).await;
    client.listen(300).await;
    for kind in [FaultKind::Drop, FaultKind::Duplicate, FaultKind::Reorder, FaultKind::UnknownEnum] {
        sim.inject(&Injection::new(kind)).unwrap();
        client.listen(500).await;
    }
    let numbers: Vec<u64> = json(&client).iter().map(|f| f["message_id"].as_u64().unwrap()).collect();
    let steps: Vec<i64> = numbers.windows(2).map(|pair| pair[1] as i64 - pair[0] as i64).filter(|s| *s != 1).collect();
    // Left out; told again; two in the wrong order.
    assert_eq!(steps, [2, 0, 2, -1, 2]);
    assert_eq!(json(&client).iter().filter(|f| f["channel"] == "v4_new_kind").count(), 1);
}

#[tokio::test]
async fn rest_counts_requests_and_tells_the_wait_in_milliseconds() {
    let dir = tempfile::tempdir().unwrap();
    let sim = start(config(dir.path(), vec![VenueConfig::dydx()])).await;
    let base = sim.addr(DYDX).unwrap().rest.clone();
    assert_eq!(get(&base, "/v4/orderbooks/perpetualMarket/NO-USD").await.status, 400);
    assert_eq!(get(&base, "/v4/nothing").await.status, 404);
    let all = get(&base, "/v4/perpetualMarkets").await;
    assert_eq!(all.body["markets"].as_object().unwrap().len(), 3);
    let long = all.body["markets"].as_object().unwrap().keys().find(|k| k.contains(',')).unwrap().replace(',', "%2C");
    let book = get(&base, &format!("/v4/orderbooks/perpetualMarket/{long}")).await;
    assert!(book.body["bids"][0]["price"].is_string());
    let left = |reply: &support::Reply| reply.headers["ratelimit-remaining"].parse::<u32>().unwrap();
    assert!(left(&book) < left(&all) || left(&all) < 10, "{} {}", left(&all), left(&book));
    assert!(get(&base, "/v4/time").await.body["iso"].is_string());
    assert!(get(&base, "/v4/height").await.body["height"].is_string());
    let candles = get(&base, &format!("/v4/candles/perpetualMarkets/{BTC}?resolution=1MIN")).await;
    assert!(left(&candles) > 900 && candles.body["candles"].is_array(), "candles have an account of their own");
    let mut waits = Vec::new();
    for _ in 0..210 {
        let reply = get(&base, "/v4/time").await;
        if reply.status == 429 {
            waits.push(reply.headers["retry-after"].parse::<u64>().unwrap());
        }
    }
    assert!(!waits.is_empty() && waits.iter().all(|ms| (1_000..=10_000).contains(ms)), "{waits:?}");
}
