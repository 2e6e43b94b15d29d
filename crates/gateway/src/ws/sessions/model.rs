//! Every order of events, for small sizes: the sessions' own rules with up to four connections of one client, and a topic of three
//! messages over three connections with loss, takeover and acknowledgements.

use std::collections::HashSet;
use std::time::Duration;

use wholetape_model::Topic;
use wholetape_tape::WakeSet;
use wholetape_wire::client::{Step, TopicState};

use super::{Claim, Hold, Kept, Sessions};
use crate::ws::subscription::{Acks, Slow, Terms};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// The client opens a connection and takes the session with the newest secret it knows.
    Take,
    Claim(usize),
    /// The answer reaches the client.
    Learn(usize),
    /// A word of the client behind the answer.
    Hear(usize),
    HandOver(usize),
    Goodbye(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Waits,
    Has,
    Left,
    Gone,
}

struct Connection {
    hold: Hold,
    secret: String,
    at: At,
    kept: Option<Vec<Kept>>,
    learnt: bool,
    /// It was taken from, not left by itself.
    evicted: bool,
}

struct World {
    sessions: Sessions,
    name: String,
    known: String,
    connections: Vec<Connection>,
}

impl World {
    fn new() -> Self {
        let sessions = Sessions::new(Duration::from_secs(120), 10);
        let (hold, secret) = sessions.begin(&WakeSet::new());
        let topic = Topic::parse("trade.BTCUSDT.BINANCE").unwrap();
        let kept = vec![(
            topic,
            Terms {
                slow: Slow::CatchUp,
                lag: 7,
                inflight: None,
                view: None,
                clean: false,
                short: false,
                scaled: false,
            },
        )];
        let name = hold.name.to_string();
        let first =
            Connection { hold, secret: secret.clone(), at: At::Has, kept: Some(kept), learnt: true, evicted: false };
        Self { sessions, name, known: secret, connections: vec![first] }
    }

    /// What may happen now.
    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        if self.connections.len() < 4 {
            acts.push(Act::Take);
        }
        for (i, c) in self.connections.iter().enumerate() {
            match c.at {
                At::Waits => acts.extend([Act::Claim(i), Act::HandOver(i)]),
                At::Has => {
                    // A client reads the connection that it opened last.
                    if !c.learnt && i + 1 == self.connections.len() {
                        acts.push(Act::Learn(i));
                    }
                    if c.learnt {
                        acts.push(Act::Hear(i));
                    }
                    acts.push(Act::HandOver(i));
                }
                At::Left => acts.push(Act::Goodbye(i)),
                At::Gone => {}
            }
        }
        acts
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Take => {
                let set = WakeSet::new();
                let taken = self.sessions.take(&self.name, &self.known, &set);
                let (hold, secret) = taken.expect("the newest secret that the client knows opens its session");
                for c in self.connections.iter_mut().filter(|c| matches!(c.at, At::Waits | At::Has)) {
                    c.evicted = true;
                }
                let (at, kept, learnt, evicted) = (At::Waits, None, false, false);
                self.connections.push(Connection { hold, secret, at, kept, learnt, evicted });
                let older = &self.connections[..self.connections.len() - 1];
                assert!(older.iter().all(|c| c.hold.is_fenced() || matches!(c.at, At::Left | At::Gone)), "one holder");
            }
            Act::Claim(i) => match self.sessions.claim(&self.connections[i].hold) {
                Claim::Wait => {}
                Claim::Fenced => assert!(self.connections[i].hold.is_fenced()),
                Claim::Taken(kept) => {
                    assert!(self.connections.iter().all(|c| c.at != At::Has), "one holder at a time");
                    let gone = |c: &Connection| !c.evicted || c.at == At::Gone;
                    assert!(self.connections.iter().all(gone), "whoever was evicted has said goodbye before");
                    assert_eq!((kept.len(), kept[0].1.lag), (1, 7), "what the session had");
                    (self.connections[i].at, self.connections[i].kept) = (At::Has, Some(kept));
                }
            },
            Act::Learn(i) => {
                self.connections[i].learnt = true;
                self.known.clone_from(&self.connections[i].secret);
            }
            Act::Hear(i) => self.sessions.confirm(&self.connections[i].hold),
            Act::HandOver(i) => {
                let kept = self.connections[i].kept.take();
                self.sessions.hand_over(&self.connections[i].hold, kept);
                self.connections[i].at = At::Left;
            }
            Act::Goodbye(i) => {
                self.sessions.goodbye(&self.connections[i].hold);
                self.connections[i].at = At::Gone;
            }
        }
    }

    /// Everybody leaves who can; then the newest connection has the session, or the next one gets it.
    fn settles(mut self) {
        let newest = self.connections.len() - 1;
        for i in 0..newest {
            if matches!(self.connections[i].at, At::Waits | At::Has) {
                self.act(Act::HandOver(i));
            }
            if self.connections[i].at == At::Left {
                self.act(Act::Goodbye(i));
            }
        }
        match self.connections[newest].at {
            At::Has => return,
            At::Waits => {
                self.act(Act::Claim(newest));
                return assert_eq!(self.connections[newest].at, At::Has, "nobody is left waiting");
            }
            At::Left => self.act(Act::Goodbye(newest)),
            At::Gone => {}
        }
        self.act(Act::Take);
        self.act(Act::Claim(newest + 1));
        assert_eq!(self.connections[newest + 1].at, At::Has, "what was left is there for whoever comes next");
    }
}

