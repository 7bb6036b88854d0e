//! What follows the verb of a command: paths, parameters, sizes, XFORWARD attributes.
//! Never keeps state; every text gives either arguments or the reply that refuses it.

use super::address::split_path;
use super::replies::{
    BAD_CHUNK, BAD_FORWARD, BAD_NAME, BAD_PARAMETER, BAD_RECIPIENT, BAD_SENDER, Denial,
    NO_SUCH_PARAMETER,
};
use quar_base::limits::FIELD_BYTES_MAX;
use std::net::IpAddr;

/// Most digits of a size (RFC 1870 and RFC 3030).
const SIZE_DIGITS_MAX: usize = 20;

/// What a MAIL command says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MailArguments<'a> {
    /// Reverse path; empty for the null sender.
    pub(super) sender: &'a str,
    /// `SIZE=`, saturating.
    pub(super) declared_bytes: u64,
    /// `BODY=BINARYMIME`.
    pub(super) is_binary: bool,
    /// `SMTPUTF8`.
    pub(super) is_utf8: bool,
}

/// What a mail server told about its own client.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// `ADDR`.
    pub(super) client_address: Option<String>,
    /// `HELO`.
    pub(super) helo: Option<String>,
    /// `IDENT`.
    pub(super) queue_id: Option<String>,
}

/// The name after LHLO, EHLO or HELO.
pub(super) fn hello(rest: &str) -> Result<&str, Denial> {
    let is_name = |letter: char| !letter.is_whitespace() && !letter.is_control();
    if rest.is_empty() || rest.len() > FIELD_BYTES_MAX || !rest.chars().all(is_name) {
        return Err(BAD_NAME);
    }
    Ok(rest)
}

/// The path and parameters after MAIL.
pub(super) fn mail(rest: &str) -> Result<MailArguments<'_>, Denial> {
    let (sender, rest) = path_after("FROM:", rest).ok_or(BAD_SENDER)?;
    let mut arguments = MailArguments { sender, ..MailArguments::default() };
    let mut seen: Vec<&str> = Vec::new();
    for (keyword, value) in parameters(rest) {
        if !is_keyword(keyword) || seen.iter().any(|old| old.eq_ignore_ascii_case(keyword)) {
            return Err(BAD_PARAMETER);
        }
        seen.push(keyword);
        let name = keyword.to_ascii_uppercase();
        match (name.as_str(), value) {
            ("SIZE", Some(digits)) => {
                arguments.declared_bytes = size(digits).ok_or(BAD_PARAMETER)?;
            }
            ("BODY", Some(kind)) => arguments.is_binary = is_binary(kind)?,
            ("SMTPUTF8", None) => arguments.is_utf8 = true,
            ("SIZE" | "BODY" | "SMTPUTF8", _) => return Err(BAD_PARAMETER),
            _ => return Err(NO_SUCH_PARAMETER),
        }
    }
    Ok(arguments)
}

/// The path after RCPT, which takes no parameters.
pub(super) fn rcpt(rest: &str) -> Result<&str, Denial> {
    let (recipient, rest) = path_after("TO:", rest).ok_or(BAD_RECIPIENT)?;
    if recipient.is_empty() {
        return Err(BAD_RECIPIENT);
    }
    match parameters(rest).next() {
        Some((keyword, _)) if is_keyword(keyword) => Err(NO_SUCH_PARAMETER),
        Some(_) => Err(BAD_PARAMETER),
        None => Ok(recipient),
    }
}

/// The size after BDAT, and whether it is the last chunk.
pub(super) fn bdat(rest: &str) -> Result<(u64, bool), Denial> {
    let (digits, is_last) = match rest.split_once(' ') {
        Some((digits, last)) if last.trim().eq_ignore_ascii_case("LAST") => (digits, true),
        Some(_) => return Err(BAD_CHUNK),
        None => (rest, false),
    };
    // A size that saturates would be skipped wrongly: here it must be exact.
    match size(digits) {
        Some(bytes) if bytes < u64::MAX => Ok((bytes, is_last)),
        _ => Err(BAD_CHUNK),
    }
}

/// The attributes after XFORWARD, laid over those already known.
pub(super) fn xforward(rest: &str, known: &Forwarded) -> Result<Forwarded, Denial> {
    let mut forwarded = known.clone();
    let mut attributes = parameters(rest).peekable();
    if attributes.peek().is_none() {
        return Err(BAD_FORWARD);
    }
    for (name, value) in attributes {
        let value = xtext(value.ok_or(BAD_FORWARD)?).ok_or(BAD_FORWARD)?;
        match name.to_ascii_uppercase().as_str() {
            "ADDR" => forwarded.client_address = Some(client_address(value)?),
            "HELO" => forwarded.helo = Some(value),
            "IDENT" => forwarded.queue_id = Some(value),
            "NAME" | "PORT" | "PROTO" | "SOURCE" => {}
            _ => return Err(BAD_FORWARD),
        }
    }
    Ok(forwarded)
}

fn path_after<'a>(prefix: &str, rest: &'a str) -> Option<(&'a str, &'a str)> {
    let (found, path) = rest.split_at_checked(prefix.len())?;
    if !found.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let (mailbox, rest) = split_path(path.trim_start_matches(' '))?;
    (rest.is_empty() || rest.starts_with(' ')).then_some((mailbox, rest))
}

