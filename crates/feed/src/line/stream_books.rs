//! Books whose snapshot comes by the stream: what an update does, and how a lost book is got back.
//!
//! REST is not asked for these books. A break ends what is known of the book (`syncing`, with a gap mark as for every book), and
//! the session is asked to subscribe that one book anew; whatever snapshot then comes by the stream, asked for or not, makes it
//! live. No other book of the connection is touched.
//!
//! - How often a book may be subscribed anew is the venue's to say (the session keeps its budget) and ours: one that breaks again
//!   soon waits longer each time. [`TRIES_MAX`] tries without a snapshot cost the connection.
//! - A book is fed by one socket at a time. Where several carry it, each has a chain of its own, and only the feeder's is followed;
//!   another one takes over with a snapshot.
//! - Of a book that the venue cuts to its best levels, the row says which went ([`SyncedOrderBook::cut`]): readers apply rows alone.
//! - What was missed ends as `lost`: ids may have begun anew meanwhile, so nothing can be proven to have been whole.

use std::time::Duration;

use wholetape_book::{Stamp, Step, SyncedOrderBook};
use wholetape_model::{
    Arena, Body, Book, BookAction, Chain, Event, GapCause, InstrumentIx, Kind, Level, Levels, LinkCause, RowFlags,
    Span, Ts,
};

use super::Line;
use super::books::{BookFlow, made};
use super::out::{ConnIx, LineAction, LineOut};

/// A snapshot follows its subscription within this long, or it is asked for again.
pub(super) const SNAPSHOT_WITHIN: Duration = Duration::from_secs(10);
/// Subscribed anew so often without a snapshot, the connection is of no use.
const TRIES_MAX: u32 = 3;
/// A book that was live for less than this before it broke is asked for later and later.
const STEADY: Duration = Duration::from_secs(60);
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(120);

/// The way of one such book back to validity.
#[derive(Debug, Default)]
pub(super) struct Resubscription {
    /// Whose stream feeds the book.
    pub feeder: Option<ConnIx>,
    /// Which sockets of the set told the whole book since they opened, a bit each.
    told: u8,
    /// Who was asked for it anew, having told it before: what it tells next is the answer.
    asked: Option<ConnIx>,
    /// Subscribed anew so often since it was last live.
    tries: u32,
    live_since: Ts,
    /// What the next break waits before it asks.
    again: Duration,
}

impl Resubscription {
    fn live(&mut self, now: Ts) {
        self.tries = 0;
        self.live_since = now;
    }

    /// How long to wait before the book is asked for anew.
    fn broke(&mut self, now: Ts) -> Duration {
        if self.tries == 0 && now.since(self.live_since) >= STEADY {
            self.again = Duration::ZERO;
            return Duration::ZERO;
        }
        let wait = self.again;
        self.again = (wait * 2).clamp(AGAIN_FIRST, AGAIN_MAX);
        wait
    }
}

impl BookFlow {
    /// Whether the snapshot comes by the stream.
    pub(super) fn is_streamed(&self) -> bool {
        !self.book().rule().chain.is_anchored()
    }

    /// Whether the book is what `conn` told of it, and right.
    pub(super) fn is_fed_by(&self, conn: ConnIx) -> bool {
        self.resubscription.feeder == Some(conn) && !self.book().needs_snapshot()
    }
}

impl Line {
    /// An update by the stream, or a snapshot that REST brought for such a book.
    pub(super) fn on_streamed_book(&mut self, conn: ConnIx, event: &Event, now: Ts, out: &mut LineOut) {
        let Body::Book(update) = event.body else { return };
        let (ix, topic) = (event.instrument, self.topic_of(event.instrument, Kind::Book));
        if !self.feeds(ix, conn, update.action) {
            self.stats.repeats += 1;
            return;
        }
        if now >= self.book_of(ix, conn).day_ends {
            self.checkpoint(ix, now, out);
        }
        let (number, frame) = (self.conns[conn].number, self.conns[conn].frame);
        let stamp = Stamp { ts_event: event.ts_event, ts_recv: now, conn: number, frame };
        let checksum = self.checksum;
        let flow = self.book_of(ix, conn);
        let before = flow.book().last_update_id();
        let step = {
            let arena = &out.scratch.arena;
            let view = Book {
                action: update.action,
                first_id: update.first_id,
                last_id: update.last_id,
                prev_id: update.prev_id,
                bids: Levels::Native(arena.level_slice(update.bids)),
                asks: Levels::Native(arena.level_slice(update.asks)),
            };
            flow.book_mut().on_update(stamp, event.scales, &view, checksum)
        };
        match step {
            Step::Applied => {
                let body = Body::Book(with_cut(&update, self.book_of(ix, conn).book(), &mut out.scratch.arena));
                self.streamed_row(conn, event, body, now, out);
                return;
            }
            Step::Replaced => return self.streamed_snapshot(conn, event, before, now, out),
            Step::Beat => self.book_of(ix, conn).quiet.moved(now),
            // Of a quiet book some venues repeat the last push: a sign of life as well.
            Step::Old => self.stats.repeats += 1,
            Step::Gap { expected, got } => {
                let why = format!("expected {expected}, got {got}");
                self.streamed_break(ix, before, GapCause::Sequence, &why, now, out);
            }
            Step::Mismatch { expected, got } => {
                let why = format!("the venue's checksum is {expected:08x}, the book's {got:08x}");
                self.streamed_break(ix, before, GapCause::Resync, &why, now, out);
            }
            Step::Rejected(error) => {
                self.stats.errors += 1;
                let name = &self.topics.get(topic).topic;
                out.actions.push(LineAction::Odd(conn, format!("{name} rejected: {error}")));
                self.streamed_break(ix, before, GapCause::Malformed, "an update was rejected", now, out);
            }
            // The snapshot is on its way, or should be.
            Step::Unsynced => self.book_of(ix, conn).want(now + SNAPSHOT_WITHIN),
            // Those of the other machine.
            Step::Queued | Step::Overflow { .. } => {}
        }
        // The stream speaks, whatever the book makes of it.
        let activity = self.instruments[ix as usize].activity;
        self.topics.get(topic).spoke(now, event.ts_event, activity);
        self.wake_for_book(ix);
    }

