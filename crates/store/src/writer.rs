//! From the tape into the catalog, exactly once.
//!
//! [`Follower::poll`] reads what is new of every topic; [`Follower::tend`] stores what is due: the largest buffers when the budget is
//! full, each topic at the latest after an hour, late rows at most once in ten minutes, and a day whole once it is over. A
//! topic's rows are stored up to a moment, all tables together, in one commit that names their seqs; whatever a crash cuts off
//! is read from the tape again, with the same times.
//!
//! Invariants: nothing is stored that a power loss could still take from the tape, so no row comes again under another seq. After an
//! error in storing, what was in memory is not known to be whole any more: [`Follower::reopen`] reads it from the tape anew.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_model::{Body, Topic, Ts};
use wholetape_tape::{Delivery, Tape};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::cert::{issue, sign::Signer};
use crate::compact;
use crate::digits::{self, Definitions};
use crate::manifest::{Change, Part};
use crate::merge::Late;
use crate::names;
use crate::part::{Of, PartWriter, Staged, subject};
use crate::retain::{self, Gone, Rules};
use crate::rows::Rows;
use crate::stream::{Stream, is_kept};
use crate::table::Table;

/// When buffers are stored.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes that all buffers may take together.
    pub budget: usize,
    /// A row waits at most so long.
    pub flush_every: Duration,
    /// Files that late rows belong into are written anew at most this often.
    pub rewrite_every: Duration,
    /// So long after midnight (UTC) a day's files become one.
    pub seal_after: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            budget: 256 << 20,
            flush_every: Duration::from_secs(3_600),
            rewrite_every: Duration::from_secs(600),
            seal_after: Duration::from_secs(600),
        }
    }
}

/// What it did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    pub late_rows: u64,
    pub parts: u64,
    pub rewritten: u64,
    pub sealed: u64,
    pub missed: u64,
    pub certificates: u64,
    /// How often one could not be issued; it is tried again after the next commit.
    pub certificates_failed: u64,
    /// What retention let go.
    pub retired_rows: u64,
    pub retired_bytes: u64,
    /// Late rows of days that retention had let go: not stored.
    pub too_late: u64,
    /// Trades of ids that do not count, removed when their day was sealed: another row has them.
    pub repeats: u64,
}

/// How often retention looks what may go; after a seal it does at once.
const RETAIN_EVERY: Duration = Duration::from_secs(3_600);
/// Instruments whose days go at a time: in between, new rows are stored.
const RETAIN_AT_ONCE: usize = 32;
/// Tables of days that are over, of one topic each, that are sealed at a time: in between, new rows are taken.
const SEAL_AT_ONCE: usize = 256;

/// So long the tape may take to come on to the disk.
const SYNC_WAIT: Duration = Duration::from_secs(30);

/// Records read of a topic at a time.
const BATCH: usize = 4_096;

/// See the module.
pub struct Follower {
    pub catalog: Catalog,
    pace: Pace,
    streams: Vec<Stream>,
    known: BTreeMap<Topic, usize>,
    batch: Vec<Delivery>,
    told: Definitions,
    pub counts: Counts,
    signer: Option<Signer>,
    looked: issue::Looked,
    rules: Rules,
    /// When retention was last done with, and what had been sealed by then.
    retained: Option<(Ts, u64)>,
    /// All topics of the tape are known.
    has_looked: bool,
    /// What storing failed with.
    failed: Option<String>,
}

impl Follower {
    #[must_use]
    pub fn new(catalog: Catalog, pace: Pace) -> Self {
        let (streams, known, batch) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (told, counts, looked) = (Definitions::default(), Counts::default(), issue::Looked::default());
        let (rules, retained, has_looked) = (Rules::default(), None, false);
        let (signer, failed) = (None, None);
        Self { catalog, pace, streams, known, batch, told, counts, signer, looked, rules, retained, has_looked, failed }
    }

    /// Days go when their time is over.
    #[must_use]
    pub fn with_retention(mut self, rules: Rules) -> Self {
        self.set_retention(rules);
        self
    }

