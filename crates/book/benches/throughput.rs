//! Level updates per second of validate + apply on every recorded Binance book, beside `BTreeMap<i64, i64>` in the same run.
//!
//! `cargo bench -p wholetape-book --bench throughput`. Deltas are decoded into memory first and the snapshot is spliced
//! outside the timed part; what is timed is `SyncedOrderBook::on_delta` and one look at both best prices after each delta
//! (for the map: the same, with a price check that it otherwise would not make).

#[path = "../tests/recordings/mod.rs"]
mod recordings;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use recordings::Update;
use wholetape_book::{BookConfig, Step, SyncedOrderBook};
use wholetape_model::{BookAction, Chain, Level};

/// Small recordings repeat until a round has so many levels, so that the clock does not matter.
const LEVELS_MIN: usize = 200_000;
const ROUNDS: usize = 5;

/// The updates after which the book was live, and a book just before them.
fn prepare(rule: Chain, updates: &[Update]) -> Option<(SyncedOrderBook, Vec<&Update>)> {
    let mut book = SyncedOrderBook::new(rule, BookConfig::default());
    let snapshot = updates.iter().find(|u| u.action == BookAction::Snapshot)?;
    book.on_snapshot(snapshot.stamp, snapshot.scales, &snapshot.book(), &mut |_| {});
    let mut probe = book.clone();
    let mut live = updates.iter().filter(|u| u.action == BookAction::Delta).collect::<Vec<_>>();
    live.retain(|u| probe.on_delta(u.stamp, u.scales, &u.book()) == Step::Applied);
    Some((book, live))
}

fn ours(start: &SyncedOrderBook, live: &[&Update]) -> (Duration, SyncedOrderBook) {
    let mut book = start.clone();
    let began = Instant::now();
    for u in live {
        black_box(book.on_delta(u.stamp, u.scales, &u.book()));
        black_box((book.best_bid(), book.best_ask()));
    }
    (began.elapsed(), book)
}

fn tree(updates: &[Update], live: &[&Update]) -> Duration {
    let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
    let put = |map: &mut BTreeMap<i64, i64>, levels: &[Level]| {
        for l in levels {
            if l.size.0 == 0 {
                map.remove(&l.price.0);
            } else {
                map.insert(l.price.0, l.size.0);
            }
        }
    };
    if let Some(s) = updates.iter().find(|u| u.action == BookAction::Snapshot) {
        put(&mut bids, &s.bids);
        put(&mut asks, &s.asks);
    }
    let began = Instant::now();
    for u in live {
        put(&mut bids, &u.bids);
        put(&mut asks, &u.asks);
        black_box((bids.last_key_value(), asks.first_key_value()));
    }
    began.elapsed()
}

fn main() {
    println!(
        "{:<46} {:>9} {:>7} {:>9} {:>8} {:>11} {:>6} {:>8} {:>6}",
        "recording", "levels", "a delta", "M/s", "ns", "BTreeMap ns", "ratio", "KiB", "placed"
    );
    let (mut all_levels, mut all_time) = (0, Duration::ZERO);
    recordings::each(|recording| {
        let (mut levels, mut best, mut best_tree) = (0, Duration::MAX, Duration::MAX);
        let prepared: Vec<_> = recording
            .books
            .values()
            .filter_map(|updates| prepare(recording.rule, updates).map(|(book, live)| (updates, book, live)))
            .collect();
        let (mut deltas, mut bytes, mut placed) = (0, 0, 0);
        for (_, _, live) in &prepared {
            levels += live.iter().map(|u| u.levels()).sum::<usize>();
            deltas += live.len();
        }
        if levels == 0 {
            return;
        }
        let repeat = LEVELS_MIN.div_ceil(levels) as u32;
        for _ in 0..ROUNDS {
            let (mut time, mut time_tree) = (Duration::ZERO, Duration::ZERO);
            (bytes, placed) = (0, 0);
            for _ in 0..repeat {
                for (updates, start, live) in &prepared {
                    let (took, book) = ours(start, live);
                    time += took;
                    time_tree += tree(updates, live);
                    bytes = bytes.max(book.heap_bytes());
                    placed += book.unverified().placements() - start.unverified().placements();
                }
            }
            best = best.min(time / repeat);
            best_tree = best_tree.min(time_tree / repeat);
        }
        all_levels += levels;
        all_time += best;
        let ns = best.as_nanos() as f64 / levels as f64;
        let ns_tree = best_tree.as_nanos() as f64 / levels as f64;
        println!(
            "{:<46} {levels:>9} {:>7.1} {:>9.1} {ns:>8.1} {ns_tree:>11.1} {:>6.2} {:>8} {:>6}",
            recording.name,
            levels as f64 / deltas as f64,
            1_000.0 / ns,
            ns / ns_tree,
            bytes / 1024,
            placed / u64::from(repeat),
        );
    });
    if all_levels > 0 {
        println!("all: {:.1} M level updates/s", all_levels as f64 / all_time.as_secs_f64() / 1e6);
    }
}
