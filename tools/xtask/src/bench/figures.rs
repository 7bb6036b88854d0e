//! All figures of one run, and how quard stands to the rival.
//! Never compares with another day's figures: both sides are from the same run.

use super::machine::Machine;
use super::outcome::{DemoOutcome, ExpiryOutcome, RivalOutcome};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What was measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    /// Where the mails came from.
    pub(super) mails: String,
    /// Mails fed while all nodes were up.
    pub(super) fed: u64,
    /// One for each number of copies, in the order asked for.
    pub(super) runs: Vec<DemoOutcome>,
    /// One store, as many messages as were fed.
    pub(super) expiry: ExpiryOutcome,
    pub(super) rival: Option<RivalOutcome>,
}

/// How many times quard is better than the rival; above 1 is better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ratios {
    /// Durable writes per second.
    pub(super) write: f64,
    /// Seconds until a node that was down has all it missed.
    pub(super) heal: f64,
    /// Seconds of `rm -rf` to seconds of expiry of as many messages or more; none without them.
    pub(super) remove: Option<f64>,
    /// Disk taken per byte of mail.
    pub(super) disk: f64,
}

impl Ratios {
    /// How a run stands to the rival.
    pub(super) fn of(run: &DemoOutcome, expiry: &ExpiryOutcome, rival: &RivalOutcome) -> Self {
        let is_as_much = expiry.messages >= rival.messages && expiry.unlinked_ms > 0.0;
        Self {
            write: run.messages_per_second / rival.write_messages_per_second,
            heal: rival.heal_seconds / run.heal_seconds,
            remove: is_as_much.then(|| rival.remove_seconds / expiry.seconds()),
            disk: rival.disk_of_raw() / run.disk_of_raw(),
        }
    }
}

impl Figures {
    /// The ratios of the first run: the one with most copies, unless asked for otherwise.
    pub(super) fn ratios(&self) -> Option<Ratios> {
        Some(Ratios::of(self.runs.first()?, &self.expiry, self.rival.as_ref()?))
    }

    /// One object: machine, quard, expiry, rival, ratios. Runs and rival as they came.
    pub(super) fn as_json(&self) -> Value {
        let runs = self.runs.iter();
        let quard: Map<String, Value> =
            runs.clone().map(|run| (format!("copies{}", run.copies), run.object.clone())).collect();
        let disk_of_raw: Map<String, Value> = runs
            .map(|run| (format!("copies{}", run.copies), json!(run.disk_of_raw())))
            .chain(self.rival.iter().map(|rival| ("rival".to_owned(), json!(rival.disk_of_raw()))))
            .collect();
        json!({
            "machine": self.machine,
            "mails": self.mails,
            "quard": quard,
            "expiry": self.expiry.object,
            "rival": self.rival.as_ref().map(|rival| &rival.object),
            "disk_of_raw": disk_of_raw,
            "ratios": self.ratios(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Figures, Ratios};
    use crate::bench::machine::Machine;
    use crate::bench::outcome::tests::{EXPIRY, RIVAL, demo};
    use crate::bench::outcome::{DemoOutcome, ExpiryOutcome, RivalOutcome};

    fn run(copies: u8) -> DemoOutcome {
        DemoOutcome::parse(&demo(copies), copies).expect("well-formed")
    }

    pub(crate) fn figures(with_rival: bool) -> Figures {
        Figures {
            machine: Machine {
                cores: 2,
                kernel: "6.1.0".to_owned(),
                cpu_model: "some CPU".to_owned(),
            },
            mails: "generated mail".to_owned(),
            fed: 5000,
            runs: vec![run(3), run(2)],
            expiry: ExpiryOutcome::parse(EXPIRY).expect("well-formed"),
            rival: with_rival.then(|| RivalOutcome::parse(RIVAL).expect("well-formed")),
        }
    }

    #[test]
    fn a_ratio_above_one_is_quard_ahead() {
        let ratios = figures(true).ratios().expect("a rival was run");
        for (ratio, expected) in [
            (ratios.write, 25.0),
            (ratios.heal, 150.0),
            (ratios.remove.expect("as many expired"), 1500.0),
            (ratios.disk, 3.8 / 0.41),
        ] {
            assert!((ratio - expected).abs() < 1e-9, "{ratio} is not {expected}");
        }
    }

    #[test]
    fn expiry_of_fewer_messages_than_the_rival_removed_gives_no_ratio() {
        let rival = RivalOutcome::parse(RIVAL).expect("well-formed");
        for (messages, unlinked_ms) in [(4999, 50.0), (5000, 0.0)] {
            let expiry = ExpiryOutcome { messages, unlinked_ms, ..figures(true).expiry };
            assert_eq!(Ratios::of(&run(3), &expiry, &rival).remove, None, "{expiry:?}");
        }
    }

    #[test]
    fn json_holds_runs_by_copies_and_the_rival_as_they_came() {
        let json = figures(true).as_json();
        assert_eq!(json["quard"]["copies3"]["released"], 50);
        assert_eq!(json["expiry"]["unlinked_ms"], 50.0);
        assert_eq!(json["quard"]["copies2"]["released"], 50);
        assert_eq!(json["rival"]["version"], "10.3");
        assert_eq!(json["machine"]["cores"], 2);
        assert_eq!(json["ratios"]["heal"], 150.0);
        assert_eq!(json["disk_of_raw"]["rival"], 3.8);
    }

    #[test]
    fn without_a_rival_there_are_no_ratios() {
        let json = figures(false).as_json();
        assert!(json["rival"].is_null() && json["ratios"].is_null());
        assert_eq!(json["disk_of_raw"]["copies2"], 0.41);
    }
}
