//! NautilusTrader's tables that are written cell by cell: prices, funding, status, and the views of bars and definitions.
//!
//! Column names, order and types are those of the 1.231.0 and 2.0.0rc6 wheels, whose files were read for it (`docs/catalog.md`).

use std::borrow::Cow;

use wholetape_model::{Body, Decimal, Funding, InstrumentDef, InstrumentKind, Status, TradingStatus, View};

use crate::StoreError;
use crate::columns::Dialect;
use crate::read::Cells;
use crate::spec::{Cell, Col, Item, TS_EVENT, TS_INIT, Type};
use crate::table::Table;

const fn col(
    name: &'static str,
    ty: Type,
    unit: &'static str,
    doc: &'static str,
    get: for<'a> fn(&Item<'a>) -> Cell<'a>,
) -> Col {
    Col { name, ty, null: false, unit, doc, get }
}

const fn null(col: Col) -> Col {
    Col { null: true, ..col }
}

fn text(t: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(t))
}

fn owned<'a>(t: String) -> Cell<'a> {
    Cell::Text(Cow::Owned(t))
}

const PRICE: &[Col] = &[
    null(col("value", Type::Dec, "quote", "the price", |i| match i.view {
        Body::MarkPrice(d) | Body::IndexPrice(d) => Cell::dec(d),
        _ => Cell::Null,
    })),
    TS_EVENT,
    TS_INIT,
];

const FUNDING: &[Col] = &[
    col("rate", Type::Quoted, "", "per funding interval, as the venue prints it (0.0001 = 1 bp)", |i| match i.view {
        Body::Funding(f) => owned(f.rate.to_string()),
        _ => Cell::Null,
    }),
    null(col("interval", Type::Minutes, "min", "funding interval, where the venue tells it", |_| Cell::Null)),
    null(col("next_funding_ns", Type::Time, "ns", "when the rate is exchanged next", |i| match i.view {
        Body::Funding(f) => Cell::time_or_null(f.next_ts),
        _ => Cell::Null,
    })),
    TS_EVENT,
    TS_INIT,
];

/// NautilusTrader's words for what we know of trading: one each, so that they read back.
const ACTIONS: &[(&str, u8)] = &[
    ("NOT_AVAILABLE_FOR_TRADING", TradingStatus::Unknown as u8),
    ("TRADING", TradingStatus::Trading as u8),
    ("HALT", TradingStatus::Halted as u8),
    ("PRE_OPEN", TradingStatus::PreTrading as u8),
    ("PRE_CLOSE", TradingStatus::Settling as u8),
    ("CLOSE", TradingStatus::Closed as u8),
    ("PAUSE", TradingStatus::CancelOnly as u8),
];

const ID: Col = col("instrument_id", Type::Text, "", "", |i| text(i.id));
const ACTION: Col =
    col("action", Type::WordText(ACTIONS), "", "PAUSE: orders can only be cancelled", |i| match i.view {
        Body::Status(s) => Cell::Word(ACTIONS.iter().position(|a| a.1 == s.status as u8).unwrap_or(0) as u8),
        _ => Cell::Null,
    });
const REASON: Col = null(col("reason", Type::Text, "", "the venue's own word", |i| match i.view {
    Body::Status(s) => text(s.text),
    _ => Cell::Null,
}));
const TRADING_EVENT: Col = null(col("trading_event", Type::Text, "", "", |_| Cell::Null));
const IS_TRADING: Col = null(col("is_trading", Type::Bool, "", "", |i| match i.view {
    Body::Status(s) => Cell::Bool(s.status == TradingStatus::Trading),
    _ => Cell::Null,
}));
const IS_QUOTING: Col = null(col("is_quoting", Type::Bool, "", "", |_| Cell::Null));
const IS_SHORT: Col = null(col("is_short_sell_restricted", Type::Bool, "", "", |_| Cell::Null));

const STATUS_V2: &[Col] = &[ACTION, TS_EVENT, TS_INIT, REASON, TRADING_EVENT, IS_TRADING, IS_QUOTING, IS_SHORT];
const STATUS_V1: &[Col] = &[ID, ACTION, REASON, TRADING_EVENT, IS_TRADING, IS_QUOTING, IS_SHORT, TS_EVENT, TS_INIT];

macro_rules! bar {
    ($name:literal, $unit:literal, $field:ident) => {
        col($name, Type::Dec, $unit, "", |i| match i.view {
            Body::Bar(b) => Cell::dec(b.$field),
            _ => Cell::Null,
        })
    };
}

