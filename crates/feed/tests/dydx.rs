//! dYdX through the session and the whole line: what a lost message costs, and how trades without numbers are made whole again.
//! Messages as the indexer's source and documents spell them (states of 2026-03 and 2026-04, read 2026-11-20).

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineAction, LineOut, LinePlan, Resume};
use wholetape_model::{Body, InstrumentId, Kind, LinkCause, Ts};
use wholetape_venue::{Channel, FetchKind, Frame, Reply, SplitLimits, connections};

const T0: i64 = 1_790_000_000_000;

fn at(ms: i64) -> Ts {
    Ts::from_millis(T0 + ms)
}

/// One connection to an indexer whose chain makes a block a second, each with two trades.
struct Market {
    line: Line,
    out: LineOut,
    /// The connection, and its next message.
    connection: u32,
    n: u64,
    /// `topic: row`, in order.
    rows: Vec<String>,
    asked: Vec<(FetchKind, u64, String)>,
    reconnects: Vec<String>,
}

impl Market {
    fn new() -> Self {
        let channels = [Channel::Trade, Channel::Book, Channel::parse("bar-1m").unwrap()];
        let plans = connections("dydx", &[(0, "AAA-USD".into())], &channels, &SplitLimits::default()).unwrap();
        let plan = LinePlan {
            name: "test".into(),
            instruments: vec![InstrumentId::new("AAA-USD-PERP", "DYDX")],
            conns: plans.iter().map(|p| ConnPlan::of(p).unwrap()).collect(),
            trade_source: Kind::Trade,
            heal: true,
            discover: None,
            checks: wholetape_quality::CheckConfig::default(),
            resume: Resume::default(),
        };
        let mut market = Self {
            line: Line::new(plan),
            out: LineOut::default(),
            connection: 0,
            n: 0,
            rows: Vec::new(),
            asked: Vec::new(),
            reconnects: Vec::new(),
        };
        market.open(0);
        market
    }

