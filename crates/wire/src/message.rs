//! Tape records as protocol messages: `data`, `mark`, `snap`.
//!
//! The range of a message is `(prev, seq]`, where `prev` is what the *reader* has, not what the record says: a checkpoint
//! that was left out, and the hole that a power loss leaves, are covered by the message that follows.
//!
//! A *row* is the same message within a `hist` batch: that names topic and epoch, and the row's `ts` is the corrected time.

use wholetape_model::mark::{Coverage, Finding, Gap, Link, Validity};
use wholetape_model::{
    BookAction, Decimal, HealSource, InstrumentDef, Kind, Record, RecordError, RowFlags, Scales, Topic, TradeCondition,
    Ts, ValidityState, View,
};

use crate::book::{BookView, write_sides};
use crate::conflate::Change;
use crate::form::Places;
use crate::json::Json;

/// What a message needs beside its record.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub topic: &'a Topic,
    pub epoch: &'a str,
    /// The seq up to which the reader was served.
    pub prev: u64,
    /// The book's state after this record; `None` where it is not known or the topic holds no book.
    pub state: Option<ValidityState>,
    /// The checksum of the view after this record, when it is due.
    pub crc: Option<u32>,
}

/// Whether a record became a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Message,
    /// A checkpoint: changes nothing, is not sent, and the next range covers it.
    Nothing,
}

/// Appends the message for `record` to `out`.
///
/// # Errors
/// As [`Record::view`]; `out` is then as it was.
pub fn record(out: &mut Vec<u8>, cx: &Context<'_>, record: &Record<'_>) -> Result<Written, RecordError> {
    write(out, cx, record, Place { named: true, ts: record.ts_recv() })
}

/// Appends the row for `record`, whose corrected time is `ts_init`.
///
/// # Errors
/// As [`Record::view`]; `out` is then as it was.
pub fn row(out: &mut Vec<u8>, cx: &Context<'_>, record: &Record<'_>, ts_init: Ts) -> Result<Written, RecordError> {
    write(out, cx, record, Place { named: false, ts: ts_init })
}

/// Whether messages of `kind` hold prices or sizes, which can come as integers.
#[must_use]
pub const fn is_priced(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Trade
            | Kind::TradeRaw
            | Kind::Quote
            | Kind::Book
            | Kind::Ticker
            | Kind::Bar(_)
            | Kind::Mark
            | Kind::Index
            | Kind::OpenInterest
            | Kind::Liquidation
    )
}

/// The decimal places of a record's prices and sizes; `None` where it holds none, or cannot be read.
#[must_use]
pub fn places(record: &Record<'_>) -> Option<Places> {
    let scales = record.scales();
    let most = |all: &[Decimal]| all.iter().map(|d| d.scale).max().unwrap_or(0);
    let (price, size) = match record.view().ok()? {
        View::Trade(_) | View::Quote(_) | View::Book(_) => (scales.price, scales.size),
        View::Ticker(t) => (most(&[t.last, t.open, t.high, t.low]), t.volume.scale),
        View::Bar(b) => (most(&[b.open, b.high, b.low, b.close]), most(&[b.volume, b.taker_volume])),
        View::MarkPrice(d) | View::IndexPrice(d) => (d.scale, 0),
        View::OpenInterest(d) => (0, d.scale),
        View::Liquidation(l) => (most(&[l.price, l.average_price]), most(&[l.size, l.order_size])),
        _ => return None,
    };
    Some(Places { price, size })
}

/// What a message says of its place beside its range.
#[derive(Clone, Copy)]
struct Place {
    /// Topic and epoch are stated.
    named: bool,
    ts: Ts,
}

