//! The same bytes to our decoder and to tungstenite's: the same messages, the same verdict. The fuzz target `ws_vs_tungstenite` asks the
//! same of bytes that nobody would think of.

mod judge;

use proptest::prelude::*;
use wholetape_ws::{header, mask};

/// A frame that is right but for what `first` may be and what its payload says.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-zé漢😀]{0,30}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..20),
        2 => (any::<u16>(), "[a-zé]{0,9}").prop_map(|(code, why)| [&code.to_be_bytes()[..], why.as_bytes()].concat()),
        1 => (0_usize..judge::MESSAGE_MAX + 20).prop_map(|n| vec![b'x'; n]),
        // A piece of a character.
        1 => prop::sample::select(vec![vec![0xc3], vec![0xa9], vec![0xe6, 0xbc], vec![0xf0, 0x9f, 0x98]]),
    ];
    let key = prop_oneof![20 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    (first, payload, key).prop_map(|(first, mut payload, key)| {
        let (head, n) = header(first, payload.len(), key);
        if let Some(key) = key {
            mask(&mut payload, key, 0);
        }
        [&head[..n], &payload].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn frames_are_read_alike(
        frames in prop::collection::vec(frame(), 0..12),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        end in prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
    ) {
        let mut bytes = frames.concat();
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len() + 1));
        }
        judge::compare(&bytes, &cuts);
    }

    #[test]
    fn any_bytes_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..60), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
        judge::compare(&bytes, &cuts);
    }
}

#[test]
fn the_judge_can_tell_a_difference() {
    // A length in a longer form, which only one of them reads: what is behind it would differ.
    let long = [0x81, 0xfe, 0x00, 0x01, 0, 0, 0, 0, b'a'];
    judge::compare(&long, &[]);
    let refused = std::panic::catch_unwind(|| judge::differ(&long));
    assert!(refused.is_err());
}
