//! One line, one venue, one network, one clock, in steps of a millisecond.

use std::collections::{BTreeMap, VecDeque};

use wholetape_feed::line::{ConnMeta, ConnPlan, Line, LineAction, LineOut, LinePlan, Resume};
use wholetape_model::{
    Body, BookAction, Gap, InstrumentId, Kind, Level, LinkCause, RowFlags, Scales, Topic, Trade, Ts, ValidityState,
};
use wholetape_venue::{Channel, FetchFailure, FetchId, FetchKind, Frame, Reply, SplitLimits};

use crate::dice::Dice;
use crate::faults::Faults;
use crate::venue::{SYMBOL, Venue};

/// The first millisecond.
pub const START_MS: i64 = 1_700_000_000_000;

/// A row as the tape would keep it, in the topic's order.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    Trade(Trade, Scales, Ts, RowFlags),
    Quote(wholetape_model::Quote, Scales),
    Book {
        action: BookAction,
        first: u64,
        last: u64,
        scales: Scales,
        bids: Vec<Level>,
        asks: Vec<Level>,
        flags: RowFlags,
    },
    Gap(Gap<String>),
    Validity(ValidityState, u64),
    Other,
}

enum Answer {
    Body(Vec<u8>),
    Failed(FetchFailure),
}

/// See the module.
pub struct World {
    pub seed: u64,
    pub line: Line,
    pub venue: Venue,
    pub faults: Faults,
    /// What the seed drew.
    pub drawn: Faults,
    pub rows: BTreeMap<String, Vec<Kept>>,
    /// Requests by kind, to bound.
    pub fetches: BTreeMap<FetchKind, u64>,
    pub silences: u64,
    pub cuts: u64,
    /// Frames on their way: due time, stream, text.
    wire: VecDeque<(i64, String)>,
    answers: Vec<(i64, FetchId, Answer)>,
    dice: Dice,
    out: LineOut,
    ms: i64,
    frozen: bool,
    conn: Conn,
    numbers: u32,
}

