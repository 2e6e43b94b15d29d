//! All parts of a catalog by number, and where those of a topic, of an instrument-day and those to be sealed are found.
//!
//! A catalog has as many parts as topics times days, and ten thousand topics that are stored by the hour add two hundred thousand
//! within a day: whatever is done with each commit finds its parts without looking through all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, RangeBounds};

use super::Part;

/// See the module. Reads as the map of parts by number that it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    all: BTreeMap<u64, Part>,
    /// What a topic is about (see [`subject`]), the topic, and its parts by day and number.
    of: BTreeMap<String, BTreeMap<String, BTreeSet<(i64, u64)>>>,
    /// Day, topic and table of what is not one sealed part.
    loose: BTreeSet<(i64, String, String)>,
}

/// What a topic is about: the instrument, or the line.
#[must_use]
pub fn subject(topic: &str) -> &str {
    topic.split_once('.').map_or("", |(_, id)| id)
}

impl Deref for Parts {
    type Target = BTreeMap<u64, Part>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl FromIterator<(u64, Part)> for Parts {
    fn from_iter<I: IntoIterator<Item = (u64, Part)>>(parts: I) -> Self {
        let mut all = Self::default();
        for (_, part) in parts {
            all.insert(part);
        }
        all
    }
}

impl Parts {
    /// Puts a part in, in the place of another with its number.
    pub fn insert(&mut self, part: Part) {
        self.remove(part.part);
        let topics = self.of.entry(subject(&part.topic).to_owned()).or_default();
        topics.entry(part.topic.clone()).or_default().insert((part.day, part.part));
        let (number, key) = (part.part, (part.day, part.topic.clone(), part.table.clone()));
        self.all.insert(number, part);
        self.judge(key);
    }

    pub fn remove(&mut self, number: u64) -> Option<Part> {
        let part = self.all.remove(&number)?;
        let about = subject(&part.topic);
        if let Some(topics) = self.of.get_mut(about) {
            if let Some(numbers) = topics.get_mut(&part.topic) {
                numbers.remove(&(part.day, number));
                if numbers.is_empty() {
                    topics.remove(&part.topic);
                }
            }
            if topics.is_empty() {
                self.of.remove(about);
            }
        }
        self.judge((part.day, part.topic.clone(), part.table.clone()));
        Some(part)
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&u64, &Part) -> bool) {
        let gone: Vec<u64> = self.all.iter().filter(|(number, part)| !keep(number, part)).map(|(n, _)| *n).collect();
        for number in gone {
            self.remove(number);
        }
    }

    /// Notes whether a topic's table of a day is one sealed part.
    fn judge(&mut self, key: (i64, String, String)) {
        let (mut parts, mut sealed) = (0, true);
        for part in self.of_day(&key.1, key.0).filter(|p| p.table == key.2) {
            (parts, sealed) = (parts + 1, sealed && part.sealed);
        }
        if parts > 1 || !sealed {
            self.loose.insert(key);
        } else {
            self.loose.remove(&key);
        }
    }

    fn at(&self, topic: &str, days: impl RangeBounds<(i64, u64)>) -> impl Iterator<Item = &Part> {
        let numbers = self.of.get(subject(topic)).and_then(|topics| topics.get(topic));
        numbers
            .into_iter()
            .flat_map(move |n| n.range((days.start_bound().cloned(), days.end_bound().cloned())))
            .map(|(_, n)| &self.all[n])
    }

    /// A topic's parts, by day.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = &Part> {
        self.at(topic, ..)
    }

    /// A topic's parts of one day.
    pub fn of_day(&self, topic: &str, day: i64) -> impl Iterator<Item = &Part> {
        self.at(topic, (day, 0)..=(day, u64::MAX))
    }

    /// The topics about something that have parts.
    pub fn topics_about(&self, about: &str) -> impl Iterator<Item = &str> {
        self.of.get(about).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Day, topic and table of what is over before `until` (a day) and is not one sealed part yet; the oldest first.
    pub fn loose_before(&self, until: i64) -> impl Iterator<Item = &(i64, String, String)> {
        self.loose.range(..(until, String::new(), String::new()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seqs::Seqs;

    fn part(part: u64, topic: u8, table: u8, day: i64, sealed: bool) -> Part {
        let (topic, table) = (format!("trade.X{topic}.V"), format!("t{table}"));
        let (seqs, ids, files) = (Seqs::default(), None, Vec::new());
        Part { part, topic, table, day, from: 0, to: 1, rows: 1, seqs, ids, sealed, files }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_look_at_all_of_them_finds(
            steps in prop::collection::vec((0_u64..12, 0_u8..3, 0_u8..2, 0_i64..3, any::<bool>(), 0_u8..4), 0..60)
        ) {
            let (mut parts, mut model) = (Parts::default(), BTreeMap::new());
            for (number, topic, table, day, sealed, what) in steps {
                if what == 0 {
                    prop_assert_eq!(parts.remove(number), model.remove(&number));
                } else {
                    let one = part(number, topic, table, day, sealed);
                    parts.insert(one.clone());
                    model.insert(number, one);
                }
                prop_assert_eq!(&*parts, &model);
                for (topic, day) in (0..3).flat_map(|t| (0..3).map(move |d| (format!("trade.X{t}.V"), d))) {
                    let mut expected: Vec<&Part> = model.values().filter(|p| p.topic == topic).collect();
                    expected.sort_by_key(|p| p.day);
                    prop_assert_eq!(parts.of_topic(&topic).collect::<Vec<_>>(), expected.clone());
                    expected.retain(|p| p.day == day);
                    prop_assert_eq!(parts.of_day(&topic, day).collect::<Vec<_>>(), expected.clone());
                    let about: Vec<&str> = parts.topics_about(subject(&topic)).collect();
                    prop_assert_eq!(about.len(), usize::from(model.values().any(|p| p.topic == topic)));
                    for table in ["t0", "t1"] {
                        let of: Vec<&&Part> = expected.iter().filter(|p| p.table == table).collect();
                        let loose = of.len() > 1 || of.iter().any(|p| !p.sealed);
                        let found = parts.loose_before(day + 1).any(|(d, t, b)| (*d, t, b.as_str()) == (day, &topic, table));
                        prop_assert_eq!(found, loose);
                    }
                }
                prop_assert!(parts.loose_before(1).all(|(day, ..)| *day < 1));
            }
            let emptied: Vec<u64> = parts.keys().copied().collect();
            for number in emptied {
                parts.remove(number);
            }
            prop_assert!(parts.of.is_empty() && parts.loose.is_empty());
        }
    }
}
