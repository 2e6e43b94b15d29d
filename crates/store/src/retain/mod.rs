//! How long what is stored stays: days that are over long enough go, topic by topic, each as a whole.
//!
//! A day of a topic goes with all its tables and files when it is sealed and the certificate of its instrument's day speaks of it,
//! oldest first: an earlier day that has to wait lets later ones wait. One line of the manifest names the parts that go, keeps their
//! seqs (what is let go is never stored again from the tape, and never called missing), and then the folders change places as they
//! do when files are replaced: readers see each row that stays once, and a crash leaves a day whole or gone.
//!
//! What stays although its time is over: the definitions that later days need. `plan.rs` decides, nothing here does.

mod plan;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};

pub use plan::{Plan, TopicDay, Why, plan};
pub use rules::{Keep, Kinds, Rule, Rules};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::{Change, subject};

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    pub days: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// Lets go what a plan of this very state says, one commit an instrument, of at most `most` instruments. True: that was all.
///
/// # Errors
/// As [`Catalog::replace`].
pub fn carry_out(catalog: &mut Catalog, plan: &Plan, most: usize, gone: &mut Gone) -> Result<bool, StoreError> {
    let mut subjects: BTreeMap<&str, Vec<&TopicDay>> = BTreeMap::new();
    for day in &plan.go {
        subjects.entry(subject(&day.topic)).or_default().push(day);
    }
    let all = subjects.len() <= most;
    for days in subjects.into_values().take(most) {
        let (mut change, mut remove, mut folders) = (Change::default(), Vec::new(), BTreeSet::new());
        for day in days {
            let let_go = change.let_go.entry(day.topic.clone()).or_default();
            let_go.until = day.day;
            gone.days += 1;
            for part in day.parts.iter().filter_map(|p| catalog.state().parts.get(p)) {
                let bytes = part.bytes();
                (let_go.rows, let_go.bytes) = (let_go.rows + part.rows, let_go.bytes + bytes);
                (gone.rows, gone.bytes) = (gone.rows + part.rows, gone.bytes + bytes);
                change.retired.entry(day.topic.clone()).or_default().add_all(&part.seqs);
                folders.extend(part.files.iter().filter_map(|f| Some(f.path.rsplit_once('/')?.0.to_owned())));
                remove.push(part.part);
            }
        }
        catalog.replace(Vec::new(), remove, change)?;
        for folder in folders {
            catalog.remove_if_empty(&folder)?;
        }
    }
    Ok(all)
}
