//! `GET /v1/coverage`: the ledger's own figures, filtered, and every bad question answered in one line.

mod rig;

use std::sync::{Arc, Mutex};

use rig::{Rig, book, quote, trade};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wholetape_gateway::{Deps, Gateway, GatewayConfig, Health, Surface};
use wholetape_model::BookAction;
use wholetape_tape::coverage::Coverage;

struct Kept(Mutex<Coverage>);

impl Surface for Kept {
    fn metrics(&self) -> String {
        String::new()
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn coverage(&self, look: &mut dyn FnMut(&Coverage)) {
        look(&self.0.lock().unwrap());
    }
}

#[tokio::test]
async fn what_is_held_and_what_is_missing() {
    let mut rig = Rig::new().await;
    rig.trades(1..=5);
    rig.trades(8..=9);
    rig.append("quote.BTCUSDT.BINANCE", quote(1));
    rig.append("book.ETHUSDT.BINANCE", book(BookAction::Snapshot, u64::MAX - 1, &[], &[]));
    rig.append("trade.ETHUSDT.BINANCE", trade(3));
    let kept = Arc::new(Kept(Mutex::new(Coverage::new(rig.tape.epoch()))));
    Coverage::catch_up(&kept.0, &rig.tape, &|| false).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let deps = Deps { tape: rig.tape.clone(), history: None, surface: kept, clients: Default::default() };
    let served = tokio::spawn(Gateway::serve(GatewayConfig::default(), deps, listener, stop.clone()));
    // The rig's own gateway keeps no ledger.
    let (head, body) = rig.get("/v1/coverage").await;
    assert!(head.contains(" 404 ") && body.contains("keeps no coverage ledger"), "{head}{body}");
    rig.at = at;
    let (head, body) = rig.get("/v1/coverage").await;
    assert!(head.contains(" 200 ") && head.to_lowercase().contains("application/json"), "{head}");
    let all: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&all["whole"], &all["missing"], &all["unexplained"]), (&false.into(), &2.into(), &2.into()), "{body}");
    let names: Vec<&str> = all["coverage"].as_array().unwrap().iter().map(|t| t["topic"].as_str().unwrap()).collect();
    let want = ["trade.BTCUSDT.BINANCE", "quote.BTCUSDT.BINANCE", "trade.ETHUSDT.BINANCE", "book.ETHUSDT.BINANCE"];
    assert_eq!(names, want);
    let one = &all["coverage"][0];
    assert_eq!((&one["proof"], &one["held"], &one["id_intervals"]), (&"hole".into(), &7.into(), &2.into()));
    assert_eq!(one["hours"].as_str().unwrap().len(), 24);
    assert_eq!(all["coverage"][1]["missing"], Value::Null, "nothing to count");
    assert_eq!(all["coverage"][3]["to_id"], (u64::MAX - 1).to_string(), "beyond 2^53 a string");
    let (_, body) = rig.get("/v1/coverage?instrument=ETH*&kind=trade&hours=3").await;
    let some: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(some["coverage"].as_array().unwrap().len(), 1);
    assert_eq!((&some["whole"], &some["coverage"][0]["hours"]), (&true.into(), &"--p".into()), "{body}");
    for bad in ["kind=status", "hours=0", "hours=x", "instrument=", "since=yesterday", "kind=%zz"] {
        let (head, body) = rig.get(&format!("/v1/coverage?{bad}")).await;
        assert!(head.contains(" 400 ") && body.lines().count() == 1 && body.len() > 20, "{bad}: {head}{body}");
    }
    stop.cancel();
    served.await.unwrap().unwrap();
}
