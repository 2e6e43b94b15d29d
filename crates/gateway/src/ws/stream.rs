//! One topic, encoded once for all who read it live.
//!
//! The stream follows the tape with one reader. What it encodes goes to a short ring; connections take the very same
//! bytes from there. For a book it keeps the view, so that a `snap` is exact at `at` and `data` goes on behind it.
//!
//! Invariants: ring messages are adjacent (`prev` of each is `seq` of the one before), and the last one ends at `at`.
//! `at` is the seq of the last *message*: a checkpoint moves the reader, but not `at`.

mod left_out;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wholetape_model::{Kind, Record, RecordError, Topic, Ts};
use wholetape_tape::{ChunkQueue, Delivery, From, Reader, ReaderOptions, Shared, Tape, TapeError, WakeSet};
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::{Places, Subject};
use wholetape_ws::Block;

use crate::lock;
use crate::stats::GatewayStats;
use crate::ws::book::{BookState, is_checkpoint};
use crate::ws::connection::wall_clock;
use crate::ws::forms::{Forms, Wanted};
use crate::ws::view::{Key, Place, View};
use left_out::LeftOut;

/// Records before a book's start that are searched for its last validity mark.
const LOOK_BACK: u64 = 256;
const RING_MESSAGES_MAX: usize = 16_384;
/// Older messages go when newer ones come: rings of slow topics would else grow for hours until they are full.
const RING_AGE_MAX: Duration = Duration::from_secs(60);

/// Records in which the places of a topic's numbers are looked for.
const PLACES_LOOK: usize = 64;

/// What a message costs beside its text.
const MESSAGE_COST: usize = 80;
/// Messages of a ring lie in pieces of up to this size, one allocation each: millions of small ones that live for a minute, from
/// hundreds of topics, would leave the heap in holes.
const PIECE: usize = 16 << 10;
/// A topic that speaks once an hour holds no more than this for its one message: of thousands the large ones would add up for hours.
const PIECE_MIN: usize = 512;
/// No ring is kept shorter than this, however many there are: a wake-up's worth of messages.
const RING_BYTES_MIN: usize = 16 << 10;

/// What all rings may take together. Whoever wants something older reads the tape itself.
#[derive(Debug)]
pub(crate) struct Rings {
    one: usize,
    all: usize,
    streams: AtomicUsize,
    /// Views of all streams, and those of them that tick.
    pub views: AtomicUsize,
    pub ticking: AtomicUsize,
}

impl Rings {
    pub const fn new(one: usize, all: usize) -> Self {
        let (streams, views, ticking) = (AtomicUsize::new(1), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { one, all, streams, views, ticking }
    }

    /// So many streams are open now.
    pub fn shared_by(&self, streams: usize) {
        self.streams.store(streams.max(1), Ordering::Relaxed);
    }

    /// The bound of each.
    fn each(&self) -> usize {
        self.one.min((self.all / self.streams.load(Ordering::Relaxed)).max(RING_BYTES_MIN))
    }
}

/// One encoded message, shared by all who send it.
#[derive(Debug)]
pub(crate) struct Frame {
    pub prev: u64,
    pub seq: u64,
    /// Receive time of the record.
    pub ts: Ts,
    pub text: Block,
    pub forms: Forms,
    /// What the ring reckons it costs.
    pub cost: usize,
}

impl Frame {
    pub fn new((prev, seq): (u64, u64), ts: Ts, text: Block, wanted: &Wanted) -> Self {
        let cost = text.cost() * wanted.copies() + MESSAGE_COST;
        Self { prev, seq, ts, text, forms: Forms::default(), cost }
    }
}

/// Who is told when there is more.
struct Member {
    set: WakeSet,
    token: u64,
    /// It follows this view; `None`: the stream itself.
    view: Option<Key>,
    /// It took everything and waits.
    armed: bool,
}

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

    /// One more member: of `view`, or of the stream itself.
    pub fn join(&self, set: &WakeSet, token: u64, view: Option<Key>) {
        let mut inner = self.lock();
        inner.members.push(Member { set: set.clone(), token, view, armed: false });
        self.enter(&mut inner, view);
        set.push(token);
    }

    /// Whether nobody is left.
    pub fn leave(&self, token: u64) -> bool {
        let mut inner = self.lock();
        if let Some(i) = inner.members.iter().position(|m| m.token == token) {
            let view = inner.members.remove(i).view;
            self.exit(&mut inner, view);
        }
        inner.members.is_empty()
    }

    /// The member follows `view` from now on.
    pub fn follow(&self, token: u64, view: Option<Key>) {
        let mut inner = self.lock();
        let Some(member) = inner.members.iter_mut().find(|m| m.token == token) else { return };
        member.armed = false;
        let before = std::mem::replace(&mut member.view, view);
        if before != view {
            self.enter(&mut inner, view);
            self.exit(&mut inner, before);
        }
    }

