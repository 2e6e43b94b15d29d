//! The control socket: how a second command of the same machine speaks to the process that owns a data directory.
//!
//! `control.sock` lies in the data directory, mode 0600, so its owner alone may speak. The protocol is JSON, one object a
//! line: one request, then lines of progress, then one last line. A request that nobody knows gets an error that names
//! those that are known. The connection is the request's life: who hangs up no longer wants it.
//!
//! ```text
//! → {"op":"heal.backfill","instrument":"BTCUSDT.BINANCE","from":"1700000000000000000","to":"1700006000000000000"}
//! ← {"event":"progress", …}
//! ← {"event":"done", …}            or {"event":"error","error":"…"}
//! ```

pub mod client;
pub mod heal;
pub mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wholetape_model::Ts;

/// Longer requests are refused: they are no requests.
pub const LINE_MAX: u64 = 64 << 10;

/// Where the socket of a data directory is.
pub fn socket_of(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", deny_unknown_fields)]
pub enum Request {
    #[serde(rename = "ping")]
    Ping,
    #[serde(rename = "heal.backfill")]
    Backfill {
        instrument: String,
        #[serde(with = "ns")]
        from: Ts,
        #[serde(with = "ns")]
        to: Ts,
    },
    /// Files and directories of this machine, by absolute paths.
    #[serde(rename = "heal.import")]
    Import {
        paths: Vec<String>,
        #[serde(default)]
        market: Option<String>,
        /// Whose they are: `binance` or `bybit`.
        #[serde(default = "binance")]
        archive: String,
    },
    #[serde(rename = "gateway.clients")]
    Clients,
    /// A session, or an address with or without its port.
    #[serde(rename = "gateway.kick")]
    Kick { whom: String },
}

fn binance() -> String {
    "binance".into()
}

/// For the message that refuses an unknown one.
pub const KNOWN: &str = "ping, heal.backfill, heal.import, gateway.clients, gateway.kick";

/// Nanoseconds as text: JSON numbers end at 2^53.
mod ns {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use wholetape_model::Ts;

    pub fn serialize<S: Serializer>(ts: &Ts, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&ts.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Ts, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map(Ts).map_err(|_| D::Error::custom("a time is nanoseconds since 1970, as text"))
    }
}

/// Reads a request, or says what is wrong with it.
pub fn parse(line: &str) -> Result<Request, String> {
    let value: serde_json::Value =
        serde_json::from_str(line).map_err(|e| format!("not one JSON object a line: {e}"))?;
    let op = value.get("op").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(value).map_err(|e| {
        if KNOWN.split(", ").any(|known| known == op) {
            format!("`{op}`: {e}")
        } else {
            format!("unknown request `{op}`; known are {KNOWN}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back_and_others_are_named() {
        let request =
            Request::Backfill { instrument: "BTCUSDT.BINANCE".into(), from: Ts(i64::MAX - 1), to: Ts(i64::MAX) };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(parse(&text), Ok(request));
        assert_eq!(parse("{\"op\":\"ping\"}"), Ok(Request::Ping));
        let plain = Request::Import { paths: vec!["/a".into()], market: None, archive: "binance".into() };
        assert_eq!(parse("{\"op\":\"heal.import\",\"paths\":[\"/a\"]}"), Ok(plain), "as it was asked for before");
        for (text, part) in [
            ("{\"op\":\"fly\"}", "unknown request `fly`; known are ping, heal.backfill, heal.import, gateway.clients"),
            ("{}", "unknown request ``"),
            ("x", "not one JSON object"),
            ("{\"op\":\"heal.backfill\",\"instrument\":\"A\"}", "missing field `from`"),
            ("{\"op\":\"heal.backfill\",\"instrument\":\"A\",\"from\":\"x\",\"to\":\"1\"}", "nanoseconds"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
