//! How many digits after the point an instrument's prices and sizes are shown with: pinned, because the 1.x wheel refuses a folder
//! with two precisions, and a matching engine one that is not the instrument's.
//!
//! A definition pins what its increments need, from the moment the store reads it; rows that need more make it more. Mark and
//! index prices are finer than any increment and have pins of their own. Pins only grow; where one did, the files of the
//! instrument are written anew ([`crate::compact::repin`]).

use std::collections::BTreeMap;

use wholetape_model::{Body, Decimal, Kind, Record, Scales, Topic, View};

use crate::catalog::Catalog;
use crate::columns::SCALE;
use crate::part::subject;
use crate::rows::Rows;
use crate::spec_market::plain;

/// Digits of prices and of sizes.
pub type Digits = (u8, u8);

/// What is pinned together: an instrument, or one of its mark and index topics.
#[must_use]
pub fn key(topic: &Topic) -> &str {
    if matches!(topic.kind(), Kind::Mark | Kind::Index) { topic.as_str() } else { subject(topic) }
}

/// What definitions told since the store began to read.
#[derive(Debug, Default)]
pub struct Definitions(BTreeMap<String, Digits>);

impl Definitions {
    /// Looks at a record: a definition tells the increments.
    pub fn see(&mut self, topic: &Topic, record: &Record<'_>) {
        if topic.kind() == Kind::Instrument
            && let Ok(Body::Instrument(def)) = record.view()
        {
            let digits = self.0.entry(subject(topic).to_owned()).or_default();
            need(&mut digits.0, def.tick);
            need(&mut digits.1, def.step);
        }
    }
}

/// The pin of a topic after these rows, and what it was.
pub fn pinned<'a>(
    catalog: &Catalog,
    told: &Definitions,
    topic: &Topic,
    rows: impl Iterator<Item = &'a Rows>,
) -> (Digits, Option<Digits>) {
    let before = catalog.state().digits.get(key(topic)).copied();
    let (mut now, told) = (before.unwrap_or_default(), told.0.get(key(topic)).copied().unwrap_or_default());
    now = (now.0.max(told.0), now.1.max(told.1));
    for (_, record) in rows.flat_map(Rows::iter) {
        let Ok(view) = record.view() else { continue };
        needed(&mut now, record.scales(), &view);
    }
    (now, before)
}

/// Makes `now` enough for what a row shows.
pub(crate) fn needed(now: &mut Digits, scales: Scales, view: &View<'_>) {
    match view {
        Body::Trade(t) => {
            grow(&mut now.0, t.price.0, scales.price);
            grow(&mut now.1, t.size.0, scales.size);
        }
        Body::Quote(q) => {
            for (price, size) in [(q.bid, q.bid_size), (q.ask, q.ask_size)] {
                grow(&mut now.0, price.0, scales.price);
                grow(&mut now.1, size.0, scales.size);
            }
        }
        Body::Book(book) => {
            for level in book.bids.iter().chain(book.asks.iter()) {
                grow(&mut now.0, level.price.0, scales.price);
                grow(&mut now.1, level.size.0, scales.size);
            }
        }
        Body::Bar(bar) if bar.closed => {
            for price in [bar.open, bar.high, bar.low, bar.close] {
                need(&mut now.0, price);
            }
            need(&mut now.1, bar.volume);
        }
        Body::MarkPrice(d) | Body::IndexPrice(d) => need(&mut now.0, *d),
        Body::Instrument(def) => {
            need(&mut now.0, def.tick);
            need(&mut now.1, def.step);
        }
        _ => {}
    }
}

fn need(digits: &mut u8, d: Decimal) {
    let d = plain(d);
    grow(digits, d.raw, d.scale);
}

/// Digits so many that `raw × 10^-scale` is exact.
#[inline]
fn grow(digits: &mut u8, raw: i64, scale: u8) {
    if scale <= *digits || scale > SCALE {
        return;
    }
    let (mut raw, mut scale) = (raw, scale);
    while scale > *digits && raw % 10 == 0 {
        (raw, scale) = (raw / 10, scale - 1);
    }
    *digits = scale;
}
