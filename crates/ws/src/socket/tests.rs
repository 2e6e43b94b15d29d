use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::frame::mask;

const SETTINGS: Settings =
    Settings { limits: Limits { message: 1 << 20, fragments: 64 }, deflate: None, write_bytes: 4 << 10 };

fn pair(room: usize) -> (Socket<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(room);
    (Socket::server(ours, SETTINGS), theirs)
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let (head, n) = header(first, payload.len(), Some(key));
    let mut out = [&head[..n], payload].concat();
    mask(&mut out[n..], key, 0);
    out
}

/// What a client reads until the end, or until nothing comes.
async fn read(theirs: &mut DuplexStream) -> Vec<Event> {
    let mut decoder = Decoder::new(Role::Client, SETTINGS.limits, true);
    let (mut events, mut bytes) = (Vec::new(), vec![0; 1_000]);
    while let Ok(Ok(n @ 1..)) = timeout(Duration::from_millis(100), theirs.read(&mut bytes)).await {
        let mut input = &bytes[..n];
        while let Some(event) = decoder.decode(&mut input).unwrap() {
            events.push(event);
        }
    }
    events
}

fn poll<T>(f: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    f(&mut Context::from_waker(std::task::Waker::noop()))
}

fn block(n: usize) -> Block {
    Block::text(&vec![b'x'; n]).unwrap()
}

#[tokio::test]
async fn events_come_one_by_one_however_they_were_written() {
    let (mut socket, mut theirs) = pair(64 << 10);
    let all: Vec<u8> = (0..50).flat_map(|i| masked(0x81, format!("message {i}").as_bytes())).collect();
    for piece in all.chunks(17) {
        theirs.write_all(piece).await.unwrap();
    }
    drop(theirs);
    for i in 0..50 {
        assert_eq!(socket.event().await.unwrap().unwrap(), Event::Text(format!("message {i}")));
    }
    assert!(socket.event().await.is_none());
    assert_eq!(socket.unread.capacity(), 0, "a quiet connection holds no buffer");
}

#[tokio::test]
async fn bytes_are_counted_as_the_socket_takes_them() {
    let (mut socket, mut theirs) = pair(1_000);
    for _ in 0..3 {
        socket.send(&block(600)); // with its header 604
    }
    assert_eq!((socket.waiting(), socket.written(), socket.is_flushed()), (1_812, 0, false));
    assert!(poll(|cx| socket.poll_flush(cx)).is_pending());
    assert_eq!((socket.waiting(), socket.written()), (812, 1_000));
    let mut some = [0; 300];
    theirs.read_exact(&mut some).await.unwrap();
    assert!(poll(|cx| socket.poll_flush(cx)).is_pending());
    assert_eq!((socket.waiting(), socket.written()), (512, 1_300));
    // A ping goes between messages, never into one.
    socket.ping();
    let reader = tokio::spawn(async move { [&some[..], &rest(&mut theirs).await].concat() });
    socket.flush().await.unwrap();
    assert_eq!((socket.waiting(), socket.written(), socket.is_flushed()), (0, 1_814, true));
    drop(socket);
    let mut bytes = &reader.await.unwrap()[..];
    let mut decoder = Decoder::new(Role::Client, SETTINGS.limits, false);
    let mut kinds = Vec::new();
    while let Some(event) = decoder.decode(&mut bytes).unwrap() {
        kinds.push(matches!(event, Event::Ping(_)));
    }
    // The third message had begun when the ping was asked for.
    assert_eq!(kinds, [false, false, false, true]);
}

