//! `prove` and `verify-proof`: that a message was on a node, for whoever was not there.
//! Never asks a node whether a proof holds.

use crate::arguments::{Arguments, Prove, VerifyProof};
use crate::backend::Backend;
use crate::failure::Ending;
use crate::output::{Output, plain, size, time};
use anyhow::{Context, bail};
use quar_base::limits::PROOF_BYTES_MAX;
use quard::api::ProofReply;
use quard::config::{Paths, load_certificate};
use quard::proof::verify as verify_bytes;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Writes a proof.
pub fn prove(backend: &mut Backend, prove: &Prove, output: &mut Output) -> anyhow::Result<Ending> {
    if prove.out.is_none() && output.is_terminal() {
        bail!("a proof is no text: name a file with --out, or send it to one");
    }
    let proof = backend.prove(&prove.id)?;
    match &prove.out {
        Some(file) => {
            let written = std::fs::write(file, &proof);
            written.with_context(|| format!("cannot write {}", file.display()))?;
        }
        None => output.bytes(&proof)?,
    }
    Ok(Ending::Done)
}

/// Checks a proof.
pub fn verify(
    arguments: &Arguments,
    what: &VerifyProof,
    output: &mut Output,
) -> anyhow::Result<Ending> {
    let own = || Paths::under(arguments.root.as_deref()).authority_certificate();
    let authority = load_certificate(&what.ca.clone().unwrap_or_else(own))?;
    let bytes = read_proof(&what.file)?;
    let proven = verify_bytes(&bytes, &authority)
        .with_context(|| format!("{} proves nothing", what.file.display()))?;
    if let Some(mail) = &what.message {
        let body =
            std::fs::read(mail).with_context(|| format!("cannot read {}", mail.display()))?;
        if !proven.proof.is_about(&body) {
            bail!(
                "{} holds, and is about another mail than {}, or about other bytes of it",
                what.file.display(),
                mail.display()
            );
        }
    }
    let reply = ProofReply::from(&proven);
    match output.is_json() {
        true => output.json(&reply)?,
        false => show(&reply, what.message.as_deref(), output)?,
    }
    Ok(Ending::Done)
}

/// Reads no more than a proof can have, and a byte.
fn read_proof(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(PROOF_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn show(reply: &ProofReply, mail: Option<&Path>, output: &mut Output) -> anyhow::Result<()> {
    let ProofReply { node, member, message, .. } = reply;
    output.line(format!("{} held this message at {} UTC", plain(node), time(&reply.at)))?;
    let set = format!(
        "{} of {} days and classes, as of {} UTC",
        reply.state_root,
        reply.buckets,
        time(&reply.cutoff)
    );
    let day = format!("{} of {}", reply.class, reply.day);
    let size = size(reply.body_bytes);
    let mail = mail.map(|mail| plain(&mail.display().to_string()));
    for (name, text) in [
        ("member", member),
        ("cluster", &reply.cluster),
        ("message", message),
        ("day", &day),
        ("body", &reply.body_id),
        ("size", &size),
        ("sha-256", &reply.body_sha256),
        ("state root", &set),
    ] {
        output.line(format!("{name:<12}{text}"))?;
    }
    if let Some(mail) = mail {
        output.line(format!("{:<12}{mail}, byte for byte", "mail"))?;
    }
    Ok(())
}
