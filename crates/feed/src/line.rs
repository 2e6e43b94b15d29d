//! The pure line: session → heal → book → quality → judged events and marks.
//!
//! One line owns some instruments of one venue. It is a plain state machine: frames, answers and time come in as
//! arguments, rows and actions go out in a [`LineOut`]. It names no socket, file, clock or task, so the same code runs
//! behind sockets, over captures (`wholetape inspect`), in the fuzzer and in the simulated world.
//!
//! Invariants
//! - A trade id of the chosen trade source is appended once, whoever delivered it; a hole is marked before the row that
//!   showed it, and leaves with a verdict.
//! - A book row is appended only when the book accepted it; from a break until the next splice the book is `syncing`, and
//!   what was published meanwhile is a gap.
//! - Streams that no id protects confess every broken connection.
//! - After warm-up an event costs no allocation; whatever allocates happens once per change of state.

pub mod backlog;
mod behind;
mod books;
pub mod cadence;
mod conn;
mod delisted;
mod derived;
mod down;
mod drift;
mod emit;
mod heal;
mod held;
mod hole;
mod judge;
pub mod late;
pub mod ledger;
pub mod memory;
mod merge;
mod out;
pub mod overlap;
pub mod plan;
mod quiet;
pub mod shed;
pub mod silence;
mod sockets;
mod stream_books;
mod timers;
pub mod topics;
pub mod trades;
pub mod window;

use std::time::Duration;

use wholetape_model::{InstrumentIx, Kind, LinkCause, NO_INSTRUMENT, RowFlags, Ts};
use wholetape_quality::Findings;
use wholetape_venue::{Action, FetchFailure, FetchId, FetchKind, Frame, Note, ProtocolError, Recovery, Reply, Session};

pub use backlog::Job;
pub use books::BookFlow;
use conn::Conn;
pub use heal::{Order, Progress};
pub use out::{ConnIx, Judged, LineAction, LineOut, LineTopic, Priority};
pub use plan::{ConnPlan, Instrument, LinePlan, Resume, TopicResume};
pub use sockets::{Lag, OVERLAP, SOCKETS_MAX};
use topics::Topics;
use trades::Live;

/// What the shell says of a connection that it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnMeta {
    /// Names the connection in every row that it brought, unique in the epoch.
    pub number: u32,
}

/// Counters of the line. Those of sessions and books are asked of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineStats {
    pub frames: u64,
    pub rows: u64,
    /// Frames that could not be read: garbage, cut off, numbers that do not fit.
    pub errors: u64,
    pub unknown: u64,
    pub repeats: u64,
    pub late: u64,
    pub gaps_opened: u64,
    pub gaps_healed: u64,
    pub gaps_never_published: u64,
    pub gaps_lost: u64,
    pub resyncs: u64,
    /// Books subscribed anew, because their snapshot comes by the stream.
    pub resubscriptions: u64,
    pub fetches: u64,
    pub fetch_failures: u64,
    pub findings: u64,
    /// Minutes whose trades were held against the venue's own bar: as many as it counts, or not.
    pub minutes_equal: u64,
    pub minutes_differing: u64,
    /// Streams by their [`StreamState`](wholetape_model::StreamState), and how often each was told, indexed by its code.
    pub streams: [u32; silence::STATES],
    pub verdicts: [u64; silence::STATES],
    pub alerts: u64,
    /// Sockets given up because they were behind their siblings.
    pub recycled: u64,
    /// Odd shapes told.
    pub shapes: u64,
    /// Frames that are not as documented, by the places of [`wholetape_venue::shape::CHANNELS`].
    pub odd_shapes: [u64; wholetape_venue::shape::CHANNELS.len()],
    /// Ids of old or large holes that are missing now.
    pub backlog_missing: u64,
    /// Answers for the backlog: with rows of use, without, and none at all.
    pub backlog_filled: u64,
    pub backlog_empty: u64,
    pub backlog_failed: u64,
    /// Rows that filled a hole though they came by the stream.
    pub healed_redundant: u64,
    /// Rows that people brought from the venue's archive.
    pub healed_archive: u64,
    /// Trade ids that do not count, forgotten before their time since there were too many: their repeats are kept until the day is sealed.
    pub ids_forgotten: u64,
}

