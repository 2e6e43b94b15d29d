//! Days go when their time is over: whole, by the most specific rule, and for good. What stays is whole as well.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use proptest::prelude::*;
use support::days::{FIRST, World, files};
use support::{DAY, Dice, ID, body, owned};
use wholetape_model::*;
use wholetape_store::StoreError;
use wholetape_store::cert::Certificate;
use wholetape_store::file::Reader;
use wholetape_store::manifest::{FileRef, Issued, Part, Role, State};
use wholetape_store::replay::{Range, holes};
use wholetape_store::retain::{self, Keep, Kinds, Rule, Rules, Why};
use wholetape_store::seqs::Seqs;
use wholetape_store::writer::Pace;
use wholetape_tape::{Disk, RealDisk, Tape, TapeConfig};

const fn days(n: u64) -> Keep {
    Keep::For(Duration::from_secs(n * 86_400))
}

fn rule(kind: &str, keep: Keep) -> Rule {
    Rule { kinds: Kinds::parse(kind).unwrap(), venue: None, keep }
}

/// A definition that says something new each time that `step` is another one, twice a day.
fn define(w: &mut World, day: i64, step: u64) {
    for hour in [0, 12] {
        let at = day * DAY + hour * 3_600_000_000_000 + 7;
        let o = owned(&mut Dice(1));
        w.row("instrument", at, at, RowFlags::default(), body("instrument", step * 4, &mut Dice(step), &o));
    }
    w.lane.commit().unwrap();
}

/// Six days, sealed and certified; the definition changes on the first, second and fifth.
fn six_days() -> World {
    let mut w = World::new(false);
    for (n, step) in [1, 2, 2, 2, 3, 3].into_iter().enumerate() {
        let day = FIRST + n as i64;
        define(&mut w, day, step);
        w.day(day);
        w.tend(day + 1);
    }
    w
}

/// The days of each topic, counted from the first.
fn held(w: &mut World) -> BTreeMap<String, Vec<i64>> {
    let mut all: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for part in w.follower().catalog.state().parts.values() {
        let kind = part.topic.split('.').next().unwrap().to_owned();
        all.entry(kind).or_default().insert(part.day - FIRST);
    }
    all.into_iter().map(|(kind, days)| (kind, days.into_iter().collect())).collect()
}

#[test]
fn days_go_whole_by_their_rule_and_the_tape_does_not_bring_them_back() {
    let mut w = six_days();
    let rules = Rules::new(days(3), vec![rule("book", days(1)), rule("ticker", Keep::Forever)]).unwrap();
    let before = w.follower().catalog.state().clone();
    assert!(before.parts.values().all(|p| p.sealed));
    w.follower().set_retention(rules.clone());
    // Noon of the seventh day: the fourth ended two and a half days ago.
    w.tend(FIRST + 6);
    let kept = held(&mut w);
    assert_eq!(kept["trade"], [3, 4, 5]);
    assert_eq!(kept["quote"], [3, 4, 5]);
    assert_eq!(kept["book"], [5]);
    assert_eq!(kept["ticker"], [0, 1, 2, 3, 4, 5]);
    // Tickers of the first day stay, and so do all definitions that said something new; the others repeat them.
    assert_eq!(kept["instrument"], [0, 1, 3, 4, 5]);

    let state = w.follower().catalog.state().clone();
    let gone: Vec<&Part> = before.parts.values().filter(|p| !state.parts.contains_key(&p.part)).collect();
    for f in gone.iter().flat_map(|p| &p.files) {
        assert!(!w.path().join(&f.path).exists(), "{}", f.path);
    }
    let counts = w.follower().counts;
    assert_eq!(counts.retired_rows, gone.iter().map(|p| p.rows).sum::<u64>());
    assert_eq!(counts.retired_bytes, gone.iter().map(|p| p.bytes()).sum::<u64>());
    assert_eq!(state.stored(), before.stored(), "what was let go stays stored, as seqs");
    assert_eq!(state.let_go[&format!("trade.{ID}")].until, FIRST + 2);
    let of = |kind: &str| gone.iter().filter(|p| p.topic.starts_with(kind)).map(|p| p.rows).sum::<u64>();
    assert_eq!(state.let_go[&format!("book.{ID}")].rows, of("book."));
    // Several tables of a topic went together: its marks, too.
    assert!(gone.iter().any(|p| p.table == "gaps") && gone.iter().any(|p| p.table == "book_validity"));

    let report = w.verify();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!((report.days, report.days_reduced, report.days_let_go), (6, 5, 0));

    // A replay that must be complete is told, for the days that went and for no other.
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let lacks = |from: i64| {
        let topics = ["trade", "instrument"].map(support::topic).to_vec();
        let range = Range { topics, from: Ts(from * DAY), to: Ts((FIRST + 6) * DAY) };
        let holes = holes(&disk, w.path(), &state, &range).unwrap().into_iter();
        holes.filter(|h| h.what == "not_stored").map(|h| h.to_string()).collect::<Vec<_>>()
    };
    assert!(lacks(FIRST + 3).is_empty(), "{:?}", lacks(FIRST + 3));
    let told = lacks(FIRST + 1);
    assert!(told.len() == 1 && told[0].contains("retention let the topic's days up to 2026-01-04 go"), "{told:?}");

    // All is on the tape still.
    w.open();
    w.follower().set_retention(rules);
    w.tend(FIRST + 6);
    let again = w.follower().catalog.state().clone();
    assert_eq!((again.parts, again.let_go), (state.parts, state.let_go));
    assert_eq!(w.follower().counts.rows, 0);
    w.follower = None;
    assert!(w.verify().is_clean());
}

