//! A cursor in a view: shared ticks, and how one enters.
//!
//! Whoever enters (or lost its place) is given the view's state at a tick. The marks between its position and that tick are found in
//! the log and come first, each behind a receipt (`missed`, `conflated`) for what the state will stand for; they are never conflated away.

use std::sync::atomic::Ordering;

use wholetape_tape::{Delivery, From as TapeFrom, MissedWhy, Reader, ReaderOptions};
use wholetape_wire::message::{self, Context, Written};
use wholetape_wire::reply::{self, Missed, Resumed};
use wholetape_wire::{Code, From};

use super::{Asked, Ending, Phase, Slow, Subscription, TURN, Turn};
use crate::stats::GatewayStats;
use crate::ws::outbox::Outbox;
use crate::ws::stream::{Inner, Next};
use crate::ws::view::Key;

/// Records of the log that are looked through for marks before another subscription has its turn.
const LOOK: usize = 4_096;

/// Where a subscription stands in its view.
pub(super) struct Viewing {
    pub key: Key,
    /// It has no state of the view yet: what it looks for in the log, and how far it came.
    entering: Option<Entering>,
}

#[derive(Default)]
struct Entering {
    reader: Option<Reader>,
    looked: u64,
}

impl Viewing {
    pub fn entering(key: Key) -> Self {
        Self { key, entering: Some(Entering::default()) }
    }
}

impl Subscription {
    /// The view that it follows now.
    pub(super) fn viewing(&self) -> Option<Key> {
        match &self.phase {
            Phase::Viewing(viewing) => Some(viewing.key),
            _ => None,
        }
    }

    /// Answers where it begins; the state follows at a tick.
    pub(super) fn open_view(
        &mut self,
        asked: Asked,
        from: &From,
        key: Key,
        out: &mut Outbox,
        stats: &GatewayStats,
    ) -> Turn {
        let stream = self.stream.clone();
        stream.follow(self.token, Some(key));
        let mut inner = stream.lock();
        if !inner.built {
            inner.arm(self.token);
            return Turn::Idle;
        }
        match self.begin_view(&mut inner, from, key) {
            Ok((seq, missed)) => {
                drop(inner);
                self.answer(asked, seq, missed, Resumed::Snap, out, stats);
                Turn::More
            }
            Err(msg) => Turn::Ends(Ending { asked: Some(asked), code: Code::BadPosition, msg, retry_ms: None }),
        }
    }

    /// Where it begins in view `key`, and what of another epoch is missed.
    ///
    /// # Errors
    /// Why the position does not exist, for people.
    pub(super) fn begin_view(
        &mut self,
        inner: &mut Inner,
        from: &From,
        key: Key,
    ) -> Result<(u64, Option<Missed<'static>>), String> {
        let stream = &self.stream;
        let at = inner.at_of(Some(key));
        let begins = match from {
            From::Position { epoch, .. } if **epoch != *stream.epoch => {
                (at, (at > 0).then_some(Missed { from: 1, to: at, why: "epoch" }))
            }
            From::Position { seq, .. } => {
                let head = stream.tape.head(&stream.topic).unwrap_or(0);
                if *seq > head {
                    return Err(format!("the position is beyond the head {head}"));
                }
                (*seq, None)
            }
            _ => (at, None),
        };
        self.position = begins.0;
        self.generation = inner.generation;
        self.phase = Phase::Viewing(Box::new(Viewing::entering(key)));
        Ok(begins)
    }

    /// The policy `conflate`: from here on in the view.
    pub(super) fn enter_view(&mut self, key: Key, behind: u64, out: &mut Outbox, stats: &GatewayStats) {
        let stream = self.stream.clone();
        out.write(|o| reply::conflated(o, &stream.topic, behind, key.period.as_str()));
        stats.conflated_total.fetch_add(1, Ordering::Relaxed);
        stream.follow(self.token, Some(key));
        self.generation = stream.lock().generation;
        self.phase = Phase::Viewing(Box::new(Viewing::entering(key)));
    }

