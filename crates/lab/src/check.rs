//! What must hold of a world, whatever went wrong in it. Each check returns what does not hold, in words.

use std::collections::{BTreeMap, BTreeSet};

use wholetape_book::OrderBook;
use wholetape_model::{BookAction, Gap, GapState, Kind, Level, Levels, Scales, Side, Ts, ValidityState};

use crate::world::{Kept, World};

/// Every check.
///
/// # Errors
/// The first thing that does not hold.
pub fn all(world: &World) -> Result<(), String> {
    trades_are_the_venues(world)?;
    gaps_have_verdicts(world)?;
    books_are_the_venues(world)?;
    quotes_are_held_or_confessed(world)?;
    requests_are_few(world)
}

fn gaps(rows: &[Kept]) -> impl Iterator<Item = &Gap<String>> {
    rows.iter().filter_map(|r| match r {
        Kept::Gap(g) => Some(g),
        _ => None,
    })
}

fn fits(raw: i64, scale: u8, truth: i64, truth_scale: u8) -> bool {
    i128::from(raw) * 10_i128.pow(truth_scale.into()) == i128::from(truth) * 10_i128.pow(scale.into())
}

/// P1 and P2 for trades: from the first one held on, each id once, all fields the venue's; what is missing was never
/// published, and a verdict says so.
pub fn trades_are_the_venues(world: &World) -> Result<(), String> {
    let mut held = BTreeMap::new();
    for row in world.of(Kind::Trade) {
        if let Kept::Trade(trade, scales, ts, _) = row
            && held.insert(trade.id, (*trade, *scales, *ts)).is_some()
        {
            return Err(format!("trade {} appended twice", trade.id));
        }
    }
    let Some((&first, _)) = held.iter().next() else { return Err("no trade at all".into()) };
    let mut never: BTreeSet<u64> = BTreeSet::new();
    for gap in gaps(world.of(Kind::Trade)).filter(|g| g.state == GapState::NeverPublished) {
        never.extend(gap.from_id..=gap.to_id);
    }
    for t in world.venue.trades.iter().filter(|t| t.id >= first) {
        let Some((trade, scales, ts)) = held.remove(&t.id) else { return Err(format!("trade {} is missing", t.id)) };
        let same = fits(trade.price.0, scales.price, t.price, 2)
            && fits(trade.size.0, scales.size, t.size, 3)
            && ts == Ts::from_millis(t.time_ms)
            && (trade.aggressor == Some(Side::Sell)) == t.buyer_is_maker;
        if !same {
            return Err(format!("trade {} differs: {trade:?} is not {t:?}", t.id));
        }
    }
    if let Some(id) = held.keys().next() {
        return Err(format!("trade {id} was invented"));
    }
    match world.venue.skipped.iter().find(|id| **id > first && !never.contains(id)) {
        Some(id) if world.venue.trades.last().is_some_and(|t| t.id > *id) => {
            let about: Vec<_> =
                gaps(world.of(Kind::Trade)).filter(|g| g.from_id <= *id + 1 && g.to_id + 1 >= *id).collect();
            Err(format!("id {id} was never published, and no verdict says so; what is said of it: {about:?}"))
        }
        _ => Ok(()),
    }
}

/// No gap leaves without a verdict.
pub fn gaps_have_verdicts(world: &World) -> Result<(), String> {
    for (topic, rows) in &world.rows {
        let mut open = BTreeMap::new();
        for gap in gaps(rows) {
            match gap.state {
                GapState::Open if open.insert(gap.gap, gap).is_some() => {
                    return Err(format!("{topic}: gap {} opened twice", gap.gap));
                }
                GapState::Open => {}
                _ => {
                    open.remove(&gap.gap);
                }
            }
        }
        if let Some(gap) = open.values().next() {
            return Err(format!("{topic}: no verdict for {gap:?}"));
        }
    }
    Ok(())
}

fn side(book: &OrderBook, side: Side) -> Vec<(i64, i64)> {
    let mut levels: Vec<Level> = Vec::new();
    book.all(side, &mut levels);
    let Scales { price, size } = book.scales();
    let at = |raw: i64, from: u8, to: u8| wholetape_model::decimal::rescale_raw(raw, from, to).unwrap_or(i64::MIN);
    levels.iter().map(|l| (at(l.price.0, price, 2), at(l.size.0, size, 3))).collect()
}

