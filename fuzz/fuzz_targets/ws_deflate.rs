//! Compressed frames of a client: whatever they hold, they are inflated within the bound or refused, and the cuts change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wholetape_ws::{Decoder, Event, Limits, Role, header};

const LIMITS: Limits = Limits { message: 100_000, fragments: 8 };

fn read(frames: &[u8], piece: usize) -> Vec<String> {
    let mut decoder = Decoder::new(Role::Client, LIMITS, true);
    let mut all = Vec::new();
    for mut bytes in frames.chunks(piece) {
        loop {
            match decoder.decode(&mut bytes) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let Event::Binary(bytes) = &event {
                        assert!(bytes.len() <= LIMITS.message);
                    }
                    all.push(format!("{event:?}"));
                }
                Err(fault) => {
                    all.push(fault.to_string());
                    return all;
                }
            }
        }
    }
    all
}

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (payload, piece) = input;
    let (head, n) = header(0xc2, payload.len(), None);
    let frame = [&head[..n], &payload].concat();
    assert_eq!(read(&frame, usize::from(piece).max(1)), read(&frame, frame.len()));
});
