//! Which names of publications were used, and what came of them (PROTOCOL §5).
//!
//! Three rings of memory: the *window* has the results of the last minutes; behind it a hash per name still says that it was used;
//! behind that only a name which carries its time ([`super::name`]) can be told to be an old one. Pure: time is an argument.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wholetape_model::{Topic, Ts};

use super::name;

/// A client's clock may be so far behind ours.
const SKEW_NS: i64 = 60_000_000_000;

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// A result is kept for so long …
    pub age: Duration,
    /// … unless its principal published more than this since …
    pub each: usize,
    /// … or there are more than this of all.
    pub all: usize,
    /// Names that are known to be used, without their results.
    pub used: usize,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// The same publication, with this result; `sure`: it is on the disk.
    Same {
        seq: u64,
        sure: bool,
    },
    /// It was used for another one.
    Another,
    /// It was used too long ago, or may have been.
    Expired,
}

struct Kept {
    /// Its place in the order.
    n: u64,
    seq: u64,
    print: u64,
    at: Ts,
    sure: bool,
}

#[derive(Default)]
struct Names {
    by_mid: HashMap<Arc<str>, Kept>,
    /// Oldest first, each with its place; one that was taken back since has another place, or none.
    order: VecDeque<(Arc<str>, u64)>,
}

pub(crate) struct Window {
    bounds: Bounds,
    by_principal: HashMap<Arc<str>, Names>,
    kept: usize,
    /// The next place in the order.
    next: u64,
    used: HashSet<u64>,
    used_order: VecDeque<(u64, Ts)>,
    /// Every name that was used from then on is known.
    whole_since: Ts,
}

/// What a publication is compared by: topic, event and the value of its data, however it is written.
pub(crate) fn print(topic: &Topic, event: &str, data: &str) -> u64 {
    let value = serde_json::from_str::<serde_json::Value>(data).map_or_else(|_| data.to_owned(), |v| v.to_string());
    hash(&[topic.as_str(), event, &value])
}

fn hash(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// What a name is known by, when its result is forgotten.
pub(crate) fn hash_of(principal: &str, mid: &str) -> u64 {
    hash(&[principal, mid])
}

impl Window {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            by_principal: HashMap::new(),
            kept: 0,
            next: 0,
            used: HashSet::new(),
            used_order: VecDeque::new(),
            whole_since: Ts(i64::MIN),
        }
    }

    /// Names that were used before `ts` may be unknown.
    pub fn know_since(&mut self, ts: Ts) {
        self.whole_since = self.whole_since.max(ts);
    }

    /// Results that are kept.
    pub const fn len(&self) -> usize {
        self.kept
    }

    /// What is known of the name of a publication with this `print`.
    pub fn see(&self, principal: &str, mid: &str, print: u64) -> Known {
        if let Some(kept) = self.by_principal.get(principal).and_then(|names| names.by_mid.get(mid)) {
            return if kept.print == print { Known::Same { seq: kept.seq, sure: kept.sure } } else { Known::Another };
        }
        if self.used.contains(&hash_of(principal, mid)) {
            return Known::Expired;
        }
        match name::time_of(mid) {
            Some(made) if made.0.saturating_add(SKEW_NS) < self.whole_since.0 => Known::Expired,
            _ => Known::New,
        }
    }

    /// Keeps a result. It is not sure until [`Window::confirm`], unless it was read from the log.
    pub fn keep(&mut self, principal: &Arc<str>, mid: &str, print: u64, seq: u64, at: Ts, sure: bool) {
        let mid: Arc<str> = mid.into();
        let names = self.by_principal.entry(principal.clone()).or_default();
        self.next += 1;
        let before = names.by_mid.insert(mid.clone(), Kept { n: self.next, seq, print, at, sure });
        self.kept += usize::from(before.is_none());
        names.order.push_back((mid, self.next));
        let most = self.bounds.each;
        while self.by_principal.get(principal).is_some_and(|n| n.by_mid.len() > most) && self.drop_oldest(principal) {}
        while self.kept > self.bounds.all {
            // Of those with most the one whose oldest is oldest: never what was just kept.
            let weight =
                |names: &Names| (names.by_mid.len(), Reverse(names.order.front().map_or(u64::MAX, |(_, n)| *n)));
            let most = self.by_principal.iter().max_by_key(|(_, names)| weight(names)).map(|(p, _)| p.clone());
            let Some(most) = most else { break };
            // A share at once: finding the one with most looks at all.
            let share = self.kept.saturating_sub(self.bounds.all / 16).min(self.bounds.all);
            while self.kept > share && self.drop_oldest(&most) {}
        }
    }

    /// It is on the disk.
    pub fn confirm(&mut self, principal: &str, mid: &str) {
        if let Some(kept) = self.by_principal.get_mut(principal).and_then(|names| names.by_mid.get_mut(mid)) {
            kept.sure = true;
        }
    }

    /// It did not happen, or is not known to have.
    pub fn forget(&mut self, principal: &str, mid: &str) {
        if let Some(names) = self.by_principal.get_mut(principal) {
            self.kept -= usize::from(names.by_mid.remove(mid).is_some());
        }
    }

    /// Lets go what is older than the window.
    pub fn expire(&mut self, now: Ts) {
        let age = i64::try_from(self.bounds.age.as_nanos()).unwrap_or(i64::MAX);
        let before = now.0.saturating_sub(age);
        let principals: Vec<Arc<str>> = self.by_principal.keys().cloned().collect();
        for principal in principals {
            while self.by_principal.get(&principal).is_some_and(|names| names.oldest().is_none_or(|at| at.0 < before)) {
                if !self.drop_oldest(&principal) {
                    break;
                }
            }
            if self.by_principal.get(&principal).is_some_and(|names| names.by_mid.is_empty()) {
                self.by_principal.remove(&principal);
            }
        }
    }

    /// The name was used, and its result is not kept.
    pub fn note_used(&mut self, hash: u64, at: Ts) {
        if self.used.insert(hash) {
            self.used_order.push_back((hash, at));
        }
        while self.used.len() > self.bounds.used {
            let Some((old, at)) = self.used_order.pop_front() else { break };
            self.used.remove(&old);
            self.know_since(Ts(at.0.saturating_add(1)));
        }
    }

    /// False when the principal has none.
    fn drop_oldest(&mut self, principal: &Arc<str>) -> bool {
        let Some(names) = self.by_principal.get_mut(principal) else { return false };
        let Some((mid, n)) = names.order.pop_front() else { return false };
        if names.by_mid.get(&mid).is_some_and(|kept| kept.n == n)
            && let Some(kept) = names.by_mid.remove(&mid)
        {
            self.kept -= 1;
            self.note_used(hash_of(principal, &mid), kept.at);
        }
        true
    }
}

impl Names {
    /// When the oldest result was made; `None` when the first in order is none any more.
    fn oldest(&self) -> Option<Ts> {
        self.order.front().and_then(|(mid, n)| self.by_mid.get(mid).filter(|kept| kept.n == *n)).map(|kept| kept.at)
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("kept", &self.kept).field("used", &self.used.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
