//! Best prices that are made of a book, over two sockets: whose they are, and when they are lost.

use wholetape_model::Chain;

use super::stream_books_tests::{Streamed, plan_of};
use super::tests::{Bench, QUOTES, T0, at};
use super::*;

const BOOK: &str = "book.BTCUSDT.BINANCE";

/// Two sockets, open and acknowledged, nothing told yet.
fn pair() -> Bench {
    let mut plan = plan_of(2, Chain::Linked.into(), None);
    for conn in &mut plan.conns {
        conn.expects.push((0, Kind::Quote));
        conn.session = Box::new(Streamed::derived());
    }
    let mut b = Bench::new(plan_of(1, Chain::Linked.into(), None));
    b.line = Line::with_sockets(plan, 2);
    for conn in 0..2 {
        b.line.on_open(conn, ConnMeta { number: 7 + conn as u32 }, T0, &mut b.out);
        b.take();
        told(&mut b, conn, 1, &["ack"]);
    }
    b
}

fn told(b: &mut Bench, conn: usize, ms: u64, frames: &[&str]) {
    for frame in frames {
        b.line.on_frame(conn, at(ms), Frame::Text(frame.as_bytes()), &mut b.out);
        b.take();
    }
}

fn close(b: &mut Bench, conn: usize, ms: u64) {
    b.line.on_closed(conn, at(ms), LinkCause::Closed, &mut b.out);
    b.take();
}

#[test]
fn best_prices_are_those_of_the_socket_that_feeds_the_book() {
    let mut b = pair();
    told(&mut b, 0, 10, &["s 0 10 100 1", "q 0"]);
    told(&mut b, 1, 11, &["s 0 8 100 1", "q 0"]);
    told(&mut b, 0, 5_000, &["d 0 10 11 101 1", "q 0"]);
    // Its own sequence, which is another: as little a repeat as news.
    told(&mut b, 1, 5_001, &["d 0 8 9 101 1", "q 0", "q 0"]);
    assert_eq!(b.of(QUOTES), ["quote 0", "quote 0"]);
    close(&mut b, 0, 5_500);
    told(&mut b, 1, 5_510, &["d 0 9 10 102 1", "q 0"]);
    assert_eq!(b.of(QUOTES)[2..], ["gap open disconnected 0-0"], "with the book, though the sibling goes on");
    told(&mut b, 1, 6_000, &["s 0 20 100 1", "q 0"]);
    assert_eq!(b.of(QUOTES)[3..], ["gap lost disconnected 0-0", "quote 0"]);
    let from = b.gap_starts.iter().find(|(name, _)| name == QUOTES).unwrap().1;
    assert!(from <= at(5_000), "since the book's last update: {from:?}");
    // A socket that feeds nothing goes: nothing is lost.
    told(&mut b, 1, 9_000, &["d 0 20 21 102 1", "q 0"]);
    b.line.on_open(0, ConnMeta { number: 9 }, at(9_100), &mut b.out);
    b.take();
    told(&mut b, 0, 9_200, &["ack", "s 0 5 100 1", "q 0"]);
    close(&mut b, 0, 20_000);
    assert_eq!(b.of(QUOTES)[5..], ["quote 0"]);
}

/// A book that is right is at another place by a snapshot: what lies between is lost of both.
#[test]
fn what_a_snapshot_passes_over_is_lost_of_best_prices_too() {
    let mut b = pair();
    told(&mut b, 0, 10, &["s 0 10 100 1", "q 0"]);
    told(&mut b, 0, 500, &["s 0 30 100 1", "q 0"]);
    assert_eq!(b.of(BOOK)[2..], ["gap lost resync 11-30", "Snapshot 30"]);
    assert_eq!(b.of(QUOTES), ["quote 0", "gap lost resync 0-0", "quote 0"]);
}

/// A sibling that stalled while it was subscribed brings its snapshot late: it is from before the loss, and what follows it is on the tape.
#[test]
fn a_book_from_before_the_loss_is_none() {
    // As of when the sibling was heard as it brings the snapshot; the first socket's last time is 4 990.
    for (heard, asked_before, taken) in
        [(1_000, false, false), (4_990, false, false), (4_990, true, true), (5_050, false, true)]
    {
        let mut b = pair();
        told(&mut b, 0, 10, &["s 0 10 100 1", "t 4990"]);
        if asked_before {
            told(&mut b, 1, 11, &["s 0 3 100 1"]);
        }
        told(&mut b, 0, 4_999, &["d 0 10 11 101 1"]);
        close(&mut b, 0, 5_000);
        // The sibling is asked for the book.
        b.line.on_timer(at(5_010), &mut b.out);
        b.take();
        let before = b.of(BOOK).len();
        let time = format!("t {heard}");
        told(&mut b, 1, 5_100, &[time.as_str(), "s 0 7 100 1", "d 0 7 8 101 1"]);
        let rows = b.of(BOOK)[before..].join(", ");
        assert_eq!(rows.contains("Snapshot 7"), taken, "heard {heard}, asked before {asked_before}: {rows}");
        assert_eq!(rows.contains("Delta 8"), taken, "{rows}");
        told(&mut b, 1, 5_400, &["t 5300", "s 0 15 100 1"]);
        assert!(b.of(BOOK).contains(&"Snapshot 15"), "what comes behind a later time is");
    }
}

/// A recording's times are months old: by them nothing is older than a loss of today.
#[test]
fn times_that_are_far_away_do_not_make_a_book_old() {
    let mut b = pair();
    for conn in 0..2 {
        told(&mut b, conn, 10_000_000, &["t 5000"]);
    }
    told(&mut b, 0, 10_000_010, &["s 0 10 100 1", "d 0 10 11 101 1"]);
    for conn in 0..2 {
        close(&mut b, conn, 10_000_500 + conn as u64);
    }
    b.line.on_open(0, ConnMeta { number: 9 }, at(10_001_000), &mut b.out);
    b.take();
    let before = b.of(BOOK).len();
    told(&mut b, 0, 10_001_100, &["ack", "t 6000", "s 0 17 100 1", "d 0 17 18 101 1"]);
    assert_eq!(b.of(BOOK)[before..], ["gap lost disconnected 12-17", "Snapshot 17", "validity live 17", "Delta 18"]);
}
