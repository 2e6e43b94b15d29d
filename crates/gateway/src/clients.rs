//! Who is connected: what an operator sees of clients, and how one is sent away (`wholetape gateway clients`).
//!
//! A connection writes down how it stands when it is asked, and now and then while it is busy; nothing is counted for this on the
//! way of a message. Its session's name is in every log line about it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use wholetape_model::Class;
use wholetape_tape::WakeSet;

use crate::lock;
use crate::ws::sessions::WAKE;

/// A connection that does not say how it stands within this is shown as it stood last.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest `agent` that is shown.
const AGENT_MAX: usize = 64;

/// How a client does, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientState {
    /// It is being closed.
    Closing,
    /// Its socket takes nothing.
    Stalled,
    /// It was told that it lags, and has not caught up.
    Lagging,
    /// It does not acknowledge, and topics wait for that.
    Unacknowledged,
    /// It gives no credit, and topics wait for that.
    Uncredited,
    /// It reads what is older than the present.
    CatchingUp,
    /// It takes a session over.
    Resuming,
    /// It has not shown who it is, and may do nothing without.
    Unknown,
    Live,
}

impl ClientState {
    pub const ALL: [Self; 9] = [
        Self::Closing,
        Self::Stalled,
        Self::Lagging,
        Self::Unacknowledged,
        Self::Uncredited,
        Self::CatchingUp,
        Self::Resuming,
        Self::Unknown,
        Self::Live,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Stalled => "stalled",
            Self::Lagging => "lagging",
            Self::Unacknowledged => "unacknowledged",
            Self::Uncredited => "uncredited",
            Self::CatchingUp => "catching_up",
            Self::Resuming => "resuming",
            Self::Unknown => "unknown",
            Self::Live => "live",
        }
    }

    /// Somebody should know.
    const fn is_slow(self) -> bool {
        matches!(self, Self::Stalled | Self::Lagging)
    }
}

/// How a subscription does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicState {
    /// It waits for its answer.
    Opening,
    /// It reads what all read.
    Live,
    /// It follows a view: a view's last tick is its present.
    Viewing,
    /// It reads the tape for itself.
    Behind,
    /// It is read for, from what the tape let go.
    History,
    /// It waits for an acknowledgement.
    Unacknowledged,
    /// It waits for credit.
    Uncredited,
}

impl TopicState {
    pub const ALL: [Self; 7] =
        [Self::Opening, Self::Live, Self::Viewing, Self::Behind, Self::History, Self::Unacknowledged, Self::Uncredited];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Live => "live",
            Self::Viewing => "viewing",
            Self::Behind => "behind",
            Self::History => "history",
            Self::Unacknowledged => "unacknowledged",
            Self::Uncredited => "uncredited",
        }
    }
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientTopic {
    pub topic: String,
    pub class: &'static str,
    pub state: TopicState,
    /// Seqs from where it is to the head.
    pub behind: u64,
}

/// How one connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    pub session: String,
    /// `None`: it showed no credentials.
    pub principal: Option<String>,
    pub address: SocketAddr,
    /// What it says it is: `agent` of `hello`, else the request's `User-Agent`.
    pub agent: String,
    /// Microseconds since the Unix epoch, UTC.
    pub since: i64,
    pub state: ClientState,
    pub topics: Vec<ClientTopic>,
    /// Topics by class, highest first, and the seqs that they are behind.
    pub by_class: [(u64, u64); 4],
    /// Topics by [`TopicState`].
    pub by_state: [u64; 7],
    /// Seqs behind the heads, all topics together.
    pub behind: u64,
    /// Messages and bytes that wait for its socket.
    pub queued_messages: u64,
    pub queued_bytes: u64,
    /// Publications that wait for the disk.
    pub publishing: u64,
    pub sent_messages: u64,
    pub sent_bytes: u64,
    pub ops: u64,
    pub violations: u32,
}

/// Connected clients. Cheap to clone: give one to [`crate::Deps`] and keep one to ask.
#[derive(Clone, Default)]
pub struct Clients(Arc<Registry>);

#[derive(Default)]
struct Registry {
    next: AtomicU64,
    seats: Mutex<BTreeMap<u64, Arc<Seat>>>,
    told: Notify,
}

/// What an operator and a connection share.
pub(crate) struct Seat {
    set: WakeSet,
    asked: AtomicBool,
    kicked: AtomicBool,
    last: Mutex<Client>,
}

/// A connection's own end of its seat, which goes with it.
pub(crate) struct Place {
    number: u64,
    clients: Clients,
    seat: Arc<Seat>,
}

impl Clients {
    /// Every connection as it stands now, the oldest first.
    pub async fn list(&self) -> Vec<Client> {
        let seats: Vec<Arc<Seat>> = lock(&self.0.seats).values().cloned().collect();
        for seat in &seats {
            seat.asked.store(true, Ordering::Release);
            seat.set.push(WAKE);
        }
        let end = Instant::now() + PATIENCE;
        while seats.iter().any(|seat| seat.asked.load(Ordering::Acquire)) && Instant::now() < end {
            let _ = timeout(Duration::from_millis(20), self.0.told.notified()).await;
        }
        seats.iter().map(|seat| lock(&seat.last).clone()).collect()
    }

