//! What the demo and the rival's script print at their end, read and checked.
//! Never changes what they print: the object itself is kept as it came.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The final object of one `quard demo --json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct DemoOutcome {
    /// As it came.
    #[serde(skip)]
    pub(super) object: Value,
    pub(super) copies: u8,
    pub(super) raw_bytes: u64,
    pub(super) disk_bytes: Vec<u64>,
    pub(super) messages_per_second: f64,
    pub(super) replicated_everywhere_seconds: f64,
    pub(super) missed_while_down: u64,
    pub(super) heal_seconds: f64,
    pub(super) heal_bytes: u64,
    lost: u64,
    corrupted: u64,
    resurrected: u64,
}

/// The line of the bench `expiry` of quar-store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct ExpiryOutcome {
    /// As it came.
    #[serde(skip)]
    pub(super) object: Value,
    pub(super) messages: u64,
    pub(super) unlinked_ms: f64,
}

/// The final object of benches/rivals/glusterfs.sh.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct RivalOutcome {
    /// As it came.
    #[serde(skip)]
    pub(super) object: Value,
    pub(super) version: String,
    pub(super) messages: u64,
    pub(super) write_messages_per_second: f64,
    pub(super) missed: u64,
    pub(super) heal_seconds: f64,
    pub(super) remove_seconds: f64,
    pub(super) disk_bytes: Vec<u64>,
    pub(super) raw_bytes: u64,
}

impl DemoOutcome {
    /// Reads what a demo with so many `copies` printed.
    pub(super) fn parse(printed: &str, copies: u8) -> Result<Self> {
        let object = last_object(printed).context("quard demo --json")?;
        let read = || -> Result<Self> { Ok(serde_json::from_value(object.clone())?) };
        let outcome = Self { object: object.clone(), ..read().context("quard demo --json")? };
        ensure!(
            (outcome.lost, outcome.corrupted, outcome.resurrected) == (0, 0, 0),
            "figures of a demo that lost {}, corrupted {} and resurrected {} messages are none",
            outcome.lost,
            outcome.corrupted,
            outcome.resurrected
        );
        ensure!(
            outcome.copies == copies,
            "a demo for copies = {copies} ran with copies = {}",
            outcome.copies
        );
        check_disk(&outcome.disk_bytes, outcome.raw_bytes).context("quard demo --json")?;
        Ok(outcome)
    }

    /// Disk taken per byte of mail, on the node that took most.
    pub(super) fn disk_of_raw(&self) -> f64 {
        disk_of_raw(&self.disk_bytes, self.raw_bytes)
    }
}

impl ExpiryOutcome {
    /// Reads what the bench printed.
    pub(super) fn parse(printed: &str) -> Result<Self> {
        let read = || -> Result<Self> {
            let object = last_object(printed)?;
            Ok(Self { object: object.clone(), ..serde_json::from_value(object)? })
        };
        read().context("the bench expiry")
    }

    pub(super) fn seconds(&self) -> f64 {
        self.unlinked_ms / 1000.0
    }
}

impl RivalOutcome {
    /// Reads what the script printed.
    pub(super) fn parse(printed: &str) -> Result<Self> {
        let read = || -> Result<Self> {
            let object = last_object(printed)?;
            let outcome: Self = serde_json::from_value(object.clone())?;
            check_disk(&outcome.disk_bytes, outcome.raw_bytes)?;
            Ok(Self { object, ..outcome })
        };
        read().context("the rival's script")
    }

    /// Disk taken per byte of mail, on the brick that took most.
    pub(super) fn disk_of_raw(&self) -> f64 {
        disk_of_raw(&self.disk_bytes, self.raw_bytes)
    }
}

/// The JSON object on the last line that has any text.
fn last_object(printed: &str) -> Result<Value> {
    let mut lines = printed.lines().map(str::trim);
    let line = lines.rfind(|line| !line.is_empty());
    let line = line.context("prints nothing")?;
    let object: Value =
        serde_json::from_str(line).with_context(|| format!("ends with no JSON but: {line}"))?;
    ensure!(object.is_object(), "ends with JSON that is no object: {line}");
    Ok(object)
}

fn check_disk(disk_bytes: &[u64], raw_bytes: u64) -> Result<()> {
    ensure!(!disk_bytes.is_empty(), "names no disk bytes");
    ensure!(raw_bytes > 0, "names no raw bytes");
    Ok(())
}