fn write(out: &mut Vec<u8>, cx: &Context<'_>, record: &Record<'_>, place: Place) -> Result<Written, RecordError> {
    let view = record.view()?;
    let seq = record.seq();
    let mut j = Json(out);
    let about_itself = matches!(cx.topic.kind(), Kind::Gap | Kind::Coverage);
    if view.is_mark() && !about_itself {
        j.raw("{\"op\":\"mark\"");
        position(&mut j, cx, seq, place);
        match &view {
            View::Gap(g) => {
                j.raw(",\"mark\":\"gap\"");
                gap(&mut j, g);
            }
            View::Validity(v) => {
                j.raw(",\"mark\":\"validity\"");
                validity(&mut j, v);
            }
            View::Retract(of) => _ = j.raw(",\"mark\":\"retract\",\"of\":").u64(*of),
            _ => {}
        }
        j.raw("}");
        return Ok(Written::Message);
    }
    match &view {
        View::Book(b) if b.action == BookAction::Checkpoint => return Ok(Written::Nothing),
        View::Book(b) if b.action == BookAction::Snapshot => {
            snap_name(&mut j, cx, place);
            j.raw(",\"prev\":").u64(cx.prev);
            j.raw(",\"seq\":").u64(seq).raw(",\"ts\":").i64(place.ts.micros());
        }
        _ => {
            j.raw("{\"op\":\"data\"");
            position(&mut j, cx, seq, place);
        }
    }
    if let View::Publication(p) = &view
        && !p.cid.is_empty()
    {
        j.raw(",\"cid\":").text(p.cid);
    }
    flags(&mut j, record.flags());
    if let View::Book(b) = &view {
        envelope_of_book(&mut j, cx.state, b.last_id);
    }
    j.raw(",\"data\":{");
    body(&mut j, &view, record.scales(), cx.crc);
    times(&mut j, record.ts_event(), record.ts_recv());
    j.raw("}}");
    Ok(Written::Message)
}

/// Appends a `snap` of a book: the full view at `seq`.
pub fn book_snap(out: &mut Vec<u8>, cx: &Context<'_>, seq: u64, ts: Ts, update_id: u64, book: &BookView) {
    write_book(out, cx, seq, Place { named: true, ts }, update_id, (book, usize::MAX));
}

/// Appends a row that holds a book's full view at `seq`.
pub fn book_row(out: &mut Vec<u8>, cx: &Context<'_>, seq: u64, ts_init: Ts, update_id: u64, book: &BookView) {
    write_book(out, cx, seq, Place { named: false, ts: ts_init }, update_id, (book, usize::MAX));
}

/// Appends a `snap` of a view: the `depth` best levels a side.
pub fn book_cut_snap(out: &mut Vec<u8>, cx: &Context<'_>, m: &Merged, book: &BookView, depth: Option<u16>) {
    let depth = depth.map_or(usize::MAX, usize::from);
    write_book(out, cx, m.seq, Place { named: true, ts: m.ts }, m.update_id, (book, depth));
}

/// What a message that replaces a sequence of them says of it.
#[derive(Debug, Clone, Copy)]
pub struct Merged {
    /// It covers `(cx.prev, seq]`.
    pub seq: u64,
    /// Messages that it replaces; told when it is not one.
    pub n: u64,
    /// Receive time and, of a book, venue's id of the last one.
    pub ts: Ts,
    pub update_id: u64,
}

/// Appends the `data` of a book's view: what changed in it.
pub fn book_change(out: &mut Vec<u8>, cx: &Context<'_>, m: &Merged, change: &Change) {
    let mut j = Json(out);
    merged_head(&mut j, cx, m);
    envelope_of_book(&mut j, cx.state, m.update_id);
    j.raw(",\"data\":{");
    write_sides(&mut j, change.bids.iter().copied(), change.asks.iter().copied());
    if let Some(crc) = cx.crc {
        j.raw(",\"crc\":").u64(u64::from(crc));
    }
    j.raw("}}");
}

/// Appends the `data` of a topic whose newest record stands for those before it (quote, ticker).
///
/// # Errors
/// As [`Record::view`]; `out` is then as it was.
pub fn latest(out: &mut Vec<u8>, cx: &Context<'_>, m: &Merged, record: &Record<'_>) -> Result<(), RecordError> {
    let view = record.view()?;
    let mut j = Json(out);
    merged_head(&mut j, cx, m);
    flags(&mut j, record.flags());
    j.raw(",\"data\":{");
    body(&mut j, &view, record.scales(), None);
    times(&mut j, record.ts_event(), record.ts_recv());
    j.raw("}}");
    Ok(())
}

fn merged_head(j: &mut Json<'_>, cx: &Context<'_>, m: &Merged) {
    j.raw("{\"op\":\"data\"");
    position(j, cx, m.seq, Place { named: true, ts: m.ts });
    if m.n != 1 {
        j.raw(",\"n\":").u64(m.n);
    }
}

