//! A part's rows, read back group by group in the corrected order.

use std::io::ErrorKind;
use std::path::Path;

use arrow_array::RecordBatch;
use wholetape_tape::Disk;

use crate::StoreError;
use crate::catalog;
use crate::decode;
use crate::encode::check_format;
use crate::file::Reader;
use crate::manifest::{FileRef, Part, Role};
use crate::rows::Rows;
use crate::table::Table;

/// One part, open.
pub struct PartReader {
    table: Table,
    main: Reader,
    companion: Option<Reader>,
    next: usize,
}

impl PartReader {
    /// # Errors
    /// A file that is not there; a table that this build does not know; a main file and a companion that are not of one part.
    pub fn open(disk: &dyn Disk, data: &Path, part: &Part) -> Result<Self, StoreError> {
        Self::open_by(data, part, &|file| Reader::open(disk, &data.join(&file.path)))
    }

    /// As [`PartReader::open`], beside a writer: between the manifest's line and the change of places the part's files lie where they
    /// were staged, and in their places may be older ones of the same names.
    ///
    /// # Errors
    /// As [`PartReader::open`]. Where [`may_have_been_replaced`] says so: look at the manifest again.
    pub fn find(disk: &dyn Disk, data: &Path, part: &Part) -> Result<Self, StoreError> {
        Self::open_by(data, part, &|file| {
            let is_it = |r: &Reader| r.bytes() == file.bytes && r.rows() == file.rows;
            let place = data.join(&file.path);
            for path in [&place, &catalog::staged_at(data, &file.path), &place] {
                match Reader::open(disk, path) {
                    Ok(reader) if is_it(&reader) => return Ok(reader),
                    Err(e) if !may_have_been_replaced(&e) => return Err(e),
                    _ => {}
                }
            }
            Err(StoreError::Changed { path: place, why: "of another length, or not there".into() })
        })
    }

    fn open_by(
        data: &Path,
        part: &Part,
        open: &dyn Fn(&FileRef) -> Result<Reader, StoreError>,
    ) -> Result<Self, StoreError> {
        let file = |role: Role| part.files.iter().find(|f| f.role == role);
        let unknown = || StoreError::Column { table: "?", column: part.table.clone(), what: "no table of this build" };
        let table = Table::parse(&part.table).ok_or_else(unknown)?;
        let main = file(Role::Main).ok_or_else(unknown)?;
        let path = data.join(&main.path);
        let changed = |why: &str| StoreError::Changed { path: path.clone(), why: why.to_owned() };
        let reader = open(main)?;
        check_format(&path, reader.schema(), table)?;
        let companion = match (file(Role::Companion), table.companion()) {
            (Some(file), Some(of)) => {
                let reader = open(file)?;
                check_format(&data.join(&file.path), reader.schema(), of)?;
                Some(reader)
            }
            (None, Some(_)) => return Err(changed("its companion is not listed")),
            (_, None) => None,
        };
        // The last group of a main file may be without rows, and then it is not there.
        let pairs = |c: &Reader| c.groups() == reader.groups() || c.groups() == reader.groups() + 1;
        if companion.as_ref().is_some_and(|c| !pairs(c)) {
            return Err(changed("its companion has other row groups"));
        }
        Ok(Self { table, main: reader, companion, next: 0 })
    }

    #[must_use]
    pub const fn table(&self) -> Table {
        self.table
    }

    /// Passes over the groups that end before `ts`, by their statistics; groups without any are read.
    pub fn skip_to(&mut self, ts: wholetape_model::Ts) {
        while self.next < self.main.groups() && self.main.ends(self.next, "ts_init").is_some_and(|t| t.1 < ts.0) {
            self.next += 1;
        }
    }

    /// Puts the next group into `rows`, which it clears first. False at the end.
    ///
    /// # Errors
    /// Damaged data.
    pub fn next(&mut self, rows: &mut Rows) -> Result<bool, StoreError> {
        rows.clear();
        if self.next == self.groups() {
            return Ok(false);
        }
        self.group(self.next, rows)?;
        self.next += 1;
        Ok(true)
    }

    /// How many groups it has.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.by_record().groups()
    }

    /// Puts a group into `rows`, which it clears first.
    ///
    /// # Errors
    /// Damaged data.
    pub fn group(&self, group: usize, rows: &mut Rows) -> Result<(), StoreError> {
        rows.clear();
        let main = match group < self.main.groups() {
            true => self.main.group(group)?,
            false => RecordBatch::new_empty(self.main.schema().clone()),
        };
        let companion = self.companion.as_ref().map(|c| c.group(group)).transpose()?;
        decode::rows(self.table, &main, companion.as_ref(), rows)
    }

    /// The file that has one row for each record.
    fn by_record(&self) -> &Reader {
        self.companion.as_ref().unwrap_or(&self.main)
    }

    /// Columns of a group's records, by name: of the companion, where the table has one.
    ///
    /// # Errors
    /// Damaged data.
    pub fn columns(&self, group: usize, names: &[&str]) -> Result<RecordBatch, StoreError> {
        self.by_record().columns(group, names)
    }

    /// The venue's time of a group's first and last rows by it, as the main file's statistics have it.
    #[must_use]
    pub fn events(&self, group: usize) -> Option<(i64, i64)> {
        self.main.ends(group, "ts_event")
    }

    /// The lowest and the highest value of such a column in a group, as its statistics have them.
    #[must_use]
    pub fn ends(&self, group: usize, column: &str) -> Option<(i64, i64)> {
        self.by_record().ends(group, column)
    }
}

/// Whether a file is not what the manifest said because the catalog went on meanwhile.
#[must_use]
pub fn may_have_been_replaced(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        StoreError::Changed { .. } => true,
        _ => false,
    }
}

/// Rows of several parts that follow each other.
pub struct Chain<'a> {
    disk: &'a dyn Disk,
    data: &'a Path,
    parts: std::vec::IntoIter<&'a Part>,
    open: Option<PartReader>,
}

impl<'a> Chain<'a> {
    /// `parts` in their order.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, data: &'a Path, parts: Vec<&'a Part>) -> Self {
        Self { disk, data, parts: parts.into_iter(), open: None }
    }

    /// As [`PartReader::next`], over all parts.
    ///
    /// # Errors
    /// As [`PartReader::open`] and [`PartReader::next`].
    pub fn next(&mut self, rows: &mut Rows) -> Result<bool, StoreError> {
        loop {
            if let Some(open) = &mut self.open
                && open.next(rows)?
            {
                return Ok(true);
            }
            match self.parts.next() {
                Some(part) => self.open = Some(PartReader::open(self.disk, self.data, part)?),
                None => {
                    rows.clear();
                    return Ok(false);
                }
            }
        }
    }
}
