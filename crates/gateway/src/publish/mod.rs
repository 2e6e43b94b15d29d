//! What clients publish (`op: "pub"`, PROTOCOL §5): one writer, one lane, each publication once.
//!
//! ```text
//! connections ─► queue (bounded) ─► writer: named before? if_seq? ─► lane: one write ─► one fsync ─► answers
//!                                           (window.rs)          (writer.rs)
//! ```
//!
//! - [`window`]: which names were used, and what came of them;
//! - [`name`]: names that carry their time;
//! - [`writer`]: the thread that owns the lane, and what it reads from the log when it starts.
//!
//! Invariants:
//! - `ok` means: in its topic's log, and on the disk. Whatever was not answered may be sent again under the same name and happens once.
//! - The name of a publication lies with it in the log, so it is known for as long as the log is held, whoever restarts.
//! - Nothing here waits on the gateway's thread: publications that come while the disk is busy are the next group.

pub(crate) mod name;
pub(crate) mod window;
mod writer;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wholetape_model::Topic;
use wholetape_tape::{Tape, WakeSet};
use wholetape_wire::{Code, Pub};

use crate::lock;
use crate::stats::GatewayStats;
use crate::ws::sessions::WAKE;

/// The lane of all publications.
pub const LANE: &str = "gateway";

/// `[gateway.publish]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishConfig {
    /// What may be published without credentials; all who do are one principal, whose name is empty.
    pub anonymous: Vec<String>,
    /// For so long a publication that is sent again is answered as the first time …
    pub window: Duration,
    /// … unless its principal published more than this since.
    pub names: usize,
    /// Topics that clients may bring to life, in all.
    pub topics: usize,
    /// Publications of all clients that wait for the disk, at most; one more is answered 5003.
    pub waiting: usize,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self { anonymous: Vec::new(), window: Duration::from_secs(600), names: 10_000, topics: 10_000, waiting: 4_096 }
    }
}

/// Where a connection finds its answers.
pub(crate) struct Desk {
    set: WakeSet,
    answers: Mutex<Vec<Answer>>,
}

impl Desk {
    pub fn new(set: &WakeSet) -> Arc<Self> {
        Arc::new(Self { set: set.clone(), answers: Mutex::default() })
    }

    fn put(&self, answer: Answer) {
        lock(&self.answers).push(answer);
        self.set.push(WAKE);
    }

    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *lock(&self.answers))
    }
}

/// A publication that may be made: its form, its topic and its principal's grants were looked at.
pub(crate) struct Request {
    pub desk: Arc<Desk>,
    pub id: Option<u64>,
    pub principal: Arc<str>,
    pub topic: Topic,
    pub said: Pub,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub id: Option<u64>,
    pub said: Pub,
    pub outcome: Result<Done, Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub seq: u64,
    /// It was done before.
    pub dup: bool,
}

/// Why there is no `ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The topic's head is another.
    Conflict { head: u64 },
    /// The name was used, too long ago to tell for what.
    Expired,
    /// The name was used for something else.
    Another,
    /// Another lane writes the topic.
    Owned,
    /// Clients made as many topics as they may.
    Topics,
    /// Nothing was written.
    Busy,
    /// The tape takes nothing more until it is opened anew. Nothing was written.
    Closed,
    /// It was written, and cannot be made durable.
    Unsynced,
}

impl Refusal {
    /// Code, text, and after how many milliseconds the same may be sent again.
    pub const fn says(self) -> (Code, &'static str, Option<u64>) {
        match self {
            Self::Conflict { .. } => (Code::Conflict, "the topic's head is not `if_seq`", None),
            Self::Expired => {
                (Code::MidExpired, "this `mid` was used, too long ago to say what came of it: read the topic", None)
            }
            Self::Another => (Code::PubRejected, "this `mid` was used for another publication", None),
            Self::Owned => (Code::PubRejected, "this topic is not written by clients", None),
            Self::Topics => (Code::PubRejected, "no more topics are made for clients (`gateway.publish.topics`)", None),
            Self::Busy => (Code::Overloaded, "not written: the server cannot take it now", Some(1_000)),
            Self::Closed => {
                (Code::Internal, "not written: the tape takes nothing until the server starts anew", Some(5_000))
            }
            Self::Unsynced => (
                Code::Internal,
                "written, but the disk does not say that it keeps it: send it again, with the same `mid`, when the server started anew",
                Some(5_000),
            ),
        }
    }
}

enum Line {
    /// Nobody published yet.
    Idle,
    Open(SyncSender<Request>, JoinHandle<()>),
    Ended,
}

/// The way to the writer, which starts with the first publication.
pub(crate) struct Publisher {
    tape: Tape,
    config: PublishConfig,
    stats: Arc<GatewayStats>,
    line: Mutex<Line>,
}

impl Publisher {
    pub fn new(tape: Tape, config: PublishConfig, stats: Arc<GatewayStats>) -> Self {
        Self { tape, config, stats, line: Mutex::new(Line::Idle) }
    }

    /// Hands a publication to the writer, which answers at the request's desk.
    ///
    /// # Errors
    /// As many wait as may, or there is no writer: nothing was done.
    pub fn submit(&self, request: Request) -> Result<(), Refusal> {
        let mut line = lock(&self.line);
        if matches!(*line, Line::Idle) {
            *line = self.start()?;
        }
        let Line::Open(to, _) = &*line else { return Err(Refusal::Busy) };
        match to.try_send(request) {
            Ok(()) => {
                self.stats.publications_waiting.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err(Refusal::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Closed),
        }
    }

    fn start(&self) -> Result<Line, Refusal> {
        let (to, from) = sync_channel(self.config.waiting.max(1));
        let (tape, config, stats) = (self.tape.clone(), self.config.clone(), self.stats.clone());
        let body = move || writer::run(&tape, config, &stats, &from);
        let thread = thread::Builder::new().name("gateway-publish".into()).spawn(body).map_err(|e| {
            tracing::error!(error = %e, "no thread for what clients publish");
            Refusal::Busy
        })?;
        Ok(Line::Open(to, thread))
    }

    /// Ends the writer when it has done what waits.
    pub async fn end(&self) {
        let line = std::mem::replace(&mut *lock(&self.line), Line::Ended);
        if let Line::Open(to, thread) = line {
            drop(to);
            if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
                tracing::error!("the writer of publications panicked");
            }
        }
    }
}
