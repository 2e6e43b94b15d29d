//! What each address does: how many connections it has, how fast it opens them, and whether it is banned.
//!
//! Loopback is exempt: there a proxy speaks for many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::GatewayConfig;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Peers(HashMap<IpAddr, Peer>);

#[derive(Debug)]
struct Peer {
    open: usize,
    /// Upgrades in the second that began at `since`.
    upgrades: u32,
    since: Instant,
    /// It was closed for abuse and stays out until then.
    banned: Option<Instant>,
}

impl Peers {
    /// Counts a connection of `ip` in, or refuses it.
    ///
    /// # Errors
    /// The status and text of the refusal.
    pub fn enter(
        &mut self,
        ip: IpAddr,
        now: Instant,
        config: &GatewayConfig,
    ) -> Result<(), (StatusCode, &'static str)> {
        if self.0.values().map(|p| p.open).sum::<usize>() >= config.connections_max {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"));
        }
        self.0.retain(|_, p| p.open > 0 || now < p.since + SECOND || p.banned.is_some_and(|until| now < until));
        let peer = self.0.entry(ip).or_insert(Peer { open: 0, upgrades: 0, since: now, banned: None });
        if now >= peer.since + SECOND {
            (peer.upgrades, peer.since) = (0, now);
        }
        if !ip.is_loopback() {
            if peer.banned.is_some_and(|until| now < until) {
                return Err((StatusCode::TOO_MANY_REQUESTS, "this address was closed for abuse: come back later\n"));
            }
            if peer.open >= config.connections_per_ip || peer.upgrades >= config.upgrades_per_s {
                return Err((StatusCode::TOO_MANY_REQUESTS, "too many connections of this address\n"));
            }
        }
        peer.open += 1;
        peer.upgrades += 1;
        Ok(())
    }

    pub fn leave(&mut self, ip: IpAddr) {
        if let Some(peer) = self.0.get_mut(&ip) {
            peer.open = peer.open.saturating_sub(1);
        }
    }

    /// Keeps `ip`, which has a connection, out until then.
    pub fn ban(&mut self, ip: IpAddr, until: Instant) {
        if let Some(peer) = self.0.get_mut(&ip) {
            peer.banned = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_bounds_and_its_ban() {
        let config = GatewayConfig { connections_per_ip: 3, upgrades_per_s: 2, ..GatewayConfig::default() };
        let (stranger, other, home): (IpAddr, IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let (mut peers, t) = (Peers::default(), Instant::now());
        let status = |r: Result<(), (StatusCode, &str)>| r.err().map(|(s, _)| s.as_u16());
        assert_eq!(status(peers.enter(stranger, t, &config)), None);
        assert_eq!(status(peers.enter(stranger, t, &config)), None);
        assert_eq!(status(peers.enter(stranger, t, &config)), Some(429), "two a second");
        assert_eq!(status(peers.enter(stranger, t + SECOND, &config)), None);
        assert_eq!(status(peers.enter(stranger, t + 2 * SECOND, &config)), Some(429), "three at a time");
        peers.leave(stranger);
        peers.ban(stranger, t + config.ban);
        (0..2).for_each(|_| peers.leave(stranger));
        assert_eq!(
            status(peers.enter(other, t + 60 * SECOND, &config)),
            None,
            "others come and go, and it is not forgotten"
        );
        let (_, why) = peers.enter(stranger, t + config.ban - SECOND, &config).unwrap_err();
        assert!(why.contains("abuse"), "{why}");
        assert_eq!(status(peers.enter(stranger, t + config.ban, &config)), None);
        for _ in 0..10 {
            assert_eq!(status(peers.enter(home, t, &config)), None);
        }
        peers.ban(home, t + config.ban);
        assert_eq!(status(peers.enter(home, t + SECOND, &config)), None, "a proxy speaks for many");
    }

    #[test]
    fn all_of_them_have_a_bound_together() {
        let config = GatewayConfig { connections_max: 2, ..GatewayConfig::default() };
        let (mut peers, t, ip) = (Peers::default(), Instant::now(), "127.0.0.1".parse().unwrap());
        assert!(peers.enter(ip, t, &config).is_ok() && peers.enter(ip, t, &config).is_ok());
        assert_eq!(peers.enter(ip, t, &config).unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
        peers.leave(ip);
        assert!(peers.enter(ip, t, &config).is_ok());
    }
}
