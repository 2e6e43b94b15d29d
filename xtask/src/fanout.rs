//! The gateway's fan-out beside other servers that send one message to many clients, in one run.

use crate::npm;
use crate::run::{cache, cargo_command, on_path, root, run};
use crate::system;
use anyhow::{Context, Result};

/// Installs what is measured beside, and runs the benchmark `fanout`.
///
/// # Errors
/// When something cannot be had, or a server does not deliver.
pub fn fanout(seconds: u64) -> Result<()> {
    let all = [("nats-server", "nats-server"), ("node", "nodejs"), ("npm", "npm")];
    let missing: Vec<&str> = all.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        system::install(&missing).with_context(|| format!("no {} here", missing.join(", ")))?;
    }
    let servers = npm::packages(&root().join("xtask").join("fanout"), Some("servers.mjs"), &cache().join("tools"))?;
    let seconds = seconds.to_string();
    let mut bench = cargo_command(&["bench", "-p", "wholetape-gateway", "--bench", "fanout", "--", &seconds]);
    run(bench.env("WHOLETAPE_NATS", "nats-server").env("WHOLETAPE_NODE", servers))
}
