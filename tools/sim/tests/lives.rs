//! Lives of many seeds hold, and each is the same life every time.

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_quar-sim"));
    simulator.args(arguments).output().expect("the simulator was built")
}

#[test]
fn what_must_hold_holds_in_three_hundred_lives() {
    let output = simulate(&["--seeds", "300", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    println!("{text}");
    let object: serde_json::Value = serde_json::from_str(&text).expect("one object");
    let of =
        |what: &str, which: &str| object["a life has"][what][which].as_u64().expect("a number");
    assert!(of("members at the start", "least") >= 3);
    assert!(of("operations", "median") >= 200);
    assert!(of("kinds of fault", "median") >= 5);
}

#[test]
fn the_same_seeds_have_the_same_traces_in_other_processes_and_on_other_threads() {
    let trace = |threads: &str| {
        let output = simulate(&["--seeds", "12", "--json", "--threads", threads]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let object: serde_json::Value = serde_json::from_str(&text).expect("one object");
        object["trace"].as_str().expect("a digest").to_owned()
    };
    assert_eq!(trace("1"), trace("2"));
    let other = simulate(&["--first-seed", "12", "--seeds", "12", "--json"]);
    assert!(!String::from_utf8_lossy(&other.stdout).contains(&trace("2")));
}
