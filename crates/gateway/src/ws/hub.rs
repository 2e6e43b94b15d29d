//! The task that reads the tape for everyone: one reader per subscribed topic, woken by the tape at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use wholetape_model::Topic;
use wholetape_tape::history::History;
use wholetape_tape::{Tape, TapeError, WakeSet};

use crate::auth::authority::Authority;
use crate::clients::Clients;
use crate::config::GatewayConfig;
use crate::lock;
use crate::publish::Publisher;
use crate::stats::GatewayStats;
use crate::ws::connection::wall_clock;
use crate::ws::past::Readers;
use crate::ws::sessions::Sessions;
use crate::ws::stream::{Rings, Stream};
use crate::ws::view::Key;

/// Records taken from one topic before the next has its turn.
const ROUND: usize = 512;
/// Every period of a view is a multiple of this.
const TICK_MS: i64 = 100;

#[derive(Default)]
struct Streams {
    by_topic: HashMap<Topic, (u64, Arc<Stream>)>,
    by_token: HashMap<u64, Arc<Stream>>,
    /// So many were opened since the start: the number of each is its place among them.
    opened: u64,
}

pub(crate) struct Hub {
    pub tape: Tape,
    pub epoch: Arc<str>,
    pub config: GatewayConfig,
    pub stats: Arc<GatewayStats>,
    /// Judges credentials, where keys are configured.
    pub auth: Option<Arc<Authority>>,
    /// Reads what the tape let go, where somebody keeps it.
    pub past: Option<Arc<Readers>>,
    pub sessions: Sessions,
    /// Writes what clients publish.
    pub publisher: Publisher,
    /// Who is connected.
    pub clients: Clients,
    set: WakeSet,
    token: AtomicU64,
    streams: Mutex<Streams>,
    rings: Arc<Rings>,
}

impl Hub {
    pub fn new(
        tape: Tape,
        history: Option<Arc<dyn History>>,
        config: GatewayConfig,
        auth: Option<Arc<Authority>>,
        stats: Arc<GatewayStats>,
        clients: Clients,
    ) -> Self {
        let epoch = tape.epoch().into();
        let (set, token, streams) = (WakeSet::new(), AtomicU64::new(0), Mutex::default());
        let rings = Arc::new(Rings::new(config.ring_bytes, config.rings_bytes));
        let past = history.map(|h| Arc::new(Readers::new(h, &config, stats.clone())));
        let sessions = Sessions::new(config.session_ttl, config.sessions_max);
        let publisher = Publisher::new(tape.clone(), config.publish.clone(), stats.clone());
        Self { tape, epoch, config, stats, auth, past, sessions, publisher, clients, set, token, streams, rings }
    }

    /// A number that names one subscription (or stream) in this process: members of a stream come from many connections.
    pub fn next_token(&self) -> u64 {
        self.token.fetch_add(1, Ordering::Relaxed)
    }

    /// The stream of `topic`, opened by its first reader. `member` is told there under `token`, of `view` or of the stream itself.
    pub fn join(
        &self,
        topic: &Topic,
        member: &WakeSet,
        token: u64,
        view: Option<Key>,
    ) -> Result<Arc<Stream>, TapeError> {
        let mut streams = lock(&self.streams);
        if let Some((_, stream)) = streams.by_topic.get(topic) {
            stream.join(member, token, view);
            return Ok(stream.clone());
        }
        let own = self.next_token();
        streams.opened += 1;
        let topic_no = (topic, streams.opened);
        let rings = self.rings.clone();
        let stream = Arc::new(Stream::open(&self.tape, topic_no, self.epoch.clone(), rings, &self.set, own)?);
        stream.join(member, token, view);
        streams.by_topic.insert(topic.clone(), (own, stream.clone()));
        streams.by_token.insert(own, stream.clone());
        self.rings.shared_by(streams.by_topic.len());
        // It arms itself when it has read all there is.
        self.set.push(own);
        Ok(stream)
    }

    /// Ends a membership; the last one closes the stream.
    pub fn leave(&self, stream: &Arc<Stream>, token: u64) {
        let mut streams = lock(&self.streams);
        if stream.leave(token)
            && let Some((own, held)) = streams.by_topic.get(&stream.topic)
            && Arc::ptr_eq(held, stream)
        {
            let own = *own;
            streams.by_topic.remove(&stream.topic);
            streams.by_token.remove(&own);
            self.rings.shared_by(streams.by_topic.len());
        }
    }

    /// Runs until dropped. Cancel-safe: a token that was taken is served before the next wait.
    pub async fn run(&self) {
        let (mut tokens, mut ticked) = (Vec::new(), 0);
        loop {
            let ticking = self.rings.ticking.load(Ordering::Relaxed) > 0;
            tokio::select! {
                () = self.set.ready(&mut tokens) => {}
                () = sleep(until_tick()), if ticking => {}
            }
            tokens.sort_unstable();
            tokens.dedup();
            for token in tokens.drain(..) {
                let Some(stream) = lock(&self.streams).by_token.get(&token).cloned() else { continue };
                if stream.pump(ROUND, &self.stats) {
                    self.set.push(token);
                }
            }
            let now_ms = wall_clock().0 / 1_000_000;
            if ticking && now_ms / TICK_MS != ticked {
                ticked = now_ms / TICK_MS;
                let streams: Vec<Arc<Stream>> = lock(&self.streams).by_token.values().cloned().collect();
                streams.iter().for_each(|s| s.tick(now_ms, &self.stats));
            }
            let views = self.rings.views.load(Ordering::Relaxed) as u64;
            self.stats.views.store(views, Ordering::Relaxed);
            // Connections write what they were just given before the next round.
            tokio::task::yield_now().await;
        }
    }
}

/// Until the wall clock's next multiple of [`TICK_MS`], and no earlier.
fn until_tick() -> Duration {
    let into = wall_clock().0.rem_euclid(TICK_MS * 1_000_000);
    Duration::from_nanos((TICK_MS * 1_000_000 - into).unsigned_abs())
}
