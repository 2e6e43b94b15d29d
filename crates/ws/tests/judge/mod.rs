//! What two readers make of the same bytes: ours, and tungstenite's as the independent one. For the property and for the fuzz target.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::protocol::{Message, Role as TheirRole, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, error::CapacityError};
use wholetape_ws::{Close, Decoder, Event, Fault, Limits, Role};

/// Bytes of a message, for both.
pub const MESSAGE_MAX: usize = 300;
const LIMITS: Limits = Limits { message: MESSAGE_MAX, fragments: u32::MAX };
/// What tungstenite makes of a close code that may not be sent.
const BAD_CLOSE: (u16, &str) = (1002, "Protocol violation");

/// What ours makes of it.
const BAD_CODE: Fault = Fault::Protocol("a close code that may not be sent");

/// How a reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Waits,
    Closed,
    /// The close code to tell.
    Refused(u16),
}

/// The bytes, a piece for each read; what is written goes nowhere.
struct Pieces<'a>(VecDeque<&'a [u8]>);

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.front_mut() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let n = piece.len().min(buf.len());
        buf[..n].copy_from_slice(&piece[..n]);
        *piece = &piece[n..];
        if piece.is_empty() {
            self.0.pop_front();
        }
        Ok(n)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).filter(|w| w[0] < w[1]).map(|w| &bytes[w[0]..w[1]]).collect()
}

fn ours(pieces: &[&[u8]]) -> (Vec<Event>, End, Option<Fault>) {
    let mut decoder = Decoder::new(Role::Server, LIMITS, false);
    let (mut events, mut end) = (Vec::new(), End::Waits);
    for piece in pieces {
        let mut piece = *piece;
        loop {
            match decoder.decode(&mut piece) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if matches!(event, Event::Close(_)) {
                        end = End::Closed;
                    }
                    events.push(event);
                }
                Err(fault) => return (events, End::Refused(fault.code()), Some(fault)),
            }
        }
    }
    (events, end, None)
}

fn theirs(pieces: &[&[u8]]) -> (Vec<Event>, End) {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    let stream = Pieces(pieces.iter().copied().collect());
    let mut socket = WebSocket::from_raw_socket(stream, TheirRole::Server, Some(config));
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => Event::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Event::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Event::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Event::Pong(bytes.to_vec()),
            Ok(Message::Close(Some(c))) if (u16::from(c.code), c.reason.as_str()) == BAD_CLOSE => {
                return (events, End::Refused(1002));
            }
            Ok(Message::Close(close)) => {
                let close = close.map(|c| Close { code: c.code.into(), reason: c.reason.to_string() });
                events.push(Event::Close(close));
                return (events, End::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives messages"),
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return (events, End::Waits),
            Err(Error::Utf8(_)) => return (events, End::Refused(1007)),
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => return (events, End::Refused(1009)),
            Err(Error::Protocol(_)) => return (events, End::Refused(1002)),
            Err(e) => panic!("{e}"),
        };
        events.push(event);
    }
}

/// Panics where the two disagree at all.
#[allow(dead_code)]
pub fn differ(bytes: &[u8]) {
    let ((our_events, our_end, _), (their_events, their_end)) = (ours(&[bytes]), theirs(&[bytes]));
    assert_eq!((our_events, our_end), (their_events, their_end));
}

/// Panics where the two disagree and should not.
///
/// They may differ in four ways:
/// - ours refuses with the first byte that cannot be mended, theirs with the end of its frame, so theirs may still wait;
/// - ours looks at a header's first byte before its length, theirs the other way round, so one may say 1002 and the other 1009;
/// - of a close frame with a code that may not be sent and a reason that is not UTF-8 ours names the code (1002), theirs the reason (1007);
/// - ours refuses lengths in a longer form than needed, which theirs reads.
pub fn compare(bytes: &[u8], cuts: &[usize]) {
    let pieces = pieces(bytes, cuts);
    let (our_events, our_end, fault) = ours(&pieces);
    let (their_events, their_end) = theirs(&pieces);
    let told = || format!("ours {our_events:?} {our_end:?} {fault:?}, theirs {their_events:?} {their_end:?}");
    if fault == Some(Fault::Protocol("a length in the wrong form")) {
        assert!(their_events.starts_with(&our_events), "{}", told());
        return;
    }
    assert_eq!(our_events, their_events, "{}", told());
    let agree = match (our_end, their_end) {
        (End::Refused(_), End::Waits) | (End::Refused(1002), End::Refused(1009)) => true,
        (End::Refused(1002), End::Refused(1007)) => fault == Some(BAD_CODE),
        (ours, theirs) => ours == theirs,
    };
    assert!(agree, "{}", told());
    // The cuts change nothing.
    assert_eq!(ours(&[bytes]), (our_events, our_end, fault));
}
