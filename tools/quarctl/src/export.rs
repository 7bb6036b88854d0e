//! `export`: messages written out as files, an mbox or a maildir, byte for byte.
//! Never leaves half a message or half an mbox under its final name.
//!
//! ```text
//! pages of the listing ─► body of each ─► written under another name, synced, renamed
//! ```

mod files;
mod maildir;
mod mbox;
mod tree;

use crate::arguments::{Export, ExportFormat};
use crate::backend::Backend;
use crate::failure::{Ending, kind};
use crate::output::{Output, count, plain, size};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quar_base::key::MessageId;
use quard::api::{MessageSummary, PAGE_MAX};
use serde::Serialize;
use std::io::IsTerminal;
use std::time::Duration;

/// Names of messages kept for the final report.
const LISTED_MAX: usize = 1000;
/// Of these, shown to people.
const SHOWN_MAX: usize = 20;
/// How often a busy node is asked for a body again.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// One message on its way out.
struct Outgoing<'a> {
    id: MessageId,
    sender: &'a str,
    body: &'a [u8],
}

/// Where messages go.
trait Target {
    fn take(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()>;

    /// Makes what was taken durable, under its final name.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
struct Missing {
    id: String,
    error: String,
}

/// What an export came to.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    exported: u64,
    bytes: u64,
    /// Messages whose body is missing or damaged.
    missing: u64,
    /// Messages whose record is damaged: not even their ids are known.
    unlisted: u64,
    /// Those with missing or damaged bodies, the first thousand.
    missing_messages: Vec<Missing>,
}

/// Writes messages out.
pub fn export(
    backend: &mut Backend,
    export: &Export,
    output: &mut Output,
) -> anyhow::Result<Ending> {
    let destination = &export.destination;
    let mut target: Box<dyn Target> = match export.format {
        ExportFormat::Tree => Box::new(tree::Tree::begin(destination, export.overwrite)?),
        ExportFormat::Mbox => Box::new(mbox::MboxFile::begin(destination, export.overwrite)?),
        ExportFormat::Maildir => Box::new(maildir::Maildir::begin(destination, export.overwrite)?),
    };
    let bar = progress(output);
    let written = write_all(backend, export, &mut *target, &bar);
    let report = written.and_then(|report| target.finish().map(|()| report));
    bar.finish_and_clear();
    let report = report.with_context(|| match export.format {
        ExportFormat::Mbox => "the export was broken off, and no mbox was made",
        _ => "the export was broken off; every file that is there is whole",
    })?;
    show(&report, export, output)?;
    Ok(if report.missing + report.unlisted == 0 { Ending::Done } else { Ending::Warnings })
}

fn write_all(
    backend: &mut Backend,
    export: &Export,
    target: &mut dyn Target,
    bar: &ProgressBar,
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut query = export.filters.query(PAGE_MAX);
    loop {
        let page = backend.list(&query)?;
        report.unlisted += page.damaged;
        for message in &page.messages {
            write_one(backend, message, target, &mut report)?;
            bar.set_message(report.line());
            bar.tick();
        }
        let Some(next) = page.next else {
            return Ok(report);
        };
        query.before = Some(next.parse()?);
    }
}

fn write_one(
    backend: &mut Backend,
    message: &MessageSummary,
    target: &mut dyn Target,
    report: &mut Report,
) -> anyhow::Result<()> {
    let error = match body(backend, &message.id) {
        Ok(body) => {
            let (id, sender) = (message.id.parse()?, &message.sender);
            target.take(&Outgoing { id, sender, body: &body })?;
            report.exported += 1;
            report.bytes += body.len() as u64;
            return Ok(());
        }
        Err(error) => error,
    };
    match kind(&error) {
        // It was deleted since it was listed.
        Some("not_found") => {}
        Some("body_missing" | "damaged") => {
            report.missing += 1;
            if report.missing_messages.len() < LISTED_MAX {
                let (id, error) = (message.id.clone(), error.to_string());
                report.missing_messages.push(Missing { id, error });
            }
        }
        _ => return Err(error),
    }
    Ok(())
}

fn body(backend: &mut Backend, id: &str) -> anyhow::Result<bytes::Bytes> {
    let mut body = backend.body(id);
    for _ in 0..ATTEMPTS {
        if !body.as_ref().is_err_and(|error| kind(error) == Some("busy")) {
            break;
        }
        std::thread::sleep(PAUSE);
        body = backend.body(id);
    }
    body
}

impl Report {
    fn line(&self) -> String {
        format!("{} messages, {}", count(self.exported), size(self.bytes))
    }
}

fn show(report: &Report, export: &Export, output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(report);
    }
    for Missing { id, error } in report.missing_messages.iter().take(SHOWN_MAX) {
        output.remark(format!("left out {id}: {error}"));
    }
    if let Some(more) = report.missing.checked_sub(SHOWN_MAX as u64).filter(|more| *more > 0) {
        output.remark(format!("... and {} more; --json lists them", count(more)));
    }
    if report.unlisted > 0 {
        let unlisted = count(report.unlisted);
        output.remark(format!("left out {unlisted} messages whose records are damaged here"));
    }
    let text = format!("{} written to {}", report.line(), export.destination.display());
    Ok(output.line(plain(&text))?)
}

fn progress(output: &Output) -> ProgressBar {
    if output.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{spinner} {msg}  {elapsed}";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
}

#[cfg(test)]
mod tests;