fn disk_of_raw(disk_bytes: &[u64], raw_bytes: u64) -> f64 {
    let most = disk_bytes.iter().copied().max().unwrap_or_default();
    most as f64 / raw_bytes as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::{DemoOutcome, ExpiryOutcome, RivalOutcome, last_object};

    /// What a demo prints.
    pub(crate) fn demo(copies: u8) -> String {
        format!(
            "{{\"nodes\":3,\"messages\":10000,\"raw_bytes\":100000000,\
             \"disk_bytes\":[40000000,41000000,39000000],\"copies\":{copies},\
             \"ingest_seconds\":1.25,\"messages_per_second\":4000.0,\
             \"replicated_everywhere_seconds\":0.5,\"missed_while_down\":5000,\
             \"heal_seconds\":2.0,\"heal_bytes\":20000000,\"released\":50,\"deleted\":50,\
             \"lost\":0,\"corrupted\":0,\"resurrected\":0}}\n"
        )
    }

    pub(crate) const EXPIRY: &str = "{\"bench\":\"expiry\",\"messages\":5000,\
        \"hidden_ms\":1.0,\"unlinked_ms\":50.0,\"index_keys_gone_ms\":90.0}";

    pub(crate) const RIVAL: &str = "{\"rival\":\"glusterfs\",\"version\":\"10.3\",\
        \"messages\":5000,\"write_messages_per_second\":160.0,\"missed\":5000,\
        \"heal_seconds\":300.0,\"remove_seconds\":75.0,\
        \"disk_bytes\":[370000000,380000000,380000000],\"raw_bytes\":100000000}";

    fn error_of<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.expect_err("refused"))
    }

    #[test]
    fn figures_are_read_from_the_last_line_and_the_object_is_kept() {
        let printed = format!("starting\n{{\"old\":1}}\n{}\n\n", demo(3));
        let outcome = DemoOutcome::parse(&printed, 3).expect("well-formed");
        assert_eq!(outcome.object["released"], 50);
        assert!((outcome.disk_of_raw() - 0.41).abs() < 1e-9);
        let rival = RivalOutcome::parse(RIVAL).expect("well-formed");
        assert_eq!(rival.object["rival"], "glusterfs");
        assert!((rival.disk_of_raw() - 3.8).abs() < 1e-9);
    }

    #[test]
    fn an_expiry_is_read_in_seconds() {
        let printed = format!("     Running benches\n{EXPIRY}\n");
        let outcome = ExpiryOutcome::parse(&printed).expect("well-formed");
        assert_eq!((outcome.messages, outcome.seconds()), (5000, 0.05));
        assert!(error_of(ExpiryOutcome::parse("{}")).contains("messages"));
    }

    #[test]
    fn a_demo_that_lost_damaged_or_resurrected_a_message_has_no_figures() {
        for counter in ["lost", "corrupted", "resurrected"] {
            let printed = demo(3).replace(&format!("\"{counter}\":0"), &format!("\"{counter}\":2"));
            let error = error_of(DemoOutcome::parse(&printed, 3));
            assert!(error.contains(&format!("{counter} 2")), "{error}");
        }
    }

    #[test]
    fn a_demo_with_another_number_of_copies_is_refused() {
        let error = error_of(DemoOutcome::parse(&demo(2), 3));
        assert!(error.contains("copies = 2"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let printed = demo(3).replace("heal_bytes", "wire_bytes");
        let error = error_of(DemoOutcome::parse(&printed, 3));
        assert!(error.contains("heal_bytes"), "{error}");
        let error = error_of(RivalOutcome::parse(&RIVAL.replace("remove_seconds", "gone")));
        assert!(error.contains("remove_seconds"), "{error}");
    }

    #[test]
    fn a_rival_without_disk_or_mail_is_refused() {
        let no_disk = RIVAL.replace("[370000000,380000000,380000000]", "[]");
        assert!(error_of(RivalOutcome::parse(&no_disk)).contains("disk"));
        let no_mail = RIVAL.replace("\"raw_bytes\":100000000", "\"raw_bytes\":0");
        assert!(error_of(RivalOutcome::parse(&no_mail)).contains("raw"));
    }

    #[test]
    fn an_end_that_is_no_object_is_shown() {
        assert!(error_of(last_object(" \n\n")).contains("nothing"));
        assert!(error_of(last_object("{}\nkilled\n")).contains("killed"));
        assert!(error_of(last_object("[1]\n")).contains("no object"));
    }
}
