//! A venue that speaks otherwise than documented, through its real session.

use super::*;
use wholetape_venue::SessionPlan;

const RAW: &str = "raw.test";
const ALERT: &str = "alert.test";

fn usdm(resume: Resume) -> Bench {
    let plan = SessionPlan { instruments: vec![(0, "BTCUSDT".into())], ..SessionPlan::new("binance-usdm") };
    let plan = LinePlan {
        name: "test".into(),
        instruments: vec![InstrumentId::new("BTCUSDT-PERP", "BINANCE")],
        conns: vec![ConnPlan {
            session: wholetape_venue::open(&plan).unwrap(),
            expects: vec![(0, Kind::TradeRaw), (0, Kind::Quote)],
            polled: Vec::new(),
            streams: 0,
        }],
        trade_source: Kind::TradeRaw,
        heal: true,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume,
    };
    let mut bench = Bench {
        line: Line::new(plan),
        out: LineOut::default(),
        rows: Vec::new(),
        actions: Vec::new(),
        gap_starts: Vec::new(),
    };
    bench.line.on_open(0, ConnMeta { number: 7 }, T0, &mut bench.out);
    bench.take();
    bench
}

fn print(id: u64, x: &str) -> String {
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":{id},"p":"12.5","q":"7","X":"{x}","m":true}}}}"#
    )
}

fn quote(id: u64, more: &str) -> String {
    format!(
        r#"{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker","u":{id},"E":1,"T":1,"s":"BTCUSDT","b":"12.5","B":"3","a":"12.6","A":"4"{more}}}}}"#
    )
}

#[test]
fn t12_unknown_enum_frame_kept_raw_rest_unaffected() {
    let mut b = usdm(Resume::default());
    for id in 1..=10 {
        b.frame(at(id * 10), &quote(id, ""));
        b.frame(at(id * 10 + 5), &print(id, if id == 4 || id == 8 { "NEVER_SEEN" } else { "MARKET" }));
    }
    // Every trade and every quote is there, also those of the odd frames.
    assert_eq!(b.of("trade.BTCUSDT-PERP.BINANCE"), (1..=10).map(|i| format!("trade {i}")).collect::<Vec<_>>());
    assert_eq!(b.of("quote.BTCUSDT-PERP.BINANCE").len(), 10);
    let alerts = b.of(ALERT);
    assert_eq!(alerts.len(), 1, "once per shape: {alerts:?}");
    assert!(
        alerts[0].contains("Warning") && alerts[0].contains("`X` has the unknown value `NEVER_SEEN`"),
        "{alerts:?}"
    );
    // Raw frames are not kept by this line, these are: the odd ones, and what came around the first.
    let raw = b.of(RAW);
    assert_eq!(raw.iter().filter(|r| r.contains("\"t\":8")).count(), 2, "as odd, and as one of the next frames");
    assert!(raw.iter().any(|r| r.contains("\"u\":1,")), "the frames before it: {raw:?}");
    assert!(raw.iter().any(|r| r.contains("\"u\":9,")), "the frames behind it");
    assert_eq!((b.line.stats().errors, b.line.stats().shapes), (0, 1));
    b.timer(at(2_000));
    let trade = wholetape_venue::shape::channel_index("trade");
    assert_eq!(b.line.stats().odd_shapes[trade], 2);
}

