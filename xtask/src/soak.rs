//! A soak: the release binary against simulated venues for hours, with trouble, and the bounds that must hold.
//!
//! Four processes: `wholetape sim` (mild faults, events at a rate, its truth in pieces), `wholetape run`, `wholetape verdict
//! --follow` (a client of the public protocol that holds everything received against the truth and takes the pieces away), and
//! this one, which lets readers come and go, steps the venues' clock, fills the disk once, looks every ten seconds, and judges
//! at the end. Non-zero exit when a bound breaks.

mod bounds;
mod reader;

use crate::run::{cargo_command, run, target_dir};
use crate::running::Running;
use anyhow::{Context, Result, bail, ensure};
use bounds::{Limits, Sample};
use clap::Args;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What `cargo xtask soak` takes.
#[derive(Args)]
pub struct Soak {
    /// How long; fractions are welcome.
    #[arg(long, default_value_t = 4.0)]
    hours: f64,
    /// Frames a second that the venues make, all streams together.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// What goes wrong: none, mild or rough.
    #[arg(long, default_value = "mild")]
    faults: String,
    /// Stop the pipeline in good order and start it again on the same data so often; RSS is judged within each piece.
    #[arg(long, default_value_t = 1)]
    pieces: u32,
    /// Readers at a time, at most.
    #[arg(long, default_value_t = 6)]
    readers: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the tape may keep, MiB.
    #[arg(long, default_value_t = 1024)]
    keep_mib: u64,
    /// Where everything goes; must not exist. Without it a folder in the build cache, removed when all went well.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Instruments of each of the two venues.
const INSTRUMENTS: u32 = 12;
const CLOCK_STEP_EVERY: Duration = Duration::from_secs(300);
/// So long the disk stays full.
const DISK_FULL_FOR: Duration = Duration::from_secs(60);
/// The disk counts as full when so much less is free than at the start.
const BALLAST_MIB: u64 = 3 * 1024;
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// # Errors
/// When a bound broke, or a process failed.
pub fn soak(args: &Soak) -> Result<()> {
    ensure!(args.hours > 0.0 && args.hours <= 1_000.0, "--hours {}: use a number above 0", args.hours);
    ensure!((1..=100).contains(&args.pieces), "--pieces {}: use 1 to 100", args.pieces);
    run(&mut cargo_command(&["build", "--release", "--bin", "wholetape", "--quiet"]))?;
    let program = target_dir().join("release").join(format!("wholetape{}", std::env::consts::EXE_SUFFIX));
    let dir = args.data.clone().unwrap_or_else(|| target_dir().join(format!("soak-{}", std::process::id())));
    ensure!(!dir.exists(), "{} exists: name a folder that does not", dir.display());
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let judged = Scene::start(args, &program, &dir).and_then(|mut scene| scene.play());
    let broken = judged.with_context(|| format!("everything is kept in {}", dir.display()))?;
    for one in &broken {
        println!("BROKEN: {one}");
    }
    if !broken.is_empty() {
        bail!("{} bounds broke; everything is kept in {}", broken.len(), dir.display());
    }
    if args.data.is_none() {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    println!("every bound held");
    Ok(())
}

/// The running processes.
struct Scene<'a> {
    args: &'a Soak,
    program: &'a Path,
    dir: &'a Path,
    port: u16,
    limits: Limits,
    sim: Running,
    run: Option<Running>,
    judge: Running,
    readers: Readers,
    samples: Vec<Sample>,
    followed: Value,
    piece: u32,
}

impl<'a> Scene<'a> {
    fn start(args: &'a Soak, program: &'a Path, dir: &'a Path) -> Result<Self> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (sim_dir, config) = (text(dir.join("sim")), text(dir.join("wholetape.toml")));
        let (seed, rate, instruments) = (args.seed.to_string(), args.rate.to_string(), INSTRUMENTS.to_string());
        let sim = Running::start(
            program,
            &[
                "sim",
                "--json",
                "--control",
                "--wait",
                "--rotate",
                "64",
                "--faults",
                &args.faults,
                "--seed",
                &seed,
                "--instruments",
                &instruments,
                "--rate",
                &rate,
                "--data",
                &sim_dir,
            ],
        )?;
        let started = sim.json(Duration::from_secs(30)).context("wholetape sim")?;
        let free = free_bytes(dir)?;
        let hard = (free >> 20).saturating_sub(BALLAST_MIB);
        ensure!(hard > 2 * 1024, "only {} MiB are free in {}: a soak needs 6 GiB", free >> 20, dir.display());
        let lines = started["config"].as_str().context("the simulator prints a configuration")?;
        // The default depth would cost five times the weight, for books that are not that deep.
        let lines = lines.replace("approved", "book_depth = 1000\napproved");
        let toml = format!(
            "data = {:?}\n[store]\nenabled = false\n[tape]\nkeep_size = \"{}MiB\"\nlow_space_soft = \"{}MiB\"\nlow_space_hard = \"{hard}MiB\"\n[log]\nlevel = \"warn\"\n{lines}",
            text(dir.join("data")),
            args.keep_mib,
            hard + 64,
        );
        fs::write(&config, toml).with_context(|| config.clone())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let run = pipeline(program, dir, port)?;
        let url = format!("ws://127.0.0.1:{port}/v1/ws");
        let judge = Running::start(
            program,
            &["verdict", "--json", "--consume", "--truth", &sim_dir, "--follow", &url, "-c", &config],
        )?;
        let topics = topics(lines_of(&started)?);
        Ok(Self {
            args,
            program,
            dir,
            port,
            limits: Limits::new(args.keep_mib, args.readers),
            sim,
            run: Some(run),
            judge,
            readers: Readers::start(port, args.readers, topics),
            samples: Vec::new(),
            followed: Value::Null,
            piece: 0,
        })
    }

