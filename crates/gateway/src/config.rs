//! The gateway's settings, with PROTOCOL §10's defaults.

use std::time::Duration;

use wholetape_wire::reply::Limits;

use crate::auth::AuthConfig;
use crate::auth::grants::Patterns;
use crate::publish::PublishConfig;
use crate::tls::TlsConfig;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The bounds that `welcome` states.
    pub limits: Limits,
    /// Heartbeat period, whole seconds; a client silent for twice as long is closed (4006).
    pub hb: Duration,
    /// No byte accepted by a client's socket for this long: closed (4008).
    pub stall: Duration,
    /// A frame that a client began and does not end for this long: closed (4008).
    pub frame: Duration,
    /// Frames of one message of a client; one more is closed (1009).
    pub fragments_max: u32,
    /// A session outlives its connection by so much, whole seconds.
    pub session_ttl: Duration,
    /// Sessions without a connection, at most; the oldest end first.
    pub sessions_max: usize,
    /// After `stop`, at most this long for connections to end.
    pub drain: Duration,
    /// Malformed or rate-breaking messages before a connection is closed (4303).
    pub violations_max: u32,
    /// Who was closed for abuse (4303) stays out so long: its address (loopback is exempt) and its principal.
    pub ban: Duration,
    /// Connections in all; one more is answered 503.
    pub connections_max: usize,
    /// Connections of one address. Loopback is exempt: there a proxy speaks for many.
    pub connections_per_ip: usize,
    /// Upgrades per second of one address. Loopback is exempt.
    pub upgrades_per_s: u32,
    /// Origins (`https://host`) allowed beside the page's own host; `*` allows all.
    pub origins: Vec<String>,
    pub auth: AuthConfig,
    pub publish: PublishConfig,
    /// https and wss; `None`: plain.
    pub tls: Option<TlsConfig>,
    /// permessage-deflate for clients that offer it.
    pub deflate: bool,
    /// `GET /echo`: whatever comes goes back, up to 16 MiB. For conformance suites, never for a server that others reach.
    pub echo: bool,
    /// Encoded messages kept per subscribed topic, at most.
    pub ring_bytes: usize,
    /// Encoded messages kept for all of them together: where there are many topics, each keeps less.
    pub rings_bytes: usize,
    /// Written to a socket at once.
    pub write_bytes: usize,
    /// What older messages are read by at once; whoever asks beyond waits for a turn.
    pub history_workers: usize,
    /// Older messages read ahead per subscription, at most.
    pub history_bytes: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            hb: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            frame: Duration::from_secs(10),
            fragments_max: 64,
            session_ttl: Duration::from_secs(120),
            sessions_max: 10_000,
            drain: Duration::from_secs(10),
            violations_max: 5,
            ban: Duration::from_secs(900),
            connections_max: 10_000,
            connections_per_ip: 50,
            upgrades_per_s: 10,
            origins: Vec::new(),
            auth: AuthConfig::default(),
            publish: PublishConfig::default(),
            tls: None,
            deflate: true,
            echo: false,
            ring_bytes: 4 << 20,
            rings_bytes: 64 << 20,
            write_bytes: 64 << 10,
            history_workers: 4,
            history_bytes: 256 << 10,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {remedy}")]
pub struct Problem {
    pub key: &'static str,
    pub value: String,
    pub remedy: &'static str,
}

impl GatewayConfig {
    /// All problems at once.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all = Vec::new();
        let mut check = |good: bool, key, value: String, remedy| {
            if !good {
                all.push(Problem { key, value, remedy });
            }
        };
        let l = &self.limits;
        check(self.hb >= Duration::from_secs(1), "hb", format!("{:?}", self.hb), "use 1s or more");
        check(self.hb <= Duration::from_secs(300), "hb", format!("{:?}", self.hb), "use 300s or less");
        let ttl = self.session_ttl;
        check(ttl <= Duration::from_secs(86_400), "session_ttl", format!("{ttl:?}"), "use 24h or less");
        check(l.max_msg >= 1024, "limits.max_msg", l.max_msg.to_string(), "use 1024 or more");
        check(l.subs > 0, "limits.subs", l.subs.to_string(), "use 1 or more");
        check(l.ops_s > 0, "limits.ops_s", l.ops_s.to_string(), "use 1 or more");
        check(l.ops_burst > 0, "limits.ops_burst", l.ops_burst.to_string(), "use 1 or more");
        check(self.rings_bytes >= 1 << 20, "rings_bytes", self.rings_bytes.to_string(), "use 1MiB or more");
        check(self.ring_bytes >= 64 << 10, "ring_bytes", self.ring_bytes.to_string(), "use 64KiB or more");
        check(self.write_bytes >= 4 << 10, "write_bytes", self.write_bytes.to_string(), "use 4KiB or more");
        check(self.history_workers > 0, "history_workers", self.history_workers.to_string(), "use 1 or more");
        check(self.history_bytes >= 64 << 10, "history_bytes", self.history_bytes.to_string(), "use 64KiB or more");
        let auth = &self.auth;
        let patterns = Patterns::new(auth.anonymous.clone(), Vec::new());
        check(
            patterns.is_ok(),
            "auth.anonymous",
            format!("{:?}", auth.anonymous),
            "write topics, or patterns like trade.*",
        );
        check(
            auth.timeout >= Duration::from_millis(100),
            "auth.timeout",
            format!("{:?}", auth.timeout),
            "use 100ms or more",
        );
        let seats = auth.connections_per_principal;
        check(seats > 0, "auth.connections", seats.to_string(), "use 1 or more");
        let publish = &self.publish;
        check(
            Patterns::new(Vec::new(), publish.anonymous.clone()).is_ok(),
            "publish.anonymous",
            format!("{:?}", publish.anonymous),
            "write topics, or patterns like c4.*",
        );
        check(publish.names > 0, "publish.names", publish.names.to_string(), "use 1 or more");
        check(publish.waiting > 0, "publish.waiting", publish.waiting.to_string(), "use 1 or more");
        check(
            publish.window >= Duration::from_secs(1),
            "publish.window",
            format!("{:?}", publish.window),
            "use 1s or more",
        );
        for origin in &self.origins {
            let good = origin == "*" || origin.starts_with("http://") || origin.starts_with("https://");
            check(good, "origins", origin.clone(), "write https://host, or * for all");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_good_and_all_problems_are_told() {
        assert_eq!(GatewayConfig::default().problems(), []);
        let bad = GatewayConfig {
            hb: Duration::ZERO,
            ring_bytes: 1,
            origins: vec!["example.org".into()],
            ..GatewayConfig::default()
        };
        assert_eq!(bad.problems().iter().map(|p| p.key).collect::<Vec<_>>(), ["hb", "ring_bytes", "origins"]);
    }
}