    /// Closes (4013) the connections of a session or an address (`ip`, `ip:port`): those that there were.
    pub async fn kick(&self, whom: &str) -> Vec<Client> {
        // A session's name may have changed since it was last told.
        self.list().await;
        let seats: Vec<Arc<Seat>> = lock(&self.0.seats).values().cloned().collect();
        let mut kicked = Vec::new();
        for seat in seats {
            let client = lock(&seat.last).clone();
            let named = [client.session.clone(), client.address.ip().to_string(), client.address.to_string()];
            if named.iter().any(|name| name == whom) {
                seat.kicked.store(true, Ordering::Release);
                seat.set.push(WAKE);
                kicked.push(client);
            }
        }
        kicked
    }

    pub(crate) fn enter(&self, set: &WakeSet, address: SocketAddr, agent: &str, session: &str, since: i64) -> Place {
        let client = Client {
            session: session.to_owned(),
            principal: None,
            address,
            agent: shown(agent),
            since,
            state: ClientState::Unknown,
            topics: Vec::new(),
            by_class: Default::default(),
            by_state: Default::default(),
            behind: 0,
            queued_messages: 0,
            queued_bytes: 0,
            publishing: 0,
            sent_messages: 0,
            sent_bytes: 0,
            ops: 0,
            violations: 0,
        };
        let seat = Seat {
            set: set.clone(),
            asked: AtomicBool::new(false),
            kicked: AtomicBool::new(false),
            last: Mutex::new(client),
        };
        let (seat, number) = (Arc::new(seat), self.0.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.0.seats).insert(number, seat.clone());
        Place { number, clients: self.clone(), seat }
    }

    /// Appends what is known of clients by state and class, as it was last told.
    pub(crate) fn write(&self, out: &mut String) {
        let (mut states, mut classes, mut queued) = ([0_u64; 9], [(0_u64, 0_u64); 4], 0);
        let mut topics_by = [0_u64; 7];
        for seat in lock(&self.0.seats).values() {
            let client = lock(&seat.last);
            states[client.state as usize] += 1;
            queued += client.queued_bytes;
            topics_by.iter_mut().zip(client.by_state).for_each(|(all, one)| *all += one);
            for (all, one) in classes.iter_mut().zip(client.by_class) {
                *all = (all.0 + one.0, all.1 + one.1);
            }
        }
        let mut gauge = |name: &str, help: &str, rows: &mut dyn Iterator<Item = (String, u64)>| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n");
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let by_state = ClientState::ALL.map(|s| (format!("{{state=\"{}\"}}", s.as_str()), states[s as usize]));
        gauge("gateway_clients", "Connections by how they stand.", &mut by_state.into_iter());
        let by_topic_state = TopicState::ALL.map(|s| (format!("{{state=\"{}\"}}", s.as_str()), topics_by[s as usize]));
        gauge("gateway_client_topic_states", "Subscriptions by how they do.", &mut by_topic_state.into_iter());
        let class = |c: Class| format!("{{class=\"{}\"}}", c.as_str());
        let topics = Class::ALL.map(|c| (class(c), classes[c as usize].0));
        gauge("gateway_client_topics", "Subscriptions by class.", &mut topics.into_iter());
        let behind = Class::ALL.map(|c| (class(c), classes[c as usize].1));
        gauge("gateway_client_behind_records", "Seqs behind the heads.", &mut behind.into_iter());
        gauge(
            "gateway_client_queued_bytes",
            "Bytes that wait for sockets.",
            &mut std::iter::once((String::new(), queued)),
        );
    }
}

impl Place {
    /// Somebody wants to know how the connection stands.
    pub fn is_asked(&self) -> bool {
        self.seat.asked.load(Ordering::Acquire)
    }

    pub fn is_kicked(&self) -> bool {
        self.seat.kicked.load(Ordering::Acquire)
    }

    pub fn set_agent(&self, agent: &str) {
        lock(&self.seat.last).agent = shown(agent);
    }

    /// Writes down how it stands, and logs where it became slow or is no longer.
    pub fn tell(&self, f: impl FnOnce(&mut Client)) {
        let mut last = lock(&self.seat.last);
        let before = last.state;
        f(&mut last);
        let (now, client) = (last.state, &*last);
        if before != now && (before.is_slow() || now.is_slow()) {
            tracing::info!(
                session = client.session,
                principal = client.principal.as_deref(),
                address = %client.address,
                before = before.as_str(),
                now = now.as_str(),
                behind = client.behind,
                queued_bytes = client.queued_bytes,
                "a client's state"
            );
        }
        drop(last);
        if self.seat.asked.swap(false, Ordering::AcqRel) {
            self.clients.0.told.notify_one();
        }
    }

    /// As it was last told.
    pub fn last(&self) -> Client {
        lock(&self.seat.last).clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.clients.0.seats).remove(&self.number);
        self.seat.asked.store(false, Ordering::Release);
        self.clients.0.told.notify_one();
    }
}

/// A stranger's text, fit for logs and terminals.
fn shown(agent: &str) -> String {
    agent.chars().filter(|c| !c.is_control()).take(AGENT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_at_their_names() {
        for (i, state) in ClientState::ALL.iter().enumerate() {
            assert_eq!(*state as usize, i);
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{}\"", state.as_str()));
        }
        for (i, state) in TopicState::ALL.iter().enumerate() {
            assert_eq!(*state as usize, i);
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{}\"", state.as_str()));
        }
        assert_eq!(shown("py/0.1\x1b[2J\n"), "py/0.1[2J");
    }
}
