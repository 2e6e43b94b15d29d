//! Who owns a data directory and what became of its last owner: the lock, the epoch, the run counter.
//!
//! ```text
//! tape.lock   held with flock while a process owns the directory; holds its pid
//! epoch       "wholetape-tape 1 <epoch> <former epochs …>"; replaced when a backup is restored
//! state       run, boot id, clean end, failed fsync; replaced by rename at open and close
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::disk::sync_dir;
use crate::error::TapeError;

const FORMAT: &str = "wholetape-tape 1";

/// Takes the directory's lock; it is held as long as the file lives.
pub(crate) fn lock(dir: &Path) -> Result<File, TapeError> {
    let path = dir.join("tape.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| TapeError::io("open", &path, e))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut text = String::new();
        let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
        return Err(TapeError::Locked { dir: dir.to_owned(), pid });
    }
    file.set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
        .map_err(|e| TapeError::io("write", &path, e))?;
    Ok(file)
}

/// Reads the epochs, the present one first, or makes one when the directory is new and `create`.
pub(crate) fn epochs(dir: &Path, create: bool) -> Result<Vec<String>, TapeError> {
    let path = dir.join("epoch");
    match fs::read_to_string(&path) {
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
            if fs::read_dir(dir.join("lanes")).is_ok_and(|mut d| d.next().is_some()) {
                return Err(TapeError::Format { path, why: "there are lanes but no epoch".into() });
            }
            let epoch = random_name().map_err(|e| TapeError::io("read", Path::new("/dev/urandom"), e))?;
            replace(dir, "epoch", &format!("{FORMAT} {epoch}\n"))?;
            Ok(vec![epoch])
        }
        Err(e) => Err(TapeError::io("read", &path, e)),
    }
}

/// Puts a new epoch before those that the directory had; returns it.
pub(crate) fn renew(dir: &Path) -> Result<String, TapeError> {
    let former = epochs(dir, false)?;
    let epoch = random_name().map_err(|e| TapeError::io("read", Path::new("/dev/urandom"), e))?;
    replace(dir, "epoch", &format!("{FORMAT} {epoch} {}\n", former.join(" ")))?;
    Ok(epoch)
}

fn random_name() -> std::io::Result<String> {
    let mut bytes = [0_u8; 10];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
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
    pub fn read(dir: &Path) -> Result<Option<Self>, TapeError> {
        let path = dir.join("state");
        let text = match fs::read_to_string(&path) {
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
        Ok(Some(state))
    }

    pub fn write(&self, dir: &Path) -> Result<(), TapeError> {
        let Self { run, boot, clean, sync_failed } = self;
        let text =
            format!("run={run}\nboot={boot}\nclean={}\nsync_failed={}\n", u8::from(*clean), u8::from(*sync_failed));
        replace(dir, "state", &text)
    }

    /// What readers saw beyond the disk's head is unknown.
    pub fn doubtful(&self, boot_now: &str) -> bool {
        self.sync_failed || (!self.clean && self.boot != boot_now)
    }
}

/// The kernel's id of this boot. Where it tells none, no two runs count as of one boot.
pub(crate) fn boot_id() -> String {
    match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => random_name().unwrap_or_else(|_| format!("process-{}", std::process::id())),
    }
}

/// Replaces a small file so that either the old or the new content is there after a power loss.
fn replace(dir: &Path, name: &str, text: &str) -> Result<(), TapeError> {
    let path = dir.join(name);
    let part = dir.join(format!("{name}.part"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        sync_dir(dir)
    };
    write().map_err(|e| TapeError::io("write", &path, e))
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
