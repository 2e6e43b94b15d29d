//! The gateway's WebSocket codec before Autobahn's test suite: its fuzzing client against `GET /echo` of the gateway, plain and compressed.
//!
//! The suite runs on Python 2.7, for which its packages are pinned in `xtask/autobahn/python2.txt`; where no such Python is, the step is "not
//! proven". It takes an hour of one core, most of it for the compressed cases, and goes group by group: with `--out` what was judged stays there.

use crate::run::{cache, cargo_command, command, root, run, target_dir};
use crate::steps::{Proof, Steps};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The suite's groups, and how many cases they have.
const GROUPS: &[(&str, usize)] = &[
    ("1", 16),
    ("2", 11),
    ("3", 7),
    ("4", 10),
    ("5", 20),
    ("6", 145),
    ("7", 37),
    ("9", 54),
    ("10", 1),
    ("12.1", 18),
    ("12.2", 18),
    ("12.3", 18),
    ("12.4", 18),
    ("12.5", 18),
    ("13.1", 18),
    ("13.2", 18),
    ("13.3", 18),
    ("13.4", 18),
    ("13.5", 18),
    ("13.6", 18),
    ("13.7", 18),
];
const AGENT: &str = "wholetape";

/// One step. `groups`: only those; all by default.
pub fn step(steps: &mut Steps, groups: &[String], out: Option<&Path>) {
    steps.step("autobahn", || {
        let python = match suite() {
            Ok(python) => python,
            Err(error) => return Ok(Proof::NotProven(format!("the codec before Autobahn's suite ({error:#})"))),
        };
        let work = target_dir().join(format!("autobahn-{}", std::process::id()));
        let judged = judge(&python, groups, out.unwrap_or(&work));
        let _ = fs::remove_dir_all(&work);
        judged.map(|()| Proof::Proven)
    });
}

fn judge(python: &Suite, only: &[String], out: &Path) -> Result<()> {
    let wanted =
        |group: &str| only.is_empty() || only.iter().any(|o| o == group || group.starts_with(&format!("{o}.")));
    let groups: Vec<&(&str, usize)> = GROUPS.iter().filter(|(group, _)| wanted(group)).collect();
    let names = || GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    ensure!(!groups.is_empty(), "no such group; there are {}", names());
    let server = Server::start()?;
    let (mut verdicts, mut bad) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (group, cases) in groups {
        let index = out.join(group).join("index.json");
        if !index.exists() {
            python.run(&server.url, group, out)?;
        }
        let text = fs::read_to_string(&index).with_context(|| index.display().to_string())?;
        let found = verdict(&serde_json::from_str(&text)?, &mut verdicts, &mut bad)?;
        println!("group {group}: {found} cases");
        ensure!(found == *cases, "group {group} has {cases} cases, {found} were judged");
    }
    let told: Vec<String> = verdicts.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
    println!("{} cases: {}", verdicts.values().sum::<usize>(), told.join(", "));
    ensure!(bad.is_empty(), "not as the suite wants: {}", bad.join(", "));
    Ok(())
}

/// Counts a group's verdicts, and names the cases that are not good.
fn verdict(index: &Value, verdicts: &mut BTreeMap<String, usize>, bad: &mut Vec<String>) -> Result<usize> {
    let cases = index[AGENT].as_object().context("a report without our server")?;
    for (case, found) in cases {
        let text = |key: &str| found[key].as_str().unwrap_or("missing").to_owned();
        let (behavior, close) = (text("behavior"), text("behaviorClose"));
        let good =
            matches!(&*behavior, "OK" | "NON-STRICT" | "INFORMATIONAL") && matches!(&*close, "OK" | "INFORMATIONAL");
        if !good {
            bad.push(format!("{case} {behavior}, close {close}"));
        }
        *verdicts.entry(behavior).or_default() += 1;
    }
    Ok(cases.len())
}

/// The suite, installed.
struct Suite {
    python: PathBuf,
    packages: PathBuf,
}

