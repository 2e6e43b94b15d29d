//! The workspace as cargo sees it: our packages, what they depend on, and what is reached through that.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Read from `cargo metadata`.
pub struct Tree {
    pub root: PathBuf,
    ours: Vec<Package>,
    /// Normal dependencies by package name, for everything in the lock file.
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// One package of the workspace.
#[derive(Debug)]
pub struct Package {
    pub name: String,
    pub dir: PathBuf,
    pub dependencies: Vec<Dependency>,
    pub build_script: bool,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Clone, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// The name that the manifest gives it, where that is another.
    rename: Option<String>,
    /// `None` is a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

impl Dependency {
    pub fn is_normal(&self) -> bool {
        self.kind.is_none()
    }

    /// How sources of the package spell it.
    pub fn root(&self) -> String {
        self.rename.as_ref().unwrap_or(&self.name).replace('-', "_")
    }

    pub fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

impl Package {
    /// The crate's name in the style guide's table: its folder, `app` for the binary.
    pub fn short(&self) -> &str {
        self.dir.file_name().and_then(|name| name.to_str()).unwrap_or(&self.name)
    }
}

impl Tree {
    /// The workspace that this program was built from (or, in tests, a planted one).
    ///
    /// # Errors
    /// When cargo fails, for example on a manifest that it cannot read.
    pub fn load(root: &Path) -> Result<Self> {
        let mut cargo = Command::new(crate::run::cargo());
        cargo.args(["metadata", "--format-version", "1"]).current_dir(root);
        let out = cargo.output().context("starting cargo metadata")?;
        ensure!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim());
        Self::parse(&out.stdout)
    }

    fn parse(json: &[u8]) -> Result<Self> {
        let metadata: Metadata = serde_json::from_slice(json).context("reading cargo metadata")?;
        let names: BTreeMap<&str, &str> = metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in &metadata.resolve.nodes {
            let targets = edges.entry(names[node.id.as_str()].to_owned()).or_default();
            for edge in node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none())) {
                targets.insert(names[edge.pkg.as_str()].to_owned());
            }
        }
        let members: BTreeSet<&String> = metadata.workspace_members.iter().collect();
        let mut ours = Vec::new();
        for package in metadata.packages.iter().filter(|p| members.contains(&p.id)) {
            ours.push(Package {
                name: package.name.clone(),
                dir: package.manifest_path.parent().unwrap_or(Path::new("")).to_owned(),
                dependencies: package.dependencies.clone(),
                build_script: package.targets.iter().any(|t| t.kind.iter().any(|k| k == "custom-build")),
            });
        }
        Ok(Self { root: metadata.workspace_root, ours, edges })
    }

    /// The workspace's own packages.
    pub fn ours(&self) -> &[Package] {
        &self.ours
    }

    /// Every package reached from `name` through normal dependencies, itself included.
    pub fn reached_from(&self, name: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::from([name.to_owned()]);
        let mut todo = vec![name.to_owned()];
        while let Some(next) = todo.pop() {
            for target in self.edges.get(&next).into_iter().flatten() {
                if seen.insert(target.clone()) {
                    todo.push(target.clone());
                }
            }
        }
        seen
    }

    pub fn relative(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.root).unwrap_or(file).to_owned()
    }

    /// The line of the package's manifest that names `dependency`, 1 when it is not found.
    pub fn manifest_line(&self, package: &Package, dependency: &str) -> usize {
        let text = std::fs::read_to_string(package.dir.join("Cargo.toml")).unwrap_or_default();
        let names_it = |line: &str| {
            let rest = line.trim_start().trim_start_matches('"').strip_prefix(dependency);
            rest.is_some_and(|rest| rest.starts_with([' ', '=', '.', '"']))
        };
        text.lines().position(names_it).map_or(1, |at| at + 1)
    }
}

/// All files under `dir` with this extension, sorted; none when `dir` does not exist.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_under(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<RawPackage>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct RawPackage {
    id: String,
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// A workspace planted in a temporary folder, for the checks' own tests.
#[cfg(test)]
pub mod planted {
    use super::*;

    pub struct Planted {
        _dir: tempfile::TempDir,
        pub tree: Tree,
    }

    /// Plants files (`path`, text) in a workspace of `crates/*` and reads it with cargo, without network.
    pub fn plant(files: &[(&str, &str)]) -> Planted {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().canonicalize().expect("temporary folder");
        let workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n";
        for (path, text) in [("Cargo.toml", workspace)].iter().chain(files) {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("folder");
            std::fs::write(file, text).expect("file");
        }
        let tree = Tree::load(&root).expect("cargo metadata of the planted workspace");
        Planted { _dir: dir, tree }
    }

    /// A manifest for `crates/<short>` with the given dependency lines.
    pub fn manifest(name: &str, dependencies: &str) -> String {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n"
        )
    }
}
