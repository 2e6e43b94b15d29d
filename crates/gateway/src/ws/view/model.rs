//! Every order of three messages, ticks, deliveries and a cut, over two connections: whatever happens, the client comes to hold the
//! book, and each mark came once and in order.
//!
//! View, book and client are the real ones; what a subscription does with them (`subscription/view.rs`) is played.

use std::collections::VecDeque;

use wholetape_model::mark::Validity;
use wholetape_model::record::encode;
use wholetape_model::{Book, BookAction, GapCause, Levels, Price, Row, RowFlags, Scales, Size, ValidityState};
use wholetape_wire::BookView;
use wholetape_wire::client::{Client, Happening, apply_book};
use wholetape_wire::reply::{self, Missed, Terms};

use super::*;

const MESSAGES: usize = 3;
const KEY: Key = Key { depth: Some(10), period: Period::Ms100 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Publish,
    Tick,
    /// The subscription's turn.
    Give,
    /// The client takes what is first on its way.
    Deliver,
    /// The line breaks with all that is on its way, and the client comes back.
    Cut,
}

struct World {
    topic: Topic,
    /// Which of the messages are marks.
    marks: [bool; MESSAGES],
    log: Vec<Vec<u8>>,
    book: BookState,
    view: View,
    stats: GatewayStats,
    now_ms: i64,
    /// The connection: where its cursor is, whether it has no state yet, and what is on its way.
    position: u64,
    entering: bool,
    down: VecDeque<String>,
    connections: usize,
    client: Client,
    held: BookView,
    got: Vec<u64>,
}

/// Record `seq` of the log: the first is the whole book.
fn bytes(seq: u64, is_mark: bool) -> Vec<u8> {
    let level = |price, size| wholetape_model::Level { price: Price(price), size: Size(size) };
    let levels = [level(100 - seq as i64 % 2, seq as i64)];
    let book = |action| {
        let (bids, asks) = (Levels::Native(&levels), Levels::Native(&[]));
        Body::Book(Book { action, first_id: seq, last_id: seq, prev_id: seq - 1, bids, asks })
    };
    let body = match seq {
        1 => book(BookAction::Snapshot),
        _ if is_mark => {
            let (state, cause) = (ValidityState::Live, GapCause::Resync);
            Body::Validity(Validity { state, cause, update_id: seq, why: "model" })
        }
        _ => book(BookAction::Delta),
    };
    let (ts_event, ts_recv, flags) = (Ts(1), Ts(1), RowFlags::default());
    let row = Row { ts_event, ts_recv, conn: 1, frame: 1, flags, scales: Scales { price: 0, size: 0 }, body };
    let mut out = Vec::new();
    encode(&row, 0, seq, 1, &mut out);
    out
}

impl World {
    fn new(marks: [bool; MESSAGES]) -> Self {
        let (topic, mut book) = (Topic::parse("book.A.B").unwrap(), BookState::default());
        let first = bytes(1, false);
        book.apply(&Record::parse(&first, true).unwrap());
        let view = View::new(KEY, 1, Some(&book), 0);
        let mut world = Self {
            topic,
            marks,
            log: vec![first],
            book,
            view,
            stats: GatewayStats::default(),
            now_ms: 0,
            position: 1,
            entering: true,
            down: VecDeque::new(),
            connections: 0,
            client: Client::new(),
            held: BookView::new(),
            got: Vec::new(),
        };
        world.connect(1);
        world
    }

    fn connect(&mut self, position: u64) {
        self.connections += 1;
        (self.position, self.entering) = (position, true);
        self.down.clear();
        let mut out = Vec::new();
        reply::subd(&mut out, None, &self.topic, &Terms::default(), "e", position, None);
        self.client.on_text(&String::from_utf8(out).unwrap(), &mut Vec::new());
    }

