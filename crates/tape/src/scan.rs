//! Reads a segment without its index: after a crash, or when the index is damaged.
//!
//! A torn tail and a hole in the middle look alike at first: bytes that are no record. They differ in what follows. The
//! scan goes on behind bad bytes, first at the length they claim, then at every multiple of 8, and takes up again at the
//! next bytes that are a record with a right checksum, of a topic of this lane and with a seq that can follow. Only what
//! lies behind the last good record is a torn tail; everything before it is a hole that readers are told about.

use std::collections::HashMap;
use std::io;

use wholetape_model::record::RecordError;
use wholetape_model::{Record, Ts};

use crate::config::POWER_SPAN;
use crate::format::{CONTROL, Entry, TableRow, topic_record};
use crate::index::TopicIndex;

#[derive(Debug)]
pub(crate) struct Scan {
    /// The lane's topics at the end.
    pub table: Vec<TableRow>,
    /// Topics with records, by number.
    pub topics: Vec<(Entry, TopicIndex)>,
    /// Behind the last good record.
    pub end: u64,
    pub records: u64,
    /// Stretches of bad bytes between good records.
    pub holes: u64,
}

struct Scanner {
    table: Vec<TableRow>,
    by_no: HashMap<u32, usize>,
    topics: HashMap<u32, (Entry, TopicIndex)>,
}

/// Scans `bytes[from..]`; `from` is a multiple of 8.
///
/// # Errors
/// `InvalidData` when a whole record is of a version that this build does not read: nothing may be cut then.
pub(crate) fn scan(bytes: &[u8], from: usize, table: Vec<TableRow>) -> io::Result<Scan> {
    let by_no = table.iter().enumerate().map(|(i, r)| (r.no, i)).collect();
    let mut s = Scanner { table, by_no, topics: HashMap::new() };
    let (mut at, mut end, mut records, mut holes) = (from, from, 0, 0);
    while at + 8 <= bytes.len() {
        if let Some(len) = s.take(bytes, at)? {
            holes += u64::from(end != at);
            records += 1;
            at += len;
            end = at;
        } else {
            at = s.resync(bytes, at)?;
        }
    }
    let mut topics: Vec<_> = s.topics.into_values().collect();
    topics.sort_by_key(|(e, _)| e.no);
    Ok(Scan { table: s.table, topics, end: end as u64, records, holes })
}

impl Scanner {
    /// The record at `at` if it is one of this lane; its length.
    fn take(&mut self, bytes: &[u8], at: usize) -> io::Result<Option<usize>> {
        let Some(record) = self.record(bytes, at)? else { return Ok(None) };
        if record.kind() >= CONTROL {
            if let Some(row) = topic_record(record)
                && !self.by_no.contains_key(&row.no)
            {
                self.by_no.insert(row.no, self.table.len());
                self.table.push(row);
            }
            return Ok(Some(record.bytes().len()));
        }
        let Some(row) = self.by_no.get(&record.topic()).map(|i| &mut self.table[*i]) else { return Ok(None) };
        let (seq, ts) = (record.seq(), record.ts_recv().0);
        let (entry, index) = self.topics.entry(row.no).or_insert_with(|| {
            let entry = Entry {
                no: row.no,
                count: 0,
                start: row.last_seq,
                end: row.last_seq,
                first_ts: ts,
                last_ts: ts,
                book_start: row.book_start,
                at: 0,
                breaks: 0,
                crc: 0,
            };
            (entry, TopicIndex::new(row.last_seq))
        });
        index.push(seq, at as u64);
        row.last_seq = seq;
        row.last_ts = row.last_ts.max(ts);
        if record.is_book_start() {
            row.book_start = seq;
        }
        entry.count += 1;
        entry.end = seq;
        entry.last_ts = Ts(ts).0;
        entry.book_start = row.book_start;
        Ok(Some(record.bytes().len()))
    }

    fn record<'a>(&self, bytes: &'a [u8], at: usize) -> io::Result<Option<Record<'a>>> {
        match Record::parse(&bytes[at..], true) {
            Ok(record) if record.kind() >= CONTROL => Ok(Some(record)),
            Ok(record) => {
                let row = self.by_no.get(&record.topic()).map(|i| &self.table[*i]);
                let span = 2 * u64::from(POWER_SPAN);
                Ok(row
                    .is_some_and(|r| record.seq() > r.last_seq && record.seq() - r.last_seq <= span)
                    .then_some(record))
            }
            Err(RecordError::Version(v)) if v != 0 => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("record version {v} at byte {at}")))
            }
            Err(_) => Ok(None),
        }
    }

    /// Where the next good record begins behind the bad bytes at `at`, or the end.
    fn resync(&self, bytes: &[u8], at: usize) -> io::Result<usize> {
        let claimed = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let mut next = at + 8;
        if claimed >= 56 && claimed.is_multiple_of(8) && at + claimed + 8 <= bytes.len() {
            let behind = at + claimed;
            if self.record(bytes, behind)?.is_some() {
                return Ok(behind);
            }
        }
        while next + 56 <= bytes.len() {
            // A version byte that is not ours costs one comparison, not a checksum.
            if bytes[next + 8] == wholetape_model::record::VERSION && self.record(bytes, next)?.is_some() {
                return Ok(next);
            }
            next += 8;
        }
        Ok(bytes.len())
    }
}
