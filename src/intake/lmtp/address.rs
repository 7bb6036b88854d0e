//! Mail addresses as they stand between angle brackets in MAIL and RCPT.
//! Never changes an address: what the mail server took is kept as written.
//!
//! The grammar is RFC 5321's with three liberties, because a quarantine must take what the mail
//! server took: dots anywhere in a local part, any letters in a domain, and no domain at all.

use quar_base::class::Class;
use quar_base::limits::FIELD_BYTES_MAX;

/// Characters that stand for themselves only inside quotes or an address literal.
const SPECIALS: &str = "()<>[]:;@\\,\"";

/// Whether `address` can be written between angle brackets: a mailbox, not the null sender.
#[must_use]
pub fn is_mailbox(address: &str) -> bool {
    if address.len() > FIELD_BYTES_MAX || address.chars().any(char::is_control) {
        return false;
    }
    let Some(local_bytes) = local_length(address) else {
        return false;
    };
    match address[local_bytes..].strip_prefix('@') {
        Some(domain) => is_domain(domain),
        None => address.len() == local_bytes,
    }
}

/// Splits `<path>rest` into the mailbox, source routes removed, and the rest.
///
/// The null path `<>` gives an empty mailbox; `None` is no path.
pub(super) fn split_path(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('<')?;
    let (inside, rest) = split_at_unquoted(text, b'>')?;
    let mailbox = match inside.starts_with('@') {
        true => split_at_unquoted(inside, b':')?.1,
        false => inside,
    };
    let is_null = inside.is_empty();
    (is_null || is_mailbox(mailbox)).then_some((mailbox, rest))
}

/// Takes the class out of an address like `user+spam@example.org`, where there is one.
pub(super) fn split_class(address: &str) -> Option<(String, Class)> {
    if address.starts_with('"') {
        return None;
    }
    let (local, domain) = address.split_at(address.find('@').unwrap_or(address.len()));
    let (user, extension) = local.rsplit_once('+')?;
    let class = Class::of_mail().find(|class| class.to_string().eq_ignore_ascii_case(extension))?;
    (!user.is_empty()).then(|| (format!("{user}{domain}"), class))
}

/// Splits at the first `end` outside quotes, dropping it.
fn split_at_unquoted(text: &str, end: u8) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == end && !quoted => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// How many bytes of `address` are its local part.
fn local_length(address: &str) -> Option<usize> {
    let Some(quoted) = address.strip_prefix('"') else {
        let length = address.find(is_special).unwrap_or(address.len());
        return (length > 0).then_some(length);
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn is_domain(domain: &str) -> bool {
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal {
        Some(inside) => {
            let is_plain = |letter: char| letter == ':' || !is_special(letter);
            !inside.is_empty() && inside.chars().all(is_plain)
        }
        None => !domain.is_empty() && !domain.contains(is_special),
    }
}

fn is_special(letter: char) -> bool {
    letter == ' ' || SPECIALS.contains(letter)
}

#[cfg(test)]
mod tests {
    use super::{is_mailbox, split_class, split_path};
    use proptest::prelude::{prop_assert, proptest};
    use quar_base::class::Class;

    #[test]
    fn takes_the_addresses_that_mail_servers_pass_on() {
        for address in [
            "a@example.org",
            "two..dots.@docomo.example",
            "\"quoted @ > part\"@example.org",
            "\"a\\\"b\"@example.org",
            "a@[192.0.2.1]",
            "a@[IPv6:2001:db8::1]",
            "SRS0=x=y=example.org=a@example.net",
            "grüße@example.org",
            "postmaster",
        ] {
            let path = format!("<{address}> SIZE=1");
            assert_eq!(split_path(&path), Some((address, " SIZE=1")), "{address}");
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for path in [
            "a@example.org",
            "<a@example.org",
            "<a@b@example.org>",
            "<a b@example.org>",
            "<a@example.org\0>",
            "<\"a@example.org>",
            "<\"a\"b@example.org>",
            "<@example.org>",
            "<a@>",
            "<a@[]>",
            "<a@[x>",
            "<@relay.example>",
            "<@relay.example:>",
            "<<a@example.org>>",
        ] {
            assert_eq!(split_path(path), None, "{path}");
        }
        assert!(!is_mailbox(&"a".repeat(1025)));
    }

    #[test]
    fn strips_source_routes_and_knows_the_null_sender() {
        assert_eq!(split_path("<@a.example,@b.example:c@d.example>"), Some(("c@d.example", "")));
        assert_eq!(split_path("<>"), Some(("", "")));
    }

    #[test]
    fn an_extension_is_a_class_only_if_it_is_the_name_of_one() {
        let split = |address| split_class(address).map(|(address, class)| (address, class.0));
        let user = || "user@example.org".to_owned();
        assert_eq!(split("user+Virus@example.org"), Some((user(), 3)));
        assert_eq!(
            split("user+list+spam@example.org"),
            Some(("user+list@example.org".into(), Class::SPAM.0))
        );
        assert_eq!(split("user+spam"), Some(("user".into(), 1)));
        for address in [
            "user+ham@example.org",
            "user+class-1@example.org",
            "user+held@example.org",
            "+spam@example.org",
            "user@example.org+spam",
            "\"user+spam\"@example.org",
        ] {
            assert_eq!(split(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_of_a_path_can_go_into_one(
            path in "<[a\"\\\\@:.<> ,+é\\[\\]]{0,12}>.{0,3}",
        ) {
            if let Some((mailbox, _)) = split_path(&path) {
                prop_assert!(mailbox.is_empty() || is_mailbox(mailbox));
                let again = format!("<{mailbox}>");
                prop_assert!(split_path(&again) == Some((mailbox, "")), "{}", again);
            }
        }
    }
}
