//! What comes with a message over HTTP: class, envelope, score and reason.
//! Never believes a header of the message itself.
//!
//! Each field is taken from the first of these that has it:
//! ```text
//! query string   class= sender= recipient= queue_id= client_address= helo= reason= score=
//!                imported=true received=2026-11-23T08:15:12Z
//! X-Quard-*      the same names: X-Quard-Class, X-Quard-Queue-Id ...; X-Quard-Recipient repeats
//! X-Rspamd-*     From, Rcpt, Qid, Ip, Score, Action, Symbols, as Rspamd's metadata exporter writes
//!                them with meta_headers = true; "unknown" stands for nothing
//! ```

use super::failure::Failure;
use super::instant::parse_instant;
use super::query::Parameters;
use crate::daemon::handle::Arrived;
use crate::intake;
use crate::intake::lmtp::address::is_mailbox;
use axum::http::{HeaderMap, Uri};
use mail_parser::MessageParser;
use quar_base::arrival::Envelope;
use quar_base::class::Class;
use quar_base::limits::{FIELD_BYTES_MAX, RECIPIENTS_MAX, STAMP_AHEAD_MS_MAX};
use quar_base::time::{Millis, UnixMillis};
use serde::Deserialize;
use std::collections::BTreeMap;

const FIELDS: [&str; 10] = [
    "class",
    "sender",
    "recipient",
    "queue_id",
    "client_address",
    "helo",
    "reason",
    "score",
    "imported",
    "received",
];
const QUARD_PREFIX: &str = "x-quard-";
const RSPAMD_PREFIX: &str = "x-rspamd-";
/// What Rspamd writes where it knows nothing.
const RSPAMD_NOTHING: &str = "unknown";
const SCORE_MAX: f64 = 1_000_000.0;

/// Everything of a message but its bytes.
#[derive(Debug, PartialEq)]
pub(crate) struct Cover {
    pub(crate) class: Class,
    pub(crate) envelope: Envelope,
    pub(crate) score_milli: i32,
    pub(crate) reason: String,
    pub(crate) arrived: Arrived,
}

type Fields = BTreeMap<&'static str, Vec<String>>;

/// Reads what comes with a message.
pub(crate) fn read(uri: &Uri, headers: &HeaderMap, now: UnixMillis) -> Result<Cover, Failure> {
    let mut fields = from_query(uri)?;
    for more in [from_quard_headers(headers)?, from_rspamd_headers(headers)?] {
        for (name, values) in more {
            fields.entry(name).or_insert(values);
        }
    }
    let sender = address("sender", &one(&fields, "sender")?)?;
    let recipients = fields.get("recipient").into_iter().flatten();
    let recipients = recipients.map(|text| recipient(text));
    let recipients = recipients.collect::<Result<Vec<_>, _>>()?;
    if recipients.len() > RECIPIENTS_MAX {
        let error = format!("there are more than {RECIPIENTS_MAX} recipients");
        return Err(Failure::invalid(error));
    }
    Ok(Cover {
        class: class(&one(&fields, "class")?)?,
        envelope: Envelope {
            sender,
            recipients,
            client_address: plain(&fields, "client_address")?,
            helo: plain(&fields, "helo")?,
            queue_id: plain(&fields, "queue_id")?,
            spool_path: String::new(),
        },
        score_milli: score(&one(&fields, "score")?)?,
        reason: plain(&fields, "reason")?,
        arrived: arrived(&fields, now)?,
    })
}

fn from_query(uri: &Uri) -> Result<Fields, Failure> {
    let parameters = Parameters::read(uri, &FIELDS)?;
    let mut fields = Fields::new();
    for name in FIELDS {
        let values: Vec<String> = parameters.all(name).map(str::to_owned).collect();
        if !values.is_empty() {
            fields.insert(name, values);
        }
    }
    Ok(fields)
}

fn from_quard_headers(headers: &HeaderMap) -> Result<Fields, Failure> {
    let mut fields = Fields::new();
    for (name, value) in headers {
        let Some(field) = name.as_str().strip_prefix(QUARD_PREFIX) else {
            continue;
        };
        let field = field.replace('-', "_");
        let known = FIELDS.into_iter().find(|known| *known == field);
        let known = known.ok_or_else(|| Failure::invalid(format!("unknown header {name}")))?;
        let text = std::str::from_utf8(value.as_bytes());
        let text = text.map_err(|_| Failure::invalid(format!("{name} is not UTF-8")))?;
        fields.entry(known).or_default().push(text.to_owned());
    }
    Ok(fields)
}

