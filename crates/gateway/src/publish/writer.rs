//! The thread that writes what clients publish.
//!
//! What waits is one group: judged one by one, written at once, one fsync, then all answers. While the disk works the next group
//! gathers. An answer that depends on the group (also a conflict with a head that the group makes) waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wholetape_model::{Body, Publication, Row, RowFlags, Scales, Topic, Ts};
use wholetape_tape::{Delivery, From, Lane, ReaderOptions, Tape, TapeError};

use super::window::{self, Bounds, Known, Window};
use super::{Answer, Done, LANE, PublishConfig, Refusal, Request};
use crate::stats::GatewayStats;

/// Publications of one group, and their bytes, at most: well below what the tape writes at once.
const GROUP: usize = 512;
const GROUP_BYTES: usize = 256 << 10;
/// Results of all principals together are this many times one principal's.
const PRINCIPALS: usize = 16;
/// Names of which no more is known than that they were used.
const USED: usize = 1 << 20;
/// The window is looked through so often.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// Serves until all senders are gone.
pub(super) fn run(tape: &Tape, config: PublishConfig, stats: &Arc<GatewayStats>, from: &Receiver<Request>) {
    let mut writer = Writer::open(tape.clone(), config, stats.clone());
    while let Ok(first) = from.recv() {
        let mut bytes = first.said.data.len();
        let mut group = vec![first];
        while group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(next) = from.try_recv() else { break };
            bytes += next.said.data.len();
            group.push(next);
        }
        stats.publications_waiting.fetch_sub(group.len() as u64, Ordering::Relaxed);
        writer.serve(group);
    }
}

struct Writer {
    tape: Tape,
    /// `None`: it cannot be had, and is asked for anew with each group.
    lane: Option<Lane>,
    config: PublishConfig,
    stats: Arc<GatewayStats>,
    window: Window,
    /// Topics of publications on the tape.
    topics: usize,
    /// The newest time that was given: a lane's never decrease.
    now: Ts,
    expired: Ts,
    /// An fsync failed: nothing more is written.
    closed: bool,
}

/// A request of the present group, and what is to be said when the group is on the disk.
struct Judged {
    request: Request,
    outcome: Result<Done, Refusal>,
    /// It was written by this group.
    written: bool,
    /// It hangs on what this group writes.
    depends: bool,
}

