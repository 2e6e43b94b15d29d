//! The Python client and the examples: types, the conformance vectors, the wheel in a fresh environment, and a running gateway over a
//! link that is cut.
//!
//! What is tested is the installed wheel, not the sources. The tools are pinned by a lock file and lie in our cache; where they
//! cannot be had, the step is "not proven". (The Rust client has its tests in its crate and in the gateway's.)

use crate::python;
use crate::run::{cache, command, on_path, root, run, run_within, target_dir};
use crate::running::{Running, build};
use crate::steps::{Proof, Steps};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than all tests together; they end the demo when they are over.
const DEMO_SECONDS: &str = "300";
const TESTS_MAX: Duration = Duration::from_secs(280);

/// One step.
pub fn step(steps: &mut Steps) {
    steps.step("clients", || {
        let lock = root().join("xtask").join("clients").join("python.txt");
        let tools = match python::find().and_then(|python| python::wheels(&python, &lock, &cache().join("tools"))) {
            Ok(tools) => tools,
            Err(error) => return Ok(Proof::NotProven(format!("clients ({error:#})"))),
        };
        if !on_path("node") {
            return Ok(Proof::NotProven("clients (node is not here)".into()));
        }
        let work = target_dir().join(format!("clients-{}", std::process::id()));
        let proven = prove(&tools, &work);
        let _ = fs::remove_dir_all(&work);
        proven.map(|()| Proof::Proven)
    });
}

fn prove(tools: &Path, work: &Path) -> Result<()> {
    let client = root().join("clients").join("python");
    fs::create_dir_all(work)?;
    let types = work.join("mypy");
    run(command(tools, &["-m", "mypy", "--cache-dir", &types.to_string_lossy()]).current_dir(&client))?;
    let python = installed(tools, &client, work)?;
    let data = work.join("demo").to_string_lossy().into_owned();
    let args = ["demo", "--seconds", DEMO_SECONDS, "--port", "0", "--data", &data, "--venue", "binance-spot"];
    let demo = Running::start(&build()?, &args)?;
    let page = demo.page(Duration::from_secs(20)).context("wholetape demo")?;
    let url = format!("{}v1/ws", page.replacen("http://", "ws://", 1));
    let mut tests = command(&python, &["-m", "pytest", &client.join("tests").to_string_lossy()]);
    tests.current_dir(work).env("PYTHONPATH", packages(tools)?).env("PYTHONDONTWRITEBYTECODE", "1");
    run_within(tests.env("WHOLETAPE_URL", url).env("REQUIRE_GATEWAY", "1"), TESTS_MAX)
}

/// The Python of a fresh environment that holds the wheel, and finds what that depends on among the tools.
fn installed(tools: &Path, client: &Path, work: &Path) -> Result<PathBuf> {
    let out = work.to_string_lossy();
    let build = "import sys; from flit_core import buildapi; print(buildapi.build_wheel(sys.argv[1]))";
    run(command(tools, &["-c", build, &out]).current_dir(client).env("PYTHONDONTWRITEBYTECODE", "1"))?;
    let mut wheels = fs::read_dir(work)?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = wheels.find(|path| path.extension().is_some_and(|e| e == "whl")).context("no wheel was built")?;
    let fresh = work.join("fresh");
    run(&mut command(tools, &["-m", "venv", &fresh.to_string_lossy()]))?;
    let python = fresh.join("bin").join("python");
    let install =
        ["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", &wheel.to_string_lossy()];
    run(command(&python, &install).env("PYTHONPATH", packages(tools)?))?;
    let found = "import wholetape, pathlib, sys; home = pathlib.Path(wholetape.__file__); \
                 sys.exit(not (home.is_relative_to(sys.prefix) and (home.parent / 'py.typed').exists()))";
    run(command(&python, &["-c", found]).env("PYTHONPATH", packages(tools)?))?;
    Ok(python)
}

/// Where an environment keeps its packages.
fn packages(python: &Path) -> Result<PathBuf> {
    let home = python.parent().and_then(Path::parent).context("an environment")?.join("lib");
    let found =
        fs::read_dir(&home)?.filter_map(|entry| Some(entry.ok()?.path().join("site-packages"))).find(|p| p.is_dir());
    let found = found.with_context(|| format!("no packages in {}", home.display()))?;
    ensure!(found.join("websockets").is_dir(), "no websockets in {}", found.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_pins_what_the_client_needs() {
        let lock = fs::read_to_string(root().join("xtask").join("clients").join("python.txt")).expect("lock");
        assert!(lock.lines().all(|line| line.contains("==")), "{lock}");
        for name in ["websockets", "mypy", "pytest", "flit_core", "msgpack", "polars", "pandas"] {
            assert!(lock.lines().any(|line| line.starts_with(&format!("{name}=="))), "{name}");
        }
    }
}