#[test]
fn a_day_of_which_nothing_is_left_keeps_its_certificate_and_a_file_that_somebody_took_is_missed() {
    let mut w = six_days();
    w.follower().set_retention(Rules::new(days(2), Vec::new()).unwrap());
    w.tend(FIRST + 6);
    w.follower = None;
    let kept = files(&w.path().join("catalog/certificates"));
    assert!(kept.iter().any(|p| p.ends_with("2026-01-02.r1.json")));
    let report = w.verify();
    assert!(report.is_clean(), "{:#?}", report.findings);
    // The second day's definition is in force until the fifth.
    assert_eq!((report.days, report.days_reduced, report.days_let_go), (6, 1, 3));
    let part = {
        w.open();
        let state = w.follower().catalog.state();
        let of = |p: &&Part| p.table == "trades" && p.day == FIRST + 5;
        state.parts.values().find(of).unwrap().clone()
    };
    w.follower = None;
    fs::remove_file(w.path().join(&part.files[0].path)).unwrap();
    let report = w.verify();
    assert!(report.findings.iter().any(|f| f.path == part.files[0].path && f.found == "missing"));
    // So is a link of the chain, though its day is gone.
    let w = {
        let mut w = six_days();
        w.follower().set_retention(Rules::new(days(2), Vec::new()).unwrap());
        w.tend(FIRST + 6);
        w.follower = None;
        w
    };
    fs::remove_file(w.certificate("2026-01-02.r1.json")).unwrap();
    assert!(!w.verify().is_clean());
}

