//! What must hold of a world in the end, whatever went wrong in it: held ∪ confessed = truth, each thing once, every book the
//! venue's, every reader told. Each check returns what does not hold, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wholetape_book::OrderBook;
use wholetape_model::{BookAction, Gap, GapState, Kind, Level, Levels, Scales, Side, Topic, Trade, Ts, ValidityState};

use crate::market::{Flat, Market, TrueTrade, Variant};
use crate::outside::SECOND;
use crate::witness::{Gone, Kept, Row};
use crate::world::World;

/// Every check.
///
/// # Errors
/// The first thing that does not hold.
pub fn all(world: &mut World) -> Result<(), String> {
    // First: whoever is told to wait for overrunning a host cannot become whole.
    budget_was_kept(world)?;
    for market in 0..world.o.markets.len() {
        let view = View::of(world, market);
        let name = world.instrument(market);
        let all = || -> Result<[u64; 4], String> {
            gaps_have_verdicts(&view.trades)?;
            gaps_have_verdicts(&view.books)?;
            gaps_have_verdicts(&view.quotes)?;
            let trades = if view.market.variant.counts_trades() {
                trades_are_the_venues(&view)?
            } else {
                loose_trades_are_held_or_confessed(&view, &world.readings)?
            };
            let (updates, splices) = books_are_the_venues(&view, &world.readings)?;
            let quotes = quotes_are_held_or_confessed(&view, &world.readings)?;
            Ok([trades, updates, splices, quotes])
        };
        let [trades, updates, splices, quotes] = all().map_err(|why| format!("{name}: {why}"))?;
        let m = &world.o.markets[market];
        let f = &mut world.figures;
        f.trades += m.trades.len() as u64;
        f.updates += m.updates.len() as u64;
        f.quotes += m.quotes.len() as u64;
        f.trades_lost += trades;
        f.updates_lost += updates;
        f.splices += splices;
        f.quotes_lost += quotes;
    }
    let removed = |log: &crate::witness::Log| log.gone.values().filter(|g| **g == Gone::Space).count() as u64;
    world.figures.removed = world.witness.topics.values().map(removed).sum();
    world.witness.removals_are_named()?;
    for cursor in &world.cursors {
        cursor.check(&world.witness)?;
    }
    Ok(())
}

/// One topic: what the tape holds, and what it held and named as gone.
#[derive(Clone)]
pub struct TopicView<'a> {
    pub name: String,
    pub rows: &'a [Row],
    pub missed: &'a [(u64, u64)],
    pub gone: Vec<(&'a Row, Gone)>,
}

/// All that one instrument's checks need.
pub struct View<'a> {
    pub market: &'a Market,
    pub trades: TopicView<'a>,
    pub books: TopicView<'a>,
    pub quotes: TopicView<'a>,
}

impl<'a> View<'a> {
    pub fn of(world: &'a World, market: usize) -> Self {
        let id = world.instrument(market);
        let topic = |kind| {
            let name = Topic::new(kind, id).as_str().to_owned();
            let held = world.held.get(&name);
            TopicView {
                rows: held.map_or(&[], |w| &w.rows),
                missed: held.map_or(&[], |w| &w.missed),
                gone: world.witness.gone(&name).collect(),
                name,
            }
        };
        Self {
            market: &world.o.markets[market],
            trades: topic(Kind::Trade),
            books: topic(Kind::Book),
            quotes: topic(Kind::Quote),
        }
    }
}

