//! The few calls through which the tape changes a disk, so that tests can make them fail.
//!
//! Reading needs no such seam: damage is made in the files themselves.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes, syncs and measures. [`RealDisk`] is the kernel's.
pub trait Disk: Send + Sync {
    /// Writes at `offset`; may write less than asked.
    ///
    /// # Errors
    /// As `pwrite`.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    /// Forces the file's data to the disk.
    ///
    /// # Errors
    /// As `fdatasync`.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Free bytes for us on the file system of `dir`.
    ///
    /// # Errors
    /// As `statvfs`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let s = rustix::fs::statvfs(dir)?;
        Ok(s.f_bavail.saturating_mul(s.f_frsize))
    }
}

/// The kernel's calls, unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}

/// Makes names in `dir` (created, renamed, removed files) durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
