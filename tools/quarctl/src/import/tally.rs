//! What became of the messages of an import, counted and listed.
//! Never more than a bounded number of names.

use crate::failure::Ending;
use crate::output::{Output, count, plain};
use serde::Serialize;

/// Names of messages kept for the final report, of each kind.
const LISTED_MAX: usize = 1000;
/// Of these, shown to people.
const SHOWN_MAX: usize = 20;

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new, and durable.
    Stored,
    /// It was here before.
    Duplicate,
    /// Its class no longer keeps mail of its day.
    TooOld,
    /// It was imported before, and deleted since.
    Deleted,
    /// It cannot be stored.
    Failed(String),
}

#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
struct Trouble {
    path: String,
    error: String,
}

/// The counts of an import.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    stored: u64,
    duplicates: u64,
    too_old: u64,
    deleted_before: u64,
    failed: u64,
    /// Files that are not mail, or not regular files.
    skipped: u64,
    too_old_paths: Vec<String>,
    failures: Vec<Trouble>,
}

impl Tally {
    pub fn new(skipped: u64) -> Self {
        Self { skipped, ..Self::default() }
    }

    pub fn count(&mut self, shown: &str, outcome: Outcome) {
        match outcome {
            Outcome::Stored => self.stored += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Deleted => self.deleted_before += 1,
            Outcome::TooOld => {
                self.too_old += 1;
                if self.too_old_paths.len() < LISTED_MAX {
                    self.too_old_paths.push(shown.to_owned());
                }
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                let path = shown.to_owned();
                if self.failures.len() < LISTED_MAX {
                    self.failures.push(Trouble { path, error });
                }
            }
        }
    }

    /// The counts on one line, those that are 0 left out.
    pub fn line(&self) -> String {
        let counts = [
            ("stored", self.stored),
            ("here before", self.duplicates),
            ("too old", self.too_old),
            ("deleted before", self.deleted_before),
            ("failed", self.failed),
            ("skipped", self.skipped),
        ];
        let named = counts.into_iter().filter(|(name, number)| *number > 0 || *name == "stored");
        let named = named.map(|(name, number)| format!("{} {name}", count(number)));
        named.collect::<Vec<_>>().join(", ")
    }

    pub fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(self);
        }
        for path in self.too_old_paths.iter().take(SHOWN_MAX) {
            output.remark(format!("too old: {path}"));
        }
        and_more(self.too_old, output);
        for Trouble { path, error } in self.failures.iter().take(SHOWN_MAX) {
            output.remark(format!("{path}: {error}"));
        }
        and_more(self.failed, output);
        if self.skipped > 0 {
            output.remark("skipped what does not look like mail; --format eml takes every file");
        }
        Ok(output.line(plain(&self.line()))?)
    }

    pub fn ending(&self) -> Ending {
        match (self.stored + self.duplicates, self.failed, self.too_old) {
            (_, 0, 0) => Ending::Done,
            (0, 1.., _) => Ending::Failed,
            _ => Ending::Warnings,
        }
    }
}

fn and_more(total: u64, output: &Output) {
    if let Some(more) = total.checked_sub(SHOWN_MAX as u64).filter(|more| *more > 0) {
        output.remark(format!("... and {} more; --json lists them", count(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Tally};
    use crate::failure::Ending;

    fn tally(outcomes: &[Outcome]) -> Tally {
        let mut tally = Tally::new(0);
        for outcome in outcomes {
            tally.count("a.eml", outcome.clone());
        }
        tally
    }

    #[test]
    fn the_exit_code_follows_the_counts() {
        let failed = Outcome::Failed("why".into());
        let cases: [(&[Outcome], Ending); 6] = [
            (&[], Ending::Done),
            (&[Outcome::Stored, Outcome::Duplicate, Outcome::Deleted], Ending::Done),
            (&[Outcome::TooOld], Ending::Warnings),
            (&[Outcome::Stored, failed.clone()], Ending::Warnings),
            (std::slice::from_ref(&failed), Ending::Failed),
            (&[failed.clone(), Outcome::TooOld], Ending::Failed),
        ];
        for (outcomes, ending) in cases {
            assert_eq!(tally(outcomes).ending(), ending, "{outcomes:?}");
        }
    }

    #[test]
    fn names_are_bounded_and_counts_are_not() {
        let all = tally(&vec![Outcome::TooOld; 1500]);
        assert_eq!((all.too_old, all.too_old_paths.len()), (1500, 1000));
        assert_eq!(all.line(), "0 stored, 1,500 too old");
    }
}
