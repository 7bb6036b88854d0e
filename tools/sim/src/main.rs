//! `quar-sim`: lives the lives of many seeds and says what they contained and what did not hold.
//! Never exits with 0 when a statement was violated.
//!
//! Exit codes: 0 all hold, 1 something does not, 2 usage.

use clap::Parser;
use quar_sim::histogram::Histogram;
use quar_sim::life::{self, Lived};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Lives are made of small objects; a tenth less time than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lives whole lives of clusters and checks what must hold. One seed is one life.
#[derive(Debug, Parser)]
#[command(
    name = "quar-sim",
    after_help = "\
Examples:
  cargo run --release -p quar-sim -- --seeds 1000
  cargo run --release -p quar-sim -- --first-seed 17 --seeds 1 --trace
  cargo run --release -p quar-sim -- --first-seed 100000 --seeds 100000 --json

Exit codes: 0 all hold, 1 something does not, 2 usage."
)]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "N")]
    first_seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 300, value_name = "K")]
    seeds: u64,
    /// Print the whole trace of every life
    #[arg(long)]
    trace: bool,
    /// Print one object at the end, and nothing else but the progress
    #[arg(long)]
    json: bool,
    /// Go on after a violation
    #[arg(long)]
    keep_going: bool,
    /// Live every life twice, and compare the traces
    #[arg(long)]
    twice: bool,
    /// Threads; all processors by default
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// What all threads share.
struct Run {
    arguments: Arguments,
    next: AtomicU64,
    stops: AtomicBool,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    histogram: Histogram,
    violations: Vec<(u64, String)>,
    digest: [u8; 32],
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a violation, told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let threads = arguments.threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    });
    let run = Run {
        arguments,
        next: AtomicU64::new(0),
        stops: AtomicBool::new(false),
        done: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| run.work());
        }
    });
    run.report(started.elapsed().as_secs_f64())
}

impl Run {
    fn work(&self) {
        while !self.stops.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.arguments.seeds {
                return;
            }
            let seed = self.arguments.first_seed + number;
            let begun = Instant::now();
            let lived = life::live(seed, self.arguments.trace);
            let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let again = self.arguments.twice.then(|| life::live(seed, false).digest);
            self.take(seed, lived, milliseconds, again);
        }
    }

    fn take(&self, seed: u64, lived: Lived, milliseconds: u64, again: Option<[u8; 32]>) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.histogram.add(&lived.counts, milliseconds);
        for (all, one) in done.digest.iter_mut().zip(lived.digest) {
            *all ^= one;
        }
        let mut violations = Vec::new();
        violations.extend(lived.violation.map(|v| format!("{}: {}", v.invariant, v.what)));
        if again.is_some_and(|again| again != lived.digest) {
            violations.push("same seed, same trace: the second life had another".to_owned());
        }
        let is_shown = self.arguments.trace || !violations.is_empty();
        if is_shown && !self.arguments.json {
            println!("seed {seed}");
            lived.trace.iter().for_each(|line| println!("{line}"));
        }
        for violation in violations {
            if !self.arguments.json {
                println!("VIOLATION {violation}");
                println!("again: {}", command(seed));
            }
            done.violations.push((seed, violation));
            self.stops.store(!self.arguments.keep_going, Ordering::Relaxed);
        }
        let lives = done.histogram.lives;
        if lives.is_multiple_of(1000) {
            eprintln!("{lives} lives, {} violations", done.violations.len());
        }
    }

    fn report(self, seconds: f64) -> ExitCode {
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let digest: String = done.digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        if self.arguments.json {
            println!("{}", object(&done, &digest, seconds));
        } else {
            print(&done, &digest, seconds);
        }
        if done.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn command(seed: u64) -> String {
    format!("cargo run --release -p quar-sim -- --first-seed {seed} --seeds 1 --trace")
}

fn print(done: &Done, digest: &str, seconds: f64) {
    let lives = done.histogram.lives;
    println!("{:<44} {:>10} {:>12}", "", "lives with", "times");
    for ((group, name), (lives, times)) in &done.histogram.seen {
        println!("{group:<10} {name:<33} {lives:>10} {times:>12}");
    }
    println!("{:<34} {:>8} {:>8} {:>8} {:>8}", "a life has", "least", "median", "99 %", "most");
    for (name, spread) in done.histogram.spreads() {
        let (least, most) = (spread.least, spread.most);
        println!("{name:<34} {least:>8} {:>8} {:>8} {most:>8}", spread.median, spread.most_of_99);
    }
    let violations = done.violations.len();
    println!("{lives} lives in {seconds:.1} s, trace {digest}, {violations} violations");
    for (seed, violation) in &done.violations {
        println!("seed {seed}: {violation}");
    }
}

fn object(done: &Done, digest: &str, seconds: f64) -> serde_json::Value {
    let seen = done.histogram.seen.iter().map(|((group, name), (lives, times))| {
        (format!("{group}: {name}"), serde_json::json!({ "lives": lives, "times": times }))
    });
    let spreads = done.histogram.spreads().map(|(name, spread)| {
        let (least, median, most) = (spread.least, spread.median, spread.most);
        let most_of_99 = spread.most_of_99;
        let values =
            serde_json::json!({ "least": least, "median": median, "99": most_of_99, "most": most });
        (name.to_owned(), values)
    });
    let violations = done.violations.iter().map(
        |(seed, what)| serde_json::json!({ "seed": seed, "what": what, "again": command(*seed) }),
    );
    serde_json::json!({
        "lives": done.histogram.lives,
        "seconds": seconds,
        "trace": digest,
        "violations": violations.collect::<Vec<_>>(),
        "seen": seen.collect::<serde_json::Map<_, _>>(),
        "a life has": spreads.into_iter().collect::<serde_json::Map<_, _>>(),
    })
}
