//! One segment file: opened and indexed when somebody asks, forgotten again when others were asked more lately.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wholetape_model::{Body, Gap, Record};

use crate::disk::{Access, Disk, DiskFile};
use crate::format::{self, Entry, Header, TRAILER, TableRow, Trailer};
use crate::index::TopicIndex;
use crate::lock;
use crate::scan::{self, Scan};

/// Who is in a segment and where; offsets are read per topic when needed.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Every topic of the lane at the end of the segment.
    pub table: Vec<TableRow>,
    /// The topics with records in it, by number.
    pub entries: Vec<Entry>,
    /// Beside `entries`, where the segment had no whole index and was scanned.
    scanned: Option<Vec<TopicIndex>>,
}

impl Directory {
    /// The topic's last seq at the end of the segment; 0 when the lane did not know it.
    pub fn last_seq(&self, no: u32) -> u64 {
        self.table.iter().find(|r| r.no == no).map_or(0, |r| r.last_seq)
    }

    pub fn entry(&self, no: u32) -> Option<&Entry> {
        self.entries.binary_search_by_key(&no, |e| e.no).ok().map(|i| &self.entries[i])
    }

    pub const fn new(table: Vec<TableRow>, entries: Vec<Entry>) -> Self {
        Self { table, entries, scanned: None }
    }

    /// Offsets in memory, for a segment whose index is not in the file.
    pub fn scanned(table: Vec<TableRow>, parts: Vec<(Entry, TopicIndex)>) -> Self {
        let (entries, scanned) = parts.into_iter().unzip();
        Self { table, entries, scanned: Some(scanned) }
    }

    pub fn of_scan(scan: Scan) -> Self {
        let (entries, scanned) = scan.topics.into_iter().unzip();
        Self { table: scan.table, entries, scanned: Some(scanned) }
    }
}

/// Where a segment's file is opened again.
#[derive(Clone)]
struct On(Arc<dyn Disk>);

impl std::fmt::Debug for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("disk")
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub path: PathBuf,
    disk: On,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    directory: Mutex<Option<Arc<Directory>>>,
    /// Length of the file as far as it is ours.
    pub bytes: AtomicU64,
    /// When it was sealed (ns); 0 while it is written.
    pub sealed: AtomicI64,
    /// Somebody saw damage in it.
    pub damaged: AtomicBool,
}

pub(crate) fn path_of(lane: &Path, number: u64) -> PathBuf {
    lane.join(format!("{number:020}.seg"))
}

impl Segment {
    pub fn new(
        disk: &Arc<dyn Disk>,
        number: u64,
        path: PathBuf,
        file: Option<Arc<dyn DiskFile>>,
        bytes: u64,
        sealed: i64,
    ) -> Self {
        Self {
            number,
            path,
            disk: On(disk.clone()),
            file: Mutex::new(file),
            directory: Mutex::new(None),
            bytes: AtomicU64::new(bytes),
            sealed: AtomicI64::new(sealed),
            damaged: AtomicBool::new(false),
        }
    }

