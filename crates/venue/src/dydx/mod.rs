//! dYdX v4: the perpetuals of the indexer, on one socket.
//!
//! [`Dydx`] is the session. A frame goes to the fast scanner first ([`scan`]), which reads updates of trades and books in one pass and
//! declines whatever it does not expect; the typed decoder ([`decode`], [`state`]) reads everything. `docs/venues/dydx.md` tells the
//! venue's rules and their sources.
//!
//! What is special here: no book has ids, but the connection counts its messages, so a number that is left out is a loss of all that the
//! connection carries, and costs it. A book may be crossed: it is recorded as it comes, and best prices are those of the documented
//! uncrossed view ([`book`]). It may keep what is gone, so REST is asked for it now and then. Trades have names and no numbers.
//!
//! Invariants: a frame that fails emits nothing; every frame is counted, also those dropped on purpose; a frame that is
//! not understood is kept raw; behind a loss nothing is emitted until the next connection, or what was lost would have no end.

mod answers;
mod book;
mod decode;
pub mod frame;
pub mod limits;
pub mod plan;
mod rest;
mod scan;
mod sentinel;
mod state;
pub mod symbol;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::Serialize;
use wholetape_model::{Bar, BookRule, Chain, InstrumentId, InstrumentIx, InstrumentKind, NO_INSTRUMENT, Ts};

use crate::counter::Counter;
use crate::error::ProtocolError;
use crate::history::TradeHistory;
use crate::limits::VenueLimits;
use crate::plan::{Channel, ConnectionPlan, PlanError, SessionPlan, SplitLimits};
use crate::polls::{Polls, Spread};
use crate::reading::{Reading, Reads};
use crate::registry::{Endpoints, Venue};
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::{Action, FetchId, FetchKind, Frame, OddShape, Out, Reply, Request, Session, SessionStats, Want};
use crate::subscriptions::{Operation, Subscriptions};
use crate::symbols::SymbolTable;
use book::{Book, Pair};

/// The one market.
pub static VENUES: [&dyn Venue; 1] = [&Market];

/// dYdX as configurations name it.
#[derive(Debug)]
pub struct Market;

impl Venue for Market {
    fn name(&self) -> &'static str {
        limits::NAME
    }

    fn id_venue(&self) -> &'static str {
        limits::ID_VENUE
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { ws: limits::WS_BASES, rest: limits::REST_BASES }
    }

    fn limits(&self) -> &'static VenueLimits {
        &limits::LIMITS
    }

    fn open(&self, plan: &SessionPlan) -> Result<Box<dyn Session>, PlanError> {
        Ok(Box::new(Dydx::new(plan)?))
    }

    fn connections(
        &self,
        instruments: &[(InstrumentIx, String)],
        channels: &[Channel],
        limits: &SplitLimits,
    ) -> Result<Vec<ConnectionPlan>, PlanError> {
        plan::connections(instruments, channels, limits)
    }

    fn instrument_id(&self, symbol: &str, _kind: Option<InstrumentKind>) -> InstrumentId {
        symbol::instrument_id(symbol)
    }

    fn symbol_of(&self, id: &InstrumentId) -> Option<String> {
        symbol::symbol_of(id)
    }

    fn is_symbol(&self, text: &str) -> bool {
        symbol::is_symbol(text)
    }

    fn listed(&self, body: &[u8]) -> Result<Vec<String>, ProtocolError> {
        rest::listed(body)
    }

    /// The public deployment, and the test network's.
    fn owns_address(&self, host: &str, _path: &str) -> bool {
        ["dydx.trade", "dydx.exchange"]
            .iter()
            .any(|house| host.strip_suffix(house).is_some_and(|sub| sub.is_empty() || sub.ends_with('.')))
    }
}

/// One request.
#[derive(Serialize)]
struct Ask<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// Each update by itself, as it is made, and not four times a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    batched: Option<bool>,
}

/// A request to begin or end a subscription; there is one in each.
fn write(_: u64, op: Operation, streams: &[String]) -> String {
    let stream = streams.first().map_or("", String::as_str);
    let (channel, id) = stream.split_once(':').unwrap_or((stream, ""));
    let (kind, batched) = match op {
        Operation::Subscribe => ("subscribe", Some(false)),
        Operation::Unsubscribe => ("unsubscribe", None),
    };
    // Strings and a flag: there is nothing in it that JSON could not say.
    sonic_rs::to_string(&Ask { kind, channel, id: Some(id).filter(|id| !id.is_empty()), batched }).unwrap_or_default()
}

/// Whether the scanner is meant to read the channel's updates.
fn is_hot(channel: &str) -> bool {
    matches!(channel, "v4_trades" | "v4_orderbook")
}

