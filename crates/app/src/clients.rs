//! `wholetape gateway clients`: who is connected to the running process, and sending one away.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use wholetape_gateway::clients::{Client, Clients};

use crate::cli;
use crate::config;
use crate::control::{self, Request, client};

/// The answer to `gateway.clients`.
pub async fn list(clients: &Clients) -> Value {
    json!({"event": "done", "clients": clients.list().await})
}

/// The answer to `gateway.kick`.
///
/// # Errors
/// There is none of that name.
pub async fn kick(clients: &Clients, whom: &str) -> Result<Value, String> {
    let kicked = clients.kick(whom).await;
    if kicked.is_empty() {
        return Err(format!("no connection of session or address `{whom}`"));
    }
    for Client { session, principal, address, agent, .. } in &kicked {
        tracing::warn!(session, principal, %address, agent, whom, "sent away by the operator");
    }
    Ok(json!({"event": "done", "kicked": kicked}))
}

pub fn run(args: &cli::GatewayClients) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args.layers)?;
    let request = match &args.order {
        None => Request::Clients,
        Some(cli::ClientsOrder::Kick { whom }) => Request::Kick { whom: whom.clone() },
    };
    let socket = control::socket_of(&config.data);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let nobody = || format!("no process serves {} (its {})", config.data.display(), socket.display());
        let stream = client::connect(&socket).await.with_context(nobody)?;
        let answer = client::ask(stream, &request, |_| {}, std::future::pending()).await?;
        answer.context("no answer")
    })?;
    if args.json {
        say!("{answer}");
    } else if let Some(kicked) = answer["kicked"].as_array() {
        for client in kicked {
            say!("sent away (4013): {} {}", text(&client["session"]), text(&client["address"]));
        }
    } else {
        table(answer["clients"].as_array().map_or(&[][..], Vec::as_slice));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn table(clients: &[Value]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    say!(
        "{:26} {:20} {:21} {:>9} {:14} {:>6} {:>9} {:>8} {:>10} {:>8}  agent",
        "session",
        "principal",
        "address",
        "for",
        "state",
        "topics",
        "behind",
        "queued",
        "sent",
        "MiB"
    );
    for c in clients {
        let n = |key: &str| c[key].as_u64().unwrap_or(0);
        let since = Duration::from_micros(n("since"));
        let lasts = Duration::from_secs(now.saturating_sub(since).as_secs());
        say!(
            "{:26} {:20} {:21} {:>9} {:14} {:>6} {:>9} {:>8} {:>10} {:>8.1}  {}",
            text(&c["session"]),
            text(&c["principal"]),
            text(&c["address"]),
            humantime::format_duration(lasts).to_string().replace(' ', ""),
            text(&c["state"]),
            c["topics"].as_array().map_or(0, Vec::len),
            n("behind"),
            n("queued_messages"),
            n("sent_messages"),
            n("sent_bytes") as f64 / f64::from(1 << 20),
            text(&c["agent"])
        );
        for t in c["topics"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|t| (t["state"] != "live" && t["state"] != "viewing") || t["behind"] != 0)
        {
            say!(
                "    {:9} {:14} {:>9} behind  {}",
                text(&t["class"]),
                text(&t["state"]),
                t["behind"],
                text(&t["topic"])
            );
        }
    }
    say!("{} connected", clients.len());
}
