//! A message of the view `clean`: the one behind rows that were left out says so.

use crate::json::Json;

/// Makes of `text`, a message of ours, the one that a reader gets who stands at `prev` and was not given `omitted` rows in between:
/// its range begins at `prev`, and `omitted` follows its `seq`.
///
/// A message without `seq` stays as it is.
pub fn tell_omitted(text: &mut Vec<u8>, prev: u64, omitted: u64) {
    // In a string of ours every quote is escaped, so what is found is the key; it stands before anything a stranger wrote.
    let Some(seq) = find(text, b",\"seq\":") else { return };
    let from = find(&text[..seq], b",\"prev\":").unwrap_or(seq);
    let digits = text[seq + 7..].iter().take_while(|b| b.is_ascii_digit()).count();
    let to = seq + 7 + digits;
    let mut told = Vec::with_capacity(80);
    Json(&mut told).raw(",\"prev\":").u64(prev);
    told.extend_from_slice(&text[seq..to]);
    Json(&mut told).raw(",\"omitted\":").u64(omitted);
    text.splice(from..to, told);
}

fn find(text: &[u8], key: &[u8]) -> Option<usize> {
    text.windows(key.len()).position(|w| w == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, prev: u64, omitted: u64) -> String {
        let mut text = text.as_bytes().to_vec();
        tell_omitted(&mut text, prev, omitted);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_range_begins_with_the_reader() {
        let next = r#"{"op":"data","topic":"t.A.B","seq":42,"ts":7,"data":{"text":",\"seq\":1"}}"#;
        let want =
            r#"{"op":"data","topic":"t.A.B","prev":38,"seq":42,"omitted":3,"ts":7,"data":{"text":",\"seq\":1"}}"#;
        assert_eq!(told(next, 38, 3), want);
        assert_eq!(
            told(&next.replace(",\"seq\":42", ",\"prev\":30,\"seq\":42"), 38, 3),
            want,
            "what it says of others goes"
        );
        let mark = r#"{"op":"mark","topic":"t.A.B","prev":40,"seq":1040,"ts":7,"mark":"gap"}"#;
        assert_eq!(
            told(mark, 9, 1),
            r#"{"op":"mark","topic":"t.A.B","prev":9,"seq":1040,"omitted":1,"ts":7,"mark":"gap"}"#
        );
        assert_eq!(told("{\"op\":\"pong\"}", 1, 1), "{\"op\":\"pong\"}");
    }
}
