//! One seed's world: markets and network outside, a process and its disk inside, a witness beside them.
//!
//! [`World::run`] lets everything happen that the seed drew, then ends the faults and gives the process its time to become
//! whole; [`crate::check::all`] says what does not hold. The trace hash covers every record that was served, in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wholetape_feed::{FeedConfig, LineConfig};
use wholetape_model::InstrumentId;
use wholetape_tape::{Tape, TapeError};

use crate::bounds;
use crate::class::Class;
use crate::dice::Dice;
use crate::disk::MemDisk;
use crate::faults::Faults;
use crate::figures::{Figures, Recovery};
use crate::outside::{Event, MS, Outside, SECOND, START, Timed};
use crate::process::{DIR, Process, Setup, WorldTime};
use crate::readers::Cursor;
use crate::witness::{End, Whole, Witness, has_open_gaps, read_whole};

/// What a world is made from.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub faults: Faults,
    pub heal: bool,
    /// How long faults happen, s.
    pub seconds: i64,
    /// Sockets that carry the same streams.
    pub sockets: usize,
    pub class: Class,
}

impl Plan {
    /// What the seed says; every 64th world is ten minutes long.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let faults = Faults::drawn_from(&mut dice);
        Self {
            seed,
            faults,
            heal: true,
            seconds: if seed % 64 == 63 { 600 } else { 60 },
            sockets: 1,
            class: Class::Binance,
        }
    }

    pub fn without_faults(seed: u64) -> Self {
        Self { seed, faults: Faults::default(), heal: true, seconds: 60, sockets: 1, class: Class::Binance }
    }
}

/// Without faults the market goes on for this long, and then as long again only the clock does.
const AFTERMATH: i64 = 75 * SECOND;
const QUIET: i64 = 150 * SECOND;
/// Where a hole or a doubt has no verdict by then: a venue that answers little is asked for longer, at most so many times.
const PATIENCE: (usize, i64) = (30, 10 * SECOND);

