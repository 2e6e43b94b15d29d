//! One part, read row by row: everything that a certificate or the manifest says about it, derived from the rows alone.

use std::collections::BTreeMap;
use std::path::Path;

use wholetape_model::{Body, Gap, GapCause, Record, RowFlags, Ts, ValidityState};
use wholetape_tape::Disk;

use super::TableFigures;
use super::delay::Delays;
use crate::StoreError;
use crate::canon;
use crate::manifest::Part;
use crate::repeats::Among;
use crate::rows::Rows;
use crate::scan::PartReader;
use crate::seqs::Seqs;
use crate::table::Table;

const SOURCES: [(RowFlags, &str); 3] =
    [(RowFlags::LATE_REST, "rest"), (RowFlags::LATE_ARCHIVE, "archive"), (RowFlags::LATE_REDUNDANT, "redundant")];

/// A gap mark as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub seq: u64,
    pub gap: Gap<String>,
}

/// From here on a book is …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub at: Ts,
    pub state: ValidityState,
    pub cause: GapCause,
}

/// What one part's rows say.
#[derive(Debug, Default)]
pub struct PartFigures {
    /// Without files, which no row tells.
    pub table: TableFigures,
    pub flagged_rows: u64,
    pub delays: Delays,
    /// Trade ids that count, and how often an id of either kind came again.
    pub ids: Seqs,
    pub repeats: u64,
    /// Rows whose ids do not count.
    pub named: u64,
    pub marks: Vec<Mark>,
    pub turns: Vec<Turn>,
    pub retracted: u64,
    /// A row that is not behind the one before it, by `(ts_init, seq)`: how many, and the first one's seq.
    pub disordered: Option<(u64, u64)>,
}

impl PartFigures {
    /// Reads all rows of a part.
    ///
    /// # Errors
    /// A file that is damaged or not there.
    pub fn read(disk: &dyn Disk, data: &Path, part: &Part) -> Result<Self, StoreError> {
        let mut reader = PartReader::open(disk, data, part)?;
        let (table, mut rows) = (reader.table(), Rows::default());
        let mut all = Reading::new(table);
        while reader.next(&mut rows)? {
            for (ts, record) in rows.iter() {
                all.row(ts, &record)?;
            }
        }
        let mut out = all.finish();
        if out.named > 0 {
            let (parts, late, earlier) = (vec![part], &Rows::default(), Vec::new());
            out.repeats += Among { disk, data, day: part.day, parts, late, earlier }.repeats()?.count();
        }
        Ok(out)
    }

    /// Lowest and highest trade id, as the manifest has them.
    #[must_use]
    pub fn id_ends(&self, table: Table) -> Option<(u64, u64)> {
        matches!(table, Table::Trade | Table::TradeRaw).then(|| self.ids.ends()).flatten()
    }
}

/// The hash of rows in their canonical bytes, and how many bytes there are.
pub(crate) struct Sum {
    table: Table,
    hash: blake3::Hasher,
    row: Vec<u8>,
    bytes: u64,
}

impl Sum {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, hash: blake3::Hasher::new(), row: Vec::new(), bytes: 0 }
    }

    pub(crate) fn row(&mut self, ts: Ts, record: &Record<'_>) -> Result<(), StoreError> {
        self.row.clear();
        canon::row(self.table, ts, record, &mut self.row)?;
        self.hash.update(&self.row);
        self.bytes += self.row.len() as u64;
        Ok(())
    }

    pub(crate) fn hex(&self) -> String {
        self.hash.finalize().to_hex().to_string()
    }
}

struct Reading {
    out: PartFigures,
    sum: Sum,
    seqs: Vec<(u64, u64)>,
    late: [u64; 3],
    flagged: [u64; RowFlags::CHECKS.len()],
    last: Option<(Ts, u64)>,
}

impl Reading {
    fn new(table: Table) -> Self {
        let (out, seqs) = (PartFigures::default(), Vec::new());
        Self { out, sum: Sum::new(table), seqs, late: [0; 3], flagged: [0; RowFlags::CHECKS.len()], last: None }
    }

