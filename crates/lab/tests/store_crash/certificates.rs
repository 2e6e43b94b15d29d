//! The chain of certificates, on a disk that dies at any step of issuing one, of a late heal, and of the revision that follows.

use std::time::Duration;

use wholetape_store::cert::sign::Signer;
use wholetape_store::writer::Pace;

use crate::store_world::{EAGER, World};
use crate::{HOUR, repeat, survives};

const SECRET: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";

fn story(seed: u64) -> u64 {
    let mut w = World::new(seed, Pace { seal_after: Duration::ZERO, ..EAGER });
    w.signer = w.dice.one_in(2).then(|| Signer::parse(SECRET).expect("a key"));
    w.start_checked();
    let (mut typical, mut died, mut issued) = (60, 0, 0);
    for _ in 0..9 {
        // Rows of a new day, late ones of sealed days, or both.
        if w.dice.one_in(2) {
            let (rows, ns) = (w.dice.between(10, 50), w.dice.between(5, 40) as i64 * HOUR);
            w.write(rows, ns);
        }
        if w.dice.one_in(2) {
            w.heal(3);
        }
        let flush = w.dice.one_in(2);
        died += u64::from(!survives(&mut w, &mut typical, |w| {
            w.poll()?;
            if flush {
                w.flush()?;
            }
            w.tend()
        }));
        // The files that a crash left without a line are issued again, or taken away.
        let done = w.poll().and_then(|()| w.flush()).and_then(|()| w.tend());
        w.well(done);
        w.check();
        let report = w.verify();
        if report.certificates < issued {
            w.fail(&format!("{issued} certificates were issued, {} are there", report.certificates));
        }
        issued = report.certificates;
        if w.signer.is_some() && report.signed != issued {
            w.fail(&format!("{} of {issued} certificates are signed", report.signed));
        }
        let failed = format!("{:?}", w.process().follower.uncertified());
        if failed != "[]" {
            w.fail(&failed);
        }
        w.note();
    }
    w.finish();
    w.verify();
    died
}

#[test]
fn the_chain_of_certificates_survives_crashes() {
    repeat("certificates", story);
}
