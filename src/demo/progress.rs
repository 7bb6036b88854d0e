//! What the demo shows to a person while it runs, on the error stream.
//! Never writes to the output stream: that is for the final object.

use crate::demo::Report;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The person's view, or silence.
pub(super) struct Progress {
    quiet: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("- {text}");
        }
    }

    pub(super) fn bar(&self, what: &str, total: u64) -> ProgressBar {
        let bar = ProgressBar::new(total);
        if self.quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("- {msg}: {pos}/{len} {per_sec} {wide_bar}")
        {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }

    pub(super) fn finish(&self, report: &Report) {
        if self.quiet {
            return;
        }
        let disk = report.disk_bytes.iter().max().copied().unwrap_or(0);
        let mail = disk.saturating_sub(report.reserve_bytes);
        let ratio = mail as f64 / report.raw_bytes.max(1) as f64;
        eprintln!(
            "\n{} messages on {} nodes, {} of mail",
            report.messages,
            report.nodes,
            HumanBytes(report.raw_bytes)
        );
        eprintln!(
            "  taken in at        {:.0} messages/s, {} copies each",
            report.messages_per_second, report.copies
        );
        eprintln!(
            "  equal everywhere   {:.2} s after the last",
            report.replicated_everywhere_seconds
        );
        eprintln!(
            "  node 1 healed in   {:.2} s, having missed {} ({})",
            report.heal_seconds,
            report.missed_while_down,
            HumanBytes(report.heal_bytes)
        );
        eprintln!(
            "  on disk per node   {} ({ratio:.2}x), and a reserve of {}",
            HumanBytes(mail),
            HumanBytes(report.reserve_bytes)
        );
        eprintln!(
            "  released, deleted  {}, {}, on a node that had not caught them",
            report.released, report.deleted
        );
        eprintln!(
            "  lost {}, corrupted {}, resurrected {}",
            report.lost, report.corrupted, report.resurrected
        );
    }
}