#[test]
fn definitions_in_force_stay_and_only_they() {
    let mut w = six_days();
    let definitions = |w: &mut World| held(w)["instrument"].clone();
    for (keep, left) in [(5, vec![0, 1, 2, 3, 4, 5]), (4, vec![1, 2, 3, 4, 5]), (3, vec![1, 3, 4, 5]), (1, vec![4, 5])]
    {
        w.follower().set_retention(Rules::new(days(keep), Vec::new()).unwrap());
        w.tend(FIRST + 6);
        assert_eq!(definitions(&mut w), left, "{keep} days");
    }
    // What was told stays told: a new file repeats nothing, though the days between are gone.
    define(&mut w, FIRST + 6, 3);
    w.day(FIRST + 6);
    w.tend(FIRST + 7);
    let views = |w: &mut World, day| {
        let state = w.follower().catalog.state();
        let parts = state.parts.values().filter(|p| p.table == "definitions" && p.day == day);
        parts.flat_map(|p| &p.files).filter(|f| f.role == Role::View).map(|f| f.rows).sum::<u64>()
    };
    assert_eq!(views(&mut w, FIRST + 4), 1);
    assert_eq!(views(&mut w, FIRST + 6), 0);
    // An instrument of which nothing else is left needs none.
    w.tend(FIRST + 40);
    assert!(held(&mut w).is_empty(), "{:?}", held(&mut w));
    let rest = files(&w.path().join("catalog/data"));
    assert!(rest.is_empty(), "{rest:?}");
    assert!(fs::read_dir(w.path().join("catalog/data/trades")).unwrap().next().is_none(), "an empty folder is left");
    // It comes back, and is defined anew.
    define(&mut w, FIRST + 40, 3);
    w.day(FIRST + 40);
    w.tend(FIRST + 41);
    assert_eq!(views(&mut w, FIRST + 40), 1);
    w.follower = None;
    let report = w.verify();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

#[test]
fn rows_that_come_too_late_are_not_stored_and_a_revision_tells_what_was_let_go_as_it_was() {
    let mut w = six_days();
    let read = |w: &World, name: &str| {
        let path = w.certificate(name);
        Certificate::parse(&path, &fs::read(&path).unwrap()).unwrap()
    };
    let rules = Rules::new(Keep::Forever, vec![rule("trade", days(3))]).unwrap();
    w.follower().set_retention(rules.clone());
    w.tend(FIRST + 6);
    let trade = format!("trade.{ID}");
    let stored = |w: &mut World| w.follower().catalog.state().parts.values().map(|p| p.rows).sum::<u64>();
    let before = stored(&mut w);
    // Trade 41 of the first day never came; it does now, and a ticker of the third day.
    w.trade(41, FIRST * DAY + 3_600_000_000_000 + 40 * 60_000_000_000, RowFlags::LATE_ARCHIVE);
    let at = (FIRST + 2) * DAY + 5 * 3_600_000_000_000 + 1;
    let o = owned(&mut Dice(9));
    w.row("ticker", at, at, RowFlags::LATE_ARCHIVE, body("ticker", 9_999, &mut Dice(9), &o));
    w.lane.commit().unwrap();
    w.tend(FIRST + 6);
    assert_eq!((stored(&mut w) - before, w.follower().counts.too_late), (1, 1));
    assert_eq!(held(&mut w)["trade"], [3, 4, 5]);
    let head = w.tape.head(&Topic::parse(&trade).unwrap()).unwrap();
    assert!(w.follower().catalog.state().retired[&trade].has(head));
    // The next certificate of the third day speaks of its trades still, word for word.
    let (first, second) = (read(&w, "2026-01-04.r1.json"), read(&w, "2026-01-04.r2.json"));
    assert_eq!(first.topics[&trade], second.topics[&trade]);
    let ticker = format!("ticker.{ID}");
    assert_eq!(second.topics[&ticker].tables["tickers"].rows, first.topics[&ticker].tables["tickers"].rows + 1);
    // And the fourth day, which begins behind the ids of the third, needed none.
    assert!(!w.certificate("2026-01-05.r2.json").exists());
    w.open();
    w.follower().set_retention(rules);
    w.tend(FIRST + 6);
    assert_eq!((stored(&mut w) - before, w.follower().counts.rows), (1, 0));
    w.follower = None;
    let report = w.verify();
    assert!(report.is_clean(), "{:#?}", report.findings);
}

#[test]
fn a_day_waits_for_its_certificate_but_not_for_ever() {
    let mut w = World::new(false);
    w.day(FIRST);
    w.tend(FIRST + 1);
    let path = w.certificate("2026-01-02.r1.json");
    let good = fs::read(&path).unwrap();
    // The second day's certificate cannot name it.
    fs::write(&path, b"{}").unwrap();
    w.day(FIRST + 1);
    w.tend(FIRST + 2);
    let rules = Rules::new(days(2), Vec::new()).unwrap();
    w.follower().set_retention(rules.clone());
    w.tend(FIRST + 5);
    assert_eq!(held(&mut w)["trade"], [1], "the first day has its certificate");
    let plan = retain::plan(w.follower().catalog.state(), &rules, Ts((FIRST + 5) * DAY));
    assert!(plan.go.is_empty() && !plan.stay.is_empty());
    assert!(plan.stay.iter().all(|(_, why)| *why == Why::Uncertified), "{:?}", plan.stay);
    w.tend(FIRST + 10);
    assert_eq!(held(&mut w)["trade"], [1]);
    w.tend(FIRST + 11);
    assert!(held(&mut w).is_empty(), "a week later it goes without");
    fs::write(&path, good).unwrap();
    w.follower = None;
    let report = w.verify();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!((report.days, report.days_let_go), (1, 1));
}

/// A tape that was begun anew does not have the old topics: their days are sealed, certified and let go all the same.
#[test]
fn days_of_topics_that_the_tape_does_not_know_any_more_are_sealed_too() {
    let mut w = World::new(false);
    w.day(FIRST);
    let now = Ts(FIRST * DAY + DAY / 2);
    let mut follower = w.follower.take().unwrap();
    while follower.poll(&w.tape, now).unwrap() {}
    follower.flush(now).unwrap();
    assert!(follower.catalog.state().parts.values().all(|p| !p.sealed));
    drop(follower);
    w.tape = Tape::open(&w.dir.path().join("tape-2"), TapeConfig::default()).unwrap();
    w.lane = w.tape.lane("t").unwrap();
    w.open();
    // Before it looked at the tape it does not know that.
    w.follower().tend(Ts((FIRST + 1) * DAY + DAY / 2)).unwrap();
    assert!(w.follower().catalog.state().parts.values().all(|p| !p.sealed));
    w.tend(FIRST + 1);
    let state = w.follower().catalog.state();
    assert!(!state.parts.is_empty() && state.parts.values().all(|p| p.sealed));
    assert_eq!(w.follower().counts.certificates, 1);
    assert_eq!(w.verify().days, 1);
    w.follower().set_retention(Rules::new(days(1), Vec::new()).unwrap());
    w.tend(FIRST + 3);
    assert!(held(&mut w).is_empty());
}

#[test]
fn readers_see_what_stays_once_while_days_go() {
    let mut w = six_days();
    let pace = Pace { rewrite_every: Duration::ZERO, ..Pace::default() };
    w.follower().set_pace(pace);
    let folder = w.path().join(format!("catalog/data/trades/{ID}"));
    let last: BTreeSet<u64> = {
        let state = w.follower().catalog.state();
        let of = |p: &&Part| p.table == "trades" && p.day == FIRST + 5;
        state.parts.values().filter(of).flat_map(|p| p.seqs.intervals()).flat_map(|(lo, hi)| *lo..=*hi).collect()
    };
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (over, folder) = (over.clone(), folder.clone());
        std::thread::spawn(move || {
            let (mut looks, mut sizes) = (0, BTreeSet::new());
            while !over.load(Ordering::SeqCst) {
                let Some(seqs) = look(&folder) else { continue };
                let once: BTreeSet<u64> = seqs.iter().copied().collect();
                assert_eq!(once.len(), seqs.len(), "rows are there twice");
                assert!(once.is_superset(&last), "a row that stays was not there");
                sizes.insert(seqs.len());
                looks += 1;
            }
            (looks, sizes)
        })
    };
    for keep in (1..6).rev() {
        std::thread::sleep(Duration::from_millis(30));
        w.follower().set_retention(Rules::new(days(keep), Vec::new()).unwrap());
        w.tend(FIRST + 6);
    }
    std::thread::sleep(Duration::from_millis(30));
    over.store(true, Ordering::SeqCst);
    let (looks, sizes) = reader.join().expect("the reader was disturbed");
    assert!(looks > 5 && sizes.len() > 2, "{looks} {sizes:?}");
}

