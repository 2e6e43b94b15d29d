//! The side of a command that finds a running process.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::Request;

/// A connection to the running process, or `None` when none listens.
pub async fn connect(socket: &Path) -> Option<UnixStream> {
    UnixStream::connect(socket).await.ok()
}

/// Asks, hands every line of progress to `tell`, and returns the last line. When `stop` is ready it hangs up, which ends
/// the request, and returns `None`.
///
/// # Errors
/// What the process refused, or a conversation that broke off.
pub async fn ask(
    stream: UnixStream,
    request: &Request,
    mut tell: impl FnMut(&Value),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Option<Value>> {
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes()).await?;
    let mut lines = BufReader::new(read).lines();
    let mut stop = std::pin::pin!(stop);
    loop {
        let line = tokio::select! {
            () = &mut stop => return Ok(None),
            line = lines.next_line() => line?.context("the running process ended the conversation")?,
        };
        let value: Value = serde_json::from_str(&line).context("the running process does not speak this protocol")?;
        match value["event"].as_str() {
            Some("progress") => tell(&value),
            Some("error") => anyhow::bail!("{}", value["error"].as_str().unwrap_or("refused")),
            _ => return Ok(Some(value)),
        }
    }
}
