//! The machine that figures were measured on, and whether it has anything else to do.
//! Never guesses: what /proc does not tell is an error or said to be unknown.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

/// The most that others may use of an idle machine.
pub(super) const IDLE_BUSY_PERCENT_MAX: f64 = 15.0;
const LOOK: Duration = Duration::from_secs(1);

/// What a reader needs to judge figures by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) cpu_model: String,
}

impl Machine {
    /// The machine that this runs on.
    pub(super) fn read() -> Result<Self> {
        let cpus = read("/proc/cpuinfo")?;
        Ok(Self {
            cores: thread::available_parallelism()?.get(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu_model: cpu_model(&cpus).unwrap_or("unknown CPU").to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, kernel, cpu_model } = self;
        write!(f, "{cores} cores, {cpu_model}, Linux {kernel}")
    }
}

/// How much of all cores is in use, over a second.
pub(super) fn busy_percent() -> Result<f64> {
    let before = Jiffies::read()?;
    thread::sleep(LOOK);
    Ok(Jiffies::read()?.busy_percent_since(before))
}

/// Time of all cores since the start, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Jiffies {
    idle: u64,
    all: u64,
}

impl Jiffies {
    fn read() -> Result<Self> {
        Self::parse(&read("/proc/stat")?).context("/proc/stat has no line of all CPUs")
    }

    /// user nice system idle iowait irq softirq steal; guests are in user already.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let numbers = line.split_whitespace().take(8).map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        let waiting = numbers.get(4)?;
        Some(Self { idle: numbers[3] + waiting, all: numbers.iter().sum() })
    }

    fn busy_percent_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle).min(all);
        if all == 0 {
            return 0.0;
        }
        (all - idle) as f64 * 100.0 / all as f64
    }
}

/// ARM kernels name no model.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim())
    })
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::{Jiffies, Machine, cpu_model};

    #[test]
    fn the_model_is_found_among_the_lines_of_a_core() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 49\nmodel name\t: AMD EPYC 7R32 48-Core\n";
        assert_eq!(cpu_model(cpuinfo), Some("AMD EPYC 7R32 48-Core"));
        assert_eq!(cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    #[test]
    fn waiting_for_the_disk_is_not_busy() {
        let before = Jiffies::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n");
        let after = Jiffies::parse("cpu  120 0 110 850 10 5 3 2 0 0\n");
        let (before, after) = (before.expect("well-formed"), after.expect("well-formed"));
        assert_eq!(after.all - before.all, 100);
        assert!((after.busy_percent_since(before) - 40.0).abs() < 1e-9);
        assert!(before.busy_percent_since(before).abs() < 1e-9);
    }

    #[test]
    fn a_line_that_is_not_of_all_cpus_is_none() {
        assert_eq!(Jiffies::parse("cpu0 1 2 3 4 5 6 7 8\n"), None);
        assert_eq!(Jiffies::parse("cpu  1 2 3\n"), None);
        assert_eq!(Jiffies::parse("cpu  1 2 x 4 5\n"), None);
    }

    #[test]
    fn a_machine_is_one_line() {
        let machine =
            Machine { cores: 2, kernel: "6.1.0".to_owned(), cpu_model: "some CPU".to_owned() };
        assert_eq!(machine.to_string(), "2 cores, some CPU, Linux 6.1.0");
    }
}
