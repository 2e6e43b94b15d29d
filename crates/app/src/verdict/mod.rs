//! Was everything kept? Judged from outside only: what a client of the public protocol received and what a fresh reader of
//! the tape reads, both against the truth that the simulated venues wrote before they served it.
//!
//! No figure here comes from the pipeline's own counters. `compare` holds the rules, `seen` what a reader saw, `facts` the
//! common spelling, `report` the printed form.

mod bybit;
pub mod compare;
mod dydx;
pub mod facts;
pub mod figures;
pub mod follow;
mod kraken;
pub mod matching;
mod okx;
mod places;
pub mod report;
pub mod seen;
pub mod verb;
pub mod wanted;

use std::collections::BTreeMap;

use serde::Serialize;
use wholetape_sim::truth::Truth;

pub use compare::Compared;
pub use figures::Figures;
pub use seen::Seen;
pub use wanted::Wanted;

/// One instrument, both readers.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Instrument {
    /// As in the truth files.
    pub venue: String,
    pub complete: bool,
    pub tape: Compared,
    pub client: Compared,
}

/// What all instruments of a venue come to, as the tape's reader saw them.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct VenueVerdict {
    pub complete: bool,
    pub instruments: u64,
    pub published: u64,
    pub held: u64,
    pub confessed: u64,
    pub trades: u64,
    /// Trades that are gone for good, and said to be: of venues that cannot be asked for past ones.
    pub trades_confessed: u64,
}

/// The verdict. Its JSON is the last line of `wholetape demo --json`.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Verdict {
    pub complete: bool,
    /// Faults that really happened in this run, by kind.
    pub faults: BTreeMap<String, u64>,
    pub venues: BTreeMap<String, VenueVerdict>,
    pub instruments: BTreeMap<String, Instrument>,
    /// What speaks against completeness beside the instruments.
    pub problems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

impl VenueVerdict {
    pub fn begin() -> Self {
        Self { complete: true, ..Self::default() }
    }

    fn add(&mut self, complete: bool, tape: &Compared) {
        self.complete &= complete;
        self.instruments += 1;
        for (name, count) in &tape.kinds {
            self.published += count.truth;
            self.held += count.held;
            self.confessed += count.confessed;
            if name == "trade" {
                self.trades += count.truth;
                self.trades_confessed += count.confessed;
            }
        }
    }
}

impl Verdict {
    /// Adds the figures; a book that was served wrong speaks against completeness.
    pub fn with_figures(mut self, figures: Figures) -> Self {
        if figures.books.invalid_s > 0.0 {
            self.problems.push(format!("a wrong book was served as valid for {} s", figures.books.invalid_s));
            self.complete = false;
        }
        self.figures = Some(figures);
        self
    }
}

/// Compares everything.
pub fn judge(truth: &Truth, wanted: &[Wanted], tape: &Seen, client: &Seen, faults: BTreeMap<String, u64>) -> Verdict {
    let mut verdict = Verdict {
        complete: true,
        faults,
        venues: BTreeMap::new(),
        instruments: BTreeMap::new(),
        problems: Vec::new(),
        figures: None,
    };
    for (who, seen) in [("tape", tape), ("client", client)] {
        verdict.problems.extend(seen.errors.iter().map(|error| format!("{who}: {error}")));
    }
    for one in wanted {
        let Some(truth) = truth.venues.get(&one.venue).and_then(|venue| venue.instruments.get(&one.symbol)) else {
            verdict.problems.push(format!("{} has no truth", one.id));
            continue;
        };
        let tape_side = compare::compare(truth, one, tape, tape);
        let client_side = compare::compare(truth, one, client, tape);
        let complete = tape_side.whole() && client_side.whole();
        verdict.venues.entry(one.venue.clone()).or_insert_with(VenueVerdict::begin).add(complete, &tape_side);
        let instrument = Instrument { venue: one.venue.clone(), complete, tape: tape_side, client: client_side };
        verdict.instruments.insert(one.id.to_string(), instrument);
    }
    if verdict.instruments.is_empty() {
        verdict.problems.push("no instrument was judged".into());
    }
    let events: usize =
        verdict.instruments.values().flat_map(|i| i.tape.kinds.values()).map(|c| c.truth as usize).sum();
    if events == 0 {
        verdict.problems.push("the venues published nothing, so nothing is proven".into());
    }
    verdict.complete = verdict.problems.is_empty() && verdict.instruments.values().all(|i| i.complete);
    verdict
}
