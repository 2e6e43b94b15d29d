//! From batch to readers: hold back, one write, then the heads move and the sleepers wake.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wholetape_model::{Body, Gap, GapCause, GapState, HealSource, Row, RowFlags, Scales, TAPES_OWN_GAPS, Ts};

use crate::block::{Block, Run};
use crate::config::Fsync;
use crate::error::TapeError;
use crate::lane::{Lane, Special, TopicNo, Wanted};
use crate::lock;
use crate::wake::wake_all;

/// What was committed longer ago is read from the files: by then only readers want it that are far behind, or begin in the past.
const MEMORY_AGE: Duration = Duration::from_secs(60);

impl Lane {
    /// Writes the batch, then serves it. Also writes the marks that the tape owes (for segments removed when space ran
    /// out), so an idle lane may call it with an empty batch.
    ///
    /// Waits, if it must, for: fsync of older records (`unsynced_records_max`), fsync of this batch (with
    /// [`Fsync::Batch`], or when it registers a topic), readers with policy `block` (replay tapes alone).
    ///
    /// # Errors
    /// [`TapeError::Full`] and [`TapeError::Io`]: the batch is kept, nothing of it is in the file or was seen; call
    /// again, or [`abort`](Lane::abort). [`TapeError::SyncFailed`]: nothing more is taken until the tape is opened anew.
    pub fn commit(&mut self) -> Result<(), TapeError> {
        if self.shared.wants.load(Ordering::Relaxed) && self.core.entries.is_empty() {
            self.put_wanted();
        }
        if self.core.buf.is_empty() {
            return Ok(());
        }
        let tape = self.tape.clone();
        let _under_way = tape.begin_commit()?;
        let began = tape.mono();
        self.hold_back()?;
        self.wait_for_blockers();
        let base = self.write_batch()?;
        let records = self.core.entries.len() as u64;
        let bytes = self.core.buf.len() as u64;
        self.shared.written.fetch_add(records, Ordering::AcqRel);
        let written_bytes = self.shared.written_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        let durable = self.core.registers || self.tape.config.fsync == Fsync::Batch;
        if durable {
            self.tape.wait_bytes_requesting(&self.shared, written_bytes)?;
        } else {
            self.tape.sync.wrote(&self.shared, written_bytes);
        }
        self.publish(base, durable, began);
        Ok(())
    }

    /// Waits until the lane's unsynced records leave room for this batch.
    fn hold_back(&self) -> Result<(), TapeError> {
        let limit = u64::from(self.tape.config.unsynced_records_max);
        let batch = self.core.entries.len() as u64;
        let written = self.shared.written.load(Ordering::Relaxed);
        if written + batch - self.shared.synced.load(Ordering::Acquire) <= limit || written == 0 {
            return Ok(());
        }
        self.tape.wait_records_requesting(&self.shared, (written + batch).saturating_sub(limit).min(written))
    }

    fn wait_for_blockers(&self) {
        if !self.tape.config.allow_block {
            return;
        }
        for no in &self.core.touched {
            let t = &self.core.topics[*no as usize];
            let blockers = lock(&t.shared.core).blockers.clone();
            for watch in blockers {
                self.tape.progress.wait_until(|| {
                    watch.closed.load(Ordering::Acquire)
                        || t.head.saturating_sub(watch.position.load(Ordering::Acquire))
                            <= watch.lag.max(u64::from(t.count))
                });
            }
        }
    }

    /// Makes readers see the batch that was written at `base`.
    fn publish(&mut self, base: u64, durable: bool, began: u64) {
        let core = &mut *self.core;
        // Where each topic's offsets go in the block.
        let mut next = 0;
        for no in &core.touched {
            let t = &mut core.topics[*no as usize];
            t.cursor = next;
            next += t.count;
        }
        let mut offsets = vec![0_u32; core.entries.len()];
        for e in &core.entries {
            let t = &mut core.topics[e.no as usize];
            offsets[t.cursor as usize] = e.at;
            t.cursor += 1;
        }
        let block = Arc::new(Block { bytes: core.buf.as_slice().to_vec(), offsets, published: began });
        if core.registers {
            for t in core.topics.iter_mut().enumerate() {
                t.1.logged |= t.1.shared.is_at(self.shared.ix, t.0 as u32);
            }
            core.registers = false;
        }
        for no in &core.touched {
            let t = &mut core.topics[*no as usize];
            let at = t.cursor - t.count;
            let run = Run { block: block.clone(), at, count: t.count, prev: t.committed, last: t.head };
            let shared = &t.shared;
            let mut topic = lock(&shared.core);
            let ours = |p: &&mut crate::topic::Place| p.lane == self.shared.ix && p.no == *no;
            if let Some(place) = topic.places.iter_mut().rev().find(ours) {
                let run_offsets = &block.offsets[at as usize..(at + t.count) as usize];
                if t.head - t.committed == u64::from(t.count) {
                    place.active.extend(base, run_offsets);
                } else {
                    for o in run_offsets {
                        let seq = seq_in(&block, *o);
                        place.active.push(seq, base + u64::from(*o));
                    }
                }
            }
            topic.ring.push_back(run);
            shared.last_ts.store(t.last_ts, Ordering::Relaxed);
            shared.book_start.store(t.book_start, Ordering::Release);
            if shared.oldest.load(Ordering::Relaxed) == 0 {
                shared.oldest.store(t.committed + 1, Ordering::Release);
            }
            shared.head.store(t.head, Ordering::Release);
            if durable {
                shared.synced.fetch_max(t.head, Ordering::AcqRel);
            }
            for watch in topic.sleeping.drain(..) {
                watch.asleep.store(false, Ordering::Relaxed);
                core.sleepers.push(watch);
            }
            drop(topic);
            if t.segment_first_ts == 0 {
                t.segment_first_ts = t.last_ts.max(1);
            }
            t.committed = t.head;
            t.committed_ts = t.last_ts;
            t.committed_book = t.book_start;
            t.count = 0;
        }
        self.shared.published.fetch_add(1, Ordering::Release);
        wake_all(&mut core.sleepers, began);
        for e in core.entries.iter().filter(|e| matches!(e.special, Special::Mark | Special::Span(_))) {
            let seq = seq_in(&block, e.at);
            lock(&core.topics[e.no as usize].shared.core).note_mark(seq);
        }
        core.segment_records += core.entries.len() as u64;
        self.remember(block);
        self.core.buf.clear();
        self.core.entries.clear();
        self.core.touched.clear();
        for w in self.core.owed.drain(..) {
            if let Some(debt) = &w.debt {
                debt.wrote(&w.topic, w.seq);
            }
        }
        for no in std::mem::take(&mut self.core.visited) {
            self.core.topics[no as usize].let_go();
        }
    }

