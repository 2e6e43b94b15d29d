//! Binance: spot, USD-M, COIN-M and Binance.US, one implementation configured by [`limits::Variant`].
//!
//! [`Binance`] is the session. A frame goes to the fast scanner first ([`scan`]), which reads the four hot channels in
//! one pass and declines whatever it does not expect; the typed decoder ([`decode`]) reads everything. Both end in
//! [`emit`], so an event does not tell who read it. `docs/venues/binance.md` tells the venue's rules and their sources.
//!
//! Invariants: a frame that fails emits nothing; every frame is counted, also those dropped on purpose; a frame that is
//! not understood is kept raw.

pub mod archive;
mod decode;
mod emit;
pub mod frame;
pub mod limits;
mod peek;
pub mod plan;
mod rest;
mod scan;
mod sentinel;
pub mod sequence;
pub mod symbol;

use std::time::Duration;

use wholetape_model::{BookRule, Decimal, InstrumentId, InstrumentIx, InstrumentKind, NO_INSTRUMENT, Ts};

use crate::error::ProtocolError;
use crate::history::TradeHistory;
use crate::limits::VenueLimits;
use crate::plan::{Channel, ConnectionPlan, PlanError, SessionPlan, SplitLimits};
use crate::polls::Polls;
use crate::reading::{Reading, Reads};
use crate::registry::{Endpoints, Venue};
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::{
    Action, FetchId, FetchKind, Frame, OddShape, Out, Peek, Reply, Request, Session, SessionStats, Want,
};
use crate::subscriptions::{Operation, Subscriptions};
use crate::symbols::SymbolTable;
use frame::Subscribe;
use limits::Variant;

/// The four of them.
pub static VENUES: [&dyn Venue; 4] = [&Variant::Spot, &Variant::UsdM, &Variant::CoinM, &Variant::Us];

impl Venue for Variant {
    fn name(&self) -> &'static str {
        self.facts().name
    }

    fn id_venue(&self) -> &'static str {
        self.facts().id_venue
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { ws: self.facts().ws_bases, rest: self.facts().rest_bases }
    }

    fn limits(&self) -> &'static VenueLimits {
        &self.facts().limits
    }

    fn open(&self, plan: &SessionPlan) -> Result<Box<dyn Session>, PlanError> {
        Ok(Box::new(Binance::new(*self, plan)?))
    }

    fn connections(
        &self,
        instruments: &[(InstrumentIx, String)],
        channels: &[Channel],
        limits: &SplitLimits,
    ) -> Result<Vec<ConnectionPlan>, PlanError> {
        plan::connections(*self, instruments, channels, limits)
    }

    fn instrument_id(&self, symbol: &str, kind: Option<InstrumentKind>) -> InstrumentId {
        symbol::instrument_id(*self, symbol, kind)
    }

    fn symbol_of(&self, id: &InstrumentId) -> Option<String> {
        symbol::symbol_of(*self, id)
    }

    fn listed(&self, body: &[u8]) -> Result<Vec<String>, ProtocolError> {
        rest::listed(body)
    }

    fn owns_address(&self, host: &str, _path: &str) -> bool {
        let us = host.ends_with("binance.us");
        let futures = |stream, api| host.starts_with(stream) || host.starts_with(api);
        match self {
            Self::Us => us,
            Self::UsdM => !us && futures("fstream", "fapi"),
            Self::CoinM => !us && futures("dstream", "dapi"),
            Self::Spot => {
                let house = host.ends_with("binance.com") || host.ends_with("binance.vision");
                house && !futures("fstream", "fapi") && !futures("dstream", "dapi")
            }
        }
    }
}

/// A request to begin or end subscriptions.
fn write(id: u64, op: Operation, streams: &[String]) -> String {
    let method = match op {
        Operation::Subscribe => "SUBSCRIBE",
        Operation::Unsubscribe => "UNSUBSCRIBE",
    };
    // Strings and a number: there is nothing in it that JSON could not say.
    sonic_rs::to_string(&Subscribe { method, params: streams, id }).unwrap_or_default()
}

