//! The bytes of a segment beside its records: header, topic table, control records, index.
//!
//! ```text
//! segment  = header, records …, [ index, trailer ]         (the last two once sealed)
//! header   = "WTAPESEG" u32 version u32 len u32 crc u32 topics u64 number i64 created
//!            u16 epoch_len u16 lane_len u32 0, epoch, lane, pad to 8, table
//! table    = per topic: u32 no u32 generation u64 start u64 last_seq i64 last_ts u64 book_start
//!            u16 owned u16 name_len u32 0, name, pad to 8
//! control  = a record whose kind is 0xF0 (topic registered) and whose body is u16 name_len, name
//!            (topic = its number, seq = its last seq so far, span = generation)
//! index    = u32 entries u32 table_len u32 topics u32 crc, table, entries of 80 bytes, then the offsets they point to
//! trailer  = "WTAPEEND" u64 index_at u64 index_len i64 sealed u64 first_len u32 crc u32 0       (48 bytes, at the end)
//! ```
//! All integers little-endian; each crc covers its structure with the crc field as zero. Offsets are in units of 8
//! bytes. A segment without a whole trailer is read by scanning it (`scan.rs`).

use crate::index::TopicIndex;

pub(crate) const MAGIC: &[u8; 8] = b"WTAPESEG";
pub(crate) const MAGIC_END: &[u8; 8] = b"WTAPEEND";
pub(crate) const VERSION: u32 = 1;
pub(crate) const TRAILER: usize = 48;
const HEADER_FIXED: usize = 48;
const TABLE_FIXED: usize = 48;
pub(crate) const ENTRY: usize = 80;
const INDEX_FIXED: usize = 16;
/// Kinds of records from here on belong to the tape itself and are never delivered.
pub(crate) const CONTROL: u8 = 0xF0;
/// A topic is registered in this lane, or handed over to it.
pub(crate) const CONTROL_TOPIC: u8 = 0xF0;

/// One topic of a lane, as headers and indexes repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableRow {
    pub no: u32,
    /// How often the topic was handed over before it came here; the highest owns it.
    pub generation: u32,
    /// The topic's last seq when it came here.
    pub start: u64,
    pub last_seq: u64,
    pub last_ts: i64,
    pub book_start: u64,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub number: u64,
    pub created: i64,
    pub epoch: String,
    pub lane: String,
    pub table: Vec<TableRow>,
}

/// One topic of a sealed segment's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub no: u32,
    pub count: u32,
    /// The topic's seq before this segment and at its end.
    pub start: u64,
    pub end: u64,
    pub first_ts: i64,
    pub last_ts: i64,
    pub book_start: u64,
    /// Where its offsets lie in the file: `count` × u32, padded to 8, then `breaks` × (u64 index, u64 seq).
    pub at: u64,
    pub breaks: u32,
    pub crc: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub index_at: u64,
    pub index_len: u64,
    pub sealed: i64,
    /// Length of the index without the offsets.
    pub first_len: u64,
}

pub(crate) fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

