//! A demo under faults tells its availability, and `doctor` tells it again from what was kept.

mod common;

use common::demo;
use serde_json::Value;

#[test]
fn a_demo_tells_its_availability_and_doctor_finds_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &["--seconds", "8", "--faults", "mild", "--seed", "5"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|l| l.starts_with("availability: ")).unwrap_or_else(|| panic!("{said}"));
    for part in ["http ", "websocket ", "tape ", "line:", "not due: until first able"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let doctor = std::process::Command::new(env!("CARGO_BIN_EXE_wholetape"))
        .args(["doctor", "--json", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let kept = &found["availability"];
    assert_eq!(kept["ended"], true, "{kept}");
    for protocol in ["http", "websocket", "tape"] {
        let (due, able) = (&kept["run"][protocol]["due_ms"], &kept["run"][protocol]["able_ms"]);
        assert!(due.as_u64().unwrap() > 3_000 && able.as_u64() <= due.as_u64(), "{protocol}: {kept}");
        assert_eq!(kept["day"][protocol], kept["run"][protocol]);
    }
    let named = found["findings"].as_array().unwrap().iter().filter(|f| f["check"] == "availability").count();
    assert!(named >= 5, "each protocol, each line, and what is left out: {found}");
}
