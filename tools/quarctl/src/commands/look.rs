//! `ls`, `show` and `cat`: looking at what is there.
//! Never changes anything.

use crate::arguments::{Cat, Ls, One};
use crate::backend::Backend;
use crate::failure::Ending;
use crate::output::{Output, plain, short_id, size, time};
use anyhow::Context;
use quar_base::key::MessageId;
use quar_store::Query;
use quard::api::{self, MessageCopies, MessageDetail, MessagePage, MessageSummary, ReleaseState};

/// Lists messages.
pub fn list(backend: &mut Backend, ls: &Ls, output: &mut Output) -> anyhow::Result<Ending> {
    let limit = if ls.all { api::PAGE_MAX } else { ls.limit.into() };
    let mut query = Query { before: ls.before, ..ls.filters.query(limit) };
    let list = match ls.under_replicated {
        true => Backend::list_under_replicated,
        false => Backend::list,
    };
    let mut page = list(backend, &query)?;
    while ls.all
        && let Some(next) = page.next.take()
    {
        query.before = Some(next.parse::<MessageId>()?);
        let more = list(backend, &query)?;
        page.messages.extend(more.messages);
        page.damaged += more.damaged;
        page.next = more.next;
    }
    if output.is_json() {
        output.json(&page)?;
    } else {
        show_page(&page, ls, output)?;
    }
    Ok(if page.damaged == 0 { Ending::Done } else { Ending::Warnings })
}

fn show_page(page: &MessagePage, ls: &Ls, output: &mut Output) -> anyhow::Result<()> {
    let row = |message: &MessageSummary| {
        let id = &message.id;
        vec![
            if ls.long { id.clone() } else { short_id(id) },
            time(&message.received),
            message.class.clone(),
            size(message.bytes),
            marks(message),
            copies(message),
            sender(&message.sender),
            recipients(&message.recipients),
            message.subject.replace('\n', " "),
        ]
    };
    let rows = page.messages.iter().map(row).collect();
    let headings =
        ["ID", "RECEIVED (UTC)", "CLASS", "SIZE", "", "COPIES", "SENDER", "RECIPIENTS", "SUBJECT"];
    if page.messages.is_empty() {
        output.remark("no messages");
    } else {
        output.table(&headings, rows, &[3])?;
    }
    if let Some(next) = &page.next {
        output.remark(format!("there are more: --before {next}, or --all"));
    }
    if page.damaged > 0 {
        let damaged = page.damaged;
        output
            .remark(format!("{damaged} messages cannot be listed: their records are damaged here"));
    }
    Ok(())
}

/// R: released. ?: the body is not on this node yet.
fn marks(message: &MessageSummary) -> String {
    let mut marks = String::new();
    if message.released {
        marks.push('R');
    }
    if !message.body_here {
        marks.push('?');
    }
    marks
}

/// How many of the members have it.
fn copies(message: &MessageSummary) -> String {
    let copies = message.copies.as_ref();
    copies.map_or_else(String::new, |copies| format!("{}/{}", copies.confirmed, copies.members))
}

fn sender(address: &str) -> String {
    if address.is_empty() { "<>".to_owned() } else { address.to_owned() }
}

