//! Everything beyond the process: the event heap, the markets, the network between, and the venues' REST hosts.
//!
//! Nothing here knows our crates but their vocabulary. A connection delivers in order (TCP); what goes wrong with it is drawn
//! frame by frame from the seed. A host counts the weight of each minute of its own clock and answers 429 when it is overrun,
//! 418 to whoever goes on asking; both are counted, for neither may ever be our doing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use wholetape_feed::line::Priority;
use wholetape_venue::{FetchId, FetchKind};

use crate::dice::Dice;
use crate::faults::Faults;
use crate::market::{Frame, Market, Stream, Tongue, Variant};

pub const MS: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MS;
/// The first moment of every world.
pub const START: i64 = 1_700_000_000 * SECOND;

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// The market of an instrument moves; its depth update falls due.
    Move(usize),
    Flush(usize),
    /// A text of ours arrives at the venue; one of the venue's at us.
    ToVenue(u64, String),
    ToUs(u64, String),
    /// An opening ends.
    Opened {
        line: usize,
        slot: usize,
        attempt: u64,
        good: bool,
    },
    /// The connection is seen to be gone.
    Gone(u64, Gone),
    /// A request arrives at the venue; its answer at us; nothing came within the time limit.
    RestAsked(RestAsk),
    RestAnswered(RestAsk, Answer),
    /// Something falls due in the process.
    Wake,
    Sync,
    Keep,
    /// A reader takes its turn.
    Read(usize),
    /// Bounds are looked at, and the wall clock.
    Second,
    Start,
    Fault(Timed),
}

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    Closed,
    /// Nobody answers our pings.
    NoPong,
}

/// Faults of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    Cut,
    Stall,
    Vanish,
    Clock,
    Full,
    Room,
    Crash,
    Die,
    Power,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct RestAsk {
    pub line: usize,
    pub conn: usize,
    pub id: FetchId,
    /// Path and query, as they go out.
    pub path: String,
    pub weight: u32,
    pub priority: Priority,
    pub host: usize,
    /// The life of the process that asked: answers to a former one go nowhere.
    pub life: u64,
    /// Of the line within that life.
    pub generation: u64,
    pub sent: i64,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Body { status: u16, body: String, used: u32 },
    TryLater { status: u16, after: Duration, used: u32 },
    Timeout,
}

struct Queued {
    at: i64,
    turn: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.turn) == (other.at, other.turn)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

/// One connection as the venue sees it.
#[derive(Debug)]
pub struct VenueConn {
    pub line: usize,
    pub slot: usize,
    serves: Vec<(usize, Stream)>,
    /// Messages that the venue said, with those that are lost.
    said: u64,
    latency: i64,
    /// Nothing arrives before.
    not_before: i64,
    /// Everything is swallowed.
    pub vanished: bool,
    held_back: Option<String>,
    /// Closed by us or the venue: what is under way still arrives nowhere.
    pub closed: bool,
}

/// A venue's REST host.
#[derive(Debug, Default)]
pub struct VenueHost {
    /// Weight in each `window` of its clock, ns.
    pub limit: u32,
    window: i64,
    /// Which window it is.
    at: i64,
    used: u32,
    /// Weight of this window that former lives of the process took.
    former: u32,
    life: u64,
    wait_until: i64,
    /// Which life was told to wait, and when it knew.
    told: Option<(u64, i64)>,
    pub requests: u64,
    pub snapshots: u64,
    /// 429 for overrunning the limit, by a process that could know; and by one that had just been started.
    pub overrun: u64,
    pub overrun_after_restart: u64,
    /// Requests sent although the venue had told this very process to wait.
    pub defied: u64,
    pub told_to_wait: u64,
}

/// See the module.
pub struct Outside {
    pub now: i64,
    pub wall_offset: i64,
    pub markets: Vec<Market>,
    pub hosts: Vec<VenueHost>,
    pub conns: BTreeMap<u64, VenueConn>,
    pub faults: Faults,
    pub frozen: bool,
    /// The market moves this many times slower.
    pub pace: i64,
    pub dice: Dice,
    pub cuts: u64,
    pub frames: u64,
    heap: BinaryHeap<Reverse<Queued>>,
    turns: u64,
    next_conn: u64,
    market_dice: Dice,
}

