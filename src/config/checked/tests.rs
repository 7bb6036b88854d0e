//! Settings as people write them, right and wrong.
//! Never a real file.

use super::{ByteCount, Config, ConfigError, ListenAddress, LogFormat, LogLevel};
use crate::config::{HttpRole, HttpToken, Paths};
use proptest::prelude::proptest;
use quar_base::class::Class;
use quar_base::ids::MemberId;
use quar_base::roster::Member;
use quar_base::signing::PublicKey;
use quar_base::time::Millis;
use std::path::{Path, PathBuf};

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let paths = Paths::under(Some(Path::new("/r")));
    let parsed = Config::parse(text, Path::new("quard.toml"), &paths);
    parsed.map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

fn complaints(text: &str) -> Vec<String> {
    parse(text).expect_err("it must be refused")
}

/// The default text with every setting in force.
fn uncommented() -> String {
    let lines = Config::default_text().lines();
    let lines = lines.map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_empty_file_and_the_default_text_are_all_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
    assert_eq!(parse(Config::default_text()), Ok(Config::default()));
}

#[test]
fn the_default_text_names_every_key_with_its_default() {
    let mut config = parse(&uncommented()).unwrap();
    assert_eq!(config.node.name.take().as_deref(), Some("mx1"));
    assert_eq!(config, Config::default());
    let text = uncommented();
    let has_key = |key: &&str| text.lines().any(|line| line.starts_with(&format!("{key} = ")));
    for (section, shape) in crate::config::written::KEYS {
        assert!(text.contains(&format!("[{section}]")), "{section}");
        if let crate::config::document::Shape::Table(keys) = shape {
            let mut keys = keys.iter().map(|(key, _)| *key).filter(|key| *key != "token");
            assert_eq!(keys.find(|key| !has_key(key)), None, "in [{section}]");
        }
    }
}

#[test]
fn the_text_for_a_node_names_it() {
    let config = parse(&Config::text_for("mx-7.example")).unwrap();
    assert_eq!(config.node.name.as_deref(), Some("mx-7.example"));
}

#[test]
fn every_setting_is_read() {
    let text = r#"
        node.name = "a"
        [sync]
        listen = "10.0.0.1:1"
        tcp = false
        copies = 3
        copies_timeout_ms = 7
        push_bytes_max = 1048576
        rate = 2000000
        [lmtp]
        listen = ["127.0.0.1:24", "unix:/run/quard/lmtp.sock"]
        class = "virus"
        class_from_extension = false
        message_bytes_max = 1000
        [http]
        listen = ""
        [release]
        host = "[::1]:25"
        helo = "[127.0.0.1]"
        connect_timeout_ms = 1
        reply_timeout_ms = 2
        data_timeout_ms = 3
        [delete]
        brake_per_minute = 0
        [retention]
        spam = 7
        virus = "keep"
        held = "keep"
        class-9 = 3
        [pressure]
        spam = "expire-oldest"
        virus = "refuse"
        held = "refuse"
        [disk]
        min_free_mb = 1
        reserve_mb = 0
        [log]
        format = "json"
        level = "trace"
        [runtime]
        worker_threads = 3
    "#;
    let config = parse(text).unwrap();
    assert_eq!(config.node.name.as_deref(), Some("a"));
    assert_eq!(config.sync.listen.to_string(), "10.0.0.1:1");
    assert_eq!((config.sync.tcp, config.sync.quic), (false, true));
    assert_eq!((config.sync.copies, config.sync.copies_timeout), (3, Millis(7)));
    assert_eq!(config.sync.push_bytes_max, ByteCount(1 << 20));
    assert_eq!(config.sync.rate, Some(2_000_000));
    let socket = PathBuf::from("/r/run/quard/lmtp.sock");
    let tcp = ListenAddress::Tcp("127.0.0.1:24".parse().unwrap());
    assert_eq!(config.lmtp.listen, [tcp, ListenAddress::Unix(socket)]);
    assert_eq!(config.lmtp.class, Class::VIRUS);
    assert!(!config.lmtp.class_from_extension);
    assert_eq!(config.lmtp.message_bytes_max, ByteCount(1000));
    assert_eq!(config.http.listen, None);
    assert_eq!(config.release.host.as_deref(), Some("[::1]:25"));
    assert_eq!(config.release.helo.as_deref(), Some("[127.0.0.1]"));
    let release = &config.release;
    let timeouts = [release.connect_timeout, release.reply_timeout, release.data_timeout];
    assert_eq!(timeouts, [Millis(1), Millis(2), Millis(3)]);
    assert_eq!(config.delete.brake_per_minute, 0);
    let days = |class| config.retention.days(class);
    assert_eq!((days(Class::SPAM), days(Class::VIRUS)), (Some(7), None));
    assert_eq!((days(Class(9)), days(Class::ARCHIVE)), (Some(3), Some(365)));
    assert_eq!(config.expire_oldest, [Class::SPAM].into());
    assert_eq!((config.disk.min_free, config.disk.reserve), (ByteCount(1 << 20), ByteCount(0)));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LogLevel::Trace));
    assert_eq!(config.runtime.worker_threads.map(usize::from), Some(3));
}

