use super::*;
use crate::frame::header;

const LIMITS: Limits = Limits { message: 1_000, fragments: 4 };
const KEY: [u8; 4] = [0xa1, 0xb2, 0xc3, 0xd4];

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let (head, n) = header(first, payload.len(), Some(KEY));
    let mut out = [&head[..n], payload].concat();
    mask(&mut out[n..], KEY, 0);
    out
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// Everything that comes of `bytes` given in pieces, and how it ends.
fn decode(bytes: &[u8], pieces: usize, deflate: bool) -> (Vec<Event>, Option<Fault>) {
    let mut decoder = Decoder::new(Role::Server, LIMITS, deflate);
    let mut events = Vec::new();
    for mut piece in bytes.chunks(pieces) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(fault) => return (events, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "what is not refused is taken");
    }
    (events, None)
}

/// The same whatever the pieces.
fn check(parts: &[Vec<u8>], events: &[Event], fault: Option<Fault>) {
    let bytes = parts.concat();
    for pieces in [1, 2, 3, 5, 7, 64, bytes.len().max(1)] {
        let (found, end) = decode(&bytes, pieces, false);
        assert_eq!((&found[..], end), (events, fault), "in pieces of {pieces}");
    }
}

fn protocol(parts: &[Vec<u8>], why: &'static str) {
    check(parts, &[], Some(Fault::Protocol(why)));
}

fn text(text: &str) -> Event {
    Event::Text(text.into())
}

#[test]
fn messages_are_put_together() {
    check(&[frame(0x81, b"one"), frame(0x82, &[0xff, 0])], &[text("one"), Event::Binary(vec![0xff, 0])], None);
    check(&[frame(0x81, b""), frame(0x01, b""), frame(0x80, b"")], &[text(""), text("")], None);
    let long = "l".repeat(1_000);
    check(&[frame(0x81, long.as_bytes())], &[text(&long)], None);
    // A character cut by fragments, and control frames between them.
    let parts =
        [frame(0x01, &[b'a', 0xc3]), frame(0x89, b"?"), frame(0x8a, b""), frame(0x80, &[0xa9]), close(1000, "bye")];
    let said = Close { code: 1000, reason: "bye".into() };
    let events = [Event::Ping(b"?".to_vec()), Event::Pong(vec![]), text("aé"), Event::Close(Some(said))];
    check(&parts, &events, None);
}

#[test]
fn behind_a_close_frame_nothing_comes() {
    check(&[frame(0x88, b""), frame(0x81, b"late"), vec![0xff; 9]], &[Event::Close(None)], None);
    check(&[frame(0x01, b"half"), frame(0x88, b""), frame(0x80, b"late")], &[Event::Close(None)], None);
}

#[test]
fn what_the_rfc_forbids_is_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        protocol(&[frame(0x80 | opcode, b"")], "a reserved opcode");
    }
    for bit in [0x40, 0x20, 0x10] {
        protocol(&[frame(0x81 | bit, b"")], "a reserved bit");
    }
    protocol(&[frame(0x80, b"x")], "a fragment of no message");
    protocol(&[frame(0x01, b"x"), frame(0x81, b"x")], "a message within a message");
    protocol(&[frame(0x09, b"")], "a control frame in fragments");
    protocol(&[frame(0x89, &[0; 126])], "a long control frame");
    protocol(&[vec![0x81, 0x01, b'x']], "masked by the wrong side");
    protocol(&[vec![0x81, 0xfe, 0, 125, 0, 0, 0, 0]], "a length in the wrong form");
    protocol(&[vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]], "a length in the wrong form");
    protocol(&[vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], "a length in the wrong form");
    protocol(&[frame(0x88, &[3])], "a close code has two bytes");
    protocol(&[close(1005, "")], "a close code that may not be sent");
    check(&[frame(0x88, &[3, 0xe8, 0xff])], &[], Some(Fault::Utf8));
}

#[test]
fn a_fault_is_told_with_the_byte_that_makes_it() {
    let at = |bytes: &[u8]| {
        let mut decoder = Decoder::new(Role::Server, LIMITS, false);
        (1..=bytes.len()).find(|n| decoder.decode(&mut &bytes[n - 1..*n]).is_err())
    };
    assert_eq!(at(&frame(0xc1, b"text")), Some(1), "a reserved bit");
    assert_eq!(at(&[0x81, 0x05]), Some(2), "no mask");
    assert_eq!(at(&frame(0x81, &[b'a', 0xff, b'b'])), Some(8), "not UTF-8");
    // The header alone: nothing of the payload is waited for.
    assert_eq!(at(&frame(0x82, &[0; 1_001])), Some(8), "too large");
    let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(at(&huge), Some(14));
}