fn write_book(
    out: &mut Vec<u8>,
    cx: &Context<'_>,
    seq: u64,
    place: Place,
    update_id: u64,
    (book, depth): (&BookView, usize),
) {
    let mut j = Json(out);
    snap_head(&mut j, cx, seq, place);
    envelope_of_book(&mut j, cx.state, update_id);
    j.raw(",\"data\":{");
    book.write(&mut j, depth);
    j.raw(",\"crc\":").u64(u64::from(book.crc())).raw("}}");
}

/// Appends a `snap` of a topic whose newest record is its whole state (quote, ticker).
///
/// # Errors
/// As [`Record::view`]; `out` is then as it was.
pub fn state_snap(out: &mut Vec<u8>, cx: &Context<'_>, seq: u64, record: &Record<'_>) -> Result<(), RecordError> {
    let view = record.view()?;
    let mut j = Json(out);
    snap_head(&mut j, cx, seq, Place { named: true, ts: record.ts_recv() });
    flags(&mut j, record.flags());
    j.raw(",\"data\":{");
    body(&mut j, &view, record.scales(), None);
    times(&mut j, record.ts_event(), record.ts_recv());
    j.raw("}}");
    Ok(())
}

fn snap_head(j: &mut Json<'_>, cx: &Context<'_>, seq: u64, place: Place) {
    snap_name(j, cx, place);
    j.raw(",\"seq\":").u64(seq).raw(",\"ts\":").i64(place.ts.micros());
}

fn snap_name(j: &mut Json<'_>, cx: &Context<'_>, place: Place) {
    j.raw("{\"op\":\"snap\"");
    if place.named {
        j.raw(",\"topic\":").text(cx.topic.as_str()).raw(",\"epoch\":").text(cx.epoch);
    }
}

/// Topic names are `[a-zA-Z0-9._%-]` wherever we made them; one that is not is escaped like any text.
fn position(j: &mut Json<'_>, cx: &Context<'_>, seq: u64, place: Place) {
    if place.named {
        j.raw(",\"topic\":").text(cx.topic.as_str());
    }
    if cx.prev + 1 != seq {
        j.raw(",\"prev\":").u64(cx.prev);
    }
    j.raw(",\"seq\":").u64(seq).raw(",\"ts\":").i64(place.ts.micros());
}

fn envelope_of_book(j: &mut Json<'_>, state: Option<ValidityState>, update_id: u64) {
    if let Some(state) = state {
        j.raw(",\"state\":\"").raw(state.as_str()).raw("\"");
    }
    j.raw(",\"vid\":").id(update_id);
}

fn flags(j: &mut Json<'_>, flags: RowFlags) {
    for (flag, name) in
        [(RowFlags::LATE_REST, "rest"), (RowFlags::LATE_ARCHIVE, "archive"), (RowFlags::LATE_REDUNDANT, "redundant")]
    {
        if flags.has(flag) {
            j.raw(",\"late\":\"").raw(name).raw("\"");
            break;
        }
    }
    if flags.is_flagged() {
        j.raw(",\"flags\":").u64(u64::from(flags.0));
    }
}

fn times(j: &mut Json<'_>, ts_event: Ts, ts_recv: Ts) {
    j.raw(",\"ts_event\":").ns(ts_event).raw(",\"ts_recv\":").ns(ts_recv);
}

