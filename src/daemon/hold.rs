//! Holding and letting go: copies of the class `held`, found by their own id or their original's.
//! Never holds what it has not read: a body that is not here is fetched from a peer first.

use crate::api::{HoldReply, UnholdReply};
use crate::daemon::driver::Event;
use crate::daemon::handle::{ActError, FindError, NodeHandle, Request, Whom, blocking, needs_body};
use quar_base::key::MessageId;
use quar_store::{HoldError, Holding};
use tokio::sync::oneshot;

/// Holds a message; when it is held already, says so.
///
/// *Durable when* this returns, on as many nodes as `copies` asks.
///
/// # Errors
/// [`ActError`], and then nothing was stored.
pub async fn hold(node: &NodeHandle, id: MessageId) -> Result<HoldReply, ActError> {
    let prepared = node.fetched(
        id,
        move |store| store.hold(id),
        |error| match error {
            HoldError::Read(error) => needs_body(error),
            HoldError::Unfit(_) => false,
        },
    );
    let held = match prepared.await? {
        Holding::Here(held) => return Ok(HoldReply::new(held, id, true)),
        Holding::New(new) => {
            let (reply, answer) = oneshot::channel();
            let request = Event::Request(Request::Hold { hold: new, reply });
            node.events().send(request).await.map_err(|_| ActError::Stopping)?;
            answer.await.map_err(|_| ActError::Stopping)??
        }
    };
    Ok(HoldReply::new(held, id, false))
}

/// Deletes the held copies of a message; named by its own id or by one of theirs.
///
/// # Errors
/// [`ActError::NotHeld`] when there are none, else as a delete.
pub async fn unhold(node: &NodeHandle, id: MessageId) -> Result<UnholdReply, ActError> {
    let store = node.store().clone();
    let held = blocking(move || store.holds_of(id)).await?;
    if held.is_empty() {
        return Err(ActError::NotHeld(id));
    }
    let mut reply = UnholdReply { ids: Vec::new() };
    for id in held {
        node.delete(id, Whom::All).await?;
        reply.ids.push(id.to_string());
    }
    Ok(reply)
}

/// The message that a text names; a whole id also when the message is gone, since its held copy may
/// be here.
///
/// # Errors
/// [`FindError`].
pub async fn named(node: &NodeHandle, text: &str) -> Result<MessageId, FindError> {
    match text.parse() {
        Ok(id) => Ok(id),
        Err(_) => node.find(text).await,
    }
}
