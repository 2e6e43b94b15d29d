//! Answers and notices: what the venue says about the conversation itself.
//!
//! Each argument of a request is answered by itself. An error names the request (`id`) and, in words, the argument
//! (`…channel:books,instId:AAA-BBB doesn't exist…`); the other arguments of the request still succeed.
//! Codes: <https://www.okx.com/docs-v5/en/#error-code-websocket> (copy of 2026-09, read 2026-11-20).

use super::Okx;
use super::frame::{Arg, Head};
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text};
use crate::session::{Action, Note, Out};
use crate::subscriptions::Operation;

/// The service is upgraded in a minute: another connection is to be opened.
const UPGRADE: &str = "64008";

/// A stream's name as we write it: `books:BTC-USDT`.
fn stream(arg: &Arg<'_>) -> String {
    let subject = arg.inst_id.as_ref().or(arg.inst_type.as_ref()).map_or("", Text::as_str);
    format!("{}:{subject}", arg.channel.as_str())
}

/// Whether an error's words speak of this stream.
fn speaks_of(text: &str, stream: &str) -> bool {
    let (channel, subject) = stream.split_once(':').unwrap_or((stream, ""));
    let word = |word: &str| {
        let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-');
        text.match_indices(word)
            .any(|(at, _)| is_end(text[..at].chars().next_back()) && is_end(text[at + word.len()..].chars().next()))
    };
    word(channel) && (subject.is_empty() || word(subject))
}

impl Okx {
    pub(super) fn control(
        &mut self,
        event: &str,
        head: &Head<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        match event {
            "subscribe" => {
                self.reading.stats.count("event:subscribe");
                let Some(name) = head.arg.as_ref().map(stream) else { return Ok(()) };
                let asked = self.subscriptions.answered_stream(Operation::Subscribe, &name);
                if asked && self.subscribed.insert(name.clone()) {
                    out.actions.push(Action::Note(Note::Subscribed { streams: vec![name] }));
                }
            }
            "unsubscribe" => {
                self.reading.stats.count("event:unsubscribe");
                if let Some(name) = head.arg.as_ref().map(stream) {
                    self.subscriptions.answered_stream(Operation::Unsubscribe, &name);
                }
            }
            // How many connections carry a private channel; we have none.
            "channel-conn-count" => self.reading.stats.count("event:channel-conn-count"),
            "notice" => {
                self.reading.stats.count("event:notice");
                match head.code.as_ref().map(Text::as_str) {
                    Some(UPGRADE) => out.actions.push(Action::Note(Note::ClosingSoon)),
                    _ => self.reading.unknown("notice", frame.text, out),
                }
            }
            "error" | "channel-conn-count-error" => {
                self.reading.stats.count("event:error");
                return self.refusal(head, out);
            }
            other => {
                self.reading.stats.count("unknown");
                self.reading.unknown(other, frame.text, out);
            }
        }
        Ok(())
    }

    fn refusal(&mut self, head: &Head<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let code = head.code.as_ref().and_then(|c| c.as_str().parse().ok()).unwrap_or(0);
        let text = head.msg.as_ref().map_or_else(String::new, |m| m.as_str().to_owned());
        let named = match &head.arg {
            Some(arg) => vec![stream(arg)],
            None => self.streams.iter().filter(|s| speaks_of(&text, s)).cloned().collect(),
        };
        let mut streams: Vec<String> = named;
        streams.retain(|s| self.subscriptions.answered_stream(Operation::Subscribe, s));
        if streams.is_empty() {
            // Nothing is named that waits for an answer: then all of the request is meant.
            let id = head.id.as_ref().and_then(|id| id.as_str().parse().ok());
            streams = id.and_then(|id| self.subscriptions.answered(id)).unwrap_or_default();
        }
        if !streams.is_empty() {
            out.actions.push(Action::Note(Note::Refused { streams, code, text }));
            return Ok(());
        }
        match code {
            // They find fault with what we wrote: it would fail again.
            60_012 | 60_013 | 60_018 | 60_019 | 64_003 => Err(ProtocolError::Refused { code, text }),
            _ => Err(ProtocolError::Venue { code, text }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_stream_in_words() {
        let text = "Wrong URL or channel:books,instId:AAA-BBB doesn't exist. Please use the correct URL";
        assert!(speaks_of(text, "books:AAA-BBB"));
        assert!(!speaks_of(text, "books:AAA-BBB-SWAP") && !speaks_of(text, "books5:AAA-BBB"));
        assert!(!speaks_of(&text.replace("AAA-BBB", "AAA-BBB-SWAP"), "books:AAA-BBB"));
        assert!(!speaks_of(&text.replace("books,", "books-l2-tbt,"), "books:AAA-BBB"));
        assert!(speaks_of("channel:status doesn't exist", "status:"));
    }
}
