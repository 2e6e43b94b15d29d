//! Our own tables: what NautilusTrader has no type for. Each is described once, written and read through the description.

use std::borrow::Cow;

use wholetape_model::{
    Alert, Bar, Body, Check, Coverage, Finding, Gap, GapCause, GapState, HealSource, InstrumentDef, InstrumentKind,
    Link, LinkCause, LinkState, Liquidation, Period, Proof, Publication, Raw, Severity, Side, Ticker, TradingStatus,
    Validity, ValidityState, View,
};

use crate::read::Cells;
use crate::spec::{Cell, Col, Item, TS_EVENT, TS_INIT, Type};
use crate::table::Table;

macro_rules! col {
    ($name:literal, $ty:expr, $unit:literal, $doc:literal, $pat:pat => $value:expr) => {
        Col { name: $name, ty: $ty, null: false, unit: $unit, doc: $doc, get: |i: &Item<'_>| match i.view {
            $pat => $value,
            _ => Cell::Null,
        } }
    };
    (null $name:literal, $ty:expr, $unit:literal, $doc:literal, $pat:pat => $value:expr) => {
        Col { null: true, ..col!($name, $ty, $unit, $doc, $pat => $value) }
    };
}

fn text(t: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(t))
}

const TICKER: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("last", Type::Dec, "quote", "last price", Body::Ticker(t) => Cell::dec(t.last)),
    col!("open", Type::Dec, "quote", "price at the window's begin", Body::Ticker(t) => Cell::dec(t.open)),
    col!("high", Type::Dec, "quote", "highest price of the window", Body::Ticker(t) => Cell::dec(t.high)),
    col!("low", Type::Dec, "quote", "lowest price of the window", Body::Ticker(t) => Cell::dec(t.low)),
    col!("volume", Type::Dec, "size", "traded size of the window", Body::Ticker(t) => Cell::dec(t.volume)),
    col!("quote_volume", Type::Dec, "quote", "traded value of the window", Body::Ticker(t) => Cell::dec(t.quote_volume)),
    col!("change", Type::Dec, "quote", "last less open, as the venue prints it", Body::Ticker(t) => Cell::dec(t.change)),
    col!("trades", Type::U64, "", "number of trades in the window", Body::Ticker(t) => Cell::Int(t.trades)),
    col!("open_ts", Type::Time, "ns", "the window's begin", Body::Ticker(t) => Cell::Time(t.open_ts.0)),
    col!("close_ts", Type::Time, "ns", "the window's end", Body::Ticker(t) => Cell::Time(t.close_ts.0)),
];

const OPEN_INTEREST: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("open_interest", Type::Dec, "size", "open interest as the venue prints it", Body::OpenInterest(d) => Cell::dec(d)),
];

const SIDES: &[(&str, u8)] = &[("none", 0), ("buy", 1), ("sell", 2)];

fn side(side: Option<Side>) -> Cell<'static> {
    Cell::Word(side.map_or(0, |s| s as u8))
}

const LIQUIDATION: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("side", Type::Word(SIDES), "", "side of the order: a sell closes a long", Body::Liquidation(l) => side(l.side)),
    col!("price", Type::Dec, "quote", "price of the order", Body::Liquidation(l) => Cell::dec(l.price)),
    col!(null "average_price", Type::Dec, "quote", "average fill price; null where not printed", Body::Liquidation(l) => Cell::dec_or_null(l.average_price)),
    col!("size", Type::Dec, "size", "filled so far", Body::Liquidation(l) => Cell::dec(l.size)),
    col!("order_size", Type::Dec, "size", "size of the order", Body::Liquidation(l) => Cell::dec(l.order_size)),
];