/// See the module.
pub struct Line {
    plan: LinePlan,
    conns: Vec<Conn>,
    /// Of each connection, how often it speaks.
    watches: Vec<silence::ConnWatch>,
    /// Of each connection, its last frames.
    rings: Vec<drift::Ring>,
    drift: drift::Drift,
    memory: memory::Memory,
    instruments: Vec<Instrument>,
    topics: Topics,
    stats: LineStats,
    next_gap: u64,
    due: Ts,
    last_scan: Ts,
    last_activity: u64,
    /// Whose backlog is asked for next: taken in turns.
    backlog_turn: usize,
    /// Of the event at hand; empty between events.
    findings: Findings,
    shed: shed::Shedding,
    /// Connections that carry the same streams stand side by side, so many at a time.
    members: usize,
    /// The event at hand came by a socket, not by an answer.
    from_socket: bool,
    /// What the venue proves the book of the event at hand by.
    checksum: Option<u32>,
    socket_watches: Vec<sockets::Watch>,
    /// Of each connection, what the process before heard: see [`down`].
    heard_down: Vec<Option<Ts>>,
}

impl Line {
    /// A line at rest: nothing is open yet. Each connection carries streams of its own.
    pub fn new(plan: LinePlan) -> Self {
        Self::with_sockets(plan, 1)
    }

    /// A line whose connections stand in sets: `members` neighbours of the plan carry the same streams (1 to
    /// [`SOCKETS_MAX`] + 1; a plan whose connections do not fill whole sets has none).
    pub fn with_sockets(mut plan: LinePlan, members: usize) -> Self {
        let whole = members > 0 && members <= merge::MEMBERS_MAX && plan.conns.len().is_multiple_of(members);
        let members = if whole { members } else { 1 };
        let conns: Vec<Conn> = std::mem::take(&mut plan.conns).into_iter().map(Conn::new).collect();
        let mut line = Self {
            rings: conns.iter().map(|_| drift::Ring::default()).collect(),
            drift: drift::Drift::default(),
            memory: memory::Memory::default(),
            watches: conns.iter().map(|_| silence::ConnWatch::default()).collect(),
            instruments: Vec::new(),
            topics: Topics::default(),
            stats: LineStats::default(),
            next_gap: 0,
            due: Ts::MAX,
            last_scan: Ts::ZERO,
            last_activity: 0,
            backlog_turn: 0,
            findings: Findings::default(),
            shed: shed::Shedding::default(),
            members,
            from_socket: false,
            checksum: None,
            socket_watches: (0..conns.len() / members).map(|_| sockets::Watch::default()).collect(),
            heard_down: Vec::new(),
            conns,
            plan,
        };
        line.recall();
        line.heard_down = line.heard_before();
        for ix in 0..line.plan.instruments.len() {
            line.add_instrument(ix as InstrumentIx);
        }
        line.expect_topics();
        line
    }

    pub fn name(&self) -> &str {
        &self.plan.name
    }

    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    pub fn session(&self, conn: ConnIx) -> &dyn Session {
        self.conns[conn].session.as_ref()
    }

    pub fn stats(&self) -> &LineStats {
        &self.stats
    }

    /// The line's topics, in the order of their [`LineTopic`]; grows, never shrinks.
    pub fn topics(&self) -> &[topics::TopicState] {
        &self.topics.list
    }

    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// Which fetch a recorded response belongs to, asked of every session in turn.
    pub fn fetch_of(&mut self, url: &str) -> Option<(ConnIx, FetchId)> {
        self.conns.iter_mut().enumerate().find_map(|(ix, c)| c.session.fetch_of(url).map(|id| (ix, id)))
    }

