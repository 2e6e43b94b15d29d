//! The documentation checks: rustdoc says nothing, and relative links in Markdown files lead somewhere.

use crate::none_found;
use crate::run::{cargo_command, root, run};
use crate::steps::{Proof, Steps};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All documentation checks.
pub fn steps(steps: &mut Steps) {
    steps.step("rustdoc", || {
        let mut cargo = cargo_command(&["doc", "--workspace", "--no-deps", "--quiet"]);
        run(cargo.env("RUSTDOCFLAGS", "-D warnings"))?;
        Ok(Proof::Proven)
    });
    links_step(steps);
}

/// The quick one alone.
fn links_step(steps: &mut Steps) {
    steps.step("links in Markdown files", || {
        let mut found = Vec::new();
        for file in markdown_files()? {
            let text = fs::read_to_string(root().join(&file)).with_context(|| file.display().to_string())?;
            found.extend(broken_links(root(), &file, &text));
        }
        none_found(found)
    });
}

/// Committed Markdown files and those about to be, relative to the root.
fn markdown_files() -> Result<Vec<PathBuf>> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"];
    let out = Command::new("git").args(args).current_dir(root()).output().context("starting git")?;
    ensure!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr).trim());
    let list = String::from_utf8(out.stdout).context("file names")?;
    Ok(list.lines().map(PathBuf::from).filter(|file| root().join(file).is_file()).collect())
}

/// `file:line: target` for each relative link that leads nowhere.
fn broken_links(root: &Path, file: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            let path = target.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere = path.contains("://") || path.starts_with("mailto:");
            let from =
                if path.starts_with('/') { root.to_owned() } else { root.join(file.parent().unwrap_or(Path::new(""))) };
            if !path.is_empty() && !elsewhere && !from.join(path.trim_start_matches('/')).exists() {
                broken.push(format!("{}:{}: link to {target} leads nowhere", file.display(), number + 1));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(dir.path().join("docs")).expect("folder");
        fs::write(dir.path().join("docs/there.md"), "").expect("file");
        let text = "[a](there.md#part) [b](../docs/there.md) [c](https://x.y/z) [d](#here)\n\
                    ```\n[e](in-code.md)\n```\n[f](gone.md) and [g](/docs/there.md)";
        let broken = broken_links(dir.path(), Path::new("docs/page.md"), text);
        assert_eq!(broken, ["docs/page.md:5: link to gone.md leads nowhere"]);
    }
}
