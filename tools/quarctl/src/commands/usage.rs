//! `du`: what messages take up.
//! Never adds up itself: what the node counts is what is shown.

use crate::arguments::Du;
use crate::backend::Backend;
use crate::failure::Ending;
use crate::output::{Output, count, size};
use quard::api::{PAGE_MAX, UsageReply, UsageRow};

/// Shows what messages take up.
pub fn du(backend: &mut Backend, du: &Du, output: &mut Output) -> anyhow::Result<Ending> {
    let reply = backend.usage(&du.filters.query(PAGE_MAX), du.by.into())?;
    if output.is_json() {
        output.json(&reply)?;
    } else {
        show(&reply, output)?;
    }
    Ok(if reply.damaged == 0 { Ending::Done } else { Ending::Warnings })
}

fn show(reply: &UsageReply, output: &mut Output) -> anyhow::Result<()> {
    let heading = match reply.by.as_str() {
        "sender-domain" => "SENDER DOMAIN",
        "day" => "DAY",
        _ => "CLASS",
    };
    let rows = reply.rows.iter().chain([&reply.total]).map(cells).collect();
    output.table(&[heading, "MESSAGES", "MAIL", "ON DISK", "RATIO"], rows, &[1, 2, 3, 4])?;
    if let Some(bytes) = reply.file_bytes {
        output.remark(format!("the files of these days have {}", size(bytes)));
    }
    if reply.missing_bodies > 0 {
        let missing = count(reply.missing_bodies);
        output.remark(format!("the bodies of {missing} messages are not on this node"));
    }
    if reply.damaged > 0 {
        let damaged = count(reply.damaged);
        output
            .remark(format!("{damaged} messages are not counted: their records are damaged here"));
    }
    Ok(())
}

fn cells(row: &UsageRow) -> Vec<String> {
    let ratio = match row.mail_bytes {
        0 => "-".to_owned(),
        mail => format!("{:.2}", row.disk_bytes as f64 / mail as f64),
    };
    vec![row.name.clone(), count(row.messages), size(row.mail_bytes), size(row.disk_bytes), ratio]
}

#[cfg(test)]
mod tests {
    use super::show;
    use crate::output::tests::Written;
    use quard::api::{UsageReply, UsageRow};

    #[test]
    fn rows_and_their_total_stand_in_columns() {
        let row = |name: &str, messages, mail_bytes, disk_bytes| UsageRow {
            name: name.into(),
            messages,
            mail_bytes,
            disk_bytes,
        };
        let reply = UsageReply {
            by: "sender-domain".into(),
            rows: vec![row("x.example", 1200, 40_000, 10_000), row("<>", 1, 0, 300)],
            total: row("total", 1201, 40_000, 10_300),
            ..UsageReply::default()
        };
        let written = Written::default();
        show(&reply, &mut written.output(false, false)).unwrap();
        let wanted = "\
SENDER DOMAIN  MESSAGES     MAIL  ON DISK  RATIO
x.example         1,200  40.0 kB  10.0 kB   0.25
<>                    1      0 B    300 B      -
total             1,201  40.0 kB  10.3 kB   0.26
";
        assert_eq!(written.text(), wanted);
    }
}
