//! A file system in memory that knows what a crash keeps and what a power loss takes.
//!
//! Of each file it keeps the bytes that were written (the page cache) and those that an fsync made durable; of each directory
//! the names, and the names that a directory fsync made durable. [`MemDisk::crash`] is `kill -9`: everything written stays,
//! handles and locks go. [`MemDisk::power_loss`] keeps what is durable, plus, as the dice say, some of what was not: all of it,
//! none, a torn beginning, or single sectors here and there; of each folder's names a beginning of the changes (`folders.rs`). A
//! kernel promises less than most file systems do in practice, and so does this.
//!
//! A failed fsync drops the dirty pages, as Linux does: reads still show them, a later fsync succeeds, and the disk never gets
//! them unless they are written anew.
//!
//! Every change counts as one step; [`MemDisk::die_at`] lets the process die within any of them: half of a write, and from then
//! on nothing more, which is how a crash in the middle of a commit, a seal or a recovery is made.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wholetape_tape::{Access, Disk, DiskFile, Listed, Locking, Meta};

use crate::dice::Dice;
use crate::folders::Folders;

const SECTOR: usize = 512;

/// How often the disk misbehaves: "once in n", 0 = never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// A write that takes only a part of the bytes.
    pub short_write: u64,
    pub failed_sync: u64,
    /// A sync that says yes and does nothing. Never drawn: it breaks what every promise rests on, and shows that the checkers see.
    pub lies: u64,
}