/// See the module.
pub struct World {
    pub plan: Plan,
    pub o: Outside,
    pub setup: Setup,
    pub process: Option<Process>,
    pub witness: Witness,
    pub cursors: Vec<Cursor>,
    pub figures: Figures,
    /// What the tape held in the end, by topic.
    pub held: std::collections::BTreeMap<String, Whole>,
    /// Our clock against the truth: what it read at which true time (ns).
    pub readings: Vec<(i64, i64)>,
    recoveries: Vec<Recovery>,
    wrong: Option<String>,
    life: u64,
    boot: u32,
    /// A start is on the heap.
    starting: bool,
    last_end: End,
    dice: Dice,
    /// Prints what becomes of the process and its disk: for looking at one seed.
    pub verbose: bool,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let seed = plan.seed;
        let mut dice = Dice::new(seed ^ 0x776f_726c);
        let cast = plan.class.cast(&mut dice);
        let line = |line: &LineConfig| LineConfig { heal: plan.heal, sockets: plan.sockets, ..line.clone() };
        let config = FeedConfig {
            workers: 1,
            line: cast.lines.iter().map(|(one, _)| line(one)).collect(),
            ..FeedConfig::default()
        };
        let feed = config.plan(&|_| Vec::new()).unwrap_or_else(|p| panic!("the lab's own configuration: {p:?}"));
        let disk = MemDisk::new(Path::new(DIR), seed ^ 0x6469_736b);
        disk.set_faults(plan.faults.disk);
        let setup = Setup {
            plan: feed,
            disk,
            time: Arc::new(WorldTime::default()),
            // As many segments in ten minutes as in one: the tape is read whole after each of the process's ends.
            segment_bytes: dice.between(12 << 10, 200 << 10) * (plan.seconds as u64 / 60).max(1),
            batch_max: crate::bounds::batch_max(plan.seconds),
            unsynced_records_max: dice.between(20, 2_000) as u32,
            instruments: cast.lines.into_iter().map(|(_, markets)| markets).collect(),
        };
        let lines = setup.plan.lines.len();
        let o = Outside::new(seed, plan.faults, &cast.markets, &cast.limits);
        let mut world = Self {
            plan,
            o,
            setup,
            process: None,
            witness: Witness::default(),
            cursors: (0..4).map(Cursor::new).collect(),
            figures: Figures::default(),
            held: std::collections::BTreeMap::new(),
            readings: Vec::new(),
            recoveries: (0..lines).map(|_| Recovery::default()).collect(),
            wrong: None,
            life: 0,
            boot: 1,
            starting: true,
            last_end: End::Kill,
            dice,
            verbose: false,
        };
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        for ix in 0..self.o.markets.len() {
            self.o.after(ix as i64 * MS, Event::Move(ix));
            self.o.after(100 * MS + ix as i64 * 7 * MS, Event::Flush(ix));
        }
        for ix in 0..self.cursors.len() {
            self.o.after(SECOND + ix as i64 * 37 * MS, Event::Read(ix));
        }
        self.o.after(0, Event::Start);
        self.o.after(100 * MS, Event::Sync);
        self.o.after(500 * MS, Event::Keep);
        self.o.after(SECOND, Event::Second);
        let t = self.plan.faults.timed;
        let kinds = [
            (t.cut, Timed::Cut),
            (t.stall, Timed::Stall),
            (t.vanish, Timed::Vanish),
            (t.clock, Timed::Clock),
            (t.full, Timed::Full),
            (t.crash, Timed::Crash),
            (t.die, Timed::Die),
            (t.power, Timed::Power),
        ];
        for (mean, kind) in kinds.into_iter().filter(|(mean, _)| *mean > 0) {
            let mut at = START;
            loop {
                at += self.dice.between(mean * 100, mean * 1_900) as i64 * 1_000;
                if at >= START + self.plan.seconds * SECOND {
                    break;
                }
                self.o.at(at, Event::Fault(kind));
            }
        }
    }

    /// The whole history of the seed, and what did not hold in it.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn run(&mut self) -> Result<(), String> {
        self.until(START + self.plan.seconds * SECOND)?;
        self.o.faults = self.o.faults.ended();
        self.o.pace = 4;
        self.setup.disk.set_faults(crate::disk::DiskFaults::default());
        self.setup.disk.set_room(None);
        self.setup.disk.die_at(None);
        let end = self.o.now.max(START + self.plan.seconds * SECOND) + AFTERMATH;
        self.until(end)?;
        self.o.freeze();
        self.until(end + QUIET)?;
        for _ in 0..PATIENCE.0 {
            if !self.process.as_ref().map_or(Ok(false), |p| has_open_gaps(&p.tape))? {
                break;
            }
            self.until(self.o.now + PATIENCE.1)?;
        }
        self.finish()?;
        crate::check::all(self)
    }

    fn until(&mut self, end: i64) -> Result<(), String> {
        while let Some(event) = self.o.next(end) {
            self.step(event);
            if let Some(why) = self.wrong.take().or_else(|| self.witness.wrong.take()) {
                return Err(why);
            }
        }
        self.o.now = end;
        Ok(())
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            let at = (self.o.now - START) as f64 / 1e9;
            println!("{at:9.3} s  {}  ({:?})", what(), self.setup.disk.counts());
        }
    }

    fn tell_time(&mut self) {
        self.setup.time.wall.store(self.o.wall(), Ordering::Relaxed);
        self.setup.time.mono.store(self.o.now - START, Ordering::Relaxed);
        self.setup.disk.set_now(self.o.wall());
    }

    fn step(&mut self, event: Event) {
        self.tell_time();
        let Self { o, setup, process, cursors, .. } = self;
        match (event, process) {
            (Event::Move(ix), _) => return o.on_move(ix),
            (Event::Flush(ix), _) => return o.on_flush(ix),
            (Event::ToVenue(id, text), _) => {
                let Some(line) = o.conns.get(&id).map(|conn| conn.line) else { return };
                return o.on_venue(id, &text, &setup.instruments[line]);
            }
            (Event::RestAsked(ask), _) => {
                let instruments = &setup.instruments[ask.line];
                return o.on_asked(ask, instruments);
            }
            (Event::Fault(kind), _) => return self.fault(kind),
            (Event::Start, _) => self.start(),
            (Event::ToUs(id, text), Some(p)) => p.on_text(o, id, &text),
            (Event::Gone(id, why), Some(p)) => p.on_gone(o, id, why),
            (Event::Opened { line, slot, attempt, good }, Some(p)) => p.on_opened(o, line, slot, attempt, good),
            (Event::RestAnswered(ask, answer), Some(p)) => p.on_answer(o, ask, answer),
            (Event::Wake, Some(p)) => p.on_wake(o, setup),
            (Event::Sync, p) => {
                o.after(100 * MS, Event::Sync);
                if let Some(p) = p {
                    p.on_sync();
                }
            }
            (Event::Keep, p) => {
                o.after(500 * MS, Event::Keep);
                if let Some(p) = p {
                    p.keep();
                }
            }
            (Event::Read(ix), p) => {
                if let Some(p) = p {
                    cursors[ix].turn(&p.tape, &mut o.dice);
                }
                let next = o.between_ms(5, 900);
                o.after(next, Event::Read(ix));
            }
            (Event::Second, p) => {
                o.after(SECOND, Event::Second);
                if let Some(p) = p {
                    p.on_second(o);
                    self.readings.push((o.now, p.now(o).0));
                    if let Err(why) = bounds::look(p, setup, &mut self.figures) {
                        self.wrong.get_or_insert(why);
                    }
                }
            }
            (_, None) => return,
        }
        self.after_event();
    }

    /// What was served is witnessed; a process that died is buried.
    fn after_event(&mut self) {
        if self.setup.disk.is_dead() {
            let power = self.dice.one_in(3);
            return self.end(if power { End::Power } else { End::Kill });
        }
        let Some(p) = &mut self.process else { return };
        self.witness.look(&p.tape, p.topics_known());
        for line in 0..self.recoveries.len() {
            self.recoveries[line].look(line, p, &self.o, &self.setup, &mut self.figures);
        }
        if p.fatal.is_some() {
            self.figures.fatals += 1;
            self.end(End::Kill);
        }
    }

    fn fault(&mut self, kind: Timed) {
        self.tell(|| format!("fault {kind:?}"));
        match kind {
            Timed::Cut => self.o.cut(),
            Timed::Stall => self.o.stall(),
            Timed::Vanish => self.o.vanish(),
            Timed::Clock => {
                self.o.wall_offset += self.dice.between(0, 4_000) as i64 * MS - 2 * SECOND;
            }
            Timed::Full => {
                self.witness.space_ran_out = true;
                let room = self.dice.between(0, 30 << 10);
                self.setup.disk.set_room(Some(room));
                let later = self.o.between_ms(500, 8_000);
                self.o.after(later, Event::Fault(Timed::Room));
            }
            Timed::Room => self.setup.disk.set_room(None),
            Timed::Crash => self.end(End::Kill),
            Timed::Power => self.end(End::Power),
            Timed::Die => {
                let at = self.setup.disk.steps() + self.dice.between(1, 60);
                self.setup.disk.die_at(Some(at));
            }
        }
    }

    /// The process is gone; another one will start.
    fn end(&mut self, end: End) {
        let was_up = self.process.is_some();
        self.tell(|| format!("the process ends: {end:?}, was up {was_up}, dead {}", self.setup.disk.is_dead()));
        if !was_up && !self.setup.disk.is_dead() && end == End::Kill {
            return;
        }
        if let Some(mut p) = self.process.take() {
            self.readings.push((self.o.now, p.now(&self.o).0));
            self.witness.note_synced(&p.tape);
            self.figures.deaths += 1;
            for r in &mut self.recoveries {
                r.broken(self.o.now);
            }
        }
        self.witness.let_go();
        self.cursors.iter_mut().for_each(Cursor::let_go);
        self.o.conns.clear();
        match end {
            End::Kill => self.setup.disk.crash(),
            End::Power => {
                self.setup.disk.power_loss(&mut self.dice);
                self.boot += 1;
                self.figures.power_losses += 1;
            }
        }
        // A second misfortune before the next start counts as the worse.
        if end == End::Power || was_up {
            self.last_end = match (self.last_end, was_up) {
                (End::Power, false) => End::Power,
                _ => end,
            };
        }
        if !self.starting {
            self.starting = true;
            let later = self.o.between_ms(100, 4_000);
            self.o.after(later, Event::Start);
        }
    }

    fn start(&mut self) {
        self.starting = false;
        self.life += 1;
        match Process::start(&mut self.o, &self.setup, self.life, self.boot) {
            Ok(mut p) => {
                self.tell(|| {
                    format!(
                        "life {}, boot {} after {:?}: {} power marks, {} torn bytes, {} holes",
                        self.life,
                        self.boot,
                        self.last_end,
                        p.tape.stats().power_marks,
                        p.tape.stats().torn_bytes,
                        p.tape.stats().holes
                    )
                });
                if let Err(why) = self.witness.compare(&p.tape, self.last_end) {
                    self.wrong.get_or_insert(why);
                }
                self.last_end = End::Kill;
                p.begin(&mut self.o, &self.setup);
                self.readings.push((self.o.now, p.now(&self.o).0));
                self.process = Some(p);
            }
            Err(e @ (TapeError::Format { .. } | TapeError::Locked { .. })) => {
                self.wrong.get_or_insert(format!("P4: the tape does not open: {e}"));
            }
            Err(e) => {
                self.tell(|| format!("life {} does not start: {e}: {:?}", self.life, std::error::Error::source(&e)));
                self.starting = true;
                if self.setup.disk.is_dead() {
                    let end = if self.dice.one_in(3) { End::Power } else { End::Kill };
                    self.end(end);
                }
                let later = self.o.between_ms(200, 3_000);
                self.o.after(later, Event::Start);
            }
        }
    }

    /// A clean end, a new start, and the tape read whole.
    fn finish(&mut self) -> Result<(), String> {
        let Some(p) = self.process.take() else { return Err("nothing runs in the end".into()) };
        self.figures.take(&p, &self.o);
        self.witness.let_go();
        self.cursors.iter_mut().for_each(Cursor::let_go);
        let tape = p.into_tape();
        tape.clone().close().map_err(|e| format!("P4: the tape does not close: {e}"))?;
        // A clean end synced all of it; what this last process wrote and removed for want of space was synced as well.
        self.witness.note_synced(&tape);
        drop(tape);
        let tape = Tape::open(Path::new(DIR), self.setup.tape_config(self.boot)).map_err(|e| format!("P4: {e}"))?;
        self.witness.compare(&tape, End::Kill)?;
        for state in tape.topics() {
            let whole = read_whole(&tape, &state.topic)?;
            for row in &whole.rows {
                self.witness.trace.add(&row.hash.to_le_bytes());
            }
            self.held.insert(state.topic.as_str().to_owned(), whole);
        }
        for cursor in &mut self.cursors {
            for _ in 0..2_000 {
                cursor.turn(&tape, &mut self.o.dice);
            }
            cursor.let_go();
        }
        self.figures.resumes = self.cursors.iter().map(|c| c.resumed).sum();
        self.figures.worlds = 1;
        self.figures.rows = self.witness.rows;
        self.figures.disk = self.setup.disk.counts();
        Ok(())
    }

    /// The instrument that the topics name, of a market.
    pub fn instrument(&self, market: usize) -> &InstrumentId {
        let find = |(line, list): (usize, &Vec<usize>)| Some((line, list.iter().position(|m| *m == market)?));
        let (line, at) = self.setup.instruments.iter().enumerate().find_map(find).unwrap_or((0, 0));
        &self.setup.plan.lines[line].instruments[at]
    }
}
