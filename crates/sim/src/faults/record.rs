//! The log of faults that happened: one JSON line each in `faults.jsonl`, written at once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FaultKind;
use crate::error::SimError;
use crate::event::Now;

/// One fault that somebody met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    pub kind: FaultKind,
    pub venue: String,
    /// Exchange clock, ms.
    pub at_ms: i64,
    /// Machine clock, ns.
    pub wall_ns: u64,
    /// Which start of the simulation, from 1.
    #[serde(default)]
    pub run: u32,
    /// Server-side number of the connection; REST and listener faults have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What was affected: ids of a lost frame, a path, a length of time.
    #[serde(default)]
    pub what: String,
}

/// Appends and counts.
#[derive(Debug)]
pub struct FaultLog {
    file: File,
    run: u32,
    counts: BTreeMap<FaultKind, u64>,
}

impl FaultLog {
    /// # Errors
    /// [`SimError::Truth`] when the file cannot be opened.
    pub fn open(dir: &Path) -> Result<Self, SimError> {
        let path = dir.join(crate::truth::FAULTS_FILE);
        let open = std::fs::create_dir_all(dir).and_then(|()| OpenOptions::new().create(true).append(true).open(&path));
        let file = open.map_err(|source| SimError::Truth { path, source })?;
        Ok(Self { file, run: 1, counts: BTreeMap::new() })
    }

    pub fn set_run(&mut self, run: u32) {
        self.run = self.run.max(run);
    }

    pub fn happened(
        &mut self,
        kind: FaultKind,
        venue: &str,
        now: Now,
        conn: Option<u64>,
        stream: Option<&str>,
        what: String,
    ) {
        *self.counts.entry(kind).or_default() += 1;
        tracing::debug!(%kind, venue, conn, stream, what, "simulated fault");
        let record = FaultRecord {
            kind,
            venue: venue.to_owned(),
            at_ms: now.exchange_ms,
            wall_ns: now.wall_ns,
            run: self.run,
            conn,
            stream: stream.map(str::to_owned),
            what,
        };
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            tracing::error!(%error, "fault log not written");
        }
    }

    /// Faults of this run.
    pub fn counts(&self) -> BTreeMap<FaultKind, u64> {
        self.counts.clone()
    }
}