    /// Whether `conn` may feed the book: nobody else does, or it begins with a snapshot what nobody has.
    fn feeds(&mut self, ix: InstrumentIx, conn: ConnIx, action: BookAction) -> bool {
        let open = |line: &Self, c: ConnIx| line.conns[c].is_open();
        let flow = self.book_of(ix, conn);
        let (feeder, syncing) = (flow.resubscription.feeder, flow.book().needs_snapshot());
        let takes = match feeder {
            None => true,
            Some(one) if one == conn => true,
            Some(one) => !open(self, one) || (syncing && action == BookAction::Snapshot),
        };
        if action == BookAction::Snapshot {
            let replica = self.replica_of(conn);
            self.book_of(ix, conn).resubscription.told |= 1 << replica;
            if takes && self.is_behind_loss(ix, conn) {
                return false;
            }
        }
        if takes {
            self.book_of(ix, conn).resubscription.feeder = Some(conn);
            self.instruments[ix as usize].book_conn = conn;
        }
        takes
    }

    /// Whether what `conn` tells now was made before the book was lost, as the venue's times on that connection say: a sibling that stalled
    /// while it was subscribed brings a snapshot from before, and behind it what is on the tape already. What it is asked for since then
    /// comes behind a later time.
    fn is_behind_loss(&self, ix: InstrumentIx, conn: ConnIx) -> bool {
        let Some(flow) = self.instruments[ix as usize].book.as_ref().filter(|_| self.members > 1) else { return false };
        let c = &self.conns[conn];
        // By the clock by which the loss began: times that are far away (a recording's) say nothing.
        let told = made(c.last_event, c.heard_at);
        // At the very time of the loss (dYdX's blocks are a second apart) it may be either.
        let is_older = |since| told < since || told == since && flow.resubscription.asked != Some(conn);
        c.heard_at >= c.opened_at && flow.lost_since().is_some_and(is_older)
    }

    fn streamed_row(
        &mut self,
        conn: ConnIx,
        event: &Event,
        body: wholetape_model::Pending,
        now: Ts,
        out: &mut LineOut,
    ) {
        let (ix, topic) = (event.instrument, self.topic_of(event.instrument, Kind::Book));
        // An answer of REST is no sign that the stream lives, nor of how far it was read.
        let streams = self.from_socket;
        let moved = self.book_of(ix, conn).streamed(now, streams);
        let instrument = &mut self.instruments[ix as usize];
        instrument.activity += 1;
        instrument.top_moves += u64::from(moved);
        let activity = instrument.activity;
        let flags = self.judge(conn, event, now, out);
        if streams {
            self.topics.get(topic).spoke(now, event.ts_event, activity);
        }
        // A book without a time of its own (dYdX) is of the moment when it came.
        let (ts, flags) =
            if event.ts_event == Ts::ZERO { (now, flags.with(RowFlags::TS_LOCAL)) } else { (event.ts_event, flags) };
        self.push(topic, ts, now, conn, flags, event.scales, body, out);
        if let Some(row) = out.rows.last_mut().filter(|_| !streams) {
            row.frame = 0;
        }
    }

