//! The client that is judged: a real WebSocket connection over loopback which follows PROTOCOL §0 on every topic.
//!
//! It knows nothing of the process that it runs in but an address and topic names. A topic that does not exist yet is
//! asked for again; a broken connection is made anew and goes on at its positions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use wholetape_model::{Kind, Topic};
use wholetape_wire::client::{Client, Happening};

use crate::verdict::Seen;
use crate::verdict::facts::{self, Item};

/// Between two `sub`s: half of the rate that the protocol allows.
const SUB_EVERY: Duration = Duration::from_millis(100);
/// A topic that does not exist yet is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const NO_SUCH_TOPIC: u64 = 2001;
const RATE_LIMITED: u64 = 1006;
const ALREADY_SUBSCRIBED: u64 = 2006;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// What the client has received so far; shared with the status line and the verdict.
#[derive(Debug, Clone, Default)]
pub struct Received(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    rows: u64,
    trades: u64,
    gaps: u64,
    connects: u64,
}

/// Figures for the status line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub rows: u64,
    pub trades: u64,
    pub gaps: u64,
    pub gaps_open: u64,
    pub books: usize,
    pub books_live: usize,
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// Takes out what came since the last call. What the rest needs to go on (positions, books, open gaps) stays.
    pub fn drain(&self) -> Seen {
        let mut state = self.lock();
        let topics = state.seen.topics.iter_mut().map(|(name, one)| (name.clone(), one.drain())).collect();
        Seen { topics, errors: Vec::new() }
    }

    /// The first complaints about seqs or the protocol.
    pub fn complaints(&self) -> Vec<String> {
        let state = self.lock();
        let topics =
            state.seen.topics.iter().flat_map(|(name, one)| one.broken.iter().map(move |why| format!("{name}: {why}")));
        state.seen.errors.iter().cloned().chain(topics).take(20).collect()
    }

    /// Gaps without a verdict, and faults of seq or of the protocol.
    pub fn faults(&self) -> (u64, u64) {
        let state = self.lock();
        let topics = || state.seen.topics.values();
        let faults = topics().map(|one| one.broken_count).sum::<u64>() + state.seen.errors.len() as u64;
        (topics().map(|one| one.open.len() as u64).sum(), faults)
    }

    pub fn figures(&self) -> Figures {
        let state = self.lock();
        let topics = &state.seen.topics;
        let books = || topics.iter().filter(|(name, _)| name.starts_with("book.")).map(|(_, t)| t);
        Figures {
            rows: state.rows,
            trades: state.trades,
            gaps: state.gaps,
            gaps_open: topics.values().map(|t| t.open_gaps().count() as u64).sum(),
            books: books().count(),
            books_live: books().filter(|t| t.book.live).count(),
        }
    }
}

/// What to listen to, and how.
pub struct Plan {
    /// `ws://127.0.0.1:9100/v1/ws`
    pub url: String,
    pub topics: Vec<String>,
    /// Change the price of one trade as it arrives: the self-test of the verdict.
    pub spoil: bool,
}

/// Listens until `stop`, then reads what is still on its way until the gateway says goodbye.
pub async fn listen(plan: Plan, received: Received, stop: CancellationToken) {
    let mut positions: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut spoil = plan.spoil;
    while !stop.is_cancelled() {
        match conversation(&plan, &mut positions, &mut spoil, &received, &stop).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(%error, "the verdict's client lost its connection");
                let connects = received.lock().connects;
                if connects == 0 {
                    sleep(Duration::from_millis(100)).await;
                } else {
                    sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }
}

/// One connection. `Ok` when the server ended it after `stop`.
async fn conversation(
    plan: &Plan,
    positions: &mut BTreeMap<String, (String, u64)>,
    spoil: &mut bool,
    received: &Received,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (mut socket, _) = timeout(Duration::from_secs(5), connect_async(&plan.url)).await.context("no answer")??;
    received.lock().connects += 1;
    let mut talk = Talk { client: Client::new(), asked: BTreeMap::new(), next_id: 1, out: Vec::new() };
    send(&mut socket, json!({"op": "hello", "batch": true, "agent": "wholetape demo"}).to_string()).await?;
    let mut queue: Vec<(Instant, String)> = plan.topics.iter().map(|t| (Instant::now(), t.clone())).collect();
    queue.reverse();
    let mut ticks = tokio::time::interval(SUB_EVERY);
    let mut goodbye = None;
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    talk.client.on_text(text.as_str(), &mut talk.out);
                    for happening in std::mem::take(&mut talk.out) {
                        if let Some(text) = talk.happened(happening, &mut queue, spoil, received) {
                            send(&mut socket, text).await?;
                        }
                    }
                    for (topic, state) in talk.client.positions() {
                        match positions.get_mut(topic) {
                            Some(at) => at.1 = state.last,
                            None => _ = positions.insert(topic.to_owned(), (state.epoch.clone(), state.last)),
                        }
                    }
                }
                Some(Ok(Message::Close(_))) | None if stop.is_cancelled() => return Ok(()),
                Some(Ok(Message::Close(frame))) => anyhow::bail!("closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) if stop.is_cancelled() => {
                    tracing::debug!(%error, "closed after stop");
                    return Ok(());
                }
                Some(Err(error)) => return Err(error.into()),
                None => anyhow::bail!("the connection ended"),
            },
            _ = ticks.tick() => {
                if let Some(at) = queue.iter().rposition(|(at, _)| *at <= Instant::now()) {
                    let (_, topic) = queue.remove(at);
                    let text = talk.sub(topic, positions);
                    send(&mut socket, text).await?;
                }
            }
            () = stop.cancelled(), if goodbye.is_none() => goodbye = Some(Instant::now() + Duration::from_secs(10)),
            () = sleep_until(goodbye), if goodbye.is_some() => return Ok(()),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn send(socket: &mut Socket, text: String) -> anyhow::Result<()> {
    timeout(Duration::from_secs(10), socket.send(Message::Text(text.into())))
        .await
        .context("the gateway does not read")??;
    Ok(())
}

