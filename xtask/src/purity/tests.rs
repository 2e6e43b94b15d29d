//! Planted violations: each must be named with its file and line, and honest code must pass.

use super::check;
use crate::tree::Tree;
use crate::tree::planted::{manifest, plant};

/// Plants one crate and expects these violations.
fn check_crate(short: &str, dependencies: &str, files: &[(&str, &str)], expected: &[&str]) {
    let dir = format!("crates/{short}");
    let own = manifest(&format!("wholetape-{short}"), dependencies);
    let mut planted = vec![(format!("{dir}/Cargo.toml"), own)];
    for name in ["tokio", "bytes"] {
        // Stand-ins by name; the real ones are not needed to see that they are named. `bytes` here reaches `tokio`.
        let inner = if name == "bytes" { "tokio = { path = \"../tokio\" }" } else { "" };
        planted.push((format!("crates/{name}/Cargo.toml"), manifest(name, inner)));
        planted.push((format!("crates/{name}/src/lib.rs"), String::new()));
    }
    planted.extend(files.iter().map(|(file, text)| (format!("{dir}/{file}"), (*text).to_owned())));
    let planted: Vec<(&str, &str)> = planted.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let planted = plant(&planted);
    let found: Vec<String> = check(&planted.tree).expect("readable").iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{files:?}");
}

/// Plants one source line (the second of the file) in a pure crate and expects it to be refused for `why`, or to pass.
fn check_line(line: &str, refused: Option<&str>) {
    let expected = refused.map(|what| format!("crates/book/src/lib.rs:2: {what}"));
    let source = format!("//! A planted crate.\n{line}\n");
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_crate("book", "", &[("src/lib.rs", &source)], &expected);
}

#[test]
fn planted_names_are_refused_with_file_and_line() {
    for (line, what) in [
        ("use std::fs;", "`std::fs` in pure code: files"),
        ("use std::{collections::HashMap, fs};", "`std::fs` in pure code: files"),
        (
            "use std::{collections::{BTreeMap, HashMap}, net::TcpStream as T};",
            "`std::net::TcpStream` in pure code: sockets",
        ),
        ("fn f() { let _ = std :: /* here */ fs :: read(\"x\"); }", "`std::fs::read` in pure code: files"),
        ("fn f() -> ::std::fs::File { loop {} }", "`std::fs::File` in pure code: files"),
        ("use std as s;", "`std` in pure code: imports the standard library whole, past this check"),
        ("use std::{self as s};", "`std` in pure code: imports the standard library whole, past this check"),
        ("use std::*;", "`std::*` in pure code: imports the standard library whole, past this check"),
        ("extern crate std as s;", "`extern` in pure code: names a crate or symbol past this check"),
        ("fn f() { std::env::var(\"HOME\").ok(); }", "`std::env::var` in pure code: the environment"),
        ("use std::path::Path;", "`std::path::Path` in pure code: files (a `Path` can ask the disk)"),
        ("fn f() { std::thread::yield_now(); }", "`std::thread::yield_now` in pure code: threads"),
        ("fn f() { println!(\"x\"); }", "`println` in pure code: writes to stdout"),
        ("fn f() { std::eprintln!(\"x\"); }", "`std::eprintln` in pure code: writes to stderr"),
        ("const V: &str = env!(\"HOME\");", "`env` in pure code: reads the environment"),
        ("fn f() { io::stdout(); }", "`io::stdout` in pure code: the process's own streams"),
        ("fn f() { Instant::now(); }", "`Instant::now` in pure code: reads the clock; time is an argument"),
        ("async fn f() {}", "`async` in pure code: asynchronous code belongs to the shell"),
        ("fn f() { unsafe {} }", "`unsafe` in pure code: unsafe code"),
        ("use tokio::net::TcpStream;", "`tokio::net::TcpStream` in pure code: not for pure code"),
        ("use tokio as t;", "`tokio` in pure code: not for pure code"),
        ("#[path = \"../../x.rs\"] mod x;", "`#[path]` in pure code: brings in source from elsewhere, past this check"),
        (
            "macro_rules! m { ($x:ident) => { std::$x::read() } }",
            "`std::$` in pure code: a module of the standard library that a macro chooses, past this check",
        ),
        ("#[cfg(not(test))] use std::fs;", "`std::fs` in pure code: files"),
    ] {
        check_line(line, Some(what));
    }
    let clock = "the clock; of `std::time` only `Duration` is plain data, named in full";
    for name in ["Instant", "SystemTime", "UNIX_EPOCH", "*"] {
        check_line(
            &format!("use std::time::{{Duration, {name}}};"),
            Some(&format!("`std::time::{name}` in pure code: {clock}")),
        );
    }
    check_line("use std::time;", Some(&format!("`std::time` in pure code: {clock}")));
}

