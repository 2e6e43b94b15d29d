//! What the application behind the client has, and what it may never see.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wholetape_wire::BookView;
use wholetape_wire::client::{Client, Happening, apply_book};

use super::rig::BOOK;
use super::server::Market;
use super::{ACKED, BEGIN, GAME, SINCE, VIEW};

type Ticket = (String, String);

/// See the module.
#[derive(Default)]
pub struct App {
    pub rule: Client,
    /// The session that it wants back, and the one that came with this connection.
    pub ticket: Option<Ticket>,
    pub fresh: Option<Ticket>,
    /// Newest id of each topic of trades.
    pub ids: BTreeMap<String, u64>,
    /// Which process wrote each row, by topic and id.
    pub writers: BTreeMap<String, Vec<u64>>,
    /// How far the history came: epoch, P and rows.
    pub history: Option<(String, u64, u64)>,
    pub book: BookView,
    pub view: BookView,
    /// Of [`VIEW`]: behind which seq it was first subscribed, and the marks that came since.
    pub viewed: Option<u64>,
    pub marks: Vec<u64>,
    /// Stretches of it that a state stands for.
    pub conflated: u64,
    /// Publications: confirmed, and asked for.
    pub confirmed: u64,
    pub asked: u64,
    /// The server greeted on this connection.
    pub welcome: bool,
    /// How often the history was begun anew.
    pub histories: u64,
    /// To be acknowledged: topics with news.
    pub owed: BTreeMap<String, u64>,
    pub resumed: u64,
    pub refused: u64,
    pub missed: Vec<String>,
}

/// Publications without an answer, at most.
const UNANSWERED: u64 = 8;

/// Publication `n`, the same whenever it is said.
fn publication(n: u64) -> String {
    json!({"op": "pub", "topic": GAME, "mid": format!("mid-{n}"), "event": "drop", "data": {"n": n}}).to_string()
}

/// The process that wrote a row: its size is so many thousandths. How many zeros end it is the file's, where it comes from the catalog.
pub fn writer(message: &Value) -> u64 {
    let (whole, part) = message["data"]["size"].as_str().unwrap().split_once('.').unwrap();
    format!("{whole}{part:0<3}").parse().unwrap()
}

fn ticket(m: &Value) -> Ticket {
    let text = |key: &str| m[key].as_str().unwrap().to_owned();
    (text("session"), text("resume"))
}

impl App {
    fn row(&mut self, topic: &str, message: &Value) {
        let id = message["data"]["id"].as_u64().unwrap();
        let last = self.ids.entry(topic.to_owned()).or_default();
        assert_eq!(id, *last + 1, "{topic}: lost, repeated or out of order: {message}");
        *last = id;
        assert_eq!(message["seq"], id, "{topic}: another seq: {message}");
        let writer = writer(message);
        let known = self.writers.entry(topic.to_owned()).or_default();
        match known.get(id as usize - 1) {
            Some(before) => assert_eq!(*before, writer, "{topic}: another row than before: {message}"),
            None => known.push(writer),
        }
    }

    /// The history once more, from its beginning.
    pub fn since_anew(&mut self) {
        self.rule.forget(SINCE);
        self.history = None;
        self.ids.remove(SINCE);
        self.histories += 1;
    }

    /// Publishes the next one, unless too many are not answered.
    pub fn publish(&mut self) -> Option<String> {
        (self.welcome && self.asked < self.confirmed + UNANSWERED).then(|| {
            self.asked += 1;
            publication(self.asked)
        })
    }

    /// Takes one frame; what is to be sent then.
    pub fn frame(&mut self, text: &str) -> Vec<String> {
        let (mut out, mut send) = (Vec::new(), Vec::new());
        self.rule.on_text(text, &mut out);
        for h in out {
            match h {
                // Its checksum says whether it is right.
                Happening::Apply { topic, message, .. } if topic == BOOK => {
                    apply_book(&mut self.book, &message).unwrap()
                }
                Happening::Apply { topic, to, message, .. } if topic == VIEW => {
                    if message["op"] == "mark" {
                        self.marks.push(to);
                    } else {
                        apply_book(&mut self.view, &message).unwrap();
                    }
                }
                Happening::Apply { topic, to, message, .. } => {
                    self.row(&topic, &message);
                    if topic != SINCE {
                        self.owed.insert(topic, to);
                    }
                }
                Happening::Send(text) => send.push(text),
                Happening::Missed { topic, why, .. } if topic == VIEW && why == "conflated" => self.conflated += 1,
                Happening::Missed { topic, from, to, why } => self.missed.push(format!("{topic} {from}..={to} {why}")),
                Happening::Subscribed { topic, seq } if topic == VIEW => _ = self.viewed.get_or_insert(seq),
                Happening::Subscribed { .. } => {}
                Happening::Duplicate { topic, seq } => panic!("{topic} {seq} came twice"),
                Happening::Malformed(text) => panic!("{text}"),
                Happening::Said(m) => self.said(&m, &mut send),
            }
        }
        if self.owed.values().any(|seq| seq % 50 == 0) {
            send.push(json!({"op": "ack", "a": std::mem::take(&mut self.owed)}).to_string());
        }
        send
    }

