//! Since when a stream that no id protects may miss rows, when the process before went without a word.
//!
//! The tape tells when its last row came, and a process that was killed may have been late: what the venue had sent by then lay
//! in a socket or in a buffer. How late is told by the venue's own times. A stream that has none (best bid and ask of a spot market) is as
//! late as its connection, and a connection brings what it brings in the order of publishing: whatever was published before the newest
//! venue time that one of its streams brought has been read. Answers of REST, and the rows that they heal, are no witnesses: they
//! come by another way, and fresh.
//!
//! Invariant: what is confessed begins no later than the oldest row that was published and not read; it may begin earlier, and then
//! rows are doubted that are there.

use std::time::Duration;

use wholetape_model::{InstrumentIx, Kind, Topic, Ts};

use super::Line;
use super::out::ConnIx;
use super::plan::{Resume, TopicResume};
use super::topics::LAG_MAX;

/// So long a frame may be under way from a venue, where no clock tells.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// The frame after the last one may have taken so much longer than it.
const JITTER: Duration = Duration::from_millis(20);

impl Resume {
    /// How late rows were that came when the last of a topic did (`recv`), by those that bear a venue time: a process that was
    /// killed while a stalled connection caught up had not yet seen what was behind them. A clock of ours that is behind the
    /// venue's tells less than nothing of it: then it is [`UNDER_WAY`] at least.
    pub(super) fn lag(&self, recv: Ts) -> Duration {
        let apart = |t: &TopicResume| t.last_recv.since(recv).max(recv.since(t.last_recv));
        let of_late = self.topics.values().filter(|t| t.last_event > Ts::ZERO && apart(t) < Duration::from_secs(1));
        let of_late: Vec<_> = of_late.collect();
        let lags = of_late.iter().map(|t| t.last_recv.since(t.last_event)).filter(|lag| *lag < LAG_MAX);
        let is_behind = of_late.iter().any(|t| t.last_event > t.last_recv);
        let seen = lags.max().unwrap_or_default() + JITTER;
        if is_behind { seen.max(UNDER_WAY) } else { seen }
    }
}

impl TopicResume {
    /// The last moment of which the topic tells, by the earlier of both clocks; `lag` as [`Resume::lag`] has it.
    fn last_moment(&self, lag: Duration) -> Ts {
        if let Some(since) = self.lost_since {
            return since;
        }
        let event = if self.last_event > Ts::ZERO { self.last_event } else { self.last_recv };
        event.min(self.last_recv - lag)
    }
}

/// Whether a stream of this kind may come without venue times.
const fn may_lack_times(kind: Kind) -> bool {
    matches!(kind, Kind::Quote)
}

impl Line {
    /// Of each connection the newest venue time that its streams brought to the process before: zero where they have times and brought
    /// none, `None` where they have none.
    pub(super) fn heard_before(&self) -> Vec<Option<Ts>> {
        let of_conn = |conn: ConnIx| {
            let of_stream = |(ix, kind): &(InstrumentIx, Kind)| {
                let heard = self.resume_of(*ix, *kind).map_or(Ts::ZERO, |r| r.heard);
                (heard > Ts::ZERO || !may_lack_times(self.topic_kind(*kind))).then_some(heard)
            };
            let streams = self.conns[conn].expects.iter().filter(|(ix, kind)| self.conns[conn].streams(*ix, *kind));
            streams.filter_map(of_stream).max()
        };
        (0..self.conns.len()).map(of_conn).collect()
    }

    /// Up to when the process before had all of a stream, of which `resume` tells.
    pub(super) fn heard_until_down(&self, ix: InstrumentIx, kind: Kind, resume: &TopicResume) -> Ts {
        let mut last = resume.last_moment(self.plan.resume.lag(resume.last_recv));
        if resume.heard == Ts::ZERO
            && resume.lost_since.is_none()
            && let Some(conn) = self.conn_of(ix, kind)
            && self.conns[conn].streams(ix, kind)
            && let Some(heard) = self.heard_down[conn]
        {
            last = last.min(heard.max(resume.told).max(resume.last_recv - LAG_MAX));
        }
        self.was_behind(ix, kind).map_or(last, |heard| heard.min(last))
    }

