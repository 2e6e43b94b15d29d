//! What became of each file, for programs and for people.

use serde_json::{Value, json};
use wholetape_model::{GapState, TradeId, Ts};

use super::compare::Difference;
use super::find::{Found, Refused};

/// Details of one file; beyond, they are counted.
pub const DETAILS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Held against the tape, and what was missing is there now.
    #[default]
    Compared,
    /// Nothing is held of its day, and it was not imported.
    NotHeld,
    /// Nothing was held of it, and all of it is in the catalog now.
    Imported,
    Failed,
    Stopped,
    /// Of another kind, found in a directory.
    Skipped,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Compared => "compared",
            Self::NotHeld => "not_held",
            Self::Imported => "imported",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
        }
    }
}

/// One file. Counts are rows.
#[derive(Debug, Clone, Default)]
pub struct FileReport {
    pub file: String,
    pub market: &'static str,
    pub instrument: String,
    pub data: String,
    pub date: String,
    pub topic: String,
    pub status: Status,
    pub why: String,
    pub checksum: bool,
    pub unit: &'static str,
    pub header: bool,
    pub rows: u64,
    pub equal: u64,
    pub healed: u64,
    /// Missing ones that went to the catalog alone.
    pub imported: u64,
    /// Came by another way while the import was at work.
    pub came: u64,
    pub different: u64,
    pub differences: Vec<Difference>,
    /// Keys are open times.
    pub bars: bool,
    /// Rows held that the archive does not have.
    pub archive_errors: u64,
    pub archive_error_keys: Vec<(TradeId, TradeId)>,
    /// Neither compared nor healed: held once, as far as is known, and no longer on the tape; or `why` says more.
    pub not_compared: u64,
    pub gaps_opened: u64,
    pub gaps_healed: u64,
    pub gaps_never_published: u64,
    pub gaps_lost: u64,
}

impl FileReport {
    pub fn of(found: &Found) -> Self {
        Self {
            file: found.path.display().to_string(),
            market: found.market.word(),
            instrument: found.instrument.to_string(),
            data: found.named.data.to_string(),
            date: found.named.span.to_string(),
            ..Self::default()
        }
    }

    pub fn refused(refused: &Refused) -> Self {
        let (file, why) = (refused.path.display().to_string(), refused.why.clone());
        let status = if refused.passed { Status::Skipped } else { Status::Failed };
        Self { file, why, status, ..Self::default() }
    }

    pub fn count_mark(&mut self, state: GapState) {
        match state {
            GapState::Open => self.gaps_opened += 1,
            GapState::Healed => self.gaps_healed += 1,
            GapState::NeverPublished => self.gaps_never_published += 1,
            GapState::Lost => self.gaps_lost += 1,
        }
    }

    pub fn differ(&mut self, difference: Difference) {
        self.different += 1;
        if self.differences.len() < DETAILS_MAX {
            self.differences.push(difference);
        }
    }

    /// An id, or an open time as people read it (in ns it would be no number for JSON).
    fn key(&self, key: TradeId) -> Value {
        match key.number() {
            Some(ns) if self.bars => Ts(i64::try_from(ns).unwrap_or(0)).to_string().into(),
            Some(number) => number.into(),
            None => key.to_string().into(),
        }
    }

    /// Keys that are held and not in the archive, as intervals.
    pub fn lacks(&mut self, keys: &[(u64, u64)]) {
        self.archive_errors = keys.iter().map(|(a, b)| b - a + 1).sum();
        self.archive_error_keys = keys.iter().take(DETAILS_MAX).map(|(a, b)| ((*a).into(), (*b).into())).collect();
    }

    fn json(&self) -> Value {
        json!({
            "file": self.file,
            "market": self.market,
            "instrument": self.instrument,
            "data": self.data,
            "date": self.date,
            "topic": self.topic,
            "status": self.status.as_str(),
            "why": (!self.why.is_empty()).then_some(&self.why),
            "checksum": if self.checksum { "verified" } else { "absent" },
            "time_unit": match self.unit { "µs" => "us", unit => unit },
            "header": self.header,
            "rows": self.rows,
            "equal": self.equal,
            "healed": self.healed,
            "imported": self.imported,
            "came_meanwhile": self.came,
            "different": self.different,
            "differences": self.differences.iter().map(|d| d.json(self.key(d.key))).collect::<Vec<_>>(),
            "archive_errors": self.archive_errors,
            "archive_error_keys":
                self.archive_error_keys.iter().map(|(a, b)| [self.key(*a), self.key(*b)]).collect::<Vec<_>>(),
            "not_compared": self.not_compared,
            "gaps": {
                "opened": self.gaps_opened,
                "healed": self.gaps_healed,
                "never_published": self.gaps_never_published,
                "lost": self.gaps_lost,
            },
        })
    }
}

