//! Kraken's spot market, by the second version of its socket protocol; recordings of the first one are read as well.
//!
//! [`Kraken`] is the session. A frame goes to the fast scanner first ([`scan`]), which reads trades, books and best prices in one pass and
//! declines whatever it does not expect; the typed decoder ([`decode`], [`state`], [`define`], [`old`]) reads everything. `docs/venues/kraken.md`
//! tells the venue's rules and their sources.
//!
//! What is special here: nothing numbers a book's updates, a checksum over the wire's digits proves each; books are cut to the depth that
//! was asked for; numbers are JSON numbers; trades have ids, and their past is paged by time alone ([`past`]); no message closes a bar.
//!
//! Invariants: a frame that fails emits nothing; every frame is counted, also those dropped on purpose; a frame that is
//! not understood is kept raw.

mod answers;
mod decode;
mod define;
pub mod frame;
pub mod limits;
mod old;
mod past;
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
use wholetape_model::{BookRule, Decimal, InstrumentId, InstrumentIx, InstrumentKind, Kind, Ts};

use crate::error::ProtocolError;
use crate::history::TradeHistory;
use crate::limits::VenueLimits;
use crate::plan::{Channel, ConnectionPlan, PlanError, SessionPlan, SplitLimits};
use crate::reading::{Reading, Reads};
use crate::registry::{Endpoints, Venue};
use crate::rows::Definitions;
use crate::sentinel::{OddFrame, Sentinel};
use crate::session::{
    Action, FetchId, FetchKind, Frame, OddShape, Out, Peek, Reply, Request, Session, SessionStats, Want,
};
use crate::subscriptions::{Operation, Subscriptions};
use crate::symbols::SymbolTable;
use crate::twins::Twins;

/// The one market.
pub static VENUES: [&dyn Venue; 1] = [&Market];

/// Kraken's spot market as configurations name it.
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
        Ok(Box::new(Kraken::new(plan)?))
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

    /// Futures are another market, with a protocol of its own.
    fn owns_address(&self, host: &str, _path: &str) -> bool {
        let of_the_house = host.strip_suffix("kraken.com").is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
        of_the_house && !host.contains("futures")
    }
}

#[derive(Serialize)]
struct Params<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    symbol: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_trigger: Option<&'a str>,
}

#[derive(Serialize)]
struct Ask<'a> {
    method: &'static str,
    params: Params<'a>,
    req_id: u64,
}

/// A request to begin or end subscriptions, all of one channel.
fn write(id: u64, op: Operation, streams: &[String]) -> String {
    let name = channel_of(streams.first().map_or("", String::as_str));
    let (channel, parameter) = name.split_once('-').unwrap_or((name, ""));
    let number = |of: &str| if channel == of { parameter.parse().ok() } else { None };
    let symbol = streams.iter().filter_map(|s| s.split_once(':')).map(|(_, symbol)| symbol);
    let params = Params {
        channel,
        symbol: symbol.filter(|s| !s.is_empty()).collect(),
        depth: number("book"),
        interval: number("ohlc"),
        event_trigger: (parameter == "bbo").then_some("bbo"),
    };
    let method = match op {
        Operation::Subscribe => "subscribe",
        Operation::Unsubscribe => "unsubscribe",
    };
    // Strings and whole numbers: there is nothing in it that JSON could not say.
    sonic_rs::to_string(&Ask { method, params, req_id: id }).unwrap_or_default()
}

/// Of `book-1000:BTC/USD` what stands before the symbol.
fn channel_of(stream: &str) -> &str {
    stream.split_once(':').map_or(stream, |(name, _)| name)
}

/// Whether the scanner is meant to read the channel.
fn is_hot(channel: &str) -> bool {
    matches!(channel, "trade" | "book" | "ticker")
}

/// Which parts of a ticker are asked for, and whether it comes with each change of best prices.
#[derive(Debug, Clone, Copy)]
struct Wants {
    quotes: bool,
    statistics: bool,
    by_best: bool,
}

/// One connection's conversation with Kraken.
#[derive(Debug)]
pub struct Kraken {
    symbols: SymbolTable,
    discover: bool,
    streams: Vec<String>,
    wants: Wants,
    /// Of the books that are asked for.
    depth: u32,
    /// Of each instrument's book; 0: nobody has said yet.
    depths: Vec<u32>,
    /// The recording is of the first version: its trades have no ids.
    unnumbered: bool,
    subscriptions: Subscriptions,
    /// Streams whose first answer on this connection was told; those asked for anew are answered again.
    subscribed: BTreeSet<String>,
    definitions: Definitions,
    /// What the venue last said of itself.
    system: Option<String>,
    told: state::Told,
    running: state::Running,
    twins: Twins,
    past: past::Past,
    /// When the session was opened first.
    since: Option<Ts>,
    /// Levels of the frame at hand.
    scratch: Vec<(Decimal, Decimal)>,
    reading: Reading,
}

