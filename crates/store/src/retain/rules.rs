//! For how long each topic's days are kept: one general time, and rules for kinds and venues.
//!
//! The most specific rule wins, and kind decides before venue: one kind (`bar-1m`), then all bars (`bar`), then any kind; of the
//! same kind a rule for the topic's venue, then one for all venues. So no two different rules are ever equally specific; the same
//! rule twice is refused.

use std::fmt;
use std::time::Duration;

use wholetape_model::{Kind, Topic, Ts};

use crate::names;
use crate::stream::is_kept;

/// How long a day stays after its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    #[default]
    Forever,
    For(Duration),
}

impl Keep {
    /// The newest day that has been over for long enough; `None`: days stay.
    #[must_use]
    pub fn over(self, now: Ts) -> Option<i64> {
        match self {
            Self::Forever => None,
            Self::For(time) => Some(names::day_of(now - time) - 1),
        }
    }
}

/// The kinds of topics that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    Any,
    /// Of every period.
    Bars,
    One(Kind),
}

impl Kinds {
    /// A kind as topics begin with it, or `bar`. `None`: no kind that is stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "bar" {
            return Some(Self::Bars);
        }
        Kind::parse(text).ok().filter(|k| is_kept(*k)).map(Self::One)
    }

    const fn specific(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Bars => 1,
            Self::One(_) => 2,
        }
    }

    fn has(self, kind: Kind) -> bool {
        match self {
            Self::Any => true,
            Self::Bars => matches!(kind, Kind::Bar(_)),
            Self::One(one) => one == kind,
        }
    }
}

/// How long some topics are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub kinds: Kinds,
    /// `None`: of every venue, and topics that are of none.
    pub venue: Option<String>,
    pub keep: Keep,
}

impl Rule {
    fn is_for(&self, topic: &Topic) -> bool {
        self.kinds.has(topic.kind()) && self.venue.as_deref().is_none_or(|v| venue(topic) == Some(v))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kinds, &self.venue) {
            (Kinds::Any, None) => f.write_str("keep"),
            (Kinds::Any, Some(venue)) => write!(f, "venue {venue}"),
            (kinds, venue) => {
                f.write_str("kind ")?;
                match kinds {
                    Kinds::One(kind) => write!(f, "{kind}")?,
                    _ => f.write_str("bar")?,
                }
                venue.as_ref().map_or(Ok(()), |venue| write!(f, ", venue {venue}"))
            }
        }
    }
}

