//! The shell around the pure line, from configuration to tape, against a venue on loopback that cuts, stalls, refuses and
//! talks nonsense.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use common::{RestServer, acknowledge, agg_trades, trade, until, ws_server};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wholetape_feed::worker::Command;
use wholetape_feed::{Feed, FeedConfig, FeedHandle, FeedPlan, Hub, LineConfig};
use wholetape_model::{Body, GapState, Kind, LinkCause, LinkState, Topic};
use wholetape_tape::{From, ReaderOptions, Tape, TapeConfig};

const S: Duration = Duration::from_secs(1);

/// A tape, a feed on it, and what is read back.
struct World {
    tape: Tape,
    dir: tempfile::TempDir,
    hub: Hub,
    feed: Option<FeedHandle>,
}

fn config(ws: SocketAddr, rest: SocketAddr) -> LineConfig {
    LineConfig {
        name: "spot".into(),
        venue: "binance-spot".into(),
        instruments: vec!["BTCUSDT".into()],
        channels: vec!["trade".into()],
        ws: vec![format!("ws://{ws}")],
        rest: vec![format!("http://{rest}")],
        approved: Some("tests, today, loopback".into()),
        // The venues here answer any question for trades: what was before the first row is not asked for.
        backlog: Duration::ZERO,
        backoff: Duration::from_millis(50),
        backoff_max: Duration::from_millis(200),
        ..LineConfig::default()
    }
}

fn plan(line: LineConfig) -> FeedPlan {
    FeedConfig { workers: 1, line: vec![line], ..FeedConfig::default() }.plan(&|_| Vec::new()).expect("a good plan")
}

impl World {
    fn start(line: LineConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
        let hub = Hub::new();
        let feed = Feed::start(plan(line), &tape, &hub, CancellationToken::new()).unwrap();
        Self { tape, dir, hub, feed: Some(feed) }
    }

    fn stop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.join(10 * S).expect("ends in time");
        }
    }

    /// Every record of a topic through `f`.
    fn read<T>(&self, topic: &str, f: impl Fn(&wholetape_model::Record<'_>) -> Option<T>) -> Vec<T> {
        let topic = Topic::parse(topic).unwrap();
        let mut reader = self.tape.reader(&topic, From::Earliest, ReaderOptions::default()).unwrap();
        let (mut batch, mut all) = (Vec::new(), Vec::new());
        while reader.poll_next(&mut batch, 1_000) > 0 {
            all.extend(batch.drain(..).filter_map(|d| f(&d.record().expect("nothing is missed"))));
        }
        all
    }

    fn trades(&self) -> Vec<u64> {
        self.read("trade.BTCUSDT.BINANCE", |r| match r.view().unwrap() {
            Body::Trade(t) => t.id.number(),
            _ => None,
        })
    }

    fn sorted_trades(&self) -> Vec<u64> {
        let mut ids = self.trades();
        ids.sort_unstable();
        ids
    }

    fn links(&self) -> Vec<(LinkState, LinkCause)> {
        self.read("link.spot", |r| match r.view().unwrap() {
            Body::Link(l) => Some((l.state, l.cause)),
            _ => None,
        })
    }

    fn open_gaps(&self) -> usize {
        let states = self.read("trade.BTCUSDT.BINANCE", |r| match r.view().unwrap() {
            Body::Gap(g) => Some((g.gap, g.state)),
            _ => None,
        });
        let open: std::collections::BTreeSet<u64> =
            states.iter().filter(|s| s.1 == GapState::Open).map(|s| s.0).collect();
        open.iter().filter(|g| !states.iter().any(|s| s.0 == **g && s.1 != GapState::Open)).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        let _ = self.dir.path();
    }
}

