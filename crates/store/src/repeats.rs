//! Trades that were stored before, where ids name trades and do not count them (`RowFlags::LOOSE_ID`).
//!
//! A line removes repeats as long as it remembers the id (some hours); one that came later stands on the tape with a seq of its own.
//! When its day is sealed it goes: of the rows of one id in a topic the one with the lowest seq stays. A repeat that came on a later
//! day is told by its venue time, and looked for where rows of that time are.
//!
//! Ids are compared whole. However many a day has, at most [`AT_ONCE`] are in memory: a day with more is read several times, each
//! time for its share of the ids. Rows that the tape never saw have no seq and stay: an import looks before it writes.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use wholetape_model::{Body, Record, TradeId, Ts};
use wholetape_tape::Disk;

use crate::StoreError;
use crate::manifest::Part;
use crate::names;
use crate::rows::Rows;
use crate::scan::{Chain, PartReader};
use crate::seqs::Seqs;
use crate::table::Table;

/// Ids in memory at a time, 24 bytes each.
const AT_ONCE: u64 = 1 << 21;
/// A venue's clock and ours differ by less.
const SKEW: Duration = Duration::from_secs(600);

/// The rows that are looked at.
pub(crate) struct Among<'a> {
    pub disk: &'a dyn Disk,
    pub data: &'a Path,
    pub day: i64,
    /// The day's parts in their order, and rows that are about to come among theirs.
    pub parts: Vec<&'a Part>,
    pub late: &'a Rows,
    /// Parts of the topic's earlier days.
    pub earlier: Vec<&'a Part>,
}

impl Among<'_> {
    /// Seqs of rows whose trade is stored by another row.
    ///
    /// # Errors
    /// A file that is damaged or not there.
    pub fn repeats(&self) -> Result<Seqs, StoreError> {
        self.repeats_by(AT_ONCE)
    }

    fn repeats_by(&self, at_once: u64) -> Result<Seqs, StoreError> {
        let rows = self.parts.iter().map(|p| p.rows).sum::<u64>() + self.late.len() as u64;
        let shares = rows.div_ceil(at_once).max(1);
        let mut all = Vec::new();
        for share in 0..shares {
            self.share(&|id| spread(id) % shares == share, &mut all)?;
        }
        all.sort_unstable();
        let mut seqs = Seqs::default();
        for seq in all {
            seqs.add(seq, seq);
        }
        Ok(seqs)
    }

    fn share(&self, is_mine: &dyn Fn(TradeId) -> bool, out: &mut Vec<u64>) -> Result<(), StoreError> {
        let before = names::day_start(self.day) + SKEW;
        let mut held: Vec<(TradeId, u64)> = Vec::new();
        let mut strays: HashMap<TradeId, u64> = HashMap::new();
        let mut times: Option<(Ts, Ts)> = None;
        let mut take = |record: &Record<'_>| -> Result<(), StoreError> {
            let Some(id) = named(record)?.filter(|id| is_mine(*id)) else { return Ok(()) };
            held.push((id, record.seq()));
            let event = record.ts_event();
            if event < before && record.seq() > 0 {
                strays.entry(id).and_modify(|seq| *seq = record.seq().min(*seq)).or_insert(record.seq());
                times = Some(times.map_or((event, event), |(a, b)| (a.min(event), b.max(event))));
            }
            Ok(())
        };
        let (mut chain, mut rows) = (Chain::new(self.disk, self.data, self.parts.clone()), Rows::default());
        while chain.next(&mut rows)? {
            rows.iter().try_for_each(|(_, record)| take(&record))?;
        }
        self.late.iter().try_for_each(|(_, record)| take(&record))?;
        held.sort_unstable();
        out.extend(held.windows(2).filter(|w| w[0].0 == w[1].0 && w[1].1 > 0).map(|w| w[1].1));
        let Some(times) = times else { return Ok(()) };
        for part in &self.earlier {
            self.elsewhere(part, times, &mut |id| out.extend(strays.remove(&id)))?;
        }
        Ok(())
    }

    /// Tells the ids of a part's rows of these venue times.
    fn elsewhere(&self, part: &Part, times: (Ts, Ts), tell: &mut dyn FnMut(TradeId)) -> Result<(), StoreError> {
        if part.day < names::day_of(times.0) - 1 {
            return Ok(());
        }
        let (reader, mut rows) = (PartReader::open(self.disk, self.data, part)?, Rows::default());
        for group in 0..reader.groups() {
            if reader.events(group).is_some_and(|(lo, hi)| hi < times.0.0 || lo > times.1.0) {
                continue;
            }
            reader.group(group, &mut rows)?;
            for (_, record) in rows.iter() {
                if let Some(id) = named(&record)? {
                    tell(id);
                }
            }
        }
        Ok(())
    }
}

