//! Messages as people see them: JSON shapes, header digests, recipients by address.
//! Never changes a message's bytes.

use crate::api::{
    DeliveryState, HoldState, MessageDetail, MessageSummary, RecipientState, ReleaseState,
};
use crate::daemon::handle::ActError;
use mail_parser::{Address, HeaderName, MessageParser};
use quar_base::action::Delivery;
use quar_base::arrival::Headers;
use quar_base::hold::Hold;
use quar_base::ids::MemberId;
use quar_base::limits::HEADER_BYTES_MAX;
use quar_base::roster::Roster;
use quar_base::time::UnixMillis;
use quar_store::{IdKey, Message, MessageState, Release};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Headers are looked for in this many bytes at the start of a message.
const HEADER_SEARCH_BYTES: usize = 256 << 10;
/// Context under which addresses that a message was released to are digested.
pub const OTHER_CONTEXT: &str = "release to";

/// Looks into the headers that a digest has, and steps over the rest.
static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    MessageParser::new()
        .header_address(HeaderName::From)
        .header_address(HeaderName::To)
        .header_text(HeaderName::Subject)
        .header_id(HeaderName::MessageId)
        .default_header_ignore()
});

/// The header digest of a message, whatever its bytes are.
#[must_use]
pub fn header_digest(body: &[u8]) -> Headers {
    let head = &body[..header_bytes(body)];
    let Some(message) = PARSER.parse_headers(head) else {
        return Headers::default();
    };
    let date = message.header_raw("Date").unwrap_or_default();
    Headers {
        from: cut(&message.from().map(addresses).unwrap_or_default()),
        to: cut(&message.to().map(addresses).unwrap_or_default()),
        subject: cut(message.subject().unwrap_or_default()),
        date: cut(date.trim()),
        message_id: cut(message.message_id().unwrap_or_default()),
    }
}

/// Bytes up to the first empty line, bounded.
fn header_bytes(body: &[u8]) -> usize {
    let bounded = &body[..body.len().min(HEADER_SEARCH_BYTES)];
    let is_blank = |at: &usize| matches!(bounded.get(at + 1), Some(b'\n' | b'\r'));
    let mut ends = memchr::memchr_iter(b'\n', bounded);
    ends.find(is_blank).map_or(bounded.len(), |at| at + 1)
}

fn addresses(address: &Address<'_>) -> String {
    let one = |addr: &mail_parser::Addr<'_>| match (addr.name(), addr.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => name.or(address).unwrap_or_default().to_owned(),
    };
    address.iter().take(20).map(one).collect::<Vec<_>>().join(", ")
}