/// All sequences of up to `depth` events; secrets are random, so each is played from the beginning.
fn explore(done: &mut Vec<Act>, depth: usize, played: &mut usize) {
    let mut world = World::new();
    for act in done.iter() {
        world.act(*act);
    }
    let acts = world.acts();
    *played += 1;
    world.settles();
    if done.len() == depth {
        return;
    }
    for act in acts {
        // Twice the same claim or word says nothing new.
        if done.last() == Some(&act) && act != Act::Take {
            continue;
        }
        done.push(act);
        explore(done, depth, played);
        done.pop();
    }
}

#[test]
fn whatever_happens_one_holds_the_session_and_none_is_locked_out() {
    let mut played = 0;
    explore(&mut Vec::new(), 7, &mut played);
    assert!(played > 10_000, "{played}");
}

const MESSAGES: u64 = 3;

/// One topic of [`MESSAGES`] messages, what a client holds of it, and the connections on their way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Topic3 {
    log: u64,
    /// What the client applied.
    applied: u64,
    /// Of each connection: what is in flight to the client, in flight back (`ack`), where its cursor is, what it waits for.
    live: Vec<Line>,
    /// Connections that may still be opened.
    left: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Line {
    down: Vec<u64>,
    up: Vec<u64>,
    cursor: u64,
    waiting: Vec<u64>,
    fenced: bool,
}

impl Topic3 {
    /// Everything that can come next.
    fn next(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut push = |f: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            f(&mut next);
            all.push(next);
        };
        if self.log < MESSAGES {
            push(&|w| w.log += 1);
        }
        for (i, line) in self.live.iter().enumerate() {
            let newest = i + 1 == self.live.len();
            let mut acks = Acks::new(2);
            line.waiting.iter().for_each(|seq| acks.gave(*seq));
            if !line.fenced && line.cursor < self.log && acks.room() > 0 {
                push(&|w| {
                    let line = &mut w.live[i];
                    line.cursor += 1;
                    line.down.push(line.cursor);
                    line.waiting.push(line.cursor);
                });
            }
            // A client listens to its newest connection; what an older one still brings is thrown away.
            if let Some(seq) = line.down.first().copied() {
                push(&|w| {
                    w.live[i].down.remove(0);
                    if newest {
                        let mut state = TopicState::new("e", w.applied);
                        let step = state.on_range(seq - 1, seq);
                        assert!(
                            matches!(step, Step::Apply { .. }),
                            "no hole, nothing twice: {step:?} of {seq} in {self:?}"
                        );
                        w.applied = state.last;
                        w.live[i].up.push(seq);
                    }
                });
            }
            if let Some(seq) = line.up.first().copied() {
                push(&|w| {
                    w.live[i].up.remove(0);
                    let line = &mut w.live[i];
                    if !line.fenced {
                        assert!(seq <= line.cursor, "nothing that was not sent is acknowledged");
                        let mut acks = Acks::new(2);
                        line.waiting.iter().for_each(|seq| acks.gave(*seq));
                        acks.acknowledge(seq);
                        line.waiting.retain(|given| *given > seq);
                        assert_eq!(acks.room(), 2 - line.waiting.len());
                    }
                });
            }
            // The line is cut: all that is on its way is lost.
            if newest && !(line.down.is_empty() && line.up.is_empty()) {
                push(&|w| {
                    w.live[i].down.clear();
                    w.live[i].up.clear();
                    w.live[i].fenced = true;
                });
            }
        }
        if self.left > 0 {
            push(&|w| {
                w.left -= 1;
                w.live.iter_mut().for_each(|l| l.fenced = true);
                let cursor = w.applied;
                w.live.push(Line { down: Vec::new(), up: Vec::new(), cursor, waiting: Vec::new(), fenced: false });
            });
        }
        all
    }
}

#[test]
fn three_messages_over_three_connections_come_once_in_order_in_every_interleaving() {
    let start = Topic3 { log: 0, applied: 0, live: Vec::new(), left: 3 };
    let (mut seen, mut open) = (HashSet::new(), vec![start]);
    let mut whole = 0;
    while let Some(state) = open.pop() {
        if !seen.insert(state.clone()) {
            continue;
        }
        let next = state.next();
        if next.is_empty() {
            // Nothing can happen any more: then all of it came, unless the last connection was cut.
            let newest = state.live.last().unwrap();
            assert!(newest.fenced || state.applied == MESSAGES, "{state:?}");
            whole += usize::from(state.applied == MESSAGES);
        }
        open.extend(next);
    }
    assert!(seen.len() > 1_000 && whole > 0, "{} states", seen.len());
}