    pub(super) fn read_view(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        let Phase::Viewing(viewing) = &mut self.phase else { return Turn::More };
        if viewing.entering.is_some() {
            return self.look_for_marks(out, budget, stats);
        }
        let key = viewing.key;
        let stream = self.stream.clone();
        let mut inner = stream.lock();
        if inner.generation != self.generation {
            self.generation = inner.generation;
            viewing.entering = Some(Entering::default());
            return Turn::More;
        }
        let (mut taken, most) = (0, TURN.min(self.room()));
        let (position, pace) = (&mut self.position, &mut self.pace);
        let next = inner.next_of(key, *position, self.token, most, |frame| {
            taken += frame.text.len();
            *position = frame.seq;
            pace.gave(frame.seq);
            out.share(frame, stats);
            taken < budget
        });
        drop(inner);
        match next {
            Next::Idle => {
                self.recovers();
                Turn::Idle
            }
            Next::Took => Turn::More,
            Next::Behind => {
                let behind = stream.tape.head(&stream.topic).unwrap_or(0).saturating_sub(self.position);
                self.slows(behind);
                if self.terms.slow == Slow::Disconnect {
                    return Turn::TooSlow;
                }
                out.write(|o| reply::lagging(o, &stream.topic, behind));
                stats.view_rejoins_total.fetch_add(1, Ordering::Relaxed);
                self.phase = Phase::Viewing(Box::new(Viewing::entering(key)));
                Turn::More
            }
        }
    }

    /// Gives the marks between the position and the view's last tick, then its state there.
    fn look_for_marks(&mut self, out: &mut Outbox, budget: usize, stats: &GatewayStats) -> Turn {
        let stream = self.stream.clone();
        let Phase::Viewing(viewing) = &mut self.phase else { return Turn::More };
        let (key, Some(entering)) = (viewing.key, &mut viewing.entering) else { return Turn::More };
        entering.looked = entering.looked.max(self.position);
        let target = {
            let mut inner = stream.lock();
            self.generation = inner.generation;
            if !key.ticks() {
                stream.settle(&mut inner, key, stats);
            }
            let Some(view) = inner.view_of(key) else { return Turn::More };
            let at = view.at;
            if entering.looked >= at {
                if view.is_pending() || entering.looked > at {
                    view.awaited = true;
                    inner.arm(self.token);
                    return Turn::Idle;
                }
                if let Some(text) = stream.view_snap(&mut inner, key, stats) {
                    out.share(&text, stats);
                    self.pace.gave(at);
                }
                self.position = at;
                viewing.entering = None;
                return Turn::More;
            }
            at
        };
        let mut reader = match entering.reader.take() {
            Some(reader) => reader,
            None => match stream.tape.reader(&stream.topic, TapeFrom::Seq(entering.looked), ReaderOptions::default()) {
                Ok(reader) => reader,
                Err(e) => return self.failed(&e, None),
            },
        };
        let (mut batch, start) = (Vec::new(), out.bytes);
        // Not beyond the view's last tick: what comes behind it comes with the view.
        let most = usize::try_from(target - reader.position()).unwrap_or(LOOK).clamp(1, LOOK);
        if reader.poll_next(&mut batch, most) == 0 {
            let msg = "the tape cannot be read".to_owned();
            return Turn::Ends(Ending { asked: None, code: Code::Internal, msg, retry_ms: None });
        }
        let mut looked = reader.position().min(target);
        for delivery in batch {
            match delivery {
                Delivery::Record(shared) if shared.record().is_mark() => {
                    let record = shared.record();
                    if record.seq() > target {
                        break;
                    }
                    if out.bytes - start >= budget || self.room() == 0 {
                        // It goes on behind what was given.
                        looked = self.position;
                        break;
                    }
                    self.skip_to(record.prev(), MissedWhy::Conflated.as_str(), out, stats);
                    let (topic, epoch) = (&stream.topic, &*stream.epoch);
                    let cx = Context { topic, epoch, prev: self.position, state: None, crc: None };
                    out.scratch.clear();
                    match message::record(&mut out.scratch, &cx, &record) {
                        Ok(Written::Message) => {
                            out.push_scratch();
                            self.gave(record.seq());
                        }
                        Ok(Written::Nothing) => {}
                        Err(_) => self.skip_to(record.seq(), MissedWhy::Corrupt.as_str(), out, stats),
                    }
                }
                Delivery::Record(_) => {}
                Delivery::Missed { from, to, why } => {
                    self.skip_to(from - 1, MissedWhy::Conflated.as_str(), out, stats);
                    self.skip_to(to.min(target), why.as_str(), out, stats);
                }
                Delivery::Disconnected { .. } => return Turn::TooSlow,
            }
        }
        if let Phase::Viewing(viewing) = &mut self.phase {
            let reader = (looked == reader.position()).then_some(reader);
            viewing.entering = Some(Entering { reader, looked });
        }
        Turn::More
    }
}
