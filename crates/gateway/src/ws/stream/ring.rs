//! The ring of a stream's newest messages, in shared bytes, and what it may take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wholetape_model::Ts;
use wholetape_ws::Block;

use super::{Inner, Stream};
use crate::ws::forms::{Forms, Wanted};

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
    pub(super) fn each(&self) -> usize {
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

impl Stream {
    /// What is too old or too much goes.
    pub(super) fn trim(&self, inner: &mut Inner) {
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

/// `parts`, joined, in the newest piece, or in one of their own where they are large. A new piece is as large as a ring of `ring_bytes` needs.
pub(super) fn keep(piece: &mut BytesMut, ring_bytes: usize, parts: &[&[u8]]) -> Bytes {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wholetape_tape::{Tape, WakeSet};

    use super::*;
    use crate::stats::GatewayStats;
    use crate::ws::stream::Next;

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
        use wholetape_model::{Body, InstrumentId, Kind, Price, Quote, Row, RowFlags, Scales, Size, Topic};
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
