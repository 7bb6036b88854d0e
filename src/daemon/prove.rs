//! Proves that a message is here: waits until it has settled, has its body fetched, signs, and looks over the result.
//! Never hands out a proof that does not hold.

use crate::config::Identity;
use crate::daemon::handle::{NodeHandle, needs_body};
use crate::proof::{Unproven, verify};
use quar_base::key::MessageId;
use quar_base::time::UnixMillis;
use quar_store::{ProveError, ReadError, Store};
use std::time::Duration;

/// How long a proof may have to wait for its message to settle: a cutoff is at most 15 s old.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The cutoff moves within this after it could.
const LAG: Duration = Duration::from_millis(150);

/// What a node proves with, beside its store.
pub struct Prover {
    certificate: Vec<u8>,
    authority: Vec<u8>,
}

/// Why a message was not proven.
#[derive(Debug, thiserror::Error)]
pub enum ProvingError {
    /// It cannot be, or not yet.
    #[error(transparent)]
    Store(#[from] ProveError),
    /// Nobody would believe this node.
    #[error("this node's proofs do not hold: {0}")]
    Unproven(#[from] Unproven),
}

impl From<ReadError> for ProvingError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl ProvingError {
    /// Of the kinds that [`crate::api::ErrorReply`] lists.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unproven(_) => "failed",
            Self::Store(ProveError::NotYet { .. }) => "not_yet",
            Self::Store(ProveError::Deleted(_) | ProveError::BelowFloor { .. }) => "not_found",
            Self::Store(ProveError::Read(error)) => match error {
                ReadError::NotFound(_) => "not_found",
                ReadError::BodyMissing(_) => "body_missing",
                ReadError::Damaged { .. } => "damaged",
                ReadError::Index(_) | ReadError::Io(_) => "failed",
            },
        }
    }

    /// How long to wait until the message can be proven, when waiting helps and is not too long.
    #[must_use]
    pub fn wait(&self, now: UnixMillis) -> Option<Duration> {
        match self {
            Self::Store(ProveError::NotYet { settles, .. }) => {
                let wait = Duration::from_millis((*settles - now).0) + LAG;
                (wait <= PATIENCE).then_some(wait)
            }
            _ => None,
        }
    }
}

impl Prover {
    /// The prover of this member.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self { certificate: identity.certificate.clone(), authority: identity.authority.clone() }
    }

    /// A proof's bytes.
    ///
    /// # Errors
    /// [`ProvingError`].
    pub fn prove(
        &self,
        store: &Store,
        id: MessageId,
        now: UnixMillis,
    ) -> Result<Vec<u8>, ProvingError> {
        let bytes = store.prove(id, now, &self.certificate)?.encode();
        verify(&bytes, &self.authority)?;
        Ok(bytes)
    }
}

/// A proof's bytes, as of now or of a few seconds on.
///
/// # Errors
/// [`ProvingError`].
pub async fn prove(node: &NodeHandle, id: MessageId) -> Result<Vec<u8>, ProvingError> {
    let mut left = PATIENCE;
    loop {
        let (prover, clock) = (node.prover().clone(), node.clock().clone());
        let attempt = move |store: &Store| prover.prove(store, id, clock.now());
        let proven = node.fetched(id, attempt, helps_to_fetch).await;
        let wait = proven.as_ref().err().and_then(|error| error.wait(node.clock().now()));
        match wait.and_then(|wait| Some((wait, left.checked_sub(wait)?))) {
            None => return proven,
            Some((wait, rest)) => {
                left = rest;
                tokio::time::sleep(wait).await;
            }
        }
    }
}

fn helps_to_fetch(error: &ProvingError) -> bool {
    matches!(error, ProvingError::Store(ProveError::Read(error)) if needs_body(error))
}
