//! Every fixed reply of a session, in one place.
//! Never echoes what the client said.
//!
//! *Source*: docs/operating.md, "What the mail server hears"; codes from RFC 5321 and RFC 3463.

/// Room, in bytes, for the free text of a reply.
const TEXT_BYTES_MAX: usize = 400;

/// A command that is refused: the reply, and what it does to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// The whole reply line, without CR LF.
    pub(super) line: &'static str,
    /// What follows from it.
    pub(super) weight: Weight,
}

/// What a refusal does to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nothing: a true mail server can meet it with mail as it is.
    Free,
    /// It counts towards the limit on errors.
    Counted,
    /// It ends the session: what follows cannot be told apart from commands.
    Fatal,
}

impl Denial {
    /// The same refusal, not counted.
    pub(super) const fn uncounted(self) -> Self {
        let weight = match self.weight {
            Weight::Counted => Weight::Free,
            other => other,
        };
        Self { weight, ..self }
    }
}

const fn free(line: &'static str) -> Denial {
    let weight = Weight::Free;
    Denial { line, weight }
}

const fn counted(line: &'static str) -> Denial {
    let weight = Weight::Counted;
    Denial { line, weight }
}

const fn fatal(line: &'static str) -> Denial {
    let weight = Weight::Fatal;
    Denial { line, weight }
}

pub(super) const OK: &str = "250 2.0.0 OK";
pub(super) const SENDER_OK: &str = "250 2.1.0 OK";
pub(super) const RECIPIENT_OK: &str = "250 2.1.5 OK";
pub(super) const VERIFY: &str = "252 2.0.0 only RCPT can tell";
pub(super) const GO_AHEAD: &str = "354 end with CR LF . CR LF";
pub(super) const GOODBYE: &str = "221 2.0.0 goodbye";
pub(super) const HELP_LMTP: &str =
    "214 2.0.0 LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT XFORWARD";
pub(super) const HELP_SMTP: &str =
    "214 2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT XFORWARD";

pub(super) const TOO_MANY_CONNECTIONS: &str = "421 4.3.2 too many connections, come again";
pub(super) const SHUTTING_DOWN: &str = "421 4.3.2 shutting down, come again";
pub(super) const IDLE: &str = "421 4.4.2 nothing heard for too long, closing";
pub(super) const TOO_MANY_ERRORS: &str = "421 4.7.0 too many errors, closing";

pub(super) const UNKNOWN_VERB: Denial = counted("500 5.5.2 no such command");
pub(super) const NOT_TEXT: Denial = counted("500 5.5.2 command is not UTF-8 or holds a bare CR");
pub(super) const TOO_LONG: Denial = counted("500 5.5.2 command line has more than 2048 bytes");
pub(super) const TOO_LONG_CHUNK: Denial =
    fatal("500 5.5.2 BDAT line has more than 2048 bytes, closing");
pub(super) const BARE_LF: Denial = fatal("500 5.5.2 command lines end with CR LF, closing");
pub(super) const WEB_CLIENT: Denial = fatal("500 5.5.1 this is a mail service, closing");
pub(super) const USE_LHLO: Denial = counted("500 5.5.1 this is LMTP: say LHLO");
pub(super) const USE_EHLO: Denial = counted("500 5.5.1 this is SMTP: say EHLO");
pub(super) const NOT_OFFERED: Denial = counted("502 5.5.1 command is not offered");

pub(super) const NO_ARGUMENT: Denial = counted("501 5.5.4 command takes no argument");
pub(super) const BAD_NAME: Denial = counted("501 5.5.4 a host name is needed");
pub(super) const BAD_SENDER: Denial = counted("501 5.1.7 write MAIL FROM:<address>");
pub(super) const BAD_RECIPIENT: Denial = counted("501 5.1.3 write RCPT TO:<address>");
pub(super) const BAD_PARAMETER: Denial = counted("501 5.5.4 parameter is malformed or repeated");
pub(super) const BAD_CHUNK: Denial = fatal("501 5.5.4 write BDAT size [LAST], closing");
pub(super) const BAD_FORWARD: Denial = counted("501 5.5.4 XFORWARD attribute is malformed");
pub(super) const NO_SUCH_PARAMETER: Denial = counted("555 5.5.4 parameter is not offered");
pub(super) const NEEDS_UTF8: Denial = free("553 5.6.7 address is not ASCII: declare SMTPUTF8");

pub(super) const HELLO_FIRST: Denial = counted("503 5.5.1 say LHLO or EHLO first");
pub(super) const MAIL_TWICE: Denial = counted("503 5.5.1 a transaction is open");
pub(super) const MAIL_FIRST: Denial = counted("503 5.5.1 MAIL comes first");
pub(super) const NO_RECIPIENTS: Denial = free("503 5.5.1 no valid recipients");
pub(super) const CHUNKS_BEGAN: Denial = counted("503 5.5.1 the message has begun with BDAT");
pub(super) const BINARY_NEEDS_CHUNKS: Denial = counted("503 5.5.1 BINARYMIME needs BDAT");
pub(super) const FORWARD_TRUST: Denial = counted("550 5.7.1 XFORWARD is for local clients");

pub(super) const TOO_MANY_RECIPIENTS: Denial = free("452 4.5.3 too many recipients");
pub(super) const DECLARED_TOO_LARGE: Denial = free(TOO_LARGE);
pub(super) const TOO_LARGE: &str = "552 5.3.4 message is larger than the limit";
pub(super) const NO_ROOM: &str = "452 4.3.1 too many large messages at once, come again";

/// `text` as it may stand in a reply: printable ASCII, not too long.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            ' '..='~' => letter,
            _ => '?',
        })
        .take(TEXT_BYTES_MAX)
        .collect()
}
