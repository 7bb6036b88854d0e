//! Three real daemons on this machine: made, started, killed and asked.
//! Never touches a process that it did not start.

use crate::api::NodeStatus;
use crate::authority::{self, PlannedMember, StaticPlan};
use crate::client::Client;
use crate::config::Paths;
use anyhow::{Context, bail};
use quar_base::time::UnixMillis;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a cluster may take to come up, or to agree.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// Which ports the daemons listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// 1027 for peers, 10028 for LMTP: as in production.
    Standard,
    /// Whatever is free: several clusters at once.
    Free,
}

/// What the daemons are told beyond the defaults.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where everything lies.
    pub directory: PathBuf,
    /// The daemon's binary.
    pub daemon: PathBuf,
    /// Which ports.
    pub ports: Ports,
    /// Copies that an acknowledgement stands for.
    pub copies: usize,
    /// `host:port` of the delivery host.
    pub delivery_host: String,
    /// Lines added to every node's quard.toml under `[sync]`.
    pub sync_lines: String,
    /// Addresses at which the roster says that the nodes are found; none: where they listen.
    pub advertised: Vec<String>,
}

/// One node of the cluster.
pub struct NodeProcess {
    /// Its number, from 1.
    pub number: usize,
    /// Its root directory.
    pub root: PathBuf,
    /// Where it takes LMTP.
    pub lmtp: SocketAddr,
    /// Where it speaks with its peers.
    pub sync: SocketAddr,
    /// The program that is started.
    pub daemon: PathBuf,
    child: Option<Child>,
}

/// The cluster. Dropping it kills its daemons.
pub struct Cluster {
    /// The nodes, in order of their numbers.
    pub nodes: Vec<NodeProcess>,
}

impl Cluster {
    /// Makes keys, certificates and configuration for three nodes.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn create(
        options: &ClusterOptions,
        seed: [u8; 32],
        now: UnixMillis,
    ) -> anyhow::Result<Self> {
        let addresses = (1..=3).map(|number| addresses_of(number, options.ports));
        let addresses: Vec<Addresses> = addresses.collect::<anyhow::Result<_>>()?;
        let members = addresses.iter().enumerate().map(|(at, address)| PlannedMember {
            name: format!("node{}", at + 1),
            node_number: u16::try_from(at + 1).expect("three nodes"),
            addresses: vec![match options.advertised.get(at) {
                Some(address) => address.clone(),
                None => address.sync.to_string(),
            }],
            location: String::new(),
        });
        let plan = StaticPlan { members: members.collect() };
        authority::create_cluster(&plan, seed, now, &options.directory)?;
        let nodes = addresses.into_iter().enumerate().map(|(at, address)| {
            let root = options.directory.join(format!("node{}", at + 1));
            write_config(&root, &address, options)?;
            Ok(NodeProcess {
                number: at + 1,
                root,
                lmtp: address.lmtp,
                sync: address.sync,
                child: None,
                daemon: options.daemon.clone(),
            })
        });
        Ok(Self { nodes: nodes.collect::<anyhow::Result<_>>()? })
    }

    /// Starts all nodes and waits until each is connected to all others.
    ///
    /// # Errors
    /// When a daemon ends, or they do not find each other.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.start()?;
        }
        self.wait("the nodes find each other", |statuses| {
            statuses.iter().all(|status| status.members.iter().all(|member| member.state == "up"))
        })
        .await
        .map(|_| ())
    }

    /// Waits until all nodes that run have the same root and want no body.
    ///
    /// # Errors
    /// When they do not within two minutes.
    pub async fn wait_for_equal_roots(&mut self) -> anyhow::Result<Duration> {
        self.wait("all nodes have the same messages", |statuses| {
            let first = &statuses[0].live_root;
            statuses.iter().all(|status| status.live_root == *first && status.wanted == 0)
        })
        .await
    }

    /// Asks all nodes that run, again and again, until `done`.
    ///
    /// # Errors
    /// When a daemon ends, or two minutes pass.
    pub async fn wait(
        &mut self,
        what: &str,
        done: impl Fn(&[NodeStatus]) -> bool,
    ) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let mut statuses = Vec::new();
            for node in self.nodes.iter_mut().filter(|node| node.child.is_some()) {
                node.check_alive()?;
                // A daemon that has not opened its socket yet is asked again.
                if let Ok(status) = node.status().await {
                    statuses.push(status);
                } else {
                    break;
                }
            }
            let running = self.nodes.iter().filter(|node| node.child.is_some()).count();
            if statuses.len() == running && running > 0 && done(&statuses) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                bail!("waited {} s in vain until {what}: {statuses:#?}", PATIENCE.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl NodeProcess {
    /// Starts the daemon.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.join("quard.log"))?;
        let child = Command::new(&self.daemon)
            .arg("--root")
            .arg(&self.root)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.daemon.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends the daemon as a power cut would, the page cache aside.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the daemon to stop and waits for it.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "node {} ended with {status}", self.number);
        Ok(())
    }

    /// Whether the daemon was started and not ended by this program.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Process id of the running daemon.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A connection to the daemon's control socket.
    ///
    /// # Errors
    /// When it does not listen yet.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&Paths::under(Some(&self.root)).control_socket()).await
    }

    /// The daemon's status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<NodeStatus> {
        self.client().await?.get("/v1/status").await
    }

    /// Bytes that the data directory takes on disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn disk_bytes(&self) -> anyhow::Result<u64> {
        Ok(allocated_bytes(&Paths::under(Some(&self.root)).data_dir())?)
    }

    /// Bytes that the reserve takes of them; none while it is given up.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn reserve_bytes(&self) -> anyhow::Result<u64> {
        let path = Paths::under(Some(&self.root)).data_dir().join(quar_store::RESERVE_FILE);
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            metadata => Ok(allocated(&metadata?)),
        }
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string(self.root.join("quard.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!("node {} ended with {status}:\n{}", self.number, tail.join("\n"));
        }
        Ok(())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // Nothing is left to tell anybody; a daemon must not outlive its demo.
        let _ = self.kill();
    }
}