const BAR: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("open_ts", Type::Time, "ns", "first instant of the bar", Body::Bar(b) => Cell::Time(b.open_ts.0)),
    col!("close_ts", Type::Time, "ns", "last instant of the bar", Body::Bar(b) => Cell::Time(b.close_ts.0)),
    col!("open", Type::Dec, "quote", "", Body::Bar(b) => Cell::dec(b.open)),
    col!("high", Type::Dec, "quote", "", Body::Bar(b) => Cell::dec(b.high)),
    col!("low", Type::Dec, "quote", "", Body::Bar(b) => Cell::dec(b.low)),
    col!("close", Type::Dec, "quote", "", Body::Bar(b) => Cell::dec(b.close)),
    col!("volume", Type::Dec, "size", "", Body::Bar(b) => Cell::dec(b.volume)),
    col!("quote_volume", Type::Dec, "quote", "", Body::Bar(b) => Cell::dec(b.quote_volume)),
    col!("taker_volume", Type::Dec, "size", "bought by takers", Body::Bar(b) => Cell::dec(b.taker_volume)),
    col!("taker_quote_volume", Type::Dec, "quote", "bought by takers", Body::Bar(b) => Cell::dec(b.taker_quote_volume)),
    col!("trades", Type::U64, "", "number of trades", Body::Bar(b) => Cell::Int(b.trades)),
    col!(null "first_id", Type::U64, "", "first raw trade id; null where none is printed", Body::Bar(b) => Cell::int_or_null(b.first_id)),
    col!(null "last_id", Type::U64, "", "last raw trade id; null where none is printed", Body::Bar(b) => Cell::int_or_null(b.last_id)),
    col!("closed", Type::Bool, "", "the bar is over", Body::Bar(b) => Cell::Bool(b.closed)),
    col!("period", Type::Text, "", "length, e.g. 1m", Body::Bar(b) => Cell::Text(Cow::Owned(b.period.to_string()))),
];

const DEFINITION: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("kind", Type::U8, "", "1 spot, 2 perpetual, 3 future, 4 inverse perpetual, 5 inverse future, 255 other", Body::Instrument(d) => Cell::Int(d.kind as u64)),
    col!("status", Type::U8, "", "trading status, as in `instrument_status`", Body::Instrument(d) => Cell::Int(d.status as u64)),
    col!("tick", Type::Dec, "quote", "price increment", Body::Instrument(d) => Cell::dec(d.tick)),
    col!("step", Type::Dec, "size", "size increment", Body::Instrument(d) => Cell::dec(d.step)),
    col!("size_min", Type::Dec, "size", "", Body::Instrument(d) => Cell::dec(d.size_min)),
    col!("size_max", Type::Dec, "size", "", Body::Instrument(d) => Cell::dec(d.size_max)),
    col!("notional_min", Type::Dec, "quote", "", Body::Instrument(d) => Cell::dec(d.notional_min)),
    col!("multiplier", Type::Dec, "", "contract size; 1 for spot", Body::Instrument(d) => Cell::dec(d.multiplier)),
    col!(null "onboard", Type::Time, "ns", "listed since; null = not told", Body::Instrument(d) => Cell::time_or_null(d.onboard)),
    col!(null "expiry", Type::Time, "ns", "delivery; null = never", Body::Instrument(d) => Cell::time_or_null(d.expiry)),
    col!("symbol", Type::Text, "", "the venue's spelling", Body::Instrument(d) => text(d.symbol)),
    col!("base", Type::Text, "", "", Body::Instrument(d) => text(d.base)),
    col!("quote", Type::Text, "", "", Body::Instrument(d) => text(d.quote)),
    col!("settle", Type::Text, "", "", Body::Instrument(d) => text(d.settle)),
    col!("status_text", Type::Text, "", "the venue's own word", Body::Instrument(d) => text(d.status_text)),
];

