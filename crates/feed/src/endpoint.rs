//! Addresses: what they say, and whether they may be used.
//!
//! Rules (DESIGN §4): production addresses are constants of the venue's folder. A configuration that names another one is
//! refused unless it carries `approved = "who, when, why"`, and each start with it is recorded. Plain `ws` and `http` go to
//! loopback hosts only, approved or not: market data that anybody on the way may alter proves nothing.

use std::fmt;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("`{0}` is no address; expected {1}://host[:port][/path]")]
    Malformed(String, &'static str),
    #[error("`{0}` is plain text to a host that is not loopback; use {1}")]
    Plain(String, &'static str),
    #[error("`{0}` is not an address of {1} and carries no `approved = \"who, when, why\"`")]
    NotApproved(String, String),
}

/// Which protocol an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    WebSocket,
    Http,
}

impl Scheme {
    const fn secure(self) -> &'static str {
        match self {
            Self::WebSocket => "wss",
            Self::Http => "https",
        }
    }

    const fn plain(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Http => "http",
        }
    }
}

/// A base address, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub scheme: Scheme,
    pub tls: bool,
    /// Without brackets, where it is an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Empty, or `/…` without a slash at its end.
    pub path: String,
}

impl Endpoint {
    /// Reads a base address. Plain text is accepted for loopback hosts only.
    ///
    /// # Errors
    /// `Malformed`, `Plain`.
    pub fn parse(text: &str, scheme: Scheme) -> Result<Self, EndpointError> {
        let bad = || EndpointError::Malformed(text.into(), scheme.secure());
        let (name, rest) = text.split_once("://").ok_or_else(bad)?;
        let tls = match name {
            n if n == scheme.secure() => true,
            n if n == scheme.plain() => false,
            _ => return Err(bad()),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or_else(bad)?;
                (host, after.strip_prefix(':'))
            }
            None => authority.rsplit_once(':').map_or((authority, None), |(h, p)| (h, Some(p))),
        };
        let port = match port {
            Some(p) => p.parse().map_err(|_| bad())?,
            None if tls => 443,
            None => 80,
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c);
        if host.is_empty() || port == 0 || host.contains(odd) || path.contains(odd) {
            return Err(bad());
        }
        let path = path.trim_end_matches('/').to_owned();
        let endpoint = Self { scheme, tls, host: host.to_ascii_lowercase(), port, path };
        if !tls && !endpoint.is_loopback() {
            return Err(EndpointError::Plain(text.into(), scheme.secure()));
        }
        Ok(endpoint)
    }

    /// By name or address; names other than `localhost` are not resolved to find out.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// `host:port`, with brackets where needed.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The whole address of `path` (which starts with a slash) under this base.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { self.scheme.secure() } else { self.scheme.plain() };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Addresses that were let through because somebody signed for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub venue: String,
    pub addresses: Vec<String>,
    /// Who, when, why: as the configuration has it.
    pub approved: String,
}

/// Checks configured addresses of one kind against the venue's own. Empty `configured` means: the venue's own.
///
/// Returns the endpoints in order of preference, and the approval to record where one was needed.
///
/// # Errors
/// Every address that cannot be used.
pub fn choose(
    venue: &str,
    scheme: Scheme,
    own: &[&str],
    configured: &[String],
    approved: Option<&str>,
) -> Result<(Vec<Endpoint>, Option<Approval>), Vec<EndpointError>> {
    let mut endpoints = Vec::new();
    let mut foreign = Vec::new();
    let mut errors = Vec::new();
    let known: Vec<Endpoint> = own.iter().filter_map(|a| Endpoint::parse(a, scheme).ok()).collect();
    if configured.is_empty() {
        return Ok((known, None));
    }
    let approved = approved.map(str::trim).filter(|a| !a.is_empty());
    for text in configured {
        match Endpoint::parse(text, scheme) {
            Ok(endpoint) => {
                if !known.contains(&endpoint) {
                    if approved.is_none() {
                        errors.push(EndpointError::NotApproved(text.clone(), venue.into()));
                    }
                    foreign.push(endpoint.to_string());
                }
                endpoints.push(endpoint);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let approval = (!foreign.is_empty()).then(|| Approval {
        venue: venue.into(),
        addresses: foreign,
        approved: approved.unwrap_or_default().into(),
    });
    Ok((endpoints, approval))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 1] = ["wss://stream.binance.com:9443"];

    #[test]
    fn reads_what_the_venues_print() {
        let e = Endpoint::parse("wss://stream.binance.com:9443", Scheme::WebSocket).unwrap();
        assert_eq!((e.host.as_str(), e.port, e.tls), ("stream.binance.com", 9443, true));
        assert_eq!(e.url("/stream"), "wss://stream.binance.com:9443/stream");
        let e = Endpoint::parse("https://fapi.binance.com/", Scheme::Http).unwrap();
        assert_eq!(e.url("/fapi/v1/time"), "https://fapi.binance.com:443/fapi/v1/time");
        let e = Endpoint::parse("ws://[::1]:9000/x", Scheme::WebSocket).unwrap();
        assert_eq!(e.url("/stream"), "ws://[::1]:9000/x/stream");
    }

    #[test]
    fn refuses_nonsense() {
        for text in
            ["", "wss://", "wss://:1", "wss://h:0", "wss://h:99999", "https://h", "h:80", "wss://u@h", "wss://h h"]
        {
            assert!(matches!(Endpoint::parse(text, Scheme::WebSocket), Err(EndpointError::Malformed(..))), "{text}");
        }
    }

    #[test]
    fn plain_text_stays_on_this_machine() {
        for host in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.8.8:1"] {
            assert!(Endpoint::parse(&format!("ws://{host}"), Scheme::WebSocket).is_ok(), "{host}");
        }
        for host in ["example.com", "10.0.0.1", "localhost.example.com", "0.0.0.0:1"] {
            let parsed = Endpoint::parse(&format!("ws://{host}"), Scheme::WebSocket);
            assert!(matches!(parsed, Err(EndpointError::Plain(..))), "{host}");
        }
    }

    #[test]
    fn a_changed_address_needs_a_signature() {
        let choose = |c: &[&str], approved| {
            let c: Vec<String> = c.iter().map(|s| (*s).to_owned()).collect();
            choose("binance-spot", Scheme::WebSocket, &OWN, &c, approved)
        };
        assert_eq!(choose(&[], None).unwrap().1, None);
        assert_eq!(choose(&OWN, None).unwrap().1, None, "the venue's own needs none");
        let refused = choose(&["ws://127.0.0.1:9"], None).unwrap_err();
        assert!(matches!(refused[0], EndpointError::NotApproved(..)));
        assert!(choose(&["ws://127.0.0.1:9"], Some("  ")).is_err(), "an empty one is none");
        let (endpoints, approval) = choose(&["ws://127.0.0.1:9"], Some("ada, 2026-11-21, simulator")).unwrap();
        assert_eq!(endpoints[0].port, 9);
        assert_eq!(approval.unwrap().approved, "ada, 2026-11-21, simulator");
        assert!(
            choose(&["ws://example.com"], Some("ada, now, why not")).is_err(),
            "approval does not allow plain text"
        );
    }
}
