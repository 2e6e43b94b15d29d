//! Two sockets of one set, scripted: who brings what first, what one of them lacks, and what happens when one goes.

use wholetape_model::{Body, InstrumentId};
use wholetape_venue::{ByTime, TradeHistory};

use super::overlap::Named;
use super::tests::{BOOK, QUOTES, Script, T0, TRADES, at, text_of};
use super::trades::GapMark;
use super::*;

const RAW: &str = "trade-raw.BTCUSDT.BINANCE";

struct Pair {
    line: Line,
    out: LineOut,
    rows: Vec<(String, String)>,
    actions: Vec<LineAction>,
    gap_starts: Vec<(String, Ts)>,
    marks: Vec<(String, GapMark)>,
}

fn pair() -> Pair {
    let mut p = pair_of(Resume::default());
    p.open(0, T0);
    p.open(1, T0);
    p
}

fn pair_of(resume: Resume) -> Pair {
    pair_with(|| Script { live: true, ..Script::default() }, resume)
}

/// Two open sockets to a venue whose trade ids do not count, a second from one to the next.
fn loose_pair(history: TradeHistory) -> Pair {
    let script = || Script { history, tick: Duration::from_secs(1), ..Script::default() };
    let mut p = pair_with(script, Resume::default());
    p.open(0, T0);
    p.open(1, T0);
    p
}

