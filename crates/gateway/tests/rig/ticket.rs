//! A client that comes back over another connection (`resume`).

use serde_json::Value;
use tokio_tungstenite::connect_async;
use wholetape_wire::client::Client;

use super::{Rig, Ws};

/// What `welcome` (or `resumed`) gave.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub session: String,
    pub secret: String,
}

/// A client and its session.
pub async fn client(rig: &Rig) -> (Ws, Ticket) {
    let (socket, _) = connect_async(format!("ws://{}/v1/ws", rig.at)).await.unwrap();
    let mut ws = Ws { socket, rule: Client::new() };
    let m = ws.next().await;
    let text = |key: &str| m[key].as_str().unwrap().to_owned();
    (ws, Ticket { session: text("session"), secret: text("resume") })
}

/// The next connection of a client that knows what `rule` says.
pub async fn resume(rig: &Rig, rule: Client, ticket: &mut Ticket) -> (Ws, Value) {
    let (mut ws, _) = client(rig).await;
    ws.rule = rule;
    let text = ws.rule.resume(&ticket.session, &ticket.secret);
    ws.send_text(&text).await;
    let m = ws.next().await;
    ws.rule.on_text(&m.to_string(), &mut Vec::new());
    if let Some(secret) = m["resume"].as_str() {
        ticket.secret = secret.to_owned();
    }
    (ws, m)
}
