//! What a line gives up when it is over capacity, in which order, and how that is confessed.
//!
//! The shell measures how far the line is behind and says at which [`ShedLevel`] it is to run (`shell/lag.rs`); here is what
//! that means. From the first level on, books are `stale(lagging)`: right as far as they go, but late. Each further level
//! drops one more kind of frame, told from its head alone ([`wholetape_venue::Session::peek`]), before it is decoded, judged
//! or appended. Trades go last; quotes are the top of the book and stay, and so do rare streams and answers.
//!
//! Invariants
//! - Nothing is shed without a mark. A stream that no id protects gets a gap `open(shed)` before its first frame is dropped
//!   and its verdict `lost` when it is read again. A book becomes `syncing(shed)` with an open gap, asks for no snapshot
//!   while its updates are dropped, and is spliced anew afterwards. Trades are named exactly, by id: the first one read again
//!   shows the hole, cause `shed`, and it is asked for over REST like any other.
//! - No queue: what is not read stays in the kernel's buffers, which push back on the venue.
//! - What is shed is neither silent nor stale in the eyes of the silence checks: it is not listened to.

use wholetape_model::{Body, GapCause, InstrumentIx, Kind, RowFlags, Ts, Validity, ValidityState};
use wholetape_venue::{Frame, Peek};

use super::Line;
use super::out::{ConnIx, LineOut, LineTopic};

/// How much a line gives up, in order. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum ShedLevel {
    #[default]
    Normal = 0,
    /// Everything is kept, and books say that they are late.
    Lagging = 1,
    /// Tickers, bars, mark and index prices, funding rates.
    Ticker = 2,
    /// Book updates: what lies beyond the top.
    Depth = 3,
    /// The second source of trades.
    RawTrades = 4,
    /// The chosen source of trades; its holes heal by id.
    Trades = 5,
}

/// What is counted apart in `feed_shed_frames_total{class}`, in the order of shedding.
pub const CLASSES: [(&str, ShedLevel); 4] = [
    ("ticker", ShedLevel::Ticker),
    ("book", ShedLevel::Depth),
    ("trade-raw", ShedLevel::RawTrades),
    ("trade", ShedLevel::Trades),
];

impl ShedLevel {
    pub const ALL: [Self; 6] = [Self::Normal, Self::Lagging, Self::Ticker, Self::Depth, Self::RawTrades, Self::Trades];

    #[must_use]
    pub const fn up(self) -> Option<Self> {
        match self {
            Self::Normal => Some(Self::Lagging),
            Self::Lagging => Some(Self::Ticker),
            Self::Ticker => Some(Self::Depth),
            Self::Depth => Some(Self::RawTrades),
            Self::RawTrades => Some(Self::Trades),
            Self::Trades => None,
        }
    }

    #[must_use]
    pub const fn down(self) -> Self {
        match self {
            Self::Normal | Self::Lagging => Self::Normal,
            Self::Ticker => Self::Lagging,
            Self::Depth => Self::Ticker,
            Self::RawTrades => Self::Depth,
            Self::Trades => Self::RawTrades,
        }
    }

    /// What is shed, in words.
    #[must_use]
    pub const fn sheds(self) -> &'static str {
        match self {
            Self::Normal | Self::Lagging => "nothing",
            Self::Ticker => "ticker",
            Self::Depth => "ticker and depth",
            Self::RawTrades => "ticker, depth and raw trades",
            Self::Trades => "ticker, depth and trades",
        }
    }

    /// From which level on a topic of `kind` is shed; `None`: never. What is polled over REST is rare and stays.
    #[must_use]
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Ticker | Kind::Bar(_) | Kind::Mark | Kind::Index | Kind::Funding => Some(Self::Ticker),
            Kind::Book => Some(Self::Depth),
            Kind::TradeRaw => Some(Self::RawTrades),
            Kind::Trade => Some(Self::Trades),
            _ => None,
        }
    }
}

/// The line's part of it.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    level: ShedLevel,
    /// By [`CLASSES`].
    frames: [u64; CLASSES.len()],
    /// A segment began while books were stale.
    owes_checkpoint: bool,
}

