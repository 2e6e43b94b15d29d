//! Bytes of a client, cut anywhere, to our WebSocket decoder and to tungstenite's: the same messages, the same verdict.
#![no_main]

#[path = "../../crates/ws/tests/judge/mod.rs"]
mod judge;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u16>)| {
    let (bytes, cuts) = input;
    let cuts: Vec<usize> = cuts.into_iter().map(usize::from).collect();
    judge::compare(&bytes, &cuts);
});
