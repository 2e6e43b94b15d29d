//! Counters that cost an addition: plain numbers in the worker, handed to the hub in batches every 100 ms.
//!
//! No atomic is shared per event, so workers do not slow each other. A [`Local`] belongs to one worker thread; its
//! [`flush`](Local::flush) takes the hub's lock once per batch. [`Hub::render`] writes the Prometheus text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, read 2026-11-21). Names are
//! `<crate>_<noun>_<unit>[_total]`, labels come from small closed sets; `docs/metrics.md` lists them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a worker hands over what it counted.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// `le` bounds of histograms: powers of two of a microsecond.
const BOUNDS: usize = 24;

/// A distribution of durations: 24 buckets from 1 µs to 8.4 s, each twice the last, and one for what is longer.
///
/// A quantile is the upper bound of its bucket: at most twice too long, never too short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyTracker {
    buckets: [u64; BOUNDS + 1],
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for LatencyTracker {
    fn default() -> Self {
        Self { buckets: [0; BOUNDS + 1], count: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl LatencyTracker {
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let us = ns.div_ceil(1_000).max(1);
        let bucket = (u64::BITS - (us - 1).leading_zeros()) as usize;
        self.buckets[bucket.min(BOUNDS)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// `q` in `[0, 1]`; zero when nothing was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = ((self.count as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank && *n > 0 {
                return if i >= BOUNDS { self.max() } else { Duration::from_micros(1 << i).min(self.max()) };
            }
        }
        Duration::ZERO
    }

    fn merge(&mut self, other: &Self) {
        for (a, b) in self.buckets.iter_mut().zip(other.buckets) {
            *a += b;
        }
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// What is known of a metric by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Box<LatencyTracker>),
}

type Series = BTreeMap<String, Value>;
type Collector = Box<dyn Fn(&mut Text) + Send>;

#[derive(Default)]
struct HubState {
    families: BTreeMap<&'static str, (Family, &'static str, Series)>,
    collectors: Vec<Collector>,
    batches: u64,
}

/// Where all counts meet. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<HubState>>);

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

/// A metric of one [`Local`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricId(usize);

#[derive(Debug)]
struct Cell {
    name: &'static str,
    help: &'static str,
    labels: String,
    value: Value,
    changed: bool,
}

/// One worker's counts.
#[derive(Debug)]
pub struct Local {
    hub: Hub,
    cells: Vec<Cell>,
}

impl Hub {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn local(&self) -> Local {
        Local { hub: self.clone(), cells: Vec::new() }
    }

    /// Asked at every [`Hub::render`], for what counts itself elsewhere (the tape, the gateway).
    pub fn collect(&self, collector: impl Fn(&mut Text) + Send + 'static) {
        self.state().collectors.push(Box::new(collector));
    }

    /// How many batches workers handed over.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.state().batches
    }

    /// The value of a counter or gauge, or the count of a histogram.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let state = self.state();
        Some(match state.families.get(name)?.2.get(&label_text(labels))? {
            Value::Counter(n) => *n as f64,
            Value::Gauge(v) => *v,
            Value::Histogram(h) => h.count as f64,
        })
    }

    /// A histogram as a whole, all labels together.
    #[must_use]
    pub fn latency(&self, name: &str) -> LatencyTracker {
        let mut all = LatencyTracker::default();
        if let Some((.., series)) = self.state().families.get(name) {
            for value in series.values() {
                if let Value::Histogram(h) = value {
                    all.merge(h);
                }
            }
        }
        all
    }

    /// Everything in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let state = self.state();
        let mut text = Text(String::with_capacity(16 << 10));
        for (name, (family, help, series)) in &state.families {
            text.family(name, family.as_str(), help);
            for (labels, value) in series {
                match value {
                    Value::Counter(n) => text.sample(name, labels, *n as f64),
                    Value::Gauge(v) => text.sample(name, labels, *v),
                    Value::Histogram(h) => text.histogram(name, labels, h),
                }
            }
        }
        for collector in &state.collectors {
            collector(&mut text);
        }
        text.0
    }

    fn state(&self) -> std::sync::MutexGuard<'_, HubState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Family {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Local {
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> MetricId {
        self.cell(name, help, labels, Value::Counter(0))
    }

    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> MetricId {
        self.cell(name, help, labels, Value::Gauge(0.0))
    }

    pub fn histogram(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> MetricId {
        self.cell(name, help, labels, Value::Histogram(Box::default()))
    }

    fn cell(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: Value) -> MetricId {
        let labels = label_text(labels);
        if let Some(at) = self.cells.iter().position(|c| c.name == name && c.labels == labels) {
            return MetricId(at);
        }
        // Changed from the start: a metric that is zero is there, and reads zero.
        self.cells.push(Cell { name, help, labels, value, changed: true });
        MetricId(self.cells.len() - 1)
    }

    #[inline]
    pub fn add(&mut self, id: MetricId, n: u64) {
        let cell = &mut self.cells[id.0];
        if let Value::Counter(v) = &mut cell.value {
            *v += n;
            cell.changed = true;
        }
    }

    pub fn set(&mut self, id: MetricId, to: f64) {
        let cell = &mut self.cells[id.0];
        if let Value::Gauge(v) = &mut cell.value {
            *v = to;
            cell.changed = true;
        }
    }

    #[inline]
    pub fn observe(&mut self, id: MetricId, ns: u64) {
        let cell = &mut self.cells[id.0];
        if let Value::Histogram(h) = &mut cell.value {
            h.record(ns);
            cell.changed = true;
        }
    }

    /// Hands over what was counted since the last time. One lock per batch; none when nothing was counted.
    pub fn flush(&mut self) {
        if !self.cells.iter().any(|c| c.changed) {
            return;
        }
        let mut state = self.hub.state();
        state.batches += 1;
        for cell in self.cells.iter_mut().filter(|c| c.changed) {
            cell.changed = false;
            let family = match cell.value {
                Value::Counter(_) => Family::Counter,
                Value::Gauge(_) => Family::Gauge,
                Value::Histogram(_) => Family::Histogram,
            };
            let series = &mut state.families.entry(cell.name).or_insert((family, cell.help, Series::new())).2;
            match (series.get_mut(&cell.labels), &mut cell.value) {
                (Some(Value::Counter(total)), Value::Counter(n)) => *total += std::mem::take(n),
                (Some(Value::Gauge(at)), Value::Gauge(v)) => *at = *v,
                (Some(Value::Histogram(total)), Value::Histogram(h)) => {
                    total.merge(h);
                    **h = LatencyTracker::default();
                }
                (Some(_), _) => {}
                (None, Value::Counter(n)) => {
                    series.insert(cell.labels.clone(), Value::Counter(std::mem::take(n)));
                }
                (None, Value::Gauge(v)) => {
                    series.insert(cell.labels.clone(), Value::Gauge(*v));
                }
                (None, Value::Histogram(h)) => {
                    series.insert(cell.labels.clone(), Value::Histogram(std::mem::take(h)));
                }
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Prometheus text in the making.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}\n", help.replace('\n', " "));
    }

    /// `labels` as [`label_text`] makes them.
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    pub fn histogram(&mut self, name: &str, labels: &str, h: &LatencyTracker) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (i, n) in h.buckets.iter().take(BOUNDS).enumerate() {
            sum += n;
            let le = (1_u64 << i) as f64 / 1e6;
            let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {sum}");
        }
        let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", h.count);
        self.sample(&format!("{name}_sum"), labels, h.sum_ns as f64 / 1e9);
        self.sample(&format!("{name}_count"), labels, h.count as f64);
    }
}

