//! A cluster whose nodes reach each other over lines only.

use crate::proxy::{Control, Line, Quality};
use crate::support::{Running, start_with};
use quard::api::NodeStatus;
use std::sync::Arc;

/// The daemons, and the lines in front of them.
pub struct World {
    pub running: Running,
    pub control: Arc<Control>,
    lines: Vec<Line>,
}

impl World {
    /// Nothing is started yet.
    pub async fn new(quality: Quality, copies: usize, sync_lines: &str) -> Self {
        let control = Control::new(quality, 7);
        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.push(Line::start(&control).await);
        }
        let advertised = lines.iter().map(|line| line.address.to_string()).collect();
        let running = start_with(copies, sync_lines, advertised).await;
        for (line, node) in lines.iter().zip(&running.cluster.nodes) {
            line.lead_to(node.sync);
        }
        Self { running, control, lines }
    }

    /// Starts the first `count` nodes; returns when each is connected to all of them.
    pub async fn start(&mut self, count: usize) {
        for node in &mut self.running.cluster.nodes[..count] {
            node.start().unwrap();
        }
        self.wait_for_peers(count - 1).await;
    }

    pub async fn wait_for_peers(&mut self, count: usize) {
        let all_up = |status: &NodeStatus| peers(status).count() == count;
        let wait = |all: &[NodeStatus]| all.iter().all(all_up);
        self.running.cluster.wait("the nodes see each other", wait).await.unwrap();
    }

    /// Waits until all connections run over one transport.
    pub async fn wait_for_transport(&mut self, transport: &str, count: usize) {
        let over_it = |status: &NodeStatus| {
            peers(status).filter(|peer| peer.transport == transport).count() == count
        };
        let wait = |all: &[NodeStatus]| all.iter().all(over_it);
        let what = format!("all speak over {transport}");
        self.running.cluster.wait(&what, wait).await.unwrap();
    }

    /// Another address at which a node is reached from now on.
    pub async fn new_address(&mut self, node: usize) -> String {
        let line = Line::start(&self.control).await;
        line.lead_to(self.running.cluster.nodes[node].sync);
        let address = line.address.to_string();
        self.lines.push(line);
        address
    }

    /// The addresses that the roster has at first.
    pub fn address(&self, node: usize) -> String {
        self.lines[node].address.to_string()
    }

    /// From now on nobody reaches a node at its address in the roster.
    pub fn lose_address(&self, node: usize) {
        // Port 9 of an address of this machine's that nobody uses.
        self.lines[node].lead_to("127.0.0.250:9".parse().unwrap());
    }
}

fn peers(status: &NodeStatus) -> impl Iterator<Item = &quard::api::MemberStatus> {
    status.members.iter().filter(|member| !member.is_self && member.state == "up")
}
