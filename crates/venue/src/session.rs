//! The seam between a venue's protocol and the line: sans-IO.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_model::{Arena, Body, BookRule, Event, InstrumentIx, Kind, NO_INSTRUMENT, Raw, Scales, Ts};

use crate::error::{ProtocolError, Recovery};
use crate::history::TradeHistory;

/// One message of the connection, as received.
#[derive(Debug, Clone, Copy)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

impl<'a> Frame<'a> {
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Text(b) | Self::Binary(b) => b,
        }
    }
}

/// What the head of a frame tells, see [`Session::peek`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek {
    /// As sessions name it in events; `Ticker` stands for all that is of its class (statistics, bars, mark prices).
    pub kind: Kind,
    /// The venue's time where the head has it, else `Ts::ZERO`.
    pub ts_event: Ts,
}

impl Peek {
    /// Whether a frame that was peeked like this may hold events of `kind`. Whoever drops it owes the streams of these a word, and
    /// no others: a session whose frame holds more must not recognise it.
    #[must_use]
    pub const fn stands_for(&self, kind: Kind) -> bool {
        match self.kind {
            Kind::Ticker => matches!(kind, Kind::Ticker | Kind::Bar(_) | Kind::Mark | Kind::Index | Kind::Funding),
            // Statistics come with best prices, which are never dropped.
            Kind::Quote => matches!(kind, Kind::Quote | Kind::Ticker),
            Kind::Book => matches!(kind, Kind::Book),
            Kind::Trade => matches!(kind, Kind::Trade),
            Kind::TradeRaw => matches!(kind, Kind::TradeRaw),
            _ => false,
        }
    }
}

/// What a REST request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchKind {
    /// A full book to splice the deltas onto.
    BookSnapshot,
    /// Trades by id, oldest first, from `arg` (inclusive).
    TradesFrom,
    /// The newest trades (`arg` = how many): tells the newest id of a stream that fell silent.
    NewestTrades,
    /// Trades by time, oldest first, from `arg` (ms since the Unix epoch, inclusive): finds the left edge of a backlog.
    TradesAt,
    OpenInterest,
    /// Definitions and status of all instruments.
    Instruments,
    ServerTime,
}

/// Names one request, so that a reply finds what it answers: a Binance spot depth body holds no symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId {
    pub kind: FetchKind,
    pub instrument: InstrumentIx,
    /// First id asked for, or a count; see [`FetchKind`].
    pub arg: u64,
}

/// A GET request to the session's REST host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `/api/v3/depth?symbol=BTCUSDT&limit=5000`
    pub path: String,
    /// What it costs of the host's budget, in the venue's own weight units.
    pub weight: u32,
}

/// What the line may ask of the venue; the session knows the address and the cost.
pub type Want = FetchId;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchFailure {
    /// The connection failed or broke.
    Transport(String),
    Timeout,
    /// Our own budget or breaker refused it; try again after this long.
    Budget {
        retry_after: Duration,
    },
}

/// The answer to a fetch.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    Answer { status: u16, body: &'a [u8] },
    Failed(&'a FetchFailure),
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Send(String),
    Fetch(FetchId, Request),
    Close(Recovery),
    Note(Note),
}

/// What the line should know about the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The venue acknowledged a subscription request. On Binance this does not prove that the stream exists.
    Subscribed { streams: Vec<String> },
    /// The venue refused it.
    Refused { streams: Vec<String>, code: i64, text: String },
    /// The venue announced that it will close this connection.
    ClosingSoon,
    /// The venue's time, of a frame that tells of nothing else: what it published before, this connection has brought.
    Time(Ts),
    /// A frame of no known shape, or a known one with an unknown enum value; kept raw and counted.
    Unknown { channel: String },
    /// A frame is not as documented, in a way that this session has not met before. Frames like it are counted in
    /// [`SessionStats::odd_shapes`] and, some of them, kept raw.
    Shape(OddShape),
}

/// How a frame deviates from what is documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddShape {
    /// One of [`crate::shape::CHANNELS`].
    pub channel: &'static str,
    /// Equal for equal deviations.
    pub fingerprint: u64,
    /// What deviates, in words.
    pub what: String,
}

/// Where a session puts what it makes of a frame. Cleared by the caller before each call; never shrinks, so after
/// warm-up nothing is allocated.
#[derive(Debug, Default)]
pub struct Out {
    pub events: Vec<Event>,
    /// What the venue printed to prove a book, where it did: the place of the book's event, and the checksum.
    pub checksums: Vec<(usize, u32)>,
    pub arena: Arena,
    pub actions: Vec<Action>,
}

impl Out {
    /// Forgets the events; their levels and texts stay, since rows may refer to them.
    pub fn clear_events(&mut self) {
        self.events.clear();
        self.checksums.clear();
    }

    /// Keeps a text as it came, as evidence and no data.
    pub fn raw(&mut self, channel: &str, text: &str) {
        let raw = Raw { channel: self.arena.text(channel), text: self.arena.text(text) };
        self.events.push(Event {
            instrument: NO_INSTRUMENT,
            kind: Kind::Raw,
            ts_event: Ts::ZERO,
            scales: Scales::default(),
            body: Body::Raw(raw),
        });
    }

    pub fn clear(&mut self) {
        self.clear_events();
        self.arena.clear();
        self.actions.clear();
    }
}

/// Lengths of an [`Out`], so that what a failed frame left in it can be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub events: usize,
    pub levels: usize,
    pub text: usize,
    pub actions: usize,
}

