//! Arguments of the commands that make and check proofs.
//! Never acts.

use super::id;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `prove`.
#[derive(Args, Debug)]
#[command(after_help = "\
A proof says: this node, at this time, held this message and this body. The node's key signs it, and
anybody who has the certificate of the cluster's authority can check it (verify-proof), for ever. It
holds no address, no subject and nothing of the body but its SHA-256.
A message that came within the last 15 s is waited for. Exit code 3 when it was deleted or is no
longer kept, 1 when its body is not here.

Examples:
  quarctl prove 4f3a92c10b7e --out 4f3a.proof
  quarctl prove 4f3a92c10b7e | ssh auditor 'cat > 4f3a.proof'")]
pub struct Prove {
    /// The message
    #[arg(value_parser = id)]
    pub id: String,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `verify-proof`.
#[derive(Args, Debug)]
#[command(after_help = "\
Needs no node and no network. What a member proved stays proven when its certificate expires or it
leaves the cluster. Exit code 0 when the proof holds, 1 when it does not.

Examples:
  quarctl verify-proof 4f3a.proof --ca BaruwaCA.pem
  quarctl verify-proof 4f3a.proof --ca BaruwaCA.pem --message mail.eml    and it is about this mail
  quarctl verify-proof 4f3a.proof --json | jq -r .node")]
pub struct VerifyProof {
    /// The proof
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Certificate of the cluster's authority [default: etc/pki/BaruwaCA/certs/BaruwaCA.pem below the root]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A mail, byte for byte, that the proof must be about
    #[arg(long, value_name = "FILE")]
    pub message: Option<PathBuf>,
}