    fn open(&mut self, ms: i64) {
        self.connection += 1;
        self.n = 0;
        self.line.on_open(0, ConnMeta { number: self.connection }, at(ms), &mut self.out);
        self.take();
        self.message(ms, "connected", "", "", "");
        // All is asked for within two seconds; the answers come together.
        for tick in 0..20 {
            self.timer(ms + tick * 100);
        }
        let ms = ms + 2_000;
        let block = (ms / 1_000) as u64;
        let trades: Vec<String> = (block - 1..=block).rev().flat_map(|b| [trade(b, 1), trade(b, 0)]).collect();
        self.message(ms, "subscribed", "v4_block_height", "v4_block_height", r#"{"height":"1"}"#);
        self.message(ms, "subscribed", "v4_trades", "AAA-USD", &format!(r#"{{"trades":[{}]}}"#, trades.join(",")));
        let book = r#"{"bids":[{"price":"100","size":"1"}],"asks":[{"price":"101","size":"3"}]}"#;
        self.message(ms, "subscribed", "v4_orderbook", "AAA-USD", book);
        let candles = format!(r#"{{"candles":[{}]}}"#, candle(block / 60));
        self.message(ms, "subscribed", "v4_candles", "AAA-USD/1MIN", &candles);
    }

    fn message(&mut self, ms: i64, kind: &str, channel: &str, id: &str, contents: &str) {
        let (connection, n) = (self.connection, self.n);
        let rest = match contents {
            "" => String::new(),
            _ => format!(r#","id":"{id}","channel":"{channel}","version":"1.0.0","contents":{contents}"#),
        };
        let text = format!(r#"{{"type":"{kind}","connection_id":"c{connection}","message_id":{n}{rest}}}"#);
        self.n += 1;
        self.line.on_frame(0, at(ms), Frame::Text(text.as_bytes()), &mut self.out);
        self.take();
    }

    fn block(&mut self, block: u64) {
        let contents = format!(r#"{{"trades":[{},{}]}}"#, trade(block, 0), trade(block, 1));
        self.message(block as i64 * 1_000 + 300, "channel_data", "v4_trades", "AAA-USD", &contents);
    }

    fn timer(&mut self, ms: i64) {
        if self.line.next_timer().is_some_and(|due| due <= at(ms)) {
            self.line.on_timer(at(ms), &mut self.out);
            self.take();
        }
    }

    /// What REST answers: the newest `limit` trades up to a time or a block, of blocks `0..=newest`.
    fn answer(&mut self, ms: i64, newest: u64, limit: usize) {
        for (kind, arg, path) in std::mem::take(&mut self.asked) {
            if kind != FetchKind::TradesAt {
                continue;
            }
            let to = match path.split_once("createdBeforeOrAtHeight=") {
                Some((_, height)) => height.parse::<u64>().unwrap() - 1_000,
                None => (arg as i64 - T0).div_euclid(1_000) as u64,
            };
            let rows = (0..=newest.min(to)).rev().flat_map(|b| [trade(b, 1), trade(b, 0)]).take(limit);
            let body = format!(r#"{{"trades":[{}]}}"#, rows.collect::<Vec<_>>().join(","));
            let id = wholetape_venue::FetchId { kind, instrument: 0, arg };
            let reply = Reply::Answer { status: 200, body: body.as_bytes() };
            self.line.on_fetched(0, at(ms), id, reply, &mut self.out);
            self.take();
        }
    }

    fn take(&mut self) {
        for row in &self.out.rows {
            let topic = self.line.topics()[row.topic as usize].topic.kind();
            let text = match self.out.arena().view(&row.body) {
                Body::Book(b) => format!("{:?} {}", b.action, b.last_id),
                Body::Validity(v) => v.state.as_str().to_owned(),
                Body::Gap(g) => format!("gap {} {}", g.state.as_str(), g.cause.as_str()),
                Body::Trade(t) => t.id.to_string(),
                Body::Bar(b) => format!("bar {}", if b.closed { "closed" } else { "open" }),
                _ => continue,
            };
            self.rows.push(format!("{topic}: {text}"));
        }
        for action in self.out.actions.drain(..) {
            match action {
                LineAction::Fetch(_, id, request, _) => self.asked.push((id.kind, id.arg, request.path)),
                LineAction::Reconnect(_, _, why) => self.reconnects.push(why),
                _ => {}
            }
        }
        self.out.clear();
    }

    fn of(&self, topic: &str) -> Vec<&str> {
        self.rows.iter().filter_map(|r| r.strip_prefix(topic)?.strip_prefix(": ")).collect()
    }
}

fn id(block: u64, place: u64) -> String {
    format!("{:08x}00000002{place:08x}", block + 1_000)
}

fn trade(block: u64, place: u64) -> String {
    let time = at(block as i64 * 1_000).to_string();
    format!(
        r#"{{"id":"{}","side":"BUY","size":"1","price":"100.5","type":"LIMIT","createdAt":"{}Z","createdAtHeight":"{}"}}"#,
        id(block, place),
        &time[..23],
        block + 1_000
    )
}

fn candle(minute: u64) -> String {
    let time = Ts::from_millis((T0 / 60_000 + minute as i64) * 60_000).to_string();
    format!(
        r#"{{"startedAt":"{}Z","ticker":"AAA-USD","resolution":"1MIN","low":"1","high":"9","open":"2","close":"3","baseTokenVolume":"3","usdVolume":"6","trades":2,"startingOpenInterest":"1"}}"#,
        &time[..23]
    )
}

#[test]
fn a_lost_message_is_a_gap_of_every_stream_and_trades_are_healed_over_it() {
    let mut m = Market::new();
    for block in 3..20 {
        m.block(block);
    }
    assert!(m.reconnects.is_empty() && m.line.stats().gaps_opened == 0, "{:?}", m.rows);
    // Two messages are lost. The one that shows it holds a trade of a later block, and so does what follows until the socket closes.
    m.n += 2;
    m.rows.clear();
    m.block(21);
    m.block(22);
    assert_eq!(m.reconnects.len(), 1, "{:?}", m.reconnects);
    assert!(m.reconnects[0].contains("came where"), "{}", m.reconnects[0]);
    assert_eq!(m.of("trade"), [] as [&str; 0], "nothing stands behind the loss as if there were none");
    m.line.on_closed(0, at(23_000), LinkCause::Error, &mut m.out);
    m.take();
    m.open(150_000);
    let gaps = |topic: &str| m.of(topic).into_iter().filter(|r| r.starts_with("gap")).collect::<Vec<_>>();
    assert_eq!(gaps("book"), ["gap open disconnected", "gap lost disconnected"]);
    assert_eq!(gaps("bar-1m"), ["gap open disconnected", "gap lost disconnected"]);
    assert_eq!(gaps("trade"), ["gap open disconnected"]);
    // Blocks 20 to 150 are asked for, a hundred trades at a time.
    let mut ms = 153_000;
    for _ in 0..40 {
        m.timer(ms);
        m.answer(ms + 50, (ms / 1_000) as u64, 100);
        ms += 250;
    }
    let trades = m.of("trade");
    assert_eq!(trades.last(), Some(&"gap healed disconnected"), "{trades:?}");
    let mut held: Vec<String> = trades.iter().filter(|t| !t.starts_with("gap")).map(|t| (*t).to_owned()).collect();
    held.sort();
    let all: Vec<String> = (20..=152).flat_map(|b| [id(b, 0), id(b, 1)]).collect();
    assert_eq!(held, all, "each once");
    assert_eq!(m.of("book").iter().filter(|r| r.starts_with("Snapshot")).count(), 1);
}

#[test]
fn books_are_asked_for_every_minute_and_mended_without_a_gap() {
    let mut m = Market::new();
    m.message(3_000, "channel_data", "v4_orderbook", "AAA-USD", r#"{"bids":[["99","5"]]}"#);
    let before = m.n;
    let mut answered = 0;
    for ms in (3_100..130_000).step_by(100) {
        m.timer(ms);
        for (kind, arg, path) in std::mem::take(&mut m.asked) {
            if kind == FetchKind::BookSnapshot {
                assert_eq!(path, "/v4/orderbooks/perpetualMarket/AAA-USD");
                let body = r#"{"bids":[{"price":"99","size":"5"}],"asks":[{"price":"101","size":"3"}]}"#;
                let id = wholetape_venue::FetchId { kind, instrument: 0, arg };
                let reply = Reply::Answer { status: 200, body: body.as_bytes() };
                m.line.on_fetched(0, at(ms), id, reply, &mut m.out);
                m.take();
                answered += 1;
            }
        }
    }
    assert_eq!(answered, 2);
    m.message(130_100, "channel_data", "v4_orderbook", "AAA-USD", r#"{"bids":[["98","1"]]}"#);
    let book = m.of("book");
    assert!(!book.iter().any(|r| r.starts_with("gap") || *r == "syncing"), "{book:?}");
    let last = format!("Delta {before}");
    let stands = format!("Snapshot {}", before - 1);
    assert_eq!(book[book.len() - 3..], [stands.as_str(), stands.as_str(), last.as_str()], "{book:?}");
    let flow = m.line.instruments()[0].book.as_ref().unwrap();
    let best = flow.book().unverified().best_bid().unwrap();
    assert_eq!(flow.book().unverified().scales().price(best.price).to_string(), "99", "the ghost at 100 is gone");
}
