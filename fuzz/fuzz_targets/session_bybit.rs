//! Arbitrary bytes as frames and replies: a session of each of Bybit's markets never panics and keeps its promises.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for market in ["bybit-spot", "bybit-linear", "bybit-inverse"] {
        wholetape_fuzz::session(market, data);
    }
});
