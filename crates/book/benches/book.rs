//! Time per level update of validate + apply on recorded books, beside `BTreeMap<i64, i64>` in the same run.
//!
//! `cargo bench -p wholetape-book --bench book`; the recordings' updates are in memory before anything is timed. One number a
//! recording without statistics comes faster from `--bench throughput`.

#[path = "../tests/recordings/mod.rs"]
mod recordings;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use recordings::Update;
use wholetape_book::{BookConfig, Step, SyncedOrderBook};
use wholetape_model::{BookAction, Level};

type Tree = BTreeMap<i64, i64>;

fn put(map: &mut Tree, levels: &[Level]) {
    for l in levels {
        if l.size.0 == 0 {
            map.remove(&l.price.0);
        } else {
            map.insert(l.price.0, l.size.0);
        }
    }
}

fn books(c: &mut Criterion) {
    recordings::each(|recording| {
        // The busiest symbol of each recording.
        let Some((symbol, updates)) =
            recording.books.iter().max_by_key(|b| b.1.iter().map(Update::levels).sum::<usize>())
        else {
            return;
        };
        let Some(snapshot) = updates.iter().find(|u| u.action == BookAction::Snapshot) else { return };
        let mut start = SyncedOrderBook::new(recording.rule, BookConfig::default());
        start.on_snapshot(snapshot.stamp, snapshot.scales, &snapshot.book(), &mut |_| {});
        let mut probe = start.clone();
        let deltas = updates.iter().filter(|u| u.action == BookAction::Delta);
        let live: Vec<_> = deltas.filter(|u| probe.on_delta(u.stamp, u.scales, &u.book()) == Step::Applied).collect();
        let (mut bids, mut asks) = (Tree::new(), Tree::new());
        put(&mut bids, &snapshot.bids);
        put(&mut asks, &snapshot.asks);

        let mut group = c.benchmark_group(format!("book/{} {symbol}", recording.name.trim_end_matches(".jsonl.zst")));
        group.throughput(Throughput::Elements(live.iter().map(|u| u.levels() as u64).sum()));
        group.bench_function("wholetape", |b| {
            b.iter_batched_ref(
                || start.clone(),
                |book| {
                    for u in &live {
                        black_box(book.on_delta(u.stamp, u.scales, &u.book()));
                        black_box((book.best_bid(), book.best_ask()));
                    }
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function("BTreeMap", |b| {
            b.iter_batched_ref(
                || (bids.clone(), asks.clone()),
                |(bids, asks)| {
                    for u in &live {
                        put(bids, &u.bids);
                        put(asks, &u.asks);
                        black_box((bids.last_key_value(), asks.first_key_value()));
                    }
                },
                BatchSize::LargeInput,
            );
        });
        group.finish();
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = books
}
criterion_main!(benches);