/// One connection's conversation with one of the Binance variants.
#[derive(Debug)]
pub struct Binance {
    variant: Variant,
    symbols: SymbolTable,
    discover: bool,
    channels: Vec<Channel>,
    streams: Vec<String>,
    depth_limit: u16,
    open_interest_every: Option<Duration>,
    instruments_every: Option<Duration>,
    subscriptions: Subscriptions,
    polls: Polls,
    /// The latest time that we were told.
    now: Ts,
    /// Definitions already told, by instrument.
    seen: Vec<Option<rest::Told>>,
    /// Levels of the frame at hand.
    scratch: Vec<(Decimal, Decimal)>,
    reading: Reading,
}

impl Binance {
    /// # Errors
    /// A plan that names twice, or asks for what the variant does not offer.
    pub fn new(variant: Variant, plan: &SessionPlan) -> Result<Self, PlanError> {
        let polled = |channel, every| plan.channels.contains(&channel).then_some(every);
        Ok(Self {
            variant,
            symbols: symbol::table(&plan.instruments)?,
            discover: plan.discover,
            streams: plan::streams(variant, plan.route, &plan.instruments, &plan.channels)?,
            channels: plan.channels.clone(),
            depth_limit: plan.book_depth_limit.unwrap_or(variant.facts().depth_default),
            open_interest_every: polled(Channel::OpenInterest, plan.open_interest_every),
            instruments_every: polled(Channel::Instrument, plan.instruments_every),
            subscriptions: Subscriptions::default(),
            polls: Polls::default(),
            now: Ts::ZERO,
            seen: Vec::new(),
            scratch: Vec::new(),
            reading: Reading::new(Sentinel::new(sentinel::shapes(variant))),
        })
    }

    /// The same session without the fast scanner: every frame goes through the typed decoder. For comparisons.
    #[must_use]
    pub const fn typed_only(mut self) -> Self {
        self.reading.fast = false;
        self
    }

    /// What is due at `now`.
    fn due(&mut self, now: Ts, out: &mut Out) {
        if let Some(text) = self.subscriptions.poll(now, write) {
            out.actions.push(Action::Send(text));
        }
        if self.polls.instruments(now) {
            let id = FetchId { kind: FetchKind::Instruments, instrument: NO_INSTRUMENT, arg: 0 };
            self.fetch(id, out);
        }
        if let Some(at) = self.polls.open_interest(now, self.symbols.known()) {
            let found = self.symbols.iter().nth(at).map(|(ix, _)| ix);
            if let Some(instrument) = found {
                self.fetch(FetchId { kind: FetchKind::OpenInterest, instrument, arg: 0 }, out);
            }
        }
    }

    fn fetch(&self, id: FetchId, out: &mut Out) {
        if let Some(request) = self.make_request(id) {
            out.actions.push(Action::Fetch(id, request));
        }
    }
}

impl Reads for Binance {
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

impl Session for Binance {
    fn on_open(&mut self, now: Ts, out: &mut Out) {
        self.now = now;
        self.subscriptions.open(now, &self.streams, &self.variant.facts().limits.subscribe);
        self.polls.open(now, self.symbols.known(), self.open_interest_every, self.instruments_every);
        self.due(now, out);
    }

    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.now = now;
        self.read_frame(now, frame.bytes(), out)
    }

    #[inline]
    fn peek(&self, frame: Frame<'_>) -> Option<Peek> {
        peek::peek(frame.bytes())
    }

    fn on_fetched(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.now = now;
        self.read_answer(now, id, reply, out)
    }

    fn fetch_of(&mut self, url: &str) -> Option<FetchId> {
        self.recorded(url)
    }

    fn request(&self, want: Want) -> Option<Request> {
        self.make_request(want)
    }

    fn on_timer(&mut self, now: Ts, out: &mut Out) {
        self.now = now;
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
        sequence::rule(self.variant)
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
