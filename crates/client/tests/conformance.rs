//! `clients/conformance`: what every client must do, step by step on a virtual clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use wholetape_client::{Action, Config, Core, Cursor, Event, Publication, State, Sub};

fn shown(action: Action) -> Value {
    let event = match action {
        Action::Connect => return json!({"connect": true}),
        Action::Send(message) => return json!({"send": message}),
        Action::Close(code) => return json!({"close": code}),
        Action::Tell(event) => event,
    };
    match event {
        Event::State(state) => {
            let mut shown = json!({"state": state.name()});
            match state {
                State::Waiting { tries, delay_ms, code } => {
                    (shown["tries"], shown["delay_ms"], shown["code"]) = (json!(tries), json!(delay_ms), json!(code));
                }
                State::Closed { code } => shown["code"] = json!(code),
                State::Denied { code } => shown["code"] = json!(code),
                _ => {}
            }
            shown
        }
        Event::Topic { topic, state } => json!({"topic": topic, "state": state.name()}),
        Event::Message { message, .. } => json!({"message": message}),
        Event::Rows { topic, rows, .. } => json!({"topic": topic, "rows": rows}),
        Event::Missed { topic, from, to, why, .. } => json!({"topic": topic, "missed": [from, to, why]}),
        Event::Published { mid, answer } => json!({"published": mid, "answer": answer}),
        Event::Unpublished { mid, error } => json!({"unpublished": mid, "error": error}),
        Event::Error(message) => json!({"error": message}),
        Event::Notice(message) => json!({"notice": message}),
        Event::Malformed(_) => json!({"malformed": true}),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn sub(keys: &Value) -> Sub {
    let mut keys: Map<String, Value> = keys.as_object().expect("object").clone();
    let topic = text(&keys.remove("topic").expect("topic"));
    let from = keys.remove("from").unwrap_or(json!("live"));
    let start = match (&from, Cursor::from_json(&from)) {
        (_, Some(cursor)) => Sub::after(topic, &cursor),
        (Value::String(word), None) if word == "live" => Sub::live(topic),
        (Value::String(_), None) => Sub::earliest(topic),
        (from, None) if from["last"].is_u64() => Sub::last(topic, from["last"].as_u64().unwrap()),
        (from, None) => Sub::since(topic, from["ts"].as_i64().expect("ts")),
    };
    let start = match keys.remove("credit") {
        Some(credit) => start.with_credit(credit.as_u64().expect("credit")),
        None => start,
    };
    keys.into_iter().fold(start, |sub, (key, value)| sub.with(&key, value))
}

struct Runner {
    core: Core,
    /// What was delivered last, by topic.
    delivered: BTreeMap<String, Cursor>,
}

impl Runner {
    fn step(&mut self, now: u64, step: &Value) -> Vec<Value> {
        let core = &mut self.core;
        let timer = core.next_timer();
        if step["timer"] == true {
            assert_eq!(timer, Some(now), "the timer");
        } else {
            assert!(timer.is_none_or(|at| at >= now), "the timer of {timer:?} was passed over at {now}");
        }
        let keys = step.as_object().expect("object");
        let what = keys.keys().find(|key| !["at", "out", "positions", "roll", "next"].contains(&key.as_str()));
        match (what.map(String::as_str), what.map(|key| &step[key])) {
            (Some("start"), _) => core.start(now),
            (Some("stop"), _) => core.stop(now),
            (Some("sub"), Some(v)) => core.subscribe(now, sub(v)),
            (Some("unsub"), Some(v)) => core.unsubscribe(now, &text(v)),
            (Some("resync"), Some(v)) => core.resync(now, &text(&v["topic"]), v["whole"] == true),
            (Some("flow"), Some(v)) => {
                core.flow(now, &text(&v["topic"]), v["credit"].as_u64().expect("credit")).expect("credit");
            }
            (Some("processed"), Some(v)) => {
                let topic = text(v);
                let cursor = self.delivered.get(&topic).expect("something was delivered").clone();
                core.processed(now, &topic, &cursor);
            }
            (Some("pub"), Some(v)) => {
                let publication = Publication {
                    mid: text(&v["mid"]),
                    topic: text(&v["topic"]),
                    event: text(&v["event"]),
                    data: v["data"].clone(),
                    if_seq: v["if_seq"].as_u64(),
                };
                core.publish(now, publication).expect("room");
            }
            (Some("open"), _) => core.on_open(now),
            (Some("alive"), _) => core.on_alive(now),
            (Some("recv"), Some(v)) => core.on_text(now, &v.to_string()),
            (Some("text"), Some(v)) => core.on_text(now, &text(v)),
            (Some("closed"), Some(v)) => {
                let code = v.as_u64().map(|code| u16::try_from(code).expect("code"));
                core.on_closed(now, code, step["roll"].as_f64().unwrap_or(0.5));
            }
            (Some("timer"), _) => core.on_timer(now),
            (None, _) => {}
            (Some(other), _) => panic!("no such step: {other}"),
        }
        let actions = core.take();
        for action in &actions {
            if let Action::Tell(event) = action
                && let Some((topic, cursor)) = event.place()
            {
                self.delivered.insert(topic.to_owned(), cursor.clone());
            }
        }
        if let Some(want) = keys.get("positions") {
            let held: Map<String, Value> = core.positions().into_iter().map(|(t, c)| (t, c.to_json())).collect();
            assert_eq!(&Value::Object(held), want, "positions");
        }
        if let Some(want) = keys.get("next") {
            assert_eq!(&json!(core.next_timer()), want, "next timer");
        }
        actions.into_iter().map(shown).collect()
    }
}

fn run(file: &str, case: &Value, preludes: &Value) {
    let name = format!("{file}: {}", text(&case["name"]));
    let stored = case["stored"].as_object().into_iter().flatten();
    let stored = stored.map(|(topic, cursor)| (topic.clone(), Cursor::from_json(cursor).expect("cursor")));
    let config = Config { agent: "test".into(), renewable: case["renewable"] == true, ..Config::default() };
    let mut runner = Runner { core: Core::new(config).with_positions(stored), delivered: BTreeMap::new() };
    let begin = case["begin"].as_str().map_or(&Value::Null, |begin| &preludes[begin]);
    let (mut now, mut passed) = (0, 0);
    for step in begin.as_array().into_iter().flatten().chain(case["steps"].as_array().expect("steps")) {
        now = step["at"].as_u64().unwrap_or(now);
        println!("{name}: step {passed}: {step}");
        let out = runner.step(now, step);
        assert_eq!(json!(out), step.get("out").cloned().unwrap_or(json!([])), "what came out");
        passed += 1;
    }
}

#[test]
fn every_vector_passes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/conformance");
    let (mut cases, mut failed) = (0, Vec::new());
    let mut files: Vec<_> = fs::read_dir(dir).expect("clients/conformance").map(|f| f.expect("file").path()).collect();
    files.sort();
    let preludes: Value =
        serde_json::from_str(&fs::read_to_string(files[0].with_file_name("preludes.json")).expect("preludes"))
            .expect("json");
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let name = file.file_stem().expect("name").to_string_lossy().into_owned();
        let all: Value = serde_json::from_str(&fs::read_to_string(file).expect("file")).expect("json");
        for case in all["cases"].as_array().into_iter().flatten() {
            cases += 1;
            if std::panic::catch_unwind(|| run(&name, case, &preludes)).is_err() {
                failed.push(format!("{name}: {}", case["name"]));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {cases} cases failed:\n{}", failed.len(), failed.join("\n"));
    assert!(cases >= 60, "only {cases} cases");
}