    fn running(&self) -> Result<&Running> {
        self.run.as_ref().context("the pipeline is not running")
    }

    /// Returns what broke.
    fn play(&mut self) -> Result<Vec<String>> {
        let whole = Duration::from_secs_f64(self.args.hours * 3600.0);
        let (begin, piece) = (Instant::now(), whole / self.args.pieces);
        println!(
            "{:.2} h at about {} frames/s, faults {}, {} pieces; data in {}",
            self.args.hours,
            self.args.rate,
            self.args.faults,
            self.args.pieces,
            self.dir.display()
        );
        println!("{}", Sample::HEAD);
        let (mut looked, mut stepped, mut filled) = (begin, begin, None);
        let (mut full_at, ballast) = (Some(whole.mul_f64(0.4)), self.dir.join("ballast"));
        while begin.elapsed() < whole {
            std::thread::sleep(Duration::from_millis(500));
            self.alive()?;
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look(begin)?;
            }
            if stepped.elapsed() >= CLOCK_STEP_EVERY.min(whole / 4) {
                stepped = Instant::now();
                for venue in ["binance-spot", "binance-usdm"] {
                    self.sim.tell(&json!({"kind": "clock_step", "venue": venue, "millis": 4000}).to_string())?;
                }
            }
            if full_at.is_some_and(|at| begin.elapsed() >= at) {
                full_at = None;
                fill(&ballast)?;
                println!("the disk is full for {DISK_FULL_FOR:?}");
                filled = Some(Instant::now());
            }
            if filled.is_some_and(|at| at.elapsed() >= DISK_FULL_FOR.min(whole / 4)) {
                filled = None;
                fs::remove_file(&ballast).context("the ballast")?;
                println!("the disk has room again");
            }
            if begin.elapsed() >= piece * (self.piece + 1) && self.piece + 1 < self.args.pieces {
                self.next_piece()?;
            }
        }
        self.finish()
    }

    /// A process that ended is an error, and what it said is the reason.
    fn alive(&mut self) -> Result<()> {
        for line in self.judge.printed() {
            match serde_json::from_str(&line) {
                Ok(said) => self.followed = said,
                Err(_) => println!("verdict: {line}"),
            }
        }
        let processes = [("sim", Some(&mut self.sim)), ("run", self.run.as_mut()), ("verdict", Some(&mut self.judge))];
        for (name, process) in processes {
            let Some(process) = process else { continue };
            if let Some(status) = process.ended(Duration::ZERO)? {
                bail!("{name} ended with {status}: {}", process.printed().join("\n"));
            }
        }
        Ok(())
    }

