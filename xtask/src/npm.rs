//! Packages of npm, pinned by a lock file, in our cache.

use crate::run::{command, run};
use anyhow::{Context, Result};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

/// The folder of the npm packages that the lock file in `from` names, installed where it is new, with a script beside them: Node
/// looks for packages there.
///
/// # Errors
/// When they cannot be had.
pub fn packages(from: &Path, script: Option<&str>, tools: &Path) -> Result<PathBuf> {
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let home = tools.join(format!("{name}-{:016x}", stamp(&from.join("package-lock.json"))?));
    if !home.join("node_modules").is_dir() {
        let fresh = home.with_extension(format!("{}.part", std::process::id()));
        fs::create_dir_all(&fresh)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(from.join(file), fresh.join(file)).with_context(|| file.to_owned())?;
        }
        let prefix = fresh.to_string_lossy();
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", &prefix];
        if let Err(error) = run(&mut command("npm", &quiet)) {
            fs::remove_dir_all(&fresh)?;
            return Err(error);
        }
        if fs::rename(&fresh, &home).is_err() {
            // Somebody else was quicker; theirs is as good.
            fs::remove_dir_all(&fresh)?;
        }
    }
    if let Some(script) = script {
        fs::copy(from.join(script), home.join(script)).with_context(|| script.to_owned())?;
    }
    Ok(home)
}

/// Tells one lock file from another: a name for a folder, no proof of anything.
fn stamp(file: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(file).with_context(|| file.display().to_string())?);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_once_for_a_lock_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (page, tools) = (dir.path().join("page"), dir.path().join("tools"));
        fs::create_dir(&page).expect("folder");
        for (file, text) in [("package-lock.json", "{\"a\":1}"), ("smoke.mjs", "one")] {
            fs::write(page.join(file), text).expect("file");
        }
        let stamped = stamp(&page.join("package-lock.json")).expect("stamp");
        let home = tools.join(format!("page-{stamped:016x}"));
        fs::create_dir_all(home.join("node_modules")).expect("folder");
        assert_eq!(packages(&page, Some("smoke.mjs"), &tools).expect("there"), home);
        fs::write(page.join("smoke.mjs"), "two").expect("file");
        packages(&page, Some("smoke.mjs"), &tools).expect("there");
        assert_eq!(fs::read_to_string(home.join("smoke.mjs")).expect("script"), "two", "the script is always today's");
        fs::write(page.join("package-lock.json"), "{\"a\":2}").expect("file");
        assert_ne!(stamp(&page.join("package-lock.json")).expect("stamp"), stamped);
    }
}
