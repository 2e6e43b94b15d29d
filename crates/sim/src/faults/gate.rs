//! Where armed faults meet frames, subscriptions and requests.
//!
//! Pure bookkeeping: the gate says what shall happen to this frame or request; the venue does it and records it.

use std::collections::HashMap;

use super::{FaultKind, Injection, Schedule};
use crate::dice::Dice;
use crate::event::Kind;

/// What of a frame its neighbours show; nothing is done to a frame that nobody could see and confess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shows {
    /// That it is missing.
    pub loss: bool,
    /// That it came twice, or out of its turn.
    pub order: bool,
    /// It proves the book that it leads to.
    pub checksum: bool,
}

/// A fault waiting for its moment.
#[derive(Debug, Clone)]
pub struct Armed {
    pub kind: FaultKind,
    pub stream: Option<String>,
    pub conn: Option<u64>,
    pub left: u32,
    pub every: u32,
    pub millis: Option<u64>,
    pub step_ms: Option<i64>,
    seen: u32,
    /// Injected faults strike at once; scheduled ones at a seeded frame, so that they do not all hit the busiest stream.
    eager: bool,
}

/// What happens to one frame on its way to one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameFate {
    Deliver,
    Drop,
    Twice,
    /// Kept back until the stream's next frame has gone first.
    Hold,
    /// Deliver, then this one that was held.
    ThenHeld(String),
    /// Something that nobody has documented, before it or, if `asked` for, in it.
    Unknown {
        asked: bool,
    },
    /// This text first, then the frame.
    AfterGarbage(String),
    /// With another checksum.
    Spoiled,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestFate {
    Serve,
    /// Status 429 or 418 for so long.
    Refuse(FaultKind, u64),
    /// Answer with the state of now, so much later.
    Late(u64),
    /// Answer with an old state.
    Stale,
    /// Begin so much later.
    Slow(u64),
}

/// All faults of one venue that are still to happen.
#[derive(Debug)]
pub struct Gate {
    dice: Dice,
    schedule: Option<Schedule>,
    armed: Vec<Armed>,
    held: HashMap<(u64, String), String>,
}

impl Gate {
    pub fn new(dice: Dice, schedule: Option<Schedule>) -> Self {
        Self { dice, schedule, armed: Vec::new(), held: HashMap::new() }
    }

    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// Arms what the schedule brings by this running time.
    pub fn poll(&mut self, run_ms: u64) {
        let mut due = Vec::new();
        if let Some(schedule) = &mut self.schedule {
            schedule.due(run_ms, &mut due);
            due.retain(|kind| schedule.allows(*kind, run_ms));
            self.armed.retain(|armed| armed.eager || schedule.allows(armed.kind, run_ms));
        }
        for kind in due {
            // One waiting is enough: armings that nobody met do not pile up.
            if self.armed.iter().all(|armed| armed.kind != kind) {
                let (left, every) = if kind == FaultKind::Drop { (3, 5) } else { (1, 1) };
                self.armed.push(Armed {
                    kind,
                    stream: None,
                    conn: None,
                    left,
                    every,
                    millis: None,
                    step_ms: None,
                    seen: 0,
                    eager: false,
                });
            }
        }
    }

    pub fn inject(&mut self, injection: &Injection) {
        self.armed.push(Armed {
            kind: injection.kind,
            stream: injection.stream.clone(),
            conn: injection.conn,
            left: injection.count.max(1),
            every: injection.every.max(1),
            millis: injection.millis,
            step_ms: injection.step_ms,
            seen: 0,
            eager: true,
        });
    }

    /// Forgets what has not happened yet, and gives back frames that wait for a successor.
    pub fn calm(&mut self) -> Vec<((u64, String), String)> {
        self.armed.clear();
        let mut held: Vec<_> = self.held.drain().collect();
        held.sort();
        held
    }

    pub fn forget(&mut self, conn: u64) {
        self.held.retain(|(id, _), _| *id != conn);
    }

