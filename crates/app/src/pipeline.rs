//! Tape, feed and gateway of one process: one start, one stop, in the data's order.
//!
//! Stopping: feeds stop, the tape flushes, the gateway says goodbye, then the deadline (STYLE §6).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wholetape_feed::feed::{Feed, FeedHandle, FeedPlan};
use wholetape_feed::metrics::Hub;
use wholetape_gateway::auth::OwnKey;
use wholetape_gateway::clients::Clients;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, GatewayError, Health, Surface};
use wholetape_model::{Body, Kind, LinkState};
use wholetape_tape::coverage::Coverage;
use wholetape_tape::history::History;
use wholetape_tape::{SpaceState, Tape, TapeConfig};

use crate::availability::{Availability, Totals, probe};
use crate::control::server::{Control, Reach};
use crate::coverage::Keeper;
use crate::store::keeper::{Keeper as Store, StorePlan};
use crate::store::left_until_stored;

/// Lines get this long to end.
const FEED_GRACE: Duration = Duration::from_secs(10);

/// What to run.
pub struct Plan {
    /// The tape's own folder.
    pub dir: PathBuf,
    pub tape: TapeConfig,
    pub feed: FeedPlan,
    pub gateway: GatewayConfig,
    pub listen: String,
    /// Where other commands of this machine reach this process; `None`: nowhere.
    pub control: Option<PathBuf>,
    /// What is stored as Parquet, and how; `None`: nothing.
    pub store: Option<StorePlan>,
}

pub struct Pipeline {
    pub tape: Tape,
    /// Where page and protocol are.
    pub addr: SocketAddr,
    /// They are https and wss.
    pub secure: bool,
    surface: Arc<Own>,
    feed_stop: CancellationToken,
    /// Cancelled when the feed ends, by itself or by us.
    feed_stopped: CancellationToken,
    gateway: JoinHandle<Result<(), GatewayError>>,
    gateway_stop: CancellationToken,
    availability: Option<std::thread::JoinHandle<()>>,
    availability_stop: CancellationToken,
    control: Option<Control>,
}