const BAR: &[Col] = &[
    bar!("open", "quote", open),
    bar!("high", "quote", high),
    bar!("low", "quote", low),
    bar!("close", "quote", close),
    bar!("volume", "size", volume),
    TS_EVENT,
    TS_INIT,
];

macro_rules! def {
    ($name:literal, $ty:expr, $doc:literal, $f:expr) => {
        col($name, $ty, "", $doc, |i| match &i.view {
            Body::Instrument(d) => {
                let f: fn(&InstrumentDef<&str>) -> Cell<'static> = $f;
                f(d)
            }
            _ => Cell::Null,
        })
    };
}

/// A number without trailing zeros: `0.01000000` is `0.01`.
fn number(d: Decimal) -> Cell<'static> {
    owned(plain(d).to_string())
}

/// The same number with as few decimals as it needs.
#[must_use]
pub fn plain(d: Decimal) -> Decimal {
    let (mut raw, mut scale) = (d.raw, d.scale);
    while scale > 0 && raw % 10 == 0 {
        (raw, scale) = (raw / 10, scale - 1);
    }
    Decimal { raw, scale }
}

/// Where 0 means that the venue tells none.
fn bound(d: Decimal) -> Cell<'static> {
    if d.raw == 0 { Cell::Null } else { number(d) }
}

const RAW_SYMBOL: Col = def!("raw_symbol", Type::Text, "the venue's spelling", |d| owned(d.symbol.to_owned()));
const IDENT: Col = col("id", Type::Text, "", "", |i| text(i.id));
const BASE: Col = def!("base_currency", Type::Text, "", |d| owned(d.base.to_owned()));
const UNDERLYING: Col = def!("underlying", Type::Text, "", |d| owned(d.base.to_owned()));
const QUOTE: Col = def!("quote_currency", Type::Text, "", |d| owned(d.quote.to_owned()));
const SETTLE: Col = def!("settlement_currency", Type::Text, "", |d| owned(d.settle.to_owned()));
const INVERSE: Col = def!("is_inverse", Type::Bool, "", |d| Cell::Bool(matches!(
    d.kind,
    InstrumentKind::InversePerpetual | InstrumentKind::InverseFuture
)));
const ACTIVATION: Col = def!("activation_ns", Type::Time, "listed since", |d| Cell::Time(d.onboard.0));
const EXPIRATION: Col = def!("expiration_ns", Type::Time, "delivery", |d| Cell::Time(d.expiry.0));

/// An increment and its digits: those that the instrument's rows are pinned to, though a coarser tick needs fewer. The wheels refuse an
/// increment with other digits than the definition's, and an engine rows with other digits than that.
macro_rules! increment {
    ($name:literal, $ty:expr, $increment:ident, $digits:tt, $cell:expr) => {
        col($name, $ty, "", "", |i| match &i.view {
            Body::Instrument(d) => {
                let increment = plain(d.$increment);
                let digits = increment.scale.max(i.digits.$digits);
                let cell: fn(Decimal, u8) -> Cell<'static> = $cell;
                cell(increment, digits)
            }
            _ => Cell::Null,
        })
    };
}

/// A number with so many digits after the point.
fn padded(d: Decimal, digits: u8) -> Cell<'static> {
    let missing = usize::from(digits.saturating_sub(d.scale));
    let point = if d.scale == 0 && missing > 0 { "." } else { "" };
    owned(format!("{d}{point}{:0<missing$}", ""))
}

