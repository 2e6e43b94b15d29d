//! The catalog on disk: parts are written, put in their places, taken away; and what a crash left half done is finished.
//!
//! A commit of new files: staged, forced to the disk, put in their places (a link each, the folder forced), then one line of
//! the manifest. A commit that replaces files: staged, one line of the manifest, then each folder changes places with a copy of
//! itself (hard links) that has the new files instead of the old: whoever lists the folder sees the rows once, before and
//! after. A crash in between leaves files that the manifest does not list (removed at the next start) or a change of places that
//! the manifest knows of (done then).

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wholetape_tape::{Disk, Locking};

use crate::StoreError;
use crate::columns::Dialect;
use crate::compact;
use crate::file::Codec;
use crate::manifest::{Change, Manifest, Part, State};
use crate::part::{Staged, Target};
use crate::table::Table;

/// So long a folder that changed places keeps its files: whoever opened it before may be reading its names still.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// What the catalog is told.
#[derive(Debug, Clone)]
pub struct CatalogConfig {
    pub dialects: Vec<Dialect>,
    pub codec: Codec,
    /// Whether `order_book_depths` is made.
    pub depth: bool,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self { dialects: vec![Dialect::V2], codec: Codec::Zstd(1), depth: true }
    }
}

/// The catalog of a data directory, open for writing by this process alone.
pub struct Catalog {
    pub(crate) disk: Arc<dyn Disk>,
    data: PathBuf,
    pub config: CatalogConfig,
    pub manifest: Manifest,
    staged: u64,
    /// Folders whose names this process forced to the disk: one that is only there may be in the page cache alone.
    durable: BTreeSet<PathBuf>,
    /// Folders that went, and since when: somebody may still be listing them.
    left: Vec<(Instant, PathBuf)>,
    _lock: Box<dyn std::any::Any + Send + Sync>,
}

impl Catalog {
    /// Opens the catalog below `data`, or begins one; finishes what a crash left half done.
    ///
    /// # Errors
    /// Another process has it; a damaged manifest; a file system that fails.
    pub fn open(disk: Arc<dyn Disk>, data: &Path, config: CatalogConfig) -> Result<Self, StoreError> {
        let root = data.join(Dialect::V2.root());
        disk.create_dir(&root).map_err(StoreError::io(&root))?;
        let path = root.join(".lock");
        let lock = match disk.lock(&path).map_err(StoreError::io(&path))? {
            Locking::Held(lock) => lock,
            Locking::Taken(pid) => {
                return Err(StoreError::Taken(pid.map_or_else(|| "unknown".into(), |p| format!("process {p}"))));
            }
        };
        let manifest = Manifest::open(&disk, &root)?;
        let mut catalog = Self {
            disk,
            data: data.to_owned(),
            config,
            manifest,
            staged: 0,
            durable: BTreeSet::new(),
            left: Vec::new(),
            _lock: lock,
        };
        catalog.recover()?;
        Ok(catalog)
    }

    /// What the manifest says, for whoever only reads.
    ///
    /// # Errors
    /// No catalog there; a damaged manifest.
    pub fn look(disk: &dyn Disk, data: &Path) -> Result<State, StoreError> {
        Manifest::read(disk, &data.join(Dialect::V2.root()))
    }

