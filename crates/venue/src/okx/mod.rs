//! OKX v5: spot, swaps and futures, on `/public` and `/business`.
//!
//! [`Okx`] is the session. A frame goes to the fast scanner first ([`scan`]), which reads trades, books and best prices in one pass and
//! declines whatever it does not expect; the typed decoder ([`decode`], [`state`], [`define`]) reads everything. `docs/venues/okx.md` tells
//! the venue's rules and their sources.
//!
//! What is special here: a book begins with the stream's own snapshot, and nothing but a new subscription brings another; `trades` are
//! groups that cover a range of ids, `trades-all` and REST have each match; subscriptions are scarce (480 operations an hour).
//!
//! Invariants: a frame that fails emits nothing; every frame is counted, also those dropped on purpose; a frame that is
//! not understood is kept raw.

mod answers;
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
use crate::registry::{Endpoints, Venue};
use crate::rows::Definitions;
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::{
    Action, FetchId, FetchKind, Frame, OddShape, Out, Peek, Reply, Request, Session, SessionStats, Want,
};
use crate::subscriptions::{Operation, Subscriptions};
use crate::symbols::SymbolTable;
use symbol::Product;

/// The one market: every product has the same addresses, and names are unique over all.
pub static VENUES: [&dyn Venue; 1] = [&Market];

/// OKX as configurations name it.
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
        Ok(Box::new(Okx::new(plan)?))
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

    /// Spot, swaps and futures, as [`Product::ALL`] counts them.
    fn listings(&self) -> &'static [u64] {
        &[0, 1, 2]
    }

    fn listed(&self, body: &[u8]) -> Result<Vec<String>, ProtocolError> {
        rest::listed(body)
    }

    /// `okex.com` until 2022.
    fn owns_address(&self, host: &str, _path: &str) -> bool {
        ["okx.com", "okex.com"]
            .iter()
            .any(|house| host.strip_suffix(house).is_some_and(|sub| sub.is_empty() || sub.ends_with('.')))
    }
}

/// One argument of a request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Argument<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    inst_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inst_type: Option<&'a str>,
}

#[derive(Serialize)]
struct Ask<'a> {
    id: String,
    op: &'static str,
    args: Vec<Argument<'a>>,
}

/// A request to begin or end subscriptions.
fn write(id: u64, op: Operation, streams: &[String]) -> String {
    let args = streams.iter().map(|stream| {
        let (channel, subject) = stream.split_once(':').unwrap_or((stream, ""));
        let typed = matches!(channel, "liquidation-orders" | "instruments");
        let subject = Some(subject).filter(|s| !s.is_empty());
        Argument { channel, inst_id: subject.filter(|_| !typed), inst_type: subject.filter(|_| typed) }
    });
    let op = match op {
        Operation::Subscribe => "subscribe",
        Operation::Unsubscribe => "unsubscribe",
    };
    // Strings alone: there is nothing in it that JSON could not say.
    sonic_rs::to_string(&Ask { id: id.to_string(), op, args: args.collect() }).unwrap_or_default()
}

/// Whether the scanner is meant to read the channel.
fn is_hot(channel: &str) -> bool {
    matches!(channel, "trades" | "trades-all" | "bbo-tbt" | "books" | "books-l2-tbt" | "books50-l2-tbt")
}

/// One connection's conversation with OKX.
#[derive(Debug)]
pub struct Okx {
    symbols: SymbolTable,
    discover: bool,
    streams: Vec<String>,
    /// Which instruments stand on an index, where its price is wanted.
    indexes: Vec<(String, InstrumentIx)>,
    /// The products of the instruments, whose definitions are asked for one by one.
    products: Vec<Product>,
    instruments_every: Option<Duration>,
    subscriptions: Subscriptions,
    polls: Polls,
    /// Streams whose first answer on this connection was told; those asked for anew are answered again.
    subscribed: BTreeSet<String>,
    /// Books have ids: all of a connection or none.
    numbered: bool,
    /// Definitions already told, by instrument.
    definitions: Definitions,
    told: state::Told,
    /// Levels of the frame at hand.
    scratch: Vec<(Decimal, Decimal)>,
    reading: Reading,
}

impl Okx {
    /// # Errors
    /// A plan that names twice, or asks for a bar that is not offered.
    pub fn new(plan: &SessionPlan) -> Result<Self, PlanError> {
        let polled = |channel, every| plan.channels.contains(&channel).then_some(every);
        let derived = plan.instruments.iter().filter(|(_, symbol)| Product::of(symbol).is_derivative());
        let mut products: Vec<Product> = plan.instruments.iter().map(|(_, symbol)| Product::of(symbol)).collect();
        products.sort_unstable();
        products.dedup();
        Ok(Self {
            symbols: SymbolTable::new(&plan.instruments)?,
            discover: plan.discover,
            streams: plan::streams(plan.route, &plan.instruments, &plan.channels)?,
            indexes: derived.map(|(ix, symbol)| (symbol::index_of(symbol).to_owned(), *ix)).collect(),
            products,
            instruments_every: polled(Channel::Instrument, plan.instruments_every),
            subscriptions: Subscriptions::default(),
            polls: Polls::default(),
            subscribed: BTreeSet::new(),
            numbered: true,
            definitions: Definitions::default(),
            told: state::Told::default(),
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
            for product in &self.products {
                let arg = Product::ALL.iter().position(|p| p == product).unwrap_or(0) as u64;
                let id = FetchId { kind: FetchKind::Instruments, instrument: NO_INSTRUMENT, arg };
                if let Some(request) = self.make_request(id) {
                    out.actions.push(Action::Fetch(id, request));
                }
            }
        }
    }
}

impl Reads for Okx {
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

impl Session for Okx {
    fn on_open(&mut self, now: Ts, out: &mut Out) {
        self.told.opened(now);
        self.subscribed.clear();
        self.subscriptions.open(now, &self.streams, &limits::LIMITS.subscribe);
        self.polls.open(now, self.symbols.known(), None, self.instruments_every);
        self.due(now, out);
    }

    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.read_frame(now, frame.bytes(), out)
    }

    #[inline]
    fn peek(&self, frame: Frame<'_>) -> Option<Peek> {
        peek::peek(frame.bytes())
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

    fn pause_max(&self, kind: Kind) -> Duration {
        limits::pause_max(kind)
    }

    fn definitions_soon(&mut self, now: Ts) {
        self.polls.instruments_soon(now);
    }

    fn forget(&mut self, instrument: InstrumentIx) -> usize {
        let symbol = self.symbols.forget(instrument);
        symbol.map_or(0, |symbol| crate::subscriptions::forget(&mut self.streams, &symbol))
    }

    fn book_rule(&self, _: InstrumentIx) -> BookRule {
        sequence::rule(self.numbered)
    }

    fn resubscribe_book(&mut self, now: Ts, instrument: InstrumentIx, out: &mut Out) -> Option<Ts> {
        let stream = format!("books:{}", self.symbols.symbol(instrument)?);
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
