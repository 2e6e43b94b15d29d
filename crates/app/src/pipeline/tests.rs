//! Tape, store and gateway together: the tape keeps little, and clients get all of it, each row once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use wholetape_model::{
    Book, BookAction, Decimal, Level, Levels, Price, Row, RowFlags, Scales, Side, Size, Topic, Trade, TradeCondition,
    Ts, View,
};
use wholetape_store::catalog::CatalogConfig;
use wholetape_store::retain::Rules;
use wholetape_store::writer::Pace;
use wholetape_tape::{Lane, Retention};
use wholetape_wire::BookView;
use wholetape_wire::client::{Client, Happening, apply_book};

use super::*;

const TRADES: &str = "trade.BTCUSDT-PERP.BINANCE";
const BOOK: &str = "book.BTCUSDT-PERP.BINANCE";
const SCALES: Scales = Scales { price: 2, size: 3 };
/// Between two rows.
const STEP: i64 = 1_000_000;
/// Every so many trades one comes late.
const LATE_EVERY: u64 = 997;

/// Writes trades and book updates, each id at its own time.
struct Market {
    lane: Lane,
    begin: i64,
    book: BookView,
    updates: u64,
}

impl Market {
    fn ts(&self, id: u64) -> Ts {
        Ts(self.begin + id as i64 * STEP)
    }

    fn append(&mut self, topic: &str, body: View<'_>, flags: RowFlags, ts_event: Ts, ts_recv: Ts) {
        let no = self.lane.topic(&Topic::parse(topic).unwrap()).unwrap();
        let row = Row { ts_event, ts_recv, conn: 1, frame: 1, flags, scales: SCALES, body };
        self.lane.append(no, &row).unwrap();
    }

    fn trade(&mut self, id: u64, flags: RowFlags, ts_recv: Ts) {
        let (price, size) = (Price(6_000_000 + (id % 100) as i64), Size(1 + id as i64));
        let (aggressor, condition) = (Some(Side::Buy), TradeCondition::Regular);
        let trade = Trade { id: id.into(), first_id: id, last_id: id, price, size, aggressor, condition };
        self.append(TRADES, View::Trade(trade), flags, self.ts(id), ts_recv);
    }

    /// The next update; each 500th is followed by a checkpoint, the first is the venue's snapshot.
    fn update(&mut self, ts: Ts) {
        self.updates += 1;
        let n = self.updates;
        let i = n as i64;
        let level = |price, size| Level { price: Price(price), size: Size(size) };
        let (bids, asks) = ([level(1_000 - i % 20, 1 + i % 7)], [level(1_001 + i % 20, 1 + i % 5)]);
        let action = if n == 1 { BookAction::Snapshot } else { BookAction::Delta };
        let (bids, asks) = (Levels::Native(&bids), Levels::Native(&asks));
        self.book.apply(SCALES, bids, asks).unwrap();
        let ids = |action, bids, asks| View::Book(Book { action, first_id: n, last_id: n, prev_id: n - 1, bids, asks });
        self.append(BOOK, ids(action, bids, asks), RowFlags::default(), ts, ts);
        if n.is_multiple_of(500) {
            let levels = |side: Vec<(Decimal, Decimal)>| -> Vec<Level> {
                side.into_iter().map(|(price, size)| level(price.raw, size.raw)).collect()
            };
            let (bids, asks) = (levels(self.book.bids().collect()), levels(self.book.asks().collect()));
            let whole = ids(BookAction::Checkpoint, Levels::Native(&bids), Levels::Native(&asks));
            self.append(BOOK, whole, RowFlags::CHECKPOINT, ts, ts);
        }
    }

    /// In small batches; one trade of [`LATE_EVERY`] comes at the end.
    fn trades(&mut self, ids: RangeInclusive<u64>) {
        let last = *ids.end();
        for id in ids.clone() {
            let ts = self.ts(id);
            if !id.is_multiple_of(LATE_EVERY) {
                self.trade(id, RowFlags::default(), ts);
            }
            if id.is_multiple_of(4) {
                self.update(ts);
            }
            if id.is_multiple_of(100) {
                self.lane.commit().unwrap();
            }
        }
        for id in ids.filter(|id| id.is_multiple_of(LATE_EVERY)) {
            self.trade(id, RowFlags::LATE_REST, self.ts(last));
        }
        self.lane.commit().unwrap();
    }
}

struct Ws {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    rule: Client,
}

impl Ws {
    async fn open(addr: SocketAddr, topic: &str, from: Value) -> Self {
        let (mut socket, _) = connect_async(format!("ws://{addr}/v1/ws?batch=1")).await.unwrap();
        let sub = json!({"op": "sub", "id": 1, "topic": topic, "from": from});
        socket.send(Message::text(sub.to_string())).await.unwrap();
        Self { socket, rule: Client::new() }
    }

