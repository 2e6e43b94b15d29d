//! A client of the gateway as small as can be: it subscribes to some topics, reads bytes for a while, and goes.

use anyhow::{Result, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// SplitMix64 (public domain, Vigna 2015).
pub struct Dice(pub u64);

impl Dice {
    pub const fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % most
    }
}

/// One visit. Returns how many bytes came.
///
/// # Errors
/// When the gateway cannot be reached or refuses.
pub fn visit(port: u16, topics: &[String], dice: &mut Dice, stop: &AtomicBool) -> Result<u64> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    // The nonce of the WebSocket standard's own example.
    write!(
        socket,
        "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut buffer = vec![0; 64 << 10];
    let first = socket.read(&mut buffer)?;
    ensure!(buffer[..first].starts_with(b"HTTP/1.1 101"), "no upgrade");
    for id in 0..1 + dice.below(8) {
        let topic = &topics[dice.below(topics.len() as u64) as usize];
        let from = if dice.below(3) == 0 { "earliest" } else { "live" };
        socket.write_all(&masked(
            1,
            format!(r#"{{"op":"sub","id":{id},"topic":"{topic}","from":"{from}"}}"#).as_bytes(),
        ))?;
    }
    let length = Duration::from_millis(500 + dice.below(20_000));
    // One in four reads slower than the market speaks.
    let slow = dice.below(4) == 0;
    let (begin, mut bytes) = (Instant::now(), 0);
    while begin.elapsed() < length && !stop.load(Ordering::Relaxed) {
        let most = if slow { 256 } else { buffer.len() };
        match socket.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(n) => bytes += n as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        if slow {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // Half of them say goodbye.
    if dice.below(2) == 0 {
        socket.write_all(&masked(8, &[0x03, 0xe8]))?;
    }
    Ok(bytes)
}

/// A final frame of a client, masked with zeros, so that the payload stays as it is.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        n @ 0..=125 => frame.push(0x80 | n as u8),
        n => {
            frame.push(0x80 | 126);
            frame.extend((n as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_the_standard_draws_them() {
        assert_eq!(masked(1, b"Hi"), [0x81, 0x82, 0, 0, 0, 0, b'H', b'i']);
        assert_eq!(masked(1, &[b'x'; 200])[..4], [0x81, 0xfe, 0, 200]);
    }
}
