//! From values as written to values in use: one check for each, and the complaint when it fails.
//! Never reads a file.

use crate::config::address::{is_host_name, is_host_port};
use crate::config::checked::{
    Config, Delete, Disk, Http, ListenAddress, Lmtp, Log, LogFormat, LogLevel, Node, Release,
    Runtime, Sync, Upkeep,
};
use crate::config::checker::{Checker, to_bytes, to_millis, to_usize};
use crate::config::document::{Document, Fault, Problems, in_order};
use crate::config::http_token::{HttpRole, HttpToken};
use crate::config::paths::Paths;
use crate::config::written::{self, Days, Written};
use quar_base::class::Class;
use quar_base::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use quar_store::Retention;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// Longest path of a Unix socket, in bytes, with room for its ending zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const NAME_BYTES_MAX: usize = 64;
const TIMEOUT_MS_MAX: i64 = 3_600_000;
const RETENTION_DAYS_MAX: i64 = 36_500;
/// Faster than any disk.
const MB_PER_S_MAX: i64 = 100_000;
const PUSH_BYTES_MAX: i64 = 1 << 30;
const SYNC_RATE_MAX: i64 = 1_000_000_000_000;
const ADDRESS: &str =
    "an address and a port, such as \"127.0.0.1:8027\" or \"[::]:1027\" (no host name)";
const HOST: &str =
    "a host and a port, such as \"mail.example:25\" or \"[::1]:25\", or \"\" for none";
/// Why class `held` has one setting only: what is held stays until somebody lets go of it.
const HELD_STAYS: &str = "because held mail stays until `quarctl unhold`";
const HELO: &str = "a host name, an address in brackets, or \"\" for the node's name";

/// Checks every value; complains about all that are wrong.
pub(crate) fn check(
    written: Written,
    document: Document<'_>,
    paths: &Paths,
) -> Result<Config, Problems> {
    let mut checker = Checker { document, paths, problems: Vec::new() };
    let config = Config {
        node: checker.node(written.node),
        sync: checker.sync(written.sync),
        lmtp: checker.lmtp(written.lmtp),
        http: checker.http(written.http),
        release: checker.release(written.release),
        delete: checker.delete(&written.delete),
        retention: checker.retention(written.retention),
        expire_oldest: checker.pressure(written.pressure),
        disk: checker.disk(&written.disk),
        upkeep: checker.upkeep(&written.upkeep),
        log: checker.log(written.log),
        runtime: checker.runtime(&written.runtime),
    };
    if checker.problems.is_empty() { Ok(config) } else { Err(in_order(checker.problems)) }
}