/// At most [`HEADER_BYTES_MAX`] bytes of a text, without control characters.
fn cut(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if kept.len() + character.len_utf8() > HEADER_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// The indices of stored recipients that are named by address, in any case; ascending, each once.
///
/// A recipient that is stored twice has two, and both are meant.
///
/// # Errors
/// [`ActError::NoSuchRecipient`] for an address that is none.
pub fn recipient_indices(message: &Message, wanted: &[String]) -> Result<Vec<usize>, ActError> {
    let mut indices = BTreeSet::new();
    for address in wanted {
        let mut named = indices_of(message, address).peekable();
        named.peek().ok_or_else(|| ActError::NoSuchRecipient(address.clone()))?;
        indices.extend(named);
    }
    Ok(indices.into_iter().collect())
}

/// The indices under which an address is stored, in any case; none for another address.
pub fn indices_of(message: &Message, address: &str) -> impl Iterator<Item = usize> {
    let stored = message.arrival.envelope.recipients.iter().enumerate();
    let named = stored.filter(move |(_, known)| known.eq_ignore_ascii_case(address));
    named.map(|(index, _)| index)
}

/// An instant as RFC 3339 in UTC, to the second.
#[must_use]
pub fn rfc3339(time: UnixMillis) -> String {
    let day = time.day();
    let second = time.second_of(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{day}T{hour:02}:{minute:02}:{second:02}Z")
}

fn member_name(id: MemberId, roster: &Roster) -> String {
    match roster.members.iter().chain(&roster.past_members).find(|member| member.id == id) {
        Some(member) => member.name.clone(),
        None if id == MemberId::IMPORT => "import".to_owned(),
        None => id.to_string(),
    }
}

/// A message as a listing shows it.
#[must_use]
pub fn summary(message: &Message, roster: &Roster) -> MessageSummary {
    let arrival = &message.arrival;
    let count = arrival.recipient_count();
    let left = arrival.envelope.recipients.iter().enumerate();
    let left = left.filter(|(index, _)| !message.state.deleted.covers(count, *index));
    let delivered = |release: &Release| {
        let mut deliveries = release.deliveries.iter().flatten();
        deliveries.any(|delivery| matches!(delivery, Delivery::Delivered(_)))
    };
    MessageSummary {
        id: message.id.to_string(),
        class: message.id.bucket.class.to_string(),
        received: rfc3339(message.id.key.instant(message.id.bucket.day)),
        node: member_name(message.author, roster),
        sender: arrival.envelope.sender.clone(),
        recipients: left.map(|(_, address)| address.clone()).collect(),
        from: arrival.headers.from.clone(),
        subject: arrival.headers.subject.clone(),
        bytes: arrival.body_bytes,
        score: f64::from(arrival.score_milli) / 1000.0,
        reason: arrival.reason.clone(),
        released: message.state.releases.iter().any(delivered),
        body_here: message.has_body,
        copies: None,
    }
}

/// A message as `show` shows it.
#[must_use]
pub fn detail(message: &Message, roster: &Roster, id_key: &IdKey) -> MessageDetail {
    let arrival = &message.arrival;
    let count = arrival.recipient_count();
    let address =
        |index: usize| arrival.envelope.recipients.get(index).cloned().unwrap_or_default();
    let recipient_states = (0..count).map(|index| RecipientState {
        index,
        address: address(index),
        deleted: message.state.deleted.covers(count, index),
    });
    let releases = message.state.releases.iter();
    MessageDetail {
        recipient_states: recipient_states.collect(),
        to: arrival.headers.to.clone(),
        date: arrival.headers.date.clone(),
        message_id: arrival.headers.message_id.clone(),
        body_id: arrival.body().to_string(),
        queue_id: arrival.envelope.queue_id.clone(),
        client_address: arrival.envelope.client_address.clone(),
        helo: arrival.envelope.helo.clone(),
        releases: releases.map(|release| release_state(release, message, roster, id_key)).collect(),
        hold: message.hold.as_ref().map(|hold| hold_state(hold, message)),
        summary: summary(message, roster),
    }
}

fn hold_state(hold: &Hold, message: &Message) -> HoldState {
    let before = MessageState::fold(hold.actions.clone());
    let count = message.arrival.recipient_count();
    let recipients = message.arrival.envelope.recipients.iter().enumerate();
    let deleted = recipients.filter(|(index, _)| before.deleted.covers(count, *index));
    HoldState {
        original: hold.original.to_string(),
        round: hold.round,
        deleted: deleted.map(|(_, address)| address.clone()).collect(),
        actions: hold.actions.len(),
        actions_left_out: hold.actions_left_out,
    }
}

fn release_state(
    release: &Release,
    message: &Message,
    roster: &Roster,
    id_key: &IdKey,
) -> ReleaseState {
    let stored = &message.arrival.envelope.recipients;
    let own = release.recipients.indices().map(|index| stored.get(index).cloned());
    // Other addresses are kept as digests; one that is also a stored recipient can be named.
    let others = release.others.iter().map(|digest| {
        let same = |address: &&String| other_digest(id_key, address) == *digest;
        stored.iter().find(same).cloned()
    });
    let addresses: Vec<Option<String>> = own.chain(others).collect();
    let deliveries = addresses.into_iter().enumerate().map(|(at, address)| {
        let delivery = release.deliveries.as_ref().and_then(|all| all.get(at));
        let unfinished = Delivery::Unknown("no outcome is known".into());
        delivery_state(address, delivery.unwrap_or(&unfinished))
    });
    ReleaseState {
        id: release.intent.to_string(),
        node: member_name(release.author, roster),
        at: rfc3339(release.at),
        deliveries: deliveries.collect(),
    }
}

/// The digest under which another address than a stored recipient's is kept.
#[must_use]
pub fn other_digest(id_key: &IdKey, address: &str) -> [u8; 16] {
    id_key.digest(OTHER_CONTEXT, address.to_ascii_lowercase().as_bytes())
}

/// One delivery in words.
#[must_use]
pub fn delivery_state(address: Option<String>, delivery: &Delivery) -> DeliveryState {
    let (result, reply) = match delivery {
        Delivery::Delivered(reply) => ("delivered", reply),
        Delivery::Failed(reply) => ("failed", reply),
        Delivery::Unknown(reply) => ("unknown", reply),
    };
    DeliveryState { address, result: result.to_owned(), reply: reply.clone() }
}

#[cfg(test)]
mod tests {
    use super::{header_digest, rfc3339};
    use quar_base::time::UnixMillis;

    #[test]
    fn takes_decoded_headers_from_a_mail() {
        let mail = b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: a@example.net\r\n\
            Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nDate: Mon, 23 Nov 2026 08:00:00 +0000\r\n\
            Message-ID: <x@example.org>\r\n\r\nSubject: not this\r\n";
        let headers = header_digest(mail);
        assert_eq!(headers.from, "J\u{fc}rgen <j@example.org>");
        assert_eq!(headers.to, "a@example.net");
        assert_eq!(headers.subject, "Gr\u{fc}\u{df}e");
        assert_eq!(headers.message_id, "x@example.org");
        assert_eq!(headers.date, "Mon, 23 Nov 2026 08:00:00 +0000");
    }

    #[test]
    fn bytes_that_are_no_mail_have_no_headers_and_long_ones_are_cut() {
        assert_eq!(header_digest(b"").subject, "");
        assert_eq!(header_digest(&[0xff; 1000]).subject, "");
        let long = format!("Subject: {}\r\n\r\n", "x".repeat(5000));
        assert_eq!(header_digest(long.as_bytes()).subject.len(), 512);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(UnixMillis(1_795_420_812_345)), "2026-11-23T08:00:12Z");
    }
}