    /// The transport of `conn` is open.
    pub fn on_open(&mut self, conn: ConnIx, meta: ConnMeta, now: Ts, out: &mut LineOut) {
        self.conns[conn].opened(meta.number, now);
        self.watches[conn].opened(now);
        self.socket_joined(conn, out);
        self.call(conn, now, out, |session, out| {
            session.on_open(now, out);
            Ok(())
        });
        self.wake_at(now);
    }

    /// One frame. Never fails: what is wrong with it is counted and answered by actions.
    pub fn on_frame(&mut self, conn: ConnIx, now: Ts, frame: Frame<'_>, out: &mut LineOut) {
        self.stats.frames += 1;
        self.watches[conn].frame(now);
        let c = &mut self.conns[conn];
        if c.ejected {
            return;
        }
        c.frame = c.frame.wrapping_add(1);
        let number = c.frame;
        let after = self.wants_after(conn);
        self.rings[conn].keep(number, now, frame.bytes());
        let c = &mut self.conns[conn];
        let before = out.scratch.events.len();
        debug_assert_eq!(before, 0, "events of the last frame were taken");
        match c.session.on_frame(now, frame, &mut out.scratch) {
            Ok(()) => {
                self.from_socket = true;
                self.take_events(conn, now, RowFlags::default(), out);
                self.from_socket = false;
                let c = &mut self.conns[conn];
                c.last_frame = now;
                if !out.scratch.actions.is_empty() {
                    self.take_actions(conn, now, out);
                }
            }
            Err(error) => self.on_error(conn, now, &error, frame, out),
        }
        if after {
            self.keep_after(conn, frame.bytes(), now, out);
        }
    }

    /// The answer to a fetch.
    pub fn on_fetched(&mut self, conn: ConnIx, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut LineOut) {
        out.scratch.clear_events();
        let result = self.conns[conn].session.on_fetched(now, id, reply, &mut out.scratch);
        self.take_raw(conn, now, out);
        let failure = match (&reply, &result) {
            (Reply::Failed(FetchFailure::Budget { retry_after }), _) => Some((Some(*retry_after), "budget".to_owned())),
            (Reply::Failed(failure), _) => Some((None, failure_text(failure))),
            // No failure: the next page begins elsewhere, as soon as the budget lets it.
            (_, Err(error @ ProtocolError::Beside { .. })) => Some((Some(Duration::ZERO), error.to_string())),
            (_, Err(error)) => Some((None, error.to_string())),
            _ => None,
        };
        if let Some((retry_after, why)) = failure {
            out.scratch.clear_events();
            self.stats.fetch_failures += u64::from(retry_after.is_none());
            self.fetch_failed(id, retry_after, &why, now, out);
        } else {
            self.watches[conn].host_answered(now);
            match id.kind {
                FetchKind::NewestTrades if id.arg == silence::PULSE => self.take_pulse(conn, id, now, out),
                FetchKind::TradesFrom | FetchKind::NewestTrades | FetchKind::TradesAt => {
                    self.take_trades(conn, id, now, out);
                }
                FetchKind::BookSnapshot => self.take_snapshot(conn, id, now, out),
                _ => self.take_events(conn, now, RowFlags::default(), out),
            }
        }
        self.take_actions(conn, now, out);
        self.wake_at(now);
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, conn: ConnIx, now: Ts, _cause: LinkCause, out: &mut LineOut) {
        let carried = self.conns[conn].is_carrying();
        let since = self.conns[conn].closed(now);
        let Some(since) = since else { return };
        if carried {
            self.confess_all_deaf(conn, now, out);
        }
        self.feeder_closed(conn, now, out);
        if self.is_carried_elsewhere(conn, since, now) {
            // Nothing is lost where the other socket goes on.
            self.unproven_siblings(conn, since, now, out);
            return self.settle_held(conn, now, out);
        }
        let (set, left) = (self.set_of(conn), self.is_set_open(conn));
        for t in 0..self.topics.list.len() {
            let topic = &self.topics.list[t];
            if topic.conn.is_none_or(|c| self.set_of(c) != set) || left && self.is_derived(t as LineTopic) {
                continue;
            }
            if carried && topic.is_unprotected() && topic.losing.is_some() {
                self.reach_back(conn, t as LineTopic, since, now, out);
            }
            let topic = &self.topics.list[t];
            if left {
                // The other socket is too young to have everything that was on its way here.
                if topic.is_unprotected() && topic.losing.is_none() && topic.open_since > Ts::ZERO {
                    self.young_sibling(conn, t as LineTopic, since, now, out);
                }
                continue;
            }
            if topic.is_unprotected() && topic.losing.is_none() {
                self.begin_loss(t as LineTopic, since, wholetape_model::GapCause::Disconnected, now, out);
            }
            self.topics.list[t].open_since = Ts::ZERO;
        }
        if left {
            // Trades and books go on where the other socket does; their ids tell what it lacks.
            return self.settle_held(conn, now, out);
        }
        for ix in 0..self.instruments.len() {
            if self.set_of(self.instruments[ix].trade_conn) == set {
                self.instruments[ix].trades.on_closed();
            }
            if self.set_of(self.instruments[ix].book_conn) == set {
                self.release(ix as InstrumentIx, now, out);
                self.book_lost(
                    ix as InstrumentIx,
                    wholetape_model::GapCause::Disconnected,
                    "connection closed",
                    now,
                    out,
                );
            }
        }
    }

