//! A Python, and environments of pinned wheels: one for each lock file, kept in our cache.

use crate::run::{command, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that the wheels are made for: named by `PYTHON`, on the path, or kept by pyenv.
///
/// # Errors
/// When there is none.
pub fn find() -> Result<PathBuf> {
    let named = std::env::var_os("PYTHON").map(PathBuf::from);
    let plain = ["python3.12", "python3.13", "python3"].map(PathBuf::from);
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let mut kept: Vec<PathBuf> = [pyenv, home]
        .into_iter()
        .flatten()
        .filter_map(|dir| fs::read_dir(dir.join("versions")).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join("python3")))
        .collect();
    kept.sort();
    let all = named.into_iter().chain(plain).chain(kept);
    all.into_iter().find(|python| fits(python)).context("no Python 3.12 or 3.13 here (PYTHON names one)")
}

fn fits(python: &Path) -> bool {
    let what = "import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))";
    let mut probe = Command::new(python);
    probe.args(["-c", what]).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// The Python of the environment that holds what a lock file names, installed where it is new.
///
/// # Errors
/// When the wheels cannot be had.
pub fn wheels(python: &Path, file: &Path, tools: &Path) -> Result<PathBuf> {
    let lock = file.file_stem().unwrap_or_default().to_string_lossy();
    let home = tools.join(format!("{lock}-{:016x}", stamp(file, python)?));
    let program = |home: &Path| home.join("bin").join("python");
    if program(&home).exists() {
        return Ok(program(&home));
    }
    let fresh = tools.join(format!("{lock}.{}.part", std::process::id()));
    let installed = run(&mut command(python, &["-m", "venv", &fresh.to_string_lossy()])).and_then(|()| {
        let quiet = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install"];
        let what = ["--no-deps", "--only-binary=:all:", "-r", &file.to_string_lossy()];
        run(&mut command(program(&fresh), &[&quiet[..], &what[..]].concat()))
    });
    if let Err(error) = installed {
        let _ = fs::remove_dir_all(&fresh);
        return Err(error);
    }
    if fs::rename(&fresh, &home).is_err() {
        // Somebody else was quicker; theirs is as good.
        fs::remove_dir_all(&fresh)?;
    }
    ensure!(program(&home).exists(), "{lock} was installed without a Python");
    Ok(program(&home))
}

/// Tells one lock file and Python from another: a name for a folder, no proof of anything.
fn stamp(lock: &Path, python: &Path) -> Result<u64> {
    let what = "import sys; print(sys.version, sys.base_prefix)";
    let version = Command::new(python).args(["-c", what]).output().context("asking Python for its version")?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(lock).with_context(|| lock.display().to_string())?);
    hasher.write(&version.stdout);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::root;

    #[test]
    fn what_is_installed_is_taken() {
        let Ok(python) = find() else { return };
        let tools = tempfile::tempdir().expect("temporary folder");
        let lock = root().join("xtask").join("catalog").join("nautilus-2.0.txt");
        let stamp = stamp(&lock, &python).expect("stamp");
        let bin = tools.path().join(format!("nautilus-2.0-{stamp:016x}")).join("bin");
        fs::create_dir_all(&bin).expect("folder");
        fs::write(bin.join("python"), "").expect("file");
        assert_eq!(wheels(&python, &lock, tools.path()).expect("there"), bin.join("python"));
    }
}
