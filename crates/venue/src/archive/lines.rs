//! Lines of a file and their cells, with errors that say where.

use wholetape_model::Decimal;

use super::ArchiveError;

/// Where a file is being read.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    file: String,
    line: u64,
    blank: bool,
}

impl Lines {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), line: 0, blank: false }
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// Of the line at hand, from 1.
    pub const fn number(&self) -> u64 {
        self.line
    }

    /// The next line without its end, or `None` where it is blank, which only the end of a file is.
    pub fn next<'a>(&mut self, line: &'a [u8]) -> Result<Option<&'a [u8]>, ArchiveError> {
        self.line += 1;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.line == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.blank = true;
            return Ok(None);
        }
        if self.blank {
            return Err(ArchiveError::Blank { file: self.file.clone(), line: self.line });
        }
        Ok(Some(line))
    }

    pub fn columns(&self, got: usize, want: usize) -> ArchiveError {
        ArchiveError::Columns { file: self.file.clone(), line: self.line, got, want }
    }

    /// A word of the header that stands over column `at` and belongs elsewhere.
    pub fn header(&self, at: usize, got: String, want: &'static str) -> ArchiveError {
        ArchiveError::Header { file: self.file.clone(), line: self.line, column: at + 1, got, want }
    }

    /// `before`: value and line of the row before.
    pub fn order(&self, name: &'static str, got: u64, (before, before_line): (u64, u64)) -> ArchiveError {
        ArchiveError::Order { file: self.file.clone(), line: self.line, name, got, before, before_line }
    }

    pub const fn cell<'a>(&'a self, at: usize, name: &'static str, bytes: &'a [u8]) -> Cell<'a> {
        Cell { of: self, at, name, bytes }
    }
}

/// Puts a line's cells into their places. Returns how many it has, also where that is more than there are places.
pub(crate) fn split<'a>(line: &'a [u8], cells: &mut [&'a [u8]]) -> usize {
    let mut n = 0;
    for cell in line.split(|b| *b == b',') {
        if let Some(place) = cells.get_mut(n) {
            *place = cell;
        }
        n += 1;
    }
    n
}

/// One cell: what stands there, and where that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    of: &'a Lines,
    at: usize,
    name: &'static str,
    pub bytes: &'a [u8],
}

impl Cell<'_> {
    /// For messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).chars().take(64).collect()
    }

    pub fn wrong(&self, why: &'static str) -> ArchiveError {
        let (file, line, name) = (self.of.file.clone(), self.of.line, self.name);
        ArchiveError::Value { file, line, column: self.at + 1, name, got: self.text(), why }
    }

    /// A number that is not negative.
    pub fn number(&self) -> Result<Decimal, ArchiveError> {
        match Decimal::parse(self.bytes) {
            Ok(d) if d.raw < 0 => Err(self.wrong("it is negative")),
            Ok(d) => Ok(d),
            Err(source) => {
                let (file, line, name) = (self.of.file.clone(), self.of.line, self.name);
                Err(ArchiveError::Number { file, line, column: self.at + 1, name, got: self.text(), source })
            }
        }
    }

    pub fn whole(&self) -> Result<u64, ArchiveError> {
        let digits = !self.bytes.is_empty() && self.bytes.iter().all(u8::is_ascii_digit);
        let value = std::str::from_utf8(self.bytes).ok().filter(|_| digits).and_then(|t| t.parse().ok());
        value.ok_or_else(|| self.wrong("a whole number is expected"))
    }

    pub fn truth(&self) -> Result<bool, ArchiveError> {
        match self.bytes {
            b"true" | b"True" | b"TRUE" => Ok(true),
            b"false" | b"False" | b"FALSE" => Ok(false),
            _ => Err(self.wrong("true or false is expected")),
        }
    }
}