/// A REST side that knows every trade up to `newest`.
async fn rest_of(newest: Arc<AtomicU64>) -> RestServer {
    RestServer::start(move |path| {
        let answer = agg_trades(&path, newest.load(Ordering::SeqCst));
        async move { answer }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_socket_to_tape_with_every_step_told() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let n = newest.clone();
    let ws = ws_server(move |mut ws, _| {
        let newest = n.clone();
        async move {
            acknowledge(&mut ws).await;
            for id in 1..=500 {
                newest.store(id, Ordering::SeqCst);
                ws.send(Message::text(trade(id))).await.unwrap();
            }
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let mut world = World::start(config(ws, rest.addr));
    assert!(until(5 * S, || world.trades().len() == 500).await, "{} trades", world.trades().len());
    let feed = world.feed.as_ref().unwrap();
    let status = feed.ask("spot", "q-1", Command::Status).await.unwrap();
    assert_eq!(status.correlation, "q-1");
    assert!(status.result.unwrap().contains("\"state\":\"active\""));
    let sent = feed.ask("spot", "q-2", Command::Send(0, "{}".into())).await.unwrap();
    assert_eq!(sent.result, Ok("sent".into()));
    assert!(
        until(S, || world.hub.value("feed_frames_total", &[("venue", "binance-spot"), ("line", "spot")])
            >= Some(501.0))
        .await
    );
    tokio::task::block_in_place(|| world.stop());
    assert_eq!(world.trades(), (1..=500).collect::<Vec<_>>());
    use LinkCause as C;
    use LinkState as L;
    assert_eq!(
        world.links(),
        [
            (L::Connecting, C::Start),
            (L::Connected, C::Opened),
            (L::Subscribed, C::Acknowledged),
            (L::Active, C::FirstData),
            (L::Disconnected, C::Stop)
        ]
    );
    let told = world.read("link.spot", |r| match r.view().unwrap() {
        Body::Link(l) => Some((l.correlation.to_owned(), l.why.to_owned(), r.conn())),
        _ => None,
    });
    assert!(told.iter().all(|(correlation, _, conn)| correlation == &format!("spot/0#{conn}")), "{told:?}");
    assert!(told[0].1.contains("tests, today, loopback"), "the approval is on the tape: {told:?}");
}

/// Each connection is cut in the middle of a frame; REST knows what was missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_frame_costs_a_reconnect_and_no_trade() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let n = newest.clone();
    let ws = ws_server(move |mut ws, number| {
        let newest = n.clone();
        async move {
            acknowledge(&mut ws).await;
            // While away, trades happened.
            let from = newest.fetch_add(5, Ordering::SeqCst) + 6;
            for id in from..from + 40 {
                newest.store(id, Ordering::SeqCst);
                ws.send(Message::text(trade(id))).await.ok();
            }
            if number < 3 {
                // Half a frame, then the line goes dead.
                let mut tcp = ws.into_inner();
                tcp.write_all(&[0x81, 126, 1, 0, b'{', b'"']).await.ok();
                tcp.flush().await.ok();
                return;
            }
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let mut world = World::start(config(ws, rest.addr));
    let whole = || {
        let ids = world.sorted_trades();
        ids.first().is_some_and(|first| ids.iter().copied().eq(*first..=180)) && ids.last() == Some(&180)
    };
    assert!(until(20 * S, whole).await, "{:?}", world.sorted_trades());
    assert!(until(5 * S, || world.open_gaps() == 0).await, "a gap has no verdict");
    tokio::task::block_in_place(|| world.stop());
    let mut ids = world.trades();
    let held = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), held, "no trade twice");
    let cuts = world.links().iter().filter(|l| matches!(l.1, LinkCause::Error | LinkCause::Closed)).count();
    assert_eq!(cuts, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_the_tape_ends() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let n = newest.clone();
    let ws = ws_server(move |mut ws, _| {
        let newest = n.clone();
        async move {
            acknowledge(&mut ws).await;
            let from = newest.load(Ordering::SeqCst) + 1;
            for id in from..from + 50 {
                newest.store(id, Ordering::SeqCst);
                ws.send(Message::text(trade(id))).await.ok();
            }
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let line = config(ws, rest.addr);
    let mut world = World::start(line.clone());
    assert!(until(5 * S, || world.trades().len() == 50).await);
    tokio::task::block_in_place(|| world.stop());
    newest.fetch_add(30, Ordering::SeqCst);
    let numbers = |w: &World| w.read("link.spot", |r| Some(r.conn()));
    let before = numbers(&world).into_iter().max().unwrap();
    let count = world.links().len();
    world.feed = Some(Feed::start(plan(line), &world.tape, &world.hub, CancellationToken::new()).unwrap());
    assert!(
        until(10 * S, || world.sorted_trades() == (1..=130).collect::<Vec<_>>()).await,
        "{:?}",
        world.sorted_trades()
    );
    assert!(numbers(&world)[count..].iter().all(|n| *n > before), "connection numbers are given once");
    assert!(until(5 * S, || world.open_gaps() == 0).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_costs_counted_errors_and_not_the_line() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let n = newest.clone();
    let ws = ws_server(move |mut ws, _| {
        let newest = n.clone();
        async move {
            acknowledge(&mut ws).await;
            for id in 1..=100 {
                newest.store(id, Ordering::SeqCst);
                ws.send(Message::text(trade(id))).await.unwrap();
                for i in 0..20 {
                    ws.feed(Message::text(format!(
                        "{{\"stream\":\"btcusdt@aggTrade\",\"data\":{{\"e\":\"aggTrade\",{i}"
                    )))
                    .await
                    .unwrap();
                }
                ws.feed(Message::binary(vec![0xff_u8, 0xfe, 0])).await.unwrap();
            }
            ws.flush().await.unwrap();
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let mut world = World::start(config(ws, rest.addr));
    assert!(
        until(10 * S, || world.sorted_trades() == (1..=100).collect::<Vec<_>>()).await,
        "{:?}",
        world.trades().len()
    );
    let errors = || world.hub.value("feed_errors_total", &[("venue", "binance-spot"), ("line", "spot")]);
    assert!(until(5 * S, || errors() >= Some(2_100.0)).await, "{:?}", errors());
    tokio::task::block_in_place(|| world.stop());
    assert_eq!(world.links().iter().filter(|l| l.0 == LinkState::Connected).count(), 1, "the connection was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_opens_wait_longer_and_longer_then_the_door_closes() {
    let rest = rest_of(Arc::default()).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut world = World::start(config(gone, rest.addr));
    assert!(until(10 * S, || world.links().iter().any(|l| l.0 == LinkState::Blocked)).await, "{:?}", world.links());
    tokio::task::block_in_place(|| world.stop());
    let links = world.links();
    assert_eq!(links.iter().filter(|l| l.1 == LinkCause::OpenFailed).count(), 5);
    assert!(links.contains(&(LinkState::Blocked, LinkCause::Breaker)));
}

/// Takes the connection and never answers the handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_handshake_times_out_and_the_next_address_serves() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_addr = mute.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = mute.accept().await {
            held.push(stream);
        }
    });
    let ws = ws_server(move |mut ws, _| {
        let newest = newest.clone();
        async move {
            acknowledge(&mut ws).await;
            newest.store(1, Ordering::SeqCst);
            ws.send(Message::text(trade(1))).await.unwrap();
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let mut line = config(mute_addr, rest.addr);
    line.ws.push(format!("ws://{ws}"));
    line.open_timeout = Duration::from_millis(200);
    let mut world = World::start(line);
    assert!(until(5 * S, || world.trades() == [1]).await, "{:?}", world.links());
    tokio::task::block_in_place(|| world.stop());
    assert!(world.links().contains(&(LinkState::Disconnected, LinkCause::OpenFailed)));
}

/// The peer vanishes without a word: no frame, no pong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_pong_is_given_up() {
    let rest = rest_of(Arc::default()).await;
    let ws = ws_server(move |mut ws, _| async move {
        acknowledge(&mut ws).await;
        // Holds the socket and never reads again.
        tokio::time::sleep(30 * S).await;
    })
    .await;
    let mut line = config(ws, rest.addr);
    (line.ping, line.pong) = (Duration::from_millis(200), Duration::from_millis(200));
    line.close = Duration::from_millis(100);
    let mut world = World::start(line);
    assert!(until(5 * S, || world.links().iter().any(|l| l.1 == LinkCause::PingTimeout)).await, "{:?}", world.links());
    tokio::task::block_in_place(|| world.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_venues_pings_are_answered_with_their_payload() {
    let rest = rest_of(Arc::default()).await;
    let answered = Arc::new(AtomicBool::new(false));
    let a = answered.clone();
    let ws = ws_server(move |mut ws, _| {
        let answered = a.clone();
        async move {
            acknowledge(&mut ws).await;
            ws.send(Message::Ping("1700000000123".into())).await.unwrap();
            while let Some(Ok(message)) = ws.next().await {
                if let Message::Pong(payload) = message {
                    answered.store(&payload[..] == b"1700000000123", Ordering::SeqCst);
                }
            }
        }
    })
    .await;
    let mut world = World::start(config(ws, rest.addr));
    assert!(until(5 * S, || answered.load(Ordering::SeqCst)).await);
    tokio::task::block_in_place(|| world.stop());
}

/// Acknowledged, and nothing comes, while REST shows that there are trades.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ack_then_silence_is_named_within_seconds() {
    // Ten trades a second, which the stream should bring and does not.
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let rest = RestServer::start(move |path| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let (status, headers, mut body) = agg_trades(&path, (now - began) / 100);
        for id in (0..=(now - began) / 100).rev() {
            body = body.replace(&format!("\"T\":{},", 1_700_000_000_000 + id), &format!("\"T\":{},", began + id * 100));
        }
        async move { (status, headers, body) }
    })
    .await;
    let opens = Arc::new(AtomicUsize::new(0));
    let o = opens.clone();
    let ws = ws_server(move |mut ws, _| {
        let opens = o.clone();
        async move {
            opens.fetch_add(1, Ordering::SeqCst);
            acknowledge(&mut ws).await;
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let mut world = World::start(config(ws, rest.addr));
    let silent = || world.links().iter().any(|l| l.1 == LinkCause::Silent);
    assert!(until(20 * S, silent).await, "{:?}", world.links());
    assert!(until(5 * S, || opens.load(Ordering::SeqCst) >= 2).await, "and another connection is tried");
    tokio::task::block_in_place(|| world.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_reconnect_and_resume_on_demand_and_raw_frames_kept() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let opens = Arc::new(AtomicUsize::new(0));
    let (n, o) = (newest.clone(), opens.clone());
    let ws = ws_server(move |mut ws, _| {
        let (newest, opens) = (n.clone(), o.clone());
        async move {
            opens.fetch_add(1, Ordering::SeqCst);
            acknowledge(&mut ws).await;
            let id = newest.fetch_add(1, Ordering::SeqCst) + 1;
            ws.send(Message::text(trade(id))).await.ok();
            while ws.next().await.is_some() {}
        }
    })
    .await;
    let mut line = config(ws, rest.addr);
    line.raw = true;
    let mut world = World::start(line);
    assert!(until(5 * S, || world.trades() == [1]).await);
    let ask = async |command| world.feed.as_ref().unwrap().ask("spot", "id", command).await.unwrap().result;
    assert!(ask(Command::Reconnect(Some(9))).await.is_err());
    ask(Command::Reconnect(None)).await.unwrap();
    assert!(until(5 * S, || world.trades() == [1, 2]).await, "{:?}", world.trades());
    ask(Command::Pause).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(opens.load(Ordering::SeqCst), 2);
    assert!(ask(Command::Send(0, "x".into())).await.unwrap_err().contains("not active"));
    ask(Command::Resume).await.unwrap();
    assert!(until(5 * S, || world.sorted_trades() == [1, 2, 3]).await, "{:?}", world.trades());
    tokio::task::block_in_place(|| world.stop());
    let raw = world.read("raw.spot.frames", |r| match r.view().unwrap() {
        Body::Raw(raw) => Some((r.frame(), raw.text.contains("aggTrade"))),
        _ => None,
    });
    assert_eq!(raw.iter().filter(|r| r.1).count(), 3, "{raw:?}");
    assert_eq!(world.tape.topics().iter().find(|t| t.topic.kind() == Kind::Raw).unwrap().lane, "raw-0");
}

/// Sends the next trade on every connection, and then nothing.
async fn next_trade_each(newest: Arc<AtomicU64>) -> SocketAddr {
    ws_server(move |mut ws, _| {
        let newest = newest.clone();
        async move {
            acknowledge(&mut ws).await;
            let id = newest.fetch_add(1, Ordering::SeqCst) + 1;
            ws.send(Message::text(trade(id))).await.ok();
            while ws.next().await.is_some() {}
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_follow_their_line_to_another_worker() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let ws = next_trade_each(newest).await;
    let first = config(ws, rest.addr);
    let second = LineConfig { name: "other".into(), instruments: vec!["ETHUSDT".into()], ..first.clone() };
    let mut world = World::start(first.clone());
    assert!(until(5 * S, || !world.trades().is_empty()).await);
    tokio::task::block_in_place(|| world.stop());
    // The other line comes first now, so `spot` moves to the second worker.
    let plan =
        FeedConfig { workers: 2, line: vec![second, first], ..FeedConfig::default() }.plan(&|_| Vec::new()).unwrap();
    world.feed = Some(Feed::start(plan, &world.tape, &world.hub, CancellationToken::new()).unwrap());
    assert!(until(10 * S, || world.trades().len() >= 2).await, "{:?}", world.links());
    let lane = world.tape.topics().into_iter().find(|t| t.topic.as_str() == "trade.BTCUSDT.BINANCE").unwrap().lane;
    assert_eq!(lane, "feed-1");
}

/// One stream on every socket: a trade each 10 ms, from wherever the socket subscribes.
async fn broadcast(newest: Arc<AtomicU64>, live: Arc<AtomicUsize>, most: Arc<AtomicUsize>) -> SocketAddr {
    let n = newest.clone();
    tokio::spawn(async move {
        loop {
            n.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    ws_server(move |mut ws, _| {
        let (newest, live, most) = (newest.clone(), live.clone(), most.clone());
        async move {
            most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            acknowledge(&mut ws).await;
            // Who joins repeats what its sibling may still have under way.
            let mut sent = newest.load(Ordering::SeqCst).saturating_sub(1_000);
            'open: loop {
                while sent < newest.load(Ordering::SeqCst) {
                    sent += 1;
                    if ws.send(Message::text(trade(sent))).await.is_err() {
                        break 'open;
                    }
                }
                let next = tokio::time::timeout(Duration::from_millis(5), ws.next()).await;
                if matches!(next, Ok(None | Some(Err(_) | Ok(Message::Close(_))))) {
                    break;
                }
            }
            live.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await
}

impl World {
    fn gaps(&self) -> usize {
        self.read("trade.BTCUSDT.BINANCE", |r| matches!(r.view(), Ok(Body::Gap(_))).then_some(())).len()
    }
}

/// A connection that must end soon is replaced by one that was opened first; both carry for a while, and nothing is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_replacement_overlaps_and_misses_nothing() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ws = broadcast(newest, live, most.clone()).await;
    let mut plan = plan(config(ws, rest.addr));
    plan.lines[0].life_max = Some(3 * S);
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
    let hub = Hub::new();
    let feed = Feed::start(plan, &tape, &hub, CancellationToken::new()).unwrap();
    let mut world = World { tape, dir, hub, feed: Some(feed) };
    let replaced = || world.links().windows(2).filter(|l| l[0].0 == LinkState::Draining).count();
    assert!(until(20 * S, || replaced() >= 2).await, "{:?}", world.links());
    assert!(until(5 * S, || world.open_gaps() == 0).await);
    tokio::task::block_in_place(|| world.stop());
    let ids = world.trades();
    assert!(ids.iter().copied().eq(ids[0]..=ids[ids.len() - 1]), "in order, none missing, none twice: {ids:?}");
    assert_eq!(world.gaps(), 0);
    assert_eq!(most.load(Ordering::SeqCst), 2, "the second was open before the first was closed");
}

/// Two sockets carry the same; one of them dies again and again, and nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_socket_of_two_may_die() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ws = broadcast(newest, live.clone(), most).await;
    let mut line = config(ws, rest.addr);
    line.sockets = 2;
    line.heal = false;
    let mut world = World::start(line);
    assert!(until(5 * S, || live.load(Ordering::SeqCst) == 2).await);
    assert!(until(5 * S, || world.trades().len() > 50).await);
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        let answer = world.feed.as_ref().unwrap().ask("spot", "test", Command::Reconnect(Some(round % 2))).await;
        answer.expect("asked");
    }
    assert!(until(5 * S, || live.load(Ordering::SeqCst) == 2).await);
    tokio::task::block_in_place(|| world.stop());
    let ids = world.trades();
    assert!(ids.iter().copied().eq(ids[0]..=ids[ids.len() - 1]), "in order, none missing, none twice: {ids:?}");
    assert_eq!(world.gaps(), 0, "not even a healed one");
}

/// A line whose venue has no door has no way out: it does not start, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_cannot_run_does_not_start() {
    let rest = rest_of(Arc::default()).await;
    let mut plan = plan(config(rest.addr, rest.addr));
    plan.doors.clear();
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
    let refused = tokio::task::block_in_place(|| Feed::start(plan, &tape, &Hub::new(), CancellationToken::new()));
    assert!(refused.unwrap_err().to_string().contains("spot"));
    assert!(tape.lane("feed-0").is_ok(), "nothing holds the lane");
}

/// A line that fails says so on the tape, begins anew, and goes on once it can; the process never notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_line_is_built_again_from_its_lane() {
    let newest = Arc::new(AtomicU64::new(0));
    let rest = rest_of(newest.clone()).await;
    let ws = next_trade_each(newest).await;
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig::default()).unwrap();
    // Somebody else writes the line's topic.
    let mut other = tape.lane("other").unwrap();
    other.topic(&Topic::parse("trade.BTCUSDT.BINANCE").unwrap()).unwrap();
    other.commit().unwrap();
    let hub = Hub::new();
    let mut plan = plan(config(ws, rest.addr));
    let quick = Duration::from_millis(100);
    plan.restart = Some(wholetape_feed::backoff::BackoffShape { first: quick, max: quick, ..Default::default() });
    let feed = Feed::start(plan, &tape, &hub, CancellationToken::new()).unwrap();
    let mut world = World { tape, dir, hub, feed: Some(feed) };
    let restarts = || world.links().iter().filter(|l| l.1 == LinkCause::Restarted).count();
    assert!(until(10 * S, || restarts() >= 2).await, "{:?}", world.links());
    assert!(world.trades().is_empty());
    drop(other);
    assert!(until(10 * S, || !world.trades().is_empty()).await, "{:?}", world.links());
    assert_eq!(world.feed.as_ref().unwrap().fatal(), None);
    tokio::task::block_in_place(|| world.stop());
    let ids = world.sorted_trades();
    assert!(ids.windows(2).all(|w| w[0] < w[1]), "{ids:?}");
}
