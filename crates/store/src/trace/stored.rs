//! In the catalog: which parts may hold the row, where it lies in them, and which certificate speaks of it.

use wholetape_model::{Topic, Ts};

use super::{Around, Kept, Said, Trace, Wanted, counted, id};
use crate::StoreError;
use crate::cert::{self, Certificate};
use crate::manifest::{Part, Role};
use crate::part::subject;
use crate::rows::Rows;
use crate::scan::PartReader;
use crate::seqs::Seqs;
use crate::table::Table;

/// Where a row is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub part: u64,
    pub table: String,
    pub day: i64,
    /// The file that NautilusTrader or whoever reads, below the data directory.
    pub path: String,
    pub row_group: usize,
    pub sealed: bool,
    pub certificate: Option<Covered>,
}

/// The certificate of a row's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    pub path: String,
    pub revision: u32,
    pub number: u64,
    /// The public key that signed.
    pub signer: Option<String>,
    /// It speaks of this part; else the day was rewritten, and its next revision is due.
    pub holds: bool,
}

impl Trace<'_> {
    fn parts(&self, of: impl Fn(&Part) -> bool) -> Vec<&Part> {
        let mut parts: Vec<&Part> = self.state.iter().flat_map(|s| s.parts.values()).filter(|p| of(p)).collect();
        parts.sort_unstable_by_key(|p| (p.from, p.part));
        parts
    }

    /// Rows of that id or seq, each with its `ts_init` and place.
    pub(super) fn stored_rows(
        &self,
        topic: &Topic,
        wanted: Wanted,
        around: &mut Around,
    ) -> Result<Vec<(Kept, Ts, Place)>, StoreError> {
        let mut found = Vec::new();
        for part in self.parts(|p| p.topic == topic.as_str()) {
            let (column, value) = match wanted {
                Wanted::Id(id) => {
                    if let Some((lo, hi)) = part.ids {
                        around.see(id, lo, None);
                        around.see(id, hi, None);
                    }
                    // Of ids that do not count the manifest tells nothing: every group is looked into.
                    let is_there = part.ids.is_none_or(|(lo, hi)| id >= lo.into() && id <= hi.into());
                    if !is_there || !matches!(Table::parse(&part.table), Some(Table::Trade | Table::TradeRaw)) {
                        continue;
                    }
                    ("trade_id", id.number())
                }
                Wanted::Seq(seq) if part.seqs.has(seq) => ("seq", Some(seq)),
                Wanted::Seq(_) => continue,
            };
            let (reader, mut rows) = (PartReader::open(self.disk, self.data, part)?, Rows::default());
            // A mark may cover seqs before its own, which no statistics tell.
            let covers = matches!(reader.table(), Table::Gap | Table::Record);
            for row_group in 0..reader.groups() {
                let ends = reader.ends(row_group, column).map(|(lo, hi)| (lo.cast_unsigned(), hi.cast_unsigned()));
                if let (Some((lo, hi)), false) = (ends, covers)
                    && !value.is_some_and(|value| (lo..=hi).contains(&value))
                {
                    if let Wanted::Id(id) = wanted {
                        around.see(id, lo, None);
                        around.see(id, hi, None);
                    }
                    continue;
                }
                reader.group(row_group, &mut rows)?;
                for (ts_init, record) in rows.iter() {
                    let is = match wanted {
                        Wanted::Seq(seq) => record.prev() < seq && seq <= record.seq(),
                        Wanted::Id(wanted) => {
                            match counted(&record) {
                                Some(id) => around.see(wanted, id, Some(ts_init)),
                                None => around.loose = true,
                            }
                            id(&record) == Some(wanted)
                        }
                    };
                    if is {
                        found.push((Kept::of(&record), ts_init, self.place(part, row_group)?));
                    }
                }
            }
        }
        Ok(found)
    }

    fn place(&self, part: &Part, row_group: usize) -> Result<Place, StoreError> {
        let main = part.files.iter().find(|f| f.role == Role::Main).or(part.files.first());
        Ok(Place {
            part: part.part,
            table: part.table.clone(),
            day: part.day,
            path: main.map(|f| f.path.clone()).unwrap_or_default(),
            row_group,
            sealed: part.sealed,
            certificate: self.covered(part)?,
        })
    }

    fn covered(&self, part: &Part) -> Result<Option<Covered>, StoreError> {
        let about = part.topic.split_once('.').map_or("", |(_, about)| about);
        let issued = self.state.as_ref().and_then(|s| s.issued.get(about)?.get(&part.day));
        let Some(issued) = issued else { return Ok(None) };
        let path = cert::folder(self.data, about).join(cert::file_name(issued.day, issued.revision));
        let bytes = self.disk.read(&path).map_err(StoreError::io(&path))?;
        let signer = Certificate::parse(&path, &bytes)?.signer;
        let (revision, number, holds) = (issued.revision, issued.number, issued.parts.contains(&part.part));
        let path = path.strip_prefix(self.data).unwrap_or(&path).display().to_string();
        Ok(Some(Covered { path, revision, number, signer, holds }))
    }

    /// Everything that the topic's stored rows say about others.
    pub(super) fn stored_marks(&self, topic: &Topic, said: &mut Said) -> Result<(), StoreError> {
        let tables = [Table::Gap.as_str(), Table::Retract.as_str()];
        for part in self.parts(|p| p.topic == topic.as_str() && tables.contains(&p.table.as_str())) {
            self.each(part, &mut |_, record| said.take(&record))?;
        }
        Ok(())
    }

    /// Rows of a part, in their order.
    pub(super) fn each(
        &self,
        part: &Part,
        take: &mut dyn FnMut(Ts, wholetape_model::Record<'_>),
    ) -> Result<(), StoreError> {
        let (mut reader, mut rows) = (PartReader::open(self.disk, self.data, part)?, Rows::default());
        while reader.next(&mut rows)? {
            rows.iter().for_each(|(ts, record)| take(ts, record));
        }
        Ok(())
    }

    /// Seqs of the topic that are in files now.
    pub(super) fn stored_seqs(&self, topic: &Topic) -> Seqs {
        let mut all = Seqs::default();
        for part in self.parts(|p| p.topic == topic.as_str()) {
            all.add_all(&part.seqs);
        }
        all
    }

    /// Parts of what connections did that a row of this time may rest on, the nearest before it first; and those after it.
    pub(super) fn link_parts(&self, ts: Ts) -> (Vec<&Part>, Vec<&Part>) {
        let links = self.parts(|p| p.table == Table::Link.as_str());
        let (mut before, after): (Vec<&Part>, Vec<&Part>) = links.into_iter().partition(|p| p.from <= ts.0);
        before.reverse();
        (before, after)
    }
}

/// What a link topic is about.
pub(super) fn line(topic: &str) -> String {
    Topic::parse(topic).map_or_else(|_| topic.to_owned(), |t| subject(&t).to_owned())
}
