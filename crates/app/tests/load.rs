//! Load that people lose money on: a hundred cuts in a minute, and every connection of a hundred instruments closed at once.
//!
//! The same with 1 000 cuts and 500 instruments: the commands of `docs/PERFORMANCE.md`.

mod common;

use common::{demo, last_json};
use serde_json::Value;

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(value: &Value, path: &[&str]) -> f64 {
    path.iter().fold(value, |value, key| &value[*key]).as_f64().unwrap_or_else(|| panic!("{path:?} in {value}"))
}

#[test]
fn a_hundred_cuts_lose_nothing_repeat_nothing_and_no_wrong_book_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--cuts", "100", "--faults", "none", "--seed", "4"]);
    let verdict = last_json(&output);
    assert!(verdict["complete"] == true && output.status.success(), "{}", said(&output));
    let figures = &verdict["figures"];
    assert!(number(figures, &["cuts"]) >= 100.0, "{figures}");
    for key in ["lost", "duplicated", "lost_per_1000_cuts"] {
        assert_eq!(number(figures, &[key]), 0.0, "{key} in {figures}");
    }
    assert_eq!(number(figures, &["books", "invalid_s"]), 0.0, "{figures}");
    assert!(number(figures, &["books", "judged_s"]) > 30.0, "{figures}");
    assert!(number(figures, &["recovery", "measured"]) >= 80.0 && number(figures, &["recovery", "p99_ms"]) > 0.0);
    assert!(
        said(&output).contains("connection limit 1000000 in 5 min instead of the venue's 300"),
        "{}",
        said(&output)
    );
}

#[test]
fn cuts_without_healing_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--cuts", "30", "--faults", "none", "--seed", "4", "--heal", "off"]);
    let verdict = last_json(&output);
    assert_eq!((verdict["complete"].as_bool(), output.status.code()), (Some(false), Some(1)), "{}", said(&output));
    assert!(number(&verdict, &["figures", "lost"]) > 0.0);
}

/// T11: the venue closes everything at once, as it does after 24 h. Books come back within the weight of a minute, without a
/// refusal that we earned, and before anything else is asked for.
#[test]
fn t11_all_connections_of_a_hundred_instruments_closed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--instruments", "100", "--close-all", "25", "--seconds", "45", "--faults", "none", "--seed", "2"];
    let output = demo(dir.path(), &args);
    let verdict = last_json(&output);
    assert!(verdict["complete"] == true && output.status.success(), "{}", said(&output));
    let closed = &verdict["figures"]["all_closed"];
    assert!(number(closed, &["connections"]) >= 3.0 && number(closed, &["books"]) >= 95.0, "{closed}");
    assert_eq!(closed["books"], closed["valid_again"], "{closed}");
    // 12 s were measured: books find their weight though every hole asks at the same time, and no connection drops twice.
    assert!(number(closed, &["all_valid_s"]) < 30.0, "{closed}");
    for (venue, tally) in verdict["figures"]["rest"]["venues"].as_object().unwrap() {
        assert_eq!((&tally["over_limit"], &tally["too_early"]), (&0.into(), &0.into()), "{venue}: {tally}");
        assert!(number(tally, &["weight_peak"]) <= number(tally, &["weight_limit"]), "{venue}: {tally}");
        // More than one snapshot a book: one at the start, one after the cut.
        assert!(number(tally, &["requests", "depth"]) >= 100.0, "{venue}: {tally}");
    }
}
