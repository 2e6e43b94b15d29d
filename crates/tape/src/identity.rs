//! Who owns a data directory and what became of its last owner: the lock, the epoch, the run counter.
//!
//! ```text
//! tape.lock   held with flock while a process owns the directory; holds its pid
//! epoch       "wholetape-tape 1 <epoch> <former epochs …>"; replaced when a backup is restored
//! state       run, boot id, clean end, failed fsync; replaced by rename at open and close
//! sync_failed there when an fsync failed, until the next open settled it: `state` itself may fail to be synced then
//! ```

use std::any::Any;
use std::io;
use std::path::Path;

use crate::disk::{Access, Disk, Locking};
use crate::error::TapeError;

const FORMAT: &str = "wholetape-tape 1";
const FAILED: &str = "sync_failed";

/// Takes the directory's lock; it is held as long as the file lives.
pub(crate) fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, TapeError> {
    let path = dir.join("tape.lock");
    match disk.lock(&path).map_err(|e| TapeError::io("lock", &path, e))? {
        Locking::Held(held) => Ok(held),
        Locking::Taken(pid) => Err(TapeError::Locked { dir: dir.to_owned(), pid }),
    }
}

/// Reads the epochs, the present one first, or makes one when the directory is new and `create`.
pub(crate) fn epochs(disk: &dyn Disk, dir: &Path, create: bool) -> Result<Vec<String>, TapeError> {
    let path = dir.join("epoch");
    match text_of(disk, &path) {
        Ok(text) => {
            let good = |e: &String| e.len() <= 64 && e.bytes().all(|b| b.is_ascii_alphanumeric());
            let rest = text.trim_end().strip_prefix(FORMAT).and_then(|t| t.strip_prefix(' '));
            let all: Vec<String> = rest.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect();
            if all.is_empty() || !all.iter().all(good) {
                return Err(TapeError::Format { path, why: "the epoch file is not of version 1".into() });
            }
            Ok(all)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && create => {
            // Segments without an epoch are somebody's data whose identity was lost: never adopt them silently.
            if disk.list(&dir.join("lanes")).is_ok_and(|l| !l.is_empty()) {
                return Err(TapeError::Format { path, why: "there are lanes but no epoch".into() });
            }
            let epoch = random_name(disk).map_err(|e| TapeError::io("read", Path::new("/dev/urandom"), e))?;
            replace(disk, dir, "epoch", &format!("{FORMAT} {epoch}\n"))?;
            Ok(vec![epoch])
        }
        Err(e) => Err(TapeError::io("read", &path, e)),
    }
}

/// Puts a new epoch before those that the directory had; returns it.
pub(crate) fn renew(disk: &dyn Disk, dir: &Path) -> Result<String, TapeError> {
    let former = epochs(disk, dir, false)?;
    let epoch = random_name(disk).map_err(|e| TapeError::io("read", Path::new("/dev/urandom"), e))?;
    replace(disk, dir, "epoch", &format!("{FORMAT} {epoch} {}\n", former.join(" ")))?;
    Ok(epoch)
}

fn text_of(disk: &dyn Disk, path: &Path) -> io::Result<String> {
    String::from_utf8(disk.read(path)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

fn random_name(disk: &dyn Disk) -> io::Result<String> {
    let mut bytes = [0_u8; 10];
    disk.random(&mut bytes)?;
    Ok(bytes.iter().map(|b| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[usize::from(b % 32)])).collect())
}

/// The `state` file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub run: u32,
    pub boot: String,
    pub clean: bool,
    pub sync_failed: bool,
}

impl State {
    /// `None` when there is none yet.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, TapeError> {
        let path = dir.join("state");
        let text = match text_of(disk, &path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(TapeError::io("read", &path, e)),
        };
        let mut state = Self::default();
        for line in text.lines() {
            let bad = || TapeError::Format { path: path.clone(), why: format!("line {line:?}") };
            let (key, value) = line.split_once('=').ok_or_else(bad)?;
            match key {
                "run" => state.run = value.parse().map_err(|_| bad())?,
                "boot" => value.clone_into(&mut state.boot),
                "clean" => state.clean = value == "1",
                "sync_failed" => state.sync_failed = value == "1",
                _ => return Err(bad()),
            }
        }
        state.sync_failed |= disk.meta(&dir.join(FAILED)).is_ok();
        Ok(Some(state))
    }

    /// Says that an fsync failed by a name alone. It needs no fsync: on another boot everything is doubtful anyway, and on
    /// this one the name is seen.
    pub fn note_failure(disk: &dyn Disk, dir: &Path) {
        let _ = disk.open(&dir.join(FAILED), Access::Create);
    }

    /// What [`State::note_failure`] said is settled.
    pub fn clear_failure(disk: &dyn Disk, dir: &Path) -> Result<(), TapeError> {
        let path = dir.join(FAILED);
        match disk.meta(&path).and_then(|_| disk.remove(&path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(TapeError::io("remove", &path, e)),
            _ => Ok(()),
        }
    }

    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), TapeError> {
        let Self { run, boot, clean, sync_failed } = self;
        let text =
            format!("run={run}\nboot={boot}\nclean={}\nsync_failed={}\n", u8::from(*clean), u8::from(*sync_failed));
        replace(disk, dir, "state", &text)
    }

    /// What readers saw beyond the disk's head is unknown.
    pub fn doubtful(&self, boot_now: &str) -> bool {
        self.sync_failed || (!self.clean && self.boot != boot_now)
    }
}

/// The kernel's id of this boot. Where it tells none, no two runs count as of one boot.
pub(crate) fn boot_id(disk: &dyn Disk) -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => random_name(disk).unwrap_or_else(|_| format!("process-{}", std::process::id())),
    }
}

/// Replaces a small file so that either the old or the new content is there after a power loss.
fn replace(disk: &dyn Disk, dir: &Path, name: &str, text: &str) -> Result<(), TapeError> {
    let path = dir.join(name);
    disk.replace(&path, text.as_bytes()).map_err(|e| TapeError::io("write", &path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_boot_or_a_failed_sync_is_doubtful() {
        let state = |clean, sync_failed| State { run: 1, boot: "a".into(), clean, sync_failed };
        assert!(!state(false, false).doubtful("a"));
        assert!(state(false, false).doubtful("b"));
        assert!(!state(true, false).doubtful("b"));
        assert!(state(true, true).doubtful("a"));
    }
}
