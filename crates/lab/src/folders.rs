//! The names of the disk in memory: folders within folders, and which of their changes a power loss keeps.
//!
//! A name leads to a file or a folder, both known by number, so a folder that changes places takes along what is in it. Changes
//! wait in one log until they are durable. A power loss keeps of each folder a beginning of its changes, as the dice say. A
//! file that is renamed into another folder is two changes, one in each: it may come up under both names or under neither, as
//! POSIX allows. Two folders that change places are one change of both parents: it is kept in both or in neither, and sure only
//! when both were synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::dice::Dice;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    File(u64),
    Dir(u64),
}

/// One change. Those of two folders name the second one in `Exchange`.
#[derive(Debug, Clone)]
enum Change {
    Put(String, Node),
    Take(String),
    Move(String, String),
    /// The name here and the name there change what they lead to.
    Exchange(String, u64, String),
}

#[derive(Debug, Clone)]
struct Pending {
    dir: u64,
    change: Change,
    /// Folders that must be synced until it is sure.
    awaits: BTreeSet<u64>,
}

impl Pending {
    fn dirs(&self) -> impl Iterator<Item = u64> {
        let other = match &self.change {
            Change::Exchange(_, other, _) if *other != self.dir => Some(*other),
            _ => None,
        };
        std::iter::once(self.dir).chain(other)
    }
}

type Names = BTreeMap<String, Node>;

#[derive(Debug, Clone, Default)]
struct Folder {
    names: Names,
    durable: Names,
}

#[derive(Debug, Clone)]
pub(crate) struct Folders {
    root: PathBuf,
    all: BTreeMap<u64, Folder>,
    next: u64,
    log: Vec<Pending>,
}

const ROOT: u64 = 0;

pub(crate) fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), name.to_owned()))
}

/// `pick` is the side of the names that changes: what is seen, or what is durable.
fn apply(all: &mut BTreeMap<u64, Folder>, dir: u64, change: &Change, pick: fn(&mut Folder) -> &mut Names) {
    let names = |all: &mut BTreeMap<u64, Folder>, dir: u64, name: &str, node: Option<Node>| {
        let folder = all.get_mut(&dir)?;
        match node {
            Some(node) => pick(folder).insert(name.to_owned(), node),
            None => pick(folder).remove(name),
        }
    };
    match change {
        Change::Put(name, node) => {
            names(all, dir, name, Some(*node));
        }
        Change::Take(name) => {
            names(all, dir, name, None);
        }
        Change::Move(from, to) => {
            if let Some(node) = names(all, dir, from, None) {
                names(all, dir, to, Some(node));
            }
        }
        Change::Exchange(name, other, its) => {
            let (a, b) = (names(all, dir, name, None), names(all, *other, its, None));
            if let Some(b) = b {
                names(all, dir, name, Some(b));
            }
            if let Some(a) = a {
                names(all, *other, its, Some(a));
            }
        }
    }
}