/// See the module. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
struct State {
    files: BTreeMap<u64, Inode>,
    folders: Folders,
    next: u64,
    dice: Dice,
    now: i64,
    faults: DiskFaults,
    /// Bytes that all files together may hold.
    capacity: u64,
    used: u64,
    steps: u64,
    dies_at: Option<u64>,
    dead: bool,
    /// Handles and locks of earlier lives are void.
    life: u64,
    locked: BTreeSet<PathBuf>,
    counts: DiskCounts,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    pub writes: u64,
    pub syncs: u64,
    pub short_writes: u64,
    pub failed_syncs: u64,
    pub full: u64,
    /// Files of which a power loss took something.
    pub torn: u64,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last fsync: byte ranges, in any order.
    dirty: Vec<(usize, usize)>,
    modified: i64,
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl State {
    /// Counts one step. True when the process dies within it; `Err` when it is dead already.
    fn begin(&mut self) -> io::Result<bool> {
        if self.dead {
            return Err(dead());
        }
        self.steps += 1;
        self.dead = self.dies_at.is_some_and(|at| self.steps >= at);
        Ok(self.dead)
    }

    /// A step that is whole or not at all.
    fn step(&mut self) -> io::Result<()> {
        if self.begin()? { Err(dead()) } else { Ok(()) }
    }

    fn inode(&mut self, ino: u64) -> io::Result<&mut Inode> {
        self.files.get_mut(&ino).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn count_used(&mut self) {
        let linked = self.folders.files();
        self.used = linked.iter().filter_map(|ino| self.files.get(ino)).map(|f| f.data.len() as u64).sum();
    }

    fn write(&mut self, ino: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut n = bytes.len();
        let dying = self.begin()?;
        let (capacity, used, now) = (self.capacity, self.used, self.now);
        if dying {
            // The kill comes in the middle of it.
            n = self.dice.between(0, n as u64 + 1) as usize;
        } else if n > 1 && self.dice.one_in(self.faults.short_write) {
            n = self.dice.between(1, n as u64) as usize;
            self.counts.short_writes += 1;
        }
        let file = self.inode(ino)?;
        let grows = (offset + n).saturating_sub(file.data.len()) as u64;
        if grows > capacity.saturating_sub(used) {
            n = (n as u64 - (grows - capacity.saturating_sub(used)).min(n as u64)) as usize;
            if n == 0 {
                self.counts.full += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let file = self.inode(ino)?;
        let before = file.data.len();
        if before < offset + n {
            file.data.resize(offset + n, 0);
        }
        file.data[offset..offset + n].copy_from_slice(&bytes[..n]);
        let from = offset.min(before);
        match file.dirty.last_mut() {
            Some(last) if last.1 == from => last.1 = offset + n,
            _ => file.dirty.push((from, offset + n)),
        }
        file.modified = now;
        self.used += (file.data.len() - before) as u64;
        self.counts.writes += 1;
        if dying { Err(dead()) } else { Ok(n) }
    }

    fn sync(&mut self, ino: u64) -> io::Result<()> {
        self.step()?;
        if self.dice.one_in(self.faults.lies) {
            return Ok(());
        }
        let fails = self.dice.one_in(self.faults.failed_sync);
        self.counts.syncs += 1;
        self.counts.failed_syncs += u64::from(fails);
        let file = self.inode(ino)?;
        let dirty = std::mem::take(&mut file.dirty);
        if fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        let len = file.data.len();
        file.durable.resize(len, 0);
        for (from, to) in dirty {
            let (from, to) = (from.min(len), to.min(len));
            file.durable[from..to].copy_from_slice(&file.data[from..to]);
        }
        Ok(())
    }

    fn set_len(&mut self, ino: u64, len: u64) -> io::Result<()> {
        self.step()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let file = self.inode(ino)?;
        let before = file.data.len();
        file.data.resize(len, 0);
        file.dirty.push((before.min(len), before.max(len)));
        self.count_used();
        Ok(())
    }
}

impl Inode {
    /// What is left of it when the power goes. True when something was taken.
    fn lose_power(&mut self, dice: &mut Dice) -> bool {
        let (old, new) = (self.durable.len(), self.data.len());
        let dirty = std::mem::take(&mut self.dirty);
        let mut left = self.durable.clone();
        let all = old.max(new);
        let mode = dice.between(0, 4);
        // Up to here the changes came, where they came in order.
        let edge = dice.between(0, all as u64 + 1) as usize;
        let len = match mode {
            0 => old,
            1 => new,
            2 if new > old => edge.clamp(old, new),
            _ if dice.one_in(2) => old,
            _ => new,
        };
        left.resize(all, 0);
        for sector in 0..all.div_ceil(SECTOR) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(all));
            if !dirty.iter().any(|(a, b)| *a < to && *b > from) {
                continue;
            }
            let came = match mode {
                0 => false,
                1 => true,
                2 => from < edge,
                _ => dice.one_in(2),
            };
            if came {
                let have = to.min(new);
                if from < have {
                    left[from..have].copy_from_slice(&self.data[from..have]);
                }
            }
        }
        left.resize(len, 0);
        let torn = left != self.data;
        self.data.clone_from(&left);
        self.durable = left;
        torn
    }
}

impl MemDisk {
    /// An empty disk with the directory `dir`.
    pub fn new(dir: &Path, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            folders: Folders::new(dir),
            next: 1,
            dice: Dice::new(seed),
            now: 1,
            faults: DiskFaults::default(),
            capacity: u64::MAX,
            used: 0,
            steps: 0,
            dies_at: None,
            dead: false,
            life: 0,
            locked: BTreeSet::new(),
            counts: DiskCounts::default(),
        })))
    }

    /// Another disk with the same content, durable or not; what happens to one does not happen to the other.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// The wall clock, for the ages of files.
    pub fn set_now(&self, now: i64) {
        self.state().now = now;
    }

    /// Room for `more` bytes beyond those that are used; `None` = as much as anybody wants.
    pub fn set_room(&self, more: Option<u64>) {
        let mut s = self.state();
        s.count_used();
        s.capacity = more.map_or(u64::MAX, |more| s.used + more);
    }

    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// Changes so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The process dies within the change number `steps` (see [`MemDisk::steps`]).
    pub fn die_at(&self, steps: Option<u64>) {
        self.state().dies_at = steps;
    }

    /// It died; `crash` or `power_loss` comes next.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    pub fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    /// `kill -9`: the page cache stays.
    pub fn crash(&self) {
        let mut s = self.state();
        s.dead = false;
        s.dies_at = None;
        s.locked.clear();
        s.life += 1;
    }

    /// The machine stops; what comes up again is what the disk had, and some more.
    pub fn power_loss(&self, dice: &mut Dice) {
        self.crash();
        let mut s = self.state();
        let s = &mut *s;
        s.folders.lose_power(dice);
        let mut torn = 0;
        for file in s.files.values_mut() {
            torn += u64::from(file.lose_power(dice));
        }
        s.counts.torn += torn;
        let live = s.folders.files();
        s.files.retain(|ino, _| live.contains(ino));
        s.count_used();
    }

    /// Flips bits of a byte of a file, as a bad disk does.
    pub fn flip(&self, path: &Path, at: usize, mask: u8) {
        let mut s = self.state();
        if let Ok(ino) = s.folders.file(path)
            && let Ok(file) = s.inode(ino)
            && let Some(byte) = file.data.get_mut(at)
        {
            *byte ^= mask;
            if let Some(byte) = file.durable.get_mut(at) {
                *byte ^= mask;
            }
        }
    }
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    ino: u64,
    life: u64,
    writable: bool,
}