fn pair_with(script: impl Fn() -> Script, resume: Resume) -> Pair {
    let conn = || ConnPlan {
        session: Box::new(script()),
        expects: vec![(0, Kind::Trade), (0, Kind::Quote), (0, Kind::Book)],
        polled: Vec::new(),
        streams: 3,
    };
    let plan = LinePlan {
        name: "test".into(),
        instruments: vec![InstrumentId::new("BTCUSDT", "BINANCE")],
        conns: vec![conn(), conn(), conn()],
        trade_source: Kind::Trade,
        heal: true,
        discover: None,
        checks: wholetape_quality::CheckConfig::default(),
        resume,
    };
    let line = Line::with_sockets(plan, 3);
    let (rows, actions, gap_starts, marks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Pair { line, out: LineOut::default(), rows, actions, gap_starts, marks }
}

impl Pair {
    fn open(&mut self, conn: ConnIx, now: Ts) {
        self.line.on_open(conn, ConnMeta { number: 7 + conn as u32 }, now, &mut self.out);
        self.frame(conn, now, "ack 3");
    }

    fn close(&mut self, conn: ConnIx, now: Ts) {
        self.line.on_closed(conn, now, LinkCause::Closed, &mut self.out);
        self.take();
    }

    fn frame(&mut self, conn: ConnIx, now: Ts, text: &str) {
        self.line.on_frame(conn, now, Frame::Text(text.as_bytes()), &mut self.out);
        self.take();
    }

    fn timer(&mut self, now: Ts) {
        self.line.on_timer(now, &mut self.out);
        self.take();
    }

    /// A snapshot at `id` for the book.
    fn splice(&mut self, now: Ts, id: u64) {
        let want = FetchId { kind: FetchKind::BookSnapshot, instrument: 0, arg: 0 };
        let body = id.to_string();
        self.line.on_fetched(0, now, want, Reply::Answer { status: 200, body: body.as_bytes() }, &mut self.out);
        self.take();
    }

    fn take(&mut self) {
        for row in &self.out.rows {
            let topic = self.line.topics()[row.topic as usize].topic.to_string();
            let text = match self.out.arena().view(&row.body) {
                Body::Raw(r) if topic.starts_with("quality.") => format!("raw {} {}", r.channel, r.text),
                Body::Gap(gap) => {
                    self.gap_starts.push((topic.clone(), gap.from_ts));
                    self.marks.push((topic.clone(), gap.map(str::to_owned)));
                    text_of(row, &self.out)
                }
                _ => text_of(row, &self.out),
            };
            self.rows.push((topic, text));
        }
        self.actions.append(&mut self.out.actions);
        self.out.clear();
    }

    fn of(&self, topic: &str) -> Vec<&str> {
        self.rows.iter().filter(|(t, _)| t == topic).map(|(_, r)| r.as_str()).collect()
    }

    fn given_up(&self) -> Vec<(ConnIx, LinkCause)> {
        let of = |a: &LineAction| match a {
            LineAction::Reconnect(conn, cause, _) => Some((*conn, *cause)),
            _ => None,
        };
        self.actions.iter().filter_map(of).collect()
    }
}

#[test]
fn the_first_delivery_wins_and_nothing_comes_twice() {
    let mut p = pair();
    for (conn, frames) in [(0, ["T 1", "Q 1", "T 2"]), (1, ["T 1", "Q 1", "T 2"])] {
        for (i, frame) in frames.iter().enumerate() {
            p.frame(conn, at(10 + 5 * conn as u64 + i as u64), frame);
        }
    }
    p.frame(1, at(30), "Q 2");
    p.frame(0, at(31), "Q 2");
    assert_eq!(p.of(TRADES), ["trade 1", "trade 2"]);
    assert_eq!(p.of(QUOTES), ["quote 1", "quote 2"]);
    let lags: Vec<(u64, u64)> = p.line.sockets().map(|(_, l, _)| (l.firsts, l.repeats)).collect();
    assert_eq!(lags[..2], [(3, 1), (1, 2)], "trade 1 came again after trade 2: its lag is not counted");
}

/// A subscription that begins with the best prices as they are repeats what the other socket brought before, though that one has brought
/// more since.
#[test]
fn a_socket_that_begins_with_the_last_quote_brings_nothing_new() {
    let mut p = pair_of(Resume::default());
    p.open(0, T0);
    p.frame(0, at(10), "Q 1");
    p.open(1, at(20));
    p.frame(0, at(21), "Q 2");
    for quote in ["Q 1", "Q 2", "Q 3"] {
        p.frame(1, at(22), quote);
    }
    p.frame(0, at(23), "Q 3");
    assert_eq!(p.of(QUOTES), ["quote 1", "quote 2", "quote 3"]);
}

/// Frames that nobody understood on one socket, and then the last word of a quiet stream on the other: its silence is no change of words.
#[test]
fn what_one_socket_misread_is_not_held_against_a_stream_of_the_other() {
    let mut p = pair();
    for ms in 10..40 {
        p.frame(0, at(ms), "U");
    }
    p.frame(0, at(800), "Q 1");
    p.timer(at(900));
    p.frame(1, at(950), "Q 1");
    for s in 2..20 {
        p.timer(at(1_000 * s));
    }
    assert_eq!(p.given_up(), []);
    assert_eq!(p.line.stats().verdicts[wholetape_model::StreamState::ApiChanged as usize], 0);
}

#[test]
fn one_socket_dying_leaves_no_gap_and_no_event_twice() {
    let mut p = pair();
    p.splice(at(5), 10);
    for i in 0..5 {
        let ms = 100 * i;
        for conn in [0, 1] {
            p.frame(conn, at(ms + 10 + conn as u64), &format!("T {}", i + 1));
            p.frame(conn, at(ms + 20 + conn as u64), &format!("Q {}", i + 1));
            p.frame(conn, at(ms + 30 + conn as u64), &format!("D {} {} 95 3", 11 + i, 11 + i));
        }
    }
    p.close(0, at(3_000));
    p.frame(1, at(3_010), "T 6");
    p.frame(1, at(3_020), "Q 6");
    p.frame(1, at(3_030), "D 16 16 95 4");
    p.timer(at(3_500));
    // Back again: it brings what is new, and what is a repeat.
    p.open(0, at(4_000));
    p.frame(1, at(4_010), "Q 7");
    p.frame(0, at(4_011), "Q 7");
    p.frame(0, at(4_012), "T 7");
    p.frame(1, at(4_013), "T 7");
    assert_eq!(p.of(TRADES), ["trade 1", "trade 2", "trade 3", "trade 4", "trade 5", "trade 6", "trade 7"]);
    assert_eq!(p.of(QUOTES).len(), 7);
    let book = p.of(BOOK);
    assert!(!book.iter().any(|r| r.starts_with("gap") || r.contains("syncing")), "{book:?}");
    assert_eq!(book.iter().filter(|r| r.starts_with("Delta")).count(), 6);
    assert_eq!(p.line.stats().gaps_opened, 0);
}

#[test]
fn a_sibling_that_was_never_heard_in_a_stream_does_not_vouch_for_it() {
    let mut p = pair();
    for i in 0..5 {
        p.frame(0, at(1_000 + i), &format!("Q {}", i + 1));
    }
    p.frame(1, at(1_100), "T 1");
    p.close(0, at(3_000));
    assert_eq!(p.of(QUOTES).last(), Some(&"gap open disconnected 0-0"));
    p.frame(1, at(3_500), "Q 9");
    assert_eq!(p.of(QUOTES)[6..], ["gap lost disconnected 0-0", "quote 9"]);
}

#[test]
fn nor_for_the_second_trade_source() {
    let mut p = pair();
    for i in 0..5 {
        p.frame(0, at(1_000 + i), &format!("R {}", i + 1));
    }
    p.frame(1, at(1_100), "T 1");
    p.close(0, at(3_000));
    assert_eq!(p.of(RAW).last(), Some(&"gap open disconnected 0-0"));
    p.frame(1, at(3_500), "R 9");
    assert_eq!(p.of(RAW)[6..], ["gap open sequence 6-8", "gap lost disconnected 0-0", "trade 9"]);
}

#[test]
fn repeats_of_the_second_trade_source_prove_a_socket() {
    let mut p = pair();
    for i in 0..30 {
        p.frame(0, at(1_000 + 300 * i), &format!("R {}", i + 1));
        p.frame(1, at(1_010 + 300 * i), &format!("R {}", i + 1));
    }
    p.close(0, at(10_200));
    assert_eq!(p.of(RAW)[30..], [""; 0], "nothing is lost");
}

#[test]
fn what_only_a_deaf_socket_could_have_brought_is_confessed() {
    let mut p = pair();
    p.close(0, at(3_000));
    p.close(1, at(3_001));
    p.open(0, at(4_000));
    // The second is subscribed later, and brings quotes; the first never does.
    p.open(1, at(4_500));
    for i in 0..5 {
        p.frame(0, at(4_600 + i), &format!("T {}", i + 1));
        p.frame(1, at(4_700 + i), &format!("Q {}", i + 1));
    }
    let before = p.of(QUOTES).len();
    p.close(0, at(20_000));
    assert_eq!(p.of(QUOTES)[before..], ["gap lost silent 0-0"], "4.0 to 4.5 s");
}

#[test]
fn a_sibling_that_is_behind_does_not_bring_updates_back_into_a_splice() {
    let mut p = pair();
    p.splice(at(5), 10);
    for id in 11..15 {
        p.frame(0, at(id), &format!("D {id} {id} 95 1"));
    }
    // Both miss 15; the second is behind.
    p.frame(0, at(20), "D 16 16 95 1");
    p.frame(1, at(21), "D 16 16 95 1");
    p.frame(1, at(22), "D 14 14 95 1");
    p.splice(at(40), 13);
    p.splice(at(500), 15);
    let deltas = p.of(BOOK).iter().filter(|r| r.starts_with("Delta")).count();
    assert_eq!(deltas, 5, "{:?}", p.of(BOOK));
}

#[test]
fn a_young_sibling_is_no_proof_for_what_no_id_protects() {
    let mut p = pair();
    p.close(1, at(3_000));
    p.frame(0, at(5_000), "Q 1");
    p.frame(0, at(5_001), "T 1");
    p.open(1, at(6_000));
    // The first socket dies a second after the second was subscribed.
    p.close(0, at(7_000));
    // The second has not spoken of quotes yet, and may be deaf there.
    assert_eq!(p.of(QUOTES), ["quote 1", "gap open disconnected 0-0"]);
    p.frame(1, at(7_100), "Q 7");
    assert_eq!(p.of(QUOTES)[2..], ["gap lost disconnected 0-0", "quote 7"]);
    assert_eq!(p.of(TRADES), ["trade 1"], "ids will tell");
}

#[test]
fn what_a_stalled_socket_had_on_its_way_is_older_than_its_young_sibling() {
    let mut p = pair();
    p.frame(0, at(5_000), "Q 1");
    p.frame(1, at(5_001), "Q 1");
    p.frame(0, at(5_002), "T 1");
    p.frame(1, at(5_003), "T 1");
    p.close(1, at(5_500));
    // From 5.0 s on nothing comes on the first; the second is back at 8.0 s, and the first goes at 14.0 s.
    p.open(1, at(8_000));
    p.frame(1, at(8_100), "Q 2");
    p.close(0, at(14_000));
    assert_eq!(p.of(QUOTES), ["quote 1", "quote 2", "gap lost disconnected 0-0"], "5.0 s to now");
}

/// The same, where the young sibling went first: its end is no end of what the older one had on its way.
#[test]
fn nor_does_it_get_younger_when_its_young_sibling_goes_first() {
    let mut p = pair();
    p.close(1, at(100));
    p.frame(0, at(5_000), "Q 1");
    p.frame(0, at(5_001), "T 1");
    p.open(1, at(8_000));
    p.frame(1, at(8_100), "Q 2");
    p.close(1, at(9_000));
    p.close(0, at(14_000));
    p.open(0, at(15_000));
    p.frame(0, at(15_100), "Q 9");
    let starts: Vec<Ts> = p.gap_starts.iter().filter(|g| g.0 == QUOTES).map(|g| g.1).collect();
    assert!(starts.contains(&at(5_001)), "{starts:?} {:?}", p.of(QUOTES));
}

#[test]
fn a_book_goes_on_from_whichever_socket_continues_it() {
    let mut p = pair();
    p.splice(at(5), 10);
    p.frame(0, at(10), "D 11 11 95 1");
    p.frame(1, at(11), "D 11 11 95 1");
    // The first socket lost 12.
    p.frame(0, at(20), "D 13 13 95 3");
    p.frame(0, at(30), "D 14 14 95 4");
    assert_eq!(p.of(BOOK).iter().filter(|r| r.starts_with("Delta")).count(), 1, "held");
    p.frame(1, at(40), "D 12 12 95 2");
    p.frame(1, at(41), "D 13 13 95 3");
    let deltas: Vec<&str> = p.of(BOOK).into_iter().filter(|r| r.starts_with("Delta")).collect();
    assert_eq!(deltas, ["Delta 11", "Delta 12", "Delta 13", "Delta 14"]);
    assert_eq!(p.line.stats().gaps_opened, 0);
}

#[test]
fn what_no_socket_brings_is_a_gap_after_a_moment() {
    let mut p = pair();
    p.splice(at(5), 10);
    p.frame(0, at(10), "D 11 11 95 1");
    p.frame(0, at(20), "D 13 13 95 3");
    p.timer(at(300));
    assert_eq!(p.line.stats().gaps_opened, 0);
    p.timer(at(600));
    assert!(p.of(BOOK).contains(&"gap open sequence 12-12"), "{:?}", p.of(BOOK));
    // And at once where the sibling lacks the same.
    let mut p = pair();
    p.splice(at(5), 10);
    p.frame(0, at(10), "D 11 11 95 1");
    p.frame(0, at(20), "D 13 13 95 3");
    p.frame(1, at(21), "D 13 13 95 3");
    assert!(p.of(BOOK).contains(&"gap open sequence 12-12"), "{:?}", p.of(BOOK));
}

#[test]
fn a_stream_that_is_silent_on_one_socket_costs_that_socket_alone() {
    let mut p = pair();
    p.splice(at(500), 10);
    p.timer(at(1_000));
    for i in 0..40 {
        let now = at(1_000 + i * 200);
        let delta = format!("D {} {} 95 3", 11 + i, 11 + i);
        p.frame(0, now, &delta);
        p.frame(1, now, &delta);
        p.frame(0, now, &format!("Q {}", i + 1));
        p.frame(0, now, &format!("T {}", i + 1));
        // The second brings trades, and no quotes.
        p.frame(1, now, &format!("T {}", i + 1));
        p.timer(now);
    }
    assert_eq!(p.given_up().first(), Some(&(1, LinkCause::Silent)));
    assert!(p.given_up().iter().all(|g| g.0 == 1));
}

#[test]
fn the_slowest_socket_is_recycled() {
    let mut p = pair();
    p.timer(at(1_000));
    let mut last = 0;
    for i in 0..1_300_u64 {
        let now = at(2_000 + i * 100);
        p.frame(0, now, &format!("Q {}", i + 1));
        if i >= 6 {
            // Six tenths of a second behind.
            last = i - 5;
            p.frame(1, now, &format!("Q {last}"));
        }
        if i % 10 == 0 {
            p.timer(now);
        }
    }
    assert!(last > 1_000);
    let slow: Vec<_> = p.given_up().into_iter().filter(|g| g.1 == LinkCause::Slow).collect();
    assert_eq!(slow, [(1, LinkCause::Slow)]);
    assert_eq!(p.of(QUOTES).len(), 1_300);
}

#[test]
fn garbage_on_one_socket_is_no_harm_while_the_other_carries() {
    let mut p = pair();
    p.splice(at(5), 10);
    p.frame(0, at(3_000), "D 11 11 95 1");
    p.frame(1, at(3_001), "D 11 11 95 1");
    p.frame(0, at(3_100), "%%%");
    p.timer(at(4_200));
    assert_eq!((p.line.stats().errors, p.line.stats().gaps_opened), (1, 0));
    // Alone it is.
    p.close(1, at(4_300));
    p.frame(0, at(4_400), "%%%");
    p.timer(at(5_500));
    assert!(p.line.stats().gaps_opened > 0);
}

#[test]
fn a_planned_replacement_costs_nothing() {
    let mut p = pair();
    p.close(1, at(3_000));
    p.splice(at(3_020), 10);
    p.frame(0, at(3_030), "D 11 11 95 1");
    p.frame(0, at(3_031), "Q 1");
    p.open(2, at(10_000));
    for (conn, ms) in [(0, 10_500), (2, 10_501)] {
        p.frame(conn, at(ms), "Q 2");
        p.frame(conn, at(ms), "D 12 12 95 2");
    }
    p.close(0, at(12_300));
    p.frame(2, at(12_400), "Q 3");
    p.frame(2, at(12_401), "D 13 13 95 3");
    assert_eq!(p.of(QUOTES), ["quote 1", "quote 2", "quote 3"]);
    assert_eq!(p.of(BOOK).iter().filter(|r| r.starts_with("gap")).count(), 0);
}

/// The process dies while the older of two sockets is stalled: the newest row came from the young one.
#[test]
fn what_a_stalled_socket_had_on_its_way_when_the_process_went_is_confessed_by_the_next_one() {
    let notes = |p: &Pair| -> Vec<(String, String)> {
        let of = |row: &&str| row.strip_prefix("raw ")?.split_once(' ').map(|(c, t)| (c.to_owned(), t.to_owned()));
        p.of("quality.test").iter().filter_map(of).collect()
    };
    let behind =
        |p: &Pair| -> Vec<String> { notes(p).into_iter().filter(|(c, _)| c == "behind").map(|(_, t)| t).collect() };
    let mut p = pair();
    p.close(1, at(1_000));
    p.frame(0, at(5_000), "T 1");
    p.frame(0, at(5_001), "Q 1");
    p.timer(at(5_500));
    let before = behind(&p).len();
    p.open(1, at(8_000));
    p.frame(1, at(8_100), "Q 9");
    p.frame(1, at(8_101), "T 9");
    p.timer(at(8_200));
    assert_eq!(behind(&p)[before..], [format!("0 {}", at(4_750).0)], "heard until 5.0 s, less what was under way");

    let row = |ms| TopicResume { last_recv: at(ms), last_event: at(ms), heard: at(ms), ..TopicResume::default() };
    let mut resume = Resume::default();
    resume.topics.insert("quality.test".into(), TopicResume { notes: notes(&p), ..TopicResume::default() });
    resume.topics.insert(QUOTES.into(), row(8_100));
    let mut again = pair_of(resume);
    again.open(0, at(20_000));
    again.frame(0, at(20_100), "Q 20");
    let starts: Vec<Ts> = again.gap_starts.iter().filter(|g| g.0 == QUOTES).map(|g| g.1).collect();
    assert_eq!(starts, [at(4_750)], "not 8.1 s");
    // Told once: a third process begins where the second one was.
    again.frame(0, at(20_200), "T 20");
    again.timer(at(40_000));
    again.timer(at(41_000));
    assert_eq!(behind(&again), ["0 0"]);

    // The older socket speaks again, of what came after the join: nothing is owed any more.
    p.frame(0, at(10_900), "T 10");
    p.timer(at(11_000));
    assert_eq!(behind(&p).last().map(String::as_str), Some("0 0"));
}

/// The first socket stalls at 5 s and is gone at 14 s; its sibling is back at 8 s and has brought a trade since.
fn stalled_pair(history: TradeHistory) -> Pair {
    let mut p = loose_pair(history);
    p.frame(0, at(5_000), "T 5");
    p.frame(1, at(5_001), "T 5");
    p.close(1, at(5_500));
    p.open(1, at(8_000));
    if matches!(history, TradeHistory::ByTimeWithOverlap(_)) {
        // The venue begins with old ones.
        p.frame(1, at(8_001), "T 5");
    }
    p.frame(1, at(9_000), "T 9");
    p.close(0, at(14_000));
    p
}

/// Ids that do not count tell nothing of what the other socket lacks: it is confessed, or asked for.
#[test]
fn trades_whose_ids_do_not_count_are_missed_like_a_stream_without_ids() {
    let stalled = |history| {
        let mut p = stalled_pair(history);
        p.frame(1, at(15_000), "T 15");
        let from = p.gap_starts.iter().find(|(topic, _)| topic == TRADES).map(|(_, from)| *from);
        assert!(from.is_some_and(|from| from <= at(5_001)), "{from:?}");
        p
    };
    let p = stalled(TradeHistory::Impossible { consecutive: false });
    assert_eq!(p.of(TRADES), ["trade 5", "trade 9", "gap lost disconnected 0-0", "trade 15"]);
    let overlap = Duration::from_millis(50);
    let mut p =
        stalled(TradeHistory::ByTimeWithOverlap(ByTime { page_max: 100, reach: None, overlap, downwards: false }));
    // What lies before the last trade is on the tape at once, what is behind it with the next one.
    let open = "gap open disconnected 0-0";
    assert_eq!(p.of(TRADES), ["trade 5", "trade 9", open, open, "trade 15"]);
    heal(&mut p, at(16_000), "4 5 6 7 9 11 15 16");
    heal(&mut p, at(17_000), "4 5 6 7 9 11 15 16");
    let healed = "gap healed disconnected 0-0";
    let late = ["trade 11 late", healed, "trade 6 late", "trade 7 late", healed];
    assert_eq!(p.of(TRADES)[5..], late, "4 is older than what is doubted, and 16 younger");
}

/// Answers the next page of trades that is asked for.
fn heal(p: &mut Pair, now: Ts, page: &str) {
    p.actions.clear();
    p.timer(now);
    let asked = p.actions.iter().find_map(|a| match a {
        LineAction::Fetch(conn, id, ..) if id.kind == FetchKind::TradesAt => Some((*conn, *id)),
        _ => None,
    });
    let (conn, id) = asked.expect("it is asked for");
    let reply = Reply::Answer { status: 200, body: page.as_bytes() };
    p.line.on_fetched(conn, now + Duration::from_millis(10), id, reply, &mut p.out);
    p.take();
}

/// A subscription may begin with the best prices that the process before appended last: they are no second row, whichever socket brings
/// them, and however late.
#[test]
fn best_prices_from_before_a_restart_are_no_second_row() {
    let quote = wholetape_model::Quote {
        bid: wholetape_model::Price(1),
        bid_size: wholetape_model::Size(1),
        ask: wholetape_model::Price(2),
        ask_size: wholetape_model::Size(1),
        update_id: 7,
    };
    let last_quote = Some((Ts::ZERO, wholetape_model::Scales::default(), quote));
    let state = TopicResume { last_quote, last_recv: T0, last_event: T0, ..TopicResume::default() };
    let resume = || {
        let mut resume = Resume::default();
        resume.topics.insert(QUOTES.into(), state.clone());
        resume
    };
    let mut one = super::tests::bench(true, resume()).open(at(2_000));
    one.frame(at(2_001), "Q 7");
    one.frame(at(2_002), "Q 8");
    assert_eq!(one.of(QUOTES), ["gap lost down 0-0", "quote 8"]);

    let mut p = pair_of(resume());
    p.open(0, at(2_000));
    p.frame(0, at(2_001), "Q 7");
    p.open(1, at(2_002));
    p.frame(0, at(2_003), "Q 8");
    for (ms, frame) in [(2_004, "Q 7"), (2_005, "Q 8"), (2_006, "Q 9")] {
        p.frame(1, at(ms), frame);
    }
    let quotes: Vec<_> = p.of(QUOTES).into_iter().filter(|row| row.starts_with("quote")).collect();
    assert_eq!(quotes, ["quote 8", "quote 9"]);
}

/// The process is killed between the end of the stalled socket and the next trade: what that socket had on its way is older than the
/// newest trade on the tape, so the tape alone can tell the next process of it.
#[test]
fn a_kill_before_the_next_trade_does_not_forget_what_the_older_socket_had_on_its_way() {
    let overlap = Duration::from_millis(50);
    let history = TradeHistory::ByTimeWithOverlap(ByTime { page_max: 100, reach: None, overlap, downwards: false });
    let mut p = stalled_pair(history);
    p.timer(at(14_050));
    assert_eq!(p.of(TRADES), ["trade 5", "trade 9", "gap open disconnected 0-0"]);
    let open = p.marks.iter().rfind(|(topic, _)| topic == TRADES).map(|(_, mark)| mark.clone()).unwrap();
    assert!(open.from_ts <= at(5_001) && open.to_ts >= at(9_000), "{open:?}");

    let named = [5_000_u64, 9_000].map(|ms| Named { id: (ms / 1_000).into(), event: at(ms), recv: at(ms) });
    let trades = TopicResume {
        named: named.to_vec(),
        open_gaps: vec![open],
        last_recv: at(9_000),
        last_event: at(9_000),
        oldest: at(5_000),
        ..TopicResume::default()
    };
    let mut resume = Resume::default();
    resume.topics.insert(TRADES.into(), trades);
    let script = || Script { history, tick: Duration::from_secs(1), ..Script::default() };
    let mut again = pair_with(script, resume);
    again.open(0, at(20_000));
    again.frame(0, at(21_000), "T 21");
    heal(&mut again, at(22_000), "5 6 7 9 11 21");
    heal(&mut again, at(23_000), "4 5 6 7 9 11 21");
    let rows = again.of(TRADES);
    for late in ["trade 6 late", "trade 7 late", "trade 11 late"] {
        assert_eq!(rows.iter().filter(|row| **row == late).count(), 1, "{late} of {rows:?}");
    }
    assert_eq!(rows.iter().filter(|row| row.starts_with("gap healed")).count(), 2, "{rows:?}");
}

#[test]
fn a_sibling_that_carries_the_trades_leaves_nothing_to_confess_whatever_their_ids() {
    for history in [
        TradeHistory::Impossible { consecutive: false },
        TradeHistory::ByTimeWithOverlap(ByTime {
            page_max: 100,
            reach: None,
            overlap: Duration::ZERO,
            downwards: false,
        }),
    ] {
        let mut p = loose_pair(history);
        for n in 4..9 {
            p.frame(0, at(n * 1_000), &format!("T {n}"));
            p.frame(1, at(n * 1_000 + 1), &format!("T {n}"));
        }
        p.close(0, at(9_000));
        p.frame(1, at(10_000), "T 10");
        assert_eq!(p.of(TRADES), ["trade 4", "trade 5", "trade 6", "trade 7", "trade 8", "trade 10"]);
    }
}

/// The sibling that carries alone is deaf to trades, and nobody knows: what a socket begins with then is newer than all that is held.
#[test]
fn a_socket_that_begins_with_newer_trades_than_its_siblings_brought_shows_what_they_missed() {
    let overlap = Duration::from_secs(1);
    let mut p =
        loose_pair(TradeHistory::ByTimeWithOverlap(ByTime { page_max: 100, reach: None, overlap, downwards: false }));
    for n in 4..9 {
        p.frame(0, at(n * 1_000), &format!("T {n}"));
        p.frame(1, at(n * 1_000 + 1), &format!("T {n}"));
    }
    p.close(1, at(8_100));
    // As it should be: what it begins with is known.
    p.open(1, at(8_200));
    for n in 8..10 {
        p.frame(1, at(9_100), &format!("T {n}"));
    }
    p.close(1, at(9_200));
    p.open(1, at(14_000));
    p.frame(1, at(14_100), "T 13");
    assert_eq!(p.of(TRADES)[5..], ["trade 9", "gap open silent 0-0", "trade 13"]);
    heal(&mut p, at(15_000), "8 9 11 12 13");
    assert_eq!(p.of(TRADES)[8..], ["trade 11 late", "trade 12 late", "gap healed silent 0-0"]);
}
