//! One topic, encoded once for all who read it live.
//!
//! The stream follows the tape with one reader. What it encodes goes to a short ring; connections take the very same
//! bytes from there. For a book it keeps the view, so that a `snap` is exact at `at` and `data` goes on behind it.
//!
//! Invariants: ring messages are adjacent (`prev` of each is `seq` of the one before), and the last one ends at `at`.
//! `at` is the seq of the last *message*: a checkpoint moves the reader, but not `at`.

mod cursor;
mod left_out;
mod members;
mod ring;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::BytesMut;
use wholetape_model::{Kind, Record, RecordError, Topic};
use wholetape_tape::{ChunkQueue, Delivery, From, Reader, ReaderOptions, Shared, Tape, TapeError, WakeSet};
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::{Places, Subject};
use wholetape_ws::Block;

use crate::lock;
use crate::stats::GatewayStats;
use crate::ws::book::{BookState, is_checkpoint};
use crate::ws::forms::Wanted;
use crate::ws::view::{Key, Place, View};
pub(crate) use cursor::Next;
use left_out::LeftOut;
use members::Member;
use ring::keep;
pub(crate) use ring::{Frame, Rings};

/// Records before a book's start that are searched for its last validity mark.
const LOOK_BACK: u64 = 256;
/// Records in which the places of a topic's numbers are looked for.
const PLACES_LOOK: usize = 64;

pub(crate) struct Inner {
    reader: Reader,
    /// Everything up to here is encoded.
    pub at: u64,
    ring: ChunkQueue<Frame>,
    ring_bytes: usize,
    /// `prev` of the oldest message in the ring; `at` when it is empty.
    pub ring_start: u64,
    /// The book stands at the seq that was the head when the stream was opened; subscriptions can start.
    pub built: bool,
    target: u64,
    book: Option<BookState>,
    /// Quote, ticker: the newest record, which is the whole state.
    last: Option<Shared>,
    /// What the view `clean` leaves out.
    left_out: LeftOut,
    /// Raised when the stream lost its own place: everyone then needs a snapshot.
    pub generation: u64,
    members: Vec<Member>,
    /// Members that follow no view: without them nothing is encoded for the ring.
    whole: usize,
    views: Vec<View>,
    deliveries: Vec<Delivery>,
    scratch: Vec<u8>,
    /// What is left of the newest piece.
    piece: BytesMut,
}

pub(crate) struct Stream {
    pub topic: Topic,
    pub epoch: Arc<str>,
    pub tape: Tape,
    /// Its number, for those who want that instead of its name.
    ch: u64,
    /// Places of its integers while it is open; `None`: it has no prices.
    places: OnceLock<Option<Places>>,
    pub wanted: Wanted,
    rings: Arc<Rings>,
    /// Whom to wake when a view begins to tick.
    hub: (WakeSet, u64),
    inner: Mutex<Inner>,
}

impl Stream {
    /// Follows `topic`, as number `ch`, from now on. `set` is told under `token` when the tape has more.
    pub fn open(
        tape: &Tape,
        (topic, ch): (&Topic, u64),
        epoch: Arc<str>,
        rings: Arc<Rings>,
        set: &WakeSet,
        token: u64,
    ) -> Result<Self, TapeError> {
        let is_book = topic.kind() == Kind::Book;
        let head = tape.head(topic).unwrap_or(0);
        let from = match tape.last_book_start(topic) {
            // The marks before the start tell the book's validity.
            Some(start) if is_book && start > 0 => From::Seq(start.saturating_sub(LOOK_BACK + 1)),
            _ if is_book => From::Earliest,
            _ => From::Live,
        };
        let mut reader = tape.reader(topic, from, ReaderOptions::default())?;
        reader.join(set, token);
        let at = reader.position();
        let mut last = None;
        if topic.kind().is_state() && !is_book {
            let newest = tape.last_records(topic, 32)?;
            last = newest.into_iter().rev().find(|r| r.record().seq() <= at && !r.record().is_mark());
        }
        let inner = Inner {
            reader,
            at,
            ring: ChunkQueue::default(),
            ring_bytes: 0,
            ring_start: at,
            built: !is_book || at >= head,
            target: head,
            book: is_book.then(BookState::default),
            last,
            left_out: LeftOut::default(),
            generation: 0,
            members: Vec::new(),
            whole: 0,
            views: Vec::new(),
            deliveries: Vec::new(),
            scratch: Vec::new(),
            piece: BytesMut::new(),
        };
        let topic = topic.clone();
        let hub = (set.clone(), token);
        let (tape, places, wanted) = (tape.clone(), OnceLock::new(), Wanted::default());
        Ok(Self { topic, epoch, tape, ch, places, wanted, rings, hub, inner: Mutex::new(inner) })
    }