#[test]
fn a_token_is_known_by_its_hash() {
    let hash = HttpToken::hash_text("letmein");
    let text =
        format!("[[http.token]]\nname = \"console\"\nrole = \"operator\"\nhash = \"{hash}\"");
    let config = parse(&text).unwrap();
    let [token] = &config.http.tokens[..] else {
        panic!("one token");
    };
    assert_eq!((token.name.as_str(), token.role), ("console", HttpRole::Operator));
    assert!(token.matches("letmein") && !token.matches("letmeout") && !token.matches(""));
    assert!(HttpRole::Viewer < token.role && token.role < HttpRole::Admin);
    assert!(!format!("{config:?}").contains(&hash[10..]));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    for (text, wanted) in [
        (
            "[sync]\nlistne = 1",
            "quard.toml:2: unknown key \"sync.listne\"; did you mean \"listen\"?",
        ),
        ("\n[snyc]\ncopies = 1", "quard.toml:2: unknown key \"snyc\"; did you mean \"sync\"?"),
        (
            "[runtime]\nworker-threads = 1",
            "quard.toml:2: unknown key \"runtime.worker-threads\"; did you mean \
             \"worker_threads\"?",
        ),
        ("copies = 3", "quard.toml:1: unknown key \"copies\"; it belongs under [sync]"),
        (
            "[log]\ncolour = 1",
            "quard.toml:2: unknown key \"log.colour\"; known here: format, level",
        ),
        (
            "[retention]\nspma = 3",
            "quard.toml:2: unknown key \"retention.spma\"; did you mean \"spam\"?",
        ),
        (
            "[[http.token]]\nname = \"x\"\ntoken = \"s3cret\"",
            "quard.toml:3: unknown key \"http.token.token\"; known here: name, role, hash",
        ),
    ] {
        assert_eq!(complaints(text), [wanted]);
    }
}

#[test]
fn a_value_of_another_type_is_named_with_its_line() {
    for (text, wanted) in [
        ("[sync]\ncopies = \"2\"", "quard.toml:2: sync.copies must be a whole number, not string"),
        ("[sync]\ntcp = 1", "quard.toml:2: sync.tcp must be true or false, not integer"),
        ("sync = 3", "quard.toml:1: sync must be a section in [brackets], not integer"),
        (
            "[http.token]\nname = \"a\"",
            "quard.toml:1: http.token must be sections in [[double brackets]], not table",
        ),
        (
            "[lmtp]\nlisten = [1]",
            "quard.toml:2: lmtp.listen must be text in quotes, or a list of such texts, not array",
        ),
    ] {
        assert_eq!(complaints(text), [wanted]);
    }
}

#[test]
fn a_value_that_is_not_allowed_is_named_with_what_is() {
    for (text, wanted) in [
        ("[sync]\ncopies = 16", "2: sync.copies = 16 is not allowed: it must be from 1 to 15"),
        ("[sync]\ncopies = 0", "2: sync.copies = 0 is not"),
        ("[sync]\ncopies = -1", "2: sync.copies = -1 is not"),
        ("[sync]\nlisten = \"1027\"", "2: sync.listen = \"1027\" is not"),
        ("[sync]\nlisten = \"mx1:1027\"", "2: sync.listen = \"mx1:1027\" is not"),
        ("[sync]\ntcp = false\nquic = false", "3: sync.quic = false is not"),
        ("[sync]\npush_bytes_max = 1", "from 1048576 to 1073741824"),
        ("[sync]\nrate = -1", "from 0 to 1000000000000"),
        ("[lmtp]\nclass = \"ham\"", "one of \"spam\", \"nonspam\""),
        (
            "[lmtp]\nclass = \"held\"",
            "2: lmtp.class = \"held\" is not allowed: it must be one of \"spam\", \"nonspam\", \
             \"virus\", \"policy\", \"archive\"",
        ),
        ("[lmtp]\nclass = \"class-6\"", "one of \"spam\", \"nonspam\""),
        ("[lmtp]\nclass = \"class-9\"", "one of \"spam\", \"nonspam\""),
        ("[lmtp]\nmessage_bytes_max = 67108865", "from 1 to 67108864"),
        ("[lmtp]\nlisten = \"unix:lmtp.sock\"", "an absolute path"),
        ("[http]\nlisten = \"0.0.0.0:8027\"", "a loopback address"),
        ("[http]\nlisten = \"[::]:8027\"", "a loopback address"),
        ("[http]\nlisten = \"10.1.1.1:8027\"", "needs TLS"),
        ("[release]\nhost = \"mail.example\"", "a host and a port"),
        ("[release]\nhelo = \"a b\"", "a host name"),
        ("[release]\nreply_timeout_ms = 0", "from 1 to 3600000"),
        ("[retention]\nspam = 0", "retention.spam = 0 is not allowed: it must be a number of days"),
        ("[retention]\nspam = \"never\"", "or \"keep\""),
        ("[pressure]\nspam = \"drop\"", "\"refuse\" or \"expire-oldest\""),
        (
            "[pressure]\nheld = \"expire-oldest\"",
            "2: pressure.held = \"expire-oldest\" is not allowed: it must be \"refuse\", because held",
        ),
        // By its number it is the same class.
        ("[pressure]\nclass-6 = \"expire-oldest\"", "until `quarctl unhold`"),
        (
            "[retention]\nheld = 90",
            "retention.held = 90 is not allowed: it must be \"keep\", because",
        ),
        ("[retention]\nclass-6 = 1", "until `quarctl unhold`"),
        ("[disk]\nmin_free_mb = 0", "from 1 to 1048576"),
        ("[disk]\nreserve_mb = -1", "from 0 to 1048576"),
        ("[log]\nlevel = \"all\"", "\"error\", \"warn\""),
        ("[log]\nformat = \"xml\"", "\"text\" or \"json\""),
        ("[node]\nname = \"a b\"", "without spaces"),
    ] {
        let found = complaints(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("quard.toml:"), "{found:?}");
        assert!(found[0].contains(wanted), "{found:?} does not say {wanted:?}");
    }
}

