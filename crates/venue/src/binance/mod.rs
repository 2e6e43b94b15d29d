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
use crate::registry::{Endpoints, Venue};
use crate::sentinel::{OddFrame, SAMPLE, Sentinel};
use crate::session::{
    Action, FetchId, FetchKind, Frame, Mark, Note, OddShape, Out, Peek, Reply, Request, Session, SessionStats, Want,
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
    /// Off only in tests and benches that compare the two decoders.
    fast: bool,
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
    sentinel: Sentinel,
    /// Frames of the fast scanner until the next one that is looked at.
    unseen: u64,
    stats: SessionStats,
}

/// Of a longer answer the beginning is kept: it is evidence, not data.
const ANSWER_KEPT_MAX: usize = 64 << 10;

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
            fast: true,
            open_interest_every: polled(Channel::OpenInterest, plan.open_interest_every),
            instruments_every: polled(Channel::Instrument, plan.instruments_every),
            subscriptions: Subscriptions::default(),
            polls: Polls::default(),
            now: Ts::ZERO,
            seen: Vec::new(),
            scratch: Vec::new(),
            sentinel: Sentinel::new(sentinel::shapes(variant)),
            unseen: 0,
            stats: SessionStats::default(),
        })
    }

    /// The same session without the fast scanner: every frame goes through the typed decoder. For comparisons.
    #[must_use]
    pub const fn typed_only(mut self) -> Self {
        self.fast = false;
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

    /// Tells when a frame is not as documented. `unknown`: the decoder said so itself, in an action from this place on.
    fn look(&mut self, bytes: &[u8], unknown: Option<usize>, out: &mut Out) {
        let mut odd = sentinel::look(&mut self.sentinel, bytes);
        if let (None, Some(from)) = (&odd, unknown) {
            let named = out.actions.iter().skip(from).find_map(|a| match a {
                Action::Note(Note::Unknown { channel }) => Some(channel.as_str()),
                _ => None,
            });
            odd = Some(self.sentinel.unknown(named.unwrap_or("")));
        }
        self.tell(odd, bytes, unknown.is_none(), out);
    }

    fn tell(&mut self, odd: Option<OddFrame>, bytes: &[u8], keep: bool, out: &mut Out) {
        let Some(odd) = odd else { return };
        self.stats.odd_shapes = self.sentinel.counts;
        odd.tell(bytes, keep, out);
    }

    fn fetch(&self, id: FetchId, out: &mut Out) {
        if let Some(request) = self.make_request(id) {
            out.actions.push(Action::Fetch(id, request));
        }
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
        self.stats.frames += 1;
        let mark = Mark::of(out);
        let bytes = frame.bytes();
        if self.fast {
            if let Some(channel) = self.scan(bytes, out) {
                self.stats.count(channel);
                self.stats.events += (out.events.len() - mark.events) as u64;
                self.unseen += 1;
                if self.unseen >= SAMPLE {
                    self.unseen = 0;
                    self.look(bytes, None, out);
                }
                return Ok(());
            }
            mark.restore(out);
        }
        let unknown = self.stats.unknown_frames;
        match self.typed(bytes, out) {
            Ok(()) => {
                self.stats.events += (out.events.len() - mark.events) as u64;
                if self.fast {
                    let unknown = (self.stats.unknown_frames > unknown).then_some(mark.actions);
                    self.look(bytes, unknown, out);
                }
                Ok(())
            }
            Err(e) => {
                self.stats.errors += 1;
                mark.restore(out);
                Err(e)
            }
        }
    }

    #[inline]
    fn peek(&self, frame: Frame<'_>) -> Option<Peek> {
        peek::peek(frame.bytes())
    }

    fn on_fetched(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        self.now = now;
        let Reply::Answer { status, body } = reply else { return Ok(()) };
        let mark = Mark::of(out);
        let done = if status == 200 {
            self.reply(id, body, out)
        } else {
            Err(ProtocolError::Status { what: rest::name(id.kind), status })
        };
        match &done {
            Ok(()) => self.stats.events += (out.events.len() - mark.events) as u64,
            Err(_) => {
                self.stats.errors += 1;
                mark.restore(out);
            }
        }
        if status == 200 {
            let odd = sentinel::look_at_answer(&mut self.sentinel, id.kind, body);
            self.tell(odd, &body[..body.len().min(ANSWER_KEPT_MAX)], true, out);
        }
        done
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
        &self.stats
    }

    fn odd_shape(&mut self, frame: Frame<'_>) -> Option<OddShape> {
        let odd = sentinel::look(&mut self.sentinel, frame.bytes())?;
        self.stats.odd_shapes = self.sentinel.counts;
        odd.news.map(|what| OddShape { channel: odd.channel, fingerprint: odd.fingerprint, what })
    }
}