/// The last word: sums, and every file.
pub fn done(files: &[FileReport], seconds: f64, cancelled: bool) -> Value {
    let sum = |of: fn(&FileReport) -> u64| files.iter().map(of).sum::<u64>();
    let with = |status: Status| files.iter().filter(|f| f.status == status).count();
    let (different, errors, not_compared) = (sum(|f| f.different), sum(|f| f.archive_errors), sum(|f| f.not_compared));
    let failed = with(Status::Failed);
    json!({
        "event": "done",
        "complete": failed == 0 && !cancelled && different == 0 && errors == 0 && not_compared == 0,
        "cancelled": cancelled,
        "files": files.len(),
        "compared": with(Status::Compared),
        "imported": with(Status::Imported),
        "not_held": with(Status::NotHeld),
        "skipped": with(Status::Skipped),
        "failed": failed,
        "rows": sum(|f| f.rows),
        "equal": sum(|f| f.equal),
        "healed": sum(|f| f.healed),
        "imported_rows": sum(|f| f.imported),
        "different": different,
        "archive_errors": errors,
        "not_compared": not_compared,
        "gaps_healed": sum(|f| f.gaps_healed),
        "gaps_never_published": sum(|f| f.gaps_never_published),
        "seconds": (seconds * 1e3).round() / 1e3,
        "details": files.iter().map(FileReport::json).collect::<Vec<_>>(),
    })
}

/// The last word for people: what is remarkable of each file, then one sentence.
pub fn sentence(done: &Value) -> String {
    let n = |value: &Value, key: &str| value[key].as_u64().unwrap_or(0);
    let mut out = String::new();
    for file in done["details"].as_array().into_iter().flatten() {
        let name = file["file"].as_str().unwrap_or("").rsplit('/').next().unwrap_or("");
        let why = file["why"].as_str().unwrap_or("");
        match file["status"].as_str() {
            Some("not_held") => out.push_str(&format!("{name}: not imported: {why}\n")),
            Some("skipped") => out.push_str(&format!("{name}: passed over: {why}\n")),
            Some("failed") => out.push_str(&format!("{name}: failed: {why}\n")),
            Some("stopped") => out.push_str(&format!("{name}: stopped\n")),
            _ => {
                let counts = [("equal", "equal"), ("healed", "healed"), ("different", "different")];
                let mut parts: Vec<_> = counts.iter().map(|(key, word)| format!("{} {word}", n(file, key))).collect();
                for (key, words) in [
                    ("imported", "new in the catalog"),
                    ("archive_errors", "held that the archive does not have"),
                    ("not_compared", "neither compared nor healed"),
                ] {
                    parts.extend((n(file, key) > 0).then(|| format!("{} {words}", n(file, key))));
                }
                out.push_str(&format!("{name}: {} rows, {}\n", n(file, "rows"), parts.join(", ")));
                if !why.is_empty() {
                    out.push_str(&format!("  {why}\n"));
                }
            }
        }
        for d in file["differences"].as_array().into_iter().flatten().take(10) {
            let fields: Vec<_> = d["fields"].as_array().into_iter().flatten().map(field).collect();
            out.push_str(&format!("  line {} (seq {}): {}\n", d["line"], d["seq"], fields.join("; ")));
        }
        if n(file, "different") > 10 {
            out.push_str(&format!(
                "  … and {} more differences; --json tells {DETAILS_MAX} of them\n",
                n(file, "different") - 10
            ));
        }
        let keys = file["archive_error_keys"].as_array().into_iter().flatten().take(10);
        let keys: Vec<_> =
            keys.map(|k| if k[0] == k[1] { k[0].to_string() } else { format!("{}–{}", k[0], k[1]) }).collect();
        if !keys.is_empty() {
            out.push_str(&format!("  not in the archive: {}\n", keys.join(", ")));
        }
    }
    let (rows, equal, healed) = (n(done, "rows"), n(done, "equal"), n(done, "healed"));
    let imported = match n(done, "imported_rows") {
        0 => String::new(),
        n => format!("{n} new in the catalog, "),
    };
    let end = if done["cancelled"] == true { "stopped; the same command goes on" } else { "done" };
    let gaps = n(done, "gaps_healed") + n(done, "gaps_never_published");
    out.push_str(&format!(
        "{end}: {} files, {rows} rows: {equal} equal, {healed} healed ({gaps} gaps settled), {imported}{} different, {} archive errors, {} files not imported, {} failed",
        n(done, "files"),
        n(done, "different"),
        n(done, "archive_errors"),
        n(done, "not_held"),
        n(done, "failed"),
    ));
    out
}

fn field(field: &Value) -> String {
    let text = |key: &str| field[key].as_str().unwrap_or("").to_owned();
    format!("{} is {} in the archive and held as {}", text("field"), text("archive"), text("held"))
}
