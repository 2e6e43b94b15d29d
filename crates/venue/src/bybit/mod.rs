//! Bybit v5: spot, linear and inverse contracts, one implementation configured by [`limits::Market`].
//!
//! [`Bybit`] is the session. A frame goes to the fast scanner first ([`scan`]), which reads trades, books and best prices in one pass and
//! declines whatever it does not expect; the typed decoder ([`decode`], [`state`], [`define`]) reads everything. `docs/venues/bybit.md` tells
//! the venue's rules and their sources.
//!
//! What is special here: the market is told by the socket and by nothing else; a book begins with the stream's own snapshot, which may come
//! again at any time; the ticker is merged from deltas; and past trades cannot be asked for, so what a stream missed is confessed.
//!
//! Invariants: a frame that fails emits nothing; every frame is counted, also those dropped on purpose; a frame that is
//! not understood is kept raw.

mod answers;
pub mod archive;
mod decode;
mod define;
pub mod frame;
pub mod limits;
mod peek;
pub mod plan;
mod rest;
mod scan;
mod sentinel;
mod sequence;
mod state;
pub mod symbol;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use wholetape_model::{BookRule, Decimal, InstrumentId, InstrumentIx, InstrumentKind, Kind, NO_INSTRUMENT, Ts};

use crate::error::ProtocolError;
use crate::history::TradeHistory;
use crate::limits::VenueLimits;
use crate::plan::{Channel, ConnectionPlan, PlanError, SessionPlan, SplitLimits};
use crate::polls::Polls;
use crate::reading::{Reading, Reads};
use crate::registry::{Endpoints, Listed, Venue};
use crate::rows::Definitions;
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::{
    Action, FetchId, FetchKind, Frame, OddShape, Out, Peek, Reply, Request, Session, SessionStats, Want,
};
use crate::subscriptions::{Operation, Subscriptions};
use crate::symbols::SymbolTable;
use limits::Market;

/// The three of them.
pub static VENUES: [&dyn Venue; 3] = [&Market::Spot, &Market::Linear, &Market::Inverse];

impl Venue for Market {
    fn name(&self) -> &'static str {
        Self::name(*self)
    }

    fn id_venue(&self) -> &'static str {
        limits::ID_VENUE
    }

    fn door(&self) -> &'static str {
        limits::DOOR
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { ws: limits::WS_BASES, rest: limits::REST_BASES }
    }

    fn limits(&self) -> &'static VenueLimits {
        Self::limits(*self)
    }

    fn open(&self, plan: &SessionPlan) -> Result<Box<dyn Session>, PlanError> {
        Ok(Box::new(Bybit::new(*self, plan)?))
    }

    fn connections(
        &self,
        instruments: &[(InstrumentIx, String)],
        channels: &[Channel],
        limits: &SplitLimits,
    ) -> Result<Vec<ConnectionPlan>, PlanError> {
        plan::connections(*self, instruments, channels, limits)
    }

    fn instrument_id(&self, symbol: &str, _kind: Option<InstrumentKind>) -> InstrumentId {
        symbol::instrument_id(*self, symbol)
    }

    fn symbol_of(&self, id: &InstrumentId) -> Option<String> {
        symbol::symbol_of(*self, id)
    }

    fn listed(&self, body: &[u8]) -> Result<Vec<String>, ProtocolError> {
        Ok(rest::listed(*self, 0, body)?.0)
    }

    fn listed_page(&self, arg: u64, body: &[u8]) -> Result<Listed, ProtocolError> {
        let (symbols, next) = rest::listed(*self, arg, body)?;
        Ok(Listed { symbols, next })
    }

    /// A socket's path tells the market; a request tells it in its query, which [`Session::fetch_of`] reads: it belongs to the house.
    fn owns_address(&self, host: &str, path: &str) -> bool {
        let of = |house: &str| host.strip_suffix(house).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
        let house = ["bybit.com", "bytick.com"].into_iter().any(of);
        let told = Self::ALL.into_iter().find(|m| path.starts_with(m.path()));
        house && told.unwrap_or(Self::Spot) == *self
    }
}

/// A request to begin or end subscriptions.
fn write(id: u64, op: Operation, streams: &[String]) -> String {
    #[derive(Serialize)]
    struct Ask<'a> {
        req_id: String,
        op: &'static str,
        args: &'a [String],
    }
    let op = match op {
        Operation::Subscribe => "subscribe",
        Operation::Unsubscribe => "unsubscribe",
    };
    // Strings alone: there is nothing in it that JSON could not say.
    sonic_rs::to_string(&Ask { req_id: id.to_string(), op, args: streams }).unwrap_or_default()
}

/// Whether the scanner is meant to read the channel.
fn is_hot(channel: &str) -> bool {
    matches!(channel, "publicTrade" | "orderbook")
}

