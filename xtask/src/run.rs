//! Running other programs: said aloud before, judged by exit status after.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cargo that runs us, so that `cargo +toolchain xtask` stays on that toolchain.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The workspace root.
pub fn root() -> &'static Path {
    // The manifest's folder is `<root>/xtask`, fixed when this program was built from that very tree.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `$HOME/.cache/wholetape`, where tools and (by default) build results lie; the tree's `target/` when there is no home.
pub fn cache() -> PathBuf {
    match std::env::var_os("HOME") {
        Some(home) if !home.is_empty() => Path::new(&home).join(".cache").join("wholetape"),
        _ => root().join("target").join("cache"),
    }
}

/// Where builds go: `CARGO_TARGET_DIR`, else `target` in our cache, so that a fresh clone finds yesterday's work.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => cache().join("target"),
    }
}

/// A command in the workspace root, with nothing to read from.
pub fn command(program: impl Into<OsString>, args: &[&str]) -> Command {
    let mut command = Command::new(program.into());
    command.args(args).current_dir(root()).stdin(Stdio::null()).env("CARGO_TARGET_DIR", target_dir());
    command
}

/// A cargo command in the workspace root.
pub fn cargo_command(args: &[&str]) -> Command {
    command(cargo(), args)
}

/// Runs to the end with output passed through.
///
/// # Errors
/// When it cannot start or ends badly.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// As [`run`], killed when it takes too long.
///
/// # Errors
/// As [`run`], and then.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let mut child = command.spawn().with_context(|| format!("starting {shown}"))?;
    let end = Instant::now() + limit;
    loop {
        match child.try_wait().with_context(|| format!("waiting for {shown}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{shown}` ended with {status}"),
            None if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("`{shown}` took more than {limit:?}");
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Whether `program` can be found on the `PATH`.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