    /// A snapshot is the book now. Where it was live already, it is a row like any other, and one of the stream's that does not stand where
    /// the book did passes over what nobody can name: what was published while the book was subscribed anew, or before the venue's
    /// service went.
    fn streamed_snapshot(&mut self, conn: ConnIx, event: &Event, before: Option<u64>, now: Ts, out: &mut LineOut) {
        let Body::Book(update) = event.body else { return };
        let (ix, topic) = (event.instrument, self.topic_of(event.instrument, Kind::Book));
        // Without ids nothing says where it stands.
        let unlinked = self.book_of(ix, conn).book().rule().chain == Chain::Unlinked;
        if let Some(at) = before.filter(|at| (*at != update.last_id || unlinked) && self.from_socket) {
            self.passed_over((ix, topic), (at, update.last_id), conn, now, out);
        }
        let first_row = out.rows.len();
        let flow = self.book_of(ix, conn);
        flow.whole_at(now);
        let (bids, asks) = flow.book().cut();
        let mut event = *event;
        let body = if bids.is_empty() && asks.is_empty() {
            event.body
        } else {
            // More than the venue's own depth: the row has what was kept.
            event.scales = flow.book().unverified().scales();
            match flow.book().checkpoint(&mut out.scratch.arena) {
                Some(whole) => Body::Book(Book { action: BookAction::Snapshot, ..whole }),
                None => event.body,
            }
        };
        self.streamed_row(conn, &event, body, now, out);
        if before.is_none() {
            self.book_of(ix, conn).resubscription.live(now);
            self.book_live((ix, topic), (update.last_id, first_row), conn, now, out);
        }
    }

    /// The book is not right any more: confessed, and asked for anew.
    fn streamed_break(
        &mut self,
        ix: InstrumentIx,
        before: Option<u64>,
        cause: GapCause,
        why: &str,
        now: Ts,
        out: &mut LineOut,
    ) {
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        let wait = flow.resubscription.broke(now);
        flow.want(now + wait);
        if let Some(at) = before {
            self.lose(ix, at, cause, why, now, out);
        }
    }

    /// Asks the session to subscribe a book anew.
    pub(super) fn resubscribe(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        let home = self.instruments[ix as usize].book_conn;
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        let feeder = flow.resubscription.feeder.unwrap_or(home);
        let open = std::iter::once(feeder).chain(self.members_of(self.set_of(home))).find(|c| self.conns[*c].is_open());
        let Some(conn) = open else { return };
        let replica = self.replica_of(conn);
        let mut due = None;
        self.call(conn, now, out, |session, out| {
            due = session.resubscribe_book(now, ix, out);
            Ok(())
        });
        if let Some(at) = self.conns[conn].session.next_timer() {
            self.wake_at(at.max(now));
        }
        if due.is_some() {
            self.quotes_pause(ix, GapCause::Resync, now, out);
        }
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        flow.resubscription.asked = Some(conn).filter(|_| flow.resubscription.told & 1 << replica != 0);
        flow.resubscription.tries += 1;
        let tries = flow.resubscription.tries;
        flow.ask_again_at(due.unwrap_or(now).max(now) + SNAPSHOT_WITHIN * tries);
        match due {
            Some(_) if tries <= TRIES_MAX => self.stats.resubscriptions += 1,
            _ => {
                flow.resubscription.tries = 0;
                let name = self.conns[conn].session.symbol(ix).unwrap_or("?").to_owned();
                let why = format!("no snapshot of the book of {name} comes");
                out.actions.push(LineAction::Reconnect(conn, LinkCause::Resync, why));
            }
        }
    }

    /// A socket goes: the books that it fed know nothing of what comes now, though a sibling carries the same stream.
    pub(super) fn feeder_closed(&mut self, conn: ConnIx, now: Ts, out: &mut LineOut) {
        let replica = self.replica_of(conn);
        for ix in 0..self.instruments.len() {
            let Some(flow) = &mut self.instruments[ix].book else { continue };
            let way = &mut flow.resubscription;
            way.told &= !(1 << replica);
            way.asked = way.asked.filter(|asked| *asked != conn);
            if flow.resubscription.feeder != Some(conn) || !flow.is_streamed() {
                continue;
            }
            flow.resubscription.feeder = None;
            self.book_lost(ix as InstrumentIx, GapCause::Disconnected, "its connection closed", now, out);
            if let Some(flow) = &mut self.instruments[ix].book
                && self.members > 1
            {
                flow.want(now);
            }
            self.wake_at(now);
        }
    }
}

/// The update, and the deletions of what it pushed out of a book of limited depth.
fn with_cut(update: &Book<Span>, book: &SyncedOrderBook, arena: &mut Arena) -> Book<Span> {
    let (bids, asks) = book.cut();
    if bids.is_empty() && asks.is_empty() {
        return *update;
    }
    let mut joined = |span: Span, cut: &[Level]| {
        let start = arena.levels.len();
        let from = span.start as usize;
        arena.levels.extend_from_within(from..from + span.len as usize);
        arena.levels.extend_from_slice(cut);
        Span { start: start as u32, len: (arena.levels.len() - start) as u32 }
    };
    Book { bids: joined(update.bids, bids), asks: joined(update.asks, asks), ..*update }
}
