//! Seeded trouble: which faults there are, when they come, and to whom they happen.
//!
//! A fault is *armed* by the schedule or by [`crate::SimHandle::inject`] and *happens* at the first fitting moment: the next
//! frame of a sequenced stream, the next snapshot request, the next subscription. Only then is it counted and recorded, so
//! a count never names trouble that nobody met.

mod gate;
mod record;
mod schedule;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use gate::{Armed, FrameFate, Gate, RestFate, Shows};
pub use record::{FaultLog, FaultRecord};
pub use schedule::Schedule;

/// Everything that can go wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A connection breaks in the middle of a frame, with a TCP reset.
    CutReset,
    /// The server closes a connection in good order, unannounced.
    CutClose,
    /// Frames are held, then delivered late; the connection stays open.
    Stall,
    /// Every n-th frame of a sequenced channel is lost, a few times.
    Drop,
    /// A frame of a sequenced channel comes twice.
    Duplicate,
    /// Two adjacent frames of a sequenced channel change places.
    Reorder,
    /// A book snapshot is taken at once but answered late.
    LateSnapshot,
    /// A book snapshot is older than the stream.
    StaleSnapshot,
    /// Refused for its weight, with `Retry-After`.
    Http429,
    /// Banned for a while, with `Retry-After`.
    Http418,
    /// A subscription is acknowledged and stays silent.
    AckSilence,
    /// A frame that is no JSON, or half of one.
    Garbage,
    /// An event type or enum value that no document knows.
    UnknownEnum,
    /// The exchange clock jumps, and back some seconds later.
    ClockStep,
    /// A REST answer takes long.
    SlowRest,
    /// New connections are accepted and never answered, for a moment.
    Blackhole,
    /// A live subscription goes silent while the connection stays healthy. By injection only.
    GoSilent,
    /// `serverShutdown`, then a clean close. By injection only.
    PlannedClose,
    /// The ids of all books begin anew: OKX at a smaller number after maintenance, Bybit at 1 after a restart. By injection only.
    IdReset,
    /// An update of a book comes with another checksum than the book has (Kraken). By injection only.
    BadChecksum,
}

impl FaultKind {
    /// Those that a schedule may bring.
    pub const SCHEDULED: [FaultKind; 16] = [
        FaultKind::CutReset,
        FaultKind::CutClose,
        FaultKind::Stall,
        FaultKind::Drop,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::LateSnapshot,
        FaultKind::StaleSnapshot,
        FaultKind::Http429,
        FaultKind::Http418,
        FaultKind::AckSilence,
        FaultKind::Garbage,
        FaultKind::UnknownEnum,
        FaultKind::ClockStep,
        FaultKind::SlowRest,
        FaultKind::Blackhole,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::CutReset => "cut_reset",
            Self::CutClose => "cut_close",
            Self::Stall => "stall",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::LateSnapshot => "late_snapshot",
            Self::StaleSnapshot => "stale_snapshot",
            Self::Http429 => "http429",
            Self::Http418 => "http418",
            Self::AckSilence => "ack_silence",
            Self::Garbage => "garbage",
            Self::UnknownEnum => "unknown_enum",
            Self::ClockStep => "clock_step",
            Self::SlowRest => "slow_rest",
            Self::Blackhole => "blackhole",
            Self::GoSilent => "go_silent",
            Self::PlannedClose => "planned_close",
            Self::IdReset => "id_reset",
            Self::BadChecksum => "bad_checksum",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How rough it gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultLevel {
    #[default]
    None,
    /// The gentler kinds, each about once in 45 s.
    Mild,
    /// Every kind, each once in 18 s and venue.
    Rough,
}

/// The faults of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultConfig {
    pub level: FaultLevel,
    /// Times a minute and venue, over what the level says; 0 switches a kind off.
    pub per_minute: BTreeMap<FaultKind, f64>,
    /// Subscriptions fall silent at their acknowledgement only this long after the start, ms of running time. A silence is told from a quiet
    /// by what the market does meanwhile: one that begins when a run is about to end cannot be. `None`: to the end.
    pub silences_for_ms: Option<u64>,
}

impl FaultConfig {
    pub fn level(level: FaultLevel) -> Self {
        Self { level, ..Self::default() }
    }

    /// How often a kind comes, times a minute and venue.
    pub fn rate(&self, kind: FaultKind) -> f64 {
        use FaultKind as K;
        if let Some(rate) = self.per_minute.get(&kind) {
            return *rate;
        }
        match self.level {
            FaultLevel::None => 0.0,
            FaultLevel::Mild
                if matches!(kind, K::CutReset | K::Stall | K::Drop | K::Duplicate | K::Reorder | K::SlowRest) =>
            {
                60.0 / 45.0
            }
            FaultLevel::Mild => 0.0,
            FaultLevel::Rough => 60.0 / 18.0,
        }
    }
}

/// One fault on demand.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    pub kind: FaultKind,
    /// The venue's name; the first venue when empty.
    #[serde(default)]
    pub venue: String,
    /// Only this stream.
    #[serde(default)]
    pub stream: Option<String>,
    /// Only this connection.
    #[serde(default)]
    pub conn: Option<u64>,
    /// How often it shall happen.
    #[serde(default = "once")]
    pub count: u32,
    /// For `drop`: every n-th frame.
    #[serde(default = "once")]
    pub every: u32,
    /// How long (stall, slow answers, bans, blackhole, garbage flood), ms; by default as the schedule does.
    #[serde(default)]
    pub millis: Option<u64>,
    /// For `clock_step`: by how much, ms; drawn between 0.5 and 3 s either way when absent.
    #[serde(default)]
    pub step_ms: Option<i64>,
    /// For `garbage`: so many frames a second for `millis`, instead of `count` single ones.
    #[serde(default)]
    pub per_second: Option<u32>,
}

fn once() -> u32 {
    1
}

impl Injection {
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            venue: String::new(),
            stream: None,
            conn: None,
            count: 1,
            every: 1,
            millis: None,
            step_ms: None,
            per_second: None,
        }
    }

    pub fn on(mut self, venue: &str) -> Self {
        venue.clone_into(&mut self.venue);
        self
    }

    pub fn stream(mut self, stream: &str) -> Self {
        self.stream = Some(stream.to_owned());
        self
    }
}