impl Folders {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), all: BTreeMap::from([(ROOT, Folder::default())]), next: 1, log: Vec::new() }
    }

    /// The number of a folder.
    pub fn dir(&self, path: &Path) -> io::Result<u64> {
        let below = path.strip_prefix(&self.root).map_err(|_| io::ErrorKind::NotFound)?;
        let mut at = ROOT;
        for part in below {
            let name = part.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            at = match self.all.get(&at).and_then(|f| f.names.get(name)) {
                Some(Node::Dir(no)) => *no,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(at)
    }

    /// What a name leads to.
    pub fn node(&self, path: &Path) -> io::Result<Node> {
        let (dir, name) = split(path)?;
        let names = &self.all.get(&self.dir(&dir)?).ok_or(io::ErrorKind::NotFound)?.names;
        names.get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of a file.
    pub fn file(&self, path: &Path) -> io::Result<u64> {
        match self.node(path)? {
            Node::File(ino) => Ok(ino),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn change(&mut self, dir: u64, change: Change) {
        apply(&mut self.all, dir, &change, |f| &mut f.names);
        let mut pending = Pending { dir, change, awaits: BTreeSet::new() };
        pending.awaits = pending.dirs().collect();
        self.log.push(pending);
    }

    pub fn put_file(&mut self, path: &Path, ino: u64) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(&dir)?;
        self.change(dir, Change::Put(name, Node::File(ino)));
        Ok(())
    }

    /// Makes one folder; the one above it is there.
    pub fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(&dir)?;
        let no = self.next;
        self.next += 1;
        self.all.insert(no, Folder::default());
        self.change(dir, Change::Put(name, Node::Dir(no)));
        Ok(())
    }

    pub fn take(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(&dir)?;
        self.change(dir, Change::Take(name));
        Ok(())
    }

    /// A folder without names in it.
    pub fn empty_dir(&self, path: &Path) -> io::Result<()> {
        match self.node(path)? {
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
            Node::Dir(no) if self.all.get(&no).is_some_and(|f| f.names.is_empty()) => Ok(()),
            Node::Dir(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = Node::File(self.file(from)?);
        let ((dir, name), (into, new)) = (split(from)?, split(to)?);
        let (dir, into) = (self.dir(&dir)?, self.dir(&into)?);
        if matches!(self.node(to), Ok(Node::Dir(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if dir == into {
            self.change(dir, Change::Move(name, new));
        } else {
            self.change(into, Change::Put(new, node));
            self.change(dir, Change::Take(name));
        }
        Ok(())
    }

    pub fn exchange(&mut self, a: &Path, b: &Path) -> io::Result<()> {
        if a.starts_with(b) || b.starts_with(a) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.node(a)?;
        self.node(b)?;
        let ((dir, name), (other, its)) = (split(a)?, split(b)?);
        let (dir, other) = (self.dir(&dir)?, self.dir(&other)?);
        self.change(dir, Change::Exchange(name, other, its));
        Ok(())
    }

    pub fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let folder = self.all.get(&self.dir(path)?).ok_or(io::ErrorKind::NotFound)?;
        Ok(folder.names.iter().map(|(n, node)| (path.join(n), matches!(node, Node::Dir(_)))).collect())
    }

    /// Makes the names in a folder durable.
    pub fn sync(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        for pending in &mut self.log {
            pending.awaits.remove(&dir);
        }
        // What is sure takes along what came before it in the same folders.
        let (mut sure, mut dirs) = (vec![false; self.log.len()], BTreeSet::new());
        for (i, pending) in self.log.iter().enumerate().rev() {
            if pending.awaits.is_empty() || pending.dirs().any(|d| dirs.contains(&d)) {
                sure[i] = true;
                dirs.extend(pending.dirs());
            }
        }
        for (pending, sure) in std::mem::take(&mut self.log).into_iter().zip(sure) {
            if sure {
                apply(&mut self.all, pending.dir, &pending.change, |f| &mut f.durable);
            } else {
                self.log.push(pending);
            }
        }
        Ok(())
    }

    /// The power goes: names are what was durable, and a beginning of what was not.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        let mut left: BTreeMap<u64, u64> = BTreeMap::new();
        for dir in self.in_order() {
            let n = self.log.iter().filter(|p| p.dirs().any(|d| d == dir)).count() as u64;
            left.insert(dir, dice.between(0, n + 1));
        }
        for pending in std::mem::take(&mut self.log) {
            if pending.dirs().all(|d| left.get(&d).is_some_and(|n| *n > 0)) {
                apply(&mut self.all, pending.dir, &pending.change, |f| &mut f.durable);
                for dir in pending.dirs() {
                    left.entry(dir).and_modify(|n| *n -= 1);
                }
            } else {
                // Nothing of these folders comes after a change that is lost.
                left.extend(pending.dirs().map(|d| (d, 0)));
            }
        }
        for folder in self.all.values_mut() {
            folder.names.clone_from(&folder.durable);
        }
        let known: BTreeSet<u64> = self.in_order_from(ROOT).into_iter().collect();
        self.all.retain(|no, _| known.contains(no));
    }

    /// Folders by path, then those that no name leads to.
    fn in_order(&self) -> Vec<u64> {
        let mut order = self.in_order_from(ROOT);
        let seen: BTreeSet<u64> = order.iter().copied().collect();
        order.extend(self.all.keys().filter(|no| !seen.contains(no)));
        order
    }

    fn in_order_from(&self, dir: u64) -> Vec<u64> {
        let mut order = vec![dir];
        for node in self.all.get(&dir).into_iter().flat_map(|f| f.names.values()) {
            if let Node::Dir(no) = node {
                order.extend(self.in_order_from(*no));
            }
        }
        order
    }

    /// The files that names lead to.
    pub fn files(&self) -> BTreeSet<u64> {
        let mut files = BTreeSet::new();
        for dir in self.in_order_from(ROOT) {
            for node in self.all.get(&dir).into_iter().flat_map(|f| f.names.values()) {
                if let Node::File(ino) = node {
                    files.insert(*ino);
                }
            }
        }
        files
    }

    /// How many names a file has.
    pub fn links(&self, ino: u64) -> usize {
        self.all.values().flat_map(|f| f.names.values()).filter(|n| **n == Node::File(ino)).count()
    }
}