/// One connection's conversation with one of Bybit's markets.
#[derive(Debug)]
pub struct Bybit {
    market: Market,
    symbols: SymbolTable,
    discover: bool,
    streams: Vec<String>,
    /// Levels a side of the books' streams.
    depth: u16,
    wanted: state::Wanted,
    instruments_every: Option<Duration>,
    subscriptions: Subscriptions,
    polls: Polls,
    /// Streams whose first answer on this connection was told; those asked for anew are answered again.
    subscribed: BTreeSet<String>,
    /// Tickers as told on this connection, by instrument.
    merged: Vec<state::Merged>,
    /// Best prices as told on this connection, by instrument.
    tops: Vec<Option<decode::Top>>,
    definitions: Definitions,
    /// Levels of the frame at hand.
    scratch: Vec<(Decimal, Decimal)>,
    reading: Reading,
}

impl Bybit {
    /// # Errors
    /// A plan that names twice, or asks for a bar that is not offered.
    pub fn new(market: Market, plan: &SessionPlan) -> Result<Self, PlanError> {
        let polled = |channel, every| plan.channels.contains(&channel).then_some(every);
        let depth = plan::depth(plan.book_depth_limit);
        Ok(Self {
            market,
            symbols: SymbolTable::new(&plan.instruments)?,
            discover: plan.discover,
            streams: plan::streams(market, &plan.instruments, &plan.channels, depth)?,
            depth,
            wanted: state::Wanted::of(&plan.channels, plan.discover),
            instruments_every: polled(Channel::Instrument, plan.instruments_every),
            subscriptions: Subscriptions::default(),
            polls: Polls::default(),
            subscribed: BTreeSet::new(),
            merged: Vec::new(),
            tops: Vec::new(),
            definitions: Definitions::default(),
            scratch: Vec::new(),
            reading: Reading::new(Sentinel::new(sentinel::shapes())),
        })
    }

    /// The same session without the fast scanner: every frame goes through the typed decoder. For comparisons.
    #[must_use]
    pub const fn typed_only(mut self) -> Self {
        self.reading.fast = false;
        self
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
            for arg in rest::listings(self.market) {
                let id = FetchId { kind: FetchKind::Instruments, instrument: NO_INSTRUMENT, arg: *arg };
                if let Some(request) = self.make_request(id) {
                    out.actions.push(Action::Fetch(id, request));
                }
            }
        }
    }
}

impl Reads for Bybit {
    fn reading(&mut self) -> &mut Reading {
        &mut self.reading
    }

    #[inline]
    fn scan(&mut self, _: Ts, frame: &[u8], out: &mut Out) -> Option<&'static str> {
        self.scan_hot(frame, out)
    }

    fn typed(&mut self, _: Ts, frame: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        self.decode(frame, out)
    }

    fn answer(&mut self, _: Ts, id: FetchId, body: &[u8], out: &mut Out) -> Result<(), ProtocolError> {
        self.reply(id, body, out)
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

impl Session for Bybit {
    fn on_open(&mut self, now: Ts, out: &mut Out) {
        self.subscribed.clear();
        // A delta of this connection changes what this connection told.
        self.merged.clear();
        self.tops.clear();
        self.subscriptions.open(now, &self.streams, &self.market.limits().subscribe);
        self.polls.open(now, self.symbols.known(), None, self.instruments_every);
        self.due(now, out);
    }

    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.read_frame(now, frame.bytes(), out)
    }

    #[inline]
    fn peek(&self, frame: Frame<'_>) -> Option<Peek> {
        peek::peek(self.market, frame.bytes())
    }

    fn on_fetched(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
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
        [self.subscriptions.next(), self.polls.next()].into_iter().flatten().min()
    }

    fn definitions_soon(&mut self, now: Ts) {
        self.polls.instruments_soon(now);
    }

    fn forget(&mut self, instrument: InstrumentIx) -> usize {
        let symbol = self.symbols.forget(instrument);
        symbol.map_or(0, |symbol| crate::subscriptions::forget(&mut self.streams, &symbol))
    }

    fn book_rule(&self, _: InstrumentIx) -> BookRule {
        sequence::RULE
    }

    fn resubscribe_book(&mut self, now: Ts, instrument: InstrumentIx, out: &mut Out) -> Option<Ts> {
        let stream = format!("orderbook.{}.{}", self.depth, self.symbols.symbol(instrument)?);
        if !self.streams.contains(&stream) {
            return None;
        }
        let goes_out = self.subscriptions.again(now, &stream);
        self.due(now, out);
        Some(goes_out)
    }

    fn trade_history(&self) -> TradeHistory {
        self.past_trades()
    }

    fn pause_max(&self, kind: Kind) -> Duration {
        if matches!(kind, Kind::Mark | Kind::Index | Kind::Funding) { Duration::MAX } else { Duration::ZERO }
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
