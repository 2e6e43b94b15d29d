//! After warm-up a delta costs no allocation: two passes over each recorded book with a counting allocator.

#![allow(
    unsafe_code,
    reason = "a global allocator that counts can only be written with unsafe; it forwards to the system's"
)]

mod recordings;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use wholetape_book::{BookConfig, Stamp, Step, SyncedOrderBook};
use wholetape_model::{Book, BookAction, Chain, Level, Levels, Price, Scales, Side, Size};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Fails only while the thread ends, when nobody reads the count any more.
    let _ = COUNT.try_with(|c| c.set(c.get() + 1));
}

// SAFETY: every call goes to the system allocator with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

/// A market that walks: windows move, levels come and go near and far, gaps open and are spliced.
fn walk(book: &mut SyncedOrderBook, steps: u64, out: &mut Vec<Level>) {
    let scales = Scales { price: 2, size: 3 };
    let mut levels = [Level::default(); 12];
    for id in 1..=steps {
        for (i, l) in (0_i64..).zip(&mut levels) {
            let centre = 100_000 + (id as i64 * 37) % 40_000;
            *l = Level { price: Price(centre + i * i * 997 - 50), size: Size((id as i64 + i) % 3) };
        }
        let (bids, asks) = levels.split_at(6);
        let prev_id = if id % 500 == 0 { id } else { id - 1 };
        let delta = Book {
            action: BookAction::Delta,
            first_id: id,
            last_id: id,
            prev_id,
            bids: Levels::Native(bids),
            asks: Levels::Native(asks),
        };
        book.on_delta(Stamp::default(), scales, &delta);
        if book.needs_snapshot() && id % 500 == 20 {
            let snapshot = Book { action: BookAction::Snapshot, first_id: id, last_id: id, prev_id: 0, ..delta };
            book.on_snapshot(Stamp::default(), scales, &snapshot, &mut |_| {});
        }
        out.clear();
        book.top(Side::Buy, 20, out);
    }
}

#[test]
fn none_for_a_market_that_walks() {
    let mut out = Vec::new();
    let mut book = SyncedOrderBook::new(Chain::LinkedPrev, BookConfig::default());
    walk(&mut book, 20_000, &mut out);
    assert!(book.stats().snapshots > 10 && book.unverified().placements() > 10, "{:?}", book.stats());
    book.restart(wholetape_model::GapCause::Disconnected);
    assert_eq!(allocations(|| walk(&mut book, 20_000, &mut out)), 0);
}

#[test]
fn none_on_the_recordings() {
    recordings::each(|recording| {
        for (symbol, updates) in &recording.books {
            let Some(snapshot) = updates.iter().find(|u| u.action == BookAction::Snapshot) else { continue };
            let mut book = SyncedOrderBook::new(recording.rule, BookConfig::default());
            let mut pass = || {
                book.restart(wholetape_model::GapCause::Disconnected);
                book.on_snapshot(snapshot.stamp, snapshot.scales, &snapshot.book(), &mut |_| {});
                let deltas = updates.iter().filter(|u| u.action == BookAction::Delta);
                deltas.filter(|u| book.on_delta(u.stamp, u.scales, &u.book()) == Step::Applied).count()
            };
            let mut applied = pass();
            assert_eq!(allocations(|| applied -= pass()), 0, "{} {symbol}", recording.name);
            assert_eq!(applied, 0, "both passes alike");
        }
    });
}
