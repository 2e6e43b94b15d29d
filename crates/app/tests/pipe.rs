//! Whoever reads our output may stop reading (`wholetape defaults | head -1`): no verb panics for that.

mod common;

use common::wholetape;

#[test]
fn a_closed_pipe_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_string_lossy().into_owned();
    for args in [
        vec!["defaults"],
        vec!["defaults", "--json"],
        vec!["check", "--set", "feed.workers=1"],
        vec!["coverage", "--data", &data],
        vec!["coverage", "--json", "--data", &data],
        vec!["doctor", "--data", &data],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = wholetape().args(&args).stdout(writer).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains("panicked"), "{args:?}: {told}");
        assert!(output.status.code().is_some_and(|code| code <= 2), "{args:?}: {:?}: {told}", output.status);
    }
}
