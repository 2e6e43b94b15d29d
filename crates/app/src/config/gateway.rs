//! `[gateway]`: where clients dial, and the limits of PROTOCOL §10.

use std::time::Duration;

use serde::Deserialize;
use wholetape_gateway::GatewayConfig;

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
    pub connections: usize,
    pub connections_per_ip: usize,
    pub upgrades_per_s: u32,
    pub origins: Vec<String>,
    pub ring: Size,
    pub rings: Size,
}

impl Default for GatewaySection {
    fn default() -> Self {
        let own = GatewayConfig::default();
        Self {
            listen: "127.0.0.1:9100".into(),
            heartbeat: own.hb,
            stall: own.stall,
            drain: own.drain,
            connections: own.connections_max,
            connections_per_ip: own.connections_per_ip,
            upgrades_per_s: own.upgrades_per_s,
            origins: own.origins,
            ring: Size(own.ring_bytes as u64),
            rings: Size(own.rings_bytes as u64),
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
            connections_max: self.connections,
            connections_per_ip: self.connections_per_ip,
            upgrades_per_s: self.upgrades_per_s,
            origins: self.origins.clone(),
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