impl Checker<'_> {
    fn node(&mut self, written: written::Node) -> Node {
        let name = self.take("node.name", written.name, None, |name| {
            is_name(&name).then_some(Some(name)).ok_or_else(name_rule)
        });
        Node { name }
    }

    fn sync(&mut self, written: written::Sync) -> Sync {
        let default = Sync::default();
        let quic_place = written.quic.as_ref().map(Spanned::span);
        let sync = Sync {
            listen: self.take("sync.listen", written.listen, default.listen, |text| {
                text.parse().map_err(|_| ADDRESS.to_owned())
            }),
            tcp: written.tcp.map_or(default.tcp, Spanned::into_inner),
            quic: written.quic.map_or(default.quic, Spanned::into_inner),
            copies: self
                .number("sync.copies", &written.copies, 1..=15)
                .map_or(default.copies, to_usize),
            copies_timeout: self
                .number("sync.copies_timeout_ms", &written.copies_timeout_ms, 1..=60_000)
                .map_or(default.copies_timeout, to_millis),
            push_bytes_max: self
                .number(
                    "sync.push_bytes_max",
                    &written.push_bytes_max,
                    FRAME_BYTES_MAX as i64..=PUSH_BYTES_MAX,
                )
                .map_or(default.push_bytes_max, to_bytes),
            rate: self
                .number("sync.rate", &written.rate, 0..=SYNC_RATE_MAX)
                .map_or(default.rate, |rate| u64::try_from(rate).ok().filter(|rate| *rate > 0)),
        };
        if let (false, false, Some(place)) = (sync.tcp, sync.quic, quic_place) {
            let allowed = "true, because sync.tcp is false and members must be reached somehow";
            self.refuse("sync.quic", &place, allowed.to_owned());
        }
        sync
    }

    fn lmtp(&mut self, written: written::Lmtp) -> Lmtp {
        let default = Lmtp::default();
        let paths = self.paths;
        let listen = self.take("lmtp.listen", written.listen, default.listen, |texts| {
            let addresses = texts.into_vec().into_iter();
            let addresses = addresses.map(|text| listen_address(&text, paths));
            addresses.collect::<Option<Vec<_>>>().ok_or_else(listen_rule)
        });
        Lmtp {
            listen,
            class: self.take("lmtp.class", written.class, default.class, |text| {
                let class = text.parse::<Class>().ok();
                let class = class.filter(|class| Class::of_mail().any(|one| one == *class));
                class.ok_or_else(classes_of_mail)
            }),
            class_from_extension: written
                .class_from_extension
                .map_or(default.class_from_extension, Spanned::into_inner),
            message_bytes_max: self
                .number(
                    "lmtp.message_bytes_max",
                    &written.message_bytes_max,
                    1..=MESSAGE_BYTES_MAX as i64,
                )
                .map_or(default.message_bytes_max, to_bytes),
        }
    }

    fn http(&mut self, written: written::Http) -> Http {
        let default = Http::default();
        let listen = self.take("http.listen", written.listen, default.listen, |text| {
            if text.is_empty() {
                return Ok(None);
            }
            let address: SocketAddr = text.parse().map_err(|_| ADDRESS.to_owned())?;
            let is_loopback = address.ip().to_canonical().is_loopback();
            is_loopback.then_some(Some(address)).ok_or_else(|| {
                "a loopback address, such as \"127.0.0.1:8027\": elsewhere it needs TLS, which \
                 this version does not have; put a TLS proxy in front of it"
                    .to_owned()
            })
        });
        let mut tokens: Vec<HttpToken> = Vec::new();
        for token in written.tokens {
            let place = token.span();
            if let Some(token) = self.token(token.into_inner(), &place, &tokens) {
                tokens.push(token);
            }
        }
        Http { listen, tokens }
    }

    fn token(
        &mut self,
        written: written::Token,
        place: &Range<usize>,
        earlier: &[HttpToken],
    ) -> Option<HttpToken> {
        let is_new = |name: &str| earlier.iter().all(|token| token.name != name);
        let names = format!("{}, and no other token's name", name_rule());
        let name = self.need("http.token.name", written.name, place, &names, |name| {
            (is_name(&name) && is_new(&name)).then_some(name)
        });
        let roles = "\"viewer\", \"operator\" or \"admin\"";
        let role = self.need("http.token.role", written.role, place, roles, |text| {
            HttpRole::ALL.into_iter().find(|role| role.as_str() == text)
        });
        // Never repeated in a complaint: what stands here by mistake may be the token itself.
        let form = "\"blake3:\" and the 64 hex digits that `printf %s TOKEN | b3sum` prints";
        let Some(hash) = written.hash else {
            self.miss("http.token.hash", place, form);
            return None;
        };
        let Some(hash_bytes) = token_hash(hash.get_ref()) else {
            let fault = Fault::Value {
                key: "http.token.hash".to_owned(),
                value: "(not shown)".to_owned(),
                allowed: form.to_owned(),
            };
            self.problems.push(self.document.problem(&hash.span(), fault));
            return None;
        };
        Some(HttpToken { name: name?, role: role?, hash: hash_bytes })
    }

    fn release(&mut self, written: written::Release) -> Release {
        let default = Release::default();
        let timeouts = 1..=TIMEOUT_MS_MAX;
        Release {
            host: self.take("release.host", written.host, default.host, |text| {
                match text.as_str() {
                    "" => Ok(None),
                    host if is_host_port(host) => Ok(Some(text)),
                    _ => Err(HOST.to_owned()),
                }
            }),
            helo: self.take("release.helo", written.helo, default.helo, |text| {
                match text.as_str() {
                    "" => Ok(None),
                    name if is_host_name(name) || is_address_literal(name) => Ok(Some(text)),
                    _ => Err(HELO.to_owned()),
                }
            }),
            connect_timeout: self
                .number("release.connect_timeout_ms", &written.connect_timeout_ms, timeouts.clone())
                .map_or(default.connect_timeout, to_millis),
            reply_timeout: self
                .number("release.reply_timeout_ms", &written.reply_timeout_ms, timeouts.clone())
                .map_or(default.reply_timeout, to_millis),
            data_timeout: self
                .number("release.data_timeout_ms", &written.data_timeout_ms, timeouts)
                .map_or(default.data_timeout, to_millis),
        }
    }

    fn delete(&mut self, written: &written::Delete) -> Delete {
        let limit =
            self.number("delete.brake_per_minute", &written.brake_per_minute, 0..=1_000_000);
        let default = Delete::default();
        Delete { brake_per_minute: limit.map_or(default.brake_per_minute, to_usize) }
    }

    fn retention(&mut self, written: BTreeMap<String, Spanned<Days>>) -> Retention {
        let mut retention = Config::default().retention;
        for (name, days) in written {
            let class: Class = name.parse().expect("keys were checked to be class names");
            let key = format!("retention.{name}");
            let default = class.default_retention_days();
            let days = self.take(&key, Some(days), default, |days| match days {
                Days::Word(word) if word == "keep" => Ok(None),
                _ if class == Class::HELD => Err(format!("\"keep\", {HELD_STAYS}")),
                Days::Number(days @ 1..=RETENTION_DAYS_MAX) => Ok(u32::try_from(days).ok()),
                _ => Err(format!("a number of days from 1 to {RETENTION_DAYS_MAX}, or \"keep\"")),
            });
            retention.0.insert(class, days);
        }
        retention
    }

    fn pressure(&mut self, written: BTreeMap<String, Spanned<String>>) -> BTreeSet<Class> {
        let mut classes = BTreeSet::new();
        for (name, policy) in written {
            let class: Class = name.parse().expect("keys were checked to be class names");
            let key = format!("pressure.{name}");
            let expires = self.take(&key, Some(policy), false, |policy| match policy.as_str() {
                "refuse" => Ok(false),
                _ if class == Class::HELD => Err(format!("\"refuse\", {HELD_STAYS}")),
                "expire-oldest" => Ok(true),
                _ => Err("\"refuse\" or \"expire-oldest\"".to_owned()),
            });
            classes.extend(expires.then_some(class));
        }
        classes
    }

    fn disk(&mut self, written: &written::Disk) -> Disk {
        let mb = self.number("disk.min_free_mb", &written.min_free_mb, 1..=1 << 20);
        let reserve_mb = self.number("disk.reserve_mb", &written.reserve_mb, 0..=1 << 20);
        let default = Disk::default();
        Disk {
            min_free: mb.map_or(default.min_free, |mb| to_bytes(mb << 20)),
            reserve: reserve_mb.map_or(default.reserve, |mb| to_bytes(mb << 20)),
        }
    }

    fn upkeep(&mut self, written: &written::Upkeep) -> Upkeep {
        let default = Upkeep::default();
        let mut rate = |key, value, usual| {
            let mb = self.number(key, value, 1..=MB_PER_S_MAX);
            mb.map_or(usual, |mb| to_bytes(mb * 1_000_000).0)
        };
        let pack_bytes_per_s =
            rate("upkeep.pack_mb_per_s", &written.pack_mb_per_s, default.pack_bytes_per_s);
        let check_bytes_per_s =
            rate("upkeep.check_mb_per_s", &written.check_mb_per_s, default.check_bytes_per_s);
        let seconds = self.number("upkeep.erase_after_s", &written.erase_after_s, 120..=604_800);
        Upkeep {
            pack: written.pack.as_ref().map_or(default.pack, |pack| *pack.get_ref()),
            pack_bytes_per_s,
            check_bytes_per_s,
            erase_after: seconds.map_or(default.erase_after, |seconds| to_millis(seconds * 1000)),
        }
    }

    fn log(&mut self, written: written::Log) -> Log {
        let default = Log::default();
        Log {
            format: self.take("log.format", written.format, default.format, |text| {
                match text.as_str() {
                    "text" => Ok(LogFormat::Text),
                    "json" => Ok(LogFormat::Json),
                    _ => Err("\"text\" or \"json\"".to_owned()),
                }
            }),
            level: self.take("log.level", written.level, default.level, |text| {
                let mut levels = LogLevel::ALL.into_iter();
                levels.find(|level| level.as_str() == text).ok_or_else(|| {
                    "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"".to_owned()
                })
            }),
        }
    }

    fn runtime(&mut self, written: &written::Runtime) -> Runtime {
        let threads = self.number("runtime.worker_threads", &written.worker_threads, 0..=512);
        Runtime { worker_threads: threads.and_then(|count| NonZeroUsize::new(to_usize(count))) }
    }
}

fn listen_address(text: &str, paths: &Paths) -> Option<ListenAddress> {
    let Some(path) = text.strip_prefix("unix:") else {
        return text.parse().ok().map(ListenAddress::Tcp);
    };
    let place = paths.place(Path::new(path));
    let fits = place.as_os_str().len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0');
    (path.starts_with('/') && fits).then_some(ListenAddress::Unix(place))
}

fn listen_rule() -> String {
    format!(
        "{ADDRESS}, or \"unix:\" and an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, or \
         a list of these"
    )
}

fn token_hash(text: &str) -> Option<blake3::Hash> {
    blake3::Hash::from_hex(text.strip_prefix("blake3:")?).ok()
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn name_rule() -> String {
    format!("1 to {NAME_BYTES_MAX} letters, digits and signs of ASCII, without spaces")
}

fn is_address_literal(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| {
        let inner = inner.strip_prefix("IPv6:").unwrap_or(inner);
        inner.parse::<IpAddr>().is_ok()
    })
}

fn classes_of_mail() -> String {
    let names = Class::of_mail().map(|class| format!("\"{class}\""));
    format!("one of {}", names.collect::<Vec<_>>().join(", "))
}
