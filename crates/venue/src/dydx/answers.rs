//! What the venue says about the conversation itself: the greeting, answers, errors.
//!
//! Nothing may be subscribed before the greeting. Errors name what they speak of in words alone (texts of
//! <https://github.com/dydxprotocol/v4-chain> `indexer/services/socks/src`, state 2026-03-04, read 2026-11-20).

use wholetape_model::Ts;

use super::Dydx;
use super::frame::Head;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text};
use crate::limits::VenueLimits;
use crate::session::{Action, Note, Out};
use crate::subscriptions::Operation;

/// A stream's name as we write it: `v4_orderbook:BTC-USD`. Channels without an id give their own name for it, or none.
fn stream(head: &Head<'_>) -> String {
    let word = |t: &Option<Text<'_>>| t.as_ref().map_or(String::new(), |t| t.as_str().to_owned());
    let (channel, id) = (word(&head.channel), word(&head.id));
    if id == channel { format!("{channel}:") } else { format!("{channel}:{id}") }
}

/// Whether an error's words speak of this stream: of its channel, and of no other id.
fn speaks_of(text: &str, stream: &str) -> bool {
    let (channel, id) = stream.split_once(':').unwrap_or((stream, ""));
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && !"_-,/".contains(c));
    let word = |word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            // `(v4_orderbook-BTC-USD)` joins the two.
            let joined = before == Some('-') && text[..at].ends_with(&format!("{channel}-"));
            (is_end(before) || joined) && is_end(text[at + word.len()..].chars().next().filter(|c| *c != '-'))
        })
    };
    word(channel) && (id.is_empty() || word(id))
}

impl Dydx {
    /// The answer to a subscription, whose contents are read as data.
    pub(super) fn subscribed(&mut self, head: &Head<'_>, out: &mut Out) {
        let name = stream(head);
        if self.subscriptions.answered_stream(Operation::Subscribe, &name) && self.subscribed.insert(name.clone()) {
            out.actions.push(Action::Note(Note::Subscribed { streams: vec![name] }));
        }
    }

    pub(super) fn control(
        &mut self,
        kind: &str,
        head: &Head<'_>,
        frame: Piece<'_>,
        now: Ts,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        match kind {
            "connected" => {
                self.reading.stats.count("connected");
                let VenueLimits { subscribe, .. } = &super::limits::LIMITS;
                self.subscriptions.open(now, &self.streams, subscribe);
                self.due(now, out);
            }
            "unsubscribed" => {
                self.reading.stats.count("unsubscribed");
                self.subscriptions.answered_stream(Operation::Unsubscribe, &stream(head));
            }
            "pong" => self.reading.stats.count("pong"),
            "error" => {
                self.reading.stats.count("error");
                return self.refusal(head.message.as_ref().map_or("", Text::as_str), head, out);
            }
            other => self.strange(other, frame, out),
        }
        Ok(())
    }

    fn refusal(&mut self, text: &str, head: &Head<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let error = || ProtocolError::Venue { code: 0, text: text.to_owned() };
        if text.contains("already subscribed") {
            // What was wanted is so.
            return Ok(());
        }
        if text.starts_with("Internal error") {
            // Asked again it may succeed, on another connection.
            return Err(error());
        }
        let named = match &head.channel {
            Some(_) => vec![stream(head)],
            None => self.streams.iter().filter(|s| speaks_of(text, s)).cloned().collect(),
        };
        let mut streams: Vec<String> = named;
        streams.retain(|s| self.subscriptions.answered_stream(Operation::Subscribe, s));
        if streams.is_empty() {
            return Err(error());
        }
        out.actions.push(Action::Note(Note::Refused { streams, code: 0, text: text.to_owned() }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_stream_in_words() {
        let id = "Invalid subscription id for channel: (v4_orderbook-AAA-USD)";
        assert!(speaks_of(id, "v4_orderbook:AAA-USD"));
        assert!(!speaks_of(id, "v4_orderbook:BAAA-USD") && !speaks_of(id, "v4_trades:AAA-USD"));
        assert!(!speaks_of(id, "v4_orderbook:AAA-US"));
        let all = "Per-connection subscription limit reached for v4_markets (limit=32).";
        assert!(speaks_of(all, "v4_markets:") && !speaks_of(all, "v4_candles:AAA-USD/1MIN"));
    }
}
