//! `wholetape run` and `wholetape check`: the configured venues.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use wholetape_model::Kind;

use crate::cli;
use crate::config;
use crate::logging;
use crate::pipeline::{Pipeline, Plan};
use crate::signals;

pub fn check(args: &cli::Check) -> anyhow::Result<ExitCode> {
    let (_, problems) = config::load(&args.layers)?;
    if args.json {
        say!("{}", json!({"good": problems.is_empty(), "problems": problems}));
    } else if problems.is_empty() {
        say!("the configuration can be used");
    } else {
        say!("{}", config::Problems(problems.clone()));
    }
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}

pub fn run(args: &cli::Run) -> anyhow::Result<ExitCode> {
    let (config, planned) = config::planned(&args.layers)?;
    logging::start(&config.log);
    let mut listen = planned.listen;
    if let Some(port) = args.port {
        let mut addr: std::net::SocketAddr = listen.parse()?;
        addr.set_port(port);
        listen = addr.to_string();
    }
    let plan = Plan {
        dir: planned.data.join("tape"),
        tape: planned.tape,
        feed: planned.feed,
        gateway: planned.gateway,
        listen,
        control: Some(crate::control::socket_of(&planned.data)),
        store: planned.store,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(serve(args, plan));
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

async fn serve(args: &cli::Run, plan: Plan) -> anyhow::Result<ExitCode> {
    let mut stop = signals::Stop::new()?;
    let dir = plan.dir.display().to_string();
    let pipeline = Pipeline::start(plan).await?;
    let (addr, s) = (pipeline.addr, if pipeline.secure { "s" } else { "" });
    if args.json {
        say!(
            "{}",
            json!({"event": "started", "page": format!("http{s}://{addr}/"), "client": format!("ws{s}://{addr}/v1/ws"), "tape": dir, "epoch": pipeline.tape.epoch()})
        );
    } else {
        say!("page    http{s}://{addr}/\nclient  ws{s}://{addr}/v1/ws\ntape    {dir}");
    }
    let over = async {
        match args.seconds {
            Some(n) => tokio::time::sleep(Duration::from_secs(n)).await,
            None => std::future::pending().await,
        }
    };
    let failed = tokio::select! {
        () = stop.asked() => None,
        () = over => None,
        () = pipeline.feed_ended() => Some(pipeline.fatal().unwrap_or_else(|| "the feed ended".into())),
    };
    pipeline.stop_feed().await?;
    let available = pipeline.availability();
    let held: std::collections::BTreeMap<String, u64> =
        pipeline.tape.topics().into_iter().map(|t| (t.topic.to_string(), t.head)).collect();
    pipeline.stop().await?;
    if args.json {
        say!("{}", json!({"event": "stopped", "failed": failed, "heads": held, "availability": available}));
    } else {
        let rows: u64 = held.values().sum();
        let trades: u64 =
            held.iter().filter(|(t, _)| t.starts_with(&format!("{}.", Kind::Trade))).map(|(_, n)| n).sum();
        say!("stopped: {} topics, {rows} records on the tape, {trades} in trade topics", held.len());
        say!("{}", crate::availability::line(&available));
    }
    match failed {
        Some(why) => anyhow::bail!("{why}"),
        None => Ok(ExitCode::SUCCESS),
    }
}
