//! Bounded memory, looked at every second: what could grow stays below what is stated here, whatever goes wrong.

use crate::figures::Figures;
use crate::process::{Process, Setup};

/// Holes without a verdict, and intervals held, of one instrument's trades.
pub const HOLES_MAX: usize = 400;
pub const RUNS_MAX: usize = 1_200;
/// A book with its queue of updates that wait for a snapshot.
pub const BOOK_BYTES_MAX: usize = 4 << 20;
/// Requests that wait for a host.
pub const REST_QUEUE_MAX: usize = 64;

/// Records of one batch, which is never split. In a minute a splice brings the most: a book's whole queue at once. In ten
/// minutes a hole grows longer than a page: its answer is a page of rows, and as many marks as one answer may make, each on
/// the topic and on that of the gaps.
pub const fn batch_max(seconds: i64) -> usize {
    if seconds <= 60 { 400 } else { 1_000 + 2 * 128 }
}

/// # Errors
/// Which bound is broken.
pub fn look(p: &Process, setup: &Setup, figures: &mut Figures) -> Result<(), String> {
    let broken = |what: &str, is: usize, max: usize| {
        if is > max { Err(format!("memory: {what}: {is} > {max}")) } else { Ok(()) }
    };
    for line in 0..setup.plan.lines.len() {
        let Some(running) = p.running(line) else { continue };
        for instrument in running.line.instruments() {
            let (holes, runs) = (instrument.trades.open_gaps(), instrument.trades.ledger().runs().len());
            figures.holes_max = figures.holes_max.max(holes as u64);
            broken("holes", holes, HOLES_MAX)?;
            broken("ledger intervals", runs, RUNS_MAX)?;
            if let Some(flow) = &instrument.book {
                broken("book and queue", flow.book().heap_bytes(), BOOK_BYTES_MAX)?;
            }
        }
    }
    broken("REST queue", p.rest_queue_max(), REST_QUEUE_MAX)?;
    let config = setup.tape_config(0);
    for lane in p.tape.stats().lanes {
        let max = config.memory_bytes as usize + 2 * config.batch_bytes_max;
        broken("lane blocks", lane.memory_bytes as usize, max)?;
        broken(
            "unsynced records",
            lane.unsynced_records as usize,
            (config.unsynced_records_max as usize).max(setup.batch_max),
        )?;
    }
    Ok(())
}
