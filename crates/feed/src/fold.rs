//! Repeated log lines folded with a count: 10 000 garbage frames a second are two lines, not 10 000.
//!
//! Pure. Lines are alike when target (a connection, a host) and kind are; the text of the newest stands for all. The first
//! is told at once, the rest once per `every`, with how many they were. Memory is bounded: beyond `KEYS_MAX` keys the
//! oldest is told and forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use wholetape_model::Ts;

const KEYS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    pub target: String,
    pub kind: &'static str,
    pub text: String,
    /// How many lines this one stands for.
    pub count: u64,
}

#[derive(Debug)]
struct Entry {
    held: u64,
    text: String,
    next: Ts,
}

#[derive(Debug)]
pub struct Fold {
    every: Duration,
    entries: BTreeMap<(String, &'static str), Entry>,
}

impl Fold {
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self { every, entries: BTreeMap::new() }
    }

    /// A line came. Returns what is to be written now, if anything. `text` is only built when it is needed.
    pub fn note(&mut self, now: Ts, target: &str, kind: &'static str, text: impl FnOnce() -> String) -> Option<Folded> {
        // The key is owned by the map; a repeat finds it without building one more than this.
        let key = (target.to_owned(), kind);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.held += 1;
            if now < entry.next {
                if entry.held == 1 {
                    entry.text = text();
                }
                return None;
            }
            entry.next = now + self.every;
            let count = std::mem::take(&mut entry.held);
            return Some(Folded { target: key.0, kind, text: text(), count });
        }
        if self.entries.len() >= KEYS_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.next).map(|(k, _)| k.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key.clone(), Entry { held: 0, text: String::new(), next: now + self.every });
        Some(Folded { target: key.0, kind, text: text(), count: 1 })
    }

    /// What was held back and is due; forgets what has been quiet.
    pub fn flush(&mut self, now: Ts) -> Vec<Folded> {
        let mut due = Vec::new();
        let every = self.every;
        self.entries.retain(|(target, kind), entry| {
            if now < entry.next {
                return true;
            }
            if entry.held == 0 {
                return false;
            }
            let count = std::mem::take(&mut entry.held);
            due.push(Folded { target: target.clone(), kind, text: std::mem::take(&mut entry.text), count });
            entry.next = now + every;
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_flood_is_a_few_lines_and_none_is_uncounted() {
        let mut fold = Fold::new(Duration::from_secs(10));
        let mut written: Vec<Folded> = Vec::new();
        for i in 0..300_000_u64 {
            // 10 000 a second for 30 s.
            written.extend(
                fold.note(Ts(0) + MS / 10 * u32::try_from(i).unwrap(), "c1", "garbage", || format!("frame {i}")),
            );
        }
        assert!(written.len() <= 4, "{} lines", written.len());
        written.extend(fold.flush(Ts(0) + MS * 60_000));
        assert_eq!(written.iter().map(|w| w.count).sum::<u64>(), 300_000);
        assert_eq!(written[0].text, "frame 0");
    }

    #[test]
    fn different_lines_are_not_folded_together() {
        let mut fold = Fold::new(Duration::from_secs(10));
        assert!(fold.note(Ts(0), "c1", "garbage", String::new).is_some());
        assert!(fold.note(Ts(0), "c2", "garbage", String::new).is_some());
        assert!(fold.note(Ts(0), "c1", "unknown", String::new).is_some());
        assert!(fold.note(Ts(0), "c1", "garbage", String::new).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut fold = Fold::new(Duration::from_secs(10));
        for i in 0..10_000 {
            fold.note(Ts(i), &format!("target {i}"), "x", String::new);
        }
        assert!(fold.entries.len() <= KEYS_MAX);
        assert!(fold.flush(Ts::MAX).is_empty());
        assert!(fold.entries.is_empty());
    }
}