impl TopicView<'_> {
    /// The rows that `wanted` says matter, in short, for people.
    fn story(&self, wanted: impl Fn(&Row) -> bool) -> String {
        let mut text = String::new();
        let gone = self.gone.iter().map(|(row, why)| (*row, Some(*why)));
        let mut all: Vec<_> = self.rows.iter().map(|r| (r, None)).chain(gone).filter(|(r, _)| wanted(r)).collect();
        all.sort_by_key(|(r, _)| r.seq);
        for (row, gone) in all.into_iter().take(60) {
            let at = (row.ts_recv.0 - crate::outside::START) as f64 / 1e9;
            let what = match &row.kept {
                Kept::Trade(t, _) => format!("trade {}", t.id),
                // Without an id it is named by what it says.
                Kept::Quote(q, _) if q.update_id == 0 => {
                    format!("quote {} of {}, {} of {}", q.bid.0, q.bid_size.0, q.ask.0, q.ask_size.0)
                }
                Kept::Quote(q, _) => format!("quote {}", q.update_id),
                Kept::Book { action, first, last, .. } => format!("{action:?} {first} to {last}"),
                Kept::Gap(g) => {
                    let (from, to) = (g.from_ts.0 - crate::outside::START, g.to_ts.0 - crate::outside::START);
                    let times = format!("{:.3} to {:.3} s", from as f64 / 1e9, to as f64 / 1e9);
                    format!("gap {:?} {:?} ids {} to {}, {times}: {}", g.state, g.cause, g.from_id, g.to_id, g.why)
                }
                Kept::Validity(state, id) => format!("{state:?} at {id}"),
                Kept::Other => "other".into(),
            };
            let gone = gone.map_or(String::new(), |why| format!(" (gone: {why:?})"));
            text.push_str(&format!("\n    seq {} (after {}) at {at:.3} s: {what}{gone}", row.seq, row.prev));
        }
        text
    }

    /// Gap marks on the tape.
    fn gaps(&self) -> impl Iterator<Item = &Gap<String>> {
        self.rows.iter().filter_map(|r| gap(&r.kept))
    }

    /// Gap marks that went with their segment: they were told, and so was their going.
    fn gone_gaps(&self) -> impl Iterator<Item = &Gap<String>> {
        self.gone.iter().filter_map(|(r, _)| gap(&r.kept))
    }
}

fn gap(kept: &Kept) -> Option<&Gap<String>> {
    match kept {
        Kept::Gap(g) => Some(g),
        _ => None,
    }
}

fn fits(raw: i64, scale: u8, truth: i64, truth_scale: u8) -> bool {
    i128::from(raw) * 10_i128.pow(truth_scale.into()) == i128::from(truth) * 10_i128.pow(scale.into())
}

/// Trades of a topic by the truth's ids, those on the tape and those that were.
type Held = BTreeMap<u64, (Trade, Scales, Ts)>;

fn trades_held(view: &View<'_>) -> Result<(Held, BTreeSet<u64>), String> {
    let number = |trade: &Trade| view.market.variant.trade_number(trade.id);
    let mut held = Held::new();
    for row in view.trades.rows {
        if let Kept::Trade(trade, scales) = &row.kept
            && let Some(id) = number(trade)
            && held.insert(id, (*trade, *scales, row.ts_event)).is_some()
        {
            return Err(format!("P2: trade {} is on the tape twice", trade.id));
        }
    }
    let gone = view.trades.gone.iter().filter_map(|(r, _)| match &r.kept {
        Kept::Trade(t, _) => number(t),
        _ => None,
    });
    Ok((held, gone.collect()))
}

fn is_that_trade((trade, scales, ts): &(Trade, Scales, Ts), t: &TrueTrade) -> Result<(), String> {
    let same = fits(trade.price.0, scales.price, t.price, 2)
        && fits(trade.size.0, scales.size, t.size, 3)
        && *ts == Ts::from_millis(t.time_ms)
        && (trade.aggressor == Some(Side::Sell)) == t.buyer_is_maker;
    if same { Ok(()) } else { Err(format!("P2: trade {} differs: {trade:?} is not {t:?}", t.id)) }
}

