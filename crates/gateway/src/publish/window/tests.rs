//! The window against a list of everything that was ever published.

use proptest::prelude::*;

use super::*;

const S: i64 = 1_000_000_000;

fn topic() -> Topic {
    Topic::parse("c4.game.1").unwrap()
}

fn window(each: usize, all: usize, used: usize) -> Window {
    Window::new(Bounds { age: Duration::from_secs(600), each, all, used })
}

fn publish(w: &mut Window, principal: &str, mid: &str, seq: u64, at: i64) {
    w.keep(&principal.into(), mid, 1, seq, Ts(at), true);
}

#[test]
fn a_name_is_known_within_the_window_then_known_to_be_used_then_told_by_its_time() {
    let mut w = window(10, 100, 2);
    let ulid = "01ARYZ6S41TSV4RRFFQ69G5FAV";
    let made = name::time_of(ulid).unwrap().0;
    publish(&mut w, "k", ulid, 7, made);
    w.expire(Ts(made + 599 * S));
    assert_eq!(w.see("k", ulid, 1), Known::Same { seq: 7, sure: true });
    assert_eq!(w.see("k", ulid, 2), Known::Another);
    assert_eq!(w.see("other", ulid, 1), Known::New);
    w.expire(Ts(made + 601 * S));
    assert_eq!((w.see("k", ulid, 1), w.len()), (Known::Expired, 0));
    // Two more names behind it: it is not even known to be used, but it is older than what is known.
    for (i, mid) in ["a", "b"].into_iter().enumerate() {
        publish(&mut w, "k", mid, 8, made + 700 * S + i as i64);
    }
    w.expire(Ts(made + 2_000 * S));
    assert_eq!([w.see("k", "a", 1), w.see("k", "b", 1)], [Known::Expired, Known::Expired]);
    assert_eq!(w.see("k", ulid, 1), Known::New, "its own minute is the skew that is allowed");
    w.know_since(Ts(made + 61 * S));
    assert_eq!(w.see("k", ulid, 1), Known::Expired);
    assert_eq!(w.see("k", "any other", 1), Known::New);
}

#[test]
fn what_was_taken_back_may_come_again() {
    let mut w = window(10, 100, 100);
    w.keep(&"k".into(), "m", 1, 5, Ts(0), false);
    assert_eq!(w.see("k", "m", 1), Known::Same { seq: 5, sure: false });
    w.forget("k", "m");
    assert_eq!((w.see("k", "m", 1), w.len()), (Known::New, 0));
    w.keep(&"k".into(), "m", 1, 6, Ts(10 * S), false);
    w.confirm("k", "m");
    assert_eq!(w.see("k", "m", 1), Known::Same { seq: 6, sure: true });
    w.expire(Ts(605 * S));
    assert_eq!(w.see("k", "m", 1), Known::Same { seq: 6, sure: true }, "the first one's place in the order is not its");
    w.expire(Ts(611 * S));
    assert_eq!(w.see("k", "m", 1), Known::Expired);
}

#[derive(Debug, Clone)]
enum Step {
    /// Principal, name, what is published.
    Publish(u8, u8, u8),
    /// As it, and the disk fails.
    Fail(u8, u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..3, 0_u8..40, 0_u8..2).prop_map(|(p, m, d)| Step::Publish(p, m, d)),
        1 => (0_u8..3, 0_u8..40).prop_map(|(p, m)| Step::Fail(p, m)),
        2 => (0_u16..400).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No name is ever taken twice; within the window it is answered as the first time; and whatever else is said is so.
    #[test]
    fn each_name_happens_once(steps in prop::collection::vec(step(), 0..200), each in 1_usize..12, all in 1_usize..30) {
        let mut w = window(each, all, 1_000);
        let (mut now, mut seq) = (0_i64, 0_u64);
        // Everything that happened: principal, name, data, seq, time.
        let mut truth: Vec<(u8, u8, u8, u64, i64)> = Vec::new();
        for step in steps {
            w.expire(Ts(now));
            match step {
                Step::Wait(s) => now += i64::from(s) * S,
                Step::Fail(p, m) => {
                    let (principal, mid) = (p.to_string(), m.to_string());
                    if w.see(&principal, &mid, 9) == Known::New {
                        w.keep(&principal.as_str().into(), &mid, 9, seq + 1, Ts(now), false);
                        w.forget(&principal, &mid);
                    }
                }
                Step::Publish(p, m, d) => {
                    now += 1;
                    let (principal, mid) = (p.to_string(), m.to_string());
                    let happened = truth.iter().find(|t| (t.0, t.1) == (p, m)).copied();
                    match (w.see(&principal, &mid, u64::from(d)), happened) {
                        (Known::New, None) => {
                            seq += 1;
                            w.keep(&principal.as_str().into(), &mid, u64::from(d), seq, Ts(now), false);
                            w.confirm(&principal, &mid);
                            truth.push((p, m, d, seq, now));
                        }
                        (Known::Same { seq, sure }, Some(t)) => prop_assert_eq!((seq, sure, d), (t.3, true, t.2)),
                        (Known::Another, Some(t)) => prop_assert_ne!(d, t.2),
                        (Known::Expired, Some(t)) => {
                            // One more than there were may have been there for a moment: it failed.
                            let since = truth.iter().filter(|o| o.0 == p && o.3 > t.3).count() + 1;
                            // Where all together are too many, those of the principal with most go: of three, a third at least.
                            let share = ((all + 1) / 3).saturating_sub(all / 16 + 2);
                            let aged = t.4 < now - 1 - 600 * S;
                            prop_assert!(aged || since >= each || since > share, "{:?} of {}", t, now);
                        }
                        (said, happened) => prop_assert!(false, "{:?}, and in truth {:?}", said, happened),
                    }
                }
            }
            prop_assert!(w.len() <= all && w.by_principal.values().all(|n| n.by_mid.len() <= each));
        }
    }
}

#[test]
fn how_data_is_written_is_no_difference() {
    let of = |data| print(&topic(), "e", data);
    assert_eq!(of(r#"{"a": 1, "b":2.50}"#), of(r#"{"b":2.5,"a":1}"#));
    assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
    assert_ne!(print(&topic(), "e", "{}"), print(&topic(), "f", "{}"));
}