/// The fields of `data`, without its times.
fn body(j: &mut Json<'_>, view: &View<'_>, scales: Scales, crc: Option<u32>) {
    match view {
        View::Trade(t) => {
            j.raw("\"id\":").trade_id(t.id);
            if !t.id.is_uuid() && (t.id != t.first_id || t.id != t.last_id) {
                j.raw(",\"first_id\":").id(t.first_id).raw(",\"last_id\":").id(t.last_id);
            }
            j.raw(",\"price\":").decimal(scales.price(t.price)).raw(",\"size\":").decimal(scales.size(t.size));
            side(j, t.aggressor);
            if t.condition != TradeCondition::Regular {
                j.raw(",\"condition\":\"").raw(condition(t.condition)).raw("\"");
            }
        }
        View::Quote(q) => {
            j.raw("\"bid\":").decimal(scales.price(q.bid)).raw(",\"bid_size\":").decimal(scales.size(q.bid_size));
            j.raw(",\"ask\":").decimal(scales.price(q.ask)).raw(",\"ask_size\":").decimal(scales.size(q.ask_size));
            j.raw(",\"update_id\":").id(q.update_id);
        }
        View::Ticker(t) => {
            decimals(
                j,
                &[
                    ("last", t.last),
                    ("open", t.open),
                    ("high", t.high),
                    ("low", t.low),
                    ("volume", t.volume),
                    ("quote_volume", t.quote_volume),
                    ("change", t.change),
                ],
            );
            j.raw(",\"trades\":").id(t.trades);
            j.raw(",\"open_ts\":").ns(t.open_ts).raw(",\"close_ts\":").ns(t.close_ts);
        }
        View::Book(b) => {
            let level = |l: wholetape_model::Level| (scales.price(l.price), scales.size(l.size));
            write_sides(j, b.bids.iter().map(level), b.asks.iter().map(level));
            if let Some(crc) = crc {
                j.raw(",\"crc\":").u64(u64::from(crc));
            }
        }
        View::Bar(b) => {
            decimals(
                j,
                &[
                    ("open", b.open),
                    ("high", b.high),
                    ("low", b.low),
                    ("close", b.close),
                    ("volume", b.volume),
                    ("quote_volume", b.quote_volume),
                    ("taker_volume", b.taker_volume),
                    ("taker_quote_volume", b.taker_quote_volume),
                ],
            );
            j.raw(",\"trades\":").id(b.trades);
            j.raw(",\"first_id\":").id(b.first_id).raw(",\"last_id\":").id(b.last_id);
            j.raw(",\"open_ts\":").ns(b.open_ts).raw(",\"close_ts\":").ns(b.close_ts);
            j.raw(",\"closed\":").bool(b.closed);
        }
        View::Funding(f) => _ = j.raw("\"rate\":").decimal(f.rate).raw(",\"next_ts\":").ns(f.next_ts),
        View::MarkPrice(d) | View::IndexPrice(d) => _ = j.raw("\"price\":").decimal(*d),
        View::OpenInterest(d) => _ = j.raw("\"size\":").decimal(*d),
        View::Liquidation(l) => {
            decimals(
                j,
                &[
                    ("price", l.price),
                    ("average_price", l.average_price),
                    ("size", l.size),
                    ("order_size", l.order_size),
                ],
            );
            side(j, l.side);
        }
        View::Instrument(i) => instrument(j, i),
        View::Status(s) => _ = j.raw("\"status\":\"").raw(s.status.as_str()).raw("\",\"text\":").text(s.text),
        View::Link(l) => link(j, l),
        View::Gap(g) => {
            j.raw("\"mark\":\"gap\"");
            gap(j, g);
        }
        View::Validity(v) => {
            j.raw("\"mark\":\"validity\"");
            validity(j, v);
        }
        View::Retract(of) => _ = j.raw("\"mark\":\"retract\",\"of\":").u64(*of),
        View::Finding(f) => finding(j, f),
        View::Alert(a) => {
            j.raw("\"severity\":\"").raw(a.severity.as_str()).raw("\",\"code\":").text(a.code);
            j.raw(",\"text\":").text(a.text);
        }
        // `op` takes an object and nothing else, without the keys that are added here.
        View::Publication(p) => {
            j.raw("\"event\":").text(p.event);
            let fields = p.data.trim().strip_prefix('{').and_then(|d| d.strip_suffix('}')).unwrap_or_default().trim();
            if !fields.is_empty() {
                j.raw(",").raw(fields);
            }
        }
        View::Raw(r) => _ = j.raw("\"channel\":").text(r.channel).raw(",\"text\":").text(r.text),
        View::Coverage(c) => coverage(j, c),
    }
}

fn decimals(j: &mut Json<'_>, fields: &[(&str, Decimal)]) {
    for (i, (name, value)) in fields.iter().enumerate() {
        j.raw(if i == 0 { "\"" } else { ",\"" }).raw(name).raw("\":").decimal(*value);
    }
}

fn side(j: &mut Json<'_>, side: Option<wholetape_model::Side>) {
    if let Some(side) = side {
        j.raw(",\"side\":\"").raw(side.as_str()).raw("\"");
    }
}

