//! A topic's rows and marks in the corrected order `(ts_init, seq)`, as of a position: what came to the tape behind it is left out.
//!
//! Of a book reading begins at a full state, so that whoever reads has one: the newest snapshot or checkpoint at or before the time
//! that was asked for. Each UTC day's updates begin with one, so it is never far.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, UInt8Type, UInt64Type};
use wholetape_model::{BookAction, Kind, Topic, Ts};
use wholetape_tape::history::{HistoryError, PastBatch, PastReader};

use super::{BATCH_BYTES, BATCH_RECORDS, Files, Stock, persist};
use crate::StoreError;
use crate::manifest::{Part, State};
use crate::replay::{Merge, Range};
use crate::scan::PartReader;
use crate::table::Table;

/// See the module.
pub struct ByTime {
    merge: Merge,
    /// The first row: `ts_init` and seq.
    begin: (Ts, u64),
    upto: u64,
}

impl ByTime {
    pub(super) fn open(files: &Arc<Files>, topic: &Topic, from: Ts, upto: u64) -> Result<Self, StoreError> {
        let mut stock = Stock::default();
        let again = |_: &mut Stock| Ok(());
        persist(&mut stock, again, |stock| {
            *stock = files.stock(topic.as_str())?;
            // What is stored of later seqs alone need not be opened. Imported days have none.
            stock.parts.retain(|p| p.seqs.ends().is_none_or(|(lo, _)| lo <= upto));
            let begin = match topic.kind() {
                Kind::Book => full_state(files, &stock.parts, from, upto)?.unwrap_or((from, 0)),
                _ => (from, 0),
            };
            let range = Range { topics: vec![topic.clone()], from: begin.0, to: Ts::MAX };
            let state = State::of_parts(stock.parts.iter().cloned());
            let merge = Merge::open(&files.disk, &files.data, &state, &range, false)?;
            Ok(Self { merge, begin, upto })
        })
    }

    /// Where it begins: `ts_init` and seq of the full state, of a book; else the time that was asked for.
    #[must_use]
    pub const fn begin(&self) -> (Ts, u64) {
        self.begin
    }

    /// Puts what follows into `batch`, which it clears first. False at the end.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self, batch: &mut PastBatch) -> Result<bool, StoreError> {
        batch.clear();
        while let Some((_, ts_init, record)) = self.merge.row() {
            if record.seq() <= self.upto && (ts_init, record.seq()) >= self.begin {
                if batch.len() == BATCH_RECORDS || batch.bytes() >= BATCH_BYTES {
                    return Ok(true);
                }
                batch.push(ts_init, record);
            }
            self.merge.advance()?;
        }
        Ok(!batch.is_empty())
    }
}

impl PastReader for ByTime {
    fn next(&mut self, batch: &mut PastBatch) -> Result<bool, HistoryError> {
        Ok(self.read(batch)?)
    }
}

/// The newest snapshot or checkpoint at or before `from` and as of `upto`.
fn full_state(files: &Files, parts: &[Part], from: Ts, upto: u64) -> Result<Option<(Ts, u64)>, StoreError> {
    let deltas = parts.iter().rev().filter(|p| p.table == Table::Delta.as_str() && p.from <= from.0);
    for part in deltas {
        let reader = PartReader::find(&*files.disk, &files.data, part)?;
        for group in (0..reader.groups()).rev() {
            if reader.ends(group, "ts_init").is_some_and(|(first, _)| first > from.0) {
                continue;
            }
            let batch = reader.columns(group, &["action", "ts_init", "seq"])?;
            let wrong =
                || StoreError::Column { table: Table::BookUpdate.as_str(), column: "*".into(), what: "missing" };
            let column = |name: &str| batch.column_by_name(name).ok_or_else(wrong);
            let action = column("action")?.as_primitive_opt::<UInt8Type>().ok_or_else(wrong)?;
            let init = column("ts_init")?.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(wrong)?;
            let seq = column("seq")?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
            let full = |i: &usize| {
                action.value(*i) != BookAction::Delta as u8 && init.value(*i) <= from.0 && seq.value(*i) <= upto
            };
            if let Some(i) = (0..batch.num_rows()).rev().find(full) {
                return Ok(Some((Ts(init.value(i)), seq.value(i))));
            }
        }
    }
    Ok(None)
}
