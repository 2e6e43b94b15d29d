//! Definitions, by REST alone: told when they are new or changed.

use wholetape_model::{Decimal, InstrumentDef, InstrumentIx, TradingStatus, Ts};

use super::Bybit;
use super::frame::{Definition, Named};
use super::limits::Market;
use super::symbol::kind;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text};
use crate::rows::{each, known, millis, number};
use crate::session::Out;

/// `status` of a definition (`docs/v5/enum.mdx`, state 2026-07-24, read 2026-11-20; the API explorer names `Settling` as well).
fn trading_status(word: &str) -> TradingStatus {
    match word {
        "Trading" => TradingStatus::Trading,
        "PreLaunch" | "PendingOpen" => TradingStatus::PreTrading,
        "Delivering" | "Settling" => TradingStatus::Settling,
        "Closed" => TradingStatus::Closed,
        _ => TradingStatus::Unknown,
    }
}

impl Bybit {
    /// Definitions of our own instruments. Others are passed over, also where symbols are discovered: hundreds that nobody trades in a
    /// recording would be of no use.
    pub(super) fn definitions(
        &mut self,
        what: &'static str,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        each(what, rows, |one| {
            let named: Named<'_> = one.parse(what)?;
            match self.symbols.find(named.symbol.as_str()) {
                Some(ix) => self.definition(what, ix, one, out),
                None => Ok(()),
            }
        })
    }

    fn definition(
        &mut self,
        what: &'static str,
        ix: InstrumentIx,
        one: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let row: Definition<'_> = one.parse(what)?;
        let def = define(self.market, what, &row)?;
        let is_known = def.status != TradingStatus::Unknown;
        if self.definitions.tell(ix, def, out) && !is_known {
            self.reading.unknown("instruments status", one.text, out);
        }
        Ok(())
    }
}

/// Sizes are in the base coin, those of inverse contracts in dollars: in both one is one, so the multiplier is 1.
fn define<'a>(
    market: Market,
    what: &'static str,
    row: &'a Definition<'_>,
) -> Result<InstrumentDef<&'a str>, ProtocolError> {
    let text = |t: &'a Option<Text<'_>>| t.as_ref().map_or("", Text::as_str);
    let amount = |field, t: Option<&Text<'_>>| match t {
        Some(t) => Ok(known(what, field, t)?.unwrap_or(Decimal::ZERO).canonical()),
        None => Ok(Decimal::ZERO),
    };
    let time = |t: &Option<Text<'_>>| t.as_ref().and_then(number).and_then(millis).unwrap_or(Ts::ZERO);
    let lot = &row.lot_size_filter;
    let (quote, settle) = (row.quote_coin.as_str(), text(&row.settle_coin));
    Ok(InstrumentDef {
        kind: kind(market, text(&row.contract_type)),
        status: trading_status(row.status.as_str()),
        tick: amount("tickSize", Some(&row.price_filter.tick_size))?,
        step: amount("qtyStep", lot.qty_step.as_ref().or(lot.base_precision.as_ref()))?,
        size_min: amount("minOrderQty", lot.min_order_qty.as_ref())?,
        size_max: amount("maxOrderQty", lot.max_limit_order_qty.as_ref().or(lot.max_order_qty.as_ref()))?,
        notional_min: amount("minNotionalValue", lot.min_notional_value.as_ref().or(lot.min_order_amt.as_ref()))?,
        multiplier: Decimal::new(1, 0),
        onboard: time(&row.launch_time),
        // "0" of what has no end.
        expiry: time(&row.delivery_time),
        symbol: row.symbol.as_str(),
        base: row.base_coin.as_str(),
        quote,
        settle: if settle.is_empty() { quote } else { settle },
        status_text: row.status.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_status_is_known() {
        for word in ["PreLaunch", "PendingOpen", "Trading", "Settling", "Delivering", "Closed"] {
            assert_ne!(trading_status(word), TradingStatus::Unknown, "{word}");
        }
        assert_eq!(trading_status("trading"), TradingStatus::Unknown);
    }
}
