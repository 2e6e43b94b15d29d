//! Answers to requests: each symbol of a subscription is answered by itself, a refusal in words.
//!
//! An answer that refuses names its symbol (beside the text or in it) and, by `req_id`, the request, which is of one channel. Texts:
//! <https://docs.kraken.com/api/docs/websocket-v2/book> (read 2026-11-20) and its neighbours; they have no codes.

use super::Kraken;
use super::frame::{Answered, Head};
use super::state::given;
use crate::error::ProtocolError;
use crate::json::text::{Piece, Text};
use crate::session::{Action, Note, Out};
use crate::subscriptions::Operation;

/// The names that the streams of an answer may have: only we know what a ticker was asked for by.
fn streams(of: &Answered<'_>) -> Vec<String> {
    let symbol = given(of.symbol.as_ref());
    let name = match (of.channel.as_str(), of.depth, of.interval) {
        ("book", Some(depth), _) => format!("book-{depth}"),
        ("ohlc", _, Some(minutes)) => format!("ohlc-{minutes}"),
        ("ticker", ..) => return vec![format!("ticker:{symbol}"), format!("ticker-bbo:{symbol}")],
        (channel, ..) => channel.to_owned(),
    };
    vec![format!("{name}:{symbol}")]
}

impl Kraken {
    pub(super) fn answer_to(
        &mut self,
        method: &str,
        head: &Head<'_>,
        frame: Piece<'_>,
        out: &mut Out,
    ) -> Result<(), ProtocolError> {
        let (name, operation) = match method {
            "pong" => ("method:pong", None),
            "subscribe" => ("method:subscribe", Some(Operation::Subscribe)),
            "unsubscribe" => ("method:unsubscribe", Some(Operation::Unsubscribe)),
            other => return self.not_ours(other, frame, out),
        };
        self.reading.stats.count(name);
        let Some(operation) = operation else { return Ok(()) };
        if head.success == Some(false) {
            return self.refusal(operation, head, out);
        }
        let Some(result) = &head.result else { return Ok(()) };
        let raw = result.as_raw_cow();
        let answered: Answered<'_> = Piece { text: &raw, at: 0 }.parse(name)?;
        if let (Some(depth), Some(symbol), Operation::Subscribe) = (answered.depth, &answered.symbol, operation)
            && let Some(ix) = self.symbols.find(symbol.as_str()).or_else(|| self.discovered(symbol.as_str()))
        {
            // A recording says how deep its books are only here.
            self.set_depth(ix, depth);
        }
        for stream in streams(&answered) {
            let asked = self.subscriptions.answered_stream(operation, &stream);
            if asked && operation == Operation::Subscribe && self.subscribed.insert(stream.clone()) {
                out.actions.push(Action::Note(Note::Subscribed { streams: vec![stream] }));
            }
        }
        Ok(())
    }

    fn refusal(&mut self, operation: Operation, head: &Head<'_>, out: &mut Out) -> Result<(), ProtocolError> {
        let text = head.error.as_ref().map_or_else(String::new, |e| e.as_str().to_owned());
        if operation == Operation::Unsubscribe {
            // What was to be ended is not there: that is what was wanted.
            return Ok(());
        }
        let waiting = head.req_id.map_or(&[][..], |id| self.subscriptions.waiting_for(id));
        let symbol = head.symbol.as_ref().map(Text::as_str);
        let is_meant = |stream: &&String| {
            let of = stream.split_once(':').map_or("", |(_, symbol)| symbol);
            symbol.map_or_else(|| !of.is_empty() && text.split(' ').any(|word| word == of), |symbol| symbol == of)
        };
        let mut streams: Vec<String> = waiting.iter().filter(is_meant).cloned().collect();
        if streams.is_empty() {
            // Nothing is named that waits for an answer: then all of the request is meant.
            streams = waiting.to_vec();
        }
        if text.contains("Exceeded msg rate") || streams.is_empty() {
            return Err(ProtocolError::Venue { code: 0, text });
        }
        streams.retain(|s| self.subscriptions.answered_stream(operation, s));
        if text.contains("Already subscribed") {
            return Ok(());
        }
        out.actions.push(Action::Note(Note::Refused { streams, code: 0, text }));
        Ok(())
    }
}