/// One connection's questions and answers.
struct Talk {
    client: Client,
    /// `sub` id → topic.
    asked: BTreeMap<u64, String>,
    next_id: u64,
    out: Vec<Happening>,
}

impl Talk {
    fn sub(&mut self, topic: String, positions: &BTreeMap<String, (String, u64)>) -> String {
        let id = self.next_id;
        self.next_id += 1;
        let from = match positions.get(&topic) {
            Some((epoch, seq)) => json!({"epoch": epoch, "seq": seq}),
            None => json!("earliest"),
        };
        let text = json!({"op": "sub", "id": id, "topic": topic, "from": from}).to_string();
        self.asked.insert(id, topic);
        text
    }

    /// Takes one happening in; what is to be sent comes back.
    fn happened(
        &mut self,
        happening: Happening,
        queue: &mut Vec<(Instant, String)>,
        spoil: &mut bool,
        received: &Received,
    ) -> Option<String> {
        let mut state = received.lock();
        match happening {
            Happening::Send(text) => return Some(text),
            Happening::Subscribed { topic, seq } => {
                let one = state.seen.topics.entry(topic).or_default();
                if one.rows == 0 && one.last == 0 {
                    (one.start, one.last) = (seq, seq);
                } else if one.last != seq {
                    let last = one.last;
                    one.complain(|| format!("resumed behind {seq}, the last was {last}"));
                    one.last = seq;
                }
            }
            Happening::Apply { topic, from, to, message } => apply(&mut state, &topic, from, to, message, spoil),
            Happening::Missed { topic, from, to, why } => {
                let one = state.seen.topics.entry(topic).or_default();
                one.complain(|| format!("missed {from} to {to}: {why}"));
                one.last = one.last.max(to);
            }
            Happening::Said(message) => self.said(&message, queue, &mut state),
            Happening::Malformed(text) => {
                let short: String = text.chars().take(120).collect();
                state.seen.errors.push(format!("no message of the protocol: {short}"));
            }
            Happening::Duplicate { .. } => {}
        }
        None
    }

    fn said(&mut self, message: &Value, queue: &mut Vec<(Instant, String)>, state: &mut State) {
        if message["op"] != "err" {
            return;
        }
        let topic = message["id"].as_u64().and_then(|id| self.asked.remove(&id));
        match (message["code"].as_u64(), topic) {
            (Some(NO_SUCH_TOPIC | RATE_LIMITED), Some(topic)) => queue.insert(0, (Instant::now() + ASK_AGAIN, topic)),
            (Some(ALREADY_SUBSCRIBED), _) => {}
            _ => state.seen.errors.push(format!("the gateway says {message}")),
        }
    }
}

fn apply(state: &mut State, topic: &str, from: u64, to: u64, mut message: Value, spoil: &mut bool) {
    let Ok(parsed) = Topic::parse(topic) else {
        return state.seen.errors.push(format!("`{topic}` is no topic"));
    };
    state.rows += 1;
    if *spoil && topic.starts_with("trade.") && state.trades > 20 && message["op"] == "data" {
        *spoil = false;
        message["data"]["price"] = json!("0.00000001");
    }
    let snap = message["op"] == "snap";
    let live = message["state"].as_str().map(|state| state == "live");
    let item = facts::of_message(parsed.kind(), &message);
    state.trades += u64::from(matches!(item, Some(Item::Trade(_))));
    let one = state.seen.topics.entry(topic.to_owned()).or_default();
    if snap {
        // A snapshot stands for everything before it, be it one record or a state built by the gateway.
        if from + 1 < to {
            one.book.jumps.push((one.book.update_id, message["vid"].as_u64().unwrap_or(0)));
        }
        one.last = one.last.max(from);
    }
    if to > one.last || !snap {
        one.covers(from, to);
    }
    let gaps = one.gaps.len();
    match item {
        Some(item) => {
            one.at = message.get("data").and_then(|data| facts::int(data, "ts_recv")).unwrap_or(0);
            one.take(item);
        }
        None => one.complain(|| format!("seq {to} is not as the protocol describes: {message}")),
    }
    if let Some(live) = live.filter(|_| message["op"] != "mark") {
        one.book.live = live;
    }
    if parsed.kind() == Kind::Book {
        one.book.believe(crate::verdict::figures::wall_ns());
    }
    let more = one.gaps.len() - gaps;
    state.gaps += more as u64;
}