impl Outside {
    /// `limits`: what each host bears in a window of so many ns.
    pub fn new(seed: u64, faults: Faults, markets: &[(&str, Variant)], limits: &[(u32, i64)]) -> Self {
        let mut market_dice = Dice::new(seed ^ 0x6d61_726b);
        let markets = markets.iter().map(|(s, v)| Market::new(s, *v, &mut market_dice)).collect();
        Self {
            now: START,
            wall_offset: 0,
            markets,
            hosts: limits
                .iter()
                .map(|(limit, window)| VenueHost { limit: *limit, window: *window, ..VenueHost::default() })
                .collect(),
            conns: BTreeMap::new(),
            faults,
            frozen: false,
            pace: 1,
            dice: Dice::new(seed ^ 0x6e65_7477),
            cuts: 0,
            frames: 0,
            heap: BinaryHeap::new(),
            turns: 0,
            next_conn: 0,
            market_dice,
        }
    }

    pub fn ms(&self) -> i64 {
        self.now / MS
    }

    pub fn wall(&self) -> i64 {
        self.now + self.wall_offset
    }

    pub fn at(&mut self, at: i64, event: Event) {
        self.turns += 1;
        self.heap.push(Reverse(Queued { at: at.max(self.now), turn: self.turns, event }));
    }

    pub fn after(&mut self, ns: i64, event: Event) {
        self.at(self.now + ns, event);
    }

    /// The next event not after `end`, with the clock moved to it.
    pub fn next(&mut self, end: i64) -> Option<Event> {
        if self.heap.peek().is_none_or(|q| q.0.at > end) {
            return None;
        }
        let Reverse(q) = self.heap.pop()?;
        self.now = self.now.max(q.at);
        Some(q.event)
    }

    pub fn between_ms(&mut self, lo: i64, hi: i64) -> i64 {
        self.dice.between(lo as u64 * 1_000, hi as u64 * 1_000) as i64 * 1_000
    }

    /// The market moves, and will again.
    pub fn on_move(&mut self, ix: usize) {
        if self.frozen {
            return;
        }
        let mut frames = Vec::new();
        let ms = self.ms();
        self.markets[ix].happen(ms, &mut self.market_dice, self.faults.skipped_ids, &mut frames);
        self.publish(ix, frames);
        let next = self.market_dice.between(2_000, 50_000) as i64 * 1_000;
        self.after(next * self.pace, Event::Move(ix));
    }

    pub fn on_flush(&mut self, ix: usize) {
        if !self.frozen {
            self.flush_now(ix);
        } else if self.markets[ix].variant.is_anchored() {
            return;
        } else {
            let mut frames = Vec::new();
            let ms = self.ms();
            self.markets[ix].still(ms, &mut frames);
            self.publish(ix, frames);
        }
        self.after(100 * MS, Event::Flush(ix));
    }

    /// The last depth update, so that a lost tail of a book shows.
    pub fn freeze(&mut self) {
        for ix in 0..self.markets.len() {
            let before = self.markets[ix].updates.len();
            while self.markets[ix].updates.len() == before {
                let mut frames = Vec::new();
                let ms = self.ms();
                self.markets[ix].happen(ms, &mut self.market_dice, 0, &mut frames);
                self.publish(ix, frames);
                self.flush_now(ix);
            }
        }
        self.frozen = true;
    }

    fn flush_now(&mut self, ix: usize) {
        let mut frames = Vec::new();
        let ms = self.ms();
        self.markets[ix].flush(ms, &mut self.market_dice, self.faults.resets, &mut frames);
        self.publish(ix, frames);
    }

    fn publish(&mut self, ix: usize, frames: Vec<Frame>) {
        for (stream, text) in frames {
            let to: Vec<u64> =
                self.conns.iter().filter(|(_, c)| c.serves.contains(&(ix, stream))).map(|(id, _)| *id).collect();
            for conn in to {
                self.deliver(conn, (ix, stream), &text);
            }
        }
    }

