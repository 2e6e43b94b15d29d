//! The WebSocket protocol's server side.
//!
//! - [`hub`]: one task that reads the tape for all subscribed topics;
//! - [`stream`]: one topic's encoded messages, its book, its readers;
//! - [`view`]: a depth of its book, or what is left of it at each tick;
//! - [`book`]: the book after each record;
//! - [`subscription`]: one client's cursor in one topic;
//! - [`clean`]: the view without flagged rows;
//! - [`past`]: what the tape let go, read by workers;
//! - [`connection`]: one socket: ops, timers, and what is written when;
//! - [`sessions`]: what a client had subscribed to, kept for a while; [`resume`]: taking it over; [`secret`]: their names and secrets;
//! - [`look`]: how it stands, for operators;
//! - [`publish`]: what it publishes, judged and answered;
//! - [`upgrade`]: the handshake;
//! - [`classes`]: whose turn it is;
//! - [`bucket`]: the rate of ops;
//! - [`outbox`], [`forms`]: messages on their way to a socket, in the form that was asked for;
//! - [`echo`]: for conformance suites.
//!
//! Frames are `wholetape_ws`'s.

pub(crate) mod book;
pub(crate) mod bucket;
pub(crate) mod classes;
pub(crate) mod clean;
pub(crate) mod connection;
pub(crate) mod echo;
pub(crate) mod forms;
pub(crate) mod hub;
pub(crate) mod look;
pub(crate) mod ops;
pub(crate) mod outbox;
pub(crate) mod past;
pub(crate) mod publish;
pub(crate) mod resume;
pub(crate) mod secret;
pub(crate) mod sessions;
pub(crate) mod start;
pub(crate) mod stream;
pub(crate) mod subscription;
pub(crate) mod upgrade;
pub(crate) mod view;
