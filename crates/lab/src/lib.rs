//! The deterministic world: lines, their lanes on a disk in memory, simulated venues, network and clock as plain functions of
//! one event heap on one thread; no async runtime and no real time. A seed is a whole history: two runs of it are equal.
//!
//! Inside is what ships: `feed::line`, `feed::resume`, the budgets, gates and backoffs, and the tape with its recovery, driven
//! by hand. Around it, made of what the documents say: venues with their truth ([`market`], [`outside`]), a disk that loses what
//! was not synced ([`disk`]), a process that is killed between any two events and within any step of the disk ([`process`],
//! [`world`]), readers that come and go ([`readers`]), a witness of everything that was ever served ([`witness`]).
//!
//! [`World::run`] returns what does not hold ([`check`], [`bounds`]). `cargo xtask sim --seed S` reruns one seed;
//! `docs/simulation.md` is the manual.

pub mod bounds;
pub mod check;
pub mod class;
pub mod dice;
pub mod disk;
pub mod faults;
pub mod figures;
mod folders;
pub mod market;
pub mod outside;
pub mod process;
pub mod readers;
pub mod witness;
pub mod world;

pub use class::Class;
pub use faults::Faults;
pub use figures::Figures;
pub use world::{Plan, World};

/// Runs one seed.
///
/// # Errors
/// What does not hold in it.
pub fn run(plan: Plan) -> Result<(Figures, u64), String> {
    let mut world = World::new(plan);
    world.run()?;
    Ok((world.figures, world.witness.trace.0))
}
