//! The words every other crate speaks: time, exact decimals, instruments, topics, events, marks and the
//! tape's record encoding.
//!
//! Pure: no async runtime, socket, file, clock or environment. Everything here is plain data; what arrives
//! from outside (text, bytes) is checked once, here, and is typed afterwards.
//!
//! Start with [`event`] (what can happen), then [`record`] (how it is kept).

pub mod book_rule;
pub mod decimal;
pub mod event;
pub mod instrument;
pub mod mark;
pub mod record;
pub mod time;
pub mod topic;
pub mod trade_id;

pub use book_rule::{BookRule, Chain};
pub use decimal::{Decimal, DecimalError};
pub use event::{
    Arena, Bar, Body, Book, BookAction, Event, Funding, Level, Levels, Liquidation, Pending, Price, Publication, Quote,
    Raw, Scales, Side, Size, Span, Status, Ticker, Trade, TradeCondition, TradingStatus, View,
};
pub use instrument::{
    InstrumentDef, InstrumentId, InstrumentIx, InstrumentKind, NO_INSTRUMENT, NameError, percent_decode,
};
pub use mark::{
    Alert, Check, Coverage, Finding, Gap, GapCause, GapState, HealSource, Link, LinkCause, LinkState, Proof, Severity,
    StreamState, TAPES_OWN_GAPS, Validity, ValidityState,
};
pub use record::{Record, RecordError, Row, RowFlags};
pub use time::Ts;
pub use topic::{Class, Kind, Period, Topic};
pub use trade_id::TradeId;
