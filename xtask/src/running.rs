//! Our own binary, built and started for a chore that looks at it from outside.

use crate::run::{cargo_command, command, run, target_dir};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Builds the binary that the tests build, and tells where it lies.
///
/// # Errors
/// When it does not build.
pub fn build() -> Result<PathBuf> {
    run(&mut cargo_command(&["build", "--workspace", "--bin", "wholetape", "--quiet"]))?;
    Ok(target_dir().join("debug").join(format!("wholetape{}", std::env::consts::EXE_SUFFIX)))
}

/// A started process whose output lines are read; it does not outlive this value.
pub struct Running {
    child: Child,
    /// Lines of both outputs, in order of arrival within each.
    lines: Receiver<String>,
}

impl Running {
    /// # Errors
    /// When it cannot start.
    pub fn start(program: &Path, args: &[&str]) -> Result<Self> {
        Self::spawn(&mut command(program, args))
    }

    /// As [`Running::start`], of a command that is set up; its streams become ours.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child_ref = child.as_mut().map_err(|e| anyhow::anyhow!("starting {program}: {e}"))?;
        let (tell, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child_ref.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child_ref.stderr.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { child: child?, lines })
    }

    /// The address of its page, which it prints when it serves.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn page(&self, limit: Duration) -> Result<String> {
        self.find(limit, "page", |line| url_in(line).map(str::to_owned))
    }

    /// Its next line that is JSON.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn json(&self, limit: Duration) -> Result<serde_json::Value> {
        self.find(limit, "JSON", |line| serde_json::from_str(line).ok())
    }

    /// What `look` finds in the first line in which it finds anything.
    ///
    /// # Errors
    /// When no such `what` comes in time.
    pub fn find<T>(&self, limit: Duration, what: &str, look: impl Fn(&str) -> Option<T>) -> Result<T> {
        let (end, mut said) = (Instant::now() + limit, String::new());
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = look(&line) {
                        return Ok(found);
                    }
                    said = line;
                }
                Err(RecvTimeoutError::Timeout) => bail!("no {what} after {limit:?}; it said: {said}"),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended: {said}"),
            }
        }
    }

    /// Writes one line to its stdin.
    ///
    /// # Errors
    /// When it does not read.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("no stdin")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).context("it does not read")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end in good order.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        anyhow::ensure!(status.context("kill")?.success(), "kill -TERM failed");
        Ok(())
    }

    /// What it printed since we last asked.
    pub fn printed(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Its end, when that comes within `limit`.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn ended(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            let status = self.child.try_wait().context("waiting for a process")?;
            if status.is_some() || Instant::now() >= end {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first `http://…/` in a line, whatever stands round it.
fn url_in(line: &str) -> Option<&str> {
    let from = &line[line.find("http://")?..];
    let host = &from["http://".len()..];
    Some(&from[.."http://".len() + host.find('/')? + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_found_in_both_forms() {
        let json = r#"{"event":"started","page":"http://127.0.0.1:46717/","tape":"x"}"#;
        assert_eq!(url_in(json), Some("http://127.0.0.1:46717/"));
        assert_eq!(url_in("page    http://127.0.0.1:9100/"), Some("http://127.0.0.1:9100/"));
        assert_eq!(url_in("client  ws://127.0.0.1:9100/v1/ws"), None);
        assert_eq!(url_in("http://x"), None);
    }

    #[test]
    #[cfg(unix)]
    fn what_ends_early_says_why() {
        let mut gone = Running::start(Path::new("/bin/sh"), &["-c", "echo no room >&2; exit 3"]).expect("starts");
        let why = gone.page(Duration::from_secs(5)).expect_err("no page").to_string();
        assert_eq!(why, "it ended: no room");
        let status = gone.ended(Duration::from_secs(5)).expect("can wait").expect("ended");
        assert_eq!(status.code(), Some(3));
    }
}
