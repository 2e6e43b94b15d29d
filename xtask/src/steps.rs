//! A run of named steps: each is timed, a failing one does not hide the next, and the end says what was proven.
//!
//! Three outcomes, since "could not be looked at" is neither good nor bad: such a step prints a loud `not proven: …` line, and
//! with `REQUIRE_REAL=1` (as in CI) it fails the run. The very last line is `N passed, N failed`, counting steps.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How a step that found no fault ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    Proven,
    /// What was not looked at, and what would let it be.
    NotProven(String),
    /// As above, where no setting of ours could change it: never fails the run.
    OutOfReach(String),
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Mark {
    Passed,
    Failed,
    Skipped,
}

/// The steps so far.
pub struct Steps {
    rows: Vec<(String, Mark, Duration, String)>,
    require_real: bool,
}

impl Steps {
    /// Starts a run that obeys `REQUIRE_REAL`.
    pub fn from_env() -> Self {
        Self::new(std::env::var("REQUIRE_REAL").is_ok_and(|value| value == "1"))
    }

    fn new(require_real: bool) -> Self {
        Self { rows: Vec::new(), require_real }
    }

    /// Runs one step and remembers how it ended.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Proof>) {
        println!("\n== {name}");
        let started = Instant::now();
        let (mark, note) = match work() {
            Ok(Proof::Proven) => (Mark::Passed, String::new()),
            Ok(Proof::NotProven(what)) => {
                println!("not proven: {what}");
                (if self.require_real { Mark::Failed } else { Mark::Skipped }, what)
            }
            Ok(Proof::OutOfReach(what)) => {
                println!("not proven: {what}");
                (Mark::Skipped, what)
            }
            Err(error) => {
                println!("failed: {error:#}");
                (Mark::Failed, format!("{error:#}"))
            }
        };
        self.rows.push((name.to_owned(), mark, started.elapsed(), note));
    }

    /// Prints the table and the closing line.
    ///
    /// # Errors
    /// When a step failed, and when none ran.
    pub fn finish(self) -> Result<()> {
        println!("\n{}", self.table());
        println!("{}", self.closing_line());
        match self.count(Mark::Failed) {
            0 if self.rows.is_empty() => bail!("no step ran"),
            0 => Ok(()),
            failed => bail!("{failed} of {} steps failed", self.rows.len()),
        }
    }

    fn count(&self, mark: Mark) -> usize {
        self.rows.iter().filter(|row| row.1 == mark).count()
    }

    fn table(&self) -> String {
        let mut table = String::new();
        for (name, mark, took, note) in &self.rows {
            let word = match mark {
                Mark::Passed => "passed",
                Mark::Failed => "FAILED",
                Mark::Skipped => "not proven",
            };
            let note = note.lines().next().unwrap_or_default();
            let line = format!("{word:>10} {:>7.1} s  {name}  {note}", took.as_secs_f64());
            table.push_str(line.trim_end());
            table.push('\n');
        }
        table
    }

    fn closing_line(&self) -> String {
        let line = format!("{} passed, {} failed", self.count(Mark::Passed), self.count(Mark::Failed));
        match self.count(Mark::Skipped) {
            0 => line,
            skipped => format!("{line}, {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(require_real: bool, works: Vec<Result<Proof>>, closing: &str, good: bool) {
        let mut steps = Steps::new(require_real);
        for work in works {
            steps.step("a step", || work);
        }
        assert_eq!(steps.closing_line(), closing);
        assert_eq!(steps.finish().is_ok(), good);
    }

    #[test]
    fn outcomes_decide_the_run() {
        let unproven = || Ok(Proof::NotProven("x".into()));
        let unreachable = || Ok(Proof::OutOfReach("y".into()));
        check(false, vec![Ok(Proof::Proven)], "1 passed, 0 failed", true);
        check(false, vec![Ok(Proof::Proven), Err(anyhow::anyhow!("no"))], "1 passed, 1 failed", false);
        check(false, vec![Ok(Proof::Proven), unproven()], "1 passed, 0 failed, 1 skipped", true);
        check(true, vec![Ok(Proof::Proven), unproven()], "1 passed, 1 failed", false);
        check(true, vec![Ok(Proof::Proven), unreachable()], "1 passed, 0 failed, 1 skipped", true);
        check(true, vec![], "0 passed, 0 failed", false);
    }
}
