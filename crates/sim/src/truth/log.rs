//! The append-only truth log of one venue: written before anything of a batch is served.
//!
//! A batch goes out in one `write` and ends with a `batch` line. No fsync: a killed process loses nothing that reached the
//! page cache, and what did not was served to nobody. On opening, a torn tail is cut back to the last whole batch.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::load::read_venue;
use super::types::VenueTruth;
use super::{piece_name, piece_of};
use crate::error::SimError;
use crate::event::Event;
use crate::world::{BookText, push_levels};

/// Where the truth of a venue is appended.
#[derive(Debug)]
pub struct TruthLog {
    path: PathBuf,
    file: File,
    batch: String,
    venue: String,
    /// Which piece this is, its size, and the size at which the next one begins (0: never).
    piece: u32,
    bytes: u64,
    rotate_bytes: u64,
}

impl TruthLog {
    /// Opens or makes the log of `venue` and gives back what it already holds.
    ///
    /// # Errors
    /// [`SimError::Truth`] and [`SimError::Record`] as from loading.
    pub fn open(dir: &Path, venue: &str, rotate_bytes: u64) -> Result<(Self, Option<VenueTruth>), SimError> {
        let path = dir.join(piece_name(venue, 0));
        let wrong = |source| SimError::Truth { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(wrong)?;
        for entry in std::fs::read_dir(dir).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            let later = piece_of(&name.to_string_lossy()).is_some_and(|(of, piece)| of == venue && piece > 0);
            if later || rotate_bytes > 0 && path.exists() {
                return Err(SimError::config("rotate_bytes", "the folder holds a truth already: choose a new one"));
            }
        }
        let before = if path.exists() {
            let (truth, whole) = read_venue(&path)?;
            OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(whole)).map_err(wrong)?;
            (truth.runs > 0).then_some(truth)
        } else {
            None
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(wrong)?;
        let bytes = file.metadata().map_err(wrong)?.len();
        let venue = venue.to_owned();
        Ok((Self { path, file, batch: String::new(), venue, piece: 0, bytes, rotate_bytes }, before))
    }

    pub fn header(&mut self, venue: &str, mode: &str, seed: u64, run: u32, wall_ns: u64) {
        let _ = writeln!(
            self.batch,
            r#"{{"k":"header","format":"wholetape-sim-truth","version":1,"venue":"{venue}","mode":"{mode}","seed":{seed},"run":{run},"w":{wall_ns}}}"#
        );
    }

    pub fn instrument(&mut self, symbol: &str) {
        let _ = writeln!(self.batch, r#"{{"k":"instrument","s":"{symbol}"}}"#);
    }

    pub fn book(&mut self, symbol: &str, wall_ns: u64, book: &BookText) {
        let _ = write!(self.batch, r#"{{"k":"book","s":"{symbol}","w":{wall_ns},"u":{},"b":"#, book.last_update_id);
        push_levels(&mut self.batch, &book.bids);
        self.batch.push_str(",\"a\":");
        push_levels(&mut self.batch, &book.asks);
        self.batch.push_str("}\n");
    }

    pub fn event(&mut self, wall_ns: u64, event: &Event) {
        let _ = write!(self.batch, r#"{{"k":"{}","s":"{}","#, event.kind.name(), event.symbol);
        if !event.variant.is_empty() {
            let _ = write!(self.batch, r#""c":"{}","#, event.variant);
        }
        let payload = event.logged.as_deref().unwrap_or(&event.payload);
        let _ = write!(self.batch, "\"w\":{wall_ns},\"d\":");
        // A recorded payload may be pretty-printed; a record is one line.
        if payload.contains('\n') {
            self.batch.extend(payload.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
        } else {
            self.batch.push_str(payload);
        }
        self.batch.push_str("}\n");
    }

    /// Ends the batch and hands it to the operating system. Only then may anything of it be served.
    ///
    /// # Errors
    /// [`SimError::Truth`]; nothing of the batch may be served then.
    pub fn commit(&mut self, position: u64, run_ms: u64) -> Result<(), SimError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let _ = writeln!(self.batch, r#"{{"k":"batch","n":{position},"r":{run_ms}}}"#);
        let written: io::Result<()> = self.file.write_all(self.batch.as_bytes());
        self.bytes += self.batch.len() as u64;
        self.batch.clear();
        written.map_err(|source| SimError::Truth { path: self.path.clone(), source })?;
        if self.rotate_bytes > 0 && self.bytes >= self.rotate_bytes {
            self.piece += 1;
            self.path.set_file_name(piece_name(&self.venue, self.piece));
            let open = OpenOptions::new().create(true).append(true).open(&self.path);
            self.file = open.map_err(|source| SimError::Truth { path: self.path.clone(), source })?;
            self.bytes = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_batch_is_cut_away_and_whole_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let book = |id| BookText { last_update_id: id, bids: vec![("1".into(), "2".into())], asks: vec![] };
        {
            let (mut log, before) = TruthLog::open(dir.path(), "v", 0).unwrap();
            assert!(before.is_none());
            log.header("binance-spot", "generate", 1, 1, 5);
            log.book("AB", 5, &book(7));
            log.commit(3, 10).unwrap();
        }
        let path = dir.path().join("truth-v.jsonl");
        let whole = std::fs::metadata(&path).unwrap().len();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"k\":\"book\",\"s\":\"AB\",\"w\":1,\"u\":9,\"b\":[],\"a\":[]}\n{\"k\":\"bat").unwrap();
        drop(file);
        let (log, before) = TruthLog::open(dir.path(), "v", 0).unwrap();
        let before = before.unwrap();
        assert_eq!((before.runs, before.position, before.run_ms), (1, 3, 10));
        assert_eq!(before.instruments["AB"].final_book, Some(book(7)));
        assert_eq!(std::fs::metadata(&log.path).unwrap().len(), whole);
    }

    #[test]
    fn a_truth_in_pieces_is_read_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = TruthLog::open(dir.path(), "v", 200).unwrap();
        log.header("binance-spot", "generate", 1, 1, 5);
        log.instrument("AB");
        for id in 1..=20 {
            let book = BookText { last_update_id: id, bids: vec![("1".into(), id.to_string())], asks: vec![] };
            log.book("AB", id, &book);
            log.commit(id, id).unwrap();
        }
        let truth = super::super::load(dir.path()).unwrap();
        assert!(std::fs::read_dir(dir.path()).unwrap().count() > 4);
        assert_eq!((truth.venues.len(), truth.venues["v"].instruments["AB"].books.len()), (1, 20));
        assert!(TruthLog::open(dir.path(), "v", 200).is_err(), "pieces are not gone on with");
    }

    #[test]
    fn damage_before_the_last_batch_is_an_error_that_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("truth-v.jsonl"), "{\"k\":\"header\"}\nnonsense\n{\"k\":\"batch\",\"n\":0}\n")
            .unwrap();
        let error = TruthLog::open(dir.path(), "v", 0).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
