//! Definitions, by the stream `instrument` (everything, then changes) or by REST's `AssetPairs`: told when they are new or changed.
//!
//! The two say the same in other words; a live session takes them from the stream alone, so that neither unsays the other.

use wholetape_model::{Decimal, InstrumentDef, InstrumentIx, InstrumentKind, TradingStatus, Ts};

use super::Kraken;
use super::decode::{Message, number};
use super::frame::{AssetPair, InstrumentData, Named, PairRow};
use super::state::given;
use super::symbol::modern;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Printed, Text, offset};
use crate::rows::each;
use crate::session::Out;

/// `status` of a pair (documents of v2's `instrument` and of `AssetPairs`, read 2026-11-20). While orders are only cancelled, or only makers may
/// come, nothing trades; `limit_only` and `reduce_only` bound who may trade.
fn trading_status(word: &str) -> TradingStatus {
    match word {
        "online" | "limit_only" | "reduce_only" => TradingStatus::Trading,
        "cancel_only" => TradingStatus::CancelOnly,
        "maintenance" => TradingStatus::Halted,
        "post_only" | "work_in_progress" => TradingStatus::PreTrading,
        "delisted" => TradingStatus::Closed,
        _ => TradingStatus::Unknown,
    }
}

/// A rule that is not stated is 0.
fn amount(what: &'static str, field: &'static str, text: Option<&Printed<'_>>) -> Result<Decimal, ProtocolError> {
    text.map_or(Ok(Decimal::ZERO), |text| number(what, field, text).map(Decimal::canonical))
}

/// A pair's rules, in either source's words.
struct Rules<'a> {
    base: &'a str,
    quote: &'a str,
    status: &'a str,
    tick: Decimal,
    step: Decimal,
    size_min: Decimal,
    notional_min: Decimal,
}

impl Kraken {
    /// Definitions of our own instruments. Others are passed over, also where symbols are discovered: hundreds that nobody trades in a
    /// recording would be of no use.
    pub(super) fn instrument_data(
        &mut self,
        message: Message<'_>,
        out: &mut Out,
    ) -> Result<&'static str, ProtocolError> {
        const CH: &str = "instrument";
        let data: InstrumentData<'_> = message.rows.parse(CH)?;
        // Assets alone may change.
        let Some(pairs) = &data.pairs else { return Ok(CH) };
        let raw = pairs.as_raw_cow();
        let rows = Piece { text: &raw, at: message.rows.at + offset(message.rows.text, &raw) };
        each(CH, rows, |one| {
            let named: Named<'_> = one.parse(CH)?;
            let Some(ix) = self.symbols.find(named.symbol.as_str()) else { return Ok(()) };
            let row: PairRow<'_> = one.parse(CH)?;
            let rules = Rules {
                base: row.base.as_str(),
                quote: row.quote.as_str(),
                status: row.status.as_str(),
                tick: amount(CH, "price_increment", row.price_increment.as_ref())?,
                step: amount(CH, "qty_increment", row.qty_increment.as_ref())?,
                size_min: amount(CH, "qty_min", row.qty_min.as_ref())?,
                notional_min: amount(CH, "cost_min", row.cost_min.as_ref())?,
            };
            self.define(ix, &rules, one, out);
            Ok(())
        })?;
        Ok(CH)
    }

    /// One pair of `AssetPairs`. Dark pools have no name on any socket.
    pub(super) fn asset_pair(
        &mut self,
        what: &'static str,
        one: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let row: AssetPair<'_> = one.parse(what)?;
        let Some(old) = row.wsname.as_ref().map(Text::as_str) else { return Ok(()) };
        let name = modern(old);
        let Some(ix) = self.symbols.find(&name).or_else(|| self.symbols.find(old)) else { return Ok(()) };
        let places = |n: Option<u8>| n.filter(|n| *n <= 18).map_or(Decimal::ZERO, |n| Decimal::new(1, n).canonical());
        let (base, quote) = name.split_once('/').unwrap_or((&name, ""));
        let rules = Rules {
            base,
            quote,
            status: given(row.status.as_ref()),
            tick: match &row.tick_size {
                Some(tick) => amount(what, "tick_size", Some(tick))?,
                None => places(row.pair_decimals),
            },
            step: places(row.lot_decimals),
            size_min: amount(what, "ordermin", row.ordermin.as_ref())?,
            notional_min: amount(what, "costmin", row.costmin.as_ref())?,
        };
        self.define(ix, &rules, one, out);
        Ok(())
    }

    fn define(&mut self, ix: InstrumentIx, rules: &Rules<'_>, one: Piece<'_>, out: &mut Out) {
        let status = trading_status(rules.status);
        let symbol = format!("{}/{}", rules.base, rules.quote);
        let def = InstrumentDef {
            kind: InstrumentKind::Spot,
            status,
            tick: rules.tick,
            step: rules.step,
            size_min: rules.size_min,
            size_max: Decimal::ZERO,
            notional_min: rules.notional_min,
            multiplier: Decimal::new(1, 0),
            onboard: Ts::ZERO,
            expiry: Ts::ZERO,
            symbol: symbol.as_str(),
            base: rules.base,
            quote: rules.quote,
            settle: rules.quote,
            status_text: rules.status,
        };
        // In 2021 no status was printed.
        let is_known = status != TradingStatus::Unknown || rules.status.is_empty();
        if self.definitions.tell(ix, def, out) && !is_known {
            self.reading.unknown("instrument status", one.text, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_status_is_known() {
        for word in [
            "online",
            "cancel_only",
            "post_only",
            "limit_only",
            "reduce_only",
            "delisted",
            "maintenance",
            "work_in_progress",
        ] {
            assert_ne!(trading_status(word), TradingStatus::Unknown, "{word}");
        }
        assert_eq!(trading_status("Online"), TradingStatus::Unknown);
    }
}
