//! `coverage.ckpt` in the tape's directory: the ledger at some moment, so that a restart folds seconds instead of months, and
//! what retention removed stays known.
//!
//! Written anew, fsynced, renamed: after a crash at any point the old or the new one is there, whole. Its last line is
//! `end <CRC-32 of all before>`; a file without it, or of another epoch, is never believed. It is kept aside under another name, and
//! the ledger is folded anew from what the tape holds.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Coverage, text};
use crate::disk::Disk;
use crate::error::TapeError;
use crate::tape::Tape;

/// The checkpoint's name in the tape's directory.
pub const CKPT_FILE: &str = "coverage.ckpt";
/// Files kept aside.
const ASIDE_MAX: u32 = 16;
/// Longer than the tape's own fsync takes on a slow disk.
const SYNC_WAIT: Duration = Duration::from_secs(5);

/// Why a checkpoint was not believed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
    /// Of another tape, or from before a restore.
    #[error("{path} is of epoch {theirs}, the tape's is {ours}")]
    Foreign { path: PathBuf, theirs: String, ours: String },
    #[error("{path} is of version {version}, newer than this build reads")]
    Newer { path: PathBuf, version: u32 },
    #[error("cannot read {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The bytes of this directory's checkpoint; `None` when there is none.
pub(super) fn bytes(disk: &dyn Disk, dir: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    let path = dir.join(CKPT_FILE);
    match disk.read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { path, source }),
    }
}

/// What a checkpoint of `dir` says, if it is whole and of this epoch.
pub(super) fn read(dir: &Path, bytes: &[u8], epoch: &str) -> Result<Coverage, CheckpointError> {
    let path = dir.join(CKPT_FILE);
    let damaged = |why: String| CheckpointError::Damaged { path: path.clone(), why };
    let all = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text".into()))?;
    let body = sealed(all).ok_or_else(|| damaged("its checksum differs".into()))?;
    let (version, theirs) = text::head(body).ok_or_else(|| damaged("its first line is not ours".into()))?;
    if version > text::VERSION {
        return Err(CheckpointError::Newer { path, version });
    }
    if theirs != epoch {
        return Err(CheckpointError::Foreign { path, theirs: theirs.into(), ours: epoch.into() });
    }
    text::read(body).map_err(|line| damaged(format!("line {line}")))
}

/// What stands before a last line that fits it.
fn sealed(all: &str) -> Option<&str> {
    let at = all.strip_suffix('\n')?.rfind('\n')? + 1;
    let (body, end) = all.split_at(at);
    let crc = end.strip_suffix('\n')?.strip_prefix("end ")?;
    (crc == format!("{:08x}", crc32fast::hash(body.as_bytes()))).then_some(body)
}

impl Coverage {
    /// Waits until everything that the ledger knows is on the disk: a checkpoint must not speak of what a power loss could take.
    /// False when that took too long.
    ///
    /// # Errors
    /// [`TapeError::SyncFailed`].
    pub fn wait_synced(&self, tape: &Tape) -> Result<bool, TapeError> {
        let end = Instant::now() + SYNC_WAIT;
        for (topic, ledger) in &self.topics {
            let left = end.saturating_duration_since(Instant::now());
            if !tape.wait_synced(topic, ledger.seq, left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the checkpoint of a tape; returns its length in bytes. The caller has seen to [`Coverage::wait_synced`].
    ///
    /// # Errors
    /// [`TapeError::Io`]: the former checkpoint is still there.
    pub fn write(&mut self, tape: &Tape) -> Result<u64, TapeError> {
        self.prune();
        let mut body = text::write(self);
        let crc = crc32fast::hash(body.as_bytes());
        body.push_str(&format!("end {crc:08x}\n"));
        let path = tape.dir().join(CKPT_FILE);
        let written = tape.inner().config.disk.replace(&path, body.as_bytes());
        written.map_err(|e| TapeError::io("write", &path, e))?;
        Ok(body.len() as u64)
    }

    /// Moves a checkpoint that was not believed out of the way, and tells where to.
    ///
    /// # Errors
    /// [`TapeError::Io`].
    pub fn set_aside(tape: &Tape) -> Result<PathBuf, TapeError> {
        let (dir, disk) = (tape.dir(), &tape.inner().config.disk);
        let path = dir.join(CKPT_FILE);
        let name = |n: u32| dir.join(format!("{CKPT_FILE}.aside-{n}"));
        let aside = name((1..ASIDE_MAX).find(|n| disk.meta(&name(*n)).is_err()).unwrap_or(ASIDE_MAX));
        disk.rename(&path, &aside).map_err(|e| TapeError::io("move", &path, e))?;
        Ok(aside)
    }
}
