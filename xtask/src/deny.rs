//! Licences, banned crates, sources and known advisories of what we depend on, by `cargo deny` and `deny.toml`.
//!
//! Advisories are a step of their own, since their database lives on a git host that a closed network (ours among them) cannot
//! reach: there it is said to be not proven and does not fail the run, whatever `REQUIRE_REAL` says. The GitHub workflow, which can
//! reach it, asks for `--require-advisories`.

use crate::run::{command, run};
use crate::steps::{Proof, Steps};
use crate::tools::CARGO_DENY;
use anyhow::{Context, Result, bail};

/// Both steps.
pub fn steps(steps: &mut Steps, require_advisories: bool) {
    steps.step("licences, bans, sources", || match CARGO_DENY.program() {
        Ok(program) => {
            let args = [
                "--log-level",
                "error",
                "--all-features",
                "check",
                "--hide-inclusion-graph",
                "licenses",
                "bans",
                "sources",
            ];
            run(&mut command(program, &args))?;
            Ok(Proof::Proven)
        }
        Err(error) => Ok(Proof::NotProven(format!("licences: no cargo-deny here: {error:#}"))),
    });
    steps.step("advisories", || match CARGO_DENY.program() {
        Ok(program) => {
            let out = command(program, &["check", "advisories"]).output().context("starting cargo-deny")?;
            let said = String::from_utf8_lossy(&out.stderr);
            print!("{}{said}", String::from_utf8_lossy(&out.stdout));
            advisories(out.status.success(), &said, require_advisories)
        }
        Err(error) => Ok(Proof::NotProven(format!("advisories: no cargo-deny here: {error:#}"))),
    });
}

/// What cargo-deny's end means: a database that could not be had is not an advisory.
fn advisories(success: bool, said: &str, required: bool) -> Result<Proof> {
    let unreachable = said.contains("failed to fetch advisory database");
    match (success, unreachable) {
        (true, _) => Ok(Proof::Proven),
        (false, true) if !required => {
            Ok(Proof::OutOfReach("advisories: their database cannot be fetched from this network".into()))
        }
        (false, true) => bail!("the advisory database cannot be fetched"),
        (false, false) => bail!("cargo-deny found advisories, see above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_database_is_excused() {
        let missing = "[ERROR] failed to fetch advisory database https://…";
        assert_eq!(advisories(true, "advisories ok", false).ok(), Some(Proof::Proven));
        assert!(matches!(advisories(false, missing, false), Ok(Proof::OutOfReach(_))));
        assert!(advisories(false, missing, true).is_err());
        assert!(advisories(false, "error[vulnerability]: …", false).is_err());
    }
}