    /// Puts a frame on the wire, with what the wire does to it.
    fn deliver(&mut self, id: u64, (market, stream): (usize, Stream), text: &str) {
        self.frames += 1;
        let f = self.faults;
        let variant = self.markets[market].variant;
        let (tongue, sequenced) = (variant.tongue(), variant.is_sequenced(stream));
        // What comes twice is seen by its number: a book without any has to trust that a connection repeats nothing.
        let numbered = variant.is_numbered() || variant.counts_messages();
        let repeats = stream != Stream::Depth || numbered;
        let drop = sequenced && self.dice.one_in(f.drop);
        let swap = sequenced && !drop && self.dice.one_in(f.swap);
        if (drop || swap) && stream == Stream::Depth && !numbered {
            self.markets[market].out_of_turn();
        }
        if drop {
            self.stamped(id, text.to_owned());
            return;
        }
        let mut list = Vec::new();
        let garbage = self.dice.one_in(f.garbage);
        if self.dice.one_in(f.unknown) {
            let unknown = tongue.unknown(&tongue.stream(&self.markets[market].symbol, stream), self.now / MS);
            list.push(self.stamped(id, unknown));
        }
        let text = self.stamped(id, text.to_owned());
        if garbage {
            list.insert(0, text[..text.len() / 2].to_owned());
        }
        if self.dice.one_in(f.duplicate) && repeats {
            list.push(text.clone());
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let held = conn.held_back.take();
        if swap && held.is_none() {
            conn.held_back = Some(text);
        } else {
            list.push(text);
            list.extend(held);
        }
        for text in list {
            self.send_to_us(id, text);
        }
    }

    /// A text as the venue says it on this connection.
    fn stamped(&mut self, id: u64, text: String) -> String {
        let tongue = self.tongue();
        let Some(conn) = self.conns.get_mut(&id) else { return text };
        conn.said += 1;
        tongue.stamp(text, id, conn.said - 1)
    }

    /// All markets of a world are of one house.
    fn tongue(&self) -> &'static dyn Tongue {
        self.markets[0].variant.tongue()
    }

