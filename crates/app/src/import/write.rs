//! How missing rows reach the tape: through the line that records their topic, or, when nobody does, by a lane of ours.
//!
//! A topic has one writer. In a running process that is its line, which also must know what it holds from now on; what no line
//! records (and everything, when no process runs and we hold the tape's lock) is written here.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use wholetape_feed::line::late::Late;
use wholetape_feed::line::trades::GapMark;
use wholetape_feed::shell::late::{BEHIND, UNKNOWN};
use wholetape_feed::worker::{Asker, Command, ControlError};
use wholetape_model::{Body, Finding, Gap, InstrumentId, Kind, Levels, Row, RowFlags, Scales, Topic, Ts, View};
use wholetape_quality::{CheckConfig, Checks, Findings};
use wholetape_tape::{Lane, Tape, TapeError, TopicNo};

use super::held::flags;

/// A line answers within this, or is asked again: it may be restarting.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES: u32 = 20;
/// The lane of topics whose own lane has another writer just now.
const LANE: &str = "heal";

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Done,
    /// Too much came since the tape was looked at: look again.
    Behind,
}

/// Writes batches. Blocks.
pub struct Writer {
    tape: Tape,
    /// The process's lines, and its runtime.
    lines: Option<(Asker, Handle)>,
    lanes: BTreeMap<String, Own>,
    checks: BTreeMap<String, Checks>,
}

/// A lane of ours, and the newest receive time in it: within a lane it never falls.
struct Own {
    lane: Lane,
    floor: Ts,
}

impl Writer {
    pub fn new(tape: &Tape, lines: Option<(Asker, Handle)>) -> Self {
        Self { tape: tape.clone(), lines, lanes: BTreeMap::new(), checks: BTreeMap::new() }
    }

    /// # Errors
    /// When the tape refuses, or the line does not answer.
    pub fn put(&mut self, instrument: &InstrumentId, late: &Late) -> anyhow::Result<Put> {
        match self.through_line(instrument, late)? {
            Some(put) => Ok(put),
            None => self.alone(instrument, late).map(|()| Put::Done),
        }
    }

