//! Availability: of the seconds in which each protocol was due, in how many could it serve?
//!
//! Measured from outside where that is possible: [`probe`] asks the gateway over loopback as any client would, from a thread
//! of its own. The time between two looks counts as able only if both found the protocol able; a look that came too late
//! counts what lies between as not able. So the figure errs on the low side.
//!
//! Not due, and named so: the time before a protocol was able for the first time after a start, a planned stop, and for a
//! venue's line the time in which the venue was away (some of its streams not subscribed). Due all the same: the time from
//! a crash to the next start.
//!
//! Totals of this run and of the last day by hours are kept in `availability.json` in the data directory: written anew beside
//! the old one, synced and renamed, every ten seconds and at the end; `wholetape doctor` reads it.

pub mod probe;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The file in the data directory.
pub const FILE: &str = "availability.json";
/// What is left out of `due`, in words.
pub const EXCLUDED: &str =
    "not due: until first able after a start, planned stops, and for lines while the venue was away";
/// Hours that are kept.
const HOURS: u64 = 24;
/// What belongs to the process as a whole: due from a crash to the next start.
const OWN: [&str; 3] = ["http", "websocket", "tape"];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub due_ms: u64,
    pub able_ms: u64,
    /// See [`EXCLUDED`].
    pub excluded_ms: u64,
}

impl Count {
    /// `None` where nothing was due.
    pub fn ratio(self) -> Option<f64> {
        (self.due_ms > 0).then(|| self.able_ms as f64 / self.due_ms as f64)
    }

    fn take(&mut self, ms: u64, what: State) {
        match what {
            State::Able => (self.due_ms, self.able_ms) = (self.due_ms + ms, self.able_ms + ms),
            State::Unable => self.due_ms += ms,
            State::Excluded => self.excluded_ms += ms,
        }
    }
}

/// What a protocol was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Able,
    Unable,
    Excluded,
}

pub type Totals = BTreeMap<String, Count>;

/// As kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    /// Unix seconds.
    pub started: u64,
    pub written: u64,
    /// Whether the run ended as it should.
    pub ended: bool,
    pub run: Totals,
    /// By the hour since the Unix epoch.
    pub hours: BTreeMap<u64, Totals>,
}

impl Record {
    /// # Errors
    /// No such file, or no record of ours.
    pub fn read(dir: &Path) -> std::io::Result<Self> {
        let text = std::fs::read(dir.join(FILE))?;
        let record: Self = serde_json::from_slice(&text)?;
        if record.version == 1 { Ok(record) } else { Err(std::io::Error::other("of a newer version")) }
    }

    /// A new run at `now`, going on from what was kept. After a crash the time since then was due.
    fn begin(kept: Option<Self>, now: u64) -> Self {
        let mut record = Self { version: 1, started: now, written: now, ..Self::default() };
        if let Some(kept) = kept {
            record.hours = kept.hours;
            if !kept.ended && now > kept.written {
                let from = kept.written.max(now.saturating_sub(HOURS * 3_600));
                for hour in from / 3_600..=now / 3_600 {
                    let seconds = now.min((hour + 1) * 3_600) - from.max(hour * 3_600);
                    for name in OWN {
                        let count = record.hours.entry(hour).or_default().entry(name.into()).or_default();
                        count.take(seconds * 1_000, State::Unable);
                    }
                }
            }
        }
        record.forget(now);
        record
    }

    fn forget(&mut self, now: u64) {
        self.hours = self.hours.split_off(&(now / 3_600).saturating_sub(HOURS - 1));
    }

    fn add(&mut self, protocol: &str, ms: u64, what: State, now: u64) {
        for totals in [&mut self.run, self.hours.entry(now / 3_600).or_default()] {
            match totals.get_mut(protocol) {
                Some(count) => count.take(ms, what),
                None => totals.entry(protocol.into()).or_default().take(ms, what),
            }
        }
    }

    /// The last 24 hours together.
    pub fn day(&self, now: u64) -> Totals {
        let mut day = Totals::new();
        for (_, totals) in self.hours.range((now / 3_600).saturating_sub(HOURS - 1)..) {
            for (name, count) in totals {
                let sum = day.entry(name.clone()).or_default();
                sum.due_ms += count.due_ms;
                sum.able_ms += count.able_ms;
                sum.excluded_ms += count.excluded_ms;
            }
        }
        day
    }
}

/// Unix seconds.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `99.98 % of 3 600 s`, and what was left out.
pub fn words(count: &Count) -> String {
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let mut text = match count.ratio() {
        // Never rounded up.
        Some(ratio) => format!("{:.3} % of {:.1} s", (ratio * 100_000.0).floor() / 1_000.0, seconds(count.due_ms)),
        None => "never due".into(),
    };
    // What is printed as 0.0 is not worth a word.
    if count.excluded_ms >= 50 {
        let _ = write!(text, " ({:.1} s not due)", seconds(count.excluded_ms));
    }
    text
}

