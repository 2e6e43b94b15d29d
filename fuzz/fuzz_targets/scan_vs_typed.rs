//! The fast scanner either declines a frame or gives exactly the typed decoder's events.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wholetape_model::Ts;
use wholetape_venue::binance::{Binance, limits::Variant};
use wholetape_venue::{Frame, Out, Session, SessionPlan};

fuzz_target!(|data: &[u8]| {
    for variant in [Variant::Spot, Variant::UsdM, Variant::CoinM] {
        let plan = SessionPlan::capture(variant.facts().name);
        let session = || Binance::new(variant, &plan).expect("an empty plan");
        let (mut fast, mut typed) = (session(), session().typed_only());
        let (mut a, mut b) = (Out::default(), Out::default());
        for frame in data.split(|b| *b == b'\n') {
            let one = fast.on_frame(Ts(1), Frame::Text(frame), &mut a);
            let two = typed.on_frame(Ts(1), Frame::Text(frame), &mut b);
            assert_eq!(one, two);
        }
        assert_eq!(a.events, b.events);
        assert_eq!(a.arena.levels, b.arena.levels);
        assert_eq!(a.arena.text, b.arena.text);
        assert_eq!(a.actions, b.actions);
        let mut stats = fast.stats().clone();
        stats.fallbacks = 0;
        assert_eq!(&stats, typed.stats());
    }
});