/// P1 and P2 for trades that nothing brings back and no id counts: from the first one held on, each is held once, or was made in
/// a confessed stretch of time. Returns how many are confessed.
pub fn loose_trades_are_held_or_confessed(view: &View<'_>, readings: &[(i64, i64)]) -> Result<u64, String> {
    let (mut held, gone) = trades_held(view)?;
    let Some(first) = held.keys().chain(&gone).min().copied() else { return Err("no trade at all".into()) };
    // A stretch that was healed by overlap confesses nothing.
    let confessed = Stretches::those(&view.trades, readings, |g| g.from_id == 0 && g.state == GapState::Lost);
    let mut lost = 0;
    for t in view.market.trades.iter().filter(|t| t.id >= first) {
        if let Some(one) = held.remove(&t.id) {
            is_that_trade(&one, t)?;
        } else if !gone.contains(&t.id) {
            let at = Ts::from_millis(t.time_ms);
            if !confessed.cover(at) {
                let seconds = (at.0 - crate::outside::START) as f64 / 1e9;
                let near = view.trades.story(|row| match &row.kept {
                    Kept::Trade(r, _) => {
                        view.market.variant.trade_number(r.id).is_some_and(|id| id.abs_diff(t.id) <= 5)
                    }
                    Kept::Gap(g) => (g.from_ts.0 - at.0).abs().min((g.to_ts.0 - at.0).abs()) < 20 * SECOND,
                    _ => false,
                });
                return Err(format!(
                    "P1: trade {} of {seconds:.3} s is neither held nor confessed; near it: {near}",
                    t.id
                ));
            }
            lost += 1;
        }
    }
    match held.keys().next() {
        Some(id) => Err(format!("P2: trade {id} was invented")),
        None => Ok(lost),
    }
}

/// P1 and P2 for trades: from the first one held on, each id once, all fields the venue's; what is missing was never
/// published, and a verdict says so. Returns how many are lost for ever.
pub fn trades_are_the_venues(view: &View<'_>) -> Result<u64, String> {
    let (mut held, gone) = trades_held(view)?;
    let Some(first) = held.keys().chain(&gone).min().copied() else { return Err("no trade at all".into()) };
    let (mut never, mut confessed): (BTreeSet<u64>, Vec<(u64, u64)>) = (BTreeSet::new(), Vec::new());
    for gap in view.trades.gaps().chain(view.trades.gone_gaps()) {
        match gap.state {
            GapState::NeverPublished => never.extend(gap.from_id..=gap.to_id),
            GapState::Lost if gap.from_id > 0 => confessed.push((gap.from_id, gap.to_id)),
            _ => {}
        }
    }
    // Told of, and then the telling went with its segment.
    confessed.extend(view.trades.gone_gaps().filter(|g| g.from_id > 0).map(|g| (g.from_id, g.to_id)));
    let mut lost = 0;
    for t in view.market.trades.iter().filter(|t| t.id >= first) {
        let Some(one) = held.remove(&t.id) else {
            if gone.contains(&t.id) {
                continue;
            }
            if confessed.iter().any(|(lo, hi)| (*lo..=*hi).contains(&t.id)) {
                lost += 1;
                continue;
            }
            let seconds = (t.time_ms * 1_000_000 - crate::outside::START) as f64 / 1e9;
            let near = view.trades.story(|row| match &row.kept {
                Kept::Trade(r, _) => r.id.number().is_some_and(|id| id.abs_diff(t.id) <= 3),
                Kept::Gap(g) => g.from_id <= t.id + 10 && g.to_id + 10 >= t.id,
                _ => false,
            });
            return Err(format!(
                "P1: trade {} of {seconds:.3} s is missing and nothing says so; near it: {near}",
                t.id
            ));
        };
        is_that_trade(&one, t)?;
    }
    if let Some(id) = held.keys().next() {
        return Err(format!("P2: trade {id} was invented"));
    }
    match view.market.skipped.iter().find(|id| **id > first && !never.contains(id)) {
        Some(id) if view.market.trades.last().is_some_and(|t| t.id > *id) => {
            if confessed.iter().any(|(lo, hi)| (*lo..=*hi).contains(id)) || gone.range(*id..).next().is_some() {
                return Ok(lost);
            }
            let about: Vec<_> = view.trades.gaps().filter(|g| g.from_id <= *id + 1 && g.to_id + 1 >= *id).collect();
            Err(format!("P1: id {id} was never published, and no verdict says so; what is said of it: {about:?}"))
        }
        _ => Ok(lost),
    }
}

