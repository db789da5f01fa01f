//! Three servers as one JetStream cluster. Every route goes through a proxy, so that a node can be
//! cut off from the others while its clients still reach it.

use std::time::Duration;

use serde_json::{Value, json};

use super::proxy::{Proxy, Which};
use super::raw::{Client, Login};
use super::server::Server;
use super::world::Site;
use super::{free_port, wait_for, wait_until};

pub const NODES: usize = 3;

/// How long one question may go unanswered before another node is asked.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Cluster {
    pub nodes: Vec<Server>,
    /// `routes[from][to]`; none to itself.
    routes: Vec<Vec<Option<Proxy>>>,
    isolated: Option<usize>,
}

impl Cluster {
    pub fn start() -> Self {
        let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        let routes: Vec<Vec<Option<Proxy>>> = (0..NODES)
            .map(|from| {
                let to = |to: usize| (to != from).then(|| Proxy::to(ports[to]));
                (0..NODES).map(to).collect()
            })
            .collect();
        let starting: Vec<_> = (0..NODES)
            .map(|node| {
                let config = node_config(ports[node], &routes[node]);
                std::thread::spawn(move || Server::start_node(&format!("node{node}"), &config))
            })
            .collect();
        let nodes = starting.into_iter().map(|node| node.join().unwrap()).collect();
        let cluster = Self { nodes, routes, isolated: None };
        cluster.wait_for_three();
        cluster
    }

    /// Waits until the leader knows of all three: only then can it place three replicas.
    fn wait_for_three(&self) {
        let probe = json!({
            "name": "probe", "subjects": ["probe"], "storage": "memory", "num_replicas": NODES,
        });
        wait_until("the cluster to place three replicas", || {
            let mut client = self.nodes[0].client();
            client.patience(PATIENCE);
            let made = client.try_api("STREAM.CREATE.probe", &probe);
            made.is_some_and(|answer| answer["error"].is_null())
        });
        wait_until("the probe to be gone", || {
            self.ask("STREAM.DELETE.probe")
                .is_some_and(|answer| answer["error"].is_null() || answer["error"]["code"] == 404)
        });
    }

    /// Cuts a node off from the other two: `silently` leaves the connections open.
    pub fn isolate(&mut self, node: usize, silently: bool) {
        self.isolated = Some(node);
        for route in self.routes_of(node) {
            if silently { route.stall(Which::All) } else { route.refuse() }
        }
    }

    pub fn heal(&mut self) {
        if let Some(node) = self.isolated.take() {
            self.routes_of(node).for_each(Proxy::heal);
        }
    }

    fn routes_of(&self, node: usize) -> impl Iterator<Item = &Proxy> {
        let all = self.routes.iter().enumerate();
        all.flat_map(move |(from, row)| {
            let ends_here = move |to: &usize| from == node || *to == node;
            row.iter()
                .enumerate()
                .filter(move |(to, _)| ends_here(to))
                .filter_map(|(_, r)| r.as_ref())
        })
    }

    /// The node that leads this stream, if there is one.
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let info = self.ask(&format!("STREAM.INFO.{stream}"))?;
        info["cluster"]["leader"].as_str()?.strip_prefix("node")?.parse().ok()
    }

    /// Whether every replica of this stream is there and has caught up.
    pub fn is_whole(&self, stream: &str) -> bool {
        self.ask(&format!("STREAM.INFO.{stream}")).is_some_and(|info| {
            let replicas = info["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
            let well = |r: &Value| r["current"] == true && r["offline"] != true;
            info["cluster"]["leader"].is_string()
                && replicas.len() == NODES - 1
                && replicas.iter().all(well)
        })
    }

    /// A request of the JetStream API to a node that is not cut off.
    pub fn ask(&self, call: &str) -> Option<Value> {
        let mut client = self.try_client()?;
        client.patience(PATIENCE);
        client.try_api(call, &Value::Null)
    }

    fn try_client(&self) -> Option<Client> {
        let reachable = (0..NODES).filter(|node| Some(*node) != self.isolated);
        let mut clients = reachable
            .filter_map(|node| Client::try_connect(self.nodes[node].port(), &Login::default()));
        clients.next()
    }
}

impl Site for Cluster {
    fn client(&self) -> Client {
        wait_for("a connection to the cluster", || self.try_client())
    }

    fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(Server::port).collect()
    }
}

/// Routes that the nodes tell each other of lead nowhere: only those through the proxies count.
fn node_config(port: u16, routes: &[Option<Proxy>]) -> String {
    let urls: Vec<String> = routes
        .iter()
        .flatten()
        .map(|route| format!("\"nats://127.0.0.1:{}\"", route.port()))
        .collect();
    format!(
        "cluster {{ name: itest, listen: \"127.0.0.1:{port}\", advertise: \"127.0.0.1:1\", \
         no_advertise: true, routes: [{}] }}",
        urls.join(", ")
    )
}
