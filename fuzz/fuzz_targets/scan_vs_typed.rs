//! The fast scanner either declines a frame or gives exactly the typed decoder's events.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wholetape_venue::SessionPlan;
use wholetape_venue::binance::{Binance, limits::Variant};

fuzz_target!(|data: &[u8]| {
    for variant in [Variant::Spot, Variant::UsdM, Variant::CoinM] {
        let plan = SessionPlan::capture(variant.facts().name);
        let session = || Binance::new(variant, &plan).expect("an empty plan");
        wholetape_fuzz::equal(&mut session(), &mut session().typed_only(), data);
    }
});
