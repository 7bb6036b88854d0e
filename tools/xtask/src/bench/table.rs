//! The figures as a table for people.
//! Never rounds a figure to look better: three digits, units in every cell.

use super::figures::{Figures, Ratios};
use super::outcome::{DemoOutcome, RivalOutcome};
use std::fmt::Write as _;

/// One line: what, a cell for each run, the rival, the ratio, what is aimed at.
type Row = Vec<String>;

/// The machine, the mails, and a line for each figure.
pub(super) fn render(figures: &Figures) -> String {
    let mut text = String::new();
    let (fed, missed) = (figures.fed, figures.runs.first().map_or(0, |run| run.missed_while_down));
    let _ = write!(
        text,
        "machine: {}\nmails: {}, {} fed with all nodes up and {} with one down, 8 writers\n\n",
        figures.machine,
        figures.mails,
        grouped(fed),
        grouped(missed)
    );
    text.push_str(&aligned(&rows(figures)));
    if let Some(run) = figures.runs.first().filter(|_| figures.rival.is_some()) {
        let _ = write!(
            text,
            "\nRatios compare GlusterFS with copies = {}, in this run; above 1 quard is ahead.\n",
            run.copies
        );
    }
    text
}

fn rows(figures: &Figures) -> Vec<Row> {
    let ratios = figures.ratios();
    let row = |what: &str,
               cell: &dyn Fn(&DemoOutcome) -> String,
               rival: &dyn Fn(&RivalOutcome) -> String,
               ratio: &dyn Fn(&Ratios) -> Option<f64>,
               aim: &str| {
        let mut row = vec![what.to_owned()];
        row.extend(figures.runs.iter().map(cell));
        if let (Some(outcome), Some(ratios)) = (&figures.rival, &ratios) {
            row.push(rival(outcome));
            row.push(ratio(ratios).map_or_else(String::new, |ratio| format!("{}x", digits(ratio))));
        }
        row.push(aim.to_owned());
        row
    };
    let none = |_: &RivalOutcome| String::new();
    let no_ratio = |_: &Ratios| None;
    vec![
        head(figures),
        row(
            "durable writes",
            &|run| format!("{} msg/s", digits(run.messages_per_second)),
            &|rival| format!("{} msg/s", digits(rival.write_messages_per_second)),
            &|ratios| Some(ratios.write),
            "25x, never below 10x",
        ),
        row(
            "then equal roots everywhere after",
            &|run| seconds(run.replicated_everywhere_seconds),
            &none,
            &no_ratio,
            "",
        ),
        row(
            "heal of a node that missed mail",
            &|run| seconds(run.heal_seconds),
            &|rival| seconds(rival.heal_seconds),
            &|ratios| Some(ratios.heal),
            "100x",
        ),
        row("bytes on the wire for it", &|run| bytes(run.heal_bytes), &none, &no_ratio, ""),
        row(
            "a day expired; rm -rf",
            &|_| {
                let expiry = &figures.expiry;
                format!("{} for {}", seconds(expiry.seconds()), grouped(expiry.messages))
            },
            &|rival| format!("{} for {}", seconds(rival.remove_seconds), grouped(rival.messages)),
            &|ratios| ratios.remove,
            "within 0.1 s",
        ),
        row(
            "disk per copy",
            &|run| format!("{}x raw", digits(run.disk_of_raw())),
            &|rival| format!("{}x raw", digits(rival.disk_of_raw())),
            &|ratios| Some(ratios.disk),
            "at most 0.42x raw",
        ),
    ]
}

fn head(figures: &Figures) -> Row {
    let mut row = vec![String::new()];
    row.extend(figures.runs.iter().map(|run| format!("quard, copies = {}", run.copies)));
    if let Some(rival) = &figures.rival {
        row.push(format!("GlusterFS {}", rival.version));
        row.push("ratio".to_owned());
    }
    row.push("aim".to_owned());
    row
}

fn seconds(seconds: f64) -> String {
    format!("{} s", digits(seconds))
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{} kB", digits(count as f64 / 1e3)),
        _ => format!("{} MB", digits(count as f64 / 1e6)),
    }
}

/// Three digits that count; all of them from 100 on.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0..0.1 => format!("{value:.4}"),
        0.1..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => grouped(value.round() as u64),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Cells one below the other, two spaces between columns.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells.map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{bytes, digits, grouped, render};
    use crate::bench::figures::tests::figures;

    #[test]
    fn every_figure_has_its_unit_and_its_ratio() {
        let text = render(&figures(true));
        for line in [
            "machine: 2 cores, some CPU, Linux 6.1.0",
            "mails: generated mail, 5,000 fed with all nodes up and 5,000 with one down, 8 writers",
            "durable writes                     4,000 msg/s        4,000 msg/s        160 msg/s         25.0x   25x, never below 10x",
            "heal of a node that missed mail    2.00 s             2.00 s             300 s             150x    100x",
            "bytes on the wire for it           20.0 MB            20.0 MB",
            "a day expired; rm -rf              0.0500 s for 5,000  0.0500 s for 5,000  75.0 s for 5,000",
            "disk per copy                      0.410x raw",
        ] {
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let found = text.lines().any(|found| squeezed(found).starts_with(&squeezed(line)));
            assert!(found, "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn without_a_rival_its_columns_are_not_there() {
        let text = render(&figures(false));
        assert!(!text.contains("GlusterFS") && !text.contains("ratio"), "{text}");
        let head = text.lines().nth(3).expect("a head");
        assert!(head.trim_start().starts_with("quard, copies = 3  "), "{text}");
    }

    #[test]
    fn columns_begin_one_below_the_other() {
        let text = render(&figures(true));
        let mut starts = text.lines().skip(3).take(2).map(|line| {
            let aim = line.rfind("aim").or_else(|| line.rfind("25x,"));
            aim.expect("an aim")
        });
        assert_eq!(starts.next(), starts.next(), "{text}");
    }

    #[test]
    fn numbers_keep_the_digits_that_count() {
        for (value, text) in
            [(0.0123, "0.0123"), (0.41, "0.410"), (2.0, "2.00"), (99.94, "99.9"), (1234.5, "1,235")]
        {
            assert_eq!(digits(value), text);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(100), "100");
        assert_eq!((bytes(999_500), bytes(20_000_000)), ("1,000 kB".into(), "20.0 MB".into()));
    }
}
