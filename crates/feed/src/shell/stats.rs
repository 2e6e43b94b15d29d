//! What a line counts, handed to the worker's metrics a few times a second, and its status for people.

use std::fmt::Write as _;
use std::time::Duration;

use wholetape_model::{LinkState, StreamState, Ts};
use wholetape_venue::shape::CHANNELS;

use crate::line::shed::CLASSES;
use crate::line::{Lag, Line, LineStats, Progress};
use crate::metrics::{Local, MetricId};
use crate::shell::slot::Slot;
use crate::spec::LineSpec;

const EVERY: Duration = Duration::from_millis(100);

/// Name, help, and where the figure stands in the line's own counters.
const COUNTERS: [(&str, &str, fn(&LineStats) -> u64); 18] = [
    ("feed_frames_total", "frames received", |s| s.frames),
    ("feed_rows_total", "rows and marks appended to the tape", |s| s.rows),
    ("feed_errors_total", "frames that could not be read", |s| s.errors),
    ("feed_unknown_total", "frames or values of no known shape, kept raw", |s| s.unknown),
    ("feed_repeats_total", "events that were on the tape already", |s| s.repeats),
    ("feed_late_rows_total", "rows healed over REST", |s| s.late),
    ("feed_gaps_opened_total", "gaps opened", |s| s.gaps_opened),
    ("feed_gaps_healed_total", "gaps with verdict healed", |s| s.gaps_healed),
    ("feed_gaps_never_published_total", "gaps with verdict never published", |s| s.gaps_never_published),
    ("feed_gaps_lost_total", "gaps with verdict lost", |s| s.gaps_lost),
    ("feed_resyncs_total", "books spliced anew", |s| s.resyncs),
    ("feed_resubscriptions_total", "books subscribed anew, where their snapshot comes by the stream", |s| {
        s.resubscriptions
    }),
    ("feed_fetches_total", "REST requests asked for", |s| s.fetches),
    ("feed_fetch_failures_total", "REST requests without a usable answer", |s| s.fetch_failures),
    ("feed_findings_total", "failed quality checks", |s| s.findings),
    ("feed_alerts_total", "alerts told in `alert.<line>`", |s| s.alerts),
    ("feed_sockets_recycled_total", "sockets given up because they were behind their siblings", |s| s.recycled),
    ("feed_ids_forgotten_total", "trade ids forgotten before two hours were over: too many", |s| s.ids_forgotten),
];

/// As [`COUNTERS`], with one more label.
const LABELLED: [(&str, &str, (&str, &str), fn(&LineStats) -> u64); 8] = [
    ("feed_backlog_pages_total", "answers for a backlog", ("result", "filled"), |s| s.backlog_filled),
    ("feed_backlog_pages_total", "answers for a backlog", ("result", "empty"), |s| s.backlog_empty),
    ("feed_backlog_pages_total", "answers for a backlog", ("result", "failed"), |s| s.backlog_failed),
    ("feed_minutes_total", "minutes of trades beside the venue's bar", ("result", "equal"), |s| s.minutes_equal),
    ("feed_minutes_total", "minutes of trades beside the venue's bar", ("result", "differs"), |s| s.minutes_differing),
    ("feed_healed_rows_total", "rows that filled a hole", ("source", "rest"), |s| s.late),
    ("feed_healed_rows_total", "rows that filled a hole", ("source", "redundant"), |s| s.healed_redundant),
    ("feed_healed_rows_total", "rows that filled a hole", ("source", "archive"), |s| s.healed_archive),
];

pub(super) struct LineMetrics {
    ids: [MetricId; COUNTERS.len()],
    labelled: [MetricId; LABELLED.len()],
    backlog_missing: MetricId,
    reconnects_id: MetricId,
    /// Streams by state now, and changes to that state, in the order of [`StreamState::ALL`].
    states: Vec<(MetricId, MetricId)>,
    replacements_id: MetricId,
    sockets: Vec<SocketMetrics>,
    /// In the order of [`CHANNELS`].
    shapes: Vec<MetricId>,
    active: MetricId,
    turn_seconds: MetricId,
    pub load: LoadMetrics,
    pub reconnects: u64,
    pub replacements: u64,
    told_reconnects: u64,
    told_replacements: u64,
    told: LineStats,
    next: Ts,
    dirty: bool,
}