impl Pipeline {
    /// # Errors
    /// A tape that another process owns, a port that is taken, a line that cannot be built.
    pub async fn start(mut plan: Plan) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(&plan.listen).await.with_context(|| {
            format!("cannot listen on {}: choose another port with --port (0 picks a free one)", plan.listen)
        })?;
        let addr = listener.local_addr()?;
        let own = OwnKey::random();
        let api_key = plan.gateway.auth.keys.is_some().then(|| own.api_key());
        plan.gateway.auth.own = Some(own);
        let secure = plan.gateway.tls.is_some();
        if !secure && !addr.ip().is_loopback() {
            tracing::warn!(%addr, "served without TLS: name a certificate (gateway.tls), or listen on 127.0.0.1 behind a proxy that has one");
        }
        if api_key.is_none() && !addr.ip().is_loopback() {
            tracing::warn!(
                %addr,
                "whoever reaches this address may read everything: name a file of keys (gateway.auth.keys), or listen on 127.0.0.1"
            );
        }
        let door = probe::Door { addr, api_key, tls: secure };
        for line in &plan.feed.lines {
            for approval in &line.approvals {
                tracing::warn!(
                    venue = approval.venue,
                    addresses = approval.addresses.join(" "),
                    approved = approval.approved,
                    "started with addresses that are not the venue's own"
                );
            }
        }
        let (dir, config) = (plan.dir.clone(), left_until_stored(plan.tape, plan.store.is_some()));
        let data = dir.parent().unwrap_or(&dir).to_owned();
        let tape = tokio::task::spawn_blocking(move || Tape::open(&dir, config)).await??;
        // Before the lines: they ask the ledger what is held from before their own look back.
        let keeper = {
            let tape = tape.clone();
            tokio::task::spawn_blocking(move || Keeper::start(&tape)).await??
        };
        let store = plan.store.map(|plan| Store::start(&tape, plan)).transpose()?;
        let hub = Hub::new();
        let (feed_stop, gateway_stop) = (CancellationToken::new(), CancellationToken::new());
        let feed = {
            let (plan, tape, hub, stop) = (plan.feed, tape.clone(), hub.clone(), feed_stop.clone());
            tokio::task::spawn_blocking(move || Feed::start(plan, &tape, &hub, stop)).await??
        };
        let feed_stopped = feed.stopped().clone();
        let clients = Clients::default();
        let reach = Reach { tape: tape.clone(), asker: feed.asker(), clients: clients.clone() };
        let control = plan.control.and_then(|path| match Control::start(&path, reach) {
            Ok(control) => Some(control),
            Err(error) => {
                tracing::warn!(%error, "no control socket: commands cannot reach this process");
                None
            }
        });
        let asker = feed.asker();
        let account = Arc::new(Availability::open(&data));
        let watched =
            probe::Watched { door, tape: tape.clone(), hub: hub.clone(), lines: Box::new(move || asker.lines()) };
        let feed = Mutex::new(Some(feed));
        let surface = Arc::new(Own { tape: tape.clone(), hub, feed, account: account.clone(), keeper, store });
        let history = surface.store.as_ref().map(|store| Arc::new(store.history()) as Arc<dyn History>);
        let deps = Deps { tape: tape.clone(), history, surface: surface.clone(), clients };
        let gateway = tokio::spawn(Gateway::serve(plan.gateway, deps, listener, gateway_stop.clone()));
        drop(tokio::spawn(crate::memory::keep_small(gateway_stop.clone())));
        let availability_stop = CancellationToken::new();
        let availability = Some(probe::start(watched, account, availability_stop.clone())?);
        Ok(Self {
            tape,
            addr,
            secure,
            surface,
            feed_stop,
            feed_stopped,
            gateway,
            gateway_stop,
            availability,
            availability_stop,
            control,
        })
    }

    /// Seconds able and due of each protocol since the start.
    pub fn availability(&self) -> Totals {
        self.surface.account.run()
    }

    /// The most that any line gives up just now.
    pub fn shed_level(&self) -> f64 {
        let feed = self.surface.feed();
        let lines = feed.iter().flat_map(FeedHandle::lines);
        lines.filter_map(|l| self.surface.hub.value("feed_shed_level", &[("line", &l)])).fold(0.0, f64::max)
    }

    /// A planned stop: from here on nothing is due.
    async fn stop_looking(&mut self) {
        self.availability_stop.cancel();
        if let Some(thread) = self.availability.take() {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }

    /// Ready when the feed ended by itself: it cannot go on.
    pub async fn feed_ended(&self) {
        self.feed_stopped.cancelled().await;
    }

    /// Why the feed gave up, if it did.
    pub fn fatal(&self) -> Option<String> {
        self.surface.feed().as_ref().and_then(FeedHandle::fatal)
    }

    /// Stops the lines; everything they judged is on the tape then.
    ///
    /// # Errors
    /// Names the workers that did not end in time.
    pub async fn stop_feed(&self) -> anyhow::Result<()> {
        self.availability_stop.cancel();
        self.feed_stop.cancel();
        let feed = self.surface.feed().take();
        if let Some(feed) = feed {
            let ended = tokio::task::spawn_blocking(move || feed.join(FEED_GRACE)).await?;
            ended.map_err(|late| anyhow::anyhow!("workers that did not stop in time: {}", late.join(" ")))?;
        }
        Ok(())
    }

    /// Says goodbye to clients and closes the tape.
    ///
    /// # Errors
    /// What went wrong while closing; the tape is then opened as after a crash.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_looking().await;
        let feed = self.stop_feed().await;
        if let Some(control) = self.control {
            control.stop().await;
        }
        let surface = self.surface.clone();
        tokio::task::spawn_blocking(move || {
            surface.keeper.stop();
            // The last: it stores what the others wrote.
            if let Some(store) = &surface.store {
                store.stop();
            }
        })
        .await?;
        self.gateway_stop.cancel();
        let gateway = self.gateway.await;
        drop(self.surface);
        let tape = self.tape;
        tokio::task::spawn_blocking(move || tape.close()).await?.context("the tape does not close")?;
        feed?;
        gateway??;
        Ok(())
    }
}