/// The seqs in a folder's files; `None`: a file went meanwhile.
fn look(dir: &std::path::Path) -> Option<Vec<u64>> {
    let mut open = Vec::new();
    for file in RealDisk.list(dir).unwrap_or_default() {
        match Reader::open(&RealDisk, &file.path) {
            Ok(reader) => open.push(reader),
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return None,
            Err(e) => panic!("{}: {e}", file.path.display()),
        }
    }
    let mut seqs = Vec::new();
    for reader in &open {
        for group in 0..reader.groups() {
            let batch = reader.group(group).unwrap();
            // Of marks there are none in this table.
            seqs.extend_from_slice(batch.column_by_name("seq").unwrap().as_primitive::<UInt64Type>().values());
        }
    }
    Some(seqs)
}

const TOPICS: [(&str, &str); 3] = [("instrument", "definitions"), ("trade", "trades"), ("book", "order_book_deltas")];

/// A day of a topic: whether it is there, sealed, certified, and (definitions) new.
type Made = (bool, bool, bool, bool);

fn made(days: &[[Made; 3]]) -> State {
    let mut state = State::default();
    let mut number = 0;
    for (day, topics) in days.iter().enumerate() {
        let day = 20_000 + day as i64;
        let mut listed = Vec::new();
        for ((kind, table), (there, sealed, certified, is_new)) in TOPICS.into_iter().zip(topics) {
            if !there {
                continue;
            }
            number += 1;
            let role = if *is_new { Role::View } else { Role::Main };
            let file = FileRef { path: "x".into(), role, rows: 1, bytes: 1, blake3: String::new(), format: 1 };
            let mut seqs = Seqs::default();
            seqs.add(number, number);
            let part = Part {
                part: number,
                topic: format!("{kind}.X.Y"),
                table: table.into(),
                day,
                from: day * DAY,
                to: day * DAY,
                rows: 1,
                seqs,
                ids: None,
                sealed: *sealed,
                files: vec![file],
            };
            if *certified {
                listed.push(number);
            }
            state.parts.insert(part);
        }
        let issued = Issued {
            subject: "X.Y".into(),
            day,
            revision: 1,
            number: 1,
            blake3: String::new(),
            parts: listed,
            format: 1,
        };
        state.issued.entry("X.Y".into()).or_default().insert(day, issued);
    }
    state
}

