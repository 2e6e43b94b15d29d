//! Ctrl-C and SIGTERM: the first asks for a graceful end, a second one ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for the wish to stop.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    asked: bool,
}

impl Stop {
    /// # Errors
    /// When signals cannot be listened to.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            asked: false,
        })
    }

    /// Ready once stop was asked for, and ever after. Cancel-safe.
    pub async fn asked(&mut self) {
        if self.asked {
            return;
        }
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.asked = true;
        // A second wish finds nobody patient.
        let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(i), Ok(t)) => (i, t),
            _ => return,
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    }
}
