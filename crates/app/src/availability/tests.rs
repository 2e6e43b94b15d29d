//! What counts, what does not, what survives, and that a broken listener lowers the figure.

use super::probe::{Door, get, judge, talk};
use super::*;

const S: Duration = Duration::from_secs(1);
const HOUR: u64 = 500_000;

fn ms(account: &Availability, name: &str) -> (u64, u64, u64) {
    let count = account.run()[name];
    (count.due_ms, count.able_ms, count.excluded_ms)
}

#[test]
fn only_what_was_able_at_both_ends_counts() {
    let dir = tempfile::tempdir().unwrap();
    let a = Availability::open(dir.path());
    let look = |state| a.looked("http", state, "why", S, 5 * S);
    for state in [State::Unable, State::Unable, State::Able, State::Able, State::Able] {
        look(state);
    }
    assert_eq!(ms(&a, "http"), (2_000, 2_000, 3_000), "not due before it was able");
    a.looked("http", State::Unable, "timeout", S, 5 * S);
    assert_eq!(a.troubles(), ["http cannot serve: timeout"]);
    a.looked("http", State::Able, "", S, 5 * S);
    a.looked("http", State::Able, "", S, 5 * S);
    assert_eq!(ms(&a, "http"), (5_000, 3_000, 3_000));
    assert!(a.troubles().is_empty());
    a.looked("http", State::Able, "", 60 * S, 5 * S);
    assert_eq!(ms(&a, "http"), (65_000, 8_000, 3_000), "nobody looked for 55 s: not able");
}

#[test]
fn a_venue_that_is_away_is_not_due() {
    let line = |streams: f64, open: f64, books: f64, live: f64, level: f64| {
        judge(move |name| {
            Some(match name {
                "feed_streams" => streams,
                "feed_streams_open" => open,
                "feed_books" => books,
                "feed_books_live" => live,
                _ => level,
            })
        })
        .0
    };
    assert_eq!(line(6.0, 6.0, 2.0, 2.0, 0.0), State::Able);
    assert_eq!(line(6.0, 4.0, 2.0, 1.0, 0.0), State::Excluded);
    assert_eq!(line(6.0, 6.0, 2.0, 1.0, 0.0), State::Unable, "resyncing is ours");
    assert_eq!(line(6.0, 5.0, 2.0, 1.0, 3.0), State::Unable, "what we shed is ours");
    assert_eq!(judge(|_| None).0, State::Excluded, "not started");
}

#[test]
fn the_account_survives_and_a_crash_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let a = Availability::open(dir.path());
    for _ in 0..11 {
        a.looked("tape", State::Able, "", S, 5 * S);
    }
    a.save(true).unwrap();
    let kept = Record::read(dir.path()).unwrap();
    assert_eq!(kept.run["tape"].able_ms, 10_000);
    let again = Record::begin(Some(kept.clone()), kept.written + 600);
    assert!(again.run.is_empty(), "each run counts for itself");
    assert_eq!(again.day(kept.written + 600)["tape"].due_ms, 10_000, "a planned stop is not due");
    let crashed = Record { ended: false, ..kept.clone() };
    let again = Record::begin(Some(crashed), kept.written + 600);
    let day = again.day(kept.written + 600);
    assert_eq!((day["tape"].due_ms, day["tape"].able_ms), (610_000, 10_000), "a crash is, until the next start");
    assert_eq!(day["websocket"].due_ms, 600_000);
    std::fs::write(dir.path().join(FILE), b"{ torn").unwrap();
    assert!(Record::read(dir.path()).is_err());
    assert!(Availability::open(dir.path()).run().is_empty(), "a torn file is begun anew");
}

#[test]
fn a_day_is_24_hours() {
    let mut r = Record::begin(None, HOUR * 3_600);
    for hour in HOUR..HOUR + 50 {
        r.add("http", 3_600_000, State::Able, hour * 3_600 + 5);
    }
    let now = (HOUR + 49) * 3_600 + 6;
    r.forget(now);
    assert_eq!(r.hours.len(), 24);
    assert_eq!(r.day(now)["http"].due_ms, 24 * 3_600_000);
    assert_eq!(r.run["http"].due_ms, 50 * 3_600_000);
}

