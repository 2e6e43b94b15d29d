//! Two sockets for every stream, and the rough faults of a demo on each of them: held or confessed, and nothing twice.

mod common;

use common::{demo, last_json};

#[test]
fn two_sockets_under_rough_faults_are_whole_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--seconds", "12", "--faults", "rough", "--sockets", "2", "--seed", "5"]);
    let verdict = last_json(&output);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(verdict["complete"], true, "{verdict}\n{told}");
    assert!(output.status.success());
}

#[test]
fn more_sockets_than_a_set_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--seconds", "1", "--sockets", "8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1..=7"));
}
