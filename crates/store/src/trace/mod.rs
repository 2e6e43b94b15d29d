//! Lineage: where one row came from and where it is, and what is known of one that is not there.
//!
//! Two witnesses are asked, the tape and the catalog; either may be without the row, or not be there at all. The tape is looked at first
//! and the manifest after it, so what was stored and let go in between is found stored. Nothing is changed, nothing is locked:
//! this works beside a running process and on a directory at rest.
//!
//! `stored.rs` finds rows and marks in parts (by the manifest's ranges and the statistics of row groups), `tape.rs` on the tape (of which
//! only what is not stored is read through), `link.rs` the connection and the raw frame.

mod link;
mod stored;
mod tape;

use std::collections::BTreeMap;
use std::path::Path;

use wholetape_model::{Body, Gap, GapState, Kind, Record, Topic, TradeId, Ts};
use wholetape_tape::coverage::Coverage;
use wholetape_tape::{Disk, Tape};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::State;
use crate::scan::may_have_been_replaced;

pub use link::{Life, Turn};
pub use stored::{Covered, Place};

/// How often files that were replaced meanwhile are looked for again.
const LOOKS_MAX: u32 = 5;

/// Which row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A trade, by the venue's id.
    Id(TradeId),
    /// A row or mark of any kind, by its place in its topic.
    Seq(u64),
}

/// A record of its own, as tape or catalog had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept(Box<[u8]>);

impl Kept {
    fn of(record: &Record<'_>) -> Self {
        Self(record.bytes().into())
    }

    /// # Panics
    /// Never: it was made of a record.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        Record::parse(&self.0, false).expect("a record was put there")
    }

    /// The trade id, where it is a trade.
    #[must_use]
    pub fn id(&self) -> Option<TradeId> {
        id(&self.record())
    }
}

fn id(record: &Record<'_>) -> Option<TradeId> {
    match record.view() {
        Ok(Body::Trade(t)) => Some(t.id),
        _ => None,
    }
}

/// The id, where it tells the trade's place among others.
fn counted(record: &Record<'_>) -> Option<u64> {
    match record.view() {
        Ok(Body::Trade(t)) => t.counted(record.flags()),
        _ => None,
    }
}

/// One mark about a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// It covers `(prev, seq]`.
    pub prev: u64,
    pub seq: u64,
    pub at: Ts,
    pub gap: Gap<String>,
}

/// A row that withdraws another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retract {
    pub seq: u64,
    pub at: Ts,
    pub of: u64,
}

/// What a topic says about its own rows.
#[derive(Debug, Default)]
struct Said {
    /// By seq: tape and catalog may both have one.
    marks: BTreeMap<u64, Mark>,
    retracts: BTreeMap<u64, Retract>,
}

impl Said {
    fn take(&mut self, record: &Record<'_>) {
        let (seq, prev, at) = (record.seq(), record.prev(), record.ts_recv());
        match record.view() {
            Ok(Body::Gap(gap)) => {
                self.marks.insert(seq, Mark { prev, seq, at, gap: gap.map(str::to_owned) });
            }
            Ok(Body::Retract(of)) => {
                self.retracts.insert(seq, Retract { seq, at, of });
            }
            _ => {}
        }
    }
}

/// Trades next to the id, and the ends of what is held, where ids count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Around {
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub below: Option<u64>,
    pub above: Option<u64>,
    /// Trades were met whose ids do not count.
    pub loose: bool,
    /// Times of the neighbours, where they were read.
    below_ts: Option<Ts>,
    above_ts: Option<Ts>,
}

impl Around {
    fn see(&mut self, wanted: TradeId, id: u64, ts: Option<Ts>) {
        let Some(wanted) = wanted.number() else { return };
        self.first = Some(self.first.map_or(id, |a| a.min(id)));
        self.last = Some(self.last.map_or(id, |a| a.max(id)));
        if id < wanted && self.below.is_none_or(|b| b < id || b == id && self.below_ts.is_none()) {
            (self.below, self.below_ts) = (Some(id), ts);
        }
        if id > wanted && self.above.is_none_or(|b| b > id || b == id && self.above_ts.is_none()) {
            (self.above, self.above_ts) = (Some(id), ts);
        }
    }
}

