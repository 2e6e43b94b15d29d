//! wholetape's client: every message once, in order, or the exact range that was missed.
//!
//! [`Core`] is the protocol as a state machine without I/O; what it must do is written down for every language in
//! `clients/conformance`. [`Client`] is tokio around it:
//!
//! ```no_run
//! # async fn f() -> Result<(), wholetape_client::OpenError> {
//! use wholetape_client::{Client, Event, Sub};
//!
//! let mut client = Client::builder("ws://127.0.0.1:9100/v1/ws").start()?;
//! client.subscribe(Sub::last("trade.BTCUSDT.BINANCE", 3));
//! while let Some(event) = client.next().await {
//!     match event {
//!         Event::Message { message, .. } => println!("{}", message["data"]),
//!         Event::Missed { from, to, why, .. } => println!("{from}..={to} were not delivered: {why}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod core;
pub mod ladder;
mod shell;
mod socket;
mod words;

pub use crate::core::{Config, Core, Full, NoCredit};
pub use shell::{Builder, Client, Handle, OpenError};
pub use wholetape_wire::client::{BookError, apply_book};
pub use words::{Action, Cursor, Event, Publication, State, Sub, TopicState};
