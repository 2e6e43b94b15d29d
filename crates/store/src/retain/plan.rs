//! Which days may go, and why others wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wholetape_model::{Kind, Topic, Ts};

use super::rules::Rules;
use crate::manifest::{Part, Role, State, subject};
use crate::table::Table;

/// A sealed day whose certificate cannot be issued goes without, so much later: a damaged file must not fill the disk.
const WITHOUT_CERTIFICATE: Duration = Duration::from_secs(7 * 86_400);

/// All that is stored of a topic's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDay {
    pub topic: String,
    pub day: i64,
    /// The rule that says so.
    pub rule: String,
    pub parts: Vec<u64>,
}

/// Why a day stays although its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Not everything of it is stored and sealed yet.
    Unsealed,
    /// No certificate speaks of all of it yet.
    Uncertified,
    /// An earlier day of the topic waits.
    Earlier,
    /// A definition that is in force on a day that stays.
    Definition,
}

impl Why {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsealed => "not sealed yet",
            Self::Uncertified => "no certificate yet",
            Self::Earlier => "an earlier day waits",
            Self::Definition => "later days need this definition",
        }
    }
}

/// What goes, and what is due and stays. By topic and day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub go: Vec<TopicDay>,
    pub stay: Vec<(TopicDay, Why)>,
}

type Days<'a> = BTreeMap<i64, Vec<&'a Part>>;

/// Looks what may go.
#[must_use]
pub fn plan(state: &State, rules: &Rules, now: Ts) -> Plan {
    let mut plan = Plan::default();
    if rules.is_forever() {
        return plan;
    }
    let mut topics: BTreeMap<&str, Days<'_>> = BTreeMap::new();
    for part in state.parts.values() {
        topics.entry(&part.topic).or_default().entry(part.day).or_default().push(part);
    }
    // The oldest day that an instrument keeps.
    let mut oldest: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, days) in &topics {
        let (go, stay) = of_topic(state, rules, name, days, now);
        let gone: BTreeSet<i64> = go.iter().map(|d| d.day).collect();
        if let Some(first) = days.keys().find(|d| !gone.contains(d)) {
            let day = oldest.entry(subject(name)).or_insert(*first);
            *day = (*day).min(*first);
        }
        plan.go.extend(go);
        plan.stay.extend(stay);
    }
    keep_definitions(&mut plan, &topics, &oldest);
    plan.stay.sort_by(|a, b| (&a.0.topic, a.0.day).cmp(&(&b.0.topic, b.0.day)));
    plan
}

fn of_topic(
    state: &State,
    rules: &Rules,
    name: &str,
    days: &Days<'_>,
    now: Ts,
) -> (Vec<TopicDay>, Vec<(TopicDay, Why)>) {
    let (mut go, mut stay) = (Vec::new(), Vec::new());
    let Ok(topic) = Topic::parse(name) else { return (go, stay) };
    let rule = rules.of(&topic);
    let Some(last) = rule.keep.over(now) else { return (go, stay) };
    let surely = rule.keep.over(now - WITHOUT_CERTIFICATE).unwrap_or(i64::MIN);
    let mut waits = None;
    for (day, parts) in days.range(..=last) {
        let issued = state.issued.get(subject(name)).and_then(|d| d.get(day));
        let certified = issued.is_some_and(|i| parts.iter().all(|p| i.parts.contains(&p.part)));
        let why = match () {
            () if waits.is_some() => Some(Why::Earlier),
            () if parts.iter().any(|p| !p.sealed) => Some(Why::Unsealed),
            () if !certified && *day > surely => Some(Why::Uncertified),
            () => None,
        };
        let numbers = parts.iter().map(|p| p.part).collect();
        let one = TopicDay { topic: name.to_owned(), day: *day, rule: rule.to_string(), parts: numbers };
        match why {
            Some(why) => stay.push((one, why)),
            None => go.push(one),
        }
        waits = waits.or(why);
    }
    (go, stay)
}

/// Days that stay are of no use without the definition in force on them. It was told by the newest day before them that says
/// something new (the others repeat it, and have no view), and by each such day since.
fn keep_definitions(plan: &mut Plan, topics: &BTreeMap<&str, Days<'_>>, oldest: &BTreeMap<&str, i64>) {
    let is_def = |name: &str| Topic::parse(name).is_ok_and(|t| t.kind() == Kind::Instrument);
    let mut needed: BTreeSet<(String, i64)> = BTreeSet::new();
    for (name, days) in topics.iter().filter(|(name, _)| is_def(name)) {
        let Some(first) = oldest.get(subject(name)) else { continue };
        let tells = |(day, parts): (&i64, &Vec<&Part>)| parts.iter().any(|p| tells(p)).then_some(*day);
        let any = || days.range(..first).next_back().map(|(day, _)| *day);
        let in_force = days.range(..first).filter_map(tells).next_back().or_else(any);
        let since = days.range(in_force.unwrap_or(*first)..).filter_map(tells);
        needed.extend(in_force.into_iter().chain(since).map(|day| ((*name).to_owned(), day)));
    }
    let (stay, go) = std::mem::take(&mut plan.go).into_iter().partition(|d| needed.contains(&(d.topic.clone(), d.day)));
    plan.go = go;
    let stay: Vec<TopicDay> = stay;
    plan.stay.extend(stay.into_iter().map(|d| (d, Why::Definition)));
}

/// Whether a part says more than that a definition still holds: a new one, a gap, a retraction.
fn tells(part: &Part) -> bool {
    part.table != Table::Definition.as_str() || part.files.iter().any(|f| matches!(f.role, Role::View | Role::ViewV1))
}