#[test]
fn an_answer_of_rest_with_a_new_key_is_read_and_kept_and_told() {
    let mut b = usdm(Resume::default());
    let id = FetchId { kind: FetchKind::OpenInterest, instrument: 0, arg: 0 };
    for n in 1..=3 {
        let body = format!(r#"{{"openInterest":"{n}.5","symbol":"BTCUSDT","time":1790000000000,"zz":null}}"#);
        b.line.on_fetched(0, at(n), id, Reply::Answer { status: 200, body: body.as_bytes() }, &mut b.out);
        b.take();
    }
    assert_eq!(b.of("open_interest.BTCUSDT-PERP.BINANCE").len(), 3, "read all the same");
    assert_eq!(b.of(RAW).iter().filter(|r| r.contains("zz")).count(), 3, "{:?}", b.of(RAW));
    let alerts = b.of(ALERT);
    assert!(alerts.len() == 1 && alerts[0].contains("restOpenInterest: unknown key `zz` (null)"), "{alerts:?}");
    // A snapshot that nobody can read any more is evidence too.
    let id = FetchId { kind: FetchKind::BookSnapshot, instrument: 0, arg: 0 };
    let body = br#"{"lastUpdateId":"later","E":1,"T":1,"bids":[],"asks":[]}"#;
    b.line.on_fetched(0, at(9), id, Reply::Answer { status: 200, body }, &mut b.out);
    b.take();
    assert_eq!((b.of(RAW).len(), b.of(ALERT).len()), (4, 2), "{:?}", b.of(ALERT));
}

#[test]
fn a_new_key_is_understood_and_told_and_a_restart_does_not_tell_it_again() {
    let mut b = usdm(Resume::default());
    for id in 1..=400 {
        b.frame(at(id * 10), &quote(id, r#","zz":{"new":1}"#));
    }
    assert_eq!(b.of("quote.BTCUSDT-PERP.BINANCE").len(), 400, "understood all the same");
    assert_eq!(b.of(ALERT).len(), 1);
    assert!(b.of(ALERT)[0].contains("unknown key `zz`"), "{:?}", b.of(ALERT));
    let kept = b.of(RAW).len();
    assert!((256..300).contains(&kept), "{kept}: kept raw, but not for ever");
    b.timer(at(5_000));
    let mut resume = Resume::default();
    resume.topics.insert("quality.test".into(), TopicResume { notes: b.notes(), ..TopicResume::default() });
    let mut again = usdm(resume);
    again.frame(at(9_000), &quote(401, r#","zz":{"new":1}"#));
    assert_eq!(again.of(ALERT), [""; 0]);
    again.frame(at(9_001), &quote(402, r#","yy":1"#));
    assert_eq!(again.of(ALERT).len(), 1);
}

#[test]
fn a_dropped_key_costs_the_frame_and_tells_which() {
    let mut b = usdm(Resume::default());
    b.frame(at(1), &quote(1, ""));
    b.frame(at(2), &quote(2, "").replace(r#""B":"3","#, ""));
    b.frame(at(3), &quote(3, ""));
    assert_eq!(b.of("quote.BTCUSDT-PERP.BINANCE").iter().filter(|r| r.starts_with("quote")).count(), 2);
    assert!(b.of(ALERT)[0].contains("`B` is missing"), "{:?}", b.of(ALERT));
    b.frame(at(4), r#"{"stream":"btcusdt@newThing","data":{"e":"newThing","x":1}}"#);
    assert!(b.of(ALERT)[1].contains("newThing"), "{:?}", b.of(ALERT));
    b.frame(at(5), "garbage");
    assert_eq!(b.of(ALERT).len(), 2, "no JSON has no shape");
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut b = bench(true, Resume::default()).open(T0);
    // Ten quotes a second for two minutes, then the ten minutes until it is written.
    for i in 0..1_200 {
        b.frame(at(i * 100), &format!("Q {i}"));
        b.timer(at(i * 100 + 1));
    }
    b.timer(at(700_000));
    let notes = b.notes();
    assert!(notes.iter().any(|(c, t)| c == "cadence" && t.contains(QUOTES) && t.contains("conn/0")), "{notes:?}");
    let mut resume = Resume::default();
    resume.topics.insert("quality.test".into(), TopicResume { notes, ..TopicResume::default() });
    let again = bench(true, resume);
    let quotes = again.line.topics().iter().find(|t| t.topic.as_str() == QUOTES).unwrap();
    let expected = quotes.pace.expected(at(800_000)).expect("learned before the restart");
    assert_eq!(expected.p99, Duration::from_millis(128));
    let broken =
        TopicResume { notes: vec![("cadence".into(), "quote.X 99:1=1\nnonsense".into())], ..TopicResume::default() };
    let mut resume = Resume::default();
    resume.topics.insert("quality.test".into(), broken);
    assert!(bench(true, resume).line.topics().iter().all(|t| t.pace.is_empty()), "nonsense is learned anew");
}

impl Bench {
    fn notes(&self) -> Vec<(String, String)> {
        self.rows
            .iter()
            .filter(|(topic, _)| topic == "quality.test")
            .filter_map(|(_, row)| row.strip_prefix("raw ")?.split_once(' '))
            .map(|(channel, text)| (channel.to_owned(), text.to_owned()))
            .collect()
    }
}
