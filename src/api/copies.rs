//! JSON about copies: which members have confirmed a message on their disks, and how much is on too few.
//! Never holds behaviour beyond making the texts that are shown.

use serde::{Deserialize, Serialize};

/// Who has a message on disk, its body included.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct MessageCopies {
    /// Members that have confirmed it, this one included when it has it.
    pub confirmed: usize,
    /// Members there are.
    pub members: usize,
    /// Each member, the one that answers first.
    pub holders: Vec<HolderState>,
}

/// One member and one message.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct HolderState {
    /// Name.
    pub member: String,
    /// `has`, `not_yet`, or `unknown` when it was not compared with since this node started.
    pub state: String,
    /// Seconds since it said something; `null` for the node that answers, and for a member that has not
    /// since that started.
    pub heard_seconds_ago: Option<u64>,
}

/// Messages on fewer disks than they should be, of those older than half a minute.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct CopiesStatus {
    /// Disks on which each message should be: `sync.copies`, or the members if there are fewer.
    pub target: usize,
    /// Messages that fewer members have confirmed.
    pub messages: u64,
    /// Bytes of mail in them.
    pub bytes: u64,
    /// Whether the bytes are computed from the newest of them only.
    pub bytes_estimated: bool,
    /// Seconds since the oldest of them came in.
    pub oldest_seconds: Option<u64>,
    /// Its id.
    pub oldest: Option<String>,
    /// Names of members of which is not known what they have: not compared with since this node started.
    pub unknown: Vec<String>,
}

impl MessageCopies {
    /// In words: `2 of 3 members: a, b; not yet: c (not heard for 2 h)`.
    #[must_use]
    pub fn text(&self) -> String {
        let named = |state: &str| {
            let named = self.holders.iter().filter(|holder| holder.state == state);
            named.map(HolderState::text).collect::<Vec<_>>().join(", ")
        };
        let mut text = format!("{} of {} members", self.confirmed, self.members);
        for (state, before) in
            [("has", ": "), ("not_yet", "; not yet: "), ("unknown", "; unknown: ")]
        {
            let named = named(state);
            if !named.is_empty() {
                text.push_str(before);
                text.push_str(&named);
            }
        }
        text
    }
}

impl HolderState {
    fn text(&self) -> String {
        const SILENT_SECONDS: u64 = 60;
        match (self.state.as_str(), self.heard_seconds_ago) {
            ("unknown", None) => format!("{} (not heard since this node started)", self.member),
            (_, Some(seconds)) if self.state != "has" && seconds >= SILENT_SECONDS => {
                format!("{} (not heard for {})", self.member, duration(seconds))
            }
            _ => self.member.clone(),
        }
    }
}

/// A length of time in its largest unit.
#[must_use]
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{HolderState, MessageCopies};

    fn holder(member: &str, state: &str, heard_seconds_ago: Option<u64>) -> HolderState {
        HolderState { member: member.into(), state: state.into(), heard_seconds_ago }
    }

    #[test]
    fn copies_are_told_with_who_has_them_and_since_when_the_others_are_silent() {
        let mut copies = MessageCopies {
            confirmed: 2,
            members: 3,
            holders: vec![
                holder("a", "has", None),
                holder("b", "has", Some(9_000)),
                holder("c", "not_yet", Some(2 * 3_600)),
            ],
        };
        assert_eq!(copies.text(), "2 of 3 members: a, b; not yet: c (not heard for 2 h)");
        copies.holders[2] = holder("c", "unknown", None);
        let text = "2 of 3 members: a, b; unknown: c (not heard since this node started)";
        assert_eq!(copies.text(), text);
        copies.holders[2] = holder("c", "not_yet", Some(3));
        assert_eq!(copies.text(), "2 of 3 members: a, b; not yet: c");
    }
}
