//! `wholetape gateway key`: the file of keys, which a running gateway follows.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use serde_json::json;
use wholetape_gateway::auth::keyring::Keyring;
use wholetape_gateway::auth::write::{Revoked, new_key, revoke};

use crate::cli::{GatewayKey, KeyFile};
use crate::config;

pub fn run(args: &GatewayKey) -> anyhow::Result<ExitCode> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    match args {
        GatewayKey::New(args) => {
            let path = file(&args.file)?;
            let key = new_key(&path, &args.name, &args.sub, (&args.publish, args.prio.as_deref()), &now)?;
            if args.json {
                say!("{}", json!({"id": key.id, "secret": key.secret, "file": path}));
            } else {
                say!("id      {}\nsecret  {}\nfile    {}", key.id, key.secret, path.display());
                eprintln!("the secret is kept nowhere: this is the only time that it is shown");
            }
        }
        GatewayKey::Revoke(args) => {
            let path = file(&args.file)?;
            let whom = match (&args.id, &args.kid, &args.jti) {
                (Some(id), ..) => Revoked::Key(id.clone()),
                (_, Some(kid), _) => Revoked::Issuer(kid.clone()),
                (.., Some(jti)) => Revoked::Token(jti.clone()),
                _ => anyhow::bail!("name a key, --kid or --jti"),
            };
            revoke(&path, &whom, &now)?;
            if args.json {
                say!("{}", json!({"revoked": args.id, "kid": args.kid, "jti": args.jti, "at": now}));
            } else {
                say!("revoked; a running gateway ends its connections within a second");
            }
        }
        GatewayKey::Ls(args) => {
            let ring = Keyring::read(&file(&args.file)?)?;
            if args.json {
                let all = ring.listed().iter().map(|k| {
                    json!({"id": k.id, "alg": k.alg, "name": k.name, "created": k.created, "sub": k.may.read, "pub": k.may.publish, "prio": k.may.prio.map(|c| c.as_str()), "revoked": k.revoked})
                });
                say!("{}", json!({"keys": all.collect::<Vec<_>>()}));
            } else {
                for k in ring.listed() {
                    let state = if k.revoked { "revoked" } else { k.alg };
                    say!("{:<26}  {:<7}  {:<20}  {:<20}  {}", k.id, state, k.name, k.created, k.may.read.join(" "));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn file(args: &KeyFile) -> anyhow::Result<PathBuf> {
    if let Some(path) = &args.keys {
        return Ok(path.clone());
    }
    // What is wrong elsewhere does not matter here; the file itself may be yet to be made.
    let (config, _) = config::load(&args.layers)?;
    config
        .gateway
        .auth
        .keys
        .context("no file of keys: name one with --keys FILE, or gateway.auth.keys in the configuration (-c)")
}