impl Mark {
    #[inline]
    #[must_use]
    pub fn of(out: &Out) -> Self {
        Self {
            events: out.events.len(),
            levels: out.arena.levels.len(),
            text: out.arena.text.len(),
            actions: out.actions.len(),
        }
    }

    #[cold]
    pub fn restore(&self, out: &mut Out) {
        out.events.truncate(self.events);
        out.checksums.retain(|(event, _)| *event < self.events);
        out.arena.levels.truncate(self.levels);
        out.arena.text.truncate(self.text);
        out.actions.truncate(self.actions);
    }
}

/// Counters of one connection. Public: they become metrics and the `inspect` report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionStats {
    pub frames: u64,
    pub events: u64,
    /// Frames (or enum values in them) that we do not know.
    pub unknown_frames: u64,
    /// Frames that a typed fallback read because the fast scanner did not expect their shape.
    pub fallbacks: u64,
    pub errors: u64,
    /// Dropped on purpose, by reason (`st` of the other product, `unsubscribed symbol`).
    pub filtered: u64,
    /// Frames by channel name as in the truth files (`trade`, `aggTrade`, `depth`, `bookTicker`, `kline_1m` …).
    pub by_channel: BTreeMap<&'static str, u64>,
    /// Frames that are not as documented, by the places of [`crate::shape::CHANNELS`].
    pub odd_shapes: [u64; crate::shape::CHANNELS.len()],
}

impl SessionStats {
    /// A frame of `channel`.
    #[inline]
    pub fn count(&mut self, channel: &'static str) {
        match self.by_channel.get_mut(channel) {
            Some(n) => *n += 1,
            None => {
                self.by_channel.insert(channel, 1);
            }
        }
    }
}

/// One connection's conversation with a venue: no sockets, no clock, no tasks.
///
/// Every `ts_recv` is the caller's `now`: the time when the frame was read from the socket.
pub trait Session: Send {
    /// The transport is open: subscribe.
    fn on_open(&mut self, now: Ts, out: &mut Out);

    /// One frame. Events and actions are appended to `out`.
    ///
    /// # Errors
    /// [`ProtocolError`]; its [`recovery`](ProtocolError::recovery) tells what to do. Nothing of a failed frame is emitted.
    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError>;

    /// What `frame` carries, told from its first bytes without reading it, for a line that must drop some. `None` for
    /// whatever is not recognised at once: such a frame is read as ever. Must cost a fraction of `on_frame`.
    fn peek(&self, _frame: Frame<'_>) -> Option<Peek> {
        None
    }

    /// The answer to a fetch that this session's `request` named. Trades fetched come out as `Kind::Trade` (or
    /// `TradeRaw` when that is the session's only trade source) events like live ones; the line flags them as late.
    ///
    /// # Errors
    /// `Status`, `BadReply`, `Number`.
    fn on_fetched(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError>;

    /// Which fetch a recorded response belongs to, by its URL, so that captures without our own requests replay.
    fn fetch_of(&mut self, url: &str) -> Option<FetchId>;

    /// The request that fulfils `want`, or `None` where the venue offers nothing of the kind.
    fn request(&self, want: Want) -> Option<Request>;

    /// Time passes: subscriptions left to send, polls due.
    fn on_timer(&mut self, now: Ts, out: &mut Out);

    /// When `on_timer` wants to be called; always moves forward after it was.
    fn next_timer(&self) -> Option<Ts>;

    /// How long a whole stream of this kind may say nothing by the venue's own word; zero where it says nothing of that. For ever
    /// (`Duration::MAX`) where rows come when something changed and at no other time: then the other streams of the connection tell that
    /// it lives.
    fn pause_max(&self, _kind: Kind) -> Duration {
        Duration::ZERO
    }

    /// The rule of the book that this session brings of `instrument`.
    fn book_rule(&self, instrument: InstrumentIx) -> BookRule;

    /// Asks the venue for the book of `instrument` anew, where its snapshot comes by the stream (every chain but the anchored
    /// ones): ends the subscription and begins
    /// it again, within the venue's budget of requests. The requests come out now or by [`Session::on_timer`]; the answer is when
    /// the last of them goes out, or `None` where the venue has nothing of the kind.
    fn resubscribe_book(&mut self, _now: Ts, _instrument: InstrumentIx, _out: &mut Out) -> Option<Ts> {
        None
    }

    /// Whether best prices are made of the book's stream: while a book is asked for anew there are none.
    fn quotes_are_of_the_book(&self) -> bool {
        false
    }

    /// What the venue said of its instruments is in doubt: a session that polls them asks soon, within its own bounds.
    fn definitions_soon(&mut self, _now: Ts) {}

    /// The venue does not list `instrument` any more: nothing of it is subscribed or asked for from the next opening on. Returns
    /// how many streams that are fewer.
    fn forget(&mut self, _instrument: InstrumentIx) -> usize {
        0
    }

    /// How past trades of the line's trade source can be asked for. A session whose `request` then offers nothing of the
    /// kind is believed as well.
    fn trade_history(&self) -> TradeHistory {
        TradeHistory::default()
    }

    /// The venue's spelling of `instrument`, if this session knows it.
    fn symbol(&self, instrument: InstrumentIx) -> Option<&str>;

    /// Instruments known so far: `0..len`. Grows only where the plan said `discover` (captures).
    fn instruments(&self) -> usize;

    fn stats(&self) -> &SessionStats;

    /// What is new in the shape of a frame that [`Session::on_frame`] has just refused, if it is JSON at all.
    fn odd_shape(&mut self, _frame: Frame<'_>) -> Option<OddShape> {
        None
    }
}
