//! The crate graph check: a crate uses lower levels only, `sim` uses none of ours, `lab` and `xtask` are for development.
//!
//! The levels are the style guide's list, here as data. A crate that is not in it is an error, so that a new one gets its place
//! by decision and not by accident.

use crate::tree::{Dependency, Package, Tree};
use std::fmt;

/// Top to bottom. Crates of one level do not use each other.
const LEVELS: &[&[&str]] = &[
    &["app"],
    &["gateway"],
    &["client", "feed", "store", "derive", "sink", "source"],
    &["quality", "tape", "wire", "ws"],
    &["venue", "book"],
    &["model"],
];

/// A dependency that should not be, or a crate without a place.
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    pub manifest: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.manifest, self.line, self.what)
    }
}

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Index into [`LEVELS`]; greater is lower.
    Level(usize),
    /// Ships, and depends on none of ours.
    Sim,
    /// The laboratory: for tests alone, on top of everything but the binary.
    Lab,
    /// This program.
    Xtask,
}

fn place(short: &str) -> Option<Place> {
    match short {
        "sim" => Some(Place::Sim),
        "lab" => Some(Place::Lab),
        "xtask" => Some(Place::Xtask),
        _ => LEVELS.iter().position(|level| level.contains(&short)).map(Place::Level),
    }
}

/// Every breach in the tree's manifests.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in tree.ours() {
        let manifest = tree.relative(&package.dir.join("Cargo.toml")).display().to_string();
        let Some(user) = place(package.short()) else {
            let what = format!("crate `{}` has no level; give it one in LEVELS of xtask/src/graph.rs", package.short());
            breaches.push(Breach { manifest, line: 1, what });
            continue;
        };
        for dependency in &package.dependencies {
            let Some(used) = tree.ours().iter().find(|p| p.name == dependency.name) else { continue };
            if let Some(why) = refused(user, dependency, used) {
                let line = tree.manifest_line(package, &dependency.name);
                let what = format!("`{}` must not use `{}`: {why}", package.short(), used.short());
                breaches.push(Breach { manifest: manifest.clone(), line, what });
            }
        }
    }
    breaches
}

fn refused(user: Place, dependency: &Dependency, used: &Package) -> Option<&'static str> {
    let used = place(used.short())?; // one without a place is named on its own
    match (user, used) {
        (Place::Sim, _) => Some("the simulator depends on none of our crates, so that its truth is its own"),
        (Place::Xtask, _) => Some("the chores must build while our crates do not"),
        (_, Place::Xtask) => Some("xtask is no library"),
        // Tests may stand their subject between simulators, checkers and neighbours.
        (Place::Level(_), Place::Sim | Place::Lab) if dependency.is_dev() => None,
        (Place::Level(upper), Place::Level(lower)) if dependency.is_dev() && lower >= upper => None,
        (Place::Level(0) | Place::Lab, Place::Sim) => None,
        (Place::Level(_), Place::Sim) => {
            Some("only `app` and `lab` stand a simulator up; tests take it as a dev-dependency")
        }
        (Place::Level(_), Place::Lab) => Some("`lab` is for tests: take it as a dev-dependency"),
        (Place::Lab, Place::Level(0)) => Some("`lab` stands beside the binary, not on it"),
        (Place::Level(upper), Place::Level(lower)) if lower <= upper => Some("a crate uses lower levels only"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted::{manifest, plant};

    fn path(short: &str) -> String {
        format!("wholetape-{short} = {{ path = \"../{short}\" }}\n")
    }

    /// Plants `user` with the manifest text and `used` without dependencies; expects the breaches' text.
    fn check_edge(user: &str, dependencies: &str, used: &str, expected: &[&str]) {
        let planted = plant(&[
            (&format!("crates/{user}/Cargo.toml"), &manifest(&format!("wholetape-{user}"), dependencies)),
            (&format!("crates/{user}/src/lib.rs"), ""),
            (&format!("crates/{used}/Cargo.toml"), &manifest(&format!("wholetape-{used}"), "")),
            (&format!("crates/{used}/src/lib.rs"), ""),
        ]);
        let found: Vec<String> = check(&planted.tree).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{user} on {used}");
    }

    #[test]
    fn lower_levels_may_be_used() {
        check_edge("venue", &path("model"), "model", &[]);
        check_edge("gateway", &path("wire"), "wire", &[]);
        check_edge("lab", &path("feed"), "feed", &[]);
        check_edge("app", &path("sim"), "sim", &[]);
    }

    #[test]
    fn planted_breaches_are_named_with_their_line() {
        let upward = ["crates/model/Cargo.toml:7: `model` must not use `venue`: a crate uses lower levels only"];
        check_edge("model", &path("venue"), "venue", &upward);
        let sideways = ["crates/tape/Cargo.toml:7: `tape` must not use `wire`: a crate uses lower levels only"];
        check_edge("tape", &path("wire"), "wire", &sideways);
        let sim = [
            "crates/sim/Cargo.toml:7: `sim` must not use `model`: the simulator depends on none of our crates, so that its truth is its own",
        ];
        check_edge("sim", &path("model"), "model", &sim);
        check_edge("sim", &format!("[dev-dependencies]\n{}", path("model")), "model", &[&sim[0].replace(":7:", ":8:")]);
        let lab =
            ["crates/app/Cargo.toml:7: `app` must not use `lab`: `lab` is for tests: take it as a dev-dependency"];
        check_edge("app", &path("lab"), "lab", &lab);
    }

    #[test]
    fn tests_may_use_sim_lab_and_neighbours() {
        for used in ["sim", "lab", "venue"] {
            check_edge("book", &format!("[dev-dependencies]\n{}", path(used)), used, &[]);
        }
        let above = ["crates/book/Cargo.toml:8: `book` must not use `gateway`: a crate uses lower levels only"];
        check_edge("book", &format!("[dev-dependencies]\n{}", path("gateway")), "gateway", &above);
    }

    #[test]
    fn an_unknown_crate_is_told_where_to_go() {
        let expected =
            ["crates/novel/Cargo.toml:1: crate `novel` has no level; give it one in LEVELS of xtask/src/graph.rs"];
        check_edge("novel", &path("model"), "model", &expected);
    }

    #[test]
    fn this_tree_keeps_its_levels() {
        let tree = Tree::load(crate::run::root()).expect("cargo metadata");
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
