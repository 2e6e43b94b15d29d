//! One row of the archive against the row that is held under the same key: field by field, by value.
//!
//! What only one of the two prints is no difference: the archive's bars name no trade ids, its trades no condition, and its times
//! may be finer than the stream's.

use serde_json::{Value, json};
use wholetape_model::{Body, Decimal, Event, TradeId, Ts};
use wholetape_venue::archive::same_time;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub archive: String,
    pub held: String,
}

/// A row whose fields differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub line: u64,
    pub key: TradeId,
    pub seq: u64,
    pub fields: Vec<Field>,
}

impl Difference {
    pub fn json(&self, key: Value) -> Value {
        let fields: Vec<_> =
            self.fields.iter().map(|f| json!({"field": f.name, "archive": f.archive, "held": f.held})).collect();
        json!({"line": self.line, "key": key, "seq": self.seq, "fields": fields})
    }
}

/// The fields that differ; none when the rows are equal.
pub fn compare(archive: &Event, held: &Event) -> Vec<Field> {
    let mut out = Vec::new();
    match (&archive.body, &held.body) {
        (Body::Trade(a), Body::Trade(h)) => {
            number(&mut out, "price", archive.scales.price(a.price), held.scales.price(h.price));
            number(&mut out, "size", archive.scales.size(a.size), held.scales.size(h.size));
            if a.aggressor != h.aggressor {
                let side = |s: Option<wholetape_model::Side>| s.map_or("none", |s| s.as_str()).to_owned();
                out.push(Field { name: "side", archive: side(a.aggressor), held: side(h.aggressor) });
            }
            // Where the archive names no covered ids, it says nothing of them.
            if (a.first_id, a.last_id) != (0, 0) && (a.first_id, a.last_id) != (h.first_id, h.last_id) {
                let ids = |first: u64, last: u64| format!("{first}–{last}");
                let (archive, held) = (ids(a.first_id, a.last_id), ids(h.first_id, h.last_id));
                out.push(Field { name: "covered ids", archive, held });
            }
            time(&mut out, "time", archive.ts_event, held.ts_event);
        }
        (Body::Bar(a), Body::Bar(h)) => {
            for (name, a, h) in [
                ("open", a.open, h.open),
                ("high", a.high, h.high),
                ("low", a.low, h.low),
                ("close", a.close, h.close),
                ("volume", a.volume, h.volume),
                ("quote volume", a.quote_volume, h.quote_volume),
                ("taker volume", a.taker_volume, h.taker_volume),
                ("taker quote volume", a.taker_quote_volume, h.taker_quote_volume),
            ] {
                number(&mut out, name, a, h);
            }
            if a.trades != h.trades {
                out.push(Field { name: "trades", archive: a.trades.to_string(), held: h.trades.to_string() });
            }
            time(&mut out, "close time", a.close_ts, h.close_ts);
        }
        _ => out.push(Field { name: "kind", archive: "of the archive".into(), held: "another".into() }),
    }
    out
}

fn number(out: &mut Vec<Field>, name: &'static str, a: Decimal, h: Decimal) {
    if a.cmp_value(h).is_ne() {
        out.push(Field { name, archive: a.to_string(), held: h.to_string() });
    }
}

fn time(out: &mut Vec<Field>, name: &'static str, a: Ts, h: Ts) {
    if !same_time(a, h) {
        out.push(Field { name, archive: a.to_string(), held: h.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::{Kind, Price, Scales, Side, Size, Trade, TradeCondition};

    fn event(price: i64, scale: u8, side: Side, us: i64) -> Event {
        let (size, condition) = (Size(20), TradeCondition::Regular);
        let trade = Trade {
            id: 7.into(),
            first_id: 9,
            last_id: 11,
            price: Price(price),
            size,
            aggressor: Some(side),
            condition,
        };
        let scales = Scales { price: scale, size: 3 };
        Event { instrument: 0, kind: Kind::Trade, ts_event: Ts::from_micros(us), scales, body: Body::Trade(trade) }
    }

    #[test]
    fn values_are_compared_not_their_print() {
        let held = event(600_001, 1, Side::Buy, 1_735_776_000_123_000);
        assert_eq!(compare(&event(6_000_010_000, 5, Side::Buy, 1_735_776_000_123_456), &held), []);
        let names = |e: &Event| compare(e, &held).iter().map(|f| f.name).collect::<Vec<_>>();
        assert_eq!(names(&event(600_002, 1, Side::Buy, 1_735_776_000_123_000)), ["price"]);
        assert_eq!(names(&event(600_001, 1, Side::Sell, 1_735_776_000_124_000)), ["side", "time"]);
        let mut other = held;
        if let Body::Trade(t) = &mut other.body {
            (t.first_id, t.size, t.condition) = (8, Size(21), TradeCondition::Rpi);
        }
        let fields = compare(&other, &held);
        assert_eq!(fields.iter().map(|f| f.name).collect::<Vec<_>>(), ["size", "covered ids"]);
        assert_eq!((fields[0].archive.as_str(), fields[0].held.as_str()), ("0.021", "0.020"));
        if let Body::Trade(t) = &mut other.body {
            (t.first_id, t.last_id, t.size) = (0, 0, Size(20));
        }
        assert_eq!(compare(&other, &held), [], "an archive that names no covered ids says nothing of them");
    }
}
