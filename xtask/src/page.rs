//! The page, looked at with a real browser while a demo feeds it.
//!
//! The browser and Node come from the system, by apt where we may install; the one npm package, pinned by its lock file, lies in
//! our cache. What cannot be had makes the step "not proven", never quietly passed.

use crate::npm;
use crate::run::{cache, command, on_path, root, target_dir};
use crate::running::{Running, build};
use crate::steps::{Proof, Steps};
use crate::system;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
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
        system::install(&missing).with_context(|| format!("no {} here", missing.join(", ")))?;
    }
    let browser = browser().context("no chromium here")?;
    let packages = npm::packages(&root().join("xtask").join("page"), Some("smoke.mjs"), &cache().join("tools"))?;
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