    /// Takes the first armed fault of this kind, once.
    pub fn take(&mut self, kind: FaultKind) -> Option<Armed> {
        let at = self.armed.iter().position(|armed| armed.kind == kind)?;
        Some(self.strike(at))
    }

    fn strike(&mut self, at: usize) -> Armed {
        self.armed[at].left -= 1;
        if self.armed[at].left == 0 { self.armed.remove(at) } else { self.armed[at].clone() }
    }

    /// Decides on one frame.
    pub fn on_frame(&mut self, conn: u64, stream: &str, shows: Shows, text: &str) -> FrameFate {
        if !self.held.is_empty()
            && let Some(held) = self.held.remove(&(conn, stream.to_owned()))
        {
            return FrameFate::ThenHeld(held);
        }
        for at in 0..self.armed.len() {
            let armed = &self.armed[at];
            let fits = match armed.kind {
                FaultKind::Drop => shows.loss,
                FaultKind::Duplicate | FaultKind::Reorder => shows.order,
                FaultKind::BadChecksum => shows.checksum,
                FaultKind::Garbage | FaultKind::UnknownEnum => true,
                _ => false,
            };
            let meant = armed.stream.as_deref().is_none_or(|wanted| wanted == stream)
                && armed.conn.is_none_or(|wanted| wanted == conn);
            if !fits || !meant {
                continue;
            }
            if armed.kind == FaultKind::Drop {
                self.armed[at].seen += 1;
                if !self.armed[at].seen.is_multiple_of(self.armed[at].every) {
                    continue;
                }
            } else if !armed.eager && !self.dice.chance(0.05) {
                continue;
            }
            let eager = self.armed[at].eager;
            return match self.strike(at).kind {
                FaultKind::Drop => FrameFate::Drop,
                FaultKind::Duplicate => FrameFate::Twice,
                FaultKind::Reorder => {
                    self.held.insert((conn, stream.to_owned()), text.to_owned());
                    FrameFate::Hold
                }
                FaultKind::Garbage => FrameFate::AfterGarbage(self.garbage(text)),
                FaultKind::BadChecksum => FrameFate::Spoiled,
                // Changing a real print is for those who ask for it.
                _ => FrameFate::Unknown { asked: eager },
            };
        }
        FrameFate::Deliver
    }

    /// A frame that no decoder may choke on: half of a real one, or noise.
    pub fn garbage(&mut self, like: &str) -> String {
        if self.dice.chance(0.5) && like.len() > 8 {
            let mut end = like.len() / 2;
            while !like.is_char_boundary(end) {
                end -= 1;
            }
            return like[..end].to_owned();
        }
        let len = 1 + self.dice.index(64);
        (0..len).map(|_| char::from(self.dice.range(33, 127) as u8)).collect()
    }

    /// Whether a new subscription to this stream shall be acknowledged only.
    pub fn on_subscribe(&mut self, conn: u64, stream: &str, kind: Kind) -> bool {
        // A quiet stream's silence would be met by nobody.
        let lively = matches!(
            kind,
            Kind::AggTrade | Kind::Trade | Kind::Depth | Kind::BookTicker | Kind::MarkPrice | Kind::Ticker
        );
        let fits = |armed: &Armed| {
            armed.kind == FaultKind::AckSilence
                && armed.conn.is_none_or(|wanted| wanted == conn)
                && armed.stream.as_deref().map_or(lively, |wanted| wanted == stream)
        };
        match self.armed.iter().position(fits) {
            Some(at) if self.armed[at].eager || self.dice.chance(0.5) => {
                self.strike(at);
                true
            }
            _ => false,
        }
    }

