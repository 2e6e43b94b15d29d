//! Definitions: one object's meaning, by stream or REST, told when it is new or changed.

use wholetape_model::decimal::SCALE_MAX;
use wholetape_model::{Decimal, DecimalError, InstrumentDef, InstrumentIx, InstrumentKind, TradingStatus, Ts};

use super::Okx;
use super::frame::{Definition, Named};
use super::symbol::Product;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text};
use crate::rows::{each, known, millis, number};
use crate::session::Out;

/// `state` of a definition (documents of 2026-09 and NautilusTrader's words for it, read 2026-11-20). While only makers may come (`post_only`)
/// and while an opening price is found (`preopen`) nothing trades yet.
fn trading_status(word: &str) -> TradingStatus {
    match word {
        "live" => TradingStatus::Trading,
        "suspend" | "rebase" => TradingStatus::Halted,
        "preopen" | "post_only" => TradingStatus::PreTrading,
        "settling" => TradingStatus::Settling,
        "expired" | "test" => TradingStatus::Closed,
        _ => TradingStatus::Unknown,
    }
}

impl Okx {
    /// Definitions of our own instruments. Others are passed over, also where symbols are discovered: hundreds that nobody trades in a
    /// recording would be of no use. So are those of margin accounts, which repeat the spot pairs.
    pub(super) fn definitions(
        &mut self,
        what: &'static str,
        rows: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        each(what, rows, |one| {
            let named: Named<'_> = one.parse(what)?;
            let margin = named.inst_type.as_ref().is_some_and(|t| t.as_str() == "MARGIN");
            match self.symbols.find(named.inst_id.as_str()) {
                Some(ix) if !margin => self.definition(what, ix, one, out),
                _ => Ok(()),
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
        let def = define(what, &row)?;
        let is_known = def.status != TradingStatus::Unknown;
        if self.definitions.tell(ix, def, out) && !is_known {
            self.reading.unknown("instruments state", one.text, out);
        }
        Ok(())
    }
}

/// Derivatives name neither base nor quote: a linear contract is so much of its base (`ctValCcy`) against what it settles in, an inverse
/// one so many dollars (`ctValCcy`) of what it settles in.
fn define<'a>(what: &'static str, row: &'a Definition<'_>) -> Result<InstrumentDef<&'a str>, ProtocolError> {
    let text = |t: &'a Option<Text<'_>>| t.as_ref().map_or("", Text::as_str);
    let amount = |field, t: &Option<Text<'_>>| match t {
        Some(t) => Ok(known(what, field, t)?.unwrap_or(Decimal::ZERO).canonical()),
        None => Ok(Decimal::ZERO),
    };
    let time = |t: &Option<Text<'_>>| t.as_ref().and_then(number).and_then(millis).unwrap_or(Ts::ZERO);
    let product = Product::parse(row.inst_type.as_str());
    let inverse = text(&row.ct_type) == "inverse";
    let expiry = time(&row.exp_time);
    let (settle, contract) = (text(&row.settle_ccy), text(&row.ct_val_ccy));
    let (base, quote) = match product {
        Some(Product::Swap | Product::Futures) if inverse => (settle, contract),
        Some(Product::Swap | Product::Futures) => (contract, settle),
        _ => (text(&row.base_ccy), text(&row.quote_ccy)),
    };
    let multiplier = match (amount("ctVal", &row.ct_val)?, amount("ctMult", &row.ct_mult)?) {
        (value, _) if value.is_zero() => Decimal::new(1, 0),
        (value, by) if by.is_zero() => value,
        (value, by) => {
            product_of(value, by).map_err(|source| ProtocolError::Number { channel: what, field: "ctVal", source })?
        }
    };
    Ok(InstrumentDef {
        kind: product.map_or(InstrumentKind::Other, |p| p.kind(inverse, expiry > Ts::ZERO)),
        status: trading_status(row.state.as_str()),
        tick: amount("tickSz", &row.tick_sz)?,
        step: amount("lotSz", &row.lot_sz)?,
        size_min: amount("minSz", &row.min_sz)?,
        size_max: amount("maxLmtSz", &row.max_lmt_sz)?,
        notional_min: Decimal::ZERO,
        multiplier,
        onboard: time(&row.list_time),
        expiry,
        symbol: row.inst_id.as_str(),
        base,
        quote,
        settle: if settle.is_empty() { quote } else { settle },
        status_text: row.state.as_str(),
    })
}

/// Exactly.
fn product_of(a: Decimal, b: Decimal) -> Result<Decimal, DecimalError> {
    let raw = a.raw.checked_mul(b.raw).ok_or(DecimalError::Overflow)?;
    let scale = a.scale + b.scale;
    if scale > SCALE_MAX {
        return Err(DecimalError::TooPrecise);
    }
    Ok(Decimal { raw, scale }.canonical())
}
