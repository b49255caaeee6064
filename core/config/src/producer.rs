//! The configs of the producer alone; what all clients share is in [`crate::client`].
//!
//! One row is: name, type, default, validator, importance, where it may be changed, status, and a few words of what it
//! does. The row is the only place a config exists; its documentation is printed from here.

table! {
    /// The rows, sorted by name.
    ROWS;
    "acks" String "all" OneOf(&["all", "-1", "0", "1"]), Low ReadOnly Implemented "Replicas that must have a batch before it counts as sent: 0, 1 or all.";
    "batch.size" Int "16384" AtLeast(0), Medium ReadOnly Implemented "Largest batch per partition, bytes.";
    "bootstrap.servers" List required NonEmptyList, High ReadOnly Implemented "Brokers to connect to first, host:port each.";
    "buffer.memory" Long "33554432" AtLeast(0), High ReadOnly Implemented "Memory for records not yet sent, bytes.";
    "buffer.memory.allocation.strategy" String "full" OneOfIgnoreCase(&["FULL", "INCREMENTAL"]), Internal ReadOnly Ignored "Reserve a whole batch at once (full) or as it grows (incremental).";
    "client.id" String "" Any, Medium ReadOnly Implemented "Name of this client in the broker's logs, metrics and quotas.";
    "client.rack" String "" Any, Low ReadOnly Ignored "Rack of this client, to read from the nearest replica.";
    "compression.gzip.level" Int "-1" GzipLevel, Medium ReadOnly Implemented "Level of gzip; -1 is the library's own.";
    "compression.lz4.level" Int "9" Between(1, 17), Medium ReadOnly Ignored "Level of lz4.";
    "compression.type" String "none" OneOf(&["none", "gzip", "snappy", "lz4", "zstd"]), High ReadOnly Implemented "Codec of the batches sent.";
    "compression.zstd.level" Int "3" Between(-131072, 22), Medium ReadOnly Implemented "Level of zstd.";
    "connections.max.idle.ms" Long "540000" Any, Medium ReadOnly Implemented "A connection idle for this long is closed.";
    "delivery.timeout.ms" Int "120000" AtLeast(0), Medium ReadOnly Implemented "Time from send to success or failure, retries included.";
    "enable.idempotence" Boolean "true" Any, Low ReadOnly Implemented "Write each record once, in order, retries or not.";
    "enable.metrics.push" Boolean "true" Any, Low ReadOnly Implemented "Send client metrics when the cluster asks for them.";
    "interceptor.classes" List "" List, Low ReadOnly Ignored "Classes that see each record on its way.";
    "key.serializer" Class required Any, High ReadOnly Ignored "Class that writes keys.";
    "linger.ms" Long "5" AtLeast(0), Medium ReadOnly Implemented "Time to wait for more records before a batch is sent.";
    "max.block.ms" Long "60000" AtLeast(0), Medium ReadOnly Implemented "Longest that send and the transaction calls may block.";
    "max.in.flight.requests.per.connection" Int "5" AtLeast(1), Low ReadOnly Implemented "Unanswered requests per connection.";
    "max.request.size" Int "1048576" AtLeast(0), Medium ReadOnly Implemented "Largest request and largest record, bytes.";
    "metadata.max.idle.ms" Long "300000" AtLeast(5000), Low ReadOnly Implemented "Metadata of a topic unused for this long is dropped.";
    "partitioner.adaptive.partitioning.enable" Boolean "true" Any, Low ReadOnly Implemented "Send more to brokers that are faster.";
    "partitioner.availability.timeout.ms" Long "0" AtLeast(0), Low ReadOnly Implemented "Avoid a partition whose broker is behind for this long; 0 never does.";
    "partitioner.class" Class null Any, Medium ReadOnly Implemented "Class that picks the partition; the built-in rules when unset.";
    "partitioner.ignore.keys" Boolean "false" Any, Medium ReadOnly Implemented "Pick the partition without looking at the key.";
    "partitioner.rack.aware" Boolean "false" Any, Low ReadOnly Ignored "Prefer partitions led from the client's rack.";
    "receive.buffer.bytes" Int "32768" AtLeast(-1), Medium ReadOnly Implemented "Receive buffer of the sockets, bytes; -1 is the system's.";
    "retries" Int "2147483647" Between(0, 2147483647), High ReadOnly Implemented "Times a failed request is repeated.";
    "transaction.timeout.ms" Int "60000" Any, Low ReadOnly Implemented "Longest a transaction may stay open before the broker aborts it.";
    "transaction.two.phase.commit.enable" Boolean "false" Any, Low ReadOnly Implemented "Take part in transactions that an outside coordinator commits.";
    "transactional.id" String null NonEmpty, Low ReadOnly Implemented "Name of a transactional producer; the same after a restart.";
    "value.serializer" Class required Any, High ReadOnly Ignored "Class that writes values.";
}