    /// Decides on one request; `snapshot`: it asks for a book.
    pub fn on_request(&mut self, snapshot: bool) -> RestFate {
        use FaultKind as K;
        let fits = |armed: &Armed| match armed.kind {
            K::Http429 | K::Http418 | K::SlowRest => true,
            K::LateSnapshot | K::StaleSnapshot => snapshot,
            _ => false,
        };
        let Some(at) = self.armed.iter().position(fits) else { return RestFate::Serve };
        let armed = self.strike(at);
        match armed.kind {
            K::Http429 => RestFate::Refuse(K::Http429, armed.millis.unwrap_or(1_000)),
            K::Http418 => RestFate::Refuse(K::Http418, armed.millis.unwrap_or(2_000)),
            K::LateSnapshot => RestFate::Late(armed.millis.unwrap_or(1_500)),
            K::StaleSnapshot => RestFate::Stale,
            _ => RestFate::Slow(armed.millis.unwrap_or(1_200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERED: Shows = Shows { loss: true, order: true, checksum: false };
    const PLAIN: Shows = Shows { loss: false, order: false, checksum: false };

    fn gate(injections: &[Injection]) -> Gate {
        let mut gate = Gate::new(Dice::new(1, "test"), None);
        injections.iter().for_each(|injection| gate.inject(injection));
        gate
    }

    #[test]
    fn only_sequenced_frames_are_lost_and_every_nth_means_it() {
        let mut gate = gate(&[Injection { every: 3, count: 2, ..Injection::new(FaultKind::Drop) }]);
        assert_eq!(gate.on_frame(1, "x@bookTicker", PLAIN, "{}"), FrameFate::Deliver);
        let fates: Vec<_> = (0..9).map(|_| gate.on_frame(1, "x@trade", NUMBERED, "{}") == FrameFate::Drop).collect();
        assert_eq!(fates, [false, false, true, false, false, true, false, false, false]);
    }

    #[test]
    fn a_frame_whose_loss_nobody_could_see_is_doubled_and_never_lost() {
        let mut gate = gate(&[Injection::new(FaultKind::Drop), Injection::new(FaultKind::Duplicate)]);
        assert_eq!(gate.on_frame(1, "publicTrade.AB", Shows { loss: false, ..NUMBERED }, "{}"), FrameFate::Twice);
        assert_eq!(gate.on_frame(1, "publicTrade.AB", Shows { loss: false, ..NUMBERED }, "{}"), FrameFate::Deliver);
        assert_eq!(gate.on_frame(1, "orderbook.200.AB", NUMBERED, "{}"), FrameFate::Drop);
    }

    #[test]
    fn only_what_proves_a_book_has_its_proof_spoiled() {
        let mut gate = gate(&[Injection::new(FaultKind::BadChecksum)]);
        assert_eq!(gate.on_frame(1, "trade:A/B", NUMBERED, "{}"), FrameFate::Deliver);
        let proof = Shows { checksum: true, ..PLAIN };
        assert_eq!(gate.on_frame(1, "book-10:A/B", proof, "{}"), FrameFate::Spoiled);
        assert_eq!(gate.on_frame(1, "book-10:A/B", proof, "{}"), FrameFate::Deliver);
    }

    #[test]
    fn a_held_frame_follows_the_next_of_its_stream() {
        let mut gate = gate(&[Injection::new(FaultKind::Reorder)]);
        assert_eq!(gate.on_frame(1, "x@trade", NUMBERED, "a"), FrameFate::Hold);
        assert_eq!(gate.on_frame(2, "x@trade", NUMBERED, "a"), FrameFate::Deliver);
        assert_eq!(gate.on_frame(1, "x@trade", NUMBERED, "b"), FrameFate::ThenHeld("a".into()));
        assert_eq!(gate.on_frame(1, "x@trade", NUMBERED, "c"), FrameFate::Deliver);
    }

    #[test]
    fn snapshot_faults_wait_for_a_snapshot_request() {
        let mut gate = gate(&[Injection::new(FaultKind::StaleSnapshot)]);
        assert_eq!(gate.on_request(false), RestFate::Serve);
        assert_eq!(gate.on_request(true), RestFate::Stale);
        assert_eq!(gate.on_request(true), RestFate::Serve);
    }
}
