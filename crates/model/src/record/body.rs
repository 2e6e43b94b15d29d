//! Body layouts of record version 1. Fields are written in the order of their structs: integers in 8 bytes, a
//! [`Decimal`] as its mantissa in 8 bytes and its scale in 8 (room for later), levels as pairs of 8 bytes, a text as
//! its length in 4 bytes and its UTF-8.

use crate::decimal::{Decimal, SCALE_MAX};
use crate::event::{
    Bar, Body, Book, BookAction, Funding, Level, Levels, Liquidation, Price, Publication, Quote, Raw, Side, Size,
    Status, Ticker, Trade, TradeCondition, TradingStatus, View,
};
use crate::instrument::{InstrumentDef, InstrumentKind};
use crate::mark::{
    Alert, Check, Coverage, Finding, Gap, GapCause, GapState, HealSource, Link, LinkCause, LinkState, Proof, Severity,
    Validity, ValidityState,
};
use crate::record::RecordError;
use crate::time::Ts;
use crate::topic::Period;
use crate::trade_id::TradeId;

const TRADE: u8 = 1;
const QUOTE: u8 = 2;
const TICKER: u8 = 3;
const BOOK: u8 = 4;
const BAR: u8 = 5;
const FUNDING: u8 = 6;
const MARK_PRICE: u8 = 7;
const INDEX_PRICE: u8 = 8;
const OPEN_INTEREST: u8 = 9;
const LIQUIDATION: u8 = 10;
const INSTRUMENT: u8 = 11;
const STATUS: u8 = 12;
const LINK: u8 = 13;
const FINDING: u8 = 14;
const RAW: u8 = 15;
const COVERAGE: u8 = 16;
const ALERT: u8 = 17;
/// A trade whose id is a UUID: 16 bytes, the upper half first, and no covered ids.
const TRADE_UUID: u8 = 18;
const PUBLICATION: u8 = 19;
const GAP: u8 = 32;
const VALIDITY: u8 = 33;
const RETRACT: u8 = 34;

pub(super) const fn is_mark(kind: u8) -> bool {
    matches!(kind, GAP | VALIDITY | RETRACT)
}

pub(super) const fn is_book_start(kind: u8, detail: u8) -> bool {
    kind == BOOK && (detail == BookAction::Snapshot as u8 || detail == BookAction::Checkpoint as u8)
}

