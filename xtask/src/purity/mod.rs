//! The purity check: pure crates name no socket, file, clock, environment or async runtime (STYLE: "the pure five").
//!
//! Two looks, since either alone can be fooled: the **manifest** (direct dependencies stand on an allow list, and no runtime
//! or socket crate is reached through them) and the **sources** (no forbidden name outside tests). Inside `feed`, whose
//! manifest needs sockets, `line.rs` and the modules that it reaches are held to the same rules by source alone; so are `core.rs` of `client` and `decoder.rs` of `ws`.
//!
//! The check is of names, not of types: it makes a breach visible where somebody would write it, it is no sandbox.

mod lexer;
mod names;
mod rules;

use crate::tree::{Package, Tree};
use anyhow::Result;
use names::{Names, names_of};
use rules::{PURE_CRATES, PURE_DEPENDENCIES, PURE_PARTS, Rules, UNREACHABLE};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A breach, with the place where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Relative to the workspace root.
    pub file: PathBuf,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Checks every pure crate of the tree, and the pure parts of others.
///
/// # Errors
/// Only when files cannot be read; breaches are the returned list.
pub fn check(tree: &Tree) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    for package in tree.ours() {
        if PURE_CRATES.contains(&package.short()) {
            manifest(tree, package, &mut found);
            let rules = Rules::for_crate();
            for (file, names) in sources(&package.dir.join("src"))? {
                rules.judge(&tree.relative(&file), &names, &mut found);
            }
        } else if let Some((_, module)) = PURE_PARTS.iter().find(|(short, _)| *short == package.short()) {
            part(tree, package, module, &mut found)?;
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn manifest(tree: &Tree, package: &Package, found: &mut Vec<Violation>) {
    let file = tree.relative(&package.dir.join("Cargo.toml"));
    let mut report = |dependency: &str, what: String| {
        let line = tree.manifest_line(package, dependency);
        found.push(Violation { file: file.clone(), line, what });
    };
    for dependency in package.dependencies.iter().filter(|d| d.is_normal()) {
        let name = dependency.name.as_str();
        let ours = name.strip_prefix("wholetape-").is_some_and(|short| PURE_CRATES.contains(&short));
        if !ours && !PURE_DEPENDENCIES.contains(&name) {
            report(
                name,
                format!(
                    "pure crate `{}` depends on `{name}`; if that opens nothing, add it to PURE_DEPENDENCIES in xtask/src/purity/rules.rs",
                    package.short()
                ),
            );
            continue;
        }
        for reached in tree.reached_from(name) {
            if UNREACHABLE.contains(&reached.as_str()) {
                report(name, format!("pure crate `{}` reaches `{reached}` through `{name}`", package.short()));
            }
        }
    }
    if package.build_script {
        report("build", format!("pure crate `{}` has a build script", package.short()));
    }
}

/// A module and every module of its crate that it names, and so on from those.
fn part(tree: &Tree, package: &Package, module: &str, found: &mut Vec<Violation>) -> Result<()> {
    let src = package.dir.join("src");
    let all = sources(&src)?;
    let rules = Rules::for_part_of(package);
    let mut seen = BTreeSet::from([module.to_owned()]);
    let mut todo = vec![module.to_owned()];
    while let Some(module) = todo.pop() {
        for (file, names) in all.iter().filter(|(file, _)| belongs_to(&src, file, &module)) {
            let relative = tree.relative(file);
            rules.judge(&relative, names, found);
            for (line, reached) in rules::modules_named(&src, file, names) {
                if seen.contains(&reached) {
                    continue;
                }
                if all.keys().any(|other| belongs_to(&src, other, &reached)) {
                    seen.insert(reached.clone());
                    todo.push(reached);
                } else {
                    let what = format!(
                        "`crate::{reached}` hides its module; name it there, so that the module's purity is checked"
                    );
                    found.push(Violation { file: relative.clone(), line, what });
                }
            }
        }
    }
    Ok(())
}

fn belongs_to(src: &Path, file: &Path, module: &str) -> bool {
    file == src.join(format!("{module}.rs")) || file.starts_with(src.join(module))
}

/// Every source file under `src` that is not only tests', with its names.
fn sources(src: &Path) -> Result<BTreeMap<PathBuf, Names>> {
    let mut all = BTreeMap::new();
    let mut tests: Vec<PathBuf> = Vec::new();
    for file in crate::tree::files_under(src, "rs")? {
        let names = names_of(&fs::read_to_string(&file)?);
        let home = match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") => file.with_file_name(""),
            _ => file.with_extension(""),
        };
        for module in &names.test_modules {
            tests.push(home.join(module));
            tests.push(home.join(format!("{module}.rs")));
        }
        all.insert(file, names);
    }
    all.retain(|file, _| !tests.iter().any(|test| file.starts_with(test)));
    Ok(all)
}

#[cfg(test)]
mod tests;
