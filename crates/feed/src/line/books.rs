//! One instrument's book within the line: when to ask for a snapshot, what to confess between two valid states, and the
//! rows that a splice becomes. Books whose snapshot comes by the stream go their own way in [`super::stream_books`].

use std::time::Duration;

use wholetape_book::{BookConfig, Splice, Stamp, Step, SyncedOrderBook};
use wholetape_model::{
    Arena, Body, Book, BookRule, Chain, Event, Gap, GapCause, GapState, HealSource, InstrumentIx, Kind, Level, Levels,
    RowFlags, Span, Ts, Validity, ValidityState,
};
use wholetape_venue::{FetchId, FetchKind};

use super::held::Held;
use super::out::{ConnIx, Judged, LineAction, LineOut, LineTopic, Priority};
use super::plan::TopicResume;
use super::quiet::{COMPARE, QuietProbe};
use super::stream_books::Resubscription;
use super::{CHECKPOINT_EVERY, Line};

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// No answer within this long counts as none; the shell's own timeout is shorter.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const PASSED_OVER: &str =
    "updates between the last valid state and the snapshot, if there were any; the state itself is whole";

/// What is missing between the last valid state and the next.
#[derive(Debug, Clone, Copy)]
struct Lost {
    gap: u64,
    from_id: u64,
    since: Ts,
    cause: GapCause,
}

/// A book and its way back to validity.
#[derive(Debug)]
pub struct BookFlow {
    book: SyncedOrderBook,
    asked_at: Option<Ts>,
    /// Best bid and ask as the last update left them.
    top: (Option<Level>, Option<Level>),
    next_ask: Ts,
    retry: Duration,
    lost: Option<Lost>,
    last_checkpoint: Ts,
    /// The UTC day of the last full state ends then: the next one begins with a full state of its own.
    pub(super) day_ends: Ts,
    /// Time of the last delta applied.
    last_applied: Ts,
    pub(super) quiet: QuietProbe,
    /// When the chain last moved.
    pub(super) last_step: Ts,
    pub(super) held: Held,
    /// The newest update id on the tape, for sockets that are behind.
    pub(super) appended: u64,
    /// Of the last update that is a row of its own; a snapshot that begins anew before it takes it back.
    pub(super) told: u64,
    /// Updates in a row that were older than that while the book waited for a snapshot.
    pub(super) older: u32,
    pub(super) resubscription: Resubscription,
}

impl BookFlow {
    /// From when on updates are missing, of a book that was right before.
    pub(super) fn lost_since(&self) -> Option<Ts> {
        self.lost.map(|lost| lost.since)
    }

    /// `resume` is what the tape knows of the book; nothing on a first start. `heard`: up to when the process before had what its connection
    /// brought.
    pub fn new(rule: BookRule, resume: Option<&TopicResume>, heard: Ts) -> Self {
        let came = resume.map_or(Ts::ZERO, |r| r.last_recv);
        let since = resume.map_or(Ts::ZERO, |r| made(r.last_event, r.last_recv)).min(heard);
        let lost = resume.filter(|r| r.is_known()).map(|r| match r.open_gaps.last() {
            // A loss that went on when we stopped goes on, under its number.
            Some(open) => Lost { gap: open.gap, from_id: open.from_id, since: open.from_ts, cause: open.cause },
            // Where a full disk or a power loss took every row, that is every id up to the snapshot.
            None => Lost {
                gap: 0,
                from_id: r.last_update_id.saturating_add(1),
                since: r.lost_since.unwrap_or(since),
                cause: GapCause::Down,
            },
        });
        Self {
            book: SyncedOrderBook::new(rule, BookConfig::default()),
            top: (None, None),
            asked_at: None,
            next_ask: Ts::MAX,
            retry: RETRY_FIRST,
            lost,
            last_checkpoint: Ts::ZERO,
            day_ends: Ts::MAX,
            last_applied: came,
            quiet: QuietProbe::default(),
            last_step: Ts::ZERO,
            held: Held::default(),
            appended: 0,
            told: 0,
            older: 0,
            resubscription: Resubscription::default(),
        }
    }

    /// The book, with its validity.
    #[must_use]
    pub fn book(&self) -> &SyncedOrderBook {
        &self.book
    }