fn i64_at(b: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

fn pad8(out: &mut Vec<u8>) {
    while !out.len().is_multiple_of(8) {
        out.push(0);
    }
}

/// Sets the crc at `at` over `out[from..]` with that field as zero.
pub(crate) fn seal(out: &mut [u8], from: usize, at: usize) {
    out[at..at + 4].fill(0);
    let crc = crc32fast::hash(&out[from..]);
    out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn sealed(bytes: &[u8], at: usize) -> bool {
    let Some(want) = u32_at(bytes, at) else { return false };
    let mut h = crc32fast::Hasher::new();
    h.update(&bytes[..at]);
    h.update(&[0; 4]);
    h.update(&bytes[at + 4..]);
    h.finalize() == want
}

fn put_table(table: &[TableRow], out: &mut Vec<u8>) {
    for row in table {
        out.extend_from_slice(&row.no.to_le_bytes());
        out.extend_from_slice(&row.generation.to_le_bytes());
        out.extend_from_slice(&row.start.to_le_bytes());
        out.extend_from_slice(&row.last_seq.to_le_bytes());
        out.extend_from_slice(&row.last_ts.to_le_bytes());
        out.extend_from_slice(&row.book_start.to_le_bytes());
        out.extend_from_slice(&1_u16.to_le_bytes());
        out.extend_from_slice(&(row.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(row.name.as_bytes());
        pad8(out);
    }
}

fn get_table(mut b: &[u8], topics: usize) -> Option<Vec<TableRow>> {
    let mut table = Vec::with_capacity(topics.min(1 << 16));
    for _ in 0..topics {
        let name_len = usize::from(u16_at(b, 42)?);
        let name = std::str::from_utf8(b.get(TABLE_FIXED..TABLE_FIXED + name_len)?).ok()?.to_owned();
        table.push(TableRow {
            no: u32_at(b, 0)?,
            generation: u32_at(b, 4)?,
            start: u64_at(b, 8)?,
            last_seq: u64_at(b, 16)?,
            last_ts: i64_at(b, 24)?,
            book_start: u64_at(b, 32)?,
            name,
        });
        b = b.get((TABLE_FIXED + name_len).next_multiple_of(8)..)?;
    }
    Some(table)
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.table.len() * 80);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(self.table.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&(self.epoch.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.lane.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.epoch.as_bytes());
        out.extend_from_slice(self.lane.as_bytes());
        pad8(&mut out);
        put_table(&self.table, &mut out);
        let len = out.len() as u32;
        out[12..16].copy_from_slice(&len.to_le_bytes());
        seal(&mut out, 0, 16);
        out
    }

    /// How long the header is, from its first 16 bytes; `None` when these are not a header's.
    pub fn len(first: &[u8]) -> Option<usize> {
        (first.get(..8)? == MAGIC && u32_at(first, 8)? == VERSION).then_some(())?;
        let len = u32_at(first, 12)? as usize;
        (len >= HEADER_FIXED && len.is_multiple_of(8) && len <= 1 << 30).then_some(len)
    }

    /// `None` when anything is not as it was written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let len = Self::len(bytes)?;
        let b = bytes.get(..len)?;
        if !sealed(b, 16) {
            return None;
        }
        let (epoch_len, lane_len) = (usize::from(u16_at(b, 40)?), usize::from(u16_at(b, 42)?));
        let text = |at: usize, len: usize| Some(std::str::from_utf8(b.get(at..at + len)?).ok()?.to_owned());
        Some(Self {
            number: u64_at(b, 24)?,
            created: i64_at(b, 32)?,
            epoch: text(HEADER_FIXED, epoch_len)?,
            lane: text(HEADER_FIXED + epoch_len, lane_len)?,
            table: get_table(
                b.get((HEADER_FIXED + epoch_len + lane_len).next_multiple_of(8)..)?,
                u32_at(b, 20)? as usize,
            )?,
        })
    }
}

/// Appends a control record that registers a topic.
pub(crate) fn put_topic_record(row: &TableRow, ts: i64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + wholetape_model::record::HEADER, 0);
    out.extend_from_slice(&(row.name.len() as u16).to_le_bytes());
    out.extend_from_slice(row.name.as_bytes());
    while !(out.len() - start).is_multiple_of(8) {
        out.push(0);
    }
    let len = (out.len() - start) as u32;
    let h = &mut out[start..];
    h[0..4].copy_from_slice(&len.to_le_bytes());
    h[8] = wholetape_model::record::VERSION;
    h[9] = CONTROL_TOPIC;
    h[12..16].copy_from_slice(&row.no.to_le_bytes());
    h[16..24].copy_from_slice(&row.start.to_le_bytes());
    h[24..32].copy_from_slice(&ts.to_le_bytes());
    h[32..40].copy_from_slice(&row.last_ts.to_le_bytes());
    h[40..48].copy_from_slice(&row.book_start.to_le_bytes());
    h[48..52].copy_from_slice(&row.generation.to_le_bytes());
    let crc = crc32fast::hash(&h[8..]);
    h[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// What a control record registers; `None` when it is not one that this build knows.
pub(crate) fn topic_record(record: wholetape_model::Record<'_>) -> Option<TableRow> {
    if record.kind() != CONTROL_TOPIC {
        return None;
    }
    let b = record.bytes();
    let body = b.get(wholetape_model::record::HEADER..)?;
    let len = usize::from(u16_at(body, 0)?);
    Some(TableRow {
        no: record.topic(),
        generation: record.span(),
        start: record.seq(),
        last_seq: record.seq(),
        last_ts: record.ts_recv().0,
        book_start: u64_at(b, 40)?,
        name: std::str::from_utf8(body.get(2..2 + len)?).ok()?.to_owned(),
    })
}

/// The index and trailer of a segment whose records end at `at`.
pub(crate) fn encode_index(
    table: &[TableRow],
    topics: &mut [(Entry, &TopicIndex)],
    at: u64,
    sealed_at: i64,
) -> Vec<u8> {
    topics.sort_by_key(|(e, _)| e.no);
    let offsets: usize = topics.iter().map(|(_, ix)| ix.encoded_len()).sum();
    let mut out = Vec::with_capacity(INDEX_FIXED + table.len() * 96 + topics.len() * ENTRY + offsets + TRAILER);
    out.extend_from_slice(&(topics.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(table.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    put_table(table, &mut out);
    let table_len = (out.len() - INDEX_FIXED) as u32;
    out[4..8].copy_from_slice(&table_len.to_le_bytes());
    let entries_at = out.len();
    let first_len = entries_at + topics.len() * ENTRY;
    out.resize(first_len, 0);
    for (i, (entry, index)) in topics.iter_mut().enumerate() {
        entry.at = at + out.len() as u64;
        let from = out.len();
        index.encode(&mut out);
        entry.breaks = index.breaks().len() as u32;
        entry.crc = crc32fast::hash(&out[from..]);
        entry.encode(&mut out[entries_at + i * ENTRY..entries_at + (i + 1) * ENTRY]);
    }
    let index_len = out.len() as u64;
    seal(&mut out[..first_len], 0, 12);
    let from = out.len();
    out.extend_from_slice(MAGIC_END);
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&index_len.to_le_bytes());
    out.extend_from_slice(&sealed_at.to_le_bytes());
    out.extend_from_slice(&(first_len as u64).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    seal(&mut out[from..], 0, 40);
    out
}

impl Entry {
    fn encode(&self, b: &mut [u8]) {
        b[0..4].copy_from_slice(&self.no.to_le_bytes());
        b[4..8].copy_from_slice(&self.count.to_le_bytes());
        b[8..16].copy_from_slice(&self.start.to_le_bytes());
        b[16..24].copy_from_slice(&self.end.to_le_bytes());
        b[24..32].copy_from_slice(&self.first_ts.to_le_bytes());
        b[32..40].copy_from_slice(&self.last_ts.to_le_bytes());
        b[40..48].copy_from_slice(&self.book_start.to_le_bytes());
        b[48..56].copy_from_slice(&self.at.to_le_bytes());
        b[56..60].copy_from_slice(&self.breaks.to_le_bytes());
        b[60..64].copy_from_slice(&self.crc.to_le_bytes());
    }

    fn decode(b: &[u8]) -> Option<Self> {
        Some(Self {
            no: u32_at(b, 0)?,
            count: u32_at(b, 4)?,
            start: u64_at(b, 8)?,
            end: u64_at(b, 16)?,
            first_ts: i64_at(b, 24)?,
            last_ts: i64_at(b, 32)?,
            book_start: u64_at(b, 40)?,
            at: u64_at(b, 48)?,
            breaks: u32_at(b, 56)?,
            crc: u32_at(b, 60)?,
        })
    }

    /// Bytes of its offsets and breaks in the file.
    pub fn index_len(&self) -> usize {
        (self.count as usize * 4).next_multiple_of(8) + self.breaks as usize * 16
    }
}

impl Trailer {
    pub fn decode(b: &[u8]) -> Option<Self> {
        (b.len() == TRAILER && b.get(..8)? == MAGIC_END && sealed(b, 40)).then_some(())?;
        Some(Self {
            index_at: u64_at(b, 8)?,
            index_len: u64_at(b, 16)?,
            sealed: i64_at(b, 24)?,
            first_len: u64_at(b, 32)?,
        })
    }
}

/// The first part of an index: topic table and entries, sorted by topic number.
pub(crate) fn decode_index(b: &[u8]) -> Option<(Vec<TableRow>, Vec<Entry>)> {
    if b.len() < INDEX_FIXED || !sealed(b, 12) {
        return None;
    }
    let (entries, table_len, topics) = (u32_at(b, 0)? as usize, u32_at(b, 4)? as usize, u32_at(b, 8)? as usize);
    let table = get_table(b.get(INDEX_FIXED..INDEX_FIXED + table_len)?, topics)?;
    let entries = b
        .get(INDEX_FIXED + table_len..INDEX_FIXED + table_len + entries * ENTRY)?
        .chunks_exact(ENTRY)
        .map(Entry::decode)
        .collect::<Option<Vec<_>>>()?;
    Some((table, entries))
}
