//! The page, looked at with a real browser while a demo feeds it.
//!
//! The browser and Node come from the system, by apt where we may install; the one npm package, pinned by its lock file, lies in
//! our cache. What cannot be had makes the step "not proven", never quietly passed.

use crate::run::{cache, command, on_path, root, run, target_dir};
use crate::running::{Running, build};
use crate::steps::{Proof, Steps};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Long enough for the browser's looks, which end the demo when they are over.
const DEMO_SECONDS: &str = "45";
const LOOK_MAX: Duration = Duration::from_secs(50);

/// One step; `shot` is where a picture goes.
pub fn step(steps: &mut Steps, faults: &str, shot: Option<&Path>) {
    steps.step("page", || {
        let tools = match tools() {
            Ok(tools) => tools,
            Err(error) => return Ok(Proof::NotProven(format!("page ({error:#})"))),
        };
        look(&tools, faults, shot)?;
        Ok(Proof::Proven)
    });
}

struct Tools {
    browser: PathBuf,
    /// Holds `node_modules`, and the script, since Node looks for packages beside it.
    packages: PathBuf,
}

fn look(tools: &Tools, faults: &str, shot: Option<&Path>) -> Result<()> {
    let program = build()?;
    let data = target_dir().join(format!("page-{}", std::process::id()));
    let looked = (|| {
        let dir = data.to_string_lossy();
        let venues = ["--venue", "binance-spot", "--venue", "binance-usdm"];
        let demo = ["demo", "--seconds", DEMO_SECONDS, "--faults", faults, "--port", "0", "--data", &dir];
        let demo = [&demo[..], &venues].concat();
        let demo = Running::start(&program, &demo)?;
        let url = demo.page(Duration::from_secs(20)).context("wholetape demo")?;
        let script = tools.packages.join("smoke.mjs");
        let mut args = vec![script.to_string_lossy(), url.as_str().into()];
        args.extend(shot.map(|shot| shot.to_string_lossy()));
        println!("$ node {}", args.join(" "));
        let mut node = command("node", &args.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let mut node = node.env("CHROMIUM", &tools.browser).spawn().context("starting node")?;
        let end = std::time::Instant::now() + LOOK_MAX;
        loop {
            match node.try_wait().context("waiting for node")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the page is not what it should be: node ended with {status}"),
                None if std::time::Instant::now() > end => {
                    let _ = node.kill();
                    let _ = node.wait();
                    bail!("looking at the page took more than {LOOK_MAX:?}");
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    })();
    let _ = fs::remove_dir_all(&data);
    looked
}

fn tools() -> Result<Tools> {
    let mut missing = Vec::new();
    if browser().is_none() {
        missing.push("chromium");
    }
    missing
        .extend([("node", "nodejs"), ("npm", "npm")].iter().filter(|(p, _)| !on_path(p)).map(|(_, package)| *package));
    if !missing.is_empty() {
        apt_install(&missing).with_context(|| format!("no {} here", missing.join(", ")))?;
    }
    let browser = browser().context("no chromium here")?;
    let packages = packages(&root().join("xtask").join("page"), &cache().join("tools"))?;
    Ok(Tools { browser, packages })
}

fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").map(PathBuf::from) {
        return named.is_file().then_some(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    BROWSERS.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|file| file.is_file())
}

/// Debian packages, without starting any service that one of them may bring.
fn apt_install(packages: &[&str]) -> Result<()> {
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

/// The folder of the npm packages that `page`'s lock file names, installed where it is new.
fn packages(page: &Path, tools: &Path) -> Result<PathBuf> {
    let home = tools.join(format!("page-{:016x}", stamp(&page.join("package-lock.json"))?));
    if !home.join("node_modules").is_dir() {
        let fresh = home.with_extension(format!("{}.part", std::process::id()));
        fs::create_dir_all(&fresh)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(page.join(file), fresh.join(file)).with_context(|| file.to_owned())?;
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
    fs::copy(page.join("smoke.mjs"), home.join("smoke.mjs")).context("smoke.mjs")?;
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
        assert_eq!(packages(&page, &tools).expect("there"), home);
        fs::write(page.join("smoke.mjs"), "two").expect("file");
        packages(&page, &tools).expect("there");
        assert_eq!(fs::read_to_string(home.join("smoke.mjs")).expect("script"), "two", "the script is always today's");
        fs::write(page.join("package-lock.json"), "{\"a\":2}").expect("file");
        assert_ne!(stamp(&page.join("package-lock.json")).expect("stamp"), stamped);
    }
}