    pub(super) fn book_mut(&mut self) -> &mut SyncedOrderBook {
        &mut self.book
    }

    /// An update became part of the book, by the `stream` or by an answer of REST. Whether it changed the best bid or ask.
    pub(super) fn streamed(&mut self, now: Ts, stream: bool) -> bool {
        if stream {
            self.last_applied = now;
        }
        self.last_step = now;
        self.appended = self.book.last_update_id().unwrap_or(0);
        self.quiet.moved(now);
        let top = (self.book.best_bid(), self.book.best_ask());
        std::mem::replace(&mut self.top, top) != top
    }

    /// The row at hand holds the whole book.
    pub(super) fn whole_at(&mut self, now: Ts) {
        self.last_checkpoint = now;
        self.day_ends = next_midnight(now);
    }

    /// Nothing is asked before `at`.
    /// The verdict on what it lacked, where no snapshot will end that.
    pub(super) fn lost_for_good(&self, now: Ts, why: &str) -> Option<Gap<String>> {
        let lost = self.lost.as_ref().filter(|lost| lost.gap > 0)?;
        Some(gap_of(lost, GapState::Lost, lost.from_id, now, why.to_owned()))
    }

    pub(super) fn ask_again_at(&mut self, at: Ts) {
        self.asked_at = None;
        self.next_ask = at;
    }

    /// A snapshot is wanted from `at` on.
    pub(super) fn want(&mut self, at: Ts) {
        self.next_ask = self.next_ask.min(at);
    }

    /// Right as far as it goes, but late.
    pub(super) fn mark_stale(&mut self, cause: GapCause) {
        self.book.mark_stale(cause);
    }

    /// In time again; quiet counts from here.
    pub(super) fn clear_stale(&mut self, now: Ts) {
        self.book.clear_stale();
        self.quiet.moved(now);
    }

    fn poll_ask(&mut self, now: Ts) -> bool {
        if self.asked_at.is_some_and(|asked| now.since(asked) < ANSWER_MAX) || now < self.next_ask {
            return false;
        }
        if !self.book.needs_snapshot() {
            self.next_ask = Ts::MAX;
            return false;
        }
        self.asked_at = Some(now);
        // Should the answer never come, the question is asked again.
        self.next_ask = now + ANSWER_MAX;
        true
    }

    fn next_ask(&self) -> Option<Ts> {
        (self.next_ask < Ts::MAX).then_some(self.next_ask)
    }

    fn retry_later(&mut self, now: Ts) {
        self.next_ask = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    pub(super) fn fetch_failed(&mut self, retry_after: Option<Duration>, now: Ts) {
        self.asked_at = None;
        match retry_after {
            Some(wait) => self.next_ask = now + wait,
            None => self.retry_later(now),
        }
    }
}

impl Line {
    pub(super) fn on_book(&mut self, conn: ConnIx, event: &Event, now: Ts, out: &mut LineOut) {
        let topic = self.topic_of(event.instrument, Kind::Book);
        let state = self.topics.get(topic);
        state.received += 1;
        state.conn = Some(conn);
        if self.book_of(event.instrument, conn).is_streamed() {
            return self.on_streamed_book(conn, event, now, out);
        }
        if self.members > 1 && self.is_sibling_open(conn) && self.hold_or_drop(conn, topic, event, now, out) {
            return;
        }
        let (number, frame) = (self.conns[conn].number, self.conns[conn].frame);
        self.update_book(conn, number, frame, event, now, out);
        if self.members > 1 {
            self.let_follow(event.instrument, now, out);
        }
    }