    /// The tape began a new segment, or an hour passed: each live book is appended whole.
    pub fn on_segment(&mut self, now: Ts, out: &mut LineOut) {
        self.shed.owe_checkpoint();
        for ix in 0..self.instruments.len() {
            self.checkpoint(ix as InstrumentIx, now, out);
        }
    }

    fn wake_at(&mut self, at: Ts) {
        self.due = self.due.min(at);
    }

    /// When `on_timer` wants to be called.
    pub fn next_timer(&self) -> Option<Ts> {
        (self.due < Ts::MAX).then_some(self.due)
    }

    /// Runs one call of a session and takes what came of it.
    fn call(
        &mut self,
        conn: ConnIx,
        now: Ts,
        out: &mut LineOut,
        f: impl FnOnce(&mut dyn Session, &mut wholetape_venue::Out) -> Result<(), ProtocolError>,
    ) {
        out.scratch.clear_events();
        if f(self.conns[conn].session.as_mut(), &mut out.scratch).is_ok() {
            self.take_events(conn, now, RowFlags::default(), out);
        }
        self.take_actions(conn, now, out);
    }

    /// Judges the session's events and turns them into rows.
    fn take_events(&mut self, conn: ConnIx, now: Ts, flags: RowFlags, out: &mut LineOut) {
        for i in 0..out.scratch.events.len() {
            let event = out.scratch.events[i];
            if event.instrument == NO_INSTRUMENT {
                let topic = self.topics.own(event.kind, &self.plan.name);
                self.push(topic, event.ts_event, now, conn, flags, event.scales, event.body, out);
                continue;
            }
            if event.instrument as usize >= self.instruments.len() {
                self.discover(event.instrument);
            }
            if event.ts_event > self.conns[conn].last_event {
                self.conns[conn].heard_of(event.ts_event, now);
            }
            match event.kind {
                Kind::Book => {
                    // Most venues print none.
                    let of_this = |c: &&(usize, u32)| c.0 == i;
                    self.checksum = out.scratch.checksums.iter().find(of_this).map(|c| c.1);
                    self.on_book(conn, &event, now, out);
                }
                kind if kind == self.plan.trade_source => self.on_trade(conn, &event, now, out),
                _ => self.on_state(conn, &event, now, flags, out),
            }
        }
        out.scratch.clear_events();
    }