#[test]
fn text_is_judged_as_it_comes() {
    check(&[frame(0x01, "κόσμε".as_bytes()), frame(0x00, &[0xed, 0xa0])], &[], Some(Fault::Utf8));
    check(&[frame(0x01, &[0xc3]), frame(0x80, b"")], &[], Some(Fault::Utf8));
    check(&[frame(0x82, &[0xff])], &[Event::Binary(vec![0xff])], None);
}

#[test]
fn sizes_and_fragments_are_bounded() {
    let half = || vec![b'x'; 501];
    check(&[frame(0x01, &half()), frame(0x80, &half())], &[], Some(Fault::TooLarge));
    let pieces = |n: u8| -> Vec<Vec<u8>> { (0..n).map(|i| frame(u8::from(i == 0), b"x")).collect() };
    check(&[pieces(3).concat(), frame(0x80, b"x")], &[text("xxxx")], None);
    check(&[pieces(5).concat()], &[], Some(Fault::TooManyFragments));
    // They count for one message, not for the next.
    let both = [pieces(3).concat(), frame(0x80, b""), pieces(3).concat(), frame(0x80, b"")];
    check(&both, &[text("xxx"), text("xxx")], None);
}

#[test]
fn a_client_reads_what_is_not_masked() {
    let mut decoder = Decoder::new(Role::Client, LIMITS, false);
    assert_eq!(decoder.decode(&mut &[0x81, 2, b'o', b'k'][..]), Ok(Some(text("ok"))));
    assert_eq!(decoder.decode(&mut &frame(0x81, b"x")[..]), Err(Fault::Protocol("masked by the wrong side")));
    assert_eq!(decoder.decode(&mut &[][..]), Err(Fault::Protocol("masked by the wrong side")), "the same again");
}

#[test]
fn frames_are_followed() {
    let mut decoder = Decoder::new(Role::Server, LIMITS, false);
    let bytes = frame(0x01, b"abc");
    assert!(!decoder.within_frame());
    for (i, byte) in bytes.iter().enumerate() {
        assert_eq!(decoder.frames(), 0);
        assert_eq!(decoder.decode(&mut &[*byte][..]), Ok(None));
        assert_eq!(decoder.within_frame(), i + 1 < bytes.len());
    }
    assert_eq!((decoder.frames(), decoder.within_message()), (1, true));
}

#[test]
fn compressed_messages_are_inflated() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let parts = [
        frame(0xc1, &hello),
        frame(0x41, &hello[..3]),
        frame(0x89, b"p"),
        frame(0x80, &hello[3..]),
        frame(0x81, b"plain"),
    ];
    let bytes = parts.concat();
    for pieces in [1, 2, 7, bytes.len()] {
        let (events, fault) = decode(&bytes, pieces, true);
        assert_eq!(events, [text("Hello"), Event::Ping(b"p".to_vec()), text("Hello"), text("plain")]);
        assert_eq!(fault, None);
    }
    let refused = |bytes: Vec<u8>| decode(&bytes, 1, true).1;
    assert_eq!(
        refused([frame(0x41, &hello[..3]), frame(0xc0, &hello[3..])].concat()),
        Some(Fault::Protocol("a reserved bit"))
    );
    assert_eq!(refused(frame(0xc9, b"")), Some(Fault::Protocol("a reserved bit")));
    assert_eq!(refused(frame(0xc1, &hello[..4])), Some(Fault::Deflate));
    assert_eq!(refused(frame(0xc2, &[0x07; 10])), Some(Fault::Deflate));
    let mut bomb = Vec::new();
    assert!(crate::deflate::compress(&[b'x'; 1_001], crate::Window::Large, &mut bomb));
    assert_eq!(refused(frame(0xc1, &bomb)), Some(Fault::TooLarge));
    // Not UTF-8 once it is inflated.
    let mut packed = Vec::new();
    assert!(crate::deflate::compress(&[0xff; 900], crate::Window::Large, &mut packed));
    assert_eq!(refused(frame(0xc1, &packed)), Some(Fault::Utf8));
}

#[test]
fn a_mask_holds_over_long_compressed_pieces() {
    let limits = Limits { message: 100_000, fragments: 1 };
    // Noise in stored blocks: as long compressed as not.
    let noise: Vec<u8> = (0..50_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    let mut stored = Vec::new();
    for chunk in noise.chunks(30_000) {
        let n = chunk.len() as u16;
        stored.extend([&[0][..], &n.to_le_bytes(), &(!n).to_le_bytes(), chunk].concat());
    }
    stored.push(0);
    let mut decoder = Decoder::new(Role::Server, limits, true);
    let bytes = frame(0xc2, &stored);
    for cut in [1, 10, 4_099, 30_001] {
        let mut events = Vec::new();
        for mut piece in bytes.chunks(cut) {
            events.extend(decoder.decode(&mut piece).unwrap());
        }
        assert_eq!(events, [Event::Binary(noise.clone())], "{cut}");
    }
}
