//! Filters that commands about many messages share.
//! Never decides what matches.

use clap::Args;
use quar_base::class::Class;
use quar_base::time::Day;
use quar_store::Query;

/// Which messages are meant; all that the node shows when nothing is said.
#[derive(Args, Debug, Default)]
pub struct Filters {
    /// Class; may be repeated [default: all]
    #[arg(long = "class", value_name = "CLASS")]
    pub classes: Vec<Class>,
    /// Only this UTC day, as YYYY-MM-DD
    #[arg(long, value_name = "DAY", conflicts_with_all = ["from", "to"])]
    pub day: Option<Day>,
    /// From this UTC day on
    #[arg(long, value_name = "DAY")]
    pub from: Option<Day>,
    /// Up to this UTC day
    #[arg(long, value_name = "DAY")]
    pub to: Option<Day>,
    /// Part of the envelope sender
    #[arg(long, value_name = "TEXT")]
    pub sender: Option<String>,
    /// Part of an envelope recipient
    #[arg(long, value_name = "TEXT")]
    pub recipient: Option<String>,
    /// Words that all stand in the subject
    #[arg(long, value_name = "WORDS")]
    pub subject: Option<String>,
}

impl Filters {
    /// The question to the node, with pages of this many messages.
    pub fn query(&self, limit: usize) -> Query {
        let words = self.subject.iter().flat_map(|text| text.split_whitespace());
        Query {
            classes: self.classes.clone(),
            from: self.day.or(self.from),
            to: self.day.or(self.to),
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            subject_words: words.map(str::to_owned).collect(),
            before: None,
            limit,
        }
    }
}