    /// Takes an update that `conn`, then called `number`, brought in `frame`.
    pub(super) fn update_book(
        &mut self,
        conn: ConnIx,
        number: u32,
        frame: u32,
        event: &Event,
        now: Ts,
        out: &mut LineOut,
    ) {
        let Body::Book(update) = event.body else { return };
        let topic = self.topic_of(event.instrument, Kind::Book);
        let stamp = Stamp { ts_event: event.ts_event, ts_recv: now, conn: number, frame };
        if now >= self.book_of(event.instrument, conn).day_ends {
            // Whoever stores days, or reads one alone, finds the state that its updates change.
            self.checkpoint(event.instrument, now, out);
        }
        let view = Book {
            action: update.action,
            first_id: update.first_id,
            last_id: update.last_id,
            prev_id: update.prev_id,
            bids: Levels::Native(out.scratch.arena.level_slice(update.bids)),
            asks: Levels::Native(out.scratch.arena.level_slice(update.asks)),
        };
        let flow = self.book_of(event.instrument, conn);
        let before = flow.book.last_update_id();
        let step = flow.book.on_delta(stamp, event.scales, &view);
        match step {
            Step::Applied => {
                flow.last_applied = now;
                (flow.appended, flow.told) = (update.last_id, update.last_id);
                flow.quiet.moved(now);
                let top = (flow.book.best_bid(), flow.book.best_ask());
                let moved = std::mem::replace(&mut flow.top, top) != top;
                let instrument = &mut self.instruments[event.instrument as usize];
                instrument.activity += 1;
                instrument.top_moves += u64::from(moved);
                let activity = instrument.activity;
                let flags = self.judge(conn, event, now, out);
                self.topics.get(topic).spoke(now, event.ts_event, activity);
                self.push(topic, event.ts_event, now, conn, flags, event.scales, event.body, out);
                return;
            }
            Step::Queued => flow.want(now),
            Step::Old => {
                self.stats.repeats += 1;
                return;
            }
            Step::Gap { .. } | Step::Overflow { .. } => flow.want(now),
            // Those of books whose snapshot comes by the stream.
            Step::Replaced | Step::Beat | Step::Unsynced | Step::Mismatch { .. } => return,
            Step::Rejected(error) => {
                self.stats.errors += 1;
                out.actions.push(LineAction::Odd(conn, format!("{} rejected: {error}", self.topics.get(topic).topic)));
                if before.is_some() {
                    self.book_lost(event.instrument, GapCause::Malformed, "an update was rejected", now, out);
                }
                return;
            }
        }
        // The stream speaks, though the book cannot use it yet.
        let activity = self.instruments[event.instrument as usize].activity;
        self.topics.get(topic).spoke(now, event.ts_event, activity);
        if let (Some(at), Step::Gap { expected, got }) = (before, step) {
            let why = format!("expected {expected}, got {got}");
            self.lose(event.instrument, at, GapCause::Sequence, &why, now, out);
        }
        self.wake_for_book(event.instrument);
    }

    /// The line's timer runs when the book is to be asked for.
    pub(super) fn wake_for_book(&mut self, ix: InstrumentIx) {
        if let Some(at) = self.instruments[ix as usize].book.as_ref().and_then(BookFlow::next_ask) {
            self.wake_at(at);
        }
    }

    /// The book's chain cannot be trusted any more.
    pub(super) fn book_lost(&mut self, ix: InstrumentIx, cause: GapCause, why: &str, now: Ts, out: &mut LineOut) {
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        let at = flow.book.last_update_id();
        match cause {
            GapCause::Disconnected | GapCause::Shed => flow.book.restart(cause),
            _ => flow.book.resync(cause),
        }
        flow.asked_at = None;
        // After a disconnect the first delta of the new connection asks, and of a shed book the first one that is read.
        let later = matches!(cause, GapCause::Disconnected | GapCause::Shed);
        flow.next_ask = if later { Ts::MAX } else { now };
        if let Some(at) = at {
            self.lose(ix, at, cause, why, now, out);
        }
        self.wake_at(now);
    }

    /// Says that the book is no longer right, and from which id on updates are missing.
    pub(super) fn lose(&mut self, ix: InstrumentIx, at: u64, cause: GapCause, why: &str, now: Ts, out: &mut LineOut) {
        self.stats.resyncs += 1;
        let gap = self.new_gap(now);
        let topic = self.topic_of(ix, Kind::Book);
        let conn = self.instruments[ix as usize].book_conn;
        let told = self.last_told(topic, conn, now);
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        let since = made(told, flow.last_applied);
        // A loss that a rejected splice was to end goes on, under its number if it has one.
        let before = flow.lost;
        let lost = match before {
            Some(lost) if lost.gap > 0 => lost,
            Some(lost) => Lost { gap, ..lost },
            None => Lost { gap, from_id: at.saturating_add(1), since, cause },
        };
        flow.lost = Some(lost);
        let text = out.scratch.arena.text(why);
        let validity = Validity { state: ValidityState::Syncing, cause, update_id: at, why: text };
        self.push_mark(topic, Body::Validity(validity), conn, now, out);
        if lost.gap == gap {
            self.stats.gaps_opened += 1;
            let mark = gap_of(&lost, GapState::Open, lost.from_id, now, why.to_owned());
            self.gap_mark(topic, &mark, conn, now, out);
        }
        self.quotes_pause(ix, cause, now, out);
    }

