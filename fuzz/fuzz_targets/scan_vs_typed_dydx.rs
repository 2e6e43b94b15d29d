//! The fast scanner of dYdX either declines a frame or gives exactly the typed decoder's events. Best prices are asked for as well, so that
//! the books behind them are compared.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wholetape_venue::dydx::Dydx;
use wholetape_venue::{Channel, SessionPlan};

fuzz_target!(|data: &[u8]| {
    let channels = vec![Channel::Trade, Channel::Book, Channel::Quote, Channel::Liquidation];
    let plan = SessionPlan { channels, ..SessionPlan::capture("dydx") };
    let session = || Dydx::new(&plan).expect("channels that are offered");
    wholetape_fuzz::equal(&mut session(), &mut session().typed_only(), data);
});
