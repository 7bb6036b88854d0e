//! What a proof says, as JSON.
//! Never holds behaviour.

use crate::daemon::view::rfc3339;
use crate::proof::Proven;
use quar_base::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// What a member proved.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ProofReply {
    /// Name of the member, from its certificate.
    pub node: String,
    /// Its id.
    pub member: String,
    /// Cluster uuid.
    pub cluster: String,
    /// When it said so, by its clock.
    pub at: String,
    /// The message that it held.
    pub message: String,
    /// Class of the message.
    pub class: String,
    /// Day on which it arrived.
    pub day: String,
    /// The body that it held.
    pub body_id: String,
    /// Length of the body.
    pub body_bytes: u64,
    /// SHA-256 of the body.
    pub body_sha256: String,
    /// Up to when the set was taken that the state root stands over.
    pub cutoff: String,
    /// The state root.
    pub state_root: String,
    /// Classes and days that it stands over.
    pub buckets: u64,
}

impl From<&Proven> for ProofReply {
    fn from(Proven { node, proof }: &Proven) -> Self {
        Self {
            node: node.clone(),
            member: proof.member.to_string(),
            cluster: proof.cluster.to_string(),
            at: rfc3339(proof.at),
            message: proof.message.to_string(),
            class: proof.message.bucket.class.to_string(),
            day: proof.message.bucket.day.to_string(),
            body_id: proof.body.to_string(),
            body_bytes: proof.body_bytes,
            body_sha256: data_encoding::HEXLOWER.encode(&proof.body_sha256),
            cutoff: rfc3339(UnixMillis(proof.cutoff.0 * 1000)),
            state_root: proof.state_root.to_string(),
            buckets: proof.inclusion.bucket_count(),
        }
    }
}