/// No gap leaves without a verdict.
pub fn gaps_have_verdicts(topic: &TopicView<'_>) -> Result<(), String> {
    let mut open = BTreeMap::new();
    for gap in topic.gaps() {
        match gap.state {
            GapState::Open if open.insert(gap.gap, gap).is_some() => {
                return Err(format!("P1: {}: gap {} opened twice", topic.name, gap.gap));
            }
            GapState::Open => {}
            _ => {
                open.remove(&gap.gap);
            }
        }
    }
    // A verdict that went with its segment was told, and so was its going.
    for gap in topic.gone_gaps().filter(|g| g.state != GapState::Open) {
        open.remove(&gap.gap);
    }
    match open.values().next() {
        Some(gap) => {
            let near = topic.story(|row| match &row.kept {
                Kept::Trade(t, _) => t.id.number().is_some_and(|id| gap.from_id <= id + 2 && id <= gap.to_id + 2),
                Kept::Gap(g) => g.gap == gap.gap || (g.from_id <= gap.to_id + 3 && g.to_id + 3 >= gap.from_id),
                _ => false,
            });
            Err(format!("P1: {}: no verdict for gap {}; near it: {near}", topic.name, gap.gap))
        }
        None => Ok(()),
    }
}

/// Price and size as the truth has them.
fn exact(level: &Level, scales: Scales) -> (i64, i64) {
    let at = |raw: i64, from: u8, to: u8| wholetape_model::decimal::rescale_raw(raw, from, to).unwrap_or(i64::MIN);
    (at(level.price.0, scales.price, 2), at(level.size.0, scales.size, 3))
}

fn side(book: &OrderBook, side: Side) -> Flat {
    let mut levels: Vec<Level> = Vec::new();
    book.all(side, &mut levels);
    levels.iter().map(|l| exact(l, book.scales())).collect()
}

fn book_id(variant: Variant, id: u64, row: &Row, scales: Scales, bids: &[Level]) -> u64 {
    variant.book_id(id, row.ts_event, bids.iter().map(|level| exact(level, scales)))
}

/// A side is what the venue told, but for levels of which a late subscriber is not told.
fn is_told(book: &OrderBook, of: Side, told: &Flat, hidden: Option<&BTreeSet<i64>>) -> bool {
    let ours = side(book, of);
    let Some(hidden) = hidden.filter(|_| ours != *told) else { return ours == *told };
    let held: BTreeSet<i64> = ours.iter().map(|(price, _)| *price).collect();
    told.iter().filter(|(price, _)| held.contains(price) || !hidden.contains(price)).eq(ours.iter())
}