#[test]
fn honest_code_passes() {
    for line in [
        "use std::{collections::BTreeMap, fmt::{self, Write as _}, time::Duration};",
        "const WHAT: &str = \"use std::fs; println!()\"; // std::net::TcpStream",
        "/// Like `std::fs::read`.\npub fn fs() {}",
        "#[cfg(test)] mod tests { use std::{fs, net}; fn f() { println!(\"{:?}\", std::time::Instant::now()); } }",
        "fn f(x: &X) { x.tokio(); x.unsafe_count(); let net = x.env != x.path; }",
        "use core::time::Duration;",
    ] {
        check_line(line, None);
    }
}

#[test]
fn tests_in_files_of_their_own_are_left_out_and_benches_too() {
    let lib = "pub mod l2;\n#[cfg(test)]\nmod tests;\n";
    check_crate(
        "book",
        "",
        &[
            ("src/lib.rs", lib),
            ("src/tests.rs", "use std::fs;"),
            ("src/l2.rs", "#[cfg(test)] mod tests;"),
            ("src/l2/tests.rs", "use std::net;"),
            ("src/tests_of_something.rs", "use std::env;"),
            ("benches/b.rs", "use std::fs;"),
        ],
        &["crates/book/src/tests_of_something.rs:1: `std::env` in pure code: the environment"],
    );
}

#[test]
fn planted_dependencies_are_refused_direct_and_reached() {
    let tokio = "tokio = { path = \"../tokio\" }";
    check_crate(
        "wire",
        tokio,
        &[("src/lib.rs", "")],
        &[
            "crates/wire/Cargo.toml:7: pure crate `wire` depends on `tokio`; if that opens nothing, add it to PURE_DEPENDENCIES in xtask/src/purity/rules.rs",
        ],
    );
    check_crate(
        "wire",
        "bytes = { path = \"../bytes\" }",
        &[("src/lib.rs", "")],
        &["crates/wire/Cargo.toml:7: pure crate `wire` reaches `tokio` through `bytes`"],
    );
    check_crate("wire", &format!("[dev-dependencies]\n{tokio}"), &[("src/lib.rs", "")], &[]);
    check_crate(
        "wire",
        "",
        &[("src/lib.rs", ""), ("build.rs", "fn main() {}")],
        &["crates/wire/Cargo.toml:1: pure crate `wire` has a build script"],
    );
}

#[test]
fn the_line_inside_feed_is_pure_and_its_shell_is_not() {
    let tokio = "tokio = { path = \"../tokio\" }";
    let shell = "use std::net::TcpStream;";
    let files = |line: &'static str| {
        [("src/lib.rs", "pub mod line; pub mod shell; pub mod words;"), ("src/shell.rs", shell), ("src/line.rs", line)]
    };
    check_crate("feed", tokio, &files("mod a; use std::time::Duration;"), &[]);
    check_crate(
        "feed",
        tokio,
        &files("\nfn f() { tokio::spawn(()); }"),
        &["crates/feed/src/line.rs:2: `tokio::spawn` in pure code: not for pure code"],
    );
    check_crate(
        "feed",
        "net = { path = \"../tokio\", package = \"tokio\" }",
        &files("use net::spawn;"),
        &["crates/feed/src/line.rs:1: `net::spawn` in pure code: not for pure code"],
    );
    check_crate(
        "feed",
        tokio,
        &files("use crate::shell::dial;"),
        &["crates/feed/src/shell.rs:1: `std::net::TcpStream` in pure code: sockets"],
    );
    check_crate(
        "feed",
        tokio,
        &files("use super::dial;"),
        &[
            "crates/feed/src/line.rs:1: `crate::dial` hides its module; name it there, so that the module's purity is checked",
        ],
    );
    let mut deeper = files("pub mod part;").to_vec();
    deeper.push(("src/line/part.rs", "use super::x;\nuse super::super::words::y;"));
    deeper.push(("src/words.rs", "\n\nuse std::fs;"));
    check_crate("feed", tokio, &deeper, &["crates/feed/src/words.rs:3: `std::fs` in pure code: files"]);
}

#[test]
fn this_tree_is_pure() {
    let tree = Tree::load(crate::run::root()).expect("cargo metadata");
    let found: Vec<String> = check(&tree).expect("readable").iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
