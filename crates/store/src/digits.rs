//! How many digits after the point an instrument's prices and sizes are shown with: pinned, because the 1.x wheel refuses a folder
//! with two precisions, and a matching engine one that is not the instrument's.
//!
//! A definition pins what its increments need; without one, what the first rows need. Both only grow.

use wholetape_model::{Body, Topic};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::columns::SCALE;
use crate::manifest::Change;
use crate::part::subject;
use crate::rows::Rows;
use crate::spec_market::plain;

/// The digits of a topic's instrument after these rows; noted in `change` where they grew.
///
/// # Errors
/// A record that cannot be read.
pub fn pinned<'a>(
    catalog: &mut Catalog,
    topic: &Topic,
    rows: impl Iterator<Item = &'a Rows>,
    change: &mut Change,
) -> Result<(u8, u8), StoreError> {
    let id = subject(topic);
    let before = catalog.state().digits.get(id).copied();
    let mut now = before.unwrap_or((0, 0));
    for (_, record) in rows.flat_map(Rows::iter) {
        let Ok(view) = record.view() else { continue };
        let scales = record.scales();
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
            Body::Instrument(def) => {
                let (tick, step) = (plain(def.tick), plain(def.step));
                grow(&mut now.0, tick.raw, tick.scale);
                grow(&mut now.1, step.raw, step.scale);
            }
            _ => {}
        }
    }
    if Some(now) != before {
        change.digits.insert(id.to_owned(), now);
    }
    Ok(now)
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
