//! Shares against a model that holds everything at once.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

/// A row of few names, moments and prices, so that many are the same.
fn row(name: u8, ms: u8, price: u8, at: u64, held: bool) -> Slim {
    // The same value in different prints; held to the ms, and the file a little finer.
    let (price, scale) = if held { (i64::from(price) * 10, 3) } else { (i64::from(price), 2) };
    let trade = Trade {
        id: TradeId::uuid(u128::from(name) << 64 | 1 << 100 | 1 << 63).unwrap(),
        first_id: 0,
        last_id: 0,
        price: Price(price),
        size: Size(1),
        aggressor: Some(Side::Buy),
        condition: TradeCondition::Regular,
    };
    let ts = Ts(i64::from(ms) * 1_000_000 + if held { 0 } else { 300_000 });
    Slim::new(&trade, Scales { price: scale, size: 0 }, ts, at, held)
}

/// What the shares tell: rows that are the same, different, missing (lines) and extra (names).
fn shares(rows: &[Slim], by: By, of: u64) -> Result<(u64, u64, Vec<u64>, Vec<TradeId>), String> {
    let (mut same, mut other, mut missing, mut extra) = (0, 0, Vec::new(), Vec::new());
    for at in 0..of {
        let mut share = Share(rows.iter().copied().filter(|r| r.share(by, of) == at).collect());
        let told = share.settle(by, &mut |told| {
            match told {
                Told::Same => same += 1,
                Told::Both(a, h) if compare(&a.event(), &h.event()).is_empty() => same += 1,
                Told::Both(..) => other += 1,
                Told::Missing(row) => missing.push(row.at),
                Told::Extra(row) => extra.push(row.id),
                Told::Twice(a, b) => anyhow::bail!("{} {}", a.at, b.at),
            }
            Ok(())
        });
        told.map_err(|e| e.to_string())?;
        assert!(share.0.is_empty());
    }
    missing.sort_unstable();
    extra.sort_unstable();
    Ok((same, other, missing, extra))
}

proptest! {
    /// However many shares: by name each row of the file has at most one of the tape, and what is held twice is one.
    #[test]
    fn by_name_the_shares_tell_what_a_map_tells(
        file in prop::collection::btree_map(0_u8..30, (0_u8..4, 0_u8..3), 0..30),
        held in prop::collection::vec((0_u8..30, 0_u8..4, 0_u8..3), 0..40),
        of in 1_u64..6,
    ) {
        let mut first: BTreeMap<u8, (u8, u8)> = BTreeMap::new();
        for (name, ms, price) in &held {
            first.entry(*name).or_insert((*ms, *price));
        }
        let lines: Vec<Slim> = file.iter().zip(2..).map(|((n, (ms, p)), at)| row(*n, *ms, *p, at, false)).collect();
        let rows: Vec<Slim> = held.iter().zip(1..).map(|((n, ms, p), at)| row(*n, *ms, *p, at, true)).chain(lines.iter().copied()).collect();
        let same = file.iter().filter(|(n, said)| first.get(n) == Some(said)).count() as u64;
        let both = file.keys().filter(|n| first.contains_key(n)).count() as u64;
        let missing: Vec<u64> = file.keys().zip(2..).filter(|(n, _)| !first.contains_key(n)).map(|(_, at)| at).collect();
        let mut extra: Vec<TradeId> = first.keys().filter(|n| !file.contains_key(n)).map(|n| row(*n, 0, 0, 0, true).id).collect();
        extra.sort_unstable();
        prop_assert_eq!(shares(&rows, By::Name, of), Ok((same, both - same, missing, extra)));
        // A name that the file has twice is told, wherever it stands.
        if let Some(again) = lines.last() {
            let mut rows = rows.clone();
            rows.insert(0, Slim { at: 99, ..*again });
            prop_assert_eq!(shares(&rows, By::Name, of), Err(format!("{} 99", again.at)));
        }
    }

    /// By value the counts decide; of rows that say the same the last lines are missing. What is missing, once it is held, makes both
    /// sides equal, and only then, if nothing else is held.
    #[test]
    fn by_value_the_counts_decide(
        file in prop::collection::vec((0_u8..4, 0_u8..3), 0..30),
        held in prop::collection::vec((0_u8..30, 0_u8..4, 0_u8..3), 0..30),
        of in 1_u64..6,
    ) {
        let mut mine: BTreeMap<u8, (u8, u8)> = BTreeMap::new();
        for (name, ms, price) in &held {
            mine.entry(*name).or_insert((*ms, *price));
        }
        let mut left: BTreeMap<(u8, u8), u64> = BTreeMap::new();
        mine.values().for_each(|said| *left.entry(*said).or_default() += 1);
        let (mut same, mut missing) = (0, Vec::new());
        for (said, at) in file.iter().zip(2..) {
            match left.get_mut(said).filter(|n| **n > 0) {
                Some(n) => (*n, same) = (*n - 1, same + 1),
                None => missing.push(at),
            }
        }
        // Names of the file's rows are its own: 100 and on, whatever they say.
        let line = |at: u64| row(100 + at as u8, file[at as usize - 2].0, file[at as usize - 2].1, at, false);
        let lines = (2..2 + file.len() as u64).map(line);
        let rows: Vec<Slim> = mine.iter().zip(1..).map(|((n, (ms, p)), at)| row(*n, *ms, *p, at, true)).chain(lines).collect();
        let told = shares(&rows, By::Value, of).unwrap();
        prop_assert_eq!((told.0, told.1, &told.2), (same, 0, &missing));
        prop_assert_eq!(told.3.len() as u64, left.values().sum::<u64>());
        let healed: Vec<Slim> = missing.iter().map(|at| Slim { held: true, ..line(*at) }).chain(rows.iter().copied()).collect();
        let again = shares(&healed, By::Value, of).unwrap();
        prop_assert_eq!((again.0, again.2, again.3), (file.len() as u64, Vec::new(), told.3));
    }

    #[test]
    fn lines_are_kept_exactly(all in prop::collection::btree_set(1_u64..5_000, 0..200)) {
        let mut lines = Lines::default();
        all.iter().rev().for_each(|line| lines.add(*line));
        let seqs = lines.seqs();
        prop_assert_eq!((1..5_001).filter(|l| seqs.has(*l)).collect::<Vec<_>>(), all.into_iter().collect::<Vec<_>>());
    }
}
