//! Late rows between their neighbours: the corrected order of DESIGN §2.
//!
//! Rows in order come as a stream; late ones, sorted, are put in where they belong. A late trade stands before the first row with a
//! greater id; what has none that counts stands before the first row of a later time. Its `ts_init` is its `ts_event`, clamped between
//! those of the rows around it and to the interval that the file's name tells, so that files never overlap. The result is in the
//! order of `(ts_init, seq)`: where the rows around it have one and the same time, the late row (its seq is higher) follows them.

use wholetape_model::{Body, Record, Ts};

use crate::StoreError;
use crate::rows::Rows;
use crate::table::Table;

/// What a row is placed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Id(u64),
    Time(i64),
}

/// # Errors
/// A record that cannot be read.
pub(crate) fn place(table: Table, record: &Record<'_>) -> Result<Place, StoreError> {
    Ok(match (table, record.view()?) {
        (Table::Trade | Table::TradeRaw, Body::Trade(t)) => {
            t.counted(record.flags()).map_or(Place::Time(record.ts_event().0), Place::Id)
        }
        _ => Place::Time(record.ts_event().0),
    })
}

/// Late rows, waiting for their places.
pub struct Late {
    table: Table,
    rows: Rows,
    order: Vec<(Place, u64, usize)>,
    next: usize,
    /// Late rows before this one stand among rows of the time `last`, and follow them.
    among: usize,
    /// `ts_init` of the row that was given out last.
    last: Ts,
    bounds: (Ts, Ts),
    run: Vec<(Ts, u64, usize)>,
}

impl Late {
    /// `bounds`: the interval that the rows around cover, both ends inclusive.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn new(table: Table, rows: Rows, bounds: (Ts, Ts)) -> Result<Self, StoreError> {
        let mut order = Vec::with_capacity(rows.len());
        for (i, (_, record)) in rows.iter().enumerate() {
            order.push((place(table, &record)?, record.seq(), i));
        }
        order.sort_unstable();
        Ok(Self { table, rows, order, next: 0, among: 0, last: bounds.0, bounds, run: Vec::new() })
    }

    /// Gives out the late rows that stand before `record`, then `record` itself.
    ///
    /// # Errors
    /// Those of `out`; a record that cannot be read.
    pub fn before<E: From<StoreError>>(
        &mut self,
        ts_init: Ts,
        record: Record<'_>,
        out: &mut impl FnMut(Ts, Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.next < self.order.len() {
            let own = match place(self.table, &record)? {
                // A live row without an id stands where it was received.
                Place::Time(_) => Place::Time(ts_init.0),
                id @ Place::Id(_) => id,
            };
            let upto = self.next + self.order[self.next..].partition_point(|late| late.0 < own);
            if ts_init > self.last {
                self.give(upto, ts_init, out)?;
            } else {
                self.among = self.among.max(upto);
            }
        }
        self.last = self.last.max(ts_init);
        out(ts_init, record)
    }

    /// Gives out the late rows up to `upto`: times by their places, and those of one time by seq.
    fn give<E>(
        &mut self,
        upto: usize,
        before: Ts,
        out: &mut impl FnMut(Ts, Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.run.clear();
        while self.next < upto {
            let (_, seq, at) = self.order[self.next];
            let until = if self.next < self.among { self.last } else { Ts(before.0 - 1).min(self.bounds.1) };
            self.last = self.rows.get(at).1.ts_event().min(until).max(self.last);
            self.run.push((self.last, seq, at));
            self.next += 1;
        }
        // Healed backwards, a trade with a smaller id has the higher seq.
        self.run.sort_unstable();
        for (ts, _, at) in &self.run {
            out(*ts, self.rows.get(*at).1)?;
        }
        Ok(())
    }

    /// Gives out what stands behind the last row.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn rest<E>(&mut self, out: &mut impl FnMut(Ts, Record<'_>) -> Result<(), E>) -> Result<(), E> {
        self.give(self.order.len(), Ts::MAX, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wholetape_model::record::encode;
    use wholetape_model::{Price, Row, RowFlags, Scales, Size, Trade, TradeCondition};

    fn add(rows: &mut Rows, id: u64, seq: u64, event: i64, init: i64) {
        let body = Body::Trade(Trade {
            id: id.into(),
            first_id: id,
            last_id: id,
            price: Price(1),
            size: Size(1),
            aggressor: None,
            condition: TradeCondition::Regular,
        });
        let row = Row {
            ts_event: Ts(event),
            ts_recv: Ts(init),
            conn: 1,
            frame: 1,
            flags: RowFlags::default(),
            scales: Scales::default(),
            body,
        };
        rows.push_with(Ts(init), |out| {
            encode(&row, 0, seq, 1, out);
        })
        .unwrap();
    }

    proptest! {
        /// Ids 1..=n, of which some are late, healed forwards or backwards: the order is (ts_init, seq), all are there once, and
        /// where times allow it ids ascend.
        #[test]
        fn late_rows_come_to_stand_between_their_neighbours(
            all in proptest::collection::vec((any::<bool>(), 0_i64..4, -3_i64..4), 1..60),
            backwards in any::<bool>(),
        ) {
            let (mut live, mut late) = (Rows::default(), Rows::default());
            let (mut now, n) = (1_000, all.len() as u64);
            for (i, (is_late, step, skew)) in all.iter().enumerate() {
                now += step;
                let id = i as u64 + 1;
                if *is_late {
                    add(&mut late, id, if backwards { 2 * n + 1 - id } else { n + id }, now + skew, 9_999);
                } else {
                    add(&mut live, id, id, now + skew, now);
                }
            }
            let bounds = (Ts(900), Ts(2_000));
            let mut merge = Late::new(Table::Trade, late, bounds).unwrap();
            let mut got: Vec<(i64, u64, u64)> = Vec::new();
            let mut out = |ts: Ts, r: Record<'_>| -> Result<(), StoreError> {
                let Body::Trade(t) = r.view()? else { unreachable!() };
                got.push((ts.0, r.seq(), t.id.number().unwrap_or_default()));
                Ok(())
            };
            for (ts, record) in live.iter() {
                merge.before(ts, record, &mut out).unwrap();
            }
            merge.rest(&mut out).unwrap();
            prop_assert_eq!(got.len(), all.len());
            prop_assert!(got.windows(2).all(|w| (w[0].0, w[0].1) < (w[1].0, w[1].1)), "{:?}", got);
            prop_assert!(got.iter().all(|g| g.0 >= 900 && g.0 <= 2_000));
            for w in got.windows(2) {
                prop_assert!(w[0].2 < w[1].2 || w[0].0 == w[1].0, "{:?}", got);
            }
        }
    }
}