const PRICE_PRECISION: Col = increment!("price_precision", Type::U8, tick, 0, |_, digits| Cell::Int(u64::from(digits)));
const SIZE_PRECISION: Col = increment!("size_precision", Type::U8, step, 1, |_, digits| Cell::Int(u64::from(digits)));
const PRICE_INCREMENT: Col = increment!("price_increment", Type::Text, tick, 0, padded);
const SIZE_INCREMENT: Col = increment!("size_increment", Type::Text, step, 1, padded);
const MULTIPLIER: Col = def!("multiplier", Type::Text, "", |d| number(d.multiplier));
const LOT_SIZE: Col = null(def!("lot_size", Type::Text, "", |d| number(d.step)));
const MAX_QUANTITY: Col = null(def!("max_quantity", Type::Text, "", |d| bound(d.size_max)));
const MIN_QUANTITY: Col = null(def!("min_quantity", Type::Text, "", |d| bound(d.size_min)));
const MAX_NOTIONAL: Col = null(def!("max_notional", Type::Text, "", |_| Cell::Null));
const MIN_NOTIONAL: Col = null(def!("min_notional", Type::Text, "amount and currency", |d| match d.notional_min.raw {
    0 => Cell::Null,
    _ => owned(format!("{} {}", plain(d.notional_min), d.quote)),
}));
const MAX_PRICE: Col = null(def!("max_price", Type::Text, "", |_| Cell::Null));
const MIN_PRICE: Col = null(def!("min_price", Type::Text, "", |_| Cell::Null));
const MARGIN_INIT: Col = def!("margin_init", Type::Text, "not told by the venue's market data", |_| text("0"));
const MARGIN_MAINT: Col = def!("margin_maint", Type::Text, "", |_| text("0"));
const MAKER_FEE: Col = def!("maker_fee", Type::Text, "", |_| text("0"));
const TAKER_FEE: Col = def!("taker_fee", Type::Text, "", |_| text("0"));
const TICK_SCHEME: Col = null(def!("tick_scheme", Type::Text, "", |_| Cell::Null));
const INFO: Col = null(def!("info", Type::Json, "", |_| Cell::Null));

const INCREMENTS: [Col; 4] = [PRICE_PRECISION, SIZE_PRECISION, PRICE_INCREMENT, SIZE_INCREMENT];
const BOUNDS: [Col; 10] = [
    MULTIPLIER,
    LOT_SIZE,
    MAX_QUANTITY,
    MIN_QUANTITY,
    MAX_NOTIONAL,
    MIN_NOTIONAL,
    MAX_PRICE,
    MIN_PRICE,
    MARGIN_INIT,
    MARGIN_MAINT,
];
const END_V2: [Col; 4] = [TICK_SCHEME, INFO, TS_EVENT, TS_INIT];
const END_V1: [Col; 5] = [MAKER_FEE, TAKER_FEE, INFO, TS_EVENT, TS_INIT];

/// The columns of one of NautilusTrader's tables that is written cell by cell, without those of ours that follow.
#[must_use]
pub fn columns(table: Table, dialect: Dialect) -> Option<Cow<'static, [Col]>> {
    let head: &[Col] = match table {
        Table::MarkPrice | Table::IndexPrice => return Some(Cow::Borrowed(PRICE)),
        Table::Funding => return Some(Cow::Borrowed(FUNDING)),
        Table::Bar => return Some(Cow::Borrowed(BAR)),
        Table::Status => return Some(Cow::Borrowed(if dialect == Dialect::V2 { STATUS_V2 } else { STATUS_V1 })),
        Table::CurrencyPair => &[IDENT, RAW_SYMBOL, BASE, QUOTE],
        Table::CryptoPerpetual => &[IDENT, RAW_SYMBOL, BASE, QUOTE, SETTLE, INVERSE],
        Table::CryptoFuture => &[IDENT, RAW_SYMBOL, UNDERLYING, QUOTE, SETTLE, INVERSE, ACTIVATION, EXPIRATION],
        _ => return None,
    };
    let end: &[Col] = if dialect == Dialect::V2 { &END_V2 } else { &END_V1 };
    Some(Cow::Owned([head, &INCREMENTS, &BOUNDS, end].concat()))
}

/// As [`crate::spec_own::body`], for the tables of NautilusTrader's that rows are read back from.
///
/// # Errors
/// A column that is missing, of another type, or with a word that this build does not know.
pub fn body<'a>(table: Table, c: &Cells<'a>) -> Result<Option<View<'a>>, StoreError> {
    Ok(Some(match table {
        Table::MarkPrice => Body::MarkPrice(c.dec("value")?),
        Table::IndexPrice => Body::IndexPrice(c.dec("value")?),
        Table::Funding => Body::Funding(Funding {
            rate: Decimal::parse(c.text("rate")?.as_bytes()).map_err(|_| c.odd("rate"))?,
            next_ts: c.time("next_funding_ns")?,
        }),
        Table::Status => {
            let word = c.text("action")?;
            let code = ACTIONS.iter().find(|a| a.0 == word).ok_or_else(|| c.odd("action"))?.1;
            Body::Status(Status { status: TradingStatus::from_u8(code), text: c.text("reason")? })
        }
        _ => return Ok(None),
    }))
}
