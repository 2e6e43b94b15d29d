//! What the benchmarks of many clients share: the gateway as a process of its own, and clients that are no more than a socket.
#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wholetape_gateway::{Health, Surface};
use wholetape_model::{Price, Row, RowFlags, Scales, Side, Size, Trade, TradeCondition, Ts, View};

pub type Fail = Box<dyn Error + Send + Sync>;

/// Nothing to tell.
pub struct Quiet;

impl Surface for Quiet {
    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

/// A trade of this time (ns).
pub fn trade(nth: u64, now: i64) -> Row<'static> {
    let id = 5_266_583_935 + nth;
    let body = View::Trade(Trade {
        id: id.into(),
        first_id: id,
        last_id: id,
        price: Price(6_180_030),
        size: Size(600_000),
        aggressor: Some(Side::Buy),
        condition: TradeCondition::Regular,
    });
    let scales = Scales { price: 2, size: 8 };
    Row { ts_event: Ts(now), ts_recv: Ts(now), conn: 1, frame: id as u32, flags: RowFlags::default(), scales, body }
}

/// A server under load: killed when it is dropped.
pub struct Process {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub at: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// One that prints its port.
    pub fn printing(command: &mut Command) -> Result<Self, Fail> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let stdin = child.stdin.take();
        let mut process = Self { child, stdin, at: SocketAddr::from(([127, 0, 0, 1], 0)) };
        process.at.set_port(line.trim().parse().map_err(|_| format!("no port but {line:?}"))?);
        Ok(process)
    }

    /// One that listens there.
    pub fn listening(command: &mut Command, at: SocketAddr) -> Result<Self, Fail> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, stdin: None, at })
    }

    /// Processor time of all its threads, ns.
    pub fn spent(&self) -> Result<u64, Fail> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }

    /// Resident memory, KiB.
    pub fn memory(&self) -> Result<u64, Fail> {
        let text = std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("status"))?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> Result<(), Fail> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }
}

/// How a client begins.
#[derive(Debug, Clone)]
pub struct Talk {
    pub path: &'static str,
    /// Said after the handshake, and whether as text.
    pub hello: String,
    pub is_text: bool,
    /// In what comes once it is subscribed.
    pub ready: &'static [u8],
}

/// A client's frame: masked with zeros.
pub fn frame(text: &str, is_text: bool) -> Vec<u8> {
    let mut frame = vec![if is_text { 0x81 } else { 0x82 }];
    match text.len() {
        n @ 0..126 => frame.push(0x80 | n as u8),
        n => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Connects, shakes hands, says hello and waits until it is ready. Returns the socket and what came behind the handshake.
pub async fn connect(at: SocketAddr, talk: &Arc<Talk>) -> Result<(TcpStream, Vec<u8>), Fail> {
    speak(TcpStream::connect(at).await?, at, talk).await
}

/// As [`connect`], on a socket that is there.
pub async fn speak(mut socket: TcpStream, at: SocketAddr, talk: &Arc<Talk>) -> Result<(TcpStream, Vec<u8>), Fail> {
    socket.set_nodelay(true)?;
    let hello = format!(
        "GET {} HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        talk.path
    );
    socket.write_all(hello.as_bytes()).await?;
    let mut came = Vec::with_capacity(1_024);
    let end = loop {
        if socket.read_buf(&mut came).await? == 0 || !came.starts_with(&b"HTTP/1.1 101"[..came.len().min(12)]) {
            return Err(format!("no handshake: {}", String::from_utf8_lossy(&came)).into());
        }
        if let Some(end) = came.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
    };
    came.drain(..end);
    socket.write_all(&frame(&talk.hello, talk.is_text)).await?;
    while !talk.ready.is_empty() && !came.windows(talk.ready.len()).any(|w| w == talk.ready) {
        if socket.read_buf(&mut came).await? == 0 {
            return Err("closed before it was ready".into());
        }
    }
    Ok((socket, came))
}

/// A number behind `name` in a message of ours.
pub fn number(text: &[u8], name: &[u8]) -> Option<u64> {
    let at = text.windows(name.len()).position(|w| w == name)? + name.len();
    let digits = text[at..].iter().take_while(|b| b.is_ascii_digit());
    std::str::from_utf8(&text[at..at + digits.count()]).ok()?.parse().ok()
}

/// The first whole frame's head and text lengths.
pub fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, len) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => return None,
        n => (2, usize::from(n)),
    };
    (bytes.len() >= head + len).then_some((head, len))
}
