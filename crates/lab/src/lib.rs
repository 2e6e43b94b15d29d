//! The deterministic world: a line, a simulated venue, network and clock as plain functions on one thread, no async runtime
//! and no real time. A seed is a whole history: the same seed gives the same rows.
//!
//! [`World::new`] draws everything from its seed; [`World::run`] lets it happen; [`check`] says what does not hold. A failing
//! seed is printed and reruns alone: `SEED=… cargo test -p wholetape-lab`.

pub mod check;
pub mod dice;
pub mod faults;
pub mod venue;
pub mod world;

pub use faults::Faults;
pub use world::{Kept, World};

/// The seeds to try: `SEED` alone where it is set, else `0..SEEDS`, else `0..n`.
pub fn seeds(n: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(n)).collect(),
    }
}
