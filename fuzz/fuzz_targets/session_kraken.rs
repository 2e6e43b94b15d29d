//! Arbitrary bytes as frames and replies: a `kraken` session never panics and keeps its promises.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wholetape_fuzz::session("kraken", data));
