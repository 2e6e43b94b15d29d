//! Starting a simulation and what its caller can do with it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{SimConfig, VenueKind};
use crate::error::SimError;
use crate::faults::{FaultKind, FaultLog, Injection};
use crate::serve::{RestTally, listen};
use crate::truth::{REST_FILE, SUMMARY_FILE, Summary, load, summarise};
use crate::venue::{Venue, lock, wall_ns};

/// Simulated venues.
#[derive(Debug)]
pub struct Sim;

/// Where a venue is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueAddr {
    /// As in truth files and fault records.
    pub name: String,
    pub kind: VenueKind,
    pub addr: SocketAddr,
    /// `ws://127.0.0.1:port`, without a path.
    pub ws: String,
    /// `http://127.0.0.1:port`, without a path.
    pub rest: String,
    /// Upper-case symbols.
    pub symbols: Vec<String>,
}

/// A running simulation. Dropping it ends everything at once, with nothing more written: like a kill.
#[derive(Debug)]
pub struct SimHandle {
    addrs: Vec<VenueAddr>,
    venues: Vec<Arc<Venue>>,
    faults: Arc<Mutex<FaultLog>>,
    data_dir: PathBuf,
    rotates: bool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sim {
    /// Opens the truth, takes the ports and serves. Needs a tokio runtime with time and network.
    ///
    /// # Errors
    /// [`SimError`] when the configuration makes no world, the truth or recording cannot be read, or a port is taken.
    pub async fn start(config: SimConfig) -> Result<SimHandle, SimError> {
        if config.venues.is_empty() {
            return Err(SimError::config("venues", "none"));
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let faults = Arc::new(Mutex::new(FaultLog::open(&config.data_dir)?));
        let mut handle = SimHandle {
            addrs: Vec::new(),
            venues: Vec::new(),
            faults: faults.clone(),
            data_dir: config.data_dir.clone(),
            rotates: config.rotate_bytes > 0,
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let mut listeners: Vec<(Vec<Arc<Venue>>, SocketAddr, TcpListener)> = Vec::new();
        for venue_config in &config.venues {
            let venue = Arc::new(Venue::open(venue_config.clone(), &config, &faults, stop.clone())?);
            let house = venue.protocol.house();
            let same = |(venues, ..): &&mut (Vec<Arc<Venue>>, SocketAddr, TcpListener)| {
                house.is_some() && venues[0].protocol.house() == house
            };
            let addr = if let Some((venues, addr, _)) = listeners.iter_mut().find(same) {
                let account = venues[0].lock().weight.clone();
                venue.lock().weight = account;
                venues.push(venue.clone());
                *addr
            } else {
                let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, venue_config.port));
                let wrong = |source| SimError::Listen { addr, source };
                let listener = TcpListener::bind(addr).await.map_err(wrong)?;
                let addr = listener.local_addr().map_err(wrong)?;
                listeners.push((vec![venue.clone()], addr, listener));
                addr
            };
            if handle.addrs.iter().any(|other| other.name == venue.name) {
                return Err(SimError::config("venues", format!("two are called {}", venue.name)));
            }
            handle.addrs.push(VenueAddr {
                name: venue.name.clone(),
                kind: venue.config.kind,
                addr,
                ws: format!("ws://{addr}"),
                rest: format!("http://{addr}"),
                symbols: venue.lock().world.symbols(),
            });
            handle.venues.push(venue);
        }
        for venue in &handle.venues {
            // Reading recordings takes a while; the venue's time begins only now.
            if !config.start_frozen {
                venue.lock().resume();
            }
            tasks.spawn(run_world(venue.clone(), Duration::from_millis(config.tick_ms.max(1))));
        }
        for (venues, _, listener) in listeners {
            tasks.spawn(listen(venues.into(), listener, tasks.clone()));
        }
        tasks.close();
        Ok(handle)
    }
}

async fn run_world(venue: Arc<Venue>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = venue.stop.cancelled() => return,
            _ = ticks.tick() => venue.lock().tick(),
        }
    }
}

impl SimHandle {
    /// One for each configured venue, in that order.
    pub fn addrs(&self) -> &[VenueAddr] {
        &self.addrs
    }