/// What the process tells about itself.
struct Own {
    tape: Tape,
    hub: Hub,
    feed: Mutex<Option<FeedHandle>>,
    account: Arc<Availability>,
    keeper: Keeper,
    store: Option<Store>,
}

impl Own {
    fn feed(&self) -> std::sync::MutexGuard<'_, Option<FeedHandle>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state of each connection, by line and number.
    fn links(&self) -> BTreeMap<String, (String, LinkState, String)> {
        let mut links = BTreeMap::new();
        for topic in self.tape.topics().into_iter().filter(|t| t.topic.kind() == Kind::Link) {
            for shared in self.tape.last_records(&topic.topic, 32).unwrap_or_default() {
                if let Ok(Body::Link(link)) = shared.record().view() {
                    // `line/connection#life`: one entry per connection, whichever life it is in.
                    let key = link.correlation.rsplit_once('#').map_or(link.correlation, |(conn, _)| conn).to_owned();
                    let value = (topic.topic.subject().to_owned(), link.state, link.cause.as_str().to_owned());
                    links.insert(key, value);
                }
            }
        }
        links
    }
}

impl Surface for Own {
    fn metrics(&self) -> String {
        let mut text = self.hub.render();
        text.push_str(&crate::metrics::tape(&self.tape.stats()));
        text.push_str(&crate::metrics::process());
        self.account.write(&mut text);
        text.push_str(&self.keeper.metrics());
        if let Some(store) = &self.store {
            text.push_str(&store.metrics());
        }
        text
    }

    fn coverage(&self, look: &mut dyn FnMut(&Coverage)) {
        look(&self.keeper.coverage());
    }

    fn health(&self) -> Health {
        let mut reasons = Vec::new();
        let stats = self.tape.stats();
        let mut live = true;
        if stats.sync_failed {
            live = false;
            reasons.push("an fsync failed: check the disk, then start again".to_owned());
        }
        let red = stats.is_red();
        match stats.space {
            SpaceState::Enough => {}
            state => reasons.push(format!("disk space is low ({state:?}): {} MiB free", stats.free_bytes >> 20)),
        }
        reasons.extend(self.keeper.problem().map(str::to_owned));
        reasons.extend(self.store.as_ref().and_then(Store::problem));
        let mut ready = live && !red;
        let troubles = self.account.troubles();
        ready &= troubles.is_empty();
        reasons.extend(troubles);
        match self.feed().as_ref() {
            Some(feed) => {
                if let Some(why) = feed.fatal() {
                    live = false;
                    reasons.push(format!("the feed gave up: {why}"));
                }
                for worker in feed.stuck() {
                    ready = false;
                    reasons.push(format!("worker {worker} gives no sign of life"));
                }
                let links = self.links();
                for line in feed.lines() {
                    let of_line: Vec<_> = links.values().filter(|(name, ..)| *name == line).collect();
                    let up = of_line
                        .iter()
                        .any(|(_, s, _)| matches!(s, LinkState::Active | LinkState::Subscribed | LinkState::Draining));
                    if !up {
                        ready = false;
                        let state = of_line
                            .first()
                            .map_or("not connected yet".into(), |(_, s, why)| format!("{} ({why})", s.as_str()));
                        reasons.push(format!("line {line} is {state}"));
                    }
                    let of = |name| self.hub.value(name, &[("line", &line)]).unwrap_or(0.0);
                    if of("feed_shed_level") >= 1.0 {
                        ready = false;
                        reasons.push(format!(
                            "line {line} lags {:.1} s behind (shed level {})",
                            of("feed_lag_seconds"),
                            of("feed_shed_level")
                        ));
                    }
                }
            }
            None => {
                ready = false;
                reasons.push("stopping".to_owned());
            }
        }
        Health { live, ready: ready && live, reasons }
    }
}

#[cfg(test)]
mod tests;
