//! What the connections of a client count: for all together, and per node. Names and groups are those of Java's Selector.
//!
//! Deliberately not here: the ratios of an I/O thread (`io-ratio`, `io-wait-time-ns-avg`); this client has none.

use super::{Metrics, Sensor, Stat};
use ottla_wire::Traffic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The group of what all connections count together, and of what one node's do; the reader's prefix comes before it.
const ALL: &str = "-metrics";
const NODE: &str = "-node-metrics";

/// The sensors of all connections of a client.
#[derive(Debug)]
pub(crate) struct Network {
    metrics: Metrics,
    open: Arc<AtomicUsize>,
    created: Sensor,
    closed: Sensor,
    io: Sensor,
    sent: Sensor,
    received: Sensor,
    requests: Sensor,
    responses: Sensor,
    authenticated: Sensor,
    reauthenticated: Sensor,
    failed: Sensor,
    reauthentication_failed: Sensor,
    reauthentication_latency: Sensor,
}

/// One connection's share: tells its client's sensors and its node's.
#[derive(Debug)]
pub(crate) struct NodeTraffic {
    network: Arc<Network>,
    /// `None` for a bootstrap server, whose node is not known.
    node: Option<NodeSensors>,
}

#[derive(Debug)]
struct NodeSensors {
    sent: Sensor,
    received: Sensor,
    requests: Sensor,
    responses: Sensor,
    latency: Sensor,
}

impl Network {
    /// Registers the sensors in `metrics`.
    pub(crate) fn new(metrics: Metrics) -> Network {
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        metrics.gauge(metrics.name("connection-count", ALL, &[]), move || count.load(Ordering::Relaxed) as f64);
        let count = |rate, total| metrics.sensor(ALL, &[], &[(rate, Stat::CountRate), (total, Stat::CountTotal)]);
        let sum = |rate, total| metrics.sensor(ALL, &[], &[(rate, Stat::Rate), (total, Stat::Total)]);
        Network {
            created: count("connection-creation-rate", "connection-creation-total"),
            closed: count("connection-close-rate", "connection-close-total"),
            io: count("network-io-rate", "network-io-total"),
            sent: sum("outgoing-byte-rate", "outgoing-byte-total"),
            received: sum("incoming-byte-rate", "incoming-byte-total"),
            requests: metrics.sensor(
                ALL,
                &[],
                &[
                    ("request-rate", Stat::CountRate),
                    ("request-total", Stat::CountTotal),
                    ("request-size-avg", Stat::Avg),
                    ("request-size-max", Stat::Max),
                ],
            ),
            responses: count("response-rate", "response-total"),
            authenticated: count("successful-authentication-rate", "successful-authentication-total"),
            reauthenticated: count("successful-reauthentication-rate", "successful-reauthentication-total"),
            failed: count("failed-authentication-rate", "failed-authentication-total"),
            reauthentication_failed: count("failed-reauthentication-rate", "failed-reauthentication-total"),
            reauthentication_latency: metrics.sensor(
                ALL,
                &[],
                &[("reauthentication-latency-avg", Stat::Avg), ("reauthentication-latency-max", Stat::Max)],
            ),
            open,
            metrics,
        }
    }

    /// A TLS handshake that one of the sides refused; Java counts it as authentication too.
    pub(crate) fn refused(&self) {
        self.failed.count();
    }

    /// For a connection that was made to `node`.
    pub(crate) fn connection(self: &Arc<Network>, node: Option<i32>) -> Arc<NodeTraffic> {
        Arc::new(NodeTraffic { network: self.clone(), node: node.map(|node| self.node(node)) })
    }

    fn node(&self, node: i32) -> NodeSensors {
        let id = format!("node-{node}");
        let tags = [("node-id", id.as_str())];
        let sensor = |stats: &[(&'static str, Stat)]| self.metrics.sensor(NODE, &tags, stats);
        NodeSensors {
            sent: sensor(&[("outgoing-byte-rate", Stat::Rate), ("outgoing-byte-total", Stat::Total)]),
            received: sensor(&[("incoming-byte-rate", Stat::Rate), ("incoming-byte-total", Stat::Total)]),
            requests: sensor(&[
                ("request-rate", Stat::CountRate),
                ("request-total", Stat::CountTotal),
                ("request-size-avg", Stat::Avg),
                ("request-size-max", Stat::Max),
            ]),
            responses: sensor(&[("response-rate", Stat::CountRate), ("response-total", Stat::CountTotal)]),
            latency: sensor(&[("request-latency-avg", Stat::Avg), ("request-latency-max", Stat::Max)]),
        }
    }
}

impl Traffic for NodeTraffic {
    fn opened(&self) {
        self.network.created.count();
        self.network.open.fetch_add(1, Ordering::Relaxed);
    }

    fn sent(&self, bytes: usize, now: Duration) {
        let bytes = bytes as f64;
        self.network.io.record_at(1.0, now);
        self.network.sent.record_at(bytes, now);
        self.network.requests.record_at(bytes, now);
        if let Some(node) = &self.node {
            node.sent.record_at(bytes, now);
            node.requests.record_at(bytes, now);
        }
    }

    fn received(&self, bytes: usize, latency: Option<Duration>, now: Duration) {
        let bytes = bytes as f64;
        self.network.io.record_at(1.0, now);
        self.network.received.record_at(bytes, now);
        self.network.responses.record_at(1.0, now);
        if let Some(node) = &self.node {
            node.received.record_at(bytes, now);
            node.responses.record_at(1.0, now);
            if let Some(latency) = latency {
                node.latency.record_at(latency.as_secs_f64() * 1000.0, now);
            }
        }
    }

    fn authenticated(&self, again: bool, well: bool, took: Duration) {
        let network = &self.network;
        match (again, well) {
            (false, true) => network.authenticated.count(),
            (false, false) => network.failed.count(),
            (true, true) => {
                network.reauthenticated.count();
                network.reauthentication_latency.record(took.as_secs_f64() * 1000.0);
            }
            (true, false) => network.reauthentication_failed.count(),
        }
    }

    fn closed(&self) {
        self.network.closed.count();
        self.network.open.fetch_sub(1, Ordering::Relaxed);
    }
}
