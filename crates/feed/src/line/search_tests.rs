//! Pages that have to be looked for: one that lies beside the mark is no failure, and the next is asked for without a wait.

use wholetape_venue::FetchKind;

use super::tests::{TRADES, at, bench};
use super::*;

#[test]
fn a_page_beside_the_mark_is_followed_by_the_next_at_once_however_many_there_are() {
    let mut b = bench(true, Resume::default()).open(at(0));
    b.frame(at(1), "T 1");
    b.frame(at(3), "T 4");
    let mut now = 400;
    // More of them than failures would be borne, within a second.
    for _ in 0..60 {
        b.timer(at(now));
        b.answer(at(now + 5), FetchKind::TradesFrom, "beside");
        now += 15;
    }
    b.timer(at(now));
    b.answer(at(now + 5), FetchKind::TradesFrom, "2 3 4");
    assert_eq!(b.of(TRADES).last(), Some(&"gap healed sequence 2-3"));
    assert_eq!(b.line.stats().fetch_failures, 0);
}