    /// The address of a venue by its name.
    pub fn addr(&self, venue: &str) -> Option<&VenueAddr> {
        self.addrs.iter().find(|addr| addr.name == venue)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Stops creating events and faults; everything is still served, and what is held is delivered.
    pub fn freeze(&self) {
        self.venues.iter().for_each(|venue| venue.lock().freeze());
    }

    /// Goes on creating events, and faults by the schedule.
    pub fn resume(&self) {
        self.venues.iter().for_each(|venue| venue.lock().resume());
    }

    /// True when every venue serves a recording and has told all of it.
    pub fn is_over(&self) -> bool {
        self.venues.iter().all(|venue| venue.lock().world.is_over())
    }

    /// `(connection, stream)` of all live subscriptions of a venue: for waiting until a client has taken its place.
    pub fn subscriptions(&self, venue: &str) -> Vec<(u64, String)> {
        let Some(venue) = self.venues.iter().find(|one| one.name == venue) else { return Vec::new() };
        let inner = venue.lock();
        inner.conns.keys().flat_map(|id| inner.streams_of(*id).into_iter().map(|stream| (*id, stream))).collect()
    }

    /// Faults that happened since this start.
    pub fn fault_counts(&self) -> BTreeMap<FaultKind, u64> {
        lock(&self.faults).counts()
    }

    /// What each venue was asked over REST since this start, or each house whose venues share an account.
    pub fn rest_tallies(&self) -> BTreeMap<String, RestTally> {
        let tally = |venue: &Arc<Venue>| {
            let name = venue.protocol.house().unwrap_or(&venue.name).to_owned();
            let account = venue.lock().weight.clone();
            let tally = lock(&account).tally().clone();
            (name, tally)
        };
        self.venues.iter().map(tally).collect()
    }

    /// Events created since this start.
    pub fn events(&self) -> u64 {
        self.venues.iter().map(|venue| venue.lock().created).sum()
    }

    /// Closes every connection of every venue at once, as a venue does after its maintenance. Returns how many.
    pub fn close_all(&self) -> usize {
        self.venues.iter().map(|venue| venue.lock().close_all()).sum()
    }

    /// Takes an instrument off a generated venue's list, or puts it there again: what is not listed does not trade, has no definition,
    /// and cannot be subscribed or asked for. False where there is none of the name.
    pub fn list(&self, venue: &str, symbol: &str, listed: bool) -> bool {
        let venue = self.venues.iter().find(|one| one.name == venue);
        venue.is_some_and(|venue| venue.lock().world.list(symbol, listed))
    }

    /// Makes one fault happen at the first fitting moment from now on. It is counted when it does.
    ///
    /// # Errors
    /// [`SimError::NoVenue`] when the injection names a venue that is not simulated.
    pub fn inject(&self, injection: &Injection) -> Result<(), SimError> {
        let named = |venue: &&Arc<Venue>| injection.venue.is_empty() || venue.name == injection.venue;
        let venue =
            self.venues.iter().find(named).ok_or_else(|| SimError::NoVenue { name: injection.venue.clone() })?;
        match injection.per_second {
            Some(rate) if injection.kind == FaultKind::Garbage => {
                self.tasks.spawn(flood(venue.clone(), injection.clone(), rate));
            }
            _ => venue.lock().inject(injection),
        }
        Ok(())
    }

    /// Freezes, writes the final books into the truth and the summary beside it, and goes on serving. A truth in pieces
    /// has no summary.
    ///
    /// # Errors
    /// [`SimError::Truth`] or [`SimError::Record`] when the truth cannot be written or read back.
    pub fn finish(&self) -> Result<Summary, SimError> {
        self.freeze();
        for venue in &self.venues {
            venue.lock().write_books()?;
        }
        let tallies = serde_json::to_vec_pretty(&self.rest_tallies()).unwrap_or_default();
        let path = self.data_dir.join(REST_FILE);
        std::fs::write(&path, tallies).map_err(|source| SimError::Truth { path, source })?;
        if self.rotates {
            // Pieces may be gone by now, and what is there may be more than memory holds.
            return Ok(Summary::default());
        }
        let summary = summarise(&load(&self.data_dir)?);
        let path = self.data_dir.join(SUMMARY_FILE);
        let text = serde_json::to_vec_pretty(&summary).unwrap_or_default();
        std::fs::write(&path, text).map_err(|source| SimError::Truth { path, source })?;
        Ok(summary)
    }

    /// Ends all connections and tasks, and waits for them.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        // The tasks end when they are next run: until then a due tick would tell more, into a truth that another start may already have read.
        self.venues.iter().for_each(|venue| venue.lock().halt());
    }
}

/// Garbage frames at a rate, to one subscribed connection, for a while.
async fn flood(venue: Arc<Venue>, injection: Injection, per_second: u32) {
    let millis = injection.millis.unwrap_or(1_000);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let begin = tokio::time::Instant::now();
    let mut sent = 0u64;
    loop {
        tokio::select! {
            () = venue.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let passed = (begin.elapsed().as_millis() as u64).min(millis);
        {
            let mut inner = venue.lock();
            let wanted = |id: &u64| {
                injection.conn.is_none_or(|conn| conn == *id)
                    && injection.stream.as_ref().is_none_or(|stream| inner.streams_of(*id).contains(stream))
            };
            let id = inner.conns.keys().copied().find(wanted);
            while let (Some(id), true) = (id, sent < passed * u64::from(per_second) / 1000) {
                let text = inner.gate.garbage(r#"{"stream":"x@trade","data":{"e":"trade","p":"1.0","q":"2"}}"#);
                inner.push(id, crate::venue::Out::Text(text));
                sent += 1;
            }
            if passed >= millis {
                let now = crate::event::Now { wall_ns: wall_ns(), ..inner.now() };
                if sent > 0 {
                    inner.happened(
                        FaultKind::Garbage,
                        now,
                        id,
                        injection.stream.as_deref(),
                        format!("{sent} frames in {millis} ms"),
                    );
                }
                return;
            }
        }
    }
}
