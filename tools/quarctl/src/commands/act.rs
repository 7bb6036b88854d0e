//! `release` and `rm`: acting on messages, for all nodes.
//! Never goes on guessing: what the node says about each address or message is what is shown.

use crate::arguments::{Release, Rm};
use crate::backend::{Backend, Daemon};
use crate::failure::{self, Ending};
use crate::output::{Output, plain, short_id};
use quard::api::{DeleteReply, DeliveryState, ErrorReply, ReleaseRequest};
use serde::Serialize;

/// Hands a message to the mail server.
pub fn release(
    daemon: &mut Daemon,
    release: &Release,
    output: &mut Output,
) -> anyhow::Result<Ending> {
    let request = ReleaseRequest {
        recipients: release.recipients.clone(),
        to: release.to.clone(),
        again: release.again,
    };
    let reply = daemon.release(&release.id, &request)?;
    if output.is_json() {
        output.json(&reply)?;
    } else {
        for delivery in &reply.deliveries {
            let address = delivery.address.as_deref().unwrap_or("another address");
            let DeliveryState { result, reply, .. } = delivery;
            output.line(plain(&format!("{address}: {result} ({reply})")))?;
        }
    }
    Ok(release_ending(&reply.deliveries))
}

/// All got it: done. None did, for sure: failed. Anything else needs an eye.
fn release_ending(deliveries: &[DeliveryState]) -> Ending {
    let all = |result: &str| deliveries.iter().all(|delivery| delivery.result == result);
    match () {
        () if all("delivered") => Ending::Done,
        () if all("failed") => Ending::Failed,
        () => Ending::Warnings,
    }
}

/// Deletes messages.
pub fn remove(backend: &mut Backend, rm: &Rm, output: &mut Output) -> anyhow::Result<Ending> {
    each(&rm.ids, output, |id| backend.delete(id, &rm.recipients), told_of_delete)
}

fn told_of_delete(reply: &DeleteReply) -> String {
    let id = short_id(&reply.id);
    match reply.gone {
        true => format!("{id} deleted"),
        false => format!("{id} deleted for {}", reply.recipients.join(", ")),
    }
}

/// What became of one message.
#[derive(Serialize)]
#[serde(untagged)]
enum Acted<T> {
    Done(T),
    Not { id: String, error: ErrorReply },
}

/// Acts on messages one after another, those that cannot be acted on left out; shows what came of
/// each.
pub fn each<T: Serialize>(
    ids: &[String],
    output: &mut Output,
    mut act: impl FnMut(&str) -> anyhow::Result<T>,
    told: impl Fn(&T) -> String,
) -> anyhow::Result<Ending> {
    let mut results = Vec::new();
    let mut endings = Vec::new();
    for id in ids {
        match act(id) {
            Ok(reply) => {
                endings.push(Ending::Done);
                results.push(Acted::Done(reply));
            }
            Err(error) => {
                // Without a kind it is the connection that failed, and the rest would fail too.
                let Some(kind) = failure::kind(&error) else {
                    return Err(error);
                };
                endings.push(failure::ending_of(&error));
                let error = ErrorReply { kind: kind.to_owned(), error: error.to_string() };
                results.push(Acted::Not { id: id.clone(), error });
            }
        }
    }
    if output.is_json() {
        output.json(&results)?;
        return Ok(worst(&endings));
    }
    for result in &results {
        match result {
            Acted::Done(reply) => output.line(plain(&told(reply)))?,
            Acted::Not { error, .. } => output.remark(&error.error),
        }
    }
    Ok(worst(&endings))
}

/// A failure counts more than a message that is not there, and that more than success.
fn worst(endings: &[Ending]) -> Ending {
    for ending in [Ending::Failed, Ending::NotFound] {
        if endings.contains(&ending) {
            return ending;
        }
    }
    Ending::Done
}

#[cfg(test)]
mod tests {
    use super::{release_ending, worst};
    use crate::failure::Ending;
    use quard::api::DeliveryState;

    #[test]
    fn the_exit_code_of_a_release_follows_its_deliveries() {
        let ending = |results: &[&str]| {
            let deliveries: Vec<DeliveryState> = results
                .iter()
                .map(|result| DeliveryState {
                    address: None,
                    result: (*result).to_owned(),
                    reply: String::new(),
                })
                .collect();
            release_ending(&deliveries)
        };
        assert_eq!(ending(&["delivered", "delivered"]), Ending::Done);
        assert_eq!(ending(&["failed", "failed"]), Ending::Failed);
        assert_eq!(ending(&["delivered", "failed"]), Ending::Warnings);
        assert_eq!(ending(&["unknown"]), Ending::Warnings);
    }

    #[test]
    fn the_worst_of_many_deletes_counts() {
        use Ending::{Done, Failed, NotFound};
        assert_eq!(worst(&[Done, NotFound, Done]), NotFound);
        assert_eq!(worst(&[NotFound, Failed]), Failed);
        assert_eq!(worst(&[Done]), Done);
    }
}
