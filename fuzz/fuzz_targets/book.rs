//! A book under strange updates. Two readings of the input:
//!
//! - A recorded frame (it starts with `{`): its levels as snapshot and delta, at whatever scales it prints.
//! - Anything else: a script of snapshots, deltas, repeats and resyncs with small ids, so that chains form and break.
//!
//! Beside it runs the plainest model there is: two maps that apply what the book says it applied. Whenever the book calls
//! itself live, both hold the same levels.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wholetape_book::{BookConfig, OrderBook, Stamp, Step, SyncedOrderBook};
use wholetape_model::{Book, BookAction, BookRule, Chain, Decimal, Level, Levels, Price, Scales, Side, Size};

const RULES: [Chain; 6] =
    [Chain::SpotAnchored, Chain::LinkedPrev, Chain::Linked, Chain::Counted, Chain::Unlinked, Chain::Whole];

#[derive(Default)]
struct Model {
    /// (is bid, canonical price) → canonical size.
    levels: BTreeMap<(bool, Number), Number>,
}

/// Decimals by value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(i64, u8);

fn number(d: Decimal) -> Number {
    let d = d.canonical();
    Number(d.raw, d.scale)
}

impl Model {
    fn apply(&mut self, update: &Book<Levels<'_>>, scales: Scales) {
        if update.action == BookAction::Snapshot {
            self.levels.clear();
        }
        for (bid, levels) in [(true, update.bids), (false, update.asks)] {
            for l in levels.iter() {
                let price = number(scales.price(l.price));
                if l.size.0 == 0 {
                    // A level of size 0 in a snapshot is no level; in a delta it removes one.
                    if update.action == BookAction::Delta {
                        self.levels.remove(&(bid, price));
                    }
                } else {
                    self.levels.insert((bid, price), number(scales.size(l.size)));
                }
            }
        }
    }

    fn check(&self, book: &OrderBook) {
        let mut levels = Vec::new();
        book.all(Side::Buy, &mut levels);
        let bids = levels.len();
        book.all(Side::Sell, &mut levels);
        assert!(levels[..bids].is_sorted_by(|a, b| a.price > b.price), "bids fall");
        assert!(levels[bids..].is_sorted_by(|a, b| a.price < b.price), "asks rise");
        assert_eq!(book.best_bid(), levels[..bids].first().copied());
        assert_eq!(book.best_ask(), levels[bids..].first().copied());
        let scales = book.scales();
        let ours: BTreeMap<_, _> = levels
            .iter()
            .enumerate()
            .map(|(i, l)| ((i < bids, number(scales.price(l.price))), number(scales.size(l.size))))
            .collect();
        assert!(ours == self.levels, "book and model differ");
        let _ = (book.mid(), book.spread(), book.is_crossed());
    }
}

fn feed(book: &mut SyncedOrderBook, model: &mut Model, scales: Scales, update: &Book<Levels<'_>>) {
    let stamp = Stamp::default();
    if !book.rule().chain.is_anchored() {
        if matches!(book.on_update(stamp, scales, update, None), Step::Applied | Step::Replaced) {
            model.apply(update, scales);
            let (bids, asks) = book.cut();
            // Deletions of ours, at the book's scales.
            let cut =
                Book { action: BookAction::Delta, bids: Levels::Native(bids), asks: Levels::Native(asks), ..*update };
            model.apply(&cut, book.unverified().scales());
        }
    } else if update.action == BookAction::Snapshot {
        book.on_snapshot(stamp, scales, update, &mut |a| {
            model.apply(&a.update, a.scales);
            model.check(a.book);
        });
    } else if book.on_delta(stamp, scales, update) == Step::Applied {
        model.apply(update, scales);
    }
    if let Some(book) = book.verified() {
        model.check(book);
    }
    let s = book.stats();
    let fates =
        s.deltas_applied + s.deltas_discarded_old + s.deltas_unsynced + s.deltas_rejected + s.beats + s.buffered;
    assert_eq!(s.deltas_seen, fates);
}

