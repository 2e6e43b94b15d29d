//! What a soak looks at every ten seconds, and what must hold of it.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// RSS may grow by less than this, in what comes after warm-up.
const SLOPE_MIB_H: f64 = 1.0;
/// Warm-up: half an hour, or a third of a shorter piece.
const WARM_UP: Duration = Duration::from_secs(1_800);
/// A slope over less than this says nothing: then it is printed and not judged.
const SLOPE_OVER: Duration = Duration::from_secs(1_500);
/// Frames a second may be this much fewer than asked for: faults cut connections.
const RATE_SHARE: f64 = 0.7;

/// One look.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub at: Duration,
    pub piece: u32,
    pub rss_kib: u64,
    pub handles: u64,
    pub disk_bytes: u64,
    pub frames: u64,
    pub sim_rss_kib: u64,
    pub judge_rss_kib: u64,
    pub readers: u64,
    pub published: u64,
    pub missing: u64,
    pub waiting: u64,
    pub lost_segments: u64,
}

impl Sample {
    pub const HEAD: &str = "   minute  RSS MiB  handles  disk MiB  frames/s  readers     compared  missing  waiting   sim MiB  verdict MiB";

    pub fn row(&self, rate: f64) -> String {
        format!(
            "{:>9.1} {:>8.1} {:>8} {:>9} {rate:>9.0} {:>8} {:>12} {:>8} {:>8} {:>9} {:>12}",
            self.at.as_secs_f64() / 60.0,
            self.rss_kib as f64 / 1024.0,
            self.handles,
            self.disk_bytes >> 20,
            self.readers,
            self.published,
            self.missing,
            self.waiting,
            self.sim_rss_kib >> 10,
            self.judge_rss_kib >> 10,
        )
    }

    pub fn json(&self, rate: f64) -> Value {
        json!({
            "s": self.at.as_secs_f64(), "piece": self.piece, "rss_kib": self.rss_kib, "handles": self.handles,
            "disk_bytes": self.disk_bytes, "frames": self.frames, "frames_per_s": rate, "readers": self.readers,
            "published": self.published, "missing": self.missing, "waiting": self.waiting,
            "sim_rss_kib": self.sim_rss_kib, "verdict_rss_kib": self.judge_rss_kib, "lost_segments": self.lost_segments,
        })
    }
}

/// What is computed beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub disk_bytes: u64,
    /// Handles beyond those after warm-up.
    pub handles_more: u64,
}

impl Limits {
    /// Retention takes whole sealed segments of 64 MiB: beside `keep_mib` there are at most the one being written and the one
    /// that is about to go, of each of two lanes, and a little for identity and locks.
    pub const fn new(keep_mib: u64, readers: u32) -> Self {
        Self {
            disk_bytes: (keep_mib + 4 * 64 + 16) << 20,
            // A reader holds its socket and at most one segment of each of its topics' lanes; reconnects overlap.
            handles_more: 4 * readers as u64 + 24,
        }
    }
}

/// The sum of a metric over its labels.
pub fn sum(metrics: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with('{') || rest.starts_with(' ')).then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok())?
    };
    metrics.lines().filter_map(value).sum::<f64>() as u64
}

/// Growth per hour, least squares.
pub fn slope_per_hour(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in points {
        over += (x - mx) * (y - my);
        under += (x - mx) * (x - mx);
    }
    if under == 0.0 { 0.0 } else { over / under * 3600.0 }
}