    fn row(&mut self, ts: Ts, record: &Record<'_>) -> Result<(), StoreError> {
        self.sum.row(ts, record)?;
        let (table, out) = (self.sum.table, &mut self.out);
        out.table.rows += 1;
        if out.table.rows == 1 {
            out.table.from = ts.0;
        }
        out.table.to = ts.0;
        let place = (ts, record.seq());
        // Rows that the tape never saw have no seq to be ordered by.
        if self.last.is_some_and(|last| place < last || place == last && place.1 != 0) {
            out.disordered = Some(out.disordered.map_or((1, record.seq()), |(n, first)| (n + 1, first)));
        }
        self.last = Some(place);
        self.seqs.push((record.prev() + 1, record.seq()));
        if self.seqs.len() >= 1 << 16 {
            self.fold();
        }
        self.flags(table, record);
        self.body(table, ts, record)
    }

    fn flags(&mut self, table: Table, record: &Record<'_>) {
        let flags = record.flags();
        let out = &mut self.out;
        for (n, (flag, _)) in self.late.iter_mut().zip(SOURCES) {
            *n += u64::from(flags.has(flag));
        }
        if flags.is_flagged() {
            out.flagged_rows += 1;
            for (n, (flag, _)) in self.flagged.iter_mut().zip(RowFlags::CHECKS) {
                *n += u64::from(flags.has(flag));
            }
        }
        out.table.lagging += u64::from(flags.has(RowFlags::LAGGING));
        let told = !flags.is_late() && !flags.has(RowFlags::TS_LOCAL) && !flags.has(RowFlags::CHECKPOINT);
        if told && is_market(table) {
            out.delays.add(record.ts_recv().0.saturating_sub(record.ts_event().0));
        }
    }

    fn body(&mut self, table: Table, ts: Ts, record: &Record<'_>) -> Result<(), StoreError> {
        let out = &mut self.out;
        match table {
            Table::Trade | Table::TradeRaw => {
                if let Body::Trade(t) = record.view()? {
                    match t.counted(record.flags()) {
                        None => out.named += 1,
                        Some(id) if out.ids.has(id) => out.repeats += 1,
                        Some(id) => out.ids.add(id, id),
                    }
                }
            }
            Table::Gap => {
                if let Body::Gap(gap) = record.view()? {
                    out.marks.push(Mark { seq: record.seq(), gap: gap.map(str::to_owned) });
                }
            }
            Table::Validity => {
                if let Body::Validity(v) = record.view()? {
                    out.turns.push(Turn { at: ts, state: v.state, cause: v.cause });
                }
            }
            Table::Retract => out.retracted += 1,
            _ => {}
        }
        Ok(())
    }

    /// Seqs as few intervals: late rows come out of order.
    fn fold(&mut self) {
        let mut all = Seqs::default();
        self.seqs.sort_unstable();
        for (lo, hi) in self.seqs.drain(..) {
            all.add(lo, hi);
        }
        self.seqs.extend_from_slice(all.intervals());
    }

    fn finish(mut self) -> PartFigures {
        self.fold();
        for (lo, hi) in &self.seqs {
            self.out.table.seqs.add(*lo, *hi);
        }
        let named = |counts: &[u64], names: &[(RowFlags, &str)]| -> BTreeMap<String, u64> {
            let all = counts.iter().zip(names).filter(|(n, _)| **n > 0);
            all.map(|(n, (_, name))| ((*name).to_owned(), *n)).collect()
        };
        let table = &mut self.out.table;
        table.late = named(&self.late, &SOURCES);
        table.flagged = named(&self.flagged, &RowFlags::CHECKS);
        (table.blake3, table.bytes) = (self.sum.hex(), self.sum.bytes);
        table.delay = self.out.delays.figures();
        self.out
    }
}

/// Rows of the venue's, and not what we say about them.
const fn is_market(table: Table) -> bool {
    !matches!(
        table,
        Table::Gap
            | Table::Validity
            | Table::Retract
            | Table::Finding
            | Table::Link
            | Table::Coverage
            | Table::Alert
            | Table::Publication
            | Table::Note
            | Table::Record
    )
}