/// Which events are asked for: several of ours come by one stream.
#[derive(Debug, Clone, Copy)]
struct Wants {
    trades: bool,
    liquidations: bool,
    books: bool,
    /// Derived, so told only where they are asked for by name.
    quotes: bool,
    marks: bool,
    open_interest: bool,
    definitions: bool,
}

impl Wants {
    /// A plan without channels reads what comes.
    fn new(channels: &[Channel]) -> Self {
        let all = channels.is_empty();
        let any = |channel| all || channels.contains(&channel);
        Self {
            trades: any(Channel::Trade),
            liquidations: any(Channel::Liquidation),
            books: any(Channel::Book),
            quotes: channels.contains(&Channel::Quote),
            marks: any(Channel::Mark),
            open_interest: any(Channel::OpenInterest),
            definitions: any(Channel::Instrument),
        }
    }
}

/// One connection's conversation with dYdX.
#[derive(Debug)]
pub struct Dydx {
    symbols: SymbolTable,
    discover: bool,
    streams: Vec<String>,
    wants: Wants,
    instruments_every: Option<Duration>,
    /// The connection that speaks, by the venue's own name, and its count of messages.
    connection: String,
    counter: Counter,
    /// Messages were lost: nothing is read before the next connection.
    deaf: bool,
    subscriptions: Subscriptions,
    polls: Polls,
    /// Books to be held against REST's, in turns.
    snapshots: Option<Spread>,
    /// Instruments with a book.
    booked: Vec<InstrumentIx>,
    /// Streams whose first answer on this connection was told; those asked for anew are answered again.
    subscribed: BTreeSet<String>,
    books: Vec<Book>,
    /// Books that REST mended just now.
    mended: Vec<(InstrumentIx, Ts)>,
    /// The last candle told, by instrument and period.
    bars: Vec<(InstrumentIx, Bar)>,
    defined: Vec<state::Market>,
    ends: VecDeque<rest::End>,
    /// Of the frame at hand.
    bids: Vec<Pair>,
    asks: Vec<Pair>,
    scratch: Vec<Pair>,
    parts: Vec<decode::TradeParts>,
    reading: Reading,
}

impl Dydx {
    /// # Errors
    /// A plan that names twice, or asks for what is not offered.
    pub fn new(plan: &SessionPlan) -> Result<Self, PlanError> {
        let asks = |channel| plan.channels.contains(&channel);
        let has_books = asks(Channel::Book) || asks(Channel::Quote);
        let booked = plan.instruments.iter().filter(|_| has_books).map(|(ix, _)| *ix);
        Ok(Self {
            symbols: SymbolTable::new(&plan.instruments)?,
            discover: plan.discover,
            streams: plan::streams(&plan.instruments, &plan.channels)?,
            wants: Wants::new(&plan.channels),
            instruments_every: asks(Channel::Instrument).then_some(plan.instruments_every),
            connection: String::new(),
            counter: Counter::default(),
            deaf: false,
            subscriptions: Subscriptions::default(),
            polls: Polls::default(),
            snapshots: None,
            booked: booked.collect(),
            subscribed: BTreeSet::new(),
            books: Vec::new(),
            mended: Vec::new(),
            bars: Vec::new(),
            defined: Vec::new(),
            ends: VecDeque::new(),
            bids: Vec::new(),
            asks: Vec::new(),
            scratch: Vec::new(),
            parts: Vec::new(),
            reading: Reading::new(Sentinel::new(sentinel::shapes())),
        })
    }

    /// The same session without the fast scanner: every frame goes through the typed decoder. For comparisons.
    #[must_use]
    pub const fn typed_only(mut self) -> Self {
        self.reading.fast = false;
        self
    }

    /// Another connection speaks: it counts from its own first message, and has told no book.
    fn begin(&mut self, connection: &str) {
        self.connection.clear();
        self.connection.push_str(connection);
        self.counter.restart();
        self.books.iter_mut().for_each(Book::forget);
        self.mended.clear();
    }

    /// The instrument of a row, or `None` (and counted) where nobody asked for it.
    #[inline]
    fn admit(&mut self, symbol: &str) -> Option<InstrumentIx> {
        let ix = if self.discover { self.symbols.find_or_add(symbol) } else { self.symbols.find(symbol) };
        self.reading.stats.filtered += u64::from(ix.is_none());
        ix
    }

    /// What is due at `now`.
    fn due(&mut self, now: Ts, out: &mut Out) {
        if let Some(text) = self.subscriptions.poll(now, write) {
            out.actions.push(Action::Send(text));
        }
        if self.polls.instruments(now) {
            let id = FetchId { kind: FetchKind::Instruments, instrument: NO_INSTRUMENT, arg: 0 };
            if let Some(request) = self.make_request(id) {
                out.actions.push(Action::Fetch(id, request));
            }
        }
        let next = self.snapshots.as_mut().and_then(|spread| spread.poll(now, self.booked.len()));
        if let Some(ix) = next.and_then(|at| self.booked.get(at)).copied()
            && self.books.get_mut(ix as usize).is_some_and(|book| book.ask(now))
        {
            let id = FetchId { kind: FetchKind::BookSnapshot, instrument: ix, arg: 0 };
            if let Some(request) = self.make_request(id) {
                out.actions.push(Action::Fetch(id, request));
            }
        }
        while let Some((ix, _)) = self.mended.pop() {
            self.quote(ix, out);
        }
    }
}

