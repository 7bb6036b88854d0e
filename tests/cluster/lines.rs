//! TCP lines between nodes that a test can cut and mend.
//! Never changes a byte: a line carries everything or is gone.

use quard::demo::cluster::Cluster;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// One address per node, behind which the node itself listens.
pub struct Lines {
    pub addresses: Vec<String>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Where each node listens, and its process.
    nodes: Vec<(SocketAddr, u32)>,
    /// Cut off from all others.
    alone: Option<usize>,
    /// Who dialed whom.
    open: Vec<(usize, usize, AbortHandle)>,
}

impl Lines {
    pub async fn start(count: usize) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut addresses = Vec::new();
        for to in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            tokio::spawn(accept(listener, to, shared.clone()));
        }
        Self { addresses, shared }
    }

    /// Learns where the nodes are. Call it whenever one was started.
    pub fn lead_to(&self, cluster: &Cluster) {
        let nodes = cluster.nodes.iter().map(|node| (node.sync, node.pid().unwrap_or(0)));
        self.shared.lock().unwrap().nodes = nodes.collect();
    }

    /// Cuts every line of a node.
    pub fn cut_off(&self, node: usize) {
        let mut shared = self.shared.lock().unwrap();
        shared.alone = Some(node);
        for (from, to, line) in std::mem::take(&mut shared.open) {
            if from == node || to == node {
                line.abort();
            } else {
                shared.open.push((from, to, line));
            }
        }
    }

    pub fn mend(&self) {
        self.shared.lock().unwrap().alone = None;
    }
}

async fn accept(listener: TcpListener, to: usize, shared: Arc<Mutex<Shared>>) {
    loop {
        let (near, dialer) = listener.accept().await.unwrap();
        let mut shared = shared.lock().unwrap();
        let inode = inode_of(dialer);
        let from = shared.nodes.iter().position(|(_, pid)| holds(*pid, &inode));
        // A dialer that is not known yet is a node that was just started: it dials again.
        let Some(from) =
            from.filter(|from| !shared.alone.is_some_and(|it| it == to || it == *from))
        else {
            continue;
        };
        let target = shared.nodes[to].0;
        let line = tokio::spawn(carry(near, target));
        shared.open.push((from, to, line.abort_handle()));
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr) {
    if let Ok(mut far) = TcpStream::connect(target).await {
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}

/// Inode of the local socket with this address; as `/proc/net/tcp` has it.
fn inode_of(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    let text = format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&text.as_str()));
    row.map_or_else(String::new, |row| row[9].to_owned())
}

fn holds(pid: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        std::fs::read_link(file.path())
            .is_ok_and(|to| to.as_os_str().as_bytes() == wanted.as_bytes())
    })
}
