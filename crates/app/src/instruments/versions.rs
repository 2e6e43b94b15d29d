//! What a venue said of one instrument, over two times: since when it holds, and since when we know it.
//!
//! Definitions are polled, so most rows repeat the one before. What repeats *confirms*; what differs begins a version. A venue that
//! does not say since when its rules hold is believed from the moment of the answer on: the change lies between the last
//! confirmation of the version before and that moment.

use serde_json::{Map, Value};
use wholetape_model::{Body, Decimal, InstrumentDef, Record, RecordError, Ts};

/// What a definition says, field by field, as the gateway names and prints them; decimals without zeros at their end.
pub type Fields = Vec<(&'static str, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// It holds since then: the venue's time, ours where the venue prints none.
    pub from: Ts,
    /// When its first and its last row were received.
    pub known: Ts,
    pub confirmed: Ts,
    /// Place of the first row in the topic.
    pub seq: u64,
    pub fields: Fields,
    onboard: Ts,
    expiry: Ts,
}

/// All that is held of one instrument, in the order of `from`.
#[derive(Debug, Default)]
pub struct Versions {
    list: Vec<Version>,
}

impl Versions {
    /// Takes a row of the topic, unless it was received after `known_at`. Marks say nothing of rules.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn take(&mut self, record: &Record<'_>, known_at: Ts) -> Result<(), RecordError> {
        let Body::Instrument(def) = record.view()? else { return Ok(()) };
        let known = record.ts_recv();
        if known > known_at {
            return Ok(());
        }
        let from = if record.ts_event() > Ts::ZERO { record.ts_event() } else { known };
        let fields = fields(&def);
        let at = self.list.partition_point(|v| v.from <= from);
        if let Some(before) = at.checked_sub(1).and_then(|i| self.list.get_mut(i))
            && before.fields == fields
        {
            before.confirmed = before.confirmed.max(known);
            return Ok(());
        }
        let seq = record.seq();
        let (onboard, expiry) = (def.onboard, def.expiry);
        self.list.insert(at, Version { from, known, confirmed: known, seq, fields, onboard, expiry });
        Ok(())
    }

    pub fn all(&self) -> &[Version] {
        &self.list
    }

    /// What held at `at`, and until when; `None` where nothing is known of that time.
    pub fn at(&self, at: Ts) -> Option<(&Version, Option<Ts>)> {
        let i = self.list.partition_point(|v| v.from <= at).checked_sub(1)?;
        Some((&self.list[i], self.list.get(i + 1).map(|next| next.from)))
    }
}

impl Version {
    pub fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }

    /// Whether it was listed and had not expired, as far as the venue tells.
    pub fn is_listed(&self, at: Ts) -> bool {
        self.onboard <= at && (self.expiry <= Ts::ZERO || at < self.expiry)
    }

    /// What differs from the version before: field, old and new value.
    pub fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
        let both = self.fields.iter().zip(&before.fields);
        both.filter(|(new, old)| new != old).map(|(new, old)| (new.0, old.1.as_str(), new.1.as_str()))
    }

    pub fn data(&self) -> Value {
        let fields = self.fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

fn fields(def: &InstrumentDef<&str>) -> Fields {
    let plain = |d: Decimal| d.canonical().to_string();
    vec![
        ("kind", def.kind.as_str().to_owned()),
        ("status", def.status.as_str().to_owned()),
        ("tick", plain(def.tick)),
        ("step", plain(def.step)),
        ("size_min", plain(def.size_min)),
        ("size_max", plain(def.size_max)),
        ("notional_min", plain(def.notional_min)),
        ("multiplier", plain(def.multiplier)),
        ("onboard", def.onboard.0.to_string()),
        ("expiry", def.expiry.0.to_string()),
        ("symbol", def.symbol.to_owned()),
        ("base", def.base.to_owned()),
        ("quote", def.quote.to_owned()),
        ("settle", def.settle.to_owned()),
        ("status_text", def.status_text.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use wholetape_model::record::encode;
    use wholetape_model::{InstrumentKind, Row, RowFlags, Scales, TradingStatus};

    fn put(versions: &mut Versions, (event, recv, seq): (i64, i64, u64), tick: &str, expiry: i64, known_at: i64) {
        let (tick, one) = (Decimal::parse(tick.as_bytes()).unwrap(), Decimal::parse(b"1").unwrap());
        let def = InstrumentDef {
            kind: InstrumentKind::Future,
            status: TradingStatus::Trading,
            tick,
            step: one,
            size_min: one,
            size_max: one,
            notional_min: one,
            multiplier: one,
            onboard: Ts(5),
            expiry: Ts(expiry),
            symbol: "A",
            base: "A",
            quote: "B",
            settle: "B",
            status_text: "TRADING",
        };
        let (ts_event, ts_recv, flags, scales) = (Ts(event), Ts(recv), RowFlags::default(), Scales::default());
        let row = Row { ts_event, ts_recv, conn: 1, frame: 1, flags, scales, body: Body::Instrument(def) };
        let mut bytes = Vec::new();
        encode(&row, 0, seq, 1, &mut bytes);
        versions.take(&Record::parse(&bytes, true).unwrap(), Ts(known_at)).unwrap();
    }

    fn ticks(versions: &Versions) -> Vec<(i64, i64, &str)> {
        versions.all().iter().map(|v| (v.from.0, v.confirmed.0, v.get("tick"))).collect()
    }

    #[test]
    fn what_repeats_confirms_and_what_differs_is_a_version() {
        let mut v = Versions::default();
        for (recv, tick) in [(10, "0.10"), (20, "0.1"), (30, "0.01"), (40, "0.010"), (50, "0.1")] {
            put(&mut v, (recv, recv, recv as u64), tick, 0, i64::MAX);
        }
        assert_eq!(ticks(&v), [(10, 20, "0.1"), (30, 40, "0.01"), (50, 50, "0.1")]);
        assert!(v.at(Ts(9)).is_none(), "nothing was known of that time");
        let (found, until) = v.at(Ts(29)).unwrap();
        assert_eq!((found.get("tick"), until), ("0.1", Some(Ts(30))));
        assert_eq!(v.at(Ts(50)).unwrap().1, None);
        assert_eq!(v.all()[1].changes(&v.all()[0]).collect::<Vec<_>>(), [("tick", "0.1", "0.01")]);
    }

    #[test]
    fn what_was_learned_later_was_not_known_then() {
        // The venue tells at 60 that another tick holds since 35.
        let rows = [((10, 10, 1), "0.1"), ((35, 60, 2), "0.01")];
        let with = |known_at| {
            let mut v = Versions::default();
            for (times, tick) in rows {
                put(&mut v, times, tick, 0, known_at);
            }
            v
        };
        assert_eq!(with(i64::MAX).at(Ts(40)).unwrap().0.get("tick"), "0.01", "as we know today");
        assert_eq!(with(59).at(Ts(40)).unwrap().0.get("tick"), "0.1", "as was known then");
    }

    #[test]
    fn listed_from_onboard_until_expiry() {
        let mut v = Versions::default();
        put(&mut v, (1, 1, 1), "1", 100, i64::MAX);
        let listed = |at| v.all()[0].is_listed(Ts(at));
        assert_eq!([4, 5, 99, 100].map(listed), [false, true, true, false]);
    }
}
