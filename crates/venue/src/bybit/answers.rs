//! Answers: what the venue says about the conversation itself.
//!
//! A request is answered once, by its `req_id`; the public sockets of derivatives answer with an empty text, that of spot with the operation's
//! name. One bad topic fails the whole request (reports of users: bybit-exchange/pybit#373, sieblyio/bybit-api#477), and the words of the
//! refusal name it (`error:handler not found,topic:…`). A ping is answered as `ping` by the public sockets, as `pong` by others.

use super::Bybit;
use super::frame::Head;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text};
use crate::session::{Action, Note, Out};

/// Whether a refusal's words name this stream.
fn speaks_of(text: &str, stream: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-' && c != '.');
    text.match_indices(stream)
        .any(|(at, _)| is_end(text[..at].chars().next_back()) && is_end(text[at + stream.len()..].chars().next()))
}

impl Bybit {
    pub(super) fn control(
        &mut self,
        op: &str,
        head: &Head<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        match (op, head.success) {
            ("subscribe", Some(false)) => {
                self.reading.stats.count("op:subscribe");
                self.refused(head, out)
            }
            ("subscribe", _) => {
                self.reading.stats.count("op:subscribe");
                if let Some(streams) = self.request_of(head).and_then(|id| self.subscriptions.answered(id)) {
                    self.accepted(streams, out);
                }
                Ok(())
            }
            ("unsubscribe", _) => {
                self.reading.stats.count("op:unsubscribe");
                // What was not subscribed need not be ended.
                if let Some(id) = self.request_of(head) {
                    self.subscriptions.answered(id);
                }
                Ok(())
            }
            ("ping" | "pong", _) => {
                self.reading.stats.count("op:ping");
                Ok(())
            }
            (other, _) => {
                self.reading.stats.count("unknown");
                self.reading.unknown(other, frame.text, out);
                Ok(())
            }
        }
    }

    fn request_of(&self, head: &Head<'_>) -> Option<u64> {
        head.req_id.as_ref().map(Text::as_str)?.parse().ok()
    }

    /// Those whose answer is news: one that was asked for anew is answered again.
    fn accepted(&mut self, mut streams: Vec<String>, out: &mut Out) {
        streams.retain(|stream| self.subscribed.insert(stream.clone()));
        if !streams.is_empty() {
            out.actions.push(Action::Note(Note::Subscribed { streams }));
        }
    }

    fn refused(&mut self, head: &Head<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let text = head.ret_msg.as_ref().map_or_else(String::new, |m| m.as_str().to_owned());
        let asked = self.request_of(head).and_then(|id| self.subscriptions.answered(id));
        let mut streams = match asked {
            Some(streams) => streams,
            None => self.streams.iter().filter(|s| speaks_of(&text, s)).cloned().collect(),
        };
        if text.contains("already subscribed") {
            // What is there is there; the others of the request are told by their data, or missed by the line.
            streams.retain(|s| speaks_of(&text, s));
            self.accepted(streams, out);
            return Ok(());
        }
        if streams.iter().any(|s| speaks_of(&text, s)) {
            streams.retain(|s| speaks_of(&text, s));
        }
        // No codes are documented here: the words tell.
        let code = 0;
        if streams.is_empty() {
            // It finds fault with what we wrote: it would fail again.
            return Err(ProtocolError::Refused { code, text });
        }
        out.actions.push(Action::Note(Note::Refused { streams, code, text }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_topic_in_words() {
        let text = "error:handler not found,topic:orderbook.50.AAABBB";
        assert!(speaks_of(text, "orderbook.50.AAABBB"));
        assert!(!speaks_of(text, "orderbook.50.AAAB") && !speaks_of(text, "orderbook.5"));
        assert!(!speaks_of("topic:orderbook.50.AAABBB-26DEC25", "orderbook.50.AAABBB"));
        assert!(speaks_of("Invalid topic: publicTrade.AAABBB", "publicTrade.AAABBB"));
    }
}