impl Shedding {
    #[inline]
    pub fn is_lagging(&self) -> bool {
        self.level >= ShedLevel::Lagging
    }

    /// Of every row that is pushed now.
    #[inline]
    pub fn flags(&self) -> RowFlags {
        if self.is_lagging() { RowFlags::LAGGING } else { RowFlags::default() }
    }

    /// Whether frames of this topic's kind are dropped now.
    #[inline]
    pub fn covers(&self, kind: Kind) -> bool {
        self.level >= ShedLevel::Ticker && ShedLevel::of(kind).is_some_and(|from| self.level >= from)
    }

    /// A checkpoint was due and could not be given.
    pub fn owe_checkpoint(&mut self) {
        self.owes_checkpoint |= self.is_lagging();
    }
}

impl Line {
    /// At which level it runs.
    pub fn shed_level(&self) -> ShedLevel {
        self.shed.level
    }

    /// Streams planned and open, books and live ones: what a line must have to be of use.
    pub fn currency(&self) -> [usize; 4] {
        let streams = || self.topics.list.iter().filter(|t| t.conn.is_some() && super::silence::is_watched(t.kind));
        let books = || self.instruments.iter().filter_map(|i| i.book.as_ref());
        [
            streams().count(),
            streams().filter(|t| t.open_since > Ts::ZERO).count(),
            books().count(),
            books().filter(|b| b.book().is_live()).count(),
        ]
    }

    /// Frames dropped so far, by [`CLASSES`].
    pub fn shed_frames(&self) -> [u64; CLASSES.len()] {
        self.shed.frames
    }

    /// The newest venue time on a connection, and when it was read; both zero before the first.
    #[inline]
    pub fn heard(&self, conn: ConnIx) -> (Ts, Ts) {
        (self.conns[conn].last_event, self.conns[conn].heard_at)
    }

    /// Whether any topic of this line is shed from `level` on: a level that saves nothing is passed over.
    pub fn has_to_shed(&self, level: ShedLevel) -> bool {
        self.topics.list.iter().any(|t| t.conn.is_some() && ShedLevel::of(t.kind) == Some(level))
    }

    /// Whether `frame` is to be dropped now, unread. If so it goes to [`Line::on_shed`] and not to `on_frame`.
    #[inline]
    pub fn sheds(&self, conn: ConnIx, frame: Frame<'_>) -> Option<Peek> {
        if self.shed.level < ShedLevel::Ticker {
            return None;
        }
        let peek = self.conns[conn].session.peek(frame)?;
        self.shed.covers(self.topic_kind(peek.kind)).then_some(peek)
    }

    /// A frame is dropped: counted, and its time is taken note of.
    pub fn on_shed(&mut self, conn: ConnIx, now: Ts, peek: Peek) {
        let level = ShedLevel::of(self.topic_kind(peek.kind));
        if let Some(class) = CLASSES.iter().position(|(_, l)| Some(*l) == level) {
            self.shed.frames[class] += 1;
        }
        self.stats.frames += 1;
        self.watches[conn].frame(now);
        let c = &mut self.conns[conn];
        c.frame = c.frame.wrapping_add(1);
        c.last_frame = now;
        if peek.ts_event > c.last_event {
            c.heard_of(peek.ts_event, now);
        }
    }

    /// The shell says how much to give up from here on, and why.
    pub fn on_load(&mut self, level: ShedLevel, why: &str, now: Ts, out: &mut LineOut) {
        let before = std::mem::replace(&mut self.shed.level, level);
        if before < ShedLevel::Lagging && level >= ShedLevel::Lagging {
            for ix in 0..self.instruments.len() {
                self.stale_if_lagging(ix as InstrumentIx, why, now, out);
            }
        }
        for topic in 0..self.topics.list.len() as LineTopic {
            let state = &self.topics.list[topic as usize];
            let (Some(from), Some(conn)) = (ShedLevel::of(state.kind), state.conn) else { continue };
            match (before >= from, level >= from) {
                (false, true) => self.begin_shed(topic, conn, why, now, out),
                (true, false) => self.end_shed(topic, conn, now, out),
                _ => {}
            }
        }
        if before >= ShedLevel::Lagging && level < ShedLevel::Lagging {
            self.books_in_time(why, now, out);
        }
        self.wake_at(now);
    }