    fn said(&mut self, m: &Value, send: &mut Vec<String>) {
        match m["op"].as_str().unwrap() {
            "welcome" => {
                self.owed.clear();
                self.fresh = Some(ticket(m));
                let known = self.rule.positions().next().is_some();
                match self.ticket.clone().filter(|_| known) {
                    Some((session, secret)) => send.push(self.rule.resume(&session, &secret)),
                    None => self.anew(send),
                }
                self.welcome = true;
                send.extend((self.confirmed + 1..=self.asked).map(publication));
            }
            "resumed" => {
                self.resumed += 1;
                // A `sub` that the line swallowed: the session never had that topic.
                let topics = m["topics"].as_object().unwrap();
                let goes_on = |topic: &str| topics.get(topic).is_some_and(|how| how["r"] != "denied");
                assert!(topics.values().all(|how| how["r"] != "denied" || how["code"] == 2008), "{m}");
                if let (Some((_, secret)), Some(new)) = (&mut self.ticket, m["resume"].as_str()) {
                    new.clone_into(secret);
                }
                self.subscribe(goes_on, send);
            }
            "hist" => {
                for row in m["data"].as_array().unwrap() {
                    self.row(SINCE, row);
                }
                let number = |key: &str| m[key].as_u64().unwrap();
                self.history = Some((m["epoch"].as_str().unwrap().to_owned(), number("asof"), number("i")));
            }
            "err" if m["code"] == 1010 => {
                // The server died since, and its sessions with it. Positions do as well.
                self.refused += 1;
                self.anew(send);
            }
            "ok" if m["topic"] == GAME => {
                self.confirmed += 1;
                let mid = format!("mid-{}", self.confirmed);
                assert_eq!((&m["mid"], &m["seq"]), (&json!(mid), &json!(self.confirmed)), "{m}");
            }
            "hb" | "ok" | "pong" | "notice" => {}
            _ => panic!("{m}"),
        }
    }

    fn anew(&mut self, send: &mut Vec<String>) {
        self.ticket.clone_from(&self.fresh);
        self.subscribe(|_| false, send);
    }

    /// Asks for what does not go on with the session, from where it stands.
    fn subscribe(&mut self, goes_on: impl Fn(&str) -> bool, send: &mut Vec<String>) {
        for topic in ACKED.into_iter().chain([BOOK, VIEW, SINCE]) {
            let from = match self.rule.state(topic) {
                Some(_) if goes_on(topic) => continue,
                Some(state) => json!({"epoch": state.epoch, "seq": state.last}),
                None if topic == BOOK || topic == VIEW => json!("live"),
                None if topic == SINCE => match &self.history {
                    Some((epoch, asof, i)) => json!({"ts": BEGIN / 1_000, "asof": asof, "i": i, "epoch": epoch}),
                    None => json!({"ts": BEGIN / 1_000}),
                },
                None => json!("earliest"),
            };
            let ack = if ACKED.contains(&topic) { "cum" } else { "none" };
            let mut sub = json!({"op": "sub", "id": 1, "topic": topic, "from": from, "ack": ack});
            if topic == VIEW {
                (sub["conflate"], sub["depth"]) = (json!("100ms"), json!(10));
            }
            send.push(sub.to_string());
        }
    }

    pub fn behind(&self, all: Market) -> u64 {
        let of = |topic: &str, n: u64| n - self.ids.get(topic).copied().unwrap_or(0);
        ACKED.iter().map(|topic| of(topic, all.trades)).chain([of(SINCE, all.raw)]).max().unwrap_or(0)
    }
}