    pub(super) fn ask_book(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        let conn = self.instruments[ix as usize].book_conn;
        // A snapshot without the updates behind it would be right for a moment only.
        let open = self.is_set_open(conn) && !self.shed.covers(Kind::Book);
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        if open && flow.is_streamed() {
            if flow.poll_ask(now) {
                self.resubscribe(ix, now, out);
            }
        } else if open && flow.poll_ask(now) {
            let want = FetchId { kind: FetchKind::BookSnapshot, instrument: ix, arg: 0 };
            match self.conns[conn].session.request(want) {
                Some(request) => {
                    self.stats.fetches += 1;
                    out.actions.push(LineAction::Fetch(conn, want, request, Priority::BookResync));
                }
                None => flow.fetch_failed(None, now),
            }
        }
        let next = self.instruments[ix as usize].book.as_ref().and_then(BookFlow::next_ask);
        if let Some(at) = next.filter(|_| open) {
            self.wake_at(at.max(now + Duration::from_millis(1)));
        }
    }

    /// A snapshot came: if it joins what is queued, the book is right again, and the tape gets all of it.
    pub(super) fn take_snapshot(&mut self, conn: ConnIx, id: FetchId, now: Ts, out: &mut LineOut) {
        if self.shed.covers(Kind::Book) {
            // Asked for before the book was shed.
            out.scratch.clear_events();
            return;
        }
        if id.arg == COMPARE
            && self
                .instruments
                .get(id.instrument as usize)
                .and_then(|i| i.book.as_ref())
                .is_some_and(|b| b.book.is_live())
            && !self.quiet_book_differs(id, now, out)
        {
            out.scratch.clear_events();
            return;
        }
        let events = std::mem::take(&mut out.scratch.events);
        // An answer is proven by nothing but itself.
        self.checksum = None;
        for event in &events {
            let Body::Book(update) = event.body else { continue };
            if event.instrument as usize >= self.instruments.len() {
                self.discover(event.instrument);
            }
            if self.book_of(event.instrument, conn).is_streamed() {
                // A venue whose stream may be wrong for a while (dYdX) is asked for the whole book now and then.
                self.on_streamed_book(conn, event, now, out);
                continue;
            }
            self.splice(conn, event, &update, now, out);
        }
        if events.is_empty() {
            self.fetch_failed(id, None, "empty", now, out);
        }
        out.scratch.events = events;
        out.scratch.clear_events();
    }