const GAP: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("gap", Type::U64, "", "number of the gap; its marks share it", Body::Gap(g) => Cell::Int(g.gap)),
    col!("state", Type::Text, "", "open, healed, never_published or lost", Body::Gap(g) => text(g.state.as_str())),
    col!("cause", Type::Text, "", "what tore it", Body::Gap(g) => text(g.cause.as_str())),
    col!("source", Type::Text, "", "who healed it", Body::Gap(g) => text(g.source.as_str())),
    col!(null "from_id", Type::U64, "", "first id missing; null = told by time", Body::Gap(g) => Cell::int_or_null(g.from_id)),
    col!(null "to_id", Type::U64, "", "last id missing; null = told by time", Body::Gap(g) => Cell::int_or_null(g.to_id)),
    col!("from_ts", Type::Time, "ns", "since when", Body::Gap(g) => Cell::Time(g.from_ts.0)),
    col!("to_ts", Type::Time, "ns", "until when", Body::Gap(g) => Cell::Time(g.to_ts.0)),
    col!("missing", Type::U64, "", "ids still missing", Body::Gap(g) => Cell::Int(g.missing)),
    col!("why", Type::Text, "", "in words", Body::Gap(g) => text(g.why)),
    Col {
        name: "span",
        ty: Type::U32,
        null: false,
        unit: "",
        doc: "seqs that the mark covers, itself included",
        get: |i| Cell::Int(u64::from(i.record.span())),
    },
];

const VALIDITY: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("state", Type::Text, "", "live, syncing or stale, from here on", Body::Validity(v) => text(v.state.as_str())),
    col!("cause", Type::Text, "", "", Body::Validity(v) => text(v.cause.as_str())),
    col!("update_id", Type::U64, "", "the venue's last update id applied", Body::Validity(v) => Cell::Int(v.update_id)),
    col!("why", Type::Text, "", "in words", Body::Validity(v) => text(v.why)),
];

const RETRACT: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("retracted", Type::U64, "", "seq of the row that is withdrawn", Body::Retract(seq) => Cell::Int(seq)),
];

const FINDING: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("check", Type::Text, "", "which check failed", Body::Finding(f) => text(f.check.as_str())),
    col!("observed", Type::Dec, "", "what was seen", Body::Finding(f) => Cell::dec(f.observed)),
    col!("bound", Type::Dec, "", "what was allowed", Body::Finding(f) => Cell::dec(f.bound)),
    col!("count", Type::U64, "", "how often since the last row", Body::Finding(f) => Cell::Int(f.count)),
    col!("why", Type::Text, "", "in words", Body::Finding(f) => text(f.why)),
];

const LINK: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("state", Type::Text, "", "the connection's new state", Body::Link(l) => text(l.state.as_str())),
    col!("cause", Type::Text, "", "", Body::Link(l) => text(l.cause.as_str())),
    col!("attempt", Type::U32, "", "", Body::Link(l) => Cell::Int(u64::from(l.attempt))),
    col!("delay_ns", Type::U64, "ns", "wait before the next attempt", Body::Link(l) => Cell::Int(l.delay_ns)),
    col!("endpoint", Type::Text, "", "", Body::Link(l) => text(l.endpoint)),
    col!("correlation", Type::Text, "", "", Body::Link(l) => text(l.correlation)),
    col!("why", Type::Text, "", "in words", Body::Link(l) => text(l.why)),
];

const COVERAGE: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("of", Type::Text, "", "topic", Body::Coverage(c) => text(c.of)),
    col!("proof", Type::Text, "", "", Body::Coverage(c) => text(c.proof.as_str())),
    col!("up_to", Type::U64, "", "seq of that topic that it speaks of", Body::Coverage(c) => Cell::Int(c.seq)),
    col!("from_id", Type::U64, "", "", Body::Coverage(c) => Cell::Int(c.from_id)),
    col!("to_id", Type::U64, "", "", Body::Coverage(c) => Cell::Int(c.to_id)),
    col!("held", Type::U64, "", "", Body::Coverage(c) => Cell::Int(c.held)),
    col!("missing", Type::U64, "", "", Body::Coverage(c) => Cell::Int(c.missing)),
    col!("never_published", Type::U64, "", "", Body::Coverage(c) => Cell::Int(c.never_published)),
    col!("from_ts", Type::Time, "ns", "", Body::Coverage(c) => Cell::Time(c.from_ts.0)),
    col!("to_ts", Type::Time, "ns", "", Body::Coverage(c) => Cell::Time(c.to_ts.0)),
    col!("hole_ns", Type::U64, "ns", "", Body::Coverage(c) => Cell::Int(c.hole_ns)),
    col!("open", Type::U64, "", "gaps", Body::Coverage(c) => Cell::Int(c.open)),
    col!("healed", Type::U64, "", "gaps", Body::Coverage(c) => Cell::Int(c.healed)),
    col!("lost", Type::U64, "", "gaps", Body::Coverage(c) => Cell::Int(c.lost)),
    col!("hours_from", Type::Time, "ns", "", Body::Coverage(c) => Cell::Time(c.hours_from.0)),
    col!("hours", Type::Text, "", "one letter an hour", Body::Coverage(c) => text(c.hours)),
];

