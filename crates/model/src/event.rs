//! Market events, in the form in which they travel from a session through the line to the tape.
//!
//! An event is a small `Copy` value. Its variable parts (levels, texts) live in an [`Arena`] that is cleared and
//! refilled per frame, so that after warm-up an event costs no allocation. [`Arena::view`] turns a pending event into a
//! borrowing one; the same borrowing form is what a tape record decodes to ([`crate::record::Record::view`]).

use crate::decimal::Decimal;
use crate::instrument::{InstrumentDef, InstrumentIx};
use crate::mark::{Alert, Coverage, Finding, Gap, Link, Validity};
use crate::record::RowFlags;
use crate::time::Ts;
use crate::trade_id::TradeId;

/// A price: `raw × 10^-price_scale` quote units; the scale is in the event's [`Scales`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Price(pub i64);

/// A size: `raw × 10^-size_scale` as the venue printed it; its unit (base, quote, contracts) is the instrument's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Size(pub i64);

/// The decimal scales of every [`Price`] and [`Size`] of one event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Scales {
    pub price: u8,
    pub size: u8,
}

impl Scales {
    #[must_use]
    pub const fn price(self, p: Price) -> Decimal {
        Decimal { raw: p.0, scale: self.price }
    }

    #[must_use]
    pub const fn size(self, s: Size) -> Decimal {
        Decimal { raw: s.0, scale: self.size }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Side {
    Buy = 1,
    Sell = 2,
}

impl Side {
    #[must_use]
    pub const fn from_u8(v: u8) -> Option<Self> {
        match v {
            1 => Some(Self::Buy),
            2 => Some(Self::Sell),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// One price level; `size` is absolute, 0 removes the level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(C)]
pub struct Level {
    pub price: Price,
    pub size: Size,
}

/// How a print came to be. What is not `Regular` is kept, but is no part of volume or VWAP unless asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum TradeCondition {
    #[default]
    Regular = 0,
    InsuranceFund = 1,
    Adl = 2,
    Liquidation = 3,
    Block = 4,
    Rpi = 5,
    /// The venue named a condition that we do not know; the frame is kept raw and counted.
    Unknown = 255,
}

impl TradeCondition {
    #[must_use]
    pub const fn from_u8(v: u8) -> Self {
        match v {
            0 => Self::Regular,
            1 => Self::InsuranceFund,
            2 => Self::Adl,
            3 => Self::Liquidation,
            4 => Self::Block,
            5 => Self::Rpi,
            _ => Self::Unknown,
        }
    }
}

/// One public trade, as the venue printed it.
///
/// `ts_event <= ts_recv` is *not* promised: venue clocks run ahead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Trade {
    /// The venue's id in this topic's id space.
    pub id: TradeId,
    /// Raw ids covered by an aggregated trade; both equal `id` where the unit is the single match, and are 0 where it is a UUID.
    pub first_id: u64,
    pub last_id: u64,
    pub price: Price,
    pub size: Size,
    /// The side that took liquidity; `None` where the venue does not say.
    pub aggressor: Option<Side>,
    pub condition: TradeCondition,
}

impl Trade {
    /// The id, where it counts trades one by one, so that ids show what is missing. `flags` are those of the trade's row.
    #[inline]
    #[must_use]
    pub const fn counted(&self, flags: RowFlags) -> Option<u64> {
        if flags.has(RowFlags::LOOSE_ID) { None } else { self.id.number() }
    }
}

/// Best bid and offer. A side that is empty has size 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quote {
    pub bid: Price,
    pub bid_size: Size,
    pub ask: Price,
    pub ask_size: Size,
    /// The venue's book update id; 0 where it prints none.
    pub update_id: u64,
}

/// The venue's rolling statistics (usually 24 h).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticker {
    pub last: Decimal,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub volume: Decimal,
    pub quote_volume: Decimal,
    /// Absolute change over the window, quote units.
    pub change: Decimal,
    pub trades: u64,
    pub open_ts: Ts,
    pub close_ts: Ts,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum BookAction {
    /// The full state (as deep as the venue gives it): replaces the book.
    Snapshot = 1,
    /// Absolute sizes of changed levels.
    Delta = 2,
    /// Our own full state, repeated for readers that start here: no change of state.
    Checkpoint = 3,
}

impl BookAction {
    #[must_use]
    pub const fn from_u8(v: u8) -> Option<Self> {
        match v {
            1 => Some(Self::Snapshot),
            2 => Some(Self::Delta),
            3 => Some(Self::Checkpoint),
            _ => None,
        }
    }
}

/// A book snapshot or delta. Snapshot levels are best first; delta levels are in the venue's order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Book<L> {
    pub action: BookAction,
    /// Venue ids of the first and last update contained. A snapshot has `first_id == last_id`.
    pub first_id: u64,
    pub last_id: u64,
    /// The id of the update before, where the venue links them (`pu`, `prevSeqId`); 0 otherwise.
    pub prev_id: u64,
    pub bids: L,
    pub asks: L,
}

/// One candle, open or closed. The period is the topic's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bar {
    pub open_ts: Ts,
    pub close_ts: Ts,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    pub volume: Decimal,
    pub quote_volume: Decimal,
    pub taker_volume: Decimal,
    pub taker_quote_volume: Decimal,
    pub trades: u64,
    /// Raw trade ids of the bar; 0 where the venue prints none.
    pub first_id: u64,
    pub last_id: u64,
    pub closed: bool,
    pub period: crate::topic::Period,
}