#[test]
fn words_never_round_up() {
    let count = Count { due_ms: 1_000_000, able_ms: 999_999, excluded_ms: 0 };
    assert_eq!(words(&count), "99.999 % of 1000.0 s");
    let almost = Count { due_ms: 100_000_000, able_ms: 99_999_999, excluded_ms: 2_500 };
    assert_eq!(words(&almost), "99.999 % of 100000.0 s (2.5 s not due)");
    assert_eq!(words(&Count::default()), "never due");
    let mut text = String::new();
    let dir = tempfile::tempdir().unwrap();
    let a = Availability::open(dir.path());
    a.looked("http", State::Able, "", S, S);
    a.looked("http", State::Able, "", S, S);
    a.write(&mut text);
    assert!(text.contains("availability_ratio{protocol=\"http\"} 1\n"), "{text}");
    assert!(text.contains("availability_due_seconds_total{protocol=\"http\"} 1\n"), "{text}");
}

/// A listener that takes connections and never answers: what a hung gateway looks like from outside.
#[tokio::test]
async fn a_listener_that_hangs_or_is_gone_cannot_serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let door = Door { addr, api_key: None, tls: false };
    let short = Duration::from_millis(200);
    assert!(tokio::time::timeout(short, get(&door, "/")).await.is_err(), "hangs");
    assert!(tokio::time::timeout(short, talk(&door, None)).await.is_err(), "hangs");
    drop(listener);
    assert!(get(&door, "/").await.is_err());
    assert!(talk(&door, Some("link.x")).await.is_err());
}

/// The whole of it against a gateway that works, then is stopped: the figure falls, and health says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_goes_away_lowers_the_figure() {
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;
    use wholetape_gateway::auth::write::new_key;
    use wholetape_gateway::auth::{AuthConfig, OwnKey};
    use wholetape_gateway::tls::TlsConfig;
    use wholetape_gateway::{Deps, Gateway, GatewayConfig, Health, Surface};

    struct Nothing;
    impl Surface for Nothing {
        fn metrics(&self) -> String {
            String::new()
        }
        fn health(&self) -> Health {
            Health { live: true, ready: true, reasons: Vec::new() }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let tape = wholetape_tape::Tape::open(&dir.path().join("tape"), wholetape_tape::TapeConfig::default()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (gateway_stop, stop) = (CancellationToken::new(), CancellationToken::new());
    let deps = Deps { tape: tape.clone(), history: None, surface: Arc::new(Nothing), clients: Default::default() };
    // One that wants credentials and speaks TLS: the probe has the process's own key, and needs no name.
    let (own, keys) = (OwnKey::random(), dir.path().join("keys.toml"));
    new_key(&keys, "", &["trade.*".to_owned()], (&[], None), "").unwrap();
    let auth = AuthConfig { keys: Some(keys), metrics: true, own: Some(own.clone()), ..AuthConfig::default() };
    let made = rcgen::generate_simple_self_signed(vec!["example.org".to_owned()]).unwrap();
    let tls = TlsConfig { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&tls.cert, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&tls.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = GatewayConfig { auth, tls: Some(tls), ..GatewayConfig::default() };
    let gateway = tokio::spawn(Gateway::serve(config, deps, listener, gateway_stop.clone()));
    let account = Arc::new(Availability::open(dir.path()));
    let lines = Box::new(|| vec!["x".into()]);
    let door = Door { addr, api_key: Some(own.api_key()), tls: true };
    let watched = probe::Watched { door, tape, hub: wholetape_feed::Hub::new(), lines };
    let thread = probe::start(watched, account.clone(), stop.clone()).unwrap();
    let due = |name: &str| account.run().get(name).map_or((0, 0), |c| (c.due_ms, c.able_ms));
    let end = tokio::time::Instant::now() + 20 * S;
    while due("http").1 < 1_500 || due("websocket").1 < 1_500 {
        assert!(tokio::time::Instant::now() < end, "{:?} {:?}", account.run(), account.troubles());
        tokio::time::sleep(S / 20).await;
    }
    assert_eq!(due("http").0, due("http").1, "{:?}", account.troubles());
    gateway_stop.cancel();
    gateway.await.unwrap().unwrap();
    while due("http").0 == due("http").1 || due("websocket").0 == due("websocket").1 {
        assert!(tokio::time::Instant::now() < end, "{:?}", account.run());
        tokio::time::sleep(S / 20).await;
    }
    assert!(!account.troubles().is_empty());
    stop.cancel();
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    let kept = Record::read(dir.path()).unwrap();
    assert!(kept.ended && kept.run["http"].ratio().unwrap() < 1.0);
    assert_eq!(kept.run["tape"].ratio(), Some(1.0));
    assert_eq!(kept.run["line:x"].due_ms, 0, "it never began");
}