fn wall() -> Ts {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

impl Writer {
    fn open(tape: Tape, config: PublishConfig, stats: Arc<GatewayStats>) -> Self {
        let each = config.names.max(1);
        let bounds = Bounds { age: config.window, each, all: each.saturating_mul(PRINCIPALS), used: USED };
        let now = wall();
        let (window, topics, now) = remember(&tape, bounds, now);
        Self { tape, lane: None, config, stats, window, topics, now, expired: now, closed: false }
    }

    fn serve(&mut self, group: Vec<Request>) {
        self.now = self.now.max(wall());
        if self.now.since(self.expired) >= EXPIRE_EVERY {
            self.expired = self.now;
            self.window.expire(self.now);
        }
        if self.lane.is_none() && !self.closed {
            match self.tape.lane(LANE) {
                Ok(lane) => self.lane = Some(lane),
                Err(e) => tracing::error!(error = %e, "no lane for what clients publish"),
            }
        }
        let mut judged: Vec<Judged> = group.into_iter().map(|request| self.judge(request)).collect();
        if let Err(why) = self.make_durable(&judged) {
            for one in judged.iter_mut().filter(|one| one.depends) {
                one.outcome = Err(why);
                self.window.forget(&one.request.principal, &one.request.said.mid);
            }
        }
        for one in judged {
            if one.written && one.outcome.is_ok() {
                self.window.confirm(&one.request.principal, &one.request.said.mid);
            }
            self.answer(one);
        }
        self.stats.publication_names.store(self.window.len() as u64, Ordering::Relaxed);
    }

    /// Puts it into the batch, or says why not.
    fn judge(&mut self, request: Request) -> Judged {
        let says = |request, outcome, depends| Judged { request, outcome, written: false, depends };
        let said = &request.said;
        let print = window::print(&request.topic, &said.event, &said.data);
        match self.window.see(&request.principal, &said.mid, print) {
            Known::Same { seq, sure } => return says(request, Ok(Done { seq, dup: true }), !sure),
            Known::Another => return says(request, Err(Refusal::Another), false),
            Known::Expired => return says(request, Err(Refusal::Expired), false),
            Known::New => {}
        }
        if self.closed {
            return says(request, Err(Refusal::Closed), false);
        }
        match self.put(&request) {
            Ok(seq) => {
                self.window.keep(&request.principal, &request.said.mid, print, seq, self.now, false);
                Judged { request, outcome: Ok(Done { seq, dup: false }), written: true, depends: true }
            }
            Err(refusal @ Refusal::Conflict { .. }) => says(request, Err(refusal), true),
            Err(refusal) => says(request, Err(refusal), false),
        }
    }

    fn put(&mut self, request: &Request) -> Result<u64, Refusal> {
        let is_new = self.tape.head(&request.topic).is_none();
        if is_new && request.said.if_seq.is_some_and(|seq| seq != 0) {
            return Err(Refusal::Conflict { head: 0 });
        }
        if is_new && self.topics >= self.config.topics {
            return Err(Refusal::Topics);
        }
        let lane = self.lane.as_mut().ok_or(Refusal::Busy)?;
        let refused = |e: TapeError| match e {
            TapeError::Owned { .. } => Refusal::Owned,
            TapeError::SyncFailed | TapeError::Closed | TapeError::ReadOnly => Refusal::Closed,
            e => {
                tracing::warn!(topic = %request.topic, error = %e, "a publication cannot be written");
                Refusal::Busy
            }
        };
        let no = lane.topic(&request.topic).map_err(refused)?;
        self.topics += usize::from(is_new);
        let head = lane.head(no);
        if request.said.if_seq.is_some_and(|seq| seq != head) {
            return Err(Refusal::Conflict { head });
        }
        let said = &request.said;
        let body = Body::Publication(Publication {
            principal: &*request.principal,
            mid: said.mid.as_str(),
            event: said.event.as_str(),
            cid: said.cid.as_deref().unwrap_or_default(),
            data: said.data.as_str(),
        });
        let (ts, flags, scales) = (self.now, RowFlags::TS_LOCAL, Scales::default());
        let row = Row { ts_event: ts, ts_recv: ts, conn: 0, frame: 0, flags, scales, body };
        lane.append(no, &row).map_err(refused)
    }

    /// Writes the group and waits for the disk.
    fn make_durable(&mut self, group: &[Judged]) -> Result<(), Refusal> {
        let Some(lane) = self.lane.as_mut() else { return Ok(()) };
        if let Err(e) = lane.commit() {
            // Also where the wait for the disk was the commit's own: then it is written, and nobody saw it.
            lane.abort();
            return Err(self.failed(&e, Refusal::Closed));
        }
        let mut heads: HashMap<&Topic, u64> = HashMap::new();
        for one in group.iter().filter(|one| one.written) {
            if let Ok(done) = one.outcome {
                let head = heads.entry(&one.request.topic).or_default();
                *head = done.seq.max(*head);
            }
        }
        for (topic, seq) in heads {
            loop {
                match self.tape.wait_synced(topic, seq, Duration::from_secs(1)) {
                    Ok(true) => break,
                    Ok(false) => tracing::warn!(%topic, seq, "the disk takes its time with a publication"),
                    Err(e) => return Err(self.failed(&e, Refusal::Unsynced)),
                }
            }
        }
        self.stats
            .publication_groups_total
            .fetch_add(u64::from(group.iter().any(|one| one.written)), Ordering::Relaxed);
        Ok(())
    }

    fn failed(&mut self, e: &TapeError, closed: Refusal) -> Refusal {
        self.stats.publish_failures_total.fetch_add(1, Ordering::Relaxed);
        tracing::error!(error = %e, "publications are not confirmed");
        match e {
            TapeError::SyncFailed | TapeError::Closed | TapeError::ReadOnly => {
                self.closed = true;
                closed
            }
            _ => Refusal::Busy,
        }
    }

    fn answer(&self, Judged { request, outcome, .. }: Judged) {
        let counter = match outcome {
            Ok(Done { dup: false, .. }) => &self.stats.publications_total,
            Ok(Done { dup: true, .. }) => &self.stats.publications_repeated_total,
            Err(Refusal::Conflict { .. }) => &self.stats.publication_conflicts_total,
            Err(_) => &self.stats.publications_refused_total,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let Request { desk, id, principal, topic, said } = request;
        let (mid, cid) = (said.mid.as_str(), said.cid.as_deref().unwrap_or_default());
        match &outcome {
            Ok(Done { seq, dup }) => tracing::debug!(%topic, seq, dup, principal = &*principal, mid, cid, "published"),
            Err(why) => tracing::debug!(%topic, ?why, principal = &*principal, mid, cid, "not published"),
        }
        desk.put(Answer { id, said, outcome });
    }
}

/// The window as the log has it, the number of topics, and the newest time in it.
fn remember(tape: &Tape, bounds: Bounds, now: Ts) -> (Window, usize, Ts) {
    let age = i64::try_from(bounds.age.as_nanos()).unwrap_or(i64::MAX);
    let recent = Ts(now.0.saturating_sub(age));
    let (mut window, mut newest, mut topics) = (Window::new(bounds), now, 0);
    let (mut used, mut results) = (Vec::new(), Vec::new());
    let mut principals: HashMap<String, Arc<str>> = HashMap::new();
    for topic in tape.topics().into_iter().map(|t| t.topic).filter(|t| t.kind().is_published()) {
        topics += 1;
        let mut reader = match tape.reader(&topic, From::Earliest, ReaderOptions::default()) {
            Ok(reader) => reader,
            Err(e) => {
                tracing::error!(%topic, error = %e, "names of publications cannot be read: those older than now are taken as used");
                window.know_since(now);
                continue;
            }
        };
        // What the tape let go, or cannot read, held names that nobody knows any more.
        let (mut batch, mut hole) = (Vec::new(), reader.position() > 0);
        while reader.poll_next(&mut batch, 1_024) > 0 {
            for delivery in batch.drain(..) {
                let Delivery::Record(shared) = delivery else {
                    hole = true;
                    continue;
                };
                let record = shared.record();
                let at = record.ts_recv();
                newest = newest.max(at);
                if std::mem::take(&mut hole) {
                    window.know_since(at);
                }
                let Ok(Body::Publication(p)) = record.view() else { continue };
                if at < recent {
                    used.push((at, window::hash_of(p.principal, p.mid)));
                } else {
                    let principal = principals.entry(p.principal.to_owned()).or_insert_with(|| p.principal.into());
                    let print = window::print(&topic, p.event, p.data);
                    results.push((at, principal.clone(), p.mid.to_owned(), print, record.seq()));
                }
            }
            if used.len() > 2 * bounds.used {
                used.sort_unstable();
                used.drain(..bounds.used).for_each(|(at, hash)| window.note_used(hash, at));
            }
        }
        if hole {
            window.know_since(now);
        }
    }
    used.sort_unstable();
    used.into_iter().for_each(|(at, hash)| window.note_used(hash, at));
    // By time, and in a topic's order where times are equal: the sort is stable.
    results.sort_by_key(|r| r.0);
    for (at, principal, mid, print, seq) in results {
        window.keep(&principal, &mid, print, seq, at, true);
    }
    (window, topics, newest)
}
