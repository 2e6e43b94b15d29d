//! Packages of the system, where we may install them.

use crate::run::{command, on_path, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Debian packages, without starting any service that one of them may bring.
///
/// # Errors
/// No apt here, or no right to use it; a package that cannot be had.
pub fn install(packages: &[&str]) -> Result<()> {
    ensure!(on_path("apt-get"), "apt-get is not here either");
    let who = Command::new("id").arg("-u").output().context("starting id")?;
    ensure!(who.stdout == b"0\n", "installing it needs root");
    let guard = Path::new("/usr/sbin/policy-rc.d");
    let ours = !guard.exists();
    if ours {
        fs::write(guard, "#!/bin/sh\nexit 101\n").context("keeping services from starting")?;
        run(&mut command("chmod", &["755", "/usr/sbin/policy-rc.d"]))?;
    }
    let installed = run(&mut apt(&["update"])).and_then(|()| {
        let what = ["install", "--yes", "--no-install-recommends"];
        run(&mut apt(&[&what[..], packages].concat()))
    });
    if ours {
        let _ = fs::remove_file(guard);
    }
    installed
}

fn apt(args: &[&str]) -> Command {
    let quiet = ["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=2", "-o", "DPkg::Lock::Timeout=120"];
    let mut apt = command("apt-get", &[&quiet[..], args].concat());
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
    apt
}
