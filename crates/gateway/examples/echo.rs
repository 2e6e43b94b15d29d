//! The gateway with `GET /echo` and an empty tape, for conformance suites: `cargo run -p wholetape-gateway --example echo`. It prints its address,
//! and ends with its input. `cargo xtask autobahn` starts it.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, Health, Surface};
use wholetape_tape::{Tape, TapeConfig};

struct Quiet;

impl Surface for Quiet {
    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let tape = Tape::open(dir.path(), TapeConfig::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("ws://{}/echo", listener.local_addr()?);
        let stop = CancellationToken::new();
        let ended = stop.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ended.cancel();
        });
        let config = GatewayConfig { echo: true, ..GatewayConfig::default() };
        let deps = Deps { tape, history: None, surface: Arc::new(Quiet), clients: Default::default() };
        Gateway::serve(config, deps, listener, stop).await?;
        Ok(())
    })
}
