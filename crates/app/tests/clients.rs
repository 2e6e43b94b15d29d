//! `wholetape gateway clients` beside a running process, as an operator would use it.

mod common;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::{Running, last_json, wholetape};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn clients_are_listed_and_one_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("wholetape.toml");
    let sim = Running::start(
        wholetape().args(["sim", "--venue", "binance-spot", "--json", "--data"]).arg(dir.path().join("sim")),
    );
    let started = sim.json(SOON);
    std::fs::write(&config, format!("data = {:?}\n{}", dir.path().join("data"), started["config"].as_str().unwrap()))
        .unwrap();
    let clients = |args: &[&str]| -> Output {
        wholetape().args(["gateway", "clients"]).arg("-c").arg(&config).args(args).output().unwrap()
    };
    let nobody = clients(&["--json"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no process serves"), "{nobody:?}");

    let run =
        Running::start(wholetape().args(["run", "--port", "0", "--json", "-c"]).arg(&config).stderr(Stdio::null()));
    let url = run.json(SOON)["client"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut ws, session) = runtime.block_on(async {
        let (mut ws, _) = connect_async(&url).await.unwrap();
        let welcome: Value = serde_json::from_str(ws.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        for message in [
            json!({"op": "hello", "agent": "test/1"}),
            json!({"op": "sub", "id": 1, "topic": "link.*", "from": "earliest"}),
        ] {
            ws.send(Message::text(message.to_string())).await.unwrap();
        }
        while !ws.next().await.unwrap().unwrap().to_text().unwrap().contains("subd") {}
        (ws, welcome["session"].as_str().unwrap().to_owned())
    });
    let began = Instant::now();
    let ours = loop {
        let listed = clients(&["--json"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = last_json(&listed);
        let ours = listed["clients"].as_array().unwrap().iter().find(|c| c["session"] == session.as_str()).cloned();
        match ours {
            Some(c) if c["agent"] == "test/1" && c["topics"].as_array().is_some_and(|t| !t.is_empty()) => break c,
            other => assert!(began.elapsed() < SOON, "{other:?}"),
        }
    };
    assert!(ours["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{ours}");
    assert_eq!((&ours["principal"], &ours["topics"][0]["class"]), (&Value::Null, &json!("trade")));
    assert!(ours["since"].as_u64() > Some(1_700_000_000_000_000) && ours["sent_messages"].as_u64() > Some(1), "{ours}");
    let shown = clients(&[]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&session) && shown.contains("test/1"), "{shown}");

    let wrong = clients(&["kick", "s_nobody"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&wrong.stderr).contains("no connection of session or address `s_nobody`"),
        "{wrong:?}"
    );
    let kicked = clients(&["--json", "kick", &session]);
    assert_eq!(last_json(&kicked)["kicked"][0]["session"], session.as_str(), "{kicked:?}");
    let close = runtime.block_on(async {
        loop {
            match tokio::time::timeout(SOON, ws.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(close)))) => return close,
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    });
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4013, "closed by the operator"));
    let began = Instant::now();
    while last_json(&clients(&["--json"]))["clients"].to_string().contains(&session) {
        assert!(began.elapsed() < SOON);
    }
}
