//! A venue that wants a message of ours every so often (OKX: the text `ping`, Bybit: a JSON one) gets it; its answer is no frame.

mod common;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::ws_server;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use wholetape_feed::clock::{Clock, wall};
use wholetape_feed::endpoint::{Endpoint, Scheme};
use wholetape_feed::ws::{Beat, Socket, SocketEvent, WsLimits, open};
use wholetape_model::Ts;

const EVERY: Duration = Duration::from_millis(60);

/// What the server heard.
type Heard = Arc<Mutex<Vec<String>>>;

/// Runs a socket with a heartbeat for `length`; returns its frames and whether it was still alive.
async fn run(answers: bool, length: Duration) -> (Vec<String>, Vec<String>, bool) {
    let heard: Heard = Arc::default();
    let server_heard = heard.clone();
    let addr = ws_server(move |mut socket, _| {
        let heard = server_heard.clone();
        async move {
            let mut data = tokio::time::interval(Duration::from_millis(25));
            let mut n = 0;
            loop {
                tokio::select! {
                    message = socket.next() => match message {
                        Some(Ok(Message::Text(text))) => {
                            heard.lock().unwrap().push(text.to_string());
                            if answers && socket.send(Message::text("pong")).await.is_err() {
                                return;
                            }
                        }
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                    _ = data.tick(), if answers && n < 4 => {
                        n += 1;
                        let _ = socket.send(Message::text(format!("frame {n}"))).await;
                    }
                }
            }
        }
    })
    .await;
    let clock = Clock::new(wall(), Ts::ZERO);
    let beat = Beat { text: "ping", every: EVERY, answer: Some("pong") };
    let limits = WsLimits { pong: Duration::from_millis(150), beat: Some(beat), ..WsLimits::default() };
    let endpoint = Endpoint::parse(&format!("ws://{addr}"), Scheme::WebSocket).unwrap();
    let stream = open(&endpoint, "/ws", limits, wholetape_feed::tls::config(&[]).unwrap()).await.unwrap();
    let mut socket = Socket::new(stream, limits, clock.now());
    let (mut frames, mut alive) = (Vec::new(), true);
    let end = clock.now() + length;
    while alive && clock.now() < end {
        let wait = socket.next_timer().min(end).since(clock.now());
        tokio::select! {
            event = poll_fn(|cx| socket.poll_event(cx, || clock.now())) => match event {
                SocketEvent::Text(text) => frames.push(text.to_string()),
                other => panic!("{other:?}"),
            },
            () = tokio::time::sleep(wait) => alive = socket.on_timer(clock.now()),
        }
    }
    let heard = heard.lock().unwrap().clone();
    (frames, heard, alive)
}

#[tokio::test]
async fn pings_go_out_whatever_comes_and_pongs_are_no_frames() {
    let (frames, heard, alive) = run(true, Duration::from_millis(700)).await;
    assert!(alive);
    assert_eq!(frames, ["frame 1", "frame 2", "frame 3", "frame 4"], "and no pong");
    assert!(heard.len() >= 5 && heard.iter().all(|text| text == "ping"), "{heard:?}");
}

#[tokio::test]
async fn a_peer_that_leaves_a_ping_unanswered_is_given_up() {
    let (frames, heard, alive) = run(false, Duration::from_secs(5)).await;
    assert!(!alive && frames.is_empty());
    assert!(heard.len() <= 4, "given up in time: {heard:?}");
}
