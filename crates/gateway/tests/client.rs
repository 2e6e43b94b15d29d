//! Our own client (`wholetape-client`) against a real gateway, over a link that is cut again and again.

mod rig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt;
use rig::{BOOK, Rig, TRADE, delta, snapshot, trade};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wholetape_client::ladder::Ladder;
use wholetape_client::{Client, Cursor, Event, NoCredit, State, Sub, TopicState, apply_book};
use wholetape_gateway::GatewayConfig;
use wholetape_model::{BookAction, RowFlags};
use wholetape_tape::TapeConfig;
use wholetape_wire::BookView;
use wholetape_wire::reply::Limits;

/// A link that cuts each connection after some bytes from the server (seldom before the largest batch, else nothing would ever come).
/// It outlives the server, whose address changes.
struct Link {
    at: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
    /// `None`: not any more.
    cut: Arc<Mutex<Option<u64>>>,
    cuts: Arc<Mutex<u32>>,
}

impl Link {
    async fn new(to: SocketAddr, cut: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let link =
            Self { at, to: Arc::new(Mutex::new(to)), cut: Arc::new(Mutex::new(Some(cut))), cuts: Arc::default() };
        let (to, cut, cuts) = (link.to.clone(), link.cut.clone(), link.cuts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let at = *to.lock().unwrap();
                let after = cut.lock().unwrap().map(|most| rand::rng().random_range(1..most));
                tokio::spawn(carry(client, at, after, cuts.clone()));
            }
        });
        link
    }

    fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.at)
    }
}

