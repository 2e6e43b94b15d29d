//! Runs the workspace's benchmarks and says where their figures lie.

use crate::run::{cargo_command, run, target_dir};
use anyhow::Result;

/// Every bench target of the workspace; quick means a few tenths of a second a figure, good for a look and not for a claim.
///
/// # Errors
/// When one does not build or fails.
pub fn run_benches(full: bool, filter: Option<&str>) -> Result<()> {
    // Naming bench targets leaves out the libraries' own test harness, which knows none of criterion's options.
    let mut args = vec!["bench", "--workspace", "--bench", "*", "--"];
    args.extend(filter);
    if !full {
        args.push("--quick");
    }
    run(&mut cargo_command(&args))?;
    println!("figures: {}", target_dir().join("criterion").display());
    if !full {
        println!("a quick look; `cargo xtask bench --full` takes the time that quoted figures need");
    }
    Ok(())
}
