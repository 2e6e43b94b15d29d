//! Two JSON documents, and the paths at which they differ.

use serde_json::Value;

/// Calls `out` with path, expected and found of each difference; objects by their keys, lists by their places.
pub fn diff(path: &str, expected: &Value, found: &Value, out: &mut impl FnMut(&str, String, String)) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                match b.get(name) {
                    Some(other) => diff(&below(name), value, other, out),
                    None => out(&below(name), text(value), "absent".into()),
                }
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                out(&below(name), "absent".into(), text(value));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                diff(&below(&i.to_string()), x, y, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out(path, text(a), text(b)),
    }
}

/// A value in a line: long ones are cut.
fn text(value: &Value) -> String {
    let text = match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= 200 {
        return text;
    }
    text.chars().take(200).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_differs() {
        let a = serde_json::json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": [1]});
        let b = serde_json::json!({"a": 1, "b": {"c": [1, 3], "f": null}, "e": [1, 2]});
        let mut all = Vec::new();
        diff("", &a, &b, &mut |path, x, y| all.push(format!("{path} {x} {y}")));
        assert_eq!(all, ["b/c/1 2 3", "b/d x absent", "b/f absent null", "e [1] [1,2]"]);
        diff("", &a, &a, &mut |path, _, _| panic!("{path}"));
    }
}
