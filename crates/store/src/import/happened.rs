//! The rows of a topic by when they happened: what a file whose ids are names is held against. They are read as often as somebody asks.

use wholetape_model::{Record, Topic, Ts};

use crate::StoreError;
use crate::catalog::Catalog;
use crate::manifest::Part;
use crate::names;
use crate::rows::Rows;
use crate::scan::PartReader;
use crate::table::Table;

/// Where rows of these venue times may be.
pub struct Happened {
    /// Parts, and of each the groups.
    parts: Vec<(Part, Vec<usize>)>,
    from: Ts,
    to: Ts,
    /// At most so many.
    pub rows: u64,
}

impl Happened {
    /// Of a topic's table what happened in `[from, to)`.
    ///
    /// # Errors
    /// A file that is damaged or not there.
    pub fn open(catalog: &Catalog, topic: &Topic, table: Table, (from, to): (Ts, Ts)) -> Result<Self, StoreError> {
        // A row is stored on the day when it was received: clocks differ, and what came late came later.
        let first = names::day_of(from) - 1;
        let of = |p: &&Part| p.table == table.as_str() && p.day >= first;
        let mut found = Self { parts: Vec::new(), from, to, rows: 0 };
        for part in catalog.state().parts.of_topic(topic.as_str()).filter(of) {
            let reader = PartReader::open(&*catalog.disk, catalog.data(), part)?;
            let may = |group: &usize| reader.events(*group).is_none_or(|(lo, hi)| lo < to.0 && hi >= from.0);
            let groups: Vec<usize> = (0..reader.groups()).filter(may).collect();
            if !groups.is_empty() {
                found.rows += part.rows;
                found.parts.push((part.clone(), groups));
            }
        }
        Ok(found)
    }

    /// Hands over every one of them, in no order.
    ///
    /// # Errors
    /// As [`Happened::open`]; those of `take`.
    pub fn each<E: From<StoreError>>(
        &self,
        catalog: &Catalog,
        take: &mut dyn FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows = Rows::default();
        for (part, groups) in &self.parts {
            let reader = PartReader::open(&*catalog.disk, catalog.data(), part)?;
            for group in groups {
                reader.group(*group, &mut rows)?;
                let wanted = |record: &Record<'_>| (self.from..self.to).contains(&record.ts_event());
                rows.iter().filter(|(_, record)| wanted(record)).try_for_each(|(_, record)| take(&record))?;
            }
        }
        Ok(())
    }
}