/// `rate` is per funding interval as the venue prints it (0.0001 = 1 bp).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Funding {
    pub rate: Decimal,
    pub next_ts: Ts,
}

/// A forced order. `side` is the side of the ORDER (sell closes a long).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Liquidation {
    pub side: Option<Side>,
    pub price: Decimal,
    /// Average fill price; 0 where not printed.
    pub average_price: Decimal,
    /// Filled size so far.
    pub size: Decimal,
    /// Size of the order.
    pub order_size: Decimal,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum TradingStatus {
    Trading = 1,
    Halted = 2,
    PreTrading = 3,
    Settling = 4,
    Closed = 5,
    CancelOnly = 6,
    #[default]
    Unknown = 255,
}

impl TradingStatus {
    #[must_use]
    pub const fn from_u8(v: u8) -> Self {
        match v {
            1 => Self::Trading,
            2 => Self::Halted,
            3 => Self::PreTrading,
            4 => Self::Settling,
            5 => Self::Closed,
            6 => Self::CancelOnly,
            _ => Self::Unknown,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trading => "trading",
            Self::Halted => "halted",
            Self::PreTrading => "pre_trading",
            Self::Settling => "settling",
            Self::Closed => "closed",
            Self::CancelOnly => "cancel_only",
            Self::Unknown => "unknown",
        }
    }
}

/// `text` is the venue's own word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Status<T> {
    pub status: TradingStatus,
    pub text: T,
}

/// A raw frame, kept beside what was made of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Raw<T> {
    /// The channel as far as it was recognised; empty otherwise.
    pub channel: T,
    pub text: T,
}

/// What a client published: opaque to us but for its form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Publication<T> {
    /// Who published it; empty where no credentials are asked for.
    pub principal: T,
    /// The principal's own name for it, by which it is known again when it is sent once more.
    pub mid: T,
    pub event: T,
    /// Correlation id, carried as it came; empty = none.
    pub cid: T,
    /// A JSON object, as the client wrote it.
    pub data: T,
}

impl<T: Copy> Publication<T> {
    /// The same with its texts stored another way.
    pub fn map<U>(&self, mut text: impl FnMut(T) -> U) -> Publication<U> {
        Publication {
            principal: text(self.principal),
            mid: text(self.mid),
            event: text(self.event),
            cid: text(self.cid),
            data: text(self.data),
        }
    }
}

/// Everything a topic can hold. `L` stores levels, `T` stores text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Body<L, T> {
    Trade(Trade),
    Quote(Quote),
    Ticker(Ticker),
    Book(Book<L>),
    Bar(Bar),
    Funding(Funding),
    MarkPrice(Decimal),
    IndexPrice(Decimal),
    OpenInterest(Decimal),
    Liquidation(Liquidation),
    Instrument(InstrumentDef<T>),
    Status(Status<T>),
    Link(Link<T>),
    Gap(Gap<T>),
    Validity(Validity<T>),
    /// The record with this seq of the same topic is withdrawn.
    Retract(u64),
    Finding(Finding<T>),
    Raw(Raw<T>),
    Coverage(Coverage<T>),
    Alert(Alert<T>),
    Publication(Publication<T>),
}

/// A stretch of the arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

/// A body whose levels and texts are in an [`Arena`].
pub type Pending = Body<Span, Span>;
/// A body that borrows its levels and texts.
pub type View<'a> = Body<Levels<'a>, &'a str>;

/// One event of one instrument, as a session emits it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// [`crate::instrument::NO_INSTRUMENT`] for what speaks of the connection as a whole.
    pub instrument: InstrumentIx,
    /// Which of the instrument's topics it belongs to (an aggregated and a raw trade have the same body).
    pub kind: crate::topic::Kind,
    /// The venue's time; `Ts::ZERO` where it prints none (the line then uses the receive time).
    pub ts_event: Ts,
    pub scales: Scales,
    pub body: Pending,
}

/// Where the variable parts of pending events live until they are written. Cleared per frame; never shrinks.
#[derive(Debug, Default)]
pub struct Arena {
    pub levels: Vec<Level>,
    pub text: String,
}