async fn carry(client: TcpStream, at: SocketAddr, after: Option<u64>, cuts: Arc<Mutex<u32>>) {
    let Ok(server) = TcpStream::connect(at).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        let (mut left, mut piece) = (after.unwrap_or(u64::MAX), vec![0; 4_096]);
        loop {
            let n = from_server.read(&mut piece).await?;
            let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= n as u64;
            to_client.write_all(&piece[..n]).await?;
            if n == 0 || left == 0 {
                *cuts.lock().unwrap() += u32::from(left == 0);
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    tokio::select! { _ = up => {} _ = down => {} }
}

async fn next(client: &mut Client) -> Event {
    timeout(Duration::from_secs(60), client.next()).await.expect("an event in a minute").expect("not over")
}

#[tokio::test]
async fn cut_again_and_again_nothing_is_lost_doubled_or_out_of_order() {
    cut_again_and_again(false).await;
}

#[tokio::test]
async fn nor_in_msgpack() {
    cut_again_and_again(true).await;
}

async fn cut_again_and_again(msgpack: bool) {
    const TRADES: u64 = 4_000;
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    rig.trades(1..=500);
    let link = Link::new(rig.at, 120_000).await;
    // The wait that doubles would make minutes of so many cuts.
    let ladder = Ladder { base_ms: 5, cap_ms: 20 };
    let mut builder = Client::builder(link.url()).with_ladder(ladder);
    if msgpack {
        builder = builder.with_msgpack();
    }
    let mut client = builder.start().unwrap();
    client.subscribe(Sub::earliest(TRADE).acked());
    client.subscribe(Sub::live(BOOK));
    let (mut ids, mut view, mut missed) = (Vec::new(), BookView::new(), 0);
    let (mut appended, mut updates) = (500, 1);
    let (mut epochs, mut at) = (BTreeMap::new(), 0);
    while ids.len() < TRADES as usize || at <= updates {
        if appended < TRADES && ids.len() as u64 + 100 > appended {
            for _ in 0..20 {
                appended += 1;
                rig.append_only(TRADE, trade(appended), RowFlags::default());
                updates += 1;
                rig.append_only(BOOK, delta(updates), RowFlags::default());
            }
            rig.lane.commit().unwrap();
        }
        if appended == TRADES {
            *link.cut.lock().unwrap() = None;
        }
        match next(&mut client).await {
            Event::Message { topic, message, cursor: Cursor::Seq { epoch, seq } } => {
                epochs.insert(topic.clone(), epoch);
                if topic == TRADE {
                    ids.push(message["data"]["id"].as_u64().unwrap());
                } else {
                    apply_book(&mut view, &message).expect("equal checksums");
                    at = seq + 1;
                }
            }
            Event::Missed { .. } => missed += 1,
            Event::Error(error) => panic!("{error}"),
            _ => {}
        }
    }
    assert_eq!(ids, (1..=TRADES).collect::<Vec<_>>());
    assert_eq!((missed, epochs.values().all(|e| e == rig.tape.epoch())), (0, true));
    assert!(*link.cuts.lock().unwrap() >= 10, "{:?} cuts", link.cuts);
    let (_, metrics) = rig.get("/metrics").await;
    let resumes = metrics.lines().find_map(|l| l.strip_prefix("gateway_resumes_total ")).map(str::parse::<u32>);
    assert!(matches!(resumes, Some(Ok(1..))), "it came back by its session: {resumes:?}");
    let mut fresh = rig.client().await;
    fresh.sub(BOOK, json!("live")).await;
    let mut want = BookView::new();
    apply_book(&mut want, &fresh.apply(1).await[0]).unwrap();
    assert_eq!(view.crc(), want.crc());
    let positions = client.close().await;
    assert_eq!(positions[TRADE], Cursor::Seq { epoch: rig.tape.epoch().to_owned(), seq: TRADES });
}

/// Never one message more than was allowed, whatever connection it comes by; what has no credit goes on beside.
#[tokio::test]
async fn credit_holds_over_a_link_that_is_cut() {
    timeout(Duration::from_secs(120), credit_over_cuts()).await.expect("it goes on with each credit");
}

async fn credit_over_cuts() {
    const TRADES: usize = 2_000;
    const EACH: u64 = 50;
    let mut rig = Rig::new().await;
    rig.append(BOOK, snapshot(1));
    rig.trades(1..=TRADES as u64);
    let link = Link::new(rig.at, 20_000).await;
    let ladder = Ladder { base_ms: 5, cap_ms: 20 };
    let mut client = Client::builder(link.url()).with_ladder(ladder).start().unwrap();
    client.subscribe(Sub::earliest(TRADE).with_credit(EACH));
    client.subscribe(Sub::live(BOOK));
    let (mut ids, mut granted, mut updates, mut told) = (Vec::new(), EACH as usize, 1, 0);
    while ids.len() < TRADES {
        match next(&mut client).await {
            Event::Message { topic, message, .. } if topic == TRADE => {
                ids.push(message["data"]["id"].as_u64().unwrap());
                assert!(ids.len() <= granted, "{} of {granted}", ids.len());
                if ids.len() == granted {
                    // Of the other topic something comes, many times, before this one may go on.
                    told = 0;
                    updates += 1;
                    rig.append(BOOK, delta(updates));
                }
            }
            Event::Message { .. } => {
                told += 1;
                if ids.len() == granted && told >= 10 {
                    client.flow(TRADE, EACH / 2).unwrap();
                    client.flow(TRADE, EACH - EACH / 2).unwrap();
                    granted += EACH as usize;
                } else if ids.len() == granted {
                    updates += 1;
                    rig.append(BOOK, delta(updates));
                }
            }
            event @ (Event::Missed { .. } | Event::Error(_)) => panic!("{event:?}"),
            _ => {}
        }
    }
    assert_eq!(ids, (1..=TRADES as u64).collect::<Vec<_>>());
    assert!(*link.cuts.lock().unwrap() >= 10, "{:?} cuts", link.cuts);
    let (_, metrics) = rig.get("/metrics").await;
    let pauses = metrics.lines().find_map(|l| l.strip_prefix("gateway_flow_pauses_total ")).map(str::parse::<u32>);
    assert!(matches!(pauses, Some(Ok(1..))), "the server held it: {pauses:?}");
    for (topic, credit, why) in
        [(TRADE, 0, NoCredit::Bounds), (TRADE, 1_000_001, NoCredit::Bounds), ("trade.*", 1, NoCredit::NotSubscribed)]
    {
        assert_eq!(client.flow(topic, credit), Err(why), "{topic} {credit}");
    }
}

#[tokio::test]
async fn what_it_publishes_over_a_link_that_is_cut_is_in_the_log_once_and_in_order() {
    const ALL: usize = 300;
    const GAME: &str = "c4.game.1";
    let config = || {
        let limits = Limits { ops_s: 10_000, ops_burst: 10_000, ..Limits::default() };
        let mut config = GatewayConfig { limits, ..GatewayConfig::default() };
        config.publish.anonymous = vec!["c4.*".into()];
        config
    };
    let mut rig = Rig::with(config(), TapeConfig::default()).await;
    let link = Link::new(rig.at, 4_000).await;
    let ladder = Ladder { base_ms: 5, cap_ms: 20 };
    let mut client = Client::builder(link.url()).with_ladder(ladder).start().unwrap();
    let handle = client.handle();
    let publish = |n: usize| handle.publish(GAME, "drop", json!({"n": n}), None).unwrap();
    let mut mids: Vec<String> = (1..=ALL / 2).map(publish).collect();
    let mut seqs = BTreeMap::new();
    while seqs.len() < ALL {
        match next(&mut client).await {
            Event::Published { mid, answer } => {
                assert!(seqs.insert(mid, answer["seq"].as_u64().unwrap()).is_none(), "told twice");
                if seqs.len() == ALL / 2 {
                    // The server dies as well, with what it knew.
                    rig = Rig::open(rig.crash().await, config(), TapeConfig::default()).await;
                    *link.to.lock().unwrap() = rig.at;
                    mids.extend((ALL / 2 + 1..=ALL).map(publish));
                }
            }
            Event::Unpublished { error, .. } | Event::Error(error) => panic!("{error}"),
            _ => {}
        }
    }
    let want: Vec<u64> = (1..=ALL as u64).collect();
    assert_eq!(
        mids.iter().map(|mid| seqs[mid]).collect::<Vec<_>>(),
        want,
        "confirmed in the order in which they were asked for"
    );
    let mut ws = rig.client().await;
    ws.sub(GAME, json!("earliest")).await;
    let log: Vec<u64> = ws.apply(ALL).await.iter().map(|m| m["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(log, want, "lost, doubled or out of order");
    assert!(*link.cuts.lock().unwrap() >= 5, "{:?} cuts", link.cuts);
}

#[tokio::test]
async fn a_server_that_goes_and_comes_is_gone_on_with_and_so_is_a_stored_cursor() {
    let mut rig = Rig::new().await;
    rig.trades(1..=10);
    let link = Link::new(rig.at, u64::MAX).await;
    *link.cut.lock().unwrap() = None;
    let mut client = Client::builder(link.url()).start().unwrap();
    client.subscribe(Sub::earliest(TRADE));
    let mut ids = Vec::new();
    let mut states = Vec::new();
    let take = async |client: &mut Client, ids: &mut Vec<u64>, states: &mut Vec<&str>, n: usize| {
        while ids.len() < n {
            match next(client).await {
                Event::Message { message, .. } => ids.push(message["data"]["id"].as_u64().unwrap()),
                Event::State(state) => states.push(state.name()),
                Event::Missed { .. } | Event::Error(_) => panic!("nothing is missed"),
                _ => {}
            }
        }
    };
    take(&mut client, &mut ids, &mut states, 10).await;
    let dir = rig.stop().await;
    let mut rig = Rig::open(dir, GatewayConfig::default(), TapeConfig::default()).await;
    *link.to.lock().unwrap() = rig.at;
    rig.trades(11..=20);
    take(&mut client, &mut ids, &mut states, 20).await;
    assert_eq!(states[..3], ["connecting", "authenticating", "live"]);
    assert!(states.contains(&"draining") && states.contains(&"waiting") && states.contains(&"resuming"), "{states:?}");
    let positions = client.close().await;
    rig.trades(21..=30);
    let mut client = Client::builder(link.url()).with_positions(positions).start().unwrap();
    client.subscribe(Sub::earliest("trade.*"));
    take(&mut client, &mut ids, &mut states, 30).await;
    assert_eq!(ids, (1..=30).collect::<Vec<_>>());
    // The last one was not followed by a question for more: it is not processed.
    assert!(matches!(&client.positions()[TRADE], Cursor::Seq { seq: 29, .. }));
    rig.stop().await;
}

#[tokio::test]
async fn a_callback_that_panics_ends_nothing() {
    let mut rig = Rig::new().await;
    rig.trades(1..=5);
    let mut client = Client::builder(format!("ws://{}/v1/ws", rig.at)).start().unwrap();
    client.subscribe(Sub::earliest(TRADE));
    let (handle, mut seen) = (client.handle(), 0);
    let panics = client.each(|event| {
        if let Event::Message { .. } = event {
            seen += 1;
            assert!(seen % 2 == 0, "every other one");
            if seen == 4 {
                handle.stop();
            }
        }
    });
    let panics = timeout(Duration::from_secs(10), panics).await.expect("ends");
    assert!(panics == 2 || panics == 3, "{panics}");
    assert_eq!(client.state(), State::Closed { code: None });
}

#[tokio::test]
async fn a_topic_that_is_born_later_is_live_then() {
    let mut rig = Rig::new().await;
    let mut client = Client::builder(format!("ws://{}/v1/ws", rig.at)).start().unwrap();
    client.subscribe(Sub::live(TRADE));
    while !matches!(next(&mut client).await, Event::Error(e) if e["code"] == 2001) {}
    assert_eq!(client.topic_state(TRADE), Some(TopicState::Subscribing));
    rig.trades(1..=1);
    while !matches!(next(&mut client).await, Event::Topic { state: TopicState::Live, .. }) {}
    assert!(Client::builder("http://x/").start().is_err_and(|e| e.to_string().contains("neither ws:// nor wss://")));
    rig.append(BOOK, rig::book(BookAction::Snapshot, 1, &[], &[]));
    client.subscribe(Sub::live(BOOK).with("depth", 7.into()));
    while !matches!(next(&mut client).await, Event::Error(e) if e["path"] == "depth") {}
    assert_eq!(client.topic_state(BOOK), Some(TopicState::Denied));
}
