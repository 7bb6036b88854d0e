//! The same bytes, cut in any way, are the same session.
//! Never asks what a session should say, only that it always says it.

use super::{HELLO, local, settings, speak, stored};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let commands = prop_oneof![
        Just("LHLO x\r\n"),
        Just("MAIL FROM:<a@x>\r\n"),
        Just("MAIL FROM:<a@x> SIZE=101 BODY=BINARYMIME\r\n"),
        Just("RCPT TO:<b+virus@x>\r\n"),
        Just("RCPT TO:<c@x>\r\n"),
        Just("DATA\r\n"),
        Just("\r\n.\r\n"),
        Just(".\r\n"),
        Just("BDAT 5\r\n"),
        Just("BDAT 12 LAST\r\n"),
        Just("BDAT 101 LAST\r\n"),
        Just("BDAT 0 LAST\r\n"),
        Just("XFORWARD ADDR=192.0.2.1\r\n"),
        Just("RSET\r\n"),
        Just("NOOP\r\n"),
    ];
    prop_oneof![
        12 => commands.prop_map(|text| text.as_bytes().to_vec()),
        2 => "[.\r\nx]{0,30}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (2030usize..2070).prop_map(|length| [vec![b'x'; length], b"\r\n".to_vec()].concat()),
    ]
}

proptest! {
    #[test]
    fn bytes_mean_the_same_however_they_are_cut(
        fragments in proptest::collection::vec(fragment(), 0..40),
        cuts in proptest::collection::vec(1usize..60, 1..20),
    ) {
        let bytes = [HELLO.as_bytes().to_vec(), fragments.concat()].concat();
        let mut settings = settings();
        settings.class_from_extension = true;
        let whole = speak(settings.clone(), local(), [&bytes[..]], stored);
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let cut = speak(settings.clone(), local(), pieces, stored);
        prop_assert_eq!(&cut, &whole);
        let by_one = speak(settings, local(), bytes.chunks(1), stored);
        prop_assert_eq!(&by_one, &whole);
        whole.codes();
        for mail in &whole.mails {
            prop_assert!(mail.body.len() <= 100 && !mail.envelope.recipients.is_empty());
        }
    }
}
