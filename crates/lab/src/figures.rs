//! The figures people lose money on, world by world and summed.

use std::fmt;

use crate::disk::DiskCounts;
use crate::outside::{MS, Outside};
use crate::process::{Process, Setup};

/// How long a line is not whole after something broke it.
#[derive(Debug, Default)]
pub struct Recovery {
    since: Option<i64>,
    whole_once: bool,
    /// What the venue had published, by instrument, when the streams were back: trade id, update id.
    targets: Option<Vec<(u64, u64)>>,
}

impl Recovery {
    /// Something broke it.
    pub fn broken(&mut self, now: i64) {
        if self.whole_once {
            self.since.get_or_insert(now);
        }
        self.targets = None;
    }

    /// After an event: broken, still broken, or whole again?
    pub fn look(&mut self, line: usize, p: &Process, o: &Outside, setup: &Setup, figures: &mut Figures) {
        let Some(r) = p.running(line) else { return self.broken(o.now) };
        if !r.is_subscribed() {
            return self.broken(o.now);
        }
        if self.since.is_none() && self.whole_once {
            return;
        }
        let markets = &setup.instruments[line];
        let targets = self.targets.get_or_insert_with(|| {
            let newest = |m: &usize| (o.markets[*m].last_trade(), o.markets[*m].updates.last().map_or(0, |u| u.last));
            markets.iter().map(newest).collect()
        });
        let whole = r.line.instruments().iter().zip(markets).zip(targets.iter()).all(|((i, m), (trade, update))| {
            let market = &o.markets[*m];
            i.trades.open_gaps() == 0
                && (*trade == 0
                    || !market.variant.counts_trades()
                    || i.trades.ledger().head().is_some_and(|head| head >= *trade))
                && i.book.as_ref().is_some_and(|b| {
                    let reached = |at| !market.variant.is_numbered() || market.is_not_before(at, *update);
                    b.book().is_live() && b.book().last_update_id().is_some_and(reached)
                })
        });
        if whole {
            if let Some(since) = self.since.take() {
                figures.recoveries_ms.push(((o.now - since) / MS) as u32);
            }
            self.whole_once = true;
        }
    }
}

/// See the module. Sums over worlds by [`Figures::add`].
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub worlds: u64,
    pub rows: u64,
    pub frames: u64,
    pub cuts: u64,
    pub deaths: u64,
    pub power_losses: u64,
    pub fatals: u64,
    pub line_restarts: u64,
    pub resumes: u64,
    /// Published and neither held nor never to be had: trades (must be 0), and what no venue gives a second time.
    pub trades: u64,
    pub trades_lost: u64,
    pub updates: u64,
    pub updates_lost: u64,
    pub quotes: u64,
    pub quotes_lost: u64,
    /// Of what went with a full disk, in any of them.
    pub removed: u64,
    /// Time with a book that was served as valid and was not the venue's.
    pub invalid_book_ns: i64,
    pub requests: u64,
    pub snapshots: u64,
    /// Books that became right.
    pub splices: u64,
    pub told_to_wait: u64,
    pub overruns_after_restart: u64,
    pub holes_max: u64,
    pub recoveries_ms: Vec<u32>,
    pub disk: DiskCounts,
}

impl Figures {
    /// What the process and the venues counted.
    pub fn take(&mut self, p: &Process, o: &Outside) {
        self.line_restarts += p.restarts;
        self.cuts = o.cuts + self.deaths;
        self.frames = o.frames;
        for host in &o.hosts {
            self.requests += host.requests;
            self.snapshots += host.snapshots;
            self.told_to_wait += host.told_to_wait;
            self.overruns_after_restart += host.overrun_after_restart;
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.rows += other.rows;
        self.frames += other.frames;
        self.cuts += other.cuts;
        self.deaths += other.deaths;
        self.power_losses += other.power_losses;
        self.fatals += other.fatals;
        self.line_restarts += other.line_restarts;
        self.resumes += other.resumes;
        self.trades += other.trades;
        self.trades_lost += other.trades_lost;
        self.updates += other.updates;
        self.updates_lost += other.updates_lost;
        self.quotes += other.quotes;
        self.quotes_lost += other.quotes_lost;
        self.removed += other.removed;
        self.invalid_book_ns += other.invalid_book_ns;
        self.requests += other.requests;
        self.snapshots += other.snapshots;
        self.splices += other.splices;
        self.told_to_wait += other.told_to_wait;
        self.overruns_after_restart += other.overruns_after_restart;
        self.holes_max = self.holes_max.max(other.holes_max);
        self.recoveries_ms.extend_from_slice(&other.recoveries_ms);
        self.disk.writes += other.disk.writes;
        self.disk.syncs += other.disk.syncs;
        self.disk.short_writes += other.disk.short_writes;
        self.disk.failed_syncs += other.disk.failed_syncs;
        self.disk.full += other.disk.full;
        self.disk.torn += other.disk.torn;
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut all = self.recoveries_ms.clone();
        all.sort_unstable();
        let at = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len().max(1)) - 1;
        all.get(at).map_or(0.0, |ms| f64::from(*ms) / 1e3)
    }
}

fn per(n: u64, of: u64, scale: f64) -> f64 {
    if of == 0 { 0.0 } else { n as f64 * scale / of as f64 }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self;
        writeln!(
            f,
            "{} worlds: {} frames, {} records served, {} readers' resumptions",
            s.worlds, s.frames, s.rows, s.resumes
        )?;
        writeln!(
            f,
            "cuts: {} (of which {} ends of the process, {} by power loss); lines that began anew: {}; failed fsyncs: {}",
            s.cuts, s.deaths, s.power_losses, s.line_restarts, s.disk.failed_syncs
        )?;
        writeln!(
            f,
            "disk: {} writes, {} syncs, {} short writes, {} refusals for want of space, {} files torn by power losses",
            s.disk.writes, s.disk.syncs, s.disk.short_writes, s.disk.full, s.disk.torn
        )?;
        writeln!(
            f,
            "events lost per 1 000 cuts: trades {:.3}; confessed, for no venue gives them twice: book updates {:.1}, quotes {:.1}",
            per(s.trades_lost, s.cuts, 1e3),
            per(s.updates_lost, s.cuts, 1e3),
            per(s.quotes_lost, s.cuts, 1e3)
        )?;
        writeln!(
            f,
            "of {} trades, {} updates, {} quotes published; {} records went with full disks",
            s.trades, s.updates, s.quotes, s.removed
        )?;
        writeln!(f, "seconds an invalid book was served as valid: {:.3}", s.invalid_book_ns as f64 / 1e9)?;
        writeln!(
            f,
            "recovery, cut to whole again (virtual): p50 {:.2} s, p99 {:.2} s, max {:.2} s of {}",
            s.quantile(0.5),
            s.quantile(0.99),
            s.quantile(1.0),
            s.recoveries_ms.len()
        )?;
        write!(
            f,
            "REST: {} requests, {} snapshots for {} books made right ({:.2} each); 429 by our doing: 0, just after a restart: {}",
            s.requests,
            s.snapshots,
            s.splices,
            per(s.snapshots, s.splices, 1.0),
            s.overruns_after_restart
        )
    }
}