    async fn next(&mut self) -> String {
        loop {
            match tokio::time::timeout(Duration::from_secs(30), self.socket.next()).await.expect("a message in 30 s") {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Messages that the one rule applies, and rows of history before them, until the client stands at `head`.
    async fn read(&mut self, topic: &str, head: u64) -> (Vec<Value>, Vec<Value>) {
        let (mut rows, mut applied) = (Vec::new(), Vec::new());
        while self.rule.state(topic).is_none_or(|s| s.last < head) {
            let (frame, mut out) = (self.next().await, Vec::new());
            self.rule.on_text(&frame, &mut out);
            for h in out {
                match h {
                    Happening::Apply { message, .. } => applied.push(message),
                    Happening::Said(m) if m["op"] == "hist" => {
                        rows.extend(m["data"].as_array().unwrap().iter().cloned())
                    }
                    Happening::Said(m) => assert_ne!(m["op"], "err", "{m}"),
                    Happening::Subscribed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        (rows, applied)
    }
}

fn ids(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|m| m["data"]["id"].as_u64()).collect()
}

fn view(messages: &[Value]) -> u32 {
    let mut view = BookView::new();
    messages.iter().for_each(|m| apply_book(&mut view, m).unwrap());
    view.crc()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_all_of_what_the_tape_keeps_a_part_of() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age_max: None, bytes_max: Some(256 << 10) };
    let tape = TapeConfig { segment_bytes: 64 << 10, memory_bytes: 128 << 10, retention, ..TapeConfig::default() };
    let soon = Duration::from_millis(200);
    let pace = Pace { flush_every: soon, rewrite_every: soon, ..Pace::default() };
    let data = dir.path().to_owned();
    let (catalog, retention) = (CatalogConfig::default(), Rules::default());
    let store = StorePlan { data, catalog, pace, signer: None, retention };
    let plan = Plan {
        dir: dir.path().join("tape"),
        tape,
        feed: FeedPlan::default(),
        gateway: GatewayConfig::default(),
        listen: "127.0.0.1:0".into(),
        control: None,
        store: Some(store),
    };
    let pipeline = Pipeline::start(plan).await.unwrap();
    let lane = pipeline.tape.lane("market").unwrap();
    // Today: a day that is over is sealed as soon as the market pauses, and what comes then belongs to the next one.
    let begin = wholetape_store::names::day_start(wholetape_store::names::day_of(wholetape_feed::clock::wall())).0;
    let mut market = Market { lane, begin, book: BookView::new(), updates: 0 };
    market.trades(1..=20_000);
    let topic = |name: &str| Topic::parse(name).unwrap();
    let oldest = |name: &str| pipeline.tape.topics().iter().find(|t| t.topic == topic(name)).map_or(0, |t| t.oldest);
    let until = Instant::now() + Duration::from_secs(60);
    while oldest(TRADES) < 10_000 || oldest(BOOK) < 1_000 {
        assert!(Instant::now() < until, "the tape lets go of what is stored: {} {}", oldest(TRADES), oldest(BOOK));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (addr, epoch) = (pipeline.addr, pipeline.tape.epoch().to_owned());

    // Four clients begin in the past, and the market goes on meanwhile.
    let at = |id: u64| market.ts(id).0 / 1_000;
    let mut all = Ws::open(addr, TRADES, json!({"epoch": epoch, "seq": 0})).await;
    let mut since = Ws::open(addr, TRADES, json!({"ts": at(5_001)})).await;
    let mut book = Ws::open(addr, BOOK, json!("earliest")).await;
    let mut book_since = Ws::open(addr, BOOK, json!({"ts": at(5_001)})).await;
    market.trades(20_001..=25_000);
    let head = |name: &str| pipeline.tape.head(&topic(name)).unwrap();

    let (_, messages) = all.read(TRADES, head(TRADES)).await;
    assert_eq!(messages.len(), 25_000);
    assert_eq!(ids(&messages).into_iter().collect::<BTreeSet<_>>(), (1..=25_000).collect());
    let seqs: Vec<u64> = messages.iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().zip(1..).all(|(seq, want)| *seq == want), "each seq once, in order");

    let (rows, messages) = since.read(TRADES, head(TRADES)).await;
    let p = rows.iter().map(|row| row["seq"].as_u64().unwrap()).max().unwrap();
    assert!(p > 15_000, "nearly the head: {p}");
    let of_rows = ids(&rows);
    assert_eq!(of_rows[0], 5_001);
    let back = of_rows.windows(2).zip(1..).find(|(pair, _)| pair[0] > pair[1]);
    assert_eq!(back, None, "of {}: late rows stand between their neighbours", of_rows.len());
    let got: Vec<u64> = of_rows.into_iter().chain(ids(&messages)).collect();
    // What was healed behind P is of earlier times too: told live, with its seq.
    assert_eq!(got.len(), got.iter().collect::<BTreeSet<_>>().len(), "no row twice");
    assert_eq!(got.iter().copied().filter(|id| *id > 5_000).collect::<BTreeSet<_>>(), (5_001..=25_000).collect());

    let want = market.book.crc();
    let (_, messages) = book.read(BOOK, head(BOOK)).await;
    assert_eq!((&messages[0]["op"], &messages[0]["seq"]), (&json!("snap"), &json!(1)));
    assert_eq!((messages.len() as u64, view(&messages)), (market.updates, want));
    let (rows, messages) = book_since.read(BOOK, head(BOOK)).await;
    assert_eq!((&rows[0]["op"], &rows[0]["vid"]), (&json!("snap"), &json!(1_250)), "the state at that time");
    let all: Vec<Value> = rows.into_iter().chain(messages).collect();
    assert_eq!((all.len() as u64, view(&all)), (market.updates - 1_250 + 1, want));

    drop(market);
    pipeline.stop().await.unwrap();
}