    /// A row of a stream is as good as its acknowledgement: of a connection's many streams (dYdX takes two subscriptions a second) the
    /// last is acknowledged long after the first speaks, and what the first misses meanwhile is missing.
    fn speaks(&mut self, topic: LineTopic, now: Ts) {
        let state = &self.topics.list[topic as usize];
        if state.open_since == Ts::ZERO && self.from_socket && state.is_unprotected() && !self.shed.covers(state.kind) {
            let activity = self.instruments.get(state.instrument as usize).map_or(0, |i| i.evidence(state.kind));
            self.topics.get(topic).opened(now, activity);
        }
    }

    fn on_trade(&mut self, conn: ConnIx, event: &wholetape_model::Event, now: Ts, out: &mut LineOut) {
        let wholetape_model::Body::Trade(trade) = event.body else { return };
        let ix = event.instrument as usize;
        let topic = self.topic_of(event.instrument, Kind::Trade);
        let state = self.topics.get(topic);
        state.received += 1;
        state.conn = Some(conn);
        let is_losing = state.losing.is_some();
        self.speaks(topic, now);
        self.begins_with(conn, topic, trade.id, event.ts_event);
        let gap = self.next_gap.max(now.0 as u64);
        let live = self.instruments[ix].trades.on_live(trade.id, event.ts_event, now, gap);
        if is_losing && self.from_socket && live != Live::Repeat {
            self.end_loss(topic, conn, now, out);
        }
        match live {
            Live::Row => self.push_trade(topic, event, conn, now, RowFlags::default(), out),
            Live::Repeat => {
                self.stats.repeats += 1;
                self.topics.get(topic).repeats += 1;
                let trades = &self.instruments[ix].trades;
                let first = trades.is_newest(trade.id).then_some(trades.newest_at());
                self.lagged(conn, topic, first, now);
                return;
            }
            Live::AfterGap(mark) => {
                self.next_gap = gap + 1;
                self.stats.gaps_opened += 1;
                self.gap_mark(topic, &mark, conn, now, out);
                self.push_trade(topic, event, conn, now, RowFlags::default(), out);
                for lost in self.instruments[ix].trades.give_up_all() {
                    self.stats.gaps_lost += 1;
                    self.gap_mark(topic, &lost, conn, now, out);
                }
                if let Some(at) = self.instruments[ix].trades.next_ask() {
                    self.wake_at(at);
                }
            }
            Live::Filled(verdicts) => {
                self.push_trade(topic, event, conn, now, RowFlags::default(), out);
                for verdict in verdicts {
                    self.gap_mark(topic, &verdict, conn, now, out);
                    self.stats.gaps_healed += 1;
                }
                self.stats.healed_redundant += 1;
            }
        }
        self.led(conn, topic, now);
        if self.instruments[ix].trades.wants_anchor() {
            self.anchor_backlog(ix, topic, event.ts_event, conn, now, out);
        }
    }

    fn push_trade(
        &mut self,
        topic: LineTopic,
        event: &wholetape_model::Event,
        conn: ConnIx,
        now: Ts,
        flags: RowFlags,
        out: &mut LineOut,
    ) {
        let instrument = &mut self.instruments[event.instrument as usize];
        instrument.activity += 1;
        let activity = instrument.activity;
        let flags = flags.with(self.judge(conn, event, now, out));
        self.topics.get(topic).spoke(now, event.ts_event, activity);
        self.push(topic, event.ts_event, now, conn, flags, event.scales, event.body, out);
    }

    /// REST knows trades that the open stream should have brought seconds ago: accepted, and silent.
    /// `unheard` is the newest of them. One from before the subscription was nothing that this stream could bring: with many
    /// instruments the answer may have waited for the budget since then.
    pub(super) fn trade_stream_silent(&mut self, ix: usize, topic: LineTopic, unheard: Ts, now: Ts, out: &mut LineOut) {
        let conn = self.instruments[ix].trade_conn;
        let open = self.topics.get(topic).open_since;
        if !self.is_set_open(conn) || open == Ts::ZERO || now.since(open) < trades::SILENT_AFTER {
            return;
        }
        if self.is_before_stream(topic, unheard) {
            return;
        }
        if self.instruments[ix].trades.last_live() > open
            && now.since(self.instruments[ix].trades.last_live()) < trades::SILENT_AFTER
        {
            return;
        }
        self.trades_stalled(topic, conn, now, out);
    }