const ALERT: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("severity", Type::Text, "", "info, warning or critical", Body::Alert(a) => text(a.severity.as_str())),
    col!("code", Type::Text, "", "", Body::Alert(a) => text(a.code)),
    col!("text", Type::Text, "", "", Body::Alert(a) => text(a.text)),
];

const PUBLICATION: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("principal", Type::Text, "", "who published it; empty where no credentials were asked for", Body::Publication(p) => text(p.principal)),
    col!("mid", Type::Text, "", "the principal's own name for it", Body::Publication(p) => text(p.mid)),
    col!("event", Type::Text, "", "", Body::Publication(p) => text(p.event)),
    col!("cid", Type::Text, "", "correlation id; empty = none", Body::Publication(p) => text(p.cid)),
    col!("data", Type::Text, "", "a JSON object, as the client wrote it", Body::Publication(p) => text(p.data)),
];

const NOTE: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    col!("channel", Type::Text, "", "", Body::Raw(r) => text(r.channel)),
    col!("text", Type::Text, "", "", Body::Raw(r) => text(r.text)),
];

const RECORD: &[Col] = &[
    TS_EVENT,
    TS_INIT,
    Col {
        name: "record",
        ty: Type::Bytes,
        null: false,
        unit: "bytes",
        doc: "the tape record, byte for byte (docs/tape.md)",
        get: |i| Cell::Bytes(i.record.bytes()),
    },
];

/// The columns of one of our own tables that is written cell by cell, without those that follow in every table.
#[must_use]
pub const fn columns(table: Table) -> Option<&'static [Col]> {
    Some(match table {
        Table::Ticker => TICKER,
        Table::OpenInterest => OPEN_INTEREST,
        Table::Liquidation => LIQUIDATION,
        Table::BarUpdate => BAR,
        Table::Definition => DEFINITION,
        Table::Gap => GAP,
        Table::Validity => VALIDITY,
        Table::Retract => RETRACT,
        Table::Finding => FINDING,
        Table::Link => LINK,
        Table::Coverage => COVERAGE,
        Table::Alert => ALERT,
        Table::Publication => PUBLICATION,
        Table::Note => NOTE,
        Table::Record => RECORD,
        _ => return None,
    })
}

macro_rules! word {
    ($ty:ident, $cells:expr, $name:literal) => {{
        let text = $cells.text($name)?;
        $ty::ALL.iter().copied().find(|w| w.as_str() == text).ok_or_else(|| $cells.odd($name))?
    }};
}