    fn splice(&mut self, conn: ConnIx, event: &Event, update: &Book<Span>, now: Ts, out: &mut LineOut) {
        let ix = event.instrument;
        let topic = self.topic_of(ix, Kind::Book);
        let number = self.conns[conn].number;
        self.book_of(ix, conn);
        // The snapshot's levels stand in the arena to which the splice appends: they are copied out first.
        let arena = &mut out.scratch.arena;
        let bids = arena.level_slice(update.bids).to_vec();
        let asks = arena.level_slice(update.asks).to_vec();
        let view = Book {
            action: update.action,
            first_id: update.first_id,
            last_id: update.last_id,
            prev_id: update.prev_id,
            bids: Levels::Native(&bids),
            asks: Levels::Native(&asks),
        };
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        flow.asked_at = None;
        let stamp = Stamp { ts_event: event.ts_event, ts_recv: now, conn: number, frame: 0 };
        let rows = &mut out.rows;
        let first_row = rows.len();
        let result = flow.book.on_snapshot(stamp, event.scales, &view, &mut |applied| {
            let body = Body::Book(Book {
                action: applied.update.action,
                first_id: applied.update.first_id,
                last_id: applied.update.last_id,
                prev_id: applied.update.prev_id,
                bids: copy(applied.update.bids, arena),
                asks: copy(applied.update.asks, arena),
            });
            let queued = rows.len() > first_row;
            let flags = if queued { RowFlags::SPLICED } else { RowFlags::default() };
            let (ts_event, flags) = match applied.stamp.ts_event {
                Ts::ZERO => (now, flags.with(RowFlags::TS_LOCAL)),
                ts => (ts, flags),
            };
            rows.push(Judged {
                topic,
                ts_event,
                // The moment of the splice: in time order the snapshot comes first, then what follows it.
                ts_recv: now,
                conn: applied.stamp.conn,
                frame: applied.stamp.frame,
                flags,
                scales: applied.scales,
                body,
            });
        });
        let appended = out.rows.len() - first_row;
        self.stats.rows += appended as u64;
        self.topics.get(topic).rows += appended as u64;
        match result {
            Splice::Live { .. } => self.book_live((ix, topic), (update.last_id, first_row), conn, now, out),
            Splice::TooOld { .. } => {
                flow.retry_later(now);
                if let Some(at) = flow.next_ask() {
                    self.wake_at(at);
                }
            }
            Splice::NotNeeded => flow.next_ask = Ts::MAX,
            Splice::Rejected { error, .. } => {
                flow.retry_later(now);
                self.stats.errors += 1;
                out.actions.push(LineAction::Odd(conn, format!("snapshot rejected: {error}")));
                // Rows may have been appended; from here on they are not to be believed.
                let at = flow.next_ask();
                self.lose(
                    ix,
                    update.last_id,
                    GapCause::Malformed,
                    "a snapshot or a queued update was rejected",
                    now,
                    out,
                );
                if let Some(at) = at {
                    self.wake_at(at);
                }
            }
        }
    }

    /// `snapshot` is its id and the first of the rows that the splice became.
    pub(super) fn book_live(
        &mut self,
        (ix, topic): (InstrumentIx, LineTopic),
        (snapshot, first_row): (u64, usize),
        conn: ConnIx,
        now: Ts,
        out: &mut LineOut,
    ) {
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        flow.next_ask = Ts::MAX;
        flow.retry = RETRY_FIRST;
        flow.last_checkpoint = now;
        flow.day_ends = next_midnight(now);
        flow.last_applied = now;
        flow.quiet.moved(now);
        let at = flow.book.last_update_id().unwrap_or(snapshot);
        flow.appended = at;
        flow.told = flow.told.min(at);
        let streamed = flow.is_streamed();
        let lost = flow.lost.take();
        if let Some(mut lost) = lost {
            if lost.gap == 0 {
                lost.gap = self.new_gap(now);
                self.stats.gaps_opened += 1;
            }
            let (state, to_id, why) = if streamed {
                (GapState::Lost, snapshot.max(lost.from_id), PASSED_OVER)
            } else if snapshot >= lost.from_id {
                let why = "updates between the last valid state and the snapshot; the state itself is whole";
                (GapState::Lost, snapshot, why)
            } else {
                (GapState::Healed, lost.from_id, "the snapshot joined: no update is missing")
            };
            self.count_verdict(state);
            let mark = gap_of(&lost, state, to_id, now, why.to_owned());
            let spliced = out.rows.len();
            self.gap_mark(topic, &mark, conn, now, out);
            let marks = out.rows.len() - spliced;
            // Before the snapshot: were the batch torn between the two, nothing would say what the snapshot passed over.
            out.rows[first_row..].rotate_right(marks);
        }
        let cause = lost.map_or(GapCause::Resync, |l| l.cause);
        let why = out.scratch.arena.text("");
        let validity = Validity { state: ValidityState::Live, cause, update_id: at, why };
        self.push_mark(topic, Body::Validity(validity), conn, now, out);
        self.stale_if_lagging(ix, "the line lags", now, out);
    }

