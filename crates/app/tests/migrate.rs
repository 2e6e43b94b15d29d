//! `wholetape catalog migrate` as a command, over the first golden catalog; and what every command says of a newer one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn below(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { below(&path, all) } else { all.push(path) }
    }
}

fn first() -> tempfile::TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/golden/v1");
    let (dir, mut files) = (tempfile::tempdir().unwrap(), Vec::new());
    below(&golden, &mut files);
    for file in files {
        let to = dir.path().join(file.strip_prefix(&golden).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&file, to).unwrap();
    }
    dir
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_wholetape")).args(args).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn json(args: &[&str]) -> Value {
    let (code, out, err) = run(args);
    assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn older_files_are_named_then_written_anew() {
    let dir = first();
    let data = dir.path().to_str().unwrap();
    let both = ["--set", "store.dialects=[\"v2\", \"v1\"]", "--data", data];
    let listed = json(&["catalog", "ls", "--json", "--data", data]);
    let older = listed["older_files"].as_u64().unwrap();
    assert!(older > 3, "{listed}");
    assert!(run(&["catalog", "ls", "--data", data]).1.contains(&format!("{older} files have an older layout")));

    let (_, would, _) = run(&[&["catalog", "migrate", "--dry-run"], &both[..]].concat());
    assert_eq!(would.matches("version 1, the newest is 2").count() as u64, older, "{would}");
    let would = json(&[&["catalog", "migrate", "--dry-run", "--json"], &both[..]].concat());
    assert_eq!(would["files"], older);
    assert_eq!(json(&["catalog", "ls", "--json", "--data", data]), listed, "a dry run writes nothing");

    let did = json(&[&["catalog", "migrate", "--json"], &both[..]].concat());
    assert_eq!((&did["files"], &did["rows"]), (&would["files"], &would["rows"]));
    assert!(did["certificates"].as_u64().unwrap() > 0, "{did}");
    assert_eq!(json(&["catalog", "ls", "--json", "--data", data])["older_files"], 0);
    let (code, out, _) = run(&["verify", data]);
    assert!(code == Some(0) && out.starts_with("clean: "), "{out}");
    let again = json(&[&["catalog", "migrate", "--json"], &both[..]].concat());
    assert_eq!((&again["files"], &again["certificates"]), (&0.into(), &0.into()));
}

#[test]
fn every_command_names_what_is_newer() {
    let dir = first();
    let data = dir.path().to_str().unwrap();
    let path = dir.path().join("catalog/manifest.log");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let newer = head[17..].replace("\"format\":1", "\"format\":7");
    let sum = wholetape_store::cert::Certificate::hash(newer.as_bytes());
    fs::write(&path, format!("{} {newer}\n{rest}", &sum[..16])).unwrap();
    for args in [
        &["catalog", "ls", "--data", data][..],
        &["catalog", "migrate", "--data", data],
        &["catalog", "migrate", "--dry-run", "--data", data],
        &["catalog", "compact", "--data", data],
        &["replay", "--stdout", "--speed", "max", "--data", data],
        &["verify", data],
    ] {
        let (code, _, err) = run(args);
        assert_ne!(code, Some(0), "{args:?}");
        let names = err.contains("manifest.log") && err.contains("format 7") && err.contains("reads up to 1");
        assert!(names, "{args:?}: {err}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), text.lines().count(), "nothing is written");
}
