//! Commands of a replay, one a line on stdin, each answered by one line: `pause`, `resume`, `speed 10`, `seek TIME`, `step [N]`,
//! `status`, `stop`. A signal is a `stop`.

use std::sync::mpsc::Sender;

use anyhow::Context;
use serde_json::{Value, json};
use wholetape_model::Ts;
use wholetape_store::StoreError;
use wholetape_store::replay::{Next, Out, Player, Speed};

use crate::heal::time;

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Pause,
    Resume,
    Speed(Speed),
    Seek(Ts),
    Step(u64),
    Status,
    Stop,
    /// A line that is none of these, and why.
    Refused(String),
}

const KNOWN: &str = "pause, resume, speed X|max, seek TIME, step [N], status, stop";

impl Command {
    pub fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let (verb, rest) = (words.next().unwrap_or_default(), words.next());
        let read = || -> anyhow::Result<Self> {
            Ok(match (verb, rest) {
                ("pause", None) => Self::Pause,
                ("resume", None) => Self::Resume,
                ("status", None) => Self::Status,
                ("stop", None) => Self::Stop,
                ("step", None) => Self::Step(1),
                ("step", Some(n)) => Self::Step(n.parse().context("step: a number of rows")?),
                ("speed", Some(x)) => Self::Speed(Speed::parse(x).context("speed: max, or a number above 0")?),
                ("seek", Some(text)) => Self::Seek(match text.parse() {
                    // Nanoseconds, as answers and rows have them.
                    Ok(ns) if text.len() > 10 => Ts(ns),
                    _ => time(text, wholetape_feed::clock::wall())?,
                }),
                _ => anyhow::bail!("unknown command; known are {KNOWN}"),
            })
        };
        match (read(), words.next()) {
            (Ok(command), None) => command,
            (Ok(_), Some(more)) => Self::Refused(format!("`{more}` is too much")),
            (Err(why), _) => Self::Refused(format!("{line}: {why:#}")),
        }
    }

    /// Does it, and says where the player stands.
    pub fn obey(self, player: &mut Player, now: u64, out: &mut impl Out) -> Result<Value, StoreError> {
        let event = match self {
            Self::Pause => {
                player.pause(now);
                "pause"
            }
            Self::Resume => {
                player.resume(now);
                "resume"
            }
            Self::Speed(speed) => {
                player.set_speed(speed, now);
                "speed"
            }
            Self::Seek(to) => {
                player.seek(to, now, out)?;
                "seek"
            }
            Self::Step(rows) => {
                player.step(rows, now);
                // Steps are given at once, so that the answer tells where they led.
                let mut left = rows;
                while left > 0 {
                    let n = usize::try_from(left.min(4_096)).unwrap_or(4_096);
                    match player.play(now, out, n)? {
                        Next::Done | Next::Paused => break,
                        _ => left -= n as u64,
                    }
                }
                "step"
            }
            Self::Status => "status",
            Self::Stop => "stop",
            Self::Refused(why) => return Ok(json!({"event": "refused", "why": why})),
        };
        let s = player.status();
        Ok(json!({
            "event": event, "rows": s.rows, "at": s.at.map(|ts| ts.0.to_string()), "speed": s.speed.to_string(),
            "paused": s.paused, "out_of_order": s.late,
        }))
    }
}

/// Sends what comes from stdin (when it is wanted) and from signals. Threads of their own: the process ends without them.
pub fn listen(stdin: bool, to: &Sender<Command>) -> anyhow::Result<()> {
    if stdin {
        let to = to.clone();
        std::thread::Builder::new().name("replay-control".into()).spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok).filter(|l| !l.trim().is_empty()) {
                if to.send(Command::parse(line.trim())).is_err() {
                    return;
                }
            }
        })?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let to = to.clone();
    std::thread::Builder::new().name("replay-signals".into()).spawn(move || {
        runtime.block_on(async {
            if let Ok(mut stop) = crate::signals::Stop::new() {
                stop.asked().await;
                let _ = to.send(Command::Stop);
                // A second one ends the process at once.
                std::future::pending::<()>().await;
            }
        });
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_others_are_named() {
        for (line, command) in [
            ("pause", Command::Pause),
            ("step", Command::Step(1)),
            ("step 25", Command::Step(25)),
            ("speed max", Command::Speed(Speed::Max)),
            ("speed 0.5", Command::Speed(Speed::Times(0.5))),
            ("seek 2023-11-14T22:13:20Z", Command::Seek(Ts(1_700_000_000_000_000_000))),
            ("seek 1700000000000000001", Command::Seek(Ts(1_700_000_000_000_000_001))),
            ("stop", Command::Stop),
        ] {
            assert_eq!(Command::parse(line), command);
        }
        for (line, part) in [
            ("fly", "known are pause"),
            ("speed 0", "a number above 0"),
            ("step x", "a number of rows"),
            ("seek yesterday", "is no time"),
            ("pause 1", "unknown command"),
            ("step 1 2", "is too much"),
        ] {
            let Command::Refused(why) = Command::parse(line) else { panic!("{line}") };
            assert!(why.contains(part), "{line}: {why}");
        }
    }
}
