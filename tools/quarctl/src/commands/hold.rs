//! `hold` and `unhold`: copies that stay until they are let go.
//! Never touches the original.

use super::act::each;
use crate::arguments::{Hold, Unhold};
use crate::backend::Backend;
use crate::failure::Ending;
use crate::output::{Output, short_id};
use quard::api::{HoldReply, UnholdReply};

/// Holds messages.
pub fn hold(backend: &mut Backend, hold: &Hold, output: &mut Output) -> anyhow::Result<Ending> {
    let told = |reply: &HoldReply| {
        let [original, held] = [&reply.original, &reply.id].map(|id| short_id(id));
        match reply.duplicate {
            true => format!("{original} is held already, as {held}"),
            false => format!("{original} held as {held}"),
        }
    };
    each(&hold.ids, output, |id| backend.hold(id), told)
}

/// Lets held messages go.
pub fn unhold(
    backend: &mut Backend,
    unhold: &Unhold,
    output: &mut Output,
) -> anyhow::Result<Ending> {
    let told = |reply: &UnholdReply| {
        let ids: Vec<String> = reply.ids.iter().map(|id| short_id(id)).collect();
        format!("{} let go", ids.join(", "))
    };
    each(&unhold.ids, output, |id| backend.unhold(id), told)
}