/// P3: the book that the rows make is the venue's at every update between `live` and `syncing`, and live in the end; what is
/// published and not held lies in a confessed range of ids.
pub fn books_are_the_venues(world: &World) -> Result<(), String> {
    let mut book = OrderBook::new(100_000);
    let mut live = false;
    let mut at = 0;
    let mut held = BTreeSet::new();
    let mut first = None;
    for row in world.of(Kind::Book) {
        match row {
            Kept::Book { action, first: from, last, scales, bids, asks, .. } => {
                let (b, a) = (Levels::Native(bids), Levels::Native(asks));
                match action {
                    BookAction::Checkpoint => continue,
                    BookAction::Snapshot => book.replace(b, a, *scales).map_err(|e| e.to_string())?,
                    BookAction::Delta => {
                        if !held.insert((*from, *last)) {
                            return Err(format!("update {last} appended twice"));
                        }
                        book.apply(b, a, *scales).map_err(|e| e.to_string())?;
                    }
                }
                first.get_or_insert(*last);
                at = *last;
                if let (BookAction::Delta, Some(truth)) = (action, world.venue.history.get(last)) {
                    let bids: Vec<_> = truth.bids.iter().rev().map(|(p, s)| (*p, *s)).collect();
                    let asks: Vec<_> = truth.asks.iter().map(|(p, s)| (*p, *s)).collect();
                    if side(&book, Side::Buy) != bids || side(&book, Side::Sell) != asks {
                        return Err(format!("book differs from the venue's at update {last}"));
                    }
                }
            }
            Kept::Validity(state, _) => live = *state == ValidityState::Live,
            _ => {}
        }
    }
    let newest = world.venue.updates.last().map_or(0, |u| u.1);
    if !live || at < newest {
        return Err(format!("book ends {} at {at}, the venue's at {newest}", if live { "live" } else { "not live" }));
    }
    let confessed: Vec<(u64, u64)> = gaps(world.of(Kind::Book)).map(|g| (g.from_id, g.to_id)).collect();
    let first = first.unwrap_or(0);
    for update in world.venue.updates.iter().filter(|u| u.0 > first) {
        let in_gap = confessed.iter().any(|(lo, hi)| update.0 <= *hi && update.1 >= *lo);
        if !held.contains(update) && !in_gap {
            return Err(format!("update {update:?} is neither held nor confessed"));
        }
    }
    Ok(())
}

/// P1 for what no id protects: each quote is held, or was published in a confessed stretch of time.
pub fn quotes_are_held_or_confessed(world: &World) -> Result<(), String> {
    let rows = world.of(Kind::Quote);
    let mut held = BTreeSet::new();
    for row in rows {
        if let Kept::Quote(q, scales) = row {
            let raw = |v: i64, from: u8, to: u8| wholetape_model::decimal::rescale_raw(v, from, to).unwrap_or(i64::MIN);
            let quote = (
                q.update_id,
                raw(q.bid.0, scales.price, 2),
                raw(q.bid_size.0, scales.size, 3),
                raw(q.ask.0, scales.price, 2),
                raw(q.ask_size.0, scales.size, 3),
            );
            held.insert(quote);
        }
    }
    let Some(first) = held.iter().next().map(|q| q.0) else { return Ok(()) };
    let lost: Vec<(Ts, Ts)> = gaps(rows).filter(|g| g.state != GapState::Open).map(|g| (g.from_ts, g.to_ts)).collect();
    for (ms, quote) in world.venue.quotes.iter().filter(|(_, q)| q.0 > first) {
        let at = Ts::from_millis(*ms);
        // A frame is 2 ms on its way.
        let slack = std::time::Duration::from_millis(4);
        let confessed = lost.iter().any(|(from, to)| *from - slack <= at && at <= *to);
        if !held.remove(quote) && !confessed {
            let ms = |ts: Ts| ts.millis() - crate::world::START_MS;
            let lost: Vec<_> = lost.iter().map(|(from, to)| (ms(*from), ms(*to))).collect();
            let at = ms(at);
            return Err(format!(
                "quote {quote:?} of {at} ms is neither held nor confessed, of which there are {lost:?}"
            ));
        }
    }
    Ok(())
}

/// Healing and resync never storm: requests are bounded by time and by what went wrong.
pub fn requests_are_few(world: &World) -> Result<(), String> {
    let total: u64 = world.fetches.values().sum();
    let seconds = (world.now().millis() - crate::world::START_MS) as u64 / 1_000;
    let bound = 40 + seconds * 6;
    if total > bound { Err(format!("{total} requests in {seconds} s: {:?}", world.fetches)) } else { Ok(()) }
}