impl Kraken {
    /// # Errors
    /// A plan that names twice, or asks for what is not offered.
    pub fn new(plan: &SessionPlan) -> Result<Self, PlanError> {
        let all = plan.discover || plan.channels.is_empty();
        let has = |channel| plan.channels.contains(&channel);
        let depth = plan::depth(plan.book_depth_limit);
        Ok(Self {
            symbols: SymbolTable::new(&plan.instruments)?,
            discover: plan.discover,
            streams: plan::streams(&plan.instruments, &plan.channels, depth)?,
            wants: Wants {
                quotes: all || has(Channel::Quote),
                statistics: all || has(Channel::Ticker),
                by_best: has(Channel::Quote),
            },
            depth,
            depths: Vec::new(),
            unnumbered: false,
            subscriptions: Subscriptions::default(),
            subscribed: BTreeSet::new(),
            definitions: Definitions::default(),
            system: None,
            told: state::Told::default(),
            running: state::Running::default(),
            twins: Twins::default(),
            past: past::Past::default(),
            since: None,
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

    /// What a recording names before it shows anything of it.
    fn discovered(&mut self, symbol: &str) -> Option<InstrumentIx> {
        if self.discover { self.symbols.find_or_add(symbol) } else { None }
    }

    /// The book of `ix` has so many levels a side.
    fn set_depth(&mut self, ix: InstrumentIx, depth: u32) {
        if self.depths.len() <= ix as usize {
            self.depths.resize(ix as usize + 1, 0);
        }
        self.depths[ix as usize] = depth;
    }

    /// A book begins: of a recording without the subscription's answer its snapshot tells the depth.
    fn begins(&mut self, ix: InstrumentIx, bids: usize, asks: usize) {
        if self.depths.get(ix as usize).is_none_or(|d| *d == 0) {
            let depth = if self.discover { sequence::depth_of_snapshot(bids, asks) } else { self.depth };
            self.set_depth(ix, depth);
        }
    }

    /// What is due at `now`.
    fn due(&mut self, now: Ts, out: &mut Out) {
        if let Some(text) = self.subscriptions.poll(now, write) {
            out.actions.push(Action::Send(text));
        }
    }
}

impl Reads for Kraken {
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

impl Session for Kraken {
    fn on_open(&mut self, now: Ts, out: &mut Out) {
        self.since.get_or_insert(now);
        self.running.doubt();
        self.twins.forget();
        self.subscribed.clear();
        let groups = self.streams.chunk_by(|a, b| channel_of(a) == channel_of(b));
        self.subscriptions.open_groups(now, groups, &limits::LIMITS.subscribe);
        self.due(now, out);
    }

    fn on_frame(&mut self, now: Ts, frame: Frame<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let from = out.events.len();
        self.read_frame(now, frame.bytes(), out)?;
        self.remember(&out.events[from..]);
        Ok(())
    }

    #[inline]
    fn peek(&self, frame: Frame<'_>) -> Option<Peek> {
        let peeked = peek::peek(frame.bytes())?;
        // The stream of best prices is one of statistics where those alone are asked for.
        let kind = if peeked.kind == Kind::Quote && !self.wants.quotes { Kind::Ticker } else { peeked.kind };
        Some(Peek { kind, ..peeked })
    }

    fn on_fetched(&mut self, now: Ts, id: FetchId, reply: Reply<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let from = out.events.len();
        self.read_answer(now, id, reply, out)?;
        if id.kind != FetchKind::TradesFrom {
            self.remember(&out.events[from..]);
        }
        Ok(())
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
        self.subscriptions.next()
    }

    fn book_rule(&self, instrument: InstrumentIx) -> BookRule {
        let known = self.depths.get(instrument as usize).copied().filter(|d| *d > 0);
        sequence::rule(known.unwrap_or(self.depth))
    }

    fn resubscribe_book(&mut self, now: Ts, instrument: InstrumentIx, out: &mut Out) -> Option<Ts> {
        let stream = format!("book-{}:{}", self.depth, self.symbols.symbol(instrument)?);
        if !self.streams.contains(&stream) {
            return None;
        }
        let goes_out = self.subscriptions.again(now, &stream);
        self.due(now, out);
        Some(goes_out)
    }

    fn forget(&mut self, instrument: InstrumentIx) -> usize {
        let symbol = self.symbols.forget(instrument);
        symbol.map_or(0, |symbol| crate::subscriptions::forget(&mut self.streams, &symbol))
    }

    /// Statistics are told when they changed, bars at each trade.
    fn pause_max(&self, kind: Kind) -> Duration {
        if matches!(kind, Kind::Ticker | Kind::Bar(_)) { Duration::MAX } else { Duration::ZERO }
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
