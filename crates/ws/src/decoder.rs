//! What a peer sends, as messages: masking, fragments, control frames between them, and every reason to end the connection.
//!
//! No I/O and no clock: bytes in, events out, however the bytes are cut. A frame's first byte is judged when it has come, a length
//! before anything of the payload is kept, text with every piece.

use crate::close::Close;
use crate::deflate::Inflate;
use crate::frame::{CONTROL_MAX, FIN, HEADER_MAX, MASKED, Opcode, RSV1, RSV23, header_len, mask};
use crate::utf8::Progress;

/// Unmasked and inflated in pieces of this size.
const PIECE: usize = 4 << 10;

/// Which side we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What comes is masked.
    Server,
    /// What comes is not masked.
    Client,
}

/// Bounds of what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, inflated.
    pub message: usize,
    /// Frames of one message.
    pub fragments: u32,
}

/// Something whole that a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// To be answered by a pong with the same bytes.
    Ping(Vec<u8>),
    /// A ping's answer, or a sign of life.
    Pong(Vec<u8>),
    /// The last that comes. `None`: without a code.
    Close(Option<Close>),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not what RFC 6455 or RFC 7692 allows.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// Text, or a close frame's reason, that is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// More than [`Limits::message`].
    #[error("message too large")]
    TooLarge,
    /// More than [`Limits::fragments`].
    #[error("too many fragments")]
    TooManyFragments,
    /// A compressed message that cannot be inflated, or ends before its end.
    #[error("not a whole deflate stream")]
    Deflate,
}

impl Fault {
    /// The close code that tells the peer.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Utf8 | Self::Deflate => 1007,
            Self::TooLarge | Self::TooManyFragments => 1009,
        }
    }
}

/// The frame whose payload comes.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    mask: Option<[u8; 4]>,
    /// Payload bytes that came.
    at: usize,
    left: usize,
}

/// The message whose frames come.
#[derive(Debug)]
struct Message {
    text: bool,
    bytes: Vec<u8>,
    fragments: u32,
    progress: Progress,
    inflate: Option<Inflate>,
    /// Payload bytes that its frames announced.
    announced: usize,
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    deflate: bool,
    header: [u8; HEADER_MAX],
    have: usize,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
    frames: u64,
    closed: bool,
    fault: Option<Fault>,
}

impl Decoder {
    /// `deflate`: permessage-deflate was agreed on, without context takeover by the peer.
    #[must_use]
    pub const fn new(role: Role, limits: Limits, deflate: bool) -> Self {
        Self {
            role,
            limits,
            deflate,
            header: [0; HEADER_MAX],
            have: 0,
            frame: None,
            control: Vec::new(),
            message: None,
            frames: 0,
            closed: false,
            fault: None,
        }
    }

    /// Whole frames so far.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub const fn within_frame(&self) -> bool {
        self.have > 0 || self.frame.is_some()
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub const fn within_message(&self) -> bool {
        self.message.is_some()
    }