    fn send_to_us(&mut self, id: u64, text: String) {
        let jitter = if self.dice.one_in(20) { self.between_ms(1, 15) } else { 0 };
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.vanished && !c.closed) else { return };
        let at = (now + conn.latency + jitter).max(conn.not_before);
        conn.not_before = at;
        self.at(at, Event::ToUs(id, text));
    }

    /// We dial: what will come of it is drawn now.
    pub fn dial(&mut self, line: usize, slot: usize, attempt: u64, timeout: Duration) {
        let (refused, silent) = (self.dice.one_in(self.faults.refused), self.dice.one_in(self.faults.blackhole));
        let wait = match (silent, refused) {
            (true, _) => timeout.as_nanos() as i64,
            (_, true) => self.between_ms(2, 400),
            _ => self.between_ms(5, 300),
        };
        self.after(wait, Event::Opened { line, slot, attempt, good: !silent && !refused });
    }

    /// The handshake is done.
    pub fn opened(&mut self, line: usize, slot: usize) -> u64 {
        self.next_conn += 1;
        let latency = self.between_ms(1, 8);
        let conn = VenueConn {
            line,
            slot,
            serves: Vec::new(),
            said: 0,
            latency,
            not_before: 0,
            vanished: false,
            held_back: None,
            closed: false,
        };
        let id = self.next_conn;
        self.conns.insert(id, conn);
        if let Some(greeting) = self.tongue().greeting() {
            let greeting = self.stamped(id, greeting);
            self.send_to_us(id, greeting);
        }
        id
    }

    pub fn close(&mut self, id: u64) {
        self.conns.remove(&id);
    }

    pub fn send_to_venue(&mut self, id: u64, text: String) {
        if let Some(latency) = self.conns.get(&id).map(|c| c.latency) {
            self.after(latency, Event::ToVenue(id, text));
        }
    }

    /// A message of ours arrives at the venue; `instruments` are the markets of its line.
    pub fn on_venue(&mut self, id: u64, text: &str, instruments: &[usize]) {
        let Some(tongue) = instruments.first().map(|ix| self.markets[*ix].variant.tongue()) else { return };
        let Some(asked) = tongue.hear(text) else { return };
        let count = asked.streams.len() as u64;
        let silent =
            self.dice.one_in(self.faults.silent * tongue.requests()).then(|| self.dice.between(0, count) as usize);
        let ms = self.ms();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let mut texts = tongue.acks(&asked);
        for (i, name) in asked.streams.iter().enumerate() {
            let all = instruments.iter().flat_map(|ix| Stream::ALL.map(|stream| (*ix, stream)));
            // A stream of the whole connection is told by the first of its markets.
            let mut all = all;
            let named = all.find(|(ix, stream)| tongue.stream(&self.markets[*ix].symbol, *stream) == *name);
            if let Some((ix, stream)) = named {
                if !asked.begins {
                    conn.serves.retain(|served| *served != (ix, stream));
                    continue;
                }
                if silent != Some(i) {
                    conn.serves.push((ix, stream));
                }
                if silent != Some(i) || tongue.answers_with_state() {
                    texts.extend(tongue.welcome(&self.markets[ix], stream, ms));
                }
            }
        }
        for text in texts {
            let text = self.stamped(id, text);
            self.send_to_us(id, text);
        }
    }

    /// Some connection, drawn.
    fn some_conn(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.conns.iter().filter(|(_, c)| !c.closed).map(|(id, _)| *id).collect();
        let at = self.dice.between(0, ids.len() as u64) as usize;
        ids.get(at).copied()
    }

    pub fn cut(&mut self) {
        let Some(id) = self.some_conn() else { return };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.closed = true;
            let latency = conn.latency;
            self.after(latency, Event::Gone(id, Gone::Closed));
        }
    }

    pub fn stall(&mut self) {
        let Some(id) = self.some_conn() else { return };
        let until = self.now + self.between_ms(500, 12_000);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.not_before = conn.not_before.max(until);
        }
    }

    pub fn vanish(&mut self) {
        let Some(id) = self.some_conn() else { return };
        let noticed = self.between_ms(10_000, 30_000);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.vanished = true;
            self.after(noticed, Event::Gone(id, Gone::NoPong));
        }
    }

    /// A request leaves us.
    pub fn ask(&mut self, ask: RestAsk) {
        let latency = self.between_ms(1, 60);
        self.after(latency, Event::RestAsked(ask));
    }

    /// It arrives at the venue.
    pub fn on_asked(&mut self, ask: RestAsk, instruments: &[usize]) {
        let (now, f) = (self.now, self.faults);
        let host = &mut self.hosts[ask.host];
        let at = now / host.window;
        if host.at != at {
            (host.at, host.used, host.former) = (at, 0, 0);
        }
        if host.life != ask.life {
            (host.life, host.former) = (ask.life, host.used);
        }
        host.used += ask.weight;
        host.requests += 1;
        host.snapshots += u64::from(ask.id.kind == FetchKind::BookSnapshot);
        let used = host.used;
        let mut answer = None;
        if now < host.wait_until {
            // Two requests may be under way when the first is told to wait, and a later life does not know.
            let late = host.wait_until - now;
            host.defied += u64::from(host.told.is_some_and(|(life, at)| life == ask.life && ask.sent > at));
            answer = Some(Answer::TryLater { status: 429, after: Duration::from_nanos(late as u64), used });
        } else if host.used > host.limit {
            if host.former > 0 {
                host.overrun_after_restart += 1
            } else {
                host.overrun += 1
            }
            let left = (at + 1) * host.window - now;
            answer = Some(Answer::TryLater { status: 429, after: Duration::from_nanos(left as u64), used });
        } else if self.dice.one_in(f.rest_429) {
            let wait = self.dice.between(1, 5);
            let host = &mut self.hosts[ask.host];
            host.told_to_wait += 1;
            host.wait_until = now + wait as i64 * SECOND;
            host.told = None;
            answer = Some(Answer::TryLater { status: 429, after: Duration::from_secs(wait), used });
        }
        let mut wait = self.between_ms(1, 60);
        let answer = match answer {
            Some(answer) => answer,
            None if self.dice.one_in(f.rest_fails) => {
                wait = 10 * SECOND;
                Answer::Timeout
            }
            None if self.dice.one_in(f.rest_5xx) => Answer::Body { status: 503, body: "busy".into(), used },
            None => {
                if self.dice.one_in(f.rest_late) {
                    wait = self.between_ms(200, 6_000);
                }
                self.serve(&ask, instruments, used)
            }
        };
        self.after(wait, Event::RestAnswered(ask, answer));
    }

    fn serve(&mut self, ask: &RestAsk, instruments: &[usize], used: u32) -> Answer {
        let ms = self.ms();
        let stale = ask.id.kind == FetchKind::BookSnapshot && self.dice.one_in(self.faults.rest_stale);
        // What is of no instrument is the same of all.
        let ix = instruments.get(ask.id.instrument as usize).or(instruments.first());
        let body = ix.map(|ix| &self.markets[*ix]).and_then(|m| m.variant.tongue().get(m, &ask.path, stale, ms));
        match body {
            Some(body) => Answer::Body { status: 200, body, used },
            None => Answer::Body { status: 404, body: "{}".into(), used },
        }
    }

    /// The answer with which a host told us to wait has arrived: from now on we know.
    pub fn told(&mut self, host: usize, life: u64) {
        let now = self.now;
        self.hosts[host].told.get_or_insert((life, now));
    }
}
