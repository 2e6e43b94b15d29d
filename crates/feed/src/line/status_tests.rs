//! A trading status that a stream brings is confessed like every state kind; one that is polled promises nothing between two
//! polls.

use wholetape_model::LinkCause;
use wholetape_venue::FetchKind;

use super::tests::{Bench, Script, at, plan_of};
use super::*;

const STATUS: &str = "status.BTCUSDT.BINANCE";

/// Trades and the status on one connection; `polled`: what REST brings alone.
fn bench(polled: Vec<Kind>, resume: Resume) -> Bench {
    let mut plan = plan_of(Script::default(), true, resume);
    let conn = &mut plan.conns[0];
    (conn.expects, conn.polled, conn.streams) = (vec![(0, Kind::Trade), (0, Kind::Status)], polled, 2);
    let mut b = Bench::new(plan);
    b.line.on_open(0, ConnMeta { number: 7 }, at(0), &mut b.out);
    b.frame(at(10), "ack 2");
    b
}

fn answer(b: &mut Bench, now: Ts, status: &str) {
    let id = FetchId { kind: FetchKind::Instruments, instrument: 0, arg: 0 };
    b.line.on_fetched(0, now, id, Reply::Answer { status: 200, body: status.as_bytes() }, &mut b.out);
    b.take();
}

fn gaps(b: &Bench) -> Vec<&str> {
    b.of(STATUS).into_iter().filter(|text| text.starts_with("gap")).collect()
}

#[test]
fn what_a_cut_took_of_a_streamed_status_is_confessed_until_the_stream_is_back() {
    let mut b = bench(Vec::new(), Resume::default());
    b.frame(at(100), "S 1");
    b.line.on_closed(0, at(200), LinkCause::Error, &mut b.out);
    b.take();
    assert_eq!(gaps(&b), ["gap open disconnected 0-0"]);
    // A definition asked for over REST says what the status is, and nothing of what it was meanwhile.
    answer(&mut b, at(300), "1");
    assert_eq!(gaps(&b).len(), 1);
    b.line.on_open(0, ConnMeta { number: 8 }, at(400), &mut b.out);
    b.frame(at(500), "ack 2");
    assert_eq!(gaps(&b), ["gap open disconnected 0-0", "gap lost disconnected 0-0"]);
}

#[test]
fn a_polled_status_has_no_stream_to_lose() {
    let mut b = bench(vec![Kind::Status], Resume::default());
    answer(&mut b, at(100), "1");
    b.line.on_closed(0, at(200), LinkCause::Error, &mut b.out);
    b.take();
    b.line.on_open(0, ConnMeta { number: 8 }, at(400), &mut b.out);
    b.frame(at(500), "ack 2");
    assert_eq!(gaps(&b), [""; 0]);
}

/// A stream that never spoke has no row. That it was followed is known all the same, and since when nobody can have heard it.
#[test]
fn a_stream_that_never_spoke_confesses_the_time_in_which_nobody_ran() {
    let mut resume = Resume::default();
    assert_eq!(gaps(&bench(Vec::new(), resume.clone())), [""; 0], "a first start");
    let before = bench(Vec::new(), Resume::default());
    let note = |row: &str| {
        let (channel, text) = row.strip_prefix("raw ")?.split_once(' ')?;
        Some((channel.to_owned(), text.to_owned()))
    };
    let notes: Vec<_> = before.of("quality.test").into_iter().filter_map(note).collect();
    assert_eq!(notes, [("subscribed".to_owned(), at(10).0.to_string())]);
    resume.topics.insert("quality.test".into(), TopicResume { notes, ..TopicResume::default() });
    // Trades of the same connection were heard until then.
    let row = TopicResume { last_recv: at(20), last_event: at(20), ..TopicResume::default() };
    resume.topics.insert("trade.BTCUSDT.BINANCE".into(), row);
    assert_eq!(gaps(&bench(Vec::new(), resume.clone())), ["gap lost down 0-0"]);
    assert_eq!(gaps(&bench(vec![Kind::Status], resume)), [""; 0]);
}

#[test]
fn what_was_published_while_nobody_ran_is_confessed_too() {
    let mut resume = Resume::default();
    let row = TopicResume { last_recv: at(0), last_event: at(0), ..TopicResume::default() };
    resume.topics.insert(STATUS.into(), row);
    let b = bench(Vec::new(), resume.clone());
    assert_eq!(gaps(&b), ["gap lost down 0-0"]);
    assert_eq!(gaps(&bench(vec![Kind::Status], resume)), [""; 0]);
}