    /// Of what its messages speak; `scaled`: to somebody who wants integers.
    pub fn subject(&self, scaled: bool) -> Subject {
        let newest = || {
            let records = self.tape.last_records(&self.topic, PLACES_LOOK).unwrap_or_default();
            let told = records.iter().rev().find_map(|r| message::places(&r.record()));
            told.or_else(|| message::is_priced(self.topic.kind()).then_some(Places { price: 0, size: 0 }))
        };
        Subject { ch: self.ch, places: if scaled { *self.places.get_or_init(newest) } else { None } }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Views whose tick has come tell what they have. `now_ms`: wall clock, ms since the Unix epoch.
    pub fn tick(&self, now_ms: i64, stats: &GatewayStats) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if !inner.built || inner.views.is_empty() {
            return;
        }
        self.each_view(inner, stats, |view, place| view.tick(now_ms, place));
        inner.wake(false);
    }

    /// With the stream's place, for each view.
    fn each_view(&self, inner: &mut Inner, stats: &GatewayStats, mut f: impl FnMut(&mut View, &Place<'_>)) {
        let Inner { views, book, last, at, .. } = inner;
        let place = self.place(*at, book.as_ref(), last.as_ref(), stats);
        views.iter_mut().for_each(|view| f(view, &place));
    }

    fn place<'a>(
        &'a self,
        at: u64,
        book: Option<&'a BookState>,
        last: Option<&'a Shared>,
        stats: &'a GatewayStats,
    ) -> Place<'a> {
        let (ring_bytes, wanted) = (self.rings.each(), &self.wanted);
        Place { topic: &self.topic, epoch: &self.epoch, at, book, last, ring_bytes, wanted, stats }
    }

    /// What is pending in a view, and is not seen in its depth, is told now.
    pub fn settle(&self, inner: &mut Inner, key: Key, stats: &GatewayStats) {
        let Inner { views, book, last, at, .. } = inner;
        let place = self.place(*at, book.as_ref(), last.as_ref(), stats);
        if let Some(view) = views.iter_mut().find(|v| v.key == key && v.is_pending()) {
            view.awaited = true;
            view.flush(&place);
        }
        inner.wake(false);
    }

    /// The view's state at its last tick, for one who enters; `None` while the topic has no state.
    pub fn view_snap(&self, inner: &mut Inner, key: Key, stats: &GatewayStats) -> Option<Arc<Frame>> {
        let Inner { views, book, last, at, .. } = inner;
        let place = self.place(*at, book.as_ref(), last.as_ref(), stats);
        views.iter_mut().find(|v| v.key == key)?.snap(&place)
    }

    /// Takes up to `max` records from the tape and encodes them. True when there may be more.
    pub fn pump(&self, max: usize, stats: &GatewayStats) -> bool {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let mut deliveries = std::mem::take(&mut inner.deliveries);
        let n = inner.reader.poll_next(&mut deliveries, max);
        for delivery in deliveries.drain(..) {
            match delivery {
                Delivery::Record(shared) => self.take(inner, shared, stats),
                Delivery::Missed { to, .. } if !inner.built => {
                    // Before the book's start nothing is promised.
                    inner.begin(to);
                }
                Delivery::Missed { to, .. } => Self::lose(inner, to),
                Delivery::Disconnected { .. } => {}
            }
        }
        inner.deliveries = deliveries;
        if !inner.built && (inner.reader.position() >= inner.target || n == 0) {
            inner.built = true;
            inner.views.iter_mut().for_each(|view| view.fresh = true);
        }
        inner.wake(true);
        n == max
    }

    fn take(&self, inner: &mut Inner, shared: Shared, stats: &GatewayStats) {
        let record = shared.record();
        if inner.built && record.is_mark() {
            // Nothing is told behind a mark that was before it.
            self.each_view(inner, stats, View::flush);
        }
        let whole = inner.book.as_ref().is_some_and(|b| !b.broken && !b.view.is_empty());
        let crc = inner.book.as_mut().and_then(|b| b.apply(&record));
        let seq = record.seq();
        if !inner.built {
            // A checkpoint is no message: who holds what was before it holds the same state.
            if !is_checkpoint(&record) {
                inner.begin(seq);
            }
            return;
        }
        let written = if inner.whole > 0 { self.encode(inner, &record, crc, stats) } else { written(&record) };
        match written {
            Ok(Written::Message) => inner.at = seq,
            Ok(Written::Nothing) if !whole => return inner.views.iter_mut().for_each(View::replace),
            Ok(Written::Nothing) => return,
            // Newer than this build reads, or damaged: a receipt instead of silence.
            Err(e) => {
                tracing::warn!(topic = %self.topic, seq, error = %e, "a record cannot be served");
                return Self::lose(inner, seq);
            }
        }
        if inner.whole == 0 {
            inner.ring_start = seq;
        }
        let stateful = self.topic.kind().is_state() && inner.book.is_none();
        inner.note(&shared, stateful);
        if stateful && !record.is_mark() {
            inner.last = Some(shared.clone());
        }
        self.each_view(inner, stats, |view, place| {
            if record.is_mark() {
                return view.mark(&record, place);
            }
            view.note(&record);
            if !view.key.ticks() {
                view.flush(place);
            }
        });
    }

    /// Encodes `record` for all who follow the stream itself.
    fn encode(
        &self,
        inner: &mut Inner,
        record: &Record<'_>,
        crc: Option<u32>,
        stats: &GatewayStats,
    ) -> Result<Written, RecordError> {
        let state = inner.book.as_ref().and_then(|b| b.state);
        let cx = Context { topic: &self.topic, epoch: &self.epoch, prev: inner.at, state, crc };
        inner.scratch.clear();
        let written = message::record(&mut inner.scratch, &cx, record)?;
        let (piece, held) = (&mut inner.piece, inner.ring_bytes);
        if written == Written::Message
            && let Some(text) = Block::text_in(&inner.scratch, |header, text| keep(piece, held, &[header, text]))
        {
            stats.encoded_total.fetch_add(1, Ordering::Relaxed);
            let frame = Frame::new((inner.at, record.seq()), record.ts_recv(), text, &self.wanted);
            inner.ring_bytes += frame.cost;
            inner.ring.push_back(frame);
            self.trim(inner);
        }
        Ok(written)
    }

    /// The stream itself could not read up to `to`: everyone is told and starts from a new state.
    fn lose(inner: &mut Inner, to: u64) {
        (inner.at, inner.ring_start, inner.ring_bytes) = (to, to, 0);
        inner.ring.clear();
        inner.generation += 1;
        if let Some(book) = &mut inner.book {
            book.broken = true;
        }
        let Inner { views, book, .. } = inner;
        views.iter_mut().for_each(|view| view.begin(to, book.as_ref()));
    }
}

