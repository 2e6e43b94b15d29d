//! `[gateway]`: where clients dial, and the limits of PROTOCOL §10.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use wholetape_gateway::GatewayConfig;
use wholetape_gateway::auth::AuthConfig;
use wholetape_gateway::auth::keyring::Keyring;
use wholetape_gateway::publish::PublishConfig;
use wholetape_gateway::tls::TlsConfig;

use super::problem::Problem;
use super::size::Size;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySection {
    /// `address:port`
    pub listen: String,
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    #[serde(with = "humantime_serde")]
    pub stall: Duration,
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// Sessions are kept for so long after their connection ended.
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    pub sessions: usize,
    pub connections: usize,
    pub connections_per_ip: usize,
    pub upgrades_per_s: u32,
    #[serde(with = "humantime_serde")]
    pub ban: Duration,
    pub origins: Vec<String>,
    pub deflate: bool,
    pub echo: bool,
    pub ring: Size,
    pub rings: Size,
    pub auth: AuthSection,
    pub publish: PublishSection,
    pub tls: TlsSection,
}

/// `[gateway.tls]`: both or neither.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl TlsSection {
    fn plan(&self, problems: &mut Vec<Problem>) -> Option<TlsConfig> {
        let (cert, key) = match (&self.cert, &self.key) {
            (None, None) => return None,
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ => {
                let remedy = "name both gateway.tls.cert and gateway.tls.key, or neither";
                problems.push(Problem::new("gateway.tls", "", "is half of a pair", remedy));
                return None;
            }
        };
        let config = TlsConfig { cert, key };
        if let Err(e) = config.load() {
            let value = format!("{:?}", config.cert);
            problems.push(Problem::new("gateway.tls", value, "cannot be used", e.to_string()));
        }
        Some(config)
    }
}

/// `[gateway.auth]`: who may read.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    pub keys: Option<PathBuf>,
    pub anonymous: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    pub connections: usize,
    pub query_tokens: bool,
    pub metrics: bool,
}

impl Default for AuthSection {
    fn default() -> Self {
        let own = AuthConfig::default();
        Self {
            keys: own.keys,
            anonymous: own.anonymous,
            timeout: own.timeout,
            connections: own.connections_per_principal,
            query_tokens: own.query_tokens,
            metrics: own.metrics,
        }
    }
}

/// `[gateway.publish]`: what clients may add to the tape.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishSection {
    pub anonymous: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    pub names: usize,
    pub topics: usize,
    pub waiting: usize,
}

impl Default for PublishSection {
    fn default() -> Self {
        let PublishConfig { anonymous, window, names, topics, waiting } = PublishConfig::default();
        Self { anonymous, window, names, topics, waiting }
    }
}

impl PublishSection {
    fn plan(&self) -> PublishConfig {
        let Self { anonymous, window, names, topics, waiting } = self.clone();
        PublishConfig { anonymous, window, names, topics, waiting }
    }
}

impl Default for GatewaySection {
    fn default() -> Self {
        let own = GatewayConfig::default();
        Self {
            listen: "127.0.0.1:9100".into(),
            heartbeat: own.hb,
            stall: own.stall,
            drain: own.drain,
            session_ttl: own.session_ttl,
            sessions: own.sessions_max,
            connections: own.connections_max,
            connections_per_ip: own.connections_per_ip,
            upgrades_per_s: own.upgrades_per_s,
            ban: own.ban,
            origins: own.origins,
            deflate: own.deflate,
            echo: own.echo,
            ring: Size(own.ring_bytes as u64),
            rings: Size(own.rings_bytes as u64),
            auth: AuthSection::default(),
            publish: PublishSection::default(),
            tls: TlsSection::default(),
        }
    }
}

impl AuthSection {
    fn plan(&self, problems: &mut Vec<Problem>) -> AuthConfig {
        if let Some(path) = &self.keys
            && let Err(e) = Keyring::read(path)
        {
            problems.push(Problem::new("gateway.auth.keys", format!("{path:?}"), "cannot be used", e.to_string()));
        }
        if self.keys.is_none() && !self.anonymous.is_empty() {
            problems.push(Problem::new(
                "gateway.auth.anonymous",
                format!("{:?}", self.anonymous),
                "means nothing without keys: everybody may read everything",
                "name the file of keys: gateway.auth.keys",
            ));
        }
        AuthConfig {
            keys: self.keys.clone(),
            anonymous: self.anonymous.clone(),
            query_tokens: self.query_tokens,
            timeout: self.timeout,
            metrics: self.metrics,
            connections_per_principal: self.connections,
            own: None,
        }
    }
}

impl GatewaySection {
    pub fn plan(&self, problems: &mut Vec<Problem>) -> GatewayConfig {
        if self.listen.parse::<std::net::SocketAddr>().is_err() {
            problems.push(Problem::new(
                "gateway.listen",
                format!("\"{}\"", self.listen),
                "is no address and port",
                "write \"127.0.0.1:9100\", or \"0.0.0.0:9100\" to serve other machines",
            ));
        }
        let config = GatewayConfig {
            hb: self.heartbeat,
            stall: self.stall,
            drain: self.drain,
            session_ttl: self.session_ttl,
            sessions_max: self.sessions,
            connections_max: self.connections,
            connections_per_ip: self.connections_per_ip,
            upgrades_per_s: self.upgrades_per_s,
            ban: self.ban,
            origins: self.origins.clone(),
            auth: self.auth.plan(problems),
            publish: self.publish.plan(),
            tls: self.tls.plan(problems),
            deflate: self.deflate,
            echo: self.echo,
            ring_bytes: usize::try_from(self.ring.0).unwrap_or(usize::MAX),
            rings_bytes: usize::try_from(self.rings.0).unwrap_or(usize::MAX),
            ..GatewayConfig::default()
        };
        for p in config.problems() {
            let key = match p.key {
                "hb" => "heartbeat",
                "ring_bytes" => "ring",
                "rings_bytes" => "rings",
                key => key,
            };
            problems.push(Problem::new(format!("gateway.{key}"), p.value, "cannot be used", p.remedy));
        }
        config
    }
}
