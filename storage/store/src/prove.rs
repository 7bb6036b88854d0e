//! Makes proofs: reads the body, finds the message in the set, signs what both say.
//! Never claims a body that was not read and hashed for the proof, nor a message that is not in the set yet.

use crate::error::ReadError;
use crate::proof::{Proof, sha256};
use crate::recent::Records;
use crate::set::Which;
use crate::store::Store;
use quar_base::class::Class;
use quar_base::key::MessageId;
use quar_base::signing::{SIGNATURE_BYTES, Signature};
use quar_base::time::{Day, UnixMillis};

/// Why a message cannot be proven to be here.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// Its day is no longer kept.
    #[error("{class} mail of {day} is no longer kept: this node cannot prove that it has any")]
    BelowFloor {
        /// The class.
        class: Class,
        /// The day.
        day: Day,
    },
    /// All recipients' copies were deleted.
    #[error("{0} was deleted: this node cannot prove that it has it")]
    Deleted(MessageId),
    /// It is newer than the cutoff.
    #[error(
        "{message} is too new: it enters the set that proofs are about at {}",
        clock_text(*.settles)
    )]
    NotYet {
        /// Which.
        message: MessageId,
        /// When it can be proven.
        settles: UnixMillis,
    },
    /// It is not here, its body is not, or they cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn clock_text(time: UnixMillis) -> String {
    let second = time.second_of(time.day());
    format!("{} {:02}:{:02}:{:02} UTC", time.day(), second / 3600, second / 60 % 60, second % 60)
}

impl Store {
    /// Proves that a message and its body are here. `at` is this node's time, `certificate` that of
    /// the key in the settings.
    ///
    /// # Errors
    /// [`ProveError`]; [`ReadError::BodyMissing`] within it while the body is not here.
    pub fn prove(
        &self,
        id: MessageId,
        at: UnixMillis,
        certificate: &[u8],
    ) -> Result<Proof, ProveError> {
        self.check_kept(id)?;
        let record = self.arrival_record(&mut Records::new(self), id)?;
        let arrival = self.decode_arrival(id, &record)?;
        let view = self.view(Which::Current);
        if !id.key.is_settled(id.bucket.day, view.cutoff()) {
            let settles = id.key.settles(id.bucket.day);
            return Err(ProveError::NotYet { message: id, settles });
        }
        let (_, body) = self.verified_body(id, &arrival)?;
        let Some(inclusion) = view.inclusion(id) else {
            self.check_kept(id)?;
            return Err(ReadError::Damaged { what: "the day's set", message: id }.into());
        };
        let mut proof = Proof {
            cluster: self.settings.cluster,
            member: self.settings.member,
            at,
            cutoff: view.cutoff(),
            state_root: view.state_root(),
            message: id,
            body: arrival.body(),
            body_bytes: body.len() as u64,
            body_sha256: sha256(&body),
            inclusion,
            certificate: certificate.to_vec(),
            signature: Signature([0; SIGNATURE_BYTES]),
        };
        proof.sign(&self.settings.signing);
        Ok(proof)
    }

    fn check_kept(&self, id: MessageId) -> Result<(), ProveError> {
        let state = self.state();
        if state.floors.is_below(id.bucket) {
            let (class, day) = (id.bucket.class, id.bucket.day);
            return Err(ProveError::BelowFloor { class, day });
        }
        match state.is_visible(id) {
            true => Ok(()),
            false => Err(ProveError::Deleted(id)),
        }
    }
}

#[cfg(test)]
mod tests;