impl MemFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let s = self.disk.state();
        if s.dead || s.life != self.life { Err(dead()) } else { Ok(s) }
    }

    fn for_write(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.writable { self.state() } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut s = self.state()?;
        let data = &s.inode(self.ino)?.data;
        let from = usize::try_from(offset).map_err(io::Error::other)?.min(data.len());
        let n = bytes.len().min(data.len() - from);
        bytes[..n].copy_from_slice(&data[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.for_write()?.write(self.ino, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.ino)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.for_write()?.set_len(self.ino, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inode(self.ino)?.data.len() as u64)
    }
}

struct Lock {
    disk: MemDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut s = self.disk.state();
        if s.life == self.life {
            s.locked.remove(&self.path);
        }
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut s = self.state();
        if s.dead {
            return Err(dead());
        }
        let found = s.folders.file(path);
        let ino = match (access, found) {
            (Access::Create, Ok(ino)) => {
                s.set_len(ino, 0)?;
                ino
            }
            (Access::Create, Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                s.step()?;
                let (ino, now) = (s.next, s.now);
                s.folders.put_file(path, ino)?;
                s.next += 1;
                s.files.insert(ino, Inode { modified: now, ..Inode::default() });
                ino
            }
            (_, found) => found?,
        };
        let life = s.life;
        drop(s);
        Ok(Arc::new(MemFile { disk: self.clone(), ino, life, writable: access != Access::Read }))
    }

    fn meta(&self, path: &Path) -> io::Result<Meta> {
        let mut s = self.state();
        let ino = s.folders.file(path)?;
        let file = s.inode(ino)?;
        Ok(Meta { len: file.data.len() as u64, modified: file.modified })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut s = self.state();
        s.folders.file(from)?;
        let over = s.folders.file(to).ok();
        s.step()?;
        s.folders.rename(from, to)?;
        if over.is_some() {
            s.count_used();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut s = self.state();
        let ino = s.folders.file(path)?;
        s.step()?;
        s.folders.take(path)?;
        if s.folders.links(ino) == 0 {
            // Its room is free at once; the bytes stay for handles, and for a power loss that brings the name back.
            let len = s.inode(ino)?.data.len() as u64;
            s.used = s.used.saturating_sub(len);
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut s = self.state();
        let ino = s.folders.file(from)?;
        if s.folders.node(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        s.step()?;
        s.folders.put_file(to, ino)
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        let mut s = self.state();
        s.step()?;
        s.folders.exchange(a, b)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut s = self.state();
        s.folders.empty_dir(path)?;
        s.step()?;
        s.folders.take(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut s = self.state();
        let mut missing: Vec<&Path> = path.ancestors().take_while(|p| s.folders.dir(p).is_err()).collect();
        if missing.is_empty() {
            return if s.dead { Err(dead()) } else { Ok(()) };
        }
        missing.reverse();
        for dir in missing {
            s.step()?;
            s.folders.make_dir(dir)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let s = self.state();
        if s.dead {
            return Err(dead());
        }
        let all = s.folders.list(dir)?;
        Ok(all.into_iter().map(|(path, is_dir)| Listed { path, is_dir }).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut s = self.state();
        s.step()?;
        s.folders.sync(dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let s = self.state();
        if s.dead { Err(dead()) } else { Ok(s.capacity.saturating_sub(s.used)) }
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut s = self.state();
        if s.dead {
            return Err(dead());
        }
        if !s.locked.insert(path.to_owned()) {
            return Ok(Locking::Taken(None));
        }
        let life = s.life;
        drop(s);
        let held: Box<dyn Any + Send + Sync> = Box::new(Lock { disk: self.clone(), path: path.to_owned(), life });
        Ok(Locking::Held(held))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut s = self.state();
        for b in bytes {
            *b = s.dice.draw() as u8;
        }
        Ok(())
    }
}