/// One row and its way.
#[derive(Debug)]
pub struct Found {
    pub row: Kept,
    /// The time that orders it, once it is stored.
    pub ts_init: Option<Ts>,
    pub stored: Option<Place>,
    /// The lane whose segments hold it.
    pub lane: Option<String>,
    /// The connection that brought it.
    pub life: Option<Life>,
    /// The frame that it stood in.
    pub raw: Option<Kept>,
    /// Gaps that it lay in, each with all marks about it in their order.
    pub gaps: Vec<Vec<Mark>>,
    pub retracts: Vec<Retract>,
}

/// Why there is no such row, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Neither tape nor catalog has a row of the topic.
    NoRows,
    /// It lies in a gap whose newest mark says this.
    Gap(GapState),
    /// The ledger knows that it was held; retention let it go.
    Gone,
    /// Beyond everything held.
    Outside,
    /// Between rows that are held, and no mark speaks of it.
    Unexplained,
    /// It is an id that does not count, so nothing tells when it was.
    Unplaced,
}

/// What is known.
#[derive(Debug)]
pub struct Story {
    /// In the order of their seqs. Several: the venue began to count anew, or the row came twice.
    pub found: Vec<Found>,
    /// Where none was found.
    pub why: Option<Why>,
    /// Gaps that speak of the row that was not found.
    pub gaps: Vec<Vec<Mark>>,
    /// Ids held around it, of trades.
    pub around: Around,
    /// Seqs held, lowest and highest.
    pub seqs: Option<(u64, u64)>,
}

/// Where it is looked.
pub struct Trace<'a> {
    pub disk: &'a dyn Disk,
    /// The data directory.
    pub data: &'a Path,
    pub tape: Option<&'a Tape>,
    /// Read after the tape was opened; `None`: no catalog.
    pub state: Option<State>,
}