/// The venue of a topic about an instrument; topics about a line have none.
fn venue(topic: &Topic) -> Option<&str> {
    topic.subject().rsplit_once('.').map(|(_, venue)| venue)
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Default for Rules {
    fn default() -> Self {
        Self(vec![Rule { kinds: Kinds::Any, venue: None, keep: Keep::Forever }])
    }
}

impl Rules {
    /// # Errors
    /// The places of two rules that are for the same topics.
    pub fn new(keep: Keep, rules: Vec<Rule>) -> Result<Self, (usize, usize)> {
        let like = |a: &Rule, b: &Rule| a.kinds == b.kinds && a.venue == b.venue;
        for (i, rule) in rules.iter().enumerate() {
            if let Some(first) = rules[..i].iter().position(|r| like(r, rule)) {
                return Err((first, i));
            }
        }
        let mut all = vec![Rule { kinds: Kinds::Any, venue: None, keep }];
        all.extend(rules);
        Ok(Self(all))
    }

    /// The rule that a topic's days go by.
    #[must_use]
    pub fn of(&self, topic: &Topic) -> &Rule {
        let specific = |r: &&Rule| (r.kinds.specific(), r.venue.is_some());
        // The first one is for every topic.
        self.0.iter().filter(|r| r.is_for(topic)).max_by_key(specific).unwrap_or(&self.0[0])
    }

    /// Whether any day ever goes.
    #[must_use]
    pub fn is_forever(&self) -> bool {
        self.0.iter().all(|r| r.keep == Keep::Forever)
    }

    /// All of them, the general one first.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [&str; 6] = ["", "bar", "bar-1m", "bar-1h", "trade", "link"];
    const VENUES: [&str; 3] = ["", "BINANCE", "KRAKEN"];
    const TOPICS: [&str; 7] = [
        "trade.BTCUSDT.BINANCE",
        "trade.XBT/USD.KRAKEN",
        "bar-1m.BTCUSDT.BINANCE",
        "bar-1h.BTCUSDT.KRAKEN",
        "book.BTCUSDT.BINANCE",
        "link.spot",
        "trade-raw.BTC.USDT.BINANCE",
    ];

    fn kinds(text: &str) -> Kinds {
        if text.is_empty() { Kinds::Any } else { Kinds::parse(text).unwrap() }
    }

    /// What the words of the module say, one after the other.
    fn expected(topic: &str, rules: &[(usize, usize)]) -> Option<usize> {
        let (kind, subject) = topic.split_once('.').unwrap();
        let venue = subject.rsplit_once('.').map_or("-", |s| s.1);
        let all_bars = if kind.starts_with("bar-") { "bar" } else { "-" };
        for kind in [kind, all_bars, ""] {
            for venue in [venue, ""] {
                let found = rules.iter().position(|(k, v)| KINDS[*k] == kind && VENUES[*v] == venue);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    proptest! {
        #[test]
        fn the_most_specific_rule_wins(picked in proptest::collection::vec((0_usize..6, 0_usize..3), 0..12)) {
            let picked: Vec<_> = picked.into_iter().filter(|p| *p != (0, 0)).collect();
            let days = |n: usize| Keep::For(Duration::from_secs(86_400 * (n as u64 + 1)));
            let rule = |(i, (k, v)): (usize, &(usize, usize))| {
                let venue = (!VENUES[*v].is_empty()).then(|| VENUES[*v].to_owned());
                Rule { kinds: kinds(KINDS[*k]), venue, keep: days(i) }
            };
            let rules = Rules::new(Keep::Forever, picked.iter().enumerate().map(rule).collect());
            let mut once = picked.clone();
            once.sort_unstable();
            once.dedup();
            match rules {
                Ok(rules) => {
                    prop_assert_eq!(once.len(), picked.len());
                    prop_assert_eq!(rules.is_forever(), picked.is_empty());
                    for topic in TOPICS {
                        let keep = expected(topic, &picked).map_or(Keep::Forever, days);
                        prop_assert_eq!(rules.of(&Topic::parse(topic).unwrap()).keep, keep, "{}", topic);
                    }
                }
                Err((first, second)) => {
                    prop_assert!(first < second);
                    prop_assert_eq!(picked[first], picked[second]);
                }
            }
        }

        #[test]
        fn a_day_stays_until_its_end_is_long_enough_ago(hours in 24_u64..10_000, at in 0_i64..2_000_000_000) {
            let (keep, now) = (Duration::from_secs(hours * 3_600), Ts(at * 1_000_000_000));
            let last = Keep::For(keep).over(now).unwrap();
            let age = |day: i64| now.0 - names::day_start(day + 1).0;
            let keep = i64::try_from(keep.as_nanos()).unwrap();
            prop_assert!(age(last) >= keep, "{} went early", last);
            prop_assert!(age(last + 1) < keep, "{} should have gone", last + 1);
        }
    }

    #[test]
    fn kinds_that_are_not_stored_are_none() {
        for odd in ["gap", "raw", "coverage", "consolidated", "trades", "bar-", ""] {
            assert_eq!(Kinds::parse(odd), None, "{odd}");
        }
        let rule = |kinds, venue: &str| Rule {
            kinds: Kinds::parse(kinds).unwrap_or(Kinds::Any),
            venue: (!venue.is_empty()).then(|| venue.to_owned()),
            keep: Keep::Forever,
        };
        let names: Vec<String> =
            [("", ""), ("", "OKX"), ("bar", ""), ("bar-1m", "OKX")].map(|(k, v)| rule(k, v).to_string()).into();
        assert_eq!(names, ["keep", "venue OKX", "kind bar", "kind bar-1m, venue OKX"]);
    }
}
