//! Rows as bytes that mean the same whatever file, codec or number of decimals they came from: what certificates hash.
//!
//! Per row: `ts_init`, `ts_event`, `ts_recv`, seq, span, flags, connection, frame, the record's kind, then its fields in the order of
//! `model::event`. Prices and sizes are mantissas at 16 decimals (16 bytes); other integers 8 bytes; texts their length, then UTF-8; all
//! little-endian. A row that has no form in the tables ([`Table::Record`]) is hashed as its record's bytes without the topic's
//! number and checksum.

use wholetape_model::{Body, Decimal, Record, Ts};

use crate::StoreError;
use crate::columns::mantissa;
use crate::spec_market::plain;
use crate::table::Table;

/// Appends the canonical bytes of one row.
///
/// # Errors
/// A record that cannot be read.
pub fn row(table: Table, ts_init: Ts, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), StoreError> {
    for n in [ts_init.0, record.ts_event().0, record.ts_recv().0, record.seq().cast_signed()] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for n in [record.span(), u32::from(record.flags().0), record.conn(), record.frame(), u32::from(record.kind())] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    if table == Table::Record {
        out.extend_from_slice(&record.bytes()[wholetape_model::record::HEADER..]);
        return Ok(());
    }
    let (price, size) = (record.scales().price, record.scales().size);
    let mut w = Out(out);
    match record.view()? {
        Body::Trade(t) => {
            match t.id.number() {
                Some(id) => w.ints(&[id, t.first_id, t.last_id]),
                // Its upper half first; the record's kind tells the two apart.
                None => w.ints(&[(t.id.bits() >> 64) as u64, t.id.bits() as u64]),
            }
            w.raw(t.price.0, price);
            w.raw(t.size.0, size);
            w.ints(&[t.aggressor.map_or(0, |s| s as u64), t.condition as u64]);
        }
        Body::Quote(q) => {
            w.raw(q.bid.0, price);
            w.raw(q.bid_size.0, size);
            w.raw(q.ask.0, price);
            w.raw(q.ask_size.0, size);
            w.ints(&[q.update_id]);
        }
        Body::Book(b) => {
            w.ints(&[b.action as u64, b.first_id, b.last_id, b.prev_id, b.bids.len() as u64, b.asks.len() as u64]);
            for level in b.bids.iter().chain(b.asks.iter()) {
                w.raw(level.price.0, price);
                w.raw(level.size.0, size);
            }
        }
        Body::Ticker(t) => {
            w.decs(&[t.last, t.open, t.high, t.low, t.volume, t.quote_volume, t.change]);
            w.ints(&[t.trades, t.open_ts.0.cast_unsigned(), t.close_ts.0.cast_unsigned()]);
        }
        Body::Bar(b) => {
            w.ints(&[b.open_ts.0.cast_unsigned(), b.close_ts.0.cast_unsigned()]);
            w.decs(&[b.open, b.high, b.low, b.close, b.volume, b.quote_volume, b.taker_volume, b.taker_quote_volume]);
            w.ints(&[b.trades, b.first_id, b.last_id, u64::from(b.closed)]);
            w.text(&b.period.to_string());
        }
        Body::Funding(f) => {
            w.decs(&[f.rate]);
            w.ints(&[f.next_ts.0.cast_unsigned()]);
        }
        Body::MarkPrice(d) | Body::IndexPrice(d) | Body::OpenInterest(d) => w.decs(&[d]),
        Body::Liquidation(l) => {
            w.ints(&[l.side.map_or(0, |s| s as u64)]);
            w.decs(&[l.price, l.average_price, l.size, l.order_size]);
        }
        Body::Instrument(d) => {
            w.ints(&[d.kind as u64, d.status as u64, d.onboard.0.cast_unsigned(), d.expiry.0.cast_unsigned()]);
            w.decs(&[d.tick, d.step, d.size_min, d.size_max, d.notional_min, d.multiplier]);
            for text in [d.symbol, d.base, d.quote, d.settle, d.status_text] {
                w.text(text);
            }
        }
        Body::Status(s) => {
            w.ints(&[s.status as u64]);
            w.text(s.text);
        }
        Body::Link(l) => {
            w.ints(&[l.state as u64, l.cause as u64, u64::from(l.attempt), l.delay_ns]);
            for text in [l.endpoint, l.correlation, l.why] {
                w.text(text);
            }
        }
        Body::Gap(g) => {
            let (from, to) = (g.from_ts.0.cast_unsigned(), g.to_ts.0.cast_unsigned());
            w.ints(&[g.gap, g.state as u64, g.cause as u64, g.source as u64, g.from_id, g.to_id, from, to, g.missing]);
            w.text(g.why);
        }
        Body::Validity(v) => {
            w.ints(&[v.state as u64, v.cause as u64, v.update_id]);
            w.text(v.why);
        }
        Body::Retract(seq) => w.ints(&[seq]),
        Body::Finding(f) => {
            w.ints(&[f.check as u64, f.count]);
            w.decs(&[f.observed, f.bound]);
            w.text(f.why);
        }
        Body::Raw(r) => {
            w.text(r.channel);
            w.text(r.text);
        }
        Body::Coverage(c) => {
            w.text(c.of);
            w.ints(&[c.proof as u64, c.seq, c.from_id, c.to_id, c.held, c.missing, c.never_published]);
            w.ints(&[c.from_ts.0.cast_unsigned(), c.to_ts.0.cast_unsigned(), c.hole_ns, c.open, c.healed, c.lost]);
            w.ints(&[c.hours_from.0.cast_unsigned()]);
            w.text(c.hours);
        }
        Body::Alert(a) => {
            w.ints(&[a.severity as u64]);
            w.text(a.code);
            w.text(a.text);
        }
        Body::Publication(p) => {
            for text in [p.principal, p.mid, p.event, p.cid, p.data] {
                w.text(text);
            }
        }
    }
    Ok(())
}

/// Appends the canonical bytes of a row without its places: `ts_init`, seq and span are left out, and so is the seq that a retract
/// names. What a replay's tape holds of a row equals what the catalog holds of it in these bytes.
///
/// # Errors
/// As [`row`].
pub fn event(kind: wholetape_model::Kind, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), StoreError> {
    let table = record.view().map_or(Table::Record, |view| Table::of_body(kind, record, &view));
    let at = out.len();
    row(table, Ts::ZERO, record, out)?;
    out[at + 24..at + 36].fill(0);
    if table == Table::Retract {
        out.truncate(at + HEAD);
    }
    Ok(())
}

/// Bytes before a row's fields.
const HEAD: usize = 4 * 8 + 5 * 4;

struct Out<'a>(&'a mut Vec<u8>);

impl Out<'_> {
    fn ints(&mut self, all: &[u64]) {
        for n in all {
            self.0.extend_from_slice(&n.to_le_bytes());
        }
    }

    /// Scales beyond 16 are kept as records, and never come here.
    fn raw(&mut self, raw: i64, scale: u8) {
        self.0.extend_from_slice(&mantissa(raw, scale).unwrap_or_default().to_le_bytes());
    }

    fn decs(&mut self, all: &[Decimal]) {
        for d in all {
            let d = plain(*d);
            self.raw(d.raw, d.scale);
        }
    }

    fn text(&mut self, text: &str) {
        self.ints(&[text.len() as u64]);
        self.0.extend_from_slice(text.as_bytes());
    }
}
