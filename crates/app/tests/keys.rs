//! `wholetape gateway key` as a stranger would use it.

mod common;

use std::process::Output;

use common::{last_json, wholetape};
use serde_json::json;

#[test]
fn keys_are_made_listed_and_revoked() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (keys, config) = (dir.path().join("keys.toml"), dir.path().join("wholetape.toml"));
    std::fs::write(&config, format!("[gateway.auth]\nkeys = {keys:?}\n")).unwrap();
    let run = |args: &[&str]| -> Output {
        let words = ["gateway", "key"].iter().chain(args).copied();
        wholetape().args(words).arg("-c").arg(&config).output().unwrap()
    };
    let made = run(&["new", "--name", "ours", "--sub", "trade.*", "--json"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = last_json(&made);
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(secret.starts_with("wts_") && secret.len() == 68);
    assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = run(&["ls", "--json"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(&secret[4..]));
    let listed = last_json(&listed);
    assert_eq!((&listed["keys"][0]["id"], &listed["keys"][0]["revoked"]), (&json!(id), &json!(false)));
    assert_eq!(listed["keys"][0]["sub"], json!(["trade.*"]));
    assert!(run(&["revoke", id]).status.success());
    assert_eq!(last_json(&run(&["ls", "--json"]))["keys"][0]["revoked"], true);
    // What cannot be is said in one line.
    for (args, says) in [(&["revoke", "k_0"][..], "key ls"), (&["new", "--name", "x", "--sub", "a b"], "no topic")] {
        let refused = run(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(says), "{refused:?}");
    }
    let check = || wholetape().args(["check", "--json", "-c"]).arg(&config).output().unwrap();
    let keys_problem = |out: &Output| last_json(out)["problems"].to_string().contains("gateway.auth.keys");
    assert!(!keys_problem(&check()));
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(keys_problem(&check()), "a file that others may read");
}