impl Arena {
    pub fn clear(&mut self) {
        self.levels.clear();
        self.text.clear();
    }

    /// Stores a text and returns where.
    pub fn text(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, len: text.len() as u32 }
    }

    /// Copies levels in and returns where.
    pub fn levels(&mut self, levels: &[Level]) -> Span {
        let start = self.levels.len() as u32;
        self.levels.extend_from_slice(levels);
        Span { start, len: levels.len() as u32 }
    }

    /// The text at `span`.
    ///
    /// # Panics
    /// When the span is not of this arena: a bug in us.
    #[must_use]
    pub fn str(&self, span: Span) -> &str {
        &self.text[span.start as usize..(span.start + span.len) as usize]
    }

    /// The levels at `span`.
    ///
    /// # Panics
    /// When the span is not of this arena: a bug in us.
    #[must_use]
    pub fn level_slice(&self, span: Span) -> &[Level] {
        &self.levels[span.start as usize..(span.start + span.len) as usize]
    }

    /// Borrows what `body` points to.
    #[must_use]
    pub fn view(&self, body: &Pending) -> View<'_> {
        body.map(|span| Levels::Native(self.level_slice(span)), |span| self.str(span))
    }
}

impl<L: Copy, T: Copy> Body<L, T> {
    /// The same body with its levels and texts stored another way.
    pub fn map<M, U>(&self, mut level: impl FnMut(L) -> M, mut text: impl FnMut(T) -> U) -> Body<M, U> {
        match *self {
            Self::Trade(b) => Body::Trade(b),
            Self::Quote(b) => Body::Quote(b),
            Self::Ticker(b) => Body::Ticker(b),
            Self::Book(b) => Body::Book(Book {
                action: b.action,
                first_id: b.first_id,
                last_id: b.last_id,
                prev_id: b.prev_id,
                bids: level(b.bids),
                asks: level(b.asks),
            }),
            Self::Bar(b) => Body::Bar(b),
            Self::Funding(b) => Body::Funding(b),
            Self::MarkPrice(b) => Body::MarkPrice(b),
            Self::IndexPrice(b) => Body::IndexPrice(b),
            Self::OpenInterest(b) => Body::OpenInterest(b),
            Self::Liquidation(b) => Body::Liquidation(b),
            Self::Instrument(b) => Body::Instrument(InstrumentDef {
                kind: b.kind,
                status: b.status,
                tick: b.tick,
                step: b.step,
                size_min: b.size_min,
                size_max: b.size_max,
                notional_min: b.notional_min,
                multiplier: b.multiplier,
                onboard: b.onboard,
                expiry: b.expiry,
                symbol: text(b.symbol),
                base: text(b.base),
                quote: text(b.quote),
                settle: text(b.settle),
                status_text: text(b.status_text),
            }),
            Self::Status(b) => Body::Status(Status { status: b.status, text: text(b.text) }),
            Self::Link(b) => Body::Link(b.map(text)),
            Self::Gap(b) => Body::Gap(b.map(text)),
            Self::Validity(b) => Body::Validity(b.map(text)),
            Self::Retract(b) => Body::Retract(b),
            Self::Finding(b) => Body::Finding(b.map(text)),
            Self::Raw(b) => Body::Raw(Raw { channel: text(b.channel), text: text(b.text) }),
            Self::Coverage(b) => Body::Coverage(b.map(text)),
            Self::Alert(b) => Body::Alert(b.map(text)),
            Self::Publication(b) => Body::Publication(b.map(text)),
        }
    }

    /// Gap, validity and retract are marks: they speak of the topic instead of carrying its data.
    #[must_use]
    pub const fn is_mark(&self) -> bool {
        matches!(self, Self::Gap(_) | Self::Validity(_) | Self::Retract(_))
    }
}

/// Levels, either ours in memory or packed in a record (16 bytes each: price, size, little-endian).
#[derive(Clone, Copy, Debug)]
pub enum Levels<'a> {
    Native(&'a [Level]),
    Packed(&'a [u8]),
}

impl<'a> Levels<'a> {
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Native(l) => l.len(),
            Self::Packed(b) => b.len() / 16,
        }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn get(&self, i: usize) -> Option<Level> {
        match self {
            Self::Native(l) => l.get(i).copied(),
            Self::Packed(b) => b.get(i * 16..i * 16 + 16).map(unpack),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Level> + use<'a> {
        let this = *self;
        (0..this.len()).map_while(move |i| this.get(i))
    }
}

fn unpack(b: &[u8]) -> Level {
    let word = |at: usize| {
        let mut w = [0_u8; 8];
        w.copy_from_slice(&b[at..at + 8]);
        i64::from_le_bytes(w)
    };
    Level { price: Price(word(0)), size: Size(word(8)) }
}

impl PartialEq for Levels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Levels<'_> {}