const fn condition(c: TradeCondition) -> &'static str {
    match c {
        TradeCondition::Regular => "regular",
        TradeCondition::InsuranceFund => "insurance_fund",
        TradeCondition::Adl => "adl",
        TradeCondition::Liquidation => "liquidation",
        TradeCondition::Block => "block",
        TradeCondition::Rpi => "rpi",
        TradeCondition::Unknown => "unknown",
    }
}

fn gap(j: &mut Json<'_>, g: &Gap<&str>) {
    j.raw(",\"gap\":").id(g.gap);
    j.raw(",\"state\":\"").raw(g.state.as_str()).raw("\",\"cause\":\"").raw(g.cause.as_str()).raw("\"");
    if g.source != HealSource::None {
        j.raw(",\"source\":\"").raw(g.source.as_str()).raw("\"");
    }
    j.raw(",\"from_id\":").id(g.from_id).raw(",\"to_id\":").id(g.to_id);
    j.raw(",\"from_ts\":").ns(g.from_ts).raw(",\"to_ts\":").ns(g.to_ts);
    j.raw(",\"missing\":").id(g.missing).raw(",\"why\":").text(g.why);
}

fn validity(j: &mut Json<'_>, v: &Validity<&str>) {
    j.raw(",\"state\":\"").raw(v.state.as_str()).raw("\",\"cause\":\"").raw(v.cause.as_str());
    j.raw("\",\"vid\":").id(v.update_id).raw(",\"why\":").text(v.why);
}

fn link(j: &mut Json<'_>, l: &Link<&str>) {
    j.raw("\"state\":\"").raw(l.state.as_str()).raw("\",\"cause\":\"").raw(l.cause.as_str());
    j.raw("\",\"attempt\":").u64(u64::from(l.attempt)).raw(",\"delay_ms\":").u64(l.delay_ns / 1_000_000);
    j.raw(",\"endpoint\":").text(l.endpoint).raw(",\"correlation\":").text(l.correlation);
    j.raw(",\"why\":").text(l.why);
}

fn finding(j: &mut Json<'_>, f: &Finding<&str>) {
    j.raw("\"check\":\"").raw(f.check.as_str()).raw("\",\"observed\":").decimal(f.observed);
    j.raw(",\"bound\":").decimal(f.bound).raw(",\"count\":").id(f.count).raw(",\"why\":").text(f.why);
}

fn coverage(j: &mut Json<'_>, c: &Coverage<&str>) {
    j.raw("\"kind\":").text(c.of).raw(",\"proof\":\"").raw(c.proof.as_str()).raw("\",\"of_seq\":").u64(c.seq);
    j.raw(",\"from_id\":").id(c.from_id).raw(",\"to_id\":").id(c.to_id).raw(",\"held\":").id(c.held);
    j.raw(",\"missing\":").id(c.missing).raw(",\"never_published\":").id(c.never_published);
    j.raw(",\"from_ts\":").ns(c.from_ts).raw(",\"to_ts\":").ns(c.to_ts);
    j.raw(",\"hole_ms\":").u64(c.hole_ns / 1_000_000).raw(",\"open\":").u64(c.open);
    j.raw(",\"healed\":").u64(c.healed).raw(",\"lost\":").u64(c.lost);
    j.raw(",\"hours_from\":").ns(c.hours_from).raw(",\"hours\":").text(c.hours);
}

fn instrument(j: &mut Json<'_>, i: &InstrumentDef<&str>) {
    j.raw("\"kind\":\"").raw(i.kind.as_str()).raw("\",\"status\":\"").raw(i.status.as_str()).raw("\",");
    decimals(
        j,
        &[
            ("tick", i.tick),
            ("step", i.step),
            ("size_min", i.size_min),
            ("size_max", i.size_max),
            ("notional_min", i.notional_min),
            ("multiplier", i.multiplier),
        ],
    );
    j.raw(",\"onboard\":").ns(i.onboard).raw(",\"expiry\":").ns(i.expiry);
    for (name, text) in [
        (",\"symbol\":", i.symbol),
        (",\"base\":", i.base),
        (",\"quote\":", i.quote),
        (",\"settle\":", i.settle),
        (",\"status_text\":", i.status_text),
    ] {
        j.raw(name).text(text);
    }
}