    /// Whether what happened at `event` was nothing that the topic's stream could bring, as it is subscribed now.
    pub(super) fn is_before_stream(&mut self, topic: LineTopic, event: Ts) -> bool {
        let open = self.topics.get(topic).open_since;
        // A second for clocks that differ; of a recording that is served again, whose clock is years away, nothing can be told.
        event < open + Duration::from_secs(1) && open.since(event) < Duration::from_secs(3_600)
    }

    /// Everything that no id protects: quotes, bars, funding, and the second trade source.
    fn on_state(&mut self, conn: ConnIx, event: &wholetape_model::Event, now: Ts, flags: RowFlags, out: &mut LineOut) {
        let topic = self.topic_of(event.instrument, self.topic_kind(event.kind));
        let frame = (conn, self.conns[conn].frame);
        let another = self.is_of_another_book(conn, event.instrument, event.kind);
        let state = self.topics.get(topic);
        state.received += 1;
        if another {
            self.stats.repeats += 1;
            state.repeats += 1;
            return;
        }
        state.conn = Some(conn);
        let twins = state.twins(frame, event.ts_event, &event.body);
        let siblings = self.members > 1
            && self.from_socket
            && !matches!(event.body, wholetape_model::Body::Trade(_))
            && !self.is_derived(topic);
        self.speaks(topic, now);
        if siblings && self.is_siblings(conn, topic, (event, twins), now, out) {
            self.stats.repeats += 1;
            self.topics.get(topic).repeats += 1;
            return;
        }
        let state = self.topics.get(topic);
        if state.is_again(event.ts_event, &event.body, twins) {
            state.merge.take_back();
            self.stats.repeats += 1;
            if matches!(event.body, wholetape_model::Body::Trade(_)) {
                let first = state.last_recv;
                self.lagged(conn, topic, Some(first), now);
            }
            return;
        }
        // Verdicts that this row completes come after it.
        let mut filled = Vec::new();
        if let wholetape_model::Body::Trade(trade) = event.body {
            let gap = self.next_gap.max(now.0 as u64);
            match self.instruments[event.instrument as usize].raw_trades.on_live(trade.id, event.ts_event, now, gap) {
                Live::Row => {}
                Live::Repeat => {
                    self.topics.get(topic).repeats += 1;
                    self.stats.repeats += 1;
                    let raw = &self.instruments[event.instrument as usize].raw_trades;
                    let first = raw.is_newest(trade.id).then_some(raw.newest_at());
                    self.lagged(conn, topic, first, now);
                    return;
                }
                Live::AfterGap(mark) => {
                    self.next_gap = gap + 1;
                    self.stats.gaps_opened += 1;
                    self.gap_mark(topic, &mark, conn, now, out);
                }
                Live::Filled(marks) => filled = marks,
            }
            self.led(conn, topic, now);
        }
        let instrument = &mut self.instruments[event.instrument as usize];
        match event.body {
            wholetape_model::Body::Status(status) => instrument.proof.trading = status.status,
            wholetape_model::Body::Instrument(def) => instrument.proof.trading = def.status,
            _ => {}
        }
        if matches!(event.kind, Kind::Quote | Kind::TradeRaw | Kind::Trade) {
            instrument.activity += 1;
        }
        let activity = instrument.evidence(self.topics.list[topic as usize].kind);
        // An answer of REST (the status in a definition) is no sign that the stream is back.
        if self.from_socket && self.topics.get(topic).losing.is_some() {
            self.end_loss(topic, conn, now, out);
        }
        let flags = flags.with(self.judge(conn, event, now, out));
        let state = self.topics.get(topic);
        // Nor that a stream lives: best prices of a book that REST mends (dYdX) go on while their stream is silent.
        let streams = self.from_socket || !state.streamed;
        if streams {
            state.spoke(now, event.ts_event, activity);
        }
        state.last_scales = event.scales;
        self.push(topic, event.ts_event, now, conn, flags, event.scales, event.body, out);
        if let Some(row) = out.rows.last_mut().filter(|_| !streams) {
            row.frame = 0;
        }
        for verdict in filled {
            self.count_verdict(verdict.state);
            self.gap_mark(topic, &verdict, conn, now, out);
        }
    }

