//! The configs of the admin alone; what all clients share is in [`crate::client`].
//!
//! One row is: name, type, default, validator, importance, where it may be changed, status, and a few words of what it
//! does. The row is the only place a config exists; its documentation is printed from here.

table! {
    /// The rows, sorted by name.
    ROWS;
    "bootstrap.controllers" List "" List, High ReadOnly Ignored "Controllers to connect to first, host:port each, instead of brokers.";
    "bootstrap.servers" List "" List, High ReadOnly Implemented "Brokers to connect to first, host:port each.";
    "client.id" String "" Any, Medium ReadOnly Implemented "Name of this client in the broker's logs, metrics and quotas.";
    "connections.max.idle.ms" Long "300000" Any, Medium ReadOnly Implemented "A connection idle for this long is closed.";
    "default.api.timeout.ms" Int "60000" AtLeast(0), Medium ReadOnly Implemented "Time a call may take when it has no timeout of its own.";
    "enable.metrics.push" Boolean "false" Any, Low ReadOnly Implemented "Send client metrics when the cluster asks for them.";
    "receive.buffer.bytes" Int "65536" AtLeast(-1), Medium ReadOnly Implemented "Receive buffer of the sockets, bytes; -1 is the system's.";
    "retries" Int "2147483647" Between(0, 2147483647), Low ReadOnly Ignored "Times a failed request is repeated.";
}