fn recipients(addresses: &[String]) -> String {
    match addresses {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

/// Shows one message.
pub fn show(backend: &mut Backend, one: &One, output: &mut Output) -> anyhow::Result<Ending> {
    let detail = backend.show(&one.id)?;
    if output.is_json() {
        output.json(&detail)?;
    } else {
        show_detail(&detail, output)?;
    }
    Ok(Ending::Done)
}

fn show_detail(detail: &MessageDetail, output: &mut Output) -> anyhow::Result<()> {
    let message = &detail.summary;
    let body = match message.body_here {
        true => size(message.bytes),
        false => format!("{}, not on this node yet", size(message.bytes)),
    };
    let lines = [
        ("id", message.id.clone()),
        ("class", message.class.clone()),
        ("received", format!("{} UTC", time(&message.received))),
        ("node", message.node.clone()),
        ("size", body),
        ("score", message.score.to_string()),
        ("reason", message.reason.clone()),
        ("queue id", detail.queue_id.clone()),
        ("client", format!("{} {}", detail.client_address, detail.helo)),
        ("sender", sender(&message.sender)),
        ("copies", message.copies.as_ref().map_or_else(String::new, MessageCopies::text)),
    ];
    for (name, text) in lines {
        field(name, &text, output)?;
    }
    if let Some(hold) = &detail.hold {
        field("holds", &hold.original, output)?;
        if hold.actions_left_out > 0 {
            let left_out = hold.actions_left_out;
            field("", &format!("without the first {left_out} of its actions"), output)?;
        }
    }
    for recipient in &detail.recipient_states {
        let was_deleted =
            detail.hold.as_ref().is_some_and(|hold| hold.deleted.contains(&recipient.address));
        let state = match (recipient.deleted, was_deleted) {
            (true, _) => "  (deleted)",
            (false, true) => "  (the original was deleted for them)",
            (false, false) => "",
        };
        field("recipient", &format!("{}{state}", recipient.address), output)?;
    }
    for (name, text) in [
        ("From", &message.from),
        ("To", &detail.to),
        ("Subject", &message.subject),
        ("Date", &detail.date),
        ("Message-ID", &detail.message_id),
    ] {
        field(name, text, output)?;
    }
    field("body id", &detail.body_id, output)?;
    for release in &detail.releases {
        show_release(release, output)?;
    }
    Ok(())
}

fn field(name: &str, text: &str, output: &mut Output) -> anyhow::Result<()> {
    let text = plain(text).replace('\n', " ");
    if !text.trim().is_empty() {
        output.line(format!("{name:<12}{}", text.trim()))?;
    }
    Ok(())
}

fn show_release(release: &ReleaseState, output: &mut Output) -> anyhow::Result<()> {
    let ReleaseState { node, at, .. } = release;
    field("released", &format!("{} UTC by {node}", time(at)), output)?;
    for delivery in &release.deliveries {
        let address = delivery.address.as_deref().unwrap_or("another address");
        let text = format!("{address}: {} ({})", delivery.result, delivery.reply);
        field("", &text, output)?;
    }
    Ok(())
}

/// Writes one message out.
pub fn cat(backend: &mut Backend, cat: &Cat, output: &mut Output) -> anyhow::Result<Ending> {
    let body = backend.body(&cat.id)?;
    match &cat.output {
        Some(file) => {
            let written = std::fs::write(file, &body);
            written.with_context(|| format!("cannot write {}", file.display()))?;
        }
        None => output.bytes(&body)?,
    }
    Ok(Ending::Done)
}

#[cfg(test)]
mod tests {
    use super::{marks, recipients, show_detail, show_page};
    use crate::arguments::{Arguments, Command, Ls};
    use crate::output::tests::Written;
    use clap::Parser;
    use quard::api::{
        DeliveryState, HoldState, MessageDetail, MessagePage, MessageSummary, RecipientState,
        ReleaseState,
    };

    fn summary() -> MessageSummary {
        MessageSummary {
            id: format!("spam-20261123-081512-{}", "4f".repeat(32)),
            class: "spam".into(),
            received: "2026-11-23T08:15:12Z".into(),
            node: "node1".into(),
            sender: String::new(),
            recipients: vec!["a@x".into(), "b@x".into(), "c@x".into()],
            from: "A <a@y>".into(),
            subject: "one\u{1b}[31m two".into(),
            bytes: 3649,
            score: 12.5,
            reason: String::new(),
            released: true,
            body_here: false,
            copies: None,
        }
    }

    fn ls(line: &str) -> Ls {
        let words = std::iter::once("quarctl").chain(line.split(' '));
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Ls(ls) => ls,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listing_shows_short_ids_null_senders_and_marks() {
        let written = Written::default();
        let mut output = written.output(false, false);
        let page = MessagePage { messages: vec![summary()], next: None, damaged: 0 };
        show_page(&page, &ls("ls"), &mut output).unwrap();
        let text = written.text();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..5], ["4f4f4f4f4f4f", "2026-11-23", "08:15:12", "spam", "3.6"]);
        assert_eq!(row[5..], ["kB", "R?", "<>", "a@x", "+2", "one\u{fffd}[31m", "two"]);
        show_page(&page, &ls("ls --long"), &mut output).unwrap();
        assert!(written.text().contains(&page.messages[0].id));
    }

    #[test]
    fn a_message_shows_who_lost_it_and_how_its_releases_ended() {
        let written = Written::default();
        let detail = MessageDetail {
            summary: summary(),
            recipient_states: vec![
                RecipientState { index: 0, address: "a@x".into(), deleted: true },
                RecipientState { index: 1, address: "b@x".into(), deleted: false },
            ],
            to: "b@x".into(),
            date: String::new(),
            message_id: String::new(),
            body_id: "77".into(),
            queue_id: "4ABC".into(),
            client_address: String::new(),
            helo: String::new(),
            releases: vec![ReleaseState {
                id: "55".into(),
                node: "node2".into(),
                at: "2026-11-23T09:00:00Z".into(),
                deliveries: vec![DeliveryState {
                    address: None,
                    result: "unknown".into(),
                    reply: "connection lost".into(),
                }],
            }],
            hold: Some(HoldState {
                original: "spam-20261123-081512-77".into(),
                round: 0,
                deleted: vec!["a@x".into(), "b@x".into()],
                actions: 3,
                actions_left_out: 2,
            }),
        };
        show_detail(&detail, &mut written.output(false, false)).unwrap();
        let text = written.text();
        for line in [
            "recipient   a@x  (deleted)",
            "recipient   b@x  (the original was deleted for them)",
            "holds       spam-20261123-081512-77",
            "            without the first 2 of its actions",
            "size        3.6 kB, not on this node yet",
            "sender      <>",
            "released    2026-11-23 09:00:00 UTC by node2",
            "            another address: unknown (connection lost)",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(!text.contains("client") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn marks_and_recipients_are_short() {
        let mut message = summary();
        (message.released, message.body_here) = (false, true);
        assert_eq!(marks(&message), "");
        assert_eq!(recipients(&[]), "-");
        assert_eq!(recipients(&["a@x".into()]), "a@x");
    }
}
