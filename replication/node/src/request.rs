//! What the daemon asks of the node, and what it is answered.
//! Never holds a channel: requests are named by tokens that the daemon keeps.

use quar_base::action::Action;
use quar_base::ids::RecordId;
use quar_base::key::MessageId;
use quar_base::limits::STAMP_AHEAD_MS_MAX;
use quar_base::time::UnixMillis;
use quar_store::{Mail, NewHold, Origin, Refusal};

/// Names a request until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A request of a surface.
#[derive(Debug)]
pub enum Request {
    /// Take a message.
    Put(Box<Mail>),
    /// Take a held message.
    Hold(Box<NewHold>),
    /// Make an action of this node.
    Act {
        /// The message it is about.
        message: MessageId,
        /// What it says.
        action: Action,
    },
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message is durable, under this id.
    Put(MessageId),
    /// The action is durable, under this record id.
    Done(RecordId),
    /// It was not taken.
    Refused(Refusal),
}

/// When a message counts as having come in: what is caught, now; an import when it says, but no
/// later than peers would take it.
pub(crate) fn received(
    origin: Origin,
    stated: UnixMillis,
    now: UnixMillis,
) -> Result<UnixMillis, Refusal> {
    let ahead = stated - now;
    match origin {
        Origin::Caught => Ok(now),
        Origin::Imported if ahead.0 > STAMP_AHEAD_MS_MAX => Err(Refusal::Ahead(ahead.0)),
        Origin::Imported => Ok(stated),
    }
}

#[cfg(test)]
mod tests {
    use super::received;
    use quar_base::limits::STAMP_AHEAD_MS_MAX;
    use quar_base::time::UnixMillis;
    use quar_store::{Origin, Refusal};

    #[test]
    fn an_import_that_every_peer_would_refuse_is_refused_here() {
        let now = UnixMillis(1_795_420_800_000);
        let latest = UnixMillis(now.0 + STAMP_AHEAD_MS_MAX);
        let too_late = UnixMillis(latest.0 + 1);
        assert_eq!(received(Origin::Imported, UnixMillis(5), now), Ok(UnixMillis(5)));
        assert_eq!(received(Origin::Imported, latest, now), Ok(latest));
        let ahead = Refusal::Ahead(STAMP_AHEAD_MS_MAX + 1);
        assert_eq!(received(Origin::Imported, too_late, now), Err(ahead));
        assert_eq!(received(Origin::Caught, too_late, now), Ok(now));
    }
}
