//! The log as somebody sees it who does not write it, from this process or another: a look reads only what is new.
//!
//! The log grows at its end, and now and then it is replaced by a shorter one that says the same (`Disk::replace`). So a look asks
//! whether the last line that it knows stands where it stood, by its checksum; if not, the log is read anew. A line that is torn
//! is being written, or the next start cuts it off: it is read once it is whole.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wholetape_tape::{Access, Disk, DiskFile};

use super::{NAME, SUM, State, read_on};
use crate::StoreError;

/// See the module.
pub struct Tail {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: State,
    lines: usize,
    /// Where the last line known ends.
    end: u64,
    /// Where it begins, and its checksum.
    last: (u64, [u8; SUM]),
}

impl Tail {
    /// Of the log in `root`. Nothing is read yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> Self {
        let path = root.join(NAME);
        Self { disk, path, state: State::default(), lines: 0, end: 0, last: (0, [0; SUM]) }
    }

    /// What the log says now. Files of a newer build are named when they are opened.
    ///
    /// # Errors
    /// As [`super::Manifest::read`]; then the next look reads it anew.
    pub fn look(&mut self) -> Result<&State, StoreError> {
        if let Err(e) = self.follow() {
            self.forget();
            return Err(e);
        }
        Ok(&self.state)
    }

    fn forget(&mut self) {
        (self.state, self.lines, self.end) = (State::default(), 0, 0);
    }

    fn follow(&mut self) -> Result<(), StoreError> {
        // One handle: the log may be replaced while it is read.
        let file = self.disk.open(&self.path, Access::Read).map_err(StoreError::io(&self.path))?;
        if !self.continues(&*file)? {
            self.forget();
        }
        let len = file.len().map_err(StoreError::io(&self.path))?;
        let mut new = vec![0; usize::try_from(len.saturating_sub(self.end)).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut new, self.end).map_err(StoreError::io(&self.path))?;
        let whole = read_on(&self.path, &new, &mut self.state, &mut self.lines)?;
        if let Some(text) = new.get(..whole.saturating_sub(1)).filter(|text| !text.is_empty()) {
            let begin = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let sum = text[begin..].first_chunk().copied().unwrap_or_default();
            self.last = (self.end + begin as u64, sum);
            self.end += whole as u64;
        }
        Ok(())
    }

    /// Whether the last line known stands where it stood.
    fn continues(&self, file: &dyn DiskFile) -> Result<bool, StoreError> {
        let (mut sum, mut end) = ([0; SUM], [0]);
        let read = file
            .read_exact_at(&mut sum, self.last.0)
            .and_then(|()| file.read_exact_at(&mut end, self.end.saturating_sub(1)));
        match read {
            Ok(()) => Ok(self.lines > 0 && sum == self.last.1 && end == [b'\n']),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(StoreError::Io { path: self.path.clone(), source: e }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use wholetape_tape::RealDisk;

    use super::*;
    use crate::manifest::{Change, Manifest, Part};
    use crate::seqs::Seqs;

    /// The real disk without its waiting.
    struct Quick;

    impl Disk for Quick {
        fn sync(&self, _: &dyn DiskFile) -> std::io::Result<()> {
            Ok(())
        }

        fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn part(part: u64, topic: u8) -> Part {
        let (mut seqs, topic) = (Seqs::default(), format!("trade.{topic}.X"));
        seqs.add(part * 10, part * 10 + 9);
        let table = "trades".to_owned();
        let (ids, files) = (None, Vec::new());
        Part { part, topic, table, day: 1, from: 0, to: 1, rows: 10, seqs, ids, sealed: false, files }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u8),
        Swap(usize),
        Retire(usize),
        Rewrite,
        /// The process dies over a line: so much of it is there.
        Torn(usize),
        Look,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3_u8).prop_map(Step::Add),
            2 => (0..9_usize).prop_map(Step::Swap),
            1 => (0..9_usize).prop_map(Step::Retire),
            1 => Just(Step::Rewrite),
            1 => (1..60_usize).prop_map(Step::Torn),
            4 => Just(Step::Look),
        ]
    }

    /// What a look tells must be what the whole log tells, whichever looks there were before.
    fn same(tail: &mut Tail, root: &Path) {
        let whole = Manifest::read(&Quick, root).unwrap();
        assert_eq!(format!("{:?}", tail.look().unwrap()), format!("{whole:?}"));
    }

    fn run(steps: &[Step]) {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Quick);
        let mut manifest = Manifest::open(&disk, dir.path()).unwrap();
        let (mut tail, mut now_and_then) = (Tail::new(disk.clone(), dir.path()), Tail::new(disk.clone(), dir.path()));
        for step in steps {
            let nth = |m: &Manifest, n: usize| m.state.parts.values().nth(n % m.state.parts.len().max(1)).cloned();
            match *step {
                Step::Add(topic) => {
                    let add = vec![part(manifest.next_part(), topic)];
                    manifest.commit(Change { add, ..Change::default() }).unwrap();
                }
                Step::Swap(n) => {
                    let Some(old) = nth(&manifest, n) else { continue };
                    let add = vec![Part { part: manifest.next_part(), ..old.clone() }];
                    let change = Change { add, remove: vec![old.part], swap: true, ..Change::default() };
                    let n = manifest.commit(change).unwrap();
                    same(&mut tail, dir.path());
                    manifest.done(n).unwrap();
                }
                Step::Retire(n) => {
                    let Some(old) = nth(&manifest, n) else { continue };
                    let mut change = Change { remove: vec![old.part], ..Change::default() };
                    change.retired.insert(old.topic, old.seqs);
                    manifest.commit(change).unwrap();
                }
                Step::Rewrite => manifest.rewrite().unwrap(),
                Step::Torn(bytes) => {
                    let line = super::super::line(&super::super::Line::Done { n: 7 });
                    let line = &line.as_bytes()[..bytes.min(line.len() - 1)];
                    let log = dir.path().join(NAME);
                    std::fs::File::options().append(true).open(&log).unwrap().write_all(line).unwrap();
                    same(&mut tail, dir.path());
                    drop(manifest);
                    manifest = Manifest::open(&disk, dir.path()).unwrap();
                }
                Step::Look => same(&mut now_and_then, dir.path()),
            }
            same(&mut tail, dir.path());
        }
        same(&mut now_and_then, dir.path());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn following_equals_reading_whole(steps in prop::collection::vec(step(), 1..40)) {
            run(&steps);
        }
    }

    /// Reads are counted by bytes.
    struct Counting(Arc<std::sync::atomic::AtomicU64>);

    #[derive(Debug)]
    struct Counted(Arc<dyn DiskFile>, Arc<std::sync::atomic::AtomicU64>);

    impl DiskFile for Counted {
        fn read_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
            let n = self.0.read_at(bytes, offset)?;
            self.1.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
            Ok(n)
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
            self.0.write_at(bytes, offset)
        }

        fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.set_len(len)
        }

        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
    }

    impl Disk for Counting {
        fn open(&self, path: &Path, access: Access) -> std::io::Result<Arc<dyn DiskFile>> {
            Ok(Arc::new(Counted(RealDisk.open(path, access)?, self.0.clone())))
        }
    }

    #[test]
    fn a_look_reads_what_is_new_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Quick);
        let mut manifest = Manifest::open(&disk, dir.path()).unwrap();
        let mut add = |n: u8| {
            let add = vec![part(manifest.next_part(), n)];
            manifest.commit(Change { add, ..Change::default() }).unwrap();
        };
        (0..100).for_each(&mut add);
        let read = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let mut tail = Tail::new(Arc::new(Counting(read.clone())), dir.path());
        let bytes = |tail: &mut Tail| {
            tail.look().unwrap();
            read.swap(0, std::sync::atomic::Ordering::Relaxed)
        };
        let log = std::fs::metadata(dir.path().join(NAME)).unwrap().len();
        assert!(bytes(&mut tail) >= log);
        assert_eq!(bytes(&mut tail), SUM as u64 + 1);
        add(100);
        let line = std::fs::metadata(dir.path().join(NAME)).unwrap().len() - log;
        assert_eq!(bytes(&mut tail), SUM as u64 + 1 + line);
        assert_eq!(tail.look().unwrap().parts.len(), 101);
    }
}
