//! tokio around [`Core`]: it moves bytes, keeps time and decides nothing.
//!
//! One task has the socket. Calls of the [`Handle`] change the core at once and wake the task. Events wait in a bounded queue; while
//! it is full the socket is not read, so that a slow user is slow towards the server, which has policies for that, and never
//! grows our memory. A user who takes nothing for half a minute is disconnected by the server, and goes on from the position.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};

use wholetape_wire::Form;

use crate::ladder::Ladder;
use crate::socket::{self, Happened, Socket};
use crate::{Action, Config, Core, Cursor, Event, Full, NoCredit, Publication, State, Sub, TopicState};

/// Events that wait for the user.
const EVENTS: usize = 1_024;

/// Why a client cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{url}: {why}")]
    Address { url: String, why: String },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

type Token = Arc<dyn Fn() -> String + Send + Sync>;

/// How a client is set up.
#[derive(Clone)]
pub struct Builder {
    url: String,
    config: Config,
    positions: BTreeMap<String, Cursor>,
    token: Option<Token>,
    form: Form,
}

impl Builder {
    /// Topics go on from here ([`Core::with_positions`]).
    #[must_use]
    pub fn with_positions(mut self, positions: impl IntoIterator<Item = (String, Cursor)>) -> Self {
        self.positions.extend(positions);
        self
    }

    /// How long it waits before it comes back.
    #[must_use]
    pub const fn with_ladder(mut self, ladder: Ladder) -> Self {
        self.config.ladder = ladder;
        self
    }

    /// Asked for a bearer token at each connection.
    #[must_use]
    pub fn with_token(mut self, token: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.config.renewable = true;
        self.token = Some(Arc::new(token));
        self
    }

    /// Speaks MessagePack: the same messages, about a third smaller.
    #[must_use]
    pub const fn with_msgpack(mut self) -> Self {
        self.form.msgpack = true;
        self
    }

    /// Begins to connect, within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]; what goes wrong later is a state.
    pub fn start(self) -> Result<Client, OpenError> {
        let request = socket::request(&self.url, self.form)?;
        let tls = socket::tls()?;
        let core = Core::new(self.config).with_positions(self.positions);
        let shared = Shared { core: Mutex::new(core), wake: Notify::new(), began: Instant::now() };
        let handle = Handle(Arc::new(shared));
        handle.act(|core, now| core.start(now));
        let (tell, events) = mpsc::channel(EVENTS);
        let task = Task {
            shared: handle.clone(),
            request,
            tls,
            token: self.token,
            form: self.form,
            socket: Socket::None,
            tell,
        };
        Ok(Client { handle, events, taken: None, task: Some(tokio::spawn(task.run())) })
    }
}

struct Shared {
    core: Mutex<Core>,
    wake: Notify,
    began: Instant,
}

/// What may be asked of a client from anywhere.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    fn core(&self) -> MutexGuard<'_, Core> {
        // Nothing in the core panics half-way through a change of a position.
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act<T>(&self, f: impl FnOnce(&mut Core, u64) -> T) -> T {
        let now = self.0.began.elapsed().as_millis() as u64;
        let done = f(&mut self.core(), now);
        self.0.wake.notify_one();
        done
    }

    /// A topic that is subscribed already stays as it is.
    pub fn subscribe(&self, sub: Sub) {
        self.act(|core, now| core.subscribe(now, sub));
    }

    pub fn unsubscribe(&self, topic: &str) {
        self.act(|core, now| core.unsubscribe(now, topic));
    }

    /// Puts an event into a topic's log, once, and returns the name by which [`Event::Published`] speaks of it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn publish(&self, topic: &str, event: &str, data: Value, if_seq: Option<u64>) -> Result<String, Full> {
        let mid = name(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let publication = Publication { mid: mid.clone(), topic: topic.into(), event: event.into(), data, if_seq };
        self.act(|core, now| core.publish(now, publication))?;
        Ok(mid)
    }

    /// Asks for a topic's whole state again, as after a [`crate::BookError`].
    pub fn resync(&self, topic: &str) {
        self.act(|core, now| core.resync(now, topic, true));
    }

    /// So many messages more of a topic may come (of history, any number); then it pauses, and the others go on. It adds to what is left,
    /// over any number of connections, up to a million. A topic without credit ([`Sub::with_credit`]) is unlimited, until about now.
    ///
    /// # Errors
    /// [`NoCredit`]; nothing has changed then.
    pub fn flow(&self, topic: &str, credit: u64) -> Result<(), NoCredit> {
        self.act(|core, now| core.flow(now, topic, credit))
    }

    /// Everything up to `cursor` was processed ([`Client::next`] says so by itself).
    pub fn processed(&self, topic: &str, cursor: &Cursor) {
        self.act(|core, now| core.processed(now, topic, cursor));
    }

    /// What to save, for [`Builder::with_positions`].
    #[must_use]
    pub fn positions(&self) -> BTreeMap<String, Cursor> {
        self.core().positions()
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.core().state()
    }

    #[must_use]
    pub fn topic_state(&self, topic: &str) -> Option<TopicState> {
        self.core().topic_state(topic)
    }

    /// Says goodbye.
    pub fn stop(&self) {
        self.act(Core::stop);
    }
}

