//! The fast scanner of Bybit either declines a frame or gives exactly the typed decoder's events.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wholetape_venue::SessionPlan;
use wholetape_venue::bybit::{Bybit, limits::Market};

fuzz_target!(|data: &[u8]| {
    for market in Market::ALL {
        let session = || Bybit::new(market, &SessionPlan::capture(market.name())).expect("an empty plan");
        wholetape_fuzz::equal(&mut session(), &mut session().typed_only(), data);
    }
});