    pub fn set_retention(&mut self, rules: Rules) {
        (self.rules, self.retained) = (rules, None);
    }

    /// Certificates are signed from now on.
    #[must_use]
    pub fn with_signer(mut self, signer: Option<Signer>) -> Self {
        self.signer = signer;
        self
    }

    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Begins anew after an error, from what is on the disk.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn reopen(self) -> Result<Self, StoreError> {
        let Self { catalog, pace, counts, signer, rules, .. } = self;
        Ok(Self { counts, ..Self::new(catalog.reopen()?, pace).with_signer(signer).with_retention(rules) })
    }

    /// What storing failed with; only [`Follower::reopen`] goes on from here.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(why) = &self.failed {
            return Err(StoreError::Stopped(why.clone()));
        }
        let done = work(self);
        match &done {
            // Found before anything was touched.
            Ok(_) | Err(StoreError::Unsynced(_)) => {}
            Err(e) => self.failed = Some(e.to_string()),
        }
        done
    }

    /// Reads what is new. True when there may be more.
    ///
    /// # Errors
    /// A topic that cannot be looked up; storing that fails: see [`Follower::failed`].
    pub fn poll(&mut self, tape: &Tape, now: Ts) -> Result<bool, StoreError> {
        self.guarded(|it| it.read_on(tape, now))
    }

    fn read_on(&mut self, tape: &Tape, now: Ts) -> Result<bool, StoreError> {
        self.find_topics(tape)?;
        let mut more = false;
        // Kept along: to sum ten thousand streams after each of them takes longer than to read them.
        let mut bytes = self.bytes();
        for at in 0..self.streams.len() {
            let before = self.streams[at].bytes();
            let n = self.read_topic(at, now)?;
            more |= n >= BATCH;
            if n > 0 {
                bytes = bytes + self.streams[at].bytes() - before;
                if bytes > self.pace.budget {
                    self.relieve(now)?;
                    bytes = self.bytes();
                }
            }
        }
        Ok(more)
    }

    /// Takes what comes next of a topic. Returns how many records and receipts it was.
    fn read_topic(&mut self, at: usize, now: Ts) -> Result<usize, StoreError> {
        let stream = &mut self.streams[at];
        let n = stream.reader.poll_next(&mut self.batch, BATCH);
        for delivery in self.batch.drain(..) {
            match &delivery {
                Delivery::Record(shared) => {
                    let record = shared.record();
                    self.told.see(&stream.topic, &record);
                    stream.take(record, now);
                }
                Delivery::Missed { from, to, why } => stream.miss(*from, *to, *why, now)?,
                Delivery::Disconnected { .. } => {}
            }
        }
        Ok(n)
    }

    /// Stores all that the tape holds of one topic now, late rows too: history as of its head can be read then.
    ///
    /// # Errors
    /// As [`Follower::poll`].
    pub fn store_topic(&mut self, tape: &Tape, topic: &Topic, now: Ts) -> Result<(), StoreError> {
        self.guarded(|it| {
            it.find_topics(tape)?;
            // Not every topic is kept.
            let Some(at) = it.known.get(topic).copied().filter(|at| *at < it.streams.len()) else { return Ok(()) };
            let head = it.streams[at].reader.head();
            while it.streams[at].reader.position() < head && it.read_topic(at, now)? > 0 {
                if it.bytes() > it.pace.budget {
                    it.relieve(now)?;
                }
            }
            it.store(at, true, true, now)
        })
    }

    fn find_topics(&mut self, tape: &Tape) -> Result<(), StoreError> {
        let topics = tape.topics();
        self.has_looked = true;
        if topics.len() == self.known.len() {
            return Ok(());
        }
        for state in topics {
            if self.known.contains_key(&state.topic) {
                continue;
            }
            if !is_kept(state.topic.kind()) {
                self.known.insert(state.topic, usize::MAX);
                continue;
            }
            let name = state.topic.as_str();
            let seqs = self.catalog.state().stored_of(name);
            let floor = Ts(self.catalog.state().live.get(name).copied().unwrap_or(0));
            let stream = Stream::open(tape, state.topic.clone(), seqs, floor)?;
            self.known.insert(state.topic, self.streams.len());
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Each topic, and the seq up to which all of it is stored: what the tape may let go. None when storing failed.
    #[must_use]
    pub fn stored(&self) -> Vec<(Topic, u64)> {
        if self.failed.is_some() {
            // What is in memory is not all that waits.
            return Vec::new();
        }
        let upto = |s: &Stream| {
            let waiting = s.live.values().chain(s.late.values()).filter_map(Rows::first_seq).min();
            waiting.map_or(s.reader.position(), |first| first - 1)
        };
        self.streams.iter().map(|s| (s.topic.clone(), upto(s))).collect()
    }

    /// Records on the tape that are in no buffer and no file yet.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.streams.iter().map(|s| s.reader.head().saturating_sub(s.reader.position())).sum()
    }

    /// Bytes in all buffers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.streams.iter().map(Stream::bytes).sum()
    }

    /// Stores the largest buffers until half of the budget is free.
    fn relieve(&mut self, now: Ts) -> Result<(), StoreError> {
        while self.bytes() > self.pace.budget / 2 {
            let Some(largest) = (0..self.streams.len()).max_by_key(|i| self.streams[*i].bytes()) else { return Ok(()) };
            if self.streams[largest].is_empty() {
                return Ok(());
            }
            self.store(largest, true, true, now)?;
        }
        Ok(())
    }

    /// Stores what is due.
    ///
    /// # Errors
    /// As [`Catalog::add`] and [`Catalog::replace`].
    pub fn tend(&mut self, now: Ts) -> Result<(), StoreError> {
        self.guarded(|it| it.store_due(now))
    }

    fn store_due(&mut self, now: Ts) -> Result<(), StoreError> {
        self.catalog.sweep(crate::catalog::GRACE)?;
        for at in 0..self.streams.len() {
            let s = &self.streams[at];
            let over = |since: Option<Ts>, after: Duration| since.is_some_and(|t| now.since(t) >= after);
            let late = over(s.late_since, self.pace.rewrite_every);
            let day_over = s.oldest.is_some_and(|t| {
                names::day_of(t) < names::day_of(now)
                    && now.since(names::day_start(names::day_of(t) + 1)) >= self.pace.seal_after
            });
            if late || day_over || over(s.since, self.pace.flush_every) {
                self.store(at, day_over, late, now)?;
            }
        }
        self.seal(now)?;
        self.certify(now);
        // A certificate's line that failed may stand half in the log: nothing is committed behind it.
        self.catalog.manifest.check()?;
        self.retain(now)
    }

    /// Lets days go whose time is over.
    fn retain(&mut self, now: Ts) -> Result<(), StoreError> {
        let is_due = |(at, sealed)| now.since(at) >= RETAIN_EVERY || self.counts.sealed != sealed;
        if self.rules.is_forever() || !self.retained.is_none_or(is_due) {
            return Ok(());
        }
        let plan = retain::plan(self.catalog.state(), &self.rules, now);
        let mut gone = Gone::default();
        let done = retain::carry_out(&mut self.catalog, &plan, RETAIN_AT_ONCE, &mut gone);
        self.counts.retired_rows += gone.rows;
        self.counts.retired_bytes += gone.bytes;
        self.retained = done?.then_some((now, self.counts.sealed));
        Ok(())
    }

    /// Issues the certificates that are due: of days that are over, sealed, and of which nothing waits in memory. One that cannot
    /// be issued keeps nothing from being stored.
    fn certify(&mut self, now: Ts) {
        let until = names::day_of(now - self.pace.seal_after);
        let waiting = self.streams.iter().filter_map(|s| Some((subject(&s.topic), names::day_of(s.oldest?))));
        self.counts.certificates +=
            issue::all(&mut self.catalog, self.signer.as_ref(), &mut self.looked, until, waiting);
        self.counts.certificates_failed = self.looked.failed;
    }

    /// Certificates that could not be issued when it was last tried: of what, and why.
    #[must_use]
    pub fn uncertified(&self) -> &[(String, StoreError)] {
        &self.looked.failures
    }

    /// Stores everything.
    ///
    /// # Errors
    /// As [`Follower::tend`].
    pub fn flush(&mut self, now: Ts) -> Result<(), StoreError> {
        self.guarded(|it| (0..it.streams.len()).try_for_each(|at| it.store(at, true, true, now)))
    }

    /// Days that are over, and of which everything is stored, become one file each.
    fn seal(&mut self, now: Ts) -> Result<(), StoreError> {
        let due = now - self.pace.seal_after;
        // Days that begin before it are over where they end by it.
        let days: Vec<_> = self.catalog.state().parts.loose_before(names::day_of(due)).cloned().collect();
        let before = self.counts.sealed;
        for (day, topic, table) in days {
            if self.counts.sealed - before >= SEAL_AT_ONCE as u64 {
                break;
            }
            let Ok(parsed) = Topic::parse(&topic) else { continue };
            let at = match self.known.get(&parsed) {
                Some(at) => *at,
                // It is not on the tape any more: nothing of it is waiting anywhere.
                None if self.has_looked => usize::MAX,
                None => continue,
            };
            let mut change = Change::default();
            let mut next = names::day_start(day + 1);
            if let Some(s) = self.streams.get(at) {
                let behind = !s.is_at_head() && names::day_of(s.last) <= day;
                if behind || s.oldest.is_some_and(|t| names::day_of(t) <= day) {
                    continue;
                }
                next = next.max(s.last);
            }
            // What was received in that day and comes from now on belongs to the next one.
            let floor = self.catalog.state().live.get(&topic).copied().unwrap_or(0);
            change.live.insert(topic.clone(), next.0.max(floor));
            let Some(table) = Table::parse(&table) else { continue };
            self.counts.repeats +=
                compact::day_and(&mut self.catalog, &topic, table, day, Rows::default(), true, change)?;
            if let Some(s) = self.streams.get_mut(at) {
                s.last = s.last.max(names::day_start(day + 1));
            }
            self.counts.sealed += 1;
        }
        Ok(())
    }

    /// Stores a topic's rows: all of them when `whole`, else those that no other can share a time with.
    fn store(&mut self, at: usize, whole: bool, late_too: bool, now: Ts) -> Result<(), StoreError> {
        let stream = &mut self.streams[at];
        if stream.is_empty() {
            return Ok(());
        }
        let topic = stream.topic.clone();
        // What a power loss takes from the tape comes again with another seq: not before the disk has it.
        if !stream.reader.wait_synced(SYNC_WAIT)? {
            return Err(StoreError::Unsynced(topic.as_str().to_owned()));
        }
        // A late row behind everything takes all before it along.
        let behind = |r: &Rows| r.iter().any(|(ts, _)| ts >= stream.last);
        let whole = whole || stream.late.values().any(behind);
        let edge = if whole { Ts(stream.last.0 + 1) } else { stream.last };
        let mut live: BTreeMap<Table, Rows> = BTreeMap::new();
        for (table, rows) in &mut stream.live {
            let upto = (0..rows.len()).rposition(|i| rows.ts_init(i) < edge).map_or(0, |i| i + 1);
            let rest = rows.split_off(upto);
            live.insert(*table, std::mem::replace(rows, rest));
        }
        stream.oldest = stream.live.values().filter(|r| !r.is_empty()).map(|r| r.ts_init(0)).min();
        stream.since = stream.oldest.map(|_| now);
        // Rows of one time are never in two files: the next one comes later than all that is stored now.
        stream.last = stream.last.max(edge);
        let floor = edge.max(Ts(self.catalog.state().live.get(topic.as_str()).copied().unwrap_or(0)));
        let mut late = std::mem::take(&mut self.streams[at].late);
        if !late_too {
            // Those that follow everything stored go with the live rows; the others wait for their time.
            for (table, rows) in &mut late {
                let held = self.split_late(&topic, *table, rows)?;
                if !held.is_empty() {
                    self.streams[at].late.insert(*table, held);
                }
            }
        }
        let waits = self.streams[at].late.values().any(|r| !r.is_empty());
        if !waits {
            self.streams[at].late_since = None;
        }
        self.commit(&topic, live, late, floor)
    }

    /// Takes the late rows that belong among stored ones out of `rows`.
    fn split_late(&self, topic: &Topic, table: Table, rows: &mut Rows) -> Result<Rows, StoreError> {
        let (mut front, mut held) = (Rows::default(), Rows::default());
        for (ts, record) in rows.iter() {
            if self.home(topic, table, &record)?.is_some() {
                held.push(ts, record);
            } else {
                front.push(ts, record);
            }
        }
        *rows = front;
        Ok(held)
    }

    /// The day of stored rows that a late row belongs among; `None`: behind all of them.
    fn home(
        &self,
        topic: &Topic,
        table: Table,
        record: &wholetape_model::Record<'_>,
    ) -> Result<Option<i64>, StoreError> {
        let of = |p: &&Part| p.table == table.as_str();
        let mut parts: Vec<&Part> = self.catalog.state().parts.of_topic(topic.as_str()).filter(of).collect();
        parts.sort_unstable_by_key(|p| p.from);
        let day = names::day_of(record.ts_event());
        if parts.is_empty() && self.catalog.state().is_let_go(topic.as_str(), day) {
            return Ok(Some(day));
        }
        if let Body::Trade(t) = record.view()?
            && let Some(id) = t.counted(record.flags())
        {
            let after = parts.iter().position(|p| p.ids.is_some_and(|ids| ids.1 > id));
            let Some(after) = after else {
                // A sealed file's name covers its day: nothing of that day comes to lie beside it.
                return Ok(parts.last().filter(|p| p.sealed && p.day >= day).map(|p| p.day));
            };
            let next = parts[after];
            if next.ids.is_some_and(|ids| ids.0 < id) {
                return Ok(Some(next.day));
            }
            // Between two parts, or before the first: by time, but not across either.
            let before = after.checked_sub(1).map_or(i64::MIN, |i| parts[i].to);
            return Ok(Some(names::day_of(Ts(record.ts_event().0.max(before).min(next.from)))));
        }
        Ok(parts
            .iter()
            .any(|p| p.day > day || p.day == day && (p.sealed || p.to >= record.ts_event().0))
            .then_some(day))
    }

    fn commit(
        &mut self,
        topic: &Topic,
        live: BTreeMap<Table, Rows>,
        late: BTreeMap<Table, Rows>,
        floor: Ts,
    ) -> Result<(), StoreError> {
        let mut staged = Vec::new();
        let mut change = Change::default();
        let mut rewrite: BTreeMap<(Table, i64), Rows> = BTreeMap::new();
        let tables: Vec<Table> = live.keys().chain(late.keys()).copied().collect();
        let (digits, before) = digits::pinned(&self.catalog, &self.told, topic, live.values().chain(late.values()));
        if Some(digits) != before {
            change.digits.insert(digits::key(topic).to_owned(), digits);
            change.repin.extend(before.map(|_| digits::key(topic).to_owned()));
        }
        let mut done = std::collections::BTreeSet::new();
        for table in tables {
            if !done.insert(table) {
                continue;
            }
            let mut front = Rows::default();
            for (ts, record) in late.get(&table).into_iter().flat_map(Rows::iter) {
                let home = self.home(topic, table, &record)?;
                if home.is_some_and(|day| self.catalog.state().is_let_go(topic.as_str(), day)) {
                    // Its neighbours are not there any more. The tape is not asked for it again either.
                    change.retired.entry(topic.as_str().to_owned()).or_default().add(record.prev() + 1, record.seq());
                    self.counts.too_late += 1;
                    continue;
                }
                self.counts.late_rows += 1;
                match home {
                    Some(day) => rewrite.entry((table, day)).or_default().push(ts, record),
                    None => front.push(ts, record),
                }
            }
            let empty = Rows::default();
            let rows = live.get(&table).unwrap_or(&empty);
            self.counts.rows += rows.len() as u64;
            self.write_new(topic, table, rows, front, digits, &mut staged)?;
        }
        self.counts.parts += staged.len() as u64;
        if let Some(to) = staged.iter().map(|s| s.part.to).max() {
            let floor = floor.max(Ts(to + 1));
            change.live.insert(topic.as_str().to_owned(), floor.0);
            if let Some(stream) = self.known.get(topic).and_then(|at| self.streams.get_mut(*at)) {
                stream.last = stream.last.max(floor);
            }
        }
        if !staged.is_empty() || !change.digits.is_empty() || !change.retired.is_empty() {
            if let Some(stream) = self.known.get(topic).and_then(|at| self.streams.get_mut(*at))
                && stream.gone_before > 0
            {
                let gone = change.retired.entry(topic.as_str().to_owned()).or_default();
                gone.add(1, std::mem::take(&mut stream.gone_before));
            }
            self.catalog.add(staged, change)?;
        }
        if before.is_some_and(|before| before != digits) {
            compact::repin(&mut self.catalog, digits::key(topic))?;
        }
        for ((table, day), rows) in rewrite {
            let sealed = self.is_sealed(topic, table, day);
            self.counts.repeats += compact::day(&mut self.catalog, topic.as_str(), table, day, rows, sealed)?;
            self.counts.rewritten += 1;
        }
        Ok(())
    }

    fn is_sealed(&self, topic: &Topic, table: Table, day: i64) -> bool {
        self.catalog
            .state()
            .parts
            .of_day(topic.as_str(), day)
            .find(|p| p.table == table.as_str())
            .is_some_and(|p| p.sealed)
    }

    /// Writes rows that follow everything stored of their table: a part for each day.
    fn write_new(
        &mut self,
        topic: &Topic,
        table: Table,
        live: &Rows,
        late: Rows,
        digits: (u8, u8),
        staged: &mut Vec<Staged>,
    ) -> Result<(), StoreError> {
        if live.is_empty() && late.is_empty() {
            return Ok(());
        }
        let of = |p: &&Part| p.table == table.as_str();
        let parts = &self.catalog.state().parts;
        let stored_to = parts.of_topic(topic.as_str()).filter(of).map(|p| p.to).max();
        let mut merged = Rows::default();
        let low = stored_to.map_or(Ts::ZERO, |t| Ts(t + 1));
        let mut merge = Late::new(table, late, (low, Ts::MAX))?;
        let mut out = |ts: Ts, record: wholetape_model::Record<'_>| -> Result<(), StoreError> {
            merged.push(ts, record);
            Ok(())
        };
        for (ts, record) in live.iter() {
            merge.before(ts, record, &mut out)?;
        }
        merge.rest(&mut out)?;
        let mut at = 0;
        while at < merged.len() {
            let day = names::day_of(merged.ts_init(at));
            let end = (at..merged.len()).find(|i| names::day_of(merged.ts_init(*i)) != day).unwrap_or(merged.len());
            let before = self.catalog.state().parts.of_day(topic.as_str(), day).filter(of).map(|p| p.to).max();
            let from = before.map_or(names::day_start(day), |t| Ts(t + 1));
            let of = Of { topic: topic.clone(), table, day, name: (from, merged.ts_init(end - 1)), sealed: false };
            let told = compact::told(
                &*self.catalog.disk,
                self.catalog.data(),
                self.catalog.state(),
                topic.as_str(),
                table,
                from,
            )?;
            let (n, number) = (self.catalog.next_staged(), self.catalog.manifest.next_part());
            let mut part = PartWriter::new(self.catalog.target(), of, digits, told, n);
            for (ts, record) in merged.range(at..end) {
                part.push(ts, record)?;
            }
            staged.extend(part.finish(number)?);
            at = end;
        }
        Ok(())
    }
}

/// Whether topics of this kind are stored: all but copies of what other topics say, and raw frames.
#[must_use]
pub fn is_stored(kind: wholetape_model::Kind) -> bool {
    is_kept(kind)
}