impl LineMetrics {
    pub fn new(local: &mut Local, line: &Line, venue: &str) -> Self {
        let (connections, line) = (line.connections(), line.name());
        let labels = [("venue", venue), ("line", line)];
        let states = StreamState::ALL
            .iter()
            .map(|state| {
                let name = state.as_str();
                let state = [labels[0], labels[1], ("state", name)];
                let verdict = [labels[0], labels[1], ("verdict", name)];
                (
                    local.gauge("feed_stream_state", "subscribed streams that are in this state", &state),
                    local.counter("feed_silences_total", "streams that were judged anew, by verdict", &verdict),
                )
            })
            .collect();
        let shapes = CHANNELS
            .iter()
            .map(|channel| {
                let labels = [labels[0], labels[1], ("channel", *channel)];
                local.counter("feed_shapes_unknown_total", "frames that are not as documented", &labels)
            })
            .collect();
        Self {
            states,
            shapes,
            ids: COUNTERS.map(|(name, help, _)| local.counter(name, help, &labels)),
            labelled: LABELLED.map(|(name, help, label, _)| local.counter(name, help, &[labels[0], labels[1], label])),
            backlog_missing: local.gauge(
                "feed_backlog_missing_ids",
                "ids of backlogs and large holes that are missing now",
                &labels,
            ),
            reconnects_id: local.counter("feed_reconnects_total", "connections given up", &labels),
            replacements_id: local.counter("feed_replacements_total", "sockets replaced before their end", &labels),
            sockets: (0..connections).map(|conn| SocketMetrics::new(local, line, conn)).collect(),
            active: local.gauge("feed_connections_active", "connections that bring data", &labels),
            turn_seconds: local.histogram(
                "feed_turn_seconds",
                "from the first frame of a burst to its commit",
                &labels,
            ),
            load: LoadMetrics::new(local, line),
            reconnects: 0,
            replacements: 0,
            told_reconnects: 0,
            told_replacements: 0,
            told: LineStats::default(),
            next: Ts::ZERO,
            dirty: false,
        }
    }

    /// When there is something to tell.
    pub fn next(&self) -> Ts {
        if self.dirty { self.next } else { Ts::MAX }
    }

    /// A turn ended; `first` is when its first frame came.
    #[inline]
    pub fn turn(&mut self, local: &mut Local, now: Ts, first: Option<Ts>, line: &Line, slots: &[Slot]) {
        if let Some(first) = first {
            local.observe(self.turn_seconds, now.since(first).as_nanos() as u64);
        }
        self.dirty = true;
        if now >= self.next {
            self.last(local, now, line, slots);
        }
    }

    /// Tells now.
    pub fn last(&mut self, local: &mut Local, now: Ts, line: &Line, slots: &[Slot]) {
        let stats = line.stats();
        self.load.tell(local, line);
        for ((.., get), id) in COUNTERS.iter().zip(self.ids) {
            local.add(id, get(stats).saturating_sub(get(&self.told)));
        }
        for (state, (now, told)) in StreamState::ALL.iter().zip(&self.states) {
            let at = *state as usize;
            local.set(*now, f64::from(stats.streams[at]));
            local.add(*told, stats.verdicts[at].saturating_sub(self.told.verdicts[at]));
        }
        for (at, id) in self.shapes.iter().enumerate() {
            local.add(*id, stats.odd_shapes[at].saturating_sub(self.told.odd_shapes[at]));
        }
        for ((.., get), id) in LABELLED.iter().zip(self.labelled) {
            local.add(id, get(stats).saturating_sub(get(&self.told)));
        }
        local.set(self.backlog_missing, stats.backlog_missing as f64);
        local.add(self.reconnects_id, self.reconnects - self.told_reconnects);
        local.add(self.replacements_id, self.replacements - self.told_replacements);
        self.told_replacements = self.replacements;
        for ((_, lag, _), socket) in line.sockets().zip(&mut self.sockets) {
            socket.tell(local, lag);
        }
        let active = slots.iter().filter(|s| s.state.state() == LinkState::Active).count();
        local.set(self.active, active as f64);
        self.told = *stats;
        self.told_reconnects = self.reconnects;
        self.next = now + EVERY;
        self.dirty = false;
    }
}

/// As [`Line::currency`] counts.
const CURRENCY: [(&str, &str); 4] = [
    ("feed_streams", "streams that are to be subscribed"),
    ("feed_streams_open", "streams that are subscribed and read"),
    ("feed_books", "books"),
    ("feed_books_live", "books that are live"),
];

/// Lag and shedding of one line.
pub(super) struct LoadMetrics {
    lag_id: MetricId,
    level_id: MetricId,
    frames_ids: [MetricId; CLASSES.len()],
    currency_ids: [MetricId; CURRENCY.len()],
    told: [u64; CLASSES.len()],
    /// The newest measurement, and the worst since it was last told.
    pub lag: Duration,
    worst: Duration,
}

