//! What the typed decoders of all venues share above JSON: the rows of a message, numbers that may be empty, times, and definitions told
//! once.

use std::hash::{DefaultHasher, Hash, Hasher};

use wholetape_model::{
    Body, Decimal, DecimalError, InstrumentDef, InstrumentIx, Kind, Pending, Scales, Span, Status, Ts,
};

use crate::error::ProtocolError;
use crate::json::text::{Piece, Text, decimal, offset};
use crate::session::Out;

/// Calls `f` with each row of a message, without a list of them.
pub(crate) fn each(
    channel: &'static str,
    rows: Piece<'_>,
    mut f: impl FnMut(Piece<'_>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    for row in sonic_rs::to_array_iter(rows.text) {
        let row = row.map_err(|e| {
            let at = rows.at + e.offset().min(rows.text.len());
            ProtocolError::Malformed { channel, at, why: "no array of rows" }
        })?;
        let raw = row.as_raw_cow();
        f(Piece { text: &raw, at: rows.at + offset(rows.text, &raw) })?;
    }
    Ok(())
}

/// An event whose numbers carry their own scales.
pub(crate) fn push(out: &mut Out, instrument: InstrumentIx, kind: Kind, ts_event: Ts, body: Pending) {
    out.events.push(wholetape_model::Event { instrument, kind, ts_event, scales: Scales::default(), body });
}

/// A number that the venue leaves empty where it does not know it.
pub(crate) fn known(
    channel: &'static str,
    field: &'static str,
    text: &Text<'_>,
) -> Result<Option<Decimal>, ProtocolError> {
    if text.as_str().is_empty() { Ok(None) } else { decimal(channel, field, text).map(Some) }
}

/// Milliseconds since the Unix epoch; the year 2262 is the last that we can count.
#[inline]
pub(crate) fn millis(ms: u64) -> Option<Ts> {
    i64::try_from(ms).ok().filter(|ms| *ms <= i64::MAX / 1_000_000).map(Ts::from_millis)
}

/// A whole number in quotes.
pub(crate) fn number(text: &Text<'_>) -> Option<u64> {
    let digits = !text.as_str().is_empty() && text.bytes().iter().all(u8::is_ascii_digit);
    if digits { text.as_str().parse().ok() } else { None }
}

/// Exactly.
pub(crate) fn difference(a: Decimal, b: Decimal) -> Result<Decimal, DecimalError> {
    let scale = a.scale.max(b.scale);
    let (a, b) = (a.rescale(scale)?, b.rescale(scale)?);
    let raw = a.raw.checked_sub(b.raw).ok_or(DecimalError::Overflow)?;
    Ok(Decimal { raw, scale })
}

/// Definitions already told, by instrument.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    seen: Vec<Option<Told>>,
}

/// What was last told of one instrument.
#[derive(Debug, Clone, Copy)]
struct Told {
    whole: u64,
    status: u64,
}

impl Definitions {
    /// Tells what is new or changed of a definition; whether that is its status.
    pub fn tell(&mut self, ix: InstrumentIx, def: InstrumentDef<&str>, out: &mut Out) -> bool {
        let (status, word) = (def.status, def.status_text);
        let hash = |what: &dyn Fn(&mut DefaultHasher)| {
            let mut h = DefaultHasher::new();
            what(&mut h);
            h.finish()
        };
        let mark = Told { whole: hash(&|h| def.hash(h)), status: hash(&|h| word.hash(h)) };
        if self.seen.len() <= ix as usize {
            self.seen.resize(ix as usize + 1, None);
        }
        let before = self.seen[ix as usize].replace(mark);
        if before.is_none_or(|b| b.whole != mark.whole) {
            let body = Body::Instrument(def).map(|levels: Span| levels, |text| out.arena.text(text));
            push(out, ix, Kind::Instrument, Ts::ZERO, body);
        }
        let news = before.is_none_or(|b| b.status != mark.status);
        if news {
            let text = out.arena.text(word);
            push(out, ix, Kind::Status, Ts::ZERO, Body::Status(Status { status, text }));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_exact() {
        let d = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        assert_eq!(difference(d("0.00718"), d("0.0072")), Ok(d("-0.00002")));
    }
}