    fn begin_shed(&mut self, topic: LineTopic, conn: ConnIx, why: &str, now: Ts, out: &mut LineOut) {
        let state = &self.topics.list[topic as usize];
        let (ix, kind) = (state.instrument, state.kind);
        if state.is_unprotected() && state.losing.is_none() {
            // What is not read yet was made after the newest thing that was.
            let c = &self.conns[conn];
            let heard = if c.last_frame > Ts::ZERO { c.last_frame } else { now };
            let since = if c.last_event > Ts::ZERO { heard.min(c.last_event) } else { heard };
            self.begin_loss(topic, since, GapCause::Shed, now, out);
        }
        self.topics.get(topic).open_since = Ts::ZERO;
        match kind {
            Kind::Book => self.book_lost(ix, GapCause::Shed, why, now, out),
            Kind::Trade => self.instruments[ix as usize].trades.begin_shed(),
            Kind::TradeRaw => self.instruments[ix as usize].raw_trades.begin_shed(),
            _ => {}
        }
    }

    /// The next frame of this topic is read again.
    fn end_shed(&mut self, topic: LineTopic, conn: ConnIx, now: Ts, out: &mut LineOut) {
        if !self.conns[conn].is_carrying() && !self.is_sibling_subscribed(conn) {
            // Away meanwhile: the new subscription ends it.
            return;
        }
        let (ix, kind) = (self.topics.list[topic as usize].instrument, self.topics.list[topic as usize].kind);
        let activity = self.instruments.get(ix as usize).map_or(0, |i| i.evidence(kind));
        self.topics.get(topic).opened(now, activity);
        if self.topics.list[topic as usize].losing.is_some() {
            self.end_loss(topic, conn, now, out);
        }
        match kind {
            // The first update asks for the snapshot; a book that does not move is asked for a moment later.
            Kind::Book => {
                if let Some(book) = &mut self.instruments[ix as usize].book {
                    book.want(now + super::timers::QUIET_BOOK);
                }
            }
            Kind::Trade => self.instruments[ix as usize].trades.on_open(now),
            _ => {}
        }
    }

    /// While the line lags no book is live, however it came to be right.
    pub(super) fn stale_if_lagging(&mut self, ix: InstrumentIx, why: &str, now: Ts, out: &mut LineOut) {
        if !self.shed.is_lagging() {
            return;
        }
        let Some(flow) = &mut self.instruments[ix as usize].book else { return };
        if !flow.book().is_live() {
            return;
        }
        flow.mark_stale(GapCause::Lagging);
        self.tell_validity(ix, ValidityState::Stale, why, now, out);
    }

    /// The line has caught up. The chains never broke, so books that were stale are live as they stand.
    fn books_in_time(&mut self, why: &str, now: Ts, out: &mut LineOut) {
        for ix in 0..self.instruments.len() {
            let Some(flow) = &mut self.instruments[ix].book else { continue };
            if flow.book().validity() != ValidityState::Stale {
                continue;
            }
            flow.clear_stale(now);
            self.tell_validity(ix as InstrumentIx, ValidityState::Live, why, now, out);
        }
        if std::mem::take(&mut self.shed.owes_checkpoint) {
            self.on_segment(now, out);
        }
    }

    fn tell_validity(&mut self, ix: InstrumentIx, state: ValidityState, why: &str, now: Ts, out: &mut LineOut) {
        let Some(flow) = &self.instruments[ix as usize].book else { return };
        let update_id = flow.book().last_update_id().unwrap_or(0);
        let why = out.scratch.arena.text(why);
        let validity = Validity { state, cause: GapCause::Lagging, update_id, why };
        let conn = self.instruments[ix as usize].book_conn;
        let topic = self.topic_of(ix, Kind::Book);
        self.push_mark(topic, Body::Validity(validity), conn, now, out);
    }
}
