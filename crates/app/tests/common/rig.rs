//! `wholetape sim` and `wholetape run` against it, as two processes: everything is subscribed to before anything happens.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Running, last_json, wholetape};

/// Whatever is asked for comes within this, beside a soak too.
const SOON: Duration = Duration::from_secs(60);

/// See the module.
pub struct Rig {
    pub sim: Running,
    pub run: Running,
    config: PathBuf,
    truth: PathBuf,
}

impl Rig {
    /// `sim`: arguments of the simulation; `keys`: lines added to each `[[feed.line]]`; `streams`: what each venue is to be asked for.
    pub fn new(dir: &Path, sim: &[&str], keys: &str, streams: &[(&str, u64)]) -> Self {
        Self::with(dir, sim, streams, |lines| lines.replace("[[feed.line]]\n", &format!("[[feed.line]]\n{keys}")))
    }

    /// The same with lines of one's own, made of those that the simulation prints.
    pub fn with(dir: &Path, sim: &[&str], streams: &[(&str, u64)], lines: impl Fn(&str) -> String) -> Self {
        let truth = dir.join("sim");
        let mut sim = Running::start(
            wholetape()
                .args(["sim", "--json"])
                .args(sim)
                .args(["--wait", "--control", "--data"])
                .arg(&truth)
                .stdin(Stdio::piped()),
        );
        let started = sim.json(SOON);
        // The truth is to begin when all of it can be heard.
        ask(&mut sim, "freeze");
        let config = dir.join("wholetape.toml");
        let snippet = lines(started["config"].as_str().unwrap());
        std::fs::write(&config, format!("data = {:?}\n{snippet}", dir.join("data"))).unwrap();
        let run =
            Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null()));
        run.json(SOON);
        let mut rig = Self { sim, run, config, truth };
        let began = Instant::now();
        let there = |status: &Value| streams.iter().all(|(venue, n)| status["subscribed"][venue].as_u64() >= Some(*n));
        while !there(&rig.ask("status")) {
            assert!(began.elapsed() < SOON, "the venues wait for somebody: {}", rig.ask("status"));
            std::thread::sleep(Duration::from_millis(200));
        }
        rig.ask("resume");
        rig
    }

    /// A command or an injection, and its answer.
    pub fn ask(&mut self, line: &str) -> Value {
        ask(&mut self.sim, line)
    }

    pub fn verdict(&self) -> Value {
        let mut verb = wholetape();
        verb.args(["verdict", "--json", "--truth"]).arg(&self.truth).arg("-c").arg(&self.config);
        last_json(&verb.output().unwrap())
    }

    /// The venues stop, the pipeline becomes whole and stops; the verdict over what is left.
    pub fn finish(&mut self) -> Value {
        self.ask("freeze");
        self.ask("finish");
        let began = Instant::now();
        let mut judged = self.verdict();
        while judged["complete"] != true && began.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(1_000));
            judged = self.verdict();
        }
        assert_eq!(judged["complete"], true, "{judged:#}");
        self.run.terminate();
        assert_eq!(self.run.json(SOON)["event"], "stopped");
        let judged = self.verdict();
        assert_eq!(judged["complete"], true, "{judged:#}");
        judged
    }
}

fn ask(sim: &mut Running, line: &str) -> Value {
    sim.tell(line);
    sim.json(SOON)
}

/// The topics of an instrument that hold anything.
pub fn kinds(judged: &Value, id: &str) -> Vec<String> {
    let kinds = judged["instruments"][id]["tape"]["kinds"].as_object().unwrap();
    kinds.iter().filter(|(_, count)| count["held"].as_u64() > Some(0)).map(|(name, _)| name.clone()).collect()
}