async fn rest(theirs: &mut DuplexStream) -> Vec<u8> {
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn ready_waits_for_room() {
    let (mut socket, mut theirs) = pair(1_000);
    let mut handed = 0;
    while poll(|cx| socket.poll_ready(cx)).is_ready() {
        socket.send(&block(500));
        handed += 1;
        assert!(handed < 100);
    }
    // `write_bytes` and the pipe hold 5 096 bytes, and the last one handed over may go beyond.
    assert_eq!((handed, socket.written()), (11, 1_000));
    let mut some = [0; 1_000];
    theirs.read_exact(&mut some).await.unwrap();
    assert!(poll(|cx| socket.poll_ready(cx)).is_ready());
}

#[tokio::test]
async fn pings_are_answered_before_messages_and_never_pile_up() {
    let (mut socket, mut theirs) = pair(64 << 10);
    socket.send(&block(10));
    for i in 0..200_u8 {
        theirs.write_all(&masked(0x89, &[i])).await.unwrap();
    }
    for _ in 0..200 {
        assert!(matches!(socket.event().await, Some(Ok(Event::Ping(_)))));
    }
    assert!(socket.waiting() <= PONGS_MAX * 3 + 12);
    socket.flush().await.unwrap();
    let events = read(&mut theirs).await;
    let expected: Vec<Event> = (200 - PONGS_MAX as u8..200).map(|i| Event::Pong(vec![i])).collect();
    assert_eq!(events[..PONGS_MAX], expected);
    assert_eq!(events[PONGS_MAX..], [Event::Text("x".repeat(10))]);
}

#[tokio::test]
async fn a_close_is_echoed_and_ends_the_writing() {
    let (mut socket, mut theirs) = pair(64 << 10);
    socket.send(&block(10));
    theirs.write_all(&masked(0x88, &[0x03, 0xe9, b'b'])).await.unwrap();
    assert!(matches!(socket.event().await, Some(Ok(Event::Close(Some(_))))));
    socket.send(&block(10));
    socket.close(1000, "twice");
    let client = tokio::spawn(async move { read(&mut theirs).await });
    socket.finish().await.unwrap();
    assert_eq!(client.await.unwrap(), [Event::Close(Some(Close { code: 1001, reason: String::new() }))]);
}

#[tokio::test]
async fn our_close_is_the_last_frame_and_theirs_is_heard() {
    let (mut socket, mut theirs) = pair(64 << 10);
    socket.send(&block(3));
    socket.close(1012, "RESTART");
    socket.send(&block(3));
    socket.ping();
    theirs.write_all(&masked(0x89, b"")).await.unwrap();
    theirs.write_all(&masked(0x88, &[0x03, 0xf4])).await.unwrap();
    socket.flush().await.unwrap();
    assert!(matches!(socket.event().await, Some(Ok(Event::Ping(_)))));
    assert!(matches!(socket.event().await, Some(Ok(Event::Close(_)))));
    let client = tokio::spawn(async move { read(&mut theirs).await });
    socket.finish().await.unwrap();
    let said = Close { code: 1012, reason: "RESTART".into() };
    assert_eq!(client.await.unwrap(), [Event::Text("xxx".into()), Event::Close(Some(said))]);
}

#[tokio::test]
async fn a_fault_is_told_again_and_the_goodbye_still_goes() {
    let (mut socket, mut theirs) = pair(64 << 10);
    theirs.write_all(&masked(0x81, &[0xff])).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(socket.event().await, Some(Err(SocketError::Fault(Fault::Utf8)))));
        theirs.write_all(&masked(0x81, b"more")).await.unwrap();
    }
    socket.close(Fault::Utf8.code(), "");
    let client = tokio::spawn(async move { read(&mut theirs).await });
    socket.finish().await.unwrap();
    assert_eq!(client.await.unwrap(), [Event::Close(Some(Close { code: 1007, reason: String::new() }))]);
}

#[tokio::test]
async fn one_compressed_form_serves_all_who_agreed() {
    let deflate = crate::answer(["permessage-deflate"]);
    let message = Block::text("{\"price\":\"60000.1\"}".repeat(100).as_bytes()).unwrap();
    let (plain, mut plain_end) = pair(64 << 10);
    let mut sockets = vec![(plain, None)];
    let mut ends = Vec::new();
    for _ in 0..3 {
        let (ours, theirs) = duplex(64 << 10);
        sockets.push((Socket::server(ours, Settings { deflate, ..SETTINGS }), deflate));
        ends.push(theirs);
    }
    let mut compressed = 0;
    for (socket, deflate) in &mut sockets {
        let sent = socket.send(&message);
        assert_eq!(sent.saved.is_some(), deflate.is_some());
        compressed += u32::from(sent.compressed);
        socket.flush().await.unwrap();
        let saved = sent.saved.unwrap_or(0);
        assert_eq!(socket.written() as usize + saved, message.len() + 4);
    }
    assert_eq!(compressed, 1);
    for end in ends.iter_mut().chain([&mut plain_end]) {
        let text = String::from_utf8(message.payload().to_vec()).unwrap();
        assert_eq!(read(end).await, [Event::Text(text)]);
    }
}

/// A transport that takes one piece at a time, as some TLS does.
#[derive(Debug)]
struct Narrow(DuplexStream);

impl AsyncRead for Narrow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_transport_without_vectors_gets_the_same_bytes() {
    let (ours, mut theirs) = duplex(700);
    let mut socket = Socket::server(Narrow(ours), Settings { write_bytes: 1 << 20, ..SETTINGS });
    let sizes = [1, 5_000, 0, 40_000, 3, 16_380, 16_384, 2];
    for n in sizes {
        socket.send(&block(n));
    }
    socket.ping();
    let client = tokio::spawn(async move { read(&mut theirs).await });
    socket.finish().await.unwrap();
    let events = client.await.unwrap();
    assert_eq!(events[0], Event::Ping(vec![]));
    let found: Vec<usize> = events[1..].iter().map(|e| if let Event::Text(t) = e { t.len() } else { 0 }).collect();
    assert_eq!(found, sizes);
}
