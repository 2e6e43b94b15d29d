//! What the typed decoders of all venues share: text that borrows the frame, levels, a piece of a frame with its place.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use sonic_rs::LazyValue;
use wholetape_model::Decimal;

use crate::error::ProtocolError;

/// Borrowed unless it holds an escape. (serde borrows `Cow` only outside of `Option` and tuples, hence our own.)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
        }
        d.deserialize_str(V)
    }
}

/// `["61733.10","0.072"]`; some old replies carry a third, empty element.
#[derive(Debug, Clone)]
pub struct LevelText<'a>(pub Text<'a>, pub Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for LevelText<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = LevelText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a level: [price, size]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let price = seq.next_element()?.ok_or_else(|| A::Error::custom("level without price"))?;
                let size = seq.next_element()?.ok_or_else(|| A::Error::custom("level without size"))?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(LevelText(price, size))
            }
        }
        d.deserialize_seq(V)
    }
}

/// A number as the venue printed it, bare or in quotes: `0.10000000`, `"0.1"`. Its digits are kept, zeros included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Printed<'a>(pub Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Printed<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = LazyValue::deserialize(d)?.as_raw_cow();
        let bare = |text: &str| text.bytes().next().is_some_and(|b| b == b'-' || b.is_ascii_digit());
        let text = match raw {
            Cow::Borrowed(text) => match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
                Some(quoted) if !quoted.contains('\\') => Some(Cow::Borrowed(quoted)),
                None if bare(text) => Some(Cow::Borrowed(text)),
                _ => None,
            },
            Cow::Owned(_) => None,
        };
        text.map(|t| Self(Text(t))).ok_or_else(|| D::Error::custom("no number"))
    }
}

/// `{"price":45283.5,"qty":0.10000000}`
#[derive(Debug, Clone, Deserialize)]
pub struct PrintedLevel<'a> {
    #[serde(borrow)]
    pub price: Printed<'a>,
    pub qty: Printed<'a>,
}

/// `null` counts as present: `{"result":null,"id":1}` is an ack.
pub(crate) fn present<'de: 'a, 'a, D: Deserializer<'de>>(d: D) -> Result<Option<LazyValue<'a>>, D::Error> {
    LazyValue::deserialize(d).map(Some)
}

/// A piece of a frame, and where it began, so that errors name a byte of the frame.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl<'a> Piece<'a> {
    pub(crate) fn parse<T: Deserialize<'a>>(self, channel: &'static str) -> Result<T, ProtocolError> {
        sonic_rs::from_str(self.text).map_err(|e| {
            let why = if e.is_unmatched_type() {
                "a field is missing, doubled or of another type"
            } else if e.is_eof() {
                "ends too early"
            } else {
                "not json"
            };
            ProtocolError::Malformed { channel, at: self.at + e.offset().min(self.text.len()), why }
        })
    }
}

/// Where `part` begins in `text`; 0 where it is a copy.
pub(crate) fn offset(text: &str, part: &str) -> usize {
    let at = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if at <= text.len() { at } else { 0 }
}

/// The numbers of two lists of levels, one behind the other, into `to`, which is cleared first.
pub(crate) fn levels(
    channel: &'static str,
    first: &[LevelText<'_>],
    second: &[LevelText<'_>],
    to: &mut Vec<(Decimal, Decimal)>,
) -> Result<(), ProtocolError> {
    to.clear();
    for LevelText(price, size) in first.iter().chain(second) {
        to.push((decimal(channel, "price", price)?, decimal(channel, "size", size)?));
    }
    Ok(())
}

pub(crate) fn decimal(channel: &'static str, field: &'static str, text: &Text<'_>) -> Result<Decimal, ProtocolError> {
    Decimal::parse(text.bytes()).map_err(|source| ProtocolError::Number { channel, field, source })
}