    /// Keeps the block for readers and forgets the oldest ones: beyond the bound, or beyond their age, so that the memory of a slow lane
    /// does not grow for hours until it reaches that bound.
    fn remember(&mut self, block: Arc<Block>) {
        let core = &mut *self.core;
        let cost = |b: &Block| (b.bytes.len() + b.offsets.len() * 4 + 128) as u64;
        let now = block.published;
        let is_old = |b: &Block| u128::from(now.saturating_sub(b.published)) > MEMORY_AGE.as_nanos();
        core.blocks_bytes += cost(&block);
        core.blocks.push_back((block, core.touched.clone()));
        let bound = self.tape.config.memory_bytes;
        while core.blocks.len() > 1 && core.blocks.front().is_some_and(|(b, _)| core.blocks_bytes > bound || is_old(b))
        {
            let Some((old, touched)) = core.blocks.pop_front() else { break };
            core.blocks_bytes -= cost(&old);
            for no in touched {
                let mut topic = lock(&core.topics[no as usize].shared.core);
                if topic.ring.front().is_some_and(|r| Arc::ptr_eq(&r.block, &old)) {
                    topic.ring.pop_front();
                } else {
                    topic.ring.retain(|r| !Arc::ptr_eq(&r.block, &old));
                }
            }
        }
        self.shared.memory.store(core.blocks_bytes, Ordering::Relaxed);
    }

    /// Puts the marks that the tape owes into the (empty) batch.
    fn put_wanted(&mut self) {
        let wanted = {
            let mut w = lock(&self.shared.wanted);
            self.shared.wants.store(false, Ordering::Relaxed);
            std::mem::take(&mut *w)
        };
        for mut w in wanted {
            let ix = self.shared.ix;
            let mut all = self.core.topics.iter_mut().enumerate();
            match all.find(|(no, t)| Arc::ptr_eq(&t.shared, &w.topic) && t.shared.is_at(ix, *no as u32)) {
                Some((no, t)) if t.in_use || self.tape.resume(&t.shared, &self.shared, no as u32) => {
                    let no = no as u32;
                    if !t.in_use {
                        t.in_use = true;
                        self.core.visited.push(no);
                    }
                    self.put_lost(TopicNo(no), GapCause::Disk, &w, 1);
                    w.seq = self.core.topics[no as usize].head;
                    self.core.owed.push(w);
                }
                // Handed over meanwhile: its mark is for whoever has it now.
                _ => self.tape.want(w),
            }
        }
    }

    /// A mark `lost`: of the seqs named by `w`, or of the next `span` seqs.
    pub(crate) fn put_lost(&mut self, no: TopicNo, cause: GapCause, w: &Wanted, span: u32) {
        let t = &self.core.topics[no.0 as usize];
        let gap = TAPES_OWN_GAPS.start | (t.head + u64::from(span));
        let now = Ts(self.tape.wall().max(t.last_ts));
        let (from_ts, to_ts) = match cause {
            GapCause::Disk => (Ts(w.from_ts), Ts(w.to_ts)),
            _ => (Ts(t.committed_ts), now),
        };
        let why = w.why.to_owned() + &crate::owed::says(w.from, w.to);
        let missing = w.to.saturating_sub(w.from) + 1;
        let row = Row {
            ts_event: now,
            ts_recv: now,
            conn: 0,
            frame: 0,
            flags: RowFlags::TS_LOCAL,
            scales: Scales::default(),
            body: Body::Gap(Gap {
                gap,
                state: GapState::Lost,
                cause,
                source: HealSource::None,
                from_id: 0,
                to_id: 0,
                from_ts,
                to_ts,
                missing: if cause == GapCause::Disk { missing } else { 0 },
                why: why.as_str(),
            }),
        };
        // The row is small and the topic ours: nothing can refuse it.
        let put = self.put(no, &row, span);
        debug_assert!(put.is_ok());
    }
}

fn seq_in(block: &Block, at: u32) -> u64 {
    crate::format::u64_at(&block.bytes, at as usize + 16).unwrap_or(0)
}