#[test]
fn all_problems_are_named_at_once_in_the_order_of_their_lines() {
    let found = complaints("[log]\nlevel = \"x\"\n[disk]\nmin_free_mb = 0\n[sync]\ncopies = 99");
    let lines: Vec<&str> = found.iter().map(|text| &text[..13]).collect();
    assert_eq!(lines, ["quard.toml:2:", "quard.toml:4:", "quard.toml:6:"]);
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    let found = complaints("[sync]\ncopies = 2\ntcp = maybe\n");
    assert!(found[0].starts_with("quard.toml:3: this is not TOML: "), "{found:?}");
    let found = complaints("[sync]\ncopies = 2\ncopies = 3\n");
    assert!(found[0].starts_with("quard.toml:3: this is not TOML: duplicate"), "{found:?}");
}

#[test]
fn a_token_without_a_part_or_with_a_name_twice_is_refused() {
    let hash = HttpToken::hash_text("x");
    let found = complaints("\n[[http.token]]\n");
    assert_eq!(found.len(), 3);
    for (text, key) in found.iter().zip(["name", "role", "hash"]) {
        assert!(text.starts_with(&format!("quard.toml:2: http.token.{key} is missing")), "{text}");
    }
    let token = format!("[[http.token]]\nname = \"a\"\nrole = \"admin\"\nhash = \"{hash}\"\n");
    let found = complaints(&token.repeat(2));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("quard.toml:6: http.token.name = \"a\" is not"), "{found:?}");
}

#[test]
fn what_stands_where_a_hash_should_be_is_never_repeated() {
    let token = "[[http.token]]\nname = \"a\"\nrole = \"root\"\nhash = \"hunter2\"";
    let found = complaints(token);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(!found.join(" ").contains("hunter2"));
}

#[test]
fn settings_of_another_node_are_refused() {
    let member = Member {
        id: MemberId([1; 16]),
        node_number: 1,
        name: "mx1".into(),
        location: String::new(),
        addresses: Vec::new(),
        public_key: PublicKey([4; 65]),
    };
    parse("").unwrap().check_node(&member).unwrap();
    parse("node.name = \"mx1\"").unwrap().check_node(&member).unwrap();
    let other = parse("node.name = \"mx2\"").unwrap().check_node(&member);
    assert!(matches!(other, Err(ConfigError::OtherNode { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let root = tempfile::tempdir().unwrap();
    let error = Config::load(&Paths::under(Some(root.path()))).expect_err("no file");
    assert!(error.to_string().contains("etc/quard/quard.toml"), "{error}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z\\[\\]=\"#\n .0-9é_-]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_makes_it_panic(
        at in 0usize..30,
        value in "(-?[0-9]{1,19}|\"[^\"\\\\\\p{C}]{0,40}\"|true|\\[\\]|\\{\\}|[0-9.]{1,5})",
    ) {
        let text = uncommented();
        let settings = text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
        let setting = settings.clone().nth(at % settings.count()).unwrap();
        let key = setting.split(" = ").next().unwrap();
        let _ = parse(&text.replace(setting, &format!("{key} = {value}")));
    }
}