    /// The last moment of which anything is known of a stream that the process before followed and never heard: that of its
    /// connection's other streams, or when they were subscribed. `None` where it was not followed.
    pub(super) fn unheard_since(&self, ix: InstrumentIx, kind: Kind) -> Option<Ts> {
        let followed = self.memory.followed_before?;
        let conn = self.conn_of(ix, kind)?;
        let others = self.conns[conn].expects.iter().filter_map(|(ix, kind)| self.resume_of(*ix, *kind));
        // How late rows were is asked of all topics: once, and not for each of its siblings.
        let newest = others.filter(|r| r.last_recv >= followed).max_by_key(|r| r.last_recv);
        let mut last = newest.map_or(followed, |r| r.last_moment(self.plan.resume.lag(r.last_recv)));
        if let Some(heard) = self.heard_down[conn] {
            last = last.min(heard.max(followed));
        }
        Some(self.was_behind(ix, kind).map_or(last, |heard| heard.min(last)))
    }

    fn conn_of(&self, ix: InstrumentIx, kind: Kind) -> Option<ConnIx> {
        self.conns.iter().position(|c| c.expects.iter().any(|e| e.0 == ix && self.topic_kind(e.1) == kind))
    }

    fn resume_of(&self, ix: InstrumentIx, kind: Kind) -> Option<&TopicResume> {
        let id = self.plan.instruments.get(ix as usize)?;
        self.plan.resume.topics.get(Topic::new(self.topic_kind(kind), id).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, QUOTES, Script, TRADES, at, plan_of};
    use super::*;

    fn row(recv: u64, event: u64, heard: u64) -> TopicResume {
        let heard = if heard > 0 { at(heard) } else { Ts::ZERO };
        TopicResume { last_recv: at(recv), last_event: at(event), heard, ..TopicResume::default() }
    }

    /// Where the quotes' gap begins after a restart.
    fn begins(topics: &[(&str, TopicResume)], expects: Option<Vec<(InstrumentIx, Kind)>>) -> Ts {
        let topics = topics.iter().map(|(name, r)| ((*name).to_owned(), r.clone())).collect();
        let mut plan = plan_of(Script::default(), true, Resume { topics, ..Resume::default() });
        plan.conns[0].expects = expects.unwrap_or_else(|| std::mem::take(&mut plan.conns[0].expects));
        let mut b = Bench::new(plan).open(at(20_000));
        b.frame(at(20_100), "Q 20");
        b.gap_starts.iter().find(|g| g.0 == QUOTES).unwrap().1
    }

    /// A process that got no time read a minute's quotes late, while REST told it trades of just now.
    #[test]
    fn what_rest_brought_does_not_tell_how_late_a_stream_was() {
        let quotes = row(9_000, 9_000, 0);
        assert_eq!(begins(&[(QUOTES, quotes.clone()), (TRADES, row(8_990, 8_980, 8_980))], None), at(8_970));
        assert_eq!(begins(&[(QUOTES, quotes.clone()), (TRADES, row(8_990, 8_980, 5_000))], None), at(5_000));
        let told = TopicResume { told: at(7_000), ..quotes.clone() };
        assert_eq!(begins(&[(QUOTES, told), (TRADES, row(8_990, 8_980, 5_000))], None), at(7_000), "said before");
        let nothing = begins(&[(QUOTES, quotes.clone()), (TRADES, row(8_990, 8_980, 0))], None);
        assert_eq!(nothing, at(9_000) - LAG_MAX, "no stream was heard: nobody knows");
        let alone = begins(&[(QUOTES, quotes)], Some(vec![(0, Kind::Quote)]));
        assert_eq!(alone, at(8_980), "no stream of this connection will ever tell");
    }

    #[test]
    fn nor_how_late_a_stream_was_that_was_never_heard() {
        let mut notes = TopicResume::default();
        notes.notes.push(("subscribed".into(), at(3_000).0.to_string()));
        let quality = ("quality.test", notes);
        let begins = |trades| begins(&[quality.clone(), (TRADES, trades)], None);
        assert_eq!(begins(row(8_990, 8_980, 5_000)), at(5_000));
        assert_eq!(begins(row(8_990, 8_980, 2_000)), at(3_000), "not before it was subscribed");
    }
}
