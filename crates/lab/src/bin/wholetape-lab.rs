//! Runs seeds of the deterministic world, on several threads, and prints what failed and the figures.
//!
//! `wholetape-lab --seeds N [--from S] [--seed S] [--jobs J] [--sockets N] [--class NAME]`: `cargo xtask sim` is the way to call it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wholetape_lab::{Class, Figures, Plan, World};

struct Args {
    seeds: u64,
    from: u64,
    one: Option<u64>,
    jobs: usize,
    failures_max: usize,
    sockets: usize,
    class: Classes,
}

/// Which class a seed's world is of.
#[derive(Clone, Copy)]
enum Classes {
    One(Class),
    /// By turns all that are not Binance's.
    Others,
}

impl Classes {
    fn named(name: &str) -> Result<Self, String> {
        let known = Class::ALL.map(Class::name).join(", ");
        match name {
            "others" => Ok(Self::Others),
            name => Class::named(name).map(Self::One).ok_or(format!("--class {name}: choose one of {known}, others")),
        }
    }

    fn of(self, seed: u64) -> Class {
        match self {
            Self::One(class) => class,
            Self::Others => Class::in_turn(seed),
        }
    }
}

fn args() -> Result<Args, String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut args = Args {
        seeds: 200,
        from: 0,
        one: None,
        jobs: cores,
        failures_max: 20,
        sockets: 1,
        class: Classes::One(Class::Binance),
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        if name == "--class" {
            args.class = Classes::named(&value)?;
            continue;
        }
        let number: u64 = value.parse().map_err(|_| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--seeds" => args.seeds = number,
            "--from" => args.from = number,
            "--seed" => args.one = Some(number),
            "--jobs" => args.jobs = (number as usize).max(1),
            "--sockets" => args.sockets = (number as usize).max(1),
            "--failures" => args.failures_max = (number as usize).max(1),
            _ => return Err(format!("{name}: not known")),
        }
    }
    Ok(args)
}

/// A panic of ours is a finding like any other.
fn run(seed: u64, class: Class, sockets: usize, verbose: bool) -> (Result<Figures, String>, u64) {
    let done = std::panic::catch_unwind(|| {
        let mut world = World::new(Plan { sockets, class, ..Plan::of(seed) });
        world.verbose = verbose;
        let result = world.run();
        let trace = world.witness.trace.0;
        (result.map(|()| std::mem::take(&mut world.figures)), trace)
    });
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        (Err(format!("panicked: {}", text.unwrap_or_default())), 0)
    })
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(seed) = args.one {
        let plan = Plan::of(seed);
        let class = args.class.of(seed);
        println!("seed {seed}, {}: {} s, {:#?}", class.name(), plan.seconds, plan.faults);
        let (result, trace) = run(seed, class, args.sockets, true);
        println!("trace {trace:016x}");
        return match result {
            Ok(figures) => {
                println!("{figures}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("FAILED: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new((Figures::default(), Vec::<(u64, String)>::new(), 0_u64));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= args.seeds {
                        return;
                    }
                    let seed = args.from + at;
                    let class = args.class.of(seed);
                    let (result, _) = run(seed, class, args.sockets, false);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.2 += 1;
                    match result {
                        Ok(figures) => total.0.add(&figures),
                        Err(why) => {
                            let class = class.name();
                            println!("seed {seed} of {class} FAILED: {why}\n  rerun it alone: cargo xtask sim --seed {seed} --class {class}");
                            total.1.push((seed, why));
                            if total.1.len() >= args.failures_max {
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                    }
                    if total.2.is_multiple_of(1_000) {
                        let rate = total.2 as f64 / began.elapsed().as_secs_f64();
                        println!("{} of {} seeds, {rate:.1} a second, {} failed", total.2, args.seeds, total.1.len());
                    }
                }
            });
        }
    });
    let (figures, failed, ran) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = began.elapsed().max(Duration::from_millis(1));
    println!("{figures}");
    println!(
        "{ran} seeds in {:.1} s ({:.1} a second on {} threads): {} failed",
        took.as_secs_f64(),
        ran as f64 / took.as_secs_f64(),
        args.jobs,
        failed.len()
    );
    if failed.is_empty() && ran > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
