//! The one table of the layers: who may depend on whom, and who alone may touch what.
//! Never checks: `crates` holds manifests against this table, `sources` holds sources against it.

/// This file, for findings about the table itself.
pub(super) const TABLE: &str = "tools/xtask/src/layers/table.rs";

/// A crate of the workspace and its place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) layer: u8,
    /// The crates of the workspace that it may depend on, all of them below it.
    pub(super) may_use: &'static [&'static str],
}

/// Libraries that one crate keeps to itself, tests included.
#[derive(Debug)]
pub(super) struct SoleUser {
    pub(super) name: &'static str,
    pub(super) libraries: &'static [&'static str],
    /// What the others do instead.
    pub(super) instead: &'static str,
    /// Whether tests elsewhere may use them all the same: to play a stranger, who goes through nobody.
    pub(super) may_be_tested_with: bool,
}

/// A path, and why a rule does not hold under it.
pub(super) type Exception = (&'static str, &'static str);

/// Where a rule about names holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Everywhere,
    /// The sources of the crates in [`PURE`].
    PureCrates,
}

/// Names that may stand in few places only.
#[derive(Debug)]
pub(super) struct SourceRule {
    pub(super) what: &'static str,
    pub(super) names: &'static [&'static str],
    pub(super) holds_in: Scope,
    /// Paths under which the names may stand all the same, each with its reason.
    pub(super) exceptions: &'static [Exception],
    /// How to do without.
    pub(super) instead: &'static str,
}

/// Every crate of the workspace.
pub(super) const PLACES: &[Place] = &[
    place("quar-base", 0, &[]),
    place("quar-merkle", 1, &["quar-base"]),
    place("quar-index", 1, &["quar-base"]),
    place("quar-net", 1, &["quar-base"]),
    place("quar-store", 2, &["quar-base", "quar-merkle", "quar-index"]),
    place("quar-sync", 2, &["quar-base", "quar-merkle"]),
    place("quar-node", 3, &["quar-base", "quar-merkle", "quar-store", "quar-sync"]),
    place(
        "quard",
        4,
        &[
            "quar-base",
            "quar-merkle",
            "quar-index",
            "quar-net",
            "quar-store",
            "quar-sync",
            "quar-node",
        ],
    ),
    place(
        "quar-sim",
        4,
        &["quar-base", "quar-merkle", "quar-index", "quar-store", "quar-sync", "quar-node"],
    ),
    place("quarctl", 5, &["quar-base", "quar-index", "quar-store", "quard"]),
    place("xtask", 4, &[]),
];

const fn place(name: &'static str, layer: u8, may_use: &'static [&'static str]) -> Place {
    Place { name, layer, may_use }
}

/// Libraries behind one crate's door.
pub(super) const SOLE_USERS: &[SoleUser] = &[
    SoleUser {
        name: "quar-index",
        libraries: &["sled"],
        instead: "go through quar-index",
        may_be_tested_with: false,
    },
    SoleUser {
        name: "quar-net",
        libraries: &["quinn", "quinn-proto", "rustls", "tokio-rustls"],
        instead: "go through quar-net, which knows the roster and the cluster's CA",
        may_be_tested_with: true,
    },
];

/// Crates that the simulator runs unchanged: what they do depends on what they are told alone.
pub(super) const PURE: &[&str] = &["quar-base", "quar-merkle", "quar-sync", "quar-node"];

/// Libraries that a pure crate does without.
pub(super) const OUTSIDE_WORLD: &[&str] = &[
    "async-io",
    "async-std",
    "axum",
    "fs4",
    "hyper",
    "hyper-util",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "notify",
    "quinn",
    "quinn-proto",
    "reqwest",
    "rustix",
    "rustls",
    "sled",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "tokio-util",
    "ureq",
];

/// What is looked for in sources outside of tests.
pub(super) const SOURCE_RULES: &[SourceRule] = &[
    SourceRule {
        what: "reads a clock",
        names: &[
            "SystemTime::now",
            "Instant::now",
            "Utc::now",
            "Local::now",
            ".elapsed()",
            "clock_gettime",
        ],
        holds_in: Scope::Everywhere,
        exceptions: &[DAEMON, NET, TOOLS, INDEX_EXAMPLES, DEMO, SURFACE],
        instead: "take the time from src/daemon, in the event or as an argument",
    },
    SourceRule {
        what: "takes the system's entropy",
        names: &[
            "getrandom",
            "OsRng",
            "SystemRandom",
            "from_entropy",
            "from_os_rng",
            "rand::fill",
            "rand::random",
            "rand::rng",
            "thread_rng",
            "Uuid::new_v4",
            "/dev/random",
            "/dev/urandom",
        ],
        holds_in: Scope::Everywhere,
        exceptions: &[
            DAEMON,
            NET,
            TOOLS,
            (
                "storage/base/src/signing.rs",
                "the crypto library asks for a generator to sign with; the nonce decides nothing",
            ),
        ],
        instead: "take a seeded generator (quar_base::rng) as an argument",
    },
    SourceRule {
        what: "touches files, sockets, threads or processes",
        names: &[
            "std::fs",
            "std::os",
            "std::process",
            "std::thread",
            "TcpListener",
            "TcpStream",
            "UdpSocket",
        ],
        holds_in: Scope::PureCrates,
        exceptions: &[],
        instead: "answer with an effect that src/daemon performs, or use quar-store's disk",
    },
];

const DAEMON: Exception = ("src/daemon/", "turns real time into events");
const SURFACE: Exception = ("src/surface/", "sets deadlines for slow clients");
const DEMO: Exception = ("src/demo/", "measures");
const NET: Exception = ("replication/net/", "its libraries run on timers");
const TOOLS: Exception = ("tools/", "runs beside the nodes, not in them");
const INDEX_EXAMPLES: Exception = ("storage/index/examples/", "measures");