    fn enter(&self, inner: &mut Inner, view: Option<Key>) {
        let Some(key) = view else {
            inner.whole += 1;
            return;
        };
        if inner.view_of(key).is_none() {
            let view = View::new(key, inner.at, inner.book.as_ref(), wall_clock().0 / 1_000_000);
            inner.views.push(view);
            self.rings.views.fetch_add(1, Ordering::Relaxed);
            if key.ticks() {
                self.rings.ticking.fetch_add(1, Ordering::Relaxed);
                self.hub.0.push(self.hub.1);
            }
        }
        if let Some(view) = inner.view_of(key) {
            view.members += 1;
        }
    }

    fn exit(&self, inner: &mut Inner, view: Option<Key>) {
        let Some(key) = view else {
            inner.whole -= 1;
            if inner.whole == 0 {
                (inner.ring_start, inner.ring_bytes) = (inner.at, 0);
                inner.ring.clear();
            }
            return;
        };
        if let Some(view) = inner.view_of(key) {
            view.members -= 1;
            if view.members == 0 {
                inner.views.retain(|v| v.key != key);
                self.rings.views.fetch_sub(1, Ordering::Relaxed);
                self.rings.ticking.fetch_sub(usize::from(key.ticks()), Ordering::Relaxed);
            }
        }
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

    fn trim(&self, inner: &mut Inner) {
        let most = self.rings.each();
        let newest = inner.ring.back().map_or(Ts::ZERO, |f| f.ts);
        while inner.ring.len() > 1
            && (inner.ring.len() > RING_MESSAGES_MAX
                || inner.ring_bytes > most
                || inner.ring.front().is_some_and(|f| newest.since(f.ts) > RING_AGE_MAX))
        {
            if let Some(old) = inner.ring.pop_front() {
                inner.ring_bytes -= old.cost;
                inner.ring_start = old.seq;
            }
        }
    }
}

/// What becomes of a record that nobody follows but in a view.
fn written(record: &Record<'_>) -> Result<Written, RecordError> {
    let read = record.view();
    read.map(|_| if is_checkpoint(record) { Written::Nothing } else { Written::Message })
}

/// `parts`, joined, in the newest piece, or in one of their own where they are large. A new piece is as large as a ring of `ring_bytes` needs.
fn keep(piece: &mut BytesMut, ring_bytes: usize, parts: &[&[u8]]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    if len > PIECE / 4 {
        return parts.concat().into();
    }
    if piece.capacity() < len {
        let size = (ring_bytes / 4).next_power_of_two().clamp(PIECE_MIN, PIECE);
        *piece = BytesMut::with_capacity(size.max(len));
    }
    parts.iter().for_each(|part| piece.extend_from_slice(part));
    piece.split().freeze()
}

/// What the ring has for a cursor.
pub(crate) enum Next {
    /// Nothing new; the member was armed.
    Idle,
    /// Messages were appended.
    Took,
    /// The cursor is not at the start of a ring message.
    Behind,
}

impl Inner {
    /// Nobody was told anything up to `at`.
    fn begin(&mut self, at: u64) {
        (self.at, self.ring_start) = (at, at);
        let Self { views, book, .. } = self;
        views.iter_mut().for_each(|view| view.begin(at, book.as_ref()));
    }

    /// Wakes members that wait: of views that have something, and those of the stream itself.
    fn wake(&mut self, whole: bool) {
        let Self { members, views, .. } = self;
        for member in members.iter_mut().filter(|m| m.armed) {
            let has = match member.view {
                None => whole,
                Some(key) => views.iter().any(|v| v.key == key && v.fresh),
            };
            if has {
                member.armed = false;
                member.set.push(member.token);
            }
        }
        views.iter_mut().for_each(|view| view.fresh = false);
    }

    pub fn view_of(&mut self, key: Key) -> Option<&mut View> {
        self.views.iter_mut().find(|v| v.key == key)
    }

    /// Everything up to here was told: of a view, or of the stream itself.
    pub fn at_of(&self, view: Option<Key>) -> u64 {
        view.and_then(|key| self.views.iter().find(|v| v.key == key)).map_or(self.at, |view| view.at)
    }

    /// As [`Inner::next`], of a view.
    pub fn next_of(
        &mut self,
        key: Key,
        position: u64,
        token: u64,
        max: usize,
        out: impl FnMut(&Frame) -> bool,
    ) -> Next {
        let Some(view) = self.view_of(key) else { return Next::Behind };
        let next = view.next(position, max, out);
        if matches!(next, Next::Idle) {
            self.arm(token);
        }
        next
    }

    /// `token` is told when there is more.
    pub fn arm(&mut self, token: u64) {
        if let Some(m) = self.members.iter_mut().find(|m| m.token == token) {
            m.armed = true;
        }
    }

