//! The book alone against the truth of every recorded Binance book: counts, ids, texts and both hashes.

mod recordings;

use serde_json::Value;
use sha2::{Digest, Sha256};
use wholetape_book::{BookConfig, OrderBook, Splice, Step, SyncedOrderBook};
use wholetape_model::{BookAction, Chain, Decimal, Level, Side, ValidityState};

/// Without trailing zeros and without exponent, as the truth is hashed.
fn plain(d: Decimal) -> String {
    d.canonical().to_string()
}

struct Path(Sha256);

impl Path {
    fn push(&mut self, id: u64, book: &OrderBook) {
        let price = |l: Option<Level>| l.map_or(String::new(), |l| plain(book.scales().price(l.price)));
        self.0.update(format!("{id}|{}|{}\n", price(book.best_bid()), price(book.best_ask())));
    }
}

fn top10(book: &OrderBook, side: Side) -> Value {
    let mut levels = Vec::new();
    book.top(side, 10, &mut levels);
    assert_eq!(book.printed_scales(), book.scales(), "or the texts lack zeros");
    let text =
        |l: &Level| Value::from(vec![book.scales().price(l.price).to_string(), book.scales().size(l.size).to_string()]);
    levels.iter().map(text).collect()
}

fn check(name: &str, rule: Chain, updates: &[recordings::Update], truth: &Value) {
    let mut book = SyncedOrderBook::new(rule, BookConfig::default());
    let mut path = Path(Sha256::new());
    for update in updates {
        if update.action == BookAction::Snapshot {
            let splice = book.on_snapshot(update.stamp, update.scales, &update.book(), &mut |a| {
                if a.update.action == BookAction::Delta {
                    path.push(a.update.last_id, a.book);
                }
            });
            assert!(matches!(splice, Splice::Live { .. }), "{name}: {splice:?}");
            continue;
        }
        match book.on_delta(update.stamp, update.scales, &update.book()) {
            Step::Applied => path.push(update.last_id, book.verified().expect("live")),
            Step::Queued | Step::Old | Step::Overflow { .. } => {}
            step => panic!("{name}: {step:?}"),
        }
    }
    let stats = book.stats();
    for (key, ours) in [
        ("deltas_seen", stats.deltas_seen),
        ("deltas_applied", stats.deltas_applied),
        ("deltas_discarded_old", stats.deltas_discarded_old),
        ("sequence_gaps", stats.sequence_gaps),
        ("snapshots", stats.snapshots),
        ("bid_levels", book.verified().map_or(0, |b| b.len(Side::Buy)) as u64),
        ("ask_levels", book.verified().map_or(0, |b| b.len(Side::Sell)) as u64),
    ] {
        assert_eq!(Some(ours), truth[key].as_u64(), "{name} {key}");
    }
    assert_eq!(book.last_update_id(), truth["final_update_id"].as_u64(), "{name} final_update_id");
    assert_eq!(top10(book.unverified(), Side::Buy), truth["final_bids_top10"], "{name}");
    assert_eq!(top10(book.unverified(), Side::Sell), truth["final_asks_top10"], "{name}");
    assert_eq!(recordings::hex(path.0), truth["best_path_sha256"], "{name} best path");
    assert_eq!(recordings::final_hash(book.unverified()), truth["final_book_sha256"], "{name} final book");
}

#[test]
fn books_equal_the_truth() {
    let mut books = 0;
    recordings::each(|recording| {
        for (symbol, updates) in &recording.books {
            let name = format!("{} {symbol}", recording.name);
            check(&name, recording.rule, updates, &recording.truth["books"][symbol]);
            books += 1;
        }
    });
    println!("{books} recorded books equal their truth");
}

#[test]
fn without_a_snapshot_no_book_is_published() {
    recordings::each(|recording| {
        if !recording.name.contains("nosnapshot") {
            return;
        }
        for updates in recording.books.values() {
            let mut book = SyncedOrderBook::new(recording.rule, BookConfig::default());
            for update in updates {
                book.on_delta(update.stamp, update.scales, &update.book());
                assert_eq!(book.validity(), ValidityState::Syncing);
                assert_eq!((book.verified().is_some(), book.best_bid(), book.mid()), (false, None, None));
            }
        }
    });
}

/// Drops one applied delta: the book must say so exactly there, and never be live afterwards (no second snapshot comes).
#[test]
fn a_dropped_delta_breaks_the_chain_where_it_was() {
    recordings::each(|recording| {
        for (symbol, updates) in &recording.books {
            if !updates.iter().any(|u| u.action == BookAction::Snapshot) || updates.len() < 100 {
                continue;
            }
            let cut = updates.len() * 3 / 4;
            let mut book = SyncedOrderBook::new(recording.rule, BookConfig::default());
            for (i, update) in updates.iter().enumerate().filter(|(i, _)| *i != cut) {
                if update.action == BookAction::Snapshot {
                    book.on_snapshot(update.stamp, update.scales, &update.book(), &mut |_| {});
                    continue;
                }
                let step = book.on_delta(update.stamp, update.scales, &update.book());
                assert_eq!(matches!(step, Step::Gap { .. }), i == cut + 1, "{} {symbol} {i}: {step:?}", recording.name);
                assert!(i <= cut || !book.is_live());
            }
            assert_eq!(book.stats().sequence_gaps, 1);
        }
    });
}
