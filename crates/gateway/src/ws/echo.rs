//! `GET /echo`: every message goes back as it came, by the codec that serves clients. Conformance suites ask for it; it is off unless configured.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wholetape_ws::{Block, Event, Limits, Opcode, SocketError};

use crate::ws::connection::Socket;

/// What conformance suites send: 16 MiB, in as many fragments as they like.
pub(crate) const LIMITS: Limits = Limits { message: 16 << 20, fragments: u32::MAX };
/// How long a closing handshake may take.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn run(mut socket: Socket, stop: CancellationToken) {
    let code = tokio::select! {
        biased;
        () = stop.cancelled() => Some(1001),
        code = serve(&mut socket) => code,
    };
    if let Some(code) = code {
        socket.close(code, "");
    }
    let _ = timeout(CLOSE_WAIT, socket.finish()).await;
}

/// Until the client says goodbye, is gone (`None`), or sent what ends the connection: the code to tell it.
async fn serve(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.event().await? {
            Ok(Event::Text(text)) => {
                socket.send(&Block::new(Opcode::Text, text.as_bytes()));
            }
            Ok(Event::Binary(bytes)) => {
                socket.send(&Block::new(Opcode::Binary, &bytes));
            }
            Ok(Event::Ping(_) | Event::Pong(_)) => {}
            Ok(Event::Close(_)) | Err(SocketError::Io(_)) => return None,
            Err(SocketError::Fault(fault)) => return Some(fault.code()),
        }
        socket.flush().await.ok()?;
    }
}