    fn look(&mut self, begin: Instant) -> Result<()> {
        let metrics = crate::live::get(&format!("http://127.0.0.1:{}/", self.port), "/metrics").unwrap_or_default();
        let followed = |key: &str| self.followed[key].as_u64().unwrap_or(0);
        let sample = Sample {
            at: begin.elapsed(),
            piece: self.piece,
            rss_kib: rss_kib(self.running()?.id())?,
            handles: handles(self.running()?.id())?,
            disk_bytes: disk_bytes(&self.dir.join("data"))?,
            frames: bounds::sum(&metrics, "feed_frames_total"),
            sim_rss_kib: rss_kib(self.sim.id())?,
            judge_rss_kib: rss_kib(self.judge.id())?,
            readers: self.readers.now.load(Ordering::Relaxed),
            published: followed("published"),
            missing: followed("missing") + followed("invented"),
            waiting: followed("waiting"),
            lost_segments: bounds::sum(&metrics, "tape_segments_lost_total"),
        };
        let rate = self.samples.last().filter(|last| last.piece == sample.piece).map_or(0.0, |last| {
            sample.frames.saturating_sub(last.frames) as f64 / (sample.at - last.at).as_secs_f64().max(0.001)
        });
        // A line a minute is enough for people; the file has all.
        if self.samples.len().is_multiple_of(6) {
            println!("{}", sample.row(rate));
        }
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("samples.jsonl"))?;
        std::io::Write::write_all(&mut file, format!("{}\n", sample.json(rate)).as_bytes())?;
        self.samples.push(sample);
        Ok(())
    }

    fn next_piece(&mut self) -> Result<()> {
        self.stop_pipeline()?;
        self.run = Some(pipeline(self.program, self.dir, self.port)?);
        self.piece += 1;
        println!("piece {} of {}", self.piece + 1, self.args.pieces);
        Ok(())
    }

    fn stop_pipeline(&mut self) -> Result<()> {
        let Some(mut run) = self.run.take() else { return Ok(()) };
        run.terminate()?;
        let status = run.ended(Duration::from_secs(30))?.context("run does not end")?;
        ensure!(status.success(), "run ended with {status}: {}", run.printed().join("\n"));
        Ok(())
    }

    /// No more events; everything becomes whole; all processes end; the bounds are judged.
    fn finish(&mut self) -> Result<Vec<String>> {
        let readers = self.readers.stop();
        self.sim.tell("freeze")?;
        std::thread::sleep(Duration::from_secs(15));
        self.sim.tell("finish")?;
        let judged = self.judge.ended(WHOLE_WITHIN)?.context("verdict does not end")?;
        std::thread::sleep(Duration::from_millis(300));
        for line in self.judge.printed() {
            self.followed = serde_json::from_str(&line).unwrap_or(std::mem::take(&mut self.followed));
        }
        self.stop_pipeline()?;
        let rest = fs::read(self.dir.join("sim/rest.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut broken = Vec::new();
        if !judged.success() || self.followed["complete"] != true {
            broken.push(format!("the truth and what was served differ: {}", self.followed));
        }
        if readers == 0 {
            broken.push("no reader ever read anything".into());
        }
        println!("\n{}", bounds::report(&self.samples, &self.limits, self.args.rate, &mut broken));
        println!("readers that came and went: {readers}");
        println!("the verdict: {}", self.followed);
        println!("REST: {}", rest.unwrap_or(Value::Null));
        Ok(broken)
    }
}

fn lines_of(started: &Value) -> Result<&Vec<Value>> {
    started["venues"].as_array().context("the simulator names its venues")
}

/// A few topics for readers that come and go.
fn topics(venues: &[Value]) -> Vec<String> {
    let mut topics = Vec::new();
    for venue in venues {
        let suffix = if venue["kind"] == "binance-usdm" { "-PERP.BINANCE" } else { ".BINANCE" };
        for symbol in venue["symbols"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            topics.extend(["trade", "book", "quote"].map(|kind| format!("{kind}.{symbol}{suffix}")));
        }
    }
    topics
}

fn pipeline(program: &Path, dir: &Path, port: u16) -> Result<Running> {
    let (config, port) = (dir.join("wholetape.toml").to_string_lossy().into_owned(), port.to_string());
    let run = Running::start(program, &["run", "--json", "--port", &port, "-c", &config])?;
    run.page(Duration::from_secs(60)).context("wholetape run")?;
    Ok(run)
}

/// Readers that come, read for a while, and go, some in good order and some not, some slowly.
struct Readers {
    stop: Arc<AtomicBool>,
    now: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(port: u16, count: u32, topics: Vec<String>) -> Self {
        let (stop, now, read) =
            (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let threads = (0..count).map(|nth| {
            let (stop, now, read, topics) = (stop.clone(), now.clone(), read.clone(), topics.clone());
            std::thread::spawn(move || {
                let mut dice = reader::Dice(u64::from(nth) + 1);
                while !stop.load(Ordering::Relaxed) {
                    now.fetch_add(1, Ordering::Relaxed);
                    let visit = reader::visit(port, &topics, &mut dice, &stop);
                    now.fetch_sub(1, Ordering::Relaxed);
                    if visit.is_ok_and(|bytes| bytes > 0) {
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(200 + dice.below(4_000)));
                }
            })
        });
        Self { threads: threads.collect(), stop, now, read }
    }

    /// How many visits brought something.
    fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.read.load(Ordering::Relaxed)
    }
}

fn rss_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("no /proc: a soak needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}

fn handles(pid: u32) -> Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).context("no /proc: a soak needs Linux")?.count() as u64)
}

/// Bytes of a folder; files may go while we look.
fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    let Ok(entries) = fs::read_dir(dir) else { return Ok(0) };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

fn free_bytes(dir: &Path) -> Result<u64> {
    let df = Command::new("df").args(["--output=avail", "-B1"]).arg(dir).output().context("df")?;
    let text = String::from_utf8_lossy(&df.stdout);
    text.lines().last().and_then(|line| line.trim().parse().ok()).context("df tells no number")
}

/// A file that takes the room away without writing it.
fn fill(path: &Path) -> Result<()> {
    let size = format!("{}MiB", BALLAST_MIB + 1024);
    let status = Command::new("fallocate").args(["-l", &size]).arg(path).status().context("fallocate")?;
    ensure!(status.success(), "fallocate -l {size} {} failed", path.display());
    Ok(())
}
