//! One function for each command: asks the backend, shows the answer, says how it ended.
//! Never talks to a socket or a store itself.

mod act;
mod brake;
mod disk;
mod hold;
mod init;
mod inspect;
mod look;
mod opened;
mod proof;
mod repair;
mod status;
pub mod store;
mod usage;

use crate::arguments::{Arguments, Command};
use crate::backend::{Backend, Work};
use crate::failure::Ending;
use crate::output::Output;
use clap::CommandFactory;

/// Runs the command that the arguments name.
///
/// # Errors
/// When it was not done.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Ending> {
    match &arguments.command {
        Command::Init(init) => init::init(init, output),
        Command::Status(status) => {
            let mut daemon = Backend::running(arguments)?;
            status::show(&daemon.status()?, status.cluster, output)
        }
        Command::Release(release) => {
            let mut daemon = Backend::running(arguments)?;
            act::release(&mut daemon, release, output)
        }
        Command::Brake(what) => {
            let mut daemon = Backend::running(arguments)?;
            brake::brake(&mut daemon, what, output)
        }
        Command::Completions(completions) => {
            let mut script = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(completions.shell, &mut command, "quarctl", &mut script);
            output.bytes(&script)?;
            Ok(Ending::Done)
        }
        Command::Repair(_) => repair::repair(arguments, output),
        Command::VerifyProof(what) => proof::verify(arguments, what, output),
        Command::Inspect(_)
        | Command::Fsck(_)
        | Command::ErasureCheck(_)
        | Command::Put(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Du(_)
        | Command::Ls(_)
        | Command::Show(_)
        | Command::Cat(_)
        | Command::Rm(_)
        | Command::Prove(_)
        | Command::Hold(_)
        | Command::Unhold(_) => with_store(arguments, output),
    }
}

fn with_store(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Ending> {
    let mut backend = Backend::open(arguments, output)?;
    let ending = match &arguments.command {
        Command::Put(put) => store::put(&mut backend, put, output),
        Command::Import(import) => crate::import::import(&backend, import, output),
        Command::Export(export) => crate::export::export(&mut backend, export, output),
        Command::Du(du) => usage::du(&mut backend, du, output),
        Command::Ls(ls) => look::list(&mut backend, ls, output),
        Command::Show(one) => look::show(&mut backend, one, output),
        Command::Cat(cat) => look::cat(&mut backend, cat, output),
        Command::Rm(rm) => act::remove(&mut backend, rm, output),
        Command::Prove(prove) => proof::prove(&mut backend, prove, output),
        Command::Hold(hold) => hold::hold(&mut backend, hold, output),
        Command::Unhold(unhold) => hold::unhold(&mut backend, unhold, output),
        Command::Inspect(inspect) => inspect::inspect(&mut backend, inspect, output),
        Command::Fsck(fsck) => disk::fsck(&mut backend, fsck, output),
        Command::ErasureCheck(one) => disk::erasure_check(&mut backend, one, output),
        Command::Repair(_)
        | Command::Init(_)
        | Command::Release(_)
        | Command::Status(_)
        | Command::Brake(_)
        | Command::VerifyProof(_)
        | Command::Completions(_) => {
            unreachable!("these need no store")
        }
    };
    let finished = backend.finish(work_of(&arguments.command));
    let ending = ending?;
    if let Err(error) = finished {
        // What was asked is done and durable; this is about tidying up.
        output.remark(format!("{error:#}"));
        return Ok(if ending == Ending::Done { Ending::Warnings } else { ending });
    }
    Ok(ending)
}

fn work_of(command: &Command) -> Work {
    match command {
        Command::Rm(_) | Command::Unhold(_) => Work::Deleted,
        Command::Put(_) | Command::Import(_) | Command::Hold(_) => Work::Stored,
        _ => Work::Looked,
    }
}