/// What becomes of a record that nobody follows but in a view.
fn written(record: &Record<'_>) -> Result<Written, RecordError> {
    let read = record.view();
    read.map(|_| if is_checkpoint(record) { Written::Nothing } else { Written::Message })
}

impl Inner {
    /// Nobody was told anything up to `at`.
    fn begin(&mut self, at: u64) {
        (self.at, self.ring_start) = (at, at);
        let Self { views, book, .. } = self;
        views.iter_mut().for_each(|view| view.begin(at, book.as_ref()));
    }

    pub fn view_of(&mut self, key: Key) -> Option<&mut View> {
        self.views.iter_mut().find(|v| v.key == key)
    }

    /// Everything up to here was told: of a view, or of the stream itself.
    pub fn at_of(&self, view: Option<Key>) -> u64 {
        view.and_then(|key| self.views.iter().find(|v| v.key == key)).map_or(self.at, |view| view.at)
    }

    /// Appends the `snap` at `at`; false when the topic has no state yet.
    pub fn snap(&self, stream: &Stream, out: &mut Vec<u8>) -> bool {
        match (&self.book, &self.last) {
            (Some(book), _) => book.snap(out, &stream.topic, &stream.epoch, self.at),
            (None, Some(last)) => {
                let cx = Context { topic: &stream.topic, epoch: &stream.epoch, prev: 0, state: None, crc: None };
                return message::state_snap(out, &cx, self.at, &last.record()).is_ok();
            }
            (None, None) => return false,
        }
        true
    }
}
