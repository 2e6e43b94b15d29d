//! What time does to a line: requests fall due, silences are noticed, garbled stretches are confessed.

use std::time::Duration;

use wholetape_model::{GapCause, InstrumentIx, Kind, LinkCause, Ts};
use wholetape_venue::{FetchId, FetchKind};

use super::Line;
use super::out::{ConnIx, LineAction, LineOut, LineTopic};
use super::stream_books::SNAPSHOT_WITHIN;

/// How often silences and garbled stretches are looked at.
const SCAN_EVERY: Duration = Duration::from_secs(1);

impl Line {
    /// Time passes.
    pub fn on_timer(&mut self, now: Ts, out: &mut LineOut) {
        self.due = Ts::MAX;
        for conn in 0..self.conns.len() {
            if self.conns[conn].is_open() && self.conns[conn].session.next_timer().is_some_and(|at| at <= now) {
                self.call(conn, now, out, |session, out| {
                    session.on_timer(now, out);
                    Ok(())
                });
            }
            if self.conns[conn].is_open()
                && let Some(at) = self.conns[conn].session.next_timer()
            {
                self.wake_at(at.max(now + Duration::from_millis(1)));
            }
        }
        self.ask_all_trades(now, out);
        for ix in 0..self.instruments.len() {
            self.ask_book(ix as InstrumentIx, now, out);
            self.probe_quiet_book(ix as InstrumentIx, now, out);
        }
        self.release_overdue(now, out);
        if now.since(self.last_scan) >= SCAN_EVERY {
            self.last_scan = now;
            self.scan(now, out);
            self.hourly_checkpoints(now, out);
            self.judge_silences(now, out);
            self.watch_sockets(now, out);
            self.give_up_raw(now, out);
            self.watch_drift(now, out);
            self.remember(now, out);
            self.count_backlog();
        }
        self.wake_at(self.last_scan + SCAN_EVERY);
    }

    /// A fetch brought nothing usable.
    pub(super) fn fetch_failed(
        &mut self,
        id: FetchId,
        retry_after: Option<Duration>,
        why: &str,
        now: Ts,
        out: &mut LineOut,
    ) {
        let ix = id.instrument as usize;
        if ix >= self.instruments.len() {
            return;
        }
        match id.kind {
            // A pulse without an answer has told nothing.
            FetchKind::NewestTrades if id.arg == super::silence::PULSE => {}
            FetchKind::TradesFrom | FetchKind::NewestTrades | FetchKind::TradesAt => {
                self.trades_failed(id, retry_after, why, now, out);
            }
            FetchKind::BookSnapshot => {
                if let Some(book) = &mut self.instruments[ix].book {
                    if id.arg == super::quiet::COMPARE {
                        // A comparison that failed costs nothing: the book stands until the next one.
                        return book.quiet.failed(retry_after, now);
                    }
                    book.fetch_failed(retry_after, now);
                }
            }
            FetchKind::OpenInterest | FetchKind::Instruments | FetchKind::ServerTime => {}
        }
    }

    fn scan(&mut self, now: Ts, out: &mut LineOut) {
        let line_rows: u64 = self.instruments.iter().map(|i| i.activity).sum();
        let speaking = line_rows.saturating_sub(std::mem::replace(&mut self.last_activity, line_rows));
        self.judge_streams(now, speaking, out);
        self.end_quiet_losses(now, out);
        for conn in 0..self.conns.len() {
            self.confess_garbled(conn, now, out);
        }
    }

    /// One silent stream costs its connection: nothing less makes the venue send it again.
    pub(super) fn silent(&mut self, conn: ConnIx, why: String, out: &mut LineOut) {
        for member in self.members_of(self.set_of(conn)) {
            if self.conns[member].is_open() {
                self.silent_socket(member, why.clone(), out);
            }
        }
    }

    /// One socket of a set.
    pub(super) fn silent_socket(&mut self, conn: ConnIx, why: String, out: &mut LineOut) {
        out.actions.push(LineAction::Silent(conn, why.clone()));
        out.actions.push(LineAction::Reconnect(conn, LinkCause::Silent, why));
    }