/// One line for people: every protocol of this run.
pub fn line(totals: &Totals) -> String {
    let parts: Vec<String> = totals.iter().map(|(name, count)| format!("{name} {}", words(count))).collect();
    format!("availability: {}; {EXCLUDED}", parts.join(", "))
}

#[derive(Debug)]
struct Inner {
    record: Record,
    /// The last look at each protocol: what it was, and since when it is not able, why.
    last: BTreeMap<String, (State, String)>,
}

/// The running account, shared by whoever looks and whoever tells.
#[derive(Debug)]
pub struct Availability {
    path: PathBuf,
    inner: Mutex<Inner>,
}

impl Availability {
    /// Goes on from what `dir` holds; what cannot be read is begun anew.
    pub fn open(dir: &Path) -> Self {
        let record = Record::begin(Record::read(dir).ok(), unix_now());
        Self { path: dir.join(FILE), inner: Mutex::new(Inner { record, last: BTreeMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `protocol` was looked at, `span` after the last look, which was due `usual` after it at most.
    ///
    /// Until it was able for the first time it is not due.
    pub fn looked(&self, protocol: &str, found: State, why: &str, span: Duration, usual: Duration) {
        let mut inner = self.lock();
        let before = inner.last.get(protocol).map(|(state, _)| *state);
        let found =
            if found == State::Unable && matches!(before, None | Some(State::Excluded)) && !inner.was_able(protocol) {
                State::Excluded
            } else {
                found
            };
        let between = match (before, found) {
            (None, _) => State::Excluded,
            (Some(State::Able), State::Able) => State::Able,
            (Some(State::Unable), _) | (_, State::Unable) => State::Unable,
            (Some(State::Excluded), _) | (_, State::Excluded) => State::Excluded,
        };
        let now = unix_now();
        let (within, beyond) = (span.min(usual), span.saturating_sub(usual));
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        inner.record.add(protocol, ms(within), between, now);
        if beyond > Duration::ZERO {
            // Nobody looked: whoever held us up held up others.
            let what = if between == State::Excluded { State::Excluded } else { State::Unable };
            inner.record.add(protocol, ms(beyond), what, now);
        }
        inner.last.insert(protocol.into(), (found, why.to_owned()));
    }

    /// Which of our own protocols cannot serve just now, and why.
    pub fn troubles(&self) -> Vec<String> {
        let inner = self.lock();
        let of = |name: &&str| inner.last.get(*name).filter(|(state, _)| *state == State::Unable).cloned();
        OWN.iter().filter_map(|name| of(name).map(|(_, why)| format!("{name} cannot serve: {why}"))).collect()
    }

    /// Of this run.
    pub fn run(&self) -> Totals {
        self.lock().record.run.clone()
    }

    /// Writes the account; `ended` at a planned stop.
    ///
    /// # Errors
    /// What the disk says; the old file stands then.
    pub fn save(&self, ended: bool) -> std::io::Result<()> {
        let text = {
            let mut inner = self.lock();
            let now = unix_now();
            inner.record.forget(now);
            (inner.record.written, inner.record.ended) = (now, ended);
            serde_json::to_vec(&inner.record)?
        };
        let beside = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&beside)?;
        std::io::Write::write_all(&mut file, &text)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)
    }

    /// For `/metrics`.
    pub fn write(&self, out: &mut String) {
        let run = self.run();
        let mut family = |name: &str, kind: &str, help: &str, of: &dyn Fn(&Count) -> Option<f64>| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (protocol, count) in &run {
                if let Some(value) = of(count) {
                    let _ = writeln!(out, "{name}{{protocol=\"{protocol}\"}} {value}");
                }
            }
        };
        let s = |ms: u64| Some(ms as f64 / 1_000.0);
        family("availability_due_seconds_total", "counter", "Seconds in which it should serve.", &|c| s(c.due_ms));
        family("availability_able_seconds_total", "counter", "Seconds in which it could.", &|c| s(c.able_ms));
        family("availability_excluded_seconds_total", "counter", "Seconds that were not due.", &|c| s(c.excluded_ms));
        family("availability_ratio", "gauge", "Able by due, since the start.", &|c| c.ratio());
    }
}

impl Inner {
    fn was_able(&self, protocol: &str) -> bool {
        self.record.run.get(protocol).is_some_and(|count| count.due_ms > 0)
    }
}

#[cfg(test)]
#[path = "availability/tests.rs"]
mod tests;
