//! Checks a proof with the certificate of the cluster's authority and nothing else.
//! Never asks a node, a roster or a clock: it says what the member said then, whatever became of it since.
//!
//! ```text
//! proof ─► the way leads to the state root ─► the authority issued the certificate, valid at that time
//!                                          ─► it is the member's ─► its key signed the proof
//! ```

use quar_base::ids::MemberId;
use quar_net::{NetError, certified};
use quar_store::{Proof, ProofError};

/// A proof that holds.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Name of the member, from its certificate.
    pub node: String,
    /// What it said.
    pub proof: Proof,
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// It is none, or not the member's.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The authority does not vouch for the certificate in it, at the time that it names.
    #[error("the certificate in the proof does not count for it: {0}")]
    Certificate(#[from] NetError),
    /// Somebody else's certificate is in it.
    #[error("the proof speaks for member {claimed}, and its certificate is member {certified}'s")]
    OtherMember {
        /// Whom the proof names.
        claimed: MemberId,
        /// Whom the certificate names.
        certified: MemberId,
    },
}

/// Checks a proof. `authority` is the certificate of the cluster's authority, DER.
///
/// # Errors
/// [`Unproven`].
pub fn verify(bytes: &[u8], authority: &[u8]) -> Result<Proven, Unproven> {
    let proof = Proof::decode(bytes)?;
    let certified = certified(&proof.certificate, authority, proof.at)?;
    if certified.member != proof.member {
        let (claimed, certified) = (proof.member, certified.member);
        return Err(Unproven::OtherMember { claimed, certified });
    }
    proof.check_signature(&certified.public_key)?;
    Ok(Proven { node: certified.name, proof })
}

#[cfg(test)]
mod tests;