proptest! {
    /// Whatever is there: only what is due goes, nothing half, no later day before an earlier one, and what stays has definitions.
    #[test]
    fn what_goes_is_due_whole_and_leaves_the_rest_of_use(
        all in proptest::collection::vec(
            proptest::array::uniform3((
                proptest::bool::weighted(0.8), proptest::bool::weighted(0.95),
                proptest::bool::weighted(0.9), proptest::bool::weighted(0.3),
            )), 1..30),
        keeps in proptest::array::uniform3(proptest::option::of(1_u64..25)),
        today in 0_i64..40,
    ) {
        let state = made(&all);
        let keep = |n: Option<u64>| n.map_or(Keep::Forever, days);
        let kinds = TOPICS.map(|t| t.0);
        let rules = kinds.iter().zip(keeps).map(|(kind, n)| rule(kind, keep(n))).collect();
        let rules = Rules::new(days(1), rules).unwrap();
        let now = Ts((20_000 + today) * DAY + DAY / 3);
        let plan = retain::plan(&state, &rules, now);
        let key = |d: &retain::TopicDay| (d.topic.clone(), d.day);
        let go: BTreeSet<_> = plan.go.iter().map(key).collect();
        let stay: BTreeMap<_, Why> = plan.stay.iter().map(|(d, why)| (key(d), *why)).collect();
        let left: Vec<&Part> = state.parts.values().filter(|p| !go.contains(&(p.topic.clone(), p.day))).collect();
        let mut parts = BTreeSet::new();
        for d in &plan.go {
            let topic = Topic::parse(&d.topic).unwrap();
            prop_assert!(d.day <= rules.of(&topic).keep.over(now).unwrap());
            for p in &d.parts {
                prop_assert!(state.parts[p].sealed);
                parts.insert(*p);
            }
        }
        prop_assert_eq!(parts.len() + left.len(), state.parts.len(), "a day goes whole");
        for p in &left {
            let Some(over) = rules.of(&Topic::parse(&p.topic).unwrap()).keep.over(now) else { continue };
            let why = stay.get(&(p.topic.clone(), p.day));
            prop_assert_eq!(p.day <= over, why.is_some(), "what is due and stays is told why");
            // What waits lets all later days wait.
            if matches!(why, Some(Why::Unsealed | Why::Uncertified)) {
                prop_assert!(!go.iter().any(|(topic, day)| *topic == p.topic && *day > p.day));
            }
        }
        // On each day that stays, the definition is known that was known before.
        let told = |parts: &mut dyn Iterator<Item = &Part>, day: i64| {
            let new = parts.filter(|p| p.table == "definitions" && p.day <= day && p.files[0].role == Role::View);
            new.map(|p| p.day).max()
        };
        for p in &left {
            let before = told(&mut state.parts.values(), p.day);
            prop_assert_eq!(told(&mut left.iter().copied(), p.day), before, "{} {}", p.topic, p.day);
        }
        // Done again, nothing more goes.
        let mut after = state.clone();
        after.parts.retain(|n, _| !parts.contains(n));
        prop_assert!(retain::plan(&after, &rules, now).go.is_empty());
    }
}