/// A connected client. Dropping it says goodbye.
pub struct Client {
    handle: Handle,
    events: mpsc::Receiver<Event>,
    taken: Option<(String, Cursor)>,
    task: Option<JoinHandle<()>>,
}

impl Deref for Client {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Client {
    /// `ws://…/v1/ws`, or `wss://`.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> Builder {
        let config = Config { agent: concat!("rs/", env!("CARGO_PKG_VERSION")).into(), ..Config::default() };
        Builder { url: url.into(), config, positions: BTreeMap::new(), token: None, form: Form::PLAIN }
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The next event; asking for it says that the one before was processed. `None` when the client is over.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        self.done();
        let event = self.events.recv().await?;
        self.taken = event.place().map(|(topic, cursor)| (topic.to_owned(), cursor.clone()));
        Some(event)
    }

    fn done(&mut self) {
        if let Some((topic, cursor)) = self.taken.take() {
            self.processed(&topic, &cursor);
        }
    }

    /// Gives every event to `f` until the client is over. A panic of `f` is logged and counted, and changes nothing else: the event
    /// counts as processed.
    pub async fn each(&mut self, mut f: impl FnMut(&Event)) -> u64 {
        let mut panics = 0;
        while let Some(event) = self.next().await {
            if catch_unwind(AssertUnwindSafe(|| f(&event))).is_err() {
                panics += 1;
                tracing::error!(panics, "the callback panicked at an event; the connection goes on");
            }
        }
        panics
    }

    /// Says goodbye, after the last acknowledgement, and waits until that is done.
    pub async fn close(mut self) -> BTreeMap<String, Cursor> {
        self.done();
        self.stop();
        if let Some(task) = self.task.take() {
            self.events.close();
            let _ = task.await;
        }
        self.positions()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

struct Task {
    shared: Handle,
    request: Request<()>,
    tls: Arc<ClientConfig>,
    form: Form,
    token: Option<Token>,
    socket: Socket,
    tell: mpsc::Sender<Event>,
}

impl Task {
    async fn run(mut self) {
        let mut waiting: VecDeque<Event> = VecDeque::new();
        loop {
            let (actions, timer, over) = {
                let mut core = self.shared.core();
                (core.take(), core.next_timer(), core.state().is_over())
            };
            if !actions.is_empty() {
                self.carry_out(actions, &mut waiting).await;
                continue;
            }
            if self.tell.is_closed() {
                waiting.clear();
            }
            if over && waiting.is_empty() {
                return self.socket.close(1000).await;
            }
            let shared = self.shared.clone();
            let timer = timer.map(|at| shared.0.began + Duration::from_millis(at));
            let timer = async {
                match timer {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Ok(permit) = self.tell.reserve(), if !waiting.is_empty() => {
                    if let Some(event) = waiting.pop_front() {
                        permit.send(event);
                    }
                }
                () = shared.0.wake.notified() => {}
                () = timer => shared.act(|core, now| {
                    // What we do not read is no silence of the server's.
                    if !waiting.is_empty() {
                        core.on_alive(now);
                    }
                    core.on_timer(now);
                }),
                happened = self.socket.next(), if waiting.is_empty() => self.on(happened),
            }
        }
    }

    fn on(&self, happened: Happened) {
        self.shared.act(|core, now| match happened {
            Happened::Opened => core.on_open(now),
            Happened::Text(text) => core.on_text(now, &text),
            Happened::Alive => core.on_alive(now),
            Happened::Ended(code) => core.on_closed(now, code, rand::random()),
        });
    }

    async fn carry_out(&mut self, actions: Vec<Action>, waiting: &mut VecDeque<Event>) {
        for action in actions {
            match action {
                Action::Connect => {
                    let mut request = self.request.clone();
                    let token = self.token.as_ref().map(|token| format!("Bearer {}", token()));
                    if let Some(value) = token.and_then(|text| HeaderValue::try_from(text).ok()) {
                        request.headers_mut().insert("authorization", value);
                    }
                    self.socket = Socket::open(request, self.tls.clone());
                }
                Action::Send(message) => {
                    if !self.socket.send(message.to_string(), self.form).await {
                        self.socket = Socket::None;
                        self.on(Happened::Ended(None));
                    }
                }
                Action::Close(code) => {
                    self.socket.close(code).await;
                    self.on(Happened::Ended(Some(code)));
                }
                Action::Tell(event) => waiting.push_back(event),
            }
        }
    }
}

/// A UUID of version 7 (RFC 9562): nobody else's, and it tells when it was made, so that a server that has forgotten it knows that it is old.
fn name(since_1970: Duration) -> String {
    let ms = since_1970.as_millis() & ((1 << 48) - 1);
    let bits = ms << 80 | 7 << 76 | (rand::random::<u128>() & ((1 << 76) - 1));
    let hex = format!("{:032x}", bits & !(3 << 62) | 2 << 62);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_version_7_and_tell_their_time() {
        let name = name(Duration::from_millis(0x017f_22e2_79b0));
        assert!(name.starts_with("017f22e2-79b0-7") && name.len() == 36, "{name}");
        assert!(matches!(name.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{name}");
        assert_ne!(name, super::name(Duration::from_millis(0x017f_22e2_79b0)));
    }
}
