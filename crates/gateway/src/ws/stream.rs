//! One topic, encoded once for all who read it live.
//!
//! The stream follows the tape with one reader. What it encodes goes to a short ring; connections take the very same
//! bytes from there. For a book it keeps the view, so that a `snap` is exact at `at` and `data` goes on behind it.
//!
//! Invariants: ring messages are adjacent (`prev` of each is `seq` of the one before), and the last one ends at `at`.
//! `at` is the seq of the last *message*: a checkpoint moves the reader, but not `at`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use wholetape_model::{Kind, Topic, Ts};
use wholetape_tape::{ChunkQueue, Delivery, From, Reader, ReaderOptions, Shared, Tape, TapeError, WakeSet};
use wholetape_wire::message::{self, Context, Written};

use crate::lock;
use crate::stats::GatewayStats;
use crate::ws::book::{BookState, is_checkpoint};

/// Records before a book's start that are searched for its last validity mark.
const LOOK_BACK: u64 = 256;
const RING_MESSAGES_MAX: usize = 16_384;
/// Older messages go when newer ones come: rings of slow topics would else grow for hours until they are full.
const RING_AGE_MAX: Duration = Duration::from_secs(60);

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
}

impl Rings {
    pub const fn new(one: usize, all: usize) -> Self {
        Self { one, all, streams: AtomicUsize::new(1) }
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
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub prev: u64,
    pub seq: u64,
    /// Receive time of the record.
    ts: Ts,
    pub text: Utf8Bytes,
}

/// Who is told when there is more.
struct Member {
    set: WakeSet,
    token: u64,
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
    /// Raised when the stream lost its own place: everyone then needs a snapshot.
    pub generation: u64,
    members: Vec<Member>,
    deliveries: Vec<Delivery>,
    scratch: Vec<u8>,
    /// What is left of the newest piece.
    piece: BytesMut,
}

pub(crate) struct Stream {
    pub topic: Topic,
    pub epoch: Arc<str>,
    pub tape: Tape,
    rings: Arc<Rings>,
    inner: Mutex<Inner>,
}

impl Stream {
    /// Follows `topic` from now on. `set` is told under `token` when the tape has more.
    pub fn open(
        tape: &Tape,
        topic: &Topic,
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
            generation: 0,
            members: Vec::new(),
            deliveries: Vec::new(),
            scratch: Vec::new(),
            piece: BytesMut::new(),
        };
        let topic = topic.clone();
        Ok(Self { topic, epoch, tape: tape.clone(), rings, inner: Mutex::new(inner) })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    pub fn join(&self, set: &WakeSet, token: u64) {
        self.lock().members.push(Member { set: set.clone(), token, armed: false });
        set.push(token);
    }

    /// Whether nobody is left.
    pub fn leave(&self, token: u64) -> bool {
        let mut inner = self.lock();
        inner.members.retain(|m| m.token != token);
        inner.members.is_empty()
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
                    inner.at = to;
                    inner.ring_start = to;
                }
                Delivery::Missed { to, .. } => Self::lose(inner, to),
                Delivery::Disconnected { .. } => {}
            }
        }
        inner.deliveries = deliveries;
        if !inner.built && (inner.reader.position() >= inner.target || n == 0) {
            inner.built = true;
        }
        for member in inner.members.iter_mut().filter(|m| m.armed) {
            member.armed = false;
            member.set.push(member.token);
        }
        n == max
    }

    fn take(&self, inner: &mut Inner, shared: Shared, stats: &GatewayStats) {
        let record = shared.record();
        let crc = inner.book.as_mut().and_then(|b| b.apply(&record));
        let seq = record.seq();
        if !inner.built {
            // A checkpoint is no message: who holds what was before it holds the same state.
            if !is_checkpoint(&record) {
                (inner.at, inner.ring_start) = (seq, seq);
            }
            return;
        }
        let state = inner.book.as_ref().and_then(|b| b.state);
        let cx = Context { topic: &self.topic, epoch: &self.epoch, prev: inner.at, state, crc };
        inner.scratch.clear();
        match message::record(&mut inner.scratch, &cx, &record) {
            Ok(Written::Message) => {
                let Ok(text) = Utf8Bytes::try_from(keep(&mut inner.piece, inner.ring_bytes, &inner.scratch)) else {
                    return;
                };
                stats.encoded_total.fetch_add(1, Ordering::Relaxed);
                inner.ring_bytes += text.len() + MESSAGE_COST;
                inner.ring.push_back(Frame { prev: inner.at, seq, ts: record.ts_recv(), text });
                inner.at = seq;
                self.trim(inner);
            }
            Ok(Written::Nothing) => {}
            // Newer than this build reads, or damaged: a receipt instead of silence.
            Err(e) => {
                tracing::warn!(topic = %self.topic, seq, error = %e, "a record cannot be served");
                Self::lose(inner, seq);
            }
        }
        if self.topic.kind().is_state() && inner.book.is_none() && !record.is_mark() {
            inner.last = Some(shared);
        }
    }

    /// The stream itself could not read up to `to`: everyone is told and starts from a new state.
    fn lose(inner: &mut Inner, to: u64) {
        (inner.at, inner.ring_start, inner.ring_bytes) = (to, to, 0);
        inner.ring.clear();
        inner.generation += 1;
        if let Some(book) = &mut inner.book {
            book.broken = true;
        }
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
                inner.ring_bytes -= old.text.len() + MESSAGE_COST;
                inner.ring_start = old.seq;
            }
        }
    }
}

/// `bytes` in the newest piece, or in one of their own where they are large. A new piece is as large as a ring of `ring_bytes` needs.
fn keep(piece: &mut BytesMut, ring_bytes: usize, bytes: &[u8]) -> Bytes {
    if bytes.len() > PIECE / 4 {
        return Bytes::copy_from_slice(bytes);
    }
    if piece.capacity() < bytes.len() {
        let size = (ring_bytes / 4).next_power_of_two().clamp(PIECE_MIN, PIECE);
        *piece = BytesMut::with_capacity(size.max(bytes.len()));
    }
    piece.extend_from_slice(bytes);
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
    /// Appends up to `max` messages behind `position` to `out`. Arms `token` when there is nothing.
    pub fn next(&mut self, position: u64, token: u64, max: usize, mut out: impl FnMut(&Frame) -> bool) -> Next {
        if position >= self.at {
            if let Some(m) = self.members.iter_mut().find(|m| m.token == token) {
                m.armed = true;
            }
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
        let all: Vec<Bytes> = (0..200_u8).map(|i| keep(&mut piece, PIECE * 4, &[i; 300])).collect();
        assert!(all.iter().enumerate().all(|(i, b)| b[..] == [i as u8; 300]));
        let starts: Vec<usize> = all.iter().map(|b| b.as_ptr() as usize).collect();
        let neighbours = starts.windows(2).filter(|w| w[1] == w[0] + 300).count();
        assert!(neighbours >= 195, "{neighbours} of 199 follow each other in memory");
        assert_eq!(keep(&mut piece, 0, &[7; PIECE])[..], [7; PIECE]);
    }

    #[test]
    fn a_topic_that_seldom_speaks_holds_little() {
        let mut piece = BytesMut::new();
        let first = keep(&mut piece, 0, &[1; 300]);
        assert!(first.len() + piece.capacity() <= PIECE_MIN);
        assert_eq!(keep(&mut piece, 300, &[2; 4_000])[..], [2; 4_000], "longer than its piece");
        keep(&mut piece, PIECE, &[3; 300]);
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
        let stream = Stream::open(&tape, &topic, "e".into(), rings, &WakeSet::new(), 1).unwrap();
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