impl Reads for Dydx {
    fn reading(&mut self) -> &mut Reading {
        &mut self.reading
    }

    #[inline]
    fn scan(&mut self, now: Ts, frame: &[u8], out: &mut Out) -> Option<&'static str> {
        self.scan_hot(frame, now, out)
    }

    fn typed(&mut self, now: Ts, frame: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        self.decode(frame, now, out)
    }

    fn answer(&mut self, now: Ts, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        self.reply(now, id, body, out)
    }

    fn odd_frame(sentinel: &mut Sentinel, frame: &[u8]) -> Option<OddFrame> {
        sentinel::look(sentinel, frame)
    }

    fn odd_answer(sentinel: &mut Sentinel, kind: FetchKind, body: &[u8]) -> Option<OddFrame> {
        sentinel::look_at_answer(sentinel, kind, body)
    }

    fn name(kind: FetchKind) -> &'static str {
        rest::name(kind)
    }
}

/// Every frame carries the connection's count, so none can be passed over unread: there is no [`Session::peek`].
impl Session for Dydx {
    fn on_open(&mut self, now: Ts, out: &mut Out) {
        self.begin("");
        self.deaf = false;
        self.subscribed.clear();
        // Streams are asked for behind the greeting.
        self.subscriptions.open(now, &[], &limits::LIMITS.subscribe);
        self.polls.open(now, self.symbols.known(), None, self.instruments_every);
        // The stream's own snapshots are good for a while.
        self.snapshots = Spread::new(now + limits::RESNAP_EVERY, self.booked.len(), limits::RESNAP_EVERY);
        self.due(now, out);
    }

    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        if self.deaf {
            self.reading.stats.frames += 1;
            self.reading.stats.filtered += 1;
            return Ok(());
        }
        self.read_frame(now, frame.bytes(), out)
    }

    fn on_fetched(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        if matches!(reply, Reply::Failed(_))
            && id.kind == FetchKind::BookSnapshot
            && let Some(book) = self.books.get_mut(id.instrument as usize)
        {
            book.ask_over();
        }
        self.read_answer(now, id, reply, out)
    }

    fn fetch_of(&mut self, url: &str) -> Option<FetchId> {
        self.recorded(url)
    }

    fn request(&self, want: Want) -> Option<Request> {
        self.make_request(want)
    }

    fn on_timer(&mut self, now: Ts, out: &mut Out) {
        self.due(now, out);
    }

    fn next_timer(&self) -> Option<Ts> {
        let snapshot = self.snapshots.as_ref().map(Spread::next);
        let mended = self.mended.first().map(|(_, at)| *at);
        [self.subscriptions.next(), self.polls.next(), snapshot, mended].into_iter().flatten().min()
    }

    fn definitions_soon(&mut self, now: Ts) {
        self.polls.instruments_soon(now);
    }

    fn forget(&mut self, instrument: InstrumentIx) -> usize {
        let symbol = self.symbols.forget(instrument);
        symbol.map_or(0, |symbol| crate::subscriptions::forget(&mut self.streams, &symbol))
    }

    /// Each update names the message of the one before, as long as the connection lost none in between.
    fn book_rule(&self, _: InstrumentIx) -> BookRule {
        Chain::Linked.into()
    }

    fn resubscribe_book(&mut self, now: Ts, instrument: InstrumentIx, out: &mut Out) -> Option<Ts> {
        let stream = format!("v4_orderbook:{}", self.symbols.symbol(instrument)?);
        if !self.streams.contains(&stream) {
            return None;
        }
        // What still comes of it belongs to a book that is wrong: no best prices are told until the next snapshot.
        if let Some(book) = self.books.get_mut(instrument as usize) {
            book.forget();
        }
        let goes_out = self.subscriptions.again(now, &stream);
        self.due(now, out);
        Some(goes_out)
    }

    fn quotes_are_of_the_book(&self) -> bool {
        self.wants.quotes
    }

    fn trade_history(&self) -> TradeHistory {
        self.past_trades()
    }

    fn symbol(&self, instrument: InstrumentIx) -> Option<&str> {
        self.symbols.symbol(instrument)
    }

    fn instruments(&self) -> usize {
        self.symbols.len()
    }

    fn stats(&self) -> &SessionStats {
        &self.reading.stats
    }

    fn odd_shape(&mut self, frame: Frame<'_>) -> Option<OddShape> {
        self.read_shape(frame.bytes())
    }
}