    /// With the view and the stream's place behind so many records. Its ring keeps one message.
    fn with<R>(&mut self, f: impl FnOnce(&mut View, &Place<'_>) -> R) -> R {
        let Self { topic, log, book, view, stats, .. } = self;
        let at = log.len() as u64;
        f(
            view,
            &Place {
                topic,
                epoch: "e",
                at,
                book: Some(book),
                last: None,
                ring_bytes: 1,
                wanted: &Wanted::default(),
                stats,
            },
        )
    }

    /// As `Stream::take`.
    fn publish(&mut self) {
        let is_mark = self.marks[self.log.len() - 1];
        let record = bytes(self.log.len() as u64 + 1, is_mark);
        let parsed = Record::parse(&record, true).unwrap();
        if is_mark {
            self.with(View::flush);
        }
        self.book.apply(&parsed);
        self.log.push(record.clone());
        self.with(|view, place| if is_mark { view.mark(&parsed, place) } else { view.note(&parsed) });
    }

    /// As `Subscription::read_view`. False when there is nothing to give.
    fn give(&mut self) -> bool {
        if !self.entering {
            let Self { view, position, down, .. } = self;
            let next = view.next(*position, 1, |frame| {
                *position = frame.seq;
                down.push_back(String::from_utf8(frame.text.payload().to_vec()).unwrap());
                true
            });
            self.entering = matches!(next, Next::Behind);
            return !matches!(next, Next::Idle);
        }
        let (before, at) = (self.down.len(), self.view.at);
        for seq in self.position + 1..=at {
            if seq == 1 || !self.marks[seq as usize - 2] {
                continue;
            }
            let mut say = |f: &mut dyn FnMut(&mut Vec<u8>)| {
                let mut out = Vec::new();
                f(&mut out);
                self.down.push_back(String::from_utf8(out).unwrap());
            };
            if seq - 1 > self.position {
                let missed = Missed { from: self.position + 1, to: seq - 1, why: "conflated" };
                say(&mut |out| reply::missed(out, &self.topic, missed));
            }
            let cx = Context { topic: &self.topic, epoch: "e", prev: seq - 1, state: None, crc: None };
            let record = Record::parse(&self.log[seq as usize - 1], true).unwrap();
            say(&mut |out| _ = message::record(out, &cx, &record).unwrap());
            self.position = seq;
        }
        if !self.view.is_pending() {
            let text = self.with(View::snap).unwrap();
            self.down.push_back(String::from_utf8(text.text.payload().to_vec()).unwrap());
            (self.position, self.entering) = (at, false);
        }
        self.down.len() > before
    }

    fn deliver(&mut self) {
        let Some(text) = self.down.pop_front() else { return };
        let mut out = Vec::new();
        self.client.on_text(&text, &mut out);
        for h in out {
            match h {
                Happening::Apply { to, message, .. } if message["op"] == "mark" => self.got.push(to),
                Happening::Apply { message, .. } => apply_book(&mut self.held, &message).unwrap(),
                Happening::Missed { why, .. } => assert_eq!(why, "conflated"),
                other => panic!("{other:?}"),
            }
        }
    }

    fn last(&self) -> u64 {
        self.client.state("book.A.B").unwrap().last
    }

    fn acts(&self) -> Vec<Act> {
        let mut all = vec![Act::Give];
        if self.log.len() <= MESSAGES {
            all.push(Act::Publish);
        }
        if self.view.is_pending() {
            all.push(Act::Tick);
        }
        if !self.down.is_empty() {
            all.push(Act::Deliver);
        }
        if self.connections < 2 {
            all.push(Act::Cut);
        }
        all
    }

    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Publish => self.publish(),
            Act::Tick => {
                self.now_ms += 100;
                let now_ms = self.now_ms;
                self.with(|view, place| view.tick(now_ms, place));
            }
            Act::Give => return self.give(),
            Act::Deliver => self.deliver(),
            Act::Cut => self.connect(self.last()),
        }
        true
    }

    /// Nothing more happens but ticks and deliveries.
    fn settles(&mut self, done: &[Act]) {
        for _ in 0..2 {
            self.act(Act::Tick);
            while self.give() {}
            while !self.down.is_empty() {
                self.deliver();
            }
        }
        let came = (2..=self.log.len() as u64).filter(|seq| self.marks[*seq as usize - 2]).collect::<Vec<_>>();
        assert_eq!(self.got, came, "each mark once and in order: {:?} {done:?}", self.marks);
        assert_eq!(self.last(), self.log.len() as u64, "{:?} {done:?}", self.marks);
        assert_eq!(self.held, self.book.view, "{:?} {done:?}", self.marks);
    }
}

fn explore(marks: [bool; MESSAGES], done: &mut Vec<Act>, depth: usize, played: &mut usize) {
    let mut world = World::new(marks);
    let mut useful = true;
    for act in done.iter() {
        useful = world.act(*act);
    }
    if !useful {
        return; // A turn with nothing to give: the same without it.
    }
    let acts = world.acts();
    *played += 1;
    world.settles(done);
    if done.len() == depth {
        return;
    }
    for act in acts {
        done.push(act);
        explore(marks, done, depth, played);
        done.pop();
    }
}

#[test]
fn whatever_the_order_the_client_comes_to_hold_the_book_and_every_mark() {
    let mut played = 0;
    for kinds in 0..1 << MESSAGES {
        explore(std::array::from_fn(|i| kinds >> i & 1 == 1), &mut Vec::new(), 9, &mut played);
    }
    assert!(played > 30_000, "{played}");
}