/// What the cells of one row say. `None` for a table that is not read through descriptions.
///
/// # Errors
/// A column that is missing, of another type, or with a word that this build does not know.
pub fn body<'a>(table: Table, c: &Cells<'a>) -> Result<Option<View<'a>>, crate::StoreError> {
    Ok(Some(match table {
        Table::Ticker => Body::Ticker(Ticker {
            last: c.dec("last")?,
            open: c.dec("open")?,
            high: c.dec("high")?,
            low: c.dec("low")?,
            volume: c.dec("volume")?,
            quote_volume: c.dec("quote_volume")?,
            change: c.dec("change")?,
            trades: c.int("trades")?,
            open_ts: c.time("open_ts")?,
            close_ts: c.time("close_ts")?,
        }),
        Table::OpenInterest => Body::OpenInterest(c.dec("open_interest")?),
        Table::Liquidation => Body::Liquidation(Liquidation {
            side: match c.text("side")? {
                "buy" => Some(Side::Buy),
                "sell" => Some(Side::Sell),
                _ => None,
            },
            price: c.dec("price")?,
            average_price: c.dec("average_price")?,
            size: c.dec("size")?,
            order_size: c.dec("order_size")?,
        }),
        Table::BarUpdate => Body::Bar(Bar {
            open_ts: c.time("open_ts")?,
            close_ts: c.time("close_ts")?,
            open: c.dec("open")?,
            high: c.dec("high")?,
            low: c.dec("low")?,
            close: c.dec("close")?,
            volume: c.dec("volume")?,
            quote_volume: c.dec("quote_volume")?,
            taker_volume: c.dec("taker_volume")?,
            taker_quote_volume: c.dec("taker_quote_volume")?,
            trades: c.int("trades")?,
            first_id: c.int("first_id")?,
            last_id: c.int("last_id")?,
            closed: c.bool("closed")?,
            period: Period::parse(c.text("period")?).ok_or_else(|| c.odd("period"))?,
        }),
        Table::Definition => Body::Instrument(InstrumentDef {
            kind: InstrumentKind::from_u8(c.int("kind")? as u8),
            status: TradingStatus::from_u8(c.int("status")? as u8),
            tick: c.dec("tick")?,
            step: c.dec("step")?,
            size_min: c.dec("size_min")?,
            size_max: c.dec("size_max")?,
            notional_min: c.dec("notional_min")?,
            multiplier: c.dec("multiplier")?,
            onboard: c.time("onboard")?,
            expiry: c.time("expiry")?,
            symbol: c.text("symbol")?,
            base: c.text("base")?,
            quote: c.text("quote")?,
            settle: c.text("settle")?,
            status_text: c.text("status_text")?,
        }),
        Table::Gap => Body::Gap(Gap {
            gap: c.int("gap")?,
            state: word!(GapState, c, "state"),
            cause: word!(GapCause, c, "cause"),
            source: word!(HealSource, c, "source"),
            from_id: c.int("from_id")?,
            to_id: c.int("to_id")?,
            from_ts: c.time("from_ts")?,
            to_ts: c.time("to_ts")?,
            missing: c.int("missing")?,
            why: c.text("why")?,
        }),
        Table::Validity => Body::Validity(Validity {
            state: word!(ValidityState, c, "state"),
            cause: word!(GapCause, c, "cause"),
            update_id: c.int("update_id")?,
            why: c.text("why")?,
        }),
        Table::Retract => Body::Retract(c.int("retracted")?),
        Table::Finding => Body::Finding(Finding {
            check: word!(Check, c, "check"),
            observed: c.dec("observed")?,
            bound: c.dec("bound")?,
            count: c.int("count")?,
            why: c.text("why")?,
        }),
        Table::Link => Body::Link(Link {
            state: word!(LinkState, c, "state"),
            cause: word!(LinkCause, c, "cause"),
            attempt: c.int("attempt")? as u32,
            delay_ns: c.int("delay_ns")?,
            endpoint: c.text("endpoint")?,
            correlation: c.text("correlation")?,
            why: c.text("why")?,
        }),
        Table::Coverage => Body::Coverage(Coverage {
            of: c.text("of")?,
            proof: word!(Proof, c, "proof"),
            seq: c.int("up_to")?,
            from_id: c.int("from_id")?,
            to_id: c.int("to_id")?,
            held: c.int("held")?,
            missing: c.int("missing")?,
            never_published: c.int("never_published")?,
            from_ts: c.time("from_ts")?,
            to_ts: c.time("to_ts")?,
            hole_ns: c.int("hole_ns")?,
            open: c.int("open")?,
            healed: c.int("healed")?,
            lost: c.int("lost")?,
            hours_from: c.time("hours_from")?,
            hours: c.text("hours")?,
        }),
        Table::Alert => Body::Alert(Alert {
            severity: word!(Severity, c, "severity"),
            code: c.text("code")?,
            text: c.text("text")?,
        }),
        Table::Publication => Body::Publication(Publication {
            principal: c.text("principal")?,
            mid: c.text("mid")?,
            event: c.text("event")?,
            cid: c.text("cid")?,
            data: c.text("data")?,
        }),
        Table::Note => Body::Raw(Raw { channel: c.text("channel")?, text: c.text("text")? }),
        _ => return Ok(None),
    }))
}
