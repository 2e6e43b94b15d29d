//! The side of the process that owns the data directory.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use wholetape_feed::worker::Asker;
use wholetape_gateway::clients::Clients;
use wholetape_tape::Tape;

use super::{LINE_MAX, Request, heal, parse};
use crate::clients;
use crate::import;
use crate::import::find::Wanted;

/// Conversations at a time; more are refused at once.
const CONVERSATIONS_MAX: usize = 32;

/// What requests may reach.
#[derive(Clone)]
pub struct Reach {
    pub tape: Tape,
    pub asker: Asker,
    pub clients: Clients,
}

/// A socket that is being served; its file goes with it.
pub struct Control {
    task: JoinHandle<()>,
    stop: CancellationToken,
    path: PathBuf,
}

impl Control {
    /// Serves `path`. The caller owns the data directory (holds its lock), so a socket that lies there is left over.
    ///
    /// # Errors
    /// When the socket cannot be made, e.g. because the path is longer than 107 bytes.
    pub fn start(path: &Path, reach: Reach) -> anyhow::Result<Self> {
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(path).with_context(|| format!("cannot remove the old {}", path.display()))?;
        }
        // Made under a name that nobody knows, then made private, then named: no moment when others may connect.
        let hidden = path.with_extension(format!("{}", std::process::id()));
        let _ = std::fs::remove_file(&hidden);
        let listener = UnixListener::bind(&hidden)
            .with_context(|| format!("cannot make {}: a shorter data path may help", hidden.display()))?;
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&hidden, path))
            .with_context(|| format!("cannot make {} private", path.display()))?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, reach, stop.clone()));
        Ok(Self { task, stop, path: path.to_owned() })
    }

    /// Ends conversations and removes the socket.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(listener: UnixListener, reach: Reach, stop: CancellationToken) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = talks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if talks.len() < CONVERSATIONS_MAX => {
                    talks.spawn(talk(stream, reach.clone(), stop.clone()));
                }
                Ok((mut stream, _)) => {
                    let _ = say(&mut stream, &error("too many requests at a time")).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
    while talks.join_next().await.is_some() {}
}

fn error(why: &str) -> Value {
    json!({"event": "error", "error": why})
}

async fn say(stream: &mut (impl AsyncWriteExt + Unpin), value: &Value) -> std::io::Result<()> {
    stream.write_all(format!("{value}\n").as_bytes()).await
}

/// Work whose progress is told until it ends. Nothing more is expected of the other side: what comes is that it hangs up, which ends
/// the order.
async fn converse<W: Future<Output = Result<Value, String>>>(
    read: &mut (impl AsyncReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
    stop: &CancellationToken,
    work: impl FnOnce(mpsc::Sender<Value>, CancellationToken) -> W,
) -> Value {
    let wish = stop.child_token();
    let (tell, mut told) = mpsc::channel(4);
    let mut running = std::pin::pin!(work(tell, wish.clone()));
    let mut rest = [0_u8; 64];
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            Some(value) = told.recv() => if say(write, &value).await.is_err() {
                wish.cancel();
            },
            got = read.read(&mut rest), if !wish.is_cancelled() => if !got.is_ok_and(|n| n > 0) {
                wish.cancel();
            },
        }
    };
    ended.unwrap_or_else(|why| error(&why))
}

/// One request and its answer.
async fn talk(stream: UnixStream, reach: Reach, stop: CancellationToken) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read.take(LINE_MAX));
    let mut line = String::new();
    let asked = tokio::select! {
        () = stop.cancelled() => return,
        got = tokio::time::timeout(std::time::Duration::from_secs(10), read.read_line(&mut line)) => got,
    };
    let request = match asked {
        Ok(Ok(_)) if line.ends_with('\n') => parse(line.trim()),
        _ => Err(format!("a request is one line of at most {LINE_MAX} bytes, within 10 s")),
    };
    let last = match request {
        Ok(Request::Ping) => {
            json!({"event": "done", "pid": std::process::id(), "epoch": reach.tape.epoch().to_string()})
        }
        Ok(Request::Backfill { instrument, from, to }) => {
            let stretch = heal::Stretch { instrument, from, to };
            let work = |tell, wish| heal::run(reach.tape, reach.asker, stretch, tell, wish);
            converse(&mut read, &mut write, &stop, work).await
        }
        Ok(Request::Import { paths, market, archive }) => match Wanted::parse(&archive, market.as_deref()) {
            Ok(wanted) => {
                let order = import::job::Order { paths: paths.into_iter().map(PathBuf::from).collect(), wanted };
                let bulk = Box::new(import::bulk::NoCatalog::RUNNING);
                let work = |tell, wish| import::run(reach.tape, Some(reach.asker), bulk, order, tell, wish);
                converse(&mut read, &mut write, &stop, work).await
            }
            Err(why) => error(&why.to_string()),
        },
        Ok(Request::Clients) => clients::list(&reach.clients).await,
        Ok(Request::Kick { whom }) => clients::kick(&reach.clients, &whom).await.unwrap_or_else(|why| error(&why)),
        Err(why) => error(&why),
    };
    let _ = say(&mut write, &last).await;
    let _ = write.shutdown().await;
}
