//! One topic on its way into the catalog: rows that are not stored yet, and where late ones belong.
//!
//! Live rows keep the order of the tape: their `ts_init` is their receive time, and never less than that of the row before. What
//! was stored sets a floor, so a restart gives every row the same time again. Late rows wait until their neighbours are known.

use std::collections::BTreeMap;

use wholetape_model::{
    Body, Gap, GapCause, GapState, HealSource, Kind, Record, Row, RowFlags, Scales, Topic, Ts, record::encode,
};
use wholetape_tape::{From, MissedWhy, Policy, Reader, ReaderOptions, Tape, TapeError};

use crate::StoreError;
use crate::rows::Rows;
use crate::seqs::Seqs;
use crate::table::Table;

/// Numbers of gaps that the store confesses: what the tape let go before it was stored.
const OWN_GAPS: u64 = 1 << 54;

/// See the module.
pub(crate) struct Stream {
    pub topic: Topic,
    pub reader: Reader,
    /// Stored before this process read the topic, or let go.
    stored: Seqs,
    /// Seqs up to here were gone when the catalog began, and the manifest does not say so yet.
    pub gone_before: u64,
    /// Live rows by table, in the order of the tape.
    pub live: BTreeMap<Table, Rows>,
    /// Late rows by table.
    pub late: BTreeMap<Table, Rows>,
    /// Since when late rows wait.
    pub late_since: Option<Ts>,
    /// The newest `ts_init` given.
    pub last: Ts,
    /// Rows of the live buffers with this `ts_init` or a later one may still be joined by others.
    pub oldest: Option<Ts>,
    /// When the oldest row of the live buffers came (our clock).
    pub since: Option<Ts>,
    pub missed: u64,
}

impl Stream {
    pub fn open(tape: &Tape, topic: Topic, stored: Seqs, floor: Ts) -> Result<Self, TapeError> {
        let options = ReaderOptions { policy: Policy::CatchUp, ..ReaderOptions::default() };
        let open = |from| tape.reader(&topic, from, options);
        // What was gone before the catalog began never comes: it waits for nobody.
        let (mut stored, mut gone_before) = (stored, 0);
        let mut earliest = None;
        if !stored.has(1) {
            let reader = open(From::Earliest)?;
            let first = stored.next_from(1).map_or(u64::MAX, |first| first - 1);
            gone_before = reader.position().min(first);
            stored.add(1, gone_before);
            earliest = Some(reader);
        }
        // From the first seq that is not stored: late rows wait longer than the live ones behind them.
        let whole = stored.whole_from(1);
        let reader = match earliest {
            Some(reader) if reader.position() == whole => reader,
            _ => open(From::Seq(whole))?,
        };
        Ok(Self {
            reader,
            topic,
            stored,
            gone_before,
            live: BTreeMap::new(),
            late: BTreeMap::new(),
            late_since: None,
            last: floor,
            oldest: None,
            since: None,
            missed: 0,
        })
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.live.values().chain(self.late.values()).map(Rows::bytes).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.live.values().chain(self.late.values()).all(Rows::is_empty)
    }

    /// Everything that the tape has of it was read.
    pub fn is_at_head(&self) -> bool {
        self.reader.position() >= self.reader.head()
    }

    /// Takes a record of the tape.
    pub fn take(&mut self, record: Record<'_>, now: Ts) {
        if self.stored.has(record.seq()) {
            return;
        }
        let view = record.view();
        let table = view.as_ref().map_or(Table::Record, |view| Table::of(self.topic.kind(), &record, view));
        let is_mark = record.is_mark();
        if record.flags().is_late() && !is_mark && table != Table::Record {
            self.late.entry(table).or_default().push(record.ts_event(), record);
            self.late_since.get_or_insert(now);
            return;
        }
        let ts = record.ts_recv().max(self.last);
        self.last = ts;
        self.oldest.get_or_insert(ts);
        self.since.get_or_insert(now);
        self.live.entry(table).or_default().push(ts, record);
    }

    /// What the tape no longer had: confessed like every other gap, unless it is stored.
    pub fn miss(&mut self, from: u64, to: u64, why: MissedWhy, now: Ts) -> Result<(), StoreError> {
        let mut at = from;
        while at <= to {
            let stored = self.stored.whole_from(at);
            if stored >= at {
                at = stored + 1;
                continue;
            }
            let end = self.stored.next_from(at).map_or(to, |next| to.min(next - 1));
            self.confess(at, end, why, now)?;
            at = end + 1;
        }
        Ok(())
    }

    fn confess(&mut self, from: u64, to: u64, why: MissedWhy, now: Ts) -> Result<(), StoreError> {
        self.missed += to - from + 1;
        let cause = if why == MissedWhy::Corrupt { GapCause::Corrupt } else { GapCause::Retention };
        // A mark covers at most 2^32 seqs.
        let mut at = from;
        while at <= to {
            let end = to.min(at.saturating_add(u64::from(u32::MAX) - 1));
            let ts = self.last.max(Ts(now.0.min(self.last.0.max(1))));
            let gap = Gap {
                gap: OWN_GAPS + end,
                state: GapState::Lost,
                cause,
                source: HealSource::None,
                from_id: 0,
                to_id: 0,
                from_ts: self.last,
                to_ts: now,
                missing: 0,
                why: "the tape let these seqs go before they were stored",
            };
            let row = Row {
                ts_event: ts,
                ts_recv: ts,
                conn: 0,
                frame: 0,
                flags: RowFlags::default(),
                scales: Scales::default(),
                body: Body::Gap(gap),
            };
            let span = u32::try_from(end - at + 1).unwrap_or(u32::MAX);
            self.last = ts;
            self.oldest.get_or_insert(ts);
            self.since.get_or_insert(now);
            self.live.entry(Table::Gap).or_default().push_with(ts, |out| {
                encode(&row, 0, end, span, out);
            })?;
            at = end + 1;
        }
        Ok(())
    }
}

/// Topics that are kept: all but copies of what other topics say, and raw frames, which have lanes of their own.
pub(crate) fn is_kept(kind: Kind) -> bool {
    !matches!(kind, Kind::Gap | Kind::Coverage | Kind::Raw | Kind::Consolidated)
}
