//! The venue's times and trades in our words; both decoders end here, and in [`crate::levels`] with quotes and books.

use wholetape_model::{Body, Decimal, Event, InstrumentIx, Kind, Price, Scales, Side, Size, Trade, TradeCondition, Ts};

/// Milliseconds, or microseconds where the connection asked for them (`timeUnit=MICROSECOND`): told by magnitude, as in
/// the venue's dumps (10^14 ms is the year 5138, 10^14 µs is 1973).
#[inline]
#[must_use]
pub const fn venue_time(t: i64) -> Ts {
    if t >= 100_000_000_000_000 { Ts::from_micros(t) } else { Ts::from_millis(t) }
}

/// `m`: the buyer was the maker, so the seller took.
#[inline]
#[must_use]
pub const fn aggressor(buyer_is_maker: bool) -> Option<Side> {
    Some(if buyer_is_maker { Side::Sell } else { Side::Buy })
}

#[derive(Debug, Clone, Copy)]
pub struct TradeParts {
    pub kind: Kind,
    pub id: u64,
    pub first_id: u64,
    pub last_id: u64,
    pub price: Decimal,
    pub size: Decimal,
    pub time: i64,
    pub buyer_is_maker: bool,
    pub condition: TradeCondition,
}

#[inline]
pub fn trade(events: &mut Vec<Event>, instrument: InstrumentIx, t: &TradeParts) {
    events.push(trade_event(instrument, t));
}

#[inline]
#[must_use]
pub fn trade_event(instrument: InstrumentIx, t: &TradeParts) -> Event {
    Event {
        instrument,
        kind: t.kind,
        ts_event: venue_time(t.time),
        scales: Scales { price: t.price.scale, size: t.size.scale },
        body: Body::Trade(Trade {
            id: t.id.into(),
            first_id: t.first_id,
            last_id: t.last_id,
            price: Price(t.price.raw),
            size: Size(t.size.raw),
            aggressor: aggressor(t.buyer_is_maker),
            condition: t.condition,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_told_by_magnitude() {
        assert_eq!(venue_time(1_723_161_256_322), Ts(1_723_161_256_322_000_000));
        assert_eq!(venue_time(1_723_161_256_322_123), Ts(1_723_161_256_322_123_000));
        assert_eq!(venue_time(0), Ts::ZERO);
    }
}