fn parameters(rest: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    rest.split(' ').filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    })
}

fn is_keyword(keyword: &str) -> bool {
    let mut bytes = keyword.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_binary(kind: &str) -> Result<bool, Denial> {
    match kind.to_ascii_uppercase().as_str() {
        "7BIT" | "8BITMIME" => Ok(false),
        "BINARYMIME" => Ok(true),
        _ => Err(BAD_PARAMETER),
    }
}

/// A decimal number of bytes; beyond 64 bits it saturates.
fn size(digits: &str) -> Option<u64> {
    let is_plain = !digits.is_empty()
        && digits.len() <= SIZE_DIGITS_MAX
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn client_address(value: String) -> Result<String, Denial> {
    let bare = match value.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("IPV6:") => &value[5..],
        _ => &value,
    };
    if bare.is_empty() {
        return Ok(String::new());
    }
    let address: IpAddr = bare.parse().map_err(|_| BAD_FORWARD)?;
    Ok(address.to_string())
}

/// Decodes xtext: what the mail server does not know becomes empty, what is no text question marks.
fn xtext(encoded: &str) -> Option<String> {
    if ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].contains(&encoded.to_ascii_uppercase().as_str()) {
        return Some(String::new());
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?),
            b'!'..=b'~' => decoded.push(byte),
            _ => return None,
        }
    }
    let text: String = String::from_utf8_lossy(&decoded)
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    (text.len() <= FIELD_BYTES_MAX).then_some(text)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::super::replies::{
        BAD_CHUNK, BAD_FORWARD, BAD_PARAMETER, BAD_RECIPIENT, BAD_SENDER, NO_SUCH_PARAMETER,
    };
    use super::{Forwarded, MailArguments, bdat, mail, rcpt, xforward};

    #[test]
    fn reads_the_parameters_of_mail_in_any_order_and_case() {
        let arguments = mail("FROM:<a@example.org> body=binarymime SMTPUTF8 Size=5216");
        let expected = MailArguments {
            sender: "a@example.org",
            declared_bytes: 5216,
            is_binary: true,
            is_utf8: true,
        };
        assert_eq!(arguments, Ok(expected));
        assert_eq!(mail("from: <>").map(|arguments| arguments.sender), Ok(""));
    }

    #[test]
    fn refuses_parameters_with_the_reply_that_says_why() {
        for (text, denial) in [
            ("FROM a@example.org", BAD_SENDER),
            ("FROM:<a@example.org>SIZE=1", BAD_SENDER),
            ("", BAD_SENDER),
            ("FROM:<a> SIZE=1 size=2", BAD_PARAMETER),
            ("FROM:<a> SIZE=-1", BAD_PARAMETER),
            ("FROM:<a> SIZE", BAD_PARAMETER),
            ("FROM:<a> SIZE=111111111111111111111", BAD_PARAMETER),
            ("FROM:<a> BODY=9BIT", BAD_PARAMETER),
            ("FROM:<a> SMTPUTF8=yes", BAD_PARAMETER),
            ("FROM:<a> =1", BAD_PARAMETER),
            ("FROM:<a> RET=HDRS", NO_SUCH_PARAMETER),
        ] {
            assert_eq!(mail(text), Err(denial), "{text}");
        }
        assert_eq!(rcpt("TO:<>"), Err(BAD_RECIPIENT));
        assert_eq!(rcpt("TO:<a> NOTIFY=NEVER"), Err(NO_SUCH_PARAMETER));
        assert_eq!(rcpt("TO:<a> \u{1}"), Err(BAD_PARAMETER));
    }

    #[test]
    fn a_chunk_has_an_exact_size_or_none() {
        assert_eq!(bdat("0 last"), Ok((0, true)));
        assert_eq!(bdat("86400"), Ok((86_400, false)));
        for text in ["", "LAST", "1 LASTLY", "+1", "1 LAST 2", "18446744073709551615"] {
            assert_eq!(bdat(text), Err(BAD_CHUNK), "{text}");
        }
    }

    #[test]
    fn xforward_decodes_xtext_and_knows_what_is_unavailable() {
        let given = "ADDR=IPV6:2001:DB8::1 HELO=a+2Bb=c IDENT=[UNAVAILABLE] PROTO=ESMTP";
        let expected = Forwarded {
            client_address: Some("2001:db8::1".into()),
            helo: Some("a+b=c".into()),
            queue_id: Some(String::new()),
        };
        assert_eq!(xforward(given, &Forwarded::default()), Ok(expected.clone()));
        let more = xforward("ident=4XYZ helo=+C3+BC+0A+FF", &expected).unwrap();
        assert_eq!(more.client_address, expected.client_address);
        assert_eq!(more.helo.as_deref(), Some("ü?\u{fffd}"));
        assert_eq!(more.queue_id.as_deref(), Some("4XYZ"));
        for text in ["", "ADDR", "ADDR=example.org", "HELO=+2", "HELO=+GG", "COLOUR=red"] {
            let refused = xforward(text, &Forwarded::default());
            assert_eq!(refused, Err(BAD_FORWARD), "{text}");
        }
    }
}
