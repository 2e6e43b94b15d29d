//! Running the binary as a stranger would: as a process, over its output, files and exit status.

#![allow(dead_code)]

pub mod rig;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use wholetape_tape::{Delivery, From, ReaderOptions, Tape};

/// Whatever is started says so within this.
pub const SOON: Duration = Duration::from_secs(30);

/// The binary under test, without the environment's configuration.
pub fn wholetape() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wholetape"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WHOLETAPE_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// What a demo is asked to show where Binance is enough.
pub const BINANCE: [&str; 4] = ["--venue", "binance-spot", "--venue", "binance-usdm"];

/// A demo of Binance to its end; some arguments name their venue otherwise.
pub fn demo(data: &Path, args: &[&str]) -> Output {
    let others = args.iter().any(|arg| ["--capture", "--cuts", "--instruments"].contains(arg));
    let binance: &[&str] = if others { &[] } else { &BINANCE };
    demo_of_all(data, &[binance, args].concat())
}

/// A demo of all its venues to its end.
pub fn demo_of_all(data: &Path, args: &[&str]) -> Output {
    wholetape()
        .args(["demo", "--port", "0", "--json", "--data"])
        .arg(data)
        .args(args)
        .output()
        .expect("the binary starts")
}

/// The last line of stdout.
pub fn last_json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| {
        panic!("no JSON on the last line ({e}): {line}\n{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// A process that is ended with the test, whatever comes.
pub struct Running {
    pub child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (tx, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of stdout as JSON.
    pub fn json(&self, within: Duration) -> Value {
        let line = self.lines.recv_timeout(within).expect("a line in time");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    /// Writes one line to its stdin, which must be piped.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it reads");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    }

    /// SIGKILL, and waits.
    pub fn kill9(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A small seeded generator: no test depends on the machine's randomness. `SEED=…` reruns another one.
pub struct Dice(u64);

impl Dice {
    pub fn new(default: u64) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
        println!("SEED={seed}");
        Self(seed)
    }

    /// In `[from, to)`.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        // SplitMix64 (public domain, Vigna 2015).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        from + (z ^ (z >> 31)) % (to - from)
    }
}

/// Every string found under a key, anywhere.
pub fn all_under<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (k, v) in map {
                if k == key {
                    out.push(v);
                }
                all_under(v, key, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|v| all_under(v, key, out)),
        _ => {}
    }
}

/// Of every topic its head, and the record there.
pub type Heads = BTreeMap<String, (u64, Vec<u8>)>;

fn record_at(tape: &Tape, topic: &wholetape_model::Topic, seq: u64) -> Option<Vec<u8>> {
    let mut reader =
        tape.reader(topic, From::Seq(seq - 1), ReaderOptions { verify: true, ..ReaderOptions::default() }).ok()?;
    let mut batch = Vec::new();
    reader.poll_next(&mut batch, 1);
    match batch.first() {
        Some(Delivery::Record(shared)) if shared.record().seq() == seq => {
            // The number of a topic in its lane may change; what it says may not.
            let r = shared.record();
            Some(format!("{:?} {:?} {:?}", r.seq(), r.ts_event(), r.row()).into_bytes())
        }
        _ => None,
    }
}

/// Looks at a tape whose writer is dead: no head went back, and what stood at an old head still stands there.
pub fn heads(tape_dir: &Path, before: &Heads) -> Heads {
    let tape = Tape::open_reader(tape_dir).expect("a killed tape can be read");
    let mut now = Heads::new();
    for state in tape.topics().into_iter().filter(|t| t.head > 0) {
        let name = state.topic.to_string();
        if let Some((head, record)) = before.get(&name) {
            assert!(state.head >= *head, "{name}: head went from {head} back to {}", state.head);
            assert_eq!(
                record_at(&tape, &state.topic, *head).as_ref(),
                Some(record),
                "{name}: seq {head} is another record now"
            );
        }
        let record = record_at(&tape, &state.topic, state.head)
            .unwrap_or_else(|| panic!("{name}: head {} cannot be read", state.head));
        now.insert(name, (state.head, record));
    }
    for name in before.keys() {
        assert!(now.contains_key(name), "{name} is gone");
    }
    now
}

/// Reads every record of every topic from the files, checksums on. Returns how many there are.
pub fn every_record_is_readable(tape_dir: &Path) -> u64 {
    let tape = Tape::open_reader(tape_dir).expect("the tape can be read");
    let mut records = 0;
    for state in tape.topics() {
        let options = ReaderOptions { verify: true, ..ReaderOptions::default() };
        let mut reader = tape.reader(&state.topic, From::Seq(0), options).expect("a reader");
        let (mut batch, mut last) = (Vec::new(), 0);
        while reader.poll_next(&mut batch, 4096) > 0 {
            for delivery in batch.drain(..) {
                let Delivery::Record(shared) = delivery else { panic!("{}: {delivery:?}", state.topic) };
                let record = shared.record();
                assert!(record.prev() == last && record.row().is_ok(), "{}: seq {}", state.topic, record.seq());
                (last, records) = (record.seq(), records + 1);
            }
        }
        assert_eq!(last, state.head, "{}", state.topic);
    }
    records
}

/// Simulated venues that take commands, and a configuration that reaches them.
pub fn venues(dir: &Path, more: &[&str], seed: u64) -> (Running, PathBuf) {
    let seed = seed.to_string();
    let args = ["sim", "--json", "--seed", &seed, "--wait", "--control", "--data"];
    let sim = Running::start(wholetape().args(args).arg(dir.join("sim")).args(more).stdin(Stdio::piped()));
    let started = sim.json(SOON);
    let config = dir.join("wholetape.toml");
    // Seconds are short here: what is a minute between two tries elsewhere would outlive the next kill.
    let pace = "backoff = \"200ms\"\nbackoff_max = \"2s\"\nopen_timeout = \"2s\"\nrest_timeout = \"4s\"\nbook_depth = 1000\napproved";
    let lines = started["config"].as_str().expect("a configuration").replace("approved", pace);
    let text = format!("data = {:?}\n{lines}", dir.join("data"));
    std::fs::File::create(&config).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    (sim, config)
}

/// The pipeline as a process; its log goes to a file.
pub fn pipeline(dir: &Path, config: &Path) -> Running {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("a log");
    Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(config).stderr(log))
}

/// What `wholetape verdict` says of the tape so far.
pub fn judged(dir: &Path, config: &Path) -> Output {
    let mut verdict = wholetape();
    verdict.args(["verdict", "--json", "--truth"]).arg(dir.join("sim")).arg("-c").arg(config);
    verdict.output().expect("the binary starts")
}