    /// Appends up to `max` messages behind `position` to `out`. Arms `token` when there is nothing.
    pub fn next(&mut self, position: u64, token: u64, max: usize, mut out: impl FnMut(&Frame) -> bool) -> Next {
        if position >= self.at {
            self.arm(token);
            return Next::Idle;
        }
        if position < self.ring_start {
            return Next::Behind;
        }
        let i = self.ring.partition_point(|f| f.seq <= position);
        match self.ring.get(i) {
            Some(f) if f.prev == position => {}
            _ => return Next::Behind,
        }
        for frame in self.ring.iter_from(i).take(max) {
            if !out(frame) {
                break;
            }
        }
        Next::Took
    }

    /// Messages behind `position`, where the ring holds them all.
    pub fn messages_behind(&self, position: u64) -> Option<u64> {
        self.can_follow(position).then(|| (self.ring.len() - self.ring.partition_point(|f| f.seq <= position)) as u64)
    }

    /// Whether a cursor at `position` can go on from the ring.
    pub fn can_follow(&self, position: u64) -> bool {
        if position >= self.at {
            return true;
        }
        let i = self.ring.partition_point(|f| f.seq <= position);
        position >= self.ring_start && self.ring.get(i).is_some_and(|f| f.prev == position)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_share_pieces_and_large_ones_stand_alone() {
        let mut piece = BytesMut::new();
        let all: Vec<Bytes> = (0..200_u8).map(|i| keep(&mut piece, PIECE * 4, &[&[i; 300]])).collect();
        assert!(all.iter().enumerate().all(|(i, b)| b[..] == [i as u8; 300]));
        let starts: Vec<usize> = all.iter().map(|b| b.as_ptr() as usize).collect();
        let neighbours = starts.windows(2).filter(|w| w[1] == w[0] + 300).count();
        assert!(neighbours >= 195, "{neighbours} of 199 follow each other in memory");
        assert_eq!(keep(&mut piece, 0, &[&[7; PIECE]])[..], [7; PIECE]);
    }

    #[test]
    fn a_topic_that_seldom_speaks_holds_little() {
        let mut piece = BytesMut::new();
        let first = keep(&mut piece, 0, &[&[1; 300]]);
        assert!(first.len() + piece.capacity() <= PIECE_MIN);
        assert_eq!(keep(&mut piece, 300, &[&[2; 4_000]])[..], [2; 4_000], "longer than its piece");
        keep(&mut piece, PIECE, &[&[3; 300]]);
        assert_eq!(piece.capacity(), PIECE / 4 - 300, "a quarter of its ring");
    }

    #[test]
    fn rings_share_one_bound() {
        let rings = Rings::new(4 << 20, 64 << 20);
        assert_eq!(rings.each(), 4 << 20);
        for streams in [16, 216, 1_000, 4_096] {
            rings.shared_by(streams);
            assert!(rings.each() * streams <= 64 << 20, "{streams}");
        }
        rings.shared_by(1 << 20);
        assert_eq!(rings.each(), RING_BYTES_MIN);
    }

    #[test]
    fn a_ring_keeps_a_minute_and_whoever_is_behind_it_reads_the_tape() {
        use wholetape_model::{Body, InstrumentId, Price, Quote, Row, RowFlags, Scales, Size};
        let dir = tempfile::tempdir().unwrap();
        let tape = Tape::open(dir.path(), wholetape_tape::TapeConfig::default()).unwrap();
        let topic = Topic::new(Kind::Quote, &InstrumentId::new("BTCUSDT", "BINANCE"));
        let mut lane = tape.lane("t").unwrap();
        let no = lane.topic(&topic).unwrap();
        let rings = Arc::new(Rings::new(4 << 20, 64 << 20));
        let stream = Stream::open(&tape, (&topic, 1), "e".into(), rings, &WakeSet::new(), 1).unwrap();
        stream.join(&WakeSet::new(), 2, None);
        let stats = GatewayStats::default();
        // One a second for ten minutes: far below any bound by bytes.
        for second in 1..=600_i64 {
            let ts = Ts(second * 1_000_000_000);
            let (bid, ask) = (Price(second), Price(second + 1));
            let quote = Quote { bid, bid_size: Size(1), ask, ask_size: Size(1), update_id: second as u64 };
            let (flags, scales) = (RowFlags::default(), Scales::default());
            let row = Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body: Body::Quote(quote) };
            lane.append(no, &row).unwrap();
            lane.commit().unwrap();
            stream.pump(16, &stats);
        }
        let mut inner = stream.lock();
        assert_eq!((inner.ring.len(), inner.ring_start, inner.at), (61, 539, 600));
        assert!(matches!(inner.next(538, 7, 10, |_| true), Next::Behind));
        assert!(matches!(inner.next(539, 7, 10, |f| f.seq >= 540), Next::Took));
    }
}
