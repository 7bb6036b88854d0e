//! `brake`: deletions that wait to be confirmed.
//! Never confirms what was not asked for by name.

use crate::arguments::{Brake, BrakeWhat};
use crate::backend::Daemon;
use crate::failure::Ending;
use crate::output::{Output, plain};
use quard::api::{BrakeReply, BrakeStatus};

/// Shows what waits, or does or drops it.
pub fn brake(daemon: &mut Daemon, brake: &Brake, output: &mut Output) -> anyhow::Result<Ending> {
    match brake.what {
        BrakeWhat::Show => show(&daemon.brake()?, output),
        BrakeWhat::Confirm => told(&daemon.end_brake("confirm")?, output),
        BrakeWhat::Discard => told(&daemon.end_brake("discard")?, output),
    }
}

fn show(status: &BrakeStatus, output: &mut Output) -> anyhow::Result<Ending> {
    let ending = if status.waiting == 0 { Ending::Done } else { Ending::Warnings };
    if output.is_json() {
        output.json(status)?;
        return Ok(ending);
    }
    let limit = status.limit_per_minute;
    let Some(since) = &status.since else {
        output.line(match limit {
            0 => "the brake is off: no deletion ever waits".to_owned(),
            _ => format!("no deletion waits; more than {limit} within a minute would"),
        })?;
        return Ok(ending);
    };
    for id in &status.first {
        output.line(plain(id))?;
    }
    let (waiting, shown) = (status.waiting, status.first.len() as u64);
    if shown < waiting {
        output.line(format!("... and {} more", waiting - shown))?;
    }
    output.line(format!(
        "{waiting} deletions wait since {since}: more than {limit} came within a minute"
    ))?;
    output.line("`quarctl brake confirm` does them, `quarctl brake discard` drops them")?;
    Ok(ending)
}

fn told(reply: &BrakeReply, output: &mut Output) -> anyhow::Result<Ending> {
    if output.is_json() {
        output.json(reply)?;
    } else {
        for error in &reply.errors {
            output.remark(&error.error);
        }
        output.line(match (reply.discarded, reply.failed) {
            (0, 0) => format!("{} deleted", reply.deleted),
            (0, failed) => format!("{} deleted, {failed} not", reply.deleted),
            (discarded, _) => format!("{discarded} deletions discarded"),
        })?;
    }
    Ok(if reply.failed == 0 { Ending::Done } else { Ending::Failed })
}