    /// A live book that stood `at` an id is at another by a snapshot: in one mark, before the row.
    pub(super) fn passed_over(
        &mut self,
        (ix, topic): (InstrumentIx, LineTopic),
        (at, snapshot): (u64, u64),
        conn: ConnIx,
        now: Ts,
        out: &mut LineOut,
    ) {
        let is_whole = |flow: &BookFlow| flow.book.rule().chain == Chain::Whole;
        let told = self.last_told(topic, conn, now);
        let Some(flow) = self.instruments[ix as usize].book.as_ref().filter(|flow| !is_whole(flow)) else { return };
        let (from_id, since) = (at.saturating_add(1), made(told, flow.last_applied));
        let lost = Lost { gap: self.new_gap(now), from_id, since, cause: GapCause::Resync };
        self.count_verdict(GapState::Open);
        self.count_verdict(GapState::Lost);
        let mark = gap_of(&lost, GapState::Lost, snapshot.max(from_id), now, PASSED_OVER.to_owned());
        self.gap_mark(topic, &mark, conn, now, out);
        self.quotes_passed_over(ix, since, now, out);
    }

    /// Up to when a book is whole, were it lost `now`; `None` where there is none.
    pub(super) fn book_whole_until(&self, ix: InstrumentIx, now: Ts) -> Option<Ts> {
        let instrument = self.instruments.get(ix as usize)?;
        let flow = instrument.book.as_ref()?;
        let told = || Some(self.last_told(self.topics.find(ix, Kind::Book)?, instrument.book_conn, now));
        flow.lost.map(|lost| lost.since).or_else(|| Some(made(told()?, flow.last_applied)))
    }

    /// The venue's time of a book's last update. One without times (dYdX) is as late as its connection.
    fn last_told(&self, topic: LineTopic, conn: ConnIx, now: Ts) -> Ts {
        match self.topics.list[topic as usize].last_event {
            Ts::ZERO => self.conns[conn].heard_until(now),
            told => told,
        }
    }

    /// A live book is appended whole, for readers that start here.
    pub(super) fn checkpoint(&mut self, ix: InstrumentIx, now: Ts, out: &mut LineOut) {
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        if !flow.book.is_live() {
            return;
        }
        let scales = flow.book.unverified().scales();
        let Some(book) = flow.book.checkpoint(&mut out.scratch.arena) else { return };
        flow.last_checkpoint = now;
        flow.day_ends = next_midnight(now);
        let conn = self.instruments[ix as usize].book_conn;
        let topic = self.topic_of(ix, Kind::Book);
        self.push_mark(topic, Body::Book(book), conn, now, out);
        if let Some(row) = out.rows.last_mut() {
            row.scales = scales;
            row.flags = RowFlags::CHECKPOINT.with(RowFlags::TS_LOCAL);
        }
    }

    pub(super) fn hourly_checkpoints(&mut self, now: Ts, out: &mut LineOut) {
        for ix in 0..self.instruments.len() {
            let due = self.instruments[ix]
                .book
                .as_ref()
                .is_some_and(|b| b.book.is_live() && now.since(b.last_checkpoint) >= CHECKPOINT_EVERY);
            if due {
                self.checkpoint(ix as InstrumentIx, now, out);
            }
        }
    }
}

/// Since when updates may be missing behind the last one, of venue time `told`: what came late was made before it came, and so was what did
/// not come. Where ids begin anew nothing but the time names it. A clock that is far away says nothing.
pub(super) fn made(told: Ts, came: Ts) -> Ts {
    let is_behind = told > Ts::ZERO && told < came && came.since(told) < super::topics::LAG_MAX;
    if is_behind { told } else { came }
}

/// The end of a time's UTC day.
fn next_midnight(now: Ts) -> Ts {
    const DAY: i64 = 86_400_000_000_000;
    Ts((now.0.div_euclid(DAY) + 1).saturating_mul(DAY))
}

fn copy(levels: Levels<'_>, arena: &mut Arena) -> Span {
    match levels {
        Levels::Native(levels) => arena.levels(levels),
        packed @ Levels::Packed(_) => {
            let start = arena.levels.len() as u32;
            arena.levels.extend(packed.iter());
            Span { start, len: packed.len() as u32 }
        }
    }
}

fn gap_of(lost: &Lost, state: GapState, to_id: u64, now: Ts, why: String) -> Gap<String> {
    Gap {
        gap: lost.gap,
        state,
        cause: lost.cause,
        source: if state == GapState::Healed { HealSource::Rest } else { HealSource::None },
        from_id: lost.from_id,
        to_id,
        from_ts: lost.since,
        to_ts: now,
        missing: 0,
        why,
    }
}