/// P3: the book that the rows make is the venue's at every update between `live` and `syncing`, and live in the end; what is
/// published and not held lies in a confessed range of ids. (Where the venue's ids began anew meanwhile a range of them says nothing:
/// there the mark's time counts.) Returns how many updates are confessed, and how many times the book became right.
pub fn books_are_the_venues(view: &View<'_>, readings: &[(i64, i64)]) -> Result<(u64, u64), String> {
    let topic = &view.books;
    let mut book = OrderBook::new(100_000);
    // Known from a snapshot or checkpoint on; unknown again behind a hole.
    let (mut known, mut live, mut splices) = (false, false, 0);
    let (mut at, mut seq) = (0, 0);
    let (mut mended, mut mended_at) = (false, Ts::ZERO);
    let (mut held, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
    let variant = view.market.variant;
    let streamed = !variant.is_anchored();
    for row in topic.rows {
        if row.prev != row.seq - 1 || topic.missed.iter().any(|(prev, to)| *prev >= seq && *to < row.seq) {
            known = false;
        }
        seq = row.seq;
        match &row.kept {
            Kept::Book { action, first: from, last, scales, bids, asks } => {
                let [from, last] = [*from, *last].map(|id| book_id(variant, id, row, *scales, bids));
                let (b, a) = (Levels::Native(bids), Levels::Native(asks));
                match action {
                    BookAction::Snapshot | BookAction::Checkpoint => {
                        // Only a live book is appended whole as a checkpoint: the mark may have gone with its segment.
                        live |= *action == BookAction::Checkpoint;
                        if *action == BookAction::Checkpoint && known {
                            let mut same = OrderBook::new(100_000);
                            same.replace(b, a, *scales).map_err(|e| e.to_string())?;
                            if side(&same, Side::Buy) != side(&book, Side::Buy) {
                                return Err(format!("P3: the checkpoint at seq {seq} is not the book"));
                            }
                        }
                        book.replace(b, a, *scales).map_err(|e| e.to_string())?;
                        known = true;
                        snapshots.insert(last);
                        mended = *action == BookAction::Snapshot && variant == Variant::Dydx;
                        mended_at = row.ts_recv;
                    }
                    BookAction::Delta => {
                        if !held.insert((from, last)) {
                            let near = topic.story(|r| (r.seq.abs_diff(seq)) <= 12);
                            return Err(format!(
                                "P2: update {last} is on the tape twice, for the second time at seq {seq}: {near}"
                            ));
                        }
                        if known {
                            book.apply(b, a, *scales).map_err(|e| e.to_string())?;
                        }
                    }
                }
                if *action == BookAction::Checkpoint && !variant.is_numbered() {
                    // Its time is ours: it is compared with the rows before it alone.
                    continue;
                }
                at = last;
                let truth = view.market.history.get(&last);
                if streamed && truth.is_none() {
                    return Err(format!("P2: {action:?} {last} (seq {seq}) was invented"));
                }
                // A book mended by REST may be ahead of the stream, by what was on its way.
                mended = mended
                    && (*action == BookAction::Snapshot
                        || view
                            .market
                            .told_at(last)
                            .is_some_and(|ms| reading(readings, ms * 1_000_000).0 <= mended_at.0));
                // What REST shows may lie between two updates; what the stream shows is the book after one.
                if known
                    && !mended
                    && (streamed || *action == BookAction::Delta)
                    && let Some((bids, asks)) = truth
                    && !(is_told(&book, Side::Buy, bids, view.market.hidden(last, 0))
                        && is_told(&book, Side::Sell, asks, view.market.hidden(last, 1)))
                {
                    return Err(format!("P3: the book differs from the venue's at update {last} (seq {seq})"));
                }
            }
            Kept::Validity(state, _) => {
                live = *state == ValidityState::Live;
                splices += u64::from(live);
            }
            _ => {}
        }
    }
    let newest = view.market.updates.last().map_or(0, |u| u.last);
    let ends_wrong = || {
        let (bids, asks) = view.market.history.get(&newest).filter(|_| streamed && known)?;
        let is = |of, told, at| is_told(&book, of, told, view.market.hidden(newest, at));
        (!is(Side::Buy, bids, 0) || !is(Side::Sell, asks, 1)).then_some(())
    };
    if !live || at < newest || (streamed && at != newest) {
        let state = if live { "live" } else { "not live" };
        let tail = topic.rows.len().saturating_sub(12);
        let from = topic.rows.get(tail).map_or(0, |r| r.seq);
        let story = TopicView { rows: &topic.rows[tail..], ..topic.clone() }.story(|_| true);
        return Err(format!("P3: the book ends {state} at {at}, the venue's at {newest}; from seq {from} on: {story}"));
    }
    // In the end, what REST mended as well: no update was on its way any more.
    if variant == Variant::Dydx && ends_wrong().is_some() {
        let (bids, asks) = &view.market.history[&newest];
        let differs = |ours: &Flat, told: &Flat| {
            let (extra, lacking) =
                (ours.iter().filter(|l| !told.contains(l)), told.iter().filter(|l| !ours.contains(l)));
            format!("held {:?}, told {:?}", extra.collect::<Vec<_>>(), lacking.collect::<Vec<_>>())
        };
        let (bids, asks) = (differs(&side(&book, Side::Buy), bids), differs(&side(&book, Side::Sell), asks));
        let tail = topic.rows.len().saturating_sub(40);
        let story = TopicView { rows: &topic.rows[tail..], ..topic.clone() }.story(|_| true);
        return Err(format!(
            "P3: the book ends at {at}, and is not the venue's; bids: {bids}; asks: {asks}; the last rows: {story}"
        ));
    }
    let marks = topic.gaps().chain(topic.gone_gaps()).filter(|_| variant.is_numbered());
    let confessed: Vec<(u64, u64)> = marks.map(|g| (g.from_id, g.to_id)).collect();
    let book_id = |row: &Row| match &row.kept {
        Kept::Book { action: BookAction::Checkpoint, .. } if !variant.is_numbered() => None,
        Kept::Book { last, scales, bids, .. } => Some(book_id(variant, *last, row, *scales, bids)),
        _ => None,
    };
    let gone: BTreeSet<u64> = topic.gone.iter().filter_map(|(r, _)| book_id(r)).collect();
    let all = topic.rows.iter().chain(topic.gone.iter().map(|(r, _)| *r)).filter(|r| book_id(r).is_some());
    let first = all.min_by_key(|r| r.seq).and_then(book_id).unwrap_or(0);
    let updates = &view.market.updates;
    // Where ids may begin anew only their order tells what came before what.
    let before = if streamed {
        updates.iter().position(|u| u.last == first).map_or(0, |at| at + 1)
    } else {
        updates.partition_point(|u| u.first <= first)
    };
    let anew = !view.market.resets.is_empty();
    // And a mark from the beginning of time is of a book of which a full disk left nothing: its ids are those since they began anew.
    let by_time = |g: &Gap<String>| anew && (g.to_id <= g.from_id || g.from_ts == Ts::ZERO);
    let stretches = Stretches::those(topic, readings, |g| !variant.is_numbered() || by_time(g));
    let mut lost = 0;
    for update in &updates[before..] {
        let is_held = held.contains(&(update.first, update.last)) || (update.whole && snapshots.contains(&update.last));
        if is_held || gone.contains(&update.last) {
            continue;
        }
        if stretches.cover(Ts::from_millis(update.ms)) || view.market.out_of_turn.contains(&update.last) {
            lost += 1;
            continue;
        }
        if !confessed.iter().any(|(lo, hi)| update.first <= *hi && update.last >= *lo) {
            let seconds = (update.ms * 1_000_000 - crate::outside::START) as f64 / 1e9;
            let near = topic.story(|row| match &row.kept {
                Kept::Book { .. } if !variant.is_numbered() => {
                    row.ts_event.0.abs_diff(update.ms * 1_000_000) < 500_000_000
                }
                Kept::Book { first, last, .. } => *first <= update.last + 20 && *last + 20 >= update.first,
                // All that are told by time as well: there are few.
                Kept::Gap(g) if !variant.is_numbered() => {
                    let at = update.ms * 1_000_000;
                    (g.from_ts.0 - at).abs().min((g.to_ts.0 - at).abs()) < 20 * SECOND
                }
                Kept::Gap(g) => g.from_id <= update.last + 60 && (g.from_id == 0 || g.to_id + 60 >= update.first),
                Kept::Validity(_, id) => *id + 60 >= update.first && *id <= update.last + 60,
                _ => false,
            });
            return Err(format!(
                "P1: update {} to {} of {seconds:.3} s is neither held nor confessed; near it: {near}",
                update.first, update.last
            ));
        }
        lost += 1;
    }
    Ok((lost, splices))
}

/// P1 for what no id protects: each quote is held, or was published in a confessed stretch of time. Returns how many are
/// confessed. `readings`: our clock against the truth, for stretches are told in ours.
pub fn quotes_are_held_or_confessed(view: &View<'_>, readings: &[(i64, i64)]) -> Result<u64, String> {
    let topic = &view.quotes;
    let exact = |row: &Row| match &row.kept {
        Kept::Quote(q, scales) => {
            let raw = |v: i64, from: u8, to: u8| wholetape_model::decimal::rescale_raw(v, from, to).unwrap_or(i64::MIN);
            Some((
                view.market.variant.quote_id(q.update_id, row.ts_event),
                raw(q.bid.0, scales.price, 2),
                raw(q.bid_size.0, scales.size, 3),
                raw(q.ask.0, scales.price, 2),
                raw(q.ask_size.0, scales.size, 3),
            ))
        }
        _ => None,
    };
    let gone: BTreeSet<_> = topic.gone.iter().filter_map(|(r, _)| exact(r)).collect();
    let (mut held, mut early) = (BTreeSet::new(), BTreeSet::new());
    let (mut last, mut passed) = (None, false);
    for row in topic.rows {
        passed |= matches!(row.kept, Kept::Gap(_));
        let Some(quote) = exact(row) else { continue };
        // Best prices with neither id nor time are told behind a confessed loss though they be what they were before it: nobody knows what
        // passed meanwhile.
        let again = view.market.variant == Variant::Dydx && std::mem::take(&mut passed) && last == Some(quote);
        last = Some(quote);
        // REST may tell what the stream still has on its way.
        if row.frame == 0 {
            early.insert(quote);
        }
        if !held.insert(quote) && !again && !early.remove(&quote) {
            let at = row.ts_recv;
            let near = topic.story(|row| match &row.kept {
                Kept::Gap(g) => (g.to_ts.0 - at.0).abs() < 20 * SECOND,
                _ => exact(row).is_some_and(|q| if q.0 == 0 { q == quote } else { q.0.abs_diff(quote.0) <= 3 }),
            });
            return Err(format!("P2: quote {} is on the tape twice: {near}", quote.0));
        }
    }
    let all = &view.market.quotes;
    let Some(first) = all.iter().position(|(_, q)| held.contains(q) || gone.contains(q)) else { return Ok(0) };
    let lost = Stretches::of(topic, readings);
    let mended = mended_ahead(&view.books);
    let mut confessed = 0;
    for (ms, quote) in &all[first..] {
        if held.remove(quote) || gone.contains(quote) {
            continue;
        }
        let at = Ts::from_millis(*ms);
        if mended.iter().any(|(from, to)| (from.0..=to.0).contains(&reading(readings, at.0).0)) {
            continue;
        }
        if !lost.cover(at) {
            let near: Vec<_> = lost
                .list
                .iter()
                .filter(|(from, to)| (from.0 - at.0).abs().min((to.0 - at.0).abs()) < 20 * SECOND)
                .map(|(from, to)| ((from.0 - at.0) / 1_000_000, (to.0 - at.0) / 1_000_000))
                .collect();
            let seconds = (at.0 - crate::outside::START) as f64 / 1e9;
            let story = topic.story(|row| match &row.kept {
                Kept::Quote(..) if quote.0 == 0 => (row.ts_recv.0 - at.0).abs() < 2 * SECOND,
                Kept::Quote(q, _) => q.update_id.abs_diff(quote.0) <= 60,
                Kept::Gap(g) => (g.from_ts.0 - at.0).abs().min((g.to_ts.0 - at.0).abs()) < 20 * SECOND,
                _ => false,
            });
            return Err(format!(
                "P1: quote {quote:?} published at {seconds:.3} s is neither held nor confessed; near it are (ms) {near:?}; {story}",
            ));
        }
        confessed += 1;
    }
    // Of a book that REST put seconds ahead of its stream, best prices are of both until the stream is there.
    let of_both = |quote: &_| {
        let told = topic.rows.iter().find(|row| exact(row).as_ref() == Some(quote)).map_or(0, |row| row.ts_recv.0);
        mended.iter().any(|(from, to)| to.0 - from.0 > SECOND && (to.0..to.0 + 10 * SECOND).contains(&told))
    };
    match held.iter().find(|quote| !of_both(quote)) {
        Some(quote) => Err(format!("P2: quote {quote:?} was invented")),
        None => Ok(confessed),
    }
}

/// Where REST mended a book (dYdX's) whose stream was behind: from the stream's last row to the mend. What the stream still has on its way
/// is told into a book that is ahead of it, and its best prices are of both.
fn mended_ahead(books: &TopicView<'_>) -> Vec<(Ts, Ts)> {
    let mut streamed = Ts::ZERO;
    let mut ahead = Vec::new();
    for row in books.rows {
        match &row.kept {
            Kept::Book { action: BookAction::Snapshot, .. } if row.frame == 0 => ahead.push((streamed, row.ts_recv)),
            Kept::Book { .. } if row.frame > 0 => streamed = row.ts_recv,
            _ => {}
        }
    }
    ahead
}

/// Stretches of time that a topic confesses.
struct Stretches<'a> {
    list: Vec<(Ts, Ts)>,
    readings: &'a [(i64, i64)],
}

