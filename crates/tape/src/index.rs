//! Where one topic's records lie in one segment: a flat list of offsets.
//!
//! Seqs are consecutive, so the n-th offset belongs to the n-th seq; the few places where they are not (a power-loss
//! mark, a hole that recovery found) are kept as breaks.

use crate::format::{u32_at, u64_at};

/// Offsets (in units of 8 bytes) of a topic's records, in seq order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TopicIndex {
    /// The topic's seq before the first record.
    start: u64,
    offsets: Vec<u32>,
    /// From record `index` on, seqs count from `seq`.
    breaks: Vec<(u32, u64)>,
    last: u64,
}

impl TopicIndex {
    pub fn new(start: u64) -> Self {
        Self { start, last: start, ..Self::default() }
    }

    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The seq of the last record, or `start` when there is none.
    pub const fn last(&self) -> u64 {
        self.last
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub fn breaks(&self) -> &[(u32, u64)] {
        &self.breaks
    }

    /// Appends a record; `seq` must be above `last`.
    pub fn push(&mut self, seq: u64, offset: u64) {
        if seq != self.last + 1 {
            self.breaks.push((self.offsets.len() as u32, seq));
        }
        self.offsets.push((offset / 8) as u32);
        self.last = seq;
    }

    /// Appends `offsets` (bytes from `base`) of records whose seqs follow on each other.
    pub fn extend(&mut self, base: u64, offsets: &[u32]) {
        self.offsets.extend(offsets.iter().map(|o| ((base + u64::from(*o)) / 8) as u32));
        self.last += offsets.len() as u64;
    }

    /// The byte offset of record `i`.
    pub fn offset(&self, i: usize) -> Option<u64> {
        self.offsets.get(i).map(|o| u64::from(*o) * 8)
    }

    /// The seq of record `i`.
    pub fn seq(&self, i: usize) -> u64 {
        match self.breaks.partition_point(|(at, _)| *at as usize <= i) {
            0 => self.start + 1 + i as u64,
            n => {
                let (at, seq) = self.breaks[n - 1];
                seq + (i - at as usize) as u64
            }
        }
    }

    /// The first record whose seq is above `position`; `len()` when there is none.
    pub fn after(&self, position: u64) -> usize {
        let n = self.breaks.partition_point(|(_, seq)| *seq <= position);
        let (at, first) =
            if n == 0 { (0, self.start + 1) } else { self.breaks.get(n - 1).map_or((0, 0), |b| (b.0 as usize, b.1)) };
        let end = self.breaks.get(n).map_or(self.len(), |(at, _)| *at as usize);
        let skip = (position + 1).saturating_sub(first);
        usize::try_from(skip).map_or(end, |s| (at + s).min(end))
    }

    pub fn clear(&mut self) {
        self.start = self.last;
        self.offsets.clear();
        self.breaks.clear();
    }

    /// The part with records `[from, to)`, as an index of its own.
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.len());
        if from >= to {
            return Self::new(self.last);
        }
        Self {
            start: if from == 0 { self.start } else { self.seq(from - 1) },
            offsets: self.offsets[from..to].to_vec(),
            breaks: {
                let inside = self.breaks.iter().filter(|(at, _)| (from..to).contains(&(*at as usize)));
                inside.map(|(at, seq)| (at - from as u32, *seq)).collect()
            },
            last: self.seq(to - 1),
        }
    }

    pub fn encoded_len(&self) -> usize {
        (self.len() * 4).next_multiple_of(8) + self.breaks.len() * 16
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        for o in &self.offsets {
            out.extend_from_slice(&o.to_le_bytes());
        }
        while !out.len().is_multiple_of(8) {
            out.push(0);
        }
        for (at, seq) in &self.breaks {
            out.extend_from_slice(&u64::from(*at).to_le_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
        }
    }

    pub fn decode(start: u64, count: usize, breaks: usize, b: &[u8]) -> Option<Self> {
        let offsets = b.get(..count * 4)?.chunks_exact(4).map(|c| u32_at(c, 0)).collect::<Option<Vec<_>>>()?;
        let at = (count * 4).next_multiple_of(8);
        let breaks = b
            .get(at..at + breaks * 16)?
            .chunks_exact(16)
            .map(|c| Some((u32::try_from(u64_at(c, 0)?).ok()?, u64_at(c, 8)?)))
            .collect::<Option<Vec<_>>>()?;
        let mut index = Self { start, offsets, breaks, last: start };
        if !index.is_empty() {
            index.last = index.seq(index.len() - 1);
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_breaks() -> TopicIndex {
        let mut ix = TopicIndex::new(10);
        for seq in [11, 12, 20, 21, 22, 40] {
            ix.push(seq, seq * 8);
        }
        ix
    }

    #[test]
    fn finds_what_follows_a_position() {
        let ix = with_breaks();
        let seqs: Vec<u64> = (0..ix.len()).map(|i| ix.seq(i)).collect();
        assert_eq!(seqs, [11, 12, 20, 21, 22, 40]);
        for position in 0..45 {
            let want = seqs.iter().position(|s| *s > position).unwrap_or(seqs.len());
            assert_eq!(ix.after(position), want, "after {position}");
        }
    }

    #[test]
    fn reads_back_and_slices() {
        let ix = with_breaks();
        let mut b = Vec::new();
        ix.encode(&mut b);
        assert_eq!(b.len(), ix.encoded_len());
        assert_eq!(TopicIndex::decode(10, ix.len(), ix.breaks().len(), &b), Some(ix.clone()));
        let part = ix.slice(1, 4);
        assert_eq!((part.start(), part.last(), part.len()), (11, 21, 3));
        assert_eq!(part.seq(1), 20);
        assert_eq!(part.offset(1), Some(160));
        for from in 0..6 {
            for to in from + 1..=6 {
                let part = ix.slice(from, to);
                let seqs: Vec<u64> = (0..part.len()).map(|i| part.seq(i)).collect();
                assert_eq!(seqs, (from..to).map(|i| ix.seq(i)).collect::<Vec<_>>());
                assert_eq!(part.last(), ix.seq(to - 1));
            }
        }
        assert!(ix.slice(6, 9).is_empty());
    }
}
