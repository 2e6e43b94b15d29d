//! The file system as the tape uses it: a small set of calls, so that tests can make them fail and the simulation can put a
//! disk in memory in their place.
//!
//! Every method has the kernel's call as its default, so [`RealDisk`] is empty and a failing disk overrides what shall fail.
//! Handles are [`DiskFile`]s; reading and writing cost one virtual call each, per batch and never per record.

use std::any::Any;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, flock};

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Reading and writing a file that exists.
    Write,
    /// As `Write`; made if it is not there, emptied if it is.
    Create,
}

/// A file's length, and when it was last written (ns since the Unix epoch; 0 = not known).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub len: u64,
    pub modified: i64,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub path: PathBuf,
    pub is_dir: bool,
}

/// Who asked for a directory's lock.
pub enum Locking {
    /// Ours as long as this lives.
    Held(Box<dyn Any + Send + Sync>),
    /// Another's; its process, if it said.
    Taken(Option<u32>),
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads from `offset`; fewer bytes than asked at the end, 0 behind it.
    ///
    /// # Errors
    /// As `pread`.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`; may write less than asked.
    ///
    /// # Errors
    /// As `pwrite`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Forces the file's data and length to the disk.
    ///
    /// # Errors
    /// As `fdatasync`.
    fn sync(&self) -> io::Result<()>;

    /// # Errors
    /// As `ftruncate`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// # Errors
    /// As `fstat`.
    fn len(&self) -> io::Result<u64>;

    /// # Errors
    /// As `fstat`.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut have = 0;
        while have < bytes.len() {
            match self.read_at(&mut bytes[have..], offset + have as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl DiskFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A file system. [`RealDisk`] is the kernel's.
///
/// # Errors
/// Each method: as the system call that it names.
#[allow(clippy::missing_errors_doc)]
pub trait Disk: Send + Sync {
    /// Every write to a segment; may write less than asked.
    fn write_at(&self, file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    /// Every sync of a segment.
    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        file.sync()
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        options.read(true);
        match access {
            Access::Read => {}
            Access::Write => {
                options.write(true);
            }
            Access::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(options.open(path)?))
    }

    fn meta(&self, path: &Path) -> io::Result<Meta> {
        let meta = fs::metadata(path)?;
        let age = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let modified = age.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0);
        Ok(Meta { len: meta.len(), modified })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// A second name for a file.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    /// Two folders change places, so that nobody finds either name missing.
    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, rustix::fs::RenameFlags::EXCHANGE) {
            // A file system that cannot: a moment without the second name is what is left.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                let aside = b.with_extension("aside");
                fs::rename(b, &aside)?;
                fs::rename(a, b)?;
                fs::rename(&aside, a)
            }
            done => Ok(done?),
        }
    }

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    /// Makes a directory and those above it.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// What is in a directory, by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            all.push(Listed { is_dir: path.is_dir(), path });
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Makes names in `dir` (created, renamed, removed files) durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Free bytes for us on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let s = rustix::fs::statvfs(dir)?;
        Ok(s.f_bavail.saturating_mul(s.f_frsize))
    }

    /// Takes the lock of `path`, which is made if it is not there and tells our process.
    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Ok(Locking::Taken(pid));
        }
        file.set_len(0)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Locking::Held(Box::new(file)))
    }

    /// Chance, for the names of new tapes.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(bytes)
    }

    /// The whole of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Puts `bytes` in the place of the file at `path`, so that after a power loss either the old or the new content is there.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = path.with_extension("part");
        let file = self.open(&part, Access::Create)?;
        let mut done = 0;
        while done < bytes.len() {
            match file.write_at(&bytes[done..], done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        file.sync()?;
        self.rename(&part, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }
}

/// The kernel's calls, unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}