/// What came of it, in words; what broke is added to `broken`.
pub fn report(samples: &[Sample], limits: &Limits, rate: u32, broken: &mut Vec<String>) -> String {
    let mut out = String::new();
    let pieces = samples.iter().map(|s| s.piece).max().unwrap_or(0);
    for piece in 0..=pieces {
        let of: Vec<&Sample> = samples.iter().filter(|s| s.piece == piece).collect();
        let (Some(first), Some(last)) = (of.first(), of.last()) else { continue };
        let length = last.at - first.at;
        let warm = first.at + WARM_UP.min(length / 3);
        let after: Vec<&&Sample> = of.iter().filter(|s| s.at >= warm).collect();
        let points: Vec<(f64, f64)> = after.iter().map(|s| (s.at.as_secs_f64(), s.rss_kib as f64 / 1024.0)).collect();
        if points.len() < 3 {
            let _ = writeln!(out, "piece {}: too short to say anything", piece + 1);
            continue;
        }
        let (slope, over) = (slope_per_hour(&points), last.at - warm);
        let judged = over >= SLOPE_OVER;
        let note = if judged { format!("(bound {SLOPE_MIB_H})") } else { "(too short to be judged)".into() };
        let _ = writeln!(
            out,
            "piece {}: RSS {slope:+.2} MiB/h over {:.0} min after {:.0} min of warm-up {note}; {:.1} to {:.1} MiB",
            piece + 1,
            over.as_secs_f64() / 60.0,
            (warm - first.at).as_secs_f64() / 60.0,
            points.iter().map(|p| p.1).fold(f64::MAX, f64::min),
            points.iter().map(|p| p.1).fold(0.0, f64::max),
        );
        if judged && slope >= SLOPE_MIB_H {
            broken.push(format!("piece {}: RSS grows by {slope:.2} MiB/h", piece + 1));
        }
        let base = of.iter().filter(|s| s.at <= warm).map(|s| s.handles).max().unwrap_or(0);
        let most = after.iter().map(|s| s.handles).max().unwrap_or(0);
        let bound = base + limits.handles_more;
        let _ = writeln!(out, "piece {}: handles at most {most}, {base} during warm-up (bound {bound})", piece + 1);
        if most > bound {
            broken.push(format!("piece {}: {most} file handles, {bound} are accounted for", piece + 1));
        }
        let frames = last.frames.saturating_sub(first.frames) as f64 / length.as_secs_f64().max(1.0);
        let _ = writeln!(out, "piece {}: {frames:.0} frames/s ({rate} asked for)", piece + 1);
        if frames < f64::from(rate) * RATE_SHARE {
            broken.push(format!("piece {}: only {frames:.0} of {rate} frames/s", piece + 1));
        }
    }
    let most = samples.iter().map(|s| s.disk_bytes).max().unwrap_or(0);
    let _ = writeln!(out, "disk: at most {} MiB (bound {})", most >> 20, limits.disk_bytes >> 20);
    if most > limits.disk_bytes {
        broken.push(format!("{} MiB of disk, {} are accounted for", most >> 20, limits.disk_bytes >> 20));
    }
    let lost: u64 =
        (0..=pieces).map(|p| samples.iter().filter(|s| s.piece == p).map(|s| s.lost_segments).max().unwrap_or(0)).sum();
    let _ = write!(out, "segments that went for lack of space: {lost}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss: impl Fn(u64) -> u64) -> Vec<Sample> {
        let one = |at: u64| Sample {
            at: Duration::from_secs(at * 10),
            rss_kib: rss(at),
            handles: 40,
            frames: at * 100_000,
            ..Sample::default()
        };
        (0..720).map(one).collect()
    }

    #[test]
    fn a_leak_breaks_the_bound_and_noise_does_not() {
        let limits = Limits::new(64, 2);
        let mut broken = Vec::new();
        report(&samples(|at| 100_000 + at % 7 * 300), &limits, 10_000, &mut broken);
        assert_eq!(broken, Vec::<String>::new());
        // 2 h of samples, 4 MiB more in each.
        report(&samples(|at| 100_000 + at * 4 * 1024 / 360), &limits, 10_000, &mut broken);
        assert!(broken.len() == 1 && broken[0].contains("RSS grows by 4.0"), "{broken:?}");
    }

    #[test]
    fn disk_handles_and_a_rate_that_is_not_reached_are_named() {
        let mut all = samples(|_| 1);
        all[700].disk_bytes = 900 << 20;
        all[600].handles = 500;
        let mut broken = Vec::new();
        report(&all, &Limits::new(64, 2), 30_000, &mut broken);
        assert_eq!(broken.len(), 3, "{broken:?}");
    }

    #[test]
    fn metrics_are_summed_over_labels() {
        let text = "# TYPE feed_frames_total counter\nfeed_frames_total{line=\"a\"} 10\nfeed_frames_total{line=\"b\"} 5\nfeed_frames_total_x 9\n";
        assert_eq!(sum(text, "feed_frames_total"), 15);
    }
}