impl Trace<'_> {
    /// All topics that tape or catalog have.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let of_tape = self.tape.iter().flat_map(|t| t.topics()).filter(|t| t.head > 0).map(|t| t.topic.to_string());
        let parts = self.state.iter().flat_map(|s| s.parts.values()).map(|p| p.topic.clone());
        let all: std::collections::BTreeSet<String> = of_tape.chain(parts).collect();
        all.into_iter().collect()
    }

    /// Finds the row.
    ///
    /// # Errors
    /// Files that are damaged or cannot be read.
    pub fn run(&mut self, topic: &Topic, wanted: Wanted) -> Result<Story, StoreError> {
        for _ in 0..LOOKS_MAX {
            match self.look(topic, wanted) {
                // Files may be replaced while they are read: the manifest then lists others.
                Err(e) if may_have_been_replaced(&e) => self.state = Some(Catalog::look(self.disk, self.data)?),
                looked => return looked,
            }
        }
        self.look(topic, wanted)
    }

    fn look(&self, topic: &Topic, wanted: Wanted) -> Result<Story, StoreError> {
        let (mut said, mut around) = (Said::default(), Around::default());
        let mut rows: BTreeMap<(u64, Ts), Found> = BTreeMap::new();
        let new = |row: Kept| Found {
            row,
            ts_init: None,
            stored: None,
            lane: None,
            life: None,
            raw: None,
            gaps: Vec::new(),
            retracts: Vec::new(),
        };
        for (row, ts_init, place) in self.stored_rows(topic, wanted, &mut around)? {
            // Rows that the tape never saw have no seq.
            let key = (row.record().seq(), if row.record().seq() == 0 { ts_init } else { Ts::ZERO });
            rows.insert(key, Found { ts_init: Some(ts_init), stored: Some(place), ..new(row) });
        }
        self.stored_marks(topic, &mut said)?;
        let held = self.stored_seqs(topic);
        let known = rows.values().next().map(|f| f.row.clone());
        for row in self.tape_rows(topic, wanted, known.as_ref(), &held, (&mut said, &mut around))? {
            rows.entry((row.record().seq(), Ts::ZERO)).or_insert_with(|| new(row));
        }
        let mut found: Vec<Found> = rows.into_values().collect();
        for one in &mut found {
            self.follow(topic, one, &said)?;
        }
        let mut story = Story { found, why: None, gaps: Vec::new(), around, seqs: self.seqs(topic, &held) };
        if story.found.is_empty() {
            let (why, gaps) = self.why(topic, wanted, &story, &said);
            (story.why, story.gaps) = (Some(why), gaps);
        }
        Ok(story)
    }

    /// Everything about a row that was found.
    fn follow(&self, topic: &Topic, found: &mut Found, said: &Said) -> Result<(), StoreError> {
        let record = found.row.record();
        let (seq, ts_event) = (record.seq(), record.ts_event());
        found.lane = self.lane_of(topic, seq);
        found.retracts = said.retracts.values().filter(|r| seq > 0 && r.of == seq).copied().collect();
        // A live row stands beside gaps that only their times name, a late one lay in them.
        let late = record.flags().is_late() && !record.is_mark();
        let id = counted(&record);
        found.gaps = gaps(said, |m| match id.filter(|_| is_named(&m.gap)) {
            Some(id) => m.gap.from_id <= id && id <= m.gap.to_id,
            None => late && !is_named(&m.gap) && m.gap.from_ts <= ts_event && ts_event <= m.gap.to_ts,
        });
        found.life = self.life(record.conn(), record.ts_recv())?;
        found.raw = match &found.life {
            Some(life) if !late => self.raw(&life.line, &record),
            _ => None,
        };
        Ok(())
    }

    fn why(&self, topic: &Topic, wanted: Wanted, story: &Story, said: &Said) -> (Why, Vec<Vec<Mark>>) {
        let around = &story.around;
        let between = around.below_ts.zip(around.above_ts);
        let gaps = gaps(said, |m| match wanted {
            Wanted::Seq(seq) => m.prev < seq && seq <= m.seq,
            Wanted::Id(id) if is_named(&m.gap) => id >= m.gap.from_id.into() && id <= m.gap.to_id.into(),
            // Between its neighbours, as far as times tell.
            Wanted::Id(_) => between.is_some_and(|(a, b)| m.gap.from_ts <= b && m.gap.to_ts >= a),
        });
        let newest = gaps.iter().filter_map(|g| g.last()).max_by_key(|m| m.seq);
        if let Some(mark) = newest {
            return (Why::Gap(mark.gap.state), gaps);
        }
        if story.seqs.is_none() && around.first.is_none() {
            return (Why::NoRows, gaps);
        }
        let why = match wanted {
            Wanted::Id(id) if id.number().is_some_and(|id| self.held_once(topic, id)) => Why::Gone,
            Wanted::Id(id) if id.is_uuid() || around.loose => Why::Unplaced,
            Wanted::Id(id)
                if around.first.is_none_or(|a| id < a.into()) || around.last.is_none_or(|b| id > b.into()) =>
            {
                Why::Outside
            }
            Wanted::Id(_) => Why::Unexplained,
            Wanted::Seq(seq) if story.seqs.is_some_and(|(a, b)| seq < a || seq > b) => Why::Outside,
            Wanted::Seq(_) => Why::Unexplained,
        };
        (why, gaps)
    }

    /// Whether the coverage ledger of the tape knows the id as held.
    fn held_once(&self, topic: &Topic, id: u64) -> bool {
        let Some(tape) = self.tape else { return false };
        let ledger = Coverage::open(tape).coverage;
        ledger.topic(topic).is_some_and(|t| t.runs.holds(id) == Some(true))
    }
}

/// Whether a trade can be asked for by id.
#[must_use]
pub const fn has_ids(kind: Kind) -> bool {
    matches!(kind, Kind::Trade | Kind::TradeRaw)
}

fn is_named(gap: &Gap<String>) -> bool {
    gap.from_id > 0 && gap.from_id <= gap.to_id
}

/// Gaps of which a mark is about what is asked for, each with all its marks.
fn gaps(said: &Said, about: impl Fn(&Mark) -> bool) -> Vec<Vec<Mark>> {
    let mut all: BTreeMap<u64, Vec<Mark>> = BTreeMap::new();
    for mark in said.marks.values() {
        all.entry(mark.gap.gap).or_default().push(mark.clone());
    }
    all.into_values().filter(|marks| marks.iter().any(&about)).collect()
}
