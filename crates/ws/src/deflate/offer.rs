//! The negotiation of permessage-deflate (RFC 7692 §7.1).
//!
//! The answer always says that neither side keeps a context. Of the client's offers the first that can be met is taken; an unknown
//! parameter, one said twice, or a value out of its range makes an offer one that cannot.

use super::Window;

const NAME: &str = "permessage-deflate";
const NO_SERVER_CONTEXT: &str = "server_no_context_takeover";
const NO_CLIENT_CONTEXT: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// Of what we send.
    pub window: Window,
    /// The client set a bound to that, and must be told ours.
    bounded: bool,
}

impl Deflate {
    /// The value of `Sec-WebSocket-Extensions` that agrees.
    #[must_use]
    pub fn header(self) -> String {
        let mut out = format!("{NAME}; {NO_SERVER_CONTEXT}; {NO_CLIENT_CONTEXT}");
        if self.bounded {
            out.push_str(&format!("; {SERVER_BITS}={}", self.window.bits()));
        }
        out
    }
}

/// What to agree on, given the request's `Sec-WebSocket-Extensions` headers, in their order.
pub fn answer<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Deflate> {
    headers.into_iter().flat_map(|header| split(header, ',')).find_map(meet)
}

/// An offer, if it can be met.
fn meet(offer: &str) -> Option<Deflate> {
    let mut parts = split(offer, ';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut agreed = Deflate { window: Window::Large, bounded: false };
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (part, None),
        };
        let known = [NO_SERVER_CONTEXT, NO_CLIENT_CONTEXT, SERVER_BITS, CLIENT_BITS];
        let name = known.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            (NO_SERVER_CONTEXT | NO_CLIENT_CONTEXT | CLIENT_BITS, None) => {}
            // What a client says of its own window binds us to nothing: we inflate with the largest.
            (CLIENT_BITS, Some(value)) => drop(bits(value)?),
            (SERVER_BITS, Some(value)) => agreed = Deflate { window: Window::within(bits(value)?)?, bounded: true },
            _ => return None,
        }
    }
    Some(agreed)
}

/// 8 to 15, without leading zeros.
fn bits(value: &str) -> Option<u8> {
    value.parse().ok().filter(|bits| (8..=15).contains(bits) && !value.starts_with(['0', '+']))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
}

/// Parts between `at`, which does not count inside quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn check(offers: &[&str], expected: Option<&str>) {
        assert_eq!(answer(offers.iter().copied()).map(Deflate::header).as_deref(), expected, "{offers:?}");
    }

    #[test]
    fn what_clients_offer_is_met() {
        check(&["permessage-deflate"], Some(BARE));
        check(&["Permessage-Deflate ; Client_Max_Window_Bits"], Some(BARE)); // browsers, but for the letters
        let bounded = |bits: u8| format!("{BARE}; server_max_window_bits={bits}");
        let python = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
        check(&[python], Some(&bounded(12)));
        check(&["permessage-deflate; server_max_window_bits=\"14\""], Some(&bounded(12)));
        check(&["permessage-deflate; server_max_window_bits=9"], Some(&bounded(9)));
        check(&["permessage-deflate; server_max_window_bits=15"], Some(&bounded(15)));
        check(&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], Some(BARE));
    }

    #[test]
    fn the_first_offer_that_can_be_met_is_taken() {
        let fallback = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10, permessage-deflate";
        check(&[fallback], Some(&format!("{BARE}; server_max_window_bits=9")));
        check(&["x-webkit-deflate-frame", "permessage-deflate; future=1", "permessage-deflate"], Some(BARE));
        check(&["x; a=\"b, permessage-deflate\""], None);
    }

    #[test]
    fn what_cannot_be_met_is_left() {
        for offer in [
            "",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=012",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=9; Server_Max_Window_Bits=9",
            "permessage-deflate;",
        ] {
            check(&[offer], None);
        }
    }
}