/// A number, equal for equal ids, and spread evenly: ids may differ in any of their parts alone (a block's height, a place in it).
#[must_use]
pub fn spread(id: TradeId) -> u64 {
    let bits = id.bits();
    let mixed = ((bits >> 64) as u64).rotate_left(32) ^ bits as u64;
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// A trade's id, where it does not count.
pub(crate) fn named(record: &Record<'_>) -> Result<Option<TradeId>, StoreError> {
    Ok(match record.view()? {
        Body::Trade(t) if t.counted(record.flags()).is_none() => Some(t.id),
        _ => None,
    })
}

/// Whether a part may have such rows: of ids that count the manifest knows the ends.
pub(crate) fn may_have(part: &Part) -> bool {
    part.ids.is_none() && Table::parse(&part.table).is_some_and(|t| matches!(t, Table::Trade | Table::TradeRaw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use wholetape_model::record::encode;
    use wholetape_model::{Price, Row, RowFlags, Scales, Size, Trade, TradeCondition};
    use wholetape_tape::RealDisk;

    #[test]
    fn shares_are_even_whatever_part_of_an_id_differs() {
        let event =
            |height: u64, place: u64| TradeId::parse(format!("{height:08x}00000002{place:08x}").as_bytes()).unwrap();
        let ids: Vec<TradeId> = (0..4_000_u64)
            .flat_map(|i| {
                [
                    event(22_000_000 + i, 2),
                    event(7, i),
                    TradeId::uuid(u128::from(i) << 64 | 1 << 127).unwrap(),
                    i.into(),
                ]
            })
            .collect();
        for shares in [2_u64, 3, 8] {
            let mut counts = vec![0_u64; shares as usize];
            ids.iter().for_each(|id| counts[(spread(*id) % shares) as usize] += 1);
            let even = ids.len() as u64 / shares;
            assert!(counts.iter().all(|n| n.abs_diff(even) < even / 10), "{shares}: {counts:?}");
        }
    }

    fn rows(all: &[(u8, bool)]) -> Rows {
        let mut rows = Rows::default();
        for (i, (n, uuid)) in all.iter().enumerate() {
            let number = u64::from(*n) << 40 | u64::from(*n);
            let id = if *uuid { TradeId::uuid(1 << 64 | u128::from(number)).unwrap() } else { number.into() };
            let (price, size, condition) = (Price(1), Size(1), TradeCondition::Regular);
            let body = Body::Trade(Trade { id, first_id: 0, last_id: 0, price, size, aggressor: None, condition });
            let (ts, flags, scales) = (Ts(i as i64), RowFlags::LOOSE_ID, Scales::default());
            let row = Row { ts_event: ts, ts_recv: ts, conn: 1, frame: 1, flags, scales, body };
            rows.push_with(ts, |out| _ = encode(&row, 0, i as u64 + 1, 1, out)).unwrap();
        }
        rows
    }

    proptest! {
        /// However small the share that is looked at in one go: of each id the first stays, and every other goes.
        #[test]
        fn of_each_id_the_first_stays(all in proptest::collection::vec((0_u8..40, any::<bool>()), 0..120), at_once in 1_u64..200) {
            let late = rows(&all);
            let among = Among { disk: &RealDisk, data: Path::new("/"), day: 0, parts: Vec::new(), late: &late, earlier: Vec::new() };
            let mut first: BTreeMap<(u8, bool), u64> = BTreeMap::new();
            let mut gone = BTreeSet::new();
            for (key, seq) in all.iter().zip(1..) {
                if *first.entry(*key).or_insert(seq) != seq {
                    gone.insert(seq);
                }
            }
            let found = among.repeats_by(at_once).unwrap();
            prop_assert_eq!((1..=all.len() as u64).filter(|seq| found.has(*seq)).collect::<BTreeSet<_>>(), gone);
        }
    }
}
