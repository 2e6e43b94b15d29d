//! The fast scanner of OKX either declines a frame or gives exactly the typed decoder's events.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wholetape_venue::SessionPlan;
use wholetape_venue::okx::Okx;

fuzz_target!(|data: &[u8]| {
    let session = || Okx::new(&SessionPlan::capture("okx")).expect("an empty plan");
    wholetape_fuzz::equal(&mut session(), &mut session().typed_only(), data);
});