    fn take_actions(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        if out.scratch.actions.is_empty() {
            return;
        }
        for action in std::mem::take(&mut out.scratch.actions) {
            match action {
                Action::Send(text) => out.actions.push(LineAction::Send(conn, text)),
                Action::Fetch(id, _) if !self.may_ask(conn, &id) => {}
                Action::Fetch(id, request) => {
                    self.stats.fetches += 1;
                    out.actions.push(LineAction::Fetch(conn, id, request, Priority::Poll));
                }
                Action::Close(Recovery::Stop) => out.actions.push(LineAction::Stop(conn, "the session gave up".into())),
                Action::Close(_) => {
                    out.actions.push(LineAction::Reconnect(
                        conn,
                        LinkCause::Error,
                        "the session asks for a new one".into(),
                    ));
                }
                Action::Note(Note::Subscribed { streams }) => self.subscribed(conn, streams.len(), now, out),
                Action::Note(Note::Refused { streams, code, text }) => {
                    let what = streams.join(" ");
                    out.actions
                        .push(LineAction::Stop(conn, format!("subscription refused: code {code}: {text} ({what})")));
                }
                Action::Note(Note::Time(at)) => {
                    if at > self.conns[conn].last_event {
                        self.conns[conn].heard_of(at, now);
                    }
                }
                Action::Note(Note::ClosingSoon) => out.actions.push(LineAction::ClosingSoon(conn)),
                Action::Note(Note::Shape(shape)) => self.on_shape(conn, &shape, now, out),
                Action::Note(Note::Unknown { channel }) => {
                    self.stats.unknown += 1;
                    self.watches[conn].misread();
                    out.actions.push(LineAction::Odd(conn, format!("unknown frame or value in `{channel}`: kept raw")));
                }
            }
        }
    }

    /// A frame that could not be read: counted, kept raw, and answered by a resync of what it may have carried.
    fn on_error(&mut self, conn: ConnIx, now: Ts, error: &ProtocolError, frame: Frame<'_>, out: &mut LineOut) {
        self.stats.errors += 1;
        self.watches[conn].misread();
        out.scratch.clear_events();
        self.keep_raw(conn, frame, now, out);
        out.actions.push(LineAction::Odd(conn, error.to_string()));
        if let Some(shape) = self.conns[conn].session.odd_shape(frame) {
            self.on_shape(conn, &shape, now, out);
        }
        match error.recovery() {
            Recovery::Skip => {}
            Recovery::Resync => self.resync_connection(conn, now, out),
            Recovery::Reconnect => out.actions.push(LineAction::Reconnect(conn, LinkCause::Error, error.to_string())),
            Recovery::Stop => out.actions.push(LineAction::Stop(conn, error.to_string())),
        }
        self.take_actions(conn, now, out);
    }
}

fn failure_text(failure: &FetchFailure) -> String {
    match failure {
        FetchFailure::Transport(why) => why.clone(),
        FetchFailure::Timeout => "timeout".into(),
        FetchFailure::Budget { retry_after } => format!("budget spent for {} ms", retry_after.as_millis()),
    }
}

/// How long an unchanged book goes without a checkpoint.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod derived_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod overlap_tests;
#[cfg(test)]
mod search_tests;
#[cfg(test)]
mod sockets_tests;
#[cfg(test)]
mod status_tests;
#[cfg(test)]
mod stream_books_tests;
#[cfg(test)]
mod tests;