    /// Opens it anew, as after a crash: what is on the disk decides.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn reopen(self) -> Result<Self, StoreError> {
        let (disk, data, config) = (self.disk.clone(), self.data.clone(), self.config.clone());
        drop(self);
        Self::open(disk, &data, config)
    }

    #[must_use]
    pub fn has(&self, dialect: Dialect) -> bool {
        self.config.dialects.contains(&dialect)
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    #[must_use]
    pub fn state(&self) -> &State {
        &self.manifest.state
    }

    #[must_use]
    pub fn staging(&self) -> PathBuf {
        staging(&self.data)
    }

    /// Where parts of this catalog are written.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        let (v1, codec) = (self.has(Dialect::V1), self.config.codec);
        Target { disk: &*self.disk, staging: self.staging(), codec, v2: true, v1, depth: self.config.depth }
    }

    /// A number for the staged files of one part.
    pub fn next_staged(&mut self) -> u64 {
        self.staged += 1;
        self.staged
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        if let Some((n, added, removed)) = self.manifest.state.pending.clone() {
            self.swap(n, &added, &removed)?;
            self.manifest.done(n)?;
        }
        let staging = self.staging();
        self.empty(&staging)?;
        // With it went what changed places just now.
        self.left.clear();
        self.disk.create_dir(&staging).map_err(StoreError::io(&staging))?;
        // What a commit that replaces files counts on lies in it: a power loss must not take the folder.
        let root = self.data.join(Dialect::V2.root());
        self.disk.sync_dir(&root).map_err(StoreError::io(&root))?;
        self.remove_orphans()?;
        // Files of one instrument with two precisions are of no use to anybody.
        for key in self.state().repin.clone() {
            match compact::repin(self, &key) {
                // A damaged file keeps nothing from being stored; it stays to be done.
                Ok(()) | Err(StoreError::Parquet { .. } | StoreError::Changed { .. } | StoreError::Column { .. }) => {}
                Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes a folder's files, and those of the folders in it.
    fn empty(&self, dir: &Path) -> Result<(), StoreError> {
        let listed = match self.disk.list(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(StoreError::io(dir))?,
        };
        for one in listed {
            if one.is_dir {
                self.empty(&one.path)?;
                self.disk.remove_dir(&one.path).map_err(StoreError::io(&one.path))?;
            } else {
                self.disk.remove(&one.path).map_err(StoreError::io(&one.path))?;
            }
        }
        Ok(())
    }

    /// Files in the catalog's folders that no part lists: written, and not committed before a crash.
    fn remove_orphans(&mut self) -> Result<(), StoreError> {
        let known: BTreeSet<PathBuf> =
            self.state().parts.values().flat_map(|p| &p.files).map(|f| self.data.join(&f.path)).collect();
        for (table, dialect) in Table::ALL.iter().flat_map(|t| Dialect::ALL.map(|d| (*t, d))) {
            let dir = self.data.join(dialect.root()).join(table.folder(dialect));
            let Ok(folders) = self.disk.list(&dir) else { continue };
            for folder in folders.into_iter().filter(|f| f.is_dir) {
                let (mut changed, mut empty) = (false, true);
                for file in self.disk.list(&folder.path).map_err(StoreError::io(&folder.path))? {
                    let is_ours = file.path.extension().is_some_and(|e| e == "parquet") && !file.is_dir;
                    if is_ours && !known.contains(&file.path) {
                        self.disk.remove(&file.path).map_err(StoreError::io(&file.path))?;
                        changed = true;
                    } else {
                        empty = false;
                    }
                }
                if empty {
                    self.durable.remove(&folder.path);
                    self.disk.remove_dir(&folder.path).map_err(StoreError::io(&folder.path))?;
                } else if changed {
                    self.disk.sync_dir(&folder.path).map_err(StoreError::io(&folder.path))?;
                }
            }
        }
        Ok(())
    }

    /// Makes new parts hold that replace nothing: their files come to lie beside what is there.
    ///
    /// # Errors
    /// A file system that fails; then nothing of it holds, and the catalog must be opened anew.
    pub fn add(&mut self, staged: Vec<Staged>, mut change: Change) -> Result<(), StoreError> {
        let mut dirs = BTreeSet::new();
        for (from, place) in staged.iter().flat_map(|s| &s.files) {
            let to = self.data.join(place);
            let dir = to.parent().unwrap_or(&self.data).to_owned();
            if dirs.insert(dir.clone()) {
                self.make_dir(&dir)?;
            }
            self.disk.rename(from, &to).map_err(StoreError::io(&to))?;
        }
        for dir in dirs {
            self.disk.sync_dir(&dir).map_err(StoreError::io(&dir))?;
        }
        change.add.extend(staged.into_iter().map(|s| s.part));
        self.manifest.commit(change)?;
        Ok(())
    }

    /// A folder, and those above it, that a power loss does not take.
    pub(crate) fn make_dir(&mut self, dir: &Path) -> Result<(), StoreError> {
        if self.durable.contains(dir) {
            return Ok(());
        }
        self.disk.create_dir(dir).map_err(StoreError::io(dir))?;
        for above in dir.ancestors().skip(1).take_while(|a| a.starts_with(&self.data)) {
            self.disk.sync_dir(above).map_err(StoreError::io(above))?;
        }
        self.durable.insert(dir.to_owned());
        Ok(())
    }

    /// Makes parts hold in the place of others, without a moment in which a folder shows rows twice or not at all.
    ///
    /// # Errors
    /// As [`Catalog::add`]; what the manifest was told is finished at the next start.
    pub fn replace(&mut self, staged: Vec<Staged>, remove: Vec<u64>, mut change: Change) -> Result<(), StoreError> {
        let staging = self.staging();
        // Known by the place they go to, so that a crash finds them again.
        for (from, place) in staged.iter().flat_map(|s| &s.files) {
            let to = staging.join(staged_name(place));
            self.disk.rename(from, &to).map_err(StoreError::io(&to))?;
        }
        self.disk.sync_dir(&staging).map_err(StoreError::io(&staging))?;
        let added: Vec<Part> = staged.into_iter().map(|s| s.part).collect();
        let removed: Vec<Part> = remove.iter().filter_map(|p| self.state().parts.get(p)).cloned().collect();
        change.add.extend(added.iter().cloned());
        change.remove = remove;
        change.swap = true;
        let n = self.manifest.commit(change)?;
        self.swap(n, &added, &removed)?;
        self.manifest.done(n)?;
        for one in self.disk.list(&staging).map_err(StoreError::io(&staging))? {
            if !one.is_dir {
                self.disk.remove(&one.path).map_err(StoreError::io(&one.path))?;
            }
        }
        self.sweep(GRACE)
    }

    /// Removes a folder that has lost all its files to retention.
    pub(crate) fn remove_if_empty(&mut self, folder: &str) -> Result<(), StoreError> {
        let dir = self.data.join(folder);
        if self.disk.list(&dir).is_ok_and(|all| all.is_empty()) {
            self.durable.remove(&dir);
            self.disk.remove_dir(&dir).map_err(StoreError::io(&dir))?;
        }
        Ok(())
    }

    /// Waits until folders that went have had their time, and removes them: a process that ends would leave them to the next.
    ///
    /// # Errors
    /// A file system that fails.
    pub fn close(mut self) -> Result<(), StoreError> {
        if let Some((since, _)) = self.left.last() {
            std::thread::sleep(GRACE.saturating_sub(since.elapsed()));
        }
        self.sweep(Duration::ZERO)
    }

    /// Removes folders that went longer than `grace` ago.
    ///
    /// # Errors
    /// A file system that fails.
    pub fn sweep(&mut self, grace: Duration) -> Result<(), StoreError> {
        while self.left.first().is_some_and(|(since, _)| since.elapsed() >= grace) {
            let (_, dir) = self.left.remove(0);
            self.empty(&dir)?;
            self.disk.remove_dir(&dir).map_err(StoreError::io(&dir))?;
        }
        Ok(())
    }

    /// Each folder that gains or loses files changes places with what it shall be. Doing it twice does no harm.
    fn swap(&mut self, n: u64, added: &[Part], removed: &[Part]) -> Result<(), StoreError> {
        #[derive(Default)]
        struct Changes {
            new: Vec<String>,
            old: BTreeSet<PathBuf>,
        }
        let mut dirs: BTreeMap<PathBuf, Changes> = BTreeMap::new();
        let dir_of = |path: &str| self.data.join(path).parent().map(Path::to_owned).unwrap_or_default();
        let kept: BTreeSet<&str> = added.iter().flat_map(|p| &p.files).map(|f| f.path.as_str()).collect();
        for file in removed.iter().flat_map(|p| &p.files).filter(|f| !kept.contains(f.path.as_str())) {
            dirs.entry(dir_of(&file.path)).or_default().old.insert(self.data.join(&file.path));
        }
        let staging = self.staging();
        for file in added.iter().flat_map(|p| &p.files) {
            // A file that a part only keeps was not staged.
            if self.disk.meta(&staging.join(staged_name(&file.path))).is_ok() {
                dirs.entry(dir_of(&file.path)).or_default().new.push(file.path.clone());
            }
        }
        for (i, (dir, changes)) in dirs.into_iter().enumerate() {
            self.make_dir(&dir)?;
            let next = staging.join(format!("swap-{n}-{i}"));
            if self.disk.list(&next).is_ok() {
                // A crash left it. If it has changed places already, what is in it now are the old files, and that must be sure
                // before they go: else the power could bring the folder back without them.
                for above in [Some(staging.as_path()), dir.parent()].into_iter().flatten() {
                    self.disk.sync_dir(above).map_err(StoreError::io(above))?;
                }
            }
            self.empty(&next)?;
            self.disk.create_dir(&next).map_err(StoreError::io(&next))?;
            let new: BTreeSet<PathBuf> = changes.new.iter().map(|p| self.data.join(p)).collect();
            for one in self.disk.list(&dir).map_err(StoreError::io(&dir))? {
                if one.is_dir || changes.old.contains(&one.path) || new.contains(&one.path) {
                    continue;
                }
                let Some(name) = one.path.file_name() else { continue };
                self.disk.link(&one.path, &next.join(name)).map_err(StoreError::io(&one.path))?;
            }
            for place in &changes.new {
                let from = staging.join(staged_name(place));
                let Some(name) = Path::new(place).file_name() else { continue };
                self.disk.link(&from, &next.join(name)).map_err(StoreError::io(&from))?;
            }
            self.disk.sync_dir(&next).map_err(StoreError::io(&next))?;
            self.disk.exchange(&next, &dir).map_err(StoreError::io(&dir))?;
            for above in [next.parent(), dir.parent()].into_iter().flatten() {
                self.disk.sync_dir(above).map_err(StoreError::io(above))?;
            }
            self.left.push((Instant::now(), next));
        }
        Ok(())
    }
}

fn staging(data: &Path) -> PathBuf {
    data.join(Dialect::V2.root()).join(".staging")
}

/// Where the file that belongs to `place` lies between the manifest's line and the change of places.
pub(crate) fn staged_at(data: &Path, place: &str) -> PathBuf {
    staging(data).join(staged_name(place))
}

/// How it is called there.
fn staged_name(place: &str) -> String {
    format!("to-{}.parquet", &blake3::hash(place.as_bytes()).to_hex()[..24])
}