    /// Takes from `input` up to the end of the next event. `None`: everything was taken and more is needed; behind a close frame
    /// everything is taken and nothing comes.
    ///
    /// # Errors
    /// Why the connection ends; the same again from then on.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.closed {
            *input = &[];
            return Ok(None);
        }
        self.step(input).inspect_err(|fault| {
            self.fault = Some(*fault);
            (self.frame, self.message, self.have) = (None, None, 0);
        })
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Fault> {
        loop {
            match &mut self.frame {
                None => {
                    let Some((byte, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    self.header[self.have] = *byte;
                    self.have += 1;
                    self.on_header()?;
                }
                Some(frame) => {
                    let n = frame.left.min(input.len());
                    if n == 0 && frame.left > 0 {
                        return Ok(None);
                    }
                    let (bytes, rest) = input.split_at(n);
                    *input = rest;
                    self.on_payload(bytes)?;
                }
            }
            if self.frame.as_ref().is_some_and(|f| f.left == 0)
                && let Some(event) = self.end_frame()?
            {
                return Ok(Some(event));
            }
        }
    }

    /// One more byte of the header has come.
    fn on_header(&mut self) -> Result<(), Fault> {
        let [first, second, ..] = self.header;
        match self.have {
            1 => self.on_first(first),
            have => {
                if have == 2 {
                    self.on_second(first, second)?;
                }
                if have == header_len(second) {
                    self.have = 0;
                    self.begin(first, second)?;
                }
                Ok(())
            }
        }
    }

    fn on_first(&self, first: u8) -> Result<(), Fault> {
        let opcode = Opcode::of(first & 0x0f).ok_or(Fault::Protocol("a reserved opcode"))?;
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RSV23 != 0 || first & RSV1 != 0 && !(self.deflate && begins) {
            return Err(Fault::Protocol("a reserved bit"));
        }
        match (opcode, &self.message) {
            (Opcode::Continue, None) => Err(Fault::Protocol("a fragment of no message")),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Fault::Protocol("a message within a message")),
            _ if opcode.is_control() && first & FIN == 0 => Err(Fault::Protocol("a control frame in fragments")),
            _ => Ok(()),
        }
    }

    fn on_second(&self, first: u8, second: u8) -> Result<(), Fault> {
        if (second & MASKED != 0) != (self.role == Role::Server) {
            return Err(Fault::Protocol("masked by the wrong side"));
        }
        if first & 8 != 0 && usize::from(second & 0x7f) > CONTROL_MAX {
            return Err(Fault::Protocol("a long control frame"));
        }
        Ok(())
    }

    /// The header is whole: lengths are judged, and a message may begin.
    fn begin(&mut self, first: u8, second: u8) -> Result<(), Fault> {
        let long = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let (len, least, lengths) = match second & 0x7f {
            126 => (long(&self.header[2..4]), 126, 2),
            127 => (long(&self.header[2..10]), 1 << 16, 8),
            short => (u64::from(short), 0, 0),
        };
        if len < least || len >> 63 != 0 {
            return Err(Fault::Protocol("a length in the wrong form"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Fault::Protocol("a reserved opcode"))?;
        let left = usize::try_from(len).map_err(|_| Fault::TooLarge)?;
        if !opcode.is_control() {
            let message = self.message.get_or_insert_with(|| Message {
                text: opcode == Opcode::Text,
                bytes: Vec::new(),
                fragments: 0,
                progress: Progress::default(),
                inflate: (first & RSV1 != 0).then(Inflate::new),
                announced: 0,
            });
            message.fragments += 1;
            if message.fragments > self.limits.fragments {
                return Err(Fault::TooManyFragments);
            }
            message.announced = message.announced.saturating_add(left);
            // What does not compress is longer compressed than not: five bytes for each stored block.
            let most = self.limits.message;
            let most = if message.inflate.is_some() { most.saturating_add(most / 16 + 64) } else { most };
            if message.announced > most {
                return Err(Fault::TooLarge);
            }
        }
        let key = 2 + lengths;
        let mask = (second & MASKED != 0).then(|| [0, 1, 2, 3].map(|i| self.header[key + i]));
        self.frame = Some(Frame { opcode, last: first & FIN != 0, mask, at: 0, left });
        Ok(())
    }

    fn on_payload(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(frame) = &mut self.frame else { return Ok(()) };
        let at = frame.at;
        frame.at += bytes.len();
        frame.left -= bytes.len();
        let plain = |out: &mut Vec<u8>| {
            let from = out.len();
            out.extend_from_slice(bytes);
            if let Some(key) = frame.mask {
                mask(&mut out[from..], key, at);
            }
        };
        let message = match &mut self.message {
            Some(message) if !frame.opcode.is_control() => message,
            _ => {
                plain(&mut self.control);
                return Ok(());
            }
        };
        match &mut message.inflate {
            None => plain(&mut message.bytes),
            Some(inflate) => {
                let mut piece = [0; PIECE];
                for (i, masked) in bytes.chunks(PIECE).enumerate() {
                    let piece = &mut piece[..masked.len()];
                    piece.copy_from_slice(masked);
                    if let Some(key) = frame.mask {
                        mask(piece, key, at + i * PIECE);
                    }
                    inflate.push(piece, &mut message.bytes, self.limits.message)?;
                }
            }
        }
        if message.text {
            message.progress.look(&message.bytes, false).map_err(|_| Fault::Utf8)?;
        }
        Ok(())
    }

    /// The frame is whole, and perhaps with it a message.
    fn end_frame(&mut self) -> Result<Option<Event>, Fault> {
        let Some(frame) = self.frame.take() else { return Ok(None) };
        self.frames += 1;
        let payload = std::mem::take(&mut self.control);
        match frame.opcode {
            Opcode::Ping => return Ok(Some(Event::Ping(payload))),
            Opcode::Pong => return Ok(Some(Event::Pong(payload))),
            Opcode::Close => {
                let close = Close::parse(&payload)?;
                self.closed = true;
                self.message = None;
                return Ok(Some(Event::Close(close)));
            }
            Opcode::Continue | Opcode::Text | Opcode::Binary if !frame.last => return Ok(None),
            Opcode::Continue | Opcode::Text | Opcode::Binary => {}
        }
        let Some(mut message) = self.message.take() else { return Ok(None) };
        if let Some(inflate) = &mut message.inflate {
            inflate.finish(&mut message.bytes, self.limits.message)?;
        }
        Ok(Some(if message.text {
            Event::Text(String::from_utf8(message.bytes).map_err(|_| Fault::Utf8)?)
        } else {
            Event::Binary(message.bytes)
        }))
    }
}

#[cfg(test)]
mod tests;