fn frame(data: &[u8]) -> Option<()> {
    let body: Value = serde_json::from_slice(data).ok()?;
    let body = body.get("data").unwrap_or(&body);
    let side = |keys: [&str; 2]| -> Option<Vec<(Decimal, Decimal)>> {
        let levels = body.get(keys[0]).or(body.get(keys[1]))?.as_array()?;
        let parse = |v: &Value| Decimal::parse(v.as_str()?.as_bytes()).ok();
        levels.iter().map(|l| Some((parse(l.get(0)?)?, parse(l.get(1)?)?))).collect()
    };
    let (bids, asks) = (side(["b", "bids"])?, side(["a", "asks"])?);
    let scale = |pick: fn(&(Decimal, Decimal)) -> u8| bids.iter().chain(&asks).map(pick).max().unwrap_or(0);
    let scales = Scales { price: scale(|l| l.0.scale), size: scale(|l| l.1.scale) };
    let levels = |side: &[(Decimal, Decimal)]| -> Option<Vec<Level>> {
        let level = |l: &(Decimal, Decimal)| {
            let price = Price(l.0.rescale(scales.price).ok()?.raw);
            Some(Level { price, size: Size(l.1.rescale(scales.size).ok()?.raw) })
        };
        side.iter().map(level).collect()
    };
    let (bids, asks) = (levels(&bids)?, levels(&asks)?);
    let id = |key: &str| body.get(key).and_then(Value::as_u64);
    let (first_id, last_id, prev_id) = (id("U").unwrap_or(2), id("u").unwrap_or(2), id("pu").unwrap_or(0));
    for rule in RULES {
        let (mut book, mut model) = (SyncedOrderBook::new(rule, BookConfig::default()), Model::default());
        let (bids, asks) = (Levels::Native(&bids), Levels::Native(&asks));
        let snapshot = Book { action: BookAction::Snapshot, first_id, last_id: first_id, prev_id: 0, bids, asks };
        let delta = Book { action: BookAction::Delta, first_id, last_id, prev_id, bids: asks, asks: bids };
        feed(&mut book, &mut model, scales, &snapshot);
        feed(&mut book, &mut model, scales, &delta);
    }
    Some(())
}

/// Six bytes an update, three a level.
fn script(data: &[u8]) -> Option<()> {
    let mut bytes = data.iter().copied();
    let mut next = || bytes.next();
    let rule = next()?;
    let depth = (rule & 8 != 0).then_some(1 + u32::from(rule / 16));
    let rule = RULES[usize::from(rule) % RULES.len()];
    let rule = if rule.is_anchored() { rule.into() } else { BookRule { depth, ..rule.into() } };
    let config = BookConfig { queue_len_max: 8, queue_levels_max: 32, levels_max: 64 };
    let (mut book, mut model) = (SyncedOrderBook::new(rule, config), Model::default());
    let mut newest = 100_u64;
    loop {
        let (kind, ids, scale, counts) = (next()?, next()?, next()?, next()?);
        if kind % 16 == 0 {
            book.resync(wholetape_model::GapCause::Sequence);
            continue;
        }
        // Mostly the next in order; sometimes overlapping, missing or far behind.
        let first_id = (newest + 1 + u64::from(ids % 8 == 7)).saturating_sub(u64::from(ids % 16 == 3) * 5);
        let last_id = (first_id + u64::from(ids / 64)).saturating_sub(u64::from(kind % 64 == 63) * 3);
        let prev_id = newest - u64::from(ids % 32 == 9);
        let scales = Scales { price: scale % 4, size: if scale > 250 { 18 } else { (scale / 4) % 4 } };
        let mut levels = Vec::new();
        for _ in 0..counts % 8 {
            let (tick, size, shape) = (next()?, next()?, next()?);
            let price = match shape % 8 {
                0 => i64::from(tick) << 20,
                1 => i64::MAX - i64::from(tick),
                _ => 1_000 * i64::from(scales.price + 1) + i64::from(tick),
            };
            let size = match shape / 64 {
                0 => 0,
                1 if shape % 2 == 1 => i64::MAX - i64::from(size),
                _ => i64::from(size),
            };
            levels.push(Level { price: Price(price), size: Size(if shape == 255 { -1 } else { size }) });
        }
        let (bids, asks) = levels.split_at(levels.len() / 2);
        let (bids, asks) = (Levels::Native(bids), Levels::Native(asks));
        let whole = book.rule().chain == Chain::Whole;
        if whole || (kind % 4 == 1 && (book.needs_snapshot() || !book.rule().chain.is_anchored())) {
            let at = newest.saturating_sub(u64::from(ids % 4));
            let snapshot = Book { action: BookAction::Snapshot, first_id: at, last_id: at, prev_id: 0, bids, asks };
            feed(&mut book, &mut model, scales, &snapshot);
        } else {
            let delta = Book { action: BookAction::Delta, first_id, last_id, prev_id, bids, asks };
            feed(&mut book, &mut model, scales, &delta);
            newest = newest.max(last_id);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = if data.first() == Some(&b'{') { frame(data) } else { script(data) };
});