impl LoadMetrics {
    fn new(local: &mut Local, line: &str) -> Self {
        let frames = "frames dropped unread because the line was over capacity";
        Self {
            lag_id: local.gauge("feed_lag_seconds", "how far the line is behind its sockets", &[("line", line)]),
            level_id: local.gauge("feed_shed_level", "what the line gives up, 0 = nothing", &[("line", line)]),
            frames_ids: CLASSES
                .map(|(class, _)| local.counter("feed_shed_frames_total", frames, &[("line", line), ("class", class)])),
            currency_ids: CURRENCY.map(|(name, help)| local.gauge(name, help, &[("line", line)])),
            told: [0; CLASSES.len()],
            lag: Duration::ZERO,
            worst: Duration::ZERO,
        }
    }

    #[inline]
    pub fn measured(&mut self, lag: Duration) {
        self.lag = lag;
        self.worst = self.worst.max(lag);
    }

    fn tell(&mut self, local: &mut Local, line: &Line) {
        local.set(self.lag_id, std::mem::take(&mut self.worst).as_secs_f64());
        local.set(self.level_id, f64::from(line.shed_level() as u8));
        for (id, n) in self.currency_ids.iter().zip(line.currency()) {
            local.set(*id, n as f64);
        }
        let frames = line.shed_frames();
        for ((id, now), told) in self.frames_ids.iter().zip(frames).zip(&mut self.told) {
            local.add(*id, now - std::mem::replace(told, now));
        }
    }
}

/// One socket beside its siblings.
struct SocketMetrics {
    firsts: MetricId,
    repeats: MetricId,
    lag: MetricId,
    told: (u64, u64),
}

impl SocketMetrics {
    fn new(local: &mut Local, line: &str, conn: usize) -> Self {
        let conn = conn.to_string();
        let labels = [("line", line), ("conn", conn.as_str())];
        Self {
            firsts: local.counter(
                "feed_socket_first_total",
                "events that this socket brought before its siblings",
                &labels,
            ),
            repeats: local.counter("feed_socket_repeats_total", "events that a sibling had brought before", &labels),
            lag: local.gauge(
                "feed_socket_lag_seconds",
                "median time by which this socket was behind a sibling",
                &labels,
            ),
            told: (0, 0),
        }
    }

    fn tell(&mut self, local: &mut Local, lag: &Lag) {
        local.add(self.firsts, lag.firsts - self.told.0);
        local.add(self.repeats, lag.repeats - self.told.1);
        if self.told.1 != lag.repeats {
            local.set(self.lag, lag.quantile(0.5).unwrap_or_default().as_secs_f64());
        }
        self.told = (lag.firsts, lag.repeats);
    }
}

/// An order's progress, as one JSON object.
pub(super) fn progress(p: &Progress) -> String {
    let job = &p.job;
    let ids = |get: fn((u64, u64)) -> u64| job.ids.map_or("null".into(), |ids| get(ids).to_string());
    let failed = match &job.failed {
        Some(why) => format!("\"{}\"", why.replace(['"', '\\'], "'").replace(char::is_control, " ")),
        None => "null".into(),
    };
    format!(
        "{{\"job\":{},\"first_id\":{},\"last_id\":{},\"ids\":{},\"missing\":{},\"rows\":{},\"pages\":{},\"never_published\":{},\"lost\":{},\"failed\":{failed},\"cancelled\":{},\"done\":{}}}",
        job.id,
        ids(|i| i.0),
        ids(|i| i.1),
        job.total,
        p.missing,
        job.rows,
        job.pages,
        job.never_published,
        job.lost,
        job.cancelled,
        p.done,
    )
}

/// One JSON object for people and tools.
pub(super) fn status(spec: &LineSpec, slots: &[Slot], line: &Line, lag: Duration, paused: bool) -> String {
    let (stats, level) = (line.stats(), line.shed_level());
    let mut text = format!(
        "{{\"line\":\"{}\",\"venue\":\"{}\",\"paused\":{paused},\"frames\":{},\"rows\":{},\"lag_seconds\":{:.3},\"shed_level\":{},\"sheds\":\"{}\",\"shed_frames\":{},\"connections\":[",
        spec.name,
        spec.venue,
        stats.frames,
        stats.rows,
        lag.as_secs_f64(),
        level as u8,
        level.sheds(),
        line.shed_frames().iter().sum::<u64>()
    );
    for ((i, slot), (_, lag, carries)) in slots.iter().enumerate().zip(line.sockets()) {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(
            text,
            "{comma}{{\"conn\":{i},\"number\":{},\"state\":\"{}\",\"cause\":\"{}\",\"attempt\":{},\"frames\":{},\"wanted\":{},\"carries\":{carries},\"first\":{},\"repeats\":{},\
             \"lag_us\":{}}}",
            slot.number,
            slot.state.state().as_str(),
            slot.state.last_cause().as_str(),
            slot.state.attempt(),
            slot.frames,
            slot.wanted,
            lag.firsts,
            lag.repeats,
            lag.quantile(0.5).map_or(0, |l| l.as_micros())
        );
    }
    text.push_str("]}");
    text
}
