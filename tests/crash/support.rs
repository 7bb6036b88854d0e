//! A cluster of one real daemon: started with or without the shim, stopped, killed and asked.
//! Never touches a process that it did not start.

use crate::shim::Told;
use quard::api::NodeStatus;
use quard::authority::{self, PlannedMember, StaticPlan};
use quard::client::Client;
use quard::config::Paths;
use quard::daemon::clock::{Clock, entropy};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this nothing comes any more.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(3);

pub struct Node {
    pub root: PathBuf,
    pub lmtp: SocketAddr,
    pub http: SocketAddr,
    /// How far the daemon's clock is behind.
    pub hours_behind: u32,
    child: Option<Child>,
    directory: TempDir,
}

/// How a start ended.
#[derive(Debug)]
pub enum Started {
    Up,
    Ended(ExitStatus),
}

impl Node {
    pub fn create() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [sync, lmtp, http] = free_addresses();
        let member = PlannedMember {
            name: "node1".into(),
            node_number: 1,
            addresses: vec![sync.to_string()],
            location: String::new(),
        };
        let out = directory.path().join("cluster");
        let plan = StaticPlan { members: vec![member] };
        let now = Clock::start().now();
        authority::create_cluster(&plan, entropy().unwrap(), now, &out).unwrap();
        let root = out.join("node1").canonicalize().unwrap();
        let mut node = Self { root, lmtp, http, hours_behind: 0, child: None, directory };
        node.settle([sync, lmtp, http]);
        node
    }

    /// A node with the same keys at other addresses, so that it can read the other's store.
    pub fn twin(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("twin");
        copy_tree(&self.root.join("etc"), &root.join("etc"));
        for path in [self.data(), Paths::under(Some(&self.root)).run_dir()] {
            std::fs::create_dir_all(root.join(path.strip_prefix(&self.root).unwrap())).unwrap();
        }
        let mut twin = Self {
            root,
            lmtp: self.lmtp,
            http: self.http,
            hours_behind: 0,
            child: None,
            directory,
        };
        twin.settle(free_addresses());
        twin
    }

    fn settle(&mut self, [sync, lmtp, http]: [SocketAddr; 3]) {
        (self.lmtp, self.http) = (lmtp, http);
        let settings = format!(
            "[sync]\nlisten = \"{sync}\"\ncopies = 1\n[lmtp]\nlisten = \"{lmtp}\"\n\
             [http]\nlisten = \"{http}\"\n[runtime]\nworker_threads = 1\n[retention]\npolicy = 1\n"
        );
        std::fs::write(Paths::under(Some(&self.root)).config_file(), settings).unwrap();
    }

    pub fn data(&self) -> PathBuf {
        Paths::under(Some(&self.root)).data_dir()
    }

    /// A file beside the node, for a test's own use.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts the data directory into the state of another; without one, into that of a new node.
    pub fn reset(&self, template: Option<&Path>) {
        assert!(self.child.is_none());
        let data = self.data();
        std::fs::remove_dir_all(&data).unwrap();
        match template {
            Some(template) => copy_tree(template, &data),
            None => std::fs::create_dir(&data).unwrap(),
        }
        for name in ["quard.log", "fired"] {
            let _ = std::fs::remove_file(self.beside(name));
        }
    }

    /// The command that runs the daemon, its log and the shim settled.
    pub fn command(&self, program: &Path, told: Option<&Told>) -> Command {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.beside("quard.log"))
            .unwrap();
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Checkpoints and erasures come while the test looks on.
        command.env("QUARD_TEST_UPKEEP_MS", "100");
        let skew_ms = -3_600_000 * i64::from(self.hours_behind);
        command.env("QUARD_TEST_CLOCK_SKEW_MS", skew_ms.to_string());
        if let Some(told) = told {
            command.envs(told.variables(&self.data(), &self.beside("fired")));
        }
        command
    }

    pub fn launch(&mut self, told: Option<&Told>) {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_quard")), told);
        command.arg("--root").arg(&self.root).arg("run");
        self.launch_as(command);
    }

    fn launch_as(&mut self, mut command: Command) {
        assert!(self.child.is_none());
        self.child = Some(command.spawn().unwrap());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Starts the daemon and waits until it takes mail, or has ended.
    pub async fn start(&mut self, told: Option<&Told>) -> Started {
        self.launch(told);
        self.up_or_ended().await
    }

    pub async fn start_as(&mut self, command: Command) -> Started {
        self.launch_as(command);
        self.up_or_ended().await
    }

    async fn up_or_ended(&mut self) -> Started {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return Started::Ended(status);
            }
            if std::net::TcpStream::connect(self.lmtp).is_ok() && self.status().await.is_ok() {
                return Started::Up;
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not come up:\n{}", self.report());
            tokio::time::sleep(POLL).await;
        }
    }

    pub async fn start_well(&mut self) {
        let started = self.start(None).await;
        assert!(matches!(started, Started::Up), "{started:?}\n{}", self.report());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn stop(&mut self) -> ExitStatus {
        let child = self.child.as_ref().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not stop:\n{}", self.report());
            tokio::time::sleep(POLL).await;
        }
    }

    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&Paths::under(Some(&self.root)).control_socket()).await
    }

    pub async fn status(&self) -> anyhow::Result<NodeStatus> {
        self.client().await?.get("/v1/status").await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.beside("quard.log")).unwrap_or_default()
    }

    /// Which call failed: the call and its path; `None` when none did.
    pub fn fired(&self) -> Option<String> {
        std::fs::read_to_string(self.beside("fired")).ok().map(|text| text.trim_end().to_owned())
    }

    /// Waits for something that a daemon may never do.
    pub async fn watched<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done,
            Err(_) => panic!("{what} hangs:\n{}", self.report()),
        }
    }

    /// The end of the log, and what each of the daemon's threads is at.
    pub fn report(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let mut report = lines[lines.len().saturating_sub(25)..].join("\n");
        let Some(child) = &self.child else { return report };
        let threads = std::fs::read_dir(format!("/proc/{}/task", child.id()));
        for thread in threads.into_iter().flatten().map(Result::unwrap) {
            let read = |name: &str| {
                let text = std::fs::read_to_string(thread.path().join(name));
                text.unwrap_or_default().trim_end().to_owned()
            };
            let shown = [read("comm"), read("wchan"), read("syscall")].join(" ");
            report.push_str(&format!("\nthread {:?}: {shown}", thread.file_name()));
        }
        report
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Free ports on an address of 127.0.0.0/8 that no other node of this machine uses by chance.
fn free_addresses() -> [SocketAddr; 3] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(64) + NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, a, b, c] = (number % 0xff_0000 + 0x1_0000).to_be_bytes();
    let any = SocketAddr::from((Ipv4Addr::new(127, a, b, c), 0));
    let held: [TcpListener; 3] = std::array::from_fn(|_| TcpListener::bind(any).unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

/// A number from an environment variable.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}