    /// A segment found in a directory; its age is the file's.
    pub fn found(disk: &Arc<dyn Disk>, number: u64, path: PathBuf) -> io::Result<Self> {
        let meta = disk.meta(&path)?;
        Ok(Self::new(disk, number, path, None, meta.len, meta.modified.max(1)))
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire) != 0
    }

    pub fn len(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let mut slot = lock(&self.file);
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let file = self.disk.0.open(&self.path, Access::Read)?;
        *slot = Some(file.clone());
        Ok(file)
    }

    pub fn set_file(&self, file: Arc<dyn DiskFile>) {
        *lock(&self.file) = Some(file);
    }

    /// The handle that the writer opened.
    pub fn file_for_write(&self) -> io::Result<Arc<dyn DiskFile>> {
        lock(&self.file).clone().ok_or_else(|| io::Error::other("segment is not open for writing"))
    }

    /// Forgets what can be read again.
    pub fn cool(&self) {
        if self.is_sealed() {
            *lock(&self.file) = None;
            *lock(&self.directory) = None;
        }
    }

    pub fn header(&self) -> io::Result<Option<Header>> {
        let file = self.file()?;
        let mut first = [0_u8; 16];
        if file.read_exact_at(&mut first, 0).is_err() {
            return Ok(None);
        }
        let Some(len) = Header::len(&first) else { return Ok(None) };
        if len as u64 > self.len() {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Header::decode(&bytes))
    }

    pub fn trailer(&self) -> io::Result<Option<Trailer>> {
        let file = self.file()?;
        let len = file.len()?;
        let Some(at) = len.checked_sub(TRAILER as u64) else { return Ok(None) };
        let mut bytes = [0_u8; TRAILER];
        file.read_exact_at(&mut bytes, at)?;
        Ok(Trailer::decode(&bytes)
            .filter(|t| t.index_at.checked_add(t.index_len) == Some(at) && t.first_len <= t.index_len))
    }

    /// The directory from the index, if the index is whole.
    pub fn indexed(&self) -> io::Result<Option<Directory>> {
        let Some(trailer) = self.trailer()? else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(trailer.first_len).map_err(io::Error::other)?];
        self.file()?.read_exact_at(&mut bytes, trailer.index_at)?;
        Ok(format::decode_index(&bytes).map(|(table, entries)| Directory { table, entries, scanned: None }))
    }

    /// The directory, from the index or by a scan. `before` is asked for the lane's topics when the header is gone too.
    pub fn directory(&self, before: impl FnOnce() -> Vec<TableRow>) -> io::Result<Arc<Directory>> {
        if let Some(directory) = &*lock(&self.directory) {
            return Ok(directory.clone());
        }
        let directory = match self.indexed()? {
            Some(directory) => directory,
            None => {
                self.damaged.store(true, Ordering::Relaxed);
                Directory::of_scan(self.scan(before)?)
            }
        };
        let directory = Arc::new(directory);
        *lock(&self.directory) = Some(directory.clone());
        Ok(directory)
    }

    pub fn set_directory(&self, directory: Directory) {
        *lock(&self.directory) = Some(Arc::new(directory));
    }

    /// Reads every record.
    pub fn scan(&self, before: impl FnOnce() -> Vec<TableRow>) -> io::Result<Scan> {
        let file = self.file()?;
        let header = self.header()?;
        let mut end = file.len()?;
        if let Some(trailer) = self.trailer()? {
            end = trailer.index_at;
        }
        let mut bytes = vec![0; usize::try_from(end).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let (from, table) = match &header {
            Some(h) => (h.encode().len(), h.table.clone()),
            None => (0, before()),
        };
        scan::scan(&bytes, from, table)
    }

    /// Calls `f` with each gap mark in it and its topic's number. Reads the whole file.
    pub fn each_gap(&self, directory: &Directory, mut f: impl FnMut(u32, &Gap<&str>)) -> io::Result<()> {
        let file = self.file()?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        for entry in &directory.entries {
            let Some(index) = self.topic_index(directory, entry.no)? else { continue };
            let at = (0..index.len()).filter_map(|i| usize::try_from(index.offset(i)?).ok());
            let records = at.filter_map(|at| Record::parse(bytes.get(at..)?, true).ok());
            for record in records.filter(Record::is_mark) {
                if let Ok(Body::Gap(gap)) = record.view() {
                    f(entry.no, &gap);
                }
            }
        }
        Ok(())
    }

    /// The offsets of one topic.
    pub fn topic_index(&self, directory: &Directory, no: u32) -> io::Result<Option<Arc<TopicIndex>>> {
        let Ok(i) = directory.entries.binary_search_by_key(&no, |e| e.no) else { return Ok(None) };
        let entry = &directory.entries[i];
        if let Some(scanned) = &directory.scanned {
            return Ok(Some(Arc::new(scanned[i].clone())));
        }
        let mut bytes = vec![0; entry.index_len()];
        self.file()?.read_exact_at(&mut bytes, entry.at)?;
        if crc32fast::hash(&bytes) == entry.crc
            && let Some(index) = TopicIndex::decode(entry.start, entry.count as usize, entry.breaks as usize, &bytes)
        {
            return Ok(Some(Arc::new(index)));
        }
        // The offsets are damaged, the records need not be: look at each.
        self.damaged.store(true, Ordering::Relaxed);
        let scan = self.scan(Vec::new)?;
        Ok(scan.topics.into_iter().find(|(e, _)| e.no == no).map(|(_, ix)| Arc::new(ix)))
    }
}