/// Appends the body and returns (kind, detail, detail2).
pub(super) fn encode(body: &View<'_>, out: &mut Vec<u8>) -> (u8, u8, u8) {
    let mut w = Writer(out);
    match body {
        Body::Trade(t) => {
            let kind = match t.id.number() {
                Some(id) => {
                    w.u64(id).u64(t.first_id).u64(t.last_id);
                    TRADE
                }
                None => {
                    w.u64((t.id.bits() >> 64) as u64).u64(t.id.bits() as u64);
                    TRADE_UUID
                }
            };
            w.i64(t.price.0).i64(t.size.0);
            (kind, t.aggressor.map_or(0, |s| s as u8), t.condition as u8)
        }
        Body::Quote(q) => {
            w.i64(q.bid.0).i64(q.bid_size.0).i64(q.ask.0).i64(q.ask_size.0).u64(q.update_id);
            (QUOTE, 0, 0)
        }
        Body::Ticker(t) => {
            w.dec(t.last).dec(t.open).dec(t.high).dec(t.low).dec(t.volume).dec(t.quote_volume).dec(t.change);
            w.u64(t.trades).ts(t.open_ts).ts(t.close_ts);
            (TICKER, 0, 0)
        }
        Body::Book(b) => {
            w.u64(b.first_id).u64(b.last_id).u64(b.prev_id);
            w.u32(b.bids.len() as u32).u32(b.asks.len() as u32);
            w.levels(b.bids).levels(b.asks);
            (BOOK, b.action as u8, 0)
        }
        Body::Bar(b) => {
            w.ts(b.open_ts).ts(b.close_ts).dec(b.open).dec(b.high).dec(b.low).dec(b.close);
            w.dec(b.volume).dec(b.quote_volume).dec(b.taker_volume).dec(b.taker_quote_volume);
            w.u64(b.trades).u64(b.first_id).u64(b.last_id);
            w.u32(u32::from(b.period.count)).u32(u32::from(b.period.unit));
            (BAR, u8::from(b.closed), 0)
        }
        Body::Funding(b) => {
            w.dec(b.rate).ts(b.next_ts);
            (FUNDING, 0, 0)
        }
        Body::MarkPrice(d) => {
            w.dec(*d);
            (MARK_PRICE, 0, 0)
        }
        Body::IndexPrice(d) => {
            w.dec(*d);
            (INDEX_PRICE, 0, 0)
        }
        Body::OpenInterest(d) => {
            w.dec(*d);
            (OPEN_INTEREST, 0, 0)
        }
        Body::Liquidation(b) => {
            w.dec(b.price).dec(b.average_price).dec(b.size).dec(b.order_size);
            (LIQUIDATION, b.side.map_or(0, |s| s as u8), 0)
        }
        Body::Instrument(b) => {
            w.dec(b.tick).dec(b.step).dec(b.size_min).dec(b.size_max).dec(b.notional_min).dec(b.multiplier);
            w.ts(b.onboard).ts(b.expiry);
            w.text(b.symbol).text(b.base).text(b.quote).text(b.settle).text(b.status_text);
            (INSTRUMENT, b.kind as u8, b.status as u8)
        }
        Body::Status(b) => {
            w.text(b.text);
            (STATUS, b.status as u8, 0)
        }
        Body::Link(b) => {
            w.u32(b.attempt).u32(0).u64(b.delay_ns).text(b.endpoint).text(b.correlation).text(b.why);
            (LINK, b.state as u8, b.cause as u8)
        }
        Body::Gap(b) => {
            w.u64(b.gap).u64(b.from_id).u64(b.to_id).ts(b.from_ts).ts(b.to_ts).u64(b.missing);
            w.u32(b.source as u32).text(b.why);
            (GAP, b.state as u8, b.cause as u8)
        }
        Body::Validity(b) => {
            w.u64(b.update_id).text(b.why);
            (VALIDITY, b.state as u8, b.cause as u8)
        }
        Body::Retract(seq) => {
            w.u64(*seq);
            (RETRACT, 0, 0)
        }
        Body::Finding(b) => {
            w.dec(b.observed).dec(b.bound).u64(b.count).text(b.why);
            (FINDING, b.check as u8, 0)
        }
        Body::Raw(b) => {
            w.text(b.channel).text(b.text);
            (RAW, 0, 0)
        }
        Body::Coverage(b) => {
            w.u64(b.seq).u64(b.from_id).u64(b.to_id).u64(b.held).u64(b.missing).u64(b.never_published);
            w.ts(b.from_ts).ts(b.to_ts).u64(b.hole_ns).u64(b.open).u64(b.healed).u64(b.lost).ts(b.hours_from);
            w.text(b.of).text(b.hours);
            (COVERAGE, b.proof as u8, 0)
        }
        Body::Alert(b) => {
            w.text(b.code).text(b.text);
            (ALERT, b.severity as u8, 0)
        }
        Body::Publication(b) => {
            w.text(b.principal).text(b.mid).text(b.event).text(b.cid).text(b.data);
            (PUBLICATION, 0, 0)
        }
    }
}

