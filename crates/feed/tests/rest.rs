//! The REST hosts against a server on loopback: few connections, obedient waits, a breaker that opens and closes.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::RestServer;
use tokio_util::sync::CancellationToken;
use wholetape_feed::Hub;
use wholetape_feed::endpoint::{Endpoint, Scheme};
use wholetape_feed::line::Priority;
use wholetape_feed::rest::{Fetched, HostHandle, HostPlan, host};
use wholetape_venue::limits::{Meter, RetryAfter};
use wholetape_venue::{FetchFailure, FetchKind, Refusal, Request};

fn plan(server: &RestServer) -> HostPlan {
    let endpoint = Endpoint::parse(&format!("http://{}", server.addr), Scheme::Http).unwrap();
    HostPlan::new("test", vec![endpoint], wholetape_venue::limits("binance-spot").unwrap().rest)
}

fn run(plan: HostPlan, hub: &Hub) -> (HostHandle, CancellationToken) {
    let stop = CancellationToken::new();
    let (handle, task) = host(plan, wholetape_feed::tls::config(&[]).unwrap(), hub, stop.clone());
    tokio::spawn(task.run());
    (handle, stop)
}

fn get(path: &str, weight: u32) -> Request {
    Request { path: path.into(), weight }
}

fn ok(body: &str) -> common::RestAnswer {
    (200, String::new(), body.into())
}

