//! The README's tour by hand, as a new user takes it: `wscat` from npm, and the commands and lines that stand there, each read from there.
//!
//! Live trades come, then an hour of past, whole and in order, running into the present: both within two minutes of the start of
//! `wholetape run`. Ports, folders and the time asked for are ours; the README's waits are replaced by looking again. In CI, whose machines may be
//! slow and busy and whose builds are not optimized, the minutes are told and not held.

use crate::npm;
use crate::run::{cache, command, on_path, root, target_dir};
use crate::running::{Running, build};
use crate::steps::{Proof, Steps};
use crate::system;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What is promised.
const PROMISED: Duration = Duration::from_secs(120);
/// When it has failed in CI.
const CI_MAX: Duration = Duration::from_secs(600);
/// A venue that has to invent an hour of past on a slow machine.
const SIM_MAX: Duration = Duration::from_secs(300);
/// The hour of which the tour speaks, less what may pass while it is looked for (microseconds).
const OLD: i64 = 55 * 60 * 1_000_000;

/// One step.
pub fn step(steps: &mut Steps) {
    steps.step("by hand", || {
        let tour = Tour::read(&fs::read_to_string(root().join("README.md"))?)?;
        let wscat = match wscat() {
            Ok(wscat) => wscat,
            Err(error) => return Ok(Proof::NotProven(format!("the tour by hand with wscat ({error:#})"))),
        };
        let work = target_dir().join(format!("hand-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        let walked = walk(&tour, &wscat, &work);
        let _ = fs::remove_dir_all(&work);
        walked.map(|()| Proof::Proven)
    });
}

/// After so long from the start of `wholetape run` it has failed.
fn limit() -> Duration {
    if std::env::var_os("CI").is_some() { CI_MAX } else { PROMISED }
}

/// The script that `npx wscat` would run.
fn wscat() -> Result<PathBuf> {
    let all = [("node", "nodejs"), ("npm", "npm")];
    let missing: Vec<&str> = all.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        system::install(&missing).with_context(|| format!("no {} here", missing.join(", ")))?;
    }
    let home = npm::packages(&root().join("xtask").join("hand"), None, &cache().join("tools"))?;
    Ok(home.join("node_modules").join("wscat").join("bin").join("wscat"))
}

/// What the README says to type.
#[derive(Debug)]
struct Tour {
    /// Shell commands, without their waits and without `&`.
    sim: String,
    run: String,
    /// Prints the time to ask for.
    an_hour_ago: String,
    /// Arguments of `wscat`, with the address at the end.
    wscat: Vec<String>,
    live: Value,
    past: Value,
}

impl Tour {
    /// # Errors
    /// When the tour is not told in the way that we know.
    fn read(readme: &str) -> Result<Self> {
        let (_, rest) = readme.split_once("**By hand.**").context("no tour by hand in the README")?;
        let (tour, _) = rest.split_once("**From a program.**").context("the tour by hand has no end")?;
        let typed =
            |at: &str| tour.lines().filter_map(|line| line.strip_prefix(at)).map(str::to_owned).collect::<Vec<_>>();
        let (commands, lines) = (typed("$ "), typed("> "));
        let shell = |what: &str| {
            let whole =
                commands.iter().find(|c| c.contains(what)).with_context(|| format!("no `{what}` in the tour"))?;
            let command = whole.rsplit_once("; ").map_or(whole.as_str(), |(_wait, command)| command);
            Ok::<_, anyhow::Error>(command.trim_end_matches(" &").to_owned())
        };
        let all: Vec<&str> = commands.iter().filter_map(|c| c.strip_prefix("npx wscat ")).collect();
        ensure!(all.len() == 2 && all[0] == all[1], "not two equal calls of wscat: {all:?}");
        ensure!(lines.len() == 2, "not two lines to type into wscat: {lines:?}");
        let tour = Self {
            sim: shell("wholetape sim")?,
            run: shell("wholetape run")?,
            an_hour_ago: shell("date +%s")?,
            wscat: all[0].split(' ').map(str::to_owned).collect(),
            live: serde_json::from_str(&lines[0]).context(lines[0].clone())?,
            past: serde_json::from_str(&lines[1]).context(lines[1].clone())?,
        };
        ensure!(tour.past["from"]["ts"].is_i64(), "no time is asked for: {}", tour.past);
        Ok(tour)
    }
}

fn walk(tour: &Tour, wscat: &Path, work: &Path) -> Result<()> {
    let program = build()?;
    let began = Instant::now();
    println!("$ {}", tour.sim);
    let sim = Running::spawn(&mut shell(&tour.sim, &program, work))?;
    let config = work.join(tour.sim.rsplit_once("> ").context("the configuration goes to no file")?.1);
    // It is written at once; its last line is the one without which a real venue's address would be used.
    while !fs::read_to_string(&config).is_ok_and(|text| text.contains("\napproved = ") && text.ends_with('\n')) {
        ensure!(began.elapsed() < SIM_MAX, "no configuration after {SIM_MAX:?}: {}", sim.printed().join("; "));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("configuration after {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let line = format!("{} --port 0", tour.run);
    println!("$ {line}");
    let run = Running::spawn(&mut shell(&line, &program, work))?;
    let page = run.page(limit()).context("wholetape run")?;
    let path = tour.wscat.last().and_then(|url| url.split('/').nth(3).zip(url.split('/').nth(4)));
    let (version, socket) = path.context("wscat is given no address with a path")?;
    let url = format!("{}{version}/{socket}", page.replacen("http://", "ws://", 1));
    let mut call = vec![wscat.to_string_lossy().into_owned()];
    call.extend(tour.wscat[..tour.wscat.len() - 1].iter().cloned().chain([url]));
    let call: Vec<&str> = call.iter().map(String::as_str).collect();

    again(began, || live(&mut talk(&call, &tour.live, began)?))?;
    println!("live trades after {:.1} s", began.elapsed().as_secs_f64());
    let seen = again(began, || {
        let printed = shell(&tour.an_hour_ago, &program, work).output().context("sh")?.stdout;
        let mut past = tour.past.clone();
        past["from"]["ts"] =
            String::from_utf8_lossy(&printed).trim().parse::<i64>().context(tour.an_hour_ago.clone())?.into();
        past_into_live(&mut talk(&call, &past, began)?)
    })?;
    println!("{seen}, after {:.1} s ({} s are promised)", began.elapsed().as_secs_f64(), PROMISED.as_secs());
    Ok(())
}

/// In place of the README's waits: looks until it is there. What a look returns as `Err` within is not there yet.
fn again<T>(began: Instant, mut look: impl FnMut() -> Result<Result<T, String>>) -> Result<T> {
    let mut last = "it was not looked at".to_owned();
    loop {
        let seen =
            look().with_context(|| format!("{:.0} s from the start; before: {last}", began.elapsed().as_secs_f64()))?;
        last = match seen {
            Ok(seen) => return Ok(seen),
            Err(why) => why,
        };
        println!("after {:.1} s not yet: {last}", began.elapsed().as_secs_f64());
        ensure!(began.elapsed() < limit(), "not within {:?} of the start: {last}", limit());
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A command line, where the program is on the path and nothing of ours lies in the way.
fn shell(line: &str, program: &Path, work: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = program.parent().map(PathBuf::from).into_iter().chain(std::env::split_paths(&path));
    // `exec`: what we end is the program, not a shell that leaves it behind.
    let line = if line.starts_with("wholetape ") { format!("exec {line}") } else { line.to_owned() };
    let mut sh = command("sh", &["-c", &line]);
    sh.current_dir(work).env("PATH", std::env::join_paths(dirs).unwrap_or(path));
    sh
}

/// A `wscat` into which one line was typed.
struct Talk {
    wscat: Running,
    /// When it was typed (microseconds, UTC).
    asked: i64,
    began: Instant,
}

fn talk(call: &[&str], line: &Value, began: Instant) -> Result<Talk> {
    let wscat = Running::start("node".as_ref(), call)?;
    let mut talk = Talk { wscat, asked: 0, began };
    let welcome = talk.next()?;
    ensure!(welcome["op"] == "welcome", "{welcome}");
    talk.asked = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64;
    talk.wscat.tell(&line.to_string())?;
    Ok(talk)
}

impl Talk {
    /// The next message; without a terminal `wscat` prints its prompt and no `<` before it.
    fn next(&self) -> Result<Value> {
        let limit = limit().saturating_sub(self.began.elapsed());
        self.wscat.find(limit, "message", |line| serde_json::from_str(line.trim_start_matches("> ")).ok())
    }
}

/// A trade that was made after it was asked for.
fn live(talk: &mut Talk) -> Result<Result<(), String>> {
    loop {
        let m = talk.next()?;
        match m["op"].as_str() {
            Some("data") if time(&m)? >= talk.asked => return Ok(Ok(())),
            Some("data" | "subd" | "mark" | "hb") => {}
            // The topic may not be there yet.
            _ => return Ok(Err(m.to_string())),
        }
    }
}

/// The hour that was asked for, without a hole, then the present; told in one line.
fn past_into_live(talk: &mut Talk) -> Result<Result<String, String>> {
    let mut trades = Trades::default();
    let mut joined = None;
    loop {
        let m = talk.next()?;
        match m["op"].as_str() {
            Some("hist") => {
                for row in m["data"].as_array().context("rows")? {
                    match row["op"].as_str() {
                        Some("data") => {
                            trades.take_row(row)?;
                            // All of an hour of which the beginning is not there need not be read.
                            if let (1, Err(why)) = (trades.count, trades.age(talk.asked)) {
                                return Ok(Err(why));
                            }
                        }
                        Some("mark") => {}
                        _ => return Ok(Err(row.to_string())),
                    }
                }
            }
            Some("subd") => joined = Some(trades.count),
            Some("data") => {
                let rows = joined.with_context(|| format!("live before `subd`: {m}"))?;
                if m.get("late").is_some() {
                    return Ok(Err(format!("the past is still being asked for: {m}")));
                }
                trades.take(&m)?;
                if time(&m)? >= talk.asked {
                    return Ok(trades.judge(talk.asked).map(|age| {
                        let live = trades.count - rows;
                        format!(
                            "{rows} trades of history, the oldest of {age} s ago, and {live} behind them, each id there"
                        )
                    }));
                }
            }
            Some("mark" | "hb") => {}
            _ => return Ok(Err(m.to_string())),
        }
    }
}

/// What has come.
#[derive(Debug, Default)]
struct Trades {
    count: u64,
    /// Time of the first (microseconds, UTC).
    oldest: Option<i64>,
    /// Time and seq of the last row of history.
    row: Option<(i64, u64)>,
    ids: BTreeSet<u64>,
}

impl Trades {
    /// Of the history, which comes in corrected order: by time, and of one time by seq.
    ///
    /// # Errors
    /// For one that does not: that is never right.
    fn take_row(&mut self, m: &Value) -> Result<()> {
        let place = (time(m)?, m["seq"].as_u64().with_context(|| format!("no seq: {m}"))?);
        ensure!(self.row.is_none_or(|last| last < place), "{m} came behind {:?}", self.row);
        self.row = Some(place);
        self.take(m)
    }

    /// # Errors
    /// For one that was there already: that is never right.
    fn take(&mut self, m: &Value) -> Result<()> {
        let id = m["data"]["id"].as_u64().with_context(|| format!("no id: {m}"))?;
        ensure!(self.ids.insert(id), "trade {id} came twice: {m}");
        (self.oldest, self.count) = (self.oldest.or(Some(time(m)?)), self.count + 1);
        Ok(())
    }

    /// The age of the oldest in seconds; `Err` where it is too young.
    fn age(&self, now: i64) -> Result<i64, String> {
        let age = self.oldest.map_or(0, |ts| now - ts);
        let seconds = age / 1_000_000;
        (age >= OLD).then_some(seconds).ok_or_else(|| format!("the oldest trade is of {seconds} s ago"))
    }

    /// As [`Trades::age`], and `Err` while not each trade is there.
    fn judge(&self, now: i64) -> Result<i64, String> {
        let age = self.age(now)?;
        let ends = self.ids.first().zip(self.ids.last());
        match ends.map_or(0, |(first, last)| last - first + 1).saturating_sub(self.count) {
            0 => Ok(age),
            missing => Err(format!("{missing} trades are not there among {}", self.count)),
        }
    }
}

/// Microseconds, UTC.
fn time(m: &Value) -> Result<i64> {
    m["ts"].as_i64().with_context(|| format!("no time: {m}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_readme_tells_the_tour() {
        let readme = fs::read_to_string(root().join("README.md")).expect("README");
        let tour = Tour::read(&readme).expect("a tour");
        assert!(
            tour.sim.starts_with("wholetape sim --venue binance-spot --history ") && tour.sim.ends_with(".toml"),
            "{tour:?}"
        );
        assert!(tour.run.starts_with("wholetape run -c ") && tour.run.ends_with(".toml"), "{tour:?}");
        assert!(tour.an_hour_ago.starts_with("echo $(("), "{tour:?}");
        assert_eq!(tour.wscat, ["-c", "ws://127.0.0.1:9100/v1/ws"]);
        assert_eq!((&tour.live["op"], &tour.past["op"]), (&json!("sub"), &json!("sub")));
        let other =
            readme.replace("npx wscat -c ws://127.0.0.1:9100/v1/ws\n> {\"op\":\"sub\",\"id\":2", "npx wscat -c x\n> {");
        assert!(Tour::read(&other).is_err(), "a tour that is told otherwise is not ours");
    }

    #[test]
    fn an_hour_is_judged() {
        let trade = |(id, ts, seq): (u64, i64, u64)| json!({"op": "data", "seq": seq, "ts": ts, "data": {"id": id}});
        let taken = |all: &[(u64, i64, u64)]| {
            let mut trades = Trades::default();
            all.iter().try_for_each(|&one| trades.take_row(&trade(one))).map(|()| trades)
        };
        let now = OLD + 10_000_000;
        // Of one time the healed one, whose seq is higher, comes second.
        let whole = taken(&[(8, 1_000_000, 1), (7, 1_000_000, 5), (9, now, 2)]).expect("order");
        assert_eq!(whole.judge(now), Ok(OLD / 1_000_000 + 9));
        let holed = taken(&[(7, 0, 1), (9, now, 2)]).expect("order");
        assert_eq!(holed.judge(now), Err("1 trades are not there among 2".into()));
        let young = taken(&[(7, now - OLD + 1, 1), (8, now, 2)]).expect("order").judge(now);
        assert_eq!(young, Err("the oldest trade is of 3299 s ago".into()));
        assert!(Trades::default().judge(now).is_err(), "nothing is no hour");
        assert!(taken(&[(8, 0, 1), (8, now, 2)]).is_err(), "twice");
        assert!(taken(&[(7, 5, 1), (8, 4, 2)]).is_err() && taken(&[(7, 5, 2), (8, 5, 1)]).is_err(), "out of order");
    }
}
