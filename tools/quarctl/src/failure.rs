//! How a command ends, and which exit code says so.
//! Never decides what is shown.

use quard::api::ErrorReply;
use quard::client;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All was done: 0.
    Done,
    /// It was not: 1.
    Failed,
    /// There is no such message: 3.
    NotFound,
    /// It was done, and something needs an eye: 4.
    Warnings,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::NotFound => 3,
            Ending::Warnings => 4,
        })
    }
}

/// What the daemon, or the store of a stopped node, would not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// See [`ErrorReply::kind`].
    pub kind: String,
    /// In words.
    pub error: String,
}

impl Refused {
    /// A refusal of one of the kinds that [`ErrorReply`] lists.
    pub fn new(kind: &str, error: impl ToString) -> Self {
        Self { kind: kind.to_owned(), error: error.to_string() }
    }
}

/// A daemon's refusal as the store's own, whichever came.
pub fn from_client(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<client::Refused>() {
        Ok(refused) => {
            let ErrorReply { kind, error } = refused.reply;
            Refused { kind, error }.into()
        }
        Err(error) => error,
    }
}

/// The kind of a refusal; `None` for other errors.
pub fn kind(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Refused>().map(|refused| refused.kind.as_str())
}

/// How a command ends that ended with this error.
pub fn ending_of(error: &anyhow::Error) -> Ending {
    match kind(error) {
        Some("not_found") => Ending::NotFound,
        _ => Ending::Failed,
    }
}

/// Whether the reader of the output is gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::{Ending, Refused, ending_of, from_client, is_broken_pipe, kind};
    use quard::api::ErrorReply;
    use quard::client;

    fn refused(kind: &str) -> anyhow::Error {
        let reply = ErrorReply { kind: kind.into(), error: "why".into() };
        let status = 400;
        from_client(client::Refused { status, reply }.into())
    }

    #[test]
    fn only_what_is_not_there_ends_with_its_own_code() {
        assert_eq!(ending_of(&refused("not_found")), Ending::NotFound);
        for other in ["ambiguous", "invalid", "full"] {
            assert_eq!(ending_of(&refused(other)), Ending::Failed);
            assert_eq!(kind(&refused(other)), Some(other));
        }
        assert_eq!(ending_of(&anyhow::anyhow!("the wire broke")), Ending::Failed);
        let own = anyhow::Error::from(Refused::new("not_found", "gone"));
        assert_eq!(ending_of(&own.context("while looking")), Ending::NotFound);
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_errors() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(pipe)));
        assert!(!is_broken_pipe(&anyhow::anyhow!("no")));
    }
}
