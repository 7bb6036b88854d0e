//! What two members that differ tell each other until they know what is missing, and negentropy for the same.
//! Real engines over real tries; frames go from one to the other in memory. Prints one JSON line for each case.
//!
//! ```text
//! wire MESSAGES     ten days of arrivals at random seconds; each case leaves some out on one side
//! ```

#![allow(missing_docs)]

mod pair;
mod rival;
mod world;

use pair::Pair;
use world::{Case, World};

const CASES: [Case; 6] = [
    Case::InSync,
    Case::Hour,
    Case::Day,
    Case::Scattered(100),
    Case::HourAnd(100),
    Case::Scattered(1000),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|text| text != "--bench");
    let Some(count) = arguments.next().and_then(|text| text.parse().ok()) else {
        eprintln!("usage: wire MESSAGES");
        return;
    };
    for classes in [1, 4] {
        let world = World::new(count, classes);
        for case in CASES {
            let missing = world.missing(case);
            // The lower member begins a round: it matters a little who of the two lacks something.
            for lacking in 0..2 {
                run(&world, case, &missing, lacking);
            }
        }
    }
}

fn run(world: &World, case: Case, missing: &[usize], lacking: usize) {
    let mut pair = Pair::new(world, missing, lacking);
    pair.connect();
    pair.run();
    assert!(pair.agree(), "{case:?}: the two do not come to have the same");
    let (greeting, comparison) = (pair.bytes_of(&[1, 2, 3, 7]), pair.bytes_of(&[4, 5, 6]));
    // Lots that are offered, taken, ended and left: nothing of what is missing is in them, but its keys.
    let (lots, bulk) = (pair.bytes_of(&[14, 15, 16, 17]), pair.bytes_of(&[8, 9]));
    let half_trips = pair.half_trips;
    // The next cutoff: whoever has the same says so, and nothing more.
    pair.tick();
    let again = pair.bytes_of(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 16, 17])
        - greeting
        - comparison
        - lots
        - bulk;
    let (rival_bytes, rival_half_trips) = rival::reconcile(world, missing);
    println!(
        "{{\"part\":\"wire\",\"messages\":{},\"classes\":{},\"case\":\"{}\",\"missing\":{},\
         \"lacks\":\"{}\",\"greeting_bytes\":{greeting},\"comparison_bytes\":{comparison},\
         \"lots_bytes\":{lots},\"round_trips\":{},\"bulk_bytes\":{bulk},\"next_cutoff_bytes\":{again},\
         \"negentropy_bytes\":{rival_bytes},\"negentropy_round_trips\":{}}}",
        world.len(),
        world.classes(),
        case.name(),
        missing.len(),
        ["lower", "higher"][lacking],
        half_trips as f64 / 2.0,
        rival_half_trips as f64 / 2.0,
    );
}