impl<'a> Stretches<'a> {
    /// Those of gaps that name no ids. `readings`: our clock against the truth, for stretches are told in ours.
    fn of(topic: &TopicView<'_>, readings: &'a [(i64, i64)]) -> Self {
        Self::those(topic, readings, |g| g.from_id == 0)
    }

    fn those(topic: &TopicView<'_>, readings: &'a [(i64, i64)], wanted: impl Fn(&Gap<String>) -> bool) -> Self {
        let settled = topic.gaps().filter(|g| g.state != GapState::Open);
        let timed = settled.chain(topic.gone_gaps()).filter(|g| wanted(g));
        Self { list: timed.map(|g| (g.from_ts, g.to_ts)).collect(), readings }
    }

    /// Whether what the venue published at its time `at` lies in one.
    fn cover(&self, at: Ts) -> bool {
        // Venue times are whole milliseconds.
        let slack = Duration::from_millis(4);
        let (low, high) = reading(self.readings, at.0);
        let named = |low: Ts, high: Ts| self.list.iter().any(|(from, to)| *from - slack <= high && low <= *to + slack);
        // A stretch may begin at a time of the venue and end at one of ours.
        named(at, at) || named(Ts(low), Ts(high))
    }
}

/// What our clock may have read at the true time `at`: exactly one thing while it ran evenly, and anything between two readings
/// where it was set or nobody ran.
fn reading(readings: &[(i64, i64)], at: i64) -> (i64, i64) {
    let next = readings.partition_point(|(truth, _)| *truth <= at);
    match (next.checked_sub(1).and_then(|i| readings.get(i)), readings.get(next)) {
        (Some((t, ours)), Some((next_t, next_ours))) if ours - t != next_ours - next_t => {
            // A new process begins where the tape ended, which may be before what the last one read.
            (*ours.min(next_ours), *ours.max(next_ours))
        }
        (Some((t, ours)), end) => {
            let exact = at + ours - t;
            // Under way when the process ended, and what came next was read from a clock that was set back meanwhile.
            let under_way = end.is_some_and(|(end, _)| end - at < SECOND);
            let begun = readings.get(next + 1).filter(|_| under_way).map_or(exact, |(_, ours)| *ours);
            (exact.min(begun), exact)
        }
        (None, _) => (at, at),
    }
}

/// The REST budget was never overrun by a process that could know, and nobody asked on after being told to wait.
pub fn budget_was_kept(world: &World) -> Result<(), String> {
    for (host, h) in world.o.hosts.iter().enumerate() {
        if h.overrun > 0 {
            return Err(format!("REST: host {host} was overrun {} times (limit {} a minute)", h.overrun, h.limit));
        }
        if h.defied > 0 {
            return Err(format!("REST: host {host} was asked {} times after it had told us to wait", h.defied));
        }
    }
    Ok(())
}