fn from_rspamd_headers(headers: &HeaderMap) -> Result<Fields, Failure> {
    let text = |field: &str| {
        let value = headers.get(format!("{RSPAMD_PREFIX}{field}"))?;
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (text != RSPAMD_NOTHING).then_some(text)
    };
    let mut fields = Fields::new();
    for (name, field) in
        [("queue_id", "qid"), ("sender", "from"), ("client_address", "ip"), ("score", "score")]
    {
        if let Some(text) = text(field) {
            fields.insert(name, vec![decoded(&text)]);
        }
    }
    if let Some(text) = text("rcpt") {
        let addresses = serde_json::from_str(&text);
        let addresses =
            addresses.map_err(|_| Failure::invalid("X-Rspamd-Rcpt is not a list of addresses"))?;
        fields.insert("recipient", addresses);
    }
    if let Some(action) = text("action") {
        let symbols = text("symbols").unwrap_or_default();
        fields.insert("reason", vec![rspamd_reason(&decoded(&action), &symbols)]);
    }
    Ok(fields)
}

/// A value in which Rspamd has coded what is not ASCII, as in a mail header.
fn decoded(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    let header = format!("Subject: {text}\r\n\r\n");
    let message = MessageParser::new().parse_headers(header.as_bytes());
    let decoded = message.as_ref().and_then(|message| message.subject());
    decoded.unwrap_or(text).to_owned()
}

#[derive(Deserialize)]
struct Symbol {
    name: String,
    #[serde(default)]
    score: f64,
}

/// The action, and the names of the symbols that weighed most, as far as a record holds them.
fn rspamd_reason(action: &str, symbols: &str) -> String {
    let mut symbols: Vec<Symbol> = serde_json::from_str(symbols).unwrap_or_default();
    symbols.retain(|symbol| symbol.score != 0.0);
    symbols.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
    let mut reason = action.to_owned();
    for (at, Symbol { name, score }) in symbols.iter().enumerate() {
        let separator = if at == 0 { ": " } else { ", " };
        let more = format!("{separator}{name} ({score})");
        if reason.len() + more.len() > FIELD_BYTES_MAX {
            break;
        }
        reason.push_str(&more);
    }
    reason
}

/// The only value of a field; empty when there is none.
fn one(fields: &Fields, name: &str) -> Result<String, Failure> {
    match fields.get(name).map(Vec::as_slice) {
        None | Some([]) => Ok(String::new()),
        Some([value]) => Ok(value.trim().to_owned()),
        Some(_) => Err(Failure::invalid(format!("{name} may be given once"))),
    }
}

/// The only value of a field that is kept as it is.
fn plain(fields: &Fields, name: &str) -> Result<String, Failure> {
    let text = one(fields, name)?;
    if text.len() > FIELD_BYTES_MAX || text.chars().any(char::is_control) {
        let error = format!("{name}: control characters, or more than {FIELD_BYTES_MAX} bytes");
        return Err(Failure::invalid(error));
    }
    Ok(text)
}

fn class(text: &str) -> Result<Class, Failure> {
    if text.is_empty() {
        return Ok(Class::SPAM);
    }
    let class: Class = text.parse().map_err(Failure::invalid)?;
    let takes_mail = Class::of_mail().any(|known| known == class);
    if takes_mail { Ok(class) } else { Err(intake::Refusal::Class(class.to_string()).into()) }
}

/// An address, with or without angle brackets; empty for the null sender.
fn address(name: &str, text: &str) -> Result<String, Failure> {
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let address = inner.unwrap_or(text);
    if address.is_empty() || is_mailbox(address) {
        return Ok(address.to_owned());
    }
    Err(Failure::invalid(format!("{name}: not a mail address")))
}

fn recipient(text: &str) -> Result<String, Failure> {
    let recipient = address("recipient", text.trim())?;
    if recipient.is_empty() {
        return Err(Failure::invalid("recipient: an empty address"));
    }
    Ok(recipient)
}

fn score(text: &str) -> Result<i32, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    let score = text.parse().ok().filter(|score: &f64| score.abs() <= SCORE_MAX);
    let score = score.ok_or_else(|| Failure::invalid(format!("score: {text:?} is no score")))?;
    // Within 10^9, so it fits.
    Ok((score * 1000.0).round() as i32)
}

fn arrived(fields: &Fields, now: UnixMillis) -> Result<Arrived, Failure> {
    let received = one(fields, "received")?;
    let is_imported = match one(fields, "imported")?.as_str() {
        "" | "false" => false,
        "true" => true,
        _ => return Err(Failure::invalid("imported: neither true nor false")),
    };
    if !is_imported {
        if received.is_empty() {
            return Ok(Arrived::Now);
        }
        return Err(Failure::invalid("received: goes with imported=true only"));
    }
    let at = parse_instant(&received);
    let at = at.ok_or_else(|| {
        Failure::invalid("received: an import needs an instant, such as 2026-11-23T08:15:12Z")
    })?;
    // Later ones would be refused by every peer.
    if at > now.plus(Millis(STAMP_AHEAD_MS_MAX)) || !at.day().is_representable() {
        return Err(Failure::invalid("received: more than 48 h ahead of this node's clock"));
    }
    Ok(Arrived::Imported(at))
}

#[cfg(test)]
mod tests;
