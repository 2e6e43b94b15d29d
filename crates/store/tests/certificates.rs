//! What certificates say of known days, and that a crash changes nothing about them.

mod support;

use std::fs;

use support::days::{FIRST, World, files};
use support::{DAY, ID};
use wholetape_model::*;
use wholetape_store::cert::{Certificate, TopicFigures};

fn read(w: &World, name: &str) -> Certificate {
    let path = w.certificate(name);
    Certificate::parse(&path, &fs::read(&path).unwrap()).unwrap()
}

fn topic<'a>(c: &'a Certificate, kind: &str) -> &'a TopicFigures {
    &c.topics[&format!("{kind}.{ID}")]
}

#[test]
fn certificates_tell_what_the_days_hold() {
    let w = World::three_days(false);
    let first = read(&w, "2026-01-02.r1.json");
    assert_eq!((first.number, first.revision, &first.previous), (1, 1, &None));
    assert_eq!(first.instrument, ID);
    let trade = topic(&first, "trade");
    let trades = &trade.tables["trades"];
    assert_eq!(trades.rows, 59, "60 less one that never came");
    assert_eq!(trades.late.get("rest"), Some(&1));
    assert_eq!(trades.flagged.get("price"), Some(&6));
    assert_eq!(trades.files.len(), 3, "main, companion and the other dialect");
    let delay = trades.delay.unwrap();
    assert_eq!(delay.rows, 58);
    assert!((4_990_000..=5_000_000).contains(&delay.p99_ns), "{delay:?}");
    let ids = trade.ids.as_ref().unwrap();
    assert_eq!((ids.first, ids.last, ids.held, ids.missing, ids.open), (1, 60, 59, 1, 1));
    assert_eq!((ids.holes[0].from, ids.holes[0].verdict.as_str()), (41, "open"));
    assert_eq!(trade.gaps.hole_ns, 120_000_000_000);
    assert_eq!((trade.gaps.open, trade.gaps.healed), (1, 1));
    assert_eq!(first.summary.completeness_ppm, Some(59 * 1_000_000 / 60));
    let book = topic(&first, "book").book.as_ref().unwrap();
    let minute = 60_000_000_000;
    assert_eq!((book.unknown_ns, book.stale_ns), (10 * minute + 1_000_000, minute));
    assert_eq!(book.live_ns, 48 * minute - 1_000_000);
    assert_eq!(first.summary.book_invalid_ns, Some(11 * minute + 1_000_000));

    // The second day knows where the first ended, and begins with a live book.
    let second = read(&w, "2026-01-03.r1.json");
    assert_eq!(topic(&second, "trade").ids.as_ref().unwrap().after, Some(60));
    assert_eq!(topic(&second, "book").book.as_ref().unwrap().start.as_deref(), Some("live"));
    assert_eq!(topic(&second, "trade").ids.as_ref().unwrap().holes[0].verdict, "open");
    // The verdict came on the third day, and with it a revision.
    let revised = read(&w, "2026-01-03.r2.json");
    let ids = topic(&revised, "trade").ids.as_ref().unwrap();
    assert_eq!((ids.lost, ids.open, ids.holes[0].verdict.as_str()), (1, 0, "lost"));
    assert_eq!(revised.marks_to, "2026-01-04");
    assert_eq!(topic(&revised, "trade").tables, topic(&second, "trade").tables);
    // The late heal of the first day.
    let healed = read(&w, "2026-01-02.r2.json");
    let trade = topic(&healed, "trade");
    assert_eq!((trade.tables["trades"].rows, trade.ids.as_ref().unwrap().missing), (60, 0));
    assert_eq!(trade.tables["trades"].late.get("archive"), Some(&1));
    assert_ne!(trade.tables["trades"].blake3, topic(&first, "trade").tables["trades"].blake3);

    // One chain over days and revisions.
    let order = ["2026-01-02.r1", "2026-01-03.r1", "2026-01-04.r1", "2026-01-03.r2", "2026-01-02.r2"];
    let mut previous = None;
    for (i, name) in order.iter().enumerate() {
        let path = w.certificate(&format!("{name}.json"));
        let bytes = fs::read(&path).unwrap();
        let c = Certificate::parse(&path, &bytes).unwrap();
        assert_eq!((c.number, &c.previous), (i as u64 + 1, &previous), "{name}");
        assert_eq!(c.bytes(), bytes, "{name}");
        previous = Some(Certificate::hash(&bytes));
    }
    let report = w.verify();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!((report.certificates, report.days, report.days_open), (5, 3, 0));
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn nothing_new_issues_nothing_and_a_restart_neither() {
    let mut w = World::three_days(false);
    let before = files(&w.path().join("catalog/certificates"));
    w.open();
    w.tend(FIRST + 4);
    w.open();
    w.tend(FIRST + 5);
    assert_eq!(w.follower().counts.certificates, 0);
    assert_eq!(files(&w.path().join("catalog/certificates")), before);
}

#[test]
fn a_crash_before_the_manifests_line_issues_the_same_certificate_again() {
    for signed in [false, true] {
        let mut w = World::three_days(signed);
        let dir = w.path().join("catalog/certificates");
        let wanted: Vec<_> = files(&dir).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
        let log = w.path().join("catalog/manifest.log");
        let text = fs::read_to_string(&log).unwrap();
        // The last line issued a revision; a crash lost it, and left files behind.
        let last = text.trim_end().rfind('\n').unwrap() + 1;
        assert!(text[last..].contains("\"issued\""), "{}", &text[last..]);
        fs::write(&log, &text[..last]).unwrap();
        let stray = w.certificate("2026-01-04.r2.json");
        fs::write(&stray, b"cut of").unwrap();
        assert!(!w.verify().is_clean());
        w.open();
        w.tend(FIRST + 4);
        assert_eq!(w.follower().counts.certificates, 1);
        let now: Vec<_> = files(&dir).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
        assert_eq!(now, wanted);
        w.follower = None;
        let report = w.verify();
        assert!(report.is_clean(), "{:#?}", report.findings);
    }
}

#[test]
fn a_day_of_which_rows_wait_in_memory_has_no_certificate_yet() {
    let mut w = World::new(false);
    w.day(FIRST);
    let now = Ts(FIRST * DAY + DAY / 2);
    let mut follower = w.follower.take().unwrap();
    while follower.poll(&w.tape, now).unwrap() {}
    follower.flush(now).unwrap();
    follower.tend(now).unwrap();
    assert_eq!(follower.counts.certificates, 0, "the day is not over");
    drop(follower);
    assert!(w.verify().is_clean());
    assert_eq!(w.verify().days_open, 1);
}

#[test]
fn a_certificate_that_cannot_be_issued_keeps_nothing_from_being_stored() {
    let mut w = World::new(false);
    w.day(FIRST);
    w.tend(FIRST + 1);
    let path = w.certificate("2026-01-02.r1.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"{}").unwrap();
    w.day(FIRST + 1);
    w.tend(FIRST + 2);
    let follower = w.follower();
    assert_eq!((follower.counts.certificates, follower.uncertified().len()), (1, 1));
    assert!(follower.uncertified()[0].1.to_string().contains("not the one that was issued"));
    assert!(follower.catalog.state().parts.values().any(|p| p.day == FIRST + 1 && p.sealed));
    // Put right, it is issued with the next start.
    fs::write(&path, good).unwrap();
    w.open();
    w.tend(FIRST + 3);
    assert_eq!((w.follower().counts.certificates, w.follower().uncertified().len()), (1, 0));
    w.follower = None;
    assert!(w.verify().is_clean());
}