/// Where one node listens.
struct Addresses {
    sync: SocketAddr,
    lmtp: SocketAddr,
    http: SocketAddr,
}

fn addresses_of(number: u8, ports: Ports) -> anyhow::Result<Addresses> {
    let at = |port: u16| -> anyhow::Result<SocketAddr> {
        let address = SocketAddr::from(([127, 0, 0, number], port));
        match ports {
            Ports::Standard => Ok(address),
            Ports::Free => free_port([127, 0, 0, number]),
        }
    };
    Ok(Addresses { sync: at(1027)?, lmtp: at(10028)?, http: at(8027)? })
}

/// A free port below those from which the system dials: no client takes it before the daemon does.
fn free_port(host: [u8; 4]) -> anyhow::Result<SocketAddr> {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        // Programs that run side by side begin at different ones.
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(97).wrapping_add(tried) % COUNT;
        let address = SocketAddr::from((host, u16::try_from(FIRST + offset)?));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}

fn write_config(root: &Path, address: &Addresses, options: &ClusterOptions) -> anyhow::Result<()> {
    let text = format!(
        "[sync]\nlisten = \"{}\"\ncopies = {}\n{}\n[lmtp]\nlisten = [\"{}\"]\n\n\
         [http]\nlisten = \"{}\"\n\n[release]\nhost = \"{}\"\n",
        address.sync,
        options.copies,
        options.sync_lines,
        address.lmtp,
        address.http,
        options.delivery_host,
    );
    std::fs::write(Paths::under(Some(root)).config_file(), text)?;
    Ok(())
}

/// Bytes of the blocks that a tree of files takes on disk.
///
/// # Errors
/// As the file system reports.
pub fn allocated_bytes(directory: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += allocated(&metadata);
        if metadata.is_dir() {
            total += allocated_bytes(&entry.path())?;
        }
    }
    Ok(total)
}

fn allocated(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}
