//! What a pure source may not name, as data, and the judgement of one file by it.

use super::Violation;
use super::names::{Name, Names, Role};
use crate::tree::{Dependency, Package};
use std::path::Path;

/// Crates held to purity as a whole (package names without `wholetape-`).
pub const PURE_CRATES: &[&str] = &["model", "venue", "book", "quality", "wire"];

/// Modules held to purity within crates that are not.
pub const PURE_PARTS: &[(&str, &str)] = &[("feed", "line"), ("client", "core"), ("ws", "decoder")];

/// What a pure crate may depend on: arithmetic, containers, parsing and encoding, which open nothing.
pub const PURE_DEPENDENCIES: &[&str] = &[
    "bytes",
    "crc32fast",
    "flate2",
    "hashbrown",
    "memchr",
    "rmp-serde",
    "serde",
    "serde_json",
    "sha2",
    "smallvec",
    "sonic-rs",
    "thiserror",
];

/// What may not even be reached through an allowed dependency.
pub const UNREACHABLE: &[&str] = &[
    "async-io",
    "async-std",
    "hyper",
    "mio",
    "polling",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tungstenite",
];

/// Crate roots that no pure source names, whatever its manifest says.
const DENIED_ROOTS: &[&str] = &[
    "async_std",
    "chrono",
    "futures",
    "futures_util",
    "getrandom",
    "hyper",
    "hyper_util",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "rand",
    "reqwest",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio_rustls",
    "tokio_tungstenite",
    "tokio_util",
    "tracing",
];

const DENIED_STD: &[(&str, &str)] = &[
    ("env", "the environment"),
    ("fs", "files"),
    ("net", "sockets"),
    ("os", "the operating system"),
    ("path", "files (a `Path` can ask the disk)"),
    ("process", "processes"),
    ("thread", "threads"),
];

const DENIED_MACROS: &[(&str, &str)] = &[
    ("dbg", "writes to stderr"),
    ("env", "reads the environment"),
    ("eprint", "writes to stderr"),
    ("eprintln", "writes to stderr"),
    ("include", "brings in unchecked source"),
    ("option_env", "reads the environment"),
    ("print", "writes to stdout"),
    ("println", "writes to stdout"),
];

/// Judges the names of a file.
pub struct Rules {
    denied: Vec<String>,
}

impl Rules {
    /// For a crate that is pure as a whole: its manifest is checked beside its sources.
    pub fn for_crate() -> Self {
        Self { denied: DENIED_ROOTS.iter().map(|root| (*root).to_owned()).collect() }
    }

    /// For pure modules of a crate that is not: whatever the crate depends on is out, unless a pure crate might have it too.
    pub fn for_part_of(package: &Package) -> Self {
        let mut rules = Self::for_crate();
        rules.denied.extend(
            package
                .dependencies
                .iter()
                .filter(|d| d.is_normal() && !PURE_DEPENDENCIES.contains(&d.name.as_str()))
                .filter(|d| !d.name.strip_prefix("wholetape-").is_some_and(|short| PURE_CRATES.contains(&short)))
                .map(Dependency::root),
        );
        rules
    }

    /// Adds every breach of `names` to `found`.
    pub fn judge(&self, file: &Path, names: &Names, found: &mut Vec<Violation>) {
        for name in &names.names {
            if let Some(why) = self.breach(name) {
                let what = format!("`{}` in pure code: {why}", name.path.join("::"));
                found.push(Violation { file: file.to_owned(), line: name.line, what });
            }
        }
    }

    fn breach(&self, name: &Name) -> Option<String> {
        let path: Vec<&str> = name.path.iter().map(String::as_str).collect();
        let root = path.first()?;
        if name.role == Role::Macro
            && let Some((_, why)) = DENIED_MACROS.iter().find(|(denied, _)| path.last() == Some(denied))
        {
            return Some((*why).into());
        }
        if self.denied.iter().any(|denied| denied == root) && (path.len() > 1 || name.role != Role::Path) {
            return Some("not for pure code".into());
        }
        match path.as_slice() {
            ["unsafe"] => Some("unsafe code".into()),
            ["async" | "await"] => Some("asynchronous code belongs to the shell".into()),
            ["extern"] => Some("names a crate or symbol past this check".into()),
            ["#[path]"] => Some("brings in source from elsewhere, past this check".into()),
            [root, rest @ ..] if ["std", "core", "alloc"].contains(root) => standard(rest, name.role),
            [.., "io", "stdin" | "stdout" | "stderr"] => Some("the process's own streams".into()),
            [.., "Instant" | "SystemTime", "now"] => Some("reads the clock; time is an argument".into()),
            _ => None,
        }
    }
}

/// Judges a path within `std`, `core` or `alloc`.
fn standard(rest: &[&str], role: Role) -> Option<String> {
    let import = matches!(role, Role::Use | Role::Renamed);
    match rest {
        ["$", ..] => Some("a module of the standard library that a macro chooses, past this check".into()),
        [] | ["*"] if import => Some("imports the standard library whole, past this check".into()),
        ["time", "Duration", ..] => None,
        ["time", ..] => Some("the clock; of `std::time` only `Duration` is plain data, named in full".into()),
        ["io", "*"] | ["io", "stdin" | "stdout" | "stderr", ..] => Some("the process's own streams".into()),
        [module, ..] => DENIED_STD.iter().find(|(denied, _)| denied == module).map(|(_, why)| (*why).into()),
        [] => None,
    }
}

/// The top-level modules of the crate that `file` names by `crate::x` or by climbing with `super`, with the lines.
pub fn modules_named(src: &Path, file: &Path, names: &Names) -> Vec<(usize, String)> {
    let inside = file.strip_prefix(src).unwrap_or(file).with_extension("");
    let mut depth = inside.components().count();
    if inside.ends_with("mod") {
        depth -= 1;
    }
    let mut found = Vec::new();
    for name in &names.names {
        let climbs = name.path.iter().take_while(|s| *s == "super").count();
        let from_root = match name.path.first().map(String::as_str) {
            Some("crate") => name.path.get(1),
            Some("super") if climbs >= depth => name.path.get(climbs),
            _ => None,
        };
        if let Some(module) = from_root {
            found.push((name.line, module.clone()));
        }
    }
    found
}