    /// Streams were acknowledged; when all are, losses end here and silence counts from here.
    pub(super) fn subscribed(&mut self, conn: ConnIx, streams: usize, now: Ts, out: &mut LineOut) {
        let c = &mut self.conns[conn];
        c.acknowledged += streams;
        if c.acknowledged < c.streams {
            return;
        }
        let alone = !self.is_sibling_subscribed(conn);
        // Of several sockets one may be deaf in a stream: there the loss ends with the first row, or after a while.
        let many = self.members > 2;
        self.joins_others(conn, now, out);
        self.conns[conn].carries(now);
        self.follow(now, out);
        let carried: Vec<LineTopic> = self.topics.of_conns(self.members_of(self.set_of(conn))).collect();
        for topic in carried {
            let state = self.topics.get(topic);
            if !alone && state.losing.is_none() {
                // A sibling has brought it all the while.
                continue;
            }
            let (ix, kind) = (state.instrument as usize, state.kind);
            if self.shed.covers(kind) {
                // Subscribed, and not listened to: what is shed stays confessed until it is read again.
                continue;
            }
            let activity = self.instruments.get(ix).map_or(0, |i| i.evidence(kind));
            if state.open_since == Ts::ZERO {
                // One that spoke before is open since then: that others are acknowledged says nothing of it.
                state.opened(now, activity);
            }
            if let Some(instrument) = self.instruments.get_mut(ix) {
                // What REST showed before is nothing that this subscription could bring.
                instrument.proof.opened(kind);
            }
            let state = self.topics.get(topic);
            // Best prices that wait for their book come with it, whatever else is acknowledged.
            let waits = state.losing.is_some_and(|loss| loss.cause == GapCause::Resync) || self.is_derived(topic);
            let state = self.topics.get(topic);
            if state.losing.is_some() && !waits && !(many && state.is_unprotected()) {
                self.end_loss(topic, conn, now, out);
            }
            if kind == Kind::Book
                && let Some(book) = self.instruments.get_mut(ix).and_then(|i| i.book.as_mut())
            {
                // The first delta asks for the snapshot; a book that does not move must become valid too. Where the stream brings
                // it, it is given its time.
                book.want(now + if book.is_streamed() { SNAPSHOT_WITHIN } else { QUIET_BOOK });
            }
            if kind == Kind::Trade
                && let Some(instrument) = self.instruments.get_mut(ix)
            {
                instrument.trades.on_open(now);
                // What the process before was behind with.
                self.open_doubt(ix, now, out);
            }
        }
        out.actions.push(LineAction::Subscribed(conn));
        self.wake_at(now);
    }

    /// Garbage may have been anything that this connection carries.
    pub(super) fn resync_connection(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let carried = self.is_carried_elsewhere(conn, self.conns[conn].heard_until(now), now);
        let c = &self.conns[conn];
        let from = if c.last_frame > Ts::ZERO { c.last_frame } else { c.opened_at };
        if carried {
            // Whatever it was, the other socket brings it.
            return;
        }
        let c = &mut self.conns[conn];
        c.garbled = Some(c.garbled.map_or((from, now), |(start, _)| (start, now)));
        for ix in 0..self.instruments.len() {
            if self.set_of(self.instruments[ix].trade_conn) == self.set_of(conn) {
                // Said now: the trades that follow are no left edge.
                self.instruments[ix].trades.doubt(GapCause::Malformed, from, self.members == 1);
                self.open_doubt(ix, now, out);
            }
        }
        let c = &mut self.conns[conn];
        if now < c.next_resync {
            // A flood of garbage does not become a flood of snapshots: sequence ids prove the books meanwhile.
            return;
        }
        c.next_resync = now + RESYNC_EVERY;
        // Subscribing anew is dearer than a snapshot, and the venue counts.
        let dear = now >= c.next_resubscription;
        if dear {
            c.next_resubscription = now + RESUBSCRIBE_EVERY;
        }
        for ix in 0..self.instruments.len() {
            if !dear && self.instruments[ix].book.as_ref().is_some_and(super::BookFlow::is_streamed) {
                continue;
            }
            if self.set_of(self.instruments[ix].book_conn) == self.set_of(conn) && self.instruments[ix].book.is_some() {
                self.book_lost(ix as InstrumentIx, GapCause::Malformed, "a frame could not be read", now, out);
            }
        }
    }

    fn confess_garbled(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let Some((from, to)) = self.conns[conn].garbled.take() else { return };
        let carried: Vec<LineTopic> = self.topics.of_conns(self.members_of(self.set_of(conn))).collect();
        for topic in carried {
            let state = self.topics.get(topic);
            let (is_asked, ix) = (state.loose, state.instrument as usize);
            let is_asked = is_asked && self.instruments[ix].trades.is_asked();
            let state = self.topics.get(topic);
            if state.is_unprotected() && !is_asked && state.losing.is_none() && state.open_since > Ts::ZERO {
                self.confess(
                    topic,
                    GapCause::Malformed,
                    from,
                    to,
                    "a frame of this connection could not be read",
                    now,
                    out,
                );
            }
        }
    }
}

/// A book that says nothing for this long after its subscription is fetched without waiting for a delta.
pub(super) const QUIET_BOOK: Duration = Duration::from_secs(1);
/// At most one resync for garbage per connection in this time.
const RESYNC_EVERY: Duration = Duration::from_secs(10);
/// And of books whose snapshot comes by the stream. In between, their ids or checksums prove them.
const RESUBSCRIBE_EVERY: Duration = Duration::from_secs(600);
