//! The tape's and the process's figures in the Prometheus text format; the feed and the gateway write their own.

use std::fmt::Write as _;

use wholetape_tape::TapeStats;

/// The process itself, where the system tells.
pub fn process() -> String {
    let resident = crate::memory::resident_bytes();
    resident.map_or_else(String::new, |bytes| {
        let name = "process_resident_memory_bytes";
        format!("# HELP {name} Resident memory.\n# TYPE {name} gauge\n{name} {bytes}\n")
    })
}

/// Renders one scrape's worth of the tape.
pub fn tape(s: &TapeStats) -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    put("tape_records_total", "counter", "Records appended since the start.", s.records as f64);
    put("tape_bytes_total", "counter", "Bytes appended since the start.", s.bytes as f64);
    put("tape_batches_total", "counter", "Writes since the start.", s.batches as f64);
    put("tape_fsync_p99_seconds", "gauge", "99th percentile of fsync.", s.fsync.p99.as_secs_f64());
    put("tape_wake_p99_seconds", "gauge", "99th percentile of append to reader awake.", s.wake.p99.as_secs_f64());
    put("tape_wake_max_seconds", "gauge", "Longest time of append to reader awake.", s.wake.max.as_secs_f64());
    put("tape_free_bytes", "gauge", "Free space of the file system.", s.free_bytes as f64);
    put("tape_segments_retired_total", "counter", "Segments removed by retention.", s.segments_retired as f64);
    put("tape_segments_lost_total", "counter", "Segments removed for lack of space.", s.segments_lost as f64);
    put("tape_corrupt_records_total", "counter", "Records that failed their checksum.", s.corrupt_records as f64);
    put("tape_torn_bytes_total", "counter", "Bytes cut off at the last start.", s.torn_bytes as f64);
    put("tape_sync_failed", "gauge", "1 when an fsync failed.", f64::from(u8::from(s.sync_failed)));
    type OfReader = fn(&wholetape_tape::ReaderStats) -> f64;
    let readers: [(&str, &str, &str, OfReader); 4] = [
        ("tape_reader_queue_records", "gauge", "Records that a reader has yet to take.", |r| r.queue_len as f64),
        ("tape_reader_processed_records_total", "counter", "Records taken by a reader.", |r| r.processed as f64),
        ("tape_reader_dropped_records_total", "counter", "Records a reader let go by its policy.", |r| {
            r.dropped as f64
        }),
        ("tape_reader_drop_ratio", "gauge", "Dropped of all that came.", |r| r.drop_ratio),
    ];
    for (name, kind, help, of) in readers {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (n, r) in s.readers.iter().enumerate() {
            let (topic, class) = (&r.topic, r.class.as_str());
            let _ = writeln!(out, "{name}{{reader=\"{n}\",topic=\"{topic}\",class=\"{class}\"}} {}", of(r));
        }
    }
    type OfLane = fn(&wholetape_tape::LaneStats) -> f64;
    let lanes: [(&str, &str, OfLane); 2] = [
        ("tape_lane_unsynced_records", "Records of a lane that await an fsync.", |l| l.unsynced_records as f64),
        ("tape_lane_disk_bytes", "Bytes of a lane on the disk.", |l| l.disk_bytes as f64),
    ];
    for (name, help, of) in lanes {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for lane in &s.lanes {
            let _ = writeln!(out, "{name}{{lane=\"{}\"}} {}", lane.name, of(lane));
        }
    }
    out
}
