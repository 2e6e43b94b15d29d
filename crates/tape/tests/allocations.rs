//! No allocation per record: what `append` allocates, the batch does, and a batch's cost does not grow with its rows.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::*;
use wholetape_tape::{Tape, TapeConfig};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[allow(unsafe_code, reason = "a global allocator cannot be written without; it only counts and passes on")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|c| c.set(c.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(mut f: impl FnMut()) -> u64 {
    let before = COUNT.with(Cell::get);
    f();
    COUNT.with(Cell::get) - before
}

#[test]
fn appending_allocates_nothing_and_committing_little() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::open(dir.path(), TapeConfig { memory_bytes: 1 << 20, ..config() }).unwrap();
    let mut lane = tape.lane("w").unwrap();
    let topics: Vec<_> = (0..4).map(|i| topic(&format!("trade.T{i}.X"))).collect();
    let numbers: Vec<_> = topics.iter().map(|t| lane.topic(t).unwrap()).collect();
    let mut id = 0;
    for _ in 0..2000 {
        for _ in 0..64 {
            id += 1;
            lane.append(numbers[id as usize % 4], &trade(id)).unwrap();
        }
        lane.commit().unwrap();
    }
    let (mut appends, mut commits) = (0, 0);
    for _ in 0..200 {
        appends += allocations(|| {
            for _ in 0..64 {
                id += 1;
                lane.append(numbers[id as usize % 4], &trade(id)).unwrap();
            }
        });
        commits += allocations(|| lane.commit().unwrap());
    }
    assert_eq!(appends, 0, "per record");
    assert!(commits <= 200 * 6, "a batch costs its block, not its records: {commits} for 200 batches of 64");
}