#[tokio::test]
async fn a_thousand_pages_over_at_most_two_connections() {
    let server = RestServer::start(|path| async move { ok(&path) }).await;
    let (host, _stop) = run(plan(&server), &Hub::new());
    let pages = (0..1_000).map(|i| {
        let host = host.clone();
        async move {
            let path = format!("/page/{i}");
            let fetched = host.fetch(FetchKind::TradesFrom, get(&path, 1), Priority::Backlog).await;
            assert_eq!(fetched, Fetched::Answer { status: 200, body: path.into() });
        }
    });
    futures_util::future::join_all(pages).await;
    assert_eq!(server.requests.load(Ordering::SeqCst), 1_000);
    assert!(server.accepts.load(Ordering::SeqCst) <= 2, "{} connections", server.accepts.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_429_is_obeyed_and_is_no_failure() {
    let angry = Arc::new(AtomicBool::new(true));
    let a = angry.clone();
    let server = RestServer::start(move |_| {
        let angry = a.swap(false, Ordering::SeqCst);
        async move { if angry { (429, "retry-after: 1\r\n".into(), String::new()) } else { ok("fine") } }
    })
    .await;
    let (host, _stop) = run(plan(&server), &Hub::new());
    let first = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
    assert_eq!(first, Fetched::Failed(FetchFailure::Budget { retry_after: Duration::from_secs(1) }));
    let began = Instant::now();
    let second = host.fetch(FetchKind::TradesFrom, get("/b", 1), Priority::Poll).await;
    assert!(matches!(second, Fetched::Answer { status: 200, .. }));
    assert!(began.elapsed() >= Duration::from_millis(900), "waited {:?}", began.elapsed());
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_long_ban_is_passed_on_and_nothing_is_sent_meanwhile() {
    let server = RestServer::start(|_| async { (418, "retry-after: 120\r\n".into(), String::new()) }).await;
    let (host, _stop) = run(plan(&server), &Hub::new());
    host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::BookResync).await;
    for _ in 0..5 {
        let refused = host.fetch(FetchKind::TradesFrom, get("/b", 1), Priority::BookResync).await;
        let Fetched::Failed(FetchFailure::Budget { retry_after }) = refused else { panic!("{refused:?}") };
        assert!(retry_after > Duration::from_secs(110));
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

const REFUSALS: [Refusal; 3] = [
    Refusal::status(403, Duration::from_secs(600)),
    Refusal::status(429, Duration::from_secs(1)),
    Refusal::text(200, "\"retCode\":10006", Duration::from_secs(5)),
];

/// Each house has its own way to say that it was too much: 403 for ten minutes (Bybit), a code in the body at status 200
/// (Bybit, Kraken), `Retry-After` in milliseconds (dYdX).
#[tokio::test]
async fn a_ban_is_known_by_what_the_venue_says_it_is() {
    const S: Duration = Duration::from_secs(1);
    const MARKED: &str = r#"{"retCode":10006,"retMsg":"too many"}"#;
    let cases: [(common::RestAnswer, Option<Duration>); 5] = [
        ((403, String::new(), String::new()), Some(S * 600)),
        ((200, String::new(), MARKED.into()), Some(S * 5)),
        ((429, "retry-after: 2500\r\n".into(), String::new()), Some(Duration::from_millis(2_500))),
        ((200, String::new(), r#"{"retCode":0}"#.into()), None),
        ((418, String::new(), String::new()), None),
    ];
    for (answer, wait) in cases {
        let reply = answer.clone();
        let server = RestServer::start(move |_| std::future::ready(reply.clone())).await;
        let mut plan = plan(&server);
        plan.bears.retry_after = RetryAfter::Millis;
        plan.bears.refusals = &REFUSALS;
        let (host, _stop) = run(plan, &Hub::new());
        let got = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
        match wait {
            Some(retry_after) => assert_eq!(got, Fetched::Failed(FetchFailure::Budget { retry_after }), "{answer:?}"),
            None => assert!(matches!(got, Fetched::Answer { status, .. } if status == answer.0), "{answer:?}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_meter_may_tell_what_is_left() {
    let server = RestServer::start(|_| async { (200, "ratelimit-remaining: 3\r\n".into(), "fine".into()) }).await;
    let mut plan = plan(&server);
    (plan.bears.weight.count, plan.bears.weight.per) = (100, Duration::from_secs(600));
    plan.bears.meter = Some(Meter::Left("ratelimit-remaining"));
    plan.wait_max = Duration::from_millis(50);
    let (host, _stop) = run(plan, &Hub::new());
    let first = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::BookResync).await;
    assert!(matches!(first, Fetched::Answer { status: 200, .. }));
    let refused = host.fetch(FetchKind::TradesFrom, get("/b", 4), Priority::BookResync).await;
    assert!(matches!(refused, Fetched::Failed(FetchFailure::Budget { .. })), "others used 96 of it: {refused:?}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_weight_is_never_exceeded_and_the_urgent_go_first() {
    let server = RestServer::start(|path| async move { ok(&path) }).await;
    let mut plan = plan(&server);
    plan.bears.weight.count = 100;
    plan.wait_max = Duration::from_millis(50);
    let (host, _stop) = run(plan, &Hub::new());
    let mut answered = 0;
    for _ in 0..20 {
        if let Fetched::Answer { .. } = host.fetch(FetchKind::TradesFrom, get("/x", 10), Priority::Backlog).await {
            answered += 1;
        }
    }
    assert_eq!(answered, 5, "half of 100 is for the backlog");
    let urgent = host.fetch(FetchKind::BookSnapshot, get("/book", 40), Priority::BookResync).await;
    assert!(matches!(urgent, Fetched::Answer { .. }));
    assert_eq!(server.requests.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_resync_of_everything_is_a_queue_and_no_storm() {
    let server = RestServer::start(|path| async move { ok(&path) }).await;
    let mut plan = plan(&server);
    plan.snapshot_every = Duration::from_millis(100);
    let (host, _stop) = run(plan, &Hub::new());
    let began = Instant::now();
    let all = (0..10).map(|_| host.fetch(FetchKind::BookSnapshot, get("/depth", 5), Priority::BookResync));
    let all = futures_util::future::join_all(all);
    let seen = server.requests.clone();
    let (fetched, early) = tokio::join!(all, async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        seen.load(Ordering::SeqCst)
    });
    assert!(fetched.iter().all(|f| matches!(f, Fetched::Answer { .. })));
    assert!(early <= 5, "{early} at once");
    assert!(began.elapsed() >= Duration::from_millis(550), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_breaker_opens_and_closes() {
    let broken = Arc::new(AtomicBool::new(true));
    let b = broken.clone();
    let server = RestServer::start(move |_| {
        let broken = b.load(Ordering::SeqCst);
        async move { if broken { (503, String::new(), String::new()) } else { ok("back") } }
    })
    .await;
    let hub = Hub::new();
    let mut plan = plan(&server);
    plan.breaker.failures_max = 3;
    plan.breaker.open_for = Duration::from_millis(300);
    plan.wait_max = Duration::ZERO;
    let (host, stop) = run(plan, &hub);
    for _ in 0..3 {
        let fetched = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
        assert!(matches!(fetched, Fetched::Answer { status: 503, .. }));
    }
    let refused = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
    assert!(matches!(refused, Fetched::Failed(FetchFailure::Budget { .. })), "{refused:?}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 3, "an open breaker sends nothing");
    broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(320)).await;
    for _ in 0..2 {
        let fetched = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
        assert!(matches!(fetched, Fetched::Answer { status: 200, .. }), "{fetched:?}");
    }
    stop.cancel();
    assert!(
        common::until(Duration::from_secs(2), || hub.value("feed_breaker_opened_total", &[("host", "test")])
            == Some(1.0))
        .await
    );
}

#[tokio::test]
async fn slow_and_broken_answers_are_failures_with_a_name() {
    let asked = Arc::new(AtomicUsize::new(0));
    let a = asked.clone();
    let server = RestServer::start(move |path| {
        a.fetch_add(1, Ordering::SeqCst);
        async move {
            if path == "/slow" {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            if path == "/huge" {
                ok(&"x".repeat(100_000))
            } else {
                (599, "connection: close\r\n".into(), String::new())
            }
        }
    })
    .await;
    let mut plan = plan(&server);
    plan.timeout = Duration::from_millis(200);
    plan.body_bytes_max = 10_000;
    plan.breaker.failures_max = 100;
    let (host, _stop) = run(plan, &Hub::new());
    let slow = host.fetch(FetchKind::TradesFrom, get("/slow", 1), Priority::Poll).await;
    assert_eq!(slow, Fetched::Failed(FetchFailure::Timeout));
    let huge = host.fetch(FetchKind::TradesFrom, get("/huge", 1), Priority::Poll).await;
    assert!(matches!(huge, Fetched::Failed(FetchFailure::Transport(_))), "{huge:?}");
    let closing = host.fetch(FetchKind::TradesFrom, get("/close", 1), Priority::Poll).await;
    assert!(matches!(closing, Fetched::Answer { status: 599, .. }), "{closing:?}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let server = RestServer::start(|_| async { ok("second") }).await;
    let mut plan = plan(&server);
    // A port that nobody listens on: bound and let go.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    plan.endpoints.insert(0, Endpoint::parse(&format!("http://{gone}"), Scheme::Http).unwrap());
    let (host, _stop) = run(plan, &Hub::new());
    let first = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
    assert!(matches!(first, Fetched::Failed(FetchFailure::Transport(_))), "{first:?}");
    let second = host.fetch(FetchKind::TradesFrom, get("/a", 1), Priority::Poll).await;
    assert!(matches!(second, Fetched::Answer { status: 200, .. }));
}

#[tokio::test]
async fn the_venues_symbols_are_there_for_patterns() {
    let server = RestServer::start(|path| async move {
        assert!(path.starts_with("/api/v3/exchangeInfo"), "{path}");
        let symbol = |base: &str| {
            format!("{{\"symbol\":\"{base}USDT\",\"status\":\"TRADING\",\"baseAsset\":\"{base}\",\"quoteAsset\":\"USDT\",\"filters\":[]}}")
        };
        ok(&format!("{{\"timezone\":\"UTC\",\"serverTime\":1700000000000,\"symbols\":[{},{}]}}", symbol("BTC"), symbol("ETH")))
    })
    .await;
    let endpoint = Endpoint::parse(&format!("http://{}", server.addr), Scheme::Http).unwrap();
    let symbols = wholetape_feed::symbols::fetch("binance-spot", vec![endpoint]).await.unwrap();
    assert_eq!(symbols, ["BTCUSDT", "ETHUSDT"]);
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{gone}"), Scheme::Http).unwrap();
    let error = wholetape_feed::symbols::fetch("binance-spot", vec![endpoint]).await.unwrap_err();
    assert!(error.to_string().contains("binance-spot"), "{error}");
}