#[derive(Default)]
struct Conn {
    open: bool,
    opens_at: i64,
    /// Streams that the venue serves.
    serves: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let faults = Faults::drawn_from(&mut dice);
        Self::with(seed, faults, true, Resume::default())
    }

    pub fn with(seed: u64, faults: Faults, heal: bool, resume: Resume) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let venue = Venue::new(&mut dice);
        let instruments = [(0, SYMBOL.to_owned())];
        let channels = [Channel::Trade, Channel::Book, Channel::Quote];
        let conns = wholetape_venue::connections("binance-spot", &instruments, &channels, &SplitLimits::default())
            .expect("a valid plan")
            .iter()
            .map(|plan| ConnPlan::of(plan).expect("a valid plan"))
            .collect();
        let line = Line::new(LinePlan {
            name: "world".into(),
            instruments: vec![InstrumentId::new(SYMBOL, "BINANCE")],
            conns,
            trade_source: Kind::Trade,
            heal,
            discover: None,
            checks: wholetape_quality::CheckConfig::default(),
            resume,
        });
        Self {
            seed,
            line,
            venue,
            faults,
            drawn: faults,
            rows: BTreeMap::new(),
            fetches: BTreeMap::new(),
            silences: 0,
            cuts: 0,
            wire: VecDeque::new(),
            answers: Vec::new(),
            dice,
            out: LineOut::default(),
            ms: START_MS,
            frozen: false,
            conn: Conn::default(),
            numbers: 0,
        }
    }

    pub fn now(&self) -> Ts {
        Ts::from_millis(self.ms)
    }

    /// Lets `ms` milliseconds happen.
    pub fn run(&mut self, ms: i64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// The venue creates nothing more but goes on serving; faults end. Then the line has its time to become whole.
    pub fn settle(&mut self, ms: i64) {
        let mut frames = Vec::new();
        // The last update arrives: a lost tail of a book shows only when the book moves again.
        self.faults = Faults::NONE;
        self.frozen = true;
        let (before, mut dice) = (self.venue.updates.len(), Dice::new(1));
        while self.venue.updates.len() == before {
            self.ms += 100 - self.ms % 100;
            self.venue.tick(self.ms, &mut dice, 0, &mut frames);
        }
        self.deliver(frames);
        self.run(ms);
    }

    fn step(&mut self) {
        self.ms += 1;
        if !self.conn.open && self.ms >= self.conn.opens_at {
            self.numbers += 1;
            self.conn.open = true;
            self.line.on_open(0, ConnMeta { number: self.numbers }, self.now(), &mut self.out);
            self.take();
        }
        if !self.frozen {
            let mut frames = Vec::new();
            self.venue.tick(self.ms, &mut self.dice, self.faults.skipped_ids, &mut frames);
            self.deliver(frames);
            if self.conn.open && self.dice.one_in(self.faults.cut) {
                self.close(LinkCause::Closed);
            }
        }
        while self.wire.front().is_some_and(|(due, _)| *due <= self.ms) {
            let Some((_, text)) = self.wire.pop_front() else { break };
            if self.conn.open {
                self.line.on_frame(0, Ts::from_millis(self.ms), Frame::Text(text.as_bytes()), &mut self.out);
                self.take();
            }
        }
        self.answer();
        if self.line.next_timer().is_some_and(|at| at <= self.now()) {
            self.line.on_timer(self.now(), &mut self.out);
            self.take();
        }
    }

    /// Puts the venue's frames on the wire, with what the wire does to them.
    fn deliver(&mut self, frames: Vec<(&'static str, serde_json::Value)>) {
        for (stream, data) in frames {
            if !self.conn.open || !self.conn.serves.iter().any(|s| s == stream) {
                continue;
            }
            let sequenced = stream != "btcusdt@bookTicker";
            if sequenced && self.dice.one_in(self.faults.drop) {
                continue;
            }
            let text = serde_json::json!({"stream": stream, "data": data}).to_string();
            let due = self.ms + 2;
            if self.dice.one_in(self.faults.garbage) {
                self.wire.push_back((due, text[..text.len() / 2].to_owned()));
            }
            if self.dice.one_in(self.faults.duplicate) {
                self.wire.push_back((due, text.clone()));
            }
            self.wire.push_back((due, text));
            if sequenced && self.dice.one_in(self.faults.swap) && self.wire.len() > 1 {
                let last = self.wire.len() - 1;
                self.wire.swap(last, last - 1);
            }
        }
    }

    fn close(&mut self, cause: LinkCause) {
        self.cuts += 1;
        self.wire.clear();
        self.conn = Conn { open: false, opens_at: self.ms + self.dice.between(50, 3_000) as i64, serves: Vec::new() };
        self.line.on_closed(0, self.now(), cause, &mut self.out);
        self.take();
    }

    fn answer(&mut self) {
        let mut i = 0;
        while i < self.answers.len() {
            if self.answers[i].0 > self.ms {
                i += 1;
                continue;
            }
            let (_, id, answer) = self.answers.remove(i);
            let reply = match &answer {
                Answer::Body(body) => Reply::Answer { status: 200, body },
                Answer::Failed(failure) => Reply::Failed(failure),
            };
            self.line.on_fetched(0, Ts::from_millis(self.ms), id, reply, &mut self.out);
            self.take();
        }
    }

    /// Carries out what the line asks for, as a shell would.
    fn take(&mut self) {
        for row in &self.out.rows {
            let topic = self.line.topics()[row.topic as usize].topic.as_str().to_owned();
            let kept = match self.out.arena().view(&row.body) {
                Body::Trade(t) => Kept::Trade(t, row.scales, row.ts_event, row.flags),
                Body::Quote(q) => Kept::Quote(q, row.scales),
                Body::Book(b) => Kept::Book {
                    action: b.action,
                    first: b.first_id,
                    last: b.last_id,
                    scales: row.scales,
                    bids: b.bids.iter().collect(),
                    asks: b.asks.iter().collect(),
                    flags: row.flags,
                },
                Body::Gap(g) => Kept::Gap(g.map(str::to_owned)),
                Body::Validity(v) => Kept::Validity(v.state, v.update_id),
                _ => Kept::Other,
            };
            self.rows.entry(topic).or_default().push(kept);
        }
        let actions = std::mem::take(&mut self.out.actions);
        self.out.clear();
        for action in actions {
            match action {
                LineAction::Send(_, text) => self.subscribe(&text),
                LineAction::Fetch(_, id, ..) => self.fetch(id),
                LineAction::Reconnect(_, cause, _) if self.conn.open => self.close(cause),
                LineAction::Silent(..) => self.silences += 1,
                _ => {}
            }
        }
    }

    fn subscribe(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(text) else { return };
        let asked = message["params"].as_array().cloned().unwrap_or_default();
        let silent = self.dice.one_in(self.faults.silent).then(|| self.dice.between(0, asked.len() as u64) as usize);
        for (i, stream) in asked.iter().enumerate() {
            if silent != Some(i) {
                self.conn.serves.extend(stream.as_str().map(str::to_owned));
            }
        }
        self.wire.push_back((self.ms + 2, serde_json::json!({"result": null, "id": message["id"]}).to_string()));
    }

    fn fetch(&mut self, id: FetchId) {
        *self.fetches.entry(id.kind).or_default() += 1;
        let due = self.ms + self.dice.between(5, 400) as i64;
        let answer = if self.dice.one_in(self.faults.rest_fails) {
            Answer::Failed(FetchFailure::Timeout)
        } else if self.dice.one_in(self.faults.rest_budget) {
            Answer::Failed(FetchFailure::Budget { retry_after: std::time::Duration::from_millis(700) })
        } else {
            let body = match id.kind {
                FetchKind::BookSnapshot => self.venue.depth(self.dice.one_in(self.faults.rest_stale)),
                FetchKind::TradesFrom => self.venue.trades_from(id.arg),
                FetchKind::NewestTrades => self.venue.newest_trades(id.arg as usize),
                _ => return,
            };
            Answer::Body(body.to_string().into_bytes())
        };
        self.answers.push((due, id, answer));
    }

    /// The rows of one topic of the world's instrument.
    pub fn of(&self, kind: Kind) -> &[Kept] {
        let topic = Topic::new(kind, &InstrumentId::new(SYMBOL, "BINANCE"));
        self.rows.get(topic.as_str()).map_or(&[], Vec::as_slice)
    }
}