    /// `None`: no line records the topic.
    fn through_line(&self, instrument: &InstrumentId, late: &Late) -> anyhow::Result<Option<Put>> {
        let Some((asker, runtime)) = &self.lines else { return Ok(None) };
        let Some(line) = asker.line_of(instrument.as_str()) else { return Ok(None) };
        let mut tries = 0;
        loop {
            // Asked twice is written once: the line looks at what came since `late.seen`.
            let command = Command::Late(Box::new(late.clone()));
            match runtime.block_on(asker.ask(&line, "import", command, PATIENCE)) {
                Ok(answer) => match answer.result.as_deref() {
                    Ok(BEHIND) => return Ok(Some(Put::Behind)),
                    Ok(UNKNOWN) => return Ok(None),
                    Ok(_) => return Ok(Some(Put::Done)),
                    Err(why) if tries >= TRIES => anyhow::bail!("{why}"),
                    Err(_) => {}
                },
                Err(error @ (ControlError::Unknown(_) | ControlError::Ended(_))) => return Err(error.into()),
                Err(error) if tries >= TRIES => return Err(error.into()),
                Err(_) => {}
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn alone(&mut self, instrument: &InstrumentId, late: &Late) -> anyhow::Result<()> {
        let name = self.lane_of(&late.topic)?;
        let own = self.lanes.get_mut(&name).context("the lane was taken")?;
        let checks = self.checks.entry(instrument.to_string());
        let checks = checks.or_insert_with(|| Checks::for_instrument(CheckConfig::default()));
        own.floor = own.floor.max(wholetape_feed::clock::wall());
        // Of an instrument that a line records, its line alone may hold the topics about it.
        let shared = self.lines.as_ref().is_some_and(|(asker, _)| asker.line_of(instrument.as_str()).is_some());
        let (kind, now) = (late.topic.kind(), own.floor);
        let mut out = Out { topic: own.lane.topic(&late.topic)?, gaps: shared.then_some(None), shared, kind, now };
        let done = out.batch(&mut own.lane, instrument, checks, late);
        if done.is_err() {
            own.lane.abort();
        }
        done
    }

    /// The lane that has the topic, where it is free, else ours.
    fn lane_of(&mut self, topic: &Topic) -> anyhow::Result<String> {
        let topics = self.tape.topics();
        let named = topics.iter().find(|t| t.topic == *topic).map(|t| t.lane.clone()).filter(|l| !l.is_empty());
        for name in named.into_iter().chain([LANE.to_owned()]) {
            if self.lanes.contains_key(&name) {
                return Ok(name);
            }
            match self.tape.lane(&name) {
                Ok(lane) => {
                    let floor = topics.iter().filter(|t| t.lane == name).map(|t| t.last_ts_recv).max();
                    self.lanes.insert(name.clone(), Own { lane, floor: floor.unwrap_or(Ts::ZERO) });
                    return Ok(name);
                }
                Err(TapeError::LaneTaken(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("another import is at work on {topic}")
    }
}

/// Rows of one batch on their way into a lane.
struct Out {
    topic: TopicNo,
    /// `gap.<instrument>`, the operators' copy, where it is ours to write.
    gaps: Option<Option<TopicNo>>,
    shared: bool,
    kind: Kind,
    now: Ts,
}

impl Out {
    fn batch(
        &mut self,
        lane: &mut Lane,
        instrument: &InstrumentId,
        checks: &mut Checks,
        late: &Late,
    ) -> anyhow::Result<()> {
        for mark in &late.opens {
            self.mark(lane, instrument, mark)?;
        }
        let mut findings = Findings::default();
        for event in &late.rows {
            let flags = flags(&event.body).with(checks.on_late_event(event, self.now, &mut findings));
            let body = match event.body {
                Body::Trade(trade) => Body::Trade(trade),
                Body::Bar(bar) => Body::Bar(bar),
                _ => continue,
            };
            self.row(lane, self.topic, event.ts_event, flags, event.scales, body)?;
            for finding in std::mem::take(&mut findings).iter() {
                self.finding(lane, instrument, finding)?;
            }
        }
        for mark in &late.verdicts {
            self.mark(lane, instrument, mark)?;
        }
        lane.commit()?;
        Ok(())
    }

    fn row(
        &self,
        lane: &mut Lane,
        topic: TopicNo,
        ts_event: Ts,
        flags: RowFlags,
        scales: Scales,
        body: View<'_>,
    ) -> anyhow::Result<()> {
        lane.append(topic, &Row { ts_event, ts_recv: self.now, conn: 0, frame: 0, flags, scales, body })?;
        Ok(())
    }

    fn own(&self, lane: &mut Lane, topic: TopicNo, body: View<'_>) -> anyhow::Result<()> {
        self.row(lane, topic, self.now, RowFlags::TS_LOCAL, Scales::default(), body)
    }

    fn mark(&mut self, lane: &mut Lane, instrument: &InstrumentId, mark: &GapMark) -> anyhow::Result<()> {
        let gap: Gap<&str> = mark.clone().map(|_| mark.why.as_str());
        self.own(lane, self.topic, Body::<Levels<'_>, &str>::Gap(gap))?;
        let topic = *self.gaps.get_or_insert_with(|| lane.topic(&Topic::new(Kind::Gap, instrument)).ok());
        if let Some(topic) = topic {
            let why = format!("{}: {}", self.kind, mark.why);
            self.own(lane, topic, Body::Gap(Gap { why: why.as_str(), ..gap }))?;
        }
        Ok(())
    }

    fn finding(
        &self,
        lane: &mut Lane,
        instrument: &InstrumentId,
        finding: &Finding<&'static str>,
    ) -> anyhow::Result<()> {
        // Where a line may want that topic, the row's own flag has to do.
        if self.shared {
            return Ok(());
        }
        match lane.topic(&Topic::new(Kind::Quality, instrument)) {
            Ok(topic) => self.own(lane, topic, Body::Finding(*finding)),
            Err(_) => Ok(()),
        }
    }
}