/// Finds Python 2.7 and installs the suite once.
fn suite() -> Result<Suite> {
    let python = python2().context("no Python 2.7 with pip here (pyenv has one)")?;
    let lock = root().join("xtask").join("autobahn").join("python2.txt");
    let pins = fs::read_to_string(&lock)?;
    let version = pins.lines().find_map(|l| l.strip_prefix("autobahntestsuite==")).context("no pin of the suite")?;
    let packages = cache().join("tools").join(format!("autobahntestsuite-{version}"));
    if !packages.exists() {
        let fresh = packages.with_extension(format!("{}.part", std::process::id()));
        let quiet = ["-W", "ignore", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"];
        let what = ["--target", &fresh.to_string_lossy(), "-r", &lock.to_string_lossy()];
        let installed = run(&mut command(&python, &[&quiet[..], &what[..]].concat()));
        // What pip leaves out with `--target`: without it the folder is no package.
        let installed = installed.and_then(|()| Ok(fs::write(fresh.join("zope").join("__init__.py"), "")?));
        if let Err(error) = installed {
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
        if fs::rename(&fresh, &packages).is_err() {
            // Somebody else was quicker; theirs is as good.
            fs::remove_dir_all(&fresh)?;
        }
    }
    Ok(Suite { python, packages })
}

fn python2() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let kept = [pyenv, home].into_iter().flatten().filter_map(|dir| fs::read_dir(dir.join("versions")).ok());
    let kept = kept.flatten().filter_map(|entry| Some(entry.ok()?.path().join("bin").join("python2.7")));
    let plain = ["python2.7", "python2"].map(PathBuf::from);
    plain.into_iter().chain(kept).find(|python| {
        let mut probe = Command::new(python);
        probe.args(["-c", "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"]);
        probe.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })
}

impl Suite {
    /// Runs one group; its report lies in `out/<group>`.
    fn run(&self, url: &str, group: &str, out: &Path) -> Result<()> {
        let fresh = out.join(format!("{group}.part"));
        fs::create_dir_all(&fresh)?;
        let spec = json!({
            "outdir": fresh, "servers": [{"agent": AGENT, "url": url}],
            "cases": [format!("{group}.*")], "exclude-cases": [], "exclude-agent-cases": {},
        });
        let file = fresh.join("spec.json");
        fs::write(&file, spec.to_string())?;
        let args = ["-W", "ignore", "-m", "autobahntestsuite.wstest", "-m", "fuzzingclient", "-s"];
        let mut suite = command(&self.python, &[&args[..], &[&file.to_string_lossy()]].concat());
        suite.env("PYTHONPATH", &self.packages).stdout(fs::File::create(fresh.join("log.txt"))?);
        run(&mut suite)?;
        ensure!(fresh.join("index.json").exists(), "the suite wrote no report: {}", fresh.join("log.txt").display());
        let _ = fs::remove_dir_all(out.join(group));
        fs::rename(&fresh, out.join(group)).context("keeping the report")
    }
}

/// The gateway with its echo endpoint; it ends with this value.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Result<Self> {
        run(&mut cargo_command(&["build", "--quiet", "-p", "wholetape-gateway", "--example", "echo"]))?;
        let program = target_dir().join("debug").join("examples").join("echo");
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut url)?;
        if !url.starts_with("ws://") {
            let _ = child.kill();
            bail!("the gateway does not serve");
        }
        Ok(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_517_cases() {
        assert_eq!(GROUPS.iter().map(|(_, n)| n).sum::<usize>(), 517);
    }

    #[test]
    fn failed_unclean_and_unimplemented_are_named() {
        let case = |behavior: &str, close: &str| json!({"behavior": behavior, "behaviorClose": close});
        let report = json!({AGENT: {
            "1.1.1": case("OK", "OK"), "6.4.1": case("NON-STRICT", "OK"), "7.1.6": case("INFORMATIONAL", "INFORMATIONAL"),
            "2.1": case("FAILED", "OK"), "2.2": case("OK", "UNCLEAN"), "12.1.1": case("UNIMPLEMENTED", "OK"),
        }});
        let (mut verdicts, mut bad) = (BTreeMap::new(), Vec::new());
        assert_eq!(verdict(&report, &mut verdicts, &mut bad).expect("report"), 6);
        assert_eq!(bad, ["12.1.1 UNIMPLEMENTED, close OK", "2.1 FAILED, close OK", "2.2 OK, close UNCLEAN"]);
        assert_eq!(verdicts["OK"], 2);
        assert!(verdict(&json!({}), &mut verdicts, &mut bad).is_err());
    }
}