/// `a="x",b="y"`, escaped.
#[must_use]
pub fn label_text(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{name}=\"{value}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_workers_count_is_added_up() {
        let hub = Hub::new();
        let (mut a, mut b) = (hub.local(), hub.local());
        let ids = [&mut a, &mut b].map(|l| l.counter("feed_frames_total", "frames", &[("venue", "x")]));
        a.add(ids[0], 3);
        b.add(ids[1], 4);
        assert_eq!(hub.value("feed_frames_total", &[("venue", "x")]), None, "nothing before a flush");
        a.flush();
        b.flush();
        a.flush();
        assert_eq!(hub.batches(), 2, "an empty batch is none");
        a.add(ids[0], 1);
        a.flush();
        assert_eq!(hub.value("feed_frames_total", &[("venue", "x")]), Some(8.0));
    }

    #[test]
    fn prometheus_reads_it() {
        let hub = Hub::new();
        let mut l = hub.local();
        let c = l.counter("feed_rows_total", "rows", &[("line", "a\"b\\c")]);
        let h = l.histogram("feed_append_seconds", "append", &[]);
        let g = l.gauge("feed_links_active", "links", &[]);
        l.add(c, 2);
        l.observe(h, 1_500);
        l.set(g, 1.5);
        drop(l);
        hub.collect(|t| t.sample("tape_head", "", 7.0));
        let text = hub.render();
        for line in [
            "# TYPE feed_rows_total counter",
            "feed_rows_total{line=\"a\\\"b\\\\c\"} 2",
            "feed_append_seconds_bucket{le=\"0.000001\"} 0",
            "feed_append_seconds_bucket{le=\"0.000002\"} 1",
            "feed_append_seconds_bucket{le=\"+Inf\"} 1",
            "feed_append_seconds_count 1",
            "feed_links_active 1.5",
            "tape_head 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn quantiles_are_never_too_short() {
        let mut t = LatencyTracker::default();
        for us in 1..=1_000_u64 {
            t.record(us * 1_000);
        }
        for (q, exact) in [(0.5, 500), (0.99, 990), (1.0, 1_000)] {
            let got = t.quantile(q).as_micros();
            assert!(got >= exact && got <= 2 * exact, "{q}: {got}");
        }
        t.record(u64::MAX);
        assert_eq!(t.max(), Duration::from_nanos(u64::MAX));
        assert_eq!(LatencyTracker::default().quantile(0.5), Duration::ZERO);
    }
}