/// The body of a version-1 record.
pub(super) fn decode(kind: u8, detail: u8, detail2: u8, bytes: &[u8]) -> Result<View<'_>, RecordError> {
    let mut r = Reader { kind, bytes };
    let cause = || GapCause::from_u8(detail2).ok_or(RecordError::Body { kind, why: "cause" });
    Ok(match kind {
        TRADE => Body::Trade(Trade {
            id: r.u64()?.into(),
            first_id: r.u64()?,
            last_id: r.u64()?,
            price: Price(r.i64()?),
            size: Size(r.i64()?),
            aggressor: Side::from_u8(detail),
            condition: TradeCondition::from_u8(detail2),
        }),
        TRADE_UUID => Body::Trade(Trade {
            id: TradeId::uuid(u128::from(r.u64()?) << 64 | u128::from(r.u64()?))
                .ok_or(RecordError::Body { kind, why: "id" })?,
            first_id: 0,
            last_id: 0,
            price: Price(r.i64()?),
            size: Size(r.i64()?),
            aggressor: Side::from_u8(detail),
            condition: TradeCondition::from_u8(detail2),
        }),
        QUOTE => Body::Quote(Quote {
            bid: Price(r.i64()?),
            bid_size: Size(r.i64()?),
            ask: Price(r.i64()?),
            ask_size: Size(r.i64()?),
            update_id: r.u64()?,
        }),
        TICKER => Body::Ticker(Ticker {
            last: r.dec()?,
            open: r.dec()?,
            high: r.dec()?,
            low: r.dec()?,
            volume: r.dec()?,
            quote_volume: r.dec()?,
            change: r.dec()?,
            trades: r.u64()?,
            open_ts: r.ts()?,
            close_ts: r.ts()?,
        }),
        BOOK => {
            let (first_id, last_id, prev_id) = (r.u64()?, r.u64()?, r.u64()?);
            let (bids, asks) = (r.u32()?, r.u32()?);
            Body::Book(Book {
                action: BookAction::from_u8(detail).ok_or(RecordError::Body { kind, why: "action" })?,
                first_id,
                last_id,
                prev_id,
                bids: r.levels(bids)?,
                asks: r.levels(asks)?,
            })
        }
        BAR => Body::Bar(Bar {
            open_ts: r.ts()?,
            close_ts: r.ts()?,
            open: r.dec()?,
            high: r.dec()?,
            low: r.dec()?,
            close: r.dec()?,
            volume: r.dec()?,
            quote_volume: r.dec()?,
            taker_volume: r.dec()?,
            taker_quote_volume: r.dec()?,
            trades: r.u64()?,
            first_id: r.u64()?,
            last_id: r.u64()?,
            closed: detail != 0,
            period: Period { count: r.u32()? as u16, unit: r.u32()? as u8 },
        }),
        FUNDING => Body::Funding(Funding { rate: r.dec()?, next_ts: r.ts()? }),
        MARK_PRICE => Body::MarkPrice(r.dec()?),
        INDEX_PRICE => Body::IndexPrice(r.dec()?),
        OPEN_INTEREST => Body::OpenInterest(r.dec()?),
        LIQUIDATION => Body::Liquidation(Liquidation {
            side: Side::from_u8(detail),
            price: r.dec()?,
            average_price: r.dec()?,
            size: r.dec()?,
            order_size: r.dec()?,
        }),
        INSTRUMENT => Body::Instrument(InstrumentDef {
            kind: InstrumentKind::from_u8(detail),
            status: TradingStatus::from_u8(detail2),
            tick: r.dec()?,
            step: r.dec()?,
            size_min: r.dec()?,
            size_max: r.dec()?,
            notional_min: r.dec()?,
            multiplier: r.dec()?,
            onboard: r.ts()?,
            expiry: r.ts()?,
            symbol: r.text()?,
            base: r.text()?,
            quote: r.text()?,
            settle: r.text()?,
            status_text: r.text()?,
        }),
        STATUS => Body::Status(Status { status: TradingStatus::from_u8(detail), text: r.text()? }),
        LINK => {
            let attempt = r.u32()?;
            r.u32()?;
            Body::Link(Link {
                state: LinkState::from_u8(detail).ok_or(RecordError::Body { kind, why: "state" })?,
                cause: LinkCause::from_u8(detail2).ok_or(RecordError::Body { kind, why: "cause" })?,
                attempt,
                delay_ns: r.u64()?,
                endpoint: r.text()?,
                correlation: r.text()?,
                why: r.text()?,
            })
        }
        GAP => Body::Gap(Gap {
            state: GapState::from_u8(detail).ok_or(RecordError::Body { kind, why: "state" })?,
            cause: cause()?,
            gap: r.u64()?,
            from_id: r.u64()?,
            to_id: r.u64()?,
            from_ts: r.ts()?,
            to_ts: r.ts()?,
            missing: r.u64()?,
            source: u8::try_from(r.u32()?)
                .ok()
                .and_then(HealSource::from_u8)
                .ok_or(RecordError::Body { kind, why: "source" })?,
            why: r.text()?,
        }),
        VALIDITY => Body::Validity(Validity {
            state: ValidityState::from_u8(detail).ok_or(RecordError::Body { kind, why: "state" })?,
            cause: cause()?,
            update_id: r.u64()?,
            why: r.text()?,
        }),
        RETRACT => Body::Retract(r.u64()?),
        FINDING => Body::Finding(Finding {
            check: Check::from_u8(detail).ok_or(RecordError::Body { kind, why: "check" })?,
            observed: r.dec()?,
            bound: r.dec()?,
            count: r.u64()?,
            why: r.text()?,
        }),
        RAW => Body::Raw(Raw { channel: r.text()?, text: r.text()? }),
        COVERAGE => Body::Coverage(Coverage {
            proof: Proof::from_u8(detail).ok_or(RecordError::Body { kind, why: "proof" })?,
            seq: r.u64()?,
            from_id: r.u64()?,
            to_id: r.u64()?,
            held: r.u64()?,
            missing: r.u64()?,
            never_published: r.u64()?,
            from_ts: r.ts()?,
            to_ts: r.ts()?,
            hole_ns: r.u64()?,
            open: r.u64()?,
            healed: r.u64()?,
            lost: r.u64()?,
            hours_from: r.ts()?,
            of: r.text()?,
            hours: r.text()?,
        }),
        ALERT => Body::Alert(Alert {
            severity: Severity::from_u8(detail).ok_or(RecordError::Body { kind, why: "severity" })?,
            code: r.text()?,
            text: r.text()?,
        }),
        PUBLICATION => Body::Publication(Publication {
            principal: r.text()?,
            mid: r.text()?,
            event: r.text()?,
            cid: r.text()?,
            data: r.text()?,
        }),
        other => return Err(RecordError::Kind(other)),
    })
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    fn i64(&mut self, v: i64) -> &mut Self {
        self.u64(v as u64)
    }

    fn ts(&mut self, v: Ts) -> &mut Self {
        self.i64(v.0)
    }

    fn dec(&mut self, v: Decimal) -> &mut Self {
        self.i64(v.raw).u64(u64::from(v.scale))
    }

    fn text(&mut self, v: &str) -> &mut Self {
        self.u32(v.len() as u32);
        self.0.extend_from_slice(v.as_bytes());
        self
    }

    fn levels(&mut self, levels: Levels<'_>) -> &mut Self {
        match levels {
            Levels::Packed(bytes) => self.0.extend_from_slice(bytes),
            Levels::Native(levels) => {
                let start = self.0.len();
                self.0.resize(start + levels.len() * 16, 0);
                for (slot, Level { price, size }) in self.0[start..].chunks_exact_mut(16).zip(levels) {
                    slot[..8].copy_from_slice(&price.0.to_le_bytes());
                    slot[8..].copy_from_slice(&size.0.to_le_bytes());
                }
            }
        }
        self
    }
}

struct Reader<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) =
            self.bytes.split_at_checked(n).ok_or(RecordError::Body { kind: self.kind, why: "too short" })?;
        self.bytes = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        let mut w = [0; 8];
        w.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(w))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(self.u64()? as i64)
    }

    fn ts(&mut self) -> Result<Ts, RecordError> {
        Ok(Ts(self.i64()?))
    }

    fn dec(&mut self) -> Result<Decimal, RecordError> {
        let raw = self.i64()?;
        match self.u64()? {
            scale if scale <= u64::from(SCALE_MAX) => Ok(Decimal { raw, scale: scale as u8 }),
            _ => Err(RecordError::Body { kind: self.kind, why: "scale" }),
        }
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let len = self.u32()? as usize;
        std::str::from_utf8(self.take(len)?).map_err(|_| RecordError::Body { kind: self.kind, why: "text" })
    }

    fn levels(&mut self, n: u32) -> Result<Levels<'a>, RecordError> {
        Ok(Levels::Packed(self.take(n as usize * 16)?))
    }
}
